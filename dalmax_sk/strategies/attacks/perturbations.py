"""Adversarial attacks: how little has to change before a net changes its mind.

Each attack looks for the smallest perturbation of an input that flips the prediction of
a net. A batch is attacked together on its device, samples that have flipped leave it,
and every search is bounded, so that an attack always ends. Sizes are upper bounds of
the distance to the decision boundary; :func:`linear_sizes` is exact for linear models.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dalmax_sk.strategies.attacks.space import NORMS, InputSpace, Target, spread

__all__ = [
    "ATTACKS",
    "Perturbations",
    "linear_sizes",
    "smallest_perturbations",
    "unit_noise",
]

ATTACKS = ("deepfool", "fgsm", "bim", "pgd")

# Iterations of DeepFool, and steps of BIM and PGD, unless told otherwise.
_MAX_ITER = {"deepfool": 50, "fgsm": 1, "bim": 10, "pgd": 10}
# Added to each linearised distance, as in the code of DeepFool's authors: without it a
# sample that lies on the boundary would never cross it.
_NUDGE = 1e-4
# BIM and PGD go twice as far in sum as their ball is wide.
_TRAVEL = 2.0
# The searches begin at, and end at, these shares of the largest size.
_FIRST_SHARE, _LAST_SHARE = 2.0**-14, 2.0**-20


@dataclass
class Perturbations:
    """Perturbations that an attack found, one for each of n samples.

    Attributes
    ----------
    sizes : Tensor of shape (n,), float64
        Size of the smallest perturbation found; infinity where none flipped the
        prediction.
    margins : Tensor of shape (n,), float64
        Difference of the two largest probabilities of the original sample.
    outputs : Tensor of shape (n,), int64
        The net's output that is largest for the original sample.
    adversarial : Tensor of shape (n, ...), float
        The perturbed samples as the net takes them; the originals where none flipped.
    """

    sizes: Tensor
    margins: Tensor
    outputs: Tensor
    adversarial: Tensor


def smallest_perturbations(
    module: nn.Module,
    batch: Tensor,
    *,
    attack: str = "deepfool",
    norm: str = "l2",
    max_iter: int | None = None,
    max_classes: int = 10,
    overshoot: float = 0.02,
    tolerance: float = 0.01,
    max_size: float | None = None,
    noise: Tensor | None = None,
) -> Perturbations:
    """Look for the smallest perturbation of each sample that flips its prediction.

    ``"deepfool"`` [1]_ steps to the nearest boundary of the linearised net until the
    prediction flips; the size is that of the whole perturbation, overshoot included.
    The others raise the loss of the predicted class within a ball of size ε, and a
    bisection looks for the smallest ε at which that flips the prediction: ``"fgsm"``
    [2]_ in one step of length ε along the gradient (its sign for ``"linf"``), ``"bim"``
    [3]_ in `max_iter` steps of length ``2 ε / max_iter`` that are projected to the
    ball, ``"pgd"`` [4]_ the same from a random start within the ball. An ε counts as
    soon as one of the steps flips the prediction.

    Parameters
    ----------
    module : InputClassifier
        In evaluation mode; never changed.
    batch : Tensor of shape (n, channels, H, W) or (n, n_features)
        As `module` takes it, on its device.
    attack : {"deepfool", "fgsm", "bim", "pgd"}, default="deepfool"
    norm : {"l2", "linf"}, default="l2"
    max_iter : int, default=None
        Most steps of DeepFool (None: 50); number of steps of BIM and PGD (None: 10).
    max_classes : int, default=10
        DeepFool looks at the boundaries to this number of classes, the predicted one
        included, the likeliest ones.
    overshoot : float, default=0.02
        How much farther than the boundary DeepFool goes, as a share.
    tolerance : float, default=0.01
        Relative accuracy of ε.
    max_size : float, default=None
        Largest ε tried. None: the width of the space, see `InputSpace`.
    noise : Tensor of shape of `batch`, default=None
        Start of PGD within the ball of size 1, see :func:`unit_noise`.

    Returns
    -------
    Perturbations

    References
    ----------
    .. [1] S.-M. Moosavi-Dezfooli, A. Fawzi and P. Frossard, "DeepFool: A Simple and
       Accurate Method to Fool Deep Neural Networks", CVPR 2016, algorithm 2.
       https://arxiv.org/abs/1511.04599
    .. [2] I. J. Goodfellow, J. Shlens and C. Szegedy, "Explaining and Harnessing
       Adversarial Examples", ICLR 2015. https://arxiv.org/abs/1412.6572
    .. [3] A. Kurakin, I. Goodfellow and S. Bengio, "Adversarial Examples in the
       Physical World", 2016. https://arxiv.org/abs/1607.02533
    .. [4] A. Madry, A. Makelov, L. Schmidt, D. Tsipras and A. Vladu, "Towards Deep
       Learning Models Resistant to Adversarial Attacks", ICLR 2018.
       https://arxiv.org/abs/1706.06083

    Examples
    --------
    A linear net whose boundary is at x = 0.5:

    >>> import torch
    >>> from dalmax_sk.strategies.attacks import smallest_perturbations
    >>> from dalmax_sk.nets import MLP, InputClassifier
    >>> net = MLP(1, 2, hidden_sizes=())
    >>> net.classifier.weight.data = torch.tensor([[-1.0], [1.0]])
    >>> net.classifier.bias.data = torch.tensor([0.5, -0.5])
    >>> module = InputClassifier(net, torch.zeros(1), torch.ones(1)).eval()
    >>> found = smallest_perturbations(module, torch.tensor([[0.1], [1.5]]))
    >>> [round(size, 2) for size in found.sizes.tolist()]
    [0.41, 1.02]
    """
    if attack not in ATTACKS:
        raise ValueError(f"attack must be one of {ATTACKS}, got {attack!r}.")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {NORMS}, got {norm!r}.")
    space = InputSpace(module, batch)
    target = Target(module, space, norm)
    origin = space.enter(batch)  # (n, ...)
    with torch.no_grad():
        logits = target(origin)  # (n, S)
    labels = logits.argmax(dim=1)
    n_steps = _MAX_ITER[attack] if max_iter is None else max_iter
    if logits.shape[1] == 1:  # nothing to flip to
        sizes = torch.full((len(batch),), torch.inf, device=batch.device)
        found = origin
    elif attack == "deepfool":
        n_classes = min(max_classes, logits.shape[1])
        order = logits.topk(n_classes, dim=1).indices
        found = _deepfool(target, origin, order, n_steps, overshoot)
        sizes = target.flip_sizes(found, origin, labels)
    else:
        largest = space.largest_size(norm) if max_size is None else max_size
        ascent = _Ascent(target, origin, labels, attack, n_steps, noise)
        sizes = ascent.smallest(largest, tolerance)
        found = ascent.perturbed(sizes)
    found = torch.where(spread(sizes.isfinite(), found), found, origin)
    two = logits.softmax(dim=1).topk(min(2, logits.shape[1]), dim=1).values.double()
    margins = two[:, 0] - two[:, 1] if two.shape[1] == 2 else two[:, 0]
    return Perturbations(sizes.double(), margins, labels, space.leave(found))


def unit_noise(shape: tuple[int, ...], norm: str, seeds: np.ndarray) -> np.ndarray:
    """Draw points uniformly from the ball of size 1.

    Parameters
    ----------
    shape : tuple of int
        Of one sample.
    norm : {"l2", "linf"}
    seeds : ndarray of int of shape (n,)
        One for each point, so that its draw depends on nothing else.

    Returns
    -------
    ndarray of shape (n, \\*shape), float32
    """
    n_values = math.prod(shape)
    points = np.empty((len(seeds), n_values), dtype=np.float32)
    for point, seed in zip(points, seeds, strict=True):
        rng = np.random.RandomState(seed)
        if norm == "linf":
            point[:] = rng.uniform(-1, 1, size=n_values)
        else:
            direction = rng.standard_normal(n_values)
            radius = rng.random_sample() ** (1 / n_values)
            point[:] = direction * (radius / np.linalg.norm(direction))
    return points.reshape(-1, *shape)


def linear_sizes(
    scores: np.ndarray, weight: np.ndarray, norm: str = "l2"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact sizes of the smallest flips of a linear classifier.

    With f_k(x) = ⟨w_k, x⟩ + b_k and y the predicted class, the boundary to class k is
    ``(f_y - f_k) / ||w_k - w_y||_q`` away, where q is the dual of the norm: 2 for
    ``"l2"``, 1 for ``"linf"``. The nearest of them counts.

    Parameters
    ----------
    scores : ndarray of shape (n, S)
        Scores f of the samples.
    weight : ndarray of shape (S, d)
    norm : {"l2", "linf"}, default="l2"

    Returns
    -------
    sizes : ndarray of shape (n,)
        Infinity where no change of x changes the prediction.
    gaps : ndarray of shape (n,)
        Difference of the two largest scores; infinity with a single class.
    """
    order = 2 if norm == "l2" else 1
    predicted = scores.argmax(axis=1)
    sizes = np.full(len(scores), np.inf)
    gaps = np.full(len(scores), np.inf)
    for label in np.unique(predicted):
        rows = predicted == label
        lengths = np.linalg.norm(weight - weight[label], ord=order, axis=1)  # (S,)
        gap = scores[rows, label][:, None] - scores[rows]  # (n_rows, S)
        others = np.arange(len(weight)) != label
        if not others.any():
            continue
        gaps[rows] = gap[:, others].min(axis=1)
        reachable = others & (lengths > 0)
        if reachable.any():
            sizes[rows] = (gap[:, reachable] / lengths[reachable]).min(axis=1)
    return sizes, gaps


