"""Copies to hand out: nothing in them leads to an answer, links work, and the grader takes them."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vidlib.__main__ import main
from vidlib.batch import run
from vidlib.batch.students import OWN_WORDS, student_copies, write_student_version
from vidlib.exercises.grading import Submission, grade
from vidlib.exercises.lessons import EXERCISES, LESSONS


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "handout"
    student_copies(folder)
    return folder


def version(tmp_path, *cells):
    source, target = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), source)
    write_student_version(source, target)
    return nbformat.read(target, as_version=4).cells


def texts(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def test_outputs_go_and_everything_else_of_a_cell_stays(tmp_path):
    ran = new_code_cell("a = 1", outputs=[new_output("stream", text="1")], execution_count=3)
    ran.metadata = {"tags": ["parameters"], "execution": {"iopub.status.busy": "now"}}
    (cell,) = version(tmp_path, ran)
    assert (cell.source, cell.outputs, cell.execution_count, cell.id) == ("a = 1", [], None, ran.id)
    assert cell.metadata == {"tags": ["parameters"]}


def test_a_folded_answer_becomes_room_for_the_students_own(tmp_path):
    fold = "<details><summary>{}</summary>\n\n{}\n\n</details>"
    text = f"Why?\n\n{fold.format('Answer', 'Because.')}\n\nGo on.\n\n{fold.format('Typical slips', 'The sign.')}"
    (cell,) = version(tmp_path, new_markdown_cell(text))
    assert cell.source == f"Why?\n\n{OWN_WORDS}\n\nGo on.\n\n{fold.format('Typical slips', 'The sign.')}"


def test_an_unknown_fold_is_taken_for_an_answer(tmp_path):
    (cell,) = version(tmp_path, new_markdown_cell("<details><summary>Which?</summary>\n\nB.\n\n</details>"))
    assert cell.source == OWN_WORDS


def test_nothing_shows_a_solution(tmp_path):
    cells = version(
        tmp_path,
        new_code_cell("import os\nfrom vidlib.course import check, reveal, setup, solution\n\nsetup()"),
        new_markdown_cell('Hints: `hint("step")`. A\nsolution: `solution("step")`.\n\nMore.'),
        new_markdown_cell('`hint("step")` gives a hint, and `solution("step")` shows one way\nto do it.'),
        new_code_cell('reveal("a")\nb = 2'),
        new_code_cell('reveal("a")  # only this'),
    )
    assert [cell.source for cell in cells] == [
        "import os\nfrom vidlib.course import check, setup\n\nsetup()",
        'Hints: `hint("step")`.\n\nMore.',
        '`hint("step")` gives a hint.',
        "b = 2",
    ]


@pytest.mark.parametrize("notebook", LESSONS)
def test_a_notebook_of_the_course_keeps_its_work_and_loses_its_answers(handout, notebook):
    path = handout / "notebooks" / f"{notebook}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells)
    assert not re.search(r"solution\(|\breveal\b|<summary>(?!Typical slips|Minutes per section)", text)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    for exercise in LESSONS[notebook].EXERCISES:
        assert f'check("{exercise.name}"' in text
    for question in LESSONS[notebook].QUESTIONS:
        assert f'guess("{question.name}", ...)' in text
    nbformat.validate(nbformat.read(path, as_version=4))


def test_links_lead_somewhere_in_the_folder_or_to_the_repository(handout):
    repository = run.notebooks()[0].parents[1]
    pages = [*handout.rglob("*.ipynb"), *handout.rglob("*.md")]
    found = [
        (page, link)
        for page in pages
        for text in (texts(page) if page.suffix == ".ipynb" else [page.read_text(encoding="utf-8")])
        for link in re.findall(r"\]\(([^)\s#]+)", text)
    ]
    inner = [(page, link) for page, link in found if not link.startswith("http")]
    assert inner and [link for page, link in inner if not (page.parent / link).exists()] == []
    outer = {link.partition("/blob/main/")[2] for _, link in found if "/blob/main/vidlib" in link}
    assert outer and all((repository / path).is_file() for path in outer)


def test_the_grader_takes_a_copy_as_it_is_and_solved(handout):
    notebook = nbformat.read(handout / "notebooks" / "01_data_visualization.ipynb", as_version=4)
    names = [exercise.name for exercise in LESSONS["01_data_visualization"].EXERCISES]

    def graded():
        return grade(Submission("ada", "ada/01_data_visualization.ipynb", nbformat.writes(notebook).encode()))

    assert graded().states == dict.fromkeys(names, "not yet")
    (stub,) = (cell for cell in notebook.cells if "def psnr_from_mse" in cell.source)
    stub.source = stub.source.replace("return ...", "return 10 * np.log10(height * width / mse)")
    assert graded().states == dict.fromkeys(names, "not yet") | {"psnr_from_mse": "correct"}
    assert "psnr_from_mse" in EXERCISES


def test_the_command_writes_into_new_folders_only(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["students", "handout", "--kernel", "our-class"]) == 0
    copies = [tmp_path / "handout" / "notebooks" / path.name for path in run.notebooks()]
    assert capsys.readouterr().out.split() == list(map(str, copies))
    assert {nbformat.read(copy, as_version=4).metadata.kernelspec.name for copy in copies} == {"our-class"}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(["students", "handout"]) == 1
    assert "handout is not empty, expected a new folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    (tmp_path / "file").touch()
    assert main(["students", "file"]) == 1 and main(["students", "x", "--kernel", " "]) == 1
    assert not (tmp_path / "x").exists()
