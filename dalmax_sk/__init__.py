"""Deep active learning that behaves like scikit-learn."""

from importlib import import_module

from dalmax_sk._version import __version__

__all__ = [
    "ActiveLearningClassifier",
    "CNNClassifier",
    "ImageEmbedder",
    "__version__",
]

# name -> module; loaded when first asked for: torch and scikit-learn take seconds
_HOMES = {
    "ActiveLearningClassifier": "dalmax_sk.active_learning",
    "CNNClassifier": "dalmax_sk.cnn",
    "ImageEmbedder": "dalmax_sk.embedder",
}


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOMES])
