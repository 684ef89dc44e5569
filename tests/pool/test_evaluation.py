"""Pools filled block by block, in memory and on the disk: the same quantities."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    Normalizer,
    OneHotEncoder,
    StandardScaler,
)

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import SpillError, is_mapped
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.pool.evaluation import embedding_fingerprint, rows_of
from dalmax_sk.strategies import BADGE, UncertaintySampling

LABELED = 30


@pytest.fixture
def small_blocks(monkeypatch):
    """Hand an estimator 16 rows at a time."""
    monkeypatch.setattr(limits, "net_bytes", 1)
    monkeypatch.setattr(limits, "predict_bytes", 1)
    monkeypatch.setattr(limits, "round_rows", 16)
    monkeypatch.setattr(limits, "object_rows", 16)


class Counting(ClassifierMixin, BaseEstimator):
    """Like CNNClassifier, gives its results in batches; notes what it is handed."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile(np.arange(1, 4) / 6, (len(X), 1))

    def iter_predictions(self, X, embeddings=True):
        self.calls_ = [*getattr(self, "calls_", []), (len(X), embeddings)]
        for start in range(0, len(X), 7):
            rows = X[start : start + 7]
            stop = start + len(rows)
            found = 2 * rows if embeddings else None
            yield start, stop, self.predict_proba(rows), found


def make_pool(estimator, X, y, **params):
    return Pool(estimator, X, np.arange(LABELED), y[:LABELED], random_state=0, **params)


def fitted(estimator, X, y):
    rows = X.iloc[:LABELED] if hasattr(X, "iloc") else X[:LABELED]
    return estimator.fit(rows, y[:LABELED])


