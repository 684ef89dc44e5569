"""BAIT: the batch that leaves the least error, by the Fisher information.

The Fisher information of one candidate in the last layer is the Kronecker product of a
C × C matrix of its probabilities and a d × d matrix of its embedding. Everything a
candidate contributes to the search therefore fits in two small matrices, c × c with
c = C - 1, and these are kept up to date by products of rank c. Nothing of size n × C·d
ever exists.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_matrix,
    check_count,
    check_max_memory,
    positions_like,
)

__all__ = ["bait", "contrasts", "fisher_factors", "fisher_sum"]

# Relative difference of gains that counts as a tie.
_TIE = 1e-10


def fisher_factors(proba: torch.Tensor, approximation: str = "full") -> torch.Tensor:
    r"""Return factors V of the candidates' Fisher information in the class scores.

    Parameters
    ----------
    proba : torch.Tensor of shape (n, C), float64
        Class probabilities.
    approximation : {"full", "binary"}, default="full"
        ``"full"``: :math:`V V^T = R^T (\mathrm{diag}(p) - p p^T) R`, where the columns
        of R are an orthonormal basis of the vectors that sum to 0; adding a constant to
        all class scores changes no probability, so nothing is lost. ``"binary"``:
        :math:`V V^T = \hat p (1 - \hat p)` with the largest probability.

    Returns
    -------
    torch.Tensor of shape (n, c, c), float64
        c is C - 1, or 1 for ``"binary"``.
    """
    if approximation == "binary":
        largest = proba.amax(dim=1)
        return (largest * (1 - largest)).clamp_min(0.0).sqrt()[:, None, None]
    n_classes = proba.shape[1]
    root = proba.sqrt()
    # W = diag(q) - p qᵀ has W Wᵀ = diag(p) - p pᵀ and W q = 0, with q = √p. The
    # reflection that turns q into the last axis leaves a last column of zeros.
    factors = torch.diag_embed(root) - proba[:, :, None] * root[:, None, :]
    mirror = root.clone()
    mirror[:, -1] += 1
    mirror /= 1 + root[:, -1:]
    factors -= factors[:, :, -1:] * mirror[:, None, :]
    return contrasts(n_classes).to(proba).T @ factors[:, :, :-1]


def contrasts(n_classes: int) -> torch.Tensor:
    """Return an orthonormal basis (C, C - 1) of the vectors that sum to 0 (Helmert)."""
    basis = torch.zeros(n_classes, n_classes - 1, dtype=torch.float64)
    for column in range(n_classes - 1):
        basis[: column + 1, column] = 1.0
        basis[column + 1, column] = -(column + 1)
    return basis / basis.norm(dim=0)


def bait(
    X: Any,
    proba: Any,
    n: int,
    labeled_X: Any = None,
    labeled_proba: Any = None,
    *,
    regularization: float = 1.0,
    oversampling: float = 2.0,
    approximation: str = "full",
    random_state: Any = None,
    max_memory: int = 2**30,
    return_scores: bool = False,
) -> Array | tuple[Array, Array, float]:
    r"""Pick n candidates that minimise a bound on the error after labelling them.

    With the Fisher information of the last layer,
    :math:`I(x) = (\mathrm{diag}(p) - p p^T) \otimes h h^T`, minimises

    .. math:: \mathrm{tr}\Big[\big(\lambda 1 + \sum_{x \in L \cup S} I(x)\big)^{-1}\,
       \frac{1}{|U|} \sum_{x \in U} I(x)\Big]

    over batches S, where L are the labelled samples and U all candidates [1]_: greedily
    adds ``oversampling * n`` candidates, then greedily takes away those that are missed
    least until n are left.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, d)
        Embeddings h of the candidates.
    proba : array-like or torch.Tensor of shape (n_pool, C)
        Their class probabilities p.
    n : int
        How many to pick, from 1 to n_pool.
    labeled_X, labeled_proba : array-like of shapes (m, d) and (m, C), default=None
        The same of the labelled samples; None if there are none.
    regularization : float, default=1.0
        λ, above 0: the precision of a Gaussian prior on the last layer's weights.
    oversampling : float, default=2.0
        At least 1; 1 is the forward search alone.
    approximation : {"full", "binary"}, default="full"
        ``"binary"`` replaces diag(p) - p pᵀ by p̂(1 - p̂), p̂ the largest probability
        [2]_: the cost no longer depends on C.
    random_state : int, RandomState instance or None, default=None
        Breaks ties.
    max_memory : int, default=1 GiB
        Bytes that may be taken in addition to the inputs. The search needs
        ``16·(c·d)² + 16·c·d² + 24·n_pool·c²``, c = C - 1, and a block.
    return_scores : bool, default=False
        Whether to return the scores and the objective as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Distinct positions, in the order in which they were added.
    scores : ndarray or torch.Tensor of shape (n,), float64
        By how much each lowered the objective when it was added. Only with
        `return_scores`.
    objective : float
        Its value after all picks. Only with `return_scores`.

    Raises
    ------
    ValueError
        If shapes do not agree, a parameter is out of range, the matrices do not fit
        `max_memory` (the message says what would), or they are singular in float64.

    Notes
    -----
    Time is O((n_pool + m)·(c·d)² + (c·d)³) to set up, then for each of about
    ``2 * oversampling * n`` steps O(n_pool·(d·c² + c³) + c·(c·d)²), in float64. Gains
    that differ by less than one part in 10¹⁰ count as ties.

    References
    ----------
    .. [1] J. T. Ash, S. Goel, A. Krishnamurthy and S. Kakade, "Gone Fishing: Neural
       Active Learning with Fisher Embeddings", NeurIPS 2021.
       https://arxiv.org/abs/2106.09675
    .. [2] D. Huseljic, P. Hahn, M. Herde, L. Rauch and B. Sick, "Fast Fishing:
       Approximating BAIT for Efficient and Scalable Deep Active Image Classification",
       ECML PKDD 2024. https://arxiv.org/abs/2404.08981

    Examples
    --------
    Of two directions the one that most candidates lie in is asked about first, and the
    longest vector tells most about it:

    >>> import numpy as np
    >>> from dalmax_sk.selection import bait
    >>> X = np.array([[1.0, 0.0], [2.0, 0.0], [1.5, 0.0], [0.0, 1.0]])
    >>> bait(X, np.full((4, 2), 0.5), 2)
    array([1, 2])
    """
    points = as_matrix(X, "X")
    n = check_count(n, len(points), "X")
    limit = check_max_memory(max_memory)
    _check_parameters(regularization, oversampling, approximation)
    chances = _probabilities(proba, points, "proba", "X")
    known, known_chances = None, None
    if labeled_X is not None and len(labeled_X):
        known = as_matrix(labeled_X, "labeled_X").to(points.device)
        known_chances = _probabilities(
            labeled_proba, known, "labeled_proba", "labeled_X"
        )
        if known.shape[1] != points.shape[1] or (
            known_chances.shape[1] != chances.shape[1]
        ):
            raise ValueError(
                f"labeled_X {tuple(known.shape)} and labeled_proba "
                f"{tuple(known_chances.shape)} must have as many columns as X "
                f"{tuple(points.shape)} and proba {tuple(chances.shape)}."
            )
    priority = check_random_state(random_state).permutation(len(points))
    width = 1 if approximation == "binary" else chances.shape[1] - 1
    if width == 0:
        # One class: no label tells anything.
        found = np.argsort(priority)[:n]
        scores, objective = np.zeros(n), 0.0
    else:
        plan = _plan(len(points), points.shape[1], width, limit)
        if known is None or known_chances is None:
            known, known_chances = points[:0], chances[:0]

        def factors_of_labeled(block: slice) -> torch.Tensor:
            return fisher_factors(known_chances[block], approximation)

        inverse = _inverse_of_labeled(known, factors_of_labeled, regularization, plan)
        factors = chances.new_empty(len(points), width, width)
        for out, some in zip(
            factors.split(plan.rows), chances.split(plan.rows), strict=True
        ):
            out.copy_(fisher_factors(some, approximation))
        search = _Search(points, factors, inverse, plan)
        n_forward = min(len(points), max(n, int(np.ceil(oversampling * n))))
        found, scores, objective = search.run(n, n_forward, priority)
    positions = positions_like(found, X)
    if not return_scores:
        return positions
    return positions, positions_like(scores, X), objective


class _Plan(NamedTuple):
    """Sizes of the search: embedding, factors, rows of a block."""

    n_features: int
    width: int
    rows: int


class _Search:
    r"""The search: what each candidate would change, and the matrices behind it.

    With U = V ⊗ h the factor of a candidate's information, P the inverse of the
    information so far and F that of the pool, ``reach`` holds Uᵀ P U and ``use`` holds
    Uᵀ P F P U, both (n, c, c): adding the candidate lowers tr(P F) by
    tr((1 + reach)⁻¹ use), and taking it away raises it by tr((1 - reach)⁻¹ use).
    """

    def __init__(
        self,
        points: torch.Tensor,
        factors: torch.Tensor,
        inverse: torch.Tensor,
        plan: _Plan,
    ) -> None:
        self.points, self.factors, self.plan = points, factors, plan
        self.inverse = inverse  # P, (c·d, c·d)
        # F, (c·d, c·d)
        self.fisher = fisher_sum(points, factors.__getitem__, plan.width, plan.rows)
        self.fisher /= len(points)
        self.objective = float((self.inverse * self.fisher).sum())
        self.reach = self._sandwich(lambda at: self.inverse[at, at.start :])
        self.use = self._sandwich(
            lambda at: self.inverse[at] @ self.fisher @ self.inverse[:, at.start :]
        )

    def _blocks(self) -> list[slice]:
        n, rows = len(self.points), self.plan.rows
        return [slice(start, start + rows) for start in range(0, n, rows)]

    def _sandwich(self, block_of: Any) -> torch.Tensor:
        """Return Uᵀ A U of all candidates, for a symmetric A.

        ``block_of`` gives a slice of its rows from the diagonal on.
        """
        d, c = self.plan.n_features, self.plan.width
        found = torch.empty_like(self.factors)
        for a in range(c):
            upper = block_of(slice(a * d, (a + 1) * d))  # (d, (c - a)·d)
            for block in self._blocks():
                points = self.points[block].to(torch.float64)
                products = (points @ upper).view(len(points), c - a, d)
                values = (products @ points[:, :, None]).squeeze(2)
                found[block, a, a:] = values
                found[block, a:, a] = values
        for block in self._blocks():
            factors = self.factors[block]
            found[block] = factors.mT @ found[block] @ factors
        return found

    def run(
        self, n: int, n_forward: int, priority: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Add ``n_forward`` candidates, take the least missed away until n are left."""
        picks: list[int] = []
        scores: list[float] = []
        total = 2 * n_forward - n
        free = torch.ones(len(self.points), dtype=torch.bool, device=self.reach.device)
        for _ in range(n_forward):
            changes = torch.where(free, self._changes(-1.0), -torch.inf)
            gains = changes.cpu().numpy()
            best = _first_of_ties(gains, priority)
            picks.append(best)
            scores.append(float(gains[best]))
            free[best] = False
            self._update(best, -1.0)
            self.objective -= scores[-1]
            progress.report("query", len(picks), total)
        left = np.arange(n_forward)
        if n < n_forward:
            self._keep(picks)
        for step in range(n_forward - n):
            losses = self._changes(1.0).cpu().numpy()
            worst = _first_of_ties(-losses, priority[picks][left])
            self._update(worst, 1.0)
            self.objective += float(losses[worst])
            left = np.delete(left, worst)
            self._keep([i for i in range(len(losses)) if i != worst])
            progress.report("query", n_forward + step + 1, total)
        return np.array(picks)[left], np.array(scores)[left], self.objective

    def _keep(self, index: list[int]) -> None:
        """Forget all candidates but ``index``."""
        at = torch.tensor(index, device=self.points.device)
        self.points, self.factors = self.points[at], self.factors[at]
        self.reach, self.use = self.reach[at], self.use[at]

    def _changes(self, sign: float) -> torch.Tensor:
        """Return by how much tr(P F) changes with each candidate: (n,), at least 0.

        ``sign`` is -1 for adding a candidate and 1 for taking it away.
        """
        found = torch.empty(len(self.reach), dtype=torch.float64)
        found = found.to(self.reach.device)
        one = torch.eye(self.plan.width, dtype=torch.float64, device=found.device)
        for block in self._blocks():
            root = torch.linalg.cholesky_ex(one - sign * self.reach[block]).L
            half = torch.linalg.solve_triangular(root, one.expand_as(root), upper=False)
            found[block] = ((half @ self.use[block]) * half).sum(dim=(1, 2))
        if not bool(torch.isfinite(found).all()):
            raise ValueError(
                "BAIT's Fisher information is singular in float64: the embeddings "
                f"reach {float(self.points.abs().max()):.3g}. Standardise them, or use "
                "a larger regularization."
            )
        return found

    def _update(self, index: int, sign: float) -> None:
        """Add candidate ``index`` (``sign`` -1) or take it away (``sign`` 1).

        By Woodbury's identity P becomes P + sign · G Gᵀ with G = P U L⁻ᵀ and
        L Lᵀ = 1 - sign · Uᵀ P U.
        """
        d, c = self.plan.n_features, self.plan.width
        one = torch.eye(c, dtype=torch.float64, device=self.reach.device)
        point = self.points[index].to(torch.float64)
        own = (self.inverse.view(c * d, c, d) @ point) @ self.factors[index]  # P U
        root = torch.linalg.cholesky(one - sign * self.reach[index])
        change = torch.linalg.solve_triangular(root.mT, own, upper=True, left=False)
        through = self.fisher @ change  # F G, (c·d, c)
        middle = change.T @ through  # Gᵀ F G
        both = torch.cat([change, self.inverse @ through], dim=1)  # G and P F G
        self.inverse.addmm_(change, change.T, alpha=sign)
        both = both.view(c, d, 2 * c).permute(1, 0, 2).reshape(d, -1)
        for block in self._blocks():
            points = self.points[block].to(torch.float64)
            products = (points @ both).view(len(points), c, 2 * c)
            products = self.factors[block].mT @ products
            moved, used = products[..., :c], products[..., c:]
            self.reach[block].baddbmm_(moved, moved.mT, alpha=sign)
            # moved·usedᵀ + used·movedᵀ + moved·middle·movedᵀ, half of it at a time
            used = sign * used + 0.5 * (moved @ middle)
            half = moved @ used.mT
            self.use[block] += half + half.mT


