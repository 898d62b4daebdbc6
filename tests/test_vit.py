"""The video transformer against attention, blocks and decoder written out by hand."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from vidlib.models.vit import Attention, Block, SwiGLU, VideoTransformer, attend, lay_down, rotary_angles

TINY = {
    "past": 4,
    "horizon": 3,
    "size": 16,
    "patch": 4,
    "dim": 12,
    "layers": 2,
    "heads": 3,
    "expand": 2,
    "feed": "swiglu",
    "context": 0,
    "decoder": 7,
}


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """In float64 and with every parameter far from its start, so that no term can hide."""
    torch.manual_seed(0)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return module


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def video(frames: int = 4, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return random(batch, frames, 1, 16, 16, dtype=dtype)


def turned(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021) as complex numbers: (M, N, heads, d), feature k and k + d/2 are one of them."""
    half = x.shape[-1] // 2
    number = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angles)[:, None]
    return torch.cat([number.real, number.imag], -1)


def by_hand(
    attention: Attention, x: torch.Tensor, angles: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(QKᵀ/√d)·V with one einsum a product; Q, K and V lie one after the other, head after head."""
    dim, heads = x.shape[-1], attention.heads
    q, k, v = (
        (x @ attention.qkv.weight[part * dim : (part + 1) * dim].T + attention.qkv.bias[part * dim : (part + 1) * dim])
        .reshape(*x.shape[:2], heads, dim // heads)
        for part in range(3)
    )  # fmt: skip
    if angles is not None:
        q, k = turned(q, angles), turned(k, angles)
    scores = torch.einsum("mihd,mjhd->mhij", q, k) / (dim // heads) ** 0.5
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    mixed = torch.einsum("mhij,mjhd->mihd", weights, v).reshape(x.shape)
    return mixed @ attention.out.weight.T + attention.out.bias, weights


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("rotary", [False, True])
def test_attention_equals_the_softmax_by_hand(heads, rotary):
    attention, x = shaken(Attention(12, heads)), random(5, 7, 12)
    angles = random(7, 6 // heads) * 5 if rotary else None
    mixed, weights = by_hand(attention, x, angles)
    fused, nothing = attention(x, angles)
    plain, seen = attention(x, angles, return_attention=True)
    assert nothing is None
    torch.testing.assert_close(fused, mixed, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(plain, mixed, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(seen, weights, rtol=1e-10, atol=1e-12)


def test_rotary_weights_know_the_difference_of_positions_only():
    attention = shaken(Attention(12, 3))
    x, places = random(2, 5, 12), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 3]]).double()
    angles, shifted, stretched = (rotary_angles(p, 2) for p in (places, places + 7, places * 2))
    _, weights = attention(x, angles, return_attention=True)
    torch.testing.assert_close(attention(x, shifted, return_attention=True)[1], weights, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(attention(x, stretched, return_attention=True)[1], weights)


def test_rotary_angles_share_the_features_among_the_axes():
    cells = torch.tensor([[0, 0], [2, 5]])
    torch.testing.assert_close(rotary_angles(cells, 4), torch.tensor([[0, 0, 0, 0], [2, 0.2, 5, 0.5]]))
    torch.testing.assert_close(rotary_angles(torch.tensor([[3]]), 4)[0], 3 * 100 ** (-torch.arange(4) / 4))


def test_a_patch_is_turned_by_its_row_and_column():
    model = VideoTransformer(**TINY)
    assert torch.equal(model.time_angles, rotary_angles(torch.arange(4)[:, None], 2))
    assert model.space_angles[6].tolist() == [1, 2]  # row 1, column 2; with one feature each


@pytest.mark.parametrize("feed", ["swiglu", "gelu"])
def test_a_block_is_pre_norm_and_twice_residual(feed):
    block, x, angles = shaken(Block(12, 3, "space", expand=2, feed=feed)), random(2, 4, 5, 12), random(5, 2)
    y, _ = by_hand(block.attention, block.norm_attention(x).flatten(0, 1), angles)
    expected = x + y.unflatten(0, (2, 4))
    expected = expected + block.feed(block.norm_feed(expected))
    torch.testing.assert_close(block(x, angles)[0], expected, rtol=1e-10, atol=1e-12)


def test_the_plain_feed_forward_network_is_expand_times_as_wide():
    feed = Block(12, 3, "space", expand=2, feed="gelu").feed
    assert (feed[0].out_features, feed[2].in_features) == (24, 24)


def test_the_gated_feed_forward_network_equals_its_formula():
    feed, x = shaken(SwiGLU(12, 24)), random(2, 5, 12)
    gate, value = feed.widen.weight[:16], feed.widen.weight[16:]  # 2/3 of 24
    a, b = (x @ w.T + bias for w, bias in zip((gate, value), feed.widen.bias.split(16), strict=True))
    expected = (a / (1 + (-a).exp()) * b) @ feed.narrow.weight.T + feed.narrow.bias
    torch.testing.assert_close(feed(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("axis", ["time", "space"])
def test_a_block_mixes_along_its_axis_only(axis):
    block, x, angles = shaken(Block(12, 3, axis)), random(2, 4, 5, 12), random({"time": 4, "space": 5}[axis], 2)
    changed = x.clone()
    changed[1, 2, 3] += torch.arange(12)
    moved = ~torch.isclose(block(x, angles)[0], block(changed, angles)[0], rtol=0, atol=1e-12).all(-1)
    expected = torch.zeros(2, 4, 5, dtype=torch.bool)
    if axis == "time":
        expected[1, :, 3] = True
    else:
        expected[1, 2, :] = True
    assert torch.equal(moved, expected)


def test_return_attention_changes_no_pixel_and_its_rows_sum_to_one():
    model, past = shaken(VideoTransformer(**TINY)), video()
    future, layers = model(past, return_attention=True)
    torch.testing.assert_close(future, model(past), rtol=1e-10, atol=1e-12)
    assert len(layers) == 2
    for seen in layers:
        assert seen["time"].shape == (2, 16, 3, 4, 4) and seen["space"].shape == (2, 4, 3, 16, 16)
        for weights in seen.values():
            assert (weights >= 0).all()
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_the_first_layers_attention_is_that_of_its_tokens():
    model, past = shaken(VideoTransformer(**TINY)), video()
    _, layers = model(past, return_attention=True)
    time, space = model.encoder[0]
    x = model.tokens(past)
    patch_5 = by_hand(time.attention, time.norm_attention(x[:, :, 5]), model.time_angles)[1]
    torch.testing.assert_close(layers[0]["time"][:, 5], patch_5, rtol=1e-10, atol=1e-12)
    x, _ = time(x, model.time_angles)
    frame_2 = by_hand(space.attention, space.norm_attention(x[:, 2]), model.space_angles)[1]
    torch.testing.assert_close(layers[0]["space"][:, 2], frame_2, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("context", [0, 1, 3])
def test_a_token_is_its_patch_its_place_and_its_time(context):
    model, past = shaken(VideoTransformer(**(TINY | {"context": context}))), video()
    tokens = model.tokens(past)
    assert tokens.shape == (2, 4, 16, 12)
    padded = F.pad(past[1, 2, 0], (context,) * 4)
    patch = padded[
        4 : 8 + 2 * context, 12 : 16 + 2 * context
    ]  # row 1, column 3: number 7 of 16, with what surrounds it
    expected = torch.einsum("dij,ij->d", model.embed.weight[:, 0], patch) + model.embed.bias
    expected = expected + model.position[0, 0, 7] + model.time[0, 2, 0]
    torch.testing.assert_close(tokens[1, 2, 7], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_decoder_lays_overlapping_patches_down(channels):
    model, tokens = shaken(VideoTransformer(**(TINY | {"channels": channels}))), random(2, 3, 16, 12)
    wide = model.widen(model.norm(tokens))
    brushes, background = model.brushes()
    # two pixels of margin for what hangs over the edge
    canvas = torch.zeros(2, 3, channels, 20, 20, dtype=torch.float64)
    for n in range(16):
        y, x = 4 * (n // 4), 4 * (n % 4)
        canvas[..., y : y + 8, x : x + 8] += torch.einsum("btk,kcij->btcij", wide[:, :, n], brushes)
    expected = canvas[..., 2:18, 2:18] + background
    torch.testing.assert_close(model.decode(tokens), expected, rtol=1e-10, atol=1e-12)


def test_the_order_of_frames_and_the_place_of_patches_matter():
    model, past = shaken(VideoTransformer(**(TINY | {"horizon": 4}))), video()
    order = [1, 0, 2, 3]
    assert not torch.allclose(model(past[:, order]), model(past)[:, order])
    rolled = past.roll(4, -1)  # one patch to the right
    assert not torch.allclose(model(rolled), model(past).roll(4, -1))


def test_every_future_frame_sees_every_past_pixel():
    model = shaken(VideoTransformer(**TINY))
    past = video(batch=1).requires_grad_()
    for frame in range(3):
        (gradient,) = torch.autograd.grad(model(past)[:, frame].square().sum(), past)
        assert (gradient != 0).all()


def test_a_batch_is_a_loop_over_clips():
    model, past = shaken(VideoTransformer(**TINY)), video(batch=3)
    one_by_one = torch.cat([model(clip[None]) for clip in past])
    torch.testing.assert_close(model(past), one_by_one, rtol=1e-10, atol=1e-12)


def test_gradient_reaches_every_parameter():
    model = shaken(VideoTransformer(**TINY))
    model(video()).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert (model.time.grad != 0).all() and (model.position.grad != 0).all()


def test_the_config_rebuilds_the_model():
    model = shaken(VideoTransformer(**TINY)).float()
    again = VideoTransformer(**json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    past = video(dtype=torch.float32)
    assert torch.equal(again(past), model(past)) and again.config == model.config == TINY | {"channels": 1}
    assert (again.past, again.horizon) == (4, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"feed": "gelu"},
        {"layers": 1, "heads": 1, "expand": 3, "context": 2, "decoder": 5, "patch": 8, "past": 6},
    ],
)
def test_the_number_of_parameters_follows_from_the_numbers(changes):
    model = VideoTransformer(**(TINY | changes))
    c = model.config
    d, p, patches = c["dim"], c["patch"], (c["size"] // c["patch"]) ** 2
    attention = 3 * d * d + 3 * d + d * d + d
    wide = c["expand"] * d
    gated = 8 * round(wide * 2 / 3 / 8)
    feed = {"gelu": 2 * wide * d + wide + d, "swiglu": 3 * gated * d + 2 * gated + d}[c["feed"]]
    block = attention + feed + 2 * d  # two norms, a scale each
    embedding = (p + 2 * c["context"]) ** 2 * d + d + patches * d + c["past"] * d
    decoder = d + d * c["decoder"] + c["decoder"] + c["decoder"] * (2 * p) ** 2 + (p // 2) ** 2
    assert sum(x.numel() for x in model.parameters()) == embedding + 2 * c["layers"] * block + decoder


def test_six_layers_of_8x8_patches_are_the_default():
    model = VideoTransformer()
    assert len(model.encoder) == 6 and model.embed.kernel_size == (8, 8)
    assert [[block.axis for block in layer] for layer in model.encoder] == [["time", "space"]] * 6
    assert model(torch.zeros(1, 10, 1, 64, 64)).shape == (1, 10, 1, 64, 64)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"patch": 5}, "patch is 5, expected an even number that divides size, which is 16"),
        ({"patch": 6}, "patch is 6, expected an even number that divides size, which is 16"),
        ({"patch": 0}, "patch is 0, expected a whole number of at least 1"),
        ({"dim": 15}, "dim is 15, expected a multiple of 4·heads, which is 12"),
        ({"context": -1}, "context is -1, expected a whole number of at least 0"),
        ({"heads": 0}, "heads is 0, expected a whole number of at least 1"),
        ({"layers": 0}, "layers is 0, expected a whole number of at least 1"),
        ({"decoder": 0}, "decoder is 0, expected a whole number of at least 1"),
        ({"dim": 12.0}, "dim is 12.0, expected a whole number of at least 1"),
        ({"horizon": 5}, "horizon is 5, expected 1 to past, which is 4: use rollout"),
        ({"horizon": 0}, "horizon is 0, expected"),
    ],
)
def test_numbers_that_make_no_model_are_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        VideoTransformer(**(TINY | wrong))


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 2), (7, 6)])
def test_the_plain_attention_is_what_the_fused_one_computes(shape):
    q, k, v = torch.randn(3, *shape, dtype=torch.float64)
    mixed, weights = attend(q, k, v)
    torch.testing.assert_close(mixed, F.scaled_dot_product_attention(q, k, v), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(weights @ v, mixed, rtol=0, atol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(shape[:-1], dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_plain_painter_is_the_one_of_half_patches(channels):
    model, tokens = shaken(VideoTransformer(**(TINY | {"channels": channels}))), random(2, 3, 16, 12)
    wide = model.widen(model.norm(tokens))  # (2, 3, 16, decoder)
    maps = wide.flatten(0, 1).transpose(1, 2).unflatten(2, (4, 4))  # (6, decoder, 4, 4)
    plain = lay_down(maps, *model.brushes()).unflatten(0, (2, 3))
    torch.testing.assert_close(plain, model.decode(tokens), rtol=1e-10, atol=1e-12)
