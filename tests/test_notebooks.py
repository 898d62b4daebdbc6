"""The notebooks: their form, a run at the smoke profile, their saved outputs, and the readers of all that."""

import json
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import badges
import notebook_form
from vidlib import recipes
from vidlib.batch import run as batch
from vidlib.exercises.lessons import EXERCISES

FOLDER = badges.ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.ipynb"))
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture(params=NAMES)
def notebook(request):
    path = FOLDER / f"{request.param}.ipynb"
    assert path.is_file(), f"{path.relative_to(badges.ROOT)} is missing"
    return path


def test_form(notebook):
    assert notebook_form.faults_of_file(notebook) == []


def test_badges_open_this_notebook_of_this_repository(notebook):
    title = nbformat.read(notebook, as_version=4).cells[0].source
    assert badges.colab(notebook.name) in title
    assert badges.binder(notebook.name) in title


@pytest.mark.parametrize("profile", ["smoke", "full"])
def test_a_profile_passes_nothing_that_a_notebook_lacks(notebook, profile):
    assert batch.read_profile(profile).keys() <= batch.declared(notebook).keys()


@pytest.mark.parametrize(
    "notebook, model",
    [("02_convlstm", "convlstm"), ("03_vision_transformer", "video-transformer"), ("04_comparison", "flow-convlstm")],
)
def test_the_budget_of_a_notebook_stands_in_its_recipe(notebook, model):
    path = FOLDER / f"{notebook}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    assert f'trains="{model}"' in cells[notebook_form.setup_index(nbformat.read(path, as_version=4))].source
    declared = batch.declared(path)
    numbers = recipes.notebook_numbers("laptop", model).keys() & declared.keys()
    assert numbers >= {"EPOCHS", "TRAIN_SEQUENCES", "BATCH_SIZE", "TEST_SEQUENCES"}
    assert {name: declared[name].default for name in numbers} == dict.fromkeys(numbers, "None")


def test_every_check_of_a_notebook_has_its_exercise():
    cells = [c for path in batch.notebooks() for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    asked = {name for cell in cells for name in re.findall(r"""\bcheck\(\s*["']([^"']+)["']""", cell.source)}
    assert asked == set(EXERCISES)


def test_nbval_passes_a_true_output_and_catches_a_tampered_one(tmp_path):
    for name, saved in (("true", "1024\n"), ("tampered", "1025\n")):
        cell = new_code_cell(
            "print(4 * 16 * 16)",
            execution_count=1,
            metadata={"tags": ["nbval-check-output"]},
            outputs=[new_output("stream", text=saved)],
        )
        nbformat.write(new_notebook(cells=[cell], metadata=KERNEL), tmp_path / f"{name}.ipynb")
    options = ["-rA", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "60"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "PASSED true.ipynb" in run.stdout
    assert "FAILED tampered.ipynb" in run.stdout
    assert "1 failed, 1 passed" in run.stdout


# --- the reader of the form finds each fault ---


def code(source, *outputs, tags=(), count=None):
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata={"tags": list(tags)})


def sound_notebook():
    """A notebook without faults, small enough to break in one place at a time."""
    cells = [
        new_markdown_cell(
            "# A lesson\nYou will predict a frame.\n\n"
            f"[![Open in Colab](badge.svg)]({badges.colab('01_lesson.ipynb')}) "
            f"[![Launch Binder](badge.svg)]({badges.binder('01_lesson.ipynb')})"
        ),
        new_markdown_cell("## Objectives\n- predict\n\nWhat to know first: tensors. 3 minutes on two laptop cores."),
        code("EPOCHS: int = 2  # passes over the clips", tags=["parameters"]),
        code("from vidlib import course\ncourse.setup()"),
        new_markdown_cell("## A picture\n![Two digits that move right](strip.png)"),
        code("plt.show()", picture()),
        new_markdown_cell("## A tiny tensor"),
        *(code(f"print({n})", new_output("stream", text=f"{n}\n"), tags=["nbval-check-output"]) for n in range(3)),
        new_markdown_cell("## The class"),
        new_markdown_cell("## Exercise 1\nWrite `speed`."),
        code("course.check('speed', speed)"),
        new_markdown_cell("## Recap"),
        new_markdown_cell("## Further reading"),
        new_markdown_cell("## Provenance"),
        code("course.provenance()"),
    ]
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata=dict(KERNEL))


