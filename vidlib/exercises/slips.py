"""Slips that any exercise may meet, recognised from the numbers alone: what came against what was expected."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from vidlib.exercises.differences import array, first_difference

_CLOSE = 1e-6  # relative; two results that agree so far were computed the same way


def recognise(found: Any, expected: Any, arguments: tuple, tolerance: float) -> str:
    """Name the slip that made ``found`` out of ``expected``; empty where none of the known ones did.

    Args:
        found: the wrong result.
        expected: the right one.
        arguments: with which both were computed.
        tolerance: of the exercise.

    >>> recognise(0.25, 4.0, (np.zeros((4, 4)),), 0.0)
    '16 times too small: a mean where a sum belongs?'
    >>> recognise((2, 1), (1, 2), (), 0.0)
    'the right results in another order'
    """
    close = max(tolerance, _CLOSE)
    if isinstance(expected, (tuple, list)) and isinstance(found, (tuple, list)) and len(found) == len(expected):
        orders = (
            itertools.islice(itertools.permutations(found), 1, None) if len(found) <= 4 else ()
        )  # the first is as it is
        if any(_equal(order, tuple(expected), close) for order in orders):
            return "the right results in another order"
    difference = first_difference(found, expected, tolerance)
    if difference is None or isinstance(difference.expected, (tuple, list, dict, set, frozenset, str)):
        return ""
    try:
        a, b = array(difference.found), array(difference.expected)
        if a.dtype.kind not in "fiub" or a.size == 0:
            return ""
        slips = _OF_ONE_SHAPE if a.shape == b.shape else _OF_TWO_SHAPES
        return next(filter(None, (slip(a, b, arguments, close) for slip in slips)), "")
    except Exception:  # a slip that cannot be looked for is none; the difference stands
        return ""


def _equal(found: Any, expected: Any, close: float) -> bool:
    return first_difference(found, expected, close) is None


def _near(a: np.ndarray, b: np.ndarray, close: float) -> bool:
    return a.shape == b.shape and np.allclose(a.astype(float), b.astype(float), rtol=close, atol=close)


def _not_a_number(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    if np.isnan(a.astype(float)).any():
        return "NaN comes from 0/0, from infinity minus infinity, or from a root or logarithm of a negative number"
    return ""


def _type(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    if a.dtype.kind == b.dtype.kind or not _near(a, b, close):
        return ""
    if a.dtype.kind == "f" and b.dtype.kind in "iu":
        return "the right number as a float: // divides whole numbers and gives a whole number"
    return "the right number in another type"


def _precision(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    coarse = a.dtype.kind == "f" and a.dtype.itemsize < b.dtype.itemsize
    return "right to a few digits: the type that you compute in is too short" if coarse and _near(a, b, 1e-3) else ""


def _one_off(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        return ""
    steps = set((a.astype(int) - b.astype(int)).ravel().tolist())
    return {(1,): "one too many", (-1,): "one too few"}.get(tuple(steps), "")


def _sign(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    return "the sign is turned" if _near(-a.astype(float), b, close) else ""


def _times(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    a, b = a.astype(float), b.astype(float)
    full = b != 0
    if not full.any() or (a[~full] != 0).any() or not np.allclose(a[full] / b[full], ratio := (a[full] / b[full])[0]):
        return ""
    if ratio <= 0:
        return ""
    small = ratio < 1
    times = round(1 / ratio if small else ratio)
    if times < 2 or not math.isclose(ratio, 1 / times if small else times, rel_tol=1e-4):
        return ""
    cause = "a mean where a sum belongs?" if small else "a sum where a mean belongs?"
    said = f"{times} times too {'small' if small else 'large'}"
    return f"{said}: {cause}" if times in _counts(arguments) else said


def _counts(arguments: Iterable) -> set[int]:
    """How many elements the axes of the arguments hold, in every combination."""
    shapes = [tuple(getattr(argument, "shape", ())) for argument in arguments]
    subsets = (axes for shape in shapes for n in range(1, len(shape) + 1) for axes in itertools.combinations(shape, n))
    return {math.prod(axes) for axes in subsets}


def _range(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    if _near(a.clip(0, 1), b, close):
        return "right but for what lies outside of [0, 1]"
    if _near(a, b.clip(0, 1), close):
        return "it is clipped to [0, 1]"
    return ""


def _unchanged(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    same = [i for i, x in enumerate(arguments, 1) if np.ndim(x) and _near(a, array(x), close)]
    return f"this is argument {same[0]}, unchanged" if same else ""


def _moved(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    for axis, length in enumerate(a.shape):
        if length > 1 and _near(np.flip(a, axis), b, close):
            return f"axis {axis} runs backwards"
        if length > 2:
            late, early = np.arange(1, length), np.arange(length - 1)
            pairs = ((late, early), (early, late))
            if any(_near(a.take(x, axis), b.take(y, axis), close) for x, y in pairs):
                return f"shifted by one along axis {axis}"
    return ""


def _axes(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    if a.ndim != b.ndim or not 2 <= a.ndim <= 6:
        return ""
    for order in itertools.permutations(range(a.ndim)):
        if tuple(a.shape[i] for i in order) == b.shape and _near(a.transpose(order), b, close):
            wrong = [axis for axis, place in enumerate(order) if axis != place]
            return f"the right numbers, but axes {', '.join(map(str, wrong[:-1]))} and {wrong[-1]} are in another order"
    return ""


def _order(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    if a.size != b.size or a.size < 2:
        return ""
    if _near(a.reshape(b.shape), b, close):
        return f"the right numbers in another shape: {b.shape} is asked"
    return "the right numbers in another order" if _near(np.sort(a.ravel()), np.sort(b.ravel()), close) else ""


def _reduced(a: np.ndarray, b: np.ndarray, arguments: tuple, close: float) -> str:
    a = a.astype(float)
    for n in range(1, a.ndim + 1):
        for axes in itertools.combinations(range(a.ndim), n):
            for word, reduced in (("averaged", a.mean(axes)), ("summed", a.sum(axes))):
                if _near(reduced, b, close):
                    return f"not yet {word} over {'axis' if n == 1 else 'axes'} {', '.join(map(str, axes))}"
    return ""


_Look = Callable[[np.ndarray, np.ndarray, tuple, float], str]
_OF_ONE_SHAPE: tuple[_Look, ...] = (
    _not_a_number, _type, _precision, _one_off, _unchanged, _sign, _times, _range, _axes, _moved, _order
)  # fmt: skip
_OF_TWO_SHAPES: tuple[_Look, ...] = (_axes, _order, _reduced)
