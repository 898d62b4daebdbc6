"""The house of vidlib: which room stands on which floor. Arrows, the imports, point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import vidlib

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vidlib"

# A room is a file. It imports rooms of lower lines only, so that there can be no circle; a new room goes on the line
# above all that it imports. A pattern makes room for files that are still to come.
FLOORS = (
    # the ground: the conventions, files, the machine
    "checks",
    "files",
    "video machine history parameters tensors intervals own_images colab",
    # clips
    "digits download",
    "moving_mnist own_videos own_digits example_video",
    "flights published other_rules lab/cases",
    # models, baselines, drawing, what a loss sees
    "models/moving_layers",
    "models/convlstm",
    "models/* baselines backbones viz/style",
    "models/registry perceptual digit_network viz/figures viz/curves viz/diagrams viz/animations viz/show",
    "viz/widgets viz/pad viz/comparisons viz/insides iterative muon",
    "viz probes steering uncertainty",
    # training, metrics, weights
    "training metrics weights exercises/differences lab/still",
    # a run, a lesson, a batch
    "exercises/slips exercises/demands exercises/questions exercises/source exercises/wire exercises/leaks",
    "recipes exercises/checking exercises/answering comparison decomposition lab/*",
    "gallery",
    "exercises/*_lessons runs lab",
    "exercises/lessons",
    "course live batch/run",
    "batch/sweep batch/authoring batch/copies exercises/grading batch/pace",
    "batch/teaching",
    "batch/students",
    "batch/offline",
    "__main__",
)

# What the floors alone would allow.
KNOWS_ONLY = {
    "models/*": {"checks", "video", "models/*"},  # nothing of data, training or drawing
    "viz*": {"checks", "files", "video", "history", "tensors", "viz*"},  # it draws and never predicts
    "recipes": {"checks", "models/registry", "backbones", "training"},  # numbers only
}
HEAVY = {"torch", "torchvision", "numpy", "matplotlib", "papermill", "accelerate", "skimage", "IPython", "dask"}


def rooms(package: Path = PACKAGE) -> dict[str, Path]:
    """Room to file; an ``__init__.py`` is a room under its folder's name where it imports something."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).with_suffix("").as_posix()
        if path.name == "__init__.py":
            name = name.removesuffix("__init__").rstrip("/")
            if not name or not imports(path.read_text(encoding="utf-8"), name):
                continue
        found[name] = path
    return found


def imports(source: str, room: str) -> set[str]:
    """The modules that a room imports, at its top or inside its functions, as ``vidlib.a.b`` or ``torch.nn``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = ["vidlib", *room.split("/")][: -node.level]
                base = ".".join([*folder, base]).rstrip(".")
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            names |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return names


def arrows(source: str, room: str, known: set[str]) -> set[str]:
    """The rooms that a room imports. What comes from the package's own face, and no room, is ``"vidlib"``."""
    found = set()
    for module in imports(source, room):
        top, *parts = module.split(".")
        if top == "vidlib":
            paths = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
            found.add(next((path for path in paths if path in known), "vidlib"))
    return found - {room}


def place(room: str) -> int:
    """The line of the table on which a room stands; its own name is stronger than a pattern."""
    for fits in (lambda name: name == room, lambda name: fnmatch(room, name)):
        for line, names in enumerate(FLOORS):
            if any(fits(name) for name in names.split()):
                return line
    raise AssertionError(f"vidlib/{room}.py is not in the table: add it on the line above all that it imports")


@pytest.mark.parametrize("room", rooms())
def test_arrows_point_down(room):
    found = arrows(rooms()[room].read_text(encoding="utf-8"), room, set(rooms()))
    assert "vidlib" not in found, f"{room} imports from the package's face: import from the room itself"
    upwards = {other for other in found if place(other) >= place(room)}
    assert not upwards, f"{room} imports {upwards}, which stand no lower"
    for pattern, allowed in KNOWS_ONLY.items():
        if fnmatch(room, pattern):
            foreign = {other for other in found if not any(fnmatch(other, name) for name in allowed)}
            assert not foreign, f"{room} may know {allowed} only, and imports {foreign}"


def test_no_name_stands_twice_in_the_table():
    names = " ".join(FLOORS).split()
    assert sorted(names) == sorted(set(names))


def test_no_room_is_a_hall():
    lines = {room: len(path.read_text(encoding="utf-8").splitlines()) for room, path in rooms().items()}
    largest = max(lines, key=lines.get)
    assert lines[largest] <= sum(lines.values()) / 10, f"{largest} has {lines[largest]} lines: give a subject its room"


@pytest.mark.parametrize(
    ("folder", "above"), [("vidlib", ("benchmarks", "studies", "tests")), ("benchmarks", ("studies", "tests"))]
)
def test_no_folder_imports_what_is_built_on_it(folder, above):
    for path in (ROOT / folder).rglob("*.py"):
        tops = {module.partition(".")[0] for module in imports(path.read_text(encoding="utf-8"), path.stem)}
        assert not tops & set(above), path


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a fresh interpreter loads."""
    command = [sys.executable, "-X", "importtime", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-500:]
    return {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import vidlib"], ["-m", "vidlib"], ["-m", "vidlib", "--help"]]
    + [
        ["-m", "vidlib", word, "--help"]
        for word in (
            "train",
            "score",
            "publish",
            "run",
            "sweep",
            "lab",
            "refresh",
            "gifs",
            "grade",
            "times",
            "students",
            "offline",
        )
    ],
    ids=" ".join,
)
def test_whoever_only_asks_waits_for_nothing_heavy(arguments):
    found = loaded_by(*arguments)
    assert "vidlib" in found and not found & HEAVY


def test_what_is_heavy_is_seen():
    assert "numpy" in loaded_by("-c", "import vidlib.moving_mnist")


def test_every_name_of_the_face_is_there():
    for name in vidlib.__all__:
        assert getattr(vidlib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vidlib.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("import vidlib.models.vit", "course"),
        ("from vidlib.models import vit", "course"),
        ("from vidlib.models.vit import VideoTransformer", "course"),
        ("from .models import vit", "course"),
        ("from . import vit", "models/registry"),
        ("from .vit import VideoTransformer", "models/registry"),
        ("from ..models.vit import VideoTransformer", "viz/style"),
        ("def late():\n    from vidlib.models.vit import VideoTransformer", "course"),
        ("from importlib import import_module\nimport_module('vidlib.models.vit')", "course"),
    ],
)
def test_every_way_to_import_is_seen(source, room):
    assert arrows(source, room, {"models/vit", "digits"}) == {"models/vit"}


def test_what_is_no_arrow_is_none():
    assert arrows("import torch\nfrom vit import x", "course", {"vit"}) == set()
    assert arrows("from vidlib import fit", "course", {"training"}) == {"vidlib"}


def test_a_model_needs_no_line_of_its_own_in_the_table():
    assert place("models/a_new_one") < place("models/registry") < place("recipes")
    with pytest.raises(AssertionError, match="not in the table"):
        place("a_new_room")
