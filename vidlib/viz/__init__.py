"""Every picture of the course. Figures stay outside pyplot: hand them to :func:`show` with an alt text."""

from vidlib.viz.animations import clips_gif, comparison_frames, comparison_gif, save_gif
from vidlib.viz.comparisons import boxed, cost_panels, dot_intervals, stacked_bars
from vidlib.viz.curves import bar_panels, history_curves, horizon_curves, line_panels
from vidlib.viz.diagrams import convlstm_cell, encoder_forecaster, iterative_prediction, space_time_encoder
from vidlib.viz.figures import attention_overlay, film_strip, pictures, trajectory_plot
from vidlib.viz.insides import probe_maps, reliability_plot
from vidlib.viz.pad import drawing_pad
from vidlib.viz.show import show, show_gif
from vidlib.viz.style import (
    BLUE,
    COLORS,
    ERROR_MAP,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RULE,
    SKY,
    STYLE,
    VERMILION,
    apply_style,
    style,
)
from vidlib.viz.widgets import explore, player

__all__ = [
    "BLUE",
    "COLORS",
    "ERROR_MAP",
    "GREEN",
    "INK",
    "ORANGE",
    "PURPLE",
    "RULE",
    "SKY",
    "STYLE",
    "VERMILION",
    "apply_style",
    "attention_overlay",
    "bar_panels",
    "boxed",
    "clips_gif",
    "comparison_frames",
    "comparison_gif",
    "convlstm_cell",
    "cost_panels",
    "dot_intervals",
    "drawing_pad",
    "encoder_forecaster",
    "explore",
    "film_strip",
    "history_curves",
    "horizon_curves",
    "iterative_prediction",
    "line_panels",
    "pictures",
    "player",
    "probe_maps",
    "reliability_plot",
    "save_gif",
    "show",
    "show_gif",
    "space_time_encoder",
    "stacked_bars",
    "style",
    "trajectory_plot",
]
