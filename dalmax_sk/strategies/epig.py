"""EPIG: candidates whose labels would tell most about other predictions."""

from numbers import Integral

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.pool.posterior import POSTERIORS
from dalmax_sk.selection import epig_scores
from dalmax_sk.strategies.base import ScoreStrategy
from dalmax_sk.strategies.bayesian import check_posterior_needs

__all__ = ["EPIG"]


class EPIG(ScoreStrategy):
    """Pick candidates whose labels would tell most about the labels of others.

    BALD asks what a label tells about the model's parameters; some of them matter to
    no prediction that anybody wants. EPIG asks what the label of a candidate tells
    about the label of another input, on average over inputs of interest [1]_. Here
    those are drawn from the pool.

    Parameters
    ----------
    posterior : {"auto", "dropout", "ensemble", "laplace"}, default="auto"
        Where the samples of the model come from, see
        :func:`dalmax_sk.pool.sample_posterior`.
    n_samples : int, default=20
        Number K of samples, at least 2. A fitted ensemble has as many as members.
    n_targets : int or None, default=100
        Candidates, drawn by the seed, whose labels are to be predicted well. All of
        them if there are no more, or if None.
    batch : {"top", "power", "softmax", "softrank"}, default="top"
        How scores become a batch: the largest ones (ties at random from the seed), or
        a stochastic batch [2]_.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0. Unused with ``batch="top"``.

    See Also
    --------
    BayesianSampling : Information about parameters.

    Notes
    -----
    The paper picks one candidate at a time; the n best scores make the batch here, with
    no regard to each other. ``batch="power"`` spreads them.

    References
    ----------
    .. [1] F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and
       T. Rainforth, "Prediction-Oriented Bayesian Active Learning", AISTATS 2023.
       https://arxiv.org/abs/2304.08151
    .. [2] A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and
       Y. Gal, "Stochastic Batch Acquisition: A Simple Baseline for Deep Active
       Learning", Transactions on Machine Learning Research, 2023.
       https://arxiv.org/abs/2106.12059

    Examples
    --------
    BALD cannot tell these three candidates apart. The first two share their label, so
    that one tells the other; the third stands alone:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import EPIG
    >>> yes, no = [0.0, 1.0], [1.0, 0.0]
    >>> samples = [[yes, yes, yes], [yes, yes, no], [no, no, yes], [no, no, no]]
    >>> pool = Pool.from_arrays(posterior_proba=samples, random_state=0)
    >>> positions, scores = EPIG().query(pool, n=3, return_scores=True)
    >>> positions[2]
    np.int64(2)
    """

    names = {"epig": {}}
    category = "uncertainty"
    looks_at = "posterior samples"
    cost = "O(n·T·C²·K) for T targets"

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "posterior": [StrOptions(set(POSTERIORS))],
        "n_samples": [Interval(Integral, 2, None, closed="left")],
        "n_targets": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self, posterior="auto", n_samples=20, n_targets=100, batch="top", beta=1.0
    ):
        self.posterior = posterior
        self.n_samples = n_samples
        self.n_targets = n_targets
        self.batch = batch
        self.beta = beta

    def _check_pool(self, pool):
        check_posterior_needs(self, pool)

    def _score(self, pool):
        samples = pool.posterior_proba(
            self.posterior, self.n_samples, owner=type(self).__name__
        )
        targets = samples
        if self.n_targets is not None and self.n_targets < len(pool):
            # A stream of its own, as the batch draws from the pool's as well.
            seed = pool.random_state.randint(2**31 - 1)
            rng = np.random.RandomState(seed)
            chosen = rng.choice(len(pool), self.n_targets, replace=False)
            targets = samples[:, chosen]
        return epig_scores(samples, targets, max_memory=pool.max_memory)
