"""Notebooks as batch jobs: parameters checked before anything runs, and profiles.

papermill executes the notebooks. This room adds what a batch job needs: a misspelt, mistyped or impossible parameter
is one sentence before the first cell, every run writes to its own folder, and an executed notebook is whole or not
there.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vidlib.files import atomic_write, only_writer, user_path
from vidlib.parameters import Declared, absolute_paths, check_parameters, unknown

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# Kernels learn from this variable where to write; unset, they write to `runs` in the checkout.
RUNS_VARIABLE = "VIDLIB_RUNS"
_DATA_VARIABLE = "VIDLIB_DATA"

# Those variables are set in the environment of this process, which its threads share: one run at a time in a process.
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


def read_profile(profile: str | Path, *, for_notebook: str | Path | None = None) -> dict[str, Any]:
    """The parameters of a profile: ``"laptop"`` (the notebooks' defaults), a name in ``notebooks/profiles`` or a file.

    Args:
        for_notebook: leave out what belongs to other notebooks of the course and this one does not declare.

    Raises:
        ValueError: no such profile, a file that does not map names to values, or a name that no notebook declares.
        FileNotFoundError: a profile of the course, without the course.
    """
    values = _profile_values(profile)
    if for_notebook is None:
        return values
    own = declared(for_notebook)
    others = set(itertools.chain.from_iterable(map(declared, NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))))
    for name in values:
        if name not in own and name not in others:
            raise ValueError(unknown(name, own, Path(for_notebook).name))
    return {name: value for name, value in values.items() if name in own}


def _profile_values(profile: str | Path) -> dict[str, Any]:
    import yaml

    if str(profile) == "laptop":
        return {}
    if Path(profile).suffix in {".yaml", ".yml"}:
        file = user_path(profile)
    else:
        notebooks()  # or the sentence that there are none
        file = NOTEBOOKS / "profiles" / f"{profile}.yaml"
    if not file.is_file():
        names = sorted(["laptop", *(p.stem for p in (NOTEBOOKS / "profiles").glob("*.yaml"))])
        raise ValueError(f"unknown profile {str(profile)!r}, expected {', '.join(names)} or an existing YAML file.")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} is no YAML ({reason}), expected lines like 'EPOCHS: 2'.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds a {type(values).__name__}, expected lines like 'EPOCHS: 2'.")
    return values


def declared(notebook: str | Path) -> dict[str, Declared]:
    """The parameters that a notebook declares.

    Raises:
        FileNotFoundError: no such notebook.
        ValueError: a file that is no notebook.
    """
    import papermill

    path = user_path(notebook)
    if not path.is_file():
        raise FileNotFoundError(f"{notebook} does not exist, expected the path of a notebook.")
    if path.suffix != ".ipynb":
        raise ValueError(f"{notebook} is no notebook, expected a name that ends in .ipynb.")
    try:
        found = papermill.inspect_notebook(papermill_path(path))
    except (ValueError, KeyError, AttributeError, TypeError) as error:  # what nbformat raises on other contents
        raise ValueError(f"{notebook} cannot be read as a notebook ({_first_line(error)}).") from error
    return {name: Declared(p["inferred_type_name"], p["default"], p["help"]) for name, p in found.items()}


def papermill_path(path: Path) -> str:
    """A path for papermill, which would fill in what stands between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def checked(notebook: str | Path, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters for a notebook, paths made whole.

    Raises:
        ValueError: an unknown name (the nearest known one is suggested), a value of another type or an impossible one.
        FileNotFoundError: no such notebook.
    """
    found = absolute_paths(parameters or {})
    check_parameters(declared(notebook), found, Path(notebook).name)
    return found


def run_notebook(
    notebook: str | Path,
    out: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    target: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Execute one notebook with checked parameters; whatever it writes lands under ``out``.

    Args:
        notebook: the notebook; relative paths in it start at its own folder, as in JupyterLab.
        out: folder of the run. While it runs, ``out/<name>.partial.ipynb`` shows how far it is.
        parameters: in which a relative path starts at the present working directory.
        target: the executed notebook, if not ``out/<name>.ipynb``; it is replaced when the run is whole.

    Returns:
        The executed notebook.

    Raises:
        ValueError: an unknown, mistyped or impossible parameter, or a target that cannot be; nothing has run then.
        FileNotFoundError: no such notebook.
        NotebookFailed: a cell raised, or the kernel died; the partial notebook is kept, and the old one as it was.
        RuntimeError: another run writes into ``out``.
    """
    own = checked(notebook, parameters)
    notebook, out = user_path(notebook), folder_path(out)
    target = _target(notebook, out / notebook.name if target is None else user_path(target))
    with only_writer(out, "run"):
        return _execute(notebook, out, own, target, progress)


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
        ValueError, NotebookFailed, RuntimeError: as :func:`run_notebook`; all parameters are checked before the first
            run.
    """
    planned = jobs({**read_profile(profile), **(parameters or {})})
    out = folder_path(out)
    targets = [_target(path, out / path.name) for path, _ in planned]
    with only_writer(out, "run"):
        for number, ((path, own), target) in enumerate(zip(planned, targets, strict=True), 1):
            print(f"{path.stem} ({number} of {len(planned)}, profile {profile})", flush=True)
            _execute(path, out, own, target, progress)
    print(f"\n{result_table(out)}\n")
    print(f"Executed notebooks: {out}")
    for gif in sorted(out.rglob("*.gif")):
        print(f"Animation: {gif}")
    return targets


def folder_path(folder: str | Path) -> Path:
    """The whole path of a folder to write into.

    Raises:
        ValueError: it is a file.
    """
    path = user_path(folder)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a folder to write into.")
    return path


def _target(notebook: Path, target: Path) -> Path:
    if target.is_dir():
        raise ValueError(f"{target} is a folder, expected the name of the executed notebook.")
    if os.path.realpath(target) == os.path.realpath(notebook):
        raise ValueError(f"{target} is the notebook's own file, expected another folder: the run would overwrite it.")
    return target


def _execute(notebook: Path, out: Path, parameters: Mapping[str, Any], target: Path, progress: bool) -> Path:
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError

    partial = out / f"{notebook.stem}.partial.ipynb"
    scores = out / "scores" / f"{notebook.stem}.json"
    earlier = _version(scores)
    so_far = f"(executed up to there: {partial})"
    try:
        with _one_at_a_time, _kernel_environment(out):
            papermill.execute_notebook(
                papermill_path(notebook),
                papermill_path(partial),
                dict(parameters),
                cwd=notebook.parent,  # relative paths mean the same as in JupyterLab
                kernel_name="python3",  # this environment's kernel, whatever the one that saved the file was called
                progress_bar=progress,
                # the kernel listens on this machine only, and would warn into the progress bar that it does not encrypt
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
    except papermill.PapermillExecutionError as error:
        raise NotebookFailed(
            f"{notebook.name} stopped in cell [{error.exec_count}] with {error.ename}: {error.evalue} {so_far}"
        ) from error
    except DeadKernelError as error:
        raise NotebookFailed(
            f"The kernel of {notebook.name} died {so_far}: if the memory was short, try profile smoke."
        ) from error
    except NoSuchKernel as error:
        raise RuntimeError("This Python has no Jupyter kernel: pip install ipykernel.") from error
    except OSError as error:
        raise OSError(
            f"{notebook.name} could not be executed ({error.strerror or _first_line(error)}), {target} is as it was."
        ) from error
    with atomic_write(target) as temporary:
        shutil.copyfile(partial, temporary)
    partial.unlink()
    if earlier and _version(scores) == earlier:
        scores.unlink()  # they are of an earlier run, and this one, now whole, has left none
    return target


def _version(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; ``None`` without the file."""
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.is_file() else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def result_table(out: str | Path) -> str:
    """The scores that the notebooks left in ``out/scores``, as one Markdown table for each test set.

    Raises:
        ValueError: a file that holds something else.
    """
    from vidlib.metrics import Scores, table

    by_data: dict[str, dict[str, Scores]] = {}
    for file, stored in stored_scores(out):
        try:
            for name, row in stored["rows"].items():
                scores = Scores.from_dict({**row, "data": row.get("data") or stored["data"]})
                by_data.setdefault(scores.data, {})[name] = scores
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(_NO_SCORES.format(file)) from error
    return "\n\n".join(map(table, by_data.values())) or f"No notebook left scores in {Path(out) / 'scores'}."


_NO_SCORES = "{} holds no scores of a notebook: delete it and run the notebook again."


def stored_scores(out: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each file in ``out/scores`` with what it holds.

    A notebook writes ``scores/<notebook>.json``: ``{"data": test set, "rows": {name: Scores.to_dict()}}``.

    Raises:
        ValueError: a file that holds something else.
    """
    for file in sorted(Path(out).glob("scores/*.json")):
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(_NO_SCORES.format(file)) from error
        if not (isinstance(stored, dict) and isinstance(stored.get("rows"), dict)):
            raise ValueError(_NO_SCORES.format(file))
        yield file, stored


def jobs(parameters: Mapping[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Each notebook with those of the parameters that it declares; one that none declares is a mistake."""
    known = {path: declared(path) for path in notebooks()}
    everywhere = list(dict.fromkeys(itertools.chain.from_iterable(known.values())))
    for name in parameters:
        if name not in everywhere:
            raise ValueError(unknown(name, everywhere, "any notebook"))
    return [(path, checked(path, {n: v for n, v in parameters.items() if n in names})) for path, names in known.items()]


@contextmanager
def _kernel_environment(out: Path) -> Iterator[None]:
    """Kernels write to ``out``, and find the data folder that is meant here: they work in another folder."""
    with ExitStack() as stack:
        stack.enter_context(environment(RUNS_VARIABLE, str(out)))
        if data := os.environ.get(_DATA_VARIABLE):
            stack.enter_context(environment(_DATA_VARIABLE, str(user_path(data))))
        yield


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
