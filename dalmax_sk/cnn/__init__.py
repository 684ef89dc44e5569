"""`CNNClassifier`: a skorch net that behaves as a scikit-learn classifier."""

from dalmax_sk._base.lazy import lazy_names

__all__ = [
    "AUGMENTATIONS",
    "FORMAT_VERSION",
    "CNNClassifier",
    "ModelFileError",
    "fits_on",
    "get_augmentation",
    "load_model",
    "random_crop_flip",
    "resolve_device",
    "save_model",
]

# loaded when first asked for: the learner only asks whether it has a CNN
_HOMES = {
    **dict.fromkeys(
        ("AUGMENTATIONS", "get_augmentation", "random_crop_flip"),
        "dalmax_sk.cnn.augment",
    ),
    "CNNClassifier": "dalmax_sk.cnn.classifier",
    **dict.fromkeys(
        ("FORMAT_VERSION", "ModelFileError", "load_model", "save_model"),
        "dalmax_sk.cnn.persistence",
    ),
    **dict.fromkeys(("fits_on", "resolve_device"), "dalmax_sk._base.devices"),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES, globals())
