"""Pool: each quantity once, on demand, and clear words for what cannot be had."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from dalmax_sk._base.seeds import set_missing_seeds
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool, align_columns
from dalmax_sk.strategies import CoreSet


class TwoInOne(ClassifierMixin, BaseEstimator):
    """Like CNNClassifier: counts its passes over the data."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.passes_ = []
        return self

    def predict_proba_and_embeddings(self, X):
        self.passes_.append(("both", len(X)))
        return self._proba(X), 2 * X

    def predict_proba(self, X):
        self.passes_.append(("proba", len(X)))
        return self._proba(X)

    def transform(self, X):
        self.passes_.append(("embeddings", len(X)))
        return 2 * X

    def _proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def make_pool(estimator, X, y, **params):
    return Pool(estimator, X, np.arange(30), y[:30], random_state=0, **params)


def test_candidates_are_the_rows_without_a_label(table):
    X, y = table
    pool = Pool(LogisticRegression().fit(X, y), X, [3, 1], y[[3, 1]])
    assert len(pool) == 198
    assert set(pool.indices) == set(range(200)) - {1, 3}
    np.testing.assert_array_equal(pool.labeled_embeddings, X[[3, 1]])


def test_one_pass_gives_probabilities_and_embeddings(table):
    X, y = table
    model = TwoInOne().fit(X, y)
    pool = make_pool(model, X, y)
    pool.prepare(["proba", "embeddings"])
    for _ in range(2):
        assert pool.proba.shape == (170, 3)
        np.testing.assert_array_equal(pool.embeddings, 2 * X[30:])
    assert model.passes_ == [("both", 170)]
    np.testing.assert_array_equal(pool.labeled_embeddings, 2 * X[:30])
    assert model.passes_ == [("both", 170), ("embeddings", 30)]


def test_only_what_is_asked_for_is_computed(table):
    X, y = table
    model = TwoInOne().fit(X, y)
    assert make_pool(model, X, y).proba.shape == (170, 3)
    assert model.passes_ == [("proba", 170)]


def test_embeddings_of_a_pipeline_are_the_inputs_of_its_classifier(table):
    X, y = table
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    pool = make_pool(model, X, y)
    np.testing.assert_allclose(pool.embeddings, model[:-1].transform(X[30:]))
    np.testing.assert_allclose(pool.proba, model.predict_proba(X[30:]))


def test_images_for_a_plain_classifier_are_flattened(table):
    X, y = table
    images = X.reshape(200, 2, 3)
    flatten = FunctionTransformer(lambda A: A.reshape(len(A), -1))
    model = make_pipeline(flatten, LogisticRegression()).fit(images, y)
    np.testing.assert_array_equal(make_pool(model, images, y).embeddings, X[30:])
    # and before there is a model, pixels stand for embeddings
    cold = Pool(None, images, [], [], classes=[0, 1, 2])
    np.testing.assert_array_equal(cold.embeddings, X)
    assert cold.labeled_embeddings.shape == (0, 6)


def test_columns_of_unseen_classes_are_zero(table):
    X, y = table
    rows = np.flatnonzero(y != 1)
    model = LogisticRegression().fit(X[rows], y[rows])
    pool = Pool(model, X, rows, y[rows], classes=[0, 1, 2])
    assert pool.proba.shape == (len(X) - len(rows), 3)
    assert (pool.proba[:, 1] == 0).all()
    np.testing.assert_allclose(
        pool.proba[:, [0, 2]], model.predict_proba(X[pool.indices])
    )


