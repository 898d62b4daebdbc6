"""Grade a folder of student notebooks with the checks that the notebooks themselves call.

Nothing that a notebook prints, stores or claims counts. Its cells run in a process of their own, in an empty folder and
with an environment that holds nothing of the teacher's (:mod:`vidlib.exercises.answering`). The checks run here: a
value comes over as plain data (:mod:`vidlib.exercises.wire`), and of a function only what it gives for inputs that are
made here. A notebook may patch the checks, torch or NumPy in its own process as it likes; only right results are right.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from vidlib.batch.run import NOTEBOOKS, read_profile
from vidlib.checks import check_counts, check_numbers
from vidlib.exercises.checking import Exercise, first_line, judge
from vidlib.exercises.lessons import EXERCISES, LESSONS
from vidlib.exercises.source import functions_of, needed_cells, suspicious, with_source
from vidlib.exercises.wire import Broken, StandIn, Wire
from vidlib.files import user_path, write_rows

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_LARGEST_FILE = 50 * 2**20  # bytes of one notebook
_STARTS = 4  # of one notebook: after a cell or an answer that ends the process, the rest gets another one
_STARTING = 60.0  # seconds that Python and torch may take to start on a busy machine, beside the limit
_TOTAL = 5  # so many times the limit of a cell for the whole notebook
_TOKEN = "VIDLIB_GRADING"


@dataclass(frozen=True)
class Submission:
    """One notebook that was handed in.

    Attributes:
        student: the sub-folder or zip file that it lay in, else what its name says beside the notebook's.
        file: where it lay, from the folder of submissions.
        content: its bytes, read before any of them runs.
        fault: why it cannot be graded, in one sentence; else empty.
    """

    student: str
    file: str
    content: bytes = b""
    fault: str = ""


@dataclass
class Grade:
    """What was found of one notebook.

    Attributes:
        submission: what was handed in.
        notebook: which one of the course it is; empty where that is not known.
        states: exercise → ``"correct"``, ``"not yet"``, ``"wrong: …"`` or another reason.
        remarks: what a teacher should look at.
        seconds: how long it took.
    """

    submission: Submission
    notebook: str = ""
    states: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return list(self.states.values()).count("correct")


def grade_folder(
    folder: str | Path,
    out: str | Path,
    *,
    timeout: float = 60.0,
    memory: float = 4.0,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> list[Grade]:
    """Grade all notebooks in a folder, its sub-folders and zip files, and write one row for each.

    Args:
        folder: of the submissions.
        out: the CSV file; it is written anew after every notebook.
        timeout: seconds that one cell or one answer may take; a whole notebook may take five times as long.
        memory: GB that the process of a notebook may take, where the system can limit it.
        jobs: notebooks at a time.
        say: gets a line per notebook.

    Raises:
        ValueError: no such folder, no notebook in it, or a limit that is none.
        OSError: the table could not be written.
    """
    check_numbers(0, open=True, timeout=timeout, memory=memory)
    check_counts(jobs=jobs)
    handed_in = list(submissions(folder))
    if not handed_in:
        raise ValueError(
            f"{folder} holds no notebook, expected files that end in .ipynb, in it, in sub-folders or zips."
        )
    say(_about_sandbox())
    grades = [Grade(each, remarks=["not graded yet"]) for each in handed_in]
    lock = threading.Lock()
    with ThreadPoolExecutor(jobs) as pool:

        def work(place: int) -> None:
            done = grade(handed_in[place], timeout=timeout, memory=memory, hide=user_path(folder))
            with lock:
                grades[place] = done
                write_rows(out, rows(grades))
                say(f"{done.submission.file}: {summary(done)}")

        for finished in [pool.submit(work, place) for place in range(len(grades))]:
            finished.result()
    write_rows(out, rows(grades))  # once more, whatever has been done to the file meanwhile
    return grades


def summary(grade: Grade) -> str:
    """A grade in half a line."""
    if not grade.states:
        return "; ".join(grade.remarks)
    remarks = f"; {grade.remarks[0]}" if grade.remarks else ""
    return f"{grade.points} of {len(grade.states)} correct, {grade.seconds:.0f} s{remarks}"


def rows(grades: Sequence[Grade]) -> list[dict[str, Any]]:
    """The table: one row per notebook, one column per exercise of the notebooks that were handed in."""
    asked = [name for name in EXERCISES if any(name in grade.states for grade in grades)]
    return [
        {
            "student": _plain(grade.submission.student),
            "file": _plain(grade.submission.file),
            "notebook": grade.notebook,
            "points": grade.points,
            "of": len(grade.states),
            **{name: _plain(grade.states.get(name, "")) for name in asked},
            "seconds": round(grade.seconds, 1),
            "remarks": _plain("; ".join(grade.remarks)),
        }
        for grade in grades
    ]


def _plain(text: str) -> str:
    """One line of text that a spreadsheet takes for no formula."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def submissions(folder: str | Path) -> Iterator[Submission]:
    """What was handed in, in the order of the names.

    Raises:
        ValueError: no such folder.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise ValueError(f"{folder} is no folder, expected the folder of the students' notebooks.")
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if any(part.startswith((".", "__MACOSX")) for part in inside.parts) or not path.is_file():
            continue
        if path.suffix == ".ipynb":
            try:
                fault = _too_large(path.stat().st_size)
                content = b"" if fault else path.read_bytes()
            except OSError as error:
                content, fault = b"", f"cannot be read: {error.strerror}"
            yield Submission(_student(inside), inside.as_posix(), content, fault)
        elif path.suffix == ".zip":
            yield from _in_zip(path, inside)


def _in_zip(path: Path, inside: Path) -> Iterator[Submission]:
    student = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    try:
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.infolist(), key=lambda each: each.filename):
                parts = Path(member.filename).parts
                if not member.filename.endswith(".ipynb") or any(
                    p.startswith((".", "__MACOSX")) and p != ".." for p in parts
                ):
                    continue
                name = f"{inside.as_posix()}/{member.filename}"
                fault = _too_large(member.file_size)
                with archive.open(member) as stream:  # never unpacked, so that no member can name a place
                    content = b"" if fault else stream.read(_LARGEST_FILE)
                yield Submission(student, name, content, fault)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        yield Submission(student, inside.as_posix(), fault=f"no zip file that can be read: {error}")


def _too_large(size: int) -> str:
    return f"too large: {size / 2**20:.0f} MB, expected at most 50" if size > _LARGEST_FILE else ""


def _student(inside: Path) -> str:
    if len(inside.parts) > 1:
        return inside.parts[0]
    known = next((name for name in LESSONS if name in inside.stem), "")
    return inside.stem.replace(known, "").strip(" _-.()") or inside.stem


def grade(submission: Submission, *, timeout: float = 60.0, memory: float = 4.0, hide: Path | None = None) -> Grade:
    """Grade one notebook. Never raises because of what was handed in.

    Args:
        timeout, memory: as :func:`grade_folder`.
        hide: a folder that the notebook shall not see, where that is possible.
    """
    found, started = Grade(submission), time.monotonic()
    if submission.fault:
        found.remarks.append(submission.fault)
        return found
    try:
        tagged = _code_cells(submission.content)
    except Exception as error:  # nbformat raises whatever a broken file provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        found.remarks.append(f"no notebook: {reason}")
        return found
    sources = [source for source, _ in tagged]
    found.notebook = _which(submission.file, sources)
    if not found.notebook:
        found.remarks.append(f"none of the course's notebooks: expected one of {', '.join(LESSONS)} in its name")
        return found
    cells = _with_parameters(tagged, _parameters(found.notebook))
    exercises = LESSONS[found.notebook].EXERCISES
    limits = _Limits(timeout, memory, hide, end=started + _STARTING + _TOTAL * timeout)
    found.states = _judged(cells, exercises, found.remarks, limits)
    found.remarks += suspicious(sources, _lines(found.notebook))
    found.seconds = time.monotonic() - started
    return found


def _code_cells(content: bytes) -> list[tuple[str, bool]]:
    """The code cells, and whether each holds the parameters."""
    import nbformat

    cells = nbformat.reads(content.decode("utf-8-sig"), as_version=4).cells
    return [(c.source, "parameters" in c.metadata.get("tags", [])) for c in cells if c.cell_type == "code"]


def _which(file: str, sources: Sequence[str]) -> str:
    """The notebook of the course: by the file's name, else by the exercises that it checks or defines."""
    name = file.rpartition("/")[2]
    for known in LESSONS:
        if known in name:
            return known
    text = "\n".join(sources)
    answered = {
        known: sum(bool(re.search(rf'"{e.name}"|\bdef {e.name}\b', text)) for e in lesson.EXERCISES)
        for known, lesson in LESSONS.items()
    }
    best = max(answered, key=answered.__getitem__)
    return best if answered[best] else ""


