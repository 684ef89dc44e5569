"""The generated blocks of docs/performance.md.

A block is a function of the renderer (``results``, ``images`` and ``figure``, see
``render_results.py``). A block whose file is missing is an error: a page of speeds that
silently lacks one would not be noticed.
"""

import functools
import hashlib
import json

import pandas as pd
from _markdown import table as markdown
from _performance_tables import (
    convolution_words,
    draw_round,
    file_settings,
    header_list,
    job_table,
    job_words,
    large_pool_table,
    left_out,
    machine_table,
    parts_table,
    refit_table,
    round_table,
    selection_table,
    whole_rounds,
)

__all__ = ["PERFORMANCE"]

#: Candidates of the real job; with fewer the page says so.
FULL_POOL = 45_000


def path_of(renderer, name):
    """Return the path of a file of results.

    Raises
    ------
    FileNotFoundError
        If the benchmark has not been run.
    """
    path = renderer.results / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing, and a block of docs/performance.md is made from it. "
            "Run the benchmark that writes it, or take the block out of the page and "
            "out of PERFORMANCE."
        )
    return path


def read(renderer, name):
    """Return a CSV file of results as a table."""
    return pd.read_csv(path_of(renderer, name), comment="#")


def setup(renderer, name):
    """Command, machine, versions and settings of a file."""
    return header_list(path_of(renderer, name))


def round_setup(renderer, name):
    """Where the profile of a round comes from, and whether its parts add up."""
    path = path_of(renderer, f"{name}.csv")
    parts = [header_list(path), whole_rounds(read(renderer, f"{name}.csv"))]
    if int(file_settings(path)["n_pool"]) < FULL_POOL:
        parts.insert(0, "*This is a run at small size.*")
    return "\n\n".join(parts)


def round_seconds(renderer, name):
    """The figure, the table of all strategies, and those left out."""
    path = path_of(renderer, f"{name}.csv")
    rows = read(renderer, f"{name}.csv")
    draw = functools.partial(draw_round, rows, file_settings(path))
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    renderer.figure(f"performance_{name}.png", source, draw)
    return "\n\n".join(
        [
            f"![Seconds of the parts of a round](images/performance_{name}.png)",
            markdown(round_table(rows)),
            left_out(rows),
        ]
    )


def machine(renderer, name):
    """The rates of the machine in the same run."""
    rates = read(renderer, f"{name}_floors.csv")
    return f"{markdown(machine_table(rates))}\n\n{convolution_words(rates)}"


def parts(renderer, name):
    """The parts that strategies share, beside their floors."""
    rows, rates = (read(renderer, f"{name}{end}.csv") for end in ("", "_floors"))
    return markdown(parts_table(rows, rates))


def selection(renderer, name):
    """The selections beside their floors."""
    rows, rates = (read(renderer, f"{name}{end}.csv") for end in ("", "_floors"))
    return markdown(selection_table(rows, rates))


def large_pool(renderer):
    """Queries on pools that lie on the disk."""
    table = large_pool_table(read(renderer, "large_pool.csv"))
    return f"{setup(renderer, 'large_pool.csv')}\n\n{markdown(table)}"


def start(renderer):
    """Seconds to the first lines of the commands."""
    rows = read(renderer, "start.csv")
    rows = rows.rename(columns=lambda name: name.replace("_seconds", " (s)"))
    rows = rows.rename(columns=lambda name: name.replace("_", " "))
    return f"{setup(renderer, 'start.csv')}\n\n{markdown(rows.set_index('command'))}"


def refit(renderer, name):
    """Ways to refit beside each other, and where the figures come from."""
    sidecar = json.loads(path_of(renderer, f"{name}.json").read_text(encoding="utf-8"))
    hardware = sidecar["hardware"]
    lines = [
        f"- command: `{sidecar['command']}`",
        f"- {hardware['cpu']}, {hardware['usable_cores']} cores, "
        f"{hardware['torch_threads']} threads; {len(sidecar['seeds'])} seeds; "
        f"{sidecar['date']}",
    ]
    comparison, times = (
        read(renderer, f"{name}_{end}.csv").set_index("strategy")
        for end in ("comparison", "times")
    )
    table = refit_table(comparison, times, sidecar["baseline"])
    return "\n".join(lines) + f"\n\n{markdown(table)}"


def main_job(renderer):
    """The main job before and after."""
    rows = read(renderer, "main_job.csv")
    return "\n\n".join(
        [
            setup(renderer, "main_job.csv"),
            markdown(job_table(rows)),
            job_words(rows),
        ]
    )


#: name of a block -> (function of the renderer, arguments)
PERFORMANCE = {
    "round_setup": (round_setup, "round"),
    "round_seconds": (round_seconds, "round"),
    "round_machine": (machine, "round"),
    "round_parts": (parts, "round"),
    "round_selection": (selection, "round"),
    "main_job": (main_job,),
    "start": (start,),
    "large_pool": (large_pool,),
    "refit_digits": (refit, "refit_digits"),
    "refit_images": (refit, "refit_images"),
}