def picture(alt="Two digits", kind="image/png"):
    return new_output("display_data", {kind: "iVBORw0KGgo="}, metadata={kind: {"alt": alt}} if alt else {})


TITLE, OBJECTIVES, PARAMETERS, SETUP, STRIP, FIGURE, TINY, CHECKED = range(8)
CLASS, EXERCISE, CHECK, RECAP = range(10, 14)


def test_a_sound_notebook_has_no_faults():
    assert notebook_form.faults(sound_notebook()) == []


def replaced(cell, old, new):
    def breaks(notebook):
        assert old in notebook.cells[cell].source
        notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)

    return breaks


def shows(output, cell=FIGURE):
    return lambda notebook: notebook.cells[cell].update(outputs=[output])


def tagged(cell, *tags):
    return lambda notebook: notebook.cells[cell].metadata.update(tags=list(tags))


def removed(cell):
    return lambda notebook: notebook.cells.pop(cell)


def html(text):
    return new_output("display_data", {"text/html": text})


def plain(text):
    return new_output("display_data", {"text/plain": text})


@pytest.mark.parametrize(
    ("breaks", "fault"),
    [
        (replaced(TITLE, "# A", "A"), "not a Markdown title"),
        (replaced(TITLE, "colab.research.google.com", "example.org"), "no Colab badge"),
        (replaced(TITLE, "mybinder.org", "example.org"), "no Binder badge"),
        (replaced(TITLE, "You will predict a frame.", ""), "no sentence of promise"),
        (replaced(OBJECTIVES, "## Objectives", "## What comes"), "there is no heading 'Objectives'"),
        (replaced(OBJECTIVES, "What to know first", "Tensors"), "what to know first"),
        (replaced(OBJECTIVES, "3 minutes", "Some time"), "minutes on named hardware"),
        (
            replaced(OBJECTIVES, "## Objectives", "<details></details>\nMore.\n## Objectives"),
            "a folded part and 'More.'",
        ),
        (tagged(PARAMETERS), "0 cells are tagged 'parameters'"),
        (tagged(FIGURE, "parameters"), "2 cells are tagged 'parameters'"),
        (replaced(PARAMETERS, ": int", ""), "is not 'NAME: type = value'"),
        (replaced(PARAMETERS, "  # passes over the clips", ""), "has no comment"),
        (replaced(PARAMETERS, "= 2", "= 1 + 1 * len('')"), "has no plain value"),
        (replaced(PARAMETERS, ": int", ": int | None"), "papermill does not understand"),
        (replaced(PARAMETERS, "= 2", "="), "is not Python"),
        (replaced(SETUP, "setup()", "start()"), "does not call setup()"),
        (replaced(SETUP, "course.setup()", "course.setup()" + "\npass" * 5), "has 7 lines"),
        (replaced(TINY, "## ", ""), "2 sections"),
        (removed(EXERCISE), "no heading 'Exercise'"),
        (replaced(CHECK, "check(", "print("), "has no check()"),
        (removed(RECAP), "no heading 'Recap'"),
        (lambda nb: nb.cells.append(nb.cells.pop(RECAP)), "comes before a heading 'Recap'"),
        (lambda nb: nb.cells[FIGURE].update(execution_count=7), "has execution count 7, expected 3"),
        (lambda nb: nb.cells[PARAMETERS].update(execution_count=None), "has execution count None, expected 1"),
        (shows(new_output("stream", name="stderr", text="UserWarning: slow")), "wrote to stderr: 'UserWarning: slow'"),
        (shows(new_output("error", ename="ValueError", evalue="bad", traceback=[])), "ended in ValueError: bad"),
        (shows(picture(alt="")), "shows an image/png without alt text"),
        (shows(picture(alt=" ", kind="image/gif")), "shows an image/gif without alt text"),
        (shows(html('<img src="a.gif">')), "without alt text"),
        (shows(html('<img src="a.gif" alt="">')), "without alt text"),
        (replaced(STRIP, "Two digits that move right", ""), "without alt text"),
        (tagged(CHECKED), "2 cells are tagged 'nbval-check-output'"),
        (lambda nb: nb.cells[CHECKED].update(outputs=[]), "nothing would be compared"),
        (lambda nb: nb.cells[CHECKED].update(outputs=[picture()]), "nothing would be compared"),
        (tagged(CHECKED, "nbval-check-output", "nbval-ignore-output"), "both to be compared and to be ignored"),
        (tagged(FIGURE, "nbval-skip"), "not 'skip-execution'"),
        (shows(new_output("stream", text="saved in /home/ada/course/runs")), "'/home/ada"),
        (shows(new_output("stream", text=r"saved in C:\Users\ada")), r"C:\\Users"),
        (shows(html('<a href="file:///Users/x.gif">')), "file:///Users/x.gif"),
        (shows(plain("[<matplotlib.lines.Line2D at 0x7f65>]")), "place in memory: '<matplotlib.lines.Line2D at"),
        (shows(plain("<lib.pad.<locals>.Pad object at 0x7F65>")), "place in memory: '<lib.pad.<locals>.Pad object"),
        (shows(plain("<function f at 0x7f65>")), "place in memory: '<function f at"),
        (shows(html("<td>&lt;generator object f at 0x7f65&gt;</td>")), "object f at 0x7f65"),
        (lambda nb: nb.metadata.update(papermill={"output_path": "x"}), "metadata are those of a papermill run"),
        (lambda nb: nb.metadata.kernelspec.update(name="venv-311"), "the kernel is 'venv-311'"),
    ],
)
def test_the_reader_finds_the_fault(breaks, fault):
    notebook = sound_notebook()
    breaks(notebook)
    assert fault in "\n".join(notebook_form.faults(notebook))


