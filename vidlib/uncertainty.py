"""Does a model know when it can't know? Its own variance beside the spread that the past leaves open.

The clips' maker knows that spread: over all flights that agree with the past frames (:mod:`vidlib.flights`) each future
pixel has a mean, which is the ideal observer's prediction, and a variance, which no model can predict away. A *variance
head* (Nix & Weigend 1994; Kendall & Gal 2017, arXiv 1703.04977) is a small network that reads a model's frozen features
and says how large it expects the squared error of each pixel to be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from vidlib.checks import check_counts, check_kind, check_numbers
from vidlib.flights import expected_frames, future_chances
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.moving_mnist import MovingMNIST
from vidlib.video import check_shape


def known_spread(
    clips: MovingMNIST, indices: Sequence[int], past: int = 10, horizon: int = 10
) -> tuple[Tensor, Tensor]:
    """Mean and variance of every future pixel over all flights that agree with the past frames.

    Returns:
        two ``(B, horizon, 1, H, W)`` float32; the mean is what :class:`vidlib.baselines.IdealObserver` predicts.
    """
    digits, positions, _ = clips.trajectories(indices)
    means, squares = [], []
    for chosen, paths in zip(digits, positions[:, :, :past], strict=True):
        chances = future_chances(paths, past, past + horizon)
        means.append(expected_frames(clips.digits.images[chosen], chances))
        squares.append(expected_frames(clips.digits.images[chosen], chances, power=2))
    mean, square = (np.stack(found)[:, :, None] for found in (means, squares))
    variance = (square - mean**2).clip(0)  # rounding may leave a certain pixel just below 0
    return torch.from_numpy(mean).float(), torch.from_numpy(variance).float()


@torch.inference_mode()
def predict_with_features(model: nn.Module, past: Tensor) -> tuple[Tensor, Tensor]:
    """A prediction, and the maps from which the model paints it.

    Returns:
        ``(B, horizon, C, H, W)`` and ``(B, horizon, F, h, w)``.
    """
    check_kind((ConvLSTM, VideoTransformer), "a ConvLSTM or a VideoTransformer", model=model)
    seen = []
    hook = model.paint.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        prediction = model(past)
    finally:
        hook.remove()
    order = "(t b) f h w -> b t f h w" if isinstance(model, ConvLSTM) else "(b t) f h w -> b t f h w"
    return prediction, rearrange(seen[0], order, b=len(past))


class VarianceHead(nn.Module):
    """The squared error to expect at each pixel, from a model's features.

    Args:
        features: channels of a map.
        patch: side of a place in pixels.
        hidden: channels between.
    """

    def __init__(self, features: int, patch: int, hidden: int = 64) -> None:
        super().__init__()
        check_counts(features=features, patch=patch, hidden=hidden)
        self.features = features
        self.read = nn.Sequential(
            nn.BatchNorm2d(features, affine=False),  # each channel on one scale, whatever model it comes from
            nn.Conv2d(features, hidden, 1), nn.GELU(),
            nn.Conv2d(hidden, patch**2, 3, padding=1), nn.PixelShuffle(patch),
        )  # fmt: skip
        with torch.no_grad():
            self.read[3].bias.fill_(-4.0)  # begin near an even small variance, sigmoid(-4) = 0.018

    def logits(self, features: Tensor) -> Tensor:
        """``(B, T, F, h, w)`` to ``(B, T, 1, H, W)``, before the sigmoid."""
        check_shape("features", features, "B", "T", self.features, "h", "w")
        return self.read(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def forward(self, features: Tensor) -> Tensor:
        """``(B, T, F, h, w)`` to ``(B, T, 1, H, W)``, from 0 to 1: no pixel in [0, 1] can miss by more."""
        return self.logits(features).sigmoid()


def fit_variance(
    head: VarianceHead, features: Tensor, squared: Tensor, *, steps: int = 200, batch: int = 4, lr: float = 1e-2,
    seed: int = 0,
) -> list[float]:  # fmt: skip
    """Train a variance head on frozen features; afterwards it is in eval mode.

    The loss is the cross-entropy between what is said and the squared error, −e² log v − (1 − e²) log(1 − v).
    Its best v is the mean of e², as that of the Gaussian likelihood ½(log v + e²/v) is; but that one hardly minds a
    variance that is much too large, and its short trainings end there.

    Args:
        features: ``(B, T, F, h, w)``.
        squared: ``(B, T, 1, H, W)`` in [0, 1], the model's squared errors e² on the same clips.

    Returns:
        the loss of every step.
    """
    check_counts(steps=steps, batch=batch)
    check_numbers(0, open=True, lr=lr)
    check_shape("squared", squared, *features.shape[:2], 1, "H", "W")
    optimizer = torch.optim.Adam(head.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 2))
    random, losses = torch.Generator().manual_seed(seed), []
    head.train()
    for _ in range(steps):
        some = torch.randint(len(features), (batch,), generator=random)
        loss = F.binary_cross_entropy_with_logits(head.logits(features[some]), squared[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    head.eval()
    return losses


def reliability(variance: np.ndarray, squared: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """What was said against what came: numbers sorted by variance and cut into bins of as many.

    Args:
        variance: any shape, what was predicted.
        squared: the same shape, squared errors.

    Returns:
        the mean variance and the mean squared error of each bin, ``(bins,)`` each; on the diagonal is calibrated.
    """
    check_counts(bins=bins, highest=variance.size)
    order = np.argsort(variance, axis=None, kind="stable")
    parts = np.array_split(order, bins)
    return tuple(np.array([values.ravel()[part].mean() for part in parts]) for values in (variance, squared))


def calibration_error(variance: np.ndarray, squared: np.ndarray, bins: int = 10) -> float:
    """How far off a variance is, as a share of itself: the expected normalized calibration error.

    Levi et al. 2019 (arXiv 1905.11659): with v and e² the means of a bin, the mean over bins of ``|√v − √e²| / √v``.
    """
    said, came = (np.sqrt(values) for values in reliability(variance, squared, bins))
    return float((np.abs(said - came) / said).mean())
