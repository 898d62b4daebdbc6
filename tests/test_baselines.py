"""Baselines predict what their names say, and are models like any other."""

import json

import pytest
import torch

from vidlib.baselines import AllBlack, CopyLast
from vidlib.rollout import rollout

BASELINES = [CopyLast, AllBlack]


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
