"""Copies to work in: a class runs them, `git pull` brings the course up to date, and nobody's work is lost."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import badges
from vidlib.__main__ import main
from vidlib.batch import copies, run

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here, and it is what copies are for")


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *options, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def publish(origin: Path, **notebooks: str) -> None:
    """A new version of the course: name of a notebook to its text."""
    for name, text in notebooks.items():
        (origin / "notebooks" / f"{name[1:]}.ipynb").write_text(text)
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "The course goes on")


@pytest.fixture
def origin(tmp_path) -> Path:
    folder = tmp_path / "origin"
    (folder / "notebooks").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text("work/\n")
    publish(folder, _01_data="data", _02_model="model")
    return folder


@pytest.fixture
def course(tmp_path, origin, monkeypatch) -> Path:
    """A learner's clone."""
    git(tmp_path, "clone", "-q", str(origin), "course")
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path / "course" / "notebooks")
    return tmp_path / "course"


def texts(course: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((course / "work").glob("*.ipynb"))}


def test_after_a_class_git_pulls_and_every_learners_file_is_as_it_was(course, origin):
    assert set(copies.update_copies().values()) == {"new"}
    (course / "work" / "02_model.ipynb").write_text("model, with my answers")
    (course / "work" / "notes.ipynb").write_text("my notes")
    publish(origin, _01_data="better data", _02_model="better model", _03_end="end")

    git(course, "pull", "-q")  # fails where it would have to merge
    assert git(course, "status", "--porcelain") == ""
    found = copies.update_copies()
    assert found == {"01_data.ipynb": "renewed", "02_model.ipynb": "behind", "03_end.ipynb": "new"}
    assert texts(course) == {
        "01_data.ipynb": "better data",
        "02_model.ipynb": "model, with my answers",
        "03_end.ipynb": "end",
        "notes.ipynb": "my notes",
    }
    assert copies.update_copies() == {  # a second time there is nothing new
        "01_data.ipynb": "as it was", "02_model.ipynb": "behind", "03_end.ipynb": "as it was",
    }  # fmt: skip


def test_a_copy_that_was_worked_in_is_not_behind_while_the_course_stays(course):
    copies.update_copies()
    (course / "work" / "01_data.ipynb").write_text("data, run")
    assert copies.update_copies() == {"01_data.ipynb": "as it was", "02_model.ipynb": "as it was"}
    assert texts(course)["01_data.ipynb"] == "data, run"


def notebook(source: str, **kernel: str) -> str:
    return json.dumps({"cells": [{"id": "a", "source": source}], "metadata": {"kernelspec": kernel}, "nbformat": 4})


def test_a_copy_that_was_only_opened_is_still_renewed(course, origin):
    """JupyterLab saves a notebook that nobody touched, with the name and version of its own kernel."""
    publish(origin, _01_data=notebook("a", name="3.11"), _02_model=notebook("b", name="3.11"))
    git(course, "pull", "-q")
    copies.update_copies()
    (course / "work" / "01_data.ipynb").write_text(notebook("a", name="3.12", display_name="Python 3"))
    (course / "work" / "02_model.ipynb").write_text(notebook("b, with my answers", name="3.11"))
    assert set(copies.update_copies().values()) == {"as it was"}
    publish(origin, _01_data=notebook("better a", name="3.11"), _02_model=notebook("better b", name="3.11"))
    git(course, "pull", "-q")
    assert copies.update_copies() == {"01_data.ipynb": "renewed", "02_model.ipynb": "behind"}
    assert texts(course)["01_data.ipynb"] == notebook("better a", name="3.11")


def test_reset_keeps_what_was_there_each_time(course):
    copies.update_copies()
    mine = course / "work" / "02_model.ipynb"
    for number in (1, 2):
        mine.write_text(f"attempt {number}")
        assert copies.reset_copies(["02"]) == [(mine, mine.with_name(f"02_model.mine-{number}.ipynb"))]
        assert mine.read_text() == "model"
    assert texts(course)["02_model.mine-1.ipynb"] == "attempt 1"
    assert texts(course)["02_model.mine-2.ipynb"] == "attempt 2"
    assert copies.update_copies() == {"01_data.ipynb": "as it was", "02_model.ipynb": "as it was"}
    mine.unlink()
    assert copies.reset_copies(["02"]) == [(mine, None)]


def test_work_done_in_the_course_itself_is_taken_along(course, origin):
    """Who has run `notebooks/` gets a copy of that, and may then give the course its own version back."""
    (course / "notebooks" / "01_data.ipynb").write_text("data, run in the wrong place")
    copies.update_copies()
    git(course, "restore", "notebooks")
    publish(origin, _01_data="better data")
    git(course, "pull", "-q")
    assert copies.update_copies()["01_data.ipynb"] == "behind"
    assert texts(course)["01_data.ipynb"] == "data, run in the wrong place"


