"""A training's folder: what weights it starts from, what made it, and how its result is shipped."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.state import PartialState
from torch import Tensor, nn

from vidlib.baselines import BASELINES, BESIDE_SCORES
from vidlib.checks import check_counts, kind_of
from vidlib.digits import describe, load_digits
from vidlib.files import read_whole, sha256, user_path
from vidlib.history import COUNTS, History, read_history
from vidlib.machine import choose_device, fast_precision, hardware, has_compiler
from vidlib.metrics import evaluate
from vidlib.moving_mnist import MovingMNIST, test_clips, validation_clips
from vidlib.perceptual import PerceptualLoss, PerceptualMSE
from vidlib.recipes import Recipe, build
from vidlib.tensors import content_hash, first_mismatch, read_tensors
from vidlib.training import best_row, fit, read_checkpoint
from vidlib.video import Clips, as_clips
from vidlib.weights import check_name, load_trained, model_card, pretrained_history, publish, save_model

# what a training may change on its way: it can be resumed elsewhere, and its weights be trained on elsewhere
_MACHINE = "hardware", "precision", "torch"


@dataclass
class Lineage:
    """What weights have behind them when a training starts from them, as far as it is known."""

    history: History = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)  # hardware, precision and torch


@dataclass(frozen=True)
class Run:
    """What a training's folder holds: all of one epoch, verified."""

    facts: dict[str, Any]
    history: History
    model: nn.Module

    @property
    def recipe(self) -> Recipe:
        return Recipe(**self.facts["recipe"])

    @property
    def best(self) -> dict[str, float]:
        """The row of the history whose weights the model has."""
        return best_row(self.history)

    def lineage(self) -> Lineage:
        """What these weights have behind them: what came after their epoch is not in them."""
        before = Lineage(**self.facts["before"])
        return Lineage(
            history=_counted_on(before.history, self.history[: self.history.index(self.best) + 1]),
            seeds=before.seeds if "clips_sha256" in self.facts else [*before.seeds, self.recipe.seed],
            commands=[*before.commands, self.facts["command"]],
            machine=_both_machines(before.machine, self.facts),
        )


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    digits: str | Path = "auto",
    clips: tuple[Clips, Clips] | None = None,
    vgg_weights: str | Path | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool | type = True,
    on_epoch: Callable[[nn.Module, dict[str, float]], None] | None = None,
) -> tuple[nn.Module, History]:
    """Train a recipe; the weights end as ``out/model.safetensors``.

    Args:
        recipe: from :func:`vidlib.recipes.recipe`.
        out: folder for the run, see :func:`vidlib.fit`.
        digits: see :func:`vidlib.digits.load_digits`; train and validation digits never share an image.
        clips: instead of clips of digits, those to train on and those to validate on, such as
            :func:`vidlib.own_videos.training_clips` gives; where they end, they come again from the beginning.
        vgg_weights: the backbone's file where the recipe has a perceptual loss; ``None`` is torchvision's download.
        resume, device, progress, on_epoch: see :func:`vidlib.fit`.

    Returns:
        the model with the averaged weights of its best validation epoch, and the history.

    Raises:
        ValueError, RuntimeError: as :func:`vidlib.fit`; also weights to start from that are of another model.
    """
    out, model = user_path(out), build(recipe)
    choose_device(device)  # a mistake in it must not cost a download
    training, validation, data = _clips_of_digits(recipe, digits) if clips is None else _own_clips(clips)
    loss = (
        PerceptualMSE(recipe.perceptual, PerceptualLoss(recipe.backbone, vgg_weights))
        if recipe.perceptual
        else F.mse_loss
    )
    found = read_checkpoint(out) if resume else None
    if found:
        was = (found["facts"] or {}).get("recipe", {}).get("start", "")
        if Path(recipe.start).name != Path(was).name:
            raise ValueError(f"{out} began from {was!r}, this run from {recipe.start!r}: choose another folder.")
        facts = _went_on(found["facts"] or {}, found["history"][-1]["epoch"], recipe, data, device)
    else:
        seed = recipe.seed if clips is None else None
        lineage = load_start(model, recipe.start, seed) if recipe.start else Lineage()
        facts = _facts(recipe, data, device) | {"before": dataclasses.asdict(lineage)}
    with torch.random.fork_rng(devices=[]):  # what a model draws while it is trained follows from the seed
        torch.manual_seed(recipe.seed)
        history = fit(
            model,
            training,
            validation,
            out=out,
            settings=recipe.settings(),
            loss=loss,
            device=device,
            compile=recipe.compile and has_compiler(device),
            resume=resume,
            progress=progress,
            on_epoch=on_epoch,
            facts=facts,
        )
    if PartialState().is_main_process:
        committed = read_checkpoint(out)  # where nothing was left to train, its facts have not changed
        run = Run(committed["facts"] if committed else facts, history, model)
        card = {"recipe": run.facts["recipe"], "epoch": run.best["epoch"], "lineage": dataclasses.asdict(run.lineage())}
        save_model(model, out / "model.safetensors", card=card)
    return model, history


