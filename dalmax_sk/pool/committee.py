"""Committees: several models of the same labels, and their outputs for the pool.

A committee costs more than one model; how much more depends on its kind. The members of
a forest are there already, last layers on a shared trained body take a moment, whole
nets take as long as so many fits.
"""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.utils.metadata_routing import get_routing_for_object

from dalmax_sk._base import progress
from dalmax_sk._base.fits import classes_of, fit_estimator, output, predict
from dalmax_sk._base.pipelines import last_step, transformed
from dalmax_sk._base.processes import explain_worker_death
from dalmax_sk._base.seeds import derive_seed
from dalmax_sk._base.sklearn_compat import safe_indexing
from dalmax_sk.pool.committee_heads import fit_heads, head_proba, heads_at_once
from dalmax_sk.pool.evaluation import align_columns
from dalmax_sk.pool.needs import MissingCapabilityError
from dalmax_sk.pool.network import is_net

__all__ = ["committee_proba", "iter_committee_proba", "stratified_bootstrap"]

_FORESTS = (ExtraTreesClassifier, RandomForestClassifier)
_ENSEMBLES = (*_FORESTS, BaggingClassifier, VotingClassifier)

# Weight decay of heads towards their initial weights. On the embeddings of nets trained
# on 40 to 600 digits, members with 0.1 are as accurate as the net.
_DECAY = 0.1


def committee_proba(
    pool,
    members="auto",
    n_members=5,
    bootstrap="auto",
    owner="committee_proba",
    *,
    votes=False,
):
    r"""Return the class probabilities of all members of a committee.

    Parameters
    ----------
    pool : Pool
        The candidates, the labelled samples and the model fitted on them.
    members : {"auto", "heads", "full"}, estimator or list of estimators, default="auto"
        Who sits in the committee:

        - ``"heads"``: `n_members` last layers on the embeddings of the pool (see
          Notes). For a CNN this is a committee on the shared trained body;
        - ``"full"``: `n_members` clones of the pool's estimator, each with seeds of its
          own and fitted on its own bootstrap sample; parameters such as the device stay
          as they are;
        - a list of at least two classifiers, or of (name, classifier): each is cloned
          and fitted on the labelled samples as they stand in X (a Pipeline brings its
          own preprocessing). Where ``random_state`` is None it gets a seed from the
          pool. In a pool made of arrays they are fitted on the embeddings;
        - a forest, a ``BaggingClassifier`` or a ``VotingClassifier``: it is cloned and
          fitted likewise, and its own members are the committee;
        - ``"auto"``: the members of the pool's estimator if that is such an ensemble,
          ``"heads"`` for a CNN, ``"full"`` for any other estimator. A pool made of
          arrays gives its ``posterior_proba``; without them ``"heads"``.
    n_members : int, default=5
        Number of members, at least 2, where `members` does not fix it.
    bootstrap : bool or "auto", default="auto"
        Whether members are fitted on bootstrap samples, drawn within each class so that
        no class is lost. ``"auto"`` is True, except for members that were given.
    owner : str, default="committee_proba"
        Who asks, for error messages.
    votes : bool, default=False
        Accept members without ``predict_proba``; their vote then counts as certain.

    Returns
    -------
    ndarray of shape (M, n, C), float64
        One layer a member. Rows sum to 1; a class that a member has never seen has
        probability 0.

    Raises
    ------
    ValueError
        If there are fewer than two members, nothing is labelled, or a member cannot
        give probabilities.
    MissingCapabilityError
        If the pool lacks what the members are made of.

    See Also
    --------
    dalmax_sk.strategies.QueryByCommittee : Picks where the members disagree.

    Notes
    -----
    All random numbers are drawn for members and labelled samples, never for candidates:
    permuting the pool permutes the result.

    A member of ``"heads"`` minimises over its weights W, one row a class, and bias b

    .. math::
        \sum_i w_i \, CE(softmax(W x_i + b), y_i)
        + \frac{0.1}{2} (\|W - A\|^2 + |b - a|^2)

    where x_i is the embedding of labelled sample i, centred and divided by the root
    mean square length of the centred embeddings; w_i says how often i is in the
    member's bootstrap sample; and A and a, the member's initial weights, are drawn from
    the standard normal distribution. Such a decay towards one's own initial weights is
    that of anchored ensembles [1]_: members agree where there is data and differ where
    there is none. The problem is convex; L-BFGS solves it for all members together, on
    the device of the net. Only classes that have labelled samples take part.

    References
    ----------
    .. [1] T. Pearce, F. Leibfried and A. Brintrup, "Uncertainty in Neural Networks:
       Approximately Bayesian Ensembling", AISTATS 2020.
       https://arxiv.org/abs/1810.05546

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from dalmax_sk.pool import committee_proba
    >>> from dalmax_sk.pool import Pool
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = np.arange(0, 150, 5)
    >>> model = LogisticRegression(max_iter=500).fit(X[labeled], y[labeled])
    >>> pool = Pool(model, X, labeled, y[labeled], random_state=0)
    >>> committee_proba(pool, n_members=3).shape
    (3, 120, 3)
    """

    def make():
        return _stack(
            iter_committee_proba(
                pool, members, n_members, bootstrap, owner, votes=votes
            )
        )

    if not isinstance(members, str):
        return make()  # estimators may change between two calls
    key = ("committee_proba", members, n_members, bootstrap, votes)
    return pool.once(key, make, axis=1)


