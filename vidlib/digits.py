"""Where the 28×28 digits come from: MNIST, scikit-learn's built-in digits, or a folder of your own.

Train, validation and test digits never share an image. A source that cannot be had is an error with a
sentence; only ``"auto"`` looks further, and the returned :class:`Digits` says which source it found and why.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

import numpy as np
from filelock import FileLock

from vidlib.checks import check_flags, reason, shown
from vidlib.files import user_path
from vidlib.own_images import SUFFIXES, image_files, read_digit

SPLITS = ("train", "validation", "test")
SIZE = 28  # height and width of a digit in pixels

_MNIST_VALIDATION = 5_000  # the last training digits are held out: models are selected on them, never on test digits
_BUILTIN_CUTS = (1_297, 1_497)  # 1,297 train, 200 validation, 300 test
# SHA-256 of the four files when unpacked. torchvision checks the archives that it downloads, but nothing that lies
# on the disk already.
_MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_LOCK = "MNIST.lock"


@dataclass(frozen=True)
class Digits:
    """Digit images of one split.

    Attributes:
        images: ``(N, 28, 28)`` uint8, light strokes on black.
        labels: ``(N,)`` whole numbers, -1 where the digit is not known, as in a folder of images.
        source: ``"mnist"``, ``"builtin"`` or the folder they came from.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        note: why they stand in for MNIST, where ``"auto"`` did not find it; else empty.
        sha256: of the pixels.

    Raises:
        ValueError: arrays of another shape or type, or an unknown split.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str
    split: str
    note: str = ""
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        _check_split(self.split)
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(f"source is {shown(self.source)}, expected a name or a folder as text.")
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIZE, SIZE) or not len(images):
            raise ValueError(f"images are {images.dtype} of shape {images.shape}, expected uint8 (N, {SIZE}, {SIZE}).")
        if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
            raise ValueError(
                f"labels are {labels.dtype} of shape {labels.shape}, expected whole numbers ({len(images)},)."
            )
        for name, value in (("images", images), ("labels", labels), ("sha256", _sha256(images))):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.images)


def data_folder() -> Path:
    """The folder for data sets: ``$VIDLIB_DATA``, or ``data`` beside the package or the working directory.

    Raises:
        ValueError: ``$VIDLIB_DATA`` begins with a home that nobody knows.
    """
    if configured := os.environ.get("VIDLIB_DATA"):
        return user_path(configured)
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "data"


def load_digits(source: str | Path = "auto", split: str = "train", *, download: bool = True) -> Digits:
    """Load one split of the digits.

    Args:
        source: ``"mnist"`` (on disk under :func:`data_folder`, packed or not, else downloaded; verified),
            ``"builtin"`` (scikit-learn's 1,797 handwritten digits, no network), ``"auto"`` (MNIST where all of it can
            be had, else built-in), or a folder of images in any format and mode that Pillow reads. Which of ink
            and paper is the darker may differ from image to image.
        split: ``"train"``, ``"validation"`` or ``"test"``; no image is in two of them.
        download: whether MNIST may be fetched when it is not on disk.

    Raises:
        ValueError: unknown split or source, a folder with too few images, or an image that shows no digit.
        OSError: a folder or image that cannot be opened, which says nothing of its contents.
        RuntimeError: MNIST cannot be had or read (:class:`MNISTUnavailable`), or a file of it is damaged.
    """
    _check_split(split)
    check_flags(download=download)
    if not isinstance(source, (str, Path)) or not str(source):
        raise ValueError(f"digits are {shown(source)}, {_EXPECTED_SOURCE}")
    if source == "builtin":
        return _builtin(split)
    if source == "mnist":
        return _mnist(split, download)
    if source == "auto":
        return _auto(split, download)
    folder = user_path(source)
    try:
        if not folder.is_dir():
            raise ValueError(f"digits are {str(source)!r}, {_EXPECTED_SOURCE}")
    except OSError as error:
        raise OSError(f"{folder} cannot be read ({reason(error)}): see who may read it.") from error
    return _folder(folder, split)


