"""Embeddings like a network's, and class probabilities, from a fixed seed.

The embeddings are the ReLU of a low-rank Gaussian mixture of ten classes with 512
features, like the penultimate layer of a ResNet-18. ``"tailed"`` (rank 32, heavy-ish
tails) is typical; ``"even"`` (rank 256, no tails) is nearly equidistant and hard for
everything that skips work.
"""

from dataclasses import dataclass

import numpy as np

N_FEATURES = 512
N_CLASSES = 10
N_LABELED = 1000
SEED = 20240607
#: Rank of the mixture and spread of the log-scale of its points.
SETS = {"tailed": (32, 0.3), "even": (256, 0.0)}


@dataclass(frozen=True)
class Inputs:
    """One pool: embeddings (n, 512), of the labelled (1000, 512), proba (n, 10)."""

    embeddings: np.ndarray
    labeled_embeddings: np.ndarray
    y_labeled: np.ndarray
    proba: np.ndarray


def make_inputs(n_pool: int, kind: str, seed: int = SEED) -> Inputs:
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
    logits = 8.0 * ((X[~labeled] - center) @ weights + target.mean(axis=0))
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    return Inputs(X[~labeled], X[labeled], y[labeled], proba.astype(np.float32))


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)
