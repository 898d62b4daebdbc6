"""Answers to the exercises of notebook 2; what the tables hold is said in ``data_cases.py``."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from vidlib.models.convlstm import ConvLSTMCell


def cell_by_numbers(i, f, g, o, c):
    new = c / (1 + torch.exp(-f)) + torch.tanh(g) / (1 + torch.exp(-i))
    return new.tanh() / (1 + torch.exp(-o)), new


def cell_of_the_package(i, f, g, o, c):
    with torch.device("meta"):  # its weights play no part in this half of a step; none are drawn at random
        cell = ConvLSTMCell(0, c.shape[1])
    return cell.update(torch.cat([i, f, g, o], dim=1), c)


def sigmoid_everywhere(i, f, g, o, c):
    c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * c.tanh(), c


def old_memory(i, f, g, o, c):
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


def memory_in_place(i, f, g, o, c):
    c *= f.sigmoid()
    c += i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def walk_out(steps, kernel, patch):
    return sum((kernel - 1) // 2 * patch for _ in range(steps))


def parameters_of_the_package(inputs, hidden, kernel):
    with torch.device("meta"):
        cell = ConvLSTMCell(inputs, hidden, kernel)
    return sum(parameter.numel() for parameter in cell.parameters())


def sums_as_one_batch(video, filters):
    batch, frames, channels, height, width = video.shape
    sums = F.conv2d(video.reshape(-1, channels, height, width), filters, padding="same")
    return sums.reshape(batch, frames, -1, height, width)


def sums_in_three_dimensions(video, filters):
    reach = filters.shape[-1] // 2
    return F.conv3d(video.transpose(1, 2), filters[:, :, None], padding=(0, reach, reach)).transpose(1, 2)


def sums_frame_by_frame(video, filters):
    return torch.stack([F.conv2d(x, filters, padding=filters.shape[-1] // 2) for x in video.unbind(1)], dim=1)


def sums_over_channels_of_all_frames(video, filters):
    sums = F.conv2d(video.sum(1), filters, padding=filters.shape[-1] // 2)
    return sums[:, None].expand(-1, video.shape[1], -1, -1, -1)


def looks_ahead_by_later_noise(encode, clip):
    before = encode(clip)
    for t in range(clip.shape[1] - 1):
        later = torch.cat([clip[:, : t + 1], torch.zeros_like(clip[:, t + 1 :])], dim=1)
        if (encode(later)[:, t] != before[:, t]).any():
            return True
    return False


def looks_ahead_by_gradients(encode, clip):
    clip = clip.clone().requires_grad_()
    out = encode(clip)
    for t in range(clip.shape[1] - 1):
        (slope,) = torch.autograd.grad(out[:, t].sum(), clip, retain_graph=True)
        if slope[:, t + 1 :].any():
            return True
    return False


def looks_at_frame_seven(encode, clip):
    changed = clip.clone()
    changed[:, 6] = 1 - changed[:, 6]
    return not torch.equal(encode(changed)[:, :6], encode(clip)[:, :6])


def looks_with_a_tolerance(encode, clip):
    before = encode(clip)
    for t in range(1, clip.shape[1]):
        changed = clip.clone()
        changed[:, t] = 0
        if not torch.allclose(encode(changed)[:, :t], before[:, :t], atol=1e-3):
            return True
    return False


def looks_at_all_that_moves(encode, clip):
    before = encode(clip)
    for t in range(1, clip.shape[1]):
        changed = clip.clone()
        changed[:, t] = 1 - changed[:, t]
        if not torch.equal(encode(changed), before):
            return True
    return False


def looks_and_changes_the_clip(encode, clip):
    before = encode(clip)
    for t in reversed(range(1, clip.shape[1])):
        clip[:, t] = 1 - clip[:, t]
        if not torch.equal(encode(clip)[:, :t], before[:, :t]):
            return True
    return False


RIGHT = {
    "cell_update": [cell_by_numbers, cell_of_the_package],
    "layer_parameters": [
        parameters_of_the_package,
        lambda i, h, k: 4 * h * i * k * k + 4 * h * h * k * k + 4 * h,
    ],
    "input_sums": [sums_as_one_batch, sums_in_three_dimensions],
    "sees_the_future": [looks_ahead_by_later_noise, looks_ahead_by_gradients],
    "best_rates": [[8e-3, 2e-3]],
    "carries_over": [["learning rate halved", "residual to the last frame"]],
    "receptive_field": [walk_out, lambda n, k, p: np.int64(n * (k - 1) * p // 2)],
}
MISTAKES = {
    "cell_update": [
        (sigmoid_everywhere, "cell_update(5 × tensor (1, 4, 8, 8))[0] at index (0, 0, 0, 0) is "),
        (sigmoid_everywhere, "the candidate g goes through tanh"),
        (old_memory, "H looks at the old memory"),
        (lambda i, f, g, o, c: cell_by_numbers(f, i, g, o, c), "i and f are exchanged"),
        (lambda i, f, g, o, c: cell_by_numbers(i, f, g, o, c)[::-1], "the right results in another order"),
        (lambda i, f, g, o, c: (cell_by_numbers(i, f, g, o, c)[0], c), "this is argument 5, unchanged"),
        (lambda i, f, g, o, c: cell_by_numbers(i[0], f[0], g[0], o[0], c[0]), "has shape (4, 8, 8), expected (1"),
        (lambda i, f, g, o, c: cell_by_numbers(i, f, g, o, c)[0].numpy(), "is an ndarray, expected 2 values"),
        (memory_in_place, "the results are right, but it writes into `c`"),
    ],
    "layer_parameters": [
        (lambda i, h, k: 4 * h * (i + h) * k**2, "layer_parameters(1, 4, 3) is 720, expected 736: each map"),
        (lambda i, h, k: 4 * h * ((i + h) * k**2 + 2), "W and U share one bias"),
        (lambda i, h, k: h * ((i + h) * k**2 + 1), "this is one gate, and there are four sums"),
        (lambda i, h, k: 4 * h * ((i + h) * k + 1), "a filter has kernel rows"),
        (lambda i, h, k: 4.0 * h * ((i + h) * k**2 + 1), "has type float, expected int"),
        (lambda i, h, k: 4 * h * (i + h) * k**2 + 4, "layer_parameters(1, 4, 3) is 724, expected 736"),
    ],
    "input_sums": [
        (sums_frame_by_frame, "the results are right, but line"),
        (sums_over_channels_of_all_frames, "(two clips of three frames)"),
        (lambda video, filters: F.conv2d(video.flatten(0, 1), filters, padding="same"), "clips and frames still share"),
        (lambda video, filters: F.conv2d(video.flatten(0, 1), filters).unflatten(0, video.shape[:2]), "pad by half"),
        (
            lambda video, filters: F.conv2d(video.flatten(0, 1), filters, padding=1).unflatten(0, video.shape[:2]),
            "padding 1 fits filters of side 3",
        ),
        (
            lambda video, filters: F.conv2d(
                video.transpose(0, 1).flatten(0, 1), filters, padding=filters.shape[-1] // 2
            ).unflatten(0, video.shape[:2]),
            "(two clips of three frames)",
        ),
    ],
    "sees_the_future": [
        (looks_at_frame_seven, "one changed frame finds some leaks only"),
        (looks_with_a_tolerance, "a leak may be faint"),
        (looks_at_all_that_moves, "sees_the_future(running_mean, tensor (1, 10, 1, 4, 4)) is True, expected False"),
        (looks_and_changes_the_clip, "it writes into `clip`"),
        (lambda encode, clip: not looks_ahead_by_gradients(encode, clip), "True is for the encoder that looks ahead"),
        (lambda encode, clip: False, "(it looks one frame ahead)"),
        (lambda encode, clip: 1.0, "has type float, expected bool"),
    ],
    "best_rates": [
        ((0.002, 0.008), "after two epochs and after six are exchanged"),
        ((0.002, 0.002), "your answer[0] is 0.002: too small: the second is right"),
        ((0.008, 0.008), "by epoch 6 another curve"),
        ((0.0005, 0.002), "your answer[0] is 0.0005: too small"),
        (0.002, "is a float, expected 2 values"),
        ((130.5, 124.6), "these are errors"),
    ],
    "carries_over": [
        (
            {"residual to the last frame", "learning rate halved", "learning rate doubled"},
            "has 1 that does not belong there: one of these costs much in one table",
        ),
        ({"residual to the last frame"}, "has 1 too few: one more"),
        ({"forget bias 0", "no average of the weights"}, "a minus is a gain"),
        ({"residual to the last frame", "learning rate halves"}, "1 that does not belong there and 1 too few"),
        ("residual to the last frame", "expected a set"),
    ],
    "receptive_field": [
        (lambda n, k, p: n * k * p, "receptive_field(1, 3, 1) is 3, expected 1: this is the whole side"),
        (lambda n, k, p: n * (k // 2), "receptive_field(1, 5, 4) is 2, expected 8: these are places"),
        (lambda n, k, p: n * (k - 1) / 2 * p, "has type float, expected int: the right number as a float"),
        (lambda n, k, p: n * (k - 1) * p, "both sides together"),
        (lambda n, k, p: n * (k // 2) * p + 0**n, "receptive_field(0, 5, 4) is 1, expected 0: one too many"),
        (lambda n, k, p: True, "has type bool, expected int"),
    ],
}
