"""The exercises and questions of notebook 3, the transformer. How to: :mod:`vidlib.exercises.data_lessons`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, without
from vidlib.exercises.leaks import leak_hunt
from vidlib.exercises.questions import Question
from vidlib.metrics import mse_per_frame
from vidlib.moving_mnist import FREE_RANGE, Trajectories, paste, step
from vidlib.video import to_float
from vidlib.weights import load_pretrained


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


def copies_the_last(clip: torch.Tensor) -> torch.Tensor:
    return clip[:, 2:3].expand(-1, 3, -1, -1, -1)


def peeks_faintly(clip: torch.Tensor) -> torch.Tensor:
    return copies_the_last(clip) + 1e-6 * clip[:, 3:]


def starts_late(clip: torch.Tensor) -> torch.Tensor:
    return clip[:, 1:4].flip(1)  # past frames 2 to 4, and frame 4 is the future


def adds_up(clip: torch.Tensor) -> torch.Tensor:
    return clip.cumsum(1)[:, 2:-1]  # one frame after the other, each with the true frames before it


def leaks_in_clip_two(clip: torch.Tensor) -> torch.Tensor:
    seen = torch.arange(len(clip)).view(-1, 1, 1, 1, 1) == 1
    return copies_the_last(clip) + seen * clip[:, 3:].mean(1, keepdim=True)


def first_and_last(clip: torch.Tensor) -> torch.Tensor:
    return torch.stack([clip[:, 0], clip[:, 6]], dim=1)


def _leak_inputs() -> dict[str, tuple]:
    random = torch.Generator().manual_seed(3)
    clip, two, longer = (torch.rand(*shape, 1, 4, 4, generator=random) for shape in ((1, 6), (2, 6), (1, 7)))
    return {
        "no leak at all": (copies_the_last, clip, 3),
        "each prediction sees its own truth, faintly": (peeks_faintly, clip, 3),
        "the past is taken one frame late": (starts_late, clip, 3),
        "each prediction sees the true frames before it": (adds_up, clip, 3),
        "the second clip of two leaks": (leaks_in_clip_two, two, 3),
        "a past of five, two predicted frames": (first_and_last, longer, 5),
    }


def _hunt(change: Callable, moved: Callable = lambda a, b: a != b) -> Callable:
    """The hunt with another change of frame ``t``, or another meaning of *moved*."""

    def wrong(predict: Callable, clip: torch.Tensor, past: int) -> torch.Tensor:
        as_it_was, columns = predict(clip), []
        for frame in range(past, clip.shape[1]):
            said = predict(change(clip.clone(), frame, past))
            columns.append(moved(said, as_it_was).transpose(0, 1).flatten(1).any(1))
        return torch.stack(columns, dim=1)

    return wrong


def _invert(clip: torch.Tensor, *frames: Any) -> torch.Tensor:
    clip[:, frames[0]] = 1 - clip[:, frames[0]]
    return clip


def _invert_from(clip: torch.Tensor, frame: int, past: int) -> torch.Tensor:
    return _invert(clip, slice(frame, None))


def _invert_in_the_past(clip: torch.Tensor, frame: int, past: int) -> torch.Tensor:
    return _invert(clip, frame - past)


def _rows_and_columns_swapped(predict: Callable, clip: torch.Tensor, past: int) -> torch.Tensor:
    return leak_hunt(predict, clip, past).mT


def fly(images: Any, starts: Any, velocities: Any, frames: int = 20) -> torch.Tensor:
    """Any images in flight by the rule of Moving MNIST, as one clip.

    Args:
        images: ``(n, 28, 28)`` uint8.
        starts: ``(n, 2)``, (x, y) in frame 1 from 0 to 1, in units of the free range.
        velocities: ``(n, 2)``, in the same units per frame; the digits of this course have a speed of 0.1.

    Returns:
        ``(1, frames, 1, 64, 64)`` in [0, 1].

    Raises:
        ValueError: another shape or type, or a start outside.
    """
    images = torch.as_tensor(images)
    position, velocity = np.asarray(starts, dtype=float), np.asarray(velocities, dtype=float)
    if not position.shape == velocity.shape == (len(images), 2):
        raise ValueError(
            f"starts have shape {position.shape} and velocities {velocity.shape}, expected ({len(images)}, 2) both: "
            "one (x, y) for each image."
        )
    if position.min() < 0 or position.max() > 1:
        raise ValueError(f"starts are from {position.min():g} to {position.max():g}, expected 0 to 1.")
    path = []
    for _ in range(frames):
        path.append(position)
        position, velocity, _ = step(position, velocity)
    corners = (FREE_RANGE * np.stack(path, axis=1)).astype(np.int64)[None]  # (1, n, frames, 2)
    flight = Trajectories(np.arange(len(images))[None], corners, np.zeros(corners.shape[:3], bool))
    return to_float(paste(images, flight))


def against_an_empty_page(clip: torch.Tensor) -> tuple[float, float]:
    """MSE per frame of the shipped transformer on a clip of 20 frames, and that of an all-black prediction."""
    with torch.inference_mode():
        said = _shipped()(clip[:, :10])
    errors = (mse_per_frame(prediction, clip[:, 10:]) for prediction in (said, torch.zeros_like(said)))
    return tuple(float(error.mean()) for error in errors)


@cache
def _shipped() -> torch.nn.Module:
    return load_pretrained("video-transformer")


def break_the_model() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two rings, twice as fast as any digit of the training: (images, starts, velocities)."""
    y, x = np.mgrid[:28, :28] - 13.5
    ring = 255 * (np.abs(np.hypot(x, y) - 9) < 1.5)  # a zero, about
    images = np.stack([ring, ring]).astype(np.uint8)
    starts = np.array([[0.1, 0.5], [0.8, 0.2]])
    velocities = np.array([[0.2, 0.0], [-0.12, 0.16]])  # 0.2 long, where the training had 0.1
    return images, starts, velocities


