"""The one tensor convention of this course and its two contracts, each checked in one place.

A video batch is ``(B, T, C, H, W)``: batch, time, channel, row, column; float in [0, 1]. Stored clips are uint8.
Everything that takes a video, a set of clips or a model checks it here first, so that a mistake is one clear sentence
at the door instead of a shape error ten calls deeper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vidlib.checks import check_counts, kind_of

# Unclipped predictions leave [0, 1] a little and rollouts feed them back; pixel values 0..255 leave it a lot.
_LOWEST, _HIGHEST = -2.0, 3.0
_SAMPLED = 32  # clips whose pixels tell one set without a fingerprint of its own from another


class Clips(Protocol):
    """What ``fit``, ``evaluate`` and the recipes ask of a set of clips; :func:`as_clips` gives it to any sequence."""

    def __len__(self) -> int:
        """How many clips."""

    def batch(self, indices: Sequence[int] | range, device: torch.device | str | None = None) -> Tensor:
        """These clips as uint8 ``(B, T, C, H, W)`` on ``device``."""

    def describe(self) -> str:
        """The set in words, for the screen and for model cards."""

    def fingerprint(self) -> str:
        """A text that differs where the pixels differ, wherever the clips lie: scores and runs are told apart by it."""


class Model(Protocol):
    """What ``fit``, ``evaluate`` and ``rollout`` ask of a model."""

    past: int
    horizon: int

    def __call__(self, past: Tensor) -> Tensor:
        """``(B, past, C, H, W)`` in [0, 1] to ``(B, horizon, C, H, W)``."""


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


def check_shape(name: str, value: Any, *axes: Any, floating: bool = True) -> None:
    """Raise unless ``value`` is a tensor with these axes.

    Args:
        name: what to call it in the message.
        axes: a number for an axis of that size, a text for one of any; ``...`` first for any axes before them.
        floating: whether it must hold floating-point numbers.

    Raises:
        ValueError: no tensor, other axes, or whole numbers.
    """
    inner = axes[1:] if axes[0] is ... else axes
    shape = tuple(value.shape) if isinstance(value, Tensor) else ()
    last = shape[len(shape) - len(inner) :] if axes[0] is ... else shape
    if len(last) != len(inner) or any(s != a for s, a in zip(last, inner, strict=True) if not isinstance(a, str)):
        came = f"has shape {shape}" if isinstance(value, Tensor) else f"is {kind_of(value)}"
        text = ", ".join("..." if axis is ... else str(axis) for axis in axes)
        raise ValueError(f"{name} {came}, expected a tensor ({text}).")
    if floating and not value.is_floating_point():
        raise ValueError(f"{name} has dtype {value.dtype}, expected float.")


def check_same_shape(prediction: Tensor, truth: Tensor) -> None:
    """Raise unless both are videos ``(B, T, C, H, W)`` of one shape.

    Raises:
        ValueError: as :func:`check_video`, or two shapes.
    """
    check_video(prediction, "prediction", channels=None)
    check_video(truth, "truth", channels=None)
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} and truth {tuple(truth.shape)}, expected the same: "
            "compare the same clips and the same frames."
        )


def to_float(clips: Tensor) -> Tensor:
    """Stored clips as a model wants them: uint8 ``(..., H, W)`` to float32 in [0, 1].

    Raises:
        ValueError: not uint8 (they would be divided twice).
    """
    if not isinstance(clips, Tensor) or clips.dtype != torch.uint8:
        raise ValueError(
            f"clips have dtype {getattr(clips, 'dtype', type(clips).__name__)}, expected stored clips in torch.uint8: "
            "they seem to be converted already."
        )
    return clips.float() / 255


# Clips --------------------------------------------------------------------------------------------------------------


def as_clips(clips: Any, name: str = "clips") -> Clips:
    """Any sequence of clips as :class:`Clips`; what has ``len`` and ``batch`` itself keeps its own.

    Args:
        clips: a ``MovingMNIST``, or anything with a length whose items are uint8 clips ``(T, C, H, W)``, such as a
            list, a tensor ``(N, T, C, H, W)``, or a torch ``Dataset``.
        name: what to call it in the message.

    Raises:
        ValueError: something else, or nothing in it.
    """
    sized = hasattr(clips, "__len__") and (hasattr(clips, "batch") or hasattr(clips, "__getitem__"))
    if not sized or isinstance(clips, (type, str, bytes, Mapping)):
        hint = ""
        if isinstance(clips, type):
            hint = f": make one with {clips.__name__}(...)"
        elif hasattr(clips, "dataset"):
            hint = ": hand over the data set that it loads from"
        raise ValueError(
            f"{name} is {kind_of(clips)}, expected a MovingMNIST or a sequence of uint8 clips (T, C, H, W){hint}."
        )
    if getattr(clips, "ndim", 5) != 5:
        raise ValueError(
            f"{name} has shape {tuple(clips.shape)}, expected uint8 clips (N, T, C, H, W): gray has a channel axis of "
            "1, and one clip is a set with clip[None]."
        )
    if len(clips) == 0:
        raise ValueError(f"{name} is empty, expected at least one clip.")
    return clips if all(_has(clips, each) for each in ("batch", "describe", "fingerprint")) else _AsClips(clips)


def _has(clips: Any, method: str) -> bool:
    return callable(getattr(clips, method, None))


class _AsClips:
    """Gives a sequence of clips what :class:`Clips` asks for beyond it."""

    def __init__(self, items: Any) -> None:
        self.items = items
        self._shape: tuple[int, ...] | None = None  # of the first clip that was seen

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, indices: Sequence[int] | range, device: torch.device | str | None = None) -> Tensor:
        if _has(self.items, "batch"):
            return self.items.batch(indices, device=device)
        clips = []
        for index in map(int, indices):
            clip = _stored_clip(self.items[index], index)
            self._shape = self._shape or tuple(clip.shape)
            if tuple(clip.shape) != self._shape:
                raise ValueError(
                    f"Clip {index} has shape {tuple(clip.shape)} and an earlier one {self._shape}, expected one shape "
                    "(T, C, H, W) for all: cut the clips to the same length and size."
                )
            clips.append(clip)
        return torch.stack(clips).to(device)

    def describe(self) -> str:
        return self.items.describe() if _has(self.items, "describe") else f"{type(self.items).__name__} of clips"

    def fingerprint(self) -> str:
        if _has(self.items, "fingerprint"):
            return self.items.fingerprint()
        found = hashlib.sha256(str(len(self)).encode())
        for index in np.unique(np.linspace(0, len(self) - 1, min(_SAMPLED, len(self))).astype(int)):
            add_pixels(found, _checked(self.batch([int(index)], device="cpu"), 1))
        return found.hexdigest()


def _stored_clip(clip: Any, index: int) -> Tensor:
    """One item of a sequence of clips as a tensor."""
    if not isinstance(clip, Tensor):
        try:
            # copied, since a memory-mapped clip is read-only and torch would warn about sharing it
            clip = torch.from_numpy(np.array(clip))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"Clip {index} is {kind_of(clip)}, expected a uint8 array or tensor (T, C, H, W) of pixels 0..255."
            ) from error
    return clip


def _whole_numbers(indices: Any, count: int) -> list[int]:
    """Indices of clips as a list."""
    found = indices.tolist() if isinstance(indices, np.ndarray | Tensor) else indices
    if not isinstance(found, range | list | tuple) or not found:
        raise ValueError(f"indices is {kind_of(indices)}, expected at least one number of a clip, such as range(8).")
    for index in found:
        check_counts(0, highest=count - 1, **{"one of indices": index})
    return [int(index) for index in found]


def add_pixels(found: Any, video: Tensor) -> None:
    """Take a batch of stored clips into a running hash of :mod:`hashlib`, clip by clip: batch sizes do not matter."""
    for clip in video.cpu():
        found.update(f"{tuple(clip.shape)} {clip.dtype}".encode() + clip.contiguous().numpy().tobytes())


def _checked(video: Any, count: int) -> Tensor:
    """What a set of clips gave for ``count`` indices, if it is as many stored clips."""
    if not isinstance(video, Tensor) or video.dtype != torch.uint8 or video.ndim != 5:
        came = f"{video.dtype} batches of shape {tuple(video.shape)}" if isinstance(video, Tensor) else kind_of(video)
        raise ValueError(f"clips come as {came}, expected uint8 clips (T, C, H, W): store pixels as 0..255.")
    if len(video) != count:
        raise ValueError(f"batch({count} indices) gave {len(video)} clips, expected one for each index.")
    if 0 in video.shape:
        raise ValueError(f"clips have shape {tuple(video.shape[1:])}: one axis is empty, expected pixels in each.")
    return video


def stored_batch(
    clips: Any, indices: Sequence[int] | range, frames: int, device: torch.device | str | None = None
) -> Tensor:
    """The first ``frames`` frames of these clips as they are stored: uint8 ``(B, frames, C, H, W)``.

    Arguments and errors as for :func:`float_batch`.
    """
    check_counts(frames=frames)
    clips = as_clips(clips)
    indices = _whole_numbers(indices, len(clips))
    video = _checked(clips.batch(indices, device=device), len(indices))
    if video.shape[1] < frames:
        raise ValueError(
            f"clips have {video.shape[1]} frames, expected at least past + horizon = {frames}: "
            f"make longer clips with MovingMNIST(..., frames={frames}), or ask for a shorter horizon."
        )
    return video[:, :frames].to(device)


def float_batch(
    clips: Any, indices: Sequence[int] | range, frames: int, device: torch.device | str | None = None
) -> Tensor:
    """Stored clips as a model wants them: the first ``frames`` frames as ``(B, frames, C, H, W)`` float32 in [0, 1].

    Args:
        clips: as for :func:`as_clips`.
        indices: which clips.
        frames: how many frames of each; what comes after them is cut off.
        device: where the batch shall be.

    Raises:
        ValueError: not uint8 clips, clips of several shapes, or too short ones.
    """
    return to_float(stored_batch(clips, indices, frames, device))


# Models -------------------------------------------------------------------------------------------------------------


def check_model(model: Any) -> None:
    """Raise unless ``model`` says how many frames it reads and predicts.

    Raises:
        ValueError: a plain function, or a model without ``past`` and ``horizon``.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model is {kind_of(model)}, expected a torch.nn.Module: "
            + (
                f"make one with {model.__name__}(...)."
                if isinstance(model, type)
                else "put a plain function into the forward of one."
            )
        )
    for name in ("past", "horizon"):
        try:
            check_counts(**{name: getattr(model, name, None)})
        except ValueError as error:  # said of the model, whose number it is
            raise ValueError(
                f"model is a {type(model).__name__}, expected one with whole numbers past and horizon: "
                "set self.past and self.horizon in its constructor."
            ) from error


