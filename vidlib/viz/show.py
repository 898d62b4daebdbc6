"""What a notebook displays: figures and GIFs as HTML images with an alt text."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from vidlib.checks import check_kind, check_path, check_texts
from vidlib.viz.style import DPI


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alt text in a notebook, and close it.

    The output is an HTML image: JupyterLab 4 and nbconvert drop the ``alt`` of plain ``image/png`` outputs.

    Raises:
        ValueError: no figure, or no alt text.
    """
    check_kind(Figure, "a matplotlib figure", figure=figure)
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
    _display(_image_html(data, "gif", alt), alt)


def _display(image: str, alt: str) -> None:
    from IPython.display import display

    display({"text/html": image, "text/plain": alt}, metadata={"text/html": {"alt": alt}}, raw=True)


def figure_html(figure: Figure, alt: str) -> str:
    return _image_html(png(figure), "png", alt, width=round(figure.get_figwidth() * 96))


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()


def _image_html(data: bytes, kind: str, alt: str, width: int | None = None) -> str:
    check_texts(alt=alt)
    size = f' width="{width}"' if width else ""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{html.escape(alt)}"{size} src="{source}"/>'
