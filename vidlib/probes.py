"""Probes: what a linear reader finds in the inner states of a model, and what it finds where nothing can be.

A probe (Alain & Bengio 2016, arXiv 1610.01644) is a linear model from a state to something that the clips' maker knows,
such as a digit's velocity. Linear readers find patterns in anything, so a probe's score says something only beside its
controls: the same probe on an untrained model, on pixels, and on shuffled labels. Hewitt & Liang (2019,
arXiv 1909.03368) call the distance to a control the *selectivity*.

Both models keep a map of vectors for every frame, ``(B, T, D, h, w)``. The probes read one vector: that of the place on
which the digit's middle lies. They are told which place to read, but not where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from vidlib.checks import check_counts, check_kind, check_numbers, kind_of
from vidlib.digits import SIZE
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.moving_mnist import MovingMNIST, Trajectories
from vidlib.video import check_shape, device_of, float_batch

_MIDDLE = SIZE // 2
OVERLAP = SIZE // 2  # boxes whose corners are less than this apart both ways share more than a quarter of their area
TARGETS = ("position", "velocity", "identity", "about to bounce", "in front")


# What is read -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def inner_states(model: nn.Module, past: Tensor) -> dict[str, Tensor]:
    """The maps that a model makes of each frame, seen and predicted, layer by layer.

    Of a ConvLSTM they are the hidden states H of the encoder (past) and of the forecaster (future). A transformer has
    as many tokens as past frames, and the k-th future frame is painted from the tokens of the k-th last past frame:
    those tokens stand for both frames.

    Args:
        model: a :class:`~vidlib.models.convlstm.ConvLSTM` or :class:`~vidlib.models.vit.VideoTransformer`.
        past: ``(B, past, C, H, W)``.

    Returns:
        ``"layer 1"`` and so on, of a transformer ``"embedding"`` first → ``(B, past + horizon, D, h, w)``.

    Raises:
        ValueError: another model, whose states have no known place.
    """
    check_kind((ConvLSTM, VideoTransformer), "a ConvLSTM or a VideoTransformer", model=model)
    if isinstance(model, ConvLSTM):
        seen, states = model.encode(past)
        imagined = model.forecast(states, model.horizon, past[:, -1])[1]
        layers = [torch.cat(halves, dim=1) for halves in zip(seen, imagined, strict=True)]
        return {f"layer {i}": maps for i, maps in enumerate(layers, 1)}
    tokens = {"embedding": model.tokens(past)}  # (B, T, N, dim)
    hooks = [
        blocks[-1].register_forward_hook(lambda _, __, out, name=f"layer {i}": tokens.__setitem__(name, out[0]))
        for i, blocks in enumerate(model.encoder, 1)
    ]
    try:
        model(past)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _as_maps(both_ways(x, model.horizon), model.grid) for name, x in tokens.items()}


def both_ways(tokens: Tensor, horizon: int) -> Tensor:
    """Tokens of past frames ``(B, T, …)``, then those that each future frame is painted from."""
    return torch.cat([tokens, tokens.flip(1)[:, :horizon]], dim=1)


def _as_maps(tokens: Tensor, grid: int) -> Tensor:
    return tokens.unflatten(2, (grid, grid)).permute(0, 1, 4, 2, 3)  # (B, T, D, h, w)


def at_digits(maps: Tensor, positions: np.ndarray, patch: int) -> np.ndarray:
    """The vector of the place on which each digit's middle lies.

    Args:
        maps: ``(B, T, D, h, w)``.
        positions: ``(B, n, T, 2)``, corners as (x, y) in pixels.
        patch: side of a place in pixels.

    Returns:
        ``(B, n, T, D)`` float32.
    """
    check_shape("maps", maps, "B", "T", "D", "h", "w")
    check_counts(patch=patch)
    clips, frames = maps.shape[:2]
    places = torch.from_numpy((np.asarray(positions)[:, :, :frames] + _MIDDLE) // patch)  # (B, n, T, 2)
    x, y = (places[..., axis].clamp(max=maps.shape[-1] - 1) for axis in (0, 1))
    clip, frame = torch.arange(clips)[:, None, None], torch.arange(frames)
    return maps.cpu().permute(0, 1, 3, 4, 2)[clip, frame, y, x].numpy()  # (B, n, T, D)


def states_at_digits(model: nn.Module, clips: MovingMNIST, count: int, *, batch: int = 16) -> dict[str, np.ndarray]:
    """:func:`inner_states` of the first clips, :func:`at_digits`: layer → ``(count, n, past + horizon, D)``."""
    check_counts(count=count, highest=len(clips))
    check_counts(batch=batch)
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, count, batch):
        indices = range(start, min(start + batch, count))
        states = inner_states(model, float_batch(clips, indices, model.past, device_of(model)))
        positions = clips.trajectories(indices).positions
        for layer, maps in states.items():
            parts.setdefault(layer, []).append(at_digits(maps, positions, model.patch))
    return {layer: np.concatenate(found) for layer, found in parts.items()}


def pixels_at_digits(clips: MovingMNIST, count: int, *, past: int = 10, side: int = 24, patch: int = 8) -> np.ndarray:
    """What the two last frames show around a digit, without any model: a control for :func:`states_at_digits`.

    It is a window of ``side``×``side`` pixels about the digit's place, averaged to 8×8 numbers in each of two frames.
    Of a future frame there are no pixels: its control are the two last frames seen, at the digit's last place.

    Returns:
        ``(count, n, frames, 128)`` float32.
    """
    check_counts(count=count, past=past, side=side, patch=patch)
    video = float_batch(clips, range(count), past)[:, :, 0]  # (B, past, H, W)
    margin = (side - patch) // 2
    before = torch.cat([video[:, :1], video[:, :-1]], dim=1)
    cells = []
    for frames in (before, video):
        windows = (
            F.pad(frames, (margin,) * 4).unfold(2, side, patch).unfold(3, side, patch)
        )  # (B, past, h, w, side, side)
        small = F.adaptive_avg_pool2d(windows.flatten(0, 3), 8).flatten(1)  # (B·past·h·w, 64)
        cells.append(small.unflatten(0, windows.shape[:4]))
    maps = torch.cat(cells, dim=-1).permute(0, 1, 4, 2, 3)  # (B, past, 128, h, w)
    found = at_digits(maps, clips.trajectories(range(count)).positions, patch)  # (B, n, past, 128)
    return np.concatenate([found, np.repeat(found[:, :, -1:], clips.frames - past, axis=2)], axis=2)


def targets(paths: Trajectories, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What can be asked of each digit in each frame; NaN where it is not known or makes no sense.

    - *position*: of its middle, (x, y) in pixels; *velocity*: from the frame before to this one;
    - *identity*: the name of the digit; *about to bounce*: whether the step into the next frame hits a wall;
    - *in front*: of two digits that overlap, whether this one was drawn last. Overlaps are the maximum of both, so that
      the pixels hold no trace of it: whoever reads it is mistaken.

    Args:
        paths: of B clips with n digits and T frames.
        labels: of the digit images, -1 for one without a name.

    Returns:
        position and velocity ``(B, n, T, 2)``, the others ``(B, n, T)``, all float64.
    """
    corners = paths.positions.astype(float)
    clips, count, frames, _ = corners.shape
    velocity = np.full_like(corners, np.nan)
    velocity[:, :, 1:] = np.diff(corners, axis=2)
    names = np.asarray(labels)[paths.digits].astype(float)
    names[names < 0] = np.nan
    hits = np.full((clips, count, frames), np.nan)
    hits[:, :, :-1] = paths.bounced[:, :, 1:]
    front = np.full((clips, count, frames), np.nan)
    if count == 2:
        near = (np.abs(corners[:, 0] - corners[:, 1]) < OVERLAP).all(-1)  # (B, T)
        for digit in (0, 1):
            front[:, digit][near] = digit  # digits are pasted in this order
    found = (corners + _MIDDLE, velocity, np.repeat(names[:, :, None], frames, axis=2), hits, front)
    return dict(zip(TARGETS, found, strict=True))


