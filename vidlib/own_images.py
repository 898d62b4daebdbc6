"""Images from anywhere as light digits on black: any format, mode, depth, orientation and opacity that Pillow reads.

Which is ink and which is paper is seen from the image itself: its border shows the paper.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidlib.checks import reason

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = {
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff",
    ".webp",
}  # fmt: skip

_MOST_PIXELS = 50_000_000  # of an image: as 4 bytes each, 200 MB
_LONGEST_SIDE = 1_024  # in which ink and paper are told apart
_FAINTEST = 25  # of 255: what differs less from the paper is no ink
_BITS_PER_SAMPLE = 258  # the number of a TIFF file's tag
_SAME_PAPER = 2  # gray levels


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder and the folders below it, without hidden ones and macOS's shadow files.

    Raises:
        OSError: a folder that cannot be read.
    """

    def closed(error: OSError) -> None:
        raise OSError(f"{error.filename} cannot be read ({reason(error)}): see who may read it.") from error

    found = []
    for here, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [Path(here, name) for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES)


def read_digit(file: Path, size: int) -> np.ndarray:
    """An image file as a light digit on black ``(size, size)`` uint8, its proportions kept.

    Raises:
        ValueError: no image, too many pixels, or no digit to be seen in it.
        OSError: it cannot be opened, which says nothing of its contents.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), file.open("rb") as stream:
            warnings.simplefilter("ignore")  # Pillow's about large images and odd metadata: both are dealt with below
            with Image.open(stream) as opened:  # reads no pixels yet
                if opened.width * opened.height > _MOST_PIXELS:
                    raise Image.DecompressionBombError
                gray = _gray(opened)  # of several frames or pages, the first
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file} has more than {_MOST_PIXELS:,} pixels: save it smaller.") from error
    except Exception as error:  # each of Pillow's readers, and each kind of file, raises a type of its own
        if isinstance(error, OSError) and error.errno is not None:  # from the disk; Pillow's own have no number
            raise OSError(f"{file} cannot be opened ({reason(error)}): see whether it is there for you.") from error
        why = "no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise ValueError(f"{file} cannot be read as an image ({why}): replace or remove it.") from error
    if max(gray.size) > size * min(gray.size):
        raise ValueError(f"{file} is {gray.width}×{gray.height} pixels, expected a digit: replace or remove it.")
    ink = _ink(np.asarray(gray.reduce(-(-max(gray.size) // _LONGEST_SIDE)), np.float32))
    digit = np.asarray(ImageOps.pad(Image.fromarray(ink), (size, size), Image.Resampling.BICUBIC, color=0))
    if digit.max() < _FAINTEST:
        raise ValueError(
            f"{file} shows no digit at {size}×{size} pixels, its ink is too faint or too thin or not there: "
            "cut it to the digit, or remove it."
        )
    return digit


def _gray(image: Picture) -> Picture:
    """Any Pillow image as mode L, upright, with its ink visible."""
    from PIL import Image, ImageCms, ImageOps

    image.load()
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    with suppress(Exception):  # where the metadata are damaged, the picture stays as it was stored
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        usual = [1, 255, 65_535] if image.mode == "F" else [4_095] if bits == (12,) else [255, 65_535]
        return Image.fromarray(_eight_bits(np.asarray(image), usual))
    if image.mode == "LAB":
        to_rgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        image = ImageCms.applyTransform(image, to_rgb)
    if not image.has_transparency_data:
        return (image if image.mode in ("1", "L") else image.convert("RGB")).convert("L")
    whole = image.convert("RGBA")
    gray = np.asarray(whole.convert("RGB").convert("L"), np.float32)
    return Image.fromarray(_flattened(gray, np.asarray(whole.getchannel("A"), np.float32)))


def _eight_bits(deep: np.ndarray, usual: list[int]) -> np.ndarray:
    """Numbers of 12, 16 or 32 bits or floats as uint8; their range is the smallest ``usual`` one that holds them."""
    if not np.isfinite(deep).all():
        raise ValueError("it holds NaN or infinity")
    lowest, highest = min(float(deep.min()), 0.0), float(deep.max())
    full = next((value for value in usual if highest <= 1.05 * value), highest)  # resized floats overshoot a little
    share = (deep.astype(np.float32) - lowest) / max(full - lowest, 1e-9)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _flattened(gray: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Gray and opacity as one image: what is opaque may be paper with ink on it, or the ink alone."""
    opacity = opacity / max(opacity.max(), 1)
    visible = opacity > 0.9
    if visible.all() or not visible.any():  # nearly opaque, or as transparent everywhere
        return gray.astype(np.uint8)
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    filled = visible[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean()
    if filled < 0.7 or np.ptp(gray[visible]) < _FAINTEST:  # ink on nothing, as drawing programs save it
        hidden = gray[opacity < 0.1]
        cut_out = hidden.size + visible.sum() == gray.size and np.ptp(hidden) < _FAINTEST
        if cut_out and np.abs(gray[visible] - hidden[0]).min() < _FAINTEST <= np.ptp(gray[visible]):
            return gray.astype(np.uint8)  # one shade was declared transparent, and soft edges lead up to it
        return np.rint(255 * opacity).astype(np.uint8)
    return np.rint(gray * opacity + np.median(gray[visible]) * (1 - opacity)).astype(np.uint8)


def _ink(gray: np.ndarray) -> np.ndarray:
    """How much ink covers each pixel of ``(H, W)`` gray levels: uint8, 0 for the paper alone.

    The border shows the paper. Ink is what differs from it more, towards dark or towards light.
    """
    paper = _paper(gray)
    above = gray - paper
    lighter = (above**3).sum() >= 0  # cubed, so that a little ink outweighs much that hardly differs
    share = above / np.maximum(255 - paper, 1) if lighter else -above / np.maximum(paper, 1)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _paper(gray: np.ndarray) -> np.ndarray:
    """The paper's shade at every pixel, as the border shows it: one value, or a smooth surface where a shadow falls."""
    edge = np.ones(gray.shape, bool)
    edge[1:-1, 1:-1] = False
    shades = gray[edge]
    flat = np.full_like(gray, np.median(shades))
    unevenness = np.median(np.abs(shades - flat[0, 0]))
    if min(gray.shape) < 5 or unevenness <= _SAME_PAPER:
        return flat
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in gray.shape)
    y, x = np.meshgrid(y, x, indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=-1)  # (H, W, 6)
    kept = np.ones(len(shades), bool)
    for _ in range(10):  # fitted to the half that fits best, so that ink at the border does not count
        surface = np.linalg.lstsq(terms[edge][kept], shades[kept], rcond=None)[0]
        off = np.abs(terms[edge] @ surface - shades)
        kept = off <= np.median(off)
    smooth = np.median(off) < unevenness / 2
    return (terms @ surface).clip(0, 255) if smooth else flat
