"""Clips from your own videos: any file that FFmpeg reads, one or a folder of them, each read once, frame by frame.

A frame becomes what the models know: upright, the square in its middle, gray, 64×64. These small frames are kept on
the disk, 4 KB each, because a training reads a clip many times and few formats allow a jump to any frame. In memory
there is never more than one batch.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vidlib.checks import check_counts, check_numbers, reason, shown
from vidlib.digits import data_folder
from vidlib.files import atomic_write, user_path

if TYPE_CHECKING:
    import av

SUFFIXES = {
    ".3gp", ".apng", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".nut",
    ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip
FPS = 10.0  # 20 frames are then 2 seconds
ENOUGH_FILES = 5  # from here on whole files are held out for validation

_MOST_PIXELS = 50_000_000  # of a frame
_LONGEST_STILL = 3_600  # seconds between two frames: more is a broken clock, and would fill the disk
_EARLY = Fraction(1, 4)  # of a time step: files round their times, so a frame may seem to come this much too late
_FORMAT = 1  # of the small frames on the disk


class NoVideo(ValueError):
    """A file that gives no clips: no video, damaged, too large, or too short."""


# Reading ------------------------------------------------------------------------------------------------------------


def video_files(source: str | Path) -> list[Path]:
    """A file itself, or the videos in a folder and the folders below it, without hidden ones.

    Raises:
        ValueError: it is not there, or there is no video in it.
        OSError: a folder that cannot be read.
    """
    source = user_path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ValueError(f"videos are {str(source)!r}, expected an existing video file or a folder of them.")

    def closed(error: OSError) -> None:
        raise OSError(f"{error.filename} cannot be read ({reason(error)}): see who may read it.") from error

    found = []
    for here, folders, names in os.walk(source, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [Path(here, name) for name in names if not name.startswith(".")]
    if not (videos := sorted(file for file in found if file.suffix.lower() in SUFFIXES)):
        raise ValueError(f"{source} holds no videos: add files that end in {', '.join(sorted(SUFFIXES))}.")
    return videos


def gray_frames(file: str | Path, *, fps: float = FPS, size: int = 64, notes: list[str] | None = None) -> Iterator:
    """The frames of a video, one after the other: upright, the square in the middle, gray, averaged down to ``size``.

    At each time step comes the frame that is on the screen then, whatever the file's own frame rate, constant or not.
    Transparent pixels are black.

    Args:
        file: any video that FFmpeg reads.
        fps: frames per second to give.
        size: height and width to give.
        notes: takes a sentence about a file that is damaged in parts.

    Yields:
        ``(size, size)`` uint8.

    Raises:
        ValueError: no video (:class:`NoVideo`), or an argument out of range.
        OSError: it cannot be opened, which says nothing of its contents.
    """
    check_numbers(0, 1000, open=True, fps=fps)
    check_counts(highest=4096, size=size)
    file, step = user_path(file), 1 / Fraction(fps).limit_denominator(1001)
    kept, start, last, length, given = None, None, Fraction(0), Fraction(0), 0
    for frame, time, lasts, aspect in _frames(file, [] if notes is None else notes):
        start = time if start is None else start
        if time - start - last > _LONGEST_STILL:
            raise NoVideo(
                f"{file} stands still for more than an hour after {float(last):.1f} s: save it with new times."
            )
        if kept is not None and time - start > last:
            length, last = time - start - last, time - start
            until = math.ceil(last / step - _EARLY)
            if until > given:  # most frames of a fast video are never looked at
                small = small_frame(*kept, size)
                yield from (small for _ in range(given, until))
                given = until
        kept, length = (frame, aspect), lasts or length
    until = max(math.ceil((last + (length or step)) / step - _EARLY), 1)
    small = small_frame(*kept, size)
    yield from (small for _ in range(given, until))


def _frames(file: Path, notes: list[str]) -> Iterator[tuple[av.VideoFrame, Fraction, Fraction, Fraction]]:
    """Each decoded frame, when it comes and how long it lasts in seconds (0: not said), and how wide its pixels are."""
    import av

    try:
        with file.open("rb") as stream:
            if not stream.read(1):
                raise NoVideo(f"{file} is empty: replace or remove it.")
    except OSError as error:
        raise OSError(f"{file} cannot be opened ({reason(error)}): see whether it is there for you.") from error
    found = 0
    try:
        # as a file whatever its name looks like, and with no way to the network for a playlist
        with av.open(f"file:{file}", options={"protocol_whitelist": "file"}) as container:
            stream = _picture_stream(container, file)
            stream.thread_type = "AUTO"
            aspect = stream.sample_aspect_ratio or Fraction(1)
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            for frame in _decoded(container, stream, file, notes):
                _check_size(file, frame.width, frame.height)
                timed = frame.pts is not None and frame.time_base
                time = frame.pts * frame.time_base if timed else found / rate
                lasts = (frame.duration or 0) * frame.time_base if timed else 1 / rate
                found += 1
                yield frame, time, lasts, aspect
    except (av.FFmpegError, UnicodeError) as error:
        raise NoVideo(f"{file} cannot be read as a video ({_why(error)}): replace or remove it.") from error
    if not found:
        raise NoVideo(f"{file} has a video track without one whole frame: replace or remove it.")


def _picture_stream(container: Any, file: Path) -> Any:
    """The video track; the cover picture of a song is none."""
    import av

    tracks = container.streams.video
    if not (moving := [track for track in tracks if not track.disposition & av.stream.Disposition.attached_pic]):
        only = "sound alone" if container.streams.audio else "no video track"
        raise NoVideo(f"{file} holds {only}, expected a video: replace or remove it.")
    if moving[0].codec_context is None:
        raise NoVideo(f"{file} has a kind of video that this FFmpeg cannot decode: save it as H.264 or VP9.")
    _check_size(file, moving[0].codec_context.width, moving[0].codec_context.height)
    return moving[0]


def _check_size(file: Path, width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise NoVideo(
            f"{file} has frames of {width}×{height} pixels, expected at most {_MOST_PIXELS:,} pixels: save it smaller."
        )


def _decoded(container: Any, stream: Any, file: Path, notes: list[str]) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; what cannot be is counted in a note."""
    import av

    damaged, packets = 0, container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            notes.append(f"{file.name} breaks off")
            return
        if packet is None:
            break
        damaged += packet.is_corrupt
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += not packet.is_corrupt
            continue
        yield from frames
    if damaged:
        notes.append(f"{file.name} is damaged in {damaged} {'place' if damaged == 1 else 'places'}")


