"""scikit-learn's own battery on every public estimator, with no expected failure."""

import subprocess
import sys

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_estimator_cloneable,
    check_estimator_repr,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_param_validation,
    check_parameters_default_constructible,
    check_set_params,
    parametrize_with_checks,
)

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.strategies import CoreSet, get_strategy, strategy_names

LEARNERS = [
    ActiveLearningClassifier(),
    ActiveLearningClassifier(LogisticRegression()),
    ActiveLearningClassifier(make_pipeline(StandardScaler(), LogisticRegression())),
    ActiveLearningClassifier(strategy=CoreSet()),
]
# one of each class
STRATEGIES = [*{type(s): s for s in map(get_strategy, strategy_names())}.values()]

# The battery fits on all kinds of data with the defaults.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(LEARNERS)
def test_learner_follows_the_contract(estimator, check):
    check(estimator)


@parametrize_with_checks([CNNClassifier(max_epochs=5)])
def test_cnn_follows_the_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        check_estimator_cloneable,
        check_estimator_repr,
        check_get_params_invariance,
        check_no_attributes_set_in_init,
        check_param_validation,
        check_parameters_default_constructible,
        check_set_params,
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_strategies_are_parameter_objects(strategy, check):
    # a strategy has nothing to fit: of the battery, what is about parameters applies
    if check is check_param_validation:
        every = set(strategy.get_params(deep=False))
        assert every == set(strategy._parameter_constraints)
    else:
        check(type(strategy).__name__, strategy)


@pytest.mark.parametrize(
    "estimator", [ActiveLearningClassifier(), CNNClassifier()], ids=repr
)
def test_every_parameter_is_constrained(estimator):
    check_param_validation(type(estimator).__name__, estimator)


def test_the_command_line_loads_nothing_heavy():
    # `dalmax --help` answers at once, and settings that torch reads when it is loaded
    # can still be made
    code = (
        "import sys, dalmax_sk, dalmax_sk.cli; "
        "print(sorted({'torch', 'sklearn', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
