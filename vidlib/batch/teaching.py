"""What teachers read and no one should have to write: plans with minutes, and a page with all answers.

``python -m vidlib times --write`` makes both from the notebooks and the exercises, and puts the minutes into the
notebooks' headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidlib.batch.pace import (
    Section,
    about,
    exercise_minutes,
    heading,
    measured,
    measured_on,
    record,
    says_time,
    section_table,
    time_text,
    total,
    with_time,
)
from vidlib.batch.run import notebooks
from vidlib.exercises.checking import solution_source
from vidlib.exercises.lessons import LESSONS, QUESTIONS
from vidlib.files import atomic_write

_DATA, _CONVLSTM = "01_data_visualization", "02_convlstm"
_TRANSFORMER, _COMPARISON = "03_vision_transformer", "04_comparison"
_INSIDE, _OWN_CLIPS = "05_inside", "06_your_own_clips"

# A plan: blocks of work, each with a notebook and its sections, named without their numbers; none means all of it.
PLANS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "45 minutes": (
        ("See what is asked", _DATA, ("What a clip is",)),
        ("Guess what an empty page scores", _DATA, ("Baselines that learn nothing",)),
        ("See what a trained network predicts", _CONVLSTM, ("The shipped weights",)),
        ("Find out where it fails", _CONVLSTM, ("Where it fails",)),
    ),
    "Half a day": (
        ("What a clip is and how it moves", _DATA, ("What a clip is", "The physics", "Overlap by maximum")),
        ("How predictions are judged", _DATA, ("Metrics by hand", "Baselines that learn nothing")),
        (
            "A memory that keeps its shape",
            _CONVLSTM,
            ("A clip small enough to print", "Why not an ordinary LSTM?", "One step by hand"),
        ),
        ("Train one, and open the shipped one", _CONVLSTM, ("A short training, live", "The shipped weights")),
        ("Is it good?", _CONVLSTM, ("Does it beat copying? Error by horizon", "Where it fails")),
    ),
    "Two weeks": (
        ("Day 1: clips", _DATA, ("Objectives", "What a clip is", "The physics", "Overlap by maximum")),
        (
            "Day 2: a generator",
            _DATA,
            (
                "The generator, step by step",
                "Exercise 1: one step for all digits at once",
                "Batches, and one convention for all tensors",
                "How the sets are kept apart",
            ),
        ),
        ("Day 3: metrics", _DATA, ("Metrics by hand",)),
        (
            "Day 4: baselines",
            _DATA,
            (
                "Baselines that learn nothing",
                "Exercise 7: your own predictor, in half an hour",
                "Recap",
                "Further reading",
                "Provenance",
            ),
        ),
        (
            "Day 5: the ConvLSTM cell",
            _CONVLSTM,
            (
                "Objectives",
                "A clip small enough to print",
                "Why not an ordinary LSTM?",
                "One step by hand",
                "The cell as a class",
            ),
        ),
        ("Day 6: a whole model, and its test", _CONVLSTM, ("Encoder and forecaster", "A test of causality")),
        (
            "Day 7: training and judging",
            _CONVLSTM,
            ("A short training, live", "The shipped weights", "Does it beat copying? Error by horizon"),
        ),
        (
            "Day 8: looking inside",
            _CONVLSTM,
            (
                "What is in the memory?",
                "Where it fails",
                "Thirty frames",
                "Recap",
                "Further reading",
                "Provenance",
            ),
        ),
        ("Days 9 and 10: the transformer", _TRANSFORMER, ()),
        ("At home or in a third week: the comparison", _COMPARISON, ()),
        ("Then: looking inside", _INSIDE, ()),
        ("And last: your own clips", _OWN_CLIPS, ()),
    ),
}

_ANSWERS_HEAD = """\
# Answers

