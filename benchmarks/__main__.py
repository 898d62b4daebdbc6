"""Print every table: ``python -m benchmarks``; with the name of a Markdown file, also write them between its marks."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TextIO

from benchmarks import data_speed, notebook_cost, results, training_speed
from vidlib.files import print_anywhere
from vidlib.machine import hardware

START, END = "<!-- bench: `python -m benchmarks README.md` -->", "<!-- end of bench -->"


class _Tee(io.StringIO):
    """Keeps what it shows."""

    def __init__(self, screen: TextIO) -> None:
        super().__init__()
        self.screen = screen

    def write(self, text: str) -> int:
        self.screen.write(text)
        self.screen.flush()
        return super().write(text)


def main(file: Path | None = None) -> None:
    print_anywhere()
    if file:
        results.check_marks(file, START, END)  # before the minutes, not after them
    with contextlib.redirect_stdout(_Tee(sys.stdout)) as shown:
        print(f"Measured on {hardware()}.")
        for bench in (data_speed, training_speed, notebook_cost):
            print(f"\n**{bench.TITLE}**\n")
            bench.main()
    if file:
        results.write(file, shown.getvalue().strip(), START, END)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
