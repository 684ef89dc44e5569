"""Label efficiency with scikit-learn's own tools, on data that scikit-learn brings.

    python benchmarks/label_efficiency.py [--quick] [--data digits wine ...] \
        [--output results/label_efficiency] [--jobs 2]

For each data set ``make_pipeline(StandardScaler(), ActiveLearningClassifier(...))``, or
the learner around a CNN for the digits as image files, goes through

- ``cross_val_score``: accuracy over five folds, for each strategy and for the same
  model with all labels of the training fold;
- ``cross_val_predict``: each sample predicted by the fold that did not hold it, hence a
  confusion matrix (PDF and PNG) and a ``classification_report`` (CSV) per strategy;
- ``GridSearchCV`` over ``strategy``, and over ``strategy__measure`` where there is one
  (tables only): its ``cv_results_`` (CSV).

All strategies of a fold start from the same labels. ``OUTPUT/report.md`` puts it all on
one page; a table of all accuracies stands in ``OUTPUT/accuracy.csv``. ``--quick`` takes
three strategies, three folds and few epochs, for a look in less than a minute.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from _markdown import table as markdown
from _outputs import command_line
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, classification_report
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk._base.files import write_text
from dalmax_sk.images import load_image_paths, make_digits_folder
from dalmax_sk.reports import ConfusionHeatmapDisplay
from dalmax_sk.strategies import UncertaintySampling, get_strategy

BASELINE = "random_sampling"
UNCERTAINTY = "uncertainty_sampling"
ALL_LABELS = "all labels"
STRATEGIES = (
    BASELINE,
    UNCERTAINTY,
    "core_set_selection",
    "diversity_sampling",
    "badge",
    "typi_clust",
    "bayesian_sampling",
)
QUICK = STRATEGIES[:3]


@dataclass(frozen=True)
class Task:
    """A data set and what is spent on it.

    ``X`` is a table (n, d) or paths (n,); ``names`` are the classes in sorted order.
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple
    n_initial: int
    query_size: int
    n_rounds: int

    @property
    def is_table(self):
        return self.X.ndim == 2

    @property
    def n_labels(self):
        return self.n_initial + self.query_size * self.n_rounds


def load_task(name, folder):
    """Return the task called `name`; image files are written below `folder`."""
    if name == "digits_images":
        directory = make_digits_folder(folder / "digits_as_files")
        parts = [load_image_paths(directory / part) for part in ("train", "test")]
        X = np.concatenate([part.data for part in parts])
        y = np.concatenate([part.target for part in parts])
        return Task(X, y, tuple(np.unique(y)), 30, 20, 6)
    load, *budget = {
        "digits": (load_digits, 20, 10, 8),
        "breast_cancer": (load_breast_cancer, 10, 5, 6),
        "wine": (load_wine, 6, 3, 6),
    }[name]
    data = load()
    return Task(data.data, data.target, tuple(data.target_names), *budget)


TASKS = ("digits", "breast_cancer", "wine", "digits_images")


def make_model(task, strategy, epochs):
    """Return the learner of a task, or, for `strategy` None, the model alone."""
    if task.is_table:
        model = LogisticRegression(max_iter=1000)
    else:
        model = CNNClassifier(max_epochs=epochs, device="cpu", random_state=0)
    if strategy is not None:
        model = ActiveLearningClassifier(
            model,
            strategy,
            n_initial=task.n_initial,
            query_size=task.query_size,
            n_rounds=task.n_rounds,
            random_state=0,
        )
    return make_pipeline(StandardScaler(), model) if task.is_table else model


def evaluate(task, model, cv, jobs):
    """Return accuracy of each fold and the prediction for every sample.

    The two come from separate fits, which must agree: fits repeat exactly.
    """
    scores = cross_val_score(model, task.X, task.y, cv=cv, n_jobs=jobs)
    predicted = cross_val_predict(model, task.X, task.y, cv=cv, n_jobs=jobs)
    again = [
        accuracy_score(task.y[test], predicted[test])
        for _, test in cv.split(task.X, task.y)
    ]
    if not np.allclose(scores, again):
        raise RuntimeError(
            f"cross_val_score gave {scores}, the predictions of cross_val_predict "
            f"{again}: a fit did not repeat."
        )
    return scores, predicted


