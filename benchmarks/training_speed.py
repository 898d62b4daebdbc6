"""A whole training step (forward, loss, backward, clipping, optimiser): what each optimisation buys.

Each row is the reference of :mod:`benchmarks.reference` with one thing changed, and the last is all of them, with the
same weights. The rows take turns, so that all see the same machine.
"""

from __future__ import annotations

import math
import multiprocessing
import re
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import steps
from benchmarks.reference import ReferenceConvLSTM, reference_transformer
from benchmarks.steps import FRAMES, Row, Step, as_trained, seconds, take_turns
from vidlib import recipes
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import float_batch
from vidlib.weights import load_pretrained, pretrained_names

TITLE = "Training step: what each optimisation buys"

# One optimisation at a time; the first row of each is what the others are compared with. A model of the registry that
# has no rows here is compared with itself, taken plainly.
ROWS: dict[str, tuple[Row, ...]] = {
    "convlstm": (
        Row("reference", ReferenceConvLSTM),
        Row("reference, zeros as the forecaster's input", lambda model: ReferenceConvLSTM(model, zeros=True)),
        Row("reference, channels_last", ReferenceConvLSTM, channels_last=True),
        Row("input convolutions batched over time"),
        Row("reference, bf16", ReferenceConvLSTM, bf16=True),
        Row("reference, compiled", ReferenceConvLSTM, compile=True),
        Row("reference, clips from a paste loop", ReferenceConvLSTM, render="loop"),
        Row("reference, clips rendered on the device", ReferenceConvLSTM, render="device"),
    ),
    "video-transformer": (
        Row("reference", reference_transformer),
        Row("fused attention"),
        Row("reference, bf16", reference_transformer, bf16=True),
        Row("reference, compiled", reference_transformer, compile=True),
    ),
}


def rows(name: str, device: torch.device) -> list[Row]:
    """Those that make sense on the device: bf16 where it is fast, compiled models where there is a compiler."""
    last = as_trained(name, device)
    others = ROWS.get(name, (Row(f"vidlib.{MODELS[name].__name__}"),))
    return [*(row for row in others if last.bf16 >= row.bf16 and last.compile >= row.compile), last]


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
    taken_in_turns = [Step(row, model, batch_size, device) for row in chosen]
    needed = min(step_flops(step) for step in taken_in_turns)  # convolving the empty first state is no useful work
    turns = take_turns(taken_in_turns, device)
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
        return 1000 * statistics.median(seconds(lambda: model(past), device) for _ in range(steps.ROUNDS))


def main() -> None:
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    for name in MODELS:
        recipe, on_gpu = recipes.recipe(name, "full"), device.type == "cuda"
        small = name in pretrained_names() and not on_gpu  # the full sizes are what a GPU is for
        model, size = load_pretrained(name) if small else recipes.build(recipe), recipe.batch_size if on_gpu else 4
        count = sum(p.numel() for p in model.parameters())
        print(f"| {name}: {count:,} parameters, {size} clips in a batch | clips/s | times the reference "
              "| share of the matmul peak | peak memory, GiB |")  # fmt: skip
        print("| --- | --- | --- | --- | --- |")
        for line in compare(name, model, size, device):
            print(
                f"| {line['row']} | {line['clips_per_second']:.1f} | {line['ratio']:.2f} | {line['share']:.0%} | "
                f"{line['memory']:.2f} |"
            )
        print()
    print("| shipped model | milliseconds for one clip's ten frames |")
    print("| --- | --- |")
    for name in pretrained_names():
        print(f"| {name} | {prediction_milliseconds(load_pretrained(name), device):.0f} |")


if __name__ == "__main__":
    main()
