"""Clips per second: the batched generator against the loop that everybody writes first, one thread each."""

from __future__ import annotations

import time

import numpy as np
import torch

from vidlib.digits import SIZE, load_digits
from vidlib.moving_mnist import CANVAS, FREE_RANGE, SPEED, MovingMNIST

TITLE = "Clips per second, one thread each"
SECONDS = 1.5  # a turn of one side; the sides take turns, so that both see the same machine
ROUNDS = 5
BATCH = 64


def loop_clip(clips: MovingMNIST, index: int) -> np.ndarray:
    """The same clip the way that generators are written first: digit by digit a trajectory, frame by frame a paste.

    Returns ``(frames, 1, 64, 64)`` uint8, equal to ``clips[index]`` to the bit.
    """
    clip = np.zeros((clips.frames, 1, CANVAS, CANVAS), np.uint8)
    for which, x, y, turn in clips._draws(index, index + 1)[0]:
        digit = clips.digits.images[int(which * len(clips.digits))]
        vx, vy = SPEED * np.cos(2 * np.pi * turn), SPEED * np.sin(2 * np.pi * turn)
        lefts, tops = np.zeros(clips.frames, int), np.zeros(clips.frames, int)
        for t in range(clips.frames):
            x, y = x + vx, y + vy
            if not 0 < x < 1:
                x, vx = min(max(x, 0.0), 1.0), -vx
            if not 0 < y < 1:
                y, vy = min(max(y, 0.0), 1.0), -vy
            lefts[t], tops[t] = FREE_RANGE * x, FREE_RANGE * y
        for t in range(clips.frames):
            top, left = tops[t], lefts[t]
            patch = clip[t, 0, top : top + SIZE, left : left + SIZE]
            clip[t, 0, top : top + SIZE, left : left + SIZE] = np.maximum(patch, digit)
    return clip


def clips_per_second() -> dict[str, list[float]]:
    """Both sides in turn: a rate for each round."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    clips = MovingMNIST(10**9, digits=load_digits("auto", "train"))
    position = 0

    def batched() -> int:
        nonlocal position
        clips.batch(range(position, position + BATCH))
        position += BATCH
        return BATCH

    def looped() -> int:
        nonlocal position
        torch.from_numpy(np.stack([loop_clip(clips, position + i) for i in range(BATCH)]))
        position += BATCH
        return BATCH

    rates: dict[str, list[float]] = {"paste loop": [], "MovingMNIST.batch": []}
    for _ in range(ROUNDS):
        for name, make in (("paste loop", looped), ("MovingMNIST.batch", batched)):
            made, start = 0, time.process_time()
            while (spent := time.process_time() - start) < SECONDS:
                made += make()
            rates[name].append(made / spent)
    torch.set_num_threads(threads)
    return rates


def main() -> None:
    rates = clips_per_second()
    loop, batch = (sorted(values)[ROUNDS // 2] for values in rates.values())
    print("| clips of 20 frames, 2 digits, batches of 64 | clips/s on one thread | ratio |")
    print("| --- | --- | --- |")
    print(f"| paste loop | {loop:,.0f} | 1 |")
    print(f"| MovingMNIST.batch | {batch:,.0f} | {batch / loop:.1f} |")


if __name__ == "__main__":
    main()
