"""The images of a run: read, checked, and reduced to what the learner needs."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base.seeds import derive_seed
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.run.output_folder import listed
from dalmax_sk.cli.run.split_checks import (
    check_apart,
    find_identical,
    note_16_bit,
    note_across_classes,
    note_across_split,
)
from dalmax_sk.images import ImageReadError, find_broken_images, load_image_paths
from dalmax_sk.images.decode import ImageMode
from dalmax_sk.images.digits import make_digits_folder
from dalmax_sk.images.outputs import check_outside

__all__ = [
    "RunData",
    "Split",
    "broken_images",
    "check_no_class_empty",
    "check_same_images",
    "drop_broken",
    "list_run_data",
    "read_run_data",
]


@dataclass
class Split:
    """The images of one folder, all of them readable.

    Attributes
    ----------
    directory : pathlib.Path
        The folder of class folders.
    paths : ndarray of str, shape (n,)
        The image files.
    labels : ndarray of str, shape (n,)
        The class of each, by the name of its folder.
    skipped : list of (path, reason)
        Files left out because they cannot be read.
    ignored : dict of str to int
        Numbers of files left out because of their kind or place.
    """

    directory: Path
    paths: NDArray[np.object_]
    labels: NDArray[np.str_]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The files relative to the folder, with forward slashes."""
        return [
            Path(os.path.relpath(path, self.directory)).as_posix()
            for path in self.paths
        ]

    def describe(self) -> dict[str, Any]:
        """Return what run.json says about the folder."""
        return {
            "directory": str(self.directory),
            "n_images": len(self.paths),
            "n_per_class": dict(sorted(Counter(self.labels.tolist()).items())),
            "skipped": [
                {
                    "file": Path(os.path.relpath(path, self.directory)).as_posix(),
                    "reason": reason,
                }
                for path, reason in self.skipped
            ],
            "ignored": self.ignored,
            "sha256": self._fingerprint(),
        }

    def _fingerprint(self) -> str:
        """Hash the files' names and sizes, which tells a changed folder."""
        digest = hashlib.sha256()
        for file, path in zip(self.files, self.paths, strict=True):
            digest.update(f"{file}\0{os.path.getsize(path)}\n".encode())
        return digest.hexdigest()


