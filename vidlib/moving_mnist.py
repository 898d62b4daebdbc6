"""Moving MNIST: digits that fly straight, bounce and overlap on a 64×64 canvas.

The rules are those of Srivastava et al. 2015 (arXiv 1502.04681), to the letter, because every published number
rests on them: a step is taken *before* frame 0, a digit that leaves is clamped to the edge (the overshoot is
lost, it is no mirror), positions are truncated to whole pixels, and digits overlap by maximum.

Motion is computed on the CPU in float64, pixels are pasted on any device: the same clip everywhere, to the bit.
"""

from __future__ import annotations

import hashlib
import json
import operator
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torch.utils.data import Dataset

from vidlib.checks import check_choice, check_counts, check_flags, reason, shown
from vidlib.digits import SIZE, SPLITS, Digits, data_folder, describe, load_digits
from vidlib.download import download
from vidlib.files import user_path
from vidlib.machine import choose_device
from vidlib.video import to_float

CANVAS = 64  # height and width of a frame in pixels
FREE_RANGE = CANVAS - SIZE  # how far a digit's corner can travel: 36 pixels
SPEED = 0.1  # of the free range per frame: 3.6 pixels
# A digit with the black to the right of it is one run of pixels in a frame, from its first row to its last: 27 whole
# rows and 28 pixels. Pasting is then one indexed copy of such strips for a whole batch.
_STRIP = (SIZE - 1) * CANVAS + SIZE
_CACHED = 16  # clips pasted together on a CPU: 1.3 MB, which its cache holds
OFFICIAL_MD5 = "be083ec986bfe91a449d63653c411eb2"
VALIDATION_SEED, TEST_SEED = 1, 2
_MOST = 10_000  # digits in a clip, or frames
_CPU = torch.device("cpu")
_WORDS = 4  # random numbers of one digit: which image, x, y, angle


__all__ = [
    "MovingMNIST",
    "Trajectories",
    "official_test_set",
    "paste",
    "step",
    "test_clips",
    "to_float",
    "validation_clips",
]


class Trajectories(NamedTuple):
    """Where the digits of B clips are.

    Attributes:
        digits: ``(B, n)`` int64, indices into the digit images.
        positions: ``(B, n, T, 2)`` int64, top-left corners as (x, y) in pixels.
        bounced: ``(B, n, T)`` bool, whether the step into that frame hit an edge.
    """

    digits: np.ndarray
    positions: np.ndarray
    bounced: np.ndarray


