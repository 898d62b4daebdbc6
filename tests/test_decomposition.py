"""An error in parts: they sum to it, and each is found where it was put; failures are found where they were made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vidlib.baselines import AllBlack, IdealObserver, PhysicsOracle
from vidlib.comparison import score_together
from vidlib.decomposition import PARTS, best_shifts, decompose, knowable, parts_of, repair_places, shifted
from vidlib.gallery import KINDS, find_failures, read
from vidlib.moving_mnist import MovingMNIST, Trajectories, paste
from vidlib.video import float_batch

CLIPS = 6


@pytest.fixture(scope="module")
def clips():
    return MovingMNIST(CLIPS, digits="builtin", split="test", seed=2)


@pytest.fixture(scope="module")
def found(clips):
    return knowable(clips, CLIPS)


@pytest.fixture(scope="module")
def apart():
    """Frames with two digits that don't touch, and what a model that knows them to the pixel would predict."""
    clips = MovingMNIST(1, digits="builtin", split="test", seed=2)
    images = torch.from_numpy(clips.digits.images)
    corners = np.array([[[[2, 3]] * 3, [[34, 33]] * 3]])
    both = Trajectories(np.array([[3, 8]]), corners, np.zeros((1, 2, 3), bool))
    alone = [Trajectories(both.digits[:, k : k + 1], corners[:, k : k + 1], both.bounced[:, k : k + 1]) for k in (0, 1)]
    whole = paste(images, both)[:, :, 0].double() / 255  # (1, 3, 64, 64)
    digits = torch.stack([paste(images, each)[:, :, 0].double() / 255 for each in alone], dim=1)
    return whole, digits, images


def shares(prediction, whole, digits, **options):
    """The parts of a prediction's error where nothing is open, as shares of it."""
    parts = parts_of(prediction, whole, whole, digits, **options)
    total = sum(values.sum() for values in parts.values())
    return {name: values.sum() / total for name, values in parts.items()}


class Shifted(nn.Module):
    """The truth, which it is told, moved by some pixels."""

    def __init__(self, clips, down, right):
        super().__init__()
        self.past, self.horizon = 10, 10
        self.oracle, self.by = PhysicsOracle(clips), (down, right)

    def forward(self, past):
        return self.oracle(past).roll(self.by, dims=(-2, -1))


def test_the_parts_sum_to_the_error_of_any_model(clips, found):
    models = {"convlstm": "convlstm", "all-black": AllBlack(), "shifted": Shifted(clips, 2, -1)}
    errors = score_together(models, clips, lpips=False, progress=False).figures
    from vidlib import load_pretrained

    for name, model in (models | {"convlstm": load_pretrained("convlstm")}).items():
        parts = decompose(model, found)
        assert tuple(parts) == PARTS
        np.testing.assert_allclose(sum(parts.values()), errors[name]["mse"], rtol=1e-4, atol=1e-3)
        for part in ("unknowable", "where", "sharpness", "identity"):
            assert (parts[part] > -1e-6).all(), part


def test_what_is_unknowable_is_the_ideal_observers_error_and_nothing_else_of_its_own(clips, found):
    observer = IdealObserver(clips)
    parts = decompose(observer, found)
    errors = score_together({"ideal": observer}, clips, lpips=False, progress=False).figures["ideal"]["mse"]
    np.testing.assert_allclose(parts["unknowable"], errors, rtol=1e-4, atol=1e-4)
    for part in set(PARTS) - {"unknowable"}:
        np.testing.assert_allclose(parts[part], 0, atol=1e-4)
    assert torch.equal(found.ideal, observer(found.past)[:, :, 0])


def test_chance_is_nothing_on_average_for_whoever_sees_the_past_alone(found):
    """2⟨p - m, m - y⟩ of a page that ignores the past is small beside its error; the oracle's is all of its error."""
    black = decompose(AllBlack(), found)
    total = sum(values.mean() for values in black.values())
    assert abs(black["chance"].mean()) < 0.1 * total


def test_a_moved_digit_is_wrong_in_where_alone(apart):
    whole, digits, _ = apart
    moved = digits[:, 0].roll((3, -2), dims=(-2, -1)) + digits[:, 1].roll((-1, 4), dims=(-2, -1))
    assert shares(moved, whole, digits)["where"] == pytest.approx(1, abs=1e-9)
    shifts = repair_places(moved[0], whole[0], digits[0].transpose(0, 1)).shifts
    assert shifts.tolist() == [[[-3, 2], [1, -4]]] * 3
    assert shares(moved, whole, digits, reach=2)["where"] < 0.9, "four pixels are out of reach"


def test_a_dim_or_blurred_digit_is_wrong_in_sharpness_alone(apart):
    whole, digits, _ = apart
    dim = 0.3 * digits[:, 0] + 0.8 * digits[:, 1]
    assert shares(dim, whole, digits)["sharpness"] == pytest.approx(1, abs=1e-6)
    line = torch.arange(64.0, dtype=torch.float64)
    bell = torch.exp(-0.5 * ((line[:, None] - line) / 2) ** 2) / (2 * np.sqrt(2 * np.pi))
    assert shares(bell @ whole @ bell, whole, digits)["sharpness"] == pytest.approx(1, abs=1e-6)
    assert shares(torch.zeros_like(whole), whole, digits)["sharpness"] == pytest.approx(1, abs=1e-6)


def test_another_digit_is_wrong_mostly_in_identity(apart):
    whole, digits, images = apart
    other = digits[:, 1].clone()
    stranger = images[40].double() / 255
    other[:, :, 3:31, 2:30] = torch.maximum(other[:, :, 3:31, 2:30], stranger)
    parts = shares(other, whole, digits)
    assert parts["identity"] > 0.5 > parts["sharpness"] + parts["where"]


