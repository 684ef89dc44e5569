"""Adversarial sampling: candidates whose prediction the least change flips."""

from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch

from dalmax_sk._base import progress
from dalmax_sk._base.pipelines import last_step
from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.selection import top_n
from dalmax_sk.strategies.attacks import (
    attack_batch_size,
    linear_sizes,
    smallest_perturbations,
    unit_noise,
    write_adversarial_images,
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
        Attack only so many candidates, those whose two largest probabilities lie
        closest together; the others follow behind, in this order. None attacks all.
        Without effect for linear classifiers.
    tolerance : float, default=0.01
        Relative accuracy of ε in FGSM, BIM and PGD.
    save_dir : path-like, default=None
        Folder to write the adversarial images of the picks to: for the pick that is
        row 7 of X ``row_000007.png``, the image on the left and its perturbed copy on
        the right, and a line in ``adversarial.csv``. Only for images of 1 or 3
        channels.
    batch : {"top", "softmax", "softrank"}, default="top"
        How scores become a batch: the smallest perturbations, or a stochastic batch.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0.

    See Also
    --------
    UncertaintySampling : The margin of probabilities in place of that in the input.

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

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "attack": [StrOptions({"deepfool", "fgsm", "bim", "pgd"})],
        "norm": [StrOptions({"l2", "linf"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "max_classes": [Interval(Integral, 2, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "tolerance": [Interval(Real, 1e-5, 1, closed="both")],
        "save_dir": [str, Path, None],
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
        save_dir=None,
        batch="top",
        beta=1.0,
    ):
        self.attack = attack
        self.norm = norm
        self.max_iter = max_iter
        self.max_classes = max_classes
        self.n_candidates = n_candidates
        self.tolerance = tolerance
        self.save_dir = save_dir
        self.batch = batch
        self.beta = beta

    def _query(self, pool, n):
        if self.save_dir is not None:
            self._check_can_save(pool)
        positions, scores = super()._query(pool, n)
        if self.save_dir is not None:
            self._save(pool, positions)
        return positions, scores

    def _score(self, pool):
        if hasattr(last_step(pool.estimator), "module_"):
            return self._score_by_attack(pool)
        pool.prepare(["embeddings", "decision"], owner=type(self).__name__)
        linear = pool.decision
        logits = linear.logits(pool.embeddings)  # (n, S)
        sizes, gaps = linear_sizes(logits, linear.weight, self.norm)
        # from [0, inf] to [0, 1], as margins of probabilities are
        margins = 1 - 1 / (1 + gaps)
        return self._ranked(pool, sizes, margins, np.ones(len(pool), dtype=bool))

    def _score_by_attack(self, pool):
        owner = type(self).__name__
        attacked = np.ones(len(pool), dtype=bool)
        margins = np.zeros(len(pool))
        if self.n_candidates is not None and self.n_candidates < len(pool):
            pool.prepare(["proba"], owner=owner)
            margins = _margins(pool.proba)
            chosen = top_n(-margins, self.n_candidates, random_state=pool.random_state)
            attacked[:] = False
            attacked[chosen] = True
        rows = np.flatnonzero(attacked)
        sizes = np.full(len(pool), np.inf)
        for start, stop, _, found in self._attack(pool, rows):
            sizes[rows[start:stop]] = found.sizes.cpu().numpy()
            margins[rows[start:stop]] = found.margins.cpu().numpy()
            progress.report("query", stop, len(rows))
        return self._ranked(pool, sizes, margins, attacked)

    def _attack(self, pool, rows):
        """Yield (start, stop, samples, Perturbations) of candidates ``rows``."""
        seeds = pool.random_state.randint(2**31 - 1, size=len(pool))[rows]
        owner = type(self).__name__
        part = pool if len(rows) == len(pool) else pool.subset(rows)
        part.prepare(["network"], owner=owner)
        network = part.network
        for first, last, batch in network.batches():
            size = attack_batch_size(network.module, batch[:1], pool.max_memory)
            for start in range(first, last, size):
                stop = min(start + size, last)
                samples = batch[start - first : stop - first]
                noise = None
                if self.attack == "pgd":
                    shape = tuple(samples.shape[1:])
                    noise = unit_noise(shape, self.norm, seeds[start:stop])
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
                yield start, stop, samples, found

    def _ranked(self, pool, sizes, margins, attacked):
        """Return scores: minus the sizes, then the unflipped, then the others."""
        flipped = np.isfinite(sizes)
        pool.info["n_attacked"] = int(attacked.sum())
        pool.info["n_unflipped"] = int((attacked & ~flipped).sum())
        largest = sizes[flipped].max() if flipped.any() else 0.0
        # margins are in [0, 1]: groups that do not overlap, whatever the sizes are
        behind = 2 * largest + 1 + margins + np.where(attacked, 0.0, 2.0)
        return -np.where(flipped, sizes, behind)

    def _check_can_save(self, pool):
        name = type(self).__name__
        shape = None
        if hasattr(last_step(pool.estimator), "module_"):
            pool.prepare(["network"], owner=name)
            batch = next(iter(pool.network.batches(batch_size=1)))[2]
            shape = tuple(batch.shape[1:])
        if shape is None or len(shape) != 3 or shape[0] not in (1, 3):
            kind = "a linear model" if shape is None else f"inputs of shape {shape}"
            raise ValueError(
                f"{name}(save_dir={str(self.save_dir)!r}) writes images of 1 or 3 "
                f"channels that a CNNClassifier was trained on, but this pool has "
                f"{kind}. Use save_dir=None."
            )

    def _save(self, pool, positions):
        positions = np.sort(positions)
        network = pool.network
        names = pool.classes[network.columns]
        for start, stop, samples, found in self._attack(pool, positions):
            write_adversarial_images(
                self.save_dir,
                pool.indices[positions[start:stop]],
                samples,
                found,
                module=network.module,
                class_names=names,
            )


def _margins(proba):
    """Return the difference of the two largest probabilities, (n,)."""
    if proba.shape[1] == 1:
        return proba[:, 0]
    two = np.partition(proba, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]
