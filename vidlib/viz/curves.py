"""Numbers as pictures: learning curves, errors by horizon, lines and bars."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidlib.checks import check_flags, check_mapping, check_numbers, check_texts, kind_of
from vidlib.history import read_history
from vidlib.viz.style import (
    BLUE,
    DPI,
    GRAY,
    INK,
    VERMILION,
    as_numbers,
    check_drawing,
    looks,
    style,
    wide_and_narrow,
)

_WIDE, _NARROW = (7.2, 3.6), (4.2, 3.4)  # inches: in a notebook, and on a phone
_DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))


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

    def draw(axes: Axes) -> list[tuple[float, str, str]]:
        ends = []
        for name, values, marker, color in (("training", train, "o", BLUE), ("validation", validation, "s", VERMILION)):
            known = np.isfinite(values)
            axes.plot(x[known], values[known], marker=marker if len(epoch) <= 40 else "", color=color, label=name)
            if known.any():
                ends.append((values[known][-1], name, color))
        ends += _add_levels(axes, baselines or {})
        if log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        return ends

    return _for_both(draw, along, "MSE per frame" + (" (log scale)" if log else ""), title)


@style()
def horizon_curves(
    curves: Mapping[str, Any],
    *,
    floor: Mapping[str, Any] | None = None,
    references: Mapping[str, Any] | None = None,
    metric: str = "MSE per frame",
    first_frame: int = 11,
    from_zero: bool = True,
    title: str = "Error by horizon",
) -> Figure:
    """One line per model: a metric for each predicted frame.

    Args:
        curves: name → ``(horizon,)`` values.
        floor: name → values of what nobody can do better than, such as the ideal observer's error; the ground under it
            is shaded.
        references: name → values, or one number for all frames, of what is no model, such as an empty page: dashed.
        metric: what the values are, for the axis.
        first_frame: the number of the first predicted frame.
        from_zero: begin the axis at 0.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, a name that stands twice, or values that are not one number per frame; another
            argument out of range.
    """
    check_mapping("one number per frame", curves=curves)
    check_texts(metric=metric, title=title)
    check_drawing(first_frame=first_frame)
    check_flags(from_zero=from_zero)
    arrays = {name: as_numbers(f"curves[{name!r}]", values) for name, values in curves.items()}
    _check_frames("curves", arrays)
    longest = max(map(len, arrays.values()))
    levels = {}
    for kind, given in (("floor", floor), ("references", references)):
        if given is not None:
            check_mapping("one number per frame, or one for all", **{kind: given})
        found = {name: as_numbers(f"{kind}[{name!r}]", values) for name, values in (given or {}).items()}
        found = {name: np.full(longest, array) if array.ndim == 0 else array for name, array in found.items()}
        _check_frames(kind, found)
        if twice := set(found) & (set(arrays) | set(levels)):
            raise ValueError(f"{kind} has {sorted(twice)}, which is drawn already, expected other names.")
        levels |= found

    def draw(axes: Axes) -> list[tuple[float, str, str]]:
        ends = []
        for name, look in looks(arrays).items():
            array = arrays[name]
            x, shown = first_frame + np.arange(len(array)), max(1, round(longest / 20))
            axes.plot(x, array, markevery=shown, label=name, **look)
            ends.append((array[np.isfinite(array)][-1], name, look["color"]))
        for i, (name, array) in enumerate(levels.items()):
            x, under = first_frame + np.arange(len(array)), name in (floor or {})
            dashes = "-" if under else _DASHES[i % len(_DASHES)]
            axes.plot(x, array, linestyle=dashes, color=GRAY, linewidth=1.4, zorder=1.8, label=name)
            if under:
                axes.fill_between(x, array, color=INK, alpha=0.12, linewidth=0, zorder=1)
            ends.append((array[np.isfinite(array)][-1], name, GRAY))
        if from_zero:
            axes.set_ylim(bottom=0)
        return ends

    return _for_both(draw, "frame", metric, title)


def _check_frames(kind: str, arrays: Mapping[str, np.ndarray]) -> None:
    wrong = {name: array.shape for name, array in arrays.items() if array.ndim != 1 or not np.isfinite(array).any()}
    if wrong:
        raise ValueError(f"{kind} have shapes {wrong}, expected each as (horizon,): one number per frame.")


@style()
def line_panels(
    panels: Mapping[str, Mapping[str, Any]],
    *,
    ylabel: str,
    references: Mapping[str, float] | None = None,
    dots: Collection[str] = (),
    steps: Collection[str] = (),
    gray: Collection[str] = (),
    divide: float | None = None,
    log: bool = False,
    from_zero: bool = True,
    title: str | None = None,
) -> Figure:
    """Lines in panels side by side that share one vertical axis, with one key at the right.

    Args:
        panels: what runs along a panel's horizontal axis → name → ``(x, y)``, two rows of numbers.
        ylabel: what all the y are.
        references: name → level, a dashed line through all panels.
        dots: names drawn as points without a line.
        steps: names drawn as stairs that keep each value until the next x.
        gray: names of what is no model, drawn in gray.
        divide: an upright line at this x in every panel, such as 10.5 between past and future.
        log: both axes logarithmic, with the x of the points as ticks.
        from_zero: begin the vertical axis at 0, where it isn't logarithmic.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, or a line that isn't two rows of as many numbers; another argument out of range.
    """
    check_mapping("lines of a panel", panels=panels)
    check_texts(ylabel=ylabel)
    check_drawing(title=title)
    check_flags(log=log, from_zero=from_zero)
    check_names(dots=dots, steps=steps, gray=gray)
    if divide is not None:
        check_numbers(-np.inf, open=True, divide=divide)
    check_levels(references)
    lines = {}
    for panel, curves in panels.items():
        check_mapping("(x, y)", **{f"panels[{panel!r}]": curves})
        for name, points in curves.items():
            where = f"panels[{panel!r}][{name!r}]"
            if not isinstance(points, (tuple, list)) or len(points) != 2:
                raise ValueError(f"{where} is {kind_of(points)}, expected (x, y): two rows of numbers.")
            x, y = (as_numbers(where, part) for part in points)
            if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x) & np.isfinite(y)).any():
                raise ValueError(f"{where} has shapes {x.shape} and {y.shape}, expected (x, y) of as many numbers.")
            lines[panel, name] = x, y
    names = list(dict.fromkeys(name for _, name in lines))
    look_of = looks(names, gray)

    def draw(grid: Sequence[Axes]) -> None:
        for axes, (panel, curves) in zip(grid, panels.items(), strict=True):
            axes.set_xlabel(panel)
            for name in curves:
                x, y = lines[panel, name]
                look = look_of[name] | ({} if len(x) <= 40 else {"marker": ""})
                look["drawstyle"] = "steps-post" if name in steps else "default"
                axes.plot(x, y, linestyle="" if name in dots else "-", **look, label=name)
            _add_levels(axes, references or {})
            if divide is not None:
                axes.axvline(divide, color=INK, linewidth=1)
            if log:
                axes.set(xscale="log", yscale="log")
                known = np.unique(np.concatenate([lines[panel, name][0] for name in curves]))
                axes.set_xticks(known, [f"{tick:,.15g}" for tick in known])
                axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
            elif from_zero:
                axes.set_ylim(bottom=0)

    return _panels(draw, len(panels), ylabel, title, x=not log)


@style()
def bar_panels(
    panels: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    ylabel: str,
    references: Mapping[str, float] | None = None,
    gray: Collection[str] = (),
    title: str | None = None,
) -> Figure:
    """Groups of bars in panels side by side that share one vertical axis, with one key at the right.

    Args:
        panels: what a panel's groups are → group → name → height, or ``(height, standard error)``.
        ylabel: what the heights are.
        references: name → level, a dashed line through all panels.
        gray: names of what is no model, drawn in gray.
        title: a line above the picture.

    Raises:
        ValueError: nothing to draw, or a height that is no number; another argument out of range.
    """
    check_mapping("groups of a panel", panels=panels)
    check_texts(ylabel=ylabel)
    check_drawing(title=title)
    check_levels(references)
    check_names(gray=gray)
    bars = {}
    for panel, groups in panels.items():
        check_mapping("bars of a group", **{f"panels[{panel!r}]": groups})
        for group, heights in groups.items():
            check_mapping("height", **{f"panels[{panel!r}][{group!r}]": heights})
            for name, height in heights.items():
                both = height if isinstance(height, (tuple, list)) and len(height) == 2 else (height, 0)
                check_numbers(-np.inf, open=True, **{f"panels[{panel!r}][{group!r}][{name!r}]": both[0]})
                check_numbers(0, **{f"the standard error of panels[{panel!r}][{group!r}][{name!r}]": both[1]})
                bars[panel, group, name] = both
    names = list(dict.fromkeys(name for _, _, name in bars))
    look_of, wide = looks(names, gray), 0.8 / len(names)

    def draw(grid: Sequence[Axes]) -> None:
        for axes, (panel, groups) in zip(grid, panels.items(), strict=True):
            for i, name in enumerate(names):
                found = [(place, bars[panel, g, name]) for place, g in enumerate(groups) if (panel, g, name) in bars]
                if found:
                    axes.bar(
                        [place + (i - (len(names) - 1) / 2) * wide for place, _ in found],
                        [height for _, (height, _) in found],
                        0.92 * wide,
                        yerr=[error for _, (_, error) in found] if any(error for _, (_, error) in found) else None,
                        color=look_of[name]["color"],
                        ecolor=INK,
                        label=name,
                    )
            _add_levels(axes, references or {})
            axes.set(xlabel=panel, xlim=(-0.6, len(groups) - 0.4))
            axes.set_xticks(range(len(groups)), groups)
            axes.grid(axis="x", visible=False)

    figure = _panels(draw, len(panels), ylabel, title, x=False)
    for axes in (*figure.axes, *figure.narrow.axes):
        _wrap_names(axes)
    return figure


def check_levels(references: Mapping[str, float] | None) -> None:
    if references is not None:
        check_mapping("level", references=references)
        check_numbers(**{f"references[{name!r}]": level for name, level in references.items()})


def check_names(**values: Collection[str]) -> None:
    for argument, names in values.items():
        if not isinstance(names, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{argument} is {names!r}, expected names such as ('untrained',).")


def _column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One number per epoch; NaN for one that was not validated, whose cell is empty."""
    try:
        return np.array([float("nan" if row[name] in ("", None) else row[name]) for row in history])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of the history holds what is no number ({error}), expected numbers.") from error


