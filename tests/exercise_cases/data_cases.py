"""Answers to the exercises of notebook 1.

``RIGHT``: right answers that are written in another way than the solution; the package's function where it has one.
``MISTAKES``: at least four typical wrong answers, each with words that the check's sentence must have. Functions of
their own, not the slips of the lesson's file, which are tried too.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from vidlib import metrics
from vidlib.moving_mnist import step as physics_step


def step_by_sides(positions, velocities):
    low, high = positions + velocities <= 0, positions + velocities >= 1
    moved = np.where(low, 0.0, np.where(high, 1.0, positions + velocities))
    return moved, velocities * np.where(low | high, -1, 1)


def step_in_loops(positions, velocities):
    positions, velocities = positions.copy(), velocities.copy()
    for digit in range(len(positions)):
        for axis in range(2):
            new = positions[digit, axis] + velocities[digit, axis]
            if new <= 0 or new >= 1:
                new = 0.0 if new <= 0 else 1.0
                velocities[digit, axis] *= -1
            positions[digit, axis] = new
    return positions, velocities


def step_in_place(positions, velocities):
    positions += velocities
    velocities[(positions <= 0) | (positions >= 1)] *= -1
    positions[:] = positions.clip(0, 1)
    return positions, velocities


def mirror(positions, velocities):
    moved = positions + velocities
    velocities = np.where((moved <= 0) | (moved >= 1), -velocities, velocities)
    moved = np.where(moved < 0, -moved, moved)
    return np.where(moved > 1, 2 - moved, moved), velocities


def flips_both(positions, velocities):
    new, _, hit = physics_step(positions, velocities)
    return new, np.where(hit.any(-1, keepdims=True), -velocities, velocities)


def strict_edge(positions, velocities):
    moved = positions + velocities
    return np.clip(moved, 0, 1), np.where((moved < 0) | (moved > 1), -velocities, velocities)


def mse_as_float(prediction, truth):
    return float(sum(((p - t) ** 2).sum() for p, t in zip(prediction, truth, strict=True)) / math.prod(truth.shape[:2]))


def fly_with_grid_sample(past, horizon):
    """By indices instead of slices: each pixel looks up where it came from."""
    height, width = past.shape[3:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clips = []
    for frames in past[:, :, 0]:
        centres = []
        for frame in frames[-2:]:
            total = float(frame.sum()) or 1.0
            centres.append((float((frame * rows).sum()) / total, float((frame * columns).sum()) / total))
        (y0, x0), (y1, x1) = centres
        future = []
        for t in range(1, horizon + 1):
            y, x = rows - round(t * (y1 - y0)), columns - round(t * (x1 - x0))
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            future.append(frames[-1][y.clamp(0, height - 1), x.clamp(0, width - 1)] * inside)
        clips.append(torch.stack(future)[:, None])
    return torch.stack(clips)


def fly_around(past, horizon):
    """On a canvas without borders, as `roll` makes it."""
    future = torch.zeros(len(past), horizon, *past.shape[2:])
    for clip, (before, after) in enumerate(past[:, -2:, 0]):
        if after.any():
            rows, columns = (torch.arange(float(n)) for n in after.shape)
            dy = after.sum(1) @ rows / after.sum() - before.sum(1) @ rows / before.sum()
            dx = after.sum(0) @ columns / after.sum() - before.sum(0) @ columns / before.sum()
            for t in range(horizon):
                future[clip, t, 0] = after.roll((round(float((t + 1) * dy)), round(float((t + 1) * dx))), (0, 1))
    return future


def fly_from_brightest(past, horizon):
    """The brightest pixel for the centre of mass."""
    spots = past.clone()
    spots[:] = (past == past.amax((3, 4), keepdim=True)) * (past > 0)
    future = fly_with_grid_sample(spots, horizon)
    return future * past.amax()


def flies_in_place(past, horizon):
    future = fly_with_grid_sample(past, horizon)
    past[:, -1] = 0
    return future


RIGHT = {
    "step": [step_by_sides, lambda p, v: physics_step(p, v)[:2], lambda p, v: list(step_by_sides(p, v))],
    "leaks": [{"C", "B", "E"}, ["B", "C", "E"], ("E", "B", "C", "B")],
    "mse_per_frame": [
        mse_as_float,
        lambda a, b: metrics.mse_per_frame(a, b).mean(),
        lambda a, b: (a - b).pow(2).flatten(2).sum(2).mean(),
        lambda a, b: (a.requires_grad_() - b).pow(2).sum() / (len(a) * a.shape[1]),
    ],
    "best_guess": [
        lambda futures, chances: np.tensordot(chances, futures, 1),
        lambda futures, chances: np.einsum("n,nhw->hw", chances, futures),
        lambda futures, chances: np.average(futures, axis=0, weights=chances),
    ],
    "haze_at": [
        lambda ssim, data_range: 0.01 * data_range * ((1 - ssim) / ssim) ** 0.5,
        lambda ssim, data_range: np.sqrt((0.01 * data_range) ** 2 / ssim - (0.01 * data_range) ** 2),
    ],
    "psnr_from_mse": [
        lambda mse, height, width: 10 * math.log10(height * width / mse),
        lambda mse, height, width: -10 * np.log10(mse / height / width),
    ],
    "fly_on": [fly_with_grid_sample, lambda past, horizon: fly_with_grid_sample(past.flip(1)[:, :2].flip(1), horizon)],
}
MISTAKES = {
    "step": [
        (mirror, "[0] at index (0, 0) is 0.95, expected 1 (digits that pass a wall): a digit stops at the wall"),
        (
            flips_both,
            "[1] at index (1, 0) is -0.06, expected 0.06 (digits that pass a wall): a wall turns one component",
        ),
        (
            strict_edge,
            "step(array [[0.875, 0.125]], array [[0.125, -0.125]])[1] at index (0, 0) is 0.125, expected -0.125",
        ),
        (lambda p, v: (p + v, v), "nothing stops the digits"),
        (lambda p, v: step_by_sides(p, v)[::-1], "the right results in another order"),
        (lambda p, v: p + v, " is an ndarray, expected 2 values"),
        (physics_step, " is 3 values, expected 2 values"),
        (
            lambda p, v: tuple(x.astype(np.float32) for x in step_by_sides(p, v)),
            "type that you compute in is too short",
        ),
        (lambda p, v: tuple(torch.tensor(x) for x in step_by_sides(p, v)), "[0] is a Tensor, expected an array"),
        (step_in_loops, "the results are right, but line "),
        (step_in_place, "the results are right, but it writes into `positions`"),
    ],
    "mse_per_frame": [
        (
            lambda a, b: (a - b).square().mean(),
            "is 0.0078125, expected 0.125 (one pixel of two frames is off by 0.5): 16 ",
        ),
        (lambda a, b: (a - b).square().sum(), "2 times too large: a sum where a mean belongs"),
        (lambda a, b: (a - b).square().sum((2, 3, 4)), "has shape (1, 2), expected ()"),
        (lambda a, b: (b - a).abs().flatten(2).sum(2).mean(), "absolute errors"),
        (lambda a, b: mse_as_float(a.clamp(0, 1), b), "(predictions that leave [0, 1]): the prediction was clipped"),
        (lambda a, b: (a - b).square().flatten(2).sum(2).mean().sqrt(), "is 0.353553, expected 0.125"),
        (lambda a, b: float("nan"), "is nan, expected 0.125"),
        (lambda a, b: 0, "has type int, expected float"),
        (lambda a, b: "0.125", "has type str, expected float"),
        (lambda a, b: [0.125], "is a list, expected a number"),
        (lambda a, b: mse_as_float(a.sub_(b), b * 0), "the results are right, but it writes into `a`"),
    ],
    "leaks": [
        ({"B"}, "2 too few"),
        ({"B", "E"}, "weights can also be chosen"),
        ({"B", "C"}, "differ in every byte"),
        ({"A", "B", "C", "D", "E"}, "2 that do not belong there"),
        ("BCE", "expected a set"),
        (3, "expected a set"),
        ({"b", "c", "e"}, "3 that do not belong there and 3 too few"),
    ],
    "best_guess": [
        (lambda futures, chances: futures.mean(axis=0), "all futures count the same"),
        (lambda futures, chances: futures[np.argmax(chances)], "the likeliest future"),
        (lambda futures, chances: futures.max(axis=0), "every future at once"),
        (lambda futures, chances: np.zeros_like(futures[0]), "black is better than a wrong digit"),
        (lambda futures, chances: chances[:, None, None] * futures, "has shape (2, 2, 3), expected (2, 3)"),
        (lambda futures, chances: futures.sum(axis=0), "best_guess(array (2, 2, 3), array [0.5, 0.5]) at index (0, 0)"),
        (lambda futures, chances: sum(c * f for c, f in zip(chances, futures, strict=True)), "is a Python loop"),
        (
            lambda futures, chances: np.tensordot(chances.__imul__(1.0), futures.__imul__(0.5), 1) * 2,
            "the results are right, but it writes into `futures`",
        ),
    ],
    "haze_at": [
        (lambda s, r: (0.01 * r) ** 2 * (1 / s - 1), "the square of the gray"),
        (lambda s, r: math.sqrt(0.01 * r * (1 / s - 1)), "C1 is the square"),
        (lambda s, r: math.sqrt((0.03 * r) ** 2 * (1 / s - 1)), "which belongs to the variances"),
        (lambda s, r: 0.01 * math.sqrt(1 / s - 1), "haze_at(0.5, 2) is 0.01, expected 0.02 (the published data range)"),
        (lambda s, r: (0.01 * r) ** 2 / (0.02**2 + (0.01 * r) ** 2), "haze_at(0.5, 1) is 0.2, expected 0.01"),
        (lambda s, r: int(0.01 * r), "has type int, expected float"),
    ],
    "psnr_from_mse": [
        (lambda m, h, w: -10 * math.log10(m), "not yet an error per pixel"),
        (lambda m, h, w: -20 * math.log10(m / (h * w)), "20 belongs to the root"),
        (lambda m, h, w: -10 * math.log(m / (h * w)), "powers of 10"),
        (lambda m, h, w: 10 * math.log10(m / (h * w)), "the sign is turned"),
        (lambda m, h, w: -10 * math.log10(m / (h * h)), "psnr_from_mse(3.5, 32, 16) is 24.6"),
        (lambda m, h, w: -math.log10(m / (h * w)), "10 times too small"),
    ],
    "fly_on": [
        (fly_around, "what leaves the canvas on one side"),
        (lambda past, horizon: fly_with_grid_sample(past[:, [-1, -2]], horizon), "is 1, expected 0"),
        (lambda past, horizon: past[:, -1:].repeat(1, horizon, 1, 1, 1), "this is copy-last"),
        (lambda past, horizon: fly_with_grid_sample(past, horizon + 1)[:, 1:], "(a dot that moves 2 pixels"),
        (lambda past, horizon: fly_with_grid_sample(past, horizon)[:, :, 0], "has shape (1, 1, 7, 9), expected"),
        (lambda past, horizon: fly_with_grid_sample(past[:, [0, -1]], horizon), "(a dot that moves 2 pixels"),
        (fly_from_brightest, "(two dots, whose centre moves 0.57 pixels)"),
        (lambda past, horizon: fly_with_grid_sample(past, horizon).numpy(), "is an ndarray, expected a tensor"),
        (flies_in_place, "the results are right, but it writes into `past`"),
    ],
}
