"""Training: one plain loop on 🤗 Accelerate, which brings it to any device, precision or number of GPUs.

What a run needs to go on after it was killed is one file, replaced whole after each epoch; because clip ``i`` is a
function of its index, the position in the data is the step number, and a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

from vidlib.files import atomic_write
from vidlib.muon import Muon
from vidlib.video import check_counts, float_batch

OPTIMIZERS = ("adam", "adamw", "muon")
PRECISIONS = ("auto", "no", "bf16", "fp16")
COUNTS = ("epoch", "steps", "clips")  # columns of a history that are whole numbers
History = list[dict[str, float]]
_CHECK_EVERY = 20  # steps between looks at the loss: reading it makes a GPU wait


def fit(
    model: nn.Module,
    train,
    validation,
    *,
    out: str | Path,
    epochs: int,
    clips_per_epoch: int | None = None,
    batch_size: int = 16,
    lr: float = 1e-3,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    warmup: float = 0.1,
    clip_norm: float = 1.0,
    ema: float = 0.999,
    precision: str = "auto",
    device: str | torch.device | None = None,
    compile: bool = False,
    resume: bool = False,
    progress: bool = True,
    on_epoch: Callable[[nn.Module, dict[str, float]], None] | None = None,
) -> History:
    """Train ``model`` to continue clips; on return it holds the averaged weights of its best validation epoch.

    Epoch e reads the clips ``e·clips_per_epoch …`` of ``train``, from the beginning again where they end.

    Args:
        model: ``past (B, past, C, H, W)`` to ``future (B, horizon, C, H, W)``.
        train, validation: :class:`vidlib.MovingMNIST`, or sequences of ``(T, C, H, W)`` uint8 clips.
        out: folder for ``checkpoint.pt``, ``best.safetensors`` and ``history.csv``.
        epochs: the learning rate falls to nothing at the end of the last one.
        clips_per_epoch: a multiple of nothing in particular; a last partial batch is left out. Default ``len(train)``.
        batch_size: clips a step, on each process.
        lr: highest learning rate of OneCycleLR (Smith & Topin 2017, arXiv 1708.07120).
        optimizer: ``"adam"``, ``"adamw"``, or ``"muon"``: :class:`vidlib.muon.Muon` for linear layers and the
            filters of gates, AdamW with a tenth of ``lr`` for the rest.
        loss: of (prediction, truth) to a scalar.
        warmup: share of the steps in which the learning rate rises.
        clip_norm: highest norm of the gradient.
        ema: decay of the moving average of the weights; 0 for none.
        precision: ``"no"``, ``"bf16"``, ``"fp16"``; ``"auto"`` is bf16 on a GPU or CPU with matrix units for it.
        device: ``"cpu"`` to stay off an accelerator that is there.
        compile: whether to compile the model first.
        resume: go on from ``out/checkpoint.pt``; a new folder simply starts.
        progress: whether to draw a bar.
        on_epoch: called after each epoch with the averaged model and the row of the history.

    Returns:
        one row per epoch: epoch, steps, clips, lr, train_loss (times the pixels of a frame, so an MSE reads as MSE per
        frame), validation_mse (per frame), seconds, clips_per_second.

    Raises:
        ValueError: an argument out of range, or a checkpoint of another run.
        RuntimeError: the folder is in use or holds a run that ``resume`` does not ask for; the loss is not finite; the
            device's memory is too small; the checkpoint is damaged.
    """
    _check_settings(train, validation, optimizer, precision, lr, weight_decay, warmup, clip_norm, ema)
    clips_per_epoch = len(train) if clips_per_epoch is None else clips_per_epoch
    check_counts(epochs=epochs, batch_size=batch_size, clips_per_epoch=clips_per_epoch)
    accelerator = _accelerator(precision, device)
    world = batch_size * accelerator.num_processes
    steps_per_epoch = clips_per_epoch // world
    if steps_per_epoch < 1:
        raise ValueError(
            f"an epoch has {clips_per_epoch} clips for batches of {world}, expected at least one batch: "
            "make the batch smaller or the epoch longer."
        )
    _pair(validation, range(1), model, torch.device("cpu"))  # a mistake in them costs no epoch
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with _only_training_in(out, accelerator.is_main_process):
        model.to(device=accelerator.device, memory_format=torch.channels_last)
        averaged = copy.deepcopy(model).eval()
        prepared, optimizers = _prepare(accelerator, model, optimizer, lr, weight_decay, compile)
        total = epochs * steps_per_epoch
        # OneCycleLR wants at least one step of rise, also where a demonstration has only three steps
        rise = min(max(warmup, 1.5 / total), 0.9)
        schedules = [
            OneCycleLR(o, o.param_groups[0]["lr"], total_steps=total, pct_start=rise, cycle_momentum=False)
            for o in optimizers
        ]
        plan = {
            "epochs": epochs, "clips_per_epoch": clips_per_epoch, "batch_size": batch_size, "lr": lr,
            "optimizer": optimizer, "weight_decay": weight_decay, "warmup": warmup, "clip_norm": clip_norm, "ema": ema,
            "model": type(model).__name__, "config": json.dumps(getattr(model, "config", None), sort_keys=True),
            "train": _describe(train), "loss": _describe_loss(loss),
        }  # fmt: skip
        parts = {"model": model, "averaged": averaged}
        for i, (opt, schedule) in enumerate(zip(optimizers, schedules, strict=True)):
            parts |= {f"optimizer{i}": opt, f"schedule{i}": schedule}
        history = _resume(out, parts, plan) if resume else _start(out)
        frame = None
        bar = tqdm(
            total=total * world,
            initial=len(history) * steps_per_epoch * world,
            unit=" clips",
            unit_scale=True,
            mininterval=1.0,
            disable=not (progress and accelerator.is_main_process),
        )
        for epoch in range(len(history), epochs):
            began, losses, rates = time.perf_counter(), [], []
            prepared.train()
            for step in range(steps_per_epoch):
                first = epoch * clips_per_epoch + step * world + accelerator.process_index * batch_size
                past, future = _pair(train, range(first, first + batch_size), model, accelerator.device)
                frame = frame or future[0, 0].numel()
                try:
                    with accelerator.autocast():
                        value = loss(prepared(past), future)
                    accelerator.backward(value)
                except torch.OutOfMemoryError:
                    value = None  # and out of this block, whose traceback holds the memory of the step
                if value is None:
                    fits = _batch_that_fits(accelerator, prepared, loss, past, future)
                    smaller = f"batch_size={fits}, which fits" if fits else "a smaller model"
                    raise RuntimeError(
                        f"The device's memory is too small for batches of {batch_size} clips: try {smaller}."
                    )
                accelerator.clip_grad_norm_(model.parameters(), clip_norm)
                rates.append(schedules[-1].get_last_lr()[0])
                for opt, schedule in zip(optimizers, schedules, strict=True):
                    opt.step()
                    schedule.step()
                    opt.zero_grad()
                _average(averaged, model, ema, epoch * steps_per_epoch + step)
                losses.append(value.detach() * frame)
                bar.update(world)
                if len(losses) % _CHECK_EVERY == 0 or step + 1 == steps_per_epoch:
                    recent = torch.stack(losses[-_CHECK_EVERY:]).float()
                    _must_be_finite(recent, rates[-_CHECK_EVERY:], epoch * steps_per_epoch + step, history, out)
                    bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", loss=f"{recent.mean():.1f}")
            trained = time.perf_counter() - began
            row = {
                "epoch": epoch + 1,
                "steps": (epoch + 1) * steps_per_epoch,
                "clips": (epoch + 1) * steps_per_epoch * world,
                "lr": rates[-1],
                "train_loss": torch.stack(losses).double().mean().item(),
                "validation_mse": validation_mse(averaged, validation, batch_size=max(batch_size, 16)),
                "seconds": time.perf_counter() - began,
                "clips_per_second": steps_per_epoch * world / trained,
            }
            history.append(row)
            bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", validation_mse=f"{row['validation_mse']:.1f}")
            if accelerator.is_main_process:
                if row["validation_mse"] <= min(r["validation_mse"] for r in history):
                    with atomic_write(out / "best.safetensors") as file:
                        save_file({k: v.contiguous() for k, v in averaged.state_dict().items()}, file)
                _checkpoint(out, parts, plan, history)
            if on_epoch:
                on_epoch(averaged, row)
        bar.close()
        accelerator.wait_for_everyone()
        for name in ("forward", "_original_forward"):  # Accelerate's, in bf16, would stay before the class's own
            vars(model).pop(name, None)
        _load_best(model, out)
    return history


def validation_mse(model: nn.Module, clips, *, batch_size: int = 16) -> float:
    """MSE per frame over all of ``clips``, on the device where the model is; the model should be in eval mode."""
    device = next(model.parameters()).device
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(clips), batch_size):
            past, future = _pair(clips, range(start, min(start + batch_size, len(clips))), model, device)
            total += F.mse_loss(model(past), future).item() * future[0, 0].numel() * len(past)
    return total / len(clips)


def read_history(file: str | Path) -> History:
    """A ``history.csv`` as :func:`fit` returns it."""
    with Path(file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [{name: int(text) if name in COUNTS else float(text) for name, text in row.items()} for row in rows]


def write_history(history: History, file: str | Path) -> None:
    """Write what :func:`read_history` reads."""
    with Path(file).open("w", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def _check_settings(train, validation, optimizer, precision, lr, weight_decay, warmup, clip_norm, ema) -> None:
    for name, value, known in (("optimizer", optimizer, OPTIMIZERS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}.")
    for name, value, fits, expected in (
        ("lr", lr, lr > 0, "above 0"),
        ("weight_decay", weight_decay, weight_decay >= 0, "at least 0"),
        ("warmup", warmup, 0 <= warmup <= 1, "from 0 to 1"),
        ("clip_norm", clip_norm, clip_norm > 0, "above 0"),
        ("ema", ema, 0 <= ema < 1, "at least 0 and below 1"),
    ):
        if not fits:
            raise ValueError(f"{name} is {value}, expected a number {expected}.")
    for name, clips in (("training", train), ("validation", validation)):
        if len(clips) == 0:
            raise ValueError(f"the {name} set is empty, expected at least one clip.")


def _pair(clips, indices: range, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Past and future of these clips, counted on from the first where the set ends."""
    video = float_batch(clips, [i % len(clips) for i in indices], model.past + model.horizon, device)
    return video[:, : model.past], video[:, model.past :]


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
    accelerator: Accelerator, model: nn.Module, name: str, lr: float, decay: float, compiled: bool
) -> tuple[nn.Module, list]:
    stacks = _matrices(model) if name == "muon" else {}
    taken = {id(matrix) for stack in stacks.values() for matrix in stack}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    # Muon's step is a tenth as far per entry of a 100×100 matrix as its learning rate says, AdamW's as far as it says
    optimizers = [kind(rest, lr=lr / 10 if stacks else lr, weight_decay=decay)]
    if stacks:
        groups = [{"params": matrices, "stacked": number} for number, matrices in stacks.items()]
        optimizers.append(Muon(groups, lr=lr, weight_decay=decay))
    prepared, *optimizers = accelerator.prepare(torch.compile(model) if compiled else model, *optimizers)
    return prepared, optimizers


