"""Small helpers of the active-learning loop: seeds, scores, costs, error context."""

import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, check_scoring, f1_score, recall_score

__all__ = [
    "derive_seed",
    "during",
    "evaluate",
    "peak_bytes",
    "set_missing_seeds",
    "status_bytes",
]


def derive_seed(base_seed, *key):
    """Return a seed for one purpose of one round, independent of all the others.

    Seeds come from the key, not from a stream, so that a resumed run needs no generator
    state: round 7 has the same seeds whether or not rounds 1 to 6 were computed here.
    """
    sequence = np.random.SeedSequence([base_seed, *key])
    return int(sequence.generate_state(1)[0] >> 1)  # below 2**31, as scikit-learn wants


def set_missing_seeds(estimator, seed):
    """Give every ``random_state`` parameter that is None a seed of its own."""
    params = estimator.get_params(deep=True)
    names = sorted(
        name
        for name, value in params.items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    )
    seeds = {name: derive_seed(seed, i) for i, name in enumerate(names)}
    if seeds:
        estimator.set_params(**seeds)


@contextmanager
def during(round_number, doing):
    """Add the round to the message of any exception that leaves the block.

    The exception keeps its type. Where its message is not a plain first argument, the
    context is added as a note, which tracebacks show.
    """
    try:
        yield
    except Exception as error:
        context = f"[active learning, round {round_number}, {doing}]"
        if (
            error.args
            and isinstance(error.args[0], str)
            and str(error) == error.args[0]
        ):
            error.args = (f"{error.args[0]} {context}", *error.args[1:])
        else:
            error.add_note(context)
        raise


def evaluate(learner, eval_set, scoring):
    """Return {"eval_<name>": score} of the learner on an evaluation set.

    Parameters
    ----------
    learner : ActiveLearningClassifier
    eval_set : tuple of (X, y)
    scoring : None, str, callable, list or dict
        As in ``cross_validate``; None means accuracy, balanced accuracy and the macro
        and weighted averages of F1, all from one ``predict``.
    """
    X, y = eval_set
    if scoring is None:
        predicted = learner.predict(X)
        common = {"y_true": y, "y_pred": predicted, "zero_division": 0.0}
        present = np.unique(y)  # recall is undefined for a class without samples
        scores = {
            "accuracy": accuracy_score(y, predicted),
            "balanced_accuracy": recall_score(
                **common, labels=present, average="macro"
            ),
            # over the classes that occur or are predicted, as scikit-learn's scorers
            "f1_macro": f1_score(**common, average="macro"),
            "f1_weighted": f1_score(**common, average="weighted"),
        }
    else:
        scorer = check_scoring(learner, scoring=scoring)
        scores = scorer(learner, X, y)
        if not isinstance(scores, dict):
            scores = {scoring if isinstance(scoring, str) else "score": scores}
    return {f"eval_{name}": float(score) for name, score in scores.items()}


def status_bytes(name):
    """Return a size that Linux tells of this process, such as VmRSS; or None."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def peak_bytes():
    """Return the largest resident memory of this process so far, or None.

    None where the operating system does not tell (Windows).
    """
    # on Linux getrusage would start at the peak of the process that started this one
    peak = status_bytes("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