def search(task, strategies, epochs, cv, jobs):
    """Return ``cv_results_`` of a grid over strategies, and over margin's relatives."""
    model = make_model(task, BASELINE, epochs)
    prefix = "activelearningclassifier__strategy"
    others = [get_strategy(name) for name in strategies if name != UNCERTAINTY]
    grid = [{prefix: others}]
    if UNCERTAINTY in strategies:
        grid.append(
            {
                prefix: [UncertaintySampling()],
                f"{prefix}__measure": ["margin", "entropy", "least_confidence"],
            }
        )
    found = GridSearchCV(model, grid, cv=cv, n_jobs=jobs, refit=False)
    results = pd.DataFrame(found.fit(task.X, task.y).cv_results_)
    results.columns = [c.replace("activelearningclassifier__", "") for c in results]
    return results.drop(columns="params").sort_values("rank_test_score")


def write_strategy(task, predicted, name, folder):
    """Write the confusion matrix and the report of one strategy's predictions."""
    labels = np.unique(task.y)
    counted = ConfusionHeatmapDisplay.from_predictions(
        task.y, predicted, labels=labels
    ).confusion_matrix
    display = ConfusionHeatmapDisplay(counted, [str(n) for n in task.names]).plot()
    display.figure_.axes[-1].set_ylabel("Held-out samples (number)")
    display.ax_.set_title(f"{name}, {task.n_labels} labels a fold", fontsize=10)
    for kind in ("pdf", "png"):
        display.figure_.savefig(folder / f"confusion_matrix_{name}.{kind}", dpi=100)
    report = classification_report(
        task.y,
        predicted,
        labels=labels,
        target_names=[str(n) for n in task.names],
        output_dict=True,
        zero_division=0,
    )
    accuracy = report.pop("accuracy")
    table = pd.DataFrame(report).T
    table.loc["accuracy", "f1-score"] = accuracy
    table.to_csv(
        folder / f"classification_report_{name}.csv",
        index_label="class",
        float_format="%.6f",
        lineterminator="\n",
    )


def spread(values, form):
    """Return mean ± sample standard deviation."""
    return f"{values.mean():{form}} ± {values.std(ddof=1):.1f}"


def accuracy_rows(scores):
    """Return one row a strategy, best first: accuracy and paired difference in points.

    Parameters
    ----------
    scores : dict of str to ndarray of shape (n_folds,)
    """
    rows = []
    for name, values in scores.items():
        gain = 100 * (values - scores[BASELINE])
        rows.append(
            {
                "strategy": name,
                "accuracy": spread(100 * values, ".1f"),
                "less random's": spread(gain, "+.1f"),
            }
        )
    order = sorted(rows, key=lambda row: -scores[row["strategy"]].mean())
    return pd.DataFrame(order).set_index("strategy")


def run_task(name, arguments):
    """Evaluate all strategies on one data set; return its section and its scores."""
    folder = arguments.output / name
    folder.mkdir(parents=True, exist_ok=True)
    task = load_task(name, arguments.output)
    cv = StratifiedKFold(arguments.folds, shuffle=True, random_state=0)
    scores = {}
    for strategy in (*arguments.strategies, None):
        label = ALL_LABELS if strategy is None else strategy
        model = make_model(task, strategy, arguments.epochs)
        scores[label], predicted = evaluate(task, model, cv, arguments.jobs)
        write_strategy(task, predicted, label.replace(" ", "_"), folder)
        print(f"{name}: {label}: {100 * scores[label].mean():.1f} %", flush=True)
    draw(task, scores, folder / "accuracy.png")
    lines = section(name, task, accuracy_rows(scores), cv)
    if task.is_table:
        results = search(
            task, arguments.strategies, arguments.epochs, cv, arguments.jobs
        )
        results.to_csv(folder / "grid_search.csv", index=False, lineterminator="\n")
        lines += search_section(name, results)
    return lines, scores


