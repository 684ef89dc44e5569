"""Every strategy of the registry keeps what all strategies promise."""

import pytest

from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    Filtered,
    Mixture,
    RandomSampling,
    Switch,
    UncertaintySampling,
    get_strategy,
    strategy_names,
)
from dalmax_sk.utils.estimator_checks import check_strategy, parametrize_with_checks

# The default would take half a minute for the one query of 10,000 candidates at which
# memory is measured; pools of up to 500 are not affected. Noise stability keeps
# n * K * C deviations besides its blocks, by default nearly all that is allowed.
SMALL = {"bait": {"max_candidates": 500}, "noise_stability": {"n_samplings": 10}}

# Besides what the names give: other ways through the same classes.
OTHERS = [
    UncertaintySampling(batch="power"),
    UncertaintySampling(batch="softmax", beta=2.0),
    UncertaintySampling(batch="softrank"),
    DiversitySampling(weighting="margin"),
    Switch(CoreSet(), RandomSampling(), at=5, unit="labels"),
    Mixture([CoreSet(), ("doubt", UncertaintySampling()), CoreSet()], [2, 1, 0]),
    Filtered(
        CoreSet(),
        near_duplicates=0.05,
        class_balance=True,
        out_of_distribution=0.9,
        n_neighbors=3,
        subsample=0.8,
        metric="euclidean",
    ),
    Filtered(Mixture([UncertaintySampling(), RandomSampling()]), class_balance=True),
    Mixture([Switch(CoreSet(), UncertaintySampling()), Filtered(near_duplicates=0.1)]),
]


def instances():
    """One of each that the registry makes; several names may make the same."""
    made = [get_strategy(name, **SMALL.get(name, {})) for name in strategy_names()]
    return list({repr(strategy): strategy for strategy in made + OTHERS}.values())


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(instances())
def test_promises(strategy, check):
    check()


@pytest.mark.parametrize("name", strategy_names())
def test_names_and_their_spelling(name):
    made = get_strategy(name)
    again = get_strategy(name.replace("_", "-").upper())
    assert repr(made) == repr(again)


def test_nothing_is_skipped_but_what_cannot_apply():
    # a check that everybody skips would check nothing
    results = check_strategy(RandomSampling(), on_fail="raise")
    skipped = [r["check_name"] for r in results if r["status"] == "skipped"]
    assert skipped == ["check_nan"]
    results = check_strategy(UncertaintySampling(), on_fail="raise")
    assert {r["status"] for r in results} == {"passed"}
