"""The generator against a plain paste loop, and the rules that every published number rests on."""

import errno
import hashlib
import re
from http.client import IncompleteRead

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vidlib import moving_mnist
from vidlib.digits import Digits, load_digits
from vidlib.moving_mnist import MovingMNIST, official_test_set, paste, step, to_float


@pytest.fixture(scope="module")
def builtin():
    return load_digits("builtin", "train")


def paste_loop(images, digits, positions):
    """Clips the way everybody writes them first: one digit, one frame at a time."""
    clips, count, frames, _ = positions.shape
    out = np.zeros((clips, frames, 1, 64, 64), np.uint8)
    for b in range(clips):
        for t in range(frames):
            for d in range(count):
                x, y = positions[b, d, t]
                patch = out[b, t, 0, y : y + 28, x : x + 28]
                np.maximum(patch, images[digits[b, d]], out=patch)
    return out


def physics_loop(x, y, vx, vy, frames):
    """Srivastava et al.'s rules for one digit, written out: step first, clamp, then flip."""
    corners = []
    for _ in range(frames):
        x, y = x + vx, y + vy
        if x <= 0:
            x, vx = 0.0, -vx
        if x >= 1:
            x, vx = 1.0, -vx
        if y <= 0:
            y, vy = 0.0, -vy
        if y >= 1:
            y, vy = 1.0, -vy
        corners.append((int(36 * x), int(36 * y)))
    return np.array(corners)


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_clips_equal_a_plain_paste_loop_to_the_bit(builtin, n_digits):
    clips = MovingMNIST(40, digits=builtin, seed=5, n_digits=n_digits)
    motion = clips.trajectories(range(40))
    expected = paste_loop(builtin.images, motion.digits, motion.positions)
    assert np.array_equal(clips.batch(range(40)).numpy(), expected)
    assert all(array.flags.c_contiguous for array in motion)  # so that they can be hashed


def test_the_path_for_accelerators_pastes_the_same_bits(builtin):
    clips = MovingMNIST(20, digits=builtin, seed=6, n_digits=3)
    motion = clips.trajectories(range(20))
    images = torch.from_numpy(builtin.images)
    assert torch.equal(moving_mnist._paste_on_device(images, motion), paste(images, motion))


def test_motion_equals_the_published_rules_written_out(builtin):
    clips = MovingMNIST(200, digits=builtin, seed=1)
    draws = clips._draws(0, 200)
    motion = clips.trajectories(range(200))
    for b in range(200):
        for d in range(2):
            _, x, y, turn = draws[b, d]
            angle = 2 * np.pi * turn
            expected = physics_loop(x, y, 0.1 * np.cos(angle), 0.1 * np.sin(angle), 20)
            assert np.array_equal(motion.positions[b, d], expected)


def test_a_step_is_taken_before_frame_zero(builtin):
    clips = MovingMNIST(500, digits=builtin, seed=2, frames=1)
    start = (36 * clips._draws(0, 500)[..., 1:3]).astype(int)
    first = clips.trajectories(range(500)).positions[:, :, 0]
    assert (np.abs(first - start).max(-1) >= 1).mean() > 0.95  # 3.6 pixels of motion: hardly a digit stands still


def test_a_bounce_clamps_and_discards_the_overshoot():
    position, velocity, hit = step(np.array([0.97, 0.02]), np.array([0.08, -0.06]))
    assert np.array_equal(position, [1.0, 0.0])  # a mirror would give 0.95 and 0.04
    assert np.array_equal(velocity, [-0.08, 0.06])
    assert hit.all()


def test_touching_the_edge_exactly_is_a_bounce():
    _, velocity, hit = step(np.array([0.5]), np.array([0.5]))
    assert hit[0] and velocity[0] == -0.5


def test_speed_is_a_tenth_of_the_free_range(builtin):
    motion = MovingMNIST(300, digits=builtin).trajectories(range(300))
    moves = np.diff(motion.positions, axis=2)
    free = ~motion.bounced[:, :, 1:]
    length = np.linalg.norm(moves, axis=-1)[free]
    assert length.mean() == pytest.approx(3.6, abs=0.05)
    assert np.abs(length - 3.6).max() < 1.5  # truncation to whole pixels, nothing else


def test_angles_and_starts_are_uniform(builtin):
    draws = MovingMNIST(20_000, digits=builtin)._draws(0, 20_000).reshape(-1, 4)
    for column in draws.T:
        counts, _ = np.histogram(column, bins=10, range=(0, 1))
        assert np.abs(counts - 4_000).max() < 300  # five standard deviations
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03


