"""The command line: training, scoring, and one sentence with exit status 1 for everything that can go wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from vidlib import recipes, weights
from vidlib.__main__ import main
from vidlib.history import read_history
from vidlib.moving_mnist import test_clips

TINY = ["--set", "epochs=2", "clips_per_epoch=4", "batch_size=2", "validation_clips=2", "hidden=[2]"]
TRAIN = ["train", "convlstm", "--profile", "smoke", "--digits", "builtin", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run of the command line."""
    folder = tmp_path_factory.mktemp("trained")
    assert main([*TRAIN, "--out", str(folder), *TINY]) == 0
    return folder


def failed(capsys, *arguments: str) -> str:
    """The sentence with which a command fails."""
    assert main(list(arguments)) == 1
    text = capsys.readouterr()
    lines = text.err.strip().splitlines()
    assert lines[-1].startswith("error: ") and "Traceback" not in text.err
    return lines[-1]


def test_training_writes_weights_history_and_checkpoint(trained):
    assert {"model.safetensors", "history.csv", "checkpoint.pt"} <= {file.name for file in trained.iterdir()}
    assert [row["clips"] for row in read_history(trained / "history.csv")] == [4, 8]


def test_training_says_how_good_and_where(tmp_path, capsys):
    assert main([*TRAIN, "--out", str(tmp_path), *TINY]) == 0
    best = min(row["validation_mse"] for row in read_history(tmp_path / "history.csv"))
    out = capsys.readouterr().out
    assert f"best validation MSE per frame: {best:.2f}; weights in {tmp_path / 'model.safetensors'}" in out


def test_the_smoke_profile_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "vidlib", *TRAIN, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "clips/s" in done.stderr and "best validation MSE" in done.stdout
    assert len(read_history(tmp_path / "history.csv")) == recipes.recipe("convlstm", "smoke").epochs


def test_an_interrupted_training_goes_on_with_resume(trained, tmp_path, monkeypatch, capsys):
    on_epoch, out = recipes.fit, str(tmp_path / "out")

    def interrupted(*arguments, **options):
        def stop(model, row):
            raise KeyboardInterrupt

        return on_epoch(*arguments, **(options | {"on_epoch": stop}))

    with monkeypatch.context() as patch:
        patch.setattr(recipes, "fit", interrupted)
        assert main([*TRAIN, "--out", out, *TINY]) == 130
    assert "with --resume goes on" in capsys.readouterr().err
    assert "holds a training already: go on with" in failed(capsys, *TRAIN, "--out", out, *TINY)
    assert "belongs to a run with lr=" in failed(capsys, *TRAIN, "--out", out, "--resume", *TINY, "lr=0.5")
    assert main([*TRAIN, "--out", out, "--resume", *TINY]) == 0
    names = ("epoch", "steps", "clips", "lr", "train_loss", "validation_mse")
    runs = [read_history(folder / "history.csv") for folder in (tmp_path / "out", trained)]
    resumed, straight = ([[row[name] for name in names] for row in run] for run in runs)
    assert resumed == straight


