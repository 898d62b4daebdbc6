"""What every model of the registry promises, whatever it is made of, and what a new one gets for it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from vidlib import evaluate, moving_mnist, recipes, rollout, runs
from vidlib.__main__ import _trainable
from vidlib.models.registry import MODELS
from vidlib.training import muon_matrices
from vidlib.weights import load_model


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name](**MODELS[name].SMALLEST)


def video(batch: int = 2) -> Tensor:
    return torch.rand(batch, 10, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_a_clip_is_predicted_alone_as_in_a_batch(name):
    model, clips = build(name).eval(), video(3)
    with torch.no_grad():
        together, alone = model(clips), torch.cat([model(clip[None]) for clip in clips])
    assert together.shape == (3, model.horizon, 1, 64, 64) and together.dtype == torch.float32
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_its_config_and_its_weights(name):
    model = build(name)
    again = MODELS[name](**json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(video()), again.eval()(video()))
    assert MODELS[name].SMALLEST.items() <= model.config.items()
    assert (model.past, model.horizon) == (10, 10)


@pytest.mark.parametrize("name", MODELS)
def test_what_muon_trains_are_matrices_of_the_model_none_twice(name):
    model = build(name)
    named = [matrix for found in muon_matrices(model).values() for matrix in found]
    own = {id(parameter) for parameter in model.parameters()}
    assert named or not hasattr(model, "matrices")
    assert all(id(matrix) in own and matrix.ndim >= 2 for matrix in named)
    assert len({id(matrix) for matrix in named}) == len(named)


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
    with pytest.raises(ValueError, match=sentence):
        build(name)(change(video()))


class Fading(nn.Module):
    """A model that only its own file and its line in the registry know of."""

    SMALLEST = {"strength": 0.5}

    def __init__(self, past: int = 10, horizon: int = 10, strength: float = 0.75) -> None:
        super().__init__()
        self.past, self.horizon = past, horizon
        self.config = {"past": past, "horizon": horizon, "strength": strength}
        self.fade = nn.Parameter(torch.tensor(strength))

    def forward(self, past: Tensor) -> Tensor:
        return past[:, -1:] * self.fade ** torch.arange(1, self.horizon + 1).view(-1, 1, 1, 1)


def test_a_new_model_is_a_file_and_a_line(monkeypatch, tmp_path):
    """It trains by its recipe, is saved and read, rolls out, scores and is known to the command line."""
    monkeypatch.setitem(MODELS, "fading", Fading)
    assert _trainable("fading") == "fading"
    for profile in recipes.PROFILES:
        assert recipes.build(recipes.recipe("fading", profile)).config["strength"] in (0.5, 0.75)
    chosen = recipes.recipe("fading", "smoke", strength=0.25, validation_clips=2)
    model, history = runs.train(chosen, tmp_path / "run", digits="builtin", device="cpu", progress=False)
    read = load_model(tmp_path / "run" / "model.safetensors")
    assert type(read) is Fading and read.config == model.config and read.config["strength"] == 0.25
    assert len(history) == 1 and read.fade.item() == pytest.approx(model.fade.item()) != 0.25
    assert rollout(read, video(), 25).shape == (2, 25, 1, 64, 64)
    assert evaluate(read, moving_mnist.test_clips("builtin", 2), progress=False).overall["mse"] > 0
