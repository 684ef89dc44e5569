"""CIFAR ResNet-18 on a GPU: images a second beside the floor, and protocol A "low".

    python benchmarks/bench_gpu.py [--batch-sizes 256 1024] [--compile]
        [--dir-train cifar10/train --dir-test cifar10/test --results RUNS/protocol_a]

Training and pool passes of ``CNNClassifier`` in bfloat16 and float32 against the tuned
loop of ``bench_training.py``, and both against what the device's matrix rate, measured
in the same run, allows: the net's operations an image over operations a second. With
folders of CIFAR-10, the whole of protocol A in its low regime follows, five strategies
by three seeds, with the seconds of each. Without a GPU it says so and stops; ``--toy``
runs every step on a CPU at a size that measures nothing.

Writes ``gpu.csv`` as it goes, and ``gpu_protocol_a.csv``; a killed run goes on.
"""

import argparse
import time
from pathlib import Path

import bench_training as training
import numpy as np
import pandas as pd
import protocol_a
import torch
from _rates import matrix_rate, net_flops
from _rows import Rows, header_lines

from dalmax_sk._base.files import replacing
from dalmax_sk.evaluation import BudgetCurves

NET = "cifar_resnet18"
COLUMNS = (*training.COLUMNS, "floor_images_per_second", "share_of_floor")
NO_GPU = (
    "There is no GPU here: torch sees {n} CUDA device(s). This benchmark measures "
    "nothing without one; --toy tries every step on a CPU."
)
TOY_NET = "cifar_resnet18:8"


class RandomImages:
    """Pixels and labels in the form that bench_training's tasks take."""

    def __init__(self, n):
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        self.codes = np.arange(n) % 10
        self.target, self.classes = self.codes, np.arange(10)
        self.paths = self.target
        self.mean, self.std = training.normalisation(self.pixels)
        self.shape = (3, 32, 32)


def floors(net, precision, device):
    """Return images a second that the matrix rate allows: training, and forward."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    module = training.make_net(net, (3, 32, 32), 10).to(device)
    batch = torch.randn(4, 3, 32, 32, device=device)
    # The net itself, of which the classifier's module only adds the normalisation.
    flops = net_flops(module, batch)
    rate = matrix_rate(device, dtype)
    return {"training": rate / flops["training"], "pool": rate / flops["forward"]}


def throughput(arguments, table):
    """Measure what is missing of images a second."""
    device = torch.device(arguments.device)
    for precision in arguments.precisions:
        allowed = None
        for task in ("training", "pool"):
            for batch_size in arguments.batch_sizes:
                values = (task, arguments.net, precision, torch.get_num_threads())
                key = dict(zip(training.KEY, (*values, batch_size), strict=True))
                if table.has(**key):
                    continue
                allowed = allowed or floors(arguments.net, precision, device)
                n = arguments.n_images if task == "training" else arguments.n_pool
                rows = training.BENCHES[task](key, RandomImages(n), arguments)
                for row in rows:
                    row["floor_images_per_second"] = allowed[task]
                    row["share_of_floor"] = row["images_per_second"] / allowed[task]
                    print("  ".join(f"{row[c]!s:>20}" for c in COLUMNS), flush=True)
                table.add(rows)
                if task == "pool":
                    break  # the batches of a pool pass are chosen, not given


def run_protocol_a(arguments):
    """Run protocol A's low regime; write and return the seconds of each strategy."""
    words = [
        *("--regime", "low", "--device", arguments.device),
        *("--dir-train", str(arguments.dir_train)),
        *("--dir-test", str(arguments.dir_test)),
        *("--results", str(arguments.results), "--output", str(arguments.output)),
        *arguments.toy_words,
    ]
    started = time.perf_counter()
    protocol_a.main(words)
    wall = time.perf_counter() - started
    name = f"protocol_a_low{'_toy' if arguments.toy else ''}_curves.csv"
    frame = BudgetCurves.from_csv(arguments.output / name).frame
    parts = ["fit_seconds", "query_seconds", "score_seconds"]
    summed = frame.groupby("strategy", sort=False)[parts].sum()
    summed["seeds"] = frame.groupby("strategy", sort=False)["seed"].nunique()
    summed["seconds"] = summed[parts].sum(axis=1)
    path = arguments.output / "gpu_protocol_a.csv"
    with replacing(path) as part:
        summed.to_csv(part, float_format="%.5g", lineterminator="\n")
    print(summed.round(1).to_string())
    print(
        f"Protocol A, low: {summed['seconds'].sum() / 60:.1f} minutes in all runs, of "
        f"which this call took {wall / 60:.1f}. Written to {path}."
    )
    return pd.DataFrame(summed)


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--n-images", type=int, default=20_480)
    parser.add_argument("--n-pool", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--dir-train", type=Path, help="CIFAR-10, for protocol A")
    parser.add_argument("--dir-test", type=Path)
    parser.add_argument("--results", type=Path, help="resumable records of protocol A")
    parser.add_argument("--toy", action="store_true", help="every step, on a CPU")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results"
    )
    arguments = parser.parse_args(words)
    folders = (arguments.dir_train, arguments.dir_test, arguments.results)
    if any(folders) and not all(folders):
        parser.error("protocol A needs --dir-train, --dir-test and --results")
    arguments.net, arguments.toy_words = NET, []
    if arguments.toy:
        arguments.net, arguments.device = TOY_NET, "cpu"
        arguments.batch_sizes, arguments.n_images, arguments.n_pool = [16], 32, 64
        arguments.epochs, arguments.repeats = 2, 1
        arguments.toy_words = (
            "--min-draws 20 --per-class 8 --architecture small_cnn --epochs 1 "
            "--n-initial 20 --query-size 5 --rounds 2 --held-out 10 --seeds 1"
        ).split()
    return arguments


def main(words=None):
    """Measure, or say that there is nothing to measure on."""
    arguments = parse(words)
    if torch.device(arguments.device).type != "cuda" and not arguments.toy:
        raise SystemExit(f"--device {arguments.device}: only a GPU is measured here.")
    if not arguments.toy and not torch.cuda.is_available():
        raise SystemExit(NO_GPU.format(n=torch.cuda.device_count()))
    path = arguments.output / ("gpu_toy.csv" if arguments.toy else "gpu.csv")
    if arguments.fresh:
        path.unlink(missing_ok=True)
    names = ("device", "n_images", "n_pool", "epochs", "repeats", "toy")
    lines = header_lines({name: getattr(arguments, name) for name in names})
    table = Rows(path, COLUMNS, training.KEY, lines)
    print(*table.header, sep="\n", flush=True)
    throughput(arguments, table)
    print(f"written to {path}")
    if arguments.results is not None:
        run_protocol_a(arguments)


if __name__ == "__main__":
    main()
