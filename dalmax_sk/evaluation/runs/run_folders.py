"""The folders of ``dalmax train-al``, read back: ``run.json`` and ``history.csv``."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dalmax_sk._base.files import inside
from dalmax_sk._base.json_files import MALFORMED, read_json
from dalmax_sk.evaluation.runs.curves_table import PREFIX, read_table

__all__ = ["RUN_FORMAT", "RUN_KIND", "check_picks", "read_run_json", "read_runs"]

#: Kind of a run of active learning, and the format of its record, in ``run.json``.
RUN_KIND = "active learning on image folders"
RUN_FORMAT = 1
# settings that may differ between runs whose curves are compared
_FREE_SETTINGS = ("type", "seed", "dir_results", "device", "mult_gpu")


def read_run_json(file: Path) -> dict[str, Any]:
    """Read ``run.json`` of a run of active learning.

    Parameters
    ----------
    file : pathlib.Path
        The file.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no JSON, or of another kind or format.
    """
    try:
        run = read_json(file)
    except ValueError as error:
        raise ValueError(
            f"{file} is not valid JSON ({error}); a run did not write it so."
        ) from error
    kind = run.get("kind") if isinstance(run, dict) else type(run).__name__
    if kind != RUN_KIND:
        raise ValueError(
            f"{file} is of kind {kind!r}; a run of `dalmax train-al` is of kind "
            f"{RUN_KIND!r}."
        )
    if run.get("format") != RUN_FORMAT:
        raise ValueError(
            f"{file} has format {run.get('format')!r}; this version of dalmax_sk reads "
            f"format {RUN_FORMAT}."
        )
    return run


def check_picks(run: Mapping[str, Any], folder: Path) -> None:
    """Check the images that the record of a run names, before any of them is touched.

    Parameters
    ----------
    run : dict
        Content of ``run.json``.
    folder : pathlib.Path
        The run's folder.

    Raises
    ------
    ValueError
        If an entry is not as a run writes it: a copy outside of
        ``selected_images/round_NN/`` in the run's folder, a file outside of the
        training folder, a class that the run does not have.
    """
    train = run["data"]["train"]["directory"]
    lists: dict[str, tuple[int | None, Any]] = {"initial": (None, run["initial"])}
    for number, entry in enumerate(run["rounds"]):
        lists[f"rounds[{number}].picked"] = entry["round"], entry["picked"]
    for place, (of_round, picks) in lists.items():
        for i, pick in enumerate(picks):
            try:
                _check_pick(pick, run["classes"], train, folder, of_round)
            except MALFORMED as error:
                raise ValueError(
                    f"{folder / 'run.json'} is not as a run writes it: {place}[{i}]: "
                    f"{error}. Put an intact copy of it back, or move the folder away."
                ) from error


def _check_pick(
    pick: Mapping[str, Any],
    classes: Mapping[str, int],
    train: str,
    folder: Path,
    number: int | None,
) -> None:
    if type(pick["row"]) is not int or pick["row"] < 0:
        raise ValueError(f"row is {pick['row']!r}, which is no row")
    inside(train, pick["file"], follow_links=True)
    if pick["class"] not in classes or pick["file"].split("/")[0] != pick["class"]:
        raise ValueError(f"{pick['file']!r} is not of class {pick['class']!r}")
    if number is not None:
        root = f"selected_images/round_{number:02d}/"
        if not pick["copy"].startswith(root):
            raise ValueError(f"the copy {pick['copy']!r} does not lie in {root}")
        inside(folder / root, pick["copy"][len(root) :])


def read_runs(directories: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """Return the table of curves of runs; see :meth:`BudgetCurves.from_runs`."""
    if isinstance(directories, str | os.PathLike):
        directories = [directories]
    runs = [run for directory in directories for run in _find_runs(Path(directory))]
    if not runs:
        raise ValueError("directories is empty; give at least one folder of a run.")
    _check_comparable(runs)
    return pd.concat([_run_frame(*run) for run in runs], ignore_index=True)


def _find_runs(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return (folder, content of run.json) of the run or runs in a folder."""
    files = [directory / "run.json"]
    if not files[0].is_file():
        files = sorted(directory.glob("active_learning/*/run.json"))
    if not files:
        raise ValueError(
            f"{directory} holds no run of `dalmax train-al`: there is no run.json in "
            "it, nor in folders of active_learning/ below it."
        )
    runs = []
    for file in files:
        run = read_run_json(file)
        try:
            _ = _described(run), run["config"]["type"]
        except MALFORMED as error:
            raise ValueError(
                f"{file} is not as a run writes it ({type(error).__name__}: {error})."
            ) from error
        if type(run.get("seed")) is not int:
            raise ValueError(f"{file} has no seed, so it cannot be paired.")
        runs.append((file.parent, run))
    return runs


