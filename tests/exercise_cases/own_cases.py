"""Answers to the exercises of notebook 6: right ones in another way, and typical mistakes with what is said of them."""

from __future__ import annotations

import numpy as np

from vidlib.other_rules import mirror_step


def mirror_by_triangle(position, velocity):
    moved = position + velocity
    return 1 - np.abs(1 - np.abs(moved)), np.where((moved < 0) | (moved > 1), -velocity, velocity)


def mirror_in_place(position, velocity):
    moved, turned = mirror_step(position, velocity)
    position[:] = moved
    return moved, turned


def mirror_upper_only(position, velocity):
    moved = position + velocity
    return np.where(moved > 1, 2 - moved, moved), np.where(moved > 1, -velocity, velocity)


def square_by_rounding(frame):
    height, width = frame.shape
    side = min(height, width)
    return frame[(height - side) // 2 : (height + side) // 2, (width - side) // 2 : (width + side) // 2]


def shrink_in_two_steps(frame, size):
    block = len(frame) // size
    rows = frame.reshape(size, block, len(frame)).mean(1)
    return rows.reshape(size, size, block).mean(2)


def shrink_in_loops(frame, size):
    block = len(frame) // size
    small = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            part = frame[row * block : (row + 1) * block, column * block : (column + 1) * block]
            small[row, column] = part.mean()
    return small


def on_screen_by_counting(times, fps, count):
    return np.array([(times <= step / fps).sum() - 1 for step in range(count)])


def starts_by_trying(total, length, held_out):
    cut = total - held_out
    every = range(total - length + 1)
    return [s for s in every if s + length <= cut], [s for s in every if s >= cut]


RIGHT = {
    "share_of_avoidable": [lambda m, o, e: 1 - (m - o) / (e - o)],
    "mirror": [mirror_step, mirror_by_triangle],
    "middle_square": [square_by_rounding],
    "shrink": [shrink_in_two_steps],
    "on_screen": [on_screen_by_counting],
    "starts": [starts_by_trying],
}
MISTAKES = {
    "share_of_avoidable": [
        (lambda m, o, e: m / e, "the observer's error has no part in it"),
        (lambda m, o, e: 1 - m / e, "nobody gets to an error of 0"),
        (lambda m, o, e: (m - o) / (e - o), "still missing"),
        (lambda m, o, e: o / m, "an empty page would not get 0"),
        (lambda m, o, e: (e - m) / e, "nobody gets to an error of 0"),
        (lambda m, o, e: 100 * (e - m) / (e - o), "100 times"),
    ],
    "mirror": [
        (lambda p, v: (np.clip(p + v, 0, 1), np.where((p + v <= 0) | (p + v >= 1), -v, v)), "this is the clamp"),
        (lambda p, v: (1 - np.abs(1 - np.abs(p + v)), v * 1.0), "still flies into the wall"),
        (lambda p, v: ((p + v) % 1, v * 1.0), "a torus"),
        (mirror_upper_only, "(digits that pass the lower wall)"),
        (mirror_in_place, "it writes into `position`"),
        (lambda p, v: mirror_step(p, v)[0], "expected"),
    ],
    "middle_square": [
        (lambda f: f[: min(f.shape), : min(f.shape)], "upper left corner"),
        (lambda f: f[-min(f.shape) :, -min(f.shape) :], "lower right corner"),
        (lambda f: f, "has shape (4, 6), expected (4, 4)"),
        (lambda f: f[(len(f) - min(f.shape)) // 2 :, (f.shape[1] - min(f.shape)) // 2 :], "does not end there"),
    ],
    "shrink": [
        (lambda f, n: f[:: len(f) // n, :: len(f) // n], "one pixel of each block"),
        (lambda f, n: f.reshape(n, len(f) // n, n, -1).sum(axis=(1, 3)), "brighter than any"),
        (lambda f, n: f.reshape(n, len(f) // n, n, -1).max(axis=(1, 3)), "lines grow fat"),
        (lambda f, n: f.reshape(len(f) // n, n, -1, n).mean(axis=(0, 2)), "lie far apart"),
        (shrink_in_loops, "is a Python loop"),
        (lambda f, n: f[:n, :n], "expected"),
    ],
    "on_screen": [
        (lambda t, fps, n: np.searchsorted(t, np.arange(n) / fps, "right"), "the first of them is number 0"),
        (lambda t, fps, n: np.maximum(np.searchsorted(t, np.arange(n) / fps) - 1, 0), "at the very moment is on"),
        (lambda t, fps, n: np.minimum(np.searchsorted(t, np.arange(n) / fps), len(t) - 1), "still to come"),
        (lambda t, fps, n: np.searchsorted(t, np.arange(n) * fps, "right") - 1, "not at k times fps"),
        (lambda t, fps, n: np.arange(n), "expected"),
    ],
    "starts": [
        (lambda n, k, h: (list(range(n - h)), list(range(n - h, n - k + 1))), "reach into the frames"),
        (lambda n, k, h: (list(range(n - h - k)), list(range(n - h, n - k))), "one clip more fits"),
        (lambda n, k, h: (list(range(n - h - k + 1)), list(range(n - h, n))), "longer than the video"),
        (lambda n, k, h: (list(range(0, n - h - k + 1, k)), list(range(n - h, n - k + 1, k))), "may overlap"),
        (lambda n, k, h: list(range(n - h - k + 1)), "expected"),
    ],
}
