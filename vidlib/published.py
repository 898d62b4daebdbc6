"""The published results of Moving MNIST, 10 frames to 10, with their sources: one table, and what it was measured on.

They are of the official test file ``mnist_test_seq.npy``, and the best epoch was chosen on that same file. Scores on
generated clips are of other clips and chosen on yet others: the two never stand in one column.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL = (
    "Published, on the official test file mnist_test_seq.npy, on which the best epoch was chosen too; "
    "an epoch is 10,000 training clips."
)


@dataclass(frozen=True)
class Published:
    """One line of the tables.

    Attributes:
        model: its name, with what tells it from others of that name.
        parameters: in millions.
        gmacs: billions of multiply–adds for one clip. The papers call them FLOPs.
        short, long: (MSE per frame, MAE per frame, SSIM) after 200 and 2000 epochs, ``None`` where there is no figure.
        source: where they stand.
        note: another figure of the same source.
    """

    model: str
    parameters: float
    gmacs: float
    short: tuple[float | None, float | None, float | None]
    long: tuple[float | None, float | None, float | None]
    source: str
    note: str = ""

    def errors(self) -> dict[int, float]:
        """Epochs → MSE per frame, for those that were published."""
        found = {200: self.short[0], 2000: self.long[0]}
        return {epochs: error for epochs, error in found.items() if error is not None}


_NONE = (None, None, None)
PUBLISHED = (
    Published("ConvLSTM-S (4×128, 5×5, patch 4)", 15.0, 56.8, (29.80, 90.64, 0.9288), (22.41, 73.07, 0.9480),
              "OpenSTL video_benchmarks.md"),
    Published("ConvLSTM-L", 33.8, 127.0, (27.78, 86.14, 0.9343), _NONE, "OpenSTL"),
    Published("PredRNN++", 38.6, 171.7, (22.06, 69.58, 0.9509), (14.07, 48.91, 0.9698), "OpenSTL"),
    Published("SimVP gSTA", 46.8, 16.5, (26.69, 77.19, 0.9402), (15.05, 49.80, 0.9675), "OpenSTL"),
    Published("TAU", 44.7, 16.0, (24.60, 71.93, 0.9454), (15.69, 51.46, 0.9661), "OpenSTL"),
    Published("SimVP with ViT blocks", 46.1, 16.9, (35.15, 95.87, 0.9139), (19.74, 61.65, 0.9539), "OpenSTL"),
    Published("SwinLSTM", 20.2, 69.9, _NONE, (17.7, None, 0.962), "PredFormer table 2"),
    Published("PredFormer TSST, 6 layers, patch 8", 25.3, 16.5, (26.0, None, None), (12.4, 44.6, 0.973),
              "PredFormer table 2, issue 11", "patch 4: 20.7"),
    Published("PredFormer TSST, 8 layers", 33.7, 22.0, _NONE, (11.7, 41.8, 0.975), "PredFormer table 6"),
)  # fmt: skip


def published_table() -> str:
    """Markdown: one row for each model, and a line that says what was measured."""
    lines = [
        "| published model | parameters | GMACs | MSE / MAE / SSIM, 200 epochs | 2000 epochs | source |",
        "| --- | ---: | ---: | --- | --- | --- |",
    ]
    for row in PUBLISHED:
        short = _cell(row.short) + (f" ({row.note})" if row.note else "")
        cells = (row.model, f"{row.parameters}M", f"{row.gmacs}", short, _cell(row.long), row.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", PROTOCOL])


def _cell(figures: tuple[float | None, float | None, float | None]) -> str:
    if figures == _NONE:
        return "–"
    return " / ".join("–" if figure is None else f"{figure:g}" for figure in figures)
