"""The strategy applies its policy to the right features and trains on labels only."""

import json
import tracemalloc

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.selection import stochastic_top_n
from dalmax_sk.strategies import ReinforcementLearningSampling, get_strategy
from dalmax_sk.strategies.reinforcement import (
    LabelingEpisode,
    Policy,
    PolicyFileError,
    candidate_features,
    default_policy,
    reduce_dimension,
    run_episode,
    train_policy,
)


def random_pool(n=40, n_classes=3, d=4, m=6, seed=0, dtype=np.float64, **params):
    rng = np.random.RandomState(seed)
    return Pool.from_arrays(
        proba=softmax(2 * rng.randn(n, n_classes), axis=1),
        embeddings=rng.randn(n, d).astype(dtype),
        labeled_embeddings=rng.randn(m, d).astype(dtype),
        y_labeled=rng.randint(n_classes, size=m),
        **{"random_state": 0, **params},
    )


def brute_force_scores(pool, policy):
    """Distances by loops, then the documented features and formula."""
    X, L, y = pool.embeddings, pool.labeled_embeddings, pool.y_labeled
    neighbours = [
        np.mean(sorted(np.linalg.norm(x - z) for j, z in enumerate(X) if j != i)[:10])
        for i, x in enumerate(X)
    ]
    n_classes = pool.proba.shape[1]
    nearest = np.full((len(X), n_classes), np.inf)
    for i, x in enumerate(X):
        for z, k in zip(L, y, strict=True):
            nearest[i, k] = min(nearest[i, k], np.linalg.norm(x - z))
    features = candidate_features(
        pool.proba,
        np.array(neighbours),
        nearest,
        np.array([sum(y == k) for k in range(n_classes)]),
    )
    hidden = np.tanh(features @ policy.weight + policy.bias)
    return features @ policy.linear + hidden @ policy.output


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("m", [0, 1, 6])
def test_the_top_of_the_policy_equals_its_definition(seed, m):
    pool = random_pool(seed=seed, m=m)
    strategy = ReinforcementLearningSampling(batch="top")
    positions, scores = strategy.query(pool, 10, return_scores=True)
    expected = brute_force_scores(pool, default_policy())
    np.testing.assert_allclose(scores, expected[positions], atol=1e-8)
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][:10], atol=1e-8)
    assert pool.info["n_episodes_trained"] == 0


def test_a_soft_batch_is_a_draw_from_the_policy():
    # Gumbel noise on the scores; that these are the stated probabilities is tested
    # where the draw is (top_n) and for the policy itself
    firsts = set()
    for seed in range(5):
        pool = random_pool(random_state=seed)
        picks = ReinforcementLearningSampling().query(pool, 9)
        expected = stochastic_top_n(
            brute_force_scores(pool, default_policy()),
            9,
            batch="softmax",
            beta=1.0,
            random_state=pool.random_state,
        )
        np.testing.assert_array_equal(picks, expected)
        firsts.add(int(picks[0]))
    assert len(firsts) > 1


def labelled_pool(m=80, seed=0, **params):
    X, y = make_classification(
        300, 8, n_informative=5, n_classes=3, class_sep=1.5, random_state=seed
    )
    model = LogisticRegression().fit(X[:m], y[:m])
    return Pool(model, X, np.arange(m), y[:m], random_state=0, **params), X, y


def test_with_enough_labels_the_query_trains_a_policy_on_them(monkeypatch):
    # the data given to the training are the labelled samples, whatever is hidden
    from dalmax_sk.strategies import reinforcement_learning as module

    seen = []

    def spy(datasets, policy, **params):
        seen.append((datasets, params))
        return train_policy(datasets, policy, **params)

    monkeypatch.setattr(module, "train_policy", spy)
    pool, X, y = labelled_pool()
    strategy = ReinforcementLearningSampling(n_episodes=2, batch="top")
    trained = strategy.query(pool, 20)
    assert pool.info["n_episodes_trained"] == 2
    [([(features, labels)], params)] = seen
    assert params["n_episodes"] == 2
    np.testing.assert_array_equal(labels, y[:80])
    ratio = np.linalg.norm(X[0] - X[1]) / np.linalg.norm(features[0] - features[1])
    assert np.linalg.norm(X[5] - X[70]) == pytest.approx(
        ratio * np.linalg.norm(features[5] - features[70])
    )
    np.testing.assert_array_equal(strategy.query(pool, 20), trained)
    untrained = ReinforcementLearningSampling(n_episodes=0, batch="top").query(pool, 20)
    assert trained.tolist() != untrained.tolist()


def test_few_labels_or_one_class_leave_the_policy_as_it_is():
    for m, y in ((49, None), (60, np.zeros(60, int))):
        pool = random_pool(m=m if y is None else 60)
        if y is not None:
            pool = Pool.from_arrays(
                proba=pool.proba,
                embeddings=pool.embeddings,
                labeled_embeddings=pool.labeled_embeddings,
                y_labeled=y,
                random_state=0,
            )
        one = ReinforcementLearningSampling().query(pool, 9)
        assert pool.info["n_episodes_trained"] == 0
        other = ReinforcementLearningSampling(n_episodes=0).query(pool, 9)
        np.testing.assert_array_equal(one, other)


def test_hidden_labels_are_not_read():
    _, X, y = labelled_pool()
    garbage = y.copy()
    garbage[80:] = 0
    picks = [
        ReinforcementLearningSampling(n_episodes=1).query(
            Pool(LogisticRegression().fit(X[:80], y[:80]), X, np.arange(80), z[:80],
                 random_state=0, classes=np.arange(3)),
            10,
        )
        for z in (y, garbage)
    ]  # fmt: skip
    np.testing.assert_array_equal(*picks)


