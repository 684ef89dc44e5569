"""Several processes of one command, one for each GPU."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from dalmax_sk._base.processes import is_launched
from dalmax_sk.cli.errors import UsageError

__all__ = ["count_gpus", "end_with_launcher", "is_follower", "run_processes"]

# Seconds that process 0 has to write down what happened once another one has ended.
_GRACE = 15.0
# The pipe whose other end the launcher holds as long as it lives.
_PIPE = "DALMAX_SK_LAUNCHER"


def is_follower() -> bool:
    """Tell whether this is one of several processes, and not the first."""
    return is_launched() and os.environ.get("RANK", "0") != "0"


def count_gpus() -> int:
    """Return the number of GPUs for ``--mult-gpu True``.

    Raises
    ------
    UsageError
        If there are fewer than two.
    """
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_gpus < 2:
        names = [torch.cuda.get_device_name(i) for i in range(n_gpus)]
        seen = f"one ({names[0]})" if names else "none"
        raise UsageError(
            f"--mult-gpu True needs two GPUs or more, and torch sees {seen}. Leave it "
            "out: --device auto takes the GPU if there is one, --device cpu never. To "
            "try several processes without GPUs: ACCELERATE_USE_CPU=1 torchrun "
            "--nproc-per-node 2 -m dalmax_sk and the same flags."
        )
    return n_gpus


def run_processes(
    n_processes: int,
    words: Sequence[str],
    *,
    after_death: str = "",
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run ``python -m dalmax_sk`` with the same words several times, and wait.

    What ends one process ends all: an error, a signal, Ctrl-C, or the death of this
    process. Each process finds RANK, LOCAL_RANK and WORLD_SIZE in its environment, as
    those of torchrun do.

    Parameters
    ----------
    n_processes : int
        How many.
    words : sequence of str
        The command and its flags.
    after_death : str, default=""
        What to tell the user if process 0 was killed and could not say it.
    environ : dict, default=None
        Additional environment variables.

    Returns
    -------
    int
        The exit code.
    """
    from torch.distributed import TCPStore

    # Here the processes meet. The system chooses the port, so that none is taken.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {
        "WORLD_SIZE": str(n_processes),
        "LOCAL_WORLD_SIZE": str(n_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # they connect to it and open none
    }
    # Without it each process would start a thread for every core.
    n_threads = str(max(1, (os.cpu_count() or 1) // n_processes))
    shared = {"OMP_NUM_THREADS": n_threads, **os.environ, **(environ or {}), **meeting}
    posix = os.name == "posix"
    reader, writer = os.pipe()
    children = []
    previous = signal.signal(signal.SIGTERM, _raise_exit)
    try:
        for rank in range(n_processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            if posix:
                own[_PIPE] = str(reader)
            child = subprocess.Popen(
                [sys.executable, "-m", "dalmax_sk", *words],
                env={**shared, **own},
                stdin=subprocess.DEVNULL,
                pass_fds=(reader,) if posix else (),
                # Ctrl-C comes to this process, which passes it on once.
                start_new_session=posix,
            )
            children.append(child)
        return _wait(children, after_death)
    except KeyboardInterrupt:
        _end(children, signal.SIGINT, _GRACE)
        return 130
    finally:
        _end(children, signal.SIGTERM, 5.0)
        signal.signal(signal.SIGTERM, previous)
        os.close(reader)
        os.close(writer)


def end_with_launcher() -> None:
    """End this process when the one that started it is gone, however that went."""
    pipe = os.environ.pop(_PIPE, None)
    if pipe is None:
        return

    def watch() -> None:
        os.read(int(pipe), 1)  # returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="dalmax_sk-launcher", daemon=True).start()


def _wait(children: Sequence["subprocess.Popen[bytes]"], after_death: str) -> int:
    """Wait for all processes to end well or one to fail; return the exit code."""
    while not any(child.poll() for child in children):
        if all(child.poll() == 0 for child in children):
            return 0
        time.sleep(0.05)
    main = children[0]
    if main.poll() is None:
        _wait_for(main, _GRACE)
    for rank, child in enumerate(children):
        code = child.poll()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (the system does that when memory runs out)" * (code == -9)
            text = f"Process {rank} of {len(children)} was killed by {name}{hint}."
            print(text, after_death if child is main else "", file=sys.stderr)
    codes = [main.poll(), *(child.poll() for child in children)]
    return next((code for code in codes if code is not None and code > 0), 1)


def _end(
    children: Sequence["subprocess.Popen[bytes]"], number: int, seconds: float
) -> None:
    """Send a signal to the processes that still run, and after a while kill them."""
    for child in children:
        if child.poll() is None:
            child.send_signal(number)
    deadline = time.monotonic() + seconds
    for child in children:
        if not _wait_for(child, max(0.0, deadline - time.monotonic())):
            child.kill()
            child.wait()


def _wait_for(child: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _raise_exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
