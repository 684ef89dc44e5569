"""ALFA-Mix equals its definition, mix by mix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import ALFAMix
from dalmax_sk.strategies.alfa_mix import flip_sizes


def make_pool(
    seed=0, n=40, d=5, n_classes=3, m=12, relu=False, scale=1.0, missing=(), **params
):
    """A pool whose labelled samples lack the classes `missing`."""
    rng = np.random.RandomState(seed)
    embeddings, labeled = rng.randn(n, d), rng.randn(m, d)
    if relu:
        # dead features: zero in many candidates, and one in all labelled samples
        embeddings, labeled = np.maximum(embeddings, 0), np.maximum(labeled, 0)
        labeled[:, 0] = 0
    head = (scale * rng.randn(n_classes, d), rng.randn(n_classes))
    present = np.setdiff1d(np.arange(n_classes), missing)
    return Pool.from_arrays(
        embeddings=params.pop("embeddings", embeddings),
        labeled_embeddings=labeled,
        y_labeled=present[np.arange(m) % len(present)],
        head=head,
        **{"random_state": 0, "classes": np.arange(n_classes), **params},
    )


def gradient(z, weight, bias):
    """Gradient at z of the cross-entropy of the predicted class, and that class."""
    logits = weight @ z + bias
    p = np.exp(logits - logits.max())
    p /= p.sum()
    label = int(logits.argmax())
    # p_y - 1, without the rounding where p_y is nearly 1
    p[label] = -sum(p[k] for k in range(len(p)) if k != label)
    return weight.T @ p, label


def mixed_flips(z, anchors, weight, bias, eps):
    """Whether the closed-form mix with one of the anchors changes the prediction."""
    g, label = gradient(z, weight, bias)
    for anchor in anchors:
        difference = anchor - z
        alpha = np.zeros_like(z)
        for j in range(len(z)):
            if difference[j] != 0:
                length = np.sqrt((difference**2).sum())
                alpha[j] = eps * length * g[j] / np.sqrt((g**2).sum()) / difference[j]
        mix = alpha * anchor + (1 - alpha) * z
        if int((weight @ mix + bias).argmax()) != label:
            return True
    return False


def anchors_of(pool):
    """The mean of each class's labelled samples; of all for a class without any."""
    codes, labeled = pool.y_labeled_codes, pool.labeled_embeddings
    return [
        (labeled[codes == k] if (codes == k).any() else labeled).mean(axis=0)
        for k in range(len(pool.classes))
    ]


# just above the smallest ε a mix flips, just below none does
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_classes=st.integers(2, 5),
    relu=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_the_smallest_epsilon_is_where_mixes_begin_to_flip(
    seed, n_classes, relu, scale
):
    pool = make_pool(seed, n=8, n_classes=n_classes, relu=relu, scale=scale)
    head, anchors = pool.head, anchors_of(pool)
    flips = flip_sizes(pool.embeddings, np.array(anchors), head, 2**20)
    for z, eps in zip(pool.embeddings, flips, strict=True):
        if np.isinf(eps):
            assert not mixed_flips(z, anchors, head.weight, head.bias, 1e3)
        else:
            below, above = eps * (1 - 1e-6) - 1e-12, eps * (1 + 1e-6) + 1e-12
            assert not mixed_flips(z, anchors, head.weight, head.bias, below)
            assert mixed_flips(z, anchors, head.weight, head.bias, above)


