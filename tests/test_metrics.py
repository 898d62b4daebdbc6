"""Metrics agree with numbers worked out by hand, with scikit-image and torchmetrics; evaluation streams."""

import json
import math
import weakref
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from vidlib import metrics
from vidlib.backbones import load_digit_network
from vidlib.baselines import AllBlack, CopyLast, PhysicsOracle
from vidlib.digits import Digits, MNISTUnavailable, load_digits
from vidlib.iterative import rollout
from vidlib.metrics import (
    TITLES,
    Scores,
    evaluate,
    identity,
    mae_per_frame,
    mse_per_frame,
    psnr_per_frame,
    sharpness,
    ssim_per_frame,
    table,
)
from vidlib.moving_mnist import MovingMNIST, Trajectories, paste

PER_FRAME = [mse_per_frame, mae_per_frame, psnr_per_frame, ssim_per_frame]


def videos(*shape, seed=0):
    """A truth with black areas, as digits on black have, and a prediction near it that leaves [0, 1]."""
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.normal(-0.2, 0.6, shape), 0, 1)
    prediction = truth + rng.normal(0, 0.2, shape)
    return torch.from_numpy(prediction).float(), torch.from_numpy(truth).float()


def stored_clips(count, frames=20, size=16, seed=0):
    """uint8 clips of a bright square that moves one pixel a frame and never touches the edge."""
    rng = np.random.default_rng(seed)
    clips = np.zeros((count, frames, 1, size, size), np.uint8)
    for clip in clips:
        x, y, light = rng.integers(0, size), rng.integers(1, size - 5), rng.integers(100, 256)
        for t, frame in enumerate(clip[:, 0]):
            left = 1 + (x + t) % (size - 5)
            frame[y : y + 4, left : left + 4] = light
    return clips


class Blur(nn.Module):
    """Predicts a constant mixture of the frames it saw: quick, with a parameter, and depends on each clip."""

    def __init__(self, past=10, horizon=10):
        super().__init__()
        self.past, self.horizon = past, horizon
        self.weight = nn.Parameter(torch.linspace(0.2, 1.3, horizon))

    def forward(self, past):
        return past.mean(1, keepdim=True) * self.weight[:, None, None, None] - 0.01


# One metric of one batch ------------------------------------------------------------------------------------------


def test_worked_by_hand():
    truth = torch.zeros(2, 2, 1, 10, 10)
    prediction = torch.zeros(2, 2, 1, 10, 10)
    prediction[0, 0] = 0.1  # 100 pixels off by 0.1
    prediction[1, 0, 0, :2, 0] = 0.5  # 2 pixels off by 0.5
    prediction[0, 1, 0, 0, 0] = -2  # unclipped: 4; clipped: a perfect frame
    mse = mse_per_frame(prediction, truth).tolist()
    assert mse == pytest.approx([(1.0 + 0.5) / 2, 4.0 / 2])
    assert mae_per_frame(prediction, truth).tolist() == pytest.approx([(10.0 + 1.0) / 2, 2.0 / 2])
    # 0.01 per pixel is 20 dB, 0.005 is 23.01 dB; both perfect frames count the cap.
    assert psnr_per_frame(prediction, truth).tolist() == pytest.approx([(20 - 10 * math.log10(0.005)) / 2, 100.0])


def test_mse_per_frame_is_4096_times_the_mse_per_pixel():
    prediction, truth = videos(3, 2, 1, 64, 64)
    per_pixel = nn.functional.mse_loss(prediction, truth).item()
    assert mse_per_frame(prediction, truth).mean().item() == pytest.approx(4096 * per_pixel, rel=1e-6)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(3, 7, 1, 64, 64), (1, 3, 1, 7, 12), (2, 1, 3, 20, 9)])
def test_ssim_equals_scikit_image(data_range, shape):
    prediction, truth = videos(*shape)
    clipped, exact = prediction.clamp(0, 1).double().numpy(), truth.double().numpy()
    expected = np.zeros(shape[1])
    for b, t in np.ndindex(shape[:2]):
        found = structural_similarity(clipped[b, t], exact[b, t], data_range=data_range, channel_axis=0)
        expected[t] += found / shape[0]
    found = ssim_per_frame(prediction, truth, data_range)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)


