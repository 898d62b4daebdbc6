"""The exercises and questions of notebook 5, inside the models. How to: :mod:`vidlib.exercises.data_lessons`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, NO_LOOP
from vidlib.exercises.questions import Question


def explained(read: np.ndarray, truth: np.ndarray) -> float:
    """The share of the variance of truth (N, 2) that a reading (N, 2) explains: 1 is all, 0 as good as the mean."""
    missed = ((read - truth) ** 2).sum()
    varies = ((truth - truth.mean(0)) ** 2).sum()  # what a reader misses who always says the mean
    return float(1 - missed / varies)


def _readings() -> dict[str, tuple]:
    random = np.random.default_rng(0)
    truth = random.normal(size=(40, 2)) * [3.0, 1.0] + [5.0, -2.0]
    return {
        "by hand": (np.array([[1.0, 0.0], [3.0, 2.0]]), np.array([[1.0, 0.0], [3.0, 4.0]])),
        "a good reading": (truth + 0.3 * random.normal(size=(40, 2)), truth),
        "worse than the mean": (-truth, truth),
    }


def _correlation(read: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([np.corrcoef(read[:, i], truth[:, i])[0, 1] ** 2 for i in (0, 1)]))


def _each_axis(read: np.ndarray, truth: np.ndarray) -> float:
    missed, varies = ((read - truth) ** 2).sum(0), ((truth - truth.mean(0)) ** 2).sum(0)
    return float((1 - missed / varies).mean())


def _from_zero(read: np.ndarray, truth: np.ndarray) -> float:
    return float(1 - ((read - truth) ** 2).sum() / (truth**2).sum())


def _one_mean(read: np.ndarray, truth: np.ndarray) -> float:
    return float(1 - ((read - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def _missed_share(read: np.ndarray, truth: np.ndarray) -> float:
    return 1 - explained(read, truth)


def selectivity(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """The trained model's score of each layer minus that of its best control there."""
    controls = [score for name, score in scores.items() if name != "trained"]
    best = np.maximum.reduce(np.broadcast_arrays(*controls))  # layer by layer; pixels have one number for all
    return scores["trained"] - best


def _scores() -> dict[str, tuple]:
    return {
        "by hand": (
            {"trained": np.array([0.5, 0.9]), "untrained": np.array([0.3, 0.6]), "pixels": 0.4, "shuffled": 0.0},
        ),
        "a control is better": (
            {"trained": np.array([0.2, 0.3, 0.1]), "untrained": np.array([0.1, 0.6, 0.0]), "pixels": -0.5},
        ),
    }


