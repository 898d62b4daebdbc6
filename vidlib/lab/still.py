"""A case as a still picture, for whoever has neither a kernel nor JavaScript."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import nn

from vidlib.iterative import rollout
from vidlib.lab.cases import Case
from vidlib.video import device_of, to_float
from vidlib.viz.figures import film_strip

PAST, FUTURE = 10, 10


def still(case: Case, models: Mapping[str, nn.Module]) -> tuple[Figure, str]:
    """The past and what becomes of it, by the rule and by each model: a film strip, and its alt text.

    Args:
        case: from :func:`vidlib.lab.cases.read_case`.
        models: title → model that reads up to ten frames.
    """
    clip = to_float(case.clip(PAST + FUTURE))
    rows, starts = {"past": clip[0, :PAST], "truth": clip[0, PAST:]}, {"past": 1, "truth": PAST + 1}
    for title, model in models.items():
        predicted = rollout(model, clip[:, PAST - model.past : PAST].to(device_of(model)), FUTURE)
        rows[title], starts[title] = predicted[0].cpu(), PAST + 1
    known = [f"a {label}" if label >= 0 else "a drawn digit" for label in case.labels]
    alt = f"Ten past frames of {' and '.join(known)}, and the next ten: {', '.join(list(rows)[1:])}."
    return film_strip(rows, first_frame=starts, columns=10), alt
