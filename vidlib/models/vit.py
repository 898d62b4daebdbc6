"""A vision transformer for video: patches as words, attention over space and over time.

Dosovitskiy et al. 2020 (arXiv 2010.11929) for the patches, Bertasius et al. 2021 (TimeSformer, arXiv 2102.05095) for
attending to time and space in turn, Su et al. 2021 (RoFormer, arXiv 2104.09864) for the rotary positions, Zhang &
Sennrich 2019 (RMSNorm, arXiv 1910.07467) for the normalisation, Tang et al. 2024 (PredFormer, arXiv 2410.04733) for
using it as a predictor: the tokens that enter as the ten past frames leave as the ten future ones, here in the opposite
order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidlib.checks import check_choice, check_counts
from vidlib.video import check_video


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762): softmax(QKᵀ/√d)·V per head.

    Args:
        dim: width of a token.
        heads: number of heads; divides ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, angles: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Mix tokens.

        Args:
            x: ``(M, N, dim)``.
            angles: ``(N, d/2)``, how far each token's queries and keys are rotated; see :func:`rotate`.

        Returns:
            ``(M, N, dim)``, and ``(M, heads, N, N)`` weights where asked (rows sum to 1).
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (M, heads, N, d) each
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        # The fused kernel never forms the N×N weights, so whoever wants to see them pays for them. A CPU with matrix
        # units for bf16 is several times faster with two plain products: its fused kernel is made for long sequences.
        plain = q.device.type == "cpu" and q.dtype == torch.bfloat16
        weights = None
        if return_attention or plain:
            weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1, dtype=q.dtype)
            mixed = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2)), weights if return_attention else None


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): turn each pair of features by the token's angle.

    A query and a key turned by their own positions have a product that knows only the *difference* of the positions:
    what is learned of "one patch to the left" holds everywhere on the canvas.

    Args:
        x: ``(..., N, d)``, d even.
        angles: ``(N, d/2)`` in radians.
    """
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def rotary_angles(positions: Tensor, features: int) -> Tensor:
    """Angles for positions along one or two axes: ``(N, axes)`` to ``(N, features)``, the features shared by the axes.

    Frequencies fall from 1 radian per position to 1/100, so that near and far differences are both told apart.
    """
    each = features // positions.shape[1]
    frequencies = 100.0 ** -(torch.arange(each) / each)
    return (positions[:, :, None] * frequencies).flatten(1)


