"""The main job timed: ``dalmax train-al`` on image folders, this or another version.

    python benchmarks/main_job.py --version after --dir-train DIR --dir-test DIR
        [--checkout DIR] [--python FILE] [--threads 2] [--keep DIR] [--fresh]
        [--] [flags of train-al ...]

Runs the command in a process of its own (``--checkout``: the folder of an older
checkout, put before all others on the path; ``--python``: its interpreter), reads what
the run says of itself in its files, and appends rows to
``benchmarks/results/main_job.csv``: one for each part, the seconds of all rounds
together; the wall-clock time of the whole process; the accuracy of the last round; and
a digest of all picks, which tells whether two versions picked the same images. Flags
after ``--`` go to ``train-al``. Without any, 5,000 images are labelled at the start,
which leaves 45,000 candidates of CIFAR-10, and margin sampling picks 500 in each of 5
rounds, with 20 epochs a fit.
"""

import argparse
import csv
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from _rows import Rows, header_lines

COLUMNS = ("version", "strategy", "part", "value", "unit", "note")
FLAGS = (
    "--type uncertainty_sampling --n-initial 5000 --query-size 500 --iterations 5 "
    "--epochs 20 --seed 0"
)
#: Runs the command and notes when the images were decoded, by the progress that the
#: package reports.
DRIVER = """
import json, runpy, sys, time
started = time.perf_counter()
from dalmax_sk._base import progress
decoded = 0.0
def note(stage, done, total, info):
    global decoded
    if stage == "decode" and done == total and not begun:
        decoded = time.perf_counter() - started
    if stage == "epoch":
        begun.append(done)
begun = []
file, sys.argv = sys.argv[1], ["dalmax", *sys.argv[2:]]
with progress.listen(note):
    try:
        runpy.run_module("dalmax_sk", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
with open(file, "w") as stamps:
    json.dump({"decoded": decoded}, stamps)
"""
#: Columns of history.csv that are seconds -> what the page calls them.
PARTS = {
    "fit_seconds": "fit",
    "query_seconds": "query",
    "eval_seconds": "score test images",
    "observe_seconds": "stopping rules",
}


def run(arguments, flags, results):
    """Run the command; return the seconds of its process, and until all is decoded."""
    environment = dict(os.environ)
    if arguments.checkout is not None:
        folder = arguments.checkout.resolve()
        if not (folder / "dalmax_sk" / "__init__.py").exists():
            raise SystemExit(f"--checkout: {folder} holds no package dalmax_sk.")
        environment["PYTHONPATH"] = str(folder)
    environment["OMP_NUM_THREADS"] = str(arguments.threads)
    stamps = results / "stamps.json"
    command = [
        str(arguments.python),
        *("-c", DRIVER, str(stamps), "train-al"),
        *("--dir-train", str(arguments.dir_train.resolve())),
        *("--dir-test", str(arguments.dir_test.resolve())),
        *("--dir-results", str(results)),
        *flags,
    ]
    # from a folder without the package, which Python would find first
    started = time.perf_counter()
    subprocess.run(command, env=environment, cwd=results, check=True)
    seconds = time.perf_counter() - started
    return seconds, json.loads(stamps.read_text(encoding="utf-8"))["decoded"]


def run_folder(results):
    """Return the one folder of a run below the results."""
    found = sorted(results.glob("active_learning/*/run.json"))
    if len(found) != 1:
        raise SystemExit(f"{results} holds {len(found)} runs, expected one.")
    return found[0].parent


def digest_of_picks(record):
    """Return a digest of the initial images and the picks of each round, in order."""
    names = [pick["file"] for pick in record["initial"]]
    rounds = [[pick["file"] for pick in entry["picked"]] for entry in record["rounds"]]
    return hashlib.sha256(json.dumps([names, rounds]).encode()).hexdigest()[:12]


def rows_of(version, folder, wall, decoded):
    """Return the rows of a finished run."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    strategy = record["config"]["type"]
    dalmax_sk, torch = (record["versions"][name] for name in ("dalmax_sk", "torch"))
    n_threads = record["hardware"]["torch_threads"]
    note = f"dalmax_sk {dalmax_sk}, torch {torch}, {n_threads} threads"
    seconds = {"start, find and decode images": decoded} | {
        words: sum(float(row[column] or 0) for row in history)
        for column, words in PARTS.items()
        if column in history[0]
    }
    seconds = {words: value for words, value in seconds.items() if value > 0}
    seconds["files, report and all else"] = wall - sum(seconds.values())
    seconds["whole process"] = wall
    rows = [(part, value, "s", note) for part, value in seconds.items()]
    n_queries = len(history) - 1
    rows += [
        ("rounds", n_queries, "", f"{record['data']['train']['n_images']} images"),
        ("accuracy at the end", 100 * float(history[-1]["eval_accuracy"]), "%", ""),
        ("picks", "", "", digest_of_picks(record)),
    ]
    return [dict(zip(COLUMNS, (version, strategy, *row), strict=True)) for row in rows]


def parse(words=None):
    words = sys.argv[1:] if words is None else list(words)
    flags = FLAGS.split()
    if "--" in words:
        at = words.index("--")
        words, flags = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", required=True, help="what the rows are called")
    parser.add_argument("--dir-train", type=Path, required=True)
    parser.add_argument("--dir-test", type=Path, required=True)
    parser.add_argument("--checkout", type=Path, help="folder of another version")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="keep the run's files here")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "results" / "main_job.csv",
    )
    return parser.parse_args(words), flags


def main(words=None):
    """Run the job and append its rows."""
    arguments, flags = parse(words)
    if arguments.fresh:
        arguments.output.unlink(missing_ok=True)
    torch.set_num_threads(arguments.threads)  # what the header says of this process
    settings = {"threads": arguments.threads, "flags": shlex.join(flags)}
    table = Rows(
        arguments.output, COLUMNS, ("version", "strategy"), header_lines(settings)
    )
    if table.has(version=arguments.version):
        raise SystemExit(
            f"{arguments.output} holds rows of the version {arguments.version!r}: give "
            "another name, or --fresh."
        )
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        if arguments.keep is not None:
            results = arguments.keep.resolve()
            results.mkdir(parents=True, exist_ok=True)
        wall, decoded = run(arguments, flags, results)
        rows = rows_of(arguments.version, run_folder(results), wall, decoded)
    table.add(rows)
    for row in rows:
        print(f"{row['part']:>40}  {row['value']} {row['unit']}  {row['note']}")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
