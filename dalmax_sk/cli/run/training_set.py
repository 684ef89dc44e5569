"""The images that ``dalmax train`` trains on, and where each of them comes from."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dalmax_sk._base.files import inside, open_regular, write_text
from dalmax_sk._base.seeds import derive_seed
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.run.data import (
    RunData,
    Split,
    broken_images,
    check_no_class_empty,
    drop_broken,
)
from dalmax_sk.cli.run.output_folder import listed
from dalmax_sk.cli.run.train_settings import Run
from dalmax_sk.images import IMAGE_EXTENSIONS, find_broken_images

__all__ = [
    "TrainingSet",
    "all_images",
    "draw_images",
    "labelled_images",
    "read_chosen",
]


@dataclass
class TrainingSet:
    """Images to train on.

    Attributes
    ----------
    split : Split
        The images with their classes.
    rows : list of int
        The row of each in the sorted training folder.
    origins : list of str
        Why each is there: ``"initial"`` or ``"round 3"`` of a run, ``"random"``, or
        ``"folder"``.
    """

    split: Split
    rows: list[int]
    origins: list[str]

    def write_csv(self, path: Path) -> Path:
        """Write one line an image: row, file, class, origin and its SHA-256."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["row", "file", "class", "origin", "sha256"])
        for row, file, label, origin in zip(
            self.rows, self.split.paths, self.split.labels, self.origins, strict=True
        ):
            with open_regular(file) as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            writer.writerow([row, file, label, origin, digest])
        return write_text(path, buffer.getvalue())

    def keep(self, mask: Sequence[bool]) -> None:
        """Keep the rows and origins of the images that were not left out."""
        self.rows = [row for row, kept in zip(self.rows, mask, strict=True) if kept]
        self.origins = [o for o, kept in zip(self.origins, mask, strict=True) if kept]


def all_images(data: RunData) -> TrainingSet:
    """Take every image of the training folder."""
    n = len(data.train.paths)
    return TrainingSet(data.train, list(range(n)), ["folder"] * n)


def draw_images(
    data: RunData, n: int, *, seed: int, image_size: int, skip_bad_images: bool
) -> TrainingSet:
    """Draw images from the training folder, uniformly and without replacement.

    Only images that are drawn are read; one that cannot be read is replaced by the next
    of the draw.

    Parameters
    ----------
    data : RunData
        The images of both folders.
    n : int
        How many.
    seed : int
        Seed of the draw.
    image_size : int
        Side to which the images will be resized, in pixels.
    skip_bad_images : bool
        Leave out files that cannot be read instead of raising.

    Raises
    ------
    UsageError
        If the folder holds fewer images, or fewer that can be read.
    ImageReadError
        If files cannot be read and are not to be skipped.
    """
    paths, labels = data.train.paths, data.train.labels
    if n > len(paths):
        raise UsageError(
            f"{n} images are to be drawn, and {data.train.directory} holds "
            f"{len(paths)}. Give --n-labels a number up to that."
        )
    # one order a seed: a smaller draw is the beginning of a larger one
    order = np.random.default_rng(derive_seed(seed)).permutation(len(paths))
    drawn: list[int] = []
    skipped: list[tuple[str, str]] = []
    position = 0
    while len(drawn) < n:
        batch = order[position : position + n - len(drawn)]
        if not len(batch):
            raise UsageError(
                f"{n} images are to be drawn, and only {len(drawn)} of "
                f"{data.train.directory} can be read ({len(skipped)} cannot)."
            )
        position += len(batch)
        broken = find_broken_images(paths[batch], image_size=image_size)
        if broken and not skip_bad_images:
            raise broken_images(broken)
        skipped += broken
        reasons = dict(broken)
        drawn += [row for row in batch.tolist() if paths[row] not in reasons]
    rows = sorted(drawn)
    split = Split(data.train.directory, paths[rows], labels[rows], skipped)
    return TrainingSet(split, rows, ["random"] * n)


def labelled_images(run: Run) -> TrainingSet:
    """Take the images that a run has labels of: its initial set and all it picked.

    The initial set comes from the run's training folder, the picked images from the
    copies below ``selected_images/``.

    Raises
    ------
    UsageError
        If one of them is not there any more, or if ``selected_images/`` holds images
        that ``run.json`` does not name.
    """
    source = Path(run.record["data"]["train"]["directory"])
    entries = [
        (
            pick["row"],
            inside(source, pick["file"], follow_links=True),
            pick["class"],
            "initial",
        )
        for pick in run.initial
    ]
    for entry in run.record["rounds"]:
        origin = f"round {entry['round']}"
        entries += [
            (pick["row"], inside(run.folder, pick["copy"]), pick["class"], origin)
            for pick in entry["picked"]
        ]
    missing = [str(path) for _, path, _, _ in entries if not path.is_file()]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(entries)} images that the run in {run.folder} "
            f"has labels of are gone: {listed(missing)}. Put them back; the initial "
            f"set is read from {source}, the others from selected_images/."
        )
    _check_no_others(run, {path for _, path, _, _ in entries})
    entries.sort(key=lambda entry: entry[0])
    split = Split(
        source,
        np.array([str(path) for _, path, _, _ in entries], dtype=object),
        np.array([label for _, _, label, _ in entries]),
    )
    return TrainingSet(
        split, [row for row, *_ in entries], [origin for *_, origin in entries]
    )


def _check_no_others(run: Run, known: set[Path]) -> None:
    root = run.folder / "selected_images"
    others = [
        str(path.relative_to(run.folder))
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in IMAGE_EXTENSIONS
        and not path.name.startswith(".")
        and path not in known
    ]
    if others:
        raise UsageError(
            f"{root} holds {len(others)} images that run.json does not name: "
            f"{listed(others)}. Move them away; or, to train on images of your own "
            "choice, give --dir-train a folder with one sub-folder a class."
        )


def read_chosen(
    chosen: TrainingSet, data: RunData, *, image_size: int, skip_bad_images: bool
) -> None:
    """Read the chosen training images and all test images, every file once.

    A class of which no training image was chosen is no mistake; one without a test
    image is.
    """
    before = chosen.split.paths
    test_classes = sorted(set(data.test.labels.tolist()))
    drop_broken(
        [chosen.split, data.test],
        image_size=image_size,
        skip_bad_images=skip_bad_images,
    )
    check_no_class_empty(data.test, test_classes)
    kept = set(chosen.split.paths.tolist())
    chosen.keep([path in kept for path in before])
    data.train = chosen.split
    if len(set(chosen.split.labels.tolist())) < 2:
        raise UsageError(
            f"All {len(chosen.rows)} training images are of one class "
            f"({', '.join(sorted(set(chosen.split.labels.tolist())))}); nothing can "
            "be learned from one. Give more images, or another --seed."
        )
