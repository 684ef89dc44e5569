"""ALBL equals its definition over several rounds, and its state behaves."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import (
    ActiveLearningByLearning,
    CoreSet,
    QueryStrategy,
    RandomSampling,
    UncertaintySampling,
    get_strategy,
)


class Rows(QueryStrategy):
    """Wants the rows of X in a given order; those labelled are skipped."""

    def __init__(self, order):
        self.order = order

    def _query(self, pool, n):
        place = {row: i for i, row in enumerate(pool.indices.tolist())}
        return np.array([place[row] for row in self.order if row in place][:n])


def data(n=60, seed=0):
    return make_classification(
        n, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=seed
    )


def pool_of(X, y, labeled, seed=0):
    model = LogisticRegression().fit(X[labeled], y[labeled])
    return Pool(model, X, labeled, y[labeled], random_state=seed, classes=np.arange(3))


def run(strategy, X, y, labeled, sizes, seed=0):
    """Query and label; return the labelled rows and the info of each round."""
    infos = []
    for number, n in enumerate(sizes):
        pool = pool_of(X, y, labeled, seed + number)
        picks = strategy.query(pool, n)
        infos.append(dict(pool.info))
        labeled = labeled + pool.indices[picks].tolist()
    return labeled, infos


def start(y):
    return [int(np.flatnonzero(y == k)[i]) for k in range(3) for i in range(2)]


def brute_force(X, y, labeled, orders, sizes, budget, delta, p_min, seed=0):
    """The paper's algorithm, pick by pick, in plain Python; follows given draws.

    `labeled` is the start, ``orders`` the advice of the experts beside the uniform one.
    Yields for each round the probabilities of the experts and checks nothing; the picks
    are taken from `sizes`, a list of lists of rows.
    """
    K = len(orders) + 1
    N = len(X) - len(labeled)
    if p_min is None:
        p_min = min(1 / K, math.sqrt(math.log(K) / (K * budget)))
    w = [1.0] * K
    asked, inverse_q, reward = [], [], None
    for rows in sizes:
        p = [(1 - K * p_min) * v / sum(w) + p_min for v in w]
        yield p, reward
        left = [r for r in range(len(X)) if r not in labeled]
        batch = []
        for row in rows:
            psi = [
                float(next(r for r in order if r in left) == row) for order in orders
            ] + [1 / len(left)]
            q = sum(a * b for a, b in zip(p, psi, strict=True))
            batch.append((psi, q))
            asked.append(row)
            inverse_q.append(1 / q)
            left.remove(row)
        labeled = labeled + rows
        model = LogisticRegression().fit(X[labeled], y[labeled])
        right = model.predict(X[asked]) == y[asked]
        total = sum(v for v, hit in zip(inverse_q, right, strict=True) if hit)
        reward = min(1.0, total / (N * max(budget, len(asked))))
        for psi, q in batch:
            for k in range(K):
                bonus = math.sqrt(math.log(K / delta) / (K * budget)) / p[k]
                w[k] *= math.exp(p_min / 2 * (psi[k] * reward / q + bonus))
    p = [(1 - K * p_min) * v / sum(w) + p_min for v in w]
    yield p, reward


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [[1] * 8, [4, 4, 4], [1, 7, 2, 3]])
@pytest.mark.parametrize(("budget", "delta", "p_min"), [(12, 0.1, None), (5, 1, 0.2)])
def test_probabilities_and_rewards_equal_the_paper(seed, sizes, budget, delta, p_min):
    X, y = data(seed=seed)
    rng = np.random.RandomState(seed)
    orders = [rng.permutation(60).tolist() for _ in range(2)]
    strategy = ActiveLearningByLearning(
        [Rows(orders[0]), Rows(orders[1])], budget=budget, delta=delta, p_min=p_min
    )
    first = start(y)
    labeled, infos = run(strategy, X, y, first, [*sizes, 1], seed)
    asked = labeled[len(first) :]
    batches = [asked[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
    expected = list(
        brute_force(X, y, first, orders, batches, budget, delta, p_min, seed)
    )
    assert len(infos) == len(expected)
    for info, (p, reward) in zip(infos, expected, strict=True):
        names = ["p_Rows", "p_Rows_1", "p_uniform"]
        np.testing.assert_allclose([info[name] for name in names], p, rtol=1e-9)
        if reward is not None:
            assert info["reward"] == pytest.approx(reward)


def test_picks_are_drawn_with_the_stated_probabilities():
    # 5 candidates, experts that want 0 and 3: q = (p + u, u, u, p + u, u), u = p/5
    counts = np.zeros(5)
    strategy = ActiveLearningByLearning([Rows([0, 1, 2, 3, 4]), Rows([3, 2, 1, 0, 4])])
    for seed in range(900):
        pool = Pool.from_arrays(embeddings=np.zeros((5, 1)), random_state=seed)
        counts[strategy.query(pool, 1)] += 1
    expected = 900 * (np.full(5, 1 / 15) + np.array([1, 0, 0, 1, 0]) / 3)
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # 99.9 % of chi2(4)


def test_importance_weighted_accuracy_is_unbiased():
    # a fixed model, labels that never arrive in the weights: the mean over many runs
    # of sum([right] / q) / (N T) is the accuracy on the pool
    right = np.array([1, 1, 0, 1, 0, 0, 1, 0])
    estimates = []
    strategy = ActiveLearningByLearning([Rows([2, 1, 0, 3, 4, 5, 6, 7])])
    for seed in range(900):
        pool = Pool.from_arrays(embeddings=np.zeros((8, 1)), random_state=seed)
        picks = strategy.query(pool, 1)
        q = strategy.get_state()["pending"]["q"][0]
        estimates.append(right[picks[0]] / q / 8)
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - right.mean()) < 4 * error


class Lookup:
    """A model that knows some rows and is wrong about all others."""

    classes_ = np.arange(2)

    def __init__(self, known):
        self.known = set(known)

    def predict_proba(self, X):
        right = np.isin(X[:, 0].astype(int), list(self.known))
        answer = np.where(right, X[:, 0].astype(int) % 2, 1 - X[:, 0].astype(int) % 2)
        return np.eye(2)[answer]


def test_the_expert_whose_picks_help_gains_weight():
    # the model is right only where expert A asks: A must end above B
    X = np.arange(200.0)[:, None]
    y = np.arange(200) % 2
    A, B = list(range(0, 100)), list(range(100, 200))
    strategy = ActiveLearningByLearning(
        [Rows(A + B), Rows(B + A)], budget=60, p_min=0.05
    )
    labeled = []
    for number in range(60):
        pool = Pool(Lookup(A), X, labeled, y[labeled], random_state=number)
        picks = strategy.query(pool, 1)
        labeled = labeled + pool.indices[picks].tolist()
    assert pool.info["p_Rows"] > pool.info["p_Rows_1"]


# ------------------------------------------------------------------------------ state


def test_the_same_pool_gives_the_same_picks_in_every_round():
    X, y = data()
    strategy = ActiveLearningByLearning(budget=20)
    labeled = start(y)
    for number in range(4):
        pool = pool_of(X, y, labeled, number)
        picks = strategy.query(pool, 5)
        strategy.query(pool, 3)
        np.testing.assert_array_equal(strategy.query(pool, 5), picks)
        labeled = labeled + pool.indices[picks].tolist()


def test_other_labels_start_anew():
    X, y = data()
    strategy = ActiveLearningByLearning(budget=20)
    run(strategy, X, y, start(y), [5, 5, 5])
    other = data(seed=9)
    pool = pool_of(*other, start(other[1]))
    picks = strategy.query(pool, 5)
    expected = ActiveLearningByLearning(budget=20).query(
        pool_of(*other, start(other[1])), 5
    )
    np.testing.assert_array_equal(picks, expected)
    assert "reward" not in pool.info
    # the same rows with another label are other labels as well
    for wrong in (False, True):
        labels = y.copy()
        first = pool_of(X, labels, start(y))
        picks = first.indices[strategy.query(first, 5)].tolist()
        if wrong:
            labels[start(y)[0]] = 1 + labels[start(y)[0]] % 2
        pool = pool_of(X, labels, [*start(y), *picks])
        strategy.query(pool, 5)
        assert ("reward" in pool.info) is not wrong


def test_the_state_survives_json_pickle_and_another_object():
    X, y = data()
    one = ActiveLearningByLearning(budget=20)
    labeled, _ = run(one, X, y, start(y), [5, 5])
    by_json = ActiveLearningByLearning(budget=20)
    by_json.set_state(json.loads(json.dumps(one.get_state())))
    by_pickle = pickle.loads(pickle.dumps(one))
    _, expected = run(one, X, y, labeled, [5, 5], seed=7)
    for other in (by_json, by_pickle):
        _, infos = run(other, X, y, labeled, [5, 5], seed=7)
        assert infos == expected
    assert clone(one).get_state() == {}
    one.set_state({})
    assert one.get_state() == {}


def test_get_state_is_a_copy():
    X, y = data()
    strategy = ActiveLearningByLearning()
    strategy.query(pool_of(X, y, start(y)), 3)
    state = strategy.get_state()
    state["log_weights"][0] = 99.0
    assert strategy.get_state()["log_weights"][0] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "a state of version 0"),
        ({"experts": ["badge", "uniform"]}, r"the experts \['badge', 'uniform'\]"),
    ],
)
def test_a_state_of_another_kind_is_refused(change, message):
    X, y = data()
    strategy = ActiveLearningByLearning()
    strategy.query(pool_of(X, y, start(y)), 3)
    with pytest.raises(ValueError, match=message):
        strategy.set_state({**strategy.get_state(), **change})


def test_only_those_picks_count_whose_labels_came():
    X, y = data()
    strategy = ActiveLearningByLearning(budget=20)
    labeled = start(y)
    pool = pool_of(X, y, labeled)
    picks = pool.indices[strategy.query(pool, 5)].tolist()
    others = [r for r in range(60) if r not in labeled + picks]
    # somebody labels another row, two of the picks in another order, one more row
    labeled = [*labeled, others[0], picks[3], picks[1], others[1]]
    strategy.query(pool_of(X, y, labeled), 5)
    state = strategy.get_state()
    assert sorted(state["answered"]) == [7, 8]
    assert {labeled[place] for place in state["answered"]} == {picks[1], picks[3]}
    # none of the new picks is answered: no reward, the weights stay
    before = state["log_weights"]
    asked = strategy.get_state()["pending"]["rows"]
    extra = next(r for r in range(60) if r not in labeled + asked)
    pool = pool_of(X, y, [*labeled, extra])
    strategy.query(pool, 5)
    assert strategy.get_state()["log_weights"] == before
    assert "reward" not in pool.info


def test_pools_of_arrays_take_new_labels_in_the_order_of_the_picks():
    rng = np.random.RandomState(0)
    strategy = ActiveLearningByLearning(["margin_sampling"], budget=4)
    common = {"embeddings": rng.randn(9, 2), "proba": np.full((9, 2), 0.5)}
    pool = Pool.from_arrays(
        **common, labeled_embeddings=rng.randn(2, 2), y_labeled=[0, 1], classes=[0, 1]
    )
    strategy.query(pool, 2)
    q = strategy.get_state()["pending"]["q"]
    pool = Pool.from_arrays(
        **common,
        labeled_embeddings=rng.randn(4, 2),
        y_labeled=[0, 1, 1, 0],
        classes=[0, 1],
        labeled_proba=np.eye(2)[[0, 1, 1, 1]],  # right on the first pick only
    )
    strategy.query(pool, 2)
    assert pool.info["reward"] == pytest.approx(1 / q[0] / (9 * 4))


def test_hidden_labels_are_not_read():
    X, y = data()
    labeled = start(y)
    hidden = np.delete(np.arange(60), labeled)
    garbage = y.copy()
    garbage[hidden] = 0
    one = ActiveLearningByLearning().query(pool_of(X, y, labeled), 9)
    other = ActiveLearningByLearning().query(pool_of(X, garbage, labeled), 9)
    np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------- in the learner


def learner(**params):
    return ActiveLearningClassifier(
        LogisticRegression(),
        ActiveLearningByLearning(budget=20),
        n_initial=6,
        query_size=4,
        random_state=0,
        **{"n_rounds": 5, **params},
    )


def test_the_learner_records_what_the_bandit_thinks():
    X, y = data(120)
    history = learner().fit(X, y).history_
    assert "reward" not in history[1]
    for record in history[2:]:
        assert 0 <= record["reward"] <= 1
        total = sum(v for name, v in record.items() if name.startswith("p_"))
        assert total == pytest.approx(1)


@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_a_resumed_run_picks_as_an_uninterrupted_one(tmp_path, fails_at):
    X, y = data(120)
    known = np.full(120, np.nan)
    known[start(y)] = y[start(y)]
    calls = []

    def oracle(X, indices):
        calls.append(indices)
        if len(calls) == fails_at:
            raise ConnectionError("gone")
        return y[indices]

    options = {"oracle": oracle, "classes": [0, 1, 2]}
    with pytest.raises(ConnectionError):
        learner(checkpoint_dir=tmp_path, **options).fit(X, known)
    resumed = learner(checkpoint_dir=tmp_path, **options).fit(X, known)
    whole = learner(**options).fit(X, known)
    np.testing.assert_array_equal(resumed.labeled_indices_, whole.labeled_indices_)
    assert [r.get("reward") for r in resumed.history_] == [
        r.get("reward") for r in whole.history_
    ]


# ------------------------------------------------------------------ promises, errors


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_pool=st.integers(1, 12), share=st.floats(0, 1))
def test_distinct_picks_from_any_pool(seed, n_pool, share):
    rng = np.random.RandomState(seed)
    pool = Pool.from_arrays(
        proba=np.full((n_pool, 2), 0.5),
        embeddings=rng.randint(3, size=(n_pool, 1)),  # many duplicates
        random_state=seed,
    )
    n = max(1, round(share * n_pool))
    picks = ActiveLearningByLearning().query(pool, n)
    assert len(set(picks.tolist())) == n
    state = ActiveLearningByLearning()
    state.query(pool, n)
    pending = state.get_state()["pending"]
    for q, psi in zip(pending["q"], pending["advice"], strict=True):
        assert q == pytest.approx(float(np.dot(pending["p"], psi)))
        assert 0 < q <= 1 + 1e-12


def test_random_sampling_is_the_uniform_expert():
    X, y = data()
    names = ActiveLearningByLearning([RandomSampling(), CoreSet()])._experts()[0]
    assert names == ["CoreSet", "uniform"]
    strategy = get_strategy("albl", strategies=["random_sampling", "margin_sampling"])
    strategy.query(pool_of(X, y, start(y)), 2)
    assert strategy.get_state()["experts"] == ["margin_sampling", "uniform"]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"strategies": []}, ValueError, "at least one strategy besides the uniform"),
        ({"strategies": ["random_sampling"]}, ValueError, "besides the uniform draw"),
        ({"strategies": [3]}, TypeError, "QueryStrategy objects or their names, got 3"),
        ({"strategies": ["margn"]}, ValueError, "Unknown strategy 'margn'"),
        ({"p_min": 0.4}, ValueError, "p_min must be at most 1/3.*got 0.4"),
        ({"p_min": 0.0}, ValueError, "The 'p_min' parameter"),
        ({"budget": 0}, ValueError, "The 'budget' parameter"),
        ({"delta": 0.0}, ValueError, "The 'delta' parameter"),
        ({"strategies": "margin"}, ValueError, "The 'strategies' parameter"),
    ],
)
def test_bad_parameters_are_refused(params, error, message):
    X, y = data()
    with pytest.raises(error, match=message):
        ActiveLearningByLearning(**params).query(pool_of(X, y, start(y)), 2)


def test_what_an_expert_misses_is_named():
    pool = Pool.from_arrays(embeddings=np.eye(3))
    with pytest.raises(MissingCapabilityError, match=r"needs class probabilities"):
        ActiveLearningByLearning().query(pool, 1)


def test_a_reward_needs_predictions_on_the_labelled_samples():
    strategy = ActiveLearningByLearning(["core_set"])
    strategy.query(Pool.from_arrays(embeddings=np.eye(5)), 2)
    pool = Pool.from_arrays(
        embeddings=np.eye(3), labeled_embeddings=np.eye(3)[:2], y_labeled=[0, 1]
    )
    with pytest.raises(MissingCapabilityError, match="ActiveLearningByLearning needs"):
        strategy.query(pool, 1)


def test_parameters_are_reached_and_experts_cloned():
    expert = UncertaintySampling("entropy")
    strategy = clone(ActiveLearningByLearning([expert, "core_set"]))
    assert strategy.strategies[0] is not expert
    assert strategy.strategies[0].measure == "entropy"
    assert strategy.get_params()["strategies"][1] == "core_set"
