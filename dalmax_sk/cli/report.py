"""``dalmax report``: the pages of runs."""

from collections.abc import Mapping
from typing import Any

from dalmax_sk.cli.console import Console
from dalmax_sk.reports import write_results_page

__all__ = ["report"]


def report(given: Mapping[str, Any], *, screen: Console) -> None:
    """Write the page of each run below a folder, and the page that joins them.

    Parameters
    ----------
    given : dict
        The flags that were given.
    screen : Console
        Where to write for the user.
    """
    limits = {name: value for name, value in given.items() if name != "dir_results"}
    with screen.watch():
        page = write_results_page(given["dir_results"], **limits)
    screen.say(f"Report: {page}")
