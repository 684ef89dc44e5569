"""The features of a policy equal their definitions and have no unit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dalmax_sk.strategies.reinforcement import FEATURE_NAMES, candidate_features
from dalmax_sk.strategies.reinforcement.features import (
    nearest_by_class,
    neighbour_distance,
)


def problem(seed, n=30, m=9, d=4, n_classes=3):
    rng = np.random.RandomState(seed)
    return {
        "proba": rng.dirichlet(np.full(n_classes, 0.7), size=n),
        "X": rng.randn(n, d),
        "labeled": rng.randn(m, d),
        "codes": rng.randint(n_classes, size=m),
    }


def features_of(proba, X, labeled, codes, **params):
    rng = np.random.RandomState(0)
    neighbours, floor = neighbour_distance(X, random_state=rng, **params)
    nearest, _ = nearest_by_class(X, labeled, codes, proba.shape[1], **params)
    counts = np.bincount(codes, minlength=proba.shape[1])
    return candidate_features(proba, neighbours, nearest, counts, floor)


def in_pool(values):
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return [1 / (1 + math.exp(-(v - mean) / spread)) for v in values]


def brute_force(proba, X, labeled, codes):
    """One candidate at a time, in plain Python, from the docstring."""
    n, n_classes = proba.shape
    m = len(labeled)
    table = {name: [] for name in FEATURE_NAMES}
    neighbours, to_labeled = [], []
    predicted = [int(np.argmax(p)) for p in proba]
    rarity = [
        1 / (1 + n_classes * sum(c == k for c in codes) / m) for k in range(n_classes)
    ]
    for i, p in enumerate(proba):
        ordered = sorted(p, reverse=True)
        table["entropy"].append(
            -sum(q * math.log(q) for q in p if q > 0) / math.log(n_classes)
        )
        table["margin"].append(1 - (ordered[0] - ordered[1]))
        table["least_confidence"].append(
            (1 - ordered[0]) / (1 - 1 / n_classes),
        )
        others = sorted(np.linalg.norm(X[i] - X[j]) for j in range(n) if j != i)
        neighbours.append(np.mean(others[:10]))
        distances = [np.linalg.norm(X[i] - x) for x in labeled]
        to_labeled.append(min(distances))
        same = [r for r, c in zip(distances, codes, strict=True) if c == predicted[i]]
        other = [r for r, c in zip(distances, codes, strict=True) if c != predicted[i]]
        if same and other:
            table["distance_margin"].append(min(same) / (min(same) + min(other)))
        else:
            table["distance_margin"].append(0.0 if same else 1.0)
        table["class_rarity"].append(rarity[predicted[i]])
        table["expected_rarity"].append(sum(p[k] * rarity[k] for k in range(n_classes)))
        share = sum(q == predicted[i] for q in predicted) / n
        table["rarity_in_pool"].append(1 / (1 + n_classes * share))
    table["entropy_in_pool"] = in_pool(table["entropy"])
    table["margin_in_pool"] = in_pool(table["margin"])
    table["typicality_in_pool"] = [1 - v for v in in_pool(neighbours)]
    table["distance_in_pool"] = in_pool(to_labeled)
    table["label_fraction"] = [m / (m + n)] * n
    table["labels_per_class"] = [(m / n_classes) / (m / n_classes + 10)] * n
    table["mean_margin"] = [sum(table["margin"]) / n] * n
    return np.column_stack([table[name] for name in FEATURE_NAMES])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_features_equal_their_definitions(seed, n_classes):
    given = problem(seed, n_classes=n_classes)
    np.testing.assert_allclose(features_of(**given), brute_force(**given), atol=1e-9)


def test_features_have_no_unit():
    # another scale, another origin: the same features
    one = problem(0)
    other = dict(one, X=1e3 * one["X"] + 500, labeled=1e3 * one["labeled"] + 500)
    np.testing.assert_allclose(features_of(**one), features_of(**other), atol=1e-6)


def test_permuting_the_candidates_permutes_the_features():
    one = problem(1)
    order = np.random.RandomState(0).permutation(30)
    other = dict(one, X=one["X"][order], proba=one["proba"][order])
    np.testing.assert_allclose(features_of(**one)[order], features_of(**other))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    m=st.integers(0, 8),
    n_classes=st.integers(1, 4),
    max_memory=st.sampled_from([1, 500, 5000]),
)
def test_blocks_change_nothing_and_all_values_are_between_0_and_1(
    seed, n, m, n_classes, max_memory
):
    given = problem(seed, n=n, m=m, n_classes=n_classes)
    dense = features_of(**given)
    assert dense.shape == (n, len(FEATURE_NAMES))
    assert dense.min() >= 0
    assert dense.max() <= 1
    blocked = features_of(**given, max_memory=max_memory)
    np.testing.assert_allclose(blocked, dense, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_embeddings_say_nothing(dtype):
    # rounding errors of equal points must not be blown up to a spread of one
    given = problem(2, d=50)
    point = np.random.RandomState(0).randn(50).astype(dtype)
    given.update(X=np.tile(point, (30, 1)), labeled=np.tile(point, (9, 1)))
    features = dict(zip(FEATURE_NAMES, features_of(**given).T, strict=True))
    for name in ("typicality_in_pool", "distance_in_pool", "distance_margin"):
        np.testing.assert_array_equal(features[name], 0.5)


def test_equal_distances_far_from_the_origin_say_nothing():
    # the corners of a simplex: all distances are √2 up to rounding
    X = np.eye(30) + 1e5
    neighbours, floor = neighbour_distance(X, random_state=np.random.RandomState(0))
    nearest, _ = nearest_by_class(X[:20], X[20:], np.repeat([0, 1], 5), 2)
    features = candidate_features(
        np.full((20, 2), 0.5), neighbours[:20], nearest, np.array([5, 5]), floor
    )
    features = dict(zip(FEATURE_NAMES, features.T, strict=True))
    for name in ("typicality_in_pool", "distance_in_pool"):
        np.testing.assert_array_equal(features[name], 0.5)


def test_nothing_labelled_and_one_class_give_neutral_values():
    given = problem(3, m=0, n_classes=1)
    features = dict(zip(FEATURE_NAMES, features_of(**given).T, strict=True))
    np.testing.assert_array_equal(features["distance_in_pool"], 0.5)
    np.testing.assert_array_equal(features["distance_margin"], 0.5)
    np.testing.assert_array_equal(features["class_rarity"], 0.5)
    np.testing.assert_array_equal(features["entropy"], 0.0)
    np.testing.assert_array_equal(features["label_fraction"], 0.0)


def test_nearest_by_class_equals_loops_and_is_infinite_without_labels():
    given = problem(4, n_classes=4)
    codes = np.where(given["codes"] == 2, 3, given["codes"])
    nearest, _ = nearest_by_class(given["X"], given["labeled"], codes, 5)
    for i, x in enumerate(given["X"]):
        for k in range(5):
            rows = given["labeled"][codes == k]
            expected = min((np.linalg.norm(x - r) for r in rows), default=np.inf)
            assert nearest[i, k] == pytest.approx(expected)
    assert np.isinf(nearest[:, [2, 4]]).all()


def test_a_labelled_copy_is_at_distance_zero_even_far_from_the_origin():
    X = np.random.RandomState(0).randn(20, 8) + 1e6
    nearest, floor = nearest_by_class(X, X[:5], np.zeros(5, int), 1)
    np.testing.assert_array_equal(nearest[:5, 0], 0.0)
    assert floor > 0


def test_references_are_drawn_from_larger_pools_only():
    X = np.random.RandomState(0).randn(300, 3)
    rng = np.random.RandomState(0)
    everyone, _ = neighbour_distance(X, random_state=rng, n_references=300)
    assert rng.randint(10**6) == np.random.RandomState(0).randint(10**6)
    some, _ = neighbour_distance(X, random_state=rng, n_references=100)
    assert (some >= everyone - 1e-12).all()  # fewer points, no nearer neighbours
    assert np.corrcoef(some, everyone)[0, 1] > 0.9


def test_tensors_are_taken_as_they_are():
    given = problem(5)
    rng = np.random.RandomState(0)
    one, _ = neighbour_distance(torch.from_numpy(given["X"]), random_state=rng)
    other, _ = neighbour_distance(given["X"], random_state=rng)
    np.testing.assert_array_equal(one, other)


def test_bad_points_are_refused():
    with pytest.raises(ValueError, match="X must be finite"):
        neighbour_distance([[np.nan]], random_state=np.random.RandomState(0))


# Measured in a process of its own, because the peak of a process never falls. The
# distances of all pairs would take 240 MB to the references, 480 MB to the labelled.
@pytest.mark.slow
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.strategies.reinforcement import features
rng = np.random.RandomState(0)
X = rng.randn(30_000, 32).astype(np.float32)
labeled, codes = rng.randn(2000, 32).astype(np.float32), rng.randint(10, size=2000)
def both(X, limit=2**22):
    features.neighbour_distance(X, random_state=rng, max_memory=limit)
    features.nearest_by_class(X, labeled, codes, 10, max_memory=limit)
both(X[:3000])
"""
    measured = """
both(X)
"""
    # the table (n, C) of 2.4 MB a few times, and 4 MB of blocks
    assert peak_growth(setup, measured) < 20_000
