"""Iterative prediction, measured: chunk sizes to a horizon of 50 frames, and training through own predictions.

``python -m studies.iterative`` scores and writes ``iterative.md`` and ``iterative.png`` beside this file. Two
fine-tunings of the shipped transformer take the same number of passes through it: one on true frames only, one in
which a second pass reads the prediction of the first and its error flows back through both. They lie in
``runs/iterative``, in a folder for the weights that they start from; what is finished is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from studies.report import report, weights_hash
from vidlib import evaluate, fit
from vidlib.baselines import BASELINES
from vidlib.digits import load_digits
from vidlib.machine import hardware
from vidlib.metrics import TITLES, Scores
from vidlib.moving_mnist import TEST_SEED, MovingMNIST
from vidlib.weights import load_model, load_pretrained, save_model

START = "video-transformer"
CHUNKS = (1, 2, 5, 10)
HORIZON = 50
REPORTED = (10, 20, 50)
SEED = 2000


class Unrolled(nn.Module):
    """A model that reads its own prediction: ``passes`` times as many frames, with the gradient through all passes.

    Args:
        model: one whose ``horizon`` equals its ``past``.
        passes: how often it is called.
    """

    def __init__(self, model: nn.Module, passes: int = 2) -> None:
        super().__init__()
        if model.horizon != model.past:
            raise ValueError(f"horizon is {model.horizon} and past {model.past}, expected the same.")
        self.model, self.passes, self.past, self.horizon = model, passes, model.past, passes * model.horizon

    def forward(self, past: Tensor) -> Tensor:
        """``(B, past, C, H, W)`` to ``(B, passes·horizon, C, H, W)``."""
        frames = []
        for _ in range(self.passes):
            frames.append(self.model(past))
            past = frames[-1].clamp(0, 1)  # as rollout feeds it back
        return torch.cat(frames, dim=1)


def fine_tuned(passes: int, model_passes: int, out: Path, digits: str) -> nn.Module:
    """The shipped model after so many more passes per epoch, each step through ``passes`` of them."""
    file = out / f"{model_passes}-{passes}.safetensors"
    if not file.exists():
        model = load_pretrained(START)
        frames = model.past + passes * model.horizon
        clips = {
            split: MovingMNIST(length, digits=load_digits(digits, split), seed=SEED, frames=frames)
            for split, length in (("train", model_passes // passes), ("validation", 64))
        }
        fit(
            Unrolled(model, passes), clips["train"], clips["validation"], out=out / f"{model_passes}-{passes}",
            epochs=1, batch_size=8 // passes, lr=5e-4, optimizer="muon", weight_decay=0.01, resume=True,
        )  # fmt: skip
        save_model(model, file)
    return load_model(file)


def rows(model_passes: int, clips: int, out: Path, digits: str) -> dict[str, Scores]:
    """Scores to the full horizon by name: chunks of the weights before, then both fine-tunings in whole predictions."""
    before = load_pretrained(START)
    test = MovingMNIST(clips, digits=load_digits(digits, "test"), seed=TEST_SEED, frames=before.past + HORIZON)
    models = {f"before, chunk {chunk}": (before, chunk) for chunk in CHUNKS}
    models["fine-tuned on true frames, chunk 10"] = fine_tuned(1, model_passes, out, digits), 10
    models["fine-tuned through its own predictions, chunk 10"] = fine_tuned(2, model_passes, out, digits), 10
    models["all-black"] = BASELINES["all-black"](), None
    return {name: evaluate(model, test, horizon=HORIZON, chunk=chunk) for name, (model, chunk) in models.items()}


def table(scores: dict[str, Scores], model_passes: int, command: str) -> str:
    """Markdown: MSE and sharpness over the first 10, 20 and 50 frames."""
    heads = [f"{what}, {n} frames" for what in ("MSE", "sharpness") for n in REPORTED]
    lines = [
        "# Iterative prediction",
        "",
        f"Means over the first 10, 20 and {HORIZON} predicted frames. Before: `{START}`, weights "
        f"{weights_hash(START)}. It was trained to predict 10; what lies beyond rests on its own predictions. "
        f"Fine-tuned: after {model_passes:,} more passes each, on fresh clips.",
        "",
        f"| | {' | '.join(heads)} |",
        "| --- " * (1 + len(heads)) + "|",
    ]
    for name, score in scores.items():
        figures = [f"{np.mean(score.per_frame['mse'][:n]):.1f}" for n in REPORTED]
        figures += [f"{np.mean(score.per_frame['sharpness'][:n]):.2f}" for n in REPORTED]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    lines += ["", f"{next(iter(scores.values())).data}; {hardware()}; `{command}`.", ""]
    return "\n".join(lines)


def figure(scores: dict[str, Scores]):
    """MSE and sharpness by frame."""
    drawn, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for ax, (metric, title) in zip(
        axes, (("mse", "MSE per frame"), ("sharpness", TITLES["sharpness"][0])), strict=True
    ):
        for name, score in scores.items():
            ax.plot(range(11, 11 + HORIZON), score.per_frame[metric], label=name)
        ax.set(title=title, xlabel="frame")
    axes[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=4000, help="passes of each fine-tuning through the model")
    parser.add_argument("--clips", type=int, default=500, help="test clips")
    parser.add_argument("--digits", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/iterative"), help="where the runs lie")
    options = parser.parse_args()
    out = options.out / weights_hash(START)
    out.mkdir(parents=True, exist_ok=True)
    scores = rows(options.passes, options.clips, out, options.digits)
    source = load_digits(options.digits, "test").source
    command = f"python -m studies.iterative --passes {options.passes} --clips {options.clips} --digits {source}"
    text = table(scores, options.passes, command)
    alt = "MSE per frame and sharpness of frames 11 to 60, one line per chunk size, fine-tuning and baseline."
    report(__file__, text, figure(scores), alt)


if __name__ == "__main__":
    main()
