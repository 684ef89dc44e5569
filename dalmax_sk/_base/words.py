"""Counts and lists as words of a message."""

from collections.abc import Sequence

__all__ = ["counted", "listed"]


def counted(n: int, noun: str) -> str:
    """Return a count with its noun in the singular or the regular plural.

    Parameters
    ----------
    n : int
        The count.
    noun : str
        The noun in the singular.

    Returns
    -------
    str

    Examples
    --------
    >>> from dalmax_sk._base.words import counted
    >>> counted(1, "image"), counted(1200, "class"), counted(0, "strategy")
    ('1 image', '1,200 classes', '0 strategies')
    """
    if n == 1:
        plural = noun
    elif noun.endswith("y"):
        plural = noun[:-1] + "ies"
    else:
        plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {plural}"


def listed(items: Sequence[object], limit: int = 10) -> str:
    """Return the first items with commas between them, and the number of the rest.

    Parameters
    ----------
    items : sequence
        The items; each is shown as ``str`` gives it.
    limit : int, default=10
        Largest number of items shown.

    Returns
    -------
    str
        ``"none"`` if there are no items.

    Examples
    --------
    >>> from dalmax_sk._base.words import listed
    >>> listed(range(12), 3), listed([])
    ('0, 1, 2 and 9 more', 'none')
    """
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return (", ".join(map(str, items[:limit])) or "none") + more