def fisher_sum(
    points: torch.Tensor, factors_of: Any, width: int, n_rows: int
) -> torch.Tensor:
    """Return the sum of the Fisher information of all points, (c·d, c·d), float64.

    ``factors_of`` gives the factors (r, c, c) of a slice of them, c is ``width``; they
    are looked at ``n_rows`` at a time.
    """
    d, c = points.shape[1], width
    total = torch.zeros(c * d, c * d, dtype=torch.float64, device=points.device)
    for start in range(0, len(points), n_rows):
        block = slice(start, start + n_rows)
        some = points[block].to(torch.float64)
        inner = factors_of(block)
        inner = inner @ inner.mT  # (r, c, c)
        for a in range(c):
            for b in range(a, c):
                part = total[a * d : (a + 1) * d, b * d : (b + 1) * d]
                part.addmm_((some * inner[:, a, b, None]).T, some)
    for a in range(c):
        upper = total[a * d : (a + 1) * d, (a + 1) * d :]
        total[(a + 1) * d :, a * d : (a + 1) * d] = upper.T
    return total


def _first_of_ties(values: np.ndarray, priority: np.ndarray) -> int:
    """Return the largest of ``values`` (n,), of equal ones the first by priority."""
    largest = values.max()
    tied = np.flatnonzero(values >= largest - _TIE * abs(largest))
    return int(tied[priority[tied].argmin()])


