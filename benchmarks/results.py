"""Results on paper: the README's table, from the model cards of the shipped weights and the ideal observer's scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vidlib.baselines import BESIDE_SCORES
from vidlib.files import atomic_write, print_anywhere
from vidlib.metrics import TITLES
from vidlib.weights import model_card, pretrained_names

START, END = "<!-- results: `python -m benchmarks.results README.md` -->", "<!-- end of results -->"

# Made by `python -m vidlib score ideal-observer --clips 10000 --digits mnist --json benchmarks/ideal-observer.json`.
FLOOR = Path(__file__).with_name("ideal-observer.json")


def table() -> str:
    """One table for each set of test clips, since scores of different clips never stand in one: models, baselines."""
    by_test: dict[str, dict[str, dict]] = {}
    for name in pretrained_names():
        card = model_card(name)
        by_test.setdefault(card["test"], {})[name] = card
    return "\n\n".join(_table(test, cards) for test, cards in by_test.items())


def _table(test: str, cards: dict[str, dict]) -> str:
    scores = {name: card["metrics"]["model"] for name, card in cards.items()}
    baselines = {name: next(iter(cards.values()))["metrics"][name] for name in BESIDE_SCORES}
    floor = json.loads(FLOOR.read_text(encoding="utf-8"))["ideal-observer"]
    if floor["data"] == test:  # what nobody could know of these clips
        baselines["ideal-observer"] = floor["overall"]
    known = {key for metrics in scores.values() for key in metrics}
    columns = {key: column for key, column in TITLES.items() if key in known}
    titles = " | ".join(title for title, _ in columns.values())
    lines = [f"| model | parameters | clips seen | {titles} |", "| --- " * (3 + len(columns)) + "|"]
    for name, metrics in (scores | baselines).items():
        card = cards.get(name)
        counts = [f"{card['parameters']:,}", f"{card['clips_seen']:,}"] if card else ["", ""]
        figures = [f"{metrics[key]:.{digits}f}" if key in metrics else "–" for key, (_, digits) in columns.items()]
        lines.append(f"| {' | '.join([name, *counts, *figures])} |")
    lines += ["", f"Scored on {test}. MSE and MAE are sums over the 4,096 pixels of a frame."]
    if "ideal-observer" in baselines:
        lines[-1] += " The ideal observer's MSE is what nobody could know from the pixels of ten frames."
    for name, card in cards.items():
        lines.append(
            f"[{name}](vidlib/pretrained/{name}.md): {card['hardware']}, {card['duration']}, "
            f"weights {card['weights_sha256'][:12]}, `{card['scored_with']}`."
        )
    return "\n".join(lines)


def check_marks(file: Path, start: str = START, end: str = END) -> tuple[str, str]:
    """What stands before and after two marks of a Markdown file; a ValueError where they are missing."""
    before, found_start, rest = file.read_text(encoding="utf-8").partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise ValueError(f"{file} has no lines {start!r} and {end!r}: add them where the text belongs.")
    return before, after


def write(file: Path, text: str, start: str = START, end: str = END) -> None:
    """Put a text between two marks of a Markdown file."""
    before, after = check_marks(file, start, end)
    with atomic_write(file) as temporary:
        temporary.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]), table())
    else:
        print_anywhere()
        print(table())
