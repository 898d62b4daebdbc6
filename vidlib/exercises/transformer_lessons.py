"""The exercises and questions of notebook 3, the transformer. How to: :mod:`vidlib.exercises.data_lessons`."""

from __future__ import annotations

from functools import partial

import torch

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.questions import Question


def patchify(video: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, T, C, H, W) to (B, T, N, patch * patch * C), patches row by row."""
    b, t, c, h, w = video.shape
    # name the axes: 0 b, 1 t, 2 c, 3 patch row, 4 row in the patch, 5 patch column, 6 column in the patch
    cut = video.reshape(b, t, c, h // patch, patch, w // patch, patch)
    together = cut.permute(0, 1, 3, 5, 4, 6, 2)  # which patch first, then row, column and channel inside it
    return together.reshape(b, t, (h // patch) * (w // patch), patch * patch * c)


def _patchify_inputs() -> dict[str, tuple]:
    small = torch.arange(2 * 3 * 2 * 4 * 6, dtype=torch.float32).reshape(2, 3, 2, 4, 6)
    frames = torch.rand(1, 2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return {"two channels, wider than high": (small, 2), "frames as in this course": (frames, 8)}


def _reshaped_only(video: torch.Tensor, patch: int) -> torch.Tensor:
    return video.reshape(*video.shape[:2], -1, patch * patch * video.shape[2])


def _ordered(*axes: int):
    """Patchify with the axes of the cut in another order."""

    def wrong(video: torch.Tensor, patch: int) -> torch.Tensor:
        b, t, c, h, w = video.shape
        cut = video.reshape(b, t, c, h // patch, patch, w // patch, patch)
        return cut.permute(axes).reshape(b, t, -1, patch * patch * c)

    return wrong


def rollout_windows(steps: int, chunk: int) -> int:
    """Predictions needed for ``steps`` frames; the last one may be needed only in part."""
    return -(-steps // chunk)  # rounded up, in whole numbers


def attention_by_hand(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(B, Q, d), (B, K, d), (B, K, v) to (B, Q, v): softmax(Q Kᵀ / √d) V, Vaswani et al. 2017, equation 1."""
    scores = queries @ keys.mT / queries.shape[-1] ** 0.5  # (B, Q, K)
    weights = scores.softmax(dim=-1)  # for each query the weights of all keys sum to 1
    return weights @ values


def _attention_inputs() -> dict[str, tuple]:
    random = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=random)
    return {
        "two queries, three keys": (draw(1, 2, 4), draw(1, 3, 4), draw(1, 3, 2)),
        "two clips": (draw(2, 5, 8), draw(2, 5, 8), draw(2, 5, 8)),
    }


