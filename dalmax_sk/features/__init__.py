"""Features of pretrained nets: an embedder, and the store that keeps them."""

from dalmax_sk.features.embedder import ImageEmbedder

__all__ = ["ImageEmbedder"]
