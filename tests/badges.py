"""Launch badges and links to this repository, all derived from `project.urls` in pyproject.toml.

After a fork: change the URL there, then `python tests/badges.py` rewrites the README and the notebooks.
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


def rewritten(text: str, repo: str | None = None) -> str:
    """The text with its launch links, and its other GitHub links to the same repository, moved to ``repo``."""
    for old in set(_LAUNCH.findall(text)):
        text = re.sub(rf"(github\.com/|/github/|/gh/){re.escape(old)}(?![\w-])", rf"\g<1>{repo or repository()}", text)
    return text


def badge_files() -> list[Path]:
    """The files that carry badges."""
    return [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]


if __name__ == "__main__":
    for file in badge_files():
        before = file.read_text(encoding="utf-8")
        if (after := rewritten(before)) != before:
            file.write_text(after, encoding="utf-8")
            print(f"{file.relative_to(ROOT)} now points to {repository()}")
