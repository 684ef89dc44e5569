"""Sources of samples, and batches of them in order, read ahead in the background.

A source holds n samples and hands out any of them as one tensor: ``take(rows)`` with a
slice or a 1-D tensor of row numbers.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from dalmax_sk._base.devices import Uploader
from dalmax_sk._base.limits import limits
from dalmax_sk.images.cache import decode_reduced, get_image_cache
from dalmax_sk.images.decode import ImageMode

__all__ = [
    "FileSource",
    "TensorSource",
    "as_tensor",
    "load_batches",
    "sequential_batches",
    "take_batches",
]

Rows: TypeAlias = slice | Tensor
#: Writes a batch into a tensor of the shape and type that follow, see `Uploader`.
Job: TypeAlias = tuple[Callable[[Tensor], Tensor], Sequence[int], torch.dtype]


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Wrap a numeric array as a tensor, without a copy where torch allows it."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    # torch has neither read-only tensors nor negative strides.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


class TensorSource:
    """Samples in one tensor.

    Parameters
    ----------
    data : Tensor
        (n, d); or (n, H, W), (n, C, H, W), (n, H, W, C): ``channel_axis`` None, 1, 3.
    channel_axis : int or None
    """

    in_memory = True

    def __init__(self, data: Tensor, channel_axis: int | None = None) -> None:
        self.data = data
        self.channel_axis = channel_axis

    def __len__(self) -> int:
        return len(self.data)

    @property
    def device(self) -> torch.device:
        return self.data.device

    @property
    def n_bytes(self) -> int:
        return self.data.numel() * self.data.element_size()

    @property
    def values_per_sample(self) -> int:
        return math.prod(self.data.shape[1:])

    def to(self, device: torch.device) -> "TensorSource":
        return TensorSource(self.data.to(device), self.channel_axis)

    def gather(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """Samples in the order of the axes that ``data`` has, into ``out`` if given."""
        if isinstance(rows, slice):
            return self.data[rows] if out is None else out.copy_(self.data[rows])
        return torch.index_select(self.data, 0, rows, out=out)

    def arrange(self, batch: Tensor) -> Tensor:
        """Turn gathered samples into (b, d), or (b, C, H, W) in channels-last order."""
        if batch.ndim == 2:
            return batch
        if batch.ndim == 3:
            batch = batch.unsqueeze(1)
        elif self.channel_axis == 3:
            batch = batch.permute(0, 3, 1, 2)
        return batch.contiguous(memory_format=torch.channels_last)

    def take(self, rows: Rows) -> Tensor:
        """(b, d) or (b, C, H, W), the latter in channels-last memory order."""
        return self.arrange(self.gather(rows))

    def select(self, rows: NDArray[np.int64]) -> "TensorSource":
        """Source of the rows (k,), in this order; gathered batch by batch."""
        return _SelectedRows(self, torch.from_numpy(rows))


class _SelectedRows(TensorSource):
    """Some rows (k,) of a source in memory; ``data`` is that of all rows."""

    def __init__(self, source: TensorSource, rows: Tensor) -> None:
        self.data = source.data
        self.source = source
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        return self.source.gather(self.rows[rows], out)

    def arrange(self, batch: Tensor) -> Tensor:
        return self.source.arrange(batch)


class FileSource:
    """Samples in image files, decoded on demand.

    Parameters
    ----------
    paths : ndarray of shape (n,), object
    image_size : (int, int)
    mode : {"rgb", "grey"}
    reduced : bool, default=False
        Decode without the process's image cache, and leave it to whoever takes a batch
        to enlarge small images. Those of a batch of several sizes are enlarged here.
    """

    in_memory = False
    device = torch.device("cpu")

    def __init__(
        self,
        paths: NDArray[np.object_],
        image_size: tuple[int, int],
        mode: ImageMode,
        reduced: bool = False,
    ) -> None:
        self.paths = paths
        self.image_size = image_size
        self.mode = mode
        self.reduced = reduced

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def n_bytes(self) -> int:
        return len(self) * self.values_per_sample

    @property
    def values_per_sample(self) -> int:
        # Images of several sizes become floats of four bytes.
        n_channels = 1 if self.mode == "grey" else 3
        return math.prod(self.image_size) * n_channels * (4 if self.reduced else 1)

    def select(self, rows: NDArray[np.int64]) -> "FileSource":
        """Source of the rows (k,), in this order."""
        return FileSource(self.paths[rows], self.image_size, self.mode, self.reduced)

    def load(self) -> TensorSource:
        """Decode everything: a TensorSource of (n, H, W, C) uint8."""
        return TensorSource(self._read(self.paths), channel_axis=3)

    def take(self, rows: Rows) -> Tensor:
        """(b, C, H, W) in channels-last memory order: uint8, or float32 in [0, 1]."""
        chosen = self.paths[rows if isinstance(rows, slice) else rows.numpy()]
        if not self.reduced:
            return self._read(chosen).permute(0, 3, 1, 2)
        images = decode_reduced(list(chosen), self.image_size, self.mode)
        if len({image.shape for image in images}) == 1:
            return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return torch.cat([self._resized(image) for image in images])

    def _read(self, paths: NDArray[np.object_]) -> Tensor:
        images = get_image_cache().load(
            paths, image_size=self.image_size, mode=self.mode
        )
        return torch.from_numpy(images)  # (n, H, W, C)

    def _resized(self, image: NDArray[np.uint8]) -> Tensor:
        """(1, C, H, W) float32 of one image (h, w, C)."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        if pixels.shape[2:] == self.image_size:
            return pixels
        return interpolate(pixels, self.image_size, mode="bilinear", antialias=True)


