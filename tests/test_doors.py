"""Every door, `fit`, `evaluate`, `rollout` and drawing, asks the same of clips and models: one sentence, or success."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from vidlib import MovingMNIST, evaluate, fit, rollout, viz
from vidlib.baselines import AllBlack, CopyLast
from vidlib.metrics import table
from vidlib.training import validation_mse

CLIPS = np.random.default_rng(0).integers(0, 256, (6, 4, 1, 8, 8), np.uint8)


class Own(nn.Module):
    """A learner's own model, which checks nothing itself."""

    past = horizon = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, past):
        return past * self.weight


def own(**attributes) -> nn.Module:
    """The same with other attributes or another forward."""
    return type("Other", (Own,), attributes)()


def door_fit(tmp_path, model, clips):
    return fit(
        model, clips, CLIPS, out=tmp_path / "out", epochs=1, batch_size=2, precision="no", device="cpu", progress=False
    )


def door_fit_validation(tmp_path, model, clips):
    return fit(
        model, CLIPS, clips, out=tmp_path / "out", epochs=1, batch_size=2, precision="no", device="cpu", progress=False
    )


def door_evaluate(tmp_path, model, clips):
    return evaluate(model, clips, past=2, horizon=2, progress=False)


def door_evaluate_one_by_one(tmp_path, model, clips):
    return evaluate(model, clips, past=2, horizon=2, batch_size=1, progress=False)


def door_rollout(tmp_path, model, clips):
    return rollout(model, torch.from_numpy(CLIPS[:, :2]).float() / 255, 3)


CLIP_DOORS = [door_fit, door_fit_validation, door_evaluate, door_evaluate_one_by_one]
MODEL_DOORS = [door_fit, door_evaluate, door_rollout]


def one_sentence(caught) -> str:
    """What was said, after looking that it is a sentence and no repeated error of something deeper."""
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 330, said
    return said


# Models -----------------------------------------------------------------------------------------------------------

NO_MODELS = {
    "None": (lambda: None, "model is None, expected a torch.nn.Module"),
    "a function": (lambda: lambda past: past, "model is a function, expected a torch.nn.Module: put a plain function"),
    "functools.partial": (lambda: functools.partial(torch.mul, 2), "model is a partial, expected a torch.nn.Module"),
    "a class": (lambda: Own, r"model is the class Own, expected a torch.nn.Module: make one with Own\(...\)"),
    "a text": (lambda: "convlstm", "model is a str, expected a torch.nn.Module"),
    "weights": (lambda: Own().state_dict(), "model is a OrderedDict, expected a torch.nn.Module"),
    "without past and horizon": (
        lambda: nn.Conv3d(1, 1, 1),
        "a Conv3d, expected one with whole numbers past",
    ),
    "without horizon": (lambda: own(horizon=None), "Other, expected one with whole numbers past and horizon"),
    "past 0": (lambda: own(past=0), "Other, expected one with whole numbers past and horizon"),
    "past 2.0": (lambda: own(past=2.0), "Other, expected one with whole numbers past and horizon"),
    "horizon True": (lambda: own(horizon=True), "Other, expected one with whole numbers past and horizon"),
}


@pytest.mark.parametrize("door", MODEL_DOORS)
@pytest.mark.parametrize("case", NO_MODELS)
def test_what_is_no_model_is_one_sentence(tmp_path, door, case):
    make, sentence = NO_MODELS[case]
    with pytest.raises(ValueError, match=sentence) as caught:
        door(tmp_path, make(), CLIPS)
    one_sentence(caught)


WRONG_PREDICTIONS = {
    "no channel axis": (lambda self, past: past[:, :, 0] * self.weight, r"Other predicted shape \(\d, 2, 8, 8\)"),
    "a frame too many": (lambda self, past: past[:, [0, 1, 1]] * self.weight, r"predicted shape \(\d, 3, 1, 8, 8\)"),
    "a frame too few": (lambda self, past: past[:, 1:] * self.weight, r"predicted shape \(\d, 1, 1, 8, 8\)"),
    "one picture for all": (lambda self, past: (past * self.weight).mean((0, 1)), r"predicted shape \(1, 8, 8\)"),
    "half the size": (lambda self, past: past[..., ::2] * self.weight, r"predicted shape \(\d, 2, 1, 8, 4\)"),
    "three channels": (lambda self, past: past.repeat(1, 1, 3, 1, 1) * self.weight, r"predicted shape \(\d, 2, 3,"),
    "time and channel swapped": (
        lambda self, past: (past * self.weight).transpose(1, 2),
        r"shape \(\d, 1, 2",
    ),
    "a tuple": (lambda self, past: (past * self.weight, None), "Other predicted a tuple, expected"),
    "nothing": (lambda self, past: None, "Other predicted None, expected"),
    "an array": (lambda self, past: past.numpy(), "Other predicted a ndarray, expected"),
    "pixels 0..255": (lambda self, past: (past * 255).byte(), r"predicted shape .* of torch.uint8, expected .* float"),
}


