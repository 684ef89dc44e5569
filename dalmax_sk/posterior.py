"""Samples from a posterior over models: what else the labels could have taught.

A sample is one model for the whole pool. Dropout masks are therefore drawn once a
sample, never once a batch or a candidate: strategies that look at several candidates
together, such as BatchBALD, need that.
"""

from contextlib import contextmanager

import numpy as np
import torch
from scipy.special import softmax
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.pipeline import Pipeline
from torch import nn

from dalmax_sk import progress
from dalmax_sk.committee import committee_proba
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.selection.bait import contrasts, fisher_factors, fisher_sum

__all__ = ["POSTERIORS", "LaplaceHead", "sample_posterior"]

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
# Prior precisions that are compared, and the largest rank that is decomposed exactly:
# a matrix of that order takes a few seconds.
_PRECISIONS = np.logspace(-4, 4, 33)
_EXACT_RANK = 2048
_ROWS = 1024


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
          trained for this (:func:`dalmax_sk.committee.committee_proba`);
        - ``"laplace"``: the Laplace approximation of the last layer, see
          :class:`LaplaceHead`;
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
    normalisation stays in evaluation mode. If dropout sits only in the head, the body
    runs once a batch and the head K times, else the whole net runs K times. Dropout
    that is no layer of its own, inside attention or recurrent layers or called as a
    function, stays off.

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
    >>> from dalmax_sk.posterior import sample_posterior
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
        posterior = _default_posterior(pool, owner)
    if posterior == "ensemble":
        return committee_proba(pool, "auto", n_samples, owner=owner)
    # A stream of its own: strategies draw from the pool's as well.
    seed = int(pool.model_random_state.randint(2**31 - 1))
    if posterior == "dropout":
        return _sample_dropout(pool, n_samples, seed, owner)
    return _sample_laplace(pool, n_samples, seed, owner)


def _default_posterior(pool, owner):
    """Return the name that ``"auto"`` stands for."""
    final = pool.estimator
    while isinstance(final, Pipeline):
        final = final[-1]
    if isinstance(final, _ENSEMBLES):
        return "ensemble"
    if pool.estimator is not None and hasattr(final, "module_"):
        pool.prepare(["network"], owner)
        return "dropout" if _active_dropout(pool.network.module) else "laplace"
    pool.prepare(["proba"], owner)
    if not np.isfinite(pool.proba).all():
        raise ValueError(
            f"{owner}: the probabilities of {type(final).__name__} contain NaN or "
            "infinite values; its weights have diverged."
        )
    try:
        pool.prepare(["head"], owner)
    except MissingCapabilityError:
        raise pool.missing(owner, "samples") from None
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

    While :meth:`applied`, every dropout layer multiplies by the mask of ``sample``.
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
        # The fused path of attention layers would pass the dropout layers by.
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield self
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for handle in handles:
                handle.remove()

    def _hook(self, number):
        def drop(layer, inputs, output):
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
            if layer.p >= 1:
                return torch.zeros_like(x)
            if isinstance(layer, _ALPHA_DROPOUT):
                # keeps mean and variance of what SELU gives
                scale = ((1 - layer.p) * (1 + layer.p * _ALPHA**2)) ** -0.5
                shift = -scale * layer.p * _ALPHA
                return scale * torch.where(keep, x, _ALPHA) + shift
            return x * (keep / (1 - layer.p)).to(x.dtype)

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
    samples = np.zeros((n_samples, len(pool), len(pool.classes)))
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


# ------------------------------------------------------------------------- Laplace


