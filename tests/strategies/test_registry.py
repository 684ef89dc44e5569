"""The registry: what stands on a class is what every list says."""

import re

import pytest

from dalmax_sk import strategies
from dalmax_sk.strategies import (
    QueryStrategy,
    ScoreStrategy,
    UncertaintySampling,
    get_strategy,
    list_strategies,
    registry,
    strategy_names,
)

OURS = [
    cls
    for cls in vars(strategies).values()
    if isinstance(cls, type) and issubclass(cls, QueryStrategy)
]


@pytest.fixture
def own_registry(monkeypatch):
    """The registry, whose new entries are gone after the test."""
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))


def define(qualname="Mine", base=ScoreStrategy, module="elsewhere", **body):
    """Define a class as its source would in a module."""
    return type(base)(
        qualname, (base,), {"__module__": module, "__qualname__": qualname, **body}
    )


# ---------------------------------------------------------------------------- our own


def test_every_name_is_listed_once():
    entries = list_strategies()
    names = [name for entry in entries for name in (entry.name, *entry.aliases)]
    assert sorted(names) == strategy_names()
    assert len(names) >= 40


def test_names_of_one_entry_mean_the_same():
    for entry in list_strategies():
        strategy = get_strategy(entry.name)
        assert type(strategy).__name__ == entry.class_name
        made = type(strategy)(**entry.parameters)
        assert repr(made) == repr(strategy)
        for alias in entry.aliases:
            assert repr(get_strategy(alias)) == repr(strategy)


def test_every_strategy_of_ours_is_registered_and_described():
    # property: one sentence, a category, a cost; and only base classes have no name
    listed = {entry.class_name for entry in list_strategies()}
    assert {cls.__name__ for cls in OURS} - listed == {"QueryStrategy", "ScoreStrategy"}
    for entry in list_strategies():
        assert re.fullmatch(r"[A-Z][^\n]{20,80}\.", entry.description), entry
        assert entry.category != "other", entry
        assert entry.cost != "not stated", entry
        assert entry.looks_at, entry


def test_the_order_is_that_of_the_categories():
    order = list(registry.CATEGORIES)
    places = [order.index(entry.category) for entry in list_strategies()]
    assert places == sorted(places)
    assert list_strategies()[0].name == "random_sampling"


def test_words_say_what_is_required():
    # property: where a class words by hand what it looks at, it leaves out nothing
    words_of = {
        "proba": "probabilities",
        "proba|decision_values": "probabilities or decision values",
        "labeled_proba": "probabilities",
        "embeddings": "embeddings",
        "labeled_embeddings": "embeddings",
        "head": "the last layer",
        "decision": "the last layer",
        "network": "net",
    }
    for entry in list_strategies():
        if "strategies look at" in entry.looks_at:
            continue
        for name in get_strategy(entry.name).requires:
            assert words_of[name] in entry.looks_at, (entry.name, name)
    words = {entry.name: entry.looks_at for entry in list_strategies()}
    assert words["random_sampling"] == "nothing"
    assert words["alfa_mix"] == "probabilities, embeddings and the last layer"
    assert words["epig"] == "posterior samples"


def test_letters_in_costs_are_explained():
    known = {*registry.SYMBOLS, "N", "T", "k", "O"}
    for entry in list_strategies():
        for part in re.findall(r"O\([^O]*\)", entry.cost):
            letters = set(re.findall(r"[A-Za-z]+", part)) - {"log"}
            assert letters <= known, entry
            for letter in letters & {"N", "T", "k"}:
                assert re.search(rf"\b{letter} (=|≤|targets)|for T", entry.cost), entry


def test_costs_follow_parameters():
    costs = {entry.name: entry.cost for entry in list_strategies()}
    assert costs["batch_bald"] != costs["bayesian_sampling"]
    assert get_strategy("batch_bald", measure="bald").cost == costs["bayesian_sampling"]


# -------------------------------------------------------------------------- anyone's


def test_a_class_with_names_registers_itself(own_registry):
    class FirstClass(ScoreStrategy):
        """Pick the candidates that are surest to be of the first class."""

        names = {"first_class": {}, "first_class_power": {"batch": "power"}}
        requires = ("proba",)
        cost = "O(n)"

        def __init__(self, batch="top", beta=1.0):
            self.batch = batch
            self.beta = beta

        def _score(self, pool):
            return pool.proba[:, 0]

    assert isinstance(get_strategy("First-Class"), FirstClass)
    assert get_strategy("first_class_power", beta=3.0).get_params() == {
        "batch": "power",
        "beta": 3.0,
    }
    first, power = list_strategies()[-2:]
    assert (first.name, first.category, first.looks_at, first.cost) == (
        *("first_class", "other", "probabilities", "O(n)"),
    )
    assert first.description == FirstClass.__doc__
    assert (power.name, power.parameters) == ("first_class_power", {"batch": "power"})


def test_a_class_without_names_of_its_own_stays_out(own_registry):
    before = strategy_names()
    define(base=UncertaintySampling)
    define(names={})
    assert strategy_names() == before
    assert type(get_strategy("margin_sampling")) is UncertaintySampling


def test_a_class_defined_again_takes_the_place_of_the_former(own_registry):
    # as a cell of a notebook that is run twice
    define(names={"mine": {}, "old": {}})
    second = define(names={"mine": {}})
    assert type(get_strategy("mine")) is second
    with pytest.raises(ValueError, match="Unknown strategy 'old'"):
        get_strategy("old")


@pytest.mark.parametrize(
    ("error", "message", "body"),
    [
        (
            ValueError,
            r"elsewhere\.Mine: the name 'badge' is taken by dalmax_sk\.strategies\."
            r"badge\.BADGE\. Choose another name\.",
            {"names": {"mine": {}, "badge": {}}},
        ),
        (
            TypeError,
            r"names must map .* to a dict .* got \['mine'\]",
            {"names": ["mine"]},
        ),
        (TypeError, "names must map .* to a dict", {"names": {"mine": None}}),
        (ValueError, "lower-case .* got 'My-Own'", {"names": {"My-Own": {}}}),
        (
            ValueError,
            r"'mine' fixes sigma, expected parameters of the class: batch, beta",
            {"names": {"mine": {"sigma": 1.0}}},
        ),
        (
            ValueError,
            "category must be one of baseline, .*, other; got 'best'",
            {"names": {"mine": {}}, "category": "best"},
        ),
    ],
)
def test_what_cannot_be_registered_is_an_error(own_registry, error, message, body):
    # property: a clear error where the class is defined, and the registry as before
    before = list_strategies()
    with pytest.raises(error, match=message):
        define(**body)
    assert list_strategies() == before


def test_two_classes_of_one_name_in_two_modules(own_registry):
    one = define(module="one", names={"one": {}})
    other = define(module="other", names={"other": {}})
    assert [type(get_strategy(name)) for name in ("one", "other")] == [one, other]
    with pytest.raises(ValueError, match=r"other\.Mine: .* taken by one\.Mine"):
        define(module="other", names={"one": {}})
