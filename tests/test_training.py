"""`fit`: what it does to the weights, what it reads, and that no interruption costs more than the epoch in flight."""

from __future__ import annotations

import copy
import csv
import errno
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vidlib import training
from vidlib.history import read_history
from vidlib.machine import has_compiler
from vidlib.models.convlstm import ConvLSTM
from vidlib.models.vit import VideoTransformer
from vidlib.muon import Muon
from vidlib.training import fit, mse_by_clip, validation_mse

needs_compiler = pytest.mark.skipif(not has_compiler("cpu"), reason="there is no C++ compiler for torch.compile")
TIMED = ("seconds", "clips_per_second")
COLUMNS = ["epoch", "steps", "clips", "lr", "train_loss", "validation_mse", *TIMED]


class Clips:
    """Clips of 2 + 2 frames that remember who asked for them, and do something when a chosen one is asked for."""

    def __init__(self, count: int, seed: int = 0, length: int = 4) -> None:
        self.pixels = np.random.default_rng(seed).integers(0, 256, (count, length, 1, 8, 8), np.uint8)
        self.asked: list[int] = []
        self.on_request = lambda number: None  # number: how many clips were asked for before

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> np.ndarray:
        self.on_request(len(self.asked))
        self.asked.append(index)
        return self.pixels[index]

    def fingerprint(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()

    def trained_on(self) -> list[int]:
        """What was asked for after the one look at the first clip before anything begins."""
        assert self.asked[0] == 0
        return self.asked[1:]


def tiny(kind: str = "convlstm") -> nn.Module:
    torch.manual_seed(0)
    if kind == "convlstm":
        return ConvLSTM(past=2, horizon=2, size=8, patch=4, hidden=[3], kernel=3)
    return VideoTransformer(past=2, horizon=2, size=8, patch=4, dim=8, layers=1, heads=2, decoder=4)


def run(out: Path, model: nn.Module | None = None, train=None, validation=None, **options):
    """Three epochs of two batches; an epoch has ten clips, so two of them are left out."""
    settings = {"epochs": 3, "clips_per_epoch": 10, "batch_size": 4, "lr": 1e-2, "device": "cpu", "progress": False}
    train = Clips(100) if train is None else train
    validation = Clips(5, seed=1) if validation is None else validation
    return fit(model or tiny(), train, validation, out=out, **(settings | options))


def untimed(history) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in TIMED} for row in history]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "training.lock"}


