"""Batch-wise augmentation against its definition, one image at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dalmax_sk.cnn import AUGMENTATIONS, get_augmentation, random_crop_flip


def distinct_pixels(n, channels, height, width, dtype=torch.float32):
    return torch.arange(n * channels * height * width, dtype=dtype).reshape(
        n, channels, height, width
    )


def all_views(image, padding, flip):
    """Every image that cropping the reflected padding of ``image`` can give."""
    height, width = image.shape[1:]
    views = []
    for source in [image, image.flip(2)] if flip else [image]:
        padded = torch.nn.functional.pad(
            source[None], [padding] * 4, mode="reflect"
        ).squeeze(0)
        for top in range(2 * padding + 1):
            for left in range(2 * padding + 1):
                views.append(padded[:, top : top + height, left : left + width])
    return views


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    flip=st.booleans(),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_every_result_is_a_crop_of_the_reflected_image(
    n, channels, height, width, flip, seed, data
):
    padding = data.draw(st.integers(0, min(height, width) - 1))
    batch = distinct_pixels(n, channels, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        result = random_crop_flip(batch, padding=padding, flip=flip)
    assert result.shape == batch.shape
    for image, augmented in zip(batch, result, strict=True):
        assert any(torch.equal(v, augmented) for v in all_views(image, padding, flip))


def test_all_shifts_and_both_sides_occur_equally_often():
    # 18 views of each image; 9,000 draws give 500 ± 5 standard deviations (22)
    image = distinct_pixels(1, 1, 5, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = random_crop_flip(image.expand(9000, -1, -1, -1), padding=1)
    views = all_views(image[0], 1, flip=True)
    counts = [int((result == view).all((1, 2, 3)).sum()) for view in views]
    assert sum(counts) == 9000
    assert min(counts) > 390
    assert max(counts) < 610


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_dtype_and_seed(name, dtype):
    batch = distinct_pixels(6, 3, 8, 8, dtype=torch.float32).to(dtype)
    augment = get_augmentation(name)
    results = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            results.append(augment(batch))
    assert results[0].dtype == dtype
    assert torch.equal(*results)
    assert not torch.equal(results[0], batch)


def test_flip_keeps_the_place_and_crop_the_side():
    batch = distinct_pixels(20, 1, 6, 6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flipped = get_augmentation("flip")(batch)
        cropped = get_augmentation("crop")(batch)
    mirrored = (flipped == batch.flip(3)).all((1, 2, 3))
    assert torch.equal((flipped == batch).all((1, 2, 3)), ~mirrored)
    assert 0 < mirrored.sum() < 20
    # without mirroring, pixel values rise from left to right except by reflection
    assert (cropped[:, :, :, 3] > cropped[:, :, :, 2]).all()


def test_padding_out_of_range():
    with pytest.raises(ValueError, match=r"padding must be in \[0, 3\].*got 4"):
        random_crop_flip(torch.zeros(1, 1, 4, 8), padding=4)


def test_parameter_forms():
    def own(batch):
        return batch

    assert get_augmentation(False) is None
    assert get_augmentation(own) is own
    assert get_augmentation(True) is get_augmentation("flip_crop")
