"""``dalmax compare``: several strategies on the same images, seeds and initial sets."""

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from dalmax_sk._base.files import is_disk_full, replacing
from dalmax_sk._base.processes import is_launched
from dalmax_sk.active_learning import ActiveLearningClassifier
from dalmax_sk.cli.console import READING, Console
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.command_line import command_line
from dalmax_sk.cli.flags.settings import CompareSettings
from dalmax_sk.cli.flags.table import as_flag
from dalmax_sk.cli.launch import count_gpus
from dalmax_sk.cli.run.data import (
    RunData,
    check_same_images,
    list_run_data,
    read_run_data,
)
from dalmax_sk.cli.run.model import check_model, make_classifier
from dalmax_sk.cli.run.output_folder import OutputFolder
from dalmax_sk.cli.run.records import FORMAT, check_keys
from dalmax_sk.evaluation import BudgetCurves, Comparison, budget_curve, compare
from dalmax_sk.reports import describe_hardware, describe_versions, write_run_json
from dalmax_sk.strategies import get_strategy

__all__ = ["KIND", "compare_strategies"]

#: What run.json of ``compare`` calls itself.
KIND = "comparison of strategies on image folders"

# What going on with a comparison reads of its record.
_EXPECTED: dict[str, type | UnionType] = {
    "config": dict,
    "total_seconds": int | float,
    "data.train.sha256": str,
    "data.train.n_images": int,
    "data.test.sha256": str,
    "data.test.n_images": int,
}
_RESULTS = "results.jsonl"
_OUTPUTS = (
    "comparison.csv",
    "critical_difference.pdf",
    "curves.csv",
    "curves.pdf",
    "difference.pdf",
    "penalty_matrix.csv",
    "penalty_matrix.pdf",
    "ranks.csv",
    "report.html",
    "summary.csv",
    "verdicts.txt",
)


def compare_strategies(
    given: Mapping[str, Any], *, resume: bool, overwrite: bool, screen: Console
) -> None:
    """Run strategies against each other and write what came of it.

    Parameters
    ----------
    given : dict
        The flags that were given.
    resume : bool
        Take the settings that are not given from the comparison in the folder.
    overwrite : bool
        Replace the comparison in the folder.
    screen : Console
        Where to write for the user.

    Raises
    ------
    UsageError, ValueError, OSError
        If flags, folders or images are not as they have to be. Nothing that was there
        is touched in that case.
    """
    if resume and overwrite:
        raise UsageError(
            "--resume goes on with a comparison and --overwrite removes it; give one."
        )
    results = given.get("dir_results", str(Path.cwd() / "results"))
    folder = OutputFolder(Path(results, "compare"), KIND, [_RESULTS, *_OUTPUTS])
    stored = None if overwrite else folder.read()
    if stored is None:
        folder.check_free(overwrite=overwrite)
    else:
        check_keys(stored, folder.path / "run.json", _EXPECTED)
    # wherever the folder lies by now
    placed = {**given, "dir_results": results}
    settings = _settings(placed, stored, resume=resume, folder=folder.path)
    _add_baseline(settings, screen)
    if settings.device == "multi" or is_launched():
        raise UsageError(
            "Several processes are for train-al and train, whose one training uses all "
            "GPUs. compare has many runs: give it one GPU with --device, and with "
            "--n-jobs as many runs at a time as fit on it."
        )
    if settings.mult_gpu:
        screen.say(
            f"--mult-gpu: each run of a comparison trains on one device of "
            f"{max(1, count_gpus())}; --n-jobs sets the number of runs at a time"
        )
    with screen.watch():
        screen.announce(READING)
        data = list_run_data(
            settings.dir_train,
            settings.dir_test,
            dir_results=settings.dir_results,
            test_split=settings.test_split,
        )
        check_model(settings, len(data.class_names))
        read_run_data(
            data,
            image_size=settings.image_size,
            skip_bad_images=settings.on_bad_image == "skip",
        )
        screen.say_images(data, is_digits=settings.uses_digits)
        n_initial = settings.resolve_n_initial(len(data.train.paths))
        screen.say_short_pool(settings, len(data.train.paths) - n_initial)
        folder.lock()
        try:
            if overwrite:
                folder.clear()
                shutil.rmtree(folder.path / f"{_RESULTS}.runs", ignore_errors=True)
            _Experiment(settings, given, data, n_initial, stored, folder, screen).run()
        finally:
            folder.unlock()


