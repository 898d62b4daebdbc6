"""Notebook 3, exercise 2: how often a rollout calls the model."""

from vidlib.course import check


def rollout_windows(steps: int, chunk: int) -> int:
    """Predictions needed for ``steps`` frames; the last one may be needed only in part."""
    return -(-steps // chunk)  # rounded up, in whole numbers


if __name__ == "__main__":
    check("rollout_windows", rollout_windows)
