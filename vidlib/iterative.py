"""Iterative prediction: any model, any number of frames.

A model maps a window of ``model.past`` frames to the next ``model.horizon`` frames. To see further, its own
predictions become the window of the next call. How many frames of each prediction are kept before that, the
chunk, is a choice: few frames mean fresh predictions but many rounds in which errors feed on themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vidlib.checks import check_counts
from vidlib.video import check_finite, check_model, check_video, predict


@torch.no_grad()
def rollout(model: nn.Module, past: Tensor, steps: int, chunk: int | None = None) -> Tensor:
    """Predict ``steps`` frames after ``past`` by feeding the model its own predictions.

    Each round keeps the first ``chunk`` frames of a prediction; the last ``model.past`` frames seen so far,
    predicted ones clamped to [0, 1], are the window of the next round. What is returned is not clamped.
    No true frame after ``past`` is ever used, and no gradient is kept.

    Args:
        model: maps ``(B, model.past, C, H, W)`` to ``(B, model.horizon, C, H, W)``. It runs in eval mode;
            afterwards every part of it is in the mode it was in before.
        past: ``(B, model.past, C, H, W)``, float in [0, 1], on the model's device.
        steps: how many frames to predict, at least 1.
        chunk: how many frames of each prediction to keep, 1 to ``model.horizon`` (``None``: all).

    Returns:
        ``(B, steps, C, H, W)``.

    Raises:
        ValueError: ``steps`` or ``chunk`` out of range, a wrong ``past``, a model without ``past`` and ``horizon``
            or one whose prediction has another shape than those promise, or NaN or infinity in it.
    """
    check_model(model)
    chunk = model.horizon if chunk is None else chunk
    check_counts(steps=steps)
    check_counts(chunk=chunk, highest=model.horizon)
    check_video(past, "past", frames=model.past, channels=None)

    window, kept, missing = past, [], steps
    with evaluation_mode(model):
        while missing > 0:
            prediction = predict(model, window)
            new = prediction[:, : min(chunk, missing)]
            kept.append(new)
            missing -= new.shape[1]
            window = torch.cat([window, new.clamp(0, 1)], dim=1)[:, -model.past :]
    predicted = torch.cat(kept, dim=1)
    check_finite(predicted, model)
    return predicted


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Run a block with ``model`` in eval mode, then put every submodule back into the mode it was in."""
    # model.train() afterwards would also wake parts that were frozen in eval mode on purpose.
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
