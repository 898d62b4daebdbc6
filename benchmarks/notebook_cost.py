"""Seconds and peak memory of each notebook at each profile, its kernel included."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vidlib.batch.run import jobs, read_profile

TITLE = "Seconds and peak memory of each notebook, its kernel included"
PROFILES = ("smoke", "laptop")
BINDER = Path(__file__).resolve().parents[1] / "binder" / "start"  # Binder begins everything with it, and lends 2 GB
# The runner is a process of its own because the operating system keeps the peak over all children that ever were.
RUNNER = """
import json, resource, sys
from vidlib.batch.run import run_notebook
run_notebook(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), progress=False)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def cost(notebook: str, parameters: dict, within: Sequence[str] = ()) -> tuple[float, float]:
    """Seconds of one run from nothing to the written file, and the kernel's peak in GiB; ``within`` starts the run."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        command = [*within, sys.executable, "-c", RUNNER, notebook, out, json.dumps(parameters)]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{notebook} failed: {done.stderr.strip().splitlines()[-1]}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return seconds, int(done.stdout.split()[-1]) * unit / 2**30


def main() -> None:
    print("| notebook | profile | seconds | peak memory of its kernel, GiB |")
    print("| --- | --- | --- | --- |")
    ways = [*((profile, profile, ()) for profile in PROFILES), ("laptop", "laptop, as on Binder", (str(BINDER),))]
    for profile, title, within in ways:
        for path, parameters in jobs(read_profile(profile)):
            seconds, peak = cost(str(path), parameters, within)
            print(f"| {path.stem} | {title} | {seconds:.0f} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()
