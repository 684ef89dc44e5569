"""Learning to select: a policy network trained on simulated labelling."""

from dalmax_sk.strategies.reinforcement.episodes import (
    LabelingEpisode,
    reduce_dimension,
)
from dalmax_sk.strategies.reinforcement.features import (
    FEATURE_NAMES,
    candidate_features,
)
from dalmax_sk.strategies.reinforcement.policy import (
    Policy,
    PolicyFileError,
    default_policy,
    load_policy,
)
from dalmax_sk.strategies.reinforcement.training import run_episode, train_policy

__all__ = [
    "FEATURE_NAMES",
    "LabelingEpisode",
    "Policy",
    "PolicyFileError",
    "candidate_features",
    "default_policy",
    "load_policy",
    "reduce_dimension",
    "run_episode",
    "train_policy",
]
