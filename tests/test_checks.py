"""Wrong calls: at each public door, each kind of wrong value is one sentence that names the argument.

`python tests/test_checks.py` prints how many were tried and how many were right, obscure or accepted.
"""

from __future__ import annotations

import inspect
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from vidlib import metrics, viz
from vidlib.baselines import AllBlack, ConstantVelocity, CopyLast, IdealObserver, PhysicsOracle
from vidlib.checks import check_choice, check_counts, check_flags, check_kind, check_mapping, check_numbers, check_path
from vidlib.iterative import rollout
from vidlib.machine import THREADS_VARIABLE, choose_device, fast_precision, has_compiler, use_threads
from vidlib.metrics import Scores, evaluate, table
from vidlib.models.convlstm import ConvLSTM, ConvLSTMCell
from vidlib.models.vit import Attention, Block, SwiGLU, VideoTransformer, rotary_angles, rotate
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import as_clips, check_video, float_batch, to_float

NAN, INF = math.nan, math.inf
VIDEO = torch.rand(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
CLIPS = (VIDEO.repeat(1, 2, 1, 1, 1) * 255).byte()
SCORES = Scores({"mse": 1.0}, {"mse": np.ones(2)}, 3)

# Kinds of argument, and values that are none of that kind
COUNT = (
    1.5,
    2.0,
    True,
    False,
    None,
    NAN,
    INF,
    -1,
    0,
    "2",
    [2],
    (),
    torch.tensor(2),
    -(10**30),
)
COUNT_FROM_0 = tuple(value for value in COUNT if value != 0 or value is False)
NUMBER = (True, None, NAN, INF, -INF, "1", [1.0], 10**400, 1j)
POSITIVE = (*NUMBER, 0, 0.0, -1, -5.0)
NOT_NEGATIVE = (*NUMBER, -1, -0.5)
SHARE = (*NOT_NEGATIVE, 1.5)
FLAG = (None, 0, 1, NAN, "no", "True", [], torch.tensor(True))
TEXT = (None, "", "  ", 3, NAN, True, ["a"], b"a")
TITLE = (3, NAN, True, ["a"], b"a")
CHOICE = (None, "", "nonsense", 3, NAN, True, ["gelu"])
DEVICE = ("xyz", "", "gpu", 0, 1, True, NAN, ["cpu"], "cuda:99", "cuda:-1", "cpu:x", b"cpu")
PATH = (None, "", 3, NAN, True, ["a"])
MAPPING = (None, {}, [], "a", 3, NAN, True, {1: VIDEO[0]}, [VIDEO[0]])
TENSOR = (
    None,
    3,
    NAN,
    True,
    "a",
    [0.5],
    VIDEO.numpy(),
    VIDEO[0],
    VIDEO[:0],
    VIDEO * 255,
    VIDEO * NAN,
    CLIPS,
    torch.Tensor,
)
CLIP = (
    None,
    3,
    NAN,
    True,
    "a",
    [],
    [None],
    VIDEO[0, 0, 0],
    VIDEO[0] * 255,
    VIDEO[0] * NAN,
    VIDEO[0].long(),
    MovingMNIST,
)
CLIPS_FORM = (None, 3, NAN, True, "a", [], {}, CLIPS[0], MovingMNIST, lambda: CLIPS)
SET = (*CLIPS_FORM, CLIPS.float())
MODEL = (None, 3, NAN, True, "convlstm", CopyLast, torch.nn.Linear(2, 2), lambda past: past, {})
NUMBERS = (None, "a", 3, [], [[1.0]], ["a"], {}, [NAN])
FUNCTION = (None, 3, "draw", True, VIDEO)
LABELS = (None, "error", 3, [3], True)


def optional(kind: tuple) -> tuple:
    return tuple(value for value in kind if value is not None)


def clip(frames: int = 2) -> torch.Tensor:
    return VIDEO[0].repeat(frames // 2, 1, 1, 1)


def drawn(row: int = 1) -> Figure:
    return Figure()


HISTORY = [{"epoch": 1, "train_loss": 2.0, "validation_mse": 3.0, "clips": 4}]
PATHS = np.ones((1, 3, 2))
SMALL = {"past": 2, "horizon": 2, "size": 8, "patch": 4}
METRIC = {"prediction": TENSOR, "truth": TENSOR}
PAIR = {"prediction": VIDEO, "truth": VIDEO}
MODEL_KINDS = {"past": COUNT, "horizon": COUNT, "channels": COUNT, "size": COUNT, "patch": COUNT}

# door, arguments with which it works, and of what kind each of its arguments is
DOORS: dict[str, tuple[Callable, dict[str, Any], dict[str, tuple]]] = {
    "ConvLSTM": (
        ConvLSTM,
        {**SMALL, "features": 4, "hidden": [4]},
        MODEL_KINDS
        | {"features": COUNT, "kernel": (*COUNT, 2), "peephole": FLAG, "forget_bias": NUMBER, "shared": FLAG}
        | {"layers": COUNT_FROM_0, "reach": COUNT, "alone": SHARE}
        | {
            "hidden": (None, 3, "ab", [], (), [0], [1.5], [True], ["a"], [None], [NAN], [-1], {4: 4}, torch.tensor([4]))
        },
    ),
    "ConvLSTMCell": (
        ConvLSTMCell,
        {"inputs": 1, "hidden": 2},
        {"inputs": COUNT_FROM_0, "hidden": COUNT, "kernel": (*COUNT, 4), "peephole": FLAG, "forget_bias": NUMBER},
    ),
    "ConvLSTMCell.forward": (
        ConvLSTMCell(1, 2).forward,
        {"inputs": VIDEO, "steps": None},
        {
            "inputs": (None, 3, "a", True, VIDEO[0], VIDEO.repeat(1, 1, 2, 1, 1), VIDEO.numpy(), CLIPS),
            "state": (3, "a", True, VIDEO, (VIDEO[:, 0],), (None, None)),
        },
    ),
    "ConvLSTMCell.forward without input": (
        ConvLSTMCell(0, 2).forward,
        {"inputs": None, "state": (VIDEO[:, 0].repeat(1, 2, 1, 1),) * 2, "steps": 2},
        {"inputs": (VIDEO,), "steps": COUNT, "state": (None, 3, "a", VIDEO)},
    ),
    "VideoTransformer": (
        VideoTransformer,
        {**SMALL, "dim": 16, "layers": 1, "heads": 2, "decoder": 8},
        MODEL_KINDS
        | {"horizon": (*COUNT, 3), "patch": (*COUNT, 1, 3), "dim": (*COUNT, 12), "layers": COUNT, "heads": (*COUNT, 3)}
        | {"expand": COUNT, "context": COUNT_FROM_0, "decoder": COUNT, "feed": CHOICE},
    ),
    "Attention": (Attention, {"dim": 8, "heads": 2}, {"dim": (*COUNT, 7), "heads": (*COUNT, 3)}),
    "Attention.forward": (
        Attention(8, 2).forward,
        {"x": torch.rand(2, 3, 8)},
        {
            "x": (None, "a", [1.0], torch.rand(3, 8), torch.rand(2, 3, 6), np.ones((2, 3, 8))),
            "return_attention": FLAG,
            "angles": (3, "a", torch.rand(3, 3), torch.rand(2, 2), np.ones((3, 2))),
        },
    ),
    "rotate": (
        rotate,
        {"x": torch.rand(3, 4), "angles": torch.rand(3, 2)},
        {
            "x": (None, "a", torch.rand(3, 5), np.ones((3, 4))),
            "angles": (None, 1.0, torch.rand(3, 3), torch.rand(2, 2)),
        },
    ),
    "rotary_angles": (
        rotary_angles,
        {"positions": torch.arange(3)[:, None], "features": 4},
        {"features": (*COUNT,), "positions": (None, 3, "a", torch.arange(3), np.ones((3, 1)))},
    ),
    "SwiGLU": (SwiGLU, {"dim": 8, "hidden": 16}, {"dim": COUNT, "hidden": COUNT}),
    "Block": (
        Block,
        {"dim": 8, "heads": 2, "axis": "time"},
        {"dim": (*COUNT, 7), "heads": (*COUNT, 3), "axis": CHOICE, "expand": COUNT, "feed": CHOICE},
    ),
    "Block.forward": (
        Block(8, 2, "time").forward,
        {"x": torch.rand(1, 2, 3, 8), "angles": torch.rand(2, 2)},
        {"x": (None, "a", torch.rand(2, 3, 8), torch.rand(1, 2, 3, 6)), "return_attention": FLAG}
        | {"angles": (3, "a", torch.rand(3, 3), torch.rand(3, 2), np.ones((2, 2)))},
    ),
    "VideoTransformer.forward": (
        VideoTransformer(**SMALL, dim=16, layers=1, heads=2, decoder=8).forward,
        {"past": VIDEO},
        {"past": TENSOR, "return_attention": FLAG},
    ),
    "ConvLSTM.forward": (
        ConvLSTM(**SMALL, features=4, hidden=[4], kernel=3).forward,
        {"past": VIDEO},
        {"past": TENSOR},
    ),
    **{
        door.__name__: (door, {"horizon": 2, "past": 4}, {"horizon": COUNT, "past": COUNT})
        for door in (CopyLast, AllBlack)
    },
    "ConstantVelocity": (ConstantVelocity, {"horizon": 2, "past": 4}, {"horizon": COUNT, "past": (*COUNT, 3)}),
    "CopyLast.forward": (CopyLast(2, 2).forward, {"past": VIDEO}, {"past": TENSOR}),
    "AllBlack.forward": (AllBlack(2, 2).forward, {"past": VIDEO}, {"past": TENSOR}),
    "ConstantVelocity.forward": (
        ConstantVelocity(2, 4).forward,
        {"past": VIDEO.repeat(1, 2, 1, 1, 1)},
        {"past": TENSOR},
    ),
    **{
        told.__name__: (
            told,
            {"clips": MovingMNIST(2, digits="builtin")},
            {"clips": (*SET, CLIPS), "horizon": COUNT, "past": COUNT},
        )
        for told in (IdealObserver, PhysicsOracle)
    },
    "evaluate": (
        evaluate,
        {"model": CopyLast(2, 2), "clips": CLIPS, "past": 2, "horizon": 2, "progress": False},
        {
            "model": MODEL,
            "clips": SET,
            "batch_size": COUNT,
            "past": COUNT,
            "horizon": (*COUNT, 30),
            "limit": optional(COUNT),
        }
        | {"chunk": optional((*COUNT, 3)), "device": DEVICE, "lpips": (0, 1, "alex", NAN, []), "progress": FLAG},
    ),
    "rollout": (
        rollout,
        {"model": CopyLast(2, 2), "past": VIDEO, "steps": 3},
        {"model": MODEL, "past": TENSOR, "steps": COUNT, "chunk": optional((*COUNT, 3))},
    ),
    **{name: (getattr(metrics, name), PAIR, METRIC) for name in ("mse_per_frame", "mae_per_frame", "psnr_per_frame")},
    "ssim_per_frame": (metrics.ssim_per_frame, PAIR, METRIC | {"data_range": POSITIVE}),
    "sharpness": (metrics.sharpness, {"video": VIDEO}, {"video": TENSOR}),
    "identity": (
        metrics.identity,
        {
            "video": torch.zeros(1, 2, 1, 28, 28),
            "corners": np.zeros((1, 1, 2, 2), int),
            "labels": np.zeros((1, 1), int),
        },
        {
            "video": TENSOR,
            "corners": (None, "a", NAN, [[0]], np.ones((1, 1, 2, 2), int)),
            "labels": (None, 3, "a", [[0.5]]),
            "network": (3, "a", NAN, True, [len]),
        },
    ),
    "table": (
        table,
        {"scores": {"a": SCORES}},
        {"scores": (*MAPPING, {"a": None}, {"a": 3}, {"a": {"mse": 1}}, SCORES)},
    ),
    "Scores": (
        Scores,
        {"overall": {"mse": 1.0}, "per_frame": {"mse": np.ones(2)}, "clips": 3},
        {"overall": (*MAPPING, {"mse": "1"}, {"mse": None}, {"mse": True}), "clips": COUNT, "data": (None, 3, b"a")}
        | {
            "per_frame": (None, [], 3, {"mse": 1.0}, {"mse": [1.0]}, {"mse": np.ones((2, 2))}),
            "fingerprint": (None, 3),
        },
    ),
    "choose_device": (choose_device, {}, {"device": DEVICE}),
    "has_compiler": (has_compiler, {}, {"device": DEVICE}),
    "fast_precision": (fast_precision, {}, {"device": DEVICE}),
    "use_threads": (use_threads, {"threads": torch.get_num_threads()}, {"threads": (*optional(COUNT), 100_000)}),
    "check_video": (check_video, {"video": VIDEO}, {"video": TENSOR}),
    "to_float": (to_float, {"clips": CLIPS}, {"clips": (None, 3, "a", VIDEO, CLIPS.long(), CLIPS.numpy())}),
    "as_clips": (as_clips, {"clips": CLIPS}, {"clips": CLIPS_FORM}),
    "float_batch": (
        float_batch,
        {"clips": CLIPS, "indices": [0, 1], "frames": 2},
        {"clips": SET, "frames": (*COUNT, 9), "indices": (None, 3, "a", [], [1.5], [True], [None], [-1], [2], ["0"])},
    ),
    "film_strip": (
        viz.film_strip,
        {"rows": {"a": clip()}},
        {"rows": (*MAPPING, {"a": None}, {"a": VIDEO}), "columns": optional(COUNT), "title": TITLE, "errors": LABELS}
        | {"first_frame": (*COUNT_FROM_0, {"a": 1.5}, {"a": None}, {"b": 1}, {3: 1})},
    ),
    "comparison_frames": (
        viz.comparison_frames,
        {"past": clip(), "truth": clip(), "prediction": clip()},
        {"past": CLIP, "truth": CLIP, "prediction": (*CLIP, {}, {"a": None}, {3: clip()}), "scale": COUNT}
        | {"together": FLAG},
    ),
    "comparison_gif": (
        viz.comparison_gif,
        {"path": "a.gif", "past": clip(), "truth": clip(), "prediction": clip()},
        {
            "path": PATH,
            "past": CLIP,
            "truth": CLIP,
            "prediction": (*CLIP, {}),
            "scale": COUNT,
            "fps": (*POSITIVE, 60, 1e-4),
            "together": FLAG,
        },
    ),
    "clips_gif": (
        viz.clips_gif,
        {"path": "a.gif", "clips": clip()},
        {"path": PATH, "clips": CLIP, "columns": COUNT, "scale": COUNT, "fps": (*POSITIVE, 60, 1e-4)},
    ),
    "save_gif": (
        viz.save_gif,
        {"path": "a.gif", "frames": np.zeros((2, 8, 8, 3), np.uint8)},
        {"path": PATH, "fps": (*POSITIVE, 60, 50.1, 1e-4), "hold": (*NOT_NEGATIVE, 656, 1e300)}
        | {"frames": (None, 3, "a", [], [None], np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), VIDEO, clip())},
    ),
    "player": (
        viz.player,
        {"videos": [clip()]},
        {"videos": (None, {}, [], "a", 3, NAN, True, {1: clip()}, {"a": None}, clip()), "fps": (*POSITIVE, 2000)}
        | {"scale": COUNT, "first_frame": COUNT_FROM_0, "errors": LABELS, "alt": optional(TEXT)}
        | {"choose": ({}, 3, "a", {"digits": (1, 2, 1)})},
    ),
    "explore": (
        viz.explore,
        {"draw": drawn, "alt": "a", "row": (0, 2, 1)},
        {"draw": (*FUNCTION, lambda row: None), "alt": TEXT}
        | {"row": (None, 3, "a", (0, 2), (0, 2, 3), (2, 0, 1), (0, 2, 1.5), (0, 2, True), (0.5, 2, 1), (0, NAN, 1))},
    ),
    "trajectory_plot": (
        viz.trajectory_plot,
        {"positions": PATHS},
        {
            "positions": (*NUMBERS, PATHS[0], PATHS * NAN, PATHS[:, :0]),
            "size": COUNT,
            "digit": (*COUNT, 65),
            "title": TITLE,
        }
        | {"bounced": (3, "a", [True], np.zeros((1, 3)), np.zeros((1, 3), int), np.zeros((3, 1), bool))},
    ),
    "attention_overlay": (
        viz.attention_overlay,
        {"frames": clip(), "weights": np.ones((2, 2, 2))},
        {"frames": CLIP, "weights": (*NUMBERS, np.ones((3, 2, 2)), -np.ones((2, 2, 2)), np.full((2, 2, 2), NAN))}
        | {"first_frame": COUNT_FROM_0, "title": TITLE, "label": TEXT, "names": (3, "ab", ["a"], [1, 2])}
        | {"query": (3, "abc", (0,), (0, 2), (0, 0, 2), (0, 0, -1), (0, 0, 0.5), (True, 0, 0), (None, 0, 0))},
    ),
    "history_curves": (
        viz.history_curves,
        {"history": HISTORY},
        {"history": (None, 3, [], [3], {}, [{"epoch": 1}], [*HISTORY, {}], [{**HISTORY[0], "train_loss": "a"}])}
        | {"baselines": (3, "a", {"a": None}, {"a": "1"}, {"a": NAN}, {3: 1.0}, [1.0]), "log": FLAG, "title": TEXT},
    ),
    "horizon_curves": (
        viz.horizon_curves,
        {"curves": {"a": [1.0, 2.0]}},
        {"curves": (*MAPPING, *({"a": value} for value in NUMBERS)), "metric": TEXT, "title": TEXT}
        | {"first_frame": COUNT_FROM_0, "from_zero": FLAG}
        | dict.fromkeys(("floor", "references"), (*MAPPING[1:], *({"b": value} for value in NUMBERS if value != 3))),
    ),
    "pictures": (
        viz.pictures,
        {"images": {"a": [[0.5]]}},
        {"images": (*MAPPING, *({"a": value} for value in NUMBERS if value != [[1.0]])), "errors": LABELS}
        | {"title": TITLE, "bar": optional(TEXT)}
        | {"marks": (3, "a", {"b": (0, 0, 1, 1)}, {"a": 3}, {"a": (0, 0)}, {"a": (-1, 0, 1, 1)}, {"a": (0, 0, 0, 1)})},
    ),
    "line_panels": (
        viz.line_panels,
        {"panels": {"x": {"a": ([1], [2])}}, "ylabel": "y"},
        {
            "panels": (
                *MAPPING,
                {"x": {}},
                {"x": {"a": [1, 2, 3]}},
                {"x": {"a": ([1], [2, 3])}},
                {"x": {"a": ("a", [1])}},
            )
        }
        | {"ylabel": TEXT, "dots": LABELS, "gray": LABELS, "log": FLAG, "from_zero": FLAG, "title": TITLE}
        | {"steps": LABELS, "divide": ("a", [1.0], NAN, True)}
        | {"references": (*MAPPING[1:], {"a": NAN}, {"a": "1"})},
    ),
    "bar_panels": (
        viz.bar_panels,
        {"panels": {"x": {"g": {"a": 1.0}}}, "ylabel": "y"},
        {"panels": (*MAPPING, {"x": {}}, {"x": {"g": {}}}, {"x": {"g": {"a": NAN}}}, {"x": {"g": {"a": (1, -1)}}})}
        | {"ylabel": TEXT, "gray": LABELS, "title": TITLE}
        | {"references": (*MAPPING[1:], {"a": NAN}, {"a": "1"})},
    ),
    "cost_panels": (
        viz.cost_panels,
        {"panels": {"x": {"a": (1.0, 2.0)}}},
        {"panels": (*MAPPING, {"x": {}}, {"x": {"a": 1.0}}, {"x": {"a": (0, 1)}}, {"x": {"a": (NAN, 1)}})}
        | {"floors": ({"y": ("b", 1.0)}, {"x": ("b", NAN)}), "xlabel": TEXT, "ylabel": TEXT, "title": TITLE},
    ),
    "dot_intervals": (
        viz.dot_intervals,
        {"rows": {"a": {"x": (1.0, 0.0, 2.0)}}, "xlabel": "x"},
        {"rows": (*MAPPING, {"a": {}}, {"a": {"x": (3.0, 0.0, 2.0)}}, {"a": {"x": 1.0}}), "xlabel": TEXT}
        | {"references": (*MAPPING[1:], {"b": NAN}), "title": TITLE},
    ),
    "stacked_bars": (
        viz.stacked_bars,
        {"bars": {"a": {"p": 1.0}}, "xlabel": "x"},
        {"bars": (*MAPPING, {"a": {}}, {"a": {"p": NAN}}, {"a": {"p": 1.0}, "b": {"q": 1.0}})}
        | {"xlabel": TEXT, "gray": LABELS, "title": TITLE},
    ),
    "boxed": (
        viz.boxed,
        {"video": VIDEO[0], "corners": [[0, 0], [1, 1]], "size": 3},
        {"video": CLIP, "corners": (None, "a", [[0, 0]], [0, 0]), "size": COUNT},
    ),
    "probe_maps": (
        viz.probe_maps,
        {"panels": {"x": [[0.5, 1.0], [0.0, 0.1]]}, "rows": ["a", "b"]},
        {"panels": (*MAPPING, {"x": [[1.0]]}, {"x": "a"}), "rows": (None, "ab", 3, [1, 2], ["a"])}
        | {"controls": (*COUNT_FROM_0, 3), "divide": ("a", [1.0], NAN, True), "first_frame": COUNT_FROM_0}
        | {"title": TITLE},
    ),
    "reliability_plot": (
        viz.reliability_plot,
        {"curves": {"a": ([1.0, 2.0], [1.0, 2.0])}},
        dict.fromkeys(("curves",), (*MAPPING, {"a": 3}, {"a": ([1.0], [1.0, 2.0])}, {"a": ([0.0], [1.0])}))
        | {"references": (*MAPPING[1:], {"b": ([NAN], [1.0])}), "title": TEXT},
    ),
    "drawing_pad": (viz.drawing_pad, {}, {}),
    "convlstm_cell": (viz.convlstm_cell, {}, {}),
    "encoder_forecaster": (viz.encoder_forecaster, {}, {}),
    "space_time_encoder": (viz.space_time_encoder, {}, {"layers": COUNT}),
    "iterative_prediction": (
        viz.iterative_prediction,
        {},
        {"chunk": (*COUNT, 11, 1), "frames": (*COUNT, 99), "past": COUNT, "horizon": COUNT},
    ),
    "show": (
        viz.show,
        {"figure": Figure(), "alt": "a"},
        {"figure": (None, 3, "a", VIDEO, Figure), "alt": TEXT},
    ),
    "show_gif": (viz.show_gif, {"path": __file__, "alt": "a"}, {"path": (*PATH, __file__), "alt": TEXT}),
}

# What a sentence calls an argument where that is not its name
ALSO_CALLED = {
    ("ConvLSTMCell.forward", "inputs"): "steps",  # what has no input needs them
    ("comparison_frames", "prediction"): "a is None",  # a prediction's own name
    ("film_strip", "rows"): "a ",  # a row's own name
    ("player", "videos"): "a is None",
    ("show_gif", "path"): Path(__file__).name,
}
# Arguments that are for the package itself, or for whoever writes a message
INNER = {
    "ConvLSTMCell.forward": {"steps"},
    "check_video": {"name", "frames", "channels", "size"},
    "as_clips": {"name"},
    "float_batch": {"device"},
}


def wrong_calls() -> Iterator[tuple[str, str, Any]]:
    """Door, argument and wrong value; last of each door an argument that it does not have."""
    for door, (_, _, kinds) in DOORS.items():
        for argument, values in kinds.items():
            yield from ((door, argument, value) for value in values)
        if door != "explore":  # whose other arguments are sliders
            yield door, "nonsense", 1


def outcome(door: str, argument: str, value: Any) -> str:
    """`right`, `accepted`, or `obscure` and what was said."""
    call, arguments, _ = DOORS[door]
    try:
        call(**arguments | {argument: value})
    except (ValueError, TypeError) as error:
        said = str(error)
        if argument == "nonsense":
            return (
                "right" if isinstance(error, TypeError) and "unexpected keyword argument 'nonsense'" in said else said
            )
        names = {argument, argument.rstrip("s"), argument.capitalize(), ALSO_CALLED.get((door, argument), argument)}
        sentence = type(error) is ValueError and said.endswith((".", "?")) and "\n" not in said
        sentence = sentence and ("expected" in said or "did you mean" in said)
        return "right" if sentence and any(name in said for name in names) else f"obscure: {said}"
    except Exception as error:
        return f"obscure: {type(error).__name__}: {error}"
    return "accepted"


CALLS = list(wrong_calls())


def name_of(call: tuple[str, str, Any]) -> str:
    door, argument, value = call
    words = repr(value).replace("\n", " ")
    return f"{door}({argument}={words if len(words) < 30 else type(value).__name__})"


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("call", CALLS, ids=map(name_of, CALLS))
def test_a_wrong_call_is_one_sentence_that_names_the_argument(call, tmp_path):
    assert outcome(*call) == "right"
    assert not list(tmp_path.iterdir()), "what was refused leaves nothing behind"


@pytest.mark.parametrize("door", [door for door in DOORS if door != "show_gif"])
def test_the_right_call_passes(door):
    call, arguments, _ = DOORS[door]
    call(**arguments)


@pytest.mark.parametrize("door", [door for door in DOORS if door != "explore"])
def test_every_argument_of_a_door_is_tried(door):
    call, _, kinds = DOORS[door]
    assert inspect.signature(call).parameters.keys() - INNER.get(door, set()) == kinds.keys()


def test_every_picture_and_metric_is_a_door():
    pictures = {name for name in viz.__all__ if inspect.isfunction(getattr(viz, name))} - {"style", "apply_style"}
    figures = {name for name in vars(metrics) if name.endswith("_per_frame")} | {
        "sharpness",
        "identity",
        "table",
        "evaluate",
    }
    assert pictures | figures <= DOORS.keys()


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "1.5", "99999"])
def test_a_wrong_number_of_threads_in_the_environment_is_named(wanted, monkeypatch):
    monkeypatch.setenv(THREADS_VARIABLE, wanted)
    with pytest.raises(ValueError, match=f"{THREADS_VARIABLE} is .*{wanted}.*, expected a whole number from 1 to 1024"):
        use_threads()


