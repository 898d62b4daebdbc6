"""The exercises and questions of notebook 2, the ConvLSTM. How to: :mod:`vidlib.exercises.data_lessons`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, NO_LOOP
from vidlib.exercises.questions import Question

# Validation MSE per frame against the base, of changes that both tables of `studies` have: maps of 8×8 places
# (ablation-convlstm.csv) and of 16×16 (ablation-convlstm-16x16.csv). A test compares them with the files.
ABLATIONS: dict[str, dict[str, float]] = {
    "maps of 8×8": {
        "5×5 filters": 0.82,
        "peepholes": -0.30,
        "forget bias 0": -1.58,
        "no stem, 1×1 painter": -0.53,
        "residual to the last frame": 50.13,
        "no average of the weights": -0.16,
        "learning rate halved": 1.93,
        "learning rate doubled": 6.26,
    },
    "maps of 16×16": {
        "5×5 filters": -7.81,
        "peepholes": 0.21,
        "forget bias 0": -0.06,
        "no stem, 1×1 painter": 5.35,
        "residual to the last frame": 13.40,
        "no average of the weights": -0.19,
        "learning rate halved": 5.61,
        "learning rate doubled": -3.13,
    },
}
# Validation MSE per frame after each of six epochs, for four learning rates, one run each on MNIST with two CPU cores:
# python -m vidlib train convlstm --profile laptop --set lr=0.0005 epochs=6 --out runs/lr
RATES: dict[float, tuple[float, ...]] = {
    0.0005: (139.9, 134.1, 132.0, 130.9, 129.5, 128.8),
    0.002: (135.8, 131.8, 129.4, 128.0, 126.3, 124.6),
    0.008: (136.2, 130.5, 129.2, 128.4, 126.8, 125.4),
    0.032: (138.7, 135.6, 135.1, 133.2, 131.5, 130.0),
}


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


def layer_parameters(inputs: int, hidden: int, kernel: int) -> int:
    """Weights of a ConvLSTM layer without peepholes."""
    one_map = (inputs + hidden) * kernel**2 + 1  # a filter for every channel that is read, and a bias
    return 4 * hidden * one_map  # i, f, g and o have `hidden` maps each


def input_sums(video: Tensor, filters: Tensor) -> Tensor:
    """W * X of all frames: video (B, T, C, h, w) and filters (4·hidden, C, k, k) to (B, T, 4·hidden, h, w)."""
    frames = video.flatten(0, 1)  # (B·T, C, h, w): to a convolution, time is just more pictures
    sums = F.conv2d(frames, filters, padding=filters.shape[-1] // 2)
    return sums.unflatten(0, video.shape[:2])


def _sums_inputs() -> dict[str, tuple]:
    random = torch.Generator().manual_seed(0)
    return {
        "two clips of three frames": (
            torch.rand(2, 3, 1, 5, 6, generator=random),
            torch.randn(4, 1, 3, 3, generator=random),
        ),
        "filters of side 5 over two channels": (
            torch.rand(1, 4, 2, 7, 7, generator=random),
            torch.randn(8, 2, 5, 5, generator=random),
        ),
    }


def _clips_and_frames_mixed(video: Tensor, filters: Tensor) -> Tensor:
    sums = F.conv2d(video.flatten(0, 1), filters, padding=filters.shape[-1] // 2)
    return sums.unflatten(0, (video.shape[1], video.shape[0])).transpose(0, 1)


def _no_padding(video: Tensor, filters: Tensor) -> Tensor:
    return F.conv2d(video.flatten(0, 1), filters).unflatten(0, video.shape[:2])


def _padding_of_one(video: Tensor, filters: Tensor) -> Tensor:
    return F.conv2d(video.flatten(0, 1), filters, padding=1).unflatten(0, video.shape[:2])


def _not_parted(video: Tensor, filters: Tensor) -> Tensor:
    return F.conv2d(video.flatten(0, 1), filters, padding=filters.shape[-1] // 2)


def receptive_field(steps: int, kernel: int, patch: int) -> int:
    """Pixels to one side that the state-to-state filters reach in so many steps."""
    cells_per_step = kernel // 2  # a filter of side 5 sees two places to each side of the middle
    return steps * cells_per_step * patch


def sees_the_future(encode: Callable[[Tensor], Tensor], clip: Tensor) -> bool:
    """Whether what an encoder says of a frame depends on a later one: encode maps (B, T, …) to (B, T, …)."""
    before = encode(clip)
    for t in range(1, clip.shape[1]):
        changed = clip.clone()
        changed[:, t] = 1 - changed[:, t]
        if not torch.equal(encode(changed)[:, :t], before[:, :t]):  # all that comes before the changed frame
            return True
    return False


def running_mean(clip: Tensor) -> Tensor:
    seen = torch.arange(1, clip.shape[1] + 1).view(1, -1, 1, 1, 1)
    return clip.cumsum(1) / seen


def the_frame_before(clip: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(clip[:, :1]), clip[:, :-1]], dim=1)


def mean_with_the_next(clip: Tensor) -> Tensor:
    following = torch.cat([clip[:, 1:], clip[:, -1:]], dim=1)
    return (clip + following) / 2


def three_ahead(clip: Tensor) -> Tensor:
    return clip + torch.cat([clip[:, 3:], torch.zeros_like(clip[:, :3])], dim=1)


def second_in_first(clip: Tensor) -> Tensor:
    return torch.cat([clip[:, :1] + clip[:, 1:2], clip[:, 1:]], dim=1)


def faint_last_frame(clip: Tensor) -> Tensor:
    return clip + 1e-6 * clip[:, -1:]


def _encoders() -> dict[str, tuple]:
    clip = 0.5 + 0.5 * torch.rand(1, 10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return {
        "it looks back only": (running_mean, clip),
        "it looks back only, one frame": (the_frame_before, clip),
        "it looks one frame ahead": (mean_with_the_next, clip),
        "it looks three frames ahead and at none between": (three_ahead, clip),
        "it looks ahead at frame 1 only": (second_in_first, clip),
        "every place has a millionth of the last frame": (faint_last_frame, clip),
    }


def _seen(encode: Callable[[Tensor], Tensor], clip: Tensor, frames: range, alike: Callable, places: Callable) -> bool:
    before, moved = encode(clip), False
    for t in frames:
        changed = clip.clone()
        changed[:, t] = 1 - changed[:, t]
        moved |= not alike(encode(changed)[:, places(t)], before[:, places(t)])
    return moved


def _frame_seven_only(encode: Callable, clip: Tensor) -> bool:
    return _seen(encode, clip, range(6, 7), torch.equal, lambda t: slice(0, t))


def _tolerant(encode: Callable, clip: Tensor) -> bool:
    return _seen(encode, clip, range(1, clip.shape[1]), torch.allclose, lambda t: slice(0, t))


def _place_before_only(encode: Callable, clip: Tensor) -> bool:
    return _seen(encode, clip, range(1, clip.shape[1]), torch.equal, lambda t: slice(t - 1, t))


def _own_place_too(encode: Callable, clip: Tensor) -> bool:
    return _seen(encode, clip, range(1, clip.shape[1]), torch.equal, lambda t: slice(0, t + 1))


def _whole_output(encode: Callable, clip: Tensor) -> bool:
    return _seen(encode, clip, range(1, clip.shape[1]), torch.equal, lambda t: slice(None))


def best_rates() -> tuple[float, float]:
    """The rate whose error is lowest after two epochs, and the one whose error is lowest after all six."""
    after_two = min(RATES, key=lambda rate: RATES[rate][1])
    after_six = min(RATES, key=lambda rate: RATES[rate][-1])
    return after_two, after_six


def carries_over() -> set[str]:
    """The changes that cost more than 1 in both tables."""
    small, large = ABLATIONS.values()
    return {change for change in small if min(small[change], large[change]) > 1}


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
        name="layer_parameters",
        goal="How many weights a ConvLSTM layer without peepholes has.",
        reference=layer_parameters,
        inputs=lambda: {
            "#the layer that was printed": (1, 4, 3),
            "larger filters": (2, 3, 5),
            "a layer without input": (0, 96, 3),
            "a layer above another": (128, 128, 3),
        },
        hints=(
            "Count one output map first: the filters that make it, one for each channel that is read, and its bias.",
            "A map of a gate reads `inputs` channels of X and `hidden` channels of H, with kernel² weights for each.",
            "There are 4 gates of `hidden` maps each; each map has (inputs + hidden) · kernel² weights and one more.",
        ),
        slips=(
            Slip(lambda i, h, k: 4 * h * (i + h) * k**2, "each map of each gate has a bias as well"),
            Slip(lambda i, h, k: 4 * h * ((i + h) * k**2 + 2), "W and U share one bias, there are not two"),
            Slip(lambda i, h, k: h * ((i + h) * k**2 + 1), "this is one gate, and there are four sums"),
            Slip(lambda i, h, k: 4 * h * ((i + h) * k + 1), "a filter has kernel rows and kernel columns"),
            Slip(lambda i, h, k: 4 * h * (i * k**2 + 1), "the state-to-state filters are missing"),
            Slip(lambda i, h, k: 4 * ((i + h) * k**2 + 1), "each gate has `hidden` maps, not one"),
        ),
    ),
    Exercise(
        name="input_sums",
        goal="The input-to-state sums W * X of all frames of all clips, in one call of F.conv2d.",
        reference=input_sums,
        inputs=_sums_inputs,
        hints=(
            "F.conv2d takes (N, C, h, w) and does not care whether its N pictures are clips, frames, or both.",
            "`video.flatten(0, 1)` makes one axis of B and T, `.unflatten(0, video.shape[:2])` makes two again.",
            "Between the two: `F.conv2d(…, filters, padding=…)`, with half the filter's side as padding.",
        ),
        slips=(
            Slip(_clips_and_frames_mixed, "B comes before T in `flatten(0, 1)`, so it must when you part them again"),
            Slip(_no_padding, "the map shrinks: pad by half of the filter's side"),
            Slip(_padding_of_one, "padding 1 fits filters of side 3; take half of whatever side they have"),
            Slip(_not_parted, "clips and frames still share one axis"),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-5,
        package="vidlib.models.convlstm.ConvLSTMCell.forward",
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
    Exercise(
        name="sees_the_future",
        goal="Whether what an encoder says of a frame depends on a later frame.",
        reference=sees_the_future,
        inputs=_encoders,
        hints=(
            "Change one frame in a copy of the clip. Which places of the output may move then, and which may not?",
            "A leak may show at one frame only: change each frame in turn, and compare *all* places before it.",
            "`changed = clip.clone()`, `changed[:, t] = 1 - changed[:, t]`, then `torch.equal` on `[:, :t]` of both.",
        ),
        slips=(
            Slip(_frame_seven_only, "one changed frame finds some leaks only: change each in turn"),
            Slip(_tolerant, "a leak may be faint: nothing may move, not by one bit, so compare with torch.equal"),
            Slip(_place_before_only, "a leak may skip frames: compare all places before the changed one"),
            Slip(_own_place_too, "the place of the changed frame itself may move, only those before it may not"),
            Slip(_whole_output, "what comes after the changed frame may move, only what is before it may not"),
            Slip(lambda encode, clip: not sees_the_future(encode, clip), "True is for the encoder that looks ahead"),
        ),
    ),
    Exercise(
        name="best_rates",
        goal="Which of four learning rates has the lowest error after two epochs, and which after all six.",
        reference=best_rates,
        hints=(
            "Look at one place of the horizontal axis at a time: which curve is lowest there?",
            "The first answer is read above epoch 2, the second at the right end, above epoch 6.",
            "Two numbers with a comma between: `best_rates = 0.…, 0.…`.",
        ),
        slips=(
            Slip((0.002, 0.008), "after two epochs and after six are exchanged"),
            Slip((0.002, 0.002), "the second is right; above epoch 2 another curve lies lower"),
            Slip((0.008, 0.008), "the first is right; by epoch 6 another curve has come to lie lower"),
            Slip((0.032, 0.0005), "these are the largest and the smallest rate; the question is for the lowest error"),
            Slip((130.5, 124.6), "these are errors; the rates stand in the key"),
        ),
    ),
    Exercise(
        name="carries_over",
        goal="The changes that cost more than 1 in both tables.",
        reference=carries_over,
        hints=(
            "A change costs something where its number is positive: its error lies above that of the base.",
            "Go through the table line by line: both numbers have to be above 1.",
            'It is a set of the names as they stand in the table: `{"5×5 filters", …}`, and it is a small one.',
        ),
        slips=(
            Slip(
                {"residual to the last frame", "learning rate halved", "learning rate doubled"},
                "one of these costs much in one table and helps in the other",
            ),
            Slip(
                {"residual to the last frame", "learning rate halved", "no stem, 1×1 painter"},
                "one of these costs much in one table and helps in the other",
            ),
            Slip({"forget bias 0", "no average of the weights"}, "these lower the error: a minus is a gain"),
            Slip({"residual to the last frame"}, "one more costs more than 1 in both"),
        ),
    ),
)

QUESTIONS: tuple[Question, ...] = (
    Question("next_column", "In which column, counted from 0, does the stroke of the L stand in frame 5?"),
    Question("flattened_weights", "How many weights has an LSTM on 64×64 pixels with four numbers for each?"),
    Question(
        "forget_bias",
        "With a forget gate that starts half closed, will the error of a short training be higher or lower?",
        choices=("higher", "lower"),
    ),
    Question(
        "whole_places", "By how many pixels must a clip move so that maps with patch 8 move with it?", unit="pixels"
    ),
    Question(
        "which_waits",
        "Which of the two convolutions has to wait for the step before?",
        choices=("input-to-state", "state-to-state"),
        answer="state-to-state: it reads H, which the step before has just made. The input is there from the start.",
    ),
    Question(
        "too_slow",
        "Which of these memories falls behind a digit that flies 3.6 pixels per frame?",
        choices=("3×3, patch 1", "3×3, patch 4", "5×5, patch 4", "3×3, patch 8"),
    ),
    Question(
        "leak_in_use",
        "In use, when the next frame isn't there yet, what is the cheat as good as?",
        choices=("perfect", "copy-last", "all-black"),
    ),
    Question(
        "first_prediction",
        "What will the prediction look like after the short training?",
        choices=("all black", "noise", "gray clouds", "a copy of frame 10", "digits"),
    ),
    Question("unknowable", "What part of the shipped model's error could nobody avoid?", unit="%"),
    Question(
        "moves_most",
        "Which of these changes moves the error most in a short training?",
        choices=(*ABLATIONS["maps of 8×8"],),
    ),
    Question(
        "forget_gate",
        "Is the forget gate more or less open where two digits are than where none is?",
        choices=("more open", "less open", "the same"),
    ),
    Question(
        "best_single_frame",
        "Which single frame has the smallest expected squared error?",
        choices=("one of the two", "their mean", "all black"),
    ),
    Question("sharp_until", "For how many frames does the prediction keep half of its sharpness?", unit="frames"),
)
