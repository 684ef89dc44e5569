"""Training and inference of CNNClassifier against loops written by hand.

    python benchmarks/bench_training.py [--data DIR] [--tasks training pool parts ...]
        [--nets small_cnn cifar_resnet18:16] [--precisions float32 bfloat16]
        [--threads 1 2] [--batch-sizes 64 128] [--device cuda] [--compile] [--fresh]

Five tasks, each a table of contestants that take turns in one process:

- ``training``: fits against a tuned PyTorch loop with the same net and precision:
  channels last, fused Adam, whole batches sliced from a tensor on the device, nothing
  that waits for the device but once an epoch. Inputs are uint8 and normalised batch by
  batch, as CNNClassifier does it, or normalised before the clock starts.
- ``pool``: probabilities and embeddings of a pool, against the same loop's inference
  with the best of several batch sizes.
- ``parts``: the tuned loop with one of its tricks switched off, or one more on.
- ``files``: epochs on image files from the second one on, against plain skorch on
  torchvision's ``ImageFolder`` with two worker processes.
- ``samples``: dropout samples and a whole BALD query, against one pool pass.

``--data`` names a folder of class folders; without it JPEGs are generated. Ratios are
medians over the turns of each turn's ratio to the first contestant's speed. Images a
second of processor time hardly change when other programs run beside. Rows are written
to ``training.csv`` as soon as they are measured; a run that was killed goes on, and
``--fresh`` starts anew.
"""

import argparse
import functools
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _plain_loops import (
    FolderNet,
    PlainLoop,
    architecture_of,
    make_net,
    normalisation,
    plain_pool_pass,
)
from _rows import Rows, header_lines
from bench_round import write_images

from dalmax_sk import CNNClassifier
from dalmax_sk._base import progress
from dalmax_sk.images import (
    get_image_cache,
    load_image_paths,
    set_image_cache_size,
)
from dalmax_sk.pool import Pool
from dalmax_sk.strategies import BayesianSampling

TASKS = ("training", "pool", "parts", "files", "samples")
KEY = ("task", "net", "precision", "threads", "batch_size")
COLUMNS = (
    *KEY,
    "contestant",
    "images_per_second",
    "images_per_cpu_second",
    "ratio_to_first",
    "cpu_ratio_to_first",
)
#: Batches of the hand-written inference, of which the fastest counts.
POOL_BATCHES = (32, 64, 128, 512, 2048)
N_SAMPLES = 20


class Images:
    """Paths, pixels and labels: the first `n` of a shuffled folder."""

    def __init__(self, folder, n):
        bunch = load_image_paths(folder)
        rows = np.random.default_rng(0).permutation(len(bunch.data))[:n]
        self.folder = folder
        self.paths, self.target = bunch.data[rows], bunch.target[rows]
        self.pixels = np.asarray(get_image_cache().load(self.paths, image_size=None))
        self.classes, self.codes = np.unique(self.target, return_inverse=True)
        self.mean, self.std = normalisation(self.pixels)

    @property
    def shape(self):
        height, width, channels = self.pixels.shape[1:]
        return channels, height, width


def measure(contestants, repeats, device):
    """Let the contestants take turns; {name: [(seconds, processor seconds)]}.

    The clock starts and stops when a GPU has nothing left to do.
    """
    seconds = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, call in contestants.items():
            synchronize(device)
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            synchronize(device)
            found = time.perf_counter() - wall, time.process_time() - cpu
            if repeat:  # the first turn warms up
                seconds[name].append(found)
    return seconds


