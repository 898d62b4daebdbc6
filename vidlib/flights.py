"""What seen pixels tell of a flight: every start and velocity that agrees with them, and where the digit may be next.

A digit's whole-pixel corners in the past frames don't fix its flight. The rule of :mod:`vidlib.moving_mnist` draws the
start uniformly from the unit square and the angle uniformly from the circle, so all flights that agree with the
corners are equally likely, area for area. Along one axis the rule is linear: with u the speed and z the distance to
the wall ahead, z falls by u a frame until the hit; after it, z depends on u alone, since the clamp forgets the
overshoot. The flights that agree are therefore polygons in (z, u), one for each step that may have met the wall, and
only the angle ties the two axes together. No random numbers are drawn: the one approximation is a grid over angles
and starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vidlib.checks import check_counts, kind_of
from vidlib.moving_mnist import CANVAS, FREE_RANGE, SPEED, step

ANGLES, STARTS = 64, 16  # grid points along an arc of angles and along an interval of starts
_CROSSING = round(1 / SPEED)  # the fewest steps from one wall to the other


class Flights(NamedTuple):
    """The flights of one digit that agree with its corners, on a grid.

    Attributes:
        start: ``(A, S, 2)``, for each of A angles S equally likely starts x and S equally likely starts y, independent
            of each other, in units of the free range.
        velocity: ``(A, 2)``, units of the free range per frame.
        weight: ``(A,)``, the probability of each angle; they sum to 1.
    """

    start: np.ndarray
    velocity: np.ndarray
    weight: np.ndarray


def flights(corners: Any, angles: int = ANGLES, starts: int = STARTS) -> Flights:
    """Every flight of one digit that agrees with its corners in the first frames of a clip.

    Args:
        corners: ``(frames, 2)`` whole numbers, (x, y) in pixels.
        angles: grid points in each arc of angles that agrees.
        starts: grid points in the interval of starts that agree with an angle.

    Raises:
        ValueError: other corners, or corners that no flight of the official rule leaves; a count out of range.
    """
    check_counts(angles=angles, starts=starts)
    found = np.asarray(corners)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found) or found.dtype.kind not in "iu":
        came = f"{found.dtype} {found.shape}" if isinstance(corners, np.ndarray) else kind_of(corners)
        raise ValueError(f"corners are {came}, expected whole numbers (frames, 2): those of one digit.")
    x, y = (_axis(found[:, axis]) for axis in (0, 1))
    # Within the hypotheses both signs are known, so that the angle lies in one quarter of the circle.
    low = np.maximum(_arc(np.arccos, x.fast)[:, None], _arc(np.arcsin, y.slow))  # (hypotheses of x, of y)
    high = np.minimum(_arc(np.arccos, x.slow)[:, None], _arc(np.arcsin, y.fast))
    of_x, of_y = np.nonzero(high > low)
    low, high = low[of_x, of_y, None], high[of_x, of_y, None]
    turn = low + (high - low) * (np.arange(angles) + 0.5) / angles  # (arcs, angles)
    middles = (np.arange(starts) + 0.5) / starts
    start, velocity, weight = [], [], (high - low) / angles
    for axis, which, speed in ((x, of_x, SPEED * np.cos(turn)), (y, of_y, SPEED * np.sin(turn))):
        near, far = axis.starts(which, speed)
        distance = near[..., None] + (far - near)[..., None] * middles  # to the wall ahead
        sign = axis.sign[which, None]
        start.append(np.where(sign[..., None] > 0, 1 - distance, distance))
        velocity.append(sign * speed)
        weight = weight * (far - near).clip(0)
    if not weight.sum():
        raise ValueError(
            f"no flight leaves the corners {found.tolist()}, expected those of one digit from frame 1 on, by the "
            "official rule of Moving MNIST."
        )
    likely = weight > 0
    return Flights(np.stack(start, axis=-1)[likely], np.stack(velocity, axis=-1)[likely], weight[likely] / weight.sum())


class _Axis(NamedTuple):
    """H hypotheses of one coordinate: which wall is ahead, and at which step it is hit.

    ``z ≥ lower[0] + lower[1]·u`` and ``z ≤ upper[0] + upper[1]·u`` bound the start's distance z to the wall ahead at
    speed u, each ``(2, H, lines)``; speeds from ``slow`` to ``fast`` leave room between them.
    """

    sign: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    slow: np.ndarray
    fast: np.ndarray

    def starts(self, which: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest z at speeds ``(arcs, angles)`` of these hypotheses ``(arcs,)``."""
        near, far = (lines[:, which, None, :] for lines in (self.lower, self.upper))
        speed = speed[..., None]
        return (near[0] + near[1] * speed).max(-1), (far[0] + far[1] * speed).min(-1)


