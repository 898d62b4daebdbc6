"""Trainings watched in a notebook: folders that never come from a count, runs that go on or are made longer."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch

from vidlib import live, training, viz, weights
from vidlib.live import latest_training, new_training, watch_training
from vidlib.moving_mnist import validation_clips
from vidlib.recipes import recipe
from vidlib.training import best_row

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


def interrupted(at: int):
    """Stands in for the optimiser's step: at the given one, somebody presses the stop button."""
    steps = iter(range(1, 1000))
    whole = training._Run.step

    def step(self, number, epoch):
        if next(steps) == at:
            raise KeyboardInterrupt
        return whole(self, number, epoch)

    return step


@pytest.mark.parametrize("at, said, epoch", [(1, "before the first epoch was over", 0), (3, "after epoch 2 of 4", 2)])
def test_an_interrupted_training_leaves_a_model_and_a_sentence(tmp_path, chosen, capsys, monkeypatch, at, said, epoch):
    chosen = chosen.change(epochs=4)
    with monkeypatch.context() as stopped:
        stopped.setattr(training._Run, "step", interrupted(at))
        model, history = watch_training(chosen, tmp_path, **QUIET)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Interrupted") and said in last and "run this cell again" in last
    assert [row["epoch"] for row in history] == ([1, 2] if epoch else [0]) and history[-1]["clips"] == 4 * epoch
    assert not model.training and best_row(history)["validation_mse"] == pytest.approx(
        training.validation_mse(model, validation_clips("builtin", chosen.validation_clips))
    )
    viz.history_curves(history)
    _, whole = watch_training(chosen, tmp_path, resume=True, **QUIET)  # the next run of the cell
    straight = watch_training(chosen, tmp_path / "other", **QUIET)[1]
    assert [row["validation_mse"] for row in whole] == [row["validation_mse"] for row in straight]


def test_an_interrupted_fine_tuning_leaves_the_weights_that_it_began_with(tmp_path, chosen, monkeypatch):
    start = tmp_path / "start.safetensors"
    begun, _ = watch_training(chosen, tmp_path / "first", **QUIET)
    weights.save_model(begun, start)
    with monkeypatch.context() as stopped:
        stopped.setattr(training._Run, "step", interrupted(1))
        model, _ = watch_training(chosen.change(start=str(start), seed=1), tmp_path, **QUIET)
    assert all(torch.equal(now, was) for now, was in zip(model.parameters(), begun.parameters(), strict=True))


def test_progress_is_one_line_that_ends_as_a_sum(monkeypatch):
    texts = []
    line = SimpleNamespace(update=lambda data, raw: texts.append(data["text/plain"]))
    monkeypatch.setattr(live, "get_ipython", lambda: object())
    monkeypatch.setattr(live, "display", lambda *_, **__: line)
    with live.ProgressLine(total=8, initial=2, mininterval=0) as bar:
        for _ in range(2):
            bar.update(3)
        bar.set_postfix(epoch="1/2")
    assert texts[0] == "2 of 8 clips" and texts[-2].endswith("epoch=1/2") and "\x1b" not in "".join(texts)
    assert texts[-1] == "8 of 8 clips in 00:00 (min:s)"
