"""Notebook 2, exercise 1: the pointwise half of a ConvLSTM step."""

import torch
from torch import Tensor

from vidlib.course import check


def cell_update(i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The four gates before sigmoid or tanh and the memory, each (B, hidden, h, w); returns the new H and the new C."""
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # keep some, write some
    h = torch.sigmoid(o) * torch.tanh(c)  # show some of the new memory
    return h, c


if __name__ == "__main__":
    check("cell_update", cell_update)