def _matrices(model: nn.Module) -> dict[int, list[Tensor]]:
    """What Muon trains, by how many matrices a parameter stacks: linear layers, and the filters of gates.

    Biases, norms, embeddings and the filters next to the pixels stay with AdamW.
    """
    found: dict[int, list[Tensor]] = {}
    for module in model.modules():
        if stacked := getattr(module, "stacked", int(isinstance(module, nn.Linear))):
            found.setdefault(stacked, []).append(module.weight)
    return found


def _average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    # the average must not remember the random start: short runs get a short memory
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
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


def _start(out: Path) -> History:
    if (out / "checkpoint.pt").exists():
        raise RuntimeError(f"{out} holds a training already: go on with resume=True, or choose another folder.")
    return []


def _resume(out: Path, parts: dict, plan: dict) -> History:
    file = out / "checkpoint.pt"
    if not file.exists():
        return []
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()  # torch.load does not compare the checksums that torch.save wrote
        if damaged:
            raise zipfile.BadZipFile(damaged)
        saved = torch.load(file, map_location="cpu", weights_only=True)
        for name in (*parts, "plan", "history", "random"):
            saved[name]
    except Exception as error:
        raise RuntimeError(f"{file} is truncated or changed: start again in another folder, or delete it.") from error
    for key, value in plan.items():
        if saved["plan"].get(key) != value:
            raise ValueError(
                f"{file} belongs to a run with {key}={saved['plan'].get(key)!r}, this one has {value!r}: "
                "resume with the same recipe, or choose another folder."
            )
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    torch.set_rng_state(saved["random"])
    return saved["history"]


