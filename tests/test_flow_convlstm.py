"""The flow-equivariant ConvLSTM: the property that it claims, and that it is a plain one without velocities."""

from __future__ import annotations

import pytest
import torch

from vidlib.models.convlstm import ConvLSTM, ConvLSTMCell
from vidlib.models.flow_convlstm import FlowConvLSTM, FlowConvLSTMCell, flow, velocities


def moved(maps: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Maps shifted by whole places; only what is far from the border is compared."""
    return maps.roll((down, right), dims=(-2, -1))


def flowing(video: torch.Tensor, velocity: tuple[int, int]) -> torch.Tensor:
    """Frame t of a video ``(B, T, ...)`` shifted by t times a velocity."""
    return torch.stack([moved(frame, t * velocity[0], t * velocity[1]) for t, frame in enumerate(video.unbind(1))], 1)


def random_layer(reach: int, **sizes: int) -> FlowConvLSTMCell:
    layer = FlowConvLSTMCell(2, 3, reach=reach, **sizes).double().requires_grad_(False)
    layer.step.from_state.bias.normal_()
    return layer


def centre(maps: torch.Tensor, margin: int) -> torch.Tensor:
    return maps[..., margin:-margin, margin:-margin]


@pytest.mark.parametrize("velocity", [(0, 1), (-1, 0), (1, -1), (0, 0)])
def test_a_flow_of_the_video_moves_the_velocity_channels(velocity):
    """H'_t(v) = shift(H_t(v - u), t·u) for every v whose v - u is in the set, and for no other reason."""
    steps, layer = 5, random_layer(reach=1)
    video = torch.randn(2, steps, 2, 36, 36, dtype=torch.float64)
    before, after = layer(video)[0], layer(flowing(video, velocity))[0]  # (B, T, V, hidden, h, w)
    known = velocities(1)
    compared = 0
    for v, (down, right) in enumerate(known):
        source = (down - velocity[0], right - velocity[1])
        if source not in known:
            continue
        expected = flowing(before[:, :, known.index(source)], velocity)
        margin = 3 * steps  # what the border, the filters and the shifts have reached by the last step
        torch.testing.assert_close(centre(after[:, :, v], margin), centre(expected, margin))
        compared += 1
    assert compared == (3 - abs(velocity[0])) * (3 - abs(velocity[1]))
    if velocity != (0, 0):  # the same channel is another one
        same = flowing(before[:, :, 4], velocity)
        assert not torch.allclose(centre(after[:, -1, 4], 15), centre(same[:, -1], 15), atol=1e-3)


def test_a_plain_convlstm_has_no_such_property():
    cell = ConvLSTMCell(2, 3).double().requires_grad_(False)
    video = torch.randn(1, 5, 2, 36, 36, dtype=torch.float64)
    before, after = cell(video)[0], cell(flowing(video, (0, 1)))[0]
    assert not torch.allclose(centre(after[:, -1], 15), centre(flowing(before, (0, 1))[:, -1], 15), atol=1e-3)


def test_in_pixels_a_velocity_is_a_whole_place_per_frame():
    model = FlowConvLSTM(past=3, size=160, features=4, hidden=[3], reach=1).double().requires_grad_(False)
    still = torch.zeros(1, 3, 1, 160, 160, dtype=torch.float64)
    still[..., 72:88, 72:88] = torch.rand(16, 16, dtype=torch.float64)
    before, after = (model.encode(video)[0][0][0, -1] for video in (still, flowing(still, (4, 0))))  # (V, hidden, h, w)
    for v, (down, right) in enumerate(velocities(1)):
        if down > -1:  # one place per frame slower is in the set
            expected = moved(before[velocities(1).index((down - 1, right))], 2, 0)
            torch.testing.assert_close(centre(after[v], 9), centre(expected, 9))


@pytest.mark.parametrize("shared_input", [True, False])
def test_without_velocities_it_is_the_plain_cell(shared_input):
    layer = random_layer(reach=0)
    video = torch.randn(2, 4, 2, 8, 8, dtype=torch.float64)
    states, (h, c) = layer(video if shared_input else video[:, :, None])
    expected, (plain_h, plain_c) = layer.step(video)
    torch.testing.assert_close(states[:, :, 0], expected)
    torch.testing.assert_close((h[:, 0], c[:, 0]), (plain_h, plain_c))
    onwards, _ = layer(None, (h, c), steps=3)
    torch.testing.assert_close(onwards[:, :, 0], _without_input(layer.step, (plain_h, plain_c), 3))


def _without_input(step: ConvLSTMCell, state: tuple, steps: int) -> torch.Tensor:
    found = []
    for _ in range(steps):
        state = step.update(step.from_state(state[0]), state[1])
        found.append(state[0])
    return torch.stack(found, dim=1)


def test_its_weights_do_not_grow_with_the_velocities():
    count = [sum(p.numel() for p in FlowConvLSTM(reach=reach).parameters()) for reach in (0, 1, 2)]
    plain = ConvLSTM(features=32, hidden=[24, 24], kernel=3, shared=True)
    assert count == [sum(p.numel() for p in plain.parameters())] * 3


def test_a_channel_flows_along_its_velocity_and_loses_what_leaves():
    maps = torch.zeros(1, 9, 1, 4, 4)
    maps[..., 0, 1] = 1.0
    shifted = flow(maps, 1)[0, :, 0]
    for v, (down, right) in enumerate(velocities(1)):
        expected = torch.zeros(4, 4)
        if down >= 0:
            expected[down, 1 + right] = 1.0
        assert torch.equal(shifted[v], expected), (down, right)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: velocities(-1), "reach is -1, expected a whole number of at least 0"),
        (lambda: flow(torch.zeros(1, 4, 2, 8, 8), 1), r"maps has shape \(1, 4, 2, 8, 8\), expected a tensor \(B, 9, C"),
        (lambda: random_layer(1)(None, None, 3), r"state is None, expected H and C, each \(B, V, hidden, h, w\)"),
        (lambda: random_layer(1)(torch.zeros(1, 2, 3, 8, 8)), r"inputs has shape .* expected a tensor \(B, T, 2, h, w"),
        (lambda: random_layer(1)(torch.zeros(1, 2, 4, 2, 8, 8)), r"inputs has .* expected a tensor \(B, T, 9, 2, h, w"),
        (lambda: FlowConvLSTM(hidden=[]), r"hidden is \[\], expected the channels of each layer"),
        (lambda: FlowConvLSTM(size=30), "size is 30, expected a multiple of patch, which is 4"),
        (lambda: FlowConvLSTM(kernel=4), "kernel is 4, expected an odd number"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
