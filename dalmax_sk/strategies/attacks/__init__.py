"""Adversarial attacks: how little has to change before a net changes its mind."""

from dalmax_sk.strategies.attacks.perturbations import (
    ATTACKS,
    Perturbations,
    linear_sizes,
    smallest_perturbations,
    unit_noise,
)
from dalmax_sk.strategies.attacks.space import NORMS, InputSpace, attack_batch_size

__all__ = [
    "ATTACKS",
    "NORMS",
    "InputSpace",
    "Perturbations",
    "attack_batch_size",
    "linear_sizes",
    "smallest_perturbations",
    "unit_noise",
]
