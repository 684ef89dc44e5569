"""Versions of packages."""

import platform

import numpy as np

from dalmax_sk import __version__
from dalmax_sk._base.versions import package_versions


def test_versions():
    assert package_versions(["numpy", "no-such-package"]) == {
        "python": platform.python_version(),
        "dalmax_sk": __version__,
        "numpy": np.__version__,
        "no-such-package": None,
    }