Source: TypeAlias = TensorSource | FileSource


def _read_ahead(
    take: Callable[[Rows], Tensor], rows_of_batches: Iterable[Rows]
) -> Iterator[Tensor]:
    """Yield ``take(rows)`` of each batch while a thread reads the next one."""
    with ThreadPoolExecutor(1, thread_name_prefix="dalmax_sk-read") as reader:
        pending = None
        for rows in rows_of_batches:
            following = reader.submit(take, rows)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def take_batches(source: Source, rows_of_batches: Iterable[Rows]) -> Iterator[Tensor]:
    """Yield ``source.take(rows)`` of each batch, files read ahead."""
    if source.in_memory:
        return map(source.take, rows_of_batches)
    return _read_ahead(source.take, rows_of_batches)


def load_batches(
    source: Source, rows_of_batches: Iterable[Rows], device: torch.device
) -> Iterator[Tensor]:
    """Yield each batch on ``device``, the next one already on its way."""
    if isinstance(source, TensorSource) and _is_upload(source, device):
        jobs = (_upload_job(source, rows) for rows in rows_of_batches)
        return map(source.arrange, _uploaded(jobs, device))
    return _sent(source, take_batches(source, rows_of_batches), device)


def _is_upload(source: Source, device: torch.device) -> bool:
    return device.type == "cuda" and source.device != device


def _sent(
    source: Source, batches: Iterable[Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Yield batches that were taken from ``source`` already on ``device``."""
    if not _is_upload(source, device):
        return (batch.to(device) for batch in batches)
    # Images of files: (b, C, H, W) whose memory is in the order (b, H, W, C).
    rows = (TensorSource(batch.permute(0, 2, 3, 1)) for batch in batches)
    jobs = (_upload_job(source, slice(0, len(source))) for source in rows)
    return (batch.permute(0, 3, 1, 2) for batch in _uploaded(jobs, device))


def _upload_job(source: TensorSource, rows: Rows) -> Job:
    """Job for an `Uploader`: gather rows right into the pinned buffer."""
    n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
    shape = (n_rows, *source.data.shape[1:])
    return partial(source.gather, rows), shape, source.data.dtype


def _uploaded(jobs: Iterable[Job], device: torch.device) -> Iterator[Tensor]:
    """Yield batches on a GPU; while one is used the next one is copied."""
    uploader = Uploader(device)
    pending = None
    for job in jobs:
        following = uploader.send(*job)
        if pending is not None:
            yield uploader.receive(pending)
        pending = following
    if pending is not None:
        yield uploader.receive(pending)


def sequential_batches(
    source: Source,
    batch_size: int,
    device: torch.device,
    parts: Sequence[slice] | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (start, stop, X on ``device``) over all samples in order.

    Files are read in larger blocks, which keeps the decoding threads busy. `parts` are
    slices of rows to go through; None means all.
    """
    if parts is None:
        parts = [slice(0, len(source))]
    slices = _slices(parts, batch_size)
    if source.in_memory:
        batches = load_batches(source, slices, device)
    else:
        n_files = min(limits.read_files, limits.read_bytes // source.values_per_sample)
        blocks = _slices(parts, batch_size * max(1, n_files // batch_size))
        taken = take_batches(source, blocks)
        split = (batch for block in taken for batch in block.split(batch_size))
        batches = _sent(source, split, device)
    for rows, batch in zip(slices, batches, strict=True):
        yield rows.start, rows.stop, batch


def _slices(parts: Sequence[slice], size: int) -> list[slice]:
    """Cut slices of rows into slices of ``size`` rows at most."""
    return [
        slice(start, min(start + size, part.stop))
        for part in parts
        for start in range(part.start, part.stop, size)
    ]
