"""Files that are written whole or not at all, and what identifies them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import fsync
from pathlib import Path

from safetensors import SafetensorError


def sha256(path: str | Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces ``path`` if, and only if, the block succeeds.

    A full disk, a killed process or Ctrl-C leaves the old file as it was. The temporary path ends like ``path``,
    because some writers choose the format by the ending.

    Raises:
        OSError: the file could not be written.
        RuntimeError: the same, from writers that say so with a RuntimeError (``torch.save`` on a full disk).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            fsync(file.fileno())  # the bytes must be on the disk before the name points to them
        temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        sentence = (
            f"{path} could not be written ({reason}) and is as it was before: "
            "free some space on the disk or choose another folder."
        )
        raise (OSError if isinstance(error, OSError) else RuntimeError)(sentence) from error
    finally:
        temporary.unlink(missing_ok=True)
