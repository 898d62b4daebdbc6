"""Pictures that stand still: film strips, paths, attention, curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vidlib.checks import (
    check_choice,
    check_counts,
    check_flags,
    check_mapping,
    check_numbers,
    check_texts,
    kind_of,
)
from vidlib.history import read_history
from vidlib.viz.style import (
    BLUE,
    COLORS,
    DPI,
    ERROR_KEY,
    ERROR_MAP,
    INK,
    ORANGE,
    SKY,
    VERMILION,
    as_clip,
    check_drawing,
    check_labels,
    style,
    without_colour,
)

_COVER = 0.8  # how much the largest attention weight hides of a frame


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

    cell, gap, left, labels = 0.8, 0.05, 0.15 + 0.085 * max(map(len, clips)), list(clips)
    # Frame numbers stand above a row only where they differ from the row before.
    head = [0.22 if i == 0 or numbers[label] != numbers[labels[i - 1]] else 0.0 for i, label in enumerate(labels)]
    legend = 0.38 if any(label in errors for label in labels) else 0.05
    height = (0.34 if title else 0.05) + sum(head) + len(labels) * (cell + gap) + legend
    width = left + max(map(len, shown.values())) * (cell + gap) + 0.05
    width = max(width, left + (5.9 if legend > 0.1 else 0), left + 0.1 * len(title or ""))  # room for the words
    figure = Figure(figsize=(width, height), dpi=DPI)
    if title:
        figure.text(left / width, 1 - 0.08 / height, title, va="top", weight="bold", size=11)
    top = height - (0.34 if title else 0.05)
    for label, space in zip(labels, head, strict=True):
        strip, centers = _side_by_side(clips[label][shown[label]], gap / cell)
        top -= space + cell
        span = len(centers) * (cell + gap) - gap
        axes = figure.add_axes((left / width, top / height, span / width, cell / height), label=label)
        signed = label in errors
        colors = (ERROR_MAP if signed else mpl.colormaps["gray"]).with_extremes(bad="white")
        axes.imshow(strip, cmap=colors, vmin=-1 if signed else 0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set_xticks(centers, numbers[label] if space else [""] * len(centers), size=8)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=1)
        axes.set_yticks([])
        axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=5)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        top -= gap
    if legend > 0.1:
        axes = figure.add_axes((left / width, 0.1 / height, 1.2 / width, 0.12 / height), label="error legend")
        axes.imshow(np.linspace(-1, 1, 65)[None], cmap=ERROR_MAP, aspect="auto")
        axes.set_axis_off()
        figure.text(
            (left + 1.3) / width, 0.16 / height, f"error = prediction − truth: {ERROR_KEY}", va="center", size=8.5
        )
    return figure


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
    positions = _numbers("positions", positions)
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
    wall = Rectangle((digit / 2, digit / 2), reach, reach, fill=False, edgecolor="#777777", linestyle="--")
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
    query: tuple[int, int, int] | None = None,
    first_frame: int = 1,
    title: str | None = None,
) -> Figure:
    """Attention weights laid over the frames they look at, one panel per frame.

    Args:
        frames: one clip of T frames.
        weights: ``(T, h, w)``, at least 0: the weight of each patch.
        query: ``(t, row, column)`` of the patch that asks, outlined in blue (t counts from 0).
        first_frame: the number of the first frame.
        title: a line above the picture.

    Raises:
        ValueError: weights that do not fit the frames, are negative, or a query outside them.
    """
    check_drawing(title=title, first_frame=first_frame)
    clip, weights = as_clip(frames, "frames").clip(0, 1), _numbers("weights", weights).astype(np.float32)
    fits = weights.ndim == 3 and len(weights) == len(clip) and weights.size
    if not fits or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(
            f"weights have shape {weights.shape}, expected ({len(clip)}, h, w) with finite values of at least 0."
        )
    if query is not None:
        if not isinstance(query, (tuple, list)) or len(query) != 3:
            raise ValueError(f"query is {query!r}, expected (t, row, column) inside {weights.shape}.")
        for name, at, count in zip(("t", "row", "column"), query, weights.shape, strict=True):
            check_counts(0, highest=count - 1, **{f"query's {name}": at})
    count, (height, width), (h, w) = len(clip), clip.shape[1:3], weights.shape[1:]
    columns = min(count, 5)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.5 * columns + 0.9, 1.65 * rows + 0.35), dpi=DPI, layout="constrained")
    figure.suptitle(title or "Where the outlined patch looks", x=0.01, ha="left", weight="bold", size=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    largest = max(float(weights.max()), np.finfo(np.float32).tiny)
    for t, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if t >= count:
            continue
        extent = (0, width, height, 0)
        axes.imshow(0.75 * clip[t], cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
        # Weight 0 leaves the frame as it is, the largest weight of all frames nearly covers it.
        heat = np.full((h, w, 4), mpl.colors.to_rgba(ORANGE))
        heat[..., 3] = _COVER * weights[t] / largest
        axes.imshow(heat, extent=extent, interpolation="nearest")
        axes.set_title(f"frame {first_frame + t}", size=8.5, weight="normal", pad=3)
        if query is not None and query[0] == t:
            corner = (query[2] * width / w, query[1] * height / h)
            axes.add_patch(Rectangle(corner, width / w, height / h, fill=False, edgecolor=SKY, linewidth=2.5))
    shades = LinearSegmentedColormap.from_list("heat", ["black", _COVER * np.array(mpl.colors.to_rgb(ORANGE))])
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, largest), shades)
    bar = figure.colorbar(scale, ax=grid, shrink=0.8, aspect=25)
    bar.set_label("attention weight")
    return figure


@style()
def history_curves(
    history: str | Path | Sequence[Mapping[str, Any]],
    *,
    baselines: Mapping[str, float] | None = None,
    log: bool = False,
    title: str = "Learning curves",
) -> Figure:
    """Training and validation MSE per frame over the epochs, or over the clips seen where epochs differ in length.

    Args:
        history: rows with ``epoch``, ``train_loss`` and ``validation_mse``, or the CSV file that holds them.
        baselines: name → MSE per frame, drawn as dashed reference lines.
        log: a logarithmic axis.
        title: a line above the picture.

    Raises:
        OSError: the file cannot be read.
        ValueError: no rows, a missing column or one that holds no numbers; another argument out of range.
    """
    check_flags(log=log)
    check_texts(title=title)
    if baselines:
        check_mapping("MSE per frame", baselines=baselines)
        check_numbers(**{f"baselines[{name!r}]": value for name, value in baselines.items()})
    if isinstance(history, str | Path):
        history = read_history(history)
    if not isinstance(history, (list, tuple)) or not all(isinstance(row, Mapping) for row in history):
        raise ValueError(f"history is {kind_of(history)}, expected the rows that fit returns, or their CSV file.")
    needed = ("epoch", "train_loss", "validation_mse")
    missing = [name for name in needed if not history or any(name not in row for row in history)]
    if missing:
        raise ValueError(
            f"history has {len(history)} rows and lacks {', '.join(missing)}, expected one row an epoch: train for one."
        )
    epoch, train, validation = (_column(history, name) for name in needed)
    along, x = "epoch", epoch
    if all("clips" in row for row in history):
        clips = _column(history, "clips")
        if np.ptp(np.diff(clips, prepend=0)):
            along, x = "training clips seen", clips
    figure, axes = _plot(along, "MSE per frame" + (" (log scale)" if log else ""), title)
    if log:
        axes.set_yscale("log")
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter(mpl.ticker.LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))  # 200, not 2 × 10²
        axes.grid(which="minor")
    ends = []
    for name, values, marker, color in (("training", train, "o", BLUE), ("validation", validation, "s", VERMILION)):
        known = np.isfinite(values)
        axes.plot(x[known], values[known], marker=marker if len(epoch) <= 40 else "", color=color, label=name)
        if known.any():
            ends.append((values[known][-1], name, color))
    for name, value in (baselines or {}).items():
        axes.axhline(value, color="#666666", linestyle="--", linewidth=1.2, label=name)
        ends.append((value, name, "#555555"))
    if not log:
        axes.set_ylim(bottom=0)
    _label_ends(axes, ends)
    return figure


@style()
def horizon_curves(
    curves: Mapping[str, Any],
    *,
    metric: str = "MSE per frame",
    first_frame: int = 11,
    from_zero: bool = True,
    title: str = "Error by horizon",
) -> Figure:
    """One line per model: a metric for each predicted frame.

    Args:
        curves: name → ``(horizon,)`` values.
        metric: what the values are, for the axis.
        first_frame: the number of the first predicted frame.
        from_zero: begin the axis at 0.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, or values that are not one number per frame; another argument out of range.
    """
    check_mapping("one number per frame", curves=curves)
    check_texts(metric=metric, title=title)
    check_drawing(first_frame=first_frame)
    check_flags(from_zero=from_zero)
    arrays = {name: _numbers(f"curves[{name!r}]", values) for name, values in curves.items()}
    wrong = {name: array.shape for name, array in arrays.items() if array.ndim != 1 or not np.isfinite(array).any()}
    if wrong:
        raise ValueError(f"curves have shapes {wrong}, expected each as (horizon,): one number per frame.")
    figure, axes = _plot("frame", metric, title)
    ends = []
    for i, (name, array) in enumerate(arrays.items()):
        color, marker = COLORS[i % len(COLORS)], "osD^vP"[i % 6]  # markers tell the lines apart without colour
        axes.plot(first_frame + np.arange(len(array)), array, marker=marker, color=color, label=name)
        ends.append((array[np.isfinite(array)][-1], name, color))
    if from_zero:
        axes.set_ylim(bottom=0)
    _label_ends(axes, ends)
    return figure


def _numbers(name: str, values: Any) -> np.ndarray:
    """Any tensor or nested list of numbers as a float array."""
    try:
        array = torch.as_tensor(values).detach().cpu().double().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is {kind_of(values)}, expected an array of numbers.") from error
    return array


def _column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One number per epoch; NaN for one that was not validated, whose cell is empty."""
    try:
        return np.array([float("nan" if row[name] in ("", None) else row[name]) for row in history])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of the history holds what is no number ({error}), expected numbers.") from error


def _plot(xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 3.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure, axes


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name at its right end, pushed apart where two would overlap."""
    axes.figure.draw_without_rendering()  # the axis limits and the height of the axes are known only after a layout
    line = 13 / 72 * axes.figure.dpi / axes.bbox.height  # one line of text as a part of the axes' height
    below = -np.inf
    for value, name, color in sorted(ends):
        at = axes.transAxes.inverted().transform(axes.transData.transform((0, value)))[1]
        below = max(at, below + line)
        axes.annotate(name, (1.015, below), xycoords="axes fraction", color=color, va="center", weight="bold", size=9)