@pytest.mark.parametrize("door", MODEL_DOORS)
@pytest.mark.parametrize("case", WRONG_PREDICTIONS)
def test_a_prediction_of_another_shape_is_one_sentence(tmp_path, door, case):
    forward, sentence = WRONG_PREDICTIONS[case]
    with pytest.raises(ValueError, match=sentence) as caught:
        door(tmp_path, own(forward=forward), CLIPS)
    one_sentence(caught)


@pytest.mark.parametrize("door", MODEL_DOORS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_prediction_that_is_not_finite_is_one_sentence(tmp_path, door, bad):
    model = own(forward=lambda self, past: past * self.weight + bad)
    with pytest.raises((ValueError, RuntimeError), match="NaN or infinity|loss is (nan|inf) at step 1 ") as caught:
        door(tmp_path, model, CLIPS)
    one_sentence(caught)


def test_a_model_that_reads_more_frames_than_it_is_shown_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"past has shape \(6, 2, 1, 8, 8\), expected \(B, 3, C, H, W\)") as caught:
        door_evaluate(tmp_path, own(past=3), CLIPS)
    one_sentence(caught)


def test_the_plainest_own_model_trains_scores_and_rolls_out(tmp_path):
    model = Own()
    history = door_fit(tmp_path, model, CLIPS)
    stored = torch.from_numpy(CLIPS).float() / 255
    expected = (stored[:, :2] * model.weight.detach() - stored[:, 2:]).square().sum((2, 3, 4)).mean().item()
    assert history[0]["validation_mse"] == pytest.approx(expected, rel=1e-5)
    assert door_evaluate(tmp_path, model, CLIPS).overall["mse"] == pytest.approx(expected, rel=1e-5)
    assert torch.equal(rollout(model, stored[:, :2], 2), (stored[:, :2] * model.weight).detach())


# Clips ------------------------------------------------------------------------------------------------------------


class Items(Dataset):
    """An own data set of single clips, as torch's tutorials write it."""

    def __init__(self, clips=CLIPS):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return self.clips[index]


class Batches:
    """An own data set that makes batches."""

    def __init__(self, clips=CLIPS):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def batch(self, indices, device=None):
        return torch.from_numpy(self.clips[list(indices)]).to(device or "cpu")


class Described(Batches):
    """One that says what it is, the same whatever is in it."""

    def describe(self):
        return "clips of our street"


class Named(Described):
    """One that does the whole contract."""

    def fingerprint(self):
        return "street-1"


def of_lengths(*lengths):
    return [np.zeros((n, 1, 8, 8), np.uint8) for n in lengths]


