"""The statistics against their definitions, scipy, and simulated experiments."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from dalmax_sk.evaluation.statistics.comparison_columns import (
    labels_to_reach,
    saved_labels,
)
from dalmax_sk.evaluation.statistics.paired_tests import (
    adjust_p_values,
    paired_p_value,
    seeds_after_step_down,
    seeds_to_decide,
    significance_level,
    welch_seeds_to_decide,
)
from dalmax_sk.evaluation.statistics.ranks import (
    critical_difference,
    friedman_p_value,
    pairwise_wins,
    rank_groups,
    rank_rows,
)
from dalmax_sk.evaluation.statistics.resampling import (
    difference_interval,
    expanded_interval,
    mean_interval,
    resample_weights,
    too_few_seeds,
    welch_degrees,
)


@pytest.fixture
def random_state():
    return np.random.RandomState(0)


# -------------------------------------------------------------------------- resampling


def test_few_seeds_have_all_their_resamples(random_state):
    weights = resample_weights(3, 27, random_state)
    assert weights.shape == (27, 3)
    means = sorted(weights @ [1.0, 10.0, 100.0])
    wanted = sorted(np.mean(p) for p in itertools.product([1, 10, 100], repeat=3))
    assert_allclose(means, wanted)


def test_many_seeds_have_drawn_resamples(random_state):
    weights = resample_weights(8, 5000, random_state)
    assert weights.shape == (5000, 8)
    assert_allclose(weights.sum(axis=1), 1)
    # property: each seed is drawn as often as any other
    assert_allclose(weights.mean(axis=0), 1 / 8, atol=0.01)


@pytest.mark.parametrize(
    ("n", "documented"), [(2, 0.925), (3, 0.926), (4, 0.946), (5, 0.946), (10, 0.95)]
)
def test_intervals_of_means_cover_what_they_say(n, documented, random_state):
    # property: nominal 95 % of normal values, which the percentile interval misses by
    # far (75 % with 3 seeds, 84 % with 5); three standard errors of 5,000 samples
    values = random_state.normal(size=(n, 5000))
    low, high = mean_interval(values, resample_weights(n, 3125, random_state), 0.95)
    found = np.mean((low <= 0) & (high >= 0))
    assert_allclose(found, documented, atol=0.011)


def test_interval_of_two_seeds_covers_92_5_percent():
    # four resamples, so the ends are 0.925 of the distance to the extremes; the
    # t-statistic of two normal values has a Cauchy distribution
    weights = resample_weights(2, 4, np.random.RandomState(0))
    low, high = mean_interval(np.array([-1.0, 1.0]), weights, 0.95)
    assert_allclose(-low, high)
    assert_allclose(2 * np.arctan(high) / np.pi, 0.925, atol=5e-4)


def test_interval_of_equal_values_is_a_point(random_state):
    weights = resample_weights(4, 300, random_state)
    low, high = mean_interval(np.full(4, 0.1), weights, 0.95)
    assert low == high == 0.1


def test_expanded_interval_with_infinite_replicates():
    replicates = np.concatenate([np.arange(90.0), np.full(10, np.inf)])
    # Student's 10 % point with 19 degrees, 1.328 * sqrt(20 / 19), leaves 8.65 % below
    assert expanded_interval(replicates, 20, 0.8) == (8.0, np.inf)
    # what is unknown widens the interval on both sides
    unknown = np.r_[[np.nan] * 100, 1:101]
    assert expanded_interval(unknown, 9, 0.95) == (-np.inf, np.inf)


def test_expanded_interval_does_not_exist_for_few_seeds():
    # property: none where even the most extreme of n**n resamples is too probable
    for n, exists in ((2, False), (3, False), (4, False), (5, True)):
        low, high = expanded_interval(np.arange(3125.0), n, 0.95)
        assert np.isfinite([low, high]).all() == exists
        assert too_few_seeds(n, 0.95) != exists
    assert np.isfinite(expanded_interval(np.arange(256.0), 4, 0.8)).all()


def test_expanded_interval_does_not_exist_for_few_resamples():
    # with six seeds at 95 % the tails are 0.00243: 1 of 412 resamples
    assert np.isnan(expanded_interval(np.arange(411.0), 6, 0.95)).all()
    assert np.isfinite(expanded_interval(np.arange(412.0), 6, 0.95)).all()
    assert not too_few_seeds(6, 0.95)


def test_expanded_interval_is_the_t_quantiles_of_a_large_sample():
    n, tail = 10, 0.025
    replicates = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    low, high = expanded_interval(replicates, n, 0.95)
    wanted = np.sqrt(n / (n - 1)) * stats.t.ppf(1 - tail, n - 1)
    assert_allclose([low, high], [-wanted, wanted], atol=0.01)


# ------------------------------------------------------------------------ paired tests


@pytest.mark.parametrize("n", [2, 5, 11])
def test_t_test_is_scipys(n, random_state):
    differences = random_state.normal(0.3, size=n)
    wanted = stats.ttest_rel(differences + 5, np.full(n, 5.0)).pvalue
    found = paired_p_value(differences, "t", random_state=random_state)
    assert_allclose(found, wanted)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_permutation_test_is_scipys(n, random_state):
    differences = random_state.normal(0.5, size=n)
    wanted = stats.permutation_test(
        (differences, np.zeros(n)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    found = paired_p_value(differences, "permutation", random_state=random_state)
    assert_allclose(found, wanted)


@pytest.mark.parametrize("n", [3, 6, 12])
def test_wilcoxon_test_is_scipys(n, random_state):
    differences = random_state.normal(0.5, size=n)
    wanted = stats.wilcoxon(differences, method="exact").pvalue
    found = paired_p_value(differences, "wilcoxon", random_state=random_state)
    assert_allclose(found, wanted)


def test_wilcoxon_test_with_ties_and_zeros(random_state):
    # by hand: the zero drops out, sizes 1 1 2 have ranks 1.5 1.5 3; of 8 flips of the
    # signs, sums of at least 3 (observed: 1.5 - 1.5 + 3) in size are 6
    differences = np.array([0.1, -0.1, 0.2, 0.0])
    found = paired_p_value(differences, "wilcoxon", random_state=random_state)
    assert found == 6 / 8


def test_drawn_flips_agree_with_the_t_test(random_state):
    differences = random_state.normal(0.4, size=25)
    drawn = paired_p_value(
        differences, "permutation", n_resamples=20_000, random_state=random_state
    )
    exact = paired_p_value(differences, "t", random_state=random_state)
    assert_allclose(drawn, exact, atol=0.015)


@pytest.mark.parametrize("test", ["t", "wilcoxon", "permutation"])
def test_equal_curves_are_no_evidence(test, random_state):
    rounding = np.array([0.0, 1e-17, -1e-17, 0.0])
    assert paired_p_value(rounding, test, random_state=random_state) == 1.0


def test_differences_without_variation_have_no_t_test(random_state):
    differences = np.array([0.1, 0.1, 0.3 - 0.2])
    assert np.isnan(paired_p_value(differences, "t", random_state=random_state))
    found = paired_p_value(differences, "permutation", random_state=random_state)
    assert found == 2 / 8


def test_five_seeds_are_too_few_for_flips(random_state):
    differences = np.arange(1.0, 6.0)
    for test in ("wilcoxon", "permutation"):
        found = paired_p_value(differences, test, random_state=random_state)
        assert found == 2 / 2**5


def test_holm_by_its_definition(random_state):
    # the k-th smallest is rejected if all smaller ones are and p <= alpha / (m - k)
    for _ in range(20):
        p = random_state.uniform(size=6) ** 3
        adjusted = adjust_p_values(p, "holm")
        for alpha in (0.01, 0.05, 0.2):
            rejected = set()
            for k, i in enumerate(np.argsort(p)):
                if p[i] > alpha / (6 - k):
                    break
                rejected.add(int(i))
            assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected


def test_other_corrections():
    p = np.array([0.01, np.nan, 0.4])
    assert_allclose(adjust_p_values(p, "bonferroni"), [0.03, np.nan, 1.0])
    assert_allclose(adjust_p_values(p, None), p)
    assert_allclose(adjust_p_values(p, "holm"), [0.03, np.nan, 0.8])


def test_level_of_each_test():
    p = np.array([0.2, 0.01, 0.03])
    levels = [significance_level(p, i, 0.06, "holm") for i in range(3)]
    assert_allclose(levels, [0.06, 0.02, 0.03])
    assert_allclose(significance_level(p, 0, 0.06, "bonferroni"), 0.02)
    assert significance_level(p, 0, 0.06, None) == 0.06


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9])
def test_seeds_to_decide_give_that_power(alpha, random_state):
    # property: with the seeds it names, simulated experiments find the difference in
    # 80 % of cases, and with one seed less in fewer
    differences = np.array([0.5, -0.7, 1.1, 0.1, 0.9])
    more = seeds_to_decide(differences, alpha, 0.8, "t", 1000)
    mean, spread = differences.mean(), differences.std(ddof=1)
    found = {}
    for n in (int(5 + more), int(5 + more) - 4):
        values = random_state.normal(mean, spread, size=(4000, n))
        result = stats.ttest_1samp(values, 0, axis=1)
        found[n] = np.mean((result.pvalue <= alpha) & (result.statistic > 0))
    enough, fewer = found.values()
    assert 0.78 <= enough <= 0.85
    assert fewer < 0.78


def test_seeds_to_decide_at_the_ends():
    assert seeds_to_decide(np.array([1, -1, 1, -1.0]), 0.05, 0.8, "t", 50) == np.inf
    assert np.isnan(seeds_to_decide(np.zeros(4), 0.05, 0.8, "t", 50))
    # eight seeds before 2 / 2**n gets below 0.01
    clear = np.array([1.0, 1.1, 0.9])
    assert seeds_to_decide(clear, 0.01, 0.8, "permutation", 50) == 5
    assert seeds_to_decide(clear, 0.01, 0.8, "t", 50) == 1


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_equal_differences_are_decided_by_enough_flips(test, random_state):
    # property: more_seeds is the first number with which the test itself decides
    for n, alpha in ((3, 0.05), (5, 0.05), (4, 0.05 / 9)):
        more = seeds_to_decide(np.full(n, 0.02), alpha, 0.8, test, 1000)
        for seeds in range(n + 1, n + int(more) + 1):
            p = paired_p_value(np.full(seeds, 0.02), test, random_state=random_state)
            assert (p <= alpha) == (seeds == n + more)
    assert np.isnan(seeds_to_decide(np.zeros(5), 0.05, 0.8, test, 1000))
    assert np.isnan(seeds_to_decide(np.full(5, 0.02), 0.05, 0.8, "t", 1000))


def test_drawn_flips_have_a_smallest_p_value(random_state):
    differences = np.full(40, 0.1)
    for n_resamples in (199, 9999):
        found = paired_p_value(
            differences,
            "permutation",
            n_resamples=n_resamples,
            random_state=random_state,
        )
        assert_allclose(found, 1 / (n_resamples + 1))


def test_seeds_wait_for_smaller_p_values():
    nan, inf = np.nan, np.inf
    p = np.array([0.3, 0.001, 0.04, 0.5, nan])
    more = np.array([2.0, nan, 7.0, inf, nan])  # the second is decided
    assert_array_equal(seeds_after_step_down(more, p, "holm"), [7, nan, 7, inf, nan])
    for other in ("bonferroni", None):
        assert_array_equal(seeds_after_step_down(more, p, other), more)


# ---------------------------------------------------------------------- penalty, ranks


def test_penalty_by_its_definition(random_state):
    scores = random_state.normal(size=(4, 5, 6)) + np.arange(4)[:, None, None]
    wanted = np.zeros((4, 4))
    for i, j, b in itertools.product(range(4), range(4), range(6)):
        difference = scores[i, :, b] - scores[j, :, b]
        if i == j:
            continue
        t = np.sqrt(5) * difference.mean() / difference.std(ddof=1)
        wanted[i, j] += (t > 2.776) / 6
    assert 0 < wanted.sum() < 12
    assert_allclose(pairwise_wins(scores, 0.95), wanted)


def test_penalty_without_variation():
    scores = np.stack(
        [np.full((3, 2), 0.5), np.full((3, 2), 0.6), np.full((3, 2), 0.5)]
    )
    assert_array_equal(pairwise_wins(scores, 0.95), [[0, 0, 0], [1, 0, 1], [0, 0, 0]])


def test_ranks_share_ties():
    scores = np.array([[0.9, 0.1 + 0.2, 0.3], [0.1, 0.2, 0.3]])
    assert_array_equal(rank_rows(scores), [[1, 2.5, 2.5], [3, 2, 1]])


def test_friedman_is_scipys(random_state):
    scores = random_state.normal(size=(7, 4)) + [0, 0, 0.5, 1]
    wanted = stats.friedmanchisquare(*scores.T).pvalue
    assert_allclose(friedman_p_value(rank_rows(scores)), wanted)
    assert np.isnan(friedman_p_value(rank_rows(scores[:, :2])))
    assert friedman_p_value(np.full((3, 4), 2.5)) == 1.0


def test_critical_difference_of_demsars_table():
    # Demšar 2006, table 5(a): q_0.05 of 2 to 5 classifiers; his example: k=4, N=14 ...
    for k, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)):
        wanted = q * np.sqrt(k * (k + 1) / (6 * 14))
        assert_allclose(critical_difference(k, 14, 0.05), wanted, rtol=5e-4)


def test_nemenyi_is_scikit_posthocs(random_state):
    posthocs = pytest.importorskip("scikit_posthocs")
    scores = random_state.normal(size=(8, 5)) + [0, 0.2, 0.6, 1.2, 2.5]
    means = rank_rows(scores).mean(axis=0)
    p = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    apart = np.abs(means[:, None] - means) >= critical_difference(5, 8, 0.05)
    assert 0 < apart.sum() < 20
    assert_array_equal(apart, (p < 0.05) & ~np.eye(5, dtype=bool))


def test_groups_by_their_definition(random_state):
    # property: largest sets of which no two differ; checked against all subsets
    names = np.array(list("abcdef"))
    for difference in (0.2, 0.8, 2.0, 9.0):
        ranks = random_state.uniform(1, 6, size=6)
        alike = [
            set(s)
            for size in range(2, 7)
            for s in itertools.combinations(range(6), size)
            if np.ptp(ranks[list(s)]) < difference
        ]
        wanted = [s for s in alike if not any(s < other for other in alike)]
        groups = rank_groups(ranks, names.tolist(), difference)
        found = [{names.tolist().index(name) for name in g} for g in groups]
        assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))
        starts = [min(ranks[list(s)]) for s in found]
        assert starts == sorted(starts)


# ------------------------------------------------------------------------ label counts


def test_labels_to_reach_by_hand():
    n_labeled = np.array([10, 20, 40])
    scores = np.array(
        [
            [0.5, 0.6, 0.8],  # half way between 20 and 40
            [0.7, 0.6, 0.9],  # there from the first label on, whatever follows
            [0.5, 0.75, 0.6],  # between 10 and 20, though it falls again
            [0.1, 0.2, 0.3],  # never
            [0.6, 0.7, 0.7],  # exactly at a round
        ]
    )
    assert_allclose(labels_to_reach(n_labeled, scores, 0.7), [30, 10, 18, np.inf, 20])
    assert_allclose(
        labels_to_reach(n_labeled, scores, np.array([0.5, 0.9, 0.5, 0.1, 0.65])),
        [10, 40, 10, 10, 15],
    )


def test_saved_labels_of_curves_that_never_reach():
    inf = np.inf
    saved = saved_labels(np.array([10, 10, inf, inf]), np.array([30, inf, 30, inf]))
    assert_array_equal(saved, [20, inf, -inf, np.nan])


@pytest.mark.parametrize(("n", "other_n"), [(2, 5), (3, 3), (12, 4)])
def test_welch_degrees_are_scipys(n, other_n):
    rng = np.random.default_rng(n)
    ours, theirs = rng.normal(0, 3, n), rng.normal(0, 1, other_n)
    found = welch_degrees(ours.var(ddof=1), theirs.var(ddof=1), n, other_n)
    assert found == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).df)


@pytest.mark.parametrize(("n", "other_n"), [(2, 5), (3, 3), (6, 4)])
def test_the_interval_of_a_difference_is_its_definition(n, other_n):
    # each sample resampled by itself, its deviations widened by sqrt(n / (n - 1)), and
    # the ends of their difference by Student's quantile over the normal one
    rng = np.random.RandomState(n)
    ours, theirs = rng.normal(1, 3, n), rng.normal(0, 1, other_n)
    weights = tuple(
        resample_weights(size, 400, rng, exact=False) for size in (n, other_n)
    )
    found = difference_interval(ours, theirs, weights, 0.9)

    moved = []
    for resample, other in zip(*weights, strict=True):
        ours_moved = sum(w * x for w, x in zip(resample, ours, strict=True))
        theirs_moved = sum(w * x for w, x in zip(other, theirs, strict=True))
        moved.append(
            (ours_moved - ours.mean()) * np.sqrt(n / (n - 1))
            - (theirs_moved - theirs.mean()) * np.sqrt(other_n / (other_n - 1))
        )
    df = stats.ttest_ind(ours, theirs, equal_var=False).df
    wider = stats.t.ppf(0.95, df) / stats.norm.ppf(0.95)
    difference = ours.mean() - theirs.mean()
    expected = difference + wider * np.quantile(moved, [0.05, 0.95])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("n", "other_n", "effect"), [(3, 5, 1.0), (4, 4, 0.6)])
def test_more_seeds_of_welchs_test_are_the_first_with_the_power(n, other_n, effect):
    rng = np.random.default_rng(other_n)
    ours, theirs = rng.normal(effect, 1, n), rng.normal(0, 0.5, other_n)
    a, b = ours.var(ddof=1), theirs.var(ddof=1)
    for more in range(1, 200):
        m, k = n + more, other_n + more
        error = a / m + b / k
        df = error**2 / ((a / m) ** 2 / (m - 1) + (b / k) ** 2 / (k - 1))
        shift = abs(ours.mean() - theirs.mean()) / np.sqrt(error)
        if stats.nct.sf(stats.t.ppf(0.975, df), df, shift) >= 0.8:
            break
    assert 1 < more < 199
    assert welch_seeds_to_decide(ours, theirs, 0.05, 0.8, 200) == more
    assert welch_seeds_to_decide(ours, theirs, 0.05, 0.8, more - 1) == np.inf