@cache
def _parameters(notebook: str) -> dict[str, Any]:
    return read_profile("smoke", for_notebook=NOTEBOOKS / f"{notebook}.ipynb")


@cache
def _lines(notebook: str) -> frozenset[str]:
    """The lines of code that the notebook has as it is handed out."""
    cells = _code_cells((NOTEBOOKS / f"{notebook}.ipynb").read_bytes())
    return frozenset(line for source, _ in cells for line in source.splitlines())


def _with_parameters(tagged: Sequence[tuple[str, bool]], parameters: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The cells under their numbers, with parameters injected where papermill would; a lost tag is found again."""
    cells = [(number, source) for number, (source, _) in enumerate(tagged, 1)]
    place = next((n for n, (source, tag) in enumerate(tagged, 1) if tag or source.startswith("PROFILE")), 0)
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    cells.insert(place, (0, "\n".join(["# Parameters", *lines])))
    return cells


def _judged(
    cells: Sequence[tuple[int, str]],
    exercises: Sequence[Exercise],
    remarks: list[str],
    limits: _Limits,
) -> dict[str, str]:
    """Exercise → state.

    First, only the cells that the answers need are run, which takes seconds. Where that leaves something that is
    wrong or did not run, all cells are: an answer may hang on what a cell does without naming it.
    """
    sources = [source for _, source in cells]
    states: dict[str, str] = {}
    few = _Run([cells[i] for i in needed_cells(sources, [e.name for e in exercises])], sources, limits)
    few.go(exercises, states)
    decided = ("correct",) if few.reason or few.errors else ("correct", "not yet")
    states = {name: state for name, state in states.items() if state in decided}
    if len(states) == len(exercises):
        remarks += few.remarks
        return states
    whole = _Run(cells, sources, limits)
    for _ in range(_STARTS):  # a cell or an answer that ends the process is left out, the rest gets another process
        whole.go(exercises, states)
        if not (whole.reason and whole.leave_out(states)) or limits.used_up:
            break
    remarks += list(dict.fromkeys(few.remarks + whole.remarks))
    if whole.errors:
        first, *others = sorted(whole.errors)
        more = f" (and {len(others)} more)" if others else ""
        remarks.append(f"cell {first} raised {whole.errors[first]}{more}")
    return {e.name: states.get(e.name, f"not run: the process {whole.reason}") for e in exercises}


@dataclass
class _Limits:
    timeout: float  # seconds for a cell or an answer
    memory: float  # GB
    hide: Path | None
    end: float  # of the time for the whole notebook

    @property
    def used_up(self) -> bool:
        return time.monotonic() > self.end


class _Run:
    """Cells that are run in one process, or in several where they end it."""

    def __init__(self, cells: Sequence[tuple[int, str]], sources: Sequence[str], limits: _Limits) -> None:
        self._cells, self._limits = list(cells), limits
        self._written = functions_of(sources)
        self._at: tuple[str, Any] = ("start", None)
        self.reason = ""  # why the last process ended too early
        self.errors: dict[int, str] = {}
        self.remarks: list[str] = []

    def go(self, exercises: Sequence[Exercise], states: dict[str, str]) -> None:
        """Run the cells, and judge the answers that have no state yet."""
        self._at, self.reason, self.errors = ("start", None), "", {}
        with _Child(self._limits) as child:
            try:
                child.begin(self._cells)
                while "cell" in (message := child.next_message()):
                    number = message["cell"] if isinstance(message["cell"], int) else 0
                    self._at = ("cell", number)
                    if "error" in message:
                        self.errors[number] = str(message["error"])[:120]
                for exercise in exercises:
                    if exercise.name not in states:
                        self._at = ("answer", exercise.name)
                        states[exercise.name] = self._state(exercise, child)
            except Broken:
                self.reason = child.why_it_ended()

    def _state(self, exercise: Exercise, child: _Child) -> str:
        child.allow()
        try:
            answer = child.wire.call(0, (exercise.name,))
        except Exception as error:  # the notebook has changed its process so far that it doesn't even find its names
            return f"wrong: the answer cannot be read: {first_line(error)}"
        if isinstance(answer, StandIn):
            with_source(answer, self._written.get(exercise.name))
            if exercise.name not in self._written:
                self.remarks.append(f"{exercise.name} is a function that is not written in the notebook")
        verdict = judge(exercise, answer)
        return f"wrong: {verdict.sentence}" if verdict.state == "wrong" else verdict.state

    def leave_out(self, states: dict[str, str]) -> bool:
        """Go around what ended the process the next time; ``False`` where nothing is to blame."""
        kind, what = self._at
        if kind == "answer":
            states[what] = f"no answer: the process {self.reason}"
            return True
        kept = [cell for cell in self._cells if kind != "cell" or cell[0] != what]
        if len(kept) == len(self._cells):
            return False
        self._cells = kept
        self.remarks.append(f"cell {what} was left out: the process {self.reason}")
        return True


class _Child:
    """The process of one notebook, in a folder of its own that goes with it."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = limits
        self._late = False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> _Child:
        self._folder = tempfile.TemporaryDirectory(prefix="vidlib-grading-", ignore_cleanup_errors=True)
        place = Path(self._folder.name).resolve()
        for name in ("home", "tmp", "runs", "data", "notebooks", "matplotlib"):
            (place / name).mkdir()
        _copy_font_list(place / "matplotlib")
        self._token = place.name
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*_sandbox(place, self._limits.hide), sys.executable, "-P", "-m", "vidlib.exercises.answering"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=place / "notebooks",
            env=_environment(place, self._token),
            start_new_session=True,
        )
        self.wire = Wire(self._process.stdout, self._process.stdin)
        return self

    def begin(self, cells: Sequence[tuple[int, str]]) -> None:
        self.allow(_STARTING)
        most = {"memory": int(self._limits.memory * 2**30), "seconds": int(_TOTAL * self._limits.timeout) + 1}
        self.wire.send({"cells": [list(cell) for cell in cells], **most})

    def next_message(self) -> dict[str, Any]:
        message = self.wire.receive()
        self.allow()
        return message

    def allow(self, more: float = 0.0) -> None:
        """Give the process the time of one cell or answer from now on, as far as the notebook has some left."""
        if self._timer:
            self._timer.cancel()
        seconds = min(self._limits.timeout + more, self._limits.end - time.monotonic())
        self._timer = threading.Timer(max(0.0, seconds), self._too_late)
        self._timer.daemon = True
        self._timer.start()

    def _too_late(self) -> None:
        self._late = True
        self._kill()

    def why_it_ended(self) -> str:
        """What became of the process, to stand after "the process"."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.poll()
        if self._late:
            limit = f"took more than {self._limits.timeout:g} s"
            return "had used up the time for the notebook" if self._limits.used_up else limit
        if status is None:
            return "sent something that is no answer"
        if status in (-getattr(signal, "SIGKILL", 9), 137):
            return "was killed, perhaps because it took too much memory"
        said = self._last_line()
        return f"ended with status {status}{f' ({said})' if said else ''}"

    def _last_line(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:120] if lines else ""

    def _kill(self) -> None:
        if os.name == "posix":
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(OSError):
            self._process.kill()

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._kill()
        _kill_marked(self._token)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with suppress(OSError):
                stream.close()
        self._folder.cleanup()


def _kill_marked(token: str) -> None:
    """End what a notebook has started and cut loose: its environment at the start still names the folder."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{_TOKEN}={token}".encode() in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)


