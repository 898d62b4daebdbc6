"""The machine: device, precision, compiler, threads, downloads, and its name in words."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import torch

from vidlib.checks import check_counts, check_kind, shown

PRECISIONS = ("auto", "no", "bf16", "fp16")
THREADS_VARIABLE = "VIDLIB_THREADS"
_SILENCE = 20  # seconds after which a network that says nothing is given up


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device with that name; ``None`` is the accelerator of this machine (NVIDIA, Apple, Intel …), else the CPU.

    Raises:
        ValueError: no such device, or one that this machine does not have.
    """
    check_kind((str, torch.device, type(None)), "cpu, cuda, cuda:1, mps or another name of torch's", device=device)
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device is {shown(device)}, expected cpu, cuda, cuda:1, mps or another name of torch's."
        ) from error
    here = torch.accelerator.current_accelerator(check_available=True)
    if chosen.type not in ("cpu", here and here.type):
        raise ValueError(
            f"device is {str(device)!r}, expected {f'{here.type} or ' if here else ''}cpu: no other is here."
        )
    if chosen.type != "cpu" and (chosen.index or 0) >= (count := torch.accelerator.device_count()):
        raise ValueError(f"device is {str(device)!r}, expected a number below {count}: so many are here.")
    return chosen


def device_name(device: torch.device) -> str:
    """A device in words: the GPU's name, or how many threads of the CPU torch uses."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return device.type if device.type != "cpu" else f"cpu, threads: {torch.get_num_threads()}"


def processor() -> str:
    """The CPU's name."""
    with contextlib.suppress(OSError):  # Linux knows more than Python does
        if names := re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return names[0]
    return platform.processor() or platform.machine()


def hardware() -> str:
    """The processor, its threads that torch uses, and the accelerator, in words."""
    threads = torch.get_num_threads()
    text = f"{processor()}, {threads} {'thread' if threads == 1 else 'threads'}"
    return f"{torch.cuda.get_device_name()}; {text}" if torch.cuda.is_available() else text


def has_compiler(device: str | torch.device | None = None) -> bool:
    """Whether torch.compile can work: on a GPU it brings its compiler, on a CPU it needs the machine's own for C++."""
    if choose_device(device).type == "cuda":
        return True
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def fast_precision(device: str | torch.device | None = None) -> str:
    """What ``precision="auto"`` means there: ``"bf16"`` on a GPU or CPU with units for it, else ``"no"``."""
    kind = choose_device(device).type
    has_units = {"cuda": torch.cuda.is_bf16_supported, "cpu": cpu_has_bf16}  # of others nothing is known
    return "bf16" if kind in has_units and has_units[kind]() else "no"


def cpu_has_bf16() -> bool:
    """Whether the CPU has units for bf16. Without them it emulates a bf16 product, a hundred times as slowly.

    Server CPUs since 2023 multiply bf16 in vector units, twice as fast as float32, or in matrix units (AMX), several
    times as fast.
    """
    units = torch.cpu.get_capabilities()
    return bool(units.get("avx512_bf16") or units.get("amx_bf16"))


def use_threads(threads: int | None = None) -> None:
    """Let torch use at most so many CPU threads; ``None`` is ``$VIDLIB_THREADS``, and without it nothing changes.

    Raises:
        ValueError: no whole number of at least 1.
    """
    if threads is None:
        if not (wanted := os.environ.get(THREADS_VARIABLE)):
            return
        check_counts(**{THREADS_VARIABLE: int(wanted) if wanted.isdecimal() else wanted}, highest=1024)
        threads = int(wanted)
    check_counts(threads=threads, highest=1024)
    torch.set_num_threads(threads)


@contextlib.contextmanager
def impatient_network() -> Iterator[None]:
    """Downloads in this block give up where the network is silent: it must not hold a notebook up for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
