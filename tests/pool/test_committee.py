"""Committees: who sits in them, and that what they say is what their members say."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from dalmax_sk._base import progress
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.pool.committee import (
    committee_proba,
    iter_committee_proba,
    stratified_bootstrap,
)
from dalmax_sk.pool.committee_heads import fit_heads, head_proba

N_LABELED = 40


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers all fits of all its clones in one list of the class."""

    fits: list = []

    def __init__(self, random_state=None, device="here"):
        self.random_state = random_state
        self.device = device

    def fit(self, X, y):
        self.fits.append((self.get_params(), np.asarray(X), np.asarray(y)))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        rng = np.random.RandomState(self.random_state)
        return rng.dirichlet(np.ones(len(self.classes_)), size=len(X))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.fixture
def fits():
    Recorder.fits.clear()
    return Recorder.fits


def make_pool(estimator, X, y, fit=True, **params):
    labeled = np.arange(N_LABELED)
    if fit:
        estimator.fit(np.asarray(X)[labeled], np.asarray(y)[labeled])
    params = {"random_state": 0, **params}
    return Pool(estimator, X, labeled, np.asarray(y)[labeled], **params)


# ------------------------------------------------------------------ bootstrap


@settings(max_examples=50, deadline=None)
@given(
    y=st.lists(st.integers(0, 3), min_size=1, max_size=30), seed=st.integers(0, 1000)
)
def test_bootstrap_keeps_the_number_of_samples_of_each_class(y, seed):
    y = np.array(y)
    rows = stratified_bootstrap(y, np.random.RandomState(seed))
    assert rows.shape == y.shape
    np.testing.assert_array_equal(np.sort(y[rows]), np.sort(y))


def test_bootstrap_draws_each_sample_of_a_class_alike():
    y = np.array([0, 0, 0, 1])
    rng = np.random.RandomState(0)
    counts = sum(
        np.bincount(stratified_bootstrap(y, rng), minlength=4) for _ in range(3000)
    )
    np.testing.assert_allclose(counts / 3000, 1, atol=0.06)


# ------------------------------------------------------------------ ensembles


def trees(forest, X):
    return [tree.predict_proba(X) for tree in forest.estimators_]


def bagged(bagging, X):
    return [
        member.predict_proba(X[:, columns])
        for member, columns in zip(
            bagging.estimators_, bagging.estimators_features_, strict=True
        )
    ]


def voters(voting, X):
    return [member.predict_proba(X) for member in voting.estimators_]


ENSEMBLES = [
    (RandomForestClassifier(7, max_depth=3, random_state=0), trees),
    (ExtraTreesClassifier(4, max_depth=3, random_state=0), trees),
    (
        BaggingClassifier(LogisticRegression(), 3, max_features=0.5, random_state=0),
        bagged,
    ),
    (
        VotingClassifier(
            [
                ("a", GaussianNB()),
                ("b", "drop"),
                ("c", DecisionTreeClassifier(random_state=0)),
            ],
            voting="soft",
        ),
        voters,
    ),
]


@pytest.mark.parametrize(("ensemble", "members"), ENSEMBLES)
@pytest.mark.parametrize("names", [None, np.array(["b", "a", "c"])])
def test_members_of_a_fitted_ensemble(table, ensemble, members, names):
    X, y = table
    pool = make_pool(ensemble, X, y if names is None else names[y])
    expected = members(ensemble, X[N_LABELED:])
    np.testing.assert_array_equal(committee_proba(pool), expected)
    np.testing.assert_allclose(committee_proba(pool).mean(axis=0), pool.proba)


@pytest.mark.parametrize(("ensemble", "members"), ENSEMBLES)
def test_members_of_an_ensemble_behind_other_steps(table, ensemble, members):
    X, y = table
    model = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), ensemble))
    pool = make_pool(model, X, y)
    transformed = model[1][:-1].transform(model[:-1].transform(X[N_LABELED:]))
    expected = members(ensemble, transformed)
    np.testing.assert_array_equal(committee_proba(pool), expected)


@pytest.mark.parametrize(("ensemble", "members"), ENSEMBLES)
def test_columns_of_classes_that_nobody_has_seen(table, ensemble, members):
    X, y = table
    ensemble.fit(X[y != 1], y[y != 1])
    labeled = np.flatnonzero(y != 1)
    pool = Pool(ensemble, X, labeled, y[labeled], classes=[0, 1, 2], random_state=0)
    proba = committee_proba(pool)
    assert (proba[:, :, 1] == 0).all()
    np.testing.assert_array_equal(proba[:, :, [0, 2]], members(ensemble, X[y == 1]))


