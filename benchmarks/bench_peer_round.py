"""A whole round, fit and query, against the same round with scikit-activeml.

    python benchmarks/bench_peer_round.py --data DIR [--test DIR]
        [--n-pool 9000] [--n-labeled 1000] [--picks 100] [--epochs 5] [--repeats 1]
        [--strategies NAME ...] [--limit 120] [--fresh]

Both sides have the same images in memory, the same labelled rows, the same net
(``small_cnn``), Adam with a cosine schedule, epochs, batch size and threads, and look
at the whole pool. Ours is ``ActiveLearningClassifier(CNNClassifier(...), strategy)``:
``fit`` with missing labels, then ``query``. The peer's is scikit-activeml with its
``SkorchClassifier``, as its tutorials write it (``_peer_rounds.py``). The two take
turns, strategy by strategy; accuracies on test images show that both have trained the
net as well. A query of the peer's that takes longer than ``--limit`` seconds is
stopped, and its time is a lower bound.

What only one side has is not here: of theirs Falcun, ContrastiveAL, DiscriminativeAL,
Quire, FourDs, EpistemicUncertaintySampling and the expected-error and regression
families. Committees differ: ours are five heads trained on the net's body, theirs five
dropout samples, as in their tutorial.

Writes ``peer_round.csv`` as it goes; a run that was killed goes on.
"""

import argparse
import functools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _peer_rounds import (
    MISSING,
    PEER_INSTALLED,
    PEERS,
    TimeLimitReached,
    make_peer,
    time_limit,
)
from _plain_loops import make_net, normalisation
from _rows import Rows, header_lines

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.images import get_image_cache, load_image_paths
from dalmax_sk.strategies import (
    BayesianSampling,
    DiversitySampling,
    DropQuery,
    QueryByCommittee,
    get_strategy,
)

KEY = ("strategy", "n_pool", "repeat")
COLUMNS = (
    *KEY,
    "peer",
    "picks",
    "fit",
    "query",
    "total",
    "peer_fit",
    "peer_query",
    "peer_total",
    "fit_ratio",
    "query_ratio",
    "ratio",
    "accuracy",
    "peer_accuracy",
    "note",
)
N_SAMPLES, N_MEMBERS = 20, 5
#: The row of reading the images, which is no strategy.
LOADING = "reading the images"


@dataclass(frozen=True)
class Case:
    """A strategy that both have.

    ``picks`` is set where the definition forbids many; ``largest`` is the largest pool
    that the peer's memory allows; ``samples`` is how many the peer's net draws.
    """

    strategy: object
    peer: str
    picks: int | None = None
    largest: int | None = None
    samples: int = 0


CASES = {
    "random_sampling": Case(get_strategy("random_sampling"), "RandomSampling"),
    "margin_sampling": Case(
        get_strategy("margin_sampling"), "UncertaintySampling margin"
    ),
    "entropy_sampling": Case(
        get_strategy("entropy_sampling"), "UncertaintySampling entropy"
    ),
    "least_confidence_sampling": Case(
        get_strategy("least_confidence_sampling"), "UncertaintySampling least confident"
    ),
    "core_set": Case(get_strategy("core_set"), "CoreSet"),
    "badge": Case(get_strategy("badge"), "Badge"),
    "typi_clust": Case(get_strategy("typi_clust"), "TypiClust"),
    "prob_cover": Case(get_strategy("prob_cover"), "ProbCover", largest=10_000),
    "max_herding": Case(get_strategy("max_herding"), "MaxHerding", largest=10_000),
    "drop_query": Case(DropQuery(n_samples=3), "DropQuery"),
    "diversity_sampling, by entropy": Case(
        DiversitySampling(weighting="entropy"), "Clue"
    ),
    "query_by_committee": Case(
        QueryByCommittee(n_members=N_MEMBERS), "QueryByCommittee", samples=N_MEMBERS
    ),
    "bald": Case(
        BayesianSampling(n_samples=N_SAMPLES, posterior="dropout"),
        "GreedyBALD",
        samples=N_SAMPLES,
    ),
    "batch_bald": Case(
        BayesianSampling("batchbald", n_samples=N_SAMPLES, posterior="dropout"),
        "BatchBALD",
        picks=10,
        largest=10_000,
        samples=N_SAMPLES,
    ),
}


