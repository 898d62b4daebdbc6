"""Minutes per section: what is counted, what a run adds, and that headers and pages say today's numbers."""

from __future__ import annotations

import json
from itertools import pairwise

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vidlib.__main__ import main
from vidlib.batch import pace, run, teaching
from vidlib.batch.pace import Section
from vidlib.exercises.checking import Exercise
from vidlib.exercises.lessons import EXERCISES, QUESTIONS

WORDS = "word " * pace.WORDS_PER_MINUTE  # a minute of reading


def write(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def code(source, *outputs, seconds=None):
    metadata = {} if seconds is None else {"papermill": {"duration": seconds}}
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook, with a page for teachers."""
    write(
        tmp_path / "notebooks" / "01_small.ipynb",
        new_markdown_cell("# Small"),
        new_markdown_cell("## Objectives\n\n**Time:** an hour.\n\nMore."),
        code("a = 1"),
        new_markdown_cell("## 1 · Work"),
        code('guess("cheapest", ...)'),
        code('compare("cheapest", 3)', new_output("stream", text="cheapest: it is black\n")),
    )
    (tmp_path / "docs").mkdir()
    marks = "".join(f"<!-- times: {name} -->\nold\n<!-- end of {name} -->\n" for name in ("Short", "sections"))
    (tmp_path / "docs" / "teaching.md").write_text(f"Before\n{marks}After\n")
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(teaching, "PLANS", {"Short": (("Do it", "01_small", ("Work",)),)})
    return tmp_path


def executed(course, *titles_and_seconds):
    cells = [new_markdown_cell("# Small")]
    for title, seconds in titles_and_seconds:
        cells += [new_markdown_cell(f"## {title}"), code("a = 1", seconds=seconds), code("a", seconds=None)]
    return write(course / "runs" / "01_small.ipynb", *cells)


# --- counting ---


def test_a_section_is_read_solved_and_run(tmp_path):
    name, question = next(iter(EXERCISES)), next(iter(QUESTIONS))
    path = write(
        tmp_path / "a.ipynb",
        new_markdown_cell("# Title\n\n" + WORDS),
        new_markdown_cell("## First\n\n" + WORDS),
        code("a = 1\n\nb = 2", new_output("stream", text="long " * 1000)),  # two lines, an output
        new_markdown_cell("## Second\n\n### Below\n\n" + WORDS),
        code(f'guess("{question}", ...)\ncheck("{name}", {name})\ncheck("unknown", 1)'),
    )
    first, second = pace.sections(path, {"Second": 2.5})
    assert (first.title, second.title) == ("First", "Second")
    assert first.reading == pytest.approx(2 + 2 / pace.WORDS_PER_MINUTE + (2 * 5 + 15) / 60)
    assert first.solving == 0 and first.running is None and first.minutes == first.reading
    assert second.solving == 1 + pace.exercise_minutes(EXERCISES[name])
    assert second.minutes == pytest.approx(second.reading + second.solving + 2.5)


def test_pictures_and_addresses_are_not_read():
    assert pace.words("![many words in here](x.png)") == 0
    assert pace.words('<a href="a b c">one</a> **two** [three](https://example.org/a b)') == 3


def test_what_a_header_says_of_the_time_is_not_counted(tmp_path):
    table = pace.time_text([Section("A", 10)], "")
    with_it, without = (
        pace.sections(write(tmp_path / f"{i}.ipynb", new_markdown_cell(f"## A\n\nText.\n\n{text}")))
        for i, text in enumerate((table, ""))
    )
    assert with_it == without


def test_an_exercise_takes_as_long_as_it_says_or_as_its_solution_is_long():
    def solved(a):
        """Not counted."""
        b = a
        return b

    assert pace.exercise_minutes(Exercise("solved", "", solved, ("", ""))) == 3 + 2 * 2
    assert pace.exercise_minutes(Exercise("solved", "", solved, ("", ""), minutes=20)) == 20
    assert pace.exercise_minutes(Exercise("value", "", 3, ("", ""))) == 5
    assert max(map(pace.exercise_minutes, EXERCISES.values())) <= 30


def test_totals_round_up_to_what_a_person_says():
    assert [pace.about(m) for m in (0, 0.4, 5, 5.6, 60, 61, 100, 100.6)] == [5, 5, 5, 10, 60, 70, 100, 110]
    assert pace.total([Section("A", 3, 3), Section("B", 0, 0, 5.2)]) == 15


# --- running times ---


def test_running_times_are_kept_and_only_those_of_the_same_sections(course, monkeypatch):
    assert pace.record(course / "runs") == {"01_small": f"01_small.ipynb is not in {course / 'runs'}"}
    assert not (course / "notebooks" / "minutes.json").exists() and pace.measured_on() == ""
    executed(course, ("Objectives", 30), ("1 · Work", 90))
    monkeypatch.setattr("vidlib.machine.hardware", lambda: "an abacus")
    assert pace.record(course / "runs") == {"01_small": "recorded"}
    assert [part.running for part in pace.measured()["01_small"]] == [0.5, 1.5]
    assert pace.measured_on() == "an abacus"
    executed(course, ("Objectives", 600), ("2 · Other work", 600))
    assert "other sections" in pace.record(course / "runs")["01_small"]
    assert [part.running for part in pace.measured()["01_small"]] == [0.5, 1.5]


def test_a_new_section_is_not_measured(course):
    executed(course, ("Objectives", 30), ("1 · Work", 90))
    pace.record(course / "runs")
    file = course / "notebooks" / "minutes.json"
    stored = json.loads(file.read_text())
    del stored["sections"]["01_small"]["1 · Work"]
    file.write_text(json.dumps(stored))
    assert [part.running for part in pace.measured()["01_small"]] == [0.5, None]


# --- writing ---


def test_the_command_writes_header_plans_and_answers(course, capsys):
    executed(course, ("Objectives", 30), ("1 · Work", 90))
    assert main(["times", "--write", "--runs", str(course / "runs")]) == 0
    assert "01_small: running times recorded" in capsys.readouterr().out
    read = nbformat.read(course / "notebooks" / "01_small.ipynb", as_version=4)
    header = read.cells[1].source
    assert header.startswith(
        "## Objectives\n\n**Time:** about 5 minutes: 1 to read, 1 for exercises and questions, 2 for"
    )
    assert "| 1 · Work | < 1 | 1 | 2 | 3 |" in header and header.endswith("</details>\n\nMore.")
    page = (course / "docs" / "teaching.md").read_text()
    assert page.startswith("Before\n") and page.endswith("After\n") and "old" not in page
    assert "| Do it | [01_small](../notebooks/01_small.ipynb): “Work” | 3 |" in page
    assert "*In the saved run* it is black." in (course / "docs" / "answers.md").read_text()
    before = {path: path.read_bytes() for path in course.rglob("*.*")}
    assert main(["times", "--write", "--runs", str(course / "runs")]) == 0
    assert {path: path.read_bytes() for path in course.rglob("*.*")} == before


def test_without_write_nothing_is_written(course, capsys):
    before = {path: path.read_bytes() for path in course.rglob("*.*")}
    assert main(["times"]) == 0
    assert "01_small: about 5 minutes" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in course.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda course: (course / "docs" / "teaching.md").write_text("no marks"), "no place for the times"),
        (lambda course: (course / "docs" / "teaching.md").unlink(), "teaching.md"),
        (lambda course: teaching.PLANS.update(Short=(("x", "01_small", ("Play",)),)), "names the section 'Play'"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_changes_nothing(course, capsys, breaks, says):
    breaks(course)
    before = {path: path.read_bytes() for path in course.rglob("*.*")}
    assert main(["times", "--write", "--runs", "nowhere"]) == 1
    assert says in capsys.readouterr().err
    assert {path: path.read_bytes() for path in course.rglob("*.*")} == before


# --- the course's own pages ---


@pytest.mark.parametrize("plan", teaching.PLANS)
def test_every_section_of_a_plan_is_there(plan):
    by_notebook = pace.measured()
    for _, notebook, titles in teaching.PLANS[plan]:
        assert teaching.chosen(by_notebook[notebook], titles)


@pytest.mark.parametrize(("plan", "at_most"), [("45 minutes", 45), ("Half a day", 240)])
def test_a_plan_fits_its_time(plan, at_most):
    by_notebook = pace.measured()
    parts = [part for _, name, titles in teaching.PLANS[plan] for part in teaching.chosen(by_notebook[name], titles)]
    assert at_most / 2 < sum(part.minutes for part in parts) <= at_most


def test_two_weeks_leave_nothing_out_and_give_nothing_twice_in_the_notebooks_order():
    by_notebook = pace.measured()
    for name, parts in by_notebook.items():
        planned = [
            part.title
            for _, notebook, titles in teaching.PLANS["Two weeks"]
            if notebook == name
            for part in teaching.chosen(by_notebook[name], titles)
        ]
        assert planned == [part.title for part in parts]
    names = [notebook for _, notebook, _ in teaching.PLANS["Two weeks"]]
    assert all(a <= b for a, b in pairwise(names))


@pytest.mark.parametrize("notebook", run.notebooks(), ids=lambda path: path.stem)
def test_the_header_of_a_notebook_says_todays_minutes(notebook):
    said = [pace.says_time(cell.source) for cell in nbformat.read(notebook, as_version=4).cells]
    expected = pace.time_text(pace.measured()[notebook.stem], pace.measured_on())
    assert list(filter(None, said)) == [expected], "python -m vidlib times --write brings the headers up to date"


def test_the_pages_for_teachers_say_what_the_notebooks_say():
    docs = run.notebooks()[0].parents[1] / "docs"
    page, answers = ((docs / name).read_text(encoding="utf-8") for name in ("teaching.md", "answers.md"))
    todays = teaching.with_tables(page, teaching.tables(pace.measured())), teaching.answers_page()
    assert (page, answers) == todays, "python -m vidlib times --write brings the pages up to date"
