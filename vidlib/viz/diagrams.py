"""Diagrams of the models: boxes and arrows in the style of all other pictures.

Each function returns a figure whose label is its alt text, so that ``show(encoder_forecaster())`` is all a cell needs.
They are narrow enough to be read on a phone, and stand on white paper, so that they read on dark and light pages.
"""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from vidlib.checks import check_counts
from vidlib.viz.style import BLUE, DPI, GRAY, INK, style

# Fills are pale, so that the ink on them stays dark on light; the edge says the kind.
GIVEN, MADE, PLAIN = ("#D5E8F5", BLUE), ("#FBE0CF", "#B84F00"), ("#EFEFEF", GRAY)
_WORK = ("#D3EEE4", "#00745A")  # what is computed: convolutions, attention


@style()
def encoder_forecaster() -> Figure:
    """Two layers that read ten frames, hand their states over and unroll ten more (Shi et al. 2015, 1506.04214)."""
    board = _Board(
        5.3,
        3.15,
        alt="Diagram of the encoder–forecaster. Left, the encoder: frames 1, 2 and so on to 10 enter layer 1 from "
        "below, layer 1 feeds layer 2, and each layer hands its states on from step to step. A thick arrow copies the "
        "last states of both layers to the forecaster at the right, which nothing enters. Its layers hand their states "
        "on in the same way, and at every step both feed a painter above them that makes one of frames 11 to 20.",
    )
    columns = {1: 0.84, 2: 1.43, 10: 2.31, 11: 3.19, 12: 3.8, 20: 4.72}
    below, layers, painted, top = 0.62, (1.22, 1.82), 2.32, 2.78
    for frame, x in columns.items():
        past = frame <= 10
        for number, y in enumerate(layers, 1):
            board.box(x, y, 0.34, 0.3, "", GIVEN if past else MADE)
            if frame == 1:
                board.text(0.58, y, f"layer {number}", size=9.5, ha="right")
        if past:
            board.box(x, below, 0.3, 0.3, str(frame), ("black", INK), color="white")
            board.arrow((x, below + 0.16), (x, layers[0] - 0.16))
            board.arrow((x, layers[0] + 0.16), (x, layers[1] - 0.16))
        else:
            board.arrow((x, layers[0] + 0.16), (x, layers[1] - 0.16))
            board.arrow((x, layers[1] + 0.16), (x, painted - 0.12))
            # layer 1 is painted from as well: a way around layer 2
            board.path([(x + 0.17, layers[0]), (x + 0.25, layers[0]), (x + 0.25, painted), (x + 0.2, painted)])
            board.box(x, painted, 0.38, 0.22, "paint", _WORK, size=8.5)
            board.arrow((x, painted + 0.12), (x, top - 0.16))
            board.box(x, top, 0.3, 0.3, str(frame), ("black", INK), color="white")
    for y in layers:
        for a, b in ((1, 2), (11, 12)):
            board.arrow((columns[a] + 0.18, y), (columns[b] - 0.18, y))
        for a, b in ((2, 10), (12, 20)):
            middle = (columns[a] + columns[b]) / 2
            board.line((columns[a] + 0.18, y), (middle - 0.13, y))
            board.text(middle, y, "…", size=11)
            board.arrow((middle + 0.13, y), (columns[b] - 0.18, y))
        board.arrow((columns[10] + 0.2, y), (columns[11] - 0.2, y), color=INK, width=2.6)
    board.text((columns[10] + columns[11]) / 2, 2.05, "states", size=9.5)
    board.text((columns[1] + columns[10]) / 2, 0.25, "encoder: the past goes in", weight="bold", color=BLUE)
    board.text((columns[11] + columns[20]) / 2, 0.25, "forecaster", weight="bold", color=MADE[1])
    board.text((columns[11] + columns[20]) / 2, 0.62, "nothing goes in:\nthe states know enough", size=9)
    return board.figure


