"""Checks of a split: training and test images that are not apart."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from dalmax_sk._base.files import open_regular
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.images.decode import largest_integer

__all__ = [
    "check_apart",
    "find_identical",
    "note_16_bit",
    "note_across_classes",
    "note_across_split",
    "overlap",
]

# Bytes at the start, in the middle and at the end of a file that are compared before
# the whole of it: uncompressed images are all of one size.
_BLOCK = 4096

# Images that are looked at for the range of their values.
_N_LOOKED_AT = 32


def overlap(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> str:
    """Return in words how two folders overlap, or nothing; links are followed."""
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if first == second:
        return "are the same folder"
    if first.is_relative_to(second) or second.is_relative_to(first):
        return "lie one inside the other"
    return ""


def check_apart(
    dir_train: str | os.PathLike[str], dir_test: str | os.PathLike[str]
) -> None:
    """Raise UsageError if training and test folder are the same, or nested."""
    found = overlap(dir_train, dir_test)
    if found:
        raise UsageError(
            f"--dir-train {dir_train} and --dir-test {dir_test} {found}: the test "
            "images would be trained on. Give two folders that are apart, each with "
            "one sub-folder per class."
        )


def find_identical(paths: Sequence[str]) -> list[list[int]]:
    """Find files with the same bytes.

    Only files of equal size are read. Files that cannot be read are left to the reader
    of images, which names them.

    Parameters
    ----------
    paths : sequence of str
        The files.

    Returns
    -------
    list of list of int
        The positions of each group of two or more.
    """
    groups = _grouped([list(range(len(paths)))], lambda row: _size(paths[row]))
    groups = _grouped(groups, lambda row: _blocks(paths[row]))
    # of small files the blocks are the whole
    return _grouped(
        groups,
        lambda row: (_size(paths[row]) or 0) <= 3 * _BLOCK or _digest(paths[row]),
    )


def _grouped(
    groups: Iterable[Sequence[int]], key_of: Callable[[int], Hashable]
) -> list[list[int]]:
    """Divide groups by a key; those of one row, or without a key, are left out."""
    found = []
    for group in groups:
        by_key = defaultdict(list)
        for row in group:
            by_key[key_of(row)].append(row)
        by_key.pop(None, None)
        found += [rows for rows in by_key.values() if len(rows) > 1]
    return found


def _size(path: str) -> int | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size or None if stat.S_ISREG(status.st_mode) else None


def _blocks(path: str) -> bytes | None:
    try:
        with open_regular(path) as file:
            content = file.read(3 * _BLOCK + 1)
            if len(content) > 3 * _BLOCK:
                size = os.fstat(file.fileno()).st_size
                content = content[:_BLOCK]
                for place in (size // 2, size - _BLOCK):
                    file.seek(place)
                    content += file.read(_BLOCK)
    except OSError:
        return None
    return hashlib.blake2b(content, digest_size=16).digest()


def _digest(path: str) -> bytes | None:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def note_across_split(
    groups: Sequence[Sequence[int]], paths: Sequence[str], n_train: int
) -> list[str]:
    """Describe test images that are training images as well.

    Parameters
    ----------
    groups : list of list of int
        Files with the same bytes, from :func:`find_identical`.
    paths : sequence of str
        All files, the training images first.
    n_train : int
        Number of training images.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    both = [g for g in groups if min(g) < n_train <= max(g)]
    if not both:
        return []
    n_test = sum(row >= n_train for group in both for row in group)
    return [
        f"{n_test} of the {len(paths) - n_train} test images are byte for byte "
        f"training images too, for instance {paths[max(both[0])]} and "
        f"{paths[min(both[0])]}: scores on them say nothing about new images"
    ]


def note_across_classes(
    groups: Sequence[Sequence[int]], paths: Sequence[str], labels: Sequence[str]
) -> list[str]:
    """Describe images that have two labels; arguments as of the function above."""
    several = [g for g in groups if len({labels[row] for row in g}) > 1]
    if not several:
        return []
    first = several[0]
    other = next(row for row in first if labels[row] != labels[first[0]])
    n_images = sum(map(len, several))
    return [
        f"{n_images} images are byte for byte the same as one of another class, for "
        f"instance {paths[first[0]]} and {paths[other]}: one of the labels is wrong"
    ]


def note_16_bit(paths: Sequence[str]) -> list[str]:
    """Describe 16-bit images that use a small part of their range.

    Parameters
    ----------
    paths : sequence of str
        The training images; some of them, evenly spread, are looked at.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    step = max(1, len(paths) // _N_LOOKED_AT)
    values = [largest_integer(path) for path in paths[::step]]
    found = [value for value in values if value is not None]
    if not found or max(found) >= 2**14:
        return []
    top = max(found)
    return [
        f"the 16-bit images hold values up to {top} ({top.bit_length()} bits; "
        f"{len(found)} images were looked at): only {top // 257 + 1} of 256 grey "
        "levels are left of them. Stretch all of them by one factor beforehand"
    ]
