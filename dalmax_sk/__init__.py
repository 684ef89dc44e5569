"""Deep active learning that behaves like scikit-learn."""

from dalmax_sk._base.lazy import lazy_names
from dalmax_sk._version import __version__

__all__ = [
    "ActiveLearningClassifier",
    "CNNClassifier",
    "ImageEmbedder",
    "__version__",
]

# loaded when first asked for: torch and scikit-learn take seconds
_HOMES = {
    "ActiveLearningClassifier": "dalmax_sk.active_learning",
    "CNNClassifier": "dalmax_sk.cnn.classifier",
    "ImageEmbedder": "dalmax_sk.features",
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES, globals())
