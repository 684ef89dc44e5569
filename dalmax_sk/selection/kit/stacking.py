"""Two arrays as one, in memory or not."""

import numpy as np

from dalmax_sk._base.storage import allocate, copy_rows

__all__ = ["concatenate"]


def concatenate(first: np.ndarray, second: np.ndarray, max_memory: int) -> np.ndarray:
    """Return the rows of one array and then those of another.

    Parameters
    ----------
    first, second : ndarray of shape (n, d) and (m, d)
        Mapped from a file or not.
    max_memory : int
        A result of more bytes is a temporary file that is mapped into memory.

    Returns
    -------
    ndarray of shape (n + m, d)
        `first` itself if `second` has no rows, else a copy.
    """
    if len(second) == 0:
        return first
    out = allocate(
        (len(first) + len(second), *first.shape[1:]),
        np.result_type(first, second),
        max_memory=max_memory,
        what=f"the embeddings of {len(first)} candidates and {len(second)} others",
    )
    copy_rows(first, out[: len(first)])
    copy_rows(second, out[len(first) :])
    return out