def _stack(members):
    """Return arrays (n, C) as one (M, n, C)."""
    found = list(members)
    stacked = np.empty((len(found), *found[0].shape))
    for i in range(len(found)):
        stacked[i], found[i] = found[i], None  # not two copies of all at once
    return stacked


def iter_committee_proba(
    pool,
    members="auto",
    n_members=5,
    bootstrap="auto",
    owner="iter_committee_proba",
    *,
    votes=False,
):
    """Yield what :func:`committee_proba` stacks: one (n, C) array a member.

    Whoever needs sums over the members only never has to hold them all.
    """
    if isinstance(members, str):
        final = last_step(pool.estimator)
        if members == "auto" and isinstance(final, _ENSEMBLES):
            X = transformed(pool.estimator, pool._rows(owner))
            return _ensemble_members(final, X, pool.classes, owner, votes)
        if members == "auto" and final is None and "posterior_proba" in pool.given:
            _check_count(
                len(pool.posterior_proba()), owner, "samples, of shape (K, n, C), K="
            )
            return iter(pool.posterior_proba())
        if members == "auto":
            members = "heads" if final is None or is_net(final) else "full"
        _check_count(n_members, owner, "n_members=")
        _check_labels(pool, owner)
        resample = True if bootstrap == "auto" else bootstrap
        if members == "heads":
            return _heads(pool, n_members, resample, owner)
        if members == "full":
            return _clones(pool, n_members, resample, owner, votes)
        raise ValueError(
            f"{owner}: members must be 'auto', 'heads', 'full', an ensemble or a list "
            f"of estimators, got {members!r}."
        )
    _check_labels(pool, owner)
    # members that were given differ by themselves
    resample = False if bootstrap == "auto" else bootstrap
    if isinstance(last_step(members), _ENSEMBLES):
        return _fit_ensemble(pool, members, resample, owner, votes)
    estimators = _as_estimators(members, owner)
    return _fit_members(pool, estimators, resample, owner, votes, reseed=False)


def stratified_bootstrap(y, rng):
    """Draw a bootstrap sample that holds as many samples of each class as `y` does.

    A plain bootstrap sample may lack a class of few samples, and a member fitted on it
    would never vote for that class.

    Parameters
    ----------
    y : ndarray of shape (m,)
        Labels.
    rng : RandomState

    Returns
    -------
    ndarray of int of shape (m,)
        Rows of `y`, drawn with replacement within each class, class by class.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array(["a", "b", "a", "a"])
    >>> y[stratified_bootstrap(y, np.random.RandomState(0))].tolist()
    ['a', 'a', 'a', 'b']
    """
    _, codes = np.unique(y, return_inverse=True)
    drawn = []
    for code in range(codes.max() + 1):
        rows = np.flatnonzero(codes == code)
        drawn.append(rows[rng.randint(len(rows), size=len(rows))])
    return np.concatenate(drawn)


