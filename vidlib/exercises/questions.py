"""Questions of a notebook that a learner answers before the next cell does: a guess, compared with what was measured.

A question has no check and no grade. It is a :class:`Question` in the file of its notebook; in the notebook::

    guess("horizon", ...)                 # a number, one of the choices, an order, or a few words in place of the ...

    compare("horizon", frames_that_hold)  # the cell that measures, further down
    reveal("horizon")                     # instead, where nothing is measured: the guess beside the answer
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from vidlib.checks import did_you_mean, shown
from vidlib.exercises.differences import array


@dataclass(frozen=True)
class Question:
    """Something to guess.

    Attributes:
        name: as :func:`vidlib.course.guess` is called with it.
        asks: the question, in one sentence.
        choices: where the guess is one of these, or all of them in an order.
        unit: of a number, such as ``"frames"``.
        answer: one to three sentences that :func:`vidlib.course.reveal` prints; true whatever the weights are.
    """

    name: str
    asks: str
    choices: tuple[str, ...] = ()
    unit: str = ""
    answer: str = ""


def fault_of_guess(question: Question, guess: Any) -> str | None:
    """What is wrong with a guess as a guess, in one sentence."""
    if question.choices:
        for choice in guess if isinstance(guess, (list, tuple)) else [guess]:
            if choice not in question.choices:
                return f"your guess is {shown(choice)}, {did_you_mean(choice, question.choices)}"
    elif not isinstance(guess, (str, Real)) or (isinstance(guess, Real) and not math.isfinite(guess)):
        return f"your guess is {shown(guess)}, expected a number or a few words"
    return None


def measured_text(question: Question, measured: Any, level: Sequence[str] = ()) -> str:
    """What was measured, alone; and what is level with it.

    >>> measured_text(Question("gate", "Which gate costs most?"), "forget", ["output"])
    'it is forget; level with it on these clips: output'
    """
    beside = f"; level with it on these clips: {', '.join(level)}" if level else ""
    return f"it is {_text(measured, question.unit)}{beside}"


def compared_text(question: Question, guess: Any, measured: Any, level: Sequence[str] = ()) -> str:
    """A guess beside what was measured.

    >>> compared_text(Question("speed", "How fast?"), 30, 50.8)
    'you said 30, it is 50.8: 1.7 times too low'
    """
    found = measured_text(question, measured, level)
    if level and any(_same(guess, name) for name in (measured, *level)):
        return f"you said {_text(guess, question.unit)}: right; {found}"
    return f"you said {_text(guess, question.unit)}, {found}{_judged(guess, measured)}"


def _judged(guess: Any, measured: Any) -> str:
    if isinstance(measured, (list, tuple)):
        if not isinstance(guess, (list, tuple)) or len(guess) != len(measured):
            return ""
        right = sum(a == b for a, b in zip(guess, measured, strict=True))
        return f": {right} of {len(measured)} in their place"
    if isinstance(measured, str):
        return ": right" if _same(guess, measured) else ""
    if not isinstance(guess, Real):
        return ""
    found = float(array(measured))
    if isinstance(guess, bool) or isinstance(measured, bool):
        return ": right" if bool(guess) == bool(found) else ": the other way round"
    if math.isclose(guess, found, rel_tol=0.05):
        return ": " + ("right" if guess == found else "close, within 5%")
    if not math.isfinite(found):
        return ""
    way = "low" if guess < found else "high"
    if guess * found <= 0:
        return f": {_text(abs(guess - found), '')} too {way}"
    times = max(guess / found, found / guess)
    return f": {times:.2g} times too {way}" if guess > 0 and times < 1000 else f": too {way}"


def _same(guess: Any, text: str) -> bool:
    return isinstance(guess, str) and guess.strip().casefold() == text.strip().casefold()


def _text(value: Any, unit: str) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(member, unit) for member in value)
    if isinstance(value, (str, bool)):
        return str(value)
    number = float(array(value))
    text = f"{number:,.0f}" if number.is_integer() or abs(number) >= 1000 else f"{number:.3g}"
    return f"{text} {unit}".strip()
