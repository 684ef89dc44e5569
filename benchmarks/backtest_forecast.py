"""Are the forecasts of learning curves right, and do their intervals hold?

    python benchmarks/backtest_forecast.py make [--jobs 1]
    python benchmarks/backtest_forecast.py test [--curves CSV ...] [--spreads 0 0.1 ...]
    python benchmarks/backtest_forecast.py page

``make`` runs four models of scikit-learn on three tables, with random and with margin
sampling, and writes their learning curves (``forecast_curves.csv``). The spread of the
gain, on which the width of the intervals rests, was chosen on these alone
(``--spreads`` shows what others give); the weights of the points and the default models
were chosen with all files in view.

``test`` cuts every curve at 1/3, 1/2 and 2/3 of its budget, forecasts the labels that
the final score needs from what is before the cut, and compares with the labels that it
took: the first number at which the isotonic regression of the curve is at its final
value. Single runs are tested, and the means of the seeds. Curves that reach their final
value before the cut are counted and left out, for there is nothing to forecast.
``forecast_backtest.csv`` has one row for each file, kind of curve and cut:

- ``n_curves``, ``n_reached``: forecasts made; curves left out;
- ``median_ratio``: labels forecast over labels it took, the median (infinite if most
  forecasts say that the final score is not reachable);
- ``median_relative_error``: of the labels, an unreachable one counting as infinite;
- ``coverage``, ``too_low``, ``too_high``: shares of curves whose labels lie inside,
  above and below the 90 % interval;
- ``never``: share of forecasts whose median is that the score is not reachable;
- ``score_bias``, ``score_error``: mean and mean absolute difference of the score
  forecast at the end of the budget and the one measured, in points;
- ``score_coverage``: share of the measured ones inside the 90 % band;
- ``milliseconds``: of one forecast.

The tables of the user guide are written from it; ``page`` does only that.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _markdown import table as markdown
from _outputs import describe
from _page_blocks import write_block
from joblib import Parallel, delayed
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base.files import replacing, write_text
from dalmax_sk.evaluation import BudgetCurves, forecast
from dalmax_sk.evaluation.extrapolation import curve_draws as _curve_draws
from dalmax_sk.evaluation.forecasting import why_no_forecast
from dalmax_sk.strategies import get_strategy

RESULTS = Path(__file__).parent / "results"
MADE = RESULTS / "forecast_curves.csv"
#: Curves of neural networks, which played no part in choosing the spread of the gain.
TESTED = ("cifar10_small_cnn", "digits_small_cnn", "digits_all_strategies")
CUTS = {"1/3": 1 / 3, "1/2": 1 / 2, "2/3": 2 / 3}
LEVEL = 0.9
N_SEEDS = 4

MODELS = {
    "logistic": lambda seed: LogisticRegression(max_iter=300),
    "forest": lambda seed: RandomForestClassifier(30, random_state=seed),
    "neighbours": lambda seed: KNeighborsClassifier(3),
    "bayes": lambda seed: GaussianNB(var_smoothing=1e-2),
}


def load(name):
    """Return X and y of a table."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y
    if name == "ten_classes":
        return make_classification(
            6000, 30, n_informative=12, n_classes=10, random_state=7
        )
    return make_classification(  # with wrong labels: 100 % is out of reach
        6000,
        20,
        n_informative=10,
        n_classes=5,
        n_clusters_per_class=3,
        class_sep=0.8,
        flip_y=0.1,
        random_state=8,
    )


def make_curve(table, model, strategy, seed):
    """Return one run as rows for `BudgetCurves`."""
    X, y = load(table)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=1 / 3, stratify=y, random_state=seed
    )
    learner = ActiveLearningClassifier(
        MODELS[model](seed),
        get_strategy(strategy),
        n_initial=40,
        query_size=40,
        n_rounds=19 if table == "digits" else 29,
        scoring="accuracy",
        random_state=seed,
    ).fit(X, y, eval_set=(X_test, y_test))
    return pd.DataFrame(
        {
            "strategy": f"{table} {model} {strategy}",
            "split": 0,
            "seed": seed,
            "round": [record["round"] for record in learner.history_],
            "n_labeled": [record["n_labeled"] for record in learner.history_],
            "score_accuracy": [record["eval_accuracy"] for record in learner.history_],
        }
    )


def make(n_jobs):
    """Write the curves on which the constants were chosen."""
    runs = [
        (table, model, strategy, seed)
        for table in ("digits", "ten_classes", "wrong_labels")
        for model in MODELS
        for strategy in ("random_sampling", "margin_sampling")
        for seed in range(N_SEEDS)
    ]
    started = time.perf_counter()
    frames = Parallel(n_jobs=n_jobs)(delayed(make_curve)(*run) for run in runs)
    BudgetCurves(pd.concat(frames, ignore_index=True)).to_csv(MADE)
    print(f"{len(runs)} runs in {time.perf_counter() - started:.0f} s: {MADE}")


def read(path):
    """Return `BudgetCurves` from a table of curves, or of runs as train-al writes."""
    frame = pd.read_csv(path, comment="#")
    if "score_accuracy" not in frame:
        frame = frame.rename(columns={"eval_accuracy": "score_accuracy"})
        columns = ["strategy", "seed", "round", "n_labeled", "score_accuracy"]
        frame = frame[columns].assign(split=0)
    return BudgetCurves(frame)


def units(curves):
    """Yield (kind, numbers of labels, scores (seeds, m)) of all that is forecast."""
    for strategy in curves.strategies:
        seeds, n, values = curves.by_seed(strategy, "accuracy")
        for row in values:
            yield "run", n, row[None]
        if len(seeds) > 1:
            yield "mean of seeds", n, values


