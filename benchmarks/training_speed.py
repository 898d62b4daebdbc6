"""A whole training step (forward, loss, backward, clipping, optimiser): what each optimisation buys.

Each row is the reference of :mod:`benchmarks.reference` with one thing changed, and the last is all of them, with the
same weights. The rows take turns, so that all see the same machine.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.data_speed import loop_clip
from benchmarks.reference import ReferenceConvLSTM, reference_transformer
from vidlib import recipes
from vidlib.digits import load_digits
from vidlib.machine import fast_precision, has_compiler
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import float_batch, to_float
from vidlib.weights import load_pretrained, pretrained_names

TITLE = "Training step: what each optimisation buys"
STEPS = 4  # of each turn
ROUNDS = 5
FRAMES = 20


@dataclass(frozen=True)
class Row:
    """One way of taking the step."""

    name: str
    build: Callable[[nn.Module], nn.Module] = lambda model: model
    channels_last: bool = False
    bf16: bool = False
    compile: bool = False
    render: str = ""  # "loop" or "device": make fresh clips in every step; empty: the same batch again


ROWS: dict[str, tuple[Row, ...]] = {  # the first of each is what the others are compared with
    "convlstm": (
        Row("reference", ReferenceConvLSTM),
        Row("reference, zeros as the forecaster's input", lambda model: ReferenceConvLSTM(model, zeros=True)),
        Row("reference, channels_last", ReferenceConvLSTM, channels_last=True),
        Row("input convolutions batched over time"),
        Row("reference, bf16", ReferenceConvLSTM, bf16=True),
        Row("reference, compiled", ReferenceConvLSTM, compile=True),
        Row("reference, clips from a paste loop", ReferenceConvLSTM, render="loop"),
        Row("reference, clips rendered on the device", ReferenceConvLSTM, render="device"),
        Row("vidlib.ConvLSTM, as it is trained", channels_last=True, bf16=True, compile=True, render="device"),
    ),
    "video-transformer": (
        Row("reference", reference_transformer),
        Row("fused attention"),
        Row("reference, bf16", reference_transformer, bf16=True),
        Row("reference, compiled", reference_transformer, compile=True),
        Row("vidlib.VideoTransformer, as it is trained", channels_last=True, bf16=True, compile=True, render="device"),
    ),
}


def rows(name: str, device: torch.device) -> list[Row]:
    """Those that make sense on the device: bf16 where it is fast, compiled models where there is a compiler."""
    *others, last = ROWS[name]
    bf16, compiler = fast_precision(device) == "bf16", has_compiler(device)
    possible = [row for row in others if bf16 >= row.bf16 and compiler >= row.compile]
    return [*possible, dataclasses.replace(last, bf16=bf16, compile=compiler)]


class Step:
    """A training step that can be repeated."""

    def __init__(
        self,
        row: Row,
        model: nn.Module,
        batch_size: int,
        device: torch.device,
        loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    ) -> None:
        self.row, self.size, self.device, self.loss = row, batch_size, device, loss
        self.clips = MovingMNIST(10**9, digits=load_digits("auto", "train"))
        self.position = 0
        layout = torch.channels_last if row.channels_last else torch.contiguous_format
        self.model = row.build(copy.deepcopy(model)).to(device, memory_format=layout).train()
        self.run = torch.compile(self.model) if row.compile else self.model
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.batch = self.video()

    def video(self) -> Tensor:
        """A batch ``(B, FRAMES, 1, 64, 64)`` of fresh clips."""
        self.position += self.size
        indices = range(self.position - self.size, self.position)
        if self.row.render == "loop":
            return to_float(torch.from_numpy(np.stack([loop_clip(self.clips, i) for i in indices])).to(self.device))
        return float_batch(self.clips, indices, FRAMES, self.device)

    def __call__(self) -> None:
        batch = self.video() if self.row.render else self.batch
        past, future = batch[:, : self.model.past], batch[:, self.model.past :]
        with torch.autocast(self.device.type, torch.bfloat16) if self.row.bf16 else contextlib.nullcontext():
            loss = self.loss(self.run(past), future)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def seconds(step: Callable[[], object], device: torch.device, times: int = STEPS) -> float:
    """Mean seconds of a call."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(times):
        step()
    _wait(device)
    return (time.perf_counter() - start) / times


