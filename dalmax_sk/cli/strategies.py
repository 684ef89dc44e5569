"""``dalmax strategies``: the table of all strategies."""

from collections.abc import Mapping
from json import dumps
from typing import Any

import typer

from dalmax_sk.cli.console import Console
from dalmax_sk.cli.strategy_table import SYMBOLS, list_strategies

__all__ = ["strategies"]


def strategies(given: Mapping[str, Any], *, json: bool, screen: Console) -> None:
    """List the strategies: what they need and cost.

    Parameters
    ----------
    given : dict
        The flags that were given.
    json : bool
        Print JSON instead of a table.
    screen : Console
        Where to write for the user.
    """
    entries = list_strategies()
    if json:
        table = [entry.to_dict() for entry in entries]
        typer.echo(dumps(table, indent=2, ensure_ascii=False))
    else:
        # the table is all there is to it, so --quiet does not take it away
        Console(quiet=False).show_strategies(entries, SYMBOLS)
