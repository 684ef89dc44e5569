"""A CSV file of results that a killed benchmark goes on with.

The header says command, machine, versions and settings; rows are written as soon as
they are measured, and those of an earlier run with the same settings are kept.
"""

import csv
import importlib.metadata
import os
from datetime import date

import torch
from _outputs import command_line

from dalmax_sk._base.files import replacing
from dalmax_sk.reports import describe_hardware, describe_versions

__all__ = ["Rows", "header_lines"]

#: The header's line that must be the same for rows to stand in one file.
SETTINGS = "settings: "


def header_lines(settings, packages=(), threads=None):
    """Return what stands above the rows.

    Parameters
    ----------
    settings : dict
        What the measured numbers depend on, besides what stands in the rows.
    packages : iterable of str
        Packages to name besides Python, dalmax_sk, torch and numpy.
    threads : str or None, default=None
        In place of torch's number of threads, where that changes.

    Returns
    -------
    list of str
    """
    hardware, versions = describe_hardware(), describe_versions()
    gpus = ", ".join(gpu["name"] for gpu in hardware["gpus"]) or "no GPU"
    names = ("python", "dalmax_sk", "torch", "numpy")
    shown = [(name, versions[name]) for name in names]
    shown += [(name, importlib.metadata.version(name)) for name in packages]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return [
        f"command: {command_line()}",
        f"date: {date.today()}{load}",
        f"machine: {hardware['cpu']}, {hardware['usable_cores']} cores, "
        f"{threads or f'{torch.get_num_threads()} threads'}, {gpus}",
        "versions: " + ", ".join(f"{name} {version}" for name, version in shown),
        SETTINGS + ", ".join(f"{name}={value}" for name, value in settings.items()),
    ]


class Rows:
    """The rows of one CSV file.

    Parameters
    ----------
    path : Path
    columns : sequence of str
    key : sequence of str
        Columns that tell what a row is about; all rows of one key are measured in one
        go and written together.
    header : list of str
        Lines of :func:`header_lines`. Rows that lie in the file are kept if its
        settings are these, else an error says so.
    """

    def __init__(self, path, columns, key, header):
        self.path, self.columns, self.key = path, list(columns), tuple(key)
        self.header, self.rows = header, []
        if path.exists():
            self._read()

    def _read(self):
        with open(self.path, newline="", encoding="utf-8") as file:
            lines = file.readlines()
        old = [line[2:].rstrip("\n") for line in lines if line.startswith("# ")]
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        was, now = _settings(old), _settings(self.header)
        if was != now or rows.fieldnames != self.columns:
            raise SystemExit(
                f"{self.path} holds rows with other settings ({was}; now {now}). "
                "Remove it, or name another file by --output."
            )
        # The first run's header stays: most rows are of that day.
        self.header, self.rows = old, list(rows)

    def has(self, **key):
        """Whether there are rows about this."""
        return any(all(row[k] == str(v) for k, v in key.items()) for row in self.rows)

    def add(self, rows):
        """Append rows (dicts) and write the file anew, whole."""
        self.rows += [{k: _word(row.get(k)) for k in self.columns} for row in rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as part:
            with open(part, "w", newline="", encoding="utf-8") as file:
                file.writelines(f"# {line}\n" for line in self.header)
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows)


def _settings(lines):
    return next((line for line in lines if line.startswith(SETTINGS)), "none")


def _word(value):
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
