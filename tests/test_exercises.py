"""Each answer check on right, wrong, unfinished and raising answers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from vidlib.baselines import CopyLast
from vidlib.exercises import lessons
from vidlib.exercises.checking import Exercise
from vidlib.moving_mnist import step as physics_step

# Right answers, written otherwise than the references


def loop_step(positions, velocities):
    positions, velocities = positions.copy(), velocities.copy()
    for digit in range(len(positions)):
        for axis in range(2):
            new = positions[digit, axis] + velocities[digit, axis]
            if new <= 0 or new >= 1:
                new = 0.0 if new <= 0 else 1.0
                velocities[digit, axis] *= -1
            positions[digit, axis] = new
    return positions, velocities


def mse_as_float(prediction, truth):
    return float(sum(((p - t) ** 2).sum() for p, t in zip(prediction, truth, strict=True)) / math.prod(truth.shape[:2]))


def cell_by_numbers(i, f, g, o, c):
    new = c / (1 + torch.exp(-f)) + torch.tanh(g) / (1 + torch.exp(-i))
    return new.tanh() / (1 + torch.exp(-o)), new


def patchify_by_slices(video, patch):
    rows, columns = video.shape[3] // patch, video.shape[4] // patch
    tokens = []
    for row in range(rows):
        for column in range(columns):
            block = video[..., row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append(block.movedim(2, -1).flatten(2))
    return torch.stack(tokens, dim=2)


def count_windows(steps, chunk):
    calls = 0
    while steps > 0:
        steps, calls = steps - chunk, calls + 1
    return calls


def walk_out(steps, kernel, patch):
    return sum((kernel - 1) // 2 * patch for _ in range(steps))


RIGHT = {
    "step": [loop_step, lambda p, v: physics_step(p, v)[:2], lambda p, v: list(loop_step(p, v))],
    "mse_per_frame": [
        mse_as_float,
        lambda a, b: (a - b).pow(2).flatten(2).sum(2).mean(),
        lambda a, b: (a.requires_grad_() - b).pow(2).sum() / (len(a) * a.shape[1]),
    ],
    "cell_update": [cell_by_numbers],
    "receptive_field": [walk_out, lambda n, k, p: np.int64(n * (k - 1) * p // 2)],
    "patchify": [patchify_by_slices],
    "rollout_windows": [count_windows, lambda steps, chunk: -(-steps // chunk)],
}


def mirror(positions, velocities):
    moved = positions + velocities
    velocities = np.where((moved <= 0) | (moved >= 1), -velocities, velocities)
    moved = np.where(moved < 0, -moved, moved)
    return np.where(moved > 1, 2 - moved, moved), velocities


def flips_both(positions, velocities):
    new, flipped, hit = physics_step(positions, velocities)
    return new, np.where(hit.any(-1, keepdims=True), -velocities, velocities)


def strict_edge(positions, velocities):
    moved = positions + velocities
    return np.clip(moved, 0, 1), np.where((moved < 0) | (moved > 1), -velocities, velocities)


def sigmoid_everywhere(i, f, g, o, c):
    c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * c.tanh(), c


def old_memory(i, f, g, o, c):
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


def channel_first(video, patch):
    return torch.nn.functional.unfold(video.flatten(0, 1), patch, stride=patch).mT.unflatten(0, video.shape[:2])


def last_value_wrong(video, patch):
    tokens = patchify_by_slices(video, patch)
    tokens[-1, -1, -1, -1] += 1e-3
    return tokens


NAN = float("nan")
WRONG = {
    "step": [
        (mirror, r"your result\[0\] at index \(0, 0\) is 0.95, expected 1 \(input 2 of 4\)"),
        (flips_both, r"your result\[1\] at index \(1, 0\) is -0.06, expected 0.06 \(input 2 of 4\)"),
        (strict_edge, r"your result\[1\] at index \(0, 0\) is 0.125, expected -0.125 \(input 3 of 4\)"),
        (lambda p, v: (p + v, v), r"your result\[0\] at index \(0, 0\) is 1.05, expected 1"),
        (lambda p, v: p + v, "your result is a ndarray, expected 2 values"),
        (physics_step, "your result is 3 values, expected 2 values"),
        (lambda p, v: tuple(x.astype(np.float32) for x in loop_step(p, v)), "is 0.4000000059604645, expected 0.4 "),
        (lambda p, v: tuple(torch.tensor(x) for x in loop_step(p, v)), r"\[0\] is a Tensor, expected an array"),
    ],
    "mse_per_frame": [
        (lambda a, b: (a - b).square().mean(), "your result is 0.0078125, expected 0.125"),
        (lambda a, b: (a - b).square().sum(), "your result is 0.25, expected 0.125"),
        (lambda a, b: (a - b).square().sum((2, 3, 4)), r"has shape \(1, 2\), expected \(\)"),
        (lambda a, b: mse_as_float(a.clamp(0, 1), b), "input 2 of 2"),
        (lambda a, b: NAN, "your result is nan, expected 0.125"),
        (lambda a, b: 0, "your result has type int, expected float"),
        (lambda a, b: "0.125", "your result has type str, expected float"),
        (lambda a, b: [0.125], "your result is a list, expected a number"),
    ],
    "cell_update": [
        (sigmoid_everywhere, r"your result\[0\] at index \(0, 0, 0, 0\)"),
        (old_memory, r"your result\[0\] at index"),
        (lambda i, f, g, o, c: cell_by_numbers(i, f, g, o, c)[::-1], r"your result\[0\] at index"),
        (lambda i, f, g, o, c: (cell_by_numbers(i, f, g, o, c)[0], c), r"your result\[1\] at index"),
        (lambda i, f, g, o, c: cell_by_numbers(i[0], f[0], g[0], o[0], c[0]), r"has shape \(4, 8, 8\), expected \(1"),
        (lambda i, f, g, o, c: cell_by_numbers(i, f, g, o, c)[0].numpy(), "is a ndarray, expected 2 values"),
    ],
    "receptive_field": [
        (lambda n, k, p: n * k * p, "your result is 3, expected 1"),
        (lambda n, k, p: n * (k // 2), r"your result is 2, expected 8 \(input 2 of 5\)"),
        (lambda n, k, p: n * (k - 1) / 2 * p, "your result has type float, expected int"),
        (lambda n, k, p: n * (k // 2) * p + 0 ** n, r"your result is 1, expected 0 \(input 5 of 5\)"),
        (lambda n, k, p: True, "your result has type bool, expected int"),
    ],
    "patchify": [
        (channel_first, r"your result at index \(0, 0, 0, 1\) is 1, expected 24"),
        (lambda x, p: patchify_by_slices(x.mT, p), r"your result at index"),
        (lambda x, p: x, r"has shape \(2, 3, 2, 4, 6\), expected \(2, 3, 6, 8\)"),
        (last_value_wrong, r"your result at index \(1, 2, 5, 7\) is 287.001, expected 287"),
        (lambda x, p: patchify_by_slices(x, p).int(), "has type int, expected float"),
        (lambda x, p: patchify_by_slices(x, p).tolist(), "is a list, expected a tensor"),
    ],
    "rollout_windows": [
        (lambda steps, chunk: steps // chunk, r"your result is 3, expected 4 \(input 3 of 6\)"),
        (lambda steps, chunk: steps // chunk + 1, "your result is 2, expected 1"),
        (lambda steps, chunk: steps / chunk, "has type float, expected int"),
    ],
}  # fmt: skip


def every(answers):
    return [(name, answer) for name, all_answers in answers.items() for answer in all_answers]


def not_implemented(*arguments):
    raise NotImplementedError("your turn")


def computes_with_a_gap(*arguments):
    gap = ...
    return gap + 1


def looks_into_a_gap(*arguments):
    gap = ...
    return gap.shape


UNFINISHED = [
    ...,
    None,
    lambda *arguments: ...,
    lambda *arguments: None,
    lambda *arguments: (arguments[0], ...),
    not_implemented,
    computes_with_a_gap,
    looks_into_a_gap,
]


def test_every_exercise_has_right_and_wrong_answers_here():
    assert set(lessons.EXERCISES) == set(RIGHT) == set(WRONG)
    assert all(exercise.hint and name == exercise.name for name, exercise in lessons.EXERCISES.items())


@pytest.mark.parametrize(("name", "answer"), every(RIGHT))
def test_right_answer(name, answer, capsys):
    assert lessons.check(name, answer) is None
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize(("name", "answer", "difference"), [(name, *pair) for name, pair in every(WRONG)])
def test_wrong_answer(name, answer, difference, capsys):
    lessons.check(name, answer)
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(f"{name}: your .*{difference.removeprefix('your ')}", first), first
    assert second == f"Hint: {lessons.EXERCISES[name].hint}"


@pytest.mark.parametrize("name", lessons.EXERCISES)
@pytest.mark.parametrize("answer", UNFINISHED)
def test_unfinished_answer(name, answer, capsys):
    lessons.check(name, answer)
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: not yet") and out.count("\n") == 1


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_answer_that_raises(name, capsys):
    def breaks(*arguments):
        raise ValueError("operands do not fit\nand a long story")

    lessons.check(name, breaks)
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first.startswith(f"{name}: your function raised ValueError: operands do not fit (input 1 of ")
    assert second.startswith("Hint: ") and captured.err == ""


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_other_answers_that_cannot_be_right(name):
    class Strange:
        def __array__(self, *arguments, **options):
            raise RuntimeError("no array")

    assert f"{name}: your answer is a int, expected a function" in lessons.verdict(name, 3)
    assert f"{name}: your function raised TypeError: " in lessons.verdict(name, lambda: 1)
    for result in ("text", {}, object(), np.array(["a"]), Strange(), [1, [2, 3]], np.array([]), 1j):
        assert lessons.verdict(name, lambda *arguments, result=result: result).startswith(f"{name}: your ")


def test_an_answer_that_writes_into_its_input_does_not_change_the_question():
    def overwrites(positions, velocities):
        result = loop_step(positions, velocities)
        positions[:], velocities[:] = 0, 0
        return result

    for _ in range(2):
        assert lessons.verdict("step", overwrites) == "step: correct"


def test_checking_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for name, answers in RIGHT.items():
        lessons.verdict(name, answers[0])
    assert torch.equal(torch.rand(3), expected)


def test_unknown_exercise(capsys):
    lessons.check("stepp", ...)
    assert capsys.readouterr().out == "There is no exercise 'stepp', did you mean 'step'?\n"
    lessons.check("zzz", ...)
    assert "expected one of step, mse_per_frame, " in capsys.readouterr().out
    lessons.check(["step"], ...)
    assert "There is no exercise ['step']" in capsys.readouterr().out
    for name in (None, 3, True, "", {}):
        lessons.check(name, ...)
        said = capsys.readouterr().out
        assert said.startswith(f"There is no exercise {name!r}, ") and said.count("\n") == 1


def test_an_exercise_may_ask_for_a_value(monkeypatch):
    exercise = Exercise("frames", 20, hint="past and future.")
    monkeypatch.setitem(lessons.EXERCISES, "frames", exercise)
    assert lessons.verdict("frames", 20) == "frames: correct"
    assert lessons.verdict("frames", 10) == "frames: your answer is 10, expected 20\nHint: past and future."
    assert lessons.verdict("frames", ...) == "frames: not yet"


def test_windows_are_counted_as_the_rollout_calls_a_model():
    from vidlib.iterative import rollout

    calls = []
    model = CopyLast()
    model.register_forward_hook(lambda *_: calls.append(1))
    for steps, chunk in ((10, 10), (25, 10), (12, 5), (3, 1)):
        calls.clear()
        rollout(model, torch.zeros(1, 10, 1, 8, 8), steps, chunk)
        assert len(calls) == lessons._rollout_windows(steps, chunk)


def test_receptive_field_is_how_far_a_layer_without_input_sees():
    from vidlib.models.convlstm import ConvLSTMCell

    kernel, patch = 3, 4
    cell = ConvLSTMCell(0, 2, kernel)
    h = torch.zeros(1, 2, 21, 21, requires_grad=True)
    # Counted from the first state on: H of step n depends on cells up to n·(k-1)/2 away.
    out, _ = cell(None, (h, torch.zeros(1, 2, 21, 21)), steps=3)
    out[0, 2, 0, 10, 10].backward()
    seen = h.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    assert (10 - seen.min().item()) * patch == lessons._receptive_field(3, kernel, patch)
