"""The set-up cell on a Colab of our own: its packages, its ``google.colab``, an empty folder, the course from git.

Nothing is downloaded: the environment sees this one's packages, and git serves a copy of this working tree in the place
of the public repository.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from packaging.version import Version

import badges
import notebook_form
from vidlib.batch.run import jobs, notebooks, read_profile

LESSONS = notebooks()
EVERY = [*LESSONS, badges.ROOT / "notebooks" / "template.ipynb"]
SITE = Path(sysconfig.get_path("purelib"))
_OURS = ("vidlib", "flowing_mnist", "__editable__")  # what must come from git and from nowhere else

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Colab is Linux, and links need rights that Windows keeps"),
    pytest.mark.skipif(shutil.which("git") is None, reason="the course comes from git, which is not here"),
    pytest.mark.skipif(
        find_spec("setuptools") is None or Version(version("setuptools")) < Version("77"),
        reason="without network the package is built by this environment's setuptools, which is missing or too old",
    ),
]


def setup_cell(notebook: Path) -> str:
    found = nbformat.read(notebook, as_version=4)
    return found.cells[notebook_form.setup_index(found)].source


def install_cell() -> str:
    """What of it comes before the package is imported."""
    return setup_cell(LESSONS[0]).partition("from vidlib")[0]


def git(*words: str, cwd: Path) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "core.autocrlf=false"]
    return subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True).stdout


class Colab:
    """A fresh environment beside a git remote of the course."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "packages"  # this environment's, without the course
        self.packages.mkdir(parents=True)
        for entry in SITE.iterdir():
            if not (entry.name.startswith(_OURS) or entry.suffix == ".pth" or entry.name == "__pycache__"):
                (self.packages / entry.name).symlink_to(entry)
        venv.create(folder / "env", symlinks=True)
        self.python = folder / "env" / "bin" / "python"
        (self.site,) = (folder / "env").glob("lib/python*/site-packages")
        (self.site / "colab.pth").write_text(str(self.packages))
        (self.site / "google" / "colab").mkdir(parents=True)
        (self.site / "google" / "colab" / "__init__.py").touch()
        self.remote = folder / "remote"
        self.kernels = folder / "kernels"
        self._add_kernel(self.kernels / "colab")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("VIDLIB_", "PIP_", "PYTHON"))
        } | {
            "PATH": os.pathsep.join([str(self.python.parent), os.environ["PATH"]]),
            "HOME": str(folder),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{self.remote.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": f"https://github.com/{badges.repository()}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it upside down: this is --no-build-isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        }

    def _add_kernel(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        command = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        spec = {"argv": command, "display_name": "Colab", "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))

    def run(self, sources: list[str], folder: Path) -> list[str]:
        """What each cell prints; a cell that raises is a CellExecutionError, as for whoever chooses Run All."""
        folder.mkdir(exist_ok=True)
        lesson = new_notebook(cells=[new_code_cell(source) for source in sources])
        kernel = AsyncKernelManager(
            kernel_name="colab", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(self.kernels)])
        )
        client = NotebookClient(lesson, km=kernel, timeout=120, resources={"metadata": {"path": str(folder)}})
        try:
            client.execute(env=self.environment, cleanup_kc=True)
        finally:
            self.printed = ["".join(o.get("text", "") for o in cell.outputs) for cell in lesson.cells]
        return self.printed

    def python_says(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.python, *arguments], env=self.environment, cwd=self.site, capture_output=True, text=True, timeout=120
        )

    def installed(self) -> set[str]:
        return {path.name for path in self.site.glob("*.dist-info")}

    def wheel(self, name: str, requires: str = "") -> Path:
        """A package of nothing, in a folder that pip looks into."""
        shelf = self.site.parents[2] / "shelf"
        shelf.mkdir(exist_ok=True)
        info = f"{name}-1.0.dist-info"
        meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (
            f"Requires-Dist: {requires}\n" if requires else ""
        )
        with zipfile.ZipFile(shelf / f"{name}-1.0-py3-none-any.whl", "w") as file:
            file.writestr(f"{info}/METADATA", meta)
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
        return shelf


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A git repository of the working tree as it is, whatever of it is committed."""
    try:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=badges.ROOT)
    except subprocess.CalledProcessError:
        pytest.skip("this folder is no clone, so that nobody knows which files belong to the course")
    remote = tmp_path_factory.mktemp("git") / "remote"
    for name in filter(None, listed.split("\0")):
        if (badges.ROOT / name).is_file():
            (remote / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(badges.ROOT / name, remote / name)
    git("init", "-q", "-b", badges.BRANCH, cwd=remote)
    git("add", "-A", cwd=remote)
    git("commit", "-q", "-m", "The course", cwd=remote)
    return remote


@pytest.fixture
def colab(tmp_path, source) -> Colab:
    made = Colab(tmp_path / "colab")
    made.remote.symlink_to(source)
    return made


def test_every_notebook_has_the_same_set_up_cell():
    """The call itself may say what the notebook trains."""
    (cell,) = {setup_cell(notebook).partition("course = setup(")[0] for notebook in EVERY}
    (address,) = [word for word in cell.split() if word.startswith("git+")]
    # No tag, which somebody would have to make, and no branch: git takes what the repository shows first.
    assert address == f"git+https://github.com/{badges.repository()}"


def test_notebooks_run_in_an_empty_folder(colab, tmp_path):
    """Each set-up cell, twice; notebook 1 to its end. Neither solutions nor profiles lie there."""
    before = version("torch")
    folder = tmp_path / "content"
    for lesson, smoke in jobs(read_profile("smoke")):
        cells = [c for c in nbformat.read(lesson, as_version=4).cells if c.cell_type == "code"]
        place = next(i for i, cell in enumerate(cells) if cell.source == setup_cell(lesson))
        parameters = "\n".join(f"{name} = {value!r}" for name, value in smoke.items())
        sources = [cells[0].source, f"# Parameters\n{parameters}", cells[place].source, cells[place].source]
        if lesson == LESSONS[0]:
            assert colab.installed() == set()
            sources += [cell.source for cell in cells[place + 1 :]]
            sources += ["from vidlib import load_pretrained", "load_pretrained('convlstm')"]
        printed = colab.run(sources, folder)
        assert "built-in" in printed[2] and before in printed[2]
        assert "install" not in printed[3]  # the second time there is nothing to do
    assert [name.partition("-")[0] for name in colab.installed()] == ["flowing_mnist"]
    assert not (folder / "notebooks").exists()


def test_a_failed_installation_stops_with_one_sentence(colab, tmp_path):
    colab.remote.unlink()  # no network, a repository that has moved: git finds nothing
    with pytest.raises(CellExecutionError) as stopped:
        colab.run([setup_cell(LESSONS[0]), "print('went on')"], tmp_path / "content")
    assert stopped.value.ename == "AssertionError"
    assert stopped.value.evalue.count(".") == 1 and "was not installed" in stopped.value.evalue
    assert colab.printed[1] == ""


def test_a_package_that_wants_another_torch_is_refused_and_the_next_attempt_begins_anew(colab, tmp_path):
    for name in colab.packages.glob("torchmetrics*"):
        name.unlink()
    shelf = colab.wheel("torchmetrics", requires="torch>=99")
    with zipfile.ZipFile(colab.wheel("torch") / "torch-99.0-py3-none-any.whl", "w") as file:
        file.writestr("torch-99.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 99.0\n")
        file.writestr("torch-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("torch-99.0.dist-info/RECORD", "")
    colab.environment["PIP_FIND_LINKS"] = str(shelf)
    with pytest.raises(CellExecutionError, match="was not installed"):
        colab.run([install_cell()], tmp_path / "content")
    assert colab.installed() == set()
    colab.environment["PIP_FIND_LINKS"] = str(colab.wheel("torchmetrics", requires="torch>=1"))  # one that fits
    colab.run([install_cell()], tmp_path / "content")
    assert {name.partition("-")[0] for name in colab.installed()} == {"flowing_mnist", "torchmetrics"}
