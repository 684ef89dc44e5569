"""The flags of ``dalmax train`` as one checked object, filled up from a run."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.command_line import check_folders
from dalmax_sk.cli.flags.settings import Settings, check_config, digits_defaults
from dalmax_sk.cli.run.records import AL_KIND, find_al_run

__all__ = ["Run", "TrainSettings"]


@dataclass(frozen=True)
class Run:
    """A run of ``train-al`` on disk.

    Attributes
    ----------
    folder : pathlib.Path
        Its folder.
    record : dict
        Its ``run.json``.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def class_names(self) -> list[str]:
        """All classes, in the order of the net's outputs."""
        classes: Mapping[str, int] = self.record["classes"]
        return sorted(classes, key=lambda name: classes[name])

    @property
    def initial(self) -> list[dict[str, Any]]:
        """The images labelled at the start, as ``run.json`` describes them."""
        return list(self.record["initial"])

    @property
    def picked(self) -> list[dict[str, Any]]:
        """The images that labels were asked for, in the order of the rounds."""
        return [pick for entry in self.record["rounds"] for pick in entry["picked"]]

    @property
    def n_labels(self) -> int:
        """Labels in use after the last round."""
        return len(self.initial) + len(self.picked)

    @property
    def settings(self) -> dict[str, Any]:
        """Return what another training takes over: net, training, seed and folders."""
        config, data = self.record["config"], self.record["data"]
        flags = {k: flag for k, flag in TrainSettings.flags().items() if flag.from_run}
        taken = {name: value for name, value in config.items() if name in flags}
        check_config(taken, {name: flags[name] for name in taken})
        folders = {f"dir_{part}": data[part]["directory"] for part in ("train", "test")}
        if config.get("test_split") is not None:
            folders["dir_test"] = None
        return taken | folders


class TrainSettings(Settings):
    """The settings of ``train``; what is not given is taken from a run."""

    command = "train"

    @classmethod
    def from_flags_and_runs(
        cls, given: Mapping[str, Any]
    ) -> "tuple[TrainSettings, Run | None, Run | None]":
        """Make the settings; what is not given comes from a run, or is the default.

        Parameters
        ----------
        given : dict
            The flags that were given.

        Returns
        -------
        settings : TrainSettings
        selection : Run or None
            The run whose labelled images are trained on.
        like : Run or None
            The run of ``--like``.

        Raises
        ------
        UsageError
            If flags do not go together, or name no run where one is needed.
        """
        values = dict(given)
        values.setdefault("type", "train")
        selection = _find_selection(values)
        like = _find_like(values)
        defaults: dict[str, Any] = {"dir_results": os.path.abspath("results")}
        for run in (selection, like):
            defaults |= {} if run is None else run.settings
        if selection is not None:
            # its own test images, not those of the run to be like
            own = selection.settings
            defaults |= {name: own.get(name) for name in ("dir_test", "test_split")}
        for one, other in (("dir_test", "test_split"), ("test_split", "dir_test")):
            if one in given:
                defaults[other] = None
        if selection is None and like is None:
            problems = check_folders(given)
            if problems:
                raise UsageError(f"{'; '.join(problems)}.")
            if "dir_train" not in given:
                defaults |= digits_defaults(cls.command)
        if values["type"] == "random" and like is not None:
            defaults["n_labels"] = like.n_labels
        return cls(**(defaults | values)), selection, like

    def resolve_n_labels(self, directory: Path, n_images: int) -> str:
        """Set the number of images to draw; return in words where it comes from.

        If it was not given, it is the number of labels of the finished runs on the same
        training folder below ``dir_results``, if they agree, else a tenth of the
        images.

        Parameters
        ----------
        directory : pathlib.Path
            The training folder.
        n_images : int
            Images in there.
        """
        if self.n_labels is not None:
            return ""
        results = Path(self.dir_results, "active_learning")
        found = [find_al_run(file) for file in sorted(results.glob("*/run.json"))]
        runs = [Run(*entry) for entry in found if entry is not None]
        counts = {
            run.n_labels
            for run in runs
            if run.record["status"] == "finished"
            and os.path.realpath(run.record["data"]["train"]["directory"])
            == os.path.realpath(directory)
        }
        if len(counts) == 1:
            self.n_labels: Any = counts.pop()
            return f"as many as the runs below {self.dir_results} have labels of"
        self.n_labels = n_images - math.ceil(round(0.9 * n_images, 9))
        reason = (
            f"the runs below {self.dir_results} differ: {min(counts)} to {max(counts)} "
            "labels"
            if counts
            else f"no finished run on this folder below {self.dir_results}"
        )
        return f"a tenth of all, as {reason} (--n-labels and --like are not given)"


def _find_selection(values: dict[str, Any]) -> Run | None:
    """Return the run whose selection ``--dir-train`` names."""
    if values.get("dir_train") is None:
        return None
    folder = Path(values["dir_train"])
    found = find_al_run(folder)
    if found is None:
        if folder.name == "selected_images" and any(folder.glob("round_*")):
            raise UsageError(
                f"{folder} holds the rounds of a run, but there is no run.json beside "
                "it that tells the initial set and the classes. Give the folder where "
                "the run left it, or a folder with one sub-folder a class."
            )
        return None
    run = Run(*found)
    if values["type"] == "random":
        raise UsageError(
            "--type random draws from all training images, and --dir-train "
            f"{folder} is the selection of a run. Give --like {run.folder} instead: "
            "as many images as the run has labels of, from the run's training folder."
        )
    if folder.parent.name == "selected_images":
        raise UsageError(
            f"--dir-train {folder} is one round of a run. Give {folder.parent}: the "
            "initial set and all rounds together."
        )
    values["dir_train"] = str(run.folder / "selected_images")
    if run.n_labels == 0:
        raise UsageError(
            f"The run in {run.folder} has no labelled images yet (its status is "
            f"{run.record['status']}). Go on with it first: dalmax train-al --resume."
        )
    return run


def _find_like(values: Mapping[str, Any]) -> Run | None:
    if "like" not in values:
        return None
    found = find_al_run(Path(values["like"]))
    if found is None:
        raise UsageError(
            f"--like {values['like']}: there is no run.json of {AL_KIND} there. Give "
            "the folder of a run of dalmax train-al: RESULTS/active_learning/TYPE."
        )
    run = Run(*found)
    if run.n_labels == 0:
        raise UsageError(
            f"The run in {run.folder} has no labelled images yet (its status is "
            f"{run.record['status']}); there is nothing to be like."
        )
    return run
