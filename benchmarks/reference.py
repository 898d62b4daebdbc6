"""The shipped architectures with the same weights, written the way most public repositories write them.

ConvLSTM: time runs outermost; at every step, each layer convolves the concatenation of its input and its state, in
PyTorch's default memory layout. Transformer: attention as two products with the N×N weights between them, queries and
keys turned one after the other. What the package does otherwise is then measurable as a ratio.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidlib.models.convlstm import ConvLSTM, ConvLSTMCell
from vidlib.models.vit import Attention, VideoTransformer, rotate


class ReferenceCell(nn.Module):
    """One layer's step: a single convolution over input and state side by side (without peepholes)."""

    def __init__(self, cell: ConvLSTMCell) -> None:
        super().__init__()
        if cell.peephole is not None:
            raise ValueError("the cell has peepholes, expected one without: the reference has none.")
        weight = cell.from_state.weight
        if cell.from_input is not None:
            weight = torch.cat([cell.from_input.weight, weight], dim=1)
        self.hidden = cell.hidden
        self.gates = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2], padding=weight.shape[2] // 2)
        self.gates.weight, self.gates.bias = nn.Parameter(weight.detach().clone()), cell.from_state.bias

    def take_zeros(self) -> None:
        """Give a cell without input one of as many channels as its state has, with weights of zero."""
        weight = self.gates.weight.detach()
        self.gates.weight = nn.Parameter(torch.cat([torch.zeros_like(weight), weight], dim=1))

    def forward(self, x: Tensor | None, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Input ``(B, C, h, w)`` and state ``(B, hidden, h, w)`` to the next state."""
        if x is None:  # a layer that reads nothing has no use for the weights of an input
            weight = self.gates.weight[:, -self.hidden :]
            gates = F.conv2d(h, weight, self.gates.bias, padding=self.gates.padding)
        else:
            gates = self.gates(torch.cat([x, h], dim=1))
        i, f, candidate, o = torch.split(gates, self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(candidate)
        return torch.sigmoid(o) * torch.tanh(c), c


class ReferenceConvLSTM(nn.Module):
    """A :class:`vidlib.ConvLSTM` as a loop over time, then over layers.

    Args:
        model: whose weights to take.
        zeros: whether the forecaster's first layer, which has no input, convolves zeros all the same, as where one
            cell serves encoder and forecaster.
    """

    def __init__(self, model: ConvLSTM, zeros: bool = False) -> None:
        super().__init__()
        self.past, self.horizon = model.past, model.horizon
        self.encoder = nn.ModuleList(ReferenceCell(cell) for cell in model.encoder)
        self.forecaster = None  # the encoder's cells, where they are shared
        if model.forecaster:
            self.forecaster = nn.ModuleList(ReferenceCell(cell) for cell in model.forecaster)
        self.unread = 0  # channels of zeros that the forecaster reads
        if zeros and model.forecaster:
            self.forecaster[0].take_zeros()
            self.unread = self.forecaster[0].hidden
        elif zeros:
            self.unread = model.config["features"]
        self.stem, self.paint, self.moves = model.stem, model.paint, bool(model.config["layers"])

    def forward(self, past: Tensor) -> Tensor:
        """``(B, past, C, H, W)`` to ``(B, horizon, C, H, W)``."""
        maps = self.stem(past.flatten(0, 1)).unflatten(0, past.shape[:2])
        states = [(maps.new_zeros(len(past), cell.hidden, *maps.shape[-2:]),) * 2 for cell in self.encoder]
        for t in range(self.past):
            x = maps[:, t]
            for layer, cell in enumerate(self.encoder):
                states[layer] = cell(x, *states[layer])
                x = states[layer][0]
        seen, shown = torch.cat([h for h, _ in states], dim=1), []
        for _ in range(self.horizon):
            x = maps.new_zeros(len(past), self.unread, *maps.shape[-2:]) if self.unread else None
            for layer, cell in enumerate(self.forecaster or self.encoder):
                states[layer] = cell(x, *states[layer])
                x = states[layer][0]
            shown.append(torch.cat([h for h, _ in states], dim=1))
        if self.moves:  # each frame is made of the one before
            return self.paint(torch.cat(shown), past[:, -1], seen).unflatten(0, (self.horizon, -1)).transpose(0, 1)
        return torch.stack([self.paint(maps) for maps in shown], dim=1)


class ReferenceAttention(nn.Module):
    """Multi-head self-attention by the formula: the weights of every query on every key are a tensor in memory."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = attention.heads, attention.qkv, attention.out

    def forward(self, x: Tensor, angles: Tensor, return_attention: bool = False) -> tuple[Tensor, None]:
        """``(M, N, dim)`` to the same shape."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = rotate(q, angles), rotate(k, angles)
        scores = torch.einsum("mhid,mhjd->mhij", q, k) * q.shape[-1] ** -0.5
        mixed = torch.einsum("mhij,mhjd->mhid", scores.softmax(dim=-1), v)
        return self.out(mixed.transpose(1, 2).flatten(2)), None


def reference_transformer(model: VideoTransformer) -> VideoTransformer:
    """A copy of the model whose attention is :class:`ReferenceAttention`."""
    model = copy.deepcopy(model)
    for layer in model.encoder:
        for block in layer:
            block.attention = ReferenceAttention(block.attention)
    return model