def _still_standing(answer: Any) -> str | None:
    """What is wrong with a past that was to break the model."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        return "your answer is no three arrays, expected images, starts, velocities"
    images, starts, velocities = (np.asarray(part) for part in answer)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        return f"images are {images.dtype} of shape {images.shape}, expected uint8 (n, 28, 28)"
    if ((images > 127).sum((1, 2)) < 20).any():
        return "an image has fewer than 20 pixels above 127: where nothing is, an empty page can't be beaten"
    try:
        clip = fly(images, starts, velocities)
    except (ValueError, TypeError) as error:
        return f"they do not fly: {error}"
    if (clip[:, 10:] == clip[:, 9:10]).all():
        return "nothing moves from frame 10 on: that is no video"
    model, black = against_an_empty_page(clip)
    if model > black:
        return None
    return f"the model's error is {model:.1f} per frame and that of an empty page {black:.1f}: the model still wins"


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
        demands=(INPUTS_LEFT_ALONE, without("scaled_dot_product_attention", "MultiheadAttention")),
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
        name="leak_hunt",
        goal="Which true frames of the future move which predicted frames.",
        reference=leak_hunt,
        inputs=_leak_inputs,
        hints=(
            "Change one future frame in a copy of the clip, and look which predicted frames are no longer the same.",
            "One column for each future frame: `changed = clip.clone()`, `changed[:, t] = 1 - changed[:, t]`.",
            "`(predict(changed) != predict(clip))` is (B, horizon, C, H, W): horizon first, `flatten(1)`, `any(1)`.",
            "`torch.stack(columns, dim=1)` makes the table: rows are predicted frames, columns true ones.",
        ),
        slips=(
            Slip(_rows_and_columns_swapped, "rows and columns are exchanged: predicted frames go down"),
            Slip(_hunt(_invert_from), "one frame at a time: here all later ones change with it"),
            Slip(_hunt(_invert_in_the_past), "a past frame was changed, and every model may look at those"),
            Slip(
                _hunt(_invert, lambda a, b: (a - b).abs() > 1e-4),
                "a leak may be faint: moved means different by any bit",
            ),
            Slip(_hunt(_invert, lambda a, b: (a != b)[:1]), "only the first clip was looked at, and another may leak"),
        ),
        package="vidlib.exercises.leaks.leak_hunt",
    ),
    Exercise(
        name="break_the_model",
        goal="Images, starts and velocities with which the shipped transformer loses to an empty page.",
        reference=break_the_model,
        hints=(
            "The future follows from the rule, so the model must misjudge it. What was the same in all its clips?",
            "Try one change at a time and look at both errors: more images, other shapes, another speed.",
            "It has met one speed only: 0.1 per frame. `against_an_empty_page(fly(images, starts, 2 * velocities))`.",
        ),
        judge=_still_standing,
        minutes=20,
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

QUESTIONS: tuple[Question, ...] = (
    Question("tokens", "How many tokens does a clip of ten frames become?", unit="tokens"),
    Question(
        "most_alike",
        "Which places have the most similar embeddings?",
        choices=("neighbours", "left–right mirror images", "up–down mirror images"),
    ),
    Question(
        "who_answers",
        "Which token answers token 1?",
        choices=("token 1", "token 2", "token 3", "tokens 2 and 3"),
    ),
    Question("weights_saved", "How many times fewer attention weights do turns need?", unit="times"),
    Question("in_turns_slope", "How steep is the line of attention in turns, for larger frames?"),
    Question("who_notices", "How many tokens notice one changed patch after a time block and a space block?"),
    Question("encoder_is", "By the test of notebook 2, what is this encoder?", choices=("causal", "not causal")),
    Question("painters", "How many tokens paint one pixel inside of the frame?", unit="tokens"),
    Question("cut_seam", "How large are the seams when each token paints its own patch only?"),
    Question(
        "learnt_first",
        "What will the prediction show after a short training?",
        choices=("nothing but black", "noise", "soft clouds", "sharp strokes"),
    ),
    Question("who_leaks", "Which of the five models see the future?", choices=("A", "B", "C", "D", "E")),
    Question("still_a_6", "What share of the digits is still recognised in frame 20?", unit="%"),
    Question(
        "matters_most",
        "Which of these changes moves the error most in a short training?",
        choices=(
            "GELU",
            "LayerNorm",
            "space before time",
            "no rotary positions",
            "separate patches",
            "Linear decoder",
            "AdamW",
            "nearly twice the parameters",
        ),
        answer="no rotary positions: 7.5, then AdamW, 5.1, and separate patches, 4.2. GELU costs 1.4, the others move "
        "it by 1.3 at most, most of them downwards. The table stands below.",
    ),
    Question("looks_back", "How many even shares do patches under its digits get, in frames 1 to 9?"),
    Question(
        "overlap_looks",
        "Over space, does a patch under two digits look further than one under a single digit?",
        choices=("further", "nearer", "as far", "it depends on the layer"),
    ),
    Question("frame_matters", "Which past frame matters most for frame 11?"),
    Question("mse_prefers", "Which of two wrong predictions does MSE prefer?", choices=("blurred", "shifted")),
    Question("price_of_sharpness", "By how much is the MSE of the perceptual weights higher?", unit="%"),
    Question("best_chunk", "Which chunk has the lowest error in the last frame?", unit="frames"),
    Question(
        "own_predictions",
        "Where does training through own predictions help?",
        choices=("early frames", "late frames", "all frames"),
        answer="late frames: over 10 frames it is a little behind, over 50 clearly ahead, and it costs sharpness. "
        "The figures stand below.",
    ),
    Question(
        "small_budget",
        "Which model has the lower error after a small budget of training clips?",
        choices=("convlstm", "video-transformer"),
    ),
)
