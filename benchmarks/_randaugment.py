"""RandAugment as FixMatch and realistic-al use it, for whole batches at a time.

``CNNClassifier(augment=RandAugment())``: mirrored and shifted images get two random
operations of fourteen, each of random strength, and a grey square of half the side.
Defined image by image with PIL in the authors' code; here each operation is applied at
once to all images that drew it, on the device where the batch lies.

References
----------
.. [1] E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le, "RandAugment: Practical automated
   data augmentation with a reduced search space", NeurIPS 2020.
   https://arxiv.org/abs/1909.13719
.. [2] K. Sohn et al., "FixMatch: Simplifying semi-supervised learning with consistency
   and confidence", NeurIPS 2020, appendix E. https://arxiv.org/abs/2001.07685
"""

import torch

from dalmax_sk.cnn import random_crop_flip

#: Strengths are drawn from 1 to 9, of 10.
LEVELS = 10
GREY = 127


class RandAugment:
    """Mirror, shift, change twice at random, and cut a square out.

    Parameters
    ----------
    n_operations : int, default=2
    cutout : float, default=0.5
        Side of the grey square as a share of the shorter side of the image.
    """

    def __init__(self, n_operations=2, cutout=0.5):
        self.n_operations = n_operations
        self.cutout = cutout

    def __repr__(self):
        return f"RandAugment(n_operations={self.n_operations}, cutout={self.cutout})"

    def __call__(self, batch):
        """Return changed images: uint8 of shape (b, 3, H, W), as given."""
        if batch.dtype != torch.uint8 or batch.shape[1] != 3:
            raise ValueError(
                "RandAugment takes uint8 images of three channels, got "
                f"{batch.dtype} of shape {tuple(batch.shape)}."
            )
        batch = random_crop_flip(batch)
        for _ in range(self.n_operations):
            batch = self._one_operation(batch)
        return _cut_out(batch, self.cutout)

    def _one_operation(self, batch):
        n = len(batch)
        # from torch's CPU generator, so that a seed gives the same on every device
        operation = torch.randint(len(OPERATIONS), (n,))
        level = torch.randint(1, LEVELS, (n,))
        sign = 1.0 - 2.0 * torch.randint(2, (n,))
        changed = batch.clone()
        for number, apply in enumerate(OPERATIONS):
            rows = torch.nonzero(operation == number).flatten()
            if len(rows):
                there = rows.to(batch.device)
                strength = level[rows].to(batch.device), sign[rows].to(batch.device)
                changed[there] = apply(batch[there], *strength)
        return changed


# Each takes images (m, 3, H, W) uint8, strengths (m,) from 1 to 9, signs (m,) of ±1.
# Strengths are whole numbers, for some operations round down what they make of them.


def identity(images, level, sign):
    """Leave the images as they are."""
    return images


def autocontrast(images, level, sign):
    """Stretch every channel to 0..255."""
    values = images.float()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    flat = high == low
    stretched = (values - low) * (255 / torch.where(flat, 1, high - low))
    return torch.where(flat, values, stretched).clamp(0, 255).to(torch.uint8)