def _check_count(count, owner, what):
    if count < 2:
        raise ValueError(
            f"{owner}: a committee needs at least 2 members that may disagree, got "
            f"{what}{count}."
        )


def _check_labels(pool, owner):
    if pool.y_labeled is None or len(pool.y_labeled) == 0:
        raise ValueError(
            f"{owner}: a committee is fitted on labelled samples and this pool has "
            "none. Label some first, or give y_labeled to Pool.from_arrays."
        )


def _generator(pool):
    """Return the source of a committee's random numbers.

    Not the pool's own generator, from whose state ties are broken.
    """
    return np.random.RandomState(pool.model_random_state.randint(2**31 - 1))


# --------------------------------------------------------------- fitted ensembles


def _ensemble_members(ensemble, X, classes, owner, votes):
    """Return an iterator over the (n, C) probabilities of a fitted ensemble's members.

    Members of scikit-learn's ensembles are fitted on labels encoded as positions in the
    ensemble's ``classes_``.
    """
    name = type(ensemble).__name__
    _check_count(len(ensemble.estimators_), owner, f"a {name} whose members number ")
    if not isinstance(ensemble, VotingClassifier):
        # they are fitted on arrays without column names; trees on float32
        dtype = np.float32 if isinstance(ensemble, _FORESTS) else None
        X = X.tocsr() if hasattr(X, "tocsr") else np.asarray(X, dtype=dtype)
    labels = classes_of(ensemble)
    if isinstance(ensemble, BaggingClassifier):
        features = ensemble.estimators_features_
    else:
        features = [None] * len(ensemble.estimators_)

    def proba(member, columns):
        rows = X if columns is None else X[:, columns]
        seen = labels[np.asarray(member.classes_).astype(np.int64)]
        return _member_proba(member, rows, seen, classes, owner, votes)

    return map(proba, ensemble.estimators_, features)


def _member_proba(member, X, seen, classes, owner, votes):
    """Return the probabilities (n, C) of a fitted member whose columns are `seen`."""
    if hasattr(member, "predict_proba"):
        proba = np.asarray(output(member, "predict_proba", X), dtype=np.float64)
    elif votes:
        predicted = predict(member, X, classes_of(member))
        proba = np.eye(len(seen))[np.searchsorted(classes_of(member), predicted)]
    else:
        raise MissingCapabilityError(
            f"{owner} needs class probabilities of every member, and "
            f"{type(member).__name__} has no predict_proba. Wrap it in "
            "CalibratedClassifierCV, or count votes: measure='vote_entropy' or "
            "'disagreement'."
        )
    return align_columns(proba, seen, classes)


# --------------------------------------------------------------- members to be fitted


def _as_estimators(members, owner):
    """Return a list of at least two estimators."""
    if not isinstance(members, list | tuple):
        raise ValueError(
            f"{owner}: members must be 'auto', 'heads', 'full', a forest, a "
            f"BaggingClassifier, a VotingClassifier or a list of estimators, got "
            f"{members!r}. For a committee of one kind of model use "
            "BaggingClassifier(model)."
        )
    estimators = [m[1] if isinstance(m, tuple) and len(m) == 2 else m for m in members]
    _check_count(len(estimators), owner, "a list of length ")
    wrong = [e for e in estimators if isinstance(e, type) or not hasattr(e, "fit")]
    if wrong:
        raise ValueError(
            f"{owner}: members must be estimators with fit and predict_proba, got "
            f"{wrong[0]!r}."
        )
    return estimators


def _clones(pool, n_members, resample, owner, votes):
    """Return an iterator over refitted clones of the pool's own estimator."""
    if pool.estimator is None:
        raise pool.missing(owner, "rows")
    if not resample and not _seed_names(pool.estimator):
        raise ValueError(
            f"{owner}: without bootstrap all clones of "
            f"{type(last_step(pool.estimator)).__name__} are the same, because it has "
            "no random_state. Pass bootstrap=True, or a list of different estimators "
            "as members."
        )
    estimators = [pool.estimator] * n_members
    return _fit_members(pool, estimators, resample, owner, votes, reseed=True)