def _why(error: Exception) -> str:
    words = reason(error)
    return "damaged, or no video" if "Invalid data" in words else words


def small_frame(frame: av.VideoFrame, aspect: Fraction, size: int) -> np.ndarray:
    """One decoded frame as ``(size, size)`` uint8: gray, transparent pixels black, upright, the square in the middle.

    Args:
        frame: of PyAV.
        aspect: width of a pixel, as a share of its height.
        size: height and width to give.
    """
    from PIL import Image

    if frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components):
        colours = frame.to_ndarray(format="rgba")
        gray = np.asarray(Image.fromarray(colours[..., :3]).convert("L"), np.float32)
        gray = np.rint(gray * (colours[..., 3] / np.float32(255))).astype(np.uint8)
    else:
        gray = frame.to_ndarray(format="gray")
    gray, turned = _upright(gray, frame)
    (height, width), aspect = gray.shape, 1 / aspect if turned else aspect
    side = min(height, width * aspect)  # in heights of a pixel
    across, down = float(side / aspect), float(side)
    left, top = max(0.0, (width - across) / 2), max(0.0, (height - down) / 2)
    box = (left, top, min(left + across, width), min(top + down, height))
    # a box averages all that a new pixel covers; where it covers less than one, the neighbours are blended
    filter = Image.Resampling.BOX if down >= size else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(gray)).resize((size, size), filter, box))


