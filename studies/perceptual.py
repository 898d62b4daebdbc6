"""What the perceptual loss buys and costs: one fine-tuning of the shipped transformer with several weights λ.

``python -m studies.perceptual --vgg-weights FILE`` fine-tunes, scores and writes ``perceptual.md`` and
``perceptual.png`` beside this file. All runs see the same fresh clips in the same order, with the same steps and
learning rates; λ = 0 is the control. Runs lie in ``runs/perceptual``, in a folder for the weights that they start
from; what is finished is not run again.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import Tensor, nn

from benchmarks.steps import Step, as_trained, take_turns
from studies.report import report, weights_hash
from vidlib import recipes, runs, viz
from vidlib.digits import load_digits
from vidlib.history import read_history
from vidlib.machine import hardware
from vidlib.metrics import TITLES, Scores, evaluate
from vidlib.moving_mnist import test_clips, validation_clips
from vidlib.perceptual import PerceptualLoss, PerceptualMSE
from vidlib.video import float_batch
from vidlib.weights import load_model, load_pretrained

START = "video-transformer"
# How heavy the perceptual term is at the start beside the MSE: λ of two backbones can't be compared, this can.
SHARES = {"vgg19": (0.25, 1, 4, 16, 64), "digits": (1, 4, 16)}
SHOWN = ("mse", "mae", "ssim", "ssim_published", "sharpness")
BATCH = 8
LR = 5e-4  # small: larger steps undo what the last decay of the learning rate has won
MSE_ALLOWED = 1.1
RULE = (
    f"Shipped is, of the vgg19 runs whose validation MSE is at most {MSE_ALLOWED} times the control's, the one with "
    "the smallest VGG19 distance on validation clips."
)


@dataclass
class Row:
    """One fine-tuning, or the weights that all of them start from."""

    backbone: str
    share: float
    weight: float
    validation: dict[str, float]
    test: Scores
    distances: dict[str, float]  # on test clips, by backbone


def recipe(clips: int, weight: float, backbone: str) -> recipes.Recipe:
    """One epoch, so that no run is chosen among its own epochs by MSE."""
    budget = {"epochs": 1, "clips_per_epoch": clips, "batch_size": BATCH, "lr": LR, "schedule": "onecycle",
              "validation_clips": 256}  # fmt: skip
    return recipes.recipe(
        "video-transformer", "full", **load_pretrained(START).config, **budget,
        start=START, seed=1000, perceptual=weight, backbone=backbone,
    )  # fmt: skip


def weights(losses: dict[str, PerceptualLoss], clips) -> dict[tuple[str, float], float]:
    """λ for each share, from the shipped model's errors on validation clips, to two digits."""
    prediction, truth = _predict(load_pretrained(START), clips)
    mse = F.mse_loss(prediction, truth).item()
    return {
        (name, share): float(f"{share * mse / loss(prediction, truth).item():.2g}")
        for name, loss in losses.items()
        for share in SHARES[name]
    }


