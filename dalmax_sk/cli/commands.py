"""The commands; everything heavy is imported when one of them runs."""

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dalmax_sk._version import __version__
from dalmax_sk.cli.allocator import tune_malloc
from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags.command_line import resume_hint
from dalmax_sk.cli.flags.table import Flag, flags_of

__all__ = ["COMMANDS", "app", "main", "make_app"]


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes
    ----------
    work : str
        The function that does the work, as ``module:name`` below ``dalmax_sk.cli``.
    help : str
        What ``--help`` says; the first line stands in the list of commands.
    after_interrupt : str or None, default=None
        What is kept after Ctrl-C; None for a command that can be resumed.
    """

    work: str
    help: str
    after_interrupt: str | None = None


_START_ANEW = "Nothing is kept; run the command again."

COMMANDS = {
    "train-al": Command(
        "train_al:train_al",
        """Active learning: train, ask for labels, repeat.

        The net is trained on a few labelled images, a strategy asks for the most useful
        labels, and so on. All labels are known from the folders; the run hides them and
        reveals those it asks for, which shows what a strategy is worth. Without folders
        it runs on scikit-learn's handwritten digits.
        """,
    ),
    "train": Command(
        "train:train",
        """Train once: on all images, a random part, or a run's choice.

        Active learning against chance at the same number of labels: --type train with
        the selected_images/ of a run, and --type random --like the run's folder.
        """,
        _START_ANEW,
    ),
    "test": Command(
        "evaluate:evaluate",
        """Test a saved model on a folder of images.

        Models are .safetensors files with a .json beside them, as train-al and train
        write them. Nothing is ever unpickled.
        """,
        _START_ANEW,
    ),
    "compare": Command(
        "compare:compare_strategies",
        """Compare strategies: better than random, or not?

        Every strategy runs with every seed; all of them share the images, the seeds and
        the initial sets. Without folders it runs on scikit-learn's handwritten digits.
        """,
    ),
    "report": Command(
        "report:report",
        """Write the pages of runs: curve, confusions, picks.

        Each run below RESULTS_DIR gets its report.html, and RESULTS_DIR/report.html
        joins them. Pages are single files that need no network. A run that goes on can
        be looked at as well: the page shows what there is.
        """,
        "Pages that were finished are kept.",
    ),
    "strategies": Command(
        "strategies:strategies",
        """List the query strategies: what they need and cost.""",
        "",
    ),
}


class _Command(TyperCommand):
    """A command that reads its words by itself, so that all mistakes are told at once.

    Typer has the flags for ``--help`` only.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words for the reader of flags, unless help is wanted."""
        if not {"-h", "--help"}.isdisjoint(args):
            args[:] = ["--help"]
            return super().parse_args(ctx, args)
        ctx.args = list(args)
        return args

    def invoke(self, ctx: Any) -> None:
        """Run the command."""
        name = str(self.name)
        command = COMMANDS[name]

        def work(given: dict[str, Any], **modes: Any) -> None:
            # The checks of the flags cost nothing; torch costs seconds.
            module, function = command.work.split(":")
            getattr(import_module(f"dalmax_sk.cli.{module}"), function)(given, **modes)

        def after_interrupt(given: dict[str, Any]) -> str:
            if command.after_interrupt is None:
                return resume_hint(given, command=name)
            return command.after_interrupt

        execute(name, ctx.args, work, after_interrupt=after_interrupt)


def _parameter(flag: Flag) -> inspect.Parameter:
    """Return what typer needs to list a flag in ``--help``."""
    if flag.is_argument:
        option = typer.Argument(
            metavar=flag.kind.metavar, help=flag.help, show_default=False
        )
    else:
        default = flag.default_text
        # an empty metavar: typer would write <bool>, and there is no value to give
        option = typer.Option(
            flag.word,
            help=f"{flag.help} Default: {default}" if default else flag.help,
            rich_help_panel=flag.panel,
            metavar=flag.kind.metavar,
            show_default=False,
            hidden=flag.is_hidden,
        )
    return inspect.Parameter(
        flag.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if flag.is_argument else None,
        annotation=Annotated[str | None, option],
    )


def _described(name: str, command: Command) -> Callable[..., None]:
    """Return a function whose signature and docstring are those of a command."""

    def function(**flags: Any) -> None:
        """Stand for the command; ``_Command`` does what is to be done."""

    parameters = [_parameter(flag) for flag in flags_of(name)]
    function.__doc__ = command.help
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _say_version(value: bool) -> None:
    if value:
        typer.echo(f"dalmax_sk {__version__}")
        raise typer.Exit


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


def make_app() -> typer.Typer:
    """Make the program from the commands and the table of flags."""
    program = typer.Typer(
        name="dalmax",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={
            "token_normalize_func": lambda token: token.replace("_", "-"),
            "help_option_names": ["-h", "--help"],
        },
    )
    program.callback()(_root)
    for name, command in COMMANDS.items():
        program.command(name, cls=_Command)(_described(name, command))
    return program


app = make_app()


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
