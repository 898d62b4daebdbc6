"""How good is a prediction? The Moving MNIST benchmark's metrics, per frame of the horizon and overall.

The published tables differ in ways that move numbers more than many papers' gains, so each choice has a name:

- ``mse``, ``mae``: squared and absolute error, *summed* over the pixels of a frame, then averaged over clips and
  frames. Predictions are not clipped.
- ``ssim``: structural similarity (Wang et al. 2004) with scikit-image's uniform 7×7 window and sample covariance,
  ``data_range=1``, which is right for frames in [0, 1]. Predictions are clipped.
- ``ssim_published``: the same with ``data_range=2``, the float default of the scikit-image version that the
  published tables were made with. It reads higher; compare it with published numbers only.
- ``psnr``: mean over frames of ``-10 log10(MSE per pixel)`` in dB, clipped; a perfect frame counts as 100 dB.
- ``sharpness``: gradient magnitude of the clipped prediction divided by the truth's. Below 1 is blur; noise raises it.
- ``identity``: the share of digits that the shipped digit network still calls by their name where they truly are. Other
  digits reach into a window, so that true frames score below 1: the oracle's row is the ceiling. Only where the clips
  know their digits and places, as ``MovingMNIST`` does.
- ``lpips``: learned perceptual distance (Zhang et al. 2018, arXiv 1801.03924), AlexNet, only where asked for.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vidlib.backbones import load_digit_network
from vidlib.checks import check_counts, check_flags, check_kind, check_mapping, check_numbers, reason
from vidlib.digits import SIZE, Digits
from vidlib.iterative import rollout
from vidlib.machine import choose_device, impatient_network
from vidlib.video import (
    add_pixels,
    as_clips,
    check_model,
    check_same_shape,
    check_video,
    device_of,
    stored_batch,
    to_float,
)

PSNR_CAP = 100.0  # dB; without a cap one perfect frame would make the mean over all frames infinite
SSIM_WINDOW = 7
INK = 0.1  # a window without a brighter pixel is empty: a network would have to name something all the same
_WINDOWS = 128  # digits named at a time, for the same reason
_GROUP = 16  # frames at a time: SSIM's ten maps of them stay in a CPU's cache
PUBLISHED_DATA_RANGE = 2.0

TITLES = {  # key: title, decimals
    "mse": ("MSE ↓", 2),
    "mae": ("MAE ↓", 2),
    "ssim": ("SSIM (range 1) ↑", 4),
    "ssim_published": ("SSIM (range 2, as published) ↑", 4),
    "psnr": ("PSNR ↑", 2),
    "lpips": ("LPIPS ↓", 4),
    "sharpness": ("sharpness (truth = 1)", 3),
    "identity": ("digits recognised ↑", 3),
}

LPIPS = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Scores:
    """The metrics of one model on one set of clips.

    Attributes:
        overall: one number per metric.
        per_frame: ``(horizon,)`` float64 per metric; entry 0 is the first predicted frame.
        clips: how many clips were scored.
        data: which clips they were, in words.
        fingerprint: tells clips apart whose words are the same; scores of different clips never stand in one table.

    Raises:
        ValueError: something else in one of them.
    """

    overall: dict[str, float]
    per_frame: dict[str, np.ndarray]
    clips: int
    data: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check_mapping("number", overall=self.overall)
        check_kind(Mapping, "a dictionary of name → one number per frame", per_frame=self.per_frame)
        for key, value in self.overall.items():
            if not isinstance(value, Real) or isinstance(value, bool):
                raise ValueError(f"overall[{key!r}] is {value!r}, expected a number.")
        for key, values in self.per_frame.items():
            check_kind(np.ndarray, "an array (horizon,)", **{f"per_frame[{key!r}]": values})
        shapes = {values.shape for values in self.per_frame.values()}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(f"per_frame has shapes {sorted(shapes)}, expected one (horizon,) for all metrics.")
        check_counts(clips=self.clips)
        check_kind(str, "a text", data=self.data, fingerprint=self.fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists for JSON; a figure that is not finite becomes ``None``."""
        return {
            "overall": {key: _to_json(value) for key, value in self.overall.items()},
            "per_frame": {key: [_to_json(value) for value in values] for key, values in self.per_frame.items()},
            "clips": self.clips,
            "data": self.data,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Scores:
        """The scores that :meth:`to_dict` wrote; anything else is a ValueError."""
        try:
            return cls(
                overall={key: _from_json(value) for key, value in stored["overall"].items()},
                per_frame={
                    key: np.array([_from_json(value) for value in values])
                    for key, values in stored["per_frame"].items()
                },
                clips=stored["clips"],
                data=stored.get("data", ""),
                fingerprint=stored.get("fingerprint", ""),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"These are not stored scores ({error!r}), expected overall, per_frame and clips: "
                "read a dictionary that Scores.to_dict() wrote."
            ) from error


def _to_json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None  # JSON knows neither NaN nor infinity


def _from_json(value: float | None) -> float:
    return float("nan") if value is None else float(value)


# One metric of one batch ------------------------------------------------------------------------------------------


def mse_per_frame(prediction: Tensor, truth: Tensor) -> Tensor:
    """Squared error of each frame, summed over its pixels and averaged over the batch.

    Args:
        prediction: ``(B, T, C, H, W)``, float, not clipped.
        truth: the same shape, float in [0, 1].

    Returns:
        ``(T,)`` float64. Divide by the 4,096 pixels of a frame for the error per pixel.

    Raises:
        ValueError: not two videos of one shape.
    """
    return _mse(*_checked(prediction, truth)).mean(0)


def mae_per_frame(prediction: Tensor, truth: Tensor) -> Tensor:
    """Absolute error of each frame, summed over its pixels: ``(T,)``; arguments as in :func:`mse_per_frame`."""
    return _mae(*_checked(prediction, truth)).mean(0)


def psnr_per_frame(prediction: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame in dB: ``(T,)``; arguments as in :func:`mse_per_frame`.

    ``-10 log10(MSE per pixel)`` of the clipped prediction, computed per frame and then averaged over the batch.
    At most 100 dB (an error of 1e-10 per pixel), which is what a perfect frame counts.
    """
    prediction, truth = _checked(prediction, truth)
    return _psnr(prediction.clamp(0, 1), truth).mean(0)


def ssim_per_frame(prediction: Tensor, truth: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity of each frame: ``(T,)``; arguments as in :func:`mse_per_frame`.

    Equals ``skimage.metrics.structural_similarity`` with its defaults (uniform 7×7 window, sample covariance) on
    the clipped prediction, averaged over channels and batch.

    .. math:: \\frac{(2 \\mu_x \\mu_y + C_1)(2 \\sigma_{xy} + C_2)}
              {(\\mu_x^2 + \\mu_y^2 + C_1)(\\sigma_x^2 + \\sigma_y^2 + C_2)},\\; C_1 = (0.01 R)^2,\\; C_2 = (0.03 R)^2

    Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity".

    Args:
        data_range: R, the span of possible values: 1 for frames in [0, 1]; 2 gives the published tables' figure.

    Raises:
        ValueError: also where frames are smaller than the 7×7 window.
    """
    check_numbers(0, open=True, data_range=data_range)
    prediction, truth = _checked(prediction, truth)
    return _ssim(prediction.clamp(0, 1), truth, data_range)[0].mean(0)


def sharpness(video: Tensor) -> Tensor:
    """Mean gradient magnitude of each frame, averaged over the batch: ``(T,)`` float64.

    ``sqrt(dx² + dy²)`` with differences to the right and lower neighbour. Blur spreads an edge over more pixels and
    over several possible places, and lowers it.

    Args:
        video: ``(B, T, C, H, W)``, float, at least 2×2 pixels.

    Raises:
        ValueError: not a video, or frames without neighbours.
    """
    check_video(video, channels=None)
    if min(video.shape[-2:]) < 2:
        raise ValueError(f"Frames have {_size(video)} pixels, expected at least 2×2: a gradient needs neighbours.")
    return _sharpness(_double(video)).mean(0)


def identity(
    video: Tensor, corners: np.ndarray, labels: np.ndarray, network: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Is a 6 still a 6? The share of digits that a classifier names rightly in each frame: ``(T,)`` float64.

    It looks at the 28×28 pixels where each digit truly is, clipped to [0, 1], with whatever else reaches into them. A
    window without a pixel above 0.1 is empty and counts as not recognised, so that a black frame scores 0.

    Args:
        video: ``(B, T, 1, H, W)``, float, a prediction or the truth.
        corners: ``(B, n, T, 2)`` whole numbers, the true upper left corners (x, y) in pixels.
        labels: ``(B, n)`` whole numbers, which digits they are.
        network: maps ``(N, 1, 28, 28)`` to ``(N, 10)`` logits, on the device of ``video`` (``None``: the shipped one).

    Raises:
        ValueError: not a gray video, corners or labels of another shape, or a window that leaves the frame.
    """
    corners, labels = _checked_windows(video, corners, labels, network)
    return _right(_read(video.clamp(0, 1), corners, network or _reader(video.device)), labels).mean((0, 1))


def read_digits(video: Tensor, corners: np.ndarray, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """What a classifier names each digit in each frame: ``(B, n, T)`` int64, -1 for an empty window.

    Arguments and errors as for :func:`identity`.
    """
    corners, _ = _checked_windows(video, corners, np.zeros(np.shape(corners)[:2], int), network)
    return _read(video.clamp(0, 1), corners, network or _reader(video.device))


def _checked_windows(video: Tensor, corners: Any, labels: Any, network: Any) -> list[np.ndarray]:
    check_video(video)
    if network is not None:
        check_kind(Callable, "a network of 28×28 images to 10 logits", network=network)
    corners, labels = (np.ascontiguousarray(array) for array in (corners, labels))
    batch, frames, _, height, width = video.shape
    whole = all(array.dtype.kind in "iu" and array.size for array in (corners, labels))
    shaped = labels.ndim == 2 and len(labels) == batch
    if not whole or not shaped or corners.shape != (*labels.shape, frames, 2):
        raise ValueError(
            f"corners are {corners.dtype} {corners.shape} and labels {labels.dtype} {labels.shape}, expected whole "
            f"numbers (B, n, T, 2) and (B, n) with n of 1 or more for a video of {batch} clips and {frames} frames."
        )
    if min(height, width) < SIZE or (corners < 0).any() or (corners > [width - SIZE, height - SIZE]).any():
        raise ValueError(
            f"corners are from {corners.min()} to {corners.max()}, expected {SIZE}×{SIZE} windows "
            f"within frames of {height}×{width} pixels."
        )
    return [corners, labels]


def _reader(device: torch.device) -> nn.Module:
    return load_digit_network().to(device, memory_format=torch.channels_last)  # 1.8 times as fast on a CPU


@torch.no_grad()
def _read(video: Tensor, corners: np.ndarray, network: Callable[[Tensor], Tensor]) -> Tensor:
    x, y = torch.from_numpy(corners.astype(np.int64)).to(video.device).unbind(-1)  # (B, n, T)
    clip, frame = (torch.arange(count, device=video.device) for count in video.shape[:2])
    windows = video[:, :, 0].unfold(2, SIZE, 1).unfold(3, SIZE, 1)[clip[:, None, None], frame, y, x].flatten(0, 2)
    named = torch.cat([network(part[:, None].float()).argmax(1) for part in windows.split(_WINDOWS)])
    return torch.where(windows.amax((1, 2)) > INK, named, -1).view(x.shape)


def _right(named: Tensor, labels: np.ndarray) -> Tensor:
    """``(B, n, T)``, 1 where a digit is called by its name."""
    return _double((named == torch.from_numpy(labels.astype(np.int64)).to(named.device)[:, :, None]).float())


# Each of these gives (B, T), one number for each frame of each clip.


def _mse(prediction: Tensor, truth: Tensor) -> Tensor:
    return (prediction - truth).square().sum((2, 3, 4))


def _mae(prediction: Tensor, truth: Tensor) -> Tensor:
    return (prediction - truth).abs().sum((2, 3, 4))


def _psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    per_pixel = (prediction - truth).square().mean((2, 3, 4))
    return -10 * per_pixel.clamp_min(10 ** (-PSNR_CAP / 10)).log10()


def _sharpness(video: Tensor) -> Tensor:
    corner = video[..., :-1, :-1]
    return torch.hypot(video[..., :-1, 1:] - corner, video[..., 1:, :-1] - corner).mean((2, 3, 4))


def _ssim(x: Tensor, y: Tensor, *data_ranges: float) -> list[Tensor]:
    """SSIM for several data ranges: the local moments, nearly all of the work, are computed once."""
    if min(x.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"Frames have {_size(x)} pixels, expected at least {SSIM_WINDOW}×{SSIM_WINDOW}: "
            "SSIM compares windows of that size."
        )
    frames = zip(x.flatten(0, 2).split(_GROUP), y.flatten(0, 2).split(_GROUP), strict=True)
    similarity = torch.cat([_ssim_of_frames(*group, data_ranges) for group in frames], dim=1)  # (ranges, B·T·C)
    return list(similarity.view(-1, *x.shape[:3]).mean(3))


def _ssim_of_frames(x: Tensor, y: Tensor, data_ranges: Sequence[float]) -> Tensor:
    """Frames ``(N, H, W)`` to ``(len(data_ranges), N)``."""
    moments = torch.stack([x, y, x * x, y * y, x * y], dim=1)  # (N, 5, H, W)
    # The mean over every 7×7 window as two products with a banded matrix: 3 times as fast as avg_pool2d on a CPU.
    ux, uy, uxx, uyy, uxy = (_window(x, -2).T @ moments @ _window(x, -1)).unbind(1)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # sample covariance divides by n - 1
    variances = sample * (uxx - ux * ux + uyy - uy * uy)
    covariance = sample * (uxy - ux * uy)
    product, squares = ux * uy, ux * ux + uy * uy
    results = []
    for data_range in data_ranges:
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
        results.append(similarity.mean((1, 2)))
    return torch.stack(results)


def _window(x: Tensor, dim: int) -> Tensor:
    """``(n, n - 6)``: column ``i`` averages entries ``i … i + 6`` of an axis of length n."""
    band = x.new_ones(x.shape[dim], x.shape[dim]).triu().tril(SSIM_WINDOW - 1)[:, SSIM_WINDOW - 1 :]
    return band / SSIM_WINDOW


def _checked(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    check_same_shape(prediction, truth)
    return _double(prediction), _double(truth)


def _double(video: Tensor) -> Tensor:
    # SSIM subtracts nearly equal moments, which float32 turns into noise. Apple's GPUs have no float64.
    return (video.cpu() if video.device.type == "mps" else video).double()


def _size(video: Tensor) -> str:
    return f"{video.shape[-2]}×{video.shape[-1]}"


# LPIPS ------------------------------------------------------------------------------------------------------------


def lpips_file() -> Path:
    """Where torchvision keeps the AlexNet weights that LPIPS needs, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"


def load_lpips(device: torch.device | str | None = None) -> nn.Module:
    """The LPIPS network on AlexNet, from torchmetrics; its ImageNet weights are downloaded once (233 MB).

    It maps two image batches ``(N, 3, H, W)`` in [-1, 1] to one distance each.

    Raises:
        RuntimeError: the network cannot be loaded; the sentence says what was seen.
        ValueError: no such device.
    """
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        with impatient_network():
            network = LearnedPerceptualImagePatchSimilarity(net_type="alex").net
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        file = lpips_file()
        raise RuntimeError(
            f"The LPIPS network could not be loaded ({reason(error)}). It needs torchvision's AlexNet "
            f"weights, {file}, which {'is there' if file.is_file() else 'is not there and would be downloaded'}: "
            "put a whole file there, or score without lpips."
        ) from error
    return network if device is None else network.to(choose_device(device))


def _lpips(prediction: Tensor, truth: Tensor, network: LPIPS) -> Tensor:
    """LPIPS of each frame, ``(B, T)``; frames are clipped, scaled to [-1, 1] and gray is repeated to RGB."""
    images = [(2 * video.float().clamp(0, 1) - 1).flatten(0, 1) for video in (prediction, truth)]
    images = [image.expand(-1, 3, -1, -1) for image in images]  # (B·T, 3, H, W)
    return _double(network(*images)).reshape(prediction.shape[:2])


# A model on many clips --------------------------------------------------------------------------------------------


def evaluate(
    model: nn.Module,
    clips: Sequence,
    *,
    batch_size: int = 32,
    past: int = 10,
    horizon: int = 10,
    chunk: int | None = None,
    device: torch.device | str | None = None,
    limit: int | None = None,
    lpips: bool | LPIPS | None = None,
    progress: bool = True,
) -> Scores:
    """Score ``model`` on ``clips``: every metric of this module, per frame of the horizon and overall.

    The model sees frames ``0 … past - 1`` and predicts the next ``horizon``, rolling out freely where that is more
    than one prediction (:func:`vidlib.iterative.rollout`). Clips are made or read batch by batch and only sums are
    kept, so memory does not grow with their number.

    Args:
        model: maps ``(B, past, C, H, W)`` to ``(B, model.horizon, C, H, W)``.
        clips: a ``MovingMNIST``, or anything that :func:`vidlib.video.as_clips` takes.
        batch_size: clips per batch; changes speed and memory, not the scores (beyond rounding in the model).
        past: frames shown to the model.
        horizon: frames predicted and scored.
        chunk: frames kept of each prediction in a rollout (``None``: all).
        device: where to compute (``None``: where the model is); the model is moved back afterwards.
        limit: score only the first ``limit`` clips.
        lpips: ``True`` for LPIPS with AlexNet, or a network from :func:`load_lpips` to load it only once.
        progress: show a progress bar.

    Raises:
        ValueError: no clips, clips too short or not uint8, a model that does not fit them or predicts NaN.
        RuntimeError: the LPIPS weights cannot be had.
    """
    sums: dict[str, np.ndarray] = {}
    count, pixels = 0, hashlib.sha256()  # tells clips apart that have no fingerprint of their own
    named = callable(getattr(clips, "fingerprint", None))
    clips = as_clips(clips)
    for figures in measured(
        model, clips, batch_size=batch_size, past=past, horizon=horizon, chunk=chunk, device=device, limit=limit,
        lpips=lpips, progress=progress, pixels=None if named else pixels,
    ):  # fmt: skip
        count += len(figures["mse"])
        sums = {key: sums.get(key, 0.0) + values.sum(0) for key, values in figures.items()}
    return _scores(sums, count, clips.describe(), clips.fingerprint() if named else pixels.hexdigest())


def measured(
    model: nn.Module,
    clips: Sequence,
    *,
    batch_size: int = 32,
    past: int = 10,
    horizon: int = 10,
    chunk: int | None = None,
    device: torch.device | str | None = None,
    limit: int | None = None,
    lpips: bool | LPIPS | None = None,
    progress: bool = True,
    pixels: Any = None,
) -> Iterator[dict[str, np.ndarray]]:
    """The figures behind :func:`evaluate`, clip by clip: for each batch, metric → ``(B, horizon)`` float64.

    ``sharpness`` stands beside ``truth_sharpness``, the truth's: their ratio is taken of means.

    Args:
        pixels: a running hash of :mod:`hashlib`, into which the pixels of the clips are taken.

    The others, and errors, as for :func:`evaluate`.
    """
    check_model(model)
    clips = as_clips(clips)
    check_counts(batch_size=batch_size, past=past, horizon=horizon)
    check_flags(progress=progress)
    if not callable(lpips):
        check_kind((bool, type(None)), "True, False or a network from load_lpips", lpips=lpips)
    if limit is not None:
        check_counts(limit=limit)
    count = len(clips) if limit is None else min(limit, len(clips))
    home = device_of(model)
    device = home if device is None else choose_device(device)
    network = load_lpips() if lpips is True else lpips or None
    if isinstance(network, nn.Module):
        network.to(device)
    reader = _reader(device) if knows_its_digits(clips) else None
    model.to(device)
    try:
        with torch.no_grad(), tqdm(total=count, desc="scoring", unit=" clips", disable=not progress) as bar:
            for start in range(0, count, batch_size):
                indices = range(start, min(start + batch_size, count))
                stored = stored_batch(clips, indices, past + horizon, device)
                if pixels is not None:
                    add_pixels(pixels, stored)
                video = to_float(stored)
                prediction = rollout(model, video[:, :past], horizon, chunk)
                figures = _measure(prediction, video[:, past:], network)
                if reader is not None:
                    digits, corners, _ = clips.trajectories(indices)
                    corners, labels = corners[:, :, past : past + horizon], clips.digits.labels[digits]
                    read = _read(prediction.clamp(0, 1), corners, reader)
                    figures["identity"] = _right(read, labels).mean(1).cpu().numpy()
                yield figures
                bar.update(len(indices))
    finally:
        model.to(home)


def knows_its_digits(clips: Any) -> bool:
    """Whether a set can say which digits are in its clips and where, as ``MovingMNIST`` with labelled digits can."""
    digits = getattr(clips, "digits", None)
    return callable(getattr(clips, "trajectories", None)) and isinstance(digits, Digits) and digits.labels.min() >= 0


def _measure(prediction: Tensor, truth: Tensor, lpips: LPIPS | None) -> dict[str, np.ndarray]:
    """All metrics of one batch, ``(B, T)`` float64 each; the two sharpness figures become a ratio at the end."""
    # No check of the range: a half-trained model far outside [0, 1] has a score, a bad one.
    distances = {} if lpips is None else {"lpips": _lpips(prediction, truth, lpips)}
    prediction, truth = _double(prediction), _double(truth)
    clipped = prediction.clamp(0, 1)
    ssim, ssim_published = _ssim(clipped, truth, 1.0, PUBLISHED_DATA_RANGE)
    figures = {
        "mse": _mse(prediction, truth),
        "mae": _mae(prediction, truth),
        "ssim": ssim,
        "ssim_published": ssim_published,
        "psnr": _psnr(clipped, truth),
        "sharpness": _sharpness(clipped),
        "truth_sharpness": _sharpness(truth),
        **distances,
    }
    values = torch.stack(list(figures.values())).cpu().numpy()  # one transfer from the device per batch
    return dict(zip(figures, values, strict=True))


def _scores(sums: dict[str, np.ndarray], count: int, data: str, fingerprint: str) -> Scores:
    per_frame = {key: values / count for key, values in sums.items()}
    overall = {key: float(values.mean()) for key, values in per_frame.items()}
    # A ratio of means, not a mean of ratios: a nearly empty frame must not outweigh the others.
    with np.errstate(divide="ignore", invalid="ignore"):  # clips that are black throughout have no sharpness at all
        per_frame["sharpness"] = per_frame["sharpness"] / (truth := per_frame.pop("truth_sharpness"))
        overall["sharpness"] = float(np.divide(overall["sharpness"], truth.mean()))
    del overall["truth_sharpness"]
    return Scores(overall, per_frame, count, data, fingerprint)


# Many models ------------------------------------------------------------------------------------------------------


def table(scores: Mapping[str, Scores]) -> str:
    """A markdown table, one row per model in the order given, and a line that says what was scored.

    Args:
        scores: name of the model or baseline to its scores.

    Raises:
        ValueError: no scores, or scores of different clips or horizons, whose numbers cannot be compared.
    """
    check_mapping("scores of evaluate", scores=scores)
    check_kind(Scores, "the scores of evaluate", **{f"scores[{name!r}]": score for name, score in scores.items()})
    for what, found in {
        "clips": {(score.data, score.fingerprint) for score in scores.values()},
        "horizons": {len(next(iter(score.per_frame.values()), ())) for score in scores.values()},
    }.items():
        if len(found) > 1:
            named = " and ".join(
                repr(f"{each[0]} {each[1][:8]}".strip() if what == "clips" else each) for each in sorted(found)
            )
            raise ValueError(f"The scores are of different {what} ({named}), expected the same: make a table for each.")

    used = set(chain.from_iterable(score.overall for score in scores.values()))
    columns = {key: column for key, column in TITLES.items() if key in used}
    rows = [["model", *(title for title, _ in columns.values()), "clips"]]
    rows.append(["---", *["---:"] * (len(columns) + 1)])
    for name, score in scores.items():
        figures = [f"{score.overall[key]:.{n}f}" if key in score.overall else "–" for key, (_, n) in columns.items()]
        rows.append([name.replace("|", "\\|"), *figures, f"{score.clips:,}"])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if data := next(iter(scores.values())).data:
        lines += ["", f"Scored on {data}."]
    return "\n".join(lines)
