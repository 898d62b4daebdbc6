"""Values between two processes that don't trust each other: as data, never as pickles, which could run code.

Numbers, texts, arrays, tensors, and containers of them travel as themselves. A function stays where it is: the other
side gets a stand-in, and each call of that travels here and back. Of everything else, only the type's name travels.
"""

from __future__ import annotations

import base64
import builtins
import json
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch

_LARGEST = 64 * 2**20  # bytes of one message: some hundred clips
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
           "float16", "float32", "float64", "complex64", "complex128")  # fmt: skip
_DEEPEST = 20  # containers in containers


class Broken(BaseException):
    """The other side is gone, or does not keep to the form. No ``except Exception`` of a check stops it."""


class StandIn:
    """A function of the other side.

    Calling it sends the arguments there. What the function there writes into arrays, tensors and lists among them is
    written into them here too.
    """

    def __init__(self, wire: Wire, number: int, name: str) -> None:
        self.__name__ = name
        self._wire, self._number = wire, number

    def __call__(self, *arguments: Any) -> Any:
        return self._wire.call(self._number, arguments)

    def __deepcopy__(self, memo: dict) -> StandIn:
        return self


class Wire:
    """One end of the connection. Both ends may call functions that they were handed."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._own: list[Callable] = []

    def send(self, message: Mapping[str, Any]) -> None:
        try:
            raw = json.dumps(message).encode()
            if len(raw) > _LARGEST:
                raise ValueError(f"{len(raw):,} bytes are too large, expected at most {_LARGEST:,}")
            self._writer.write(struct.pack(">I", len(raw)) + raw)
            self._writer.flush()
        except OSError as error:
            raise Broken(str(error)) from error

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises:
            Broken: there is none, or it is none.
        """
        try:
            head = self._reader.read(4)
            size = struct.unpack(">I", head)[0] if len(head) == 4 else 0
            if not 0 < size <= _LARGEST:
                raise ValueError("no message")
            message = json.loads(self._reader.read(size))
            if not isinstance(message, dict):
                raise ValueError("no dictionary")
        except (OSError, ValueError, RecursionError) as error:
            raise Broken(str(error)) from error
        return message

    def call(self, number: int, arguments: tuple) -> Any:
        """What the other side's function gives.

        Raises:
            Exception: of the same name as the one that the function raised.
            Broken: the other side is gone.
        """
        self.send({"call": number, "arguments": [self.pack(argument) for argument in arguments]})
        while True:
            reply = self.receive()
            if "call" in reply:  # it calls back, a function that was among the arguments
                self.answer(reply)
                continue
            if "raised" in reply:
                raise _error(reply["raised"], reply.get("says"))
            if "result" not in reply:
                raise Broken("no result")
            changed = reply.get("arguments")
            for given, packed in zip(arguments, changed if isinstance(changed, list) else (), strict=False):
                _write_back(given, self.unpack(packed))
            return self.unpack(reply["result"])

    def answer(self, message: Mapping[str, Any]) -> None:
        """Call one of this side's functions, as the other side asked, and send what it gives."""
        number = message.get("call")
        try:
            if not (isinstance(number, int) and 0 <= number < len(self._own)):
                raise LookupError("there is no such function")
            arguments = [self.unpack(packed) for packed in message.get("arguments", ())]
            result = self._own[number](*arguments)
            reply = {"result": self.pack(result), "arguments": [self.pack(argument) for argument in arguments]}
            self.send(reply)
        except (Exception, SystemExit) as error:
            self.send({"raised": type(error).__name__, "says": str(error)[:500]})

    def pack(self, value: Any, depth: int = 0) -> Any:
        """A value as what JSON can say."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if value is ...:
            return {"kind": "ellipsis"}
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu()
            half = plain.dtype == torch.bfloat16  # which NumPy does not know
            numbers = _pack_array((plain.float() if half else plain).numpy())
            return numbers | {"kind": "tensor", "bfloat16": half, "grad": value.requires_grad}
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.name in _DTYPES:
            return _pack_array(np.asarray(value)) | {"kind": "array" if isinstance(value, np.ndarray) else "scalar"}
        if depth < _DEEPEST and isinstance(value, (tuple, list, set, frozenset, range)):
            kind = next(t.__name__ for t in (tuple, list, set, frozenset, range) if isinstance(value, t))
            members = [value.start, value.stop, value.step] if kind == "range" else value
            return {"kind": kind, "members": [self.pack(member, depth + 1) for member in members]}
        if depth < _DEEPEST and isinstance(value, Mapping):
            pairs = [[self.pack(key, depth + 1), self.pack(member, depth + 1)] for key, member in value.items()]
            return {"kind": "dict", "members": pairs}
        if isinstance(value, (int, float, str)):  # of a class of its own: only the value counts
            return next(t(value) for t in (int, float, str) if isinstance(value, t))
        if isinstance(value, complex):
            return {"kind": "complex", "members": [value.real, value.imag]}
        if isinstance(value, StandIn) and value._wire is self:
            return {"kind": "yours", "number": value._number}
        if callable(value):
            if not any(value is known for known in self._own):
                self._own.append(value)
            number = next(i for i, known in enumerate(self._own) if known is value)
            return {"kind": "function", "number": number, "name": str(getattr(value, "__name__", type(value).__name__))}
        return {"kind": "other", "name": type(value).__name__}

    def unpack(self, packed: Any) -> Any:
        """The value that was packed.

        Raises:
            Broken: it was not packed by :meth:`pack`.
        """
        try:
            return self._unpack(packed)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise Broken(f"a value that is none ({error})") from error

    def _unpack(self, packed: Any) -> Any:
        if packed is None or isinstance(packed, (bool, int, float, str)):
            return packed
        kind, members = packed["kind"], packed.get("members", ())
        if kind in ("tensor", "array", "scalar"):
            array = _unpack_array(packed)
            if kind == "tensor":
                tensor = torch.from_numpy(array)
                tensor = tensor.bfloat16() if packed.get("bfloat16") is True else tensor
                return tensor.requires_grad_() if packed.get("grad") is True else tensor
            return array if kind == "array" else array[()]
        if kind == "dict":
            return {self._unpack(key): self._unpack(member) for key, member in members}
        if kind in ("tuple", "list", "set", "frozenset", "range", "complex"):
            values = [self._unpack(member) for member in members]
            return getattr(builtins, kind)(*((values,) if kind not in ("range", "complex") else values))
        if kind == "ellipsis":
            return ...
        if kind == "function":
            return StandIn(self, int(packed["number"]), _a_name(packed["name"]))
        if kind == "yours":
            number = packed["number"]
            if not 0 <= number < len(self._own):
                raise ValueError("a function that was never sent")
            return self._own[number]
        if kind == "other":
            return type(_a_name(packed["name"]), (), {})()
        raise ValueError(f"kind {kind!r}")


def _pack_array(array: np.ndarray) -> dict[str, Any]:
    raw = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "raw": raw}


def _unpack_array(packed: Mapping[str, Any]) -> np.ndarray:
    if packed["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {packed['dtype']!r}")
    raw = bytearray(base64.b64decode(packed["raw"]))  # of its own memory, which may be written to
    return np.frombuffer(raw, packed["dtype"]).reshape(packed["shape"])


def _write_back(given: Any, changed: Any) -> None:
    if isinstance(given, torch.Tensor) and isinstance(changed, torch.Tensor) and given.shape == changed.shape:
        with torch.no_grad():
            given.copy_(changed)
    elif isinstance(given, np.ndarray) and isinstance(changed, np.ndarray) and given.shape == changed.shape:
        given[...] = changed
    elif isinstance(given, list) and isinstance(changed, list):
        given[:] = changed


def _error(name: Any, says: Any) -> Exception:
    """An exception that reads as the one that was raised on the other side."""
    known = getattr(builtins, str(name), None)
    if not (isinstance(known, type) and issubclass(known, Exception)):
        known = type(_a_name(name), (Exception,), {})
    try:
        return known(str(says))
    except TypeError:  # such as UnicodeDecodeError, which wants five arguments
        return RuntimeError(f"{name}: {says}")


def _a_name(name: Any) -> str:
    """A text of the other side as a short name, and nothing else."""
    return re.sub(r"\W", "_", str(name))[:40] or "thing"
