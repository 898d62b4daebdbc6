"""Answers to the exercises of notebook 3; what the tables hold is said in ``data_cases.py``."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def patchify_by_slices(video, patch):
    rows, columns = video.shape[3] // patch, video.shape[4] // patch
    tokens = []
    for row in range(rows):
        for column in range(columns):
            block = video[..., row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append(block.movedim(2, -1).flatten(2))
    return torch.stack(tokens, dim=2)


def patchify_by_unshuffle(video, patch):
    # (B·T, C·patch², h, w), the channel outermost; (B, T, N, patch², C), the channel innermost
    cells = F.pixel_unshuffle(video.flatten(0, 1), patch).flatten(2).transpose(1, 2)
    return cells.unflatten(2, (video.shape[2], -1)).transpose(2, 3).flatten(2).unflatten(0, video.shape[:2])


def channel_first(video, patch):
    return F.unfold(video.flatten(0, 1), patch, stride=patch).mT.unflatten(0, video.shape[:2])


def last_value_wrong(video, patch):
    tokens = patchify_by_slices(video, patch)
    tokens[-1, -1, -1, -1] += 1e-3
    return tokens


def count_windows(steps, chunk):
    calls = 0
    while steps > 0:
        steps, calls = steps - chunk, calls + 1
    return calls


def attention_by_einsum(q, k, v):
    weights = torch.einsum("bqd,bkd->bqk", q, k).div(q.shape[-1] ** 0.5).exp()
    return torch.einsum("bqk,bkv->bqv", weights / weights.sum(-1, keepdim=True), v)


def rotate_as_complex(vectors, places, speeds):
    turned = torch.view_as_complex(vectors.unflatten(1, (-1, 2))) * torch.exp(1j * places[:, None] * speeds)
    return torch.view_as_real(turned).flatten(1)


def hunt_by_pairs(predict, clip, past):
    """The table filled by hand, with another change than the lesson makes."""
    horizon = predict(clip).shape[1]
    table = torch.zeros(horizon, clip.shape[1] - past, dtype=torch.bool)
    for t in range(past, clip.shape[1]):
        other = torch.cat([clip[:, :t], 0.5 * clip[:, t : t + 1] + 0.7, clip[:, t + 1 :]], dim=1)
        for k in range(horizon):
            table[k, t - past] = not torch.equal(predict(other)[:, k], predict(clip)[:, k])
    return table


def hunt_and_leave_it_changed(predict, clip, past):
    table = hunt_by_pairs(predict, clip, past)
    clip[:, past:] = 1 - clip[:, past:]
    return table


SQUARE = np.zeros((1, 28, 28), np.uint8)
SQUARE[:, 4:24, 4:24] = 255
MIDDLE, SLOW, FAST = np.array([[0.5, 0.5]]), np.array([[0.08, 0.06]]), np.array([[0.25, 0.2]])
FRAMED = np.zeros((2, 28, 28), np.uint8)
FRAMED[:, 5:23, 5:23] = 255
FRAMED[:, 7:21, 7:21] = 0


RIGHT = {
    "attention_by_hand": [attention_by_einsum],
    "rotate_pairs": [rotate_as_complex],
    "attention_cost": [lambda t, n, w: (2 * w * (t * n) ** 2, 2 * w * t * n * t + 2 * w * t * n * n)],
    "patchify": [patchify_by_slices, patchify_by_unshuffle],
    "leak_hunt": [hunt_by_pairs],
    "break_the_model": [
        (FRAMED, [[0.2, 0.3], [0.7, 0.6]], [[0.25, 0.1], [0.15, -0.2]]),
        (torch.from_numpy(FRAMED), np.array([[0.2, 0.3], [0.7, 0.6]]), np.array([[0.3, 0.1], [0.1, -0.3]])),
    ],
    "rollout_windows": [count_windows, lambda steps, chunk: (steps + chunk - 1) // chunk],
}
MISTAKES = {
    "attention_by_hand": [
        (lambda q, k, v: (q @ k.mT).softmax(-1) @ v, "not divided by the root of d"),
        (lambda q, k, v: (q @ k.mT / q.shape[-1]).softmax(-1) @ v, "by its root"),
        (lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v, "over the queries"),
        (lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1), "has shape (1, 2, 3), expected (1, 2, 2)"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), "it calls scaled_dot_product_attention"),
    ],
    "rotate_pairs": [
        (lambda x, p, s: rotate_as_complex(x, -p, s), "turn the other way"),
        (lambda x, p, s: x, "nothing is turned"),
        (lambda x, p, s: rotate_as_complex(x, p, s)[0], "has shape"),
        (lambda x, p, s: torch.view_as_complex(x.unflatten(1, (-1, 2))), "rotate_pairs("),
    ],
    "attention_cost": [
        (lambda t, n, w: ((t * n) ** 2 * w, t * n * (t + n) * w), "only half is counted"),
        (lambda t, n, w: (2 * (t * n) ** 2, 2 * t * n * (t + n)), "costs width"),
        (lambda t, n, w: (2 * t * n * t * n * w, 2 * (t + n) ** 2 * w), "tokens that ask"),
        (lambda t, n, w: (2 * t * n * (t + n) * w, 2 * (t * n) ** 2 * w), "attention_cost(2, 3, 5)"),
    ],
    "patchify": [
        (channel_first, "patchify(tensor (2, 3, 2, 4, 6), 2) at index (0, 0, 0, 1) is 1, expected 24"),
        (channel_first, "inside a token the channel comes last"),
        (lambda x, p: patchify_by_slices(x.mT, p), "at index (0, 0, 0, 2)"),
        (lambda x, p: patchify_by_slices(x, p).transpose(1, 2), "axes 1 and 2 are in another order"),
        (lambda x, p: x, "has shape (2, 3, 2, 4, 6), expected (2, 3, 6, 8)"),
        (lambda x, p: x.reshape(*x.shape[:2], -1, p * p * x.shape[2]), "reshape alone"),
        (last_value_wrong, "at index (1, 2, 5, 7) is 287.001, expected 287"),
        (
            lambda x, p: patchify_by_slices(x, p).int(),
            "(two channels, wider than high): the right number in another type",
        ),
        (lambda x, p: patchify_by_slices(x, p).tolist(), "is a list, expected a tensor"),
    ],
    "leak_hunt": [
        (lambda f, clip, past: (f(1 - clip) != f(clip)).transpose(0, 1).flatten(1).any(1), "has shape (3,)"),
        (lambda f, clip, past: hunt_by_pairs(f, clip, past).any(), "has shape (), expected (3, 3)"),
        (lambda f, clip, past: hunt_by_pairs(f, clip, past).mT, "predicted frames go down"),
        (lambda f, clip, past: ~hunt_by_pairs(f, clip, past), "leak_hunt("),
        (lambda f, clip, past: hunt_by_pairs(f, clip, past).float(), "the right number in another type"),
        (lambda f, clip, past: hunt_by_pairs(f, clip[:1], past), "(the second clip of two leaks): only the first clip"),
        (lambda f, clip, past: hunt_by_pairs(f, clip, 3), "a past of five"),
        (hunt_and_leave_it_changed, "it writes into `clip`"),
    ],
    "break_the_model": [
        ((SQUARE, MIDDLE, SLOW), "the model still wins"),
        ((SQUARE, MIDDLE, 0 * SLOW), "nothing moves"),
        ((SQUARE // 4, MIDDLE, FAST), "fewer than 20 pixels above 127"),
        ((SQUARE / 255, MIDDLE, FAST), "images are float64"),
        ((SQUARE, 36 * MIDDLE, FAST), "starts are from 18 to 18, expected 0 to 1"),
        ((SQUARE, MIDDLE[0], FAST), "one (x, y) for each image"),
        (lambda past: past, "no three arrays"),
    ],
    "rollout_windows": [
        (lambda steps, chunk: steps // chunk, "rollout_windows(31, 10) is 3, expected 4: a last call"),
        (lambda steps, chunk: steps // chunk + 1, "rollout_windows(10, 10) is 2, expected 1: one call too many"),
        (lambda steps, chunk: steps / chunk, "has type float, expected int: the right number as a float"),
        (lambda steps, chunk: chunk, "rollout_windows(10, 10) is 10, expected 1"),
    ],
}
