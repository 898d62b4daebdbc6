"""All exercises and questions of the notebooks, and the calls that a notebook makes about them.

Each notebook has a file of its own, with ``EXERCISES`` and ``QUESTIONS`` (:data:`LESSONS`). No call of this file
raises, so that Run All reaches the end of a notebook with open exercises; nothing is kept on the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from IPython import get_ipython
from IPython.display import display

from vidlib.checks import did_you_mean
from vidlib.exercises import (
    checking,
    comparison_lessons,
    convlstm_lessons,
    data_lessons,
    inside_lessons,
    own_lessons,
    transformer_lessons,
)
from vidlib.exercises.checking import Exercise, Verdict, first_line, solution_source
from vidlib.exercises.questions import Question, compared_text, fault_of_guess, measured_text

LESSONS = {
    "01_data_visualization": data_lessons,
    "02_convlstm": convlstm_lessons,
    "03_vision_transformer": transformer_lessons,
    "04_comparison": comparison_lessons,
    "05_inside": inside_lessons,
    "06_your_own_clips": own_lessons,
}
EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise for lesson in LESSONS.values() for exercise in lesson.EXERCISES
}
QUESTIONS: dict[str, Question] = {
    question.name: question for lesson in LESSONS.values() for question in lesson.QUESTIONS
}

_hints_given: Counter[str] = Counter()
_guesses: dict[str, Any] = {}


def _never_raises(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def kept(name: str, *arguments: Any, **named: Any) -> None:
        try:
            function(name, *arguments, **named)
        except Exception as error:  # whatever was handed over, the notebook goes on
            print(f"{name}: {first_line(error)}")

    return kept


def verdict(name: str, answer: Any) -> Verdict:
    """Whether an answer is right, and what is wrong with it. Never raises."""
    try:
        exercise = EXERCISES[name]
    except (KeyError, TypeError):
        return Verdict(str(name), "wrong", f"there is no exercise {name!r}, {did_you_mean(name, EXERCISES)}")
    return checking.judge(exercise, answer)


def verdicts(namespace: Mapping[str, Any], notebook: str) -> tuple[Verdict, ...]:
    """Whether the answers of a notebook are right.

    Args:
        namespace: the names of a notebook that has run. The answer of an exercise is what its name means there in the
            end; a name that is not there is an unfinished answer.
        notebook: its name, such as ``"02_convlstm"``.

    Raises:
        KeyError: a notebook without exercises.
    """
    return tuple(verdict(exercise.name, namespace.get(exercise.name, ...)) for exercise in LESSONS[notebook].EXERCISES)


@_never_raises
def check(name: str, answer: Any) -> None:
    """Print whether an answer is right: ``not yet``, the first difference and a hint, or ``correct``.

    Args:
        name: of the exercise.
        answer: a function or value; ``...``, ``None``, or a function that gives one of them is an unfinished answer.
    """
    found = verdict(name, answer)
    print(found)
    if found.state == "wrong" and found.name in EXERCISES:
        print(f'Hint: {EXERCISES[name].hints[0]} More: hint("{name}")')


@_never_raises
def hint(name: str) -> None:
    """Print the next hint of an exercise; after the last one, that there is none left."""
    if (exercise := _known(name, EXERCISES, "exercise")) is None:
        return
    hints, given = exercise.hints, _hints_given[name]
    if given < len(hints):
        print(f"hint {given + 1} of {len(hints)}: {hints[given]}")
        _hints_given[name] += 1
    else:
        print(f'No more hints: solution("{name}") shows one way to do it, hint("{name}") begins again.')
        _hints_given[name] = 0


@_never_raises
def solution(name: str) -> None:
    """Show the source code of a right answer."""
    if (exercise := _known(name, EXERCISES, "exercise")) is None:
        return
    source = solution_source(exercise)
    if get_ipython() is None:
        print(source)
    else:  # Markdown, because every front end colours it for its own light or dark page
        display({"text/markdown": f"```python\n{source}\n```", "text/plain": source}, raw=True)


@_never_raises
def guess(name: str, value: Any = ...) -> None:
    """Keep a guess for :func:`compare` and :func:`reveal`; ``...`` is no guess yet.

    Args:
        name: of the question.
        value: a number, one of the choices, a list of them in an order, or a few words.
    """
    if (question := _known(name, QUESTIONS, "question")) is None:
        return
    _guesses.pop(name, None)
    if value is None or value is ...:
        choices = f" (one of {', '.join(question.choices)})" if question.choices else ""
        print(f"{name}: no guess yet{choices}")
    elif fault := fault_of_guess(question, value):
        print(f"{name}: {fault}")
    else:
        _guesses[name] = value
        print(f"{name}: your guess is kept")


@_never_raises
def compare(name: str, measured: Any, *level: str) -> None:
    """Print a guess beside what was measured; without a guess, what was measured.

    Args:
        name: of the question.
        measured: a number, one of the choices, or a list of them in their order.
        level: choices that the same clips don't part from it; each is as right a guess.
    """
    if question := _known(name, QUESTIONS, "question"):
        made, found = name in _guesses, (measured, level)
        said = compared_text(question, _guesses[name], *found) if made else measured_text(question, *found)
        print(f"{name}: {said}")


@_never_raises
def reveal(name: str) -> None:
    """Print the answer of a question, below the guess where there is one."""
    if question := _known(name, QUESTIONS, "question"):
        if name in _guesses:
            print(f"{name}: you said {_guesses[name]}")
        print(f"{name}: {question.answer}")


def _known(name: Any, known: Mapping[str, Any], kind: str) -> Any:
    if isinstance(name, str) and name in known:
        return known[name]
    print(f"There is no {kind} {name!r}, {did_you_mean(name, known)}")
    return None
