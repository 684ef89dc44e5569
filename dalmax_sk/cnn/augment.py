"""Random crops and flips of whole batches, on the device where the batch lies."""

import torch

from dalmax_sk._base.devices import to_device

__all__ = ["AUGMENTATIONS", "get_augmentation", "random_crop_flip"]

#: Names that ``CNNClassifier(augment=...)`` takes.
AUGMENTATIONS = ("flip_crop", "flip", "crop")


def random_crop_flip(batch, padding=None, flip=True):
    """Shift every image by a random offset and mirror every other one.

    As a crop from the image padded by reflection would, but without making the padded
    image: rows and columns are gathered by one index for the whole batch. The random
    numbers come from torch's default CPU generator, so that a seed gives the same
    images on every device.

    Parameters
    ----------
    batch : Tensor of shape (n, channels, H, W)
        uint8 or float, on any device.
    padding : int or None, default=None
        Largest shift in pixels in both directions, below min(H, W); None is an eighth
        of the shorter side, at least 1 (4 pixels at 32×32). 0 shifts nothing.
    flip : bool, default=True
        Mirror each image left-right with probability one half.

    Returns
    -------
    Tensor of shape (n, channels, H, W)
        The same dtype and device, in channels-last memory order.

    Raises
    ------
    ValueError
        If ``padding`` is not in [0, min(H, W) - 1].

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(2 * 8 * 8, dtype=torch.uint8).reshape(2, 1, 8, 8)
    >>> random_crop_flip(images, padding=2).shape
    torch.Size([2, 1, 8, 8])
    """
    n, _, height, width = batch.shape
    shorter = min(height, width)
    if padding is None:
        padding = min(max(1, shorter // 8), shorter - 1)
    if not 0 <= padding < shorter:
        raise ValueError(
            f"padding must be in [0, {shorter - 1}] for images of {height}×{width} "
            f"pixels; got {padding}."
        )
    # Drawn on the CPU, a few numbers an image; the positions of all its pixels are
    # worked out on the device.
    device = batch.device
    shifts = torch.randint(-padding, padding + 1, (2, n, 1))
    mirrored = torch.rand(n, 1) < 0.5 if flip else None
    shifts = to_device(shifts, device)
    rows = torch.arange(height, device=device) + shifts[0]
    rows = _reflect(rows, height)  # (n, H)
    columns = torch.arange(width, device=device).expand(n, -1)
    if flip:
        columns = torch.where(to_device(mirrored, device), columns.flip(1), columns)
    columns = _reflect(columns + shifts[1], width)  # (n, W)
    # Flat positions of the pixels in a (n * H * W, channels) table: (n, H, W).
    first = torch.arange(n, device=device)[:, None, None] * (height * width)
    index = first + rows[:, :, None] * width + columns[:, None, :]
    pixels = batch.permute(0, 2, 3, 1).reshape(n * height * width, -1)
    moved = pixels.index_select(0, index.flatten()).view(n, height, width, -1)
    return moved.permute(0, 3, 1, 2)


def _reflect(position, size):
    """Mirror positions beyond the border back inside, the border pixel not repeated."""
    position = position.abs()
    return (size - 1) - (size - 1 - position).abs()


def get_augmentation(augment):
    """Return the function on a batch that a parameter ``augment`` means, or None.

    Parameters
    ----------
    augment : bool, str or callable
        False is None; True and ``"flip_crop"`` are :func:`random_crop_flip`; ``"flip"``
        and ``"crop"`` are its halves; a callable is returned as it is.

    Examples
    --------
    >>> get_augmentation(False) is None
    True
    """
    if callable(augment):
        return augment
    if not augment:
        return None
    return {
        True: random_crop_flip,
        "flip_crop": random_crop_flip,
        "flip": _flip,
        "crop": _crop,
    }[augment]


def _flip(batch):
    return random_crop_flip(batch, padding=0)


def _crop(batch):
    return random_crop_flip(batch, flip=False)
