"""The generated blocks of docs/benchmarks_training.md.

A block is a function of the renderer (``results`` and ``missing``, see
``render_results.py``).
"""

import functools

import pandas as pd
from _markdown import table as markdown

__all__ = ["COMPARISONS"]

LOOP, BEFOREHAND = "tuned loop", "tuned loop, normalised beforehand"
OURS, OURS_FLOAT = "CNNClassifier, uint8", "CNNClassifier, float32"
COMPILED, OURS_COMPILED = "tuned loop, compiled", "CNNClassifier, compiled"
SETTING = ["net", "precision", "threads", "batch_size"]
HEADS = {"batch_size": "batches of"}


def of_file(name):
    """Make a block of a function of a table; without the file it says so."""

    def decorate(make):
        @functools.wraps(make)
        def block(renderer):
            path = renderer.results / name
            if not path.exists():
                return renderer.missing(name)
            return make(pd.read_csv(path, comment="#", keep_default_na=False), path)

        return block

    return decorate


def header(path):
    """Command, date, machine, versions and settings of a file, as a list."""
    with open(path, encoding="utf-8") as file:
        lines = [line[2:].strip() for line in file if line.startswith("# ")]
    shown = [
        f"- command: `{line.removeprefix('command: ')}`"
        if line.startswith("command: ")
        else f"- {line}"
        for line in lines
    ]
    return "\n".join(shown)


def task(rows, name):
    """Return the rows of a task, or None with what to show instead."""
    found = rows[rows["task"] == name]
    return found if len(found) else None


NOT_MEASURED = "*Not measured in this run.*"


def by_setting(rows):
    """Yield (setting, {contestant: row}) in the order of the file."""
    for setting, group in rows.groupby(SETTING, sort=False):
        yield (
            dict(zip(SETTING, setting, strict=True)),
            {row["contestant"]: row for _, row in group.iterrows()},
        )


def as_table(rows, first):
    """Return dicts as Markdown with one of their keys as the first column."""
    frame = pd.DataFrame(rows).fillna("–").rename(columns=HEADS)
    return markdown(frame.set_index(HEADS.get(first, first)))


def quotient(ours, theirs):
    """Return ours over theirs, of two rows with ratios to one first contestant."""
    return f"{float(ours['ratio_to_first']) / float(theirs['ratio_to_first']):.2f}"


def speed(row):
    return f"{float(row['images_per_second']):,.0f}"


@of_file("training.csv")
def training_setup(rows, path):
    """Where the numbers come from."""
    return header(path)


@of_file("training.csv")
def training_loop(rows, path):
    """Fits beside the tuned loop."""
    rows = task(rows, "training")
    if rows is None:
        return NOT_MEASURED
    shown = []
    for setting, found in by_setting(rows):
        shown.append(
            setting
            | {
                "tuned loop, images/s": speed(found[LOOP]),
                "CNNClassifier, images/s": speed(found[OURS]),
                "ratio": quotient(found[OURS], found[LOOP]),
                "ratio, float32 inputs": quotient(found[OURS_FLOAT], found[BEFOREHAND]),
            }
        )
        if OURS_COMPILED in found:
            ratio = quotient(found[OURS_COMPILED], found[COMPILED])
            shown[-1]["ratio, compiled"] = ratio
    return as_table(shown, "net")


@of_file("training.csv")
def training_pool(rows, path):
    """Pool passes beside the tuned loop's."""
    rows = task(rows, "pool")
    if rows is None:
        return NOT_MEASURED
    shown = []
    for setting, found in by_setting(rows):
        (loop,) = (name for name in found if name != OURS)
        del setting["batch_size"]
        shown.append(
            setting
            | {
                "loop's best batches": loop.removeprefix(f"{LOOP}, batches of "),
                "tuned loop, images/s": speed(found[loop]),
                "CNNClassifier, images/s": speed(found[OURS]),
                "ratio": quotient(found[OURS], found[loop]),
            }
        )
    return as_table(shown, "net")


def contestants(rows, name, column, value):
    """Return a table of contestants: images a second, and one more column."""
    rows = task(rows, name)
    if rows is None:
        return NOT_MEASURED
    shown = [
        {
            "contestant": row["contestant"],
            "precision": row["precision"],
            "threads": row["threads"],
            "images/s": speed(row),
            column: f"{value(float(row['ratio_to_first'])):.2f}",
        }
        for _, row in rows.iterrows()
    ]
    return as_table(shown, "contestant")


