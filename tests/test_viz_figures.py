"""The pictures as they are drawn: words that don't touch, a second drawing for phones, diagrams, lines and bars."""

import inspect
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from PIL import Image

from picture_form import assert_apart, assert_words_apart, contrast, square, tick_labels
from vidlib import viz
from vidlib.batch.authoring import comparison
from vidlib.viz import diagrams
from vidlib.viz.show import figure_html, png
from vidlib.viz.style import DPI, GRAY, PHONE

# ---------------------------------------------------------------- words that don't touch


def both(figure):
    """A figure and its drawing for phones."""
    return [figure, figure.narrow]


@pytest.mark.parametrize("horizon", [1, 2, 10, 30, 50])
@pytest.mark.parametrize("first", [1, 11, 990])
def test_words_of_horizon_curves_never_collide(horizon, first):
    steps = np.arange(horizon)
    curves = {"convlstm": 40 + 2 * steps, "video-transformer": 39 + 2 * steps, "constant-velocity": 41 + 2 * steps}
    figure = viz.horizon_curves(
        curves, floor={"ideal observer": 5 + steps}, references={"all-black": 41.5 + 2 * steps[-1]}, first_frame=first
    )
    for drawn in both(figure):
        assert_words_apart(drawn)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("epochs", "clips", "highest", "lowest"),
    [(1, 0, 200, 190), (70, 0, 250, 49), (200, 12_345, 900, 2), (9, 10**6, 60, 50)],
)
def test_words_of_history_curves_never_collide(log, epochs, clips, highest, lowest):
    errors = np.geomspace(highest, lowest, epochs)
    rows = [{"epoch": i + 1, "train_loss": e, "validation_mse": 0.99 * e} for i, e in enumerate(errors)]
    if clips:
        rows = [row | {"clips": clips * row["epoch"] ** 2} for row in rows]
    figure = viz.history_curves(rows, baselines={"copy-last": highest, "all-black": 0.98 * highest}, log=log)
    for drawn in both(figure):
        assert_words_apart(drawn)
        assert len([t for t in tick_labels(drawn.axes[0].yaxis) if t.get_text()]) >= 2, "an axis that can be read"


@pytest.mark.parametrize("columns", [1, 5, 10, 20])
def test_words_of_film_strips_never_collide(columns):
    rows = {name: square(20, size=32) for name in ("truth", "video-transformer", "error")}
    figure = viz.film_strip(rows, first_frame={"truth": 1, "video-transformer": 1, "error": 981}, columns=columns)
    assert_words_apart(figure)
    if columns > 5:
        assert_apart(figure.narrow.texts)


def test_numbers_of_clips_are_written_out():
    rows = [{"epoch": i + 1, "clips": 10_000 * i**2 + 1, "train_loss": 9.0, "validation_mse": 8.0} for i in range(9)]
    axes = viz.history_curves(rows).axes[0]
    words = [tick.get_text() for tick in axes.get_xticklabels()]
    assert "200,000" in words and not any("e" in word for word in words) and not axes.xaxis.offsetText.get_text()
    rows = [row | {"clips": 10 * row["clips"]} for row in rows]
    assert "2 M" in [tick.get_text() for tick in viz.history_curves(rows).axes[0].get_xticklabels()]


# ---------------------------------------------------------------- a floor, and what is no model


def test_floor_and_references_are_no_models():
    figure = viz.horizon_curves(
        {"model": [5.0, 6.0, 7.0]}, floor={"ideal observer": torch.tensor([1.0, 2.0, 3.0])}, references={"empty": 9}
    )
    axes = figure.axes[0]
    model, floor, empty = axes.lines
    assert floor.get_ydata().tolist() == [1, 2, 3] and empty.get_ydata().tolist() == [9, 9, 9]
    assert model.get_marker() == "o" and floor.get_marker() == empty.get_marker() == "None"
    assert model.get_color() == viz.BLUE and floor.get_color() == empty.get_color() not in viz.COLORS
    assert empty.get_linestyle() == "--" and floor.get_linestyle() == "-"
    (ground,) = axes.collections  # shaded from 0 to the floor
    assert ground.get_paths()[0].get_extents().extents.tolist() == [11, 0, 13, 3]
    assert {text.get_text() for text in axes.texts} == {"model", "ideal observer", "empty"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"floor": {"ConvLSTM": [1.0, 2.0]}}, r"floor has .*ConvLSTM.*, which is drawn already"),
        ({"floor": {"a": 1.0}, "references": {"a": 2.0}}, "references has .*drawn already"),
        ({"references": {"a": [[1.0]]}}, "references have shapes"),
        ({"floor": 3}, "floor is 3, expected a dictionary"),
    ],
)
def test_a_wrong_floor_is_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        viz.horizon_curves({"ConvLSTM": [1.0, 2.0]}, **options)


