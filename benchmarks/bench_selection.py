"""Time the selection kernels against scikit-activeml, scikit-learn and the definitions.

    python benchmarks/bench_selection.py [--sizes 10000 50000] [--picks 100 1000]

Everybody gets the same arrays, in one process and one run. Short calls are repeated
between the long ones, and the median counts. Prints a table and writes it as CSV under
benchmarks/results/, the machine, the versions and the command in its header.
"""

import argparse
import csv
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _inputs import SEED, SETS, Inputs, make_inputs

from dalmax_sk.selection import k_center_greedy, k_means_select, top_n

COLUMNS = (
    "kernel",
    "set",
    "n_pool",
    "picks",
    "seconds",
    "added_mb",
    "peer",
    "peer_seconds",
    "peer_added_mb",
    "peer_ratio",
    "naive_seconds",
    "naive_ratio",
    "check",
)
PAGE = """\
# Benchmarks of the selection kernels

Written by `benchmarks/bench_selection.py`. Everybody gets the same arrays in the same
run: `tailed` is a mixture of rank 32 with heavy-ish tails, like a ResNet-18's
penultimate layer, `even` one of rank 256 without tails, nearly equidistant and hard for
everything that skips work.

- `seconds` is the median of several calls, made before and after the others' one call.
- A ratio of 10 means that the other took ten times as long. Ratios near 1 are ties, and
  a machine that is shared shifts all times; compare within a row.
- `added_mb` is the rise of the process's peak memory during a call, the largest of all.
- `naive` is the definition: plain float64 differences, one pass over the pool a centre
  (k-center), or a full sort (top-n).
- `check`: k-center's picks against the definition's, in order; top-n's scores against
  the sort's; the inertia of k-means against scikit-learn's.
"""
PEER_INSTALLED = importlib.util.find_spec("skactiveml") is not None
MISSING = "not installed"
# Repeated until this many seconds are spent, at least and at most so many times.
SECONDS, REPEATS = 3.0, (3, 15)


def measure(call: Callable[[], Any]) -> tuple[Any, float, float | None]:
    """Return a call's result, its seconds, and the MB by which it raised the peak."""
    before = _reset_peak()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    return result, seconds, None if before is None else (_peak() - before) / 2**10


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{key}:")[1].split()[0])  # kB


def _reset_peak() -> int | None:
    """Forget the process's peak memory; return what it holds now, if one can tell."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    clear.write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


class Repeated:
    """A call measured several times, in pieces: median seconds, largest memory."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.times: list[float] = []
        # The first call is not timed, but its memory counts: later ones may find memory
        # that it has left behind.
        self.result, _, memory = measure(call)
        self.memory = [] if memory is None else [memory]

    def run(self) -> None:
        """Measure for a share of the time."""
        least, most = REPEATS
        n_before, spent = len(self.times), 0.0
        while len(self.times) - n_before < least or (
            spent < SECONDS and len(self.times) - n_before < most
        ):
            self.result, seconds, memory = measure(self.call)
            self.times.append(seconds)
            if memory is not None:
                self.memory.append(memory)
            spent += seconds

    @property
    def seconds(self) -> float:
        return float(np.median(self.times))

    @property
    def added_mb(self) -> float | None:
        return max(self.memory) if self.memory else None


def naive_k_center(
    X: np.ndarray, centers: np.ndarray, marks: list[int]
) -> tuple[np.ndarray, dict[int, float]]:
    """The definition: plain float64 differences, one pass over the pool a centre.

    Returns the picks and the seconds after each number of picks in ``marks``.
    """
    start = time.perf_counter()
    nearest = np.full(len(X), np.inf)

    def add(center: np.ndarray) -> None:
        for rows in range(0, len(X), 2048):
            block = slice(rows, rows + 2048)
            difference = X[block].astype(np.float64) - center.astype(np.float64)
            squares = np.square(difference, out=difference).sum(axis=1)
            nearest[block] = np.minimum(nearest[block], squares)

    for center in centers:
        add(center)
    picks: list[int] = []
    seconds: dict[int, float] = {}
    while len(picks) < max(marks):
        picks.append(int(nearest.argmax()))
        add(X[picks[-1]])
        nearest[picks] = -np.inf
        if len(picks) in marks:
            seconds[len(picks)] = time.perf_counter() - start
    return np.array(picks), seconds