def _panels(draw: Callable[[Sequence[Axes]], None], count: int, ylabel: str, title: str | None, *, x: bool) -> Figure:
    """Panels side by side with one key at the right; as ``narrow``, under each other with the key above."""

    def paint(narrow: bool) -> Figure:
        size = (_NARROW[0], 2.7 * count + 0.6) if narrow else (min(9, 3.2 + 3 * count), 3.4)
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        shape = (count, 1) if narrow else (1, count)
        grid = figure.subplots(*shape, sharey=True, squeeze=False).flatten()
        for axes in grid if narrow else grid[:1]:
            axes.set_ylabel(ylabel)
        if title:
            figure.suptitle(textwrap.fill(title, 36) if narrow else title, x=0.01, ha="left", weight="bold", size=11)
        draw(grid)
        found = {}
        for axes in grid:
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                found.setdefault(name, handle)
        if len(found) > 1 and narrow:
            figure.legend(found.values(), found, frameon=False, loc="outside upper left", ncols=2)
        elif len(found) > 1:
            grid[-1].legend(found.values(), found, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        for axes in grid:
            _set_ticks(axes, x=x)
            if x:
                _thin_out(axes)
        return figure

    return wide_and_narrow(paint)


def _for_both(draw: Callable[[Axes], list[tuple[float, str, str]]], xlabel: str, ylabel: str, title: str) -> Figure:
    """The figure of a notebook, and the same on a phone as its ``narrow``."""

    def paint(narrow: bool) -> Figure:
        figure = Figure(figsize=_NARROW if narrow else _WIDE, dpi=DPI, layout="constrained")
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        axes.set_title(textwrap.fill(title, 36) if narrow else title)
        ends = draw(axes)
        _set_ticks(axes)
        _label_ends(axes, ends)
        _thin_out(axes)  # the names at the ends have taken their room
        return figure

    return wide_and_narrow(paint)


def _add_levels(axes: Axes, levels: Mapping[str, float]) -> list[tuple[float, str, str]]:
    for i, (name, value) in enumerate(levels.items()):
        axes.axhline(value, color=GRAY, linestyle=_DASHES[i % len(_DASHES)], linewidth=1.2, label=name)
    return [(value, name, GRAY) for name, value in levels.items()]


def _set_ticks(axes: Axes, *, x: bool = True) -> None:
    """Few and round ticks, written out: 200,000 and not 2 with 1e5 at the end of the axis, 200 and not 2 × 10²."""
    if x:
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(8, integer=True, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(_in_short)
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        decades = np.log10(high / low)
        if decades < 1:  # powers of ten would leave one tick or none
            axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        else:
            axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        axes.yaxis.set_major_formatter(_in_short)
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())


@mpl.ticker.FuncFormatter
def _in_short(value: float, _: int) -> str:
    return (f"{value / 1e6:,.10g} M" if abs(value) >= 1e6 else f"{value:,.10g}").replace("-", "−")


def _thin_out(axes: Axes) -> None:
    """Fewer ticks along x until no two labels touch: numbers of clips are wide where an axis is short."""
    for most in range(8, 1, -1):
        axes.xaxis.get_major_locator().set_params(nbins=most)
        axes.figure.draw_without_rendering()
        low, high = sorted(axes.get_xlim())  # an axis has labels beyond its ends, which are not drawn
        ticks = [tick for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = sorted((tick.label1.get_window_extent() for tick in ticks), key=lambda box: box.x0)
        if all(a.x1 + 4 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False)):
            return


def _wrap_names(axes: Axes) -> None:
    """Names of groups in lines that fit their place; what stands in brackets stays together."""
    axes.figure.draw_without_rendering()
    room, names = 0.95 * axes.bbox.width / len(axes.get_xticks()), []
    for label in axes.get_xticklabels():
        name = re.sub(r" (?=[^(]*\))", "\N{NO-BREAK SPACE}", label.get_text())
        for longest in range(len(name), 0, -1):
            label.set_text(textwrap.fill(name, longest, break_long_words=False))
            if label.get_window_extent().width <= room:
                break
        names.append(label.get_text())
    axes.set_xticks(axes.get_xticks(), names)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name at its right end, pushed apart where two would overlap, inside the height of the axes."""
    axes.figure.draw_without_rendering()  # the axis limits and the height of the axes are known only after a layout
    line = 13 / 72 * axes.figure.dpi / axes.bbox.height  # one line of text as a part of the axes' height
    ends = sorted(ends)
    to_axes = axes.transAxes.inverted()
    places = _apart([to_axes.transform(axes.transData.transform((0, value)))[1] for value, *_ in ends], line)
    for place, (_, name, color) in zip(places, ends, strict=True):
        axes.annotate(name, (1.015, place), xycoords="axes fraction", color=color, va="center", weight="bold", size=9)


def _apart(places: Sequence[float], line: float) -> list[float]:
    """Rising places as near to where they were as keeps them a line apart and in [0, 1], where they fit at all.

    >>> [round(place, 2) for place in _apart([0.5, 0.52, 0.98, 0.99], 0.1)]
    [0.5, 0.6, 0.9, 1.0]
    """
    apart, below = [], -np.inf
    for place in places:
        below = max(place, below + line)
        apart.append(below)
    above = max(1.0, line * (len(apart) - 1))
    for i in reversed(range(len(apart))):
        apart[i] = above = min(apart[i], above)
        above -= line
    return [float(place) for place in apart]
