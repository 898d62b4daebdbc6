"""A training step that can be repeated, and several of them timed in turns. Studies time their steps with it too."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.data_speed import loop_clip
from vidlib.digits import load_digits
from vidlib.machine import fast_precision, has_compiler
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import MovingMNIST
from vidlib.training import channels_last, compiled
from vidlib.video import float_batch, to_float

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


def as_trained(name: str, device: torch.device) -> Row:
    """The step that :func:`vidlib.fit` takes there with a model of the registry, at the full profile."""
    return Row(
        f"vidlib.{MODELS[name].__name__}, as it is trained",
        channels_last=True,
        bf16=fast_precision(device) == "bf16",
        compile=has_compiler(device),
        render="device",
    )


class Step:
    """A training step (forward, loss, backward, clipping, Adam) of a copy of ``model`` on generated clips.

    Args:
        row: how to take it.
        model: any with ``past + horizon`` of :data:`FRAMES`.
        batch_size: clips in it.
        device: where.
        loss: of (prediction, truth) to a scalar.
    """

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
        self.model = row.build(copy.deepcopy(model)).to(device).train()
        if row.channels_last:
            channels_last(self.model)
        self.run = compiled(self.model) if row.compile else self.model
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


def seconds(step: Callable[[], object], device: torch.device, times: int | None = None) -> float:
    """Mean seconds of a call; of :data:`STEPS` calls where ``times`` is not given."""
    times = times or STEPS
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


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
