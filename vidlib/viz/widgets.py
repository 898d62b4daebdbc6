"""Clips with a play button and figures with controls, for whoever has a kernel; a still picture for the others.

Every control has a name that assistive technology reads. That rules sliders out: ipywidgets gives their handles none
(8.1), and the label beside them names nothing. Number fields have labels of their own, and arrow keys step them.
Only the picture's bytes change, never the row of controls, so that the focus stays where it was.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vidlib.checks import check_counts, check_kind, check_mapping, check_numbers, check_texts, kind_of
from vidlib.viz.animations import as_rgb, error_rgb, origin, sheet
from vidlib.viz.figures import film_strip
from vidlib.viz.show import figure_html, image_html, png, still_html
from vidlib.viz.style import as_clip_batch, check_drawing, check_labels


def player(
    videos: Mapping[str, Any] | Sequence[Any] | Callable[..., Mapping[str, Any] | Sequence[Any]],
    *,
    fps: float = 5,
    scale: int = 3,
    first_frame: int = 1,
    errors: Collection[str] = ("error",),
    choose: Mapping[str, tuple[int, int, int]] | None = None,
    alt: str | None = None,
) -> Any:
    """Clips side by side with a play button and a frame number; readers without a kernel get a film strip.

    Args:
        videos: label → clip, or a list of clips; all with the same number of frames. Or a function of the numbers in
            ``choose`` that returns such clips.
        fps: frames per second.
        scale: how many times a pixel is enlarged.
        first_frame: the number of the first frame.
        errors: labels of clips that hold prediction − truth, as in :func:`film_strip`.
        choose: name → (smallest, largest, first value) of each number that ``videos`` takes.
        alt: what the picture shows, for those who don't see it.

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
    if choose is not None:
        check_mapping("(smallest, largest, first value)", choose=choose)
        if not callable(videos):
            raise ValueError("choose needs videos that are a function of its numbers, expected one that returns clips.")
        check_choices(choose)
    values = {name: first for name, (_, _, first) in (choose or {}).items()}
    show = _Pictures(videos(**values) if callable(videos) else videos, scale, first_frame, errors)
    try:
        import ipywidgets
    except ImportError:
        return show.strip()
    last = first_frame + show.total - 1
    alt = alt or f"{', '.join(show.titles)}: {show.total} frames, {first_frame} to {last}."
    image = ipywidgets.HTML(_image(show.picture(0), alt, show.width))
    span = {"value": first_frame, "min": first_frame, "max": last}
    # The play widget's own buttons have no names: it is hidden, and only counts.
    play = ipywidgets.Play(**span, interval=round(1000 / fps), repeat=True, layout={"display": "none"})
    toggle = ipywidgets.ToggleButton(description="Play", tooltip="Play or pause the clips", layout={"width": "5.5em"})
    number = _number("frame", **span)
    ipywidgets.jslink((toggle, "value"), (play, "playing"))
    ipywidgets.jslink((play, "value"), (number, "value"))
    toggle.observe(lambda change: setattr(toggle, "description", "Pause" if change["new"] else "Play"), names="value")
    ranges = (choose or {}).items()
    chosen = {name: _number(name.replace("_", " "), first, low, high) for name, (low, high, first) in ranges}

    def redraw(_: Any = None) -> None:
        image.value = _image(show.picture(min(number.value, number.max) - first_frame), alt, show.width)

    def choose_anew(_: Any) -> None:
        nonlocal show
        show = _Pictures(videos(**{name: field.value for name, field in chosen.items()}), scale, first_frame, errors)
        play.max = number.max = first_frame + show.total - 1
        redraw()

    number.observe(redraw, names="value")
    for field in chosen.values():
        field.observe(choose_anew, names="value")
    row = ipywidgets.Box([toggle, play, number, *chosen.values()], layout=_WRAPPING)
    return _with_static_picture([image, row], figure_html(show.strip(), alt), "play the clips")


