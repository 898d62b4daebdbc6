"""Grading: right, wrong and unfinished answers, broken notebooks, and everything that a notebook may try."""

from __future__ import annotations

import csv
import io
import os
import time
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from vidlib.__main__ import main
from vidlib.exercises import grading
from vidlib.exercises.checking import Exercise, judge
from vidlib.exercises.demands import NO_LOOP, without
from vidlib.exercises.grading import Submission, grade, rows, submissions
from vidlib.exercises.lessons import EXERCISES, LESSONS
from vidlib.exercises.source import functions_of, needed_cells, with_source
from vidlib.exercises.wire import Broken, StandIn, Wire

DATA = "01_data_visualization"
TRANSFORMER = "03_vision_transformer"
UNFINISHED = {exercise.name: "not yet" for exercise in LESSONS[DATA].EXERCISES}
STEP = """
import numpy as np

def step(positions, velocities):
    moved = positions + velocities
    hit = (moved <= 0) | (moved >= 1)
    return np.clip(moved, 0, 1), np.where(hit, -velocities, velocities)
"""
MSE = """
def mse_per_frame(prediction, truth):
    return (prediction - truth).square().sum((2, 3, 4)).mean()
"""
WINDOWS = "def rollout_windows(steps, chunk):\n    return -(-steps // chunk)"
STEP_BY_LOOP = """\
def step(positions, velocities):
    new, turned = positions + velocities, velocities.copy()
    for place in np.ndindex(new.shape):
        if not 0 < new[place] < 1:
            turned[place] = -turned[place]
    return np.clip(new, 0, 1), turned
"""


def notebook(*cells: str) -> bytes:
    return nbformat.writes(new_notebook(cells=[new_code_cell(cell) for cell in cells])).encode()


def graded(*cells: str, of: str = DATA, timeout: float = 20.0, **limits) -> grading.Grade:
    return grade(Submission("anna", f"anna/{of}.ipynb", notebook(*cells)), timeout=timeout, **limits)


# the wire


@pytest.fixture
def ends():
    """Two ends of a wire whose far end answers in a thread, as the process of a notebook would."""
    import threading

    pipes = os.pipe(), os.pipe()
    near = Wire(os.fdopen(pipes[0][0], "rb"), os.fdopen(pipes[1][1], "wb"))
    far = Wire(os.fdopen(pipes[1][0], "rb"), os.fdopen(pipes[0][1], "wb"))

    def serve():
        try:
            while True:
                far.answer(far.receive())
        except Broken:
            pass

    threading.Thread(target=serve, daemon=True).start()
    yield near, far
    near._writer.close()