def brute_force_candidates(pool, n, eps):
    """The ladder of ε: those that flip at the first that gives more than n."""
    head, anchors = pool.head, anchors_of(pool)
    cap = eps
    while True:
        flipped = [
            i
            for i, z in enumerate(pool.embeddings)
            if mixed_flips(z, anchors, head.weight, head.bias, cap / np.sqrt(len(z)))
        ]
        if len(flipped) > n or cap >= 1 - 1e-9:
            return flipped, cap
        cap += eps


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("eps", [0.03125, 0.2, 0.7, 2.0])
@pytest.mark.parametrize("n", [1, 6, 25])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("missing", [[], [1], [0, 2]])
def test_picks_are_candidates_that_flip_then_random_ones(seed, eps, n, relu, missing):
    pool = make_pool(seed, scale=2.0, relu=relu, missing=missing)
    expected, cap = brute_force_candidates(pool, n, eps)
    picks, scores = ALFAMix(eps=eps).query(pool, n, return_scores=True)
    assert pool.info["n_inconsistent"] == len(expected)
    assert_allclose(pool.info["eps"], cap)
    if len(expected) >= n:
        assert set(picks) <= set(expected)
        assert pool.info["n_random"] == 0
    else:
        assert set(picks[: len(expected)]) == set(expected)
        assert pool.info["n_random"] == n - len(expected)
    assert ((-scores < cap) == np.isin(picks, expected)).all()


