"""The exercises and questions of notebook 4, the comparison. How such a file is made: :mod:`.data_lessons`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from vidlib.exercises.checking import Exercise, Slip
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, NO_LOOP
from vidlib.exercises.questions import Question
from vidlib.published import PUBLISHED

# Validation MSE per frame by the training clips seen, one number for each of three seeds, from studies/flow.csv
# (`python -m studies.flow`). A test compares them with the file.
FLOW: dict[str, dict[int, tuple[float, ...]]] = {
    "flow-convlstm, 9 velocities": {
        160: (141.55, 141.6, 142.41),
        320: (138.38, 137.65, 139.05),
        480: (136.95, 135.94, 137.81),
    },
    "flow-convlstm, no velocity": {
        160: (146.4, 146.65, 145.7),
        320: (139.21, 140.98, 139.3),
        480: (136.59, 136.9, 136.51),
    },
    "convlstm": {160: (138.42, 144.49, 140.37), 320: (136.97, 136.44, 138.76), 480: (136.06, 133.91, 135.86)},
}


def paired_interval(errors: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean difference of two models' errors, clip by clip.

    ``errors`` and ``others`` are (clips,), ``drawn`` (draws, clips): the numbers of the clips that each draw takes.
    """
    differences = errors - others  # of the same clip: what both find hard cancels
    means = differences[drawn].mean(axis=1)  # (draws,)
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high


def _two_models() -> dict[str, tuple]:
    rng = np.random.default_rng(0)
    hard = rng.gamma(3.0, 20.0, 40)  # what a clip costs whoever predicts it
    mine, yours = hard + rng.normal(0, 2, 40), hard + rng.normal(1, 2, 40)
    drawn = rng.integers(0, 40, (500, 40))
    few = np.array([3.0, 1.0, 2.0, 6.0]), np.array([2.0, 2.0, 1.0, 3.0])
    return {
        "#forty clips": (mine, yours, drawn),
        "four clips": (*few, rng.integers(0, 4, (200, 4))),
        "two models that are one": (hard, hard.copy(), drawn),
    }


