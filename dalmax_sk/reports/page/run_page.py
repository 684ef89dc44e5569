"""The page of one run: ``report.html`` next to its ``run.json``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalmax_sk._base.files import write_text
from dalmax_sk._base.words import counted
from dalmax_sk.reports.page.confusions import class_content, confusion_content
from dalmax_sk.reports.page.contact_sheets import contact_sheet, share_of_images
from dalmax_sk.reports.page.document import (
    Cell,
    contents,
    document,
    facts,
    section,
    table,
)
from dalmax_sk.reports.page.markup import Content, Markup, element
from dalmax_sk.reports.page.number_format import (
    file_size,
    metric_name,
    number,
    score_words,
    seconds,
)
from dalmax_sk.reports.page.provenance import (
    data_words,
    sessions_table,
    settings_table,
)
from dalmax_sk.reports.page.read_run import as_written, read_run_record
from dalmax_sk.reports.page.svg_figures import (
    cost_figure,
    curves_figure,
    display_figure,
    training_display,
)
from dalmax_sk.reports.page.thumbnails import RunImages

__all__ = ["status_words", "write_run_page"]

_PARTS = {
    "fit": "training",
    "query": "picking",
    "eval": "scoring",
    "describe": "describing the picks",
}
_NOT_YET = element(
    "p", "Not recorded: it is counted at the end of a run, after the last round."
)


def write_run_page(
    directory: str | os.PathLike[str],
    *,
    max_images_per_round: int = 100,
    max_images: int = 1000,
) -> Path:
    """Write ``report.html``: a run of active learning on one page.

    The page is a single file that loads nothing from the network. It shows all rounds
    recorded so far, and says at its top if the run is not finished.

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
    run = read_run_record(directory)
    with as_written(directory):
        images = RunImages(Path(directory), run)
        n_picked = [len(entry["picked"]) for entry in run["rounds"]]
        most = share_of_images(n_picked, max_images_per_round, max_images)
        text = _render(run, images, most)
    return write_text(Path(directory) / "report.html", text)


def _render(run: Mapping[str, Any], images: RunImages, most: int) -> str:
    """Return the page as HTML, with at most `most` picks of each round as images."""
    metrics = _metrics(run)
    names = sorted(run["classes"], key=run["classes"].__getitem__)
    test = run.get("test")
    parts: list[tuple[str, str, list[Content]]] = [
        ("curve", "Learning curve", _curve(run, metrics)),
        (
            "confusion",
            "Confusion matrix",
            [_NOT_YET] if test is None else confusion_content(test, names),
        ),
        ("classes", "Every class", [_NOT_YET] if test is None else class_content(test)),
        ("cost", "Cost of each round", _cost(run)),
        ("picks", "What was picked", _picks(run, images, most)),
        ("training", "Training", _training(run)),
        ("settings", "Settings and versions", _settings(run)),
    ]
    head = [
        _status(run),
        _notes(run),
        _facts(run, metrics),
        contents([(anchor, title) for anchor, title, _ in parts]),
    ]
    sections = [section(anchor, title, *content) for anchor, title, content in parts]
    return document(
        f"Active learning with {run['config']['type']}", sections, head=head
    )


def _metrics(run: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return each metric's scores, one a round; None where the round lacks it."""
    scores = [entry["metrics"] for entry in run["rounds"]]
    names = dict.fromkeys(name for of_round in scores for name in of_round)
    return {name: [of_round.get(name) for of_round in scores] for name in names}


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


def _notes(run: Mapping[str, Any]) -> Markup | None:
    notes = run["data"].get("notes", [])
    if not notes:
        return None
    return element("ul", *(element("li", f"{note}.") for note in notes), class_="note")


def _lines(text: str) -> Content:
    """Return the lines of `text`, for an element that keeps line breaks."""
    return [[line, element("br")] for line in text.splitlines()]


def _facts(
    run: Mapping[str, Any], metrics: Mapping[str, Sequence[float | None]]
) -> Markup:
    entries = [
        (f"test {metric_name(name)}", score_words(metrics[name][-1]))
        for name in list(metrics)[:1]
    ]
    rounds, data = run["rounds"], run["data"]
    if rounds:
        entries.append(("labels", number(rounds[-1]["n_labeled"])))
    entries += [
        ("rounds", f"{max(0, len(rounds) - 1)} of {run['config']['iterations']}"),
        ("training images", number(data["train"]["n_images"])),
        ("test images", number(data["test"]["n_images"])),
        ("total time", seconds(run["total_seconds"])),
    ]
    return facts(entries)


def _curve(
    run: Mapping[str, Any], metrics: Mapping[str, Sequence[float | None]]
) -> list[Content]:
    rounds = run["rounds"]
    if not rounds:
        return [element("p", "No round is done yet.")]
    rows: list[list[Cell]] = [
        [
            (entry["round"], str(entry["round"])),
            (entry["n_labeled"], number(entry["n_labeled"])),
            (len(entry["picked"]), number(len(entry["picked"]))),
            *((scores[i], score_words(scores[i])) for scores in metrics.values()),
        ]
        for i, entry in enumerate(rounds)
    ]
    names = [metric_name(name) for name in metrics]
    words = element(
        "p",
        "Scores on the test images, which are never trained on. Round 0 is the fit on "
        f"the initial set of {counted(len(run['initial']), 'image')}.",
    )
    figure = None
    if metrics:
        n_labeled = [entry["n_labeled"] for entry in rounds]
        figure = curves_figure(
            {
                name: (n_labeled, scores)
                for name, scores in zip(names, metrics.values(), strict=True)
            },
            score_name="score",
            alt=f"Learning curve: {', '.join(names)} on the test images against the "
            "number of labels",
        )
    columns = ["round", "labels", "new", *names]
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


def _picks(run: Mapping[str, Any], images: RunImages, most: int) -> list[Content]:
    sheets: list[Content] = [
        contact_sheet(entry, images, most) for entry in run["rounds"] if entry["picked"]
    ]
    if not sheets:
        return [element("p", "No image has been picked yet.")]
    words = (
        "The images that each round asked labels for, in the strategy's order: true "
        "class, the class that the model of that time predicted, its probability, the "
        "strategy's score, and the labelled image that was nearest among the "
        "embeddings of that model."
    )
    size = (
        f"{counted(images.n_loaded, 'thumbnail')} take {file_size(images.n_bytes)} of "
        "this file."
    )
    return [element("p", words), element("p", size, class_="note"), sheets]


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
