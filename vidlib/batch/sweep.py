"""A notebook for every combination of parameters, several at a time, on Dask."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vidlib.batch.run import (
    NotebookFailed,
    checked,
    environment,
    folder_path,
    read_profile,
    run_notebook,
    stored_scores,
)
from vidlib.checks import check_counts
from vidlib.files import atomic_write, only_writer, user_path, write_rows

_LOCAL_WORKERS = 2


def sweep(
    notebook: str | Path,
    grid: Mapping[str, Sequence[Any]],
    out: str | Path = "runs/sweep",
    *,
    profile: str | Path = "laptop",
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Run a notebook once for every combination of the grid's values, several at a time.

    A run that is finished is kept: the same sweep again runs only what failed or never ran. It is the same run where
    the code of the notebook and all parameters are the same, those of the profile included.

    Args:
        notebook: the notebook to run.
        grid: parameter name to the list of values it takes.
        out: folder; each run writes to a folder in it that is named by its parameters, and ``out/sweep.csv`` lists
            this grid's runs and whatever else has finished there.
        profile: parameters for all runs, as in :func:`vidlib.batch.run.read_profile`; the grid's are stronger.
        workers: how many run at a time on this machine; 2 where not given.
        scheduler: address of a Dask scheduler (``"tcp://host:8786"``) to use instead; its workers need this package
            and must see ``notebook`` and ``out`` under the same paths.

    Returns:
        One row per run, in the grid's order: ``run`` (its folder), ``profile``, the parameters, ``status`` (``"done"``
        or ``"failed"``), ``error``, ``seconds``, ``notebook`` (relative to ``out``), and of the scores that it left
        ``scored on`` and a column such as ``convlstm mse`` for each model and metric. A failed run does not stop the
        others.

    Raises:
        ValueError: a grid that is empty or holds an unknown, mistyped or impossible parameter; nothing has run then.
        RuntimeError: Dask is not installed, the scheduler does not answer, or another sweep writes into ``out``.
    """
    if workers is not None:
        check_counts(workers=workers)
        if scheduler:
            raise ValueError("workers are for this machine and the scheduler has its own: leave one of them out.")
    combinations = _combinations(grid)
    common = read_profile(profile, for_notebook=notebook)
    planned = [checked(notebook, {**common, **combination}) for combination in combinations]
    notebook, out = user_path(notebook), folder_path(out)
    code = _code(notebook)
    rows, waiting = [], []
    for combination, parameters in zip(combinations, planned, strict=True):
        name = _folder_name(notebook, combination, parameters)
        identity = {"code": code, "parameters": parameters}
        row = {"run": name, "profile": str(profile), **combination, "status": "waiting", "error": "", "seconds": ""}
        row["notebook"] = f"{name}/{notebook.name}"
        if _text((stored := _finished(out / name)).get("identity")) == _text(identity):
            row = stored["row"]
        else:
            waiting.append((row, identity))
        rows.append(row)
    with only_writer(out, "sweep"):
        _write_table(out, rows)
        if waiting:
            _run_all(notebook, out, rows, waiting, workers or _LOCAL_WORKERS, scheduler, progress)
    return rows


def _run_all(
    notebook: Path,
    out: Path,
    rows: list[dict[str, Any]],
    waiting: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    workers: int,
    scheduler: str | None,
    progress: bool,
) -> None:
    with _dask_client(min(workers, len(waiting)), scheduler) as client:
        from dask.distributed import as_completed
        from tqdm.auto import tqdm

        futures = {
            client.submit(_run_one, notebook, out, dict(row), identity, pure=False): row for row, identity in waiting
        }
        for future in tqdm(as_completed(futures), "sweep", total=len(futures), unit="run", disable=not progress):
            row, error = futures[future], future.exception()
            if error is None:
                row.update(future.result())
            else:
                row.update(status="failed", error=str(error) if isinstance(error, NotebookFailed) else repr(error))
            _write_table(out, rows)


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    if not grid:
        raise ValueError("the grid is empty, expected at least one parameter with a list of values.")
    for name, values in grid.items():
        if not isinstance(values, (list, tuple, range)) or not values:
            raise ValueError(
                f"the grid has {values!r} for {name!r}, expected a list with at least one value, as in {name}=[1,2]."
            )
        if len({_text(value) for value in values}) < len(values):
            raise ValueError(f"the grid has {list(values)!r} for {name!r}, expected each value once.")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _code(notebook: Path) -> str:
    """SHA-256 of what a notebook computes; its outputs and its prose may change."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    return hashlib.sha256(_text([c.source for c in cells if c.cell_type == "code"]).encode()).hexdigest()


def _folder_name(notebook: Path, combination: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Readable, and different for any two runs: the profile's parameters count too."""
    readable = re.sub(r"[^\w.=+-]+", "-", "_".join(f"{name}={value}" for name, value in combination.items()))[:60]
    return f"{readable}-{hashlib.sha256(_text([notebook.name, parameters]).encode()).hexdigest()[:8]}"


def _finished(folder: Path) -> dict[str, Any]:
    """What a finished run says of itself, or nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if (folder.parent / stored["row"]["notebook"]).is_file() and stored["row"]["run"] == folder.name:
            return stored
    return {}


def _write_table(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows of this grid, then what finished in this folder in sweeps of other grids."""
    own = {row["run"] for row in rows}
    others = [_finished(file.parent) for file in sorted(out.glob("*/run.json")) if file.parent.name not in own]
    rows = [*rows, *(stored["row"] for stored in others if stored)]
    columns = dict.fromkeys(itertools.chain.from_iterable(rows), "")
    write_rows(out / "sweep.csv", [columns | dict(row) for row in rows])


def _run_one(notebook: Path, out: Path, row: dict[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """Run in a worker; the run itself says that it is finished, so that a sweep which was stopped knows."""
    folder = out / row["run"]
    (folder / "run.json").unlink(missing_ok=True)
    start = time.monotonic()
    run_notebook(notebook, folder, identity["parameters"], progress=False)
    row = {**row, "status": "done", "seconds": round(time.monotonic() - start, 1), **_scores(folder)}
    with atomic_write(folder / "run.json") as file:
        file.write_text(json.dumps({"identity": identity, "row": row}, indent=1, default=str), encoding="utf-8")
    return row


def _scores(folder: Path) -> dict[str, Any]:
    """The overall scores that a run left, as columns."""
    found: dict[str, Any] = {}
    for file, stored in stored_scores(folder):
        found["scored on"] = "; ".join(dict.fromkeys(filter(None, [found.get("scored on"), str(stored.get("data"))])))
        for name, row in stored["rows"].items():
            if not (isinstance(row, dict) and isinstance(row.get("overall"), dict)):
                raise NotebookFailed(f"{file} holds no scores for {name!r}.")
            found |= {f"{name} {metric}": value for metric, value in row["overall"].items()}
    return found


@contextmanager
def _dask_client(workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise RuntimeError("Sweeps need Dask, which is not installed: pip install 'dask[distributed]'.") from error
    if scheduler:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise RuntimeError(
                f"No Dask scheduler answers at {scheduler}: start one with `dask scheduler`, "
                "or leave the address out to run on this machine."
            ) from error
        with client:
            yield client
        return
    # Kernels inherit the cap: each would otherwise start one thread per core.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    with (
        environment("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", threads)),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,  # what fails is in the table; an interrupted sweep has a sentence of its own
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