def test_overlap_is_the_maximum():
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[0], images[1] = 100, 200
    motion = moving_mnist.Trajectories(
        np.array([[1, 0]]), np.array([[[[0, 0]], [[10, 10]]]]), np.zeros((1, 2, 1), bool)
    )
    frame = paste(images, motion)[0, 0, 0]
    assert frame[15, 15] == 200 and frame[5, 5] == 200 and frame[30, 30] == 100 and frame[50, 50] == 0


def test_a_clip_depends_on_seed_and_index_alone(builtin):
    clips = MovingMNIST(1_000, digits=builtin, seed=3)
    whole = clips.batch(range(100))
    order = np.random.default_rng(0).permutation(100)
    assert torch.equal(clips.batch(order), whole[order])
    assert all(torch.equal(clips[i], whole[i]) for i in range(0, 100, 7))
    assert torch.equal(MovingMNIST(5_000_000, digits=builtin, seed=3).batch(range(100)), whole)
    assert torch.equal(clips[-1], clips[999])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_gives_the_same_bytes(builtin, workers):
    clips = MovingMNIST(24, digits=builtin, seed=4)
    loader = DataLoader(clips, batch_size=5, num_workers=workers)
    assert torch.equal(torch.cat(list(loader)), clips.batch(range(24)))


def test_seeds_and_splits_differ(builtin):
    a, b = (MovingMNIST(10, digits=builtin, seed=s).trajectories(range(10)).positions for s in (0, 1))
    assert not np.array_equal(a, b)
    c = MovingMNIST(10, digits="builtin", split="test").trajectories(range(10)).positions
    assert not np.array_equal(a, c)


def test_the_first_clips_never_change(builtin):
    # Written down once: a score must mean the same clips in every version of numpy, torch and this package.
    motion = MovingMNIST(2, digits=builtin, seed=2).trajectories(range(2))
    assert hashlib.sha256(motion.positions.tobytes()).hexdigest()[:16] == "658036341d9bae25"


def test_digit_choice_reaches_every_digit():
    few = Digits(np.zeros((3, 28, 28), np.uint8), np.arange(3), "builtin", "train")
    chosen = MovingMNIST(500, digits=few).trajectories(range(500)).digits
    assert set(np.unique(chosen)) == {0, 1, 2}


def one_sentence(error):
    return str(error).endswith(".") and "\n" not in str(error)


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 0},
        {"length": True},
        {"length": 2**70},
        {"frames": 2**70},
        {"length": None},
        {"length": "4"},
        {"n_digits": 0},
        {"n_digits": 1.0},
        {"n_digits": 1.5},
        {"n_digits": None},
        {"frames": 0},
        {"frames": float("nan")},
        {"frames": [20]},
        {"seed": -1},
        {"seed": True},
        {"seed": 2.0},
        {"seed": None},
        {"seed": 2**64},  # which would be the seed 0 of another split
    ],
    ids=str,
)
def test_a_number_out_of_range_is_one_sentence(builtin, wrong):
    ((name, value),) = wrong.items()
    text = re.escape(repr(value))
    with pytest.raises(ValueError, match=rf"^{name} is {text}, expected a whole number from [01] to ") as e:
        MovingMNIST(**({"length": 4, "digits": builtin} | wrong))
    assert one_sentence(e.value)


@pytest.mark.parametrize("digits", [None, 3, "", ["mnist"], np.zeros((3, 28, 28), np.uint8)], ids=repr)
def test_digits_that_are_none_are_one_sentence(digits):
    with pytest.raises(ValueError, match="^digits are .*, expected 'mnist', 'builtin', 'auto' or an existing") as e:
        MovingMNIST(4, digits=digits)
    assert one_sentence(e.value)


def test_the_largest_seed_is_none_of_another_split(builtin):
    drawn = MovingMNIST(4, digits=builtin, seed=2**64 - 1)._draws(0, 4)
    for split in ("train", "validation", "test"):
        for seed in (0, 1):
            assert not np.array_equal(MovingMNIST(4, digits="builtin", split=split, seed=seed)._draws(0, 4), drawn)


