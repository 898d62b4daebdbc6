"""Compare an answer with what is right: the first difference in words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Exercise:
    """A question whose answer is compared with a reference on fixed inputs.

    Attributes:
        name: as :func:`check` is called with it.
        reference: the right function; or the right value, where the answer is no function.
        inputs: makes the list of argument tuples to call the function with.
        hint: one sentence that helps without giving the answer away.
        tolerance: how far a float may be off, relative to the size of the expected number where that is above 1.
    """

    name: str
    reference: Any
    inputs: Callable[[], list[tuple]] = list
    hint: str = ""
    tolerance: float = 0.0


class Unfinished(Exception):
    """An answer with a gap in it."""


def first_difference(exercise: Exercise, answer: Any) -> str | None:
    if _has_gap(answer):
        raise Unfinished
    if not callable(exercise.reference):
        return _difference(answer, exercise.reference, exercise.tolerance, "your answer")
    if not callable(answer):
        return f"your answer is a {type(answer).__name__}, expected a function"
    cases = exercise.inputs()
    for number, arguments in enumerate(cases, 1):
        expected = exercise.reference(*copy.deepcopy(arguments))
        result = _call(answer, copy.deepcopy(arguments), f"input {number} of {len(cases)}")
        if isinstance(result, _Raised):
            return result.sentence
        if difference := _difference(result, expected, exercise.tolerance, "your result"):
            return f"{difference} (input {number} of {len(cases)})"
    return None


@dataclass(frozen=True)
class _Raised:
    sentence: str


def _call(function: Callable, arguments: tuple, where: str) -> Any:
    try:
        result = function(*arguments)
    except NotImplementedError as error:
        raise Unfinished from error
    except Exception as error:
        if isinstance(error, (TypeError, AttributeError)) and "ellipsis" in str(error).lower():
            raise Unfinished from error  # the function computes with a gap that it still has
        return _Raised(f"your function raised {first_line(error)} ({where})")
    if result is None:
        raise Unfinished(": the function returns nothing")
    if _has_gap(result):
        raise Unfinished
    return result


def _has_gap(value: object) -> bool:
    return value is None or value is ... or (isinstance(value, (tuple, list)) and any(map(_has_gap, value)))


def first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool", "c": "complex"}


def _difference(found: Any, expected: Any, tolerance: float, what: str) -> str | None:
    """The first difference in words, ``None`` where there is none: structure, type, shape, then every element."""
    if isinstance(expected, tuple):
        if not isinstance(found, (tuple, list)) or len(found) != len(expected):
            came = f"{len(found)} values" if isinstance(found, (tuple, list)) else f"a {type(found).__name__}"
            return f"{what} is {came}, expected {len(expected)} values"
        pairs = enumerate(zip(found, expected, strict=True))
        return next((d for i, (a, b) in pairs if (d := _difference(a, b, tolerance, f"{what}[{i}]"))), None)
    if isinstance(found, (tuple, list)):
        return f"{what} is a {type(found).__name__}, expected {_kind_name(expected)}"
    if np.ndim(expected) and isinstance(found, torch.Tensor) != isinstance(expected, torch.Tensor):
        return f"{what} is a {type(found).__name__}, expected {_kind_name(expected)}"
    a, b = _array(found), _array(expected)
    if _KINDS.get(a.dtype.kind) != _KINDS[b.dtype.kind]:
        came = _KINDS.get(a.dtype.kind, type(found).__name__)
        return f"{what} has type {came}, expected {_KINDS[b.dtype.kind]}"
    if a.shape != b.shape:
        return f"{what} has shape {a.shape}, expected {b.shape}"
    with np.errstate(invalid="ignore"):  # NaN - NaN
        wrong = ~(np.abs(a.astype(float) - b.astype(float)) <= tolerance * np.maximum(1, np.abs(b.astype(float))))
    if not wrong.any():  # written so that NaN is wrong
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f" at index {index}" if index else ""
    came, right = a[index].item(), b[index].item()
    if f"{came:.6g}" != f"{right:.6g}":
        came, right = f"{came:.6g}", f"{right:.6g}"
    return f"{what}{place} is {came}, expected {right}"


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _kind_name(expected: Any) -> str:
    if isinstance(expected, torch.Tensor):
        return "a tensor" if expected.ndim else "a number"
    return "an array" if np.ndim(expected) else "a number"
