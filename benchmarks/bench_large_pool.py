"""Time queries on a pool that lies on the disk, and the memory that they take.

    python benchmarks/bench_large_pool.py --folder FOLDER [--strategies badge ...]
    python benchmarks/bench_large_pool.py --folder FOLDER --n 100000 --d 64 --picks 100

Writes clustered embeddings and the probabilities of a linear model to FOLDER once,
block by block from a seed, then asks one strategy after another for a batch, each in a
process of its own, through `Pool.from_arrays` on memory-mapped arrays. A row says how
long the query took, the largest resident memory of the whole process, pages of mapped
files included, and the floor: what the least work of such a query takes at the rates of
this machine, measured in the same run. Rows are added to
``benchmarks/results/large_pool.csv`` as they are measured; those that are there are not
measured again.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _inputs import SETS
from _rates import matrix_rate, memory_rates
from _rows import Rows, header_lines
from scipy.special import softmax

from dalmax_sk._base.files import replacing, write_text
from dalmax_sk._base.processes import status_bytes
from dalmax_sk.pool import Pool
from dalmax_sk.strategies import Filtered, MaxHerding, QueryStrategy, get_strategy

SEED = 20261123
N_CLASSES = 10
#: Share of the candidates that a strategy of quadratic time is given in another row.
SUBSAMPLE = 0.05
#: Rows that are made and written together.
BLOCK = 25_000
ARRAYS = ("embeddings", "proba", "labeled_embeddings", "labeled_proba", "y_labeled")
COLUMNS = (
    "strategy",
    "n_pool",
    "n_features",
    "picks",
    "check_seconds",
    "seconds",
    "peak_mb",
    "start_mb",
    "floor_seconds",
    "floor_gb",
    "floor_gflop",
    "times_floor",
    "picks_hash",
)


@dataclass(frozen=True)
class Size:
    """The numbers that decide what a query has to do at least."""

    n: int
    d: int
    labeled: int
    picks: int


@dataclass(frozen=True)
class Work:
    """Numbers read once, and operations in matrix products."""

    values_read: float
    operations: float


def _margin(size: Size) -> Work:
    """Read the probabilities, in float64."""
    return Work(2 * size.n * N_CLASSES, 0)


def _core_set(size: Size) -> Work:
    """Compare every candidate with every labelled point."""
    return Work(size.n * size.d, 2 * size.n * size.d * size.labeled)


def _badge(size: Size) -> Work:
    """Compare every candidate's gradient with every pick's, in its two factors."""
    width = size.d + N_CLASSES
    return Work(size.n * width, 2 * size.n * width * size.picks)


def _typi_clust(size: Size) -> Work:
    """Compare every point with every centre, in two rounds of k-means at least."""
    n_clusters = min(500, size.labeled + size.picks)
    n = size.n + size.labeled
    return Work(2 * n * size.d, 2 * 2 * n * size.d * n_clusters)


def _max_herding(size: Size) -> Work:
    """Compare all pairs of candidates, each pair once."""
    return Work(size.n * size.d, size.n**2 * size.d)


def _max_herding_subsample(size: Size) -> Work:
    """Compare all pairs of those that were drawn."""
    n = SUBSAMPLE * size.n
    return Work(n * size.d, n**2 * size.d)


#: name -> the least work of a query, from its definition
STRATEGIES = {
    "margin_sampling": _margin,
    "core_set_selection": _core_set,
    "badge": _badge,
    "typi_clust": _typi_clust,
    "max_herding_subsample": _max_herding_subsample,
    "max_herding": _max_herding,
}


def make_strategy(name: str) -> QueryStrategy:
    """Return the strategy of a row; its time may grow with the square of the pool."""
    if name == "max_herding_subsample":
        return Filtered(MaxHerding(), subsample=SUBSAMPLE)
    return get_strategy(name)


def write_inputs(folder: Path, n: int, d: int, n_labeled: int) -> None:
    """Write the arrays of a pool to `folder`, unless they are there.

    The embeddings are the ReLU of a Gaussian mixture of rank 32 with tails, as in
    bench_selection.py; the probabilities are those of a linear model that knows the
    classes' means.
    """
    settings = {"n": n, "d": d, "labeled": n_labeled, "seed": SEED, "block": BLOCK}
    note = folder / "inputs.json"
    if note.exists() and json.loads(note.read_text()) == settings:
        return
    note.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    rank, tail = SETS["tailed"]
    rng = np.random.default_rng(SEED)
    mixing = _normal(rng, rank, d) / np.float32(np.sqrt(rank))
    means = np.float32(0.45) * _normal(rng, N_CLASSES, rank)
    shift = np.float32(0.1) * _normal(rng, d) - np.float32(0.2)
    typical = np.maximum(means @ mixing + shift, 0)  # (C, d)
    weight = 16.0 * (typical - typical.mean(axis=0)).T / np.sqrt(d)
    bias = -0.5 * ((typical**2).sum(axis=1)) * 16.0 / np.sqrt(d)
    parts = {"": n, "labeled_": n_labeled}
    for number, (prefix, n_rows) in enumerate(parts.items()):
        shapes = {"embeddings": ("f4", (n_rows, d)), "proba": ("f8", (n_rows, 10))}
        arrays = {
            name: np.lib.format.open_memmap(
                folder / f"{prefix}{name}.npy", "w+", dtype, shape
            )
            for name, (dtype, shape) in shapes.items()
        }
        labels = np.empty(n_rows, dtype=np.int64)
        for start in range(0, n_rows, BLOCK):
            rows = slice(start, min(start + BLOCK, n_rows))
            rng = np.random.default_rng([SEED, number, start])
            k = rows.stop - start
            y = rng.integers(0, N_CLASSES, k)
            scale = np.exp(np.float32(tail) * _normal(rng, k, 1))
            latent = (means[y] + np.float32(0.9) * _normal(rng, k, rank)) * scale
            noise = np.float32(0.05) * _normal(rng, k, d)
            X = np.maximum(latent @ mixing + shift + noise, 0)
            labels[rows] = y
            arrays["embeddings"][rows] = X
            arrays["proba"][rows] = softmax(
                X.astype(np.float64) @ weight + bias, axis=1
            )
        for array in arrays.values():
            array.flush()
        if prefix:
            with replacing(folder / "y_labeled.npy") as part, open(part, "wb") as file:
                np.save(file, labels)
    write_text(note, json.dumps(settings) + "\n")


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def query_once(folder: Path, name: str, picks: int, max_memory: int) -> dict[str, Any]:
    """Ask one strategy in this process; return seconds, memory and the picks' hash."""
    strategy = make_strategy(name)
    start_bytes = status_bytes("VmHWM")
    started = time.perf_counter()
    arrays = {
        key: np.load(
            folder / f"{key}.npy", mmap_mode="r" if key in ARRAYS[:2] else None
        )
        for key in ARRAYS
    }
    pool = Pool.from_arrays(**arrays, random_state=0, max_memory=max_memory)
    checked = time.perf_counter()
    found = strategy.query(pool, picks)
    seconds = time.perf_counter() - checked
    peak_bytes = status_bytes("VmHWM")
    return {
        "check_seconds": checked - started,
        "seconds": seconds,
        "peak_mb": None if peak_bytes is None else peak_bytes / 2**20,
        "start_mb": None if start_bytes is None else start_bytes / 2**20,
        "picks_hash": hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:12],
    }


