"""What the pages promise is there: commands, links, pictures, badges, requirements, what Binder builds."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import badges
import notebook_form
from notebook_form import text_of

ROOT = badges.ROOT
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "studies/*.md", "notebooks/*.ipynb")
    for path in sorted(ROOT.glob(pattern))
]
_NOT_FOR_READERS = {"jupyterlab", "nbval"}  # the package itself needs neither


def unwritten_targets(text: str, makefile: str) -> set[str]:
    """The make targets that a text tells the reader to use and that the Makefile does not have."""
    spans = re.findall(r"```.*?```|`[^`\n]+`", text, re.S)
    used = {target for span in spans for target in re.findall(r"(?:^|[`\s])make ([a-z][\w-]*)", span)}
    return used - set(re.findall(r"^([a-z][\w-]*):", makefile, re.M))


def broken_links(text: str, folder: Path) -> list[str]:
    """The links and images of a Markdown text that lead to no file in this repository."""
    prose = re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.S)
    links = re.findall(r"\]\(\s*([^)\s]+)", prose) + re.findall(r"""\b(?:src|href)=["']([^"']+)["']""", prose)
    inner = [link for link in links if not re.match(r"[a-z][a-z+.-]*:|//|#", link)]
    return [link for link in inner if not (folder / link.partition("#")[0]).exists()]


def unknown_modules(text: str) -> set[str]:
    """What a text runs with ``python -m`` that neither this repository nor the environment has."""
    named = set(re.findall(r"python3? -m ([\w.]+\w)", text))
    return {name for name in named if find_spec(name.partition(".")[0]) is None or find_spec(name) is None}


def requirements(file: Path) -> dict[str, str]:
    """Package name to version bounds, without options and comments."""
    lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    parsed = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {one.name: str(one.specifier) for one in parsed}


def test_there_is_a_readme():
    assert (ROOT / "README.md").is_file(), "README.md is missing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page):
    text = text_of(page)
    assert unwritten_targets(text, (ROOT / "Makefile").read_text(encoding="utf-8")) == set()
    assert unknown_modules(text) == set()
    assert broken_links(text, page.parent) == []
    assert notebook_form.images_without_alt(text) == []
    assert badges.rewritten(text) == text, "badges of another repository: run `python tests/badges.py`"


def test_the_readme_launches_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        assert badges.colab(notebook.name) in readme
        assert badges.binder(notebook.name) in readme
    assert f"https://github.com/{badges.repository()}/actions/workflows/ci.yml" in readme


def test_the_readme_shows_runs_and_opens_before_it_explains():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", readme, re.M)[:3] == ["Run it", "Open it", "What you learn"]
    top = readme.partition("\n## Run it")[0]
    assert re.findall(r"!\[[^\]]+\]\((\S+\.gif)\)", top) and top.count(".gif") == 1
    until_opened = readme.partition("\n## What you learn")[0]
    shown = re.sub(r"<details>.*?</details>", "", until_opened, flags=re.S).splitlines()
    assert len([line for line in shown if line.strip()]) <= 30  # a screen and a half, with the GIF


def test_details_are_closed_and_leave_their_markdown_alone():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("<details>") == readme.count("</summary>\n\n") == readme.count("\n\n</details>") > 0


def test_the_readme_opens_a_codespace_of_this_repository():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"https://codespaces.new/{badges.repository()}" in readme
    moved = badges.rewritten(readme, "Ada/course")
    assert "https://codespaces.new/Ada/course)" in moved
    lab = "site/lab.html"
    assert f"]({badges.pages(lab)})" in readme and f"](https://ada.github.io/course/{lab})" in moved


def test_the_readers_of_pages_find_faults(tmp_path):
    (tmp_path / "there.gif").touch()
    text = "`make run` and `make cake`, make sense\n```\nmake lab\nmake tea PYTHON=python3\n```\n"
    assert unwritten_targets(text, "run: .venv\nlab:\n") == {"cake", "tea"}
    text = (
        '[a](there.gif#x) [b](gone.md) ![c](gone.gif) <img src="gone.png" alt=""> [d](https://x.org) [e](#top) `[f](g)`'
    )
    assert broken_links(text, tmp_path) == ["gone.md", "gone.gif", "gone.png"]
    assert unknown_modules("`python -m vidlib run`, python -m studies.gone. python -m gone.x") == {
        "studies.gone",
        "gone.x",
    }
    assert notebook_form.images_without_alt(text + " ![ ](x.gif)") == ["![ ](", '<img src="gone.png" alt="">']


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nobody_is_sent_to_the_stranger_on_the_package_index(page):
    source = page.read_text(encoding="utf-8")
    assert not re.search(r"pip3? install (?:-\S+ )*vidlib\b", source)


def test_every_requirement_says_what_it_is_for():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for line in filter(None, lines):
        assert line.startswith("#") or re.search(r"\S\s+# \w", line), f"{line!r} has no comment"


def test_the_package_and_the_requirements_agree():
    dependencies = [Requirement(one) for one in badges.project()["dependencies"]]
    package = {one.name: str(one.specifier) for one in dependencies}
    learner = requirements(ROOT / "requirements.txt")
    assert package == {name: bounds for name, bounds in learner.items() if name not in _NOT_FOR_READERS}


@pytest.mark.skipif(sys.platform == "win32", reason="repo2docker reads the user's id, which Windows has none of")
def test_binder_builds_from_these_files():
    run = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    dockerfile = run.stdout + run.stderr
    for part in ("binder/postBuild", "binder/start"):
        assert part in dockerfile
    assert "python=3.11" in dockerfile
    assert "requirements.txt" not in dockerfile  # else torch would come with CUDA before postBuild has a say


@pytest.mark.skipif(sys.platform == "win32", reason="Binder is Linux")
def test_binder_starts_with_few_threads_and_gives_memory_back():
    look = "import os; print(*(os.environ[n] for n in ('OMP_NUM_THREADS', 'VIDLIB_THREADS', 'MALLOC_TRIM_THRESHOLD_')))"
    run = subprocess.run([ROOT / "binder" / "start", sys.executable, "-c", look], capture_output=True, text=True)
    assert run.stdout.split() == ["2", "2", str(2**20)], run.stderr


def test_the_dev_container_installs_what_binder_installs():
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    container = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))  # the format allows comments
    python = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-")
    assert container["image"].partition(":")[2].startswith(f"{python}-")
    assert container["onCreateCommand"] == "bash binder/postBuild"
    assert unknown_modules(container["updateContentCommand"]) == set()
    (opened,) = container["customizations"]["codespaces"]["openFiles"]
    assert (ROOT / opened.replace("work/", "notebooks/")).is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no executable bit")
def test_scripts_can_be_executed():
    for script in ("binder/postBuild", "binder/start", ".ci/run"):
        assert (ROOT / script).stat().st_mode & 0o100, f"chmod +x {script}"


def test_the_installed_package_is_this_one():
    import vidlib

    assert Path(vidlib.__file__).resolve().parent == ROOT / "vidlib"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"]["vidlib"] == ["pretrained/*", "examples/*", "lab/*"]


def test_the_readme_shows_the_results_of_the_shipped_weights():
    from benchmarks import results

    assert results.table() in (ROOT / "README.md").read_text(encoding="utf-8"), (
        "run `python -m benchmarks.results README.md`"
    )