@dataclass
class RunData:
    """Training and test images with one class map.

    Attributes
    ----------
    class_names : list of str
        All classes, sorted; the class map of both folders.
    train, test : Split
        The images.
    notes : list of str
        What a person should know about them.
    """

    class_names: list[str]
    train: Split
    test: Split
    notes: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return what run.json says about both folders."""
        return {
            "train": self.train.describe(),
            "test": self.test.describe(),
            "notes": self.notes,
        }

    def take_notes(self) -> None:
        """Note images that are in both folders or in two classes, and poor ranges."""
        paths = [*self.train.paths, *self.test.paths]
        labels = [*self.train.labels, *self.test.labels]
        groups = find_identical(paths)
        self.notes = [
            *note_across_split(groups, paths, len(self.train.paths)),
            *note_across_classes(groups, paths, labels),
            *note_16_bit(self.train.paths.tolist()),
        ]


def list_run_data(
    dir_train: str | None,
    dir_test: str | None,
    *,
    dir_results: str | None,
    test_split: float | None = None,
) -> RunData:
    """List the images of both folders, with one class map.

    Parameters
    ----------
    dir_train, dir_test : str or None
        Folders of class folders; None for the embedded digits, which are written to
        ``{dir_results}/digits`` once.
    dir_results : str
        The results folder.
    test_split : float or None, default=None
        Share of the training folder that is the test set, if there is no `dir_test`.

    Returns
    -------
    RunData
        No image has been decoded yet.
    """
    if dir_train is None:
        assert dir_results is not None
        digits = make_digits_folder(Path(dir_results) / "digits")
        dir_train, dir_test = str(digits / "train"), str(digits / "test")
    read = [dir_train] if dir_test is None else [dir_train, dir_test]
    if dir_results is not None:
        check_outside(dir_results, read, "--dir-results")
    if dir_test is not None:
        check_apart(dir_train, dir_test)
    train = load_image_paths(dir_train)
    _check_names(train.data)
    class_names = list(train.target_names)
    names = np.array(class_names)
    split = Split(
        Path(train.directory), train.data, names[train.target], ignored=train.ignored
    )
    if dir_test is not None:
        data = RunData(class_names, split, list_split(dir_test, class_names))
    else:
        assert test_split is not None
        data = RunData(class_names, *_divide(split, class_names, test_split))
    data.take_notes()
    return data


def _divide(
    split: Split, class_names: Sequence[str], share: float
) -> tuple[Split, Split]:
    """Divide a folder into training and test images, each class by itself."""
    # scikit-learn's stratified split refuses classes with a single image, and small
    # shares of many classes
    rng = np.random.default_rng(derive_seed(0))
    is_test = np.zeros(len(split.paths), dtype=bool)
    for name in class_names:
        rows = rng.permutation(np.flatnonzero(split.labels == name))
        n_test = min(max(1, round(share * len(rows))), len(rows) - 1)
        is_test[rows[:n_test]] = True
    train, test = (
        Split(split.directory, split.paths[mask], split.labels[mask])
        for mask in (~is_test, is_test)
    )
    train.ignored = split.ignored
    return train, test


def list_split(directory: str, class_names: Sequence[str]) -> Split:
    """List the images of a folder that may have no other classes than these."""
    bunch = load_image_paths(directory, class_names=class_names)
    _check_names(bunch.data)
    labels = np.array(class_names)[bunch.target]
    return Split(Path(bunch.directory), bunch.data, labels, ignored=bunch.ignored)


def _check_names(paths: Sequence[str]) -> None:
    """Raise UsageError for names that no file of the results could hold."""
    bad = [path for path in paths if not _is_utf8(path)]
    if bad:
        shown = listed([os.fsencode(path).decode("utf-8", "replace") for path in bad])
        raise UsageError(
            f"{len(bad)} image files have names that are not UTF-8 (each � stands for "
            f"a byte that is not): {shown}. Rename them, for instance with convmv."
        )


def _is_utf8(text: str) -> bool:
    # the file system's undecodable bytes come as lone surrogates
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def read_run_data(data: RunData, *, image_size: int, skip_bad_images: bool) -> None:
    """Read every image once; files that cannot be read are named, or left out.

    Parameters
    ----------
    data : RunData
        The images; those that cannot be read move to ``skipped``.
    image_size : int
        Side to which the images will be resized, in pixels; read at this size they are
        kept in memory for the training that follows.
    skip_bad_images : bool
        Leave out files that cannot be read instead of raising.

    Raises
    ------
    ImageReadError
        If files cannot be read (all of them are named) and are not to be skipped.
    UsageError
        If too little is left.
    """
    splits = [data.train, data.test]
    before = [sorted(set(split.labels.tolist())) for split in splits]
    drop_broken(splits, image_size=image_size, skip_bad_images=skip_bad_images)
    for split, class_names in zip(splits, before, strict=True):
        check_no_class_empty(split, class_names)


def drop_broken(
    splits: Sequence[Split],
    *,
    image_size: Any,
    mode: ImageMode = "rgb",
    skip_bad_images: bool,
) -> None:
    """Read every image once; files that cannot be read are named, or left out.

    Parameters
    ----------
    splits : sequence of Split
        The images; those that cannot be read move to ``skipped``.
    image_size : int, (int, int) or None
        Size to which the images will be resized, in pixels.
    mode : {"rgb", "grey"}, default="rgb"
        Three channels or one.
    skip_bad_images : bool
        Leave out files that cannot be read instead of raising.

    Raises
    ------
    ImageReadError
        If files cannot be read (all of them are named) and are not to be skipped.
    """
    # All folders in one pass, so that all broken files are reported together.
    everything = np.concatenate([split.paths for split in splits])
    broken = find_broken_images(everything, image_size=image_size, mode=mode)
    if broken and not skip_bad_images:
        raise broken_images(broken)
    reasons = dict(broken)
    for split in splits:
        is_broken = np.array([path in reasons for path in split.paths], dtype=bool)
        split.skipped += [(path, reasons[path]) for path in split.paths[is_broken]]
        split.paths, split.labels = split.paths[~is_broken], split.labels[~is_broken]


def broken_images(failures: Sequence[tuple[str, str]]) -> ImageReadError:
    """Return the error that names files and the flag that leaves them out."""
    error = ImageReadError(failures)
    error.add_note("--on-bad-image skip leaves such files out.")
    return error


def check_no_class_empty(split: Split, class_names: Sequence[str]) -> None:
    """Raise UsageError if a class has no image left."""
    emptied = sorted(set(class_names) - set(split.labels.tolist()))
    if emptied:
        raise UsageError(
            f"{split.directory}: no image of class {', '.join(emptied)} can be "
            "read; every class needs at least one. Mend the files, or remove the "
            "class from both folders."
        )


def check_same_images(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError if a run that is gone on with began with other images.

    Parameters
    ----------
    before, now : dict
        ``"data"`` of run.json then, and the same of the folders now.
    """
    changed = [
        f"{now[split]['directory']} ({before[split]['n_images']} images then, "
        f"{now[split]['n_images']} now)"
        for split in ("train", "test")
        if before[split]["sha256"] != now[split]["sha256"]
    ]
    if changed:
        raise UsageError(
            "The images are not those the run began with: files were added, removed, "
            f"renamed or resized in {' and '.join(changed)}. Put them back to "
            "--resume, or start anew with --overwrite."
        )
