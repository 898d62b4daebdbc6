"""Every exercise of every notebook: its solution, its stub, right answers and typical mistakes.

The harness takes the exercises from ``vidlib.exercises.lessons``, the answers from ``tests/exercise_cases/`` and the
stubs from the notebooks, so that a new exercise needs no line here.
"""

from __future__ import annotations

import ast
import functools
import importlib
import math
import symtable
import sys

import nbformat
import numpy as np
import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager
from torch import nn
from torch.nn import functional as F

import badges
from exercise_cases import comparison_cases, convlstm_cases, data_cases, inside_cases, own_cases, transformer_cases
from vidlib.baselines import CopyLast
from vidlib.exercises import lessons
from vidlib.exercises.checking import Exercise, solution_source

CASES = {
    "01_data_visualization": data_cases,
    "02_convlstm": convlstm_cases,
    "03_vision_transformer": transformer_cases,
    "04_comparison": comparison_cases,
    "05_inside": inside_cases,
    "06_your_own_clips": own_cases,
}
RIGHT = {name: answers for cases in CASES.values() for name, answers in cases.RIGHT.items()}
MISTAKES = {name: answers for cases in CASES.values() for name, answers in cases.MISTAKES.items()}
NOTEBOOK_OF = {e.name: notebook for notebook, lesson in lessons.LESSONS.items() for e in lesson.EXERCISES}
OF_FUNCTIONS = [name for name, exercise in lessons.EXERCISES.items() if exercise.inputs]