def _check_comparable(runs: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Raise ValueError if runs repeat or differ in more than strategy and seed."""
    first_folder, first = runs[0]
    seen: dict[tuple[str, int], Path] = {}
    for folder, run in runs:
        key = (run["config"]["type"], run["seed"])
        if key in seen:
            raise ValueError(
                f"{seen[key]} and {folder} hold runs of one strategy and seed: {key}."
            )
        seen[key] = folder
        before, now = _described(first), _described(run)
        different = [name for name in before | now if before.get(name) != now.get(name)]
        if different:
            raise ValueError(
                f"{folder} and {first_folder} do not compare; they differ in: "
                + "; ".join(
                    f"{name} ({now.get(name)!r} and {before.get(name)!r})"
                    for name in different
                )
                + "."
            )


def _described(run: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run and what tells its images."""
    config = {k: v for k, v in run["config"].items() if k not in _FREE_SETTINGS}
    for part in ("train", "test"):
        # the same images may lie in another place
        config.pop(f"dir_{part}", None)
        config[f"images to {part}"] = run["data"][part]["sha256"]
    return config


def _run_frame(folder: Path, run: dict[str, Any]) -> pd.DataFrame:
    file = folder / "history.csv"
    if not file.is_file():
        raise ValueError(f"{folder} has no history.csv: the run has no round yet.")
    history = read_table(file)
    if "rounds" in run:
        _check_history(history, file, run)
    history = history.rename(
        columns={
            name: PREFIX + name.removeprefix("eval_")
            for name in history.columns
            if name.startswith("eval_")
        }
    )
    known = [name for name in history.columns if name.startswith(PREFIX)]
    wanted = ["round", "n_labeled", "fit_seconds", "query_seconds", "peak_bytes"]
    kept = history[[name for name in wanted + known if name in history.columns]]
    return kept.assign(strategy=run["config"]["type"], split=0, seed=run["seed"])


def _check_history(history: pd.DataFrame, file: Path, run: Mapping[str, Any]) -> None:
    """Raise ValueError if a table of rounds and ``run.json`` tell of other rounds."""
    try:
        told = [
            {"round": entry["round"], "n_labeled": entry["n_labeled"]}
            | {f"eval_{name}": value for name, value in entry["metrics"].items()}
            for entry in run["rounds"]
        ]
        # a run that was killed may be one round ahead of its table
        expected = pd.DataFrame(told).iloc[: len(history)].astype(float)
        values = history[list(expected)].astype(float)
        # a number read from a table may have another last bit
        is_same = np.isclose(values, expected, rtol=1e-12, atol=0.0, equal_nan=True)
    except MALFORMED as error:
        raise ValueError(
            f"{file} and run.json beside it do not tell of the same rounds "
            f"({type(error).__name__}: {error}). One of them is damaged."
        ) from error
    if not is_same.all():
        row, column = np.argwhere(~is_same)[0]
        raise ValueError(
            f"{file} and run.json beside it differ in {values.columns[column]} of "
            f"round {row}. One of them is damaged."
        )
