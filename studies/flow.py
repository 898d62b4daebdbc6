"""What moving hidden states buy per clip: the flow-equivariant ConvLSTM beside plain ones, with several seeds.

``python -m studies.flow`` trains each model on the same clips, once for each seed, and rewrites ``flow.csv`` and
``flow.md`` beside this file after every run. What stands in the CSV is not run again.

Three models: the ``flow-convlstm`` of the laptop profile; itself without velocities (``reach=0``), which is a plain
ConvLSTM with the same weights; and the ``convlstm`` of the laptop profile, which is larger.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from studies.report import show
from vidlib import recipes
from vidlib.files import atomic_write, write_rows
from vidlib.machine import hardware, use_threads
from vidlib.runs import train

MODELS = {
    "flow-convlstm, 9 velocities": ("flow-convlstm", {}),
    "flow-convlstm, no velocity": ("flow-convlstm", {"reach": 0}),
    "convlstm": ("convlstm", {}),
}
EPOCHS, CLIPS = 3, 160
SEEDS = (0, 1, 2)


def run(name: str, seed: int, digits: str, **changes: int) -> list[dict[str, float | str]]:
    """One training: a row for each epoch."""
    architecture, own = MODELS[name]
    recipe = recipes.recipe(architecture, "laptop", **{"seed": seed, "epochs": EPOCHS, "clips_per_epoch": CLIPS,
                                                       **own, **changes})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model, history = train(recipe, folder, digits=digits, device="cpu", progress=False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return [
        {"model": name, "parameters": parameters, "seed": seed, "clips": row["clips"],
         "validation_mse": round(row["validation_mse"], 2), "seconds": round(row["seconds"], 1)}
        for row in history
    ]  # fmt: skip


def table(rows: Sequence[Mapping[str, float | str]]) -> str:
    """Markdown: the validation MSE per frame by the clips seen, mean and range over the seeds."""
    seen = sorted({int(row["clips"]) for row in rows})
    lines = [
        "| model | parameters | " + " | ".join(f"{clips:,} clips" for clips in seen) + " | seconds per clip |",
        "| --- |" + " ---: |" * (len(seen) + 2),
    ]
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        cells = []
        for clips in seen:
            found = [float(row["validation_mse"]) for row in own if int(row["clips"]) == clips]
            cells.append(f"{np.mean(found):.1f} ({min(found):.1f}–{max(found):.1f})" if found else "")
        last = max(int(row["clips"]) for row in own)
        seeds = len({row["seed"] for row in own})
        pace = sum(float(row["seconds"]) for row in own) / (seeds * last)
        lines.append(f"| {name} | {int(own[0]['parameters']):,} | {' | '.join(cells)} | {pace:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--digits", default="mnist")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    use_threads(chosen.threads)
    file = Path(__file__).with_suffix(".csv")
    rows: list = list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []
    done = {(row["model"], int(row["seed"])) for row in rows}
    for seed in SEEDS:
        for name in MODELS:
            if (name, seed) in done:
                continue
            started = time.perf_counter()
            rows += run(name, seed, chosen.digits)
            print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
            write_rows(file, rows)
            text = (
                f"# What moving hidden states buy per clip\n\nValidation MSE per frame on 64 clips of held-out digits "
                f"after so many training clips, mean (lowest–highest) over {len({r['seed'] for r in rows})} seeds. "
                f"Recipes of the laptop profile, {EPOCHS} epochs of {CLIPS} clips; the same clips for all models of a "
                f"seed. Seconds per clip are of one thread ({hardware()}), which others used too.\n\n"
                f"{table(rows)}\n\nMade by `python -m studies.flow --digits {chosen.digits}`.\n"
            )
            with atomic_write(file.with_suffix(".md")) as temporary:
                temporary.write_text(text, encoding="utf-8")
    show(file.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
