"""The flags of ``dalmax report``."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dalmax_sk.cli.console import Console
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags import flags as f

__all__ = ["report"]

_NOT_NEGATIVE = ("max_images_per_round", "max_images")


def report(
    dir_results: Annotated[
        str,
        typer.Argument(
            metavar="RESULTS_DIR",
            help="A results folder of train-al, or the folder of one run.",
            show_default=False,
        ),
    ],
    max_images_per_round: Annotated[
        int | None,
        f.flag(
            "max-images-per-round",
            "Picks of a round that are shown as images; the rest is counted. "
            "Default: 100",
            f.RUN,
            "INT",
        ),
    ] = None,
    max_images: Annotated[
        int | None,
        f.flag(
            "max-images",
            "Picks of all rounds of a run that are shown as images. Default: 1000",
            f.RUN,
            "INT",
        ),
    ] = None,
    config: f.Config = None,
    quiet: f.Quiet = False,
    debug: f.Debug = False,
) -> None:
    """Write the pages of runs: curve, confusions, picks.

    Each run below RESULTS_DIR gets its report.html, and RESULTS_DIR/report.html joins
    them. Pages are single files that need no network. A run that goes on can be looked
    at as well: the page shows what there is.
    """
    execute(
        "report",
        locals(),
        _work,
        check=_check,
        after_interrupt=lambda given: "Pages that were finished are kept.",
    )


def _check(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in flags.items() if value is not None}
    problems = [
        f"--{name.replace('_', '-')} must be at least 0 (images), got {given[name]}"
        for name in _NOT_NEGATIVE
        if given.get(name, 0) < 0
    ]
    if problems:
        raise UsageError("; ".join(problems) + ".")
    return given


def _work(given: dict[str, Any], *, screen: Console) -> None:
    from dalmax_sk.reports import write_results_page

    limits = {name: given[name] for name in _NOT_NEGATIVE if name in given}
    with screen.watch():
        page = write_results_page(os.path.abspath(given["dir_results"]), **limits)
    screen.say(f"Report: {page}")