def test_ssim_equals_scikit_image_on_nearly_equal_bright_frames():
    # The variance is the small difference of two large moments here: the case that float32 would lose.
    truth = 0.95 + 0.001 * torch.rand(1, 1, 1, 64, 64)
    prediction = truth + 0.001 * torch.rand(1, 1, 1, 64, 64)
    expected = structural_similarity(
        prediction[0, 0, 0].double().numpy(), truth[0, 0, 0].double().numpy(), data_range=1
    )
    assert ssim_per_frame(prediction, truth).item() == pytest.approx(expected, abs=1e-9)


def test_psnr_equals_scikit_image():
    prediction, truth = videos(3, 2, 1, 16, 16)
    clipped = prediction.clamp(0, 1).double().numpy()
    expected = [
        np.mean([peak_signal_noise_ratio(truth[b, t].double().numpy(), clipped[b, t], data_range=1) for b in range(3)])
        for t in range(2)
    ]
    np.testing.assert_allclose(psnr_per_frame(prediction, truth).numpy(), expected, atol=1e-9)


def test_a_perfect_prediction():
    _, truth = videos(2, 3, 1, 16, 16)
    assert mse_per_frame(truth, truth).tolist() == [0, 0, 0]
    assert mae_per_frame(truth, truth).tolist() == [0, 0, 0]
    assert psnr_per_frame(truth, truth).tolist() == [100, 100, 100]
    assert ssim_per_frame(truth, truth).tolist() == pytest.approx([1, 1, 1], abs=1e-12)


def test_the_published_ssim_is_the_more_flattering_one():
    # Its larger constants forgive faint noise on black, such as a network leaves.
    truth = torch.from_numpy(stored_clips(2, size=64)).float() / 255
    prediction = truth + 0.02 * torch.rand_like(truth)
    assert (ssim_per_frame(prediction, truth, 2.0) > ssim_per_frame(prediction, truth) + 0.02).all()


def test_sharpness_by_hand():
    ramp = torch.zeros(1, 2, 1, 6, 6)
    ramp[0, 0, 0] = 0.03 * torch.arange(6)[:, None] + 0.04 * torch.arange(6)  # a plane: gradient (0.03, 0.04)
    assert sharpness(ramp).tolist() == pytest.approx([0.05, 0], abs=1e-8)


def test_blur_lowers_sharpness():
    video = torch.from_numpy(stored_clips(2)).float() / 255
    blurred = nn.functional.avg_pool3d(video.transpose(1, 2), (1, 5, 5), stride=1, padding=(0, 2, 2)).transpose(1, 2)
    assert (sharpness(blurred) < 0.8 * sharpness(video)).all()


@pytest.mark.parametrize("metric", PER_FRAME)
def test_refuses_what_cannot_be_compared(metric):
    prediction, truth = videos(2, 3, 1, 16, 16)
    with pytest.raises(ValueError, match=r"prediction has shape \(2, 2, 1, 16, 16\) and truth \(2, 3, 1, 16, 16\)"):
        metric(prediction[:, :2], truth)
    with pytest.raises(ValueError, match="truth has dtype torch.uint8"):
        metric(prediction, (truth * 255).byte())
    with pytest.raises(ValueError, match="prediction has values from 0 to 255"):
        metric(255 * truth.round(), truth)
    with pytest.raises(ValueError, match="Add a batch axis"):
        metric(prediction[0], truth[0])
    with pytest.raises(ValueError, match="NaN"):
        metric(prediction * float("nan"), truth)


def test_refuses_frames_smaller_than_a_window():
    small = torch.rand(1, 1, 1, 6, 64)
    with pytest.raises(ValueError, match="6×64 pixels, expected at least 7×7"):
        ssim_per_frame(small, small)
    with pytest.raises(ValueError, match="1×64 pixels, expected at least 2×2"):
        sharpness(small[..., :1, :])


# A model on many clips --------------------------------------------------------------------------------------------


