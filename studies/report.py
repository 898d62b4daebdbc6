"""What a study leaves behind: a page and its picture beside the script."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from vidlib.files import atomic_write, print_anywhere
from vidlib.weights import model_card


def weights_hash(name: str) -> str:
    """How the SHA-256 of a shipped model's weights begins: what a study found is true of these."""
    return model_card(name)["weights_sha256"][:12]


def report(study: str | Path, text: str, figure: Figure, alt: str) -> None:
    """Write a study's page with its figure, beside its script and named like it; then show the page on screen."""
    file = Path(study)
    text += f"\n![{alt}]({file.stem}.png)\n"
    with atomic_write(file.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic_write(file.with_suffix(".png")) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    show(text)


def show(text: str) -> None:
    """Print a page, on any terminal."""
    print_anywhere()
    print(text)
