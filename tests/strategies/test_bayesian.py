"""BayesianSampling equals the definitions of its measures."""

import logging

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.selection import batch_bald, stochastic_top_n
from dalmax_sk.strategies import BayesianSampling, bayesian_scores, get_strategy

MEASURES = ["bald", "entropy", "variation_ratio", "mean_std"]


def make_samples(n_samples=6, n=30, n_classes=4, seed=0):
    rng = np.random.RandomState(seed)
    return rng.dirichlet(np.full(n_classes, 0.3), (n_samples, n))


def entropy(probabilities):
    return -sum(p * np.log(p) for p in probabilities if p > 0)


def definition(samples, measure):
    """One candidate at a time, in plain Python."""
    n_samples, n, n_classes = samples.shape
    scores = []
    for x in range(n):
        mean = [
            np.mean([samples[k, x, c] for k in range(n_samples)])
            for c in range(n_classes)
        ]
        if measure == "bald":
            each = np.mean([entropy(samples[k, x]) for k in range(n_samples)])
            scores.append(entropy(mean) - each)
        elif measure == "entropy":
            scores.append(entropy(mean))
        elif measure == "variation_ratio":
            scores.append(1 - max(mean))
        else:
            spread = [
                np.sqrt(
                    np.mean([samples[k, x, c] ** 2 for k in range(n_samples)])
                    - mean[c] ** 2
                )
                for c in range(n_classes)
            ]
            scores.append(np.mean(spread))
    return np.array(scores)


def test_samples_that_agree_tell_nothing_at_all():
    # what rounding leaves of two equal entropies must not rank candidates
    one = make_samples(n_samples=1, n=300, n_classes=10)
    assert_array_equal(bayesian_scores(np.repeat(one, 20, axis=0), "bald"), 0.0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("max_memory", [1, 2**30])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_the_definition(measure, max_memory, seed):
    samples = make_samples(seed=seed)
    samples[:, :3] = np.eye(4)[0]  # certain: no NaN from log 0
    expected = definition(samples, measure)
    scores = bayesian_scores(samples, measure, max_memory)
    assert_allclose(scores, expected, atol=1e-7 if measure == "mean_std" else 1e-13)
    pool = Pool.from_arrays(
        posterior_proba=samples, random_state=0, max_memory=max_memory
    )
    picks, values = BayesianSampling(measure).query(pool, 8, return_scores=True)
    assert_allclose(values, np.sort(expected)[::-1][:8], atol=1e-7)
    assert_allclose(values, expected[picks], atol=1e-7)


def test_the_measures_differ():
    sure = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    samples = np.array(
        [
            [sure[0], [1 / 3] * 3, [0.5, 0.5, 0.0], [0.6, 0.2, 0.2]],
            [sure[1], [1 / 3] * 3, [0.5, 0.5, 0.0], [0.6, 0.2, 0.2]],
        ]
    )
    pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    first = {m: BayesianSampling(m).query(pool, 1)[0] for m in MEASURES}
    assert first == {"bald": 0, "mean_std": 0, "entropy": 1, "variation_ratio": 1}


# The original's Bayesian strategy: passes without dropout, then noise in the last bits.
@pytest.mark.parametrize("measure", ["bald", "mean_std", "batchbald"])
def test_samples_that_agree_score_zero(measure):
    samples = np.repeat(make_samples(1), 5, axis=0)
    pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    scores = BayesianSampling(measure).query(pool, 30, return_scores=True)[1]
    assert_allclose(scores, 0, atol=1e-7)


def test_batchbald_is_the_kernel(caplog):
    samples = make_samples()
    pool = Pool.from_arrays(posterior_proba=samples, random_state=7)
    strategy = BayesianSampling("batchbald", max_configurations=50)
    picks, gains = strategy.query(pool, 3, return_scores=True)
    expected = batch_bald(
        samples,
        3,
        max_configurations=50,
        random_state=pool.random_state,
        return_scores=True,
    )
    assert_array_equal(picks, expected[0])
    assert_array_equal(gains, expected[1])
    assert pool.info["joint_information"] == pytest.approx(gains.sum())
    assert pool.info["information_limit"] == pytest.approx(np.log(6))
    assert not caplog.records


def test_batchbald_warns_when_samples_are_used_up(caplog):
    pool = Pool.from_arrays(posterior_proba=make_samples(n_samples=4), random_state=0)
    with caplog.at_level(logging.WARNING, logger="dalmax_sk"):
        picks = BayesianSampling("batchbald").query(pool, 15)
    assert len(set(picks.tolist())) == 15
    assert len(caplog.records) == 1
    assert "4 samples of the model hold 1.39 nats" in caplog.text
    assert "of 15 picks have used up" in caplog.text


def test_batchbald_makes_its_own_batch():
    pool = Pool.from_arrays(posterior_proba=make_samples())
    with pytest.raises(ValueError, match=r"batch must be 'top', got 'power'"):
        BayesianSampling("batchbald", batch="power").query(pool, 2)


def test_power_bald_draws_in_proportion_to_the_scores():
    pool = Pool.from_arrays(posterior_proba=make_samples(), random_state=3)
    picks = get_strategy("power_bald", beta=2.0).query(pool, 5)
    expected = stochastic_top_n(
        bayesian_scores(pool.posterior_proba(), "bald"),
        5,
        batch="power",
        beta=2.0,
        random_state=pool.random_state,
    )
    assert_array_equal(picks, expected)


def test_names():
    assert get_strategy("bald").get_params() == BayesianSampling().get_params()
    assert get_strategy("batch-bald").measure == "batchbald"
    assert get_strategy("bayesian_sampling", measure="entropy").measure == "entropy"


@pytest.mark.parametrize(
    "params",
    [
        {"measure": "BALD"},
        {"posterior": "vi"},
        {"n_samples": 1},
        {"max_configurations": 0},
        {"batch": "first"},
    ],
)
def test_bad_parameters(params):
    pool = Pool.from_arrays(posterior_proba=make_samples())
    with pytest.raises(ValueError, match="parameter of BayesianSampling"):
        BayesianSampling(**params).query(pool, 2)


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match=r"must be one of .* got 'batchbald'"):
        bayesian_scores(make_samples(), "batchbald")


def test_arrays_without_samples_are_an_error():
    pool = Pool.from_arrays(proba=[[0.5, 0.5]])
    with pytest.raises(MissingCapabilityError, match="BayesianSampling needs samples"):
        BayesianSampling().query(pool, 1)


@pytest.mark.parametrize("measure", ["bald", "batchbald"])
def test_in_the_learner(measure):
    X, y = load_iris(return_X_y=True)
    learner = ActiveLearningClassifier(
        LogisticRegression(max_iter=1000),
        BayesianSampling(measure, n_samples=8),
        n_initial=6,
        query_size=3,
        n_rounds=3,
        random_state=0,
    ).fit(X, y)
    assert len(learner.labeled_indices_) == 15
    if measure == "batchbald":
        assert learner.history_[1]["information_limit"] == pytest.approx(np.log(8))


# Ambiguous candidates (the samples agree on a half) are entropy's choice, contested
# ones BALD's.
def test_bald_leaves_ambiguous_candidates_alone():
    rng = np.random.RandomState(0)
    ambiguous = np.full((10, 20, 2), 0.5)
    contested = np.stack([p := rng.uniform(0.05, 0.95, (10, 20)), 1 - p], axis=2)
    pool = Pool.from_arrays(
        posterior_proba=np.hstack([ambiguous, contested]), random_state=0
    )
    assert BayesianSampling().query(pool, 20).min() >= 20
    assert BayesianSampling("entropy").query(pool, 20).max() < 20
