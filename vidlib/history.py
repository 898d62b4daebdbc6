"""The history of a training: one row for each epoch, in memory and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from vidlib.files import write_rows

COUNTS = ("epoch", "steps", "clips")  # columns of a history that are whole numbers
History = list[dict[str, float]]


def read_history(file: str | Path) -> History:
    """A ``history.csv`` as :func:`vidlib.fit` returns it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    with Path(file).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    try:
        # an epoch that was not validated has an empty cell
        return [{name: int(text) if name in COUNTS else float(text or "nan") for name, text in r.items()} for r in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} is no history of a training ({error}), expected rows of numbers.") from error


def write_history(history: History, file: str | Path) -> None:
    """Write what :func:`read_history` reads, whole or not at all."""
    write_rows(file, history)