def checkpoint(out: Path) -> dict:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def same_weights(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Interrupted and resumed


def killed_run(out: Path, kind: str, optimizer: str) -> None:
    """The run of `run`, killed by the operating system's SIGKILL."""
    torch.set_num_threads(1)
    train = Clips(100)

    def die(*arguments) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    train.on_request = lambda number: number == 14 and die()  # clip 6 of 8 of the second epoch: between two steps
    run(out, tiny(kind), train, optimizer=optimizer)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    runs = [("convlstm", "adam"), ("transformer", "muon")]
    context = multiprocessing.get_context("spawn")
    victims = [context.Process(target=killed_run, args=(tmp_path / f"killed-{r[1]}", *r)) for r in runs]
    for victim in victims:
        victim.start()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for victim, (kind, optimizer) in zip(victims, runs, strict=True):
            victim.join(120)
            assert victim.exitcode == -signal.SIGKILL
            killed, whole = tmp_path / f"killed-{optimizer}", tmp_path / f"whole-{optimizer}"
            assert [row["epoch"] for row in read_history(killed / "history.csv")] == [1]
            torch.manual_seed(123)  # nothing may hang on the random state of the process that resumes
            resumed, straight, train = tiny(kind), tiny(kind), Clips(100)
            with torch.no_grad():
                next(resumed.parameters()).add_(1)  # nor on the weights that it starts with
            history = run(killed, resumed, train, optimizer=optimizer, resume=True)
            assert train.trained_on() == [*range(10, 18), *range(20, 28)]
            assert untimed(history) == untimed(run(whole, straight, optimizer=optimizer))
            assert same_weights(resumed.state_dict(), straight.state_dict())
            for part in ("model", "averaged"):
                assert same_weights(checkpoint(killed)[part], checkpoint(whole)[part])
            assert (killed / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
            assert untimed(read_history(killed / "history.csv")) == untimed(history)
    finally:
        torch.set_num_threads(threads)


def test_resuming_a_finished_run_trains_nothing_and_gives_its_model(tmp_path):
    first, second, train = tiny(), tiny(), Clips(100)
    history = run(tmp_path, first)
    assert run(tmp_path, second, train, resume=True) == history
    assert train.trained_on() == [] and same_weights(first.state_dict(), second.state_dict())


def test_resuming_in_a_new_folder_starts(tmp_path):
    assert untimed(run(tmp_path / "a", resume=True)) == untimed(run(tmp_path / "b"))


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    run(tmp_path, epochs=1)
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match="holds a training already: go on with resume=True, or choose another fold"):
        run(tmp_path, epochs=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"clips_per_epoch": 12},
        {"batch_size": 2},
        {"lr": 0.02},
        {"optimizer": "adamw"},
        {"weight_decay": 0.1},
        {"warmup": 0.4},
        {"clip_norm": 2.0},
        {"ema": 0.9},
        {"train": Clips(99)},
        {"train": Clips(100, seed=9)},
        {"validation": Clips(5, seed=9)},
        {"validation": Clips(6, seed=1)},
        {"schedule": "constant"},
        {"loss": F.l1_loss},
        {"model": tiny("transformer")},
        {"config": ConvLSTM(past=2, horizon=2, size=8, patch=4, hidden=[4], kernel=3)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_resuming_with_another_recipe_names_the_setting(tmp_path, changes):
    run(tmp_path, epochs=3)
    before = contents(tmp_path)
    (name,) = changes
    options = {"model": changes["config"]} if name == "config" else changes
    with pytest.raises(ValueError, match=rf"belongs to a run with {name}=.*, this one has .*resume with the same"):
        run(tmp_path, resume=True, **options)
    assert contents(tmp_path) == before


def flip(file: Path) -> None:
    """Change one bit of the largest array in the checkpoint."""
    with zipfile.ZipFile(file) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content = bytearray(file.read_bytes())
    header = largest.header_offset
    names = sum(int.from_bytes(content[header + at : header + at + 2], "little") for at in (26, 28))
    content[header + 30 + names + largest.file_size // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda file: os.truncate(file, file.stat().st_size // 2),
        lambda file: os.truncate(file, file.stat().st_size - 1),
        lambda file: os.truncate(file, 0),
        lambda file: file.write_text("hello"),
    ],
    ids=["a bit flipped", "half", "the last byte missing", "empty", "text"],
)
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, damage):
    run(tmp_path, epochs=1)
    damage(tmp_path / "checkpoint.pt")
    before, model = contents(tmp_path), tiny()
    with pytest.raises(
        RuntimeError, match=r"checkpoint\.pt is truncated or changed: start again in .*, or delete it\.$"
    ):
        run(tmp_path, model, epochs=1, resume=True)
    assert contents(tmp_path) == before and same_weights(model.state_dict(), tiny().state_dict())


@pytest.mark.parametrize("damage", [lambda f: os.truncate(f, 100), lambda f: f.unlink()], ids=["truncated", "missing"])
@pytest.mark.parametrize("file", ["best.safetensors", "history.csv", "run.json"])
def test_what_follows_from_the_checkpoint_is_written_again(tmp_path, file, damage):
    model, again = tiny(), tiny()
    run(tmp_path, model, epochs=1, facts={"who": "me"})
    before = contents(tmp_path)
    damage(tmp_path / file)
    run(tmp_path, again, epochs=1, resume=True)
    assert contents(tmp_path) == before and same_weights(model.state_dict(), again.state_dict())


def test_the_weights_of_a_run_without_its_checkpoint_are_not_trained_over(tmp_path):
    run(tmp_path, epochs=1)
    (tmp_path / "checkpoint.pt").unlink()
    before = contents(tmp_path)
    for resume in (False, True):
        with pytest.raises(RuntimeError, match="weights of a training whose checkpoint.pt is not there: choose"):
            run(tmp_path, epochs=1, resume=resume)
    assert contents(tmp_path) == before


def test_two_trainings_into_one_folder_are_an_error(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / "training.lock"),
        pytest.raises(RuntimeError, match=r"Another training writes into .*out: wait for it, or choose another folder"),
    ):
        run(tmp_path / "out")
    assert contents(tmp_path / "out") == {}
    run(tmp_path / "out", epochs=1)  # the lock is free again


