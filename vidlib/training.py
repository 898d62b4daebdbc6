"""Training: one plain loop on 🤗 Accelerate, which brings it to any device, precision or number of GPUs.

What a run needs to go on after it was killed is one file, replaced whole after each epoch: everything else in its
folder is written anew from it. Because clip ``i`` is a function of its index, the position in the data is the step
number, and a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm import tqdm as std_tqdm
from tqdm.auto import tqdm

from vidlib.checks import check_choice, check_counts, check_flags, check_numbers, did_you_mean
from vidlib.files import atomic_write, check_zip, only_writer, read_whole, sha256, user_path
from vidlib.history import History, write_history
from vidlib.machine import PRECISIONS, choose_device, fast_precision
from vidlib.muon import Muon
from vidlib.tensors import content_hash, first_mismatch, first_not_finite, tensors_to_bytes
from vidlib.video import Clips, as_clips, check_model, check_prediction, device_of, float_batch

OPTIMIZERS = ("adam", "adamw", "muon")
SCHEDULES = ("onecycle", "constant")
_CHECK_EVERY = 20  # steps between looks at the loss: reading it makes a GPU wait
_FORMAT = 2  # of checkpoint.pt
_WHY_THE_SAME = {  # what to do where a resumed run differs
    "epochs": "a one-cycle schedule ends with its last epoch; only schedule='constant' can be made longer",
    "train": "these are other clips; resume with the same ones, or choose another folder",
    "validation": "these are other clips; resume with the same ones, or choose another folder",
    "processes": "resume with as many processes, or start another run from its weights",
}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The numbers of a training: a resumed run must have the same.

    Attributes:
        epochs: how many in all.
        clips_per_epoch: training clips in an epoch; a last partial batch is left out. ``None``: the whole set.
        batch_size: clips a step, on each process.
        lr: the highest learning rate.
        optimizer: ``"adam"``, ``"adamw"``, or ``"muon"``: :class:`vidlib.muon.Muon` for what :func:`muon_matrices`
            names, AdamW with a tenth of ``lr`` for the rest.
        weight_decay: of AdamW and Muon, as a share of ``lr``.
        schedule: ``"onecycle"``: OneCycleLR (Smith & Topin 2017, arXiv 1708.07120), which rises and falls over exactly
            ``epochs``. ``"constant"``: rise, stay, and fall over the last part (Hägele et al. 2024, arXiv 2405.18392);
            such a run can be resumed with more epochs.
        warmup: how long the learning rate rises. In ``"onecycle"``, the share of all steps, at most 1. In
            ``"constant"``, epochs or a part of one: so a run that was made longer and one that was planned so are the
            same.
        cooldown: share of the steps in which a constant learning rate falls to nothing at the end.
        clip_norm: highest norm of the gradient.
        ema: decay of the moving average of the weights; 0 for none.

    Raises:
        ValueError: a number out of range, or a name that is none.
    """

    epochs: int
    clips_per_epoch: int | None = None
    batch_size: int = 16
    lr: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    warmup: float = 0.1
    cooldown: float = 0.2
    clip_norm: float = 1.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs, batch_size=self.batch_size)
        if self.clips_per_epoch is not None:
            check_counts(clips_per_epoch=self.clips_per_epoch)
        check_choice(OPTIMIZERS, optimizer=self.optimizer)
        check_choice(SCHEDULES, schedule=self.schedule)
        check_numbers(0, open=True, lr=self.lr, clip_norm=self.clip_norm)
        check_numbers(0, weight_decay=self.weight_decay, warmup=self.warmup)
        check_numbers(0, 1, cooldown=self.cooldown, ema=self.ema)
        if self.schedule == "onecycle":
            check_numbers(0, 1, warmup=self.warmup)
        if self.ema == 1:
            raise ValueError(f"ema is {self.ema}, expected a number below 1: the average would stay as it began.")


