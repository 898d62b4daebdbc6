"""A painter that moves what it has seen: future frames are the last frame, cut into layers that fly on.

A painter that draws every frame from a small state must keep each digit's strokes in that state. This one finds them in
the last frame. It cuts the frame into *layers* (Wang & Adelson 1994), one for each thing that moves on its own, and
moves every layer from frame to frame by *dynamic filters*, which it reads from the hidden states (De Brabandere et al.
2016, arXiv 1605.09673). So the states have to say only where things go. Where they can't, the frame is drawn after all,
and a mask says how much of both is shown (Finn et al. 2016, arXiv 1605.07157).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vidlib.checks import check_counts, check_numbers
from vidlib.video import check_shape

_STEEP = 2.0  # times what the convolutions say, so that filters and masks can soon be sharp
_STILL = 2.0  # what it says of a filter's middle at first: a layer stays where it is, nearly


def slide(layers: Tensor, filters: Tensor) -> Tensor:
    """Move layers by a filter of their own at each pixel, first along the columns, then along the rows.

    A filter says where a pixel comes from: 1 in its middle is *stays*, 1 before its middle is *comes from above*, or
    from the left. What would come from outside of the frame is black.

    Args:
        layers: ``(B, K, H, W)``.
        filters: ``(B, 2, K, side, H, W)`` with odd side, along y and along x.
    """
    reach = filters.shape[3] // 2
    y, x = filters.movedim(3, -1).unbind(1)  # (B, K, H, W, side) each
    layers = (F.pad(layers, (0, 0, reach, reach)).unfold(2, 2 * reach + 1, 1) * y).sum(-1)
    return (F.pad(layers, (reach, reach)).unfold(3, 2 * reach + 1, 1) * x).sum(-1)


def spread(maps: Tensor, times: int) -> Tensor:
    """From places to pixels without seams: bilinear interpolation as two products of matrices.

    The same as ``F.interpolate``, whose backward pass adds pixel by pixel and takes several times as long.

    Args:
        maps: ``(M, N, h, w)``.
        times: how many times as high and wide.
    """
    rows, columns = (
        F.interpolate(torch.eye(size, dtype=maps.dtype, device=maps.device)[None], scale_factor=times, mode="linear")[0]
        for size in maps.shape[2:]
    )  # (h, h·times), (w, w·times)
    return rows.T @ (maps @ columns)


def painter(states: int, features: int, out: int, *last: nn.Module) -> nn.Sequential:
    """Two convolutions over hidden states, from which a frame is painted or something else is read."""
    return nn.Sequential(nn.Conv2d(states, features, 1), nn.GELU(), nn.Conv2d(features, out, 3, padding=1), *last)


class MovingLayers(nn.Module):
    """From the hidden states and the last frame to future frames.

    Args:
        states: channels of the hidden states of all layers together.
        features: channels between them and what is read.
        layers: into how many layers the last frame is cut.
        reach: pixels that a layer can move in one frame, each way.
        channels: of a frame; a pixel's channels move together.
        patch: side of a place of the map in pixels.
        alone: share of the training clips in which only moved layers are shown. Drawing is learned sooner: at first the
            mask would hide the layers, which then learn little. After stochastic depth (Huang et al. 2016, arXiv
            1603.09382).
    """

    def __init__(
        self, states: int, features: int, *, layers: int, reach: int, channels: int, patch: int, alone: float
    ) -> None:
        super().__init__()
        check_counts(states=states, features=features, layers=layers, reach=reach, channels=channels, patch=patch)
        check_numbers(0, 1, alone=alone)
        self.layers, self.reach, self.channels, self.patch, self.alone = layers, reach, channels, patch, alone
        side = 2 * reach + 1
        self.cut = painter(states, features, layers * patch**2, nn.PixelShuffle(patch))
        self.aim = painter(states, features, 2 * layers * side + 1)
        self.draw = painter(states, features, channels * patch**2, nn.PixelShuffle(patch))
        with torch.no_grad():
            self.aim[2].bias.zero_()
            self.aim[2].bias[:-1].view(2 * layers, side)[:, reach] = _STILL

    def cut_out(self, last: Tensor, seen: Tensor) -> Tensor:
        """The layers of the last frame, ``(B, layers, C, H, W)``: the frame times a mask of 0 to 1 for each.

        Args:
            last: ``(B, C, H, W)``.
            seen: the encoder's last hidden states, all layers side by side, ``(B, states, h, w)``.
        """
        return last[:, None] * torch.sigmoid(_STEEP * self.cut(seen))[:, :, None]

    def filters(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Where the light of each layer comes from, and how much of it is shown.

        Args:
            maps: hidden states, ``(B, states, h, w)``.

        Returns:
            Filters along y and x, ``(B, 2, layers, side, H, W)``, each with the sum 1; and the mask of the layers,
            ``(B, 1, H, W)``: 1 shows the layers alone, 0 what is drawn.
        """
        logits, shown = (_STEEP * self.aim(maps)).split([2 * self.layers * (2 * self.reach + 1), 1], dim=1)
        chances = rearrange(logits, "b (two k s) h w -> b two k s h w", two=2, k=self.layers).softmax(3)
        shares = torch.cat([chances.flatten(1, 3), shown.sigmoid()], dim=1)
        smooth = spread(shares, self.patch)
        return smooth[:, :-1].unflatten(1, chances.shape[1:4]), smooth[:, -1:]

    def fly(self, filters: Tensor, last: Tensor, seen: Tensor) -> Tensor:
        """The layers in every future frame, ``(T·B, layers, C, H, W)``.

        Args:
            filters: of T frames, ``(T·B, 2, layers, side, H, W)``.
            last: the last frame seen, ``(B, C, H, W)``.
            seen: the encoder's last hidden states, ``(B, states, h, w)``.
        """
        check_shape("last", last, len(seen), self.channels, "H", "W")
        layers, flown = self.cut_out(last, seen).transpose(1, 2).flatten(0, 1), []  # (B·C, layers, H, W)
        for step in filters.chunk(len(filters) // len(seen)):
            layers = slide(layers, step.repeat_interleave(self.channels, 0))
            flown.append(layers)
        return rearrange(torch.cat(flown), "(b c) k h w -> b k c h w", c=self.channels)

    def forward(self, maps: Tensor, last: Tensor, seen: Tensor) -> Tensor:
        """Paint the future.

        Where layers overlap, light l₁ and l₂ make 1 − (1 − l₁)(1 − l₂): never brighter than 1, and the brighter of the
        two where one of them is black or white, as in Moving MNIST.

        Args:
            maps: the forecaster's hidden states, all layers side by side, ``(T·B, states, h, w)``, frame after frame.
            last, seen: see :meth:`fly`.

        Returns:
            ``(T·B, C, H, W)``.
        """
        filters, shown = self.filters(maps)
        moved = 1 - math.prod((1 - self.fly(filters, last, seen)).unbind(1))
        if self.training:
            alone = torch.rand(len(seen), 1, 1, 1, device=maps.device) < self.alone
            shown = torch.where(alone.repeat(len(maps) // len(seen), 1, 1, 1), 1, shown)
        return shown * moved + (1 - shown) * self.draw(maps)
