"""The notebooks' set-up call, what they print about themselves at the end, and the answer checks of the exercises."""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
import platform
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidlib import viz
from vidlib.digits import SPLITS, describe, load_digits
from vidlib.files import atomic_write
from vidlib.weights import model_card, package_version

PROFILES = ("smoke", "laptop", "full")
_HARMLESS = (  # warnings that a learner can do nothing about
    "IProgress not found",  # tqdm then draws a plain bar
    "'pin_memory' argument is set as true but",  # a DataLoader without accelerator goes on without pinning
)


@dataclass(frozen=True)
class Course:
    """What a notebook needs to know about where it runs.

    Attributes:
        profile: ``"smoke"``, ``"laptop"`` or ``"full"``.
        digits: the source that was found, to hand to ``MovingMNIST(digits=…)``.
        device: an accelerator where there is one, else the CPU.
        root: the folder of the course.
        runs: where outputs go; ``$VIDLIB_RUNS``, or ``runs`` in the course.
        gif_folder: where GIFs go.
    """

    profile: str
    digits: str
    device: torch.device
    root: Path
    runs: Path
    gif_folder: Path

    def provenance(self, *weights: str, **extra: object) -> None:
        """Print what made the numbers above: versions, profile, digits and shipped weights with their SHA-256.

        Args:
            weights: names of the shipped models that the notebook used.
            extra: further lines, name and value. Paths of this machine are shortened.
        """
        facts = {"profile": self.profile, **_versions(), "device": self.device.type}
        for split in SPLITS:
            digits = load_digits(self.digits, split)
            source = self.digits if self.digits in ("mnist", "builtin") else "own images"
            facts[f"{split} digits"] = f"{source}, {len(digits):,}, sha256 {digits.sha256[:16]}…"
        for name in weights:
            facts[f"weights {name}"] = f"sha256 {model_card(name)['weights_sha256'][:16]}…"
        _print_facts(facts | {name: self._without_paths(str(value)) for name, value in extra.items()})

    def save_scores(self, notebook: str, scores: Mapping[str, Any]) -> Path:
        """Leave a notebook's scores in ``runs/scores`` for the table that a run of all notebooks ends with.

        Args:
            notebook: the notebook's name, such as ``"02_convlstm"``.
            scores: name of the model to its :class:`vidlib.metrics.Scores`, all on the same clips.

        Raises:
            ValueError: no scores, or scores of different clips.
            OSError: the file could not be written.
        """
        data = sorted({score.data for score in scores.values()})
        if len(data) != 1:
            raise ValueError(f"scores are of {data}, expected exactly one set of clips: never mix them in a table.")
        file = self.runs / "scores" / f"{notebook}.json"
        rows = {name: score.to_dict() for name, score in scores.items()}
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps({"data": data[0], "rows": rows}, indent=1), encoding="utf-8")
        return file

    def _without_paths(self, text: str) -> str:
        for folder, short in ((self.runs, "runs"), (self.root, "."), (Path.home(), "~")):
            if folder != Path(folder.anchor):  # a home of "/" would eat every slash
                text = text.replace(str(folder), short)
        return text


