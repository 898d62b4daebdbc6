"""The set-up call of the notebooks and the provenance lines."""

from __future__ import annotations

import json
import random
import subprocess
import sys
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
from vidlib.digits import data_folder, load_digits
from vidlib.metrics import evaluate
from vidlib.models.registry import MODELS
from vidlib.moving_mnist import MovingMNIST
from vidlib.recipes import PROFILES, notebook_numbers, recipe


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


PARAMETERS = "EPOCHS: int = None\nTRAIN_SEQUENCES: int = None\nBATCH_SIZE: int = None\nTEST_SEQUENCES: int = None"


def running(monkeypatch, **names):
    """The names of a notebook whose parameter cell has run, for the set-up call to find."""
    names = {
        "In": ["", PARAMETERS],
        **dict.fromkeys(("EPOCHS", "TRAIN_SEQUENCES", "BATCH_SIZE", "TEST_SEQUENCES")),
        **names,
    }
    monkeypatch.setattr(course, "get_ipython", lambda: SimpleNamespace(user_ns=names))
    return names


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_number_that_is_none_is_the_profiles_and_is_shown(monkeypatch, capsys, profile, model):
    names = running(monkeypatch, EPOCHS=9)
    course.setup(profile, digits="builtin", trains=model)
    spent = recipe(model, profile)
    assert names["EPOCHS"] == 9
    assert (names["TRAIN_SEQUENCES"], names["BATCH_SIZE"]) == (spent.clips_per_epoch, spent.batch_size)
    assert names["TEST_SEQUENCES"] == notebook_numbers(profile)["TEST_SEQUENCES"]
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {name: said[name] for name in names if name != "In"} == {n: str(v) for n, v in names.items() if n != "In"}
    assert "CHUNKS" not in names  # a parameter of other notebooks


def test_a_number_that_does_not_go_with_the_profiles_changes_nothing(monkeypatch):
    names = running(monkeypatch, BATCH_SIZE=9)
    with pytest.raises(ValueError, match="BATCH_SIZE is 9 and TRAIN_SEQUENCES is 8, expected at least one batch"):
        course.setup("smoke", digits="builtin", trains="convlstm")
    assert names["EPOCHS"] is None


def test_a_profile_means_the_same_numbers_whoever_asks():
    for profile in PROFILES:
        assert notebook_numbers(profile).keys() == notebook_numbers("smoke").keys()
        assert notebook_numbers(profile).items() <= notebook_numbers(profile, "convlstm").items()


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
    with pytest.raises(ValueError, match="VIDLIB_THREADS is 'many', expected a whole number"):
        course.setup(digits="builtin")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"profile": "huge"}, "profile is 'huge', expected one of smoke, laptop, full"),
        ({"profile": "smok"}, "profile is 'smok', did you mean 'smoke'"),
        ({"profile": None}, "profile is None"),
        ({"profile": ["smoke"]}, r"profile is \['smoke'\]"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"seed": True}, "seed is True"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"trains": "resnet"}, "model is 'resnet'"),
        ({"seed": None}, "seed is None"),
        ({"seed": "1"}, "seed is '1'"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"threads": 0}, "threads is 0, expected a whole number from 1 to 1024"),
        ({"threads": True}, "threads is True"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"digits": "no such folder"}, "digits are 'no such folder'"),
        ({"digits": None}, "digits are None"),
        ({"digits": 3}, "digits are 3"),
        ({"digits": ""}, "digits are ''"),
        ({"digits": "~nobody-of-that-name/own"}, "'~nobody-of-that-name/own' begins with a home that is not known"),
        ({"gifs": ""}, "'' is no path"),
        ({"gifs": 3}, "3 is no path"),
        ({"gifs": "a\0b"}, "'a.*b' is no path"),
        ({"gifs": np.zeros((9, 9))}, "a ndarray is no path"),
        ({"gifs": "~nobody-of-that-name/own"}, "'~nobody-of-that-name/own' begins with a home that is not known"),
    ],
)
def test_setup_refuses_nonsense(arguments, sentence):
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        course.setup(**{"digits": "builtin", **arguments})
    assert str(caught.value).endswith((".", "?")) and "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), state)  # refused before anything was changed


def test_setup_says_when_built_in_digits_stand_in(tmp_path, monkeypatch, capsys):
    def no_network(*_, **__):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nno route to host")

    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", no_network)
    assert course.setup(digits="auto").digits == "builtin"
    out = capsys.readouterr().out
    assert (
        "scikit-learn built-in digits, 1,297 in the train split (built-in digits stand in: "
        "MNIST is not on disk and could not be downloaded (no route to host))\n"
    ) in out
    assert str(tmp_path) not in out
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


def test_a_home_in_a_path_is_the_readers(checkout, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("VIDLIB_RUNS", "~/my runs")
    here = course.setup(digits="builtin", gifs="~/my gifs")
    assert (here.runs, here.gif_folder) == (home / "my runs", home / "my gifs")


@pytest.mark.parametrize("where", ["mydata", "./mydata", "~/mydata", "notebooks/../mydata"])
def test_the_folder_for_data_starts_at_the_course_too(checkout, monkeypatch, where):
    monkeypatch.setenv("HOME", str(checkout))
    monkeypatch.setenv("USERPROFILE", str(checkout))
    monkeypatch.setenv("VIDLIB_DATA", where)
    course.setup(digits="builtin")  # in notebooks/, where a kernel works
    assert data_folder().resolve() == checkout / "mydata"
    monkeypatch.chdir(checkout / "vidlib")  # a notebook may change its folder later
    assert data_folder().resolve() == checkout / "mydata"


def test_an_account_without_a_home_can_do_the_course(tmp_path, runs_folder):
    """As in a container that runs under a number nobody registered."""
    code = """
import os, pwd
os.environ.pop("HOME", None)
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
from vidlib.course import setup
setup("smoke", digits="builtin").provenance(note="it went on")
"""
    pytest.importorskip("pwd")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "it went on" in done.stdout


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
        stroke = np.pad(np.full((16, 8), 200 + number, np.uint8), ((6, 6), (10, 10)))
        Image.fromarray(stroke).save(tmp_path / f"{number}.png")
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
    for name in ("../02_convlstm", "", None, "a/b"):
        with pytest.raises(ValueError, match="^notebook is "):
            here.save_scores(name, scores)
    for wrong in (None, [1], {"model": 3}):
        with pytest.raises(ValueError, match="^scores are something else"):
            here.save_scores("02_convlstm", wrong)
    assert [file.name for file in here.runs.rglob("*.json")] == ["02_convlstm.json"]