def fit(
    model: nn.Module,
    train,
    validation,
    *,
    out: str | Path,
    settings: TrainSettings | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    precision: str = "auto",
    device: str | torch.device | None = None,
    compile: bool = False,
    resume: bool = False,
    progress: bool | type[tqdm] = True,
    on_epoch: Callable[[nn.Module, dict[str, float]], None] | None = None,
    facts: Mapping[str, Any] | None = None,
    **numbers: Any,
) -> History:
    """Train ``model`` to continue clips; on return it holds the averaged weights of its best validation epoch.

    Epoch e reads the clips ``e·clips_per_epoch …`` of ``train``, from the beginning again where they end.

    Args:
        model: ``past (B, past, C, H, W)`` to ``future (B, horizon, C, H, W)``, see :class:`vidlib.video.Model`.
        train, validation: :class:`vidlib.MovingMNIST`, or anything that :func:`vidlib.video.as_clips` takes.
        out: folder for ``checkpoint.pt``, and for ``best.safetensors`` and ``history.csv``, which follow from it.
        settings: the numbers of the training.
        loss: of (prediction, truth) to a scalar.
        precision: ``"no"``, ``"bf16"``, ``"fp16"``; ``"auto"`` is bf16 on a GPU or CPU with units for it.
        device: where to train; ``None`` is the accelerator of this machine, else the CPU.
        compile: whether to compile the model first.
        resume: go on from ``out/checkpoint.pt``; a new folder simply starts.
        progress: whether to draw a bar; or the kind of tqdm that draws it.
        on_epoch: called after each epoch with the averaged model and the row of the history.
        facts: JSON values to be kept with each checkpoint, and to stand in ``out/run.json``.
        numbers: single :class:`TrainSettings`, as in ``epochs=3, lr=2e-3``; stronger than ``settings``.

    Returns:
        one row per epoch: epoch, steps, clips, lr, train_loss (times the pixels of a frame, so an MSE reads as MSE per
        frame), validation_mse (per frame), seconds, clips_per_second.

    Raises:
        ValueError: an argument out of range, or a checkpoint of another run.
        OSError: the checkpoint is there and cannot be read, or a file could not be written.
        RuntimeError: the folder is in use or holds a run that ``resume`` does not ask for; the loss is not finite; the
            device's memory is too small; the checkpoint is damaged.
    """
    settings = _settings(settings, numbers)
    train, validation = as_clips(train, "the training set"), as_clips(validation, "the validation set")
    _check_arguments(model, train, validation, loss, on_epoch, facts)
    check_choice(PRECISIONS, precision=precision)
    check_flags(compile=compile, resume=resume)
    if not (isinstance(progress, type) and issubclass(progress, std_tqdm)):
        check_flags(progress=progress)
    out, accelerator = user_path(out), _accelerator(precision, choose_device(device))
    with only_writer(out, "training") if accelerator.is_main_process else nullcontext():
        run = _Run(model, train, validation, loss, settings, accelerator, compile)
        if found := _checkpoint_to_resume(out, resume):
            run.load(found, out)
        with run.bar(progress) as bar:
            while len(run.history) < settings.epochs:
                run.end_epoch(run.epoch(bar, out), bar, facts)
                run.save(out)
                if on_epoch:
                    on_epoch(run.averaged, run.history[-1])
        accelerator.wait_for_everyone()
        run.give_back_best()
    return run.history


