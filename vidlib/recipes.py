"""What is trained and how: the one place where those numbers stand.

A recipe is the same object for a notebook, a papermill batch and ``python -m vidlib train`` on a machine without
Jupyter. Three profiles: ``smoke`` proves in seconds that everything runs, ``laptop`` shows learning in minutes on two
cores, ``full`` is the run for a GPU: 70 epochs of 10,000 fresh clips.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import os
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from vidlib.baselines import AllBlack, CopyLast
from vidlib.digits import Digits, describe, load_digits
from vidlib.files import atomic_write
from vidlib.metrics import evaluate
from vidlib.moving_mnist import MovingMNIST
from vidlib.perceptual import PerceptualLoss, PerceptualMSE
from vidlib.training import COUNTS, History, fast_precision, fit, read_history, write_history
from vidlib.weights import ARCHITECTURES, PRETRAINED, load_trained, model_card, publish, save_model

PROFILES = ("smoke", "laptop", "full")
VALIDATION_SEED, TEST_SEED = 1, 2
# what a training may change on its way: it can be resumed elsewhere, and its weights be trained on elsewhere
MACHINE = "hardware", "precision", "torch"


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        architecture: a key of :data:`vidlib.weights.ARCHITECTURES`.
        config: the arguments of its constructor.
        epochs, clips_per_epoch, batch_size, lr, optimizer, weight_decay, warmup, ema: see :func:`vidlib.fit`.
        validation_clips: fresh clips from held-out training digits on which the best epoch is chosen.
        start: weights to begin from: a shipped model's name, the folder of another run, over or not, or a
            ``.safetensors`` file; empty begins at random.
        perceptual: λ, the weight of the perceptual loss beside the MSE; 0 for none.
        backbone: what the perceptual loss sees with, see :class:`vidlib.PerceptualLoss`.
        compile: whether to compile the model first, where there is a compiler for the device.
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
    start: str = ""
    perceptual: float = 0.0
    backbone: str = "vgg19"
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
        "smoke": Recipe("convlstm", {"features": 8, "hidden": [8, 8], "kernel": 3}, epochs=2, clips_per_epoch=16,
                        batch_size=4, validation_clips=8),
        "laptop": Recipe("convlstm", {"features": 32, "hidden": [32, 32], "kernel": 3}, epochs=3, clips_per_epoch=320,
                         batch_size=4, lr=2e-3, validation_clips=64),
        "full": Recipe("convlstm", {"patch": 8, "features": 128, "hidden": [128, 128], "kernel": 3, "shared": True},
                       lr=0.012, optimizer="muon", warmup=0.03, compile=True),
    },
    "video-transformer": {
        "smoke": Recipe("video-transformer", {"dim": 32, "heads": 2, "decoder": 32}, epochs=2, clips_per_epoch=16,
                        batch_size=4, lr=6e-3, optimizer="muon", validation_clips=8),
        "laptop": Recipe("video-transformer", {"dim": 96, "heads": 3, "decoder": 128}, epochs=3, clips_per_epoch=320,
                         batch_size=4, lr=6e-3, optimizer="muon", weight_decay=0.01, validation_clips=64),
        "full": Recipe("video-transformer", {"dim": 224, "heads": 7}, epochs=200, lr=6e-3, optimizer="muon",
                       weight_decay=0.01, compile=True),
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
    vgg_weights: str | Path | None = None,
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
        vgg_weights: the backbone's file where the recipe has a perceptual loss; ``None`` is torchvision's download.
        resume, device, progress, on_epoch: see :func:`vidlib.fit`.

    Returns:
        the model with the averaged weights of its best validation epoch, and the history.
    """
    training = load_digits(digits, "train")
    model = build(recipe)
    loss = F.mse_loss
    if recipe.perceptual:
        loss = PerceptualMSE(recipe.perceptual, PerceptualLoss(recipe.backbone, vgg_weights))
    going_on = resume and (Path(out) / "checkpoint.pt").exists()
    before = _load_start(model, recipe.start, recipe.seed) if recipe.start and not going_on else Past()
    first = None

    def after_epoch(averaged: nn.Module, row: dict[str, float]) -> None:
        nonlocal first
        # not before: now the folder is surely this run's own, and a failed start has left nothing behind
        if first is None:
            first = row["epoch"]
            _write_run(recipe, training, Path(out), before, device, resumed=first > 1)
        if on_epoch:
            on_epoch(averaged, row)

    history = fit(
        model,
        clips(training, recipe.epochs * recipe.clips_per_epoch, recipe.seed),
        validation_clips(training.source, recipe.validation_clips),
        out=out,
        loss=loss,
        resume=resume,
        progress=progress,
        on_epoch=after_epoch,
        **fit_settings(recipe, device),
    )
    save_model(model, Path(out) / "model.safetensors", card={"recipe": dataclasses.asdict(recipe)})
    return model, history


