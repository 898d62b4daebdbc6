"""The exercises and questions of notebook 1, the data.

An exercise is made of

1. its stub in the notebook, in the one cell that defines its name, and ``check("step", step)``;
2. here: the right function under that name, inputs, the slips, and one :class:`Exercise` in ``EXERCISES``;
3. in ``tests/exercise_cases/data_cases.py``: other right answers and at least four mistakes. Where the package has
   the function in another form, it stands among the right answers, which keeps the two equal.

The source of the right function is what ``solution("step")`` shows: write it as the notebook would, with nothing of
this file but what is imported. ``EXERCISES`` and ``QUESTIONS`` stand in the order in which the notebook asks them.
"""

from __future__ import annotations

import numpy as np
import torch

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, NO_LOOP
from vidlib.exercises.questions import Question


def step(positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move, clamp to [0, 1], and flip the velocity components that hit a wall; arrays are (digits, 2)."""
    moved = positions + velocities
    hit = (moved <= 0) | (moved >= 1)  # each coordinate for itself
    return np.clip(moved, 0, 1), np.where(hit, -velocities, velocities)


def _step_inputs() -> dict[str, tuple]:
    return {
        "digits that fly free": (
            np.array([[0.25, 0.5], [0.5, 0.75]]),
            np.array([[0.0625, -0.078125], [-0.1, 0.0]]),
        ),
        "digits that pass a wall": (
            np.array([[0.95, 0.5], [0.5, 0.03], [0.97, 0.02]]),
            np.array([[0.1, 0.0], [0.06, -0.08], [0.08, -0.06]]),
        ),
        "a digit that lands exactly on a wall": (np.array([[0.875, 0.125]]), np.array([[0.125, -0.125]])),
        "a digit that starts at a wall": (np.array([[0.0, 1.0]]), np.array([[0.06, -0.08]])),
    }


def _mirrored(positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moved = positions + velocities
    turned = np.where((moved <= 0) | (moved >= 1), -velocities, velocities)
    return np.where(moved > 1, 2 - moved, np.abs(moved)), turned


def _inside_only(positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moved = positions + velocities
    return np.clip(moved, 0, 1), np.where((moved < 0) | (moved > 1), -velocities, velocities)


def _both_turned(positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moved = positions + velocities
    hit = ((moved <= 0) | (moved >= 1)).any(axis=-1, keepdims=True)
    return np.clip(moved, 0, 1), np.where(hit, -velocities, velocities)


def mse_per_frame(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Squared error, summed over the pixels of a frame, averaged over clips and frames."""
    squared = (prediction - truth).square()  # (B, T, C, H, W)
    return squared.sum(dim=(2, 3, 4)).mean()  # sum over C, H, W: what belongs to one frame


def _mse_inputs() -> dict[str, tuple]:
    one_pixel_off = torch.zeros(1, 2, 1, 4, 4)
    one_pixel_off[0, 0, 0, 1, 2] = 0.5
    noise = torch.rand(2, 3, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return {
        "one pixel of two frames is off by 0.5": (one_pixel_off, torch.zeros(1, 2, 1, 4, 4)),
        "predictions that leave [0, 1]": (noise[0] * 1.5 - 0.25, noise[1]),
    }


EXERCISES = (
    Exercise(
        name="step",
        goal="Move all coordinates of all digits by one frame, and turn those that hit a wall.",
        reference=step,
        inputs=_step_inputs,
        hints=(
            "Move first; what lands on or beyond 0 or 1 is set to that edge, and only that velocity component flips.",
            "`hit = (moved <= 0) | (moved >= 1)` is True where a coordinate hits; the brackets are needed.",
            "`np.clip(moved, 0, 1)` are the positions; `np.where(hit, …, velocities)` are the velocities.",
        ),
        slips=(
            Slip(_mirrored, "a digit stops at the wall in this step, it is not mirrored there"),
            Slip(_inside_only, "a coordinate that lands exactly on 0 or 1 has hit the wall too"),
            Slip(_both_turned, "a wall turns one component of the velocity, the other one goes on"),
            Slip(lambda p, v: (np.clip(p + v, 0, 1), v), "the positions are right, and no velocity turns"),
            Slip(lambda p, v: (p + v, v), "nothing stops the digits at the walls"),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-12,
        package="vidlib.moving_mnist.step",
    ),
    Exercise(
        name="mse_per_frame",
        goal="One number: the squared error of a frame, averaged over clips and frames.",
        reference=mse_per_frame,
        inputs=_mse_inputs,
        hints=(
            "Sum the squared errors over a frame's pixels, then average over clips and frames; clip nothing.",
            "In (B, T, C, H, W), the axes C, H and W belong to one frame: `sum(dim=…)` takes several axes at once.",
            "`.sum(dim=(2, 3, 4))` leaves (B, T); `.mean()` makes one number of that.",
        ),
        slips=(
            Slip(lambda a, b: (a - b).abs().sum((2, 3, 4)).mean(), "these are absolute errors, not squared ones"),
            Slip(lambda a, b: (a - b).sum((2, 3, 4)).square().mean(), "square each pixel's error before you sum"),
            Slip(
                lambda a, b: (a.clamp(0, 1) - b).square().sum((2, 3, 4)).mean(),
                "the prediction was clipped to [0, 1], and the benchmark clips nothing",
            ),
        ),
        tolerance=1e-5,
        package="vidlib.metrics.mse_per_frame",
    ),
)

QUESTIONS: tuple[Question, ...] = ()
