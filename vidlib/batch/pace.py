"""How long a notebook takes: minutes per section to read, to solve and to run.

Reading: adults read 238 words of English non-fiction a minute (Brysbaert, "How many words do we read per minute?",
Journal of Memory and Language 109, 2019). Sentences take a fifth longer in a second language (Cop, Drieghe & Duyck,
PLoS ONE 10(8), 2015), which leaves 198. Nobody has measured a lesson with formulas that is read to be understood; we
take three fifths of that, 120. A line of code gets 5 seconds and an output 15, which are choices of ours too.

Running: what papermill measured for each cell, as ``python -m vidlib run`` leaves it in the executed notebooks.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidlib.batch.run import NOTEBOOKS, notebooks
from vidlib.exercises.checking import Exercise
from vidlib.exercises.lessons import EXERCISES, QUESTIONS
from vidlib.files import atomic_write, user_path

WORDS_PER_MINUTE = 120
SECONDS_PER_LINE = 5  # of code
SECONDS_PER_OUTPUT = 15
MINUTES_PER_QUESTION = 1
TEACHING = NOTEBOOKS.parent / "docs" / "teaching.md"

# A plan: blocks of work, each with a notebook and its sections, named without their numbers; none means all of it.
PLANS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "45 minutes": (
        ("See what is asked, and what a blank page scores", "01_data_visualization", ("What a clip is",)),
        ("Break one rule and look at it", "01_data_visualization", ("Overlap by maximum",)),
        ("What a trained network predicts", "02_convlstm", ("The shipped weights",)),
        ("Where it fails", "02_convlstm", ("Where it fails",)),
    ),
    "Half a day": (
        (
            "What a clip is and how it moves",
            "01_data_visualization",
            ("What a clip is", "The physics", "Batches, and one convention for all tensors"),
        ),
        (
            "How predictions are judged",
            "01_data_visualization",
            ("Metrics by hand", "Baselines that learn nothing"),
        ),
        (
            "A memory that keeps its shape",
            "02_convlstm",
            ("A clip small enough to print", "Why not an ordinary LSTM?", "One step by hand"),
        ),
        ("Train one, and open the shipped one", "02_convlstm", ("A short training, live", "The shipped weights")),
        (
            "Is it good?",
            "02_convlstm",
            ("Does it beat copying? Error by horizon", "Where it fails"),
        ),
    ),
    "Two weeks": (
        ("Week 1, days 1 and 2", "01_data_visualization", ()),
        ("Week 1, days 3 to 5", "02_convlstm", ()),
        ("Week 2, days 1 to 3", "03_vision_transformer", ()),
    ),
}


@dataclass(frozen=True)
class Section:
    """What a section of a notebook takes, in minutes.

    Attributes:
        title: its heading.
        reading: text, code and outputs.
        solving: exercises and questions.
        running: its cells; ``None`` where nobody has measured them.
    """

    title: str
    reading: float = 0.0
    solving: float = 0.0
    running: float | None = None

    @property
    def minutes(self) -> float:
        return self.reading + self.solving + (self.running or 0.0)


def sections(notebook: str | Path, executed: str | Path | None = None) -> list[Section]:
    """The sections of a notebook, by its headings of the second level; what stands above belongs to the first.

    Args:
        notebook: of the course.
        executed: the same notebook as a run has left it, with papermill's times.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an executed notebook with other sections.
    """
    import nbformat

    cells = nbformat.read(user_path(notebook), as_version=4).cells
    found = [Section("Start")]
    for cell in cells:
        if cell.cell_type == "markdown" and (title := _heading(cell.source)):
            started = found[0].title != "Start"
            found = [*found, Section(title)] if started else [replace(found[0], title=title)]
        last = found[-1]
        found[-1] = replace(last, reading=last.reading + _reading(cell), solving=last.solving + _solving(cell))
    if executed is None:
        return found
    ran = _running(nbformat.read(user_path(executed), as_version=4).cells)
    if list(ran) != [section.title for section in found]:
        raise ValueError(f"{executed} has other sections than {notebook}: run the notebook again.")
    return [replace(section, running=ran[section.title]) for section in found]


def _heading(source: str) -> str:
    lines = (line for line in source.splitlines() if line.startswith("## "))
    return next((line.removeprefix("## ").strip() for line in lines), "")


def _reading(cell: Any) -> float:
    if cell.cell_type == "markdown":
        return words(cell.source) / WORDS_PER_MINUTE
    if cell.cell_type != "code":
        return 0.0
    lines = sum(bool(line.strip()) for line in cell.source.splitlines())
    return (lines * SECONDS_PER_LINE + bool(cell.outputs) * SECONDS_PER_OUTPUT) / 60


def words(markdown: str) -> int:
    """The words that a reader sees; a picture is none, and a formula counts by its pieces.

    >>> words("![a picture](x.png) See [the paper](https://x.org), **equation** $a + b$.<br>")
    7
    """
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)|<[^>]+>", " ", markdown)
    text = re.sub(r"\]\([^)]*\)", " ", text)
    return sum(any(character.isalnum() for character in word) for word in text.split())


def _solving(cell: Any) -> float:
    if cell.cell_type != "code":
        return 0.0
    asked = (name for name in re.findall(r'\bcheck\(\s*"(\w+)"', cell.source) if name in EXERCISES)
    guesses = (name for name in re.findall(r'\bguess\(\s*"(\w+)"', cell.source) if name in QUESTIONS)
    return sum(exercise_minutes(EXERCISES[name]) for name in asked) + MINUTES_PER_QUESTION * len(list(guesses))


def exercise_minutes(exercise: Exercise) -> float:
    """How long an exercise takes: as it says itself, else 3 minutes and 2 for each line of its solution, at most 30."""
    if exercise.minutes:
        return exercise.minutes
    return min(30, 3 + 2 * (_lines(exercise.reference) if callable(exercise.reference) else 1))


def _lines(function: Any) -> int:
    """The lines of a function's body, without its docstring."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # a lambda, a built-in
        return 1
    body = getattr(node, "body", [node])
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return sum(statement.end_lineno - statement.lineno + 1 for statement in body)