def _settings(
    given: Mapping[str, Any],
    stored: Mapping[str, Any] | None,
    *,
    resume: bool,
    folder: Path,
) -> CompareSettings:
    """Return the settings: those of the stored comparison, if there is one."""
    if stored is not None and resume:
        return CompareSettings.from_run(stored["config"], given)
    if "types" not in given:
        raise UsageError(
            "Which strategies? Give --types names with commas between them, for "
            "instance --types margin_sampling,badge; dalmax strategies lists all."
        )
    settings = CompareSettings.from_flags(given)
    if stored is not None:
        different = CompareSettings.differing(stored["config"], settings.to_config())
        if different:
            raise UsageError(
                f"{folder} holds a comparison with other settings: "
                f"{'; '.join(different)}. Add --resume and leave these flags out to go "
                "on with it, --overwrite to replace it, or choose another "
                "--dir-results."
            )
    return settings


def _add_baseline(settings: CompareSettings, screen: Console) -> None:
    """Check all names at once, and see to it that the baseline takes part."""
    problems = []
    for name in [*settings.types, settings.baseline]:
        try:
            get_strategy(name)
        except ValueError as error:
            flag = as_flag("types" if name in settings.types else "baseline")
            problems.append(f"{flag}: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    settings.types = _without_doubles(settings, screen)
    if settings.baseline not in settings.types:
        screen.say(f"{settings.baseline} is added: the others are compared with it")
        settings.types = [settings.baseline, *settings.types]
    if len(settings.types) == 1:
        raise UsageError(
            f"There is only the baseline, {settings.baseline}. Give --types at least "
            "one strategy to compare with it."
        )


def _without_doubles(settings: CompareSettings, screen: Console) -> list[str]:
    """Return the names with one for each strategy; of two the baseline's stays."""
    found: dict[str, str] = {}
    if settings.baseline in settings.types:
        found[repr(get_strategy(settings.baseline))] = settings.baseline
    kept = []
    for name in settings.types:
        first = found.setdefault(repr(get_strategy(name)), name)
        if first == name:
            kept.append(name)
        else:
            screen.warn(f"{name} and {first} are one strategy; it runs as {first}.")
    return kept


class _Experiment:
    """One comparison on disk.

    Parameters
    ----------
    settings : CompareSettings
        All settings.
    given : dict
        The flags of this command.
    data : RunData
        The images.
    n_initial : int
        Images labelled at the start.
    stored : dict or None
        run.json of the comparison that is gone on with.
    folder : OutputFolder
        Where to write; locked.
    screen : Console
        Where to write for the user.
    """

    def __init__(
        self,
        settings: CompareSettings,
        given: Mapping[str, Any],
        data: RunData,
        n_initial: int,
        stored: Mapping[str, Any] | None,
        folder: OutputFolder,
        screen: Console,
    ) -> None:
        self._settings, self._data, self._n_initial = settings, data, n_initial
        self._folder, self._screen = folder, screen
        self._started = time.perf_counter()
        self._seconds_before = 0.0
        described = data.describe()
        if stored is not None:
            check_same_images(stored["data"], described)
            self._seconds_before = stored["total_seconds"]
        self._record: dict[str, Any] = {
            "format": FORMAT,
            "kind": KIND,
            "status": "running",
            "command": command_line(given, command="compare"),
            "total_seconds": 0.0,
            "config": settings.to_config(),
            "resolved": {"n_initial": n_initial},
            "classes": {name: i for i, name in enumerate(data.class_names)},
            "data": described,
            "versions": describe_versions(),
            "hardware": describe_hardware(),
            "verdicts": None,
        }

    def run(self) -> None:
        """Run what is missing and write all files; leave a true status in any case."""
        self._write_record("running")
        try:
            curves = self._curves()
            self._write(curves)
        except KeyboardInterrupt:
            self._write_record("interrupted")
            raise
        except Exception as error:
            # Not handled, only noted; where nothing can be written it tells more.
            with suppress(OSError) if is_disk_full(error) else nullcontext():
                self._write_record("failed")
            raise

    def _curves(self) -> BudgetCurves:
        settings, train, test = self._settings, self._data.train, self._data.test
        n_train, n_test = len(train.paths), len(test.paths)
        learner = ActiveLearningClassifier(
            make_classifier(settings, self._data.class_names),
            n_initial=self._n_initial,
            classes=self._data.class_names,
            **settings.parameters("learner"),
        )
        return budget_curve(
            learner,
            np.concatenate([train.paths, test.paths]),
            np.concatenate([train.labels, test.labels]),
            strategies=settings.types,
            # one split: the test folder is the test set
            cv=[(np.arange(n_train), n_train + np.arange(n_test))],
            seeds=settings.seeds,
            results=self._folder.path / _RESULTS,
            n_jobs=settings.n_jobs,
        )

    def _write(self, curves: BudgetCurves) -> None:
        """Write tables, figures and the page, and tell the user."""
        from dalmax_sk.reports import BudgetCurveDisplay, write_comparison_page
        from dalmax_sk.reports.displays.saving import write_pdf

        path, screen = self._folder.path, self._screen
        self._folder.clear_but(_RESULTS, "run.json")
        curves.to_csv(path / "curves.csv")
        write_pdf(BudgetCurveDisplay.from_curves(curves), path / "curves.pdf")
        found: Comparison | BudgetCurves = curves
        if len(curves.seeds) > 1:
            found = self._compare(curves)
            screen.say(found.summary())
            self._record["verdicts"] = found.verdicts
        else:
            summary = curves.summary()
            with replacing(path / "summary.csv") as part:
                summary.to_csv(part, lineterminator="\n")
            screen.say(summary.to_string(float_format="%.4f"))
            screen.warn(
                "one seed only: how much the scores vary by chance cannot be told from "
                "a single run a strategy, so nothing is tested. Give --seeds 2 or "
                "more; the run that is there is kept."
            )
        shown = self._settings.to_config() | {"n_initial": self._n_initial}
        write_comparison_page(found, path / "report.html", config=shown)
        self._write_record("finished")
        screen.say(f"Files: {path}")

    def _compare(self, curves: BudgetCurves) -> Comparison:
        """Compare, and write the tables and figures of it."""
        from dalmax_sk.reports import (
            BudgetCurveDisplay,
            CriticalDifferenceDisplay,
            PenaltyMatrixDisplay,
        )
        from dalmax_sk.reports.displays.saving import write_pdf

        path, baseline = self._folder.path, self._settings.baseline
        comparison = compare(curves, baseline, target=self._settings.target)
        comparison.to_csv(path)
        difference = BudgetCurveDisplay.from_curves(curves, relative_to=baseline)
        write_pdf(difference, path / "difference.pdf")
        penalty = PenaltyMatrixDisplay.from_comparison(comparison)
        write_pdf(penalty, path / "penalty_matrix.pdf")
        ranks = CriticalDifferenceDisplay.from_comparison(comparison)
        write_pdf(ranks, path / "critical_difference.pdf")
        return comparison

    def _write_record(self, status: str) -> None:
        self._record["status"] = status
        seconds = self._seconds_before + time.perf_counter() - self._started
        self._record["total_seconds"] = round(seconds, 3)
        write_run_json(self._record, self._folder.path)
