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


RIGHT = {
    "step": [step_by_sides, lambda p, v: physics_step(p, v)[:2], lambda p, v: list(step_by_sides(p, v))],
    "mse_per_frame": [
        mse_as_float,
        lambda a, b: metrics.mse_per_frame(a, b).mean(),
        lambda a, b: (a - b).pow(2).flatten(2).sum(2).mean(),
        lambda a, b: (a.requires_grad_() - b).pow(2).sum() / (len(a) * a.shape[1]),
    ],
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
}
