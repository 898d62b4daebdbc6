"""What is trained and how: the one place where those numbers stand.

A recipe is the same object for a notebook, a papermill batch and ``python -m vidlib train`` on a machine without
Jupyter. Three profiles: ``smoke`` proves in seconds that everything runs, ``laptop`` shows learning in minutes on two
cores, ``full`` is the run for a GPU: 70 epochs of 10,000 fresh clips.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidlib.digits import Digits, load_digits
from vidlib.moving_mnist import MovingMNIST
from vidlib.training import History, fit
from vidlib.weights import ARCHITECTURES, save_model

PROFILES = ("smoke", "laptop", "full")
VALIDATION_SEED, TEST_SEED = 1, 2


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        architecture: a key of :data:`vidlib.weights.ARCHITECTURES`.
        config: the arguments of its constructor.
        epochs, clips_per_epoch, batch_size, lr, optimizer, weight_decay, warmup, ema: see :func:`vidlib.fit`.
        validation_clips: fresh clips from held-out training digits on which the best epoch is chosen.
        compile: whether to compile the model where there is a GPU.
        seed: of the weights and the clips.
    """

    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    epochs: int = 70
    clips_per_epoch: int = 10_000
    batch_size: int = 16
    lr: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    warmup: float = 0.1
    ema: float = 0.999
    validation_clips: int = 1_000
    compile: bool = False
    seed: int = 0

    def change(self, **changes: Any) -> Recipe:
        """This recipe with other numbers; names that are not its own go into ``config``.

        Raises:
            ValueError: a name that neither the recipe nor its model knows, or a value of another type.
        """
        own = {f.name for f in dataclasses.fields(self)} - {"architecture", "config"}
        options = build(self).config
        for name, value in changes.items():
            if name not in own | options.keys():
                close = difflib.get_close_matches(name, [*own, *options], n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ValueError(f"{name!r} is no setting of the {self.architecture} recipe{hint}.")
            now = getattr(self, name) if name in own else options[name]
            fits = type(value) is type(now) or (type(now) is float and type(value) is int)
            if not fits and not (isinstance(now, list) and isinstance(value, tuple)):
                raise ValueError(
                    f"{name} is {value!r}, a {type(value).__name__}, expected a {type(now).__name__} such as {now!r}."
                )
        config = self.config | {k: v for k, v in changes.items() if k not in own}
        return dataclasses.replace(self, config=config, **{k: v for k, v in changes.items() if k in own})


RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    "convlstm": {
        "smoke": Recipe("convlstm", {"hidden": [8, 8], "kernel": 3}, epochs=2, clips_per_epoch=16, batch_size=4,
                        validation_clips=8),
        "laptop": Recipe("convlstm", {"hidden": [32, 32], "kernel": 3}, epochs=3, clips_per_epoch=320, batch_size=4,
                         lr=2e-3, validation_clips=64),
        "full": Recipe("convlstm", {"hidden": [128, 128, 128], "kernel": 5}, lr=5e-4, compile=True),
    },
    "video-transformer": {
        "smoke": Recipe("video-transformer", {"dim": 32, "heads": 2, "decoder": 32}, epochs=2, clips_per_epoch=16,
                        batch_size=4, optimizer="muon", validation_clips=8),
        "laptop": Recipe("video-transformer", {"dim": 96, "heads": 3, "decoder": 128}, epochs=3, clips_per_epoch=320,
                         batch_size=4, lr=2e-3, optimizer="muon", weight_decay=0.01, validation_clips=64),
        "full": Recipe("video-transformer", {"dim": 256, "heads": 8}, epochs=200, optimizer="muon", weight_decay=0.01,
                       compile=True),
    },
}  # fmt: skip


def recipe(name: str, profile: str = "laptop", **changes: Any) -> Recipe:
    """The recipe of a model at a profile, with single numbers changed.

    Raises:
        ValueError: an unknown model, profile or setting.
    """
    for value, known, what in ((name, RECIPES, "model"), (profile, PROFILES, "profile")):
        if value not in known:
            raise ValueError(f"{what} is {value!r}, expected one of {', '.join(known)}.")
    return RECIPES[name][profile].change(**changes)


def build(recipe: Recipe) -> nn.Module:
    """The untrained model of a recipe, its weights drawn from the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return ARCHITECTURES[recipe.architecture](**recipe.config)


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    digits: str | Path = "auto",
    resume: bool = False,
    device: str | None = None,
    progress: bool = True,
    on_epoch: Callable[[nn.Module, dict[str, float]], None] | None = None,
) -> tuple[nn.Module, History]:
    """Train a recipe; the weights end as ``out/model.safetensors``.

    Args:
        recipe: from :func:`recipe`.
        out: folder for the run, see :func:`vidlib.fit`.
        digits: see :func:`vidlib.digits.load_digits`; train and validation digits never share an image.
        resume, device, progress, on_epoch: see :func:`vidlib.fit`.

    Returns:
        the model with the averaged weights of its best validation epoch, and the history.
    """
    training = load_digits(digits, "train")
    model = build(recipe)
    history = fit(
        model,
        clips(training, recipe.epochs * recipe.clips_per_epoch, recipe.seed),
        clips(load_digits(training.source, "validation"), recipe.validation_clips, VALIDATION_SEED),
        out=out,
        epochs=recipe.epochs,
        clips_per_epoch=recipe.clips_per_epoch,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        optimizer=recipe.optimizer,
        weight_decay=recipe.weight_decay,
        warmup=recipe.warmup,
        ema=recipe.ema,
        device=device,
        compile=recipe.compile and torch.cuda.is_available() and device != "cpu",
        resume=resume,
        progress=progress,
        on_epoch=on_epoch,
    )
    card = {"recipe": dataclasses.asdict(recipe), "digits_sha256": training.sha256, "history": history[-1]}
    save_model(model, Path(out) / "model.safetensors", card=card)
    return model, history


def test_clips(digits: str | Path = "auto", length: int = 10_000) -> MovingMNIST:
    """The benchmark's stand-in where the official file cannot be had: clips of *test* digits from a fixed seed."""
    return clips(load_digits(digits, "test"), length, TEST_SEED)


def clips(digits: Digits, length: int, seed: int) -> MovingMNIST:
    return MovingMNIST(length, digits=digits, seed=seed)
