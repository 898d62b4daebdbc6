"""Baselines predict what their names say, and are models like any other."""

import json

import pytest
import torch

from vidlib.baselines import TOLD, AllBlack, ConstantVelocity, CopyLast, IdealObserver, PhysicsOracle, baseline
from vidlib.iterative import rollout
from vidlib.metrics import evaluate
from vidlib.moving_mnist import MovingMNIST

BASELINES = [CopyLast, AllBlack, ConstantVelocity]


@pytest.fixture
def past():
    return torch.rand(2, 10, 1, 9, 8)


def test_copy_last_repeats_the_last_frame(past):
    future = CopyLast(horizon=4)(past)
    assert future.shape == (2, 4, 1, 9, 8)
    for t in range(4):
        assert torch.equal(future[:, t], past[:, 9])


def test_copy_last_returns_memory_of_its_own(past):
    before = past.clone()
    future = CopyLast()(past)
    future[:, 0] += 1
    assert torch.equal(past, before)
    assert torch.equal(future[:, 1], past[:, 9])


def test_all_black_is_zero_of_the_same_kind(past):
    future = AllBlack(horizon=3)(past.double())
    assert future.shape == (2, 3, 1, 9, 8) and future.dtype == torch.float64
    assert future.count_nonzero() == 0


@pytest.mark.parametrize("baseline", BASELINES)
def test_is_a_model_like_any_other(baseline, past):
    model = baseline(horizon=6)
    assert (model.past, model.horizon) == (10, 6)
    rebuilt = baseline(**json.loads(json.dumps(model.config)))
    assert torch.equal(rebuilt(past), model(past))
    assert list(model.parameters()) == []
    assert rollout(model, past, 15, chunk=4).shape == (2, 15, 1, 9, 8)


@pytest.mark.parametrize("baseline", BASELINES)
def test_refuses_a_wrong_video_and_an_empty_horizon(baseline, past):
    with pytest.raises(ValueError, match=r"past has shape \(2, 9, 1, 9, 8\), expected \(B, 10"):
        baseline()(past[:, :9])
    with pytest.raises(ValueError, match="horizon is 0"):
        baseline(horizon=0)
    with pytest.raises(ValueError, match="past is 0"):
        baseline(past=0)


def flight(velocity: tuple[int, int], frames: int, start: tuple[int, int] = (12, 12)) -> torch.Tensor:
    """A small L that flies on an empty canvas: ``(1, frames, 1, 32, 32)``."""
    video = torch.zeros(1, frames, 1, 32, 32)
    for t in range(frames):
        row, column = start[0] + t * velocity[0], start[1] + t * velocity[1]
        video[0, t, 0, row : row + 5, column] = 0.5
        video[0, t, 0, row + 4, column : column + 3] = 1.0
    return video


@pytest.mark.parametrize("velocity", [(0, 0), (1, 0), (0, -1), (1, 1), (-1, 1)])
def test_constant_velocity_continues_a_straight_flight_exactly(velocity):
    video = flight(velocity, 10)
    future = ConstantVelocity(horizon=4, past=6)(video[:, :6])
    assert torch.equal(future, video[:, 6:])


def test_constant_velocity_gives_each_piece_its_own_motion_and_overlaps_by_maximum():
    one, two = flight((1, 0), 8, (2, 2)), flight((0, 1), 8, (20, 10))
    future = ConstantVelocity(horizon=3, past=5)(torch.maximum(one, two)[:, :5])
    assert torch.equal(future, torch.maximum(one, two)[:, 5:])
    meeting, met = flight((1, 0), 8, (6, 14)), flight((-1, 0), 8, (20, 14))  # apart in frame 5, crossing after it
    future = ConstantVelocity(horizon=3, past=5)(torch.maximum(meeting, met)[:, :5])
    assert torch.equal(future, torch.maximum(meeting, met)[:, 5:])


def test_constant_velocity_flies_off_the_canvas():
    future = ConstantVelocity(horizon=20, past=5)(flight((0, 3), 5, (12, 10)))
    assert future[0, 0].any() and not future[0, -1].any()


