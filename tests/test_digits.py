"""Where digits come from: splits that share no image, files that are what they say, and no silent substitute."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vidlib import digits
from vidlib.digits import SPLITS, Digits, data_folder, describe, load_digits

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
REAL = [data_folder() / "MNIST" / "raw" / name for name in FILES]
needs_mnist = pytest.mark.skipif(
    not all(file.exists() or file.with_name(f"{file.name}.gz").exists() for file in REAL),
    reason="MNIST is not in the data folder",
)


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
    with pytest.raises(digits.MNISTUnavailable, match=r"\(train-images\.idx3-ubyte there is another file\)") as caught:
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
def test_one_changed_bit_in_the_real_file_is_found(data, offline, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("VIDLIB_DATA", str(REAL[0].parents[2]))
        load_digits("mnist", "test")  # unpacks where nobody has yet
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in REAL[2:]:
        shutil.copy(file, raw)
    for file in REAL[:2]:
        (raw / file.name).symlink_to(file)
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


def test_the_hash_is_that_of_the_pixels():
    one = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    found = Digits(one, np.zeros(2, np.int64), "builtin", "train")
    assert found.sha256 == Digits(one.copy(), np.ones(2, np.int64), "mnist", "test").sha256
    changed = one.copy()
    changed[1, 3, 5] += 1
    assert Digits(changed, found.labels, "builtin", "train").sha256 != found.sha256
    assert len(found.sha256) == 64 and len(found) == 2
