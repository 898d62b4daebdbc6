"""The perceptual loss: compare two videos by the features that a frozen classifier sees in them.

Squared pixel error is smallest for the mean of all futures that are still possible, and that mean is a blur.
A classifier's features answer to edges and strokes, so that a blurred digit is far from a sharp one there.
Johnson, Alahi and Fei-Fei 2016 (arXiv 1603.08155) train with that distance.
"""

from __future__ import annotations

import hashlib
import socket
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from vidlib.video import check_video

BACKBONES = ("vgg16", "vgg19", "digits")

DIGIT_NETWORK = Path(__file__).parent / "pretrained" / "digit-network.safetensors"
DIGIT_NETWORK_SHA256 = "00033185a301914448d0b8260ea18bc9fd479173465260031daa27977fefefee"

# What torchvision's classifiers were trained on: RGB in [0, 1], shifted and scaled by ImageNet's statistics.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class DigitNetwork(nn.Module):
    """A VGG for digits: three blocks of two 3×3 convolutions, halved in between, then one linear layer.

    Takes ``(N, 1, H, W)`` gray images in [0, 1] and returns ``(N, 10)`` logits. The maximum over all places feeds the
    classifier, so that any height and width from 4 pixels on will do. Pixels are not normalised: black
    stays 0, which is what the convolutions pad with, and a frame's border looks like its background.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in (16, 32, 64):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)  # (N, 64, H/4, W/4)
        return self.classifier(features.amax(dim=(2, 3)))  # (N, 10)


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
        ValueError: an unknown backbone or layer, a layer that the weights do not reach, a weight file that is damaged
            or belongs to another network; when called, bad frames.
        FileNotFoundError: no such weight file.
        RuntimeError: torchvision's weights cannot be downloaded. There are never random filters instead.
    """

    def __init__(
        self, backbone: str = "vgg16", weights: str | Path | None = None, layers: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone is {backbone!r}, expected one of {', '.join(BACKBONES)}.")
        path, sha256 = (Path(weights).expanduser(), None) if weights is not None else _default_weights(backbone)
        tensors, self.sha256 = _read_tensors(path, sha256)
        network = _on_meta(backbone)
        names = _layer_names(network)
        reached = _reached(network, tensors, backbone, path)
        self.backbone = backbone
        self.source = path.name
        self.layers = _chosen_layers(layers, names, reached, backbone, path)
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
        for name, video in (("prediction", prediction), ("truth", truth)):
            check_video(video, name, channels=None)
            if video.device != self.mean.device:
                raise ValueError(
                    f"{name} is on {video.device} and the perceptual loss on {self.mean.device}: "
                    "move the loss with loss.to(device)."
                )
        if prediction.shape != truth.shape:
            raise ValueError(
                f"prediction has shape {tuple(prediction.shape)} and truth {tuple(truth.shape)}: expected the same."
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
        ValueError: a negative weight.
    """

    def __init__(self, weight: float, perceptual: PerceptualLoss) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight is {weight}, expected at least 0.")
        self.weight, self.perceptual = weight, perceptual

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        self.to(prediction.device)
        return F.mse_loss(prediction, truth) + self.weight * self.perceptual(prediction, truth)

    def describe(self) -> str:
        """In words: λ, backbone, layers and which weights."""
        p = self.perceptual
        return f"MSE + {self.weight:g} · {p.backbone} {' '.join(p.layers)}, weights {p.sha256[:12]}"


def load_digit_network(path: str | Path | None = None) -> DigitNetwork:
    """The whole digit classifier, in evaluation mode: the shipped one (its SHA-256 is checked) or the file at ``path``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or holds another network.
    """
    file, sha256 = (Path(path).expanduser(), None) if path is not None else _default_weights("digits")
    tensors, _ = _read_tensors(file, sha256)
    with torch.device("meta"):  # draws no random numbers, so that what is trained next stays the same
        network = DigitNetwork()
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise RuntimeError(f"{file} does not hold a digit network: give a file of train_digit_network.") from error
    return network.eval()


def _default_weights(backbone: str) -> tuple[Path, str]:
    """The file that belongs to a backbone and how its SHA-256 begins; torchvision's is downloaded if need be."""
    if backbone == "digits":
        return DIGIT_NETWORK, DIGIT_NETWORK_SHA256
    import torchvision

    url = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    sha256 = path.stem.rsplit("-", 1)[-1]  # vgg16-397923af.pth
    if not path.exists():
        _download(url, path, sha256, backbone)
    return path, sha256


def _download(url: str, path: Path, sha256: str, backbone: str) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # a silent network must not hold a notebook up
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)
    except Exception as error:
        raise RuntimeError(
            f"The ImageNet weights of {backbone} could not be downloaded to {path} ({error}): connect to the network, "
            "give a file as weights=..., or use backbone='digits', which is part of this package."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _read_tensors(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a weight file and its SHA-256, which must begin with ``sha256`` if that is given."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file: give an existing weight file as weights=..., or install the package again if the "
            "file was part of it."
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and not found.startswith(sha256):
        raise ValueError(
            f"{path} is truncated or changed (SHA-256 {found[:16]}…, expected {sha256[:16]}…): "
            "delete it and get it again."
        )
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _read_checked_zip(path)
        if not all(isinstance(t, Tensor) and t.is_floating_point() and t.isfinite().all() for t in tensors.values()):
            raise TypeError("not a dict of finite floating-point tensors")
    except Exception as error:  # each reader, and each kind of damage, raises a type of its own
        raise ValueError(
            f"{path} is damaged or no file of weights: expected a dict of float tensors, saved with torch.save or "
            "safetensors; get it again."
        ) from error
    return tensors, found


def _read_checked_zip(path: Path) -> dict[str, Tensor]:
    # torch.save writes a checksum for each tensor, and torch.load does not look at it.
    if zipfile.is_zipfile(path) and (broken := zipfile.ZipFile(path).testzip()):
        raise ValueError(f"{broken} does not match its checksum")
    return torch.load(path, map_location="cpu", weights_only=True)


def _on_meta(backbone: str) -> nn.Sequential:
    """The layers of a backbone without memory behind them: nothing is drawn at random that a file could leave in."""
    with torch.device("meta"):
        if backbone == "digits":
            return DigitNetwork().features
        import torchvision

        return torchvision.models.get_model(backbone, weights=None).features


def _layer_names(features: nn.Sequential) -> dict[str, int]:
    """``{"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, …}``: block and number of each ReLU, and its place."""
    names, block, number = {}, 1, 0
    for index, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            number += 1
            names[f"relu{block}_{number}"] = index
    return names


def _reached(features: nn.Sequential, tensors: dict[str, Tensor], backbone: str, path: Path) -> int:
    """How many layers of ``features`` the file holds weights for, without a gap."""
    expected = {f"features.{name}": tuple(p.shape) for name, p in features.state_dict().items()}
    held = {key: tuple(t.shape) for key, t in tensors.items() if key.startswith("features.")}
    wrong = [key for key, shape in held.items() if expected.get(key) != shape]
    missing = [key for key in expected if key not in held]
    last = max((int(key.split(".")[1]) for key in held if key in expected), default=-1)
    gaps = [key for key in missing if int(key.split(".")[1]) <= last]
    if wrong or gaps or not held:
        if wrong:
            what = f"{wrong[0]} has shape {held[wrong[0]]} and {backbone} has {expected.get(wrong[0], 'no such layer')}"
        else:
            what = f"{(gaps or missing)[0]} is missing"
        raise ValueError(f"{path} does not hold the weights of {backbone}: {what}; choose the backbone of the file.")
    return int(missing[0].split(".")[1]) if missing else len(features)


def _chosen_layers(
    asked: Sequence[str] | None, names: dict[str, int], reached: int, backbone: str, path: Path
) -> tuple[str, ...]:
    held = [name for name, index in names.items() if index < reached]
    if asked is None:
        return tuple({name[4]: name for name in held if name[4] in "123"}.values())  # name[4] is the block
    asked = (asked,) if isinstance(asked, str) else tuple(asked)
    if not asked:
        raise ValueError(f"layers is empty, expected one or more of {', '.join(held)}.")
    for name in asked:
        if name not in names:
            raise ValueError(f"{backbone} has no layer {name!r}, expected some of {', '.join(names)}.")
        if name not in held:
            raise ValueError(f"{path} ends at {held[-1]} and cannot give {name!r}: ask for some of {', '.join(held)}.")
    return tuple(sorted(set(asked), key=names.get))
