"""The process in which a student's notebook runs: it runs the cells, then says what its functions give.

``python -m vidlib.exercises.answering`` is started by :mod:`vidlib.exercises.grading` and talks to it over standard
input and output. It judges nothing: whatever a cell does to this process, the right answers are compared elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vidlib.exercises.wire import Broken, Wire


def main() -> int:
    """Run the cells of the first message, then answer what is asked until the other side closes."""
    wire = _connection()
    try:
        job = wire.receive()
        _limit(job)
        names = _run_cells(wire, job["cells"])
        wire.pack(lambda name: names.get(name, ...))  # function 0: what a name of the notebook means
        wire.send({"ran": True})
        while True:
            wire.answer(wire.receive())
    except Broken:  # nobody asks any more
        return 0


def _connection() -> Wire:
    """Standard input and output under numbers that no print reaches."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return Wire(reader, writer)


def _limit(job: Mapping[str, Any]) -> None:
    with suppress(ImportError):  # Windows has no such limits
        import resource

        for limit, most in (
            (resource.RLIMIT_DATA, job["memory"]),
            (resource.RLIMIT_CPU, job["seconds"]),
            (resource.RLIMIT_FSIZE, job["memory"]),
            (resource.RLIMIT_CORE, 0),
        ):
            with suppress(OSError, ValueError):  # a system that is stricter already, or has no such limit
                resource.setrlimit(limit, (most, most))


def _run_cells(wire: Wire, cells: list) -> dict[str, Any]:
    """Run one cell after another; an error ends its cell only."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    shell = InteractiveShell.instance(config=config)
    for number, source in cells:
        wire.send({"cell": number})
        result = shell.run_cell(source, store_history=True)  # the set-up call reads the history
        if error := result.error_before_exec or result.error_in_exec:
            wire.send({"cell": number, "error": f"{type(error).__name__}: {error}"[:200]})
    return shell.user_ns


if __name__ == "__main__":
    sys.exit(main())
