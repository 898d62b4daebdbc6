"""Files that are written whole or not at all, and what identifies them."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from vidlib.checks import shown

_DAY = 24 * 60 * 60  # seconds


def sha256(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with user_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def user_path(path: str | Path) -> Path:
    """A path as its user meant it: from the present working directory, ``~`` as the home.

    Raises:
        ValueError: no path, or a home that nobody knows.
    """
    if not isinstance(path, (str, Path)) or not str(path) or "\0" in str(path):
        raise ValueError(f"{shown(path)} is no path, expected the name of a file or folder.")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} begins with a home that is not known here: write the whole path.") from error


def read_whole(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read, which says nothing of its contents.
    """
    try:
        return user_path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise type(error)(
            f"{path} could not be read ({reason}), which says nothing of its contents: look at its permissions and "
            "at the disk, then try again."
        ) from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces ``path`` if, and only if, the block succeeds.

    A full disk, a killed process or Ctrl-C leaves the old file as it was; what a killed writer left behind is removed
    by the next one. The temporary path ends like ``path``, because some writers choose the format by the ending.
    A link stays a link, and the file that it names is replaced. A pipe or device gets the bytes; a pipe that nobody
    reads gets none.

    Raises:
        OSError: the file could not be written.
        RuntimeError: the same, from writers that say so with a RuntimeError (``torch.save`` on a full disk).
    """
    named, path = path, Path(os.path.realpath(user_path(path)))
    special = path.exists() and not path.is_file() and not path.is_dir()
    folder = Path(tempfile.gettempdir()) if special else path.parent
    temporary = folder / f".{path.stem}-{_writer()}-{secrets.token_hex(4)}{path.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not special:
            _remove_leftovers(path)
        with temporary.open("xb") as file:  # for its mode: some writers make files that only their owner may read
            mode = os.fstat(file.fileno()).st_mode
        temporary.unlink()  # so that a writer that writes nothing, or elsewhere, is an error
        yield temporary
        if special:
            _pour(temporary, path)
            return
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the bytes must be on the disk before the name points to them
        temporary.chmod(stat.S_IMODE(path.stat().st_mode if path.exists() else mode))
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise (OSError if isinstance(error, OSError) else RuntimeError)(_not_written(named, error)) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # named, so that writing text needs no safetensors
            raise
        raise RuntimeError(_not_written(named, error)) from error
    finally:
        with suppress(OSError):  # a folder that is a file, for one, was named already
            temporary.unlink(missing_ok=True)


def _not_written(path: str | Path, error: Exception) -> str:
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return (
        f"{path} could not be written ({reason}) and is as it was before: "
        "free some space on the disk or choose another folder."
    )


def _writer() -> str:
    """This process, for the name of its temporary files: machine and process number."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}.{os.getpid()}"


def _remove_leftovers(path: Path) -> None:
    """Delete temporary files of ``path`` whose writer was killed."""
    machine = _writer().partition(".")[0]
    name = re.compile(rf"\.{re.escape(path.stem)}-(?:(\w{{6}})\.(\d+)-)?[0-9a-f]{{8}}{re.escape(path.suffix)}")
    for other in path.parent.glob(".*"):
        if found := name.fullmatch(other.name):
            with suppress(OSError):  # on Windows, a file in use stays; or another writer was faster
                old = time.time() - other.stat().st_mtime > _DAY
                if old or (found[1] == machine and not _alive(int(found[2]))):
                    other.unlink()


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # asking would end the process there; the age of the file decides
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def _pour(source: Path, target: Path) -> None:
    """Copy the bytes into a pipe or device."""
    flags = os.O_WRONLY | (os.O_NONBLOCK if target.is_fifo() else 0)
    try:
        number = os.open(target, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads: waiting could last for ever
            return
        raise
    os.set_blocking(number, True)  # kept open: closing would tell the reader that this was all
    with source.open("rb") as reader, os.fdopen(number, "wb") as writer:
        shutil.copyfileobj(reader, writer)


def write_rows(file: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV under the names of the first one, whole or not at all.

    Raises:
        ValueError: no rows, or one with a name that the first lacks.
        OSError: the file could not be written.
    """
    if not isinstance(rows, Sequence) or not rows or not all(isinstance(row, Mapping) and row for row in rows):
        raise ValueError(f"there are no rows for {file} in {str(rows)[:80]}, expected at least one dictionary.")
    if unknown := [name for row in rows for name in row if name not in rows[0]]:
        raise ValueError(f"{unknown[0]!r} is no column of {file}, expected one of {', '.join(map(str, rows[0]))}.")
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def print_anywhere() -> None:
    """Let what is printed from here on survive a terminal that cannot write it: an arrow becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a notebook's streams take every character
            stream.reconfigure(errors="replace")


def check_zip(file: str | Path | BinaryIO) -> None:
    """Raise unless every part of a zip file (``torch.save`` writes one) has the checksum that was written with it.

    ``torch.load`` does not compare them.

    Raises:
        zipfile.BadZipFile: the file is truncated or changed.
        OSError: it cannot be read, which says nothing of its contents.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, MemoryError):
        raise
    except Exception as error:  # what a changed directory of the zip file leads to: Python has many words for it
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # invalid: a place before the file's beginning
            raise
        raise zipfile.BadZipFile(f"{type(error).__name__}: {error}") from error
    if damaged:
        raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


@contextmanager
def only_writer(folder: str | Path, what: str) -> Iterator[None]:
    """Hold ``folder`` for one writer at a time, for the length of a ``with`` block.

    The operating system drops the lock when the process ends, however it ends.

    Args:
        folder: made where it is not there.
        what: the work in one word, such as ``"training"``.

    Raises:
        OSError: the folder cannot be used.
        RuntimeError: another process writes there.
    """
    from filelock import FileLock, Timeout

    folder = user_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise type(error)(f"{folder} cannot be used as a folder ({reason}): choose another one.") from error
    try:
        with FileLock(folder / f"{what}.lock", timeout=0):
            yield
    except Timeout as error:
        raise RuntimeError(f"Another {what} writes into {folder}: wait for it, or choose another folder.") from error
