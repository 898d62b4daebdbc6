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

import math

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


def leaks() -> set[str]:
    """The set-ups in which a test digit reaches the weights or the choice between weights."""
    clips_split_after_pasting = "B"  # both parts were made from the same pool of digits
    best_epoch_on_test_clips = "C"  # the test digits chose the weights
    images_split_after_copying = "E"  # a test digit and its shifted copy, whose hashes differ, on both sides
    return {clips_split_after_pasting, best_epoch_on_test_clips, images_split_after_copying}


def best_guess(futures: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """The frame with the smallest expected squared error: (n, H, W) futures and (n,) chances that sum to 1."""
    return (chances[:, None, None] * futures).sum(axis=0)


def _futures() -> dict[str, tuple]:
    places = np.zeros((3, 2, 3))
    places[[0, 1, 2], [0, 1, 1], [0, 1, 2]] = 1.0
    gray = np.random.default_rng(0).random((4, 3, 3))
    return {
        "two places, equally likely": (places[:2], np.array([0.5, 0.5])),
        "three places, one of them likely": (places, np.array([0.5, 0.25, 0.25])),
        "gray frames": (gray, np.array([0.1, 0.2, 0.3, 0.4])),
    }


def haze_at(ssim: float, data_range: float) -> float:
    """How bright a flat gray may be where the truth is black, until SSIM has fallen to this value."""
    c1 = (0.01 * data_range) ** 2
    return math.sqrt(c1 * (1 / ssim - 1))  # ssim = c1 / (gray² + c1), solved for the gray


def psnr_from_mse(mse: float, height: int, width: int) -> float:
    """PSNR in dB of a frame with values in [0, 1], from its squared error summed over height * width pixels."""
    return -10 * math.log10(mse / (height * width))


def fly_on(past: torch.Tensor, horizon: int) -> torch.Tensor:
    """Shift the last frame on, by the step that its centre of mass made last: (B, T, 1, H, W) to (B, horizon, ...)."""
    mass = past[:, -2:, 0]  # (B, 2, H, W): the last two frames
    total = mass.sum(dim=(2, 3)).clamp(min=1e-6)  # (B, 2); a black clip has no centre, and 0 / 1e-6 is 0
    rows, columns = (torch.arange(n, dtype=past.dtype) for n in mass.shape[2:])
    down = (mass.sum(dim=3) * rows).sum(dim=2) / total  # (B, 2): the centre's row, in both frames
    right = (mass.sum(dim=2) * columns).sum(dim=2) / total

    future = past.new_zeros(len(past), horizon, *past.shape[2:])
    height, width = past.shape[3:]
    for clip in range(len(past)):
        for t in range(horizon):
            steps = (t + 1) * (down[clip, 1] - down[clip, 0]), (t + 1) * (right[clip, 1] - right[clip, 0])
            dy, dx = (int(step.round()) for step in steps)
            # What stays on the canvas: rows from max(0, -dy) of the last frame go to rows from max(0, dy).
            kept = past[clip, -1, :, max(0, -dy) : max(0, height - dy), max(0, -dx) : max(0, width - dx)]
            y, x = max(0, dy), max(0, dx)
            future[clip, t, :, y : y + kept.shape[1], x : x + kept.shape[2]] = kept
    return future


def _dots(*frames: dict[tuple[int, int], float], size: tuple[int, int] = (7, 9)) -> torch.Tensor:
    """A clip (1, T, 1, H, W) from each frame's bright pixels, (row, column) to value."""
    clip = torch.zeros(1, len(frames), 1, *size)
    for t, dots in enumerate(frames):
        for (row, column), value in dots.items():
            clip[0, t, 0, row, column] = value
    return clip


def _flying() -> dict[str, tuple]:
    right = _dots({(3, 1): 1.0}, {(3, 2): 1.0}, {(3, 4): 1.0})
    up = _dots({(6, 1): 1.0}, {(6, 1): 1.0}, {(5, 2): 1.0})
    # The centre of a still and a moving dot makes less than a whole step: 1 / (1 + 0.75) of a pixel, 0.571.
    two = _dots({(1, 1): 1.0, (5, 7): 0.75}, {(1, 1): 1.0, (5, 7): 0.75}, {(1, 2): 1.0, (5, 7): 0.75})
    return {
        "a dot that moves 2 pixels to the right": (right, 1),
        "the same dot, which leaves the canvas": (right, 3),
        "a dot that moves up and to the right": (up, 3),
        "two dots, whose centre moves 0.57 pixels": (two, 5),
        "three clips": (torch.cat([up, two, right]), 4),
        "a black clip": (torch.zeros(2, 4, 1, 5, 5), 2),
    }


def _flown(velocity, place=lambda v, t: torch.round(v * (t + 1)), around: bool = False):
    """A wrong flight: another velocity or another place at t, or a canvas without borders."""

    def wrong(past: torch.Tensor, horizon: int) -> torch.Tensor:
        future = past.new_zeros(len(past), horizon, *past.shape[2:])
        height, width = past.shape[3:]
        for clip in range(len(past)):
            down, right = velocity(past[clip, :, 0])
            for t in range(horizon):
                dy, dx = int(place(down, t)), int(place(right, t))
                moved = past[clip, -1].roll((dy, dx), (1, 2))
                rows, columns = torch.arange(height)[:, None] - dy, torch.arange(width) - dx
                inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
                future[clip, t] = moved if around else moved * inside
        return future

    return wrong


def _centres(frames: torch.Tensor) -> torch.Tensor:
    """Frames (T, H, W) to (T, 2): row and column of each centre of mass."""
    rows, columns = (torch.arange(n, dtype=frames.dtype) for n in frames.shape[1:])
    total = frames.sum(dim=(1, 2)).clamp(min=1e-6)
    return torch.stack([(frames.sum(2) * rows).sum(1) / total, (frames.sum(1) * columns).sum(1) / total], dim=1)


def _last_step(frames: torch.Tensor) -> torch.Tensor:
    return _centres(frames[-2:]).diff(dim=0)[0]


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
        name="leaks",
        goal="The letters of the set-ups in which a test digit reaches the weights or the choice between them.",
        reference=leaks,
        hints=(
            "Follow one test digit: which files, clips and decisions does it touch before the score is computed?",
            "A digit leaks when the split comes after something that mixes or copies it. Motion alone tells no digit.",
            "Three of them leak. In one of the three no test digit is ever trained on.",
        ),
        slips=(
            Slip({"B", "E"}, "weights can also be chosen, and not only trained, with a test digit"),
            Slip({"B", "C"}, "two images can be one digit and still differ in every byte"),
            Slip({"A", "B", "C", "E"}, "the same seed gives two sets other motions, and the digits are apart anyway"),
            Slip({"B", "C", "D", "E"}, "a number from the training digits says nothing of the test digits"),
        ),
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
    Exercise(
        name="best_guess",
        goal="The one frame whose expected squared error is smallest, when several futures are possible.",
        reference=best_guess,
        inputs=_futures,
        hints=(
            "Each pixel for itself: which number has the smallest expected squared distance to what it may become?",
            "It is the mean, in which each future counts as much as it is likely.",
            "`chances[:, None, None] * futures` is (n, H, W); sum it over the futures.",
        ),
        slips=(
            Slip(lambda futures, chances: futures.mean(0), "all futures count the same, whatever their chances"),
            Slip(
                lambda futures, chances: futures[chances.argmax()], "this is the likeliest future, which is often wrong"
            ),
            Slip(lambda futures, chances: futures.max(0), "this is every future at once, at full brightness"),
            Slip(lambda futures, chances: 0 * futures[0], "black is better than a wrong digit, and not the best"),
            Slip(lambda futures, chances: np.median(futures, 0), "the median has the smallest absolute error"),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-9,
    ),
    Exercise(
        name="haze_at",
        goal="The gray that brings SSIM down to a given value where the truth is black.",
        reference=haze_at,
        inputs=lambda: {
            "SSIM is halved": (0.5, 1),
            "the published data range": (0.5, 2),
            "a stricter value": (0.9, 1),
            "pixels from 0 to 255": (0.2, 255),
        },
        hints=(
            "Both frames are flat: all variances are 0, and only the factor with the means and C1 is left.",
            "Solve SSIM = C1 / (g² + C1) for g. C1 is (0.01 R)².",
            "g² = C1 (1 / SSIM − 1), and `math.sqrt` of it.",
        ),
        slips=(
            Slip(lambda s, r: (0.01 * r) ** 2 * (1 / s - 1), "this is the square of the gray"),
            Slip(lambda s, r: math.sqrt(0.01 * r * (1 / s - 1)), "C1 is the square of 0.01 R"),
            Slip(lambda s, r: 0.03 * r * math.sqrt(1 / s - 1), "this is C2, which belongs to the variances"),
            Slip(lambda s, r: 0.01 * math.sqrt(1 / s - 1), "the data range is missing"),
            Slip(lambda s, r: 0.01 * r * math.sqrt(1 - s), "1 / SSIM − 1, not 1 − SSIM, comes out of the formula"),
        ),
        tolerance=1e-9,
    ),
    Exercise(
        name="psnr_from_mse",
        goal="PSNR of a frame from the benchmark's MSE, which is a sum over its pixels.",
        reference=psnr_from_mse,
        inputs=lambda: {
            "one whole pixel of a hundred": (1.0, 10, 10),
            "a frame of Moving MNIST": (50.0, 64, 64),
            "another size": (3.5, 32, 16),
        },
        hints=(
            "PSNR counts in errors per pixel: how many pixels share this sum?",
            "A tenth of the error is 10 dB more: `-10 * math.log10(error per pixel)`.",
        ),
        slips=(
            Slip(lambda m, h, w: -10 * math.log10(m), "the sum over the pixels is not yet an error per pixel"),
            Slip(lambda m, h, w: -20 * math.log10(m / (h * w)), "20 belongs to the root of the MSE, 10 to the MSE"),
            Slip(lambda m, h, w: -10 * math.log(m / (h * w)), "decibels count in powers of 10: `math.log10`"),
            Slip(lambda m, h, w: -10 * math.log10(m / h), "a frame has height times width pixels"),
        ),
        tolerance=1e-9,
    ),
    Exercise(
        name="fly_on",
        goal="Predict by one velocity: shift the last frame on, by the step that its centre of mass made last.",
        reference=fly_on,
        inputs=_flying,
        hints=(
            "Three parts: the centre in the last two frames, the step between them, the frame shifted by t + 1 steps.",
            "The centre's row is the mean of all row numbers, weighted by how bright each row is; divide by the sum.",
            "Round `(t + 1) * step`, not the step. Copy only the part of the last frame that stays on the canvas.",
            "To shift down by dy ≥ 0: `future[clip, t, 0, dy:] = last[: height - dy]`; up is the same the other way.",
        ),
        slips=(
            Slip(_flown(_last_step, around=True), "what leaves the canvas on one side comes back on the other"),
            Slip(_flown(lambda f: -_last_step(f)), "it flies back to where it came from"),
            Slip(_flown(lambda f: _last_step(f).flip(0)), "rows and columns are swapped: the first axis goes down"),
            Slip(
                _flown(_last_step, lambda v, t: torch.round(v)), "every frame is one step away from the last one seen"
            ),
            Slip(_flown(_last_step, lambda v, t: torch.round(v * t)), "the first predicted frame has moved already"),
            Slip(
                _flown(_last_step, lambda v, t: torch.round(v) * (t + 1)),
                "round the whole way, not the step: rounding errors add up",
            ),
            Slip(_flown(lambda f: 0 * _last_step(f)), "nothing moves: this is copy-last"),
        ),
        tolerance=1e-6,
    ),
)

QUESTIONS = (
    Question("turns_seen", "Of a hundred bounces, how many will show as a turn in their own frame?", unit="of 100"),
    Question(
        "mirror_back",
        "When does a mirror bring the digit back to where the clamp has it?",
        choices=("one frame later", "two frames later", "never in this picture"),
        answer="Never in this picture: a clamped digit loses a part of its step at the wall, and is late from then on.",
    ),
    Question(
        "farthest_rule",
        "Which broken rule moves the clips farthest from the official ones?",
        choices=("rounding", "mirror", "no first step"),
    ),
    Question(
        "hardest_rule",
        "On clips of which broken rule does a model that was trained by the official ones have the largest error?",
        choices=("rounding", "mirror", "no first step"),
    ),
    Question(
        "cheapest",
        "Which guess has the smallest expected MSE?",
        choices=("sharp", "black", "half here, half there"),
    ),
    Question("better_baseline", "Which one has the smaller MSE?", choices=("copy-last", "all-black")),
    Question("worse_from", "From which frame on is constant-velocity worse than all-black?"),
    Question("floor_share", "How much of a trained network's error could nobody avoid, in percent?", unit="%"),
)
