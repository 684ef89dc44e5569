"""Several processes that do one piece of work together, one device each.

All processes run the same code with the same seeds. Training deals out the rows of each
batch; :meth:`ProcessGroup.sharded_inference` deals out passes of a net over data.
torch is imported only where there is more than one process.
"""

import contextlib
import datetime
import functools
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path

from dalmax_sk._base.limits import limits

__all__ = [
    "ProcessGroup",
    "ProcessLostError",
    "StoppedElsewhereError",
    "WorkerDiedError",
    "end_with_parent",
    "explain_lost_process",
    "explain_worker_death",
    "is_launched",
    "join_process_group",
    "peak_bytes",
    "process_group_of",
    "process_share",
    "shared_outputs",
    "status_bytes",
    "uses_gpus",
]

# How long a process waits for the others in one step before it gives up.
_PATIENCE = datetime.timedelta(minutes=30)
# How long for an oracle, which may be a person.
_ORACLE_PATIENCE = datetime.timedelta(days=365)
# Messages of gloo, NCCL and the store when the other end is gone.
_LOST = re.compile(
    "connection (was )?(closed|reset|refused)|broken pipe|timed out|timeout|"
    "socket|nccl|remote process|peer|heartbeat",
    re.IGNORECASE,
)


class ProcessLostError(RuntimeError):
    """Raised in the processes that are left when another one has ended."""


class StoppedElsewhereError(RuntimeError):
    """Raised in the other processes when an error stopped process 0."""


def is_launched():
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that work together; one alone needs nothing of torch.

    Attributes
    ----------
    rank : int
        Number of this process; process 0 writes files and speaks to the user.
    world_size : int
        Number of processes.

    Examples
    --------
    >>> from dalmax_sk._base.processes import ProcessGroup
    >>> alone = ProcessGroup()
    >>> alone.is_main, alone.broadcast("what process 0 says")
    (True, 'what process 0 says')
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self):
        """Whether this is process 0."""
        return self.rank == 0

    def broadcast(self, value, *, patient=False):
        """Return process 0's value in all of them.

        Parameters
        ----------
        value : object
            Anything that can be pickled; only process 0's counts.
        patient : bool, default=False
            Wait as long as it takes, for a person for instance.
        """
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        box = [value if self.is_main else None]
        with explain_lost_process(self):
            group = _patient_group() if patient else None
            dist.broadcast_object_list(box, src=0, group=group)
        return box[0]

    def run_on_rank0(self, function, *args, **kwargs):
        """Call a function in process 0 only; all get its result, or its error.

        Raises
        ------
        StoppedElsewhereError
            In the other processes, if the function raised something in process 0,
            where that goes on its way.
        """
        if self.world_size == 1:
            return function(*args, **kwargs)
        result = error = None
        if self.is_main:
            try:
                result = function(*args, **kwargs)
            except BaseException as raised:
                self.broadcast(
                    (None, f"{type(raised).__name__}: {raised}"), patient=True
                )
                raise
        result, error = self.broadcast((result, None), patient=True)
        if error is not None:
            raise StoppedElsewhereError(f"Process 0 was stopped by {error}")
        return result

    def gather(self, value):
        """Return a list of the processes' values, by rank, in all of them."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        found = [None] * self.world_size
        with explain_lost_process(self):
            dist.all_gather_object(found, value)
        return found

    def barrier(self):
        """Wait until all processes are here."""
        self.gather(None)

    @contextlib.contextmanager
    def sharded_inference(self):
        """Share among the processes each pass of a net over data inside the block.

        All processes have to make the same passes there, in the same order.
        """
        global _sharing
        before, _sharing = _sharing, self
        try:
            yield
        finally:
            _sharing = before


_ALONE = ProcessGroup()
_sharing = _ALONE


def process_share():
    """Return (rank, world_size) of the processes that share the present pass over data.

    (0, 1) outside of :meth:`ProcessGroup.sharded_inference`: a ``predict`` in one
    process must not wait for the others.
    """
    return _sharing.rank, _sharing.world_size


def join_process_group():
    """Return the group of processes that a launcher started together with this one.

    The first call connects them, and waits until all of them have called.
    """
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        return _ALONE
    if not dist.is_initialized():
        if not is_launched():
            return _ALONE
        if multiprocessing.current_process().name.startswith("Loky"):
            # It would take the place of the process that started it, and wait for ever.
            raise RuntimeError(
                "device='multi' inside a worker process of joblib: only the processes "
                "that the launcher started can work together. Pass n_jobs=1, or a "
                "device for each worker."
            )
        if uses_gpus():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # Gloo beside NCCL: what is exchanged between batches lies in ordinary memory.
        backend = "cpu:gloo,cuda:nccl" if uses_gpus() else "gloo"
        with explain_lost_process():
            dist.init_process_group(backend, timeout=_PATIENCE)
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


def process_group_of(estimator):
    """Return the processes that fit an estimator together: those of device="multi"."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    if getattr(estimator, "device", None) != "multi":
        return _ALONE
    return join_process_group()


