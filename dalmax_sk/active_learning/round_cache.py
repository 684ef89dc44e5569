"""What a learner carries from one round of a fit to the next, to spare work.

Nothing here decides anything: whatever is kept could be computed again from the data,
and a selection that finds it picks what it would have picked without it. It is part of
no checkpoint and of no pickle.
"""

from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["RoundCache"]


class RoundCache:
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
