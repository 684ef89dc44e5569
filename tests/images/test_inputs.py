"""What CNNClassifier takes as X and y, and what it says to the rest."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dalmax_sk._base.limits import limits
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.images import (
    ImageReadError,
    get_image_cache,
    load_image_paths,
    set_image_cache_size,
)
from dalmax_sk.images.inputs import channel_axis_of

N = 40


def classifier(**params):
    return CNNClassifier(
        **{"max_epochs": 1, "random_state": 0, "device": "cpu", **params}
    )


@pytest.fixture(scope="module")
def labels():
    return np.arange(N) % 4


@pytest.fixture(scope="module")
def colour():
    """(N, 8, 9, 3) uint8: height and width differ, so that swapping them shows."""
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, size=(N, 8, 9, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "channel_axis", "expected"),
    [
        ((9, 32, 32, 3), None, 3),
        ((9, 3, 32, 32), None, 1),
        ((9, 28, 28, 1), None, 3),
        ((9, 1, 28, 28), None, 1),
        ((9, 4, 32, 32), None, 1),
        ((3, 8, 8, 3), None, 3),  # the number of images says nothing
        ((9, 3, 32, 3), 1, 1),
        ((9, 3, 32, 3), -1, 3),
        ((9, 12, 32, 32), 1, 1),
        ((9, 32, 32, 12), 3, 3),
    ],
)
def test_channel_rule(shape, channel_axis, expected):
    assert channel_axis_of(shape, channel_axis) == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((9, 3, 32, 3), "both axis 1 and axis 3 could be the channels"),
        ((9, 4, 32, 1), "both axis 1 and axis 3 could be the channels"),
        ((9, 12, 32, 32), "neither axis 1 nor axis 3 has a size of 1, 3 or 4"),
    ],
)
def test_channel_rule_in_doubt(shape, message):
    with pytest.raises(ValueError, match=f"{message}.*channel_axis=-1"):
        channel_axis_of(shape)


def test_layouts_are_the_same_images(colour, labels):
    # channels first, last and as nested lists: bitwise the same predictions
    first = np.ascontiguousarray(colour.transpose(0, 3, 1, 2))
    expected = classifier().fit(colour, labels).predict_proba(colour)
    clf = classifier().fit(first, labels)
    np.testing.assert_array_equal(clf.predict_proba(first), expected)
    np.testing.assert_array_equal(clf.predict_proba(colour), expected)
    clf = classifier().fit(first[:, :, :, ::-1], labels)  # negative strides
    np.testing.assert_array_equal(
        clf.predict_proba(first[:, :, :, ::-1]),
        classifier().fit(colour[:, :, ::-1], labels).predict_proba(colour[:, :, ::-1]),
    )


def test_grey_images_with_and_without_an_axis(colour, labels):
    grey = colour[..., 0]
    results = []
    for X in (grey, grey[..., None], grey[:, None], grey.tolist()):
        clf = classifier().fit(X, labels)
        assert clf.input_spec_.shape == (1, 8, 9)
        results.append(clf.predict_proba(X))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_integer_types(colour, labels):
    # 0..255 in any integer type means the same; booleans are black and white
    expected = classifier().fit(colour, labels).predict_proba(colour)
    clf = classifier().fit(colour.astype(np.int64), labels)
    np.testing.assert_array_equal(clf.predict_proba(colour), expected)
    black_white = colour > 127
    expected = classifier().fit(black_white * np.uint8(255), labels)
    clf = classifier().fit(black_white, labels)
    np.testing.assert_array_equal(
        clf.predict_proba(black_white), expected.predict_proba(black_white)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scale_of_float_images_does_not_matter(colour, labels, dtype):
    # inputs are standardised by the training images
    X = (colour // 8 * 8).astype(dtype)  # powers of two stay exact in float16
    a = classifier().fit(X, labels).predict_proba(X)
    b = classifier().fit(X / 256, labels).predict_proba(X / 256)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_read_only_images(colour, labels):
    frozen = colour.copy()
    frozen.flags.writeable = False
    expected = classifier().fit(colour, labels).predict_proba(colour)
    clf = classifier().fit(frozen, labels)
    np.testing.assert_array_equal(clf.predict_proba(frozen), expected)


def test_constant_channel(colour, labels):
    # a channel without variation neither divides by zero nor blows up elsewhere
    X = colour / 255
    X[..., 1] = 0.1
    clf = classifier().fit(X, labels)
    X[..., 1] = 0.3
    assert np.isfinite(clf.transform(X)).all()
    assert np.abs(clf.transform(X)).max() < 1e3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: np.where(X > 250, np.nan, X), "contains NaN"),
        (lambda X: X.astype(np.int32) + 100, r"integers from 100 to 355.*0\.\.255"),
        (lambda X: X[..., None], r"5 axes, shape \(40, 8, 9, 3, 1\)"),
        (lambda X: X[:, :, :, [0, 1]], "neither axis 1 nor axis 3"),
        (lambda X: X[:5], "inconsistent numbers of samples"),
        (lambda X: X[:0], r"Found array with 0 sample"),
    ],
)
def test_images_that_fit_refuses(colour, labels, make, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(make(colour), labels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda X: X[..., 0],
            r"uint8 images of 1 channel\(s\), 8×9 pixels, but .* fitted on uint8 "
            r"images of 3 channel\(s\), 8×9",
        ),
        (lambda X: X[:, :7], r"7×9 pixels, but .*Images of any size .*image_size="),
        (lambda X: X / 255, r"float images of .* fitted on uint8"),
        (lambda X: X.reshape(N, -1), r"a table or vector of shape \(40, 216\)"),
    ],
)
def test_images_that_predict_refuses(colour, labels, make, message):
    clf = classifier().fit(colour, labels)
    with pytest.raises(ValueError, match=message):
        clf.predict(make(colour))


def test_table_fitted_predicts_no_images(colour, labels):
    clf = classifier().fit(colour.reshape(N, -1), labels)
    with pytest.raises(ValueError, match="fitted on a table with 216 columns"):
        clf.predict(colour)
    with pytest.raises(ValueError, match="expecting 216 features"):
        clf.predict(np.zeros((3, 5)))


def test_image_size_of_arrays(colour, labels):
    # with image_size, images of any size are accepted and resized on the way
    clf = classifier(image_size=(6, 5)).fit(colour, labels)
    assert clf.image_size_ == (6, 5)
    assert clf.predict_proba(colour[:, :6]).shape == (N, 4)
    with pytest.raises(ValueError, match="image_size must be a positive int"):
        classifier(image_size=(1, 2, 3)).fit(colour, labels)


def test_fitted_attributes_follow_the_last_fit(colour, labels):
    # a table's width must not be left behind by a later fit on images
    clf = classifier().fit(
        pd.DataFrame(colour[:, 0, :, 0], columns=list("abcdefghi")), labels
    )
    assert clf.n_features_in_ == 9
    assert clf.image_size_ is None
    clf.fit(colour, labels)
    assert not hasattr(clf, "n_features_in_")
    assert not hasattr(clf, "feature_names_in_")
    assert clf.image_size_ == (8, 9)
    assert clf.predict(colour).shape == (N,)


def test_paths_are_the_images_they_name(image_folder):
    # paths, a Series, Path objects, and the decoded pixels: the same result
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    clf = classifier().fit(X, y)
    expected = clf.predict_proba(X)
    pixels = get_image_cache().load(X, image_size=None)
    again = classifier().fit(pixels, y)
    np.testing.assert_array_equal(again.predict_proba(pixels), expected)
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    np.testing.assert_array_equal(clf.predict_proba(pixels), expected)
    series = pd.Series(X, index=np.arange(len(X))[::-1])
    np.testing.assert_array_equal(clf.predict_proba(series), expected)
    np.testing.assert_array_equal(clf.predict_proba(list(X)), expected)
    assert not hasattr(clf, "n_features_in_")


def test_grey_paths(image_folder):
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    clf = classifier(image_mode="grey", image_size=6).fit(X, y)
    assert clf.input_spec_.shape == (1, 6, 6)
    assert clf.predict(X).shape == y.shape


def test_paths_in_many_batches(image_folder, monkeypatch):
    # files are read in blocks and looked at in batches: every row stays in its place
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    clf = classifier().fit(X, y)
    expected = clf.predict_proba(X)
    monkeypatch.setattr(limits, "inference_cpu_values", 7 * 8 * 8 * 3)
    monkeypatch.setattr(limits, "read_files", 30)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)


def test_paths_of_different_sizes(image_folder):
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    with Image.open(X[3]) as image:
        image.resize((10, 8)).save(X[3])
    with pytest.raises(ValueError, match=r"differ in size.*set image_size="):
        classifier().fit(X, y)
    clf = classifier(image_size=8).fit(X, y)
    assert clf.image_size_ == (8, 8)
    # what is predicted is resized to the size of the fit
    clf = classifier().fit(np.delete(X, 3), np.delete(y, 3))
    assert clf.predict([X[3]]).shape == (1,)


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_broken_files_are_named_together(image_folder, cache_bytes):
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    clf = classifier(image_size=8).fit(X, y)
    for path in X[[2, 5]]:
        with open(path, "wb") as file:
            file.write(b"no image")
    before = get_image_cache().max_bytes
    set_image_cache_size(cache_bytes)
    try:
        with pytest.raises(ImageReadError) as caught:
            clf.fit(X, y)
    finally:
        set_image_cache_size(before)
    assert [path for path, _ in caught.value.failures] == list(X[[2, 5]])


def test_streamed_images_give_the_same_net(image_folder):
    # what does not fit the cache is decoded batch by batch, with identical results
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    params = {"max_epochs": 2, "batch_size": 16, "augment": True}
    params["early_stopping"] = True
    expected = classifier(**params).fit(X, y)
    before = get_image_cache().max_bytes
    set_image_cache_size(5 * 8 * 8 * 3)
    try:
        streamed = classifier(**params).fit(X, y)
        proba, embeddings = streamed.predict_proba_and_embeddings(X)
    finally:
        set_image_cache_size(before)
    expected_proba, expected_embeddings = expected.predict_proba_and_embeddings(X)
    np.testing.assert_array_equal(proba, expected_proba)
    np.testing.assert_array_equal(embeddings, expected_embeddings)
    for a, b in zip(streamed.history_, expected.history_, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


@pytest.mark.parametrize(
    "names",
    [
        np.array(["cat", "dog", "bird", "ant"]),
        np.array(["cat", "dog", "bird", "ant"], dtype=object),
        np.array([7, -1, 3, 100]),
        np.array([0.0, 2.0, 5.0, -3.0]),
        np.array([10, 20, 30, 40], dtype=np.uint8),
    ],
)
def test_labels_of_any_type(names):
    digits = load_digits(n_class=4)
    y = names[digits.target]
    clf = classifier(max_epochs=3).fit(digits.images, y)
    predicted = clf.predict(digits.images)
    assert predicted.dtype == y.dtype
    np.testing.assert_array_equal(clf.classes_, np.unique(names))
    assert clf.score(digits.images, y) > 0.9


def test_labels_as_lists_series_and_booleans(colour, labels):
    clf = classifier().fit(colour, (labels > 1).tolist())
    assert clf.predict(colour).dtype == bool
    series = pd.Series(labels.astype(str), index=np.arange(N)[::-1])
    clf = classifier().fit(colour, series)
    assert list(clf.classes_) == ["0", "1", "2", "3"]


def test_classes_absent_from_y_keep_their_column(colour, labels):
    clf = classifier(classes=[3, 1, 2, 0, 9]).fit(
        colour, np.where(labels == 2, 1, labels)
    )
    np.testing.assert_array_equal(clf.classes_, [0, 1, 2, 3, 9])
    assert clf.predict_proba(colour).shape == (N, 5)
    # training teaches the net that they do not occur
    clf.set_params(max_epochs=30).fit(colour, np.where(labels == 2, 1, labels))
    assert clf.predict_proba(colour)[:, [2, 4]].max() < 0.2


def test_one_class_in_y(colour):
    with pytest.raises(
        ValueError, match=r"at least 2 classes; y holds one class, \['a'\]"
    ):
        classifier().fit(colour, ["a"] * N)
    clf = classifier(classes=["a", "b"], max_epochs=20).fit(colour, ["a"] * N)
    assert (clf.predict(colour) == "a").all()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 2], r"y holds \[3\], which is not in classes=\[0, 1, 2\]"),
        ([0, 1, 1, 2, 3], "must name each class once"),
    ],
)
def test_class_lists_that_do_not_fit(colour, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        classifier(classes=classes).fit(colour, labels)


def test_continuous_labels(colour, labels):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        classifier().fit(colour, labels + 0.5)


def test_y_is_required_for_paths(image_folder):
    X = load_image_paths(image_folder / "train").data
    with pytest.raises(ValueError, match="requires y to be passed"):
        classifier().fit(X, None)
