"""EPIG equals its definition with targets from the pool."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.selection import epig_scores
from dalmax_sk.strategies import EPIG, get_strategy


def make_pool(n=25, seed=0, **params):
    rng = np.random.RandomState(seed)
    samples = rng.dirichlet(np.full(3, 0.3), (5, n))
    return Pool.from_arrays(posterior_proba=samples, **{"random_state": 0, **params})


@pytest.mark.parametrize("n_targets", [None, 25, 100])
def test_all_candidates_are_targets(n_targets):
    pool = make_pool()
    samples = pool.posterior_proba()
    # E over x* of H(y) + H(y*) - H(y, y*), in plain loops
    expected = []
    for x in range(25):
        total = 0.0
        for t in range(25):
            joint = np.mean([np.outer(s[x], s[t]) for s in samples], axis=0)
            parts = joint.sum(axis=1), joint.sum(axis=0), joint.ravel()
            own, other, both = (-(p[p > 0] * np.log(p[p > 0])).sum() for p in parts)
            total += own + other - both
        expected.append(total / 25)
    picks, scores = EPIG(n_targets=n_targets).query(pool, 25, return_scores=True)
    assert_allclose(scores, np.asarray(expected)[picks], atol=1e-12)
    assert_allclose(scores, np.sort(expected)[::-1], atol=1e-12)


def test_targets_are_a_sample_of_the_pool():
    pool = make_pool()
    picks, scores = EPIG(n_targets=4).query(pool, 25, return_scores=True)
    value = scores[np.argsort(picks)]
    every = np.stack(
        [
            epig_scores(pool.posterior_proba(), pool.posterior_proba()[:, [t]])
            for t in range(25)
        ]
    )
    # each of four different candidates counts a quarter
    weight = np.linalg.lstsq(every.T, value, rcond=None)[0]
    assert_allclose(np.sort(weight)[-4:], 0.25, atol=1e-6)
    assert_allclose(np.sort(weight)[:-4], 0.0, atol=1e-6)
    other = EPIG(n_targets=4).query(make_pool(random_state=1), 25, return_scores=True)
    assert not np.allclose(other[1][np.argsort(other[0])], value)
    assert_array_equal(EPIG(n_targets=4).query(make_pool(), 25), picks)


# What BALD values, but nobody asks about, EPIG leaves alone.
def test_a_label_that_tells_of_no_other_is_worth_little():
    rng = np.random.RandomState(0)
    sign = rng.rand(8) < 0.5
    shared = np.where(sign[:, None, None], [[0.9, 0.1]], [[0.1, 0.9]])
    alone = np.where((rng.rand(8) < 0.5)[:, None, None], [[1.0, 0.0]], [[0.0, 1.0]])
    samples = np.concatenate([alone, np.repeat(shared, 30, axis=1)], axis=1)
    pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    assert get_strategy("bald").query(pool, 1).tolist() == [0]
    assert 0 not in EPIG(n_targets=None).query(pool, 30)


def test_stochastic_batches_and_missing_samples():
    assert len(set(EPIG(batch="power").query(make_pool(), 9).tolist())) == 9
    with pytest.raises(MissingCapabilityError, match="EPIG needs samples"):
        EPIG().query(Pool.from_arrays(proba=[[0.5, 0.5]]), 1)


@pytest.mark.parametrize("params", [{"n_targets": 0}, {"n_samples": 1}])
def test_bad_parameters(params):
    with pytest.raises(ValueError, match="parameter of EPIG"):
        EPIG(**params).query(make_pool(), 2)
