"""Training and inference of CNNClassifier against a plain PyTorch loop.

    python benchmarks/bench_training.py [--net small_cnn] [--batch-size 64 128]
        [--n-images 2048] [--epochs 3] [--repeats 5] [--data DIR] [--output FILE]

The loop is what one writes by hand: tensors, ``torch.randperm``, slices, the same net,
optimizer and batch size. Contestants take turns within one run and the medians count.
Also: what image files cost from the second epoch on, against the same pixels as an
array, and streamed without a cache. ``--data`` names a folder of class folders; without
it 32×32 PNGs are generated. Prints a table and writes it as CSV under
benchmarks/results/, the machine, the versions and the command in its header.

Images per second of wall time are what a user waits for; images per second of processor
time, in the next column, hardly change when other programs run beside.
"""

import argparse
import csv
import importlib.metadata
import os
import platform
import shlex
import sys
import tempfile
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from dalmax_sk import CNNClassifier, progress
from dalmax_sk.images import (
    get_image_cache,
    load_image_paths,
    set_image_cache_size,
)
from dalmax_sk.nets import build_net

N_CLASSES = 10
SHAPE = (3, 32, 32)
COLUMNS = (
    "task",
    "net",
    "batch_size",
    "contestant",
    "images_per_second",
    "images_per_cpu_second",
    "ratio_to_first",
    "cpu_ratio_to_first",
)


def plain_training(X, y, arguments, batch_size, memory_format):
    """Train a fresh net by a hand-written loop over whole tensors."""
    net = build_net(arguments.net, input_shape=SHAPE, n_classes=N_CLASSES)
    net = net.to(X.device, memory_format=memory_format)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    for _ in range(arguments.epochs):
        order = torch.randperm(len(X), device=X.device)
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss_function(net(X[rows]), y[rows]).backward()
            optimizer.step()
    return net


def plain_inference(net, X, batch_size):
    """Return probabilities and embeddings by a hand-written loop."""
    net.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(X), batch_size):
            features = net.forward_features(X[start : start + batch_size])
            logits = net.forward_head(features)
            parts.append((logits.softmax(1).cpu(), features.cpu()))
    return [torch.cat(column).numpy() for column in zip(*parts, strict=True)]


def measure(contestants, repeats):
    """Let the contestants take turns; {name: [(seconds, processor seconds)]}."""
    seconds = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, call in contestants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            found = time.perf_counter() - wall, time.process_time() - cpu
            if repeat:  # the first turn warms up
                seconds[name].append(found)
    return seconds


