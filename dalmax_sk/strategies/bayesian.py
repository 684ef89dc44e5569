"""Bayesian sampling: candidates on which samples of the model differ."""

import logging
from numbers import Integral

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.pool.posterior import POSTERIORS
from dalmax_sk.selection import batch_bald
from dalmax_sk.selection.joint_entropy import (
    RESOLUTION,
    as_samples,
    information_limit,
    plogp,
)
from dalmax_sk.strategies.base import ScoreStrategy

__all__ = ["BayesianSampling", "bayesian_scores"]

logger = logging.getLogger("dalmax_sk")

MEASURES = ("bald", "entropy", "variation_ratio", "mean_std")

# Share of ln K at which a batch has used up what K samples can tell.
_EXHAUSTED = 0.99


def bayesian_scores(samples, measure, max_memory=2**30):
    """Score candidates by what samples from a posterior say of them.

    Parameters
    ----------
    samples : ndarray of shape (K, n, C)
        Class probabilities p_k under K samples of the model.
    measure : {"bald", "entropy", "variation_ratio", "mean_std"}
        With p the mean of the p_k and H the entropy in nats: ``H[p] - mean H[p_k]``,
        ``H[p]``, ``1 - max p``, or the standard deviation of the p_k over the samples,
        averaged over the classes.
    max_memory : int, default=1 GiB
        Bytes that temporary blocks may take.

    Returns
    -------
    ndarray of shape (n,), float64
        At least 0, higher is more wanted.

    Examples
    --------
    Two samples that are both unsure, and two that are sure of different classes:

    >>> import numpy as np
    >>> samples = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]])
    >>> bayesian_scores(samples, "bald") / np.log(2)
    array([0., 1.])
    >>> bayesian_scores(samples, "entropy") / np.log(2)
    array([1., 1.])
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {MEASURES}, got {measure!r}.")
    tensor = as_samples(samples)
    n_samples, n, n_classes = tensor.shape
    scores = np.empty(n)
    size = min(limits.sample_values, max_memory // (4 * 8))
    rows = max(1, size // (n_samples * n_classes))
    for start in range(0, n, rows):
        some = tensor[:, start : start + rows].to(torch.float64)  # (K, r, C)
        mean = some.mean(dim=0)
        if measure == "variation_ratio":
            value = 1 - mean.amax(dim=1)
        elif measure == "mean_std":
            value = some.std(dim=0, correction=0).mean(dim=1)
        else:
            value = -plogp(mean).sum(dim=1)
            if measure == "bald":
                value += plogp(some).sum(dim=2).mean(dim=0)
                # what rounding leaves where samples agree must not rank candidates
                value[value < RESOLUTION] = 0.0
        scores[start : start + rows] = value.clamp_min_(0.0).cpu().numpy()
    return scores


def check_posterior_needs(strategy, pool):
    """Raise MissingCapabilityError if `pool` lacks the posterior that is asked for."""
    need = {"auto": "posterior_proba", "dropout": "network", "laplace": "head"}
    # an ensemble is trained where there is none
    need = need.get(strategy.posterior, "proba")
    pool.check(need, owner=type(strategy).__name__)


class BayesianSampling(ScoreStrategy):
    """Pick candidates whose labels would tell most about the model.

    Looks at K samples of the model: at its predictions under dropout, at the members
    of an ensemble, or at a Laplace approximation of its last layer.

    Parameters
    ----------
    measure : {"bald", "batchbald", "entropy", "variation_ratio", "mean_std"}, \
            default="bald"
        With p_k the class probabilities under sample k, p their mean and H the entropy
        in nats:

        - ``"bald"``: ``H[p] - mean H[p_k]``, the mutual information of label and model
          [1]_ [2]_. It is large where the samples disagree and small where they agree
          that the candidate is ambiguous;
        - ``"batchbald"``: the same for the batch as a whole, picked greedily [3]_, so
          that picks do not repeat each other. See Notes;
        - ``"entropy"``: ``H[p]``;
        - ``"variation_ratio"``: ``1 - max p`` [2]_, least confidence of the mean;
        - ``"mean_std"``: the standard deviation of the p_k over the samples, averaged
          over the classes [2]_.
    posterior : {"auto", "dropout", "ensemble", "laplace"}, default="auto"
        Where the samples come from, see :func:`dalmax_sk.pool.sample_posterior`.
        ``"auto"`` is the members of a fitted ensemble, else dropout if the net has any,
        else Laplace.
    n_samples : int, default=20
        Number K of samples, at least 2. A fitted ensemble has as many as members.
    batch : {"top", "power", "softmax", "softrank"}, default="top"
        How scores become a batch: the largest ones (ties at random from the seed), or
        a stochastic batch; ``"power"`` with ``"bald"`` is PowerBALD [4]_. Must be
        ``"top"`` with ``"batchbald"``, which makes its own batch.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0. Unused with ``batch="top"``.
    max_configurations : int, default=1000
        Only for ``"batchbald"``: joint labellings that are kept. All of them are
        enumerated while they are no more, then so many are drawn. Time grows with it.

    See Also
    --------
    EPIG : Information about predictions instead of parameters.
    QueryByCommittee : Committees of members with votes.

    Notes
    -----
    K samples differ in at most ln K of information. With K = 20 and confident samples
    BatchBALD has used that up after a few picks, and later picks are taken at random.
    The query leaves ``joint_information`` and ``information_limit`` (ln K) in
    ``pool.info`` and logs a warning if 99 % of it is reached before the last pick;
    more samples help, or ``measure="bald", batch="power"``.

    Gal's thesis defines the variation ratio by the labels drawn in each pass; with many
    samples that converges to the ``1 - max p`` of the paper [2]_ used here.

    References
    ----------
    .. [1] N. Houlsby, F. Huszár, Z. Ghahramani and M. Lengyel, "Bayesian Active
       Learning for Classification and Preference Learning", 2011.
       https://arxiv.org/abs/1112.5745
    .. [2] Y. Gal, R. Islam and Z. Ghahramani, "Deep Bayesian Active Learning with Image
       Data", ICML 2017. https://arxiv.org/abs/1703.02910
    .. [3] A. Kirsch, J. van Amersfoort and Y. Gal, "BatchBALD: Efficient and Diverse
       Batch Acquisition for Deep Bayesian Active Learning", NeurIPS 2019.
       https://arxiv.org/abs/1906.08158
    .. [4] A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and
       Y. Gal, "Stochastic Batch Acquisition: A Simple Baseline for Deep Active
       Learning", Transactions on Machine Learning Research, 2023.
       https://arxiv.org/abs/2106.12059

    Examples
    --------
    Both samples are unsure of the first candidate; they contradict each other on the
    second:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import BayesianSampling
    >>> samples = [[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [0.1, 0.9]]]
    >>> BayesianSampling().query(Pool.from_arrays(posterior_proba=samples), n=1)
    array([1])
    """

    names = {
        "bayesian_sampling": {},
        "bald": {"measure": "bald"},
        "power_bald": {"measure": "bald", "batch": "power"},
        "batch_bald": {"measure": "batchbald"},
    }
    category = "uncertainty"
    looks_at = "posterior samples"

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "measure": [StrOptions({*MEASURES, "batchbald"})],
        "posterior": [StrOptions(set(POSTERIORS))],
        "n_samples": [Interval(Integral, 2, None, closed="left")],
        "max_configurations": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        measure="bald",
        posterior="auto",
        n_samples=20,
        batch="top",
        beta=1.0,
        max_configurations=1000,
    ):
        self.measure = measure
        self.posterior = posterior
        self.n_samples = n_samples
        self.batch = batch
        self.beta = beta
        self.max_configurations = max_configurations

    @property
    def cost(self):
        joint = ", then up to 1000·K·C a look" if self.measure == "batchbald" else ""
        return "O(K·n·C)" + joint

    def _check_pool(self, pool):
        check_posterior_needs(self, pool)

    def _query(self, pool, n):
        if self.measure != "batchbald":
            return super()._query(pool, n)
        if self.batch != "top":
            raise ValueError(
                "BayesianSampling(measure='batchbald') makes its own batch; batch must "
                f"be 'top', got {self.batch!r}. PowerBALD is measure='bald', "
                "batch='power'."
            )
        samples = self._samples(pool)
        positions, gains = batch_bald(
            samples,
            n,
            max_configurations=self.max_configurations,
            random_state=pool.random_state,
            max_memory=pool.max_memory,
            return_scores=True,
        )
        limit = information_limit(len(samples))
        joint = gains.cumsum()
        pool.info["joint_information"] = float(joint[-1])
        pool.info["information_limit"] = limit
        n_useful = 1 + int(np.searchsorted(joint, _EXHAUSTED * limit))
        if n_useful < n:
            logger.warning(
                "BatchBALD: %d samples of the model hold %.2f nats, which the first %d "
                "of %d picks have used up; the rest is nearly random. Raise n_samples, "
                "or use measure='bald' with batch='power'.",
                len(samples),
                limit,
                n_useful,
                n,
            )
        return positions, gains

    def _score(self, pool):
        return bayesian_scores(self._samples(pool), self.measure, pool.max_memory)

    def _samples(self, pool):
        return pool.posterior_proba(
            self.posterior, self.n_samples, owner=type(self).__name__
        )
