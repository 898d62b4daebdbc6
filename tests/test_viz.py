"""The pictures: exact pixels, labels, sentences for bad input, atomic files, alt texts."""

import base64
import builtins
import io
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from IPython.core import displaypub
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL import Image

from picture_form import assert_apart, luminance, square
from vidlib import viz


def read_gif(path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as gif:
        frames, durations = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    return frames, durations


def panel(picture: np.ndarray, row: int, column: int, scale: int, size: int = 16) -> np.ndarray:
    """A panel cut out of a picture, at the pixels of the clip."""
    y = 28 + row * (size * scale + 8)
    x = 8 + column * (size * scale + 8)
    block = picture[y : y + size * scale, x : x + size * scale].reshape(size, scale, size, scale, 3)
    assert (block == block[:, :1, :, :1]).all(), "each pixel is an even block of the enlarged picture"
    return block[:, 0, :, 0]


@pytest.fixture
def published(monkeypatch):
    """What notebooks would get: a list of (data, metadata)."""
    seen = []

    class Publisher(displaypub.DisplayPublisher):
        def publish(self, data, metadata=None, **_):
            seen.append((data, metadata))

    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "display_pub", Publisher())
    yield seen
    InteractiveShell.clear_instance()


# ---------------------------------------------------------------- GIFs


def test_comparison_gif_holds_the_exact_pixels_of_each_panel(tmp_path):
    past, truth = square(3), square(4, start=3)
    prediction = truth.clone()
    prediction[2] = 0  # one frame missed altogether
    prediction[3, 0, 10, 10] = 1  # one pixel too much
    path = viz.comparison_gif(tmp_path / "new folder" / "a.gif", past, truth, prediction, scale=2, fps=4)
    frames, durations = read_gif(path)
    assert len(frames) == 3 + 4
    assert frames[0].shape == (28 + 32 + 40, 8 + 4 * (32 + 8), 3)
    assert durations == [250] * 6 + [1250]
    for t in range(3):  # the past plays, the others wait in a gray that no frame has all over
        assert np.array_equal(panel(frames[t], 0, 0, 2)[..., 0], past[t, 0].numpy() * 255)
        for column in (1, 2, 3):
            assert (panel(frames[t], 0, column, 2) == 45).all()
    for t in range(4):
        now = frames[3 + t]
        assert np.array_equal(panel(now, 0, 0, 2)[..., 0] > 0, past[-1, 0].numpy() > 0)
        assert panel(now, 0, 0, 2).max() < 128, "the past is dimmed once it is over"
        assert np.array_equal(panel(now, 0, 1, 2)[..., 0], truth[t, 0].numpy() * 255)
        assert np.array_equal(panel(now, 0, 2, 2)[..., 0], prediction[t, 0].numpy() * 255)
    assert (panel(frames[4], 0, 3, 2) == 0).all(), "a right prediction has a black error panel"
    missed, excess = panel(frames[5], 0, 3, 2), panel(frames[6], 0, 3, 2)
    red, _, blue = missed[4, 3 + 2].astype(int)
    assert blue > red + 50, "too dark is blue"
    red, _, blue = excess[10, 10].astype(int)
    assert red > blue + 50, "too bright is orange"
    assert (missed.any(axis=-1) == (truth[2, 0].numpy() > 0)).all()


def test_a_comparison_together_has_no_panel_that_waits():
    past, truth = square(3), square(2, start=3)
    models = {"a": truth * 0.4, "b": truth * 0}
    frames = viz.comparison_frames(past, truth, models, scale=2, together=True)
    assert frames.shape == (5, 28 + 32 + 40, 8 + 5 * 40, 3)
    for t in range(3):
        given = past[t, 0].numpy()
        assert np.array_equal(panel(frames[t], 0, 0, 2)[..., 0], given * 255)
        for column in (1, 2):
            seen = panel(frames[t], 0, column, 2)[..., 0]
            assert np.array_equal(seen > 0, given > 0) and seen.max() in (125, 130), "what is only read is dimmed"
        assert (panel(frames[t], 0, 3, 2) == 0).all() and (panel(frames[t], 0, 4, 2) == 0).all()
    for t in range(2):
        now = frames[3 + t]
        assert np.array_equal(panel(now, 0, 0, 2)[..., 0], truth[t, 0].numpy() * 255)
        assert panel(now, 0, 1, 2).max() == 100 and (panel(now, 0, 2, 2) == 0).all()
        for column in (3, 4):
            assert np.array_equal(panel(now, 0, column, 2).any(-1), truth[t, 0].numpy() > 0)
    alone = viz.comparison_frames(past, truth, truth, scale=2, together=True)
    assert alone.shape[2] == 8 + 3 * 40 and (panel(alone[-1], 0, 2, 2) == 0).all()


