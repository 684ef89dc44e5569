"""Seconds and memory of calls."""

import time
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import numpy as np

from dalmax_sk.utils._check_basics import peak_added

__all__ = ["Repeated", "measure"]

# Repeated until this many seconds are spent, at least and at most so many times.
SECONDS, REPEATS = 3.0, (3, 15)
# A call that takes longer than this is not repeated.
LONG = 10.0


def measure(call: Callable[[], Any]) -> tuple[Any, float, float | None]:
    """Return a call's result, its seconds, and the MB by which it raised the peak.

    The memory is None where the system does not tell.
    """
    result: Any = None
    seconds = 0.0
    called = False

    def timed() -> None:
        nonlocal result, seconds, called
        called = True
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start

    try:
        added = peak_added(timed)
    except SkipTest:
        if not called:
            timed()
        return result, seconds, None
    return result, seconds, added / 2**20


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
