"""What a benchmark of strategies leaves behind, in one form for all of them.

``NAME_curves.csv`` (one row a round), ``NAME_comparison.csv`` (one row a strategy),
``NAME_times.csv`` (seconds a run) and ``NAME.json`` beside them: command, date,
hardware, versions, settings and verdicts. ``render_results.py`` makes pages from these.
"""

import json
import shlex
import sys
from datetime import date
from pathlib import Path

import pandas as pd

from dalmax_sk._base.files import replacing, write_text
from dalmax_sk.evaluation import compare
from dalmax_sk.reports import describe_hardware, describe_versions

#: What of the hardware belongs on a page; the rest names a machine, not its speed.
HARDWARE = ("cpu", "usable_cores", "torch_threads", "memory_bytes", "gpus")


def command_line(arguments=None):
    """Return the command that is running, with folders of data and scratch cut short.

    Parameters
    ----------
    arguments : list of str, default=None
        None takes those of this process.
    """
    arguments = sys.argv if arguments is None else arguments
    script = Path("benchmarks", Path(arguments[0]).name)
    shown = [
        Path(word).name if Path(word).is_absolute() else word for word in arguments[1:]
    ]
    return f"python {script.as_posix()} {shlex.join(shown)}".strip()


def describe(settings):
    """Return the sidecar of a result: command, date, hardware, versions, settings."""
    hardware = describe_hardware()
    return {
        "command": command_line(),
        "date": date.today().isoformat(),
        "hardware": {name: hardware[name] for name in HARDWARE},
        "versions": describe_versions(),
        "settings": settings,
    }


def times_table(curves):
    """Return mean seconds a run in its parts, one row a strategy.

    Parameters
    ----------
    curves : BudgetCurves

    Returns
    -------
    DataFrame
        ``fit``, ``query``, ``score`` and ``whole``: seconds a run, a mean over runs;
        ``query_round``: seconds a query, a mean over those after the initial set;
        ``peak_mb``: largest resident memory of the process, which never falls.
    """
    frame = curves.frame
    runs = frame.groupby(["strategy", "split", "seed"], sort=False).agg(
        fit=("fit_seconds", "sum"),
        query=("query_seconds", "sum"),
        score=("score_seconds", "sum"),
    )
    runs["whole"] = runs.sum(axis=1)
    table = runs.groupby("strategy", sort=False).mean()
    asked = frame[frame["round"] > 0]
    table["query_round"] = asked.groupby("strategy")["query_seconds"].mean()
    table["peak_mb"] = frame.groupby("strategy")["peak_bytes"].max() / 2**20
    return table


def write_outputs(curves, name, directory, settings, *, baseline="random_sampling"):
    """Write curves, comparison, times and the sidecar; return the comparison.

    Parameters
    ----------
    curves : BudgetCurves
    name : str
        How the files' names begin.
    directory : path-like
        Where to write; made if needed.
    settings : dict
        What the reader needs to know of the set-up; JSON-able.
    baseline : str, default="random_sampling"

    Returns
    -------
    Comparison or None
        None for a single seed, which nothing can be concluded from.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    curves.to_csv(directory / f"{name}_curves.csv")
    _write_table(times_table(curves), directory / f"{name}_times.csv")
    sidecar = describe(settings) | {"seeds": curves.seeds, "baseline": baseline}
    comparison = None
    if len(curves.seeds) > 1 and len(curves.strategies) > 1:
        comparison = compare(curves, baseline=baseline)
        table = comparison.table.set_index("strategy")
        _write_table(table, directory / f"{name}_comparison.csv")
        sidecar["verdicts"] = comparison.verdicts
    write_text(
        directory / f"{name}.json",
        json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n",
    )
    return comparison


def print_outputs(curves, comparison):
    """Print mean curves, the verdicts and the times."""
    with pd.option_context("display.width", 120, "display.max_columns", None):
        print((100 * curves.summary()["mean"]).round(1).to_string())
        print(times_table(curves).round(2).to_string())
    if comparison is None:
        print("One seed or one strategy only: nothing to compare.")
    else:
        print(*comparison.verdicts.values(), sep="\n")


def _write_table(table, path):
    with replacing(path) as part:
        table.to_csv(part, index_label="strategy", lineterminator="\n")
