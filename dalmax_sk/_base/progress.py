"""How long work tells the outside how far it is.

The library never prints. Code that may run for long calls :func:`report`; whoever wants
to watch (the command line's progress bars, a notebook) wraps the call in
:func:`listen`. Without a listener a report costs one look at an empty list.

Examples
--------
>>> from dalmax_sk._base import progress
>>> seen = []
>>> with progress.listen(lambda stage, done, total, info: seen.append((stage, done))):
...     progress.report("epoch", 1, 10, loss=0.5)
>>> seen
[('epoch', 1)]
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Listener", "listen", "logged", "report"]

#: Called as ``listener(stage, done, total, info)``; ``total`` is None when unknown.
Listener = Callable[[str, int, int | None, dict[str, Any]], None]

_listeners: list[Listener] = []


def report(stage: str, done: int, total: int | None = None, **info: Any) -> None:
    """Tell every listener that ``done`` of ``total`` steps of ``stage`` are over.

    Stages in use: ``"round"`` (info: ``record``, the round's entry of ``history_``),
    ``"epoch"`` (info: the epoch's losses), ``"pool"`` (candidates seen by the model),
    ``"query"`` (picks made, or clusters begun), ``"iteration"`` (of k-means),
    ``"decode"`` (image files read), ``"embed"`` (images embedded), ``"committee"``
    (members fitted), ``"episode"`` (of the learned policy's training) and ``"cell"``
    (runs of an experiment).
    """
    for listener in _listeners:
        listener(stage, done, total, info)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Call ``listener`` for every report made inside the ``with`` block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def logged(verbose: int) -> Iterator[None]:
    """Show the package's log on stderr inside the block if ``verbose`` asks for it.

    ``verbose=0`` shows nothing, ``1`` the INFO records, ``2`` and more DEBUG as well.
    An application that configured logging itself keeps its own handlers and nothing is
    shown twice.
    """
    logger = logging.getLogger("dalmax_sk")
    if not verbose or logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[dalmax_sk] %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
