"""For authors: run the notebooks and save what they show in the course itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidlib.batch.run import (
    environment,
    folder_path,
    jobs,
    notebooks,
    papermill_path,
    read_profile,
    run_notebook,
    run_notebooks,
)
from vidlib.checks import check_counts
from vidlib.files import atomic_write

_SHOWN_GIFS = ("VIDLIB_GIFS", "datavisualization")  # set for kernels that shall write what README and notebooks show


def refresh_notebooks(names: Sequence[str] = (), out: str | Path = "runs/refresh", *, progress: bool = True) -> None:
    """Run notebooks at the laptop profile and save their new outputs, and the GIFs, in the course itself.

    Args:
        names: the first letters of the notebooks to run, such as ``"02"``; none runs all.
        out: folder for what else they write.

    Raises:
        ValueError: no notebook of that name.
        NotebookFailed, RuntimeError: as :func:`run_notebook`; that notebook is left as it was.
    """
    import nbformat

    names, course = [names] if isinstance(names, str) else list(names), notebooks()
    for name in names:
        if not (name and any(path.name.startswith(name) for path in course)):
            raise ValueError(f"no notebook begins with {name!r}: there are {', '.join(p.stem for p in course)}.")
    chosen = [path for path in course if not names or path.name.startswith(tuple(names))]
    for path in chosen:
        with environment(*_SHOWN_GIFS):
            executed = nbformat.read(run_notebook(path, out, progress=progress), as_version=4)
        for place in (executed, *executed.cells):
            place.metadata.pop("papermill", None)  # when and where it ran is no part of the lesson
        for cell in executed.cells:
            cell.metadata.pop("execution", None)
            if not cell.metadata.get("tags", True):
                del cell.metadata["tags"]
            cell.get("outputs", [])[:] = _joined(cell.get("outputs", []))
        with atomic_write(path) as file:
            nbformat.write(executed, file)


def rebuild_gifs(digits: str = "mnist", out: str | Path = "runs/for-gifs") -> None:
    """Rebuild the GIFs that the course shows from the shipped weights, by the smoke runs of the notebooks.

    The README's first one, both models beside the truth, is in no notebook: :func:`comparison` draws it.

    Args:
        digits: as in :func:`vidlib.digits.load_digits`.
        out: folder for what else the notebooks write.
    """
    with environment(*_SHOWN_GIFS):
        run_notebooks("smoke", out, {"DIGITS": digits})
    comparison(digits)


def comparison(digits: str = "mnist", out: str | Path | None = None, clips: int = 2) -> Path:
    """The GIF on top of the README: the truth, both shipped models and their errors on the first test clips.

    Args:
        digits: as in :func:`vidlib.digits.load_digits`.
        out: the GIF file (``None``: ``datavisualization/comparison.gif`` of the course).
        clips: how many clips, as rows.

    Raises:
        ValueError: no digits of that name; clips out of range.
    """
    import torch

    from vidlib.iterative import rollout
    from vidlib.moving_mnist import test_clips
    from vidlib.video import float_batch
    from vidlib.viz import comparison_gif
    from vidlib.weights import load_pretrained

    check_counts(clips=clips)
    video = float_batch(test_clips(digits, clips), range(clips), 20, torch.device("cpu"))
    past, truth = video[:, :10], video[:, 10:]
    models = {"ConvLSTM": "convlstm", "transformer": "video-transformer"}
    predicted = {name: rollout(load_pretrained(weights), past, 10) for name, weights in models.items()}
    target = notebooks()[0].parents[1] / _SHOWN_GIFS[1] / "comparison.gif" if out is None else Path(out)
    return comparison_gif(target, past, truth, predicted, scale=2, fps=4, together=True)


def _joined(outputs: list[Any]) -> list[Any]:
    """Neighbouring pieces of one stream as one output, however the kernel happened to cut it."""
    joined: list[Any] = []
    for output in outputs:
        same = joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name
        if same:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def prepare_notebooks(profile: str | Path, out: str | Path) -> list[Path]:
    """Copy all notebooks with a profile's parameters injected and the saved outputs kept, without running them.

    ``pytest --nbval-lax`` on the copies executes each notebook at that profile and compares its outputs in one go.
    """
    import papermill

    out = folder_path(out)
    out.mkdir(parents=True, exist_ok=True)
    targets = []
    for path, own in jobs(read_profile(profile)):
        targets.append(out / path.name)
        papermill.execute_notebook(papermill_path(path), papermill_path(targets[-1]), own, prepare_only=True)
    return targets
