"""Query by committee: ask where several models disagree."""

from numbers import Integral

import numpy as np
from scipy.special import entr

from dalmax_sk._base.sklearn_compat import HasMethods, Interval, StrOptions
from dalmax_sk.pool.committee import iter_committee_proba
from dalmax_sk.strategies.base import ScoreStrategy

__all__ = ["QueryByCommittee", "disagreement_scores"]

MEASURES = ("vote_entropy", "consensus_entropy", "kl", "disagreement")
_VOTE_MEASURES = ("vote_entropy", "disagreement")


def disagreement_scores(members, measure):
    """Score how much a committee disagrees; higher is more.

    Parameters
    ----------
    members : iterable of ndarray of shape (n, C)
        Class probabilities, one array a member; (M, n, C) as a whole. Members are taken
        one after the other and need not be held together.
    measure : {"vote_entropy", "consensus_entropy", "kl", "disagreement"}
        See :class:`QueryByCommittee`.

    Returns
    -------
    ndarray of shape (n,)
        At least 0. Entropies and divergences are in nats and at most log(C), vote
        entropy also at most log(M); disagreement is at most (M - 1) / M.

    Examples
    --------
    >>> import numpy as np
    >>> one, other = [[0.9, 0.1], [0.6, 0.4]], [[0.8, 0.2], [0.4, 0.6]]
    >>> disagreement_scores(np.array([one, other]), "disagreement")
    array([0. , 0.5])
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {MEASURES}, got {measure!r}.")
    return _Tally(members, measure).score()


class QueryByCommittee(ScoreStrategy):
    """Pick the candidates that the members of a committee disagree on.

    Several models are consistent with the labels; where they differ, a label decides
    between them [1]_.

    Parameters
    ----------
    measure : {"vote_entropy", "consensus_entropy", "kl", "disagreement"}, \
