"""Folders of class folders as X and y, and X itself in its three accepted forms."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_consistent_length, get_tags
from sklearn.utils.validation import validate_data

from dalmax_sk._base.sklearn_compat import check_y

__all__ = [
    "IMAGE_EXTENSIONS",
    "as_paths",
    "check_images",
    "forget_features",
    "images_below",
    "load_image_paths",
    "looks_like_files",
]

logger = logging.getLogger("dalmax_sk")

#: File endings that :func:`load_image_paths` takes for images, in lower case.
IMAGE_EXTENSIONS = (
    ".bmp",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)

# Folders that operating systems, archives and network drives put anywhere. Some hold
# small copies of the images beside them.
_SYSTEM_FOLDERS = {
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@tmp",
    "__macosx",
    "__pycache__",
    "found.000",
    "lost+found",
    "network trash folder",
    "recycler",
    "system volume information",
    "temporary items",
}

# Endings of what lies beside images on purpose: texts, tables, annotations, settings.
_COMPANIONS = frozenset(
    ".aae .cfg .csv .db .doc .docx .htm .html .ini .ipynb .json .jsonl .lnk .log .md "
    ".md5 .nfo .pdf .py .rst .sh .sha1 .sha256 .toml .tsv .txt .url .xls .xlsx .xml "
    ".xmp .yaml .yml".split()
)
_COMPANION_NAMES = {"icon\r", "license", "licence", "makefile", "readme"}

#: The key of ``ignored`` for images that lie in no class folder.
_LOOSE = "images beside the class folders"

_SPLIT_NAMES = {"dev", "eval", "test", "testing", "train", "training", "val", "valid"}
_SPLIT_NAMES |= {"validation"}

_MAX_LISTED = 10


def load_image_paths(
    directory: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    return_X_y: bool = False,
) -> Any:
    """List the image files of a folder that holds one folder a class.

    No file is opened. Folders and files are sorted by name, so the result does not
    depend on the order in which the disk lists them.

    Parameters
    ----------
    directory : str or path-like
        The folder of class folders. A class's images may lie in sub-folders of its
        folder, to any depth; symbolic links are followed, each folder once a class.
        Hidden files and folders (a leading dot), folders of the system (``__MACOSX``,
        ``@eaDir``, ``lost+found`` …) and files without an image ending (see
        ``IMAGE_EXTENSIONS``; case does not matter) are left out.
    class_names : sequence of str or None, default=None
        The class map to use, in order: give the training folder's ``target_names``
        when reading the test folder, so that both number their classes alike. Other
        classes are then an error; one without images here is noted in the log. Names
        that differ only in their Unicode form (é as one character or two) are the same.
        None makes the map from the sorted folder names.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of the Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        With ``data``, (n,) object array of str paths, class by class; ``target``, (n,)
        int64 array of positions in ``target_names``; ``target_names``, list of str;
        ``directory``, str; ``ignored``, dict of str to int: the numbers of files that
        were left out though they may be images, by ending, and of
        ``"images beside the class folders"``. Such files are also noted in the log.
        Texts, tables and annotations do not count.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `directory` is missing, or is a file.
    ValueError
        If there are no class folders, fewer than two classes, class folders without
        images, classes other than `class_names`, or two folders whose names differ only
        in their Unicode form; all such classes are named.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from dalmax_sk.images import load_image_paths
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("dog", "cat"):
    ...         os.mkdir(os.path.join(folder, name))
    ...         Image.new("RGB", (8, 8)).save(os.path.join(folder, name, "1.png"))
    ...     bunch = load_image_paths(folder)
    >>> bunch.target_names, bunch.target.tolist()
    (['cat', 'dog'], [0, 1])
    """
    root = str(os.fspath(directory))
    ignored: Counter[str] = Counter()
    folders, n_others = _class_folders(root, ignored)
    above = _folders_above(root)
    files: dict[str, list[str]] = {}
    for name in folders:
        found: list[str] = []
        _collect_images(os.path.join(root, name), found, set(above), ignored)
        files[name] = sorted(found)
    if not files:
        raise ValueError(_no_classes_message(root, ignored[_LOOSE], n_others))
    files = _unicode_forms(root, files, class_names)
    names = _class_map(root, files, class_names)
    if ignored:
        logger.warning("%s: left out %s", root, ignored_words(ignored))

    listed = [files.get(name, []) for name in names]
    data = np.array([path for found in listed for path in found], dtype=object)
    target = np.repeat(np.arange(len(names)), [len(found) for found in listed])
    logger.info("%s: %d images in %d classes", root, len(data), len(names))
    if return_X_y:
        return data, target.astype(np.int64)
    return Bunch(
        data=data,
        target=target.astype(np.int64),
        target_names=names,
        directory=root,
        ignored=dict(ignored),
    )


def images_below(folder: str | os.PathLike[str]) -> list[str]:
    """List all images below a folder as :func:`load_image_paths` finds them."""
    found: list[str] = []
    _collect_images(os.fspath(folder), found, set(), Counter())
    return sorted(found)


def as_paths(X: Any) -> NDArray[np.object_] | None:
    """X as an array of paths, or None if it holds something else.

    Parameters
    ----------
    X : array-like
        A list, tuple, 1-D array or Series of str or path-like objects are paths.

    Returns
    -------
    paths : ndarray of shape (n,), object, or None
        The paths as str, unchanged: neither ``~`` nor relative paths are expanded.

    Raises
    ------
    TypeError
        If some entries are paths and others are not, or X is one single path.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> from dalmax_sk.images import as_paths
    >>> as_paths([PurePosixPath("cat/1.png"), "dog/1.png"])
    array(['cat/1.png', 'dog/1.png'], dtype=object)
    >>> as_paths([[0.0, 1.0], [2.0, 3.0]]) is None
    True
    """
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"X is the single path {os.fspath(X)!r}; a sequence of image paths is "
            "expected. load_image_paths(directory).data makes one."
        )
    if not (isinstance(X, (list, tuple)) or hasattr(X, "dtype")):
        return None
    if getattr(X, "ndim", 1) != 1 or getattr(X.__class__, "__len__", None) is None:
        return None
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUT":
        return None
    values = list(X)  # by position, whatever the index of a Series says
    is_path = [isinstance(value, (str, os.PathLike)) for value in values]
    if not any(is_path):
        return None
    if not all(is_path):
        wrong = [
            f"row {i}: {values[i]!r}" for i, found in enumerate(is_path) if not found
        ]
        more = f", and {len(wrong) - _MAX_LISTED} more" * (len(wrong) > _MAX_LISTED)
        raise TypeError(
            "X mixes paths with other values; every row is expected to be a str or a "
            f"path-like object. Seen: {', '.join(wrong[:_MAX_LISTED])}{more}. "
            "Remove these rows, or give their paths."
        )
    return np.array([str(os.fspath(value)) for value in values], dtype=object)


def check_images(
    estimator: BaseEstimator,
    X: Any,
    y: Any = "no_validation",
    *,
    reset: bool,
    dtype: Any = "numeric",
    allow_nan: bool = False,
) -> Any:
    """Validate X in any of its three forms; image files are never opened here.

    Parameters
    ----------
    estimator : estimator instance
        Named in messages; ``n_features_in_`` and ``feature_names_in_`` are set on it or
        compared with it, for arrays and tables.
    X : array-like
        Paths of shape (n,), images of shape (n, H, W), (n, H, W, C) or (n, C, H, W),
        or a table of shape (n, d).
    y : array-like of shape (n,), None or "no_validation", default="no_validation"
        Labels to check along with X.
    reset : bool
        True in ``fit``, False elsewhere.
    dtype : "numeric", dtype, list of dtypes or None, default="numeric"
        What arrays are converted to; None keeps what they have (uint8 stays uint8).
    allow_nan : bool, default=False
        Let NaN and infinity through even if the estimator's tags do not.

    Returns
    -------
    X : ndarray
        Paths as an (n,) object array of str, or the validated array.
    y : ndarray of shape (n,)
        Only if `y` was given.

    Raises
    ------
    ValueError, TypeError
        With scikit-learn's messages: NaN or infinity, sparse or complex input, 1-D
        numbers, other lengths of X and y, other numbers of features than in ``fit``.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from dalmax_sk.images import check_images
    >>> check_images(LogisticRegression(), ["a.png", "b.png"], [0, 1], reset=True)
    (array(['a.png', 'b.png'], dtype=object), array([0, 1]))
    """
    paths = as_paths(X)
    if paths is None:
        if _is_empty_sequence(X):
            raise ValueError(
                "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is "
                f"required by {type(estimator).__name__}."
            )
        return validate_data(
            estimator,
            X,
            y,
            reset=reset,
            dtype=dtype,
            ensure_2d=True,
            allow_nd=True,
            # a meta-estimator over one that handles NaN lets it through
            ensure_all_finite=not (
                allow_nan or get_tags(estimator).input_tags.allow_nan
            ),
        )
    if reset:
        forget_features(estimator)
    if isinstance(y, str) and y == "no_validation":
        return paths
    if y is None:
        if get_tags(estimator).target_tags.required:
            raise ValueError(
                f"This {type(estimator).__name__} estimator requires y to be passed, "
                "but the target y is None."
            )
        return paths
    y = check_y(y, estimator=estimator)
    check_consistent_length(paths, y)
    return paths, y


def forget_features(estimator: BaseEstimator) -> None:
    """Delete the width that a fit on a table before this one has left behind."""
    vars(estimator).pop("n_features_in_", None)
    vars(estimator).pop("feature_names_in_", None)


def looks_like_files(paths: NDArray[np.object_]) -> bool:
    """Whether a text is the name of an image or of a file that exists."""
    return any(
        _is_image(path) or (len(path) < 4096 and os.path.exists(path)) for path in paths
    )


def _is_empty_sequence(X: Any) -> bool:
    # A search for paths that found none; scikit-learn would ask to reshape it.
    if isinstance(X, (list, tuple)):
        return len(X) == 0
    return getattr(X, "shape", None) == (0,)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def _class_folders(root: str, ignored: Counter[str]) -> tuple[list[str], int]:
    """List the class folders; count the files beside them, and those left out."""
    folders, n_others = [], 0
    if not os.path.exists(root):
        raise FileNotFoundError(
            f"No such folder: {root}. A folder with one sub-folder a class is expected "
            f"(the working directory is {os.getcwd()})."
        )
    if not os.path.isdir(root):
        raise NotADirectoryError(
            f"{root} is a file. A folder with one sub-folder a class is expected."
        )
    with os.scandir(root) as entries:
        for entry in entries:
            if _is_folder(entry):
                folders += [] if _is_junk(entry.name) else [entry.name]
            elif not entry.name.startswith(".") and _is_image(entry.name):
                ignored[_LOOSE] += 1
            else:
                n_others += 1
                _count_ignored(entry.name, ignored)
    return sorted(folders), n_others


def _is_junk(folder: str) -> bool:
    return folder.startswith(".") or folder.casefold() in _SYSTEM_FOLDERS


def _count_ignored(name: str, ignored: Counter[str]) -> None:
    """Count a file that is left out, unless nobody would take it for an image."""
    ending = os.path.splitext(name)[1].lower()
    if not (
        name.startswith(".")
        or ending in _COMPANIONS
        or name.casefold() in _COMPANION_NAMES
    ):
        ignored[ending or "no ending"] += 1


def ignored_words(ignored: Mapping[str, int]) -> str:
    """Return in words which files were left out, or nothing."""
    kinds = sorted(
        ((n, kind) for kind, n in ignored.items() if kind != _LOOSE), reverse=True
    )
    notes = []
    if kinds:
        n_files = sum(n for n, _ in kinds)
        listed = ", ".join(f"{n} {kind}" for n, kind in kinds[:_MAX_LISTED])
        more = ", …" * (len(kinds) > _MAX_LISTED)
        notes.append(f"{n_files} files of kinds that are not read ({listed}{more})")
    if ignored.get(_LOOSE):
        notes.append(f"{ignored[_LOOSE]} {_LOOSE}")
    return " and ".join(notes)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # entry.is_dir() raises on a link to itself; isdir() says False.
    if entry.is_symlink():
        return os.path.isdir(entry.path)
    return entry.is_dir()


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _folders_above(root: str) -> set[tuple[int, int]]:
    """`root` and all folders above it, which no link inside a class may lead into."""
    real = os.path.realpath(root)
    above = {_identity(real)}
    while real != os.path.dirname(real):
        real = os.path.dirname(real)
        above.add(_identity(real))
    return above


def _collect_images(
    folder: str, found: list[str], seen: set[tuple[int, int]], ignored: Counter[str]
) -> None:
    """Append the images under `folder` to `found`; count the others in `ignored`."""
    # Links may lead back to a folder above: each folder is entered once.
    if _identity(folder) in seen:
        return
    seen.add(_identity(folder))
    subfolders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                subfolders += [] if _is_junk(entry.name) else [entry.path]
            elif not entry.name.startswith(".") and _is_image(entry.name):
                found.append(entry.path)
            else:
                _count_ignored(entry.name, ignored)
    # In sorted order, so that of two links to one folder always the same is taken.
    for subfolder in sorted(subfolders):
        _collect_images(subfolder, found, seen, ignored)


def _no_classes_message(root: str, n_images: int, n_others: int) -> str:
    if n_images:
        seen = f"holds {n_images} images but no class folders"
        todo = "Move each image into a folder named after its class"
    elif n_others:
        seen = f"holds {n_others} files but no class folders"
        todo = "Give the folder that holds the class folders"
    else:
        seen = "is empty"
        todo = "Give the folder that holds the class folders"
    return f"{root} {seen}; one sub-folder a class is expected. {todo}."


def _unicode_forms(
    root: str, files: dict[str, list[str]], class_names: Iterable[str] | None
) -> dict[str, list[str]]:
    """Call the folders as `class_names` does, where only the Unicode form differs."""
    given = () if class_names is None else map(str, class_names)
    known = {_composed(name): name for name in given}
    found: dict[str, str] = {}
    for name in files:
        other = found.setdefault(_composed(name), name)
        if other != name:
            raise ValueError(
                f"{root}: the class folders {other!a} and {name!a} differ only in the "
                "Unicode form of their names. Join them, or rename one."
            )
    return {known.get(_composed(name), name): files[name] for name in files}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _class_map(
    root: str, files: dict[str, list[str]], class_names: Iterable[str] | None
) -> list[str]:
    """The classes in order, after every check on them."""
    empty = [name for name, found in files.items() if not found]
    if class_names is None:
        if empty:
            raise ValueError(
                f"{root}: no images in {_quoted(empty)}; at least one image in every "
                f"class folder is expected ({', '.join(IMAGE_EXTENSIONS)}). Add "
                "images, or remove the folders."
            )
        if len(files) == 1:
            raise ValueError(
                f"{root}: only one class, {_quoted(files)}; two or more class folders "
                "are expected. Give the folder that holds the class folders."
            )
        if {name.casefold() for name in files} <= _SPLIT_NAMES:
            logger.warning(
                "%s: the classes are named %s: is this folder one level too high?",
                root,
                _quoted(files),
            )
        return list(files)

    names = [str(name) for name in class_names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"class_names holds {_quoted(repeated)} more than once; distinct names are "
            "expected."
        )
    unknown = [name for name in files if name not in names]
    missing = [name for name in names if not files.get(name)]
    if unknown or len(missing) == len(names):
        problems = [f"only here: {_quoted(unknown)}"] if unknown else []
        if missing:
            problems.append(f"without images here: {_quoted(missing)}")
        raise ValueError(
            f"The classes of {root} differ from those of the training images "
            f"(class_names): {'; '.join(problems)}. "
            "The same classes are expected on both sides: rename, add or remove class "
            "folders."
        )
    if missing:
        logger.warning(
            "%s: no images of class %s here; its scores are not defined",
            root,
            _quoted(missing),
        )
    return names


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
