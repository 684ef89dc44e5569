"""Several processes of one command, one for each GPU."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence

from dalmax_sk._base.processes import end_with_parent, is_launched

__all__ = ["count_gpus", "end_with_launcher", "is_follower", "run_processes"]

# The launcher's name for the run, from which its processes learn who started them.
_RUN = "dalmax_sk-{pid}"


def is_follower() -> bool:
    """Tell whether this is one of several processes, and not the first."""
    return is_launched() and os.environ.get("RANK", "0") != "0"


def count_gpus() -> int:
    """Return the number of GPUs that torch sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def run_processes(
    n_processes: int, words: Sequence[str], *, after_death: str = ""
) -> int:
    """Run ``python -m dalmax_sk`` with the same words several times, and wait.

    torch's elastic launcher starts them. What ends one process ends all: an error, a
    signal, Ctrl-C, or the death of this process.

    Parameters
    ----------
    n_processes : int
        How many.
    words : sequence of str
        The command and its flags.
    after_death : str, default=""
        What to tell the user if process 0 was killed and could not say it.

    Returns
    -------
    int
        The exit code: that of process 0 if it failed, 128 and the number of the signal
        that ended this process.
    """
    from torch.distributed.elastic.multiprocessing import (
        DefaultLogsSpecs,
        SignalException,
    )
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Without it each process would start a thread for every core.
    n_threads = max(1, (os.cpu_count() or 1) // n_processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(n_threads))
    logging.disable()  # of local ranks and exit codes; the user is told of them below
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=n_processes,
            max_restarts=0,
            run_id=_RUN.format(pid=os.getpid()),
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",  # the system chooses a port that is free
            local_addr="127.0.0.1",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "dalmax_sk", *words)
        except ChildFailedError as error:
            codes = {rank: f.exitcode for rank, f in sorted(error.failures.items())}
            return _explain(codes, n_processes, after_death)
        except SignalException as error:
            return 128 + error.sigval
        finally:
            logging.disable(logging.NOTSET)
    return 0


def end_with_launcher() -> None:
    """End this process when the one that started it is gone, however that went.

    The launcher sends SIGTERM to all processes as soon as one of them has ended.
    Process 0 ignores it: it finds out by itself that another one is lost, and writes
    down what happened. The launcher kills it if that takes half a minute.
    """
    run, launcher = os.environ.get("TORCHELASTIC_RUN_ID"), os.getppid()
    if run != _RUN.format(pid=launcher):
        return
    if not is_follower():
        # not SIG_IGN, which programs that this one starts would inherit
        signal.signal(signal.SIGTERM, lambda number, frame: None)
    end_with_parent(launcher, signal.SIGTERM if is_follower() else signal.SIGINT)


def _explain(codes: Mapping[int, int], n_processes: int, after_death: str) -> int:
    """Tell which processes were killed, {rank: exit code}; return the exit code."""
    failed = [code for code in codes.values() if code > 0]
    signals = {rank: signal.Signals(-code) for rank, code in codes.items() if code < 0}
    # the launcher itself ends the others by SIGTERM
    killed = [rank for rank, name in signals.items() if name != signal.SIGTERM]
    if not killed and not failed:
        killed = list(signals)
    for rank in killed:
        name = signals[rank].name
        hint = " (the system does that when memory runs out)" * (name == "SIGKILL")
        text = f"Process {rank} of {n_processes} was killed by {name}{hint}."
        print(text, after_death if rank == 0 else "", file=sys.stderr)
    return failed[0] if failed else 1
