"""The table behind curves: its columns, and what makes one valid."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dalmax_sk._base.files import open_regular
from dalmax_sk._base.words import listed

__all__ = [
    "COSTS",
    "KEY",
    "PREFIX",
    "check_known",
    "checked",
    "metric_names",
    "read_table",
]

# the columns that identify a row, and those of its cost
KEY = ["strategy", "split", "seed", "round"]
COSTS = ["fit_seconds", "query_seconds", "score_seconds", "peak_bytes"]
PREFIX = "score_"


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table in its standard order, or raise ValueError for its faults."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"frame must be a DataFrame, got {type(frame).__name__}.")
    missing = [name for name in [*KEY, "n_labeled"] if name not in frame.columns]
    scores = [PREFIX + name for name in metric_names(frame)]
    if not scores:
        missing.append("score_<metric>")
    if missing:
        raise ValueError(
            f"The table of curves lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(map(str, frame.columns)) or 'none'}."
        )
    if frame.empty:
        raise ValueError("The table of curves has no rows.")
    frame = frame.reset_index(drop=True)
    names = frame["strategy"].tolist()
    wrong = [row for row, name in enumerate(names) if not _is_name(name)]
    if wrong:
        raise ValueError(
            f"strategy must be a name in every row; rows {listed(wrong)} hold "
            f"{listed([names[row] for row in wrong])}."
        )
    for name in ["split", "seed", "round", "n_labeled"]:
        frame[name] = _as_int(frame[name], name)
    for name in [*COSTS, *scores]:
        values = frame[name] if name in frame.columns else np.nan
        frame[name] = _as_float(values, name, len(frame))
    _check_rows(frame)

    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    frame["strategy"] = pd.Series(names, dtype="str")
    keys = [frame["round"], frame["seed"], frame["split"], frame["strategy"].map(order)]
    first = [*KEY, "n_labeled", *COSTS, *scores]
    others = [name for name in frame.columns if name not in first]
    # lexsort sorts by the last key first
    return frame.loc[np.lexsort(keys), first + others].reset_index(drop=True)


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a CSV file of curves or rounds; ValueError names it if it is damaged."""
    try:
        with open_regular(path) as file:
            # names such as "NA" are names: only an empty cell is a missing value
            return pd.read_csv(
                file,
                dtype={"strategy": str},
                keep_default_na=False,
                na_values=[""],
                encoding="utf-8",
            )
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{os.fspath(path)} is not a table of curves or rounds: {error}"
        ) from error


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != ""


def _as_int(column: pd.Series, name: str) -> np.ndarray:
    values = _as_float(column, name, len(column))
    # also those that a 64-bit integer cannot hold
    is_whole = (np.abs(values) < 2**62) & (values == np.round(values))
    wrong = np.flatnonzero(~is_whole)
    if len(wrong):
        raise ValueError(
            f"{name} must hold whole, finite numbers; rows {listed(wrong.tolist())} "
            f"hold {listed(column.iloc[wrong].tolist())}."
        )
    if name != "seed" and (values < 0).any():
        wrong = np.flatnonzero(values < 0)
        raise ValueError(
            f"{name} must not be negative; rows {listed(wrong.tolist())} hold "
            f"{listed(column.iloc[wrong].tolist())}."
        )
    return column.to_numpy().astype(np.int64)


def _as_float(values: object, name: str, length: int) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(values, dtype=float), length).copy()
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold numbers: {error}") from error


def _check_rows(frame: pd.DataFrame) -> None:
    """Raise ValueError for rows that repeat or that do not follow on one another."""
    repeated = frame[frame.duplicated(KEY)]
    if len(repeated):
        raise ValueError(
            f"{len(repeated)} rows repeat a (strategy, split, seed, round): "
            f"{listed(list(repeated[KEY].itertuples(index=False, name=None)))}. Each "
            "round of a run must stand there once."
        )
    ordered = frame.sort_values(KEY)
    steps = ordered.groupby(KEY[:-1])["n_labeled"].diff()
    falling = ordered[steps <= 0]
    if len(falling):
        raise ValueError(
            "n_labeled must grow from round to round; it does not at (strategy, split, "
            "seed, round) "
            f"{listed(list(falling[KEY].itertuples(index=False, name=None)))}."
        )


def metric_names(frame: pd.DataFrame) -> list[str]:
    return [
        name.removeprefix(PREFIX)
        for name in frame.columns
        if isinstance(name, str) and name.startswith(PREFIX) and name not in COSTS
    ]


def check_known(what: str, wanted: Sequence[Any], known: Sequence[Any]) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"{what}: {listed([repr(name) for name in unknown])} not among the "
            f"results, which have {listed([repr(name) for name in known], 30)}."
        )
