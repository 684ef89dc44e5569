"""The flags of ``dalmax strategies``."""

from dataclasses import asdict
from json import dumps
from typing import Annotated, Any

import typer

from dalmax_sk.cli.console import Console
from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags import flags as f

__all__ = ["strategies"]


def strategies(
    json: Annotated[bool, f.switch("json", "Print JSON instead of a table.")] = False,
    config: f.Config = None,
    quiet: f.Quiet = False,
    debug: f.Debug = False,
) -> None:
    """List the query strategies: what they look at and cost."""
    execute("strategies", locals(), _work, check=dict, after_interrupt=lambda given: "")


def _work(given: dict[str, Any], *, screen: Console) -> None:
    from dalmax_sk.strategies.registry import SYMBOLS, list_strategies

    entries = list_strategies()
    if given["json"]:
        table = [asdict(entry) for entry in entries]
        typer.echo(dumps(table, indent=2, ensure_ascii=False))
    else:
        # the table is the whole output, so --quiet does not suppress it
        Console(quiet=False).show_strategies(entries, SYMBOLS)
