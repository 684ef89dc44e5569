"""Folders to write to, which must not lie among the images."""

import os

import pytest

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.evaluation import budget_curve
from dalmax_sk.features import ImageEmbedder
from dalmax_sk.images import load_image_paths
from dalmax_sk.images.outputs import check_outside, folders_of


def test_where_to_write(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    os.symlink(tmp_path / "train", tmp_path / "link")
    for inner in ("train", "train/results", "train/cat/x", "link/x", "a/../train/y"):
        with pytest.raises(ValueError, match=r"^--dir-results .* lies in .*train"):
            check_outside(tmp_path / inner, [tmp_path / "train"], "--dir-results")
    for outer in (".", "results", "training", "train/.cache", "train/cat/.cache/x"):
        check_outside(tmp_path / outer, [tmp_path / "train"], "--dir-results")


def test_folders_of_images():
    # of a single folder, nobody reads classes
    assert folders_of(["a.png", "b.png"]) == set()
    assert folders_of(["t/cat/1.png", "t/dog/1.png"]) == {"t/cat", "t/dog", "t"}


@pytest.mark.parametrize("place", ["train/new", "train/red/new", "train"])
def test_python_refuses_before_it_writes(image_folder, place):
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    before = sorted(image_folder.rglob("*"))
    folder = image_folder / place
    embedder = ImageEmbedder(
        "small_cnn", weights="random", image_size=8, device="cpu", cache_dir=folder
    )
    with pytest.raises(ValueError, match=r"cache_dir .* lies in"):
        embedder.fit_transform(X)
    learner = ActiveLearningClassifier(checkpoint_dir=folder)
    with pytest.raises(ValueError, match=r"checkpoint_dir .* lies in"):
        learner.fit(X, y)
    with pytest.raises(ValueError, match=r"results .* lies in"):
        budget_curve(None, X, y, strategies=["random_sampling"], results=folder / "r")
    assert sorted(image_folder.rglob("*")) == before
