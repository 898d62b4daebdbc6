"""Pictures of frames that stand still: film strips, paths, attention, panels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vidlib.checks import check_choice, check_counts, check_mapping, check_texts
from vidlib.viz.style import (
    COLORS,
    DPI,
    EDGE,
    ERROR_KEY,
    ERROR_MAP,
    GRAY,
    INK,
    ORANGE,
    PHONE,
    SKY,
    as_clip,
    as_numbers,
    check_drawing,
    check_labels,
    style,
    without_colour,
)

_CELL, _GAP, _ACROSS = 0.8, 0.05, 5  # inches of a frame and between frames in a strip; frames side by side on a phone
_VEIL = 0.6  # how much a white pixel hides of the attention under it
GLOW = LinearSegmentedColormap.from_list("glow", [(0, "black"), (0.55, "#B06A00"), (0.8, ORANGE), (1, "#FFE3A0")])


@style()
def film_strip(
    rows: Mapping[str, Any],
    *,
    first_frame: int | Mapping[str, int] = 1,
    errors: Collection[str] = ("error",),
    columns: int | None = None,
    title: str | None = None,
) -> Figure:
    """Clips as rows of frames, with row labels at the left and frame numbers above.

    Args:
        rows: label → clip.
        first_frame: the number of each row's first frame, or of some rows by label (the others start at 1).
        errors: labels of rows that hold prediction − truth in [-1, 1]: blue too dark, black correct, orange too bright.
        columns: the most frames to show of a row, evenly spaced from first to last (``None``: all).
        title: a line above the picture.

    Returns:
        the picture; where it is wider than a phone, its ``narrow`` attribute is the same in blocks of five frames.

    Raises:
        ValueError: no rows, or a row that is not one clip; another argument out of range.
    """
    check_mapping("clip", rows=rows)
    check_labels(errors=errors)
    if columns is not None:
        check_counts(columns=columns)
    named = first_frame if isinstance(first_frame, Mapping) else dict.fromkeys(rows, first_frame)
    for label, number in named.items():
        check_choice(rows, **{"a label of first_frame": label})
        check_drawing(title=title, first_frame=number)
    clips = {label: as_clip(video, label) for label, video in rows.items()}
    clips |= {label: without_colour(clip) for label, clip in clips.items() if label in errors}
    starts = {label: named.get(label, 1) for label in clips}
    shown = {
        label: np.linspace(0, len(clip) - 1, min(columns or len(clip), len(clip))).round().astype(int)
        for label, clip in clips.items()
    }
    numbers = {label: [starts[label] + int(i) for i in shown[label]] for label in clips}

    figure = _strip_in_lines(clips, shown, numbers, errors, title)
    if figure.get_figwidth() > PHONE:
        figure.narrow = _strip_in_blocks(clips, shown, numbers, errors, title)
    return figure


def _strip_in_lines(
    clips: Mapping[str, np.ndarray],
    shown: Mapping[str, np.ndarray],
    numbers: Mapping[str, Sequence[int]],
    errors: Collection[str],
    title: str | None,
) -> Figure:
    """Each clip in one line, its label at the left: for screens that are wide enough."""
    left, labels = 0.15 + 0.085 * max(map(len, clips)), list(clips)
    # Frame numbers stand above a row only where they differ from the row before.
    head = [0.22 if i == 0 or numbers[label] != numbers[labels[i - 1]] else 0.0 for i, label in enumerate(labels)]
    legend = 0.38 if any(label in errors for label in labels) else 0.05
    height = (0.34 if title else 0.05) + sum(head) + len(labels) * (_CELL + _GAP) + legend
    width = left + max(map(len, shown.values())) * (_CELL + _GAP) + 0.05
    width = max(width, left + (5.9 if legend > 0.1 else 0), left + 0.1 * len(title or ""))  # room for the words
    figure = Figure(figsize=(width, height), dpi=DPI)
    if title:
        figure.text(left / width, 1 - 0.08 / height, title, va="top", weight="bold", size=11)
    top = height - (0.34 if title else 0.05)
    for label, space in zip(labels, head, strict=True):
        top -= space + _CELL
        axes, centers = _add_strip(figure, left, top, clips[label][shown[label]], label, label in errors)
        axes.set_xticks(centers, numbers[label] if space else [""] * len(centers), size=8)
        axes.xaxis.tick_top()
        axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=5)
        top -= _GAP
    if legend > 0.1:
        _add_error_key(figure, left, 0.1, f"error = prediction − truth: {ERROR_KEY}")
    return figure


def _strip_in_blocks(
    clips: Mapping[str, np.ndarray],
    shown: Mapping[str, np.ndarray],
    numbers: Mapping[str, Sequence[int]],
    errors: Collection[str],
    title: str | None,
) -> Figure:
    """Five frames of every clip, then the next five, labels above them: on a phone a word at the left costs width."""
    longest, signed = max(map(len, shown.values())), any(label in errors for label in clips)
    blocks = [
        {label: part for label, at in shown.items() if len(part := at[start : start + _ACROSS])}
        for start in range(0, longest, _ACROSS)
    ]
    lines = textwrap.wrap(title or "", 40)
    line, word, between = 0.2, 0.21, 0.12
    height = len(lines) * line + 0.12 + sum(len(block) * (word + _CELL) + between for block in blocks) + 0.4 * signed
    width = _ACROSS * (_CELL + _GAP) + 2 * _GAP
    figure = Figure(figsize=(width, height), dpi=DPI)
    top = height - 0.06
    if lines:
        figure.text(_GAP / width, top / height, "\n".join(lines), va="top", weight="bold", size=11)
        top -= len(lines) * line + 0.04
    for i, block in enumerate(blocks):
        for label, part in block.items():
            words = f"{label} · {_in_words(numbers[label][i * _ACROSS : i * _ACROSS + len(part)])}"
            figure.text(_GAP / width, (top - word / 2) / height, words, va="center", size=10.5)
            top -= word + _CELL
            axes, _ = _add_strip(figure, _GAP, top, clips[label][part], f"{label} {i}", label in errors)
            axes.set_xticks([])
        top -= between
    if signed:
        _add_error_key(figure, _GAP, 0.1, ERROR_KEY)
    return figure


def _in_words(numbers: Sequence[int]) -> str:
    """
    >>> _in_words([11, 12, 13]), _in_words([11, 14]), _in_words([3])
    ('frames 11–13', 'frames 11, 14', 'frame 3')
    """
    if len(numbers) == 1:
        return f"frame {numbers[0]}"
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"frames {numbers[0]}–{numbers[-1]}"
    return f"frames {', '.join(map(str, numbers))}"


def _add_strip(
    figure: Figure, left: float, bottom: float, frames: np.ndarray, label: str, signed: bool
) -> tuple[Axes, np.ndarray]:
    """Frames side by side with their lower left corner at this place in inches; the column of each one's centre."""
    width, height = figure.get_size_inches()
    strip, centers = _side_by_side(frames, _GAP / _CELL)
    span = len(centers) * (_CELL + _GAP) - _GAP
    axes = figure.add_axes((left / width, bottom / height, span / width, _CELL / height), label=label)
    colors = (ERROR_MAP if signed else mpl.colormaps["gray"]).with_extremes(bad="white")
    axes.imshow(strip, cmap=colors, vmin=-1 if signed else 0, vmax=1, interpolation="nearest", aspect="auto")
    for center in centers:  # a digit at the rim of its frame ends there, and not in the paper
        _add_rim(axes, center - frames.shape[2] / 2, -0.5, frames.shape[2], frames.shape[1])
    axes.tick_params(length=0, pad=1)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes, centers