default="vote_entropy"
        How disagreement is measured. With M members, V(y) the number of those whose
        most probable class is y, p_m the probabilities of member m and P their mean:

        - ``"vote_entropy"``: ``-sum_y V(y)/M log(V(y)/M)`` [2]_, in nats;
        - ``"consensus_entropy"``: ``-sum_y P(y) log P(y)``, in nats. Large also where
          all members are unsure alike;
        - ``"kl"``: the mean Kullback-Leibler divergence ``1/M sum_m KL(p_m || P)``
          [3]_, in nats. Zero where all members say the same, however unsure they are;
        - ``"disagreement"``: ``1 - max_y V(y)/M``, the share of members that do not
          vote with the majority (the variation ratio of the votes [4]_).

        Measures of votes take few distinct values, so many candidates tie.
    members : {"auto", "heads", "full"}, estimator or list of estimators, default="auto"
        Who sits in the committee:

        - ``"auto"``: the members of the pool's estimator if it is a forest, a
          ``BaggingClassifier`` or a ``VotingClassifier``; ``"heads"`` for a CNN;
          ``"full"`` for any other estimator;
        - ``"heads"``: last layers trained on the embeddings, for a CNN on its shared
          trained body: a matter of seconds;
        - ``"full"``: refitted clones of the estimator, for a CNN whole nets: as dear as
          `n_members` fits;
        - a list of classifiers, or one ensemble: cloned and fitted on the labelled
          samples.

        :func:`dalmax_sk.pool.committee_proba` has the details.
    n_members : int, default=5
        Number of members, at least 2, for ``"heads"`` and ``"full"``.
    bootstrap : bool or "auto", default="auto"
        Whether members are fitted on bootstrap samples of the labelled samples, drawn
        within each class. ``"auto"`` is True, except for members that were given.
    batch : {"top", "power", "softmax", "softrank"}, default="top"
        How scores become a batch: the largest ones (ties at random from the seed), or
        a stochastic batch.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0. Unused with ``batch="top"``.

    See Also
    --------
    dalmax_sk.pool.committee_proba : What the members say.
    UncertaintySampling : Asks a single model.

    Notes
    -----
    The query leaves in ``pool.info``: ``n_members``, and ``mean_disagreement``, the
    share of members that do not vote with the majority, averaged over the pool. Where
    it is 0 the committee is of one mind, and vote measures pick at random.

    Dagan and Engelson divide the vote entropy by a constant, which changes no order.

    References
    ----------
    .. [1] H. S. Seung, M. Opper and H. Sompolinsky, "Query by Committee", COLT 1992.
       https://doi.org/10.1145/130385.130417
    .. [2] I. Dagan and S. P. Engelson, "Committee-Based Sampling for Training
       Probabilistic Classifiers", ICML 1995.
       https://doi.org/10.1016/B978-1-55860-377-6.50027-X
    .. [3] A. McCallum and K. Nigam, "Employing EM and Pool-Based Active Learning for
       Text Classification", ICML 1998.
    .. [4] W. H. Beluch, T. Genewein, A. Nürnberger and J. M. Köhler, "The Power of
       Ensembles for Active Learning in Image Classification", CVPR 2018.
       https://doi.org/10.1109/CVPR.2018.00976

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import QueryByCommittee
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = np.arange(0, 150, 10)
    >>> forest = RandomForestClassifier(20, random_state=0).fit(X[labeled], y[labeled])
    >>> pool = Pool(forest, X, labeled, y[labeled], random_state=0)
    >>> len(QueryByCommittee("kl").query(pool, n=5))
    5
    >>> pool.info["n_members"]
    20
    """

    names = {"query_by_committee": {}}
    category = "uncertainty"
    looks_at = "several models' probabilities"
    cost = "O(K·n·C), and K fits"

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "measure": [StrOptions(set(MEASURES))],
        "members": [
            StrOptions({"auto", "heads", "full"}),
            HasMethods(["fit", "predict"]),
            list,
            tuple,
        ],
        "n_members": [Interval(Integral, 2, None, closed="left")],
        "bootstrap": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        measure="vote_entropy",
        members="auto",
        n_members=5,
        bootstrap="auto",
        batch="top",
        beta=1.0,
    ):
        self.measure = measure
        self.members = members
        self.n_members = n_members
        self.bootstrap = bootstrap
        self.batch = batch
        self.beta = beta

    def _check_pool(self, pool):
        counts_votes = self.measure in _VOTE_MEASURES
        if self.members == "heads":
            for need in ("embeddings", "labeled_embeddings"):
                pool.check(need, owner=type(self).__name__)
        elif isinstance(self.members, str) and not counts_votes:
            pool.check("proba", owner=type(self).__name__)

    def _score(self, pool):
        members = iter_committee_proba(
            pool,
            self.members,
            self.n_members,
            self.bootstrap,
            owner=type(self).__name__,
            votes=self.measure in _VOTE_MEASURES,
        )
        tally = _Tally(members, self.measure)
        pool.info["n_members"] = tally.n_members
        pool.info["mean_disagreement"] = float(tally.dissent().mean())
        return tally.score()


class _Tally:
    """Sums over the members of a committee, from which the measures follow."""

    def __init__(self, members, measure):
        self.measure = measure
        self.n_members = 0
        for proba in members:
            proba = np.asarray(proba, dtype=np.float64)
            if not self.n_members:
                self.votes = np.zeros(proba.shape, dtype=np.int32)
                self.total = np.zeros(proba.shape)
                self.entropies = np.zeros(len(proba))
            self.votes[np.arange(len(proba)), proba.argmax(axis=1)] += 1
            if measure not in _VOTE_MEASURES:
                self.total += proba
            if measure == "kl":
                self.entropies += entr(proba).sum(axis=1)
            self.n_members += 1

    def dissent(self):
        """Return the share of members that do not vote with the majority, (n,)."""
        return 1 - self.votes.max(axis=1) / self.n_members

    def score(self):
        """Return the disagreement (n,)."""
        if self.measure == "disagreement":
            return self.dissent()
        if self.measure == "vote_entropy":
            return self._vote_entropy()
        consensus = entr(self.total / self.n_members).sum(axis=1)
        if self.measure == "consensus_entropy":
            return consensus
        # The mean divergence from the mean is the entropy of the mean less the mean
        # entropy. What rounding leaves of two equal numbers must not rank candidates.
        divergence = consensus - self.entropies / self.n_members
        rounding = 8 * self.n_members * np.finfo(np.float64).eps * (1 + consensus)
        return np.where(divergence > rounding, divergence, 0.0)

    def _vote_entropy(self):
        # Equal counts of other classes must tie to the last bit: sorted, and at most M
        # of them are not zero, they are added up in one order.
        n_classes = self.votes.shape[1]
        votes = self.votes
        if n_classes > self.n_members:
            first = n_classes - self.n_members
            votes = np.partition(votes, first, axis=1)[:, first:]
        return entr(np.sort(votes, axis=1) / self.n_members).sum(axis=1)
