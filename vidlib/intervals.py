"""How sure a mean over clips is: other clips would give another (Efron 1979, "Bootstrap methods: another look at the
jackknife").
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vidlib.checks import check_counts, check_mapping, check_numbers

_AT_ONCE = 4_000_000  # numbers of a bootstrap in memory


class Interval(NamedTuple):
    """A figure and the bootstrap interval around it."""

    value: float
    low: float
    high: float

    def text(self, decimals: int = 2, sign: bool = False) -> str:
        """
        >>> Interval(1.5, 1.25, 1.75).text(1), Interval(-0.5, -1, 0).text(1, sign=True)
        ('1.5 [1.2, 1.8]', '-0.5 [-1.0, +0.0]')
        """
        form = f"{'+' if sign else ''}.{decimals}f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"


def bootstrap(values: Any, weights: Any = None, *, level: float = 0.95, draws: int = 2_000, seed: int = 0) -> Interval:
    """The mean over clips with its percentile bootstrap interval.

    Clips are drawn anew, with putting back, as many as there are; the interval holds the middle ``level`` of the means
    of all draws. Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13.

    Args:
        values: ``(clips,)``, one number for each clip; of a difference, the difference of each clip.
        weights: ``(clips,)``; the figure is then the sum of values by the sum of weights, each over the drawn clips.
        level: the share of draws in the interval.
        draws: how often clips are drawn.
        seed: of the draws; the same seed draws the same clips.

    Raises:
        ValueError: no finite numbers, weights that sum to 0, or another argument out of range.
    """
    check_counts(draws=draws)
    check_counts(0, seed=seed)
    check_numbers(0, 1, open=True, level=level)
    values = np.asarray(values, float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float)
    sound = values.ndim == 1 and values.shape == weights.shape and len(values) > 0
    if not sound or not (np.isfinite(values).all() and np.isfinite(weights).all()):
        raise ValueError(
            f"values have shape {values.shape} and weights {weights.shape}, expected finite numbers, one per clip."
        )
    if (weights < 0).any() or weights.sum() == 0:
        raise ValueError("weights are negative or sum to 0, expected positive ones: there is nothing to average over.")
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(_finite(_means(values, weights, draws, seed)), tails)
    return Interval(float(values.sum() / weights.sum()), float(low), float(high))


def leaders(
    by_clip: Mapping[str, Any], weights: Mapping[str, Any] | None = None, *, smallest: bool = False
) -> list[str]:
    """Who has the largest mean over clips, and who shares the lead with it.

    Two share the lead where the 95% interval of their difference holds 0, or less than a thousandth of the mean that
    leads. All are drawn on the same clips, so that what is hard for both cancels.

    Args:
        by_clip: name → ``(clips,)``, as many for each; a clip without a number is NaN.
        weights: name → ``(clips,)``, where the figure is a sum of values by a sum of weights, as in :func:`bootstrap`.
        smallest: whether the smallest mean leads.

    Returns:
        The names in the lead, the leading mean first.

    Raises:
        ValueError: nothing to compare, or another number of clips or weights.
    """
    check_mapping("numbers, one per clip", by_clip=by_clip)
    values = {name: np.asarray(found, float) for name, found in by_clip.items()}
    shapes = {found.shape for found in values.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"by_clip has the shapes {sorted(shapes)}, expected (clips,), the same for all.")
    if weights is None:
        weights = {name: np.ones_like(found) for name, found in values.items()}
    check_mapping("weights, one per clip", weights=weights)
    for name, found in values.items():
        if np.shape(weights.get(name)) != found.shape:
            raise ValueError(f"weights[{name!r}] has the shape {np.shape(weights.get(name))}, expected {found.shape}.")
    sign = -1 if smallest else 1
    drawn, means = {}, {}
    for name, found in values.items():
        known = np.isfinite(found)
        share = known * np.asarray(weights[name], float)
        found = np.where(known, sign * found, 0.0)
        means[name] = found.sum() / share.sum() if share.sum() else -np.inf  # without any number nobody leads
        drawn[name] = _means(found, share)
    first = max(means, key=means.get)
    with np.errstate(invalid="ignore"):
        behind = {name: _finite(drawn[first] - drawn[name]) for name in means if name != first}
    nothing = abs(means[first]) / 1000  # rounding alone can say the same of every clip
    level = [name for name, less in behind.items() if len(less) and np.quantile(less, 0.025) <= nothing]
    return [first, *sorted(level, key=means.get, reverse=True)]


def _finite(means: np.ndarray) -> np.ndarray:
    return means[np.isfinite(means)]  # a rare group may be missing from a draw


def _means(values: np.ndarray, weights: np.ndarray, draws: int = 2_000, seed: int = 0) -> np.ndarray:
    """The figure of each draw of clips, ``(draws,)``; not finite where a draw has no weight."""
    parts = []
    for first in range(0, draws, step := max(1, _AT_ONCE // len(values))):
        often = _drawn(len(values), min(step, draws - first), seed + first)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append((often @ values) / (often @ weights))
    return np.concatenate(parts)


@functools.lru_cache(maxsize=2)
def _drawn(clips: int, draws: int, seed: int) -> np.ndarray:
    """How often each clip comes in each draw: ``(draws, clips)``."""
    return np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), draws).astype(np.float64)
