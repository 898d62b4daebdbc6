"""The one style of every picture, and the clips that they are drawn from.

White paper, so that a figure reads on dark and on light pages, and the colour-blind-safe colours of Okabe & Ito
("Color Universal Design", 2008). Values are clipped to [0, 1] for showing only.

A clip is ``(T, C, H, W)`` with one channel (gray) or three (red, green, blue), or ``(T, H, W)``; tensor or array, uint8
or float in [0, 1].
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from vidlib.checks import check_counts, check_kind, kind_of
from vidlib.video import check_video

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, RULE, GRAY, EDGE = "#222222", "#DDDDDD", "#666666", "#8A8A8A"  # text, lines, what is no model, rims of frames
MARKERS = "osD^vPX<>*"  # they tell lines apart without colour
_OF_MODELS = {"convlstm": 0, "video-transformer": 1, "video-transformer-perceptual": 2}  # which colour, which marker
STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.prop_cycle": mpl.cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
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

DPI = 160  # a 64-pixel frame of 0.8 inch is enlarged exactly twice
PHONE = 4.4  # inches: what is wider gets a second drawing for narrow screens, see :func:`vidlib.viz.show`


def looks(names: Collection[str], gray: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """A colour and a marker for each name; a shipped model has the same ones in every picture.

    Args:
        names: what a picture shows.
        gray: those of them that are no models.
    """
    own = [_OF_MODELS[name] for name in names if name in _OF_MODELS]
    free = (place for place in itertools.count() if place not in own)
    # gray comes last: the first colours go to models
    others = sorted((name for name in names if name not in _OF_MODELS), key=gray.__contains__)
    places = _OF_MODELS | dict(zip(others, free, strict=False))
    return {
        name: {
            "color": GRAY if name in gray else COLORS[places[name] % len(COLORS)],
            "marker": MARKERS[places[name] % len(MARKERS)],
        }
        for name in names
    }


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The figure style of the course, for the length of a ``with`` block."""
    with mpl.rc_context(STYLE):
        yield


def apply_style() -> None:
    """Make the figure style of the course the default of this session."""
    mpl.rcParams.update(STYLE)


def wide_and_narrow(draw: Callable[[bool], Figure]) -> Figure:
    """A figure for a page, which keeps the drawing for a phone as its ``narrow``.

    Args:
        draw: makes the figure; whether for a phone.
    """
    figure = draw(False)
    figure.narrow = draw(True)
    return figure


def as_clip(video: Any, name: str = "clip") -> np.ndarray:
    """One clip as float32 ``(T, H, W)``, or ``(T, H, W, 3)`` where it has colours.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(video, (torch.Tensor, np.ndarray, list, tuple)):
        raise ValueError(f"{name} is {kind_of(video)}, expected a tensor or array (T, C, H, W).")
    try:
        array = video.detach().cpu() if isinstance(video, torch.Tensor) else torch.tensor(np.asarray(video))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is {kind_of(video)}, expected a tensor or array (T, C, H, W).") from error
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        hint = " Choose one clip of the batch with video[0]." if array.ndim == 5 else ""
        if array.ndim == 4 and array.shape[3] in (1, 3):
            hint = " Colours come before rows and columns: video.transpose(0, 3, 1, 2) of an array."
        raise ValueError(
            f"{name} has shape {tuple(array.shape)}, expected one clip (T, C, H, W) of 1 or 3 channels, "
            f"or (T, H, W).{hint}"
        )
    if array.dtype == torch.uint8:
        array = array / 255
    check_video(array[None], name, channels=None)
    clip = array.float().numpy()
    return clip[:, 0] if clip.shape[1] == 1 else np.moveaxis(clip, 1, -1)


def as_clip_batch(videos: Any, name: str = "clips") -> np.ndarray:
    """One clip, or a batch ``(B, T, C, H, W)``, as float32 ``(B, T, H, W)`` or ``(B, T, H, W, 3)``.

    Raises:
        ValueError: no clips, or clips of several shapes.
    """
    if not isinstance(videos, list | tuple) and not (
        isinstance(videos, torch.Tensor | np.ndarray) and videos.ndim >= 5
    ):
        videos = [videos]
    clips = [as_clip(video, name) for video in videos]
    if not clips or any(clip.shape != clips[0].shape for clip in clips):
        raise ValueError(
            f"{name} has clips of shapes {sorted({c.shape for c in clips})} as (T, H, W), expected one shape for all."
        )
    return np.stack(clips)


def as_numbers(name: str, values: Any) -> np.ndarray:
    """Any tensor or nested list of numbers as a float array.

    Raises:
        ValueError: it holds no numbers.
    """
    try:
        return torch.as_tensor(values).detach().cpu().double().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is {kind_of(values)}, expected an array of numbers.") from error


def without_colour(frames: np.ndarray) -> np.ndarray:
    """Frames ``(N, H, W)``, or the mean over the channels of ``(N, H, W, 3)``: an error is drawn in one scale."""
    return frames.mean(-1) if frames.ndim == 4 else frames


def check_labels(*, errors: Collection[str]) -> None:
    """Raise unless ``errors`` is a collection of labels: one text would be searched letter by letter.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(errors, (list, tuple, set, frozenset)) or not all(isinstance(label, str) for label in errors):
        raise ValueError(f"errors is {errors!r}, expected labels of rows such as ('error',).")


def check_drawing(*, title: str | None = None, first_frame: int = 1) -> None:
    """Raise unless these arguments, which many pictures have, are what they should be.

    Raises:
        ValueError: one is not.
    """
    check_kind((str, type(None)), "a text or None", title=title)
    check_counts(0, first_frame=first_frame)
