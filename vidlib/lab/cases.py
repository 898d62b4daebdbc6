"""A case of the what-if lab: which digits start where, flying which way, under which rule.

A case is one line of text, the same in a link, in the lab's front end (``physics.js``) and here::

    digits=7a@9,18,45;3b@27,18,180&speed=3.6&walls=mirror

``7a`` is the first 7 of the tray; then the corner's x and y in pixels and the direction in degrees, clockwise from the
right. What is left out is the official rule of :mod:`vidlib.moving_mnist`: 3.6 pixels a frame, walls that clamp,
positions that are truncated. Both languages fly a case to the same pixels, to the bit.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidlib.checks import check_choice, check_counts, check_texts, did_you_mean, shown
from vidlib.digits import SIZE, load_digits
from vidlib.files import atomic_write, user_path
from vidlib.moving_mnist import FREE_RANGE, SPEED, Trajectories, paste, step

FOLDER = Path(__file__).parent
EACH = 4  # digits of one kind in the tray
_GRAIN = 2.0**40  # velocities are rounded to its inverse: the last bit of a cosine differs between two libraries
_CHOICES = {
    "walls": ("clamp", "mirror"),
    "corners": ("truncate", "round"),
    "view": ("frames", "error"),
}
_RANGES = {"speed": (0, 12), "horizon": (10, 50), "chunk": (1, 10), "frame": (1, 60)}
_DIGIT = re.compile(r"([0-9][a-h]|~[\w-]{523})@([-\d.]+),([-\d.]+),([-\d.]+)", re.ASCII)


class Case(NamedTuple):
    """A case, read.

    Attributes:
        text: the whole line, with what only the front end knows.
        images: ``(n, 28, 28)`` uint8.
        labels: ``(n,)``, -1 for a drawn digit.
        start: ``(n, 2)`` float64, corners (x, y) in units of the free range.
        velocity: ``(n, 2)`` float64, units of the free range per frame.
        walls: ``"clamp"`` or ``"mirror"``.
        corners: ``"truncate"`` or ``"round"``.
        official: whether it flies by the official rule at the official speed.
    """

    text: str
    images: np.ndarray
    labels: np.ndarray
    start: np.ndarray
    velocity: np.ndarray
    walls: str
    corners: str
    official: bool

    def trajectories(self, frames: int) -> Trajectories:
        """Where the digits are in the first ``frames`` frames, as one clip."""
        return fly(self.start, self.velocity, frames, self.walls, self.corners)

    def clip(self, frames: int) -> Tensor:
        """The first frames as stored pixels: ``(1, frames, 1, 64, 64)`` uint8."""
        return paste(torch.from_numpy(self.images), self.trajectories(frames))


def mirror(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`vidlib.moving_mnist.step` with walls that reflect what is left of the step."""
    moved = position + velocity
    hit = (moved <= 0) | (moved >= 1)
    return np.where(hit, (moved > 0.5) * 2 - moved, moved), np.where(hit, -velocity, velocity), hit


def fly(
    start: np.ndarray, velocity: np.ndarray, frames: int, walls: str = "clamp", corners: str = "truncate"
) -> Trajectories:
    """The flight of n digits as one clip; digit i is image i.

    Args:
        start, velocity: ``(n, 2)`` float64, in units of the free range and per frame.
        frames: how many; a step comes before the first too.
        walls: ``"clamp"`` as the official rule, or ``"mirror"``.
        corners: ``"truncate"`` to whole pixels as the official rule, or ``"round"``.

    Raises:
        ValueError: another rule, or no frame.
    """
    check_choice(_CHOICES["walls"], walls=walls)
    check_choice(_CHOICES["corners"], corners=corners)
    check_counts(frames=frames)
    path, hits = [], []
    for _ in range(frames):
        start, velocity, hit = (mirror if walls == "mirror" else step)(start, velocity)
        path.append(start)
        hits.append(hit.any(-1))
    places = FREE_RANGE * np.stack(path, axis=1)  # (n, frames, 2)
    places = (np.rint(places) if corners == "round" else places).astype(np.int64)
    return Trajectories(np.arange(len(places))[None], places[None], np.stack(hits, axis=1)[None])


