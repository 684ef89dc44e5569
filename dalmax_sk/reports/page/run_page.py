"""The page of one run: ``report.html`` beside its ``run.json``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalmax_sk._base.files import write_text
from dalmax_sk.reports.page.confusions import class_section, confusion_section
from dalmax_sk.reports.page.data import as_written, gather_run, read_run_record
from dalmax_sk.reports.page.document import contents, document, facts, section, table
from dalmax_sk.reports.page.figures import (
    cost_figure,
    display_figure,
    metrics_figure,
    training_display,
)
from dalmax_sk.reports.page.formats import (
    counted,
    file_size,
    metric_name,
    number,
    score_words,
    seconds,
)
from dalmax_sk.reports.page.markup import Content, Markup, element
from dalmax_sk.reports.page.provenance import (
    data_words,
    sessions_table,
    settings_table,
)
from dalmax_sk.reports.page.sheets import contact_sheet

__all__ = ["status_words", "write_run_page"]

_SECTIONS = (
    ("curve", "Learning curve"),
    ("confusion", "Confusion matrix"),
    ("classes", "Every class"),
    ("cost", "Cost of each round"),
    ("picks", "What was picked"),
    ("training", "Training"),
    ("settings", "Settings and versions"),
)
_PARTS = {
    "fit": "training",
    "query": "picking",
    "eval": "scoring",
    "describe": "describing the picks",
}


def write_run_page(
    directory: str | os.PathLike[str],
    *,
    max_images_per_round: int = 100,
    max_images: int = 1000,
) -> Path:
    """Write ``report.html``: a run of active learning on one page.

    The page is a single file that asks the network for nothing. It shows what the run
    has recorded so far; of a run that is not finished it says so at its top.

    Parameters
    ----------
    directory : path-like
        The run's folder, which holds ``run.json``.
    max_images_per_round : int, default=100
        Picks of a round that are shown as images, the first ones; the rest is counted
        in words. A shown pick brings its nearest labelled neighbour along.
    max_images : int, default=1000
        Picks of all rounds together that are shown as images, which bounds the size of
        the file: a thumbnail of 96 pixels takes some 4 kB.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no ``run.json`` in the folder.
    ValueError
        If ``run.json`` cannot be read, or a maximum is negative.

    See Also
    --------
    write_results_page : All runs of a results folder, and a page that joins them.
    write_comparison_page : The comparison of several strategies.
    """
    for name, value in (
        ("max_images_per_round", max_images_per_round),
        ("max_images", max_images),
    ):
        if value < 0:
            raise ValueError(f"{name} must be at least 0 (images), got {value}.")
    read_run_record(directory)  # says by itself what is wrong with the file
    with as_written(directory):
        page = gather_run(
            directory, max_images_per_round=max_images_per_round, max_images=max_images
        )
        text = render_run(page)
    return write_text(Path(directory) / "report.html", text)


def render_run(page: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    page : dict
        What :func:`~dalmax_sk.reports.page.data.gather_run` gathered.

    Returns
    -------
    str
    """
    run = page["run"]
    titles = dict(_SECTIONS)
    parts: dict[str, Markup | list[Content]] = {
        "curve": _curve(page),
        "confusion": confusion_section(
            run.get("test"), page["class_names"], "confusion", titles["confusion"]
        ),
        "classes": class_section(run.get("test"), "classes", titles["classes"]),
        "cost": _cost(run),
        "picks": _picks(page),
        "training": _training(run),
        "settings": _settings(run),
    }
    head = [_status(run), _facts(page), contents(_SECTIONS)]
    sections = [
        part if isinstance(part, Markup) else section(anchor, titles[anchor], *part)
        for anchor, part in parts.items()
    ]
    return document(f"Active learning with {page['strategy']}", sections, head=head)


def status_words(run: Mapping[str, Any]) -> str:
    """Return in one sentence how a run ended, or that it has not.

    Parameters
    ----------
    run : dict
        Content of ``run.json``.

    Returns
    -------
    str
    """
    done = max(0, len(run["rounds"]) - 1)
    so_far = f"{done} of {run['config']['iterations']} rounds are done"
    if run["status"] == "finished":
        return f"Finished: {run['stop_reason']}."
    if run["status"] == "failed":
        return f"Failed: {so_far}; the page shows what there is."
    if run["status"] == "interrupted":
        return f"Interrupted: {so_far}; --resume goes on from there."
    return (
        f"Not finished: {so_far}. The run was still going when this page was written, "
        "or it was killed; --resume goes on from there."
    )


def _status(run: Mapping[str, Any]) -> Markup:
    kind = "finished" if run["status"] == "finished" else "stopped"
    error = run.get("error")
    return element(
        "div",
        element("p", element("strong", status_words(run))),
        element("pre", _lines(str(error))) if error else None,
        class_=f"status {kind}",
        role="status",
    )