NO_CLIPS = {
    "None": (lambda: None, "is None, expected a MovingMNIST or a sequence"),
    "a number": (lambda: 10, "is a int, expected a MovingMNIST or a sequence"),
    "a text": (lambda: "builtin", "is a str, expected a MovingMNIST or a sequence"),
    "a dictionary": (lambda: {0: CLIPS[0]}, "is a dict, expected a MovingMNIST or a sequence"),
    "a class": (lambda: MovingMNIST, r"is the class MovingMNIST, .*: make one with MovingMNIST\(...\)"),
    "a DataLoader": (lambda: DataLoader(Items()), "is a DataLoader, .*: hand over the data set that it loads from"),
    "a generator": (lambda: (clip for clip in CLIPS), "is a generator, expected a MovingMNIST or a sequence"),
    "an empty list": (list, "is empty, expected at least one clip"),
    "no clips": (lambda: CLIPS[:0], "is empty, expected at least one clip"),
    "one clip": (lambda: CLIPS[0], r"has shape \(4, 1, 8, 8\), expected uint8 clips \(N, T, C, H, W\)"),
    "no channel axis": (lambda: CLIPS[:, :, 0], r"has shape \(6, 4, 8, 8\), expected uint8 clips \(N, T, C, H, W\)"),
    "a scalar": (lambda: torch.tensor(3), r"has shape \(\), expected uint8 clips \(N, T, C, H, W\)"),
    "a list without channel axis": (lambda: list(CLIPS[:, :, 0]), r"clips come as .* \(\d, 4, 8, 8\), expected uint8"),
    "floats": (lambda: CLIPS / 255, "clips come as torch.float64 batches .*: store pixels as 0..255"),
    "float clips in a list": (lambda: [torch.rand(4, 1, 8, 8)] * 3, "clips come as torch.float32 batches"),
    "bool": (lambda: CLIPS > 99, "clips come as torch.bool batches"),
    "lengths": (lambda: of_lengths(4, 5, 4), r"Clip 1 has shape \(5, 1, 8, 8\) and an earlier one \(4, 1, 8, 8\)"),
    "sizes": (lambda: [CLIPS[0], CLIPS[1, ..., :4]], r"Clip 1 has shape \(4, 1, 8, 4\) and an earlier one"),
    "too short": (lambda: CLIPS[:, :3], r"clips have 3 frames, expected at least past \+ horizon = 4"),
    "all too short": (lambda: of_lengths(1, 1), "clips have 1 frames, expected at least"),
    "texts": (lambda: ["a.gif", "b.gif"], "Clip 0 is a str, expected a uint8 array or tensor"),
    "nothing in it": (lambda: [None, None], "Clip 0 is None, expected a uint8 array or tensor"),
    "pairs": (lambda: [(CLIPS[0], 3), (CLIPS[1], 5)], "Clip 0 is a tuple, expected a uint8 array or tensor"),
    "no pixels": (lambda: np.zeros((3, 4, 1, 0, 8), np.uint8), "one axis is empty"),
    "batches of floats": (lambda: Batches(CLIPS / 255), "clips come as torch.float64 batches"),
    "batches without channel axis": (lambda: Batches(CLIPS[:, :, 0]), "clips come as torch.uint8 batches of shape"),
}


@pytest.mark.parametrize("door", CLIP_DOORS)
@pytest.mark.parametrize("case", NO_CLIPS)
def test_what_are_no_clips_is_one_sentence(tmp_path, door, case):
    make, sentence = NO_CLIPS[case]
    with pytest.raises(ValueError, match=sentence) as caught:
        door(tmp_path, Own(), make())
    one_sentence(caught)


@pytest.mark.parametrize("door", CLIP_DOORS)
@pytest.mark.parametrize("gives", [lambda clips: clips[:1], lambda clips: [clips], lambda clips: clips.numpy()])
def test_a_batch_of_another_kind_is_one_sentence(tmp_path, door, gives):
    class Wrong(Batches):
        def batch(self, indices, device=None):
            return gives(super().batch([*indices, 0], device))

    with pytest.raises(
        ValueError, match="gave 1 clips, expected one for each|clips come as a (list|ndarray)"
    ) as caught:
        door(tmp_path, Own(), Wrong())
        if door is door_evaluate_one_by_one:  # one clip for one index is right
            raise ValueError("batch(1 indices) gave 1 clips, expected one for each index.")
    one_sentence(caught)


SETS = {
    "array": lambda: CLIPS,
    "tensor": lambda: torch.from_numpy(CLIPS),
    "list of arrays": lambda: list(CLIPS),
    "tuple of tensors": lambda: tuple(torch.from_numpy(CLIPS)),
    "data set": Items,
    "subset": lambda: torch.utils.data.Subset(Items(), range(6)),
    "batches": Batches,
    "described": Described,
    "named": Named,
}


@pytest.mark.parametrize("kind", SETS)
def test_own_clips_train_and_score_alike(tmp_path, kind):
    torch.manual_seed(0)
    mine, plain = Own(), Own()
    history = door_fit(tmp_path / "mine", mine, SETS[kind]())
    expected = door_fit(tmp_path / "plain", plain, CLIPS)
    assert history[0]["train_loss"] == expected[0]["train_loss"] and torch.equal(mine.weight, plain.weight)
    scores = door_evaluate(tmp_path, mine, SETS[kind]())
    assert scores.overall == door_evaluate(tmp_path, mine, CLIPS).overall
    assert scores.clips == 6 and scores.data and scores.fingerprint


