"""Query by committee equals its definitions, and asks where members disagree."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from dalmax_sk.pool import Pool, committee_proba
from dalmax_sk.strategies import QueryByCommittee, disagreement_scores, get_strategy

MEASURES = ["vote_entropy", "consensus_entropy", "kl", "disagreement"]


def log(x):
    return math.log(x) if x > 0 else 0.0


def definition(samples, measure):
    """The measures in plain loops, from the papers' formulas."""
    n_members, n, n_classes = samples.shape
    scores = []
    for i in range(n):
        votes = [0] * n_classes
        for m in range(n_members):
            votes[list(samples[m, i]).index(max(samples[m, i]))] += 1
        mean = [sum(samples[:, i, c]) / n_members for c in range(n_classes)]
        if measure == "vote_entropy":
            shares = [v / n_members for v in votes]
            score = -sum(s * log(s) for s in shares)
        elif measure == "consensus_entropy":
            score = -sum(p * log(p) for p in mean)
        elif measure == "kl":
            score = 0.0
            for m in range(n_members):
                for c in range(n_classes):
                    p = samples[m, i, c]
                    score += p * (log(p) - log(mean[c])) / n_members
        else:
            score = (n_members - max(votes)) / n_members
        scores.append(score)
    return np.array(scores)


def random_samples(n_members, n, n_classes, seed):
    rng = np.random.RandomState(seed)
    samples = rng.dirichlet(np.full(n_classes, 0.7), size=(n_members, n))
    samples[:, :3] = samples[:, :3].round()  # zeros, and perfect agreement
    samples[:, 0] = samples[0, 0]
    samples[:, :3] /= np.maximum(samples[:, :3].sum(axis=2, keepdims=True), 1)
    samples[:, :3, 0] += 1 - samples[:, :3].sum(axis=2)
    return samples


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("shape", [(2, 12, 2), (5, 20, 3), (3, 15, 7), (9, 15, 4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_definition(measure, shape, seed):
    samples = random_samples(*shape, seed)
    expected = definition(samples, measure)
    assert_allclose(disagreement_scores(samples, measure), expected, atol=1e-12)
    assert_allclose(disagreement_scores(iter(samples), measure), expected, atol=1e-12)
    pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    strategy = QueryByCommittee(measure)
    picks, scores = strategy.query(pool, 4, return_scores=True)
    assert_allclose(scores, expected[picks], atol=1e-12)
    assert_allclose(scores, np.sort(expected)[::-1][:4], atol=1e-12)


# The worked example in modAL's documentation of its disagreement measures.
def test_published_example():
    votes = np.array([[0, 1, 0], [1, 1, 2], [0, 1, 2], [2, 2, 2], [1, 2, 2]])
    scores = disagreement_scores(np.eye(3)[votes.T], "vote_entropy")
    assert_allclose(scores, [0.6365, 0.6365, 1.0986, 0.0, 0.6365], atol=1e-4)


# Votes of 5 members in another order of the classes are a tie to the last bit.
def test_equal_vote_counts_tie_exactly():
    rng = np.random.RandomState(0)
    votes = np.array([0] * 4 + [1] * 3 + [2] * 2 + [3] * 2)
    samples = np.stack([np.eye(6)[rng.permutation(6)[votes]] for _ in range(200)], 1)
    scores = disagreement_scores(samples, "vote_entropy")
    assert len(set(scores.tolist())) == 1


@pytest.mark.parametrize("measure", ["kl", "disagreement", "vote_entropy"])
def test_members_of_one_mind_score_exactly_zero(measure):
    one = np.random.RandomState(0).dirichlet(np.ones(10), size=50)
    scores = disagreement_scores([one] * 7, measure)
    assert_array_equal(scores, 0.0)


def test_ties_are_broken_by_the_seed_alone():
    samples = np.full((3, 30, 2), 0.5)
    picks = [
        QueryByCommittee().query(
            Pool.from_arrays(posterior_proba=samples, random_state=s), 5
        )
        for s in (0, 0, 1)
    ]
    assert_array_equal(picks[0], picks[1])
    assert picks[0].tolist() != picks[2].tolist()
    assert picks[0].tolist() != list(range(5))


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    labeled = np.arange(0, 150, 6)
    return X, y, labeled


def make_pool(model, iris, **params):
    X, y, labeled = iris
    model.fit(X[labeled], y[labeled])
    return Pool(model, X, labeled, y[labeled], **{"random_state": 0, **params})


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("model", "members"),
    [
        (RandomForestClassifier(15, random_state=0), "auto"),
        (LogisticRegression(), "auto"),
        (LogisticRegression(), "heads"),
        (LogisticRegression(), [GaussianNB(), LogisticRegression(C=0.01)]),
        (GaussianNB(), RandomForestClassifier(4)),
    ],
)
def test_whose_probabilities_are_compared(iris, model, members, measure):
    pool = make_pool(model, iris)
    strategy = QueryByCommittee(measure, members=members, n_members=4)
    picks, scores = strategy.query(pool, 10, return_scores=True)
    samples = committee_proba(pool, members, 4)
    assert_allclose(scores, definition(samples, measure)[picks], atol=1e-10)
    assert pool.info["n_members"] == len(samples)
    dissent = definition(samples, "disagreement").mean()
    assert pool.info["mean_disagreement"] == pytest.approx(dissent)


# DalMax's committee was trained on one set, without seeds: its scores were 0, 1 and 2.
def test_scores_take_many_values_and_ask_where_the_model_errs(iris):
    pool = make_pool(LogisticRegression(), iris)
    _, y, labeled = iris
    picks = QueryByCommittee("kl").query(pool, 20)
    assert len(np.unique(QueryByCommittee("kl")._score(pool))) > 100
    wrong = pool.proba.argmax(axis=1) != np.delete(y, labeled)
    assert wrong[picks].mean() > 2 * wrong.mean() > 0


def test_members_that_only_vote(iris):
    members = [LinearSVC(), GaussianNB(), LogisticRegression()]
    pool = make_pool(LogisticRegression(), iris)
    picks = QueryByCommittee(members=members).query(pool, 5)
    assert len(set(picks.tolist())) == 5
    with pytest.raises(ValueError, match="QueryByCommittee needs class probabilities"):
        QueryByCommittee("kl", members=members).query(pool, 5)


@pytest.mark.parametrize("batch", ["power", "softmax", "softrank"])
@pytest.mark.parametrize("measure", MEASURES)
def test_stochastic_batches(iris, batch, measure):
    pool = make_pool(LogisticRegression(), iris)
    picks = QueryByCommittee(measure, batch=batch).query(pool, len(pool))
    assert_array_equal(np.sort(picks), np.arange(len(pool)))


def test_permuting_the_pool_permutes_the_picks(iris):
    X, y, labeled = iris
    pool = make_pool(LogisticRegression(), iris)
    order = np.random.RandomState(5).permutation(pool.indices)
    other = Pool(
        pool.estimator,
        X,
        labeled,
        y[labeled],
        random_state=0,
        candidate_indices=order,
    )
    strategy = QueryByCommittee("kl")
    picks = strategy.query(other, 10)
    assert_array_equal(order[picks], pool.indices[strategy.query(pool, 10)])


def test_same_pool_same_picks_and_a_little_memory_is_enough(iris):
    pool = make_pool(LogisticRegression(), iris)
    strategy = QueryByCommittee("kl", members="heads")
    first = strategy.query(pool, 10)
    QueryByCommittee().query(pool, 3)
    assert_array_equal(strategy.query(pool, 10), first)
    small = make_pool(LogisticRegression(), iris, max_memory=1000)
    assert_array_equal(strategy.query(small, 10), first)


def test_duplicates_and_extreme_numbers_of_picks():
    samples = np.repeat(np.random.RandomState(0).dirichlet([1, 1], (3, 4)), 5, axis=1)
    pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    for n in (1, 12, 20):
        assert len(set(QueryByCommittee().query(pool, n).tolist())) == n


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"measure": "entropy"},
            "'measure' parameter of QueryByCommittee must be",
        ),
        ({"n_members": 1}, r"'n_members' parameter .* must be an int in the range \[2"),
        ({"members": "all"}, "'members' parameter of QueryByCommittee"),
        ({"members": 3}, "'members' parameter of QueryByCommittee"),
        ({"bootstrap": "no"}, "'bootstrap' parameter of QueryByCommittee"),
    ],
)
def test_wrong_parameters(params, message):
    pool = Pool.from_arrays(posterior_proba=np.full((2, 4, 2), 0.5))
    with pytest.raises(ValueError, match=message):
        QueryByCommittee(**params).query(pool, 1)


def test_a_committee_of_one(iris):
    pool = make_pool(LogisticRegression(), iris)
    for members in ([GaussianNB()], RandomForestClassifier(1)):
        with pytest.raises(ValueError, match=r"QueryByCommittee: a committee needs at"):
            QueryByCommittee(members=members).query(pool, 1)
    with pytest.raises(ValueError, match="measure must be one of"):
        disagreement_scores(np.full((2, 4, 2), 0.5), "margin")


def test_by_name_and_as_parameters():
    strategy = get_strategy("query-by-committee", measure="kl")
    assert isinstance(strategy, QueryByCommittee)
    params = {"strategy__measure": ["kl"], "strategy__n_members": [3]}
    assert GridSearchCV(strategy, params).get_params()["estimator__measure"] == "kl"
