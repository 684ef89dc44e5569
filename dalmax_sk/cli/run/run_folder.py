"""The folder of a run: who may write there, and what may be removed from it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dalmax_sk._base.files import file_lock, is_part
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.run.output_folder import acquire, listed
from dalmax_sk.cli.run.records import AL_KIND, check_al_run, read_record

__all__ = ["RunFolder"]


class RunFolder:
    """``{dir_results}/active_learning/{type}/`` and what a run keeps in it.

    Parameters
    ----------
    dir_results : path-like
        The results folder.
    strategy : str
        The strategy's name.

    Attributes
    ----------
    path : pathlib.Path
        The run's folder.
    checkpoint : pathlib.Path
        The run's private sub-folder.
    """

    def __init__(self, dir_results: str | os.PathLike[str], strategy: str) -> None:
        self.path = Path(dir_results) / "active_learning" / strategy
        self.checkpoint = self.path / "checkpoint"
        self._strategy = strategy
        self._lock = file_lock(self.checkpoint / "lock")

    @property
    def model_stem(self) -> Path:
        """Path of the model's files without their ending."""
        return self.path / f"{self._strategy}_al_model"

    def own_files(self) -> list[Path]:
        """Return the files a run writes straight into its folder, run.json last."""
        names = [
            "confusion_matrix.pdf",
            "final_accuracy.txt",
            "history.csv",
            "infos.txt",
            "learning_curve.pdf",
            "report.html",
            "training_accuracy_plot.pdf",
            "training_loss_plot.pdf",
            f"{self.model_stem.name}.safetensors",
            f"{self.model_stem.name}.json",
            "run.json",
        ]
        return [self.path / name for name in names]

    def read_run(self) -> dict[str, Any] | None:
        """Return the content of run.json, or None if no run was begun here.

        Raises
        ------
        UsageError
            If the folder holds files of a run but no run.json, or one that this version
            cannot read.
        """
        file = self.path / "run.json"
        if not file.exists():
            present = self._present()
            if present:
                raise UsageError(
                    f"{self.path} holds {listed(present)} but no run.json, so it "
                    "cannot be told which run they belong to, if any. Move them away, "
                    "or choose another --dir-results."
                )
            return None
        run = read_record(file)
        if run.get("kind") != AL_KIND:
            raise UsageError(
                f"{file} tells of {run.get('kind')!r}, not of a run of train-al "
                f"({AL_KIND!r}). Nothing of it is touched: move it away, or choose "
                "another --dir-results."
            )
        check_al_run(run, file)
        return run

    def check_unused(self) -> None:
        """Raise UsageError if the folder holds a run already."""
        run = self.read_run()
        if run is not None:
            done, wanted = max(0, len(run["rounds"]) - 1), run["config"]["iterations"]
            raise UsageError(
                f"{self.path} holds a run already ({run['status']}, {done} of {wanted} "
                "rounds done). Add --resume to go on with it, --overwrite to replace "
                "it, or choose another --dir-results."
            )

    def _present(self) -> list[str]:
        """Return the names of what a run would write and is there already."""
        names = [file.name for file in self.own_files() if file.exists()]
        for folder in (self.path / "selected_images", self.checkpoint):
            # The lock file comes before run.json, and says nothing about a run.
            if folder.exists() and set(folder.iterdir()) - {Path(self._lock.lock_file)}:
                names.append(f"{folder.name}/")
        return names

    def find_foreign_files(self) -> list[str]:
        """Return files in the run's own folders that no run wrote.

        A link is none of them, wherever it leads.

        Returns
        -------
        list of str
            Paths relative to the run's folder.
        """
        own = {*self._copies(), self.checkpoint / "state.json"}
        own.add(Path(self._lock.lock_file))
        roots = [self.path / "selected_images", self.checkpoint]
        entries = [root for root in roots if root.is_symlink()]
        entries += [file for root in roots for file in root.rglob("*")]
        return [
            str(file.relative_to(self.path))
            for file in sorted(entries)
            if file.is_symlink() or not (file.is_dir() or file in own or is_part(file))
        ]

    def check_overwritable(self) -> None:
        """Raise UsageError if there are files that run.json does not tell of."""
        self.read_run()  # of another kind, or none beside files of a run
        foreign = self.find_foreign_files()
        if foreign:
            raise UsageError(
                f"--overwrite removes only what a run wrote, and {self.path} holds "
                f"files that run.json does not name: {listed(foreign)}. Move them "
                "away, or choose another --dir-results."
            )

    def overwrite(self) -> None:
        """Remove what a run wrote, and nothing else.

        run.json goes last: killed on the way, the folder still says whose it is.
        """
        self.check_overwritable()
        root = self.path / "selected_images"
        entries = [
            *root.rglob(".*"),
            *self.checkpoint.glob(".*"),
            *self.path.glob(".*"),
        ]
        # what a kill left of them half written
        half = [file for file in entries if is_part(file)]
        for file in [*half, *self._copies(), self.checkpoint / "state.json"]:
            file.unlink(missing_ok=True)
        _remove_empty_folders(root)
        for file in self.own_files():
            file.unlink(missing_ok=True)

    def _copies(self) -> list[Path]:
        """Return the copies of picked images that run.json names."""
        if not (self.path / "run.json").exists():
            return []
        run = self.read_run() or {}
        return [
            self.path / pick["copy"]
            for entry in run.get("rounds", [])
            for pick in entry["picked"]
        ]

    def lock(self) -> None:
        """Make the folder and keep other processes out of it until this one ends.

        Raises
        ------
        UsageError
            If another process is at work in the folder.
        """
        acquire(self._lock, self.path)

    def check_names(self, files: Sequence[str]) -> None:
        """Raise UsageError if the disk of the results holds no copies of some files.

        Parameters
        ----------
        files : sequence of str
            The training images, relative to their folder.
        """
        if not hasattr(os, "pathconf"):  # Windows
            return
        longest_name = os.pathconf(self.path, "PC_NAME_MAX")
        longest_path = os.pathconf(self.path, "PC_PATH_MAX")
        start = len(os.fsencode(self.path / "selected_images" / "round_000")) + 1
        too_long = [
            file
            for file in files
            if max(map(len, os.fsencode(file).split(b"/"))) > longest_name
            or start + len(os.fsencode(file)) >= longest_path
        ]
        if too_long:
            raise UsageError(
                f"Copies of {len(too_long)} images cannot be kept in {self.path}: it "
                f"allows names of {longest_name} bytes and paths of {longest_path}: "
                f"{listed(too_long)}. Choose another --dir-results, or shorter names."
            )

    def unlock(self) -> None:
        """Let other processes in again."""
        self._lock.release()


def _remove_empty_folders(root: Path) -> None:
    for folder in sorted(root.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
