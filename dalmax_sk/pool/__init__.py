"""The pool of one round: candidates, and the outputs of the model for them."""

from dalmax_sk.pool.committee import (
    committee_proba,
    iter_committee_proba,
    stratified_bootstrap,
)
from dalmax_sk.pool.evaluation import align_columns
from dalmax_sk.pool.head import LinearHead, find_head
from dalmax_sk.pool.laplace import LaplaceHead
from dalmax_sk.pool.needs import MissingCapabilityError
from dalmax_sk.pool.network import Network
from dalmax_sk.pool.pool import Pool
from dalmax_sk.pool.posterior import POSTERIORS, sample_posterior

__all__ = [
    "POSTERIORS",
    "LaplaceHead",
    "LinearHead",
    "MissingCapabilityError",
    "Network",
    "Pool",
    "align_columns",
    "committee_proba",
    "find_head",
    "iter_committee_proba",
    "sample_posterior",
    "stratified_bootstrap",
]