def section(name, task, rows, cv):
    """Return the Markdown lines of one data set."""
    what = f"{task.X.shape[1]} columns" if task.is_table else "image files, a small CNN"
    best = next(row for row in rows.index if row != ALL_LABELS)
    n_folds = cv.n_splits
    n_all = len(task.X) * (n_folds - 1) // n_folds
    return [
        f"## {name}",
        "",
        f"{len(task.X):,} samples, {len(task.names)} classes, {what}. {n_folds} folds; "
        f"{task.n_initial} random initial labels and {task.n_rounds} rounds of "
        f"{task.query_size}: {task.n_labels} labels a fold, where "
        f"`{ALL_LABELS}` has {n_all:,}.",
        "",
        markdown(rows),
        "",
        f"![Accuracy by strategy]({name}/accuracy.png)",
        "",
        f"![Confusion matrix of {best}]({name}/confusion_matrix_{best}.png)",
        "",
        f"Per class: `{name}/classification_report_<strategy>.csv`; confusion "
        f"matrices: `{name}/confusion_matrix_<strategy>.pdf`.",
        "",
    ]


def search_section(name, results):
    """Return the Markdown lines of the grid search."""
    means, sds = 100 * results["mean_test_score"], 100 * results["std_test_score"]
    shown = pd.DataFrame(
        {
            "strategy": results["param_strategy"].map(lambda s: type(s).__name__),
            "measure": results.get("param_strategy__measure", pd.Series(dtype=object)),
            "accuracy": means.map("{:.1f}".format) + " ± " + sds.map("{:.1f}".format),
            "fit (s)": results["mean_fit_time"].map("{:.2f}".format),
        }
    )
    shown["measure"] = shown["measure"].fillna("")
    shown.index = pd.Index(results["rank_test_score"], name="rank")
    return [
        f"`GridSearchCV` over strategies (`{name}/grid_search.csv`; ± over folds):",
        "",
        markdown(shown),
        "",
    ]


def draw(task, scores, path):
    """Draw the accuracy of every fold, and the mean, by strategy."""
    order = sorted(scores, key=lambda name: scores[name].mean())
    figure = Figure(figsize=(6.4, 0.34 * len(order) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(order):
        values = 100 * scores[name]
        axes.plot(
            values,
            np.full(len(values), place),
            "o",
            color="#0072B2",
            alpha=0.45,
            ms=5,
            label=None if place else "a fold",
        )
        axes.plot(
            values.mean(),
            place,
            "D",
            color="#D55E00",
            ms=7,
            label=None if place else "mean",
        )
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel(f"accuracy on the held-out fold (%), {task.n_labels} labels")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=110)


def parse(words=None):
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--strategies", nargs="+")
    parser.add_argument("--epochs", type=int, help="of the CNN")
    parser.add_argument("--folds", type=int)
    parser.add_argument("--output", type=Path, default=Path("results/label_efficiency"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(words)
    quick = arguments.quick
    arguments.strategies = arguments.strategies or (QUICK if quick else STRATEGIES)
    if BASELINE not in arguments.strategies:
        parser.error(f"--strategies must name {BASELINE}: all are compared with it.")
    arguments.epochs = arguments.epochs or (5 if quick else 20)
    arguments.folds = arguments.folds or (3 if quick else 5)
    return arguments


def main(words=None):
    """Evaluate, and write the report."""
    arguments = parse(words)
    started = time.perf_counter()
    lines, table = [], []
    for name in arguments.data:
        new, scores = run_task(name, arguments)
        lines += new
        table += [
            {"data": name, "strategy": strategy, "fold": fold, "accuracy": value}
            for strategy, values in scores.items()
            for fold, value in enumerate(values)
        ]
    pd.DataFrame(table).to_csv(
        arguments.output / "accuracy.csv", index=False, lineterminator="\n"
    )
    head = [
        "# Label efficiency",
        "",
        f"`{command_line()}`, {time.perf_counter() - started:.0f} seconds. Accuracy in "
        "percent, mean ± standard deviation over folds; differences are paired by "
        "fold. The folds share their data, so ± says how the folds differ, not how "
        "sure the mean is: for that, run several seeds through "
        "`dalmax_sk.evaluation.budget_curve` and `compare`.",
        "",
    ]
    path = write_text(arguments.output / "report.md", "\n".join(head + lines))
    print(f"{path} written")


if __name__ == "__main__":
    main()
