"""What whoever works on the course relies on: the public checks, the versions that passed, the pages that tell how."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import badges

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