def test_a_training_holds_its_folder_while_it_runs(tmp_path):
    train, seen = Clips(100), []

    def start_another(number: int) -> None:
        if number == 13:
            with pytest.raises(RuntimeError, match="Another training writes into"):
                run(tmp_path, resume=True)
            seen.append(contents(tmp_path).keys())

    train.on_request = start_another
    history = run(tmp_path, train=train)
    assert seen == [{"best.safetensors", "history.csv", "checkpoint.pt"}] and len(history) == 3


# Stopped by an error


class Blowing:
    """MSE that turns into NaN at one call."""

    def __init__(self, at: int, value: float = torch.nan) -> None:
        self.calls, self.at, self.value = 0, at, value

    def __call__(self, prediction, truth):
        self.calls += 1
        return F.mse_loss(prediction, truth) * (self.value if self.calls == self.at else 1)

    def describe(self) -> str:
        return "mse_loss"  # so that a run goes on with the real one


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_stops_and_loses_nothing(tmp_path, value):
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path / "a", loss=Blowing(3, value))
    rates = learning_rates(6)
    text = str(caught.value)
    assert f"The loss is {value} at step 3 with learning rate {rates[2]:.2e}: " in text
    assert "checkpoint.pt" in text and "epoch 1" in text and "\n" not in text
    assert [row["epoch"] for row in checkpoint(tmp_path / "a")["history"]] == [1]
    history = run(tmp_path / "a", resume=True)
    assert untimed(history) == untimed(run(tmp_path / "b"))


def test_a_loss_that_is_not_finite_from_the_start_says_that_there_is_no_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match=r"at step 2 with learning rate .* there is no checkpoint yet\.$"):
        run(tmp_path, loss=Blowing(2))
    assert contents(tmp_path) == {}


def test_the_first_bad_step_is_named_in_a_long_epoch(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, loss=Blowing(7), epochs=1, clips_per_epoch=100)
    assert f"at step 7 with learning rate {learning_rates(25)[6]:.2e}" in str(caught.value)


class Large(ConvLSTM):
    """A model for which memory is large enough only up to ``most`` clips."""

    most = 0

    def forward(self, past):
        if len(past) > self.most:
            raise torch.OutOfMemoryError("tried to allocate 3 PiB")
        return super().forward(past)


@pytest.mark.parametrize(
    "batch_size, most, advice",
    [
        (8, 5, r"batches of 8 clips: try batch_size=4, which fits\.$"),
        (8, 1, r"batches of 8 clips: try batch_size=1, which fits\.$"),
        (8, 0, r"batches of 8 clips: try a smaller model\.$"),
        (1, 0, r"batches of 1 clips: try a smaller model\.$"),
    ],
)
def test_too_little_memory_names_a_smaller_batch(tmp_path, batch_size, most, advice):
    large = Large(past=2, horizon=2, size=8, patch=4, hidden=[3], kernel=3)
    large.most = most
    with pytest.raises(RuntimeError, match=advice):
        run(tmp_path, large, batch_size=batch_size)


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")],
    ids=["OSError", "RuntimeError"],
)
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch, failure):
    save = torch.save

    def fill_up(state, file) -> None:
        if len(state["history"]) == 2:
            file.write_bytes(b"half a checkpoint")
            raise failure
        save(state, file)

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(type(failure), match=r"checkpoint\.pt could not be written .* and is as it was before: free"):
        run(tmp_path / "a")
    monkeypatch.setattr(torch, "save", save)
    assert contents(tmp_path / "a").keys() == {"best.safetensors", "history.csv", "checkpoint.pt"}
    resumed, straight = tiny(), tiny()
    history = run(tmp_path / "a", resumed, resume=True)
    assert untimed(history) == untimed(run(tmp_path / "b", straight))
    assert same_weights(resumed.state_dict(), straight.state_dict())


# What a step does