def _deepfool(
    target: Target, origin: Tensor, order: Tensor, max_iter: int, overshoot: float
) -> Tensor:
    """Return perturbed samples; those that did not flip are as they were.

    ``order`` (n, k) holds the classes to look at, the predicted one first.
    """
    total = torch.zeros_like(origin)
    found = origin.clone()
    alive = torch.arange(len(origin), device=origin.device)
    for _ in range(max_iter):
        if not len(alive):
            break
        change, movable = _to_nearest_boundary(target, found[alive], order[alive])
        alive, change = alive[movable], change[movable]
        total[alive] += change
        moved = origin[alive] + (1 + overshoot) * total[alive]
        found[alive] = target.space.clip(moved)
        alive = alive[~target.flips(found[alive], order[alive, 0])]
    return found


def _to_nearest_boundary(
    target: Target, values: Tensor, order: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the steps to the nearest linearised boundary, and where there is one."""
    logits, leaf = target.slopes(values)
    differences = logits.gather(1, order[:, 1:]) - logits.gather(1, order[:, :1])
    nearest = torch.full_like(logits[:, 0], torch.inf)
    step = torch.zeros_like(values)
    for k in range(differences.shape[1]):
        last = k == differences.shape[1] - 1
        difference = differences[:, k]
        # samples do not mix in evaluation mode: the gradient of a sum is each one's own
        (slope,) = torch.autograd.grad(difference.sum(), leaf, retain_graph=not last)
        steepness = target.sizes(slope, dual=True)
        distance = difference.detach().abs() / steepness
        distance = torch.where(steepness > 0, distance, torch.inf)
        closer = distance < nearest
        nearest = torch.where(closer, distance, nearest)
        # for l2: distance · w / |w|; for linf: distance · sign(w)
        own = target.steepest(slope) * spread(distance + _NUDGE, slope)
        step = torch.where(spread(closer, step), own, step)
    return step, nearest.isfinite()


class _Ascent:
    """FGSM, BIM and PGD of one batch: perturbations of given sizes, and the least."""

    def __init__(
        self,
        target: Target,
        origin: Tensor,
        labels: Tensor,
        attack: str,
        n_steps: int,
        noise: Tensor | None,
    ) -> None:
        self.target = target
        self.origin = origin
        self.labels = labels
        self.one_step = attack == "fgsm"
        self.n_steps = 1 if self.one_step else n_steps
        self.step_share = 1.0 if self.one_step else _TRAVEL / n_steps
        self.noise = noise if attack == "pgd" else None
        # The first step does not depend on ε, unless the start does.
        self.first = None if attack == "pgd" else self._uphill(origin, labels)

    def _uphill(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the steepest changes of size 1 of the loss.

        The gradient of the cross-entropy is a positive multiple of that of
        ``logsumexp of the other logits - own logit``, which does not underflow where
        the net is sure.
        """
        logits, leaf = self.target.slopes(values)
        own = logits.gather(1, labels[:, None])
        others = logits.scatter(1, labels[:, None], -torch.inf)
        loss = (others.logsumexp(dim=1) - own.squeeze(1)).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return self.target.steepest(gradient)

    def attempt(self, rows: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """Attack ``rows`` (k,) within balls of sizes ``limit`` (k,).

        Returns whether each flipped (k,) and the perturbed samples (k, ...).
        """
        target, origin = self.target, self.origin[rows]
        values = origin
        if self.noise is not None:
            change = self.noise[rows] * spread(limit, origin)
            values = target.space.clip(origin + change)
        flipped = torch.zeros_like(rows, dtype=torch.bool)
        result = values.clone()
        alive = torch.arange(len(rows), device=rows.device)
        if self.noise is not None:
            flipped = target.flips(values, self.labels[rows])
            alive = alive[~flipped]
        for step in range(self.n_steps):
            if not len(alive):
                break
            at, labels = result[alive], self.labels[rows[alive]]
            if step == 0 and self.first is not None:
                direction = self.first[rows[alive]]
            else:
                direction = self._uphill(at, labels)
            length = self.step_share * limit[alive]
            change = at - origin[alive] + direction * spread(length, at)
            change = target.project(change, limit[alive])
            result[alive] = target.space.clip(origin[alive] + change)
            done = target.flips(result[alive], labels)
            flipped[alive[done]] = True
            alive = alive[~done]
        return flipped, result

    def smallest(self, largest: float, tolerance: float) -> Tensor:
        """Return the smallest ε that flips, (n,); infinity if none up to ``largest``.

        Doubles, or halves, from a first guess until one ε flips and half of it does
        not, then bisects between the two.
        """
        n, like = len(self.origin), self.origin
        high = torch.full((n,), torch.inf, dtype=torch.float64, device=like.device)
        low = torch.zeros_like(high)
        trial = torch.full_like(high, largest * _FIRST_SHARE)
        if not self.one_step:
            # FGSM costs next to nothing and tells the order of magnitude.
            fgsm = _Ascent(self.target, like, self.labels, "fgsm", 1, None)
            guess = fgsm.smallest(largest, tolerance=1.0)
            trial = torch.where(guess.isfinite(), guess, largest / 4)
        open_rows = torch.arange(n, device=like.device)
        while len(open_rows):
            flipped = self.attempt(open_rows, trial[open_rows].to(like.dtype))[0]
            good, bad = open_rows[flipped], open_rows[~flipped]
            high[good], low[bad] = trial[good], trial[bad]
            shrink = good[(low[good] == 0) & (high[good] > largest * _LAST_SHARE)]
            grow = bad[high[bad].isinf() & (low[bad] < largest)]
            trial[shrink] = high[shrink] / 2
            trial[grow] = (2 * low[grow]).clamp_max(largest)
            open_rows = torch.cat([shrink, grow])
        open_rows = high.isfinite().nonzero().squeeze(1)
        while True:
            wide = (high - low)[open_rows] > tolerance * high[open_rows]
            wide &= high[open_rows] > largest * _LAST_SHARE
            open_rows = open_rows[wide]
            if not len(open_rows):
                return high
            middle = (low[open_rows] + high[open_rows]) / 2
            flipped = self.attempt(open_rows, middle.to(like.dtype))[0]
            high[open_rows[flipped]] = middle[flipped]
            low[open_rows[~flipped]] = middle[~flipped]

    def perturbed(self, sizes: Tensor) -> Tensor:
        """Return the samples perturbed within balls of ``sizes`` (n,)."""
        result = self.origin.clone()
        rows = sizes.isfinite().nonzero().squeeze(1)
        if len(rows):
            result[rows] = self.attempt(rows, sizes[rows].to(result.dtype))[1]
        return result
