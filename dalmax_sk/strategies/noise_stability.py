"""Noise stability: ask where small changes of the weights change the output."""

from numbers import Integral, Real

import numpy as np
import torch
from scipy.special import softmax
from torch.func import functional_call

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk._base.storage import DEFAULT_MAX_MEMORY, row_blocks
from dalmax_sk._base.words import listed
from dalmax_sk.selection import k_center_greedy
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.expected_model_change import has_network

__all__ = ["NoiseStability"]


class NoiseStability(QueryStrategy):
    r"""Pick candidates whose output moves far, and diversely, when weights are shaken.

    Noise is added to the weights K times; each time all candidates see the same noise.
    How the output moves is, for small noise, a random projection of its gradient by the
    weights. The K deviations of a candidate, one after the other and divided by the
    length of its output without noise, are a vector whose length tells how uncertain
    the candidate is and whose direction tells candidates apart; greedy k-center with
    the origin as first centre picks vectors that are long and far from each other [1]_:

    .. math::
        v(x) = \frac{\big(f(x; \theta + \Delta_1) - f(x; \theta), \ldots,
        f(x; \theta + \Delta_K) - f(x; \theta)\big)}{\|f(x; \theta)\|},
        \qquad \|\Delta_k\| = \zeta \|\theta\|

    Parameters
    ----------
    magnitude : float, default=1e-3
        Length of the noise as a share of that of the weights (:math:`\zeta`), greater
        than 0.
    n_samplings : int, default=30
        Number K of times, at least 1. The paper uses 30 on CIFAR-10.
    noise : {"layer", "global"}, default="layer"
        ``"layer"`` draws one direction for each layer's ``weight``, in proportion to
        its own length, as the authors' program does: the weights of normalisations are
        shaken too, biases and parameters of other names are not. ``"global"`` draws the
        direction among those of all parameters together, as the paper defines it.
    output : {"proba", "logits", "embeddings"}, default="proba"
        Whose deviation is measured; the paper's choice for classification is the
        soft-max. ``"embeddings"`` needs ``layers="all"`` and a net.
    layers : {"auto", "all", "last"}, default="auto"
        Whose weights are shaken: all those of a net, or the last layer's, which costs
        no pass over the data. ``"auto"`` is ``"all"`` for a CNN and ``"last"`` for
        linear models and arrays with a head.
    n_components : int or None, default=None
        Project the deviations to this many numbers by a Gaussian random matrix, which
        keeps distances up to a relative error of about ``sqrt(2 / n_components)``. None
        keeps all ``K * C`` of them.
    relative : bool, default=True
        Divide the deviations of a candidate by the length of its output without noise,
        as the authors' program does: up to ``sqrt(C)`` times more weight for candidates
        of even soft-max. Outputs of length 0 are not divided. False takes them as they
        are.

    See Also
    --------
    BADGE : Gradients of the last layer, exact and drawn by k-means++.
    ExpectedModelChange : The length of gradients alone.

    Notes
    -----
    The score of a pick is its distance to the nearest centre when it was picked, that
    of the first the length of its vector. The query leaves ``mean_deviation`` in
    ``pool.info``, the mean length of the vectors divided by sqrt(K).

    The net is run K + 1 times over the pool, in evaluation mode and full precision; its
    weights are never written to. The noise does not depend on the device.

    The deviations take ``4 * n * K * C`` bytes (``4 * n * n_components`` if projected),
    in addition to the blocks that ``pool.max_memory`` bounds. More than both that and
    1 GiB is an error.

    References
    ----------
    .. [1] X. Li, P. Yang, Y. Gu, X. Zhan, T. Wang, M. Xu and C. Xu, "Deep Active
       Learning with Noise Stability", AAAI 2024. https://arxiv.org/abs/2205.13340

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import NoiseStability
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[4.0], [0.1], [-5.0]], head=([[-1.0], [1.0]], [0.0, 0.0])
    ... )
    >>> NoiseStability().query(pool, n=1)
    array([1])
    """

    names = {"noise_stability": {}}
    category = "uncertainty"
    looks_at = "a net, or a linear head"
    cost = "K + 1 passes of the net; the head alone O(K·n·C·d)"

    _parameter_constraints = {
        "magnitude": [Interval(Real, 0, None, closed="neither")],
        "n_samplings": [Interval(Integral, 1, None, closed="left")],
        "noise": [StrOptions({"global", "layer"})],
        "output": [StrOptions({"proba", "logits", "embeddings"})],
        "layers": [StrOptions({"auto", "all", "last"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "relative": ["boolean"],
    }

    def __init__(
        self,
        magnitude=1e-3,
        n_samplings=30,
        noise="layer",
        output="proba",
        layers="auto",
        n_components=None,
        relative=True,
    ):
        self.magnitude = magnitude
        self.n_samplings = n_samplings
        self.noise = noise
        self.output = output
        self.layers = layers
        self.n_components = n_components
        self.relative = relative

    @property
    def requires(self):
        return ("network",) if self.layers == "all" else ()

    def _check_pool(self, pool):
        super()._check_pool(pool)
        if self.layers == "last" or pool.can_give("network") is False:
            for need in ("head", "embeddings"):
                pool.check(need, owner=type(self).__name__)

    def _query(self, pool, n):
        # a pool and its subsets are shaken alike
        rng = pool.model_random_state
        collector = _Collector(self, len(pool), pool.max_memory, rng)
        if self.layers == "all" or (self.layers == "auto" and has_network(pool)):
            _shake_network(self, pool.network, collector, rng)
        else:
            if self.output == "embeddings":
                raise ValueError(
                    f"{type(self).__name__}: noise on the last layer does not move the "
                    "embeddings. Use output='proba' or 'logits', or a CNNClassifier "
                    "and layers='all'."
                )
            pool.prepare(["head", "embeddings"], owner=type(self).__name__)
            _shake_head(self, pool, collector, rng)
        deviations = collector.deviations
        squares = np.einsum("ij,ij->i", deviations, deviations, dtype=np.float64)
        pool.info["mean_deviation"] = float(np.sqrt(squares / self.n_samplings).mean())
        return k_center_greedy(
            deviations,
            n,
            centers=np.zeros((1, deviations.shape[1]), dtype=deviations.dtype),
            random_state=pool.random_state,
            max_memory=pool.max_memory,
            return_distances=True,
        )[:2]


class _Collector:
    """Takes deviations sampling by sampling and keeps them, or their projection.

    Attributes
    ----------
    deviations : ndarray of shape (n, K * C) or (n, n_components), float32
    """

    def __init__(self, strategy, n, max_memory, rng):
        self.strategy, self.n, self.max_memory = strategy, n, max_memory
        self.rng = np.random.RandomState(rng.randint(2**31 - 1))
        self.deviations = None

    def begin(self, samplings, width):
        """Prepare for the deviations (n, width) of each of some samplings."""
        n_components = self.strategy.n_components
        self.width = width
        if n_components is not None:
            self.projections = {
                k: self.rng.standard_normal((width, n_components))
                / np.sqrt(n_components)
                for k in samplings
            }
        if self.deviations is not None:
            return
        total = n_components or width * self.strategy.n_samplings
        n_bytes = 4 * self.n * total
        limit = max(self.max_memory, DEFAULT_MAX_MEMORY)
        if n_bytes > limit:
            raise ValueError(
                f"{type(self.strategy).__name__}: {total} deviations of {self.n} "
                f"candidates take {n_bytes:,} bytes, more than {limit:,}. Set "
                f"n_components={max(1, limit // (4 * self.n))} or less, lower "
                "n_samplings, or raise max_memory."
            )
        self.deviations = np.zeros((self.n, total), dtype=np.float32)

    def add(self, part, sampling, deviations):
        """Keep float64 deviations (b, width) of the candidates in the slice `part`."""
        if self.strategy.n_components is None:
            start = sampling * self.width
            self.deviations[part, start : start + self.width] = deviations
        else:
            self.deviations[part] += deviations @ self.projections[sampling]


def _noisy(weights, strategy, generator):
    """Return weights with noise of relative length ``strategy.magnitude``.

    Drawn on the CPU, so that every device gets the same.
    """
    noise = {
        name: torch.randn(w.shape, dtype=w.dtype, generator=generator).to(w.device)
        for name, w in weights.items()
        if strategy.noise == "global" or name.rpartition(".")[2] == "weight"
    }
    if not noise:
        raise ValueError(
            f"{type(strategy).__name__}: noise='layer' shakes the parameters called "
            f"'weight', and this net has none: {listed(list(weights))}. Use "
            "noise='global'."
        )
    groups = [list(noise)] if strategy.noise == "global" else [[name] for name in noise]
    found = dict(weights)
    for names in groups:
        length = _norm(weights[name] for name in names)
        scale = strategy.magnitude * length / _norm(noise[name] for name in names)
        for name in names:
            found[name] = torch.add(weights[name], noise[name], alpha=float(scale))
    return found


def _divisors(strategy, clean):
    """Return what deviations from clean outputs (n, D) are divided by, (n, 1)."""
    if not strategy.relative:
        return np.ones((len(clean), 1))
    lengths = np.linalg.norm(clean.astype(np.float64), axis=1, keepdims=True)
    return np.where(lengths > 0, lengths, 1.0)


def _norm(tensors):
    """Return the length of all tensors together."""
    return float(sum(t.double().square().sum() for t in tensors)) ** 0.5


def _torch_generator(rng):
    return torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))


@torch.no_grad()
def _shake_network(strategy, network, collector, rng):
    """Collect deviations under noise on all weights of a net."""
    module = network.module
    generator = _torch_generator(rng)
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    clean = np.concatenate(list(_outputs(strategy, network, weights)))
    scale = 1.0 / _divisors(strategy, clean)
    for k in range(strategy.n_samplings):
        noisy = _noisy(weights, strategy, generator)
        collector.begin([k], clean.shape[1])
        start = 0
        for output in _outputs(strategy, network, noisy):
            part = slice(start, start + len(output))
            moved = output.astype(np.float64) - clean[part]
            collector.add(part, k, moved * scale[part])
            start += len(output)
        progress.report("query", k + 1, strategy.n_samplings)


def _outputs(strategy, network, weights):
    """Yield the net's outputs under other weights, batch by batch."""
    want_embeddings = strategy.output == "embeddings"
    for _, _, batch in network.batches():
        found = functional_call(
            network.module, weights, (batch,), {"return_embeddings": want_embeddings}
        )
        if want_embeddings:
            found = found[1]
        elif strategy.output == "proba":
            found = found.double().softmax(dim=1)
        yield found.cpu().numpy()


def _shake_head(strategy, pool, collector, rng):
    """Collect deviations under noise on the last layer, many samplings at a time."""
    head, embeddings, n_samplings = pool.head, pool.embeddings, strategy.n_samplings
    generator = _torch_generator(rng)
    weights = {"weight": torch.as_tensor(head.weight), "bias": torch.tensor(head.bias)}
    n_classes, width = head.weight.shape
    # half of the memory for weights, half for a block of candidates (and its soft-max)
    group = max(1, pool.max_memory // (2 * 8 * n_classes * (width + 1)))
    group = min(group, n_samplings)
    block = min(pool.max_memory // 2, limits.copy_bytes)
    rows = max(1, block // (8 * (width + 4 * n_classes * (group + 1))))
    for first in range(0, n_samplings, group):
        samplings = range(first, min(first + group, n_samplings))
        noisy = [_noisy(weights, strategy, generator) for _ in samplings]
        weight = np.concatenate([head.weight] + [w["weight"].numpy() for w in noisy])
        bias = np.concatenate([head.bias] + [w["bias"].numpy() for w in noisy])
        collector.begin(samplings, n_classes)
        for part in row_blocks(embeddings, rows):
            outputs = embeddings[part].astype(np.float64) @ weight.T + bias
            outputs = outputs.reshape(-1, len(noisy) + 1, n_classes)
            if strategy.output == "proba":
                outputs = softmax(outputs, axis=2)
            clean = outputs[:, 0]
            scale = 1.0 / _divisors(strategy, clean)
            for i, k in enumerate(samplings):
                collector.add(part, k, (outputs[:, i + 1] - clean) * scale)
        progress.report("query", samplings[-1] + 1, n_samplings)
