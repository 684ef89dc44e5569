"""GALAXY equals its definition on explicit graphs, path by path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import GALAXY


def make_pool(seed=0, n=14, m=4, n_classes=3, y_labeled=None, **params):
    rng = np.random.RandomState(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.7), size=n + m)
    if y_labeled is None:
        y_labeled = rng.randint(n_classes, size=m)
    return Pool.from_arrays(
        proba=params.pop("proba", proba[:n]),
        labeled_proba=proba[n:],
        y_labeled=y_labeled,
        classes=np.arange(n_classes),
        **{"random_state": seed, **params},
    )


def ordered(proba, k):
    """Samples by margin of class k; where k is predicted, by its probability."""

    def belief(i):
        return proba[i, k] - proba[i].max(), proba[i].max()

    return sorted(range(len(proba)), key=belief, reverse=True)


def edges_of(order, r, labels):
    """Links of the graph of order r: not between labels that differ."""
    links = {i: [] for i in order}
    for a in range(len(order)):
        for b in range(a + 1, min(a + r + 1, len(order))):
            i, j = order[a], order[b]
            if i in labels and j in labels and labels[i] != labels[j]:
                continue
            links[i].append(j)
            links[j].append(i)
    return links


def distances(links, sources):
    """Number of links from the nearest source, by breadth-first search."""
    found = dict.fromkeys(sources, 0)
    queue = list(sources)
    for i in queue:
        for j in links[i]:
            if j not in found:
                found[j] = found[i] + 1
                queue.append(j)
    return found


def allowed_picks(order, labels):
    """Middles of the shortest shortest paths at the least order that has any."""
    inside = [i for i in labels if labels[i]]
    outside = [i for i in labels if not labels[i]]
    for r in range(1, len(order)):
        links = edges_of(order, r, labels)
        to_inside, to_outside = distances(links, inside), distances(links, outside)
        lengths = [to_inside[i] for i in outside if i in to_inside]
        if not lengths:
            continue
        length = min(lengths)
        assert r == 1 or length == 2  # what the fast search relies on
        on_path = [
            i in to_inside and i in to_outside and i not in labels
            and to_inside[i] + to_outside[i] == length
            and abs(to_inside[i] - to_outside[i]) <= 1
            for i in order
        ]  # fmt: skip
        # two middles lie side by side on a path of odd length: the first of them counts
        odd = length % 2 == 1
        taken, previous = set(), False
        for i, is_middle in zip(order, on_path, strict=True):
            if is_middle and not (odd and previous):
                taken.add(i)
            previous = is_middle and not (odd and previous)
        return taken, r
    return set(), None


def check_definition(pool, n, n_classes):
    """Replay a query and check each pick against the explicit graphs."""
    picks = GALAXY().query(pool, n)
    proba = np.concatenate([pool.proba, pool.labeled_proba])
    rng = pool.random_state
    for _ in range(n_classes):
        rng.permutation(len(proba))  # order of equal samples
    turns = rng.permutation(n_classes)
    predicted = pool.proba.argmax(axis=1)
    known = {len(pool) + i: int(y) for i, y in enumerate(pool.y_labeled_codes)}
    kinds = {"n_bisections": 0, "n_near_changes": 0, "n_random": 0}
    for step, pick in enumerate(picks.tolist()):
        k = turns[step % n_classes]
        labels = {i: y == k for i, y in known.items()}
        allowed, r = allowed_picks(ordered(proba, k), labels)
        assert pick not in known
        if r is None:
            kinds["n_random"] += 1
        else:
            assert pick in allowed
            kinds["n_bisections" if r == 1 else "n_near_changes"] += 1
        known[pick] = int(predicted[pick])
    assert {name: pool.info[name] for name in kinds} == kinds
    return kinds


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_classes=st.integers(2, 4),
    m=st.integers(1, 8),
    n=st.integers(1, 14),
)
def test_picks_are_middles_of_shortest_shortest_paths(seed, n_classes, m, n):
    check_definition(make_pool(seed, m=m, n_classes=n_classes), n, n_classes)


# long runs, many changes: every kind of pick occurs
@pytest.mark.parametrize("seed", range(6))
def test_larger_pools_equal_the_definition(seed):
    kinds = check_definition(make_pool(seed, n=60, m=10, n_classes=2), 40, 2)
    assert kinds["n_bisections"] > 0
    assert kinds["n_near_changes"] > 0


def test_a_batch_bisects_towards_the_predicted_change():
    # 31 candidates between two labels; the model changes its mind between 22 and 23
    p = np.concatenate([np.linspace(0.1, 0.49, 23), np.linspace(0.51, 0.9, 8)])
    pool = Pool.from_arrays(
        proba=np.column_stack([1 - p, p]),
        labeled_proba=[[0.95, 0.05], [0.05, 0.95]],
        y_labeled=[0, 1],
        random_state=0,
    )
    picks = GALAXY().query(pool, 9).tolist()
    assert picks[:4] == [15, 23, 19, 21]
    assert picks[4] == 22
    # then the nearest to the change between 22 and 23; 21 and 19 are labelled by now
    assert picks[5] == 24
    assert set(picks[6:8]) == {20, 25}
    assert picks[8] == 26


# 12 of 300 belong to the rare class, and the model's probabilities are far off: GALAXY
# with the true labels of each round finds more of the rare class than chance does
def test_it_finds_the_rare_class():
    rng = np.random.RandomState(0)
    belief = np.sort(rng.uniform(0.0, 0.2, 300))
    rare = np.zeros(300, int)
    rare[-12:] = 1
    labeled = [0, 50, 100, 299]
    for _ in range(20):
        left = np.setdiff1d(np.arange(300), labeled)
        proba = np.column_stack([1 - belief, belief])
        pool = Pool.from_arrays(
            proba=proba[left],
            labeled_proba=proba[labeled],
            y_labeled=rare[labeled],
            random_state=0,
        )
        labeled += left[GALAXY().query(pool, 1)].tolist()
    assert rare[labeled].sum() >= 9


def test_classes_take_turns():
    proba = np.full((40, 4), 0.1)
    proba[np.arange(40), np.arange(40) % 4] = 0.7 - 0.001 * np.arange(40)
    proba /= proba.sum(axis=1, keepdims=True)
    labeled = np.full((4, 4), 0.02) + 0.92 * np.eye(4)
    pool = Pool.from_arrays(
        proba=proba, labeled_proba=labeled, y_labeled=range(4), random_state=0
    )
    GALAXY().query(pool, 12)
    assert pool.info["n_random"] == 0


@pytest.mark.parametrize("y_labeled", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_one_class_seen_begins_at_random(y_labeled):
    first = set()
    for seed in range(20):
        pool = make_pool(0, y_labeled=y_labeled, n_classes=2, random_state=seed)
        first.add(int(GALAXY().query(pool, 1)[0]))
        assert pool.info["n_random"] == 1
    assert len(first) > 5


def test_nothing_labelled_begins_at_random():
    pool = Pool.from_arrays(
        proba=np.eye(2)[[0, 1, 1, 0]],
        labeled_proba=np.empty((0, 2)),
        y_labeled=[],
        random_state=0,
    )
    assert sorted(GALAXY().query(pool, 4)) == [0, 1, 2, 3]
    assert pool.info["n_random"] >= 1


def test_one_column_of_probabilities():
    pool = Pool.from_arrays(
        proba=np.ones((5, 1)), labeled_proba=[[1.0]], y_labeled=[0], random_state=0
    )
    assert len(set(GALAXY().query(pool, 5).tolist())) == 5


def test_permuting_the_pool_permutes_the_picks():
    pool = make_pool(3, n=50, m=8)
    order = np.random.RandomState(1).permutation(50)
    other = make_pool(3, n=50, m=8, proba=pool.proba[order])
    # equal samples there are none, so draws for them make no difference
    assert_array_equal(order[GALAXY().query(other, 20)], GALAXY().query(pool, 20))


def test_the_seed_decides():
    pool = make_pool(n=50)
    first = GALAXY().query(pool, 20)
    GALAXY().query(pool, 7)
    assert_array_equal(GALAXY().query(pool, 20), first)
    other = GALAXY().query(make_pool(n=50, random_state=1), 20)
    assert other.tolist() != first.tolist()


def test_duplicates_and_the_whole_pool():
    same = np.repeat([[0.6, 0.4], [0.4, 0.6]], 10, axis=0)
    pool = Pool.from_arrays(
        proba=same, labeled_proba=same[9:11], y_labeled=[0, 1], random_state=0
    )
    assert sorted(GALAXY().query(pool, 20)) == list(range(20))
    assert sorted(GALAXY().query(make_pool(), 14)) == list(range(14))


def test_with_a_fitted_model(table):
    X, y = table
    model = LogisticRegression().fit(X[:30], y[:30])
    pool = Pool(model, X, np.arange(30), y[:30], random_state=0)
    assert len(set(GALAXY().query(pool, 25).tolist())) == 25
    assert sum(pool.info.values()) == 25


def test_what_is_missing_is_named(table):
    X, y = table
    svc = LinearSVC().fit(X[:30], y[:30])
    with pytest.raises(MissingCapabilityError, match="GALAXY needs class prob"):
        GALAXY().query(Pool(svc, X, np.arange(30), y[:30]), 1)
    pool = Pool.from_arrays(proba=np.eye(2), labeled_proba=np.eye(2))
    with pytest.raises(ValueError, match=r"2 rows of labeled_proba and 0 labels. Give"):
        GALAXY().query(pool, 1)


def test_a_model_that_diverged_is_refused(table):
    X, y = table
    model = LogisticRegression().fit(X[:30], y[:30])
    model.coef_[0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"LogisticRegression has .* NaN or infinite .*diverged"
    ):
        GALAXY().query(Pool(model, X, np.arange(30), y[:30]), 1)
