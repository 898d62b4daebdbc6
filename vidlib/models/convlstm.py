"""The ConvLSTM of Shi et al. 2015 (arXiv 1506.04214): an LSTM whose products are convolutions.

The encoder–forecaster reads the past, copies its memory and unrolls the future. The forecaster is *input-free*: no
predicted frame is fed back, so nothing has to be scheduled or sampled, and in both halves a layer's whole input is
known before its first step. That is what makes it fast: the input-to-state convolutions of all time steps are one
call, layer by layer, and only the state-to-state convolution is left inside the loop.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from vidlib.checks import check_counts, check_flags, check_numbers, kind_of
from vidlib.models.moving_layers import MovingLayers, painter
from vidlib.video import check_shape, check_video

State = tuple[Tensor, Tensor]  # hidden state H and memory cell C, each (B, hidden, h, w)


class ConvLSTMCell(nn.Module):
    """One ConvLSTM layer (Shi et al. 2015, equation 3), with W the input's filters, U the state's:

        i = σ(W_xi * X + U_hi * H + w_ci ∘ C + b_i)        input gate
        f = σ(W_xf * X + U_hf * H + w_cf ∘ C + b_f)        forget gate
        C' = f ∘ C + i ∘ tanh(W_xc * X + U_hc * H + b_c)   memory
        o = σ(W_xo * X + U_ho * H + w_co ∘ C' + b_o)       output gate
        H' = o ∘ tanh(C')

    Args:
        inputs: channels of X; 0 for a layer without input.
        hidden: channels of H and C.
        kernel: odd side of the filters in pixels of the map.
        peephole: whether the gates see the memory (the w ∘ C terms, one weight per channel).
        forget_bias: start of b_f; 1 lets the memory live from the first step (Jozefowicz et al. 2015).

    Raises:
        ValueError: an even kernel, which could not keep the map's size.
    """

    def __init__(
        self, inputs: int, hidden: int, kernel: int = 3, *, peephole: bool = False, forget_bias: float = 1.0
    ) -> None:
        super().__init__()
        check_counts(0, inputs=inputs)
        check_counts(hidden=hidden, kernel=kernel)
        check_flags(peephole=peephole)
        check_numbers(forget_bias=forget_bias)
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}, expected an odd number: the map must keep its size.")
        self.inputs, self.hidden = inputs, hidden
        self.from_input = nn.Conv2d(inputs, 4 * hidden, kernel, padding=kernel // 2, bias=False) if inputs else None
        self.from_state = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2)
        for convolution in filter(None, (self.from_input, self.from_state)):
            convolution.stacked = 4  # its filters are those of four gates on top of each other
        self.peephole = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peephole else None
        with torch.no_grad():
            self.from_state.bias.zero_()
            self.from_state.bias[hidden : 2 * hidden] = forget_bias

    def update(self, gates: Tensor, memory: Tensor | None) -> State:
        """The pointwise half of a step.

        Args:
            gates: ``(B, 4·hidden, h, w)``, the four sums of convolutions and bias: i, f, candidate, o.
            memory: C ``(B, hidden, h, w)``, or ``None`` for the empty memory of the first step.

        Returns:
            H' and C'.
        """
        i, f, candidate, o = gates.chunk(4, dim=1)  # (B, hidden, h, w) each
        if self.peephole is not None and memory is not None:
            i, f = i + self.peephole[0] * memory, f + self.peephole[1] * memory
        new = torch.sigmoid(i) * torch.tanh(candidate)  # (B, hidden, h, w), as all that follows
        if memory is not None:
            new = new + torch.sigmoid(f) * memory
        if self.peephole is not None:
            o = o + self.peephole[2] * new
        return torch.sigmoid(o) * torch.tanh(new), new

    def forward(
        self, inputs: Tensor | None, state: State | None = None, steps: int | None = None
    ) -> tuple[Tensor, State]:
        """Run the layer over time.

        Args:
            inputs: ``(B, T, C, h, w)``; ``None`` for a layer without input, which needs ``state`` and ``steps``.
            state: H and C before the first step; ``None`` is empty.
            steps: T where there is no input.

        Returns:
            H of every step ``(B, T, hidden, h, w)`` and the last state.

        Raises:
            ValueError: an input where the layer has none or none where it has one, or another shape.
        """
        self._check(inputs, state, steps)
        driven = None
        if inputs is not None:
            steps = inputs.shape[1]
            # all T steps in one call; chunk, because the gradient of an index [t] would be a tensor of all T steps
            driven = self.from_input(_merge(inputs)).chunk(steps)  # T times (B, 4·hidden, h, w)
        outputs = []
        for t in range(steps):
            if state is None:  # H = 0: its convolution is the bias alone
                gates = driven[t] + self.from_state.bias[:, None, None]  # (B, 4·hidden, h, w)
                state = self.update(gates, None)
            else:
                gates = self.from_state(state[0])  # (B, 4·hidden, h, w)
                state = self.update(gates if driven is None else gates + driven[t], state[1])
            outputs.append(state[0])
        return _split(torch.cat(outputs), steps), state  # (B, T, hidden, h, w)

    def _check(self, inputs: Tensor | None, state: State | None, steps: int | None) -> None:
        if inputs is None:
            check_counts(steps=steps)
        elif self.from_input is None:
            raise ValueError(f"inputs is {kind_of(inputs)}, expected None: the layer was made with inputs=0.")
        else:
            check_shape("inputs", inputs, "B", "T", self.inputs, "h", "w")
        if state is not None or inputs is None:
            if not isinstance(state, tuple) or len(state) != 2:
                raise ValueError(f"state is {kind_of(state)}, expected H and C, each (B, hidden, h, w).")
            for each in state:
                check_shape("state", each, "B", self.hidden, "h", "w")


def _merge(video: Tensor) -> Tensor:
    """``(B, T, C, h, w)`` to ``(T·B, C, h, w)``: a view of what :func:`_split` gave, so channels_last stays so."""
    return rearrange(video, "b t c h w -> (t b) c h w")


def _split(frames: Tensor, steps: int) -> Tensor:
    """``(T·B, C, h, w)`` to ``(B, T, C, h, w)``."""
    return rearrange(frames, "(t b) c h w -> b t c h w", t=steps)


class ConvLSTM(nn.Module):
    """Encoder–forecaster of stacked ConvLSTM layers (Shi et al. 2015, figure 3).

    Frames are cut into ``patch``×``patch`` blocks whose pixels become channels, so that the maps are small; a stem of
    one 3×3 convolution reads them across the blocks' borders. The encoder's last states start the forecaster; two
    convolutions over the hidden states of *all* forecaster layers paint each future frame.

    Args:
        past: frames that the model reads.
        horizon: frames that it predicts in one go.
        channels: 1 for gray.
        size: height and width of a frame in pixels.
        patch: side of a space-to-depth block in pixels.
        features: channels between pixels and layers, in the stem and in the painter.
        hidden: channels of each layer.
        kernel: side of the layers' filters, in cells of the map.
        peephole, forget_bias: see :class:`ConvLSTMCell`.
        shared: whether the encoder's layers forecast as well, with nothing to read: half the weights, which see every
            clip twice, and digits fly on as they flew. ``forecaster`` is then ``None``.
        layers: 0 paints each frame from the hidden states alone. From 1 on, frames are not painted but moved: the last
            frame is cut into so many layers, see :class:`vidlib.models.moving_layers.MovingLayers`.
        reach: pixels that such a layer can move in one frame, each way.
        alone: share of the training clips in which layers are shown without what is drawn.

    Raises:
        ValueError: numbers that do not fit together; in ``forward``, a wrong shape, dtype or range.
    """

    OF_THE_PAINTER = ("layers", "reach", "alone")
    SMALLEST = {"features": 8, "hidden": [8, 8], "kernel": 3}

    def __init__(
        self,
        *,
        past: int = 10,
        horizon: int = 10,
        channels: int = 1,
        size: int = 64,
        patch: int = 4,
        features: int = 64,
        hidden: tuple[int, ...] | list[int] = (64, 64, 64),
        kernel: int = 5,
        peephole: bool = False,
        forget_bias: float = 1.0,
        shared: bool = False,
        layers: int = 0,
        reach: int = 4,
        alone: float = 0.5,
    ) -> None:
        super().__init__()
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError(f"hidden is {hidden!r}, expected the channels of each layer, such as (64, 64).")
        check_counts(past=past, horizon=horizon, channels=channels, size=size, patch=patch, kernel=kernel)
        check_counts(features=features, reach=reach)
        check_counts(0, layers=layers)
        check_flags(peephole=peephole, shared=shared)
        check_numbers(forget_bias=forget_bias)
        check_numbers(0, 1, alone=alone)
        check_counts(**{f"hidden[{layer}]": count for layer, count in enumerate(hidden)})
        if size % patch:
            raise ValueError(f"size is {size}, expected a multiple of patch, which is {patch}.")
        self.config = {
            "past": past, "horizon": horizon, "channels": channels, "size": size, "patch": patch,
            "features": features, "hidden": list(hidden), "kernel": kernel, "peephole": peephole,
            "forget_bias": forget_bias, "shared": shared, "layers": layers, "reach": reach, "alone": alone,
        }  # fmt: skip
        self.past, self.horizon, self.channels, self.size, self.patch = past, horizon, channels, size, patch
        options = {"kernel": kernel, "peephole": peephole, "forget_bias": forget_bias}
        depth = channels * patch**2
        below = [features, *hidden[:-1]]
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(depth, features, 3, padding=1), nn.GELU())
        self.encoder = nn.ModuleList(ConvLSTMCell(i, h, **options) for i, h in zip(below, hidden, strict=True))
        below[0] = 0  # the forecaster's first layer has no input
        cells = (ConvLSTMCell(i, h, **options) for i, h in zip(below, hidden, strict=True))
        self.forecaster = None if shared else nn.ModuleList(cells)
        if layers:
            sizes = {"layers": layers, "reach": reach, "channels": channels, "patch": patch, "alone": alone}
            self.paint = MovingLayers(sum(hidden), features, **sizes)
        else:
            self.paint = painter(sum(hidden), features, depth, nn.PixelShuffle(patch))

    def matrices(self) -> dict[int, list[nn.Parameter]]:
        """What Muon trains: the filters of the gates, four matrices on top of each other."""
        return {4: [module.weight for module in self.modules() if getattr(module, "stacked", 0) == 4]}

    def encode(self, past: Tensor) -> tuple[list[Tensor], list[State]]:
        """Read the past: H of every layer and step ``(B, T, hidden, h, w)``, and every layer's last state."""
        x = _split(self.stem(_merge(past)), past.shape[1])  # (B, T, features, h, w)
        outputs, states = [], []
        for cell in self.encoder:
            x, state = cell(x)  # (B, T, hidden, h, w)
            outputs.append(x)
            states.append(state)
        return outputs, states

    def forecast(self, states: list[State], horizon: int, last: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Unroll the future from the states.

        Args:
            states: H and C of every layer after the past.
            horizon: frames to paint.
            last: the last frame seen, ``(B, C, H, W)``; only a model with moving layers needs it.

        Returns:
            frames ``(B, horizon, C, H, W)``, and H of every layer and step.

        Raises:
            ValueError: moving layers, and no last frame.
        """
        x, outputs = None, []
        for cell, state in zip(self.forecaster or self.encoder, states, strict=True):
            x, _ = cell(x, state, horizon)  # (B, horizon, hidden, h, w)
            outputs.append(x)
        maps = torch.cat([_merge(h) for h in outputs], dim=1)  # (horizon·B, sum of hidden, h, w)
        if not self.config["layers"]:
            return _split(self.paint(maps), horizon), outputs  # (B, horizon, C, H, W)
        if last is None:
            raise ValueError("last is None, expected the last frame seen, (B, C, H, W): this model moves it.")
        seen = torch.cat([h for h, _ in states], dim=1)  # (B, sum of hidden, h, w)
        return _split(self.paint(maps, last, seen), horizon), outputs

    def forward(self, past: Tensor) -> Tensor:
        """``(B, past, C, H, W)`` in [0, 1] to ``(B, horizon, C, H, W)``."""
        check_video(past, "past", frames=self.past, channels=self.channels, size=(self.size, self.size))
        return self.forecast(self.encode(past)[1], self.horizon, past[:, -1])[0]
