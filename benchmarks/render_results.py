"""Write the tables and figures of the pages from the files in ``benchmarks/results``.

    python benchmarks/render_results.py [--check]

Pages under ``docs/`` hold blocks between ``<!-- generated: NAME -->`` and
``<!-- end -->``; the prose around them is typed. This script writes what stands in the
blocks, and the figures that they show, from the CSV and JSON files that the benchmarks
left. ``--check`` changes nothing and fails if a page or a figure is out of date. A
block whose benchmark has not been run says so.
"""

import argparse
import functools
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from _comparison_blocks import COMPARISONS
from _markdown import table as markdown
from _performance_blocks import PERFORMANCE
from _published import CDALBENCH_ENCODED_100, LUETH_SCRATCH, LUETH_SIMCLR
from _result_tables import (
    TABLE_KEY,
    accuracy_by_labels,
    beside_published_table,
    budget_curve_table,
    comparison_table,
    every_strategy_table,
    loop_table,
    picks_table,
    published_table,
    run_seconds_table,
    times_table,
    unit_length_table,
)
from PIL import Image

from dalmax_sk._base.files import replacing, write_text
from dalmax_sk.evaluation import BudgetCurves, area_under_budget_curve
from dalmax_sk.reports import BudgetCurveDisplay

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?P<open><!-- generated: (?P<name>\w+) -->\n).*?(?P<close><!-- end -->)",
    re.DOTALL,
)
#: Experiments through budget_curve: name of the files -> what stands in the figures.
EXPERIMENTS = {
    "frozen_features": "CIFAR-10, frozen features, linear head",
    "cifar10_small_cnn": "CIFAR-10, small CNN from scratch",
}


