"""Launch badges and links to this repository, all derived from `project.urls` in pyproject.toml.

After a fork: change the URL there, then `python tests/badges.py` rewrites the pages and the notebooks.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
_OWNER_REPO = r"[\w.-]+/[\w.-]+?"
# Only launch links are surely ours; they tell what the repository was called before.
_LAUNCH = re.compile(rf"(?:colab\.research\.google\.com/github|mybinder\.org/v2/gh)/({_OWNER_REPO})(?=/)")


def project() -> dict:
    """The `[project]` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def repository() -> str:
    """``owner/name`` of this repository."""
    return project()["urls"]["Repository"].removeprefix("https://github.com/").strip("/")


def colab(notebook: str, repo: str | None = None) -> str:
    return f"https://colab.research.google.com/github/{repo or repository()}/blob/{BRANCH}/notebooks/{notebook}"


def binder(notebook: str, repo: str | None = None) -> str:
    return f"https://mybinder.org/v2/gh/{repo or repository()}/{BRANCH}?urlpath=lab/tree/notebooks/{notebook}"


def pages(path: str = "", repo: str | None = None) -> str:
    """An address of the web pages that GitHub serves for the repository."""
    owner, name = (repo or repository()).split("/")
    return f"https://{owner.lower()}.github.io/{name}/{path}"


def launched(text: str) -> set[str]:
    """The repositories that the launch links of a text open."""
    return set(_LAUNCH.findall(text))


def rewritten(text: str, repo: str | None = None, before: set[str] | None = None) -> str:
    """The text with its GitHub links to the repositories ``before``, else those it launches, moved to ``repo``."""
    for old in before or launched(text):
        text = re.sub(
            rf"(github\.com/|/github/|/gh/|codespaces\.new/){re.escape(old)}(?![\w-])",
            rf"\g<1>{repo or repository()}",
            text,
        ).replace(pages(repo=old), pages(repo=repo))
    return text


def badge_files() -> list[Path]:
    """The files that name this repository."""
    return [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff")),
        *sorted((ROOT / "notebooks").glob("*.ipynb")),
    ]


if __name__ == "__main__":
    was = launched((ROOT / "README.md").read_text(encoding="utf-8"))
    for file in badge_files():
        before = file.read_text(encoding="utf-8")
        if (after := rewritten(before, before=was)) != before:
            file.write_text(after, encoding="utf-8", newline="\n")
            print(f"{file.relative_to(ROOT)} now points to {repository()}")