def rows_of(task, net, batch_size, n_images, seconds):
    """Turn seconds into rows of the table.

    Speeds are medians over the turns; ratios are the medians of each turn's ratio to
    the first contestant's speed in the same turn.
    """
    first = np.array(next(iter(seconds.values())))
    rows = []
    for name, measured in seconds.items():
        speeds = n_images / np.median(measured, axis=0)
        ratios = np.median(first / np.array(measured), axis=0)
        values = (
            task,
            net,
            batch_size,
            name,
            *(round(speed) for speed in speeds),
            *(f"{ratio:.2f}" for ratio in ratios),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def bench_arrays(arguments, device):
    """Training and inference on arrays."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(arguments.n_images, *SHAPE)).astype(np.float32)
    y = rng.integers(0, N_CLASSES, arguments.n_images)
    as_bytes = (40 * X + 128).clip(0, 255).astype(np.uint8)
    tensors = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
    last = tensors[0].contiguous(memory_format=torch.channels_last)
    formats = torch.contiguous_format, torch.channels_last
    table = []
    for batch_size in arguments.batch_size:
        clf = CNNClassifier(
            arguments.net,
            max_epochs=arguments.epochs,
            batch_size=batch_size,
            random_state=0,
            device=str(device),
        )

        def plain(inputs, memory_format, batch_size=batch_size):
            y = tensors[1]
            return plain_training(inputs, y, arguments, batch_size, memory_format)

        contestants = {
            "plain loop": lambda plain=plain: plain(tensors[0], formats[0]),
            "plain loop, channels last": lambda plain=plain: plain(last, formats[1]),
            "CNNClassifier, float32": lambda clf=clf: clf.fit(X, y),
            "CNNClassifier, uint8": lambda clf=clf: clf.fit(as_bytes, y),
        }
        seconds = measure(contestants, arguments.repeats)
        n_seen = arguments.n_images * arguments.epochs
        table += rows_of("training", arguments.net, batch_size, n_seen, seconds)
    net = plain(tensors[0], formats[0])
    net_last = plain(last, formats[1])
    clf.fit(X, y)
    contestants = {
        "plain loop": lambda: plain_inference(net, tensors[0], batch_size),
        "plain loop, channels last": lambda: plain_inference(
            net_last, last, batch_size
        ),
        "CNNClassifier, float32": lambda: clf.predict_proba_and_embeddings(X),
    }
    seconds = measure(contestants, arguments.repeats)
    return table + rows_of(
        "inference", arguments.net, batch_size, arguments.n_images, seconds
    )


def bench_paths(arguments, device, folder):
    """Epochs on image files against epochs on the same pixels as an array."""
    bunch = load_image_paths(folder)
    rows = np.random.default_rng(0).permutation(len(bunch.data))[: arguments.n_images]
    X, y = bunch.data[rows], bunch.target[rows]
    pixels = get_image_cache().load(X, image_size=SHAPE[1:])
    clf = CNNClassifier(
        arguments.net,
        max_epochs=arguments.epochs,
        batch_size=arguments.batch_size[0],
        image_size=SHAPE[1:],
        random_state=0,
        device=str(device),
    )

    def fit(X, cache_bytes):
        """Seconds and processor seconds of each epoch from the second on."""
        clock = EpochClock()
        before = get_image_cache().max_bytes
        set_image_cache_size(cache_bytes)
        with progress.listen(clock):
            clf.fit(X, y)
        set_image_cache_size(before)
        return clock.epochs()

    contestants = {
        "array": lambda: fit(pixels, 2**30),
        "paths": lambda: fit(X, 2**30),
        "paths, streamed without a cache": lambda: fit(X, 0),
    }
    seconds = {name: [] for name in contestants}
    for _ in range(arguments.repeats):
        for name, call in contestants.items():
            seconds[name] += call()
    return rows_of("epochs 2 …", arguments.net, clf.batch_size, len(X), seconds)


class EpochClock:
    """Notes the time at the end of each epoch."""

    def __init__(self):
        self.times = []

    def __call__(self, stage, done, total, info):
        if stage == "epoch":
            self.times.append((time.perf_counter(), time.process_time()))

    def epochs(self):
        """(seconds, processor seconds) of each epoch but the first."""
        return [tuple(np.subtract(b, a)) for a, b in pairwise(self.times)]


def write_images(folder, n_images):
    """Write random 32×32 PNGs into two class folders."""
    rng = np.random.default_rng(0)
    for i in range(n_images):
        name = Path(folder) / f"class_{i % 2}" / f"{i:05d}.png"
        name.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (*SHAPE[1:], 3)).astype(np.uint8)
        Image.fromarray(pixels).save(name)


def processor_name():
    """Return the processor's name and the number of cores to use."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        models = [line.split(":")[1].strip() for line in lines if "model name" in line]
        model = models[0] if models else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def write_table(path, table, device):
    """Write the CSV with a header of comments."""
    packages = ("torch", "torchvision", "skorch", "numpy")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    hardware = processor_name()
    if device.type == "cuda":
        hardware += f", {torch.cuda.get_device_name(device)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        file.write(
            f"# {date.today()}, Python {platform.python_version()}, {versions}\n"
        )
        file.write(f"# {hardware}; {torch.get_num_threads()} threads; {device}\n")
        file.write(f"# python {shlex.join(sys.argv)}\n")
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def main():
    """Run the benchmark, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--n-images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--data", type=Path, help="folder of class folders of images")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs must be at least 2, to see a second one")
    device = torch.device(arguments.device)
    table = bench_arrays(arguments, device)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data is None:
            write_images(folder, arguments.n_images)
        table += bench_paths(arguments, device, arguments.data or folder)
    for row in table:
        print("  ".join(f"{row[column]!s:>26}" for column in COLUMNS))
    output = arguments.output or (
        Path(__file__).parent
        / "results"
        / f"training_{arguments.net}_{device.type}.csv"
    )
    write_table(output, table, device)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
