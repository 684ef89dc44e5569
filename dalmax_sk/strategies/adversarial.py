"""Adversarial sampling: candidates whose prediction the least change flips."""

from numbers import Integral, Real

import numpy as np
import torch

from dalmax_sk._base import progress
from dalmax_sk._base.pipelines import last_step
from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.pool.network import is_net
from dalmax_sk.selection import top_n
from dalmax_sk.strategies.attacks import (
    attack_batch_size,
    linear_sizes,
    smallest_perturbations,
    unit_noise,
)
from dalmax_sk.strategies.base import ScoreStrategy

__all__ = ["AdversarialSampling"]


class AdversarialSampling(ScoreStrategy):
    """Pick the candidates whose prediction the smallest perturbation flips [1]_.

    How far a candidate is from the decision boundary cannot be computed for a neural
    network, but an adversarial attack gives an upper bound: the size of the smallest
    perturbation it finds that changes the prediction. The smaller, the nearer. For a
    linear classifier (LogisticRegression, LinearSVC, …, alone or after the other steps
    of a Pipeline) the distance is known, and is used instead of an attack.

    Parameters
    ----------
    attack : {"deepfool", "fgsm", "bim", "pgd"}, default="deepfool"
        How a perturbation is looked for; one attack for all candidates.

        - ``"deepfool"`` [2]_: steps to the nearest boundary of the net made linear
          until the prediction flips. Size: that of the perturbation found.
        - ``"fgsm"`` [3]_: one step along the gradient of the loss. Size: the smallest
          length ε that flips the prediction, by bisection.
        - ``"bim"`` [4]_: `max_iter` steps of length ``2 ε / max_iter``, projected to
          the ball of size ε. Size: the smallest such ε.
        - ``"pgd"`` [5]_: the same from a random point of the ball.
    norm : {"l2", "linf"}, default="l2"
        What size means: Euclidean, or the largest change of a single value.
    max_iter : int, default=None
        Most steps of DeepFool (None: 50) and number of steps of BIM and PGD (None: 10).
        Without effect for FGSM and for linear classifiers.
    max_classes : int, default=10
        DeepFool looks at the boundaries to the predicted and the next likeliest, so
        many classes together.
    n_candidates : int, default=None
        Attack only this number of candidates, those whose two largest probabilities lie
        closest together; the others follow behind, in this order. None attacks all.
        Without effect for linear classifiers.
    tolerance : float, default=0.01
        Relative accuracy of ε in FGSM, BIM and PGD.
    batch : {"top", "softmax", "softrank"}, default="top"
        How scores become a batch: the smallest perturbations, or a stochastic batch.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0.

    See Also
    --------
    UncertaintySampling : The margin of probabilities in place of that in the input.
    dalmax_sk.reports.write_adversarial_images : Writes picks and perturbed copies.

    Notes
    -----
    Scores are minus the sizes. uint8 images are measured and perturbed as floats in
    [0, 1] and stay in there, float images in their own units and without bounds, the
    columns of a table in standard deviations of the labelled samples. For linear
    classifiers sizes are those of their inputs, after the steps of a Pipeline before.

    Candidates that no perturbation flipped come after all others, in order of their
    margin (the difference of the two largest probabilities; of linear classifiers that
    of the two largest scores); those that were not attacked come last, by margin too.
    Their scores only tell this order.

    The query leaves ``n_attacked`` and ``n_unflipped`` in ``pool.info``.

    PGD draws one seed a candidate, in the order of the pool.

    References
    ----------
    .. [1] M. Ducoffe and F. Precioso, "Adversarial Active Learning for Deep Networks: a
       Margin Based Approach", 2018. https://arxiv.org/abs/1802.09841
    .. [2] S.-M. Moosavi-Dezfooli, A. Fawzi and P. Frossard, "DeepFool: A Simple and
       Accurate Method to Fool Deep Neural Networks", CVPR 2016.
       https://arxiv.org/abs/1511.04599
    .. [3] I. J. Goodfellow, J. Shlens and C. Szegedy, "Explaining and Harnessing
       Adversarial Examples", ICLR 2015. https://arxiv.org/abs/1412.6572
    .. [4] A. Kurakin, I. Goodfellow and S. Bengio, "Adversarial Examples in the
       Physical World", 2016. https://arxiv.org/abs/1607.02533
    .. [5] A. Madry, A. Makelov, L. Schmidt, D. Tsipras and A. Vladu, "Towards Deep
       Learning Models Resistant to Adversarial Attacks", ICLR 2018.
       https://arxiv.org/abs/1706.06083

    Examples
    --------
    A linear classifier with its boundary at 0:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import AdversarialSampling
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[3.0], [-0.5], [1.0]], head=([[-1.0], [1.0]], [0.0, 0.0])
    ... )
    >>> positions, scores = AdversarialSampling().query(pool, n=2, return_scores=True)
    >>> positions, scores
    (array([1, 2]), array([-0.5, -1. ]))
    """

    names = {"adversarial_sampling": {}, "deepfool": {"attack": "deepfool"}}
    category = "uncertainty"
    looks_at = "gradients with respect to the inputs, or a linear model"
    cost = "up to 10·C passes of the net; linear models O(n·d·C)"

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "attack": [StrOptions({"deepfool", "fgsm", "bim", "pgd"})],
        "norm": [StrOptions({"l2", "linf"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "max_classes": [Interval(Integral, 2, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "tolerance": [Interval(Real, 1e-5, 1, closed="both")],
        "batch": [StrOptions({"top", "softmax", "softrank"})],
    }

    def __init__(
        self,
        attack="deepfool",
        norm="l2",
        *,
        max_iter=None,
        max_classes=10,
        n_candidates=None,
        tolerance=0.01,
        batch="top",
        beta=1.0,
    ):
        self.attack = attack
        self.norm = norm
        self.max_iter = max_iter
        self.max_classes = max_classes
        self.n_candidates = n_candidates
        self.tolerance = tolerance
        self.batch = batch
        self.beta = beta

    def perturb(self, pool, positions):
        """Find the perturbations of some candidates of a net, as a query does.

        Parameters
        ----------
        pool : Pool
            One whose estimator is a CNNClassifier.
        positions : array-like of int
            Candidates; each is perturbed as in a query of the whole pool.

        Yields
        ------
        positions : ndarray of int of shape (b,)
            The next of `positions`, as many as memory allows.
        samples : Tensor of shape (b, ...)
            Their inputs.
        found : Perturbations
            See :class:`~dalmax_sk.strategies.attacks.Perturbations`.

        Raises
        ------
        MissingCapabilityError
            If there is no net behind the pool.
        """
        self._validate_params()
        positions = np.asarray(positions)
        seeds = pool.random_state.randint(2**31 - 1, size=len(pool))[positions]
        is_whole = np.array_equal(positions, np.arange(len(pool)))
        part = pool if is_whole else pool.subset(positions)
        part.prepare(["network"], owner=type(self).__name__)
        network = part.network
        for first, last, batch in network.batches():
            size = attack_batch_size(network.module, batch[:1], pool.max_memory)
            for start in range(first, last, size):
                block = slice(start, min(start + size, last))
                samples = batch[start - first : block.stop - first]
                noise = None
                if self.attack == "pgd":
                    shape = tuple(samples.shape[1:])
                    noise = unit_noise(shape, self.norm, seeds[block])
                    noise = torch.from_numpy(noise).to(network.device)
                found = smallest_perturbations(
                    network.module,
                    samples,
                    attack=self.attack,
                    norm=self.norm,
                    max_iter=self.max_iter,
                    max_classes=self.max_classes,
                    tolerance=self.tolerance,
                    noise=noise,
                )
                yield positions[block], samples, found

    def _check_pool(self, pool):
        if pool.can_give("network") is False:
            for need in ("embeddings", "decision"):
                pool.check(need, owner=type(self).__name__)

    def _score(self, pool):
        if is_net(last_step(pool.estimator)):
            return self._score_by_attack(pool)
        pool.prepare(["embeddings", "decision"], owner=type(self).__name__)
        linear = pool.decision
        logits = linear.logits(pool.embeddings)  # (n, S)
        sizes, gaps = linear_sizes(logits, linear.weight, self.norm)
        # from [0, inf] to [0, 1], as margins of probabilities are
        margins = 1 - 1 / (1 + gaps)
        return self._ranked(pool, sizes, margins, np.ones(len(pool), dtype=bool))

    def _score_by_attack(self, pool):
        attacked = np.ones(len(pool), dtype=bool)
        margins = np.zeros(len(pool))
        if self.n_candidates is not None and self.n_candidates < len(pool):
            pool.prepare(["proba"], owner=type(self).__name__)
            margins = _margins(pool.proba)
            chosen = top_n(-margins, self.n_candidates, random_state=pool.random_state)
            attacked[:] = False
            attacked[chosen] = True
        rows = np.flatnonzero(attacked)
        sizes = np.full(len(pool), np.inf)
        n_done = 0
        for block, _, found in self.perturb(pool, rows):
            sizes[block] = found.sizes.cpu().numpy()
            margins[block] = found.margins.cpu().numpy()
            n_done += len(block)
            progress.report("query", n_done, len(rows))
        return self._ranked(pool, sizes, margins, attacked)

    def _ranked(self, pool, sizes, margins, attacked):
        """Return scores: minus the sizes, then the unflipped, then the others."""
        flipped = np.isfinite(sizes)
        pool.info["n_attacked"] = int(attacked.sum())
        pool.info["n_unflipped"] = int((attacked & ~flipped).sum())
        largest = sizes[flipped].max() if flipped.any() else 0.0
        # margins are in [0, 1]: groups that do not overlap, whatever the sizes are
        behind = 2 * largest + 1 + margins + np.where(attacked, 0.0, 2.0)
        return -np.where(flipped, sizes, behind)


def _margins(proba):
    """Return the difference of the two largest probabilities, (n,)."""
    if proba.shape[1] == 1:
        return proba[:, 0]
    two = np.partition(proba, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]
