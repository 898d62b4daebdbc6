"""Batch runs: strict parameters before anything runs, folders of their own, sweeps that survive a failed run."""

import csv
import json
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from vidlib import batch

PARAMETERS = """\
EPOCHS: int = 2  # passes over the clips
LR: float = 1e-3  # learning rate
DIGITS: str = "auto"  # where the digits come from
SAVE: bool = False  # keep the weights
CHUNKS: list[int] = [1, 5]  # frames kept of each prediction
WEIGHTS: str = ""  # a file of weights
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
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    return folder


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"EPOCHS": 3, "LR": 1, "DIGITS": "mnist", "SAVE": True},
        {"LR": 1e-4, "CHUNKS": [10], "WEIGHTS": ""},
        {"CHUNKS": [], "WEIGHTS": "a.safetensors"},
    ],
)
def test_parameters_that_fit_pass(notebook, parameters):
    batch.check_parameters(notebook, parameters)


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
        ("COLOUR", 2, r"unknown parameter 'COLOUR' \(expected one of EPOCHS, LR, DIGITS"),
    ],
)
def test_a_wrong_parameter_is_a_sentence_and_nothing_runs(notebook, tmp_path, name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        batch.run_notebook(notebook, tmp_path / "out", {name: value})
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
        ("Path", "anything", True),
    ],
)
def test_annotations(annotation, value, fits):
    assert batch._fits(value, annotation) is fits


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"04_missing\.ipynb does not exist"):
        batch.run_notebook(tmp_path / "04_missing.ipynb", tmp_path / "out")


def test_a_run_does_not_overwrite_its_source(notebook):
    before = notebook.read_bytes()
    with pytest.raises(ValueError, match="own folder"):
        batch.run_notebook(notebook, notebook.parent)
    assert notebook.read_bytes() == before


@pytest.mark.parametrize("words", [["EPOCHS"], ["=2"], ["EPOCHS=2", "LR"]])
def test_a_word_without_a_value_is_no_parameter(words):
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        batch.parse_parameters(words)


def test_booleans_on_the_command_line_may_be_spelt_as_in_yaml():
    assert batch.parse_parameters(["A=true", "B=False", "C=null", "D=a=b"]) == {
        "A": True,
        "B": False,
        "C": None,
        "D": "a=b",
    }


def test_all_notebooks_run_at_a_profile(course, tmp_path, capsys):
    out = tmp_path / "my runs"
    (out / "scores").mkdir(parents=True)
    (out / "scores" / "02_second.json").write_text("of an earlier run")
    executed = batch.run_notebooks("smoke", out, {"EPOCHS": 5}, progress=False)
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
        batch.run_notebooks(profile, tmp_path / "out")
    assert not (tmp_path / "out" / "01_first.ipynb").exists()


def test_an_unknown_profile_names_the_known_ones(course):
    with pytest.raises(ValueError, match=r"unknown profile 'smok', expected laptop, smoke or an existing YAML file"):
        batch.read_profile("smok")
    assert batch.read_profile("laptop") == {}


def test_without_the_course_around_it_the_package_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "NOTEBOOKS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run this from a checkout"):
        batch.run_notebooks("laptop", tmp_path / "out")


def test_prepared_notebooks_keep_their_outputs_and_get_the_parameters(course, tmp_path):
    source = nbformat.read(course / "02_second.ipynb", as_version=4)
    source.cells[1].update(execution_count=2, outputs=[new_output("stream", text="saved\n")])
    nbformat.write(source, course / "02_second.ipynb")
    _, prepared = batch.prepare_notebooks("smoke", tmp_path / "prepared")
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
    first, second = batch.result_table(tmp_path).split("Scored on MNIST.")
    assert "100.00" in first
    assert "101.00" not in first
    assert "101.00" in second


@pytest.mark.parametrize("text", ["", "[]", '{"rows": {"a": {}}, "data": ""}', '{"rows": {"a": 3}, "data": ""}'])
def test_a_file_without_scores_is_named(tmp_path, text):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "02.json").write_text(text)
    with pytest.raises(ValueError, match=r"02\.json holds no scores"):
        batch.result_table(tmp_path)


def test_no_scores_is_said(tmp_path):
    assert "No notebook left scores" in batch.result_table(tmp_path)


def test_a_kernel_that_dies_is_a_sentence(tmp_path):
    path = write_notebook(tmp_path / "01_dies.ipynb", "import os; os._exit(1)")
    with pytest.raises(batch.NotebookFailed, match=r"The kernel of 01_dies\.ipynb died"):
        batch.run_notebook(path, tmp_path / "out", progress=False)


def test_a_sweep_runs_every_combination_and_survives_a_failure(tmp_path):
    path = write_notebook(tmp_path / "01_lesson.ipynb", BODY, 'assert DIGITS != "bad", "no such digits"')
    out = tmp_path / "sweep"
    rows = batch.sweep(path, {"EPOCHS": [3], "DIGITS": ["bad", "builtin"]}, out, workers=2, progress=False)
    assert [(r["run"], r["EPOCHS"], r["DIGITS"], r["status"]) for r in rows] == [
        ("001", 3, "bad", "failed"),
        ("002", 3, "builtin", "done"),
    ]
    assert "AssertionError: no such digits" in rows[0]["error"]
    assert rows[1]["error"] == ""
    assert json.loads((out / "002" / "seen.json").read_text()) == [3, 0.001, "builtin"]
    assert (out / rows[0]["notebook"]).is_file()  # executed up to the cell that failed
    with (out / "sweep.csv").open(encoding="utf-8") as stream:
        assert [r["status"] for r in csv.DictReader(stream)] == ["failed", "done"]


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({}, "the grid is empty"),
        ({"EPOCHS": []}, "a list with at least one value"),
        ({"DIGITS": "mnist"}, "expected a list"),
        ({"EPOCH": [1]}, "did you mean 'EPOCHS'"),
        ({"EPOCHS": [1, "two"]}, "'EPOCHS' is 'two'"),
    ],
)
def test_a_wrong_grid_stops_before_the_first_run(notebook, tmp_path, grid, sentence):
    with pytest.raises(ValueError, match=sentence):
        batch.sweep(notebook, grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sweep_needs_at_least_one_worker(notebook, tmp_path):
    with pytest.raises(ValueError, match="workers is 0"):
        batch.sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out", workers=0)


def test_a_sweep_without_dask_says_what_to_install(notebook, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(RuntimeError, match=r"pip install 'dask\[distributed\]'"):
        batch.sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out")


def test_a_scheduler_that_does_not_answer_is_a_sentence(notebook, tmp_path, monkeypatch):
    import dask.distributed

    def refuse(address, timeout):
        raise OSError(f"Timed out trying to connect to {address} after {timeout} s")

    monkeypatch.setattr(dask.distributed, "Client", refuse)
    with pytest.raises(RuntimeError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        batch.sweep(notebook, {"EPOCHS": [1]}, tmp_path / "out", scheduler="tcp://127.0.0.1:1")


def test_refreshed_notebooks_keep_their_source_and_get_clean_outputs(course, tmp_path):
    write_notebook(course / "01_first.ipynb", "print(1)\nprint(EPOCHS)", "import os; os.environ['VIDLIB_GIFS']")
    before = nbformat.read(course / "01_first.ipynb", as_version=4)
    untouched = (course / "02_second.ipynb").read_bytes()
    batch.refresh_notebooks(["01"], tmp_path / "out", progress=False)
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
    with pytest.raises(batch.NotebookFailed, match="02_second"):
        batch.refresh_notebooks(["02"], tmp_path / "out", progress=False)
    assert (course / "02_second.ipynb").read_bytes() == before
    with pytest.raises(ValueError, match="no notebook begins with 07"):
        batch.refresh_notebooks(["07"], tmp_path / "out", progress=False)