def _checkpoint(out: Path, parts: dict, plan: dict, history: History) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    with atomic_write(out / "checkpoint.pt") as file:
        torch.save(state | {"plan": plan, "history": history, "random": torch.get_rng_state()}, file)
    with atomic_write(out / "history.csv") as file:
        write_history(history, file)


def _load_best(model: nn.Module, out: Path) -> None:
    file = out / "best.safetensors"
    try:
        model.load_state_dict(load_file(file))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RuntimeError(f"{file} is missing, truncated or changed: start again in another folder.") from error
    model.eval()


@contextmanager
def _only_training_in(out: Path, main_process: bool) -> Iterator[None]:
    if not main_process:
        yield
        return
    try:
        # the operating system drops the lock when the process ends, however it ends
        with FileLock(out / "training.lock", timeout=0):
            yield
    except Timeout as error:
        raise RuntimeError(f"Another training writes into {out}: wait for it, or choose another folder.") from error


def _describe_loss(loss: Callable) -> str:
    return loss.describe() if hasattr(loss, "describe") else getattr(loss, "__name__", type(loss).__name__)


def _describe(clips) -> str:
    if not hasattr(clips, "describe"):
        return f"{type(clips).__name__} of {len(clips)} clips"
    return clips.describe() + " " + hashlib.sha256(clips.digits.sha256.encode()).hexdigest()[:8]


def fast_precision(device: str | torch.device | None = None) -> str:
    """What ``precision="auto"`` means there: ``"bf16"`` on a GPU or CPU with matrix units for it, else ``"no"``."""
    if str(device) != "cpu" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    # server CPUs since 2023 multiply bf16 in vector units, twice as fast as float32, or in matrix units (AMX), several
    # times as fast; other CPUs gain nothing
    units = torch.cpu.get_capabilities()
    return "bf16" if units.get("avx512_bf16") or units.get("amx_bf16") else "no"


def _accelerator(precision: str, device: str | torch.device | None) -> Accelerator:
    if PartialState._shared_state and PartialState().num_processes == 1:
        # Accelerate keeps device and precision for the process, but a notebook may train twice and differently
        AcceleratorState._reset_state(reset_partial_state=True)
    if precision == "auto":
        precision = fast_precision(device)
    return Accelerator(mixed_precision=precision, cpu=str(device) == "cpu")
