"""What matters: one setting changed at a time, every run with the same clips, steps and schedule.

``python -m benchmarks.ablation convlstm`` trains the variants one after another and rewrites the table beside this
file after each. Runs lie in ``runs/ablation``; what is finished is not run again, what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vidlib import recipes
from vidlib.files import atomic_write
from vidlib.training import read_history

# The first is the base with which the others share everything else.
VARIANTS: dict[str, dict[str, dict]] = {
    "convlstm": {
        "base: 2 layers of 48, 3×3": {},
        "5×5 filters": {"kernel": 5},
        "1 layer of 72": {"hidden": [72]},
        "3 layers of 37": {"hidden": [37, 37, 37]},
        "peepholes": {"peephole": True},
        "forget bias 0": {"forget_bias": 0.0},
        "maps of 8×8 (patch 8)": {"patch": 8},
        "no average of the weights": {"ema": 0.0},
        "AdamW, weight decay 0.01": {"optimizer": "adamw", "weight_decay": 0.01},
        "learning rate halved": {"lr": 7.5e-4},
        "learning rate doubled": {"lr": 3e-3},
        "batches of 2": {"batch_size": 2},
        "batches of 8": {"batch_size": 8},
    },
    "video-transformer": {
        "base: width 96, Muon, SwiGLU, context 4": {},
        "GELU": {"feed": "gelu"},
        "separate patches (no context)": {"context": 0},
        "AdamW": {"optimizer": "adamw", "lr": 1e-3},
        "3 layers": {"layers": 3},
        "learning rate halved": {"lr": 3e-3},
        "no average of the weights": {"ema": 0.0},
        "batches of 2": {"batch_size": 2},
        "batches of 8": {"batch_size": 8},
    },
}
BASES: dict[str, dict] = {
    "convlstm": {"hidden": [48, 48], "kernel": 3, "lr": 1.5e-3, "batch_size": 4},
    "video-transformer": {"dim": 96, "heads": 3, "decoder": 128, "context": 4, "lr": 6e-3, "batch_size": 4},
}
EPOCHS = 6


def variant(model: str, name: str, clips: int, validation_clips: int) -> recipes.Recipe:
    """The recipe of one line of the table."""
    budget = {"epochs": EPOCHS, "clips_per_epoch": clips // EPOCHS, "validation_clips": validation_clips}
    return recipes.recipe(model, "full", **(BASES[model] | VARIANTS[model][name] | budget))


def run(model: str, clips: int, validation_clips: int, out: Path, digits: str = "auto", device: str | None = None):
    """Train all variants; yields after each, so that the table can be written as it grows."""
    finished = {}
    for name in VARIANTS[model]:
        folder = out / model / f"{clips}-{name}".replace(" ", "-").replace("/", "-").replace(":", "").replace(",", "")
        recipe = variant(model, name, clips, validation_clips)
        history = folder / "history.csv"
        if not history.exists() or len(read_history(history)) < EPOCHS:
            recipes.train(recipe, folder, digits=digits, resume=True, device=device)
        facts = json.loads((folder / "run.json").read_text())
        parameters = sum(p.numel() for p in recipes.build(recipe).parameters())
        finished[name] = (parameters, read_history(history), facts["hardware"], facts["data"])
        yield finished


def table(model: str, clips: int, validation_clips: int, finished: dict) -> str:
    """Markdown: each variant's validation MSE, and how far it is from the base."""
    lines = [
        f"# {model}: one change at a time",
        "",
        f"Every run saw {clips:,} clips once; {EPOCHS} epochs, one learning-rate cycle, seed 0. MSE per frame on "
        f"{validation_clips} validation clips, all the same.",
        "",
        "| variant | parameters | validation MSE | against the base | clips/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    base = None
    for name, (parameters, history, _, _) in finished.items():
        mse = history[-1]["validation_mse"]
        base = mse if base is None else base
        rate = sum(row["clips_per_second"] for row in history) / len(history)
        lines.append(f"| {name} | {parameters:,} | {mse:.2f} | {mse - base:+.2f} | {rate:.1f} |")
    _, _, hardware, data = next(iter(finished.values()))
    lines += ["", f"{data}; {hardware}; `python -m benchmarks.ablation {model} --clips {clips}`. ", ""]
    lines[-2] = lines[-2].strip() + " Clips/s are of whichever else the machine did at the time."
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=VARIANTS)
    parser.add_argument("--clips", type=int, default=1440, help="training clips of each run")
    parser.add_argument("--validation-clips", type=int, default=128)
    parser.add_argument("--digits", default="auto")
    parser.add_argument("--device", default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="where the runs lie")
    options = parser.parse_args()
    file = Path(__file__).with_name(f"ablation-{options.model}.md")
    for finished in run(
        options.model, options.clips, options.validation_clips, options.out, options.digits, options.device
    ):
        with atomic_write(file) as temporary:
            temporary.write_text(table(options.model, options.clips, options.validation_clips, finished))
    print(file.read_text())


if __name__ == "__main__":
    main()