def fit_settings(recipe: Recipe, device: str | None = None) -> dict[str, Any]:
    """What a recipe says of the arguments of :func:`vidlib.fit`."""
    names = "epochs", "clips_per_epoch", "batch_size", "lr", "optimizer", "weight_decay", "warmup", "ema"
    chosen = {name: getattr(recipe, name) for name in names}
    return chosen | {"device": device, "compile": recipe.compile and has_compiler(device)}


def publish_run(
    run: str | Path,
    name: str,
    *,
    clips: int = 10_000,
    digits: str | Path = "auto",
    folder: str | Path | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Score the best weights of a training folder as they would be shipped, and ship them with a model card.

    The training need not be over: the card says how many of its epochs the weights have seen.

    Args:
        run: folder of :func:`train`.
        name: under which :func:`vidlib.load_pretrained` finds them.
        clips: test clips to score on.
        digits: of the test clips.
        folder: the package's own ``pretrained`` where not given.
        device, progress: see :func:`vidlib.evaluate`.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    facts, history, model = _read_run(Path(run))
    before, recipe = Past(**facts["before"]), Recipe(**facts["recipe"])
    # scored as shipped: rounded to bfloat16
    model.load_state_dict({key: value.bfloat16() for key, value in model.state_dict().items()})
    test = test_clips(digits, clips)
    models = {"model": model, "copy-last": CopyLast(), "all-black": AllBlack()}
    scores = {key: evaluate(m, test, device=device, progress=progress) for key, m in models.items()}
    best = _best(history)
    whole = _go_on(before.history, history)
    hours = sum(row["seconds"] for row in whole) / 3600
    card = {
        "recipe": facts["recipe"],
        "data": facts["data"],
        "digits_sha256": facts["digits_sha256"],
        "clips_seen": whole[len(before.history) + history.index(best)]["clips"],
        "clip_seeds": [*before.seeds, recipe.seed],
        "epochs": f"{best['epoch']} of {recipe.epochs}, the best of {history[-1]['epoch']} on validation clips",
        "test": test.describe(),
        "metrics": {key: s.overall for key, s in scores.items()},
        **_then(before.machine, facts),
        "duration": f"{hours:.2f} hours of wall time for {whole[-1]['epoch']} epochs",
        "date": time.strftime("%Y-%m-%d"),
        "trained_with": "; then ".join([*before.commands, facts["command"]]),
        "scored_with": f"python -m vidlib score {name} --clips {clips} --digits {test.digits.source}",
    }
    shipped = publish(model, name, card, folder=folder)
    with atomic_write(shipped.with_name(f"{name}-history.csv")) as file:
        write_history(whole, file)
    return shipped


def _read_run(folder: Path) -> tuple[dict[str, Any], History, nn.Module]:
    """What :func:`_write_run` wrote, the history, and the model with the best weights so far."""
    for file in ("run.json", "history.csv", "best.safetensors"):
        if not (folder / file).exists():
            raise FileNotFoundError(f"{folder} has no {file}, expected the folder of a training: name its --out.")
    facts = json.loads((folder / "run.json").read_text())
    model = build(Recipe(**facts["recipe"]))
    model.load_state_dict(load_file(folder / "best.safetensors"))
    return facts, read_history(folder / "history.csv"), model


@dataclass
class Past:
    """What weights have behind them when a training starts from them, as far as it is known."""

    history: History = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)  # by the names in MACHINE


