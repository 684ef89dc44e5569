"""The page of a results folder: all its runs, with links to their own pages."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dalmax_sk._base.files import write_text
from dalmax_sk._base.json_files import MALFORMED, read_json
from dalmax_sk._base.words import counted
from dalmax_sk.reports.page.document import Cell, document, section, table
from dalmax_sk.reports.page.markup import Content, element
from dalmax_sk.reports.page.number_format import metric_name, number, score_words
from dalmax_sk.reports.page.number_format import seconds as time_words
from dalmax_sk.reports.page.read_run import as_written, read_run_record
from dalmax_sk.reports.page.run_page import status_words, write_run_page
from dalmax_sk.reports.page.svg_figures import curves_figure

__all__ = ["write_results_page"]

logger = logging.getLogger("dalmax_sk")

# folders of a run; no other run lies below
_NOT_SEARCHED = frozenset({"selected_images", "checkpoint"})


@dataclass(frozen=True)
class _Run:
    """A run whose page has been written."""

    name: str
    link: str
    record: Mapping[str, Any]

    @property
    def images(self) -> tuple[str, str]:
        """Hashes of its training and test images: runs on the same are alike."""
        data = self.record["data"]
        return data["train"]["sha256"], data["test"]["sha256"]


def write_results_page(
    results_dir: str | os.PathLike[str],
    *,
    max_images_per_round: int = 100,
    max_images: int = 1000,
) -> Path:
    """Write the page of every run in a results folder, and one that joins them.

    Parameters
    ----------
    results_dir : path-like
        A folder below which ``dalmax train-al`` wrote runs, at any depth; or the folder
        of one run.
    max_images_per_round, max_images : int
        See :func:`write_run_page`.

    Returns
    -------
    pathlib.Path
        ``RESULTS_DIR/report.html``: links to the ``report.html`` of each run and the
        curves of all runs on the same images, and a table of the results of ``dalmax
        train``, ``test`` and ``compare``. For the folder of one run, its page.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no run in it.
    ValueError
        If none of the runs can be read; all of them are named. Where only some cannot,
        the page says which and why.
    """
    root = Path(results_dir)
    limits = {"max_images_per_round": max_images_per_round, "max_images": max_images}
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is no folder. Give the results folder of `dalmax train-al` (its "
            "--dir-results)."
        )
    if (root / "run.json").is_file():
        return write_run_page(root, **limits)
    folders = sorted(_run_folders(root))
    others, unread = _other_results(root)
    if not (folders or others):
        raise FileNotFoundError(
            f"{root} holds no run: expected {root}/active_learning/TYPE/run.json as "
            "`dalmax train-al` writes it, or such folders further below."
        )
    runs: list[_Run] = []
    broken: list[tuple[str, str]] = unread
    for folder in folders:
        place = folder.relative_to(root)
        try:
            record = read_run_record(folder)
            page = write_run_page(folder, **limits)
            link = quote(os.fsencode(page.relative_to(root).as_posix()))
            run = _Run(_name(place), f"./{link}", record)
            with as_written(folder):
                # errors of the joint page are found here as well
                _ = _row(run), hash(run.images)
        except (ValueError, FileNotFoundError) as error:
            broken.append((place.as_posix(), str(error)))
            continue
        runs.append(run)
    if not (runs or others):
        reasons = "; ".join(reason for _, reason in broken)
        raise ValueError(f"No run in {root} can be read: {reasons}")
    for place_name, reason in broken:
        logger.warning("no page for %s: %s", place_name, reason)
    return write_text(root / "report.html", _render(root, runs, others, broken))


def _run_folders(root: Path) -> Iterator[Path]:
    """Yield the folders that hold a run's record, wherever they lie."""
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name not in _NOT_SEARCHED)
        path = Path(folder)
        if "run.json" in files and path.parent.name == "active_learning":
            yield path


def _other_results(root: Path) -> tuple[list[list[Cell]], list[tuple[str, str]]]:
    """Return a row for each result of train, test and compare; those without one."""
    rows: list[list[Cell]] = []
    broken: list[tuple[str, str]] = []
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name not in _NOT_SEARCHED)
        path = Path(folder)
        is_run = path.parent.name == "active_learning"
        for name in {"test.json"} if is_run else {"run.json", "test.json"}:
            if name not in files or (path == root and name == "run.json"):
                continue
            place = path.relative_to(root).as_posix()
            try:
                record = read_json(path / name)
                rows.append(_other_row(path, place, record))
            except MALFORMED as error:
                broken.append((f"{place}/{name}", f"{type(error).__name__}: {error}"))
    return rows, broken


