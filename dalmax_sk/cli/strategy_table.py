"""What ``dalmax strategies`` knows of each strategy."""

from dataclasses import asdict, dataclass, field
from typing import Any

from dalmax_sk.strategies import QueryStrategy, get_strategy, strategy_names

__all__ = ["SYMBOLS", "StrategyEntry", "list_strategies"]

#: What the letters in costs stand for.
SYMBOLS = {
    "n": "candidates",
    "m": "labelled samples",
    "b": "picks",
    "d": "features",
    "C": "classes",
    "K": "posterior samples, perturbations or committee members",
}

# The name that a strategy is listed under: what it looks at, and what a query costs
# beside the model's pass over the pool. The pages below docs/user_guide/strategies/
# have the details.
_TABLE = {
    "random_sampling": ("nothing", "O(n)"),
    "uncertainty_sampling": ("probabilities", "O(n·C)"),
    "query_by_committee": ("several models' probabilities", "O(K·n·C), and K fits"),
    "bayesian_sampling": ("posterior samples", "O(K·n·C)"),
    "batch_bald": ("posterior samples", "O(K·n·C), then up to 1000·K·C a look"),
    "epig": ("posterior samples", "O(n·T·C²·K) for T targets"),
    "adversarial_sampling": (
        "gradients with respect to the inputs, or a linear model",
        "up to 10·C passes of the net; linear models O(n·d·C)",
    ),
    "noise_stability": (
        "a net, or a linear head",
        "K + 1 passes of the net; the head alone O(K·n·C·d)",
    ),
    "expected_model_change": (
        "probabilities and embeddings; or all gradients of a net",
        "O(n·(d + C)); all gradients: C + 1 passes of the net",
    ),
    "galaxy": ("probabilities and labels", "O(C·N·log N) for N = n + m"),
    "diversity_sampling": ("embeddings", "O(n·b·d) an iteration of k-means"),
    "core_set_selection": ("embeddings", "O(n·(m + b)·d)"),
    "typi_clust": ("embeddings", "O(n·k·d) an iteration of k-means, k ≤ 500"),
    "prob_cover": ("embeddings", "O(n²·d)"),
    "max_herding": ("embeddings", "O(n²·d)"),
    "facility_location": ("embeddings", "O(n²·d)"),
    "badge": ("probabilities and embeddings", "O(n·b·(d + C))"),
    "bait": ("probabilities and embeddings", "O(n·(C·d)² + (C·d)³ + b·n·d·C²)"),
    "cluster_margin": ("probabilities and embeddings", "O(N²·d) for N = 10·b"),
    "uherding": ("probabilities and embeddings", "O(n²·d), and one fit"),
    "alfa_mix": ("embeddings and the last layer", "O(n·d·C), then k-means"),
    "drop_query": ("embeddings and the last layer", "O(K·n·d·C), then k-means"),
    "reinforcement_learning_sampling": (
        "probabilities and embeddings",
        "O(n·(m + 1000)·d)",
    ),
    "active_learning_by_learning": (
        "what its strategies look at",
        "one query of each of them",
    ),
    "switch": ("what its strategies look at", "that of the strategy in turn"),
    "mixture": ("what its strategies look at", "the sum of its strategies"),
    "filtered": (
        "what its strategy looks at, and embeddings or probabilities",
        "O(n·(m + b)·d), and that of its strategy",
    ),
}


@dataclass
class StrategyEntry:
    """One strategy under all its names.

    Attributes
    ----------
    name : str
        The name it is listed under.
    aliases : list of str
        Other names of the same strategy with the same parameters.
    class_name : str
        Its class in :mod:`dalmax_sk.strategies`.
    parameters : dict
        Parameters that the name sets, beside the defaults.
    description : str
        What it does, in a sentence.
    needs : str
        What it looks at.
    cost : str
        What a query costs beside the model's pass over the pool; :data:`SYMBOLS` says
        what the letters stand for.
    """

    name: str
    class_name: str
    description: str
    needs: str
    cost: str
    aliases: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain values, the class under ``"class"``."""
        entry = asdict(self)
        return {
            "name": entry.pop("name"),
            "aliases": entry.pop("aliases"),
            "class": entry.pop("class_name"),
            **entry,
        }


def list_strategies() -> list[StrategyEntry]:
    """Return all strategies of the registry, each once, in the order of the guide.

    Returns
    -------
    list of StrategyEntry
        Names that mean the same class with the same parameters are one entry; a name
        that sets parameters of its own follows the strategy it is a variant of.

    Examples
    --------
    >>> from dalmax_sk.cli.strategy_table import list_strategies
    >>> entries = {entry.name: entry for entry in list_strategies()}
    >>> entries["core_set_selection"].aliases
    ['core_set']
    >>> entries["entropy_sampling"].parameters
    {'measure': 'entropy'}
    """
    groups: dict[str, list[str]] = {}
    for name in strategy_names():
        # scikit-learn's repr names the class and what differs from its defaults
        groups.setdefault(repr(get_strategy(name)), []).append(name)
    order = list(_TABLE)
    entries = [_entry(names) for names in groups.values()]
    return sorted(entries, key=lambda entry: _place(entry, order))


def _entry(names: list[str]) -> StrategyEntry:
    listed = [name for name in names if name in _TABLE]
    name = listed[0] if listed else names[0]
    strategy = get_strategy(name)
    cls = type(strategy)
    defaults = cls().get_params(deep=False)
    needs, cost = _TABLE[name if listed else _main_name(cls)]
    return StrategyEntry(
        name=name,
        class_name=cls.__name__,
        description=_first_line(cls),
        needs=needs,
        cost=cost,
        aliases=[other for other in names if other != name],
        parameters={
            key: value
            for key, value in strategy.get_params(deep=False).items()
            if value != defaults[key]
        },
    )


def _main_name(cls: type[QueryStrategy]) -> str:
    """Return the listed name of a class, whose row its variants share."""
    return next(name for name in _TABLE if type(get_strategy(name)) is cls)


def _first_line(cls: type[QueryStrategy]) -> str:
    line = (cls.__doc__ or "").strip().splitlines()[0]
    return line.replace(" [1]_", "")  # the reference is in the docstring


def _place(entry: StrategyEntry, order: list[str]) -> tuple[int, str]:
    if entry.name in order:
        return order.index(entry.name), ""
    main = next(n for n in order if type(get_strategy(n)).__name__ == entry.class_name)
    return order.index(main), entry.name