def query_in_process(folder: Path, name: str, picks: int, max_memory: int) -> Any:
    """Ask one strategy in a fresh process."""
    result = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--one"),
            *(name, "--folder", str(folder.resolve()), "--picks", str(picks)),
            *("--max-memory", str(max_memory)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"TMPDIR": str(folder.resolve())},
    )
    return json.loads(result.stdout.splitlines()[-1])


def floor(work: Work, rates: dict[str, float]) -> dict[str, float]:
    """Return the seconds that reading and computing take, whichever takes longer."""
    n_bytes = 4 * work.values_read
    return {
        "floor_seconds": max(
            n_bytes / rates["read"], work.operations / rates["matrix"]
        ),
        "floor_gb": n_bytes / 1e9,
        "floor_gflop": work.operations / 1e9,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the arrays are, on a disk"
    )
    parser.add_argument(
        "--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES)
    )
    parser.add_argument("--n", type=int, default=1_000_000, help="candidates")
    parser.add_argument("--d", type=int, default=256, help="features")
    parser.add_argument("--labeled", type=int, default=1000)
    parser.add_argument("--picks", type=int, default=1000)
    parser.add_argument(
        "--max-memory", type=int, default=512 * 2**20, help="the pool's, in bytes"
    )
    parser.add_argument("--output", type=Path, help="the CSV file")
    parser.add_argument("--one", choices=STRATEGIES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    given = parse(arguments)
    if given.one:
        found = query_once(given.folder, given.one, given.picks, given.max_memory)
        print(json.dumps(found))
        return
    output = given.output or Path(__file__).parent / "results" / "large_pool.csv"
    settings = {
        "n_labeled": given.labeled,
        "n_classes": N_CLASSES,
        "max_memory": given.max_memory,
        "seed": SEED,
    }
    rows = Rows(output, COLUMNS, ("strategy", "n_pool", "n_features", "picks"),
                header_lines(settings))  # fmt: skip
    size = Size(given.n, given.d, given.labeled, given.picks)
    device = torch.device("cpu")
    for name in given.strategies:
        about = {
            "strategy": name,
            "n_pool": size.n,
            "n_features": size.d,
            "picks": size.picks,
        }
        if rows.has(**about):
            continue
        write_inputs(given.folder, size.n, size.d, size.labeled)
        # in the same minute as the query: other work may share the machine
        rates = {
            "matrix": matrix_rate(device, torch.float32),
            "read": memory_rates(device)["read"],
        }
        row = about | floor(STRATEGIES[name](size), rates)
        row |= query_in_process(given.folder, name, size.picks, given.max_memory)
        row["times_floor"] = row["seconds"] / row["floor_seconds"]
        rows.add([row])
        print(" | ".join(f"{key} {row.get(key)}" for key in COLUMNS), flush=True)
    print(f"written: {output}")


if __name__ == "__main__":
    main()
