"""The exercises and questions of notebook 6, your own clips.

How an exercise is made: see :mod:`vidlib.exercises.data_lessons`.
"""

from __future__ import annotations

import numpy as np

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, NO_LOOP
from vidlib.exercises.questions import Question


def mirror(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step between walls at 0 and 1 that reflect what is left of it."""
    moved = position + velocity
    hit = (moved < 0) | (moved > 1)
    return np.where(moved > 1, 2 - moved, np.abs(moved)), np.where(hit, -velocity, velocity)


def share_of_avoidable(model: float, observer: float, empty: float) -> float:
    """How much of what can be known a model knows: 0 for an empty page, 1 for the ideal observer."""
    return (empty - model) / (empty - observer)


def middle_square(frame: np.ndarray) -> np.ndarray:
    """The square in the middle of a frame (H, W), as large as its shorter side."""
    side = min(frame.shape)
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    return frame[top : top + side, left : left + side]


def shrink(frame: np.ndarray, size: int) -> np.ndarray:
    """A square frame, each block of pixels replaced by its mean: (S, S) to (size, size), S a multiple of size."""
    block = len(frame) // size
    return frame.reshape(size, block, size, block).mean(axis=(1, 3))


def on_screen(times: np.ndarray, fps: float, count: int) -> np.ndarray:
    """Which frame is on the screen at each of count steps; times are when frames appear, the first one at 0."""
    wanted = np.arange(count) / fps
    return np.searchsorted(times, wanted, side="right") - 1  # the last frame that has appeared by then


def starts(total: int, length: int, held_out: int) -> tuple[list[int], list[int]]:
    """First frames of all training clips, and of all clips within the last held_out frames; no frame is in both."""
    cut = total - held_out
    return list(range(cut - length + 1)), list(range(cut, total - length + 1))


def _flights() -> dict[str, tuple]:
    return {
        "a digit that flies free": (np.array([0.25]), np.array([0.125])),
        "a digit that passes the upper wall": (np.array([0.9375]), np.array([0.125])),
        "digits that pass the lower wall": (np.array([0.0625, 0.5]), np.array([-0.125, -0.0625])),
        "a fast digit": (np.array([[0.75, 0.25]]), np.array([[0.5, -0.5]])),
    }


def _frames() -> dict[str, tuple]:
    return {
        "a wide frame": (np.arange(24).reshape(4, 6),),
        "a tall frame": (np.arange(40).reshape(8, 5),),
        "a square one": (np.arange(9).reshape(3, 3),),
    }


def _squares() -> dict[str, tuple]:
    noise = np.random.default_rng(0).random((6, 6))
    return {
        "one bright pixel": (np.eye(4)[[0, 3, 3, 3]] * np.array([[1.0], [0], [0], [0]]), 2),
        "noise, blocks of 3": (noise, 2),
        "noise, blocks of 2": (noise, 3),
        "nothing to shrink": (noise, 6),
    }


def _times() -> dict[str, tuple]:
    return {
        "a steady camera, every second frame": (np.arange(8) / 8, 4.0, 4),
        "more steps than frames": (np.arange(3) / 2, 4.0, 6),
        "a phone whose rate varies": (np.array([0.0, 0.125, 0.75, 1.0, 1.0625]), 4.0, 6),
    }


EXERCISES = (
    Exercise(
        name="share_of_avoidable",
        goal="How much of what can be known a model knows, from three errors.",
        reference=share_of_avoidable,
        inputs=lambda: {
            "halfway": (100.0, 50.0, 150.0),
            "an ideal observer": (40.0, 40.0, 160.0),
            "worse than an empty page": (200.0, 40.0, 120.0),
        },
        hints=(
            "Which distance is there to go from the empty page to the observer, and how much of it did the model go?",
            "Both distances begin at the empty page: `empty - model` is one of them.",
        ),
        slips=(
            Slip(lambda m, o, e: m / e, "the observer's error has no part in it: not all of the page's can be avoided"),
            Slip(lambda m, o, e: 1 - m / e, "nobody gets to an error of 0: the observer's is what can be reached"),
            Slip(lambda m, o, e: (m - o) / (e - o), "this is the share that is still missing"),
            Slip(lambda m, o, e: (e - o) / (e - m) if e != m else 0.0, "the two distances are swapped"),
            Slip(lambda m, o, e: o / m, "this says how near the errors are, and an empty page would not get 0"),
        ),
        tolerance=1e-9,
        minutes=4,
    ),
    Exercise(
        name="mirror",
        goal="One step of a digit between walls that reflect.",
        reference=mirror,
        inputs=_flights,
        hints=(
            "What passes a wall comes back by as much as it went too far.",
            "Beyond 1 by d, the digit is at 1 − d, and 1 − (moved − 1) is 2 − moved. Below 0, it is at −moved.",
            "`np.where` three times, or `np.abs` for the lower wall; the velocity turns where a wall was passed.",
        ),
        slips=(
            Slip(
                lambda p, v: (np.clip(p + v, 0, 1), np.where((p + v < 0) | (p + v > 1), -v, v)),
                "this is the clamp: it loses what is left of the step",
            ),
            Slip(
                lambda p, v: (np.where(p + v > 1, 2 - p - v, np.abs(p + v)), v.copy()),
                "the digit is in the right place and still flies into the wall",
            ),
            Slip(
                lambda p, v: ((p + v) % 1, v.copy()),
                "this is a torus: what leaves on one side comes in on the other",
            ),
            Slip(
                lambda p, v: (
                    p + np.where((p + v < 0) | (p + v > 1), -v, v),
                    np.where((p + v < 0) | (p + v > 1), -v, v),
                ),
                "it turns around before it reaches the wall",
            ),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-9,
        package="vidlib.other_rules.mirror_step",
        minutes=8,
    ),
    Exercise(
        name="middle_square",
        goal="The square in the middle of a frame.",
        reference=middle_square,
        inputs=_frames,
        hints=(
            "Its side is the shorter side of the frame. How much is left over, above and below or left and right?",
            "Half of what is left over comes before the square: `(width - side) // 2`.",
        ),
        slips=(
            Slip(lambda f: f[: min(f.shape), : min(f.shape)], "this is the square in the upper left corner"),
            Slip(lambda f: f[-min(f.shape) :, -min(f.shape) :], "this is the square in the lower right corner"),
            Slip(
                lambda f: f[:, (f.shape[1] - f.shape[0]) // 2 :][:, : f.shape[0]] if f.shape[1] > f.shape[0] else f,
                "a tall frame has to be cut as well",
            ),
            Slip(
                lambda f: f[(f.shape[0] - min(f.shape)) // 2 :, (f.shape[1] - min(f.shape)) // 2 :],
                "it begins in the right place and does not end there",
            ),
        ),
        package="vidlib.own_videos.small_frame",
        minutes=5,
    ),
    Exercise(
        name="shrink",
        goal="A square frame made smaller, each block of pixels replaced by its mean.",
        reference=shrink,
        inputs=_squares,
        hints=(
            "How many pixels of the old frame make one of the new, along each axis?",
            "`frame.reshape(size, block, size, block)` has rows of blocks, rows in one, and so for columns.",
            "Take the mean over axes 1 and 3.",
        ),
        slips=(
            Slip(
                lambda f, n: f[:: len(f) // n, :: len(f) // n],
                "this takes one pixel of each block: thin lines vanish or stay by luck",
            ),
            Slip(
                lambda f, n: f.reshape(n, len(f) // n, n, len(f) // n).sum((1, 3)),
                "the sum of a block is brighter than any of its pixels",
            ),
            Slip(
                lambda f, n: f.reshape(n, len(f) // n, n, len(f) // n).max((1, 3)),
                "the brightest pixel of a block is not its mean: lines grow fat",
            ),
            Slip(
                lambda f, n: f.reshape(len(f) // n, n, len(f) // n, n).mean((0, 2)),
                "blocks and pixels within a block are swapped: this averages pixels that lie far apart",
            ),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-9,
        package="vidlib.own_videos.small_frame",
        minutes=8,
    ),
    Exercise(
        name="on_screen",
        goal="Which frame of a video is on the screen at each time step.",
        reference=on_screen,
        inputs=_times,
        hints=(
            "At step k the time is k / fps. Which frames have appeared by then, and which of them is still there?",
            "It is the last frame whose time is not later; a frame that appears at that very moment counts.",
            "`np.searchsorted(times, wanted, side='right')` says how many have appeared.",
        ),
        slips=(
            Slip(
                lambda t, fps, n: np.searchsorted(t, np.arange(n) / fps, side="right"),
                "this counts the frames that have appeared, and the first of them is number 0",
            ),
            Slip(
                lambda t, fps, n: np.maximum(np.searchsorted(t, np.arange(n) / fps) - 1, 0),
                "a frame that appears at the very moment is on the screen",
            ),
            Slip(
                lambda t, fps, n: np.minimum(np.searchsorted(t, np.arange(n) / fps), len(t) - 1),
                "this frame is still to come where none appears at the very moment",
            ),
            Slip(
                lambda t, fps, n: np.minimum((np.arange(n) * (len(t) / t[-1]) / fps).astype(int), len(t) - 1),
                "frames do not come evenly: their times say when",
            ),
            Slip(
                lambda t, fps, n: np.searchsorted(t, np.arange(n) * fps, side="right") - 1,
                "step k is at k / fps seconds, not at k times fps",
            ),
        ),
        package="vidlib.own_videos.gray_frames",
        minutes=10,
    ),
    Exercise(
        name="starts",
        goal="Where training and validation clips of one video may begin, so that they share no frame.",
        reference=starts,
        inputs=lambda: {
            "short enough to count": (10, 3, 4),
            "room for one clip of each": (8, 4, 4),
            "the video of this section": (60, 20, 20),
        },
        hints=(
            "A clip that begins at s shows the frames s to s + length − 1. Which is the last frame to train on?",
            "With cut = total − held_out, a training clip must end before cut, so that s + length is at most cut.",
            "`range(cut - length + 1)` and `range(cut, total - length + 1)`, as lists.",
        ),
        slips=(
            Slip(
                lambda n, k, h: (list(range(n - h)), list(range(n - h, n - k + 1))),
                "the last training clips reach into the frames that are held out",
            ),
            Slip(
                lambda n, k, h: (list(range(n - h - k)), list(range(n - h, n - k))),
                "one clip more fits into each part",
            ),
            Slip(
                lambda n, k, h: (list(range(n - h - k + 1)), list(range(n - h, n))),
                "the last validation clips are longer than the video",
            ),
            Slip(
                lambda n, k, h: (list(range(0, n - h - k + 1, k)), list(range(n - h, n - k + 1, k))),
                "clips of one part may overlap: begin one at every frame",
            ),
        ),
        package="vidlib.own_videos.VideoClips",
        minutes=10,
    ),
)

QUESTIONS = (
    Question(
        "hardest_count",
        "With how many digits does a model know the smallest share of what can be known?",
        choices=("1", "2", "3", "4"),
    ),
    Question(
        "other_pictures",
        "On which pictures is a model nearest to the ideal observer, measured against an empty page?",
        choices=("test digits", "drawn digits", "other pictures"),
    ),
    Question(
        "hardest_rule_of_all",
        "Which change costs a model most, measured against an empty page?",
        choices=("half speed", "double speed", "mirror"),
    ),
    Question(
        "video_beats",
        "Do the shipped models beat a repeated last frame on a video of a pendulum?",
        choices=("both", "one of them", "neither"),
    ),
    Question(
        "forgotten",
        "After fine-tuning on the video, how many times as large is the error on digits?",
        unit="times",
    ),
)