_EXPECTED_SOURCE = "expected 'mnist', 'builtin', 'auto' or an existing folder of images."


def _check_split(split: object) -> None:
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"split is {shown(split)}, expected one of {', '.join(SPLITS)}.")


# MNIST --------------------------------------------------------------------------------------------------------------


class MNISTUnavailable(RuntimeError):
    """MNIST is neither on disk nor to be downloaded, or it cannot be read. (A damaged file is a plain RuntimeError.)

    Attributes:
        why: the same in a few words and without paths, for the screen.
        readable: ``False`` where something is there that could not be opened; a download would not help.
    """

    def __init__(self, sentence: str, why: str = "", readable: bool = True) -> None:
        super().__init__(sentence)
        self.why, self.readable = why, readable


class _Damaged(RuntimeError):
    """A file of MNIST has other contents than were published.

    Attributes:
        download_mends: whether only archives are concerned, which a download fetches again as if they were missing.
    """

    download_mends = False


def _auto(split: str, download: bool) -> Digits:
    try:
        for train in (True, False):  # all splits from one source, though only one is asked for
            _mnist_file(train, download, data_folder())
    except MNISTUnavailable as error:
        return replace(_builtin(split), note=f"built-in digits stand in: {error.why}")
    return _mnist(split, download)


def _mnist(split: str, download: bool) -> Digits:
    images, labels = _mnist_file(split != "test", download, data_folder())
    if split == "train":
        images, labels = images[:-_MNIST_VALIDATION], labels[:-_MNIST_VALIDATION]
    elif split == "validation":
        images, labels = images[-_MNIST_VALIDATION:], labels[-_MNIST_VALIDATION:]
    return Digits(images, labels, "mnist", split)


@lru_cache(maxsize=4)
def _mnist_file(train: bool, download: bool, root: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        return _read_mnist(train, root)
    except (MNISTUnavailable, _Damaged):
        if not download and not (root / _LOCK).exists():
            raise
    with _alone(root):
        try:
            return _read_mnist(train, root)  # another process may have been downloading it
        except MNISTUnavailable as error:
            if not download or not error.readable:
                raise
            found = error
        except _Damaged as error:
            if not download or not error.download_mends:
                raise
            found = error
        try:
            _download_mnist(root)
        except (OSError, RuntimeError, HTTPException, EOFError, zlib.error) as error:
            if isinstance(found, _Damaged):
                raise found from error
            why = f"could not be downloaded ({reason(error)})"
            raise MNISTUnavailable(
                f"{str(found).partition(': ')[0]} and {why}: connect to the network, copy the four MNIST files to "
                f"{root / 'MNIST' / 'raw'}, or use digits='builtin'.",
                f"{found.why} and {why}",
            ) from error
    return _read_mnist(train, root)


def _download_mnist(root: Path) -> None:
    """Fetch and unpack what is missing; torchvision compares each archive with its md5."""
    from torchvision.datasets import MNIST

    from vidlib.machine import impatient_network

    data = MNIST.__new__(MNIST)  # its constructor would read the files too, and fail in ways of its own
    data.root = str(root)
    with impatient_network():
        data.download()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """For whoever downloads: another process must not read a file that is half there."""
    lock = FileLock(root / _LOCK)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):  # where nothing can be written, nobody downloads
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _read_mnist(train: bool, root: Path) -> tuple[np.ndarray, np.ndarray]:
    part = "train" if train else "t10k"
    images, labels = (_read_mnist_file(f"{part}-{kind}", root) for kind in ("images", "labels"))
    return images.reshape(-1, SIZE, SIZE), labels.astype(np.int64)


