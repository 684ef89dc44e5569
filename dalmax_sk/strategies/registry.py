"""The registry: strategies by name, and what is known of each.

Nothing is listed here. A class whose body has ``names`` enters when it is defined.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["StrategyEntry", "get_strategy", "list_strategies", "strategy_names"]

#: Categories of strategies, in the order of the guide, and their headings.
CATEGORIES = {
    "baseline": "baseline",
    "uncertainty": "uncertainty of the model",
    "diversity": "layout of the pool",
    "both": "uncertainty and layout",
    "learned": "learned",
    "combined": "made of others",
    "other": "others",
}

#: Letters in costs.
SYMBOLS = {
    "n": "candidates",
    "m": "labelled samples",
    "b": "picks",
    "d": "features",
    "C": "classes",
    "K": "posterior samples, perturbations or committee members",
}

_QUANTITIES = {
    "proba": "probabilities",
    "proba|decision_values": "probabilities or decision values",
    "decision_values": "decision values",
    "labeled_proba": "probabilities",
    "embeddings": "embeddings",
    "labeled_embeddings": "embeddings",
    "posterior_proba": "posterior samples",
    "head": "the last layer",
    "decision": "the last layer",
    "network": "a net",
}

_classes: dict[str, type["QueryStrategy"]] = {}


def register(cls: type["QueryStrategy"]) -> None:
    """Enter a class under the names in its own body; without names it stays out.

    A class that is defined again, as in a notebook, takes the place of the former.
    """
    names = vars(cls).get("names")
    if not names:
        return
    where = f"{cls.__module__}.{cls.__qualname__}"
    if not isinstance(names, dict) or not all(
        isinstance(fixed, dict) for fixed in names.values()
    ):
        raise TypeError(
            f"{where}: names must map each name to a dict of the parameters that it "
            f"fixes, got {names!r}."
        )
    if cls.category not in CATEGORIES:
        raise ValueError(
            f"{where}: category must be one of {', '.join(CATEGORIES)}; got "
            f"{cls.category!r}."
        )
    parameters = cls._get_param_names()
    for name, fixed in names.items():
        if not re.fullmatch("[a-z0-9_]+", name):
            raise ValueError(
                f"{where}: a name has lower-case letters, digits and underscores only, "
                f"got {name!r}."
            )
        if unknown := sorted(set(fixed) - set(parameters)):
            raise ValueError(
                f"{where}: the name {name!r} fixes {', '.join(unknown)}, expected "
                f"parameters of the class: {', '.join(parameters) or '(none)'}."
            )
        taken = _classes.get(name)
        if taken is not None and not _is_former(taken, cls):
            raise ValueError(
                f"{where}: the name {name!r} is taken by {taken.__module__}."
                f"{taken.__qualname__}. Choose another name."
            )
    for name in [name for name, other in _classes.items() if _is_former(other, cls)]:
        del _classes[name]
    _classes.update(dict.fromkeys(names, cls))


def _is_former(other: type, cls: type) -> bool:
    """Return whether `other` is an earlier definition of `cls`."""
    return (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)


def strategy_names() -> list[str]:
    """Return the names that :func:`get_strategy` knows, sorted.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from dalmax_sk.strategies import strategy_names
    >>> "core_set_selection" in strategy_names()
    True
    """
    return sorted(_classes)


def get_strategy(name: str, **params: Any) -> "QueryStrategy":
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
    if key not in _classes:
        close = difflib.get_close_matches(key, _classes, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown strategy {name!r}.{hint} Known: {', '.join(strategy_names())}."
        )
    cls = _classes[key]
    return cls(**{**cls.names[key], **params})


@dataclass(frozen=True)
class StrategyEntry:
    """One strategy with its parameters, under all names that mean the same.

    Attributes
    ----------
    name : str
        The name it is listed under.
    aliases : list of str
        The other names.
    class_name : str
        Its class.
    category : str
        A key of ``registry.CATEGORIES``.
    parameters : dict
        Parameters that differ from those of the class.
    description : str
        One sentence: the first line of the docstring of the class.
    looks_at : str
        The quantities of a pool that a query reads.
    cost : str
        The cost of a query in addition to the model's pass over the pool;
        ``registry.SYMBOLS`` explains the letters.
    """

    name: str
    aliases: list[str]
    class_name: str
    category: str
    parameters: dict[str, Any]
    description: str
    looks_at: str
    cost: str


def list_strategies() -> list[StrategyEntry]:
    """Return all strategies of the registry, each once, in the order of the guide.

    Returns
    -------
    list of StrategyEntry
        By category, then by name. Names that mean the same class with the same
        parameters are one entry; a name that fixes other parameters follows the entry
        of its class.

    Examples
    --------
    >>> from dalmax_sk.strategies import list_strategies
    >>> entries = {entry.name: entry for entry in list_strategies()}
    >>> entries["core_set_selection"].aliases
    ['core_set']
    >>> entries["entropy_sampling"].parameters
    {'measure': 'entropy'}
    """
    order = list(CATEGORIES)
    classes = sorted(
        set(_classes.values()),
        key=lambda c: (order.index(c.category), next(iter(c.names))),
    )
    return [entry for cls in classes for entry in _entries(cls)]


def _entries(cls: type["QueryStrategy"]) -> Iterator[StrategyEntry]:
    """Yield the entries of one class, that of its first name first."""
    groups: dict[str, list[str]] = {}
    for name, fixed in cls.names.items():
        # scikit-learn's repr names the parameters that differ from the defaults
        groups.setdefault(repr(cls(**fixed)), []).append(name)
    defaults = cls().get_params(deep=False)
    for name, *aliases in groups.values():
        strategy = get_strategy(name)
        yield StrategyEntry(
            name=name,
            aliases=aliases,
            class_name=cls.__name__,
            category=cls.category,
            parameters={k: v for k, v in cls.names[name].items() if v != defaults[k]},
            description=_first_line(cls),
            looks_at=strategy.looks_at or _in_words(strategy.requires),
            cost=strategy.cost,
        )


def _first_line(cls: type["QueryStrategy"]) -> str:
    line = (cls.__doc__ or "").strip().partition("\n")[0]
    return line.replace(" [1]_", "")  # the reference is in the docstring


def _in_words(requires: tuple[str, ...]) -> str:
    """Return quantities of a pool in words: ``"probabilities and embeddings"``."""
    *words, last = dict.fromkeys(_QUANTITIES[r] for r in requires) or ["nothing"]
    return f"{', '.join(words)} and {last}" if words else last