def equalize(images, level, sign):
    """Spread the grey values of every channel evenly."""
    m, channels, height, width = images.shape
    flat = images.reshape(m * channels, height * width).long()
    counts = torch.zeros(m * channels, 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    last = 255 - (counts.flip(1) > 0).long().argmax(1, keepdim=True)  # largest value
    step = (height * width - counts.gather(1, last)) // 255
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = torch.where(step > 0, table.gather(1, flat), flat)
    return spread.reshape(images.shape).to(torch.uint8)


def posterize(images, level, sign):
    """Keep the four to seven highest bits."""
    bits = 4 * level // LEVELS + 4
    mask = (256 - 2 ** (8 - bits)).to(torch.uint8)
    return images & mask[:, None, None, None]


def solarize(images, level, sign):
    """Invert what is brighter than a threshold."""
    threshold = (256 - 256 * level // LEVELS)[:, None, None, None]
    return torch.where(images < threshold, images, 255 - images)


def brightness(images, level, sign):
    """Go towards black."""
    return _blend(images, torch.zeros_like(images, dtype=torch.float32), level)


def color(images, level, sign):
    """Go towards grey values."""
    return _blend(images, _grey(images).expand(images.shape), level)


def contrast(images, level, sign):
    """Go towards the mean grey value."""
    mean = (_grey(images).mean((1, 2, 3), keepdim=True) + 0.5).floor()
    return _blend(images, mean.expand(images.shape), level)


def sharpness(images, level, sign):
    """Go towards the smoothed image; the border stays."""
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5
    kernel = (kernel / kernel.sum()).expand(3, 1, 3, 3)
    values = images.float()
    smooth = values.clone()
    inner = torch.nn.functional.conv2d(values, kernel, groups=3)
    smooth[:, :, 1:-1, 1:-1] = (inner + 0.5).floor()
    return _blend(images, smooth, level)


def rotate(images, level, sign):
    """Turn by up to 27 degrees."""
    angle = torch.deg2rad(30 * level // LEVELS * sign)
    return _warp(images, angle.cos(), -angle.sin(), angle.sin(), angle.cos(), True)


def shear_x(images, level, sign):
    """Shift every row in proportion to its height."""
    one, zero = torch.ones_like(sign), torch.zeros_like(sign)
    return _warp(images, one, 0.3 * level / LEVELS * sign, zero, one)


def shear_y(images, level, sign):
    """Shift every column in proportion to its place."""
    one, zero = torch.ones_like(sign), torch.zeros_like(sign)
    return _warp(images, one, zero, 0.3 * level / LEVELS * sign, one)


def translate_x(images, level, sign):
    """Shift by up to 27 % of the width."""
    return _shift(images, _pixels(level, images.shape[3]) * sign, 0)


def translate_y(images, level, sign):
    """Shift by up to 27 % of the height."""
    return _shift(images, 0, _pixels(level, images.shape[2]) * sign)


OPERATIONS = (
    autocontrast,
    brightness,
    color,
    contrast,
    equalize,
    identity,
    posterize,
    rotate,
    sharpness,
    shear_x,
    shear_y,
    solarize,
    translate_x,
    translate_y,
)


def _grey(images):
    """Return luma, (m, 1, H, W) float, rounded as PIL does."""
    red, green, blue = images.long().split(1, dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 2**15) >> 16).float()


def _blend(images, other, level):
    """Mix the images with `other`; .05 to .95 of the image is left."""
    share = (0.9 * level / LEVELS + 0.05)[:, None, None, None]
    mixed = other + share * (images.float() - other)
    return mixed.clamp(0, 255).to(torch.uint8)


def _pixels(level, size):
    return (level.double() * 0.3 / LEVELS * size).int()


def _shift(images, right, down):
    one = torch.ones(len(images), device=images.device)
    return _warp(images, one, 0 * one, 0 * one, one, right=right, down=down)


def _warp(images, xx, xy, yx, yy, centered=False, right=0.0, down=0.0):
    """Take each pixel from where the matrix sends it; outside is black.

    ``x' = xx·x + xy·y + right`` and ``y' = yx·x + yy·y + down`` at the centres of the
    pixels, about the centre of the image if `centered`; nearest pixel.
    """
    m, channels, height, width = images.shape
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device)[:, None] + 0.5
    middle = (width / 2, height / 2) if centered else (0.0, 0.0)
    x, y = x - middle[0], y - middle[1]
    xx, xy, yx, yy = (entry[:, None, None] for entry in (xx, xy, yx, yy))
    right, down = (
        torch.as_tensor(by, device=images.device).expand(m)[:, None, None]
        for by in (right, down)
    )
    columns = (xx * x + xy * y + middle[0] + right).floor().long()  # (m, H, W)
    rows = (yx * x + yy * y + middle[1] + down).floor().long()
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    place = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)
    flat = images.reshape(m, channels, height * width)
    taken = flat.gather(2, place[:, None, :].expand(-1, channels, -1))
    return taken.reshape(images.shape) * inside[:, None].to(images.dtype)


def _cut_out(batch, share):
    """Paint a grey square somewhere; at the border it is cut off."""
    n, _, height, width = batch.shape
    side = int(share * min(height, width))
    left = (torch.rand(n) * width - side / 2).clamp(min=0).int()[:, None, None]
    top = (torch.rand(n) * height - side / 2).clamp(min=0).int()[:, None, None]
    x, y = torch.arange(width), torch.arange(height)[:, None]
    # PIL paints both ends of a rectangle
    hit = (x >= left) & (x <= left + side) & (y >= top) & (y <= top + side)
    return batch.masked_fill(hit[:, None].to(batch.device), GREY)
