"""Tables and figures of docs/performance.md, from the files of the benchmarks."""

import numpy as np
import pandas as pd
from _work import PARTS

__all__ = [
    "convolution_words",
    "draw_round",
    "file_settings",
    "header_list",
    "job_table",
    "job_words",
    "large_pool_table",
    "left_out",
    "machine_table",
    "parts_table",
    "refit_table",
    "round_table",
    "selection_table",
    "whole_rounds",
]

#: Colours of the parts in the figure, that colour-blind readers can tell apart.
COLORS = ("#0072B2", "#CC79A7", "#56B4E9", "#E69F00", "#999999")
#: Rates in the order of the table -> words, and whether it is a rate or a size.
MACHINE = {
    "matrix_float32": "matrix product, float32",
    "matrix_bfloat16": "matrix product, bfloat16",
    "convolutions_inference": "the net's convolutions, forward, inference batches",
    "convolutions_training": "the net's convolutions, forward, training batches",
    "memory_read": "reading memory",
    "memory_copy": "copying memory (read and written)",
    "decode": "decoding the run's JPEGs from memory",
    "net_forward": "the net, forward",
    "net_training": "the net, forward and backward",
}
PART_WORDS = {
    "decode": "decode every image (first round only)",
    "read": "read every image from the cache",
    "fit": "fit",
    "scoring": "score the test images",
    "pool pass: proba": "pool pass, probabilities",
    "pool pass: embeddings": "pool pass, embeddings",
    "pool pass: proba and embeddings": "pool pass, probabilities and embeddings",
    "pool pass: samples, K = 20": "pool pass, 20 dropout samples",
}


def header_list(path):
    """Return the comments at the head of a CSV file as a list of the page."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            name, _, words = line[1:].strip().partition(": ")
            lines.append(f"- {name}: `{words}`" if words else f"- `{name}`")
    return "\n".join(lines)


def file_settings(path):
    """Return the settings in the head of a CSV file as {name: word}."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("# settings: "):
                words = line.removeprefix("# settings: ").strip()
                return dict(word.split("=", 1) for word in words.split(", "))
    raise ValueError(f"{path} has no line '# settings: ...' in its head.")


def seconds_word(seconds):
    """Return seconds with as many digits as are worth reading."""
    if seconds == 0:
        return "0"
    if seconds < 0.001:
        return np.format_float_positional(seconds, 1, fractional=False, trim="-")
    digits = max(0, 2 - int(np.floor(np.log10(seconds)))) if seconds < 100 else 0
    return f"{seconds:.{min(digits, 3)}f}"


def medians(rows):
    """Return seconds of each strategy (rows) and part (columns), medians of repeats."""
    rows = rows[(rows["repeat"] > 0) & rows["part"].isin(PARTS)]
    rows = rows[rows["strategy"].notna()]
    found = rows.pivot_table("seconds", "strategy", "part", aggfunc="median")
    found = found.reindex(columns=list(PARTS))
    return found.loc[found.sum(axis=1).sort_values().index]


def round_table(rows):
    """Seconds of a round in its parts, the cheapest strategy first."""
    found = medians(rows)
    notes = rows[rows["part"] == "pool pass"].groupby("strategy")["note"].first()
    shown = found.map(seconds_word)
    shown.insert(0, "whole", found.sum(axis=1).map(seconds_word))
    shown["looks at"] = [_short_needs(notes.get(name, "")) for name in found.index]
    return shown.rename_axis("strategy, seconds")


def _short_needs(note):
    """Shorten what a strategy looks at, so that the table fits the page."""
    if pd.isna(note) or not note:
        return "-"
    note = note.replace("samples, K = ", "s ").replace("proba and embeddings", "p e")
    kinds = note.replace("proba", "p").replace("embeddings", "e").split(", ")
    return " + ".join(kinds)


def whole_rounds(rows):
    """Say how the parts add up to rounds that nobody watched."""
    found = rows[(rows["part"] == "whole round") & (rows["repeat"] > 0)]
    sentences = []
    for _, row in found.iterrows():
        same = (rows["repeat"] == row["repeat"]) & (rows["strategy"] == row["strategy"])
        parts = rows[same & rows["part"].isin(PARTS)]["seconds"].sum()
        share = 100 * (1 - parts / row["seconds"])
        sentences.append(
            f"{row['strategy']} {seconds_word(row['seconds'])} s, parts "
            f"{seconds_word(parts)} s ({share:+.1f} % unexplained)".replace("-", "−")
        )
    return (
        "Whole rounds that shared nothing and that nobody watched: "
        + "; ".join(sentences)
        + "."
    )