def _load_start(model: nn.Module, start: str, seed: int) -> Past:
    """Copy weights into a fresh model; returns what they have behind them."""
    if Path(start).is_dir():
        facts, history, trained = _read_run(Path(start))
        before = Past(**facts["before"])
        before.seeds.append(facts["recipe"]["seed"])
        before.commands.append(facts["command"])
        before.machine = _then(before.machine, facts)
    else:
        trained, card = load_trained(start), model_card(start)
        file = PRETRAINED / f"{start}-history.csv"
        history = read_history(file) if file.exists() else []
        seeds = card.get("clip_seeds", [card["recipe"]["seed"]] if "recipe" in card else [])
        before = Past([], seeds, [card["trained_with"]] if "trained_with" in card else [], _then({}, card))
    if type(trained) is not type(model) or trained.config != model.config:
        raise ValueError(
            f"{start} is a {type(trained).__name__} with {trained.config}, expected a {type(model).__name__} with "
            f"{model.config}: start from weights of the same model."
        )
    if seed in before.seeds:
        raise ValueError(f"{start} has seen the clips of seed {seed} already: choose another seed for fresh ones.")
    model.load_state_dict(trained.state_dict())
    # the weights are those of the best epoch: what came after is not in them
    before.history = _go_on(before.history, history[: history.index(_best(history)) + 1] if history else [])
    return before


def _best(history: History) -> dict[str, float]:
    return min(history, key=lambda row: row["validation_mse"])


def _go_on(before: History, history: History) -> History:
    """Two trainings of the same weights as one: epochs, steps and clips are counted on."""
    last = before[-1] if before else {}
    return before + [row | {name: last.get(name, 0) + row[name] for name in COUNTS} for row in history]


def _then(was: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Both parts' :data:`MACHINE`, each different one named once."""
    parts = {name: [p for facts in (was, now) for p in facts.get(name, "").split("; then ")] for name in MACHINE}
    return {name: "; then ".join(dict.fromkeys(filter(None, each))) for name, each in parts.items()}


def _write_run(recipe: Recipe, digits: Digits, out: Path, before: Past, device: str | None, resumed: bool) -> None:
    """What the model card will have to say and nobody remembers afterwards."""
    # the last part of a full path is enough: a card must not tell where on whose machine it was
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    # python -m says which module it ran; a notebook's kernel is such a module too, and no command to repeat
    module = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "").removesuffix(".__main__")
    by_module = module.partition(".")[0] in ("vidlib", "benchmarks")
    start = Path(recipe.start).name if Path(recipe.start).is_absolute() else recipe.start
    facts = {
        "recipe": dataclasses.asdict(recipe) | {"start": start},
        "data": f"fresh clips of {describe(digits)}",
        "digits_sha256": digits.sha256,
        "before": dataclasses.asdict(before),
        "hardware": hardware(),
        "precision": "bfloat16 products" if fast_precision(device) == "bf16" else "float32",
        "command": shlex.join(["python", "-m", module, *words])
        if by_module
        else "vidlib.recipes.train in a notebook or script",
        "torch": torch.__version__,
    }
    if resumed and (out / "run.json").exists():
        was = json.loads((out / "run.json").read_text())
        facts = was | _then(was, facts)
    with atomic_write(out / "run.json") as file:
        file.write_text(json.dumps(facts, indent=1))


def has_compiler(device: str | torch.device | None = None) -> bool:
    """Whether torch.compile can work: on a GPU it brings its compiler, on a CPU it needs the machine's own for C++."""
    if torch.cuda.is_available() and str(device) != "cpu":
        return True
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def hardware() -> str:
    """The processor, its threads that torch uses, and the accelerator, in words."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux knows more
        names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        cpu = names[0] if names else cpu
    threads = torch.get_num_threads()
    text = f"{cpu}, {threads} {'thread' if threads == 1 else 'threads'}"
    return f"{torch.cuda.get_device_name()}; {text}" if torch.cuda.is_available() else text


def test_clips(digits: str | Path = "auto", length: int = 10_000) -> MovingMNIST:
    """The benchmark's stand-in where the official file cannot be had: clips of *test* digits from a fixed seed."""
    return clips(load_digits(digits, "test"), length, TEST_SEED)


def validation_clips(digits: str | Path = "auto", length: int = 1_000) -> MovingMNIST:
    """Clips of digits held out from training, for choosing."""
    return clips(load_digits(digits, "validation"), length, VALIDATION_SEED)


def clips(digits: Digits, length: int, seed: int) -> MovingMNIST:
    return MovingMNIST(length, digits=digits, seed=seed)
