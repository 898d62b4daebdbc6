"""Pictures that move: GIFs of clips, and of predictions beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidlib.checks import check_counts, check_flags, check_mapping, check_numbers, check_path
from vidlib.files import atomic_write
from vidlib.viz.style import BLUE, ERROR_KEY, ERROR_MAP, INK, RULE, VERMILION, as_clip_batch, without_colour

_GAP, _HEAD, _FOOT = 8, 28, 40  # pixels around the panels of a GIF or player
_SHORTEST, _LONGEST = 2, 65_535  # hundredths of a second: viewers show no shorter frame, the format holds no longer one

_READ = 0.5  # how bright a model's panel is while it reads: what it shows there is given, not its own
_WAITING = 45  # the gray of a panel that has nothing to show yet: not the black of a frame


def comparison_frames(past: Any, truth: Any, prediction: Any, *, scale: int = 3, together: bool = False) -> np.ndarray:
    """Past | truth | prediction | error, one picture per time step, frame number burned in.

    The past plays first while the other panels wait in gray; then it stands dimmed on its last frame, and
    truth, prediction and error = prediction − truth (blue too dark, black correct, orange too bright) play.
    ``together`` has no panel for the past and none that waits: truth | predictions | errors all play the given frames
    first, dimmed where a model only reads them, and an error is black while nothing is predicted.

    Args:
        past: one clip, or a batch ``(B, past, 1, H, W)`` drawn as rows.
        truth: the same for the frames that followed.
        prediction: the same, shaped as truth; or name → prediction, to compare models.
        scale: how many times a pixel is enlarged.
        together: all panels play from the first frame on, and the errors stand beside each other at the right.

    Returns:
        uint8 ``(past + horizon, height, width, 3)`` RGB.

    Raises:
        ValueError: clips that do not fit together, or a scale that is no whole number from 1.
    """
    check_counts(scale=scale)
    check_flags(together=together)
    past, truth = as_clip_batch(past, "past"), as_clip_batch(truth, "truth")
    if isinstance(prediction, Mapping):
        check_mapping("prediction", prediction=prediction)
    named = prediction if isinstance(prediction, Mapping) else {"prediction": prediction}
    predictions = {name: as_clip_batch(video, name) for name, video in named.items()}
    if len(past) != len(truth) or past.shape[2:] != truth.shape[2:]:
        raise ValueError(f"past has {past.shape} and truth {truth.shape} as (clips, T, H, W), expected the same clips.")
    for name, video in predictions.items():
        if video.shape != truth.shape:
            raise ValueError(f"{name} has {video.shape} as (clips, T, H, W), expected {truth.shape} as truth has.")
    names, given, total = list(predictions), past.shape[1], past.shape[1] + truth.shape[1]
    if together:
        titles = ["truth", *names, *([f"{name} error" for name in names] if len(names) > 1 else ["error"])]
    else:
        titles = ["past", "truth", *(title for name in names for title in (name, "error"))]
    waiting = np.full_like(as_rgb(past[:, 0]), _WAITING)
    pictures = []
    for step in range(total):
        if step < given and together:
            read = as_rgb(past[:, step] * _READ)
            columns = [as_rgb(past[:, step]), *[read] * len(names), *[np.zeros_like(read)] * len(names)]
        elif step < given:
            columns = [as_rgb(past[:, step])] + [waiting] * (len(titles) - 1)
        else:
            now = truth[:, step - given]
            seen = [video[:, step - given] for video in predictions.values()]
            made, wrong = [as_rgb(frames) for frames in seen], [error_rgb(frames - now) for frames in seen]
            if together:
                columns = [as_rgb(now), *made, *wrong]
            else:
                both = [panel for pair in zip(made, wrong, strict=True) for panel in pair]
                columns = [as_rgb(past[:, -1] * 0.4), as_rgb(now), *both]
        caption = f"frame {step + 1} / {total} · {'given' if step < given else 'predicted'}"
        panels = np.stack(columns, axis=1)
        pictures.append(sheet(panels, titles, caption, step, total, given, scale, key=True))
    return np.stack(pictures)


def comparison_gif(
    path: str | Path,
    past: Any,
    truth: Any,
    prediction: Any,
    *,
    scale: int = 3,
    fps: float = 5,
    together: bool = False,
) -> Path:
    """Write :func:`comparison_frames` as a GIF; returns its path. Errors as there and in :func:`save_gif`."""
    _check_gif(path, fps)
    return save_gif(path, comparison_frames(past, truth, prediction, scale=scale, together=together), fps=fps)


def clips_gif(path: str | Path, clips: Any, *, columns: int = 4, scale: int = 2, fps: float = 5) -> Path:
    """Write clips side by side as a GIF with the frame number burned in; returns its path.

    Args:
        path: the GIF file.
        clips: one clip or a batch ``(B, T, 1, H, W)``.
        columns: clips per row.
        scale: how many times a pixel is enlarged.
        fps: frames per second, see :func:`save_gif`.

    Raises:
        ValueError: clips of several shapes, or an argument out of range.
    """
    _check_gif(path, fps)
    check_counts(columns=columns, scale=scale)
    clips = as_clip_batch(clips)
    columns = min(columns, len(clips))
    total, fill = clips.shape[1], -len(clips) % columns
    pictures = []
    for step in range(total):
        panels = as_rgb(clips[:, step])
        panels = np.concatenate([panels, np.full((fill, *panels.shape[1:]), 255, np.uint8)])
        grid = panels.reshape(-1, columns, *panels.shape[1:])
        pictures.append(sheet(grid, [""] * columns, f"frame {step + 1} / {total}", step, total, total, scale))
    return save_gif(path, np.stack(pictures), fps=fps)


def save_gif(path: str | Path, frames: np.ndarray, *, fps: float = 5, hold: float = 1.0) -> Path:
    """Write uint8 RGB frames ``(T, H, W, 3)`` as an endless GIF, whole or not at all: a failure leaves the old file.

    Up to 256 colours a frame are kept exactly, and equal frames give equal bytes. The last frame stays ``hold``
    seconds longer. Consecutive equal frames become one long frame. A GIF counts in hundredths of a second, and viewers
    slow down what is shorter than two of them: the time of a frame is rounded to whole hundredths.

    Args:
        path: the GIF file.
        frames: the pictures; one alone is a still.
        fps: frames per second, at most 50.
        hold: seconds for which the last frame stays longer.

    Raises:
        ValueError: other frames, or times that a GIF cannot hold.
        OSError: the file cannot be written.
    """
    _check_gif(path, fps)
    check_numbers(0, _LONGEST / 100, hold=hold)
    frames = np.asarray(frames) if isinstance(frames, np.ndarray | list | tuple) else np.empty(0)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 RGB frames (T, H, W, 3).")
    # Pillow merges equal frames as well, but fails where one number cannot hold their time
    times = np.full(len(frames), round(100 / fps))
    times[-1] += round(100 * hold)
    new = np.array([True, *(not np.array_equal(a, b) for a, b in zip(frames, frames[1:], strict=False))])
    times = np.add.reduceat(times, np.flatnonzero(new))
    if times.max() > _LONGEST:
        raise ValueError(
            f"One picture stays for {times.max() / 100:g} seconds, expected at most {_LONGEST / 100:g}: a GIF holds no "
            "longer time; use a higher fps, a shorter hold, or fewer equal frames."
        )
    times = [10 * int(time) for time in times]
    duration = times if len(times) > 1 else times[0]  # a still has one number, not a list of one
    encoded = imageio.imwrite("<bytes>", frames[new], extension=".gif", duration=duration, loop=0)
    with atomic_write(path) as file:
        file.write_bytes(encoded)
    return Path(path)


def _check_gif(path: str | Path, fps: float) -> None:
    check_path(path=path)
    check_numbers(0, open=True, fps=fps)
    if not _SHORTEST <= 100 / fps <= _LONGEST:
        raise ValueError(
            f"fps is {fps!r}, expected a number from {100 / _LONGEST:.4f} to {100 // _SHORTEST}: a GIF holds a frame "
            f"for {_SHORTEST} to {_LONGEST:,} hundredths of a second."
        )


def as_rgb(frames: np.ndarray) -> np.ndarray:
    """Frames ``(N, H, W)`` or ``(N, H, W, 3)`` in [0, 1] as uint8 ``(N, H, W, 3)``."""
    values = np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)
    return values if values.ndim == 4 else np.repeat(values[..., None], 3, axis=-1)


def error_rgb(error: np.ndarray) -> np.ndarray:
    """Prediction − truth in [-1, 1], ``(N, H, W)`` or ``(N, H, W, 3)``, in the course's colours: ``(N, H, W, 3)``."""
    error = without_colour(error)
    return ERROR_MAP((np.clip(error, -1, 1) + 1) / 2, bytes=True)[..., :3]


