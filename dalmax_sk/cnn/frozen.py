"""Features of frozen layers: computed once for each image, and kept in memory.

`CNNClassifier(freeze=...)` trains what comes behind the frozen layers on these, and
looks at a pool through them. The frozen layers give an image the same features in every
epoch, every fit and every round of active learning, as long as their weights and the
standardisation of the inputs stay the same.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dalmax_sk._base.devices import autocast_dtype
from dalmax_sk._base.limits import limits
from dalmax_sk.cnn.batches import FileSource, TensorSource, sequential_batches
from dalmax_sk.cnn.inference import autocast, fitting_batch_size, iter_results
from dalmax_sk.images.cache import RowStore, Stamp, file_stamp
from dalmax_sk.nets import InputClassifier

__all__ = ["FrozenFeatureCache", "get_frozen_cache", "set_frozen_cache_size"]

_DEFAULT_BYTES = 2**30
# What stands for a sample: the path of its file or a digest of its values, and the
# file's time of last change and size.
Keys = Sequence[tuple[str, Stamp | None]]
_ALWAYS: Stamp = (0, 0)  # of digests, which change with the values


class FrozenFeatureCache:
    """Features of frozen layers, kept in memory while they fit a budget.

    What belongs to one net, with its weights, is kept together. When the budget is
    spent, the features of the net that was used longest ago go first; those of the net
    in use stay, and further images are computed at every use. The results are the same
    either way. Safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Budget in bytes; 0 keeps nothing. The index beside the features takes some 300
        bytes an image and is not counted.

    Attributes
    ----------
    nbytes : int
        Bytes allocated now, never above ``max_bytes``.

    See Also
    --------
    get_frozen_cache : The instance the whole process shares.

    Examples
    --------
    >>> from dalmax_sk.cnn import FrozenFeatureCache
    >>> cache = FrozenFeatureCache(max_bytes=1_000_000)
    >>> cache.nbytes
    0
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._stores: OrderedDict[Any, RowStore] = OrderedDict()
        self._dtypes: dict[Any, torch.dtype] = {}
        self._max_bytes = _check_bytes(max_bytes)

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self._max_bytes,)

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        budget = _check_bytes(max_bytes)
        with self._lock:
            if budget < self._nbytes():
                self._forget()
            self._max_bytes = budget

    @property
    def nbytes(self) -> int:
        with self._lock:
            return self._nbytes()

    def clear(self) -> None:
        """Forget all features and give their memory back."""
        with self._lock:
            self._forget()

    def find(self, net: Any, keys: Keys) -> tuple[Tensor | None, list[int]]:
        """Features that are here.

        Parameters
        ----------
        net : hashable
            The net and all its settings.
        keys : sequence of n (str, (int, int) or None)

        Returns
        -------
        features : Tensor of shape (n, ...) or None
            On the CPU. Rows of missing samples hold anything; None if all are
            missing.
        missing : list of int
            Positions in ``keys``.
        """
        with self._lock:
            store = self._stores.get(net)
            if store is None:
                return None, list(range(len(keys)))
            self._stores.move_to_end(net)
            out = torch.empty(len(keys), *store.shape, dtype=self._dtypes[net])
            rows = _as_array(out)
            missing = store.gather([k for k, _ in keys], [s for _, s in keys], rows)
        return (out if len(missing) < len(keys) else None), missing

    def keep(self, net: Any, keys: Keys, features: Tensor) -> None:
        """Store the features (n, ...) of samples while there is room.

        Parameters
        ----------
        net : hashable
        keys : sequence of n (str, (int, int) or None)
        features : Tensor of shape (n, ...)
            On the CPU.
        """
        values = _as_array(features)
        with self._lock:
            store = self._stores.get(net)
            if store is None:
                store = RowStore(values.shape[1:], values.dtype)
                if store.row_bytes > self._max_bytes:
                    return
                self._stores[net] = store
                self._dtypes[net] = features.dtype
            self._stores.move_to_end(net)
            n_short = len({k for k, _ in keys} - store.index.keys()) - store.n_free
            if n_short > 0:
                # Half as much again as there is, so that growing ends with few blocks.
                wanted = max(n_short, store.n_rows // 2)
                self._make_room(net, wanted * store.row_bytes)
                room = (self._max_bytes - self._nbytes()) // store.row_bytes
                store.grow(min(wanted, room))
            for (key, stamp), row in zip(keys, values, strict=True):
                store.put(key, stamp, row)

    def _make_room(self, net: Any, n_bytes: int) -> None:
        """Drop other nets' features, those used longest ago first, while need be."""
        for other in list(self._stores):
            if self._nbytes() + n_bytes <= self._max_bytes:
                return
            if other != net:
                del self._stores[other], self._dtypes[other]

    def _forget(self) -> None:
        self._stores.clear()
        self._dtypes.clear()

    def _nbytes(self) -> int:
        return sum(store.n_rows * store.row_bytes for store in self._stores.values())


def _as_array(features: Tensor) -> NDArray[Any]:
    """View a tensor as an array; NumPy has no bfloat16."""
    return (features.view(torch.int16) if _is_half(features) else features).numpy()


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.bfloat16, torch.half)


