"""Quantities that a strategy may need of a pool, and the error if one is missing."""

__all__ = ["MissingCapabilityError", "missing"]

_EMBEDDING_SOURCES = (
    "CNNClassifier, any estimator on a 2-D numeric X, a Pipeline whose steps "
    "before the classifier yield a 2-D array, or Pool.from_arrays({}=...)"
)
_PROBA_SOURCES = (
    "an estimator with predict_proba, or Pool.from_arrays({}=...). An estimator "
    "without it can be wrapped in CalibratedClassifierCV(estimator, cv=k), which needs "
    "k labels of each class: take n_initial large enough"
)
# need -> (what it is, how to get it); the words of the one error a user sees
_NEEDS = {
    "proba": ("class probabilities", _PROBA_SOURCES.format("proba")),
    "labeled_proba": (
        "class probabilities of the labelled samples",
        _PROBA_SOURCES.format("labeled_proba"),
    ),
    "decision_values": (
        "decision values, one for each class",
        "an estimator with decision_function; of several classes an SVC gives them "
        "with decision_function_shape='ovr'",
    ),
    "proba|decision_values": (
        "class probabilities or decision values",
        "an estimator with predict_proba or decision_function, or "
        "Pool.from_arrays(proba=...)",
    ),
    "embeddings": (
        "embeddings (one feature vector a candidate)",
        _EMBEDDING_SOURCES.format("embeddings"),
    ),
    "labeled_embeddings": (
        "embeddings of the labelled samples",
        _EMBEDDING_SOURCES.format("labeled_embeddings"),
    ),
    "posterior_proba": (
        "samples from a posterior over models, of shape (K, n, C)",
        "a CNNClassifier with dropout, an ensemble such as RandomForestClassifier, a "
        "LogisticRegression (Laplace), or Pool.from_arrays(posterior_proba=...)",
    ),
    "head": (
        "the linear layer that turns embeddings into probabilities by a soft-max",
        "CNNClassifier, LogisticRegression, or Pool.from_arrays(head=(weight, bias))",
    ),
    "decision": (
        "a linear decision function of the embeddings",
        "CNNClassifier, a linear model with coef_ and intercept_ such as "
        "LogisticRegression or LinearSVC, or Pool.from_arrays(head=(weight, bias))",
    ),
    "network": (
        "a neural network to differentiate",
        "CNNClassifier, alone or as the last step of a Pipeline",
    ),
    "rows": (
        "the samples themselves, to fit models on",
        "a Pool made with an estimator and X, not from arrays",
    ),
    "model": (
        "the predictions of a model",
        "a Pool made with a fitted estimator and X",
    ),
}


class MissingCapabilityError(ValueError):
    """A strategy needs a quantity that the estimator in its pool cannot give."""


def missing(owner, need, who):
    """Return the error to raise when `who` cannot give what `owner` needs.

    Parameters
    ----------
    owner : str
        Who needs it.
    need : str
        One of the names that `Pool.prepare` knows, ``"rows"`` or ``"model"``.
    who : str
        What cannot give it.

    Returns
    -------
    MissingCapabilityError
    """
    what, remedy = _NEEDS[need]
    return MissingCapabilityError(
        f"{owner} needs {what}, and {who} cannot give them. What works: {remedy}."
    )
