"""The second half of an installation without dependencies, as the notebooks do it on Colab: ``python -m vidlib.colab``.

Colab brings torch and most of the rest, built for its machines. What is missing is added; what is there stays as it is,
torch above all, whatever its version.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DISTRIBUTION = "flowing-mnist"


def split_requirements() -> tuple[list[str], list[str]]:
    """What the package needs, without its extras: the requirements that are missing, and ``name==version`` of the rest.

    Raises:
        importlib.metadata.PackageNotFoundError: the package itself is not installed.
    """
    missing, present = [], []
    for requirement in importlib.metadata.requires(DISTRIBUTION) or ():
        if "extra ==" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement)[0]
        try:
            present.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement)
    return missing, present


def main() -> int:
    """Install what is missing; where that fails, take the package away too, so that the next attempt begins anew."""
    missing, present = split_requirements()
    if not missing:
        return 0
    pip = [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "constraints.txt"
        kept.write_text("\n".join(present), encoding="utf-8")
        status = subprocess.call([*pip, "install", "-q", "-c", str(kept), *missing])
    if status:
        subprocess.call([*pip, "uninstall", "-q", "-y", DISTRIBUTION])
    return status


if __name__ == "__main__":
    sys.exit(main())
