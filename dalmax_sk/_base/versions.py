"""Versions of Python, of this package and of others."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from dalmax_sk._version import __version__

__all__ = ["package_versions"]


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of Python, dalmax_sk and other packages.

    Parameters
    ----------
    packages : iterable of str
        Names of distributions.

    Returns
    -------
    dict of str to str
        None for a package that is not installed.

    Examples
    --------
    >>> from dalmax_sk._base.versions import package_versions
    >>> list(package_versions(["numpy"]))
    ['python', 'dalmax_sk', 'numpy']
    """
    # dalmax_sk from the source: a checkout that is not installed has no metadata
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "dalmax_sk": __version__,
    }
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions
