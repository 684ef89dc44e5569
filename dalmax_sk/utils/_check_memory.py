"""How much memory a call takes."""

import ctypes
import gc
import sys
from pathlib import Path
from unittest import SkipTest

__all__ = ["peak_added"]


def peak_added(call):
    """Return by how many bytes resident memory rises at most during a call.

    Parameters
    ----------
    call : callable
        Called without arguments.

    Returns
    -------
    int

    Raises
    ------
    unittest.SkipTest
        Where the system cannot tell: it takes Linux, whose peak can be reset.
    """
    if sys.platform != "linux":
        raise SkipTest("Peak memory is measured on Linux only.")
    gc.collect()
    # give back what earlier calls freed, else a call that uses it seems to take nothing
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise SkipTest(f"The peak of memory cannot be reset: {error}.") from error
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(name):
    """Return one of the sizes in /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SkipTest(f"/proc/self/status does not tell {name}.")
