"""Results on paper: the README's table, from the model cards of the shipped weights, and the reports of studies."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from vidlib.files import atomic_write
from vidlib.weights import model_card, pretrained_names

START, END = "<!-- results: `python -m benchmarks.results README.md` -->", "<!-- end of results -->"
FIGURES = {"mse": ("MSE ↓", 2), "mae": ("MAE ↓", 2), "ssim": ("SSIM ↑", 4),
           "ssim_published": ("SSIM as published ↑", 4), "psnr": ("PSNR ↑", 2),
           "sharpness": ("sharpness (truth = 1)", 2)}  # fmt: skip


def table() -> str:
    """One table for each set of test clips, since scores of different clips never stand in one: models, baselines."""
    by_test: dict[str, dict[str, dict]] = {}
    for name in pretrained_names():
        card = model_card(name)
        by_test.setdefault(card["test"], {})[name] = card
    return "\n\n".join(_table(test, cards) for test, cards in by_test.items())


def _table(test: str, cards: dict[str, dict]) -> str:
    titles = " | ".join(title for title, _ in FIGURES.values())
    lines = [f"| model | parameters | clips seen | {titles} |", "| --- " * (3 + len(FIGURES)) + "|"]
    for name, card in cards.items():
        lines.append(_row(name, f"{card['parameters']:,}", f"{card['clips_seen']:,}", card["metrics"]["model"]))
    for name in ("all-black", "copy-last"):
        lines.append(_row(name, "", "", next(iter(cards.values()))["metrics"][name]))
    lines += ["", f"Scored on {test}. MSE and MAE are sums over the 4,096 pixels of a frame."]
    for name, card in cards.items():
        lines.append(
            f"[{name}](vidlib/pretrained/{name}.md): {card['hardware']}, {card['duration']}, "
            f"weights {card['weights_sha256'][:12]}, `{card['scored_with']}`."
        )
    return "\n".join(lines)


def _row(name: str, parameters: str, clips: str, metrics: dict[str, float]) -> str:
    figures = " | ".join(f"{metrics[key]:.{digits}f}" for key, (_, digits) in FIGURES.items())
    return f"| {name} | {parameters} | {clips} | {figures} |"


def report(study: str, text: str, figure: Figure, alt: str) -> None:
    """A study's page with its figure, beside its script and named like it; the page also on screen."""
    file = Path(study)
    text += f"\n![{alt}]({file.stem}.png)\n"
    with atomic_write(file.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic_write(file.with_suffix(".png")) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    print(text)


def write(file: Path, text: str, start: str = START, end: str = END) -> None:
    """Put a text between two marks of a Markdown file."""
    before, found_start, rest = file.read_text(encoding="utf-8").partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise ValueError(f"{file} has no lines {start!r} and {end!r}: add them where the text belongs.")
    with atomic_write(file) as temporary:
        temporary.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]), table())
    else:
        print(table())