# ---------------------------------------------------------------- on a phone


def test_a_long_strip_is_drawn_again_in_blocks_of_five_for_a_phone():
    clip, signed = square(12, size=32), square(12, size=32) * 0
    figure = viz.film_strip({"truth": clip, "error": signed}, first_frame=11, columns=12)
    narrow = figure.narrow
    assert narrow.get_figwidth() <= PHONE < figure.get_figwidth()
    words = [text.get_text() for text in narrow.texts]
    assert words[:6] == [
        f"{name} · frames {span}" for span in ("11–15", "16–20", "21, 22") for name in ("truth", "error")
    ]
    strips = [axes for axes in narrow.axes if axes.get_label().startswith("truth")]
    assert [len(axes.patches) for axes in strips] == [5, 5, 2], "a rim around each frame"
    frames = np.concatenate(
        [
            axes.images[0].get_array()[:, left : left + 32]
            for axes in strips
            for left in range(0, 34 * len(axes.patches), 34)
        ],
        axis=1,
    )
    assert np.array_equal(frames, np.concatenate(list(clip[:, 0].numpy()), axis=1))
    sizes = [text.get_fontsize() for text in narrow.texts]
    assert min(sizes) * 358 / (96 * narrow.get_figwidth()) >= 7, "readable where the page leaves 358 of 390 pixels"
    assert not hasattr(viz.film_strip({"a": square(2)}), "narrow")


def test_narrow_screens_get_the_narrow_drawing():
    html = figure_html(viz.film_strip({"clip": square(10, size=32)}), "A square.")
    assert html.startswith('<picture><source media="(max-width: 600px)" srcset="data:image/png;base64,')
    assert html.count("<img ") == 1 and 'alt="A square."' in html and "max-width: 100%; height: auto" in html
    assert "<picture>" not in figure_html(viz.film_strip({"clip": square(2)}), "A square.")


def test_a_white_digit_at_the_rim_ends_there():
    figure = viz.film_strip({"L": torch.ones(2, 1, 8, 8)})
    assert [patch.get_width() for patch in figure.axes[0].patches] == [8, 8]
    (rim, _) = figure.axes[0].patches
    assert contrast(rim.get_edgecolor(), "white") >= 3 and contrast(rim.get_edgecolor(), "black") >= 3


# ---------------------------------------------------------------- diagrams

DIAGRAMS = {name: draw for name, draw in vars(diagrams).items() if inspect.isfunction(draw) and name in viz.__all__}
DRAWN = [draw for name, draw in DIAGRAMS.items() if name != "style"]


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_a_diagram_reads_on_dark_and_light_pages_and_on_a_phone(draw):
    figure = draw()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    texts = [text for text in axes.findobj(Text) if text.get_text()]
    assert figure.get_facecolor() == (1, 1, 1, 1), "its own paper, whatever the page's colour"
    for text in texts:
        middle = text.get_window_extent().get_points().mean(0)
        under = [box.get_facecolor() for box in boxes if box.get_window_extent().contains(*middle)]
        assert contrast(text.get_color(), under[-1] if under else "white") >= 4.5, text.get_text()
        assert text.get_fontsize() * 358 / (96 * figure.get_figwidth()) >= 5.5
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1, text.get_text()
    assert_apart(texts)
    for line in [*axes.lines, *(p for p in axes.patches if isinstance(p, FancyArrowPatch))]:
        color = line.get_edgecolor() if isinstance(line, FancyArrowPatch) else line.get_color()
        assert contrast(color, "white") >= 3
    for box in boxes:
        assert contrast(box.get_edgecolor(), "white") >= 3, "the edge of a box"


