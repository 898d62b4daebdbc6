"""Every picture of the course: film strips, GIFs, curves, trajectories, attention, a player.

One style for all: white paper, so that a figure reads on dark and on light pages, and the colour-blind-safe
colours of Okabe & Ito ("Color Universal Design", 2008). Values are clipped to [0, 1] for showing only.

A clip is ``(T, 1, H, W)`` or ``(T, H, W)``, tensor or array, uint8 or float in [0, 1]. Figures stay outside
pyplot, so nothing has to be closed and nothing is drawn twice: hand them to :func:`show` with an alt text.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import html
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

from vidlib.files import atomic_write
from vidlib.video import check_video

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, RULE = "#222222", "#DDDDDD"
STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.prop_cycle": mpl.cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "font.size": 10,
    "lines.linewidth": 2.0,
    "lines.markersize": 4.5,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
# Black where the prediction is right; an odd number of levels gives exactly 0 a level of its own.
ERROR_MAP = LinearSegmentedColormap.from_list("error", ["#A6DBFF", BLUE, "black", VERMILION, "#FFD08A"], N=65)
ERROR_KEY = "blue too dark, black correct, orange too bright"

_DPI = 160  # a 64-pixel frame of 0.8 inch is enlarged exactly twice
_GAP, _HEAD, _FOOT = 8, 28, 40  # pixels around the panels of a GIF or player
_COVER = 0.8  # how much the largest attention weight hides of a frame
_WAITING = 45  # the gray of a panel that has nothing to show yet: not the black of a frame


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The figure style of the course, for the length of a ``with`` block."""
    with mpl.rc_context(STYLE):
        yield


def apply_style() -> None:
    """Make the figure style of the course the default of this session."""
    mpl.rcParams.update(STYLE)


def _clip(video: Any, name: str = "clip") -> np.ndarray:
    """One clip as float32 ``(T, H, W)``; ValueError unless it is one."""
    try:
        array = video.detach().cpu() if isinstance(video, torch.Tensor) else torch.tensor(np.asarray(video))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is a {type(video).__name__}, expected a tensor or array (T, 1, H, W).") from error
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        hint = " Choose one clip of the batch with video[0]." if array.ndim == 5 else ""
        raise ValueError(f"{name} has shape {tuple(array.shape)}, expected one clip (T, 1, H, W) or (T, H, W).{hint}")
    if array.dtype == torch.uint8:
        array = array / 255
    check_video(array[None, :, None], name)
    return array.float().numpy()


def _clips(videos: Any, name: str = "clips") -> np.ndarray:
    """One clip or a batch ``(B, T, 1, H, W)`` as float32 ``(B, T, H, W)``."""
    if getattr(videos, "ndim", 4) < 5 and not isinstance(videos, list | tuple):
        videos = [videos]
    clips = [_clip(video, name) for video in videos]
    if not clips or any(clip.shape != clips[0].shape for clip in clips):
        raise ValueError(
            f"{name} has clips of shapes {sorted({c.shape for c in clips})} as (T, H, W), expected one shape for all."
        )
    return np.stack(clips)