def _unpaired(errors: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    means = errors[drawn].mean(1) - others[drawn[::-1]].mean(1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def _tails_of_five(errors: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    return tuple(np.quantile((errors - others)[drawn].mean(1), [0.05, 0.95]))


def _of_clips(errors: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    return tuple(np.quantile((errors - others)[drawn], [0.025, 0.975]))


def _not_drawn(errors: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    return tuple(np.quantile(errors - others, [0.025, 0.975]))


def _other_way(errors: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    return tuple(np.quantile((others - errors)[drawn].mean(1), [0.025, 0.975]))


def ssim_of_window(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """SSIM of one window of two frames, each (7, 7): Wang et al. 2004, with sample variances and covariance."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    n = x.size
    covariance = ((x - x.mean()) * (y - y.mean())).sum() / (n - 1)
    brightness = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
    structure = (2 * covariance + c2) / (x.var(ddof=1) + y.var(ddof=1) + c2)
    return brightness * structure


def _windows() -> dict[str, tuple]:
    rng = np.random.default_rng(1)
    stroke = np.zeros((7, 7))
    stroke[:, 3] = 0.9
    haze, noise = np.full((7, 7), 0.02), rng.random((2, 7, 7))
    return {
        "a stroke and a dim one": (stroke, 0.5 * stroke, 1.0),
        "black and a haze": (np.zeros((7, 7)), haze, 1.0),
        "the same haze, range 2": (np.zeros((7, 7)), haze, 2.0),
        "noise": (noise[0], noise[1], 1.0),
    }


def _ssim(x: np.ndarray, y: np.ndarray, c1: float, c2: float, ddof: int = 1) -> float:
    covariance = ((x - x.mean()) * (y - y.mean())).sum() / (x.size - ddof)
    top = (2 * x.mean() * y.mean() + c1) * (2 * covariance + c2)
    return top / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var(ddof=ddof) + y.var(ddof=ddof) + c2))


def not_beaten(costs: dict[str, float], errors: dict[str, float]) -> set[str]:
    """The models that no other one beats: none is at least as cheap *and* at least as good, and better in one."""

    def beats(one: str, other: str) -> bool:
        no_worse = costs[one] <= costs[other] and errors[one] <= errors[other]
        return no_worse and (costs[one] < costs[other] or errors[one] < errors[other])

    return {name for name in costs if not any(beats(other, name) for other in costs)}


def _models_with_costs() -> dict[str, tuple]:
    costs = {"A": 1.0, "B": 2.0, "C": 2.0, "D": 4.0, "E": 8.0}
    return {
        "#five models": (costs, {"A": 60.0, "B": 50.0, "C": 55.0, "D": 30.0, "E": 31.0}),
        "two that are alike": (costs, {"A": 60.0, "B": 50.0, "C": 50.0, "D": 50.0, "E": 20.0}),
        "one beats all": (costs, {"A": 10.0, "B": 11.0, "C": 12.0, "D": 13.0, "E": 14.0}),
    }


def _strictly(costs: dict[str, float], errors: dict[str, float]) -> set[str]:
    return {a for a in costs if not any(costs[b] < costs[a] and errors[b] < errors[a] for b in costs)}


def _beaten_by_alike(costs: dict[str, float], errors: dict[str, float]) -> set[str]:
    return {a for a in costs if not any(costs[b] <= costs[a] and errors[b] <= errors[a] for b in costs if b != a)}


def _either(costs: dict[str, float], errors: dict[str, float]) -> set[str]:
    return {a for a in costs if not any(costs[b] < costs[a] or errors[b] < errors[a] for b in costs)}


def overtakers() -> set[str]:
    """Who is behind TAU after 200 epochs and ahead of it after 2000."""
    after = {row.model: row.errors() for row in PUBLISHED if len(row.errors()) == 2}
    tau = after["TAU"]
    return {name for name, error in after.items() if error[200] > tau[200] and error[2000] < tau[2000]}


def split_error(prediction: torch.Tensor, truth: torch.Tensor, ideal: torch.Tensor) -> tuple[float, float, float]:
    """Unknowable, avoidable and chance: three numbers that sum to the MSE per frame. All are (B, T, 1, H, W)."""

    def per_frame(products: torch.Tensor) -> float:
        return products.sum(dim=(2, 3, 4)).mean().item()

    unknowable = per_frame((ideal - truth).square())
    avoidable = per_frame((prediction - ideal).square())
    chance = 2 * per_frame((prediction - ideal) * (ideal - truth))
    return unknowable, avoidable, chance


def _three_videos() -> dict[str, tuple]:
    made = torch.Generator().manual_seed(0)
    truth, noise, other = (torch.rand(2, 3, 1, 4, 5, generator=made) for _ in range(3))
    one = torch.zeros(1, 1, 1, 2, 2)
    return {
        "four pixels": (one + 0.25, one + 1.0, one + 0.5),
        "two clips of three frames": (noise, truth, other),
        "a model that equals the ideal observer": (other, truth, other),
    }


def _split(prediction: torch.Tensor, truth: torch.Tensor, ideal: torch.Tensor, factor: float = 2, sign: int = 1):
    def frames(products):
        return products.sum((2, 3, 4)).mean().item()

    return (
        frames((ideal - truth).square()),
        frames((prediction - ideal).square()),
        factor * sign * frames((prediction - ideal) * (ideal - truth)),
    )


def best_shift(prediction: torch.Tensor, truth: torch.Tensor, reach: int) -> tuple[int, int]:
    """The (rows down, columns right) by which a frame (H, W) is moved to have the smallest squared error.

    Up to ``reach`` pixels each way; what leaves the frame is gone, and black comes in.
    """
    height, width = truth.shape
    padded = F.pad(prediction, (reach,) * 4)
    smallest, found = float("inf"), (0, 0)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            top, left = reach - down, reach - right  # moving a picture down is looking at it from higher up
            error = (padded[top : top + height, left : left + width] - truth).square().sum().item()
            if error < smallest:
                smallest, found = error, (down, right)
    return found


def _frames() -> dict[str, tuple]:
    made = torch.Generator().manual_seed(0)
    stroke = torch.zeros(9, 10)
    stroke[3:7, 4] = stroke[6, 4:7] = 1.0  # an L
    moved = torch.zeros(9, 10)
    moved[1:5, 6] = moved[4, 6:9] = 1.0
    corner = torch.zeros(9, 10)
    corner[0:3, 0] = 1.0
    away = torch.zeros(9, 10)
    away[7:9, 9] = 1.0  # around the border, the corner's stroke would come back here
    away[1:4, 2] = 0.6
    light = torch.rand(9, 10, generator=made)
    return {
        "an L that is two rows too high and two columns too far right": (moved, stroke, 3),
        "a blurred one": (0.4 * moved + 0.1 * light, stroke, 2),
        "a stroke at the border": (corner, away, 2),
        "no shift at all": (stroke, stroke.clone(), 2),
    }


def _around_the_border(prediction: torch.Tensor, truth: torch.Tensor, reach: int) -> tuple[int, int]:
    line = range(-reach, reach + 1)
    errors = {(y, x): (prediction.roll((y, x), (0, 1)) - truth).square().sum().item() for y in line for x in line}
    return min(errors, key=errors.get)


def _darkest(prediction: torch.Tensor, truth: torch.Tensor, reach: int) -> tuple[int, int]:
    line = range(-reach, reach + 1)
    matches = {(y, x): (prediction.roll((y, x), (0, 1)) * truth).sum().item() for y in line for x in line}
    return min(matches, key=matches.get)


QUESTIONS_AND_METRICS = {  # what is asked in the exercise: the metric that answers it
    "A": "identity",
    "B": "ssim_published",
    "C": "mse",
    "D": "sharpness",
}


def metric_for() -> dict[str, str]:
    """The metric that answers each question."""
    return {
        "A": "identity",  # a reader of digits asks whether they can be read
        "B": "ssim_published",  # the same definition as in the paper; and the same clips, or no comparison at all
        "C": "mse",  # the ideal observer is ideal for squared error alone
        "D": "sharpness",  # asks for edges only, whatever they show
    }


EXERCISES = (
    Exercise(
        name="paired_interval",
        goal="The 95% bootstrap interval of the mean difference of two models' errors, clip by clip.",
        reference=paired_interval,
        inputs=_two_models,
        hints=(
            "Both models saw the same clips: subtract first, clip by clip, and draw clips of the difference.",
            "`differences[drawn]` is (draws, clips): one row for each draw. Take the mean of each row.",
            "The middle 95% of those means lie between `np.quantile(means, …)` at 0.025 and at 0.975.",
        ),
        slips=(
            Slip(_unpaired, "the two models' clips are drawn apart: subtract clip by clip before you draw"),
            Slip(_tails_of_five, "this leaves out 5% at either end, which is a 90% interval"),
            Slip(_of_clips, "this is where single differences lie, not their mean: one mean for each draw"),
            Slip(_not_drawn, "this is where single differences lie: draw clips, and take the mean of each draw"),
            Slip(_other_way, "the difference is the other way round: errors minus others"),
        ),
        demands=(INPUTS_LEFT_ALONE, NO_LOOP),
        tolerance=1e-9,
        package="vidlib.intervals.bootstrap",
        minutes=10,
    ),
    Exercise(
        name="not_beaten",
        goal="The models that no other one beats in cost and error at once.",
        reference=not_beaten,
        inputs=_models_with_costs,
        hints=(
            "A model is beaten where another one is no dearer and no worse, and better in one of the two.",
            "Two models that are alike in both don't beat each other.",
            "`all(…)` for no worse in both, `any(…)` for better in one; then keep the names that nobody beats.",
        ),
        slips=(
            Slip(_strictly, "who costs the same and errs less beats as well: it need not be better in both"),
            Slip(_beaten_by_alike, "two models that are alike in both don't beat each other"),
            Slip(_either, "being better in one of the two is not enough to beat another model"),
            Slip(lambda c, e: {n for n in c if e[n] == min(e.values())}, "these have the least error; cost counts too"),
            Slip(
                lambda c, e: {n for n in c if c[n] == min(c.values())}, "these are the cheapest; the error counts too"
            ),
        ),
        minutes=10,
    ),
    Exercise(
        name="overtakers",
        goal="Who is behind TAU after 200 epochs and ahead of it after 2000.",
        reference=overtakers,
        hints=(
            "Only rows with figures in both columns can tell.",
            "Two conditions: an MSE above TAU's in the first column, and below TAU's in the second.",
            'A set of names as they stand in the first column: `{"TAU", …}`, with other names.',
        ),
        slips=(
            Slip({"PredFormer TSST, 6 layers, patch 8"}, "one more does it, if by less"),
            Slip({"SimVP gSTA"}, "one more does it, and by more"),
            Slip(
                {"SimVP gSTA", "PredFormer TSST, 6 layers, patch 8", "PredRNN++"},
                "one of these was ahead of TAU from the start",
            ),
            Slip(
                {"SimVP gSTA", "PredFormer TSST, 6 layers, patch 8", "PredFormer TSST, 8 layers"},
                "one of these has no figure after 200 epochs",
            ),
            Slip({"ConvLSTM-S (4×128, 5×5, patch 4)", "SimVP with ViT blocks"}, "these stay behind TAU"),
        ),
        minutes=5,
    ),
    Exercise(
        name="ssim_of_window",
        goal="SSIM of one 7×7 window, with the two constants that the data range makes.",
        reference=ssim_of_window,
        inputs=_windows,
        hints=(
            "Two fractions: one of the means with C1, one of variances and covariance with C2.",
            "C1 = (0.01·R)² and C2 = (0.03·R)²; without them, black against black would be 0 / 0.",
            "Sample variances divide by n − 1: `x.var(ddof=1)`, and the covariance likewise.",
        ),
        slips=(
            Slip(lambda x, y, r: _ssim(x, y, 0.01 * r, 0.03 * r), "the constants are squares"),
            Slip(lambda x, y, r: _ssim(x, y, 0.01**2, 0.03**2), "the constants grow with the data range"),
            Slip(lambda x, y, r: _ssim(x, y, (0.01 * r) ** 2, (0.03 * r) ** 2, 0), "sample variances divide by n − 1"),
            Slip(lambda x, y, r: _ssim(x, y, (0.03 * r) ** 2, (0.01 * r) ** 2), "the two constants are exchanged"),
            Slip(lambda x, y, r: _ssim(x, y, 0.01**2 * r, 0.03**2 * r), "the data range is squared as well"),
        ),
        tolerance=1e-9,
        package="vidlib.metrics.ssim_per_frame",
        minutes=15,
    ),
    Exercise(
        name="metric_for",
        goal="The metric that answers each question.",
        reference=metric_for,
        hints=(
            "For each question: what would a model have to do to score well, and is that what is asked?",
            "One question is about strokes that can be read, one about edges, one about squared error.",
            "The fourth is about a number that was made with `data_range=2`.",
        ),
        slips=(
            Slip(QUESTIONS_AND_METRICS | {"A": "sharpness"}, "sharp strokes can be those of another digit (A)"),
            Slip(QUESTIONS_AND_METRICS | {"A": "mse"}, "a low squared error can be a haze that nobody can read (A)"),
            Slip(QUESTIONS_AND_METRICS | {"B": "ssim"}, "the papers' figure was made with another data range (B)"),
            Slip(QUESTIONS_AND_METRICS | {"C": "ssim"}, "the ideal observer is ideal for squared error alone (C)"),
            Slip(QUESTIONS_AND_METRICS | {"D": "mse"}, "a sharp digit in a wrong place has a large squared error (D)"),
        ),
        minutes=5,
    ),
    Exercise(
        name="split_error",
        goal="Split a squared error into what nobody can know, what could be avoided, and chance.",
        reference=split_error,
        inputs=_three_videos,
        hints=(
            "Write p − y as (p − m) + (m − y) and square it: three terms.",
            "The mixed term is a product of the two differences, and it comes twice.",
            "Each is summed over the pixels of a frame and averaged over clips and frames, as an MSE per frame is.",
        ),
        slips=(
            Slip(lambda p, y, m: _split(p, y, m, factor=1), "the mixed term comes twice"),
            Slip(lambda p, y, m: _split(p, y, m, sign=-1), "one of the two differences in the mixed term is turned"),
            Slip(
                lambda p, y, m: (a := _split(p, y, m), (a[0], a[1] + a[2], 0.0))[1],
                "what is avoidable and what is chance are two things: the third is rarely 0",
            ),
            Slip(
                lambda p, y, m: (a := _split(p, y, m), (a[1], a[0], a[2]))[1], "unknowable and avoidable are exchanged"
            ),
        ),
        tolerance=1e-4,
        package="vidlib.decomposition.parts_of",
        minutes=10,
    ),
    Exercise(
        name="best_shift",
        goal="The shift of a frame with the smallest squared error to another one.",
        reference=best_shift,
        inputs=_frames,
        hints=(
            "Try every shift: two loops, and remember the best.",
            "Pad by `reach` on all sides; a shifted frame is then a window of the padded one.",
            "The window of a frame moved down begins higher up: `padded[reach - down : reach - down + height, …]`.",
        ),
        slips=(
            Slip(lambda p, t, r: tuple(-s for s in best_shift(p, t, r)), "this moves the truth, not the prediction"),
            Slip(lambda p, t, r: best_shift(p, t, r)[::-1], "rows come before columns"),
            Slip(_around_the_border, "`roll` brings back at one border what left at the other"),
            Slip(_darkest, "this is the worst match, not the best"),
        ),
        package="vidlib.decomposition.best_shifts",
        minutes=20,
    ),
)

QUESTIONS: tuple[Question, ...] = (
    Question("black_beats", "In how many of the metrics is an all-black page better than a copy of the last frame?"),
    Question(
        "who_is_better",
        "Is the transformer better than the ConvLSTM in MSE, worse, or is there no difference to be seen?",
        choices=("better", "worse", "none"),
    ),
    Question(
        "hardest_frames",
        "In which frames is the shipped ConvLSTM's error largest?",
        choices=("neither", "overlap", "bounce", "both"),
    ),
    Question("range_moves", "By how much does data range 2 raise the shipped ConvLSTM's SSIM?"),
    Question(
        "which_channel",
        "A video starts to flow by one place per frame. Where is what was in the velocity channel 0?",
        choices=("in channel 0", "in channel 1", "in channel -1", "in no channel"),
    ),
    Question(
        "flow_buys",
        "After the same few clips, is the flow-equivariant model better than the ConvLSTM, worse, or neither?",
        choices=("better", "worse", "none"),
    ),
    Question(
        "largest_part",
        "Which part of the shipped ConvLSTM's error is the largest?",
        choices=("unknowable", "where", "sharpness", "identity"),
    ),
    Question(
        "training_bought",
        "Which part has more training made smaller by most?",
        choices=("unknowable", "where", "sharpness", "identity"),
    ),
)