def test_scoring_prints_a_table_with_both_baselines_and_writes_json(trained, tmp_path, capsys):
    file = str(trained / "model.safetensors")
    scores = tmp_path / "scores.json"
    command = ["score", file, "--clips", "3", "--digits", "builtin", "--device", "cpu", "--json", str(scores)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "3 clips of 20 frames" in out and "scikit-learn built-in digits" in out and "test split" in out
    found = json.loads(scores.read_text())
    assert list(found) == ["copy-last", "all-black", file]
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 5 and all(any(name in row for row in rows) for name in found)
    truth = test_clips("builtin", 3).batch(range(3))[:, 10:].double() / 255
    black = truth.square().sum((2, 3, 4)).mean().item()
    assert found["all-black"]["overall"]["mse"] == pytest.approx(black, rel=1e-5)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (["epoch=3"], "'epoch' is no setting of the convlstm recipe (did you mean 'epochs'?)."),
        (["epochs=many"], "epochs is 'many', a str, expected a int such as 2."),
        (["epochs"], "'epochs' is no parameter, expected NAME=VALUE"),
        (["epochs="], "epochs is '', a str, expected a int such as 2."),
        (["epochs=0"], "is 0, expected a whole number of at least 1."),
        (["seed=-1"], "seed is -1, expected a whole number of at least 0."),
        (["hidden=[2.5]"], "hidden[0] is 2.5, expected a whole number of at least 1."),
        (["hidden=['a']"], "hidden[0] is 'a', expected a whole number of at least 1."),
        (["kernel=2"], "kernel is 2, expected an odd number: the map must keep its size."),
        (["lr=-1"], "lr is -1, expected a number above 0."),
        (["batch_size=100"], "an epoch has 16 clips for batches of 100, expected at least one batch"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_one_sentence(tmp_path, capsys, changes, sentence):
    assert sentence in failed(capsys, *TRAIN, "--out", str(tmp_path / "out"), "--set", *changes)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_digits_that_are_not_there_are_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for digits, sentence in (("mnits", "digits are 'mnits', expected"), (str(tmp_path / "empty"), "0 different image")):
        command = [*TRAIN, "--out", str(tmp_path / "out"), "--digits", digits]
        assert sentence in failed(capsys, *command)
        assert sentence in failed(capsys, "score", "--clips", "1", "--digits", digits)


def test_a_damaged_checkpoint_is_one_sentence(trained, tmp_path, capsys):
    content = (trained / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(content[: len(content) // 2])
    assert "checkpoint.pt is truncated or changed" in failed(capsys, *TRAIN, "--out", str(tmp_path), "--resume", *TINY)
    assert (tmp_path / "checkpoint.pt").read_bytes() == content[: len(content) // 2]


def test_an_output_folder_that_is_a_file_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert "file" in failed(capsys, *TRAIN, "--out", str(tmp_path / "file"), *TINY)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nothing"], "no shipped model is called 'nothing'"),
        (["nothing.safetensors"], "nothing.safetensors is not there"),
        (["--clips", "0"], "length is 0, expected a whole number of at least 1."),
        (["--clips", "1", "--device", "gpu"], "gpu"),
        pytest.param(
            ["--clips", "1", "--device", "cuda"],
            "NVIDIA",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_wrong_score_command_is_one_sentence(capsys, arguments, sentence):
    assert sentence in failed(capsys, "score", "--digits", "builtin", *arguments)


def test_a_torch_without_cuda_is_one_sentence(capsys, monkeypatch):
    def refuse():
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr("torch.cuda._lazy_init", refuse)
    monkeypatch.setattr("torch._C._cuda_init", refuse, raising=False)
    command = ["score", "--digits", "builtin", "--clips", "1", "--device", "cuda"]
    assert "Torch not compiled with CUDA enabled" in failed(capsys, *command)


def test_a_wrong_number_of_threads_is_one_sentence(capsys, monkeypatch):
    for wrong in ("many", "0"):
        monkeypatch.setenv("VIDLIB_THREADS", wrong)
        assert f"VIDLIB_THREADS is '{wrong}', expected a whole number" in failed(capsys, "score", "--clips", "1")


@pytest.mark.parametrize(
    "function, words, expected",
    [
        ("run_notebooks", "run --profile smoke --out there --set EPOCHS=2", ("smoke", "there", {"EPOCHS": 2})),
        ("run_notebooks", "run", ("laptop", "runs", {})),
        ("refresh_notebooks", "refresh 01 03", (["01", "03"],)),
        ("refresh_notebooks", "refresh", ([],)),
        ("rebuild_gifs", "gifs --digits builtin --out there", ("builtin", "there")),
        ("sweep", "sweep a.ipynb EPOCHS=[1,2] LR=[0.1]", ("a.ipynb", {"EPOCHS": [1, 2], "LR": [0.1]}, "runs/sweep")),
    ],
)
def test_a_command_on_notebooks_is_one_function(monkeypatch, function, words, expected):
    called = []
    monkeypatch.setattr(batch, function, lambda *arguments, **options: called.append(arguments) or [])
    assert main(words.split()) == 0
    assert called == [expected]


def test_a_sweep_says_which_runs_failed(monkeypatch, capsys):
    rows = [{"run": 1, "status": "done"}, {"run": 2, "status": "failed", "error": "no such digits"}]
    asked = {}
    monkeypatch.setattr(batch, "sweep", lambda *_, **options: asked.update(options) or rows)
    assert main(["sweep", "a.ipynb", "SEED=[0,1]", "--workers", "1", "--scheduler", "tcp://there:1"]) == 0
    assert asked == {"workers": 1, "scheduler": "tcp://there:1"}
    said = capsys.readouterr().out
    assert "run 2 failed: no such digits" in said and "1 of 2 runs done" in said


def test_publishing_prints_the_card_of_what_load_pretrained_then_finds(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, "PRETRAINED", tmp_path)
    assert main(["publish", str(trained), "tiny", "--clips", "2", "--digits", "builtin", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "# tiny" in said and "2 clips of 20 frames" in said
    assert sum(p.numel() for p in weights.load_pretrained("tiny").parameters()) > 0


def test_publishing_what_is_no_run_is_one_sentence(tmp_path, capsys):
    assert main(["publish", str(tmp_path), "tiny"]) == 1
    assert "expected the folder of a training" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["train"], ["train", "lstm", "--out", "x"], ["train", "convlstm"], ["score", "--clips", "x"]],
)
def test_a_command_that_cannot_be_read_shows_its_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage: python -m vidlib" in capsys.readouterr().err


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "train" in out and "score" in out
