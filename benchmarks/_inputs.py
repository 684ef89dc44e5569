"""Embeddings like a network's, and class probabilities, from a fixed seed.

The embeddings are the ReLU of a low-rank Gaussian mixture of ten classes with 512
features, like the penultimate layer of a ResNet-18. ``"tailed"`` (rank 32, heavy-ish
tails) is typical; ``"even"`` (rank 256, no tails) is nearly equidistant and hard for
everything that skips work.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

N_FEATURES = 512
N_CLASSES = 10
N_LABELED = 1000
N_SAMPLES = 20
SEED = 20240607
#: Rank of the mixture and spread of the log-scale of its points.
SETS = {"tailed": (32, 0.3), "even": (256, 0.0)}


@dataclass(frozen=True)
class Inputs:
    """One pool.

    Embeddings (n, 512) and those of the labelled (1000, 512), probabilities (n, 10),
    the linear layer that they come from (10, 512) and (10,), and the probabilities
    (20, n, 10) under samples of it.
    """

    embeddings: np.ndarray
    labeled_embeddings: np.ndarray
    y_labeled: np.ndarray
    proba: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    samples: np.ndarray | None = None

    @property
    def labeled_proba(self) -> np.ndarray:
        return self.predict_proba(self.labeled_embeddings)

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        return softmax(embeddings @ self.weight.T + self.bias, axis=1)


def make_inputs(
    n_pool: int, kind: str, seed: int = SEED, with_samples: bool = False
) -> Inputs:
    """Return a pool of ``n_pool`` candidates beside 1,000 labelled points."""
    rank, tail = SETS[kind]
    rng = np.random.default_rng(seed)
    n = n_pool + N_LABELED
    mixing = _normal(rng, rank, N_FEATURES) / np.float32(np.sqrt(rank))
    means = np.float32(0.45) * _normal(rng, N_CLASSES, rank)
    bias = np.float32(0.1) * _normal(rng, N_FEATURES) - np.float32(0.2)
    y = rng.integers(0, N_CLASSES, n)
    scale = np.exp(np.float32(tail) * _normal(rng, n, 1))
    latent = (means[y] + np.float32(0.9) * _normal(rng, n, rank)) * scale
    noise = np.float32(0.05) * _normal(rng, n, N_FEATURES)
    X = np.maximum(latent @ mixing + bias + noise, 0)
    labeled = np.zeros(n, dtype=bool)
    labeled[rng.choice(n, N_LABELED, replace=False)] = True

    # A ridge classifier on the labelled points, as confident as a network.
    center = X[labeled].mean(axis=0)
    A = (X[labeled] - center).astype(np.float64)
    target = np.eye(N_CLASSES)[y[labeled]]
    gram = A.T @ A + 50.0 * np.eye(N_FEATURES)
    weights = np.linalg.solve(gram, A.T @ (target - target.mean(axis=0)))
    weight = 8.0 * weights.T
    bias = 8.0 * target.mean(axis=0) - center @ weight.T
    data = Inputs(X[~labeled], X[labeled], y[labeled], None, weight, bias)
    proba = data.predict_proba(data.embeddings)
    samples = None
    if with_samples:
        # heads around this one, whose predictions differ like those of an ensemble
        size = 0.5 * np.abs(weight).mean()
        samples = np.stack(
            [
                softmax(
                    data.embeddings @ (weight + size * _normal(rng, *weight.shape)).T
                    + bias,
                    axis=1,
                ).astype(np.float32)
                for _ in range(N_SAMPLES)
            ]
        )
    return replace(data, proba=proba.astype(np.float32), samples=samples)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)
