"""Clips per second: the batched generator against the loop that everybody writes first, one thread each."""

from __future__ import annotations

import math
import random
import time

import numpy as np
import torch

from vidlib.digits import load_digits
from vidlib.moving_mnist import MovingMNIST

TITLE = "Clips per second, one thread each"
SECONDS = 1.5  # a turn of one side; the sides take turns, so that both see the same machine
ROUNDS = 5
BATCH = 64


def loop_clip(images: np.ndarray, generator: random.Random, n_digits: int = 2, frames: int = 20) -> np.ndarray:
    """One clip in plain Python: per digit a trajectory, per frame a paste. ``(frames, 1, 64, 64)`` uint8."""
    clip = np.zeros((frames, 1, 64, 64), np.uint8)
    for _ in range(n_digits):
        digit = images[generator.randrange(len(images))]
        x, y, angle = generator.random(), generator.random(), 2 * math.pi * generator.random()
        vx, vy = 0.1 * math.cos(angle), 0.1 * math.sin(angle)
        for t in range(frames):
            x, y = x + vx, y + vy
            if not 0 < x < 1:
                x, vx = min(max(x, 0.0), 1.0), -vx
            if not 0 < y < 1:
                y, vy = min(max(y, 0.0), 1.0), -vy
            left, top = int(36 * x), int(36 * y)
            patch = clip[t, 0, top : top + 28, left : left + 28]
            clip[t, 0, top : top + 28, left : left + 28] = np.maximum(patch, digit)
    return clip


def clips_per_second() -> dict[str, list[float]]:
    """Both sides in turn: a rate for each round."""
    torch.set_num_threads(1)
    digits = load_digits("auto", "train")
    clips, generator = MovingMNIST(10**9, digits=digits), random.Random(0)
    position = 0

    def batched() -> int:
        nonlocal position
        clips.batch(range(position, position + BATCH))
        position += BATCH
        return BATCH

    def looped() -> int:
        torch.from_numpy(np.stack([loop_clip(digits.images, generator) for _ in range(BATCH)]))
        return BATCH

    rates: dict[str, list[float]] = {"paste loop": [], "MovingMNIST.batch": []}
    for _ in range(ROUNDS):
        for name, make in (("paste loop", looped), ("MovingMNIST.batch", batched)):
            made, start = 0, time.process_time()
            while (spent := time.process_time() - start) < SECONDS:
                made += make()
            rates[name].append(made / spent)
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
