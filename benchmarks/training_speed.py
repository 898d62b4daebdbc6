"""Clips per second of a whole training step: forward, loss, backward, clipping, optimiser."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from vidlib import recipes
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import float_batch
from vidlib.weights import load_pretrained, pretrained_names

STEPS = 12  # of each turn; the models take turns, so that all see the same machine
ROUNDS = 3


def models() -> dict[str, tuple[torch.nn.Module, int]]:
    """The models of the laptop recipes and the shipped ones, with their batch sizes."""
    found = {}
    for name, profiles in recipes.RECIPES.items():
        found[f"{name}, laptop recipe"] = recipes.build(profiles["laptop"]), profiles["laptop"].batch_size
    for name in pretrained_names():
        found[f"{name}, shipped"] = load_pretrained(name), 4
    return found


def step_seconds(model: torch.nn.Module, batch: torch.Tensor) -> float:
    """Mean seconds of a training step on one batch ``(B, past + horizon, C, H, W)``."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    past, future = batch[:, : model.past], batch[:, model.past :]
    for step in range(STEPS + 2):  # the first two warm up
        if step == 2:
            _wait(batch.device)
            start = time.perf_counter()
        F.mse_loss(model(past), future).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    _wait(batch.device)
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    clips, found = MovingMNIST(1_000), models()
    rates: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, (model, size) in found.items():
            batch = float_batch(clips, range(size), model.past + model.horizon, device)
            rates[name].append(size / step_seconds(model.to(device), batch))
    print(f"Training steps on {recipes.hardware()}, float32\n")
    print("| model | parameters | clips in a batch | clips/s |")
    print("| --- | --- | --- | --- |")
    for name, (model, size) in found.items():
        count = sum(p.numel() for p in model.parameters())
        print(f"| {name} | {count:,} | {size} | {sorted(rates[name])[ROUNDS // 2]:.1f} |")


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


if __name__ == "__main__":
    main()
