# Written by docs/strategy_lists.py.

from dalmax_sk.strategies.active_learning_by_learning import ActiveLearningByLearning
from dalmax_sk.strategies.adversarial import AdversarialSampling
from dalmax_sk.strategies.alfa_mix import ALFAMix
from dalmax_sk.strategies.badge import BADGE
from dalmax_sk.strategies.bait import BAIT
from dalmax_sk.strategies.base import QueryStrategy, ScoreStrategy
from dalmax_sk.strategies.bayesian import BayesianSampling, bayesian_scores
from dalmax_sk.strategies.cluster_margin import ClusterMargin
from dalmax_sk.strategies.committee import QueryByCommittee, disagreement_scores
from dalmax_sk.strategies.core_set import CoreSet
from dalmax_sk.strategies.diversity import DiversitySampling
from dalmax_sk.strategies.drop_query import DropQuery
from dalmax_sk.strategies.epig import EPIG
from dalmax_sk.strategies.expected_model_change import (
    ExpectedModelChange,
    expected_gradient_length,
)
from dalmax_sk.strategies.facility_location import FacilityLocation
from dalmax_sk.strategies.filtered import Filtered
from dalmax_sk.strategies.galaxy import GALAXY
from dalmax_sk.strategies.herding import MaxHerding, UHerding
from dalmax_sk.strategies.mixture import Mixture
from dalmax_sk.strategies.noise_stability import NoiseStability
from dalmax_sk.strategies.prob_cover import ProbCover
from dalmax_sk.strategies.random_sampling import RandomSampling
from dalmax_sk.strategies.registry import (
    StrategyEntry,
    get_strategy,
    list_strategies,
    strategy_names,
)
from dalmax_sk.strategies.reinforcement_learning import ReinforcementLearningSampling
from dalmax_sk.strategies.switch import Switch
from dalmax_sk.strategies.typi_clust import TypiClust
from dalmax_sk.strategies.uncertainty import UncertaintySampling, uncertainty_scores

__all__ = [
    "BADGE",
    "BAIT",
    "EPIG",
    "GALAXY",
    "ALFAMix",
    "ActiveLearningByLearning",
    "AdversarialSampling",
    "BayesianSampling",
    "ClusterMargin",
    "CoreSet",
    "DiversitySampling",
    "DropQuery",
    "ExpectedModelChange",
    "FacilityLocation",
    "Filtered",
    "MaxHerding",
    "Mixture",
    "NoiseStability",
    "ProbCover",
    "QueryByCommittee",
    "QueryStrategy",
    "RandomSampling",
    "ReinforcementLearningSampling",
    "ScoreStrategy",
    "StrategyEntry",
    "Switch",
    "TypiClust",
    "UHerding",
    "UncertaintySampling",
    "bayesian_scores",
    "disagreement_scores",
    "expected_gradient_length",
    "get_strategy",
    "list_strategies",
    "strategy_names",
    "uncertainty_scores",
]
