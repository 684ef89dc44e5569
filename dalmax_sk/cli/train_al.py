"""``dalmax train-al``: check, run the rounds, write the files."""

import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dalmax_sk import reports
from dalmax_sk._base import progress
from dalmax_sk._base.files import is_disk_full
from dalmax_sk._base.processes import ProcessGroup
from dalmax_sk.active_learning import ActiveLearningClassifier
from dalmax_sk.cli.console import READING, Console
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.command_line import command_line, resume_hint
from dalmax_sk.cli.flags.settings import Settings
from dalmax_sk.cli.run.data import (
    RunData,
    check_same_images,
    list_run_data,
    read_run_data,
)
from dalmax_sk.cli.run.model import check_model, find_process_group, make_classifier
from dalmax_sk.cli.run.output_folder import listed
from dalmax_sk.cli.run.records import AL_KIND, FORMAT
from dalmax_sk.cli.run.run_folder import RunFolder
from dalmax_sk.cnn.persistence import save_model
from dalmax_sk.pool import Pool
from dalmax_sk.reports import (
    copy_names,
    describe_hardware,
    describe_picks,
    describe_query,
    describe_round,
    describe_test,
    describe_versions,
    write_confusion_matrix,
    write_final_accuracy,
    write_history_csv,
    write_infos,
    write_learning_curve,
    write_run_json,
    write_selected_images,
    write_training_plots,
)
from dalmax_sk.strategies import get_strategy

__all__ = ["train_al"]


