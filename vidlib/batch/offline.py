"""The whole course in one folder for a room without network: wheels, MNIST, notebooks and a program that sets it up."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vidlib.batch.run import environment, notebooks
from vidlib.batch.students import new_folder, write_student_version
from vidlib.digits import data_folder, load_digits
from vidlib.files import user_path

SMALL_TORCH = ("--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu")
_FOLDERS = ("notebooks", "vidlib", "docs", "studies", "benchmarks", "datavisualization")
_LEFT_OUT = ("__pycache__", ".ipynb_checkpoints", "*.egg-info", "*.mine-*")
_FOR_TEACHERS = ("teaching.md", "answers.md")
_BUILDS = "setuptools>=77"  # the package itself is built in the room

_INSTALL = '''\
"""Set up the course from this folder, without network: python3 install.py"""

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
MADE_FOR = {made_for!r}
HERE_IS = (platform.system(), platform.machine(), "Python %d.%d" % sys.version_info[:2])

if HERE_IS != MADE_FOR:
    sys.exit("This folder is for %s, and this is %s: use another Python (python3.12 install.py), or make a folder here."
             % (" ".join(MADE_FOR), " ".join(HERE_IS)))
print("Setting up .venv: some minutes.", flush=True)
venv.create(HERE / ".venv", with_pip=True)
python = HERE / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
pip = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--find-links", "wheels", "-r", "requirements.txt"]
if subprocess.call(pip, cwd=HERE):
    sys.exit("The installation failed: see what pip says above. Run this again once that is mended.")
print("Done. The notebooks open with:", python, "-m vidlib lab")
'''
_README = """\
# Flowing MNIST without network

For {made_for}. Copy the folder to each computer, then, in it:

```
python3 install.py
.venv/bin/python -m vidlib lab
```

On Windows: `py install.py`, then `.venv\\Scripts\\python -m vidlib lab`. MNIST lies in `data/`, where the course looks
for it. By hand, the first command is

```
python3 -m venv .venv
.venv/bin/python -m pip install --no-index --find-links wheels -r requirements.txt
```
"""


def offline_folder(
    folder: str | Path, *, small_torch: bool = False, students: bool = False, say: Callable[[str], None] = print
) -> Path:
    """Put the course, its wheels and MNIST into one folder. Run it on a computer like those in the room.

    Where it has stopped on the way, it goes on in the same folder.

    Args:
        folder: that is not there yet, empty, or one that this command began.
        small_torch: on Linux, the torch without GPU support, a fraction of the download.
        students: with notebooks as :func:`vidlib.batch.students.student_copies` makes them, without the answers' page.
        say: gets a line before each step.

    Raises:
        ValueError: a folder that holds something else.
        FileNotFoundError: the package without the course.
        MNISTUnavailable: MNIST is neither here nor can it be downloaded.
        RuntimeError: pip could not fetch something.
        OSError: the folder could not be written.
    """
    course = notebooks()[0].parents[1]
    target = user_path(folder)
    if any(target.is_relative_to(course / name) for name in _FOLDERS):
        raise ValueError(f"{folder} lies in a folder that is to be copied, expected one outside of it.")
    if not (target / "wheels").is_dir():
        target = new_folder(folder)
        (target / "wheels").mkdir()
    made_for = platform.system(), platform.machine(), "Python {}.{}".format(*sys.version_info[:2])

    say("The course ...")
    _copy_course(course, target)
    if students:
        for path in notebooks():
            write_student_version(path, target / "notebooks" / path.name)
        for name in _FOR_TEACHERS:
            (target / "docs" / name).unlink(missing_ok=True)
    say("MNIST ...")
    _copy_mnist(target / "data")
    say("Wheels: minutes, and with a torch for GPUs gigabytes ...")
    _fetch_wheels(course, target / "wheels", small_torch)
    (target / "install.py").write_text(_INSTALL.replace("{made_for!r}", repr(made_for)), encoding="utf-8")
    (target / "OFFLINE.md").write_text(_README.replace("{made_for}", " ".join(made_for)), encoding="utf-8")
    return target


def _copy_course(course: Path, target: Path) -> None:
    for name in _FOLDERS:
        if (course / name).is_dir():
            shutil.copytree(course / name, target / name, ignore=shutil.ignore_patterns(*_LEFT_OUT), dirs_exist_ok=True)
    for pattern in ("*.md", "*.txt", "pyproject.toml", "LICENSE", "CITATION.cff", "Makefile"):
        for file in course.glob(pattern):
            shutil.copyfile(file, target / file.name)


def _copy_mnist(data: Path) -> None:
    """MNIST's archives where they are on this disk, else its files, else a download; then read once, hashes and all."""
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    own = data_folder() / "MNIST" / "raw"
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        for file in (own / f"{name}-ubyte.gz", own / f"{name}-ubyte"):
            if file.is_file():
                shutil.copyfile(file, raw / file.name)
                break
    with environment("VIDLIB_DATA", str(data)):
        for split in ("train", "test"):
            load_digits("mnist", split)


def _fetch_wheels(course: Path, wheels: Path, small_torch: bool) -> None:
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels), "--find-links", str(wheels)]
    constraints = ["--constraint", str(course / "constraints.txt")]
    if small_torch:
        _pip([*download, *SMALL_TORCH, *constraints, "torch", "torchvision"], "the small torch")
    _pip([*download, *constraints, *_requirements(course / "requirements.txt"), _BUILDS], "what the course needs")


def _requirements(file: Path) -> list[str]:
    """The lines of a file of requirements, without comments and without the package itself."""
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _pip(command: Sequence[str], what: str) -> None:
    if subprocess.call(command, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}):
        raise RuntimeError(
            f"pip could not fetch {what}: see what it says above. The same command goes on where it stopped."
        )
