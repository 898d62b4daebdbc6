"""Notebooks as batch jobs: parameters checked before anything runs, profiles, sweeps on Dask.

papermill executes the notebooks. This room adds what a batch job needs: a misspelt or mistyped parameter is one
sentence before the first cell, one failed run does not stop the others, and every run writes to its own folder.
"""

from __future__ import annotations

import ast
import csv
import difflib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidlib.files import atomic_write

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
# Kernels learn from this variable where to write; unset, they write to `runs` in the checkout.
RUNS_VARIABLE = "VIDLIB_RUNS"
_SHOWN_GIFS = ("VIDLIB_GIFS", "datavisualization")  # set for kernels that shall write what README and notebooks show

# That variable is set in the environment of this process, which its threads share: one run at a time in a process.
_one_at_a_time = threading.Lock()


class NotebookFailed(RuntimeError):
    """A cell raised or the kernel died; the message names the cell and says where the executed part lies."""


def notebooks() -> list[Path]:
    """The course's notebooks in reading order.

    Raises:
        FileNotFoundError: the package was installed without the course around it.
    """
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise FileNotFoundError(f"{NOTEBOOKS} holds no notebooks: run this from a checkout of the course.")
    return found


def read_profile(profile: str | Path) -> dict[str, Any]:
    """The parameters of a profile: ``"laptop"`` (the notebooks' defaults), a name in ``notebooks/profiles`` or a file.

    Raises:
        ValueError: no such profile, or a file that does not map names to values.
    """
    from papermill.iorw import read_yaml_file

    if profile == "laptop":
        return {}
    file = Path(profile)
    if file.suffix not in {".yaml", ".yml"}:
        file = NOTEBOOKS / "profiles" / f"{profile}.yaml"
    if not file.is_file():
        names = sorted(["laptop", *(p.stem for p in (NOTEBOOKS / "profiles").glob("*.yaml"))])
        raise ValueError(f"unknown profile {str(profile)!r}, expected {', '.join(names)} or an existing YAML file.")
    values = read_yaml_file(str(file))
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds a {type(values).__name__}, expected lines like 'EPOCHS: 2'.")
    return values