def test_loaded_digits_have_a_split_of_their_own(builtin):
    assert MovingMNIST(4, digits=builtin, split="train").split == "train"
    assert MovingMNIST(4, digits=load_digits("builtin", "test")).split == "test"
    with pytest.raises(ValueError, match="split is 'test' and the digits are of the train split"):
        MovingMNIST(4, digits=builtin, split="test")
    for split in (None, "dev", 0, np.zeros((9, 9))):
        for digits in (builtin, "builtin"):
            with pytest.raises(ValueError, match="^split is ") as caught:
                MovingMNIST(4, digits=digits, split=split)
            assert "\n" not in str(caught.value)


def test_slices_are_the_clips_one_by_one(builtin):
    clips = MovingMNIST(10, digits=builtin)
    for part in (slice(4), slice(2, 9, 3), slice(-2, None), slice(None, None, -1), slice(8, 99)):
        expected = [clips[i] for i in range(10)[part]]
        assert torch.equal(clips[part], torch.stack(expected))
    assert clips[:4].shape == (4, 20, 1, 64, 64)
    assert torch.equal(clips[np.int64(3)], clips[3]) and torch.equal(clips[torch.tensor(3)], clips[3])


def test_every_list_of_whole_numbers_names_the_same_clips(builtin):
    clips = MovingMNIST(10, digits=builtin)
    expected = torch.stack([clips[7], clips[0], clips[9]])
    for indices in (
        [7, 0, -1],
        (7, 0, 9),
        np.array([7, 0, 9], np.uint8),
        torch.tensor([7, 0, -1]),
        [np.int32(7), torch.tensor(0), 9],
    ):
        assert torch.equal(clips.batch(indices), expected)


def test_a_clip_outside_the_set_is_an_index_error(builtin):
    clips = MovingMNIST(4, digits=builtin)
    for index in (4, -5, 2**70):
        with pytest.raises(IndexError, match=f"clip {index} is not in a set of 4 clips") as caught:
            clips[index]
        assert one_sentence(caught.value)
    assert len(list(clips)) == 4  # a loop over the clips ends by that error


NO_INDEX = [
    None,
    1.0,
    0.5,
    True,
    np.True_,
    "1",
    float("nan"),
    [1],
    np.array([1, 2]),
    slice(0.5, 2),
    slice(True, 3),
    slice(0, 4, 0),
    slice(3, 3),
    slice("a"),
    (1, 2),
    ...,
]
NO_INDICES = [
    None, 3, "12", [], [0.0, 1.0], [0.5], [True, False], [True, 2], [None], np.array([True, False]), np.array([1.0]),
    np.array([1.5], object), np.zeros((2, 2), int), [[0, 1]], [[0], [1, 2]], torch.tensor([True]), torch.tensor([0.5]),
    {"a": 1}, np.array("1"),
]  # fmt: skip


@pytest.mark.parametrize("index", NO_INDEX, ids=repr)
def test_what_is_no_index_is_one_sentence(builtin, index):
    with pytest.raises(ValueError, match="expected|takes a whole number") as caught:
        MovingMNIST(4, digits=builtin)[index]
    assert one_sentence(caught.value)


@pytest.mark.parametrize("indices", NO_INDICES, ids=repr)
@pytest.mark.parametrize("ask", ["batch", "trajectories"])
def test_what_are_no_indices_is_one_sentence(builtin, indices, ask):
    with pytest.raises(ValueError, match=r"^indices .* expected (a list of whole numbers|at least one clip)\.$"):
        getattr(MovingMNIST(4, digits=builtin), ask)(indices)