def expected_scores(model, clips, past, horizon, chunk=None):
    """Every figure from the one-batch functions on all clips at once."""
    video = torch.from_numpy(clips).float() / 255
    prediction, truth = rollout(model, video[:, :past], horizon, chunk), video[:, past : past + horizon]
    return {
        "mse": mse_per_frame(prediction, truth),
        "mae": mae_per_frame(prediction, truth),
        "ssim": ssim_per_frame(prediction, truth),
        "ssim_published": ssim_per_frame(prediction, truth, 2.0),
        "psnr": psnr_per_frame(prediction, truth),
        "sharpness": sharpness(prediction.clamp(0, 1)) / sharpness(truth),
    }


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_scores_do_not_depend_on_the_batch_size(batch_size):
    clips, model = stored_clips(7), Blur()
    scores = evaluate(model, clips, batch_size=batch_size, progress=False)
    expected = expected_scores(model, clips, 10, 10)
    assert scores.clips == 7
    assert scores.per_frame.keys() == scores.overall.keys() == expected.keys()
    for key, values in expected.items():
        assert scores.per_frame[key].shape == (10,)
        np.testing.assert_allclose(scores.per_frame[key], values.numpy(), rtol=1e-6, err_msg=key)
        if key != "sharpness":
            assert scores.overall[key] == pytest.approx(values.mean().item(), rel=1e-6)


def test_overall_sharpness_is_a_ratio_of_means():
    scores = evaluate(Blur(), stored_clips(3), progress=False)
    video = torch.from_numpy(stored_clips(3)).float() / 255
    predicted = rollout(Blur(), video[:, :10], 10).clamp(0, 1)
    expected = sharpness(predicted).mean() / sharpness(video[:, 10:]).mean()
    assert scores.overall["sharpness"] == pytest.approx(expected.item(), rel=1e-6)


def test_baselines_by_hand():
    clips = stored_clips(5)
    video = clips.astype(np.float64) / 255
    black = evaluate(AllBlack(), clips, progress=False)
    assert black.overall["mse"] == pytest.approx((video[:, 10:] ** 2).sum((2, 3, 4)).mean())
    assert black.overall["mae"] == pytest.approx(video[:, 10:].sum((2, 3, 4)).mean())
    assert black.overall["sharpness"] == 0
    copied = evaluate(CopyLast(), clips, progress=False)
    expected = ((video[:, 10:] - video[:, 9:10]) ** 2).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(copied.per_frame["mse"], expected, rtol=1e-6)
    assert copied.overall["sharpness"] == pytest.approx(1, rel=1e-6)  # the same square, elsewhere


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_rolls_out_where_the_horizon_is_longer_than_one_prediction(chunk):
    clips, model = stored_clips(3, frames=17), Blur(past=5, horizon=4)
    scores = evaluate(model, clips, past=5, horizon=12, chunk=chunk, progress=False)
    expected = expected_scores(model, clips, 5, 12, chunk)
    np.testing.assert_allclose(scores.per_frame["mse"], expected["mse"].numpy(), rtol=1e-6)


def test_a_shorter_horizon_scores_the_first_frames():
    clips = stored_clips(3)
    whole, short = (evaluate(Blur(), clips, horizon=h, progress=False) for h in (10, 3))
    np.testing.assert_allclose(short.per_frame["ssim"], whole.per_frame["ssim"][:3], rtol=1e-6)


class Lazy:
    """Clips made when asked for, which counts how many of them are alive."""

    def __init__(self, count):
        self.count, self.alive, self.most, self.made = count, 0, 0, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        clip = torch.from_numpy(stored_clips(1, seed=index)[0])
        self.alive, self.made = self.alive + 1, self.made + 1
        self.most = max(self.most, self.alive)
        weakref.finalize(clip, self._gone)
        return clip

    def _gone(self):
        self.alive -= 1


class Watched(Blur):
    """A model that counts how many of its predictions are alive."""

    def __init__(self):
        super().__init__()
        self.alive = self.most = 0

    def forward(self, past):
        future = super().forward(past)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(future, self._gone)
        return future

    def _gone(self):
        self.alive -= 1


