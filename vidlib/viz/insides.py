"""What is inside a model: maps of probes and reliability."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidlib.checks import check_counts, check_mapping, check_numbers, check_texts
from vidlib.viz.curves import check_names
from vidlib.viz.style import DPI, GRAY, INK, as_numbers, check_drawing, looks, style, wide_and_narrow


@style()
def probe_maps(
    panels: Mapping[str, Any],
    rows: Sequence[str],
    *,
    controls: int = 0,
    divide: float | None = None,
    first_frame: int = 1,
    title: str | None = None,
) -> Figure:
    """Skill of probes as maps side by side: a row for each layer or control, a column for each frame.

    Args:
        panels: what is read → ``(rows, frames)``, NaN where there is nothing to read. Colours go from 0, chance, to 1;
            what is below 0 has the colour of 0.
        rows: names of the rows, from the bottom.
        controls: how many of them, at the bottom, are controls; a line parts them from the layers.
        divide: an upright line at this frame, such as 10.5 between past and future.
        first_frame: the number of the first frame.
        title: a line above the picture.

    Returns:
        the picture; its ``narrow`` attribute is the same with the maps below each other, for phones.

    Raises:
        ValueError: no panels, or one that has another number of rows; another argument out of range.
    """
    check_mapping("skills (rows, frames)", panels=panels)
    check_drawing(title=title, first_frame=first_frame)
    check_names(rows=rows)
    check_counts(0, highest=len(rows), controls=controls)
    if divide is not None:
        check_numbers(divide=divide)
    maps = {name: as_numbers(f"panels[{name!r}]", values) for name, values in panels.items()}
    for name, values in maps.items():
        if values.ndim != 2 or len(values) != len(rows) or not values.size:
            raise ValueError(
                f"panels[{name!r}] has shape {values.shape}, expected ({len(rows)}, frames): one row for each name."
            )

    def paint(narrow: bool) -> Figure:
        shape = (len(maps), 1) if narrow else (1, len(maps))
        each = 0.55 + 0.2 * len(rows)
        size = (
            (4.2, 0.9 + (each + 0.35) * len(maps))
            if narrow
            else (max(5, min(10.5, 1.9 + 1.75 * len(maps))), 0.75 + each)
        )
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        if title:
            words = textwrap.fill(title, 40) if narrow else title
            figure.suptitle(words, x=0.01, ha="left", weight="bold", size=11)
        grid = figure.subplots(*shape, sharey=True, squeeze=False).flatten()
        for axes, (name, values) in zip(grid, maps.items(), strict=True):
            _draw_map(axes, values, first_frame, controls, divide)
            axes.set_title(name, size=10, weight="normal")
            if narrow or axes is grid[0]:
                axes.set_yticks(range(len(rows)), rows, size=8)
        for axes in grid[-1:] if narrow else grid:
            axes.set_xlabel("frame", size=9)
        scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), "viridis")
        bar = figure.colorbar(scale, ax=list(grid), location="bottom" if narrow else "right", shrink=0.9, aspect=20)
        bar.set_label("skill: 0 chance, 1 all right", size=9)
        return figure

    return wide_and_narrow(paint)


def _draw_map(axes: Axes, values: np.ndarray, first_frame: int, controls: int, divide: float | None) -> None:
    colors = mpl.colormaps["viridis"].with_extremes(bad="white")
    right = first_frame + values.shape[1] - 0.5
    extent = (first_frame - 0.5, right, -0.5, len(values) - 0.5)
    axes.imshow(
        values, cmap=colors, vmin=0, vmax=1, aspect="auto", origin="lower", extent=extent, interpolation="nearest"
    )
    if controls:
        axes.axhline(controls - 0.5, color="white", linewidth=2.5)
    if divide is not None:
        axes.axvline(divide, color="white", linewidth=1.5)
    axes.grid(False)
    axes.tick_params(length=2, labelsize=8)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))


@style()
def reliability_plot(
    curves: Mapping[str, Any],
    *,
    references: Mapping[str, Any] | None = None,
    title: str = "What was said and what came",
) -> Figure:
    """Predicted variance against the squared error that came, on logarithmic axes; on the diagonal is calibrated.

    Args:
        curves: name → ``(said, came)``, two rows of numbers above 0, bin by bin.
        references: the same of what is no model, drawn in gray.
        title: a line above the picture.

    Returns:
        the picture; its ``narrow`` attribute is one for phones.

    Raises:
        ValueError: nothing to draw, or numbers that have no logarithm.
    """
    check_mapping("(said, came)", curves=curves)
    check_texts(title=title)
    if references is not None:
        check_mapping("(said, came)", references=references)
    lines = {}
    for name, pair in {**curves, **(references or {})}.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"curves or references hold {name!r}: {pair!r}, expected (said, came).")
        said, came = (as_numbers(f"a row of {name!r} in curves or references", part) for part in pair)
        if said.ndim != 1 or said.shape != came.shape or not said.size or not (np.minimum(said, came) > 0).all():
            raise ValueError(
                f"curves or references hold rows of the shapes {said.shape} and {came.shape} under {name!r}, "
                "expected two equal ones with numbers above 0."
            )
        lines[name] = said, came

    def paint(narrow: bool) -> Figure:
        figure = Figure(figsize=(4.2, 4.6) if narrow else (6.4, 4.0), dpi=DPI, layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log", xlabel="variance that was said, per pixel")
        axes.set_ylabel("squared error that came, per pixel")
        axes.set_title(textwrap.fill(title, 36) if narrow else title)
        ends = np.concatenate([np.concatenate(pair) for pair in lines.values()])
        low, high = ends.min() / 1.5, ends.max() * 1.5
        axes.plot([low, high], [low, high], color=INK, linewidth=1, linestyle="--", label="calibrated")
        for name, look in looks(lines, references or ()).items():
            axes.plot(*lines[name], label=name, **look)
        axes.text(high / 1.2, low * 1.3, "says too much", ha="right", va="bottom", color=GRAY, size=9)
        axes.text(low * 1.3, high / 1.3, "says too little", ha="left", va="top", color=GRAY, size=9)
        if narrow:
            figure.legend(frameon=False, loc="outside lower center", ncols=2)
        else:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    return wide_and_narrow(paint)