def origin(row: int, column: int, height: int, width: int, scale: int, head: int = _HEAD) -> tuple[int, int]:
    """The (y, x) pixel where a panel of :func:`sheet` begins."""
    return head + row * (height * scale + _GAP), _GAP + column * (width * scale + _GAP)


def sheet(
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
    bottom, right = origin(rows, columns, height, width, scale, head)
    paper = np.full((bottom - _GAP + _FOOT, right, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            y, x = origin(row, column, height, width, scale, head)
            panel = panels[row, column].repeat(scale, axis=0).repeat(scale, axis=1)
            paper[y : y + height * scale, x : x + width * scale] = panel
    image = Image.fromarray(paper)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        x = origin(0, column, height, width, scale)[1] + width * scale / 2
        draw.text((x, _HEAD / 2), title, INK, _font(title, width * scale, 15), anchor="mm")
    line = bottom - _GAP + 18
    draw.text((_GAP, line), caption, INK, _font(caption, right * 0.4, 15), anchor="ls")
    if key:
        text = f"error: {ERROR_KEY}"
        font = _font(text, right * 0.55, 13)
        if font.getlength(text) <= right * 0.55:  # on the smallest pictures it would lie on the caption
            draw.text((right - _GAP, line), text, INK, font, anchor="rs")
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
