"""The command line: ``dalmax``, or ``python -m dalmax_sk``."""

from dalmax_sk.cli.commands import app, main

__all__ = ["app", "main"]
