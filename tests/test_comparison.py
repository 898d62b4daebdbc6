"""Models on the same clips: what is scored, how sure a difference is, what happens in a frame, what was published."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import badges
from vidlib import intervals, load_pretrained
from vidlib.baselines import AllBlack, CopyLast
from vidlib.comparison import cost, score_together, what_happens
from vidlib.intervals import Interval, bootstrap, leaders
from vidlib.metrics import evaluate, lpips_file
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.moving_mnist import FREE_RANGE, MovingMNIST, Trajectories
from vidlib.moving_mnist import test_clips as benchmark_clips
from vidlib.published import PUBLISHED, published_table

CLIPS = 8


@pytest.fixture(scope="module")
def clips():
    return benchmark_clips("builtin", CLIPS)


@pytest.fixture(scope="module")
def scored(clips):
    """Every baseline and every shipped model, by one call."""
    return score_together(clips=clips, lpips=False, progress=False)


class Level(nn.Module):
    """Every pixel of every future frame has one value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.past, self.horizon, self.value = 10, 10, value

    def forward(self, past):
        return torch.full_like(past, self.value)


# ------------------------------------------------------------------------------------------------ bootstrap


def test_intervals_cover_a_known_mean_at_the_nominal_rate():
    """400 samples of 100 clips from a skewed distribution with mean 1: the 95% intervals hold it in about 95%."""
    samples = np.random.default_rng(0).gamma(4.0, 0.25, (400, 100))
    found = [bootstrap(sample, draws=1000) for sample in samples]
    covered = np.mean([low <= 1 <= high for _, low, high in found])
    assert 0.92 <= covered <= 0.97
    narrower = [bootstrap(sample, level=0.5, draws=1000) for sample in samples]
    assert 0.44 <= np.mean([low <= 1 <= high for _, low, high in narrower]) <= 0.56


def test_an_interval_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(1).normal(3, 2, 2_000)
    mean, low, high = bootstrap(values)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(2_000), rel=0.08)


def test_in_chunks_or_at_once_and_every_time_the_same(monkeypatch):
    values = np.random.default_rng(2).normal(size=50)
    whole = bootstrap(values, draws=400)
    assert bootstrap(values, draws=400) == whole and bootstrap(values, draws=400, seed=1) != whole
    monkeypatch.setattr(intervals, "_AT_ONCE", 50 * 130)
    for one, other in zip(bootstrap(values, draws=400), whole, strict=True):
        assert one == pytest.approx(other, abs=0.05)


