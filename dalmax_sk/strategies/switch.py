"""Switch: one strategy while labels are few, another one afterwards."""

from numbers import Real

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.strategies._composite import CompositeStrategy
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.typi_clust import TypiClust
from dalmax_sk.strategies.uncertainty import UncertaintySampling

__all__ = ["Switch"]


class Switch(CompositeStrategy):
    """Query with one strategy up to a number of labels, with another one beyond.

    With the defaults this is TCM [1]_: typical candidates first (TypiClust), uncertain
    ones later (margin). Which of the two is asked depends on nothing but the number of
    labels and of classes, so a resumed run, or one that starts with labels at hand,
    asks the same one.

    Parameters
    ----------
    first : QueryStrategy or None, default=None
        Used while fewer labels are known than the threshold. None means
        :class:`~dalmax_sk.strategies.TypiClust` with its defaults, or `then` where the
        data have no embeddings.
    then : QueryStrategy or None, default=None
        Used from the threshold on. None means margin
        :class:`~dalmax_sk.strategies.UncertaintySampling`, or `first` where the
        estimator has neither probabilities nor decision values.
    at : float, default=20
        The threshold, at least 0, in the unit of `unit`. 0 never uses `first`.
    unit : {"per_class", "labels"}, default="per_class"
        What `at` counts: labels a class on average (the threshold is `at` times the
        number of classes of the pool), or labels altogether.

    See Also
    --------
    Mixture : Asks several strategies in every round.
    UHerding : One criterion that moves from coverage to uncertainty by itself.

    Notes
    -----
    The rule: with m labels and C classes `first` is asked if ``m < at * C`` (``m < at``
    with ``unit="labels"``), else `then`. It is looked at once a query; a batch that
    begins below the threshold comes from `first` as a whole.

    The authors of TCM switch early, because features from self-supervised pre-training
    are good from the start. `at` is our default, not a figure of theirs: about the
    number of labels a class up to which typical candidates are recommended. With a net
    trained from scratch the features themselves are poor at the beginning.

    Only the strategy in turn computes what it needs. The query leaves ``strategy`` (its
    class name) and ``switched`` (whether it was `then`) in ``pool.info``, with the
    notes of that strategy.

    References
    ----------
    .. [1] P. Doucet, B. Estermann, T. Aczel and R. Wattenhofer, "Bridging Diversity and
       Uncertainty in Active Learning with Self-Supervised Pre-Training", ICLR 2024
       Workshop on Practical ML for Low Resource Settings.
       https://arxiv.org/abs/2403.03728

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import CoreSet, Switch, UncertaintySampling
    >>> strategy = Switch(CoreSet(), UncertaintySampling(), at=2, unit="labels")
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]],
    ...     embeddings=[[0.0], [1.0], [5.0]],
    ...     labeled_embeddings=[[0.0]],
    ... )
    >>> strategy.query(pool, n=1), pool.info["strategy"]
    (array([2]), 'CoreSet')
    """

    # "auto": typical ones up to five labels a class; docs/results.md has the evidence
    names = {"switch": {}, "tcm": {}, "auto": {"at": 5}}
    looks_at = "what its strategies look at"
    cost = "that of the strategy in turn"

    _parameter_constraints = {
        "first": [QueryStrategy, None],
        "then": [QueryStrategy, None],
        "at": [Interval(Real, 0, None, closed="left")],
        "unit": [StrOptions({"per_class", "labels"})],
    }

    def __init__(self, first=None, then=None, *, at=20, unit="per_class"):
        self.first = first
        self.then = then
        self.at = at
        self.unit = unit

    def _get_parts(self):
        parts = {"first": self.first, "then": self.then}
        return {name: part for name, part in parts.items() if part is not None}

    def _is_over(self, pool):
        """Return whether the threshold is reached."""
        if self.unit == "labels" or pool.n_labeled == 0:
            return pool.n_labeled >= self.at
        if pool.classes is None:
            raise ValueError(
                "Switch(unit='per_class') needs the number of classes, and this pool "
                "does not know its classes. Give it classes=..., or use unit='labels'."
            )
        return pool.n_labeled >= self.at * len(pool.classes)

    def _get_strategy(self, is_over, pool):
        """Return the strategy in turn.

        A default that asks for what the estimator does not have is replaced by the
        strategy of the other phase.
        """
        first = TypiClust() if self.first is None else self.first
        then = UncertaintySampling() if self.then is None else self.then
        part, other = (then, first) if is_over else (first, then)
        if (self.then if is_over else self.first) is not None:
            return part
        try:
            part._check_pool(pool)
        except MissingCapabilityError as error:
            try:
                other._check_pool(pool)
            except MissingCapabilityError:
                raise error from None
            return other
        return part

    def _check_pool(self, pool):
        for is_over in (False, True):
            self._get_strategy(is_over, pool)._check_pool(pool)

    def _query(self, pool, n):
        is_over = self._is_over(pool)
        part = self._get_strategy(is_over, pool)
        picked = part.query(pool, n, return_scores=True)
        pool.info["strategy"] = type(part).__name__
        pool.info["switched"] = is_over
        return picked