def learning_rates(steps: int, lr: float = 1e-2) -> list[float]:
    """OneCycleLR over exactly so many steps, which rises for a tenth of them."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)
    share = max(0.1, 1.5 / steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=share, cycle_momentum=False
    )
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.fixture
def steps(monkeypatch):
    """Learning rate and norm of the gradient of every step of Adam."""
    seen = []

    class Watched(torch.optim.Adam):
        def step(self, closure=None):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norm = torch.cat([g.flatten() for g in gradients]).norm().item()
            seen.append((self.param_groups[0]["lr"], norm))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    return seen


@pytest.mark.parametrize("epochs, clips, count", [(3, 10, 6), (1, 4, 1), (1, 8, 2), (2, 40, 20)])
def test_the_learning_rate_falls_to_nothing_at_the_last_planned_step(tmp_path, steps, epochs, clips, count):
    history = run(tmp_path, epochs=epochs, clips_per_epoch=clips)
    rates = [rate for rate, _ in steps]
    if count > 1:  # a single step rises and never falls
        assert rates == pytest.approx(learning_rates(count)) and max(rates) <= 1e-2
        assert rates[-1] < 1e-5 * 1e-2
    assert [row["lr"] for row in history] == rates[count // epochs - 1 :: count // epochs]
    assert [row["steps"] for row in history] == list(range(count // epochs, count + 1, count // epochs))


def test_the_gradient_is_clipped(tmp_path, steps):
    run(tmp_path / "a", loss=lambda prediction, truth: 1e6 * F.mse_loss(prediction, truth), clip_norm=0.25)
    assert [norm for _, norm in steps] == pytest.approx([0.25] * 6, rel=1e-4)
    steps.clear()
    run(tmp_path / "b", loss=lambda prediction, truth: 1e-6 * F.mse_loss(prediction, truth), clip_norm=0.25)
    assert all(0 < norm < 0.01 for _, norm in steps)  # and a small one is left alone


def constant(value: float) -> nn.Module:
    model = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def test_the_average_of_a_constant_is_that_constant():
    averaged, model = constant(0.3), constant(0.3)
    for step in range(50):
        training._average(averaged, model, 0.999, step)
    assert same_weights(averaged.state_dict(), model.state_dict())


def test_the_average_does_not_remember_the_start():
    averaged, model = constant(1000.0), constant(0.3)
    for step in range(30):
        training._average(averaged, model, 0.999, step)
    torch.testing.assert_close(averaged.paint[0].weight, model.paint[0].weight, rtol=0, atol=1e-4)


def test_the_average_decays_as_asked():
    averaged, expected = constant(0.0), 0.0
    for step in range(40):
        training._average(averaged, constant(float(step)), 0.7, step)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert averaged.paint[0].weight.flatten()[0].item() == pytest.approx(expected)
    assert decay == 0.7


@pytest.mark.parametrize("ema", [0.0, 0.999])
def test_without_averaging_the_weights_themselves_are_kept(tmp_path, ema):
    run(tmp_path, ema=ema)
    saved = checkpoint(tmp_path)
    assert same_weights(saved["model"], saved["averaged"]) == (ema == 0)


def taken_by_muon(model: nn.Module) -> dict[str, int]:
    """Names of the parameters that go to Muon and how many matrices each stacks; AdamW must have all others."""
    from accelerate import Accelerator

    settings = training.TrainSettings(epochs=1, optimizer="muon")
    _, (rest, muon) = training._prepare(Accelerator(cpu=True), model, settings, False)
    assert type(muon.optimizer) is Muon and type(rest.optimizer) is torch.optim.AdamW
    names = {id(p): name for name, p in model.named_parameters()}
    chosen = {names[id(p)]: group["stacked"] for group in muon.param_groups for p in group["params"]}
    others = [names[id(p)] for group in rest.param_groups for p in group["params"]]
    assert sorted([*chosen, *others]) == sorted(names.values())
    return chosen


def test_muon_takes_hidden_matrices_and_adamw_the_rest():
    model = tiny("transformer")
    linear = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert linear and taken_by_muon(model) == dict.fromkeys(linear, 1)


def test_muon_takes_the_filters_of_gates_and_adamw_those_beside_pixels():
    model = tiny()
    gates = {f"{half}.0.from_{what}.weight" for half, what in (
        ("encoder", "input"), ("encoder", "state"), ("forecaster", "state"))}  # fmt: skip
    assert taken_by_muon(model) == dict.fromkeys(gates, 4)


@pytest.mark.parametrize(
    "kind, optimizer", [("convlstm", "adam"), ("convlstm", "adamw"), ("convlstm", "muon"), ("transformer", "muon")]
)
def test_training_learns(tmp_path, kind, optimizer):
    same = np.repeat(Clips(1).pixels, 8, axis=0)
    model = tiny(kind)
    start = validation_mse(model.eval(), same)
    history = run(tmp_path, model, same, same, optimizer=optimizer, epochs=2, clips_per_epoch=160, batch_size=4)
    assert validation_mse(model, same) == min(row["validation_mse"] for row in history) < 0.6 * start


# What is read


def test_an_epoch_reads_its_own_clips_and_leaves_a_partial_batch_out(tmp_path):
    train = Clips(100)
    history = run(tmp_path, train=train)
    assert train.trained_on() == [*range(8), *range(10, 18), *range(20, 28)]
    assert [row["clips"] for row in history] == [8, 16, 24]


def test_a_short_set_starts_again(tmp_path):
    train = Clips(7)
    run(tmp_path, train=train)
    assert train.trained_on() == [i % 7 for i in (*range(8), *range(10, 18), *range(20, 28))]


def test_an_epoch_is_the_whole_set_where_nothing_else_is_said(tmp_path):
    train = Clips(8)
    run(tmp_path, train=train, clips_per_epoch=None)
    assert train.trained_on() == [*range(8)] * 3


def test_validation_counts_every_clip_once():
    model, clips = tiny().eval(), Clips(5, seed=1)
    video = torch.from_numpy(clips.pixels).float() / 255
    with torch.no_grad():
        errors = (model(video[:, :2]) - video[:, 2:]).square().sum((2, 3, 4)).mean(1)
    for batch_size in (1, 2, 5, 16):
        assert validation_mse(model, clips, batch_size=batch_size) == pytest.approx(errors.mean().item(), rel=1e-5)
        assert mse_by_clip(model, clips, batch_size=batch_size).tolist() == pytest.approx(errors.tolist(), rel=1e-5)
    assert clips.asked == [*range(5)] * 8


@pytest.mark.parametrize("convert", [list, torch.from_numpy, lambda pixels: pixels], ids=["list", "tensor", "array"])
def test_clips_of_ones_own_are_plain_sequences(tmp_path, convert):
    expected = untimed(run(tmp_path / "a"))
    found = run(tmp_path / "b", train=convert(Clips(100).pixels), validation=convert(Clips(5, seed=1).pixels))
    assert untimed(found) == expected


# What comes back


def test_the_history_is_the_csv(tmp_path):
    history = run(tmp_path)
    assert read_history(tmp_path / "history.csv") == history
    with (tmp_path / "history.csv").open(newline="") as lines:
        assert next(csv.reader(lines)) == COLUMNS == list(history[0])
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert all(row["clips_per_second"] > 0 and row["seconds"] > 0 for row in history)
    assert [type(row["steps"]) for row in read_history(tmp_path / "history.csv")] == [int] * 3


def test_the_model_ends_with_the_average_of_its_best_epoch(tmp_path, monkeypatch):
    scores, averages = iter([5.0, 3.0, 4.0]), []
    monkeypatch.setattr(training, "validation_mse", lambda *a, **o: next(scores))
    model = tiny()
    run(tmp_path, model, on_epoch=lambda averaged, row: averages.append(copy.deepcopy(averaged.state_dict())))
    assert not same_weights(averages[1], averages[2])
    assert same_weights(model.state_dict(), averages[1]) and not model.training
    assert same_weights(load_file(tmp_path / "best.safetensors"), averages[1])


def test_each_epoch_is_reported(tmp_path):
    seen, validation = [], Clips(5, seed=1)

    def look(averaged, row):
        assert not averaged.training and (tmp_path / "checkpoint.pt").exists()
        assert validation_mse(averaged, validation) == row["validation_mse"]
        seen.append(row)

    assert run(tmp_path, validation=validation, on_epoch=look) == seen


def test_a_loss_of_ones_own(tmp_path):
    seen = []

    def mean_absolute(prediction, truth):
        assert prediction.shape == truth.shape == (4, 2, 1, 8, 8) and prediction.requires_grad
        seen.append((prediction - truth).abs().mean())
        return seen[-1]

    history = run(tmp_path, loss=mean_absolute, epochs=1)
    assert history[0]["train_loss"] == pytest.approx(64 * torch.stack(seen).mean().item())  # per frame of 64 pixels
    default = run(tmp_path / "default", epochs=1)
    assert default[0]["train_loss"] != history[0]["train_loss"]


def test_the_bar_shows_loss_and_speed(tmp_path, capfd):
    run(tmp_path, progress=True)
    text = capfd.readouterr().err
    assert "clips/s" in text and "epoch=3/3" in text and "validation_mse=" in text
    run(tmp_path / "quiet")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "units, expected",
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": False}, "no"), ({}, "no")],
)
def test_a_cpu_trains_in_bf16_where_it_has_units_for_it(monkeypatch, units, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert training.fast_precision("cpu") == expected


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=needs_compiler)])
def test_a_model_trained_in_bf16_predicts_in_float32(tmp_path, compile):
    model = tiny()
    run(tmp_path, model, precision="bf16", epochs=1, compile=compile)
    plain = tiny()
    plain.load_state_dict(model.state_dict())
    past = torch.rand(1, *Clips(1).pixels[0, : model.past].shape)
    torch.testing.assert_close(model(past), plain.eval()(past), rtol=1e-4, atol=1e-6)  # bf16 would be 1e-2 away


def test_precision_can_change_from_run_to_run(tmp_path):
    run(tmp_path / "a", precision="no", epochs=1)
    history = run(tmp_path / "b", precision="bf16", epochs=1)
    assert np.isfinite(history[0]["validation_mse"])
    assert checkpoint(tmp_path / "b")["model"]["paint.0.weight"].dtype == torch.float32


# Bad input


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"epochs": 0}, "epochs is 0, expected a whole number of at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5, expected a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size is 0, expected a whole number of at least 1"),
        ({"clips_per_epoch": 0}, "clips_per_epoch is 0, expected a whole number of at least 1"),
        ({"clips_per_epoch": 3}, "an epoch has 3 clips for batches of 4, .*: make the batch smaller or the epoch long"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', expected one of adam, adamw, muon"),
        ({"precision": "fp8"}, "precision is 'fp8', did you mean 'fp16'"),
        ({"ema": 1.0}, "ema is 1.0, expected a number below 1"),
        ({"ema": -0.1}, "ema is -0.1, expected"),
        ({"warmup": -0.5}, "warmup is -0.5, expected"),
        ({"cooldown": 1.5}, "cooldown is 1.5, expected"),
        ({"lr": -1e-3}, "lr is -0.001, expected"),
        ({"lr": float("nan")}, "lr is nan, expected"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0, expected"),
        ({"train": Clips(100).pixels[:, :3]}, r"clips have 3 frames, expected at least past \+ horizon = 4"),
        ({"train": Clips(100).pixels / 255}, "clips come as torch.float64 batches .*, expected uint8 clips"),
        ({"validation": Clips(5, length=3)}, r"clips have 3 frames, expected at least past \+ horizon = 4"),
        ({"validation": [torch.zeros(4, 1, 8, 8)]}, "expected uint8 clips"),
        ({"train": []}, "the training set is empty"),
        ({"validation": Clips(0)}, "the validation set is empty"),
        (
            {"train": np.zeros((9, 4, 1, 16, 16), np.uint8)},
            r"past has shape \(4, 2, 1, 16, 16\), expected \(B, 2, 1, 8",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_argument_out_of_range_is_one_sentence_before_anything_is_written(tmp_path, wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        run(tmp_path / "out", **wrong)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or contents(tmp_path / "out") == {}


def test_an_output_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        run(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# Made longer, moved, and on several processes


def test_a_run_of_constant_rate_that_is_made_longer_equals_one_that_was_planned_so(tmp_path):
    options = {"schedule": "constant", "cooldown": 0, "warmup": 1.6, "optimizer": "muon"}
    longer, straight = tiny(), tiny()
    run(tmp_path / "a", tiny(), epochs=1, **options)
    run(tmp_path / "a", tiny(), epochs=2, resume=True, **options)
    history = run(tmp_path / "a", longer, epochs=4, resume=True, **options)
    assert untimed(history) == untimed(run(tmp_path / "b", straight, epochs=4, **options))
    assert same_weights(longer.state_dict(), straight.state_dict())
    assert same_weights(checkpoint(tmp_path / "a")["model"], checkpoint(tmp_path / "b")["model"])


def test_a_run_of_constant_rate_rises_stays_and_falls_at_its_new_end(tmp_path, steps):
    options = {"schedule": "constant", "cooldown": 0.5, "warmup": 1, "optimizer": "adam"}
    run(tmp_path, epochs=2, **options)  # two steps each
    run(tmp_path, epochs=4, resume=True, **options)
    shares = [rate / 1e-2 for rate, _ in steps]
    assert shares == pytest.approx([0.5, 1, 1, 1 - 0.5**0.5, *(1 - (n / 4) ** 0.5 for n in range(4))])


def test_a_one_cycle_run_cannot_be_made_longer_and_no_run_shorter(tmp_path):
    run(tmp_path / "a", epochs=2)
    with pytest.raises(ValueError, match="epochs=2, this one has 3: a one-cycle schedule ends with its last epoch"):
        run(tmp_path / "a", epochs=3, resume=True)
    run(tmp_path / "b", epochs=2, schedule="constant")
    with pytest.raises(ValueError, match="has been trained for 2 epochs, expected at most epochs=1: ask for more"):
        run(tmp_path / "b", epochs=1, schedule="constant", resume=True)


# in float32: in bf16 a batch that is cut in two rounds otherwise
PROCESSES = """
import sys
import torch
sys.path[:0] = sys.argv[2:4]
torch.set_num_threads(1)
from test_training import Clips, run, tiny
out, processes = sys.argv[1], int(__import__("os").environ["WORLD_SIZE"])
run(out + "/two", batch_size=2, epochs=2, ema=0, precision="no")
for kept in ("one", "two"):
    try:
        run(out + "/" + kept, batch_size=2, epochs=2, ema=0, precision="no", resume=True)
    except ValueError as error:
        assert kept == "one" and "processes=1, this one has 2: resume with as many processes" in str(error), error
    else:
        assert kept == "two"
