"""The machine in words, and its devices as torch would have them: tried on machines that this one is not."""

from __future__ import annotations

import socket

import pytest
import torch

from vidlib import machine


@pytest.fixture
def here(monkeypatch):
    """Makes this machine one with so many of an accelerator."""

    def pretend(kind: str | None, count: int = 1):
        found = torch.device(kind) if kind else None
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count if kind else 0)

    return pretend


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_the_accelerator_comes_before_the_cpu(here, kind):
    here(kind)
    assert machine.choose_device() == torch.device(kind)
    assert machine.choose_device("cpu") == torch.device("cpu")
    assert machine.choose_device(kind) == machine.choose_device(torch.device(kind)) == torch.device(kind)


def test_without_one_it_is_the_cpu(here):
    here(None)
    assert machine.choose_device() == torch.device("cpu")


@pytest.mark.parametrize(
    "kind, count, device, sentence",
    [
        (None, 0, "cuda", "device is 'cuda', expected cpu: no other is here"),
        (None, 0, "mps", "device is 'mps', expected cpu: no other is here"),
        (None, 0, "meta", "device is 'meta', expected cpu: no other is here"),
        ("mps", 1, "cuda", "device is 'cuda', expected mps or cpu: no other is here"),
        ("cuda", 2, "cuda:2", "device is 'cuda:2', expected a number below 2: so many are here"),
        ("cuda", 1, torch.device("cuda:1"), "device is 'cuda:1', expected a number below 1"),
        ("cuda", 1, "xyz", "device is 'xyz', expected cpu, cuda, cuda:1, mps or another name"),
        ("cuda", 1, 0, "device is 0, expected cpu, cuda"),
        ("cuda", 1, True, "device is True, expected cpu, cuda"),
    ],
)
def test_a_device_that_is_not_here_is_one_sentence(here, kind, count, device, sentence):
    here(kind, count)
    with pytest.raises(ValueError, match=sentence):
        machine.choose_device(device)


def test_the_last_of_several_devices_is_here(here):
    here("cuda", 4)
    assert machine.choose_device("cuda:3") == torch.device("cuda:3")


def test_a_compiler_on_the_cpu_is_the_machines_own(here, monkeypatch, tmp_path):
    here(None)
    compiler = tmp_path / "my-cxx"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert machine.has_compiler()
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert not machine.has_compiler("cpu")
    here("cuda")
    assert machine.has_compiler()


@pytest.mark.parametrize(
    "units, bf16",
    [({}, False), ({"avx2": True}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)],
)
def test_bf16_is_for_a_cpu_with_units_for_it(here, monkeypatch, units, bf16):
    here(None)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert machine.cpu_has_bf16() is bf16
    assert machine.fast_precision() == ("bf16" if bf16 else "no")


def test_no_bf16_is_claimed_for_an_apple_gpu(here, monkeypatch):
    here("mps")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert machine.fast_precision() == "no" and machine.fast_precision("cpu") == "bf16"


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_threads_are_the_argument_else_the_environments_else_as_before(threads, monkeypatch):
    monkeypatch.delenv(machine.THREADS_VARIABLE, raising=False)
    machine.use_threads()
    assert torch.get_num_threads() == threads
    monkeypatch.setenv(machine.THREADS_VARIABLE, "3")
    machine.use_threads()
    assert torch.get_num_threads() == 3
    machine.use_threads(2)
    assert torch.get_num_threads() == 2
    assert machine.device_name(torch.device("cpu")) == "cpu, threads: 2"


def test_the_machine_in_words(threads, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.set_num_threads(1)
    assert machine.hardware() == f"{machine.processor()}, 1 thread"
    torch.set_num_threads(2)
    assert machine.hardware().endswith(", 2 threads") and machine.processor()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a GPU")
    assert machine.hardware().startswith("a GPU; ")
    assert machine.device_name(torch.device("cuda")) == "cuda, a GPU"
    assert machine.device_name(torch.device("mps")) == "mps"


def test_a_processor_without_a_file_of_its_own_has_pythons_name(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("no /proc here")

    monkeypatch.setattr(machine.Path, "read_text", missing)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert machine.processor() == machine.platform.machine() != ""


def test_a_silent_network_is_given_up_and_the_patience_comes_back():
    before = socket.getdefaulttimeout()
    with pytest.raises(OSError, match="silent"), machine.impatient_network():
        assert 0 < socket.getdefaulttimeout() <= 60
        raise OSError("silent")
    assert socket.getdefaulttimeout() == before
