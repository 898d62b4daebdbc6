"""The exercises of the notebooks: the answer that is right, and inputs on which the usual mistakes show."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from vidlib import moving_mnist
from vidlib.checks import did_you_mean
from vidlib.exercises.checking import Exercise, Unfinished, first_difference, first_line
from vidlib.metrics import mse_per_frame
from vidlib.models.convlstm import ConvLSTMCell


def check(name: str, answer: object) -> None:
    """Print whether an answer is right: ``not yet``, the first difference and a hint, or ``correct``.

    Never raises, so that Run All reaches the end of a notebook with open exercises.

    Args:
        name: of the exercise.
        answer: a function or value; ``...``, ``None``, or a function that gives one of them is an unfinished answer.
    """
    print(verdict(name, answer))


def verdict(name: str, answer: object) -> str:
    """The text that :func:`check` prints; it starts with ``name: correct`` for a right answer only."""
    try:
        exercise = EXERCISES[name]
    except (KeyError, TypeError):
        return f"There is no exercise {name!r}, {did_you_mean(name, EXERCISES)}"
    try:
        difference = first_difference(exercise, answer)
    except Unfinished as unfinished:
        return f"{name}: not yet{unfinished}"
    except Exception as error:  # whatever an answer does, the notebook goes on
        difference = f"your answer could not be compared: {first_line(error)}"
    return f"{name}: {difference}\nHint: {exercise.hint}" if difference else f"{name}: correct"


def _step(positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return moving_mnist.step(positions, velocities)[:2]


def _step_inputs() -> list[tuple]:
    flying = np.array([[0.25, 0.5], [0.5, 0.75]]), np.array([[0.0625, -0.078125], [-0.1, 0.0]])
    overshooting = (
        np.array([[0.95, 0.5], [0.5, 0.03], [0.97, 0.02]]),
        np.array([[0.1, 0.0], [0.06, -0.08], [0.08, -0.06]]),
    )
    exactly_there = np.array([[0.875, 0.125]]), np.array([[0.125, -0.125]])
    leaving_the_edge = np.array([[0.0, 1.0]]), np.array([[0.06, -0.08]])
    return [flying, overshooting, exactly_there, leaving_the_edge]


def _mse_per_frame(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return mse_per_frame(prediction, truth).mean()


def _mse_inputs() -> list[tuple]:
    one_pixel_off = torch.zeros(1, 2, 1, 4, 4)
    one_pixel_off[0, 0, 0, 1, 2] = 0.5
    noise = torch.rand(2, 3, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return [(one_pixel_off, torch.zeros(1, 2, 1, 4, 4)), (noise[0] * 1.5 - 0.25, noise[1])]  # predictions leave [0, 1]


def _cell_update(i, f, g, o, c) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.device("meta"):  # its weights play no part in this half of a step; none are drawn at random
        cell = ConvLSTMCell(0, c.shape[1])
    return cell.update(torch.cat([i, f, g, o], dim=1), c)


def _cell_inputs() -> list[tuple]:
    return [tuple(2 * torch.randn(5, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))]


def _receptive_field(steps: int, kernel: int, patch: int) -> int:
    return steps * (kernel // 2) * patch


def _patchify(video: torch.Tensor, patch: int) -> torch.Tensor:
    # (B·T, C·patch², h, w), the channel outermost; (B, T, N, patch², C), the channel innermost
    cells = F.pixel_unshuffle(video.flatten(0, 1), patch).flatten(2).transpose(1, 2)
    return cells.unflatten(2, (video.shape[2], -1)).transpose(2, 3).flatten(2).unflatten(0, video.shape[:2])


def _patchify_inputs() -> list[tuple]:
    small = torch.arange(2 * 3 * 2 * 4 * 6, dtype=torch.float32).reshape(2, 3, 2, 4, 6)  # H ≠ W and two channels
    frames = torch.rand(1, 2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return [(small, 2), (frames, 8)]


def _rollout_windows(steps: int, chunk: int) -> int:
    return math.ceil(steps / chunk)


EXERCISES = {
    exercise.name: exercise
    for exercise in (
        # 01: step(positions, velocities) -> (positions, velocities), arrays (digits, 2) in units of the free range
        Exercise(
            "step",
            _step,
            _step_inputs,
            "move first; what lands on or beyond 0 or 1 is set to that edge, and only that velocity component flips.",
            1e-12,
        ),
        # 01: mse_per_frame(prediction, truth) -> number, videos (B, T, C, H, W)
        Exercise(
            "mse_per_frame",
            _mse_per_frame,
            _mse_inputs,
            "sum the squared errors over a frame's pixels, then average over clips and frames; clip nothing.",
            1e-5,
        ),
        # 02: cell_update(i, f, g, o, c) -> (h, c), all (B, hidden, h, w), the gates before their sigmoid or tanh
        Exercise(
            "cell_update",
            _cell_update,
            _cell_inputs,
            "i, f and o go through a sigmoid, g through tanh; the new c comes first, and h looks at the new c.",
            1e-5,
        ),
        # 02: receptive_field(steps, kernel, patch) -> int, pixels to one side that the state-to-state filters reach
        Exercise(
            "receptive_field",
            _receptive_field,
            lambda: [(1, 3, 1), (1, 5, 4), (10, 5, 4), (7, 3, 2), (0, 5, 4)],
            "a filter of odd side k reaches (k − 1) / 2 cells to each side, in every step, and a cell is a patch wide.",
        ),
        # 03: patchify(video, patch) -> tokens, (B, T, C, H, W) to (B, T, N, patch·patch·C)
        Exercise(
            "patchify",
            _patchify,
            _patchify_inputs,
            "patches go row by row, and inside a token the order is patch row, patch column, channel.",
        ),
        # 03: rollout_windows(steps, chunk) -> int, how often the model is called
        Exercise(
            "rollout_windows",
            _rollout_windows,
            lambda: [(10, 10), (30, 10), (31, 10), (30, 1), (7, 5), (1, 10)],
            "every call gives `chunk` new frames, and a last call that is needed only in part is still a call.",
        ),
    )
}
