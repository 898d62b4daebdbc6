"""Notebook 3, exercise 1: a batch of frames cut into patches, each patch one token."""

import torch

from vidlib.course import check


def patchify(video: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, T, C, H, W) to (B, T, N, patch * patch * C), patches row by row."""
    b, t, c, h, w = video.shape
    # name the axes: 0 b, 1 t, 2 c, 3 patch row, 4 row in the patch, 5 patch column, 6 column in the patch
    cut = video.reshape(b, t, c, h // patch, patch, w // patch, patch)
    together = cut.permute(0, 1, 3, 5, 4, 6, 2)  # which patch first, then row, column and channel inside it
    return together.reshape(b, t, (h // patch) * (w // patch), patch * patch * c)


if __name__ == "__main__":
    check("patchify", patchify)
