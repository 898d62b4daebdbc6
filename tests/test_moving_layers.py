"""The painter that moves layers, against loops over pixels and against what it must never do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from test_convlstm import build, video
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.moving_layers import MovingLayers, slide, spread

MOVES = {"layers": 2, "reach": 2}


def pure(side: int, down: int, right: int, size: tuple[int, int] = (6, 7)) -> torch.Tensor:
    """Filters ``(1, 2, 1, side, H, W)`` that move everything by whole pixels."""
    filters = torch.zeros(1, 2, 1, side, *size, dtype=torch.float64)
    filters[:, 0, :, side // 2 - down] = 1  # a pixel that comes from above has moved down
    filters[:, 1, :, side // 2 - right] = 1
    return filters


@pytest.mark.parametrize("down, right", [(0, 0), (2, 0), (-1, 0), (0, 3), (0, -2), (3, -1)])
def test_pure_filters_move_whole_pixels_and_black_comes_in(down, right):
    frame = torch.rand(1, 1, 6, 7, dtype=torch.float64)
    moved = torch.zeros_like(frame)
    for y in range(6):
        for x in range(7):
            if 0 <= y - down < 6 and 0 <= x - right < 7:
                moved[0, 0, y, x] = frame[0, 0, y - down, x - right]
    assert torch.equal(slide(frame, pure(7, down, right)), moved)


def by_loops(layers: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Pixel by pixel: first along y, then along x."""
    side, (height, width) = filters.shape[3], layers.shape[2:]
    for axis in (0, 1):
        moved = torch.zeros_like(layers)
        for y in range(height):
            for x in range(width):
                for i in range(side):
                    from_y, from_x = (y + i - side // 2, x) if axis == 0 else (y, x + i - side // 2)
                    if 0 <= from_y < height and 0 <= from_x < width:
                        moved[:, :, y, x] += filters[:, axis, :, i, y, x] * layers[:, :, from_y, from_x]
        layers = moved
    return layers


def test_every_pixel_has_a_filter_of_its_own():
    torch.manual_seed(0)
    layers = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    filters = torch.rand(2, 2, 3, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(slide(layers, filters), by_loops(layers, filters), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_spreading_is_bilinear_interpolation_forwards_and_backwards(dtype):
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 4, 5, dtype=dtype, requires_grad=True)
    ours, theirs = spread(maps, 6), F.interpolate(maps, scale_factor=6, mode="bilinear")
    weights = torch.rand_like(theirs)
    gradients = [torch.autograd.grad((weights * each).sum(), maps)[0] for each in (ours, theirs)]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*gradients)


def some_painter(**changes) -> MovingLayers:
    torch.manual_seed(0)
    sizes = {"layers": 2, "reach": 1, "channels": 1, "patch": 2, "alone": 0.5}
    painter = MovingLayers(5, 6, **(sizes | changes)).double().eval()
    with torch.no_grad():
        for parameter in painter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return painter


def some_maps(frames: int) -> torch.Tensor:
    """Hidden states of so many frames of two clips, on a map of 3×4."""
    return torch.randn(2 * frames, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))


