"""Recipes: settings that are checked, and models that depend on their seed alone."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from vidlib.models.registry import MODELS
from vidlib.recipes import PROFILES, Recipe, build, recipe
from vidlib.training import TrainSettings


def test_every_model_has_a_recipe_at_every_profile():
    assert PROFILES == ("smoke", "laptop", "full")
    for name in MODELS:
        for profile in PROFILES:
            found = recipe(name, profile)
            assert found.architecture == name and found.schedule == "constant"
            assert found.clips_per_epoch >= found.batch_size
            assert type(found.settings()) is TrainSettings and found.settings().lr == found.lr
            model = build(found)
            assert (model.past, model.horizon) == (10, 10) and found.config.items() <= model.config.items()
            assert json.loads(json.dumps(dataclasses.asdict(found))) == dataclasses.asdict(found)


def test_changes_reach_the_recipe_and_the_model():
    changed = recipe("convlstm", "smoke", epochs=5, lr=1, hidden=[4, 4], peephole=True, ema=0)
    assert (changed.epochs, changed.lr, changed.ema) == (5, 1, 0)
    assert changed.config == MODELS["convlstm"].SMALLEST | {"hidden": [4, 4], "peephole": True}
    assert build(changed).config["hidden"] == [4, 4] and build(changed).encoder[0].peephole is not None
    assert recipe("convlstm", "smoke", hidden=(4, 4)).config["hidden"] in ((4, 4), [4, 4])
    assert recipe("convlstm", "smoke").epochs == 1  # and the original is as it was
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.epochs = 1


@pytest.mark.parametrize(
    "name, changes, sentence",
    [
        ("convlstm", {"epoch": 3}, r"'epoch' is no setting of the convlstm recipe, did you mean 'epochs'\?$"),
        ("convlstm", {"hiden": [8]}, r"'hiden' is no setting .*, did you mean 'hidden'\?$"),
        ("convlstm", {"zzz": 1}, r"'zzz' is no setting of the convlstm recipe, expected one of .*, hidden, .*\.$"),
        ("convlstm", {"heads": 2}, "'heads' is no setting of the convlstm recipe"),
        ("video-transformer", {"hidden": [2]}, "'hidden' is no setting of the video-transformer recipe"),
        ("convlstm", {"architecture": "video-transformer"}, "'architecture' is no setting"),
        ("convlstm", {"config": {}}, "'config' is no setting"),
        ("convlstm", {"epochs": "3"}, r"epochs is '3', expected a whole number such as 1\.$"),
        ("convlstm", {"epochs": 2.0}, "epochs is 2.0, expected a whole number"),
        ("convlstm", {"epochs": True}, "epochs is True, expected a whole number"),
        ("convlstm", {"epochs": -1}, "epochs is -1, expected a whole number"),
        ("convlstm", {"seed": -1}, "seed is -1, expected a whole number from 0 to"),
        ("convlstm", {"seed": 2**64}, "seed is 18446744073709551616, expected a whole number from 0 to"),
        ("convlstm", {"lr": True}, "lr is True, expected a number"),
        ("convlstm", {"lr": None}, "lr is None, expected a number"),
        ("convlstm", {"lr": float("nan")}, "lr is nan, expected a number above 0"),
        ("convlstm", {"perceptual": float("inf")}, "perceptual is inf, expected a number"),
        ("convlstm", {"start": None}, "start is None, expected a text"),
        ("convlstm", {"backbone": "vgg18"}, "backbone is 'vgg18', did you mean"),
        ("convlstm", {"schedule": "cosine"}, "schedule is 'cosine', "),
        ("convlstm", {"compile": 1}, "compile is 1, expected True or False"),
        ("convlstm", {"peephole": 1}, "peephole is 1, expected True or False"),
        ("convlstm", {"hidden": 8}, r"hidden is 8, expected a list such as \[8, 8\]"),
        ("convlstm", {"hidden": "8"}, "hidden is '8', expected a list"),
        ("video-transformer", {"dim": 32.0}, "dim is 32.0, expected a whole number"),
    ],
)
def test_a_wrong_change_is_one_sentence(name, changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        recipe(name, "smoke", **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"architecture": "lstm"}, "architecture is 'lstm', did you mean 'convlstm'"),
        ({"architecture": None}, "architecture is None"),
        ({"config": None}, "config is None .*, expected a dictionary"),
        ({"start": 3}, "start 3, expected"),
        ({"clips_per_epoch": None}, "clips_per_epoch is None, expected a whole number"),
    ],
)
def test_a_recipe_written_by_hand_is_checked_as_well(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Recipe(**{"architecture": "convlstm"} | wrong)


@pytest.mark.parametrize("wrong", [None, "convlstm", {"architecture": "convlstm"}])
def test_only_a_recipe_can_be_built(wrong):
    with pytest.raises(ValueError, match=r"recipe is a \w+, expected one of vidlib.recipes.recipe"):
        build(wrong)


def test_unknown_names_are_one_sentence():
    with pytest.raises(ValueError, match="model is 'lstm', did you mean 'convlstm'"):
        recipe("lstm")
    with pytest.raises(ValueError, match="profile is 'gpu', expected one of smoke, laptop, full"):
        recipe("convlstm", "gpu")


@pytest.mark.parametrize("name", MODELS)
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


@pytest.mark.parametrize("name", MODELS)
def test_a_rise_is_the_same_in_the_other_schedules_measure(name):
    constant = recipe(name, "full")
    one_cycle = recipe(name, "full", schedule="onecycle")
    assert one_cycle.warmup == pytest.approx(constant.warmup / 70) and one_cycle.schedule == "onecycle"
    assert one_cycle.change(schedule="constant").warmup == pytest.approx(constant.warmup)
    assert recipe(name, "full", schedule="onecycle", warmup=0.5).warmup == 0.5
