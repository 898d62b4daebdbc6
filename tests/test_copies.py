"""Copies to work in: a class runs them, `git pull` brings the course up to date, and nobody's work is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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


def test_lab_serves_the_course_and_opens_the_copies(course):
    """A file that a notebook links to by `../` is there, and the address that a browser opens leads to the copies."""
    (course / "studies.md").write_text("a table")
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--IdentityProvider.token=known"]
    code = (
        "import pathlib, sys; from vidlib.batch import run; run.NOTEBOOKS = pathlib.Path(sys.argv[1]); "
        "from vidlib.__main__ import main; sys.exit(main(['lab', '--', *sys.argv[2:]]))"
    )
    command = [sys.executable, "-c", code, str(course / "notebooks"), *options]
    with subprocess.Popen(command, cwd=badges.ROOT, stderr=subprocess.PIPE, text=True) as lab:
        address = next(word for line in lab.stderr for word in line.split() if word.startswith("http://"))
        server, _, opened = address.partition("?")[0].partition("/lab/")

        def ask(path: str, method: str = "GET") -> bytes:
            request = urllib.request.Request(server + path, method=method, headers={"Authorization": "token known"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()

        try:
            assert opened == "tree/work"
            assert json.loads(ask("/api/contents/studies.md"))["content"] == "a table"
            names = {entry["name"] for entry in json.loads(ask("/api/contents/work"))["content"]}
            assert names == {"01_data.ipynb", "02_model.ipynb"}
            with pytest.raises(urllib.error.HTTPError):
                ask("/api/contents/gone.md")
        finally:
            ask("/api/shutdown", "POST")
            lab.communicate(timeout=60)  # reads on: a server whose words nobody takes does not come to its end
    assert lab.returncode == 0


def test_an_interrupted_lab_is_left_to_jupyterlab(monkeypatch, course):
    class Server:
        """Gets Ctrl-C twice before it ends."""

        returns = iter([KeyboardInterrupt, KeyboardInterrupt, 3])

        def __init__(self, command, **_):
            assert command[:3] == [sys.executable, "-m", "jupyterlab"] and command[-1] == "--port=9999"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait(self):
            if (found := next(self.returns)) is KeyboardInterrupt:
                raise found
            return found

    monkeypatch.setattr(copies.subprocess, "Popen", Server)
    assert copies.open_lab(["--port=9999"]) == 3
