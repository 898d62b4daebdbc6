"""The ConvLSTM against the loop it stands for: one step, one layer, one concatenated convolution at a time."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from vidlib.models.convlstm import ConvLSTM, ConvLSTMCell

TINY = {"past": 4, "horizon": 3, "size": 16, "patch": 4, "features": 6, "hidden": [5, 3], "kernel": 3}


def build(dtype: torch.dtype = torch.float64, **changes) -> ConvLSTM:
    """A small model whose every parameter is far from its start, so that no term can hide."""
    torch.manual_seed(0)
    model = ConvLSTM(**(TINY | changes)).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def video(frames: int = 4, batch: int = 2, dtype: torch.dtype = torch.float64, size: int = 16) -> torch.Tensor:
    return torch.rand(batch, frames, 1, size, size, dtype=dtype, generator=torch.Generator().manual_seed(1))


def blocks(frame: torch.Tensor, patch: int) -> torch.Tensor:
    """Space to depth by reshaping: (B, C, H, W) to (B, C·p², H/p, W/p)."""
    b, c, h, w = frame.shape
    cut = frame.reshape(b, c, h // patch, patch, w // patch, patch)
    return cut.permute(0, 1, 3, 5, 2, 4).reshape(b, c * patch**2, h // patch, w // patch)


def stem(model: ConvLSTM, frame: torch.Tensor) -> torch.Tensor:
    """A frame as the first layer sees it."""
    convolution = model.stem[1]
    return F.gelu(F.conv2d(blocks(frame, model.patch), convolution.weight, convolution.bias, padding=1))


def painted(model: ConvLSTM, maps: torch.Tensor) -> torch.Tensor:
    """Hidden states of all layers side by side, as a frame: the blocks laid back by reshaping."""
    mix, _, to_pixels, _ = model.paint
    mixed = torch.einsum("bchw,oc->bohw", maps, mix.weight[:, :, 0, 0]) + mix.bias[:, None, None]
    out = F.conv2d(F.gelu(mixed), to_pixels.weight, to_pixels.bias, padding=1)
    p, side = model.patch, model.size // model.patch
    out = out.reshape(len(out), model.channels, p, p, side, side).permute(0, 1, 4, 2, 5, 3)
    return out.reshape(len(out), model.channels, model.size, model.size)


def one_step(cell: ConvLSTMCell, x: torch.Tensor | None, h: torch.Tensor, c: torch.Tensor):
    """Equation 3 of Shi et al. 2015: the input beside the state, one convolution for both, then gate by gate."""
    weight, both = cell.from_state.weight, h
    if cell.from_input is not None:
        weight, both = torch.cat([cell.from_input.weight, weight], 1), torch.cat([x, h], 1)
    gates = F.conv2d(both, weight, cell.from_state.bias, padding="same")
    n = cell.hidden
    i, f, g, o = (gates[:, k * n : (k + 1) * n] for k in range(4))
    w_i, w_f, w_o = cell.peephole if cell.peephole is not None else torch.zeros(3, n, 1, 1, dtype=h.dtype)
    i, f = torch.sigmoid(i + w_i * c), torch.sigmoid(f + w_f * c)
    c = f * c + i * torch.tanh(g)
    o = torch.sigmoid(o + w_o * c)
    return o * torch.tanh(c), c


def time_major(model: ConvLSTM, past: torch.Tensor) -> torch.Tensor:
    """The whole model as a loop over time, all layers at each step."""
    side = model.size // model.patch
    states = [(past.new_zeros(len(past), cell.hidden, side, side),) * 2 for cell in model.encoder]
    shared = model.forecaster is None
    for t in range(model.past):
        x = stem(model, past[:, t])
        for k, cell in enumerate(model.encoder):
            states[k] = one_step(cell, x, *states[k])
            x = states[k][0]
    future = []
    for _ in range(model.horizon):
        x = past.new_zeros(len(past), model.config["features"], side, side) if shared else None  # nothing to read
        for k, cell in enumerate(model.encoder if shared else model.forecaster):
            states[k] = one_step(cell, x, *states[k])
            x = states[k][0]
        future.append(painted(model, torch.cat([h for h, _ in states], 1)))
    return torch.stack(future, 1)


@pytest.mark.parametrize("peephole, shared", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("hidden", [[4], [5, 3], [2, 3, 4]])
def test_the_model_equals_a_step_by_step_loop(peephole, shared, hidden):
    model = build(peephole=peephole, shared=shared, hidden=hidden)
    with torch.no_grad():
        torch.testing.assert_close(model(video()), time_major(model, video()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("peephole", [False, True])
def test_the_encoder_gives_every_hidden_state_and_the_last_memory(peephole):
    model = build(peephole=peephole)
    with torch.no_grad():
        outputs, states = model.encode(video())
        h = [torch.zeros(2, cell.hidden, 4, 4, dtype=torch.float64) for cell in model.encoder]
        c = [x.clone() for x in h]
        for t in range(4):
            x = stem(model, video()[:, t])
            for k, cell in enumerate(model.encoder):
                h[k], c[k] = one_step(cell, x, h[k], c[k])
                torch.testing.assert_close(outputs[k][:, t], h[k], rtol=1e-10, atol=1e-12)
                x = h[k]
    for state, last_h, last_c in zip(states, h, c, strict=True):
        torch.testing.assert_close(state[0], last_h, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(state[1], last_c, rtol=1e-10, atol=1e-12)


def test_peepholes_change_the_prediction_and_start_at_zero():
    torch.manual_seed(0)
    plain = ConvLSTM(**TINY).double()
    torch.manual_seed(0)
    seeing = ConvLSTM(**TINY, peephole=True).double()
    past = video()
    torch.testing.assert_close(seeing(past), plain(past), rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        seeing.encoder[0].peephole.fill_(1)
    assert not torch.allclose(plain(past), seeing(past))


@pytest.mark.parametrize("bias", [1.0, 0.0, 2.5])
def test_only_the_forget_gate_starts_biased(bias):
    for cell in (*ConvLSTM(**TINY, forget_bias=bias).encoder, *ConvLSTM(**TINY, forget_bias=bias).forecaster):
        i, f, g, o = cell.from_state.bias.chunk(4)
        assert (f == bias).all() and not any(gate.any() for gate in (i, g, o))
        assert cell.from_input is None or cell.from_input.bias is None  # one bias a gate, not two


def test_a_later_frame_moves_no_earlier_hidden_state():
    model, past = build(peephole=True), video()
    before, _ = model.encode(past)
    for t in range(1, 4):
        changed = past.clone()
        changed[:, t] = 1 - changed[:, t]
        after, _ = model.encode(changed)
        for was, now in zip(before, after, strict=True):
            assert torch.equal(was[:, :t], now[:, :t])
            assert not torch.isclose(was[:, t:], now[:, t:]).flatten(2).all(-1).any()  # and it moves all that follow


def test_a_longer_forecast_begins_with_the_shorter_one():
    model = build()
    _, states = model.encode(video())
    short, _ = model.forecast(states, 3)
    long, hidden = model.forecast(states, 7)
    assert long.shape == (2, 7, 1, 16, 16) and hidden[1].shape == (2, 7, 3, 4, 4)
    torch.testing.assert_close(long[:, :3], short, rtol=1e-12, atol=1e-14)


def test_a_batch_is_a_loop_over_clips():
    model, past = build(), video(batch=3)
    one_by_one = torch.cat([model(clip[None]) for clip in past])
    torch.testing.assert_close(model(past), one_by_one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("peephole, shared", [(False, False), (True, False), (False, True)])
def test_gradient_reaches_every_parameter(peephole, shared):
    model = build(peephole=peephole, shared=shared)
    model(video()).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("shared", [False, True])
def test_gradient_is_that_of_the_loop(shared):
    model = build(peephole=True, shared=shared)
    batched = torch.autograd.grad(model(video()).square().mean(), list(model.parameters()))
    looped = torch.autograd.grad(time_major(model, video()).square().mean(), list(model.parameters()))
    torch.testing.assert_close(batched, looped, rtol=1e-9, atol=1e-12)


def test_the_config_rebuilds_the_model():
    model = build(torch.float32, peephole=True, hidden=(6, 2), shared=True)
    again = ConvLSTM(**json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    past = video(dtype=torch.float32)
    assert torch.equal(again(past), model(past)) and again.config == model.config
    assert (again.past, again.horizon) == (4, 3)


@pytest.mark.parametrize(
    "hidden, kernel, peephole, shared",
    [([64, 64, 64], 5, False, False), ([4, 6], 3, True, False), ([6], 3, False, True)],
)
def test_the_number_of_parameters_follows_from_the_numbers(hidden, kernel, peephole, shared):
    def cell(inputs, n):
        return 4 * n * (inputs + n) * kernel**2 + 4 * n + 3 * n * peephole

    encoder = sum(cell(i, n) for i, n in zip([10, *hidden], hidden, strict=False))
    forecaster = 0 if shared else sum(cell(i, n) for i, n in zip([0, *hidden], hidden, strict=False))
    stem, paint = 9 * 16 * 10 + 10, sum(hidden) * 10 + 10 + 9 * 10 * 16 + 16
    model = ConvLSTM(features=10, hidden=hidden, kernel=kernel, peephole=peephole, shared=shared)
    assert sum(p.numel() for p in model.parameters()) == stem + encoder + forecaster + paint


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"kernel": 4}, "kernel is 4, expected an odd number"),
        ({"kernel": -1}, "kernel is -1, expected a whole number of at least 1"),
        ({"patch": 5}, "size is 16, expected a multiple of patch, which is 5"),
        ({"patch": 0}, "patch is 0, expected a whole number of at least 1"),
        ({"features": 0}, "features is 0, expected a whole number of at least 1"),
        ({"past": 0}, "past is 0, expected a whole number of at least 1"),
        ({"horizon": 0}, "horizon is 0, expected a whole number of at least 1"),
        ({"horizon": 2.5}, "horizon is 2.5, expected a whole number of at least 1"),
        ({"hidden": []}, r"hidden is \[\], expected the channels of each layer"),
        ({"hidden": 8}, "hidden is 8, expected the channels of each layer"),
        ({"hidden": [8, 0]}, "hidden.* is 0, expected a whole number of at least 1"),
        ({"hidden": [8, "8"]}, "hidden.* is '8', expected a whole number of at least 1"),
    ],
)
def test_numbers_that_make_no_model_are_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        ConvLSTM(**(TINY | wrong))