def left_out(rows):
    """List the strategies that would have taken too long, and why."""
    found = rows[rows["part"] == "left out"]
    if not len(found):
        return "No strategy was left out."
    lines = [f"- {row.strategy}: {row.note}." for row in found.itertuples()]
    why = (
        "Left out, as they would have taken too long if their time had gone on growing "
        "as it did from a smaller pool to this one (of a moment, that says little):"
    )
    return "\n".join([why, "", *lines])


def rate_medians(rates):
    """Return {name: median over the repeats}."""
    return rates.groupby("name")["value"].median()


def machine_table(rates):
    """What the machine reached in the run, and what an image costs."""
    values = rate_medians(rates)
    notes = rates.groupby("name")["note"].first().fillna("")
    units = {
        "FLOP/s": (1e9, "GFLOP/s"),
        "byte/s": (1e9, "GB/s"),
        "image/s": (1, "images/s"),
        "FLOP/image": (1e6, "MFLOP an image"),
    }
    unit_of = rates.groupby("name")["unit"].first()
    table = {}
    for name, words in MACHINE.items():
        factor, unit = units[unit_of[name]]
        table[words] = {
            "measured": f"{values[name] / factor:,.1f}".removesuffix(".0"),
            "unit": unit,
            "note": notes[name],
        }
    return pd.DataFrame(table).T.rename_axis("what")


def convolution_words(rates):
    """Say how near the net's convolutions come to the rate of matrix products."""
    values = rate_medians(rates)
    single = [name for name in values.index if name.startswith("convolution_inference")]
    shares = [values[name] / values["matrix_float32"] for name in single]
    both = [
        values[f"convolutions_{what}"] / values["matrix_float32"]
        for what in ("inference", "training")
    ]
    return (
        "Forward, at the shapes that they have in the net, the convolutions together "
        f"reach {both[0]:.2f} (inference) and {both[1]:.2f} (training) of the float32 "
        f"matrix rate, the single layers {min(shares):.2f} to {max(shares):.2f}."
    )


def floor_seconds(flops, n_bytes, images, rate, values):
    """Return the least seconds of some work at the rates, NaN if it has none."""
    if pd.isna(rate):
        return np.nan
    if rate == "decode":
        return images / values["decode"]
    seconds = 0.0
    if not pd.isna(n_bytes):
        by = rate if rate.startswith("memory") else "memory_read"
        seconds = n_bytes / values[by]
    if not pd.isna(flops):
        seconds = max(seconds, flops / values[rate])
    return seconds


def parts_table(rows, rates):
    """Seconds and images a second of the parts that strategies share, and the floor."""
    values = rate_medians(rates)
    shared = rows[(rows["repeat"] > 0) & rows["strategy"].isna()]
    table = {}
    for part, words in PART_WORDS.items():
        found = shared[shared["part"] == part]
        if not len(found):
            continue
        first, seconds = found.iloc[0], found["seconds"].median()
        floor = floor_seconds(
            first["flops"], first["bytes"], first["images"], first["rate"], values
        )
        table[words] = {
            "seconds": seconds_word(seconds),
            "images": f"{first['images']:,.0f}",
            "images per second": f"{first['images'] / seconds:,.0f}",
            "floor (s)": seconds_word(floor),
            "share of the floor": _share(floor, seconds),
        }
    return pd.DataFrame(table).T.rename_axis("part")


def selection_table(rows, rates):
    """Seconds of each selection beside the least that its definition asks for."""
    values = rate_medians(rates)
    found = rows[(rows["repeat"] > 0) & (rows["part"] == "selection")]
    table = {}
    for name, group in found.groupby("strategy"):
        first, seconds = group.iloc[0], group["seconds"].median()
        floor = floor_seconds(
            first["flops"], first["bytes"], np.nan, first["rate"], values
        )
        known = not np.isnan(floor)
        table[name] = {
            "order": seconds,
            "seconds": seconds_word(seconds),
            "floor (s)": seconds_word(floor) if known else "-",
            "share of the floor": _share(floor, seconds) if known else "-",
            "floor": first["note"] if known else "-",
        }
    table = pd.DataFrame(table).T.sort_values("order")
    return table.drop(columns="order").rename_axis("strategy")


def _share(floor, seconds):
    return f"{floor / seconds:.2f}" if floor / seconds >= 0.01 else "< 0.01"