def _axis(corners: np.ndarray) -> _Axis:
    """The hypotheses that agree with the corners of one coordinate, ``(frames,)``."""
    rows = []
    for sign in (1, -1):
        edges = np.stack([corners, corners + 1]) / FREE_RANGE  # of the pixel that holds the position
        near, far = 1 - edges[::-1] if sign > 0 else edges  # as distances to the wall ahead
        walls = np.array([FREE_RANGE, 0][::sign])  # the corner at the wall ahead and at the one behind
        hits = np.flatnonzero(corners == walls[0]) + 1  # a clamped digit is on the wall to the bit
        for hit in (*hits, len(corners) + 1):  # the last: no wall was met
            # steps from that wall to the other, where both are seen
            crossings = range(_CROSSING, len(corners) - hit + 1)
            for turn in (*crossings, None):
                bounds = _bounds(corners, near, far, walls, hit, turn)
                if bounds is not None:
                    rows.append((sign, *bounds))
    if not rows:
        none = np.zeros((2, 0, 1))
        return _Axis(np.zeros(0), none, none, np.zeros(0), np.zeros(0))
    sign, lower, upper, slow, fast = zip(*rows, strict=True)
    return _Axis(np.array(sign), np.stack(lower, 1), np.stack(upper, 1), np.array(slow), np.array(fast))


def _bounds(
    corners: np.ndarray, near: np.ndarray, far: np.ndarray, walls: np.ndarray, hit: int, turn: int | None
) -> tuple[np.ndarray, np.ndarray, float, float] | None:
    """The lines and speeds of one hypothesis, or ``None`` where it contradicts the corners.

    Args:
        corners: ``(frames,)``.
        near, far: ``(frames,)``, the distances to the wall ahead between which each corner says that the digit was.
        walls: the corner at the wall ahead and at the one behind.
        hit: the step that meets the wall ahead.
        turn: how many steps later it meets the other, which says what the speed is; ``None``: not within the frames.
    """
    frames = len(corners)
    steps = np.arange(1, frames + 1)
    before = steps < hit
    lower, upper = np.full((2, frames + 2), -np.inf), np.full((2, frames + 2), np.inf)
    lower[1] = upper[1] = 0
    lower[:, :2] = [[0, 0], [0, hit - 1]]  # a start on the canvas, and no hit before that step
    upper[:, :2] = [[1, 0 if hit <= frames else np.inf], [0, hit if hit <= frames else 0]]
    lower[:, 2:][:, before], upper[:, 2:][:, before] = (near[before], steps[before]), (far[before], steps[before])

    slow, fast = 0.0, SPEED
    if turn:
        slow, fast = 1 / turn, min(fast, 1 / (turn - 1))
    elif hit < frames:
        fast = min(fast, 1 / (frames - hit))
    crossings, since = np.divmod(steps[~before] - hit, turn or frames + 1)
    corners, near, far = corners[~before], near[~before], far[~before]
    on_wall, outward = since == 0, crossings % 2 == 0
    if (corners[on_wall] != walls[crossings[on_wall] % 2]).any():
        return None
    flying = ~on_wall
    outward, since = outward[flying], since[flying]
    ahead = np.where(outward, near[flying], 1 - far[flying])  # distances to the wall that was left last
    behind = np.where(outward, far[flying], 1 - near[flying])
    slow = max([slow, *(ahead / since)])
    fast = min([fast, *(behind / since)])

    slope = lower[1][:, None] - upper[1]  # Fourier-Motzkin: no start is left where a lower line is above an upper one
    room = upper[0] - lower[0][:, None]
    if (room[slope == 0] < 0).any():
        return None
    fast = min(fast, (room[slope > 0] / slope[slope > 0]).min(initial=np.inf))
    slow = max(slow, (room[slope < 0] / slope[slope < 0]).max(initial=-np.inf))
    return (lower, upper, slow, fast) if slow < fast else None


