"""DropQuery equals its definition, value by value."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import DropQuery


def make_pool(seed=0, n=40, d=6, n_classes=3, dtype=np.float64, **params):
    rng = np.random.RandomState(seed)
    return Pool.from_arrays(
        embeddings=params.pop("embeddings", rng.randn(n, d).astype(dtype)),
        head=(rng.randn(n_classes, d), rng.randn(n_classes)),
        **{"random_state": 0, **params},
    )


def brute_force_counts(pool, n_samples, dropout):
    """Differing predictions, with the documented draws: copy, candidate, feature."""
    rng = pool.random_state
    generator = np.random.default_rng(rng.randint(2**32, size=4, dtype=np.uint64))
    weight, bias = pool.head.weight, pool.head.bias
    counts = np.zeros(len(pool), dtype=int)
    for _ in range(n_samples):
        for i, z in enumerate(pool.embeddings):
            dropped = np.zeros(len(z))
            for j in range(len(z)):
                u = generator.random(dtype=np.float32)
                if u >= dropout:
                    dropped[j] = z[j] / (1 - dropout)
            plain = (weight @ z + bias).argmax()
            counts[i] += (weight @ dropped + bias).argmax() != plain
    return counts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n_samples", "dropout"), [(3, 0.75), (1, 0.5), (6, 0.3)])
@pytest.mark.parametrize("n", [1, 5, 30])
@pytest.mark.parametrize("enough", [0, 2, 25])
def test_picks_are_the_inconsistent_then_by_count(seed, n_samples, dropout, n, enough):
    pool = make_pool(seed, random_state=seed)
    counts = brute_force_counts(pool, n_samples, dropout)
    # more than half; fewer, one by one, while there are too few
    inconsistent = np.flatnonzero(counts > n_samples / 2)
    for least in range(n_samples // 2, 0, -1):
        if len(inconsistent) < enough * n:
            inconsistent = np.flatnonzero(counts >= least)
    strategy = DropQuery(n_samples=n_samples, dropout=dropout, enough=enough)
    picks, scores = strategy.query(pool, n, return_scores=True)
    assert pool.info["n_inconsistent"] == len(inconsistent)
    assert pool.info["n_differing"] <= n_samples // 2 + 1
    if enough == 0:
        assert pool.info["n_differing"] == n_samples // 2 + 1
    assert_array_equal(scores, counts[picks] / n_samples)
    if len(inconsistent) >= n:
        assert set(picks) <= set(inconsistent)
    else:
        assert_array_equal(scores, np.sort(counts)[::-1][:n] / n_samples)


def test_three_of_six_is_not_more_than_half():
    # without dropout of the one feature the prediction stays, with it it changes
    pool = Pool.from_arrays(
        embeddings=np.ones((400, 1)),
        head=([[1.0], [0.0]], [0.0, 0.5]),
        random_state=0,
    )
    counts = brute_force_counts(pool, 6, 0.5)
    DropQuery(n_samples=6, dropout=0.5, enough=0).query(pool, 5)
    assert pool.info["n_inconsistent"] == (counts >= 4).sum() < (counts >= 3).sum()


# values that stay are scaled up: bias and features keep their balance
def test_dropout_scales_what_it_keeps():
    # 2 · 0.5 / 0.5 beats the bias of 1.5, 2 · 0.5 would not
    pool = Pool.from_arrays(
        embeddings=np.full((200, 1), 0.5),
        head=([[4.0], [0.0]], [0.0, 1.5]),
        random_state=0,
    )
    DropQuery(n_samples=1, dropout=0.5).query(pool, 1)
    dropped = brute_force_counts(pool, 1, 0.5).sum()
    assert pool.info["n_inconsistent"] == dropped
    assert 60 < dropped < 140


# four far groups that dropout changes, and many candidates that it does not
def test_picks_are_diverse():
    rng = np.random.RandomState(0)
    corners = 10 * np.array(
        [[0, 0, 1, 0], [0, 0, -1, 0], [0, 0, 0, 1], [0, 0, 0, -1.0]]
    )
    unsure = np.repeat(corners, 20, axis=0) + 0.01 * rng.randn(80, 4)
    unsure[:, :2] = [1.0, -0.9]
    sure = np.column_stack([np.full((40, 2), 9.0), rng.randn(40, 2)])
    pool = Pool.from_arrays(
        embeddings=np.concatenate([unsure, sure]),
        head=([[-1.0, -1.0, 0, 0], [1.0, 1.0, 0, 0]], [-0.5, 0.5]),
        random_state=0,
    )
    picks = DropQuery(n_samples=3, dropout=0.5).query(pool, 4)
    assert sorted(picks // 20) == [0, 1, 2, 3]


# lengths do not count: two directions, each at two lengths
def test_clustering_is_of_directions_unless_told_otherwise():
    embeddings = np.array([[1.0, 100], [1.0, 1000], [1.0, -100], [1.0, -110]])
    pool = Pool.from_arrays(
        embeddings=embeddings,
        head=([[1.0, 0.0], [0.0, 0.0]], [0.0, 0.5]),
        random_state=0,
    )
    strategy = DropQuery(n_samples=99, dropout=0.6, enough=0)
    by_direction = strategy.query(pool, 2)
    assert pool.info["n_inconsistent"] == 4
    assert sorted(by_direction // 2) == [0, 1]
    strategy.set_params(normalize=False)
    assert 1 in strategy.query(pool, 2)  # far from everything else


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_do_not_change_the_picks(dtype):
    whole = make_pool(n=203, dtype=dtype)
    for limit in (1, 3000):
        small = make_pool(n=203, dtype=dtype, max_memory=limit)
        for n in (4, 150):
            assert_array_equal(DropQuery().query(small, n), DropQuery().query(whole, n))


def test_the_seed_decides():
    pool = make_pool(n=100)
    first = DropQuery().query(pool, 20)
    DropQuery(n_samples=5).query(pool, 3)
    assert_array_equal(DropQuery().query(pool, 20), first)
    other = DropQuery().query(make_pool(n=100, random_state=1), 20)
    assert other.tolist() != first.tolist()


def test_duplicates_and_the_whole_pool():
    pool = make_pool(embeddings=np.repeat(np.eye(6), 7, axis=0))
    assert len(set(DropQuery().query(pool, 20).tolist())) == 20
    assert sorted(DropQuery().query(pool, 42)) == list(range(42))


def test_with_fitted_models(table):
    X, y = table
    net = CNNClassifier(max_epochs=2, random_state=0, device="cpu")
    for model in (LogisticRegression(), LinearSVC(), net):
        pool = Pool(model.fit(X[:40], y[:40]), X, np.arange(40), y[:40], random_state=0)
        assert len(set(DropQuery().query(pool, 15).tolist())) == 15


def test_one_class_seen_leaves_chance():
    pool = make_pool(n_classes=1)
    assert len(set(DropQuery().query(pool, 6).tolist())) == 6
    assert pool.info["n_inconsistent"] == 0


def test_what_is_missing_is_named(table):
    X, y = table
    forest = RandomForestClassifier(5).fit(X[:30], y[:30])
    with pytest.raises(MissingCapabilityError, match=r"DropQuery needs a linear dec"):
        DropQuery().query(Pool(forest, X, np.arange(30), y[:30]), 1)
    with pytest.raises(MissingCapabilityError, match="DropQuery needs"):
        DropQuery().query(Pool(None, X, [], []), 1)
    for bad in (DropQuery(dropout=0.0), DropQuery(dropout=1.0), DropQuery(enough=-1)):
        with pytest.raises(ValueError, match="parameter of DropQuery must be"):
            bad.query(make_pool(), 1)


def test_a_model_that_diverged_is_refused(table):
    X, y = table
    model = LogisticRegression().fit(X[:30], y[:30])
    model.coef_[0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"LogisticRegression has .* NaN or infinite .*diverged"
    ):
        DropQuery().query(Pool(model, X, np.arange(30), y[:30]), 1)


def test_a_net_looks_at_the_candidates_once(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 8, 8)), np.arange(40) % 2
    net = CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X[:9], y[:9])
    rows = []

    def counted(X, embeddings=True, given=net.iter_predictions):
        rows.append(len(X))
        return given(X, embeddings=embeddings)

    monkeypatch.setattr(net, "iter_predictions", counted)
    DropQuery().query(Pool(net, X, np.arange(9), y[:9], random_state=0), 3)
    assert rows == [31]