@of_file("training.csv")
def training_parts(rows, path):
    """The tuned loop with one thing changed."""
    return contestants(rows, "parts", "speed of the tuned loop", lambda ratio: ratio)


@of_file("training.csv")
def training_files(rows, path):
    """Epochs on image files beside plain skorch."""
    return contestants(rows, "files", "times as fast", lambda ratio: ratio)


@of_file("training.csv")
def training_samples(rows, path):
    """Dropout samples and BALD in pool passes."""
    return contestants(rows, "samples", "pool passes", lambda ratio: 1 / ratio)


def pair(row, ours, theirs, form=".2f"):
    """Return two numbers with a slash between, or a dash where there are none."""
    if pd.isna(row[ours]):
        return "–"
    return f"{row[ours]:{form}} / {row[theirs]:{form}}"


@of_file("peer_round.csv")
def peer_round(rows, path):
    """Whole rounds, ours and scikit-activeml's."""
    stopped = rows["note"].str.contains("theirs stopped")
    wrong = rows["note"].str.contains("distinct rows|labelled rows")
    numbers = [c for c in rows if c not in ("strategy", "peer", "note", "repeat")]
    values = rows[numbers].apply(pd.to_numeric)
    values = values.assign(strategy=rows["strategy"], peer=rows["peer"])
    values = values.assign(stopped=stopped, wrong=wrong)
    groups = values.groupby(["strategy", "peer", "n_pool"], sort=False)
    medians = groups.median().reset_index()
    shown = []
    for _, row in medians.iterrows():
        bound = "> " if row["stopped"] else ""
        peer = row["peer"] + (" (picks wrong, see the file)" if row["wrong"] else "")
        picks = f"{row['picks']:.0f} of {row['n_pool']:,}"
        if pd.isna(row["picks"]):  # no strategy: reading the images
            picks = f"{row['n_pool']:,} images"
        shown.append(
            {
                "strategy": row["strategy"],
                "theirs": peer,
                "picks of pool": picks,
                "fit, s": pair(row, "fit", "peer_fit"),
                "query, s": pair(row, "query", "peer_query"),
                "whole, s": pair(row, "total", "peer_total"),
                "times as fast": f"{bound}{row['ratio']:.1f}",
                "accuracy, %": "–"
                if pd.isna(row["accuracy"])
                else f"{100 * row['accuracy']:.1f} / {100 * row['peer_accuracy']:.1f}",
            }
        )
    return f"{header(path)}\n\n{as_table(shown, 'strategy')}"


@of_file("precision_summary.csv")
def precision(rows, path):
    """Accuracy and picks in bfloat16 beside float32."""
    shown = []
    for _, row in rows.iterrows():
        low, high = (f"{100 * float(row[end]):+.2f}" for end in ("low", "high"))
        entry = {
            "net": row["net"],
            "labels": row["n_labeled"],
            "seeds": row["n_seeds"],
            "what": row["what"],
            "float32, %": f"{100 * float(row['accuracy']):.2f}",
            "difference, points": f"{100 * float(row['difference']):+.2f} "
            f"[{low}, {high}]",
        }
        for column, head in (
            ("overlap_one_net", "same picks, one net"),
            ("overlap_two_nets", "same picks, two nets"),
            ("overlap_other_seed", "same picks, other seed"),
        ):
            if row[column] != "":
                entry[head] = f"{100 * float(row[column]):.0f} %"
        if row["speed_up"] != "":
            entry["fit, times as fast"] = f"{float(row['speed_up']):.2f}"
        shown.append(entry)
    setup = header(path.with_name("precision.csv"))
    return f"{setup}\n\n{as_table(shown, 'net')}"


#: name of a block -> (function of the renderer,)
COMPARISONS = {
    "training_setup": (training_setup,),
    "training_loop": (training_loop,),
    "training_pool": (training_pool,),
    "training_parts": (training_parts,),
    "training_files": (training_files,),
    "training_samples": (training_samples,),
    "peer_round": (peer_round,),
    "precision": (precision,),
}
