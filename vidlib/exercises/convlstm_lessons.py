"""The exercises and questions of notebook 2, the ConvLSTM. How to: :mod:`vidlib.exercises.data_lessons`."""

from __future__ import annotations

import torch
from torch import Tensor

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.questions import Question


def cell_update(i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The four gates before sigmoid or tanh and the memory, each (B, hidden, h, w); returns the new H and the new C."""
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # keep some, write some
    h = torch.sigmoid(o) * torch.tanh(c)  # show some of the new memory
    return h, c


def _cell_inputs() -> list[tuple]:
    return [tuple(2 * torch.randn(5, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))]


def _all_sigmoid(i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * c.tanh(), c


def _old_memory_shown(i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


def _memory_shown_whole(i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c, c


def _gates_exchanged(i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return cell_update(f, i, g, o, c)


def receptive_field(steps: int, kernel: int, patch: int) -> int:
    """Pixels to one side that the state-to-state filters reach in so many steps."""
    cells_per_step = kernel // 2  # a filter of side 5 sees two places to each side of the middle
    return steps * cells_per_step * patch


EXERCISES = (
    Exercise(
        name="cell_update",
        goal="From the four sums before their sigmoid or tanh and the memory to the new H and the new C.",
        reference=cell_update,
        inputs=_cell_inputs,
        hints=(
            "i, f and o go through a sigmoid, g through tanh; the new C comes first, and H looks at the new C.",
            "The new memory is what f keeps of the old one plus what i lets in of the candidate g.",
            "`c = torch.sigmoid(f) * c + torch.sigmoid(i) * …`, then `h = torch.sigmoid(o) * torch.tanh(c)`.",
        ),
        slips=(
            Slip(_all_sigmoid, "the candidate g goes through tanh, so that it can also take away"),
            Slip(_old_memory_shown, "H looks at the old memory, it has to look at the new one"),
            Slip(_memory_shown_whole, "the memory is right; H shows it without a tanh"),
            Slip(_gates_exchanged, "i and f are exchanged: f keeps of the old memory, i lets in the candidate"),
        ),
        tolerance=1e-5,
        package="vidlib.models.convlstm.ConvLSTMCell.update",
    ),
    Exercise(
        name="receptive_field",
        goal="How many pixels to one side the state-to-state filters reach in so many steps.",
        reference=receptive_field,
        inputs=lambda: [(1, 3, 1), (1, 5, 4), (10, 5, 4), (7, 3, 2), (0, 5, 4)],
        hints=(
            "A filter of odd side k reaches (k − 1) / 2 places to each side per step; a place is a patch wide.",
            "Count places first: one step, then all steps. Turn places into pixels at the end.",
            "`kernel // 2` is a whole number: places to one side in one step. Two factors are still missing.",
        ),
        slips=(
            Slip(lambda n, k, p: n * k * p, "this is the whole side of the filter, the question is one side of it"),
            Slip(lambda n, k, p: n * (k - 1) * p, "these are both sides together, the question is one"),
            Slip(lambda n, k, p: n * (k // 2), "these are places of the map, each is `patch` pixels wide"),
            Slip(lambda n, k, p: k // 2 * p, "this is how far one step reaches"),
        ),
    ),
)

QUESTIONS: tuple[Question, ...] = ()
