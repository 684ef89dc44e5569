import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base import progress
from dalmax_sk.selection import batch_bald
from dalmax_sk.selection.joint_entropy import information_limit


def make_samples(n_samples, n, n_classes, seed=0, concentration=0.3):
    rng = np.random.RandomState(seed)
    return rng.dirichlet(np.full(n_classes, concentration), (n_samples, n))


def entropy(probabilities):
    return -sum(p * np.log(p) for p in probabilities if p > 0)


# I(y_1..y_b; ω) = H(y_1..y_b) - Σ_i E_k H(y_i | ω_k), all joint labellings enumerated.
def joint_information(samples, batch):
    n_samples, _, n_classes = samples.shape
    joint = []
    for labels in itertools.product(range(n_classes), repeat=len(batch)):
        likelihood = [
            np.prod([samples[k, x, y] for x, y in zip(batch, labels, strict=True)])
            for k in range(n_samples)
        ]
        joint.append(np.mean(likelihood))
    given_model = [
        np.mean([entropy(samples[k, x]) for k in range(n_samples)]) for x in batch
    ]
    return entropy(joint) - sum(given_model)


def definition(samples, n):
    picks, gains = [], []
    for _ in range(n):
        before = joint_information(samples, picks) if picks else 0.0
        value = {
            x: joint_information(samples, picks + [x])
            for x in range(samples.shape[1])
            if x not in picks
        }
        picks.append(max(value, key=value.get))
        gains.append(value[picks[-1]] - before)
    return picks, gains


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_samples", "n_classes"), [(5, 2), (4, 3), (9, 4)])
def test_picks_are_those_of_the_definition(seed, n_samples, n_classes):
    samples = make_samples(n_samples, 10, n_classes, seed)
    picks, gains = batch_bald(samples, 4, return_scores=True)
    expected, expected_gains = definition(samples, 4)
    assert picks.dtype == np.int64
    assert_array_equal(picks, expected)
    assert_allclose(gains, expected_gains, atol=1e-12)


@pytest.mark.parametrize("max_memory", [300, 5_000, 2**20])
@pytest.mark.parametrize("max_configurations", [7, 1000])
def test_memory_changes_nothing(max_memory, max_configurations):
    samples = make_samples(6, 100, 3)
    options = {
        "max_configurations": max_configurations,
        "random_state": 0,
        "return_scores": True,
    }
    picks, gains = batch_bald(samples, 8, max_memory=max_memory, **options)
    expected, expected_gains = batch_bald(samples, 8, **options)
    assert_array_equal(picks, expected)
    assert_allclose(gains, expected_gains, atol=1e-12)


# While all labellings are enumerated, the lazy search finds what a look at every
# candidate in every step finds.
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 4), k=st.integers(2, 8))
def test_each_pick_has_the_largest_gain_of_all(seed, n_classes, k):
    samples = make_samples(k, 200, n_classes, seed)
    picks, gains = batch_bald(samples, 3, return_scores=True)
    for step in range(3):
        before = joint_information(samples, list(picks[:step])) if step else 0.0
        rest = [
            joint_information(samples, [*picks[:step], x]) - before
            for x in range(0, 200, 7)
            if x not in picks[:step]
        ]
        assert gains[step] >= max(rest) - 1e-9


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.integers(1, 50))
def test_information_shrinks_and_is_bounded(seed, limit):
    samples = make_samples(6, 30, 3, seed)
    exact = batch_bald(samples, 5, return_scores=True)[1]
    assert (np.diff(exact) <= 1e-12).all()
    assert exact.sum() <= information_limit(6) + 1e-9
    drawn = batch_bald(
        samples, 30, max_configurations=limit, random_state=seed, return_scores=True
    )[1]
    assert (drawn >= 0).all()
    assert drawn.sum() <= 3 * information_limit(6)


# Over many seeds the mean of the drawn estimate is the exact information.
def test_drawn_configurations_are_unbiased():
    samples = make_samples(5, 6, 3, seed=1)
    exact = batch_bald(samples, 6, return_scores=True)
    values = []
    for seed in range(400):
        picks, gains = batch_bald(
            samples[:, exact[0]],
            6,
            max_configurations=20,
            random_state=seed,
            return_scores=True,
        )
        values.append(gains.sum())
    assert sorted(picks) == list(range(6))
    error = np.std(values) / np.sqrt(len(values))
    assert error < 0.01
    assert abs(np.mean(values) - exact[1].sum()) < 4 * error + 1e-3


def test_drawn_configurations_come_near_the_exact_picks():
    samples = make_samples(8, 40, 4, seed=2)
    picks = batch_bald(samples, 5, max_configurations=400, random_state=0)
    best = joint_information(samples, list(batch_bald(samples, 5)))
    assert joint_information(samples, list(picks)) > 0.99 * best


