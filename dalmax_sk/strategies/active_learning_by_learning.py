"""Active learning by learning: a bandit that finds out which strategy helps."""

import copy
import hashlib
import logging
import math
from numbers import Integral, Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.random_sampling import RandomSampling
from dalmax_sk.strategies.registry import get_strategy

__all__ = ["ActiveLearningByLearning"]

logger = logging.getLogger("dalmax_sk")

_STATE_VERSION = 1
_UNIFORM = "uniform"
_DEFAULT = ("margin_sampling", "core_set")


class ActiveLearningByLearning(QueryStrategy):
    r"""Blend strategies by how well the model does on what they asked for (ALBL).

    Each strategy is an expert of the bandit algorithm EXP4.P [2]_; the uniform draw is
    always one more expert. A pick is made by expert k with probability

    .. math:: p_k = (1 - K p_{\min}) \frac{w_k}{\sum_l w_l} + p_{\min},

    so candidate i is picked with probability :math:`q_i = \sum_k p_k \psi^k_i`, where
    :math:`\psi^k` is 1 at the first choice of expert k (1/n everywhere for the uniform
    one). Once the labels are known, the reward of a pick is the importance-weighted
    accuracy of the new model f on the :math:`\tau` samples asked for so far,

    .. math:: r = \frac{1}{N T} \sum_{t \le \tau} \frac{[f(x_t) = y_t]}{q_t},

    an unbiased estimate of the accuracy on the pool for :math:`\tau = T` if f is fixed
    [1]_ (cut at 1, as EXP4.P supposes of rewards), and each expert that had advised the
    pick gains weight,

    .. math:: w_k \leftarrow w_k \exp\left(\frac{p_{\min}}{2} \left(
              \frac{\psi^k_i}{q_i} r + \frac{1}{p_k} \sqrt{\frac{\ln(K/\delta)}{K T}}
              \right)\right).

    Parameters
    ----------
    strategies : list of QueryStrategy or str, default=None
        The experts, objects or names. None means margin sampling and core-set. The
        uniform draw is added if no RandomSampling is among them.
    budget : int, default=1000
        The number T of labels that the run will ask for in all, at least 1. A rough
        number will do; past it, T is the number asked for.
    delta : float, default=0.1
        The bound of EXP4.P on the regret holds with probability 1 - delta; in (0, 1].
    p_min : float, default=None
        Least probability of an expert, in (0, 1/K] for K experts, the uniform one
        included. None means ``sqrt(ln(K) / (K * T))``, at most 1/K.

    See Also
    --------
    ReinforcementLearningSampling : Learns to score candidates, not to choose experts.

    Notes
    -----
    *Batches.* The paper asks for one label at a time. A batch of n is n picks made one
    after the other with the same weights, each expert advising its most wanted
    candidate that is still there; the updates of all n follow when the labels are
    known, all with the same reward. With n = 1 this is the paper's algorithm, except
    that a sample which is labelled already is never drawn again.

    *State.* This strategy learns between queries. The state advances only when a pool
    comes in whose labelled samples begin with those of the last query, in the same
    order, and are more. Thus the same pool gives the same picks however often it is
    asked. Any other labels mean another run, and the state starts afresh. A pool made
    by ``Pool.from_arrays`` has no row numbers: append new labels in the order of the
    picks. :meth:`get_state` and :meth:`set_state` carry the state over to another
    process.

    A query leaves the experts' probabilities ``p_<name>`` and, from the second round,
    ``reward`` in ``pool.info``.

    References
    ----------
    .. [1] W.-N. Hsu and H.-T. Lin, "Active Learning by Learning", AAAI 2015.
       https://doi.org/10.1609/aaai.v29i1.9597
    .. [2] A. Beygelzimer, J. Langford, L. Li, L. Reyzin and R. E. Schapire, "Contextual
       Bandit Algorithms with Supervised Learning Guarantees", AISTATS 2011.
       https://arxiv.org/abs/1002.4058

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ActiveLearningByLearning
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]],
    ...     embeddings=[[1.0], [4.0], [9.0]],
    ...     random_state=0,
    ... )
    >>> ActiveLearningByLearning().query(pool, n=2).shape
    (2,)
    >>> {name: round(p, 3) for name, p in pool.info.items()}
    {'p_margin_sampling': 0.333, 'p_core_set': 0.333, 'p_uniform': 0.333}
    """

    names = {"active_learning_by_learning": {}, "albl": {}}
    category = "learned"
    looks_at = "what its strategies look at"
    cost = "one query of each of its strategies"

    _parameter_constraints = {
        "strategies": [list, tuple, None],
        "budget": [Interval(Integral, 1, None, closed="left")],
        "delta": [Interval(Real, 0, 1, closed="right")],
        "p_min": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(self, strategies=None, budget=1000, delta=0.1, p_min=None):
        self.strategies = strategies
        self.budget = budget
        self.delta = delta
        self.p_min = p_min

    def get_state(self):
        """Return what the bandit has learned so far.

        Returns
        -------
        dict
            Plain numbers, strings, lists and dicts; empty before the first query.
        """
        return copy.deepcopy(getattr(self, "_state", {}))

    def set_state(self, state):
        """Restore what :meth:`get_state` returned.

        Parameters
        ----------
        state : dict

        Raises
        ------
        ValueError
            If the state is of another version or of other experts.
        """
        if not state:
            self.__dict__.pop("_state", None)
            return
        names = self._experts()[0]
        if state.get("version") != _STATE_VERSION or state.get("experts") != names:
            raise ValueError(
                f"ActiveLearningByLearning.set_state: got a state of version "
                f"{state.get('version')!r} with the experts {state.get('experts')!r}; "
                f"this one has version {_STATE_VERSION} and the experts {names!r}. Go "
                "on with the strategies that the state was made with."
            )
        _check_state(state, len(names))
        self._state = copy.deepcopy(state)

    @property
    def requires(self):
        _, experts = self._experts()
        required = [name for e in experts if e is not None for name in e.requires]
        return tuple(dict.fromkeys(required))

    def _check_pool(self, pool):
        for expert in self._experts()[1]:
            if expert is not None:
                expert._check_pool(pool)
        pool.check("labeled_proba", owner=type(self).__name__)  # the reward

    def _query(self, pool, n):
        names, experts = self._experts()
        advice = [None if e is None else e.query(pool, n) for e in experts]
        pool.info.clear()  # of what the experts left
        state = self._advance(pool, names)
        p = self._probabilities(state["log_weights"])
        # a stream of its own, so that an expert with the same seed draws otherwise
        rng = np.random.RandomState(pool.random_state.randint(2**31 - 1))
        advice = [rng.permutation(len(pool)) if a is None else a for a in advice]
        picks, drawn = _draw(advice, [e is None for e in experts], p, n, len(pool), rng)
        state["pending"] = {
            "n_labeled": pool.n_labeled,
            "labeled": _digest(pool, pool.n_labeled),
            "rows": pool.indices[picks].tolist(),
            "p": p.tolist(),
            **drawn,
        }
        self._state = state
        pool.info.update(
            {f"p_{name}": float(x) for name, x in zip(names, p, strict=True)}
        )
        return picks

    def _experts(self):
        """Return names and strategies; None stands for the uniform draw."""
        names, experts = [], []
        for given in _DEFAULT if self.strategies is None else self.strategies:
            strategy = get_strategy(given) if isinstance(given, str) else given
            if not isinstance(strategy, QueryStrategy):
                raise TypeError(
                    "ActiveLearningByLearning: strategies must hold QueryStrategy "
                    f"objects or their names, got {given!r}."
                )
            if isinstance(strategy, RandomSampling):
                continue  # the uniform expert, added below
            name = given if isinstance(given, str) else type(given).__name__
            names.append(f"{name}_{len(names)}" if name in names else name)
            experts.append(strategy)
        if not experts:
            raise ValueError(
                "ActiveLearningByLearning needs at least one strategy besides the "
                f"uniform draw, got strategies={self.strategies!r}."
            )
        return names + [_UNIFORM], experts + [None]

    def _p_min(self, n_experts):
        if self.p_min is None:
            p_min = math.sqrt(math.log(n_experts) / (n_experts * self.budget))
            return min(p_min, 1 / n_experts)
        if self.p_min * n_experts > 1 + 1e-12:
            raise ValueError(
                f"ActiveLearningByLearning: p_min must be at most 1/{n_experts}, one "
                f"over the number of experts (the uniform one included), got "
                f"{self.p_min}."
            )
        return self.p_min

    def _probabilities(self, log_weights):
        """Return the probability of each expert, shape (K,)."""
        log_weights = np.array(log_weights)
        weights = np.exp(log_weights - log_weights.max())
        p_min = self._p_min(len(weights))
        return (1 - len(weights) * p_min) * weights / weights.sum() + p_min

    def _advance(self, pool, names):
        """Return the state with which to query `pool`; ``self._state`` is not changed.

        What was pending is settled if its labels have come.
        """
        state = self.get_state()
        fresh = {
            "version": _STATE_VERSION,
            "experts": names,
            "n_pool": len(pool),
            "log_weights": [0.0] * len(names),
            "answered": [],  # places among the labelled samples
            "importance": [],  # 1 / q of each
            "pending": None,
        }
        if not state or state["experts"] != names:
            return fresh
        pending = state["pending"]
        n_before = pending["n_labeled"]
        if pool.n_labeled < n_before or pending["labeled"] != _digest(pool, n_before):
            logger.info("ActiveLearningByLearning: other labels, the bandit starts new")
            return fresh
        if pool.n_labeled > n_before:
            self._settle(state, pool)
        return state

    def _settle(self, state, pool):
        """Pay the rewards of the pending picks whose labels are there."""
        pending, n_before = state["pending"], state["pending"]["n_labeled"]
        place = _places(pool, n_before, pending["rows"])
        known = [j for j, row in enumerate(pending["rows"]) if row in place]
        if not known:
            return
        state["answered"] += [place[pending["rows"][j]] for j in known]
        state["importance"] += [1 / pending["q"][j] for j in known]
        reward = self._reward(state, pool)
        n_experts = len(state["experts"])
        bonus = math.sqrt(math.log(n_experts / self.delta) / (n_experts * self.budget))
        rate = self._p_min(n_experts) / 2
        log_weights = np.array(state["log_weights"])
        for j in known:
            y_hat = np.array(pending["advice"][j]) * reward / pending["q"][j]
            log_weights += rate * (y_hat + bonus / np.array(pending["p"]))
        state["log_weights"] = (log_weights - log_weights.max()).tolist()
        pool.info["reward"] = reward

    def _reward(self, state, pool):
        """Return the importance-weighted accuracy of the present model."""
        pool.prepare(["labeled_proba"], owner=type(self).__name__)
        places = np.array(state["answered"])
        predicted = pool.labeled_proba[places].argmax(axis=1)
        right = predicted == pool.y_labeled_codes[places]
        total = float(np.sum(right * np.array(state["importance"])))
        # EXP4.P is for rewards up to 1, which the estimate may exceed
        return min(1.0, total / (state["n_pool"] * max(self.budget, len(places))))


def _check_state(state, n_experts):
    """Raise ValueError if a state is not one of :meth:`get_state`."""
    try:
        pending = state["pending"]
        picks = (pending["rows"], pending["q"], pending["advice"])
        same = len({len(part) for part in picks}) == 1
        experts = [state["log_weights"], pending["p"], *pending["advice"]]
        same &= all(len(part) == n_experts for part in experts)
        same &= len(state["answered"]) == len(state["importance"])
        shares = np.array([*pending["q"], *pending["p"]], dtype=float)
        same &= bool(((shares > 0) & (shares <= 1 + 1e-9)).all())
        psi = np.array(pending["advice"], dtype=float)
        same &= bool(((psi >= 0) & (psi <= 1)).all())
        same &= bool(np.isfinite(np.array(state["log_weights"], dtype=float)).all())
        same &= state["n_pool"] > 0 and pending["n_labeled"] >= 0
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"ActiveLearningByLearning.set_state: got a damaged state ({error!r})."
        ) from error
    if not same:
        raise ValueError(
            "ActiveLearningByLearning.set_state: got a damaged state, whose parts do "
            "not fit each other."
        )


