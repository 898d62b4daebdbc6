"""A gallery of failures, found by search: where a model is worst, and at what.

Each kind of failure is a number for every clip, and the clip with the largest one is shown. What a digit is called is
read by the shipped digit network, where it truly is; where the prediction has it is the shift that fits it best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vidlib.checks import check_counts, kind_of
from vidlib.decomposition import REACH, repair_places
from vidlib.digits import SIZE
from vidlib.iterative import rollout
from vidlib.metrics import knows_its_digits, read_digits
from vidlib.moving_mnist import MovingMNIST, Trajectories, paste
from vidlib.video import check_model, device_of, float_batch, to_float

KINDS = ("worst error", "lost identity", "wrong bounce", "swapped digits")
_AT_ONCE = 16


@dataclass(frozen=True)
class Failure:
    """One clip on which a model fails.

    Attributes:
        kind: one of :data:`KINDS`.
        clip: its number.
        score: the number by which it was found; its meaning depends on the kind.
        digit: which of its digits, or ``None`` for the whole clip.
        says: what is seen, in one sentence made from the numbers.
        video: ``(past + horizon, 1, 64, 64)``, the clip.
        prediction: ``(horizon, 1, 64, 64)``, clipped.
        boxes: ``(horizon, 2)``, the digit's true upper left corner (x, y) in the predicted frames, or ``None``.
    """

    kind: str
    clip: int
    score: float
    digit: int | None
    says: str
    video: Tensor
    prediction: Tensor
    boxes: np.ndarray | None


@dataclass(frozen=True)
class Readings:
    """What was measured on some clips, for the search.

    Attributes:
        share: ``(clips,)``, the squared error as a share of an all-black prediction's.
        named, truly: ``(clips, n, horizon)``, what the digit network reads in prediction and truth, -1 for nothing.
        labels: ``(clips, n)``.
        off: ``(clips, n, horizon)``, pixels by which the predicted digit has to be moved to fit best.
        free: ``(clips, n, horizon)`` bool, whether no other digit's box shares more than a quarter of this one's area.
        bounced: ``(clips, n, horizon)`` bool.
    """

    share: np.ndarray
    named: np.ndarray
    truly: np.ndarray
    labels: np.ndarray
    off: np.ndarray
    free: np.ndarray
    bounced: np.ndarray


def find_failures(model: nn.Module, clips: MovingMNIST, count: int, horizon: int = 10) -> dict[str, Failure]:
    """The worst clip of each kind among the first ``count``: kind → :class:`Failure`; a kind that none shows is absent.

    - *worst error*: the largest squared error, as a share of what an all-black prediction would have, since bold digits
      cost more whatever a model does;
    - *lost identity*: a digit that is read rightly in the first predicted frame and in the fewest later ones in which
      the truth is;
    - *wrong bounce*: a digit that stands where it should before it hits a wall, and farthest from it afterwards;
    - *swapped digits*: the most frames in which a digit is read as the other one of its clip.

    Raises:
        ValueError: no model, or clips that don't know their digits' names and places.
    """
    check_model(model)
    if not knows_its_digits(clips):
        raise ValueError(f"clips is {kind_of(clips)}, expected a MovingMNIST of digits with names.")
    check_counts(count=count, highest=len(clips))
    found = read(model, clips, count, horizon)
    searched = {
        "worst error": _worst_error(found),
        "lost identity": _lost_identity(found),
        "wrong bounce": _wrong_bounce(found),
        "swapped digits": _swapped(found),
    }
    return {kind: _shown(kind, *best, model, clips, horizon) for kind, best in searched.items() if best and best[0] > 0}


@torch.no_grad()
def read(model: nn.Module, clips: MovingMNIST, count: int, horizon: int = 10) -> Readings:
    """Everything that the search looks at, for the first ``count`` clips."""
    past, parts = model.past, []
    for start in range(0, count, _AT_ONCE):
        indices = range(start, min(start + _AT_ONCE, count))
        video = float_batch(clips, indices, past + horizon)
        predicted = rollout(model, video[:, :past].to(device_of(model)), horizon).clamp(0, 1).cpu()
        truth = video[:, past:]
        flown = clips.trajectories(indices)
        corners = flown.positions[:, :, past : past + horizon]
        share = (predicted - truth).square().sum((1, 2, 3, 4)) / truth.square().sum((1, 2, 3, 4)).clamp_min(1e-9)
        apart = np.abs(corners[:, :, None] - corners[:, None])  # (B, n, n, T, 2)
        shared = (SIZE - apart).clip(0).prod(-1) > SIZE**2 / 4  # a digit's box with itself, always
        free = shared.sum(2) == 1
        parts.append(
            Readings(
                share.numpy(),
                read_digits(predicted, corners).numpy(),
                read_digits(truth, corners).numpy(),
                clips.digits.labels[flown.digits],
                _off(predicted[:, :, 0], truth[:, :, 0], clips, flown, slice(past, past + horizon)),
                free,
                flown.bounced[:, :, past : past + horizon],
            )
        )
    return Readings(*(np.concatenate([getattr(part, name) for part in parts]) for name in Readings.__annotations__))


def _off(predicted: Tensor, truth: Tensor, clips: MovingMNIST, flown: Trajectories, frames: slice) -> np.ndarray:
    """How far each predicted digit is from its place, in pixels: ``(B, n, T)``."""
    alone = []
    for k in range(flown.digits.shape[1]):
        one = Trajectories(*(np.ascontiguousarray(array[:, k : k + 1]) for array in flown))
        alone.append(to_float(paste(torch.from_numpy(clips.digits.images), one))[:, frames, 0])
    digits = torch.stack(alone, dim=2).flatten(0, 1)  # (B·T, n, H, W)
    shifts = repair_places(predicted.flatten(0, 1), truth.flatten(0, 1), digits, REACH).shifts  # (B·T, n, 2)
    return shifts.double().square().sum(-1).sqrt().view(*predicted.shape[:2], -1).movedim(-1, 1).numpy()


Found = tuple[float, int, int | None, str]  # score, clip, digit, sentence


def _worst_error(found: Readings) -> Found:
    clip = int(found.share.argmax())
    share = float(found.share[clip])
    return share, clip, None, f"its squared error is {share:.0%} of an all-black prediction's"


def _lost_identity(found: Readings) -> Found:
    label = found.labels[..., None]
    known = (found.truly == label) & found.free
    lost = known & (found.named != label)
    kept_first = (found.named[..., 0] == found.labels) & known[..., 0]
    score = lost[..., 1:].sum(-1) * kept_first  # (clips, n)
    clip, digit = np.unravel_index(score.argmax(), score.shape)
    frames = int(known[clip, digit, 1:].sum())
    others = found.named[clip, digit][lost[clip, digit]]
    taken = sorted({"nothing" if name < 0 else f"a {name}" for name in others})
    return (
        float(score[clip, digit]),
        int(clip),
        int(digit),
        (
            f"a {found.labels[clip, digit]} is read rightly in the first predicted frame and wrongly in "
            f"{score[clip, digit]} of {frames} later ones in which the truth is read rightly: {', '.join(taken)}"
        ),
    )


def _wrong_bounce(found: Readings) -> Found | None:
    best: Found | None = None
    for clip, digit, frame in zip(*np.nonzero(found.bounced), strict=True):
        before, after = found.off[clip, digit, :frame], found.off[clip, digit, frame : frame + 3]
        alone = found.free[clip, digit, max(0, frame - 2) : frame + 3]
        if not 2 <= frame <= found.off.shape[2] - 3 or not alone.all():
            continue
        score = float(after.mean() - before[-2:].mean())
        if best is None or score > best[0]:
            best = (
                score,
                int(clip),
                int(digit),
                (
                    f"a {found.labels[clip, digit]} hits a wall in predicted frame {frame + 1}; it is "
                    f"{before[-2:].mean():.1f} pixels from its place in the two frames before, and {after.mean():.1f} "
                    "in the three from there on"
                ),
            )
    return best


def _swapped(found: Readings) -> Found | None:
    if found.labels.shape[1] != 2:
        return None
    own, other = found.labels, found.labels[:, ::-1]
    taken = (found.named == other[..., None]) & (found.truly == own[..., None]) & found.free
    taken &= (own != other)[..., None]
    score = taken.sum((1, 2)) + 100.0 * taken.all(1).sum(1)  # both at once first
    clip = int(score.argmax())
    frames, both = taken[clip].sum(1), int(taken[clip].all(0).sum())
    digit = int(frames.argmax())
    return (
        float(score[clip]),
        clip,
        digit,
        (
            f"the {own[clip, digit]} is read as the clip's other digit, a {other[clip, digit]}, in {frames[digit]} "
            f"frames, and both are read as each other in {both}"
        ),
    )


def _shown(
    kind: str, score: float, clip: int, digit: int | None, says: str, model: nn.Module, clips: MovingMNIST, horizon: int
) -> Failure:
    past = model.past
    video = float_batch(clips, [clip], past + horizon)
    with torch.no_grad():
        prediction = rollout(model, video[:, :past].to(device_of(model)), horizon)[0].clamp(0, 1).cpu()
    corners = clips.trajectories([clip]).positions[0, :, past : past + horizon]
    return Failure(kind, clip, score, digit, says, video[0], prediction, None if digit is None else corners[digit])