def large_pool_table(rows):
    """Seconds, memory and floor of queries on pools that lie on the disk."""
    shown = pd.DataFrame(
        {
            "candidates × features": [
                f"{n:,} × {d}"
                for n, d in zip(rows["n_pool"], rows["n_features"], strict=True)
            ],
            "picks": rows["picks"].map("{:,}".format),
            "seconds": rows["seconds"].map(seconds_word),
            "floor (s)": rows["floor_seconds"].map(seconds_word),
            "share of the floor": [
                _share(floor, seconds)
                for floor, seconds in zip(
                    rows["floor_seconds"], rows["seconds"], strict=True
                )
            ],
            "peak (MB)": rows["peak_mb"].map("{:,.0f}".format),
            "of it before the pool": rows["start_mb"].map("{:,.0f}".format),
        }
    )
    shown.index = pd.Index(rows["strategy"], name="strategy")
    return shown


def refit_table(comparison, times, baseline):
    """What going on from the present weights costs and saves, the baseline first.

    Parameters
    ----------
    comparison, times : DataFrame
        ``NAME_comparison.csv`` and ``NAME_times.csv``, indexed by the way to refit.
    baseline : str
    """
    table = {}
    for way in [baseline, *(name for name in times.index if name != baseline)]:
        found, seconds = comparison.loc[way], times.loc[way, "fit"]
        difference = "-"
        if way != baseline:
            low, middle, high = (
                f"{100 * found[column]:+.1f}".replace("-", "−")
                for column in ("difference_low", "aubc_difference", "difference_high")
            )
            difference = f"{middle} [{low}, {high}]"
        table[way] = {
            "fits (s a run)": seconds_word(seconds),
            "times as fast": f"{times.loc[baseline, 'fit'] / seconds:.1f}",
            "accuracy, mean of the curve (%)": f"{100 * found['aubc']:.1f}",
            "difference (points)": difference,
            "at the end (%)": f"{100 * found['final_score']:.1f}",
        }
    return pd.DataFrame(table).T.rename_axis("way")


def job_table(rows):
    """Seconds of the main job in its parts, a column a version, and the first's ratio.

    A part that a version does not have counts as 0 s.
    """
    seconds = rows[rows["unit"] == "s"].copy()
    seconds["value"] = pd.to_numeric(seconds["value"])
    versions = list(dict.fromkeys(rows["version"]))
    parts = list(dict.fromkeys(seconds["part"]))
    parts.sort(key="whole process".__eq__)  # last, also where a later one has more
    found = seconds.pivot_table("value", "part", "version", fill_value=0.0)
    found = found.reindex(parts)[versions]
    shown = found.map(seconds_word)
    for version in versions[1:]:
        ratio = found[versions[0]] / found[version].where(found[version] > 0)
        name = "times as fast" if len(versions) == 2 else f"{version}, times as fast"
        shown[name] = ["-" if pd.isna(r) else f"{r:.2f}" for r in ratio]
    return shown.rename_axis("seconds")


def job_words(rows):
    """Say what the versions reached, and whether they picked the same images."""
    reached = rows[rows["part"] == "accuracy at the end"]
    values = zip(reached["version"], pd.to_numeric(reached["value"]), strict=True)
    words = "; ".join(f"{version} {value:.2f} %" for version, value in values)
    picks = rows[rows["part"] == "picks"].set_index("version")["note"]
    first = picks.index[0]
    same = [version for version in picks.index[1:] if picks[version] == picks[first]]
    other = [version for version in picks.index[1:] if version not in same]
    picked = ""
    if same:
        picked += f" {_and(same)} picked the same images in the same order as {first}."
    if other:
        picked += f" {_and(other)} picked other images than {first}."
    return f"Accuracy on the test images at the end: {words}.{picked}"


def _and(versions):
    return " and ".join(f"'{version}'" for version in versions)


def draw_round(rows, settings):
    """Draw the parts of each strategy's round as stacked bars; return the figure."""
    from matplotlib.figure import Figure

    found = medians(rows)[::-1]  # the cheapest on top
    figure = Figure(figsize=(8.5, 1.2 + 0.24 * len(found)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(found))
    for part, color in zip(PARTS, COLORS, strict=True):
        width = found[part].to_numpy()
        axes.barh(found.index, width, left=left, color=color, label=part, height=0.75)
        left += width
    n, m = int(settings["n_pool"]), int(settings["n_labeled"])
    axes.set_title(
        f"One round: {n:,} candidates, {m:,} labelled, {settings['epochs']} epochs, "
        f"{settings['query']} picks, {settings['net']}, {settings['device']}",
        fontsize=10,
    )
    axes.set_xlabel("seconds")
    axes.margins(y=0.01)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(PARTS), fontsize=9)
    return figure