def _draw(advice, is_uniform, p, n, n_candidates, rng):
    """Draw `n` candidates one after the other.

    Parameters
    ----------
    advice : list of K arrays
        Candidates in each expert's order of preference; for a uniform expert a random
        order of all.
    is_uniform : list of K bool
    p : ndarray of shape (K,)
        Probabilities of the experts.
    n, n_candidates : int
    rng : RandomState instance

    Returns
    -------
    picks : ndarray of int of shape (n,)
    drawn : dict
        ``"q"``: the probability of each pick when it was drawn; ``"advice"``: for each
        pick the K numbers psi, the probability that expert k gave it.
    """
    taken = np.zeros(n_candidates, dtype=bool)
    at = [0] * len(advice)
    picks, probabilities, advised = [], [], []
    for left in range(n_candidates, n_candidates - n, -1):
        first = []
        for k, order in enumerate(advice):
            while taken[order[at[k]]]:
                at[k] += 1
            first.append(order[at[k]])
        pick = first[rng.choice(len(p), p=p)]
        psi = [
            1 / left if uniform else float(choice == pick)
            for uniform, choice in zip(is_uniform, first, strict=True)
        ]
        taken[pick] = True
        picks.append(pick)
        advised.append(psi)
        probabilities.append(float(np.dot(p, psi)))
    return np.array(picks), {"q": probabilities, "advice": advised}


def _digest(pool, n):
    """Return a fingerprint of the first `n` labelled samples: rows and labels."""
    labels = [] if pool.y_labeled is None else pool.y_labeled[:n].tolist()
    rows = pool.labeled_indices[:n].tolist()
    return hashlib.sha256(repr((rows, labels)).encode()).hexdigest()


def _places(pool, n_before, rows):
    """Return {row: place among the labelled samples} of those `rows` now labelled."""
    if pool.given:  # arrays have no row numbers: labels come in the order of the picks
        new = rows[: pool.n_labeled - n_before]
    else:
        new = pool.labeled_indices[n_before:].tolist()
    wanted = set(rows)
    return {row: n_before + i for i, row in enumerate(new) if row in wanted}