def predict(model: Model, past: Tensor) -> Tensor:
    """``model(past)``, checked to be what the model promises: ``(B, horizon, C, H, W)``.

    Raises:
        ValueError: another shape, or no tensor.
    """
    prediction = model(past)
    check_prediction(prediction, model, past)
    return prediction


def check_prediction(prediction: Any, model: Model, past: Tensor) -> None:
    """Raise unless ``prediction`` is the float video that ``model`` promises for ``past``; values are not looked at.

    Raises:
        ValueError: another shape or dtype, or no tensor.
    """
    expected = (len(past), model.horizon, *past.shape[2:])
    if not isinstance(prediction, Tensor) or prediction.shape != expected or not prediction.is_floating_point():
        came = kind_of(prediction)
        if isinstance(prediction, Tensor):
            came = f"shape {tuple(prediction.shape)}"
            came += "" if prediction.is_floating_point() else f" of {prediction.dtype}"
        raise ValueError(
            f"{type(model).__name__} predicted {came}, expected {expected}: "
            "its forward must return a float (B, horizon, C, H, W)."
        )


def check_finite(prediction: Tensor, model: Model) -> None:
    """Raise where a prediction holds NaN or infinity; any other number is a prediction, if a bad one.

    Raises:
        ValueError: it does.
    """
    if not torch.compiler.is_compiling() and not prediction.isfinite().all():
        raise ValueError(
            f"{type(model).__name__} predicts NaN or infinity, expected numbers: look for NaN in its weights, or train "
            "it with a lower learning rate."
        )


def device_of(model: nn.Module) -> torch.device:
    """Where a model is; the CPU for one without a single number."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
