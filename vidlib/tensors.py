"""Files of tensors that say what they are and prove that they are whole: safetensors with one header and its hash.

Nothing in such a file can run code, and nothing in it is believed before its numbers have been compared with the
SHA-256 that was written beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vidlib.files import read_whole

FORMAT = 2
_OLDER = 1  # whose hash is of the numbers alone, without names and header


def tensors_to_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """The whole file: the same tensors and header give the same bytes, so hashes can be compared.

    Args:
        tensors: on any device; several names may share one tensor, each gets its own copy.
        header: JSON values; ``format`` and ``sha256``, the hash of all the rest, are filled in. ``buffers`` may name
            tensors that are no weights: a mask may hold infinity.

    Raises:
        ValueError: a header that is not JSON, or a tensor with NaN or infinity.
    """
    copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
    if bad := first_not_finite(_weights(copies, header)):
        raise ValueError(f"{bad} holds NaN or infinity, expected numbers: go back to an earlier checkpoint.")
    try:
        header = json.loads(json.dumps({"format": FORMAT, **header}))  # as it will be read: a tuple becomes a list
    except (TypeError, ValueError) as error:
        raise ValueError(f"config and card are expected as JSON values, but {error}: use text and numbers.") from error
    header["sha256"] = content_hash([copies, header])
    # one metadata entry, because safetensors writes several in an order that changes from run to run
    return save(copies, {"vidlib": json.dumps(header)})


def read_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file of :func:`tensors_to_bytes`, after comparing its hash.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, which says nothing of its contents.
        ValueError: a truncated, changed or foreign file, or one with NaN or infinity in it.
    """
    try:
        data = read_whole(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(
            f"{path} is not there: train a model first, or use load_pretrained with a shipped one."
        ) from error
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}): copy or save it again.") from error
    start = 8 + int.from_bytes(data[:8], "little")
    text = (json.loads(data[8:start]).get("__metadata__") or {}).get("vidlib")
    try:
        header = json.loads(text)
        version = header["format"]
        recorded = header.pop("weights" if version == _OLDER else "sha256")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} has no model header of vidlib, expected a file that this package wrote.") from error
    if version not in (_OLDER, FORMAT):
        raise ValueError(f"{path} has format {version!r}, expected {FORMAT}: update the package or save it again.")
    found = hashlib.sha256(data[start:]).hexdigest() if version == _OLDER else content_hash([tensors, header])
    if found != recorded:
        raise ValueError(f"{path} was changed or damaged after it was saved: copy or save it again.")
    if bad := first_not_finite(_weights(tensors, header)):
        raise ValueError(f"{path} holds NaN or infinity in {bad}: train again with a lower learning rate.")
    return header, tensors


def first_mismatch(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], dtypes: tuple[torch.dtype, ...] = ()
) -> str | None:
    """The first tensor that is missing, unknown, or has another shape or kind, in words.

    Args:
        wanted, found: by their names.
        dtypes: floating-point types that are fine beside the wanted one.
    """
    if missing := [key for key in wanted if key not in found]:
        return f"{missing[0]} is missing"
    if unknown := [key for key in found if key not in wanted]:
        return f"{unknown[0]} is not part of the model"
    for key, value in wanted.items():
        if value.shape != found[key].shape:
            return f"{key} has shape {tuple(found[key].shape)}, expected {tuple(value.shape)}"
        if found[key].dtype not in ((value.dtype, *dtypes) if value.is_floating_point() else (value.dtype,)):
            return f"{key} has dtype {found[key].dtype}, expected {value.dtype}"
    return None


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with NaN or infinity in it."""
    return next((key for key, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()), None)


def content_hash(tree: Any) -> str:
    """SHA-256 of nested dictionaries, lists, tensors, numbers and texts; the order of a dictionary does not matter.

    >>> content_hash({"a": 1, "b": [2.5]}) == content_hash({"b": [2.5], "a": 1}) != content_hash({"a": 1, "b": [2]})
    True
    """
    found = hashlib.sha256()
    for part in _parts(tree):
        found.update(part)
    return found.hexdigest()


def _parts(tree: Any) -> Iterator[bytes | memoryview]:
    if isinstance(tree, Tensor):
        yield f"{tree.dtype}{tuple(tree.shape)}".encode()
        yield memoryview(tree.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(tree, Mapping):
        yield b"{"
        for key in sorted(tree, key=repr):
            yield repr(key).encode()
            yield from _parts(tree[key])
        yield b"}"
    elif isinstance(tree, (list, tuple)):
        yield b"["
        for each in tree:
            yield from _parts(each)
        yield b"]"
    else:
        yield repr(tree).encode() + b";"


def _weights(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in header.get("buffers", ())}
