"""What a learner carries from one round of a fit to the next, to spare work.

Nothing here decides anything: whatever is kept could be computed again from the data,
and a selection that finds it picks what it would have picked without it. It is part of
no checkpoint and of no pickle.
"""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from dalmax_sk.selection.k_center import NearestCenters

__all__ = ["Kept", "KeptDistances"]


class Kept:
    """Results that hold as long as the embeddings of the rows stay what they are.

    Parameters
    ----------
    n_rows : int
        Number of rows of X, labelled and not.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self._entries: dict[str, tuple[Hashable, Any]] = {}

    def of(self, name: str, token: Hashable, make: Callable[[int], Any]) -> Any:
        """Return what is kept under a name, or make it anew.

        Parameters
        ----------
        name : str
            What it is.
        token : hashable
            Equal in two rounds only if each row's embedding is the same in both; an
            entry with another token is dropped.
        make : callable
            ``make(n_rows)`` returns an empty entry.
        """
        found = self._entries.get(name)
        if found is None or found[0] != token:
            found = self._entries[name] = token, make(self.n_rows)
        return found[1]

    def __getstate__(self) -> dict[str, Any]:
        # a token may be the identity of an object, which says nothing elsewhere
        return {"n_rows": self.n_rows, "_entries": {}}


class KeptDistances:
    """For each row of X, its distance to the nearest of the labelled rows.

    It takes 13 bytes a row. A row that was no candidate in some round is brought up to
    date when it is one again.

    Parameters
    ----------
    n_rows : int
        Number of rows of X.
    """

    def __init__(self, n_rows: int) -> None:
        self.centers = np.empty(0, dtype=np.int64)
        self.nearest = NearestCenters.unknown(n_rows)

    def take(self, rows: np.ndarray, centers: np.ndarray) -> NearestCenters:
        """Return what is known of some rows.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Rows of X.
        centers : ndarray of shape (m,), int64
            Rows of X that are centres, in order. What was known of others than the
            first of them is forgotten.

        Returns
        -------
        NearestCenters
            Of these rows, a copy.
        """
        if not np.array_equal(centers[: len(self.centers)], self.centers):
            self.centers = np.empty(0, dtype=np.int64)
            self.nearest = NearestCenters.unknown(len(self.nearest.bound))
        return NearestCenters(
            self.nearest.bound[rows], self.nearest.upto[rows], self.nearest.exact[rows]
        )

    def put(
        self, rows: np.ndarray, centers: np.ndarray, nearest: NearestCenters
    ) -> None:
        """Keep what is known of some rows now, as `take` gave it and a kernel left it.

        Parameters
        ----------
        rows, centers : ndarray of int64
            As for `take`.
        nearest : NearestCenters
        """
        self.centers = np.array(centers)
        self.nearest.bound[rows] = nearest.bound
        self.nearest.upto[rows] = nearest.upto
        self.nearest.exact[rows] = nearest.exact
