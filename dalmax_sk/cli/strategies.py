"""``dalmax strategies``: the table of all strategies."""

from collections.abc import Mapping
from dataclasses import asdict
from json import dumps
from typing import Any

import typer

from dalmax_sk.cli.console import Console

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
    from dalmax_sk.strategies.registry import SYMBOLS, list_strategies

    entries = list_strategies()
    if json:
        table = [asdict(entry) for entry in entries]
        typer.echo(dumps(table, indent=2, ensure_ascii=False))
    else:
        # the table is the whole output, so --quiet does not suppress it
        Console(quiet=False).show_strategies(entries, SYMBOLS)