def parse_parameters(words: Iterable[str]) -> dict[str, Any]:
    """Parameters from a command line, read as Python values; what is none is text.

    >>> parse_parameters(["EPOCHS=2", "LR=1e-3", "DIGITS=builtin", "CHUNKS=[1, 5]"])
    {'EPOCHS': 2, 'LR': 0.001, 'DIGITS': 'builtin', 'CHUNKS': [1, 5]}

    Raises:
        ValueError: a word without ``=``.
    """
    parameters = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name):
            raise ValueError(f"{word!r} is no parameter, expected NAME=VALUE, as in EPOCHS=2.")
        text = {"true": "True", "false": "False", "null": "None"}.get(text, text)  # as YAML files spell them
        try:
            parameters[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parameters[name] = text
    return parameters


def check_parameters(notebook: str | Path, parameters: Mapping[str, Any]) -> None:
    """Raise unless the notebook declares every one of these parameters with a type that takes the value.

    Raises:
        ValueError: an unknown name (the nearest known one is suggested) or a value of another type.
        FileNotFoundError: no such notebook.
    """
    declared = _declared(notebook)
    for name, value in parameters.items():
        if name not in declared:
            raise ValueError(f"{_unknown(name, declared)} in {Path(notebook).name}.")
        annotation = declared[name]["inferred_type_name"]
        if not _fits(value, annotation):
            raise ValueError(_mistyped(name, value, annotation, declared[name]["help"]))


def run_notebook(
    notebook: str | Path, out: str | Path, parameters: Mapping[str, Any] | None = None, *, progress: bool = True
) -> Path:
    """Execute one notebook with checked parameters; whatever it writes lands under ``out``.

    Returns:
        The executed notebook, ``out/<name>.ipynb``, written cell by cell.

    Raises:
        ValueError: an unknown or mistyped parameter; nothing has run then.
        FileNotFoundError: no such notebook.
        NotebookFailed: a cell raised, or the kernel died.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    notebook, out = Path(notebook).resolve(), Path(out).resolve()
    check_parameters(notebook, parameters or {})
    out.mkdir(parents=True, exist_ok=True)
    target = out / notebook.name
    if target == notebook:
        raise ValueError(
            f"{out} is the notebook's own folder, expected another one: the run would overwrite its source."
        )
    try:
        with _one_at_a_time, _environment(RUNS_VARIABLE, str(out)):
            papermill.execute_notebook(
                notebook,
                target,
                dict(parameters or {}),
                cwd=notebook.parent,  # relative paths mean the same as in JupyterLab
                kernel_name="python3",  # this environment's kernel, whatever the one that saved the file was called
                progress_bar=progress,
                # the kernel listens on this machine only, and would warn into the progress bar that it does not encrypt
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
    except papermill.PapermillExecutionError as error:
        raise NotebookFailed(
            f"{notebook.name} stopped in cell [{error.exec_count}] with {error.ename}: {error.evalue} "
            f"(executed up to there: {target})"
        ) from error
    except DeadKernelError as error:
        raise NotebookFailed(
            f"The kernel of {notebook.name} died, most often for want of memory: try profile smoke "
            f"(executed up to there: {target})"
        ) from error
    return target


def run_notebooks(
    profile: str | Path = "laptop",
    out: str | Path = "runs",
    parameters: Mapping[str, Any] | None = None,
    *,
    progress: bool = True,
) -> list[Path]:
    """Execute all notebooks of the course at one profile, print the result table and where to look.

    Args:
        profile: see :func:`read_profile`.
        out: folder for the executed notebooks and what they write.
        parameters: further parameters, stronger than the profile's. Each notebook gets those it declares.

    Raises:
        ValueError, NotebookFailed: as :func:`run_notebook`; all parameters are checked before the first run.
    """
    out = Path(out).resolve()
    planned = jobs({**read_profile(profile), **(parameters or {})})
    _forget_scores(out, [path for path, _ in planned])
    executed = []
    for number, (path, own) in enumerate(planned, 1):
        print(f"{path.stem} ({number} of {len(planned)}, profile {profile})", flush=True)
        executed.append(run_notebook(path, out, own, progress=progress))
    print(f"\n{result_table(out)}\n")
    print(f"Executed notebooks: {out}")
    for gif in sorted(out.rglob("*.gif")):
        print(f"Animation: {gif}")
    return executed


def refresh_notebooks(names: Sequence[str] = (), out: str | Path = "runs/refresh", *, progress: bool = True) -> None:
    """Run notebooks at the laptop profile and save their new outputs, and the GIFs, in the course itself.

    Args:
        names: the first letters of the notebooks to run, such as ``"02"``; none runs all.
        out: folder for what else they write.

    Raises:
        ValueError: no notebook of that name.
        NotebookFailed: as :func:`run_notebook`; that notebook is left as it was.
    """
    import nbformat

    chosen = [path for path in notebooks() if not names or path.name.startswith(tuple(names))]
    if not chosen:
        raise ValueError(f"no notebook begins with {' or '.join(names)}: there are {[p.stem for p in notebooks()]}.")
    for path in chosen:
        with _environment(*_SHOWN_GIFS):
            executed = nbformat.read(run_notebook(path, out, progress=progress), as_version=4)
        for place in (executed, *executed.cells):
            place.metadata.pop("papermill", None)  # when and where it ran is nobody's business
        for cell in executed.cells:
            cell.metadata.pop("execution", None)
            if not cell.metadata.get("tags", True):
                del cell.metadata["tags"]
            cell.get("outputs", [])[:] = _joined(cell.get("outputs", []))
        with atomic_write(path) as file:
            nbformat.write(executed, file)


def rebuild_gifs(digits: str = "mnist", out: str | Path = "runs/for-gifs") -> None:
    """Rebuild the GIFs that the course shows from the shipped weights, by the smoke runs of the notebooks.

    Args:
        digits: as in :func:`vidlib.digits.load_digits`.
        out: folder for what else the notebooks write.
    """
    with _environment(*_SHOWN_GIFS):
        run_notebooks("smoke", out, {"DIGITS": digits})


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

    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    targets = []
    for path, own in jobs(read_profile(profile)):
        targets.append(out / path.name)
        papermill.execute_notebook(path, targets[-1], own, prepare_only=True)
    return targets


def result_table(out: str | Path) -> str:
    """The scores that the notebooks left in ``out/scores``, as one Markdown table for each test set.

    A notebook writes ``scores/<notebook>.json``: ``{"data": test set, "rows": {name: Scores.to_dict()}}``.

    Raises:
        ValueError: a file that holds something else.
    """
    from vidlib.metrics import Scores, table

    by_data: dict[str, dict[str, Scores]] = {}
    for file in sorted(Path(out).glob("scores/*.json")):
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            for name, row in stored["rows"].items():
                scores = Scores.from_dict({**row, "data": row.get("data") or stored["data"]})
                by_data.setdefault(scores.data, {})[name] = scores
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no scores of a notebook: delete it and run the notebook again.") from error
    return "\n\n".join(map(table, by_data.values())) or f"No notebook left scores in {Path(out) / 'scores'}."


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
        _write_rows(out / "sweep.csv", rows)
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
            _write_rows(out / "sweep.csv", rows)
    return rows


def _declared(notebook: str | Path) -> dict[str, dict[str, str]]:
    import papermill

    if not Path(notebook).is_file():
        raise FileNotFoundError(f"{notebook} does not exist, expected the path of a notebook.")
    return papermill.inspect_notebook(notebook)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known) or 'none'}"
    return f"unknown parameter {name!r} ({hint})"


def _mistyped(name: str, value: Any, annotation: str, meaning: str) -> str:
    sentence = f"parameter {name!r} is {value!r} ({type(value).__name__}), expected {annotation}"
    if meaning:
        sentence += f" ({meaning.strip()})"
    if annotation == "float" and isinstance(value, str):
        sentence += ": YAML reads 1e-3 as text, write 1.0e-3"
    return f"{sentence}."


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value suits an annotation; one that is more than a built-in type is left to the notebook."""
    kind, _, inner = annotation.rstrip("]").partition("[")  # such as "int" or "list[float]"
    if kind in ("int", "float"):  # True is an int to Python, and 1 is a fine learning rate
        return isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
    if kind == "list":
        return isinstance(value, list) and all(_fits(item, inner) for item in value)
    return isinstance(value, {"str": str, "bool": bool, "dict": dict}.get(kind, object))


def jobs(parameters: Mapping[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Each notebook with those of the parameters that it declares; one that none declares is a mistake."""
    declared = {path: _declared(path) for path in notebooks()}
    everywhere = list(dict.fromkeys(itertools.chain.from_iterable(declared.values())))
    for name in parameters:
        if name not in everywhere:
            raise ValueError(f"{_unknown(name, everywhere)} in any notebook.")
    planned = [(path, {n: v for n, v in parameters.items() if n in names}) for path, names in declared.items()]
    for path, own in planned:
        check_parameters(path, own)
    return planned


def _forget_scores(out: Path, paths: Iterable[Path]) -> None:
    """The table must not show the scores of an earlier run for a notebook that writes none this time."""
    for path in paths:
        (out / "scores" / f"{path.stem}.json").unlink(missing_ok=True)


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
        _environment("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", threads)),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows at once, so that an interrupted sweep leaves a whole table."""
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
