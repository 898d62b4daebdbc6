"""Any cell of a notebook can be run again: after the first pass, its sections once more, from the last to the first."""

import itertools
import re

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import badges
import notebook_form
from vidlib.batch import run as batch

FOLDER = badges.ROOT / "notebooks"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_SECTION = re.compile(r"^## ", re.M)


def sections(notebook):
    """The code cells of each section that a second pass runs: not the parameters, which begin everything anew."""
    found = [[]]
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and _SECTION.search(cell.source):
            found.append([])
        elif cell.cell_type == "code" and "parameters" not in notebook_form.tags(cell):
            found[-1].append(cell)
    return found


def with_a_second_pass(notebook):
    """The notebook, then its sections backwards; a cell of the second pass names that of the first."""
    again = itertools.chain.from_iterable(reversed(sections(notebook)))
    copies = [new_code_cell(c.source, metadata={**c.metadata, "again": c.id}) for c in again]
    return new_notebook(cells=[*notebook.cells, *copies], metadata=notebook.metadata)


def printed(cell):
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


def executed(notebook, folder, parameters):
    nbformat.write(with_a_second_pass(notebook), folder / "twice.ipynb")
    papermill.execute_notebook(
        batch.papermill_path(folder / "twice.ipynb"),
        batch.papermill_path(folder / "out.ipynb"),
        parameters,
        cwd=FOLDER,
        kernel_name="python3",
        progress_bar=False,
    )
    return nbformat.read(folder / "out.ipynb", as_version=4)


def differing(notebook):
    """The cells whose compared text is another one the second time."""
    first = {cell.id: cell for cell in notebook.cells}
    return [
        (cell.metadata.again, printed(first[cell.metadata.again]), printed(cell))
        for cell in notebook.cells
        if "again" in cell.metadata and "nbval-check-output" in notebook_form.tags(cell)
        if printed(cell) != printed(first[cell.metadata.again])
    ]


@pytest.mark.parametrize("path", batch.notebooks(), ids=lambda path: path.stem)
def test_a_notebook_runs_at_the_smoke_profile_and_every_cell_can_be_run_again(path, tmp_path):
    smoke = dict(batch.jobs(batch.read_profile("smoke")))[path]
    assert smoke, "the smoke profile sets none of this notebook's parameters: it would run at the laptop profile"
    notebook = executed(nbformat.read(path, as_version=4), tmp_path, smoke)
    assert list(notebook_form._outputs(notebook)) == [] and differing(notebook) == []


def small_notebook(*later):
    cells = [
        new_code_cell("SIDE: int = 3", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_markdown_cell("## First"),
        new_code_cell("total = SIDE + 1"),
        new_code_cell("print(total)", metadata={"tags": ["nbval-check-output"]}),
        nbformat.v4.new_markdown_cell("## Second"),
        *map(new_code_cell, later),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def test_the_sections_run_backwards_with_the_parameters_that_were_given(tmp_path):
    notebook = executed(small_notebook("other = 2 * total"), tmp_path, {"SIDE": 5})
    assert [cell.source for cell in notebook.cells[-3:]] == ["other = 2 * total", "total = SIDE + 1", "print(total)"]
    assert printed(notebook.cells[-1]) == "6\n" and differing(notebook) == []


def test_a_reused_name_is_found(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="TypeError"):
        executed(small_notebook("print(SIDE + 1)\nSIDE = 'three'"), tmp_path, {})
    (cell, before, after), *others = differing(executed(small_notebook("print(SIDE)\nSIDE = 30"), tmp_path, {}))
    assert (before, after) == ("4\n", "31\n") and not others
