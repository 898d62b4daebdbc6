"""Recipes: settings that are checked, models that depend on their seed alone, a run from digits to a weight file."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from vidlib import recipes, runs
from vidlib.digits import SPLITS, load_digits
from vidlib.history import read_history
from vidlib.metrics import evaluate
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import test_clips
from vidlib.perceptual import PerceptualLoss
from vidlib.recipes import RECIPES, Recipe, build, recipe
from vidlib.weights import load_model, model_card

TINY = {"epochs": 1, "clips_per_epoch": 4, "batch_size": 2, "validation_clips": 2}


def test_every_model_has_a_recipe_at_every_profile():
    assert RECIPES.keys() == MODELS.keys()
    for name, profiles in RECIPES.items():
        assert tuple(profiles) == recipes.PROFILES
        for profile, found in profiles.items():
            assert found is not None and recipe(name, profile) == found and found.architecture == name
            assert found.clips_per_epoch >= found.batch_size
            model = build(found)
            assert (model.past, model.horizon) == (10, 10) and found.config.items() <= model.config.items()
            assert json.loads(json.dumps(dataclasses.asdict(found))) == dataclasses.asdict(found)


def test_changes_reach_the_recipe_and_the_model():
    changed = recipe("convlstm", "smoke", epochs=5, lr=1, hidden=[4, 4], peephole=True, ema=0)
    assert (changed.epochs, changed.lr, changed.ema) == (5, 1, 0)
    assert changed.config == {"features": 8, "hidden": [4, 4], "kernel": 3, "peephole": True}
    assert build(changed).config["hidden"] == [4, 4] and build(changed).encoder[0].peephole is not None
    assert recipe("convlstm", "smoke", hidden=(4, 4)).config["hidden"] in ((4, 4), [4, 4])
    assert recipe("convlstm", "smoke") == RECIPES["convlstm"]["smoke"]  # and the original is as it was
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.epochs = 1


@pytest.mark.parametrize(
    "name, changes, sentence",
    [
        ("convlstm", {"epoch": 3}, r"'epoch' is no setting of the convlstm recipe \(did you mean 'epochs'\?\)\.$"),
        ("convlstm", {"hiden": [8]}, r"'hiden' is no setting .* \(did you mean 'hidden'\?\)\.$"),
        ("convlstm", {"zzz": 1}, r"'zzz' is no setting of the convlstm recipe\.$"),
        ("convlstm", {"heads": 2}, "'heads' is no setting of the convlstm recipe"),
        ("video-transformer", {"hidden": [2]}, "'hidden' is no setting of the video-transformer recipe"),
        ("convlstm", {"architecture": "video-transformer"}, "'architecture' is no setting"),
        ("convlstm", {"config": {}}, "'config' is no setting"),
        ("convlstm", {"epochs": "3"}, r"epochs is '3', a str, expected a int such as 2\.$"),
        ("convlstm", {"epochs": 2.0}, "epochs is 2.0, a float, expected a int"),
        ("convlstm", {"epochs": True}, "epochs is True, a bool, expected a int"),
        ("convlstm", {"lr": True}, "lr is True, a bool, expected a float"),
        ("convlstm", {"lr": None}, "lr is None, a NoneType, expected a float"),
        ("convlstm", {"compile": 1}, "compile is 1, a int, expected a bool"),
        ("convlstm", {"peephole": 1}, "peephole is 1, a int, expected a bool"),
        ("convlstm", {"hidden": 8}, r"hidden is 8, a int, expected a list such as \[8, 8\]"),
        ("convlstm", {"hidden": "8"}, "hidden is '8', a str, expected a list"),
        ("video-transformer", {"dim": 32.0}, "dim is 32.0, a float, expected a int"),
    ],
)
def test_a_wrong_change_is_one_sentence(name, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        recipe(name, "smoke", **changes)


def test_unknown_names_are_one_sentence():
    with pytest.raises(ValueError, match="model is 'lstm', expected one of convlstm, video-transformer"):
        recipe("lstm")
    with pytest.raises(ValueError, match="profile is 'gpu', expected one of smoke, laptop, full"):
        recipe("convlstm", "gpu")


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_depends_on_the_seed_alone(name):
    torch.manual_seed(1)
    first = build(recipe(name, "smoke"))
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # the reader's own random numbers are left alone
    second = build(recipe(name, "smoke"))
    other = build(recipe(name, "smoke", seed=1))
    weights = [list(model.parameters()) for model in (first, second, other)]
    assert all(torch.equal(a, b) for a, b in zip(*weights[:2], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True) if a.ndim > 1)


@pytest.fixture
def fitted(monkeypatch):
    """What `train` hands to `fit`, which does nothing."""
    seen = {}

    def nothing(model, train, validation, **options):
        seen.update(model=model, train=train, validation=validation, **options)
        return [{"epoch": 1}]

    monkeypatch.setattr(recipes, "fit", nothing)
    return seen


def test_training_validation_and_test_share_no_digit(fitted, tmp_path):
    runs.train(recipe("convlstm", "smoke"), tmp_path, digits="builtin")
    sets = [fitted["train"].digits, fitted["validation"].digits, test_clips("builtin", 5).digits]
    assert [digits.split for digits in sets] == list(SPLITS)
    images = [{image.tobytes() for image in digits.images} for digits in sets]
    assert len(set.union(*images)) == sum(len(digits) for digits in sets) == 1_797


def test_every_epoch_gets_fresh_clips(fitted, tmp_path):
    chosen = recipe("convlstm", "smoke", epochs=7, clips_per_epoch=11, seed=5)
    runs.train(chosen, tmp_path, digits="builtin")
    assert len(fitted["train"]) == 77 and fitted["train"].seed == 5
    assert len({fitted["validation"].seed, test_clips("builtin", 1).seed}) == 2


def test_every_setting_reaches_fit(fitted, tmp_path):
    changes = {"epochs": 3, "clips_per_epoch": 9, "batch_size": 3, "lr": 0.3, "optimizer": "adamw",
               "weight_decay": 0.4, "warmup": 0.5, "ema": 0.6}  # fmt: skip
    own = {f.name for f in dataclasses.fields(Recipe)}
    others = {"architecture", "config", "validation_clips", "start", "compile", "seed", "perceptual", "backbone"}
    assert own - changes.keys() == others
    runs.train(recipe("convlstm", "smoke", **changes, validation_clips=4), tmp_path, digits="builtin", resume=True)
    assert {name: fitted[name] for name in changes} == changes
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

    monkeypatch.setattr(recipes, "load_digits", load)  # as "auto" does without a network
    runs.train(recipe("convlstm", "smoke"), tmp_path, digits="auto")
    assert asked == [("auto", "train"), ("builtin", "validation")]


@pytest.mark.parametrize("name", RECIPES)
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
    assert card["recipe"] == dataclasses.asdict(chosen) and card["test"] == test_clips("builtin", 3).describe()
    assert card["digits_sha256"] == load_digits("builtin", "train").sha256
    scores = evaluate(load_model(shipped), test_clips("builtin", 3), device="cpu", progress=False)
    assert card["metrics"]["model"]["mse"] == pytest.approx(scores.overall["mse"], rel=1e-5)
    assert card["metrics"].keys() == {"model", "copy-last", "all-black"}
    with pytest.raises(FileNotFoundError, match=r"has no run\.json, expected the folder of a training"):
        runs.publish_run(tmp_path, "tiny", folder=tmp_path / "shipped")


def test_two_runs_of_a_recipe_give_the_same_bytes(tmp_path):
    for folder in "ab":
        runs.train(recipe("convlstm", "smoke", **TINY), tmp_path / folder, digits="builtin", progress=False)
    a, b = (list(load_model(tmp_path / folder / "model.safetensors").parameters()) for folder in "ab")
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


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
        monkeypatch.setattr(recipes, "hardware", lambda machine=machine: machine)
        monkeypatch.setattr(
            recipes, "fast_precision", lambda device, fast=machine == "a server": "bf16" if fast else "no"
        )
        with pytest.raises(KeyboardInterrupt):
            runs.train(chosen, tmp_path, digits="builtin", progress=False, resume=True, on_epoch=stop)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["hardware"] == "a laptop; then a server"
    assert facts["precision"] == "float32; then bfloat16 products"


@pytest.mark.parametrize("shipped", [False, True])
def test_a_card_names_every_machine_that_its_weights_were_trained_on(tmp_path, monkeypatch, shipped):
    quiet = {"digits": "builtin", "progress": False}
    publishing = {"clips": 2, "digits": "builtin", "folder": tmp_path / "shipped", "progress": False}
    start = ""
    for seed, machine in enumerate(("a laptop", "a server", "a laptop")):
        monkeypatch.setattr(recipes, "hardware", lambda machine=machine: machine)
        monkeypatch.setattr(recipes, "fast_precision", lambda device, seed=seed: "bf16" if seed else "no")
        chosen = recipe("convlstm", "smoke", **TINY, start=start, seed=seed)
        runs.train(chosen, tmp_path / f"run-{seed}", **quiet)
        facts = tmp_path / f"run-{seed}" / "run.json"
        facts.write_text(facts.read_text().replace(torch.__version__, f"9.{min(seed, 1)}"))
        card = runs.publish_run(tmp_path / f"run-{seed}", "tiny", **publishing)
        start = str(card if shipped else tmp_path / f"run-{seed}")
    card = model_card(card)
    assert card["hardware"] == "a laptop; then a server"
    assert card["precision"] == "float32; then bfloat16 products"
    assert card["torch"] == "9.0; then 9.1"


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("vidlib.__main__", "python -m vidlib train 'a b' --vgg-weights vgg.pt"),
        ("benchmarks.perceptual", "python -m studies.perceptual train 'a b' --vgg-weights vgg.pt"),
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

    monkeypatch.setattr(recipes, "fit", fit)
    for wish, compiler in ((True, True), (True, False), (False, True)):
        monkeypatch.setenv("CXX", sys.executable if compiler else "a-compiler-that-nobody-has")
        with pytest.raises(KeyboardInterrupt):
            chosen = recipe("convlstm", "smoke", **TINY, compile=wish)
            runs.train(chosen, tmp_path, digits="builtin", device="cpu", progress=False)
    assert asked == [True, False, False]


def test_a_start_of_another_shape_is_one_sentence(tmp_path):
    first = recipes.recipe("convlstm", "smoke", epochs=1)
    runs.train(first, tmp_path / "first", digits="builtin", progress=False)
    weights = str(tmp_path / "first" / "model.safetensors")
    wrong = recipes.recipe("convlstm", "smoke", hidden=[4, 4], start=weights)
    with pytest.raises(ValueError, match="start from weights of the same model"):
        runs.train(wrong, tmp_path / "second", digits="builtin", progress=False)
