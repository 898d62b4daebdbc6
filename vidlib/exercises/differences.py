"""The first difference between what came and what was expected, in words."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vidlib.checks import shown


@dataclass(frozen=True)
class Difference:
    """Where an answer first differs.

    Attributes:
        sentence: what came and what was expected, without a full stop.
        found: the value that differs: the whole answer, or the member of it at which the two part.
        expected: what should stand there.
    """

    sentence: str
    found: Any
    expected: Any


def first_difference(
    found: Any, expected: Any, tolerance: float = 0.0, what: str = "your answer", secret: bool = False
) -> Difference | None:
    """Compare structure, type, shape, then every element; ``None`` where nothing differs.

    Args:
        found: what came.
        expected: a number, text, array or tensor; or a tuple, list, set or mapping of such.
        tolerance: how far a float may be off, relative to the size of the expected number where that is above 1.
        what: how the sentence names what came.
        secret: say which way a value is off, and not what was expected.

    >>> first_difference((1, 2), (1, 3), what="f(5)").sentence
    'f(5)[1] is 2, expected 3'
    """
    if isinstance(expected, (tuple, list)):
        return _members(found, expected, tolerance, what, secret)
    if isinstance(expected, Mapping):
        return _mapping(found, expected, tolerance, what, secret)
    if isinstance(expected, (Set, str)):
        sentence = (_text if isinstance(expected, str) else _set)(found, expected, what, secret)
    else:
        sentence = _numbers(found, expected, tolerance, what, secret)
    return sentence and Difference(sentence, found, expected)


def a_kind(value: Any) -> str:
    """What a value is, with its article.

    >>> a_kind(3), a_kind("x")
    ('an int', 'a str')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeio' or name == 'ndarray' else 'a'} {name}"


def array(value: Any) -> np.ndarray:
    """A number, array or tensor of any device and precision as an array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _members(found: Any, expected: Any, tolerance: float, what: str, secret: bool) -> Difference | None:
    if not isinstance(found, (tuple, list)) or len(found) != len(expected):
        came = f"{len(found)} values" if isinstance(found, (tuple, list)) else a_kind(found)
        return Difference(f"{what} is {came}, expected {len(expected)} values", found, expected)
    pairs = enumerate(zip(found, expected, strict=True))
    return next((d for i, (a, b) in pairs if (d := first_difference(a, b, tolerance, f"{what}[{i}]", secret))), None)


def _mapping(found: Any, expected: Mapping, tolerance: float, what: str, secret: bool) -> Difference | None:
    if not isinstance(found, Mapping) or set(found) != set(expected):
        came = f"has the keys {sorted(map(str, found))}" if isinstance(found, Mapping) else f"is {shown(found)}"
        return Difference(f"{what} {came}, expected the keys {sorted(map(str, expected))}", found, expected)
    pairs = ((key, found[key], expected[key]) for key in expected)
    named = (first_difference(a, b, tolerance, f"{what}[{key!r}]", secret) for key, a, b in pairs)
    return next(filter(None, named), None)


def _set(found: Any, expected: Set, what: str, secret: bool) -> str | None:
    if not isinstance(found, (Set, tuple, list)):
        return f"{what} is {shown(found)}, expected a set"
    if (came := set(found)) == expected:
        return None
    if not secret:
        return f"{what} is {shown(came)}, expected {shown(set(expected))}"
    wrong, missing = len(came - expected), len(expected - came)
    counts = [f"{wrong} that {'does' if wrong == 1 else 'do'} not belong there"] * bool(wrong)
    return f"{what} has {' and '.join(counts + [f'{missing} too few'] * bool(missing))}"


def _text(found: Any, expected: str, what: str, secret: bool) -> str | None:
    if not isinstance(found, str):
        return f"{what} is {shown(found)}, expected text"
    if found.strip().casefold() == expected.strip().casefold():
        return None
    return f"{what}, {shown(found)}, is not it" if secret else f"{what} is {shown(found)}, expected {expected!r}"


_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool", "c": "complex"}


def _numbers(found: Any, expected: Any, tolerance: float, what: str, secret: bool) -> str | None:
    if isinstance(found, (tuple, list)):
        return f"{what} is {a_kind(found)}, expected {_kind_name(expected)}"
    if np.ndim(expected) and isinstance(found, torch.Tensor) != isinstance(expected, torch.Tensor):
        return f"{what} is {a_kind(found)}, expected {_kind_name(expected)}"
    a, b = array(found), array(expected)
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
    if secret:
        way = "" if isinstance(came, bool) else ": too small" if came < right else ": too large" if came > right else ""
        return f"{what}{place} is {came:.6g}{way}" if way else f"{what}{place} is {came}, and that is not it"
    if f"{came:.6g}" != f"{right:.6g}":
        came, right = f"{came:.6g}", f"{right:.6g}"
    return f"{what}{place} is {came}, expected {right}"


def _kind_name(expected: Any) -> str:
    if isinstance(expected, torch.Tensor):
        return "a tensor" if expected.ndim else "a number"
    return "an array" if np.ndim(expected) else "a number"
