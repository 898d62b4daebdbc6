"""Notebooks as batch jobs: parameters checked before anything runs, and profiles.

papermill executes the notebooks. This room adds what a batch job needs: a misspelt or mistyped parameter is one
sentence before the first cell, and every run writes to its own folder.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidlib.checks import did_you_mean

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# Kernels learn from this variable where to write; unset, they write to `runs` in the checkout.
RUNS_VARIABLE = "VIDLIB_RUNS"

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
        with _one_at_a_time, environment(RUNS_VARIABLE, str(out)):
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


def _declared(notebook: str | Path) -> dict[str, dict[str, str]]:
    import papermill

    if not Path(notebook).is_file():
        raise FileNotFoundError(f"{notebook} does not exist, expected the path of a notebook.")
    return papermill.inspect_notebook(notebook)


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"unknown parameter {name!r} ({did_you_mean(name, known).rstrip('.')})"


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


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the length of a ``with`` block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
