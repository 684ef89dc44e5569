"""Seconds and memory of calls."""

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Repeated", "measure"]

# Repeated until this many seconds are spent, at least and at most so many times.
SECONDS, REPEATS = 3.0, (3, 15)
# A call that takes longer than this is not repeated.
LONG = 10.0


def measure(call: Callable[[], Any]) -> tuple[Any, float, float | None]:
    """Return a call's result, its seconds, and the MB by which it raised the peak."""
    before = _reset_peak()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    return result, seconds, None if before is None else (_peak() - before) / 2**10


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{key}:")[1].split()[0])  # kB


def _reset_peak() -> int | None:
    """Forget the process's peak memory; return what it holds now, if one can tell."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        # Hand back what earlier calls freed, or this one would find it for nothing.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    clear.write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


class Repeated:
    """A call measured several times, in pieces: median seconds, largest memory."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.times: list[float] = []
        # The first call is not timed, but its memory counts: later ones may find memory
        # that it has left behind.
        self.result, seconds, memory = measure(call)
        self.memory = [] if memory is None else [memory]
        self.long = seconds > LONG
        if self.long:
            self.times.append(seconds)

    def run(self) -> None:
        """Measure for a share of the time."""
        least, most = REPEATS
        n_before, spent = len(self.times), 0.0
        while not self.long and (
            len(self.times) - n_before < least
            or (spent < SECONDS and len(self.times) - n_before < most)
        ):
            self.result, seconds, memory = measure(self.call)
            self.times.append(seconds)
            if memory is not None:
                self.memory.append(memory)
            spent += seconds

    @property
    def seconds(self) -> float:
        return float(np.median(self.times))

    @property
    def added_mb(self) -> float | None:
        return max(self.memory) if self.memory else None