class LaplaceHead:
    r"""The Laplace approximation of the posterior over a linear last layer.

    Around the trained weights the posterior is taken as normal, with the generalised
    Gauss-Newton matrix of the labelled samples plus a prior as its precision [1]_:

    .. math:: \Lambda = \sum_i (\mathrm{diag}(p_i) - p_i p_i^T) \otimes h_i h_i^T
       + \tau 1

    where h_i is an embedding with a 1 appended for the bias.

    Parameters
    ----------
    head : LinearHead
        The trained layer, S classes and d features.
    embeddings : ndarray of shape (m, d)
        Those of the labelled samples, at least one.
    prior_precision : float or "marginal_likelihood", default="marginal_likelihood"
        τ, or choose it among 33 values from 1e-4 to 1e4 by the marginal likelihood of
        the labels.
    structure : {"auto", "full", "kronecker"}, default="auto"
        ``"full"`` uses the matrix as it is, decomposed at the cost of r³ with r the
        smaller of (S - 1)(d + 1) and (S - 1) m. ``"kronecker"`` replaces the sum by the
        mean of its left factors times the sum of its right ones. ``"auto"`` is full up
        to r = 2,048 if that fits `max_memory`.
    max_memory : int, default=1 GiB
        Bytes for the matrices and for blocks.

    Attributes
    ----------
    prior_precision_ : float
        τ.
    structure_ : {"full", "kronecker"}
        What was used.

    Raises
    ------
    ValueError
        If there are no embeddings, or a parameter is none of the above.

    Notes
    -----
    Adding the same vector to the weights of all classes changes no probability, so the
    S - 1 contrasts between the classes are treated and not S rows; for samples of the
    probabilities that is exact.

    References
    ----------
    .. [1] E. Daxberger, A. Kristiadi, A. Immer, R. Eschenhagen, M. Bauer and P. Hennig,
       "Laplace Redux – Effortless Bayesian Deep Learning", NeurIPS 2021.
       https://arxiv.org/abs/2106.14806

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.head import LinearHead
    >>> from dalmax_sk.posterior import LaplaceHead
    >>> head = LinearHead(np.eye(2), np.zeros(2), columns=np.arange(2), n_classes=2)
    >>> laplace = LaplaceHead(head, np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> laplace.sample_proba(np.eye(2), 5, np.random.RandomState(0)).shape
    (5, 2, 2)
    """

    def __init__(
        self,
        head,
        embeddings,
        prior_precision="marginal_likelihood",
        structure="auto",
        max_memory=2**30,
    ):
        if structure not in ("auto", "full", "kronecker"):
            raise ValueError(
                "LaplaceHead: structure must be 'auto', 'full' or 'kronecker', got "
                f"{structure!r}."
            )
        if len(embeddings) == 0:
            raise ValueError("LaplaceHead needs at least one labelled sample, got 0.")
        automatic = prior_precision == "marginal_likelihood"
        if not automatic and not prior_precision > 0:
            raise ValueError(
                "LaplaceHead: prior_precision must be above 0, got "
                f"{prior_precision!r}."
            )
        self.head = head
        self.max_memory = max_memory
        n_seen, n_features = head.weight.shape
        self._basis = contrasts(n_seen).numpy()  # (S, c)
        c, d = n_seen - 1, n_features + 1
        rank = min(c * d, c * len(embeddings))
        if structure == "auto":
            size = 3 * 8 * rank * (c * d + rank)
            exact = rank <= _EXACT_RANK and size <= max_memory
            structure = "full" if exact else "kronecker"
        self.structure_ = structure
        h = _with_one(embeddings)  # (m, d)
        proba = softmax(head.logits(embeddings), axis=1)
        factors = fisher_factors(torch.from_numpy(proba)).numpy()  # (m, c, c)
        if structure == "full":
            self._decompose(h, factors)
        else:
            self._decompose_factors(h, factors)
        if automatic:
            trained = np.column_stack([head.weight, head.bias])
            prior_precision = self._likeliest(((self._basis.T @ trained) ** 2).sum())
        self.prior_precision_ = float(prior_precision)

    def _decompose(self, h, factors):
        """Set eigenvalues (r,) and eigenvectors (c·d, r) of the full matrix."""
        m, c, d = len(h), factors.shape[1], h.shape[1]
        if c * d <= c * m:
            some = torch.from_numpy(factors)
            total = fisher_sum(torch.from_numpy(h), some.__getitem__, c, _ROWS)
            values, vectors = np.linalg.eigh(total.numpy())
        else:
            # The rows of J are the factors' columns ⊗ h; J Jᵀ is the smaller matrix.
            rows = np.einsum("iar,ij->iraj", factors, h).reshape(m * c, c * d)
            values, vectors = np.linalg.eigh(rows @ rows.T)
            vectors = rows.T @ (vectors / np.sqrt(values.clip(min=1e-300)))
        real = values > 1e-12 * values.max(initial=0.0)
        self._values, self._vectors = values[real], vectors[:, real]

    def _decompose_factors(self, h, factors):
        """Set eigenvalues (c·d,) and those of the two factors."""
        left = np.einsum("iar,ibr->ab", factors, factors) / len(h)
        left_values, self._left = np.linalg.eigh(left)
        right_values, self._right = np.linalg.eigh(h.T @ h)
        values = np.outer(left_values.clip(min=0), right_values.clip(min=0))
        self._values = values.ravel()

    def _likeliest(self, square):
        """Return the prior precision of the largest marginal likelihood.

        ``square`` is the squared length of the trained weights.
        """
        tau = _PRECISIONS[:, None]
        # Directions without data add log τ - log τ = 0.
        evidence = (np.log(tau) - np.log(self._values + tau)).sum(axis=1)
        return _PRECISIONS[np.argmax(evidence - _PRECISIONS * square)]

    def sample_weights(self, n_samples, random_state):
        """Draw weights and biases.

        Parameters
        ----------
        n_samples : int
        random_state : RandomState

        Returns
        -------
        ndarray of shape (n_samples, S, d + 1)
            The last column holds the biases.
        """
        tau = self.prior_precision_
        c, d = self._basis.shape[1], self.head.weight.shape[1] + 1
        noise = random_state.standard_normal((n_samples, c * d))
        if self.structure_ == "full":
            # Λ^(-1/2): the prior's, but shorter along the eigenvectors
            shrink = np.sqrt(tau / (self._values + tau)) - 1
            noise += ((noise @ self._vectors) * shrink) @ self._vectors.T
            steps = noise.reshape(n_samples, c, d) / np.sqrt(tau)
        else:
            scaled = noise / np.sqrt(self._values + tau)
            steps = self._left @ scaled.reshape(n_samples, c, d) @ self._right.T
        trained = np.column_stack([self.head.weight, self.head.bias])
        return trained + self._basis @ steps

    def sample_proba(self, embeddings, n_samples, random_state):
        """Class probabilities under samples of the layer.

        Parameters
        ----------
        embeddings : ndarray of shape (n, d)
        n_samples : int
        random_state : RandomState

        Returns
        -------
        ndarray of shape (n_samples, n, C), float64
        """
        weights = self.sample_weights(n_samples, random_state)
        n_seen, width = weights.shape[1:]
        weights = weights.reshape(n_samples * n_seen, width).T
        samples = np.zeros((n_samples, len(embeddings), self.head.n_classes))
        row = 8 * (3 * n_samples * n_seen + 2 * width)
        n_rows = max(1, min(_ROWS, self.max_memory // row))
        for start in range(0, len(embeddings), n_rows):
            block = slice(start, start + n_rows)
            logits = _with_one(embeddings[block]) @ weights
            proba = softmax(logits.reshape(-1, n_samples, n_seen), axis=2)
            for k in range(n_samples):
                samples[k, block][:, self.head.columns] = proba[:, k]
        return samples


def _with_one(embeddings):
    """Return embeddings (n, d) in float64 with a column of ones for the bias."""
    embeddings = np.asarray(embeddings, dtype=np.float64)
    return np.column_stack([embeddings, np.ones(len(embeddings))])


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
    return laplace.sample_proba(pool.embeddings, n_samples, rng)
