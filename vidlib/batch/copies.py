"""Copies of the notebooks to work in: what a learner writes stays, and the course can be brought up to date beside it.

The notebooks themselves belong to the course. Whoever runs them there changes them, and the next ``git pull`` stops. So
``work/`` holds copies. A copy is renewed only as long as nobody has changed it; everything else is the learner's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vidlib.batch.run import notebooks
from vidlib.files import atomic_write

_RECORD = ".copied.json"  # name of a copy to the SHA-256 that its cells had when it was made


def work_folder() -> Path:
    """The folder of the copies, beside ``notebooks``: links that begin with ``../`` lead to the same places."""
    return notebooks()[0].parent.parent / "work"


def update_copies() -> dict[str, str]:
    """Copy every notebook that has no copy yet, renew the copies that nobody has changed, and leave all others alone.

    Returns:
        name of the notebook to one of

        - ``"new"``: copied now,
        - ``"renewed"``: the copy was as it had been made, and the course has another notebook now,
        - ``"as it was"``: the learner's, or equal to the course's,
        - ``"behind"``: the learner's, and the course has another notebook than the one that was copied.

    Raises:
        FileNotFoundError: the package was installed without the course around it.
        OSError: a copy could not be written. Those made so far are whole.
    """
    work = work_folder()
    record, found = _read_record(work), {}
    for notebook in notebooks():
        found[notebook.name] = _update(notebook, work / notebook.name, record)
        _write_record(work, record)
    return found


def _update(notebook: Path, copy: Path, record: dict[str, str]) -> str:
    now = _content(notebook.read_bytes())
    if not copy.exists():
        state = "new"
    elif (is_now := _content(copy.read_bytes())) == now:
        state = "as it was"
    elif is_now == record.get(copy.name):
        state = "renewed"
    else:
        return "as it was" if record.get(copy.name) == now else "behind"
    if state != "as it was":
        _copy(notebook, copy)
    if _is_the_courses(notebook, now):
        record[copy.name] = now
    else:  # somebody has worked in it: the copy is all that will be left of that
        record.pop(copy.name, None)
    return state


def reset_copies(names: Sequence[str]) -> list[tuple[Path, Path | None]]:
    """Begin notebooks anew: each copy is set aside under a name of its own and made again.

    Args:
        names: the first letters of the notebooks, such as ``"02"``.

    Returns:
        each fresh copy, and where the earlier one lies now; ``None`` where there was none.

    Raises:
        ValueError: no notebook of that name.
        FileNotFoundError, OSError: as :func:`update_copies`.
    """
    work, course = work_folder(), notebooks()
    for name in names:
        if not (name and any(path.name.startswith(name) for path in course)):
            raise ValueError(f"no notebook begins with {name!r}: there are {', '.join(p.stem for p in course)}.")
    record, done = _read_record(work), []
    for notebook in (path for path in course if path.name.startswith(tuple(names))):
        copy, aside = work / notebook.name, None
        if copy.exists():
            aside = _free_name(copy)
            copy.rename(aside)
        _update(notebook, copy, record)
        _write_record(work, record)
        done.append((copy, aside))
    return done


def open_lab(options: Sequence[str] = ()) -> int:
    """Open JupyterLab on the copies. It serves the whole course, so that their links lead somewhere.

    Args:
        options: further options of JupyterLab, such as ``--no-browser``.

    Returns:
        its exit status.
    """
    work = work_folder()
    place = [f"--ServerApp.root_dir={work.parent}", f"--LabApp.default_url=/lab/tree/{work.name}"]
    with subprocess.Popen([sys.executable, "-m", "jupyterlab", *place, *options], cwd=work.parent) as lab:
        while True:
            try:
                return lab.wait()
            except KeyboardInterrupt:
                continue  # JupyterLab has got it too, and asks by itself whether to stop


def _content(data: bytes) -> str:
    """SHA-256 of the cells: an editor that only opened a notebook saves it with its own kernel's name and version."""
    with suppress(ValueError, KeyError, TypeError):  # no notebook any more: every byte counts
        data = json.dumps(json.loads(data)["cells"], sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _copy(notebook: Path, copy: Path) -> None:
    with atomic_write(copy) as temporary:
        shutil.copyfile(notebook, temporary)


def _free_name(copy: Path) -> Path:
    """``02_convlstm.mine-1.ipynb``, or the next number that is free."""
    number = 1
    while (path := copy.with_name(f"{copy.stem}.mine-{number}{copy.suffix}")).exists():
        number += 1
    return path


def _is_the_courses(notebook: Path, content: str) -> bool:
    """Whether its cells are those that git holds. Without git there is no pull either: it counts as the course's."""
    try:
        if not _git(notebook, "status", "--porcelain", "--", notebook.name).strip():
            return True
    except OSError:
        return True
    return content == _content(_git(notebook, "show", f"HEAD:./{notebook.name}"))


def _git(notebook: Path, *words: str) -> bytes:
    """What git says in the notebook's folder; nothing where it fails."""
    return subprocess.run(["git", *words], cwd=notebook.parent, capture_output=True).stdout


def _read_record(work: Path) -> dict[str, str]:
    """What is damaged or lost counts as empty: every copy is the learner's then."""
    try:
        record = json.loads((work / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(work: Path, record: dict[str, str]) -> None:
    with atomic_write(work / _RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
