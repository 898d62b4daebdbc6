"""Batch runs: strict parameters before anything runs, folders of their own, sweeps that survive a failed run."""

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill import PapermillExecutionError

from vidlib import parameters
from vidlib.__main__ import parse_parameters
from vidlib.batch import authoring, run
from vidlib.batch import sweep as sweeps
from vidlib.batch.sweep import sweep

PARAMETERS = """\
EPOCHS: int = 2  # passes over the clips
LR: float = 1e-3  # learning rate
DIGITS: str = "auto"  # where the digits come from
SAVE: bool = False  # keep the weights
CHUNKS: list[int] = [1, 5]  # frames kept of each prediction
WEIGHTS: str = ""  # a file of weights
PROFILE: str = "laptop"  # how long everything takes
SEED: int = 7  # of all clips
BATCH_SIZE: int = 4  # clips in a step
TRAIN_SEQUENCES: int = 8  # clips in an epoch
VGG_WEIGHTS: str = ""  # a file
FOLDS: int = 0  # zero is what this lesson begins with
"""
BODY = """\
import json, os, pathlib
out = pathlib.Path(os.environ["VIDLIB_RUNS"])
(out / "seen.json").write_text(json.dumps([EPOCHS, LR, DIGITS]))
"""


def write_notebook(path, *cells, parameters=PARAMETERS):
    declared = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [declared, *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "course" / "01_lesson.ipynb", BODY)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two notebooks in a folder whose name has a space."""
    folder = tmp_path / "my course"
    scores = {"overall": {"mse": 174.0}, "per_frame": {"mse": [174.0] * 10}, "clips": 4, "data": "4 clips"}
    write_notebook(
        folder / "01_first.ipynb",
        BODY,
        '(out / "scores").mkdir(exist_ok=True)',
        f"""(out / "scores" / "01_first.json").write_text(json.dumps({{"data": "4 clips", "rows": {{
            "all black": {scores!r}}}}}))