# Bagging draws rows, so that a member may never see a rare class.
def test_a_bagged_member_that_lacks_a_class(table):
    X, y = table
    y = np.where(np.arange(200) == 3, 0, 1 + y % 2)
    # without sample_weight it draws rows
    neighbour = KNeighborsClassifier(1)
    bagging = BaggingClassifier(neighbour, 8, max_samples=10, random_state=0)
    pool = make_pool(bagging, X, y)
    assert any(len(m.classes_) < 3 for m in bagging.estimators_)
    proba = committee_proba(pool)
    np.testing.assert_allclose(proba.sum(axis=2), 1)
    np.testing.assert_allclose(proba.mean(axis=0), pool.proba)


@pytest.mark.parametrize("ensemble", [e for e, _ in ENSEMBLES])
def test_tables_with_names_and_sparse_matrices(table, ensemble):
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcdef"))
    ensemble.fit(frame[:N_LABELED], y[:N_LABELED])
    pool = make_pool(ensemble, frame, y, fit=False)
    expected = committee_proba(make_pool(ensemble, X, y))
    ensemble.fit(frame[:N_LABELED], y[:N_LABELED])
    np.testing.assert_allclose(committee_proba(pool), expected)
    if not isinstance(ensemble, VotingClassifier):  # GaussianNB wants it dense
        ensemble.fit(csr_matrix(X[:N_LABELED]), y[:N_LABELED])
        pool = make_pool(ensemble, csr_matrix(X), y, fit=False)
        np.testing.assert_allclose(committee_proba(pool), expected)


def test_members_come_one_after_the_other(table):
    pool = make_pool(RandomForestClassifier(5, random_state=0), *table)
    one = next(iter_committee_proba(pool))
    np.testing.assert_array_equal(one, committee_proba(pool)[0])


# ------------------------------------------------------------------ clones and lists


def test_full_members_are_clones_with_seeds_and_samples_of_their_own(table, fits):
    X, y = table
    y = np.where(np.arange(200) == 3, 2, y % 2)  # class 2 has one sample
    pool = make_pool(Recorder(random_state=0, device="there"), X, y)
    fits.clear()
    proba = committee_proba(pool, members="full", n_members=4)
    assert len(fits) == 4
    assert len({params["random_state"] for params, _, _ in fits}) == 4
    assert {params["device"] for params, _, _ in fits} == {"there"}
    rows = {row.tobytes(): i for i, row in enumerate(X)}
    samples = [[rows[row.tobytes()] for row in sample] for _, sample, _ in fits]
    for sample, (_, _, labels) in zip(samples, fits, strict=True):
        np.testing.assert_array_equal(y[sample], labels)
        np.testing.assert_array_equal(np.sort(labels), np.sort(y[:N_LABELED]))
        assert 3 in sample
        assert len(set(sample)) < N_LABELED
    assert len({tuple(sorted(sample)) for sample in samples}) == 4
    for (params, _, _), layer in zip(fits, proba, strict=True):
        rng = np.random.RandomState(params["random_state"])
        np.testing.assert_array_equal(layer, rng.dirichlet(np.ones(3), size=160))


def test_without_bootstrap_members_see_all_labelled_rows(table, fits):
    X, y = table
    pool = make_pool(Recorder(), X, y)
    fits.clear()
    committee_proba(pool, members="full", bootstrap=False)
    for _, sample, labels in fits:
        np.testing.assert_array_equal(sample, X[:N_LABELED])
        np.testing.assert_array_equal(labels, y[:N_LABELED])


def test_given_members_are_cloned_and_fitted_on_the_rows(table, fits):
    X, y = table
    given_members = [
        ("first", Recorder()),
        Recorder(random_state=7),
        make_pipeline(StandardScaler(), Recorder()),
    ]
    pool = make_pool(LogisticRegression(), X, y)
    assert committee_proba(pool, members=given_members).shape == (3, 160, 3)
    seeds = [params["random_state"] for params, _, _ in fits]
    assert seeds[1] == 7
    assert len(set(seeds)) == 3
    assert None not in seeds
    np.testing.assert_array_equal(fits[0][1], X[:N_LABELED])
    np.testing.assert_allclose(fits[2][1].mean(axis=0), 0, atol=1e-12)
    assert given_members[0][1].random_state is None
    assert not hasattr(given_members[0][1], "classes_")
    fits.clear()
    committee_proba(pool, members=given_members, bootstrap=True)
    assert len(np.unique(fits[0][1], axis=0)) < N_LABELED