def _mean_of_controls(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    return scores["trained"] - np.mean(
        [score + 0 * scores["trained"] for n, score in scores.items() if n != "trained"], 0
    )


def _untrained_only(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    return scores["trained"] - scores["untrained"]


def _best_of_all_layers(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    return scores["trained"] - max(np.max(score) for name, score in scores.items() if name != "trained")


def _never_below_zero(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    return selectivity(scores).clip(0)


def steer(memory: Tensor, direction: Tensor, where: Tensor, amount: float) -> Tensor:
    """Memory (B, D, h, w), direction (D,), where (B, h, w) bool: pushed by amount at these places."""
    unit = direction / direction.norm()  # of length 1: amount alone says how far
    push = amount * unit[:, None, None]  # (D, 1, 1): the same at every place
    return memory + push * where[:, None]  # (B, 1, h, w): True counts 1, False 0


def _memories() -> list[tuple]:
    random = torch.Generator().manual_seed(0)
    memory = torch.randn(2, 3, 4, 5, generator=random)
    where = torch.rand(2, 4, 5, generator=random) < 0.4
    return [(memory, torch.tensor([3.0, 0.0, 4.0]), where, 10.0), (memory, torch.tensor([0.1, -0.2, 0.2]), where, -2.0)]


def _any_length(memory: Tensor, direction: Tensor, where: Tensor, amount: float) -> Tensor:
    return memory + amount * direction[:, None, None] * where[:, None]


def _everywhere(memory: Tensor, direction: Tensor, where: Tensor, amount: float) -> Tensor:
    return memory + amount * (direction / direction.norm())[:, None, None]


def _set_not_added(memory: Tensor, direction: Tensor, where: Tensor, amount: float) -> Tensor:
    return torch.where(where[:, None], amount * (direction / direction.norm())[:, None, None], memory)


def _length_by_sum(memory: Tensor, direction: Tensor, where: Tensor, amount: float) -> Tensor:
    return memory + amount * (direction / direction.abs().sum())[:, None, None] * where[:, None]


def without_head(mixed: Tensor, heads: int, head: int) -> Tensor:
    """What the heads have mixed, (M, N, dim) with the heads' shares beside each other, without head number head."""
    width = mixed.shape[-1] // heads
    rest = mixed.clone()
    rest[..., head * width : (head + 1) * width] = 0
    return rest


def _mixed() -> list[tuple]:
    mixed = 1 + torch.rand(2, 3, 8, generator=torch.Generator().manual_seed(0))
    return [(mixed, 4, 0), (mixed, 4, 3), (mixed, 2, 1)]


def _one_feature(mixed: Tensor, heads: int, head: int) -> Tensor:
    rest = mixed.clone()
    rest[..., head] = 0
    return rest


def _every_nth(mixed: Tensor, heads: int, head: int) -> Tensor:
    rest = mixed.clone()
    rest[..., head::heads] = 0
    return rest


def _all_others(mixed: Tensor, heads: int, head: int) -> Tensor:
    return mixed - without_head(mixed, heads, head)


def _cut_out(mixed: Tensor, heads: int, head: int) -> Tensor:
    width = mixed.shape[-1] // heads
    return torch.cat([mixed[..., : head * width], mixed[..., (head + 1) * width :]], dim=-1)


def ablation_effect(intact: np.ndarray, ablated: np.ndarray) -> tuple[float, float]:
    """Mean rise of the error, and its standard error; one error per clip, the same clips in both."""
    rise = ablated - intact  # clip by clip: that some clips are harder than others cancels
    return float(rise.mean()), float(rise.std(ddof=1) / np.sqrt(len(rise)))


def _errors() -> list[tuple]:
    random = np.random.default_rng(0)
    intact = 60 + 30 * random.random(12)
    return [
        (np.array([10.0, 20.0, 30.0]), np.array([11.0, 23.0, 32.0])),
        (intact, intact + 2 + random.normal(size=12)),
    ]


def _unpaired(intact: np.ndarray, ablated: np.ndarray) -> tuple[float, float]:
    spread = intact.var(ddof=1) + ablated.var(ddof=1)
    return float((ablated - intact).mean()), float(np.sqrt(spread / len(intact)))


def _spread_of_clips(intact: np.ndarray, ablated: np.ndarray) -> tuple[float, float]:
    rise = ablated - intact
    return float(rise.mean()), float(rise.std(ddof=1))


def _population(intact: np.ndarray, ablated: np.ndarray) -> tuple[float, float]:
    rise = ablated - intact
    return float(rise.mean()), float(rise.std() / np.sqrt(len(rise)))


def _fall(intact: np.ndarray, ablated: np.ndarray) -> tuple[float, float]:
    mean, error = ablation_effect(intact, ablated)
    return -mean, error


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two rows of numbers without ties: the correlation of their ranks."""
    ranks = [np.argsort(np.argsort(row)) for row in (a, b)]  # the second argsort turns an order into ranks
    return float(np.corrcoef(*ranks)[0, 1])


def _rows() -> dict[str, tuple]:
    random = np.random.default_rng(0)
    a = random.normal(size=25)
    return {
        "by hand": (np.array([1.0, 5.0, 2.0, 9.0]), np.array([10.0, 30.0, 40.0, 50.0])),
        "the same order on another scale": (a, np.exp(3 * a)),
        "loosely related": (a, a + random.normal(size=25)),
    }


def _of_values(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _sorted_once(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.argsort(a), np.argsort(b))[0, 1])


def _values_sorted(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.sort(a), np.sort(b))[0, 1])


def _share_in_place(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.argsort(np.argsort(a)) == np.argsort(np.argsort(b))).mean())


def calibration_error(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    """Numbers (N,) sorted by the variance that was said and cut into bins of as many; how far off they are."""
    order = np.argsort(variance, kind="stable")
    off = []
    for part in np.array_split(order, bins):
        said, came = np.sqrt(variance[part].mean()), np.sqrt(squared[part].mean())
        off.append(abs(said - came) / said)
    return float(np.mean(off))


def _said_and_came() -> dict[str, tuple]:
    random = np.random.default_rng(0)
    variance = random.uniform(0.01, 0.2, 60)
    return {
        "by hand": (np.array([4.0, 1.0, 1.0, 4.0]), np.array([16.0, 1.0, 1.0, 0.0]), 2),
        "calibrated but for chance": (variance, variance * random.normal(size=60) ** 2, 5),
        "it says too little": (variance, 3 * variance, 4),
    }


def _unsorted(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    pairs = zip(np.array_split(variance, bins), np.array_split(squared, bins), strict=True)
    return float(np.mean([abs(np.sqrt(v.mean()) - np.sqrt(e.mean())) / np.sqrt(v.mean()) for v, e in pairs]))


def _sorted_by_error(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    order = np.argsort(squared, kind="stable")
    return _unsorted(variance[order], squared[order], bins)


def _signed(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    parts = np.array_split(np.argsort(variance, kind="stable"), bins)
    roots = [(np.sqrt(variance[part].mean()), np.sqrt(squared[part].mean())) for part in parts]
    return float(np.mean([(said - came) / said for said, came in roots]))


def _share_of_what_came(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    parts = np.array_split(np.argsort(variance, kind="stable"), bins)
    roots = [(np.sqrt(variance[part].mean()), np.sqrt(squared[part].mean())) for part in parts]
    return float(np.mean([abs(said - came) / came for said, came in roots]))


def _without_roots(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    parts = np.array_split(np.argsort(variance, kind="stable"), bins)
    return float(np.mean([abs(variance[p].mean() - squared[p].mean()) / variance[p].mean() for p in parts]))


def _all_in_one(variance: np.ndarray, squared: np.ndarray, bins: int) -> float:
    said, came = np.sqrt(variance.mean()), np.sqrt(squared.mean())
    return float(abs(said - came) / said)


EXERCISES = (
    Exercise(
        name="explained",
        goal="The share of the variance of truth (N, 2) that a reading (N, 2) explains.",
        reference=explained,
        inputs=_readings,
        hints=(
            "Compare two readers: yours, and one that always says the mean of the truth.",
            "Both miss a sum of squares, over all rows and both columns. Their ratio is the share that is missed.",
            "`1 - ((read - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()`, as a float.",
        ),
        slips=(
            Slip(_correlation, "a correlation doesn't see that a reading is off by a factor or turned around"),
            Slip(
                _each_axis,
                "sum both axes before you divide: a mean of ratios gives an axis that hardly varies the same weight",
            ),
            Slip(_from_zero, "take the mean away from the truth: the reader to beat says the mean, not zero"),
            Slip(_one_mean, "each of the two axes has a mean of its own"),
            Slip(_missed_share, "this is the share that is missed"),
        ),
        tolerance=1e-6,
        package="vidlib.probes.probe",
    ),
    Exercise(
        name="selectivity",
        goal="The trained model's score of each layer minus that of its best control there.",
        reference=selectivity,
        inputs=_scores,
        hints=(
            "Which names of the dictionary are controls? All but one.",
            "In each layer take the largest of the controls; a single number counts for every layer.",
            "`np.maximum.reduce(np.broadcast_arrays(*controls))` is the best control of each layer.",
        ),
        slips=(
            Slip(_mean_of_controls, "a probe has to beat its best control, not their mean"),
            Slip(_untrained_only, "the pixels and the shuffled labels are controls as well"),
            Slip(_best_of_all_layers, "compare layer by layer: the best control may be best in another layer only"),
            Slip(_never_below_zero, "a control that is better than the model is a finding: leave it negative"),
        ),
        tolerance=1e-6,
        package="vidlib.probes.selectivity",
    ),
    Exercise(
        name="steer",
        goal="Push a memory by an amount in a direction, at some places only.",
        reference=steer,
        inputs=_memories,
        hints=(
            "Make the direction a unit vector first, so that the amount alone says how far.",
            "The channels are axis 1 of the memory: a (D,) becomes (D, 1, 1), and a (B, h, w) becomes (B, 1, h, w).",
            "`memory + amount * unit[:, None, None] * where[:, None]` with `unit = direction / direction.norm()`.",
        ),
        slips=(
            Slip(_any_length, "the direction has a length of its own: divide by its norm"),
            Slip(_everywhere, "only the places where `where` is True may move"),
            Slip(_set_not_added, "add the push to what is there, it doesn't take its place"),
            Slip(_length_by_sum, "the length of a vector is the root of its sum of squares"),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-5,
        package="vidlib.steering.steer",
    ),
    Exercise(
        name="without_head",
        goal="What the heads have mixed, without the share of one head.",
        reference=without_head,
        inputs=_mixed,
        hints=(
            "The heads' shares lie beside each other along the last axis: how wide is each?",
            "Head number `head`, counted from 0, begins at `head * width` and ends before `(head + 1) * width`.",
            "Clone first, then `rest[..., head * width : (head + 1) * width] = 0`.",
        ),
        slips=(
            Slip(_one_feature, "this is one feature, a head has dim / heads of them"),
            Slip(_every_nth, "a head's features lie beside each other, they don't alternate with those of the others"),
            Slip(_all_others, "this keeps the one head and silences all others"),
            Slip(_cut_out, "the width stays as it is: a silent head says zeros"),
        ),
        package="vidlib.steering.head_off",
    ),
    Exercise(
        name="ablation_effect",
        goal="By how much the error rises when something is switched off: the mean over clips, and its standard error.",
        reference=ablation_effect,
        inputs=_errors,
        hints=(
            "The two rows are errors of the same clips: look at the rise of each clip.",
            "The standard error of a mean is the standard deviation (of a sample: ddof=1) by the root of their number.",
            "`rise = ablated - intact`, then `rise.mean()` and `rise.std(ddof=1) / np.sqrt(len(rise))`.",
        ),
        slips=(
            Slip(_unpaired, "the clips are the same: take the spread of the differences, not of both rows"),
            Slip(_spread_of_clips, "this is the spread of single clips; that of their mean is smaller by a root"),
            Slip(_population, "a sample's standard deviation divides by n − 1: ddof=1"),
            Slip(_fall, "a rise of the error is positive"),
        ),
        tolerance=1e-6,
    ),
    Exercise(
        name="rank_correlation",
        goal="Spearman's correlation of two rows of numbers without ties: the correlation of their ranks.",
        reference=rank_correlation,
        inputs=_rows,
        hints=(
            "Turn each row into ranks: 0 for its smallest number, 1 for the next, and so on.",
            "`np.argsort` gives the order, the places of the sorted numbers. Sort that once more and you have ranks.",
            "`np.corrcoef(ranks_of_a, ranks_of_b)[0, 1]` with `np.argsort(np.argsort(a))` as ranks.",
        ),
        slips=(
            Slip(_of_values, "this correlates the values: one huge number outweighs all others"),
            Slip(_sorted_once, "one argsort is the order, not the ranks: sort the order once more"),
            Slip(_values_sorted, "sorting both rows tears their pairs apart"),
            Slip(_share_in_place, "this counts ranks that are equal; near misses count too"),
        ),
        tolerance=1e-6,
        package="vidlib.steering.rank_correlation",
    ),
    Exercise(
        name="calibration_error",
        goal="How far a variance that was said is off, as a share of itself: the mean over bins.",
        reference=calibration_error,
        inputs=_said_and_came,
        hints=(
            "Sort by what was *said*, cut into bins, and compare in each bin what was said with what came.",
            "`np.argsort(variance)` is the order, `np.array_split(order, bins)` the bins: indices into both rows.",
            "In a bin: `said` = √mean variance, `came` = √mean squared; the mean of `abs(said - came) / said`.",
        ),
        slips=(
            Slip(_unsorted, "the bins are made of numbers with like variance: sort first"),
            Slip(_sorted_by_error, "sort by what was said: sorted by the error, no prediction looks calibrated"),
            Slip(_signed, "too much in one bin and too little in another cancel: take the absolute value"),
            Slip(_share_of_what_came, "divide by what was said"),
            Slip(_without_roots, "compare the roots, which are errors in gray levels; variances are their squares"),
            Slip(_all_in_one, "one bin sees the whole only: cut it into parts"),
        ),
        tolerance=1e-6,
        package="vidlib.uncertainty.calibration_error",
        minutes=25,
    ),
)

QUESTIONS: tuple[Question, ...] = (
    Question(
        "front_readable",
        "Will a probe read which of two overlapping digits is in front?",
        choices=("yes", "no"),
    ),
    Question(
        "untrained_reads",
        "Which of these can be read nearly as well, or better, from a ConvLSTM that has never been trained?",
        choices=("position", "velocity", "identity"),
    ),
    Question("turn", "By how many pixels will the push move the digit within five frames?", unit="pixels"),
    Question(
        "swapped",
        "After the swap, what will the prediction look more like?",
        choices=("digits exchanged", "nothing happened"),
    ),
    Question(
        "worst_gate",
        "Which gate of the first layer, held closed or open, costs most?",
        choices=("input", "forget", "output"),
    ),
    Question(
        "best_map",
        "Which map ranks the patches most like their erasing does?",
        choices=("attention, last layer", "attention rollout", "gradient", "near in space", "late in time", "random"),
    ),
    Question(
        "knows",
        "Does the variance that a model says rise with the spread that nobody can know?",
        choices=("yes", "no"),
    ),
)
