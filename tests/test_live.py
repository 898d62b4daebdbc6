"""Trainings watched in a notebook: folders that never come from a count, runs that go on or are made longer."""

from __future__ import annotations

import shutil

import pytest
import torch

from vidlib.live import latest_training, new_training, watch_training
from vidlib.recipes import recipe

QUIET = {"digits": "builtin"}


@pytest.fixture
def chosen():
    return recipe("convlstm", "smoke", features=4, hidden=[4], clips_per_epoch=4, validation_clips=2)


def test_deleting_a_folder_never_makes_two_trainings_meet(tmp_path):
    folders = [new_training(tmp_path) for _ in range(4)]
    shutil.rmtree(folders[0])
    folders[0] = new_training(tmp_path)
    assert len(set(folders)) == 4 and all(folder.is_dir() for folder in folders)


def test_the_latest_training_is_one_that_finished_an_epoch(tmp_path):
    assert latest_training(tmp_path / "nothing") is None
    first, _, last = (new_training(tmp_path) for _ in range(3))
    assert latest_training(tmp_path) is None
    (first / "checkpoint.pt").touch()
    assert latest_training(tmp_path) == first != last


def test_a_training_is_said_and_drawn_and_made_longer(tmp_path, chosen, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("vidlib.viz.show", lambda figure, alt: shown.append(alt))
    past = torch.zeros(1, 10, 1, 64, 64)
    _, history = watch_training(chosen, tmp_path, past, **QUIET)
    assert len(history) == 1 and "epoch  1 of 1: 4 clips seen" in capsys.readouterr().out
    _, longer = watch_training(chosen.change(epochs=3), tmp_path, past, resume=True, **QUIET)
    assert [row["epoch"] for row in longer] == [1, 2, 3] and longer[0] == history[0]
    assert "epoch  1" not in (said := capsys.readouterr().out) and "epoch  3 of 3: 12 clips seen" in said
    assert shown == [f"The predicted ten frames of the clip after epoch {n}." for n in (1, 2, 3)]
    assert len(list(tmp_path.iterdir())) == 1
    watch_training(chosen, tmp_path, past, **QUIET)
    assert len(list(tmp_path.iterdir())) == 2