@dataclass(frozen=True)
class Renderer:
    """Makes blocks of text and figures from a folder of results.

    Figures lie in `images`; with ``draw=False`` they are compared instead of drawn, and
    those out of date are listed in ``stale``.
    """

    results: Path
    images: Path
    draw: bool
    stale: list

    def block(self, name):
        """Return the text of a block.

        Raises
        ------
        ValueError
            If there is no such block.
        """
        try:
            make, *arguments = BLOCKS[name]
        except KeyError:
            raise ValueError(
                f"There is no generated block {name!r}; there are {', '.join(BLOCKS)}."
            ) from None
        return make(self, *arguments)

    # ------------------------------------------------------------- runs of train-al

    def labels_table(self, name, strategies):
        """Accuracy at each number of labels, of runs of the command line."""
        runs = pd.read_csv(self.results / f"{name}.csv")
        return markdown(accuracy_by_labels(runs, strategies))

    def seconds_table(self, name, strategies):
        """Seconds a run in its parts, of runs of the command line."""
        runs = pd.read_csv(self.results / f"{name}.csv")
        return markdown(run_seconds_table(runs, strategies))

    def every_strategy(self, name):
        """Each strategy beside random sampling, of runs of the command line."""
        return markdown(every_strategy_table(pd.read_csv(self.results / f"{name}.csv")))

    # ------------------------------------------------------ experiments, budget_curve

    def experiment(self, name):
        """Set-up, figures, comparison, verdicts and times of an experiment."""
        sidecar = self.sidecar(name)
        if sidecar is None:
            return self.missing(f"{name}.json")
        curves = BudgetCurves.from_csv(self.results / f"{name}_curves.csv")
        parts = [setup_lines(sidecar), self.figures(name, curves)]
        path = self.results / f"{name}_comparison.csv"
        if path.exists():
            found = pd.read_csv(path, index_col="strategy")
            parts.append(TABLE_KEY.format(baseline=sidecar["baseline"]))
            parts.append(markdown(comparison_table(found, sidecar["baseline"])))
            parts.append("\n".join(f"- {s}" for s in sidecar["verdicts"].values()))
        times = pd.read_csv(self.results / f"{name}_times.csv", index_col="strategy")
        parts.append(f"Mean seconds a run. {total_time(curves)}")
        parts.append(markdown(times_table(times)))
        return "\n\n".join(parts)

    def figures(self, name, curves):
        """Draw the curves, and their differences to random; return the links."""
        title = EXPERIMENTS[name]
        source = hashlib.sha256((self.results / f"{name}_curves.csv").read_bytes())
        links = []
        for kind, what, options in (
            ("curves", "accuracy against labels", {}),
            (
                "difference",
                "difference to random sampling",
                {"relative_to": "random_sampling"},
            ),
        ):
            file = f"{name}_{kind}.png"
            draw = functools.partial(curves_figure, curves, title, options)
            self.figure(file, source.hexdigest(), draw)
            links.append(f"![{title}: {what}](images/{file})")
        return "\n\n".join(links)

    def figure(self, file, source, draw):
        """Draw a figure, or see whether the one that exists is of this source.

        ``draw()`` returns it; `source` is the digest of what it is drawn from.
        """
        path = self.images / file
        if not self.draw:
            if not path.exists() or Image.open(path).text.get("Source") != source:
                self.stale.append(path)
            return
        figure = draw()
        with replacing(path, sync=False) as part:
            figure.savefig(part, format="png", dpi=120, metadata={"Source": source})

    def sidecar(self, name):
        """Return what a benchmark wrote beside its tables, or None."""
        path = self.results / f"{name}.json"
        if not path.exists():
            return None
        return json.loads(path.read_text(encoding="utf-8"))

    def missing(self, file):
        """Say that a benchmark has not been run."""
        return f"*Not run yet: there is no `benchmarks/results/{file}`.*"

    def unit_length(self):
        """Differences to random with and without the features' lengths."""
        name = "frozen_features_unit"
        sidecar = self.sidecar(name)
        if sidecar is None:
            return self.missing(f"{name}.json")
        plain, unit = (
            pd.read_csv(self.results / f"{file}_comparison.csv", index_col="strategy")
            for file in ("frozen_features", name)
        )
        table = unit_length_table(plain, unit, sidecar["baseline"])
        return "\n\n".join([setup_lines(sidecar), markdown(table)])

    def picks(self):
        """What kind of images the strategies picked."""
        path = self.results / "frozen_features_picks.csv"
        if not path.exists():
            return self.missing(path.name)
        return markdown(picks_table(pd.read_csv(path)))

    # -------------------------------------------------------------- published figures

    def lueth(self):
        """The published areas, and ours where protocol A was run."""
        ours = self.protocol_a_areas()
        table = markdown(published_table(LUETH_SCRATCH, ours))
        return f"{table}\n\nRegimes run here so far: {', '.join(ours) or 'none'}."

    def protocol_a_areas(self):
        """Return {regime: {method: areas by seed}} of the regimes that were run."""
        found = {}
        for regime in LUETH_SCRATCH:
            path = self.results / f"protocol_a_{regime}_curves.csv"
            if path.exists():
                found[regime] = areas(BudgetCurves.from_csv(path))
        return found

    def beside_published(self):
        """Our differences to random sampling beside published ones."""
        ours = {
            title: areas(BudgetCurves.from_csv(self.results / f"{name}_curves.csv"))
            for name, title in EXPERIMENTS.items()
            if (self.results / f"{name}_curves.csv").exists()
        }
        published = {
            "Lüth et al., scratch, low": LUETH_SCRATCH["low"],
            "Lüth et al., scratch, med": LUETH_SCRATCH["med"],
            "Lüth et al., SimCLR, low": LUETH_SIMCLR["low"],
            "Lüth et al., SimCLR, med": LUETH_SIMCLR["med"],
            "Werner et al., encoded, query 100": CDALBENCH_ENCODED_100,
        }
        return markdown(beside_published_table(ours, published))

    # ------------------------------------------------------------------------- speed

    def loop(self):
        """What the loop itself costs."""
        return markdown(loop_table(pd.read_csv(self.results / "loop.csv", comment="#")))

    def budget_curve(self):
        """What budget_curve adds to its runs."""
        path = self.results / "budget_curve.csv"
        if not path.exists():
            return self.missing(path.name)
        return markdown(budget_curve_table(pd.read_csv(path, comment="#")))


def curves_figure(curves, title, options):
    """Return the figure of an experiment's curves."""
    display = BudgetCurveDisplay.from_curves(curves, **options).plot()
    display.ax_.set_title(title, fontsize=10)
    return display.figure_