def setup(
    profile: str = "laptop",
    digits: str | Path = "auto",
    seed: int = 0,
    threads: int | None = None,
    gifs: str | Path | None = None,
) -> Course:
    """Make a notebook ready: seeds, threads, figure style; say on screen which digits and device are used.

    Args:
        profile: ``"smoke"`` (seconds), ``"laptop"`` (minutes) or ``"full"`` (a GPU).
        digits: as in :func:`vidlib.digits.load_digits`.
        seed: for Python, NumPy and torch.
        threads: at most so many CPU threads for torch; ``$VIDLIB_THREADS`` where not given. torch itself keeps to
            ``$OMP_NUM_THREADS``.
        gifs: folder for GIFs; ``$VIDLIB_GIFS`` where not given, else ``gifs`` under the runs. A relative path starts
            at the folder of the course, so ``"datavisualization"`` rebuilds the GIFs that are shown there.

    Raises:
        ValueError: an unknown profile, a seed or number of threads out of range, or digits that cannot be had.
        RuntimeError: as :func:`vidlib.digits.load_digits`.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile is {profile!r}, expected one of {', '.join(PROFILES)}.")
    _check_whole("seed", seed, 0, 2**32 - 1)
    if threads is None and (wanted := os.environ.get("VIDLIB_THREADS")):
        threads = int(wanted) if wanted.isdecimal() else wanted
    if threads is not None:
        _check_whole("threads", threads, 1, 1024)
        torch.set_num_threads(threads)
    found = load_digits(digits, "train")

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for text in _HARMLESS:
        warnings.filterwarnings("ignore", message=f".*{text}")
    viz.apply_style()

    root = project_root()
    runs = root / os.environ.get("VIDLIB_RUNS", "runs")
    gif_folder = root / (gifs or os.environ.get("VIDLIB_GIFS") or runs / "gifs")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    note = ": MNIST is not on disk and could not be downloaded" if (digits, found.source) == ("auto", "builtin") else ""
    _print_facts({"profile": profile, "digits": describe(found) + note, "device": _device_name(device), **_versions()})
    return Course(profile, found.source, device, root, runs, gif_folder)


def project_root() -> Path:
    """The folder of the course, which holds ``notebooks``: the working directory or one above it, else itself."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "notebooks").is_dir() and (p / "vidlib").is_dir()), here)


def _check_whole(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value!r}, expected a whole number from {lowest} to {highest}.")


def _versions() -> dict[str, str]:
    return {"vidlib": package_version(), "torch": torch.__version__, "Python": platform.python_version()}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return device.type if device.type != "cpu" else f"cpu, threads: {torch.get_num_threads()}"


