"""Whether mixed precision costs accuracy, or changes what is picked.

    python benchmarks/bench_precision.py --dir-train DIR --dir-test DIR
        [--budgets 500 2000] [--seeds 5] [--epochs 15] [--net small_cnn] [--device cuda]

For each seed and number of labels a net is trained twice from the same weights on the
same images in the same order: in float32 and with bfloat16 autocast (``amp=True``).
Compared are the accuracies on test images, paired by seed, and the candidates that
margin sampling would pick: between the two nets; between the float32 net evaluated in
either precision, which is what autocast does to a pool pass alone; and, to know what
such overlaps mean, between two float32 nets of different training seeds. Writes
``precision.csv`` (a row a fit) as it goes and ``precision_summary.csv`` at the end; a
run that was killed goes on.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _image_data import load_image_arrays
from _plain_loops import architecture_of
from _rows import Rows, header_lines

from dalmax_sk import CNNClassifier
from dalmax_sk._base.files import replacing
from dalmax_sk.evaluation.statistics.paired_tests import paired_p_value
from dalmax_sk.evaluation.statistics.resampling import mean_interval, resample_weights
from dalmax_sk.selection import top_n
from dalmax_sk.strategies import uncertainty_scores

KEY = ("net", "n_labeled", "seed")
COLUMNS = (
    *KEY,
    "accuracy_float32",
    "accuracy_bfloat16",
    "accuracy_other_seed",
    "overlap_two_nets",
    "overlap_one_net",
    "overlap_other_seed",
    "seconds_float32",
    "seconds_bfloat16",
)
#: Columns of the summary -> the difference, paired by seed, that it is about.
DIFFERENCES = {
    "bfloat16 less float32": ("accuracy_bfloat16", "accuracy_float32"),
    "other training seed less float32": ("accuracy_other_seed", "accuracy_float32"),
}
N_RESAMPLES = 10_000


def trained(arguments, X, y, seed, *, amp):
    """Return a fitted classifier and the seconds of its fit."""
    clf = CNNClassifier(
        architecture_of(arguments.net),
        max_epochs=arguments.epochs,
        amp=amp,
        device=arguments.device,
        random_state=seed,
    )
    started = time.perf_counter()
    clf.fit(X, y)
    return clf, time.perf_counter() - started


def margin_picks(proba, n_picks, seed):
    """Return the set of positions that margin sampling would pick."""
    scores = uncertainty_scores(proba, "margin")
    return set(top_n(scores, n_picks, random_state=seed).tolist())


def overlap(ours, theirs):
    """Return the share of picks that two sets of one size have in common."""
    return len(ours & theirs) / len(ours)


def in_bfloat16(clf, X):
    """Probabilities of a net that was trained in float32, under autocast."""
    clf.net_.amp = True
    try:
        return clf.predict_proba(X)
    finally:
        clf.net_.amp = False


def bench(n_labeled, seed, data, arguments):
    """Return the row of one seed and number of labels."""
    X, y, (train, test) = data
    order = np.random.RandomState(seed).permutation(train)
    labeled = order[:n_labeled]
    pool = X[order[-arguments.n_pool :]]
    row = {"net": arguments.net, "n_labeled": n_labeled, "seed": seed}
    picks, accuracy = {}, {}
    nets = {
        "float32": (seed, False),
        "bfloat16": (seed, True),
        "other_seed": (seed + 1000, False),
    }
    for name, (net_seed, amp) in nets.items():
        clf, seconds = trained(arguments, X[labeled], y[labeled], net_seed, amp=amp)
        accuracy[name] = clf.score(X[test], y[test])
        picks[name] = margin_picks(clf.predict_proba(pool), arguments.n_picks, seed)
        if name == "float32":
            picks["cast"] = margin_picks(
                in_bfloat16(clf, pool), arguments.n_picks, seed
            )
        row[f"seconds_{name}"] = seconds
    row |= {f"accuracy_{name}": float(value) for name, value in accuracy.items()}
    return row | {
        "overlap_two_nets": overlap(picks["float32"], picks["bfloat16"]),
        "overlap_one_net": overlap(picks["float32"], picks["cast"]),
        "overlap_other_seed": overlap(picks["float32"], picks["other_seed"]),
    }


def summarize(frame):
    """Return mean differences with 95 % intervals over the seeds, one row a case.

    Parameters
    ----------
    frame : DataFrame
        The rows of ``precision.csv``.

    Returns
    -------
    DataFrame
        ``difference``, ``low``, ``high``: accuracy, a bootstrap interval over the
        seeds (as in `dalmax_sk.evaluation.compare`); ``p``: of the paired t-test;
        ``overlap_...``: means.
    """
    rows = []
    for (net, n_labeled), group in frame.groupby(["net", "n_labeled"], sort=False):
        n_seeds = len(group)
        if n_seeds < 2:
            continue
        rng = np.random.RandomState(0)
        weights = resample_weights(n_seeds, N_RESAMPLES, rng)
        for name, (one, other) in DIFFERENCES.items():
            differences = (group[one] - group[other]).to_numpy()
            low, high = mean_interval(differences, weights, 0.95)
            row = {
                "net": net,
                "n_labeled": n_labeled,
                "what": name,
                "n_seeds": n_seeds,
                "accuracy": group[other].mean(),
                "difference": differences.mean(),
                "low": float(low),
                "high": float(high),
                "p": paired_p_value(differences, "t", random_state=rng),
            }
            if other == "accuracy_float32" and one == "accuracy_bfloat16":
                row |= {
                    column: group[column].mean()
                    for column in COLUMNS
                    if column.startswith("overlap")
                }
                seconds = group["seconds_float32"] / group["seconds_bfloat16"]
                row["speed_up"] = seconds.median()
            rows.append(row)
    return pd.DataFrame(rows)


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir-train", type=Path, required=True)
    parser.add_argument("--dir-test", type=Path, required=True)
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--budgets", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--n-pool", type=int, default=4000, help="candidates")
    parser.add_argument("--n-picks", type=int, default=200)
    parser.add_argument("--per-class", type=int, help="toy size: images of each class")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results"
    )
    return parser.parse_args(words)


def main(words=None):
    """Train what is missing; write and print the summary."""
    arguments = parse(words)
    path = arguments.output / "precision.csv"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    names = ("epochs", "n_pool", "n_picks", "per_class", "device")
    lines = header_lines({name: getattr(arguments, name) for name in names})
    table = Rows(path, COLUMNS, KEY, lines)
    data = load_image_arrays(
        arguments.dir_train, arguments.dir_test, arguments.per_class
    )
    n_train = len(data[2][0])
    if max(arguments.budgets) + arguments.n_pool > n_train:
        raise SystemExit(
            f"{max(arguments.budgets)} labels and {arguments.n_pool} candidates are "
            f"more than the {n_train} training images: lower --n-pool."
        )
    print(*table.header, sep="\n", flush=True)
    for seed in range(arguments.seeds):
        for n_labeled in arguments.budgets:
            if table.has(net=arguments.net, n_labeled=n_labeled, seed=seed):
                continue
            row = bench(n_labeled, seed, data, arguments)
            table.add([row])
            print(row, flush=True)
    summary = summarize(pd.read_csv(path, comment="#"))
    if summary.empty:
        print("One seed: nothing to compare.")
        return
    with replacing(arguments.output / "precision_summary.csv") as part:
        summary.to_csv(part, index=False, float_format="%.5g", lineterminator="\n")
    print(summary.round(4).to_string())


if __name__ == "__main__":
    main()
