"""Adversarial images as files that one can look at."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from dalmax_sk._base.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from dalmax_sk.pool import Pool
    from dalmax_sk.strategies import AdversarialSampling

__all__ = ["write_adversarial_images"]

_CLASSES = ("class_before", "class_after", "class_as_saved")


def write_adversarial_images(
    directory: str | os.PathLike[str],
    strategy: "AdversarialSampling",
    pool: "Pool",
    positions: Sequence[int],
) -> pd.DataFrame:
    """Write candidates with their perturbed copies, as `strategy` perturbs them.

    The image of row 7 becomes ``row_000007.png``: the original on the left, the
    perturbed one on the right, in 8 bits. uint8 images are written as they are; of
    float images the least value of the pair becomes black and the largest white.

    Parameters
    ----------
    directory : path-like
        Made if it does not exist.
    strategy : AdversarialSampling
        Its attack, norm and sizes are those of a query.
    pool : Pool
        One whose estimator is a CNNClassifier, with images of 1 or 3 channels.
    positions : sequence of int
        Candidates, for instance the picks of a query.

    Returns
    -------
    DataFrame
        One line per candidate: ``row`` of X, ``file``, ``size`` of the perturbation,
        and the predicted ``class_before``, ``class_after`` and ``class_as_saved``.
        Rounding to 8 bits may undo a small perturbation, so the last may differ.

    Raises
    ------
    MissingCapabilityError
        If there is no net behind the pool.
    ValueError
        If the samples are no images of 1 or 3 channels.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from dalmax_sk import CNNClassifier
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.reports import write_adversarial_images
    >>> from dalmax_sk.strategies import AdversarialSampling
    >>> digits = load_digits()
    >>> net = CNNClassifier(max_epochs=1, random_state=0, device="cpu")
    >>> net = net.fit(digits.images[:50], digits.target[:50])
    >>> pool = Pool(net, digits.images[:60], range(50), digits.target[:50])
    >>> strategy = AdversarialSampling()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = write_adversarial_images(folder, strategy, pool, [0, 3])
    >>> table["file"].tolist()
    ['row_000050.png', 'row_000053.png']
    """
    import torch  # loaded by whoever has fitted a net

    pool.prepare(["network"], owner="write_adversarial_images")
    directory, network = Path(directory), pool.network
    names = pool.classes[network.columns]
    lines: list[dict[str, Any]] = []
    for block, samples, found in strategy.perturb(pool, positions):
        if samples.ndim != 4 or samples.shape[1] not in (1, 3):
            raise ValueError(
                "write_adversarial_images writes images of 1 or 3 channels, but this "
                f"pool has inputs of shape {tuple(samples.shape[1:])}."
            )
        directory.mkdir(parents=True, exist_ok=True)
        pairs, saved = _pairs(samples, found.adversarial)
        with torch.no_grad():
            after = network.module(found.adversarial).argmax(dim=1)
            as_saved = network.module(saved).argmax(dim=1)
        for i, row in enumerate(pool.indices[block].tolist()):
            file = f"row_{row:06d}.png"
            with replacing(directory / file, sync=False) as part:
                Image.fromarray(pairs[i]).save(part, format="PNG")
            outputs = (found.outputs[i], after[i], as_saved[i])
            classes = [names[int(output)] for output in outputs]
            lines.append(
                {"row": row, "file": file, "size": float(found.sizes[i])}
                | dict(zip(_CLASSES, classes, strict=True))
            )
    return pd.DataFrame(lines, columns=["row", "file", "size", *_CLASSES])


def _pairs(samples: "Tensor", adversarial: "Tensor") -> tuple[np.ndarray, "Tensor"]:
    """Return pixels (b, H, 2 W[, 3]), and the perturbed samples as they are saved."""
    if samples.is_floating_point():
        low = samples.minimum(adversarial).amin(dim=(1, 2, 3), keepdim=True)
        high = samples.maximum(adversarial).amax(dim=(1, 2, 3), keepdim=True)
        scale = (high - low).clamp_min(1e-30) / 255
        pixels = [((half - low) / scale).round() for half in (samples, adversarial)]
        saved = pixels[1] * scale + low
    else:  # bytes, perturbed as floats in [0, 1]
        pixels = [samples, (adversarial * 255).round()]
        saved = pixels[1] / 255
    halves = [half.permute(0, 2, 3, 1).cpu().numpy() for half in pixels]
    pairs = np.concatenate(halves, axis=2).astype(np.uint8)
    return pairs[..., 0] if pairs.shape[3] == 1 else pairs, saved
