import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base import progress
from dalmax_sk.selection import epig_scores


def make_samples(n_samples, n, n_classes, seed=0):
    rng = np.random.RandomState(seed)
    return rng.dirichlet(np.full(n_classes, 0.3), (n_samples, n))


# The mean over targets of KL(p(y, y*) || p(y) p(y*)), one pair of labels at a time.
def definition(samples, targets):
    n_samples, n, n_classes = samples.shape
    scores = []
    for x in range(n):
        total = 0.0
        for t in range(targets.shape[1]):
            for y in range(n_classes):
                for z in range(n_classes):
                    joint = np.mean(
                        [samples[k, x, y] * targets[k, t, z] for k in range(n_samples)]
                    )
                    own = np.mean(samples[:, x, y])
                    other = np.mean(targets[:, t, z])
                    if joint > 0:
                        total += joint * np.log(joint / (own * other))
        scores.append(total / targets.shape[1])
    return np.array(scores)


def test_samples_that_agree_tell_nothing_at_all():
    one = make_samples(1, 200, 10)
    samples = np.repeat(one, 20, axis=0)
    assert_array_equal(epig_scores(samples, samples[:, :20]), 0.0)


@pytest.mark.parametrize("max_memory", [1, 2_000, 20_000, 2**30])
@pytest.mark.parametrize(("n_samples", "n_classes"), [(1, 3), (4, 2), (6, 5)])
def test_scores_are_those_of_the_definition(n_samples, n_classes, max_memory):
    samples = make_samples(n_samples, 15, n_classes)
    targets = make_samples(n_samples, 7, n_classes, seed=1)
    targets[:, 2] = np.eye(n_classes)[0]  # certain: no NaN from log 0
    scores = epig_scores(samples, targets, max_memory=max_memory)
    assert_allclose(scores, definition(samples, targets), atol=1e-13)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_classes=st.integers(1, 4), k=st.integers(1, 6))
def test_range(seed, n_classes, k):
    scores = epig_scores(
        make_samples(k, 9, n_classes, seed), make_samples(k, 5, n_classes, seed + 1)
    )
    assert (scores >= 0).all()
    assert (scores <= min(np.log(max(n_classes, 1)), np.log(k)) + 1e-9).all()


def test_tensors_float32_and_progress():
    samples, targets = make_samples(4, 15, 3), make_samples(4, 6, 3, seed=1)
    expected = epig_scores(samples, targets)
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((stage, done))):
        scores = epig_scores(torch.from_numpy(samples), targets, max_memory=5_000)
    assert isinstance(scores, torch.Tensor)
    assert_allclose(scores, expected, atol=1e-13)
    assert seen[-1] == ("query", 15)
    assert_allclose(epig_scores(samples.astype("f4"), targets), expected, atol=1e-6)
    assert_array_equal(expected, epig_scores(samples, targets))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (make_samples(3, 5, 3), "targets must have 4 samples and 3 classes"),
        (make_samples(4, 5, 2), r"got the shape \(4, 5, 2\)"),
        (np.ones((4, 3)), "targets must have the shape"),
        (np.full((4, 5, 3), 0.5), "targets must be probabilities"),
    ],
)
def test_wrong_targets(targets, message):
    with pytest.raises(ValueError, match=message):
        epig_scores(make_samples(4, 5, 3), targets)
