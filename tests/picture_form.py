"""What every drawn picture keeps: words that don't touch and stay on the paper, and colours that can be told apart."""

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure


def square(frames: int, start: int = 0, size: int = 16) -> torch.Tensor:
    """A clip ``(frames, 1, size, size)``: one white 2×2 square that moves a pixel to the right each frame."""
    clip = torch.zeros(frames, 1, size, size)
    for t in range(frames):
        clip[t, 0, 4:6, start + t : start + t + 2] = 1
    return clip


def luminance(color) -> float:
    """Relative luminance (WCAG 2.2) of a colour by name or as RGB(A) from 0 to 1."""
    rgb = np.array(mpl.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def assert_apart(texts) -> None:
    """No two of these words touch on the drawn figure."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for i, (word, box) in enumerate(boxes):
        for other, second in boxes[:i]:
            assert not box.overlaps(second), f"{word!r} lies on {other!r}"


def tick_labels(axis) -> list:
    """The labels that are drawn; an axis has more, beyond its ends."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 if tick.label1.get_visible() else tick.label2 for tick in axis.get_major_ticks()
            if low <= tick.get_loc() <= high]  # fmt: skip


def assert_words_apart(figure: Figure) -> None:
    """Tick labels and names at the ends of lines don't touch, and stay on the paper."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        labels = [tick_labels(axes.xaxis), tick_labels(axes.yaxis), axes.texts]
        for texts in labels:
            texts = [text for text in texts if text.get_text() and text.get_visible()]
            assert_apart(texts)
            for text in texts:
                box = text.get_window_extent()
                inside = box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1
                assert inside, f"{text.get_text()!r} leaves the paper"