def publish_run(
    run: str | Path,
    name: str,
    *,
    clips: int = 10_000,
    digits: str | Path = "auto",
    folder: str | Path | None = None,
    device: str | torch.device | None = None,
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
        ValueError, RuntimeError: what it holds is damaged, or its files do not belong together.
    """
    check_name(name)
    check_counts(clips=clips)
    choose_device(device)
    found = read_run(run)
    if "clips_sha256" in found.facts:
        raise ValueError(
            f"{run} was trained on own clips, expected digits, which the test clips show: keep its weights."
        )
    before, recipe, best = Lineage(**found.facts["before"]), found.recipe, found.best
    # scored as shipped: rounded to bfloat16
    found.model.load_state_dict({key: value.bfloat16() for key, value in found.model.state_dict().items()})
    test = test_clips(digits, clips)
    models = {"model": found.model, **{key: BASELINES[key]() for key in BESIDE_SCORES}}
    scores = {key: evaluate(m, test, device=device, progress=progress) for key, m in models.items()}
    whole = _counted_on(before.history, found.history)
    hours = sum(row["seconds"] for row in whole) / 3600
    card = {
        "recipe": found.facts["recipe"],
        "data": found.facts["data"],
        "digits_sha256": found.facts["digits_sha256"],
        "clips_seen": whole[len(before.history) + found.history.index(best)]["clips"],
        "clip_seeds": [*before.seeds, recipe.seed],
        "epochs": f"{best['epoch']} of {recipe.epochs}, the best of {found.history[-1]['epoch']} on validation clips",
        "test": test.describe(),
        "metrics": {key: s.overall for key, s in scores.items()},
        **_both_machines(before.machine, found.facts),
        "duration": f"{hours:.2f} hours of wall time for {whole[-1]['epoch']} epochs",
        "date": time.strftime("%Y-%m-%d"),
        "trained_with": "; then ".join([*before.commands, found.facts["command"]]),
        "scored_with": f"python -m vidlib score {name} --clips {clips} --digits {test.digits.source}",
    }
    return publish(found.model, name, card, history=whole, folder=folder)


def read_run(folder: str | Path) -> Run:
    """What :func:`train` left in a folder: from its checkpoint, else from the files that follow from it.

    Raises:
        FileNotFoundError: the folder holds no run.
        OSError: something in it cannot be read.
        ValueError, RuntimeError: something in it is damaged, or its files do not belong together.
    """
    folder = user_path(folder)
    if saved := read_checkpoint(folder):
        if not saved["facts"]:
            raise ValueError(f"{folder} holds a training without a recipe, expected one of vidlib.runs.train.")
        return Run(saved["facts"], saved["history"], _with_weights(saved["facts"], saved["best"], folder))
    for name in ("run.json", "history.csv"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder} has no {name}, expected the folder of a training: name its --out.")
    facts = _read_facts(folder / "run.json")
    weights = folder / ("best.safetensors" if "files" in facts else "model.safetensors")  # an older run has no hashes
    for name, recorded in facts.pop("files", {}).items():
        if sha256(folder / name) != recorded:
            raise ValueError(f"{folder / name} is not the file that run.json names: copy the folder again, whole.")
    (header, tensors), history = read_tensors(weights), read_history(folder / "history.csv")
    if weights.name == "model.safetensors":
        recipe, same = header.get("card", {}).get("recipe", {}), {"start": ""}  # run.json leaves its folders out
        if recipe | same != facts["recipe"] | same:
            raise ValueError(f"{weights} and run.json are not of one training: copy the folder again, whole.")
    return Run(facts, history, _with_weights(facts, tensors, weights))


def _read_facts(file: Path) -> dict[str, Any]:
    """The facts in a ``run.json``, with the hashes of the files beside it where the run was not an older one."""
    data = read_whole(file)
    try:
        facts = json.loads(data)
        if ("sha256" in facts or "files" in facts) and facts.pop("sha256") != content_hash(facts):
            raise ValueError("its SHA-256 differs")
        facts["before"] = dataclasses.asdict(Lineage(**facts.get("before", {})))
        Recipe(**facts["recipe"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} was changed or damaged ({error}): copy the folder again, whole.") from error
    return facts


def _with_weights(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], where: Path) -> nn.Module:
    model = build(Recipe(**facts["recipe"]))
    if wrong := first_mismatch(model.state_dict(), tensors):
        raise ValueError(
            f"{where} does not hold the model of its recipe: {wrong}; copy the folder of the training again."
        )
    model.load_state_dict(tensors)
    return model


def load_start(model: nn.Module, start: str, seed: int | None) -> Lineage:
    """Copy weights into a fresh model; returns what they have behind them. ``seed``: of the clips of digits to come."""
    if user_path(start).is_dir():
        run = read_run(start)
        trained, before = run.model, run.lineage()
    else:
        trained, card = load_trained(start), model_card(start)
        before = Lineage(**card["lineage"]) if "lineage" in card else _lineage_of_card(start, card)
    other_painter = getattr(model, "OF_THE_PAINTER", ())
    differ = {name for name, value in model.config.items() if trained.config.get(name) != value}
    if type(trained) is not type(model) or differ - set(other_painter):
        raise ValueError(
            f"{start} is a {type(trained).__name__} with {trained.config}, expected a {type(model).__name__} with "
            f"{model.config}: start from weights of the same model."
        )
    if seed in before.seeds:
        raise ValueError(f"{start} has seen the clips of seed {seed} already: choose another seed for fresh ones.")
    found = trained.state_dict()
    if first_mismatch(model.state_dict(), found):
        # a painter of another kind begins anew, on the states that were learned for the old one
        found = model.state_dict() | {k: v for k, v in found.items() if not k.startswith("paint.")}
    model.load_state_dict(found)
    return before


def _lineage_of_card(name: str, card: Mapping[str, Any]) -> Lineage:
    """What a shipped model has behind it: the epochs that its card counts, which end with those of its weights."""
    history = [] if name.endswith(".safetensors") else pretrained_history(name)
    return Lineage(
        history=[row for row in history if row["clips"] <= card["clips_seen"]],
        seeds=card.get("clip_seeds", [card["recipe"]["seed"]] if "recipe" in card else []),
        commands=[card["trained_with"]] if "trained_with" in card else [],
        machine=_both_machines({}, card),
    )


def _counted_on(before: History, history: History) -> History:
    """Two trainings of the same weights as one: epochs, steps and clips are counted on."""
    last = before[-1] if before else {}
    return before + [row | {name: last.get(name, 0) + row[name] for name in COUNTS} for row in history]


def _both_machines(was: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Hardware, precision and torch of two parts of a training, each different one named once."""
    parts = {name: [p for facts in (was, now) for p in facts.get(name, "").split("; then ")] for name in _MACHINE}
    return {name: "; then ".join(dict.fromkeys(filter(None, each))) for name, each in parts.items()}


def _clips_of_digits(recipe: Recipe, digits: str | Path) -> tuple[Clips, Clips, dict[str, str]]:
    """Clips to train on, clips to validate on, and what is to be remembered of them."""
    found = load_digits(digits, "train")
    training = MovingMNIST(recipe.epochs * recipe.clips_per_epoch, digits=found, seed=recipe.seed)
    facts = {"data": f"fresh clips of {describe(found)}", "digits_sha256": found.sha256}
    return training, validation_clips(found.source, recipe.validation_clips), facts


def _own_clips(clips: Any) -> tuple[Clips, Clips, dict[str, str]]:
    """The same of clips that were handed over."""
    if not isinstance(clips, tuple) or len(clips) != 2:
        raise ValueError(f"clips are {kind_of(clips)}, expected two sets: to train on, and to validate on.")
    training, validation = as_clips(clips[0], "the training set"), as_clips(clips[1], "the validation set")
    return training, validation, {"data": training.describe(), "clips_sha256": training.fingerprint()}


def _facts(recipe: Recipe, data: Mapping[str, str], device: str | torch.device | None) -> dict[str, Any]:
    """What the model card will have to say and nobody remembers afterwards."""
    # the last part of a full path is enough: a card must not tell where on whose machine it was
    words = [_without_folders(word) for word in sys.argv[1:]]
    # python -m says which module it ran; a notebook's kernel is such a module too, and no command to repeat
    module = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "").removesuffix(".__main__")
    by_module = module.partition(".")[0] in ("vidlib", "benchmarks", "studies")
    return {
        "recipe": dataclasses.asdict(recipe) | {"start": _without_folders(recipe.start)},
        **data,
        "hardware": hardware(),
        "precision": "bfloat16 products" if fast_precision(device) == "bf16" else "float32",
        "command": shlex.join(["python", "-m", module, *words])
        if by_module
        else "vidlib.runs.train in a notebook or script",
        "torch": str(torch.__version__),
    }


def _without_folders(word: str) -> str:
    """A word of a command; of a full path in it, only the last part: ``start=/there/it/is`` becomes ``start=is``."""
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{Path(value).name}" if Path(value).is_absolute() else word


def _went_on(
    was: Mapping[str, Any],
    epoch: int,
    recipe: Recipe,
    data: Mapping[str, str],
    device: str | torch.device | None,
) -> dict[str, Any]:
    """The facts of a run resumed after an epoch: those it began with, how long it shall be now, and both machines."""
    now = _facts(recipe, data, device)
    begun = {**now, "before": dataclasses.asdict(Lineage()), **was}
    if begun["recipe"]["epochs"] != recipe.epochs:
        # neither command alone repeats it: the learning rates before this epoch were those of another length
        begun["command"] += f"; after epoch {epoch} resumed for {recipe.epochs} epochs: {now['command']}"
    return begun | _both_machines(begun, now) | {"recipe": begun["recipe"] | {"epochs": recipe.epochs}}