# ---------------------------------------------------------------- stills


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
        ValueError: no rows, or a row that is not one clip.
    """
    if not rows or (columns is not None and columns < 1):
        raise ValueError(f"rows are {list(rows)} and columns {columns}, expected at least one row and one column.")
    clips = {label: _clip(video, label) for label, video in rows.items()}
    starts = {label: first_frame if isinstance(first_frame, int) else first_frame.get(label, 1) for label in clips}
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
    figure = Figure(figsize=(width, height), dpi=_DPI)
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
    """Frames ``(T, H, W)`` in one image with NaN between them, and the column of each frame's centre."""
    width = frames.shape[2]
    space = max(1, round(gap * width))
    padded = np.pad(frames, ((0, 0), (0, 0), (0, space)), constant_values=np.nan)
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
        ValueError: another shape of positions or bounced.
    """
    positions = np.asarray(positions)
    if positions.ndim != 3 or positions.shape[2] != 2:
        raise ValueError(f"positions have shape {positions.shape}, expected (digits, T, 2): choose one clip's digits.")
    bounced = np.zeros(positions.shape[:2], bool) if bounced is None else np.asarray(bounced)
    if bounced.shape != positions.shape[:2]:
        raise ValueError(
            f"bounced has shape {bounced.shape}, expected {positions.shape[:2]}: one mark for each position."
        )
    figure = Figure(figsize=(6, 4), dpi=_DPI, layout="constrained")
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
    clip, weights = _clip(frames, "frames"), np.asarray(torch.as_tensor(weights).detach().cpu().float())
    if weights.ndim != 3 or len(weights) != len(clip) or not (weights >= 0).all():
        raise ValueError(f"weights have shape {weights.shape}, expected ({len(clip)}, h, w) with values of at least 0.")
    if query is not None and not all(0 <= q < n for q, n in zip(query, weights.shape, strict=True)):
        raise ValueError(f"query is {query}, expected (t, row, column) inside {weights.shape}.")
    count, (height, width), (h, w) = len(clip), clip.shape[1:], weights.shape[1:]
    columns = min(count, 5)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.5 * columns + 0.9, 1.65 * rows + 0.35), dpi=_DPI, layout="constrained")
    figure.suptitle(title or "Where the outlined patch looks", x=0.01, ha="left", weight="bold", size=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    largest = max(float(weights.max()), np.finfo(np.float32).tiny)
    for t, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if t >= count:
            continue
        extent = (0, width, height, 0)
        axes.imshow(0.75 * np.clip(clip[t], 0, 1), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
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


# ---------------------------------------------------------------- curves


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
        ValueError: no rows or a missing column.
    """
    if isinstance(history, str | Path):
        with Path(history).open(newline="") as file:
            history = list(csv.DictReader(file))
    needed = ("epoch", "train_loss", "validation_mse")
    missing = [name for name in needed if not history or name not in history[0]]
    if missing:
        raise ValueError(
            f"history has {len(history)} rows and lacks {', '.join(missing)}: train for at least one epoch."
        )
    # An epoch that was not validated has an empty cell.
    epoch, train, validation = (np.array([float(row[name] or "nan") for row in history]) for name in needed)
    along, x = "epoch", epoch
    if "clips" in history[0]:
        clips = np.array([float(row["clips"]) for row in history])
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
        ValueError: nothing to draw, or values that are not one number per frame.
    """
    arrays = {name: np.asarray(torch.as_tensor(values).detach().cpu(), float) for name, values in curves.items()}
    wrong = {name: array.shape for name, array in arrays.items() if array.ndim != 1 or not array.size}
    if wrong or not arrays:
        raise ValueError(
            f"curves have shapes {wrong}, expected at least one curve, each (horizon,): one number per frame."
        )
    figure, axes = _plot("frame", metric, title)
    ends = []
    for i, (name, array) in enumerate(arrays.items()):
        color, marker = COLORS[i % len(COLORS)], "osD^vP"[i % 6]  # markers tell the lines apart without colour
        axes.plot(first_frame + np.arange(len(array)), array, marker=marker, color=color, label=name)
        ends.append((array[-1], name, color))
    if from_zero:
        axes.set_ylim(bottom=0)
    _label_ends(axes, ends)
    return figure


def _plot(xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 3.6), dpi=_DPI, layout="constrained")
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


# ---------------------------------------------------------------- animations


def comparison_frames(past: Any, truth: Any, prediction: Any, *, scale: int = 3) -> np.ndarray:
    """Past | truth | prediction | error, one picture per time step, frame number burned in.

    The past plays first while the other panels wait in gray; then it stands dimmed on its last frame, and
    truth, prediction and error = prediction − truth (blue too dark, black correct, orange too bright) play.

    Args:
        past: one clip, or a batch ``(B, past, 1, H, W)`` drawn as rows.
        truth: the same for the frames that followed.
        prediction: the same, shaped as truth; or name → prediction, to compare models.
        scale: how many times a pixel is enlarged.

    Returns:
        uint8 ``(past + horizon, height, width, 3)`` RGB.

    Raises:
        ValueError: clips that do not fit together.
    """
    past, truth = _clips(past, "past"), _clips(truth, "truth")
    named = prediction if isinstance(prediction, Mapping) else {"prediction": prediction}
    predictions = {name: _clips(video, name) for name, video in named.items()}
    if len(past) != len(truth) or past.shape[2:] != truth.shape[2:]:
        raise ValueError(f"past has {past.shape} and truth {truth.shape} as (clips, T, H, W), expected the same clips.")
    for name, video in predictions.items():
        if video.shape != truth.shape:
            raise ValueError(f"{name} has {video.shape} as (clips, T, H, W), expected {truth.shape} as truth has.")
    titles = ["past", "truth", *(title for name in predictions for title in (name, "error"))]
    given, total = past.shape[1], past.shape[1] + truth.shape[1]
    waiting = np.full_like(_gray(past[:, 0]), _WAITING)
    pictures = []
    for step in range(total):
        if step < given:
            columns = [_gray(past[:, step])] + [waiting] * (len(titles) - 1)
        else:
            now = truth[:, step - given]
            columns = [_gray(past[:, -1] * 0.4), _gray(now)]
            for video in predictions.values():
                seen = video[:, step - given]
                columns += [_gray(seen), _error_rgb(seen - now)]
        caption = f"frame {step + 1} / {total} · {'given' if step < given else 'predicted'}"
        panels = np.stack(columns, axis=1)
        pictures.append(_sheet(panels, titles, caption, step, total, given, scale, key=True))
    return np.stack(pictures)


def comparison_gif(path: str | Path, past: Any, truth: Any, prediction: Any, *, scale: int = 3, fps: float = 5) -> Path:
    """Write :func:`comparison_frames` as a GIF; returns its path."""
    return save_gif(path, comparison_frames(past, truth, prediction, scale=scale), fps=fps)


def clips_gif(path: str | Path, clips: Any, *, columns: int = 4, scale: int = 2, fps: float = 5) -> Path:
    """Write clips side by side as a GIF with the frame number burned in; returns its path.

    Args:
        path: the GIF file.
        clips: one clip or a batch ``(B, T, 1, H, W)``.
        columns: clips per row.
        scale: how many times a pixel is enlarged.
        fps: frames per second.
    """
    clips = _clips(clips)
    columns = max(1, min(columns, len(clips)))
    total, fill = clips.shape[1], -len(clips) % columns
    pictures = []
    for step in range(total):
        panels = np.concatenate([_gray(clips[:, step]), np.full((fill, *clips.shape[2:], 3), 255, np.uint8)])
        grid = panels.reshape(-1, columns, *panels.shape[1:])
        pictures.append(_sheet(grid, [""] * columns, f"frame {step + 1} / {total}", step, total, total, scale))
    return save_gif(path, np.stack(pictures), fps=fps)


def save_gif(path: str | Path, frames: np.ndarray, *, fps: float = 5, hold: float = 1.0) -> Path:
    """Write uint8 RGB frames ``(T, H, W, 3)`` as an endless GIF, whole or not at all: a failure leaves the old file.

    Up to 256 colours a frame are kept exactly, and equal frames give equal bytes. The last frame stays ``hold``
    seconds longer. Consecutive equal frames become one long frame.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 RGB frames (T, H, W, 3).")
    durations = [round(1000 / fps)] * len(frames)
    durations[-1] += round(1000 * hold)
    encoded = imageio.imwrite("<bytes>", frames, extension=".gif", duration=durations, loop=0)
    with atomic_write(path) as file:
        file.write_bytes(encoded)
    return Path(path)


