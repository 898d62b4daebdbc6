"""Rollouts equal a loop written by hand, and leave the model as it was."""

import pytest
import torch
from torch import nn

from vidlib.iterative import evaluation_mode, rollout


class Mixer(nn.Module):
    """A small model whose every output frame depends on every input frame, and leaves [0, 1] now and then."""

    def __init__(self, past=4, horizon=3):
        super().__init__()
        self.past, self.horizon = past, horizon
        torch.manual_seed(0)
        self.mix = nn.Linear(past, horizon)
        self.drop = nn.Dropout(0.5)
        self.inputs = []

    def forward(self, past):
        self.inputs.append(past)
        return self.drop(1.5 * self.mix(past.movedim(1, -1)).movedim(-1, 1))


class Shift(nn.Module):
    """Knows the rule of its world: everything moves one pixel to the right each frame, around the edge."""

    def __init__(self, past=10, horizon=10):
        super().__init__()
        self.past, self.horizon = past, horizon

    def forward(self, past):
        return torch.stack([past[:, -1].roll(step + 1, dims=-1) for step in range(self.horizon)], dim=1)


@pytest.fixture
def past():
    return torch.rand(3, 4, 2, 5, 6, generator=torch.Generator().manual_seed(1))


def by_hand(model, past, steps, chunk):
    """The definition, one frame at a time."""
    model.eval()
    window, predicted = [past[:, t] for t in range(past.shape[1])], []
    while True:
        future = model(torch.stack(window[-model.past :], dim=1))
        for t in range(chunk):
            predicted.append(future[:, t])
            window.append(future[:, t].clamp(0, 1))
            if len(predicted) == steps:
                return torch.stack(predicted, dim=1).detach()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 9, 13])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_equals_a_loop_by_hand(past, steps, chunk):
    model = Mixer()
    expected = by_hand(model, past, steps, chunk)
    torch.testing.assert_close(rollout(model, past, steps, chunk), expected, rtol=0, atol=0)


def test_a_window_shorter_than_a_prediction_keeps_only_the_newest_frames(past):
    model = Mixer(past=4, horizon=6)
    torch.testing.assert_close(rollout(model, past, 15), by_hand(model, past, 15, 6), rtol=0, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_prediction_is_the_model_itself(past, steps):
    model = Mixer().eval()
    expected = model(past)[:, :steps].detach()
    model.inputs.clear()
    torch.testing.assert_close(rollout(model, past, steps), expected, rtol=0, atol=0)
    assert len(model.inputs) == 1


def test_a_smaller_chunk_means_more_rounds_and_another_result(past):
    model = Mixer()
    rollout(model, past, 6)
    assert len(model.inputs) == 2
    whole = rollout(model, past, 6)
    model.inputs.clear()
    assert not torch.equal(rollout(model, past, 6, chunk=1), whole)
    assert len(model.inputs) == 6


def test_a_batch_is_a_loop_over_single_clips(past):
    model = Mixer()
    singles = torch.cat([rollout(model, past[i : i + 1], 8, 2) for i in range(len(past))])
    torch.testing.assert_close(rollout(model, past, 8, 2), singles)


@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 10])
def test_an_exact_model_stays_exact_for_30_frames(chunk):
    first = torch.rand(2, 1, 8, 64)
    clip = torch.stack([first.roll(t, dims=-1) for t in range(40)], dim=1)
    assert torch.equal(rollout(Shift(), clip[:, :10], 30, chunk), clip[:, 10:])


def test_predictions_are_clamped_where_they_are_fed_back_and_only_there(past):
    model = Mixer()
    predicted = rollout(model, past, 9)
    assert predicted.min() < 0 or predicted.max() > 1
    for window in model.inputs:
        assert window.min() >= 0 and window.max() <= 1


def test_no_gradient_and_the_input_is_untouched(past):
    model, before = Mixer(), past.clone()
    predicted = rollout(model, past.requires_grad_(), 7)
    assert not predicted.requires_grad
    assert torch.equal(past, before)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("training", [True, False])
def test_runs_in_eval_mode_and_restores_each_part(past, training):
    model = Mixer().train(training)
    model.drop.train(not training)  # a part that is on purpose in another mode than the rest
    assert torch.equal(rollout(model, past, 7), rollout(model, past, 7))  # no dropout in between
    assert (model.training, model.mix.training, model.drop.training) == (training, training, not training)


def test_restores_training_mode_after_a_failure():
    model = nn.Sequential(nn.Dropout()).train()
    with pytest.raises(RuntimeError, match="broken"), evaluation_mode(model):
        assert not model.training and not model[0].training
        raise RuntimeError("broken")
    assert model.training and model[0].training


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_refuses_a_number_of_steps(past, steps):
    with pytest.raises(ValueError, match=f"steps is {steps}, expected a whole number"):
        rollout(Mixer(), past, steps)


@pytest.mark.parametrize("chunk", [0, -2, 4, 1.5])
def test_refuses_a_chunk(past, chunk):
    with pytest.raises(ValueError, match=f"chunk is {chunk}, expected a whole number from 1 to 3"):
        rollout(Mixer(), past, 5, chunk)


def test_refuses_a_wrong_past(past):
    with pytest.raises(ValueError, match=r"past has shape \(3, 3, 2, 5, 6\), expected \(B, 4, C, H, W\)"):
        rollout(Mixer(), past[:, :3], 5)
    with pytest.raises(ValueError, match="dtype torch.uint8"):
        rollout(Mixer(), (past * 255).byte(), 5)


def test_refuses_what_is_not_a_video_model(past):
    with pytest.raises(ValueError, match="model is a Linear, expected one with whole numbers past and horizon"):
        rollout(nn.Linear(2, 2), past, 5)
    model = Mixer()
    model.horizon = 5  # promises five frames, predicts three
    with pytest.raises(ValueError, match=r"Mixer predicted shape \(3, 3, 2, 5, 6\), expected \(3, 5, 2, 5, 6\)"):
        rollout(model, past, 5)
