"""Results on paper: the README's table, from the model cards of the shipped weights and the ideal observer's scores."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from vidlib.baselines import BESIDE_SCORES
from vidlib.files import atomic_write, print_anywhere
from vidlib.metrics import TITLES
from vidlib.weights import model_card, pretrained_names

SHORT = {  # titles that leave the table within the column of a page; what they leave out stands below it
    "ssim": "SSIM ↑",
    "ssim_published": "SSIM 2 ↑",
    "sharpness": "sharpness",
    "identity": "digits ↑",
}
START, END = "<!-- results: `python -m benchmarks.results README.md` -->", "<!-- end of results -->"

# Made by `python -m vidlib score ideal-observer --clips 10000 --digits mnist --json` and this file's path.
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
    known = set.intersection(*map(set, scores.values()))  # what only some have stands on their cards
    columns = {key: (SHORT.get(key, title), digits) for key, (title, digits) in TITLES.items() if key in known}
    lines = [f"| model | {' | '.join(title for title, _ in columns.values())} |", "| --- " * (1 + len(columns)) + "|"]
    for name, metrics in (scores | baselines).items():
        figures = [f"{metrics[key]:.{digits}f}" if key in metrics else "–" for key, (_, digits) in columns.items()]
        lines.append(f"| {' | '.join([name, *figures])} |")
    told = [f"Scored on {test}.", *_explained(columns)]
    if "ideal-observer" in baselines:
        told.append("The ideal observer's MSE is what nobody could know.")
    lines += ["", " ".join(told), *_worse_than_nothing(scores, baselines)]
    lines += ["", "<details><summary>How each was trained and scored</summary>", ""]
    for name, card in cards.items():
        lines.append(
            f"- [{name}](vidlib/pretrained/{name}.md): {card['parameters']:,} parameters, {card['clips_seen']:,} clips "
            f"seen, {card['hardware']}, {card['duration']}, weights {card['weights_sha256'][:12]}, "
            f"`{card['scored_with']}`."
        )
    return "\n".join([*lines, "", "</details>"])


def _explained(columns: Iterable[str]) -> list[str]:
    """What the short titles leave out."""
    told = {
        "mse": "MSE and MAE are sums over the 4,096 pixels of a frame.",
        "ssim": "SSIM has the data range 1, which is right for frames in [0, 1].",
        "ssim_published": "SSIM 2 has the range 2 of the published tables.",
        "sharpness": "A sharpness of 1 is that of the truth.",
        "identity": "Digits: the share that a small network still recognises where they truly are.",
    }
    return [sentence for key, sentence in told.items() if key in columns]


def _worse_than_nothing(scores: dict[str, dict], baselines: dict[str, dict]) -> list[str]:
    """A sentence for every metric by which some model loses to an empty page."""
    empty, lines = baselines["all-black"], []
    for key in empty:
        title, digits = TITLES[key][0], TITLES[key][1]
        sign = {"↑": 1, "↓": -1}.get(title[-1])
        behind = [name for name, own in scores.items() if sign and key in own and sign * (own[key] - empty[key]) < 0]
        if behind:
            told = ", ".join(f"{name} {scores[name][key]:.{digits}f}" for name in behind)
            lines += [
                "",
                f"**By {SHORT.get(key, title)[:-2]} an all-black page, {empty[key]:.{digits}f}, is ahead of {told}:** "
                "most of a frame is black, and a metric that rewards black says little of the digits. Read the columns "
                "together.",
            ]
    return lines


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
