"""Episodes simulate labelling truly; REINFORCE follows its formula and learns."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_blobs
from sklearn.linear_model import LogisticRegression

from dalmax_sk._base import progress
from dalmax_sk.strategies.reinforcement import (
    FEATURE_NAMES,
    LabelingEpisode,
    Policy,
    reduce_dimension,
    run_episode,
    train_policy,
    training,
)
from dalmax_sk.strategies.reinforcement.episodes import fit_softmax_regression

IRIS = load_iris(return_X_y=True)


def iris_episode(seed=0, n_initial=6):
    X, y = IRIS
    return LabelingEpisode(
        reduce_dimension(X), y, 3, n_initial, random_state=np.random.RandomState(seed)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_proxy_learner_is_logistic_regression(seed, n_classes):
    # scikit-learn's objective with the bias as one more penalised column
    X, y = make_blobs(60, 5, centers=n_classes, cluster_std=6, random_state=seed)
    X = reduce_dimension(X)
    ours = fit_softmax_regression(X, y, n_classes, n_steps=500)
    A = np.column_stack([X, np.ones(60)])
    exact = LogisticRegression(fit_intercept=False, tol=1e-10, max_iter=10000)
    expected = exact.fit(A, y).predict_proba(A)
    if n_classes == 2:
        # two rows of weights, each penalised: half the strength on their difference
        exact.set_params(C=2.0)
        expected = exact.fit(A, y).predict_proba(A)
    scores = A @ ours
    found = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # and the default number of steps is close
    scores = A @ fit_softmax_regression(X, y, n_classes)
    quick = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(quick, expected, atol=0.05)


def test_reduced_features_are_centred_scaled_and_keep_distances():
    rng = np.random.RandomState(0)
    X = 1000 * rng.randn(50, 3) @ rng.randn(3, 200) + 7
    Z = reduce_dimension(X)
    assert Z.shape == (50, 32)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-9)
    ratio = np.linalg.norm(X[0] - X[1]) / np.linalg.norm(Z[0] - Z[1])
    assert np.linalg.norm(X[2] - X[9]) == pytest.approx(
        ratio * np.linalg.norm(Z[2] - Z[9])
    )
    np.testing.assert_array_equal(reduce_dimension(np.full((4, 2), 0.1)), 0)


def test_an_episode_hides_labels_and_pays_the_gain():
    episode = iris_episode()
    X, y = IRIS
    start = set(episode.labeled.tolist())
    pool = episode.pool.copy()
    assert not start & set(pool.tolist())
    held_out = sorted(set(range(150)) - start - set(pool.tolist()))
    assert len(held_out) == 60
    rewards, visited = run_episode(
        episode, lambda features, n: np.arange(n)[::-1], query_size=4, n_rounds=3
    )
    assert episode.labeled.tolist()[6:] == [
        *pool[[3, 2, 1, 0]],
        *pool[[7, 6, 5, 4]],
        *pool[[11, 10, 9, 8]],
    ]
    assert [len(features) for features, _ in visited] == [84, 80, 76]
    # the score is the proxy's accuracy on what was held out
    Z = reduce_dimension(X)
    W = fit_softmax_regression(Z[episode.labeled], y[episode.labeled], 3)
    predicted = np.argmax(Z[held_out] @ W[:-1] + W[-1], axis=1)
    assert episode.score == pytest.approx(np.mean(predicted == y[held_out]))
    assert rewards.sum() == pytest.approx(episode.score - iris_episode().score)


def test_an_episode_features_follow_the_labelling():
    # distances are updated step by step; a fresh look must give the same
    from dalmax_sk.strategies.reinforcement.features import nearest_by_class

    episode = iris_episode(seed=3)
    episode.step(np.array([5, 0, 9]))
    X, y = reduce_dimension(IRIS[0]), IRIS[1]
    nearest, _ = nearest_by_class(
        X[episode.pool], X[episode.labeled], y[episode.labeled], 3
    )
    np.testing.assert_allclose(episode._nearest[episode.pool], nearest, atol=1e-7)


def test_pool_labels_do_not_influence_an_episode_before_they_are_asked_for():
    X, y = IRIS
    one = iris_episode(seed=1)
    garbled = y.copy()
    garbled[one.pool] = 2 - garbled[one.pool]
    other = LabelingEpisode(
        reduce_dimension(X), garbled, 3, 6, random_state=np.random.RandomState(1)
    )
    np.testing.assert_array_equal(one.features, other.features)


def test_an_episode_starts_with_two_classes_and_ends_with_the_pool():
    X = np.random.RandomState(0).randn(30, 2)
    y = np.zeros(30, int)
    y[:4] = 1
    for seed in range(20):
        episode = LabelingEpisode(X, y, 2, 2, random_state=np.random.RandomState(seed))
        rows = np.concatenate([episode.labeled, episode.pool])
        assert len(set(y[episode.labeled])) == len(set(y[rows]))
    rewards, _ = run_episode(episode, lambda f, n: np.arange(n), 7, n_rounds=50)
    assert len(rewards) == 3  # 16 candidates: 7, 7, 2
    assert len(episode.pool) == 0


def test_an_episode_needs_rows():
    with pytest.raises(ValueError, match="10 rows with 4 held out has 6 left for a st"):
        LabelingEpisode(
            np.eye(10), np.arange(10), 10, 6, random_state=np.random.RandomState(0)
        )


class Game:
    """An episode whose reward is the margin feature of the picks; nothing else."""

    def __init__(self, *problem, random_state):
        self._rng = random_state
        self.pool = np.arange(40)
        self.features = self._rng.rand(40, len(FEATURE_NAMES))

    def step(self, picks):
        reward = self.features[picks, 1].mean()
        self.pool = np.delete(self.pool, picks)
        self.features = self._rng.rand(len(self.pool), len(FEATURE_NAMES))
        return reward


def test_the_gradient_is_that_of_reinforce(monkeypatch):
    # returns, leave-one-out baseline and scale written out
    monkeypatch.setattr(training, "LabelingEpisode", Game)
    policy = Policy.initial(4, 0)
    policy.linear[:] = np.random.RandomState(0).randn(len(FEATURE_NAMES))
    rng = np.random.RandomState(5)
    gradient, gain = training._episode_gradient(policy, (), 3, 4, 2, 0.5, rng)
    rng = np.random.RandomState(5)
    seed = rng.randint(2**31 - 1)
    games = []
    for _ in range(4):
        game = Game(random_state=np.random.RandomState(seed))
        history = []
        for _ in range(2):
            features = game.features
            picks = policy.draw(features, 3, rng)
            history.append((features, picks, game.step(picks)))
        games.append(history)
    returns = [[g[0][2] + 0.5 * g[1][2], g[1][2]] for g in games]
    advantage = [
        [returns[k][t] - np.mean([returns[j][t] for j in range(4) if j != k])
         for t in range(2)]
        for k in range(4)
    ]  # fmt: skip
    size = np.sqrt(np.mean(np.square(advantage)))
    expected = sum(
        advantage[k][t] / size / 8 / 3 * policy.gradient(*games[k][t][:2])["linear"]
        for k in range(4)
        for t in range(2)
    )
    np.testing.assert_allclose(gradient["linear"], expected)
    assert gain == pytest.approx(np.mean([g[0][2] + g[1][2] for g in games]))


def test_training_finds_what_is_rewarded(monkeypatch):
    monkeypatch.setattr(training, "LabelingEpisode", Game)
    policy = train_policy(
        [IRIS], n_episodes=60, n_rounds=2, learning_rate=0.1, random_state=0
    )
    X = np.random.RandomState(0).rand(500, len(FEATURE_NAMES))
    rank = np.corrcoef(policy.scores(X), X[:, 1])[0, 1]
    assert rank > 0.9


def test_training_continues_from_a_policy_without_changing_it():
    start = Policy.initial(3, 0)
    policy = train_policy(
        [IRIS], start, n_episodes=2, n_rollouts=2, n_rounds=2, random_state=0
    )
    again = train_policy(
        [IRIS], start, n_episodes=2, n_rollouts=2, n_rounds=2, random_state=0
    )
    np.testing.assert_array_equal(start.linear, 0)
    np.testing.assert_array_equal(policy.linear, again.linear)
    assert policy.linear.any()
    assert policy.training["n_episodes"] == 2


def test_labels_of_any_kind_and_progress():
    X, y = IRIS
    names = np.array(["a", "b", "c"])[y]
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((stage, done))):
        policy = train_policy(
            [(X, names)], n_episodes=2, n_rollouts=2, n_rounds=1, random_state=0
        )
    assert ("episode", 2) in seen
    same = train_policy(
        [(X, y)], n_episodes=2, n_rollouts=2, n_rounds=1, random_state=0
    )
    np.testing.assert_array_equal(policy.linear, same.linear)


@pytest.mark.parametrize(
    ("datasets", "params", "message"),
    [
        ([], {}, "At least one data set"),
        ([(np.eye(5), np.arange(5))], {}, r"datasets\[0\] has 5 rows of 5 class"),
        ([IRIS, (IRIS[0], np.zeros(150))], {}, r"datasets\[1\] has 150 rows of 1 cl"),
        ([(IRIS[0], IRIS[1][:9])], {}, r"got shapes \(150, 4\) and \(9,\)"),
        ([(np.full((20, 2), np.nan), np.arange(20))], {}, "X holds NaN"),
        ([IRIS], {"n_rollouts": 1}, "n_rollouts must be at least 2, got 1"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(datasets, params, message):
    with pytest.raises(ValueError, match=message):
        train_policy(datasets, **params)
