"""Drawn digits, clips by other rules, and the example video."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
import torch

from vidlib import example_video
from vidlib.digits import Digits, load_digits
from vidlib.example_video import EXAMPLE, example_frame, write_example
from vidlib.moving_mnist import MovingMNIST
from vidlib.other_rules import OtherRules, mirror_step
from vidlib.own_digits import EXAMPLE_STROKES, drawn_digits, fashion_mnist, stroke_digit
from vidlib.own_videos import VideoClips
from vidlib.video import as_clips, float_batch
from vidlib.viz import pad
from vidlib.viz.pad import drawing_pad

# Strokes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLE_STROKES)
def test_a_drawing_has_the_form_of_mnist(name):
    digit = stroke_digit(EXAMPLE_STROKES[name])
    rows, columns = np.nonzero(digit > 64)
    assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.max() == 255
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=1)
    centre = [(digit.sum(axis) * np.arange(28)).sum() / digit.sum() for axis in (1, 0)]
    assert centre == pytest.approx([13.5, 13.5], abs=0.6)


def test_where_and_how_large_it_was_drawn_does_not_matter():
    strokes = EXAMPLE_STROKES["4"]
    moved = [[(70 + 12 * x, 12 * y - 5) for x, y in stroke] for stroke in strokes]
    assert np.array_equal(stroke_digit(strokes), stroke_digit(moved))


def test_x_is_right_and_y_is_down():
    corner = stroke_digit([[(0, 0), (0, 10), (10, 10)]])  # an L
    half = corner.astype(int)
    assert half[:, :10].sum() > half[:, 18:].sum() and half[18:].sum() > half[:10].sum()


def test_a_dot_is_a_digit_and_a_wider_pen_has_more_ink():
    assert stroke_digit([[(3, 3)]]).max() > 0
    thin, thick = (stroke_digit(EXAMPLE_STROKES["7"], width).sum(dtype=int) for width in (1, 4))
    assert thin < thick


@pytest.mark.parametrize("strokes", [[], [[]], [[1, 2]], [[(1, 2, 3)]], [[(0, float("nan"))]], "ab", [[("a", 1)]]])
def test_what_is_no_stroke_is_refused(strokes):
    with pytest.raises(ValueError, match="^strokes "):
        stroke_digit(strokes)


def test_drawn_digits_fly_as_others_do():
    drawn = drawn_digits(EXAMPLE_STROKES.values())
    assert len(drawn) == 4 and set(drawn.labels) == {-1} and drawn.split == "test"
    assert MovingMNIST(2, digits=drawn)[0].shape == (20, 1, 64, 64)


def test_clothes_that_cannot_be_had_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Fashion-MNIST cannot be had \(.*\): connect to the network\."):
        fashion_mnist(download=False)
    with pytest.raises(ValueError, match="split is 'all'"):
        fashion_mnist("all")


def test_without_the_widgets_package_the_pad_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    pad = drawing_pad()
    assert list(pad.drawings) == [] and "strokes as lists of points" in pad._repr_html_()


def test_the_pad_says_what_it_is_where_there_is_no_kernel():
    pytest.importorskip("anywidget")
    pad = drawing_pad()
    shown = pad._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert "<img" in data["text/html"] and "run this cell in Jupyter to draw" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == "a field to draw on, with 0 drawn digits"
    pad.drawings = [[[[1, 1], [2, 2]]]]
    assert repr(pad) == "a field to draw on, with 1 drawn digit"
    assert drawn_digits(pad.drawings).images.max() == 255


PAGE = """
const state = {drawings: []};
const model = {get: (name) => state[name], set: (name, value) => { state[name] = value; }, save_changes: () => {}};
globalThis.state = state;
"""


def test_what_the_mouse_draws_are_strokes(browser):
    script = PAGE + pad._SCRIPT.replace("export default { render };", "render({ model, el: document.body });")
    page = browser.new_page()
    page.set_content("<body style='margin: 0'></body>")
    page.add_script_tag(content="{" + script + "}")

    def stroke(*points):
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()

    def drawn():
        return page.evaluate("globalThis.state.drawings")

    stroke((29, 29), (141, 253))
    stroke((57, 57), (58, 58))
    assert [len(digit) for digit in drawn()] == [2]
    first, *_, last = drawn()[0][0]
    assert first == pytest.approx([1, 1], abs=0.1) and last == pytest.approx([5, 9], abs=0.1)
    page.get_by_role("button", name="Next digit").click()
    stroke((20, 20), (200, 20))
    assert [len(digit) for digit in drawn()] == [2, 1]
    assert page.get_by_role("status").inner_text() == "drawn: 2"
    assert drawn_digits(drawn()).images[1].max() == 255
    page.get_by_role("button", name="Start over").click()
    assert drawn() == []
    page.close()


# Other rules ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dot():
    """One picture that is a single bright pixel in its corner, so that a frame shows where the corner is."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 0, 0] = 255
    return Digits(image, np.zeros(1, np.int64), "dot", "test")


