"""Time the queries of the strategies against scikit-activeml and scikit-learn.

    python benchmarks/bench_selection.py [--strategies badge ...] [--sizes 10000 50000]
    python benchmarks/bench_selection.py --growth
    python benchmarks/bench_selection.py --memory

Everybody gets the same arrays, in one process and one run: 512 features, 10 classes,
1,000 labelled points. Short calls are repeated between the long ones, and the median
counts. Prints a table and writes it as CSV under benchmarks/results/, the machine, the
versions and the command in its header. ``--growth`` times ours alone on pools from
10,000 to 200,000. ``--memory`` measures the peak memory of ours, each query in a fresh
process, which has nothing left over from earlier ones.
"""

import argparse
import csv
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import _peers
import numpy as np
import torch
from _inputs import SEED, SETS, Inputs, make_inputs
from _measure import Repeated, measure

from dalmax_sk.pool import Pool
from dalmax_sk.strategies import get_strategy

COLUMNS = (
    "strategy",
    "set",
    "n_pool",
    "picks",
    "seconds",
    "added_mb",
    "peer",
    "peer_seconds",
    "peer_added_mb",
    "peer_ratio",
    "check",
)
PAGE = """\
# Benchmarks of the queries

Written by `benchmarks/bench_selection.py`. A query is timed by itself, with the outputs
of the model at hand, and everybody gets the same arrays in the same run: `tailed` is a
mixture of rank 32 with heavy-ish tails, like a ResNet-18's penultimate layer, `even`
one of rank 256 without tails, nearly equidistant and hard for everything that skips
work.

- `seconds` is the median of several calls, made before and after the peer's one call;
  of one call where a call takes longer than ten seconds.
- A ratio of 10 means that the peer took ten times as long. Ratios near 1 are ties, and
  a machine that is shared shifts all times; compare within a row.
- `added_mb` is the rise of the process's peak memory during a call, the largest of all.
  A call may find memory that an earlier one left behind, so these are lower bounds, the
  peers' as well. What a query adds in a fresh process stands in
  `benchmarks/results/selection_memory.csv` (`--memory`).
- `check`: core-set's picks against those of plain float64 differences, in order;
  margins against the peer's; the number of distinct picks for all others, whose picks
  are compared with brute-force definitions in the tests.

How the times grow, for ours alone (`--growth`): linearly for most; with the square of
the pool for those that compare all pairs, ProbCover, MaxHerding, UHerding and facility
location. Sizes at which a query was expected to take more than a minute are left out.

![Seconds a query against candidates](images/selection_growth.png)
"""
GROWTH = (10_000, 25_000, 50_000, 100_000, 200_000)
MISSING = "not installed"
Query = Callable[[Inputs, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One strategy, and a peer that does the same.

    `peer_up_to` maps a number of picks to the largest pool the peer is given: beyond it
    takes many minutes or does not fit the memory.
    """

    name: str
    picks: tuple[int, ...] = (100, 1000)
    peer: Query | None = None
    peer_name: str = ""
    peer_up_to: dict[int, int] | None = None
    largest: int = 200_000


def _sk(name: str) -> str:
    return f"scikit-activeml {name}"


USE_SAMPLES = ("query_by_committee", "bald", "batch_bald", "epig")
EVERYWHERE = {10: 10**9, 100: 10**9, 1000: 10**9}
CASES = (
    Case(
        "margin_sampling",
        peer=_peers.margin,
        peer_name=_sk("UncertaintySampling"),
        peer_up_to=EVERYWHERE,
    ),
    Case(
        "core_set_selection",
        peer=_peers.core_set,
        peer_name=_sk("CoreSet"),
        peer_up_to=EVERYWHERE,
    ),
    Case(
        "diversity_sampling",
        peer=_peers.k_means,
        peer_name="scikit-learn KMeans + nearest",
        peer_up_to={100: 50_000, 1000: 10_000},
    ),
    Case(
        "badge",
        peer=_peers.badge,
        peer_name=_sk("Badge"),
        peer_up_to={100: 50_000, 1000: 10_000},
    ),
    Case(
        "typi_clust",
        peer=_peers.typi_clust,
        peer_name=_sk("TypiClust"),
        peer_up_to=EVERYWHERE,
    ),
    Case(
        "prob_cover",
        picks=(100,),
        peer=_peers.prob_cover,
        peer_name=_sk("ProbCover"),
        peer_up_to={100: 10_000},
    ),
    Case(
        "max_herding",
        peer=_peers.max_herding,
        peer_name=_sk("MaxHerding"),
        peer_up_to={100: 10_000},
    ),
    Case("uherding"),
    Case("facility_location"),
    Case("cluster_margin"),
    Case(
        "drop_query",
        peer=_peers.drop_query,
        peer_name=_sk("DropQuery"),
        peer_up_to=EVERYWHERE,
    ),
    Case("alfa_mix"),
    Case("galaxy"),
    Case("expected_model_change"),
    Case(
        "query_by_committee",
        peer=_peers.committee_kl,
        peer_name=_sk("QueryByCommittee"),
        peer_up_to=EVERYWHERE,
    ),
    Case("bald", peer=_peers.bald, peer_name=_sk("GreedyBALD"), peer_up_to=EVERYWHERE),
    Case(
        "batch_bald",
        picks=(10,),
        peer=_peers.batch_bald,
        peer_name=_sk("BatchBALD"),
        peer_up_to={10: 10_000},
    ),
    Case("epig"),
    Case("bait", picks=(10,), largest=10_000),
)


def make_pool(data: Inputs) -> Pool:
    """Return the pool that a strategy is asked about."""
    return Pool.from_arrays(
        proba=data.proba,
        embeddings=data.embeddings,
        labeled_embeddings=data.labeled_embeddings,
        labeled_proba=data.labeled_proba,
        y_labeled=data.y_labeled,
        posterior_proba=data.samples,
        head=(data.weight, data.bias),
        random_state=0,
    )


def bench(case: Case, data: Inputs, n: int, with_peer: bool) -> dict[str, Any]:
    """Time one query of `n` picks, ours and the peer's."""
    strategy = get_strategy(case.name)
    pool = make_pool(data)
    ours = Repeated(lambda: strategy.query(pool, n))
    ours.run()
    row: dict[str, Any] = {}
    theirs = None
    if with_peer and case.peer is not None:
        row["peer"] = case.peer_name
        limit = (case.peer_up_to or {}).get(n, 0)
        if case.peer_name.startswith("scikit-activeml") and not _peers.PEER_INSTALLED:
            row["peer_seconds"] = MISSING
        elif len(pool) <= limit:
            peer = case.peer
            theirs, seconds, memory = measure(lambda: peer(data, n))
            row |= {"peer_seconds": seconds, "peer_added_mb": memory}
            ours.run()
            row["peer_ratio"] = seconds / ours.seconds
        else:
            row["peer_seconds"] = "too long"
    return row | {
        "seconds": ours.seconds,
        "added_mb": ours.added_mb,
        "check": check(case.name, data, n, ours.result, theirs, with_peer),
    }


def check(
    name: str,
    data: Inputs,
    n: int,
    picks: np.ndarray,
    theirs: np.ndarray | None,
    thorough: bool,
) -> str:
    """Compare the picks with what can be compared in short."""
    if name == "core_set_selection" and thorough and len(data.embeddings) <= 10_000:
        same = np.array_equal(_peers.naive_k_center(data, n)[0], picks)
        return "picks equal" if same else "PICKS DIFFER"
    if name == "margin_sampling" and theirs is not None:
        two = np.sort(np.partition(data.proba, -2, axis=1)[:, -2:], axis=1)
        margins = two[:, 1] - two[:, 0]
        same = np.allclose(np.sort(margins[picks]), np.sort(margins[theirs]))
        return "margins equal" if same else "MARGINS DIFFER"
    return f"{len(set(picks.tolist()))} distinct"


def memory_of_one(name: str, size: int, n: int) -> float | None:
    """Return the MB that one query adds in this process, after a tiny one."""
    get_strategy(name).query(
        make_pool(make_inputs(500, "tailed", with_samples=True)), 5
    )
    pool = make_pool(make_inputs(size, "tailed", with_samples=name in USE_SAMPLES))
    return measure(lambda: get_strategy(name).query(pool, n))[2]


def bench_memory(case: Case, size: int) -> dict[str, Any]:
    """Measure one query in a process of its own."""
    call = f"import bench_selection as b; print(b.memory_of_one({case.name!r}, {size}, "
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{call}{case.picks[-1]}))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    words = result.stdout.split()[-1]
    return {"added_mb": None if words == "None" else float(words)}