@pytest.mark.parametrize(
    "value",
    [
        None, ..., True, 3, -2.5, float("inf"), "text", 1 + 2j, (1, [2, "x"], {"a": (3,)}), {1, 2}, range(1, 9, 2),
        np.arange(6, dtype=np.int16).reshape(2, 3), np.float32(0.5), np.array([], bool), np.zeros(()),
        torch.arange(4.0).reshape(2, 2), torch.tensor(3), torch.tensor([1.5], dtype=torch.bfloat16),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_travels_as_it_is(ends, value):
    near, far = ends
    came = near.unpack(far.pack(value))
    assert type(came) is type(value)
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        assert came.dtype == value.dtype and came.shape == value.shape
        assert (np.asarray(came.tolist()) == np.asarray(value.tolist())).all()
    else:
        assert came == value


class Liar(float):
    def __eq__(self, other):
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = float.__hash__


def test_of_an_object_with_its_own_opinion_only_the_value_travels(ends):
    near, far = ends
    came = near.unpack(far.pack(Liar(3)))
    assert type(came) is float and came != 4
    other = near.unpack(far.pack(object()))
    assert type(other).__name__ == "object" and other is not object


def test_functions_are_called_where_they_are_and_what_they_write_is_seen(ends):
    near, far = ends

    def double(values, twice):
        values[0] = 7
        return twice(values)

    far.pack(double)
    given = np.array([1.0, 2.0])
    assert (near.call(0, (given, lambda values: 2 * values)) == [14, 4]).all()
    assert given[0] == 7
    with pytest.raises(ZeroDivisionError, match="by zero"):
        near.call(0, (given, lambda values: 1 // 0))
    with pytest.raises(LookupError):
        near.call(5, ())


@pytest.mark.parametrize(
    "packed",
    [{"kind": "array", "dtype": "object", "shape": [1], "raw": ""}, {"kind": "array", "dtype": "int8", "shape": [9],
     "raw": ""}, {"kind": "yours", "number": 0}, {"kind": "eval"}, {"number": 1}, [1], {"kind": "dict", "members": [1]},
     {"kind": "set", "members": [{"kind": "list", "members": []}]}],
    ids=str,
)  # fmt: skip
def test_what_is_no_value_breaks_the_wire(ends, packed):
    with pytest.raises(Broken):
        ends[0].unpack(packed)


@pytest.mark.parametrize("raw", [b"", b"\0\0\0\2[]", b"\xff\xff\xff\xff", b"\0\0\0\5{bad}", b"\0\0\0\0"])
def test_what_is_no_message_breaks_the_wire(raw):
    with pytest.raises(Broken):
        Wire(io.BytesIO(raw), io.BytesIO()).receive()


# the source


def test_what_a_notebook_defines_is_read_and_not_run():
    found = functions_of(
        ["%matplotlib inline\nraise SystemExit", "@danger()\ndef f(a: x = boom(), *, b=1) -> y:\n    return g(a)",
         "g = lambda a: sum(map(abs, a))\nh = g\nf2, g2 = f, g", "no python", "def f(a):\n    return 2"]
    )  # fmt: skip
    assert set(found) == {"f", "g", "h"} and found["h"] is found["g"]
    assert found["f"](1) == 2  # the last one counts


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["def f(a):\n    return [b for b in a]"], "is a Python loop"),
        (["def f(a):\n    n = 0\n    while n < 3:\n        n += 1\n    return a"], "line 3 is a Python loop"),
        (["def g(a):\n    for b in a:\n        pass\n    return a", "def f(a):\n    return g(a)"], "is a Python loop"),
        (["def f(a):\n    return np.vectorize(abs)(a)"], "vectorize is a Python loop"),
        (["def f(a):\n    return a"], None),
    ],
)
def test_demands_on_the_code_are_looked_up_in_the_source(ends, cells, says):
    near, far = ends
    far.pack(lambda a: a)
    exercise = Exercise("f", "Give it back.", lambda a: a, ("?", "?"), lambda: [([1, 2],)], demands=(NO_LOOP,))
    answer = StandIn(near, 0, "f")
    with_source(answer, functions_of(cells)["f"])
    verdict = judge(exercise, answer)
    assert verdict.state == ("wrong" if says else "correct") and (says or "correct") in verdict.sentence
    assert without("vectorize")(answer, []) == (
        "it calls vectorize: do that part yourself" if "vectorize" in str(cells) else None
    )


def test_cells_that_answers_need():
    cells = [
        "import numpy as np",
        "k = 3",
        "model = train(k)",
        "def f(x):\n    c = x\n    return np.sum(c) * k",
        "c = 9",
    ]
    assert needed_cells(cells, ["f"]) == [0, 1, 3]
    assert needed_cells(cells, ["nothing"]) == [] == needed_cells([], ["f"])


# answers


def test_right_and_unfinished():
    found = graded(STEP, "def mse_per_frame(prediction, truth):\n    return ...")
    assert found.states == UNFINISHED | {"step": "correct"} and found.points == 1
    assert not found.remarks and found.notebook == DATA


def test_typical_mistakes_are_named():
    found = graded(
        "import numpy as np",
        STEP_BY_LOOP,
        "def mse_per_frame(prediction, truth):\n    return (prediction - truth).square().mean()",
    )
    assert found.states["step"].startswith("wrong: the results are right, but line 3 is a Python loop")
    assert found.states["mse_per_frame"].endswith("a mean where a sum belongs?")
    found = graded(
        "def step(p, v):\n    p += v\n    return p.clip(0, 1), np.where((p <= 0) | (p >= 1), -v, v)",
        "import numpy as np",
        "def mse_per_frame(prediction, truth):\n    return undefined",
    )
    assert "it writes into `p`: leave the inputs as they are" in found.states["step"]
    assert "NameError" in found.states["mse_per_frame"] and found.points == 0


def test_an_answer_that_hangs_on_a_cell_which_does_not_name_it_is_found():
    found = graded("factor = []", "factor.append(1)", STEP, MSE.replace("truth)", "truth) * factor[0]", 1))
    assert "SyntaxError" not in str(found.remarks)
    found = graded("factor = []", "factor.append(1)", STEP, MSE.replace(".mean()", ".mean() * factor[0]"))
    assert found.points == 2


def test_errors_in_cells_stop_nothing_and_are_remarked():
    found = graded("1 / 0", "this is no python", "import sys; sys.exit(1)", STEP, MSE + "\nraise ValueError('=late')")
    assert found.points == 2
    found = graded("1 / 0", STEP, "def mse_per_frame(a, b):\n    return a")
    assert found.points == 1 and found.remarks == ["cell 1 raised ZeroDivisionError: division by zero"]


def test_the_parameters_are_those_of_a_quick_run():
    cells = ['PROFILE: str = "full"', "assert PROFILE == 'smoke' and DIGITS == 'builtin'\ndef helper():\n    return 1"]
    found = graded(*cells, STEP.replace("moved = ", "moved = helper() * "), "def mse_per_frame(a, b):\n    return a")
    assert found.states["step"] == "correct" and not found.remarks


@pytest.mark.parametrize("name", LESSONS)
def test_every_exercise_can_be_graded(name):
    """A notebook with the package's own functions: every answer is right, and every one is remarked."""
    cells = []
    for exercise in LESSONS[name].EXERCISES:
        module = exercise.reference.__module__ if callable(exercise.reference) else ""
        if not module:
            cells.append(f"{exercise.name} = {exercise.reference!r}")
        elif exercise.inputs:
            cells.append(f"from {module} import {exercise.reference.__name__} as {exercise.name}")
        else:
            cells.append(f"from vidlib.exercises.lessons import EXERCISES\n{exercise.name} = EXERCISES"
                         f"[{exercise.name!r}].right_value()")  # fmt: skip
    found = graded(*cells, of=name, timeout=60)
    assert set(found.states.values()) == {"correct"} and list(found.states) == [e.name for e in LESSONS[name].EXERCISES]
    if any(e.inputs for e in LESSONS[name].EXERCISES):
        assert "is a function that is not written in the notebook" in str(found.remarks)
        assert "reads the package's answers in cell" in str(found.remarks)


# cheats


@pytest.mark.parametrize(
    "cheat",
    [
        # patches of the checks and of what they compare with
        "def check(*_): print('step: correct')\nprint('step: correct'); print('mse_per_frame: correct')\n"
        "import vidlib.exercises.lessons as l, vidlib.exercises.checking as c, vidlib.exercises.differences as d\n"
        "l.verdict = l.checking.judge = c.judge = lambda *_: c.Verdict('step', 'correct', 'correct')\n"
        "d.first_difference = c.first_difference = lambda *_, **__: None\n"
        "import torch, numpy as np, builtins\n"
        "torch.equal = torch.allclose = np.allclose = lambda *_, **__: True\nbuiltins.isinstance = lambda *_: True",
        # an object that agrees with everything
        "class Yes:\n    def __eq__(self, other): return True\n    def __getattr__(self, name): return Yes()\n"
        "    def __call__(self, *_): return self\n    def __iter__(self): return iter([self, self])\n"
        "step = mse_per_frame = Yes()",
        # other messages than the process would send
        "import json\njson.dumps = lambda *_, **__: '{\"result\": true}'",
        "from vidlib.exercises.wire import Wire\nWire.pack = lambda *_: {'kind': 'yours', 'number': 0}",
        "import os, struct\nfor n in range(3, 30):\n    try: os.write(n, struct.pack('>I', 13) + b'{\"ran\": true}')\n"
        "    except OSError: pass",
        "import gc\nfrom vidlib.exercises.wire import Wire\n"
        "w = [o for o in gc.get_objects() if isinstance(o, Wire)][0]\n"
        "w.send({'ran': True}); w.send({'result': True}); w.send({'correct': True, 'points': 2})",
    ],
)  # fmt: skip
def test_no_cheat_makes_a_wrong_answer_right(cheat):
    wrong = "def step(p, v):\n    return p, v\ndef mse_per_frame(a, b):\n    return a.mean()"
    whole = graded(wrong, cheat, timeout=8)
    assert whole.points == 0 and len(whole.states) == len(UNFINISHED)
    assert all(not state.startswith("correct") for state in whole.states.values())


def test_stored_outputs_and_states_count_for_nothing():
    cell = new_code_cell("def step(p, v):\n    return ...", outputs=[new_output("stream", text="step: correct\n")])
    content = nbformat.writes(new_notebook(cells=[cell], metadata={"points": 2, "grade": "correct"})).encode()
    found = grade(Submission("anna", f"{DATA}.ipynb", content), timeout=20)
    assert found.points == 0 and found.states["step"] == "not yet"


def test_a_cell_that_ends_its_process_is_left_out():
    found = graded("import os; os._exit(0)", STEP, MSE + "\nloop = step", "x = step\nwhile True: pass", timeout=4)
    assert found.points == 2
    found = graded("import os; os._exit(3)", STEP, "def mse_per_frame(a, b):\n    return 1.0", timeout=6)
    assert found.states["step"] == "correct" and "cell 1 was left out: the process ended with status 3" in found.remarks


def test_an_answer_without_end_costs_that_answer():
    found = graded("def step(p, v):\n    while True: pass", MSE, timeout=4)
    assert found.states == UNFINISHED | {
        "step": "no answer: the process took more than 4 s",
        "mse_per_frame": "correct",
    }


@pytest.mark.skipif(os.name != "posix", reason="needs the system's limits")
def test_memory_without_end_is_an_error_of_its_cell():
    found = graded("hog = bytearray(20 << 30)", STEP, "def mse_per_frame(a, b):\n    return 1.0", memory=2.0)
    assert found.states["step"] == "correct" and found.remarks == ["cell 1 raised MemoryError: "]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look for processes")
def test_what_a_notebook_starts_ends_with_it(tmp_path):
    mark = f"{time.time_ns()}"
    fork = ("import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', "
            f"'{mark}'], start_new_session=True)\n")  # fmt: skip
    graded(fork + STEP, MSE)

    def alive() -> bool:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if mark.encode() in line.read_bytes():
                    return True
            except OSError:
                continue
        return False

    for _ in range(100):
        if not alive():
            break
        time.sleep(0.05)
    assert not alive()


def test_a_notebook_sees_nothing_of_the_teachers_environment_and_writes_into_its_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TEACHERS_PASSWORD", "secret")
    monkeypatch.chdir(tmp_path)
    cell = (
        "import os, shutil\nfrom pathlib import Path\n"
        "kept = 'TEACHERS_PASSWORD' in os.environ or Path.cwd().name != 'notebooks' or any(Path.cwd().iterdir())\n"
        "Path('grades.csv').write_text('anna,100')\nshutil.rmtree(Path.cwd().parent, ignore_errors=True)\n"
    )
    found = graded(cell + STEP + "\nassert not kept", MSE)
    assert found.points == 2 and not found.remarks and not any(tmp_path.iterdir())


@pytest.mark.skipif(not grading._bubblewrap_works(), reason="bubblewrap does not work here")
def test_in_the_sandbox_there_is_no_network_no_other_process_and_nothing_of_others(tmp_path):
    (tmp_path / "ben").mkdir()
    (tmp_path / "ben" / f"{DATA}.ipynb").write_bytes(notebook(STEP, MSE))
    target = Path.home() / f"vidlib-{time.time_ns()}"
    spy = (
        f"from pathlib import Path\nimport os, socket\nseen = list(Path({str(tmp_path)!r}).rglob('*'))\n"
        f"def tries(f):\n    try: f(); return True\n    except OSError: return False\n"
        f"wrote = tries(lambda: Path({str(target)!r}).write_text('x'))\n"
        "calls = tries(lambda: socket.create_connection(('127.0.0.1', 22), 1)) or os.getppid() > 2\n"
        "others = len(list(Path('/proc').glob('[0-9]*')))\nassert not (seen or wrote or calls) and others < 5\n"
    )
    found = grade(Submission("anna", f"{DATA}.ipynb", notebook(spy, STEP)), timeout=20, hide=tmp_path)
    whole = grade(
        Submission("anna", f"{DATA}.ipynb", notebook(spy, STEP, "def mse_per_frame(a, b): return 0")), hide=tmp_path
    )
    assert found.points == whole.points == 1 and not target.exists()
    assert not found.remarks and not whole.remarks


# folders


def test_a_folder_of_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(grading, "_bubblewrap_works", lambda: False)
    folder = tmp_path / "submissions"
    (folder / "anna" / ".ipynb_checkpoints").mkdir(parents=True)
    (folder / "anna" / f"{DATA}.ipynb").write_bytes(notebook(STEP, MSE))
    (folder / "anna" / ".ipynb_checkpoints" / f"{DATA}-checkpoint.ipynb").write_bytes(b"")
    (folder / f"ben_{DATA}.ipynb").write_bytes(b"{broken")
    (folder / "-carla.ipynb").write_bytes(notebook(WINDOWS))  # known by its exercise
    (folder / "dora.ipynb").write_bytes(notebook("print('poetry')"))
    (folder / "emil.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(folder / "finn.zip", "w") as archive:
        archive.writestr(f"../../{DATA} (2).ipynb", notebook(STEP))
        archive.writestr("__MACOSX/x.ipynb", b"")
    out = tmp_path / "grades.csv"
    assert main(["grade", str(folder), "--out", str(out), "--timeout", "30", "--jobs", "2"]) == 0
    with out.open(encoding="utf-8") as file:
        table = {row["student"]: row for row in csv.DictReader(file)}
    assert list(table) == ["carla", "anna", "ben", "dora", "emil", "finn"]
    assert (table["anna"]["points"], table["anna"]["of"]) == ("2", str(len(UNFINISHED)))
    assert table["anna"]["step"] == "correct"
    assert table["finn"]["points"] == "1" and table["finn"]["mse_per_frame"] == "not yet"
    assert table["carla"]["rollout_windows"] == "correct" and table["carla"]["step"] == ""
    assert table["ben"]["remarks"].startswith("no notebook: ") and table["ben"]["points"] == "0"
    assert table["dora"]["remarks"].startswith("none of the course's notebooks")
    assert table["emil"]["remarks"].startswith("no zip file")
    assert table["carla"]["file"] == "'-carla.ipynb" and table["finn"]["file"].startswith("finn.zip/")
    assert float(table["anna"]["seconds"]) > 0 and "not graded yet" not in out.read_text(encoding="utf-8")
    said = capsys.readouterr().out
    assert "run as this user" in said and f"2 of {len(UNFINISHED)} correct" in said


def test_all_names_are_plain_text_in_the_table():
    grades = [grading.Grade(Submission("=cmd()", "a\nb\x00.ipynb"), remarks=["@x", "y"])]
    (row,) = rows(grades)
    assert row["student"] == "'=cmd()" and row["file"] == "a b .ipynb" and row["remarks"] == "'@x; y"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["."], "holds no notebook"),
        ([".", "--timeout", "0"], "timeout is 0.0"),
        ([".", "--jobs", "0"], "jobs is 0"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", *words, "--out", "grades.csv"]) == 1
    assert says in capsys.readouterr().err and not any(tmp_path.iterdir())


def test_files_that_are_too_large_are_never_read(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "_LARGEST_FILE", 100)
    (tmp_path / "a.ipynb").write_bytes(bytes(101))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.ipynb", bytes(100_000))
    found = list(submissions(tmp_path))
    assert [each.student for each in found] == ["a", "b"]
    assert all(each.fault.startswith("too large") and not each.content for each in found)
    assert grade(found[0]).remarks == [found[0].fault]


@pytest.mark.parametrize(
    "cell", ['solution("step")', "from vidlib.exercises import lessons", "EXERCISES['step'].reference"]
)
def test_a_cell_that_reads_the_answers_is_remarked(cell):
    assert grading.suspicious(["a = 1", cell]) == ["reads the package's answers in cell 2"]


@pytest.mark.parametrize("name", LESSONS)
def test_no_cell_of_the_course_itself_is_remarked(name):
    sources = [source for source, _ in grading._code_cells((grading.NOTEBOOKS / f"{name}.ipynb").read_bytes())]
    assert grading.suspicious(sources, grading._lines(name)) == []


def test_the_grader_knows_every_exercise():
    assert {e.name for lesson in LESSONS.values() for e in lesson.EXERCISES} == set(EXERCISES)