@pytest.mark.parametrize(("chunk", "frames"), [(10, 20), (5, 20), (3, 20), (10, 25)])
def test_iterative_prediction_draws_what_rollout_does(chunk, frames):
    figure = viz.iterative_prediction(chunk, frames)
    squares = [p for p in figure.axes[0].patches if p.get_y() > 0.9]  # above the key
    kept = [p for p in squares if mpl.colors.same_color(p.get_facecolor(), diagrams.MADE[1])]
    true = [p for p in squares if mpl.colors.same_color(p.get_facecolor(), diagrams.GIVEN[0])]
    calls = -(-frames // chunk)
    assert len(kept) == frames, "each wanted frame is kept once"
    assert len({round(p.get_x(), 4) for p in kept}) == frames, "and stands in a column of its own"
    assert len(squares) == 20 * calls, "each call reads ten frames and predicts ten"
    assert len(true) == sum(max(0, 10 - call * chunk) for call in range(calls)), "the past leaves the window"


def test_a_diagram_that_would_not_fit_is_refused():
    with pytest.raises(ValueError, match="the number of calls, frames / chunk, is 20, .* from 1 to 8"):
        viz.iterative_prediction(1, 20)
    with pytest.raises(ValueError, match="chunk is 11"):
        viz.iterative_prediction(11)


# ---------------------------------------------------------------- panels


def test_pictures_draw_pixels_tiles_marks_and_signs():
    frame = torch.arange(16.0).reshape(4, 4) / 15
    tiles = frame.reshape(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(4, 1, 2, 2)
    figure = viz.pictures({"frame": frame, "patches": tiles, "error": -frame}, marks={"frame": (1, 2, 1, 2)})
    shown, apart, signed = (axes.images[0] for axes in figure.axes)
    assert np.allclose(shown.get_array(), frame)
    sheet = np.ma.filled(apart.get_array(), np.nan)
    assert sheet.shape == (5, 5) and np.isnan(sheet[2]).all() and np.isnan(sheet[:, 2]).all()
    assert np.allclose(np.delete(np.delete(sheet, 2, 0), 2, 1), frame)
    assert (signed.norm.vmin, signed.norm.vmax) == (-1, 1) and (shown.norm.vmin, shown.norm.vmax) == (0, 1)
    rim, mark = figure.axes[0].patches
    assert (rim.get_width(), mark.get_xy(), mark.get_width(), mark.get_height()) == (4, (2, 1), 2, 1)
    assert not figure.axes[1].patches, "tiles have the paper between them"
    bytes_ = viz.pictures({"frame": (frame * 255).to(torch.uint8)}).axes[0].images[0].get_array()
    assert np.allclose(bytes_, frame, atol=1 / 255)


def test_pictures_with_a_bar_share_one_scale():
    figure = viz.pictures({"a": [[-3.0, 0.0]], "b": [[1.0, 5.0]]}, bar="cosine similarity")
    first, second = (axes.images[0] for axes in figure.axes[:2])
    assert first.norm is second.norm and (first.norm.vmin, first.norm.vmax) == (-3, 5)
    assert figure.axes[-1].get_ylabel() == "cosine similarity"


def test_line_panels_draw_each_line_in_its_panel_and_one_key():
    panels = {
        "clips": {"model": ([1, 10], [4, 2]), "untrained": ([1, 10], [5, 5])},
        "hours": {"model": ([0.5, 2], [4, 2]), "measured": ([1], [3])},
    }
    figure = viz.line_panels(panels, ylabel="MSE", references={"even": 1}, gray=["untrained"], dots=["measured"])
    for drawn in both(figure):
        left, right = drawn.axes
        assert (left.get_xlabel(), right.get_xlabel()) == ("clips", "hours")
        assert [line.get_label() for line in left.lines] == ["model", "untrained", "even"]
        assert right.lines[0].get_xydata().tolist() == [[0.5, 4], [2, 2]]
        assert left.lines[0].get_color() == right.lines[0].get_color() == viz.BLUE
        assert left.lines[1].get_color() not in viz.COLORS and right.lines[1].get_linestyle() == "None"
        legends = [*drawn.legends, *(axes.get_legend() for axes in drawn.axes if axes.get_legend())]
        assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [
            ["model", "untrained", "even", "measured"]
        ]
        assert left.get_ylim() == right.get_ylim() and left.get_ylim()[0] == 0
        assert_words_apart(drawn)
    x, y = figure.axes[0].get_position(), figure.narrow.axes[0].get_position()
    assert x.y0 == figure.axes[1].get_position().y0 and y.x0 == figure.narrow.axes[1].get_position().x0


def test_stairs_and_a_line_between_past_and_future():
    panels = {"frame": {"exact": ([1, 2, 3], [1.4, 4.6, 7.9]), "truncated": ([1, 2, 3], [1, 4, 7])}}
    figure = viz.line_panels(panels, ylabel="pixels", steps=["truncated"], divide=2.5, from_zero=False)
    exact, stairs, line = figure.axes[0].lines
    assert (exact.get_drawstyle(), stairs.get_drawstyle()) == ("default", "steps-post")
    assert line.get_xdata() == [2.5, 2.5] and figure.axes[0].get_ylim()[0] > 0


def test_line_panels_on_logarithms_name_their_points():
    sizes = [5, 10, 20, 40]
    figure = viz.line_panels({"frames": {"all at once": (sizes, [0.9, 3, 10, 38])}}, ylabel="milliseconds", log=True)
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "10", "20", "40"]
    figure.draw_without_rendering()
    assert "10" in [tick.get_text() for tick in axes.get_yticklabels()], "10, not a power of ten"
    assert_words_apart(figure)


def test_bar_panels_draw_heights_errors_and_names_that_fit():
    groups = ("no overlap at all (43 clips)", "one to three frames (62 clips)", "4–10 (95 clips)")
    panels = {"overlap": {group: {"convlstm": (65 + i, 2), "all-black": 180} for i, group in enumerate(groups)}}
    panels["bounces"] = {group: {"convlstm": (60, 0)} for group in groups}
    figure = viz.bar_panels(panels, ylabel="MSE", references={"copy-last": 300}, gray=("all-black",))
    for drawn in both(figure):
        left, right = drawn.axes
        bars = {bar.get_label(): bar for bar in left.containers if isinstance(bar, mpl.container.BarContainer)}
        heights = {name: [bar.get_height() for bar in group] for name, group in bars.items()}
        assert heights == {"convlstm": [65, 66, 67], "all-black": [180, 180, 180]}
        (lines,) = bars["convlstm"].errorbar.lines[2]
        assert lines.get_segments()[1][:, 1].tolist() == [64, 68], "the standard error, up and down"
        assert bars["all-black"].errorbar is None
        assert sum(isinstance(c, mpl.container.BarContainer) for c in right.containers) == 1
        assert_words_apart(drawn)
        assert " ".join(left.get_xticklabels()[0].get_text().split()) == groups[0]
        assert left.get_xticklabels()[1].get_text().endswith("\n(62\N{NO-BREAK SPACE}clips)"), "a bracket is one word"
        assert {axes.lines[-1].get_label(): axes.lines[-1].get_ydata()[0] for axes in drawn.axes} == {"copy-last": 300}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: viz.line_panels({"x": {"a": [1, 2, 3]}}, ylabel="y"),
            r"\['x'\]\['a'\] is a list, expected \(x, y\)",
        ),
        (lambda: viz.line_panels({"x": {"a": ([1, 2], [3])}}, ylabel="y"), r"has shapes \(2,\) and \(1,\)"),
        (lambda: viz.line_panels({"x": {"a": ([1], [3])}}, ylabel="y", gray="a"), "gray is 'a', expected names"),
        (lambda: viz.bar_panels({"x": {"g": {"a": "high"}}}, ylabel="y"), r"panels\['x'\]\['g'\]\['a'\] is 'high'"),
        (lambda: viz.bar_panels({"x": {"g": {"a": (1, -1)}}}, ylabel="y"), "the standard error of .* is -1"),
        (lambda: viz.pictures({"a": [1.0]}), r"images\[.a.\] has shape \(1,\), expected one picture"),
        (lambda: viz.pictures({"a": [[200.0]]}), "divide 0..255 pixels by 255"),
        (lambda: viz.pictures({"a": [[1.0]]}, marks={"b": (0, 0, 1, 1)}), "a name of marks is 'b'"),
        (lambda: viz.pictures({"a": [[1.0]]}, marks={"a": (0, 0)}), r"marks\['a'\] is \(0, 0\)"),
        (lambda: viz.attention_overlay(square(2), np.ones((2, 2, 2)), names=["a"]), "names are .*expected 2 texts"),
        (lambda: viz.player([square(2)], choose={"digits": (1, 2, 1)}), "choose needs videos that are a function"),
        (lambda: viz.player(lambda n: [square(2)], choose={"n": (3, 2, 1)}), "largest n is 2"),
        (lambda: viz.show(viz.pictures({"a": [[1.0]]})), "alt is '', expected a text"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the GIF of both models


def test_the_gif_of_both_models_holds_truth_predictions_and_errors(tmp_path):
    path = comparison("builtin", tmp_path / "comparison.gif", clips=1)
    with Image.open(path) as gif:
        assert gif.n_frames == 20 and gif.size == (8 + 5 * (2 * 64 + 8), 28 + 128 + 40)
        gif.seek(19)
        last = np.asarray(gif.convert("RGB")).astype(int)
    truth, convlstm, transformer, *errors = (last[28:156, 8 + 136 * i : 136 * (i + 1)] for i in range(5))
    assert truth.max() > 200 and not np.array_equal(convlstm, transformer)
    for error in errors:
        assert (error[..., 2] > error[..., 0] + 50).any() and (error[..., 0] > error[..., 2] + 50).any()
    assert [file.name for file in tmp_path.iterdir()] == ["comparison.gif"]


def test_a_picture_has_a_palette_where_nobody_sees_the_difference():
    ramp = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    gray = viz.film_strip({"ramp": ramp[None, None].repeat(3, 0).astype("float32")})
    colourful, axis = plt.subplots(figsize=(2, 2))
    axis.imshow(np.random.default_rng(0).random((64, 64, 3)))
    for figure, mode in ((gray, "P"), (colourful, "RGB")):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        full, kept = Image.open(buffer).convert("RGB"), Image.open(io.BytesIO(png(figure)))
        assert kept.mode == mode
        assert np.abs(np.asarray(kept.convert("RGB"), dtype=int) - np.asarray(full, dtype=int)).max() <= 12
        plt.close(figure)


def test_a_shipped_model_looks_the_same_in_every_picture_and_no_two_names_look_alike():
    ones = {name: [3.0, 4.0] for name in ("constant-velocity", "convlstm", "video-transformer-perceptual")}
    curves = viz.horizon_curves(ones)
    panels = viz.line_panels({"clips": {name: ([1, 2], y) for name, y in reversed(ones.items())}}, ylabel="error")
    cost = viz.cost_panels({"ours": dict.fromkeys(("video-transformer-perceptual", "convlstm"), (2.0, 3.0))})
    looks = []
    for figure in (curves, panels, cost):
        lines = figure.axes[0].lines
        looks.append({line.get_label(): (line.get_color(), line.get_marker()) for line in lines})
        assert len({color for color, _ in looks[-1].values()}) == len({m for _, m in looks[-1].values()}) == len(lines)
    assert looks[0] == looks[1] and looks[2].items() <= looks[0].items()
    assert looks[0]["convlstm"] == (viz.BLUE, "o")


def test_what_is_no_model_is_gray_and_takes_no_colour():
    dots = {"untrained": ([1, 2], [1, 2]), "trained": ([1, 2], [2, 1]), "other": ([1, 2], [3, 1])}
    lines = {
        line.get_label(): line
        for line in viz.line_panels({"frame": dots}, ylabel="skill", gray=["untrained"]).axes[0].lines
    }
    assert [lines[name].get_color() for name in dots] == [GRAY, viz.BLUE, viz.VERMILION]
    assert list(lines) == list(dots), "in the order that was given"
    assert len({line.get_marker() for line in lines.values()}) == 3
