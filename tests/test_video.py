"""The tensor convention at the door: right videos pass, wrong ones are one sentence that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidlib.checks import check_counts
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import check_video, float_batch

RIGHT = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "video",
    [
        RIGHT,
        RIGHT.double(),
        RIGHT.half(),
        RIGHT.bfloat16(),
        RIGHT.clone().requires_grad_(),
        RIGHT.transpose(3, 4),
        RIGHT * 1.4 - 0.2,  # an unclipped prediction
        torch.zeros(1, 1, 1, 1, 1),
    ],
)
def test_a_video_passes(video):
    assert check_video(video) is None


@pytest.mark.parametrize("options", [{"frames": 3}, {"channels": None}, {"size": (8, 8)}, {"frames": 3, "channels": 1}])
def test_what_is_asked_for_is_checked(options):
    assert check_video(RIGHT, **options) is None


@pytest.mark.parametrize(
    "video, options, sentence",
    [
        ([[0.0]], {}, r"list, expected a torch tensor \(B, T, 1, H, W\): convert it with torch.from_numpy\."),
        (np.zeros((2, 3, 1, 8, 8)), {}, r"ndarray, expected a torch tensor \(B, T, 1, H, W\)"),
        (RIGHT[0], {}, r"\(3, 1, 8, 8\), expected \(B, T, 1, H, W\)\. Add a batch axis with video\[None\]\."),
        (RIGHT[0, 0], {}, r"shape \(1, 8, 8\), expected \(B, T, 1, H, W\)\.$"),
        (RIGHT, {"frames": 10}, r"shape \(2, 3, 1, 8, 8\), expected \(B, 10, 1, H, W\)\.$"),
        (RIGHT, {"size": (8, 16)}, r"expected \(B, T, 1, 8, 16\)\.$"),
        (RIGHT.transpose(1, 2), {}, r"shape \(2, 1, 3, 8, 8\), expected \(B, T, 1, H, W\)"),
        (RIGHT[:0], {}, r"shape \(0, 3, 1, 8, 8\): one axis is empty, expected at least one element in each"),
        ((RIGHT * 255).to(torch.uint8), {}, r"dtype torch.uint8, expected float in \[0, 1\]: .*video.float\(\) / 255"),
        (RIGHT.long(), {}, "dtype torch.int64, expected float"),
        (RIGHT > 0.5, {}, "dtype torch.bool, expected float"),
        (RIGHT * 255, {}, r"values from .* to 2\d\d.*, expected a float in \[0, 1\]: divide 0..255 pixels by 255"),
        (RIGHT / 2 - 3.9, {}, r"values from -3\.\d+ to -3\.\d+, expected a float"),
        (
            RIGHT.where(RIGHT.min() < RIGHT, torch.nan),
            {},
            "values from nan to nan, expected .* look for NaN or infinity",
        ),
        (RIGHT.where(RIGHT.min() < RIGHT, torch.inf), {}, "to inf, expected"),
        (RIGHT.where(RIGHT.min() < RIGHT, -torch.inf), {}, "from -inf to"),
    ],
)
def test_a_wrong_video_is_one_sentence(video, options, sentence):
    with pytest.raises(ValueError, match=rf"^it (is|has) .*{sentence}"):
        check_video(video, "it", **options)


@pytest.mark.parametrize("value", [0, -3, 1.0, "2", True, None])
def test_a_count_is_a_whole_number_from_one(value):
    with pytest.raises(ValueError, match=rf"frames is {value!r}, expected a whole number of at least 1\."):
        check_counts(size=8, frames=value)


def test_counts_from_a_lower_start():
    assert check_counts(0, seed=0, other=np.int64(5)) is None
    with pytest.raises(ValueError, match="seed is -1, expected a whole number of at least 0"):
        check_counts(0, seed=-1)


CLIPS = np.random.default_rng(0).integers(0, 256, (5, 6, 1, 8, 8), np.uint8)


def read_only():
    clips = CLIPS.copy()
    clips.flags.writeable = False  # as a memory-mapped file is
    return clips


@pytest.mark.parametrize(
    "clips", [CLIPS, read_only(), list(CLIPS), torch.from_numpy(CLIPS), list(torch.from_numpy(CLIPS))]
)
@pytest.mark.filterwarnings("error")
def test_a_batch_is_those_clips_cut_and_scaled(clips):
    batch = float_batch(clips, [3, 0], 4)
    assert batch.dtype == torch.float32 and batch.shape == (2, 4, 1, 8, 8)
    assert np.array_equal(batch.numpy(), CLIPS[[3, 0], :4].astype(np.float32) / 255)


def test_generated_clips_come_through_their_batched_path(monkeypatch):
    clips = MovingMNIST(9, digits="builtin")
    expected = clips.batch([7, 2])[:, :20].float() / 255
    monkeypatch.setattr(MovingMNIST, "__getitem__", lambda self, index: pytest.fail("made one by one"))
    assert torch.equal(float_batch(clips, [7, 2], 20), expected)


@pytest.mark.parametrize(
    "clips, sentence",
    [
        (CLIPS.astype(np.float32), "clips come as torch.float32 batches of shape .*, expected uint8 clips"),
        (CLIPS[:, :, 0], r"clips has shape \(5, 6, 8, 8\), expected uint8 clips \(N, T, C, H, W\)"),
        (list(CLIPS[:, :, 0]), r"batches of shape \(2, 6, 8, 8\), expected uint8 clips \(T, C, H, W\)"),
        (CLIPS[:, :3], r"clips have 3 frames, expected at least past \+ horizon = 4"),
    ],
)
def test_clips_of_another_kind_are_one_sentence(clips, sentence):
    with pytest.raises(ValueError, match=sentence):
        float_batch(clips, [0, 1], 4)