def check(kind, n, values, cut):
    """Return one forecast beside what happened; None if there is nothing to test."""
    mean = values.mean(axis=0)
    smooth = isotonic_regression(mean)
    target = float(smooth[-1])
    truth = int(n[np.argmax(smooth >= target - 1e-12)])
    before = n <= n[0] + CUTS[cut] * (n[-1] - n[0]) + 1e-9
    if why_no_forecast(n[before], mean[before]) is not None:
        return None
    row = {"kind": kind, "cut": cut, "n_points": int(before.sum())}
    if mean[before].max() >= target or truth <= n[before][-1]:
        return row | {"reached": True}
    started = time.perf_counter()
    found = forecast((n[before], values[:, before]), target, confidence_level=LEVEL)
    seconds = time.perf_counter() - started
    end = found.predict(n[-1:]).iloc[0]
    low, high = found.interval
    return row | {
        "reached": False,
        "ratio": found.n_labels / truth,
        "inside": low <= truth <= high,
        "too_low": high < truth,
        "too_high": low > truth,
        "never": np.isinf(found.n_labels),
        "score_difference": 100 * (end["score"] - mean[-1]),
        "score_inside": end["low"] <= mean[-1] <= end["high"],
        "seconds": seconds,
    }


def summarize(name, rows):
    """Return the table of one file's forecasts."""
    table = []
    for (kind, cut), part in rows.groupby(["kind", "cut"], sort=False):
        made = part[~part["reached"].astype(bool)]
        table.append(
            {
                "curves": name,
                "kind": kind,
                "cut": cut,
                "n_curves": len(made),
                "n_reached": len(part) - len(made),
                "median_ratio": made["ratio"].median(),
                "median_relative_error": (made["ratio"] - 1).abs().median(),
                "coverage": made["inside"].astype(float).mean(),
                "too_low": made["too_low"].astype(float).mean(),
                "too_high": made["too_high"].astype(float).mean(),
                "never": made["never"].astype(float).mean(),
                "score_bias": made["score_difference"].mean(),
                "score_error": made["score_difference"].abs().mean(),
                "score_coverage": made["score_inside"].astype(float).mean(),
                "milliseconds": 1000 * made["seconds"].median(),
            }
        )
    return pd.DataFrame(table)


def test(paths):
    """Return the table of all files' forecasts."""
    tables = []
    for path in paths:
        rows = [
            row
            for kind, n, values in units(read(path))
            for cut in CUTS
            if (row := check(kind, n, values, cut)) is not None
        ]
        tables.append(summarize(Path(path).stem, pd.DataFrame(rows)))
    return pd.concat(tables, ignore_index=True)


def default_paths():
    """Return the files of curves that there are."""
    experiments = sorted(set(RESULTS.glob("*_curves.csv")) - {MADE})
    return [MADE, *(RESULTS / f"{name}.csv" for name in TESTED), *experiments]


def page_table(table):
    """Return the table of the user guide, of single runs or of means of seeds."""
    shown = pd.DataFrame(
        {
            "cut": table["cut"].tolist(),
            "forecasts": table["n_curves"].tolist(),
            "labels forecast / needed, median": [
                f"{x:.2f}" if np.isfinite(x) else "never reached"
                for x in table["median_ratio"]
            ],
            "said never (%)": [f"{100 * x:.0f}" for x in table["never"]],
            "90 % interval holds (%)": [f"{100 * x:.0f}" for x in table["coverage"]],
            "score at the end: bias (points)": [
                f"{x:+.1f}" for x in table["score_bias"].round(1) + 0.0
            ],
            "mean error (points)": [f"{x:.1f}" for x in table["score_error"]],
            "90 % band holds (%)": [f"{100 * x:.0f}" for x in table["score_coverage"]],
        },
        index=pd.Index([f"`{name}`" for name in table["curves"]], name="curves"),
    )
    return markdown(shown)


def write_page(table):
    """Write both tables into the user guide."""
    for kind, name in (("run", "backtest_runs"), ("mean of seeds", "backtest_means")):
        part = table[table["kind"] == kind]
        write_block("forecast.md", name, page_table(part))


def main():
    """Parse the command line; make curves, or test forecasts on curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="run the models and write their curves")
    maker.add_argument("--jobs", type=int, default=1)
    tester = commands.add_parser("test", help="cut curves and forecast their ends")
    tester.add_argument("--curves", type=Path, nargs="+")
    tester.add_argument(
        "--spreads", type=float, nargs="+", help="print the coverage for these only"
    )
    commands.add_parser("page", help="write the tables of the user guide")
    options = parser.parse_args()
    if options.command == "make":
        make(options.jobs)
        return
    if options.command == "page":
        write_page(pd.read_csv(RESULTS / "forecast_backtest.csv"))
        return
    paths = options.curves or default_paths()
    if options.spreads:
        for spread in options.spreads:
            _curve_draws.GAIN_SPREAD = spread
            table = test(paths)
            shares = table.groupby("curves", sort=False).apply(
                lambda part: np.average(part["coverage"], weights=part["n_curves"]),
                include_groups=False,
            )
            print(f"spread {spread:g}: coverage", shares.round(3).to_dict())
        return
    table = test(paths)
    print(table.round(3).to_string())
    with replacing(RESULTS / "forecast_backtest.csv") as part:
        table.round(4).to_csv(part, index=False, lineterminator="\n")
    settings = {"confidence_level": LEVEL, "gain_spread": _curve_draws.GAIN_SPREAD}
    write_text(
        RESULTS / "forecast_backtest.json",
        json.dumps(describe(settings), indent=2) + "\n",
    )
    write_page(table)


if __name__ == "__main__":
    main()