def _arc(angle_of: np.ufunc, speed: np.ndarray) -> np.ndarray:
    return angle_of((speed / SPEED).clip(0, 1))


def corner_chances(found: Flights, first: int, stop: int) -> np.ndarray:
    """How likely each corner is in the frames ``first`` to ``stop - 1``, counted from 0.

    Returns:
        ``(stop - first, 37, 37)``, over x and y; each frame sums to 1.
    """
    place, velocity = found.start, np.broadcast_to(found.velocity[:, None], found.start.shape)
    angles, starts, _ = place.shape
    chances = np.zeros((stop - first, FREE_RANGE + 1, FREE_RANGE + 1))
    rows = np.arange(angles)[:, None, None]
    for frame in range(stop):
        place, velocity, _ = step(place, velocity)
        if frame >= first:
            share = np.zeros((angles, 2, FREE_RANGE + 1))  # of the starts, for each angle and axis
            np.add.at(share, (rows, [0, 1], (FREE_RANGE * place).astype(int)), 1 / starts)
            chances[frame - first] = (found.weight[:, None] * share[:, 0]).T @ share[:, 1]
    return chances


def future_chances(paths: np.ndarray, first: int, stop: int) -> np.ndarray:
    """:func:`corner_chances` of each digit, over all flights that agree with its seen corners.

    Args:
        paths: ``(n, past, 2)``, corners (x, y) of n digits in the frames that were seen.

    Returns:
        ``(n, stop - first, 37, 37)``.
    """
    return np.stack([corner_chances(flights(path), first, stop) for path in paths])


def expected_frames(images: np.ndarray, chances: np.ndarray, power: int = 1) -> np.ndarray:
    """The mean of the frames in which each digit is at a random place, independent of the others; overlaps by maximum.

    No prediction has a smaller expected squared error.

    Args:
        images: ``(n, 28, 28)`` uint8, one for each digit.
        chances: ``(n, frames, 37, 37)``, over x and y.
        power: of the pixels that are averaged: 2 gives the mean of the squares, of which a variance is made.

    Returns:
        ``(frames, 64, 64)`` float64 in [0, 1].
    """
    shifts = [
        sliding_window_view(np.pad(image, FREE_RANGE), (CANVAS, CANVAS))[::-1, ::-1]  # [y, x]: pasted at that corner
        for image in images
    ]
    means = np.zeros((chances.shape[1], CANVAS * CANVAS))
    for frame, mean in enumerate(means):
        places = [np.nonzero(chance) for chance in chances[:, frame]]
        weights = [chance[place] for chance, place in zip(chances[:, frame], places, strict=True)]
        pasted = [shift[y, x].reshape(len(x), -1) for shift, (x, y) in zip(shifts, places, strict=True)]
        each = np.stack(
            [weight @ values.astype(float) ** power for weight, values in zip(weights, pasted, strict=True)]
        )
        mean[:] = each.sum(0)  # the rest is black
        shared = (each > 0).sum(0) > 1
        if shared.any():
            mean[shared] = _mean_of_maximum([values[:, shared] for values in pasted], weights, power)
    return means.reshape(-1, CANVAS, CANVAS) / 255**power


def _mean_of_maximum(values: Sequence[np.ndarray], weights: Sequence[np.ndarray], power: int = 1) -> np.ndarray:
    """``(pixels,)``: the mean power of the largest of n independent values 0…255, each ``(places, pixels)``.

    The largest is at most v where all are, so that its distribution is the product of theirs.
    """
    count = values[0].shape[1]
    at_most = np.ones((256, count))
    for levels, weight in zip(values, weights, strict=True):
        cells = levels.astype(int) * count + np.arange(count)
        spread = np.broadcast_to(weight[:, None], levels.shape)
        at_most *= np.bincount(cells.ravel(), spread.ravel(), 256 * count).reshape(256, count).cumsum(0)
    rises = np.diff(np.arange(256.0) ** power)[:, None]  # from each value to the next
    return ((1 - at_most[:-1]) * rises).sum(0)
