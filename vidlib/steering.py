"""Interventions: change one thing inside a model, and measure what becomes of its prediction.

A probe shows that something *can be read* from a state, an intervention whether the model *uses* it. All of these leave
the model as it was: states are copied, and what is switched off is on again at the end of its ``with`` block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidlib.checks import check_choice, check_counts, check_kind, check_numbers
from vidlib.digits import SIZE
from vidlib.intervals import Interval, bootstrap
from vidlib.models.convlstm import ConvLSTM, ConvLSTMCell, State
from vidlib.models.vit import VideoTransformer
from vidlib.video import check_shape

GATES = ("input", "forget", "output")
_ROW = {"input": 0, "forget": 1, "output": 3}  # where a cell's four sums have them; the candidate is no gate


# The memory as one map ----------------------------------------------------------------------------------------------


def as_memory(states: Sequence[State]) -> Tensor:
    """H and C of every layer, one below the other: ``(B, D, h, w)`` with D twice the sum of the layers' channels."""
    return torch.cat([part for state in states for part in state], dim=1)


def as_states(memory: Tensor, model: ConvLSTM) -> list[State]:
    """The states that :meth:`ConvLSTM.forecast` takes, from what :func:`as_memory` gave.

    Raises:
        ValueError: a memory of another size.
    """
    check_kind(ConvLSTM, "a ConvLSTM", model=model)
    hidden = [channels for channels in model.config["hidden"] for _ in range(2)]
    check_shape("memory", memory, "B", sum(hidden), "h", "w")
    parts = memory.split(hidden, dim=1)
    return list(zip(parts[::2], parts[1::2], strict=True))


def digit_places(corners: np.ndarray, patch: int, grid: int) -> Tensor:
    """The places that the box of a digit touches.

    Args:
        corners: ``(B, 2)``, (x, y) in pixels.
        patch: side of a place in pixels.
        grid: places along a side of the map.

    Returns:
        ``(B, grid, grid)`` bool.
    """
    check_counts(patch=patch, grid=grid)
    edges = patch * np.arange(grid)
    x, y = ((edges + patch > corners[:, axis, None]) & (edges < corners[:, axis, None] + SIZE) for axis in (0, 1))
    return torch.from_numpy(y[:, :, None] & x[:, None, :])


def steer(memory: Tensor, direction: Tensor, where: Tensor, amount: float) -> Tensor:
    """Push the memory in a direction at some places.

    Args:
        memory: ``(B, D, h, w)``.
        direction: ``(D,)``, of any length but 0: only where it points matters.
        where: ``(B, h, w)`` bool.
        amount: how far, in units of the memory.

    Returns:
        the pushed memory; ``memory`` stays as it was.
    """
    unit = direction / direction.norm()
    return memory + amount * unit[:, None, None] * where[:, None]


def swap_places(memory: Tensor, first: np.ndarray, second: np.ndarray, side: int) -> Tensor:
    """Exchange two squares of the memory in each clip.

    Args:
        memory: ``(B, D, h, w)``.
        first, second: ``(B, 2)`` whole numbers, upper left places of the squares as (x, y).
        side: of the squares in places.

    Raises:
        ValueError: squares that reach beyond the map or share a place.
    """
    check_counts(side=side)
    check_shape("memory", memory, "B", "D", "h", "w")
    swapped, most = memory.clone(), memory.shape[-1] - side
    for clip, (a, b) in enumerate(zip(np.asarray(first), np.asarray(second), strict=True)):
        if min(*a, *b) < 0 or max(*a, *b) > most or (abs(a - b) < side).all():
            raise ValueError(
                f"squares of {side} places begin at {a.tolist()} and {b.tolist()}, expected from 0 to {most} and apart."
            )
        (rows_a, rows_b), (columns_a, columns_b) = (
            [slice(start, start + side) for start in (a[axis], b[axis])] for axis in (1, 0)
        )
        swapped[clip, :, rows_a, columns_a] = memory[clip, :, rows_b, columns_b]
        swapped[clip, :, rows_b, columns_b] = memory[clip, :, rows_a, columns_a]
    return swapped