@style()
def convlstm_cell() -> Figure:
    """One step of the cell without peepholes (Shi et al. 2015, arXiv:1506.04214, equation 3)."""
    board = _Board(
        5.3,
        3.6,
        alt="Diagram of a ConvLSTM cell. The frame X and the hidden state H enter two convolutions whose sum is cut in "
        "four: forget gate f, input gate i and output gate o through a sigmoid, candidate g through tanh. The memory C "
        "runs along the top: it is multiplied by f, then i times g is added, which gives the new memory C prime. Its "
        "tanh, multiplied by o, is the new hidden state H prime.",
    )
    memory, gates, sums = 3.05, 1.35, 0.55
    f, i, g, o = 1.25, 2.0, 2.75, 4.0
    written = (i + g) / 2
    board.box(2.62, sums, 3.3, 0.42, "W ∗ X + U ∗ H + b, cut in four", _WORK)
    board.text(0.28, sums + 0.11, "X", size=12, weight="bold")
    board.text(0.28, sums - 0.13, "H", size=12, weight="bold")
    board.arrow((0.42, sums + 0.11), (0.95, sums + 0.11))
    board.arrow((0.42, sums - 0.13), (0.95, sums - 0.13))
    for x, name, kind, what in (
        (f, "f", "σ", "keep"),
        (i, "i", "σ", "write"),
        (g, "g", "tanh", "what"),
        (o, "o", "σ", "show"),
    ):
        board.arrow((x, sums + 0.22), (x, gates - 0.19))
        board.box(x, gates, 0.56, 0.36, f"{name}: {kind}", GIVEN)
        board.text(x + 0.06, (sums + gates) / 2 + 0.01, what, size=9, ha="left")
    board.text(0.28, memory, "C", size=12, weight="bold")
    board.arrow((0.42, memory), (f - 0.14, memory), width=2.2)
    board.sign(f, memory, "×")
    board.arrow((f, gates + 0.19), (f, memory - 0.14))
    board.arrow((f + 0.13, memory), (written - 0.14, memory), width=2.2)
    board.sign(written, memory, "+")
    board.sign(written, 2.2, "×")
    board.path([(i, gates + 0.18), (i, 2.2), (written - 0.13, 2.2)])
    board.path([(g, gates + 0.18), (g, 2.2), (written + 0.13, 2.2)])
    board.arrow((written, 2.34), (written, memory - 0.14))
    board.arrow((written + 0.13, memory), (4.85, memory), width=2.2)
    board.text(5.02, memory, "C′", size=12, weight="bold")
    board.arrow((o, memory), (o, 2.7))
    board.box(o, 2.54, 0.56, 0.3, "tanh", PLAIN)
    board.arrow((o, 2.39), (o, 2.09))
    board.sign(o, 1.95, "×")
    board.arrow((o, gates + 0.19), (o, 1.82))
    board.arrow((o + 0.13, 1.95), (4.85, 1.95), width=2.2)
    board.text(5.02, 1.95, "H′", size=12, weight="bold")
    return board.figure


