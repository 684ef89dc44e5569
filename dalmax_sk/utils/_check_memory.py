"""Measurement of the memory that a call takes."""

import ctypes
import gc
import sys
from pathlib import Path
from unittest import SkipTest

from dalmax_sk._base.processes import status_bytes

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
    before = status_bytes("VmRSS")
    call()
    peak = status_bytes("VmHWM")
    if before is None or peak is None:
        raise SkipTest("/proc/self/status does not tell the size of this process.")
    return max(0, peak - before)
