import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dalmax_sk.selection import stochastic_top_n, top_n

#: The 99.9 % quantiles of the chi-square distribution by degrees of freedom.
CHI_SQUARE = {3: 16.27, 5: 20.52, 23: 49.73}


def chi_square(counts, probabilities):
    expected = np.asarray(probabilities) * np.sum(counts)
    return ((counts - expected) ** 2 / expected).sum()


# The picked scores are the n largest, in order, whatever the ties.
@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(
        st.one_of(
            st.integers(-2, 2).map(float),
            st.floats(allow_nan=False, allow_infinity=True),
        ),
        min_size=1,
        max_size=40,
    ),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_picks_are_the_largest_in_order(scores, dtype, seed, data):
    with np.errstate(over="ignore"):
        scores = np.array(scores).astype(dtype)
    n = data.draw(st.integers(1, len(scores)))
    picks = top_n(scores, n, random_state=seed)
    assert picks.dtype == np.int64
    assert len(set(picks)) == n
    assert_array_equal(scores[picks], np.sort(scores)[::-1][:n])


def test_without_ties_the_seed_does_not_matter():
    scores = np.random.default_rng(0).permutation(1000)
    expected = np.argsort(-scores)[:50]
    for seed in (None, 0, np.random.RandomState(1)):
        assert_array_equal(top_n(scores, 50, random_state=seed), expected)


def test_permuting_the_scores_permutes_the_picks():
    rng = np.random.default_rng(0)
    scores, order = rng.standard_normal(300), rng.permutation(300)
    assert_array_equal(
        order[top_n(scores[order], 20, random_state=0)], top_n(scores, 20)
    )


# All ordered batches of two from the four tied for second place, and all orders of the
# two tied for first, are equally likely: 2 · 12 = 24 outcomes.
def test_ties_are_broken_evenly():
    scores = [1.0, 2.0, 1.0, 2.0, 1.0, 0.0, 1.0]
    rng = np.random.RandomState(0)
    outcomes = [tuple(top_n(scores, 4, random_state=rng)) for _ in range(2400)]
    assert {p for batch in outcomes for p in batch[:2]} == {1, 3}
    found, counts = np.unique(outcomes, axis=0, return_counts=True)
    assert len(found) == 24
    assert chi_square(counts, np.full(24, 1 / 24)) < CHI_SQUARE[23]


def test_same_seed_same_picks():
    scores = np.zeros(100)
    assert_array_equal(
        top_n(scores, 10, random_state=5), top_n(scores, 10, random_state=5)
    )
    assert set(top_n(scores, 10, random_state=5)) != set(range(10))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int64])
def test_tensors_in_tensors_out(dtype):
    scores = torch.tensor([3, 9, 1, 7]).to(dtype)
    picks = top_n(scores, 3)
    assert picks.dtype == torch.int64
    assert picks.tolist() == [1, 3, 0]


@pytest.mark.gpu
@pytest.mark.parametrize("batch", ["power", "softmax", "softrank"])
def test_gpu_gives_the_same_picks(batch):
    scores = np.random.default_rng(0).integers(0, 50, 1000) / 8
    on_gpu = torch.from_numpy(scores).cuda()
    picks = top_n(on_gpu, 100, random_state=0)
    assert picks.is_cuda
    assert_array_equal(picks.cpu().numpy(), top_n(scores, 100, random_state=0))
    picks = stochastic_top_n(on_gpu, 100, batch=batch, random_state=0)
    expected = stochastic_top_n(scores, 100, batch=batch, random_state=0)
    assert_array_equal(picks.cpu().numpy(), expected)


SCORES = np.array([0.5, 2.0, 1.0, 0.25])
RANKS = np.array([3.0, 1.0, 2.0, 4.0])