def some_frame(channels: int = 1) -> torch.Tensor:
    return torch.rand(2, channels, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def in_loops(painter: MovingLayers, maps: torch.Tensor, last: torch.Tensor, seen: torch.Tensor, mask=None):
    """Frame after frame and layer after layer; ``mask`` in the place of the painter's own."""
    flying = [last[:, 0] * torch.sigmoid(2 * painter.cut(seen))[:, k] for k in range(2)]
    for t in range(len(maps) // 2):
        now = maps[2 * t : 2 * t + 2]
        filters, shown = painter.filters(now)
        shown = shown if mask is None else mask
        flying = [by_loops(f[:, None], filters[:, :, k : k + 1])[:, 0] for k, f in enumerate(flying)]
        one, other = flying
        yield shown * (one + other - one * other)[:, None] + (1 - shown) * painter.draw(now)


def test_the_painter_equals_a_loop_over_frames_and_layers():
    painter, maps, last, seen = some_painter(), some_maps(3), some_frame(), some_maps(1)
    with torch.no_grad():
        looped = torch.cat(list(in_loops(painter, maps, last, seen)))
        torch.testing.assert_close(painter(maps, last, seen), looped, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alone", [0.0, 0.25, 0.5, 1.0])
def test_in_training_a_share_of_the_clips_is_not_drawn_at_all(alone):
    painter, maps, last, seen = some_painter(alone=alone), some_maps(3), some_frame(), some_maps(1)
    with torch.no_grad():
        looped = {mask: torch.cat(list(in_loops(painter, maps, last, seen, mask))) for mask in (None, 1)}
        mixed, moved = (frames.unflatten(0, (3, 2)) for frames in looped.values())  # (T, B, C, H, W)
        torch.manual_seed(0)
        painter.train()
        kinds = []
        for _ in range(200):
            painted = painter(maps, last, seen).unflatten(0, (3, 2))
            for clip in range(2):
                is_moved = torch.allclose(painted[:, clip], moved[:, clip])
                assert is_moved or torch.allclose(painted[:, clip], mixed[:, clip])
                kinds.append(is_moved)
    share = sum(kinds) / len(kinds)
    assert share == alone if alone in (0, 1) else alone - 0.1 < share < alone + 0.1


def test_filters_share_out_what_is_there_and_differ_from_place_to_place():
    filters, shown = some_painter().filters(some_maps(2))
    assert filters.shape == (4, 2, 2, 3, 6, 8) and (filters > 0).all()
    torch.testing.assert_close(filters.sum(3), torch.ones(4, 2, 2, 6, 8, dtype=torch.float64))
    assert (filters.var((4, 5)) > 0).all()
    assert shown.shape == (4, 1, 6, 8) and shown.min() > 0 and shown.max() < 1 and shown.var() > 0


def test_a_fresh_painter_mostly_leaves_everything_where_it_is_and_draws_half():
    torch.manual_seed(0)
    fresh = MovingLayers(5, 6, layers=3, reach=4, channels=1, patch=4, alone=0.5)
    filters, shown = fresh.filters(0.1 * some_maps(1).float())
    assert (filters.argmax(3) == 4).all()
    torch.testing.assert_close(shown, torch.full_like(shown, 0.5), rtol=0, atol=0.1)


def test_moved_light_stays_between_black_and_white():
    painter, last = some_painter(), (some_frame() > 0.5).double()
    filters, _ = painter.filters(some_maps(9))
    layers = painter.fly(filters, last, some_maps(1))
    assert layers.shape == (18, 2, 1, 6, 8) and layers.min() >= 0 and layers.max() <= 1 and layers.max() > 0
    assert not painter.fly(filters, torch.zeros_like(last), some_maps(1)).any()  # there is nothing to move


def test_colours_move_together():
    painter, last = some_painter(channels=3), some_frame(3)
    gray = some_painter()
    filters, seen = painter.filters(some_maps(4))[0], some_maps(1)
    gray.cut.load_state_dict(painter.cut.state_dict())
    together = painter.fly(filters, last, seen)
    for channel in range(3):
        alone = gray.fly(filters, last[:, channel : channel + 1], seen)
        torch.testing.assert_close(together[:, :, channel : channel + 1], alone)


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"reach": 0}, {"patch": 0}, {"channels": 1.5}])
def test_numbers_that_make_no_painter_are_one_sentence(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is .*, expected a whole number of at least 1"):
        some_painter(**wrong)


# In a ConvLSTM ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_the_model_cuts_by_the_encoders_last_states_and_moves_by_the_forecasters(shared):
    model, past = build(shared=shared, **MOVES).eval(), video()
    _, states = model.encode(past)
    frames, outputs = model.forecast(states, 3, past[:, -1])
    seen = torch.cat([h for h, _ in states], 1)
    maps = torch.cat([h.transpose(0, 1).flatten(0, 1) for h in outputs], 1)  # (T·B, states, h, w)
    painted = model.paint(maps, past[:, -1], seen).unflatten(0, (3, 2)).transpose(0, 1)
    torch.testing.assert_close(frames, painted)
    assert torch.equal(model(past), frames)


def test_its_states_are_those_of_the_plain_model():
    moving, plain = build(**MOVES), build()
    shared = {name: weight for name, weight in moving.state_dict().items() if not name.startswith("paint.")}
    plain.load_state_dict(shared, strict=False)
    states = [model.forecast(model.encode(video())[1], 3, video()[:, -1])[1] for model in (moving, plain)]
    for of_moving, of_plain in zip(*states, strict=True):
        torch.testing.assert_close(of_moving, of_plain)


@pytest.mark.parametrize("training", [False, True])
def test_gradient_reaches_every_parameter(training):
    model = build(**MOVES).train(training)
    torch.manual_seed(0)  # in training this clip is drawn and that one is not
    model(video()).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_batch_is_a_loop_over_clips_and_a_longer_forecast_begins_with_the_shorter():
    model, past = build(**MOVES).eval(), video(batch=3)
    torch.testing.assert_close(model(past), torch.cat([model(clip[None]) for clip in past]), rtol=1e-10, atol=1e-12)
    _, states = model.encode(past)
    long = model.forecast(states, 7, past[:, -1])[0]
    torch.testing.assert_close(long[:, :3], model(past), rtol=1e-12, atol=1e-14)


def test_without_the_last_frame_there_is_nothing_to_move():
    model, past = build(**MOVES), video()
    _, states = model.encode(past)
    with pytest.raises(ValueError, match=r"last is None, expected the last frame seen, \(B, C, H, W\)"):
        model.forecast(states, 3)
    with pytest.raises(ValueError, match="last has shape"):
        model.forecast(states, 3, past[:, -2:])
    with pytest.raises(ValueError, match="layers is -1, expected a whole number of at least 0"):
        ConvLSTM(layers=-1)