open(f"{out}/done-{__import__('os').environ['RANK']}", "w").close()
"""


def test_two_processes_train_as_one_with_the_double_batch(tmp_path):
    (tmp_path / "script.py").write_text(PROCESSES)
    run(tmp_path / "one", batch_size=2, epochs=2, ema=0, precision="no")
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(tmp_path / "script.py"), str(tmp_path), str(here), str(here.parent)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert all((tmp_path / f"done-{rank}").exists() for rank in (0, 1))
    model = tiny()
    history = run(tmp_path / "double", model, batch_size=4, epochs=2, ema=0, precision="no")
    for ours, theirs in zip(history, checkpoint(tmp_path / "two")["history"], strict=True):
        assert ours["lr"] == theirs["lr"] and ours["clips"] == theirs["clips"] and ours["steps"] == theirs["steps"]
        for name in ("train_loss", "validation_mse"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    for name, value in checkpoint(tmp_path / "two")["averaged"].items():
        torch.testing.assert_close(value, checkpoint(tmp_path / "double")["averaged"][name], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="processes=2, this one has 1: resume with as many processes, or"):
        run(tmp_path / "two", batch_size=2, epochs=2, ema=0, precision="no", resume=True)


# Models of other kinds


class Own(nn.Module):
    """Clips of 2 + 2 frames through whatever layer is given."""

    past = horizon = 2

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, past):
        return self.layer(past)


class OverTime(nn.Conv3d):
    def forward(self, past):
        return super().forward(past.transpose(1, 2)).transpose(1, 2)


def tied() -> nn.Module:
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    layers[2].weight = layers[0].weight
    return layers


def turned() -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.weight = nn.Parameter(torch.randn(8, 8).T)
    return layer


def with_buffers() -> nn.Module:
    layer = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm2d(1), nn.Unflatten(0, (-1, 2)), nn.Linear(8, 8))
    layer.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
    return layer


def partly_frozen() -> nn.Module:
    layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    layers[0].requires_grad_(False)
    return layers


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    "layer", [lambda: OverTime(1, 1, 3, padding=1), tied, turned, with_buffers, partly_frozen],
    ids=["five axes", "tied", "not contiguous", "buffers", "frozen"],
)  # fmt: skip
def test_models_of_other_kinds_train_and_resume(tmp_path, layer, optimizer):
    torch.manual_seed(0)
    model, again = Own(layer()), Own(layer())
    before = copy.deepcopy(model.state_dict())
    straight = copy.deepcopy(model)
    constant = {"schedule": "constant", "cooldown": 0, "optimizer": optimizer, "weight_decay": 0.1}
    run(tmp_path / "a", model, epochs=1, **constant)
    history = run(tmp_path / "a", again, epochs=3, resume=True, **constant)
    assert untimed(history) == untimed(run(tmp_path / "b", straight, epochs=3, **constant))
    assert same_weights(again.state_dict(), straight.state_dict())
    saved = load_file(tmp_path / "a" / "best.safetensors")
    assert same_weights(saved, again.state_dict())
    moved = {name for name, value in again.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name, value in again.named_parameters() if value.requires_grad}


def test_no_float64_is_made_where_the_model_trains(tmp_path):
    class NoFloat64(TorchDispatchMode):
        """Stands in for Apple's GPUs, which have none."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
            return out

    with NoFloat64():
        assert len(run(tmp_path, Own(nn.Linear(8, 8)))) == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_another_type_are_one_sentence(tmp_path, dtype):
    with pytest.raises(ValueError, match=rf"weights in {dtype} \(layer.weight\), expected torch.float32: call model"):
        run(tmp_path / "out", Own(nn.Linear(8, 8)).to(dtype))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"model": None}, "model is None"),
        ({"model": lambda past: past}, "model is a function"),
        ({"model": nn.Linear(8, 8)}, "whole numbers past and horizon"),
        ({"model": Own(nn.Identity())}, "Own has no weights to train"),
        ({"train": 3}, "the training set is a int"),
        ({"train": None}, "the training set is None"),
        ({"validation": "clips"}, "the validation set is a str"),
        ({"out": None}, "None is no path"),
        ({"out": True}, "True is no path"),
        ({"settings": {"epochs": 3}}, r"settings is a dict, expected TrainSettings\(epochs=…\)"),
        ({"epoch": 3}, "'epoch' is no setting of a training, did you mean 'epochs'"),
        ({"loss": None}, "loss is None, expected a function"),
        ({"loss": lambda p, t: (p - t).square()}, r"loss returned a tensor \(4, 2, 1, 8, 8\), expected one number"),
        ({"loss": lambda p, t: 3.0}, "loss returned a float, expected one number"),
        ({"loss": lambda p, t: t.mean()}, "loss returned a number that does not depend on the weights"),
        ({"on_epoch": 3}, "on_epoch is 3, expected a function"),
        ({"facts": 3}, "facts are 3, expected a dictionary of JSON values"),
        ({"facts": {"a": Path()}}, "facts are .*, expected a dictionary of JSON values"),
        ({"device": "xyz"}, "device is 'xyz', expected"),
        ({"device": 1.5}, "device is 1.5, expected"),
        ({"precision": None}, "precision is None"),
        ({"precision": True}, "precision is True"),
    ]
    + [({flag: value}, f"{flag} is {value!r}, expected True or False") for flag in ("compile", "resume", "progress")
       for value in (None, "no", 1)]
    + [({name: value}, f"{name} is {value!r}, expected a") for name in ("lr", "weight_decay", "warmup", "cooldown",
       "clip_norm", "ema") for value in (None, float("nan"), float("inf"), True, "1", -1)]
    + [({name: value}, f"{name} is {value!r}, expected a whole number") for name in ("epochs", "batch_size")
       for value in (None, float("nan"), True, "1", -1, 0, 2.5)]
    + [({name: value}, f"{name} is {value!r}, ") for name in ("optimizer", "schedule")
       for value in (None, 3, True)],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",  # the same in every process
)  # fmt: skip
def test_a_wrong_call_is_one_sentence(tmp_path, wrong, sentence):
    given = {"model": tiny(), "train": Clips(9), "validation": Clips(5, seed=1), "out": tmp_path / "out", "epochs": 1}
    options = given | {"batch_size": 4, "device": "cpu", "progress": False} | wrong
    with pytest.raises(ValueError, match=sentence) as caught:
        fit(options.pop("model"), options.pop("train"), options.pop("validation"), **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or contents(tmp_path / "out") == {}