def centre_of_mass(frames: Tensor) -> Tensor:
    """Where the light of each frame lies in the mean: ``(B, T, 1, H, W)`` to ``(B, T, 2)``, (x, y) in pixels.

    Values are clamped to [0, 1]; a black frame has its middle.
    """
    light = frames.clamp(0, 1)[:, :, 0] + 1e-9
    total = light.sum((2, 3))
    x, y = (torch.arange(size, device=light.device) + 0.5 for size in (light.shape[3], light.shape[2]))
    return torch.stack([(light.sum(2) * x).sum(2) / total, (light.sum(3) * y).sum(2) / total], dim=-1)


# Switching off ------------------------------------------------------------------------------------------------------


@contextmanager
def head_off(model: VideoTransformer, layer: int, axis: str, head: int) -> Iterator[None]:
    """A transformer in which one attention head says nothing (Michel et al. 2019, arXiv 1905.10650).

    Args:
        layer: counted from 1.
        axis: ``"time"`` or ``"space"``.
        head: counted from 1.
    """
    attention = _block(model, layer, axis).attention
    check_counts(head=head, highest=attention.heads)
    width = attention.dim // attention.heads

    def silence(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        mixed = inputs[0].clone()  # (M, N, dim): the heads' shares beside each other
        mixed[..., (head - 1) * width : head * width] = 0
        return mixed

    hook = attention.out.register_forward_pre_hook(silence)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def layer_off(model: nn.Module, layer: int, axis: str | None = None) -> Iterator[None]:
    """A model without one layer: a transformer's tokens pass it unchanged, a ConvLSTM's layer shows an empty H.

    Args:
        layer: counted from 1.
        axis: of a transformer, ``"time"`` or ``"space"`` for that block alone (``None``: both).
    """
    if isinstance(model, ConvLSTM):
        modules, passed = _cells(model, layer), lambda _, __, out: (torch.zeros_like(out[0]), out[1])
    else:
        modules = [_block(model, layer, name) for name in ("time", "space") if axis in (None, name)]
        passed = lambda _, inputs, out: (inputs[0], out[1])  # noqa: E731
    hooks = [module.register_forward_hook(passed) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def gate_held(model: ConvLSTM, layer: int, gate: str, opened: float) -> Iterator[None]:
    """A ConvLSTM in which one gate of a layer stands still.

    Args:
        layer: counted from 1.
        gate: one of :data:`GATES`.
        opened: from 0, closed, to 1, open.
    """
    check_choice(GATES, gate=gate)
    check_numbers(0, 1, opened=opened)
    level = float(torch.logit(torch.tensor(opened), eps=1e-6))

    def held(cell: ConvLSTMCell, gates: Tensor, memory: Tensor | None) -> State:
        sums = list(gates.chunk(4, dim=1))  # (B, hidden, h, w) each
        sums[_ROW[gate]] = torch.full_like(sums[0], level)
        return ConvLSTMCell.update(cell, torch.cat(sums, dim=1), memory)

    with ExitStack() as end:
        for cell in _cells(model, layer):
            cell.update = lambda gates, memory, cell=cell: held(cell, gates, memory)
            end.callback(delattr, cell, "update")
        yield


def _cells(model: ConvLSTM, layer: int) -> list[ConvLSTMCell]:
    check_kind(ConvLSTM, "a ConvLSTM", model=model)
    check_counts(layer=layer, highest=len(model.encoder))
    return [stack[layer - 1] for stack in (model.encoder, model.forecaster) if stack is not None]


def _block(model: VideoTransformer, layer: int, axis: str) -> nn.Module:
    check_kind(VideoTransformer, "a VideoTransformer", model=model)
    check_counts(layer=layer, highest=len(model.encoder))
    check_choice(("time", "space"), axis=axis)
    return model.encoder[layer - 1][("time", "space").index(axis)]


# Erasing, and maps that claim to know what it does --------------------------------------------------------------------


def lit_patches(past: Tensor, patch: int) -> Tensor:
    """The patches of a clip ``(T, 1, H, W)`` that hold light: ``(n, 3)``, frame, row and column from 0."""
    cells = past[:, 0].unfold(1, patch, patch).unfold(2, patch, patch)  # (T, h, w, patch, patch)
    return (cells.amax((3, 4)) > 0.1).nonzero()


def erased(past: Tensor, patches: Tensor, patch: int) -> Tensor:
    """Copies of a clip ``(T, C, H, W)``, each with one patch of one frame black: ``(n, T, C, H, W)``.

    Args:
        patches: ``(n, 3)``, frame, row and column from 0.
    """
    copies = past.repeat(len(patches), 1, 1, 1, 1)
    for copy, (t, row, column) in zip(copies, patches.tolist(), strict=True):
        copy[t, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = 0
    return copies


@torch.inference_mode()
def erasing_changes(model: nn.Module, past: Tensor, patches: Tensor, *, batch: int = 16) -> Tensor:
    """How far each patch of the prediction moves when one patch of the past is erased.

    Args:
        past: one clip ``(T, C, H, W)``.
        patches: ``(n, 3)``, what to erase in turn.

    Returns:
        ``(n, horizon, h, w)``, squared differences summed over a predicted patch.
    """
    side = model.patch
    intact = model(past[None])
    changed = []
    for some in patches.split(batch):
        moved = (model(erased(past, some, side)) - intact).square().sum(2)  # (n, horizon, H, W)
        changed.append(moved.unfold(2, side, side).unfold(3, side, side).sum((4, 5)))
    return torch.cat(changed)


def last_look(attention: Sequence[dict[str, Tensor]], clip: int, t: int, place: int) -> Tensor:
    """What one token takes of every token in the last layer, heads averaged: ``(T, N)``, sums to 1.

    Args:
        attention: as :meth:`VideoTransformer.forward` returns it.
        clip, t, place: of the token that asks, from 0.
    """
    space = attention[-1]["space"][clip, t].mean(0)[place]  # (N,)
    time = attention[-1]["time"][clip].mean(1)[:, t]  # (N, T)
    return (space[:, None] * time).T


def attention_rollout(attention: Sequence[dict[str, Tensor]], clip: int, t: int, place: int) -> Tensor:
    """What one token takes of every token through all layers (Abnar & Zuidema 2020, arXiv 2005.00928).

    Each block passes half of a token on unchanged, its residual, and mixes the other half by its attention, heads
    averaged. Arguments and result as for :func:`last_look`.
    """
    frames, places = attention[0]["space"].shape[1], attention[0]["space"].shape[-1]
    share = attention[0]["space"].new_zeros(frames, places)
    share[t, place] = 1
    for layer in reversed(attention):  # backwards from the asker, so space comes before time
        space, time = layer["space"][clip].mean(1), layer["time"][clip].mean(1)  # (T, N, N), (N, T, T)
        share = (share + torch.einsum("tn,tnm->tm", share, space)) / 2
        share = (share + torch.einsum("tn,nts->sn", share, time)) / 2
    return share


def gradient_map(model: nn.Module, past: Tensor, t: int, row: int, column: int) -> Tensor:
    """How steeply a predicted patch depends on each past patch: gradient × pixel, its absolute values summed.

    Args:
        past: one clip ``(T, C, H, W)``.
        t, row, column: the predicted patch, from 0.

    Returns:
        ``(T, h, w)``.
    """
    side = model.patch
    seen = past[None].clone().requires_grad_()
    patch = model(seen)[0, t, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
    (slope,) = torch.autograd.grad(patch.sum(), seen)
    felt = (slope * seen).detach()[0].abs().sum(1)  # (T, H, W)
    return felt.unfold(1, side, side).unfold(2, side, side).sum((3, 4))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Whether two rows of numbers rise together (Spearman 1904): the correlation of their ranks, ties sharing theirs.

    1 is the same order, 0 no relation, -1 the opposite order; NaN where one of them does not vary.
    """
    ranks = [(row[:, None] > row).sum(1) + (row[:, None] == row).sum(1) / 2 for row in map(np.asarray, (a, b))]
    a, b = (rank - rank.mean() for rank in ranks)
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length else float("nan")


def mean_interval(values: np.ndarray, **options: Any) -> Interval:
    """The :func:`vidlib.intervals.bootstrap` of one number per clip; clips that have none are left out."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return bootstrap(known, **options) if len(known) else Interval(np.nan, np.nan, np.nan)
