"""The page of answers: every question is found, with what the notebook says to it."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vidlib.batch import run, teaching
from vidlib.exercises.lessons import EXERCISES, LESSONS, QUESTIONS


def fold(text, title="Answer"):
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def questions(tmp_path, *cells):
    path = tmp_path / "a.ipynb"
    made = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=made), path)
    return teaching.asked(path)


def code(source, printed=""):
    return new_code_cell(source, outputs=[new_output("stream", text=printed)] if printed else [])


def test_a_fold_answers_the_question_above_it(tmp_path):
    text = f"## One\n\nText. **Question.** Why\nso?\n\n{fold('Because.')}\n\n**Question.** And this?\n\nMore text."
    first, second = questions(tmp_path, text)
    assert (first.section, first.text, first.answers) == ("One", "**Question.** Why\nso?", ["Because."])
    assert second.text == "**Question.** And this?" and not second.answers


def test_what_a_run_has_measured_answers_a_guess(tmp_path):
    (one,) = questions(
        tmp_path,
        "## One\n\n**Question.** How far?",
        code('guess("cheapest", ...)', "cheapest: no guess yet\n"),
        code("", "other: it is 5\n"),
        code('compare("cheapest", 3)', "more\ncheapest: it is 3 pixels\n"),
        fold("Far."),
    )
    assert one.guesses == ["cheapest"] and one.answers == ["*In the saved run* it is 3 pixels.", "Far."]


def test_a_guess_of_the_learner_who_saved_the_notebook_is_no_answer(tmp_path):
    cells = code('guess("cheapest", 9)'), code('compare("cheapest", 3)', "cheapest: you said 9, it is 3: too high\n")
    (one,) = questions(tmp_path, "**Question.** How far?", *cells)
    assert one.answers == []


def test_two_guesses_of_one_question_have_their_names(tmp_path):
    (one,) = questions(
        tmp_path,
        "**Question.** Both?",
        code('guess("cheapest", ...)\nguess("floor_share", ...)'),
        code('compare("cheapest", 1)\ncompare("floor_share", 2)', "cheapest: it is 1\nfloor_share: it is 2\n"),
    )
    assert one.answers == ["*In the saved run* (`cheapest`) it is 1.", "*In the saved run* (`floor_share`) it is 2."]


def test_a_revealed_answer_and_a_fold_belong_together(tmp_path):
    name = next(name for name, question in QUESTIONS.items() if question.answer)
    cells = code(f'guess("{name}", ...)'), code(f'reveal("{name}")')
    (one,) = questions(tmp_path, "**Question.** Which?", *cells, fold("And why."))
    assert one.answers == [QUESTIONS[name].answer, "And why."]


def test_a_fold_without_a_question_asks_what_stands_before_it(tmp_path):
    first, second = questions(
        tmp_path,
        f"## One\n\n**Question.** Why?\n\n{fold('So.')}\n\nWhich two?\n\n{fold('A, B.')}",
        f"## Two\n\n{fold('B.', 'Which of the three?')}\n\n{fold('Not an answer.', 'Typical slips')}",
    )[1:]
    assert (first.text, first.answers) == ("**Question.** Which two?", ["A, B."])
    assert (second.section, second.text, second.answers) == ("Two", "**Question.** Which of the three?", ["B."])


def test_an_answer_far_below_names_its_question(tmp_path):
    first, second = questions(
        tmp_path,
        "## One\n\n**Question.** Forget?",
        code('guess("forget_bias", ...)'),
        f"## Two\n\n**Question.** What else?\n\n{fold('It does.', 'Answer: the forget bias')}",
    )
    assert first.answers == ["It does."] and second.answers == []


def test_the_page_has_every_exercise_and_its_links_lead_from_docs():
    page = teaching.answers_page()
    assert all(page.count(f"**Exercise `{name}`**") == 1 for name in EXERCISES)
    assert "](0" not in page and page.count("<details>") == page.count("</details>")


@pytest.mark.parametrize(
    "notebook", [path for path in run.notebooks() if LESSONS[path.stem].QUESTIONS], ids=lambda path: path.stem
)
def test_no_question_is_without_a_guess_or_an_answer(notebook):
    asked = teaching.asked(notebook)
    assert {name for one in asked for name in one.guesses} == {q.name for q in LESSONS[notebook.stem].QUESTIONS}
    assert [one.text for one in asked if not (one.guesses or one.answers)] == []
