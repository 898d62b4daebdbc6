"""Any set of models on the same clips: every metric clip by clip, what a prediction costs, how sure a difference is.

A mean over clips is not the truth: other clips would give another. So every figure comes with a bootstrap interval over
clips (Efron 1979, "Bootstrap methods: another look at the jackknife"). Two models are compared on the same clips, clip
by clip: what both find hard cancels, and a difference whose interval holds 0 is called none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vidlib.baselines import BASELINES, TOLD, baseline
from vidlib.checks import check_choice, check_counts, check_kind, check_mapping, kind_of
from vidlib.digits import SIZE
from vidlib.intervals import Interval, bootstrap
from vidlib.machine import choose_device
from vidlib.metrics import LPIPS, TITLES, Scores, load_lpips, lpips_file, measured
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import Clips, as_clips, check_model, float_batch
from vidlib.weights import load_trained, pretrained_names

SITUATIONS = ("neither", "overlap", "bounce", "both")
_AFTER = 2  # frames for which a bounce counts after the one in which a wall was hit
_WEIGHTS = {"sharpness": "truth_sharpness"}  # a metric that is a ratio of two means


class Cost(NamedTuple):
    """What one prediction costs: ``macs`` are multiply–adds of products and convolutions, ``None`` without any."""

    parameters: int
    macs: int | None
    milliseconds: float


def what_happens(clips: MovingMNIST, count: int, past: int = 10, horizon: int = 10) -> dict[str, np.ndarray]:
    """What happens in each predicted frame, from the flights: each frame of each clip is in one of four groups.

    - ``overlap``: the 28×28 boxes of two digits share more than a quarter of their area;
    - ``bounce``: a digit has hit a wall in the step into this frame or into one of the two before it;
    - ``both``, ``neither``.

    Returns:
        group → ``(count, horizon)`` bool.

    Raises:
        ValueError: clips that don't know their flights, or too short ones.
    """
    check_counts(count=count, past=past, horizon=horizon)
    if not knows_flights(clips):
        raise ValueError(f"clips is {kind_of(clips)}, expected a MovingMNIST, which knows the flights of its digits.")
    _, corners, bounced = clips.trajectories(range(count))
    if corners.shape[2] < past + horizon:
        raise ValueError(f"clips have {corners.shape[2]} frames, expected at least past + horizon = {past + horizon}.")
    frames = slice(past, past + horizon)
    apart = np.abs(corners[:, :, None] - corners[:, None])  # (clips, n, n, T, 2)
    shared = (SIZE - apart).clip(0).prod(-1) > SIZE**2 / 4
    shared &= ~np.eye(corners.shape[1], dtype=bool)[:, :, None]
    overlap = shared.any((1, 2))[:, frames]
    hit = bounced.any(1)
    bounce = np.logical_or.reduce([np.roll(hit, late, axis=1) for late in range(_AFTER + 1) if late < past], axis=0)
    bounce = bounce[:, frames]
    groups = (~overlap & ~bounce, overlap & ~bounce, bounce & ~overlap, overlap & bounce)
    return dict(zip(SITUATIONS, groups, strict=True))


def knows_flights(clips: Any) -> bool:
    """Whether clips can say where their digits are in each frame."""
    return callable(getattr(clips, "trajectories", None))


@torch.no_grad()
def cost(model: nn.Module, past: Tensor, repeats: int = 3) -> Cost:
    """Parameters, multiply–adds and milliseconds of one prediction of one clip, where model and clip are.

    Multiply–adds are those of convolutions and matrix products, as the published tables count them; gates, softmax and
    the like are left out. Milliseconds are the best of ``repeats``, on this machine as it is now.

    Args:
        past: ``(1, past, C, H, W)``.
    """
    check_model(model)
    check_counts(repeats=repeats)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # attention as products, counted
        model(past)
    seconds = min(_seconds(model, past) for _ in range(repeats))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops() // 2 or None, 1000 * seconds)


def _seconds(model: nn.Module, past: Tensor) -> float:
    _wait_for(past.device)
    started = time.perf_counter()
    model(past)
    _wait_for(past.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Comparison:
    """Models scored on the same clips.

    Attributes:
        figures: model → metric → ``(clips, horizon)`` float64.
        costs: model → :class:`Cost`.
        groups: what happens → ``(clips, horizon)`` bool; empty where the clips don't know their flights.
        data: which clips, in words.
        fingerprint: of the clips.
        missing: what was left out and why, one sentence each.
    """

    figures: Mapping[str, Mapping[str, np.ndarray]]
    costs: Mapping[str, Cost]
    groups: Mapping[str, np.ndarray]
    data: str
    fingerprint: str = ""
    missing: tuple[str, ...] = field(default=())

    @property
    def clips(self) -> int:
        """How many clips were scored."""
        return len(next(iter(self.figures.values()))["mse"])

    def beside(self, other: Comparison) -> Comparison:
        """These models and those of another comparison, which was made on the same clips, in one.

        Raises:
            ValueError: other clips, or a name that both have.
        """
        check_kind(Comparison, "what score_together gave", other=other)
        for comparison in (self, other):
            if comparison.fingerprint != self.fingerprint or comparison.clips != self.clips:
                raise ValueError(
                    f"the other models were scored on {other.clips:,} of {other.data}, expected {self.clips:,} of "
                    f"{self.data}: figures of different clips never stand in one table."
                )
        if twice := sorted(set(self.figures) & set(other.figures)):
            raise ValueError(f"both have {twice[0]!r}, expected another name for one of them.")
        missing = tuple(dict.fromkeys((*self.missing, *other.missing)))
        figures, costs = {**self.figures, **other.figures}, {**self.costs, **other.costs}
        return replace(self, figures=figures, costs=costs, missing=missing)

    def metrics(self) -> list[str]:
        """The metrics that at least one model has, in the order of the tables."""
        return [metric for metric in TITLES if any(metric in found for found in self.figures.values())]

    def interval(
        self,
        model: str,
        metric: str = "mse",
        *,
        against: str | None = None,
        group: str | None = None,
        frame: int | None = None,
        **options: Any,
    ) -> Interval:
        """A figure of a model with its interval over clips; or its difference to another model's, clip by clip.

        Args:
            against: another model: the figure is this model's minus that one's.
            group: only frames of this group.
            frame: only this frame of the horizon, from 0.
            options: level, draws and seed of :func:`bootstrap`.

        Raises:
            ValueError: an unknown model, metric or group, or a group without a frame.
        """
        check_choice(self.figures, **{"model": model} | ({} if against is None else {"against": against}))
        check_choice(self.figures[model], metric=metric)
        values, weights = self._parts(model, metric)
        if against is not None:
            values = values - self._parts(against, metric)[0]
        chosen = np.ones(values.shape, bool)
        if group is not None:
            check_choice(self.groups, group=group)
            chosen = self.groups[group]
        if frame is not None:
            check_counts(0, highest=values.shape[1] - 1, frame=frame)
            chosen = chosen & (np.arange(values.shape[1]) == frame)
        return bootstrap((values * chosen).sum(1), (weights * chosen).sum(1), **options)

    def _parts(self, model: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        values = self.figures[model][metric]
        ratio = _WEIGHTS.get(metric)
        return values, self.figures[model][ratio] if ratio else np.ones_like(values)

    def verdict(self, model: str, against: str, metric: str = "mse", **options: Any) -> str:
        """``"better"`` or ``"worse"``, or ``"none"`` where the interval of the paired difference holds 0.

        Of a metric that has no better side, such as sharpness, which noise raises too: ``"higher"`` or ``"lower"``.
        """
        found = self.interval(model, metric, against=against, **options)
        if found.low <= 0 <= found.high:
            return "none"
        arrow = TITLES[metric][0][-1]
        if arrow not in "↑↓":
            return "higher" if found.value > 0 else "lower"
        return "better" if (found.value > 0) == (arrow == "↑") else "worse"

    def per_frame(self, metric: str = "mse") -> dict[str, np.ndarray]:
        """Model → ``(horizon,)``, for the models that have the metric."""
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = {name: self._parts(name, metric) for name, found in self.figures.items() if metric in found}
            return {name: values.sum(0) / weights.sum(0) for name, (values, weights) in parts.items()}

    def scores(self) -> dict[str, Scores]:
        """The same as :func:`vidlib.metrics.evaluate` gives for each model."""
        return {
            name: Scores(
                {metric: self._mean(name, metric) for metric in TITLES if metric in found},
                {metric: self.per_frame(metric)[name] for metric in TITLES if metric in found},
                self.clips, self.data, self.fingerprint,
            )
            for name, found in self.figures.items()
        }  # fmt: skip

    def _mean(self, model: str, metric: str) -> float:
        values, weights = self._parts(model, metric)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(values.sum() / weights.sum())

    def table(self, metrics: Sequence[str] | None = None) -> str:
        """Markdown: one row per model with its metrics, its MSE's interval and its costs, and what was left out."""
        metrics = self.metrics() if metrics is None else list(metrics)
        check_choice(TITLES, **{f"metrics[{i}]": metric for i, metric in enumerate(metrics)})
        titles = [TITLES[metric][0] for metric in metrics]
        lines = [
            "| model | " + " | ".join([*titles, "MSE, 95%", "parameters", "multiply–adds", "ms per clip"]) + " |",
            "| --- |" + " ---: |" * (len(titles) + 4),
        ]
        for name, found in self.figures.items():
            cells = [f"{self._mean(name, m):.{TITLES[m][1]}f}" if m in found else "–" for m in metrics]
            interval, spent = self.interval(name), self.costs[name]
            cells += [f"{interval.low:.1f}–{interval.high:.1f}", f"{spent.parameters:,}" if spent.parameters else "–"]
            cells += [in_short(spent.macs) if spent.macs else "–", f"{spent.milliseconds:,.0f}"]
            lines.append(f"| {_plain(name)} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"Scored on {self.clips:,} of {self.data}.", *self._left_out()])

    def _left_out(self) -> list[str]:
        return [part for sentence in self.missing for part in ("", f"Left out: {sentence}")]

    def group_table(self, metric: str = "mse") -> str:
        """Markdown: a metric by what happens in a frame, with intervals over clips.

        Raises:
            ValueError: an unknown metric, or clips that don't know their flights.
        """
        check_choice(self.metrics(), metric=metric)
        if not self.groups:
            raise ValueError(f"{self.data} don't know their flights, expected clips that do, such as a MovingMNIST.")
        decimals = TITLES[metric][1] if metric not in ("mse", "mae") else 1
        shown = {group: int(frames.sum()) for group, frames in self.groups.items() if frames.any()}
        heads = [f"{group} ({frames:,} frames)" for group, frames in shown.items()]
        lines = [f"| {TITLES[metric][0]} | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(shown)]
        for name, found in self.figures.items():
            if metric in found:
                cells = [self.interval(name, metric, group=group).text(decimals) for group in shown]
                lines.append(f"| {_plain(name)} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"Frames of {self.clips:,} of {self.data}; [95% interval over clips]."])

    def difference_table(self, against: str, metrics: Sequence[str] = ("mse",)) -> str:
        """Markdown: each model minus another, clip by clip; a difference whose interval holds 0 is called none.

        Raises:
            ValueError: an unknown model or metric.
        """
        check_choice(self.figures, against=against)
        lines = [
            f"| minus {_plain(against)} | " + " | ".join(TITLES[m][0] for m in metrics) + " |",
            "| --- |" + " --- |" * len(metrics),
        ]
        for name in self.figures:
            if name == against:
                continue
            cells = []
            for metric in metrics:
                if metric not in self.figures[name]:
                    cells.append("–")
                    continue
                found = self.interval(name, metric, against=against)
                decimals = 2 if metric in ("mse", "mae") else TITLES[metric][1]
                cells.append(f"{found.text(decimals, sign=True)} {self.verdict(name, against, metric)}")
            lines.append(f"| {_plain(name)} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"Paired over {self.clips:,} of {self.data}; [95% interval over clips]."])


def score_together(
    models: Mapping[str, nn.Module | str] | Sequence[str] | None = None,
    clips: Any = None,
    *,
    limit: int | None = None,
    past: int = 10,
    horizon: int = 10,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    lpips: bool | LPIPS | None = None,
    progress: bool = True,
) -> Comparison:
    """Score any models on the same clips, clip by clip.

    Args:
        models: name → a model, the name of a shipped one or a baseline, or a ``.safetensors`` file; or a list of such
            names. ``None``: every baseline and every shipped model.
        clips: a ``MovingMNIST``, or anything that :func:`vidlib.video.as_clips` takes. Baselines that are told the
            flights are left out where the clips don't know them, and ``missing`` says so.
        limit: only the first so many clips.
        lpips: ``True``, ``False``, or a loaded network; ``None``: where its weights are on disk. They are never
            downloaded unless asked for with ``True``.
        past, horizon, batch_size, device, progress: as for :func:`vidlib.metrics.evaluate`.

    Raises:
        ValueError: no models, something that is none, or clips that fit none.
        RuntimeError: ``lpips=True`` where its weights can't be had.
    """
    names = [*BASELINES, *pretrained_names(), *TOLD] if models is None else models
    given = dict(names) if isinstance(names, Mapping) else _by_name(names)
    check_mapping("a model or its name", models=given)
    given_clips, clips = clips, as_clips(clips)
    count = len(clips) if limit is None else min(limit, len(clips))
    missing: list[str] = []
    network, missing_lpips = _lpips_network(lpips)
    missing += [missing_lpips] if missing_lpips else []

    figures, costs = {}, {}
    for name, model in given.items():
        if isinstance(model, str):
            if model in TOLD and type(given_clips) is not MovingMNIST:
                missing.append(f"{name}, which has to be told the flights: these clips don't know them.")
                continue
            model = _load(model, given_clips, past, horizon)
        check_kind(nn.Module, "a model or the name of one", **{f"models[{name!r}]": model})
        batches = list(
            measured(
                model, clips, batch_size=batch_size, past=past, horizon=horizon, device=device, limit=count,
                lpips=network, progress=progress,
            )
        )  # fmt: skip
        figures[name] = {metric: np.concatenate([batch[metric] for batch in batches]) for metric in batches[0]}
        costs[name] = _cost_where(model, clips, past, device)
    check_mapping("a model that fits the clips", models=figures)
    flights = knows_flights(given_clips)
    groups = what_happens(given_clips, count, past, horizon) if flights else {}
    return Comparison(figures, costs, groups, clips.describe(), clips.fingerprint(), tuple(missing))


def _by_name(names: Any) -> dict[str, str]:
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"models is {kind_of(names)}, expected a dictionary of name → model, or a list of names.")
    return dict(zip(names, names, strict=True))


def _load(name: str, clips: Any, past: int, horizon: int) -> nn.Module:
    if name.endswith(".safetensors"):
        return load_trained(name)
    check_choice([*BASELINES, *TOLD, *pretrained_names()], **{"the name of a model": name})
    return baseline(name, clips, horizon, past) if name in {**BASELINES, **TOLD} else load_trained(name)


def _lpips_network(lpips: bool | LPIPS | None) -> tuple[LPIPS | None, str]:
    """The network, and what to say where it was left out."""
    if lpips is None and not lpips_file().is_file():
        return None, (
            f"LPIPS, whose AlexNet weights ({lpips_file().name}, 233 MB) are not on this disk; lpips=True downloads "
            "them."
        )
    if lpips is None or lpips is True:
        return load_lpips(), ""
    return lpips or None, ""


def _cost_where(model: nn.Module, clips: Clips, past: int, device: torch.device | str | None) -> Cost:
    """:func:`cost` on one clip, on the device; the model is moved back."""
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    place = home if device is None else choose_device(device)
    try:
        return cost(model.to(place), float_batch(clips, [0], past, place))
    finally:
        model.to(home)


def in_short(number: float) -> str:
    """
    >>> in_short(16_500_000_000), in_short(123_000_000), in_short(56_528)
    ('16.5 G', '123 M', '56.5 k')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def _plain(name: str) -> str:
    return name.replace("|", "\\|")
