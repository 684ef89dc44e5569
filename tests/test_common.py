"""scikit-learn's own battery on every public estimator, with no expected failure."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    RandomSampling,
    UncertaintySampling,
)

LEARNERS = [
    ActiveLearningClassifier(),
    ActiveLearningClassifier(LogisticRegression()),
    ActiveLearningClassifier(make_pipeline(StandardScaler(), LogisticRegression())),
    ActiveLearningClassifier(strategy=CoreSet()),
]
STRATEGIES = [RandomSampling(), UncertaintySampling(), DiversitySampling(), CoreSet()]

# The battery fits on all kinds of data with the defaults.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(LEARNERS)
def test_learner_follows_the_contract(estimator, check):
    check(estimator)


@parametrize_with_checks([CNNClassifier(max_epochs=5)])
def test_cnn_follows_the_contract(estimator, check):
    check(estimator)


@parametrize_with_checks(STRATEGIES)
def test_strategies_are_parameter_objects(estimator, check):
    check(estimator)
