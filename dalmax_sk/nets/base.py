"""The interface of every net in the package, and a wrapper that adds it to others."""

import inspect
import threading
from typing import Any

from torch import Tensor, nn

__all__ = ["LastLinearNet", "Net", "NoEmbeddingError", "has_net_interface"]


class NoEmbeddingError(AttributeError, TypeError):
    """The net has no linear layer whose input could serve as the embedding."""


class Net(nn.Module):
    """A classifier cut in two: a deterministic body and a head.

    The interface is that of timm. In evaluation mode
    ``forward(x) == forward_head(forward_features(x))`` and
    ``get_classifier()(forward_head(f, pre_logits=True)) == forward_head(f)``.
    Dropout sits in the head, so that Monte-Carlo dropout runs the body once.

    Subclasses set ``num_features`` (the embedding's width d), ``classifier`` (the last
    linear layer) and define ``forward_features`` and, if something stands between the
    body and ``classifier``, ``pre_logits``.
    """

    num_features: int
    classifier: nn.Linear

    def forward_features(self, x: Tensor) -> Tensor:
        """Run the body on a batch (n, ...); the result's shape is the net's own."""
        raise NotImplementedError

    def pre_logits(self, features: Tensor) -> Tensor:
        """Embeddings (n, d) of body features: the head without its last layer."""
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (n, C) of body features, or with ``pre_logits`` embeddings (n, d)."""
        embeddings = self.pre_logits(features)
        return embeddings if pre_logits else self.classifier(embeddings)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, C) of a batch ``x``."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Linear:
        """Return the last linear layer."""
        return self.classifier

    def reset_classifier(self, n_classes: int) -> None:
        """Replace the last linear layer by a fresh one with ``n_classes`` outputs."""
        old = self.classifier.weight
        fresh = nn.Linear(self.num_features, n_classes)
        self.classifier = fresh.to(device=old.device, dtype=old.dtype)


def has_net_interface(module: nn.Module) -> bool:
    """Whether ``module`` already speaks timm's names (then it is used as it is)."""
    head = getattr(module, "forward_head", None)
    if not callable(head) or not callable(getattr(module, "forward_features", None)):
        return False
    return "pre_logits" in inspect.signature(head).parameters


def find_last_linear(module: nn.Module) -> tuple[str, nn.Linear] | None:
    """Name and layer of the last ``nn.Linear`` in definition order, or None."""
    found = None
    for name, layer in module.named_modules():
        # NonDynamicallyQuantizableLinear lives inside attention and is never the head.
        if type(layer) is nn.Linear:
            found = name, layer
    return found


def replace_submodule(root: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``root.<name>`` (dotted) stands."""
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, new)


class LastLinearNet(nn.Module):
    """Give a module without the interface an embedding: the input of its last Linear.

    The embedding is caught by a forward pre-hook during an ordinary forward pass.
    Everything before the last linear layer, dropout included, counts as body.

    Parameters
    ----------
    module : nn.Module
        Maps a batch to logits (n, C).
    n_classes : int
        Outputs wanted; the last linear layer is replaced when it has another number.
    """

    def __init__(self, module: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.module = module
        found = find_last_linear(module)
        self._classifier_name = found[0] if found else None
        if found and found[1].out_features != n_classes:
            self.reset_classifier(n_classes)

    @property
    def num_features(self) -> int:
        """Width d of the embedding."""
        return self.get_classifier().in_features

    def get_classifier(self) -> nn.Linear:
        """Return the last linear layer."""
        if self._classifier_name is None:
            raise NoEmbeddingError(
                f"{type(self.module).__name__} has no torch.nn.Linear layer, so it has "
                "no embedding. Give it a linear output layer, or timm's methods "
                "forward_features(x) and forward_head(features, pre_logits=False)."
            )
        layer = self.module.get_submodule(self._classifier_name)
        assert isinstance(layer, nn.Linear)
        return layer

    def reset_classifier(self, n_classes: int) -> None:
        """Replace the last linear layer by a fresh one with ``n_classes`` outputs."""
        old = self.get_classifier()
        assert self._classifier_name is not None
        fresh = nn.Linear(old.in_features, n_classes, bias=old.bias is not None)
        fresh = fresh.to(device=old.weight.device, dtype=old.weight.dtype)
        replace_submodule(self.module, self._classifier_name, fresh)

    def forward_features(self, x: Tensor) -> Tensor:
        """Embeddings (n, d): what enters the last linear layer."""
        caught: list[Tensor] = []

        thread = threading.get_ident()

        def catch(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if threading.get_ident() == thread:  # others may use the net as well
                caught.append(inputs[0])

        handle = self.get_classifier().register_forward_pre_hook(catch)
        try:
            self.module(x)
        finally:
            handle.remove()
        if len(caught) != 1 or caught[0].ndim != 2:
            shapes = [tuple(tensor.shape) for tensor in caught]
            raise NoEmbeddingError(
                f"The last linear layer of {type(self.module).__name__} must be called "
                "once a forward pass with a (n, d) batch to serve as the embedding's "
                f"place; it was called with shapes {shapes}."
            )
        return caught[0]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (n, C) of embeddings, or with ``pre_logits`` the embeddings."""
        return features if pre_logits else self.get_classifier()(features)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, C), computed by the wrapped module itself."""
        return self.module(x)
