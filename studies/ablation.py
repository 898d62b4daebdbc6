"""What matters: one thing changed at a time, every run with the same clips, steps and schedule.

``python -m studies.ablation convlstm`` trains the variants of a study one after another and rewrites the table
beside this file after each, once to read and once as CSV. What stands in the CSV for the same budget is not run again;
what was interrupted goes on from ``runs/ablation``.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from studies.report import show
from studies.variants import (
    LastFrame,
    ToLastFrame,
    TopDown,
    ladder_decoder,
    layer_norm,
    like,
    linear_decoder,
    no_rotation,
    normalised,
    plain_ends,
    residual_layers,
    separable,
    sigmoid,
    space_first,
    there_and_back,
    two_stages,
)
from vidlib import fit, recipes
from vidlib.digits import Digits, describe, load_digits
from vidlib.files import atomic_write, write_rows
from vidlib.history import read_history
from vidlib.machine import hardware, has_compiler
from vidlib.moving_mnist import MovingMNIST, validation_clips

EPOCHS = 4


@dataclass(frozen=True)
class Study:
    """A table: a model, a short training of it, and what is changed. The first variant is the base itself."""

    model: str
    clips: int
    base: dict
    variants: dict[str, dict | Callable[[nn.Module], nn.Module]]


STUDIES: dict[str, Study] = {
    "convlstm": Study(
        "convlstm",
        1920,
        {
            "patch": 8, "features": 96, "hidden": [96, 96], "kernel": 3, "shared": True, "layers": 0,
            "optimizer": "muon", "lr": 0.05, "batch_size": 8, "compile": False,
        },
        {
            "base: maps of 8×8, 2 layers of 96, 3×3": {},
            "Adam": {"optimizer": "adam", "lr": 4e-3},
            "the forecaster has cells of its own": {"shared": False},
            "maps of 16×16 (patch 4)": {"patch": 4},
            "maps of 4×4 (patch 16)": {"patch": 16},
            "5×5 filters": {"kernel": 5},
            "separable 5×5 filters over the state": separable,
            "1 layer of 138": {"hidden": [138]},
            "3 layers of 78": {"hidden": [78, 78, 78]},
            "2 layers of 64": {"hidden": [64, 64]},
            "2 layers of 128": {"hidden": [128, 128]},
            "moving layers: the last frame, cut in two": {"layers": 2},
            "skip: the forecaster reads the last frame": lambda model: like(model, LastFrame),
            "skip: each layer adds to the one below": residual_layers,
            "GroupNorm before every layer": normalised,
            "two stages from pixels to maps": two_stages,
            "no stem, 1×1 painter": plain_ends,
            "residual to the last frame": ToLastFrame,
            "a sigmoid at the end": sigmoid,
            "peepholes": {"peephole": True},
            "forget bias 0": {"forget_bias": 0.0},
            "no average of the weights": {"ema": 0.0},
            "learning rate halved": {"lr": 0.025},
            "learning rate doubled": {"lr": 0.1},
            "batches of 4": {"batch_size": 4},
            "batches of 16": {"batch_size": 16},
        },
    ),
    "convlstm-16x16": Study(
        "convlstm",
        4800,
        {"hidden": [48, 48], "features": 64, "kernel": 3, "patch": 4, "shared": False, "layers": 0,
         "optimizer": "adam", "lr": 1.5e-3, "batch_size": 4},
        {
            "base: 2 layers of 48, 3×3": {},
            "5×5 filters": {"kernel": 5},
            "1 layer of 80": {"hidden": [80]},
            "3 layers of 37": {"hidden": [37, 37, 37]},
            "peepholes": {"peephole": True},
            "forget bias 0": {"forget_bias": 0.0},
            "maps of 8×8 (patch 8)": {"patch": 8},
            "no stem, 1×1 painter": plain_ends,
            "forecaster from the top down": TopDown,
            "residual to the last frame": ToLastFrame,
            "no average of the weights": {"ema": 0.0},
            "AdamW, weight decay 0.01": {"optimizer": "adamw", "weight_decay": 0.01},
            "learning rate halved": {"lr": 7.5e-4},
            "learning rate doubled": {"lr": 3e-3},
            "batches of 8": {"batch_size": 8},
        },
    ),
    "video-transformer": Study(
        "video-transformer",
        3200,
        {"dim": 96, "heads": 3, "decoder": 128, "context": 4, "lr": 6e-3, "batch_size": 4},
        {
            "base: width 96, Muon, SwiGLU, context 4": {},
            "GELU": {"feed": "gelu"},
            "LayerNorm": layer_norm,
            "space before time": space_first,
            "time, space, space, time": there_and_back,
            "no rotary positions": no_rotation,
            "separate patches (no context)": {"context": 0},
            "decoder: Linear alone": linear_decoder,
            "decoder: ladder of three": ladder_decoder,
            "residual to the last frame": ToLastFrame,
            "width 64": {"dim": 64, "heads": 2},
            "width 128": {"dim": 128, "heads": 4},
            "AdamW": {"optimizer": "adamw", "lr": 1e-3},
            "learning rate halved": {"lr": 3e-3},
            "no average of the weights": {"ema": 0.0},
            "batches of 8": {"batch_size": 8},
        },
    ),
}  # fmt: skip


@dataclass
class Run:
    """One line of the table."""

    parameters: int
    validation_mse: float
    hardware: str


def read_runs(file: Path, clips: int, validated_on: int) -> dict[str, Run]:
    """The lines of :func:`write_runs` that had this budget."""
    if not file.exists():
        return {}
    with file.open(newline="", encoding="utf-8") as lines:
        return {
            row["variant"]: Run(int(row["parameters"]), float(row["validation_mse"]), row["hardware"])
            for row in csv.DictReader(lines)
            if (int(row["clips"]), int(row["validation_clips"])) == (clips, validated_on)
        }


def write_runs(runs: dict[str, Run], file: Path, clips: int, validated_on: int) -> None:
    """A CSV of the runs with their budget."""
    budget = {"clips": clips, "validation_clips": validated_on}
    write_rows(file, [{"variant": name} | budget | dataclasses.asdict(run) for name, run in runs.items()])


def variant(study: Study, name: str, clips: int, validated_on: int) -> tuple[recipes.Recipe, nn.Module]:
    """The recipe and the untrained model of one line of the table."""
    change = study.variants[name]
    budget = {"epochs": EPOCHS, "clips_per_epoch": clips // EPOCHS, "validation_clips": validated_on,
              "schedule": "onecycle"}  # fmt: skip
    changes = study.base | (change if isinstance(change, dict) else {}) | budget
    recipe = recipes.recipe(study.model, "full", **changes)
    with torch.random.fork_rng(devices=[]):  # what a change builds anew is drawn from the seed as well
        built = recipes.build(recipe)
        torch.manual_seed(recipe.seed)
        return recipe, change(built) if callable(change) else built


def run(
    title: str,
    clips: int,
    validated_on: int,
    out: Path,
    finished: dict[str, Run],
    digits: str = "auto",
    device: str | None = None,
) -> Iterator[dict[str, Run]]:
    """Train the variants that are not ``finished``; yields all after each, so that the table can grow."""
    study = STUDIES[title]
    for name in study.variants:
        if name in finished:
            continue
        folder = out / title / f"{clips}-{''.join(c if c.isalnum() else '-' for c in name)}"
        recipe, built = variant(study, name, clips, validated_on)
        parameters = sum(p.numel() for p in built.parameters())
        history, machine = folder / "history.csv", folder / "hardware.txt"
        if not history.exists() or len(read_history(history)) < EPOCHS:
            folder.mkdir(parents=True, exist_ok=True)
            machine.write_text(hardware(), encoding="utf-8")  # first: a finished history alone would lack it
            training = load_digits(digits, "train")
            fit(
                built,
                MovingMNIST(clips, digits=training, seed=recipe.seed),
                validation_clips(training.source, validated_on),
                out=folder,
                settings=recipe.settings(),
                device=device,
                compile=recipe.compile and has_compiler(device),
                resume=True,
            )
        mse = read_history(history)[-1]["validation_mse"]
        finished[name] = Run(parameters, mse, machine.read_text(encoding="utf-8"))
        yield {known: finished[known] for known in study.variants if known in finished}


def table(title: str, clips: int, validation_clips: int, digits: Digits, finished: dict[str, Run]) -> str:
    """Markdown: each variant's validation MSE, and how far it is from the base."""
    lines = [
        f"# {title}: one change at a time",
        "",
        f"Every run saw {clips:,} fresh clips once; {EPOCHS} epochs, one learning-rate cycle, seed 0. MSE per frame on "
        f"{validation_clips} validation clips, all the same. Short runs rank what is learned *soon*, and with one "
        "seed nobody knows how much two runs of the same variant differ: small differences say nothing, and what wins "
        "in a long run may be another.",
        "",
        "| variant | parameters | validation MSE | against the base |",
        "| --- | --- | --- | --- |",
    ]
    base = next(iter(finished.values())).validation_mse
    for name, done in finished.items():
        mse = done.validation_mse
        lines.append(f"| {name} | {done.parameters:,} | {mse:.2f} | {mse - base:+.2f} |")
    machines = "; ".join(dict.fromkeys(done.hardware for done in finished.values()))
    budget = f"--clips {clips} --validation-clips {validation_clips}"
    command = f"python -m studies.ablation {title} {budget} --digits {digits.source}"
    lines += ["", f"{describe(digits)}; {machines}; `{command}`.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--clips", type=int, help="training clips of each run, else as the study says")
    parser.add_argument("--validation-clips", type=int, default=256)
    parser.add_argument("--digits", default="auto")
    parser.add_argument("--device", default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="where the runs lie")
    options = parser.parse_args()
    file = Path(__file__).with_name(f"ablation-{options.study}.md")
    digits = load_digits(options.digits, "train")
    budget = options.clips or STUDIES[options.study].clips, options.validation_clips
    known = read_runs(file.with_suffix(".csv"), *budget)
    for finished in run(options.study, *budget, options.out, known, options.digits, options.device):
        write_runs(finished, file.with_suffix(".csv"), *budget)
        with atomic_write(file) as temporary:
            temporary.write_text(table(options.study, *budget, digits, finished), encoding="utf-8")
    show(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