def _environment(place: Path, token: str) -> dict[str, str]:
    kept = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # what Python and torch need to start
    own = {
        "HOME": place / "home",
        "TMPDIR": place / "tmp",
        "TEMP": place / "tmp",
        "IPYTHONDIR": place / "home",
        "MPLCONFIGDIR": place / "matplotlib",
        "MPLBACKEND": "Agg",
        "VIDLIB_RUNS": place / "runs",
        "VIDLIB_DATA": place / "data",
        "PYTHONPATH": _PACKAGE_ROOT,
        "OMP_NUM_THREADS": 1,
        _TOKEN: token,
    }
    passed = {name: os.environ[name] for name in kept if name in os.environ}
    return passed | {name: str(value) for name, value in own.items()}


def _copy_font_list(folder: Path) -> None:
    """matplotlib would search the system for fonts in every new home, which takes longer than most notebooks."""
    import matplotlib

    with suppress(OSError):
        for file in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
            shutil.copy(file, folder)


def _sandbox(place: Path, hide: Path | None) -> list[str]:
    """The words before the command that shut the process in, where bubblewrap can do that; none elsewhere."""
    if not _bubblewrap_works():
        return []
    needed = [_PACKAGE_ROOT, Path(sys.prefix), Path(sys.base_prefix)]
    words = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", tempfile.gettempdir()]
    for path in needed:
        words += ["--ro-bind", str(path), str(path)]
    if hide and not any(path.is_relative_to(hide.resolve()) for path in needed):
        words += ["--tmpfs", str(hide.resolve())]
    words += ["--bind", str(place), str(place), "--chdir", str(place / "notebooks")]
    return [*words, "--unshare-all", "--die-with-parent", "--new-session"]


@cache
def _bubblewrap_works() -> bool:
    try:
        command = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "true"]
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _about_sandbox() -> str:
    if _bubblewrap_works():
        return "Each notebook runs in a bubblewrap sandbox: no network, nothing to write to but a folder of its own."
    return (
        "bubblewrap is not here: the notebooks run as this user and can do to files what you can. Grade people you do "
        "not know in a container, or install bubblewrap (Linux)."
    )
