"""Output of a run for people: bars on a terminal, plain lines elsewhere."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import rich.console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from dalmax_sk._base import progress
from dalmax_sk.cli.wrapping import wrap

if TYPE_CHECKING:  # the data need torch, and --help does not
    from dalmax_sk.cli.flags.settings import Settings
    from dalmax_sk.cli.run.data import RunData
    from dalmax_sk.strategies import StrategyEntry

__all__ = ["READING", "Console"]

#: What comes first in a command that trains.
READING = "reading the images"

_STAGES = {
    "run": "Runs",
    "round": "Rounds",
    "epoch": "Training: epochs",
    "pool": "Model: images seen",
    "query": "Strategy: picks",
    "iteration": "Strategy: k-means iterations",
    "committee": "Strategy: members of the committee",
    "episode": "Strategy: episodes of training",
    "decode": "Images read",
}


class Console:
    """Writes for a person: results to stdout, errors to stderr.

    On a terminal, bars show how far everything is. Where stdout is a file or a pipe
    there is one plain line a round and nothing is ever overwritten.

    Parameters
    ----------
    quiet : bool
        Write errors only.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.out = rich.console.Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.err = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)
        self._noted: set[str] = set()

    def say(self, text: str) -> None:
        """Write one line to stdout."""
        _write(self.out, text)

    def say_images(self, data: "RunData", *, is_digits: bool) -> None:
        """Write how many images there are, and name those left out."""
        if is_digits:
            self.say(
                "No --dir-train and --dir-test: taking the embedded handwritten "
                f"digits, written to {data.train.directory.parent}"
            )
        self.say(
            f"{len(data.train.paths)} training and {len(data.test.paths)} test images "
            f"in {len(data.class_names)} classes"
        )
        for split in (data.train, data.test):
            for path, reason in split.skipped:
                self.warn(f"skipped {path}: {reason}")
        for note in data.notes:
            self.warn(f"{note}.")

    def say_short_pool(self, settings: "Settings", n_pool: int) -> None:
        """Write that the images run out before the rounds, if they do."""
        text = settings.describe_short_pool(n_pool)
        if text is not None:
            self.warn(text)

    def warn(self, text: str, *, always: bool = False) -> None:
        """Write one line that deserves attention to stderr; if quiet, only `always`."""
        if self.quiet and not always:
            return
        _write(self.err, f"Note: {text}", "yellow", len("Note:"))

    def warn_once(self, text: str) -> None:
        """Write a note of the package or of a library, which may come in each round."""
        if text not in self._noted:
            self._noted.add(text)
            self.warn(text)

    def fail(self, text: str) -> None:
        """Write an error to stderr."""
        _write(self.err, f"Error: {text}", "red")

    def announce(self, text: str) -> None:
        """Write one line to stdout about what begins now and takes a while."""
        self.say(f"{text} …")

    @contextmanager
    def watch(self, n_rounds: int | None = None) -> Iterator[None]:
        """Show the progress of what runs inside the block.

        Parameters
        ----------
        n_rounds : int, default=None
            Rounds of querying the run will have, each with a line of its own; None for
            work that is not one run.
        """
        bars = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.out,
            transient=True,
            disable=self.quiet or not self.out.is_terminal,
        )
        from PIL import Image  # which --help does not need

        handler = _LogToScreen(self)
        logger = logging.getLogger("dalmax_sk")
        logger.addHandler(handler)
        try:
            with (
                bars,
                progress.listen(_Listener(self, bars, n_rounds)),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("default", UserWarning)
                # without the file's name; what is too large is an error, with it
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                # names of folders are classes, however many there are
                warnings.filterwarnings("ignore", "The number of unique classes is gr")
                warnings.showwarning = self._show_warning
                yield
        finally:
            logger.removeHandler(handler)

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stand in for :func:`warnings.showwarning`: the place tells users nothing."""
        self.warn_once(str(message))

    def say_round(self, record: Mapping[str, Any], n_rounds: int) -> None:
        """Write the line of one round."""
        score = record.get("eval_accuracy")
        accuracy = "" if score is None else f", test accuracy {100 * score:.2f} %"
        self.say(
            f"round {record['round']}/{n_rounds}: {record['n_labeled']} labels"
            f"{accuracy}, training {record['fit_seconds']:.1f} s, "
            f"picking {record['query_seconds']:.1f} s"
        )

    def say_cell(self, done: int, total: int, info: Mapping[str, Any]) -> None:
        """Write the line of one run of an experiment."""
        last = info["records"][-1]
        seconds = sum(
            record[name] or 0.0
            for record in info["records"]
            for name in ("fit_seconds", "query_seconds", "score_seconds")
        )
        self.say(
            f"run {done}/{total}: {info['strategy']}, seed {info['seed']}: "
            f"{_percent(last['scores']['accuracy'])} with {last['n_labeled']} labels, "
            f"{seconds:.1f} s"
        )

    def summarize(
        self, history: Sequence[Mapping[str, Any]], folder: Path, seconds: float
    ) -> None:
        """Write the table of all rounds, the times, and where the files are."""
        table = Table(title="Active learning, round by round")
        for name in (
            "round",
            "labels",
            "test accuracy",
            "macro F1",
            "training (s)",
            "picking (s)",
        ):
            table.add_column(name, justify="right")
        for record in history:
            table.add_row(
                str(record["round"]),
                str(record["n_labeled"]),
                f"{100 * record['eval_accuracy']:.2f} %",
                f"{record['eval_f1_macro']:.3f}",
                f"{record['fit_seconds']:.1f}",
                f"{record['query_seconds']:.1f}",
            )
        self.out.print(table)
        self.say(f"{_time_table(history)}; of the whole run: {seconds:.1f} s")
        self.say(f"Files: {folder}")

    def say_test(self, told: Mapping[str, Any], folder: Path) -> None:
        """Write the table of all classes, the accuracy, and where the files are."""
        table = Table(title="Test images, class by class")
        table.add_column("class")
        for name in ("precision", "recall", "F1", "images"):
            table.add_column(name, justify="right")
        for entry in told["per_class"]:
            table.add_row(
                escape(entry["class"]),
                *(_percent(entry[name]) for name in ("precision", "recall", "f1")),
                str(entry["support"]),
            )
        table.add_section()
        for average, values in told["averages"].items():
            table.add_row(
                f"{average} mean",
                *(_percent(values[name]) for name in ("precision", "recall", "f1")),
                str(told["n_images"]),
            )
        self.out.print(table)
        self.say(f"Test accuracy: {_percent(told['accuracy'])}")
        self.say(f"Files: {folder}")

    def show_strategies(
        self, entries: Sequence["StrategyEntry"], symbols: Mapping[str, str]
    ) -> None:
        """Write the table of all strategies."""
        table = Table(show_lines=True)
        table.add_column("name for --type", no_wrap=True)
        table.add_column("what it does, what it looks at, what a query costs")
        for entry in entries:
            names = [f"[bold]{escape(entry.name)}[/]", escape(entry.class_name)]
            names += [escape(f"{k}={v!r}") for k, v in entry.parameters.items()]
            names += [escape(f"also: {alias}") for alias in entry.aliases]
            facts = (f"Looks at {entry.looks_at}.", f"Costs {entry.cost}.")
            about = (entry.description, *facts)
            table.add_row("\n".join(names), "\n".join(map(escape, about)))
        self.out.print(table)
        letters = ", ".join(f"{letter} {what}" for letter, what in symbols.items())
        self.say(f"Costs come on top of the model's pass over the pool; {letters}.")


def _write(
    console: rich.console.Console, text: str, style: str = "", stop: int | None = None
) -> None:
    """Write a text, styled up to `stop`; on a terminal its lines wrap at words."""
    shown = Text(wrap(text, console.width) if console.is_terminal else text)
    shown.stylize(style, 0, stop)
    console.print(shown)


def _time_table(history: Sequence[Mapping[str, Any]]) -> str:
    """Return one line of where the time of all rounds went."""
    seconds = {
        name: sum(record.get(f"{key}_seconds", 0.0) for record in history)
        for name, key in (
            ("training", "fit"),
            ("picking", "query"),
            ("scoring", "eval"),
            ("stopping rules", "observe"),
        )
    }
    parts = [f"{name} {s:.1f} s" for name, s in seconds.items() if s]
    # an epoch of a round shows its labelled images once
    n_seen = sum(
        record["n_labeled"] * len(record.get("fit_history", ())) for record in history
    )
    if n_seen and seconds["training"]:
        parts[0] += f" ({n_seen / seconds['training']:,.0f} images/s)"
    return (
        f"Time of the rounds: {sum(seconds.values()):.1f} s, of it {', '.join(parts)}"
    )


def _percent(fraction: float) -> str:
    # NaN: nothing was predicted as the class
    return "–" if math.isnan(fraction) else f"{100 * fraction:.2f} %"


class _Listener:
    """Turns progress reports into bars, and finished rounds into lines."""

    def __init__(self, screen: Console, bars: Progress, n_rounds: int | None) -> None:
        self._screen, self._bars, self._n_rounds = screen, bars, n_rounds
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}

    def __call__(
        self, stage: str, done: int, total: int | None, info: dict[str, Any]
    ) -> None:
        is_new_round = stage == "round" and not info.get("restored", False)
        if is_new_round and self._n_rounds is not None:
            self._screen.say_round(info["record"], self._n_rounds)
        if stage == "run" and total is not None and "records" in info:
            self._screen.say_cell(done, total, info)
        if self._bars.disable:
            return
        if stage not in self._tasks:
            label = _STAGES.get(stage, stage)
            self._tasks[stage] = self._bars.add_task(label, total=total)
        task = self._tasks[stage]
        if done < self._done.get(stage, 0):
            # a new pass of the same kind: its clock starts anew
            self._bars.reset(task, total=total)
        self._done[stage] = done
        # A bar that is done makes room.
        finished = stage != "round" and total is not None and done >= total
        self._bars.update(task, completed=done, total=total, visible=not finished)


class _LogToScreen(logging.Handler):
    """Shows the package's warnings in the run's own form."""

    def __init__(self, screen: Console) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.warn_once(record.getMessage())
