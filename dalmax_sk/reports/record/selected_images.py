"""Copies of the images that a run asked labels for, one folder a round."""

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dalmax_sk._base.files import inside, replacing

__all__ = ["copy_names", "write_selected_images"]


def copy_names(files: Sequence[str]) -> list[str]:
    """Return under which names the picked `files` of one round are copied.

    A copy is named ``<class>/<original file name>``. Where two picks of one class bear
    the same file name (upper and lower case counted as the same, for disks that do not
    tell them apart), every pick of that class in that round keeps the sub-folders it
    has in the source, so that nothing is lost or renamed.

    Parameters
    ----------
    files : sequence of str
        Paths relative to the image folder, with forward slashes; the first part is the
        class.

    Returns
    -------
    list of str
        One relative path a file, all distinct, with forward slashes.

    Examples
    --------
    >>> from dalmax_sk.reports import copy_names
    >>> copy_names(["cat/a/1.png", "dog/a/1.png", "dog/b/1.png"])
    ['cat/1.png', 'dog/a/1.png', 'dog/b/1.png']
    """
    parts = [PurePosixPath(file).parts for file in files]
    seen = Counter((part[0], part[-1].casefold()) for part in parts)
    crowded = {class_name for (class_name, _), count in seen.items() if count > 1}
    return [
        "/".join(part) if part[0] in crowded else f"{part[0]}/{part[-1]}"
        for part in parts
    ]


def write_selected_images(
    files: Sequence[str],
    *,
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    round_number: int,
) -> list[str]:
    """Copy the picked files of one round, byte for byte.

    The copies go to ``directory/selected_images/round_01/<class>/<file name>`` (see
    :func:`copy_names`). Calling it again changes nothing; a copy that is missing or
    differs is made anew, so that a run that was killed here is completed.

    Parameters
    ----------
    files : sequence of str
        Picked files in pick order, relative to `source`, with forward slashes.
    source : path-like
        The folder of the training images.
    directory : path-like
        The run's folder.
    round_number : int
        The round, from 1.

    Returns
    -------
    list of str
        The copies, relative to `directory`, in the order of `files`.

    Raises
    ------
    FileNotFoundError
        If a picked file is no longer there.
    ValueError
        If a link in `directory` leads out of it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dalmax_sk.reports import write_selected_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "train" / "cat").mkdir(parents=True)
    ...     _ = (Path(folder) / "train" / "cat" / "1.png").write_bytes(b"...")
    ...     write_selected_images(
    ...         ["cat/1.png"],
    ...         source=Path(folder) / "train",
    ...         directory=folder,
    ...         round_number=1,
    ...     )
    ['selected_images/round_01/cat/1.png']
    """
    source, directory = Path(source), Path(directory)
    base = PurePosixPath("selected_images", f"round_{round_number:02d}")
    copies = [str(base / name) for name in copy_names(files)]
    for file, copy in zip(files, copies, strict=True):
        origin, target = source / file, inside(directory, copy)
        if target.is_file() and filecmp.cmp(origin, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, sync=False) as part:
            shutil.copyfile(origin, part)
    return copies