# The checks themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_counts(a=1, b=np.int64(7)),
        lambda: check_counts(0, highest=3, a=0, b=3),
        lambda: check_numbers(a=-1e300, b=np.float32(2), c=3),
        lambda: check_numbers(0, 1, a=0, b=1.0),
        lambda: check_numbers(0, open=True, a=1e-300),
        lambda: check_flags(a=True, b=False),
        lambda: check_choice(["a", "b"], x="b"),
        lambda: check_path(a="x", b=Path("x")),
        lambda: check_mapping("clip", rows={"a": None}),
        lambda: check_kind(int, "a number", a=3),
    ],
)
def test_a_right_value_passes(check):
    assert check() is None


@pytest.mark.parametrize(
    "check, sentence",
    [
        (lambda: check_counts(a=1, b=0), "b is 0, expected a whole number of at least 1."),
        (lambda: check_counts(0, highest=3, a=4), "a is 4, expected a whole number from 0 to 3."),
        (lambda: check_numbers(0, 1, open=True, a=0), "a is 0, expected a number above 0 and at most 1."),
        (lambda: check_numbers(-math.inf, 5, a=6), "a is 6, expected a number of at most 5."),
        (lambda: check_numbers(a=10**400), "a is a int, expected a finite number."),
        (lambda: check_flags(a=1), "a is 1, expected True or False."),
        (lambda: check_choice(["time", "space"], axis="spce"), "axis is 'spce', did you mean 'space'?"),
        (lambda: check_choice([], axis="x"), "axis is 'x', expected one of none."),
        (lambda: check_counts(a=VIDEO), "a is a Tensor, expected a whole number of at least 1."),
        (lambda: check_kind(str, "a text", a=int), "a is the class int, expected a text."),
    ],
)
def test_a_wrong_value_is_said(check, sentence):
    with pytest.raises(ValueError) as caught:
        check()
    assert str(caught.value) == sentence


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    found = Counter(outcome(*call).partition(":")[0] for call in CALLS)
    print(f"tried {len(CALLS):,}", *(f"{word} {found[word]:,}" for word in ("right", "obscure", "accepted")), sep=", ")
