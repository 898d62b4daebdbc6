"""A notebook for every combination of parameters, several at a time, on Dask."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidlib.batch.run import NotebookFailed, check_parameters, environment, run_notebook
from vidlib.files import write_rows


def sweep(
    notebook: str | Path,
    grid: Mapping[str, Sequence[Any]],
    out: str | Path = "runs/sweep",
    *,
    workers: int = 2,
    scheduler: str | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Run a notebook once for every combination of the grid's values, several at a time.

    Args:
        notebook: the notebook to run.
        grid: parameter name to the list of values it takes.
        out: folder; run 3 writes to ``out/003``, and ``out/sweep.csv`` lists every run so far.
        workers: how many run at a time on this machine.
        scheduler: address of a Dask scheduler (``"tcp://host:8786"``) to use instead; its workers need this package
            and must see ``notebook`` and ``out`` under the same paths.

    Returns:
        One row per run, in the grid's order: ``run``, the parameters, ``status`` (``"done"`` or ``"failed"``),
        ``error``, ``seconds``, ``notebook`` (relative to ``out``). A failed run does not stop the others.

    Raises:
        ValueError: a grid that is empty or holds an unknown or mistyped parameter; nothing has run then.
        RuntimeError: Dask is not installed, or the scheduler does not answer.
    """
    notebook, out = Path(notebook).resolve(), Path(out).resolve()
    combinations = _combinations(grid)
    for parameters in combinations:
        check_parameters(notebook, parameters)
    rows = [
        {"run": f"{n:03}", **p, "status": "waiting", "error": "", "seconds": "", "notebook": f"{n:03}/{notebook.name}"}
        for n, p in enumerate(combinations, 1)
    ]
    with _dask_client(min(workers, len(rows)), scheduler) as client:
        from dask.distributed import as_completed
        from tqdm.auto import tqdm

        out.mkdir(parents=True, exist_ok=True)
        write_rows(out / "sweep.csv", rows)
        futures = {
            client.submit(_timed_run, notebook, out / row["run"], parameters, pure=False): row
            for row, parameters in zip(rows, combinations, strict=True)
        }
        for future in tqdm(as_completed(futures), "sweep", total=len(rows), unit="run", disable=not progress):
            row, error = futures[future], future.exception()
            if error is None:
                row.update(status="done", seconds=round(future.result(), 1))
            else:
                row.update(status="failed", error=str(error) if isinstance(error, NotebookFailed) else repr(error))
            write_rows(out / "sweep.csv", rows)
    return rows


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    if not grid:
        raise ValueError("the grid is empty, expected at least one parameter with a list of values.")
    for name, values in grid.items():
        if not isinstance(values, (list, tuple, range)) or not values:
            raise ValueError(f"the grid has {values!r} for {name!r}, expected a list with at least one value.")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _timed_run(notebook: Path, out: Path, parameters: Mapping[str, Any]) -> float:
    start = time.monotonic()
    run_notebook(notebook, out, parameters, progress=False)
    return time.monotonic() - start


@contextmanager
def _dask_client(workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise RuntimeError("Sweeps need Dask, which is not installed: pip install 'dask[distributed]'.") from error
    if scheduler:
        try:
            client = Client(scheduler, timeout=10)
        except OSError as error:
            raise RuntimeError(
                f"No Dask scheduler answers at {scheduler}: start one with `dask scheduler`, "
                "or leave the address out to run on this machine."
            ) from error
        with client:
            yield client
        return
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1.")
    # Kernels inherit the cap: each would otherwise start one thread per core.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    with (
        environment("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", threads)),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client
