"""The last step of nested pipelines, and its input."""

from sklearn.pipeline import Pipeline

__all__ = ["final_step", "last_step", "transformed"]


def final_step(estimator):
    """Return the name prefix and the object of the step that classifies."""
    if isinstance(estimator, Pipeline):
        prefix, last = final_step(estimator.steps[-1][1])
        return f"{estimator.steps[-1][0]}__{prefix}", last
    return "", estimator


def last_step(estimator):
    """Return the step that classifies; None for None."""
    return final_step(estimator)[1]


def transformed(estimator, X):
    """Return X as the last step gets it."""
    while isinstance(estimator, Pipeline):
        if len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator[-1]
    return X
