"""What is read from a model and what is changed in it: probes and controls, interventions, variances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from vidlib import probes, steering, uncertainty
from vidlib.baselines import IdealObserver
from vidlib.flights import expected_frames
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.moving_mnist import MovingMNIST, paste
from vidlib.video import float_batch
from vidlib.viz import insides

CLIPS = MovingMNIST(64, digits="builtin", split="test", seed=3)


def convlstm(**changes) -> ConvLSTM:
    torch.manual_seed(0)
    return ConvLSTM(**{"patch": 8, "features": 4, "hidden": (3, 5), "kernel": 3, **changes}).eval()


def transformer() -> VideoTransformer:
    torch.manual_seed(0)
    return VideoTransformer(dim=16, layers=3, heads=2, decoder=8).eval()


MODELS = {"convlstm": convlstm(), "shared": convlstm(shared=True, hidden=(4, 4)), "transformer": transformer()}
of_each_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))


def some_past(count: int = 2) -> torch.Tensor:
    return float_batch(CLIPS, range(count), 10)


# --- what is read ---


@of_each_model
def test_the_future_states_are_those_that_the_prediction_is_painted_from(model):
    past = some_past()
    states = probes.inner_states(model, past)
    assert all(maps.shape[:2] == (2, 20) and maps.shape[3:] == (8, 8) for maps in states.values())
    with torch.inference_mode():
        if isinstance(model, ConvLSTM):
            maps = torch.cat([maps[:, 10:] for maps in states.values()], dim=2)
            painted = model.paint(maps.flatten(0, 1)).unflatten(0, (2, 10))
        else:
            painted = model.decode(states["layer 3"][:, 10:].flatten(3).transpose(2, 3))
            tokens = states["embedding"][:, :10].flatten(3).transpose(2, 3)
            torch.testing.assert_close(tokens, model.tokens(past))
        torch.testing.assert_close(painted, model(past))


def test_the_vector_is_that_of_the_place_under_the_digits_middle():
    maps = torch.arange(2 * 3 * 4 * 8 * 8.0).view(2, 3, 4, 8, 8)
    positions = np.zeros((2, 1, 3, 2), int)
    positions[1, 0, 2] = 10, 36  # the middle lies on (24, 50): column 3, row 6
    found = probes.at_digits(maps, positions, 8)
    assert found.shape == (2, 1, 3, 4)
    np.testing.assert_array_equal(found[1, 0, 2], maps[1, 2, :, 6, 3])
    np.testing.assert_array_equal(found[0, 0, 0], maps[0, 0, :, 1, 1])


def test_batches_make_no_difference():
    whole, parts = (probes.states_at_digits(convlstm(), CLIPS, 5, batch=batch) for batch in (5, 2))
    for layer, found in whole.items():
        assert found.shape == (5, 2, 20, 3 if layer == "layer 1" else 5)
        np.testing.assert_allclose(parts[layer], found, atol=1e-6)


def test_targets_are_the_truth_of_the_clips():
    paths = CLIPS.trajectories(range(64))
    found = probes.targets(paths, CLIPS.digits.labels)
    np.testing.assert_array_equal(np.diff(found["position"], axis=2), found["velocity"][:, :, 1:])
    assert np.isnan(found["velocity"][:, :, 0]).all() and np.isnan(found["about to bounce"][:, :, -1]).all()
    np.testing.assert_array_equal(found["about to bounce"][:, :, :-1], paths.bounced[:, :, 1:])
    np.testing.assert_array_equal(found["identity"][:, :, 7], CLIPS.digits.labels[paths.digits])
    asked = np.isfinite(found["in front"])
    near = (np.abs(paths.positions[:, 0] - paths.positions[:, 1]).max(-1) < 14)[:, None].repeat(2, axis=1)
    np.testing.assert_array_equal(asked, near)
    assert found["in front"][asked].mean() == 0.5
    nameless = probes.targets(paths, np.full(len(CLIPS.digits), -1))
    assert np.isnan(nameless["identity"]).all()
    assert np.isnan(
        probes.targets(MovingMNIST(2, digits="builtin", n_digits=1).trajectories([0]), np.zeros(10**4))["in front"]
    ).all()


def test_nothing_in_the_pixels_says_which_digit_is_in_front():
    paths = CLIPS.trajectories(range(8))
    turned = paths._replace(digits=paths.digits[:, ::-1], positions=paths.positions[:, ::-1])
    images = torch.from_numpy(CLIPS.digits.images)
    assert torch.equal(paste(images, paths), paste(images, turned))


def test_pixels_of_a_future_frame_are_those_last_seen():
    found = probes.pixels_at_digits(CLIPS, 4)
    assert found.shape == (4, 2, 20, 128) and found.max() <= 1
    for t in range(10, 20):
        np.testing.assert_array_equal(found[:, :, t], found[:, :, 9])
    np.testing.assert_array_equal(found[:, :, 0, :64], found[:, :, 0, 64:])  # there is no frame before the first
    assert (found[:, :, 5, :64] != found[:, :, 5, 64:]).any()


# --- readers and their controls ---


def clips_that_say(labels: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    """States (B, n, T, 6) that hold the labels linearly, and noise."""
    random = np.random.default_rng(seed)
    values = labels.reshape(*labels.shape[:3], -1)
    return values @ np.random.default_rng(9).normal(size=(values.shape[-1], 6)) + noise * random.normal(
        size=(*labels.shape[:3], 6)
    )


def of_clips(kind: str, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "numbers":
        return np.repeat(random.normal(size=(count, 2, 1, 2)), 5, axis=2)
    return np.repeat(random.integers(0, 3, (count, 2, 1)).astype(float), 5, axis=2)


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_probe_reads_what_is_there_and_shuffled_labels_score_chance(kind):
    learn, judge = (of_clips(kind, 300, seed) for seed in (1, 2))
    states = [clips_that_say(labels, 0.1, seed) for seed, labels in enumerate((learn, judge))]
    real = probes.probe((states[0], learn), (states[1], judge))
    control = probes.probe((states[0], probes.shuffled(learn)), (states[1], probes.shuffled(judge, 1)))
    assert real.skill() > (0.95 if kind == "numbers" else 0.6)
    low, high = control.interval()
    assert low < 0 < high or abs(control.skill()) < 0.02
    assert abs(control.skill()) < 0.06
    assert control.chance == (0 if kind == "numbers" else pytest.approx(1 / 3))


@pytest.mark.parametrize("name", ["velocity", "identity", "about to bounce"])
def test_shuffled_labels_of_real_clips_score_chance(name):
    learn, judge = (MovingMNIST(150, digits="builtin", split=split, seed=5) for split in ("validation", "test"))
    pairs = []
    for clips in (learn, judge):
        labels = probes.targets(clips.trajectories(range(150)), clips.digits.labels)[name]
        pairs.append((probes.pixels_at_digits(clips, 150)[..., ::16], probes.shuffled(labels)))
    score = probes.probe(*pairs, frames=slice(0, 10))
    assert abs(score.skill()) < 0.1 and score.interval()[0] < 0.02


def test_who_is_in_front_scores_chance():
    learn, judge = (MovingMNIST(200, digits="builtin", split=split, seed=5) for split in ("validation", "test"))
    pairs = [
        (
            probes.pixels_at_digits(clips, 200)[..., ::8],
            probes.targets(clips.trajectories(range(200)), clips.digits.labels)["in front"],
        )
        for clips in (learn, judge)
    ]
    low, high = probes.probe(*pairs, frames=slice(0, 10)).interval()
    assert low < 0 < high


def test_shuffling_keeps_the_frames_of_a_digit_together():
    labels = np.arange(12.0).reshape(3, 2, 2)
    dealt = probes.shuffled(labels, seed=4)
    assert (dealt != labels).any() and sorted(dealt.ravel()) == sorted(labels.ravel())
    assert (dealt[..., 1] - dealt[..., 0] == 1).all()


def test_a_score_by_hand():
    got, of = np.array([[[1.0], [0.0]], [[1.0], [2.0]]]), np.array([[[2.0], [0.0]], [[2.0], [4.0]]])
    score = probes.Score(got, of, 0.0)
    assert score.value() == 0.5 and score.skill() == 0.5
    np.testing.assert_array_equal(score.by_frame(), [0.5, 0.5])
    halves = probes.Score(np.array([[[3.0, 1.0]]]), np.array([[[4.0, 1.0]]]), 0.5)  # 3 of 4, and 1 of 1
    assert halves.value() == 0.875 and halves.skill() == 0.75
    assert np.isnan(probes.Score(np.zeros((2, 3, 1)), np.zeros((2, 3, 1)), 0.0).by_frame()).all()


def test_balanced_accuracy_gives_a_rare_class_the_same_weight():
    labels = np.zeros((50, 1, 4))
    labels[:5] = 1
    constant = np.ones((50, 1, 4, 3))  # nothing to read: one answer for all
    score = probes.probe((constant, labels), (constant, labels))
    assert score.of.sum((0, 1)).tolist() == [180, 20] and score.value() == 0.5 and score.skill() == 0


def test_an_interval_narrows_with_more_clips_and_holds_the_score():
    widths = []
    for count in (20, 320):
        labels = [of_clips("numbers", count, seed) for seed in (1, 2)]
        score = probes.probe(*[(clips_that_say(one, 1.0, i), one) for i, one in enumerate(labels)])
        low, high = score.interval()
        assert low < score.skill() < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_where_there_is_nothing_to_ask_there_is_no_score():
    states = np.zeros((3, 1, 2, 4))
    for labels in (np.full((3, 1, 2), np.nan), np.ones((3, 1, 2)), np.full((3, 1, 2, 2), np.nan)):
        assert probes.probe((states, labels), (states, labels)) is None


def test_a_probe_wants_states_and_labels_of_the_same_digits():
    good = np.zeros((3, 1, 2, 4)), np.zeros((3, 1, 2))
    for bad in ((good[0], np.zeros((3, 2))), (good[0][0], good[1]), (good[0], np.zeros((3, 2, 2)))):
        with pytest.raises(ValueError, match="expected .B, n, T, D. and"):
            probes.probe(bad, good)
    with pytest.raises(ValueError, match="expected two arrays"):
        probes.probe((torch.zeros(3, 1, 2, 4), good[1]), good)
    with pytest.raises(ValueError, match="expected a ConvLSTM or a VideoTransformer"):
        probes.inner_states(torch.nn.Identity(), some_past())


def test_selectivity_is_the_distance_to_the_best_control():
    scores = {"trained": np.array([0.9, 0.5]), "untrained": np.array([0.3, 0.6]), "pixels": 0.4}
    np.testing.assert_allclose(probes.selectivity(scores), [0.5, -0.1])


# --- interventions ---


def forecast(model: ConvLSTM, memory: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.forecast(steering.as_states(memory, model), 10)[0]


def memory_of(model: ConvLSTM) -> torch.Tensor:
    with torch.inference_mode():
        return steering.as_memory(model.encode(some_past())[1])


def test_a_memory_and_its_states_are_the_same():
    model = convlstm()
    memory = memory_of(model)
    assert memory.shape == (2, 16, 8, 8)
    with torch.inference_mode():
        assert torch.equal(forecast(model, memory), model(some_past()))
    with pytest.raises(ValueError, match="memory"):
        steering.as_states(memory[:, :5], model)


def test_steering_pushes_by_the_amount_and_only_there():
    memory, direction = torch.randn(2, 4, 3, 3), torch.tensor([3.0, 0.0, 4.0, 0.0])
    kept, where = memory.clone(), torch.zeros(2, 3, 3, dtype=torch.bool)
    where[1, 0, 2] = True
    pushed = steering.steer(memory, direction, where, 10) - memory
    torch.testing.assert_close(pushed[1, :, 0, 2], torch.tensor([6.0, 0, 8, 0]))
    assert pushed.abs().sum() == pytest.approx(14, abs=1e-4) and torch.equal(memory, kept)


def test_the_places_of_a_digit():
    found = steering.digit_places(np.array([[0, 36], [7, 8]]), 8, 8)
    assert found[0, 4:, :4].all() and found[0].sum() == 16
    assert found[1, 1:5, :5].all() and found[1].sum() == 20  # a box from 7 touches the first place by one pixel


def test_swapping_twice_changes_nothing_and_once_moves_each_square():
    memory = torch.randn(2, 3, 8, 8)
    first, second = np.array([[0, 0], [0, 2]]), np.array([[4, 3], [4, 2]])
    once = steering.swap_places(memory, first, second, 4)
    assert torch.equal(once[0, :, 3:7, 4:8], memory[0, :, :4, :4]) and torch.equal(once[0, :, 7], memory[0, :, 7])
    assert torch.equal(steering.swap_places(once, first, second, 4), memory)
    for a, b in ((first, first + 1), (first, second + 2), (first - 1, second)):
        with pytest.raises(ValueError, match="squares of 4 places"):
            steering.swap_places(memory, a, b, 4)


def test_the_centre_of_mass_is_that_of_the_light():
    frames = torch.zeros(1, 2, 1, 8, 8)
    frames[0, 0, 0, 2, 5] = 1
    frames[0, 0, 0, 2, 7] = 1
    torch.testing.assert_close(steering.centre_of_mass(frames)[0], torch.tensor([[6.5, 2.5], [4.0, 4.0]]))


@pytest.mark.parametrize(("axis", "which"), [("time", 0), ("space", 1)])
def test_a_head_that_is_off_has_no_share_in_the_output(axis, which):
    model, past = transformer(), some_past()
    other = transformer()
    with torch.no_grad():
        other.encoder[1][which].attention.out.weight[:, 8:] = 0
    with torch.inference_mode():
        before, expected = model(past), other(past)
        with steering.head_off(model, 2, axis, 2):
            assert torch.allclose(model(past), expected, atol=1e-6) and not torch.equal(expected, before)
        assert torch.equal(model(past), before)


def test_a_layer_that_is_off_changes_nothing_itself():
    model, past = transformer(), some_past()
    with torch.inference_mode():
        with steering.layer_off(model, 1), steering.layer_off(model, 2), steering.layer_off(model, 3):
            torch.testing.assert_close(model(past), model.decode(model.tokens(past).flip(1)))
        with steering.layer_off(model, 2, "time"):
            one = model(past)
        assert not torch.allclose(one, model(past))
    cells, painted = convlstm(), []
    with torch.inference_mode(), steering.layer_off(cells, 2):
        cells.paint.register_forward_pre_hook(lambda _, inputs: painted.append(inputs[0]))
        cells(past)
    assert painted[0][:, :3].any() and not painted[0][:, 3:].any()


def test_held_gates_keep_the_memory_as_it_was():
    model = convlstm()
    memory = memory_of(model)
    before = forecast(model, memory)
    with steering.gate_held(model, 1, "forget", 1.0), steering.gate_held(model, 2, "forget", 0.5):
        assert not torch.equal(forecast(model, memory), before)
    assert torch.equal(forecast(model, memory), before)
    cell, state = model.forecaster[0], steering.as_states(memory, model)[0]
    with torch.inference_mode(), steering.gate_held(model, 1, "forget", 1.0):
        kept = cell(None, state, 1)[1][1]
        _, f, _, _ = cell.from_state(state[0]).chunk(4, 1)
        i, _, g, _ = cell.from_state(state[0]).chunk(4, 1)
        torch.testing.assert_close(kept, state[1] + i.sigmoid() * g.tanh(), atol=1e-4, rtol=1e-4)
    with torch.inference_mode(), steering.gate_held(model, 1, "output", 0.0):
        assert cell(None, state, 3)[0].abs().max() < 1e-5


def test_what_is_off_must_be_there():
    for context, words in (
        (lambda: steering.head_off(transformer(), 4, "time", 1), "layer is 4"),
        (lambda: steering.head_off(transformer(), 1, "depth", 1), "axis is 'depth'"),
        (lambda: steering.head_off(transformer(), 1, "time", 3), "head is 3"),
        (lambda: steering.gate_held(convlstm(), 1, "candidate", 0.0), "gate is 'candidate'"),
        (lambda: steering.gate_held(transformer(), 1, "input", 0.0), "expected a ConvLSTM"),
        (lambda: steering.layer_off(convlstm(), 0), "layer is 0"),
    ):
        with pytest.raises(ValueError, match=words), context():
            pass


def test_erasing_makes_one_patch_of_one_frame_black():
    past = some_past(1)[0]
    lit = steering.lit_patches(past, 8)
    assert all(past[t, 0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].max() > 0.1 for t, r, c in lit.tolist())
    copies = steering.erased(past, lit[:3], 8)
    for copy, (t, r, c) in zip(copies, lit[:3].tolist(), strict=True):
        gone = past - copy
        assert gone[t, 0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].sum() == gone.sum() > 0
        assert copy[t, 0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].max() == 0


@of_each_model
def test_what_erasing_changes_is_measured_patch_by_patch(model):
    past = some_past(1)[0]
    patches = steering.lit_patches(past, 8)[::40]
    changes = steering.erasing_changes(model, past, patches, batch=2)
    with torch.inference_mode():
        moved = (model(steering.erased(past, patches, 8)[1:2]) - model(past[None])).square()[0, :, 0]
    assert changes.shape == (len(patches), 10, 8, 8)
    torch.testing.assert_close(changes[1, 4, 2, 5], moved[4, 16:24, 40:48].sum(), atol=1e-6, rtol=1e-4)
    black = (past[0, 0].unfold(0, 8, 8).unfold(1, 8, 8).amax((2, 3)) == 0).nonzero()[0].tolist()
    assert not steering.erasing_changes(model, past, torch.tensor([[0, *black]])).any()


def test_heat_maps_share_out_one_look():
    model, past = transformer(), some_past()
    with torch.inference_mode():
        _, attention = model(past, return_attention=True)
    for look in (steering.last_look, steering.attention_rollout):
        share = look(attention, 1, 9, 20)
        assert share.shape == (10, 64) and share.sum().item() == pytest.approx(1, abs=1e-5) and share.min() >= 0
    alone = [{"space": torch.eye(4).expand(1, 3, 2, 4, 4), "time": torch.eye(3).expand(1, 4, 2, 3, 3)}] * 2
    for look in (steering.last_look, steering.attention_rollout):
        assert look(alone, 0, 1, 2)[1, 2] == 1
    spread = [{"space": torch.full((1, 3, 2, 4, 4), 0.25), "time": torch.eye(3).expand(1, 4, 2, 3, 3)}]
    torch.testing.assert_close(
        steering.attention_rollout(spread, 0, 1, 2)[1], torch.tensor([0.125, 0.125, 0.625, 0.125])
    )


def test_the_gradient_map_finds_the_patch_that_matters():
    class CopiesOnePatch(torch.nn.Module):
        patch = 8

        def forward(self, past):
            return past[:, 3:4, :, 8:16, 16:24].repeat(1, 10, 1, 8, 8)

    past = some_past(1)[0]
    felt = steering.gradient_map(CopiesOnePatch(), past, 0, 5, 5)
    assert felt.sum() == felt[3, 1, 2] == pytest.approx(past[3, 0, 8:16, 16:24].sum().item())


def test_rank_correlation_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for a, b in (
        (random.normal(size=30), random.normal(size=30)),
        (random.integers(0, 4, 30), random.integers(0, 4, 30)),
    ):
        assert steering.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    a = random.normal(size=9)
    assert steering.rank_correlation(a, np.exp(a)) == pytest.approx(1) == -steering.rank_correlation(a, -(a**3))
    assert np.isnan(steering.rank_correlation(a, np.ones(9)))


def test_an_interval_of_a_mean_covers_it_as_often_as_it_says():
    random, inside = np.random.default_rng(1), 0
    for seed in range(200):
        mean, low, high = steering.mean_interval(random.normal(2, 1, 40), draws=300, seed=seed)
        assert low <= mean <= high
        inside += low <= 2 <= high
    assert 0.88 <= inside / 200 <= 0.99
    assert steering.mean_interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0, 1.0)
    assert np.isnan(steering.mean_interval(np.array([np.nan]))).all()


# --- variances ---


def test_the_known_mean_is_the_ideal_observers_and_certain_pixels_have_no_spread():
    mean, variance = uncertainty.known_spread(CLIPS, range(3))
    torch.testing.assert_close(mean, IdealObserver(CLIPS)(some_past(3)))
    assert variance.shape == (3, 10, 1, 64, 64) and variance.min() >= 0 and 0.001 < variance.max() <= 0.25
    assert variance[mean == 0].max() < 1e-12
    assert variance[:, 9].sum() > variance[:, 0].sum()


def test_the_spread_of_two_digits_equals_all_their_places_drawn_one_by_one():
    random, images = np.random.default_rng(0), CLIPS.digits.images[:2]
    places = random.integers(8, 24, (2, 3, 2))
    weights = random.dirichlet(np.ones(3), 2)
    chances = np.zeros((2, 1, 37, 37))
    for digit, found in enumerate(places):
        for weight, (x, y) in zip(weights[digit], found, strict=True):
            chances[digit, 0, x, y] += weight
    mean, square = np.zeros((2, 64, 64))
    for a, b in itertools.product(range(3), repeat=2):
        frame = np.zeros((64, 64))
        for digit, (x, y) in enumerate((places[0, a], places[1, b])):
            box = frame[y : y + 28, x : x + 28]
            np.maximum(box, images[digit] / 255, out=box)
        mean += weights[0, a] * weights[1, b] * frame
        square += weights[0, a] * weights[1, b] * frame**2
    np.testing.assert_allclose(expected_frames(images, chances)[0], mean, atol=1e-12)
    np.testing.assert_allclose(expected_frames(images, chances, power=2)[0], square, atol=1e-12)


def test_the_known_spread_is_the_ideal_observers_error_on_average():
    truth = float_batch(CLIPS, range(64), 20)[:, 10:]
    mean, variance = uncertainty.known_spread(CLIPS, range(64))
    came, said = ((mean - truth).square().sum((1, 2, 3, 4)), variance.sum((1, 2, 3, 4)))
    error = (came - said).std().item() / 8
    assert abs((came - said).mean().item()) < 3 * error


@of_each_model
def test_features_are_what_the_model_paints_from(model):
    past = some_past()
    prediction, features = uncertainty.predict_with_features(model, past)
    with torch.inference_mode():
        assert torch.equal(prediction, model(past))
        painted = model.paint(features.flatten(0, 1)).unflatten(0, features.shape[:2])
    torch.testing.assert_close(painted, prediction)


def test_a_variance_head_learns_the_error_that_its_features_announce():
    torch.manual_seed(0)
    certain = torch.rand(24, 2, 1, 4, 4) < 0.5
    features = torch.cat([certain.float(), 1 - certain.float()], dim=2)
    true = torch.where(certain, 0.01, 0.16).repeat_interleave(2, -1).repeat_interleave(2, -2)
    squared = true * torch.randn(true.shape).square()
    head = uncertainty.VarianceHead(2, 2, hidden=8)
    losses = uncertainty.fit_variance(head, features, squared.clamp(0, 1), steps=200, lr=1e-2)
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.01
    with torch.inference_mode():
        said = head(features)
    assert said.shape == true.shape and said.min() >= 0 and said.max() <= 1 and not head.training
    for level in (0.01, 0.16):
        assert said[true == level].mean().item() == pytest.approx(level, rel=0.25)
    assert uncertainty.calibration_error(said.numpy(), squared.numpy(), 4) < 0.2


def test_calibration_by_hand():
    said, came = np.array([4.0, 1.0, 1.0, 4.0]), np.array([16.0, 1.0, 1.0, 0.0])
    bins = uncertainty.reliability(said, came, 2)
    np.testing.assert_array_equal(bins, [[1, 4], [1, 8]])
    assert uncertainty.calibration_error(said, came, 2) == pytest.approx((0 + (np.sqrt(8) - 2) / 2) / 2)
    assert uncertainty.calibration_error(said, said, 2) == 0


# --- the pictures ---


def test_pictures_of_the_inside_have_a_drawing_for_phones():
    skills = np.full((3, 20), 0.5)
    skills[0, 3] = np.nan
    for figure in (
        insides.probe_maps(
            {"velocity": skills}, ["pixels", "layer 1", "layer 2"], controls=1, divide=10.5, title="What"
        ),
        insides.reliability_plot({"model": ([0.01, 0.1], [0.02, 0.1])}, references={"ideal": ([0.01], [0.01])}),
    ):
        assert figure.narrow.get_figwidth() < figure.get_figwidth()


def test_the_map_shows_each_row_and_frame_in_its_place():
    skills = np.arange(6.0).reshape(2, 3) / 5
    axes = insides.probe_maps({"velocity": skills}, ["pixels", "layer 1"], first_frame=11).axes[0]
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), skills)
    assert image.get_extent() == [10.5, 13.5, -0.5, 1.5] and image.origin == "lower"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pixels", "layer 1"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: insides.probe_maps({"a": np.zeros((2, 3))}, ["one"]), "expected \\(1, frames\\)"),
        (lambda: insides.probe_maps({}, ["one"]), "panels"),
        (lambda: insides.reliability_plot({"a": ([0.0], [1.0])}), "expected two equal ones with numbers above 0"),
    ],
)
def test_pictures_that_cannot_be_drawn(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
