"""A training that is watched in a notebook: a line and now and then a film strip while it goes on."""

from __future__ import annotations

import time
from pathlib import Path

from torch import Tensor, nn

from vidlib import viz
from vidlib.checks import check_flags
from vidlib.history import History
from vidlib.iterative import rollout
from vidlib.recipes import Recipe
from vidlib.runs import train

_STRIPS = 5  # at most a handful of strips, also in a long training


def watch_training(
    recipe: Recipe, parent: str | Path, past: Tensor, *, digits: str | Path = "auto", resume: bool = False
) -> tuple[nn.Module, History]:
    """Train a recipe; after each epoch print its errors, and draw what the model makes of one clip.

    Args:
        recipe: from :func:`vidlib.recipes.recipe`.
        parent: folder in which each training has a folder of its own.
        past: ``(1, past, C, H, W)``, the clip to continue, on the device of the training.
        digits: see :func:`vidlib.digits.load_digits`.
        resume: go on with the last training that finished an epoch, instead of beginning a new one. More epochs than
            it had make it longer.

    Returns:
        the model with the averaged weights of its best validation epoch, and the history.

    Raises:
        ValueError, RuntimeError: as :func:`vidlib.runs.train`.
    """
    check_flags(resume=resume)

    def draw(model: nn.Module, row: dict[str, float]) -> None:
        print(
            f"epoch {row['epoch']:2} of {recipe.epochs}: {row['clips']:,} clips seen, MSE per frame "
            f"{row['train_loss']:.1f} in training, {row['validation_mse']:.1f} in validation, "
            f"{row['clips_per_second']:.1f} clips/s",
            flush=True,
        )
        if row["epoch"] % max(1, recipe.epochs // _STRIPS) == 0:
            viz.show(
                viz.film_strip({f"epoch {row['epoch']}": rollout(model, past, model.horizon)[0]}, first_frame=11),
                alt=f"The predicted ten frames of the clip after epoch {row['epoch']}.",
            )

    folder = (latest_training(parent) if resume else None) or new_training(parent)
    return train(recipe, folder, digits=digits, resume=resume, progress=False, on_epoch=draw)


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
