"""Files of tensors that say what they are and prove that they are whole: safetensors with one header and its hash.

Nothing in such a file can run code, and nothing in it is believed before its numbers have been compared with the
SHA-256 that was written beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FORMAT = 1


def tensors_to_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """The whole file: the same tensors and header give the same bytes, so hashes can be compared.

    Args:
        tensors: on any device; several names may share one tensor, each gets its own copy.
        header: JSON values; ``format`` and ``weights``, the hash of the numbers, are filled in.

    Raises:
        ValueError: a header that is not JSON, or a tensor with NaN or infinity.
    """
    copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
    if bad := first_not_finite(copies):
        raise ValueError(f"{bad} holds NaN or infinity, expected numbers: go back to an earlier checkpoint.")
    whole = {"format": FORMAT, **header, "weights": _body_hash(save(copies))}
    try:
        # one metadata entry, because safetensors writes several in an order that changes from run to run
        return save(copies, {"vidlib": json.dumps(whole)})
    except TypeError as error:
        raise ValueError(f"config and card are expected as JSON values, but {error}: use text and numbers.") from error


def read_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file of :func:`tensors_to_bytes`, after comparing its hash.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, which says nothing of its contents.
        ValueError: a truncated, changed or foreign file, or one with NaN or infinity in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: train a model first, or use load_pretrained with a shipped one.")
    data = path.read_bytes()
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}): copy or save it again.") from error
    start = 8 + int.from_bytes(data[:8], "little")
    text = (json.loads(data[8:start]).get("__metadata__") or {}).get("vidlib")
    try:
        header = json.loads(text)
        version, weights = header["format"], header["weights"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} has no model header of vidlib, expected a file that this package wrote.") from error
    if version != FORMAT:
        raise ValueError(f"{path} has format {version!r}, expected {FORMAT}: update the package or save it again.")
    if _body_hash(data) != weights:
        raise ValueError(f"{path} was changed or damaged after it was saved: copy or save it again.")
    if bad := first_not_finite(tensors):
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


def _body_hash(data: bytes) -> str:
    """SHA-256 of the numbers of a safetensors file, without its header."""
    return hashlib.sha256(memoryview(data)[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