def test_frame_number_is_burned_in():
    frames = viz.comparison_frames(square(2), square(2), square(2), scale=4)
    captions = [frame[-40:-14, : frame.shape[1] // 2] for frame in frames]
    assert all((caption < 128).any() for caption in captions)
    assert all(not np.array_equal(a, b) for i, a in enumerate(captions) for b in captions[:i])
    line = frames[:, -12]  # the time line: one more segment each frame, blue while given, vermilion while predicted
    reached = [
        int(((row == line[-1]).all(axis=1) & ~(row == 220).all(axis=1) & (row[:, 0] != 255)).sum()) for row in line
    ]
    assert reached == sorted(set(reached)) and len(reached) == 4


def test_several_clips_several_models_and_a_long_rollout():
    past, truth = torch.stack([square(2), square(2, 5)]), torch.rand(2, 30, 1, 16, 16)
    models = {"ConvLSTM": truth, "copy last": past[:, -1:].expand(2, 30, 1, 16, 16)}
    frames = viz.comparison_frames(past, truth, models, scale=1)
    assert frames.shape == (32, 28 + 2 * 24 - 8 + 40, 8 + 6 * 24, 3)
    assert (panel(frames[-1], 1, 3, 1) == 0).all()
    assert np.array_equal(panel(frames[-1], 1, 4, 1)[..., 0], past[1, -1, 0].numpy() * 255)


def test_predictions_outside_0_to_1_are_clipped_for_showing_only():
    truth = torch.zeros(1, 1, 16, 16)
    prediction = truth.clone()
    prediction[0, 0, 0, 0], prediction[0, 0, 0, 1] = 1.2, -0.2
    kept = prediction.clone()
    frames = viz.comparison_frames(truth, truth, prediction, scale=1)
    assert panel(frames[-1], 0, 2, 1)[0, :2, 0].tolist() == [255, 0]
    assert torch.equal(prediction, kept)


def test_clips_gif_lays_clips_out_in_columns(tmp_path):
    clips = torch.stack([square(3, start) for start in range(5)])
    frames, _ = read_gif(viz.clips_gif(tmp_path / "clips.gif", (clips * 255).to(torch.uint8), columns=3, scale=1))
    assert len(frames) == 3 and frames[0].shape == (8 + 2 * 24 - 8 + 40, 8 + 3 * 24, 3)
    fifth = frames[2][8 + 24 : 8 + 40, 8 + 24 : 8 + 40]
    assert np.array_equal(fifth[..., 0], clips[4, 2, 0].numpy() * 255)
    assert (frames[2][8 + 24 : 8 + 40, 8 + 48 : 8 + 64] == 255).all(), "no sixth clip: paper"


def test_gif_bytes_depend_on_the_frames_alone(tmp_path):
    torch.manual_seed(0)
    clip = torch.rand(3, 1, 16, 16)
    first = viz.comparison_gif(tmp_path / "a.gif", clip, clip, clip * 0.5).read_bytes()
    with mpl.rc_context({"font.size": 20, "image.cmap": "jet"}):
        again = viz.comparison_gif(tmp_path / "b.gif", clip.numpy(), clip.numpy(), clip.numpy() * 0.5).read_bytes()
    assert first == again
    assert first != viz.comparison_gif(tmp_path / "c.gif", clip, clip, clip * 0.4).read_bytes()


def test_gif_with_many_colours_is_close(tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    frame = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), axis=-1)
    frames, _ = read_gif(viz.save_gif(tmp_path / "many.gif", np.stack([frame, frame[::-1]])))
    assert abs(frames[1].astype(int) - frame[::-1]).max() < 48


def test_a_failing_write_leaves_the_old_gif(tmp_path, monkeypatch):
    path = viz.clips_gif(tmp_path / "a.gif", square(2))
    old = path.read_bytes()

    def full_disk(self, content):
        with self.open("wb") as file:
            file.write(content[:6])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        viz.clips_gif(path, square(3))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path], "no half-written file stays behind"


