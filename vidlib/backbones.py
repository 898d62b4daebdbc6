"""Frozen classifiers whose features a loss can compare: VGG from torchvision, and a small network for digits."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vidlib.checks import reason, shown
from vidlib.files import check_zip, sha256, user_path
from vidlib.machine import impatient_network

BACKBONES = ("vgg16", "vgg19", "digits")
DIGIT_NETWORK = Path(__file__).parent / "pretrained" / "digit-network.safetensors"
DIGIT_NETWORK_SHA256 = "00033185a301914448d0b8260ea18bc9fd479173465260031daa27977fefefee"


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


def load_digit_network(path: str | Path | None = None) -> DigitNetwork:
    """The whole digit classifier, in evaluation mode: the shipped one (its SHA-256 is checked) or the file at ``path``.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened, which says nothing of its contents.
        ValueError: it is no file of weights or holds another network.
    """
    file, expected = (user_path(path), None) if path is not None else default_weights("digits")
    tensors, _ = read_backbone(file, expected)
    with torch.device("meta"):  # draws no random numbers, so that what is trained next stays the same
        network = DigitNetwork()
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{file} does not hold a digit network: give a file of train_digit_network.") from error
    return network.eval()


def default_weights(backbone: str) -> tuple[Path, str]:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with impatient_network():
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)
    except (OSError, RuntimeError, HTTPException) as error:  # RuntimeError: what arrived has another hash
        raise RuntimeError(
            f"The ImageNet weights of {backbone} could not be downloaded to {path} ({reason(error)}): connect to the "
            "network, give a file as weights=..., or use backbone='digits', which is part of this package."
        ) from error


def read_backbone(path: Path, expected: str | None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a weight file and its SHA-256, which must begin as ``expected`` says if that is given.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened, which says nothing of its contents.
        ValueError: another hash, or no file of finite float tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file: give an existing weight file as weights=..., or install the package again if the "
            "file was part of it."
        )
    try:
        found = sha256(path)
    except OSError as error:
        raise OSError(f"{path} cannot be opened ({reason(error)}): see who may read it.") from error
    if expected is not None and not found.startswith(expected):
        raise ValueError(
            f"{path} is truncated or changed (SHA-256 {found[:16]}…, expected {expected[:16]}…): "
            "delete it and get it again."
        )
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _read_checked_zip(path)
        _check_tensors(tensors)
    except Exception as error:  # each reader, and each kind of file, raises a type of its own
        # torch writes a page about a pickle that it does not trust or understand
        why = "more than tensors, or no pickle" if isinstance(error, pickle.UnpicklingError) else reason(error)
        raise ValueError(
            f"{path} cannot be read as weights ({why}): expected a dict of float tensors, saved with torch.save or "
            "safetensors; if it should be one, get it again."
        ) from error
    return tensors, found


def _check_tensors(tensors: object) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"it holds a {type(tensors).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise ValueError(f"{name!r} is no float tensor")
        if not tensor.isfinite().all():
            raise ValueError(f"{name!r} holds NaN or infinity")


def _read_checked_zip(path: Path) -> dict[str, Tensor]:
    if zipfile.is_zipfile(path):
        check_zip(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def on_meta(backbone: str) -> nn.Sequential:
    """The layers of a backbone without any weights yet: a file that lacks some can then not leave random ones."""
    with torch.device("meta"):
        if backbone == "digits":
            return DigitNetwork().features
        import torchvision

        return torchvision.models.get_model(backbone, weights=None).features


def layer_names(features: nn.Sequential) -> dict[str, int]:
    """``{"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, …}``: block and number of each ReLU, and its place."""
    names, block, number = {}, 1, 0
    for index, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            number += 1
            names[f"relu{block}_{number}"] = index
    return names


def layers_held(features: nn.Sequential, tensors: dict[str, Tensor], backbone: str, path: Path) -> int:
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


def chosen_layers(
    asked: Sequence[str] | None, names: dict[str, int], reached: int, backbone: str, path: Path
) -> tuple[str, ...]:
    held = [name for name, index in names.items() if index < reached]
    if asked is None:
        return tuple({name[4]: name for name in held if name[4] in "123"}.values())  # name[4] is the block
    asked = (asked,) if isinstance(asked, str) else asked
    if not isinstance(asked, (list, tuple, set, frozenset)):
        raise ValueError(f"layers is {shown(asked)}, expected a list with some of {', '.join(held)}.")
    if not asked:
        raise ValueError(f"layers is empty, expected one or more of {', '.join(held)}.")
    for name in asked:
        if not isinstance(name, str) or name not in names:
            raise ValueError(f"{backbone} has no layer {name!r}, expected some of {', '.join(names)}.")
        if name not in held:
            raise ValueError(f"{path} ends at {held[-1]} and cannot give {name!r}: ask for some of {', '.join(held)}.")
    return tuple(sorted(set(asked), key=names.get))
