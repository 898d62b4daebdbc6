"""The set-up call of the notebooks, and what they print about themselves at the end."""

from __future__ import annotations

import json
import os
import platform
import random
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython import get_ipython

from vidlib import viz
from vidlib.checks import check_counts, check_texts
from vidlib.digits import SPLITS, describe, load_digits
from vidlib.exercises.lessons import check, compare, guess, hint, reveal, solution
from vidlib.files import atomic_write, user_path
from vidlib.lab.widget import lab
from vidlib.machine import choose_device, device_name, use_threads
from vidlib.parameters import check_notebook
from vidlib.recipes import PROFILES, notebook_numbers
from vidlib.weights import model_card, package_version

__all__ = [
    "PROFILES",
    "Course",
    "check",
    "compare",
    "guess",
    "hint",
    "lab",
    "project_root",
    "reveal",
    "setup",
    "solution",
]

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
            ValueError: no name of a notebook, no scores, or scores of different clips.
            OSError: the file could not be written.
        """
        check_texts(notebook=notebook)
        if Path(notebook).name != notebook:
            raise ValueError(f"notebook is {notebook!r}, expected its name without a folder, such as '02_convlstm'.")
        if not isinstance(scores, Mapping) or not all(hasattr(score, "data") for score in scores.values()):
            raise ValueError("scores are something else, expected {name of the model: what evaluate gave}.")
        data = sorted({score.data for score in scores.values()})
        if len(data) != 1:
            raise ValueError(f"scores are of {data}, expected exactly one set of clips: never mix them in a table.")
        file = self.runs / "scores" / f"{notebook}.json"
        rows = {name: score.to_dict() for name, score in scores.items()}
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps({"data": data[0], "rows": rows}, indent=1), encoding="utf-8")
        return file

    def _without_paths(self, text: str) -> str:
        folders = [(self.runs, "runs"), (self.root, ".")]
        with suppress(RuntimeError):  # an account without a home
            folders.append((Path.home(), "~"))
        for folder, short in folders:
            if folder != Path(folder.anchor):  # a home of "/" would eat every slash
                text = text.replace(str(folder), short)
        return text


def setup(
    profile: str = "laptop",
    digits: str | Path = "auto",
    seed: int = 0,
    threads: int | None = None,
    gifs: str | Path | None = None,
    trains: str = "",
) -> Course:
    """Make a notebook ready: seeds, threads, figure style; say on screen which digits and device are used.

    A parameter of the notebook that is ``None`` takes the profile's number, which is shown too: see
    :func:`vidlib.recipes.notebook_numbers`.

    Args:
        profile: ``"smoke"`` (seconds), ``"laptop"`` (minutes) or ``"full"`` (a GPU).
        digits: as in :func:`vidlib.digits.load_digits`.
        seed: for Python, NumPy and torch.
        threads: at most so many CPU threads for torch; ``$VIDLIB_THREADS`` where not given. torch itself keeps to
            ``$OMP_NUM_THREADS``.
        gifs: folder for GIFs; ``$VIDLIB_GIFS`` where not given, else ``gifs`` under the runs.
        trains: the model that the notebook trains, whose recipe knows ``EPOCHS`` and the like.

    A relative ``gifs``, ``$VIDLIB_GIFS``, ``$VIDLIB_RUNS`` or ``$VIDLIB_DATA`` starts at the folder of the course,
    because a notebook works in a folder below it: ``"datavisualization"`` rebuilds the GIFs that are shown there.

    Raises:
        ValueError: an unknown profile, a seed or number of threads out of range, something that is no path,
            or digits that do not exist.
        OSError, RuntimeError: as :func:`vidlib.digits.load_digits`.
    """
    root = project_root()
    names = getattr(get_ipython(), "user_ns", {})
    check_notebook(names)  # whatever papermill has put into it
    numbers = {
        name: number if names[name] is None else names[name]
        for name, number in notebook_numbers(profile, trains).items()
        if name in names
    }
    check_notebook({**names, **numbers})  # and whether it goes with the profile's numbers
    check_counts(0, highest=2**32 - 1, seed=seed)
    use_threads(threads)
    runs = _in_course(root, os.environ.get("VIDLIB_RUNS") or "runs")
    gif_folder = _in_course(root, os.environ.get("VIDLIB_GIFS") or runs / "gifs" if gifs is None else gifs)
    if data := os.environ.get("VIDLIB_DATA"):
        os.environ["VIDLIB_DATA"] = str(_in_course(root, data))  # said once, for all that loads digits from now on
    found = load_digits(digits, "train")

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for text in _HARMLESS:
        warnings.filterwarnings("ignore", message=f".*{text}")
    viz.apply_style()

    device = choose_device()
    note = f" ({found.note})" if found.note else ""
    facts = {"profile": profile, "digits": describe(found) + note, "device": device_name(device), **_versions()}
    _print_facts(facts | numbers)
    names.update(numbers)
    return Course(profile, found.source, device, root, runs, gif_folder)


def project_root() -> Path:
    """The folder of the course, which holds ``notebooks``: the working directory or one above it, else itself."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "notebooks").is_dir() and (p / "vidlib").is_dir()), here)


def _in_course(root: Path, path: str | Path) -> Path:
    """A path that starts at the folder of the course, unless it says otherwise."""
    whole = user_path(path)  # also finds out whether it is a path
    return whole if str(path).startswith("~") else root / path


def _versions() -> dict[str, str]:
    return {"vidlib": package_version(), "torch": torch.__version__, "Python": platform.python_version()}


def _print_facts(facts: Mapping[str, object]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
