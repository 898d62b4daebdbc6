"""Clips with a play button and figures with sliders, for whoever has a kernel; a still picture for the others."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vidlib.checks import check_counts, check_kind, check_mapping, check_numbers, check_texts, kind_of
from vidlib.viz.animations import as_rgb, error_rgb, sheet
from vidlib.viz.figures import film_strip
from vidlib.viz.show import figure_html, png
from vidlib.viz.style import as_clip_batch, check_drawing, check_labels


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
        ValueError: no clips, or clips of different shapes; another argument out of range.
    """
    check_numbers(0, 1000, open=True, fps=fps)
    check_counts(scale=scale)
    check_drawing(first_frame=first_frame)
    check_labels(errors=errors)
    if alt is not None:
        check_texts(alt=alt)
    if isinstance(videos, list | tuple) or getattr(videos, "ndim", 0) == 5:
        videos = {f"clip {i}": video for i, video in enumerate(videos)}
    check_mapping("clip", videos=videos)
    named = videos
    clips = as_clip_batch(list(named.values()), "videos")
    titles, total = list(named), clips.shape[1]
    columns = [error_rgb(clip) if title in errors else as_rgb(clip) for title, clip in zip(titles, clips, strict=True)]

    def picture(step: int) -> bytes:
        panels = np.stack([column[step] for column in columns])[None]
        caption = f"frame {first_frame + step} / {first_frame + total - 1}"
        buffer = io.BytesIO()
        drawn = sheet(panels, titles, caption, step, total, total, scale, key=any(title in errors for title in titles))
        Image.fromarray(drawn).save(buffer, "PNG")
        return buffer.getvalue()

    def strip() -> Figure:
        return film_strip(named, first_frame=first_frame, errors=errors, columns=10)

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
    return _with_static_picture([image, ipywidgets.HBox([play, slider])], figure_html(strip(), alt))


def explore(draw: Callable[..., Figure], *, alt: str, **sliders: tuple[int, int, int]) -> Any:
    """A figure with sliders, drawn anew when one is let go; readers without a kernel see it as it begins.

    Args:
        draw: takes the sliders' values by their names and returns the figure.
        alt: alt text of the first figure.
        sliders: name → (smallest, largest, first value).

    Returns:
        A widget, or the first figure where ipywidgets is not installed.

    Raises:
        ValueError: no function, no alt text, or a slider that is not three whole numbers in order.
    """
    if not callable(draw):
        raise ValueError(f"draw is {kind_of(draw)}, expected a function of the sliders that returns a figure.")
    check_texts(alt=alt)
    for name, slider in sliders.items():
        if not isinstance(slider, list | tuple) or len(slider) != 3:
            raise ValueError(f"{name} is {slider!r}, expected (smallest, largest, first value).")
        smallest, largest, first = slider
        check_counts(-sys.maxsize, **{f"the smallest {name}": smallest})
        check_counts(smallest, **{f"the largest {name}": largest})
        check_counts(smallest, highest=largest, **{f"the first {name}": first})
    begin = draw(**{name: first for name, (_, _, first) in sliders.items()})
    check_kind(Figure, "a matplotlib figure", **{"what draw returned": begin})
    try:
        import ipywidgets
    except ImportError:
        return begin
    knobs = {
        name: ipywidgets.IntSlider(first, smallest, largest, description=name, continuous_update=False)
        for name, (smallest, largest, first) in sliders.items()
    }
    image = ipywidgets.Image(value=png(begin), format="png", width=round(begin.get_figwidth() * 96))

    def redraw(_: Any) -> None:
        image.value = png(draw(**{name: knob.value for name, knob in knobs.items()}))

    for knob in knobs.values():
        knob.observe(redraw, names="value")
    return _with_static_picture([image, *knobs.values()], figure_html(begin, alt))


def _with_static_picture(children: Sequence[Any], static: str) -> Any:
    """A box of widgets that also has HTML for readers without a kernel."""
    import ipywidgets

    class Box(ipywidgets.VBox):
        def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
            return {**super()._repr_mimebundle_(**kwargs), "text/html": static}

    return Box(children)