def areas(curves):
    """Return {strategy: area under the curve of each seed}."""
    found = {}
    for strategy in curves.strategies:
        _, budgets, values = curves.by_seed(strategy)
        found[strategy] = np.asarray(area_under_budget_curve(budgets, values))
    return found


def setup_lines(sidecar):
    """Return command, date, hardware, versions and settings as a list."""
    hardware, versions = sidecar["hardware"], sidecar["versions"]
    gpus = ", ".join(gpu["name"] for gpu in hardware["gpus"]) or "no GPU"
    shown = ("dalmax_sk", "torch", "scikit-learn", "numpy")
    settings = ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key}: {value}"
        for key, value in sidecar["settings"].items()
    )
    seeds = sidecar["seeds"]
    return "\n".join(
        [
            f"- command: `{sidecar['command']}`",
            f"- set-up: {settings}; seeds {', '.join(map(str, seeds))}",
            f"- hardware: {hardware['cpu']}, {hardware['usable_cores']} cores, "
            f"{hardware['torch_threads']} thread a process, "
            f"{hardware['memory_bytes'] / 2**30:.0f} GiB, {gpus}",
            f"- date and versions: {sidecar['date']}, Python {versions['python']}, "
            + ", ".join(f"{name} {versions[name]}" for name in shown),
        ]
    )


def total_time(curves):
    """Say how long all runs took together."""
    parts = ["fit_seconds", "query_seconds", "score_seconds"]
    seconds = curves.frame[parts].sum().sum()
    n_runs = curves.frame.groupby(["strategy", "split", "seed"]).ngroups
    return f"All {n_runs} runs together took {seconds / 60:.0f} minutes."


CIFAR_FOUR = (
    "random_sampling",
    "uncertainty_sampling",
    "diversity_sampling",
    "core_set_selection",
)
#: name of a block -> (method of Renderer, arguments)
BLOCKS = {
    "digits_labels": (Renderer.labels_table, "digits_small_cnn", CIFAR_FOUR),
    "cifar10_labels": (Renderer.labels_table, "cifar10_small_cnn", CIFAR_FOUR),
    "cifar10_seconds": (Renderer.seconds_table, "cifar10_small_cnn", CIFAR_FOUR),
    "digits_all_strategies": (Renderer.every_strategy, "digits_all_strategies"),
    "cifar10_all_strategies": (Renderer.every_strategy, "cifar10_all_strategies"),
    "frozen_features": (Renderer.experiment, "frozen_features"),
    "cifar10_small_cnn": (Renderer.experiment, "cifar10_small_cnn"),
    "frozen_features_unit": (Renderer.unit_length,),
    "frozen_features_picks": (Renderer.picks,),
    "published_lueth": (Renderer.lueth,),
    "beside_published": (Renderer.beside_published,),
    "loop": (Renderer.loop,),
    "budget_curve": (Renderer.budget_curve,),
    **COMPARISONS,
    **PERFORMANCE,
}


def render(text, renderer):
    """Return a page with its generated blocks written anew."""

    def replaced(found):
        return f"{found['open']}\n{renderer.block(found['name'])}\n\n{found['close']}"

    n_opened = text.count("<!-- generated:")
    if n_opened != len(BLOCK.findall(text)):
        raise ValueError(
            f"{n_opened} blocks begin with '<!-- generated: NAME -->' and "
            f"{len(BLOCK.findall(text))} of them end with '<!-- end -->'."
        )
    return BLOCK.sub(replaced, text)


def render_pages(docs, results, *, draw):
    """Return {page: (text as it is, text as it should be)} and the stale figures."""
    renderer = Renderer(results, docs / "images", draw, [])
    pages = {}
    for page in sorted(docs.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if "<!-- generated:" in text:
            pages[page] = (text, render(text, renderer))
    return pages, renderer.stale


def main(words=None):
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    arguments = parser.parse_args(words)
    pages, stale = render_pages(
        arguments.docs, arguments.results, draw=not arguments.check
    )
    changed = [page for page, (old, new) in pages.items() if old != new]
    if not arguments.check:
        for page in changed:
            write_text(page, pages[page][1])
    for path in [*changed, *stale]:
        print(f"{'out of date' if arguments.check else 'written'}: {path}")
    if arguments.check and (changed or stale):
        sys.exit("Run python benchmarks/render_results.py")


if __name__ == "__main__":
    main()
