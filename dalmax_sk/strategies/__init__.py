"""Query strategies and the registry that knows them by name."""

import difflib

from dalmax_sk.strategies.active_learning_by_learning import (
    ActiveLearningByLearning,
)
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
    "Switch",
    "TypiClust",
    "UHerding",
    "UncertaintySampling",
    "bayesian_scores",
    "disagreement_scores",
    "expected_gradient_length",
    "get_strategy",
    "strategy_names",
    "uncertainty_scores",
]

# name -> (class, parameters that the name fixes)
_REGISTRY = {
    # DalMax's names
    "bayesian_sampling": (BayesianSampling, {}),
    "random_sampling": (RandomSampling, {}),
    "uncertainty_sampling": (UncertaintySampling, {}),
    "diversity_sampling": (DiversitySampling, {}),
    "core_set_selection": (CoreSet, {}),
    # the class names in snake case
    "core_set": (CoreSet, {}),
    "prob_cover": (ProbCover, {}),
    "probcover": (ProbCover, {}),
    "max_herding": (MaxHerding, {}),
    "uherding": (UHerding, {}),
    "u_herding": (UHerding, {}),
    "facility_location": (FacilityLocation, {}),
    # the three measures of uncertainty by themselves
    "least_confidence_sampling": (UncertaintySampling, {"measure": "least_confidence"}),
    "margin_sampling": (UncertaintySampling, {"measure": "margin"}),
    "entropy_sampling": (UncertaintySampling, {"measure": "entropy"}),
    "active_learning_by_learning": (ActiveLearningByLearning, {}),
    "albl": (ActiveLearningByLearning, {}),
    "reinforcement_learning_sampling": (ReinforcementLearningSampling, {}),
    "badge": (BADGE, {}),
    "query_by_committee": (QueryByCommittee, {}),
    "adversarial_sampling": (AdversarialSampling, {}),
    "deepfool": (AdversarialSampling, {"attack": "deepfool"}),
    "alfa_mix": (ALFAMix, {}),
    "drop_query": (DropQuery, {}),
    "galaxy": (GALAXY, {}),
    "expected_model_change": (ExpectedModelChange, {}),
    # samples from a posterior over models
    "bald": (BayesianSampling, {"measure": "bald"}),
    "batch_bald": (BayesianSampling, {"measure": "batchbald"}),
    "power_bald": (BayesianSampling, {"measure": "bald", "batch": "power"}),
    "epig": (EPIG, {}),
    "bait": (BAIT, {}),
    "typi_clust": (TypiClust, {}),
    "typiclust": (TypiClust, {}),
    "noise_stability": (NoiseStability, {}),
    # made of other strategies
    "switch": (Switch, {}),
    "tcm": (Switch, {}),
    # typical ones up to five labels a class, then margin: docs/results.md says why
    "auto": (Switch, {"at": 5}),
    "mixture": (Mixture, {}),
    "filtered": (Filtered, {"near_duplicates": 1e-3}),
    "cluster_margin": (ClusterMargin, {}),
}


def strategy_names():
    """Return the names that :func:`get_strategy` knows, sorted.

    Examples
    --------
    >>> from dalmax_sk.strategies import strategy_names
    >>> "core_set_selection" in strategy_names()
    True
    """
    return sorted(_REGISTRY)


def get_strategy(name, **params):
    """Make a strategy by its name.

    Parameters
    ----------
    name : str
        One of :func:`strategy_names`, dashes or underscores alike.
    **params
        Parameters of the strategy.

    Returns
    -------
    QueryStrategy

    Raises
    ------
    ValueError
        If there is no such strategy; the message names the nearest and lists all.

    Examples
    --------
    >>> from dalmax_sk.strategies import get_strategy
    >>> get_strategy("entropy_sampling")
    UncertaintySampling(measure='entropy')
    """
    key = name.replace("-", "_").lower()
    if key not in _REGISTRY:
        close = difflib.get_close_matches(key, _REGISTRY, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown strategy {name!r}.{hint} Known: {', '.join(strategy_names())}."
        )
    cls, fixed = _REGISTRY[key]
    return cls(**{**fixed, **params})
