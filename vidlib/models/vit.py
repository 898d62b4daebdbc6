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
from einops import rearrange
from torch import Tensor, nn

from vidlib.checks import check_choice, check_counts, check_flags
from vidlib.video import check_shape, check_video


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762): softmax(QKᵀ/√d)·V per head.

    Args:
        dim: width of a token.
        heads: number of heads; divides ``dim``.

    Raises:
        ValueError: numbers that do not fit together; in ``forward``, another shape.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        check_counts(dim=dim, heads=heads)
        if dim % heads:
            raise ValueError(f"dim is {dim}, expected a multiple of heads, which is {heads}: each head has a share.")
        self.dim, self.heads = dim, heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, angles: Tensor | None = None, return_attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Mix tokens; :func:`attend` is the plain version of what happens between the two linear layers.

        Args:
            x: ``(M, N, dim)``.
            angles: ``(N, d/2)``, how far each token's queries and keys are rotated; see :func:`rotate`.

        Returns:
            ``(M, N, dim)``, and ``(M, heads, N, N)`` weights where asked (rows sum to 1).
        """
        check_shape("x", x, "M", "N", self.dim)
        check_flags(return_attention=return_attention)
        qkv = self.qkv(x)  # (M, N, 3·dim)
        q, k, v = rearrange(qkv, "m n (three h d) -> three m h n d", three=3, h=self.heads)  # (M, heads, N, d) each
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)  # (M, heads, N, d)
        # The fused kernel never forms the N×N weights, so whoever wants to see them pays for them. A CPU with matrix
        # units for bf16 is several times faster with two plain products: its fused kernel is made for long sequences.
        if return_attention or (q.device.type == "cpu" and q.dtype == torch.bfloat16):
            mixed, weights = attend(q, k, v)  # (M, heads, N, d), (M, heads, N, N)
        else:
            mixed, weights = F.scaled_dot_product_attention(q, k, v), None  # (M, heads, N, d)
        mixed = self.out(rearrange(mixed, "m h n d -> m n (h d)"))  # (M, N, dim)
        return mixed, weights if return_attention else None


def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention in two plain products: softmax(QKᵀ/√d)·V, and the weights softmax(QKᵀ/√d).

    ``F.scaled_dot_product_attention`` gives the same mix without ever forming the weights.

    Args:
        q, k, v: ``(..., N, d)`` each.

    Returns:
        ``(..., N, d)``, and ``(..., N, N)``: how much each token (row) takes of each (column).
    """
    alike = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (..., N, N)
    weights = alike.softmax(-1, dtype=q.dtype)  # (..., N, N), rows sum to 1
    return weights @ v, weights


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): turn each pair of features by the token's angle.

    A query and a key turned by their own positions have a product that knows only the *difference* of the positions:
    what is learned of "one patch to the left" holds everywhere on the canvas.

    Args:
        x: ``(..., N, d)``, d even.
        angles: ``(N, d/2)`` in radians.

    Raises:
        ValueError: shapes that do not fit together.
    """
    check_shape("x", x, ..., "N", "d")
    check_shape("angles", angles, x.shape[-2], x.shape[-1] // 2)
    check_shape("x", x, ..., "N", 2 * angles.shape[1])  # an even d
    a, b = x.chunk(2, dim=-1)  # (..., N, d/2) each
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)  # (N, d/2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)  # (..., N, d)


def rotary_angles(positions: Tensor, features: int) -> Tensor:
    """Angles for positions along one or two axes: ``(N, axes)`` to ``(N, features)``, the features shared by the axes.

    Frequencies fall from 1 radian per position to 1/100, so that near and far differences are both told apart.

    Raises:
        ValueError: no table of positions, or fewer features than axes.
    """
    check_shape("positions", positions, "N", "axes", floating=False)
    check_counts(positions.shape[1], features=features)
    each = features // positions.shape[1]
    frequencies = 100.0 ** -(torch.arange(each) / each)  # (each,)
    return rearrange(positions[:, :, None] * frequencies, "n axes each -> n (axes each)")


class SwiGLU(nn.Module):
    """Gated feed-forward network (Shazeer 2020, arXiv 2002.05202): W₃(silu(W₁x) ∘ W₂x).

    Its two projections are multiplied, so content can be combined with motion in one step. The hidden width is 2/3 of
    ``hidden``, which keeps the weights as many as without the gate.

    Args:
        dim: width of a token.
        hidden: hidden width of an ungated network with as many weights.

    Raises:
        ValueError: a width that is no whole number from 1.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        check_counts(dim=dim, hidden=hidden)
        width = max(8, 8 * round(hidden * 2 / 3 / 8))  # multiples of 8 keep matrix units busy
        self.widen = nn.Linear(dim, 2 * width)
        self.narrow = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` to the same shape."""
        gate, value = self.widen(x).chunk(2, dim=-1)  # (..., width) each
        return self.narrow(F.silu(gate) * value)  # (..., dim)


class Block(nn.Module):
    """Pre-norm attention along one axis of the tokens, then a pre-norm feed-forward network, both residual.

    Args:
        dim, heads: see :class:`Attention`.
        axis: ``"time"`` (a patch attends to itself in all frames) or ``"space"`` (to all patches of its frame).
        expand: hidden width of the feed-forward network as a multiple of ``dim``.
        feed: ``"swiglu"`` (:class:`SwiGLU`) or ``"gelu"`` (two linear layers with a GELU between, as in Dosovitskiy).

    Raises:
        ValueError: a number or name out of range; in ``forward``, another shape.
    """

    def __init__(self, dim: int, heads: int, axis: str, expand: int = 4, feed: str = "swiglu") -> None:
        super().__init__()
        check_counts(dim=dim, heads=heads, expand=expand)
        check_choice(["time", "space"], axis=axis)
        check_choice(["swiglu", "gelu"], feed=feed)
        self.dim, self.axis = dim, axis
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
        check_shape("x", x, "B", "T", "N", self.dim)
        b, time = len(x), self.axis == "time"
        # attention runs along the second-last axis, all others are its batch
        apart, together = ("(b n) t d", "b t n d") if time else ("(b t) n d", "b t n d")
        y = rearrange(self.norm_attention(x), f"{together} -> {apart}")  # (B·N, T, dim) or (B·T, N, dim)
        y, weights = self.attention(y, angles, return_attention)  # weights (B·N, heads, T, T) or (B·T, heads, N, N)
        x = x + rearrange(y, f"{apart} -> {together}", b=b)  # (B, T, N, dim)
        x = x + self.feed(self.norm_feed(x))  # (B, T, N, dim)
        return x, None if weights is None else rearrange(weights, "(b m) h i j -> b m h i j", b=b)


class VideoTransformer(nn.Module):
    """Patch embedding, space–time encoder, Linear + ConvTranspose decoder.

    Each encoder layer is a time block and a space block: attention is interleaved, so its cost grows with T + N per
    token, not with T·N as over all tokens at once. The decoder widens each token and lays it down as a patch of
    twice the size that overlaps its neighbours, so that frames have no seams: :func:`lay_down` says it plainly.

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
        # lay_down with enough channels to keep matrix units busy: cells of half a patch, whose pixels are channels
        self.paint = nn.Sequential(
            nn.ConvTranspose2d(decoder, channels * half_patch**2, 4, stride=2, padding=1), nn.PixelShuffle(half_patch)
        )

    def matrices(self) -> dict[int, list[nn.Parameter]]:
        """What Muon trains: every linear layer is one matrix."""
        return {1: [module.weight for module in self.modules() if isinstance(module, nn.Linear)]}

    def tokens(self, past: Tensor) -> Tensor:
        """Patches as tokens that know their place and time: ``(B, T, C, H, W)`` to ``(B, T, N, dim)``."""
        patches = self.embed(rearrange(past, "b t c h w -> (b t) c h w"))  # (B·T, dim, rows, columns)
        tokens = rearrange(patches, "(b t) d rows columns -> b t (rows columns) d", b=len(past))  # (B, T, N, dim)
        return tokens + self.position + self.time

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens ``(B, T, N, dim)`` as frames ``(B, T, C, H, W)``."""
        wide = self.widen(self.norm(tokens))  # (B, T, N, decoder)
        maps = rearrange(wide, "b t (rows columns) d -> (b t) d rows columns", rows=self.grid)
        return rearrange(self.paint(maps), "(b t) c h w -> b t c h w", b=len(tokens))  # (B, T, C, H, W)

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
        x, attention = self.tokens(past), []  # (B, past, N, dim)
        for layer in self.encoder:
            seen = {}
            for block in layer:
                angles = self.time_angles if block.axis == "time" else self.space_angles
                x, seen[block.axis] = block(x, angles, return_attention)  # (B, past, N, dim)
            attention.append(seen)
        # the near future is read where the latest past was: what moved little is easy to learn first
        future = self.decode(x.flip(1)[:, : self.horizon])  # (B, horizon, C, H, W)
        return (future, attention) if return_attention else future


def lay_down(maps: Tensor, brushes: Tensor, background: Tensor) -> Tensor:
    """The decoder's painting as one transposed convolution: each cell adds its brush, twice as wide as a patch.

    Args:
        maps: ``(M, decoder, rows, columns)``, widened tokens.
        brushes, background: ``(decoder, C, 2·patch, 2·patch)`` and ``(C, H, W)``, see :meth:`VideoTransformer.brushes`.

    Returns:
        ``(M, C, H, W)``, what :class:`VideoTransformer` paints.
    """
    patch = brushes.shape[-1] // 2
    return F.conv_transpose2d(maps, brushes, stride=patch, padding=patch // 2) + background