def test_the_best_shift_equals_brute_force_and_does_not_move_for_nothing():
    torch.manual_seed(0)
    pieces, targets = torch.zeros(5, 16, 16), torch.rand(5, 16, 16)
    pieces[:, 4:12, 4:12] = torch.rand(5, 8, 8)
    pieces[4] = 0
    found = best_shifts(pieces, targets, 3)
    for piece, target, (down, right) in zip(pieces, targets, found.tolist(), strict=True):
        errors = {
            (dy, dx): float((piece.roll((dy, dx), (0, 1)) - target).square().sum())
            for dy in range(-3, 4)
            for dx in range(-3, 4)
        }
        assert errors[down, right] == pytest.approx(min(errors.values()), rel=1e-6)
    assert found[4].tolist() == [0, 0], "an empty piece fits everywhere"
    assert torch.equal(shifted(pieces, found)[0], pieces[0].roll(found[0].tolist(), (0, 1)))


def test_other_clips_and_shapes_are_one_sentence(clips, found):
    class Other(MovingMNIST):
        pass

    with pytest.raises(ValueError, match="clips is a Other, expected a MovingMNIST, whose rules are known"):
        knowable(Other(2, digits="builtin"), 2)
    with pytest.raises(ValueError, match="count is 9, expected a whole number from 1 to 6"):
        knowable(clips, 9)
    with pytest.raises(ValueError, match="ideal has shape"):
        parts_of(found.truth, found.truth, found.ideal[:, :3], found.digits)
    with pytest.raises(ValueError, match="model is a list, expected a torch.nn.Module"):
        decompose([], found)


# ------------------------------------------------------------------------------------------------ the gallery


class Faulty(nn.Module):
    """Right but for one clip, whose future it spoils."""

    def __init__(self, clips, clip, spoil):
        super().__init__()
        self.past, self.horizon = 10, 10
        self.oracle, self.spoil = PhysicsOracle(clips), spoil
        self.begins = float_batch(clips, [clip], 10)[0]

    def forward(self, past):
        future = self.oracle(past)
        for i, each in enumerate(past):
            if torch.equal(each, self.begins):
                future[i] = self.spoil(future[i])
        return future


@pytest.fixture(scope="module")
def many():
    return MovingMNIST(24, digits="builtin", split="test", seed=2)


def test_a_perfect_model_has_no_failures(many):
    assert find_failures(PhysicsOracle(many), many, 24) == {}


def test_the_worst_error_is_found(many):
    model = Faulty(many, 17, lambda future: 1 - future)
    found = find_failures(model, many, 24)
    worst = found["worst error"]
    assert (worst.clip, worst.digit, worst.boxes) == (17, None, None) and worst.score > 1
    assert worst.video.shape == (20, 1, 64, 64) and worst.prediction.shape == (10, 1, 64, 64)
    assert all(failure.clip == 17 for failure in found.values()) and set(found) <= set(KINDS)
    assert "an all-black prediction's" in worst.says


def drawn(many, clip, change):
    """The clip's future, drawn anew from changed digits or places."""
    flown = many.trajectories([clip])
    other = change(Trajectories(*(array.copy() for array in flown)))
    return paste(torch.from_numpy(many.digits.images), other)[0, 10:].float() / 255


def test_a_wrong_bounce_is_found(many):
    """One digit flies on as if the wall were five pixels nearer."""
    readings = read(PhysicsOracle(many), many, 24)
    early = readings.bounced[:, :, 3:6] & readings.free[:, :, 1:7].all(-1)[..., None]
    clip, digit, frame = (int(i) for i in next(zip(*np.nonzero(early), strict=True)))

    def change(flown):
        late = flown.positions[0, digit, 10 + 3 + frame :]
        late[:] = np.where(late > 18, late - 5, late + 5)
        return flown

    found = find_failures(Faulty(many, clip, lambda _: drawn(many, clip, change)), many, 24)["wrong bounce"]
    assert (found.clip, found.digit) == (clip, digit) and found.score > 3
    assert "0.0 pixels from its place in the two frames before" in found.says
    assert np.array_equal(found.boxes, many.trajectories([clip]).positions[0, digit, 10:])


def test_swapped_digits_and_a_lost_identity_are_found(many):
    readings = read(PhysicsOracle(many), many, 24)
    sure = ((readings.truly == readings.labels[..., None]) & readings.free).all(1).sum(1)
    sure = np.where(readings.labels[:, 0] != readings.labels[:, 1], sure, 0)
    clip = int(sure.argmax())
    assert sure[clip] >= 5

    def change(flown):
        return flown._replace(digits=flown.digits[:, ::-1].copy())

    found = find_failures(Faulty(many, clip, lambda _: drawn(many, clip, change)), many, 24)["swapped digits"]
    assert found.clip == clip and "both are read as each other in" in found.says and found.score > 100

    def later(future):
        swapped = drawn(many, clip, change)
        return torch.cat([future[:1], swapped[1:]])

    if (readings.truly[clip, :, 0] == readings.labels[clip]).all() and readings.free[clip, :, 0].all():
        lost = find_failures(Faulty(many, clip, later), many, 24)["lost identity"]
        assert lost.clip == clip and "read rightly in the first predicted frame and wrongly in" in lost.says


def test_who_has_no_names_has_no_gallery():
    with pytest.raises(ValueError, match="clips is a list, expected a MovingMNIST of digits with names"):
        find_failures(AllBlack(), [], 1)