def _attention(scale, axis: int):
    """Attention with another scale, or with a softmax over another axis."""

    def wrong(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return (queries @ keys.mT / scale(queries.shape[-1])).softmax(dim=axis) @ values

    return wrong


def rotate_pairs(vectors: torch.Tensor, places: torch.Tensor, speeds: torch.Tensor) -> torch.Tensor:
    """(N, 2m), (N,), (m,) to (N, 2m): pair i, the numbers 2i and 2i + 1, turned by place * speed i (Su et al. 2021)."""
    angles = places[:, None] * speeds  # (N, m), radians
    first, second = vectors[:, 0::2], vectors[:, 1::2]
    turned = first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()
    return torch.stack(turned, dim=-1).flatten(1)


def _rotation_inputs() -> dict[str, tuple]:
    random = torch.Generator().manual_seed(1)
    vectors = torch.randn(5, 4, generator=random)
    return {
        "one pair, a quarter turn": (torch.tensor([[1.0, 0.0]]), torch.tensor([1.0]), torch.tensor([torch.pi / 2])),
        "two pairs, two speeds": (vectors, torch.arange(5.0), torch.tensor([1.0, 0.1])),
    }


def _turned_the_other_way(vectors: torch.Tensor, places: torch.Tensor, speeds: torch.Tensor) -> torch.Tensor:
    return rotate_pairs(vectors, -places, speeds)


def _turned_in_halves(vectors: torch.Tensor, places: torch.Tensor, speeds: torch.Tensor) -> torch.Tensor:
    angles = places[:, None] * speeds
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat(
        (first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()), dim=-1
    )


def attention_cost(frames: int, patches: int, width: int) -> tuple[int, int]:
    """Multiply–adds of scores and weighted sums in one layer: all tokens at once, and in turns over time and space."""
    tokens = frames * patches
    together = 2 * tokens * tokens * width  # each token meets every token, once for its score, once for its value
    in_turns = 2 * tokens * (frames + patches) * width  # its own past and future, then its own frame
    return together, in_turns


EXERCISES = (
    Exercise(
        name="attention_by_hand",
        goal="Attention from matrix products and a softmax: scores, weights, weighted sum.",
        reference=attention_by_hand,
        inputs=_attention_inputs,
        hints=(
            "Three steps: a score per pair of query and key, weights that sum to 1, a weighted sum.",
            "The scores are `queries @ keys.mT`, of shape (B, Q, K), divided by the root of the vectors' length.",
            "Each query shares out a weight of 1 among the keys: `softmax(dim=-1)`. Then `weights @ values`.",
        ),
        slips=(
            Slip(_attention(lambda d: 1, -1), "the scores are not divided by the root of d"),
            Slip(_attention(lambda d: d, -1), "the scores are divided by d, and should be by its root"),
            Slip(_attention(lambda d: d**0.5, -2), "the weights sum to 1 over the queries, and should over the keys"),
        ),
        tolerance=1e-5,
    ),
    Exercise(
        name="rotate_pairs",
        goal="Turn each pair of numbers in a vector by its place times the speed of the pair.",
        reference=rotate_pairs,
        inputs=_rotation_inputs,
        hints=(
            "Two neighbouring numbers are a point in a plane; its angle grows with the place.",
            "All angles: `places[:, None] * speeds`, of shape (N, m). The pairs: `vectors[:, 0::2]`, `[:, 1::2]`.",
            "(x, y) becomes (x cos - y sin, x sin + y cos); `stack(..., dim=-1).flatten(1)` joins the pairs.",
        ),
        slips=(
            Slip(_turned_the_other_way, "the pairs turn the other way: look at the sign of the sine"),
            Slip(_turned_in_halves, "a pair is two neighbours, 2i and 2i + 1, and here it is i and i + m"),
            Slip(lambda vectors, places, speeds: vectors, "nothing is turned"),
        ),
        tolerance=1e-5,
    ),
    Exercise(
        name="attention_cost",
        goal="Multiply–adds of full and of factorised attention.",
        reference=attention_cost,
        inputs=lambda: [(2, 3, 5), (10, 64, 128), (1, 64, 8), (10, 1024, 128)],
        hints=(
            "A score is a product of two vectors of `width` numbers: `width` multiply–adds. A weighted value: as many.",
            "All at once, each of the frames * patches tokens meets frames * patches tokens.",
            "In turns a token meets `frames` tokens, then `patches` tokens: a sum, where before it was a product.",
        ),
        slips=(
            Slip(lambda t, n, w: ((t * n) ** 2 * w, t * n * (t + n) * w), "only half is counted: scores and values"),
            Slip(
                lambda t, n, w: (2 * (t * n) ** 2, 2 * t * n * (t + n)), "a product of two vectors costs width, not 1"
            ),
            Slip(
                lambda t, n, w: (2 * t * n * t * n * w, 2 * (t + n) ** 2 * w),
                "in turns there are still frames times patches tokens that ask",
            ),
        ),
    ),
    Exercise(
        name="patchify",
        goal="Cut a batch of frames into patches, each patch one token.",
        reference=patchify,
        inputs=_patchify_inputs,
        hints=(
            "Patches go row by row, and inside a token the order is patch row, patch column, channel.",
            "`reshape` splits H into (H / patch, patch), the patch's row and the row in the patch; the same for W.",
            "Then `permute` brings the axes into the order: b, t, patch row, patch column, row, column, channel.",
        ),
        slips=(
            Slip(_reshaped_only, "reshape alone cuts along the rows: it never brings the rows of one patch together"),
            Slip(_ordered(0, 1, 3, 5, 2, 4, 6), "inside a token the channel comes last, and here it comes first"),
            Slip(_ordered(0, 1, 5, 3, 4, 6, 2), "the patches go column by column, and should go row by row"),
            Slip(_ordered(0, 1, 3, 5, 6, 4, 2), "the patches lie on their side: row before column inside a token"),
        ),
        tolerance=0.0,
    ),
    Exercise(
        name="rollout_windows",
        goal="How often a rollout calls the model.",
        reference=rollout_windows,
        inputs=lambda: [(10, 10), (30, 10), (31, 10), (30, 1), (7, 5), (1, 10)],
        hints=(
            "Every call gives `chunk` new frames, and a last call that is needed only in part is still a call.",
            "31 frames in chunks of 10 are 4 calls, 30 are 3: divide, and round up.",
            "`//` rounds down. Of a negative number, down is away from zero: try `-31 // 10`.",
        ),
        slips=(
            Slip(lambda steps, chunk: steps // chunk, "a last call that is needed only in part is missing"),
            Slip(lambda steps, chunk: steps // chunk + 1, "one call too many where the chunks fit without a rest"),
            Slip(lambda steps, chunk: steps, "this is a call for every frame, whatever the chunk"),
            Slip(
                lambda steps, chunk: max(1, round(steps / chunk)),
                "this rounds to the nearest, a rest always needs a call",
            ),
        ),
    ),
)

QUESTIONS: tuple[Question, ...] = ()
