"""Tools for people who extend the package: progress here, checks of strategies in
:mod:`~dalmax_sk.utils.estimator_checks`.
"""

from dalmax_sk._base.progress import Listener, listen, logged, report

__all__ = ["Listener", "listen", "logged", "report"]
