"""Where the time of a round goes: exclusive seconds of nested parts."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["Clock", "patched"]


class Clock:
    """Seconds of each part, what lies inside another part counted there only.

    One thread is timed, the one that made the clock: what others do beside it costs the
    round nothing until somebody waits for it. The parts add up to the time between the
    first start and the last end, less :meth:`pause` and the gaps between parts.

    Parameters
    ----------
    synchronize : callable or None
        Called before the time is read, for devices that work ahead.
    """

    def __init__(self, synchronize: Callable[[], None] | None = None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.credited = 0.0
        self.paused = 0.0
        self._synchronize = synchronize
        self._thread = threading.get_ident()
        self._open: list[str] = []
        self._marks: list[str] = []
        self._since = 0.0

    def now(self) -> float:
        """Return the time, once the device has caught up."""
        if self._synchronize is not None:
            self._synchronize()
        return time.perf_counter()

    def is_open(self, name: str) -> bool:
        """Whether the present moment lies in the part, or mark, `name`."""
        return name in self._open or name in self._marks

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as `name`, and no longer as the part around it."""
        if threading.get_ident() != self._thread:
            yield
            return
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Let :meth:`is_open` know of the block, without counting it apart."""
        self._marks.append(name)
        try:
            yield
        finally:
            self._marks.pop()

    def _turn(self) -> None:
        now = self.now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count the block nowhere: what only the measuring needs."""
        started = time.perf_counter()
        with self.part("(measuring)"):
            yield
        self.paused += time.perf_counter() - started

    def credit(self, name: str, seconds: float) -> None:
        """Add what was measured elsewhere and is not done again here."""
        self.seconds[name] += seconds
        self.credited += seconds

    def parts(self) -> dict[str, float]:
        """Return the seconds of each part."""
        return {k: v for k, v in self.seconds.items() if k != "(measuring)"}


@contextmanager
def patched(*changes: tuple[Any, str, Callable[[Any], Any]]) -> Iterator[None]:
    """Replace attributes by what a function makes of them, and restore them at the end.

    Parameters
    ----------
    *changes : tuple of (owner, name, make)
        ``make(original)`` returns what stands in its place. Of a class, only what the
        class itself defines or inherits as a plain function.
    """
    with ExitStack() as stack:
        for owner, name, make in changes:
            own = name in vars(owner)
            original = getattr(owner, name)
            setattr(owner, name, make(original))
            if own:
                stack.callback(setattr, owner, name, original)
            else:
                stack.callback(delattr, owner, name)
        yield
