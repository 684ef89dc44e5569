"""Features of pretrained and frozen nets, and the store that keeps them."""

from dalmax_sk._base.lazy import lazy_names

__all__ = [
    "FeatureStore",
    "ImageEmbedder",
    "get_feature_store",
    "set_feature_store_size",
]

# loaded when first asked for: the embedder loads torch
_HOMES = {
    "ImageEmbedder": "dalmax_sk.features.embedder",
    **dict.fromkeys(
        ("FeatureStore", "get_feature_store", "set_feature_store_size"),
        "dalmax_sk.features.store",
    ),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES, globals())
