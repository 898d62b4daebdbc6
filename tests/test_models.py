"""What every model promises, whatever it is made of."""

from __future__ import annotations

import pytest
import torch

from vidlib.models.registry import MODELS

TINY = {
    "convlstm": {"hidden": [5, 3], "kernel": 3},
    "video-transformer": {"dim": 12, "layers": 2, "heads": 3, "decoder": 8},
}


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS[name](past=4, horizon=3, size=16, patch=4, **TINY[name])


def video(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 4, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_table_knows_every_model():
    assert TINY.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_a_clip_is_predicted_alone_as_in_a_batch(name):
    model, clips = build(name).eval(), video(3)
    with torch.no_grad():
        together, alone = model(clips), torch.cat([model(clip[None]) for clip in clips])
    assert together.shape == (3, 3, 1, 16, 16) and together.dtype == torch.float32
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda v: v[:, :3], r"past has shape \(2, 3, 1, 16, 16\), expected \(B, 4, 1, 16, 16\)"),
        (lambda v: v[..., :8], r"past has shape \(2, 4, 1, 16, 8\), expected \(B, 4, 1, 16, 16\)"),
        (lambda v: v.expand(-1, -1, 3, -1, -1), r"past has shape \(2, 4, 3, 16, 16\), expected \(B, 4, 1, 16, 16\)"),
        (lambda v: v[0], r"Add a batch axis with video\[None\]"),
        (lambda v: v[:0], "one axis is empty"),
        (lambda v: (v * 255).to(torch.uint8), "past has dtype torch.uint8, expected float"),
        (lambda v: v * 255, "past has values from .* to .*, expected a float in"),
        (lambda v: v * torch.nan, "past has values from nan to nan"),
        (lambda v: v.numpy(), "past is a ndarray, expected a torch tensor"),
    ],
)
@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_video_is_one_sentence(name, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(name)(change(video()))
