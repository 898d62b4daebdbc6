"""Notebooks to hand out: no outputs, no folded answers, no word of solutions, and everything that grading needs.

Whoever has the package can read the right answers in it, for it checks with them; a copy only doesn't lead there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidlib.batch.run import notebooks
from vidlib.batch.teaching import FOLD, HARMLESS_FOLDS
from vidlib.checks import check_texts
from vidlib.files import atomic_write, user_path

PAGES = ("glossary.md", "errors.md")  # of docs, which notebooks link into
OWN_WORDS = "**In your own words:** …"

_SENTENCES = re.compile(r"\s+A\s+solution:\s+`solution\(\"\w+\"\)`\.")
_CLAUSES = re.compile(r",?\s+and\s+`solution\(\"\w+\"\)`\s+shows\s+one\s+way\s+to\s+do\s+it")
_IMPORTED = re.compile(r"^from vidlib\.course import (.+)$", re.M)
_REVEALED = re.compile(r"^reveal\(.*\)[^\n]*\n?", re.M)
_LINK = re.compile(r"\]\((?P<path>[^)\s#:]+)(?=[)#])")
_README = """\
# Flowing MNIST

Open the notebooks in `notebooks/` in their order. The first cell says what to do where the course is not installed.
Write your answers in place of the dots; a check says whether they are right, and `hint("name")` helps. Hand in the
notebooks under the names that they have.
"""


def student_copies(folder: str | Path, kernel: str = "python3") -> list[Path]:
    """Write the notebooks without answers, and the pages that help with them, into a new folder.

    Args:
        folder: that is not there yet, or empty.
        kernel: name of the kernel with which they open; every Jupyter has ``python3``.

    Returns:
        the notebooks.

    Raises:
        ValueError: a folder that holds something.
        FileNotFoundError: the package without the course.
        OSError: a copy could not be written.
    """
    check_texts(kernel=kernel)
    course, target = notebooks()[0].parents[1], new_folder(folder)
    files = [f"notebooks/{path.name}" for path in notebooks()] + [f"docs/{name}" for name in PAGES]

    def link(page: str) -> Callable[[str], str]:
        return lambda text: with_links(text, course / page, course, set(files))

    for file in files:
        if file.endswith(".ipynb"):
            write_student_version(course / file, target / file, kernel=kernel, change=link(file))
        else:
            _write(target / file, link(file)((course / file).read_text(encoding="utf-8")))
    _write(target / "README.md", _README)
    return [target / file for file in files if file.endswith(".ipynb")]


def new_folder(folder: str | Path) -> Path:
    """A folder to fill.

    Raises:
        ValueError: it holds something, or is no folder.
    """
    path = user_path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{folder} is not empty, expected a new folder: nothing of yours shall be overwritten.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_student_version(
    notebook: str | Path, target: str | Path, *, kernel: str = "python3", change: Callable[[str], str] = str
) -> None:
    """Write one notebook without outputs, answers and solutions; cells keep their ids and tags.

    Args:
        kernel: as :func:`student_copies`.
        change: what else happens to the text of Markdown cells.

    Raises:
        FileNotFoundError: no such notebook.
        OSError: it could not be written.
    """
    import nbformat

    read = nbformat.read(notebook, as_version=4)
    kept = []
    for cell in read.cells:
        before = cell.source
        if cell.cell_type == "markdown":
            cell.source = change(_text(before))
        elif cell.cell_type == "code":
            cell.source = _code(before)
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
        if cell.source.strip() or not before.strip():
            kept.append(cell)
    read.cells = kept
    read.metadata.pop("widgets", None)
    if kernel != read.metadata.get("kernelspec", {}).get("name"):
        read.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        nbformat.write(read, temporary)


def _text(source: str) -> str:
    """A cell's text: an answer that was folded is now the learner's to write, and no sentence leads to a solution."""
    text = FOLD.sub(lambda fold: fold[0] if fold["title"] in HARMLESS_FOLDS else OWN_WORDS, source)
    return _CLAUSES.sub("", _SENTENCES.sub("", text))


def _code(source: str) -> str:
    def without(found: re.Match) -> str:
        names = [name.strip() for name in found[1].split(",")]
        return "from vidlib.course import " + ", ".join(n for n in names if n not in ("reveal", "solution"))

    return _REVEALED.sub("", _IMPORTED.sub(without, source))


def with_links(text: str, page: Path, course: Path, there: set[str]) -> str:
    """The text of a page of the course, with links to what is not in the students' folder leading to the repository.

    Args:
        there: paths from the folder of the course.
    """

    def link(found: re.Match) -> str:
        file = (page.parent / found["path"]).resolve()
        if not file.exists() or not file.is_relative_to(course):
            return found[0]
        inside = file.relative_to(course).as_posix()
        return found[0] if inside in there else f"]({_repository(course)}/blob/main/{inside}"

    return _LINK.sub(link, text)


def _repository(course: Path) -> str:
    declared: dict[str, Any] = tomllib.loads((course / "pyproject.toml").read_text(encoding="utf-8"))
    return declared["project"]["urls"]["Repository"]


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
