"""A run that was stopped anywhere goes on as if it never had been."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base import progress
from dalmax_sk.active_learning.checkpoint import describe_value, fingerprint_data
from dalmax_sk.stopping import AllOf, Budget
from dalmax_sk.strategies import CoreSet, QueryStrategy, RandomSampling

TIMES = ("fit_seconds", "query_seconds", "eval_seconds", "peak_bytes")


class Killed(BaseException):
    """Not an Exception: like SIGINT, nothing in the library may catch it."""


def make(directory, **params):
    defaults = {
        "strategy": CoreSet(),
        "n_initial": 20,
        "query_size": 10,
        "n_rounds": 4,
        "random_state": 0,
        "checkpoint_dir": directory,
    }
    return ActiveLearningClassifier(**{**defaults, **params})


def without_times(history):
    return [{k: v for k, v in r.items() if k not in TIMES} for r in history]


def kill_at(n_fits, monkeypatch, owner):
    """Let the n-th fit of `owner` never return."""
    fit, calls = owner.fit, []

    def dying_fit(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == n_fits:
            raise Killed
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(owner, "fit", dying_fit)


@pytest.mark.parametrize("refit", ["scratch", "continue"])
@pytest.mark.parametrize("n_fits", [1, 2, 4, 5])
def test_killed_during_a_fit(table, tmp_path, monkeypatch, n_fits, refit):
    # picks, scores and model equal those of a run that was never stopped
    X, y = table
    model = SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=0)
    whole = make(None, estimator=model, refit=refit).fit(X, y, eval_set=(X, y))
    learner = make(tmp_path, estimator=model, refit=refit)
    with monkeypatch.context() as patch:
        kill_at(n_fits, patch, SGDClassifier)
        with pytest.raises(Killed):
            learner.fit(X, y, eval_set=(X, y))
    learner = make(tmp_path, estimator=model, refit=refit)
    learner.fit(X, y, eval_set=(X, y))
    np.testing.assert_array_equal(learner.labeled_indices_, whole.labeled_indices_)
    assert without_times(learner.history_) == without_times(whole.history_)
    np.testing.assert_array_equal(learner.estimator_.coef_, whole.estimator_.coef_)


@pytest.mark.parametrize("refit", ["scratch", "continue"])
@pytest.mark.parametrize("n_rounds", [0, 2])
def test_killed_between_a_fit_and_a_query(
    table, tmp_path, monkeypatch, n_rounds, refit
):
    X, y = table
    model = SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=0)
    whole = make(None, estimator=model, refit=refit).fit(X, y)
    query, calls = CoreSet.query, []

    def dying_query(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > n_rounds:
            raise Killed
        return query(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CoreSet, "query", dying_query)
        with pytest.raises(Killed):
            make(tmp_path, estimator=model, refit=refit).fit(X, y)
    learner = make(tmp_path, estimator=model, refit=refit).fit(X, y)
    np.testing.assert_array_equal(learner.labeled_indices_, whole.labeled_indices_)
    np.testing.assert_array_equal(learner.estimator_.coef_, whole.estimator_.coef_)


class Alternating(QueryStrategy):
    """Takes the first candidates in every other query: it remembers how many it had."""

    def _query(self, pool, n):
        self.n_queries_ = self.get_state().get("n_queries", 0) + 1
        first = np.arange(n)
        return first if self.n_queries_ % 2 else len(pool) - 1 - first

    def get_state(self):
        return {"n_queries": self.n_queries_} if hasattr(self, "n_queries_") else {}

    def set_state(self, state):
        if state:
            self.n_queries_ = state["n_queries"]


@pytest.mark.parametrize("n_fits", [2, 3, 4])
def test_what_a_strategy_remembers_survives(table, tmp_path, monkeypatch, n_fits):
    X, y = table
    whole = make(None, strategy=Alternating()).fit(X, y)
    with monkeypatch.context() as patch:
        kill_at(n_fits, patch, LogisticRegression)
        with pytest.raises(Killed):
            make(tmp_path, strategy=Alternating()).fit(X, y)
    learner = make(tmp_path, strategy=Alternating()).fit(X, y)
    np.testing.assert_array_equal(learner.labeled_indices_, whole.labeled_indices_)
    assert learner.strategy_.get_state() == {"n_queries": 4}


def test_a_strategy_without_a_state_refuses_one():
    with pytest.raises(ValueError, match=r"CoreSet keeps no state, got one with .*arm"):
        CoreSet().set_state({"arm_weights": [1, 2]})


def test_without_a_seed_the_first_part_decides(table, tmp_path, monkeypatch):
    # random_state=None: the drawn seed is part of the state, so what the global
    # generator would give when the run is resumed does not matter
    X, y = table
    params = {"random_state": None, "strategy": RandomSampling()}
    np.random.seed(1)
    whole = make(None, **params).fit(X, y)
    np.random.seed(1)
    with monkeypatch.context() as patch:
        kill_at(3, patch, LogisticRegression)
        with pytest.raises(Killed):
            make(tmp_path, **params).fit(X, y)
    state = json.loads((tmp_path / "state.json").read_text())
    np.random.seed(2)
    learner = make(tmp_path, **params).fit(X, y)
    n_before = len(state["labels"]["order"])
    assert learner.labeled_indices_[:n_before].tolist() == state["labels"]["order"]
    assert len(learner.labeled_indices_) == 60
    np.testing.assert_array_equal(learner.labeled_indices_, whole.labeled_indices_)


def test_a_finished_run_is_taken_up_without_asking_again(table, tmp_path):
    X, y = table
    first = make(tmp_path).fit(X, y)
    before = (tmp_path / "state.json").read_text()
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((stage, info))):
        again = make(tmp_path).fit(X, y)
    assert all(info["restored"] for stage, info in seen if stage == "round")
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))
    assert (tmp_path / "state.json").read_text() == before


def test_a_finished_run_can_go_on_for_more_rounds(table, tmp_path):
    X, y = table
    make(tmp_path, n_rounds=2).fit(X, y)
    longer = make(tmp_path, n_rounds=4).fit(X, y)
    whole = make(None).fit(X, y)
    np.testing.assert_array_equal(longer.labeled_indices_, whole.labeled_indices_)


def test_an_oracle_is_not_asked_twice(table, tmp_path, monkeypatch):
    # labels cost money: what was answered before the kill is on disk
    X, y = table
    asked = []

    def oracle(rows, indices):
        asked.extend(indices.tolist())
        return [None if i == 7 else y[i] for i in indices]

    params = {"oracle": oracle, "classes": [0, 1, 2]}
    with monkeypatch.context() as patch:
        kill_at(2, patch, LogisticRegression)
        with pytest.raises(Killed):
            make(tmp_path, **params).fit(X, np.full(len(y), None))
    learner = make(tmp_path, **params).fit(X, np.full(len(y), None))
    assert len(asked) == len(set(asked))
    assert set(asked) - {7} == set(learner.labeled_indices_)


def test_a_kill_while_looking_for_a_second_class(table, tmp_path):
    # the first rounds know one class only; answers that are on disk are kept
    X, y = table
    y = (np.arange(len(y)) % 50 == 7).astype(int)
    asked = []

    def oracle(rows, indices):
        if len(asked) >= n_answers:
            raise Killed
        asked.extend(indices.tolist())
        return y[indices]

    params = {"oracle": oracle, "classes": [0, 1], "n_initial": 3, "query_size": 3}
    n_answers = 200
    whole = make(None, n_rounds=20, **params).fit(X, np.full(len(y), None))
    assert set(y[whole.labeled_indices_[:9]]) == {0}
    asked.clear()
    for n_answers in (3, 6, 200):
        learner = make(tmp_path, n_rounds=20, **params)
        if n_answers == 200:
            learner.fit(X, np.full(len(y), None))
        else:
            with pytest.raises(Killed):
                learner.fit(X, np.full(len(y), None))
    np.testing.assert_array_equal(asked, whole.labeled_indices_)
    np.testing.assert_array_equal(learner.predict(X), whole.predict(X))


@pytest.mark.parametrize("refit", ["scratch", "continue"])
def test_corrected_labels_survive(table, tmp_path, refit):
    # of a label in y and of a taught one; earlier fits are repeated without them
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    params = {
        "estimator": SGDClassifier(loss="log_loss", max_iter=5, tol=None),
        "missing_label": -1,
        "refit": refit,
    }
    learner = make(tmp_path, **params).fit(X, partial)
    learner.teach([40, 41], y[[40, 41]])
    learner.teach([3, 4, 40], (y[[3, 4, 40]] + 1) % 3)
    learner.teach([3, 42], [y[3], y[42]])
    again = make(tmp_path, **params).fit(X, partial)
    np.testing.assert_array_equal(again.labeled_indices_, learner.labeled_indices_)
    np.testing.assert_array_equal(again.estimator_.coef_, learner.estimator_.coef_)
    with pytest.raises(ValueError, match=r"disagree about the labels of rows \[5\]"):
        make(tmp_path, **params).fit(
            X, np.where(np.arange(len(y)) == 5, 1 - y, partial)
        )


def test_taught_labels_survive(table, tmp_path):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = make(tmp_path, missing_label=-1).fit(X, partial)
    rows = learner.query(5)
    learner.teach(rows, y[rows])
    again = make(tmp_path, missing_label=-1).fit(X, partial)
    np.testing.assert_array_equal(again.labeled_indices_, learner.labeled_indices_)
    np.testing.assert_array_equal(again.query(5), learner.query(5))


def test_a_proposal_and_new_classes_survive(table, tmp_path):
    X, y = table
    names = np.array(["ant", "bee", "spider"], dtype=object)[y]
    partial = np.where((np.arange(len(y)) < 40) & (y != 1), names, None)
    learner = make(tmp_path).fit(X, partial)
    rows = learner.query(9)
    learner.teach(rows[:4], names[rows[:4]], refit=False, new_classes="add")
    assert learner.classes_.tolist() == ["ant", "bee", "spider"]
    again = make(tmp_path).fit(X, partial)
    np.testing.assert_array_equal(again.query(), rows[4:])
    np.testing.assert_array_equal(again.labeled_indices_, learner.labeled_indices_)
    assert again.history_[-1]["n_labeled"] == len(again.labeled_indices_)
    learner.teach([], [])
    np.testing.assert_array_equal(again.predict_proba(X), learner.predict_proba(X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_size": 11}, "query_size was 10, now 11"),
        ({"strategy": RandomSampling()}, "strategy was CoreSet.*, now RandomSampling"),
        ({"estimator": LogisticRegression(C=2.0)}, "estimator"),
        ({"random_state": 1}, "random_state was 0, now 1"),
    ],
)
def test_other_parameters_are_refused_by_name(table, tmp_path, change, message):
    X, y = table
    make(tmp_path).fit(X, y)
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **change).fit(X, y)


def test_other_parameters_of_the_same_object_are_refused(table, tmp_path):
    X, y = table
    learner = make(tmp_path).fit(X, y)
    with pytest.raises(ValueError, match="query_size was 10, now 11"):
        learner.set_params(query_size=11).fit(X, y)


def test_verbosity_may_change(table, tmp_path):
    X, y = table
    make(tmp_path, estimator=LogisticRegression()).fit(X, y)
    make(tmp_path, estimator=LogisticRegression(verbose=1), verbose=1).fit(X, y)


def test_other_eval_sets_and_metadata_are_refused(table, tmp_path):
    X, y = table
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        weights = np.ones(len(y))

        def fit(X_eval=X, sample_weight=weights):
            learner = make(tmp_path, estimator=model)
            learner.fit(X, y, eval_set=(X_eval, y), sample_weight=sample_weight)

        fit()
        fit()
        with pytest.raises(ValueError, match="run: eval_set differs"):
            fit(X_eval=X + 1)
        with pytest.raises(ValueError, match="run: metadata for fit differs"):
            fit(sample_weight=weights + 1)


def test_a_dataframe_is_known_again_after_use(table, tmp_path):
    # looking at a row changes what a pickle of a frame with dates holds
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame["taken"] = pd.date_range("2020-01-01", periods=len(y))
    columns = make_column_transformer(("passthrough", list("abcdef")))
    model = make_pipeline(columns, LogisticRegression())
    make(tmp_path, estimator=model).fit(frame, y)
    frame.loc[3]
    make(tmp_path, estimator=model).fit(frame, y)
    frame.loc[5, "taken"] += pd.Timedelta(days=1)
    with pytest.raises(ValueError, match="X differs"):
        make(tmp_path, estimator=model).fit(frame, y)


def test_other_data_are_refused(table, tmp_path):
    X, y = table
    make(tmp_path).fit(X, y)
    with pytest.raises(ValueError, match="X differs"):
        make(tmp_path).fit(X + 1, y)
    with pytest.raises(ValueError, match="disagree about the labels of rows"):
        make(tmp_path).fit(X, np.roll(y, 1))


@pytest.mark.parametrize("order", ["F", "strided", "one row", "memmap", "metadata"])
def test_the_order_in_memory_is_no_content(tmp_path, order):
    X = np.random.RandomState(0).rand(6, 4)
    other = np.asfortranarray(X)
    if order == "strided":
        other = np.repeat(X, 2, axis=1)[:, ::2]
    elif order == "one row":
        other, X = np.repeat(X, 2, axis=0)[::2][:1], X[:1].copy()
    elif order == "memmap":
        np.save(tmp_path / "X.npy", X)
        other = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif order == "metadata":
        X, other = {"weights": X}, {"weights": other}
    assert fingerprint_data(X) == fingerprint_data(other)
    if order != "metadata":
        assert fingerprint_data(X) != fingerprint_data(X + 1)
        assert fingerprint_data(X) != fingerprint_data(X.reshape(-1))


def closing_over(n):
    return lambda n_round: n


def test_other_functions_are_refused(table, tmp_path):
    X, y = table
    make(tmp_path, query_size=lambda n_round: 10).fit(X, y)
    make(tmp_path, query_size=lambda n_round: 10).fit(X, y)
    with pytest.raises(ValueError, match=r"query_size was .*<lambda>#.*, now"):
        make(tmp_path, query_size=lambda n_round: 9).fit(X, y)


def test_functions_inside_of_estimators_are_told_apart(table, tmp_path):
    X, y = table

    def model(function):
        return make_pipeline(FunctionTransformer(function), LogisticRegression())

    make(tmp_path, estimator=model(lambda X: 2 * X)).fit(X, y)
    make(tmp_path, estimator=model(lambda X: 2 * X)).fit(X, y)
    with pytest.raises(ValueError, match="functiontransformer__func was"):
        make(tmp_path, estimator=model(lambda X: 3 * X)).fit(X, y)


class Scaled:
    def __init__(self, function):
        self.function = function

    def __call__(self, n_round):
        return self.function(n_round)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda r: 5, lambda r: 6),
        (lambda r: min(r, 5), lambda r: max(r, 5)),
        (lambda r, n=5: n, lambda r, n=6: n),
        (lambda r, *, n=5: n, lambda r, *, n=6: n),
        (lambda r: [5 for _ in r], lambda r: [6 for _ in r]),
        (closing_over(5), closing_over(6)),
        (closing_over(closing_over(5)), closing_over(closing_over(6))),
        (partial(max, 5), partial(max, 6)),
        (partial(lambda r: 5), partial(lambda r: 6)),
        (Scaled(lambda r: 5), Scaled(lambda r: 6)),
        (Scaled(lambda r: 5).__call__, Scaled(lambda r: 6).__call__),
        (make_scorer(lambda y, p: 5), make_scorer(lambda y, p: 6)),
        ([lambda r: 5], [lambda r: 6]),
        ({"a": lambda r: 5}, {"a": lambda r: 6}),
        (AllOf([lambda h: 5]), AllOf([lambda h: 6])),
        (AllOf([Budget(5)]), AllOf([Budget(6)])),
    ],
)
def test_what_differs_is_described_differently(one, other):
    assert describe_value(one) == describe_value(one)
    assert describe_value(one) != describe_value(other)
    assert "0x" not in describe_value(one)


def test_recursive_things_are_described():
    def again(n):
        return again(n - 1) if n else 0

    items = [again]
    items.append(items)
    assert describe_value(items) == describe_value(items)
    assert "again#" in describe_value(items)


@pytest.mark.parametrize("value", [None, 1.5, "a", [1, "a"], (1,), {"a": [2]}, int])
def test_plain_values_are_their_repr(value):
    assert describe_value(value) == repr(value)


DESCRIBING = """
import sys
junk = [object() for _ in range(int(sys.argv[1]))]
from dalmax_sk.active_learning.checkpoint import describe_value
from dalmax_sk.stopping import AllOf, Budget