For teachers: the answer to every question of the notebooks, and one right answer to every exercise. Numbers are those
of the saved runs. [teaching.md](teaching.md) says how to teach with the course. `python -m vidlib times --write` makes
this page.
"""
_QUESTION = re.compile(r"\*\*Question[^*\n]*\*\*.*?(?=\n\n|\Z)", re.S)
FOLD = re.compile(r"<details><summary>(?P<title>[^<]*)</summary>\n+(?P<text>.*?)\n+</details>", re.S)
HARMLESS_FOLDS = ("Typical slips", "Minutes per section")


# --- plans ---


def tables(by_notebook: Mapping[str, Sequence[Section]]) -> dict[str, str]:
    """The tables of docs/teaching.md in Markdown, under their names: one for each plan, and ``"sections"``."""
    plans = {name: _plan(name, by_notebook) for name in PLANS}
    whole = "\n\n".join(
        f"**{_link(name)}**: about {total(parts)} minutes\n\n{section_table(parts)}"
        for name, parts in by_notebook.items()
    )
    on = measured_on()
    return {**plans, "sections": f"{whole}\n\nRun times: laptop profile, {on}." if on else whole}


def _plan(name: str, by_notebook: Mapping[str, Sequence[Section]]) -> str:
    lines, whole = ["| what | where | minutes |", "| --- | --- | ---: |"], 0.0
    for what, notebook, titles in PLANS[name]:
        minutes = sum(part.minutes for part in chosen(by_notebook[notebook], titles))
        whole += minutes
        where = ", ".join(f"“{title}”" for title in titles) or "all sections"
        lines.append(f"| {what} | {_link(notebook)}: {where} | {max(1, round(minutes))} |")
    return "\n".join([*lines, f"| **together** | | **{about(whole)}** |"])


def _link(notebook: str) -> str:
    return f"[{notebook}](../notebooks/{notebook}.ipynb)"


def chosen(parts: Sequence[Section], titles: Sequence[str]) -> list[Section]:
    """The sections that a plan names, in its order; without names, all.

    Raises:
        ValueError: there is no such section.
    """
    by_title = {plain_title(part.title): part for part in parts}
    if lost := [title for title in titles if title not in by_title]:
        raise ValueError(f"a plan names the section {lost[0]!r}, and the notebook has: {', '.join(by_title)}.")
    return [by_title[title] for title in titles] if titles else list(parts)


def plain_title(title: str) -> str:
    """A heading without its number.

    >>> plain_title("3 · Overlap by maximum")
    'Overlap by maximum'
    """
    return re.sub(r"^\d+ · ", "", title)


# --- answers ---


@dataclass
class Asked:
    """A question as a notebook asks it.

    Attributes:
        section: in which it stands.
        text: the question, in Markdown.
        guesses: names under which a guess is kept.
        answers: what the notebook says to it, in Markdown.
        folded: whether one of them stands folded below the question.
    """

    section: str
    text: str
    guesses: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    folded: bool = False


def asked(notebook: str | Path) -> list[Asked]:
    """The questions of a notebook, with their folded answers and what the saved outputs say of the guesses.

    Raises:
        FileNotFoundError: no such file.
    """
    import nbformat

    found: list[Asked] = []
    section = ""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            section = heading(cell.source) or section
            _read_text(cell.source, section, found)
        elif cell.cell_type == "code":
            _read_code(cell, section, found)
    return found


def _read_text(source: str, section: str, found: list[Asked]) -> None:
    pieces = [*_QUESTION.finditer(source), *FOLD.finditer(source)]
    for piece in sorted(pieces, key=re.Match.start):
        if piece.re is _QUESTION:
            found.append(Asked(section, piece[0]))
        elif piece["title"] not in HARMLESS_FOLDS:
            before = source[: piece.start()].strip().rpartition("\n\n")[2]
            one = _answered_by(piece["title"], before, section, found)
            one.answers.append(piece["text"].strip())
            one.folded = True


def _answered_by(title: str, before: str, section: str, found: list[Asked]) -> Asked:
    """The question that a fold answers: the one above, the one that its title names, or one of its own."""
    answers, _, topic = title.partition(": the ")
    if topic and (named := [one for one in found if topic.replace(" ", "_") in one.guesses]):
        return named[-1]
    if title == answers == "Answer" and found and found[-1].section == section and not found[-1].folded:
        return found[-1]
    found.append(Asked(section, f"**Question.** {before if title == 'Answer' else title}"))
    return found[-1]


def _read_code(cell: Any, section: str, found: list[Asked]) -> None:
    for name in re.findall(r'\bguess\(\s*"(\w+)"', cell.source):
        if not (found and found[-1].section == section):
            found.append(Asked(section, f"**Question.** {QUESTIONS[name].asks}" if name in QUESTIONS else name))
        found[-1].guesses.append(name)
    asker = {name: one for one in found for name in one.guesses}
    for name in re.findall(r'\breveal\(\s*"(\w+)"', cell.source):
        if name in asker and name in QUESTIONS:
            asker[name].answers.append(QUESTIONS[name].answer)
    printed = "".join(output.get("text", "") for output in cell.outputs)
    for name in re.findall(r'\bcompare\(\s*"(\w+)"', cell.source):
        if name in asker and (said := re.search(rf"^{name}: (it is .*)$", printed, re.M)):
            several = f" (`{name}`)" if len(asker[name].guesses) > 1 else ""
            asker[name].answers.append(f"*In the saved run*{several} {said[1]}.")


def answers_page() -> str:
    """docs/answers.md: questions and exercises of all notebooks in their order, each with a folded answer.

    Raises:
        FileNotFoundError: the package without the course.
    """
    return "\n".join([_ANSWERS_HEAD, *(part for path in notebooks() for part in _answers(path))]).rstrip() + "\n"


def _answers(notebook: Path) -> Iterator[str]:
    yield f"## {notebook.stem}\n\nOf [{notebook.name}](../notebooks/{notebook.name}).\n"
    for one in asked(notebook):
        yield f"*{one.section}.* {_from_docs(one.text)}\n"
        below = "The notebook measures it: run it." if one.guesses else "In the text below it."
        yield _folded("Answer", _from_docs("\n\n".join(one.answers) or below))
    for exercise in LESSONS[notebook.stem].EXERCISES if notebook.stem in LESSONS else ():
        yield f"**Exercise `{exercise.name}`**, about {about(exercise_minutes(exercise))} minutes. {exercise.goal}\n"
        slips = "\n".join(f"- {slip.says}" for slip in exercise.slips)
        known = f"\n\nWrong answers that the check knows by name:\n\n{slips}" if slips else ""
        yield _folded("One right answer", f"```python\n{solution_source(exercise)}\n```{known}")


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>\n"


def _from_docs(text: str) -> str:
    """A notebook's text with its links as they must be from ``docs``."""
    return re.sub(r"\]\((?=\d\d_\w+\.ipynb)", "](../notebooks/", text)