ESTIMATORS = {
    "linear": LogisticRegression(),
    "steps": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(5, random_state=0),
    "net": CNNClassifier(max_epochs=1, random_state=0, device="cpu"),
    "steps, net": make_pipeline(
        StandardScaler(), CNNClassifier(max_epochs=1, random_state=0, device="cpu")
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("form", ["array", "file", "frame"])
def test_blocks_on_the_disk_hold_what_one_pass_gives(
    table, name, form, small_blocks, tmp_path
):
    X, y = table
    if form == "file":
        np.save(tmp_path / "x.npy", X)
        X = np.load(tmp_path / "x.npy", mmap_mode="r")
    if form == "frame":
        if "net" in name and "steps" not in name:
            pytest.skip("a net takes arrays")
        X = pd.DataFrame(X, columns=list("abcdef"))
    model = fitted(ESTIMATORS[name], X, y)
    pool = make_pool(model, X, y, max_memory=100)
    pool.prepare(["proba", "embeddings", "labeled_proba", "labeled_embeddings"])
    left = X.iloc[LABELED:] if form == "frame" else X[LABELED:]
    np.testing.assert_allclose(pool.proba, model.predict_proba(left), atol=1e-7)
    inputs = model[:-1].transform(left) if "steps" in name else left
    if "net" in name:
        final = model[-1] if "steps" in name else model
        inputs = final.transform(inputs)
    np.testing.assert_allclose(pool.embeddings, inputs, atol=1e-6)
    assert is_mapped(pool.proba)
    assert is_mapped(pool.embeddings)
    assert pool.embeddings.dtype == np.asarray(inputs).dtype
    assert pool.proba.dtype == np.float64


def test_what_fits_stays_in_memory(table, small_blocks):
    X, y = table
    pool = make_pool(fitted(LogisticRegression(), X, y), X, y)
    pool.prepare(["proba", "embeddings"])
    assert not is_mapped(pool.proba)
    assert not is_mapped(pool.embeddings)
    assert_array_equal(pool.embeddings, X[LABELED:])


def test_a_net_is_asked_once_and_gives_batches(table):
    X, y = table
    model = fitted(Counting(), X, y)
    pool = make_pool(model, X, y, max_memory=100)
    pool.prepare(["proba", "embeddings"])
    assert model.calls_ == [(170, True)]
    assert_array_equal(pool.embeddings, 2 * X[LABELED:])
    assert_array_equal(pool.proba, model.predict_proba(X[LABELED:]))
    assert make_pool(model, X, y).proba.shape == (170, 3)
    assert model.calls_ == [(170, True), (170, False)]


def test_blocks_are_of_one_size(table, monkeypatch):
    # a last block of a few rows might be computed by another kernel, to other bits
    X, y = table
    sizes = []

    class Noting(LogisticRegression):
        def predict_proba(self, X):
            sizes.append(len(X))
            return super().predict_proba(X)

    monkeypatch.setattr(limits, "predict_bytes", 90 * X.itemsize * X.shape[1])
    monkeypatch.setattr(limits, "round_rows", 8)
    pool = make_pool(fitted(Noting(), X, y), X, y)
    assert pool.proba.shape == (170, 3)
    assert sizes == [88, 82]


def test_texts_go_through_the_steps_in_blocks(small_blocks):
    X = np.array(["red", "blue", "green", "blue"] * 20, dtype=object)
    y = np.arange(80) % 2
    encode = FunctionTransformer(lambda X: np.asarray(X).reshape(-1, 1))
    model = make_pipeline(encode, OneHotEncoder(), LogisticRegression())
    pool = make_pool(fitted(model, X, y), X, y, max_memory=2000)
    assert_array_equal(pool.proba, model.predict_proba(X[LABELED:]))
    assert_array_equal(pool.embeddings, model[:-1].transform(X[LABELED:]).toarray())
    with pytest.raises(MissingCapabilityError, match=r"shape \(50, 3\) dense takes"):
        _ = make_pool(model, X, y, max_memory=1000).embeddings


def test_terms_of_texts_are_not_made_dense(table):
    # whatever the memory: distances between thousands of terms take minutes
    X, y = table
    wide = csr_matrix(np.pad(X, [(0, 0), (0, 1000)]))
    pool = make_pool(fitted(LogisticRegression(), wide, y), wide, y)
    assert pool.proba.shape == (170, 3)
    with pytest.raises(MissingCapabilityError, match="TruncatedSVD before the class"):
        pool.prepare(["embeddings"], owner="CoreSet")


def test_sparse_inputs_come_in_one_piece(table, small_blocks):
    X, y = table
    model = fitted(LogisticRegression(), csr_matrix(X), y)
    pool = make_pool(model, csr_matrix(X), y)
    assert_array_equal(pool.proba, model.predict_proba(csr_matrix(X[LABELED:])))
    assert_array_equal(pool.embeddings, X[LABELED:])


@pytest.mark.parametrize("what", ["proba", "embeddings"])
def test_what_diverged_is_counted_over_all_blocks(table, what, small_blocks):
    X, y = table

    class Diverged(Counting):
        def iter_predictions(self, X, embeddings=True):
            for start, stop, proba, found in super().iter_predictions(X, embeddings):
                (proba if what == "proba" else found)[0, 0] = np.nan
                yield start, stop, proba, found

    # one in each batch of 7: three in a block of 16, two among the last ten rows
    with pytest.raises(ValueError, match="NaN or infinite for 32 of 170 samples"):
        make_pool(fitted(Diverged(), X, y), X, y).prepare(["proba", "embeddings"])


def test_candidates_beyond_the_memory_are_on_the_disk(table, tmp_path):
    X, _ = table
    rows = np.arange(LABELED, len(X))
    assert not is_mapped(rows_of(X, rows, 2**30, "the rows"))
    few = rows_of(X, rows, 100, "the rows")
    assert is_mapped(few)
    assert_array_equal(few, X[LABELED:])
    # a run of rows of a file is a part of that file
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    few = rows_of(mapped, rows, 100, "the rows")
    assert np.shares_memory(few, mapped)
    assert_array_equal(few, X[LABELED:])


def test_a_subset_of_a_pool_on_the_disk(table, small_blocks):
    X, y = table
    pool = make_pool(fitted(LogisticRegression(), X, y), X, y, max_memory=100)
    pool.prepare(["proba", "embeddings"])
    positions = np.random.RandomState(0).permutation(170)[:60]
    part = pool.subset(positions)
    assert is_mapped(part.embeddings)
    assert_array_equal(part.embeddings, pool.embeddings[positions])
    assert_array_equal(part.proba, pool.proba[positions])
    assert not is_mapped(pool.subset([3]).embeddings)


def test_arrays_from_files_are_checked_and_not_copied(table, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "block_bytes", 400)
    X, _ = table
    proba = np.random.RandomState(0).dirichlet(np.ones(3), size=200)
    samples = np.stack([proba, proba[::-1]])
    arrays = {"embeddings": X, "proba": proba, "posterior_proba": samples}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)

    def load():
        return {
            name: np.load(tmp_path / f"{name}.npy", mmap_mode="r+") for name in arrays
        }

    pool = Pool.from_arrays(**load(), max_memory=100)
    for name, array in arrays.items():
        found = getattr(pool, name)
        found = found() if callable(found) else found
        assert is_mapped(found)
        assert_array_equal(found, array)
    part = pool.subset([5, 2, 190])
    assert_array_equal(part.posterior_proba(), samples[:, [5, 2, 190]])
    head = np.ones((3, 6)), np.zeros(3)
    given = Pool.from_arrays(embeddings=load()["embeddings"], head=head, max_memory=99)
    assert is_mapped(given.proba)
    np.testing.assert_allclose(given.proba, 1 / 3)
    half = X.astype(np.float16)
    np.save(tmp_path / "half.npy", half)
    half_pool = Pool.from_arrays(
        embeddings=np.load(tmp_path / "half.npy", mmap_mode="r"), max_memory=100
    )
    assert is_mapped(half_pool.embeddings)
    assert_array_equal(half_pool.embeddings, half.astype(np.float64))

    load()["posterior_proba"][1, 7] = [0.5, 0.6, 0.5]
    with pytest.raises(
        ValueError, match=r"posterior_proba must sum to 1 .* sums to 1\.6"
    ):
        Pool.from_arrays(**load())
    load()["posterior_proba"][1, 7] = [-0.5, 1.0, 0.5]
    with pytest.raises(
        ValueError, match=r"posterior_proba .* negative values, the least -0\.5"
    ):
        Pool.from_arrays(**load())
    load()["embeddings"][150, 2] = np.inf
    with pytest.raises(ValueError, match="embeddings contains NaN or infinite"):
        Pool.from_arrays(**load())


def test_embedding_fingerprints(table):
    X, _ = table

    def token(estimator, data=X):
        return embedding_fingerprint(estimator, data)

    assert token(None) is not None
    assert token(LogisticRegression()) == token(RandomForestClassifier())
    assert token(LogisticRegression()) != token(LogisticRegression(), X.copy())
    # scaling depends on the labelled samples, normalising does not
    assert token(make_pipeline(StandardScaler(), LogisticRegression())) is None
    stateless = make_pipeline(Normalizer(), "passthrough", LogisticRegression())
    assert token(stateless) == token(
        make_pipeline(Normalizer(), RandomForestClassifier())
    )
    assert token(make_pipeline(Normalizer(), StandardScaler(), stateless)) is None

    class Drawing(Normalizer):
        def __init__(self, random_state=None):
            super().__init__()
            self.random_state = random_state

    assert token(make_pipeline(Drawing(), LogisticRegression())) is None
    known = StandardScaler()
    known.embedding_fingerprint_ = "weights"
    frozen = token(make_pipeline(known, LogisticRegression()))
    assert "weights" in frozen
    assert hash(frozen) is not None

    net = Counting()
    assert token(net) is None
    net.embedding_fingerprint_ = "body 1"
    first = token(make_pipeline(Normalizer(), net))
    net.embedding_fingerprint_ = "body 2"
    assert token(make_pipeline(Normalizer(), net)) != first
    net.embedding_fingerprint_ = None
    assert token(net) is None


def learner(folder, strategy):
    return ActiveLearningClassifier(
        LogisticRegression(),
        strategy,
        n_initial=15,
        query_size=5,
        n_rounds=3,
        random_state=0,
        max_memory=1000,
        checkpoint_dir=folder,
    )


def test_a_run_goes_on_after_the_disk_was_full(table, tmp_path, monkeypatch):
    X, y = table
    whole = learner(None, BADGE()).fit(X, y)
    reserve = os.posix_fallocate if hasattr(os, "posix_fallocate") else None
    calls = []

    def full_in_the_end(*args):
        calls.append(args)
        if len(calls) > 4:  # in the second query
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if reserve is not None:
            reserve(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full_in_the_end, raising=False)
        with pytest.raises(SpillError, match="of 180 candidates take") as info:
            learner(tmp_path, BADGE()).fit(X, y)
    assert "round 2, BADGE picking 5" in " ".join(info.value.__notes__)
    resumed = learner(tmp_path, BADGE()).fit(X, y)
    assert_array_equal(resumed.labeled_indices_, whole.labeled_indices_)


@pytest.mark.parametrize("strategy", [UncertaintySampling(), BADGE()])
def test_a_run_on_a_file_is_a_run_on_the_array(table, tmp_path, strategy):
    X, y = table
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one = learner(None, strategy).set_params(max_memory=2**30).fit(X, y)
    other = learner(None, strategy).fit(mapped, y)
    assert_array_equal(one.labeled_indices_, other.labeled_indices_)


SETUP = """
import tempfile
import numpy as np
from sklearn.linear_model import LogisticRegression
from dalmax_sk._base.storage import allocate, release_pages
from dalmax_sk.pool import Pool
from dalmax_sk.strategies import get_strategy
n, d = 200_000, 64
X = allocate((n, d), "float64", max_memory=0, what="a test")  # 102 MB
for start in range(0, n, 10_000):
    rng = np.random.default_rng(start)
    X[start:start + 10_000] = rng.normal(size=(10_000, d))
    release_pages(X)
y = (X[:100, :10].argmax(axis=1))
model = LogisticRegression(max_iter=20).fit(X[:100], y)

def query(rows, max_memory):
    pool = Pool(model, X, np.arange(100), y, random_state=0, max_memory=max_memory,
                candidate_indices=np.arange(100, rows, 1 + (rows > 1000)))
    get_strategy(NAME).query(pool, 20)

query(1000, 8 * 2**20)
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["margin_sampling", "badge"])
def test_a_pool_on_the_disk_takes_little_memory(peak_growth, name):
    # half of the rows: 51 MB of embeddings, 8 MB of probabilities
    setup = f"NAME = {name!r}\n{SETUP}"
    # a block of 32 MB, the pages behind it, a few numbers a candidate
    assert peak_growth(setup, "query(n, 8 * 2**20)") < 80_000
