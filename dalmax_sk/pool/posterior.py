"""Samples from a posterior over models: all that the labels could have taught.

A sample is one model for the whole pool. Dropout masks are therefore drawn once a
sample, never once a batch or a candidate: strategies that look at several candidates
together, such as BatchBALD, need that.
"""

import threading
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from torch import nn

from dalmax_sk._base import progress
from dalmax_sk._base.pipelines import last_step
from dalmax_sk._base.storage import allocate, is_mapped, row_blocks
from dalmax_sk.pool.committee import committee_proba
from dalmax_sk.pool.laplace import LaplaceHead
from dalmax_sk.pool.needs import MissingCapabilityError
from dalmax_sk.pool.network import is_net

__all__ = ["POSTERIORS", "check_posterior", "sample_posterior"]

POSTERIORS = ("auto", "dropout", "ensemble", "laplace")

# Estimators whose fitted members are samples. Those of a boosting model are not: each
# corrects the ones before it.
_ENSEMBLES = (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
# Layers that zero whole channels; one number a channel decides.
_CHANNEL_DROPOUT = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA_DROPOUT = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_DROPOUT = (nn.Dropout, *_CHANNEL_DROPOUT, nn.AlphaDropout)
# The value that a dropped unit gets in alpha dropout, the negative limit of SELU.
_ALPHA = -1.7580993408473766
# Labelled samples on which it is seen where dropout sits, and numbers of class scores
# computed together from embeddings, which fit the cache.
_N_PROBED, _HEAD_VALUES = 8, 2**18


def sample_posterior(pool, posterior="auto", n_samples=20, owner="sample_posterior"):
    """Return class probabilities of the candidates under samples of the model.

    Parameters
    ----------
    pool : Pool
        The candidates, the labelled samples and the model fitted on them.
    posterior : {"auto", "dropout", "ensemble", "laplace"}, default="auto"
        Where the samples come from:

        - ``"dropout"``: Monte-Carlo dropout [1]_ of a CNNClassifier;
        - ``"ensemble"``: the members of a fitted forest, bagging or voting ensemble
          (all of them, whatever `n_samples`), or a committee of `n_samples` models
          trained for this (:func:`dalmax_sk.pool.committee_proba`);
        - ``"laplace"``: the Laplace approximation of the last layer, see
          :class:`~dalmax_sk.pool.LaplaceHead`;
        - ``"auto"``: the members if the model is a fitted ensemble, else dropout if the
          net has any, else Laplace if there is a linear last layer, else an error.
    n_samples : int, default=20
        Number K of samples.
    owner : str, default="sample_posterior"
        Who asks, for error messages.

    Returns
    -------
    ndarray of shape (K, n, C), float64
        Rows sum to 1; 0 for classes that the model has not seen.

    Raises
    ------
    MissingCapabilityError
        If the model cannot give such samples, for instance a net without an active
        dropout layer. The message says what would work.
    ValueError
        If `posterior` is none of these names, or `n_samples` is below 1.

    Notes
    -----
    All random numbers are drawn on the CPU, from a seed of the pool, for samples and
    layers: neither batches nor the device nor the order of the candidates change a
    sample. Dropout layers (``Dropout``, ``Dropout1d`` to ``3d``, ``AlphaDropout``,
    ``FeatureAlphaDropout``) use one mask a sample for all candidates; batch
    normalisation stays in evaluation mode. If the only dropout stands right before the
    last linear layer, as in most of this package's nets, all samples are computed from
    the embeddings, which are kept in the pool, by one matrix product; they equal those
    of K runs of the head up to rounding. Otherwise, if dropout sits only in the head,
    the body runs once a batch and the head K times, else the whole net runs K times.
    Dropout that is no layer of its own, inside attention or recurrent layers or called
    as a function, stays off.

    References
    ----------
    .. [1] Y. Gal and Z. Ghahramani, "Dropout as a Bayesian Approximation: Representing
       Model Uncertainty in Deep Learning", ICML 2016.
       https://arxiv.org/abs/1506.02142

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.pool import sample_posterior
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = np.arange(0, 150, 5)
    >>> model = LogisticRegression(max_iter=500).fit(X[labeled], y[labeled])
    >>> pool = Pool(model, X, labeled, y[labeled], random_state=0)
    >>> sample_posterior(pool, "laplace", n_samples=7).shape
    (7, 120, 3)
    """
    if posterior not in POSTERIORS:
        raise ValueError(
            f"{owner}: posterior must be one of {POSTERIORS}, got {posterior!r}."
        )
    if n_samples < 1:
        raise ValueError(f"{owner}: n_samples must be at least 1, got {n_samples!r}.")
    if posterior == "auto":
        posterior = check_posterior(pool, owner)
    return pool.once(
        ("posterior_proba", posterior, n_samples),
        lambda: _draw(pool, posterior, n_samples, owner),
        axis=1,
    )


def _draw(pool, posterior, n_samples, owner):
    """Return the samples (K, n, C) of a posterior by its name."""
    if posterior == "ensemble":
        return committee_proba(pool, "auto", n_samples, owner=owner)
    # A stream of its own: strategies draw from the pool's as well.
    seed = int(pool.model_random_state.randint(2**31 - 1))
    if posterior == "dropout":
        return _sample_dropout(pool, n_samples, seed, owner)
    return _sample_laplace(pool, n_samples, seed, owner)


def check_posterior(pool, owner):
    """Return the name that ``"auto"`` stands for, or raise MissingCapabilityError."""
    final = last_step(pool.estimator)
    if isinstance(final, _ENSEMBLES):
        return "ensemble"
    if is_net(final):
        pool.prepare(["network"], owner)
        return "dropout" if _active_dropout(pool.network.module) else "laplace"
    if final is not None:
        pool.prepare(["proba"], owner)
    try:
        pool.prepare(["head"], owner)
    except MissingCapabilityError:
        raise pool.missing(owner, "posterior_proba") from None
    return "laplace"


# ------------------------------------------------------------------------- dropout


def _active_dropout(module):
    """Return {name: layer} of the dropout layers that drop anything."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _DROPOUT) and layer.p > 0
    }


class _SharedMasks:
    """Dropout in evaluation mode, with one mask a sample for all candidates.

    While :meth:`applied`, every dropout layer multiplies by the mask of ``sample``, in
    the thread that asked for it. Other threads use the net as it is.
    """

    def __init__(self, module, seed, max_memory):
        self.layers = list(_active_dropout(module).items())
        self.seed = seed
        self.room = max_memory  # bytes of masks that may still be kept
        self.kept = {}
        self.n_used = 0
        self.begin(0, 0)

    def begin(self, sample, batch_size):
        """Announce a forward pass of ``batch_size`` candidates under ``sample``."""
        self.sample, self.batch_size = sample, batch_size
        self.n_calls = [0] * len(self.layers)

    @contextmanager
    def applied(self):
        """Switch the masks on inside the ``with`` block."""
        handles = [
            layer.register_forward_hook(self._hook(number))
            for number, (_, layer) in enumerate(self.layers)
        ]
        try:
            with _without_fused_attention():
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, number):
        owner = threading.get_ident()

        def drop(layer, inputs, output):
            if threading.get_ident() != owner:
                return output
            x = inputs[0]
            if len(x) != self.batch_size:
                raise ValueError(
                    f"The first axis of what enters dropout layer "
                    f"{self.layers[number][0]!r} must be the batch "
                    f"({self.batch_size}), got the shape {tuple(x.shape)}. Use "
                    "posterior='laplace' or 'ensemble'."
                )
            self.n_used += 1
            keep = self._mask(number, layer, x)
            if isinstance(layer, _ALPHA_DROPOUT) and layer.p < 1:
                # keeps mean and variance of what SELU gives
                scale = ((1 - layer.p) * (1 + layer.p * _ALPHA**2)) ** -0.5
                shift = -scale * layer.p * _ALPHA
                return scale * torch.where(keep, x, _ALPHA) + shift
            return x * _factor(layer, keep, x.dtype)

        return drop

    def _mask(self, number, layer, x):
        """Return the mask of this sample, layer and call: bool, broadcast over x."""
        call = self.n_calls[number]
        self.n_calls[number] += 1
        shape = (1, *x.shape[1:])
        if isinstance(layer, _CHANNEL_DROPOUT):
            shape = (1, *x.shape[1:2], *[1] * (x.ndim - 2))
        key = (self.sample, number, call, shape)
        if key in self.kept:
            return self.kept[key]
        entropy = [self.seed, self.sample, number, call]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        mask = (torch.rand(shape, generator=generator) >= layer.p).to(x.device)
        if mask.numel() <= self.room:
            self.kept[key] = mask
            self.room -= mask.numel()
        return mask

    def sole_factors(self, n_samples, x):
        """Return the factors (K, d) of the only layer's only call on ``x`` (b, d)."""
        (_, layer), factors = self.layers[0], []
        for sample in range(n_samples):
            self.begin(sample, len(x))
            keep = self._mask(0, layer, x)  # (1, d)
            factors.append(_factor(layer, keep, x.dtype))
        return torch.cat(factors)


_fused_lock = threading.Lock()
_n_without_fused = 0


@contextmanager
def _without_fused_attention():
    """Keep attention layers off their fused path, which passes dropout layers by.

    The switch is one for all threads: the last one to leave sets it back.
    """
    global _n_without_fused, _fused_before
    with _fused_lock:
        if _n_without_fused == 0:
            _fused_before = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        _n_without_fused += 1
    try:
        yield
    finally:
        with _fused_lock:
            _n_without_fused -= 1
            if _n_without_fused == 0:
                torch.backends.mha.set_fastpath_enabled(_fused_before)


def _factor(layer, keep, dtype):
    """Return the factor of an ordinary dropout layer where the mask is ``keep``."""
    if layer.p >= 1:
        return torch.zeros_like(keep, dtype=dtype)
    return (keep / (1 - layer.p)).to(dtype)


def _sample_dropout(pool, n_samples, seed, owner):
    pool.prepare(["network"], owner)
    network = pool.network
    module = network.module
    masks = _SharedMasks(module, seed, pool.max_memory // 2)
    if not masks.layers:
        architecture = network.architecture
        if not isinstance(architecture, str):
            architecture = getattr(
                architecture, "__name__", type(architecture).__name__
            )
        raise MissingCapabilityError(
            f"{owner} with posterior='dropout' needs a net with an active dropout "
            f"layer, and {architecture!r} has none (its rate may be 0). What works: "
            "CNNClassifier(dropout=0.25), posterior='laplace' or posterior='ensemble'."
        )
    if _drops_embeddings_only(network, masks):
        return _samples_of_heads(pool, n_samples, masks, owner)
    samples = _empty_samples(pool, n_samples, owner)
    with torch.inference_mode(), masks.applied():
        for start, stop, batch in network.batches():
            masks.begin(0, stop - start)
            masks.n_used = 0
            features = module.forward_features(batch)
            stochastic_body = masks.n_used > 0
            for sample in range(n_samples):
                if sample > 0:
                    masks.begin(sample, stop - start)
                    if stochastic_body:
                        features = module.forward_features(batch)
                # a copy, as a head may work in place
                logits = module.forward_head(features.clone())
                proba = logits.double().softmax(dim=1).cpu().numpy()
                samples[sample, start:stop][:, network.columns] = proba
            if masks.n_used == 0:
                names = [name for name, _ in masks.layers]
                raise MissingCapabilityError(
                    f"{owner} with posterior='dropout': a forward pass uses none of "
                    f"the dropout layers {names}. What works: posterior='laplace' or "
                    "posterior='ensemble'."
                )
            progress.report("pool", stop, len(pool))
    return samples


def _empty_samples(pool, n_samples, owner):
    """Array (K, n, C), on the disk where memory ends; zeros for classes not seen."""
    shape = (n_samples, len(pool), len(pool.classes))
    samples = allocate(
        shape,
        np.float64,
        max_memory=pool.max_memory,
        what=f"{owner}: the {n_samples} samples of {len(pool):,} candidates",
    )
    if not is_mapped(samples) and len(pool.network.columns) < len(pool.classes):
        samples[:] = 0
    return samples


def _drops_embeddings_only(network, masks):
    """Tell whether a sample is the last linear layer on masked embeddings, and no more.

    Seen on a few labelled samples: one call of one dropout layer, and what enters the
    last layer is the embedding times the mask.
    """
    module, (_, layer) = network.module, masks.layers[0]
    if len(masks.layers) > 1 or type(layer) is not nn.Dropout:
        return False
    if not isinstance(getattr(module, "get_classifier", _none)(), nn.Linear):
        return False
    few = next(iter(network.batches(labeled=True, batch_size=_N_PROBED)), None)
    if few is None:
        return False
    batch, entered = few[2], []
    with torch.inference_mode():
        embeddings = module.forward_head(module.forward_features(batch), True)
        with masks.applied():
            masks.begin(0, len(batch))
            masks.n_used = 0
            owner = threading.get_ident()
            handle = module.get_classifier().register_forward_pre_hook(
                lambda _, inputs: (
                    entered.append(inputs[0].clone())
                    if threading.get_ident() == owner
                    else None
                )
            )
            try:
                module.forward_head(module.forward_features(batch))
            finally:
                handle.remove()
        if masks.n_used != 1 or not entered or embeddings.ndim != 2:
            return False
        factors = masks.sole_factors(1, embeddings)
        return torch.equal(entered[-1], embeddings * factors)


def _none():
    """Stand in for a method that is not there."""


def _samples_of_heads(pool, n_samples, masks, owner):
    """Samples of a net whose only dropout stands before its last linear layer."""
    # One pass gives both; whoever wants the probabilities next finds them.
    if not pool.is_computed("embeddings"):
        pool.prepare(["proba", "embeddings"], owner)
    network, embeddings = pool.network, pool.embeddings
    samples = _empty_samples(pool, n_samples, owner)
    with torch.inference_mode():
        last = network.module.get_classifier()
        weight = last.weight.detach()  # (C, d)
        factors = masks.sole_factors(n_samples, weight[:1])
        # Masks on the weights give what masks on the embeddings give, for all samples
        # in one product. The candidates come last, (K, C, b), because a CPU computes
        # the soft-max of many short rows several times slower than of long columns.
        weights = (weight * factors[:, None]).flatten(0, 1)  # (K * C, d)
        bias = 0 if last.bias is None else last.bias.detach()[:, None]
        for block in row_blocks(embeddings, max(1, _HEAD_VALUES // len(weights))):
            rows = torch.from_numpy(embeddings[block]).to(weight)  # (b, d)
            logits = (weights @ rows.T).view(n_samples, -1, len(rows)) + bias
            proba = logits.double().softmax(dim=1).transpose(1, 2).cpu().numpy()
            if len(network.columns) == samples.shape[2]:
                samples[:, block] = proba  # several times faster than by column
            else:
                samples[:, block, network.columns] = proba
    return samples


# ------------------------------------------------------------------------- Laplace


def _sample_laplace(pool, n_samples, seed, owner):
    pool.prepare(["head", "embeddings", "labeled_embeddings"], owner)
    if len(pool.labeled_embeddings) == 0:
        raise MissingCapabilityError(
            f"{owner} with posterior='laplace' needs labelled samples, and none is "
            "labelled yet. Query with RandomSampling first."
        )
    laplace = LaplaceHead(
        pool.head, pool.labeled_embeddings, max_memory=pool.max_memory
    )
    rng = np.random.RandomState(seed)
    return laplace.posterior_proba(pool.embeddings, n_samples, rng)
