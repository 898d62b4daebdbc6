"""Print every table: ``python -m benchmarks``, or some: ``python -m benchmarks training_speed``.

With the name of a Markdown file first, also write each between its marks: ``python -m benchmarks README.md``. Every
table says on which machine it was measured, so that one can be measured again without the others.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from benchmarks import data_speed, notebook_cost, results, training_speed
from vidlib.checks import check_choice
from vidlib.files import print_anywhere
from vidlib.machine import fast_precision, hardware

BENCHES = {bench.__name__.rpartition(".")[2]: bench for bench in (data_speed, training_speed, notebook_cost)}


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a table in a Markdown file."""
    return f"<!-- {name}: `python -m benchmarks README.md {name}` -->", f"<!-- end of {name} -->"


class _Tee(io.StringIO):
    """Keeps what it shows."""

    def __init__(self, screen: TextIO) -> None:
        super().__init__()
        self.screen = screen

    def write(self, text: str) -> int:
        self.screen.write(text)
        self.screen.flush()
        return super().write(text)


def main(file: Path | None = None, names: Sequence[str] = ()) -> None:
    """Measure the named tables, all where none is named, and write them into the file, if there is one.

    Raises:
        ValueError: an unknown name, or a file without its marks, before anything is measured.
    """
    print_anywhere()
    names = names or tuple(BENCHES)
    for name in names:
        check_choice(BENCHES, benchmark=name)
        if file:
            results.check_marks(file, *marks(name))  # before the minutes, not after them
    units = "with" if fast_precision() == "bf16" else "without"
    for name in names:
        with contextlib.redirect_stdout(_Tee(sys.stdout)) as shown:
            print(f"**{BENCHES[name].TITLE}**\n\nMeasured on {hardware()}, {units} units for bf16.\n")
            BENCHES[name].main()
        if file:
            results.write(file, shown.getvalue().strip(), *marks(name))
        print()


if __name__ == "__main__":
    words = sys.argv[1:]
    page = Path(words.pop(0)) if words and words[0].endswith(".md") else None
    main(page, words)