def step(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of the physics: move, clamp to [0, 1], flip the velocity component that hit.

    Args:
        position: ``(..., 2)`` float64 in units of the free range.
        velocity: ``(..., 2)`` float64, units of the free range per frame.

    Returns:
        the new position, the new velocity, and ``(..., 2)`` bool: which component hit an edge.

    Raises:
        ValueError: no arrays of finite numbers, or arrays of two shapes.

    >>> step(np.array([0.95, 0.5]), np.array([0.1, 0.0]))
    (array([1. , 0.5]), array([-0.1,  0. ]), array([ True, False]))
    """
    position, velocity = _numbers(position, "position"), _numbers(velocity, "velocity")
    if position.shape != velocity.shape:
        raise ValueError(f"position has shape {position.shape} and velocity {velocity.shape}, expected the same.")
    return _step(position, velocity)


def _step(position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    moved = position + velocity
    hit = (moved <= 0) | (moved >= 1)
    return np.minimum(np.maximum(moved, 0), 1), np.where(hit, -velocity, velocity), hit


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # a ragged list; a tensor on another device
        raise ValueError(f"{name} cannot be read ({reason(error)}), expected an array (..., 2) of numbers.") from error
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        came = "NaN or infinity" if found.dtype.kind == "f" else type(values).__name__
        raise ValueError(f"{name} holds {came}, expected an array (..., 2) of finite numbers.")
    return found


def paste(images: Tensor, trajectories: Trajectories) -> Tensor:
    """Render clips: paste each digit at its corner in each frame, overlaps by maximum.

    Args:
        images: ``(N, 28, 28)`` uint8 digit images, on the device where the clips shall be.
        trajectories: of B clips with T frames.

    Returns:
        ``(B, T, 1, 64, 64)`` uint8.

    Raises:
        ValueError: images or trajectories of another type or shape, a digit that is not among the images, or a place
            off the canvas.
    """
    _check_paste(images, trajectories)
    return _paste(images, trajectories)


def _paste(images: Tensor, trajectories: Trajectories) -> Tensor:
    if images.device.type != "cpu":
        return _paste_on_device(images, trajectories)
    clips, count, frames, _ = trajectories.positions.shape
    canvas = np.zeros((clips, frames, CANVAS * CANVAS), np.uint8)
    windows = sliding_window_view(canvas, _STRIP, axis=2, writeable=True)
    starts = trajectories.positions @ [1, CANVAS]  # x + 64·y
    frame = np.arange(frames)
    for first in range(0, clips, _CACHED):
        part = slice(first, min(first + _CACHED, clips))
        strips = np.zeros((part.stop - first, count, 1, SIZE, CANVAS), np.uint8)
        strips[..., :SIZE] = images.numpy()[trajectories.digits[part], None]
        strips = strips.reshape(*strips.shape[:3], -1)[..., :_STRIP]
        for digit in range(count):
            place = (np.arange(first, part.stop)[:, None], frame, starts[part, digit])
            if digit == 0:
                windows[place] = strips[:, 0]
            else:
                below = windows[place]
                windows[place] = np.maximum(below, strips[:, digit], out=below)
    return torch.from_numpy(canvas).view(clips, frames, 1, CANVAS, CANVAS)


def _check_paste(images: Any, trajectories: Any) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.shape[1:] != (SIZE, SIZE):
        came = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images are {came}, expected a torch.uint8 tensor (N, {SIZE}, {SIZE}).")
    if not isinstance(trajectories, Trajectories):
        raise ValueError(
            f"trajectories are a {type(trajectories).__name__}, expected what trajectories(indices) gives."
        )
    digits, places = trajectories.digits, trajectories.positions
    whole = all(isinstance(array, np.ndarray) and array.dtype.kind in "iu" for array in (digits, places))
    if not whole or digits.ndim != 2 or places.ndim != 4 or places.shape[:2] != digits.shape or places.shape[3] != 2:
        raise ValueError(
            "trajectories have other shapes, expected whole numbers: digits (B, n), positions (B, n, T, 2)."
        )
    for name, array, count in (("digits", digits, len(images)), ("positions", places, FREE_RANGE + 1)):
        if array.size and not 0 <= array.min() <= array.max() < count:
            raise ValueError(f"{name} are from {array.min()} to {array.max()}, expected 0 to {count - 1}.")


def _paste_on_device(images: Tensor, trajectories: Trajectories) -> Tensor:
    """:func:`paste` with torch's indexing: any device, but a fifth of numpy's speed on a CPU."""
    clips, count, frames, _ = trajectories.positions.shape
    device = images.device
    canvas = torch.zeros(clips, frames, CANVAS * CANVAS, dtype=torch.uint8, device=device)
    windows = canvas.unfold(2, _STRIP, 1)
    starts = torch.from_numpy(trajectories.positions @ [1, CANVAS]).to(device)
    chosen = images[torch.from_numpy(trajectories.digits).to(device)]
    strips = F.pad(chosen, (0, CANVAS - SIZE)).view(clips, count, 1, -1)[..., :_STRIP]
    clip, frame = torch.arange(clips, device=device)[:, None], torch.arange(frames, device=device)
    for digit in range(count):
        place = (clip, frame, starts[:, digit])
        windows[place] = torch.maximum(windows[place], strips[:, digit])
    return canvas.view(clips, frames, 1, CANVAS, CANVAS)


class MovingMNIST(Dataset):
    """Moving MNIST clips, each a function of ``(seed, index)`` alone.

    The same bytes come whatever the batch size, order, worker count or device. Digits *and* motion differ
    between the splits. An endless supply: ``length`` only says where ``len()`` ends, so a training of 70 epochs
    with 10,000 fresh clips each is ``MovingMNIST(700_000)``.

    Args:
        length: number of clips.
        digits: ``"mnist"``, ``"builtin"``, ``"auto"``, a folder of images, or loaded :class:`Digits`.
        split: ``"train"``, ``"validation"`` or ``"test"``; that of loaded digits where they are handed over.
        seed: a whole number from 0 to 2⁶⁴ - 1.
        n_digits: digits on the canvas.
        frames: frames in a clip.

    Raises:
        ValueError: a number out of range, digits that cannot be had, or indices that are no whole numbers.
        IndexError: a clip that is not in the set.

    ``clips[i]`` is ``(frames, 1, 64, 64)`` uint8, and ``clips[2:6]`` is ``(4, frames, 1, 64, 64)``.
    """

    def __init__(
        self,
        length: int,
        *,
        digits: str | Path | Digits = "auto",
        split: str = "train",
        seed: int = 0,
        n_digits: int = 2,
        frames: int = 20,
    ) -> None:
        check_counts(length=length, highest=sys.maxsize)  # what len() can say
        check_counts(n_digits=n_digits, frames=frames, highest=_MOST)
        check_counts(0, highest=2**64 - 1, seed=seed)  # a larger one would be the seed of another split
        check_choice(SPLITS, split=split)
        if isinstance(digits, Digits) and split not in ("train", digits.split):
            raise ValueError(f"split is {split!r} and the digits are of the {digits.split} split: leave it out.")
        self.digits = digits if isinstance(digits, Digits) else load_digits(digits, split)
        self.split = self.digits.split
        self.seed, self.n_digits, self.frames = int(seed), int(n_digits), int(frames)
        self._length = int(length)
        self._images = {_CPU: torch.from_numpy(self.digits.images)}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Tensor:
        if isinstance(index, slice):
            if not all(part is None or _is_whole(part) for part in (index.start, index.stop, index.step)):
                raise ValueError(f"clips are {shown(index)}, expected whole numbers in a slice.")
            if index.step == 0:
                raise ValueError("the step of a slice is 0, expected any other whole number.")
            return self.batch(range(*index.indices(len(self))))
        if np.ndim(index):
            raise ValueError("clips[...] takes a whole number or a slice: use clips.batch for a list of them.")
        return self.batch([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """A whole batch at once: torch's DataLoader calls this instead of looping over clips."""
        return list(self.batch(indices))  # a list, because the loader's default collate cannot stack a tensor

    def batch(self, indices: Sequence[int] | range, device: torch.device | str | None = None) -> Tensor:
        """Clips as one ``(B, frames, 1, 64, 64)`` uint8 tensor, pasted on ``device`` (``None``: the CPU).

        Raises:
            ValueError: no indices, or something else than whole numbers; an unknown device.
            IndexError: a clip that is not in the set.
        """
        device = _CPU if device is None or str(device) == "cpu" else choose_device(device)
        if device not in self._images:
            self._images[device] = self._images[_CPU].to(device)
        return _paste(self._images[device], self.trajectories(indices))

    def trajectories(self, indices: Sequence[int] | range) -> Trajectories:
        """Where the digits are in these clips, without rendering them.

        Raises:
            ValueError: no indices, or something else than whole numbers.
            IndexError: a clip that is not in the set.
        """
        draws = np.concatenate([self._draws(start, stop) for start, stop in _runs(self._checked(indices))])
        which, start_x, start_y, turn = np.moveaxis(draws, -1, 0)
        position = np.stack([start_x, start_y], axis=-1)
        angle = 2 * np.pi * turn
        velocity = SPEED * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        path = np.empty((self.frames, *which.shape, 2))
        hits = np.empty(path.shape, bool)
        for frame in range(self.frames):  # a step comes before frame 0 too
            position, velocity, hits[frame] = _step(position, velocity)
            path[frame] = position
        corners = (FREE_RANGE * path).astype(np.int64)  # truncates, as int() does
        bounced = hits[..., 0] | hits[..., 1]
        by_clip = (np.ascontiguousarray(np.moveaxis(array, 0, 2)) for array in (corners, bounced))
        return Trajectories((which * len(self.digits)).astype(np.int64), *by_clip)

    def describe(self) -> str:
        """One line for the screen and for model cards."""
        clips = f"{len(self):,} clips of {self.frames} frames, {self.n_digits} digits, seed {self.seed}"
        return f"{clips}; {describe(self.digits)}"

    def fingerprint(self) -> str:
        """What the pixels depend on, wherever the digits lie; how many clips are asked for is no part of it."""
        facts = [self.digits.sha256, self.split, self.seed, self.n_digits, self.frames]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _draws(self, start: int, stop: int) -> np.ndarray:
        """Random numbers in [0, 1) of clips start … stop-1: ``(clips, n_digits, 4)``.

        Philox (Salmon et al. 2011) is a function from a counter to 4 random words, so any clip can be made
        without making those before it, and neighbours come in one call.
        """
        key = self.seed + (SPLITS.index(self.split) << 64)
        count = (stop - start) * self.n_digits
        words = np.random.Philox(key=key, counter=start * self.n_digits).random_raw(count * _WORDS)
        return (words >> 11).reshape(stop - start, self.n_digits, _WORDS) * 2.0**-53

    def _checked(self, indices: Sequence[int] | range) -> np.ndarray:
        try:
            found = np.asarray(indices)
        except (TypeError, ValueError, RuntimeError) as error:  # a ragged list; a tensor on another device
            raise ValueError(f"indices cannot be read ({reason(error)}), expected a list of whole numbers.") from error
        if found.ndim == 1 and not found.size:
            raise ValueError("indices are empty, expected at least one clip.")
        listed = isinstance(indices, (list, tuple))  # numpy would make 1 of True among other numbers
        each_whole = found.ndim == 1 and all(map(_is_whole, indices)) if listed else found.dtype.kind in "iu"
        if found.ndim != 1 or not each_whole:
            raise ValueError(f"indices are {shown(indices)}, expected a list of whole numbers.")
        wrapped = np.where(found < 0, found + len(self), found)
        outside = found[(wrapped < 0) | (wrapped >= len(self))]
        if len(outside):
            raise IndexError(f"clip {outside[0]} is not in a set of {len(self):,} clips.")
        return wrapped.astype(np.int64)


def _is_whole(number: Any) -> bool:
    try:
        return not isinstance(number, bool) and isinstance(operator.index(number), int)
    except TypeError:
        return False


def test_clips(digits: str | Path = "auto", length: int = 10_000) -> MovingMNIST:
    """The benchmark's stand-in where the official file cannot be had: clips of *test* digits from a fixed seed."""
    return MovingMNIST(length, digits=digits, split="test", seed=TEST_SEED)


def validation_clips(digits: str | Path = "auto", length: int = 1_000) -> MovingMNIST:
    """Clips of digits held out from training, for choosing."""
    return MovingMNIST(length, digits=digits, split="validation", seed=VALIDATION_SEED)


def official_test_set(root: str | Path | None = None, *, download: bool = True) -> np.ndarray:
    """The 10,000 official test clips, ``mnist_test_seq.npy`` (819 MB), memory-mapped.

    The file is downloaded from where torchvision has it, goes on where it was interrupted, and its md5 is checked.
    torchvision's own ``split`` would cut *frames*, not clips, so the file is opened here. Which digits it was made from
    is not documented: scores on it are never mixed with others.

    Args:
        root: the folder for data sets (default: :func:`vidlib.digits.data_folder`).
        download: whether it may be fetched when it is not on disk.

    Returns:
        ``(clips, 20, 1, 64, 64)`` uint8, read-only, read from disk where it is touched.

    Raises:
        ValueError: a root that is no path.
        OSError: the file cannot be read, which says nothing of its contents.
        RuntimeError: it is missing, damaged or cannot be downloaded.
    """
    from torchvision.datasets import MovingMNIST as Official
    from torchvision.datasets.utils import check_integrity

    check_flags(download=download)
    root = user_path(root) if root is not None else data_folder()
    file = root / "MovingMNIST" / Official._URL.rpartition("/")[2]
    try:
        if not file.exists() and download:
            _download_official(file)
        if not file.exists():
            raise RuntimeError(f"{file.name} is not in {file.parent}: allow the download, or copy it there.")
        if not check_integrity(str(file), OFFICIAL_MD5):
            raise RuntimeError(
                f"{file} is truncated or changed (its md5 is not {OFFICIAL_MD5}): delete it and load again."
            )
        return np.load(file, mmap_mode="r").swapaxes(0, 1)[:, :, None]
    except OSError as error:
        raise OSError(f"{file} cannot be read ({reason(error)}): see who may read it.") from error


def _download_official(file: Path) -> None:
    from torchvision.datasets import MovingMNIST as Official

    try:
        download(Official._URL, file, OFFICIAL_MD5)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"{file.name} (819 MB) could not be downloaded ({reason(error)}): connect to the network and try again, "
            f"which goes on where it ended, or copy it to {file.parent}."
        ) from error


def _runs(indices: np.ndarray) -> list[tuple[int, int]]:
    """Consecutive stretches as (start, stop): neighbours share one call of the random generator.

    >>> _runs(np.array([4, 5, 6, 9, 2, 3]))
    [(4, 7), (9, 10), (2, 4)]
    """
    cuts = np.flatnonzero(np.diff(indices) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(indices, cuts)]
