"""The command line: training, scoring, and one sentence with exit status 1 for everything that can go wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vidlib import moving_mnist, recipes, runs, weights
from vidlib.__main__ import main
from vidlib.batch import authoring, run
from vidlib.batch import sweep as sweeps
from vidlib.history import read_history

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
    on_epoch, out = runs.fit, str(tmp_path / "out")

    def interrupted(*arguments, **options):
        def stop(model, row):
            raise KeyboardInterrupt

        return on_epoch(*arguments, **(options | {"on_epoch": stop}))

    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", interrupted)
        assert main([*TRAIN, "--out", out, *TINY]) == 130
    assert "with --resume goes on" in capsys.readouterr().err
    assert "holds a training already: go on with" in failed(capsys, *TRAIN, "--out", out, *TINY)
    assert "belongs to a run with lr=" in failed(capsys, *TRAIN, "--out", out, "--resume", *TINY, "lr=0.5")
    assert main([*TRAIN, "--out", out, "--resume", *TINY]) == 0
    names = ("epoch", "steps", "clips", "lr", "train_loss", "validation_mse")
    histories = [read_history(folder / "history.csv") for folder in (tmp_path / "out", trained)]
    resumed, straight = ([[row[name] for name in names] for row in history] for history in histories)
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
    truth = moving_mnist.test_clips("builtin", 3).batch(range(3))[:, 10:].double() / 255
    black = truth.square().sum((2, 3, 4)).mean().item()
    assert found["all-black"]["overall"]["mse"] == pytest.approx(black, rel=1e-5)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (["epoch=3"], "'epoch' is no setting of the convlstm recipe, did you mean 'epochs'?"),
        (["epochs=many"], "epochs is 'many', expected a whole number"),
        (["epochs"], "'epochs' is no parameter, expected NAME=VALUE"),
        (["epochs="], "epochs is '', expected a whole number"),
        (["epochs=0"], "is 0, expected a whole number of at least 1."),
        (["seed=-1"], "seed is -1, expected a whole number from 0 to"),
        (["hidden=[2.5]"], "hidden[0] is 2.5, expected a whole number of at least 1."),
        (["hidden=['a']"], "hidden[0] is 'a', expected a whole number of at least 1."),
        (["kernel=2"], "kernel is 2, expected an odd number: the map must keep its size."),
        (["lr=-1"], "lr is -1, expected a number above 0."),
        (["batch_size=100"], "an epoch has 8 clips for batches of 100, expected at least one batch"),
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
        (["--clips", "0"], "clips is 0, expected a whole number of at least 1."),
        (["--clips", "1", "--device", "gpu"], "gpu"),
        pytest.param(
            ["--clips", "1", "--device", "cuda"],
            "device is 'cuda', expected cpu: no other is here.",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_wrong_score_command_is_one_sentence(capsys, arguments, sentence):
    assert sentence in failed(capsys, "score", "--digits", "builtin", *arguments)


def test_a_wrong_number_of_threads_is_one_sentence(capsys, monkeypatch):
    for wrong, shown in (("many", "'many'"), ("0", "0")):
        monkeypatch.setenv("VIDLIB_THREADS", wrong)
        assert f"VIDLIB_THREADS is {shown}, expected a whole number" in failed(capsys, "score", "--clips", "1")


@pytest.mark.parametrize(
    "room, function, words, expected",
    [
        (run, "run_notebooks", "run --profile smoke --out there --set EPOCHS=2", ("smoke", "there", {"EPOCHS": 2})),
        (run, "run_notebooks", "run -f a.yaml -p LR 1e-3 -p A b", ("a.yaml", "runs", {"LR": 1e-3, "A": "b"})),
        (run, "run_notebooks", "run", ("laptop", "runs", {})),
        (authoring, "refresh_notebooks", "refresh 01 03", (["01", "03"],)),
        (authoring, "refresh_notebooks", "refresh", ([],)),
        (authoring, "rebuild_gifs", "gifs --digits builtin --out there", ("builtin", "there")),
        (sweeps, "sweep", "sweep a SEED=[1,2] LR=[0.1]", ("a", {"SEED": [1, 2], "LR": [0.1]}, "runs/sweep")),
        (sweeps, "sweep", "sweep a.ipynb PROFILE=[smoke]", ("a.ipynb", {"PROFILE": ["smoke"]}, "runs/sweep")),
    ],
)  # fmt: skip
def test_a_command_on_notebooks_is_one_function(monkeypatch, room, function, words, expected):
    called = []
    monkeypatch.setattr(room, function, lambda *arguments, **options: called.append(arguments) or [])
    monkeypatch.setattr("vidlib.digits.load_digits", lambda source: source == "mnist" or pytest.fail(source))
    assert main(words.split()) == 0
    assert called == [expected]


def test_shown_outputs_are_never_of_other_digits(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path))
    monkeypatch.setattr(
        "torchvision.datasets.MNIST.download", lambda self: (_ for _ in ()).throw(OSError("no network"))
    )
    monkeypatch.setattr("vidlib.batch.authoring.refresh_notebooks", lambda *_: pytest.fail("has run"))
    assert main(["refresh"]) == 1
    assert "could not be downloaded" in capsys.readouterr().err


def test_a_sweep_says_which_runs_failed(monkeypatch, capsys):
    rows = [{"run": "SEED=0-1", "status": "done"}, {"run": "SEED=1-2", "status": "failed", "error": "no such digits"}]
    asked = {}
    monkeypatch.setattr(sweeps, "sweep", lambda *_, **options: asked.update(options) or rows)
    command = ["sweep", "a.ipynb", "SEED=[0,1]", "--scheduler", "tcp://there:1", "--profile", "smoke"]
    assert main(command) == 1
    assert asked == {"workers": None, "scheduler": "tcp://there:1", "profile": "smoke"}
    said = capsys.readouterr().out
    assert "run SEED=1-2 failed: no such digits" in said and "1 of 2 runs done" in said
    rows.pop()
    assert main(command) == 0


NOTEBOOK = str(run.NOTEBOOKS / "02_convlstm.ipynb")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("-p EPOCH 1 -o x.ipynb", "unknown parameter 'EPOCH' (did you mean 'EPOCHS'?) in 02_convlstm.ipynb."),
        ("-p EPOCHS 0", "EPOCHS is 0, expected a whole number of at least 1."),
        ("-p EPOCHS 1.0", "parameter 'EPOCHS' is 1.0 (float), expected int"),
        ("-p PROFILE tiny", "PROFILE is 'tiny', expected one of smoke, laptop, full."),
        ("-p DIGITS own", "DIGITS is 'own', expected mnist, builtin, auto or a folder of images."),
        ("-p EPOCHS 1 -p EPOCHS 2", "EPOCHS is given twice"),
        ("-p EPOCHS 1 --set EPOCHS=2", "EPOCHS is given twice"),
        ("-p =EPOCHS 1", "expected NAME=VALUE"),
        ("--profile smoke -f there.yaml", "--file and --profile are both given"),
        ("-f smoke", "--file is 'smoke', expected a file that ends in .yaml"),
        ("-f nowhere.yaml", "unknown profile 'nowhere.yaml'"),
        ("-f there.yaml", "unknown parameter 'EPOCH' (did you mean 'EPOCHS'?)"),
        ("--profile smok", "unknown profile 'smok', expected full, laptop, smoke or an existing YAML file."),
        ("-o .", "is a folder, expected the name of the executed notebook"),
    ],
)
def test_a_wrong_run_of_one_notebook_is_one_sentence_and_nothing_runs(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("EPOCH: 2\n")
    assert sentence in failed(capsys, "run", NOTEBOOK, *words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]


@pytest.mark.parametrize(
    "option",
    [
        "run --profile",
        "run -f",
        "run -o",
        "run --out",
        "run",
        "score --json",
        "score --device",
        "sweep a B=[1] --scheduler",
    ],
)
def test_an_empty_word_is_not_taken_for_none(capsys, option):
    assert "is empty, expected something, or leave it out." in failed(capsys, *option.split(), "")


def test_an_output_for_all_notebooks_is_refused(capsys):
    assert "--output names one executed notebook" in failed(capsys, "run", "-o", "x.ipynb")


@pytest.fixture
def executed(monkeypatch):
    """The parameters of every notebook that papermill is asked to execute; none is."""
    calls = []

    def stand_in(source, target, parameters, **options):
        calls.append((Path(source).name, parameters))
        Path(target).write_text("whole", encoding="utf-8")

    monkeypatch.setattr("papermill.execute_notebook", stand_in)
    return calls


def test_one_notebook_gets_its_part_of_a_profile(tmp_path, monkeypatch, capsys, executed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("EPOCHS: 1\nROLLOUT_FRAMES: 12\n")
    assert main(["run", NOTEBOOK, "-f", "mine.yaml", "-p", "SEED", "3", "-o", "x.ipynb"]) == 0
    said = capsys.readouterr()
    assert executed == [("02_convlstm.ipynb", {"EPOCHS": 1, "SEED": 3})]
    assert f"Executed notebook: {tmp_path / 'x.ipynb'}" in said.out
    assert (tmp_path / "x.ipynb").read_text() == "whole"
    assert "has none of them: ROLLOUT_FRAMES" in said.err


def test_own_digits_are_found_where_the_command_is_given(tmp_path, monkeypatch, executed):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--profile", "smoke", "--out", "r", "--set", "DIGITS=own"]) == 0
    assert [parameters["DIGITS"] for _, parameters in executed] == [str(tmp_path / "own")] * len(run.notebooks())
    assert sorted(path.name for path in (tmp_path / "r").glob("*.ipynb")) == [p.name for p in run.notebooks()]


def test_folders_in_the_environment_mean_the_folder_where_the_command_is_given(tmp_path, monkeypatch, executed):
    monkeypatch.chdir(tmp_path)
    for name in ("VIDLIB_DATA", "VIDLIB_RUNS", "VIDLIB_GIFS"):
        monkeypatch.setenv(name, "here")
    assert main(["run", NOTEBOOK]) == 0
    assert [os.environ[name] for name in ("VIDLIB_DATA", "VIDLIB_RUNS", "VIDLIB_GIFS")] == [str(tmp_path / "here")] * 3
    if os.name != "nt":  # Windows guesses where the home would be
        monkeypatch.setenv("VIDLIB_DATA", "~nobody-of-that-name/data")
        assert main(["run", NOTEBOOK]) == 1


@pytest.mark.parametrize(
    "words",
    [
        *("run", "run --profile smoke", "run --set EPOCHS=1", "copies", "lab", "reset 01", "refresh", "gifs"),
        *("times", "times --write", "students handout", "offline room"),
    ],
)
def test_the_package_alone_says_that_it_needs_a_checkout(tmp_path, words):
    package, no_weights = run.NOTEBOOKS.parent / "vidlib", shutil.ignore_patterns("*.safetensors")
    shutil.copytree(package, tmp_path / "alone" / "vidlib", ignore=no_weights)
    done = python(["-m", "vidlib", *words.split()], cwd=tmp_path / "alone")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("holds no notebooks: run this from a checkout of the course.")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "function, words, sentence",
    [
        ("vidlib.runs.train", "train convlstm --out there", "with --resume goes on from the last whole epoch"),
        ("vidlib.digit_network.train_digit_network", "train digit-network --out there", "is trained in one go"),
        ("vidlib.metrics.evaluate", "score --clips 1 --digits builtin", "nothing was saved; run the command again"),
        ("vidlib.metrics.table", "score --clips 1 --digits builtin --json s.json", "the scores are in s.json"),
        ("vidlib.runs.publish_run", "publish there tiny", "nothing was shipped; run the command again"),
        ("vidlib.batch.run.run_notebooks", "run", "whole, *.partial.ipynb shows the rest"),
        ("vidlib.batch.run.run_notebook", "run NOTEBOOK", "executed notebooks are whole"),
        ("vidlib.batch.sweep.sweep", "sweep a.ipynb SEED=[1]", "goes on with the runs that are not done"),
        ("vidlib.batch.copies.open_lab", "lab", "JupyterLab did not start"),
        ("vidlib.batch.copies.update_copies", "copies", "every notebook in work/ is whole"),
        ("vidlib.batch.copies.reset_copies", "reset 01", "every notebook in work/ is whole"),
        ("vidlib.batch.authoring.refresh_notebooks", "refresh", "what was finished is saved"),
        ("vidlib.batch.authoring.rebuild_gifs", "gifs", "what was finished is saved"),
        ("vidlib.batch.teaching.write_times", "times --write", "pages that were written are whole"),
        ("vidlib.batch.students.student_copies", "students handout", "delete the folder"),
        ("vidlib.batch.offline.offline_folder", "offline room", "the same command goes on"),
    ],
)  # fmt: skip
def test_an_interrupted_command_says_what_is_true_for_it(tmp_path, monkeypatch, capsys, function, words, sentence):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vidlib.batch.copies.work_folder", lambda: tmp_path / "work")
    if words == "refresh":
        monkeypatch.setattr("vidlib.digits.load_digits", lambda source: None)  # MNIST may not be on this disk
    monkeypatch.setattr(function, interrupt)
    assert main([NOTEBOOK if word == "NOTEBOOK" else word for word in words.split()]) == 130
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("interrupted: ") and sentence in said
    assert ("--resume" in said) == ("--resume" in sentence)
    assert ("s.json" in sentence) == (tmp_path / "s.json").is_file()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--set", "epochs=1", "nonsense=3"], "'nonsense' is no setting of the digit network, did you mean"),
        (["--set", "epoch=1"], "'epoch' is no setting of the digit network, did you mean 'epochs'?"),
        (["--profile", "nonsense"], "profile is 'nonsense', expected one of smoke, laptop."),
        (["--resume"], "--resume does not belong to the digit network"),
        (["--vgg-weights", "x"], "--vgg-weights does not belong to the digit network"),
        (["--device", "cuda"], "--device is 'cuda', expected cpu"),
    ],
)
def test_the_digit_network_takes_no_option_that_it_does_not_use(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.setattr("vidlib.digit_network.train_digit_network", lambda *_, **__: pytest.fail("it was trained"))
    assert sentence in failed(capsys, "train", "digit-network", "--out", str(tmp_path / "d"), *words)


def test_the_digit_network_trains_on_the_digits_that_were_asked_for(tmp_path, monkeypatch, capsys):
    asked = []
    card = {"accuracy": "98%"}
    monkeypatch.setattr(
        "vidlib.digit_network.train_digit_network", lambda out, **options: asked.append((out, options)) or card
    )
    command = ["train", "digit-network", "--digits", "builtin", "--out", "d"]
    assert main([*command, "--profile", "smoke"]) == main([*command, "--set", "epochs=3"]) == 0
    assert asked == [("d", {"digits": "builtin", "epochs": 1}), ("d", {"digits": "builtin", "epochs": 3})]


def test_vgg_weights_belong_to_a_perceptual_loss(tmp_path, capsys):
    assert "--vgg-weights is for a perceptual loss" in failed(
        capsys, *TRAIN, "--out", str(tmp_path / "out"), "--vgg-weights", "vgg.pth"
    )


@pytest.mark.parametrize("command", [["score"], ["publish", "there", "tiny"]])
@pytest.mark.parametrize("clips", ["0", "-1"])
def test_no_clips_are_refused_before_anything_else(capsys, command, clips):
    assert f"clips is {clips}, expected a whole number" in failed(capsys, *command, "--clips", clips)


def test_scores_that_cannot_be_saved_are_shown(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    command = ["score", "--clips", "1", "--digits", "builtin", "--device", "cpu"]
    assert main([*command, "--json", str(tmp_path / "file" / "s.json")]) == 1
    said = capsys.readouterr()
    assert "| copy-last" in said.out and "s.json could not be written" in said.err


def python(arguments, **options):
    options["env"] = os.environ | {"PYTHONPATH": "."} | options.pop("env", {})
    return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=300, text=True, **options)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_screen_without_all_letters_gets_the_scores_all_the_same(tmp_path, encoding):
    command = ["-m", "vidlib", "score", "--clips", "2", "--digits", "builtin", "--device", "cpu", "--json"]
    done = python([*command, str(tmp_path / "s.json")], cwd=run.NOTEBOOKS.parent, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert "| copy-last" in done.stdout and "| all-black" in done.stdout
    assert list(json.loads((tmp_path / "s.json").read_text())) == ["copy-last", "all-black"]


@pytest.mark.parametrize("words", ["--help", "run --help", "", "score --clips 1 --digits builtin --json s.json"])
def test_a_reader_that_has_enough_changes_nothing(tmp_path, words):
    command, root = [sys.executable, "-m", "vidlib", *words.split()], str(run.NOTEBOOKS.parent)
    environment = os.environ | {"PYTHONPATH": root}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path, env=environment
    ) as process:
        process.stdout.close()
    assert process.returncode == 0
    assert (tmp_path / "s.json").is_file() == ("s.json" in words)


def test_a_screen_that_is_full_is_said(tmp_path, monkeypatch, capsys):
    def full(text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.stdout, "write", full)
    assert "No space left on device" in failed(capsys, "score", "--clips", "1", "--digits", "builtin")


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
    [["trian"], ["train"], ["train", "lstm", "--out", "x"], ["train", "convlstm"], ["score", "--clips", "x"]],
)
def test_a_command_that_cannot_be_read_shows_its_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage: python -m vidlib" in capsys.readouterr().err


COMMANDS = (
    *("train", "score", "publish", "run", "sweep", "lab", "copies", "reset", "refresh"),
    *("grade", "times", "students", "offline", "gifs"),
)


def help_of(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_without_a_command_there_is_help_that_names_them(capsys):
    assert main([]) == 0
    bare = capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0 and capsys.readouterr().out == bare
    assert [line.split()[0] for line in bare.splitlines() if line[:4].isspace() and line[4:5].strip()] == [*COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_defaults_that_there_are(command, capsys):
    text = help_of(command, capsys)
    assert not [word for word in ("None)", "[])", "False)", "==SUPPRESS==") if word in text]
    for default in {"score": ["10000", "auto"], "run": ["runs"], "train": ["laptop", "auto"]}.get(command, []):
        assert f"(default: {default})" in text


def test_commands_that_compute_take_the_same_device(capsys):
    shown = {help_of(c, capsys).partition("--device DEVICE ")[2].partition(" --")[0] for c in COMMANDS[:3]}
    assert len(shown) == 1 and "cpu, cuda or mps" in shown.pop()


def test_help_loads_nothing_heavy():
    look = """
import sys
from vidlib.__main__ import main
for command in [[], ["--help"], *([name, "--help"] for name in sys.argv[1:])]:
    try:
        main(command)
    except SystemExit as end:
        assert end.code == 0
heavy = {"torch", "numpy", "matplotlib", "papermill", "dask", "distributed", "sklearn"} & set(sys.modules)
print("loaded:", sorted(heavy))
"""
    done = python(["-c", look, *COMMANDS], cwd=run.NOTEBOOKS.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