def test_streams():
    most = []
    for count in (8, 40):
        clips, model = Lazy(count), Watched()
        scores = evaluate(model, clips, batch_size=4, progress=False)
        assert scores.clips == clips.made == count
        most.append((clips.most, model.most))
    assert most[0] == most[1]  # five times the clips, the same number alive at once
    assert clips.most <= 2 * 4 and model.most <= 2


def test_takes_batches_from_a_dataset_that_makes_them():
    clips = stored_clips(10)

    class Batched:
        asked = []

        def __len__(self):
            return len(clips)

        def batch(self, indices, device=None):
            self.asked.append((list(indices), torch.device(device).type))
            return torch.from_numpy(clips[list(indices)]).to(device)

        def describe(self):
            return "10 clips of squares"

    dataset = Batched()
    scores = evaluate(Blur(), dataset, batch_size=3, limit=8, progress=False)
    assert dataset.asked == [([0, 1, 2], "cpu"), ([3, 4, 5], "cpu"), ([6, 7], "cpu")]
    assert (scores.clips, scores.data) == (8, "10 clips of squares")
    assert scores.overall == pytest.approx(evaluate(Blur(), clips[:8], progress=False).overall)


def test_takes_a_moving_mnist():
    moving_mnist = pytest.importorskip("vidlib.moving_mnist")
    clips = moving_mnist.MovingMNIST(6, digits="builtin", split="test", seed=3)
    scores = evaluate(CopyLast(), clips, batch_size=4, progress=False)
    stacked = np.stack([np.asarray(clips[i]) for i in range(6)])
    pixels = {key: value for key, value in scores.overall.items() if key != "identity"}  # which plain pixels can't say
    assert pixels == pytest.approx(evaluate(CopyLast(), stacked, progress=False).overall)
    assert scores.data == clips.describe()
    assert evaluate(AllBlack(), clips, progress=False).overall["mse"] > 20


def test_baselines_on_mnist_are_those_of_the_benchmark():
    moving_mnist = pytest.importorskip("vidlib.moving_mnist")
    try:
        test_digits = load_digits("mnist", "test", download=False)
    except MNISTUnavailable:
        pytest.skip("MNIST is not on disk")
    clips = moving_mnist.MovingMNIST(300, digits=test_digits.source, split="test")
    for baseline, expected in {CopyLast: 287, AllBlack: 174}.items():
        assert evaluate(baseline(), clips, progress=False).overall["mse"] == pytest.approx(expected, rel=0.04)


def test_takes_a_memory_map_without_a_warning(tmp_path, recwarn):
    clips = stored_clips(4)
    np.save(tmp_path / "clips.npy", clips)
    mapped = np.load(tmp_path / "clips.npy", mmap_mode="r")
    assert evaluate(Blur(), mapped, progress=False).overall == evaluate(Blur(), clips, progress=False).overall
    assert [str(warning.message) for warning in recwarn] == []


def test_limit_beyond_the_end_is_all_clips():
    assert evaluate(AllBlack(), stored_clips(3), limit=99, progress=False).clips == 3


def test_leaves_the_model_as_it_was():
    model = Blur().train()
    evaluate(model, stored_clips(2), progress=False)
    assert model.training and model.weight.grad is None
    assert model.weight.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_scores_and_the_model_comes_back():
    clips, model = stored_clips(5), Blur()
    expected = evaluate(model, clips, progress=False)
    found = evaluate(model, clips, device="cuda", progress=False)
    assert found.overall == pytest.approx(expected.overall, rel=1e-5)
    assert model.weight.device.type == "cpu"


def test_shows_a_progress_bar_only_where_asked(capsys):
    evaluate(AllBlack(), stored_clips(5), batch_size=2, progress=False)
    assert capsys.readouterr().err == ""
    evaluate(AllBlack(), stored_clips(5), batch_size=2)
    assert "5/5" in capsys.readouterr().err


