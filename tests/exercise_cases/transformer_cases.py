"""Answers to the exercises of notebook 3; what the tables hold is said in ``data_cases.py``."""

from __future__ import annotations

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


RIGHT = {
    "patchify": [patchify_by_slices, patchify_by_unshuffle],
    "rollout_windows": [count_windows, lambda steps, chunk: (steps + chunk - 1) // chunk],
}
MISTAKES = {
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
    "rollout_windows": [
        (lambda steps, chunk: steps // chunk, "rollout_windows(31, 10) is 3, expected 4: a last call"),
        (lambda steps, chunk: steps // chunk + 1, "rollout_windows(10, 10) is 2, expected 1: one call too many"),
        (lambda steps, chunk: steps / chunk, "has type float, expected int: the right number as a float"),
        (lambda steps, chunk: chunk, "rollout_windows(10, 10) is 10, expected 1"),
    ],
}
