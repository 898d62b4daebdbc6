"""What whoever works on the course relies on: the public checks, the versions that passed, the pages that tell how."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import badges
import notebook_form
from vidlib.batch.run import notebooks, run_notebook
from vidlib.exercises.lessons import EXERCISES

ROOT = badges.ROOT
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
# Files that tell a machine or a reader what to install or to run
TOLD = [
    *sorted(ROOT.glob("*.md")), ROOT / "Makefile", ROOT / "requirements.txt", ROOT / "constraints.txt",
    ROOT / ".pre-commit-config.yaml", *sorted(ROOT.glob("binder/*")), *sorted(ROOT.glob(".github/**/*.yml")),
]  # fmt: skip
TOLD = [path for path in TOLD if path.exists()]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def workflow() -> dict:
    return yaml.safe_load(read(WORKFLOW))


def commands(text: str) -> list[str]:
    """The lines of a file, those that a backslash continues as one."""
    return re.sub(r"\\\n\s*", " ", text).splitlines()


# --- the public checks ---


def test_actions_are_pinned_by_commit_and_say_their_version():
    used = [line.strip() for line in read(WORKFLOW).splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.fullmatch(r"- uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    versions = {}
    for line in used:
        name, commit, version = re.split(r"[@#]", line.removeprefix("- uses: "))
        assert versions.setdefault(name, (commit, version)) == (commit, version), f"{name} in two versions"


def test_the_checks_run_where_learners_are():
    jobs = workflow()["jobs"]
    assert {"macos-latest", "windows-latest"} <= set(jobs["elsewhere"]["strategy"]["matrix"]["system"])
    for name, job in jobs.items():
        assert job["timeout-minutes"] <= 60, name
    told = [step["run"] for step in jobs["elsewhere"]["steps"] if "run" in step]
    for command in told:  # PowerShell reads them too
        assert not re.search(r"\bmake\b|\$|&&|\\|^\s*\.", command), command
        assert shlex.split(command)[0] == "python", command
    assert any("--profile smoke" in command for command in told)
    assert any("--doctest-modules tests vidlib" in command for command in told)


def test_python_code_in_the_workflow_is_python():
    for job in workflow()["jobs"].values():
        for step in job["steps"]:
            words = shlex.split(step.get("run", ""))
            if "-c" in words:
                compile(words[words.index("-c") + 1], "ci.yml", "exec")


def test_the_tested_pythons_are_those_that_the_package_allows():
    matrix = workflow()["jobs"]["test"]["strategy"]["matrix"]["python"]
    lowest = min(matrix, key=Version)
    assert badges.project()["requires-python"] == f">={lowest}"


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.name)
def test_whoever_runs_nbval_sets_a_limit(path):
    for command in commands(read(path)):
        if "--nbval" in command:
            assert "--nbval-cell-timeout" in command, command


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.name)
def test_the_index_of_torch_serves_nothing_else(path):
    for command in commands(read(path)):
        assert not re.search(r"extra[-_]index", command, re.I), "an extra index serves every package"
        if "download.pytorch.org" in command:
            assert re.search(r"--no-deps .*--index-url \S+ torch torchvision`?$", command), command


# --- the versions that passed ---


def pinned() -> dict[str, Requirement]:
    lines = [line for line in read(ROOT / "constraints.txt").splitlines() if line and not line.startswith("#")]
    return {canonical(one.name): one for one in map(Requirement, lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_has_a_version_that_passed():
    settings = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    learner = [line.partition("#")[0].strip() for line in read(ROOT / "requirements.txt").splitlines()]
    wanted = [line for line in learner if line and not line.startswith("-")] + settings["dependencies"]
    wanted += settings["optional-dependencies"]["dev"] + settings["optional-dependencies"]["scale"]
    versions = pinned()
    for requirement in map(Requirement, wanted):
        assert canonical(requirement.name) in versions, f"{requirement.name} is not in constraints.txt"
        (version,) = versions[canonical(requirement.name)].specifier
        assert version.operator == "==" and requirement.specifier.contains(version.version), requirement.name


def test_a_version_that_passed_fits_every_machine():
    for name, requirement in pinned().items():
        (version,) = requirement.specifier
        assert version.operator == "==" and not Version(version.version).local and not requirement.url, name
        assert not re.match(r"nvidia-|cuda-|triton$|flowing-mnist$", name), name


# --- the pages that tell how ---

GUIDE = ROOT / "CONTRIBUTING.md"
WAYS = ("A model", "A notebook", "An exercise", "A metric")


def section(title: str) -> str:
    """A section of the guide, without its heading."""
    return read(GUIDE).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("title", WAYS)
def test_a_way_has_three_steps_and_the_test_that_guards_it(title):
    text = section(title)
    assert re.findall(r"^(\d)\. ", text, re.M) == ["1", "2", "3"]
    guards = re.findall(r"`(tests/test_\w+\.py)`", text.partition("\nGuarded by ")[2])
    assert guards and all((ROOT / guard).is_file() for guard in guards)


def test_every_path_of_the_guide_is_there():
    named = [span for span in re.findall(r"`([^`\n]+)`", read(GUIDE)) if re.fullmatch(r"[\w./-]+", span)]
    paths = [span for span in named if "/" in span or re.search(r"\.(py|md|txt|ipynb|toml|yml)$", span)]
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("title", "file", "name"),
    [
        ("A model", "vidlib/models/registry.py", "MODELS"),
        ("A model", "vidlib/models/registry.py", "SMALLEST"),
        ("An exercise", "vidlib/exercises/lessons.py", "EXERCISES"),
        ("A metric", "vidlib/metrics.py", "TITLES"),
        ("A metric", "vidlib/metrics.py", "_measure"),
    ],
)
def test_what_the_guide_names_stands_where_it_says(title, file, name):
    assert f"`{name}`" in section(title) and f"`{file}`" in section(title)
    assert re.search(rf"\b{name}\b", read(ROOT / file))


def test_the_guide_is_one_page():
    lines = read(GUIDE).splitlines()
    assert len(lines) <= 90 and max(map(len, lines)) <= 130


def test_the_citation_says_what_the_package_says():
    cited, package = yaml.safe_load(read(ROOT / "CITATION.cff")), badges.project()
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()  # what the format asks for
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert (cited["version"], cited["license"]) == (package["version"], package["license"])
    assert cited["repository-code"] == package["urls"]["Repository"]


def test_the_changelog_has_the_release_that_the_package_is():
    releases = re.findall(r"^## (.+)$", read(ROOT / "CHANGELOG.md"), re.M)
    assert releases[0] == "Unreleased" and releases[1] == badges.project()["version"]
    assert releases[1:] == sorted(releases[1:], key=Version, reverse=True)


@pytest.mark.parametrize("file", badges.badge_files(), ids=lambda path: path.name)
def test_a_fork_moves_whatever_names_this_repository(file):
    text, here = read(file), badges.repository()
    assert f"github.com/{here}" in text
    moved = badges.rewritten(text, "ada/video-course", before={here})
    assert f"/{here}" not in moved and badges.rewritten(moved, here, before={"ada/video-course"}) == text


def test_a_commit_passes_the_checks_of_the_makefile():
    (local,) = yaml.safe_load(read(ROOT / ".pre-commit-config.yaml"))["repos"]
    entries = [hook["entry"] for hook in local["hooks"]]
    makefile = read(ROOT / "Makefile").replace("$(PY)", "python")
    for entry in entries:
        words = shlex.split(entry)
        assert words[:2] == ["python", "-m"]
        if words[2] == "ruff":
            assert f"\t{entry}\n" in makefile
        for word in words:
            path, colons, test = word.partition("::")
            assert not colons or f"def {test}(" in read(ROOT / path)
    assert {shlex.split(entry)[2] for entry in entries} == {"ruff", "pytest"}


# --- the installation ---


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="make is not here")
@pytest.mark.parametrize("succeeds", [True, False])
def test_an_installation_is_quiet_and_one_that_fails_says_why(tmp_path, succeeds):
    """With a Python that only seems to install: 200 lines of pip are no lines on the screen, or the last of them."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").touch()
    pip = tmp_path / "python"
    pip.write_text(
        "#!/bin/sh\n"
        'if [ "$1 $2" = "-m venv" ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi\n'
        'if [ "$1 $2" = "-m pip" ]; then for n in $(seq 200); do echo "Collecting $n"; done; '
        f"exit {0 if succeeds else 1}; fi\n"
        'if [ "$1 $2" = "-m vidlib" ]; then echo "vidlib $3"; fi\n'
    )
    pip.chmod(0o755)

    def make(*words):
        # make test is a make too, and tells those below it so
        outer = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
        return subprocess.run(["make", *words], cwd=tmp_path, env=outer, capture_output=True, text=True, timeout=60)

    run = make("run", f"PYTHON={pip}")
    lines = run.stdout.splitlines()
    log = (tmp_path / ".venv" / "install.log").read_text().splitlines()
    assert lines[0].startswith("Setting up .venv, once.") and "Collecting 200" in log and len(log) == 200
    if succeeds:
        assert run.returncode == 0 and len(lines) == 3 and lines[-1] == "vidlib run"
        assert make("run").stdout == "vidlib run\n"
        for extras in (".venv/.dev", ".venv/.site"):
            assert make(extras).returncode == 0 and (tmp_path / extras).exists()
    else:
        assert run.returncode != 0 and "vidlib run" not in lines
        assert "Collecting 200" in lines and "Collecting 100" not in lines and ".venv/install.log" in lines[-1]
        assert not (tmp_path / ".venv" / ".course").exists()


# --- the template of a lesson ---

TEMPLATE = ROOT / "notebooks" / "template.ipynb"


def test_the_template_is_a_lesson():
    assert notebook_form.faults_of_file(TEMPLATE) == []
    assert TEMPLATE not in notebooks()  # and no lesson of the course
    cells = nbformat.read(TEMPLATE, as_version=4).cells
    asked = {name for cell in cells for name in re.findall(r"""^check\("(\w+)\"""", cell.source, re.M)}
    assert asked and asked <= set(EXERCISES)


def test_the_template_runs(tmp_path):
    parameters = {"PROFILE": "smoke", "DIGITS": "builtin", "TEST_SEQUENCES": 4}
    executed = nbformat.read(run_notebook(TEMPLATE, tmp_path, parameters, progress=False), as_version=4)
    assert list(notebook_form._outputs(executed)) == []
    saved = nbformat.read(TEMPLATE, as_version=4)
    for place in notebook_form.tagged(saved, "nbval-check-output"):
        there = next(cell for cell in executed.cells if cell.source == saved.cells[place].source)
        seen, expected = ("".join(o.text for o in cell.outputs) for cell in (there, saved.cells[place]))
        assert seen == expected  # a kernel cuts what a cell prints where it likes
