"""Each operation of the batched RandAugment equals PIL's on single images."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps


@pytest.fixture
def images():
    rng = np.random.RandomState(0)
    smooth = rng.rand(6, 3, 3, 3)
    arrays = [
        np.asarray(Image.fromarray((255 * s).astype(np.uint8)).resize((32, 32)))
        for s in smooth
    ]
    # uint8 (6, 3, 32, 32): smooth, noisy, and of one colour
    arrays[3] = rng.randint(0, 256, (32, 32, 3)).astype(np.uint8)
    arrays[4] = np.full((32, 32, 3), 77, dtype=np.uint8)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def as_pil(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


# name -> f(PIL image, level from 1 to 9, sign), as FixMatch defines them
REFERENCE = {
    "identity": lambda im, v, s: im,
    "autocontrast": lambda im, v, s: ImageOps.autocontrast(im),
    "equalize": lambda im, v, s: ImageOps.equalize(im),
    "posterize": lambda im, v, s: ImageOps.posterize(im, int(4 * v / 10) + 4),
    "solarize": lambda im, v, s: ImageOps.solarize(im, 256 - int(256 * v / 10)),
    "brightness": lambda im, v, s: ImageEnhance.Brightness(im).enhance(0.09 * v + 0.05),
    "color": lambda im, v, s: ImageEnhance.Color(im).enhance(0.09 * v + 0.05),
    "contrast": lambda im, v, s: ImageEnhance.Contrast(im).enhance(0.09 * v + 0.05),
    "sharpness": lambda im, v, s: ImageEnhance.Sharpness(im).enhance(0.09 * v + 0.05),
    "rotate": lambda im, v, s: im.rotate(s * int(30 * v / 10)),
    "shear_x": lambda im, v, s: affine(im, (1, 0.03 * v * s, 0, 0, 1, 0)),
    "shear_y": lambda im, v, s: affine(im, (1, 0, 0, 0.03 * v * s, 1, 0)),
    "translate_x": lambda im, v, s: affine(
        im, (1, 0, s * int(v * 0.3 / 10 * 32), 0, 1, 0)
    ),
    "translate_y": lambda im, v, s: affine(
        im, (1, 0, 0, 0, 1, s * int(v * 0.3 / 10 * 32))
    ),
}


# those without fractions
EXACT = {"identity", "equalize", "posterize", "solarize", "translate_x", "translate_y"}


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_operation_equals_pils(benchmark_module, images, name):
    operation = getattr(benchmark_module("_randaugment"), name)
    level = torch.tensor([1, 3, 5, 7, 8, 9])
    sign = torch.tensor([1.0, -1, 1, -1, 1, -1])
    found = operation(images, level, sign)
    assert found.dtype == torch.uint8
    for row in range(len(images)):
        wanted = REFERENCE[name](
            as_pil(images[row]), level[row].item(), int(sign[row].item())
        )
        difference = np.abs(
            np.asarray(wanted, dtype=int) - found[row].permute(1, 2, 0).numpy()
        )
        if name in EXACT:
            assert difference.max() == 0, (name, row)
        # roundings: a grey level, or a pixel on the edge between two
        assert (difference > 1).mean() < 0.01, (name, row, difference.max())


def test_reference_is_complete(benchmark_module):
    names = {f.__name__ for f in benchmark_module("_randaugment").OPERATIONS}
    assert names == set(REFERENCE)


def test_smoothing_is_pils(benchmark_module, images):
    # level such that all of the image is replaced
    sharpness = benchmark_module("_randaugment").sharpness
    level = torch.full((len(images),), -0.5 / 0.9)
    found = sharpness(images, level, level)
    for row in range(len(images)):
        wanted = as_pil(images[row]).filter(ImageFilter.SMOOTH)
        difference = np.asarray(wanted, int) - found[row].permute(1, 2, 0).numpy()
        assert np.abs(difference).max() <= 1


def test_batch_keeps_its_form_and_seed(benchmark_module, images):
    augment = benchmark_module("_randaugment").RandAugment()
    torch.manual_seed(3)
    first = augment(images)
    torch.manual_seed(3)
    assert torch.equal(first, augment(images))
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    # the square: a share of grey pixels between a quarter cut off at a corner and all
    grey = (first == 127).all(1).float().mean((1, 2))
    assert (grey >= 0.05).all()
    assert (grey[:4] <= 17**2 / 32**2 + 0.1).all()


def test_refuses_floats(benchmark_module, images):
    augment = benchmark_module("_randaugment").RandAugment()
    with pytest.raises(ValueError, match="uint8 images of three channels, got torch"):
        augment(images.float())
