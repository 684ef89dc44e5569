"""Functions as strategies."""

from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.registry import get_strategy

__all__ = ["FunctionStrategy", "as_strategy"]


class FunctionStrategy(QueryStrategy):
    """A function ``f(pool, n) -> positions`` as a strategy.

    Parameters
    ----------
    function : callable
        Returns `n` distinct positions in the pool, the most wanted first, or a tuple of
        positions and their scores.
    """

    _parameter_constraints: dict = {"function": [callable]}

    def __init__(self, function):
        self.function = function

    def _query(self, pool, n):
        return self.function(pool, n)


def as_strategy(strategy):
    """Return a strategy object of a name, a function or a strategy.

    Examples
    --------
    >>> from dalmax_sk.strategies._functions import as_strategy
    >>> as_strategy("random_sampling")
    RandomSampling()
    """
    if isinstance(strategy, str):
        return get_strategy(strategy)
    if isinstance(strategy, QueryStrategy):
        return strategy
    if isinstance(strategy, type) or not callable(strategy):
        raise TypeError(
            "strategy must be a name, an object of dalmax_sk.strategies such as "
            f"CoreSet(), or a function f(pool, n), got {strategy!r}."
        )
    return FunctionStrategy(strategy)
