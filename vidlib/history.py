"""The history of a training: one row for each epoch, in memory and as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from vidlib.files import read_whole, write_rows

COUNTS = ("epoch", "steps", "clips")  # columns of a history that are whole numbers
History = list[dict[str, float]]


def read_history(file: str | Path) -> History:
    """A ``history.csv`` as :func:`vidlib.fit` returns it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    data = read_whole(file)
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        # an epoch that was not validated has an empty cell
        found = [{name: int(t) if name in COUNTS else float(t or "nan") for name, t in row.items()} for row in rows]
        if not found or not {"epoch", "validation_mse"} <= found[0].keys():
            raise ValueError("not the columns of one")
        if [row["epoch"] for row in found] != [*range(1, len(found) + 1)]:
            raise ValueError("its epochs do not follow each other")
    except (TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} is no history of a training ({error}), expected rows of numbers.") from error
    return found


def write_history(history: History, file: str | Path) -> None:
    """Write what :func:`read_history` reads, whole or not at all."""
    write_rows(file, history)