def shuffled(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels ``(B, n, T, …)`` dealt anew among digits: each keeps its frames together, and belongs to another digit."""
    order = np.random.default_rng(seed).permutation(labels.shape[0] * labels.shape[1])
    return labels.reshape(-1, *labels.shape[2:])[order].reshape(labels.shape)


# The readers --------------------------------------------------------------------------------------------------------


class Score(NamedTuple):
    """How well a probe read, as sums that can be drawn again clip by clip.

    Attributes:
        got, of: ``(B, T, parts)``. A value is the mean over the parts of Σ got / Σ of: with one part the share of the
            variance that is explained (R²), with one part for each class the balanced accuracy.
        chance: the value of a reader that has learned nothing: 0 of R², 1 / classes of the accuracy.
    """

    got: np.ndarray
    of: np.ndarray
    chance: float

    def value(self) -> float:
        """R² or balanced accuracy over all clips and frames."""
        return float(_ratio(self.got.sum((0, 1)), self.of.sum((0, 1))))

    def skill(self) -> float:
        """The value on a scale of 0, chance, to 1, all right; below 0 is worse than chance."""
        return self._scaled(self.value())

    def by_frame(self) -> np.ndarray:
        """The skill of each frame, ``(T,)``; NaN where there is nothing to ask."""
        return self._scaled(_ratio(self.got.sum(0), self.of.sum(0)))

    def interval(self, level: float = 0.95, draws: int = 400, seed: int = 0) -> tuple[float, float]:
        """Between which skills the true one lies, by drawing clips anew (bootstrap; Efron 1979)."""
        check_numbers(0, level=level)
        got, of = self.got.sum(1), self.of.sum(1)  # (B, parts)
        times = np.random.default_rng(seed).multinomial(len(got), np.full(len(got), 1 / len(got)), size=draws)
        skills = self._scaled(_ratio(times @ got, times @ of))
        low, high = np.nanquantile(skills, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def _scaled(self, value: np.ndarray | float) -> np.ndarray | float:
        return (value - self.chance) / (1 - self.chance)


def _ratio(got: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The mean over the last axis of got / of, without the parts of which there are none."""
    known = of > 0
    shares = np.divide(got, of, out=np.zeros_like(of, dtype=float), where=known)
    count = known.sum(-1)
    return np.where(count > 0, shares.sum(-1) / np.maximum(count, 1), np.nan)


def reader(labels: np.ndarray) -> Pipeline:
    """The linear reader for these labels: ridge regression where they have two axes, else logistic regression."""
    if labels.ndim == 2:
        return make_pipeline(StandardScaler(), Ridge(30.0))
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=300))


