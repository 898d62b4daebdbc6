"""Answers to the exercises of notebook 4; see :mod:`exercise_cases.data_cases`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from vidlib.decomposition import best_shifts, parts_of
from vidlib.exercises.comparison_lessons import metric_for, overtakers
from vidlib.metrics import ssim_per_frame

PREDFORMER = "PredFormer TSST, 6 layers, patch 8"


def interval_by_percentiles(errors, others, drawn):
    means = np.take(errors - others, drawn).mean(-1)
    return tuple(np.percentile(means, (2.5, 97.5)))


def interval_by_counts(errors, others, drawn):
    often = (drawn[:, None, :] == np.arange(len(errors))[:, None]).sum(-1)  # (draws, clips), as the package draws
    means = often @ (errors - others) / len(errors)
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


def interval_by_standard_error(errors, others, drawn):
    differences = errors - others
    around = 1.96 * differences.std() / np.sqrt(len(differences))
    return differences.mean() - around, differences.mean() + around


def interval_of_one(errors, others, drawn):
    return tuple(np.quantile(errors[drawn].mean(1), [0.025, 0.975]))


def interval_of_medians(errors, others, drawn):
    return tuple(np.quantile(np.median((errors - others)[drawn], axis=1), [0.025, 0.975]))


def interval_across_draws(errors, others, drawn):
    return tuple(np.quantile((errors - others)[drawn].mean(0), [0.025, 0.975]))


def ssim_by_package(x, y, data_range):
    x, y = (torch.from_numpy(each)[None, None, None] for each in (x, y))
    return ssim_per_frame(x, y, data_range).item()


def ssim_in_one_line(x, y, data_range):
    (vx, c), (_, vy) = np.cov(x.ravel(), y.ravel())
    c1, c2 = 1e-4 * data_range**2, 9e-4 * data_range**2
    mx, my = x.mean(), y.mean()
    return (2 * mx * my + c1) * (2 * c + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def ssim_of_deviations(x, y, data_range):
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    c = ((x - x.mean()) * (y - y.mean())).sum() / 48
    light = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
    return light * (2 * c + c2) / (x.std(ddof=1) + y.std(ddof=1) + c2)


def ssim_structure_only(x, y, data_range):
    c2 = (0.03 * data_range) ** 2
    c = ((x - x.mean()) * (y - y.mean())).sum() / 48
    return (2 * c + c2) / (x.var(ddof=1) + y.var(ddof=1) + c2)


def ssim_light_only(x, y, data_range):
    c1 = (0.01 * data_range) ** 2
    return (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)


def ssim_added(x, y, data_range):
    return (ssim_light_only(x, y, data_range) + ssim_structure_only(x, y, data_range)) / 2


def front_by_sorting(costs, errors):
    found, least = set(), float("inf")
    for cost in sorted(set(costs.values())):
        group = [name for name in costs if costs[name] == cost]
        best = min(errors[name] for name in group)
        if best < least:
            found |= {name for name in group if errors[name] == best}
            least = best
    return found


def front_by_sum(costs, errors):
    total = {name: costs[name] + errors[name] for name in costs}
    return {min(total, key=total.get)}


def front_without_cheapest(costs, errors):
    return front_by_sorting(costs, errors) - {min(costs, key=costs.get)}


def front_turned(costs, errors):
    return set(costs) - front_by_sorting(costs, errors)


def split_by_package(prediction, truth, ideal):
    flat = [video[:, :, 0] for video in (prediction, truth, ideal)]
    parts = parts_of(*flat, flat[2][:, None], reach=0)
    avoidable = parts["where"] + parts["sharpness"] + parts["identity"]
    return parts["unknowable"].mean(), avoidable.mean(), parts["chance"].mean()


def split_by_rest(prediction, truth, ideal):
    total, unknowable, avoidable = (
        (a - b).square().sum((2, 3, 4)).mean().item()
        for a, b in ((prediction, truth), (ideal, truth), (prediction, ideal))
    )
    return unknowable, avoidable, total - unknowable - avoidable


def split_per_pixel(prediction, truth, ideal):
    return tuple(part / truth[0, 0].numel() for part in split_by_rest(prediction, truth, ideal))


def split_summed(prediction, truth, ideal):
    return tuple(part * truth.shape[0] * truth.shape[1] for part in split_by_rest(prediction, truth, ideal))


def split_without_mixed(prediction, truth, ideal):
    return (*split_by_rest(prediction, truth, ideal)[:2], 0.0)


def split_with_total(prediction, truth, ideal):
    return (*split_by_rest(prediction, truth, ideal)[:2], sum(split_by_rest(prediction, truth, ideal)))


def shift_by_package(prediction, truth, reach):
    wide = [F.pad(each, (reach,) * 4)[None] for each in (prediction, truth)]
    height, width = truth.shape
    # The package counts what is moved beyond the border as an error; here it is gone. Try its answer first.
    candidates = sorted(
        ((y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)),
        key=lambda shift: shift != tuple(best_shifts(*wide, reach)[0].tolist()),
    )

    def error(shift):
        moved = wide[0][0].roll(shift, (0, 1))[reach : reach + height, reach : reach + width]
        return (moved - truth).square().sum().item()

    return min(candidates, key=error)


def shift_of_centres(prediction, truth, reach):
    def centre(frame):
        rows, columns = (torch.arange(float(n)) for n in frame.shape)
        return frame.sum(1) @ rows / frame.sum(), frame.sum(0) @ columns / frame.sum()

    (y0, x0), (y1, x1) = centre(prediction), centre(truth)
    return round(float(y1 - y0)), round(float(x1 - x0))


def shift_down_only(prediction, truth, reach):
    return shift_by_package(prediction, truth, reach)[0], 0


def shift_one_way_only(prediction, truth, reach):
    return tuple(max(0, part) for part in shift_by_package(prediction, truth, reach))


def shift_backwards(prediction, truth, reach):
    return tuple(-part for part in shift_by_package(prediction, truth, reach))


RIGHT = {
    "paired_interval": (interval_by_percentiles, interval_by_counts),
    "ssim_of_window": (ssim_by_package, ssim_in_one_line),
    "not_beaten": (front_by_sorting,),
    "overtakers": ({PREDFORMER, "SimVP gSTA"},),
    "metric_for": ({"D": "sharpness", "C": "mse", "B": "ssim_published", "A": "identity"},),
    "split_error": (split_by_package, split_by_rest),
    "best_shift": (shift_by_package,),
}

MISTAKES = {
    "paired_interval": (
        (interval_by_standard_error, "expected"),
        (interval_of_one, "expected"),
        (interval_of_medians, "expected"),
        (interval_across_draws, "expected"),
        (lambda a, b, drawn: interval_by_percentiles(b, a, drawn), "the other way round"),
    ),
    "ssim_of_window": (
        (ssim_of_deviations, "expected"),
        (ssim_structure_only, "expected"),
        (ssim_light_only, "expected"),
        (ssim_added, "expected"),
        (lambda x, y, r: ssim_in_one_line(x, y, 1.0), "grow with the data range"),
    ),
    "not_beaten": (
        (front_by_sum, "expected"),
        (front_without_cheapest, "expected"),
        (front_turned, "expected"),
        (lambda costs, errors: set(costs), "expected"),
    ),
    "overtakers": (
        ({PREDFORMER, "SimVP gSTA", "TAU"}, "overtakers"),
        (overtakers() | {"SwinLSTM"}, "overtakers"),
        ({"PredRNN++"}, "overtakers"),
        ("SimVP gSTA", "overtakers"),
    ),
    "metric_for": (
        (metric_for() | {"B": "psnr"}, "metric_for"),
        (metric_for() | {"D": "identity"}, "metric_for"),
        ({"A": "identity"}, "metric_for"),
        (["identity", "ssim_published", "mse", "sharpness"], "metric_for"),
    ),
    "split_error": (
        (split_per_pixel, "expected"),
        (split_summed, "expected"),
        (split_without_mixed, "expected"),
        (split_with_total, "expected"),
    ),
    "best_shift": (
        (shift_of_centres, "expected"),
        (shift_down_only, "expected"),
        (shift_one_way_only, "expected"),
        (shift_backwards, "moves the truth"),
    ),
}