def test_a_given_ensemble_is_fitted_and_its_members_asked(table):
    X, y = table
    pool = make_pool(LogisticRegression(), X, y)
    forest = RandomForestClassifier(6, random_state=3)
    proba = committee_proba(pool, members=make_pipeline(StandardScaler(), forest))
    assert not hasattr(forest, "estimators_")
    scaler = StandardScaler().fit(X[:N_LABELED])
    forest.fit(scaler.transform(X[:N_LABELED]), y[:N_LABELED])
    expected = trees(forest, scaler.transform(X[N_LABELED:]))
    np.testing.assert_array_equal(proba, expected)


def test_any_other_estimator_gives_a_committee_of_clones(table):
    pool = make_pool(LogisticRegression(), *table)
    proba = committee_proba(pool, n_members=3)
    np.testing.assert_array_equal(
        proba, committee_proba(pool, members="full", n_members=3)
    )
    assert proba.shape == (3, 160, 3)
    assert (proba[0] != proba[1]).any()


def test_votes_of_members_without_probabilities(table):
    X, y = table
    pool = make_pool(LogisticRegression(), X, y)
    members = [LinearSVC(), GaussianNB()]
    with pytest.raises(ValueError, match=r"LinearSVC has no predict_proba.*Calibrated"):
        committee_proba(pool, members=members, owner="Me")
    proba = committee_proba(pool, members=members, votes=True)
    svc = LinearSVC().fit(X[:N_LABELED], y[:N_LABELED])
    np.testing.assert_array_equal(proba[0], np.eye(3)[svc.predict(X[N_LABELED:])])


# ------------------------------------------------------------------ heads


def objective(parameters, X, y, counts, anchor, decay):
    weight = parameters.reshape(anchor.shape)
    total = decay / 2 * ((weight - anchor) ** 2).sum()
    for x, label, count in zip(X, y, counts, strict=True):
        logits = weight[:, :-1] @ x + weight[:, -1]
        total -= count * log_softmax(logits)[label]
    return total


@pytest.mark.parametrize("max_memory", [2**30, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.1, 2.0])
def test_heads_minimise_what_is_said(max_memory, dtype, decay):
    rng = np.random.RandomState(0)
    H = (3 * rng.randn(12, 3) + 5).astype(dtype)
    y, counts = rng.randint(3, size=12), rng.randint(3, size=(2, 12)).astype(float)
    anchors = rng.randn(2, 3, 4)
    weights = fit_heads(
        H, y, counts, anchors, decay, device=torch.device("cpu"), max_memory=max_memory
    )
    X = H.astype(np.float64) - H.astype(np.float64).mean(axis=0)
    scale = np.sqrt((X**2).sum(axis=1).mean())
    candidates = (3 * rng.randn(5, 3) + 5).astype(dtype)
    for weight, count, anchor in zip(weights, counts, anchors, strict=True):
        best = minimize(
            objective,
            np.zeros(anchor.size),
            args=(X / scale, y, count, anchor, decay),
            tol=1e-10,
        ).x.reshape(anchor.shape)
        at = (candidates - H.astype(np.float64).mean(axis=0)) / scale
        expected = softmax(at @ best[:, :-1].T + best[:, -1], axis=1)
        proba = head_proba(candidates, weight, max_memory)
        np.testing.assert_allclose(proba, expected, atol=1e-5)


def array_pool(n=30, m=20, classes=(0, 1, 2, 3), seed=0, **params):
    rng = np.random.RandomState(seed)
    y = rng.choice([0, 2, 3], size=m)
    centers = 3 * rng.randn(4, 5)
    params = {"random_state": 0, "classes": classes, **params}
    return Pool.from_arrays(
        embeddings=rng.randn(n, 5) + centers[rng.randint(4, size=n)],
        labeled_embeddings=rng.randn(m, 5) + centers[y],
        y_labeled=np.asarray(classes)[y],
        **params,
    )


def test_heads_know_the_labelled_classes_only():
    pool = array_pool(classes=("a", "b", "c", "d"))
    proba = committee_proba(pool, members="heads", n_members=3)
    assert proba.shape == (3, 30, 4)
    assert (proba[:, :, 1] == 0).all()
    np.testing.assert_allclose(proba.sum(axis=2), 1)
    assert (proba[0] != proba[1]).any()


