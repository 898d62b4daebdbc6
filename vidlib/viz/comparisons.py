"""Models beside each other: error against cost, figures with their intervals, the parts of an error, marked clips."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vidlib.checks import check_counts, check_mapping, check_numbers, check_texts, kind_of
from vidlib.viz.curves import check_levels, check_names
from vidlib.viz.style import (
    DPI,
    GRAY,
    INK,
    ORANGE,
    as_clip,
    as_numbers,
    check_drawing,
    looks,
    style,
    wide_and_narrow,
)


@style()
def cost_panels(
    panels: Mapping[str, Mapping[str, Any]],
    *,
    floors: Mapping[str, tuple[str, float]] | None = None,
    xlabel: str = "multiply–adds per clip, billions (log scale)",
    ylabel: str = "MSE per frame",
    title: str | None = None,
) -> Figure:
    """Error against cost, one panel for each set of clips: figures of different clips share no axes.

    Args:
        panels: which clips → name → ``(cost, error)``, numbers or two rows of numbers, which are joined by a line.
        floors: which clips → (name, error) of what nobody can do better than; the ground under it is shaded.
        xlabel, ylabel: what cost and error are.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, a cost that is not above 0, or a floor of a panel that isn't there.
    """
    check_mapping("points of a panel", panels=panels)
    check_texts(xlabel=xlabel, ylabel=ylabel)
    check_drawing(title=title)
    points = {}
    for panel, named in panels.items():
        check_mapping("(cost, error)", **{f"panels[{panel!r}]": named})
        for name, point in named.items():
            points[panel, name] = _point(f"panels[{panel!r}][{name!r}]", point)
    for panel, floor in (floors or {}).items():
        if panel not in panels:
            raise ValueError(f"floors has {panel!r}, expected one of {', '.join(panels)}.")
        check_texts(**{f"the name of floors[{panel!r}]": floor[0]})
        check_numbers(0, **{f"floors[{panel!r}]": floor[1]})

    def draw(axes: Axes, panel: str) -> None:
        for name, look in looks(panels[panel]).items():
            x, y = points[panel, name]
            axes.plot(x, y, linestyle="-", linewidth=1.2, markersize=6, label=name, **look)
        if panel in (floors or {}):
            name, level = floors[panel]
            axes.axhline(level, color=GRAY, linewidth=1.4, label=name)
            axes.axhspan(0, level, color=INK, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        costs = np.concatenate([points[panel, name][0] for name in panels[panel]])
        axes.set_xlim(costs.min() / 1.6, costs.max() * 1.6)
        axes.set_ylim(bottom=0)
        locator = mpl.ticker.LogLocator(subs=(1, 2, 5) if costs.max() / costs.min() < 30 else (1,))
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set(xlabel="\n".join(textwrap.wrap(xlabel, 34)), ylabel=ylabel)
        axes.set_title("\n".join(textwrap.wrap(panel, 34)))
        axes.legend(
            frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.25),
            ncols=1 if len(panels[panel]) < 5 else 2, columnspacing=1.0,
        )  # fmt: skip

    return _beside_or_below(draw, list(panels), title, wide=(4.3, 5.2), narrow=(4.2, 4.9))


def _point(name: str, point: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(point, (tuple, list)) or len(point) != 2:
        raise ValueError(f"{name} is {kind_of(point)}, expected (cost, error).")
    x, y = (np.atleast_1d(as_numbers(name, part)) for part in point)
    if x.shape != y.shape or x.ndim != 1 or not len(x) or not (np.isfinite(x) & np.isfinite(y) & (x > 0)).all():
        raise ValueError(f"{name} is {point!r}, expected as many costs above 0 as errors.")
    return x, y


@style()
def dot_intervals(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    xlabel: str,
    references: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Values with their intervals, one line for each row and name: what lies apart differs, what overlaps may not.

    Args:
        rows: row → name → ``(value, low, high)``.
        xlabel: what the values are.
        references: name → level, an upright dashed line.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, or numbers that are no value inside of its interval.
    """
    check_mapping("intervals by name", rows=rows)
    check_texts(xlabel=xlabel)
    check_drawing(title=title)
    check_levels(references)
    for row, named in rows.items():
        check_mapping("(value, low, high)", **{f"rows[{row!r}]": named})
        for name, found in named.items():
            three = as_numbers(f"rows[{row!r}][{name!r}]", found)
            if three.shape != (3,) or not np.isfinite(three).all() or not three[1] <= three[0] <= three[2]:
                raise ValueError(
                    f"rows[{row!r}][{name!r}] is {found!r}, expected (value, low, high), finite, "
                    "with the value between the others."
                )
    names = list(dict.fromkeys(name for named in rows.values() for name in named))

    def paint(narrow: bool) -> Figure:
        height = (
            0.9
            + len(rows) * (0.12 + 0.125 * len(names))
            + 0.25 * bool(title)
            + (0.3 * -(-len(names) // 2) if narrow else 0)
        )
        figure = Figure(figsize=(4.2 if narrow else 7.4, height), dpi=DPI, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel)
        if title:
            axes.set_title(textwrap.fill(title, 34) if narrow else title)
        look_of = looks(names)
        for i, name in enumerate(names):
            offset = 0.7 * (i - (len(names) - 1) / 2) / len(names)
            places = [(place + offset, rows[row][name]) for place, row in enumerate(rows) if name in rows[row]]
            y, (value, low, high) = [p for p, _ in places], np.array([v for _, v in places], dtype=float).T
            axes.errorbar(
                value, y, xerr=[value - low, high - value], capsize=2.5, linewidth=1.4, label=name,
                linestyle="", **look_of[name],
            )  # fmt: skip
        for label, level in (references or {}).items():
            axes.axvline(level, color=GRAY, linestyle="--", linewidth=1.2, label=label)
        axes.set_yticks(range(len(rows)), [textwrap.fill(row, 16 if narrow else 24) for row in rows], size=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if len(names) > 1 and not narrow:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        elif len(names) > 1:
            figure.legend(frameon=False, loc="outside lower center", ncols=2)
        return figure

    return wide_and_narrow(paint)


@style()
def stacked_bars(
    bars: Mapping[str, Mapping[str, float]],
    *,
    xlabel: str,
    gray: Collection[str] = (),
    title: str | None = None,
) -> Figure:
    """One bar for each name, made of parts; a part below 0 is drawn to the left of 0.

    Args:
        bars: name → part → length; the same parts for all.
        xlabel: what the lengths are.
        gray: parts that are drawn in gray.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, bars of different parts, or a length that is no number.
    """
    check_mapping("parts of a bar", bars=bars)
    check_texts(xlabel=xlabel)
    check_drawing(title=title)
    check_names(gray=gray)
    parts = list(next(iter(bars.values())))
    for name, lengths in bars.items():
        check_mapping("length", **{f"bars[{name!r}]": lengths})
        check_numbers(**{f"bars[{name!r}][{part!r}]": length for part, length in lengths.items()})
        if list(lengths) != parts:
            raise ValueError(f"bars[{name!r}] has the parts {list(lengths)}, expected {parts} as the first one has.")
    colors = {part: look["color"] for part, look in looks(parts, gray).items()}
    figure = Figure(figsize=(4.4, 0.5 * len(bars) + 1.5 + (0.3 if title else 0)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for place, lengths in enumerate(bars.values()):
        ends = {True: 0.0, False: 0.0}
        for part, length in lengths.items():
            axes.barh(place, length, 0.65, left=ends[length >= 0], color=colors[part], edgecolor="white", linewidth=0.6)
            ends[length >= 0] += length
    axes.set_yticks(range(len(bars)), [textwrap.fill(name, 20) for name in bars], size=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    handles = [Line2D([], [], color=colors[part], linewidth=7) for part in parts]
    figure.legend(handles, parts, frameon=False, fontsize=9, loc="outside lower left", ncols=3)
    if title:
        figure.suptitle(textwrap.fill(title, 46), x=0.01, ha="left", weight="bold", size=11)
    return figure


def boxed(video: Any, corners: Any, *, size: int = 28) -> torch.Tensor:
    """A gray clip in colours, with the outline of a square in every frame: ``(T, 3, H, W)`` for a film strip.

    Args:
        video: one gray clip.
        corners: ``(T, 2)`` whole numbers, the square's upper left corner (x, y) in each frame.
        size: the square's side in pixels.

    Raises:
        ValueError: not one gray clip, or corners that are not one place for each frame.
    """
    check_counts(size=size)
    clip = as_clip(video, "video")
    places = np.asarray(as_numbers("corners", corners), int)
    if clip.ndim != 3 or places.shape != (len(clip), 2):
        raise ValueError(
            f"corners have shape {places.shape} and the clip {clip.shape}, expected (T, 2) and one gray clip (T, H, W)."
        )
    frames = np.repeat(clip.clip(0, 1)[:, None], 3, axis=1)  # (T, 3, H, W)
    paint = np.array(to_rgb(ORANGE))[:, None]
    for frame, (x, y) in zip(frames, places, strict=True):
        rows, columns = (slice(max(0, start), start + size) for start in (y, x))
        for edge in (y, y + size - 1):
            if 0 <= edge < frame.shape[1]:
                frame[:, edge, columns] = paint
        for edge in (x, x + size - 1):
            if 0 <= edge < frame.shape[2]:
                frame[:, rows, edge] = paint
    return torch.from_numpy(frames)


def _beside_or_below(
    draw: Any, panels: list[str], title: str | None, wide: tuple[float, float], narrow: tuple[float, float]
) -> Figure:
    """Panels side by side, and under each other as the figure's ``narrow``."""

    def paint(below: bool) -> Figure:
        shape = (len(panels), 1) if below else (1, len(panels))
        size = (narrow[0], narrow[1] * len(panels)) if below else (wide[0] * len(panels), wide[1])
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        for axes, panel in zip(figure.subplots(*shape, squeeze=False).flatten(), panels, strict=True):
            draw(axes, panel)
        if title:
            figure.suptitle(textwrap.fill(title, 36 if below else 60), x=0.01, ha="left", weight="bold", size=11)
        return figure

    return wide_and_narrow(paint)
