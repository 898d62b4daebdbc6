"""The leak hunt: which of the five see the future, and that training and scoring hand no model a frame of it."""

import copy

import pytest
import torch

from vidlib import MovingMNIST, load_pretrained, metrics, training
from vidlib.exercises import leaks
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.registry import MODELS
from vidlib.video import to_float


@pytest.fixture(scope="module")
def clip():
    return to_float(MovingMNIST(1, digits="builtin", split="test").batch([0]))


def small(name):
    torch.manual_seed(0)
    return MODELS[name](**MODELS[name].SMALLEST).requires_grad_(True)


def test_three_of_the_five_see_the_future_and_each_in_its_way(clip):
    tables = {letter: leaks.leak_hunt(model, clip, 10) for letter, model in leaks.five_models().items()}
    with_itself = torch.ones(10, 10, dtype=torch.bool).tril()
    with_itself[9, 9] = False  # frame 20 is no input
    assert torch.equal(tables["A"], with_itself)
    assert tables["C"].all() and tables["E"].all()
    assert not tables["B"].any() and not tables["D"].any()


def test_the_leak_of_zeroed_weights_goes_through_the_sum_of_the_softmax_alone(clip):
    model, other = leaks.five_models()["E"], clip.clone()
    other[:, 10:] = 0
    model.paint.bias.zero_()
    said, sums = [], []
    for video in (clip, other):
        scores = model.query @ model.key(leaks._small(video)).mT / leaks._DIM**0.5
        sums.append(scores.exp().sum(-1, keepdim=True))
        said.append(leaks._small(model(video)))
    assert not torch.equal(*said)
    torch.testing.assert_close(said[0] * sums[0], said[1] * sums[1], atol=1e-5, rtol=1e-4)


def test_the_five_are_the_same_every_time_and_leave_the_random_state_alone(clip):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = leaks.five_models(), leaks.five_models()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[letter](clip), other[letter](clip)) for letter in one)


@pytest.mark.parametrize("door", [leaks.as_trained, leaks.as_scored])
@pytest.mark.parametrize("name", MODELS)
def test_no_model_of_the_course_is_handed_the_future(door, name, clip):
    assert not leaks.leak_hunt(door(small(name)), clip, 10).any()


@pytest.mark.parametrize("door", [leaks.as_trained, leaks.as_scored])
def test_a_model_that_draws_at_random_in_training_is_not_taken_for_a_leak(door, clip):
    model = ConvLSTM(**ConvLSTM.SMALLEST, layers=2)
    assert not torch.equal(model(clip[:, :10].repeat(8, 1, 1, 1, 1)), model(clip[:, :10].repeat(8, 1, 1, 1, 1)))
    assert not leaks.leak_hunt(door(model), clip, 10).any()


@pytest.mark.parametrize("name", ["convlstm", "video-transformer"])
def test_the_door_gives_what_the_shipped_model_says(name, clip):
    model = load_pretrained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        said = model(clip[:, :10])
        torch.manual_seed(0)
        in_training = copy.deepcopy(model).train()(clip[:, :10])
    torch.testing.assert_close(leaks.as_scored(model)(clip), said)
    torch.testing.assert_close(leaks.as_trained(model)(clip), in_training, atol=0.05, rtol=0.05)  # it may be in bf16
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_training_that_takes_the_past_one_frame_late_is_found(clip, monkeypatch):
    def late(clips, indices, model, device):
        video = training.float_batch(clips, [i % len(clips) for i in indices], 20, device)
        return video[:, 1:11], video[:, 10:]

    monkeypatch.setattr(training, "_pair", late)
    table = leaks.leak_hunt(leaks.as_trained(small("video-transformer")), clip, 10)
    assert table[:, 0].all() and not table[:, 1:].any()


def test_a_score_that_takes_the_past_one_frame_late_is_found(clip, monkeypatch):
    stored = metrics.stored_batch
    monkeypatch.setattr(metrics, "stored_batch", lambda *arguments: stored(*arguments).roll(-1, 1))
    table = leaks.leak_hunt(leaks.as_scored(small("video-transformer")), clip, 10)
    assert table[:, 0].all() and not table[:, 1:].any()


def test_a_spy_sees_true_frames_first_and_then_the_models_own():
    clips = MovingMNIST(2, digits="builtin", split="test")
    video, spy = to_float(clips.batch(range(2))), leaks.Spy(small("convlstm"))
    metrics.evaluate(spy, clips, chunk=5, progress=False)
    first, second = spy.given
    assert torch.equal(first, video[:, :10]) and torch.equal(second[:, :5], video[:, 5:10])
    assert torch.equal(second[:, 5:], spy.said[0][:, :5].clamp(0, 1))
