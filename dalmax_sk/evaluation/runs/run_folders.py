"""The folders of ``dalmax train-al``, read back: ``run.json`` and ``history.csv``."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dalmax_sk.evaluation.runs.curves_table import PREFIX

__all__ = ["RUN_FORMAT", "RUN_KIND", "read_run_json", "read_runs"]

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
        run = json.loads(file.read_text(encoding="utf-8"))
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
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file} is not as a run writes it ({type(error).__name__}: {error})."
            ) from error
        if run.get("seed") is None:
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
    history = pd.read_csv(file, encoding="utf-8")
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