def show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
    return str(value)


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


def draw_growth(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw seconds against the size of the pool, both on log scales."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5.5), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    for i, name in enumerate(names):
        mine = [row for row in rows if row["strategy"] == name]
        axes.plot(
            [row["n_pool"] for row in mine],
            [row["seconds"] for row in mine],
            marker="osD^vPX*"[i % 8],
            linestyle=("-", "--", ":")[i // 7 % 3],
            color=f"C{i % 10}",
            ms=4,
            label=f"{name} ({mine[0]['picks']})",
        )
    axes.set(xscale="log", yscale="log", xlabel="candidates", ylabel="seconds a query")
    axes.set_xticks(GROWTH, [f"{n // 1000}k" for n in GROWTH])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8, title="strategy (picks)")
    figure.savefig(path, dpi=110)


def warm_up(cases: list[Case]) -> None:
    """Load what is loaded on first use, so that it is nobody's time or memory."""
    data = make_inputs(500, "tailed", with_samples=True)
    pool = make_pool(data)
    for case in cases:
        get_strategy(case.name).query(pool, 5)
        installed = _peers.PEER_INSTALLED or not case.peer_name.startswith("scikit-act")
        if case.peer is not None and installed:
            case.peer(data, 5)


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
    names = [case.name for case in CASES]
    parser.add_argument("--strategies", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--picks", type=int, nargs="+", help="instead of 100 and 1000")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["tailed"])
    parser.add_argument(
        "--growth",
        action="store_true",
        help="ours alone, 1,000 picks (or the most a strategy is timed with), on pools "
        f"of {GROWTH}, while a query is expected to take less than --limit seconds",
    )
    parser.add_argument(
        "--memory", action="store_true", help="ours alone, the memory, at 50,000"
    )
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--machine", help="the hardware in words, for the header")
    parser.add_argument("--output", type=Path, help="the CSV file")
    parser.add_argument("--page", type=Path, help="write the table as Markdown, too")
    parser.add_argument("--figure", type=Path, help="draw the growth into this file")
    arguments = parser.parse_args()
    output = arguments.output or Path(__file__).parent / "results" / (
        "selection_growth.csv"
        if arguments.growth
        else "selection_memory.csv"
        if arguments.memory
        else "selection.csv"
    )
    sizes = arguments.sizes or (GROWTH if arguments.growth else (10_000, 50_000))
    if arguments.memory:
        sizes = arguments.sizes or (50_000,)
    comments = header(arguments)
    print(*comments, sep="\n")
    cases = [case for case in CASES if case.name in arguments.strategies]
    rows: list[dict[str, Any]] = []
    if arguments.memory:
        for size in sizes:
            for case in (case for case in cases if size <= case.largest):
                row = bench_memory(case, size)
                row |= {"strategy": case.name, "set": "tailed", "n_pool": size}
                row["picks"] = case.picks[-1]
                rows.append({column: row.get(column) for column in COLUMNS})
                print(" | ".join(show(v) for v in rows[-1].values()), flush=True)
                write_csv(output, comments, rows)
        return
    warm_up(cases)
    last: dict[str, tuple[int, float]] = {}
    for kind in arguments.sets:
        for size in sorted(sizes):
            data = make_inputs(size, kind, with_samples=True)
            for case in cases:
                n, seconds = last.get(case.name, (size, 0.0))
                if size > case.largest or seconds * (size / n) ** 2 > arguments.limit:
                    continue
                picks = arguments.picks or case.picks
                for n_picks in picks[-1:] if arguments.growth else picks:
                    row = bench(case, data, n_picks, with_peer=not arguments.growth)
                    row |= {"strategy": case.name, "set": kind, "n_pool": size}
                    row["picks"] = n_picks
                    if arguments.growth:
                        row["added_mb"] = None  # of a process that has had larger ones
                    rows.append({column: row.get(column) for column in COLUMNS})
                    last[case.name] = (size, row["seconds"])
                    print(" | ".join(show(v) for v in rows[-1].values()), flush=True)
                    write_csv(output, comments, rows)
                    if arguments.page:
                        write_page(arguments.page, comments, rows)
    if arguments.figure:
        draw_growth(arguments.figure, rows)
    print(f"written: {output}")


if __name__ == "__main__":
    main()
