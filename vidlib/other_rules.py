"""Clips by other rules than the published ones: other speeds, a mirror at the walls, a larger canvas.

For asking how far a model goes beyond what it was trained on. At the published numbers (``speed=0.1, wall="clamp"`` and
a canvas of 64) the physics is that of :mod:`vidlib.moving_mnist`, from other draws.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vidlib.checks import check_choice, check_counts, check_kind, check_numbers
from vidlib.digits import SIZE, Digits, describe
from vidlib.moving_mnist import CANVAS, SPEED, step

WALLS = ("clamp", "mirror")


class OtherRules:
    """Clips as :class:`vidlib.video.Clips`, each a function of its number, the seed and the rules.

    Args:
        length: number of clips.
        digits: the pictures that fly.
        speed: steps in units of the free range of a canvas of 64, per frame: 0.1 is 3.6 pixels, on any canvas.
        wall: ``"clamp"``, where what would pass a wall is lost, or ``"mirror"``, where it is reflected.
        canvas: height and width of a frame.
        n_digits, frames, seed: as for :class:`vidlib.MovingMNIST`.

    Raises:
        ValueError: a number out of range, or no digits.
    """

    def __init__(
        self, length: int, digits: Digits, *, speed: float = SPEED, wall: str = "clamp", canvas: int = CANVAS,
        n_digits: int = 2, frames: int = 20, seed: int = 0,
    ) -> None:  # fmt: skip
        check_kind(Digits, "what load_digits gives", digits=digits)
        check_counts(length=length, n_digits=n_digits, frames=frames)
        check_counts(SIZE + 1, highest=1024, canvas=canvas)
        check_counts(0, highest=2**64 - 1, seed=seed)
        check_choice(WALLS, wall=wall)
        check_numbers(0, 1, speed=speed)
        self.digits, self.speed, self.wall, self.canvas = digits, float(speed), wall, canvas
        self.n_digits, self.frames, self.seed, self._length = n_digits, frames, seed, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} is not in a set of {len(self):,} clips.")
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int] | range, device: torch.device | str | None = None) -> Tensor:
        """These clips as uint8 ``(B, frames, 1, canvas, canvas)``."""
        return torch.from_numpy(np.stack([self._clip(int(index)) for index in indices])).to(device)

    def _clip(self, index: int) -> np.ndarray:
        free = self.canvas - SIZE
        draws = np.random.Generator(np.random.Philox(key=self.seed, counter=index << 128)).random((self.n_digits, 4))
        position, turn = draws[:, 1:3], 2 * np.pi * draws[:, 3]
        velocity = self.speed * (CANVAS - SIZE) / free * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        images = self.digits.images[(draws[:, 0] * len(self.digits)).astype(int)]
        clip = np.zeros((self.frames, 1, self.canvas, self.canvas), np.uint8)
        for frame in clip[:, 0]:  # a step comes before the first frame too
            position, velocity = (mirror_step if self.wall == "mirror" else _clamp_step)(position, velocity)
            for image, (x, y) in zip(images, (free * position).astype(int), strict=True):
                place = frame[y : y + SIZE, x : x + SIZE]
                np.maximum(place, image, out=place)
        return clip

    def describe(self) -> str:
        """One line for the screen."""
        return (
            f"{len(self):,} clips of {self.frames} frames, {self.n_digits} digits, speed {self.speed:g}, {self.wall}, "
            f"canvas {self.canvas}, seed {self.seed}; {describe(self.digits)}"
        )

    def fingerprint(self) -> str:
        """What the pixels depend on."""
        facts = [self.digits.sha256, self.speed, self.wall, self.canvas, self.n_digits, self.frames, self.seed]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _clamp_step(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    position, velocity, _ = step(position, velocity)
    return position, velocity


def mirror_step(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step between walls at 0 and 1 that reflect what is left of it; steps of at most 1.

    >>> mirror_step(np.array([0.95, 0.5]), np.array([0.1, 0.1]))
    (array([0.95, 0.6 ]), array([-0.1,  0.1]))
    """
    moved = position + velocity
    turned = np.where((moved < 0) | (moved > 1), -velocity, velocity)
    return np.where(moved > 1, 2 - moved, np.abs(moved)), turned