def _check_bytes(max_bytes: int) -> int:
    whole = isinstance(max_bytes, int | np.integer) and not isinstance(max_bytes, bool)
    if not whole or max_bytes < 0:
        raise ValueError(
            f"max_bytes of the cache of frozen features must be an int of at least 0, "
            f"got {max_bytes!r}."
        )
    return int(max_bytes)


_shared_cache = FrozenFeatureCache(_DEFAULT_BYTES)


def get_frozen_cache() -> FrozenFeatureCache:
    """The cache of frozen features that this process shares.

    Its budget is 1 GiB (2**30 bytes) until :func:`set_frozen_cache_size` changes it.
    Worker processes have one each.

    Returns
    -------
    cache : FrozenFeatureCache

    Examples
    --------
    >>> from dalmax_sk.cnn import get_frozen_cache
    >>> get_frozen_cache() is get_frozen_cache()
    True
    """
    return _shared_cache


def set_frozen_cache_size(max_bytes: int) -> None:
    """Set the budget of the shared cache of frozen features.

    Parameters
    ----------
    max_bytes : int
        Budget in bytes, at least 0; 0 switches caching off. A budget below what is held
        now empties the cache first.

    Raises
    ------
    ValueError
        If `max_bytes` is not such an int.

    Examples
    --------
    >>> from dalmax_sk.cnn import get_frozen_cache, set_frozen_cache_size
    >>> set_frozen_cache_size(4 * 2**30)
    >>> get_frozen_cache().max_bytes
    4294967296
    >>> set_frozen_cache_size(2**30)
    """
    _shared_cache.max_bytes = max_bytes


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

    def to(self, device: torch.device) -> "FeatureSource":
        return FeatureSource(self.data.to(device))

    def arrange(self, batch: Tensor) -> Tensor:
        """Maps (b, C, H, W) in channels-last order, all else as it is."""
        if batch.ndim == 4:
            return batch.contiguous(memory_format=torch.channels_last)
        return batch


class _Chosen:
    """Some samples of a source in memory, as a source.

    Parameters
    ----------
    source : TensorSource
    rows : Tensor of shape (k,), int64
    """

    in_memory = True

    def __init__(self, source: TensorSource, rows: Tensor) -> None:
        self.source = source
        self.rows = rows
        self.device = source.device
        self.values_per_sample = source.values_per_sample
        self.data = source.data  # whose shape and type a batch has

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: slice, out: Tensor | None = None) -> Tensor:
        return self.source.gather(self.rows[rows], out)

    def arrange(self, batch: Tensor) -> Tensor:
        return self.source.arrange(batch)

    def take(self, rows: slice) -> Tensor:
        return self.source.take(self.rows[rows])


