"""A training's folder, from digits to a shipped model: whatever happens to it, what it says is true or refused."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vidlib import moving_mnist, recipes, runs, weights
from vidlib.digits import SPLITS, load_digits
from vidlib.history import read_history
from vidlib.metrics import evaluate
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import test_clips as benchmark_clips
from vidlib.perceptual import PerceptualLoss
from vidlib.recipes import Recipe, build, recipe
from vidlib.tensors import content_hash
from vidlib.training import TrainSettings, validation_mse
from vidlib.weights import load_model, model_card

TINY = {"epochs": 1, "clips_per_epoch": 4, "batch_size": 2, "validation_clips": 2}


@pytest.fixture
def fitted(monkeypatch):
    """What `train` hands to `fit`, which does nothing."""
    seen = {}

    def nothing(model, train, validation, **options):
        seen.update(model=model, train=train, validation=validation, **options)
        return [{"epoch": 1, "steps": 1, "clips": 1, "validation_mse": 1.0}]

    monkeypatch.setattr(runs, "fit", nothing)
    return seen


def test_training_validation_and_test_share_no_digit(fitted, tmp_path):
    runs.train(recipe("convlstm", "smoke"), tmp_path, digits="builtin")
    sets = [fitted["train"].digits, fitted["validation"].digits, benchmark_clips("builtin", 5).digits]
    assert [digits.split for digits in sets] == list(SPLITS)
    images = [{image.tobytes() for image in digits.images} for digits in sets]
    assert len(set.union(*images)) == sum(len(digits) for digits in sets) == 1_797


def test_every_epoch_gets_fresh_clips(fitted, tmp_path):
    chosen = recipe("convlstm", "smoke", epochs=7, clips_per_epoch=11, seed=5)
    runs.train(chosen, tmp_path, digits="builtin")
    assert len(fitted["train"]) == 77 and fitted["train"].seed == 5
    assert len({fitted["validation"].seed, benchmark_clips("builtin", 1).seed}) == 2


def test_every_setting_reaches_fit(fitted, tmp_path):
    changes = {"epochs": 3, "clips_per_epoch": 9, "batch_size": 3, "lr": 0.3, "optimizer": "adamw", "clip_norm": 0.7,
               "weight_decay": 0.4, "warmup": 0.5, "ema": 0.6, "schedule": "onecycle", "cooldown": 0.1}  # fmt: skip
    assert changes.keys() == {f.name for f in dataclasses.fields(TrainSettings)}
    others = {"architecture", "config", "validation_clips", "start", "compile", "seed", "perceptual", "backbone"}
    assert {f.name for f in dataclasses.fields(Recipe)} - changes.keys() == others
    runs.train(recipe("convlstm", "smoke", **changes, validation_clips=4), tmp_path, digits="builtin", resume=True)
    assert fitted["settings"] == TrainSettings(**changes)
    assert len(fitted["validation"]) == 4 and fitted["resume"] is True and fitted["out"] == tmp_path


def test_a_recipe_may_add_the_perceptual_loss(fitted, tmp_path):
    runs.train(recipe("convlstm", "smoke"), tmp_path, digits="builtin")
    assert fitted["loss"] is F.mse_loss
    runs.train(recipe("convlstm", "smoke", perceptual=0.25, backbone="digits"), tmp_path, digits="builtin")
    prediction, truth = torch.rand(2, 2, 3, 1, 16, 16)
    expected = F.mse_loss(prediction, truth) + 0.25 * PerceptualLoss("digits")(prediction, truth)
    torch.testing.assert_close(fitted["loss"](prediction, truth), expected)


def test_weights_of_the_perceptual_loss_that_can_not_be_had_end_a_training_before_it_begins(fitted, tmp_path):
    chosen = recipe("convlstm", "smoke", perceptual=0.25, backbone="vgg19")
    with pytest.raises(FileNotFoundError, match="is not a file: give an existing weight file"):
        runs.train(chosen, tmp_path / "run", digits="builtin", vgg_weights=tmp_path / "vgg19.pt")
    assert not fitted and not (tmp_path / "run").exists()


def test_validation_digits_come_from_where_the_training_digits_came(fitted, tmp_path, monkeypatch):
    asked = []

    def load(source, split):
        asked.append((source, split))
        return load_digits("builtin", split)

    for room in (runs, moving_mnist):
        monkeypatch.setattr(room, "load_digits", load)  # as "auto" does without a network
    runs.train(recipe("convlstm", "smoke"), tmp_path, digits="auto")
    assert asked == [("auto", "train"), ("builtin", "validation")]


@pytest.mark.parametrize("name", MODELS)
def test_a_run_ends_as_a_weight_file_with_a_card(tmp_path, name):
    chosen = recipe(name, "smoke", **TINY)
    rows = []
    model, history = runs.train(
        chosen, tmp_path, digits="builtin", device="cpu", progress=False, on_epoch=lambda model, row: rows.append(row)
    )
    assert history == rows == read_history(tmp_path / "history.csv") and len(history) == 1
    saved = load_model(tmp_path / "model.safetensors").state_dict()
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(saved[name], weights) for name, weights in model.state_dict().items())
    card = model_card(tmp_path / "model.safetensors")
    assert card["recipe"] == dataclasses.asdict(chosen) and card["architecture"] == name
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["recipe"] == dataclasses.asdict(chosen)
    assert facts["digits_sha256"] == load_digits("builtin", "train").sha256


def test_a_failed_start_does_not_write_the_card_of_the_next_run(tmp_path):
    with pytest.raises(ValueError, match="an epoch has 4 clips for batches of 9"):
        runs.train(recipe("convlstm", "smoke", **(TINY | {"batch_size": 9})), tmp_path, digits="builtin")
    runs.train(recipe("convlstm", "smoke", **TINY), tmp_path, digits="builtin", progress=False)
    assert json.loads((tmp_path / "run.json").read_text())["recipe"]["batch_size"] == 2
    with pytest.raises(RuntimeError, match="holds a training already"):
        runs.train(recipe("convlstm", "smoke", **(TINY | {"lr": 0.5})), tmp_path, digits="builtin")
    assert json.loads((tmp_path / "run.json").read_text())["recipe"]["lr"] == 1e-3


def test_a_training_becomes_a_shipped_model_that_says_how_it_came_to_be(tmp_path):
    chosen = recipe("convlstm", "smoke", **(TINY | {"epochs": 2}))
    model, history = runs.train(chosen, tmp_path / "run", digits="builtin", progress=False)
    shipped = runs.publish_run(
        tmp_path / "run", "tiny", clips=3, digits="builtin", folder=tmp_path / "shipped", device="cpu", progress=False
    )
    found, card = load_model(shipped).state_dict(), model_card(shipped)
    assert all(torch.equal(found[name], value.bfloat16().float()) for name, value in model.state_dict().items())
    best = min(history, key=lambda row: row["validation_mse"])
    assert card["clips_seen"] == best["clips"] and card["epochs"].startswith(f"{best['epoch']} of 2")
    assert card["recipe"] == dataclasses.asdict(chosen) and card["test"] == benchmark_clips("builtin", 3).describe()
    assert card["digits_sha256"] == load_digits("builtin", "train").sha256
    scores = evaluate(load_model(shipped), benchmark_clips("builtin", 3), device="cpu", progress=False)
    assert card["metrics"]["model"]["mse"] == pytest.approx(scores.overall["mse"], rel=1e-5)
    assert card["metrics"].keys() == {"model", "copy-last", "all-black"}
    with pytest.raises(FileNotFoundError, match=r"has no run\.json, expected the folder of a training"):
        runs.publish_run(tmp_path, "tiny", folder=tmp_path / "shipped")


@pytest.mark.parametrize("layers", [0, 2])
def test_two_runs_of_a_recipe_give_the_same_bytes(tmp_path, layers):
    for folder in "ab":
        chosen = recipe("convlstm", "smoke", layers=layers, **TINY)
        runs.train(chosen, tmp_path / folder, digits="builtin", progress=False)
        torch.rand(1)  # nothing may hang on the random state of the process
    a, b = (list(load_model(tmp_path / folder / "model.safetensors").parameters()) for folder in "ab")
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_resumed_training_draws_at_random_what_an_uninterrupted_one_draws(tmp_path):
    quiet, chosen = {"digits": "builtin", "progress": False}, TINY | {"layers": 2, "cooldown": 0.0}
    runs.train(recipe("convlstm", "smoke", **chosen), tmp_path / "parts", **quiet)
    torch.rand(1)
    twice = recipe("convlstm", "smoke", **chosen | {"epochs": 2})
    in_parts, _ = runs.train(twice, tmp_path / "parts", resume=True, **quiet)
    at_once, _ = runs.train(twice, tmp_path / "whole", **quiet)
    assert all(torch.equal(x, y) for x, y in zip(in_parts.parameters(), at_once.parameters(), strict=True))


def test_a_model_of_impossible_numbers_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"hidden\[0\] is 1.5, expected a whole number"):
        runs.train(recipe("convlstm", "smoke", hidden=[1.5]), tmp_path, digits="builtin")
    with pytest.raises(ValueError, match="kernel is 2, expected an odd number"):
        runs.train(recipe("convlstm", "smoke", kernel=2), tmp_path, digits="builtin")
    assert not list(tmp_path.iterdir())


def test_a_training_can_start_from_trained_weights(tmp_path):
    first = recipes.recipe("convlstm", "smoke", epochs=1)
    trained, _ = runs.train(first, tmp_path / "first", digits="builtin", progress=False)
    weights = str(tmp_path / "first" / "model.safetensors")
    # a learning rate of almost nothing leaves the weights where they began
    second = recipes.recipe("convlstm", "smoke", epochs=1, start=weights, lr=1e-12, seed=1)
    moved, _ = runs.train(second, tmp_path / "second", digits="builtin", progress=False)
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(moved.state_dict()[name], value, rtol=0, atol=1e-7)


def test_a_run_that_began_from_trained_weights_owns_their_history(tmp_path):
    settings = TINY | {"epochs": 2}
    quiet = {"digits": "builtin", "progress": False}
    runs.train(recipe("convlstm", "smoke", **settings), tmp_path / "first", **quiet)
    for seed, (start, name) in enumerate([("first", "second"), ("second", "third")], 1):
        chosen = recipe("convlstm", "smoke", **settings, start=str(tmp_path / start), seed=seed)
        runs.train(chosen, tmp_path / name, **quiet)
    shipped = runs.publish_run(
        tmp_path / "third", "tiny", clips=2, digits="builtin", folder=tmp_path / "shipped", progress=False
    )
    each = [read_history(tmp_path / name / "history.csv") for name in ("first", "second", "third")]
    kept = [rows[: 1 + min(range(2), key=lambda i: rows[i]["validation_mse"])] for rows in each[:2]] + [each[2]]
    whole = read_history(shipped.with_name("tiny-history.csv"))
    assert [row["train_loss"] for row in whole] == [row["train_loss"] for rows in kept for row in rows]
    assert [row["clips"] for row in whole] == [4 * (i + 1) for i in range(len(whole))]
    assert [row["epoch"] for row in whole] == [1 + i for i in range(len(whole))]
    best = min(each[2], key=lambda row: row["validation_mse"])
    card = model_card(shipped)
    assert card["clips_seen"] == 4 * (len(kept[0]) + len(kept[1]) + best["epoch"])
    assert card["recipe"]["start"] == "second" and str(tmp_path) not in json.dumps(card)
    assert card["clip_seeds"] == [0, 1, 2] and len(card["trained_with"].split("; then ")) == 3


def test_shipped_weights_have_behind_them_what_their_card_counts(monkeypatch):
    """Not only what came before the best epoch of the whole history: that may be of an earlier training."""
    model, errors = build(recipe("convlstm", "smoke", **TINY)), [90.0, 40.0, 60.0, 50.0, 70.0]
    rows = [{"epoch": i, "steps": i, "clips": 4 * i, "validation_mse": error} for i, error in enumerate(errors, 1)]
    monkeypatch.setattr(runs, "load_trained", lambda name: model)
    monkeypatch.setattr(runs, "pretrained_history", lambda name: rows)
    monkeypatch.setattr(runs, "model_card", lambda name: {"clips_seen": 16, "clip_seeds": [0, 1]})
    lineage = runs.load_start(model, "tiny", 2)  # whose second training had its best epoch at 16 clips
    assert [row["clips"] for row in lineage.history] == [4, 8, 12, 16] and lineage.seeds == [0, 1]


def test_a_run_resumes_without_the_weights_it_began_from(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    runs.train(recipe("convlstm", "smoke", **TINY), first, digits="builtin", progress=False)
    chosen = recipe("convlstm", "smoke", **TINY | {"epochs": 2}, start=str(first), seed=1)

    def stop(model, row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.train(chosen, second, digits="builtin", progress=False, on_epoch=stop)
    first.rename(tmp_path / "elsewhere")
    runs.train(chosen, second, digits="builtin", progress=False, resume=True)
    assert [row["clips"] for row in json.loads((second / "run.json").read_text())["before"]["history"]] == [4]


def test_a_start_from_the_same_clips_is_one_sentence(tmp_path):
    quiet = {"digits": "builtin", "progress": False}
    runs.train(recipe("convlstm", "smoke", **TINY), tmp_path / "first", **quiet)
    second = recipe("convlstm", "smoke", **TINY, start=str(tmp_path / "first"), seed=1)
    runs.train(second, tmp_path / "second", **quiet)
    shipped = runs.publish_run(tmp_path / "second", "tiny", clips=2, digits="builtin", folder=tmp_path, progress=False)
    for start in (tmp_path / "first", tmp_path / "first" / "model.safetensors", tmp_path / "second", shipped):
        again = recipe("convlstm", "smoke", **TINY, start=str(start))
        with pytest.raises(ValueError, match="has seen the clips of seed 0 already: choose another seed"):
            runs.train(again, tmp_path / "third", **quiet)


def test_a_run_that_moves_to_another_machine_names_both(tmp_path, monkeypatch):
    def stop(model, row):
        raise KeyboardInterrupt

    chosen = recipe("convlstm", "smoke", **(TINY | {"epochs": 3}))
    for machine in ("a laptop", "a server", "a server"):
        monkeypatch.setattr(runs, "hardware", lambda machine=machine: machine)
        monkeypatch.setattr(runs, "fast_precision", lambda device, fast=machine == "a server": "bf16" if fast else "no")
        with pytest.raises(KeyboardInterrupt):
            runs.train(chosen, tmp_path, digits="builtin", progress=False, resume=True, on_epoch=stop)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["hardware"] == "a laptop; then a server"
    assert facts["precision"] == "float32; then bfloat16 products"


def test_a_run_of_another_length_names_both_commands_and_where_the_second_began(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name="vidlib.__main__")))
    longer = "first; after epoch 1 resumed for 2 epochs: python -m vidlib train longer"
    for epochs, word, kept in ((1, "first", "first"), (2, "longer", longer), (2, "again", longer)):
        monkeypatch.setattr(sys, "argv", ["vidlib", "train", word])
        chosen = recipe("convlstm", "smoke", **TINY | {"epochs": epochs})
        runs.train(chosen, tmp_path, digits="builtin", progress=False, resume=True)
        assert runs.read_run(tmp_path).facts["command"] == f"python -m vidlib train {kept}"


@pytest.mark.parametrize("shipped", [False, True])
def test_a_card_names_every_machine_that_its_weights_were_trained_on(tmp_path, monkeypatch, shipped):
    quiet = {"digits": "builtin", "progress": False}
    publishing = {"clips": 2, "digits": "builtin", "folder": tmp_path / "shipped", "progress": False}
    start = ""
    for seed, machine in enumerate(("a laptop", "a server", "a laptop")):
        monkeypatch.setattr(runs, "hardware", lambda machine=machine: machine)
        monkeypatch.setattr(runs, "fast_precision", lambda device, seed=seed: "bf16" if seed else "no")
        monkeypatch.setattr(torch, "__version__", f"9.{min(seed, 1)}.0")
        chosen = recipe("convlstm", "smoke", **TINY, start=start, seed=seed)
        runs.train(chosen, tmp_path / f"run-{seed}", **quiet)
        card = runs.publish_run(tmp_path / f"run-{seed}", "tiny", **publishing)
        start = str(card if shipped else tmp_path / f"run-{seed}")
    card = model_card(card)
    assert card["hardware"] == "a laptop; then a server"
    assert card["precision"] == "float32; then bfloat16 products"
    assert card["torch"] == "9.0.0; then 9.1.0"


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("vidlib.__main__", "python -m vidlib train 'a b' --vgg-weights vgg.pt"),
        ("studies.perceptual", "python -m studies.perceptual train 'a b' --vgg-weights vgg.pt"),
        ("ipykernel_launcher", "vidlib.runs.train in a notebook or script"),
        (None, "vidlib.runs.train in a notebook or script"),
    ],
)
def test_a_run_remembers_its_command_without_the_machines_paths(tmp_path, monkeypatch, module, command):
    words = ["train", "a b", "--vgg-weights", str(tmp_path / "vgg.pt")]
    monkeypatch.setattr(sys, "argv", ["some/file.py", *words])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", module and SimpleNamespace(name=module))
    runs.train(recipe("convlstm", "smoke", **TINY), tmp_path, digits="builtin", progress=False)
    assert json.loads((tmp_path / "run.json").read_text())["command"] == command


def test_a_model_is_compiled_where_the_recipe_asks_and_a_compiler_is(tmp_path, monkeypatch):
    asked = []

    def fit(*_, compile, **__):
        asked.append(compile)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", fit)
    for wish, compiler in ((True, True), (True, False), (False, True)):
        monkeypatch.setenv("CXX", sys.executable if compiler else "a-compiler-that-nobody-has")
        with pytest.raises(KeyboardInterrupt):
            chosen = recipe("convlstm", "smoke", **TINY, compile=wish)
            runs.train(chosen, tmp_path, digits="builtin", device="cpu", progress=False)
    assert asked == [True, False, False]


def test_a_start_with_another_painter_keeps_all_but_the_painter(tmp_path):
    quiet = {"digits": "builtin", "progress": False}
    first, _ = runs.train(recipe("convlstm", "smoke"), tmp_path / "first", **quiet)
    weights = str(tmp_path / "first" / "model.safetensors")
    second = recipe("convlstm", "smoke", layers=2, reach=3, start=weights, lr=1e-12, seed=1)
    fresh = {name: value.clone() for name, value in build(second).state_dict().items()}
    moved, _ = runs.train(second, tmp_path / "second", **quiet)
    expected = {k: v for k, v in first.state_dict().items() if not k.startswith("paint.")}
    expected |= {k: v for k, v in fresh.items() if k.startswith("paint.")}
    assert moved.state_dict().keys() == expected.keys()
    for name, value in moved.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-7)
    assert runs.read_run(tmp_path / "second").lineage().seeds == [0, 1]
    other_reach = recipe("convlstm", "smoke", layers=2, start=str(tmp_path / "second"), seed=2)
    again, _ = runs.train(other_reach, tmp_path / "third", **quiet)
    assert again.config["reach"] == 4


def test_a_start_whose_painter_is_only_trained_otherwise_keeps_it(tmp_path):
    quiet = {"digits": "builtin", "progress": False}
    first, _ = runs.train(recipe("convlstm", "smoke", layers=2), tmp_path / "first", **quiet)
    second = recipe("convlstm", "smoke", layers=2, alone=0.0, start=str(tmp_path / "first"), lr=1e-12, seed=1)
    again, _ = runs.train(second, tmp_path / "second", **quiet)
    assert again.config == first.config | {"alone": 0.0}
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, first.state_dict()[name], rtol=0, atol=1e-7)


def test_a_start_of_another_shape_is_one_sentence(tmp_path):
    first = recipes.recipe("convlstm", "smoke", epochs=1)
    runs.train(first, tmp_path / "first", digits="builtin", progress=False)
    weights = str(tmp_path / "first" / "model.safetensors")
    wrong = recipes.recipe("convlstm", "smoke", hidden=[4, 4], start=weights)
    with pytest.raises(ValueError, match="start from weights of the same model"):
        runs.train(wrong, tmp_path / "second", digits="builtin", progress=False)


# Killed at every point at which something is written


class Killed(BaseException):
    """Ends a process as a signal does: nothing cleans up behind it."""


@pytest.fixture
def killer(monkeypatch):
    """``killer(n, after)`` lets the n-th file of what follows be the last thing that is written, or just not be."""
    replace, unlink = Path.replace, Path.unlink
    state = SimpleNamespace(left=None, written=0)

    def watched(self, target):
        state.written += 1
        if state.left is not None:
            state.left -= 1
        if state.left == 0 and not state.after:
            state.dead = True
            raise Killed
        replace(self, target)
        if state.left == 0:
            state.dead = True
            raise Killed

    def arm(number: int | None = None, after: bool = False) -> SimpleNamespace:
        state.left, state.after, state.written, state.dead = number, after, 0, False
        return state

    arm()
    monkeypatch.setattr(Path, "replace", watched)
    monkeypatch.setattr(Path, "unlink", lambda self, **options: None if state.dead else unlink(self, **options))
    return arm


QUIET = {"digits": "builtin", "progress": False, "device": "cpu"}
SMALL = {"hidden": [4], "features": 4}


def published(folder, shelf):
    """Card without the times of day, and weights, of what would be shipped now."""
    path = runs.publish_run(folder, "tiny", clips=2, digits="builtin", folder=shelf, device="cpu", progress=False)
    card, model = model_card(path), load_model(path)
    return {k: v for k, v in card.items() if k not in ("duration", "date")}, model.state_dict()


def untimed(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "clips_per_second")} for row in history]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("with_start", [False, True])
def test_a_kill_at_any_write_loses_at_most_an_epoch_and_nothing_contradicts(tmp_path, killer, with_start):
    start = ""
    if with_start:
        runs.train(recipe("convlstm", "smoke", **TINY | SMALL, seed=7), tmp_path / "first", **QUIET)
        start = str(tmp_path / "first")
    chosen = recipe("convlstm", "smoke", **TINY | SMALL | {"epochs": 2, "start": start})
    killed_or_not = killer()
    whole_model, whole_history = runs.train(chosen, tmp_path / "whole", **QUIET)
    points = killed_or_not.written
    assert points == 2 * 4 + 1  # checkpoint, best weights, history and facts of each epoch; the model
    whole_card, whole_weights = published(tmp_path / "whole", tmp_path / "shelf")
    whole_before = runs.read_run(tmp_path / "whole").facts["before"]
    assert len(whole_before["history"]) == len(whole_before["seeds"]) == with_start
    validation = moving_mnist.validation_clips("builtin", 2)
    for number in range(1, points + 1):
        for after in (False, True):
            out = tmp_path / f"killed-{number}-{after}"
            killer(number, after)
            with pytest.raises(Killed):
                runs.train(chosen, out, **QUIET)
            killer()
            if number > 1 or after:  # what is there can be shipped as it is: card, history and weights are of one epoch
                run = runs.read_run(out)
                found = validation_mse(run.model.eval(), validation)
                assert found == pytest.approx(run.best["validation_mse"], rel=1e-6)
                card, _ = published(out, tmp_path / "early")
                assert card["clips_seen"] == run.best["clips"] + sum(row["clips"] for row in whole_before["history"])
                assert card["epochs"].startswith(f"{run.best['epoch']} of 2, the best of {len(run.history)} ")
                assert run.facts["before"] == whole_before
            model, history = runs.train(chosen, out, resume=True, **QUIET)
            assert same(model.state_dict(), whole_model.state_dict())
            assert untimed(history) == untimed(whole_history) == untimed(read_history(out / "history.csv"))
            assert (out / "best.safetensors").read_bytes() == (tmp_path / "whole" / "best.safetensors").read_bytes()
            lineage = runs.read_run(out).lineage()
            assert model_card(out / "model.safetensors")["lineage"] == dataclasses.asdict(lineage)
            assert untimed(lineage.history) == untimed(runs.read_run(tmp_path / "whole").lineage().history)
            card, weights = published(out, tmp_path / "late")
            assert card == whole_card and same(weights, whole_weights)


def test_a_kill_while_publishing_leaves_the_old_model_or_an_error_and_can_be_done_again(tmp_path, killer, monkeypatch):
    for seed in (0, 1):
        runs.train(recipe("convlstm", "smoke", **TINY | SMALL, seed=seed), tmp_path / f"run-{seed}", **QUIET)
    shelf = tmp_path / "shelf"
    monkeypatch.setattr(weights, "PRETRAINED", shelf)
    for number in range(1, 5):  # weights, card, history, index
        for after in (False, True):
            published(tmp_path / "run-0", shelf)
            old, old_history = weights.load_pretrained("tiny").state_dict(), weights.pretrained_history("tiny")
            killer(number, after)
            with pytest.raises(Killed):
                published(tmp_path / "run-1", shelf)
            killer()
            try:
                now, history = weights.load_pretrained("tiny").state_dict(), weights.pretrained_history("tiny")
            except ValueError as error:
                assert "is not the file that was shipped" in str(error)
            else:
                assert same(now, old) == (history == old_history)
            published(tmp_path / "run-1", shelf)
            assert not same(weights.load_pretrained("tiny").state_dict(), old)
            assert weights.pretrained_history("tiny") == read_history(tmp_path / "run-1" / "history.csv")


# Damaged


def other_type(file: Path) -> None:
    """The same numbers in bfloat16, as a program would copy them that knows nothing of this package."""
    if file.suffix == ".pt":
        saved = torch.load(file, weights_only=True)
        torch.save(saved | {"best": {k: v.bfloat16() for k, v in saved["best"].items()}}, file)
    else:
        save_file({k: v.bfloat16() for k, v in load_file(file).items()}, file)


def with_nan(tensors: dict) -> None:
    first = next(iter(tensors.values()))
    first[(0,) * first.ndim] = torch.nan


def not_a_number(file: Path) -> None:
    if file.suffix == ".pt":
        saved = torch.load(file, weights_only=True)
        with_nan(saved["best"])
        torch.save(saved, file)
    else:
        with safe_open(file, "pt") as archive:
            metadata = archive.metadata()
        tensors = load_file(file)
        with_nan(tensors)
        save_file(tensors, file, metadata)


def changed_number(file: Path) -> None:
    """A digit that still reads as a number."""
    text = file.read_text()
    at = next(i for i in range(len(text) // 2, len(text)) if text[i] in "12345678" and text[i + 1].isdigit())
    file.write_text(text[:at] + str(int(text[at]) + 1) + text[at + 1 :])


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << position % 8
    file.write_bytes(content)


def test_damaged_files_never_go_on_silently(tmp_path, monkeypatch):
    """Each use of a folder with one damaged file gives what the undamaged folder gives, or one sentence."""
    chosen = recipe("convlstm", "smoke", **TINY | SMALL | {"epochs": 2})
    runs.train(chosen, tmp_path / "run", **QUIET)
    shutil.copytree(tmp_path / "run", tmp_path / "copied", ignore=shutil.ignore_patterns("checkpoint.pt"))
    monkeypatch.setattr(runs, "evaluate", lambda *a, **o: SimpleNamespace(overall={"mse": 1.0}))  # not what is tried
    rng = random.Random(0)

    def start_from(source):
        return lambda folder: runs.load_start(build(chosen), str(folder / source) if source else str(folder), 1)

    def load(folder):
        return load_model(folder / "model.safetensors").state_dict()

    def resume(folder):
        model, history = runs.train(chosen, folder, resume=True, **QUIET)
        return model.state_dict(), history, [(folder / n).read_bytes() for n in ("best.safetensors", "history.csv")]

    def publish(folder):
        return published(folder, folder / "shelf")

    uses = {
        ("run", "checkpoint.pt"): [start_from(""), publish, resume],
        ("run", "best.safetensors"): [start_from(""), publish, resume],
        ("run", "model.safetensors"): [start_from("model.safetensors"), load, resume],
        ("run", "history.csv"): [start_from(""), publish, resume],
        ("run", "run.json"): [start_from(""), publish, resume],
        ("copied", "best.safetensors"): [start_from(""), publish],
        ("copied", "history.csv"): [start_from(""), publish],
        ("copied", "run.json"): [start_from(""), publish],
    }
    counts = dict.fromkeys(("tried", "refused", "right"), 0)
    for (origin, name), doors in uses.items():
        size = (tmp_path / origin / name).stat().st_size
        damages = [lambda f, at=at: flip(f, at) for at in (*rng.sample(range(size), 5), 0, size - 1)]
        damages += [lambda f, at=at: os.truncate(f, at) for at in (0, size // 2, size - 1)]
        damages += [other_type, not_a_number] if name.endswith((".pt", ".safetensors")) else [changed_number]
        for door in doors:
            expected = flat(door(fresh(tmp_path, origin)))
            for damage in damages:
                folder = fresh(tmp_path, origin)
                damage(folder / name)
                counts["tried"] += 1
                try:
                    found = door(folder)
                except (ValueError, RuntimeError) as error:
                    assert "\n" not in str(error) and name in str(error), (origin, name, error)
                    counts["refused"] += 1
                else:
                    assert flat(found) == expected, (origin, name, door)
                    counts["right"] += 1
    print(counts)
    assert counts["tried"] == counts["refused"] + counts["right"] and counts["refused"] > 100


def fresh(tmp_path: Path, origin: str) -> Path:
    folder = tmp_path / "tried"
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(tmp_path / origin, folder)


def flat(found) -> str:
    """Anything that a door gives, as one text that can be compared."""
    return content_hash(dataclasses.asdict(found) if dataclasses.is_dataclass(found) else found)


# Moved, and called wrongly


def test_the_same_digits_under_another_path_go_on(tmp_path):
    digits = load_digits("builtin", "train").images[:60]
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        for i, image in enumerate(digits if name == "here" else digits.copy()):
            Image.fromarray(image).save(tmp_path / name / f"{i:03}.png")
    chosen = recipe("convlstm", "smoke", **TINY | SMALL)
    quiet = {"progress": False, "device": "cpu"}
    runs.train(chosen, tmp_path / "run", digits=tmp_path / "here", **quiet)
    _, history = runs.train(chosen.change(epochs=2), tmp_path / "run", digits=tmp_path / "there", resume=True, **quiet)
    assert [row["epoch"] for row in history] == [1, 2]
    Image.fromarray(digits[0].T.copy()).save(tmp_path / "there" / "999.png")
    with pytest.raises(ValueError, match="belongs to a run with train="):
        runs.train(chosen.change(epochs=3), tmp_path / "run", digits=tmp_path / "there", resume=True, **quiet)


def test_a_run_is_not_resumed_from_other_weights(tmp_path):
    runs.train(recipe("convlstm", "smoke", **TINY | SMALL), tmp_path / "run", **QUIET)
    with pytest.raises(ValueError, match="began from '', this run from 'convlstm': choose another folder"):
        runs.train(
            recipe("convlstm", "smoke", **TINY | SMALL, start="convlstm"), tmp_path / "run", resume=True, **QUIET
        )


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"recipe": None}, "recipe is a NoneType, expected one of vidlib.recipes.recipe"),
        ({"recipe": "convlstm"}, "recipe is a str"),
        ({"out": None}, "None is no path"),
        ({"device": "xyz"}, "device is 'xyz', expected"),
        ({"resume": "yes"}, "resume is 'yes', expected True or False"),
        ({"progress": 1}, "progress is 1, expected True or False"),
        ({"on_epoch": True}, "on_epoch is True, expected a function"),
    ],
)
def test_a_wrong_training_is_one_sentence(tmp_path, wrong, sentence):
    chosen = {"recipe": recipe("convlstm", "smoke", **TINY), "out": tmp_path / "run"} | QUIET | wrong
    with pytest.raises(ValueError, match=sentence):
        runs.train(chosen.pop("recipe"), chosen.pop("out"), **chosen)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"run": None}, "None is no path"),
        ({"name": None}, "name is None, expected lower-case words"),
        ({"name": "My Model"}, "name is 'My Model', expected lower-case words"),
        ({"clips": 0}, "clips is 0, expected a whole number"),
        ({"clips": True}, "clips is True, expected a whole number"),
        ({"clips": 2.5}, "clips is 2.5, expected a whole number"),
        ({"device": "xyz"}, "device is 'xyz', expected"),
    ],
)
def test_a_wrong_publication_is_one_sentence_before_anything_is_scored(tmp_path, wrong, sentence):
    given = {"run": tmp_path, "name": "tiny"} | wrong
    with pytest.raises(ValueError, match=sentence):
        runs.publish_run(given.pop("run"), given.pop("name"), **given)
