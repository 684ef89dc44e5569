"""The parts of a round, and the least that a query has to do by its definition."""

from dataclasses import dataclass

__all__ = ["PARTS", "Sizes", "Work", "selection_work"]

#: The parts of a round, in the order of their happening.
PARTS = ("fit", "scoring", "pool pass", "selection", "bookkeeping")


FLOAT32, FLOAT64 = 4, 8


@dataclass(frozen=True)
class Sizes:
    """One query in numbers.

    n candidates, m labelled samples, b picks, d numbers an embedding, C classes,
    ``forward`` operations of the net an image, ``fit`` those of the whole fit.
    """

    n: int
    m: int
    b: int
    d: int
    C: int
    forward: float
    fit: float


@dataclass(frozen=True)
class Work:
    """Floating-point operations, bytes to read, and what they are, in words."""

    flops: float = 0.0
    n_bytes: float = 0.0
    words: str = ""


def _proba(s):
    return Work(n_bytes=FLOAT64 * s.n * s.C, words="read probabilities once")


def _k_center(s):
    return Work(2 * s.n * (s.m + s.b) * s.d, words="2·n·(m + b)·d")


def _k_means(s):
    return Work(4 * s.n * s.b * s.d, words="4·n·b·d: seeding and one assignment")


def _badge(s):
    return Work(2 * s.n * s.b * (s.d + s.C), words="2·n·b·(d + C)")


def _typi_clust(s):
    k = min(s.m + s.b, 500)
    words = "4·(n + m)·k·d, k = min(m + b, 500): seeding and one assignment"
    return Work(4 * (s.n + s.m) * k * s.d, words=words)


def _pairs(s):
    return Work(float(s.n + s.m) ** 2 * s.d, words="(n + m)²·d: every pair once")


def _calibrated_pairs(s):
    words = "every pair once, and a fit on four fifths of the labels"
    return Work(_pairs(s).flops + 0.8 * s.fit, words=words)


def _cluster_margin(s):
    k = min(10 * s.b, s.n)
    words = "k²·d, k = 10·b: every pair of candidates once"
    return Work(float(k) ** 2 * s.d, FLOAT64 * s.n * s.C, words)


def _drop_query(s):
    return Work(8 * s.n * s.d * s.C, words="8·n·d·C: four predictions of the head")


def _alfa_mix(s):
    words = "8·n·d·C: logits, directions, slopes, distances to class means"
    return Work(8 * s.n * s.d * s.C, words=words)


def _model_change(s):
    n_bytes = s.n * (FLOAT64 * s.C + FLOAT32 * s.d)
    return Work(n_bytes=n_bytes, words="read probabilities and embeddings once")


def _committee(s):
    return Work(10 * s.n * s.d * s.C, words="10·n·d·C: predictions of five heads")


def _samples(s):
    n_bytes = FLOAT64 * 20 * s.n * s.C
    return Work(n_bytes=n_bytes, words="read 20 samples of the probabilities once")


def _epig(s):
    return Work(2 * 20 * s.n * 100 * s.C**2, words="2·20·n·100·C²: every joint")


def _noise(s):
    words = "31 forward passes, then 2·n·b·30·C"
    return Work(31 * s.n * s.forward + 2 * s.n * s.b * 30 * s.C, words=words)


_WORK = {
    "least_confidence_sampling": _proba,
    "margin_sampling": _proba,
    "entropy_sampling": _proba,
    "uncertainty_sampling": _proba,
    "core_set_selection": _k_center,
    "diversity_sampling": _k_means,
    "badge": _badge,
    "typi_clust": _typi_clust,
    "prob_cover": _pairs,
    "max_herding": _pairs,
    "uherding": _calibrated_pairs,
    "facility_location": _pairs,
    "cluster_margin": _cluster_margin,
    "drop_query": _drop_query,
    "alfa_mix": _alfa_mix,
    "galaxy": _proba,
    "expected_model_change": _model_change,
    "query_by_committee": _committee,
    "bald": _samples,
    "power_bald": _samples,
    "epig": _epig,
    "noise_stability": _noise,
}


def selection_work(name: str, sizes: Sizes) -> Work | None:
    """Return the least work of a query of the strategy `name`, None if not stated.

    What the definition computes once, without the sorting. A kernel that proves that it
    can skip some of it may be faster.
    """
    make = _WORK.get(name)
    return None if make is None else make(sizes)
