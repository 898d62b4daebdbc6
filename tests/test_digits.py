"""Where digits come from: splits that share no image, files that are what they say, and no silent substitute."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import pickle
import shutil
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vidlib import digits, own_images
from vidlib.digits import SPLITS, Digits, data_folder, describe, load_digits
from vidlib.own_images import read_digit

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
REAL = [data_folder() / "MNIST" / "raw" / name for name in FILES]
needs_mnist = pytest.mark.skipif(
    not all(file.exists() or file.with_name(f"{file.name}.gz").exists() for file in REAL),
    reason="MNIST is not in the data folder",
)


def _whole(file: Path) -> bytes:
    """What a file of MNIST's holds, whether it lies there unpacked or as an archive only."""
    return file.read_bytes() if file.exists() else gzip.decompress(file.with_name(f"{file.name}.gz").read_bytes())


def hashes(found: Digits) -> set[bytes]:
    return {image.tobytes() for image in found.images}


def one_sentence(error: BaseException) -> bool:
    return "\n" not in str(error) and str(error).endswith(".")


@pytest.fixture(autouse=True)
def no_memory_of_files():
    digits._mnist_file.cache_clear()
    yield
    digits._mnist_file.cache_clear()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty folder for data sets."""
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def offline(monkeypatch):
    """No network; the fixture is the list of what was asked for."""
    asked = []

    def refuse(*address, **options):
        asked.append(address)
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return asked


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(data, monkeypatch):
    """Files with MNIST's layout: 30 training and 10 test digits, of which the last 6 training ones are held out."""
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, s, np.uint8) for s in ((30, 28, 28), (30,), (10, 28, 28), (10,))]
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True)
    whole = {}
    for name, array in zip(FILES, arrays, strict=True):
        (raw / name).write_bytes(idx(array))
        whole[name[: name.index("-idx")]] = hashlib.sha256(idx(array)).hexdigest()
    monkeypatch.setattr(digits, "_MNIST_VALIDATION", 6)
    monkeypatch.setattr(digits, "_MNIST_SHA256", whole)
    return raw, arrays


# The built-in digits


def test_builtin_splits_share_no_image():
    parts = [load_digits("builtin", split) for split in SPLITS]
    assert [len(part) for part in parts] == [1_297, 200, 300]
    assert len(set.union(*map(hashes, parts))) == 1_797  # also no image twice within a split


def test_builtin_digits_look_like_mnist_ones():
    found = load_digits("builtin", "train")
    assert found.images.shape == (1_297, 28, 28) and found.images.dtype == np.uint8
    assert found.labels.shape == (1_297,) and found.labels.dtype == np.int64 and set(found.labels) == set(range(10))
    assert not found.images[:, :4].any() and not found.images[:, :, 24:].any()  # a frame of 4 black pixels
    assert found.images.max() == 255 and 20 < found.images.mean() < 60


def test_builtin_needs_no_network_and_no_folder(data, offline):
    load_digits("builtin", "test")
    assert offline == [] and not data.exists()


# MNIST


@needs_mnist
def test_mnist_splits_share_no_image(offline):
    parts = [load_digits("mnist", split) for split in SPLITS]
    assert [len(part) for part in parts] == [55_000, 5_000, 10_000]
    assert len(set.union(*map(hashes, parts))) == 70_000
    assert [np.bincount(part.labels).min() > 400 for part in parts] == [True] * 3
    assert load_digits("auto", "test").source == "mnist" and offline == []


def test_mnist_validation_is_the_end_of_the_training_file(small_mnist, offline):
    _, (images, labels, test_images, test_labels) = small_mnist
    for split, pixels, names in (
        ("train", images[:24], labels[:24]),
        ("validation", images[24:], labels[24:]),
        ("test", test_images, test_labels),
    ):
        found = load_digits("mnist", split)
        assert np.array_equal(found.images, pixels) and np.array_equal(found.labels, names)
        assert (found.source, found.split) == ("mnist", split)
    assert offline == []


def test_auto_takes_mnist_where_it_is(small_mnist, offline):
    assert load_digits("auto", "test").source == "mnist"


def pack(raw: Path) -> None:
    for name in FILES:
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes(), mtime=0))
        (raw / name).unlink()


