"""Worker processes that die: what to tell of it."""

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager

__all__ = ["WorkerDiedError", "telling_dead_workers"]


class WorkerDiedError(RuntimeError):
    """Raised if a worker process ended without a word, so that its work is missing."""


@contextmanager
def telling_dead_workers(doing: str, kept: str = "") -> Iterator[None]:
    """Say what was being done, and what helps, if a worker process dies in the block.

    joblib's own error speaks of segmentation faults and signals only.

    Parameters
    ----------
    doing : str
        What the workers were at.
    kept : str, default=""
        What is not lost, and how to go on.

    Raises
    ------
    WorkerDiedError
        From what :class:`concurrent.futures.BrokenExecutor` joblib raised.

    Examples
    --------
    >>> from concurrent.futures import BrokenExecutor
    >>> from dalmax_sk._workers import telling_dead_workers
    >>> with telling_dead_workers("Fitting a forest"):
    ...     raise BrokenExecutor()
    Traceback (most recent call last):
    dalmax_sk._workers.WorkerDiedError: Fitting a forest: a worker process was killed...
    """
    try:
        yield
    except BrokenExecutor as error:
        advice = (
            "a worker process was killed or crashed. Most often the system kills it "
            "because memory runs out: each of the workers needs as much as one process "
            "alone. Give a smaller n_jobs."
        )
        raise WorkerDiedError(f"{doing}: {advice} {kept}".rstrip()) from error
