"""Checks of the promises of every query strategy, also for strategies of your own.

They are to strategies what :mod:`sklearn.utils.estimator_checks` is to estimators. Each
check takes a strategy, never changes it, and raises an AssertionError that says which
promise is broken. A check that cannot apply to a strategy raises
:class:`unittest.SkipTest`.
"""

import functools
import re
import warnings
from unittest import SkipTest

from sklearn.exceptions import SkipTestWarning

from dalmax_sk.strategies import QueryStrategy
from dalmax_sk.utils._checks_of_inputs import (
    check_few_labels,
    check_inputs_unchanged,
    check_label_names,
    check_missing_capability,
    check_nan,
    check_unseen_class,
)
from dalmax_sk.utils._checks_of_picks import (
    check_bad_n,
    check_constant_embeddings,
    check_dtypes,
    check_duplicates,
    check_empty_pool,
    check_global_state,
    check_info,
    check_kinds_of_pools,
    check_learner_parameters,
    check_number_of_picks,
    check_parameters,
    check_permutation,
    check_same_pool_same_picks,
    check_scores,
    check_state,
)
from dalmax_sk.utils._checks_of_runs import (
    check_grid_search,
    check_hidden_labels,
    check_max_memory,
    check_max_memory_changes_nothing,
    check_resume,
)

__all__ = ["check_strategy", "parametrize_with_checks", "strategy_checks"]

_CHECKS = (
    check_parameters,
    check_learner_parameters,
    check_number_of_picks,
    check_kinds_of_pools,
    check_dtypes,
    check_bad_n,
    check_empty_pool,
    check_same_pool_same_picks,
    check_global_state,
    check_permutation,
    check_duplicates,
    check_constant_embeddings,
    check_scores,
    check_info,
    check_state,
    check_label_names,
    check_unseen_class,
    check_few_labels,
    check_missing_capability,
    check_nan,
    check_inputs_unchanged,
    check_max_memory_changes_nothing,
    check_max_memory,
    check_hidden_labels,
    check_resume,
    check_grid_search,
)


def strategy_checks(strategy):
    """Yield the checks for a strategy.

    Parameters
    ----------
    strategy : QueryStrategy

    Yields
    ------
    name : str
    check : callable
        ``check()`` raises an exception if a promise is broken, and
        :class:`unittest.SkipTest` if it does not apply.

    Examples
    --------
    >>> from dalmax_sk.strategies import CoreSet
    >>> from dalmax_sk.utils.estimator_checks import strategy_checks
    >>> checks = dict(strategy_checks(CoreSet()))
    >>> checks["check_number_of_picks"]()
    """
    if not isinstance(strategy, QueryStrategy):
        raise TypeError(
            f"strategy must be an instance of QueryStrategy, got {strategy!r}."
        )
    for check in _CHECKS:
        yield check.__name__, functools.partial(check, strategy)


def check_strategy(strategy, *, expected_failed_checks=None, on_fail="raise"):
    """Check that a strategy keeps what all strategies promise.

    Parameters
    ----------
    strategy : QueryStrategy
        It is cloned, never changed. Give it parameters with which a query takes
        milliseconds: about two hundred are made.
    expected_failed_checks : dict of {str: str}, default=None
        Names of checks that it may fail, and the reasons.
    on_fail : {"raise", "warn"} or None, default="raise"
        What to do when a check fails that is not expected to.

    Returns
    -------
    list of dict
        For each check ``check_name``, ``status`` (``"passed"``, ``"failed"``,
        ``"xfail"`` or ``"skipped"``) and ``exception`` (None if passed).

    Raises
    ------
    AssertionError
        If a check fails and ``on_fail="raise"``; the message names the check, and the
        failure is its cause.

    See Also
    --------
    parametrize_with_checks : One test for each check, for pytest.

    Examples
    --------
    >>> from dalmax_sk.strategies import CoreSet
    >>> from dalmax_sk.utils.estimator_checks import check_strategy
    >>> results = check_strategy(CoreSet())
    >>> {result["status"] for result in results}
    {'passed'}
    """
    if on_fail not in ("raise", "warn", None):
        raise ValueError(f"on_fail must be 'raise', 'warn' or None, got {on_fail!r}.")
    expected = expected_failed_checks or {}
    results = []
    for name, check in strategy_checks(strategy):
        status, exception = "passed", None
        try:
            check()
        except SkipTest as skipped:
            status, exception = "skipped", skipped
        except Exception as error:  # whatever a strategy raises is a failure of it
            status, exception = "xfail" if name in expected else "failed", error
        results.append({"check_name": name, "status": status, "exception": exception})
        if status == "skipped" and on_fail is not None:
            message = f"Skipping {name} for {strategy!r}: {exception}"
            warnings.warn(message, SkipTestWarning, stacklevel=2)
        if status == "failed" and on_fail is not None:
            message = f"{strategy!r} fails {name}: {exception}"
            if on_fail == "raise":
                raise AssertionError(message) from exception
            warnings.warn(message, UserWarning, stacklevel=2)
    return results


def parametrize_with_checks(strategies, *, expected_failed_checks=None):
    """Make a pytest parametrisation over strategies and their checks.

    Parameters
    ----------
    strategies : list of QueryStrategy
    expected_failed_checks : callable, default=None
        ``f(strategy)`` returns a dict {check name: reason}; these are marked as
        expected failures.

    Returns
    -------
    pytest.MarkDecorator
        For a test with the arguments ``strategy`` and ``check``.

    Examples
    --------
    In a test file::

        @parametrize_with_checks([MyStrategy(), MyStrategy(option=2)])
        def test_promises(strategy, check):
            check()
    """
    import pytest  # only who tests needs it

    cases = []
    for strategy in strategies:
        expected = expected_failed_checks(strategy) if expected_failed_checks else {}
        for name, check in strategy_checks(strategy):
            marks = ()
            if name in expected:
                marks = pytest.mark.xfail(reason=expected[name])
            label = re.sub(r"\s+", "", repr(strategy))
            cases.append(
                pytest.param(strategy, check, id=f"{label}-{name}", marks=marks)
            )
    return pytest.mark.parametrize(("strategy", "check"), cases)