def _upright(gray: np.ndarray, frame: av.VideoFrame) -> tuple[np.ndarray, bool]:
    """The frame as its metadata want it shown, turned or mirrored; and whether rows became columns.

    The matrix takes a pixel's (x, y) to (a·x + c·y, b·x + d·y) (ISO/IEC 14496-12, section 6.2.2).
    """
    import av

    if (stored := frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)) is None:
        return gray, False
    a, b, _, c, d, *_ = np.frombuffer(bytes(stored), np.int32).tolist()
    if turned := abs(b) > abs(a):
        gray, right, down = gray.T, c, b
    else:
        right, down = a, d
    return gray[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1], turned


# The small frames on the disk ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SmallVideo:
    """A video's small frames as they lie on the disk.

    Attributes:
        name: of the file that was read, without its folder.
        store: the file of ``frames`` times ``size``·``size`` bytes.
        frames: how many.
        sha256: of the pixels.
        note: what was wrong with the video, else empty.
    """

    name: str
    store: Path
    frames: int
    sha256: str
    note: str = ""


def small_video(
    file: str | Path,
    *,
    fps: float = FPS,
    size: int = 64,
    cache: str | Path | None = None,
    progress: bool | type = False,
) -> SmallVideo:
    """Read a video once and keep its small frames; a second call finds them, until the file changes.

    Args:
        file, fps, size: see :func:`gray_frames`.
        cache: folder for the small frames; ``own-videos`` in :func:`vidlib.digits.data_folder` where not given. It
            may be deleted whenever no clips are in use.
        progress: whether to draw a bar; or the kind of tqdm that draws it.

    Raises:
        ValueError, OSError: as :func:`gray_frames`; also where the cache cannot be written.
    """
    file = user_path(file)
    cache = data_folder() / "own-videos" if cache is None else user_path(cache)
    try:
        state = file.stat()
    except OSError as error:
        raise OSError(f"{file} cannot be opened ({reason(error)}): see whether it is there for you.") from error
    made_from = [_FORMAT, str(file), state.st_size, state.st_mtime_ns, str(Fraction(fps).limit_denominator(1001)), size]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:32]
    store, facts = cache / f"{key}.gray", cache / f"{key}.json"
    if known := _known(store, facts, size):
        return SmallVideo(file.name, store, **known)
    notes: list[str] = []
    found, count = hashlib.sha256(), 0
    kind = tqdm if isinstance(progress, bool) else progress
    with (
        kind(desc=file.name, unit=" frames", mininterval=1.0, disable=not progress) as bar,
        atomic_write(store) as temporary,
        temporary.open("wb") as stream,
    ):
        for small in gray_frames(file, fps=fps, size=size, notes=notes):
            data = small.tobytes()
            found.update(data)
            stream.write(data)
            count += 1
            bar.update()
    known = {"frames": count, "sha256": found.hexdigest(), "note": "; ".join(notes)}
    with atomic_write(facts) as temporary:  # comes last: without it, the frames count as not there
        temporary.write_text(json.dumps(known), encoding="utf-8")
    return SmallVideo(file.name, store, **known)


def _known(store: Path, facts: Path, size: int) -> dict[str, Any] | None:
    """What the cache says of a video, if its frames are whole."""
    try:
        known, found = json.loads(facts.read_text(encoding="utf-8")), hashlib.sha256()
        with store.open("rb") as stream:
            while data := stream.read(1 << 20):
                found.update(data)
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.keys() != {"frames", "sha256", "note"}:
        return None
    whole = known["sha256"] == found.hexdigest() and store.stat().st_size == known["frames"] * size * size
    return known if whole else None


