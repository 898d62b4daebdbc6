"""How hard a model finds clips of slightly other rules: distance between clips isn't difficulty.

``python -m studies.rules`` scores the shipped transformer on the same digits and draws, flown by the official rule and
by three that are easy to take for it, and writes ``rules.md`` beside this file. Differences are paired clip by clip.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from studies.report import show, weights_hash
from vidlib.checks import check_choice
from vidlib.digits import load_digits
from vidlib.files import atomic_write
from vidlib.iterative import rollout
from vidlib.lab.cases import mirror
from vidlib.machine import use_threads
from vidlib.moving_mnist import FREE_RANGE, SPEED, TEST_SEED, MovingMNIST, Trajectories, step
from vidlib.video import float_batch
from vidlib.weights import load_pretrained

MODEL = "video-transformer"
RULES = {
    "official": "the rule",
    "rounding": "positions are rounded to whole pixels, not truncated",
    "mirror": "the overshoot at a wall is reflected, not lost",
    "no first step": "frame 1 shows the start itself",
}


class OtherRule(MovingMNIST):
    """The clips of a :class:`MovingMNIST`, from the same draws, by one of :data:`RULES`."""

    def __init__(self, rule: str, length: int, **settings) -> None:
        super().__init__(length, **settings)
        check_choice(RULES, rule=rule)
        self.rule = rule

    def trajectories(self, indices: Sequence[int] | range) -> Trajectories:
        which, x, y, turn = np.moveaxis(np.concatenate([self._draws(i, i + 1) for i in self._checked(indices)]), -1, 0)
        position = np.stack([x, y], axis=-1)
        velocity = SPEED * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=-1)
        path, hits = [position], [np.zeros(position.shape, bool)]
        for _ in range(self.frames):
            position, velocity, hit = (mirror if self.rule == "mirror" else step)(position, velocity)
            path.append(position)
            hits.append(hit)
        first = 0 if self.rule == "no first step" else 1
        path, hits = (np.stack(each[first : first + self.frames], axis=2) for each in (path, hits))
        corners = FREE_RANGE * path
        corners = (np.rint(corners) if self.rule == "rounding" else corners).astype(np.int64)
        return Trajectories((which * len(self.digits)).astype(np.int64), corners, hits.any(-1))

    def describe(self) -> str:
        return f"{super().describe()}; {RULES[self.rule]}"

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} {self.rule}"


def table(model: torch.nn.Module, clips: int, digits: str) -> str:
    """Markdown: each rule's distance to the official clips, the model's MSE per frame, and how much that is more.

    Args:
        model: predicts the second ten frames of a clip from the first.
        clips: how many, at least 2.
        digits: as in :func:`vidlib.digits.load_digits`, of the test split.
    """
    lines = [
        "| rule | distance to the official clips | MSE per frame | more than by the rule |",
        "| --- |" + " ---: |" * 3,
    ]
    drawn, official, exact = load_digits(digits, "test"), None, None
    for rule, meaning in RULES.items():
        video = float_batch(OtherRule(rule, clips, digits=drawn, seed=TEST_SEED), range(clips), 20)
        error = np.concatenate([_errors(model, part) for part in video.split(16)])  # (clips,)
        if exact is None:
            official, exact = video, error
            lines.append(f"| {rule}: {meaning} | | {error.mean():.1f} | |")
            continue
        distance = (video - official).square().sum((2, 3, 4)).mean()
        more = error - exact
        lines.append(
            f"| {rule}: {meaning} | {distance:.1f} | {error.mean():.1f} | "
            f"{more.mean():+.1f} ± {more.std(ddof=1) / len(more) ** 0.5:.1f} |"
        )
    return "\n".join(lines)


@torch.no_grad()
def _errors(model: torch.nn.Module, video: torch.Tensor) -> np.ndarray:
    return (rollout(model, video[:, :10], 10) - video[:, 10:]).square().sum((2, 3, 4)).mean(1).numpy()


def page(clips: int, digits: str, command: str) -> str:
    """What ``rules.md`` says."""
    return f"""# Difficulty by rule

The shipped `{MODEL}` (weights {weights_hash(MODEL)}), trained on clips of the official rule, on {clips:,} test clips:
the same digits and the same draws under each rule. Distance is the squared difference of all twenty frames to the
official clips, per frame; the last column is paired clip by clip, ± one standard error. A clip may lie far from the
official one and be as easy.

{table(load_pretrained(MODEL), clips, digits)}

Made by `{command}`.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.rules", description=__doc__)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--digits", default="mnist")
    options = parser.parse_args(arguments)
    use_threads()
    text = page(
        options.clips, options.digits, f"python -m studies.rules --clips {options.clips} --digits {options.digits}"
    )
    with atomic_write(Path(__file__).with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    show(text)


if __name__ == "__main__":
    main()