def _other_row(path: Path, place: str, record: Mapping[str, Any]) -> list[Cell]:
    shown = os.fsencode(place).decode("utf-8", "replace")
    name: Content = element("bdi", shown)
    if (path / "report.html").is_file():
        link = quote(os.fsencode(f"{place}/report.html"))
        name = element("a", name, href=f"./{link}")
    labels = record.get("n_labels")
    score = float(record["test"]["accuracy"]) if "test" in record else None
    return [
        name,
        str(record["kind"]),
        (labels, number(labels)),
        (score, score_words(score)),
        (record["total_seconds"], time_words(record["total_seconds"])),
    ]


def _name(place: Path) -> str:
    """Return the name of a run: its strategy, after the folder if there is one."""
    above = place.parent.parent.as_posix()
    name = place.name if above == "." else f"{above}/{place.name}"
    # bytes that are no UTF-8 can stand in no figure and on no page
    return os.fsencode(name).decode("utf-8", "replace")


def _render(
    root: Path,
    runs: Sequence[_Run],
    others: Sequence[Sequence[Cell]],
    broken: Sequence[tuple[str, str]],
) -> str:
    groups: dict[tuple[str, str], list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.images, []).append(run)
    sections = []
    if runs:
        sections.append(section("runs", counted(len(runs), "run"), _runs_table(runs)))
    if others:
        columns = ["results", "of", "labels", "test accuracy", "time"]
        found = table(columns, others, sortable=True)
        sections.append(section("others", "Trainings, tests, comparisons", found))
    if broken:
        words = "These cannot be read:"
        rows: list[list[Cell]] = [
            [element("code", place), reason] for place, reason in broken
        ]
        sections.append(
            section(
                "broken",
                "Without a page",
                element("p", words),
                table(["run", "why"], rows),
            )
        )
    for number_, group in enumerate(groups.values(), 1):
        title = "Curves" if len(groups) == 1 else f"Curves, images {number_}"
        sections.append(section(f"curves-{number_}", title, *_curves(group)))
    return document(f"Runs in {root.resolve().name}", sections)


def _runs_table(runs: Sequence[_Run]) -> Content:
    metric = next((name for run in runs for name in _metrics(run)), "score")
    columns = ["run", "labels", metric_name(metric), "time", "seed", "status"]
    return table(columns, [_row(run) for run in runs], sortable=True)


def _row(run: _Run) -> list[Cell]:
    record = run.record
    last = record["rounds"][-1] if record["rounds"] else None
    scores = last["metrics"] if last else {}
    score = next(iter(scores.values()), None)
    labels = last["n_labeled"] if last else None
    return [
        element("a", element("bdi", run.name), href=run.link),
        (labels, number(labels)),
        (score, score_words(score)),
        (record["total_seconds"], time_words(record["total_seconds"])),
        (record["seed"], str(record["seed"])),
        status_words(record),
    ]


def _metrics(run: _Run) -> list[str]:
    rounds = run.record["rounds"]
    return list(rounds[0]["metrics"]) if rounds else []


def _curves(runs: Sequence[_Run]) -> list[Content]:
    """Return the curves of runs on the same images on one pair of axes."""
    data = runs[0].record["data"]
    words = element(
        "p",
        f"{number(data['train']['n_images'])} training images in ",
        element("code", data["train"]["directory"]),
        f", {number(data['test']['n_images'])} test images in ",
        element("code", data["test"]["directory"]),
        ".",
    )
    metric = next((name for run in runs for name in _metrics(run)), None)
    if metric is None:
        return [words, element("p", "No round is done yet.")]
    curves = {
        run.name: (
            [entry["n_labeled"] for entry in run.record["rounds"]],
            [entry["metrics"].get(metric) for entry in run.record["rounds"]],
        )
        for run in runs
        if run.record["rounds"]
    }
    note = None
    if len(curves) > 1:
        note = element(
            "p",
            "One run each: a difference between two single runs may be chance. ",
            element("code", "dalmax compare"),
            " repeats them with several seeds and tests the difference.",
            class_="note",
        )
    title = metric_name(metric)
    alt = f"Test {title} against the number of labels of {counted(len(curves), 'run')}"
    return [words, curves_figure(curves, score_name=title, alt=alt), note]