@pytest.fixture
def read_only(monkeypatch):
    """A disk that nothing can be written to."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(digits.FileLock, "acquire", refuse)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)


@pytest.mark.parametrize("source", ["mnist", "auto"])
def test_packed_mnist_files_on_a_read_only_disk_are_used(small_mnist, offline, read_only, source):
    raw, (images, labels, *_) = small_mnist
    pack(raw)
    before = sorted(raw.parents[1].rglob("*"))
    found = load_digits(source, "train")
    assert found.source == "mnist" and not found.note
    assert np.array_equal(found.images, images[:24]) and np.array_equal(found.labels, labels[:24])
    assert offline == [] and sorted(raw.parents[1].rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    [
        lambda name: name.replace("-idx", ".idx"),  # two hosts of data sets
        lambda name: f"{name.replace('-idx', '.idx')}.gz",  # a gzip name on what a browser has unpacked
        lambda name: f"{name}/{name}",
        lambda name: f"{name.replace('-idx', '.idx')}/{name}",
        lambda name: f"../{name}",
        lambda name: f"../../{name.upper()}",
    ],
)
def test_mnist_under_other_names_is_used(small_mnist, offline, name):
    raw, (images, _, test_images, _) = small_mnist
    shelf = raw.parent / "shelf"
    raw.rename(shelf)
    for file in FILES:
        target = raw / name(file)
        raw.mkdir(exist_ok=True)
        target.parent.mkdir(exist_ok=True)
        (shelf / file).rename(target)
    assert np.array_equal(load_digits("auto", "train", download=False).images, images[:24])
    assert np.array_equal(load_digits("mnist", "test").images, test_images)
    assert offline == []


def test_other_contents_under_other_names_are_no_damage(small_mnist, offline):
    raw, _ = small_mnist
    for name in FILES:
        (raw / name).unlink()
        (raw / name.replace("-idx", ".idx")).write_bytes(bytes(64))
    with pytest.raises(
        digits.MNISTUnavailable, match=r"is not in .* \(train-images\.idx3-ubyte is, with other contents\)"
    ) as caught:
        load_digits("mnist", download=False)
    assert one_sentence(caught.value) and "delete" not in str(caught.value)
    assert load_digits("auto", download=False).note == "built-in digits stand in: MNIST is not on disk"


def unreadable(file: Path) -> None:
    """Nobody can open it, the superuser neither."""
    file.unlink()
    file.symlink_to(file)


def test_an_unreadable_mnist_is_called_neither_damaged_nor_missing(small_mnist, offline):
    raw, _ = small_mnist
    unreadable(raw / FILES[3])
    with pytest.raises(
        digits.MNISTUnavailable, match=r"t10k-labels-idx1-ubyte cannot be read \(Too many lev"
    ) as caught:
        load_digits("mnist", "test")
    assert one_sentence(caught.value) and "delete" not in str(caught.value)
    assert len(load_digits("mnist", "train")) == 24  # which needs other files
    for split in SPLITS:  # never two sources among the splits
        found = load_digits("auto", split)
        assert found.source == "builtin" and "MNIST is there and cannot be read (Too many levels" in found.note
        assert str(raw) not in found.note
    assert offline == []  # a download could not replace it


def test_a_folder_that_may_not_be_listed_is_called_neither_damaged_nor_missing(small_mnist, offline, monkeypatch):
    raw, _ = small_mnist

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(digits.os, "scandir", refuse)
    with pytest.raises(digits.MNISTUnavailable, match=r"raw cannot be read \(Permission denied\): see who may read it"):
        load_digits("mnist")
    assert offline == []


def test_a_whole_copy_beside_a_bad_one_is_used(small_mnist, offline):
    raw, (images, *_) = small_mnist
    for number, name in enumerate(FILES):
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
        unreadable(raw / name) if number % 2 else (raw / name).write_bytes(b"")
    assert np.array_equal(load_digits("mnist", "train").images, images[:24])


def test_an_archive_that_a_download_left_half_done_is_fetched_again(small_mnist, monkeypatch, offline):
    raw, (images, *_) = small_mnist
    shelf = raw.parents[1] / "shelf"
    raw.rename(shelf)
    raw.mkdir()
    (raw / f"{FILES[0]}.gz").write_bytes(gzip.compress((shelf / FILES[0]).read_bytes())[:-9])
    with pytest.raises(RuntimeError, match=r"train-images-idx3-ubyte\.gz is not MNIST's file .* delete that file"):
        load_digits("auto", "train")  # without a network
    assert offline != []
    monkeypatch.setattr(
        "torchvision.datasets.mnist.download_and_extract_archive",
        lambda url, download_root, **options: shutil.copytree(shelf, download_root, dirs_exist_ok=True),
    )
    assert np.array_equal(load_digits("auto", "train").images, images[:24])


@pytest.mark.parametrize("source", ["mnist", "auto"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: os.truncate(raw / FILES[0], 1_000),
        lambda raw: os.truncate(raw / FILES[0], 8),
        lambda raw: (raw / FILES[0]).write_bytes(b""),
        lambda raw: (raw / FILES[0]).write_bytes((raw / FILES[0]).read_bytes()[:-1] + b"\x00"),
        lambda raw: (raw / FILES[0]).write_bytes(b"<html>not found</html>"),
        lambda raw: os.truncate(raw / FILES[1], 20),
        lambda raw: (raw / FILES[1]).write_bytes((raw / FILES[1]).read_bytes()[:-1] + b"\xff"),
    ],
    ids=["truncated", "no header", "empty", "one pixel changed", "a web page", "labels truncated", "a label changed"],
)
def test_a_damaged_mnist_is_an_error_and_no_substitute(small_mnist, offline, damage, source):
    raw, (images, *_) = small_mnist
    assert images[-1, -1, -1] != 0
    damage(raw)
    with pytest.raises(RuntimeError, match=r"is not MNIST's file as it was .*: delete that file and load") as caught:
        load_digits(source, "train")
    assert one_sentence(caught.value) and str(raw) in str(caught.value)
    assert not isinstance(caught.value, digits.MNISTUnavailable)


@needs_mnist
def test_one_changed_bit_in_the_real_file_is_found(data, offline):
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in REAL[2:]:
        (raw / file.name).write_bytes(_whole(file))
    assert len(load_digits("mnist", "test")) == 10_000
    digits._mnist_file.cache_clear()
    content = bytearray((raw / FILES[2]).read_bytes())
    content[-100] ^= 1
    (raw / FILES[2]).write_bytes(content)
    with pytest.raises(RuntimeError, match="is not MNIST's file"):
        load_digits("mnist", "test")


def test_without_network_mnist_is_one_sentence(data, offline):
    timeout = socket.getdefaulttimeout()
    with pytest.raises(digits.MNISTUnavailable, match=r"is not in .* and could not be downloaded \(.+\): ") as caught:
        load_digits("mnist", "train")
    assert one_sentence(caught.value) and str(data) in str(caught.value) and "digits='builtin'" in str(caught.value)
    assert offline, "the network was not even tried"
    assert socket.getdefaulttimeout() == timeout


def test_without_network_auto_says_that_it_took_the_builtin_digits(data, offline):
    found = load_digits("auto", "validation")
    assert found.source == "builtin" and describe(found).startswith("scikit-learn built-in digits, 200 ")
    assert found.note.startswith("built-in digits stand in: MNIST is not on disk and could not be downloaded (")
    assert str(data) not in found.note and load_digits("builtin").note == ""


@pytest.mark.parametrize("there", [0, 1, 3])
def test_no_download_means_no_network(small_mnist, offline, there):
    raw, _ = small_mnist
    for name in FILES[there:]:
        (raw / name).unlink()
    with pytest.raises(RuntimeError) as caught:
        load_digits("mnist", "test", download=False)
    assert one_sentence(caught.value) and offline == []


def test_a_download_lands_in_the_data_folder_only(small_mnist, tmp_path, monkeypatch):
    raw, _ = small_mnist
    shelf = tmp_path / "shelf"
    raw.rename(shelf)
    targets = []

    def fetch(url, download_root, filename=None, md5=None, **options):
        targets.append(Path(download_root).resolve())
        name = Path(filename or url).name.removesuffix(".gz")
        Path(download_root).mkdir(parents=True, exist_ok=True)
        shutil.copy(shelf / name, download_root)
        assert md5  # torchvision compares it with what arrived

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fetch)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert len(load_digits("mnist", "train")) == 24
    assert set(targets) == {raw.resolve()}
    assert all(raw.parents[1] in (path, *path.parents) for path in set(tmp_path.rglob("*")) - before)


def test_a_download_that_is_not_mnist_is_refused(small_mnist, tmp_path, monkeypatch):
    raw, (images, *_) = small_mnist
    (raw / FILES[0]).write_bytes(idx(np.zeros_like(images)))
    shelf = tmp_path / "shelf"
    raw.rename(shelf)
    monkeypatch.setattr(
        "torchvision.datasets.mnist.download_and_extract_archive",
        lambda url, download_root, **options: shutil.copytree(shelf, download_root, dirs_exist_ok=True),
    )
    with pytest.raises(RuntimeError, match="is not MNIST's file"):
        load_digits("auto", "train")


def test_the_data_folder_is_that_of_the_environment_or_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("VIDLIB_DATA", "~/digits")
    assert data_folder() == Path.home() / "digits"
    monkeypatch.delenv("VIDLIB_DATA")
    monkeypatch.chdir(tmp_path)
    assert data_folder() == Path(digits.__file__).resolve().parent.parent / "data"
    monkeypatch.setattr(digits, "__file__", str(tmp_path / "site-packages" / "vidlib" / "digits.py"))
    assert data_folder() == tmp_path / "data"  # installed without a checkout: where the reader works


# A folder of images


def draw(size: tuple[int, int] = (40, 40), seed: int = 0, ink: int = 255, paper: int = 0) -> Image.Image:
    """A few strokes away from the border."""
    random = np.random.default_rng(seed)
    pixels = np.full(size[::-1], paper, np.uint8)
    for _ in range(4):
        y, x = random.integers(size[1] // 4, size[1] // 2), random.integers(size[0] // 4, size[0] // 2)
        pixels[y : y + size[1] // 4, x : x + max(1, size[0] // 10)] = ink
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path):
    """Forty different drawings."""
    place = tmp_path / "mine"
    place.mkdir()
    for seed in range(40):
        draw(seed=seed).save(place / f"{seed}.png")
    return place


def test_a_folders_splits_share_no_image(folder):
    parts = [load_digits(folder, split) for split in SPLITS]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert len(set.union(*map(hashes, parts))) == 40
    assert all((part.labels == -1).all() and part.source == str(folder) for part in parts)


def test_an_image_under_two_names_stays_in_one_split(folder):
    (folder / "again").mkdir()
    for seed in range(40):
        draw(seed=seed).save(folder / "again" / f"copy-{seed}.PNG")
        draw(seed=seed, ink=0, paper=255).save(folder / f"on paper {seed}.bmp")  # the same digit, dark on light
    parts = [load_digits(folder, split) for split in SPLITS]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert len(set.union(*map(hashes, parts))) == 40


def test_splits_do_not_depend_on_names(folder):
    before = {split: hashes(load_digits(folder, split)) for split in SPLITS}
    for number, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        file.rename(folder / f"renamed-{number:03}.png")
    assert {split: hashes(load_digits(folder, split)) for split in SPLITS} == before


def test_three_images_are_one_for_each_split(tmp_path):
    for seed in range(3):
        draw(seed=seed).save(tmp_path / f"{seed}.png")
    assert [len(load_digits(tmp_path, split)) for split in SPLITS] == [1, 1, 1]


def test_dark_ink_on_paper_becomes_light_on_black(tmp_path):
    for seed in range(3):
        draw(seed=seed, ink=30, paper=240).convert("RGB").save(tmp_path / f"{seed}.png")
    for split in SPLITS:
        image = load_digits(tmp_path, split).images[0]
        assert image[0, 0] == 0 and image.max() >= 200  # the paper shows nothing; ink of 30 on 240 is 7/8 black


def test_light_on_black_stays_as_it_is(tmp_path):
    pixels = np.asarray(draw((28, 28)))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for seed in (1, 2):
        draw(seed=seed).save(tmp_path / f"{seed}.png")
    assert pixels.tobytes() in set.union(*(hashes(load_digits(tmp_path, split)) for split in SPLITS))


@pytest.mark.parametrize("size", [(80, 20), (20, 80)])
def test_proportions_are_kept(tmp_path, size):
    for seed in range(3):  # a filled rectangle with a black border, four times as long as it is thick
        ImageOps.expand(Image.new("L", (size[0] - 2, size[1] - 2), 150 + seed), 1, 0).save(tmp_path / f"{seed}.png")
    image = load_digits(tmp_path, "test").images[0]
    if size[0] < size[1]:
        image = image.T
    assert (image > 70).any(0).sum() >= 26 and 5 <= (image > 70).any(1).sum() <= 7
    assert not image[:10].any() and not image[18:].any()  # centred


def test_a_drawing_without_background_is_seen(tmp_path):
    # Drawing programs save ink on nothing: black pixels that differ from the background in their opacity alone.
    for seed in range(3):
        ink = draw(seed=seed)
        picture = Image.new("RGBA", ink.size, (0, 0, 0, 0))
        picture.putalpha(ink)
        picture.save(tmp_path / f"{seed}.png")
    image = load_digits(tmp_path, "train").images[0]
    assert image.max() > 200 and image[0, 0] == 0


@pytest.mark.parametrize("files", [{}, {"notes.txt": b"hello"}, {"one.png": None, "two.png": None}])
def test_a_folder_with_too_few_images_is_one_sentence(tmp_path, files):
    for number, (name, content) in enumerate(files.items()):
        if content:
            (tmp_path / name).write_bytes(content)
        else:
            draw(seed=number).save(tmp_path / name)
    count = sum(name.endswith(".png") for name in files)
    with pytest.raises(ValueError, match=f"holds {count} different images, expected at least 3") as caught:
        load_digits(tmp_path, "train")
    assert one_sentence(caught.value)


@pytest.mark.parametrize("keep", [0, 8, 30, 60, -100])
def test_an_unreadable_image_is_one_sentence(folder, keep):
    file = folder / "7.png"
    Image.effect_noise((40, 40), 80).save(file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"7\.png cannot be read as an image \(.+\): replace or remove it\."):
        load_digits(folder, "train")


def test_text_that_is_named_like_an_image_is_one_sentence(folder):
    (folder / "photo.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match=r"photo\.jpg cannot be read as an image"):
        load_digits(folder, "test")


# Any mode, depth, metadata and paper: the same digit


def soft(size: int = 56) -> np.ndarray:
    """A digit with soft edges, every gray level in it and no symmetry: a drawing that shows what was done to it."""
    y, x = np.mgrid[0:size, 0:size] / size
    stem = np.clip(1.6 - 14 * np.abs(x - 0.35 - 0.2 * y), 0, 1) * ((y > 0.2) & (y < 0.8))
    foot = np.clip(1.4 - 12 * np.abs(y - 0.7), 0, 1) * ((x > 0.3) & (x < 0.75))
    return np.rint(255 * np.maximum(stem, foot)).astype(np.uint8)


def read(file: Path) -> np.ndarray:
    return read_digit(file, 28).astype(int)


def tilted(low: float, high: float) -> np.ndarray:
    """Paper in a shadow: ``low`` at one corner, ``high`` at the other."""
    y, x = np.mgrid[0:56, 0:56] / 55
    return low + (high - low) * (0.7 * x + 0.3 * y)


def dim_corners() -> np.ndarray:
    y, x = np.mgrid[0:56, 0:56] / 55 - 0.5
    return 230 - 150 * (x**2 + y**2)


LIGHT = soft()
DARK = 255 - LIGHT
INK = LIGHT / 255
TRANSPOSED = {  # EXIF's number of how a camera was held, and the method that stores a picture so
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def with_alpha(gray: np.ndarray, alpha: np.ndarray | int, mode: str = "RGBA") -> Image.Image:
    image = Image.fromarray(gray).convert(mode)
    image.putalpha(alpha if isinstance(alpha, int) else Image.fromarray(alpha))
    return image


def lab(gray: np.ndarray) -> Image.Image:
    from PIL import ImageCms

    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(Image.fromarray(gray).convert("RGB"), to_lab)


def card(radius: int) -> np.ndarray:
    from PIL import ImageDraw

    mask = Image.new("L", (56, 56))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 55, 55), radius, fill=255)
    return np.asarray(mask)


def frames(mode: str = "L") -> dict:
    return {"save_all": True, "append_images": [Image.new("L", (56, 56), 99).convert(mode)]}


def exif(orientation: int) -> Image.Exif:
    facts = Image.Exif()
    facts[0x112] = orientation
    return facts


def hole(where: tuple) -> np.ndarray:
    alpha = np.full((56, 56), 255, np.uint8)
    alpha[where] = 0
    return alpha


SAME = {
    # modes
    **{f"{mode} {end}": (Image.fromarray(LIGHT).convert(mode), end, {}) for mode, end in (
        ("L", "bmp"), ("L", "jp2"), ("P", "png"), ("P", "gif"), ("RGB", "tif"), ("RGB", "PNG"), ("RGB", "ppm"),
        ("RGBA", "png"), ("RGBA", "tga"), ("LA", "png"), ("PA", "tif"), ("CMYK", "tif"), ("CMYK", "jpg"),
        ("YCbCr", "tif"), ("I", "tif"), ("F", "tif"), ("L", "jfif"),
    )},
    "LAB tif": (lab(LIGHT), "tif", {}),
    "palette of few": (Image.fromarray(DARK).quantize(256), "png", {}),
    # depths
    "16 bit png": (Image.fromarray(LIGHT.astype(np.uint16) * 257), "png", {}),
    "16 bit tif": (Image.fromarray(LIGHT.astype(np.uint16) * 257), "tif", {}),
    "16 bit big-endian": (Image.fromarray((LIGHT.astype(np.uint16) * 257).astype(">u2")), "tif", {}),
    "16 bit dark on light": (Image.fromarray(DARK.astype(np.uint16) * 257), "png", {}),
    "8 bits in 16": (Image.fromarray(LIGHT.astype(np.uint16)), "png", {}),
    "16 bits in 32": (Image.fromarray(LIGHT.astype(np.int32) * 257), "tif", {}),
    "32 bits": (Image.fromarray(LIGHT.astype(np.int32) * 2**23), "tif", {}),
    "16 bit pgm": (Image.fromarray(LIGHT.astype(np.int32) * 257), "pgm", {}),
    "float 0 to 1": (Image.fromarray(INK.astype(np.float32)), "tif", {}),
    "float -1 to 1": (Image.fromarray((2 * INK - 1).astype(np.float32)), "tif", {}),
    "float 0 to 65535": (Image.fromarray((65535 * INK).astype(np.float32)), "tif", {}),
    "float overshoots": (Image.fromarray((1.04 * INK - 0.02).astype(np.float32)), "tif", {}),
    # ink and paper
    "dark on light": (Image.fromarray(DARK), "png", {}),
    **{f"dark on {paper}": (Image.fromarray(np.rint(paper * (1 - INK)).astype(np.uint8)), "png", {})
       for paper in (240, 200, 150, 128, 110, 90)},
    **{f"light on {paper}": (Image.fromarray(np.rint(paper + (255 - paper) * INK).astype(np.uint8)), "png", {})
       for paper in (15, 60, 100, 128, 160)},
    "shaded paper": (Image.fromarray(np.rint(tilted(140, 250) * (1 - INK)).astype(np.uint8)), "png", {}),
    "deep shadow": (Image.fromarray(np.rint(tilted(70, 250) * (1 - INK)).astype(np.uint8)), "png", {}),
    "dim corners": (Image.fromarray(np.rint(dim_corners() * (1 - INK)).astype(np.uint8)), "png", {}),
    # opacity
    **{f"{name} {mode} alpha {alpha}": (with_alpha(gray, alpha, mode), "png", {})
       for name, gray in (("light", LIGHT), ("dark", DARK)) for mode in ("LA", "RGBA")
       for alpha in (255, 254, 250, 128, 0)},
    "alpha nearly opaque, uneven": (
        with_alpha(DARK, np.random.default_rng(0).integers(240, 256, (56, 56), np.uint8)), "png", {}),
    "one transparent pixel": (with_alpha(DARK, hole((0, 0))), "png", {}),
    "a transparent edge": (with_alpha(DARK, hole((slice(None), slice(0, 3)))), "png", {}),
    **{f"ink of {shade} on nothing": (with_alpha(np.full_like(LIGHT, shade), LIGHT), "png", {})
       for shade in (0, 128, 255)},
    "ink on nothing, LA": (with_alpha(np.zeros_like(LIGHT), LIGHT, "LA"), "png", {}),
    "ink on nothing, webp": (with_alpha(np.zeros_like(LIGHT), LIGHT), "webp", {"lossless": True, "exact": True}),
    "ink as dark as it is opaque": (with_alpha(DARK, LIGHT), "png", {}),
    "ink as light as it is opaque": (with_alpha(LIGHT, LIGHT), "png", {}),
    "a hole in white": (with_alpha(np.full_like(LIGHT, 255), DARK), "png", {}),
    "card with round corners": (with_alpha(DARK, card(12)), "png", {}),
    "round card": (with_alpha(DARK, card(28)), "png", {}),
    "white declared transparent, palette": (Image.fromarray(DARK).convert("P"), "png", {"transparency": 255}),
    "white declared transparent, gif": (Image.fromarray(DARK).convert("P"), "gif", {"transparency": 255}),
    "white declared transparent, L": (Image.fromarray(DARK), "png", {"transparency": 255}),
    "white declared transparent, RGB": (Image.fromarray(DARK).convert("RGB"), "png", {"transparency": (255,) * 3}),
    # the first of several frames or pages
    "animated gif": (Image.fromarray(LIGHT).convert("P"), "gif", frames("P")),
    "animated png": (Image.fromarray(LIGHT), "png", frames()),
    "animated webp": (Image.fromarray(LIGHT).convert("RGB"), "webp", {"lossless": True} | frames("RGB")),
    "pages": (Image.fromarray(LIGHT), "tif", frames()),
    # how the camera was held
    **{f"orientation {number} {end}": (Image.fromarray(LIGHT).transpose(stored), end, {"exif": exif(number), **options})
       for number, stored in TRANSPOSED.items()
       for end, options in (("jpg", {"quality": 95}), ("png", {}), ("tif", {}), ("webp", {"lossless": True}))},
    "damaged orientation": (Image.fromarray(LIGHT), "png", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x09\xff"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_every_image_shows_the_same_digit(tmp_path, name):
    plain = tmp_path / "plain.png"
    Image.fromarray(LIGHT).save(plain)
    image, end, options = SAME[name]
    file = tmp_path / f"other.{end}"
    image.save(file, **options)
    right, found = read(plain), read(file)
    assert right.max() > 240 and right[0, 0] == 0
    lossy = end in ("jpg", "jfif") or any(word in name for word in ("CMYK", "LAB", "overshoots"))
    assert np.abs(found - right).mean() < (1 if lossy else 0.7), name
    assert np.abs(found - right).max() <= (6 if lossy else 3)


def test_one_bit_images_show_the_digit_in_black_and_white(tmp_path):
    for name, gray in (("light", LIGHT), ("dark", DARK)):
        Image.fromarray(gray).convert("1", dither=Image.Dither.NONE).save(tmp_path / f"{name}.png")
    Image.fromarray(LIGHT).point(lambda v: 255 * (v > 127)).save(tmp_path / "right.png")
    right = read(tmp_path / "right.png")
    assert all(np.abs(read(tmp_path / f"{name}.png") - right).mean() < 1 for name in ("light", "dark"))


def test_twelve_bits_are_scaled_by_their_own_range(tmp_path):
    # Pillow writes no 12-bit TIFF: two values are packed into three bytes by hand
    values = np.rint(INK * 4095).astype(np.uint16).reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], axis=1)
    body = packed.astype(np.uint8).tobytes()
    tags = [(256, 56), (257, 56), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 56), (279, len(body))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "12.tif").write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)
    )
    Image.fromarray(LIGHT).save(tmp_path / "8.png")
    assert np.abs(read(tmp_path / "12.tif") - read(tmp_path / "8.png")).max() <= 1


def test_mnists_own_digits_come_back_as_they_are(tmp_path):
    for number, image in enumerate(load_digits("builtin", "test").images[:20]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        Image.fromarray(255 - image).save(tmp_path / f"{number} dark.png")
        assert np.array_equal(read(tmp_path / f"{number}.png"), image)
        assert np.array_equal(read(tmp_path / f"{number} dark.png"), image)


def test_a_large_scan_shows_the_same_digit(tmp_path):
    Image.fromarray(LIGHT).resize((3_000, 3_000), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    Image.fromarray(LIGHT).save(tmp_path / "plain.png")
    assert np.abs(read(tmp_path / "large.png") - read(tmp_path / "plain.png")).mean() < 1


def claims(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, with next to nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (8_000, 7_000), (60_000_000, 1)])
def test_a_scan_with_too_many_pixels_is_one_sentence_before_one_is_read(folder, monkeypatch, size):
    (folder / "scan.png").write_bytes(claims(*size))
    monkeypatch.setattr(own_images, "_gray", lambda image: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"scan\.png has more than 50,000,000 pixels: save it smaller\.$"):
        read_digit(folder / "scan.png", 28)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (40, 40), 0),
        Image.new("L", (40, 40), 255),
        Image.new("RGB", (1, 1), "gray"),
        Image.new("RGBA", (40, 40), (0, 0, 0, 0)),
        Image.new("I;16", (40, 40), 40_000),
        Image.fromarray(np.rint(tilted(150, 220)).astype(np.uint8)),
        Image.fromarray(np.random.default_rng(0).normal(200, 4, (400, 400)).astype(np.uint8)),
    ],
    ids=["black", "white", "one pixel", "transparent", "16 bit", "shadow alone", "noise alone"],
)
def test_a_blank_image_is_named(folder, image):
    image.save(folder / "empty.png")
    with pytest.raises(ValueError, match=r"empty\.png shows no digit at 28×28 pixels") as caught:
        load_digits(folder)
    assert one_sentence(caught.value)


def test_other_images_without_a_digit_are_named(folder):
    for number, (image, sentence) in enumerate(
        (
            (Image.new("L", (900, 3), 200), "is 900×3 pixels, expected a digit"),
            (Image.fromarray(np.full((8, 8), np.nan, np.float32)), "cannot be read as an image .it holds NaN or infin"),
        )
    ):
        file = folder / f"odd{number}.tif"
        image.save(file)
        with pytest.raises(ValueError, match=rf"odd{number}\.tif {sentence}") as caught:
            load_digits(folder)
        assert one_sentence(caught.value)
        file.unlink()


def test_files_of_the_system_are_no_digits(folder):
    before = load_digits(folder, "train")
    (folder / ".hidden").mkdir()
    (folder / "__MACOSX").mkdir()
    for name in ("._0.png", ".hidden.png", ".hidden/0.png", "__MACOSX/0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\0\5\x16\7 no picture")
    (folder / "folder.png").mkdir()
    assert load_digits(folder, "train").sha256 == before.sha256


def test_what_cannot_be_opened_is_called_so_and_not_damaged(folder, monkeypatch):
    file = folder / "7.png"
    unreadable(file)
    with pytest.raises(OSError, match=r"7\.png cannot be opened \(Too many levels of symbolic links\)") as caught:
        load_digits(folder)
    assert one_sentence(caught.value) and "replace" not in str(caught.value)
    file.unlink()

    def walk(top, onerror, **_):
        onerror(PermissionError(errno.EACCES, "Permission denied", str(top)))

    monkeypatch.setattr(own_images.os, "walk", walk)
    with pytest.raises(OSError, match=r"mine cannot be read \(Permission denied\): see who may read it\.$"):
        load_digits(folder)


def test_paths_mean_what_their_reader_means(folder, monkeypatch):
    right = load_digits(folder).sha256
    monkeypatch.chdir(folder.parent)
    assert load_digits("mine").sha256 == right and load_digits("mine").source == str(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert load_digits("~/mine").sha256 == right and load_digits(Path("~/mine")).sha256 == right
    (folder.parent / "with {braces}").symlink_to(folder)
    assert load_digits("with {braces}").sha256 == right
    with pytest.raises(ValueError, match="begins with a home that is not known here") as caught:
        load_digits("~nobody-of-that-name/mine")
    assert one_sentence(caught.value)
    monkeypatch.setenv("VIDLIB_DATA", "~nobody-of-that-name/data")
    with pytest.raises(ValueError, match="begins with a home that is not known here"):
        load_digits("mnist")


def test_the_description_does_not_tell_where_a_folder_lies(folder):
    assert describe(load_digits(folder, "test")) == "mine, 4 in the test split"
    assert describe(Digits(np.zeros((1, 28, 28), np.uint8), np.zeros(1, int), "/", "test")).startswith("own images, 1 ")


# Names


@pytest.mark.parametrize("split", ["dev", "", "Train", None])
def test_an_unknown_split_is_one_sentence(split):
    with pytest.raises(ValueError, match=rf"split is {split!r}, expected one of train, validation, test\."):
        load_digits("builtin", split)


def test_an_unknown_source_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="digits are 'mnits', expected 'mnist', 'builtin', 'auto' or an existing fold"):
        load_digits("mnits")
    file = tmp_path / "file.png"
    draw().save(file)
    with pytest.raises(ValueError, match="an existing folder"):
        load_digits(file)


@pytest.mark.parametrize("source", [None, 3, "", True, b"mnist", ["mnist"], np.zeros((9, 9))], ids=repr)
def test_a_source_that_is_none_is_one_sentence(source):
    with pytest.raises(ValueError, match="^digits are .*, expected 'mnist', 'builtin', 'auto' or an ex") as caught:
        load_digits(source)
    assert one_sentence(caught.value)


@pytest.mark.parametrize("download", ["no", None, 1])
def test_whether_to_download_is_yes_or_no(download):
    with pytest.raises(ValueError, match="download is .*, expected True or False"):
        load_digits("builtin", download=download)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": np.zeros((2, 28, 28))}, r"images are float64 of shape \(2, 28, 28\), expected uint8 \(N, 28, 28\)"),
        ({"images": np.zeros((2, 28, 27), np.uint8)}, "images are uint8 of shape"),
        ({"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, int)}, "images are uint8 of shape"),
        ({"images": None}, "images are object"),
        ({"labels": np.zeros(3, int)}, r"labels are int64 of shape \(3,\), expected whole numbers \(2,\)"),
        ({"labels": np.zeros(2)}, "labels are float64"),
        ({"source": None}, "source is None"),
        ({"split": "dev"}, "split is 'dev'"),
    ],
)
def test_digits_of_another_form_are_one_sentence(change, sentence):
    right = {"images": np.zeros((2, 28, 28), np.uint8), "labels": np.zeros(2, int), "source": "own", "split": "test"}
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        Digits(**right | change)
    assert one_sentence(caught.value)


def test_only_digits_can_be_described():
    with pytest.raises(ValueError, match="digits are 'mnist', expected what load_digits gives"):
        describe("mnist")


def test_digits_may_come_as_a_tensor():
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    found = Digits(images, torch.tensor([1, 2]), "own", "test")
    assert isinstance(found.images, np.ndarray) and found.labels.tolist() == [1, 2]


def test_errors_about_mnist_come_through_from_another_process(small_mnist):
    raw, _ = small_mnist
    (raw / FILES[0]).write_bytes(b"")
    (raw / FILES[2]).unlink()
    for split in ("train", "test"):
        with pytest.raises(RuntimeError) as caught:
            load_digits("mnist", split, download=False)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert type(copy) is type(caught.value) and str(copy) == str(caught.value)
        assert vars(copy) == vars(caught.value)


def test_the_hash_is_that_of_the_pixels():
    one = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    found = Digits(one, np.zeros(2, np.int64), "builtin", "train")
    assert found.sha256 == Digits(one.copy(), np.ones(2, np.int64), "mnist", "test").sha256
    changed = one.copy()
    changed[1, 3, 5] += 1
    assert Digits(changed, found.labels, "builtin", "train").sha256 != found.sha256
    assert len(found.sha256) == 64 and len(found) == 2