def test_weights_make_a_ratio_of_sums():
    values, weights = np.array([2.0, 6.0, 0.0]), np.array([1.0, 2.0, 0.0])  # 2 per weight of one, 3 of the other
    assert bootstrap(values, weights, draws=500) == (8 / 3, 2.0, 3.0)
    assert bootstrap([5.0]) == (5, 5, 5)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (([],), "one per clip"),
        (([1.0, np.nan],), "finite numbers"),
        (([[1.0]],), r"values have shape \(1, 1\)"),
        (([1.0, 2.0], [1.0]), r"weights \(1,\)"),
        (([1.0], [0.0]), "nothing to average"),
        (([1.0, 2.0], [2.0, -1.0]), "weights are negative"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        bootstrap(*arguments)


def test_who_leads_and_who_is_level_with_it():
    """All are hard on the same clips, so intervals overlap widely; only clip by clip is a small difference seen."""
    dice = np.random.default_rng(3)
    hard = dice.gamma(2.0, 20.0, 60)
    found = {"lowest": hard - 9, "level": hard + dice.normal(0, 1, 60), "first": hard + dice.normal(0.05, 0.1, 60)}
    assert bootstrap(found["lowest"]).high > bootstrap(found["first"]).low
    assert leaders(found) == sorted(["first", "level"], key=lambda name: -found[name].mean())
    assert leaders(found, smallest=True) == ["lowest"]
    assert leaders({"one": [1.0], "other": [1.0], "rounded": [0.9999], "less": [0.99]}) == ["one", "other", "rounded"]


def test_a_share_leads_by_its_sums_and_clips_without_a_number_are_left_out():
    steady = np.ones(40)
    shares = {"half": 0.5 * steady, "most": np.linspace(0.5, 2.5, 40) * 0.9}
    assert leaders(shares, {"half": steady, "most": np.linspace(0.5, 2.5, 40)}) == ["most"]
    some = np.where(np.arange(40) < 3, np.nan, 2.0)
    assert leaders({"some": some, "none": np.nan * steady, "all": 1.9 * steady}) == ["some"]
    assert leaders({"none": np.nan * steady, "nor here": np.nan * steady}) == ["none"]


@pytest.mark.parametrize("by_clip", [{}, {"one": [1.0, 2.0], "other": [1.0]}, {"one": 1.0}, [1.0]])
def test_what_cannot_be_ranked_is_one_sentence(by_clip):
    with pytest.raises(ValueError, match="by_clip .* expected"):
        leaders(by_clip)


@pytest.mark.parametrize("weights", [{}, {"one": [1.0, 1.0]}, {"one": [1.0], "other": [1.0, 1.0]}])
def test_weights_that_do_not_fit_are_one_sentence(weights):
    with pytest.raises(ValueError, match="weights.* expected"):
        leaders({"one": [1.0, 2.0], "other": [1.0, 3.0]}, weights)


# ------------------------------------------------------------------------------------------------ one call for all


def test_one_call_scores_everything_on_the_same_clips(scored, clips):
    assert set(scored.figures) == {
        "copy-last", "all-black", "constant-velocity", "convlstm", "video-transformer",
        "video-transformer-perceptual", "ideal-observer", "oracle",
    }  # fmt: skip
    assert all(found["mse"].shape == (CLIPS, 10) for found in scored.figures.values())
    assert {"mse", "mae", "ssim", "ssim_published", "psnr", "sharpness", "identity"} == set(scored.metrics())
    assert scored.data == clips.describe() and scored.fingerprint == clips.fingerprint() and not scored.missing


def test_clip_by_clip_is_what_evaluate_averages(scored, clips):
    for name, model in (("copy-last", CopyLast()), ("convlstm", load_pretrained("convlstm"))):
        expected, found = evaluate(model, clips, progress=False), scored.scores()[name]
        assert found.overall == pytest.approx(expected.overall, rel=1e-5)
        for metric, values in expected.per_frame.items():
            np.testing.assert_allclose(found.per_frame[metric], values, rtol=1e-5)
        assert (found.clips, found.data, found.fingerprint) == (CLIPS, expected.data, expected.fingerprint)


def test_the_oracle_scores_zero(scored):
    assert not scored.figures["oracle"]["mse"].any() and not scored.figures["oracle"]["mae"].any()
    assert scored.interval("oracle", "sharpness") == pytest.approx((1, 1, 1))


def test_no_model_is_better_than_the_ideal_observer_on_average(scored):
    floor = scored.interval("ideal-observer").value
    for name in scored.figures.keys() - {"oracle", "ideal-observer"}:
        assert scored.interval(name).value > floor
        assert scored.verdict(name, "ideal-observer") == "worse"
    assert scored.verdict("oracle", "ideal-observer") == "better"
    assert scored.verdict("copy-last", "all-black", "sharpness") == "higher"  # which is no praise


def test_a_model_is_given_as_itself_by_name_or_as_a_file(clips, tmp_path):
    from vidlib.weights import PRETRAINED

    models = {"mine": AllBlack(), "shipped": "convlstm", "file": str(PRETRAINED / "convlstm.safetensors")}
    found = score_together(models, clips, limit=2, lpips=False, progress=False)
    np.testing.assert_array_equal(found.figures["shipped"]["mse"], found.figures["file"]["mse"])
    assert found.clips == 2 and found.costs["mine"].parameters == 0
    assert list(score_together(["copy-last"], clips, limit=2, lpips=False, progress=False).figures) == ["copy-last"]


def test_a_list_of_clips_has_no_flights_and_says_what_that_costs(clips):
    stored = np.asarray(clips.batch(range(2)))
    names = ["copy-last", "ideal-observer", "oracle"]
    found = score_together(names, stored, lpips=False, progress=False)
    assert "ideal-observer" not in found.figures and "oracle" not in found.figures
    assert len(found.missing) == 2 and all("told the flights" in sentence for sentence in found.missing)
    assert not found.groups and "identity" not in found.metrics()
    assert "Left out: oracle" in found.table()
    with pytest.raises(ValueError, match="don't know their flights"):
        found.group_table()


def test_lpips_is_never_downloaded_in_silence(clips, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    def forbidden(*arguments, **named):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("torch.hub.download_url_to_file", forbidden)
    found = score_together(["all-black"], clips, limit=2, progress=False)
    (sentence,) = found.missing
    assert "AlexNet" in sentence and "233 MB" in sentence and str(tmp_path) not in sentence
    assert "lpips" not in found.metrics() and sentence in found.table()
    # what is there is used, whatever it is
    lpips_file().parent.mkdir(parents=True)
    lpips_file().write_bytes(b"no weights")
    with pytest.raises(RuntimeError, match="LPIPS network could not be loaded"):
        score_together(["all-black"], clips, limit=2, progress=False)
    given = score_together(["all-black"], clips, limit=2, lpips=lambda a, b: (a - b).mean((1, 2, 3)), progress=False)
    assert "lpips" in given.metrics() and not given.missing


def test_newcomers_stand_beside_what_was_scored_on_the_same_clips(levels, scored, clips):
    both = scored.beside(levels)
    assert list(both.figures) == [*scored.figures, *levels.figures] and both.costs.keys() == both.figures.keys()
    assert both.interval("gray", against="convlstm").value == pytest.approx(
        levels.interval("gray").value - scored.interval("convlstm").value
    )
    with pytest.raises(ValueError, match="both have 'again', expected another name"):
        both.beside(levels)
    fewer = score_together({"few": Level(0.5)}, clips, limit=2, lpips=False, progress=False)
    with pytest.raises(ValueError, match="the other models were scored on 2 of .* never stand in one table"):
        scored.beside(fewer)
    other = score_together({"few": Level(0.5)}, MovingMNIST(CLIPS, digits="builtin"), lpips=False, progress=False)
    with pytest.raises(ValueError, match="never stand in one table"):
        scored.beside(other)


@pytest.mark.parametrize(
    "models, sentence",
    [
        ({}, "models is {}"),
        ([], "models is {}"),
        ("convlstm", "models is a str, expected a dictionary of name → model, or a list of names"),
        (["convlst"], "the name of a model is 'convlst', did you mean 'convlstm'"),
        ({"mine": 3}, r"models\['mine'\] is 3, expected a model"),
        ({"mine": nn.Identity()}, "expected one with whole numbers past and horizon"),
    ],
)
def test_what_is_no_model_is_one_sentence(models, sentence, clips):
    with pytest.raises(ValueError, match=re.escape(sentence) if sentence.endswith("{}") else sentence):
        score_together(models, clips, limit=1, lpips=False, progress=False)


# ------------------------------------------------------------------------------------------------ figures


@pytest.fixture(scope="module")
def levels(clips):
    """Two gray pages that differ by a known amount, on the same clips."""
    models = {"dark": Level(0.0), "gray": Level(0.1), "again": Level(0.1)}
    return score_together(models, clips, lpips=False, progress=False)


def test_a_paired_difference_knows_what_unpaired_ones_do_not(levels, clips):
    """The error of a gray page g is that of a black one, minus 2·g·light + 4096·g²: only the light varies."""
    difference = levels.interval("gray", against="dark")
    light = clips.batch(range(CLIPS))[:, 10:].double().div(255).sum((2, 3, 4)).numpy()
    expected = 4096 * 0.01 - 0.2 * light.mean()
    assert difference.value == pytest.approx(expected, rel=1e-6)
    width = difference.high - difference.low
    alone = levels.interval("gray")
    assert width < 0.5 * (alone.high - alone.low), "what both find hard cancels"


def test_a_difference_within_its_interval_is_none(levels):
    assert levels.verdict("gray", "again") == "none" and levels.interval("gray", against="again") == (0, 0, 0)
    assert levels.verdict("gray", "dark") == "worse" or levels.verdict("gray", "dark") == "better"
    for metric in ("mse", "psnr"):  # less is better in one, more in the other
        a, b = levels.verdict("gray", "dark", metric), levels.verdict("dark", "gray", metric)
        assert {a, b} == {"better", "worse"}
    assert levels.verdict("gray", "dark", "sharpness") == "none"  # neither has an edge
    assert "none |" in levels.difference_table("gray") and "| gray |" not in levels.difference_table("gray")


def test_groups_and_frames_add_up_to_the_whole(scored):
    values = scored.figures["convlstm"]["mse"]
    frames = [scored.interval("convlstm", frame=t).value for t in range(10)]
    np.testing.assert_allclose(frames, values.mean(0))
    np.testing.assert_allclose(frames, scored.per_frame("mse")["convlstm"])
    present = {group: chosen for group, chosen in scored.groups.items() if chosen.any()}
    total = sum(scored.interval("convlstm", group=g).value * chosen.sum() for g, chosen in present.items())
    assert total / values.size == pytest.approx(scored.interval("convlstm").value)


def test_tables_say_what_they_are_of(scored):
    table = scored.table(["mse", "identity"])
    head, _, *rows = table.splitlines()
    assert head.count("|") == rows[0].count("|") == 8
    assert f"Scored on {CLIPS} of {scored.data}." in table
    assert "| oracle | 0.00 |" in table and "– |" in rows[0]
    assert "frames)" in scored.group_table("mse") and "[" in scored.group_table("identity")
    with pytest.raises(ValueError, match="metric is 'mze', did you mean 'mse'"):
        scored.group_table("mze")


# ------------------------------------------------------------------------------------------------ what happens


class Straight(MovingMNIST):
    """Digits that fly by whole pixels and turn where they would leave: what a tracker can know to the pixel."""

    def trajectories(self, indices):
        indices = np.asarray(indices)
        drawn = np.random.default_rng(5)
        start = drawn.integers(0, FREE_RANGE + 1, (len(self), 2, 2))
        speed = drawn.integers(-3, 4, (len(self), 2, 2))
        start[::2, :, 0], speed[::2, :, 0] = (3, 33), 0  # every other pair flies up and down, far from each other
        start, speed = start[indices], speed[indices]
        place = start[:, :, None] + speed[:, :, None] * np.arange(self.frames)[:, None]
        turns, rest = np.divmod(place, FREE_RANGE)
        corners = np.where(turns % 2, FREE_RANGE - rest, rest)
        before = np.concatenate([turns[:, :, :1], turns[:, :, :-1]], axis=2)
        digits = drawn.integers(0, len(self.digits), (len(self), 2))[indices]
        return Trajectories(digits, corners, (turns != before).any(-1))


def test_constant_velocity_is_exact_away_from_bounces_and_overlaps():
    clips = Straight(24, digits="builtin", split="test", seed=0)
    errors = score_together(["constant-velocity"], clips, lpips=False, progress=False).figures["constant-velocity"]
    _, corners, bounced = clips.trajectories(range(24))
    apart = (np.abs(corners[:, 0] - corners[:, 1]) >= 28).any(-1)  # (clips, 20)
    straight = ~bounced[:, :, 7:].any((1, 2)) & apart[:, 6:10].all(1)  # it looks at frames 7 to 10
    assert straight.sum() >= 2
    future = clips.batch(range(24))[:, 10:].double() / 255
    faint = (future * (future <= 0.1)).square().sum((2, 3, 4)).numpy()  # what the tracker takes for background
    np.testing.assert_allclose(errors["mse"][straight], faint[straight], atol=1e-9)
    assert errors["mse"][~straight].mean() > 10


def test_what_happens_is_read_from_the_flights(clips):
    groups = what_happens(clips, CLIPS)
    assert sum(chosen.astype(int) for chosen in groups.values()).tolist() == np.ones((CLIPS, 10), int).tolist()
    _, corners, bounced = clips.trajectories(range(CLIPS))
    for clip, frame in np.ndindex(CLIPS, 10):
        at = 10 + frame
        (x0, y0), (x1, y1) = corners[clip, :, at]
        shared = max(0, 28 - abs(int(x0 - x1))) * max(0, 28 - abs(int(y0 - y1)))
        hit = bounced[clip, :, at - 2 : at + 1].any()
        name = {(0, 0): "neither", (1, 0): "overlap", (0, 1): "bounce", (1, 1): "both"}
        assert groups[name[int(shared > 28 * 28 / 4), int(hit)]][clip, frame]


def test_one_digit_never_overlaps_and_a_short_past_has_no_frames_before_it():
    alone = MovingMNIST(6, digits="builtin", n_digits=1)
    groups = what_happens(alone, 6, past=1, horizon=19)
    assert not groups["overlap"].any() and not groups["both"].any() and groups["bounce"].any()
    with pytest.raises(ValueError, match="clips have 20 frames, expected at least past"):
        what_happens(alone, 6, horizon=11)
    with pytest.raises(ValueError, match="clips is a list, expected a MovingMNIST"):
        what_happens([], 1)


# ------------------------------------------------------------------------------------------------ costs


def test_multiply_adds_are_counted_as_by_hand():
    model = ConvLSTM(past=2, horizon=3, size=16, patch=4, features=8, hidden=(6,), kernel=3)
    places = 4 * 4
    stem, paint = 2 * places * 8 * 16 * 9, 3 * places * (6 * 8 + 8 * 16 * 9)
    read = 2 * places * 4 * 6 * 8 * 9  # input-to-state, of the encoder alone: nothing goes into the forecaster
    carried = (1 + 3) * places * 4 * 6 * 6 * 9  # state-to-state: the first step has an empty state
    found = cost(model, torch.rand(1, 2, 1, 16, 16))
    assert found.macs == stem + paint + read + carried
    assert found.parameters == sum(p.numel() for p in model.parameters()) and found.milliseconds > 0


def test_attention_is_counted_too():
    small = VideoTransformer(**VideoTransformer.SMALLEST)
    without = cost(small, torch.rand(1, 10, 1, 64, 64)).macs
    linear = sum(m.in_features * m.out_features for m in small.modules() if isinstance(m, nn.Linear)) * 640
    assert without > linear > 0, "more than the products of its linear layers with 10·64 tokens"


def test_a_model_without_products_has_none():
    assert cost(CopyLast(), torch.rand(1, 10, 1, 64, 64)).macs is None


# ------------------------------------------------------------------------------------------------ published


def test_published_figures_equal_the_protocol_page():
    page = badges.ROOT.parent / "shared" / "benchmark-protocol.md"
    if not page.is_file():
        pytest.skip("the protocol page is not beside this checkout")
    lines = page.read_text(encoding="utf-8").split("## Published", 1)[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert len(rows) == len(PUBLISHED)

    def numbers(cell):
        return [None if part.strip() == "–" else float(part) for part in re.sub(r"\(.*\)", "", cell).split("/")]

    def padded(cell):
        return tuple((numbers(cell) + [None] * 3)[:3])

    for (model, parameters, gmacs, short, long, source), row in zip(rows, PUBLISHED, strict=True):
        assert (model, parameters, float(gmacs), source) == (row.model, f"{row.parameters}M", row.gmacs, row.source)
        assert (padded(short), padded(long)) == (row.short, row.long)
        assert row.note == "".join(re.findall(r"\((.*)\)", short))


def test_the_published_table_says_its_protocol_and_notebook_2_has_the_same_figures():
    text = published_table()
    assert "mnist_test_seq.npy" in text and "best epoch was chosen" in text
    convlstm = PUBLISHED[0]
    assert f"| {convlstm.model} | 15.0M | 56.8 | 29.8 / 90.64 / 0.9288 | 22.41 / 73.07 / 0.948 |" in text
    notebook = (badges.ROOT / "notebooks" / "02_convlstm.ipynb").read_text(encoding="utf-8")
    assert all(f"{error:.2f}" in notebook for error in convlstm.errors().values())
    assert PUBLISHED[1].errors() == {200: 27.78}


def test_an_interval_in_words():
    assert Interval(1.0, 0.5, 1.25).text() == "1.00 [0.50, 1.25]"