@functools.cache
def code_of(notebook: str) -> list[str]:
    cells = nbformat.read(badges.ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    python = TransformerManager().transform_cell  # a cell may hold a %magic
    return [python(cell.source) for cell in cells if cell.cell_type == "code"]


def binds(source: str, name: str) -> bool:
    """Whether a cell gives a name a meaning for the cells after it; a variable inside a function is none of theirs."""
    table = symtable.symtable(source, "<cell>", "exec")
    return name in table.get_identifiers() and (table.lookup(name).is_assigned() or table.lookup(name).is_imported())


def stub_of(name: str) -> str:
    cells = [source for source in code_of(NOTEBOOK_OF[name]) if binds(source, name)]
    assert len(cells) == 1, f"{len(cells)} cells give {name} a meaning, expected the stub alone"
    return cells[0]


def run(source: str, names: dict) -> dict:
    """The names after a cell; annotations stay text, because a stub may name what the notebook has imported."""
    space = dict(names)
    exec(compile("from __future__ import annotations\n" + source, "<cell>", "exec"), space)
    return space


def every(table):
    return [pytest.param(name, answer, id=f"{name}-{i}") for name in table for i, answer in enumerate(table[name])]


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_an_exercise_is_whole(name):
    exercise = lessons.EXERCISES[name]
    assert len(exercise.hints) >= 2 and all(hint.strip().endswith((".", "`", "?")) for hint in exercise.hints)
    assert exercise.goal.endswith(".") and len(set(exercise.hints)) == len(exercise.hints)
    assert name.isidentifier() and (exercise.inputs is None or exercise.reference.__name__ == name)
    assert len(RIGHT.get(name, ())) >= 1, "tests/exercise_cases has no other right answer"
    assert len({id(mistake[0]) for mistake in MISTAKES.get(name, ())}) >= 4, "tests/exercise_cases has too few mistakes"
    if exercise.package:
        module, *names = split_module(exercise.package)
        thing = importlib.import_module(module)
        for part in names:
            thing = getattr(thing, part)
        assert callable(thing)


def split_module(path: str) -> list[str]:
    parts = path.split(".")
    files = [n for n in range(1, len(parts)) if (badges.ROOT / "/".join(parts[:n])).with_suffix(".py").exists()]
    return [".".join(parts[: files[-1]]), *parts[files[-1] :]]


def test_names_are_said_once_and_cases_belong_to_exercises():
    names = [e.name for lesson in lessons.LESSONS.values() for e in (*lesson.EXERCISES, *lesson.QUESTIONS)]
    assert len(names) == len(set(names)) == len(lessons.EXERCISES) + len(lessons.QUESTIONS)
    assert CASES.keys() == lessons.LESSONS.keys()
    for notebook, lesson in lessons.LESSONS.items():
        own = {exercise.name for exercise in lesson.EXERCISES}
        assert set(CASES[notebook].RIGHT) | set(CASES[notebook].MISTAKES) <= own


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_the_solution_that_is_shown_is_correct_and_needs_nothing_else_of_its_file(name):
    exercise = lessons.EXERCISES[name]
    source = solution_source(exercise)
    assert source.startswith(f"# {exercise.goal}\n")
    if not callable(exercise.reference):
        answer = run(source, {})[name]
    else:
        module = sys.modules[exercise.reference.__module__]
        around = vars(module).items()
        if module in lessons.LESSONS.values():  # what it imports, and nothing that it defines
            around = ((key, value) for key, value in around if getattr(value, "__module__", "") != module.__name__)
        function = run(source, dict(around))[exercise.reference.__name__]
        answer = function if exercise.inputs else function()
    assert str(lessons.verdict(name, answer)) == f"{name}: correct"


@pytest.mark.parametrize(("name", "answer"), every(RIGHT))
def test_right_answer(name, answer, capsys):
    assert lessons.check(name, answer) is None
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize(("name", "mistake"), every(MISTAKES))
def test_typical_mistake(name, mistake, capsys):
    answer, words = mistake
    found = lessons.verdict(name, answer)
    assert found.state == "wrong" and words in str(found), str(found)
    lessons.check(name, answer)
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(found) and second.startswith(f"Hint: {lessons.EXERCISES[name].hints[0]}")


@pytest.mark.parametrize(("name", "slip"), every({name: e.slips for name, e in lessons.EXERCISES.items()}))
def test_a_slip_of_the_lesson_is_recognised(name, slip):
    found = lessons.verdict(name, slip.answer)
    assert found.state == "wrong" and found.sentence.endswith(f": {slip.says}"), found


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_the_stub_in_the_notebook_is_not_yet_an_answer(name):
    calls = dict.fromkeys(("check", "hint", "solution"), lambda *arguments: None)
    answer = run(stub_of(name), calls | {"math": math, "np": np, "torch": torch, "nn": nn, "F": F})[name]
    assert lessons.verdict(name, answer).state == "not yet"


def asked(notebook: str, call: str) -> list[str]:
    """The names with which a notebook calls ``check`` and the like."""
    calls = [node for source in code_of(notebook) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [node.args[0].value for node in calls if isinstance(node.func, ast.Name) and node.func.id == call]


@pytest.mark.parametrize("notebook", lessons.LESSONS)
def test_a_notebook_asks_what_its_file_has(notebook):
    lesson = lessons.LESSONS[notebook]
    assert list(dict.fromkeys(asked(notebook, "check"))) == [exercise.name for exercise in lesson.EXERCISES]
    assert set(asked(notebook, "hint")) <= set(asked(notebook, "check"))
    guesses, answers = asked(notebook, "guess"), asked(notebook, "compare") + asked(notebook, "reveal")
    assert guesses == [question.name for question in lesson.QUESTIONS]
    assert sorted(set(answers)) == sorted(guesses), "each question is answered once, by compare or by reveal"
    assert set(asked(notebook, "reveal")) <= {question.name for question in lesson.QUESTIONS if question.answer}


@pytest.mark.parametrize("notebook", lessons.LESSONS)
def test_no_cell_takes_a_name_that_a_learner_calls(notebook):
    for name in ("check", "hint", "solution", "guess", "compare", "reveal"):
        assert sum(binds(source, name) for source in code_of(notebook)) == 1, f"{name}: only the set-up imports it"


def test_what_a_cell_binds():
    for source in (
        "step = 1",
        "def step(): ...",
        "for step in x: pass",
        "from x import step",
        "import x as step",
        "(step, y) = z",
    ):
        assert binds(source, "step")
    for source in (
        "f(step)",
        "def f():\n    step = 1",
        "[step for step in x]",
        "step.x",
        "f(step=1)",
        "lambda step: step",
    ):
        assert not binds(source, "step")


def test_the_answers_of_a_notebook_are_its_names():
    def states(names):
        return {v.name: v.state for v in lessons.verdicts(names, "01_data_visualization")}

    right = {name: lessons.EXERCISES[name].reference for name in ("step", "mse_per_frame")}
    assert states(right) == dict.fromkeys(states({}), "not yet") | dict.fromkeys(right, "correct")
    mixed = states({"step": 3, "patchify": right["step"]})
    assert (mixed["step"], mixed["mse_per_frame"]) == ("wrong", "not yet") and "patchify" not in mixed
    with pytest.raises(KeyError):
        lessons.verdicts({}, "a_notebook_without_exercises")


# Whatever an answer does ------------------------------------------------------------------------------------------


def not_implemented(*arguments):
    raise NotImplementedError("your turn")


def computes_with_a_gap(*arguments):
    gap = ...
    return gap + 1


def looks_into_a_gap(*arguments):
    gap = ...
    return gap.shape


def leaves(*arguments):
    raise SystemExit(3)


GAPS = [
    ...,
    None,
    lambda *arguments: ...,
    lambda *arguments: None,
    lambda *arguments: (arguments[0], ...),
    not_implemented,
    computes_with_a_gap,
    looks_into_a_gap,
]


@pytest.mark.parametrize("name", OF_FUNCTIONS)
@pytest.mark.parametrize("answer", GAPS)
def test_unfinished_answer(name, answer, capsys):
    lessons.check(name, answer)
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: not yet") and out.count("\n") == 1


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_answer_that_raises(name, capsys):
    def breaks(*arguments):
        raise ValueError("operands do not fit\nand a long story")

    lessons.check(name, breaks)
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first.startswith(f"{name}(") and first.endswith(") raised ValueError: operands do not fit")
    assert second.startswith("Hint: ") and captured.err == ""
    assert "raised SystemExit" in str(lessons.verdict(name, leaves))


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_other_answers_that_cannot_be_right(name):
    class Strange:
        def __array__(self, *arguments, **options):
            raise RuntimeError("no array")

    assert str(lessons.verdict(name, 3)) == f"{name}: your answer is an int, expected a function"
    assert " raised TypeError: " in str(lessons.verdict(name, lambda: 1))
    for result in ("text", {}, object(), torch.zeros(0), Strange(), [1, [2, 3]], 1j, float("nan"), float("inf")):
        assert lessons.verdict(name, lambda *arguments, result=result: result).state == "wrong"


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_strange_values_never_raise(name):
    for answer in (3, "text", {}, set(), object(), [1, [2, 3]], 1j, float("nan"), torch.zeros(2, 3), lessons):
        assert lessons.verdict(name, answer).state in ("wrong", "correct")


def test_checking_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for name, answers in RIGHT.items():
        lessons.verdict(name, answers[0])
    assert torch.equal(torch.rand(3), expected)


def test_unknown_exercise(capsys):
    lessons.check("stepp", ...)
    assert capsys.readouterr().out == "stepp: there is no exercise 'stepp', did you mean 'step'?\n"
    for call in (lambda name: lessons.check(name, 3), lessons.hint, lessons.solution, lessons.guess):
        for name in (None, 3, True, "", {}, ["step"]):
            call(name)
            said = capsys.readouterr().out
            assert f"here is no {'question' if call is lessons.guess else 'exercise'} {name!r}, " in said
            assert said.count("\n") == 1


def test_hints_come_one_by_one_and_begin_again(monkeypatch, capsys):
    monkeypatch.setattr(lessons, "_hints_given", lessons.Counter())
    hints = lessons.EXERCISES["step"].hints
    for _ in range(2):
        for number, text in enumerate(hints, 1):
            lessons.hint("step")
            lessons.check("step", ...)  # gives none away
            assert capsys.readouterr().out == f"hint {number} of {len(hints)}: {text}\nstep: not yet\n"
        lessons.hint("step")
        assert capsys.readouterr().out.startswith("No more hints")


def test_a_solution_is_coloured_code_in_a_notebook_and_text_elsewhere(monkeypatch, capsys):
    lessons.solution("rollout_windows")
    text = capsys.readouterr().out
    assert "\ndef rollout_windows(" in text
    shown = []
    monkeypatch.setattr(lessons, "get_ipython", lambda: "a kernel")
    monkeypatch.setattr(lessons, "display", lambda bundle, raw: shown.append(bundle))
    lessons.solution("rollout_windows")
    assert shown == [{"text/markdown": f"```python\n{text.rstrip()}\n```", "text/plain": text.rstrip()}]
    monkeypatch.setitem(lessons.EXERCISES, "frames", Exercise("frames", "Count.", 20, ("a.", "b.")))
    assert solution_source(lessons.EXERCISES["frames"]) == "# Count.\nframes = 20"


# What is counted is what happens ----------------------------------------------------------------------------------


def test_windows_are_counted_as_the_rollout_calls_a_model():
    from vidlib.iterative import rollout

    calls = []
    model = CopyLast()
    model.register_forward_hook(lambda *_: calls.append(1))
    for steps, chunk in ((10, 10), (25, 10), (12, 5), (3, 1)):
        calls.clear()
        rollout(model, torch.zeros(1, 10, 1, 8, 8), steps, chunk)
        assert len(calls) == lessons.EXERCISES["rollout_windows"].reference(steps, chunk)


def test_receptive_field_is_how_far_a_layer_without_input_sees():
    from vidlib.models.convlstm import ConvLSTMCell

    kernel, patch = 3, 4
    cell = ConvLSTMCell(0, 2, kernel)
    h = torch.zeros(1, 2, 21, 21, requires_grad=True)
    # Counted from the first state on: H of step n depends on cells up to n·(k-1)/2 away.
    out, _ = cell(None, (h, torch.zeros(1, 2, 21, 21)), steps=3)
    out[0, 2, 0, 10, 10].backward()
    seen = h.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    reached = lessons.EXERCISES["receptive_field"].reference(3, kernel, patch)
    assert (10 - seen.min().item()) * patch == reached