def _lines(text: str) -> Content:
    """Return the lines of `text`, for an element that keeps line breaks."""
    return [[line, element("br")] for line in text.splitlines()]


def _facts(page: Mapping[str, Any]) -> Markup:
    run, metrics = page["run"], page["metrics"]
    entries = []
    for name in list(metrics)[:1]:
        entries.append((f"test {metric_name(name)}", score_words(metrics[name][-1])))
    if page["n_labeled"]:
        entries.append(("labels", number(page["n_labeled"][-1])))
    entries += [
        (
            "rounds",
            f"{max(0, len(run['rounds']) - 1)} of {run['config']['iterations']}",
        ),
        ("training images", number(run["data"]["train"]["n_images"])),
        ("test images", number(run["data"]["test"]["n_images"])),
        ("classes", number(len(page["class_names"]))),
        ("total time", seconds(run["total_seconds"])),
        ("device", str(run["resolved"]["device"] or "–")),
    ]
    return facts(entries)


def _curve(page: Mapping[str, Any]) -> list[Content]:
    metrics, n_labeled = page["metrics"], page["n_labeled"]
    if not n_labeled:
        return [element("p", "No round is done yet.")]
    rows = [
        [
            (entry["round"], str(entry["round"])),
            (entry["n_labeled"], number(entry["n_labeled"])),
            (len(entry["picked"]), number(len(entry["picked"]))),
            *((scores[i], score_words(scores[i])) for scores in metrics.values()),
        ]
        for i, entry in enumerate(page["run"]["rounds"])
    ]
    columns = ["round", "labels", "new", *map(metric_name, metrics)]
    words = element(
        "p",
        "Scores on the test images, which are never trained on. Round 0 is the fit on "
        f"the initial set of {counted(len(page['run']['initial']), 'image')}.",
    )
    figure = metrics_figure(n_labeled, metrics) if metrics else None
    return [words, figure, table(columns, rows, sortable=True)]


def _cost(run: Mapping[str, Any]) -> list[Content]:
    rounds = run["rounds"]
    if not rounds:
        return [element("p", "No round is done yet.")]
    parts = {
        words: [float(entry["seconds"].get(key, 0.0)) for entry in rounds]
        for key, words in _PARTS.items()
        if any(key in entry["seconds"] for entry in rounds)
    }
    rows = []
    for i, entry in enumerate(rounds):
        spent = [values[i] for values in parts.values()]
        peak = entry.get("peak_bytes")
        rows.append(
            [
                (entry["round"], str(entry["round"])),
                (entry["n_labeled"], number(entry["n_labeled"])),
                *((value, seconds(value)) for value in (*spent, sum(spent))),
                (peak, file_size(peak)),
            ]
        )
    total = sum(map(sum, parts.values()))
    words = (
        f"The rounds took {seconds(total)} of the run's "
        f"{seconds(run['total_seconds'])}; the rest went into "
        "reading images and writing files. Peak memory is the largest that the process "
        "has held so far."
    )
    columns = ["round", "labels", *parts, "together", "peak memory"]
    figure = cost_figure([entry["round"] for entry in rounds], parts)
    return [element("p", words), figure, table(columns, rows, sortable=True)]


def _picks(page: Mapping[str, Any]) -> list[Content]:
    sheets = page["sheets"]
    if not sheets:
        return [element("p", "No image has been picked yet.")]
    words = (
        "The images that each round asked labels for, in the strategy's order: true "
        "class, the class that the model of that time predicted, its probability, the "
        "strategy's score, and the labelled image that was nearest among the "
        "embeddings of that model."
    )
    size = (
        f"{counted(page['n_thumbnails'], 'thumbnail')} take "
        f"{file_size(page['thumbnail_bytes'])} of this file."
    )
    drawn: list[Content] = [contact_sheet(sheet) for sheet in sheets]
    return [element("p", words), element("p", size, class_="note"), drawn]


def _training(run: Mapping[str, Any]) -> list[Content]:
    figures: list[Content] = []
    for quantity in ("accuracy", "loss"):
        display = training_display(run["rounds"], quantity)
        if display is not None:
            alt = f"{quantity} on the training images over the epochs of all rounds"
            figures.append(display_figure(display, alt=alt))
    return figures or [element("p", "No epochs were recorded.")]


def _settings(run: Mapping[str, Any]) -> list[Content]:
    return [
        element("p", "The command that began the run:"),
        element("pre", run["command"], class_="command"),
        element("h3", "Images"),
        data_words(run),
        element("h3", "Settings"),
        settings_table({**run["config"], **run["resolved"]}),
        element("h3", "Parts of the run"),
        sessions_table(run),
        element("h3", "Versions"),
        settings_table(run["versions"]),
        element("h3", "Hardware"),
        settings_table(run["hardware"]),
    ]