def _print_facts(facts: Mapping[str, object]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


# Answer checks


@dataclass(frozen=True)
class Exercise:
    """A question whose answer is compared with a reference on fixed inputs.

    Attributes:
        name: as :func:`check` is called with it.
        reference: the right function; or the right value, where the answer is no function.
        inputs: makes the list of argument tuples to call the function with.
        hint: one sentence that helps without giving the answer away.
        tolerance: how far a float may be off, relative to the size of the expected number where that is above 1.
    """

    name: str
    reference: Any
    inputs: Callable[[], list[tuple]] = list
    hint: str = ""
    tolerance: float = 0.0


def check(name: str, answer: object) -> None:
    """Print what is to be said about an answer: ``not yet``, the first difference and a hint, or ``correct``.

    Never raises, so that Run All reaches the end of a notebook with open exercises.

    Args:
        name: of the exercise.
        answer: a function or value; ``...``, ``None``, or a function that gives one of them is an unfinished answer.
    """
    print(verdict(name, answer))


def verdict(name: str, answer: object) -> str:
    """The text that :func:`check` prints; it starts with ``name: correct`` for a right answer only."""
    try:
        exercise = EXERCISES[name]
    except (KeyError, TypeError):
        close = difflib.get_close_matches(str(name), EXERCISES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the exercises are {', '.join(EXERCISES)}."
        return f"There is no exercise {name!r}, {hint}"
    try:
        difference = _first_difference(exercise, answer)
    except _Unfinished as unfinished:
        return f"{name}: not yet{unfinished}"
    except Exception as error:  # whatever an answer does, the notebook goes on
        difference = f"your answer could not be compared: {_first_line(error)}"
    return f"{name}: {difference}\nHint: {exercise.hint}" if difference else f"{name}: correct"


class _Unfinished(Exception):
    """An answer with a gap in it."""


def _first_difference(exercise: Exercise, answer: Any) -> str | None:
    if _has_gap(answer):
        raise _Unfinished
    if not callable(exercise.reference):
        return _difference(answer, exercise.reference, exercise.tolerance, "your answer")
    if not callable(answer):
        return f"your answer is a {type(answer).__name__}, expected a function"
    cases = exercise.inputs()
    for number, arguments in enumerate(cases, 1):
        expected = exercise.reference(*copy.deepcopy(arguments))
        result = _call(answer, copy.deepcopy(arguments), f"input {number} of {len(cases)}")
        if isinstance(result, _Raised):
            return result.sentence
        if difference := _difference(result, expected, exercise.tolerance, "your result"):
            return f"{difference} (input {number} of {len(cases)})"
    return None


@dataclass(frozen=True)
class _Raised:
    sentence: str


def _call(function: Callable, arguments: tuple, where: str) -> Any:
    try:
        result = function(*arguments)
    except NotImplementedError as error:
        raise _Unfinished from error
    except Exception as error:
        if isinstance(error, (TypeError, AttributeError)) and "ellipsis" in str(error).lower():
            raise _Unfinished from error  # the function computes with a gap that it still has
        return _Raised(f"your function raised {_first_line(error)} ({where})")
    if result is None:
        raise _Unfinished(": the function returns nothing")
    if _has_gap(result):
        raise _Unfinished
    return result


def _has_gap(value: object) -> bool:
    return value is None or value is ... or (isinstance(value, (tuple, list)) and any(map(_has_gap, value)))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool", "c": "complex"}


def _difference(found: Any, expected: Any, tolerance: float, what: str) -> str | None:
    """The first difference in words, ``None`` where there is none: structure, type, shape, then every element."""
    if isinstance(expected, tuple):
        if not isinstance(found, (tuple, list)) or len(found) != len(expected):
            came = f"{len(found)} values" if isinstance(found, (tuple, list)) else f"a {type(found).__name__}"
            return f"{what} is {came}, expected {len(expected)} values"
        pairs = enumerate(zip(found, expected, strict=True))
        return next((d for i, (a, b) in pairs if (d := _difference(a, b, tolerance, f"{what}[{i}]"))), None)
    if isinstance(found, (tuple, list)):
        return f"{what} is a {type(found).__name__}, expected {_kind_name(expected)}"
    if np.ndim(expected) and isinstance(found, torch.Tensor) != isinstance(expected, torch.Tensor):
        return f"{what} is a {type(found).__name__}, expected {_kind_name(expected)}"
    a, b = _array(found), _array(expected)
    if _KINDS.get(a.dtype.kind) != _KINDS[b.dtype.kind]:
        came = _KINDS.get(a.dtype.kind, type(found).__name__)
        return f"{what} has type {came}, expected {_KINDS[b.dtype.kind]}"
    if a.shape != b.shape:
        return f"{what} has shape {a.shape}, expected {b.shape}"
    with np.errstate(invalid="ignore"):  # NaN - NaN
        wrong = ~(np.abs(a.astype(float) - b.astype(float)) <= tolerance * np.maximum(1, np.abs(b.astype(float))))
    if not wrong.any():  # written so that NaN is wrong
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f" at index {index}" if index else ""
    came, right = a[index].item(), b[index].item()
    if f"{came:.6g}" != f"{right:.6g}":
        came, right = f"{came:.6g}", f"{right:.6g}"
    return f"{what}{place} is {came}, expected {right}"


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _kind_name(expected: Any) -> str:
    if isinstance(expected, torch.Tensor):
        return "a tensor" if expected.ndim else "a number"
    return "an array" if np.ndim(expected) else "a number"


# The exercises: the answer that is right, and inputs on which the usual mistakes show


def _step(positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moved = positions + velocities
    hit = (moved <= 0) | (moved >= 1)
    return np.clip(moved, 0, 1), np.where(hit, -velocities, velocities)


def _step_inputs() -> list[tuple]:
    flying = np.array([[0.25, 0.5], [0.5, 0.75]]), np.array([[0.0625, -0.078125], [-0.1, 0.0]])
    overshooting = (
        np.array([[0.95, 0.5], [0.5, 0.03], [0.97, 0.02]]),
        np.array([[0.1, 0.0], [0.06, -0.08], [0.08, -0.06]]),
    )
    exactly_there = np.array([[0.875, 0.125]]), np.array([[0.125, -0.125]])
    leaving_the_edge = np.array([[0.0, 1.0]]), np.array([[0.06, -0.08]])
    return [flying, overshooting, exactly_there, leaving_the_edge]


def _mse_per_frame(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (prediction - truth).square().sum(dim=(2, 3, 4)).mean()


def _mse_inputs() -> list[tuple]:
    one_pixel_off = torch.zeros(1, 2, 1, 4, 4)
    one_pixel_off[0, 0, 0, 1, 2] = 0.5
    noise = torch.rand(2, 3, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return [(one_pixel_off, torch.zeros(1, 2, 1, 4, 4)), (noise[0] * 1.5 - 0.25, noise[1])]  # predictions leave [0, 1]


def _cell_update(i, f, g, o, c) -> tuple[torch.Tensor, torch.Tensor]:
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _cell_inputs() -> list[tuple]:
    return [tuple(2 * torch.randn(5, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))]


def _receptive_field(steps: int, kernel: int, patch: int) -> int:
    return steps * (kernel // 2) * patch


def _patchify(video: torch.Tensor, patch: int) -> torch.Tensor:
    b, t, c, h, w = video.shape
    blocks = video.reshape(b, t, c, h // patch, patch, w // patch, patch)
    return blocks.permute(0, 1, 3, 5, 4, 6, 2).reshape(b, t, -1, patch * patch * c)


def _patchify_inputs() -> list[tuple]:
    small = torch.arange(2 * 3 * 2 * 4 * 6, dtype=torch.float32).reshape(2, 3, 2, 4, 6)  # H ≠ W and two channels
    frames = torch.rand(1, 2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return [(small, 2), (frames, 8)]


def _rollout_windows(steps: int, chunk: int) -> int:
    return math.ceil(steps / chunk)


EXERCISES = {
    exercise.name: exercise
    for exercise in (
        # 01: step(positions, velocities) -> (positions, velocities), arrays (digits, 2) in units of the free range
        Exercise(
            "step",
            _step,
            _step_inputs,
            "move first; what lands on or beyond 0 or 1 is set to that edge, and only that velocity component flips.",
            1e-12,
        ),
        # 01: mse_per_frame(prediction, truth) -> number, videos (B, T, C, H, W)
        Exercise(
            "mse_per_frame",
            _mse_per_frame,
            _mse_inputs,
            "sum the squared errors over a frame's pixels, then average over clips and frames; clip nothing.",
            1e-5,
        ),
        # 02: cell_update(i, f, g, o, c) -> (h, c), all (B, hidden, h, w), the gates before their sigmoid or tanh
        Exercise(
            "cell_update",
            _cell_update,
            _cell_inputs,
            "i, f and o go through a sigmoid, g through tanh; the new c comes first, and h looks at the new c.",
            1e-5,
        ),
        # 02: receptive_field(steps, kernel, patch) -> int, pixels to one side that the state-to-state filters reach
        Exercise(
            "receptive_field",
            _receptive_field,
            lambda: [(1, 3, 1), (1, 5, 4), (10, 5, 4), (7, 3, 2), (0, 5, 4)],
            "a filter of odd side k reaches (k − 1) / 2 cells to each side, in every step, and a cell is a patch wide.",
        ),
        # 03: patchify(video, patch) -> tokens, (B, T, C, H, W) to (B, T, N, patch·patch·C)
        Exercise(
            "patchify",
            _patchify,
            _patchify_inputs,
            "patches go row by row, and inside a token the order is patch row, patch column, channel.",
        ),
        # 03: rollout_windows(steps, chunk) -> int, how often the model is called
        Exercise(
            "rollout_windows",
            _rollout_windows,
            lambda: [(10, 10), (30, 10), (31, 10), (30, 1), (7, 5), (1, 10)],
            "every call gives `chunk` new frames, and a last call that is needed only in part is still a call.",
        ),
    )
}