def test_a_half_trained_model_far_outside_the_range_has_a_score():
    class Far(AllBlack):
        def forward(self, past):
            return super().forward(past) + 50

    scores = evaluate(Far(), np.zeros((2, 20, 1, 8, 8), np.uint8), progress=False)
    assert scores.overall["mse"] == pytest.approx(64 * 2500)
    assert scores.overall["psnr"] == pytest.approx(0)  # clipped: every pixel off by 1


def test_refuses_bad_input():
    clips, model = stored_clips(2), Blur()
    with pytest.raises(ValueError, match="clips have 20 frames, expected at least past \\+ horizon = 40"):
        evaluate(model, clips, horizon=30, progress=False)
    with pytest.raises(ValueError, match="expected uint8 clips"):
        evaluate(model, clips.astype(np.float32), progress=False)
    with pytest.raises(ValueError, match="expected uint8 clips"):
        evaluate(model, clips[:, :, 0], progress=False)
    with pytest.raises(ValueError, match="clips is empty"):
        evaluate(model, clips[:0], progress=False)
    for name in ("batch_size", "limit", "horizon", "past"):
        with pytest.raises(ValueError, match=f"{name} is 0, expected"):
            evaluate(model, clips, progress=False, **{name: 0})
    with pytest.raises(ValueError, match=r"past has shape \(2, 5, 1, 16, 16\), expected \(B, 10"):
        evaluate(model, clips, past=5, progress=False)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="predicts NaN or infinity"):
        evaluate(model, clips, progress=False)


# LPIPS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def random_alexnet(monkeypatch):
    """An AlexNet with fixed random filters where torchmetrics would download trained ones."""
    build = torchvision.models.alexnet

    def alexnet(weights=None):
        torch.manual_seed(0)
        return build(weights=None)

    monkeypatch.setattr(torchvision.models, "alexnet", alexnet)


def test_lpips_equals_torchmetrics(random_alexnet):
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    clips, model = stored_clips(3, frames=5, size=64), Blur(past=2, horizon=3)
    arguments = {"past": 2, "horizon": 3, "progress": False}
    scores = evaluate(model, clips, batch_size=2, lpips=True, **arguments)
    video = torch.from_numpy(clips).float() / 255
    prediction = rollout(model, video[:, :2], 3).clamp(0, 1)
    metric = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    for t in range(3):
        metric.reset()
        images = (frames.repeat(1, 3, 1, 1) for frames in (prediction[:, t], video[:, 2 + t]))
        assert scores.per_frame["lpips"][t] == pytest.approx(metric(*images).item(), rel=1e-4)
    again = evaluate(model, clips, lpips=metric.net, **arguments)
    assert again.overall == pytest.approx(scores.overall, rel=1e-4)
    assert scores.overall["lpips"] > 0
    assert "lpips" not in evaluate(model, clips, **arguments).overall


def test_lpips_of_a_perfect_prediction_is_zero(random_alexnet):
    still = np.repeat(stored_clips(2, frames=1, size=64), 4, axis=1)
    scores = evaluate(CopyLast(past=2, horizon=2), still, past=2, horizon=2, lpips=True, progress=False)
    assert scores.overall["lpips"] == 0