@style()
def space_time_encoder(layers: int = 6) -> Figure:
    """The video transformer, its attention over time and over space in turns (Bertasius et al. 2021, arXiv:2102.05095).

    Args:
        layers: how many encoder layers.

    Raises:
        ValueError: fewer than one layer.
    """
    check_counts(layers=layers)
    board = _Board(
        5.55,
        3.7,
        alt="Diagram of the video transformer. Ten past frames become 10 times 64 tokens; embeddings of place and time "
        f"are added. {layers} layers follow, each a time block and a space block; in both, attention and then a small "
        "network add to the tokens. A decoder paints ten future frames from them. Below, two grids of frames by "
        "patches show who is heard: over time, one token looks along its column, the same patch in all frames; over "
        "space along its row, all patches of its frame.",
    )
    y, wide = 3.0, 0.76
    board.box(0.46, y, 0.72, 0.62, "10 past\nframes", ("black", INK), color="white", size=9)
    board.box(1.38, y, 0.8, 0.62, "patches +\nplace, time", _WORK, size=8.5)
    board.frame(1.93, y - 0.48, 1.76, 0.96)
    board.text(2.81, y + 0.6, f"{layers} layers", weight="bold", size=9.5)
    for x, name, kind in ((2.38, "time", GIVEN), (3.24, "space", MADE)):
        board.box(x, y, wide, 0.76, f"{name}\nattention\n+ network", kind, size=8.5)
    board.box(4.21, y, 0.68, 0.62, "decoder", _WORK, size=9)
    board.box(5.1, y, 0.72, 0.62, "10 future\nframes", ("black", INK), color="white", size=9)
    for start, stop in ((0.83, 0.97), (1.79, 1.99), (2.77, 2.85), (3.63, 3.86), (4.56, 4.73)):
        board.arrow((start, y), (stop, y), head=7)
    side, rows, columns = 0.19, 6, 9
    for left, kind, title, words in (
        (0.6, GIVEN, "time: down its column", "a patch hears itself\nin all ten frames"),
        (3.4, MADE, "space: along its row", "a patch hears all\n64 patches of its frame"),
    ):
        for row in range(rows):
            for column in range(columns):
                heard = column == 5 if kind is GIVEN else row == 3
                asks = (row, column) == (3, 5)
                board.cell(
                    left + column * side, 0.8 + (rows - 1 - row) * side, side, kind if heard else PLAIN, asks=asks
                )
        board.text(left + columns * side / 2, 2.08, title, weight="bold", size=9.5, color=kind[1])
        board.text(left + columns * side / 2, 0.3, words, size=9)
        board.text(left + columns * side / 2, 0.68, "patches", size=9)
        board.text(left - 0.1, 0.8 + rows * side / 2, "frames", size=9, rotation=90)
    return board.figure


@style()
def iterative_prediction(chunk: int = 5, frames: int = 20, past: int = 10, horizon: int = 10) -> Figure:
    """Which frames each call of a rollout reads, keeps and throws away, see :func:`vidlib.iterative.rollout`.

    Args:
        chunk: how many frames of each prediction are kept.
        frames: how many frames are wanted.
        past: how many frames the model reads.
        horizon: how many it predicts in one go.

    Raises:
        ValueError: a number out of range, a chunk above the horizon, or more than eight calls, which would not fit.
    """
    check_counts(frames=frames, past=past, horizon=horizon)
    check_counts(chunk=chunk, highest=horizon)
    calls = math.ceil(frames / chunk)
    check_counts(**{"the number of calls, frames / chunk,": calls}, highest=8)
    shown = past + (calls - 1) * chunk + horizon
    side, line, left = min(0.2, 4.3 / shown), 0.34, 0.72
    height = calls * line + 1.18
    board = _Board(
        max(5.3, left + shown * side + 0.2),
        height,
        alt=f"Diagram of iterative prediction with chunk {chunk}: {calls} calls under each other along one time line. "
        f"Each reads the {past} frames before it, predicts {horizon}, and the first {chunk} of them are kept. From the "
        "second call on the frames that it reads are more and more the model's own.",
    )
    for call in range(calls):
        y = height - 0.5 - call * line
        board.text(left - 0.1, y + side / 2, f"call {call + 1}", ha="right", size=9.5)
        start = call * chunk
        for frame in range(start, start + past + horizon):
            read, kept = frame < start + past, frame < min(start + past + chunk, past + frames)
            own = frame >= past
            fill = GIVEN if read and not own else MADE if read or kept else ("white", GRAY)
            board.cell(left + frame * side, y, side, fill, strong=not read and kept, dashed=not read and not kept)
    board.text(left - 0.1, height - 0.15, "frame", ha="right", size=9)
    for frame in sorted({1, past, past + 1, past + frames}):
        if 1 < frame < past + 1 and past * side < 0.7:
            continue
        x = left + (frame - 0.5) * side
        nudge = {past: -0.06, past + 1: 0.06}.get(frame, 0)
        board.text(x + nudge, height - 0.15, str(frame), size=9)
    y = 0.62
    for x, fill, words, options in (
        (left, GIVEN, "true frame, read", {}),
        (left + 2.2, MADE, "own frame, read", {}),
        (left, MADE, "predicted and kept", {"strong": True}),
        (left + 2.2, ("white", GRAY), "predicted, thrown away", {"dashed": True}),
    ):
        lower = 0.3 * (options != {})
        board.cell(x, y - lower, 0.16, fill, **options)
        board.text(x + 0.26, y - lower + 0.08, words, ha="left", size=9.5)
    return board.figure


