"""The frame of all commands: read the flags, do the work, end with an exit code."""

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import typer

from dalmax_sk._base.files import is_disk_full
from dalmax_sk._base.processes import (
    ProcessLostError,
    StoppedElsewhereError,
    WorkerDiedError,
    is_launched,
)
from dalmax_sk.cli.console import Console
from dalmax_sk.cli.errors import UsageError, is_memory_short, is_user_error
from dalmax_sk.cli.flags.command_line import read_flags
from dalmax_sk.cli.launch import end_with_launcher, is_follower

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "execute"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Seconds that process 0 has to say what went wrong in all of them.
_AFTER_MAIN = 10.0


def execute(
    command: str,
    words: Sequence[str],
    work: Callable[..., None],
    *,
    after_interrupt: Callable[[dict[str, Any]], str],
) -> None:
    """Read the flags, do the work, and turn what is raised into an exit code.

    Parameters
    ----------
    command : str
        Name of the command.
    words : sequence of str
        What follows the command on the command line.
    work : callable
        ``work(given, screen=..., resume=..., overwrite=...)`` with the flags that were
        given and the switches that the command has. It imports what is heavy.
    after_interrupt : callable
        ``after_interrupt(given)`` tells the user what is kept after Ctrl-C, and after
        an error of the machine.

    Raises
    ------
    typer.Exit
        With 2 if something has to be mended first, 130 after Ctrl-C, 1 if memory ran
        out or another process of the run was lost.
    """
    end_with_launcher()
    flags, switches, problems = read_flags(command, words)
    screen = Console(switches.pop("quiet") or is_follower())
    debug = switches.pop("debug")
    given: dict[str, Any] = {}
    try:
        if problems:
            raise UsageError(problems)
        given = flags
        # a table in JSON is all that stdout may hold
        if (
            "torch" not in sys.modules
            and not is_launched()
            and not switches.get("json")
        ):
            screen.announce("loading PyTorch")
        _load_torch()
        work(given, screen=screen, **switches)
    except KeyboardInterrupt as error:
        if is_follower():
            raise typer.Exit(EXIT_INTERRUPTED) from error
        screen.err.print("")
        screen.warn(f"interrupted. {after_interrupt(given)}", always=True)
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except Exception as error:
        if is_follower():
            _leave_it_to_main(error, screen)
        lost = isinstance(error, ProcessLostError | WorkerDiedError)
        if lost or is_memory_short(error):
            # no defect, and nothing that a traceback would help to understand
            if debug:
                raise
            screen.fail(f"{_message(error)}\n{_advice(error)}{after_interrupt(given)}")
            raise typer.Exit(EXIT_FAILED) from error
        if debug or not is_user_error(error):
            raise
        text = _message(error)
        if is_disk_full(error):
            kept = " ".join(map(str.strip, after_interrupt(given).splitlines()))
            text = f"{text} Make room on the disk, or raise the limit. {kept}"
        screen.fail(text)
        raise typer.Exit(EXIT_USAGE) from error


def _load_torch() -> None:
    """Load PyTorch without looking for garbage in it, now or later."""
    if "torch" not in sys.modules and gc.isenabled():
        gc.disable()
        import torch  # noqa: F401

        gc.freeze()
        gc.enable()


def _leave_it_to_main(error: Exception, screen: Console) -> None:
    """End a process that is not the first; speak only if the first does not."""
    # Most errors come to all processes at once: the first tells of it, and whoever
    # started them ends the others meanwhile.
    time.sleep(_AFTER_MAIN)
    if isinstance(error, ProcessLostError | StoppedElsewhereError):
        raise typer.Exit(EXIT_FAILED) from error
    screen.fail(f"In process {os.environ['RANK']}:")


def _advice(error: Exception) -> str:
    if isinstance(error, ProcessLostError | WorkerDiedError):
        return ""
    return (
        "Memory ran out. Smaller steps need less: --train-batch-size, --image-size, a "
        "smaller --architecture; --device cpu uses the memory of the machine. "
    )


def _message(error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    # the system's word on a file, in plain order and on one line
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return " ".join([f"{error.filename}: {error.strerror.lower()}.", *notes])
    text = str(error) if isinstance(error, UsageError) or str(error) else repr(error)
    return "\n".join([text, *notes])
