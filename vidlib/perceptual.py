"""The perceptual loss: compare two videos by the features that a frozen classifier sees in them.

Squared pixel error is smallest for the mean of all futures that are still possible, and that mean is a blur.
A classifier's features answer to edges and strokes, so that a blurred digit is far from a sharp one there.
Johnson, Alahi and Fei-Fei 2016 (arXiv 1603.08155) train with that distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlib.backbones import (
    BACKBONES,
    chosen_layers,
    default_weights,
    layer_names,
    layers_held,
    on_meta,
    read_backbone,
)
from vidlib.checks import check_choice, check_numbers
from vidlib.files import user_path
from vidlib.video import check_same_shape

# What torchvision's classifiers were trained on: RGB in [0, 1], shifted and scaled by ImageNet's statistics.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class PerceptualLoss(nn.Module):
    """Feature reconstruction loss: the mean squared difference of a frozen classifier's features, frame by frame.

    Called with a prediction and the truth, both ``(B, T, C, H, W)`` floats in [0, 1], it returns a scalar, the sum over
    the layers j of ``|φ_j(prediction) - φ_j(truth)|² / (C_j H_j W_j)``, averaged over the B·T frames (Johnson et al.
    2016, equation 2). The gradient reaches the prediction only. ``layers``, ``source`` and ``sha256`` say what it
    compares and with which weights; the scale of the loss, and so its weight beside the MSE, depends on them.

    Args:
        backbone: ``"vgg16"`` or ``"vgg19"`` (ImageNet classifiers; gray frames are repeated to RGB and normalised as
            those were trained), or ``"digits"`` (this package's own :class:`DigitNetwork`, one channel, no network).
        weights: a ``.pt``, ``.pth`` or ``.safetensors`` file of tensors under torchvision's names
            (``features.0.weight`` …), which may end at any layer. ``None``: the shipped file for ``"digits"``, else
            torchvision's IMAGENET1K_V1, which is downloaded once (about 550 MB) and kept in torch's cache.
        layers: names such as ``"relu2_2"``, the second ReLU of the second block. ``None``: the last ReLU that the
            weights hold in each of the first three blocks.

    Raises:
        ValueError: an unknown backbone or layer, a layer that the weights do not reach, a weight file that cannot be
            read as one or belongs to another network; when called, bad frames.
        FileNotFoundError: no such weight file.
        OSError: it cannot be opened, which says nothing of its contents.
        RuntimeError: torchvision's weights cannot be downloaded. There are never random filters instead.
    """

    def __init__(
        self, backbone: str = "vgg16", weights: str | Path | None = None, layers: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        check_choice(BACKBONES, backbone=backbone)
        path, sha256 = (user_path(weights), None) if weights is not None else default_weights(backbone)
        tensors, self.sha256 = read_backbone(path, sha256)
        network = on_meta(backbone)
        names = layer_names(network)
        reached = layers_held(network, tensors, backbone, path)
        self.backbone = backbone
        self.source = path.name
        self.layers = chosen_layers(layers, names, reached, backbone, path)
        self._taps = frozenset(names[layer] for layer in self.layers)
        self.features = network[: max(self._taps) + 1]
        wanted = {f"features.{name}": name for name in self.features.state_dict()}
        self.features.load_state_dict({name: tensors[key].float() for key, name in wanted.items()}, assign=True)
        self.features.to(memory_format=torch.channels_last)  # faster convolutions, on the CPU as well
        # Not persistent: a checkpoint that holds the loss need not hold what the class knows.
        mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if backbone != "digits" else ((0.0,), (1.0,))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stay in evaluation mode, whatever the model that is trained with this loss is told."""
        return super().train(False)

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        self._check(prediction, truth)
        with torch.no_grad():
            targets = self._features(truth)
        features = self._features(prediction)
        return sum(F.mse_loss(f, t) for f, t in zip(features, targets, strict=True))

    def _features(self, video: Tensor) -> list[Tensor]:
        frames = video.flatten(0, 1).to(self.mean.dtype)  # (B·T, C, H, W)
        x = (frames.expand(-1, self.mean.shape[1], -1, -1) - self.mean) / self.std  # gray becomes RGB
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                found.append(x)
        return found

    def _check(self, prediction: Tensor, truth: Tensor) -> None:
        check_same_shape(prediction, truth)
        for name, video in (("prediction", prediction), ("truth", truth)):
            if video.device != self.mean.device:
                raise ValueError(
                    f"{name} is on {video.device} and the perceptual loss on {self.mean.device}: "
                    "move the loss with loss.to(device)."
                )
        channels, height, width = prediction.shape[2:]
        allowed = {1, self.mean.shape[1]}
        if channels not in allowed:
            raise ValueError(
                f"prediction has {channels} channels, expected {' or '.join(map(str, sorted(allowed)))} "
                f"for the {self.backbone} backbone."
            )
        smallest = 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in self.features)
        if min(height, width) < smallest:
            raise ValueError(
                f"frames are {height}×{width}, expected at least {smallest}×{smallest} for {self.layers[-1]}: "
                "ask for layers of an earlier block."
            )

    def extra_repr(self) -> str:
        return f"{self.backbone}, layers={self.layers}, source={self.source!r}, sha256={self.sha256[:12]}…"


class PerceptualMSE(nn.Module):
    """The loss of a fine-tuning: mean squared error per pixel + ``weight`` · perceptual distance.

    Called with prediction and truth ``(B, T, C, H, W)``, returns a scalar. It follows the prediction's device.

    Args:
        weight: λ, at least 0. The two terms have different scales: measure both before choosing it.
        perceptual: the distance.

    Raises:
        ValueError: a weight below 0 or no number, or another distance; when called, bad frames.
    """

    def __init__(self, weight: float, perceptual: PerceptualLoss) -> None:
        super().__init__()
        check_numbers(0, weight=weight)
        if not isinstance(perceptual, PerceptualLoss):
            raise ValueError(f"perceptual is a {type(perceptual).__name__}, expected a PerceptualLoss.")
        self.weight, self.perceptual = weight, perceptual

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        if isinstance(prediction, Tensor):
            self.to(prediction.device)
        distance = self.perceptual(prediction, truth)  # checks both first
        return F.mse_loss(prediction, truth) + self.weight * distance

    def describe(self) -> str:
        """In words: λ, backbone, layers and which weights."""
        p = self.perceptual
        return f"MSE + {self.weight:g} · {p.backbone} {' '.join(p.layers)}, weights {p.sha256[:12]}"