# The first pick has the probability of the paper's table 2, and the second that of
# drawing without replacement.
@pytest.mark.parametrize("beta", [0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize(
    ("batch", "weights"),
    [
        ("power", lambda beta: SCORES**beta),
        ("softmax", lambda beta: np.exp(beta * SCORES)),
        ("softrank", lambda beta: RANKS**-beta),
    ],
)
def test_probabilities_of_stochastic_batches(batch, weights, beta):
    rng = np.random.RandomState(0)
    draws = np.array(
        [
            stochastic_top_n(SCORES, 2, batch=batch, beta=beta, random_state=rng)
            for _ in range(2000)
        ]
    )
    p = weights(beta) / weights(beta).sum()
    assert chi_square(np.bincount(draws[:, 0], minlength=4), p) < CHI_SQUARE[3]
    others = p[:, None] * p[None, :] / (1 - p[:, None])
    np.fill_diagonal(others, 0.0)
    second = np.bincount(draws[:, 1], minlength=4)
    assert chi_square(second, others.sum(axis=0)) < CHI_SQUARE[3]


@pytest.mark.parametrize("batch", ["power", "softmax", "softrank"])
def test_high_beta_is_top_n(batch):
    scores = np.random.default_rng(0).permutation(50) + 1.0
    picks = stochastic_top_n(scores, 5, batch=batch, beta=1e6, random_state=0)
    assert_array_equal(picks, top_n(scores, 5))


@pytest.mark.parametrize("batch", ["power", "softmax", "softrank"])
@pytest.mark.parametrize("n", [1, 7, 30])
def test_picks_are_distinct_and_by_seed(batch, n):
    scores = np.random.default_rng(1).integers(0, 3, 30)
    first = stochastic_top_n(scores, n, batch=batch, random_state=3)
    assert first.dtype == np.int64
    assert len(set(first)) == n
    assert_array_equal(first, stochastic_top_n(scores, n, batch=batch, random_state=3))


# Worthless candidates are last resorts, in random order among themselves.
def test_power_takes_zero_scores_last():
    scores = np.array([0.0, 1e-300, 0.0, 5.0, 0.0])
    rng = np.random.RandomState(0)
    draws = [stochastic_top_n(scores, 5, random_state=rng) for _ in range(600)]
    assert {tuple(sorted(draw[:2])) for draw in draws} == {(1, 3)}
    third = np.bincount([draw[2] for draw in draws], minlength=5)[[0, 2, 4]]
    assert chi_square(third, np.full(3, 1 / 3)) < 13.82  # 2 degrees of freedom


def test_infinite_scores():
    scores = [1.0, np.inf, -np.inf, np.inf]
    for batch in ("softmax", "softrank"):
        draw = stochastic_top_n(scores, 4, batch=batch, beta=50, random_state=0)
        assert set(draw[:2]) == {1, 3}
        assert draw[3] == 2


# Ranks of tied scores are random, or the lower position would be favoured.
def test_softrank_is_fair_to_ties():
    rng = np.random.RandomState(0)
    first = [
        stochastic_top_n(np.ones(4), 1, batch="softrank", beta=3, random_state=rng)[0]
        for _ in range(2000)
    ]
    assert chi_square(np.bincount(first, minlength=4), np.full(4, 0.25)) < 16.27


@pytest.mark.parametrize("function", [top_n, stochastic_top_n])
@pytest.mark.parametrize(
    ("scores", "n", "message"),
    [
        ([1.0, np.nan, np.nan], 1, "scores holds NaN in 2 of 3 places"),
        ([[1.0]], 1, r"scores must be one-dimensional, got shape \(1, 1\)"),
        ([1.0, 2.0], 3, "n must be an integer from 1 to 2.*got 3"),
        ([1.0, 2.0], 0, "n must be an integer from 1 to 2.*got 0"),
        ([1.0, 2.0], 1.5, r"n must be an integer from 1 to 2.*got 1\.5"),
        ([], 1, "n must be an integer from 1 to 0"),
        (["a"], 1, "scores must hold real numbers"),
    ],
)
def test_wrong_scores(function, scores, n, message):
    with pytest.raises(ValueError, match=message):
        function(scores, n)


def test_power_refuses_negative_scores():
    with pytest.raises(ValueError, match=r"2 of 3 are negative \(the least is -4\)"):
        stochastic_top_n([-1.0, 2.0, -4.0], 1, batch="power")


@pytest.mark.parametrize("beta", [-1.0, np.inf, np.nan, "1"])
def test_wrong_beta(beta):
    with pytest.raises(ValueError, match=r"beta must be a number in \[0, inf\)"):
        stochastic_top_n([1.0], 1, beta=beta)


def test_wrong_batch():
    with pytest.raises(ValueError, match=r"batch must be one of.*got 'gibbs'"):
        stochastic_top_n([1.0], 1, batch="gibbs")
