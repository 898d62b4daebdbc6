"""Solution of exercise 2 in 01_data_visualization: the benchmark's MSE as one number."""

import torch

from vidlib.course import check


def mse_per_frame(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Squared error, summed over the pixels of a frame, averaged over clips and frames."""
    squared = (prediction - truth).square()  # (B, T, C, H, W)
    return squared.sum(dim=(2, 3, 4)).mean()  # sum over C, H, W: what belongs to one frame


check("mse_per_frame", mse_per_frame)