def test_a_notebook_of_the_course_that_was_only_opened_is_still_the_courses(course, origin):
    """Its copy is renewed once git has given the notebook back; one with cells of the learner's own is kept."""
    publish(origin, _01_data=notebook("a", name="3.11"), _02_model=notebook("b", name="3.11"))
    git(course, "pull", "-q")
    (course / "notebooks" / "01_data.ipynb").write_text(notebook("a", name="3.12", display_name="Python 3"))
    (course / "notebooks" / "02_model.ipynb").write_text(notebook("b, with my answers", name="3.12"))
    copies.update_copies()
    git(course, "restore", "notebooks")
    publish(origin, _01_data=notebook("better a", name="3.11"), _02_model=notebook("better b", name="3.11"))
    git(course, "pull", "-q")
    assert copies.update_copies() == {"01_data.ipynb": "renewed", "02_model.ipynb": "behind"}


@pytest.mark.parametrize("record", [None, "{", "[]"])
def test_without_its_record_every_copy_is_the_learners(course, origin, record):
    copies.update_copies()
    file = course / "work" / ".copied.json"
    file.unlink() if record is None else file.write_text(record)
    publish(origin, _01_data="better data")
    git(course, "pull", "-q")
    assert copies.update_copies()["01_data.ipynb"] == "behind"
    assert texts(course)["01_data.ipynb"] == "data"


def test_without_git_copies_are_made_and_renewed(course, monkeypatch):
    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(copies.subprocess, "run", no_git)
    copies.update_copies()
    (course / "notebooks" / "01_data.ipynb").write_text("a newer download")
    assert copies.update_copies()["01_data.ipynb"] == "renewed"


def test_the_commands_say_what_is_new(course, origin, capsys):
    assert main(["copies"]) == 0
    assert capsys.readouterr().out.splitlines() == ["work/01_data.ipynb: new.", "work/02_model.ipynb: new."]
    assert main(["copies"]) == 0
    assert capsys.readouterr().out == "work/ is up to date.\n"
    (course / "work" / "01_data.ipynb").write_text("mine")
    publish(origin, _01_data="better data", _02_model="better model")
    git(course, "pull", "-q")
    assert main(["copies"]) == 0
    behind, renewed = capsys.readouterr().out.splitlines()
    assert "yours, left as it is" in behind and "`python -m vidlib reset 01`" in behind
    assert renewed == "work/02_model.ipynb: the course's new version; you had not changed it."
    assert main(["reset", "01"]) == 0
    assert capsys.readouterr().out == "work/01_data.ipynb is fresh; yours is now 01_data.mine-1.ipynb.\n"
    assert main(["reset", "07"]) == 1
    assert "no notebook begins with '07': there are 01_data, 02_model." in capsys.readouterr().err


def test_the_package_without_the_course_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path / "notebooks")
    assert main(["copies"]) == 1
    assert "holds no notebooks" in capsys.readouterr().err


def test_git_ignores_the_copies():
    try:
        git(badges.ROOT, "rev-parse", "HEAD")
    except AssertionError:
        pytest.skip("this folder is no clone")
    assert git(badges.ROOT, "check-ignore", "work/01_data_visualization.ipynb")


class Started:
    """What `lab` starts, without starting it. Ctrl-C comes twice before it ends."""

    def __init__(self, command, **options):
        Started.command, Started.options = command, options
        self.returns = iter([KeyboardInterrupt, KeyboardInterrupt, 3])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        if (found := next(self.returns)) is KeyboardInterrupt:
            raise found
        return found


def test_an_interrupted_lab_is_left_to_jupyterlab(course, monkeypatch):
    monkeypatch.setattr(copies.subprocess, "Popen", Started)
    assert copies.open_lab() == 3


def test_lab_serves_the_course_and_opens_the_copies(course, monkeypatch):
    """A file that a notebook links to by `../` is there, and the address that a browser opens leads to the copies."""
    copies.update_copies()
    (course / "studies.md").write_text("a table")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with monkeypatch.context() as patch:
        patch.setattr(copies.subprocess, "Popen", Started)
        copies.open_lab(["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=known"])
    with subprocess.Popen(Started.command, **Started.options, stderr=subprocess.PIPE, text=True) as lab:
        try:
            address = next(word for line in lab.stderr for word in line.split() if word.startswith("http://"))
            server, _, opened = address.partition("?")[0].partition("/lab/")
            assert opened == "tree/work"
            assert json.loads(answer(f"{server}/api/contents/studies.md"))["content"] == "a table"
            found = json.loads(answer(f"{server}/api/contents/work"))["content"]
            assert {entry["name"] for entry in found} == {"01_data.ipynb", "02_model.ipynb"}
            with pytest.raises(urllib.error.HTTPError):
                answer(f"{server}/api/contents/gone.md")
        finally:
            lab.kill()


def answer(address: str) -> bytes:
    """What the server says; it names its address a moment before it listens there."""
    request = urllib.request.Request(address, headers={"Authorization": "token known"})
    for patience in range(100, -1, -1):
        try:
            with urllib.request.urlopen(request, timeout=60) as found:
                return found.read()
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            if not patience:
                raise
            time.sleep(0.1)
