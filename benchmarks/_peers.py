"""The same queries by scikit-activeml and scikit-learn, and by the definitions.

Each function takes the arrays of one pool and a number of picks, and returns positions
in the pool.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _inputs import Inputs

PEER_INSTALLED = importlib.util.find_spec("skactiveml") is not None


def _all_rows(data: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Labelled and unlabelled rows with NaN for a missing label, as the peer has it."""
    X = np.vstack([data.labeled_embeddings, data.embeddings])
    y = np.full(len(X), np.nan)
    y[: len(data.y_labeled)] = data.y_labeled
    return X, y


def _known(n_classes: int, predict_proba: Callable[[np.ndarray], np.ndarray]) -> Any:
    """A classifier that is fitted already, so that only the query costs."""
    from skactiveml.base import SkactivemlClassifier

    class Known(SkactivemlClassifier):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Known":
            self.classes_ = np.arange(n_classes)
            return self

        def predict_proba(self, X: Any) -> np.ndarray:
            return predict_proba(X)

        def predict(self, X: Any) -> np.ndarray:
            return self.predict_proba(X).argmax(axis=1)

    return Known(classes=np.arange(n_classes)).fit(None, None)


def _model(data: Inputs) -> Any:
    return _known(data.proba.shape[1], data.predict_proba)


def _members(data: Inputs) -> list[Any]:
    """One classifier a posterior sample; it only knows the pool."""
    return [_known(proba.shape[1], lambda X, p=proba: p) for proba in data.samples]


def _positions(picks: Any, data: Inputs) -> np.ndarray:
    return np.asarray(picks) - len(data.y_labeled)


def margin(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import UncertaintySampling

    X, y = _all_rows(data)
    strategy = UncertaintySampling(method="margin_sampling", random_state=0)
    picks = strategy.query(X, y, clf=_model(data), fit_clf=False, batch_size=n)
    return _positions(picks, data)


def core_set(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import CoreSet

    X, y = _all_rows(data)
    return _positions(CoreSet(random_state=0).query(X, y, batch_size=n), data)


def badge(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import Badge

    X, y = _all_rows(data)
    strategy = Badge(random_state=0)
    picks = strategy.query(X, y, clf=_model(data), fit_clf=False, batch_size=n)
    return _positions(picks, data)


def typi_clust(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import TypiClust

    X, y = _all_rows(data)
    return _positions(TypiClust(random_state=0).query(X, y, batch_size=n), data)


def prob_cover(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import ProbCover

    X, y = _all_rows(data)
    strategy = ProbCover(n_classes=data.proba.shape[1], random_state=0)
    return _positions(strategy.query(X, y, batch_size=n), data)


def max_herding(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import MaxHerding

    X, y = _all_rows(data)
    return _positions(MaxHerding(random_state=0).query(X, y, batch_size=n), data)


def drop_query(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import DropQuery

    X, y = _all_rows(data)
    strategy = DropQuery(n_dropout_samples=3, random_state=0)
    picks = strategy.query(X, y, clf=_model(data), fit_clf=False, batch_size=n)
    return _positions(picks, data)


def committee_kl(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import QueryByCommittee

    X, y = _all_rows(data)
    strategy = QueryByCommittee(method="KL_divergence", random_state=0)
    picks = strategy.query(
        X, y, ensemble=_members(data), fit_ensemble=False, batch_size=n
    )
    return _positions(picks, data)


def bald(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import GreedyBALD

    X, y = _all_rows(data)
    picks = GreedyBALD(random_state=0).query(
        X, y, ensemble=_members(data), fit_ensemble=False, batch_size=n
    )
    return _positions(picks, data)


def batch_bald(data: Inputs, n: int) -> np.ndarray:
    from skactiveml.pool import BatchBALD

    X, y = _all_rows(data)
    picks = BatchBALD(n_MC_samples=1000, random_state=0).query(
        X, y, ensemble=_members(data), fit_ensemble=False, batch_size=n
    )
    return _positions(picks, data)


def k_means(data: Inputs, n: int) -> np.ndarray:
    """scikit-learn's k-means and the candidates nearest to the centres."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin

    model = KMeans(n, n_init=1, random_state=0).fit(data.embeddings)
    return pairwise_distances_argmin(model.cluster_centers_, data.embeddings)


def naive_k_center(data: Inputs, n: int) -> tuple[np.ndarray, float]:
    """The definition: plain float64 differences, one pass over the pool a centre.

    Returns the picks and the seconds.
    """
    start = time.perf_counter()
    X = data.embeddings
    nearest = np.full(len(X), np.inf)

    def add(center: np.ndarray) -> None:
        for rows in range(0, len(X), 2048):
            block = slice(rows, rows + 2048)
            difference = X[block].astype(np.float64) - center.astype(np.float64)
            squares = np.square(difference, out=difference).sum(axis=1)
            nearest[block] = np.minimum(nearest[block], squares)

    for center in data.labeled_embeddings:
        add(center)
    picks: list[int] = []
    while len(picks) < n:
        picks.append(int(nearest.argmax()))
        add(X[picks[-1]])
        nearest[picks] = -np.inf
    return np.array(picks), time.perf_counter() - start
