"""A large file from the network: with progress, resumed where it was interrupted, and whole or not there at all."""

from __future__ import annotations

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from tqdm.auto import tqdm

from vidlib.checks import check_flags, check_texts, reason
from vidlib.files import user_path
from vidlib.machine import impatient_network

_BLOCK = 1 << 20
_PARTIAL, _RANGE_BEYOND = 206, 416  # HTTP: a part as asked; there is nothing beyond


def download(url: str, file: str | Path, md5: str, *, progress: bool = True) -> Path:
    """Fetch a file and check it; what an interrupted download has fetched is kept beside it as ``….part``.

    Args:
        url: where it lies.
        file: where to put it.
        md5: of the whole file, in hexadecimal digits.
        progress: whether to draw a bar.

    Raises:
        RuntimeError: the network or the server failed, or what came is not the file; the sentence says what to do.
        OSError: the file could not be written.
    """
    check_texts(url=url, md5=md5)
    check_flags(progress=progress)
    file = user_path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        with impatient_network():
            _fetch(url, part, file.name, progress)
    except HTTPError as error:
        if error.code != _RANGE_BEYOND:  # all of it is here already
            raise RuntimeError(f"the server says {error.code} ({reason(error)})") from error
    except (OSError, HTTPException) as error:
        raise RuntimeError(str(reason(error))) from error
    if _md5(part) != md5:
        part.unlink()
        raise RuntimeError("what came is not that file, and was deleted")
    part.replace(file)
    return file


def _fetch(url: str, part: Path, name: str, progress: bool) -> None:
    """Append what is missing from a part; from the beginning where the server gives no parts."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request) as answer:
        have = have if answer.status == _PARTIAL else 0
        left = answer.headers.get("Content-Length")
        total = have + int(left) if left else None
        bar = tqdm(total=total, initial=have, desc=name, unit="B", unit_scale=True, disable=not progress)
        with bar, part.open("ab" if have else "wb") as target:
            while block := answer.read(_BLOCK):
                target.write(block)
                have += len(block)
                bar.update(len(block))
    if total is not None and have < total:
        raise OSError(f"the connection ended after {have:,} of {total:,} bytes; what came is kept")


def _md5(file: Path) -> str:
    found = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