def test_a_policy_from_an_object_a_file_or_scratch(tmp_path):
    pool = random_pool()
    policy = Policy.initial(4, 0)
    policy.linear[1] = 5.0  # the margin, mainly
    by_object = ReinforcementLearningSampling(policy, batch="top").query(pool, 8)
    path = policy.save(tmp_path / "p.json")
    for given in (path, str(path)):
        by_file = ReinforcementLearningSampling(given, batch="top").query(pool, 8)
        np.testing.assert_array_equal(by_file, by_object)
    margin = get_strategy("margin_sampling").query(pool, 8)
    np.testing.assert_array_equal(by_object, margin)
    # an untrained policy draws uniformly: all scores are zero
    _, scores = ReinforcementLearningSampling(None).query(pool, 8, return_scores=True)
    np.testing.assert_array_equal(scores, 0)


def test_bad_policy_files_are_refused(tmp_path):
    path = default_policy().save(tmp_path / "p.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 9}))
    with pytest.raises(PolicyFileError, match="format version 9"):
        ReinforcementLearningSampling(path).query(random_pool(), 1)
    with pytest.raises(FileNotFoundError, match="There is no policy file"):
        ReinforcementLearningSampling(tmp_path / "x.json").query(random_pool(), 1)


@pytest.mark.parametrize(
    "params",
    [{"policy": 3}, {"n_episodes": -1}, {"min_labels": 5}, {"batch": "power"}],
)
def test_bad_parameters_are_refused(params):
    with pytest.raises(ValueError, match="parameter of ReinforcementLearningSampling"):
        ReinforcementLearningSampling(**params).query(random_pool(), 1)


def test_labels_are_needed_beside_labelled_embeddings():
    pool = Pool.from_arrays(
        proba=np.full((3, 2), 0.5),
        embeddings=np.eye(3),
        labeled_embeddings=np.eye(3)[:2],
    )
    with pytest.raises(ValueError, match="has 2 labelled_embeddings without"):
        ReinforcementLearningSampling().query(pool, 1)


def test_a_missing_capability_is_named():
    with pytest.raises(MissingCapabilityError, match="needs class probabilities"):
        ReinforcementLearningSampling().query(Pool.from_arrays(embeddings=np.eye(3)), 1)


@pytest.mark.parametrize("batch", ["softmax", "top", "softrank"])
@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distinct_picks_that_only_the_pool_decides(batch, n, dtype):
    strategy = ReinforcementLearningSampling(batch=batch)
    pool = random_pool(dtype=dtype)
    picks = strategy.query(pool, n)
    assert len(set(picks.tolist())) == n
    strategy.query(pool, 3)
    np.testing.assert_array_equal(strategy.query(pool, n), picks)
    np.testing.assert_array_equal(
        clone(strategy).query(random_pool(dtype=dtype), n), picks
    )


def test_permuting_the_pool_permutes_the_top():
    pool = random_pool()
    order = np.random.RandomState(3).permutation(40)
    permuted = Pool.from_arrays(
        proba=pool.proba[order],
        embeddings=pool.embeddings[order],
        labeled_embeddings=pool.labeled_embeddings,
        y_labeled=pool.y_labeled,
    )
    strategy = ReinforcementLearningSampling(batch="top")
    np.testing.assert_array_equal(
        order[strategy.query(permuted, 10)], strategy.query(pool, 10)
    )


@pytest.mark.parametrize("n_classes", [1, 2])
def test_duplicates_and_constant_embeddings(n_classes):
    pool = Pool.from_arrays(
        proba=np.full((30, n_classes), 1 / n_classes),
        embeddings=np.full((30, 3), 0.1),
        labeled_embeddings=np.full((1, 3), 0.1),
        y_labeled=[0],
        random_state=0,
    )
    picks = ReinforcementLearningSampling(batch="top").query(pool, 20)
    assert len(set(picks.tolist())) == 20


def test_max_memory_changes_the_blocks_and_not_the_picks():
    one = random_pool(n=300, m=60)
    other = random_pool(n=300, m=60, max_memory=20_000)
    strategy = ReinforcementLearningSampling(n_episodes=1, batch="top")
    np.testing.assert_array_equal(strategy.query(one, 50), strategy.query(other, 50))


def test_memory_of_features_grows_with_the_pool_only():
    # NumPy's part; that of the kernels is measured in tests/strategies/reinforcement
    pool = random_pool(n=20_000, d=8, m=100, max_memory=2**24)
    tracemalloc.start()
    ReinforcementLearningSampling(n_episodes=0).query(pool, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # 20k × (14 features + 3 classes ...) × 8 bytes, a few times


def test_the_default_policy_beats_random_on_data_it_has_never_seen():
    # 30 simulated runs on the digits, the same split for both; the gain is about eight
    # standard errors, 3 points of accuracy in the mean over the rounds
    X, y = load_digits(return_X_y=True)
    policy = default_policy()
    gains = []
    for seed in range(30):
        rng = np.random.RandomState(seed)
        rows = rng.permutation(len(X))[:400]
        features = reduce_dimension(X[rows])
        means = []
        for choose in (
            lambda seen, n, rng=rng: rng.permutation(len(seen))[:n],
            lambda seen, n, rng=rng: policy.draw(seen, n, rng),
        ):
            split = np.random.RandomState(seed)
            episode = LabelingEpisode(features, y[rows], 10, 20, random_state=split)
            rewards, _ = run_episode(episode, choose, query_size=10, n_rounds=8)
            means.append(np.mean(np.cumsum(rewards)))
        gains.append(means[1] - means[0])
    assert np.mean(gains) > 4 * np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert np.mean(gains) > 0.015
