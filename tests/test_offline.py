"""The folder for a room without network: all that is in it, what pip is asked for, and what stops it."""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from vidlib.__main__ import main
from vidlib.batch import offline, run

COURSE = run.notebooks()[0].parents[1]
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Files called like MNIST's, which nobody looks into."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        (raw / f"{name}.gz").write_bytes(name.encode())
    (raw / NAMES[0]).write_bytes(b"the same, unpacked")
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path / "data"))
    read = []
    monkeypatch.setattr(offline, "load_digits", lambda *what: read.append((*what, os.environ["VIDLIB_DATA"])))
    return read


@pytest.fixture
def pip(monkeypatch):
    """pip's commands, and the status with which it ends."""
    asked = {"status": 0, "commands": []}

    def call(command, **options):
        asked["commands"].append(list(command))
        return asked["status"]

    monkeypatch.setattr(subprocess, "call", call)
    return asked


def test_the_folder_has_all_that_the_room_needs(tmp_path, data, pip, capsys):
    room = tmp_path / "room"
    assert main(["offline", str(room)]) == 0
    assert f"{room} is whole" in capsys.readouterr().out
    for name in ("requirements.txt", "pyproject.toml", "README.md", "LICENSE", "vidlib/__main__.py", "docs/answers.md"):
        assert (room / name).read_bytes() == (COURSE / name).read_bytes()
    for path in run.notebooks():
        assert (room / "notebooks" / path.name).read_bytes() == path.read_bytes()
    assert list((room / "vidlib" / "pretrained").glob("*.safetensors"))
    assert not list(room.rglob("__pycache__")) and not (room / "tests").exists()
    raw = room / "data" / "MNIST" / "raw"
    assert {file.name for file in raw.iterdir()} == {f"{name}.gz" for name in NAMES}
    assert data == [("mnist", split, str(room / "data")) for split in ("train", "test")]


def test_pip_is_asked_for_the_courses_versions_and_for_what_builds_the_package(tmp_path, data, pip):
    room = tmp_path / "room"
    offline.offline_folder(room, say=lambda line: None)
    (command,) = pip["commands"]
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    options = dict(zip(command, command[1:], strict=False))
    assert options["--dest"] == options["--find-links"] == str(room / "wheels")
    assert options["--constraint"] == str(COURSE / "constraints.txt")
    required = [line.partition("#")[0].strip() for line in (COURSE / "requirements.txt").read_text().splitlines()]
    assert set(filter(None, required)) - set(command) == {"-e ."}
    builds = re.search(r'requires = \["(.*)"\]', (COURSE / "pyproject.toml").read_text())[1]
    assert command[-1] == builds


def test_the_small_torch_comes_first_and_alone_from_its_index(tmp_path, data, pip):
    assert main(["offline", str(tmp_path / "room"), "--small-torch"]) == 0
    first, second = pip["commands"]
    assert first[-2:] == ["torch", "torchvision"] and "--no-deps" in first
    assert first[first.index("--index-url") + 1].endswith("/cpu") and "--index-url" not in second
    readme = (COURSE / "README.md").read_text(encoding="utf-8")
    assert " ".join(offline.SMALL_TORCH) in readme  # one address, wherever it is said


def test_with_copies_for_students_no_page_has_the_answers(tmp_path, data, pip):
    room = tmp_path / "room"
    assert main(["offline", str(room), "--students"]) == 0
    assert {path.name for path in (room / "docs").glob("*.md")} == {"glossary.md", "errors.md"}
    for path in (room / "notebooks").glob("0*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") or "solution(" in cell.source for cell in cells)


def test_where_pip_fails_the_same_command_goes_on(tmp_path, data, pip, capsys):
    room = tmp_path / "room"
    pip["status"] = 1
    assert main(["offline", str(room)]) == 1
    assert "pip could not fetch what the course needs" in capsys.readouterr().err
    assert not (room / "install.py").exists()
    (room / "wheels" / "kept.whl").touch()
    pip["status"] = 0
    assert main(["offline", str(room)]) == 0
    assert (room / "install.py").exists() and (room / "wheels" / "kept.whl").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path, data, pip, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert main(["offline", str(tmp_path / "mine")]) == 1
    assert "mine is not empty" in capsys.readouterr().err and len(list((tmp_path / "mine").iterdir())) == 1
    assert main(["offline", str(COURSE / "docs" / "room")]) == 1
    assert "lies in a folder that is to be copied" in capsys.readouterr().err
    assert not (COURSE / "docs" / "room").exists() and pip["commands"] == []


def test_without_mnist_there_is_one_sentence(tmp_path, pip, monkeypatch, capsys):
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr("vidlib.digits._download_mnist", lambda root: (_ for _ in ()).throw(OSError("no network")))
    assert main(["offline", str(tmp_path / "room")]) == 1
    assert "could not be downloaded" in capsys.readouterr().err and pip["commands"] == []


# --- the program that sets it up ---


@pytest.fixture
def room(tmp_path, data, pip, monkeypatch):
    offline.offline_folder(tmp_path / "room", say=lambda line: None)
    monkeypatch.undo()
    return tmp_path / "room"


def install(room: Path, **changed) -> subprocess.CompletedProcess:
    program = room / "install.py"
    for before, after in changed.values():
        program.write_text(program.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    return subprocess.run([sys.executable, str(program)], cwd=room.parent, capture_output=True, text=True, timeout=120)


def test_it_runs_on_any_python_3_and_installs_from_the_wheels_alone(room):
    text = (room / "install.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 8))
    python = f"import sys\nfrom pathlib import Path\nPath({str(room / 'asked')!r}).write_text(' '.join(sys.argv[1:]))"
    done = install(
        room,
        # an interpreter that writes down what it is asked for, in place of a venv that takes a minute
        venv=('venv.create(HERE / ".venv", with_pip=True)', f"(HERE / 'python').write_text({python!r})"),
        python=("pip = [str(python)", "pip = [sys.executable, str(HERE / 'python')"),
    )
    assert done.returncode == 0, done.stderr
    asked = (room / "asked").read_text()
    assert asked == "-m pip install --quiet --no-index --find-links wheels -r requirements.txt"
    assert "-m vidlib lab" in done.stdout


def test_on_another_system_it_says_so_and_does_nothing(room):
    done = install(room, system=(repr(platform.system()), "'Plan9'"))
    assert done.returncode == 1 and "This folder is for Plan9" in done.stderr and "Traceback" not in done.stderr
    assert not (room / ".venv").exists()