class Images:
    """Images and labels of both sides: training rows first come labelled ones."""

    def __init__(self, arguments):
        rng = np.random.default_rng(arguments.seed)
        bunch = load_image_paths(arguments.data)
        order = rng.permutation(len(bunch.data))
        n = arguments.n_labeled + arguments.n_pool
        if arguments.test is None:
            test = bunch.data[order[n:]], bunch.target[order[n:]]
        else:
            other = load_image_paths(arguments.test, class_names=bunch.target_names)
            test = other.data, other.target
        n_test = min(arguments.n_test, len(test[0]))
        if len(order) < n or not n_test:
            raise SystemExit(
                f"{len(order)} images are too few for {arguments.n_labeled} labelled, "
                f"{arguments.n_pool} candidates and some to test on: lower --n-pool, "
                "or name --test."
            )
        rows = rng.permutation(len(test[0]))[:n_test]
        self.paths = [*bunch.data[order[:n]], *test[0][rows]]
        labels = np.concatenate([bunch.target[order[:n]], test[1][rows]])
        self.classes, self.y = np.unique(labels, return_inverse=True)
        self.n = n
        started = time.perf_counter()
        self.pixels = np.asarray(get_image_cache().load(self.paths, image_size=None))
        self.seconds = time.perf_counter() - started
        started = time.perf_counter()
        self.floats = read_by_hand(self.paths)
        self.peer_seconds = time.perf_counter() - started
        self.mean, self.std = (v / 255 for v in normalisation(self.pixels[:n]))

    @property
    def shape(self):
        height, width, channels = self.pixels.shape[1:]
        return channels, height, width

    def labels(self, n_labeled, n):
        """The labels of the first `n` rows, -1 after the first `n_labeled`."""
        y = self.y[:n].copy()
        y[n_labeled:] = MISSING
        return y


def read_by_hand(paths):
    """Read images one by one into one float32 array (n, C, H, W), as tutorials do."""
    from PIL import Image

    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    pixels = np.array(images, dtype=np.float32) / 255.0
    return np.transpose(pixels, (0, 3, 1, 2))


def our_round(case, images, n, picks, arguments, seed):
    """Return (fit seconds, query seconds, rows, accuracy)."""
    learner = ActiveLearningClassifier(
        CNNClassifier(
            arguments.net,
            classes=np.arange(len(images.classes)),
            max_epochs=arguments.epochs,
            batch_size=arguments.batch_size,
        ),
        case.strategy,
        missing_label=MISSING,
        random_state=seed,
    )
    X, y = images.pixels[:n], images.labels(arguments.n_labeled, n)
    started = time.perf_counter()
    learner.fit(X, y)
    fitted = time.perf_counter()
    rows = learner.query(picks)
    done = time.perf_counter()
    accuracy = learner.score(images.pixels[images.n :], images.y[images.n :])
    return fitted - started, done - fitted, rows, accuracy


def peer_round(case, images, n, picks, arguments, seed):
    """Return (fit seconds, query seconds, rows, accuracy); rows None past the limit."""
    torch.manual_seed(seed)
    make = functools.partial(make_net, arguments.net, images.shape, len(images.classes))
    clf = make_peer(
        make,
        images.mean,
        images.std,
        len(images.classes),
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=seed,
        n_samples=case.samples,
    )
    X, y = images.floats[:n], images.labels(arguments.n_labeled, n)
    started = time.perf_counter()
    clf.fit(X, y)
    fitted = time.perf_counter()
    try:
        with time_limit(arguments.limit):
            rows = PEERS[case.peer](clf, X, y, picks)
    except TimeLimitReached:
        rows = None
    done = time.perf_counter()
    accuracy = clf.score(images.floats[images.n :], images.y[images.n :])
    return fitted - started, done - fitted, rows, accuracy


def check_rows(rows, who, picks, arguments):
    """Return what is wrong with the picked rows, or an empty string."""
    rows = np.asarray(rows)
    if len(set(rows.tolist())) != picks:
        return f"{who}: {len(set(rows.tolist()))} distinct rows of {picks}"
    if (rows < arguments.n_labeled).any():
        return f"{who}: labelled rows picked"
    return ""


