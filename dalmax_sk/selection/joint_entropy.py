"""BatchBALD: batches that tell most about the model, jointly.

What a candidate adds, given those picked before it, only shrinks as the batch grows.
An old value is therefore an upper bound, and the greedy search evaluates the candidates
with the largest bounds first, usually a few hundred of the pool. Once labellings are
drawn and not enumerated, values are estimates that may rise a little; old ones still
serve as bounds.
"""

import math
from typing import Any

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

__all__ = [
    "RESOLUTION",
    "as_samples",
    "batch_bald",
    "information_limit",
    "plogp",
    "tile_values",
]

# Candidates evaluated between two looks at the best so far: at first, at most. Where
# labellings are drawn the picks depend on them, so they are the same for any memory.
_CHUNK = (32, 512)
#: Information (in nats) below this is rounding; gains that differ by less are equal.
RESOLUTION = 1e-12
# Configurations less probable than this add nothing that float64 could hold.
_NEGLIGIBLE = 1e-15


def as_samples(samples: Any, name: str = "samples") -> torch.Tensor:
    """Return class probabilities of shape (K, n, C) as a checked tensor.

    float32 and float64 stay as they are.
    """
    if not isinstance(samples, torch.Tensor):
        samples = np.asarray(samples)
    if samples.ndim != 3 or 0 in samples.shape:
        raise ValueError(
            f"{name} must have the shape (n_samples, n_candidates, n_classes), none of "
            f"them 0; got {tuple(samples.shape)}."
        )
    shape = tuple(samples.shape)
    tensor = as_matrix(samples.reshape(-1, shape[-1]), name)
    totals = tensor.sum(dim=1)
    worst = float((totals - 1).abs().max())
    if float(tensor.min()) < 0 or worst > 1e-3:
        raise ValueError(
            f"{name} must be probabilities: at least 0, sums over the classes 1. The "
            f"least value is {float(tensor.min()):g}, a sum is off by {worst:g}."
        )
    return tensor.view(shape)


