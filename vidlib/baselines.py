"""Predictors that learn nothing: what every trained model has to beat.

They are models like any other (``past``, ``horizon``, ``config``, ``forward``), so they roll out, score and draw
the same way.
"""

from __future__ import annotations

from torch import Tensor, nn

from vidlib.video import check_video


class _Baseline(nn.Module):
    """A model without parameters that looks only at the frames it is given."""

    def __init__(self, horizon: int = 10, past: int = 10) -> None:
        super().__init__()
        if horizon < 1 or past < 1:
            raise ValueError(f"horizon is {horizon} and past is {past}, expected whole numbers: give each at least 1.")
        self.past, self.horizon = past, horizon
        self.config = {"horizon": horizon, "past": past}


class CopyLast(_Baseline):
    """Nothing moves: every future frame is the last frame seen.

    ``(B, past, C, H, W)`` to ``(B, horizon, C, H, W)``; a wrong video is a ValueError. About 287 MSE per frame on
    generated Moving MNIST, worse than predicting nothing at all: a digit drawn in the wrong place is wrong twice.
    """

    def forward(self, past: Tensor) -> Tensor:
        check_video(past, "past", frames=self.past, channels=None)
        return past[:, -1:].repeat(1, self.horizon, 1, 1, 1)


class AllBlack(_Baseline):
    """Predict nothing at all: every future pixel is 0.

    ``(B, past, C, H, W)`` to ``(B, horizon, C, H, W)``; a wrong video is a ValueError. About 174 MSE per frame on
    generated Moving MNIST: the mean energy of a frame, and the first bar for a model that blurs.
    """

    def forward(self, past: Tensor) -> Tensor:
        check_video(past, "past", frames=self.past, channels=None)
        return past.new_zeros(len(past), self.horizon, *past.shape[2:])
