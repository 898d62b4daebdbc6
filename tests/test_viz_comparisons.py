"""Pictures of comparisons: what is drawn is what was given, words don't touch, and wrong input is one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from picture_form import assert_words_apart, square
from vidlib import viz
from vidlib.published import PUBLISHED
from vidlib.viz.style import ORANGE


def published():
    return {row.model: ([row.gmacs] * len(row.errors()), [*row.errors().values()]) for row in PUBLISHED}


def test_costs_are_drawn_on_a_log_axis_with_the_floor_where_it_belongs():
    panels = {"our clips": {"convlstm": (2.7, 63.3), "video-transformer": (1.7, 50.3)}, "published": published()}
    figure = viz.cost_panels(panels, floors={"our clips": ("ideal observer", 7.7)}, title="Error and cost")
    for drawn in (figure, figure.narrow):
        ours, theirs = drawn.axes
        assert ours.get_xscale() == "log" and ours.get_ylim()[0] == 0
        points = {line.get_label(): line.get_xydata().tolist() for line in ours.lines}
        assert points["convlstm"][0] == pytest.approx([2.7, 63.3]) and points["ideal observer"][0][1] == 7.7
        assert {line.get_label() for line in theirs.lines} == {row.model for row in PUBLISHED}
        assert len(theirs.lines[0].get_xdata()) == 2, "200 and 2000 epochs"
        assert_words_apart(drawn)


def test_intervals_stand_at_their_row_and_beside_each_other():
    rows = {"overall": {"a": (-3, -4, -2), "b": (0.5, -1, 2)}, "overlap": {"b": (1, 0, 3)}}
    figure = viz.dot_intervals(rows, xlabel="difference", references={"no difference": 0.0}, title="Differences")
    assert figure.narrow.get_figwidth() < figure.get_figwidth()
    for drawn in (figure, figure.narrow):
        (axes,) = drawn.axes
        (dots_a, _, (line_a,)), (dots_b, _, (line_b,)) = axes.containers
        assert dots_a.get_xdata().tolist() == [-3] and dots_b.get_xdata().tolist() == [0.5, 1]
        assert [[x for x, _ in part] for part in line_b.get_segments()] == [[-1, 2], [0, 3]]
        assert dots_a.get_ydata()[0] < 0 < dots_b.get_ydata()[0] < 0.5 < dots_b.get_ydata()[1] < 1.5
        assert dots_a.get_color() != dots_b.get_color()
        assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is on top"
        assert_words_apart(drawn)


def test_parts_are_stacked_and_those_below_zero_go_to_the_left():
    bars = {"a": {"one": 2.0, "two": 3.0, "chance": -1.0}, "b": {"one": 1.0, "two": 0.0, "chance": 0.5}}
    figure = viz.stacked_bars(bars, xlabel="MSE per frame", gray=("one",), title="Parts")
    spans = [(patch.get_x(), patch.get_width()) for patch in figure.axes[0].patches]
    assert spans == [(0, 2), (2, 3), (0, -1), (0, 1), (1, 0), (1, 0.5)]
    assert_words_apart(figure)


def test_a_box_is_drawn_around_its_place_and_nowhere_else():
    clip = square(3, size=16)
    drawn = viz.boxed(clip, [[2, 3], [3, 3], [12, 10]], size=6)
    assert drawn.shape == (3, 3, 16, 16)
    orange = torch.tensor(to_rgb(ORANGE))
    edge = (drawn == orange[:, None, None]).all(1)
    assert edge[0, 3, 2:8].all() and edge[0, 8, 2:8].all() and edge[0, 3:9, 2].all() and edge[0, 3:9, 7].all()
    assert edge[0].sum() == 20 and edge[2].sum() < 20, "what leaves the frame is cut"
    outside = ~edge
    np.testing.assert_array_equal(
        drawn.movedim(1, -1)[outside].numpy(), clip.expand(-1, 3, -1, -1).movedim(1, -1)[outside]
    )
    viz.film_strip({"truth": drawn})


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: viz.cost_panels({}), "panels is {}"),
        (lambda: viz.cost_panels({"a": {"m": 3}}), r"panels\['a'\]\['m'\] is a int, expected \(cost, error\)"),
        (lambda: viz.cost_panels({"a": {"m": (0, 1)}}), "expected as many costs above 0 as errors"),
        (lambda: viz.cost_panels({"a": {"m": (1, 1)}}, floors={"b": ("x", 1)}), "floors has 'b', expected one of a"),
        (lambda: viz.dot_intervals({"a": {"m": (1, 2, 3)}}, xlabel="x"), "with the value between the others"),
        (lambda: viz.dot_intervals({"a": {"m": (1, 0, np.inf)}}, xlabel="x"), "finite, with the value"),
        (lambda: viz.dot_intervals({"a": {"m": (1, 2)}}, xlabel="x"), "expected \\(value, low, high\\)"),
        (lambda: viz.dot_intervals({"a": {"m": (1, 0, 3)}}, xlabel=""), "xlabel is '', expected a text"),
        (lambda: viz.stacked_bars({"a": {"x": 1}, "b": {"y": 1}}, xlabel="x"), r"expected \['x'\] as the first"),
        (lambda: viz.stacked_bars({"a": {"x": np.nan}}, xlabel="x"), "expected a finite number"),
        (lambda: viz.boxed(square(3), [[0, 0]]), r"corners have shape \(1, 2\)"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
