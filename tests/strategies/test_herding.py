"""MaxHerding and UHerding equal their definitions; calibration does what it says."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import (
    MaxHerding,
    UHerding,
    UncertaintySampling,
    get_strategy,
)
from dalmax_sk.strategies._temperature import (
    CALIBRATIONS,
    calibration_error,
    scale_by_temperature,
)

AUTO, TWO_SIDED = CALIBRATIONS["auto"], CALIBRATIONS["two_sided"]


def random_pool(n=30, C=3, d=4, m=6, seed=0, labeled_proba=False, **params):
    rng = np.random.RandomState(seed)
    proba = softmax(3 * rng.randn(n, C), axis=1)
    more = {}
    if labeled_proba:
        more = {
            "labeled_proba": softmax(5 * rng.randn(m, C), axis=1),
            "y_labeled": rng.randint(0, C, m),
        }
    return Pool.from_arrays(
        proba=proba,
        embeddings=rng.randn(n, d),
        labeled_embeddings=rng.randn(m, d),
        random_state=0,
        **more,
        **params,
    )


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def follow(pool, picks, sigma, weight=None, normalize=True):
    """Algorithm 1 of both papers: what each pick adds, what the best adds, and all.

    Two points that nobody else covers add the same, so there are ties; which of the
    tied is picked is up to the seed.
    """
    X, labeled = pool.embeddings, pool.labeled_embeddings
    if normalize:
        X, labeled = unit(X), unit(labeled)
    weight = np.ones(len(X)) if weight is None else weight

    def k(x, s):
        return np.exp(-((x - s) ** 2).sum() / sigma**2)

    def coverage(chosen):
        covered = [max((k(x, s) for s in chosen), default=0.0) for x in X]
        return float(np.dot(weight, covered) / weight.sum())

    chosen, gains, best = list(labeled), [], []
    for t, pick in enumerate(picks):
        now = coverage(chosen)
        left = [j for j in range(len(X)) if j not in picks[:t]]
        best.append(max(coverage([*chosen, X[j]]) - now for j in left))
        chosen.append(X[pick])
        gains.append(coverage(chosen) - now)
    return gains, best, coverage(chosen)


def assert_greedy(pool, picks, scores, *args, **kwargs):
    gains, best, coverage = follow(pool, picks.tolist(), *args, **kwargs)
    assert_allclose(gains, best, atol=1e-12)
    assert_allclose(scores, gains, atol=1e-12)
    assert pool.info["coverage"] == pytest.approx(coverage)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("sigma", "normalize"), [(1.0, True), (0.4, True), (2, False)])
@pytest.mark.parametrize("m", [0, 5])
def test_max_herding_equals_its_definition(seed, sigma, normalize, m):
    pool = random_pool(m=m, seed=seed)
    strategy = MaxHerding(sigma=sigma, normalize=normalize)
    picks, scores = strategy.query(pool, 8, return_scores=True)
    assert_greedy(pool, picks, scores, sigma, normalize=normalize)


def margins(proba):
    return np.array([1 - (max(p) - sorted(p)[-2]) for p in proba])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("sigma", ["auto", 0.5])
def test_uherding_equals_its_definition(seed, temperature, sigma):
    pool = random_pool(seed=seed)
    strategy = UHerding(temperature=temperature, sigma=sigma)
    picks, scores = strategy.query(pool, 8, return_scores=True)
    labeled = unit(pool.labeled_embeddings)
    if sigma == "auto":
        sigma = min(
            np.linalg.norm(a - b)
            for i, a in enumerate(labeled)
            for b in labeled[i + 1 :]
        )
    heated = pool.proba ** (1 / temperature)
    weight = margins(heated / heated.sum(axis=1, keepdims=True))
    assert_greedy(pool, picks, scores, sigma, weight)
    assert pool.info["sigma"] == pytest.approx(sigma)
    assert pool.info["temperature"] == temperature


@pytest.mark.parametrize("measure", ["entropy", "least_confidence"])
def test_other_measures(measure):
    pool = random_pool()
    strategy = UHerding(measure, sigma=1.0, temperature=1.0)
    picks, scores = strategy.query(pool, 8, return_scores=True)
    p = pool.proba
    weight = -(p * np.log(p)).sum(axis=1) if measure == "entropy" else 1 - p.max(axis=1)
    assert_greedy(pool, picks, scores, 1.0, weight)


# The two limits of the paper: a high temperature makes it MaxHerding, a small radius
# uncertainty sampling.
def test_limits():
    pool = random_pool()
    evened = UHerding(temperature=1e9, sigma=0.7).query(pool, 8)
    gains, best, _ = follow(pool, evened.tolist(), 0.7)
    assert_allclose(gains, best, atol=1e-6)
    sharp = UHerding(temperature=1.0, sigma=1e-4).query(pool, 20)
    assert_array_equal(sharp, UncertaintySampling("margin").query(pool, 20))


def test_a_pool_without_labels_or_model_is_herded():
    embeddings = random_pool().embeddings
    cold = Pool(None, embeddings, [], [], random_state=0)
    assert_array_equal(UHerding().query(cold, 5), MaxHerding().query(cold, 5))
    assert cold.info == {} or "temperature" not in cold.info
    bare = Pool.from_arrays(embeddings=embeddings, random_state=0)
    assert_array_equal(UHerding().query(bare, 5), MaxHerding().query(bare, 5))


def test_probabilities_are_missed_where_there_are_labels():
    pool = random_pool()
    bare = Pool.from_arrays(
        embeddings=pool.embeddings, labeled_embeddings=pool.labeled_embeddings
    )
    with pytest.raises(MissingCapabilityError, match="UHerding needs class probab"):
        UHerding().query(bare, 3)


def test_a_model_sure_of_everything_weighs_all_alike():
    pool = random_pool()
    sure = Pool.from_arrays(
        proba=np.eye(3)[np.zeros(30, dtype=int)],
        embeddings=pool.embeddings,
        labeled_embeddings=pool.labeled_embeddings,
        random_state=0,
    )
    picks = UHerding(sigma=1.0).query(sure, 7)
    assert_array_equal(picks, MaxHerding().query(sure, 7))
    assert "temperature" not in sure.info


@pytest.mark.parametrize("m", [0, 1])
def test_the_radius_of_too_few_labels_is_one(m):
    pool = random_pool(m=m)
    UHerding().query(pool, 3)
    assert pool.info["sigma"] == 1.0


# ------------------------------------------------------------------------- calibration


def brute_force_error(confidence, is_right, n_bins):
    total = 0.0
    for b in range(n_bins):
        inside = [
            i
            for i, c in enumerate(confidence)
            if b / n_bins <= c < (b + 1) / n_bins or (b == n_bins - 1 and c == 1)
        ]
        if inside:
            right = np.mean([is_right[i] for i in inside])
            total += abs(right - np.mean(confidence[inside])) * len(inside)
    return total / len(confidence)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_bins", [2, 15])
def test_calibration_error_equals_its_definition(seed, n_bins):
    rng = np.random.RandomState(seed)
    confidence, right = rng.rand(50), rng.rand(50) < 0.6
    confidence[0] = 1.0
    assert calibration_error(confidence, right, n_bins) == pytest.approx(
        brute_force_error(confidence, right, n_bins)
    )


def test_temperature_leaves_zeros_and_order():
    proba = np.array([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
    heated = scale_by_temperature(proba, 5.0)
    assert_allclose(heated.sum(axis=1), 1)
    assert heated[0, 2] == 0
    assert_array_equal(heated.argsort(axis=1), proba.argsort(axis=1))
    logits = np.random.RandomState(0).randn(4, 3)
    assert_allclose(
        scale_by_temperature(softmax(logits, axis=1), 2.0), softmax(logits / 2, axis=1)
    )


def miscalibrated(true):
    """Probabilities too sure of themselves by a factor, and whether they are right."""
    rng = np.random.RandomState(0)
    logits = 1.5 * rng.randn(20_000, 4)
    y = (softmax(logits, axis=1).cumsum(axis=1) < rng.rand(20_000, 1)).sum(axis=1)
    given = softmax(logits * true, axis=1)
    return given, given.argmax(axis=1) == y


@pytest.mark.parametrize("true", [0.25, 1.0, 4.0])
def test_the_temperature_of_a_miscalibrated_model_is_found(true):
    found = TWO_SIDED.temperature(*miscalibrated(true))
    assert found == pytest.approx(true, rel=0.15)


# The authors' rule evens an overconfident model out; it sharpens none.
@pytest.mark.parametrize(("true", "found"), [(0.25, 1.0), (1.0, 1.0), (4.0, 4.0)])
def test_the_authors_temperature_never_sharpens(true, found):
    assert AUTO.temperature(*miscalibrated(true)) == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_authors_temperature_equals_its_definition(n_classes, seed):
    rng = np.random.RandomState(seed)
    proba = softmax(4 * rng.randn(9, n_classes), axis=1)
    proba[0] = np.eye(n_classes)[0]
    right = rng.rand(9) < 0.5
    temperatures = [t / 10 for t in range(10, 200)]
    errors = []
    for t in temperatures:
        heated = proba ** (1 / t)
        confidence = (heated / heated.sum(axis=1, keepdims=True)).max(axis=1)
        errors.append(brute_force_error(confidence, right, n_classes))
    smallest = next(
        t for t, e in zip(temperatures, errors, strict=True) if e <= min(errors) + 1e-12
    )
    assert AUTO.temperature(proba, right) == smallest


@pytest.mark.parametrize("rule", [AUTO, TWO_SIDED], ids=["auto", "two_sided"])
def test_temperatures_that_are_as_good_give_the_one_nearest_to_one(rule):
    assert rule.temperature(np.array([[0.5, 0.5]]), [True]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rule", "n_held"), [(AUTO, 3), (TWO_SIDED, 2)], ids=["auto", "two_sided"]
)
def test_every_class_keeps_a_label(rule, n_held):
    rng = np.random.RandomState(0)
    y = np.array(["a"] * 7 + ["b"] + ["c"] * 2)
    for _ in range(20):
        held = rule.hold_out(y, rng)
        assert len(held) == n_held
        assert set(np.delete(y, held)) == {"a", "b", "c"}
    assert len(rule.hold_out(np.arange(5), rng)) == 0
    assert len(rule.hold_out(np.array([0, 0]), rng)) == 1


def test_the_authors_hold_out_what_was_labelled_last():
    rng = np.random.RandomState(0)
    assert AUTO.hold_out(np.arange(20) % 3, rng).tolist() == list(range(14, 20))
    # the last two are all of their classes, so that the next two take their places
    y = [0] * 8 + [1, 2]
    assert AUTO.hold_out(np.array(y), rng).tolist() == [5, 6, 7]


class Spy(LogisticRegression):
    """Remembers the rows of all its fits."""

    fits = []

    def fit(self, X, y):
        Spy.fits.append((np.array(X), np.array(y)))
        return super().fit(X, y)


def labeled_problem(m=25, n=60, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(m + n, 3)
    y = (X[:, 0] + 0.7 * rng.randn(m + n) > 0).astype(int)
    return X, y


def test_calibration_holds_out_labelled_samples():
    X, y = labeled_problem()
    model = make_pipeline(StandardScaler(), Spy(C=1e4)).fit(X[:25], y[:25])
    Spy.fits.clear()
    pool = Pool(model, X, np.arange(25), y[:25], random_state=0)
    before = model.predict_proba(X)
    picks = UHerding().query(pool, 5)
    assert_array_equal(model.predict_proba(X), before)  # a clone is fitted
    ((rows, labels),) = Spy.fits
    assert_array_equal(rows, StandardScaler().fit_transform(X[:17]))
    assert len(labels) == 17
    # overconfident without regularisation, which only samples held out can tell
    assert 1 < pool.info["temperature"] < 20
    again = Pool(model, X, np.arange(25), y[:25], random_state=0)
    assert_array_equal(UHerding().query(again, 5), picks)
    assert again.info == pool.info


def test_labels_that_cannot_be_held_out_give_no_weights():
    X, y = labeled_problem()
    two = [int(np.flatnonzero(y == 0)[0]), int(np.flatnonzero(y == 1)[0])]
    model = LogisticRegression().fit(X[two], y[two])
    pool = Pool(model, X, two, y[two], random_state=0)
    picks = UHerding(sigma=1.0).query(pool, 5)
    assert_array_equal(picks, MaxHerding().query(pool, 5))
    UHerding(temperature=1.0).query(pool, 5)
    assert pool.info["temperature"] == 1.0


@pytest.mark.parametrize(
    ("name", "temperatures", "n_bins"),
    [("auto", np.arange(10, 200) / 10, 3), ("two_sided", np.logspace(-1, 1, 41), 15)],
)
def test_arrays_are_calibrated_by_their_labelled_probabilities(
    name, temperatures, n_bins
):
    pool = random_pool(m=40, labeled_proba=True)
    UHerding(temperature=name).query(pool, 3)
    proba, y = pool.labeled_proba, pool.y_labeled
    right = proba.argmax(axis=1) == y
    errors = {
        t: brute_force_error(scale_by_temperature(proba, t).max(axis=1), right, n_bins)
        for t in temperatures
    }
    assert errors[pool.info["temperature"]] == pytest.approx(min(errors.values()))
    plain = random_pool(m=40)
    UHerding(temperature=name).query(plain, 3)
    assert plain.info["temperature"] == 1.0


# ------------------------------------------------------------------------ as parameters


def test_names():
    assert isinstance(get_strategy("max_herding"), MaxHerding)
    assert isinstance(get_strategy("uherding"), UHerding)
    assert isinstance(get_strategy("u-herding", sigma=0.3), UHerding)


@pytest.mark.parametrize(
    "strategy",
    [
        MaxHerding(sigma=0),
        MaxHerding(sigma="auto"),
        MaxHerding(normalize=2),
        UHerding(measure="power"),
        UHerding(sigma=-1.0),
        UHerding(temperature=0.0),
        UHerding(temperature="none"),
    ],
)
def test_bad_parameters(strategy):
    with pytest.raises(ValueError, match="parameter of"):
        strategy.query(random_pool(), 2)


@pytest.mark.parametrize("strategy", [MaxHerding(), UHerding()])
def test_runs_in_the_learner_from_a_cold_start(strategy):
    X, y = labeled_problem(m=30, n=60)
    learner = ActiveLearningClassifier(
        LogisticRegression(),
        strategy,
        n_initial=5,
        initial_strategy=strategy,
        query_size=6,
        n_rounds=2,
        random_state=0,
    ).fit(X, y)
    assert len(learner.labeled_indices_) == 17
    assert 0 < learner.history_[-1]["coverage"] <= 1
