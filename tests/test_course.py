"""The set-up call, the provenance lines, and each answer check on right, wrong, unfinished and raising answers."""

from __future__ import annotations

import json
import math
import random
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torchvision

from vidlib import course, viz, weights
from vidlib.baselines import AllBlack, CopyLast
from vidlib.digits import load_digits
from vidlib.metrics import evaluate
from vidlib.moving_mnist import MovingMNIST
from vidlib.moving_mnist import step as physics_step


@pytest.fixture(autouse=True)
def unchanged_session(monkeypatch):
    """Set-up changes the whole process: give the next test what this one found."""
    threads, seeds = torch.get_num_threads(), torch.get_rng_state()
    for name in ("VIDLIB_THREADS", "VIDLIB_GIFS"):
        monkeypatch.delenv(name, raising=False)
    with mpl.rc_context(), warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)
    torch.set_rng_state(seeds)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder that looks like the course, with the working directory where JupyterLab puts it."""
    for name in ("notebooks", "vidlib"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


# Set-up


def test_setup_says_what_is_used(capsys):
    here = course.setup("smoke", digits="builtin", threads=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == ["profile", "digits", "device", "vidlib", "torch", "Python"]
    said = dict(line.split(maxsplit=1) for line in lines)
    assert said["profile"] == "smoke"
    assert said["digits"] == "scikit-learn built-in digits, 1,297 in the train split"
    assert said["torch"] == torch.__version__ and said["vidlib"] == weights.package_version()
    assert said["device"].startswith(here.device.type)
    assert (here.profile, here.digits) == ("smoke", "builtin")
    assert len(MovingMNIST(2, digits=here.digits, split="test")[0]) == 20  # what a notebook does with it


def test_setup_seeds_all_three():
    draws = []
    for seed in (5, 5, 6):
        course.setup(digits="builtin", seed=seed)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[0], draws[2], strict=True))


def test_threads_come_from_the_argument_or_the_environment(monkeypatch):
    course.setup(digits="builtin", threads=2)
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("VIDLIB_THREADS", "1")
    course.setup(digits="builtin")
    assert torch.get_num_threads() == 1
    course.setup(digits="builtin", threads=2)
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("VIDLIB_THREADS", "many")
    with pytest.raises(ValueError, match="threads is 'many', expected a whole number"):
        course.setup(digits="builtin")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"profile": "huge"}, "profile is 'huge', expected one of smoke, laptop, full"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"seed": True}, "seed is True"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"threads": 0}, "threads is 0, expected a whole number from 1"),
        ({"digits": "no such folder"}, "digits are 'no such folder'"),
    ],
)
def test_setup_refuses_nonsense(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        course.setup(**{"digits": "builtin", **arguments})


def test_setup_says_when_built_in_digits_stand_in(tmp_path, monkeypatch, capsys):
    def no_network(*_, **__):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets.MNIST, "__init__", no_network)
    assert course.setup(digits="auto").digits == "builtin"
    assert "built-in digits, 1,297 in the train split: MNIST is not on disk" in capsys.readouterr().out
    course.setup(digits="builtin")
    assert "MNIST" not in capsys.readouterr().out  # who asks for them gets no excuse
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        course.setup(digits="mnist")


def test_setup_applies_the_figure_style_and_quiets_only_harmless_warnings():
    mpl.rcParams["lines.linewidth"] = 9
    course.setup(digits="builtin")
    assert mpl.rcParams["lines.linewidth"] == viz.STYLE["lines.linewidth"]
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn("'pin_memory' argument is set as true but no accelerator is found", stacklevel=1)
        warnings.warn("this one matters", stacklevel=1)
    assert [str(w.message) for w in seen] == ["this one matters"]


def test_folders(checkout, monkeypatch, runs_folder):
    here = course.setup(digits="builtin")
    assert (here.root, here.runs, here.gif_folder) == (checkout, runs_folder, runs_folder / "gifs")
    monkeypatch.delenv("VIDLIB_RUNS")
    assert course.setup(digits="builtin").runs == checkout / "runs"
    assert course.setup(digits="builtin").gif_folder == checkout / "runs" / "gifs"
    monkeypatch.setenv("VIDLIB_GIFS", "datavisualization")
    assert course.setup(digits="builtin").gif_folder == checkout / "datavisualization"
    assert course.setup(digits="builtin", gifs="elsewhere").gif_folder == checkout / "elsewhere"
    assert sorted(p.name for p in checkout.iterdir()) == ["notebooks", "vidlib"]  # asking creates nothing


def test_without_a_course_around_it_the_working_directory_is_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert course.project_root() == tmp_path


# Provenance and scores


def test_provenance_names_versions_profile_and_hashes(checkout, capsys):
    here = course.setup("smoke", digits="builtin")
    capsys.readouterr()
    extra = {"file": here.root / "a.gif", "kept": here.runs / "b.gif", "home": Path.home() / "c"}
    here.provenance(*weights.pretrained_names(), protocol="test digits", **extra)
    out = capsys.readouterr().out
    said = dict(line.split("  ", maxsplit=1) for line in out.splitlines())
    said = {name: value.strip() for name, value in said.items()}
    assert said["profile"] == "smoke" and said["torch"] == torch.__version__
    for split in ("train", "validation", "test"):
        digits = load_digits("builtin", split)
        assert said[f"{split} digits"] == f"builtin, {len(digits):,}, sha256 {digits.sha256[:16]}…"
    for name in weights.pretrained_names():
        assert weights.model_card(name)["weights_sha256"].startswith(said[f"weights {name}"].split()[1].rstrip("…"))
    assert said["protocol"] == "test digits"
    assert (said["file"], said["kept"]) == ("./a.gif", "runs/b.gif")
    assert not any(str(folder) in out for folder in (checkout, here.runs))


def test_provenance_names_shipped_weights(monkeypatch, capsys):
    here = course.setup(digits="builtin")
    monkeypatch.setattr(course, "model_card", lambda name: {"weights_sha256": "ab" * 32})
    here.provenance("convlstm")
    assert "weights convlstm   sha256 abababababababab…\n" in capsys.readouterr().out


def test_provenance_of_own_images_does_not_show_where_they_lie(tmp_path, capsys):
    from PIL import Image

    for number in range(4):
        Image.fromarray(np.full((28, 28), number * 9, np.uint8)).save(tmp_path / f"{number}.png")
    here = course.setup(digits=tmp_path)
    capsys.readouterr()
    here.provenance()
    out = capsys.readouterr().out
    assert "own images, 2, sha256" in out and str(tmp_path) not in out


def test_scores_end_in_the_table_of_a_run(capsys):
    from vidlib.batch.run import result_table

    here = course.setup(digits="builtin")
    clips = MovingMNIST(2, digits="builtin", split="test")
    scores = {
        "copy-last": evaluate(CopyLast(), clips, progress=False),
        "all-black": evaluate(AllBlack(), clips, progress=False),
    }
    file = here.save_scores("02_convlstm", scores)
    assert file == here.runs / "scores" / "02_convlstm.json"
    assert json.loads(file.read_text())["rows"]["copy-last"] == scores["copy-last"].to_dict()
    table = result_table(here.runs)
    assert "copy-last" in table and f"{scores['all-black'].overall['mse']:.2f}" in table
    scores["other"] = SimpleNamespace(data="other clips")
    with pytest.raises(ValueError, match="expected exactly one set of clips"):
        here.save_scores("02_convlstm", scores)
    with pytest.raises(ValueError, match="expected exactly one set of clips"):
        here.save_scores("02_convlstm", {})


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
    assert set(course.EXERCISES) == set(RIGHT) == set(WRONG)
    assert all(exercise.hint and name == exercise.name for name, exercise in course.EXERCISES.items())


@pytest.mark.parametrize(("name", "answer"), every(RIGHT))
def test_right_answer(name, answer, capsys):
    assert course.check(name, answer) is None
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize(("name", "answer", "difference"), [(name, *pair) for name, pair in every(WRONG)])
def test_wrong_answer(name, answer, difference, capsys):
    course.check(name, answer)
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(f"{name}: your .*{difference.removeprefix('your ')}", first), first
    assert second == f"Hint: {course.EXERCISES[name].hint}"


@pytest.mark.parametrize("name", course.EXERCISES)
@pytest.mark.parametrize("answer", UNFINISHED)
def test_unfinished_answer(name, answer, capsys):
    course.check(name, answer)
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: not yet") and out.count("\n") == 1


@pytest.mark.parametrize("name", course.EXERCISES)
def test_answer_that_raises(name, capsys):
    def breaks(*arguments):
        raise ValueError("operands do not fit\nand a long story")

    course.check(name, breaks)
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first.startswith(f"{name}: your function raised ValueError: operands do not fit (input 1 of ")
    assert second.startswith("Hint: ") and captured.err == ""


@pytest.mark.parametrize("name", course.EXERCISES)
def test_other_answers_that_cannot_be_right(name):
    class Strange:
        def __array__(self, *arguments, **options):
            raise RuntimeError("no array")

    assert f"{name}: your answer is a int, expected a function" in course.verdict(name, 3)
    assert f"{name}: your function raised TypeError: " in course.verdict(name, lambda: 1)
    for result in ("text", {}, object(), np.array(["a"]), Strange(), [1, [2, 3]], np.array([]), 1j):
        assert course.verdict(name, lambda *arguments, result=result: result).startswith(f"{name}: your ")


def test_an_answer_that_writes_into_its_input_does_not_change_the_question():
    def overwrites(positions, velocities):
        result = loop_step(positions, velocities)
        positions[:], velocities[:] = 0, 0
        return result

    for _ in range(2):
        assert course.verdict("step", overwrites) == "step: correct"


def test_checking_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for name, answers in RIGHT.items():
        course.verdict(name, answers[0])
    assert torch.equal(torch.rand(3), expected)


def test_unknown_exercise(capsys):
    course.check("stepp", ...)
    assert capsys.readouterr().out == "There is no exercise 'stepp', did you mean 'step'?\n"
    course.check("zzz", ...)
    assert "the exercises are step, mse_per_frame, " in capsys.readouterr().out
    course.check(["step"], ...)
    assert "There is no exercise ['step']" in capsys.readouterr().out


def test_an_exercise_may_ask_for_a_value(monkeypatch):
    exercise = course.Exercise("frames", 20, hint="past and future.")
    monkeypatch.setitem(course.EXERCISES, "frames", exercise)
    assert course.verdict("frames", 20) == "frames: correct"
    assert course.verdict("frames", 10) == "frames: your answer is 10, expected 20\nHint: past and future."
    assert course.verdict("frames", ...) == "frames: not yet"


def test_references_are_what_the_package_does():
    """The exercises teach what the models and metrics really compute."""
    from vidlib.iterative import rollout
    from vidlib.metrics import mse_per_frame
    from vidlib.models.convlstm import ConvLSTMCell

    i, f, g, o, c = course._cell_inputs()[0]
    for found, expected in zip(
        ConvLSTMCell(0, 4).update(torch.cat([i, f, g, o], 1), c), course._cell_update(i, f, g, o, c), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-6)
    for prediction, truth in course._mse_inputs():
        gray = prediction[:, :, :1], truth[:, :, :1]
        assert torch.allclose(mse_per_frame(*gray).mean().float(), course._mse_per_frame(*gray))
    calls = []
    model = CopyLast()
    model.register_forward_hook(lambda *_: calls.append(1))
    for steps, chunk in ((10, 10), (25, 10), (12, 5), (3, 1)):
        calls.clear()
        rollout(model, torch.zeros(1, 10, 1, 8, 8), steps, chunk)
        assert len(calls) == course._rollout_windows(steps, chunk)


def test_receptive_field_is_how_far_a_layer_without_input_sees():
    from vidlib.models.convlstm import ConvLSTMCell

    kernel, patch = 3, 4
    cell = ConvLSTMCell(0, 2, kernel)
    h = torch.zeros(1, 2, 21, 21, requires_grad=True)
    # Counted from the first state on: H of step n depends on cells up to n·(k-1)/2 away.
    out, _ = cell(None, (h, torch.zeros(1, 2, 21, 21)), steps=3)
    out[0, 2, 0, 10, 10].backward()
    seen = h.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    assert (10 - seen.min().item()) * patch == course._receptive_field(3, kernel, patch)
