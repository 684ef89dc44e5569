"""Where the time of one active-learning round goes, for every strategy.

    python benchmarks/bench_round.py [--data DIR] [--test DIR] [--device cuda] [--amp]
        [--net small_cnn] [--n-pool 45000] [--n-labeled 1000] [--query 500]
        [--epochs 20] [--repeats 3] [--strategies NAME ...] [--limit 30] [--fresh]
        [--name round]

A round is what ``ActiveLearningClassifier`` does with it: fit on the labelled images,
score on test images, look at the candidates (pool pass), select, label, keep records
and checkpoint. Every strategy runs in the real loop on real files, and its time is
split by watching the loop from outside: nothing inside it knows that it is timed. Fits,
pool passes and scores that strategies have in common (same seed, same labelled images,
so the same numbers) are computed once a repeat and counted for each that needs them. At
the end of a repeat one strategy runs a round in which nothing is shared and nothing
watched: what the parts leave unexplained of it is printed, and written beside them.

Floors come from rates measured in the same run: matrix products, memory, decoding.
``--data`` names a folder of class folders; without it 32×32 JPEGs are generated. A
strategy is left out, with the reason in the table, if its time on small pools says that
it would take longer than ``--limit`` seconds. Writes ``NAME.csv`` (a row a part) and
``NAME_floors.csv`` under ``--output`` after each repeat; a run that was killed goes on
with the next, and ``--fresh`` starts anew.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _rates import (
    convolution_rates,
    decode_rate,
    matrix_rate,
    memory_rates,
    net_flops,
)
from _round import RATE_OF, RoundMeter
from _rows import Rows, header_lines
from _work import Sizes, selection_work
from PIL import Image

from dalmax_sk import CNNClassifier
from dalmax_sk.images import get_image_cache, load_image_paths
from dalmax_sk.strategies import list_strategies, strategy_names

COLUMNS = (
    "repeat",
    "strategy",
    "part",
    "seconds",
    "images",
    "flops",
    "bytes",
    "rate",
    "note",
)
RATE_COLUMNS = ("repeat", "name", "value", "unit", "note")
#: Rounds in which nothing is shared: one strategy for each kind of pool pass.
WHOLE = ("margin_sampling", "core_set_selection", "badge", "bald")
#: Better known names of two strategies.
BETTER_KNOWN = {"bayesian_sampling": "bald", "uncertainty_sampling": "margin_sampling"}
#: One candidate in so many: on these it is found out what a strategy would take. After
#: the first of them, only what is out of the question is given up.
PROBES = (45, 16)
HOPELESS = 10


def strategies():
    """Return one name of each strategy of the registry, sorted."""
    names = [entry.name for entry in list_strategies()]
    return sorted(BETTER_KNOWN.get(name, name) for name in names)


def write_images(folder, n_images, n_classes=10):
    """Write 32×32 JPEGs with something to learn: a colour and a stripe a class."""
    rng = np.random.default_rng(0)
    x = np.arange(32)
    for i in range(n_images):
        label = i % n_classes
        wave = np.sin((label + 1) * x / 5 + rng.uniform(0, 6))
        base = np.where(label % 2, wave[:, None], wave[None, :])
        pixels = base[..., None] * 40 + 128 + rng.normal(0, 30, (32, 32, 3))
        pixels[..., label % 3] += 4 * label
        name = Path(folder) / f"class_{label}" / f"{i:06d}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(name, quality=95)


class Images:
    """Paths and labels of a run: labelled and candidates first, then test images."""

    def __init__(self, arguments, folder):
        n_train = arguments.n_labeled + arguments.n_pool
        if arguments.data is None:
            write_images(folder, n_train + arguments.n_test)
        bunch = load_image_paths(arguments.data or folder)
        rng = np.random.default_rng(arguments.seed)
        order = rng.permutation(len(bunch.data))
        self.classes = list(bunch.target_names)
        if arguments.test is None:
            if len(order) < n_train + arguments.n_test:
                raise SystemExit(
                    f"{len(order)} images are too few for {n_train} of a run and "
                    f"{arguments.n_test} to test on: lower --n-pool, or name --test."
                )
            test_rows = order[n_train : n_train + arguments.n_test]
            test = bunch.data[test_rows], bunch.target[test_rows]
        else:
            if len(order) < n_train:
                raise SystemExit(f"{len(order)} images are fewer than {n_train}.")
            other = load_image_paths(arguments.test, class_names=self.classes)
            rows = rng.permutation(len(other.data))[: arguments.n_test]
            test = other.data[rows], other.target[rows]
        self.X, self.y = bunch.data[order[:n_train]], bunch.target[order[:n_train]]
        self.eval_set = test


def settings_of(arguments):
    """Return what the numbers depend on, as a dict."""
    names = "net device amp n_pool n_labeled n_test query epochs batch_size seed limit"
    settings = {name: getattr(arguments, name) for name in names.split()}
    return settings | {"images": "files" if arguments.data else "generated JPEGs"}


def measure_rates(meter, images, arguments, repeat):
    """Measure what the machine can do at most and how far the net is from it."""
    rows = []

    def add(name, value, unit, note=""):
        value = float(value)
        rows.append(
            {"repeat": repeat, "name": name, "value": value, "unit": unit, "note": note}
        )

    device = meter.device
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        add(f"matrix_{name}", matrix_rate(device, dtype), "FLOP/s", "the fastest size")
    for name, rate in memory_rates(device).items():
        add(f"memory_{name}", rate, "byte/s")
    n_threads = torch.get_num_threads()
    decoder, rate = decode_rate(list(images.X[:4000]), n_threads)
    add("decode", rate, "image/s", f"{decoder}, best of 1 and {n_threads} threads")
    pixels = get_image_cache().load(images.X[:256], image_size=None)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    module = meter.estimator.module_
    for name, flops in net_flops(module, batch[:4]).items():
        add(f"net_{name}", flops, "FLOP/image")
        meter.net_flops[name] = flops
    dtype = torch.bfloat16 if arguments.amp else torch.float32
    sizes = {"training": arguments.batch_size, "inference": meter.inference_batch}
    for what, size in sizes.items():
        part = batch.repeat(-(-size // len(batch)), 1, 1, 1)[:size]
        found = convolution_rates(module, part, dtype)
        for number, (shape, _, rate) in enumerate(found, start=1):
            add(f"convolution_{what}_{number}", rate, "FLOP/s", shape)
        seconds = sum(flops / rate for _, flops, rate in found)
        whole = sum(flops for _, flops, _ in found) / seconds
        add(f"convolutions_{what}", whole, "FLOP/s", f"all, batches of {size}")
    return rows


def work_of_part(meter, part, n_images):
    """Return (flops, bytes, rate) of a part that does not depend on the strategy."""
    flops = meter.net_flops
    rate = RATE_OF[meter.amp]
    if part == "fit":
        return flops["training"] * n_images, "", rate
    if part == "decode":
        return "", "", "decode"
    if part == "read":
        return "", 2 * n_images * meter.bytes_per_image, "memory_copy"
    if part in ("scoring", "pool pass: proba"):
        return flops["forward"] * n_images, "", rate
    if part.startswith("pool pass: samples"):
        per_image = flops["forward"] + 19 * flops["head"]
        return per_image * n_images, "", rate
    if part.startswith("pool pass"):
        return flops["forward"] * n_images, "", rate
    return "", "", ""


def selection_columns(name, meter, arguments):
    """Return the floor columns of a selection."""
    sizes = Sizes(
        n=arguments.n_pool,
        m=arguments.n_labeled,
        b=arguments.query,
        d=meter.estimator.module_.num_features,
        C=len(meter.images.classes),
        forward=meter.net_flops["forward"],
        fit=meter.net_flops["training"] * arguments.n_labeled * arguments.epochs,
    )
    work = selection_work(name, sizes)
    if work is None:
        return {}
    rate = RATE_OF[meter.amp] if name == "noise_stability" else "matrix_float32"
    return {
        "flops": float(work.flops) or "",
        "bytes": float(work.n_bytes) or "",
        "rate": rate if work.flops else "memory_read",
        "note": work.words,
    }


def too_slow(name, meter, arguments):
    """Return why a strategy is left out, or None; looks at small pools first."""
    n_pool = arguments.n_pool
    sizes = sorted({max(n_pool // part, 2 * arguments.query) for part in PROBES})
    sizes = [n for n in sizes if n < n_pool]
    power, before = 1.0, None
    for n in sizes:
        _, seconds, _ = meter.round(name, n_candidates=n)
        chosen = max(seconds["selection"], 1e-6)
        if before is not None:
            power = np.log(chosen / before[1]) / np.log(n / before[0])
            power = float(np.clip(power, 0, 2))
        before = n, chosen
        predicted = chosen * (n_pool / n) ** power
        if predicted > arguments.limit * (1 if n == sizes[-1] else HOPELESS):
            return (
                f"{n:,} candidates took {chosen:.1f} s, {n_pool:,} would take about "
                f"{predicted:,.0f} s"
            )
    return None


def rows_of_round(repeat, name, meter, arguments):
    """Measure a round of one strategy; return a row a part."""
    whole, seconds, needs = meter.round(name)
    rows = []
    for part, value in seconds.items():
        row = {"repeat": repeat, "strategy": name, "part": part, "seconds": value}
        if part == "selection":
            row |= selection_columns(name, meter, arguments)
        elif part == "pool pass":
            row["note"] = ", ".join(needs)
        rows.append(row)
    shown = ", ".join(f"{part} {value:.3f}" for part, value in seconds.items())
    share = 1 - sum(seconds.values()) / whole
    print(f"  {name}: {shown}; unexplained {100 * share:.1f} %", flush=True)
    return rows


def whole_round(repeat, names, meter, rows):
    """Time a round that shares nothing and that nobody watches; print what is missing.

    One strategy a repeat, compared with the parts that were found in the same repeat.
    """
    possible = [name for name in WHOLE if name in names] or names
    name = possible[(repeat - 1) % len(possible)]
    whole = meter.plain_round(name)
    parts = sum(row["seconds"] for row in rows if row["strategy"] == name)
    print(
        f"  {name}: {whole:.3f} s unwatched, parts {parts:.3f} s, "
        f"unexplained {100 * (1 - parts / whole):+.1f} %",
        flush=True,
    )
    return {"repeat": repeat, "strategy": name, "part": "whole round", "seconds": whole}


def find_slow(names, meter, arguments):
    """Return a row for each strategy that would take longer than the limit."""
    rows = []
    for name in names:
        reason = too_slow(name, meter, arguments)
        if reason is not None:
            print(f"  {name} is left out: {reason}", flush=True)
            rows.append(
                {"repeat": 0, "strategy": name, "part": "left out", "note": reason}
            )
    return rows


def one_repeat(repeat, names, meter, images, arguments, rates, table):
    """Measure the shared parts, then a round of each strategy, in turn."""
    meter.forget()
    shared = meter.shared_parts()
    found = measure_rates(meter, images, arguments, repeat)
    if not table.has(repeat=0):
        # a row without a strategy says that it has been looked
        slow = find_slow(names, meter, arguments)
        table.add([{"repeat": 0, "part": "looked for slow strategies"}, *slow])
    names = [n for n in names if not table.has(strategy=n, part="left out")]
    rows = []
    for name in names[repeat - 1 :] + names[: repeat - 1]:
        rows += rows_of_round(repeat, name, meter, arguments)
    rows.append(whole_round(repeat, names, meter, rows))
    for part, seconds, n in [*shared, *meter.passes]:
        flops, n_bytes, rate = work_of_part(meter, part, n)
        rows.append(
            {
                "repeat": repeat,
                "part": part,
                "seconds": seconds,
                "images": n,
                "flops": flops,
                "bytes": n_bytes,
                "rate": rate,
            }
        )
    rates.add(found)
    table.add(rows)


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of class folders of images")
    parser.add_argument("--test", type=Path, help="the same, to score on")
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--n-pool", type=int, default=45_000)
    parser.add_argument("--n-labeled", type=int, default=1000)
    parser.add_argument("--n-test", type=int, default=4000)
    parser.add_argument("--query", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=30.0)
    parser.add_argument("--strategies", nargs="+", choices=strategy_names())
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument("--name", default="round", help="of the files, without .csv")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results"
    )
    arguments = parser.parse_args(words)
    if arguments.query > arguments.n_pool:
        parser.error("--query must be at most --n-pool")
    return arguments


def main(words=None):
    """Run the benchmark and write the two tables."""
    arguments = parse(words)
    settings = settings_of(arguments)
    lines = header_lines(settings, ("scikit-learn", "skorch", "torchvision"))
    names = f"{arguments.name}.csv", f"{arguments.name}_floors.csv"
    paths = [arguments.output / name for name in names]
    if arguments.fresh:
        for path in paths:
            path.unlink(missing_ok=True)
    table = Rows(paths[0], COLUMNS, ("repeat",), lines)
    rates = Rows(paths[1], RATE_COLUMNS, ("repeat",), lines)
    names = list(arguments.strategies or strategies())
    print(*table.header, sep="\n", flush=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        images = Images(arguments, folder)
        estimator = CNNClassifier(
            arguments.net,
            classes=list(range(len(images.classes))),
            max_epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            device=arguments.device,
            amp=arguments.amp,
        )
        meter = RoundMeter(estimator, images, arguments)
        # what is loaded on first use is no strategy's time
        meter.round("margin_sampling", n_candidates=2 * arguments.query)
        for repeat in range(1, arguments.repeats + 1):
            if not table.has(repeat=repeat):
                print(f"repeat {repeat} of {arguments.repeats}", flush=True)
                one_repeat(repeat, names, meter, images, arguments, rates, table)
    print(f"written to {table.path} in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