def _read_mnist_file(name: str, root: Path) -> np.ndarray:
    """The numbers of the first whole copy of ``train-images``, ``train-labels``, ``t10k-images`` or ``t10k-labels``."""
    changed, closed = [], []
    raw = root / "MNIST" / "raw"
    for folder in (raw, raw.parent, root):
        try:
            copies = _copies(folder, name)
        except OSError as error:
            closed.append((folder, error))
            continue
        for file in copies:
            try:
                content = _unpacked(file)
            except OSError as error:
                closed.append((file, error))
                continue
            if content is not None and hashlib.sha256(content).hexdigest() == _MNIST_SHA256[name]:
                return np.frombuffer(bytearray(content), np.uint8, offset=16 if "images" in name else 8)
            changed.append(file)
    if closed:
        file, why = closed[0][0], reason(closed[0][1])
        raise MNISTUnavailable(
            f"{file} cannot be read ({why}): see who may read it, or use digits='builtin'.",
            f"MNIST is there and cannot be read ({why})",
            readable=False,
        )
    if damaged := [file for file in changed if file.name.removesuffix(".gz") == _torchvisions_name(name)]:
        error = _Damaged(
            f"{damaged[0]} is not MNIST's file as it was published (truncated, changed or of another data set): "
            "delete that file and load again, or replace it by a whole copy."
        )
        error.download_mends = all(file.suffix == ".gz" for file in damaged)
        raise error
    but = f" ({changed[0].name} is, with other contents)" if changed else ""
    raise MNISTUnavailable(
        f"MNIST's {_torchvisions_name(name)} is not in {raw}{but}: copy the four MNIST files there, packed or not, "
        "allow the download, or use digits='builtin'.",
        "MNIST is not on disk",
    )


def _torchvisions_name(name: str) -> str:
    return f"{name}-idx{3 if 'images' in name else 1}-ubyte"


def _copies(folder: Path, name: str) -> list[Path]:
    """Files in ``folder`` that are called like this one of MNIST's four, here or by other hosts; torchvision's first.

    One host calls it ``train-images.idx3-ubyte``, and packs it into a folder that is called like the file.
    """
    alike = re.compile(rf"{name.replace('-', '[-_.]')}[-_.]idx[13][-_.]ubyte(\.gz)?", re.IGNORECASE)
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if alike.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = [file for file in found if not file.is_dir()]
    files += [inner for file in found if file.is_dir() for inner in file.iterdir() if alike.fullmatch(inner.name)]
    right = _torchvisions_name(name)
    return sorted(files, key=lambda file: (file.name != right, file.name != f"{right}.gz", str(file)))


def _unpacked(file: Path) -> bytes | None:
    """The contents, unpacked if they are packed, whatever the name says; ``None`` where an archive is damaged."""
    content = file.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)  # in memory: the disk may be full or read-only
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return None


# Built-in digits ----------------------------------------------------------------------------------------------------


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


# A folder of images --------------------------------------------------------------------------------------------------


def _folder(folder: Path, split: str) -> Digits:
    unique = {}  # the same image under two names must not land in two splits
    for file in image_files(folder):
        image = read_digit(file, SIZE)
        unique.setdefault(_sha256(image), image)
    if len(unique) < len(SPLITS):
        raise ValueError(
            f"{folder} holds {len(unique)} different images, expected at least {len(SPLITS)} so that train, validation "
            f"and test each get one: add files that end in {', '.join(sorted(SUFFIXES))}."
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


def _sha256(images: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


def describe(digits: Digits) -> str:
    """One line for the screen: which digits these are and how many.

    >>> describe(load_digits("builtin", "test"))
    'scikit-learn built-in digits, 300 in the test split'
    """
    if not isinstance(digits, Digits):
        raise ValueError(f"digits are {shown(digits)}, expected what load_digits gives.")
    known = {"mnist": "MNIST", "builtin": "scikit-learn built-in digits"}
    # of a folder only its last part: cards and scores are passed on, and the rest tells whose machine it was
    name = known.get(digits.source) or Path(digits.source).name or "own images"
    return f"{name}, {len(digits):,} in the {digits.split} split"