def corners(clips, index=0):
    return np.array([np.argwhere(frame[0])[0][::-1] for frame in clips[index].numpy()])  # (T, 2): x, y


@pytest.mark.parametrize("speed, canvas", [(0.05, 64), (0.1, 64), (0.2, 64), (0.1, 96)])
def test_digits_fly_as_fast_as_asked_on_any_canvas(dot, speed, canvas):
    clips = OtherRules(8, dot, speed=speed, canvas=canvas, n_digits=1)
    steps = np.concatenate([np.linalg.norm(np.diff(corners(clips, index), axis=0), axis=1) for index in range(8)])
    assert np.quantile(steps, 0.7) == pytest.approx(36 * speed, abs=1)
    assert clips[0].shape == (20, 1, canvas, canvas)


def test_a_mirror_and_a_clamp_differ_only_after_a_wall(dot):
    clamp, mirror = (OtherRules(20, dot, wall=wall, n_digits=1) for wall in ("clamp", "mirror"))
    found = [np.abs(corners(clamp, index) - corners(mirror, index)).max(axis=1) for index in range(20)]
    assert any(difference.any() for difference in found)
    assert all(difference.max() <= 2 * 3.6 + 1 for difference in found)
    assert any(not difference[0] and difference.any() for difference in found)


def test_a_mirror_keeps_the_way_that_was_flown():
    position, velocity = np.array([0.3, 0.9]), np.array([0.07, 0.09])
    for _ in range(200):
        moved, turned = mirror_step(position, velocity)
        assert ((moved >= 0) & (moved <= 1)).all() and np.abs(turned).tolist() == np.abs(velocity).tolist()
        folded = (position + velocity) % 2
        assert moved == pytest.approx(np.where(folded > 1, 2 - folded, folded))
        position, velocity = moved, turned


def test_clips_of_other_rules_keep_the_contract_and_depend_on_their_number_alone():
    digits = load_digits("builtin", "test")
    clips = OtherRules(6, digits, n_digits=3)
    assert as_clips(clips) is clips and len(list(clips)) == 6
    assert torch.equal(clips.batch([4, 1]), torch.stack([clips[4], clips[1]]))
    assert torch.equal(OtherRules(60, digits, n_digits=3)[4], clips[4]) and not torch.equal(clips[0], clips[1])
    assert float_batch(clips, range(2), 20).max() <= 1
    others = [{"speed": 0.2}, {"wall": "mirror"}, {"canvas": 96}, {"n_digits": 2}, {"seed": 1}, {"frames": 30}]
    found = {OtherRules(6, digits, **{"n_digits": 3} | other).fingerprint() for other in others}
    assert len(found | {clips.fingerprint()}) == len(others) + 1
    assert "speed 0.1, clamp, canvas 64" in clips.describe()
    with pytest.raises(IndexError):
        clips[6]


def test_a_digit_that_stands_still_is_the_same_in_every_frame():
    clip = OtherRules(1, load_digits("builtin", "test"), speed=0)[0]
    assert (clip == clip[0]).all() and clip.max() > 0


@pytest.mark.parametrize(
    "wrong", [{"speed": 2}, {"speed": -0.1}, {"wall": "torus"}, {"canvas": 28}, {"n_digits": 0}, {"seed": -1}]
)
def test_impossible_rules_are_refused(dot, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        OtherRules(1, dot, **wrong)


# The example video ---------------------------------------------------------------------------------------------------


def test_the_example_is_what_its_command_draws(tmp_path):
    assert EXAMPLE.stat().st_size < 200_000
    for file in (EXAMPLE, write_example(tmp_path / "a.mp4")):
        with av.open(str(file)) as container:
            frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        assert len(frames) == example_video.FRAMES
        for number in (0, 29, 59):
            drawn = example_frame(number / example_video.RATE)
            assert np.abs(frames[number] - drawn).mean() < 3


def test_the_example_is_two_seconds_and_gives_clips_to_train_and_to_validate_on(tmp_path):
    assert len(VideoClips(EXAMPLE, cache=tmp_path)) == 1
    training, validation = VideoClips(EXAMPLE, fps=30, stride=1, cache=tmp_path).split()
    assert (len(training), len(validation)) == (21, 1)