# ---------------------------------------------------------------- stills


def test_film_strip_labels_rows_and_numbers_frames():
    past, truth = square(4), square(3, 4)
    rows = {"past": (past * 255).to(torch.uint8), "truth": truth[:, 0], "prediction": truth.numpy(), "error": truth * 0}
    figure = viz.film_strip(rows, first_frame={"truth": 5, "prediction": 5, "error": 5}, title="A square")
    strips = {axes.get_ylabel(): axes for axes in figure.axes if axes.get_ylabel()}
    assert list(strips) == ["past", "truth", "prediction", "error"]
    numbers = {name: [tick.get_text() for tick in axes.get_xticklabels()] for name, axes in strips.items()}
    assert numbers["past"] == ["1", "2", "3", "4"]
    assert numbers["truth"] == ["5", "6", "7"]
    assert set(numbers["prediction"]) == {""}, "the numbers above truth hold for the rows below it"
    image = strips["truth"].images[0].get_array()
    for t, center in enumerate(strips["truth"].get_xticks()):
        left = round(center - 7.5)
        assert np.array_equal(image[:, left : left + 16], truth[t, 0].numpy())
    tops = [axes.get_position().y1 for axes in strips.values()]
    assert tops == sorted(tops, reverse=True) and tops[0] < 1
    assert any("blue too dark" in text.get_text() for text in figure.texts), "a signed row has its legend"
    red, green, blue, _ = strips["error"].images[0].to_rgba(np.zeros((1, 1)), norm=True)[0, 0]
    assert red == green == blue == 0


def test_film_strip_shows_evenly_spaced_columns():
    figure = viz.film_strip({"rollout": square(9)}, first_frame=11, columns=5)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["11", "13", "15", "17", "19"]
    assert not figure.texts


def test_words_of_a_narrow_film_strip_stay_on_the_paper():
    clip = square(1)
    figure = viz.film_strip(
        {"a rather long label": clip, "error": clip * 0}, title="A title longer than one single frame"
    )
    figure.savefig(io.BytesIO())
    words = [*figure.texts, *(axes.yaxis.label for axes in figure.axes)]
    boxes = [text.get_window_extent() for text in words if text.get_text()]
    assert len(boxes) == 4
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_history_from_rows_and_from_csv_is_the_same_picture(tmp_path):
    rows = [{"epoch": i, "train_loss": 90.0 / i, "validation_mse": 100.0 / i if i != 2 else ""} for i in (1, 2, 3)]
    path = tmp_path / "history.csv"
    path.write_text("epoch,train_loss,validation_mse\n" + "".join(f"{','.join(map(str, r.values()))}\n" for r in rows))
    for history in (rows, path, str(path)):
        axes = viz.history_curves(history, baselines={"copy last": 120}).axes[0]
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        assert lines["training"] == [[1, 90], [2, 45], [3, 30]]
        assert lines["validation"] == [[1, 100], [3, 100 / 3]], "an epoch without validation has no point"
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 120
        assert {text.get_text() for text in axes.texts} == {"training", "validation", "copy last"}
    assert viz.history_curves(rows, log=True).axes[0].get_yscale() == "log"


def test_history_of_unequal_epochs_runs_along_the_clips():
    rows = [{"epoch": i + 1, "clips": c, "train_loss": 9.0, "validation_mse": 8.0} for i, c in enumerate([10, 20, 50])]
    axes = viz.history_curves(rows).axes[0]
    assert axes.get_xlabel() == "training clips seen" and axes.lines[0].get_xdata().tolist() == [10, 20, 50]
    axes = viz.history_curves(rows[:2]).axes[0]
    assert axes.get_xlabel() == "epoch" and axes.lines[0].get_xdata().tolist() == [1, 2]


def test_horizon_curves_begin_at_the_first_predicted_frame_and_labels_do_not_overlap():
    curves = {"ConvLSTM": torch.tensor([3.0, 5.0]), "transformer": np.array([3.0, 5.0]), "copy last": [9, 9]}
    figure = viz.horizon_curves(curves, metric="MSE per frame", first_frame=11)
    axes = figure.axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[11, 12]] * 3
    assert axes.get_ylabel() == "MSE per frame"
    assert len({line.get_color() for line in axes.lines}) == len({line.get_marker() for line in axes.lines}) == 3
    figure.savefig(io.BytesIO())
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert all(a.y1 <= b.y0 + 1 for a, b in zip(boxes, boxes[1:], strict=False))
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    assert colors == {line.get_label(): line.get_color() for line in axes.lines}