def _add_rim(axes: Axes, x: float, y: float, width: float, height: float) -> None:
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=EDGE, linewidth=0.7, clip_on=False))


def _add_error_key(figure: Figure, left: float, bottom: float, words: str) -> None:
    width, height = figure.get_size_inches()
    span = min(1.2, width / 6)
    axes = figure.add_axes((left / width, bottom / height, span / width, 0.12 / height), label="error legend")
    axes.imshow(np.linspace(-1, 1, 65)[None], cmap=ERROR_MAP, aspect="auto")
    axes.set_axis_off()
    figure.text((left + span + 0.1) / width, (bottom + 0.06) / height, words, va="center", size=8.5)


def _side_by_side(frames: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``(T, H, W)`` or ``(T, H, W, 3)`` in one image with paper between them; the column of each's centre."""
    width, colour = frames.shape[2], frames.ndim == 4
    space = max(1, round(gap * width))
    if colour:
        frames = frames.clip(0, 1)  # what gray frames are for showing, too: see vmin and vmax
    padding = ((0, 0), (0, 0), (0, space)) + ((0, 0),) * colour
    padded = np.pad(frames, padding, constant_values=1 if colour else np.nan)
    strip = np.concatenate(padded, axis=1)[:, :-space]
    return strip, np.arange(len(frames)) * (width + space) + (width - 1) / 2


@style()
def trajectory_plot(
    positions: Any, bounced: Any = None, *, size: int = 64, digit: int = 28, title: str | None = None
) -> Figure:
    """The paths of the digits of one clip, with a star at each bounce.

    Args:
        positions: ``(n, T, 2)``, each digit's upper left corner as (x, y) in pixels.
        bounced: ``(n, T)`` bool, the frames in which a digit hit a wall.
        size: height and width of a frame in pixels.
        digit: height and width of a digit in pixels.
        title: a line above the picture.

    Raises:
        ValueError: another shape of positions or bounced; another argument out of range.
    """
    check_counts(size=size)
    check_counts(digit=digit, highest=size)
    check_drawing(title=title)
    positions = as_numbers("positions", positions)
    if positions.ndim != 3 or positions.shape[2] != 2 or not positions.size or not np.isfinite(positions).all():
        raise ValueError(
            f"positions have shape {positions.shape}, expected finite numbers (digits, T, 2): choose one clip's digits."
        )
    bounced = np.zeros(positions.shape[:2], bool) if bounced is None else np.asarray(bounced)
    if bounced.shape != positions.shape[:2] or bounced.dtype != bool:
        raise ValueError(
            f"bounced has shape {bounced.shape} of {bounced.dtype}, expected {positions.shape[:2]} of bool: "
            "one mark for each position."
        )
    figure = Figure(figsize=(6, 4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlim=(0, size), ylim=(size, 0), xlabel="x (pixels)", ylabel="y (pixels)")
    axes.set_title(title or "Centres of the digits, frame by frame")
    axes.spines[:].set_visible(True)
    axes.set_xticks(range(0, size + 1, 16))
    axes.set_yticks(range(0, size + 1, 16))
    reach = size - digit
    wall = Rectangle((digit / 2, digit / 2), reach, reach, fill=False, edgecolor=GRAY, linestyle="--")
    wall.set_label("reach of the centres")
    axes.add_patch(wall)
    for i, (path, hits) in enumerate(zip(positions + digit / 2, bounced, strict=True)):
        color, (x, y) = COLORS[i % len(COLORS)], path.T
        axes.plot(x, y, "o-", color=color, linewidth=1.4, markersize=3.5, label=f"digit {i + 1}")
        axes.plot(x[0], y[0], "o", color="white", markeredgecolor=color, markeredgewidth=2, markersize=9)
        axes.plot(x[hits], y[hits], "*", color="black", markersize=12, markeredgecolor="white")
    axes.plot([], [], "o", color="white", markeredgecolor=INK, markeredgewidth=2, markersize=9, label="first frame")
    if bounced.any():
        axes.plot([], [], "*", color="black", markersize=12, label="bounce")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


@style()
def attention_overlay(
    frames: Any,
    weights: Any,
    *,
    query: tuple[int, ...] | None = None,
    first_frame: int = 1,
    label: str = "attention weight",
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Attention weights as glowing patches under the frames they look at, one panel per frame.

    Brightness follows the square root of a weight: most weights are small beside the largest, and would be black beside
    it. The colour bar has the same scale and says so.

    Args:
        frames: one clip of T frames.
        weights: ``(T, h, w)``, at least 0: the weight of each patch.
        query: ``(t, row, column)`` of the patch that asks, outlined in blue (t counts from 0); ``(row, column)``
            outlines it in every panel.
        first_frame: the number of the first frame.
        label: what the weights are, for the colour bar.
        names: a name for each panel instead of the frame's number.
        title: a line above the picture.

    Raises:
        ValueError: weights that do not fit the frames, are negative, or a query outside them; another argument out of
            range.
    """
    check_drawing(title=title, first_frame=first_frame)
    check_texts(label=label)
    clip, weights = as_clip(frames, "frames").clip(0, 1), as_numbers("weights", weights).astype(np.float32)
    fits = weights.ndim == 3 and len(weights) == len(clip) and weights.size
    if not fits or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(
            f"weights have shape {weights.shape}, expected ({len(clip)}, h, w) with finite values of at least 0."
        )
    if query is not None:
        if not isinstance(query, (tuple, list)) or len(query) not in (2, 3):
            raise ValueError(f"query is {query!r}, expected (t, row, column) or (row, column) inside {weights.shape}.")
        sides = list(zip(("t", "row", "column"), weights.shape, strict=True))[-len(query) :]
        for (name, count), at in zip(sides, query, strict=True):
            check_counts(0, highest=count - 1, **{f"query's {name}": at})
    count, (height, width), (h, w) = len(clip), clip.shape[1:3], weights.shape[1:]
    if names is None:
        names = [f"frame {first_frame + t}" for t in range(count)]
    if not isinstance(names, (list, tuple)) or len(names) != count or not all(isinstance(n, str) for n in names):
        raise ValueError(f"names are {names!r}, expected {count} texts, one for each panel.")
    columns = min(count, 6 if count == 6 else 5)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.5 * columns + 1, 1.65 * rows + 0.35), dpi=DPI, layout="constrained")
    figure.suptitle(title or "Where the outlined patch looks", x=0.01, ha="left", weight="bold", size=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    scale = mpl.colors.PowerNorm(0.5, 0, max(float(weights.max()), np.finfo(np.float32).tiny))
    for t, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if t >= count:
            continue
        extent = (0, width, height, 0)
        axes.imshow(weights[t], cmap=GLOW, norm=scale, extent=extent, interpolation="nearest")
        axes.imshow(_veil(clip[t]), extent=extent, interpolation="nearest")
        axes.set_title(names[t], size=9.5, weight="normal", pad=3)
        _add_rim(axes, 0, 0, width, height)
        if query is not None and (len(query) == 2 or query[0] == t):
            row, column = query[-2:]
            for color, line in ((INK, 3.2), (SKY, 1.8)):  # the dark rim keeps blue apart from the brightest patch
                axes.add_patch(
                    Rectangle(
                        (column * width / w, row * height / h),
                        width / w,
                        height / h,
                        fill=False,
                        edgecolor=color,
                        linewidth=line,
                    )
                )
    bar = figure.colorbar(mpl.cm.ScalarMappable(scale, GLOW), ax=grid, shrink=0.9, aspect=22)
    bar.set_label(f"{label}\n(square-root scale)")
    bar.set_ticks(_root_ticks(scale.vmax))
    bar.minorticks_off()
    return figure


def _veil(frame: np.ndarray) -> np.ndarray:
    """A frame ``(H, W)`` or ``(H, W, 3)`` as RGBA that is clear where the frame is black: it lets the glow through."""
    bright = frame if frame.ndim == 2 else frame.max(-1)
    color = np.ones((*bright.shape, 3)) if frame.ndim == 2 else frame / np.maximum(bright, 1e-6)[..., None]
    return np.concatenate([color, _VEIL * bright[..., None]], axis=-1).clip(0, 1)


def _root_ticks(largest: float) -> np.ndarray:
    """A few round values up to the largest, wide apart on a square-root scale."""
    ticks = mpl.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, largest)
    return ticks[(ticks >= 0) & (ticks <= largest)]


@style()
def pictures(
    images: Mapping[str, Any],
    *,
    errors: Collection[str] = ("error",),
    marks: Mapping[str, tuple[int, int, int, int]] | None = None,
    bar: str | None = None,
    title: str | None = None,
) -> Figure:
    """Single pictures side by side under their names, each with a rim.

    Args:
        images: name → ``(H, W)`` or ``(C, H, W)`` with 1 or 3 channels; ``(n, C, H, W)`` is drawn as n tiles, pulled
            apart.
        errors: names of pictures whose values have a sign, in [-1, 1]: blue below 0, black 0, orange above.
        marks: name → ``(row, column, height, width)`` in pixels, outlined in a picture that is no tiles.
        bar: what the values are, where they are no light: all pictures share one scale from dark to bright, with a
            colour bar of this name.
        title: a line above the picture.

    Raises:
        ValueError: no images, or one that is none; another argument out of range.
    """
    check_mapping("picture", images=images)
    check_labels(errors=errors)
    check_drawing(title=title)
    if bar is not None:
        check_texts(bar=bar)
    for name, mark in ({} if marks is None else marks if isinstance(marks, Mapping) else {marks: None}).items():
        check_choice(images, **{"a name of marks": name})
        if not isinstance(mark, (tuple, list)) or len(mark) != 4:
            raise ValueError(f"marks[{name!r}] is {mark!r}, expected (row, column, height, width).")
        check_counts(0, **{f"marks[{name!r}]'s row": mark[0], f"marks[{name!r}]'s column": mark[1]})
        check_counts(**{f"marks[{name!r}]'s height": mark[2], f"marks[{name!r}]'s width": mark[3]})
    panels = {name: _tiles(f"images[{name!r}]", image, raw=bar is not None) for name, image in images.items()}
    if bar is not None:
        every = np.concatenate([panel[np.isfinite(panel)] for panel in panels.values()])
        scale = mpl.colors.Normalize(every.min(), every.max())
    across = [panel.shape[1] / panel.shape[0] for panel in panels.values()]
    side = min(2.6, 9 / sum(across))  # inches; the widest picture of a notebook
    size = (side * sum(across) + 0.1 * len(panels) + (bar is not None), side + 0.4 + 0.3 * bool(title))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
    grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=across)[0]
    for axes, (name, panel) in zip(grid, panels.items(), strict=True):
        if bar is not None:
            colors = {"cmap": mpl.colormaps["viridis"].with_extremes(bad="white"), "norm": scale}
        elif name in errors:
            colors = {"cmap": ERROR_MAP.with_extremes(bad="white"), "vmin": -1, "vmax": 1}
        else:
            colors = {"cmap": mpl.colormaps["gray"].with_extremes(bad="white"), "vmin": 0, "vmax": 1}
        height, width = panel.shape[:2]
        axes.imshow(panel, **colors, interpolation="nearest", extent=(0, width, height, 0))
        axes.set_axis_off()
        axes.set_title(name, size=10, weight="normal")
        if not np.isnan(panel).any():  # tiles have the paper between them
            _add_rim(axes, 0, 0, width, height)
        if marks and name in marks:
            row, column, tall, wide = marks[name]
            axes.add_patch(Rectangle((column, row), wide, tall, fill=False, edgecolor=SKY, linewidth=2))
    if bar is not None:
        figure.colorbar(mpl.cm.ScalarMappable(scale, "viridis"), ax=list(grid), shrink=0.9, aspect=18).set_label(bar)
    return figure


def _tiles(name: str, image: Any, *, raw: bool) -> np.ndarray:
    """An image ``(H, W)`` or ``(H, W, 3)``; several as one, in rows that make it about square, NaN between them."""
    array = as_numbers(name, image)
    if array.ndim not in (2, 3, 4) or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"{name} has shape {array.shape}, expected one picture (H, W) or (C, H, W), or several as (n, C, H, W), "
            "of finite numbers."
        )
    clip = array[None, None] if array.ndim == 2 else array[None] if array.ndim == 3 else array
    largest = 255 if getattr(image, "dtype", None) in (torch.uint8, np.dtype("uint8")) else 1
    frames = clip.mean(1) if raw else as_clip(torch.as_tensor(clip / largest), name).clip(-1, 1)
    if len(frames) == 1:
        return frames[0]
    columns = math.ceil(math.sqrt(len(frames)))
    gap = max(1, round(frames.shape[2] / 8))
    blank = np.full((-len(frames) % columns, *frames.shape[1:]), np.nan)
    frames = np.concatenate([frames, blank])
    lines = [_side_by_side(frames[i : i + columns], gap / frames.shape[2])[0] for i in range(0, len(frames), columns)]
    space = np.full((gap, *lines[0].shape[1:]), np.nan)
    return np.concatenate([part for line in lines for part in (line, space)][:-1])
