"""Adversarial images as files that one can look at."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dalmax_sk._base.files import replacing, write_text
from dalmax_sk.strategies.attacks.perturbations import Perturbations

__all__ = ["write_adversarial_images"]

_TABLE = "adversarial.csv"
_COLUMNS = ("row", "file", "size", "class_before", "class_after", "class_as_saved")


def write_adversarial_images(
    directory: str | os.PathLike[str],
    rows: Sequence[int],
    batch: Tensor,
    found: Perturbations,
    *,
    module: nn.Module,
    class_names: Sequence[Any],
) -> list[Path]:
    """Write each image beside its perturbed copy, and a table of what was found.

    The image of row 7 becomes ``row_000007.png``: the original on the left, the
    perturbed one on the right, in 8 bits. Rounding may undo a small perturbation, so
    ``adversarial.csv`` says which class the net gives to the image as saved. Lines of
    rows that were written before are kept, those of the same rows replaced. uint8
    images are written as they are; of float images the least value of the pair becomes
    black and the largest white.

    Parameters
    ----------
    directory : path-like
        Made if it is not there.
    rows : sequence of int of length n
        What to name the images by.
    batch : Tensor of shape (n, channels, H, W)
        The originals, 1 or 3 channels, as `module` takes them.
    found : Perturbations
        What an attack found for `batch`.
    module : InputClassifier
        In evaluation mode.
    class_names : sequence
        One for each output of `module`.

    Returns
    -------
    list of pathlib.Path
        The images, in the order of `rows`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    originals = batch.to(found.adversarial.dtype)
    low, high = torch.zeros(len(batch)), torch.full((len(batch),), 255.0)
    if batch.dtype == torch.uint8:
        adversarial = found.adversarial * 255
    else:
        adversarial = found.adversarial
        both = torch.stack([originals, adversarial]).flatten(2)  # (2, n, values)
        low, high = both.amin(dim=(0, 2)), both.amax(dim=(0, 2))
    low = low.to(originals)[:, None, None, None]
    scale = (high.to(originals)[:, None, None, None] - low).clamp_min(1e-30) / 255
    pixels = ((adversarial - low) / scale).round()
    saved = pixels / 255 if batch.dtype == torch.uint8 else pixels * scale + low
    with torch.no_grad():
        after = module(found.adversarial).argmax(dim=1).tolist()
        as_saved = module(saved).argmax(dim=1).tolist()
    pairs = torch.cat([((originals - low) / scale).round(), pixels], dim=3)
    pairs = pairs.permute(0, 2, 3, 1).to(torch.uint8).cpu()  # (n, H, 2 W, channels)

    paths, lines = [], []
    for i, row in enumerate(rows):
        path = directory / f"row_{int(row):06d}.png"
        array = pairs[i].numpy()
        image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
        with replacing(path, sync=False) as part:
            image.save(part, format="PNG")
        paths.append(path)
        names = (class_names[k] for k in (int(found.outputs[i]), after[i], as_saved[i]))
        lines.append([int(row), path.name, float(found.sizes[i]), *names])
    _add_lines(directory / _TABLE, lines)
    return paths


def _add_lines(path: Path, lines: list[list[Any]]) -> None:
    """Replace the lines of the same rows of the table, and add the others."""
    table = {}
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = tuple(next(reader, ()))
            if header != _COLUMNS:
                raise ValueError(
                    f"{path} has the columns {', '.join(header) or '(none)'}, expected "
                    f"{', '.join(_COLUMNS)}. Choose another folder."
                )
            table = {int(line[0]): line for line in reader}
    for line in lines:
        table[line[0]] = line
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(table.values())
    write_text(path, text.getvalue())