class _Run:
    """What a training changes from step to step: weights, their average, optimisers, learning rates, history."""

    def __init__(
        self,
        model: nn.Module,
        train: Clips,
        validation: Clips,
        loss: Callable,
        settings: TrainSettings,
        accelerator: Accelerator,
        compile: bool,
    ) -> None:
        self.model, self.train, self.validation, self.loss = model, train, validation, loss
        self.settings, self.accelerator = settings, accelerator
        model.to(accelerator.device)
        channels_last(model)
        self.averaged = copy.deepcopy(model).eval()
        self.prepared, self.optimizers = _prepare(accelerator, model, settings, compile)
        clips = len(train) if settings.clips_per_epoch is None else settings.clips_per_epoch
        self.clips_per_step = settings.batch_size * accelerator.num_processes
        self.clips_per_epoch, self.steps_per_epoch = clips, clips // self.clips_per_step
        if not self.steps_per_epoch:
            raise ValueError(
                f"an epoch has {clips} clips for batches of {self.clips_per_step}, expected at least one batch: "
                "make the batch smaller or the epoch longer."
            )
        self.rates = [learning_rates(optimizer, settings, self.steps_per_epoch) for optimizer in self.optimizers]
        self.plan = self._plan()
        self.history: History = []
        self.facts: dict[str, Any] | None = None
        self.best: dict[str, Tensor] = {}

    def bar(self, progress: bool | type[tqdm]) -> tqdm:
        """Counts clips from the first epoch to the last."""
        epoch = self.steps_per_epoch * self.clips_per_step
        kind = tqdm if isinstance(progress, bool) else progress
        return kind(
            total=self.settings.epochs * epoch, initial=len(self.history) * epoch, unit=" clips", unit_scale=True,
            mininterval=1.0, disable=not (progress and self.accelerator.is_main_process),
        )  # fmt: skip

    def epoch(self, bar: tqdm, out: Path) -> dict[str, float]:
        """Train for one epoch and validate; returns its row."""
        number, clips = len(self.history), self.steps_per_epoch * self.clips_per_step
        began, losses, rates = time.perf_counter(), [], []
        self.prepared.train()
        for step in range(number * self.steps_per_epoch, (number + 1) * self.steps_per_epoch):
            rates.append(self.rates[-1].get_last_lr()[0])
            losses.append(self.step(step, number))
            bar.update(self.clips_per_step)
            if len(losses) % _CHECK_EVERY == 0 or len(losses) == self.steps_per_epoch:
                recent = losses[(len(losses) - 1) // _CHECK_EVERY * _CHECK_EVERY :]
                # every process has seen its own clips: the mean is the loss of the whole batch
                recent = self.accelerator.reduce(torch.stack(recent).float(), "mean").cpu()
                losses[-len(recent) :] = recent.unbind()
                _must_be_finite(recent, rates[-len(recent) :], step, self.history, out)
                bar.set_postfix(epoch=f"{number + 1}/{self.settings.epochs}", loss=f"{recent.mean():.1f}")
        trained = time.perf_counter() - began
        error = validation_mse(self.averaged, self.validation, batch_size=max(self.settings.batch_size, 16))
        return {
            "epoch": number + 1,
            "steps": (number + 1) * self.steps_per_epoch,
            "clips": (number + 1) * clips,
            "lr": rates[-1],
            "train_loss": sum(loss.item() for loss in losses) / len(losses),
            "validation_mse": error,
            "seconds": time.perf_counter() - began,
            "clips_per_second": clips / trained,
        }

    def step(self, number: int, epoch: int) -> Tensor:
        """One step of the optimisers; returns the loss times the pixels of a frame."""
        size, accelerator = self.settings.batch_size, self.accelerator
        within = (number - epoch * self.steps_per_epoch) * self.clips_per_step + accelerator.process_index * size
        first = epoch * self.clips_per_epoch + within
        past, future = _pair(self.train, range(first, first + size), self.model, accelerator.device)
        try:
            with accelerator.autocast():
                prediction = self.prepared(past)
                if number == 0:
                    check_prediction(prediction, self.model, past)
                value = self.loss(prediction, future)
                if number == 0:
                    _check_loss(value)
            accelerator.backward(value)
        except torch.OutOfMemoryError:
            value = None  # and out of this block, whose traceback holds the memory of the step
        if value is None:
            fits = _batch_that_fits(accelerator, self.prepared, self.loss, past, future)
            smaller = f"batch_size={fits}, which fits" if fits else "a smaller model"
            raise RuntimeError(f"The device's memory is too small for batches of {size} clips: try {smaller}.")
        accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        _average(self.averaged, self.model, self.settings.ema, number)
        return value.detach() * future[0, 0].numel()

    def end_epoch(self, row: dict[str, float], bar: tqdm, facts: Mapping[str, Any] | None) -> None:
        """Add the row; keep the average if it is the best so far."""
        bad = None if math.isfinite(row["validation_mse"]) else "The validation error"
        for model in (self.model, self.averaged):
            if name := first_not_finite(dict(model.named_parameters())):
                bad = name
        if bad:
            raise RuntimeError(
                f"{bad} is not finite after epoch {row['epoch']}: start again with a lower learning rate in another "
                "folder."
            )
        bar.set_postfix(epoch=f"{row['epoch']}/{self.settings.epochs}", validation_mse=f"{row['validation_mse']:.1f}")
        self.history.append(row)
        self.facts = None if facts is None else json.loads(json.dumps(dict(facts)))  # as it will be read
        if best_row(self.history) is row:
            self.best = {key: value.detach().to("cpu", copy=True) for key, value in self.averaged.state_dict().items()}

    def parts(self) -> dict[str, Any]:
        """What has a state of its own, by the name under which a checkpoint keeps it."""
        found = {"model": self.model, "averaged": self.averaged}
        for i, (optimizer, rate) in enumerate(zip(self.optimizers, self.rates, strict=True)):
            found |= {f"optimizer{i}": optimizer, f"schedule{i}": rate}
        return found

    def _plan(self) -> dict[str, Any]:
        """What must be the same in a resumed run: numbers, model, and the content of the clips, wherever they lie."""
        name = getattr(self.loss, "__name__", type(self.loss).__name__)
        return {
            **dataclasses.asdict(self.settings),
            "clips_per_epoch": self.clips_per_epoch,
            "processes": self.accelerator.num_processes,
            "model": type(self.model).__name__,
            "config": json.dumps(getattr(self.model, "config", None), sort_keys=True, default=str),
            "frozen": [key for key, weight in self.model.named_parameters() if not weight.requires_grad],
            "train": self.train.fingerprint(),
            "validation": f"{len(self.validation)} clips {self.validation.fingerprint()}",
            "loss": self.loss.describe() if hasattr(self.loss, "describe") else name,
        }

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint keeps."""
        return {name: part.state_dict() for name, part in self.parts().items()} | {
            "format": _FORMAT, "plan": self.plan, "history": self.history, "best": self.best, "facts": self.facts,
            "random": _random_states(self.accelerator.device),
        }  # fmt: skip

    def save(self, out: Path) -> None:
        """Commit this epoch: one file, replaced whole. What follows from it is written afterwards."""
        if self.accelerator.is_main_process:
            state = self.state()
            with atomic_write(out / "checkpoint.pt") as file:
                torch.save(state | {"sha256": content_hash(state)}, file)
            self.write_what_follows(out)

    def load(self, saved: dict[str, Any], out: Path) -> None:
        """Go on where a checkpoint was written."""
        file, was = out / "checkpoint.pt", saved["plan"]
        longer = self.settings.schedule == was["schedule"] == "constant"
        for key, value in self.plan.items():
            if was.get(key) == value or (key == "epochs" and longer):
                continue
            hint = _WHY_THE_SAME.get(key, "resume with the same settings, or choose another folder")
            raise ValueError(f"{file} belongs to a run with {key}={was.get(key)!r}, this one has {value!r}: {hint}.")
        if len(saved["history"]) > self.settings.epochs:
            raise ValueError(
                f"{out} has been trained for {len(saved['history'])} epochs, expected at most epochs="
                f"{self.settings.epochs}: ask for more epochs, or choose another folder."
            )
        for part in ("model", "averaged", "best"):
            if wrong := first_mismatch(self.model.state_dict(), saved[part]):
                raise ValueError(
                    f"{file} belongs to another model: {wrong}; resume with the same model, or choose another folder."
                )
        for name, part in self.parts().items():
            part.load_state_dict(saved[name])
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            if isinstance(rate, LambdaLR):  # a run that was made longer has another rate at this very step
                rate._last_lr = [
                    base * share(rate.last_epoch) for base, share in zip(rate.base_lrs, rate.lr_lambdas, strict=True)
                ]
                for group, lr in zip(optimizer.param_groups, rate._last_lr, strict=True):
                    group["lr"] = lr
        _set_random_states(saved["random"])
        self.history, self.best, self.facts = saved["history"], saved["best"], saved["facts"]
        if self.accelerator.is_main_process:
            self.write_what_follows(out)  # a kill may have come between two files

    def write_what_follows(self, out: Path) -> None:
        """Best weights, history and facts, for whoever reads the folder without torch's checkpoint.

        ``run.json`` comes last: it has the hashes of the other two, and its own.
        """
        epoch, config = best_row(self.history)["epoch"], json.loads(self.plan["config"])
        buffers = [name for name, _ in self.model.named_buffers()]
        header = {"epoch": epoch, "model": self.plan["model"], "config": config, "buffers": buffers}
        with atomic_write(out / "best.safetensors") as file:
            file.write_bytes(tensors_to_bytes(self.best, header))
        write_history(self.history, out / "history.csv")
        if self.facts is not None:
            facts = self.facts | {"files": {name: sha256(out / name) for name in ("best.safetensors", "history.csv")}}
            with atomic_write(out / "run.json") as file:
                file.write_text(json.dumps(facts | {"sha256": content_hash(facts)}, indent=1), encoding="utf-8")

    def give_back_best(self) -> None:
        """Leave the model with the best weights, as its owner knows it."""
        for name in ("forward", "_original_forward"):  # Accelerate's, in bf16, would stay before the class's own
            vars(self.model).pop(name, None)
        self.model.load_state_dict(self.best)
        self.model.eval()


def learning_rates(optimizer: torch.optim.Optimizer, settings: TrainSettings, steps_per_epoch: int) -> LRScheduler:
    """The learning rate of every step, see :class:`TrainSettings`."""
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "onecycle":
        # OneCycleLR wants at least one step of rise, also where a demonstration has only three steps
        share, highest = min(max(settings.warmup, 1.5 / total), 0.9), optimizer.param_groups[0]["lr"]
        return OneCycleLR(optimizer, highest, total_steps=total, pct_start=share, cycle_momentum=False)
    rise = max(settings.warmup * steps_per_epoch, 1.0)  # steps
    return LambdaLR(optimizer, lambda step: constant_share(step, total, rise, settings.cooldown))


def constant_share(step: int, total: int, rise: float, cooldown: float) -> float:
    """The constant schedule's learning rate at a step, as a share of the highest: rise, stay, fall.

    The fall is 1 − √(share of the fall that is over) (Hägele et al. 2024, arXiv 2405.18392, section 3.2).

    Args:
        step: counted from 0.
        total: steps of the whole training.
        rise: steps until the highest rate is reached.
        cooldown: share of ``total`` in which it falls.

    >>> [round(constant_share(step, 10, 2, 0.4), 2) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.29, 0.13]
    """
    falling = (step - total * (1 - cooldown)) / (total * cooldown) if cooldown else 0.0
    return min((step + 1) / rise, 1.0, 1 - max(0.0, min(falling, 1.0)) ** 0.5)


def best_row(history: History) -> dict[str, float]:
    """The epoch whose weights are kept: the first with the lowest validation error."""
    return min(history, key=lambda row: row["validation_mse"])


def validation_mse(model: nn.Module, clips, *, batch_size: int = 16) -> float:
    """MSE per frame over all of ``clips``, on the device where the model is; the model should be in eval mode."""
    return mse_by_clip(model, clips, batch_size=batch_size).mean().item()


def mse_by_clip(model: nn.Module, clips, *, batch_size: int = 16) -> Tensor:
    """MSE per frame of each clip, ``(clips,)`` on the CPU; see :func:`validation_mse`."""
    clips, device, errors = as_clips(clips), device_of(model), []
    with torch.inference_mode():
        for start in range(0, len(clips), batch_size):
            past, future = _pair(clips, range(start, min(start + batch_size, len(clips))), model, device)
            prediction = model(past)
            check_prediction(prediction, model, past)
            errors.append((prediction - future).square().sum((2, 3, 4)).mean(1))
    return torch.cat(errors).cpu()


def muon_matrices(model: nn.Module) -> dict[int, list[Tensor]]:
    """What Muon trains, by how many matrices a parameter stacks.

    A model says it itself with ``matrices()``; of another, every linear layer is one matrix. Biases, norms, embeddings
    and the filters next to the pixels are no matrices: they stay with AdamW.
    """
    if hasattr(model, "matrices"):
        return model.matrices()
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    return {1: list(dict.fromkeys(weights))}  # a weight that two layers share is one matrix


def read_checkpoint(out: str | Path) -> dict[str, Any] | None:
    """The checkpoint in a training's folder, verified; ``None`` where there is none.

    Raises:
        OSError: it is there and cannot be read, which says nothing of its contents.
        RuntimeError: it is truncated or changed.
        ValueError: it is whole, and another version of this package or another program wrote it.
    """
    file = user_path(out) / "checkpoint.pt"
    try:
        data = io.BytesIO(read_whole(file))
    except FileNotFoundError:
        return None
    damaged = f"{file} is truncated or changed: start again in another folder, or delete it."
    try:
        check_zip(data)
    except zipfile.BadZipFile as error:
        raise RuntimeError(damaged) from error
    foreign = f"{file} is whole, but no checkpoint of this version of the package: "
    foreign += "go on with the version that wrote it, or choose another folder."
    data.seek(0)
    try:
        saved = torch.load(data, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # all bytes are as they were written, so what is wrong is who wrote them
        raise ValueError(foreign) from error
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise ValueError(foreign)
    if saved.pop("sha256", None) != content_hash(saved):
        raise RuntimeError(damaged)
    return saved


def _checkpoint_to_resume(out: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint if the training goes on; ``None`` if it begins, in a folder that holds none."""
    if not resume and (out / "checkpoint.pt").exists():
        raise RuntimeError(f"{out} holds a training already: go on with resume=True, or choose another folder.")
    found = read_checkpoint(out)
    if not found and (out / "best.safetensors").exists():
        raise RuntimeError(
            f"{out} holds the weights of a training whose checkpoint.pt is not there: choose another folder, and start "
            "from these weights."
        )
    return found


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Of the CPU's generator and the device's: a model may draw, as dropout does."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _set_random_states(states: Mapping[str, Tensor]) -> None:
    here = torch.accelerator.current_accelerator(check_available=True)
    torch.set_rng_state(states["cpu"])
    if here and here.type in states:
        torch.get_device_module(here).set_rng_state(states[here.type])


def _settings(settings: TrainSettings | None, numbers: Mapping[str, Any]) -> TrainSettings:
    """The settings, with single numbers changed."""
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    if not isinstance(settings, TrainSettings | None):
        raise ValueError(f"settings is a {type(settings).__name__}, expected TrainSettings(epochs=…).")
    if unknown := [name for name in numbers if name not in names]:
        raise ValueError(f"{unknown[0]!r} is no setting of a training, {did_you_mean(unknown[0], names)}")
    given = {} if settings is None else {name: getattr(settings, name) for name in names}
    if "epochs" not in (given := given | numbers):
        raise ValueError("epochs is missing, expected a whole number: say how long to train, as in epochs=3.")
    return TrainSettings(**given)


def _check_arguments(model, train: Clips, validation: Clips, loss, on_epoch, facts) -> None:
    check_model(model)
    kind, weights = type(model).__name__, dict(model.named_parameters())
    if not callable(loss):
        raise ValueError(f"loss is {loss!r}, expected a function of prediction and truth.")
    if on_epoch is not None and not callable(on_epoch):
        raise ValueError(f"on_epoch is {on_epoch!r}, expected a function of the model and the row of an epoch.")
    if not any(weight.requires_grad for weight in weights.values()):
        raise ValueError(f"{kind} has no weights to train, expected at least one parameter.")
    for name, weight in weights.items():
        if weight.requires_grad and weight.dtype not in (torch.float32, torch.complex64):
            raise ValueError(
                f"{kind} has weights in {weight.dtype} ({name}), expected torch.float32: call model.float() first; "
                "precision='bf16' computes faster in bf16."
            )
        if any(stride == 0 and size > 1 for stride, size in zip(weight.stride(), weight.shape, strict=True)):
            raise ValueError(f"{name} of {kind} is an expanded tensor, expected memory of its own: clone() it.")
    if bad := first_not_finite(weights):
        raise ValueError(f"{bad} of {kind} holds NaN or infinity before the training, expected numbers.")
    try:
        json.dumps(None if facts is None else dict(facts))
    except (TypeError, ValueError) as error:
        raise ValueError(f"facts are {facts!r}, expected a dictionary of JSON values.") from error
    for clips in (train, validation):
        _pair(clips, range(1), model, torch.device("cpu"))  # a mistake in them costs no epoch


def _check_loss(value: Any) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        came = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        if isinstance(value, Tensor) and value.numel() == 1:
            came = "a number that does not depend on the weights"
        raise ValueError(f"loss returned {came}, expected one number as a tensor that the weights can learn from.")


def _pair(clips: Clips, indices: range, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Past and future of these clips, counted on from the first where the set ends."""
    video = float_batch(clips, [i % len(clips) for i in indices], model.past + model.horizon, device)
    return video[:, : model.past], video[:, model.past :]


def channels_last(model: nn.Module) -> None:
    """Give filters over pictures their fastest layout, as :func:`fit` does; a model may have other filters."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)


def _batch_that_fits(accelerator: Accelerator, model: nn.Module, loss, past: Tensor, future: Tensor) -> int:
    """Half, a quarter ... of a batch that was too large: the first that fits, or 0."""
    size = len(past) // 2
    while size:
        try:
            with accelerator.autocast():
                value = loss(model(past[:size]), future[:size])
            accelerator.backward(value)
            break
        except torch.OutOfMemoryError:
            value = None
            size //= 2
    return size


def _prepare(
    accelerator: Accelerator, model: nn.Module, settings: TrainSettings, compile: bool
) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    """The model as Accelerate calls it, and its optimisers."""
    lr, decay = settings.lr, settings.weight_decay
    stacks = {n: found for n, found in muon_matrices(model).items() if found} if settings.optimizer == "muon" else {}
    taken = {id(matrix) for stack in stacks.values() for matrix in stack}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    # Muon's step is a tenth as far per entry of a 100×100 matrix as its learning rate says, AdamW's as far as it says
    optimizers = [kind(rest, lr=lr / 10 if stacks else lr, weight_decay=decay)] if rest else []
    if stacks:
        groups = [{"params": matrices, "stacked": number} for number, matrices in stacks.items()]
        optimizers.append(Muon(groups, lr=lr, weight_decay=decay))
    prepared, *optimizers = accelerator.prepare(compiled(model) if compile else model, *optimizers)
    return prepared, optimizers


def compiled(model: nn.Module) -> nn.Module:
    """The model as :func:`fit` compiles it."""
    # Inductor would spread the layout of a convolution's input to every 4-D tensor on the way there: a transformer's
    # tokens would lie with their features apart, and each of its norms would sum across memory
    return torch.compile(model, options={"layout_optimization": False})


def _average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    # the average must not remember the random start: short runs get a short memory
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(averaged.parameters(), model.parameters(), strict=True))
    trained = [pair for pair in pairs if pair[1].requires_grad]
    with torch.no_grad():
        torch._foreach_lerp_([mean for mean, _ in trained], [now for _, now in trained], 1 - decay)
        for mean, now in zip(averaged.buffers(), model.buffers(), strict=True):
            mean.copy_(now)


def _must_be_finite(losses: Tensor, rates: list[float], last_step: int, history: History, out: Path) -> None:
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        first = int(bad[0, 0])
        good = "there is no checkpoint yet"
        if history:
            good = f"the last good checkpoint is {out / 'checkpoint.pt'}, after epoch {history[-1]['epoch']}"
        raise RuntimeError(
            f"The loss is {losses[first].item()} at step {last_step - len(losses) + first + 2:,} with learning rate "
            f"{rates[first]:.2e}: start again with a lower one in another folder; {good}."
        )


def _accelerator(precision: str, device: torch.device) -> Accelerator:
    if PartialState._shared_state and PartialState().num_processes == 1:
        # Accelerate keeps device and precision for the process, but a notebook may train twice and differently
        AcceleratorState._reset_state(reset_partial_state=True)
    if device.index:
        raise ValueError(
            f"device is {device}, expected {device.type}: choose one of several with CUDA_VISIBLE_DEVICES."
        )
    precision = fast_precision(device) if precision == "auto" else precision
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")
