"""What an error is made of: what nobody can know, then where, sharpness and identity.

Let m be the ideal observer's frame: the mean of the truth y over all that the past leaves open. A prediction p sees no
more than the past, so its error splits in two, and what is left over has mean 0 (it is 0 over many clips, not in one):

    ‖p - y‖² = ‖m - y‖² + ‖p - m‖² + 2⟨p - m, m - y⟩        unknowable + avoidable + chance

The avoidable part is split in three, which sum to it in every frame. First each digit of p is moved to where it fits m
best; what that wins is *where*. Then the moved prediction p' is projected onto the span of the right digits, sharp and
blurred to several widths, each as bright as one likes. The projection b is the nearest that the right digits come to
p': what b lacks of m is *sharpness*, and what p' has beside b, other strokes, is *identity*. Since p' - b is orthogonal
to that span, which holds m as well, Pythagoras says ‖p' - m‖² = ‖b - m‖² + ‖p' - b‖².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidlib.checks import check_counts, kind_of
from vidlib.flights import expected_frames, future_chances
from vidlib.iterative import rollout
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import check_model, check_shape, device_of, float_batch

PARTS = ("unknowable", "where", "sharpness", "identity", "chance")
REACH = 8  # pixels: a bounce that comes two frames late puts a digit 7 pixels off
BLURS = (0.0, 1.0, 2.0, 4.0, 8.0)  # widths (standard deviations) in pixels
_AT_ONCE = 4  # clips


@dataclass(frozen=True)
class Knowable:
    """What ten frames tell of the next ones, digit by digit.

    Attributes:
        past: ``(clips, past, 1, H, W)``, what a model is shown.
        truth: ``(clips, horizon, H, W)``.
        ideal: the ideal observer's frames, of the same shape.
        digits: ``(clips, n, horizon, H, W)``, the ideal observer's frames of each digit alone.
    """

    past: Tensor
    truth: Tensor
    ideal: Tensor
    digits: Tensor


def knowable(clips: MovingMNIST, count: int, past: int = 10, horizon: int = 10) -> Knowable:
    """What the past of the first ``count`` clips tells of their future, averaged over all flights that agree with it.

    Raises:
        ValueError: clips of another rule than the official one, or too few or too short ones.
    """
    if type(clips) is not MovingMNIST:
        raise ValueError(f"clips is {kind_of(clips)}, expected a MovingMNIST, whose rules are known.")
    check_counts(count=count, highest=len(clips))
    check_counts(past=past, horizon=horizon)
    video = float_batch(clips, range(count), past + horizon)
    which, corners, _ = clips.trajectories(range(count))
    ideal, digits = [], []
    for chosen, paths in zip(which, corners[:, :, :past], strict=True):
        images = clips.digits.images[chosen]
        chances = future_chances(paths, past, past + horizon)
        ideal.append(expected_frames(images, chances))
        digits.append([expected_frames(images[k : k + 1], chances[k : k + 1]) for k in range(len(images))])
    return Knowable(
        video[:, :past], video[:, past:, 0], *(torch.from_numpy(np.array(each)).float() for each in (ideal, digits))
    )


def decompose(model: nn.Module, found: Knowable, reach: int = REACH) -> dict[str, np.ndarray]:
    """A model's squared error in parts: name in :data:`PARTS` → ``(clips, horizon)``, which sum to its MSE per frame.

    Args:
        found: from :func:`knowable`.
        reach: how far a digit may be moved, in pixels each way.

    Raises:
        ValueError: no model, or one that does not fit the clips.
    """
    check_model(model)
    device, parts = device_of(model), []
    for start in range(0, len(found.past), _AT_ONCE):
        chosen = slice(start, start + _AT_ONCE)
        with torch.no_grad():
            prediction = rollout(model, found.past[chosen].to(device), found.truth.shape[1])[:, :, 0].cpu()
        parts.append(parts_of(prediction, found.truth[chosen], found.ideal[chosen], found.digits[chosen], reach))
    return {name: np.concatenate([part[name] for part in parts]) for name in PARTS}


def parts_of(prediction: Tensor, truth: Tensor, ideal: Tensor, digits: Tensor, reach: int = REACH) -> dict[str, Any]:
    """The parts of :func:`decompose` for predicted frames.

    Args:
        prediction, truth, ideal: ``(B, T, H, W)``.
        digits: ``(B, n, T, H, W)``, what each digit adds to ``ideal``.

    Raises:
        ValueError: other shapes.
    """
    for name, frames in (("prediction", prediction), ("truth", truth), ("ideal", ideal)):
        check_shape(name, frames, *truth.shape)
    check_shape("digits", digits, len(truth), "n", *truth.shape[1:])
    check_counts(0, reach=reach)
    p, y, m = (frames.double().flatten(0, 1) for frames in (prediction, truth, ideal))  # (N, H, W)
    alone = digits.double().transpose(1, 2).flatten(0, 1)  # (N, n, H, W)
    unknowable = _energy(m - y)
    total, avoidable = _energy(p - y), _energy(p - m)
    moved = repair_places(p, m, alone, reach)
    wide = F.pad(m, (reach,) * 4)
    left = _energy(moved.frames - wide)
    sharpness = _energy(_nearest_blur(moved.frames, m, alone, reach) - wide)
    parts = (unknowable, avoidable - left, sharpness, left - sharpness, total - unknowable - avoidable)
    return {name: part.view(truth.shape[:2]).numpy() for name, part in zip(PARTS, parts, strict=True)}


class Repaired(NamedTuple):
    """Frames whose digits were moved to where they fit best.

    Attributes:
        frames: ``(N, H + 2·reach, W + 2·reach)``, with a margin, so that nothing is lost beyond the border.
        shifts: ``(N, n, 2)``, the rows and columns by which each digit was moved.
    """

    frames: Tensor
    shifts: Tensor


def repair_places(frames: Tensor, target: Tensor, digits: Tensor, reach: int = REACH) -> Repaired:
    """Move each digit of some frames to where the whole comes nearest to a target.

    A pixel belongs to the digit whose centre is nearest in ``digits``: a digit that has strayed far to another one is
    taken for that one's.

    Args:
        frames, target: ``(N, H, W)``.
        digits: ``(N, n, H, W)``, the target's digits alone.
        reach: the longest shift in pixels each way.

    Raises:
        ValueError: other shapes.
    """
    check_shape("frames", frames, "N", "H", "W")
    check_shape("target", target, *frames.shape)
    check_shape("digits", digits, len(frames), "n", *frames.shape[1:])
    pieces = F.pad(frames[:, None] * _owners(digits), (reach,) * 4)  # (N, n, H + 2r, W + 2r)
    goal = F.pad(target, (reach,) * 4)
    shifts = torch.zeros(*pieces.shape[:2], 2, dtype=torch.long)
    for k in range(pieces.shape[1]):
        rest = goal - pieces.sum(1) + pieces[:, k]  # what this piece has to match, while the others stay
        shifts[:, k] = best_shifts(pieces[:, k], rest, reach)
        pieces[:, k] = shifted(pieces[:, k], shifts[:, k])
    return Repaired(pieces.sum(1), shifts)


def best_shifts(pieces: Tensor, targets: Tensor, reach: int) -> Tensor:
    """The shift (rows, columns) of each piece with the smallest squared error to its target; the shortest of equals.

    ‖S p - t‖² = ‖p‖² - 2⟨S p, t⟩ + ‖t‖² as long as nothing leaves the frame, so that the best shift is the peak of the
    cross-correlation, which is one product of Fourier transforms.

    Args:
        pieces, targets: ``(N, H, W)``; pieces with a black margin of ``reach``.

    Returns:
        ``(N, 2)`` int64, each from -reach to reach.
    """
    spectrum = torch.fft.rfft2(targets.double()) * torch.fft.rfft2(pieces.double()).conj()
    matches = torch.fft.irfft2(spectrum, s=pieces.shape[1:])  # [dy, dx]: ⟨shifted piece, target⟩
    line = torch.arange(-reach, reach + 1)
    shifts = torch.cartesian_prod(line, line)
    shifts = shifts[shifts.square().sum(1).argsort(stable=True)]
    found = matches[:, shifts[:, 0], shifts[:, 1]]  # (N, shifts); negative ones count from the end
    least = 1e-9 * (1 + pieces.double().square().sum((1, 2)))  # less is rounding, and no reason to move
    good = found >= found.amax(1, keepdim=True) - least[:, None]
    return shifts[good.int().argmax(1)]


def shifted(frames: Tensor, shifts: Tensor) -> Tensor:
    """Each frame ``(N, H, W)`` shifted by its (rows, columns) ``(N, 2)``, around the border."""
    count, height, width = frames.shape
    rows = (torch.arange(height) - shifts[:, :1]) % height
    columns = (torch.arange(width) - shifts[:, 1:]) % width
    return frames[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _owners(digits: Tensor) -> Tensor:
    """``(N, n, H, W)``: 1 where a pixel is nearest to the centre of this digit."""
    rows, columns = (torch.arange(size, dtype=digits.dtype) for size in digits.shape[2:])
    mass = digits.sum((2, 3)).clamp_min(1e-12)
    down, right = (digits.sum(3) @ rows) / mass, (digits.sum(2) @ columns) / mass  # (N, n)
    distance = (rows - down[..., None]).square()[..., None] + (columns - right[..., None]).square()[..., None, :]
    return F.one_hot(distance.argmin(1), digits.shape[1]).movedim(-1, 1).to(digits.dtype)


def _nearest_blur(frames: Tensor, whole: Tensor, digits: Tensor, reach: int) -> Tensor:
    """The projection of wide frames onto the span of the right digits, sharp and blurred, and of their frame."""
    basis = [whole[:, None]]
    for width in BLURS:
        blur = _blur(width, digits.shape[2]), _blur(width, digits.shape[3])
        basis.append(blur[0] @ digits @ blur[1])
    span = F.pad(torch.cat(basis, dim=1), (reach,) * 4).flatten(2)  # (N, 1 + n·widths, pixels)
    # An orthonormal basis from the singular vectors: the digits' sum is their frame wherever they don't overlap.
    left, values, _ = torch.linalg.svd(span @ span.transpose(1, 2))
    kept = values > 1e-10 * values[:, :1].clamp_min(1e-12)
    axes = (left.transpose(1, 2) * kept[..., None] / values.clamp_min(1e-12).sqrt()[..., None]) @ span
    return ((axes @ frames.flatten(1)[..., None]).transpose(1, 2) @ axes).view(frames.shape)


def _blur(width: float, size: int) -> Tensor:
    """``(size, size)``, symmetric: multiplied from either side it blurs an axis; light that would leave is lost."""
    if width == 0:
        return torch.eye(size, dtype=torch.float64)
    line = torch.arange(size, dtype=torch.float64)
    bell = torch.exp(-0.5 * ((line[:, None] - line) / width).square())
    return bell / (width * (2 * np.pi) ** 0.5)


def _energy(frames: Tensor) -> Tensor:
    return frames.square().sum((1, 2))