def skactiveml_core_set(data: Inputs, n: int) -> np.ndarray:
    """scikit-activeml's greedy k-center, positions in the pool."""
    from skactiveml.pool import CoreSet

    X = np.vstack([data.labeled_embeddings, data.embeddings])
    y = np.full(len(X), np.nan)
    y[: len(data.y_labeled)] = data.y_labeled
    picks = CoreSet(random_state=0).query(X, y, batch_size=n)
    return np.asarray(picks) - len(data.y_labeled)


def skactiveml_margin(data: Inputs, n: int) -> np.ndarray:
    """scikit-activeml's margin sampling with the probabilities given."""
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import UncertaintySampling

    class Known(SkactivemlClassifier):
        """A classifier that knows its probabilities, so that only the query costs."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Known":
            self.classes_ = np.arange(data.proba.shape[1])
            return self

        def predict_proba(self, X: Any) -> np.ndarray:
            return data.proba

    X = np.vstack([data.labeled_embeddings, data.embeddings])
    y = np.full(len(X), np.nan)
    y[: len(data.y_labeled)] = data.y_labeled
    known = Known(classes=np.arange(data.proba.shape[1])).fit(X, y)
    strategy = UncertaintySampling(method="margin_sampling", random_state=0)
    picks = strategy.query(X, y, clf=known, fit_clf=False, batch_size=n)
    return np.asarray(picks) - len(data.y_labeled)


def margin_scores(proba: np.ndarray) -> np.ndarray:
    """One minus the margin between the two largest probabilities."""
    two = np.partition(proba, -2, axis=1)[:, -2:]
    return 1.0 - (two[:, 1] - two[:, 0])


def sklearn_k_means(X: np.ndarray, n: int) -> tuple[np.ndarray, float]:
    """scikit-learn's k-means and the nearest candidates; picks and inertia."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin

    model = KMeans(n, n_init=1, random_state=0).fit(X)
    return pairwise_distances_argmin(model.cluster_centers_, X), model.inertia_


def bench_top_n(data: Inputs, n: int) -> dict[str, Any]:
    ours = Repeated(lambda: top_n(margin_scores(data.proba), n, random_state=0))
    ours.run()
    row = {"peer": "scikit-activeml UncertaintySampling"}
    if PEER_INSTALLED:
        row |= run_peer(lambda: skactiveml_margin(data, n))
    ours.run()
    scores = margin_scores(data.proba)
    naive, seconds, _ = measure(lambda: np.argsort(-margin_scores(data.proba))[:n])
    same = np.array_equal(np.sort(scores[naive]), np.sort(scores[ours.result]))
    return row | finish(ours, seconds, "scores equal" if same else "SCORES DIFFER")


def bench_k_center(
    data: Inputs, n: int, naive: tuple[np.ndarray, dict[int, float]] | None
) -> dict[str, Any]:
    X, centers = data.embeddings, data.labeled_embeddings
    ours = Repeated(lambda: k_center_greedy(X, n, centers))
    ours.run()
    row = {"peer": "scikit-activeml CoreSet"}
    if PEER_INSTALLED:
        row |= run_peer(lambda: skactiveml_core_set(data, n))
    ours.run()
    if naive is None:
        return row | finish(ours, None, "not checked")
    same = np.array_equal(naive[0][:n], ours.result)
    check = "picks equal" if same else "PICKS DIFFER"
    return row | finish(ours, naive[1][n], check)


def bench_k_means(data: Inputs, n: int, with_peer: bool) -> dict[str, Any]:
    X = data.embeddings
    ours = Repeated(lambda: k_means_select(X, n, random_state=0, return_distances=True))
    ours.run()
    check = f"{len(set(ours.result[0].tolist()))} distinct"
    row: dict[str, Any] = {"peer": "scikit-learn KMeans + nearest"}
    if with_peer:
        (_, inertia), seconds, memory = measure(lambda: sklearn_k_means(X, n))
        row |= {"peer_seconds": seconds, "peer_added_mb": memory}
        ours.run()
        check += f", inertia {100 * (ours.result[2] / inertia - 1):+.2f} %"
    return row | finish(ours, None, check)


