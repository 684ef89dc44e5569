"""The first strategies equal their definitions; what the base class makes sure of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base import progress
from dalmax_sk.evaluation import budget_curve
from dalmax_sk.pool import Pool
from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    QueryStrategy,
    RandomSampling,
    UncertaintySampling,
    get_strategy,
    uncertainty_scores,
)
from dalmax_sk.strategies._functions import as_strategy


def random_pool(n=40, n_classes=3, d=4, m=6, seed=0, dtype=np.float64, **params):
    rng = np.random.RandomState(seed)
    proba = softmax(2 * rng.randn(n, n_classes), axis=1)
    return Pool.from_arrays(
        proba=proba,
        embeddings=rng.randn(n, d).astype(dtype),
        labeled_embeddings=rng.randn(m, d).astype(dtype),
        **{"random_state": 0, **params},
    )


# ------------------------------------------- what the battery (test_conformance) leaves


@pytest.mark.parametrize(
    "strategy",
    [
        RandomSampling(),
        UncertaintySampling(batch="power"),
        UncertaintySampling(batch="softmax", beta=2.0),
        UncertaintySampling(batch="softrank"),
    ],
    ids=repr,
)
def test_another_seed_gives_other_picks(strategy):
    one = strategy.query(random_pool(random_state=0), 10)
    other = strategy.query(random_pool(random_state=1), 10)
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([0, 0], "a position more than once"),
        ([0, 40], "positions from 0 to 40, the pool has 0 to 39"),
        ([-1, 3], "positions from -1"),
        ([0], "must return 2 integer positions"),
        ([0.0, 1.0], "must return 2 integer positions"),
    ],
)
def test_a_strategy_of_ones_own_is_checked(returned, message):
    class Custom(QueryStrategy):
        def _query(self, pool, n):
            return np.array(returned)

    with pytest.raises(ValueError, match=message):
        Custom().query(random_pool(), 2)


# ------------------------------------------------------------------------- definitions


def brute_force_uncertainty(p, measure):
    """One candidate at a time, in plain Python."""
    ordered = sorted(p, reverse=True)
    if measure == "least_confidence":
        return 1 - ordered[0]
    if measure == "margin":
        return 1 - (ordered[0] - ordered[1])
    return -sum(q * np.log(q) for q in p if q > 0)


@pytest.mark.parametrize("measure", ["least_confidence", "margin", "entropy"])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_uncertainty_equals_its_definition(measure, n_classes):
    rng = np.random.RandomState(0)
    proba = rng.dirichlet(np.full(n_classes, 0.3), size=100)
    proba[:5] = np.eye(n_classes)[:1]  # certain: no NaN from log 0
    expected = [brute_force_uncertainty(p, measure) for p in proba]
    np.testing.assert_allclose(uncertainty_scores(proba, measure), expected, atol=1e-12)
    pool = Pool.from_arrays(proba=proba, random_state=0)
    positions, scores = UncertaintySampling(measure).query(pool, 20, return_scores=True)
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][:20], atol=1e-12)
    np.testing.assert_allclose(scores, np.asarray(expected)[positions], atol=1e-12)


def test_the_three_measures_differ():
    # each of the three candidates is the first choice of one measure
    proba = [[0.50, 0.50, 0.0, 0.0], [0.46, 0.30, 0.24, 0.0], [0.49, 0.17, 0.17, 0.17]]
    first = {
        measure: UncertaintySampling(measure).query(Pool.from_arrays(proba=proba), 1)[0]
        for measure in ("margin", "least_confidence", "entropy")
    }
    assert first == {"margin": 0, "least_confidence": 1, "entropy": 2}


@pytest.mark.parametrize("measure", ["least_confidence", "margin", "entropy"])
def test_one_class_is_no_uncertainty(measure):
    np.testing.assert_array_equal(uncertainty_scores(np.ones((3, 1)), measure), 0)


def test_ties_are_broken_by_the_seed_and_evenly():
    # 10 equal candidates: over many seeds each is picked equally often (chi-square)
    counts = np.zeros(10)
    proba = np.full((10, 2), 0.5)
    for seed in range(2000):
        pool = Pool.from_arrays(proba=proba, random_state=seed)
        counts[UncertaintySampling().query(pool, 2)] += 1
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # 99.9 % of chi-square(9)


def test_random_sampling_is_uniform_over_positions():
    counts = np.zeros(10)
    for seed in range(2000):
        pool = Pool.from_arrays(embeddings=np.zeros((10, 1)), random_state=seed)
        counts[RandomSampling().query(pool, 2)] += 1
    assert ((counts - 400) ** 2 / 400).sum() < 27.9


def brute_force_k_center(pool, centers, n):
    centers = [tuple(c) for c in centers]
    picks, distances = [], []
    for _ in range(n):
        nearest = [min(np.linalg.norm(x - np.array(c)) for c in centers) for x in pool]
        best = int(np.argmax(nearest))
        picks.append(best)
        distances.append(nearest[best])
        centers.append(tuple(pool[best]))
    nearest = [min(np.linalg.norm(x - np.array(c)) for c in centers) for x in pool]
    return picks, distances, max(nearest)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), m=st.integers(1, 5))
def test_core_set_equals_its_definition(seed, n, m):
    # labelled points are centres; scores are distances; the radius is reported
    pool = random_pool(n=25, m=m, seed=seed)
    positions, scores = CoreSet().query(pool, n, return_scores=True)
    picks, distances, radius = brute_force_k_center(
        pool.embeddings, pool.labeled_embeddings, n
    )
    assert positions.tolist() == picks
    np.testing.assert_allclose(scores, distances)
    np.testing.assert_allclose(pool.info["covering_radius"], radius, atol=1e-7)


def test_core_set_avoids_what_is_labelled():
    embeddings = [[0.0], [10.0], [20.0]]
    pool = Pool.from_arrays(embeddings=embeddings, labeled_embeddings=[[20.1]])
    assert CoreSet().query(pool, 1).tolist() == [0]


def test_core_set_covers_better_than_k_means():
    pool = random_pool(n=300, d=2, m=1)

    def radius(positions):
        chosen = np.vstack([pool.embeddings[positions], pool.labeled_embeddings])
        distances = np.linalg.norm(pool.embeddings[:, None] - chosen[None], axis=2)
        return distances.min(axis=1).max()

    by_k_center = radius(CoreSet().query(pool, 20))
    assert by_k_center < radius(DiversitySampling().query(pool, 20))
    assert by_k_center < radius(RandomSampling().query(pool, 20))


def test_diversity_takes_one_of_each_cluster():
    # 8 tight clusters far apart and 8 picks: one each, the one nearest the centre
    rng = np.random.RandomState(0)
    offsets = np.array([[0.0, 0.0], [0.3, 0.0], [-0.3, 0.0], [0.0, 0.4], [0.0, -0.4]])
    centres = 100 * rng.randn(8, 2)
    embeddings = (centres[:, None] + offsets).reshape(-1, 2)
    pool = Pool.from_arrays(embeddings=embeddings, random_state=0)
    positions, scores = DiversitySampling().query(pool, 8, return_scores=True)
    assert sorted(positions // 5) == list(range(8))
    assert (positions % 5 == 0).all()
    np.testing.assert_allclose(scores, 0, atol=1e-6)


def test_weights_pull_the_picks_towards_uncertain_candidates():
    # two groups on a line; in each, only the right half is uncertain
    embeddings = np.concatenate([np.linspace(0, 1, 50), np.linspace(9, 10, 50)])[
        :, None
    ]
    certain = np.tile(np.repeat([0.999, 0.55], 25), 2)
    pool = Pool.from_arrays(
        proba=np.column_stack([certain, 1 - certain]),
        embeddings=embeddings,
        random_state=0,
    )
    plain = np.sort(embeddings[DiversitySampling().query(pool, 2), 0])
    weighted = np.sort(embeddings[DiversitySampling("margin").query(pool, 2), 0])
    np.testing.assert_allclose(plain, [0.5, 9.5], atol=0.03)
    np.testing.assert_allclose(weighted, [0.75, 9.75], atol=0.03)


def test_weights_that_are_all_zero_are_an_error():
    pool = Pool.from_arrays(proba=np.eye(2)[[0, 1, 0]], embeddings=np.eye(3))
    with pytest.raises(ValueError, match="fully certain of every candidate"):
        DiversitySampling("entropy").query(pool, 2)


@pytest.mark.parametrize("strategy", [CoreSet(), DiversitySampling()])
def test_long_queries_tell_how_far_they_are(strategy):
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((stage, done))):
        strategy.query(random_pool(), 12)
    assert ("query", 12) in seen


# --------------------------------------------------------------------------- the names


def test_names_are_forgiving_about_dashes_and_carry_parameters():
    assert get_strategy("core-set-selection").__class__ is CoreSet
    assert get_strategy("uncertainty_sampling", measure="entropy").measure == "entropy"
    assert get_strategy("entropy_sampling", batch="power").batch == "power"


def test_unknown_names_get_a_hint():
    with pytest.raises(
        ValueError, match=r"'margn_sampling'. Did you mean 'margin_samp"
    ):
        get_strategy("margn_sampling")
    with pytest.raises(ValueError, match=r"strategy 'x'. Known: .*, core_set, "):
        get_strategy("x")


@pytest.mark.parametrize(
    "strategy",
    [
        UncertaintySampling(measure="confidence"),
        UncertaintySampling(batch="first"),
        UncertaintySampling(beta=-1.0),
        DiversitySampling(weighting="uncertainty"),
    ],
)
def test_bad_parameters_are_refused_at_query(strategy):
    with pytest.raises(ValueError, match="parameter of"):
        strategy.query(random_pool(), 2)


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match=r"measure must be one of .* got 'Entropy'"):
        uncertainty_scores(np.array([[0.5, 0.5]]), "Entropy")


def test_a_function_is_a_strategy():
    def least_sure(pool, n):
        return np.argsort(pool.proba.max(axis=1))[:n]

    strategy = as_strategy(least_sure)
    expected = UncertaintySampling(measure="least_confidence")
    pool = random_pool()
    assert clone(strategy).query(pool, 4).tolist() == expected.query(pool, 4).tolist()
    assert as_strategy(strategy) is strategy
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 2), np.arange(60) % 2
    learner = ActiveLearningClassifier(
        LogisticRegression(), least_sure, n_initial=10, n_rounds=2, random_state=0
    )
    found, named = (
        clone(learner).set_params(strategy=s).fit(X, y) for s in (least_sure, expected)
    )
    np.testing.assert_array_equal(found.labeled_indices_, named.labeled_indices_)
    curves = budget_curve(
        LogisticRegression(),
        X,
        y,
        strategies=[least_sure, lambda pool, n: range(n)],
        cv=2,
        seeds=2,
    )
    assert set(curves.strategies) == {"least_sure", "<lambda>"}


def test_what_is_no_strategy_is_refused():
    for wrong in (UncertaintySampling, 3):
        with pytest.raises(TypeError, match=r"or a function f\(pool, n\), got"):
            as_strategy(wrong)
    with pytest.raises(ValueError, match="position more than once"):
        as_strategy(lambda pool, n: [0] * n).query(random_pool(), 2)
