"""Seeds of generators that a whole process shares."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk import CNNClassifier
from dalmax_sk._base.seeds import global_seed, torch_seed


class Drawing(BaseEstimator):
    """Has no ``random_state``."""

    def predict(self, X):
        return X


def draw():
    return random.random(), np.random.rand(), float(torch.rand(()))


@pytest.mark.parametrize(
    "estimator",
    [
        Drawing(),
        make_pipeline(StandardScaler(), Drawing()),
        GridSearchCV(Drawing(), {}),
        BaggingClassifier(Drawing()),
        VotingClassifier([("a", Drawing()), ("b", LogisticRegression())]),
        VotingClassifier([("a", Drawing()), ("b", CNNClassifier())]),
    ],
)
def test_global_generators_are_seeded_and_left_as_they_were(estimator):
    np.random.seed(1)
    torch.manual_seed(1)
    random.seed(1)
    expected = draw()
    np.random.seed(1)
    torch.manual_seed(1)
    random.seed(1)
    found = []
    for seed in (0, 0, 1):
        with global_seed(estimator, seed):
            found.append(draw())
    assert found[0] == found[1] != found[2]
    assert draw() == expected


def test_an_estimator_with_a_seed_needs_none():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with global_seed(LogisticRegression(), 0):
        first = torch.rand(1)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_threads_take_turns():
    def work(seed):
        with torch_seed(seed):
            return [float(torch.rand(100).sum()) for _ in range(50)]

    alone = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == alone


def test_a_net_is_the_same_in_threads(table):
    X, y = table

    def fit(_):
        net = CNNClassifier(max_epochs=2, dropout=0.2, random_state=0)
        return net.fit(X, y).predict_proba(X)

    alone = fit(None)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(fit, range(3)):
            np.testing.assert_array_equal(found, alone)