# Peers repeat indices when scores tie, and write into their input.
@pytest.mark.parametrize("seed", range(20))
def test_ties_give_distinct_positions_by_the_seed(seed):
    samples = np.repeat(make_samples(3, 4, 2, seed), 5, axis=1)
    before = samples.copy()
    picks = batch_bald(samples, 20, max_configurations=10, random_state=seed)
    assert sorted(picks) == list(range(20))
    assert_array_equal(samples, before)
    assert_array_equal(
        batch_bald(samples, 20, max_configurations=10, random_state=seed), picks
    )


# 10 equal candidates: each is the first pick equally often; chi-square with 9 degrees
# of freedom stays below 27.9 in 99.9 % of seeds.
@pytest.mark.parametrize("informative", [True, False])
def test_ties_are_broken_evenly(informative):
    one = make_samples(4 if informative else 1, 1, 3)
    samples = np.repeat(one, 10, axis=1)
    counts = np.zeros(10)
    for seed in range(1000):
        counts[batch_bald(samples, 1, random_state=seed)] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 27.9


def test_a_batch_does_not_repeat_itself():
    # two groups of copies; the second group tells a little less, but something else
    yes, no = [0.0, 1.0], [1.0, 0.0]
    maybe = [0.1, 0.9], [0.9, 0.1]
    samples = np.array(
        [
            [yes, yes, maybe[0], maybe[0]],
            [yes, yes, maybe[1], maybe[1]],
            [no, no, maybe[0], maybe[0]],
            [no, no, maybe[1], maybe[1]],
        ]
    )
    picks, gains = batch_bald(samples, 4, random_state=0, return_scores=True)
    assert picks[0] in (0, 1)
    assert picks[1] in (2, 3)
    assert picks[2] in (2, 3)  # says its noisy thing again; the copy of 0 says nothing
    assert gains[3] == 0


def test_one_sample_knows_nothing():
    picks, gains = batch_bald(
        make_samples(1, 9, 3), 9, random_state=0, return_scores=True
    )
    assert sorted(picks) == list(range(9))
    assert_array_equal(gains, 0)


def test_certain_samples_without_nan():
    samples = np.eye(3)[np.random.RandomState(0).randint(3, size=(8, 12))]
    picks, gains = batch_bald(samples, 5, return_scores=True)
    expected_gains = definition(samples, 5)[1]
    assert_allclose(gains, expected_gains, atol=1e-12)
    assert_allclose(joint_information(samples, picks), sum(expected_gains))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.sampled_from([5, 10**4]))
def test_permuting_the_pool_permutes_the_picks(seed, limit):
    samples = make_samples(5, 40, 3, seed)
    order = np.random.RandomState(seed).permutation(40)
    picks = batch_bald(samples, 5, max_configurations=limit, random_state=0)
    moved = batch_bald(samples[:, order], 5, max_configurations=limit, random_state=0)
    assert_array_equal(order[moved], picks)


def test_tensors_and_float32():
    samples = make_samples(5, 40, 3)
    expected = batch_bald(samples, 4)
    picks, gains = batch_bald(torch.from_numpy(samples), 4, return_scores=True)
    assert isinstance(picks, torch.Tensor)
    assert isinstance(gains, torch.Tensor)
    assert_array_equal(picks, expected)
    assert_array_equal(batch_bald(samples.astype(np.float32), 4), expected)
    assert_array_equal(batch_bald(samples.tolist(), 4), expected)


def test_progress_is_reported():
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((stage, done))):
        batch_bald(make_samples(5, 20, 3), 3)
    assert seen == [("query", 1), ("query", 2), ("query", 3)]


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (np.ones((3, 2)), {}, r"must have the shape .* got \(3, 2\)"),
        (np.ones((0, 4, 2)), {}, "none of them 0"),
        (np.full((3, 4, 2), 0.7), {}, "a sum is off by 0.4"),
        (np.full((3, 4, 2), np.nan), {}, "samples must be finite"),
        (np.tile([1.5, -0.5], (3, 4, 1)), {}, "The least value is -0.5"),
        (np.full((3, 4, 2), 0.5), {"n": 5}, "n must be an integer from 1 to 4"),
        (
            np.full((3, 4, 2), 0.5),
            {"max_configurations": 0},
            "max_configurations must be at least 1, got 0",
        ),
        (np.full((3, 4, 2), 0.5), {"max_memory": 0}, "max_memory must be a positive"),
    ],
)
def test_wrong_arguments(samples, options, message):
    with pytest.raises(ValueError, match=message):
        batch_bald(samples, **{"n": 1, **options})


# All joint probabilities of one pick would take 320 MB.
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import batch_bald
rng = np.random.default_rng(0)
samples = rng.dirichlet(np.full(4, 0.3), (10, 20_000)).astype(np.float32)
batch_bald(samples[:, :500], 5, max_memory=2**22)
"""
    measured = """
batch_bald(samples, 6, max_configurations=500, random_state=0, max_memory=2**22)
"""
    assert peak_growth(setup, measured) < 12_000
