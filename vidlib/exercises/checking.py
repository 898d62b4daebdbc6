"""What an exercise is, and how an answer is judged.

An exercise is one :class:`Exercise` in the file of its notebook (:mod:`vidlib.exercises.data_lessons` shows two). Three
kinds of answers are possible:

- **a function**, compared with ``reference`` on every tuple of ``inputs()``;
- **a value**: no ``inputs``; ``reference`` is the value, or a function without arguments that computes it. The
  check then never says the right value, only which way the answer is off;
- **something open**, such as clips on which a model fails: ``judge(answer)`` returns what is wrong in one sentence, or
  ``None``; ``reference`` is a function without arguments that makes one right answer.

The answer of an exercise is whatever its name means in the notebook: ``check("patchify", patchify)``. The stub
stands in the notebook only, as the one cell that defines that name.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from vidlib.exercises.demands import INPUTS_LEFT_ALONE, Demand
from vidlib.exercises.differences import a_kind, array, first_difference
from vidlib.exercises.slips import recognise

__all__ = ["Exercise", "Slip", "Unfinished", "Verdict", "Wrong", "call", "judge", "solution_source"]


@dataclass(frozen=True)
class Slip:
    """A wrong answer that is often given.

    Attributes:
        answer: the wrong function, or the wrong value.
        says: one sentence that names the slip, without giving the answer away.
    """

    answer: Any
    says: str


@dataclass(frozen=True)
class Exercise:
    """A question with an answer that can be checked.

    Attributes:
        name: of the exercise, of the right function, and of the learner's answer in the notebook.
        goal: what to write, in one sentence.
        reference: the right function, from the package where it has that function; or the right value; or a function
            without arguments that gives it. Its source is the solution that a learner is shown.
        hints: at least two, from a push to nearly the answer. The first also stands below a wrong answer.
        inputs: makes the argument tuples to call the function with, on which the usual mistakes show; in a dict, their
            labels say what is special about each. Small, fixed, fast; the simplest first. Every call gets a copy.
        slips: wrong answers of this exercise. Slips that every exercise may meet (mean for sum, swapped results, float
            for int, sign, axes, off by one) are recognised without being listed: :mod:`vidlib.exercises.slips`.
        demands: what the text asks for beside the numbers: :mod:`vidlib.exercises.demands`.
        tolerance: how far a float may be off, relative to the size of the expected number where that is above 1.
        judge: for an open answer: what is wrong with it in one sentence, or ``None``. It may raise :class:`Wrong`, and
            calls a learner's function through :func:`call`.
        package: where the package does the same in another form, such as ``"vidlib.moving_mnist.step"``.
        minutes: how long it takes a learner, for the plans of a class; by the size of the solution where it is 0.
    """

    name: str
    goal: str
    reference: Any
    hints: tuple[str, ...]
    inputs: Callable[[], list[tuple] | Mapping[str, tuple]] | None = None
    slips: tuple[Slip, ...] = ()
    demands: tuple[Demand, ...] = (INPUTS_LEFT_ALONE,)
    tolerance: float = 0.0
    judge: Callable[[Any], str | None] | None = None
    package: str = ""
    minutes: int = 0

    def cases(self) -> dict[str, tuple]:
        """The argument tuples under their labels; a label without words begins with ``#``."""
        given = self.inputs() if self.inputs else []
        return dict(given) if isinstance(given, Mapping) else {f"#{i}": case for i, case in enumerate(given)}

    def right_value(self) -> Any:
        """The right answer of an exercise that asks for no function."""
        return self.reference() if callable(self.reference) else self.reference


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        name: of the exercise.
        state: ``"not yet"`` for an answer with a gap, else ``"correct"`` or ``"wrong"``.
        sentence: the first difference, and the slip behind it where one was recognised; the state where there is none.
    """

    name: str
    state: Literal["correct", "wrong", "not yet"]
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.sentence.startswith(f"{self.name}(") else f"{self.name}: {self.sentence}"


class Unfinished(Exception):
    """An answer with a gap in it."""


class Wrong(Exception):
    """A wrong answer; the message is the sentence that says why."""


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """Say whether an answer is right. Never raises, whatever the answer does."""
    try:
        sentence = _fault(exercise, answer)
    except Unfinished as unfinished:
        return Verdict(exercise.name, "not yet", f"not yet{unfinished}")
    except Wrong as wrong:
        sentence = str(wrong)
    except Exception as error:
        sentence = f"your answer could not be compared: {first_line(error)}"
    return Verdict(exercise.name, "wrong" if sentence else "correct", sentence or "correct")


def call(function: Callable, *arguments: Any, what: str = "your function") -> Any:
    """What a learner's function gives.

    Raises:
        Unfinished: it has a gap, or gives nothing.
        Wrong: it raised something.
    """
    try:
        result = function(*arguments)
    except (Unfinished, Wrong):
        raise
    except NotImplementedError as error:
        raise Unfinished from error
    except (Exception, SystemExit) as error:
        if isinstance(error, (TypeError, AttributeError)) and "ellipsis" in str(error).lower():
            raise Unfinished from error  # the function computes with a gap that it still has
        raise Wrong(f"{what} raised {first_line(error)}") from error
    if result is None:
        raise Unfinished(": the function returns nothing")
    if _has_gap(result):
        raise Unfinished
    return result


def solution_source(exercise: Exercise) -> str:
    """The source code of the right answer, from the one place where it stands."""
    note = f"# {exercise.goal}"
    if exercise.package:
        note += f"\n# The package has it as {exercise.package}."
    if callable(exercise.reference):
        return f"{note}\n{inspect.getsource(exercise.reference)}".rstrip()
    return f"{note}\n{exercise.name} = {exercise.reference!r}"


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _fault(exercise: Exercise, answer: Any) -> str | None:
    if _has_gap(answer):
        raise Unfinished
    if exercise.judge:
        return exercise.judge(answer)
    if exercise.inputs is None:
        return _fault_of_value(exercise, answer)
    if not callable(answer):
        return f"your answer is {a_kind(answer)}, expected a function"
    return _fault_of_function(exercise, answer)


def _fault_of_value(exercise: Exercise, answer: Any) -> str | None:
    difference = first_difference(answer, exercise.right_value(), exercise.tolerance, secret=True)
    if difference is None:
        return None
    slips = (slip.says for slip in exercise.slips if first_difference(answer, slip.answer, exercise.tolerance) is None)
    return ": ".join([difference.sentence, *list(slips)[:1]])


def _fault_of_function(exercise: Exercise, answer: Callable) -> str | None:
    cases = exercise.cases()
    for label, arguments in cases.items():
        what = shown_call(exercise.name, arguments)
        expected = exercise.reference(*copy.deepcopy(arguments))
        result = call(answer, *copy.deepcopy(arguments), what=what)
        difference = first_difference(result, expected, exercise.tolerance, what)
        if difference is not None:
            where = "" if label.startswith("#") else f" ({label})"
            reasons = (
                _own_slip(exercise, answer, list(cases.values())),
                *(d(answer, [arguments]) for d in exercise.demands if d is INPUTS_LEFT_ALONE),
                recognise(result, expected, arguments, exercise.tolerance),
            )
            return ": ".join([f"{difference.sentence}{where}", *list(filter(None, reasons))[:1]])
    broken = (demand(answer, list(cases.values())) for demand in exercise.demands)
    sentence = next(filter(None, broken), None)
    return sentence and f"the results are right, but {sentence}"


def _own_slip(exercise: Exercise, answer: Callable, cases: list[tuple]) -> str | None:
    """What is said of a slip of this exercise that gives the same as the answer wherever it gives something."""
    return next((slip.says for slip in exercise.slips if _alike(answer, slip.answer, cases)), None)


def _alike(answer: Callable, slip: Callable, cases: list[tuple]) -> bool:
    compared = 0
    for arguments in cases:
        try:
            pair = answer(*copy.deepcopy(arguments)), slip(*copy.deepcopy(arguments))
            if first_difference(*pair, tolerance=1e-5) is not None:
                return False
        except Exception:  # one of the two does not reach this input
            continue
        compared += 1
    return compared > 0


def _has_gap(value: object) -> bool:
    return value is None or value is ... or (isinstance(value, (tuple, list)) and any(map(_has_gap, value)))


def shown_call(name: str, arguments: tuple) -> str:
    """A call in short: arrays of more than four numbers by their shape, three and more alike in a row by their number.

    >>> shown_call("rollout_windows", (31, 10)), shown_call("step", (np.zeros((3, 2)), np.array([0.5, 1])))
    ('rollout_windows(31, 10)', 'step(array (3, 2), array [0.5, 1.0])')
    """
    rows = [(text, len(list(row))) for text, row in itertools.groupby(map(_short, arguments))]
    texts = (f"{times} × {text}" if times > 2 else ", ".join([text] * times) for text, times in rows)
    return f"{name}({', '.join(texts)})"


def _rounded(values: Any) -> Any:
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return round(values, 4) if isinstance(values, float) else values


def _short(value: Any) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        few = array(value)
        return f"{kind} {_rounded(few.tolist()) if 0 < few.size <= 4 else tuple(few.shape)}"
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else a_kind(value)
