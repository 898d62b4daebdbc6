"""The perceptual loss: its value against arithmetic by hand, where gradients go, and what happens without weights."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from http.client import RemoteDisconnected
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from vidlib import backbones
from vidlib.backbones import DIGIT_NETWORK, DigitNetwork, load_digit_network
from vidlib.digit_network import SETTINGS, accuracy, balance_filters, train_digit_network
from vidlib.digits import Digits, data_folder, load_digits
from vidlib.moving_mnist import MovingMNIST, to_float
from vidlib.perceptual import PerceptualLoss, PerceptualMSE

# conv1_1, conv1_2, conv2_1, conv2_2 of VGG16 and VGG19 alike: name in torchvision, filters, inputs
CONVOLUTIONS = {"features.0": (64, 3), "features.2": (64, 64), "features.5": (128, 64), "features.7": (128, 128)}


def vgg_tensors() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    tensors = {}
    for name, (filters, inputs) in CONVOLUTIONS.items():
        tensors[f"{name}.weight"] = torch.randn(filters, inputs, 3, 3, generator=random) * (2 / (9 * inputs)) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(filters, generator=random) / 10
    return tensors


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg.pt"
    torch.save(vgg_tensors(), path)
    return path


@pytest.fixture(scope="module")
def loss(vgg_file: Path) -> PerceptualLoss:
    return PerceptualLoss("vgg16", vgg_file)


def videos(channels: int = 1, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    prediction, truth = torch.rand(2, 2, 3, channels, size, size, generator=torch.Generator().manual_seed(2))
    return prediction, truth


# ---- the value


def test_it_is_the_feature_distance_worked_out_by_hand(loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    tensors = vgg_tensors()

    def convolved(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1).relu()

    def features(frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # one gray frame (1, H, W)
        rgb = torch.stack(
            [(frame[0] - 0.485) / 0.229, (frame[0] - 0.456) / 0.224, (frame[0] - 0.406) / 0.225]
        )  # torchvision's documented input normalisation
        relu1_2 = convolved(convolved(rgb, "features.0"), "features.2")
        relu2_2 = convolved(convolved(F.max_pool2d(relu1_2, 2), "features.5"), "features.7")
        return relu1_2, relu2_2

    expected = 0.0
    for p, t in zip(prediction.flatten(0, 1), truth.flatten(0, 1), strict=True):
        for ours, theirs in zip(features(p), features(t), strict=True):
            channels, height, width = ours.shape
            expected += float(((ours - theirs) ** 2).sum()) / (channels * height * width) / 6  # 6 frames
    assert loss.layers == ("relu1_2", "relu2_2")
    assert float(loss(prediction, truth)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("backbone", ["vgg16", "digits"])
def test_equal_videos_have_loss_zero_and_others_more(backbone: str, vgg_file: Path) -> None:
    loss = PerceptualLoss(backbone, vgg_file if backbone == "vgg16" else None)
    prediction, truth = videos(size=16)
    assert float(loss(truth, truth)) == 0.0
    assert float(loss(prediction, truth)) > 0.0
    assert float(loss(prediction, truth)) == pytest.approx(float(loss(truth, prediction)))


def test_gray_frames_are_frames_with_three_equal_channels(loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    repeated = loss(prediction.repeat(1, 1, 3, 1, 1), truth.repeat(1, 1, 3, 1, 1))
    torch.testing.assert_close(loss(prediction, truth), repeated, rtol=1e-6, atol=0)


def test_color_channels_are_not_mixed_up(loss: PerceptualLoss) -> None:
    prediction, truth = videos(channels=3)
    assert float(loss(prediction, truth)) != pytest.approx(float(loss(prediction.flip(2), truth.flip(2))), rel=1e-4)


def test_a_batch_is_the_mean_over_its_single_frames(loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    singles = [loss(prediction[b : b + 1, t : t + 1], truth[b : b + 1, t : t + 1]) for b in range(2) for t in range(3)]
    torch.testing.assert_close(loss(prediction, truth), torch.stack(singles).mean())


def test_layers_add_up_whatever_their_order(vgg_file: Path, loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    single = [PerceptualLoss("vgg16", vgg_file, [layer])(prediction, truth) for layer in ("relu1_2", "relu2_2")]
    both = PerceptualLoss("vgg16", vgg_file, ["relu2_2", "relu1_2", "relu2_2"])
    torch.testing.assert_close(both(prediction, truth), sum(single))
    torch.testing.assert_close(both(prediction, truth), loss(prediction, truth))


def test_double_precision_agrees(vgg_file: Path) -> None:
    prediction, truth = videos()
    loss = PerceptualLoss("vgg16", vgg_file)
    single = loss(prediction, truth)
    double = loss.double()(prediction.double(), truth.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-5, atol=0)


# ---- frozen


@pytest.mark.parametrize("backbone", ["vgg16", "digits"])
def test_gradients_reach_the_prediction_only(backbone: str, vgg_file: Path) -> None:
    loss = PerceptualLoss(backbone, vgg_file if backbone == "vgg16" else None)
    prediction, truth = (video.requires_grad_() for video in videos())
    loss(prediction, truth).backward()
    assert (prediction.grad.flatten(2).norm(dim=2) > 0).all()  # every frame of every clip
    assert truth.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())


def test_the_gradient_is_that_of_the_value(vgg_file: Path) -> None:
    loss = PerceptualLoss("vgg16", vgg_file).double()
    prediction, truth = (video[:1, :1, :, :4, :4].double() for video in videos())
    assert torch.autograd.gradcheck(lambda x: loss(x, truth), prediction.requires_grad_(), eps=1e-7, atol=1e-5)


def test_it_stays_in_evaluation_mode_inside_a_training_module(vgg_file: Path) -> None:
    whole = nn.ModuleDict({"model": nn.Linear(1, 1), "loss": PerceptualLoss("vgg16", vgg_file)})
    whole.train()
    assert whole["model"].training
    assert not any(module.training for module in whole["loss"].modules())


@pytest.mark.parametrize("backbone", ["vgg16", "digits"])
def test_building_it_draws_no_random_numbers(backbone: str, vgg_file: Path) -> None:
    before = torch.get_rng_state()
    PerceptualLoss(backbone, vgg_file if backbone == "vgg16" else None)
    assert torch.equal(torch.get_rng_state(), before)


# ---- which layers


@pytest.mark.parametrize(
    ("backbone", "places"),
    [
        ("vgg16", {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22, "relu5_3": 29}),  # Johnson et al.'s names
        ("vgg19", {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu5_1": 29}),  # Gatys et al.'s names
        ("digits", {"relu1_2": 3, "relu2_2": 8, "relu3_2": 13}),
    ],
)
def test_layer_names_are_the_literatures(backbone: str, places: dict[str, int]) -> None:
    names = backbones.layer_names(backbones.on_meta(backbone))
    assert places.items() <= names.items()


def test_layers_beyond_the_deepest_asked_are_left_out(vgg_file: Path) -> None:
    loss = PerceptualLoss("vgg19", vgg_file, layers="relu1_2")
    assert loss.layers == ("relu1_2",)
    assert [name for name, _ in loss.named_parameters()] == [
        f"features.{index}.{kind}" for index in (0, 2) for kind in ("weight", "bias")
    ]


def test_a_layer_deeper_than_the_file_is_refused(vgg_file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"ends at relu2_2 and cannot give 'relu3_1': ask for some of relu1_1, relu1_2, "
    ):
        PerceptualLoss("vgg16", vgg_file, ["relu1_2", "relu3_1"])


@pytest.mark.parametrize("name", ["relu3_4", "conv1_1", "relu9_1"])
def test_a_layer_that_the_network_does_not_have_is_refused(vgg_file: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"vgg16 has no layer '{name}', expected some of relu1_1"):
        PerceptualLoss("vgg16", vgg_file, [name])


def test_no_layers_and_an_unknown_backbone_are_refused(vgg_file: Path) -> None:
    with pytest.raises(ValueError, match="layers is empty"):
        PerceptualLoss("vgg16", vgg_file, [])
    with pytest.raises(ValueError, match="backbone is 'resnet', expected one of vgg16, vgg19, digits"):
        PerceptualLoss("resnet")


# ---- weight files


def test_safetensors_and_half_precision_files_are_read_too(tmp_path: Path, loss: PerceptualLoss) -> None:
    tensors = vgg_tensors() | {"classifier.0.weight": torch.zeros(2, 2)}  # which torchvision's own files hold too
    save_file(tensors, tmp_path / "vgg.safetensors")
    save_file({name: t.bfloat16() for name, t in tensors.items()}, tmp_path / "half.safetensors")
    prediction, truth = videos()
    exact, half = (PerceptualLoss("vgg16", tmp_path / name) for name in ("vgg.safetensors", "half.safetensors"))
    assert torch.equal(exact(prediction, truth), loss(prediction, truth))
    assert half.features[0].weight.dtype == torch.float32
    assert float(half(prediction, truth)) == pytest.approx(float(loss(prediction, truth)), rel=0.02)


def test_it_says_which_weights_it_has(vgg_file: Path, loss: PerceptualLoss) -> None:
    assert loss.sha256 == hashlib.sha256(vgg_file.read_bytes()).hexdigest()
    assert loss.source == "vgg.pt"
    assert loss.sha256[:12] in repr(loss)


@pytest.mark.parametrize("place", ["truncated", "flipped", "foreign"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, vgg_file: Path, place: str, suffix: str) -> None:
    path = tmp_path / f"vgg{suffix}"
    if suffix == ".pt":
        shutil.copy(vgg_file, path)
    else:
        save_file(vgg_tensors(), path)
    data = bytearray(path.read_bytes())
    if place == "truncated":
        data = data[: len(data) // 2]
    elif place == "foreign":
        data = bytearray(b"<html>404 Not Found</html>" * 100)
    elif suffix == ".pt":
        data[len(data) // 2] ^= 1  # one bit of one filter
    else:
        data[-4:] = b"\xff\xff\xff\xff"  # NaN: safetensors has no checksum, only nonsense can be seen
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        PerceptualLoss("vgg16", path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"features.0.weight": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        PerceptualLoss("vgg16", tmp_path / "bad.pt")
    assert not (tmp_path / "run").exists()


def test_a_file_of_another_network_or_with_a_gap_is_refused(tmp_path: Path) -> None:
    whole = vgg_tensors()
    cases = {
        "features.2.bias is missing": {k: v for k, v in whole.items() if k != "features.2.bias"},
        "features.1.weight has shape .* no such layer": whole | {"features.1.weight": torch.ones(64)},  # batch norm
        r"features.0.weight has shape \(16, 1, 3, 3\)": DigitNetwork().state_dict(),
        "features.0.weight is missing": {"conv.weight": torch.ones(3)},
    }
    for number, (message, tensors) in enumerate(cases.items()):
        torch.save(tensors, tmp_path / f"{number}.pt")
        with pytest.raises(ValueError, match=f"does not hold the weights of vgg16: {message}"):
            PerceptualLoss("vgg16", tmp_path / f"{number}.pt")


@pytest.mark.parametrize("backbone", ["vgg16", "digits"])
def test_a_file_that_cannot_be_opened_is_not_called_damaged(
    backbone: str, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(backbones, "sha256", refuse)
    with pytest.raises(OSError, match=r"vgg\.pt cannot be opened \(Permission denied\): see who may read it\.$"):
        PerceptualLoss(backbone, vgg_file)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([torch.ones(2)], "it holds a list"),
        (torch.ones(2), "it holds a Tensor"),
        ({"features.0.weight": 3}, "'features.0.weight' is no float tensor"),
        ({"features.0.weight": torch.ones(2, dtype=torch.int64)}, "'features.0.weight' is no float tensor"),
        ({"features.0.weight": torch.tensor([1, float("nan")])}, "'features.0.weight' holds NaN or infinity"),
    ],
)
def test_a_file_of_something_else_says_what_it_is(tmp_path: Path, content: object, why: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"other\.pt cannot be read as weights \({why}\): expected a dict") as caught:
        PerceptualLoss("vgg16", tmp_path / "other.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"backbone": None}, "backbone is None"),
        ({"backbone": "vgg"}, "backbone is 'vgg', did you mean 'vgg1"),
        ({"weights": 3}, "3 is no path"),
        ({"weights": ""}, "'' is no path"),
        ({"layers": 3}, "layers is 3, expected a list"),
        ({"layers": True}, "layers is True, expected a list"),
        ({"layers": [1]}, "digits has no layer 1, expected some of"),
        ({"layers": [["relu1_1"]]}, "digits has no layer"),
        ({"layers": [None]}, "digits has no layer None"),
        ({"layers": ()}, "layers is empty"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        PerceptualLoss(**{"backbone": "digits", **arguments})
    assert str(caught.value).endswith((".", "?")) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [3, "", True, ["a"]])
def test_the_digit_networks_path_is_a_path(path: object) -> None:
    with pytest.raises(ValueError, match="is no path"):
        load_digit_network(path)


@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_a_missing_file_is_an_error(tmp_path: Path, backbone: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt is not a file: give an existing weight file"):
        PerceptualLoss(backbone, tmp_path / "nowhere.pt")


# ---- torchvision's weights


@pytest.mark.parametrize("backbone", ["vgg16", "vgg19"])
def test_without_network_it_is_an_error_and_never_random_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    sentence = rf"weights of {backbone} could not be downloaded to .* \(no route to host\): .*'digits'"
    with pytest.raises(RuntimeError, match=sentence):
        PerceptualLoss(backbone)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (RuntimeError('invalid hash value (expected "397923af", got "00")'), "invalid hash value .*"),
        (RemoteDisconnected("Remote end closed connection"), "Remote end closed connection"),
    ],
)
def test_a_failed_download_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(
        RuntimeError, match=rf"could not be downloaded to .* \({why}\): connect to the network"
    ) as caught:
        PerceptualLoss("vgg16")
    assert "\n" not in str(caught.value)


def test_torchvisions_file_is_downloaded_once_and_checked_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vgg_file: Path, loss: PerceptualLoss
) -> None:
    downloads = []

    def download(url: str, path: str, hash_prefix: str) -> None:
        downloads.append((url, hash_prefix))
        shutil.copy(vgg_file, path)

    url = f"https://example.invalid/models/vgg16-{loss.sha256[:8]}.pth"  # torchvision's names end in the hash
    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: {"vgg16": weights}[name])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    prediction, truth = videos()
    for _ in range(2):
        assert torch.equal(PerceptualLoss("vgg16")(prediction, truth), loss(prediction, truth))
    assert downloads == [(url, loss.sha256[:8])]
    (cached,) = (tmp_path / "cache" / "checkpoints").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is truncated or changed"):
        PerceptualLoss("vgg16")


def test_the_names_of_torchvisions_files_hold_their_hash() -> None:
    for backbone in ("vgg16", "vgg19"):
        stem = Path(torchvision.models.get_model_weights(backbone).IMAGENET1K_V1.url).stem
        assert len(bytes.fromhex(stem.split("-")[-1])) == 4


def assert_dislikes_blur(loss: PerceptualLoss) -> None:
    """A blur with the smaller squared error has the larger loss than a sharp digit one pixel away."""
    truth = to_float(MovingMNIST(4, digits="builtin").batch(range(4)))[:, ::5]
    blurred = F.avg_pool2d(truth.flatten(0, 1), 5, stride=1, padding=2).view_as(truth)
    moved = truth.roll(1, dims=-1)
    assert F.mse_loss(blurred, truth) < F.mse_loss(moved, truth)
    assert loss(blurred, truth) > loss(moved, truth)


def real_vgg19() -> Path | None:
    """VGG19 filters learned on ImageNet, at least up to conv3_1, where someone put them."""
    paths = [os.environ.get("VIDLIB_VGG19_WEIGHTS"), data_folder() / "vgg" / "vgg19_relu3_1.pt"]
    return next((Path(path) for path in paths if path and Path(path).is_file()), None)


@pytest.mark.skipif(real_vgg19() is None, reason="no VGG19 weights: set VIDLIB_VGG19_WEIGHTS")
def test_real_vgg19_filters_dislike_blur() -> None:
    loss = PerceptualLoss("vgg19", real_vgg19(), ["relu1_2", "relu2_2", "relu3_1"])
    assert_dislikes_blur(loss)


# ---- bad frames


def test_bad_frames_are_refused(loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    with pytest.raises(ValueError, match=r"prediction has shape \(2, 3, 1, 12, 12\) and truth \(2, 2, 1, 12, 12\)"):
        loss(prediction, truth[:, :2])
    with pytest.raises(ValueError, match="truth has values from 0 to 255"):
        loss(prediction, torch.full_like(truth, 255.0).index_fill(0, torch.tensor([0]), 0))
    with pytest.raises(ValueError, match="prediction has dtype torch.uint8"):
        loss(prediction.byte(), truth)
    with pytest.raises(ValueError, match="prediction has 2 channels, expected 1 or 3 for the vgg16 backbone"):
        loss(*videos(channels=2))
    with pytest.raises(ValueError, match="frames are 1×1, expected at least 2×2 for relu2_2"):
        loss(*videos(size=1))
    with pytest.raises(ValueError, match="prediction has shape .*, expected"):
        loss(prediction[0], truth[0])


def test_frames_on_another_device_are_refused(vgg_file: Path) -> None:
    loss = PerceptualLoss("vgg16", vgg_file).to("meta")
    with pytest.raises(ValueError, match=r"prediction is on cpu and the perceptual loss on meta: .* loss.to\(device\)"):
        loss(*videos())


def test_the_digit_network_takes_gray_frames_only() -> None:
    with pytest.raises(ValueError, match="prediction has 3 channels, expected 1 for the digits backbone"):
        PerceptualLoss("digits")(*videos(channels=3))


# ---- the digit network


def mnist_or_skip(split: str) -> Digits:
    try:
        return load_digits("mnist", split, download=False)
    except RuntimeError:
        pytest.skip("no MNIST on disk")


def test_the_shipped_digit_network_names_99_percent_of_mnist_test_rightly() -> None:
    network = load_digit_network()
    assert accuracy(network, mnist_or_skip("test")) >= 0.99


def test_the_shipped_digit_network_is_small_and_its_card_is_of_this_file() -> None:
    assert DIGIT_NETWORK.stat().st_size <= 2**20
    found = hashlib.sha256(DIGIT_NETWORK.read_bytes()).hexdigest()
    assert found == backbones.DIGIT_NETWORK_SHA256
    assert found in DIGIT_NETWORK.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("load", [load_digit_network, lambda: PerceptualLoss("digits")])
def test_a_tampered_or_missing_digit_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable
) -> None:
    copy = tmp_path / DIGIT_NETWORK.name
    monkeypatch.setattr(backbones, "DIGIT_NETWORK", copy)
    with pytest.raises(FileNotFoundError, match="is not a file: .* install the package again"):
        load()
    data = bytearray(DIGIT_NETWORK.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(ValueError, match="is truncated or changed"):
        load()


def test_the_shipped_digit_network_dislikes_blur() -> None:
    assert_dislikes_blur(PerceptualLoss("digits"))


def test_it_reads_digits_wherever_they_stand_in_a_frame() -> None:
    """A 64×64 frame has the features of the digit in it: the convolutions see a border as background."""
    network, digits = load_digit_network(), mnist_or_skip("test")
    frames = torch.zeros(300, 1, 64, 64)
    frames[:, 0, 31:59, 8:36] = torch.from_numpy(digits.images[:300]).float() / 255
    right = (network(frames).argmax(dim=1) == torch.from_numpy(digits.labels[:300])).float().mean()
    assert right >= 0.97


def test_balanced_filters_have_mean_activation_one_and_the_same_logits() -> None:
    torch.manual_seed(0)
    network, images = DigitNetwork(), torch.rand(8, 1, 12, 12)
    with torch.no_grad():
        before = network(images)
        for parameter in network.features.parameters():
            parameter.mul_(3)
        scaled = network(images)
        balance_filters(network, images)
        torch.testing.assert_close(network(images), scaled, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(before, scaled)
        means = network.features[:4](images).mean(dim=(0, 2, 3))
    torch.testing.assert_close(means.max(), torch.tensor(1.0))


def test_training_writes_the_same_network_twice_with_a_card_that_says_its_accuracy(tmp_path: Path) -> None:
    random_state = torch.get_rng_state()
    cards = [
        train_digit_network(tmp_path / name, digits="builtin", epochs=1, batch_size=324, progress=False)
        for name in "ab"
    ]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert cards[0]["sha256"] == cards[1]["sha256"]
    path = tmp_path / "a" / "digit-network.safetensors"
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in page
    digits = load_digits("builtin", "test")
    assert f"{accuracy(load_digit_network(path), digits):.2%} on scikit-learn" in page
    assert digits.sha256 not in page  # trained on other digits…
    assert load_digits("builtin", "train").sha256 in page  # …than it is tested on
    assert PerceptualLoss("digits", path).layers == ("relu1_2", "relu2_2", "relu3_2")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": True}, "epochs is True"),
        ({"epochs": 1.0}, "epochs is 1.0"),
        ({"epochs": None}, "epochs is None"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "128"}, "batch_size is '128'"),
        ({"lr": 0}, "lr is 0, expected a number above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"lr": "1e-3"}, "lr is '1e-3'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": True}, "seed is True"),
        ({"progress": "no"}, "progress is 'no'"),
        ({"digits": None}, "digits are None"),
        ({"out": ""}, "'' is no path"),
        ({"out": None}, "None is no path"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(tmp_path: Path, setting: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        train_digit_network(**{"out": tmp_path, "digits": "builtin", **setting})
    assert str(caught.value).endswith(".") and not any(tmp_path.iterdir())


def test_the_command_line_may_set_each_number_of_the_training() -> None:
    assert set(SETTINGS) == {"epochs", "batch_size", "lr", "seed"}


def test_a_training_that_diverges_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the loss is (nan|inf) in epoch 1: train with an lr below 1e\+30\."):
        train_digit_network(tmp_path, digits="builtin", epochs=1, batch_size=64, lr=1e30, progress=False)
    assert not any(tmp_path.iterdir())


def test_accuracy_needs_labelled_digits() -> None:
    network, digits = load_digit_network(), load_digits("builtin", "test")
    unlabelled = replace(digits, labels=0 * digits.labels - 1)
    for wrong in (None, digits.images, unlabelled):
        with pytest.raises(ValueError, match="without labels, expected labelled Digits"):
            accuracy(network, wrong)
    with pytest.raises(ValueError, match="batch_size is 0"):
        accuracy(network, digits, batch_size=0)


def test_training_needs_labels_and_at_least_one_batch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size is 2000, expected at most the 1,297 training digits"):
        train_digit_network(tmp_path, digits="builtin", batch_size=2_000)
    digits = tmp_path / "mine"
    digits.mkdir()
    for shade in range(3):
        image = Image.new("L", (28, 28))
        image.paste(200 + shade, (10, 5, 14, 22))
        image.save(digits / f"{shade}.png")
    with pytest.raises(ValueError, match="have no labels"):
        train_digit_network(tmp_path, digits=digits)
    assert not (tmp_path / "digit-network.safetensors").exists()


# ---- as the loss of a training


def test_the_training_loss_is_the_squared_error_and_a_share_of_the_distance(loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    prediction.requires_grad_()
    both = PerceptualMSE(0.5, loss)
    both(prediction, truth).backward()
    (expected,) = torch.autograd.grad(F.mse_loss(prediction, truth) + 0.5 * loss(prediction, truth), prediction)
    torch.testing.assert_close(prediction.grad, expected)
    assert both.describe() == f"MSE + 0.5 · vgg16 relu1_2 relu2_2, weights {loss.sha256[:12]}"
    assert not [p for p in both.parameters() if p.requires_grad]


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), None, "0.04", True])
def test_a_weight_that_is_no_number_from_0_on_is_one_sentence(loss: PerceptualLoss, weight: object) -> None:
    with pytest.raises(ValueError, match=rf"^weight is {weight!r}, expected a number of at least 0\.$"):
        PerceptualMSE(weight, loss)


@pytest.mark.parametrize("perceptual", [None, "vgg16", PerceptualLoss, nn.MSELoss()])
def test_another_distance_is_one_sentence(perceptual: object) -> None:
    with pytest.raises(ValueError, match=r"^perceptual is a \w+, expected a PerceptualLoss\.$"):
        PerceptualMSE(0.04, perceptual)


def test_the_training_loss_checks_its_frames(loss: PerceptualLoss) -> None:
    prediction, truth = videos()
    both = PerceptualMSE(0.5, loss)
    for arguments, sentence in (
        ((None, truth), "prediction is a NoneType"),
        ((prediction, truth.numpy()), "truth is a ndarray"),
        ((prediction, truth[:, :1]), "prediction has shape .* and truth"),  # which would broadcast
    ):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            both(*arguments)
