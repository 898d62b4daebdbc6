"""Settings that every test shares, made before torch is imported."""

import contextlib
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Kernels and workers share the cores; torch would otherwise start one thread per core in each of them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import pytest
import setuptools  # noqa: F401  torch's compiler imports it, which fails in a process where a test has imported pip first
import torch

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def browser():
    """A Chromium, for what only a browser can show."""
    pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")
    from vidlib.lab.record import chromium

    with contextlib.ExitStack() as closed_at_the_end:
        try:
            found = closed_at_the_end.enter_context(chromium())
        except FileNotFoundError as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture(autouse=True)
def runs_folder(tmp_path_factory, monkeypatch):
    """Nothing that a test runs writes to the checkout's `runs`."""
    folder = tmp_path_factory.mktemp("runs")
    monkeypatch.setenv("VIDLIB_RUNS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def same_numbers():
    """A test that draws at random draws the same numbers every time, alone or among others."""
    torch.manual_seed(0)