@pytest.mark.parametrize("folder", ["root", "home", "work", "tmp", "Users"])
def test_the_reader_finds_a_path_of_any_machine(folder):
    path = f"/{folder}/course"
    for breaks, fault in (
        (shows(new_output("stream", text=f"saved in '{path}'")), f"'{path}'"),
        (shows(html(f'<a href="file://{path}">')), f"file://{path}"),
        (replaced(SETUP, "setup()", f"setup('{path}')"), f"'{path}'"),
    ):
        notebook = sound_notebook()
        breaks(notebook)
        assert fault in "\n".join(notebook_form.faults(notebook))


@pytest.mark.parametrize(
    "output",
    [
        new_output("stream", text="see https://example.org/home/page and ../runs/tmp/a, 3/work"),
        html('<img alt="Two digits" src="data:image/png;base64,AA/tmp/home/AA==">'),
        new_output("display_data", {"image/svg+xml": "<svg/>"}, metadata={"image/svg+xml": {"alt": "A curve"}}),
    ],
)
def test_the_reader_leaves_what_is_sound(output):
    notebook = sound_notebook()
    shows(output)(notebook)
    assert notebook_form.faults(notebook) == []


def test_skipped_cells_need_no_execution_count():
    notebook = sound_notebook()
    notebook.cells.insert(FIGURE, code("trainer.run()", tags=["nbval-skip", "skip-execution"]))
    assert notebook_form.faults(notebook) == []


def test_a_large_file_is_a_fault(tmp_path):
    notebook = sound_notebook()
    notebook.cells[FIGURE].outputs[0].data["image/png"] = "A" * notebook_form.MAX_BYTES
    nbformat.write(notebook, tmp_path / "large.ipynb")
    (fault,) = notebook_form.faults_of_file(tmp_path / "large.ipynb")
    assert "at most 3,000,000 are allowed" in fault


def test_a_fork_moves_every_link_to_its_own_repository_and_no_other():
    fork = "ada/video-course"
    text = json.dumps(sound_notebook()) + (
        f" pip install git+https://github.com/{badges.repository()}"
        f" https://github.com/{badges.repository()}.git https://github.com/{badges.repository()}-extras"
        " https://github.com/pytorch/pytorch"
    )
    moved = badges.rewritten(text, fork)
    assert badges.colab("01_lesson.ipynb", fork) in moved
    assert badges.binder("01_lesson.ipynb", fork) in moved
    assert f"git+https://github.com/{fork}" in moved
    assert f"https://github.com/{fork}.git" in moved
    assert moved.count(badges.repository()) == 1
    assert f"{badges.repository()}-extras" in moved
    assert "https://github.com/pytorch/pytorch" in moved
    assert badges.rewritten(moved) != moved