class _Board:
    """A white board in inches, with the origin at its lower left corner."""

    def __init__(self, width: float, height: float, alt: str) -> None:
        self.figure = Figure(figsize=(width, height), dpi=DPI)
        self.figure.set_label(alt)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def text(self, x: float, y: float, words: str, *, size: float = 10, color: str = INK, **options: object) -> None:
        options = {"ha": "center", "va": "center", "linespacing": 1.15} | options
        self.axes.text(x, y, words, size=size, color=color, **options)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        words: str,
        kind: tuple[str, str],
        *,
        color: str = INK,
        size: float = 10,
    ) -> None:
        """A box with this centre."""
        fill, edge = kind
        corner = (x - width / 2 + 0.04, y - height / 2 + 0.04)
        self.axes.add_patch(
            FancyBboxPatch(
                corner,
                width - 0.08,
                height - 0.08,
                boxstyle="round,pad=0.04",
                facecolor=fill,
                edgecolor=edge,
                linewidth=1.4,
                zorder=3,
            )
        )
        if words:
            self.text(x, y, words, size=size, color=color, zorder=4)

    def cell(
        self,
        x: float,
        y: float,
        side: float,
        kind: tuple[str, str],
        *,
        asks: bool = False,
        strong: bool = False,
        dashed: bool = False,
    ) -> None:
        """A small square with this lower left corner."""
        fill, edge = kind
        self.axes.add_patch(
            Rectangle(
                (x + 0.01, y + 0.01),
                side - 0.02,
                side - 0.02,
                facecolor=edge if strong or asks else fill,
                edgecolor=INK if asks else edge,
                linewidth=2 if asks else 0.9,
                linestyle=":" if dashed else "-",
                zorder=4 if asks else 3,
            )
        )

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        self.axes.add_patch(
            Rectangle((x, y), width, height, fill=False, edgecolor=GRAY, linewidth=1.2, linestyle=(0, (4, 2)))
        )

    def sign(self, x: float, y: float, sign: str) -> None:
        self.axes.add_patch(Circle((x, y), 0.13, facecolor="white", edgecolor=INK, linewidth=1.3, zorder=3))
        self.text(x, y, sign, size=12, zorder=4)

    def line(self, a: tuple[float, float], b: tuple[float, float]) -> None:
        self.axes.plot(*zip(a, b, strict=True), color=GRAY, linewidth=1.3, solid_capstyle="butt")

    def arrow(
        self,
        a: tuple[float, float],
        b: tuple[float, float],
        *,
        color: str = GRAY,
        width: float = 1.3,
        head: float = 9,
    ) -> None:
        self.axes.add_patch(
            FancyArrowPatch(
                a,
                b,
                arrowstyle="-|>",
                mutation_scale=head,
                color=color,
                linewidth=width,
                shrinkA=0,
                shrinkB=0,
                zorder=2,
            )
        )

    def path(self, points: list[tuple[float, float]]) -> None:
        """Straight pieces, the last of them an arrow."""
        for a, b in zip(points[:-2], points[1:-1], strict=True):
            self.line(a, b)
        self.arrow(*points[-2:])
