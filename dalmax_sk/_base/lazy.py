"""Names of a package that are loaded when they are first asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str], namespace: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package with lazy names.

    Parameters
    ----------
    package : str
        Name of the package.
    homes : mapping of str to str
        The module that defines each name.
    namespace : dict
        The package's ``globals()``.

    Returns
    -------
    tuple of two callables

    Examples
    --------
    >>> from dalmax_sk._base.lazy import lazy_names
    >>> load, _ = lazy_names("a_package", {"sqrt": "math"}, {})
    >>> load("sqrt")(4.0)
    2.0
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return load, lambda: sorted({*namespace, *homes})
