"""Training data: batches of an epoch, their device, and the statistics of inputs."""

import math

import torch

from dalmax_sk._base.devices import fits_on, to_device
from dalmax_sk._base.limits import limits
from dalmax_sk.images import get_image_cache
from dalmax_sk.images.source import load_batches, take_batches

__all__ = ["Batches", "input_statistics", "place_on_device"]


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
        images = load_batches(self.source, local, self.device)
        yield from zip(images, on_device, strict=True)


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
    mean = sum(b.double().sum(axes) for b in take_batches(source, blocks)) / count
    shape = (1, -1) if first.ndim == 2 else (1, -1, 1, 1)
    centre = mean.view(shape)
    var = sum(
        b.to(torch.float64, copy=True).sub_(centre).square_().sum(axes)
        for b in take_batches(source, blocks)
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
    for block in take_batches(source, blocks):
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