def run_peer(call: Callable[[], np.ndarray]) -> dict[str, Any]:
    _, seconds, memory = measure(call)
    return {"peer_seconds": seconds, "peer_added_mb": memory}


def finish(ours: Repeated, naive_seconds: float | None, check: str) -> dict[str, Any]:
    return {
        "seconds": ours.seconds,
        "added_mb": ours.added_mb,
        "naive_seconds": naive_seconds,
        "check": check,
    }


def show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
    return str(value)


def complete(row: dict[str, Any]) -> dict[str, Any]:
    """Add the ratios; a ratio of 10 means that the other takes ten times as long."""
    for other in ("peer", "naive"):
        seconds = row.get(f"{other}_seconds")
        row[f"{other}_ratio"] = seconds / row["seconds"] if seconds else None
    if not PEER_INSTALLED and row["peer"].startswith("scikit-activeml"):
        row["peer_seconds"] = MISSING
    return {column: row.get(column) for column in COLUMNS}


def write_csv(path: Path, comments: list[str], rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.writelines(f"# {comment}\n" for comment in comments)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            )


def write_page(path: Path, comments: list[str], rows: list[dict[str, Any]]) -> None:
    """Write the table as a page of the documentation."""
    lines = [PAGE, *(f"- {comment}" for comment in comments), ""]
    lines.append(f"| {' | '.join(COLUMNS)} |")
    lines.append("|" + "---|" * len(COLUMNS))
    lines += [f"| {' | '.join(map(show, row.values()))} |" for row in rows]
    path.write_text("\n".join(lines) + "\n")


def warm_up() -> None:
    """Load what is loaded on first use, so that it is nobody's time or memory."""
    data = make_inputs(500, "tailed")
    margin_scores(data.proba)
    top_n(data.proba[:, 0], 5)
    k_center_greedy(data.embeddings, 5, data.labeled_embeddings)
    k_means_select(data.embeddings, 5, random_state=0)
    sklearn_k_means(data.embeddings, 5)
    if PEER_INSTALLED:
        skactiveml_core_set(data, 5)
        skactiveml_margin(data, 5)


def header(arguments: argparse.Namespace) -> list[str]:
    versions = [f"Python {platform.python_version()}"]
    for name in ("numpy", "torch", "scikit-learn", "scikit-activeml"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} {MISSING}")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return [
        f"command: python {shlex.join(sys.argv)}",
        f"date: {date.today()}",
        f"machine: {arguments.machine or platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, load at the start {load}",
        f"versions: {', '.join(versions)}",
        f"inputs: seed {SEED}, 512 float32 features, 1,000 labelled points",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--picks", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    kernels = ["top_n", "k_center", "k_means"]
    parser.add_argument("--kernels", nargs="+", choices=kernels, default=kernels)
    parser.add_argument(
        "--slow-up-to",
        type=int,
        default=50_000,
        help="largest pool on which the slowest others are run: the definition of "
        "k-center and scikit-learn's k-means",
    )
    parser.add_argument("--machine", help="the hardware in words, for the header")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "results" / "selection.csv",
    )
    parser.add_argument("--page", type=Path, help="write the table as Markdown, too")
    arguments = parser.parse_args()
    comments = header(arguments)
    print(*comments, sep="\n")
    warm_up()
    rows = []
    for kind in arguments.sets:
        for size in arguments.sizes:
            data = make_inputs(size, kind)
            naive = None
            if "k_center" in arguments.kernels and size <= arguments.slow_up_to:
                naive = naive_k_center(
                    data.embeddings, data.labeled_embeddings, arguments.picks
                )
            for n in arguments.picks:
                for kernel in arguments.kernels:
                    if kernel == "top_n":
                        row = bench_top_n(data, n)
                    elif kernel == "k_center":
                        row = bench_k_center(data, n, naive)
                    else:
                        row = bench_k_means(data, n, size <= arguments.slow_up_to)
                    row |= {"kernel": kernel, "set": kind, "n_pool": size, "picks": n}
                    rows.append(complete(row))
                    print(" | ".join(show(v) for v in rows[-1].values()), flush=True)
                    write_csv(arguments.output, comments, rows)
                    if arguments.page:
                        write_page(arguments.page, comments, rows)

    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
