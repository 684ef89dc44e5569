"""Image folders as X and y, and X in its three forms."""

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from dalmax_sk.images import (
    IMAGE_EXTENSIONS,
    as_paths,
    check_images,
    decode_image,
    load_image_paths,
)


def make_tree(root, *files):
    """Empty files: load_image_paths opens none of them."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def relative(bunch):
    return [Path(path).relative_to(bunch.directory).as_posix() for path in bunch.data]


# --- load_image_paths -----------------------------------------------------------------


def test_bunch(tmp_path):
    make_tree(
        tmp_path, "dog/b.png", "cat/2.jpg", "dog/a.png", "cat/1.jpg", "cat/10.jpg"
    )
    bunch = load_image_paths(tmp_path)
    assert relative(bunch) == [
        "cat/1.jpg",
        "cat/10.jpg",
        "cat/2.jpg",
        "dog/a.png",
        "dog/b.png",
    ]
    assert bunch.data.dtype == object
    assert all(type(path) is str for path in bunch.data)
    assert bunch.target.dtype == np.int64
    assert bunch.target.tolist() == [0, 0, 0, 1, 1]
    assert bunch.target_names == ["cat", "dog"]
    assert bunch.directory == str(tmp_path)

    X, y = load_image_paths(str(tmp_path), return_X_y=True)
    assert_array_equal(X, bunch.data)
    assert_array_equal(y, bunch.target)


def test_the_order_of_the_disk_does_not_matter(tmp_path, monkeypatch):
    names = [f"{c}/{s}{i}.png" for c in "zyx" for s in ("", "sub/") for i in range(5)]
    make_tree(tmp_path, *names)
    expected = load_image_paths(tmp_path)
    scandir = os.scandir

    class Shuffled(list):
        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

    for seed in range(3):
        rng = np.random.default_rng(seed)

        def shuffled(folder, rng=rng):
            with scandir(folder) as entries:
                found = list(entries)
            return Shuffled(found[i] for i in rng.permutation(len(found)))

        monkeypatch.setattr(os, "scandir", shuffled)
        bunch = load_image_paths(tmp_path)
        assert_array_equal(bunch.data, expected.data)
        assert_array_equal(bunch.target, expected.target)


def test_extensions_hidden_and_other_files(tmp_path, caplog):
    images = [f"a/x{ending}" for ending in IMAGE_EXTENSIONS]
    images += [f"b/X{ending.upper()}" for ending in IMAGE_EXTENSIONS]
    others = ["a/.hidden.png", "a/notes.txt", "b/Thumbs.db", "b/noending", "top.png"]
    make_tree(tmp_path, *images, *others, ".git/x.png", "a/.cache/x.png")
    bunch = load_image_paths(tmp_path)
    assert relative(bunch) == sorted(images)
    loose = "images beside the class folders"
    assert bunch.ignored == {"no ending": 1, loose: 1}
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f"1 files of kinds that are not read (1 no ending) and 1 {loose}" in (
        record.getMessage()
    )


def test_what_is_left_out_is_said_by_kind(tmp_path, caplog):
    # property: every file that may be an image counts, texts and annotations do not
    make_tree(tmp_path, "a/1.png", "b/1.png", "b/labels.csv", "a/README", "a/1.xml")
    left_out = [f"a/{i}.HEIC" for i in range(3)] + ["b/1.gif", "b/d/2.jp2", "b/3.gif"]
    make_tree(tmp_path, *left_out, "extra.jpg", "photos.zip")
    bunch = load_image_paths(tmp_path)
    assert len(bunch.data) == 2
    assert bunch.ignored == {
        ".heic": 3,
        ".gif": 2,
        ".jp2": 1,
        ".zip": 1,
        "images beside the class folders": 1,
    }
    assert "7 files of kinds that are not read (3 .heic, 2 .gif, 1" in caplog.text


@pytest.mark.parametrize(
    "name", ["__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "#recycle", "@Recycle"]
)
def test_folders_of_systems_are_left_out(tmp_path, name, caplog):
    make_tree(tmp_path, "a/1.png", "b/1.png", f"{name}/1.png", f"a/{name}/x/1.jpg")
    (tmp_path / "System Volume Information").mkdir()
    bunch = load_image_paths(tmp_path)
    assert relative(bunch) == ["a/1.png", "b/1.png"]
    assert bunch.ignored == {}
    assert "left out" not in caplog.text


def test_one_level_too_high_is_asked(tmp_path, caplog):
    make_tree(tmp_path, "train/a/1.png", "Test/a/2.png")
    assert load_image_paths(tmp_path).target_names == ["Test", "train"]
    assert "is this folder one level too high?" in caplog.text


def test_names_in_two_unicode_forms_are_one_class(tmp_path):
    composed, decomposed = "\u00e9t\u00e9", "e\u0301te\u0301"
    make_tree(tmp_path / "train", f"{composed}/1.png", "tea/1.png")
    make_tree(tmp_path / "test", f"{decomposed}/2.png", "tea/2.png")
    names = load_image_paths(tmp_path / "train").target_names
    bunch = load_image_paths(tmp_path / "test", class_names=names)
    assert bunch.target_names == names
    assert relative(bunch) == ["tea/2.png", f"{decomposed}/2.png"]
    if (tmp_path / "train" / decomposed).exists():
        pytest.skip("the file system does not tell the two forms apart")
    make_tree(tmp_path / "train", f"{decomposed}/1.png")
    with pytest.raises(ValueError, match=r"'\\xe9t\\xe9'.*differ only in the Unicode"):
        load_image_paths(tmp_path / "train")


def test_a_class_without_test_images_is_noted(tmp_path, caplog):
    make_tree(tmp_path, "a/1.png", "c/1.png", "d/notes.txt")
    bunch = load_image_paths(tmp_path, class_names=["a", "b", "c", "d"])
    assert bunch.target.tolist() == [0, 2]
    assert "no images of class 'b', 'd' here" in caplog.text
    make_tree(tmp_path / "none", "a/notes.txt")
    with pytest.raises(ValueError, match="without images here: 'a', 'b'"):
        load_image_paths(tmp_path / "none", class_names=["a", "b"])


def test_images_in_sub_folders_belong_to_the_class(tmp_path):
    make_tree(tmp_path, "a/1.png", "a/day1/2.png", "a/day1/deep/3.png", "b/day2/4.png")
    bunch = load_image_paths(tmp_path)
    assert relative(bunch) == [
        "a/1.png",
        "a/day1/2.png",
        "a/day1/deep/3.png",
        "b/day2/4.png",
    ]
    assert bunch.target.tolist() == [0, 0, 0, 1]


def test_spaces_and_other_alphabets(tmp_path):
    names = ["golden retriever", "größe", "犬"]
    for name in names:
        (tmp_path / name).mkdir()
        Image.new("L", (2, 3)).save(tmp_path / name / "ein bild é.png")
    bunch = load_image_paths(tmp_path)
    assert bunch.target_names == names
    assert [decode_image(path).shape for path in bunch.data] == [(3, 2, 3)] * 3


def test_many_classes(tmp_path):
    names = [f"class {i}" for i in range(18)]
    make_tree(tmp_path, *(f"{name}/{i}.png" for name in names for i in range(2)))
    bunch = load_image_paths(tmp_path)
    assert bunch.target_names == sorted(names)
    assert_array_equal(bunch.target, np.repeat(np.arange(18), 2))


def test_links(tmp_path):
    # A class folder and a file by link; loops of three kinds.
    store = make_tree(tmp_path / "store", "cats/1.png", "dog9.png")
    root = make_tree(tmp_path / "root", "b dogs/2.png", "b dogs/sub/3.png")
    try:
        (root / "a cats").symlink_to(store / "cats", target_is_directory=True)
    except OSError:
        pytest.skip("symbolic links are not permitted here")
    (root / "b dogs" / "9.png").symlink_to(store / "dog9.png")
    (root / "b dogs" / "sub" / "up").symlink_to(root / "b dogs")
    (root / "b dogs" / "all").symlink_to(root)
    (root / "b dogs" / "above").symlink_to(tmp_path)
    (root / "b dogs" / "self").symlink_to("self")
    bunch = load_image_paths(root)
    assert relative(bunch) == [
        "a cats/1.png",
        "b dogs/2.png",
        "b dogs/9.png",
        "b dogs/sub/3.png",
    ]


def test_a_dangling_link_is_listed_so_that_reading_it_fails(tmp_path):
    make_tree(tmp_path, "a/1.png", "b/1.png")
    try:
        (tmp_path / "a" / "2.png").symlink_to("gone.png")
    except OSError:
        pytest.skip("symbolic links are not permitted here")
    assert relative(load_image_paths(tmp_path)) == ["a/1.png", "a/2.png", "b/1.png"]


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such folder: .*nowhere"):
        load_image_paths(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path):
    make_tree(tmp_path, "a.png")
    with pytest.raises(NotADirectoryError, match=r"a\.png is a file"):
        load_image_paths(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "is empty; one sub-folder a class is expected"),
        (["1.png", "2.png"], "holds 2 images but no class folders"),
        (["1.txt", ".x/1.png"], "holds 1 files but no class folders"),
        (["cat/1.png"], "only one class, 'cat'"),
        (["a/1.png", "b/x.txt", "c/2.png", "d/.h.png"], "no images in 'b', 'd'"),
    ],
)
def test_folders_that_hold_no_classes(tmp_path, files, message):
    make_tree(tmp_path, *files)
    with pytest.raises(ValueError, match=message) as info:
        load_image_paths(tmp_path)
    assert str(tmp_path) in str(info.value)


def test_class_names_fix_the_order(tmp_path):
    make_tree(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    bunch = load_image_paths(tmp_path, class_names=np.array(["c", "a", "b"]))
    assert relative(bunch) == ["c/1.png", "a/1.png", "b/1.png"]
    assert bunch.target.tolist() == [0, 1, 2]
    assert bunch.target_names == ["c", "a", "b"]


def test_class_mismatch_names_both_sides(tmp_path):
    make_tree(tmp_path, "cat/1.png", "dgo/1.png", "emu/1.png", "fox/readme.txt")
    with pytest.raises(ValueError, match="differ from those of the training") as info:
        load_image_paths(tmp_path, class_names=["cat", "dog", "fox"])
    message = str(info.value)
    assert "only here: 'dgo', 'emu'" in message
    assert "without images here: 'dog', 'fox'" in message
    assert str(tmp_path) in message


def test_repeated_class_names(tmp_path):
    make_tree(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(ValueError, match="class_names holds 'a' more than once"):
        load_image_paths(tmp_path, class_names=["a", "b", "a"])


# --- as_paths -------------------------------------------------------------------------

NAMES = ["a b/1.png", "ü.jpg", "~/x.png"]


@pytest.mark.parametrize(
    "X",
    [
        NAMES,
        tuple(NAMES),
        [Path(name) for name in NAMES],
        [NAMES[0], Path(NAMES[1]), NAMES[2]],
        np.array(NAMES),
        np.array(NAMES, dtype=object),
        np.array([Path(name) for name in NAMES], dtype=object),
        pd.Series(NAMES),
        pd.Series(NAMES, index=[7, 7, -1], dtype=object),
        pd.Series(NAMES, index=list("xyz"), dtype="string"),
        pd.Series(NAMES).astype("category"),
        pd.Index(NAMES),
    ],
    ids=lambda X: type(X).__name__,
)
def test_paths_in_every_container(X):
    paths = as_paths(X)
    assert paths.shape == (3,)
    assert paths.dtype == object
    assert all(type(path) is str for path in paths)
    assert paths.tolist() == [os.fspath(Path(NAMES[0])), *NAMES[1:]]


@pytest.mark.parametrize(
    "X",
    [
        np.zeros(3),
        np.zeros((3, 2)),
        np.zeros((2, 3, 4, 4)),
        [[1, 2], [3, 4]],
        [1, 2, 3],
        [],
        np.array([], dtype=object),
        np.array([1, None], dtype=object),
        np.array([["a.png"], ["b.png"]]),
        pd.DataFrame({"path": NAMES}),
        pd.Series([1.0, 2.0]),
        sparse.csr_array(np.eye(3)),
        None,
        3,
        {"a": 1},
    ],
    ids=lambda X: type(X).__name__,
)
def test_everything_else_is_none(X):
    assert as_paths(X) is None


@pytest.mark.parametrize("make", [list, lambda X: pd.Series(X, dtype=object)])
def test_paths_mixed_with_other_values(make):
    X = make(["a.png", None, "b.png", 3])
    with pytest.raises(TypeError, match="mixes paths with other values") as info:
        as_paths(X)
    assert "row 1: None, row 3: 3" in str(info.value)


def test_missing_paths_of_a_long_column_are_counted():
    X = pd.Series([None, "a.png"] * 15, dtype="string")
    with pytest.raises(TypeError, match=r"row 0: <NA>.*and 5 more"):
        as_paths(X)


@pytest.mark.parametrize("X", ["data/train", Path("data/train")])
def test_a_single_path_is_not_a_sequence_of_paths(X):
    with pytest.raises(TypeError, match=r"single path 'data.train'.*load_image_paths"):
        as_paths(X)


# --- check_images ---------------------------------------------------------------------


def test_check_paths():
    estimator = LogisticRegression()
    paths = check_images(estimator, [Path("a.png"), "b.png"], reset=True)
    assert paths.tolist() == ["a.png", "b.png"]
    paths, y = check_images(estimator, paths, ["cat", "dog"], reset=True)
    assert y.tolist() == ["cat", "dog"]
    assert not hasattr(estimator, "n_features_in_")


def test_labels_are_optional_where_the_estimator_says_so():
    assert check_images(PCA(), ["a.png"], None, reset=True).tolist() == ["a.png"]


def test_paths_after_a_table_forget_its_width():
    estimator = LogisticRegression()
    table = pd.DataFrame({"u": [0.0, 1.0], "v": [1.0, 0.0]})
    check_images(estimator, table, reset=True)
    assert estimator.n_features_in_ == 2
    check_images(estimator, ["a.png"], reset=False)
    assert estimator.n_features_in_ == 2
    check_images(estimator, ["a.png"], reset=True)
    assert not hasattr(estimator, "n_features_in_")
    assert not hasattr(estimator, "feature_names_in_")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2], "inconsistent numbers of samples"),
        ([0.0, np.nan], "Input y contains NaN"),
        ([[0, 1], [1, 0]], "y should be a 1d array"),
        (None, "requires y to be passed, but the target y is None"),
    ],
)
def test_bad_labels_of_paths(y, message):
    with pytest.raises(ValueError, match=message):
        check_images(LogisticRegression(), ["a.png", "b.png"], y, reset=True)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 4), (5, 4, 4, 3), (5, 1, 4, 4)])
def test_check_arrays(shape):
    X = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    estimator = LogisticRegression()
    checked, y = check_images(estimator, X, np.arange(5), reset=True, dtype=None)
    assert checked.dtype == np.uint8
    assert_array_equal(checked, X)
    assert_array_equal(y, np.arange(5))
    assert estimator.n_features_in_ == shape[1]
    checked = check_images(estimator, X, reset=False, dtype=np.float32)
    assert checked.dtype == np.float32


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros(4), ValueError, "Expected 2D array, got 1D array instead"),
        ([1, 2, 3], ValueError, "Expected 2D array, got 1D array instead"),
        ([], ValueError, r"0 sample\(s\) .* required by LogisticRegression"),
        (np.array([], dtype=str), ValueError, r"0 sample\(s\)"),
        (np.zeros((0, 3, 4, 4)), ValueError, r"0 sample\(s\)"),
        (np.full((2, 3, 4, 4), np.nan), ValueError, "Input X contains NaN"),
        (np.full((2, 3, 4), np.inf), ValueError, "Input X contains infinity"),
        (np.zeros((2, 2), dtype=complex), ValueError, "Complex data not supported"),
        (sparse.csr_array(np.eye(3)), TypeError, "Sparse data was passed"),
    ],
)
def test_bad_arrays(X, error, message):
    with pytest.raises(error, match=message):
        check_images(LogisticRegression(), X, reset=True)


def test_another_number_of_features():
    estimator = LogisticRegression()
    check_images(estimator, np.zeros((3, 4)), reset=True)
    with pytest.raises(ValueError, match="X has 5 features, but LogisticRegression"):
        check_images(estimator, np.zeros((3, 5)), reset=False)


class ImageBaseline(ClassifierMixin, BaseEstimator):
    """A linear model behind check_images, as small as can be."""

    def fit(self, X, y):
        X, y = check_images(self, X, y, reset=True)
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.model_.predict(check_images(self, X, reset=False))


# The whole battery passes for an estimator that leaves all validation to check_images.
@parametrize_with_checks([ImageBaseline()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
