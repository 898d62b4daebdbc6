"""A training that is watched in a notebook: a line and now and then a film strip while it goes on."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from IPython import get_ipython
from IPython.display import display
from torch import Tensor, nn
from tqdm import tqdm

from vidlib import viz
from vidlib.checks import check_flags
from vidlib.digits import load_digits
from vidlib.history import History
from vidlib.iterative import rollout
from vidlib.machine import choose_device
from vidlib.moving_mnist import MovingMNIST, validation_clips
from vidlib.recipes import Recipe, build
from vidlib.runs import load_start, read_run, train
from vidlib.training import validation_mse
from vidlib.video import Clips

_STRIPS = 5  # at most a handful of strips, also in a long training


def watch_training(
    recipe: Recipe,
    parent: str | Path,
    past: Tensor | None = None,
    *,
    digits: str | Path = "auto",
    clips: tuple[Clips, Clips] | None = None,
    resume: bool = False,
    **options: Any,
) -> tuple[nn.Module, History]:
    """Train a recipe; after each epoch print its errors, and draw what the model makes of one clip.

    Interrupting it keeps every epoch that was finished.

    Args:
        recipe: from :func:`vidlib.recipes.recipe`.
        parent: folder in which each training has a folder of its own.
        past: ``(1, past, C, H, W)``, the clip to continue, on the device of the training; ``None`` draws nothing.
        digits, clips: see :func:`vidlib.runs.train`.
        resume: go on with the last training that finished an epoch, instead of beginning a new one. More epochs than
            it had make it longer.
        options: others of :func:`vidlib.runs.train`.

    Returns:
        the model with the averaged weights of its best validation epoch, and the history. Of a training that was
        interrupted in its first epoch: the model as it was before, and one row that says how it does.

    Raises:
        ValueError, RuntimeError: as :func:`vidlib.runs.train`.
    """
    check_flags(resume=resume)

    def show_epoch(model: nn.Module, row: dict[str, float]) -> None:
        print(
            f"epoch {row['epoch']:2} of {recipe.epochs}: {row['clips']:,} clips seen, MSE per frame "
            f"{row['train_loss']:.1f} in training, {row['validation_mse']:.1f} in validation, "
            f"{row['clips_per_second']:.1f} clips/s",
            flush=True,
        )
        if past is not None and row["epoch"] % max(1, recipe.epochs // _STRIPS) == 0:
            viz.show(
                viz.film_strip({f"epoch {row['epoch']}": rollout(model, past, model.horizon)[0]}, first_frame=11),
                alt=f"The predicted ten frames of the clip after epoch {row['epoch']}.",
            )

    folder = (latest_training(parent) if resume else None) or new_training(parent)
    try:
        return train(
            recipe, folder, digits=digits, clips=clips, resume=resume, progress=ProgressLine, on_epoch=show_epoch,
            **options,
        )  # fmt: skip
    except KeyboardInterrupt:
        return _what_is_there(recipe, folder, digits, clips, options.get("device"))


def _what_is_there(
    recipe: Recipe, folder: Path, digits: str | Path, clips: tuple[Clips, Clips] | None, device: Any
) -> tuple[nn.Module, History]:
    """Model and history of a training that was interrupted, with one sentence about them."""
    try:
        run = read_run(folder)
    except FileNotFoundError:
        return _as_before(recipe, digits, clips, device)
    print(
        f"Interrupted after epoch {run.history[-1]['epoch']} of {recipe.epochs}: the model has the weights of its "
        f"best epoch, {run.best['epoch']}. To go on, set RESUME = True and run this cell again."
    )
    return run.model.to(choose_device(device)).eval(), run.history


def _as_before(
    recipe: Recipe, digits: str | Path, clips: tuple[Clips, Clips] | None, device: Any
) -> tuple[nn.Module, History]:
    """The model that a training began with, and one row that says how it does."""
    print(
        "Interrupted before the first epoch was over: the model is as it was before. To train it, run this cell again."
    )
    model = build(recipe)
    if recipe.start:
        load_start(model, recipe.start, recipe.seed if clips is None else None)
    model = model.to(choose_device(device)).eval()
    if clips is None:
        source = load_digits(digits, "train")
        first = MovingMNIST(recipe.batch_size, digits=source, seed=recipe.seed)
        validation = validation_clips(source.source, recipe.validation_clips)
    else:
        training, validation = clips
        first = training.batch(range(min(recipe.batch_size, len(training))))
    row = {
        **dict.fromkeys(("epoch", "steps", "clips"), 0),
        **dict.fromkeys(("lr", "seconds", "clips_per_second"), 0.0),
        "train_loss": validation_mse(model, first),
        "validation_mse": validation_mse(model, validation),
    }
    return model, [row]


class ProgressLine(tqdm):
    """Progress as one line under a notebook's cell: no widget and no error stream, so that it is saved as text."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._shown = display({"text/plain": ""}, raw=True, display_id=True) if get_ipython() else None
        super().__init__(*args, **{**options, "file": io.StringIO()})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        # tqdm calls this whenever its text is new
        now = self.format_dict
        rate = f", {now['rate']:.1f} clips/s" if now["rate"] else ""
        self._say(f"{now['n']:,} of {now['total']:,} clips{rate}  {now['postfix'] or ''}")
        return True

    def close(self) -> None:
        super().close()
        now = self.format_dict
        self._say(f"{now['n']:,} of {now['total']:,} clips in {self.format_interval(now['elapsed'])} (min:s)")

    def _say(self, text: str) -> None:
        if self._shown:
            self._shown.update({"text/plain": text.rstrip()}, raw=True)


def new_training(parent: str | Path) -> Path:
    """A folder that no training has had: named by the time, so that deleting one never renames another."""
    while True:
        name = f"training-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() // 1000 % 1_000_000:06}"
        try:
            (folder := Path(parent) / name).mkdir(parents=True)
        except FileExistsError:
            continue
        return folder


def latest_training(parent: str | Path) -> Path | None:
    """The folder of the last training in ``parent`` that finished an epoch; ``None`` where there is none."""
    found = [folder for folder in Path(parent).glob("training-*") if (folder / "checkpoint.pt").exists()]
    return max(found, key=lambda folder: (folder / "checkpoint.pt").stat().st_mtime, default=None)