@pytest.mark.parametrize("kind", [np.array, list, Items, Batches, Described])
@pytest.mark.parametrize("clip", range(3))
def test_other_clips_never_share_a_table(tmp_path, kind, clip):
    many = np.random.default_rng(1).integers(0, 256, (70, 4, 1, 8, 8), np.uint8)
    other = many.copy()
    other[[0, 34, 69][clip], 3, 0, 7, 7] ^= 1  # one bit of one pixel of one clip
    scores = [
        door_evaluate(tmp_path, model, kind(clips))
        for model, clips in ((CopyLast(2, 2), many), (AllBlack(2, 2), other))
    ]
    assert scores[0].data == scores[1].data  # in words they are the same
    with pytest.raises(ValueError, match="scores are of different clips") as caught:
        table(dict(zip("ab", scores, strict=True)))
    one_sentence(caught)


@pytest.mark.parametrize("kind", SETS)
def test_the_same_clips_share_a_table_whatever_the_batches(tmp_path, kind):
    scores = {
        "CopyLast": door_evaluate(tmp_path, CopyLast(2, 2), SETS[kind]()),
        "AllBlack": door_evaluate_one_by_one(tmp_path, AllBlack(2, 2), SETS[kind]()),
    }
    assert scores["CopyLast"].fingerprint == scores["AllBlack"].fingerprint
    assert table(scores).count("\n| ") == 3


def test_equal_clips_of_another_shape_or_order_are_others(tmp_path):
    wide = CLIPS.reshape(6, 4, 1, 4, 16)
    found = {
        evaluate(AllBlack(2, 2), clips, past=2, horizon=2, progress=False).fingerprint
        for clips in (CLIPS, np.zeros_like(CLIPS), CLIPS[::-1].copy())
    }
    assert len(found) == 3
    with pytest.raises(ValueError, match="4×16 pixels, expected at least 7×7"):
        evaluate(AllBlack(2, 2), wide, past=2, horizon=2, progress=False)


def test_scores_keep_the_fingerprint_of_a_set_that_has_one(tmp_path):
    assert door_evaluate(tmp_path, CopyLast(2, 2), Named()).fingerprint == "street-1"
    clips = MovingMNIST(3, digits="builtin")
    assert evaluate(CopyLast(), clips, progress=False).fingerprint == clips.fingerprint()


def test_validation_asks_the_same_of_a_model(tmp_path):
    with pytest.raises(ValueError, match="Other predicted a tuple, expected"):
        validation_mse(own(forward=lambda self, past: (past,)), CLIPS)


# Pictures ---------------------------------------------------------------------------------------------------------

DRAWN = {
    "film_strip": lambda clip: viz.film_strip({"it": clip}),
    "comparison_frames": lambda clip: viz.comparison_frames(CLIPS[0, :2], CLIPS[0, 2:], {"it": clip}),
    "clips_gif": lambda clip: viz.clips_gif("never.gif", clip),
    "player": lambda clip: viz.player({"it": clip}),
    "attention_overlay": lambda clip: viz.attention_overlay(clip, np.ones((2, 2, 2))),
}
NO_CLIP = {
    "None": None,
    "a text": "clip",
    "a class": MovingMNIST,
    "a data set": Items(),
    "a DataLoader": DataLoader(Items()),
    "a function": rollout,
    "texts": ["a", "b"],
    "nothing": np.zeros((0, 1, 8, 8), np.uint8),
    "ragged": [[[1.0], [1.0, 2.0]]],
    "two axes": np.zeros((8, 8), np.uint8),
    "two channels": np.zeros((2, 2, 8, 8), np.uint8),
    "NaN": np.full((2, 1, 8, 8), np.nan),
    "infinity": np.full((2, 1, 8, 8), np.inf),
    "pixels as floats": np.full((2, 1, 8, 8), 200.0),
    "whole numbers": np.zeros((2, 1, 8, 8), int),
    "complex": np.zeros((2, 1, 8, 8), complex),
}


@pytest.mark.parametrize("drawing", DRAWN)
@pytest.mark.parametrize("case", NO_CLIP)
def test_what_is_no_clip_is_not_drawn(drawing, case, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"(it|clips|videos|frames) (is|has) .*expected ") as caught:
        DRAWN[drawing](NO_CLIP[case])
    one_sentence(caught)
    assert not list(tmp_path.iterdir())