def read_case(case: str | None = None) -> Case:
    """A case from the name of a preset or from its line of text.

    Args:
        case: a name of :func:`presets`, a line as above, or ``None`` for two ordinary digits.

    Raises:
        ValueError: the first thing in it that is wrong.
    """
    known = presets()
    case = next(iter(known)) if case is None else case
    check_texts(case=case)
    if "=" not in case and case not in known:
        raise ValueError(f"case is {shown(case)}, {did_you_mean(case, known)} Or give what the lab prints for one.")
    text = known[case]["case"] if case in known else case.rpartition("#")[2]
    parts = dict(part.partition("=")[::2] for part in text.split("&"))
    values: dict[str, Any] = {"speed": FREE_RANGE * SPEED, "walls": "clamp", "corners": "truncate"}
    for key, value in parts.items():
        if key in _CHOICES:
            check_choice(_CHOICES[key], **{key: value})
            values[key] = value
        elif key in _RANGES:
            values[key] = _number(key, value)
        elif key != "digits":
            raise ValueError(f"case has {shown(key)}, {did_you_mean(key, ['digits', *_CHOICES, *_RANGES])}")
    digits = [_digit(digit) for digit in parts.get("digits", "").split(";") if digit]
    check_counts(highest=4, **{"the number of digits in case": len(digits)})
    names, places, angles = zip(*digits, strict=True)
    turns = np.deg2rad(angles)
    speeds = values["speed"] / FREE_RANGE * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    official = (values["speed"], values["walls"], values["corners"]) == (FREE_RANGE * SPEED, "clamp", "truncate")
    return Case(
        text,
        np.stack([digit_image(name) for name in names]),
        np.array([-1 if name[0] == "~" else int(name[0]) for name in names]),
        np.array(places) / FREE_RANGE,
        np.floor(speeds * _GRAIN + 0.5) / _GRAIN,
        values["walls"],
        values["corners"],
        official,
    )


def _number(key: str, value: str) -> float:
    low, high = _RANGES[key]
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high or (key != "speed" and number % 1):
        kind = "a number" if key == "speed" else "a whole number"
        raise ValueError(f"{key} of case is {shown(value)}, expected {kind} from {low} to {high}.")
    return number


def _digit(text: str) -> tuple[str, tuple[float, float], float]:
    found = _DIGIT.fullmatch(text)
    try:
        x, y, angle = map(float, found.groups()[1:])
    except (AttributeError, ValueError):
        x = y = angle = math.nan
    if not (0 <= x <= FREE_RANGE and 0 <= y <= FREE_RANGE and math.isfinite(angle)):
        raise ValueError(
            f"a digit of case is {text[:40]!r}, expected one such as '7a@9,18,45': image, corner from 0 to "
            f"{FREE_RANGE}, degrees."
        )
    return found[1], (x, y), angle


def digit_image(name: str) -> np.ndarray:
    """``(28, 28)`` uint8: ``"7a"``, the first 7 of the tray, or a drawn digit, whose 16 gray levels are in its name.

    Raises:
        ValueError: no such digit.
    """
    if name.startswith("~"):
        data = np.frombuffer(base64.urlsafe_b64decode(name[1:] + "="), np.uint8)
        return (np.stack([data >> 4, data & 15], axis=-1) * 17).astype(np.uint8).reshape(SIZE, SIZE)
    variant = "abcdefgh".find(name[1:])
    if not name[0].isdigit() or not 0 <= variant < EACH:
        raise ValueError(f"digit is {shown(name)}, expected 0 to 9 and a letter from a to {'abcdefgh'[EACH - 1]}.")
    return tray()[int(name[0]), variant]


@lru_cache(maxsize=1)
def presets() -> dict[str, dict[str, str]]:
    """The telling cases by name: title, case, and why to look at it."""
    return json.loads((FOLDER / "presets.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def tray() -> np.ndarray:
    """The digits that come with the lab: ``(10, EACH, 28, 28)`` uint8, test digits of MNIST."""
    sheet = np.asarray(Image.open(FOLDER / "tray.png"))  # one row per kind
    return sheet.reshape(10, SIZE, EACH, SIZE).swapaxes(1, 2).copy()


def for_the_front_end() -> dict[str, Any]:
    """The tray and the presets as the front end takes them: plain JSON."""
    pixels = base64.b64encode(np.ascontiguousarray(tray()).tobytes()).decode()
    return {"tray": {"each": EACH, "base64": pixels}, "presets": presets()}


def write_tray(path: str | Path | None = None) -> Path:
    """Make the tray anew: the first MNIST test digits of each kind, so that no model has seen them.

    ``python -c "from vidlib.lab.cases import write_tray; write_tray()"`` makes the one that is shipped.

    Args:
        path: where to; ``None`` for the tray's own file.
    """
    path = FOLDER / "tray.png" if path is None else user_path(path)
    digits = load_digits("mnist", "test")
    rows = [np.concatenate(list(_first(digits.images, digits.labels == kind)), axis=1) for kind in range(10)]
    with atomic_write(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, "PNG", optimize=True)
    return path


def _first(images: np.ndarray, chosen: np.ndarray) -> Sequence[np.ndarray]:
    return images[chosen][:EACH]
