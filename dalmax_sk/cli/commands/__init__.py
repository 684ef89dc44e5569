"""The commands and their flags; everything heavy is imported when a command runs."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from dalmax_sk._version import __version__
from dalmax_sk.cli.allocator import tune_malloc
from dalmax_sk.cli.commands.compare import compare
from dalmax_sk.cli.commands.evaluate import evaluate
from dalmax_sk.cli.commands.report import report
from dalmax_sk.cli.commands.strategies import strategies
from dalmax_sk.cli.commands.train import train
from dalmax_sk.cli.commands.train_al import train_al
from dalmax_sk.cli.flags.config_file import register_command

__all__ = ["app", "main"]

app = typer.Typer(
    name="dalmax",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        # --dir_train and --dir-train, train_al and train-al are the same
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)


def _say_version(value: bool) -> None:
    if value:
        typer.echo(f"dalmax_sk {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_say_version,
            metavar="",
        ),
    ] = False,
) -> None:
    """Deep active learning: find out which images are worth a label."""


_COMMANDS: dict[str, Callable[..., None]] = {
    "train-al": train_al,
    "train": train,
    "test": evaluate,
    "compare": compare,
    "report": report,
    "strategies": strategies,
}
for _name, _function in _COMMANDS.items():
    register_command(_name, _function)
    app.command(_name)(_function)


def limit_openmp_spin() -> None:
    """Let threads of torch look out for work for some microseconds, then sleep.

    Must come before torch is imported. Left to themselves they burn the cores that
    others need: beside a program on one of two cores, the small nets of active learning
    train ten times slower. Put to sleep at once, they lose a quarter of the speed on an
    idle machine, and a third with mixed precision.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return
    if sys.platform == "linux":  # where torch has GNU's OpenMP
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    else:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def main() -> None:
    """Run the program."""
    limit_openmp_spin()
    tune_malloc()
    for stream in (sys.stdout, sys.stderr):
        # File names may hold characters that the terminal cannot show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name=None)