def synchronize(device):
    """Wait for a GPU; nothing to wait for elsewhere."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows_of(key, n_images, seconds):
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
            name,
            *(round(speed) for speed in speeds),
            *(f"{ratio:.3f}" for ratio in ratios),
        )
        rows.append(key | dict(zip(COLUMNS[len(KEY) :], values, strict=True)))
    return rows


def classifier(key, arguments, **params):
    """Return the CNNClassifier of a row."""
    common = {
        "max_epochs": arguments.epochs,
        "batch_size": key["batch_size"],
        "random_state": 0,
        "device": arguments.device,
        "amp": key["precision"] == "bfloat16",
    }
    return CNNClassifier(architecture_of(key["net"]), **common | params)


def trainer(loop, key, images, arguments):
    """Return a function that trains a fresh net by hand."""
    device = torch.device(arguments.device)
    y = torch.from_numpy(images.codes).to(device)
    if loop.inputs == "files":
        x = list(images.paths)
    else:
        x = loop.prepare(images.pixels, images.mean, images.std, device)
    make = functools.partial(make_net, key["net"], images.shape, len(images.classes))
    return lambda: loop.train(
        make,
        x,
        y,
        images.mean,
        images.std,
        epochs=arguments.epochs,
        batch_size=key["batch_size"],
    )


def bench_training(key, images, arguments):
    """Whole fits."""
    amp = key["precision"] == "bfloat16"
    clf = classifier(key, arguments)
    floats = np.ascontiguousarray(images.pixels / np.float32(255))
    by_hand = functools.partial(trainer, key=key, images=images, arguments=arguments)
    contestants = {
        "tuned loop": by_hand(PlainLoop(amp=amp)),
        "tuned loop, normalised beforehand": by_hand(
            PlainLoop(amp=amp, inputs="float32")
        ),
        "CNNClassifier, uint8": lambda: clf.fit(images.pixels, images.target),
        "CNNClassifier, float32": lambda: clf.fit(floats, images.target),
    }
    if arguments.compile:
        compiled = classifier(key, arguments, compile=True)
        contestants |= {
            "tuned loop, compiled": by_hand(PlainLoop(amp=amp, compile=True)),
            "CNNClassifier, compiled": lambda: compiled.fit(
                images.pixels, images.target
            ),
        }
    seconds = measure(contestants, arguments.repeats, torch.device(arguments.device))
    return rows_of(key, len(images.paths) * arguments.epochs, seconds)


def bench_pool(key, images, arguments):
    """Probabilities and embeddings of all images."""
    device = torch.device(arguments.device)
    amp = key["precision"] == "bfloat16"
    loop = PlainLoop(amp=amp)
    x = loop.prepare(images.pixels, images.mean, images.std, device)
    net = make_net(key["net"], images.shape, len(images.classes))
    net = net.to(device, memory_format=torch.channels_last)
    by_hand = functools.partial(
        plain_pool_pass, net, x, images.mean, images.std, amp=amp
    )
    speeds = {
        size: measure({"": lambda size=size: by_hand(batch_size=size)}, 2, device)
        for size in POOL_BATCHES
    }
    best = min(speeds, key=lambda size: min(speeds[size][""]))
    clf = classifier(key, arguments, max_epochs=1)
    clf.fit(images.pixels[:256], images.target[:256])
    contestants = {
        f"tuned loop, batches of {best}": lambda: by_hand(batch_size=best),
        "CNNClassifier, uint8": lambda: clf.predict_proba_and_embeddings(images.pixels),
    }
    seconds = measure(contestants, arguments.repeats, device)
    return rows_of(key, len(images.paths), seconds)


def bench_parts(key, images, arguments):
    """The tuned loop with one thing changed."""
    amp = key["precision"] == "bfloat16"
    loops = {
        "tuned loop": PlainLoop(amp=amp),
        "not channels last": PlainLoop(amp=amp, channels_last=False),
        "Adam not fused": PlainLoop(amp=amp, fused=False),
        "loss read after every batch": PlainLoop(amp=amp, log_every_batch=True),
        "files decoded every epoch": PlainLoop(amp=amp, inputs="files"),
        "none of these": PlainLoop(
            amp=amp,
            channels_last=False,
            fused=False,
            log_every_batch=True,
            inputs="files",
        ),
    }
    if not amp:
        loops["with bfloat16"] = PlainLoop(amp=True)
    if arguments.compile:
        loops["with torch.compile"] = PlainLoop(amp=amp, compile=True)
    contestants = {
        name: trainer(loop, key, images, arguments) for name, loop in loops.items()
    }
    seconds = measure(contestants, arguments.repeats, torch.device(arguments.device))
    return rows_of(key, len(images.paths) * arguments.epochs, seconds)


def bench_files(key, images, arguments):
    """Epochs on image files, from the second one on."""
    epochs = max(2, arguments.epochs)
    clf = classifier(key, arguments, max_epochs=epochs)
    mixed = classifier(key, arguments, max_epochs=epochs, amp=True)
    make = functools.partial(make_net, key["net"], images.shape, len(images.classes))
    peer = FolderNet(
        make,
        images.folder,
        images.mean,
        images.std,
        epochs=epochs,
        batch_size=key["batch_size"],
        num_workers=arguments.workers,
        device=arguments.device,
    )
    everything = load_image_paths(images.folder)
    paths, target = everything.data, everything.target
    if len(paths) != len(peer.data):
        raise SystemExit(
            f"ImageFolder finds {len(peer.data)} images where there are {len(paths)}."
        )

    def fit(X, cache_bytes, clf=clf):
        clock = EpochClock()
        before = get_image_cache().max_bytes
        set_image_cache_size(cache_bytes)
        with progress.listen(clock):
            clf.fit(X, target)
        set_image_cache_size(before)
        return clock.epochs()

    pixels = np.asarray(get_image_cache().load(paths, image_size=None))
    contestants = {
        f"skorch, ImageFolder, {arguments.workers} workers": peer.fit,
        "CNNClassifier, paths": lambda: fit(paths, 2**32),
        "CNNClassifier, paths, amp=True": lambda: fit(paths, 2**32, mixed),
        "CNNClassifier, paths without a cache": lambda: fit(paths, 0),
        "CNNClassifier, array": lambda: fit(pixels, 2**32),
    }
    seconds = {name: [] for name in contestants}
    for _ in range(arguments.file_repeats):
        for name, call in contestants.items():
            seconds[name] += call()
    return rows_of(key, len(paths), seconds)


def bench_samples(key, images, arguments):
    """Dropout samples of the head, and BALD, against a pool pass."""
    device = torch.device(arguments.device)
    clf = classifier(key, arguments, dropout=0.25)
    labeled = np.arange(min(256, len(images.paths) // 4))
    clf.fit(images.pixels[labeled], images.target[labeled])
    n_picks = min(100, len(images.paths) // 4)

    def pool():
        return Pool(clf, images.pixels, labeled, images.target[labeled], random_state=0)

    strategy = BayesianSampling(n_samples=N_SAMPLES, posterior="dropout")
    contestants = {
        "probabilities and embeddings": lambda: pool().prepare(["proba", "embeddings"]),
        f"{N_SAMPLES} dropout samples": lambda: pool().posterior_proba(
            "dropout", N_SAMPLES
        ),
        f"BALD query, {N_SAMPLES} samples": lambda: strategy.query(pool(), n_picks),
    }
    seconds = measure(contestants, arguments.repeats, device)
    return rows_of(key, len(images.paths) - len(labeled), seconds)


class EpochClock:
    """Notes the time at the end of each epoch."""

    def __init__(self):
        self.times = []

    def __call__(self, stage, done, total, info):
        if stage == "epoch":
            self.times.append((time.perf_counter(), time.process_time()))

    def epochs(self):
        """(seconds, processor seconds) of each epoch but the first."""
        return [tuple(np.subtract(b, a)) for a, b in itertools.pairwise(self.times)]


BENCHES = {
    "training": bench_training,
    "pool": bench_pool,
    "parts": bench_parts,
    "files": bench_files,
    "samples": bench_samples,
}


def plan(arguments):
    """Yield the keys of the rows to measure."""
    names = ("tasks", "nets", "precisions", "threads", "batch_sizes")
    for values in itertools.product(*(getattr(arguments, name) for name in names)):
        key = dict(zip(KEY, values, strict=True))
        if is_wanted(key, arguments):
            yield key


def is_wanted(key, arguments):
    """Whether a task is measured with this setting: what changes little is not."""
    task, sizes = key["task"], arguments.batch_sizes
    first_net = key["net"] == arguments.nets[0]
    if task == "training":
        return first_net or key["batch_size"] == sizes[-1]
    if key["batch_size"] != (sizes[0] if task == "files" else sizes[-1]):
        return False
    if task == "pool":
        return True
    if not first_net or key["threads"] != max(arguments.threads):
        return False
    return task == "samples" or key["precision"] == arguments.precisions[0]


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of class folders of images")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--nets",
        nargs="+",
        default=["small_cnn", "cifar_resnet18:16"],
        help="the first is measured in all tasks, the others in training and pool",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=("float32", "bfloat16"),
        default=["float32", "bfloat16"],
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--n-images", type=int, default=1024, help="of fits")
    parser.add_argument("--n-pool", type=int, default=4096, help="of pool passes")
    parser.add_argument("--n-files", type=int, default=10_000, help="if generated")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--file-repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument("--output", type=Path)
    return parser.parse_args(words)


def main(words=None):
    """Run the benchmark and print each table as it is measured."""
    arguments = parse(words)
    kind = torch.device(arguments.device).type
    name = "training.csv" if kind == "cpu" else f"training_{kind}.csv"
    path = arguments.output or Path(__file__).parent / "results" / name
    if arguments.fresh:
        path.unlink(missing_ok=True)
    settings = {
        name: getattr(arguments, name)
        for name in ("n_images", "n_pool", "epochs", "repeats", "file_repeats")
    }
    settings |= {"device": arguments.device, "compile": arguments.compile}
    settings["images"] = "files"
    if arguments.data is None:
        settings["images"] = f"{arguments.n_files} generated JPEGs"
    packages = ("torchvision", "skorch")
    lines = header_lines(settings, packages, "threads as in the rows")
    table = Rows(path, COLUMNS, KEY, lines)
    print(*table.header, sep="\n", flush=True)
    threads_before = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as generated:
            if arguments.data is None:
                write_images(generated, arguments.n_files)
            folder = arguments.data or generated
            for key in plan(arguments):
                if table.has(**key):
                    continue
                torch.set_num_threads(key["threads"])
                many = key["task"] in ("pool", "samples")
                n = arguments.n_pool if many else arguments.n_images
                rows = BENCHES[key["task"]](key, Images(folder, n), arguments)
                table.add(rows)
                for row in rows:
                    print("  ".join(f"{row[c]!s:>20}" for c in COLUMNS), flush=True)
    finally:
        torch.set_num_threads(threads_before)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
