"""Notebook 2, exercise 2: how far the state-to-state filters carry what the memory knows."""

from vidlib.course import check


def receptive_field(steps: int, kernel: int, patch: int) -> int:
    """Pixels to one side that the state-to-state filters reach in so many steps."""
    cells_per_step = kernel // 2  # a filter of side 5 sees two places to each side of the middle
    return steps * cells_per_step * patch


if __name__ == "__main__":
    check("receptive_field", receptive_field)
