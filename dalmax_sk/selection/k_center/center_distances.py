"""Distances to the nearest centre, kept from one query to the next."""

import numpy as np

from dalmax_sk.selection.k_center.k_center import NearestCenters

__all__ = ["KeptDistances"]


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
