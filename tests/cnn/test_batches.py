"""Sources, batches and statistics against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dalmax_sk._base.limits import limits
from dalmax_sk.cnn.batches import Batches, input_statistics
from dalmax_sk.images.source import TensorSource, as_tensor

CPU = torch.device("cpu")


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 50), batch_size=st.integers(1, 20), seed=st.integers(0, 2**16))
def test_an_epoch_deals_every_row_once(n, batch_size, seed):
    source = TensorSource(torch.arange(n, dtype=torch.float64)[:, None])
    y = torch.arange(n) * 10
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dealt = list(Batches(source, torch.arange(n), y, batch_size, CPU, shuffle=True))
    assert len(dealt) == -(-n // batch_size)
    for X, labels in dealt:
        assert len(X) <= batch_size
        assert torch.equal(X[:, 0] * 10, labels.double())
    rows = torch.cat([labels for _, labels in dealt]) // 10
    assert sorted(rows.tolist()) == list(range(n))


def test_batches_are_of_nearly_equal_size():
    # never a single left-over sample, which batch normalisation cannot use
    source = TensorSource(torch.zeros(129, 2))
    batches = Batches(source, torch.arange(129), torch.zeros(129).long(), 64, CPU)
    assert [len(y) for _, y in batches] == [43, 43, 43]


def test_each_epoch_has_its_own_order():
    source = TensorSource(torch.arange(100.0)[:, None])
    batches = Batches(
        source, torch.arange(100), torch.arange(100), 100, CPU, shuffle=True
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (first,), (second,) = list(batches), list(batches)
    assert not torch.equal(first[1], second[1])


@pytest.mark.parametrize(
    ("shape", "channel_axis"),
    [((6, 4, 5), None), ((6, 3, 4, 5), 1), ((6, 4, 5, 3), 3)],
)
def test_sources_give_channels_first(shape, channel_axis):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    source = TensorSource(as_tensor(array), channel_axis)
    expected = array[:, None] if channel_axis is None else array
    if channel_axis == 3:
        expected = array.transpose(0, 3, 1, 2)
    rows = torch.tensor([4, 0, 4])
    np.testing.assert_array_equal(source.take(rows), expected[[4, 0, 4]])
    np.testing.assert_array_equal(source.take(slice(1, 3)), expected[1:3])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 9),
    kind=st.sampled_from(["uint8", "float32", "table"]),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_statistics_equal_their_definition(n, kind, seed, data):
    rng = np.random.RandomState(seed)
    if kind == "table":
        array = rng.normal(1e3, 1e-2, size=(n, 4))
    else:
        array = rng.randint(0, 256, size=(n, 3, 5, 4)).astype(kind)
    array[:, 1] = 7  # constant
    rows = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    mean, std = input_statistics(TensorSource(as_tensor(array), 1), torch.tensor(rows))
    chosen = array[rows].astype(np.float64) / (255 if kind == "uint8" else 1)
    axes = 0 if kind == "table" else (0, 2, 3)
    np.testing.assert_allclose(mean, chosen.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(std, chosen.std(axes), rtol=1e-8, atol=1e-10)
    assert std[1] == 0


def test_statistics_do_not_depend_on_blocks(monkeypatch):
    # streamed and staged images must be normalised by the same numbers
    rng = np.random.RandomState(0)
    array = as_tensor(rng.randint(0, 256, size=(31, 3, 7, 5)).astype(np.uint8))
    whole = input_statistics(TensorSource(array, 1), torch.arange(31))
    monkeypatch.setattr(limits, "statistics_values", 300)
    blocks = input_statistics(TensorSource(array, 1), torch.arange(31))
    assert torch.equal(whole[0], blocks[0])
    assert torch.equal(whole[1], blocks[1])


@pytest.mark.parametrize("dtype", [">f4", np.longdouble])
def test_arrays_that_torch_does_not_know(dtype):
    array = np.arange(6.0).reshape(2, 3).astype(dtype)
    np.testing.assert_array_equal(as_tensor(array), array)
