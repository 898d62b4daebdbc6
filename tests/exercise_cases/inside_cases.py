"""Answers to the exercises of notebook 5; what the tables hold is said in ``data_cases.py``."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import r2_score

from vidlib import probes, steering, uncertainty


def explained_in_parts(read, truth):
    missed = sum(((a - b) ** 2).sum() for a, b in zip(read, truth, strict=True))
    return float(1 - missed / (truth.var(0).sum() * len(truth)))


def selectivity_in_a_loop(scores):
    found = []
    for layer, score in enumerate(scores["trained"]):
        others = [np.broadcast_to(s, scores["trained"].shape)[layer] for name, s in scores.items() if name != "trained"]
        found.append(score - max(others))
    return np.array(found)


def steer_by_where(memory, direction, where, amount):
    push = amount * torch.nn.functional.normalize(direction, dim=0)
    return torch.where(where[:, None], memory + push.view(1, -1, 1, 1), memory)


def steer_in_place(memory, direction, where, amount):
    memory += amount * (direction / direction.norm())[:, None, None] * where[:, None]
    return memory


def steer_in_a_loop(memory, direction, where, amount):
    pushed = memory.clone()
    for channel, part in enumerate(direction / direction.norm()):
        pushed[:, channel] += amount * part * where
    return pushed


def head_in_place(mixed, heads, head):
    width = mixed.shape[-1] // heads
    mixed[..., head * width : (head + 1) * width] = 0
    return mixed


def head_by_a_mask(mixed, heads, head):
    parts = mixed.unflatten(-1, (heads, -1))
    keep = torch.arange(heads) != head
    return (parts * keep[:, None]).flatten(-2)


def head_from_one(mixed, heads, head):
    return head_by_a_mask(mixed, heads, head - 1)


def effect_by_sums(intact, ablated):
    n = len(intact)
    rise = [b - a for a, b in zip(intact.tolist(), ablated.tolist(), strict=True)]
    mean = sum(rise) / n
    return mean, (sum((r - mean) ** 2 for r in rise) / (n - 1) / n) ** 0.5


def ranks_by_counting(a, b):
    ranks = [(row[:, None] > row).sum(1) for row in (a, b)]
    gap = (ranks[0] - ranks[1]).astype(float)
    return float(1 - 6 * (gap**2).sum() / (len(a) * (len(a) ** 2 - 1)))


def calibration_in_halves(variance, squared, bins):
    order = variance.argsort(kind="stable")
    off = [abs(1 - (squared[part].mean() / variance[part].mean()) ** 0.5) for part in np.array_split(order, bins)]
    return float(sum(off) / bins)


RIGHT = {
    "explained": [explained_in_parts, lambda read, truth: r2_score(truth, read, multioutput="variance_weighted")],
    "selectivity": [selectivity_in_a_loop, probes.selectivity],
    "steer": [steer_by_where, steering.steer],
    "without_head": [head_by_a_mask],
    "ablation_effect": [effect_by_sums],
    "rank_correlation": [ranks_by_counting, steering.rank_correlation],
    "calibration_error": [calibration_in_halves, uncertainty.calibration_error],
}
MISTAKES = {
    "explained": [
        (lambda read, truth: r2_score(truth, read), "sum both axes before you divide"),
        (lambda read, truth: r2_score(read, truth, multioutput="variance_weighted"), "expected 0.6"),
        (lambda read, truth: float(1 - ((read - truth) ** 2).sum() / (truth**2).sum()), "says the mean, not zero"),
        (
            lambda read, truth: ((read - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum(),
            "the share that is missed",
        ),
        (lambda read, truth: 1 - ((read - truth) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0), "expected"),
    ],
    "selectivity": [
        (lambda scores: scores["trained"] - scores["untrained"], "the pixels and the shuffled labels"),
        (lambda scores: scores["trained"] - scores["pixels"], "(by hand)"),
        (lambda scores: selectivity_in_a_loop(scores).clip(0), "leave it negative"),
        (lambda scores: float(selectivity_in_a_loop(scores).max()), "expected"),
        (lambda scores: -selectivity_in_a_loop(scores), "the sign is turned"),
    ],
    "steer": [
        (lambda m, d, where, a: m + a * d[:, None, None] * where[:, None], "divide by its norm"),
        (lambda m, d, where, a: m + a * (d / d.norm())[:, None, None], "only the places where"),
        (steer_in_place, "it writes into `memory`"),
        (steer_in_a_loop, "is a Python loop"),
        (lambda m, d, where, a: steer_by_where(m, d, ~where, a), "at index"),
    ],
    "without_head": [
        (head_from_one, "expected"),
        (head_in_place, "it writes into `mixed`"),
        (lambda m, heads, head: head_by_a_mask(m, m.shape[-1], head), "this is one feature"),
        (lambda m, heads, head: m - head_by_a_mask(m, heads, head), "silences all others"),
        (lambda m, heads, head: head_by_a_mask(m.transpose(0, 1), heads, head), "has shape"),
    ],
    "ablation_effect": [
        (lambda a, b: (effect_by_sums(a, b)[0], (b - a).std() / len(a) ** 0.5), "ddof=1"),
        (lambda a, b: (effect_by_sums(a, b)[0], (b - a).std(ddof=1)), "the spread of single clips"),
        (lambda a, b: (effect_by_sums(a, b)[0], (b - a).std(ddof=1) / len(a)), "expected"),
        (lambda a, b: effect_by_sums(b, a), "a rise of the error is positive"),
        (lambda a, b: effect_by_sums(a, b)[0], "is a float, expected 2 values"),
    ],
    "rank_correlation": [
        (lambda a, b: float(np.corrcoef(a, b)[0, 1]), "this correlates the values"),
        (lambda a, b: float(np.corrcoef(np.argsort(a), np.argsort(b))[0, 1]), "sort the order once more"),
        (lambda a, b: np.corrcoef(a.argsort().argsort(), b.argsort().argsort()), "expected"),
        (lambda a, b: -ranks_by_counting(a, b), "the sign is turned"),
        (lambda a, b: float(np.corrcoef(np.sort(a), np.sort(b))[0, 1]), "tears their pairs apart"),
    ],
    "calibration_error": [
        (lambda v, e, bins: calibration_in_halves(v, e, 1), "one bin sees the whole only"),
        (lambda v, e, bins: calibration_in_halves(v**2, e**2, bins), "expected"),
        (lambda v, e, bins: float(np.abs(np.sqrt(v) - np.sqrt(e)).mean()), "expected"),
        (lambda v, e, bins: calibration_in_halves(e, v, bins) if e.all() else 0.0, "expected"),
        (lambda v, e, bins: bins * calibration_in_halves(v, e, bins), "2 times too large"),
    ],
}
