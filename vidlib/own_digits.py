"""Digits that were drawn, as strokes of a pen, and pictures of another kind that can fly as digits do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vidlib.checks import check_choice, check_flags, check_numbers, reason
from vidlib.digits import SIZE, SPLITS, Digits, data_folder

_FINER = 8  # strokes are drawn so many times larger and averaged down


def stroke_digit(strokes: Sequence[Any], width: float = 2.4) -> np.ndarray:
    """One digit from the strokes of a pen, as MNIST has them: 20 pixels at its longest, its mass in the middle.

    Args:
        strokes: each a list of points (x, y), x to the right and y down, in any unit.
        width: of the pen, in pixels of the result.

    Returns:
        ``(28, 28)`` uint8, light on black.

    Raises:
        ValueError: no strokes, or points that are no pairs of numbers.
    """
    from PIL import Image, ImageDraw

    check_numbers(0, 10, open=True, width=width)
    try:
        lines = [np.asarray(stroke, float) for stroke in strokes]
    except (TypeError, ValueError) as error:
        raise ValueError(f"strokes cannot be read ({reason(error)}), expected lists of points (x, y).") from error
    if not lines or any(line.ndim != 2 or line.shape[1] != 2 or not np.isfinite(line).all() for line in lines):
        raise ValueError("strokes have another form, expected at least one list of points (x, y), all numbers.")
    low, high = (getattr(np.concatenate(lines), which)(axis=0) for which in ("min", "max"))
    scale = (20 - width) / max(high - low) if max(high - low) > 0 else 1.0
    canvas = Image.new("L", (SIZE * _FINER,) * 2)
    draw, radius = ImageDraw.Draw(canvas), width * _FINER / 2
    for line in lines:
        points = ((line - (low + high) / 2) * scale + SIZE / 2) * _FINER - 0.5  # a pixel is drawn around its middle
        draw.line([tuple(point) for point in points], fill=255, width=round(2 * radius))
        for x, y in points:  # round ends and corners
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    digit = np.asarray(canvas.reduce(_FINER))
    centre = np.array([(digit.sum(axis) * np.arange(SIZE)).sum() / digit.sum() for axis in (1, 0)])  # row, column
    down, right = np.rint((SIZE - 1) / 2 - centre).astype(int).clip(-4, 4)  # its border is 4 pixels wide
    return np.roll(digit, (down, right), (0, 1))


def drawn_digits(drawings: Sequence[Any]) -> Digits:
    """Several drawn digits, each a list of strokes as for :func:`stroke_digit`, as test digits of unknown labels."""
    images = np.stack([stroke_digit(strokes) for strokes in drawings])
    return Digits(images, np.full(len(images), -1), "drawn", "test")


def fashion_mnist(split: str = "test", *, download: bool = True) -> Digits:
    """Pictures of clothes, as large as MNIST's digits: Xiao et al. 2017, arXiv 1708.07747.

    Raises:
        ValueError: an unknown split.
        RuntimeError: they are neither on the disk nor to be downloaded.
    """
    from torchvision.datasets import FashionMNIST

    from vidlib.machine import impatient_network

    check_choice(SPLITS, split=split)
    check_flags(download=download)
    try:
        with impatient_network():
            found = FashionMNIST(str(data_folder()), train=split != "test", download=download)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(f"Fashion-MNIST cannot be had ({reason(error)}): connect to the network.") from error
    images, labels = found.data.numpy(), found.targets.numpy()
    part = {"train": slice(0, -5_000), "validation": slice(-5_000, None), "test": slice(None)}[split]
    return Digits(images[part], labels[part], "Fashion-MNIST", split)


# Drawn for the course, on a grid of 10 by 10: what stands in until you draw your own.
EXAMPLE_STROKES = {
    "2": [[(2, 2), (4, 0), (6, 0), (8, 2), (8, 4), (5, 7), (1, 10), (9, 10)]],
    "4": [[(6, 0), (1, 6), (9, 6)], [(6, 3), (6, 10)]],
    "7": [[(1, 0), (9, 0), (5, 10)], [(3, 5), (8, 5)]],
    "star": [[(5, 0), (8, 10), (0, 4), (10, 4), (2, 10), (5, 0)]],
}