def probe(
    learn: tuple[np.ndarray, np.ndarray], judge: tuple[np.ndarray, np.ndarray], frames: slice = slice(None)
) -> Score | None:
    """Fit a linear reader on some clips and score it on others.

    Args:
        learn, judge: states ``(B, n, T, D)`` and labels ``(B, n, T, 2)``, numbers, or ``(B, n, T)``, classes; NaN where
            there is none. The clips of the two share no digit image.
        frames: which frames to fit and score together; those of the score.

    Returns:
        the score on ``judge``; ``None`` where the labels to learn from have less than two classes, or there are none.

    Raises:
        ValueError: shapes that don't fit together.
    """
    (x, y), (x_test, y_test) = ((_shaped(*pair)[0][:, :, frames], pair[1][:, :, frames]) for pair in (learn, judge))
    known, known_test = (np.isfinite(labels.reshape(*labels.shape[:3], -1)).all(-1) for labels in (y, y_test))
    numbers = y.ndim == 4
    classes = np.unique(y[known]) if not numbers else np.zeros(2)
    if not known.any() or not known_test.any() or len(classes) < 2:
        return None
    model = reader(y[known]).fit(x[known], y[known])
    read = model.predict(x_test[known_test])
    where = np.nonzero(known_test)
    parts = 1 if numbers else len(classes)
    got, of = np.zeros((2, len(x_test), x_test.shape[2], parts))
    if numbers:
        truth = y_test[known_test]
        varies = ((truth - truth.mean(0)) ** 2).sum(1)
        np.add.at(of, (where[0], where[2], 0), varies)
        np.add.at(got, (where[0], where[2], 0), varies - ((read - truth) ** 2).sum(1))
        return Score(got, of, 0.0)
    for part, name in enumerate(classes):
        here = y_test[known_test] == name
        np.add.at(of, (where[0][here], where[2][here], part), 1)
        np.add.at(got, (where[0][here], where[2][here], part), read[here] == name)
    return Score(got, of, 1 / len(classes))


def _shaped(states: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not (isinstance(states, np.ndarray) and isinstance(labels, np.ndarray)):
        raise ValueError(f"states and labels are {kind_of(states)} and {kind_of(labels)}, expected two arrays.")
    if states.ndim != 4 or labels.ndim not in (3, 4) or states.shape[:3] != labels.shape[:3]:
        raise ValueError(
            f"states have shape {states.shape} and labels {labels.shape}, expected (B, n, T, D) and (B, n, T) or "
            "(B, n, T, 2) of the same clips, digits and frames."
        )
    return states, labels


def selectivity(scores: Mapping[str, np.ndarray], probe: str = "trained") -> np.ndarray:
    """A probe's scores minus those of its best control, layer by layer (after Hewitt & Liang 2019).

    Args:
        scores: name → ``(layers,)``, or one number for a control without layers.
        probe: the name that is no control.
    """
    controls = [np.asarray(score, dtype=float) for name, score in scores.items() if name != probe]
    return np.asarray(scores[probe], dtype=float) - np.maximum.reduce(np.broadcast_arrays(*controls))
