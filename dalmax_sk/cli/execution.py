"""The frame of all commands: read the flags, do the work, end with an exit code."""

import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import typer

from dalmax_sk._base.processes import (
    ProcessLostError,
    StoppedElsewhereError,
    WorkerDiedError,
    is_launched,
)
from dalmax_sk.cli.console import Console
from dalmax_sk.cli.errors import UsageError, is_memory_short, is_user_error
from dalmax_sk.cli.flags.checks import check_flags
from dalmax_sk.cli.flags.config_file import read_config
from dalmax_sk.cli.launch import end_with_launcher, is_follower

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "execute"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_SWITCHES = ("resume", "overwrite")

# Seconds that process 0 has to say what went wrong in all of them.
_AFTER_MAIN = 10.0


def execute(
    command: str,
    flags: Mapping[str, Any],
    work: Callable[..., None],
    *,
    check: Callable[[Mapping[str, Any]], dict[str, Any]] = check_flags,
    after_interrupt: Callable[[dict[str, Any]], str],
) -> None:
    """Check the flags, do the work, and turn what is raised into an exit code.

    Parameters
    ----------
    command : str
        Name of the command.
    flags : dict
        The flags as typer gives them; None, or False for a switch: not given.
    work : callable
        ``work(given, screen=..., resume=..., overwrite=...)`` with the checked flags
        and those of the two switches that the command has. It imports what is heavy.
    check : callable
        Checks the flags and returns those given.
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
    flags = dict(flags)
    path = flags.pop("config", None)
    screen, debug = Console(flags["quiet"] or is_follower()), flags["debug"]
    given: dict[str, Any] = {}
    try:
        if path is not None:
            flags = _filled(flags, read_config(path, command))
            screen, debug = Console(flags["quiet"] or is_follower()), flags["debug"]
        switches = {name: flags.pop(name) for name in _SWITCHES if name in flags}
        del flags["quiet"], flags["debug"]
        given = check(flags)
        # a table in JSON is all that stdout may hold
        if "torch" not in sys.modules and not is_launched() and not given.get("json"):
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
        if path is not None and given == {} and str(path) not in str(error):
            error.add_note(f"(Flags were read from {path} as well.)")
        screen.fail(_message(error))
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


def _filled(flags: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags, those not given taken from the config file."""
    merged = {
        name: found.get(name, value) if value is None or value is False else value
        for name, value in flags.items()
    }
    return _drop_rivals(flags, merged)


def _drop_rivals(flags: Mapping[str, Any], merged: dict[str, Any]) -> dict[str, Any]:
    """Let a flag of the command line replace the file's other word for the same."""
    for one, other in _RIVALS:
        for typed, filed in ((one, other), (other, one)):
            if flags.get(typed) is not None and flags.get(filed, 0) is None:
                merged[filed] = None
    return merged


# Two flags that say the same thing: only one of them may stand.
_RIVALS = (
    ("query_size", "batch_size"),
    ("n_initial", "test_size"),
    ("dir_model", "model"),
)


def _message(error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    text = str(error) if isinstance(error, UsageError) or str(error) else repr(error)
    return "\n".join([text, *notes])