def test_heads_learn_the_labels():
    X = np.concatenate([np.zeros((20, 2)), np.full((20, 2), 4.0)])
    X = X + np.random.RandomState(0).randn(40, 2)
    y = np.repeat([0, 1], 20)
    pool = Pool.from_arrays(embeddings=X, labeled_embeddings=X, y_labeled=y)
    votes = committee_proba(pool, members="heads").argmax(axis=2)
    assert (votes == y).mean() > 0.95


# Heads agree where there is data, and differ where there is none.
def test_heads_differ_away_from_the_labels():
    rng = np.random.RandomState(0)
    near = rng.randn(60, 2) * [1, 0.05]
    far = near * [1, 0] + [0, 40]  # a direction that no labelled sample has
    labels = (near[:, 0] > 0).astype(int)
    for bootstrap in (True, False):
        pool = Pool.from_arrays(
            embeddings=np.concatenate([near, far]),
            labeled_embeddings=near,
            y_labeled=labels,
            random_state=0,
        )
        proba = committee_proba(pool, "heads", n_members=8, bootstrap=bootstrap)
        spread = proba[:, :, 0].std(axis=0)
        assert spread[60:].mean() > 3 * spread[:60].mean()


def test_memory_does_not_change_heads():
    expected = committee_proba(array_pool(), members="heads")
    proba = committee_proba(array_pool(max_memory=1), members="heads")
    np.testing.assert_allclose(proba, expected, atol=3e-5)


@pytest.mark.parametrize(
    "labels", [np.zeros(1, int), np.zeros(4, int), np.array([0, 1])]
)
def test_heads_of_hardly_any_labels(labels):
    rng = np.random.RandomState(0)
    pool = Pool.from_arrays(
        embeddings=np.ones((5, 2)),
        labeled_embeddings=np.ones((len(labels), 2)),
        y_labeled=labels,
        classes=[0, 1],
        random_state=rng,
    )
    proba = committee_proba(pool, members="heads")
    np.testing.assert_allclose(proba.sum(axis=2), 1)
    if labels.max() == 0:
        np.testing.assert_array_equal(proba[:, :, 0], 1.0)


def test_samples_given_as_arrays_are_the_committee():
    samples = np.random.RandomState(0).dirichlet(np.ones(4), size=(6, 30))
    pool = array_pool(posterior_proba=samples)
    np.testing.assert_array_equal(committee_proba(pool), samples)
    one = array_pool(posterior_proba=samples[:1])
    with pytest.raises(ValueError, match=r"at least 2 members.*samples.*K=1"):
        committee_proba(one)
    np.testing.assert_array_equal(
        committee_proba(array_pool()), committee_proba(array_pool(), members="heads")
    )