def bench(name, repeat, images, arguments):
    """Return the row of one strategy."""
    case = CASES[name]
    n_pool = min(arguments.n_pool, case.largest or arguments.n_pool)
    n = arguments.n_labeled + n_pool
    picks = case.picks or arguments.picks
    words = (case, images, n, picks, arguments, arguments.seed + repeat)
    found = {}
    sides = [("ours", our_round), ("theirs", peer_round)]
    first = (list(CASES).index(name) + repeat) % 2
    for who, play in sides[first:] + sides[:first]:
        found[who] = play(*words)
    fit, query, rows, accuracy = found["ours"]
    peer_fit, peer_query, peer_rows, peer_accuracy = found["theirs"]
    notes = [check_rows(rows, "ours", picks, arguments)]
    if peer_rows is None:
        notes.append(f"theirs stopped after {arguments.limit:g} s")
    else:
        notes.append(check_rows(peer_rows, "theirs", picks, arguments))
    return {
        "strategy": name,
        "n_pool": n_pool,
        "repeat": repeat,
        "peer": case.peer,
        "picks": picks,
        "fit": fit,
        "query": query,
        "total": fit + query,
        "peer_fit": peer_fit,
        "peer_query": peer_query,
        "peer_total": peer_fit + peer_query,
        "fit_ratio": peer_fit / fit,
        "query_ratio": peer_query / query,
        "ratio": (peer_fit + peer_query) / (fit + query),
        "accuracy": float(accuracy),
        "peer_accuracy": float(peer_accuracy),
        "note": "; ".join(filter(None, notes)),
    }


def loading_row(images):
    """Return the row of reading all images into memory."""
    return {
        "strategy": LOADING,
        "n_pool": len(images.paths),
        "repeat": 0,
        "peer": "Pillow, one at a time, to float32",
        "total": images.seconds,
        "peer_total": images.peer_seconds,
        "ratio": images.peer_seconds / images.seconds,
        "note": "training and test images",
    }


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of class folders of images"
    )
    parser.add_argument("--test", type=Path, help="the same, to score on")
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--n-pool", type=int, default=9000)
    parser.add_argument("--n-labeled", type=int, default=1000)
    parser.add_argument("--n-test", type=int, default=1000)
    parser.add_argument("--picks", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds a query")
    parser.add_argument(
        "--strategies", nargs="+", choices=CASES, default=list(CASES), metavar="NAME"
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results/peer_round.csv"
    )
    return parser.parse_args(words)


def main(words=None):
    """Run the rounds that are missing and print each as it is done."""
    arguments = parse(words)
    if not PEER_INSTALLED:
        raise SystemExit("scikit-activeml is not installed: pip install it first.")
    if arguments.fresh:
        arguments.output.unlink(missing_ok=True)
    names = ("net", "n_labeled", "epochs", "batch_size", "n_test", "seed", "limit")
    settings = {name: getattr(arguments, name) for name in names}
    lines = header_lines(settings, ("scikit-activeml", "skorch"))
    table = Rows(arguments.output, COLUMNS, KEY, lines)
    print(*table.header, sep="\n", flush=True)
    images = Images(arguments)
    if not table.has(strategy=LOADING):
        table.add([loading_row(images)])
    for repeat in range(arguments.repeats):
        for name in arguments.strategies:
            largest = CASES[name].largest or arguments.n_pool
            key = {"strategy": name, "repeat": repeat}
            if table.has(**key, n_pool=min(arguments.n_pool, largest)):
                continue
            row = bench(name, repeat, images, arguments)
            table.add([row])
            print(
                f"{name}: fit {row['fit']:.2f} / {row['peer_fit']:.2f} s, query "
                f"{row['query']:.2f} / {row['peer_query']:.2f} s, whole round "
                f"{row['ratio']:.1f} times as fast; accuracy {row['accuracy']:.3f} / "
                f"{row['peer_accuracy']:.3f} {row['note']}",
                flush=True,
            )
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
