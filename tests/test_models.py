"""What every model promises, whatever it is made of. A new one is tried here as soon as it stands in the registry."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from torch import nn

from vidlib import evaluate, moving_mnist, rollout, viz
from vidlib.__main__ import _trainable
from vidlib.metrics import table
from vidlib.models.registry import MODELS
from vidlib.recipes import PROFILES, build, recipe
from vidlib.runs import read_run, train
from vidlib.training import muon_matrices
from vidlib.weights import load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")


def smallest(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name](**MODELS[name].SMALLEST)


def video(model: nn.Module, batch: int = 2) -> torch.Tensor:
    """A past of Moving MNIST's size for a model."""
    return torch.rand(batch, model.past, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_a_clip_is_predicted_alone_as_in_a_batch(name):
    model = smallest(name).eval()
    clips = video(model, 3)
    with torch.no_grad():
        together, alone = model(clips), torch.cat([model(clip[None]) for clip in clips])
    assert together.shape == (3, model.horizon, 1, 64, 64) and together.dtype == torch.float32
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda v: v[:, :3], r"past has shape \(2, 3, 1, 64, 64\), expected \(B, 10, 1, 64, 64\)"),
        (lambda v: v[..., :8], r"past has shape \(2, 10, 1, 64, 8\), expected \(B, 10, 1, 64, 64\)"),
        (lambda v: v.expand(-1, -1, 3, -1, -1), r"past has shape \(2, 10, 3, 64, 64\), expected \(B, 10, 1, 64, 64\)"),
        (lambda v: v[0], r"Add a batch axis with video\[None\]"),
        (lambda v: v[:0], "one axis is empty"),
        (lambda v: (v * 255).to(torch.uint8), "past has dtype torch.uint8, expected float"),
        (lambda v: v * 255, "past has values from .* to .*, expected a float in"),
        (lambda v: v * torch.nan, "past has values from nan to nan"),
        (lambda v: v.numpy(), "past is a ndarray, expected a torch tensor"),
    ],
)
@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_video_is_one_sentence(name, change, sentence):
    model = smallest(name)
    with pytest.raises(ValueError, match=sentence):
        model(change(video(model)))


@pytest.mark.parametrize("name", MODELS)
def test_config_is_the_constructors_arguments_as_json(name):
    model = smallest(name)
    assert json.loads(json.dumps(model.config)) == model.config
    assert MODELS[name].SMALLEST.items() <= model.config.items()
    assert model.config.keys() == inspect.signature(MODELS[name]).parameters.keys()
    again = MODELS[name](**model.config)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(video(model)), model(video(model)))
    assert (model.past, model.horizon) == (model.config["past"], model.config["horizon"])


@pytest.mark.parametrize("name", MODELS)
def test_muons_matrices_are_parameters_that_can_be_cut_into_as_many(name):
    model = smallest(name)
    own, found = {id(parameter) for parameter in model.parameters()}, muon_matrices(model)
    assert sum(map(len, found.values())) > 0
    assert len({id(m) for matrices in found.values() for m in matrices}) == sum(map(len, found.values())), "none twice"
    for stacked, matrices in found.items():
        for matrix in matrices:
            assert id(matrix) in own and matrix.ndim >= 2 and len(matrix) % stacked == 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", MODELS)
def test_there_is_a_recipe_for_every_model_at_every_profile(name, profile):
    wanted = recipe(name, profile)
    assert type(build(wanted)) is MODELS[name]
    if profile == "smoke":
        assert wanted.config == MODELS[name].SMALLEST


class Toy(nn.Module):
    """A new model as CONTRIBUTING would have it: future = past times one number a channel, and nothing else."""

    SMALLEST = {"horizon": 10}

    def __init__(self, past: int = 10, horizon: int = 10):
        super().__init__()
        self.past, self.horizon = past, horizon
        self.config = {"past": past, "horizon": horizon}
        self.mix = nn.Linear(past, horizon)

    def forward(self, past):
        return self.mix(past.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_new_model_is_a_file_and_a_line(monkeypatch, tmp_path, optimizer):
    """It trains by its recipe, is saved and read, rolls out, scores, draws and is known to the command line."""
    monkeypatch.setitem(MODELS, "toy", Toy)
    assert _trainable("toy") == "toy"
    out = tmp_path / "run"
    wanted = recipe("toy", "smoke", optimizer=optimizer, seed=3)
    model, history = train(wanted, out, digits="builtin", device="cpu", progress=False)
    assert type(model) is Toy and len(history) == 1
    assert not torch.equal(model.mix.weight, build(wanted).mix.weight), "it has learned"

    for again in (
        load_model(save_model(model, tmp_path / "toy.safetensors")),
        load_model(out / "model.safetensors"),
        read_run(out).model,
    ):
        assert type(again) is Toy and torch.equal(again.mix.weight, model.mix.weight)

    clips = moving_mnist.test_clips("builtin", 3)
    stored = clips.batch(range(3)).float() / 255
    assert rollout(model, stored[:, :10], 13).shape == (3, 13, 1, 64, 64)
    scores = {"toy": evaluate(model, clips, progress=False)}
    assert "\n| toy |" in table(scores)
    future = rollout(model, stored[:, :10], 10).clamp(0, 1)
    viz.film_strip({"truth": stored[0, 10:], "toy": future[0]})
    viz.comparison_gif(tmp_path / "toy.gif", stored[0, :10], stored[0, 10:], future[0])
    viz.horizon_curves({name: score.per_frame["mse"] for name, score in scores.items()})
    viz.history_curves(out / "history.csv")


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_model_is_one_graph(name):
    """Neither checks nor reshapes cut it: what is compiled on a GPU is the whole model."""
    kind = MODELS[name]
    short = {"past": 2, "horizon": 2, "layers": 1}  # tracing takes its time
    model = kind(**kind.SMALLEST | {k: v for k, v in short.items() if k in smallest(name).config}).eval()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    with torch.no_grad():
        compiled = torch.compile(model, backend=backend, fullgraph=True)(video(model))
        assert torch.equal(compiled, model(video(model))) and len(graphs) == 1
    torch._dynamo.reset()
