"""Iterative prediction: any model, any number of frames.

A model maps a window of ``model.past`` frames to the next ``model.horizon`` frames. To see further, its own
predictions become the window of the next call. How many frames of each prediction are kept before that, the
chunk, is a choice: few frames mean fresh predictions but many rounds in which errors feed on themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn

from vidlib.video import check_video


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
            or one whose prediction has another shape than those promise.
    """
    if not all(isinstance(getattr(model, name, None), Integral) for name in ("past", "horizon")):
        raise ValueError(
            f"model is a {type(model).__name__}, expected one with whole numbers past and horizon: "
            "set self.past and self.horizon in its constructor."
        )
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"steps is {steps!r}, expected a whole number of frames: ask for at least 1.")
    if chunk is None:
        chunk = model.horizon
    if not isinstance(chunk, Integral) or not 1 <= chunk <= model.horizon:
        raise ValueError(
            f"chunk is {chunk!r}, expected a whole number from 1 to the model's horizon of {model.horizon}: "
            "choose one of these, or None to keep whole predictions."
        )
    check_video(past, "past", frames=model.past, channels=None)

    expected = (len(past), model.horizon, *past.shape[2:])
    window, kept, missing = past, [], steps
    with evaluation_mode(model):
        while missing > 0:
            prediction = model(window)
            if prediction.shape != expected:
                raise ValueError(
                    f"{type(model).__name__} predicted shape {tuple(prediction.shape)}, expected {expected}: "
                    "its forward must return (B, horizon, C, H, W)."
                )
            new = prediction[:, : min(chunk, missing)]
            kept.append(new)
            missing -= new.shape[1]
            window = torch.cat([window, new.clamp(0, 1)], dim=1)[:, -model.past :]
    return torch.cat(kept, dim=1)


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
