"""The base class of stopping rules, and their combination."""

from sklearn.base import BaseEstimator

__all__ = ["AllOf", "StoppingRule"]


class StoppingRule(BaseEstimator):
    """Base class of stopping rules.

    A rule decides from the history so far and from nothing else, so that a resumed run
    decides as one that was never stopped. Subclasses override :meth:`should_stop`;
    :meth:`limit` if they bound the size of a query; and :meth:`observe` if they need
    to look at the pool, whose outcome is then kept in the history.

    Attributes
    ----------
    reads_scores : bool, class attribute
        Whether the rule decides by scores on the evaluation set; False unless a
        subclass sets it. :func:`~dalmax_sk.evaluation.budget_curve` refuses such rules,
        for its evaluation set is the test fold.

    See Also
    --------
    dalmax_sk.ActiveLearningClassifier : Takes rules as ``stopping``.

    Examples
    --------
    >>> from dalmax_sk.stopping import StoppingRule
    >>> class FewRounds(StoppingRule):
    ...     def should_stop(self, history):
    ...         return "three rounds are enough" if len(history) > 3 else None
    >>> FewRounds().should_stop([{}, {}, {}, {}])
    'three rounds are enough'
    """

    reads_scores = False

    _parameter_constraints: dict = {}

    def should_stop(self, history):
        """Return a sentence that says why to stop, or None to go on.

        Parameters
        ----------
        history : list of dict
            ``history_`` of the learner; the last entry is the round just finished.

        Returns
        -------
        str or None
        """
        raise NotImplementedError

    def limit(self, history, n):
        """Return how many of the next `n` labels may be asked for.

        Parameters
        ----------
        history : list of dict
            ``history_`` of the learner; before the first fit one record that holds
            ``round`` and ``n_labeled`` only.
        n : int
            Labels that the next round would ask for.

        Returns
        -------
        int
        """
        return n

    def observe(self, pool):
        """Return the numbers of the pool that the rule needs in later rounds.

        The learner calls this once a round, after the fit and before the query, and
        merges the answer into the round's record in ``history_``. Quantities of the
        pool computed here are not computed again for the query.

        Parameters
        ----------
        pool : Pool
            The candidates of the next query with the model just fitted.

        Returns
        -------
        dict of str to number, str, list or dict
            What JSON can hold, under keys that no other rule uses. Empty for rules
            that need no look at the pool.
        """
        return {}


class AllOf(StoppingRule):
    """Stop when every one of several rules says stop.

    A list given as ``stopping`` stops at the first rule that is met; this one waits for
    the last.

    Parameters
    ----------
    rules : list of StoppingRule or callable
        At least one rule, or function ``f(history) -> bool or str``.

    Examples
    --------
    No matter how sure the model is, label at least 100:

    >>> from dalmax_sk.stopping import AllOf, Budget, OverallUncertainty
    >>> rule = AllOf([Budget(100), OverallUncertainty(0.05)])
    >>> rule.should_stop([{"n_labeled": 60, "overall_uncertainty": 0.01}])
    >>> rule.should_stop([{"n_labeled": 100, "overall_uncertainty": 0.01}])
    'the budget of 100 labels is spent; the pool has overall uncertainty 0.01, at most
    the threshold 0.05'
    """

    _parameter_constraints = {"rules": [list]}

    def __init__(self, rules):
        self.rules = rules

    @property
    def reads_scores(self):
        """Whether one of the rules decides by scores on the evaluation set."""
        return any(getattr(rule, "reads_scores", False) for rule in self.rules)

    def _validate_params(self):
        super()._validate_params()
        if not self.rules:
            raise ValueError("AllOf needs at least one rule, got an empty list.")
        for rule in self.rules:
            if hasattr(rule, "_validate_params"):
                rule._validate_params()
            elif not callable(rule) and not hasattr(rule, "should_stop"):
                raise ValueError(
                    "AllOf.rules must hold rules of dalmax_sk.stopping or functions "
                    f"f(history), got {rule!r}."
                )

    def should_stop(self, history):
        """Return all reasons in one sentence if every rule has one, else None."""
        reasons = []
        for rule in self.rules:
            found = getattr(rule, "should_stop", rule)(history)
            if not found:
                return None
            reasons.append(found if isinstance(found, str) else "a function says so")
        return "; ".join(reasons)

    def limit(self, history, n):
        """Return the largest number that one of the rules allows."""
        return max(
            rule.limit(history, n) if hasattr(rule, "limit") else n
            for rule in self.rules
        )

    def observe(self, pool):
        """Return the observations of all rules."""
        observed = {}
        for rule in self.rules:
            if hasattr(rule, "observe"):
                observed |= rule.observe(pool)
        return observed
