"""What a notebook displays: figures and GIFs as HTML images with an alt text."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vidlib.checks import check_kind, check_path, check_texts
from vidlib.viz.style import DPI


def show(figure: Figure, alt: str = "") -> None:
    """Display a figure with its alt text in a notebook, and close it.

    The output is an HTML image: JupyterLab 4 and nbconvert drop the ``alt`` of plain ``image/png`` outputs. It is never
    wider than its page. Where the figure has a drawing for phones, its attribute ``narrow``, narrow screens show that.

    Args:
        figure: a matplotlib figure.
        alt: what the picture shows, for those who don't see it; left out, it is the figure's own label, such as a
            diagram of the course has.

    Raises:
        ValueError: no figure, or no alt text.
    """
    check_kind(Figure, "a matplotlib figure", figure=figure)
    alt = figure.get_label() if alt == "" else alt
    _display(figure_html(figure, alt), alt)
    plt.close(figure)


def show_gif(path: str | Path, alt: str) -> None:
    """Display a GIF, embedded with its alt text, in a notebook (nbconvert shows no plain ``image/gif`` output).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no GIF, or has no alt text.
    """
    check_path(path=path)
    check_texts(alt=alt)
    data = Path(path).read_bytes()
    if not data.startswith(b"GIF8"):
        raise ValueError(f"{path} is no GIF, expected one such as save_gif writes.")
    _display(image_html(data, "gif", alt), alt)


def _display(image: str, alt: str) -> None:
    from IPython.display import display

    display({"text/html": image, "text/plain": alt}, metadata={"text/html": {"alt": alt}}, raw=True)


def figure_html(figure: Figure, alt: str) -> str:
    """A figure as an HTML image, and its ``narrow`` drawing, where it has one, for screens of up to 600 pixels."""
    image = image_html(png(figure), "png", alt, width=round(figure.get_figwidth() * 96))
    narrow = getattr(figure, "narrow", None)
    if narrow is None:
        return image
    return f'<picture><source media="(max-width: 600px)" srcset="{_source(png(narrow), "png")}"/>{image}</picture>'


def still_html(picture: str, promise: str) -> str:
    """What stands in for a widget where there is no kernel: a picture as HTML, and what the cell does in Jupyter."""
    return f"{picture}<p>A still picture: run this cell in Jupyter to {html.escape(promise)}.</p>"


def png(figure: Figure) -> bytes:
    """A figure as a PNG, with a palette of 256 colours where no pixel differs by more than 12 of 255 levels.

    Notebooks keep their pictures as text, and a palette makes most of them less than half as long.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    full = Image.open(buffer).convert("RGB")
    few = full.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    alike = np.abs(np.subtract(few.convert("RGB"), full, dtype=np.int16)).max() <= 12
    small = io.BytesIO()
    (few if alike else full).save(small, "PNG", optimize=True)
    return small.getvalue()


def _source(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image_html(data: bytes, kind: str, alt: str, width: int | None = None) -> str:
    check_texts(alt=alt)
    size = f' width="{width}"' if width else ""
    fit = "max-width: 100%; height: auto"  # what has no style of its own would run off a narrow page
    return f'<img alt="{html.escape(alt)}"{size} style="{fit}" src="{_source(data, kind)}"/>'
