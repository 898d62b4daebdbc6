"""The package's face: its names, loaded when they are used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import vidlib


def test_a_name_is_what_it_says_whatever_was_imported_before():
    rooms = "training, metrics, weights, iterative, perceptual, moving_mnist, course, viz, models.convlstm, models.vit"
    imports = f"import vidlib.{rooms.replace(', ', ', vidlib.')}"
    code = f"{imports}\nprint(*(type(getattr(vidlib, name)).__name__ for name in vidlib.__all__))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    kinds = dict(zip(vidlib.__all__, run.stdout.split(), strict=True))
    assert [name for name, kind in kinds.items() if kind == "module"] == ["viz"], run.stderr


def test_every_name_is_there_and_listed():
    assert set(vidlib.__all__) <= set(dir(vidlib))
    for name in vidlib.__all__:
        assert getattr(vidlib, name) is not None
    assert isinstance(vidlib.viz, ModuleType)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'vidlib' has no attribute 'ConvLSTN'"):
        _ = vidlib.ConvLSTN
