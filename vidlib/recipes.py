"""What is trained and how: the one place where those numbers stand.

A recipe is the same object for a notebook, a papermill batch and ``python -m vidlib train`` on a machine without
Jupyter. Three profiles: ``smoke`` proves in seconds that everything runs, ``laptop`` shows learning in minutes on two
cores, ``full`` is the run for a GPU: 70 epochs of 10,000 fresh clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vidlib.backbones import BACKBONES
from vidlib.checks import check_choice, check_counts, check_flags, check_numbers, did_you_mean
from vidlib.models.registry import MODELS
from vidlib.training import TrainSettings

PROFILES = ("smoke", "laptop", "full")
_IN_WORDS = {int: "a whole number", float: "a number", bool: "True or False,", str: "a text", list: "a list"}


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainSettings):
    """One training run: a model, its data, and the numbers of :class:`vidlib.training.TrainSettings`.

    Attributes:
        architecture: a key of :data:`vidlib.models.registry.MODELS`.
        config: the arguments of its constructor.
        validation_clips: fresh clips from held-out training digits on which the best epoch is chosen.
        start: weights to begin from: a shipped model's name, the folder of another run, over or not, or a
            ``.safetensors`` file; empty begins at random.
        perceptual: λ, the weight of the perceptual loss beside the MSE; 0 for none.
        backbone: what the perceptual loss sees with, see :class:`vidlib.PerceptualLoss`.
        compile: whether to compile the model first, where there is a compiler for the device.
        seed: of the weights and the clips.

    Raises:
        ValueError: a number out of range, or a name that is none.
    """

    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    epochs: int = 70
    clips_per_epoch: int = 10_000
    validation_clips: int = 1_000
    start: str = ""
    perceptual: float = 0.0
    backbone: str = "vgg19"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(MODELS, architecture=self.architecture)
        check_choice(BACKBONES, backbone=self.backbone)
        if not isinstance(self.config, Mapping) or not isinstance(self.start, str):
            raise ValueError(
                f"config is {self.config!r} and start {self.start!r}, expected a dictionary and a name or path."
            )
        check_counts(clips_per_epoch=self.clips_per_epoch, validation_clips=self.validation_clips)
        check_counts(0, highest=2**64 - 1, seed=self.seed)
        check_numbers(0, perceptual=self.perceptual)
        check_flags(compile=self.compile)

    def settings(self) -> TrainSettings:
        """The part that :func:`vidlib.fit` takes."""
        return TrainSettings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(TrainSettings)})

    def change(self, **changes: Any) -> Recipe:
        """This recipe with other numbers; names that are not its own go into ``config``.

        Raises:
            ValueError: a name that neither the recipe nor its model knows, or a value of another type or out of range.
        """
        own = {f.name for f in dataclasses.fields(self)} - {"architecture", "config"}
        options = build(self).config
        for name, value in changes.items():
            if name not in own | options.keys():
                near = did_you_mean(name, sorted(own | options.keys()))
                raise ValueError(f"{name!r} is no setting of the {self.architecture} recipe, {near}")
            now = getattr(self, name) if name in own else options[name]
            fits = type(value) is type(now) or (type(now) is float and type(value) is int)
            if not fits and not (isinstance(now, list) and isinstance(value, tuple)):
                raise ValueError(
                    f"{name} is {value!r}, expected {_IN_WORDS.get(type(now), 'a value')} such as {now!r}."
                )
        if changes.get("schedule", self.schedule) != self.schedule and "warmup" not in changes:
            # the same rise in the other schedule's measure: epochs of a constant rate, a share of one cycle
            changes["warmup"] = self.warmup / self.epochs if self.schedule == "constant" else self.warmup * self.epochs
        config = self.config | {k: v for k, v in changes.items() if k not in own}
        changed = dataclasses.replace(self, config=config, **{k: v for k, v in changes.items() if k in own})
        if config != self.config:
            build(changed)  # a number that does not fit the model is said here
        return changed


# What a profile spends, whatever the model
_BUDGETS: Mapping[str, dict[str, Any]] = {
    "smoke": {"epochs": 1, "clips_per_epoch": 8, "batch_size": 4, "validation_clips": 8},
    "laptop": {"epochs": 3, "clips_per_epoch": 320, "batch_size": 4, "validation_clips": 64},
    "full": {"compile": True},
}
# What a model wants otherwise. One that says nothing here trains at its constructor's sizes with Adam.
_OWN: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "convlstm": {
        "laptop": {"config": {"features": 32, "hidden": [32, 32], "kernel": 3}, "lr": 2e-3},
        "full": {"config": {"patch": 8, "features": 128, "hidden": [128, 128], "kernel": 3, "shared": True,
                            "layers": 2}, "lr": 0.012, "optimizer": "muon", "warmup": 2.1},
    },
    "flow-convlstm": {
        "laptop": {"config": {"hidden": [12, 12]}, "lr": 2e-3, "epochs": 2, "clips_per_epoch": 160},
    },
    "video-transformer": {
        "smoke": {"lr": 6e-3, "optimizer": "muon"},
        "laptop": {"config": {"dim": 96, "heads": 3, "decoder": 128}, "lr": 6e-3, "optimizer": "muon",
                   "weight_decay": 0.01, "warmup": 0.5, "epochs": 5, "clips_per_epoch": 100},
        "full": {"config": {"dim": 224, "heads": 7}, "lr": 6e-3, "optimizer": "muon", "weight_decay": 0.01,
                 "warmup": 7.0},
    },
}  # fmt: skip

# What the notebooks measure on, in their own names
_MEASURED: Mapping[str, dict[str, Any]] = {
    "smoke": {"TEST_SEQUENCES": 4, "FINE_TUNE_SEQUENCES": 8,
              "CHUNKS": [5, 10], "ROLLOUT_FRAMES": 12, "ROLLOUT_SEQUENCES": 2,
              "DECOMPOSED_SEQUENCES": 2, "SEARCHED_SEQUENCES": 4,
              "PROBE_SEQUENCES": 4, "STEER_SEQUENCES": 2, "ABLATE_SEQUENCES": 2, "ABLATED_LAYERS": 1,
              "ERASE_SEQUENCES": 2, "ERASED_PATCHES": 6, "VARIANCE_SEQUENCES": 4, "VARIANCE_STEPS": 5,
              "OWN_SEQUENCES": 2},
    "laptop": {"TEST_SEQUENCES": 200, "FINE_TUNE_SEQUENCES": 160,
               "CHUNKS": [1, 2, 5, 10], "ROLLOUT_FRAMES": 20, "ROLLOUT_SEQUENCES": 16,
               "DECOMPOSED_SEQUENCES": 64, "SEARCHED_SEQUENCES": 128,
               "PROBE_SEQUENCES": 80, "STEER_SEQUENCES": 16, "ABLATE_SEQUENCES": 6, "ABLATED_LAYERS": 6,
               "ERASE_SEQUENCES": 8, "ERASED_PATCHES": 40, "VARIANCE_SEQUENCES": 64, "VARIANCE_STEPS": 200,
               "OWN_SEQUENCES": 40},
    "full": {"TEST_SEQUENCES": 10_000, "FINE_TUNE_SEQUENCES": 10_000,
             "CHUNKS": [1, 2, 5, 10], "ROLLOUT_FRAMES": 20, "ROLLOUT_SEQUENCES": 1_000,
             "DECOMPOSED_SEQUENCES": 1_000, "SEARCHED_SEQUENCES": 10_000,
             "PROBE_SEQUENCES": 1_000, "STEER_SEQUENCES": 200, "ABLATE_SEQUENCES": 100, "ABLATED_LAYERS": 6,
             "ERASE_SEQUENCES": 64, "ERASED_PATCHES": 120, "VARIANCE_SEQUENCES": 500, "VARIANCE_STEPS": 1_000,
             "OWN_SEQUENCES": 1_000},
}  # fmt: skip


def notebook_numbers(profile: str, trains: str = "") -> dict[str, Any]:
    """What a notebook's parameters are at a profile where nobody has set them: ``{"TEST_SEQUENCES": 200, …}``.

    Args:
        trains: the model that the notebook trains, if any: ``EPOCHS``, ``TRAIN_SEQUENCES`` and ``BATCH_SIZE`` are
            its recipe's.

    Raises:
        ValueError: an unknown profile or model.
    """
    check_choice(PROFILES, profile=profile)
    if not trains:
        return dict(_MEASURED[profile])
    spent = recipe(trains, profile)
    budget = {"EPOCHS": spent.epochs, "TRAIN_SEQUENCES": spent.clips_per_epoch, "BATCH_SIZE": spent.batch_size}
    return budget | _MEASURED[profile]


def recipe(name: str, profile: str = "laptop", **changes: Any) -> Recipe:
    """The recipe of a model at a profile, with single numbers changed.

    Every one of them rises to a constant learning rate and lets it fall at the end, so that it can be made longer.

    Raises:
        ValueError: an unknown model, profile or setting.
    """
    check_choice(MODELS, model=name)
    check_choice(PROFILES, profile=profile)
    config = MODELS[name].SMALLEST if profile == "smoke" else {}
    own = _OWN.get(name, {}).get(profile, {})
    numbers = {"config": config, "schedule": "constant", **_BUDGETS[profile], **own}
    return Recipe(architecture=name, **numbers).change(**changes)


def build(recipe: Recipe) -> nn.Module:
    """The untrained model of a recipe, its weights drawn from the recipe's seed alone.

    Raises:
        ValueError: no recipe, or a model of impossible numbers.
    """
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe is a {type(recipe).__name__}, expected one of vidlib.recipes.recipe.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return MODELS[recipe.architecture](**recipe.config)