def test_lpips_without_its_weights_is_one_sentence(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(RuntimeError, match=r"could not be loaded .*no network.*which is not there .*without lpips"):
        evaluate(AllBlack(), stored_clips(2), lpips=True, progress=False)


def test_lpips_with_a_truncated_weight_file_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").write_bytes(b"PK\x03\x04cut off")
    with pytest.raises(RuntimeError, match="which is there: put a whole file there"):
        metrics.load_lpips()


# Identity ---------------------------------------------------------------------------------------------------------


def apart(count=6, frames=3):
    """Clips of two digits that never touch: video, corners and labels."""
    digits = load_digits("builtin", "test")
    chosen = np.arange(2 * count).reshape(count, 2)
    corners = np.zeros((count, 2, frames, 2), np.int64)
    corners[:, 0] += [1, 2]
    corners[:, 1] += [33, 36]
    corners[:, :, :, 0] += np.arange(frames)
    video = paste(torch.from_numpy(digits.images), Trajectories(chosen, corners, np.zeros(corners.shape[:3], bool)))
    return video.float() / 255, corners, digits.labels[chosen], torch.from_numpy(digits.images[chosen]).float() / 255


def test_true_digits_that_touch_nothing_are_named_as_the_network_names_them_alone():
    video, corners, labels, images = apart()
    alone = load_digit_network()(images.flatten(0, 1)[:, None]).argmax(1).view(labels.shape).numpy()
    share = (alone == labels).mean()
    assert share > 0.7  # it was trained on MNIST, and these are other digits
    assert identity(video, corners, labels).tolist() == pytest.approx([share] * 3)


def test_digits_that_became_others_or_vanished_are_not_recognised():
    video, corners, labels, images = apart()
    kept = identity(video, corners, labels).tolist()
    video[:, 1, :, :, :32] = 0  # the left digit is gone in frame 2
    right = identity(video[:, 1:2], corners[:, 1:, 1:2], labels[:, 1:]).item()
    assert identity(video, corners, labels).tolist() == pytest.approx([kept[0], right / 2, kept[2]])
    differ = labels[:, 0] != labels[:, 1]  # the two digits of a clip change places: each window holds the other one
    swapped = identity(video[differ, :1], corners[differ][:, ::-1, :1], labels[differ])
    assert differ.sum() >= 4 and swapped.item() <= 1 - kept[0]


@pytest.mark.parametrize(("ink", "share"), [(0.0, 0.0), (0.1, 0.0), (0.2, 1.0)])
def test_an_empty_window_is_no_digit_whatever_a_network_would_call_it(ink, share):
    def always_a_three(images):
        return torch.eye(10)[3].expand(len(images), 10)

    video, corners = torch.full((2, 4, 1, 30, 30), ink), np.zeros((2, 1, 4, 2), int)
    found = identity(video, corners, np.full((2, 1), 3), always_a_three)
    assert found.dtype == torch.float64 and found.tolist() == [share] * 4


def test_windows_are_cut_where_x_and_y_say():
    """A network that names a window by its brightest row shows from where it was cut."""
    video = torch.zeros(1, 2, 1, 40, 64)
    video[0, :, 0, 10] = 1
    corners = np.array([[[[30, 3], [36, 10]]]])
    rows = lambda images: images.amax(3)[:, 0, :10]  # noqa: E731
    assert identity(video, corners, np.array([[7]]), rows).tolist() == [1, 0]
    assert identity(video, corners, np.array([[0]]), rows).tolist() == [0, 1]


def test_evaluate_names_the_digits_of_the_predicted_frames():
    clips = MovingMNIST(5, digits="builtin", split="test", seed=3)
    digits, corners, _ = clips.trajectories(range(5))
    expected = identity(clips.batch(range(5))[:, 10:] / 255, corners[:, :, 10:], clips.digits.labels[digits])
    for batch_size in (2, 5):
        scores = evaluate(PhysicsOracle(clips), clips, batch_size=batch_size, progress=False)
        np.testing.assert_allclose(scores.per_frame["identity"], expected)
        assert scores.overall["identity"] == pytest.approx(expected.mean().item())
    assert TITLES["identity"][0] in table({"oracle": scores})
    assert evaluate(AllBlack(), clips, horizon=4, progress=False).per_frame["identity"].tolist() == [0] * 4


def test_clips_that_do_not_know_their_digits_have_no_identity():
    clips = MovingMNIST(2, digits="builtin", split="test", seed=3)
    unnamed = Digits(clips.digits.images, np.full(len(clips.digits), -1), "a folder", "test")
    for others in (clips.batch(range(2)), MovingMNIST(2, digits=unnamed, seed=3)):
        scores = evaluate(CopyLast(), others, progress=False)
        assert "identity" not in scores.overall and TITLES["identity"][0] not in table({"copy-last": scores})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"corners": np.zeros((2, 1, 3, 2), int)}, r"corners are int64 \(2, 1, 3, 2\) and labels int64 \(2, 1\)"),
        ({"corners": np.zeros((2, 1, 4, 2))}, "expected whole numbers"),
        ({"labels": np.zeros(2, int)}, r"\(B, n\) .* for a video of 2 clips and 4 frames"),
        ({"labels": np.zeros(2, int), "corners": np.zeros((2, 4, 2), int)}, r"and labels int64 \(2,\)"),
        ({"labels": np.zeros((2, 0), int), "corners": np.zeros((2, 0, 4, 2), int)}, "n of 1 or more"),
        (
            {"corners": np.full((2, 1, 4, 2), 3)},
            r"corners are from 3 to 3, expected 28×28 windows within frames of 30×30",
        ),
        ({"corners": np.full((2, 1, 4, 2), -1)}, "corners are from -1"),
        ({"video": torch.zeros(2, 4, 3, 30, 30)}, "video has shape"),
    ],
)
def test_identity_says_what_does_not_fit(changes, sentence):
    good = {
        "video": torch.zeros(2, 4, 1, 30, 30),
        "corners": np.zeros((2, 1, 4, 2), int),
        "labels": np.zeros((2, 1), int),
    }
    with pytest.raises(ValueError, match=sentence):
        identity(**(good | changes))