def test_trajectory_plot_draws_centres_and_marks_bounces():
    positions = np.array([[[0, 0], [4, 2], [8, 4]], [[36, 36], [30, 30], [24, 24]]])
    bounced = np.array([[True, False, False], [False, False, False]])
    axes = viz.trajectory_plot(positions, bounced).axes[0]
    lines = [line.get_xydata().tolist() for line in axes.lines]
    assert [[14, 14], [18, 16], [22, 18]] in lines and [[50, 50], [44, 44], [38, 38]] in lines
    stars = [point for line in axes.lines if line.get_marker() == "*" for point in line.get_xydata().tolist()]
    assert stars == [[14, 14]]
    assert axes.yaxis_inverted(), "row 0 is at the top, as in a frame"


def test_attention_overlay_puts_weights_and_query_where_they_belong():
    weights = torch.zeros(3, 4, 4)
    weights[2, 1, 3], weights[0, 0, 0] = 0.5, 0.02
    figure = viz.attention_overlay(square(3), weights, query=(1, 0, 2), first_frame=8)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["frame 8", "frame 9", "frame 10"]
    shown = np.stack([axes.images[0].get_array() for axes in panels])
    assert np.array_equal(shown, weights.numpy())
    outlines = [axes.patches[1:] for axes in panels]  # the first is the frame's rim
    assert [len(patches) for patches in outlines] == [0, 2, 0]
    for outline in outlines[1]:
        assert (*outline.get_xy(), outline.get_width(), outline.get_height()) == (8, 0, 4, 4)
    everywhere = viz.attention_overlay(square(3), weights, query=(0, 2), names=["a", "b", "c"])
    panels = [axes for axes in everywhere.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["a", "b", "c"]
    assert [len(axes.patches) for axes in panels] == [3, 3, 3]


def test_attention_is_bright_and_the_bar_has_the_scale_of_the_panels():
    weights = torch.zeros(2, 4, 4)
    weights[0, 0, 0], weights[1, 2, 2] = 1.0, 0.04
    figure = viz.attention_overlay(square(2) * 0, weights, label="share of the influence")
    panels, bar = figure.axes[:2], figure.axes[-1]
    glow = panels[0].images[0]
    most, small, none = (luminance(glow.to_rgba(np.array([[w]]))[0, 0]) for w in (1.0, 0.04, 0.0))
    assert most > 0.7 and small > 0.015 and none == 0, "a twenty-fifth of the largest weight is still seen"
    assert bar.get_ylabel() == "share of the influence\n(square-root scale)"
    figure.draw_without_rendering()
    low, high = bar.get_ylim()
    assert (low, high) == (0, 1) and panels[1].images[0].norm is glow.norm
    place = bar.transData.transform((0, 0.25))[1]
    assert np.isclose((place - bar.bbox.y0) / bar.bbox.height, 0.5), "a quarter of the weight lies half way up"
    assert_apart([label for label in bar.get_yticklabels() if label.get_text()])


def test_figures_are_white_and_leave_pyplot_and_settings_alone():
    plt.close("all")
    before = dict(mpl.rcParams)
    with mpl.rc_context({"figure.facecolor": "black"}):
        figure = viz.film_strip({"clip": square(2)})
    viz.horizon_curves({"a": [1.0, 2.0]})
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert figure.get_facecolor() == (1, 1, 1, 1)
    with viz.style():
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(viz.COLORS)
    with mpl.rc_context():
        viz.apply_style()
        assert mpl.rcParams["savefig.facecolor"] == "white"


# ---------------------------------------------------------------- notebooks


def test_show_publishes_an_image_with_its_alt_text_and_closes_the_figure(published):
    figure = plt.figure(figsize=(2, 1))
    viz.show(figure, 'A line "rises" from 1 to 2 & stays < 3.')
    assert not plt.fignum_exists(figure.number)
    ((data, metadata),) = published
    assert data["text/plain"] == metadata["text/html"]["alt"] == 'A line "rises" from 1 to 2 & stays < 3.'
    assert 'alt="A line &quot;rises&quot; from 1 to 2 &amp; stays &lt; 3."' in data["text/html"]
    png = base64.b64decode(data["text/html"].split("base64,")[1].split('"')[0])
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (320, 160)
    assert 'width="192"' in data["text/html"]


def test_exported_notebooks_keep_picture_and_alt_text(tmp_path, published):
    path = viz.clips_gif(tmp_path / "a.gif", square(2))
    viz.show(viz.film_strip({"clip": square(2)}), "A square moves right.")
    viz.show_gif(path, "A square moves right, twice.")
    outputs = [nbformat.v4.new_output("display_data", data=data, metadata=meta) for data, meta in published]
    cell = nbformat.v4.new_code_cell("viz.show(...)", outputs=outputs)
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert 'alt="A square moves right."' in page and 'alt="A square moves right, twice."' in page
    assert base64.b64encode(path.read_bytes()).decode() in page
    assert "No description has been provided" not in page


@pytest.mark.parametrize(
    "draw", [viz.convlstm_cell, viz.encoder_forecaster, viz.iterative_prediction, viz.space_time_encoder]
)
def test_a_diagram_shows_itself_with_its_alt_text(draw, published):
    viz.show(draw())
    ((data, _),) = published
    assert data["text/plain"].startswith("Diagram of") and data["text/plain"].endswith(".")
    assert 100 < len(data["text/plain"]) < 700


@pytest.mark.parametrize("alt", ["", "  "])
def test_a_picture_without_alt_text_is_refused(alt):
    with pytest.raises(ValueError, match="alt is .*expected a text that is not empty"):
        viz.show(Figure(), alt)


def pixels_of(html_widget) -> np.ndarray:
    data = base64.b64decode(html_widget.value.split("base64,")[1].split('"')[0])
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def test_player_number_changes_the_picture_and_nothing_else():
    clip = square(4)
    player = viz.player({"truth": clip, "error": clip * 0}, first_frame=11, fps=4, alt="A square moves right.")
    image, controls = player.children
    toggle, play, number = controls.children
    assert (number.min, number.max, number.value, play.interval) == (11, 14, 11, 250)
    shown = []
    for step in (11, 13, 11):
        number.value = step
        pixels = pixels_of(image)
        assert np.array_equal(panel(pixels, 0, 0, 3)[..., 0], clip[step - 11, 0].numpy() * 255)
        assert (panel(pixels, 0, 1, 3) == 0).all()
        shown.append(image.value)
    assert shown[0] != shown[1] and shown[0] == shown[2]
    assert player.children == (image, controls) and controls.children == (toggle, play, number), "the focus stays"


def test_controls_of_a_player_have_names_and_fit_a_narrow_page():
    player = viz.player({"truth": square(4)}, alt="A square moves right.")
    image, controls = player.children
    toggle, play, number = controls.children
    assert 'alt="A square moves right."' in image.value and "max-width: 100%" in image.value
    assert f'width="{pixels_of(image).shape[1]}"' in image.value, "no larger than it was drawn"
    assert (toggle.description, number.description) == ("Play", "frame")
    assert play.layout.display == "none", "its own buttons have no names"
    toggle.value = True
    assert toggle.description == "Pause"
    assert controls.layout.flex_flow == "row wrap"
    widths = [widget.layout.width for widget in (toggle, number)]
    assert all(width.endswith("em") and float(width[:-2]) < 10 for width in widths)


def test_a_player_of_chosen_clips_keeps_its_controls():
    asked = []

    def flying(digits: int) -> dict:
        asked.append(digits)
        return {"clip": square(3 + digits)}

    player = viz.player(flying, choose={"digits": (1, 3, 1)})
    image, controls = player.children
    toggle, play, number, digits = controls.children
    assert (number.max, digits.description, digits.min, digits.max) == (4, "digits", 1, 3)
    number.value = 4
    before = image.value
    digits.value = 3
    assert asked == [1, 3] and (number.max, play.max, number.value) == (6, 6, 4)
    assert image.value != before and player.children[1].children == (toggle, play, number, digits)
    digits.value = 1
    number.value = 4
    assert np.array_equal(panel(pixels_of(image), 0, 0, 3)[..., 0], square(4)[3, 0].numpy() * 255)


def test_player_has_a_picture_for_readers_without_a_kernel():
    bundle = viz.player([square(3), square(3, 2)], alt="Two squares move right.")._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert '<img alt="Two squares move right."' in bundle["text/html"]
    assert "A still picture: run this cell in Jupyter to play the clips." in bundle["text/html"]
    assert not any(word in bundle["text/html"] for word in ("<button", "<input")), "no dead control"


@pytest.fixture
def no_widgets(monkeypatch):
    """A machine without ipywidgets."""
    really_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "ipywidgets":
            raise ImportError(name)
        return really_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


def test_player_is_a_film_strip_where_ipywidgets_is_missing(no_widgets):
    strip = viz.player({"truth": square(3)})
    assert isinstance(strip, Figure) and strip.axes[0].get_ylabel() == "truth"


def drawn(row: int, column: int) -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.suptitle(f"{row}, {column}")
    return figure


def test_a_number_draws_the_figure_anew_from_all_values():
    asked = []

    def draw(**values: int) -> Figure:
        asked.append(values)
        return drawn(**values)

    explorer = viz.explore(draw, alt="Two numbers.", row=(1, 8, 3), column=(0, 5, 5))
    image, controls = explorer.children
    row, column = controls.children
    assert (row.min, row.max, row.value, column.description) == (1, 8, 3, "column")
    before = image.value
    column.value = 2
    row.value = 8
    assert asked == [{"row": 3, "column": 5}, {"row": 3, "column": 2}, {"row": 8, "column": 2}]
    assert image.value != before and 'alt="Two numbers."' in image.value
    assert explorer.children == (image, controls) and controls.children == (row, column)
    assert '<img alt="Two numbers."' in explorer._repr_mimebundle_()["text/html"]


def test_an_explorer_is_its_first_figure_where_ipywidgets_is_missing(no_widgets):
    figure = viz.explore(drawn, alt="Two numbers.", row=(1, 8, 3), column=(0, 5, 5))
    assert isinstance(figure, Figure) and figure.get_suptitle() == "3, 5"


# ---------------------------------------------------------------- colours


def coloured(frames: int, start: int = 0) -> torch.Tensor:
    """A clip ``(frames, 3, 16, 16)`` whose channels are three squares of their own."""
    return torch.cat([square(frames, start), square(frames, start).flip(2) / 3, square(frames, start).flip(3)], dim=1)


def as_pixels(clip: torch.Tensor) -> np.ndarray:
    return (clip.movedim(1, -1) * 255).round().byte().numpy()


def test_a_strip_of_colour_clips_shows_their_colours_and_one_error(tmp_path):
    clip = coloured(3)
    error = clip.clone()
    error[:, 1] = error[:, 2] = 0
    figure = viz.film_strip(
        {"truth": clip, "gray": clip.mean(1), "error": error, "half": error.mean(1)}, errors=["error"]
    )
    truth, gray, signed, _ = (axes.images[0].get_array() for axes in figure.axes[:4])
    assert truth.shape == (16, 3 * 16 + 2, 3) and gray.shape == signed.shape == (16, 3 * 16 + 2)
    for t in range(3):
        assert np.allclose(truth[:, 17 * t : 17 * t + 16], clip[t].movedim(0, -1))
        assert np.allclose(signed[:, 17 * t : 17 * t + 16], error[t, 0] / 3), "the mean over the channels"
    assert (np.asarray(truth)[:, 16] == 1).all(), "paper between the frames"
    figure.savefig(tmp_path / "strip.png")


def test_values_outside_0_to_1_are_clipped_in_colours_too(recwarn, tmp_path):
    figure = viz.film_strip({"wild": coloured(2) * 2 - 0.5})
    figure.savefig(tmp_path / "strip.png")
    shown = figure.axes[0].images[0].get_array()
    assert shown.min() == 0 and shown.max() == 1 and not recwarn.list


def test_a_comparison_of_colour_clips_holds_their_exact_pixels():
    past, truth = coloured(3), coloured(2, start=3)
    prediction = truth.clone()
    prediction[1, 0] = 0  # one channel of one frame missed
    frames = viz.comparison_frames(past, truth, prediction, scale=2)
    for t in range(3):
        assert np.array_equal(panel(frames[t], 0, 0, 2), as_pixels(past)[t])
    for t in range(2):
        now = frames[3 + t]
        assert np.array_equal(panel(now, 0, 1, 2), as_pixels(truth)[t])
        assert np.array_equal(panel(now, 0, 2, 2), as_pixels(prediction)[t])
    assert (panel(frames[3], 0, 3, 2) == 0).all()
    missed = panel(frames[4], 0, 3, 2)
    assert (missed.any(axis=-1) == (truth[1, 0].numpy() > 0)).all()
    red, _, blue = missed[4, 4].astype(int)
    assert blue > red, "a third too dark is blue"


def test_clips_in_colour_stand_side_by_side_in_a_gif(tmp_path):
    clips = torch.stack([coloured(2), coloured(2, 3), coloured(2, 6)])
    frames, _ = read_gif(viz.clips_gif(tmp_path / "a.gif", clips, columns=2, scale=1))
    for t in range(2):
        for i in range(3):
            y, x = 8 + i // 2 * 24, 8 + i % 2 * 24
            assert np.array_equal(frames[t][y : y + 16, x : x + 16], as_pixels(clips[i])[t])
    assert (frames[0][32:48, 32:48] == 255).all(), "no clip, only paper"


def test_a_player_of_colour_clips_shows_their_colours():
    clip = coloured(3)
    player = viz.player({"truth": clip, "error": clip * 0}, scale=2)
    pixels = pixels_of(player.children[0])
    assert np.array_equal(panel(pixels, 0, 0, 2), as_pixels(clip)[0]) and (panel(pixels, 0, 1, 2) == 0).all()


def test_attention_shines_through_colour_frames_and_leaves_their_colours():
    clip = coloured(2)
    figure = viz.attention_overlay(clip, torch.zeros(2, 4, 4))
    veil = figure.axes[0].images[1].get_array()
    assert np.allclose(veil[..., :3] * veil[..., 3:], 0.6 * clip[0].movedim(0, -1), atol=1e-6), "over black: dimmed"
    figure.draw_without_rendering()


def test_gray_frames_three_pixels_wide_are_no_colours(tmp_path):
    narrow = torch.rand(2, 1, 9, 3)
    frames = viz.comparison_frames(narrow, narrow, narrow * 0.5, scale=1)
    assert np.array_equal(frames[0][28 : 28 + 9, 8:11, 0], ((narrow[0, 0] * 255).round().numpy() + 2) // 5 * 5)
    viz.clips_gif(tmp_path / "a.gif", narrow)
    assert viz.film_strip({"a": narrow}).axes[0].images[0].get_array().shape == (9, 7)


# ---------------------------------------------------------------- times of a GIF


NOISE = np.random.default_rng(0).integers(0, 2, (6, 16, 16, 3), np.uint8) * 255


def test_one_frame_is_a_still_for_its_time(tmp_path):
    frames, durations = read_gif(viz.save_gif(tmp_path / "a.gif", NOISE[:1], fps=4, hold=0.5))
    assert durations == [750] and np.array_equal(frames[0], NOISE[0])
    still = viz.comparison_gif(tmp_path / "b.gif", square(1), square(1), square(1))
    assert len(read_gif(still)[0]) == 2
    assert len(read_gif(viz.clips_gif(tmp_path / "c.gif", square(1)))[0]) == 1


@pytest.mark.parametrize("count, fps", [(2, 5), (200, 5), (300, 1)])
def test_equal_frames_keep_their_time(tmp_path, count, fps):
    still = np.repeat(NOISE[:1], count, axis=0)
    frames, durations = read_gif(viz.save_gif(tmp_path / "a.gif", still, fps=fps))
    assert len(frames) == 1 and sum(durations) == 1000 * count // fps + 1000
    moving = np.concatenate([NOISE[1:3], still, NOISE[3:5]])
    frames, durations = read_gif(viz.save_gif(tmp_path / "b.gif", moving, fps=fps))
    assert len(frames) == 5 and sum(durations) == 1000 * (count + 4) // fps + 1000
    assert durations[2] == 1000 * count // fps and np.array_equal(frames[2], NOISE[0])


def test_a_picture_that_stays_longer_than_a_gif_can_say_is_refused(tmp_path):
    path = viz.save_gif(tmp_path / "a.gif", NOISE[:2], fps=5)
    before = path.read_bytes()
    sentence = r"One picture stays for [67]\d\d(\.\d+)? seconds, expected at most 655.35"
    for frames, options in (
        (np.repeat(NOISE[:1], 700, axis=0), {"fps": 1}),
        (np.concatenate([NOISE[:2], np.repeat(NOISE[:1], 660, axis=0), NOISE[:2]]), {"fps": 1}),
        (NOISE[:2], {"fps": 1, "hold": 655}),
    ):
        with pytest.raises(ValueError, match=sentence):
            viz.save_gif(path, frames, **options)
    assert path.read_bytes() == before
    assert read_gif(viz.save_gif(path, NOISE[:2], fps=1, hold=654.35))[1] == [1000, 655_350]


@pytest.mark.parametrize("fps, hundredths", [(50, 2), (30, 3), (24, 4), (12, 8), (7, 14), (0.5, 200), (0.0016, 62_500)])
def test_times_are_whole_hundredths(tmp_path, fps, hundredths):
    assert read_gif(viz.save_gif(tmp_path / "a.gif", NOISE, fps=fps, hold=0))[1] == [10 * hundredths] * 6


@pytest.mark.parametrize("fps", [0, -5, 60, 50.1, 1000, 0.0015, float("nan"), float("inf"), "5", None, True])
def test_a_frame_rate_that_a_gif_cannot_hold_is_one_sentence(tmp_path, fps):
    for save in (
        lambda: viz.save_gif(tmp_path / "b.gif", NOISE, fps=fps),
        lambda: viz.clips_gif(tmp_path / "b.gif", square(2), fps=fps),
        lambda: viz.comparison_gif(tmp_path / "b.gif", square(2), square(2), square(2), fps=fps),
    ):
        with pytest.raises(ValueError, match=r"^fps is .*, expected a number (above 0|from 0.0015 to 50: a GIF holds)"):
            save()
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- bad input

CLIP = square(3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: viz.film_strip({}), "rows is {}, expected a dictionary of name → clip"),
        (lambda: viz.film_strip({"past": CLIP[None]}), r"past has shape .*Choose one clip of the batch"),
        (
            lambda: viz.film_strip({"past": torch.rand(3, 2, 16, 16)}),
            r"past has shape \(3, 2, 16, 16\), expected one clip",
        ),
        (lambda: viz.film_strip({"past": CLIP * 255}), "divide 0..255 pixels by 255"),
        (lambda: viz.film_strip({"past": CLIP * torch.nan}), "look for NaN"),
        (lambda: viz.film_strip({"past": CLIP.long()}), "dtype torch.int64"),
        (lambda: viz.film_strip({"past": "a clip"}), "past is a str"),
        (lambda: viz.comparison_frames(CLIP, CLIP, CLIP[:2]), "prediction has .* as truth has"),
        (lambda: viz.comparison_frames(CLIP, CLIP, {"ViT": CLIP[..., :8]}), "ViT has .* as truth has"),
        (lambda: viz.comparison_frames(CLIP[None].expand(2, -1, -1, -1, -1), CLIP, CLIP), "expected the same clips"),
        (lambda: viz.clips_gif("never.gif", [CLIP, CLIP[:2]]), "expected one shape for all"),
        (lambda: viz.save_gif("never.gif", np.zeros((2, 8, 8, 3))), "expected uint8 RGB frames"),
        (lambda: viz.history_curves([]), "history has 0 rows"),
        (lambda: viz.history_curves([{"epoch": 1, "train_loss": 2.0}]), "lacks validation_mse"),
        (lambda: viz.horizon_curves({}), "curves is {}, expected a dictionary"),
        (lambda: viz.horizon_curves({"ConvLSTM": np.zeros((2, 2))}), "one number per frame"),
        (lambda: viz.trajectory_plot(np.zeros((1, 2, 20, 2))), "choose one clip's digits"),
        (lambda: viz.trajectory_plot(np.zeros((2, 20, 2)), np.zeros(20, bool)), "bounced has shape"),
        (lambda: viz.attention_overlay(CLIP, torch.zeros(2, 4, 4)), r"expected \(3, h, w\)"),
        (lambda: viz.attention_overlay(CLIP, -torch.ones(3, 4, 4)), "at least 0"),
        (lambda: viz.attention_overlay(CLIP, torch.ones(3, 4, 4), query=(0, 4, 0)), "query's row is 4, .* from 0 to 3"),
        (lambda: viz.explore(drawn, alt="Two.", row=(1, 8, 9), column=(0, 5, 5)), "first row is 9, .* from 1 to 8"),
        (lambda: viz.player([]), "videos is {}, expected a dictionary of name → clip"),
        (lambda: viz.player({"a": CLIP, "b": CLIP[:2]}), "expected one shape for all"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