def test_align_columns():
    values = np.array([[0.25, 0.75]])
    aligned = align_columns(values, np.array(["a", "c"]), np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(aligned, [[0.25, 0.0, 0.75]])


def test_the_random_state_is_the_same_at_every_access():
    pool = Pool.from_arrays(embeddings=np.zeros((5, 1)), random_state=3)
    assert pool.random_state.randint(1000) == pool.random_state.randint(1000)


def test_sparse_inputs_within_and_beyond_the_memory(table):
    X, y = table
    model = LogisticRegression().fit(csr_matrix(X), y)
    pool = make_pool(model, csr_matrix(X), y)
    np.testing.assert_array_equal(pool.embeddings, X[30:])
    pool = make_pool(model, csr_matrix(X), y, max_memory=1000)
    with pytest.raises(
        MissingCapabilityError, match=r"8,160 bytes, max_memory is 1,000"
    ):
        pool.prepare(["embeddings"], owner="CoreSet")


def test_numbers_in_an_array_of_objects_are_embeddings(table):
    X, y = table
    model = LogisticRegression().fit(X, y)
    pool = make_pool(model, X.astype(object), y)
    np.testing.assert_array_equal(pool.embeddings, X[30:])
    words = np.full(X.shape, "word", dtype=object)
    with pytest.raises(MissingCapabilityError, match="on data of type object cannot"):
        CoreSet().query(make_pool(model, words, y), 1)


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (
            "proba",
            "Me needs class probabilities, and LinearSVC cannot give them. .*Cal",
        ),
        (
            "posterior_proba",
            r"Me needs class probabilities, and LinearSVC cannot .*Cal",
        ),
    ],
)
def test_missing_capabilities_name_everything(table, need, message):
    X, y = table
    pool = make_pool(LinearSVC().fit(X, y), X, y)
    with pytest.raises(MissingCapabilityError, match=message):
        pool.prepare([need], owner="Me")


def test_file_paths_without_a_net_have_no_embeddings():
    pool = Pool(None, np.array(["a.png", "b.png"], dtype=object), [], [], classes=[0])
    with pytest.raises(MissingCapabilityError, match="no estimator on texts or file"):
        CoreSet().query(pool, 1)


def test_from_arrays_lacks_what_was_not_given():
    pool = Pool.from_arrays(proba=[[0.5, 0.5]])
    with pytest.raises(MissingCapabilityError, match="these arrays cannot"):
        CoreSet().query(pool, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "at least one of proba"),
        ({"proba": [0.5, 0.5]}, "proba has 1 axes, expected 2"),
        ({"proba": [[0.5, 0.6]]}, "must sum to 1 over the classes; one sums to 1.1"),
        ({"proba": [[1.5, -0.5]]}, "negative values"),
        ({"embeddings": [[np.nan]]}, "embeddings contains NaN"),
        (
            {"proba": [[1.0]], "embeddings": [[1.0], [2.0]]},
            "Numbers of candidates differ",
        ),
        (
            {"embeddings": [[1.0]], "labeled_embeddings": [[1.0, 2.0]]},
            "labeled_embeddings have 2 columns, embeddings have 1",
        ),
        ({"proba": [[0.5, 0.5]], "classes": [0, 1, 2]}, "classes has 3 entries"),
        ({"posterior_proba": [[[0.5, 0.5]]], "proba": [[1.0]]}, "columns"),
    ],
)
def test_from_arrays_refuses_what_does_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        Pool.from_arrays(**arrays)


# ---------------------------------------------------------------- what is inside models


def fitted_net(X, y):
    return CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, y)


@pytest.mark.parametrize("make", ["LogisticRegression", "binary", "pipeline", "net"])
def test_the_head_maps_embeddings_to_probabilities(table, make):
    X, y = table
    if make == "binary":
        y = (y > 0).astype(int)
    if make == "pipeline":
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    elif make == "net":
        model = fitted_net(X, y)
    else:
        model = LogisticRegression().fit(X, y)
    pool = make_pool(model, X, y)
    head = pool.head
    assert head.weight.shape == (len(pool.classes), pool.embeddings.shape[1])
    proba = head.proba(pool.embeddings)
    np.testing.assert_allclose(proba, model.predict_proba(X[30:]), atol=1e-5)
    np.testing.assert_allclose(proba, softmax(head.logits(pool.embeddings), axis=1))


def test_the_head_of_some_classes_says_which(table):
    X, y = table
    known = y != 1
    model = LogisticRegression().fit(X[known], y[known])
    pool = Pool(model, X, [0], y[:1], classes=[0, 1, 2])
    assert pool.head.columns.tolist() == [0, 2]
    np.testing.assert_allclose(pool.head.proba(pool.embeddings), pool.proba, atol=1e-12)
    assert (pool.proba[:, 1] == 0).all()