# one pick of each of four far groups of candidates that flip, none of the sure ones
def test_picks_are_diverse():
    rng = np.random.RandomState(0)
    corners = 10 * np.array([[0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
    unsure = np.repeat(corners, 10, axis=0) + 0.01 * rng.randn(40, 3)
    sure = np.column_stack([rng.choice([-8.0, 8.0], 20), rng.randn(20, 2)])
    pool = Pool.from_arrays(
        embeddings=np.concatenate([unsure, sure]),
        labeled_embeddings=[[-3.0, 0, 0], [3.0, 0, 0]],
        y_labeled=[0, 1],
        head=([[-1.0, 0, 0], [1.0, 0, 0]], [0.0, 0.0]),
        random_state=0,
    )
    picks = ALFAMix(eps=0.05).query(pool, 4)
    assert sorted(picks // 10) == [0, 1, 2, 3]


# lengths do not count: two directions, each at two lengths
def test_clustering_is_of_directions_unless_told_otherwise():
    embeddings = np.array([[0.01, 1.0], [0.012, 1.1], [0.01, -50.0], [0.012, -9.0]])
    pool = Pool.from_arrays(
        embeddings=embeddings,
        labeled_embeddings=[[-1.0, 0.0], [1.0, 0.0]],
        y_labeled=[0, 1],
        head=([[-1.0, 0.0], [1.0, 0.0]], [0.0, 0.0]),
        random_state=0,
    )
    by_direction = ALFAMix(eps=1.0).query(pool, 2)
    assert sorted(by_direction // 2) == [0, 1]
    by_place = ALFAMix(eps=1.0, normalize=False).query(pool, 2)
    assert 2 in by_place  # far from everything else


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_do_not_change_the_result(relu, dtype):
    pool = make_pool(relu=relu, n=101)
    args = pool.embeddings.astype(dtype), np.array(anchors_of(pool)), pool.head
    assert_allclose(flip_sizes(*args, 1), flip_sizes(*args, 2**30), rtol=1e-9)
    small = make_pool(relu=relu, n=101, max_memory=1)
    assert len(ALFAMix().query(small, 9)) == len(ALFAMix().query(pool, 9))
    assert small.info == pool.info


def test_permuting_the_pool_permutes_the_candidates():
    pool = make_pool(n=60)
    order = np.random.RandomState(1).permutation(60)
    other = make_pool(n=60, embeddings=pool.embeddings[order])
    flips = [
        flip_sizes(p.embeddings, np.array(anchors_of(p)), p.head, 2**20)
        for p in (pool, other)
    ]
    assert_allclose(flips[0][order], flips[1])


# The class without labels is looked for with the mean of all labelled samples.
def test_a_class_without_labels_has_an_anchor(table):
    X, y = table
    labeled = np.flatnonzero(y != 2)[:30]
    model = LogisticRegression().fit(X[labeled], y[labeled])
    seen = Pool(model, X, labeled, y[labeled], random_state=0)
    every = Pool(model, X, labeled, y[labeled], classes=np.unique(y), random_state=0)
    assert len(ALFAMix()._anchors(seen)) == 2
    assert_allclose(ALFAMix()._anchors(every)[2], X[labeled].mean(axis=0))


def test_same_seed_same_picks():
    first = ALFAMix().query(make_pool(), 10)
    pool = make_pool()
    ALFAMix(eps=0.5).query(pool, 3)
    assert_array_equal(ALFAMix().query(pool, 10), first)
    assert ALFAMix().query(make_pool(random_state=1), 10).tolist() != first.tolist()


def test_duplicates_and_the_whole_pool():
    pool = make_pool(embeddings=np.repeat(np.eye(5), 8, axis=0))
    assert len(set(ALFAMix().query(pool, 30).tolist())) == 30
    assert sorted(ALFAMix().query(make_pool(), 40)) == list(range(40))


# an anchor at the candidate itself cannot change anything
def test_a_candidate_at_every_anchor_never_flips():
    rng = np.random.RandomState(0)
    for point in rng.randn(20, 7):
        pool = Pool.from_arrays(
            embeddings=[point, point],
            labeled_embeddings=[point, point],
            y_labeled=[0, 1],
            head=(rng.randn(2, 7), [0.0, 0.0]),
            random_state=0,
        )
        _, scores = ALFAMix().query(pool, 2, return_scores=True)
        assert (scores == -np.inf).all()
        assert pool.info["n_random"] == 2


def test_a_model_that_is_sure_still_has_a_gradient():
    # softmax of these logits is 1 and exactly 0; the direction is known all the same
    pool = Pool.from_arrays(
        embeddings=[[1.0, 0.0]],
        labeled_embeddings=[[-1.0, 0.5], [1.0, 0.5]],
        y_labeled=[0, 1],
        head=([[-900.0, 0.0], [900.0, 0.0]], [0.0, 0.0]),
    )
    flips = flip_sizes(pool.embeddings, np.array(anchors_of(pool)), pool.head, 2**20)
    assert_allclose(flips, 1 / np.hypot(2, 0.5))  # 1 away, of the farther anchor's


def test_with_a_fitted_model(table):
    X, y = table
    model = LogisticRegression().fit(X[:30], y[:30])
    pool = Pool(model, X, np.arange(30), y[:30], random_state=0)
    assert len(set(ALFAMix().query(pool, 12).tolist())) == 12


def test_one_class_seen_leaves_chance():
    pool = make_pool()
    one = Pool.from_arrays(
        embeddings=pool.embeddings,
        labeled_embeddings=pool.labeled_embeddings,
        y_labeled=np.zeros(12, int),
        head=(np.ones((1, 5)), [0.0]),
        random_state=0,
    )
    assert len(set(ALFAMix().query(one, 6).tolist())) == 6
    assert one.info["n_random"] == 6


def test_what_is_missing_is_named(table):
    X, y = table
    arrays = {"embeddings": np.eye(3), "head": (np.eye(3), np.zeros(3))}
    pool = Pool.from_arrays(**arrays)
    with pytest.raises(ValueError, match=r"0 labelled embeddings and 0 labels. Label"):
        ALFAMix().query(pool, 1)
    svc = LinearSVC().fit(X[:30], y[:30])
    with pytest.raises(MissingCapabilityError, match=r"ALFAMix needs"):
        ALFAMix().query(Pool(svc, X, np.arange(30), y[:30]), 1)
    with pytest.raises(ValueError, match="'eps' parameter of ALFAMix"):
        ALFAMix(eps=0.0).query(pool, 1)


def test_a_model_that_diverged_is_refused(table):
    X, y = table
    model = LogisticRegression().fit(X[:30], y[:30])
    model.coef_[0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"LogisticRegression has .* NaN or infinite .*diverged"
    ):
        ALFAMix().query(Pool(model, X, np.arange(30), y[:30]), 1)
