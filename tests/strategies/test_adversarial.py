"""AdversarialSampling ranks candidates by what attacks find, and writes it down."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from dalmax_sk._base import progress
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import AdversarialSampling, get_strategy
from dalmax_sk.strategies.attacks import smallest_perturbations, unit_noise

N_LABELED = 300


@pytest.fixture(scope="module")
def digits():
    """A CNN, the images and labels of 330 digits; 30 are candidates."""
    data = load_digits()
    X = np.clip(data.images * 16, 0, 255).astype(np.uint8)[:330]
    y = data.target[:330]
    clf = CNNClassifier(max_epochs=5, random_state=0, device="cpu")
    return clf.fit(X[:N_LABELED], y[:N_LABELED]), X, y


def pool_of(model, X, y, **params):
    labeled = np.arange(N_LABELED)
    return Pool(model, X, labeled, y[:N_LABELED], **{"random_state": 0, **params})


# ----------------------------------------------------------------------------- attacks


@pytest.mark.parametrize(
    ("attack", "norm"),
    [
        ("deepfool", "l2"),
        ("deepfool", "linf"),
        ("fgsm", "linf"),
        ("bim", "l2"),
        ("pgd", "l2"),
    ],
)
def test_picks_are_the_smallest_perturbations(digits, attack, norm):
    pool = pool_of(*digits)
    batch = torch.from_numpy(digits[1][N_LABELED:]).unsqueeze(1)
    seeds = pool.random_state.randint(2**31 - 1, size=30)
    noise = torch.from_numpy(unit_noise((1, 8, 8), norm, seeds))
    found = smallest_perturbations(
        digits[0].module_.eval(),
        batch,
        attack=attack,
        norm=norm,
        noise=noise if attack == "pgd" else None,
    )
    sizes = found.sizes.numpy()
    strategy = AdversarialSampling(attack, norm)
    picks, scores = strategy.query(pool, 12, return_scores=True)
    assert_allclose(sizes[picks], np.sort(sizes)[:12], rtol=1e-4)
    assert_allclose(-scores, sizes[picks], rtol=1e-4)
    assert pool.info == {"n_attacked": 30, "n_unflipped": 0}


def test_deepfool_agrees_with_margins_by_and_large(digits):
    pool = pool_of(*digits)
    two = np.sort(pool.proba, axis=1)[:, -2:]
    least_sure = np.argsort(two[:, 1] - two[:, 0])[:8]
    picks = get_strategy("deepfool").query(pool, 8)
    assert len(set(picks) & set(least_sure)) >= 4


# five steps of DeepFool flip some: the others follow by margin
def test_what_did_not_flip_comes_last_by_margin(digits):
    pool = pool_of(*digits)
    strategy = AdversarialSampling(max_iter=5)
    picks, scores = strategy.query(pool, 30, return_scores=True)
    unflipped = pool.info["n_unflipped"]
    assert 0 < unflipped < 30
    assert (np.diff(scores) <= 0).all()
    assert np.isfinite(scores).all()
    two = np.sort(pool.proba[picks], axis=1)[:, -2:]
    margins = (two[:, 1] - two[:, 0])[-unflipped:]
    assert (np.diff(margins) >= 0).all()
    assert (scores[-unflipped:] < scores[: 30 - unflipped].min()).all()


# 10 candidates of the smallest margins are attacked, the other 20 follow by margin
def test_only_candidates_near_the_boundary_are_attacked(digits):
    pool = pool_of(*digits)
    two = np.sort(pool.proba, axis=1)[:, -2:]
    by_margin = np.argsort(two[:, 1] - two[:, 0])
    strategy = AdversarialSampling(n_candidates=10)
    picks, scores = strategy.query(pool, 30, return_scores=True)
    assert pool.info["n_attacked"] == 10
    assert set(picks[:10]) == set(by_margin[:10])
    assert_array_equal(picks[10:], by_margin[10:])
    # not attacked is behind attacked in vain, whatever the margins
    in_vain = AdversarialSampling(n_candidates=10, max_iter=1)
    behind = in_vain.query(pool, 30, return_scores=True)[1]
    assert pool.info["n_unflipped"] == 10
    assert behind[9] - behind[10] >= 1
    whole, all_scores = AdversarialSampling().query(pool, 30, return_scores=True)
    places = [whole.tolist().index(i) for i in picks[:10]]
    assert places == sorted(places)
    assert_allclose(scores[:10], all_scores[places], rtol=1e-4)


@pytest.mark.parametrize("attack", ["deepfool", "pgd"])
def test_memory_does_not_change_the_picks(digits, attack):
    strategy = AdversarialSampling(attack)
    pools = pool_of(*digits), pool_of(*digits, max_memory=1)
    whole, one_by_one = (
        strategy.query(pool.subset(range(5)), 4, return_scores=True) for pool in pools
    )
    assert_array_equal(one_by_one[0], whole[0])
    assert_allclose(one_by_one[1], whole[1], rtol=2e-2)


def test_permuting_the_pool_permutes_the_picks(digits):
    clf, X, y = digits
    order = np.r_[:N_LABELED, N_LABELED + np.random.RandomState(0).permutation(30)]
    picks = AdversarialSampling().query(pool_of(clf, X, y), 10) + N_LABELED
    other = AdversarialSampling().query(pool_of(clf, X[order], y[order]), 10)
    assert_array_equal(order[other + N_LABELED], picks)


def test_the_seed_decides_where_pgd_starts(digits):
    pool = pool_of(*digits).subset(range(8))
    strategy = AdversarialSampling("pgd")
    _, scores = strategy.query(pool, 8, return_scores=True)
    AdversarialSampling("fgsm").query(pool, 3)
    assert_array_equal(strategy.query(pool, 8, return_scores=True)[1], scores)
    pool = pool_of(*digits, random_state=1).subset(range(8))
    assert (strategy.query(pool, 8, return_scores=True)[1] != scores).any()


@pytest.mark.parametrize("batch", ["softmax", "softrank"])
def test_stochastic_batches(digits, batch):
    strategy = AdversarialSampling("fgsm", batch=batch)
    assert len(set(strategy.query(pool_of(*digits), 10).tolist())) == 10


def test_duplicates_are_picked_once_each(digits):
    clf, X, y = digits
    X = np.concatenate([X[:N_LABELED], np.repeat(X[N_LABELED : N_LABELED + 3], 5, 0)])
    picks = AdversarialSampling().query(pool_of(clf, X, y), 15)
    assert sorted(picks) == list(range(15))


def test_nets_for_tables_and_nets_in_pipelines(table):
    X, y = table
    net = CNNClassifier(max_epochs=3, random_state=0, device="cpu")
    model = make_pipeline(StandardScaler(), net).fit(X[:100], y[:100])
    pool = Pool(model, X, np.arange(100), y[:100], random_state=0)
    picks, scores = AdversarialSampling().query(pool, 20, return_scores=True)
    scaled = torch.from_numpy(model[0].transform(X[100:])).float()
    sizes = smallest_perturbations(model[-1].module_, scaled).sizes.numpy()
    assert_array_equal(picks, np.argsort(sizes)[:20])
    assert_allclose(-scores, np.sort(sizes)[:20], rtol=1e-3)


def test_it_tells_how_far_it_is(digits):
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((done, total))):
        AdversarialSampling("fgsm").query(pool_of(*digits, max_memory=1), 2)
    assert seen[-1] == (30, 30)
    assert len(seen) >= 30


# ------------------------------------------------------------------ linear classifiers


def brute_force_linear(X, weight, bias, norm):
    sizes = []
    for x in X:
        f = weight @ x + bias
        y = int(f.argmax())
        found = []
        for k in range(len(f)):
            if k != y:
                w = weight[k] - weight[y]
                found.append(
                    (f[y] - f[k]) / np.linalg.norm(w, 2 if norm == "l2" else 1)
                )
        sizes.append(min(found))
    return np.array(sizes)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(
    "model", [LogisticRegression(), LinearSVC(), RidgeClassifier()]
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_models_are_ranked_by_exact_distance(table, norm, model, n_classes):
    X, y = table
    y = y % n_classes
    model = make_pipeline(StandardScaler(), model).fit(X[:50], y[:50])
    pool = Pool(model, X, np.arange(50), y[:50], random_state=0)
    inputs = model[0].transform(X[50:])
    weight, bias = model[-1].coef_, model[-1].intercept_
    if n_classes == 2:
        weight, bias = np.vstack([0 * weight, weight]), np.r_[0.0, bias]
    expected = brute_force_linear(inputs, weight, bias, norm)
    strategy = AdversarialSampling("fgsm", norm, n_candidates=3)
    picks, scores = strategy.query(pool, 25, return_scores=True)
    assert_allclose(-scores, np.sort(expected)[:25], rtol=1e-9)
    assert_allclose(expected[picks], -scores, rtol=1e-9)


def test_a_constant_linear_model_ranks_by_gap():
    pool = Pool.from_arrays(
        embeddings=np.arange(4.0)[:, None],
        head=([[1.0], [1.0]], [0.5, 0.0]),
        random_state=0,
    )
    _, scores = AdversarialSampling().query(pool, 4, return_scores=True)
    assert np.isfinite(scores).all()
    assert pool.info["n_unflipped"] == 4


def test_one_class_seen_still_ranks():
    pool = Pool.from_arrays(
        embeddings=np.eye(3), head=(np.ones((1, 3)), [0.0]), random_state=0
    )
    assert sorted(AdversarialSampling().query(pool, 3)) == [0, 1, 2]


# ------------------------------------------------------------------------------ errors


def test_what_is_missing_is_named(table):
    X, y = table
    forest = RandomForestClassifier(5).fit(X[:50], y[:50])
    with pytest.raises(
        MissingCapabilityError,
        match=r"AdversarialSampling needs a linear decision .* What works: CNNClass",
    ):
        AdversarialSampling().query(Pool(forest, X, np.arange(50), y[:50]), 1)
    with pytest.raises(MissingCapabilityError, match="AdversarialSampling needs"):
        AdversarialSampling().query(Pool(None, X, [], []), 1)


@pytest.mark.parametrize(
    "params",
    [
        {"attack": "cw"},
        {"norm": "l1"},
        {"max_iter": 0},
        {"max_classes": 1},
        {"n_candidates": 0},
        {"tolerance": 0.0},
        {"batch": "power"},
    ],
)
def test_bad_parameters_are_refused(params):
    pool = Pool.from_arrays(embeddings=np.eye(2), head=(np.eye(2), np.zeros(2)))
    name = next(iter(params))
    with pytest.raises(ValueError, match=f"'{name}' parameter of AdversarialSampling"):
        AdversarialSampling(**params).query(pool, 1)