def _running(cells: Iterable[Any]) -> dict[str, float]:
    found, title = {"Start": 0.0}, "Start"
    for cell in cells:
        if cell.cell_type == "markdown" and (heading := _heading(cell.source)):
            found[heading] = found.pop("Start", 0.0)
            title = heading
        found[title] += ((cell.metadata.get("papermill") or {}).get("duration") or 0.0) / 60
    return found


def measured(runs: str | Path = "runs") -> dict[str, list[Section]]:
    """The sections of every notebook of the course, with running times where ``runs`` holds the executed notebook.

    Raises:
        FileNotFoundError: the package without the course.
        ValueError: an executed notebook with other sections.
    """
    found = {}
    for path in notebooks():
        executed = user_path(runs) / path.name
        found[path.stem] = sections(path, executed if executed.is_file() else None)
    return found


def about(minutes: float) -> int:
    """Minutes as a header says them: to the next 5, from an hour on to the next 10.

    >>> about(7.2), about(58), about(133)
    (10, 60, 140)
    """
    step = 5 if minutes <= 60 else 10
    return max(step, -(-round(minutes) // step) * step)


def total(parts: Iterable[Section]) -> int:
    """What the header of a notebook says: "about N minutes"."""
    return about(sum(part.minutes for part in parts))


def tables(by_notebook: dict[str, list[Section]]) -> str:
    """The tables of docs/teaching.md: the plans, then the sections of every notebook, in Markdown."""
    return "\n\n".join([*(_plan(name, by_notebook) for name in PLANS), *(map(_sections, by_notebook.items()))])


def _plan(name: str, by_notebook: dict[str, list[Section]]) -> str:
    lines, whole = [f"### {name}", "", "| what | where | minutes |", "| --- | --- | ---: |"], 0
    for what, notebook, titles in PLANS[name]:
        chosen = [part for part in by_notebook[notebook] if not titles or _plain(part.title) in titles]
        minutes = total(chosen)
        whole += minutes
        where = ", ".join(f"“{title}”" for title in titles) or "all sections"
        lines.append(f"| {what} | [{notebook}](../notebooks/{notebook}.ipynb): {where} | {minutes} |")
    return "\n".join([*lines, f"| together | | {whole} |"])


def _plain(title: str) -> str:
    """A heading without its number: ``"3 · Overlap by maximum"`` is ``"Overlap by maximum"``."""
    return re.sub(r"^\d+ · ", "", title)


def _sections(item: tuple[str, Sequence[Section]]) -> str:
    notebook, parts = item
    head = f"### [{notebook}](../notebooks/{notebook}.ipynb): about {total(parts)} minutes"
    lines = [head, "", "| section | read | solve | run | together |", "| --- | ---: | ---: | ---: | ---: |"]
    for part in parts:
        ran = "" if part.running is None else _minutes(part.running)
        lines.append(
            f"| {part.title} | {_minutes(part.reading)} | {_minutes(part.solving)} | {ran} | {_minutes(part.minutes)} |"
        )
    return "\n".join(lines)


def _minutes(minutes: float) -> str:
    return "" if not minutes else f"{minutes:.0f}" if minutes >= 0.5 else "< 1"


_MARKS = ("<!-- times: python -m vidlib times --write -->", "<!-- end of times -->")


def written(page: str) -> str:
    """What stands between the marks of a page.

    Raises:
        ValueError: a page without them.
    """
    begin, end = page.find(_MARKS[0]), page.find(_MARKS[1])
    if not 0 <= begin < end:
        raise ValueError(f"there is no place for the times, expected the lines {_MARKS[0]} and {_MARKS[1]}.")
    return page[begin + len(_MARKS[0]) : end].strip()


def write_tables(text: str, file: str | Path = TEACHING) -> None:
    """Put the tables in their place in docs/teaching.md.

    Raises:
        ValueError: a page without that place.
        OSError: it could not be written.
    """
    page = user_path(file).read_text(encoding="utf-8")
    written(page)
    before, _, rest = page.partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    with atomic_write(file) as temporary:
        temporary.write_text(f"{before}{_MARKS[0]}\n\n{text}\n\n{_MARKS[1]}{after}", encoding="utf-8")
