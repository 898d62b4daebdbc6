"""The small checks that stand at every public door: one clear sentence for what came, what was expected, what to do.

They need nothing but Python, so that the command line can use them before anything heavy is loaded.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any


def kind_of(value: object) -> str:
    """What a value is, in words for a sentence.

    >>> kind_of([1, 2]), kind_of(int), kind_of(None)
    ('a list', 'the class int', 'None')
    """
    if value is None:
        return "None"
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """What to say after "there is no ``name``": the nearest known name, or all of them.

    >>> did_you_mean("EPOCH", ["EPOCHS", "SEED"])
    "did you mean 'EPOCHS'?"
    >>> did_you_mean("x", ["EPOCHS", "SEED"])
    'expected one of EPOCHS, SEED.'
    """
    known = list(known)
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5) if isinstance(name, str) else []
    return f"did you mean {lower[near[0]]!r}?" if near else f"expected one of {', '.join(known) or 'none'}."


def shown(value: object) -> str:
    """What came, for a sentence: as code where that is one short line, else what it is.

    >>> shown([1.5, "x"]), shown(list(range(100)))
    ("[1.5, 'x']", 'a list')
    """
    text = repr(value)
    return kind_of(value) if isinstance(value, type) or len(text) > 60 or "\n" in text else text


def reason(error: BaseException) -> str:
    """Why something failed, in the error's own words on one line, to be put in brackets.

    >>> reason(FileNotFoundError(2, "No such file or directory", "a.png"))
    'No such file or directory'
    """
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    last = lines[-1].strip().rstrip(".") if lines else type(error).__name__
    return re.sub(r"^<urlopen error (?:\[Errno -?\d+\] )?(.*)>$", r"\1", last)  # what urllib wraps around it


def check_choice(known: Iterable[str], /, **values: object) -> None:
    """Raise unless every one of ``values`` is a name in ``known``.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_choice(["adam", "muon"], optimizer="adm")
    Traceback (most recent call last):
    ValueError: optimizer is 'adm', did you mean 'adam'?
    """
    known = list(known)
    for name, value in values.items():
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} is {shown(value)}, {did_you_mean(value, known)}")


def check_counts(lowest: int = 1, /, *, highest: int | None = None, **counts: object) -> None:
    """Raise unless every one of ``counts`` is a whole number from ``lowest`` to ``highest``.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_counts(frames=20, patch=0)
    Traceback (most recent call last):
    ValueError: patch is 0, expected a whole number of at least 1.
    """
    expected = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
    for name, value in counts.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < lowest or (highest is not None and value > highest):
            raise ValueError(f"{name} is {shown(value)}, expected a whole number {expected}.")


def check_numbers(
    lowest: float = -math.inf, highest: float = math.inf, /, *, open: bool = False, **values: object
) -> None:
    """Raise unless every one of ``values`` is a finite number from ``lowest`` to ``highest``.

    Args:
        open: whether the lowest number itself is too low.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_numbers(0, open=True, lr=0.0)
    Traceback (most recent call last):
    ValueError: lr is 0.0, expected a number above 0.
    >>> check_numbers(0, 1, warmup=float("nan"))
    Traceback (most recent call last):
    ValueError: warmup is nan, expected a number from 0 to 1.
    """
    low = f"above {lowest:g}" if open else f"of at least {lowest:g}"
    expected = {
        (True, True): "a finite number",
        (True, False): f"a number of at most {highest:g}",
        (False, True): f"a number {low}",
        (False, False): f"a number {low} and at most {highest:g}"
        if open
        else f"a number from {lowest:g} to {highest:g}",
    }[math.isinf(lowest), math.isinf(highest)]
    for name, value in values.items():
        if not _is_number(value) or value > highest or value < lowest or (open and value == lowest):
            raise ValueError(f"{name} is {shown(value)}, expected {expected}.")


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number larger than every float
        return False


def check_flags(**values: object) -> None:
    """Raise unless every one of ``values`` is ``True`` or ``False``.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_flags(peephole="no")
    Traceback (most recent call last):
    ValueError: peephole is 'no', expected True or False.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {shown(value)}, expected True or False.")


def check_kind(kinds: type | tuple[type, ...], expected: str, /, **values: object) -> None:
    """Raise unless every one of ``values`` is of one of these types.

    Args:
        kinds: the types.
        expected: what they are, in words.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_kind((str, type(None)), "a text or None", title=3)
    Traceback (most recent call last):
    ValueError: title is 3, expected a text or None.
    """
    for name, value in values.items():
        if not isinstance(value, kinds):
            raise ValueError(f"{name} is {shown(value)}, expected {expected}.")


def check_path(**paths: object) -> None:
    """Raise unless every one of ``paths`` names a file or folder.

    Raises:
        ValueError: the sentence names the first that does not.
    """
    for name, path in paths.items():
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise ValueError(f"{name} is {shown(path)}, expected a path.")


def check_mapping(holds: str, /, **values: object) -> None:
    """Raise unless every one of ``values`` is a dictionary with texts as keys and something in it.

    Args:
        holds: what its values are, in words.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_mapping("clip", rows={})
    Traceback (most recent call last):
    ValueError: rows is {}, expected a dictionary of name → clip with at least one entry.
    """
    for name, value in values.items():
        if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
            raise ValueError(
                f"{name} is {shown(value)}, expected a dictionary of name → {holds} with at least one entry."
            )


def check_texts(**values: Any) -> None:
    """Raise unless every one of ``values`` is a text with something in it.

    Raises:
        ValueError: the sentence names the first that is not.
    """
    for name, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} is {shown(value)}, expected a text that is not empty.")