def tile_values(device: torch.device, max_memory: int) -> int:
    """Return how many float64 numbers a tile of probabilities may have."""
    on_cpu = device.type == "cpu"
    most = limits.tile_cpu_values if on_cpu else limits.tile_gpu_values
    # a tile, its logarithms, and what goes into the product
    return max(1, min(most, max_memory // (4 * 8)))


def batch_bald(
    samples: Any,
    n: int,
    *,
    max_configurations: int = 1000,
    random_state: Any = None,
    max_memory: int = 2**30,
    return_scores: bool = False,
) -> Array | tuple[Array, Array]:
    r"""Pick n candidates whose labels jointly tell most about the model.

    Greedily maximises the mutual information between the labels of the batch and the
    model's parameters, :math:`I(y_1, \dots, y_n; \omega)` [1]_: each pick is the
    candidate with the largest :math:`I(y; \omega \mid y_1, \dots, y_{t-1})`.

    Parameters
    ----------
    samples : array-like or torch.Tensor of shape (K, n_pool, C)
        Class probabilities under K samples of the parameters. A sample must be one and
        the same model for all candidates. Never written to.
    n : int
        How many to pick, from 1 to n_pool.
    max_configurations : int, default=1000
        Joint labellings of the batch that are kept. All are enumerated while they are
        no more than these; then as many are drawn.
    random_state : int, RandomState instance or None, default=None
        Breaks ties and draws the configurations.
    max_memory : int, default=1 GiB
        Bytes that temporary blocks may take. It changes no pick.
    return_scores : bool, default=False
        Whether to return the gains as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Distinct positions in pick order, a tensor on the device of `samples` if that is
        one.
    gains : ndarray or torch.Tensor of shape (n,), float64
        The conditional mutual information (nats, at least 0) of each pick. Their sum is
        the joint information of the batch, at most ln K. Only with `return_scores`.

    Raises
    ------
    ValueError
        If `samples` are no probabilities of that shape, or `n`, `max_configurations`
        or `max_memory` are out of range.

    Notes
    -----
    With weights :math:`w_k = p(\omega_k \mid y_1 \dots y_{t-1})` of the samples under
    one labelling, the gain is :math:`H[\sum_k w_k p_k(y)] - \sum_k w_k H[p_k(y)]`,
    averaged over labellings. This is exact where all labellings are enumerated. Beyond,
    labellings are drawn from their joint distribution, one label after another, by
    systematic resampling, and a candidate is passed over if its last estimate was below
    the best. The paper's estimate differs in the second term, which it
    takes over all samples alike; with the weights of the same labellings no estimate is
    negative, and it is 0, not noise, once a labelling tells the samples apart.

    Time is O(n_pool·K·C) for the first pick, then for each O(M·K·C) a candidate looked
    at, M configurations.

    References
    ----------
    .. [1] A. Kirsch, J. van Amersfoort and Y. Gal, "BatchBALD: Efficient and Diverse
       Batch Acquisition for Deep Bayesian Active Learning", NeurIPS 2019.
       https://arxiv.org/abs/1906.08158

    Examples
    --------
    Two candidates that answer the same question, and one that answers another:

    >>> import numpy as np
    >>> from dalmax_sk.selection import batch_bald
    >>> yes, no = [0.0, 1.0], [1.0, 0.0]
    >>> samples = np.array(
    ...     [[yes, yes, yes], [yes, yes, no], [no, no, yes], [no, no, no]]
    ... )
    >>> positions, gains = batch_bald(samples, 2, random_state=0, return_scores=True)
    >>> sorted(int(p) // 2 for p in positions)
    [0, 1]
    >>> gains / np.log(2)
    array([1., 1.])
    """
    probabilities = as_samples(samples)
    n = check_count(n, probabilities.shape[1], "samples")
    max_memory = check_max_memory(max_memory)
    if max_configurations < 1:
        raise ValueError(
            f"max_configurations must be at least 1, got {max_configurations!r}."
        )
    rng = check_random_state(random_state)
    search = _Search(probabilities, int(max_configurations), max_memory, rng)
    positions, gains = search.run(n)
    found = positions_like(positions, samples)
    if not return_scores:
        return found
    return found, positions_like(gains, samples)


class _Search:
    """The greedy search: configurations of the batch so far, bounds on all gains.

    ``weights`` (M, K) holds the posterior of the K samples under each configuration,
    ``mass`` (M,) the configurations' probabilities.
    """

    def __init__(
        self,
        samples: torch.Tensor,
        max_configurations: int,
        max_memory: int,
        rng: np.random.RandomState,
    ) -> None:
        self.samples = samples
        self.max_configurations = max_configurations
        self.rng = rng
        self.tile = tile_values(samples.device, max_memory)
        n_samples, self.n_pool, self.n_classes = samples.shape
        self.mass = torch.ones(1, dtype=torch.float64, device=samples.device)
        self.weights = self.mass.repeat(1, n_samples) / n_samples
        # Of equal candidates the one that comes first in a random order is taken.
        self.priority = rng.permutation(self.n_pool)

    def run(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return n positions and their gains."""
        bounds = self.gains(np.arange(self.n_pool))
        picks: list[int] = []
        gains: list[float] = []
        while len(picks) < n:
            if bounds.max() <= RESOLUTION:
                # Nothing is left to learn: whatever comes next is as good.
                left = np.flatnonzero(bounds >= 0)
                rest = left[np.argsort(self.priority[left])][: n - len(picks)]
                picks += rest.tolist()
                gains += [0.0] * len(rest)
                break
            best, gain = self._best(bounds) if picks else self._first_of_ties(bounds)
            picks.append(best)
            gains.append(gain)
            bounds[best] = -np.inf
            progress.report("query", len(picks), n)
            if len(picks) < n:
                self._extend(best)
        return np.array(picks), np.array(gains)

    def _first_of_ties(self, gains: np.ndarray) -> tuple[int, float]:
        """Return the largest of ``gains`` (n,), of equal ones the first by seed."""
        tied = np.flatnonzero(gains >= gains.max() - RESOLUTION)
        best = tied[self.priority[tied].argmin()]
        return int(best), float(gains[best])

    def _best(self, bounds: np.ndarray) -> tuple[int, float]:
        """Return the candidate with the largest gain now; lower ``bounds`` (n,)."""
        order = np.argsort(-bounds, kind="stable")
        fresh = np.full(self.n_pool, -np.inf)
        start, size = 0, _CHUNK[0]
        while start < self.n_pool:
            if bounds[order[start]] < fresh.max() - RESOLUTION:
                break
            some = order[start : start + size]
            some = some[bounds[some] >= 0]  # picked ones are at minus infinity
            if len(some) == 0:
                break
            fresh[some] = self.gains(some)
            start += size
            size = min(2 * size, _CHUNK[1])
        looked_at = np.isfinite(fresh)
        bounds[looked_at] = fresh[looked_at]
        return self._first_of_ties(fresh)

    def gains(self, index: np.ndarray) -> np.ndarray:
        """Return the conditional mutual information of the candidates ``index``."""
        found = np.empty(len(index))
        n_samples, n_classes = len(self.samples), self.n_classes
        # columns of the products, and of the samples that go into them
        height = max(len(self.weights), n_samples)
        width = max(1, self.tile // (height * n_classes))
        rows = max(1, self.tile // n_classes)
        average = self.mass @ self.weights  # (K,)
        for start in range(0, len(index), width):
            at = torch.as_tensor(index[start : start + width]).to(self.samples.device)
            some = self.samples[:, at].to(torch.float64)  # (K, w, C)
            given = average @ plogp(some).sum(dim=2)  # (w,), minus entropy
            some = some.reshape(n_samples, -1)  # (K, w·C)
            total = torch.zeros_like(some[0])
            for weights, mass in zip(
                self.weights.split(rows), self.mass.split(rows), strict=True
            ):
                total += mass @ plogp(weights @ some)  # of (M, w·C)
            gain = given - total.view(-1, n_classes).sum(dim=1)
            found[start : start + width] = gain.clamp_min_(0.0).cpu().numpy()
        return found

    def _extend(self, pick: int) -> None:
        """Let every configuration grow by the label of ``pick``."""
        proba = self.samples[:, pick].to(torch.float64)  # (K, C)
        predicted = self.weights @ proba  # (M, C)
        mass = self.mass[:, None] * predicted
        config, label = (mass > _NEGLIGIBLE).nonzero(as_tuple=True)
        mass = mass[config, label]
        mass = mass / mass.sum()
        if len(mass) > self.max_configurations:
            kept, counts = self._resample(mass)
            config, label = config[kept], label[kept]
            mass = counts / counts.sum()
        weights = self.weights[config] * proba.T[label]  # (M', K)
        self.weights = weights / weights.sum(dim=1, keepdim=True)
        self.mass = mass

    def _resample(self, mass: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw ``max_configurations`` of the configurations, in proportion to ``mass``.

        Systematic resampling: each is drawn mass · max_configurations times, rounded
        down or up. Returns those drawn and how often.
        """
        n = self.max_configurations
        cumulative = mass.cpu().numpy().cumsum()
        at = (np.arange(n) + self.rng.random_sample()) / n * cumulative[-1]
        found = np.searchsorted(cumulative, at, side="right").clip(max=len(mass) - 1)
        kept, counts = np.unique(found, return_counts=True)
        device = mass.device
        return (
            torch.from_numpy(kept).to(device),
            torch.from_numpy(counts.astype(np.float64)).to(device),
        )


def plogp(proba: torch.Tensor) -> torch.Tensor:
    """Return p·log p of each entry, 0 where p is 0."""
    logs = proba.clamp_min(torch.finfo(proba.dtype).tiny).log_()
    return logs.mul_(proba)


def information_limit(n_samples: int) -> float:
    """Return ln K, the most that any batch can tell about which sample is right."""
    return math.log(n_samples)