def uses_gpus():
    """Whether the processes have a GPU each, or a share of the CPU's cores."""
    import torch

    # accelerate launch --cpu
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower()
    return torch.cuda.is_available() and on_cpu not in ("true", "1", "yes")


@functools.cache
def _patient_group():
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=_ORACLE_PATIENCE)


@contextlib.contextmanager
def explain_lost_process(group=None):
    """Turn the errors of a broken connection into :class:`ProcessLostError`."""
    try:
        yield
    except RuntimeError as error:  # torch's DistError is one
        if isinstance(error, ProcessLostError) or not _LOST.search(str(error)):
            raise
        who = (
            "a process"
            if group is None
            else f"process {group.rank} of {group.world_size}"
        )
        raise ProcessLostError(
            f"Another process of this run has ended or does not answer, and {who} "
            "cannot go on without it. If it does not say why itself, it was killed, as "
            "the system does when memory runs out. A run with a checkpoint goes on "
            "from there when it is started again."
        ) from error


def shared_outputs(n_samples, batch_size, outputs_of):
    """Yield a net's outputs for all rows in order; each process computes its part.

    The parts are whole batches, the same as one process alone would make, so that the
    outputs are the same to the last bit.

    Parameters
    ----------
    n_samples : int
    batch_size : int
        Process 0's is taken.
    outputs_of : callable
        Takes a list of slices of rows, in order, and the size of a batch; yields
        (start, stop, ...) of these rows.

    Yields
    ------
    tuple
        As `outputs_of` yields it, from the process that computed it.
    """
    group = _sharing
    # What is free on one device may be more than on another.
    batch_size = group.broadcast(batch_size)
    turns = _deal_rows(n_samples, batch_size, group.world_size)
    mine = [turn[group.rank] for turn in turns]
    not_empty = [rows for rows in mine if rows.start < rows.stop]
    outputs = iter(outputs_of(not_empty, batch_size))
    for rows in mine:
        found = []
        position = rows.start
        while position < rows.stop:
            found.append(next(outputs))
            position = found[-1][1]
        for part in group.gather(found):
            yield from part


def _deal_rows(n_samples, batch_size, world_size):
    """Return turns of one slice of rows a process: whole batches, in order."""
    n_batches = -(-n_samples // batch_size)
    at_once = max(1, limits.exchange_rows // batch_size) * world_size
    n_turns = max(1, -(-n_batches // at_once))
    size = -(-n_batches // (n_turns * world_size)) * batch_size
    edges = [min(i * size, n_samples) for i in range(n_turns * world_size + 1)]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return [parts[i : i + world_size] for i in range(0, len(parts), world_size)]


@functools.cache  # once a process
def end_with_parent(parent: int, last: int = signal.SIGTERM) -> None:
    """End this process when the one that started it is gone, however that went.

    Parameters
    ----------
    parent : int
        The number of the process that started this one.
    last : int, default=SIGTERM
        The signal that this process sends to itself then.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), last)

    threading.Thread(target=watch, name="dalmax_sk-parent", daemon=True).start()


class WorkerDiedError(RuntimeError):
    """Raised if a worker process died, so that its work is missing."""


@contextlib.contextmanager
def explain_worker_death(doing: str, kept: str = "") -> Iterator[None]:
    """Re-raise the death of a worker process with its task and advice.

    joblib's own error speaks of segmentation faults and signals only.

    Parameters
    ----------
    doing : str
        The task of the workers.
    kept : str, default=""
        The results that are not lost, and how to resume.

    Raises
    ------
    WorkerDiedError
        From the :class:`concurrent.futures.BrokenExecutor` that joblib raised.

    Examples
    --------
    >>> from concurrent.futures import BrokenExecutor
    >>> from dalmax_sk._base.processes import explain_worker_death
    >>> with explain_worker_death("Fitting a forest"):
    ...     raise BrokenExecutor()
    Traceback (most recent call last):
    dalmax_sk._base.processes.WorkerDiedError: Fitting a forest: a worker process...
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


def status_bytes(name):
    """Return a size from Linux's status of this process, such as VmRSS, or None."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def peak_bytes():
    """Return the largest resident memory of this process so far, or None.

    None where the operating system does not tell (Windows).
    """
    # on Linux getrusage would start at the peak of the process that started this one
    peak = status_bytes("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
