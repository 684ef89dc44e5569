"""Batches as slices of whole tensors, or of files read ahead in the background.

A source holds n samples and hands out any of them as one tensor: ``take(rows)`` with a
slice or a 1-D tensor of row numbers.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from dalmax_sk._base.devices import Uploader, fits_on, to_device
from dalmax_sk._base.limits import limits
from dalmax_sk.images import get_image_cache

__all__ = [
    "Batches",
    "FileSource",
    "TensorSource",
    "as_tensor",
    "input_statistics",
    "place_on_device",
    "sequential_batches",
]


def as_tensor(array):
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

    def __init__(self, data, channel_axis=None):
        self.data = data
        self.channel_axis = channel_axis

    def __len__(self):
        return len(self.data)

    @property
    def device(self):
        return self.data.device

    @property
    def n_bytes(self):
        return self.data.numel() * self.data.element_size()

    @property
    def values_per_sample(self):
        return math.prod(self.data.shape[1:])

    def to(self, device):
        return TensorSource(self.data.to(device), self.channel_axis)

    def gather(self, rows, out=None):
        """Samples in the order of the axes that ``data`` has, into ``out`` if given."""
        if isinstance(rows, slice):
            return self.data[rows] if out is None else out.copy_(self.data[rows])
        return torch.index_select(self.data, 0, rows, out=out)

    def arrange(self, batch):
        """Turn gathered samples into (b, d), or (b, C, H, W) in channels-last order."""
        if batch.ndim == 2:
            return batch
        if batch.ndim == 3:
            batch = batch.unsqueeze(1)
        elif self.channel_axis == 3:
            batch = batch.permute(0, 3, 1, 2)
        return batch.contiguous(memory_format=torch.channels_last)

    def take(self, rows):
        """(b, d) or (b, C, H, W), the latter in channels-last memory order."""
        return self.arrange(self.gather(rows))


class FileSource:
    """Samples in image files, decoded on demand through the process's image cache.

    Parameters
    ----------
    paths : ndarray of shape (n,), object
    image_size : (int, int)
    mode : {"rgb", "grey"}
    """

    in_memory = False
    device = torch.device("cpu")

    def __init__(self, paths, image_size, mode):
        self.paths = paths
        self.image_size = image_size
        self.mode = mode

    def __len__(self):
        return len(self.paths)

    @property
    def n_bytes(self):
        return len(self) * self.values_per_sample

    @property
    def values_per_sample(self):
        return math.prod(self.image_size) * (1 if self.mode == "grey" else 3)

    def load(self):
        """Decode everything: a TensorSource of (n, H, W, C) uint8."""
        return TensorSource(self._read(self.paths), channel_axis=3)

    def take(self, rows):
        """(b, C, H, W) uint8 in channels-last memory order."""
        chosen = self.paths[rows if isinstance(rows, slice) else rows.numpy()]
        return self._read(chosen).permute(0, 3, 1, 2)

    def _read(self, paths):
        images = get_image_cache().load(
            paths, image_size=self.image_size, mode=self.mode
        )
        return torch.from_numpy(images)  # (n, H, W, C)


def place_on_device(source, device):
    """Bring training data as near to ``device`` as memory allows.

    Files are decoded to one tensor if that fits the image cache's budget, otherwise
    they stay files and are streamed. A tensor moves to the GPU if it fits there.
    """
    if not source.in_memory:
        if source.n_bytes > get_image_cache().max_bytes:
            return source
        source = source.load()
    if fits_on(device, source.n_bytes):
        return source.to(device)
    return source


def _read_ahead(take, rows_of_batches):
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


def _taken(source, rows_of_batches):
    if source.in_memory:
        return map(source.take, rows_of_batches)
    return _read_ahead(source.take, rows_of_batches)


def _loaded(source, rows_of_batches, device):
    """Yield each batch on ``device``, the next one already on its way."""
    if source.in_memory and _is_upload(source, device):
        jobs = (_gathering(source, rows) for rows in rows_of_batches)
        return map(source.arrange, _uploaded(jobs, device))
    return _sent(source, _taken(source, rows_of_batches), device)


def _is_upload(source, device):
    return device.type == "cuda" and source.device != device


def _sent(source, batches, device):
    """Yield batches that were taken from ``source`` already on ``device``."""
    if not _is_upload(source, device):
        return (batch.to(device) for batch in batches)
    # Images of files: (b, C, H, W) whose memory is in the order (b, H, W, C).
    jobs = (_copying(batch.permute(0, 2, 3, 1)) for batch in batches)
    return (batch.permute(0, 3, 1, 2) for batch in _uploaded(jobs, device))


def _gathering(source, rows):
    """Job for an `Uploader`: gather rows right into the pinned buffer."""
    n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
    shape = (n_rows, *source.data.shape[1:])
    return partial(_gather_into, source, rows), shape, source.data.dtype


def _gather_into(source, rows, out):
    source.gather(rows, out=out)


def _copying(batch):
    """Job for an `Uploader`: copy a batch that was read already."""
    return partial(_copy_into, batch), batch.shape, batch.dtype


def _copy_into(batch, out):
    out.copy_(batch)


def _uploaded(jobs, device):
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


class Batches:
    """One epoch's batches each time it is iterated over.

    The rows are dealt out in ``ceil(n / batch_size)`` batches of nearly equal size, so
    that no single left-over sample makes a batch (which batch normalisation could not
    use).

    Parameters
    ----------
    source : TensorSource or FileSource
    rows : Tensor of shape (n,), int64, CPU
        The rows of ``source`` to use.
    y : Tensor of shape (len(source),), int64, on ``device``
    batch_size : int
    device : torch.device
    shuffle : bool
        Draw a new order for each epoch, from torch's default CPU generator.
    augment : callable or None
        Applied to each batch on the device.
    """

    def __init__(
        self,
        source,
        rows,
        y,
        batch_size,
        device,
        *,
        shuffle=False,
        augment=None,
    ):
        self.source = source
        self.rows = rows
        self.y = y
        self.batch_size = batch_size
        self.device = device
        self.shuffle = shuffle
        self.augment = augment

    def __len__(self):
        return len(self.rows)

    @property
    def n_batches(self):
        return math.ceil(len(self.rows) / self.batch_size)

    def _deal(self):
        """Return the rows of each batch of an epoch, CPU."""
        order = self.rows
        if self.shuffle:
            order = order[torch.randperm(len(order))]
        return order.tensor_split(self.n_batches)

    def __iter__(self):
        """Yield (X of shape (b, ...), y of shape (b,)), both on the device."""
        for X, rows in self._load(self._deal()):
            if self.augment is not None:
                X = self.augment(X)
            yield X, self.y.index_select(0, rows)

    def _load(self, batches):
        """Yield (X, rows) of batches given as rows on the CPU, both on the device."""
        # Row numbers go to the device once an epoch, not once a batch.
        sizes = [len(b) for b in batches]
        on_device = to_device(torch.cat(list(batches)), self.device).split(sizes)
        local = on_device if self.source.device == self.device else batches
        images = _loaded(self.source, local, self.device)
        yield from zip(images, on_device, strict=True)


def sequential_batches(source, batch_size, device, parts=None):
    """Yield (start, stop, X on ``device``) over all samples in order.

    Files are read in larger blocks, which keeps the decoding threads busy. `parts` are
    slices of rows to go through; None means all.
    """
    if parts is None:
        parts = [slice(0, len(source))]
    slices = _slices(parts, batch_size)
    if source.in_memory:
        batches = _loaded(source, slices, device)
    else:
        n_files = min(limits.read_files, limits.read_bytes // source.values_per_sample)
        blocks = _slices(parts, batch_size * max(1, n_files // batch_size))
        taken = _taken(source, blocks)
        split = (batch for block in taken for batch in block.split(batch_size))
        batches = _sent(source, split, device)
    for rows, batch in zip(slices, batches, strict=True):
        yield rows.start, rows.stop, batch


def _slices(parts, size):
    """Cut slices of rows into slices of ``size`` rows at most."""
    return [
        slice(start, min(start + size, part.stop))
        for part in parts
        for start in range(part.start, part.stop, size)
    ]


def input_statistics(source, rows):
    """Mean and standard deviation of each column or channel over ``rows``.

    uint8 pixels count in units of 255. Their sums are exact, so that the result does
    not depend on how the images were read. A constant column has a deviation of 0.

    Returns
    -------
    mean, std : Tensor of shape (d,) or (channels,), float64, CPU
    """
    n_rows = max(1, limits.statistics_values // source.values_per_sample)
    blocks = rows.to(source.device).split(n_rows)
    first = source.take(rows[:1].to(source.device))
    axes = (0,) if first.ndim == 2 else (0, 2, 3)
    per_sample = 1 if first.ndim == 2 else first.shape[2] * first.shape[3]
    count = len(rows) * per_sample
    if first.dtype == torch.uint8:
        return _statistics_of_pixels(source, blocks, first.shape[1], count)
    mean = sum(b.double().sum(axes) for b in _taken(source, blocks)) / count
    shape = (1, -1) if first.ndim == 2 else (1, -1, 1, 1)
    centre = mean.view(shape)
    var = sum(
        b.to(torch.float64, copy=True).sub_(centre).square_().sum(axes)
        for b in _taken(source, blocks)
    )
    var = var / count
    # Rounding in the mean must not pass for variation (as in StandardScaler).
    noise = (count * torch.finfo(torch.float64).eps * mean).square()
    return mean.cpu(), torch.where(var > noise, var, 0.0).sqrt().cpu()


def _statistics_of_pixels(source, blocks, n_channels, count):
    """Mean and standard deviation of uint8 channels, from how often each value occurs.

    Sums of integers are exact, and counting is an order faster than summing squares.
    """
    occurrences = torch.zeros(n_channels, 256, dtype=torch.int64, device=source.device)
    for block in _taken(source, blocks):
        for channel, counts in enumerate(occurrences):
            counts += torch.bincount(block[:, channel].flatten(), minlength=256)
    values = torch.arange(256)
    occurrences = occurrences.cpu()
    totals = (occurrences * values).sum(1).tolist()
    squares = (occurrences * values.square()).sum(1).tolist()
    sums = list(zip(totals, squares, strict=True))
    mean = [a / (255 * count) for a, _ in sums]
    var = [(count * b - a * a) / (255 * count) ** 2 for a, b in sums]
    mean, var = torch.tensor([mean, var], dtype=torch.float64)
    return mean, var.sqrt()
