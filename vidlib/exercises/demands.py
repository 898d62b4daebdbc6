"""What an exercise may ask of an answer beside the right numbers, and how the check enforces it."""

from __future__ import annotations

import ast
import copy
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from vidlib.exercises.differences import first_difference


@dataclass(frozen=True)
class Demand:
    """Something that the text of an exercise asks for.

    Attributes:
        text: what is asked, as the text says it.
        broken: from the answer and the list of its argument tuples to a sentence on how it breaks the demand, or
            ``None``. It is called with answers that gave the right results, and with an answer that did not on the
            one input that showed it.
    """

    text: str
    broken: Callable[[Callable, list[tuple]], str | None]


def _writes(answer: Callable, cases: list[tuple]) -> str | None:
    for arguments in cases:
        given = copy.deepcopy(arguments)
        answer(*given)
        for place, (before, after) in enumerate(zip(arguments, given, strict=True)):
            if _changed(before, after):
                return f"it writes into {_argument(answer, place)}: leave the inputs as they are"
    return None


def _changed(before: Any, after: Any) -> bool:
    try:
        return first_difference(after, before) is not None and first_difference(before, before) is None
    except Exception:  # a model, a function: nothing with numbers that could be compared
        return False


def _argument(answer: Callable, place: int) -> str:
    try:
        return f"`{list(inspect.signature(answer).parameters)[place]}`"
    except (TypeError, ValueError, IndexError):
        return f"argument {place + 1}"


_LOOPS = ("map", "vectorize", "apply_along_axis", "frompyfunc", "fromiter")  # loops under another name


def _loops(answer: Callable, cases: list[tuple]) -> str | None:
    # Byte code first: a cell's source may be gone, and that of a lambda is a piece of a line.
    for code in _codes(answer):
        lines = [step.positions.lineno for step in dis.get_instructions(code) if step.opname == "FOR_ITER"]
        if lines := lines or _lines_of_while(code):
            return f"line {lines[0]} is a Python loop: write it without one"
        if hidden := next((name for name in _LOOPS if name in code.co_names), None):
            return f"{hidden} is a Python loop inside: write it without one"
    return None


def _lines_of_while(code: CodeType) -> list[int]:
    """From the source, because an ``except`` jumps backwards in the byte code just as a ``while`` does."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):  # no source, or a piece of a line; a lambda has no while
        return []
    return [code.co_firstlineno + node.lineno - 1 for node in ast.walk(tree) if isinstance(node, ast.While)]


def _codes(answer: Callable) -> Iterator[CodeType]:
    """The byte code of a function, of what is defined in it, and of the functions beside it that it calls."""
    waiting, seen = [answer], set()
    while waiting:
        thing = waiting.pop()
        code = thing if isinstance(thing, CodeType) else getattr(inspect.unwrap(thing), "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        yield code
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        known = getattr(answer, "__globals__", {})
        beside = (known.get(name) for name in code.co_names)
        waiting += [f for f in beside if isinstance(f, FunctionType) and f.__module__ == answer.__module__]


INPUTS_LEFT_ALONE = Demand("leave the inputs as they are", _writes)
NO_LOOP = Demand("no Python loop", _loops)


def without(*names: str) -> Demand:
    """Forbid functions that would do the exercise: ``without("scaled_dot_product_attention")``."""

    def uses(answer: Callable, cases: list[tuple]) -> str | None:
        found = next((name for code in _codes(answer) for name in names if name in code.co_names), None)
        return found and f"it calls {found}: do that part yourself"

    return Demand(f"without {', '.join(names)}", uses)