# Measured in a process of its own, because the peak of a process never falls.
def test_members_are_not_held_twice(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.pool import Pool, committee
pool = Pool.from_arrays(proba=[[0.5, 0.5]])
committee.iter_committee_proba = lambda *args, **kwargs: (
    np.full((25_000, 50), 1 / 50) for _ in range(20)
)
"""
    measured = "found = committee.committee_proba(pool)"
    n_bytes = 20 * 25_000 * 50 * 8
    assert peak_growth(setup, measured) * 1024 / n_bytes < 1.3


def test_a_head_given_as_arrays_is_no_committee():
    head = (np.ones((4, 5)), np.zeros(4))
    pool = array_pool(head=head)
    asked = array_pool(head=head)
    assert asked.posterior_proba().shape == (20, 30, 4)
    expected = committee_proba(array_pool(), members="heads", n_members=3)
    for one in (pool, asked):
        np.testing.assert_array_equal(committee_proba(one, n_members=3), expected)


def test_given_members_on_arrays_see_the_embeddings(fits):
    pool = array_pool()
    committee_proba(pool, members=[Recorder(), Recorder()])
    np.testing.assert_array_equal(fits[0][1], pool.labeled_embeddings)


# ------------------------------------------------------------------ the CNN


@pytest.fixture(scope="module")
def digits_pool():
    rng = np.random.RandomState(0)
    y = np.arange(60) % 3
    X = rng.rand(60, 8, 8) + y[:, None, None] * np.eye(8)
    net = CNNClassifier(max_epochs=3, random_state=0, device="cpu")
    net.fit(X[:30], y[:30])
    return Pool(net, X, np.arange(30), y[:30], random_state=0)


def test_a_cnn_gives_heads_on_its_body(digits_pool):
    proba = committee_proba(digits_pool)
    arrays = Pool.from_arrays(
        embeddings=digits_pool.embeddings,
        labeled_embeddings=digits_pool.labeled_embeddings,
        y_labeled=digits_pool.y_labeled,
        random_state=0,
    )
    # the pools' seeds agree, so their draws do
    np.testing.assert_allclose(proba, committee_proba(arrays, "heads"), atol=1e-9)


def test_whole_nets_as_members(digits_pool):
    seen = []

    def listener(stage, done, total, info):
        seen.append((stage, done, total))

    with progress.listen(listener):
        proba = committee_proba(digits_pool, members="full", n_members=2)
    assert proba.shape == (2, 30, 3)
    assert (proba[0] != proba[1]).any()
    assert [s for s in seen if s[0] == "committee"] == [
        ("committee", 1, 2),
        ("committee", 2, 2),
    ]


# ------------------------------------------------------------------ promises


def committees(X, y):
    yield make_pool(RandomForestClassifier(4, random_state=0), X, y), {}
    for members in ("heads", "full", [GaussianNB(), DecisionTreeClassifier()]):
        yield make_pool(LogisticRegression(), X, y), {"members": members}


def test_the_pool_decides_whatever_was_asked_before(table):
    for pool, params in committees(*table):
        before = np.random.get_state()[1].copy()
        torch_before = torch.random.get_rng_state()
        first = committee_proba(pool, **params)
        committee_proba(pool, members="full")
        np.testing.assert_array_equal(committee_proba(pool, **params), first)
        np.testing.assert_array_equal(np.random.get_state()[1], before)
        assert torch.equal(torch.random.get_rng_state(), torch_before)


def test_another_seed_gives_another_committee(table):
    X, y = table
    for members in ("heads", "full"):
        one, other = (
            committee_proba(
                make_pool(LogisticRegression(), X, y, random_state=s), members
            )
            for s in (0, 1)
        )
        assert (one != other).any()


def test_permuting_the_candidates_permutes_the_result(table):
    X, y = table
    order = np.random.RandomState(1).permutation(np.arange(N_LABELED, 200))
    for pool, params in committees(X, y):
        params = {**params}
        other = Pool(
            pool.estimator,
            X,
            np.arange(N_LABELED),
            y[:N_LABELED],
            random_state=0,
            candidate_indices=order,
        )
        np.testing.assert_allclose(
            committee_proba(other, **params),
            committee_proba(pool, **params)[:, order - N_LABELED],
            atol=1e-12,
        )


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("everyone", r"Me: members must be 'auto', 'heads', 'full'.*got 'everyone'"),
        ([GaussianNB()], r"Me: .*at least 2 members.*a list of length 1"),
        ([GaussianNB, GaussianNB], r"Me: members must be estimators with fit"),
        ([1, 2], r"Me: members must be estimators with fit"),
        (GaussianNB(), r"Me: members must be .* a list of estimators.*BaggingClass"),
        (RandomForestClassifier(1), r"RandomForestClassifier whose members number 1"),
    ],
)
def test_wrong_members(table, members, message):
    pool = make_pool(LogisticRegression(), *table)
    with pytest.raises(ValueError, match=message):
        committee_proba(pool, members=members, owner="Me")


def test_a_committee_of_one(table):
    pool = make_pool(LogisticRegression(), *table)
    with pytest.raises(ValueError, match=r"at least 2 members.*n_members=1"):
        committee_proba(pool, n_members=1)
    pool = make_pool(RandomForestClassifier(1), *table)
    with pytest.raises(ValueError, match=r"whose members number 1"):
        committee_proba(pool)


def test_clones_that_cannot_differ(table):
    pool = make_pool(GaussianNB(), *table)
    with pytest.raises(ValueError, match=r"all clones of GaussianNB are the same"):
        committee_proba(pool, members="full", bootstrap=False)


def test_nothing_to_fit_on():
    pool = Pool.from_arrays(embeddings=np.zeros((4, 2)))
    for members in ("auto", "heads", "full", [GaussianNB(), GaussianNB()]):
        with pytest.raises(ValueError, match="on labelled samples and this pool"):
            committee_proba(pool, members=members)
    pool = Pool.from_arrays(proba=np.full((4, 2), 0.5), y_labeled=[0, 1])
    with pytest.raises(MissingCapabilityError, match="Me needs embeddings"):
        committee_proba(pool, members="heads", owner="Me")
    with pytest.raises(MissingCapabilityError, match="Me needs the samples themselves"):
        committee_proba(pool, members="full", owner="Me")