def _rows(pool, owner):
    """Return the inputs of members: the candidates' and the labelled rows."""
    try:
        return pool._rows(owner), pool._rows(owner, labeled=True)
    except MissingCapabilityError:
        pool.prepare(["embeddings", "labeled_embeddings"], owner)
        return pool.embeddings, pool.labeled_embeddings


def _seed_names(estimator):
    """Return the names of all parameters that are seeds, nested ones included."""
    names = estimator.get_params(deep=True)
    return sorted(k for k in names if f"__{k}".endswith("__random_state"))


def _fresh(estimator, rng, reseed):
    """Return an unfitted clone; seeds that are None, or all, are drawn from `rng`."""
    fresh = clone(estimator)
    values = fresh.get_params(deep=True)
    for name in _seed_names(fresh):
        seed = int(rng.randint(2**31 - 1))  # drawn in any case: the same for all others
        if reseed or values[name] is None:
            fresh.set_params(**{name: seed})
    return fresh


def _fit(estimator, labeled, pool, resample, rng, *, seed, own):
    """Fit on the labelled rows, or on a bootstrap sample of them.

    `seed` is for estimators that draw from the global generators. `own` says that it is
    a clone of the pool's estimator, which takes all of the metadata; another one gets
    the metadata that it requests.
    """
    y, chosen = pool.y_labeled, None
    if resample:
        chosen = stratified_bootstrap(y, rng)
        labeled, y = safe_indexing(labeled, chosen), y[chosen]
    params = pool._labeled_params(chosen)
    if not own and params:
        requested = get_routing_for_object(estimator).consumes("fit", params)
        params = {key: params[key] for key in requested}
    name = type(last_step(estimator)).__name__
    with explain_worker_death(f"Fitting {name} as a committee"):
        return fit_estimator(
            estimator, labeled, y, params, seed=seed, classes=pool.classes
        )


def _fit_members(pool, estimators, resample, owner, votes, *, reseed):
    """Yield the probabilities of each member; one is alive at a time."""
    X, labeled = _rows(pool, owner)
    rng = _generator(pool)

    def members():
        for i, estimator in enumerate(estimators):
            member = _fresh(estimator, rng, reseed)
            seed = derive_seed(pool._model_seed, i)
            member = _fit(member, labeled, pool, resample, rng, seed=seed, own=reseed)
            seen = classes_of(member)
            yield _member_proba(member, X, seen, pool.classes, owner, votes)
            progress.report("committee", i + 1, len(estimators))

    return members()


def _fit_ensemble(pool, ensemble, resample, owner, votes):
    """Fit a given ensemble and return an iterator over its members' probabilities."""
    X, labeled = _rows(pool, owner)
    rng = _generator(pool)
    fresh = _fresh(ensemble, rng, False)
    seed = derive_seed(pool._model_seed)
    fitted = _fit(fresh, labeled, pool, resample, rng, seed=seed, own=False)
    X = transformed(fitted, X)
    return _ensemble_members(last_step(fitted), X, pool.classes, owner, votes)


# --------------------------------------------------------------- heads


def _heads(pool, n_members, resample, owner):
    """Yield the probabilities of last layers trained on the pool's embeddings."""
    pool.prepare(["embeddings", "labeled_embeddings"], owner)
    rng = _generator(pool)
    seen, y = np.unique(pool.y_labeled_codes, return_inverse=True)
    counts = np.ones((n_members, len(y)))
    if resample:
        for row in counts:
            row[:] = np.bincount(stratified_bootstrap(y, rng), minlength=len(y))
    width = pool.embeddings.shape[1] + 1
    anchors = rng.standard_normal((n_members, len(seen), width))
    final = last_step(pool.estimator)
    device = pool.network.device if is_net(final) else torch.device("cpu")
    group = heads_at_once(anchors[0].size, pool.max_memory)

    def members():
        for start in range(0, n_members, group):
            part = slice(start, start + group)
            weights = fit_heads(
                pool.labeled_embeddings,
                y,
                counts[part],
                anchors[part],
                _DECAY,
                device=device,
                max_memory=pool.max_memory,
            )
            for weight in weights:
                proba = np.zeros((len(pool), len(pool.classes)))
                proba[:, seen] = head_proba(pool.embeddings, weight, pool.max_memory)
                yield proba

    return members()
