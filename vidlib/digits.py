"""Where the 28×28 digits come from: MNIST, scikit-learn's built-in digits, or a folder of your own.

Train, validation and test digits never share an image. A source that cannot be had is an error with a
sentence; only ``"auto"`` looks further, and the returned :class:`Digits` says which source it found.
"""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock

SPLITS = ("train", "validation", "test")
SIZE = 28  # height and width of a digit in pixels

_MNIST_VALIDATION = 5_000  # the last training digits are held out: models are selected on them, never on test digits
_BUILTIN_CUTS = (1_297, 1_497)  # 1,297 train, 200 validation, 300 test
# SHA-256 of the decoded (N, 28, 28) uint8 pixels. torchvision checks the md5 of the archives it downloads,
# but not of files that lie unpacked on disk.
_MNIST_SHA256 = {
    True: "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    False: "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Digits:
    """Digit images of one split.

    Attributes:
        images: ``(N, 28, 28)`` uint8, light strokes on black.
        labels: ``(N,)`` int64, -1 where nobody said what the digit is.
        source: ``"mnist"``, ``"builtin"`` or the folder they came from.
        split: ``"train"``, ``"validation"`` or ``"test"``.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str
    split: str
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", _sha256(self.images))

    def __len__(self) -> int:
        return len(self.images)


def data_folder() -> Path:
    """The folder for data sets: ``$VIDLIB_DATA``, or ``data`` beside the package or the working directory."""
    if configured := os.environ.get("VIDLIB_DATA"):
        return Path(configured).expanduser()
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "data"


def load_digits(source: str | Path = "auto", split: str = "train", *, download: bool = True) -> Digits:
    """Load one split of the digits.

    Args:
        source: ``"mnist"`` (on disk under :func:`data_folder`, else downloaded and verified), ``"builtin"``
            (scikit-learn's 1,797 handwritten digits, no network), ``"auto"`` (MNIST where it can be had,
            else built-in), or a folder of images.
        split: ``"train"``, ``"validation"`` or ``"test"``; no image is in two of them.
        download: whether MNIST may be fetched when it is not on disk.

    Raises:
        ValueError: unknown split or source, or a folder with too few images.
        RuntimeError: MNIST cannot be downloaded, or what is on disk is not MNIST.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}.")
    if source == "builtin":
        return _builtin(split)
    if source == "mnist":
        return _mnist(split, download)
    if source == "auto":
        try:
            return _mnist(split, download)
        except MNISTUnavailable:
            return _builtin(split)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"digits are {str(source)!r}, expected 'mnist', 'builtin', 'auto' or an existing folder of images."
        )
    return _folder(folder, split)


class MNISTUnavailable(RuntimeError):
    """MNIST is neither on disk nor to be downloaded (a damaged copy on disk is a plain RuntimeError)."""


def _mnist(split: str, download: bool) -> Digits:
    images, labels = _mnist_file(split != "test", download, data_folder())
    if split == "train":
        images, labels = images[:-_MNIST_VALIDATION], labels[:-_MNIST_VALIDATION]
    elif split == "validation":
        images, labels = images[-_MNIST_VALIDATION:], labels[-_MNIST_VALIDATION:]
    return Digits(images, labels, "mnist", split)


@lru_cache(maxsize=4)
def _mnist_file(train: bool, download: bool, root: Path) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import MNIST

    wanted = {Path(name).stem for name, _ in MNIST.resources}
    found = {file.name for file in (root / "MNIST" / "raw").glob("*ubyte*")}
    on_disk = {name.removesuffix(".gz") for name in found}
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # a silent network must not hold a notebook up
    try:
        with _alone(root) if not found >= wanted else nullcontext():
            data = MNIST(root, train=train, download=download or on_disk >= wanted)  # unpacks too
        images, labels = data.data.numpy(), data.targets.numpy()
    except Exception as error:
        if on_disk:
            raise RuntimeError(_damaged(root)) from error
        raise MNISTUnavailable(
            f"MNIST is not in {root} and could not be downloaded: connect to the network, copy the four MNIST files to "
            f"{root / 'MNIST' / 'raw'}, or use digits='builtin'."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    if _sha256(images) != _MNIST_SHA256[train]:
        raise RuntimeError(_damaged(root))
    return images, labels


def _alone(root: Path) -> FileLock:
    """For whoever downloads or unpacks: another process must not read a file that is half there."""
    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / "MNIST.lock")


def _damaged(root: Path) -> str:
    raw = root / "MNIST" / "raw"
    return f"The MNIST files in {raw} are incomplete, truncated or changed: delete that folder and load again."


def _builtin(split: str) -> Digits:
    images, labels = _builtin_all()
    first, second = _BUILTIN_CUTS
    part = {"train": slice(0, first), "validation": slice(first, second), "test": slice(second, None)}[split]
    return Digits(images[part], labels[part], "builtin", split)


@lru_cache(maxsize=1)
def _builtin_all() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 8×8 digits, enlarged to 20×20 inside 28×28 as MNIST's own digits are."""
    from PIL import Image
    from sklearn.datasets import load_digits as sklearn_digits

    small = sklearn_digits()
    images = np.zeros((len(small.images), SIZE, SIZE), np.uint8)
    for canvas, digit in zip(images, small.images, strict=True):
        enlarged = Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
        canvas[4:24, 4:24] = np.asarray(enlarged)
    return images, small.target.astype(np.int64)


def _folder(folder: Path, split: str) -> Digits:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    unique = {}  # the same image under two names must not land in two splits
    for file in files:
        image = _read_digit(file)
        unique.setdefault(_sha256(image), image)
    if len(unique) < len(SPLITS):
        raise ValueError(
            f"{folder} holds {len(unique)} different images, expected at least {len(SPLITS)} so that train, validation "
            f"and test each get one: add files that end in {', '.join(sorted(_IMAGE_SUFFIXES))}."
        )
    # Ordered by content, not by name: adding a file or renaming one moves few digits between the splits.
    images = np.stack([unique[key] for key in sorted(unique)])
    held_out = max(1, len(images) // 10)
    part = {
        "train": slice(2 * held_out, None),
        "validation": slice(held_out, 2 * held_out),
        "test": slice(0, held_out),
    }[split]
    return Digits(images[part], np.full(len(images[part]), -1, np.int64), str(folder), split)


def _read_digit(file: Path) -> np.ndarray:
    """An image file as a light digit on black, fitted into 28×28 with its proportions kept."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            gray = opened.convert("L")
            opacity = opened.convert("RGBA").getchannel("A")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{file} cannot be read as an image: replace or remove it.") from error
    if opacity.getextrema()[0] < 255:  # ink on nothing, as drawing programs save it: the colours may all be black
        gray = opacity
    border = np.concatenate([np.asarray(gray)[[0, -1]].ravel(), np.asarray(gray)[:, [0, -1]].ravel()])
    if border.mean() > 127:  # dark ink on paper
        gray = ImageOps.invert(gray)
    return np.asarray(ImageOps.pad(gray, (SIZE, SIZE), Image.Resampling.BICUBIC, color=0))


def _sha256(images: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


def describe(digits: Digits) -> str:
    """One line for the screen: which digits these are and how many.

    >>> describe(load_digits("builtin", "test"))
    'scikit-learn built-in digits, 300 in the test split'
    """
    name = {"mnist": "MNIST", "builtin": "scikit-learn built-in digits"}.get(digits.source, digits.source)
    return f"{name}, {len(digits):,} in the {digits.split} split"
