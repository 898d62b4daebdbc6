"""The exercises and questions of notebook 3, the transformer. How to: :mod:`vidlib.exercises.data_lessons`."""

from __future__ import annotations

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


EXERCISES = (
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
