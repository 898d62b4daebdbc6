"""Which room of vidlib may import which: models know nothing of data, training or drawing; nothing is a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "vidlib"

# Every room may check tensors with `video` and write with `files`, which import none.
ALLOWED = {
    "video": set(),
    "files": set(),
    "digits": set(),
    "moving_mnist": {"digits"},
    "convlstm": set(),
    "vit": set(),
    "perceptual": set(),
    "rollout": set(),
    "metrics": {"rollout"},
    "weights": {"convlstm", "vit"},
    "muon": set(),
    "training": {"muon"},
    "digit_network": {"digits", "perceptual"},
    "viz": set(),
    "baselines": {"moving_mnist"},
    "recipes": {"baselines", "digits", "metrics", "moving_mnist", "perceptual", "training", "weights"},
    "course": {"digits", "viz", "weights"},
    "batch": {"metrics"},
}


def rooms() -> dict[str, Path]:
    return {path.stem: path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}


def imported(source: str, known: set[str]) -> set[str]:
    """The rooms that a module imports, at its top or inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = f"vidlib.{base}".rstrip(".")
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {
        parts[1] for parts in (name.split(".") for name in names) if parts[0] == "vidlib" and len(parts) > 1
    } & known


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_only_what_the_plan_allows(room):
    assert room in ALLOWED, f"vidlib/{room}.py is not in the plan: add it with what it may import"
    found = imported(rooms()[room].read_text(encoding="utf-8"), set(rooms()))
    assert found <= ALLOWED[room] | {"video", "files"}


def test_the_plan_has_no_circles():
    TopologicalSorter(ALLOWED).prepare()
    with pytest.raises(CycleError):
        TopologicalSorter({**ALLOWED, "digits": {"moving_mnist"}}).prepare()


@pytest.mark.parametrize(
    "source",
    [
        "import vidlib.vit",
        "from vidlib import vit",
        "from vidlib.vit import VideoTransformer",
        "from . import vit",
        "from .vit import VideoTransformer",
        "def late():\n    from vidlib.vit import VideoTransformer",
    ],
)
def test_every_way_to_import_is_seen(source):
    assert imported(source, {"vit", "digits"}) == {"vit"}
    assert imported("import torch\nfrom vit import x", {"vit"}) == set()
