"""Callbacks add to the record of a round, and to nothing else."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import Pool
from dalmax_sk.stopping import StoppingRule
from dalmax_sk.strategies import CoreSet


@pytest.fixture(scope="module")
def table():
    return make_blobs(150, 4, centers=4, random_state=0)


def learner(*callbacks, **params):
    settings = {"n_initial": 12, "query_size": 5, "n_rounds": 3, "random_state": 0}
    return ActiveLearningClassifier(
        LogisticRegression(), callbacks=list(callbacks), **settings | params
    )


class Noting:
    """Notes every call, and adds what it saw."""

    def __init__(self):
        self.calls = []

    def on_query_end(self, learner, pool, positions):
        self.calls.append(("query", len(learner.history_)))
        assert isinstance(pool, Pool)
        assert (pool.estimator is None) == (not learner.history_)
        return {"noted": pool.indices[positions].tolist()}

    def on_fit_end(self, learner, record):
        self.calls.append(("fit", record["round"]))
        assert record == learner.history_[-1]
        accuracy = learner.score(learner._X, learner._source(slice(None)))
        record["n_labeled"] = None  # a copy
        return {"eval_all": accuracy}


def strip(history, *more):
    return [
        {
            key: value
            for key, value in record.items()
            if not key.endswith("_seconds") and key not in ("peak_bytes", *more)
        }
        for record in history
    ]


def test_each_hook_is_called_once_a_round_and_its_notes_are_recorded(table):
    noting = Noting()
    found = learner(noting).fit(*table)
    assert noting.calls == [
        (kind, number) for number in range(4) for kind in ("query", "fit")
    ]
    for record in found.history_:
        picks = record["queried"] or found.initial_indices_.tolist()
        assert record["noted"] == picks
        assert 0 < record["eval_all"] <= 1
    plain = learner().fit(*table)
    assert strip(found.history_, "noted", "eval_all") == strip(plain.history_)


def test_callbacks_are_called_in_order_and_one_hook_is_enough(table):
    calls = []

    class Query:
        def on_query_end(self, learner, pool, positions):
            calls.append("query")

    class Fit:
        def __init__(self, name):
            self.name = name

        def on_fit_end(self, learner, record):
            calls.append(self.name)
            return {self.name: len(record)}

    found = learner(Fit("a"), Query(), Fit("b"), n_rounds=1).fit(*table)
    assert calls == ["query", "a", "b"] * 2
    assert [record["a"] for record in found.history_] == [
        record["b"] for record in found.history_
    ]


def test_notes_of_strategies_and_of_rules_are_seen_and_kept(table):
    seen = []

    class Watching:
        def on_query_end(self, learner, pool, positions):
            seen.append(dict(pool.info))

        def on_fit_end(self, learner, record):
            assert record["size_of_pool"] == 150 - record["n_labeled"]

    class SizeOfPool(StoppingRule):
        def observe(self, pool):
            return {"size_of_pool": len(pool)}

        def should_stop(self, history):
            return None

    found = learner(Watching(), strategy=CoreSet(), stopping=SizeOfPool()).fit(*table)
    radii = [record["covering_radius"] for record in found.history_[1:]]
    assert [notes["covering_radius"] for notes in seen[1:]] == radii


def test_notes_are_in_the_checkpoint_and_restored_rounds_are_not_repeated(
    table, tmp_path
):
    whole = learner(Noting()).fit(*table)
    learner(Noting(), n_rounds=1, checkpoint_dir=tmp_path).fit(*table)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["history"][1]["noted"] == whole.history_[1]["noted"]
    noting = Noting()
    resumed = learner(noting, checkpoint_dir=tmp_path).fit(*table)
    assert noting.calls == [("query", 2), ("fit", 2), ("query", 3), ("fit", 3)]
    assert strip(resumed.history_) == strip(whole.history_)
    # a run may go on with other callbacks, or without any
    other = learner(checkpoint_dir=tmp_path, n_rounds=4).fit(*table)
    assert strip(other.history_[:4]) == strip(whole.history_)
    assert "noted" not in other.history_[4]


def test_a_run_that_stopped_between_a_query_and_its_fit_keeps_the_notes(
    table, tmp_path
):
    class Failing(LogisticRegression):
        broken = False

        def fit(self, X, y):
            if self.broken and len(y) > 12:
                raise RuntimeError("no memory")
            return super().fit(X, y)

    def run(noting):
        return ActiveLearningClassifier(
            Failing(),
            n_initial=12,
            query_size=5,
            n_rounds=2,
            callbacks=[noting],
            checkpoint_dir=tmp_path,
            random_state=0,
        ).fit(*table)

    Failing.broken = True
    with pytest.raises(RuntimeError, match="round 1, Failing fitting 17"):
        run(Noting())
    Failing.broken = False
    noting = Noting()
    resumed = run(noting)
    assert noting.calls == [("fit", 1), ("query", 2), ("fit", 2)]
    for record in resumed.history_[1:]:
        assert record["noted"] == record["queried"]


def test_labels_taught_by_hand(table):
    X, y = table
    calls = []

    class Counting:
        def on_query_end(self, learner, pool, positions):
            calls.append(("query", len(positions)))
            return {"n_proposed": len(positions)}

        def on_fit_end(self, learner, record):
            calls.append(("fit", record["round"]))

    by_hand = learner(Counting(), missing_label=-1)
    by_hand.fit(X, np.where(np.arange(150) < 20, y, -1))
    by_hand.query(7)
    rows = by_hand.query(3, fresh=True)  # the last one counts
    by_hand.teach(rows, y[rows])
    by_hand.teach([100], y[[100]])  # nothing was proposed
    assert calls == [("fit", 0), ("query", 7), ("query", 3), ("fit", 1), ("fit", 2)]
    assert [r.get("n_proposed") for r in by_hand.history_] == [None, 3, None]


def test_clones_copy_callbacks(table):
    noting = Noting()
    copied = clone(learner(noting))
    assert copied.callbacks[0] is not noting
    found = copied.fit(*table)
    assert not noting.calls
    assert len(copied.callbacks[0].calls) == 8
    assert_array_equal(found.labeled_indices_, learner().fit(*table).labeled_indices_)


def returning(hook, value):
    def give(self, *args):
        return value

    return type("Returning", (), {hook: give})()


@pytest.mark.parametrize(
    ("hook", "value", "error", "message"),
    [
        ("on_query_end", [1], TypeError, r"must return a dict .* got \[1\]"),
        ("on_fit_end", 0.5, TypeError, r"must return a dict .* got 0\.5"),
        ("on_fit_end", {1: 2}, TypeError, r"strings as keys, or None; got \{1: 2\}"),
        ("on_query_end", {"queried": 1}, ValueError, r"returned \['queried'\]"),
        ("on_query_end", {"fit_history": 1}, ValueError, "of its own"),
        ("on_query_end", {"eval_a": 1}, ValueError, r"returned \['eval_a'\]"),
        ("on_query_end", {"covering_radius": 1}, ValueError, "covering_radius"),
        ("on_fit_end", {"fit_seconds": 1, "a": 2}, ValueError, r"\['fit_seconds'\]"),
        ("on_fit_end", {"eval_accuracy": 1}, ValueError, "eval_accuracy"),
    ],
)
def test_bad_returns_are_named_with_their_round(table, hook, value, error, message):
    X, y = table
    bad = learner(
        returning(hook, value), strategy=CoreSet(), initial_strategy=CoreSet()
    )
    context = rf"{message}.*\[active learning, round 0, Returning\.{hook}\]"
    with pytest.raises(error, match=context):
        bad.fit(X, y, eval_set=(X[:20], y[:20]))


def test_two_callbacks_with_one_key_are_refused(table):
    twice = [returning("on_fit_end", {"same": value}) for value in (1, 2)]
    with pytest.raises(ValueError, match=r"\['same'\].*another callback.*round 0"):
        learner(*twice).fit(*table)


def test_errors_of_a_callback_pass_through_with_the_round(table):
    class Failing:
        def on_fit_end(self, learner, record):
            if record["round"] == 2:
                raise KeyError("nothing there")

    with pytest.raises(KeyError, match=r"round 2, Failing\.on_fit_end"):
        learner(Failing()).fit(*table)


@pytest.mark.parametrize("wrong", [3, "name", Noting, print])
def test_what_is_no_callback_is_refused(table, wrong):
    with pytest.raises(TypeError, match=r"callbacks must hold objects .*on_query_end"):
        learner(wrong).fit(*table)


def test_callbacks_are_a_list(table):
    with pytest.raises(ValueError, match="'callbacks' parameter"):
        ActiveLearningClassifier(callbacks=Noting()).fit(*table)