class SwiGLU(nn.Module):
    """Gated feed-forward network (Shazeer 2020, arXiv 2002.05202): W₃(silu(W₁x) ∘ W₂x).

    Its two projections are multiplied, so content can be combined with motion in one step. The hidden width is 2/3 of
    ``hidden``, which keeps the weights as many as without the gate.

    Args:
        dim: width of a token.
        hidden: hidden width of an ungated network with as many weights.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        width = max(8, 8 * round(hidden * 2 / 3 / 8))  # multiples of 8 keep matrix units busy
        self.widen = nn.Linear(dim, 2 * width)
        self.narrow = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` to the same shape."""
        gate, value = self.widen(x).chunk(2, dim=-1)
        return self.narrow(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm attention along one axis of the tokens, then a pre-norm feed-forward network, both residual.

    Args:
        dim, heads: see :class:`Attention`.
        axis: ``"time"`` (a patch attends to itself in all frames) or ``"space"`` (to all patches of its frame).
        expand: hidden width of the feed-forward network as a multiple of ``dim``.
        feed: ``"swiglu"`` (:class:`SwiGLU`) or ``"gelu"`` (two linear layers with a GELU between, as in Dosovitskiy).
    """

    def __init__(self, dim: int, heads: int, axis: str, expand: int = 4, feed: str = "swiglu") -> None:
        super().__init__()
        self.axis = axis
        self.norm_attention = nn.RMSNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_feed = nn.RMSNorm(dim)
        hidden = expand * dim
        self.feed = (
            SwiGLU(dim, hidden)
            if feed == "swiglu"
            else nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        )

    def forward(self, x: Tensor, angles: Tensor, return_attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens ``(B, T, N, dim)`` to the same shape, and the attention weights where asked."""
        y = self.norm_attention(x)
        if self.axis == "time":
            y = y.transpose(1, 2)  # (B, N, T, dim): attention runs along the second-last axis
        outer = y.shape[:2]
        y, weights = self.attention(y.flatten(0, 1), angles, return_attention)
        y = y.unflatten(0, outer)
        x = x + (y.transpose(1, 2) if self.axis == "time" else y)
        return x + self.feed(self.norm_feed(x)), None if weights is None else weights.unflatten(0, outer)


class VideoTransformer(nn.Module):
    """Patch embedding, space–time encoder, Linear + ConvTranspose decoder.

    Each encoder layer is a time block and a space block: attention is interleaved, so its cost grows with T + N per
    token, not with T·N as over all tokens at once. The decoder widens each token and lays it down as a patch of
    twice the size that overlaps its neighbours, so that frames have no seams.

    Args:
        past: frames that the model reads.
        horizon: frames that it predicts in one go, at most ``past``: the k-th future frame is read from the tokens of
            the k-th last past frame.
        channels: 1 for gray.
        size: height and width of a frame in pixels.
        patch: side of a patch in pixels.
        dim: width of a token.
        layers: encoder layers.
        heads: attention heads.
        expand, feed: see :class:`Block`.
        context: pixels around a patch that its token sees as well; 0 cuts the frame into separate patches.
        decoder: width of a token in the decoder.

    Raises:
        ValueError: numbers that do not fit together; in ``forward``, a wrong shape, dtype or range.
    """

    SMALLEST = {"dim": 32, "heads": 2, "decoder": 32}

    def __init__(
        self,
        *,
        past: int = 10,
        horizon: int = 10,
        channels: int = 1,
        size: int = 64,
        patch: int = 8,
        dim: int = 192,
        layers: int = 6,
        heads: int = 6,
        expand: int = 4,
        feed: str = "swiglu",
        context: int = 0,
        decoder: int = 256,
    ) -> None:
        super().__init__()
        self.config = {
            "past": past, "horizon": horizon, "channels": channels, "size": size, "patch": patch, "dim": dim,
            "layers": layers, "heads": heads, "expand": expand, "feed": feed, "context": context, "decoder": decoder,
        }  # fmt: skip
        check_counts(**{name: value for name, value in self.config.items() if name not in ("context", "feed")})
        check_counts(0, context=context)
        check_choice(["swiglu", "gelu"], feed=feed)
        if size % patch or patch % 2:
            raise ValueError(f"patch is {patch}, expected an even number that divides size, which is {size}.")
        if dim % (4 * heads):
            raise ValueError(
                f"dim is {dim}, expected a multiple of 4·heads, which is {4 * heads}: positions turn pairs."
            )
        if not 1 <= horizon <= past:
            raise ValueError(f"horizon is {horizon}, expected 1 to past, which is {past}: use rollout to go further.")
        self.past, self.horizon, self.channels, self.size, self.patch = past, horizon, channels, size, patch
        self.grid = size // patch
        self.embed = nn.Conv2d(channels, dim, patch + 2 * context, stride=patch, padding=context)
        self.position = nn.Parameter(torch.randn(1, 1, self.grid**2, dim) * 0.02)
        self.time = nn.Parameter(torch.randn(1, past, 1, dim) * 0.02)
        self.encoder = nn.ModuleList(
            nn.ModuleList(Block(dim, heads, axis, expand, feed) for axis in ("time", "space")) for _ in range(layers)
        )
        cells = torch.cartesian_prod(torch.arange(self.grid), torch.arange(self.grid))  # (N, 2): row, column
        half = dim // heads // 2
        self.register_buffer("space_angles", rotary_angles(cells, half), persistent=False)
        self.register_buffer("time_angles", rotary_angles(torch.arange(past)[:, None], half), persistent=False)
        self.norm = nn.RMSNorm(dim)
        self.widen = nn.Sequential(nn.Linear(dim, decoder), nn.GELU())
        half_patch = patch // 2
        # the same function as one transposed convolution of kernel 2·patch and stride patch, but with enough channels
        # to keep matrix units busy: its map has cells of half a patch, whose pixels are channels
        self.paint = nn.Sequential(
            nn.ConvTranspose2d(decoder, channels * half_patch**2, 4, stride=2, padding=1), nn.PixelShuffle(half_patch)
        )

    def matrices(self) -> dict[int, list[nn.Parameter]]:
        """What Muon trains: every linear layer is one matrix."""
        return {1: [module.weight for module in self.modules() if isinstance(module, nn.Linear)]}

    def tokens(self, past: Tensor) -> Tensor:
        """Patches as tokens that know their place and time: ``(B, T, C, H, W)`` to ``(B, T, N, dim)``."""
        patches = self.embed(past.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B·T, N, dim)
        return patches.unflatten(0, past.shape[:2]) + self.position + self.time

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``(B, T, N, dim)`` as frames ``(B, T, C, H, W)``."""
        wide = self.widen(self.norm(tokens))  # (B, T, N, decoder)
        maps = wide.flatten(0, 1).transpose(1, 2).unflatten(2, (self.grid, self.grid))  # (B·T, decoder, h, w)
        return self.paint(maps).unflatten(0, tokens.shape[:2])

    def brushes(self) -> tuple[Tensor, Tensor]:
        """What the decoder paints with, at the size of pixels.

        Returns:
            ``(decoder, C, 2·patch, 2·patch)``, the square that each feature of a widened token adds to the frame, laid
            down with stride ``patch``; and ``(C, H, W)``, the frame that it is added to.
        """
        transposed, to_pixels = self.paint
        background = to_pixels(transposed.bias[:, None, None]).repeat(1, 2 * self.grid, 2 * self.grid)
        return to_pixels(transposed.weight), background

    def forward(self, past: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, list[dict[str, Tensor]]]:
        """``(B, past, C, H, W)`` in [0, 1] to ``(B, horizon, C, H, W)``.

        With ``return_attention``, also a list over layers of ``{"time": (B, N, heads, T, T), "space": (B, T, heads, N,
        N)}``: who attends (row) to whom (column).
        """
        check_video(past, "past", frames=self.past, channels=self.channels, size=(self.size, self.size))
        x, attention = self.tokens(past), []
        for layer in self.encoder:
            seen = {}
            for block in layer:
                angles = self.time_angles if block.axis == "time" else self.space_angles
                x, seen[block.axis] = block(x, angles, return_attention)
            attention.append(seen)
        # the near future is read where the latest past was: what moved little is easy to learn first
        future = self.decode(x.flip(1)[:, : self.horizon])
        return (future, attention) if return_attention else future