class _Pictures:
    """Checked clips, and the picture of each time step."""

    def __init__(self, videos: Any, scale: int, first_frame: int, errors: Collection[str]) -> None:
        if isinstance(videos, list | tuple) or getattr(videos, "ndim", 0) == 5:
            videos = {f"clip {i}": video for i, video in enumerate(videos, 1)}
        check_mapping("clip", videos=videos)
        self.videos, self.scale, self.first_frame, self.errors = videos, scale, first_frame, errors
        clips = as_clip_batch(list(videos.values()), "videos")
        self.titles, self.total = list(videos), clips.shape[1]
        self.columns = [
            error_rgb(clip) if title in errors else as_rgb(clip) for title, clip in zip(videos, clips, strict=True)
        ]
        self.width = origin(0, len(videos), *clips.shape[2:4], scale)[1]

    def picture(self, step: int) -> bytes:
        panels = np.stack([column[step] for column in self.columns])[None]
        caption = f"frame {self.first_frame + step} / {self.first_frame + self.total - 1}"
        key = any(title in self.errors for title in self.titles)
        drawn = sheet(panels, self.titles, caption, step, self.total, self.total, self.scale, key=key)
        buffer = io.BytesIO()
        Image.fromarray(drawn).save(buffer, "PNG")
        return buffer.getvalue()

    def strip(self) -> Figure:
        return film_strip(self.videos, first_frame=self.first_frame, errors=self.errors, columns=10)


def explore(draw: Callable[..., Figure], *, alt: str, **choices: tuple[int, int, int]) -> Any:
    """A figure with numbers to choose, drawn anew when one changes; readers without a kernel see it as it begins.

    Args:
        draw: takes the numbers by their names and returns the figure.
        alt: alt text of the first figure.
        choices: name → (smallest, largest, first value).

    Returns:
        A widget, or the first figure where ipywidgets is not installed.

    Raises:
        ValueError: no function, no alt text, or a choice that is not three whole numbers in order.
    """
    if not callable(draw):
        raise ValueError(f"draw is {kind_of(draw)}, expected a function of the choices that returns a figure.")
    check_texts(alt=alt)
    check_choices(choices)
    begin = draw(**{name: first for name, (_, _, first) in choices.items()})
    check_kind(Figure, "a matplotlib figure", **{"what draw returned": begin})
    try:
        import ipywidgets
    except ImportError:
        return begin
    chosen = {name: _number(name.replace("_", " "), first, low, high) for name, (low, high, first) in choices.items()}

    def drawn(figure: Figure) -> str:
        return _image(png(figure), alt, round(figure.get_figwidth() * 96))

    image = ipywidgets.HTML(drawn(begin))

    def redraw(_: Any) -> None:
        image.value = drawn(draw(**{name: field.value for name, field in chosen.items()}))

    for field in chosen.values():
        field.observe(redraw, names="value")
    row = ipywidgets.Box([*chosen.values()], layout=_WRAPPING)
    return _with_static_picture([image, row], figure_html(begin, alt), f"choose {', '.join(chosen)}")


def check_choices(choices: Mapping[str, Any]) -> None:
    """Raise unless each is (smallest, largest, first value), three whole numbers in order.

    Raises:
        ValueError: one is not.
    """
    for name, choice in choices.items():
        if not isinstance(choice, list | tuple) or len(choice) != 3:
            raise ValueError(f"{name} is {choice!r}, expected (smallest, largest, first value).")
        smallest, largest, first = choice
        check_counts(-sys.maxsize, **{f"the smallest {name}": smallest})
        check_counts(smallest, **{f"the largest {name}": largest})
        check_counts(smallest, highest=largest, **{f"the first {name}": first})


_WRAPPING = {"display": "flex", "flex_flow": "row wrap", "align_items": "center", "width": "auto"}


def _image(data: bytes, alt: str, width: int) -> str:
    """A picture as wide as it was drawn, where the page has room; decoded at once, so that nothing blinks between two.

    ipywidgets' own image has no alt text, and a box stretches it to the whole page.
    """
    return image_html(data, "png", alt, width).replace("<img ", '<img decoding="sync" ', 1)


def _number(name: str, value: int, min: int, max: int) -> Any:
    import ipywidgets

    return ipywidgets.BoundedIntText(
        value,
        min=min,
        max=max,
        description=name,
        tooltip=f"{name}, from {min} to {max}",
        style={"description_width": "initial"},
        layout={"width": f"{5.5 + 0.6 * len(name)}em"},
    )


def _with_static_picture(children: Sequence[Any], static: str, promise: str) -> Any:
    """A box of widgets that also has HTML for readers without a kernel, which says what it isn't."""
    import ipywidgets

    class Box(ipywidgets.VBox):
        def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
            return {**super()._repr_mimebundle_(**kwargs), "text/html": still_html(static, promise)}

    return Box(children)
