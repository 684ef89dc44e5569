"""The Laplace approximation of a linear last layer."""

import numpy as np
import torch
from scipy.special import softmax

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.fisher_information import contrasts, fisher_factors, fisher_sum

__all__ = ["LaplaceHead"]

# Prior precisions that are compared, and the largest rank that is decomposed exactly:
# a matrix of that order takes a few seconds.
_PRECISIONS = np.logspace(-4, 4, 33)
_EXACT_RANK = 2048


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
    >>> from dalmax_sk.pool import LinearHead
    >>> from dalmax_sk.pool import LaplaceHead
    >>> head = LinearHead(np.eye(2), np.zeros(2), columns=np.arange(2), n_classes=2)
    >>> laplace = LaplaceHead(head, np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> laplace.posterior_proba(np.eye(2), 5, np.random.RandomState(0)).shape
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
            total = fisher_sum(
                torch.from_numpy(h), some.__getitem__, c, limits.product_rows
            )
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

    def posterior_proba(self, embeddings, n_samples, random_state):
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
        n_rows = max(1, min(limits.product_rows, self.max_memory // row))
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