# Scores and their table -------------------------------------------------------------------------------------------


def made_up(mse=10.0, data="1,000 clips", horizon=3, **more):
    overall = {"mse": mse, "mae": 30.0, "ssim": 0.9, "ssim_published": 0.95, "psnr": 20.0, "sharpness": 0.5} | more
    return Scores(overall, {key: np.full(horizon, value) for key, value in overall.items()}, 1000, data)


def test_scores_survive_json():
    scores = evaluate(Blur(), stored_clips(3), progress=False)
    again = Scores.from_dict(json.loads(json.dumps(scores.to_dict(), allow_nan=False)))
    assert (again.overall, again.clips, again.data) == (scores.overall, scores.clips, scores.data)
    for key, values in scores.per_frame.items():
        np.testing.assert_array_equal(again.per_frame[key], values)


def test_scores_of_black_clips_survive_json():
    scores = evaluate(AllBlack(), np.zeros((2, 20, 1, 8, 8), np.uint8), progress=False)
    assert scores.overall["psnr"] == 100 and math.isnan(scores.overall["sharpness"])
    again = Scores.from_dict(json.loads(json.dumps(scores.to_dict(), allow_nan=False)))
    assert math.isnan(again.overall["sharpness"]) and np.isnan(again.per_frame["sharpness"]).all()


@pytest.mark.parametrize("stored", [{}, {"overall": {"mse": 1.0}}, {"overall": 3, "per_frame": {}, "clips": 1}, []])
def test_refuses_what_are_not_scores(stored):
    with pytest.raises(ValueError, match="These are not stored scores"):
        Scores.from_dict(stored)


def test_table():
    lines = table({"ConvLSTM": made_up(12.345), "a|b": made_up(lpips=0.125)}).splitlines()
    assert lines[0].startswith(
        "| model | MSE ↓ | MAE ↓ | SSIM (range 1) ↑ | SSIM (range 2, as published) ↑ | PSNR ↑ | LPIPS ↓"
    )
    assert lines[2] == "| ConvLSTM | 12.35 | 30.00 | 0.9000 | 0.9500 | 20.00 | – | 0.500 | 1,000 |"
    assert lines[3] == "| a\\|b | 10.00 | 30.00 | 0.9000 | 0.9500 | 20.00 | 0.1250 | 0.500 | 1,000 |"
    assert lines[4:] == ["", "Scored on 1,000 clips."]
    assert len({line.replace("\\|", "").count("|") for line in lines[:4]}) == 1
    assert "LPIPS" not in table({"ConvLSTM": made_up()})


def test_never_mixes_data_in_a_table():
    with pytest.raises(ValueError, match=r"different clips \('generated' and 'the official file'\)"):
        table({"a": made_up(data="generated"), "b": made_up(data="the official file")})
    with pytest.raises(ValueError, match=r"different horizons \(10 and 30\)"):
        table({"a": made_up(horizon=10), "b": made_up(horizon=30)})
    with pytest.raises(ValueError, match="scores is {}, expected a dictionary of name → scores"):
        table({})