# Clips --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stretch:
    """Frames ``first`` … ``stop``-1 of a video."""

    video: SmallVideo
    first: int
    stop: int

    def clips(self, frames: int, stride: int) -> int:
        return max(0, (self.stop - self.first - frames) // stride + 1)


class VideoClips:
    """Clips from a video file or a folder of them, as :class:`vidlib.video.Clips`.

    A long video becomes many clips. Two files with the same pixels count once. In a folder, a file that gives no clip
    is left out and named in ``note``.

    Args:
        source: a video file or a folder, see :func:`video_files`.
        frames: frames in a clip.
        fps: frames per second; lower is faster motion.
        stride: frames from the start of one clip to the next; ``None`` is ``frames``, so that no frame comes twice.
        size: height and width of a frame.
        cache, progress: see :func:`small_video`.

    Raises:
        ValueError: no video that is long enough, or a number out of range.
        OSError: something that cannot be read or written.
    """

    def __init__(
        self,
        source: str | Path,
        frames: int = 20,
        *,
        fps: float = FPS,
        stride: int | None = None,
        size: int = 64,
        cache: str | Path | None = None,
        progress: bool | type = False,
    ) -> None:
        check_counts(frames=frames, size=size)
        check_counts(stride=frames if stride is None else stride)
        check_numbers(0, 1000, open=True, fps=fps)
        self.frames, self.fps, self.size = frames, float(fps), size
        self.stride = stride or frames
        files, left_out, unique = video_files(source), [], {}
        for file in files:
            try:
                video = small_video(file, fps=fps, size=size, cache=cache, progress=progress)
                if video.frames < frames:
                    has = f"{video.frames} frame{'s' * (video.frames != 1)}"
                    raise NoVideo(
                        f"{file} has {has} at {fps:g} per second, expected at least {frames} ({frames / fps:.1f} s): "
                        "take a longer video, or a higher fps."
                    )
                unique.setdefault(video.sha256, video)
            except NoVideo as error:
                left_out.append(error)
        if not unique:
            if len(files) == 1:
                raise left_out[0]
            raise ValueError(
                f"None of {len(files)} videos in {user_path(source)} gives a clip. The first: {left_out[0]}"
            )
        notes = [video.note for video in unique.values() if video.note]
        if left_out:
            notes.append(f"{len(left_out)} of {len(files)} files left out, the first: {left_out[0]}")
        self.note = "; ".join(notes)
        self._take([_Stretch(video, 0, video.frames) for video in unique.values()], "")

    def _take(self, stretches: list[_Stretch], part: str) -> None:
        self._stretches, self._part = stretches, part
        self._ends = np.array(list(accumulate(each.clips(self.frames, self.stride) for each in stretches)))
        self._chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> Tensor:
        """Clip ``index`` as uint8 ``(T, 1, H, W)``."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} is not in a set of {len(self):,} clips.")
        return self.batch([index % len(self)])[0]

    def batch(self, indices: Sequence[int] | range, device: torch.device | str | None = None) -> Tensor:
        """These clips as uint8 ``(B, T, 1, H, W)``.

        Raises:
            ValueError: no list of whole numbers of clips.
            OSError: the small frames are not there any more.
        """
        indices = indices.tolist() if isinstance(indices, np.ndarray | Tensor) else indices
        if not isinstance(indices, range | list | tuple) or not indices:
            raise ValueError(f"indices are {shown(indices)}, expected at least one number of a clip, such as range(8).")
        for index in indices:
            check_counts(0, highest=len(self) - 1, **{"one of indices": index})
        clips = [self._read(*self.place(index)) for index in indices]
        return torch.from_numpy(np.stack(clips)).to(device)

    def place(self, index: int) -> tuple[SmallVideo, int]:
        """The video that a clip comes from, and the number of its first frame there."""
        number = int(index if self._chosen is None else self._chosen[index])
        which = int(np.searchsorted(self._ends, number, side="right"))
        stretch = self._stretches[which]
        return stretch.video, stretch.first + (number - (self._ends[which - 1] if which else 0)) * self.stride

    def _read(self, video: SmallVideo, first: int) -> np.ndarray:
        # read, not memory-mapped: the pages of a map would count as memory of this process
        pixels = self.size * self.size
        try:
            frames = np.fromfile(video.store, np.uint8, self.frames * pixels, offset=int(first) * pixels)
        except OSError as error:
            raise OSError(f"The frames of {video.name} are gone ({reason(error)}): make the clips again.") from error
        if len(frames) != self.frames * pixels:
            raise OSError(f"The frames of {video.name} are cut off on the disk: make the clips again.")
        return frames.reshape(self.frames, 1, self.size, self.size)

    def describe(self) -> str:
        """One line for the screen and for model cards: how many clips, of which files; without their folders."""
        names = [each.video.name for each in self._stretches]
        of = names[0] if len(names) == 1 else f"{len(names)} videos ({names[0]} …)"
        part = f"{self._part} " if self._part else ""
        return f"{len(self):,} clip{'s' * (len(self) != 1)} of {self.frames} frames at {self.fps:g} fps, {part}of {of}"

    def fingerprint(self) -> str:
        """What the pixels depend on, wherever the videos lie and whatever they are called."""
        parts = [[each.video.sha256, each.first, each.stop] for each in self._stretches]
        chosen = None if self._chosen is None else hashlib.sha256(self._chosen.tobytes()).hexdigest()
        facts = [self.frames, self.stride, self.size, parts, chosen]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def shuffled(self, seed: int) -> VideoClips:
        """The same clips in an order that depends on the seed alone: neighbours in time then fall into many batches."""
        check_counts(0, highest=2**64 - 1, seed=seed)
        return self._choose(np.random.Generator(np.random.Philox(key=seed)).permutation(len(self)))

    def spread(self, count: int) -> VideoClips:
        """At most ``count`` of the clips, evenly spread over all of them."""
        check_counts(count=count)
        return self._choose(np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64)))

    def _choose(self, numbers: np.ndarray) -> VideoClips:
        other = copy.copy(self)
        other._chosen = (numbers if self._chosen is None else self._chosen[numbers]).astype(np.int64)
        return other

    def split(self, validation: float = 0.1) -> tuple[VideoClips, VideoClips]:
        """Clips to train on and clips to validate on; no frame is in both.

        Of :data:`ENOUGH_FILES` videos or more, whole ones are held out; of fewer, the end of each that is long enough.

        Args:
            validation: the share that is held out, at least one clip.

        Raises:
            ValueError: too little video for one clip of each kind.
        """
        check_numbers(0, 0.9, open=True, validation=validation)
        if self._chosen is not None:
            raise ValueError("These clips were shuffled or chosen already: split them first.")
        whole = sorted(self._stretches, key=lambda each: each.video.sha256)
        cuts = {each: each.stop - max(self.frames, round(validation * (each.stop - each.first))) for each in whole}
        by_time = [each for each in self._stretches if cuts[each] - each.first >= self.frames]
        if len(whole) < ENOUGH_FILES and by_time:
            training = [_Stretch(e.video, e.first, cuts[e] if e in by_time else e.stop) for e in self._stretches]
            held_out = [_Stretch(e.video, cuts[e], e.stop) for e in by_time]
            return self._with(training, "from the beginning"), self._with(held_out, "from the end")
        if len(whole) == 1:
            each = whole[0]
            raise ValueError(
                f"{each.video.name} has {each.stop - each.first} frames at {self.fps:g} per second, expected at least "
                f"{2 * self.frames}, one clip to train on and one to validate on: take a longer video, or a higher fps."
            )
        count = max(1, round(validation * len(whole)))
        held_out = [each for each in self._stretches if each in whole[:count]]
        training = [each for each in self._stretches if each not in held_out]
        return self._with(training, "all"), self._with(held_out, "all")

    def _with(self, stretches: list[_Stretch], part: str) -> VideoClips:
        other = copy.copy(self)
        other._take(stretches, part)
        return other


def training_clips(
    source: str | Path,
    *,
    frames: int = 20,
    fps: float = FPS,
    validation_clips: int = 64,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool | type = False,
) -> tuple[VideoClips, VideoClips]:
    """What a training on your own videos reads: clips that begin at every frame, shuffled; and validation clips.

    Args:
        source, frames, fps, cache, progress: see :class:`VideoClips`.
        validation_clips: at most so many, spread over what is held out.
        seed: of the order of the training clips.

    Raises:
        ValueError, OSError: as :class:`VideoClips` and :meth:`VideoClips.split`.
    """
    clips = VideoClips(source, frames, fps=fps, stride=1, cache=cache, progress=progress)
    training, validation = clips.split()
    return training.shuffled(seed), validation.spread(validation_clips)
