"""How long a notebook takes: minutes per section to read, to solve and to run.

Reading: adults read 238 words of English non-fiction a minute (Brysbaert, "How many words do we read per minute?",
Journal of Memory and Language 109, 2019). Sentences take a fifth longer in a second language (Cop, Drieghe & Duyck,
PLoS ONE 10(8), 2015), which leaves 198. Nobody has measured a lesson with formulas that is read to be understood; we
take three fifths of that, 120. A line of code gets 5 seconds and an output 15, which are choices of ours too.

Running: what papermill measured for each cell, as ``python -m vidlib refresh`` leaves it in the executed notebooks.
``notebooks/minutes.json`` keeps it, section by section.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidlib.batch.run import notebooks
from vidlib.exercises.checking import Exercise
from vidlib.exercises.lessons import EXERCISES, QUESTIONS
from vidlib.files import atomic_write, user_path

WORDS_PER_MINUTE = 120
SECONDS_PER_LINE = 5  # of code
SECONDS_PER_OUTPUT = 15
MINUTES_PER_QUESTION = 1

# What a notebook says of its time: a paragraph and a table, written by a command and not counted themselves.
_TIME = re.compile(
    r"\*\*Time:\*\*[^\n]*(?:\n[^\n]+)*(\n\n<details><summary>Minutes per section</summary>\n.*?</details>)?", re.S
)


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


def sections(notebook: str | Path, running: Mapping[str, float] | None = None) -> list[Section]:
    """The sections of a notebook, by its headings of the second level; what stands above belongs to the first.

    Args:
        notebook: of the course.
        running: title of a section to the minutes that its cells run; others count as not measured.

    Raises:
        FileNotFoundError: no such file.
    """
    found = [Section("Start")]
    for cell in _cells(notebook):
        if cell.cell_type == "markdown" and (title := heading(cell.source)):
            started = found[0].title != "Start"
            found = [*found, Section(title)] if started else [replace(found[0], title=title)]
        last = found[-1]
        found[-1] = replace(last, reading=last.reading + _reading(cell), solving=last.solving + _solving(cell))
    return [replace(section, running=(running or {}).get(section.title)) for section in found]


def _cells(notebook: str | Path) -> list[Any]:
    import nbformat

    return nbformat.read(user_path(notebook), as_version=4).cells


def heading(source: str) -> str:
    """The title of the section that begins in this Markdown cell, or nothing."""
    lines = (line for line in source.splitlines() if line.startswith("## "))
    return next((line.removeprefix("## ").strip() for line in lines), "")


def _reading(cell: Any) -> float:
    if cell.cell_type == "markdown":
        return words(_TIME.sub("", cell.source)) / WORDS_PER_MINUTE
    if cell.cell_type != "code":
        return 0.0
    lines = sum(bool(line.strip()) for line in cell.source.splitlines())
    return (lines * SECONDS_PER_LINE + bool(cell.outputs) * SECONDS_PER_OUTPUT) / 60


def words(markdown: str) -> int:
    """The words that a reader sees; a picture is none, and a formula counts by its pieces.

    >>> words("![a picture](x.png) See [the paper](https://x.org), **equation** $a + b$.<br>")
    6
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


def measured() -> dict[str, list[Section]]:
    """The sections of every notebook of the course, with the running times that ``notebooks/minutes.json`` keeps.

    Raises:
        FileNotFoundError: the package without the course.
    """
    kept = _run_times()["sections"]
    return {path.stem: sections(path, kept.get(path.stem)) for path in notebooks()}


def measured_on() -> str:
    """The hardware of the running times, in words; nothing where there are none."""
    return _run_times()["on"]


def _file() -> Path:
    return notebooks()[0].with_name("minutes.json")


def _run_times() -> dict[str, Any]:
    """``{"on": hardware in words, "sections": {notebook: {section: minutes}}}``."""
    try:
        return json.loads(_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"on": "", "sections": {}}


def record(runs: str | Path) -> dict[str, str]:
    """Keep the running times of executed notebooks that have the sections of today; other times stay as they are.

    Args:
        runs: folder with notebooks as a run at the laptop profile on this machine has left them.

    Returns:
        notebook to ``"recorded"``, or to why it was not.

    Raises:
        OSError: the times could not be written.
    """
    from vidlib.machine import hardware

    found, kept = {}, _run_times()
    for path in notebooks():
        executed = user_path(runs) / path.name
        if not executed.is_file():
            found[path.stem] = f"{executed.name} is not in {runs}"
        elif list(ran := _running(executed)) != [section.title for section in sections(path)]:
            found[path.stem] = f"the run in {runs} had other sections"
        else:
            kept["sections"][path.stem] = {title: round(minutes, 2) for title, minutes in ran.items()}
            found[path.stem] = "recorded"
    if "recorded" in found.values():
        kept["on"] = hardware()
        with atomic_write(_file()) as temporary:
            text = json.dumps({"on": kept["on"], "sections": dict(sorted(kept["sections"].items()))}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
    return found


def _running(executed: Path) -> dict[str, float]:
    """Section to minutes, of a notebook that papermill has executed."""
    found, title = {"Start": 0.0}, "Start"
    for cell in _cells(executed):
        if cell.cell_type == "markdown" and (begun := heading(cell.source)):
            found[begun] = found.pop("Start", 0.0)
            title = begun
        found[title] += ((cell.metadata.get("papermill") or {}).get("duration") or 0.0) / 60
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


def shown(minutes: float) -> str:
    """Minutes in a table: whole ones; nothing for none.

    >>> shown(0), shown(0.3), shown(0.5), shown(12.4)
    ('', '< 1', '1', '12')
    """
    return "" if not minutes else f"{int(minutes + 0.5)}" if minutes >= 0.5 else "< 1"


def time_text(parts: Iterable[Section], hardware: str) -> str:
    """How long a notebook takes, for its header: one sentence, and the minutes per section, folded."""
    parts = list(parts)
    reading, solving = (sum(getattr(part, kind) for part in parts) for kind in ("reading", "solving"))
    spent = [f"{shown(reading)} to read", f"{shown(solving)} for exercises and questions"]
    if any(part.running is not None for part in parts):
        running = sum(part.running or 0.0 for part in parts)
        spent.append(f"{shown(running)} for its cells to run (laptop profile, {hardware})")
    return (
        f"**Time:** about {total(parts)} minutes: {', '.join(spent)}.\n\n"
        "<details><summary>Minutes per section</summary>\n\n"
        f"{section_table(parts)}\n\n</details>"
    )


def section_table(parts: Iterable[Section]) -> str:
    """Minutes per section, in Markdown."""
    lines = ["| section | read | solve | run | together |", "| --- | ---: | ---: | ---: | ---: |"]
    for part in parts:
        times = (part.reading, part.solving, part.running or 0.0, part.minutes)
        lines.append(f"| {part.title} | {' | '.join(map(shown, times))} |")
    return "\n".join(lines)


def with_time(source: str, text: str) -> str:
    """A notebook's cell with this text as what it says of its time.

    >>> with_time("**Time:** an hour,\\nor two.\\n\\nMore.", "**Time:** about 70 minutes.")
    '**Time:** about 70 minutes.\\n\\nMore.'
    """
    return _TIME.sub(lambda _: text, source, count=1)


def says_time(source: str) -> str:
    """What a cell says of the notebook's time, or nothing."""
    found = _TIME.search(source)
    return found[0] if found else ""