def _gray(frames: np.ndarray) -> np.ndarray:
    gray = np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


def _error_rgb(error: np.ndarray) -> np.ndarray:
    return ERROR_MAP((np.clip(error, -1, 1) + 1) / 2, bytes=True)[..., :3]


def _origin(row: int, column: int, height: int, width: int, scale: int, head: int = _HEAD) -> tuple[int, int]:
    """The (y, x) pixel where a panel of :func:`_sheet` begins."""
    return head + row * (height * scale + _GAP), _GAP + column * (width * scale + _GAP)


def _sheet(
    panels: np.ndarray,
    titles: Sequence[str],
    caption: str,
    step: int,
    total: int,
    given: int,
    scale: int,
    key: bool = False,
) -> np.ndarray:
    """Panels ``(rows, columns, H, W, 3)`` on white paper: titles above, caption and time line below."""
    rows, columns, height, width, _ = panels.shape
    head = _HEAD if any(titles) else _GAP
    bottom, right = _origin(rows, columns, height, width, scale, head)
    sheet = np.full((bottom - _GAP + _FOOT, right, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            y, x = _origin(row, column, height, width, scale, head)
            panel = panels[row, column].repeat(scale, axis=0).repeat(scale, axis=1)
            sheet[y : y + height * scale, x : x + width * scale] = panel
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        x = _origin(0, column, height, width, scale)[1] + width * scale / 2
        draw.text((x, _HEAD / 2), title, INK, _font(title, width * scale, 15), anchor="mm")
    line = bottom - _GAP + 18
    draw.text((_GAP, line), caption, INK, _font(caption, right * 0.4, 15), anchor="ls")
    if key:
        text = f"error: {ERROR_KEY}"
        draw.text((right - _GAP, line), text, INK, _font(text, right * 0.55, 13), anchor="rs")
    edges = np.linspace(_GAP, right - _GAP, total + 1).round().astype(int).tolist()
    for i, (start, stop) in enumerate(zip(edges, edges[1:], strict=False)):
        color = RULE if i > step else BLUE if i < given else VERMILION
        draw.rectangle((start, line + 9, max(start, stop - 2), line + 13), color)
    # Steps of 5 leave about a hundred colours: one exact palette for a whole GIF, and smaller files.
    return ((np.asarray(image).astype(np.uint16) + 2) // 5 * 5).astype(np.uint8)


def _font(text: str, room: float, size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font, as large as fits: no font file of the machine changes a GIF's bytes."""
    font = ImageFont.load_default(size=size)
    while size > 7 and font.getlength(text) > room:
        size -= 1
        font = ImageFont.load_default(size=size)
    return font


# ---------------------------------------------------------------- notebooks


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alt text in a notebook, and close it.

    The output is an HTML image: JupyterLab 4 and nbconvert drop the ``alt`` of plain ``image/png`` outputs.
    """
    _display(_figure_html(figure, alt), alt)
    plt.close(figure)


def show_gif(path: str | Path, alt: str) -> None:
    """Display a GIF, embedded with its alt text, in a notebook (nbconvert shows no plain ``image/gif`` output)."""
    _display(_image_html(Path(path).read_bytes(), "gif", alt), alt)


def _display(image: str, alt: str) -> None:
    from IPython.display import display

    display({"text/html": image, "text/plain": alt}, metadata={"text/html": {"alt": alt}}, raw=True)


def _figure_html(figure: Figure, alt: str) -> str:
    return _image_html(_png(figure), "png", alt, width=round(figure.get_figwidth() * 96))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()


def _image_html(data: bytes, kind: str, alt: str, width: int | None = None) -> str:
    if not alt.strip():
        raise ValueError("alt is empty, expected one sentence that says what the picture shows.")
    size = f' width="{width}"' if width else ""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{html.escape(alt)}"{size} src="{source}"/>'


def player(
    videos: Mapping[str, Any] | Sequence[Any],
    *,
    fps: float = 5,
    scale: int = 3,
    first_frame: int = 1,
    errors: Collection[str] = ("error",),
    alt: str | None = None,
) -> Any:
    """Clips side by side with a play button and a slider; readers without a kernel get a film strip.

    Args:
        videos: label → clip, or a list of clips; all with the same number of frames.
        fps: frames per second.
        scale: how many times a pixel is enlarged.
        first_frame: the number of the first frame.
        errors: labels of clips that hold prediction − truth, as in :func:`film_strip`.
        alt: the film strip's alt text.

    Returns:
        A widget, or the film strip's figure where ipywidgets is not installed.

    Raises:
        ValueError: no clips, or clips of different shapes.
    """
    named = videos if isinstance(videos, Mapping) else {f"clip {i}": video for i, video in enumerate(videos)}
    clips = _clips([_clip(video, name) for name, video in named.items()], "videos")
    titles, total = list(named), clips.shape[1]
    columns = [_error_rgb(clip) if title in errors else _gray(clip) for title, clip in zip(titles, clips, strict=True)]

    def picture(step: int) -> bytes:
        panels = np.stack([column[step] for column in columns])[None]
        caption = f"frame {first_frame + step} / {first_frame + total - 1}"
        buffer = io.BytesIO()
        sheet = _sheet(panels, titles, caption, step, total, total, scale, key=any(title in errors for title in titles))
        Image.fromarray(sheet).save(buffer, "PNG")
        return buffer.getvalue()

    def strip() -> Figure:
        return film_strip(dict(zip(titles, clips, strict=True)), first_frame=first_frame, errors=errors, columns=10)

    try:
        import ipywidgets
    except ImportError:
        return strip()
    alt = alt or f"Film strip of {', '.join(titles)}: {total} frames from frame {first_frame}."
    image = ipywidgets.Image(value=picture(0), format="png")
    span = {"value": first_frame, "min": first_frame, "max": first_frame + total - 1}
    play = ipywidgets.Play(**span, interval=round(1000 / fps))
    slider = ipywidgets.IntSlider(**span, description="frame")
    ipywidgets.jslink((play, "value"), (slider, "value"))
    slider.observe(lambda change: setattr(image, "value", picture(change["new"] - first_frame)), names="value")
    return _with_static_picture([image, ipywidgets.HBox([play, slider])], _figure_html(strip(), alt))


def explore(draw: Callable[..., Figure], *, alt: str, **sliders: tuple[int, int, int]) -> Any:
    """A figure with sliders, drawn anew when one is let go; readers without a kernel see it as it begins.

    Args:
        draw: takes the sliders' values by their names and returns the figure.
        alt: alt text of the first figure.
        sliders: name → (smallest, largest, first value).

    Returns:
        A widget, or the first figure where ipywidgets is not installed.

    Raises:
        ValueError: a first value outside its slider.
    """
    for name, (smallest, largest, first) in sliders.items():
        if not smallest <= first <= largest:
            raise ValueError(f"{name} begins at {first}, expected a number from {smallest} to {largest}.")
    begin = draw(**{name: first for name, (_, _, first) in sliders.items()})
    try:
        import ipywidgets
    except ImportError:
        return begin
    knobs = {
        name: ipywidgets.IntSlider(first, smallest, largest, description=name, continuous_update=False)
        for name, (smallest, largest, first) in sliders.items()
    }
    image = ipywidgets.Image(value=_png(begin), format="png", width=round(begin.get_figwidth() * 96))

    def redraw(_: Any) -> None:
        image.value = _png(draw(**{name: knob.value for name, knob in knobs.items()}))

    for knob in knobs.values():
        knob.observe(redraw, names="value")
    return _with_static_picture([image, *knobs.values()], _figure_html(begin, alt))


def _with_static_picture(children: Sequence[Any], static: str) -> Any:
    """A box of widgets that also has HTML for readers without a kernel."""
    import ipywidgets

    class Box(ipywidgets.VBox):
        def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
            return {**super()._repr_mimebundle_(**kwargs), "text/html": static}

    return Box(children)
