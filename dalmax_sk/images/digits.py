"""Small real data sets as image folders, for examples and tests, without a download."""

import json
import os
import re
import tempfile
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dalmax_sk._base.files import open_regular, writing

__all__ = ["make_digits_folder"]

_MARKER = "dataset.json"
_FORMAT = 1
_N_IMAGES = 1797
_OUR_FILE = re.compile(r"(train|test)/\d/digit_\d{4}\.png|dataset\.json")
_OUR_FOLDER = re.compile(r"(train|test)(/\d)?")


def make_digits_folder(
    directory: str | os.PathLike[str],
    *,
    test_size: float | int = 0.2,
    random_state: int = 0,
) -> Path:
    """Write scikit-learn's handwritten digits as a folder of image files.

    The 1,797 images become 8-bit grey PNG files of 8 x 8 pixels,
    ``{train,test}/{0..9}/digit_0042.png``, where the number is the row of the image in
    :func:`~sklearn.datasets.load_digits` and the pixel values 0..16 become 0..255. The
    split is stratified.

    The folder is written once: a complete one of the same parameters is left as it is,
    and one of which files are missing is written anew. It appears under its name only
    when it is complete.

    Parameters
    ----------
    directory : str or path-like
        The folder to write; its parents are made as needed.
    test_size : float or int, default=0.2
        Share (in (0, 1)) or number of the images that go to ``test``.
    random_state : int, default=0
        Seed of the split.

    Returns
    -------
    directory : :class:`~pathlib.Path`
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds other files, or the digits with other parameters; nothing in
        it is touched.
    NotADirectoryError
        If `directory` is a file.
    ValueError
        If `test_size` or `random_state` is out of range.

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
       Machine Learning Repository, 1998. `doi:10.24432/C50P49
       <https://doi.org/10.24432/C50P49>`_

    Examples
    --------
    >>> import tempfile
    >>> from dalmax_sk.images import make_digits_folder
    >>> from dalmax_sk.images import load_image_paths
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     digits = make_digits_folder(folder, test_size=0.2)
    ...     train = load_image_paths(digits / "train")
    ...     test = load_image_paths(digits / "test", class_names=train.target_names)
    >>> len(train.data), len(test.data)
    (1437, 360)
    """
    directory = Path(directory)
    parameters = _parameters(test_size, random_state)
    if _is_complete(directory, parameters):
        return directory

    # A hidden sibling on the same disk: the last step is one rename, so that a stop in
    # the middle leaves nothing under the final name. The tree lies one level below it,
    # because only its owner may read a temporary folder.
    final = Path(os.path.abspath(directory))
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".digits-") as temp:
        tree = Path(temp, "tree")
        with writing(directory):
            _write_tree(tree, parameters)
        if _is_complete(final, parameters):  # another process was quicker
            return directory
        try:
            if final.exists():  # empty, or ours and incomplete
                final.rename(Path(temp, "old"))
            tree.rename(final)
        except OSError:
            # The other process finished between the look and the rename.
            if not _is_complete(final, parameters):
                raise
    return directory


def _parameters(test_size: float, random_state: int) -> dict[str, Any]:
    """The parameters as they stand in the marker file."""
    problems = []
    if not isinstance(random_state, Integral) or isinstance(random_state, bool):
        problems.append(f"random_state must be an int. Got {random_state!r} instead.")
    if (
        not isinstance(test_size, Real)
        or isinstance(test_size, bool)
        or not (isinstance(test_size, Integral) or 0 < test_size < 1)
    ):
        problems.append(
            "test_size must be a float in (0, 1) or a number of images (int). Got "
            f"{test_size!r} instead."
        )
    if problems:
        raise ValueError(" ".join(problems))
    size = int(test_size) if isinstance(test_size, Integral) else float(test_size)
    return {
        "name": "digits",
        "format": _FORMAT,
        "n_images": _N_IMAGES,
        "test_size": size,
        "random_state": int(random_state),
    }


def _is_complete(directory: Path, parameters: dict[str, Any]) -> bool:
    """True if the folder holds this very data set, False if it may be written.

    Raises if it holds anything else.
    """
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"{directory} is a file; a folder to write is expected. Choose another "
            "name."
        )
    files, foreign = set(), []
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if not (_OUR_FOLDER if is_folder else _OUR_FILE).fullmatch(name):
            foreign.append(name)
        elif not is_folder:
            files.add(name)
    if foreign:
        raise FileExistsError(
            f"{directory} holds {len(foreign)} entries that are not of the digits data "
            f"set ({min(foreign)!r} for one); an empty or new folder is expected. "
            "Choose another name."
        )
    if _MARKER not in files:
        return False
    with open_regular(directory / _MARKER) as file:
        text = file.read().decode("utf-8", "replace")
    if text != _marker_text(parameters):
        raise FileExistsError(
            f"{directory / _MARKER} tells of other contents: {' '.join(text.split())}, "
            f"expected {parameters}. Choose another name, or remove the folder."
        )
    return len(files) == _N_IMAGES + 1


def _write_tree(tree: Path, parameters: dict[str, Any]) -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # (1797, 8, 8) floats 0..16 -> uint8 0..255
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(images)),
        test_size=parameters["test_size"],
        random_state=parameters["random_state"],
        stratify=digits.target,
    )
    for part, rows in (("train", train), ("test", test)):
        for label in range(10):
            (tree / part / str(label)).mkdir(parents=True)
        for row in rows:
            folder = tree / part / str(digits.target[row])
            Image.fromarray(images[row]).save(folder / f"digit_{row:04d}.png")
    (tree / _MARKER).write_text(_marker_text(parameters), encoding="utf-8")


def _marker_text(parameters: dict[str, Any]) -> str:
    return json.dumps(parameters, indent=2) + "\n"
