"""Clips from videos: what every kind of file becomes, what is refused, and that a long one needs no more memory."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vidlib import live, own_videos, recipes, runs
from vidlib.__main__ import main
from vidlib.own_videos import VideoClips, gray_frames, small_video, training_clips, video_files
from vidlib.training import fit
from vidlib.video import as_clips, float_batch

CANVAS = 64


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "own-videos"


def write(file, frames, *, codec="ffv1", pixels="gray", rate=30, times=None, turned=0, aspect=None, options=None):
    """A video of these frames; FFV1 keeps them to the bit."""
    kinds = {2: "gray", 3: "rgb24", 4: "rgba"}
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turned:
            stream.set_display_rotation(turned)
        if times:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            kind = kinds[2 if frame.ndim == 2 else frame.shape[2]]
            shown = av.VideoFrame.from_ndarray(frame, format=kind)
            if times:
                shown.pts, shown.time_base = times[number], Fraction(1, 1000)
            for packet in stream.encode(shown):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file


def plain(count, height=CANVAS, width=CANVAS):
    """Frames of one shade each, which is their number."""
    return [np.full((height, width), number, np.uint8) for number in range(count)]


def noise(count, seed=0, height=CANVAS, width=CANVAS):
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width), np.uint8))


def shades(frames):
    return [int(frame[CANVAS // 2, CANVAS // 2]) for frame in frames]


def write_sound(file, codec="pcm_s16le"):
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return file


# What a frame becomes ------------------------------------------------------------------------------------------------


def test_frames_of_the_right_size_come_through_to_the_bit(tmp_path):
    frames = noise(5)
    read = list(gray_frames(write(tmp_path / "a.mkv", frames), fps=30))
    assert len(read) == 5 and all(np.array_equal(*pair) for pair in zip(read, frames, strict=True))
    assert read[0].dtype == np.uint8


@pytest.mark.parametrize("height, width", [(128, 256), (256, 128), (192, 192)])
def test_a_new_pixel_is_the_mean_of_what_it_covers_in_the_middle_square(tmp_path, height, width):
    frame = noise(1, height=height, width=width)[0]
    read = next(gray_frames(write(tmp_path / "a.mkv", [frame]), fps=30))
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    blocks = frame[top : top + side, left : left + side].reshape(CANVAS, side // CANVAS, CANVAS, side // CANVAS)
    assert np.abs(read - blocks.mean((1, 3))).max() <= 1.01  # rounded twice, for rows and for columns


@pytest.mark.parametrize("height, width", [(1, 1), (3, 1), (33, 47), (101, 67), (16, 500)])
def test_odd_sizes_give_frames_of_one_shade(tmp_path, height, width):
    file = write(tmp_path / "a.mov", [np.full((height, width), 77, np.uint8)], codec="png")
    read = next(gray_frames(file, fps=30))
    assert read.shape == (CANVAS, CANVAS) and set(read.flat) == {77}


def test_black_and_white_of_a_usual_video_are_0_and_255(tmp_path):
    frames = [np.zeros((64, 96), np.uint8), np.full((64, 96), 255, np.uint8)] * 3
    read = list(gray_frames(write(tmp_path / "a.mp4", frames, codec="mpeg4", pixels="yuv420p"), fps=30))
    assert [frame.mean() for frame in read] == pytest.approx([0, 255] * 3, abs=2)


def test_colours_become_gray_by_their_luminance(tmp_path):
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[..., 1] = 255
    read = next(gray_frames(write(tmp_path / "a.mkv", [colours], pixels="bgr0"), fps=30))
    assert read.mean() == pytest.approx(0.587 * 255, abs=2)


def test_what_is_transparent_is_black(tmp_path):
    frame = np.full((64, 64, 4), 200, np.uint8)
    frame[:, :32, 3], frame[:, 32:, 3] = 0, 255
    frame[:8, :, 3] = 128
    read = next(gray_frames(write(tmp_path / "a.mov", [frame], codec="qtrle", pixels="argb"), fps=30))
    assert read[20, 10] == 0 and read[20, 50] == 200 and read[2, 10] == pytest.approx(100, abs=1)


@pytest.mark.parametrize("turned", [0, 90, 180, -90])
def test_a_turned_video_is_upright(tmp_path, turned):
    frame = noise(1, height=64, width=96)[0]
    file = write(tmp_path / "a.mov", [frame], codec="png", turned=turned)
    with av.open(str(file)) as container:
        assert next(container.decode(video=0)).rotation % 360 == turned % 360  # counter-clockwise, as FFmpeg reads it
    expected = np.rot90(frame, turned // 90)
    middle = expected[16:80] if turned % 180 else expected[:, 16:80]
    assert np.array_equal(next(gray_frames(file, fps=30)), middle)


def test_a_mirrored_video_is_mirrored_back(tmp_path, monkeypatch):
    file = write(tmp_path / "a.mov", noise(1), codec="png", turned=180)
    matrix = [65536 * number for number in (-1, 0, 0, 0, 1, 0)]
    data = file.read_bytes()
    turned = b"".join(number.to_bytes(4, "big", signed=True) for number in (-65536, 0, 0, 0, -65536, 0))
    assert data.count(turned) == 1
    file.write_bytes(data.replace(turned, b"".join(number.to_bytes(4, "big", signed=True) for number in matrix)))
    assert np.array_equal(next(gray_frames(file, fps=30)), noise(1)[0][:, ::-1])


def test_wide_pixels_count_as_wide(tmp_path):
    frame = np.zeros((64, 64), np.uint8)
    frame[:, 16:48] = 255  # with pixels twice as wide, the square in the middle is these columns
    read = next(gray_frames(write(tmp_path / "a.mov", [frame], codec="png", aspect=Fraction(2)), fps=30))
    assert (read == 255).all()


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rate, fps, expected",
    [
        (30, 30, list(range(60))),
        (30, 10, list(range(0, 60, 3))),
        (25, 25, list(range(60))),
        (10, 20, [number // 2 for number in range(120)]),
        (60, 30, list(range(0, 60, 2))),
    ],
)
@pytest.mark.parametrize("ending", [".mkv", ".mov"])  # the first rounds times to milliseconds, the second does not
def test_a_constant_frame_rate_is_sampled_at_the_wanted_one(tmp_path, ending, rate, fps, expected):
    file = write(tmp_path / f"a{ending}", plain(60), rate=rate, codec="ffv1" if ending == ".mkv" else "png")
    assert shades(gray_frames(file, fps=fps)) == expected


def test_a_variable_frame_rate_shows_what_is_on_the_screen_then(tmp_path):
    file = write(tmp_path / "a.mkv", plain(5), times=[0, 100, 500, 1000, 1010])
    assert shades(gray_frames(file, fps=10))[:11] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 4]


def test_times_that_do_not_begin_at_zero_begin_there(tmp_path):
    file = write(tmp_path / "a.mkv", plain(4), times=[5000, 5100, 5200, 5300])
    assert shades(gray_frames(file, fps=10))[:4] == [0, 1, 2, 3]


def test_a_clock_that_jumps_is_refused_before_it_fills_the_disk(tmp_path):
    file = write(tmp_path / "a.mkv", plain(3), times=[0, 100, 50_000_000])
    with pytest.raises(ValueError, match="stands still for more than an hour after 0.1 s"):
        list(gray_frames(file, fps=10))


@pytest.mark.parametrize(
    "ending, codec, pixels",
    [
        (".mp4", "mpeg4", "yuv420p"),
        (".webm", "libvpx", "yuv420p"),
        (".avi", "mjpeg", "yuvj420p"),
        (".gif", "gif", "gray"),
    ],
)
def test_usual_formats_are_read(tmp_path, ending, codec, pixels):
    frames = [np.full((64, 64), 40 * number, np.uint8) for number in range(6)]
    read = list(gray_frames(write(tmp_path / f"a{ending}", frames, codec=codec, pixels=pixels, rate=10), fps=10))
    assert [frame.mean() for frame in read] == pytest.approx([40 * number for number in range(6)], abs=6)


# What is no video ----------------------------------------------------------------------------------------------------


def refused(file, **options):
    with pytest.raises(ValueError) as caught:
        VideoClips(file, **options)
    said = str(caught.value)
    assert said.startswith(str(file)) and "\n" not in said and said.endswith(".")
    return said


def test_files_that_are_no_videos_are_one_sentence_each(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").touch()
    assert "cannot be read as a video (damaged, or no video)" in refused(tmp_path / "text.mp4")
    assert "is empty" in refused(tmp_path / "empty.mp4")
    assert "holds sound alone" in refused(write_sound(tmp_path / "sound.wav"))


def test_one_frame_and_a_picture_are_too_short(tmp_path):
    assert "has 1 frame at 10 per second, expected at least 20 (2.0 s)" in refused(
        write(tmp_path / "a.mkv", plain(1), rate=10)
    )
    from PIL import Image

    Image.fromarray(noise(1)[0]).save(tmp_path / "picture.png")
    assert "has 1 frame" in refused(tmp_path / "picture.png")


def test_a_huge_frame_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    file = write(tmp_path / "a.mkv", plain(20), rate=10)
    monkeypatch.setattr(own_videos, "_MOST_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(own_videos, "_decoded", lambda *_: pytest.fail("it was decoded"))
    assert "has frames of 64×64 pixels" in refused(file)


def test_a_truncated_video_gives_what_is_whole_or_one_sentence(tmp_path):
    frames = noise(40)
    whole = write(tmp_path / "a.mkv", frames, rate=10)
    data = whole.read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    read = list(gray_frames(tmp_path / "half.mkv", fps=10))
    assert 15 <= len(read) < 40 and all(np.array_equal(*pair) for pair in zip(read[:15], frames[:15], strict=True))
    mp4 = write(tmp_path / "a.mp4", frames, codec="mpeg4", pixels="yuv420p")
    (tmp_path / "half.mp4").write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    assert "cannot be read as a video" in refused(tmp_path / "half.mp4")


def test_damage_in_the_middle_is_noted_and_the_rest_is_read(tmp_path):
    file = write(tmp_path / "a.avi", noise(40), codec="png", rate=10)
    data = bytearray(file.read_bytes())
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    data[second + 10 : second + 2000] = bytes(1990)
    file.write_bytes(data)
    clips = VideoClips(file)
    assert "a.avi is damaged" in clips.note and len(clips) in (1, 2)


def test_what_cannot_be_opened_is_no_damage(tmp_path):
    with pytest.raises(ValueError, match="expected an existing video file or a folder"):
        VideoClips(tmp_path / "nowhere.mp4")
    with pytest.raises(OSError, match="cannot be opened"):
        small_video(tmp_path / "nowhere.mp4")


def test_a_playlist_cannot_lead_to_the_network(tmp_path):
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    assert "cannot be read as a video" in refused(tmp_path / "a.m3u8")


def test_names_with_signs_that_mean_something_elsewhere(tmp_path):
    for name in ("50%03d.mkv", "ein blöder Name [1].mkv", "http:a.mkv"):
        if sys.platform == "win32" and ":" in name:
            continue
        assert len(list(gray_frames(write(tmp_path / "a.mkv", plain(3)).rename(tmp_path / name), fps=30))) == 3


@pytest.mark.parametrize("numbers", [{"fps": 0}, {"fps": 2000}, {"frames": 0}, {"stride": 0}, {"size": 0}])
def test_impossible_numbers_are_refused(tmp_path, numbers):
    with pytest.raises(ValueError, match=f"^{next(iter(numbers))} is "):
        VideoClips(tmp_path, **numbers)


# Folders -------------------------------------------------------------------------------------------------------------


def test_a_folder_gives_the_clips_of_all_its_videos(tmp_path):
    (tmp_path / "v" / "below").mkdir(parents=True)
    write(tmp_path / "v" / "b.mkv", noise(45, seed=1), rate=10)
    write(tmp_path / "v" / "below" / "a.mkv", noise(20, seed=2), rate=10)
    (tmp_path / "v" / "notes.txt").write_text("not a video")
    (tmp_path / "v" / ".hidden.mkv").write_text("not a video")
    clips = VideoClips(tmp_path / "v")
    assert len(clips) == 3 and clips.note == ""
    assert clips.describe() == "3 clips of 20 frames at 10 fps, of 2 videos (b.mkv …)"
    assert np.array_equal(clips[1][:, 0].numpy(), noise(45, seed=1)[20:40])
    assert [clips.place(index)[1] for index in range(3)] == [0, 20, 0]


def test_files_of_a_folder_that_give_no_clip_are_left_out_and_named(tmp_path):
    (tmp_path / "v").mkdir()
    write(tmp_path / "v" / "long.mkv", noise(20), rate=10)
    write(tmp_path / "v" / "short.mkv", noise(19), rate=10)
    (tmp_path / "v" / "broken.mp4").write_text("not a video")
    clips = VideoClips(tmp_path / "v")
    assert len(clips) == 1
    assert "2 of 3 files left out, the first:" in clips.note and "broken.mp4 cannot be read" in clips.note
    with pytest.raises(ValueError, match="None of 3 videos in .* gives a clip. The first: .*broken.mp4"):
        VideoClips(tmp_path / "v", frames=30)


def test_a_folder_without_videos_says_what_counts_as_one(tmp_path):
    with pytest.raises(ValueError, match=r"holds no videos: add files that end in \.3gp"):
        video_files(tmp_path)


def test_the_same_video_under_two_names_counts_once(tmp_path):
    (tmp_path / "v").mkdir()
    for name in "ab":
        write(tmp_path / "v" / f"{name}.mkv", noise(25), rate=10)
    assert len(VideoClips(tmp_path / "v", stride=1)) == 6


# The contract --------------------------------------------------------------------------------------------------------


def test_clips_keep_the_contract(tmp_path):
    frames = noise(50)
    clips = VideoClips(write(tmp_path / "a.mkv", frames, rate=10), stride=5)
    assert as_clips(clips) is clips and len(clips) == 7
    for batch in (clips.batch([6, 0]), clips.batch(np.array([6, 0])), clips.batch(torch.tensor([6, 0]))):
        assert batch.shape == (2, 20, 1, 64, 64) and batch.dtype == torch.uint8
        assert np.array_equal(batch[:, :, 0].numpy(), [frames[30:50], frames[:20]])
    assert torch.equal(clips[-1], clips[6])
    assert float_batch(clips, range(2), 20).max() <= 1
    with pytest.raises(IndexError):
        clips[7]
    for wrong in ([], [7], [0.5], "0", [True]):
        with pytest.raises(ValueError, match="indices"):
            clips.batch(wrong)


def test_fingerprints_tell_pixels_and_cuts_apart_and_nothing_else(tmp_path):
    file = write(tmp_path / "a.mkv", noise(60), rate=10)
    (tmp_path / "elsewhere").mkdir()
    moved = write(tmp_path / "elsewhere" / "b.mkv", noise(60), rate=10)
    clips = VideoClips(file)
    assert clips.fingerprint() == VideoClips(file).fingerprint() == VideoClips(moved).fingerprint()
    others = [
        VideoClips(write(tmp_path / "c.mkv", noise(60, seed=1), rate=10)),
        VideoClips(file, stride=1),
        VideoClips(file, fps=20),
        VideoClips(file, frames=10),
        clips.shuffled(0),
        clips.shuffled(1),
        clips.spread(2),
        *clips.split(),
    ]
    assert len({clips.fingerprint(), *(other.fingerprint() for other in others)}) == len(others) + 1


def test_shuffled_clips_are_the_same_clips_and_depend_on_the_seed_alone(tmp_path):
    clips = VideoClips(write(tmp_path / "a.mkv", noise(60), rate=10), stride=1)
    shuffled = clips.shuffled(3)
    places = [shuffled.place(index)[1] for index in range(len(clips))]
    assert sorted(places) == list(range(41)) and places != sorted(places)
    assert places == [clips.shuffled(3).place(index)[1] for index in range(len(clips))]
    assert [clips.spread(3).place(index)[1] for index in range(3)] == [0, 20, 40]
    assert len(clips.spread(1000)) == 41


# Held out ------------------------------------------------------------------------------------------------------------


def seen(clips):
    """Every frame that the clips show, as (video, number)."""
    places = [clips.place(index) for index in range(len(clips))]
    return {(video.sha256, first + frame) for video, first in places for frame in range(clips.frames)}


@pytest.mark.parametrize("lengths", [[40], [300], [40, 25], [100, 400, 39], [20, 20], [50] * 5, [20] * 12])
def test_no_frame_is_in_training_and_validation(tmp_path, lengths):
    (tmp_path / "v").mkdir()
    for number, length in enumerate(lengths):
        write(tmp_path / "v" / f"{number}.mkv", noise(length, seed=number, height=8, width=8), rate=10)
    training, validation = VideoClips(tmp_path / "v", stride=1).split()
    assert len(training) and len(validation) and not seen(training) & seen(validation)
    assert training.fingerprint() != validation.fingerprint()
    if len(lengths) >= own_videos.ENOUGH_FILES:
        assert not {video for video, _ in seen(training)} & {video for video, _ in seen(validation)}


def test_what_is_held_out_is_said(tmp_path):
    training, validation = training_clips(write(tmp_path / "a.mkv", noise(300), rate=10), validation_clips=4)
    assert training.describe() == "251 clips of 20 frames at 10 fps, from the beginning of a.mkv"
    assert validation.describe() == "4 clips of 20 frames at 10 fps, from the end of a.mkv"
    assert min(validation.place(index)[1] for index in range(4)) == 270


def test_one_clip_cannot_be_split(tmp_path):
    clips = VideoClips(write(tmp_path / "a.mkv", noise(39), rate=10))
    with pytest.raises(ValueError, match="a.mkv has 39 frames at 10 per second, expected at least 40"):
        clips.split()
    with pytest.raises(ValueError, match="split them first"):
        clips.shuffled(0).split()


# Training on them ----------------------------------------------------------------------------------------------------

TINY = {"features": 2, "hidden": [2], "clips_per_epoch": 4, "batch_size": 2, "validation_clips": 2}


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "v").mkdir()
    for number, length in enumerate((48, 30)):
        write(tmp_path / "v" / f"{number}.mkv", noise(length, seed=number), rate=10)
    return tmp_path / "v"


def train(out, videos, *more, epochs=1):
    numbers = [f"{name}={value}" for name, value in (TINY | {"epochs": epochs}).items()]
    command = ["train", "convlstm", "--profile", "smoke", "--device", "cpu", "--out", str(out)]
    return main([*command, "--clips", str(videos), "--set", *numbers, *more])


def test_a_folder_of_videos_trains_a_model_from_the_command_line(tmp_path, videos, capsys):
    assert train(tmp_path / "out", videos) == 0
    said = capsys.readouterr().out
    assert "to train on: 20 clips of 20 frames at 10 fps, from the beginning of 2 videos (0.mkv …)" in said
    assert "to validate on: 1 clip of 20 frames at 10 fps, from the end of 0.mkv; no frame is in both" in said
    run = runs.read_run(tmp_path / "out")
    training, _ = training_clips(videos)
    assert run.facts["clips_sha256"] == training.fingerprint() and "digits_sha256" not in run.facts
    assert run.facts["data"] == training.describe() and str(videos) not in json.dumps(run.facts)
    assert run.lineage().seeds == [], "no clips of digits were seen"


def test_such_a_training_goes_on_and_only_on_its_own_clips(tmp_path, videos, capsys):
    assert train(tmp_path / "out", videos) == 0
    assert train(tmp_path / "out", videos, "--resume", epochs=2) == 0
    run = runs.read_run(tmp_path / "out")
    assert [row["clips"] for row in run.history] == [4, 8]
    assert run.facts["clips_sha256"] == training_clips(videos)[0].fingerprint()
    write(videos / "2.mkv", noise(40, seed=2), rate=10)
    capsys.readouterr()
    assert train(tmp_path / "out", videos, "--resume", epochs=3) == 1
    assert "these are other clips; resume with the same ones" in capsys.readouterr().err


class Repeats(torch.nn.Module):
    """The last frame times one weight, which begins at 0: on clips that stand still, 1 is right."""

    past, horizon = 10, 10

    def __init__(self):
        super().__init__()
        self.share = torch.nn.Parameter(torch.zeros(()))

    def forward(self, past):
        return self.share * past[:, -1:].expand(-1, 10, -1, -1, -1)


def test_own_clips_are_learned(tmp_path):
    clips = training_clips(write(tmp_path / "a.mkv", noise(1) * 60, rate=10))
    model = Repeats()
    fit(model, *clips, out=tmp_path / "out", epochs=1, clips_per_epoch=80, batch_size=2, lr=0.1, progress=False, ema=0)
    assert model.share.item() == pytest.approx(1, abs=0.2)


def test_weights_of_the_same_seed_may_go_on_with_own_clips(tmp_path, videos):
    chosen = recipes.recipe("convlstm", "smoke", epochs=1, **TINY)
    runs.train(chosen, tmp_path / "digits", digits="builtin", device="cpu", progress=False)
    with pytest.raises(ValueError, match="has seen the clips of seed 0"):
        runs.train(chosen.change(start=str(tmp_path / "digits")), tmp_path / "x", digits="builtin", device="cpu")
    fine_tuned = chosen.change(start=str(tmp_path / "digits"))
    runs.train(fine_tuned, tmp_path / "own", clips=training_clips(videos), device="cpu", progress=False)
    lineage = runs.read_run(tmp_path / "own").lineage()
    assert lineage.seeds == [0] and [row["clips"] for row in lineage.history] == [4, 8]


def test_a_model_of_own_clips_is_not_shipped_with_scores_on_digits(tmp_path, videos):
    assert train(tmp_path / "out", videos) == 0
    with pytest.raises(ValueError, match="was trained on own clips"):
        runs.publish_run(tmp_path / "out", "tiny", clips=2, digits="builtin", folder=tmp_path)


@pytest.mark.parametrize("clips", [3, [1, 2], (1, 2, 3), ("a", "b")])
def test_what_is_no_pair_of_clips_is_refused(tmp_path, clips):
    with pytest.raises(ValueError, match="expected two sets|is a str"):
        runs.train(recipes.recipe("convlstm", "smoke"), tmp_path / "out", clips=clips)


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("convlstm --clips nowhere", "expected an existing video file or a folder of them"),
        ("convlstm --clips .", "holds no videos"),
        ("convlstm --clips . --digits builtin", "--digits and --clips are both given"),
        ("convlstm --fps 5", "--fps is for --clips"),
        ("convlstm --clips . --fps 0", "fps is 0.0, expected a number above 0"),
        ("digit-network --clips .", "--clips does not belong to the digit network"),
    ],
)
def test_a_wrong_command_is_one_sentence(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words.split(), "--profile", "smoke", "--out", "out"]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_on_own_clips_leaves_a_model_and_its_score(tmp_path, videos, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vidlib.live.train", interrupt)
    chosen = recipes.recipe("convlstm", "smoke", epochs=1, batch_size=2)
    _, history = live.watch_training(chosen, tmp_path / "runs", clips=training_clips(videos), device="cpu")
    assert history[0]["epoch"] == 0 and 0 < history[0]["validation_mse"] < 64 * 64
    assert "Interrupted before the first epoch was over" in capsys.readouterr().out


# The disk and the memory ---------------------------------------------------------------------------------------------


def test_a_video_is_read_once_until_it_changes(tmp_path, cache, monkeypatch):
    file = write(tmp_path / "a.mkv", noise(20), rate=10)
    first = small_video(file, fps=10)
    assert sorted(path.suffix for path in cache.iterdir()) == [".gray", ".json"]
    assert first.store.stat().st_size == 20 * 64 * 64
    monkeypatch.setattr(own_videos, "gray_frames", lambda *_, **__: pytest.fail("it was read again"))
    assert small_video(file, fps=10) == first
    monkeypatch.undo()
    monkeypatch.setenv("VIDLIB_DATA", str(cache.parent))
    write(file, noise(30, seed=1), rate=10)
    assert small_video(file, fps=10).frames == 30


@pytest.mark.parametrize("harm", ["bytes", "short", "facts", "no facts"])
def test_a_damaged_cache_is_made_again(tmp_path, harm):
    file = write(tmp_path / "a.mkv", noise(20), rate=10)
    video = small_video(file, fps=10)
    data, facts = video.store.read_bytes(), video.store.with_suffix(".json")
    if harm == "bytes":
        video.store.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif harm == "short":
        video.store.write_bytes(data[:4096])
    elif harm == "facts":
        facts.write_text(json.dumps({"frames": 3}))
    else:
        facts.unlink()
    assert small_video(file, fps=10) == video and video.store.read_bytes() == data


def test_an_interrupted_reading_leaves_nothing_half(tmp_path, cache, monkeypatch):
    file = write(tmp_path / "a.mkv", noise(20), rate=10)
    real = own_videos.gray_frames

    def cut_off(*arguments, **options):
        for number, frame in enumerate(real(*arguments, **options)):
            if number == 5:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(own_videos, "gray_frames", cut_off)
    with pytest.raises(KeyboardInterrupt):
        small_video(file, fps=10)
    assert list(cache.iterdir()) == []


def test_clips_whose_small_frames_were_deleted_say_so(tmp_path):
    clips = VideoClips(write(tmp_path / "a.mkv", noise(20), rate=10))
    clips.place(0)[0].store.unlink()
    with pytest.raises(OSError, match="The frames of a.mkv are gone .*: make the clips again"):
        clips[0]


MEASURE = """
import resource, sys
from vidlib.own_videos import VideoClips
unit = 1 if sys.platform == "darwin" else 1024
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
def read(file):
    clips = VideoClips(file, fps=30)
    for start in range(0, len(clips) - 8, 8):
        clips.batch(range(start, start + 8))
    return len(clips)
read(sys.argv[1])
before = most()
print(read(sys.argv[2]), most() - before)
"""


def test_a_long_video_needs_no_more_memory_than_a_short_one(tmp_path):
    pytest.importorskip("resource")
    short, long = plain(250, 16, 16), plain(250, 16, 16) * 30  # 250 shades
    for name, frames in (("short", short), ("long", long)):
        write(tmp_path / f"{name}.mp4", frames, codec="mpeg4", pixels="yuv420p")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "short.mp4"), str(tmp_path / "long.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr
    clips, grown = map(int, done.stdout.split())
    assert clips == 7_500 // 20
    assert grown < 7_500 * 64 * 64 / 3, "of 31 MB of small frames, no third may be in memory at once"
