"""BADGE equals its definition with gradients that are really formed."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import BADGE, get_strategy


def make_pool(n=40, n_classes=4, d=5, seed=0, dtype=np.float64, **params):
    rng = np.random.RandomState(seed)
    return Pool.from_arrays(
        proba=softmax(2 * rng.randn(n, n_classes), axis=1),
        embeddings=rng.randn(n, d).astype(dtype),
        **{"random_state": seed, **params},
    )


def gradients(pool, bias=False):
    """Gradient of the cross entropy by the last layer, label: the likeliest class."""
    rows = []
    for p, h in zip(pool.proba, pool.embeddings, strict=True):
        h = np.append(h, 1.0) if bias else h
        rows.append(
            [
                (p[c] - (c == p.argmax())) * value
                for c in range(len(p))
                for value in h.astype(np.float64)
            ]
        )
    return np.array(rows)


# The formula of the paper is the gradient that torch computes.
@pytest.mark.parametrize("bias", [False, True])
def test_the_gradients_are_those_of_the_last_layer(bias):
    rng = np.random.RandomState(0)
    layer = torch.nn.Linear(3, 4, bias=bias).double()
    h = torch.from_numpy(rng.randn(6, 3))
    proba = softmax(layer(h).detach().numpy(), axis=1)
    pool = Pool.from_arrays(proba=proba, embeddings=h.numpy())
    for i, expected in enumerate(gradients(pool, bias)):
        layer.zero_grad()
        logits = layer(h[i : i + 1])
        torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1)).backward()
        found = layer.weight.grad
        if bias:
            found = torch.cat([found, layer.bias.grad[:, None]], dim=1)
        assert_allclose(found.ravel().numpy(), expected, atol=1e-12)


# Each score is the distance of the pick's gradient to the nearest earlier one.
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("first", ["uniform", "largest"])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_the_distances_of_the_definition(seed, first, bias):
    pool = make_pool(seed=seed)
    strategy = BADGE(first=first, bias=bias)
    picks, scores = strategy.query(pool, 30, return_scores=True)
    points = gradients(pool, bias)
    norms = np.linalg.norm(points, axis=1)
    assert scores[0] == pytest.approx(norms[picks[0]])
    for i in range(1, 30):
        apart = np.linalg.norm(points[picks[:i]] - points[picks[i]], axis=1)
        assert scores[i] == pytest.approx(apart.min(), rel=1e-9)
    if first == "largest":
        assert picks[0] == norms.argmax()
    assert pool.info["mean_gradient_norm"] == pytest.approx(norms.mean())


# First and second picks have the probabilities of k-means++ on the dense gradients.
@pytest.mark.parametrize("first", ["uniform", "largest"])
def test_draws_have_the_distribution_of_the_definition(first):
    pool = make_pool(n=8, n_classes=3, d=2)
    points = gradients(pool)
    table = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    second = table / table.sum(axis=1, keepdims=True)
    start = np.full(8, 1 / 8)
    if first == "largest":
        start = np.eye(8)[np.linalg.norm(points, axis=1).argmax()]
    n_runs = 600
    draws = np.array(
        [
            BADGE(first=first).query(
                Pool.from_arrays(
                    proba=pool.proba, embeddings=pool.embeddings, random_state=seed
                ),
                2,
            )
            for seed in range(n_runs)
        ]
    )
    for position, p in enumerate([start, start @ second]):
        counts = np.bincount(draws[:, position], minlength=8)
        deviations = np.sqrt(np.maximum(n_runs * p * (1 - p), 1e-9))
        assert (abs(counts - n_runs * p) <= 4 * deviations + 1e-9).all()


# A batch of one is no random sample: it is the longest gradient, whatever the seed.
def test_a_single_pick_is_the_longest_gradient():
    longest = np.linalg.norm(gradients(make_pool()), axis=1).argmax()
    for seed in range(20):
        pool = make_pool()
        pool = Pool.from_arrays(
            proba=pool.proba, embeddings=pool.embeddings, random_state=seed
        )
        assert BADGE().query(pool, 1).tolist() == [longest]


def test_blocks_do_not_change_the_picks():
    expected = BADGE().query(make_pool(n=150), 60)
    for max_memory in (1, 10_000):
        picks = BADGE().query(make_pool(n=150, max_memory=max_memory), 60)
        assert_array_equal(picks, expected)


def test_a_larger_batch_begins_with_a_smaller_one():
    pool = make_pool(n=200)
    longest = BADGE().query(pool, 150)
    for n in (1, 20, 70):
        assert_array_equal(BADGE().query(pool, n), longest[:n])


# Uncertain points in two places, certain ones anywhere: these have no gradient, so they
# are one place, too. Three picks are one of each, where margins pick 40 of 60 alike.
def test_batches_are_diverse():
    rng = np.random.RandomState(0)
    embeddings = 1 + rng.rand(60, 3)
    proba = np.tile([1.0, 0.0], (60, 1))
    embeddings[:20] = [5.0, 0.0, 0.0]
    embeddings[20:40] = [0.0, 5.0, 0.0]
    proba[:40] = [0.55, 0.45]
    for seed in range(20):
        pool = Pool.from_arrays(proba=proba, embeddings=embeddings, random_state=seed)
        picks = BADGE().query(pool, 3)
        assert picks[0] < 40
        assert set(picks // 20) == {0, 1, 2}


@pytest.mark.parametrize("n", [1, 30])
@pytest.mark.parametrize(
    "proba",
    [
        np.tile([1.0, 0.0], (30, 1)),  # certain
        np.ones((30, 1)),  # a single class
        np.full((30, 4), 0.25),  # knows nothing
    ],
    ids=["certain", "one class", "flat"],
)
def test_degenerate_predictions(proba, n):
    for embeddings in (np.ones((30, 3)), np.zeros((30, 3), np.float32)):
        pool = Pool.from_arrays(proba=proba, embeddings=embeddings, random_state=1)
        picks, scores = BADGE().query(pool, n, return_scores=True)
        assert len(set(picks.tolist())) == n
        assert np.isfinite(scores).all()


def test_with_a_classifier():
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 4), np.arange(60) % 3
    model = LogisticRegression().fit(X[:12], y[:12])
    pool = Pool(model, X, np.arange(12), y[:12], random_state=0)
    assert len(set(get_strategy("badge", bias=True).query(pool, 48).tolist())) == 48


def test_errors():
    with pytest.raises(MissingCapabilityError, match="BADGE needs class probabilities"):
        BADGE().query(Pool.from_arrays(embeddings=np.eye(3)), 1)
    with pytest.raises(MissingCapabilityError, match="BADGE needs embeddings"):
        BADGE().query(Pool.from_arrays(proba=np.eye(3)), 1)
    with pytest.raises(ValueError, match="The 'first' parameter of BADGE must be"):
        BADGE(first="last").query(make_pool(), 1)
    with pytest.raises(ValueError, match="The 'bias' parameter of BADGE must be"):
        BADGE(bias="yes").query(make_pool(), 1)
