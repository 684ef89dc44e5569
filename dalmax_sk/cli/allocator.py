"""How the program's memory is returned to the system."""

import ctypes
import os
import platform

__all__ = ["tune_malloc"]

# glibc's number and environment variable of a setting -> bytes. Blocks of up to 32 MB,
# the most that it accepts, come from the heap, of which up to 256 MB stay when they are
# free.
_SETTINGS = {
    (-3, "MALLOC_MMAP_THRESHOLD_"): 2**25,
    (-1, "MALLOC_TRIM_THRESHOLD_"): 2**28,
}


def tune_malloc() -> None:
    """Keep what one batch frees for the next one.

    The tensors of a batch take some ten megabytes each. Left to itself, glibc returns
    them to the system after every batch, and every page of them is asked for and zeroed
    again in the next one. Other C libraries are left alone, and so is glibc if one of
    its environment variables for this is set.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    if any(name in os.environ for _, name in _SETTINGS):
        return
    libc = ctypes.CDLL(None)
    for (number, name), n_bytes in _SETTINGS.items():
        libc.mallopt(number, n_bytes)
        os.environ[name] = str(n_bytes)  # for processes that this one starts
