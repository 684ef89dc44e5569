"""The learner over CNNClassifier: image files and image arrays as X, end to end."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.images import ImageReadError, load_image_paths
from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    RandomSampling,
    UncertaintySampling,
)

STRATEGIES = [RandomSampling(), UncertaintySampling(), DiversitySampling(), CoreSet()]


@pytest.fixture
def train(image_folder):
    return load_image_paths(image_folder / "train")


def learner_on_images(**params):
    defaults = {
        "estimator": CNNClassifier(max_epochs=8, batch_size=8),
        "n_initial": 12,
        "query_size": 6,
        "n_rounds": 2,
        "random_state": 0,
    }
    return ActiveLearningClassifier(**{**defaults, **params})


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_every_strategy_learns_from_files(image_folder, train, strategy):
    test = load_image_paths(image_folder / "test", class_names=train.target_names)
    learner = learner_on_images(strategy=strategy)
    learner.fit(train.data, train.target, eval_set=(test.data, test.target))
    assert len(set(learner.labeled_indices_)) == 24
    assert learner.score(test.data, test.target) > 0.8  # three colours: easy
    assert len(learner.history_[-1]["fit_history"]) == 8


def test_files_and_arrays_of_their_pixels_give_the_same_picks(train):
    from PIL import Image

    pixels = np.stack([np.asarray(Image.open(path)) for path in train.data])
    by_paths = learner_on_images(strategy=CoreSet()).fit(train.data, train.target)
    by_pixels = learner_on_images(strategy=CoreSet()).fit(pixels, train.target)
    np.testing.assert_array_equal(by_paths.labeled_indices_, by_pixels.labeled_indices_)


def test_any_sequence_of_paths_will_do(train):
    expected = learner_on_images().fit(train.data, train.target).labeled_indices_
    series = pd.Series(train.data, index=np.arange(len(train.data))[::-1] + 100)
    for paths in (train.data.tolist(), [Path(p) for p in train.data], series):
        learner = learner_on_images().fit(paths, train.target)
        np.testing.assert_array_equal(learner.labeled_indices_, expected)


def test_without_an_estimator_images_get_a_net(train):
    learner = ActiveLearningClassifier(n_initial=12, n_rounds=0, random_state=0)
    learner.fit(train.data, train.target)
    assert isinstance(learner.estimator_, CNNClassifier)
    assert not hasattr(learner, "n_features_in_")


def test_the_net_knows_classes_that_are_not_labelled_yet(train):
    # two of three classes labelled: three columns, the third untrained but there
    y = np.where(train.target < 2, train.target, -1)
    learner = learner_on_images(missing_label=-1, classes=[0, 1, 2])
    learner.fit(train.data, y)
    assert learner.estimator_.predict_proba(train.data).shape == (90, 3)


def test_refit_continue_goes_on_from_the_weights(train):
    learner = learner_on_images(refit="continue").fit(train.data, train.target)
    first = learner.history_[0]["fit_history"][0]["train_loss"]
    later = learner.history_[-1]["fit_history"][0]["train_loss"]
    assert later < first


def test_cross_validation_and_grid_search_over_files(train):
    scores = cross_val_score(learner_on_images(), train.data, train.target, cv=2)
    assert (scores > 0.6).all()
    search = GridSearchCV(
        learner_on_images(n_rounds=1),
        {"estimator__lr": [1e-3, 3e-3], "strategy": [CoreSet(), RandomSampling()]},
        cv=2,
        n_jobs=2,
    ).fit(train.data, train.target)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_pickle_keeps_the_net_and_the_pool(train):
    learner = learner_on_images().fit(train.data, train.target)
    copy = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(
        copy.predict_proba(train.data), learner.predict_proba(train.data)
    )
    np.testing.assert_array_equal(copy.query(3), learner.query(3))


def test_a_broken_image_stops_with_its_name_and_the_round(train):
    # round 0 opens only the files it trains on
    learner = learner_on_images(n_rounds=0).fit(train.data, train.target)
    broken = train.data[learner.initial_indices_[3]]
    Path(broken).write_bytes(b"no image")
    message = rf"(?s){Path(broken).name}.*round 0, CNNClassifier fitting 12"
    with pytest.raises(ImageReadError, match=message):
        learner_on_images(n_rounds=0).fit(train.data, train.target)


@pytest.mark.slow
@pytest.mark.skipif(
    "DALMAX_SK_CIFAR10" not in os.environ,
    reason="set DALMAX_SK_CIFAR10 to a folder with CIFAR-10's train/ and test/",
)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_cifar10(strategy):
    # 500 of 4,000 real images: twice as good as chance at the least
    root = Path(os.environ["DALMAX_SK_CIFAR10"])
    train = load_image_paths(root / "train")
    test = load_image_paths(root / "test", class_names=train.target_names)
    rows = np.random.RandomState(0).permutation(len(train.data))[:4000]
    learner = learner_on_images(
        estimator=CNNClassifier(max_epochs=15, batch_size=32, image_size=32),
        strategy=strategy,
        n_initial=300,
        query_size=100,
    ).fit(train.data[rows], train.target[rows])
    assert learner.score(test.data[::5], test.target[::5]) > 0.25