def _check_parameters(
    regularization: float, oversampling: float, approximation: str
) -> None:
    if not 0 < regularization < np.inf:
        raise ValueError(
            f"regularization must be a positive number, got {regularization!r}."
        )
    if not 1 <= oversampling < np.inf:
        raise ValueError(f"oversampling must be at least 1, got {oversampling!r}.")
    if approximation not in ("full", "binary"):
        raise ValueError(
            f"approximation must be 'full' or 'binary', got {approximation!r}."
        )


def _probabilities(
    proba: Any, points: torch.Tensor, name: str, of: str
) -> torch.Tensor:
    """Return ``proba`` (n, C) in float64 on the device of ``points``, checked."""
    chances = as_matrix(proba, name).to(points.device, torch.float64)
    if len(chances) != len(points):
        raise ValueError(f"{name} has {len(chances)} rows, {of} has {len(points)}.")
    off = float((chances.sum(dim=1) - 1).abs().max())
    if float(chances.min()) < 0 or off > 1e-3:
        raise ValueError(
            f"{name} must be probabilities: at least 0, sums over the classes 1. The "
            f"least value is {float(chances.min()):g}, a sum is off by {off:g}."
        )
    return chances


def _plan(n: int, d: int, c: int, limit: int) -> _Plan:
    """Return the sizes of a search that fits ``limit`` bytes, or say what would fit."""
    fixed = 16 * (c * d) ** 2 + 16 * c * d**2 + 24 * n * c**2
    row = 8 * (3 * d + c * d + 8 * c**2)
    if fixed + row > limit:
        raise ValueError(
            f"BAIT on {n:,} candidates with {d} features and {c + 1} classes needs "
            f"{fixed + row:,} bytes, max_memory is {limit:,}. Raise it, reduce the "
            "features (n_components) or the candidates (max_candidates), or use "
            "approximation='binary'."
        )
    return _Plan(d, c, max(1, min(limits.product_rows, n, (limit - fixed) // row)))


def _inverse_of_labeled(
    known: torch.Tensor, factors_of: Any, regularization: float, plan: _Plan
) -> torch.Tensor:
    """Return (λ 1 + information of the labelled samples)⁻¹, (c·d, c·d)."""
    total = fisher_sum(known, factors_of, plan.width, plan.rows)
    total.diagonal().add_(regularization)
    root, failed = torch.linalg.cholesky_ex(total)
    del total
    if int(failed):
        raise ValueError(
            "BAIT's Fisher information of the labelled samples is singular in float64: "
            f"their embeddings reach {float(known.abs().max()):.3g}. Standardise them, "
            "or use a larger regularization."
        )
    return torch.cholesky_inverse(root)