def outer(names):
    def inner(n, extra={"b", "a", "c"}):
        return [name for name in names if name in {"x", "y", "z"}] or outer
    return inner

rule = AllOf([Budget(5), lambda history: len(history) > 9])
print(describe_value([rule, outer({"p", "q", "r"}), outer, {"k", "l", "m"}]))
"""


def test_descriptions_are_the_same_in_every_process(tmp_path):
    (tmp_path / "describing.py").write_text(DESCRIBING)
    found = {
        subprocess.run(
            [sys.executable, str(tmp_path / "describing.py"), str(1000 * number)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": str(number)},
        ).stdout
        for number in (1, 2)
    }
    assert len(found) == 1
    assert "Budget(n_labels=5)" in found.pop()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"[]", b'{"format"'])
def test_a_spoiled_file_is_no_checkpoint(table, tmp_path, content):
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(ValueError, match="is not a checkpoint of dalmax_sk"):
        make(tmp_path).fit(*table)
    assert (tmp_path / "state.json").read_bytes() == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{not json", "is not a checkpoint of dalmax_sk"),
        ("[1, 2]", "is not a checkpoint of dalmax_sk"),
        ('{"format": 99}', "has format 99, this version of dalmax_sk reads format 3"),
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(table, tmp_path, text, message):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        make(tmp_path).fit(*table)
    assert (tmp_path / "state.json").read_text() == text


def test_a_half_written_state_never_replaces_a_whole_one(table, tmp_path, monkeypatch):
    # a kill while the file is written leaves the state before
    X, y = table
    make(tmp_path, n_rounds=1).fit(X, y)
    before = (tmp_path / "state.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            make(tmp_path, n_rounds=4).fit(X, y)
    assert (tmp_path / "state.json").read_text() == before
    whole = make(None).fit(X, y)
    resumed = make(tmp_path).fit(X, y)
    np.testing.assert_array_equal(resumed.labeled_indices_, whole.labeled_indices_)


def without_checksum(state):
    return json.dumps({key: value for key, value in state.items() if key != "crc32"})


@pytest.mark.parametrize("write", [json.dumps, without_checksum])
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("labels", "order", 1), "other"),
        (("labels", "order", 1), 2**70),
        (("labels", "codes", 1), 7),
        (("history", 1, "queried", 0), 66.5),
        (("history", 1, "queried", 0), [1]),
        (("history", 1, "n_labeled"), None),
        (("history", 1, "n_labeled"), 29),
        (("history", 1, "round"), 3),
        (("history",), {}),
        (("initial_indices", 0), -1),
        (("labels",), []),
        (("run",), "x"),
    ],
    ids=str,
)
def test_other_values_in_a_state_are_refused(table, tmp_path, place, value, write):
    # properties: a label or a pick that changed is found by the checksum, and without
    # one by what the parts of the state say of each other
    X, y = table
    make(tmp_path, n_rounds=1).fit(X, y)
    state = json.loads((tmp_path / "state.json").read_text())
    *path, last = place
    part = state
    for key in path:
        part = part[key]
    if value == "other":  # a row that was never asked for
        value = min(set(range(len(y))) - set(state["labels"]["order"]))
    part[last] = value
    (tmp_path / "state.json").write_text(write(state))
    with pytest.raises(ValueError, match=r"state\.json is damaged"):
        make(tmp_path).fit(X, y)


@pytest.mark.parametrize("n_trials", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_states_are_refused(table, tmp_path, damaged, n_trials):
    # property: one error that names the file, whatever was changed
    make(tmp_path, n_rounds=1).fit(*table)
    path = tmp_path / "state.json"
    state = json.loads(path.read_text())
    for seed in range(n_trials):
        changed = damaged(state, seed)
        path.write_text(json.dumps(changed))
        if json.dumps(changed) == json.dumps(state) or "crc32" not in changed:
            continue
        with pytest.raises(ValueError, match=r"state\.json"):
            make(tmp_path, n_rounds=1).fit(*table)