def iter_features(
    module: InputClassifier,
    source: TensorSource | FileSource,
    device: torch.device,
    *,
    amp: bool = False,
    parts: Iterable[slice] | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Go through the features of a source's samples, in order, many at a time.

    Features of images are looked up in the shared cache, and left there. Rows of a
    table are not: a net for tables is hardly slower than the look.

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
    features : Tensor of shape (stop - start, ...)
        On the CPU.
    """
    assert module.frozen is not None
    is_table = isinstance(source, TensorSource) and source.data.ndim == 2
    cache = None if is_table or not _shared_cache.max_bytes else _shared_cache
    net = None if cache is None else _identity(module, source, amp, device)
    row_bytes = 4 * int(np.prod(module.frozen.feature_shape))
    size = max(1, min(limits.frozen_rows, limits.frozen_bytes // row_bytes))
    for part in [slice(0, len(source))] if parts is None else parts:
        for start in range(part.start, part.stop, size):
            stop = min(start + size, part.stop)
            rows = torch.arange(start, stop)
            if cache is None:
                yield start, stop, _compute(module, source, rows, device, amp)
                continue
            keys = _keys_of(source, start, stop)
            found, missing = cache.find(net, keys)
            if missing:
                new = _compute(module, source, rows[missing], device, amp)
                cache.keep(net, [keys[i] for i in missing], new)
                if len(missing) == len(rows) or found is None:
                    found = new
                else:
                    found[missing] = new
            assert found is not None
            yield start, stop, found


def collect_features(
    module: InputClassifier,
    source: TensorSource | FileSource,
    device: torch.device,
    *,
    amp: bool = False,
) -> FeatureSource | None:
    """Features of all samples of a source, or None if they exceed the cache's budget.

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
    if n_bytes > _shared_cache.max_bytes:
        return None
    found = None
    for start, stop, features in iter_features(module, source, device, amp=amp):
        if found is None:
            found = features.new_empty(len(source), *features.shape[1:])
        found[start:stop] = features
    return None if found is None else FeatureSource(found)


def embedding_fingerprint(module: InputClassifier, amp: bool) -> str | None:
    """What two nets have in common that give every sample the same embedding.

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
    return _fingerprint(module, amp), device.type, form


def _keys_of(source: TensorSource | FileSource, start: int, stop: int) -> Keys:
    """Keys of some samples: a file by its path, an array by a digest of its values."""
    if isinstance(source, FileSource):
        # Stamps are taken before the files are read: one that changes in between has an
        # old stamp with its new features, and is computed once more the next time.
        paths = [os.path.abspath(path) for path in source.paths[start:stop]]
        return [(path, file_stamp(path)) for path in paths]
    values = source.data[start:stop].cpu().contiguous().flatten(1).view(torch.uint8)
    return [
        (hashlib.blake2b(row, digest_size=16).hexdigest(), _ALWAYS)
        for row in values.numpy()
    ]


def _compute(
    module: InputClassifier,
    source: TensorSource | FileSource,
    rows: Tensor,
    device: torch.device,
    amp: bool,
) -> Tensor:
    """Run the frozen layers on some samples; (k, ...) on the CPU."""
    chosen: _Chosen | FileSource
    if isinstance(source, FileSource):
        paths = source.paths[rows.numpy()]
        chosen = FileSource(paths, source.image_size, source.mode)
    else:
        chosen = _Chosen(source, rows)

    def forward(X: Tensor) -> tuple[Tensor]:
        with torch.inference_mode(), autocast(X.device, amp):
            features = module.frozen_features(X)
        # NumPy has no bfloat16, and arrays are what comes back.
        return (features.view(torch.int16) if _is_half(features) else features,)

    size = fitting_batch_size(forward, chosen, device, amp=amp)
    batches = sequential_batches(chosen, size, device)
    out = None
    for start, stop, (features,) in iter_results(forward, batches):
        if out is None:
            out = np.empty((len(rows), *features.shape[1:]), features.dtype)
        out[start:stop] = features
    assert out is not None
    found = torch.from_numpy(out)
    return found.view(autocast_dtype(device)) if found.dtype == torch.int16 else found