def train_al(
    given: Mapping[str, Any], *, resume: bool, overwrite: bool, screen: Console
) -> None:
    """Run active learning on image folders and write everything it found.

    Parameters
    ----------
    given : dict
        The flags that were given.
    resume : bool
        Go on with the run in the folder, or begin one if there is none.
    overwrite : bool
        Replace the run in the folder.
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
            "--resume goes on with a run and --overwrite removes it; give one of them."
        )
    settings = Settings.from_flags(given)
    strategy = get_strategy(settings.type)
    folder = RunFolder(settings.dir_results, settings.type)
    stored = None
    if overwrite:
        folder.check_overwritable()
    elif resume:
        stored = folder.read_run()
    else:
        folder.check_unused()
    if stored is not None:
        settings = Settings.from_run(
            # wherever the folder lies by now
            stored["config"],
            {**given, "dir_results": settings.dir_results},
        )
        n_done = max(0, len(stored["rounds"]) - 1)
        if settings.iterations < n_done:
            raise UsageError(
                f"--iterations {settings.iterations} is fewer than the {n_done} rounds "
                f"that the run in {folder.path} has done. Give at least {n_done}."
            )
        is_longer = settings.iterations > stored["config"]["iterations"]
        is_finished = stored["status"] == "finished" and not is_longer
        if is_finished and _completed(folder, screen):
            return

    group = find_process_group(settings, after_death=resume_hint(given), screen=screen)
    with screen.watch(settings.iterations):
        screen.announce(READING)
        data = group.run_on_rank0(_read_images, settings)
        screen.say_images(data, is_digits=settings.uses_digits)
        n_initial = settings.resolve_n_initial(len(data.train.paths))
        screen.say_short_pool(settings, len(data.train.paths) - n_initial)
        group.run_on_rank0(folder.lock)
        try:
            group.run_on_rank0(folder.check_names, data.train.files)
            if overwrite:
                group.run_on_rank0(folder.overwrite)
            run = _Run(settings, given, data, folder, n_initial, stored, screen, group)
            run.execute(_make_learner(settings, strategy, data, folder, n_initial))
        finally:
            folder.unlock()


def _completed(folder: RunFolder, screen: Console) -> bool:
    """Write the page of a finished run if it is missing; False if other files are."""
    missing = [file.name for file in folder.own_files() if not file.exists()]
    if missing == ["report.html"]:
        folder.lock()
        try:
            page = reports.write_run_page(folder.path)
        finally:
            folder.unlock()
        screen.say(f"The run in {folder.path} is finished; written: {page.name}.")
        return True
    if missing and (folder.checkpoint / "state.json").is_file():
        screen.say(
            f"The run in {folder.path} is finished, but {listed(missing)} missing: its "
            "last model is trained once more."
        )
        return False
    screen.say(f"The run in {folder.path} is finished; nothing is left to do.")
    return True


def _read_images(settings: Settings) -> RunData:
    data = list_run_data(
        settings.dir_train,
        settings.dir_test,
        dir_results=settings.dir_results,
        test_split=settings.test_split,
    )
    settings.resolve_n_initial(len(data.train.paths))
    check_model(settings, len(data.class_names))
    read_run_data(
        data,
        image_size=settings.image_size,
        skip_bad_images=settings.on_bad_image == "skip",
    )
    return data


def _make_learner(
    settings: Settings, strategy: Any, data: RunData, folder: RunFolder, n_initial: int
) -> ActiveLearningClassifier:
    return ActiveLearningClassifier(
        make_classifier(settings, data.class_names),
        strategy,
        n_initial=n_initial,
        classes=data.class_names,
        checkpoint_dir=folder.checkpoint,
        **settings.parameters("learner"),
    )


class _DescribePicks:
    """Adds to the record of a round what its model knew of the picks."""

    def on_query_end(
        self, learner: ActiveLearningClassifier, pool: Pool, positions: np.ndarray
    ) -> dict[str, Any]:
        if pool.estimator is None:  # the initial set
            return {}
        return {"picks": describe_query(pool, positions.tolist())}


class _Run:
    """One run on disk: keeps run.json, history.csv and the copies up to date.

    Parameters
    ----------
    settings : Settings
        All settings.
    given : dict
        The flags of this command.
    data : RunData
        The images.
    folder : RunFolder
        Where to write; locked, and empty or holding the run `stored`.
    n_initial : int
        Images labelled at the start.
    stored : dict or None
        run.json of the run to resume.
    screen : Console
        Where to write for the user.
    group : ProcessGroup
        The processes of the run; only the first one writes.
    """

    def __init__(
        self,
        settings: Settings,
        given: Mapping[str, Any],
        data: RunData,
        folder: RunFolder,
        n_initial: int,
        stored: Mapping[str, Any] | None,
        screen: Console,
        group: ProcessGroup,
    ) -> None:
        self._group = group
        self._given, self._settings, self._data = given, settings, data
        self._folder, self._screen = folder, screen
        self._files = data.train.files
        self._history: list[dict[str, Any]] = []
        self._started = time.perf_counter()
        described = data.describe()
        self._sessions: list[dict[str, Any]] = []
        if stored is not None:
            check_same_images(stored["data"], described)
            self._sessions = list(stored["sessions"])
            _warn_of_other_versions(stored["versions"], screen)
        self._sessions.append(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": 0.0,
                "status": "running",
                "command": command_line(given, *(["--resume"] if stored else [])),
            }
        )
        self._record: dict[str, Any] = {
            "format": FORMAT,
            "kind": AL_KIND,
            "status": "running",
            "error": None,
            "stop_reason": None,
            "command": self._sessions[0]["command"],
            "seed": settings.seed,
            "total_seconds": 0.0,
            "config": settings.to_config(),
            "resolved": {"n_initial": n_initial, "device": None},
            "classes": {name: i for i, name in enumerate(data.class_names)},
            "data": described,
            "versions": describe_versions(),
            "hardware": describe_hardware(),
            "sessions": self._sessions,
            "initial": stored["initial"] if stored else [],
            "rounds": stored["rounds"] if stored else [],
            "test": None,  # known at the end
        }

    def execute(self, learner: ActiveLearningClassifier) -> None:
        """Fit the learner and write all files; leave a true status however it ends."""
        self._write_run_json("running")
        train, test = self._data.train, self._data.test
        learner.set_params(callbacks=[_DescribePicks()])
        try:
            with progress.listen(self._on_report):
                learner.fit(
                    train.paths, train.labels, eval_set=(test.paths, test.labels)
                )
            self._finish(learner)
        except KeyboardInterrupt:
            self._write_run_json("interrupted")
            raise
        except Exception as error:
            # Not handled, only noted: the caller tells the user. A run that failed
            # before its first round has nothing worth keeping and blocks no new try.
            if self._record["rounds"]:
                # where nothing can be written the first error tells more
                with suppress(OSError) if is_disk_full(error) else nullcontext():
                    self._write_run_json(
                        "failed", error=f"{type(error).__name__}: {error}"
                    )
            elif self._group.is_main:
                self._folder.overwrite()
            raise

    def _on_report(
        self, stage: str, done: int, total: int | None, info: dict[str, Any]
    ) -> None:
        if stage != "round":
            return
        self._history.append(info["record"])
        self._record["initial"] = describe_picks(
            info["initial_indices"], files=self._files
        )
        # A resumed run hears of its earlier rounds first; they are on disk already, but
        # for what a kill cut off.
        self._refresh(info["record"])

    def _refresh(self, record: Mapping[str, Any]) -> None:
        """Bring the files up to date after a round."""
        number = record["round"]
        picked = [self._files[row] for row in record["queried"]]
        copies = [
            f"selected_images/round_{number:02d}/{name}" for name in copy_names(picked)
        ]
        entry = describe_round(record, files=self._files, copies=copies)
        others = [e for e in self._record["rounds"] if e["round"] != number]
        self._record["rounds"] = sorted([*others, entry], key=lambda e: e["round"])
        # run.json names the copies before they are made: whatever lies in
        # selected_images/ can be told to be the run's own.
        self._write_run_json("running")
        if not self._group.is_main:
            return
        write_selected_images(
            picked,
            source=self._data.train.directory,
            directory=self._folder.path,
            round_number=number,
        )
        write_history_csv(self._history, self._folder.path)

    def _finish(self, learner: ActiveLearningClassifier) -> None:
        """Write what is known at the end only; the status changes last."""
        with self._group.sharded_inference():
            predicted = learner.predict(self._data.test.paths)
        if self._group.is_main:
            self._write_results(learner, predicted)
        # so that none ends, and ends the others with it, while files are written
        self._group.barrier()

    def _write_results(
        self, learner: ActiveLearningClassifier, predicted: np.ndarray
    ) -> None:
        path, test = self._folder.path, self._data.test
        history = learner.history_
        write_history_csv(history, path)
        write_learning_curve(history, path, name=self._settings.type)
        write_training_plots(history, path)
        write_confusion_matrix(
            test.labels, predicted, path, labels=self._data.class_names
        )
        write_final_accuracy(float(np.mean(predicted == test.labels)), path)
        save_model(learner.estimator_, self._folder.model_stem)
        self._record["test"] = describe_test(
            test.labels, predicted, labels=self._data.class_names
        )
        self._record["stop_reason"] = learner.stop_reason_
        self._record["resolved"]["device"] = str(learner.estimator_.device_)
        self._update_seconds()
        write_infos(self._record["total_seconds"], path)
        # an older page, if there is one, must not pass for that of the end
        (path / "report.html").unlink(missing_ok=True)
        self._write_run_json("finished")
        reports.write_run_page(path)  # with matplotlib
        self._screen.summarize(history, path, self._record["total_seconds"])

    def _update_seconds(self) -> None:
        self._sessions[-1]["seconds"] = round(time.perf_counter() - self._started, 3)
        self._record["total_seconds"] = round(
            sum(session["seconds"] for session in self._sessions), 3
        )

    def _write_run_json(self, status: str, error: str | None = None) -> None:
        if not self._group.is_main:
            return
        self._record["status"] = self._sessions[-1]["status"] = status
        self._record["error"] = error
        self._update_seconds()
        write_run_json(self._record, self._folder.path)


def _warn_of_other_versions(before: Mapping[str, Any], screen: Console) -> None:
    now = describe_versions()
    changed = [
        f"{name} {before.get(name)} → {version}"
        for name, version in now.items()
        if before.get(name) != version
    ]
    if changed:
        screen.warn(
            "the run began with other versions, so its last digits may differ: "
            + ", ".join(changed)
        )