def take_turns(steps: list[Callable[[], object]], device: torch.device) -> list[list[float]]:
    """Mean seconds of each step's calls, a list for each round: so all see the same machine. Two calls warm up."""
    for step in steps:
        step(), step()
    return [[seconds(step, device) for step in steps] for _ in range(ROUNDS)]


def peak_memory(name: str, index: int, model: nn.Module, batch_size: int, device: torch.device) -> float:
    """GiB that two training steps need at their peak beyond an idle process; NaN where that can't be known."""
    if device.type == "cuda":
        step = Step(rows(name, device)[index], model, batch_size, device)
        torch.cuda.reset_peak_memory_stats()
        step(), step()
        return torch.cuda.max_memory_allocated() / 2**30
    # a process of its own, because the operating system only keeps the highest peak that there ever was
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of_this_process, (name, index, model.config, batch_size))


def _peak_of_this_process(name: str, index: int, config: dict, batch_size: int) -> float:
    cpu = torch.device("cpu")
    step = Step(rows(name, cpu)[index], MODELS[name](**config), batch_size, cpu)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak that importing torch was
    except OSError:
        return math.nan
    before = _kib("VmHWM")
    step(), step()
    return (_kib("VmHWM") - before) / 2**20


def _kib(name: str) -> int:
    """A line of the process's own memory table, in KiB (Linux)."""
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product, the best of several: what the device can do at all."""
    side = 8192 if device.type == "cuda" else 1536
    a = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / min(seconds(lambda: a @ a, device, times=2) for _ in range(8))


def step_flops(step: Step) -> int:
    """FLOPs of the convolutions and matrix products of one training step."""
    with FlopCounterMode(display=False) as counter:
        F.mse_loss(step.model(step.batch[:, : step.model.past]), step.batch[:, step.model.past :]).backward()
    step.optimizer.zero_grad()
    return counter.get_total_flops()


def compare(name: str, model: nn.Module, batch_size: int, device: torch.device) -> list[dict[str, float | str]]:
    """Every row: clips per second, ratio to the reference in the same turns, share of the matmul peak, peak memory."""
    chosen = rows(name, device)
    steps = [Step(row, model, batch_size, device) for row in chosen]
    needed = min(step_flops(step) for step in steps)  # convolving the empty first state is no useful work
    turns = take_turns(steps, device)
    peaks = {
        dtype: matmul_peak(device, dtype) for dtype in {torch.bfloat16 if r.bf16 else torch.float32 for r in chosen}
    }
    table = []
    for index, row in enumerate(chosen):
        taken = statistics.median(turn[index] for turn in turns)
        table.append(
            {
                "row": row.name,
                "clips_per_second": batch_size / taken,
                "ratio": statistics.median(turn[0] / turn[index] for turn in turns),
                "share": needed / taken / peaks[torch.bfloat16 if row.bf16 else torch.float32],
                "memory": peak_memory(name, index, model, batch_size, device),
            }
        )
    return table


def prediction_milliseconds(model: nn.Module, device: torch.device) -> float:
    """Milliseconds for the ten future frames of one clip."""
    past = float_batch(MovingMNIST(1), range(1), FRAMES, device)[:, : model.past]
    model = model.to(device).eval()
    with torch.inference_mode():
        model(past)
        return 1000 * statistics.median(seconds(lambda: model(past), device) for _ in range(ROUNDS))


def main() -> None:
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    for name in ROWS:
        if device.type == "cuda":  # what a GPU is for
            recipe = recipes.recipe(name, "full")
            model, size = recipes.build(recipe), recipe.batch_size
        else:
            model, size = load_pretrained(name), 4
        count = sum(p.numel() for p in model.parameters())
        print(f"\n| {name}: {count:,} parameters, {size} clips in a batch | clips/s | times the reference "
              "| share of the matmul peak | peak memory, GiB |")  # fmt: skip
        print("| --- | --- | --- | --- | --- |")
        for line in compare(name, model, size, device):
            print(
                f"| {line['row']} | {line['clips_per_second']:.1f} | {line['ratio']:.2f} | {line['share']:.0%} | "
                f"{line['memory']:.2f} |"
            )
    print("\n| shipped model | milliseconds for one clip's ten frames |")
    print("| --- | --- |")
    for name in pretrained_names():
        print(f"| {name} | {prediction_milliseconds(load_pretrained(name), device):.0f} |")


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


if __name__ == "__main__":
    main()