@pytest.mark.parametrize(
    "model",
    [
        SGDClassifier(loss="log_loss", random_state=0),  # one-vs-rest, normalised
        SVC(kernel="linear"),  # one-vs-one: three rows as well
        TwoInOne(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_only_looks_like_a_head_is_refused(table, model):
    X, y = table
    pool = make_pool(model.fit(X, y), X, y)
    with pytest.raises(MissingCapabilityError, match=type(model).__name__):
        pool.prepare(["head"], owner="Me")


@pytest.mark.parametrize("model", [LinearSVC(), SGDClassifier(random_state=0)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_decisions_need_no_probabilities(table, model, n_classes):
    X, y = table
    y = np.minimum(y, n_classes - 1)
    pool = make_pool(model.fit(X, y), X, y)
    best = pool.decision.logits(X[30:]).argmax(axis=1)
    np.testing.assert_array_equal(pool.classes[best], model.predict(X[30:]))


def test_pairs_of_classes_are_no_linear_decision(table):
    X, y = table
    pool = make_pool(SVC(kernel="linear").fit(X, y), X, y)
    with pytest.raises(MissingCapabilityError, match=r"linear decision .* SVC cannot"):
        pool.prepare(["decision"], owner="Me")


def test_the_network_sees_the_rows_as_the_classifier_does(table):
    # behind a scaler, for candidates and labelled samples alike
    X, y = table
    net = CNNClassifier(max_epochs=1, random_state=0, device="cpu")
    model = make_pipeline(StandardScaler(), net)
    pool = make_pool(model.fit(X, y), X, y)
    network = pool.network
    for labeled, expected in ((False, X[30:]), (True, X[:30])):
        logits = torch.full((len(expected), 3), torch.nan)
        with torch.no_grad():
            for start, stop, batch in network.batches(labeled=labeled, batch_size=50):
                logits[start:stop] = network.module(batch)
        np.testing.assert_allclose(
            logits.softmax(1).numpy(), model.predict_proba(expected), atol=1e-5
        )


def test_only_nets_are_networks(table):
    X, y = table
    pool = make_pool(LogisticRegression().fit(X, y), X, y)
    with pytest.raises(MissingCapabilityError, match="neural network to differentiate"):
        pool.prepare(["network"], owner="Me")


def test_labelled_samples_have_probabilities_and_codes(table):
    X, y = table
    names = np.array(["ant", "bee", "cat"])
    model = LogisticRegression().fit(X, names[y])
    pool = Pool(model, X, np.arange(30), names[y[:30]])
    np.testing.assert_array_equal(pool.labeled_proba, model.predict_proba(X[:30]))
    np.testing.assert_array_equal(pool.y_labeled_codes, y[:30])
    assert pool.n_labeled == 30


def test_labelled_quantities_cost_one_pass(table):
    X, y = table
    model = TwoInOne().fit(X, y)
    pool = make_pool(model, X, y)
    pool.prepare(["labeled_proba", "labeled_embeddings"])
    assert model.passes_ == [("both", 30)]


def test_a_subset_is_the_pool_of_some_candidates(table):
    # slices what is known, computes the rest for itself, draws other numbers
    X, y = table
    model = TwoInOne().fit(X, y)
    pool = make_pool(model, X, y)
    pool.prepare(["embeddings"])
    part = pool.subset([5, 2, 9])
    np.testing.assert_array_equal(part.indices, [35, 32, 39])
    np.testing.assert_array_equal(part.embeddings, 2 * X[[35, 32, 39]])
    assert part.proba.shape == (3, 3)
    assert model.passes_ == [("embeddings", 170), ("proba", 3)]
    np.testing.assert_array_equal(part.labeled_embeddings, pool.labeled_embeddings)
    assert part.random_state.randint(10**6) != pool.random_state.randint(10**6)
    again = pool.subset([5, 2, 9]).random_state.randint(10**6)
    assert part.random_state.randint(10**6) == again


@pytest.mark.parametrize("posterior", ["laplace", "ensemble"])
def test_slicing_posterior_samples_is_computing_them(table, posterior):
    # whether somebody asked before must not matter
    X, y = table
    asked, fresh = (make_pool(LogisticRegression().fit(X, y), X, y) for _ in range(2))
    asked.posterior_proba(posterior, 4)
    np.testing.assert_allclose(
        asked.subset([7, 1]).posterior_proba(posterior, 4),
        fresh.subset([7, 1]).posterior_proba(posterior, 4),
        rtol=1e-10,
    )


def test_subsets_of_arrays_slice_samples_too():
    samples = np.random.RandomState(0).dirichlet(np.ones(3), size=(4, 10))
    pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    np.testing.assert_array_equal(pool.posterior_proba("dropout", 7), samples)
    part = pool.subset([7, 1])
    np.testing.assert_array_equal(part.posterior_proba(), samples[:, [7, 1]])
    assert len(part) == 2


def test_samples_drawn_before_do_not_stand_for_samples_given():
    rng = np.random.RandomState(0)

    def make():
        return Pool.from_arrays(
            embeddings=embeddings,
            labeled_embeddings=embeddings[:5],
            head=head,
            random_state=0,
        )

    embeddings, head = rng.randn(12, 4), (rng.randn(3, 4), rng.randn(3))
    asked = make()
    assert asked.posterior_proba().shape == (20, 12, 3)
    for pool in (asked, asked.subset([3, 1])):
        assert pool.posterior_proba("laplace", 7).shape == (7, len(pool), 3)
    np.testing.assert_array_equal(
        asked.posterior_proba("laplace", 7), make().posterior_proba("laplace", 7)
    )


def test_a_head_given_as_arrays_gives_the_rest():
    rng = np.random.RandomState(0)
    weight, bias, embeddings = rng.randn(3, 4), rng.randn(3), rng.randn(6, 4)
    pool = Pool.from_arrays(
        embeddings=embeddings, head=(weight, bias), labeled_embeddings=embeddings[:2]
    )
    np.testing.assert_allclose(
        pool.proba, softmax(embeddings @ weight.T + bias, axis=1)
    )
    np.testing.assert_array_equal(pool.labeled_proba, pool.proba[:2])
    assert pool.decision is pool.head


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"embeddings": [[1.0]], "head": ([[1.0, 2.0]] * 2, [0.0, 0.0])},
            r"head maps 2 features, embeddings have the shape \(1, 1\)",
        ),
        ({"embeddings": [[1.0]], "head": ([[1.0]] * 2, [0.0])}, "2 rows and 1 biases"),
        (
            {
                "embeddings": [[1.0]],
                "head": ([[1.0], [5.0]], [0.0, 0.0]),
                "proba": [[0.5, 0.5]],
            },
            "proba are not the soft-max of head",
        ),
        (
            {"embeddings": [[1.0]], "labeled_embeddings": [[1.0]], "y_labeled": [0, 1]},
            "Numbers of labelled samples differ",
        ),
        (
            {"proba": [[0.5, 0.5]], "y_labeled": [7]},
            r"y_labeled holds \[7\], classes are \[0, 1\]",
        ),
    ],
)
def test_from_arrays_compares_what_belongs_together(arrays, message):
    with pytest.raises(ValueError, match=message):
        Pool.from_arrays(**arrays)


def test_predictions_of_candidates_and_of_labelled_samples(table):
    X, y = table
    names = np.array(["ant", "bee", "cat"])
    model = LogisticRegression().fit(X, names[y])
    pool = Pool(model, X, np.arange(30), names[y[:30]])
    np.testing.assert_array_equal(pool.predict(), model.predict(X[30:]))
    np.testing.assert_array_equal(pool.predict([7, 2]), model.predict(X[[37, 32]]))
    labeled = pool.predict([7, 2], labeled=True)
    np.testing.assert_array_equal(labeled, model.predict(X[[7, 2]]))
    part = pool.subset([9, 4])
    np.testing.assert_array_equal(part.predict(), model.predict(X[[39, 34]]))
    with pytest.raises(MissingCapabilityError, match="Me needs the predictions"):
        Pool(None, X, [], [], classes=names).predict(owner="Me")


def test_held_out_probabilities_are_those_of_a_model_without_them(table):
    X, y = table
    forest = RandomForestClassifier(5).fit(X[:30], y[:30])
    pool = Pool(forest, X, np.arange(30), y[:30], classes=[0, 1, 2, 3])
    held = np.array([3, 11, 20])
    left = np.setdiff1d(np.arange(30), held)
    expected = RandomForestClassifier(5, random_state=9).fit(X[left], y[left])
    set_missing_seeds(expected.set_params(random_state=None), 9)
    expected.fit(X[left], y[left])
    proba = pool.held_out_proba(held, 9)
    np.testing.assert_array_equal(proba[:, :3], expected.predict_proba(X[held]))
    assert (proba[:, 3] == 0).all()
    assert forest.random_state is None


def test_once_calls_once_and_a_subset_slices_what_belongs_to_candidates():
    pool = Pool.from_arrays(embeddings=np.arange(5.0)[:, None])
    calls = []

    def make(value):
        calls.append(value)
        return value

    whole = np.arange(10).reshape(2, 5)
    for _ in range(2):
        assert pool.once("model", lambda: make("fitted")) == "fitted"
        assert pool.once(("votes", 2), lambda: make(whole), axis=1) is whole
    assert len(calls) == 2
    part = pool.subset([4, 1]).subset([1])
    np.testing.assert_array_equal(part.once(("votes", 2), pytest.fail), [[1], [6]])
    assert part.once("model", pytest.fail) == "fitted"
    # others are made for the subset, and the pool knows nothing of them
    part.once("own", lambda: make(np.zeros(1)), axis=0)
    assert pool.once("own", lambda: make("other")) == "other"


def test_arrays_have_no_rows_to_fit_models_on():
    with pytest.raises(MissingCapabilityError, match="the samples themselves"):
        Pool.from_arrays(proba=[[0.5, 0.5]]).predict(owner="Me")


@pytest.mark.parametrize("what", ["probabilities", "embeddings"])
def test_a_model_that_diverged_is_named(table, what):
    X, y = table
    model = LogisticRegression().fit(X, y)
    if what == "probabilities":
        model.coef_[:] = np.nan
        need = "proba"
    else:
        X = X.copy()
        X[35:38, 1] = np.inf
        need = "embeddings"
    match = f"LogisticRegression has {what} that are NaN or infinite for (170|3) of 170"
    with pytest.raises(ValueError, match=match):
        make_pool(model, X, y).prepare([need])


def test_large_but_finite_embeddings_are_no_divergence(table):
    X, y = table
    pool = make_pool(LogisticRegression().fit(X, y), X, y)
    huge = np.full((200, 2), 1.7e308)  # their sum overflows
    pool._X = huge
    assert pool.embeddings.shape == (170, 2)


def test_from_arrays_takes_tensors():
    proba = torch.full((4, 2), 0.5, requires_grad=True)
    pool = Pool.from_arrays(
        proba=proba,
        embeddings=torch.rand(4, 3).bfloat16(),
        labeled_embeddings=torch.rand(1, 3, requires_grad=True),
        y_labeled=torch.tensor([1]),
    )
    np.testing.assert_array_equal(pool.proba, np.full((4, 2), 0.5))
    assert pool.embeddings.dtype == np.float32
    assert pool.y_labeled_codes.tolist() == [1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_memory": "1GB"}, "max_memory must be a positive integer"),
        ({"max_memory": 0}, "max_memory must be a positive integer"),
        ({"proba": np.full((4, 2), 0.5 + 1j)}, "proba must hold real numbers, .*comp"),
        ({"proba": csr_matrix(np.full((4, 2), 0.5))}, "proba is a sparse matrix"),
        ({"proba": [["a", "b"]]}, "proba must hold real numbers, got .*<U1"),
        ({"classes": [0, 0]}, "classes must be a 1-D array of distinct labels"),
        ({"classes": [[0, 1]]}, "classes must be a 1-D array of distinct labels"),
    ],
)
def test_from_arrays_names_what_is_no_array(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Pool.from_arrays(**{"proba": np.full((4, 2), 0.5)} | given)
