"""A ConvLSTM whose memory moves: hidden states that flow with each of a set of velocities.

After "Flow Equivariant Recurrent Neural Networks" (Keller 2025, arXiv 2507.14793), whose idea is taken to the ConvLSTM
of :mod:`vidlib.models.convlstm`. The memory has one copy, or *velocity channel*, for each velocity v; before every step
the copy is shifted by v, and all copies share one set of filters. A digit that flies with v stands still in v's copy.

The property: shift frame t of a video by t·u, and every state is the old one, shifted by t·u, in another channel:
H'_t(v) = shift(H_t(v - u), t·u). A plain ConvLSTM has it for u = 0 alone. It holds on the grid of the memory, for whole
places, away from the border, and for velocities v - u that are in the set.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vidlib.checks import check_counts, check_numbers, kind_of
from vidlib.models.convlstm import ConvLSTMCell
from vidlib.models.moving_layers import painter
from vidlib.video import check_shape, check_video

State = tuple[Tensor, Tensor]  # H and C, each (B, V, hidden, h, w): one copy for each velocity


def velocities(reach: int) -> list[tuple[int, int]]:
    """All velocities (rows, columns) up to ``reach`` places per frame each way, slowly changing first: the set V.

    >>> velocities(0), len(velocities(1)), velocities(1)[0]
    ([(0, 0)], 9, (-1, -1))
    """
    check_counts(0, reach=reach)
    line = range(-reach, reach + 1)
    return list(itertools.product(line, line))


def flow(maps: Tensor, reach: int) -> Tensor:
    """Shift each velocity channel one step along its velocity; what leaves is gone, and zeros come in.

    Args:
        maps: ``(B, V, C, h, w)`` with the channels of ``velocities(reach)``.

    Raises:
        ValueError: another number of velocity channels.
    """
    found = velocities(reach)
    check_shape("maps", maps, "B", len(found), "C", "h", "w")
    height, width = maps.shape[3:]
    padded = F.pad(maps, (reach,) * 4)
    rows_columns = [(reach - down, reach - right) for down, right in found]
    shifted = [padded[:, v, :, y : y + height, x : x + width] for v, (y, x) in enumerate(rows_columns)]
    return torch.stack(shifted, dim=1)


class FlowConvLSTMCell(nn.Module):
    """One layer: the step of :class:`vidlib.models.convlstm.ConvLSTMCell` in every velocity channel.

        H_t(v), C_t(v) = step(X_t, shift(H_{t-1}(v), v), shift(C_{t-1}(v), v))

    The filters are the same for all v, so that a layer has as many weights as a plain one.

    Args:
        inputs: channels of X.
        hidden: channels of H and C for each velocity.
        kernel: odd side of the filters in places of the map.
        reach: the fastest velocity, in places per frame along each axis; 0 is a plain ConvLSTM.
        forget_bias: see ``ConvLSTMCell``.

    Raises:
        ValueError: an even kernel or a number out of range.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 3, *, reach: int = 1, forget_bias: float = 1.0) -> None:
        super().__init__()
        check_counts(0, reach=reach)
        self.reach, self.count = reach, len(velocities(reach))
        self.step = ConvLSTMCell(inputs, hidden, kernel, forget_bias=forget_bias)

    def forward(
        self, inputs: Tensor | None, state: State | None = None, steps: int | None = None
    ) -> tuple[Tensor, State]:
        """Run the layer over time.

        Args:
            inputs: ``(B, T, C, h, w)``, seen alike by all velocity channels, or ``(B, T, V, C, h, w)``; ``None`` needs
                ``state`` and ``steps``.
            state: before the first step; ``None`` is empty.
            steps: T where there is no input.

        Returns:
            H of every step ``(B, T, V, hidden, h, w)`` and the last state.

        Raises:
            ValueError: another shape, or neither input nor state.
        """
        driven = None
        if inputs is None:
            check_counts(steps=steps)
            if not isinstance(state, tuple):
                raise ValueError(f"state is {kind_of(state)}, expected H and C, each (B, V, hidden, h, w).")
        else:
            check_shape("inputs", inputs, "B", "T", *([self.count] if inputs.ndim == 6 else []),
                        self.step.inputs, "h", "w")  # fmt: skip
            given = inputs if inputs.ndim == 6 else inputs[:, :, None]  # (B, T, V or 1, C, h, w)
            batch, steps = given.shape[:2]
            sums = self.step.from_input(rearrange(given, "b t v c h w -> (t b v) c h w"))  # all steps in one call
            driven = rearrange(sums, "(t b v) c h w -> t b v c h w", t=steps, b=batch)
        outputs = []
        for t in range(steps):
            state = self._step(None if driven is None else driven[t], state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state

    def _step(self, driven: Tensor | None, state: State | None) -> State:
        """One step: ``driven`` are the input's four sums, ``(B, V or 1, 4·hidden, h, w)``."""
        if state is None:  # H = 0: its convolution is the bias alone
            gates = driven + self.step.from_state.bias[:, None, None]
            gates = gates.expand(-1, self.count, -1, -1, -1)
            memory = None
        else:
            moved, memory = (flow(maps, self.reach) for maps in state)
            gates = self.step.from_state(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])
            gates = gates if driven is None else gates + driven
            memory = memory.flatten(0, 1)
        shape = gates.shape[:2]
        return tuple(maps.unflatten(0, shape) for maps in self.step.update(gates.flatten(0, 1), memory))


