"""Forms of X: what becomes an array, what stays, what is refused unread."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dalmax_sk import CNNClassifier
from dalmax_sk.images.forms import as_rows, is_frame, is_object_rows

PIXELS = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)


def objects(items):
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array


@pytest.mark.parametrize("pack", [list, tuple, objects])
@pytest.mark.parametrize(
    "unit",
    [Image.fromarray, np.asarray, lambda a: torch.tensor(a), pd.DataFrame],
    ids=["PIL", "array", "tensor", "frame"],
)
def test_images_in_a_sequence_become_one_array(pack, unit):
    pixels = PIXELS[..., 0] if unit is pd.DataFrame else PIXELS
    found = as_rows(pack([unit(image) for image in pixels]), "a test")
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == np.uint8


def test_tensors_become_arrays():
    X = torch.rand(3, 2, requires_grad=True)
    np.testing.assert_array_equal(as_rows(X, "a test"), X.detach().numpy())
    half = X.detach().bfloat16()
    np.testing.assert_array_equal(as_rows(half, "a test"), half.float().numpy())


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 3)),
        np.array(["a.png", "b.png"]),
        ["a.png", "b.png"],
        [[1.0, 2.0], [3.0, 4.0]],
        [["red", "small"], ["blue", "large"]],
        pd.DataFrame({"a": [1, 2]}),
        sparse.csr_matrix(np.eye(2)),
        [],
    ],
)
def test_what_has_rows_already_is_left_alone(X):
    assert as_rows(X, "a test") is X


@pytest.mark.parametrize(
    "rows",
    [[{"a": 1.0}, {"b": 2.0}], [["red"], ["blue", "red"]], [("red",), ()], [{1}, {2}]],
)
@pytest.mark.parametrize("pack", [list, tuple, objects, pd.Series])
def test_objects_become_an_array_of_objects(rows, pack):
    found = as_rows(pack(rows), "a test")
    assert is_object_rows(found)
    assert found.tolist() == rows


def test_token_lists_of_one_length_are_rows_if_they_are_an_array_of_objects():
    # a list of them is a table of two columns to scikit-learn
    tokens = [["red", "small"], ["blue", "large"]]
    assert is_object_rows(as_rows(objects(tokens), "a test"))
    assert not is_object_rows(as_rows(tokens, "a test"))


class Endless(Dataset):
    """A map-style Dataset without an IndexError; nothing may be read of it."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise RuntimeError("an item was read")


@pytest.mark.parametrize(
    "X",
    [
        Endless(),
        TensorDataset(torch.zeros(4, 3, 8, 8)),
        DataLoader(Endless()),
        {"pixels": np.zeros((4, 8, 8))},
        (np.zeros(2) for _ in range(4)),
        {1, 2},
        range(4),
        None,
        3,
    ],
    ids=lambda X: type(X).__name__,
)
def test_others_are_refused_unread(X):
    with pytest.raises(TypeError, match=rf"X is a {type(X).__name__}, which CNN"):
        CNNClassifier().fit(X, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([PIXELS[0], PIXELS[1, :4]], r"shapes differ: \(4, 6, 3\), \(5, 6, 3\)\. Give"),
        ([[1.0, 2.0], [3.0]], r"shapes differ: \(1,\), \(2,\)"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), "has 1 masked cells"),
    ],
)
def test_rows_that_do_not_fit_each_other(X, message):
    with pytest.raises(ValueError, match=message):
        as_rows(X, "a test")


def test_a_masked_array_without_masked_cells_is_an_array():
    X = np.ma.masked_array([[1.0, 2.0]])
    assert as_rows(X, "a test") is X


def test_a_net_refuses_rows_that_are_objects():
    with pytest.raises(TypeError, match="X holds rows of the type dict; CNNClassifier"):
        CNNClassifier().fit([{"a": 1}, {"b": 2}], [0, 1])


def test_frames():
    assert is_frame(pd.DataFrame({"a": [1]}))
    assert not is_frame(pd.Series([1]))
    assert not is_frame(np.zeros((2, 2)))
