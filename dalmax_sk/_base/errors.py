"""Context that is added to exceptions on their way out."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["error_context"]


@contextmanager
def error_context(context: str) -> Iterator[None]:
    """Add ``[context]`` to the message of any exception that leaves the block.

    The exception keeps its type. Where its message is not a plain first argument, the
    context is added as a note, which tracebacks show.

    Parameters
    ----------
    context : str
        The work that is done in the block.

    Examples
    --------
    >>> from dalmax_sk._base.errors import error_context
    >>> with error_context("round 3"):
    ...     raise ValueError("No candidates.")
    Traceback (most recent call last):
    ValueError: No candidates. [round 3]
    """
    try:
        yield
    except Exception as error:
        first = error.args[0] if error.args else None
        if isinstance(first, str) and str(error) == first:
            error.args = (f"{first} [{context}]", *error.args[1:])
        else:
            error.add_note(f"[{context}]")
        raise