# --- writing ---


def with_tables(page: str, texts: Mapping[str, str]) -> str:
    """A page with the tables between their marks.

    Raises:
        ValueError: a table without marks.
    """
    for name, text in texts.items():
        begin, end = f"<!-- times: {name} -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"there is no place for the times, expected the lines {begin} and {end}.")
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def write_times(runs: str | Path = "runs/refresh") -> dict[str, str]:
    """Write docs/teaching.md's tables, docs/answers.md and the notebooks' headers anew.

    Args:
        runs: folder with executed notebooks, for their running times; as in :func:`vidlib.batch.pace.record`.

    Returns:
        notebook to ``"recorded"``, or to why its running times stay as they were.

    Raises:
        FileNotFoundError: the package without the course, or no page to write into.
        ValueError: a plan with a section that is not there, or a page without a place.
        OSError: a page could not be written.
    """
    recorded = record(runs)
    by_notebook = measured()
    page = _docs() / "teaching.md"
    written = with_tables(page.read_text(encoding="utf-8"), tables(by_notebook))
    for path in notebooks():
        _write_header(path, time_text(by_notebook[path.stem], measured_on()))
    for file, text in ((page, written), (page.with_name("answers.md"), answers_page())):
        with atomic_write(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return recorded


def _docs() -> Path:
    return notebooks()[0].parents[1] / "docs"


def _write_header(path: Path, text: str) -> None:
    """Put what it says of its time into a notebook that has a place for it; everything else stays as it is."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (said := says_time(cell.source)):
            if said == text:
                return
            cell.source = with_time(cell.source, text)
            with atomic_write(path) as temporary:
                nbformat.write(notebook, temporary)
            return