def seconds_per_step(losses: dict[str, PerceptualLoss]) -> dict[str, float]:
    """A training step with MSE alone (``""``) and with each loss beside it; they take turns on the same machine."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    model = load_pretrained(START)
    whole = {"": F.mse_loss} | {name: PerceptualMSE(1.0, loss) for name, loss in losses.items()}
    steps = [Step(as_trained(START, device), model, BATCH, device, loss) for loss in whole.values()]
    by_loss = zip(*take_turns(steps, device), strict=True)
    return {name: statistics.median(taken) for name, taken in zip(whole, by_loss, strict=True)}


def run(
    losses: dict[str, PerceptualLoss], clips: int, tested_on: int, out: Path, digits: str, vgg_weights: str | None
) -> list[Row]:
    """Score the weights before, then fine-tune and score every row; the control first."""
    validation = validation_clips(digits, 256)
    test = test_clips(digits, tested_on)

    def scored(model: nn.Module, backbone: str, share: float, weight: float, **known: float) -> Row:
        on_test = _predict(model, test, 256)
        distances = {name: loss(*on_test).item() for name, loss in losses.items()}
        return Row(backbone, share, weight, known, evaluate(model, test), distances)

    rows = [scored(load_pretrained(START), "", 0, 0.0)]
    for (backbone, share), weight in {("vgg19", 0.0): 0.0, **weights(losses, validation)}.items():
        folder = out / f"{clips}-{backbone}-{share:g}"
        if not (folder / "model.safetensors").exists():
            file = vgg_weights if backbone == "vgg19" else None
            runs.train(recipe(clips, weight, backbone), folder, digits=digits, vgg_weights=file, resume=True)
        model = load_model(folder / "model.safetensors")
        (row,) = read_history(folder / "history.csv")
        distance = losses["vgg19"](*_predict(model, validation)).item()
        rows.append(scored(model, backbone, share, weight, mse=row["validation_mse"], vgg19=distance))
    return rows


def chosen(rows: list[Row]) -> Row:
    """By :data:`RULE`."""
    _, control, *others = rows
    fitting = [
        row
        for row in others
        if row.backbone == "vgg19" and row.validation["mse"] <= MSE_ALLOWED * control.validation["mse"]
    ]
    return min(fitting or [control], key=lambda row: row.validation["vgg19"])


def table(rows: list[Row], seconds: dict[str, float], clips: int, command: str) -> str:
    """Markdown; ``seconds`` as :func:`seconds_per_step` returns them."""
    lines = [
        "# What the perceptual loss buys and costs",
        "",
        f"`{START}` with the weights {weights_hash(START)} after {clips:,} more clips with MSE + λ · perceptual; "
        "all runs see the same clips. "
        "*Share*: how heavy the second term was at the start, beside an MSE of 1. The distances are those of the two "
        "backbones' features (256 test clips); each loss lowers its own, the other one is the independent judge. "
        f"Seconds per step: batches of {BATCH}, the losses in turns.",
        "",
        f"| backbone | share | λ | {' | '.join(TITLES[key][0] for key in SHOWN)} "
        "| VGG19 distance ↓ | digit distance ↓ | seconds per step |",
        "| --- " * 11 + "|",
    ]
    before, control, *tuned = rows
    step = {backbone: f"{taken:.2f}" for backbone, taken in seconds.items()}
    named = [("none (before)", before, "–"), ("none (control)", control, step[""])]
    named += [(row.backbone, row, step[row.backbone]) for row in tuned]
    for name, row, taken in named:
        figures = [f"{row.test.overall[key]:.{TITLES[key][1]}f}" for key in SHOWN]
        lines.append(
            f"| {name} | {row.share:g} | {row.weight:g} | {' | '.join(figures)} | "
            f"{row.distances['vgg19']:.4f} | {row.distances['digits']:.4f} | {taken} |"
        )
    best = chosen(rows)
    lines += [
        "",
        f"{RULE} That is λ = {best.weight:g}.",
        "",
        f"{rows[0].test.data}; {hardware()}; `{command}`.",
    ]
    return "\n".join([*lines, ""])


def figure(rows: list[Row]):
    """MSE, sharpness and both distances against the share."""
    _, control, *others = rows
    panels = {
        "MSE per frame": lambda row: row.test.overall["mse"],
        TITLES["sharpness"][0]: lambda row: row.test.overall["sharpness"],
        "VGG19 distance": lambda row: row.distances["vgg19"],
        "digit-network distance": lambda row: row.distances["digits"],
    }
    drawn, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for ax, (title, read) in zip(axes.flat, panels.items(), strict=True):
        for name, color in zip(SHARES, (viz.BLUE, viz.VERMILION), strict=True):
            line = [row for row in others if row.backbone == name]
            ax.plot([r.share for r in line], [read(r) for r in line], marker="o", color=color, label=name)
        ax.axhline(read(control), color="#999999", linestyle="--", label="control")
        ax.set_xscale("log", base=4)
        ax.set(title=title, xlabel="share of the perceptual term at the start")
    axes.flat[0].legend(frameon=False)
    return drawn


def _predict(model: nn.Module, clips, count: int = 64) -> tuple[Tensor, Tensor]:
    """Prediction and truth of the first clips."""
    video = float_batch(clips, range(min(count, len(clips))), model.past + model.horizon, torch.device("cpu"))
    with torch.inference_mode():
        parts = [model(part) for part in video[:, : model.past].split(16)]
    return torch.cat(parts), video[:, model.past :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vgg-weights", help="file of VGG19 filters; else torchvision downloads them")
    parser.add_argument("--clips", type=int, default=4000, help="training clips of each run")
    parser.add_argument("--test-clips", type=int, default=1000)
    parser.add_argument("--digits", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/perceptual"), help="where the runs lie")
    options = parser.parse_args()
    losses = {"vgg19": PerceptualLoss("vgg19", options.vgg_weights), "digits": PerceptualLoss("digits")}
    out = options.out / weights_hash(START)
    rows = run(losses, options.clips, options.test_clips, out, options.digits, options.vgg_weights)
    source = load_digits(options.digits, "test").source
    budget = f"--clips {options.clips} --test-clips {options.test_clips}"
    command = f"python -m studies.perceptual {budget} --digits {source}"
    text = table(rows, seconds_per_step(losses), options.clips, command)
    alt = "MSE, sharpness and both distances against the share of the perceptual term, one line per backbone."
    report(__file__, text, figure(rows), alt)


if __name__ == "__main__":
    main()