def test_constant_velocity_needs_three_steps():
    with pytest.raises(ValueError, match="past is 3, expected at least 4"):
        ConstantVelocity(past=3)


def test_the_oracle_makes_no_error_even_beyond_the_clips():
    clips = MovingMNIST(7, digits="builtin", split="test", seed=3)
    scores = evaluate(PhysicsOracle(clips), clips, progress=False)
    assert scores.overall["mse"] == 0 and scores.overall["ssim"] == pytest.approx(1)
    longer = MovingMNIST(7, digits="builtin", split="test", seed=3, frames=35).batch([4]).float() / 255
    assert torch.equal(PhysicsOracle(clips, horizon=25)(longer[:, :10]), longer[:, 10:])


def test_the_oracle_says_what_it_was_not_told():
    clips = MovingMNIST(3, digits="builtin", split="test", seed=3)
    known = clips.batch([0]).float()[:, :10] / 255
    with pytest.raises(ValueError, match=r"past\[1\] is not the beginning of one of the 3 clips"):
        PhysicsOracle(clips)(torch.cat([known, 1 - known]))


def test_the_ideal_observer_is_better_than_whoever_knows_less_and_worse_than_the_oracle():
    clips = MovingMNIST(8, digits="builtin", split="test", seed=3)
    models = (baseline(name, clips) for name in ("oracle", "ideal-observer", "constant-velocity", "copy-last"))
    oracle, ideal, flying, copied = (evaluate(model, clips, progress=False).per_frame["mse"] for model in models)
    assert (oracle <= ideal).all() and ideal[0] < ideal[-1]
    assert 3 * ideal.mean() < flying.mean() < copied.mean()


def test_the_ideal_observer_looks_at_no_frame_that_comes():
    """Clips whose pasts are the same and whose futures part have the same mean, and no single future is it."""
    clips = MovingMNIST(6, digits="builtin", split="test", seed=3)
    shorter = MovingMNIST(6, digits="builtin", split="test", seed=3, frames=10)
    past = shorter.batch(range(6)).float() / 255
    told = IdealObserver(clips)(past)
    assert torch.equal(IdealObserver(shorter)(past), told)
    assert (told - clips.batch(range(6))[:, 10:] / 255).abs().amax((1, 2, 3, 4)).min() > 0.01


def test_the_ideal_observer_answers_alone_as_in_a_batch_and_every_time():
    clips = MovingMNIST(5, digits="builtin", split="test", seed=4, n_digits=3)
    past = clips.batch(range(5)).double()[:, :10] / 255
    model = IdealObserver(clips, horizon=13)
    together = model(past)
    assert together.shape == (5, 13, 1, 64, 64) and together.dtype == torch.float64
    assert torch.equal(together[[3, 1]], IdealObserver(clips, horizon=13)(past[[3, 1]]))
    assert together.min() >= 0 and together.max() <= 1 + 1e-12


class _Mirrored(MovingMNIST):
    """A set by another rule."""


@pytest.mark.parametrize("told", TOLD.values())
def test_who_is_told_clips_says_which_it_can_be_told(told):
    with pytest.raises(ValueError, match="clips is a Tensor, expected a MovingMNIST"):
        told(torch.zeros(2, 20, 1, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="clips is a _Mirrored, expected a MovingMNIST, whose rules"):
        told(_Mirrored(2, digits="builtin"))
    clips = MovingMNIST(3, digits="builtin", split="test", seed=3)
    with pytest.raises(ValueError, match=r"past\[0\] is not the beginning of one of the 3 clips"):
        rollout(told(clips), torch.zeros(1, 10, 1, 64, 64), 20)


def test_a_baseline_by_its_name():
    clips = MovingMNIST(3, digits="builtin", split="test", seed=3)
    assert isinstance(baseline("oracle", clips, 4), PhysicsOracle)
    assert baseline("copy-last", clips, 4, past=3).config == {"horizon": 4, "past": 3}
    with pytest.raises(ValueError, match="did you mean 'ideal-observer'"):
        baseline("ideal", clips)
