"""Switch asks the strategy whose turn it is, and nobody else."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.svm import LinearSVC

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import (
    CoreSet,
    QueryStrategy,
    RandomSampling,
    Switch,
    TypiClust,
    UncertaintySampling,
    get_strategy,
)


class Learns(QueryStrategy):
    """Keeps a number, as a bandit would."""

    def _query(self, pool, n):
        self.seen_ = getattr(self, "seen_", 0) + n
        return np.arange(n)

    def get_state(self):
        return {"seen": self.seen_} if hasattr(self, "seen_") else {}

    def set_state(self, state):
        if state:
            self.seen_ = state["seen"]


def make_pool(n_labeled, n_classes=3, seed=0, **params):
    rng = np.random.RandomState(seed)
    return Pool.from_arrays(
        proba=rng.dirichlet(np.ones(n_classes), size=50),
        embeddings=rng.randn(50, 4),
        labeled_embeddings=rng.randn(n_labeled, 4),
        y_labeled=np.arange(n_labeled) % n_classes,
        **{"random_state": 0, **params},
    )


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("at", [0, 1, 2.5, 20])
@pytest.mark.parametrize("unit", ["per_class", "labels"])
def test_the_rule(n_classes, at, unit):
    strategy = Switch(CoreSet(), UncertaintySampling(), at=at, unit=unit)
    threshold = at * n_classes if unit == "per_class" else at
    for m in {0, 1, 5, 17, 18, 19, 20, 21, 139, 140, int(threshold)}:
        pool = make_pool(m, n_classes)
        picks, scores = strategy.query(pool, 5, return_scores=True)
        is_over = m >= threshold
        part = UncertaintySampling() if is_over else CoreSet()
        expected = part.query(make_pool(m, n_classes), 5, return_scores=True)
        np.testing.assert_array_equal(picks, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
        assert pool.info["strategy"] == type(part).__name__
        assert pool.info["switched"] is is_over
        assert ("covering_radius" in pool.info) is not is_over


def test_the_defaults_are_tcm():
    for m, part in ((59, TypiClust()), (60, UncertaintySampling())):
        picks = Switch().query(make_pool(m), 6)
        np.testing.assert_array_equal(picks, part.query(make_pool(m), 6))
    for name in ("switch", "tcm"):
        assert repr(get_strategy(name)) == "Switch()"


def test_only_the_strategy_in_turn_computes_what_it_needs():
    rng = np.random.RandomState(0)
    X, y = rng.randn(40, 3), np.arange(40) % 2
    model = LinearSVC().fit(X, y)  # no probabilities
    strategy = Switch(CoreSet(), UncertaintySampling("entropy"), at=12, unit="labels")
    few = Pool(model, X, np.arange(11), y[:11])
    assert len(strategy.query(few, 3)) == 3
    enough = Pool(model, X, np.arange(12), y[:12])
    with pytest.raises(MissingCapabilityError, match="UncertaintySampling needs class"):
        strategy.query(enough, 3)


def test_a_cold_start_needs_no_classes():
    # neither a model nor labels: the threshold cannot have been reached
    X = np.random.RandomState(0).randn(30, 3)
    pool = Pool(None, X, [], [])
    assert pool.classes is None
    assert len(Switch(CoreSet()).query(pool, 4)) == 4
    assert pool.info["switched"] is False


def test_unknown_classes_are_an_error():
    pool = Pool.from_arrays(
        embeddings=np.eye(4), labeled_embeddings=np.eye(4)[:2], random_state=0
    )
    if pool.classes is None:
        with pytest.raises(ValueError, match="needs the number of classes"):
            Switch(CoreSet()).query(pool, 1)
    assert len(Switch(CoreSet(), unit="labels").query(pool, 1)) == 1


def test_a_run_switches_once():
    X, y = load_iris(return_X_y=True)
    learner = ActiveLearningClassifier(
        strategy=Switch(CoreSet(), RandomSampling(), at=6),
        n_initial=10,
        query_size=5,
        n_rounds=4,
        random_state=0,
    ).fit(X, y)
    used = [record["strategy"] for record in learner.history_[1:]]
    assert used == ["CoreSet", "CoreSet", "RandomSampling", "RandomSampling"]


def test_parameters_of_the_parts_are_reached():
    strategy = Switch(CoreSet(), UncertaintySampling("margin"))
    strategy.set_params(then__measure="entropy", at=5)
    assert strategy.then.measure == "entropy"
    assert clone(strategy).get_params()["then__measure"] == "entropy"


def test_the_state_of_the_parts():
    strategy = Switch(Learns(), CoreSet(), at=100, unit="labels")
    assert strategy.get_state() == {}
    strategy.query(make_pool(3), 4)
    state = json.loads(json.dumps(strategy.get_state()))
    assert state == {"first": {"seen": 4}}
    other = clone(strategy)
    other.set_state(state)
    assert other.first.seen_ == 4
    with pytest.raises(ValueError, match=r"Switch: the state is of .*'first'"):
        Switch(None, CoreSet()).set_state(state)


@pytest.mark.parametrize(
    "strategy",
    [Switch(at=-1), Switch(unit="classes"), Switch("core_set"), Switch(then=CoreSet)],
)
def test_wrong_parameters(strategy):
    with pytest.raises(ValueError, match="parameter of Switch must be"):
        strategy.query(make_pool(5), 2)
