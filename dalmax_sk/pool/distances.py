"""Distances to the nearest labelled sample, kept from round to round."""

from collections.abc import Hashable
from typing import Any

import numpy as np

from dalmax_sk.selection.k_center.k_center import distance_bounds

__all__ = ["LabeledDistances"]


class LabeledDistances:
    """Distance of each row of X to the nearest labelled row, 12 bytes a row.

    Nothing here decides anything: whatever is kept could be computed again from the
    data. It is part of no checkpoint and of no pickle.
    """

    def __init__(self) -> None:
        self._fingerprint: Hashable = None
        self._labeled = np.empty(0, dtype=np.int64)
        self._distance = np.empty(0)
        # number of labelled rows, in their order, that a distance takes account of
        self._upto = np.empty(0, dtype=np.int32)

    def update(
        self,
        fingerprint: Hashable,
        rows: np.ndarray,
        labeled: np.ndarray,
        embeddings: Any,
        labeled_embeddings: Any,
        max_memory: int,
    ) -> np.ndarray:
        """Return the distances of some rows, after measuring those not known yet.

        Parameters
        ----------
        fingerprint : hashable or None
            Equal in two calls only if each row's embedding is the same in both; what
            was known under another one is forgotten. None: nothing can be kept.
        rows, labeled : ndarray of int of shapes (n,) and (m,)
            Rows of X. What was known of other labelled rows than the first of these is
            forgotten.
        embeddings, labeled_embeddings : ndarray of shapes (n, d) and (m, d)
        max_memory : int
            Bytes that temporary blocks may take.

        Returns
        -------
        ndarray of shape (n,), float64
            See :attr:`dalmax_sk.pool.Pool.distance_to_labeled`.
        """
        known = labeled[: len(self._labeled)]
        if fingerprint != self._fingerprint or not np.array_equal(known, self._labeled):
            self._distance, self._upto = self._distance[:0], self._upto[:0]
        self._fingerprint, self._labeled = fingerprint, np.array(labeled)
        n_new = max(0, 1 + int(rows.max(initial=-1)) - len(self._upto))
        self._distance = np.pad(self._distance, (0, n_new), constant_values=np.inf)
        self._upto = np.pad(self._upto, (0, n_new))
        distance, upto = self._distance[rows], self._upto[rows]
        for start in np.unique(upto).tolist():
            if start == len(labeled):
                continue
            part = np.flatnonzero(upto == start)
            new = labeled_embeddings[start:]
            found = distance_bounds(embeddings, new, part, max_memory=max_memory)
            distance[part] = np.minimum(distance[part], found)
        self._distance[rows], self._upto[rows] = distance, len(labeled)
        return distance

    def __getstate__(self) -> dict[str, Any]:
        # a fingerprint may hold the identity of an object, which is another elsewhere
        return vars(LabeledDistances())
