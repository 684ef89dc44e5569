"""Features of frozen layers: computed once for each image, and kept in the store.

`CNNClassifier(freeze=...)` trains the layers behind the frozen ones on these, and
evaluates a pool through them. The frozen layers give an image the same features in
every epoch, every fit and every round of active learning, as long as their weights and
the standardisation of the inputs stay the same.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dalmax_sk._base.devices import autocast_dtype
from dalmax_sk._base.limits import limits
from dalmax_sk._base.row_cache import Key, file_key
from dalmax_sk.features.store import get_feature_store
from dalmax_sk.images.source import FileSource, TensorSource, sequential_batches
from dalmax_sk.nets import InputClassifier
from dalmax_sk.nets.fingerprint import classes_of
from dalmax_sk.nets.inference import autocast, collect, fitting_batch_size, iter_results

__all__ = [
    "FeatureSource",
    "collect_features",
    "embedding_fingerprint",
    "iter_features",
]

_ALWAYS = (0, 0)  # stamp of digests, which change with the values


class FeatureSource(TensorSource):
    """Features of frozen layers as a source of batches, of whatever shape they are.

    Parameters
    ----------
    data : Tensor of shape (n, ...)
    """

    @classmethod
    def example(cls, module: InputClassifier) -> "FeatureSource":
        """Zeros in the shape of the features of a few samples."""
        assert module.frozen is not None
        return cls(
            torch.zeros(8, *module.frozen.feature_shape, dtype=module.mean.dtype)
        )

    @classmethod
    def of(cls, rows: NDArray[Any], device: torch.device) -> "FeatureSource":
        """Features as `iter_features` gives them: 16-bit floats come as int16."""
        data = torch.from_numpy(rows)
        is_half = data.dtype == torch.int16
        return cls(data.view(autocast_dtype(device)) if is_half else data)

    def to(self, device: torch.device) -> "FeatureSource":
        return FeatureSource(self.data.to(device))

    def arrange(self, batch: Tensor) -> Tensor:
        """Maps (b, C, H, W) in channels-last order, all else as it is."""
        if batch.ndim == 4:
            return batch.contiguous(memory_format=torch.channels_last)
        return batch


def iter_features(
    module: InputClassifier,
    source: TensorSource | FileSource,
    device: torch.device,
    *,
    amp: bool = False,
    parts: Iterable[slice] | None = None,
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Go through the features of a source's samples, in order, many at a time.

    Features of images are looked up in the process's feature store, and kept there.
    Rows of a table are not: a net for tables is hardly slower than the look.

    Parameters
    ----------
    module : InputClassifier
        With frozen layers.
    source : TensorSource or FileSource
    device : torch.device
        Where the module is.
    amp : bool
    parts : iterable of slice or None
        Rows to go through; None means all.

    Yields
    ------
    start, stop : int
    features : ndarray of shape (stop - start, ...)
        For `FeatureSource.of`: NumPy has no bfloat16.
    """
    assert module.frozen is not None
    is_table = isinstance(source, TensorSource) and source.data.ndim == 2
    store = get_feature_store()
    is_kept = store.max_bytes > 0 and not is_table
    net = _identity(module, source, amp, device) if is_kept else None
    row_bytes = 4 * int(np.prod(module.frozen.feature_shape))
    size = max(1, min(limits.frozen_rows, limits.frozen_bytes // row_bytes))
    for part in [slice(0, len(source))] if parts is None else parts:
        for start in range(part.start, part.stop, size):
            rows = np.arange(start, min(start + size, part.stop))

            def compute(
                positions: NDArray[np.int64], rows: NDArray[np.int64] = rows
            ) -> Iterator[tuple[int, int, NDArray[Any]]]:
                chosen = source.select(rows[positions])
                return _compute(module, chosen, device, amp)

            if is_kept:
                found = store.features(net, _keys_of(source, rows), compute)
            else:
                (found,) = collect(compute(np.arange(len(rows))), len(rows))
            yield start, start + len(rows), found


def collect_features(
    module: InputClassifier,
    source: TensorSource | FileSource,
    device: torch.device,
    *,
    amp: bool = False,
) -> FeatureSource | None:
    """Features of all samples of a source, or None if they exceed the store's budget.

    Parameters
    ----------
    module : InputClassifier
        With frozen layers.
    source : TensorSource or FileSource
    device : torch.device
    amp : bool

    Returns
    -------
    FeatureSource or None
        On the CPU.
    """
    assert module.frozen is not None
    n_bytes = 4 * len(source) * int(np.prod(module.frozen.feature_shape))
    if n_bytes > get_feature_store().max_bytes:
        return None
    blocks = iter_features(module, source, device, amp=amp)
    return FeatureSource.of(collect(blocks, len(source))[0], device)


def embedding_fingerprint(module: InputClassifier, amp: bool) -> str | None:
    """Fingerprint of the embeddings, equal for nets that give every sample the same.

    None for nets whose embeddings change when they are trained again: those without
    frozen layers, and those with trained layers before the last one.
    """
    if module.frozen is None or not module.frozen.gives_embedding():
        return None
    return _fingerprint(module, amp)


def _fingerprint(module: InputClassifier, amp: bool) -> str:
    """Digest of everything that a sample's features depend on besides the sample."""
    assert module.frozen is not None
    digest = hashlib.sha256(module.frozen.fingerprint().encode())
    for tensor in (module.mean, module.std):
        digest.update(f"{tensor.dtype} {tensor.tolist()}".encode())
    digest.update(f"{module.image_size} {amp}".encode())
    return digest.hexdigest()


def _identity(
    module: InputClassifier,
    source: TensorSource | FileSource,
    amp: bool,
    device: torch.device,
) -> tuple[Any, ...]:
    """Everything that tells features of a sample's key apart."""
    form: tuple[Any, ...]
    if isinstance(source, FileSource):
        form = ("file", *source.image_size, source.mode)
    else:
        form = (str(source.data.dtype), *source.data.shape[1:], source.channel_axis)
    # Another device rounds otherwise.
    return _fingerprint(module, amp), classes_of(module.net), device.type, form


def _keys_of(source: TensorSource | FileSource, rows: NDArray[np.int64]) -> list[Key]:
    """Keys of some samples: a file by its identity, an array by a digest of values."""
    if isinstance(source, FileSource):
        return [file_key(path) for path in source.paths[rows]]
    values = source.data[rows[0] : rows[-1] + 1].cpu().contiguous().flatten(1)
    return [
        (hashlib.blake2b(row, digest_size=16).hexdigest(), _ALWAYS)
        for row in values.view(torch.uint8).numpy()
    ]


def _compute(
    module: InputClassifier,
    source: TensorSource | FileSource,
    device: torch.device,
    amp: bool,
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Run the frozen layers on all samples; yields (start, stop, features)."""

    def forward(X: Tensor) -> tuple[Tensor]:
        with torch.inference_mode(), autocast(X.device, amp):
            features = module.frozen_features(X)
        # NumPy has no bfloat16.
        is_half = features.dtype in (torch.bfloat16, torch.half)
        return (features.view(torch.int16) if is_half else features,)

    size = fitting_batch_size(forward, source, device, amp=amp)
    return iter_results(forward, sequential_batches(source, size, device))