@pytest.mark.parametrize("device", ["xyz", "", [], 1.5, np.zeros((9, 9))])
def test_an_unknown_device_is_one_sentence(builtin, device):
    with pytest.raises(ValueError, match="^device is ") as caught:
        MovingMNIST(4, digits=builtin).batch([0], device=device)
    assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("position", "velocity", "sentence"),
    [
        (None, np.zeros(2), "position holds NoneType"),
        ("ab", np.zeros(2), "position holds str"),
        (np.zeros(2), [True, False], "velocity holds list"),
        (np.array([0.5, np.nan]), np.zeros(2), "position holds NaN or infinity"),
        (np.zeros(2), np.array([np.inf, 0]), "velocity holds NaN or infinity"),
        ([[0.5], [0.1, 0.2]], np.zeros(2), "position cannot be read"),
        (np.zeros((2, 2)), np.zeros(2), r"position has shape \(2, 2\) and velocity \(2,\), expected the same"),
    ],
)
def test_wrong_arguments_of_a_step_are_one_sentence(position, velocity, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        step(position, velocity)
    assert one_sentence(caught.value)


def test_a_step_of_lists_is_that_of_arrays():
    for found, expected in zip(
        step([0.95, 0.5], [0.1, 0.0]), step(np.array([0.95, 0.5]), np.array([0.1, 0.0])), strict=True
    ):
        assert np.array_equal(found, expected)


def test_wrong_arguments_of_paste_are_one_sentence(builtin):
    images, motion = torch.from_numpy(builtin.images), MovingMNIST(2, digits=builtin).trajectories([0, 1])
    off = motion.positions.copy()
    off[1, 0, 3, 1] = 37
    for arguments, sentence in (
        ((builtin.images, motion), "images are ndarray, expected a torch.uint8 tensor"),
        ((None, motion), "images are NoneType"),
        ((images.float(), motion), "images are torch.float32"),
        ((images[:, :20], motion), r"images are torch.uint8 \(1297, 20, 28\)"),
        ((images, None), "trajectories are a NoneType"),
        ((images, tuple(motion)), "trajectories are a tuple"),
        ((images, motion._replace(digits=motion.digits[:1])), "trajectories have other shapes"),
        ((images, motion._replace(positions=motion.positions / 1)), "trajectories have other shapes"),
        ((images[:3], motion._replace(digits=motion.digits + 3)), r"digits are from \d+ to \d+, expected 0 to 2"),
        ((images, motion._replace(positions=off)), "positions are from 0 to 37, expected 0 to 36"),
        ((images, motion._replace(positions=motion.positions - 37)), "positions are from -37"),
    ):
        with pytest.raises(ValueError, match=f"^{sentence}") as caught:
            paste(*arguments)
        assert one_sentence(caught.value)


def test_to_float_scales_once():
    assert torch.equal(to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1.0]))
    with pytest.raises(ValueError, match="converted already"):
        to_float(torch.rand(3))


@pytest.fixture
def small_official(tmp_path, monkeypatch):
    """A file with the official one's layout, (frames, clips, height, width), and five clips."""
    content = np.random.default_rng(0).integers(0, 256, (20, 5, 64, 64), np.uint8)
    folder = tmp_path / "MovingMNIST"
    folder.mkdir()
    np.save(folder / "mnist_test_seq.npy", content)
    md5 = hashlib.md5((folder / "mnist_test_seq.npy").read_bytes()).hexdigest()
    monkeypatch.setattr(moving_mnist, "OFFICIAL_MD5", md5)
    return tmp_path, content


def test_the_official_file_is_mapped_clips_first(small_official):
    root, content = small_official
    clips = official_test_set(root)
    assert clips.shape == (5, 20, 1, 64, 64) and clips.dtype == np.uint8
    assert np.array_equal(clips[3, 7, 0], content[7, 3])
    assert isinstance(clips.base, np.memmap) or isinstance(clips, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        clips[0] = 0


def test_a_damaged_official_file_is_refused(small_official):
    root, _ = small_official
    file = root / "MovingMNIST" / "mnist_test_seq.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="truncated or changed"):
        official_test_set(root)
    assert file.exists()


def test_a_missing_official_file_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"mnist_test_seq.npy is not in"):
        official_test_set(tmp_path, download=False)

    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(
        RuntimeError,
        match=r"could not be downloaded \(no route to host\): connect to the network and .*, or copy it to",
    ):
        official_test_set(tmp_path)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (RuntimeError("File not found or corrupted."), "File not found or corrupted"),
        (IncompleteRead(b"", 9), "IncompleteRead.*"),
    ],
)
def test_a_failed_download_of_the_official_file_says_why(tmp_path, monkeypatch, error, why):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(RuntimeError, match=rf"could not be downloaded \({why}\): ") as caught:
        official_test_set(tmp_path)
    assert one_sentence(caught.value)


def test_an_unreadable_official_file_is_not_called_damaged(small_official, monkeypatch):
    root, _ = small_official

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", refuse)
    with pytest.raises(OSError, match=r"mnist_test_seq\.npy cannot be read \(Permission denied\)") as caught:
        official_test_set(root)
    assert one_sentence(caught.value) and "delete" not in str(caught.value)


@pytest.mark.parametrize("root", [3, "", ["data"], True])
def test_a_root_that_is_no_path_is_one_sentence(root):
    with pytest.raises(ValueError, match="is no path"):
        official_test_set(root)
    with pytest.raises(ValueError, match="download is 'no', expected True or False"):
        official_test_set(download="no")
