"""Predictors that learn nothing: what every trained model has to beat, and what none can.

They are models like any other (``past``, ``horizon``, ``config``, ``forward``), so they roll out, score and draw
the same way.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from skimage.measure import label
from torch import Tensor, nn

from vidlib.checks import check_choice, check_counts, kind_of
from vidlib.flights import expected_frames, future_chances
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import check_video, float_batch


class _Baseline(nn.Module):
    """A model without parameters that looks only at the frames it is given."""

    def __init__(self, horizon: int = 10, past: int = 10) -> None:
        super().__init__()
        check_counts(horizon=horizon, past=past)
        self.past, self.horizon = past, horizon
        self.config = {"horizon": horizon, "past": past}


class CopyLast(_Baseline):
    """Nothing moves: every future frame is the last frame seen.

    ``(B, past, C, H, W)`` to ``(B, horizon, C, H, W)``; a wrong video is a ValueError. About 287 MSE per frame on
    generated Moving MNIST, worse than predicting nothing at all: a digit drawn in the wrong place is wrong twice.
    """

    def forward(self, past: Tensor) -> Tensor:
        check_video(past, "past", frames=self.past, channels=None)
        return past[:, -1:].repeat(1, self.horizon, 1, 1, 1)


class AllBlack(_Baseline):
    """Predict nothing at all: every future pixel is 0.

    ``(B, past, C, H, W)`` to ``(B, horizon, C, H, W)``; a wrong video is a ValueError. About 174 MSE per frame on
    generated Moving MNIST: the mean energy of a frame, and the first bar for a model that blurs.
    """

    def forward(self, past: Tensor) -> Tensor:
        check_video(past, "past", frames=self.past, channels=None)
        return past.new_zeros(len(past), self.horizon, *past.shape[2:])


class ConstantVelocity(_Baseline):
    """Track and fly on: each connected piece of the last frame keeps the velocity that it had in the frames before.

    The velocity is the one, in thirds of a pixel, that best finds the piece again one, two and three frames earlier
    (block matching). It knows no walls, and digits that touch are one piece to it.

    ``(B, past, C, H, W)`` to ``(B, horizon, C, H, W)``; a wrong video, or fewer than four past frames, is a ValueError.
    """

    def __init__(self, horizon: int = 10, past: int = 10) -> None:
        super().__init__(horizon, past)
        if past < 4:
            raise ValueError(f"past is {past}, expected at least 4: velocities are measured over three steps.")

    def forward(self, past: Tensor) -> Tensor:
        check_video(past, "past", frames=self.past, channels=None)
        videos = past.transpose(1, 2).flatten(0, 1).cpu().numpy()  # (B·C, past, H, W)
        future = torch.from_numpy(np.stack([self._fly_on(video) for video in videos]))
        return future.unflatten(0, (len(past), -1)).transpose(1, 2).to(past)

    def _fly_on(self, frames: np.ndarray) -> np.ndarray:
        last = frames[-1]
        future = np.zeros((self.horizon, *last.shape), last.dtype)
        pieces, count = label(last > 0.1, connectivity=2, return_num=True)
        for piece in range(1, count + 1):
            pixels = np.stack(np.nonzero(pieces == piece))  # (2, pixels): rows and columns
            values = last[tuple(pixels)]
            velocity = _velocity(frames, pixels, values)
            for t in range(self.horizon):
                rows, columns = moved = pixels + np.rint((t + 1) * velocity).astype(int)[:, None]
                seen = (rows >= 0) & (rows < last.shape[0]) & (columns >= 0) & (columns < last.shape[1])
                place = tuple(moved[:, seen])
                future[t][place] = np.maximum(future[t][place], values[seen])
        return future


class _Told(_Baseline):
    """A baseline that is told which clips it will see, and finds the one whose past it is shown.

    Args:
        clips: the clips on which it will be asked.
        horizon, past: frames to predict and to look at.

    ``(B, past, 1, 64, 64)`` to ``(B, horizon, 1, 64, 64)``; a wrong video, or one that is not the beginning of a clip
    of ``clips``, is a ValueError.
    """

    def __init__(self, clips: MovingMNIST, horizon: int = 10, past: int = 10) -> None:
        super().__init__(horizon, past)
        if type(clips) is not MovingMNIST:  # a set of another rule is one of another kind
            raise ValueError(f"clips is {kind_of(clips)}, expected a MovingMNIST, whose rules this baseline knows.")
        # the same clips, as long as they are asked for
        self.clips = MovingMNIST(
            len(clips), digits=clips.digits, seed=clips.seed, n_digits=clips.n_digits, frames=past + horizon
        )
        self._index: dict[bytes, int] = {}

    def _which(self, past: Tensor) -> list[int]:
        """The numbers of the clips that begin so."""
        check_video(past, "past", frames=self.past, channels=None)
        if not self._index:
            for start in range(0, len(self.clips), 500):
                indices = range(start, min(start + 500, len(self.clips)))
                beginnings = self.clips.batch(indices)[:, : self.past]
                self._index |= {_fingerprint(clip): i for i, clip in zip(indices, beginnings, strict=True)}
        found = [self._index.get(_fingerprint(clip)) for clip in (past * 255).round().to(torch.uint8).cpu()]
        if None in found:
            raise ValueError(
                f"past[{found.index(None)}] is not the beginning of one of the {len(self.clips):,} clips that the "
                f"{self.NAME} was told: give it the set on which it is asked, and the whole horizon in one prediction."
            )
        return found


class IdealObserver(_Told):
    """Knows all that ten frames can tell, and nothing more: no model has a smaller expected MSE.

    It is told the digits and their whole-pixel corners in the past frames, nothing of what comes, and averages the
    future over all flights that agree with them (:mod:`vidlib.flights`). Its error is what nobody could know: what is
    left of a model's MSE above it is the model's own. The mean is blurred where flights part.

    Arguments, shapes and errors as for :class:`PhysicsOracle`.
    """

    NAME = "ideal observer"

    def forward(self, past: Tensor) -> Tensor:
        found = self._which(past)
        digits, positions, _ = self.clips.trajectories(found)
        future = [
            expected_frames(
                self.clips.digits.images[chosen],
                future_chances(paths, self.past, self.past + self.horizon),
            )
            for chosen, paths in zip(digits, positions[:, :, : self.past], strict=True)
        ]
        return torch.from_numpy(np.stack(future)[:, :, None]).to(past)


class PhysicsOracle(_Told):
    """Knows everything: it is told which clip it looks at, and continues it by the rules. Its error is 0.

    That a perfect score exists shows that the future of these clips is certain once the flights are known to the last
    digit. Ten frames of whole pixels don't tell them so exactly: see :class:`IdealObserver`.

    Args:
        clips: the clips on which it will be asked.
        horizon, past: frames to predict and to look at.

    ``(B, past, 1, 64, 64)`` to ``(B, horizon, 1, 64, 64)``; a wrong video, or one that is not the beginning of a clip
    of ``clips``, is a ValueError.
    """

    NAME = "oracle"

    def forward(self, past: Tensor) -> Tensor:
        return float_batch(self.clips, self._which(past), self.past + self.horizon)[:, self.past :].to(past)


BASELINES: dict[str, type[nn.Module]] = {
    "copy-last": CopyLast,
    "all-black": AllBlack,
    "constant-velocity": ConstantVelocity,
}
TOLD: dict[str, type[nn.Module]] = {  # what they know comes from the clips themselves
    "ideal-observer": IdealObserver,
    "oracle": PhysicsOracle,
}
BESIDE_SCORES = ("copy-last", "all-black")  # cheap enough to stand beside every score


def baseline(name: str, clips: MovingMNIST, horizon: int = 10, past: int = 10) -> nn.Module:
    """Any baseline by its name in :data:`BASELINES` or :data:`TOLD`, for these clips.

    Raises:
        ValueError: no such baseline, or clips of another kind where it has to be told them.
    """
    check_choice([*BASELINES, *TOLD], name=name)
    return TOLD[name](clips, horizon, past) if name in TOLD else BASELINES[name](horizon, past)


def _velocity(frames: np.ndarray, pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The (row, column) pixels per frame with which these pixels of the last frame are found again before it."""
    line = np.arange(-13, 14) / 3  # up to 4⅓ pixels each way; thirds are what three steps can tell apart
    candidates = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    candidates = candidates[np.argsort((candidates**2).sum(1), kind="stable")]  # of equals, the slowest
    error, margin = np.zeros(len(candidates)), 13  # three steps of 4⅓ pixels
    for back in (1, 2, 3):
        frame = np.pad(frames[-1 - back], margin)
        rows, columns = (pixels[:, None] - np.rint(back * candidates).astype(int).T[:, :, None]) + margin
        error += np.square(frame[rows, columns] - values).sum(1)
    return candidates[error.argmin()]


def _fingerprint(clip: Tensor) -> bytes:
    return hashlib.sha256(clip.numpy().tobytes()).digest()
