"""The README's result table, from the model cards of the shipped weights."""

from __future__ import annotations

from vidlib.weights import model_card, pretrained_names

FIGURES = {"mse": ("MSE ↓", 2), "mae": ("MAE ↓", 2), "ssim": ("SSIM ↑", 4),
           "ssim_published": ("SSIM as published ↑", 4), "psnr": ("PSNR ↑", 2)}  # fmt: skip


def table() -> str:
    """One row per shipped model, then both baselines; all on the clips that the line below names."""
    cards = {name: model_card(name) for name in pretrained_names()}
    tests = {card["test"] for card in cards.values()}
    if len(tests) != 1:
        raise ValueError(f"the cards are scored on {sorted(tests)}, expected one test set: publish them again.")
    titles = " | ".join(title for title, _ in FIGURES.values())
    lines = [f"| model | parameters | clips seen | {titles} |", "| --- " * (3 + len(FIGURES)) + "|"]
    for name, card in cards.items():
        lines.append(_row(name, f"{card['parameters']:,}", f"{card['clips_seen']:,}", card["metrics"]["model"]))
    for name in ("all-black", "copy-last"):
        lines.append(_row(name, "", "", next(iter(cards.values()))["metrics"][name]))
    lines += ["", f"Scored on {tests.pop()}. MSE and MAE are sums over the 4,096 pixels of a frame."]
    for name, card in cards.items():
        lines.append(
            f"[{name}](vidlib/pretrained/{name}.md): {card['hardware']}, {card['duration']}, "
            f"weights {card['weights_sha256'][:12]}."
        )
    return "\n".join(lines)


def _row(name: str, parameters: str, clips: str, metrics: dict[str, float]) -> str:
    figures = " | ".join(f"{metrics[key]:.{digits}f}" for key, (_, digits) in FIGURES.items())
    return f"| {name} | {parameters} | {clips} | {figures} |"


if __name__ == "__main__":
    print(table())
