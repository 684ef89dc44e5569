"""Folders to write to, which must not lie where images are read."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dalmax_sk.images.paths import as_paths

__all__ = ["check_outside", "check_outside_images", "folders_of"]


def check_outside(
    output: str | os.PathLike[str], folders: Iterable[str | os.PathLike[str]], name: str
) -> None:
    """Raise ValueError if a folder to write to lies in a folder of images.

    Its files would be taken for images of a class, or itself for a class, when the
    images are listed again. Hidden folders (a leading dot) are never read as images.

    Parameters
    ----------
    output : path-like
        Where to write; it need not exist.
    folders : iterable of path-like
        Where images are read.
    name : str
        The flag or parameter that gave `output`.

    Examples
    --------
    >>> from dalmax_sk.images.outputs import check_outside
    >>> check_outside("results", ["photos"], "checkpoint_dir")
    >>> check_outside("photos/results", ["photos"], "checkpoint_dir")
    Traceback (most recent call last):
    ValueError: checkpoint_dir photos/results lies in photos, where images are read: ...
    """
    real = Path(os.path.realpath(output))
    for folder in folders:
        root = os.path.realpath(folder)
        if real.is_relative_to(root) and not any(
            part.startswith(".") for part in real.relative_to(root).parts
        ):
            raise ValueError(
                f"{name} {os.fspath(output)} lies in {os.fspath(folder)}, where images "
                "are read: its files would be taken for images, or it for a class. "
                "Choose a folder outside."
            )


def check_outside_images(output: str | os.PathLike[str], X: Any, name: str) -> None:
    """Raise ValueError if a folder to write to lies where the images of X lie.

    As :func:`check_outside`. An X that is no list of files lies nowhere.
    """
    paths = as_paths(X)
    if paths is not None:
        check_outside(output, folders_of(paths), name)


def folders_of(paths: Iterable[str]) -> set[str]:
    """Return the class folders of a list of images, and the folders that hold them.

    They are the folders of the images, if there are several, and the folders above
    that hold several of these. From a single folder no classes are read.

    Examples
    --------
    >>> from dalmax_sk.images.outputs import folders_of
    >>> sorted(folders_of(["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"]))
    ['test/cat', 'train', 'train/cat', 'train/dog']
    """
    own = {os.path.dirname(path) for path in paths}
    if len(own) < 2:
        return set()
    above = Counter(os.path.dirname(folder) for folder in own)
    return own | {folder for folder, n_classes in above.items() if n_classes > 1}
