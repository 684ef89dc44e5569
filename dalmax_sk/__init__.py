"""Deep active learning that behaves like scikit-learn."""

from dalmax_sk._version import __version__
from dalmax_sk.active_learning import ActiveLearningClassifier

__all__ = ["ActiveLearningClassifier", "CNNClassifier", "__version__"]


def __getattr__(name):
    # torch takes seconds to import; it is loaded when a net is asked for
    if name == "CNNClassifier":
        from dalmax_sk.cnn import CNNClassifier

        return CNNClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