(out / "clip.gif").write_bytes(b"GIF89a");""",
    )
    write_notebook(folder / "02_second.ipynb", "assert STEPS == 7", parameters="STEPS: int = 3  # frames to predict")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "smoke.yaml").write_text("EPOCHS: 1\nLR: 1.0e-2\nSTEPS: 7\n")
    monkeypatch.setattr(run, "NOTEBOOKS", folder)
    return folder


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"EPOCHS": 3, "LR": 1, "DIGITS": "mnist", "SAVE": True},
        {"LR": 1e-4, "CHUNKS": [10], "WEIGHTS": ""},
        {"CHUNKS": [1, 2, 10], "WEIGHTS": "convlstm", "SEED": 0},
        {"FOLDS": 0},  # the default that a notebook declares is always possible
    ],
)
def test_parameters_that_fit_pass(notebook, parameters):
    run.checked(notebook, parameters)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("EPOCHS", True, r"'EPOCHS' is True \(bool\), expected int \(passes over the clips\)"),
        ("EPOCHS", 2.0, "expected int"),
        ("EPOCHS", "2", "expected int"),
        ("LR", True, "expected float"),
        ("LR", "1e-3", "YAML reads 1e-3 as text, write 1.0e-3"),
        ("DIGITS", 1, "expected str"),
        ("SAVE", 1, "expected bool"),
        ("CHUNKS", 5, r"expected list\[int\]"),
        ("CHUNKS", [1, "5"], r"expected list\[int\]"),
        ("WEIGHTS", None, "expected str"),
        ("epochs", 2, r"unknown parameter 'epochs' \(did you mean 'EPOCHS'\?\)"),
        ("EPOCH", 2, r"unknown parameter 'EPOCH' \(did you mean 'EPOCHS'\?\)"),
        ("XYZ", 2, r"unknown parameter 'XYZ' \(expected one of EPOCHS, LR, DIGITS"),
        ("LR", "quick", r"expected float \(learning rate\)\.$"),  # no word of YAML where it was no number
        ("EPOCHS", 0, "EPOCHS is 0, expected a whole number of at least 1"),
        ("EPOCHS", -1, "EPOCHS is -1, expected a whole number of at least 1"),
        ("BATCH_SIZE", 0, "BATCH_SIZE is 0, expected"),
        ("BATCH_SIZE", 9, "BATCH_SIZE is 9 and TRAIN_SEQUENCES is 8, expected at least one batch"),
        ("TRAIN_SEQUENCES", 3, "BATCH_SIZE is 4 and TRAIN_SEQUENCES is 3, expected at least one batch"),
        ("FOLDS", -1, "FOLDS is -1, expected a whole number of at least 1"),
        ("SEED", -1, "SEED is -1, expected a whole number from 0"),
        ("SEED", 2**32, "SEED is 4294967296, expected a whole number from 0 to 4294967295"),
        ("LR", float("nan"), "LR is nan, expected a number above 0"),
        ("LR", float("inf"), "LR is inf, expected a number above 0"),
        ("LR", 0, "LR is 0, expected a number above 0"),
        ("CHUNKS", [], r"CHUNKS is \[\], expected at least one value"),
        ("CHUNKS", [5, 0], "CHUNKS is 0, expected a whole number from 1 to 10"),
        ("PROFILE", "smok", "PROFILE is 'smok', did you mean 'smoke'"),
        ("DIGITS", "mnits", "DIGITS is 'mnits', expected mnist, builtin, auto or a folder of images"),
        ("DIGITS", "", "DIGITS is '', expected mnist"),
        pytest.param(
            "DIGITS",
            "~nobody-of-that-name/own",
            "begins with a home that is not known here",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows guesses where the home would be"),
        ),
        ("VGG_WEIGHTS", "vgg.pth", "VGG_WEIGHTS is 'vgg.pth', expected a file that is there"),
    ],
)
def test_a_wrong_parameter_is_a_sentence_and_nothing_runs(notebook, tmp_path, name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        run.run_notebook(notebook, tmp_path / "out", {name: value})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        ("list[float]", [1, 2.5], True),
        ("list[float]", [1, True], False),
        ("list", [1, "two"], True),
        ("list[list[int]]", [[1], [2, 3]], True),
        ("list[list[int]]", [[1], 2], False),
        ("dict", [], False),
        ("int | None", None, True),
        ("int | None", 2, True),
        ("int | None", "2", False),
        ("Path", "anything", True),
    ],
)
def test_annotations(annotation, value, fits):
    assert parameters.fits(value, annotation) is fits


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"04_missing\.ipynb does not exist"):
        run.run_notebook(tmp_path / "04_missing.ipynb", tmp_path / "out")


def test_a_run_does_not_overwrite_its_source(notebook):
    before = notebook.read_bytes()
    with pytest.raises(ValueError, match="own file"):
        run.run_notebook(notebook, notebook.parent)
    assert notebook.read_bytes() == before


@pytest.mark.parametrize("words", [["EPOCHS"], ["=2"], ["EPOCHS=2", "LR"]])
def test_a_word_without_a_value_is_no_parameter(words):
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        parse_parameters(words)


def test_booleans_on_the_command_line_may_be_spelt_as_in_yaml():
    assert parse_parameters(["A=true", "B=False", "C=null", "D=a=b"]) == {
        "A": True,
        "B": False,
        "C": None,
        "D": "a=b",
    }


def test_all_notebooks_run_at_a_profile(course, tmp_path, capsys):
    out = tmp_path / "my runs"
    (out / "scores").mkdir(parents=True)
    (out / "scores" / "02_second.json").write_text("of an earlier run")
    executed = run.run_notebooks("smoke", out, {"EPOCHS": 5}, progress=False)
    assert executed == [out / "01_first.ipynb", out / "02_second.ipynb"]
    assert json.loads((out / "seen.json").read_text()) == [5, 0.01, "auto"]
    screen = capsys.readouterr().out
    assert "01_first (1 of 2, profile smoke)" in screen
    assert [line for line in screen.splitlines() if line.startswith("| all black | 174.00")]
    assert f"Executed notebooks: {out}" in screen
    assert f"Animation: {out / 'clip.gif'}" in screen


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("EPOCHS: 1\nEPOCH: 2\n", r"unknown parameter 'EPOCH' \(did you mean 'EPOCHS'\?\) in any notebook"),
        ("LR: 1e-2\n", "YAML reads 1e-3 as text"),
        ("STEPS: two\n", "'STEPS' is 'two'"),
        ("- EPOCHS\n", "expected lines like 'EPOCHS: 2'"),
    ],
)
def test_a_wrong_profile_stops_before_the_first_notebook(course, tmp_path, text, sentence):
    profile = tmp_path / "mine.yaml"
    profile.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        run.run_notebooks(profile, tmp_path / "out")
    assert not (tmp_path / "out" / "01_first.ipynb").exists()


def test_an_unknown_profile_names_the_known_ones(course):
    with pytest.raises(ValueError, match=r"unknown profile 'smok', expected laptop, smoke or an existing YAML file"):
        run.read_profile("smok")
    assert run.read_profile("laptop") == {}


def test_without_the_course_around_it_the_package_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run this from a checkout"):
        run.run_notebooks("laptop", tmp_path / "out")


def test_prepared_notebooks_keep_their_outputs_and_get_the_parameters(course, tmp_path):
    source = nbformat.read(course / "02_second.ipynb", as_version=4)
    source.cells[1].update(execution_count=2, outputs=[new_output("stream", text="saved\n")])
    nbformat.write(source, course / "02_second.ipynb")
    _, prepared = authoring.prepare_notebooks("smoke", tmp_path / "prepared")
    cells = nbformat.read(prepared, as_version=4).cells
    assert [cell.source.strip().splitlines()[-1] for cell in cells] == [
        "STEPS: int = 3  # frames to predict",
        "STEPS = 7",
        "assert STEPS == 7",
    ]
    assert cells[2].outputs[0].text == "saved\n"
    assert cells[2].execution_count == 2


def test_scores_of_different_clips_are_different_tables(tmp_path):
    (tmp_path / "scores").mkdir()
    for number, data in enumerate(["MNIST", "built-in digits"]):
        row = {"overall": {"mse": 100.0 + number}, "per_frame": {"mse": [1.0]}, "clips": 4}
        stored = {"data": data, "rows": {"copy last": row}}
        (tmp_path / "scores" / f"{number}.json").write_text(json.dumps(stored))
    first, second = run.result_table(tmp_path).split("Scored on MNIST.")
    assert "100.00" in first
    assert "101.00" not in first
    assert "101.00" in second


@pytest.mark.parametrize("text", ["", "[]", '{"rows": {"a": {}}, "data": ""}', '{"rows": {"a": 3}, "data": ""}'])
def test_a_file_without_scores_is_named(tmp_path, text):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "02.json").write_text(text)
    with pytest.raises(ValueError, match=r"02\.json holds no scores"):
        run.result_table(tmp_path)


def test_no_scores_is_said(tmp_path):
    assert "No notebook left scores" in run.result_table(tmp_path)


def test_a_kernel_that_dies_is_a_sentence(tmp_path):
    path = write_notebook(tmp_path / "01_dies.ipynb", "import os; os._exit(1)")
    with pytest.raises(
        run.NotebookFailed, match=r"The kernel of 01_dies\.ipynb died \(executed up to there: "
    ) as caught:
        run.run_notebook(path, tmp_path / "out", progress=False)
    assert str(tmp_path / "out" / "01_dies.partial.ipynb") in str(caught.value)


@pytest.fixture
def stands_in(monkeypatch):
    """What papermill does, in its place: a function of the folder that a run writes to, and no kernel."""
    calls = []

    def stand_in(act=lambda out: None):
        def execute(source, target, parameters, **options):
            calls.append({"parameters": parameters, "cwd": options["cwd"], "source": source.format(**parameters)})
            calls[-1]["data"] = os.environ.get("VIDLIB_DATA")
            partial = Path(target.format(**parameters))
            partial.write_text("new", encoding="utf-8")
            act(partial.parent)

        monkeypatch.setattr("papermill.execute_notebook", execute)
        return calls

    return stand_in


def leave_scores(out, data="4 clips", mse=2.0):
    stored = {"data": data, "rows": {"convlstm": {"overall": {"mse": mse, "mae": 1.0}, "clips": 4}}}
    (out / "scores").mkdir(exist_ok=True)
    (out / "scores" / "01_lesson.json").write_text(json.dumps(stored))


def raises(error):
    def act(out):
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "expected", "sentence"),
    [
        (KeyboardInterrupt("Ctrl-C"), KeyboardInterrupt, "Ctrl-C"),
        (OSError(28, "No space left on device"), OSError, r"could not be executed \(No space left.*is as it was"),
        (PapermillExecutionError(1, 3, "", "ValueError", "no", []), run.NotebookFailed, r"stopped in cell \[3\]"),
        (DeadKernelError("Kernel died"), run.NotebookFailed, "kernel of 01_lesson.ipynb died"),
        (NoSuchKernel("python3"), RuntimeError, "pip install ipykernel"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_run_that_is_not_whole_leaves_the_old_notebook_and_its_scores(
    notebook, tmp_path, stands_in, error, expected, sentence
):
    out = tmp_path / "out"
    stands_in(leave_scores)
    old = run.run_notebook(notebook, out, progress=False)
    old.write_text("the old one", encoding="utf-8")
    stands_in(raises(error))
    with pytest.raises(expected, match=sentence):
        run.run_notebook(notebook, out, progress=False)
    assert old.read_text(encoding="utf-8") == "the old one"
    assert (out / "scores" / "01_lesson.json").is_file()
    assert (out / "01_lesson.partial.ipynb").read_text(encoding="utf-8") == "new"


def test_a_disk_that_fills_while_the_executed_notebook_is_moved_leaves_the_old_one(
    notebook, tmp_path, stands_in, monkeypatch
):
    stands_in()
    old = run.run_notebook(notebook, tmp_path / "out", progress=False)
    old.write_text("the old one", encoding="utf-8")

    def full(source, target):
        Path(target).write_text("ne", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match=r"01_lesson\.ipynb could not be written \(No space left on device\)"):
        run.run_notebook(notebook, tmp_path / "out", progress=False)
    assert old.read_text(encoding="utf-8") == "the old one"
    assert sorted(p.name for p in (tmp_path / "out").glob("*.ipynb")) == ["01_lesson.ipynb", "01_lesson.partial.ipynb"]


def test_a_whole_run_keeps_no_partial_notebook_and_no_scores_of_an_earlier_one(notebook, tmp_path, stands_in):
    out = tmp_path / "out"
    stands_in(leave_scores)
    run.run_notebook(notebook, out, progress=False)
    assert (out / "scores" / "01_lesson.json").is_file()
    stands_in()
    assert run.run_notebook(notebook, out, progress=False).read_text(encoding="utf-8") == "new"
    assert sorted(p.name for p in out.rglob("*.*")) == ["01_lesson.ipynb", "run.lock"]


def test_a_folder_belongs_to_one_run_at_a_time(course, notebook, tmp_path, stands_in):
    out = tmp_path / "out"
    seen = []

    def second(out):
        for call in (lambda: run.run_notebook(notebook, out), lambda: run.run_notebooks("smoke", out)):
            with pytest.raises(RuntimeError, match="Another run writes into"):
                call()
            seen.append(out)

    stands_in(second)
    run.run_notebook(notebook, out, progress=False)
    run.run_notebooks("smoke", out, progress=False)
    assert seen == [out] * 6
    stands_in()
    run.run_notebook(notebook, out, progress=False)  # the next one may


def test_a_run_that_has_failed_frees_its_folder(notebook, tmp_path, stands_in):
    stands_in(raises(DeadKernelError("Kernel died")))
    for _ in range(2):
        with pytest.raises(run.NotebookFailed):
            run.run_notebook(notebook, tmp_path / "out", progress=False)


def test_paths_mean_the_folder_where_the_run_was_begun(notebook, tmp_path, stands_in, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "vgg.pth").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("VIDLIB_DATA", "own")
    calls = stands_in()
    for digits in ("own", "~/own", Path("own"), tmp_path / "own"):
        run.run_notebook(
            "course/01_lesson.ipynb", "r", {"DIGITS": digits, "VGG_WEIGHTS": "vgg.pth"}, target="~/x.ipynb"
        )
    own, weights = str(tmp_path / "own"), str(tmp_path / "vgg.pth")
    assert [call["parameters"] for call in calls] == [{"DIGITS": own, "VGG_WEIGHTS": weights}] * 4
    assert calls[0]["cwd"] == notebook.parent and calls[0]["data"] == own
    assert (tmp_path / "x.ipynb").read_text() == "new" and not list((tmp_path / "r").glob("*.ipynb"))
    assert os.environ["VIDLIB_DATA"] == "own"


def test_a_source_of_digits_is_no_path_even_beside_a_folder_of_that_name(notebook, tmp_path, stands_in, monkeypatch):
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    calls = stands_in()
    run.run_notebook(notebook, "r", {"DIGITS": "mnist", "WEIGHTS": "convlstm"}, progress=False)
    assert calls[0]["parameters"] == {"DIGITS": "mnist", "WEIGHTS": "convlstm"}


def test_braces_in_a_path_are_nothing_to_fill_in(tmp_path):
    path = write_notebook(tmp_path / "{EPOCHS} {x}" / "01_lesson.ipynb", BODY)
    executed = run.run_notebook(path, tmp_path / "{EPOCHS}{", {"EPOCHS": 3}, progress=False)
    assert executed == tmp_path / "{EPOCHS}{" / "01_lesson.ipynb" and executed.is_file()
    assert json.loads((tmp_path / "{EPOCHS}{" / "seen.json").read_text())[0] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["{EPOCHS} {x}", "{EPOCHS}{"]


def test_a_target_that_cannot_be_is_a_sentence(notebook, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        run.run_notebook(notebook, tmp_path / "file")
    with pytest.raises(ValueError, match="is a folder, expected the name of the executed notebook"):
        run.run_notebook(notebook, tmp_path / "out", target=tmp_path)
    with pytest.raises(ValueError, match="own file"):
        run.run_notebook(notebook, tmp_path / "out", target=notebook)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cells": 3}', "\x00"])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(ValueError, match=r"a\.ipynb cannot be read as a notebook"):
        run.run_notebook(tmp_path / "a.ipynb", tmp_path / "out")
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=r"expected a name that ends in \.ipynb"):
        run.run_notebook(tmp_path / "a.txt", tmp_path / "out")


def test_a_profile_for_one_notebook_passes_what_that_notebook_has(course, notebook, tmp_path):
    assert run.read_profile("smoke", for_notebook=course / "02_second.ipynb") == {"STEPS": 7}
    assert run.read_profile("smoke", for_notebook=notebook) == {"EPOCHS": 1, "LR": 0.01}
    (tmp_path / "mine.yaml").write_text("EPOCH: 2\n")
    with pytest.raises(ValueError, match=r"'EPOCH' \(did you mean 'EPOCHS'\?\) in 01_lesson\.ipynb"):
        run.read_profile(tmp_path / "mine.yaml", for_notebook=notebook)


@pytest.mark.parametrize("content", [b"A: [", b"\xff\xfe\x00", b"A: b: c"])
def test_a_profile_that_is_no_yaml_is_named(tmp_path, content):
    (tmp_path / "mine.yml").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.yml is no YAML"):
        run.read_profile(tmp_path / "mine.yml")


@pytest.mark.parametrize("profile", sorted(p.stem for p in (run.NOTEBOOKS / "profiles").glob("*.yaml")))
def test_a_profile_of_the_course_passes_only_what_a_notebook_has_and_takes(profile):
    values = run.read_profile(profile)
    planned = run.jobs({**values, "DIGITS": "builtin"})  # fails where no notebook has one of them
    assert set().union(*(own for _, own in planned)) == set(values) | {"DIGITS"}
    for path, own in planned:
        assert set(run.read_profile(profile, for_notebook=path)) == set(own) & set(values)


def test_the_rules_know_what_the_course_knows():
    from vidlib import backbones, recipes

    for name, known in (("PROFILE", recipes.PROFILES), ("BACKBONE", backbones.BACKBONES)):
        declared = {name: parameters.Declared("str", "''")}
        for value in known:
            parameters.check_parameters(declared, {name: value}, "here")
        with pytest.raises(ValueError, match=f"{name} is 'none of them'"):
            parameters.check_parameters(declared, {name: "none of them"}, "here")


def running(*cells, **values):
    """The names of a notebook whose first cells have run."""
    return {"In": ["", PARAMETERS, *cells], **values}


def test_a_running_notebook_is_checked_as_a_batch_run_is():
    parameters.check_notebook(
        running("# Parameters\nEPOCHS = 3\n", "%matplotlib inline", "HORIZON = 10", EPOCHS=3, HORIZON=10)
    )
    for injected, sentence in (
        ({"EPOCH": 3}, r"unknown parameter 'EPOCH' \(did you mean 'EPOCHS'\?\)"),
        ({"LR": "1e-3"}, "YAML reads 1e-3 as text"),
        ({"EPOCHS": 0}, "EPOCHS is 0"),
        ({"BATCH_SIZE": 9}, "expected at least one batch"),
    ):
        cell = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in injected.items())
        with pytest.raises(ValueError, match=sentence):
            parameters.check_notebook(running(cell, **injected))
    with pytest.raises(ValueError, match="EPOCHS is -1"):  # typed into the parameter cell itself
        parameters.check_notebook({"In": ["", PARAMETERS], "EPOCHS": -1} | {"In": ["", "EPOCHS: int = 2"]})
    with pytest.raises(ValueError, match="SEED is -1"):  # no record of its cells
        parameters.check_notebook({"SEED": -1})


def test_papermill_by_itself_is_checked_in_the_set_up_call(tmp_path, monkeypatch):
    import papermill

    monkeypatch.setenv("PYTHONPATH", str(run.NOTEBOOKS.parent))
    cells = 'from vidlib.course import setup\nsetup(PROFILE, digits="builtin", seed=SEED)', "print('it ran on')"
    path = write_notebook(tmp_path / "01_lesson.ipynb", *cells)
    with pytest.raises(PapermillExecutionError, match=r"unknown parameter 'EPOCH' \(did you mean 'EPOCHS'\?\)"):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", {"EPOCH": 3}, progress_bar=False)


@pytest.fixture
def lesson(tmp_path):
    """A notebook for sweeps: it counts its runs, leaves a score and fails when it is told to."""
    body = """
