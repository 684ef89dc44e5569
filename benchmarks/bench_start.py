"""How soon a command of dalmax speaks, beside the imports that it cannot do without.

    python benchmarks/bench_start.py [--repeats 5]
        [--output benchmarks/results/start.csv]

Both sides are fresh processes and take turns, so that a busy machine slows both: one
that imports torch, scikit-learn, pandas and scipy.stats, from its start to its end, and
one of each command, from its start to the first and the second line that it writes.
``test`` tests a model that ``train`` leaves on the embedded digits. The seconds are
medians.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from dalmax_sk.reports import describe_hardware, describe_versions

IMPORTS = "import torch, sklearn, pandas, scipy.stats"
COMMANDS = {
    "train-al": [],
    "train": [],
    "test": ["--dir-model", "MODEL"],
    "compare": ["--types", "margin_sampling"],
}


def seconds_of_imports():
    """Return the seconds of a process that only imports."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


def seconds_to_lines(words, n_lines=2):
    """Return the seconds to the first lines of a command, and the lines.

    Parameters
    ----------
    words : list of str
        The command and its flags; it is ended after these lines.
    n_lines : int, default=2
    """
    started = time.perf_counter()
    seconds, lines = [], []
    with subprocess.Popen(
        [sys.executable, "-m", "dalmax_sk", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        for _ in range(n_lines):
            lines.append(process.stdout.readline())
            seconds.append(time.perf_counter() - started)
        process.kill()
    return seconds, lines


def measure(commands, repeats, folder):
    """Return one row of seconds for each command.

    Parameters
    ----------
    commands : list of str
    repeats : int
    folder : Path
        An empty folder.
    """
    if "test" in commands:
        words = ["train", "--epochs", "1", "--dir-results", str(folder), "--quiet"]
        subprocess.run([sys.executable, "-m", "dalmax_sk", *words], check=True)
    imports, measured = [], {command: [] for command in commands}
    for repeat in range(-1, repeats):  # the first fills the system's file cache
        imports.append(seconds_of_imports())
        for command in commands:
            # a folder of its own: none finds what another left
            results = folder / f"{command}_{repeat}"
            words = [command, *COMMANDS[command], "--dir-results", str(results)]
            model = str(folder / "train" / "train")
            words = [model if word == "MODEL" else word for word in words]
            seconds, lines = seconds_to_lines(words)
            if not lines[0].startswith("loading PyTorch"):
                raise RuntimeError(f"{command} began with {lines[0]!r}")
            measured[command].append(seconds)
    base = statistics.median(imports[1:])
    rows = []
    for command, pairs in measured.items():
        first, second = map(statistics.median, zip(*pairs[1:], strict=True))
        rows.append(
            {
                "command": command,
                "first_line_seconds": f"{first:.2f}",
                "second_line_seconds": f"{second:.2f}",
                "imports_seconds": f"{base:.2f}",
                "beyond_imports_seconds": f"{second - base:.2f}",
            }
        )
    return rows


def main(arguments=None):
    """Run the benchmark, print its rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS))
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.commands, arguments.repeats, Path(folder))
    for row in rows:
        print(row)
    if arguments.output is not None:
        write(arguments.output, rows)


def write(path, rows):
    """Write rows as CSV under a header that says where they come from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hardware, versions = describe_hardware(), describe_versions()
    named = ("python", "dalmax_sk", "torch", "scikit-learn")
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(f"# command: python {' '.join(sys.argv)}\n")
        file.write(
            f"# date: {date.today().isoformat()}, load {os.getloadavg()[0]:.1f}\n"
            f"# machine: {hardware['cpu']}, {hardware['usable_cores']} cores\n"
            f"# versions: {', '.join(f'{n} {versions[n]}' for n in named)}\n"
        )
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
