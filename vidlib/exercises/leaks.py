"""The leak hunt of notebook 3: five models as they are trained, a test that finds which see the future, and two doors.

Each of the five takes a *whole* clip, as a training step has it, and gives what its loss compares with the last ten
frames: a model that is handed only the past has nothing to leak. What matters is which of the true frames get through.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidlib.metrics import evaluate
from vidlib.models.convlstm import ConvLSTMCell
from vidlib.training import fit

PAST, HORIZON = 10, 10
_SIDE, _DIM = 8, 16  # pixels of the small frames that the two transformers read; width of a token


class NextFrame(nn.Module):
    """A: a ConvLSTM that says at every frame which one comes next, and draws it by a convolution over time and space.

    So ends the Keras example "Next-Frame Video Prediction with Convolutional LSTMs": the targets are the inputs shifted
    by one frame, and the last layer is a ``Conv3D`` whose filters reach one frame ahead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cell = ConvLSTMCell(1, 8, kernel=3)
        self.draw = nn.Conv3d(8, 1, kernel_size=3, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        states, _ = self.cell(clip[:, :-1])  # of frames 1 to 19: (B, 19, 8, H, W)
        said = self.draw(states.transpose(1, 2)).transpose(1, 2)  # (B, 19, 1, H, W), at frame t the picture of t + 1
        return said[:, PAST - 1 :].sigmoid()


class MaskedTokens(nn.Module):
    """B: attention over all twenty frames, after a learned token has taken the place of the future ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.paint = nn.Linear(_SIDE**2, _DIM), nn.Linear(_DIM, _SIDE**2)
        self.time, self.mask = nn.Parameter(torch.randn(PAST + HORIZON, _DIM)), nn.Parameter(torch.randn(_DIM))
        self.mix = nn.MultiheadAttention(_DIM, 2, batch_first=True)

    def forward(self, clip: Tensor) -> Tensor:
        tokens = self.embed(_small(clip))  # (B, 20, dim)
        tokens = torch.cat([tokens[:, :PAST], self.mask.expand_as(tokens[:, PAST:])], dim=1) + self.time
        mixed, _ = self.mix(tokens, tokens, tokens)
        return _large(self.paint(mixed[:, PAST:]), clip)


class Standardised(nn.Module):
    """C: the brightness of a clip is brought to mean 0 and spread 1, and the prediction back to what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(PAST, HORIZON, kernel_size=5, padding=2)

    def forward(self, clip: Tensor) -> Tensor:
        mean, spread = clip.mean((1, 2, 3, 4), keepdim=True), clip.std((1, 2, 3, 4), keepdim=True)
        even = (clip - mean) / (spread + 1e-6)
        return self.filters(even[:, :PAST, 0])[:, :, None] * spread + mean


class OwnFrames(nn.Module):
    """D: a ConvLSTM that says the next frame, ten times, each time reading the frame that it has just said."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = ConvLSTMCell(1, 8, kernel=3)
        self.draw = nn.Conv2d(8, 1, kernel_size=3, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        states, memory = self.cell(clip[:, :PAST])
        said = [self.draw(states[:, -1]).sigmoid()]
        while len(said) < HORIZON:
            states, memory = self.cell(said[-1][:, None], memory)
            said.append(self.draw(states[:, -1]).sigmoid())
        return torch.stack(said, dim=1)


class WeightsSetToZero(nn.Module):
    """E: ten learned queries attend to the clip; the weights of the future frames are set to zero after the softmax.

    Their *values* can't come through. Their scores have already been in the sum that the softmax divides by.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(_SIDE**2, _DIM), nn.Linear(_SIDE**2, _DIM)
        self.query, self.paint = nn.Parameter(torch.randn(HORIZON, _DIM)), nn.Linear(_DIM, _SIDE**2)

    def forward(self, clip: Tensor) -> Tensor:
        frames = _small(clip)  # (B, 20, pixels)
        weights = (self.query @ self.key(frames).mT / _DIM**0.5).softmax(-1)  # (B, 10, 20)
        known = torch.arange(clip.shape[1]) < PAST
        return _large(self.paint((weights * known) @ self.value(frames)), clip)


def _small(clip: Tensor) -> Tensor:
    """``(B, T, 1, H, W)`` to ``(B, T, pixels)``."""
    return F.adaptive_avg_pool2d(clip[:, :, 0], _SIDE).flatten(2)


def _large(pixels: Tensor, clip: Tensor) -> Tensor:
    """``(B, T, pixels)`` to frames ``(B, T, 1, H, W)`` of the clip's size."""
    return F.interpolate(pixels.unflatten(2, (_SIDE, _SIDE)), clip.shape[-2:])[:, :, None]


def five_models() -> dict[str, nn.Module]:
    """The five by their letters, with the same random weights every time: a leak needs no training."""
    kinds = {"A": NextFrame, "B": MaskedTokens, "C": Standardised, "D": OwnFrames, "E": WeightsSetToZero}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {letter: kind().requires_grad_(False) for letter, kind in kinds.items()}


def leak_hunt(predict: Callable, clip: Tensor, past: int) -> Tensor:
    """(predicted frames, future frames), True where a true frame of the future moves a predicted frame."""
    as_it_was = predict(clip)  # (B, horizon, ...)
    columns = []
    for frame in range(past, clip.shape[1]):
        changed = clip.clone()
        changed[:, frame] = 1 - changed[:, frame]  # this frame alone
        moved = predict(changed) != as_it_was  # not by one bit
        columns.append(moved.transpose(0, 1).flatten(1).any(1))  # (horizon,)
    return torch.stack(columns, dim=1)


def as_trained(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The door of :func:`vidlib.training.fit`: a whole clip goes in, out comes what the loss of its first step gets.

    The model itself is left as it is. ``clip (1, T, C, H, W)`` holds multiples of 1/255, as stored clips do. What a
    model draws at random in training is drawn alike in every call: else each call would seem to see another clip.
    """

    def predict(clip: Tensor) -> Tensor:
        def loss(prediction: Tensor, truth: Tensor) -> Tensor:
            raise _Compared(prediction.detach().float().cpu())

        stored = (clip * 255).round().byte()
        numbers = {"epochs": 1, "batch_size": 1, "optimizer": "adamw", "loss": loss, "progress": False}
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                fit(copy.deepcopy(model), stored, stored, out=folder, **numbers)
            except _Compared as compared:
                return compared.prediction
        raise RuntimeError("fit never called its loss.")

    return predict


class _Compared(Exception):
    """Ends a training at its first loss: what is to be seen has been seen."""

    def __init__(self, prediction: Tensor) -> None:
        super().__init__()
        self.prediction = prediction


def as_scored(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The door of :func:`vidlib.metrics.evaluate`: a whole clip goes in, out comes what is scored.

    Clips as for :func:`as_trained`.
    """

    def predict(clip: Tensor) -> Tensor:
        spy = Spy(model)
        evaluate(spy, (clip * 255).round().byte(), progress=False)
        return torch.cat(spy.said)

    return predict


class Spy(nn.Module):
    """A model that does what another does, and keeps all that it is handed and all that it says.

    Attributes:
        given: each ``past`` that it was called with, on the CPU.
        said: each prediction.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.past, self.horizon = model, model.past, model.horizon
        self.given: list[Tensor] = []
        self.said: list[Tensor] = []

    def forward(self, past: Tensor) -> Tensor:
        prediction = self.model(past)
        self.given.append(past.detach().cpu())
        self.said.append(prediction.detach().cpu())
        return prediction