runs = out / "runs.txt"
runs.write_text((runs.read_text() if runs.exists() else "") + "x")
(out / "scores").mkdir(exist_ok=True)
row = {"overall": {"mse": 100.0 + EPOCHS}, "clips": 4}
(out / "scores" / "01_lesson.json").write_text(json.dumps({"data": "4 clips", "rows": {"convlstm": row}}))
assert not (EPOCHS == 2 and pathlib.Path(WEIGHTS).exists()), "no such digits"
"""
    return write_notebook(tmp_path / "01_lesson.ipynb", BODY, body)


def table(out):
    with (out / "sweep.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_sweep_goes_on_where_it_failed_and_keeps_what_is_done(lesson, tmp_path):
    stop, out = tmp_path / "stop", tmp_path / "sweep"
    stop.touch()
    grid = {"EPOCHS": [2, 3], "WEIGHTS": [str(stop)]}
    first = sweep(lesson, grid, out, workers=2, progress=False)
    assert [(r["EPOCHS"], r["status"], r.get("convlstm mse")) for r in first] == [
        (2, "failed", None),
        (3, "done", 103.0),
    ]
    assert "AssertionError: no such digits" in first[0]["error"] and first[1]["error"] == ""
    folders = [out / row["run"] for row in first]
    assert (folders[0] / "01_lesson.partial.ipynb").is_file() and (out / first[1]["notebook"]).is_file()
    assert [row["convlstm mse"] for row in table(out)] == ["", "103.0"]
    stop.unlink()
    again = sweep(lesson, grid, out, workers=1, progress=False)
    assert [row["run"] for row in again] == [row["run"] for row in first]
    assert again[1] == first[1]
    assert [(folder / "runs.txt").read_text() for folder in folders] == ["xx", "x"]
    assert [(r["status"], r["convlstm mse"], r["scored on"]) for r in table(out)] == [
        ("done", "102.0", "4 clips"),
        ("done", "103.0", "4 clips"),
    ]


@pytest.fixture
def at_once(monkeypatch):
    """Sweeps in this process: what they run and keep is what counts."""

    class Future:
        def __init__(self, function, *arguments):
            self.outcome = self.error = None
            try:
                self.outcome = function(*arguments)
            except Exception as error:
                self.error = error

        def exception(self):
            return self.error

        def result(self):
            return self.outcome

    class Client:
        def submit(self, function, *arguments, pure):
            return Future(function, *arguments)

    asked = []

    @contextlib.contextmanager
    def client(workers, scheduler):
        asked.append((workers, scheduler))
        yield Client()

    monkeypatch.setattr(sweeps, "_dask_client", client)
    monkeypatch.setattr("dask.distributed.as_completed", list)
    return asked


def test_a_sweep_runs_again_what_is_no_longer_the_same(course, notebook, tmp_path, stands_in, at_once):
    out = tmp_path / "sweep"
    calls = stands_in(leave_scores)

    def runs(grid, **options):
        before = len(calls)
        return sweep(notebook, grid, out, progress=False, **options), len(calls) - before

    both, ran = runs({"EPOCHS": [1, 2]})
    assert ran == 2 and [row["status"] for row in both] == ["done", "done"]
    assert runs({"EPOCHS": [1, 2]})[1] == 0
    assert runs({"EPOCHS": [2, 3]})[1] == 1
    assert [(row["EPOCHS"], row["status"]) for row in table(out)] == [("2", "done"), ("3", "done"), ("1", "done")]
    smoke, ran = runs({"EPOCHS": [1, 2]}, profile="smoke")  # the same grid, another learning rate
    assert ran == 2 and not {row["run"] for row in smoke} & {row["run"] for row in both}
    assert calls[-1]["parameters"] == {"EPOCHS": 2, "LR": 0.01}
    assert runs({"EPOCHS": [1, 2]})[1] == 0
    stored = nbformat.read(notebook, as_version=4)
    stored.cells[0].metadata["note"] = "prose"
    stored.cells.append(new_markdown_cell("More prose"))
    nbformat.write(stored, notebook)
    assert runs({"EPOCHS": [1, 2]})[1] == 0  # the code is the same
    stored.cells.append(new_code_cell("1 + 1"))
    nbformat.write(stored, notebook)
    assert runs({"EPOCHS": [1, 2]})[1] == 2
    (out / both[0]["notebook"]).unlink()
    (out / both[1]["run"] / "run.json").write_text("{")
    assert runs({"EPOCHS": [1, 2]})[1] == 2


def test_a_sweep_that_was_stopped_has_kept_what_was_done(notebook, tmp_path, stands_in, at_once):
    def third(out):
        if len(calls) == 3:
            raise KeyboardInterrupt

    calls = stands_in(third)
    with pytest.raises(KeyboardInterrupt):
        sweep(notebook, {"EPOCHS": [1, 2, 3, 4]}, tmp_path / "sweep", progress=False)
    assert [row["status"] for row in table(tmp_path / "sweep")] == ["waiting"] * 4
    rows = sweep(notebook, {"EPOCHS": [1, 2, 3, 4]}, tmp_path / "sweep", progress=False)
    assert [call["parameters"]["EPOCHS"] for call in calls] == [1, 2, 3, 3, 4]
    assert [row["status"] for row in rows] == ["done"] * 4


def test_a_folder_belongs_to_one_sweep_at_a_time(notebook, tmp_path, stands_in, at_once):
    def second(out):
        with pytest.raises(RuntimeError, match="Another sweep writes into"):
            sweep(notebook, {"EPOCHS": [5]}, tmp_path / "sweep")

    calls = stands_in(second)
    sweep(notebook, {"EPOCHS": [1]}, tmp_path / "sweep", progress=False)
    assert len(calls) == 1


def test_a_sweep_over_paths_and_profiles(notebook, tmp_path, stands_in, at_once, monkeypatch):
    (tmp_path / "own {1}").mkdir()
    monkeypatch.chdir(tmp_path)
    calls = stands_in()
    rows = sweep(notebook, {"DIGITS": ["own {1}", "builtin"], "PROFILE": ["smoke"]}, "sweep", workers=1, progress=False)
    assert [call["parameters"]["DIGITS"] for call in calls] == [str(tmp_path / "own {1}"), "builtin"]
    assert [row["DIGITS"] for row in rows] == ["own {1}", "builtin"]
    assert all((tmp_path / "sweep" / row["run"]).is_dir() and "/" not in row["run"] for row in rows)
    assert at_once == [(1, None)]


def test_scores_that_are_none_fail_their_run_alone(notebook, tmp_path, stands_in, at_once):
    def leave(out):
        leave_scores(out)
        if len(calls) == 1:
            (out / "scores" / "01_lesson.json").write_text('{"rows": {"a": 3}, "data": ""}')

    calls = stands_in(leave)
    rows = sweep(notebook, {"EPOCHS": [1, 2]}, tmp_path / "sweep", progress=False)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert "holds no scores" in rows[0]["error"]


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({}, "the grid is empty"),
        ({"EPOCHS": []}, "a list with at least one value"),
        ({"DIGITS": "mnist"}, "expected a list"),
        ({"EPOCH": [1]}, "did you mean 'EPOCHS'"),
        ({"EPOCHS": [1, "two"]}, "'EPOCHS' is 'two'"),
        ({"EPOCHS": [1, 0]}, "EPOCHS is 0"),
        ({"EPOCHS": [1, 1]}, "expected each value once"),
        ({"DIGITS": ["mnist", "nothing"]}, "DIGITS is 'nothing'"),
    ],
)
def test_a_wrong_grid_stops_before_the_first_run(notebook, tmp_path, grid, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep(notebook, grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "two"])
def test_a_sweep_needs_at_least_one_worker(notebook, tmp_path, workers):
    with pytest.raises(ValueError, match=r"workers is .*, expected a whole number of at least 1"):
        sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out", workers=workers)
    with pytest.raises(ValueError, match="leave one of them out"):
        sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out", workers=2, scheduler="tcp://there:1")
    assert not (tmp_path / "out").exists()


def test_a_sweep_without_dask_says_what_to_install(notebook, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(RuntimeError, match=r"pip install 'dask\[distributed\]'"):
        sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out")


def test_a_scheduler_that_does_not_answer_is_a_sentence(notebook, tmp_path, monkeypatch):
    import dask.distributed

    def refuse(address, timeout):
        raise OSError(f"Timed out trying to connect to {address} after {timeout} s")

    monkeypatch.setattr(dask.distributed, "Client", refuse)
    with pytest.raises(RuntimeError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out", scheduler="tcp://127.0.0.1:1")


def test_refreshed_notebooks_keep_their_source_and_get_clean_outputs(course, tmp_path):
    write_notebook(course / "01_first.ipynb", "print(1)\nprint(EPOCHS)", "import os; os.environ['VIDLIB_GIFS']")
    before = nbformat.read(course / "01_first.ipynb", as_version=4)
    untouched = (course / "02_second.ipynb").read_bytes()
    authoring.refresh_notebooks(["01"], tmp_path / "out", progress=False)
    after = nbformat.read(course / "01_first.ipynb", as_version=4)
    assert [c.source for c in after.cells] == [c.source for c in before.cells]
    assert [c.id for c in after.cells] == [c.id for c in before.cells]
    assert [c.execution_count for c in after.cells] == [1, 2, 3]
    assert [o.get("text") for o in after.cells[1].outputs] == ["1\n2\n"]
    assert after.cells[2].outputs[0].data["text/plain"] == "'datavisualization'"
    assert "papermill" not in json.dumps(after) and "iopub" not in json.dumps(after)
    assert (course / "02_second.ipynb").read_bytes() == untouched


def test_a_notebook_that_fails_to_refresh_is_left_as_it_was(course, tmp_path):
    before = (course / "02_second.ipynb").read_bytes()  # it asserts what only the smoke profile gives
    with pytest.raises(run.NotebookFailed, match="02_second"):
        authoring.refresh_notebooks(["02"], tmp_path / "out", progress=False)
    assert (course / "02_second.ipynb").read_bytes() == before
    with pytest.raises(ValueError, match="no notebook begins with '07'"):
        authoring.refresh_notebooks(["07"], tmp_path / "out", progress=False)


def nbval_lines():
    """Every line of a shell that runs nbval, in what learners, authors and machines follow."""
    root = run.NOTEBOOKS.parent
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob(".github/workflows/*.yml"), root / "Makefile"]
    for page in pages:
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            if "pytest" in line and "--nbval" in line:
                yield page.name, line.strip()


def test_every_run_of_nbval_has_an_end_for_a_cell():
    lines = list(nbval_lines())
    assert {"README.md", "Makefile"} <= {name for name, _ in lines}
    assert [line for _, line in lines if not re.search(r"--nbval-cell-timeout[ =]\d+\b", line)] == []


def test_nbval_names_a_kernel_that_died_and_does_not_wait_for_its_time(tmp_path):
    write_notebook(tmp_path / "01_dies.ipynb", "import os; os._exit(1)", "print(2)")
    options = ["-p", "conftest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    options += ["--nbval-cell-timeout", "3600", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(run.NOTEBOOKS.parent)},
        capture_output=True,
        text=True,
        timeout=300,  # less than the cell's own time
    )
    assert "The kernel died" in done.stdout
    assert "2 failed, 1 passed" in done.stdout
