"""nbval names a dead kernel within seconds; by itself it waits until the cell's whole time is over."""

import time
from contextlib import suppress
from queue import Empty

with suppress(ImportError):  # the tests of the package need no nbval
    from nbval.kernel import RunningKernel

    _wait_for_message = RunningKernel.get_message

    def get_message(kernel, stream, timeout=None):
        """Wait for a message in turns of a second, as long as the kernel lives."""
        end = time.monotonic() + (float("inf") if timeout is None else float(timeout))
        while True:
            try:
                return _wait_for_message(kernel, stream, timeout=max(0, min(1, end - time.monotonic())))
            except Empty:
                if not kernel.is_alive():
                    raise RuntimeError("The kernel died: if the memory was short, try profile smoke.") from None
                if time.monotonic() >= end:
                    raise

    RunningKernel.get_message = get_message
