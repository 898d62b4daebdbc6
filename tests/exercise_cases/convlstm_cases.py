"""Answers to the exercises of notebook 2; what the tables hold is said in ``data_cases.py``."""

from __future__ import annotations

import numpy as np
import torch

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


RIGHT = {
    "cell_update": [cell_by_numbers, cell_of_the_package],
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
    "receptive_field": [
        (lambda n, k, p: n * k * p, "receptive_field(1, 3, 1) is 3, expected 1: this is the whole side"),
        (lambda n, k, p: n * (k // 2), "receptive_field(1, 5, 4) is 2, expected 8: these are places"),
        (lambda n, k, p: n * (k - 1) / 2 * p, "has type float, expected int: the right number as a float"),
        (lambda n, k, p: n * (k - 1) * p, "both sides together"),
        (lambda n, k, p: n * (k // 2) * p + 0**n, "receptive_field(0, 5, 4) is 1, expected 0: one too many"),
        (lambda n, k, p: True, "has type bool, expected int"),
    ],
}
