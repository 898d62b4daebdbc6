"""The one tensor convention of this course, checked in one place.

A video batch is ``(B, T, C, H, W)``: batch, time, channel, row, column; float in [0, 1].
Everything that takes a video calls :func:`check_video` first, so that a mistake is one clear
sentence at the door instead of a shape error ten calls deeper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Unclipped predictions leave [0, 1] a little and rollouts feed them back; pixel values 0..255 leave it a lot.
_LOWEST, _HIGHEST = -2.0, 3.0


def check_video(
    video: Tensor,
    name: str = "video",
    *,
    frames: int | None = None,
    channels: int | None = 1,
    size: tuple[int, int] | None = None,
) -> None:
    """Raise unless ``video`` is a float batch ``(B, T, C, H, W)`` with values in about [0, 1].

    Args:
        video: what came.
        name: what to call it in the message.
        frames: the number of frames T that must be there (``None``: any).
        channels: the number of channels C (``None``: any).
        size: the height and width (``None``: any).

    Raises:
        ValueError: wrong type, number of axes, size, dtype or range; the sentence says what came,
            what was expected and what to do.
    """
    expected = f"(B, {frames or 'T'}, {channels or 'C'}, {size[0] if size else 'H'}, {size[1] if size else 'W'})"
    if not isinstance(video, Tensor):
        raise ValueError(
            f"{name} is a {type(video).__name__}, expected a torch tensor {expected}: convert it with torch.from_numpy."
        )
    shape = tuple(video.shape)
    wanted = (None, frames, channels, *(size or (None, None)))
    if len(shape) != 5 or any(w is not None and s != w for s, w in zip(shape, wanted, strict=True)):
        hint = " Add a batch axis with video[None]." if len(shape) == 4 else ""
        raise ValueError(f"{name} has shape {shape}, expected {expected}.{hint}")
    if 0 in shape:
        raise ValueError(f"{name} has shape {shape}: one axis is empty, expected at least one element in each.")
    if not video.is_floating_point():
        raise ValueError(
            f"{name} has dtype {video.dtype}, expected float in [0, 1]: convert stored clips with video.float() / 255."
        )
    if torch.compiler.is_compiling() or (video.is_cuda and torch.cuda.is_current_stream_capturing()):
        return  # looking at values would cut a compiled graph in two
    low, high = (x.item() for x in torch.aminmax(video.detach()))
    if not (low >= _LOWEST and high <= _HIGHEST):  # written so that NaN fails as well
        raise ValueError(
            f"{name} has values from {low:.4g} to {high:.4g}, expected a float in [0, 1]: "
            "divide 0..255 pixels by 255, and look for NaN or infinity."
        )


def check_counts(lowest: int = 1, /, **counts: int) -> None:
    """Raise unless every one of ``counts`` is a whole number of at least ``lowest``.

    Raises:
        ValueError: the sentence names the first that is not.

    >>> check_counts(frames=20, patch=0)
    Traceback (most recent call last):
    ValueError: patch is 0, expected a whole number of at least 1.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {lowest}.")


def to_float(clips: Tensor) -> Tensor:
    """Stored clips as a model wants them: uint8 ``(..., H, W)`` to float32 in [0, 1].

    Raises:
        ValueError: not uint8 (they would be divided twice).
    """
    if clips.dtype != torch.uint8:
        raise ValueError(
            f"clips have dtype {clips.dtype}, expected stored clips in torch.uint8: they seem to be converted already."
        )
    return clips.float() / 255


def float_batch(
    clips: Sequence, indices: Sequence[int], frames: int, device: torch.device | str | None = None
) -> Tensor:
    """Stored clips as a model wants them: the first ``frames`` frames as ``(B, frames, C, H, W)`` float32 in [0, 1].

    Args:
        clips: a ``MovingMNIST``, or anything whose items are uint8 clips ``(T, C, H, W)``.
        indices: which clips.
        frames: how many frames of each; what comes after them is cut off.
        device: where the batch shall be.

    Raises:
        ValueError: not uint8 clips, or too short ones.
    """
    if hasattr(clips, "batch"):
        video = clips.batch(indices, device=device)
    else:
        # Copied, since a memory-mapped clip is read-only and torch would warn about sharing it.
        items = [clips[i] for i in indices]
        video = torch.stack([item if isinstance(item, Tensor) else torch.from_numpy(np.array(item)) for item in items])
    if video.dtype != torch.uint8 or video.ndim != 5:
        raise ValueError(
            f"clips come as {video.dtype} batches of shape {tuple(video.shape)}, expected uint8 clips (T, C, H, W): "
            "store pixels as 0..255."
        )
    if video.shape[1] < frames:
        raise ValueError(
            f"clips have {video.shape[1]} frames, expected at least past + horizon = {frames}: "
            f"make longer clips with MovingMNIST(..., frames={frames}), or ask for a shorter horizon."
        )
    return to_float(video[:, :frames].to(device))