class FlowConvLSTM(nn.Module):
    """Encoder–forecaster of :class:`FlowConvLSTMCell` layers, which read the past and go on into the future.

    Space-to-depth and stem as in :class:`vidlib.models.convlstm.ConvLSTM` with ``shared=True``. A frame is painted from
    the largest value over all velocity channels: it does not depend on which channel a digit is in.

    Args:
        past, horizon, channels, size, patch, features, kernel, forget_bias: as there.
        hidden: channels of each layer *for each velocity*; there are (2·reach + 1)² velocities.
        reach: the fastest velocity in places per frame; a place is ``patch`` pixels wide, and a digit of Moving MNIST
            flies at most 3.6 pixels per frame.

    Raises:
        ValueError: numbers that do not fit together; in ``forward``, a wrong shape, dtype or range.
    """

    SMALLEST = {"features": 8, "hidden": [4, 4], "kernel": 3}

    def __init__(
        self,
        *,
        past: int = 10,
        horizon: int = 10,
        channels: int = 1,
        size: int = 64,
        patch: int = 4,
        features: int = 32,
        hidden: tuple[int, ...] | list[int] = (24, 24),
        kernel: int = 3,
        reach: int = 1,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError(f"hidden is {hidden!r}, expected the channels of each layer, such as (16, 16).")
        check_counts(past=past, horizon=horizon, channels=channels, size=size, patch=patch, features=features)
        check_numbers(forget_bias=forget_bias)
        if size % patch:
            raise ValueError(f"size is {size}, expected a multiple of patch, which is {patch}.")
        self.config = {
            "past": past, "horizon": horizon, "channels": channels, "size": size, "patch": patch,
            "features": features, "hidden": list(hidden), "kernel": kernel, "reach": reach, "forget_bias": forget_bias,
        }  # fmt: skip
        self.past, self.horizon, self.channels, self.size = past, horizon, channels, size
        depth = channels * patch**2
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(depth, features, 3, padding=1), nn.GELU())
        self.layers = nn.ModuleList(
            FlowConvLSTMCell(below, here, kernel, reach=reach, forget_bias=forget_bias)
            for below, here in zip((features, *hidden), hidden, strict=False)
        )
        self.paint = painter(sum(hidden), features, depth, nn.PixelShuffle(patch))

    def matrices(self) -> dict[int, list[nn.Parameter]]:
        """What Muon trains: the filters of the gates, four matrices on top of each other."""
        return {4: [module.weight for module in self.modules() if getattr(module, "stacked", 0) == 4]}

    def encode(self, past: Tensor) -> tuple[list[Tensor], list[State]]:
        """Read the past: H of every layer and step ``(B, T, V, hidden, h, w)``, and every layer's last state."""
        x = self.stem(past.flatten(0, 1)).unflatten(0, past.shape[:2])  # (B, T, features, h, w)
        outputs, states = [], []
        for layer in self.layers:
            x, state = layer(x)  # (B, T, V, hidden, h, w)
            outputs.append(x)
            states.append(state)
        return outputs, states

    def forecast(self, states: list[State], horizon: int) -> Tensor:
        """Go on with nothing to read: frames ``(B, horizon, C, H, W)``."""
        x, outputs = None, []
        for layer, state in zip(self.layers, states, strict=True):
            x, _ = layer(x, state, horizon)
            outputs.append(x.amax(2))  # (B, horizon, hidden, h, w)
        maps = torch.cat(outputs, dim=2)
        return self.paint(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])

    def forward(self, past: Tensor) -> Tensor:
        """``(B, past, C, H, W)`` in [0, 1] to ``(B, horizon, C, H, W)``."""
        check_video(past, "past", frames=self.past, channels=self.channels, size=(self.size, self.size))
        return self.forecast(self.encode(past)[1], self.horizon)
