"""torchvision's classification models behind the package's net interface."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dalmax_sk.nets.base import Net
from dalmax_sk.nets.weights import explain_download

__all__ = ["TorchvisionNet", "torchvision_names"]

# The attribute that holds a model's head, in torchvision's various traditions.
HEAD_ATTRIBUTES = ("fc", "classifier", "head", "heads")
# Heads for auxiliary losses, which this package does not train.
AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")
# Models with auxiliary heads, whose builders want to be told not to make them.
HAS_AUXILIARY_HEADS = ("googlenet", "inception_v3")


def torchvision_names() -> list[str]:
    """Names of the models that end in a linear layer (SqueezeNet does not)."""
    from torchvision import models  # takes seconds: it loads torch's compiler

    names = models.list_models(module=models)
    return [name for name in names if not name.startswith("squeezenet")]


class TorchvisionNet(Net):
    """A torchvision model, cut before its head.

    The embedding is the input of the model's last linear layer: 512 entries for
    ResNet-18, 2,048 for ResNet-50, 4,096 for VGG16 (whose dropout belongs to the head).
    Auxiliary heads are removed.

    Parameters
    ----------
    name : str
        One of :func:`torchvision_names`, for instance ``"resnet50"``.
    n_classes : int
    in_channels : int, default=3
        3, or 1 for grey images, which are repeated three times.
    dropout : float or None, default=None
        Share of entries zeroed by the dropout layers of the head; a head without any
        gets one before its last layer. None keeps the model's own.
    weights : str or None, default=None
        torchvision's name of pretrained weights, such as ``"DEFAULT"`` or
        ``"IMAGENET1K_V2"``; they are downloaded on first use.
    image_size : tuple of int or None, default=None
        Height and width. Vision transformers are built for one size; without
        pretrained weights they are built for this one.

    Examples
    --------
    >>> import torch
    >>> net = TorchvisionNet("shufflenet_v2_x0_5", n_classes=10).eval()
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        name: str,
        n_classes: int,
        *,
        in_channels: int = 3,
        dropout: float | None = None,
        weights: str | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if in_channels not in (1, 3):
            raise ValueError(
                f"architecture={name!r} takes images with 3 channels, or 1 (repeated "
                f"three times); the images have {in_channels}. Use 'small_cnn' or "
                "'cifar_resnet18', which take any number."
            )
        model = build_torchvision_model(name, weights, image_size)
        self.head_attribute = next(a for a in HEAD_ATTRIBUTES if hasattr(model, a))
        head = getattr(model, self.head_attribute)
        # `layers` maps each layer of the head to its torchvision key, '' for a lone
        # linear layer: 'classifier.6', 'heads.head', 'fc'.
        layers = (
            [("", head)] if isinstance(head, nn.Linear) else list(head.named_children())
        )
        last_name, last = layers.pop()
        if not isinstance(last, nn.Linear):
            raise ValueError(f"{name!r} does not end in a linear layer.")
        self.head_names = [layer_name for layer_name, _ in layers]
        self.last_name = last_name
        setattr(model, self.head_attribute, nn.Identity())
        head_layers = [layer for _, layer in layers]
        # GoogLeNet and Inception keep the head's dropout beside the head.
        if isinstance(getattr(model, "dropout", None), nn.Dropout):
            head_layers.append(model.dropout)
            model.dropout = nn.Identity()
        self.body = model
        self.head = nn.Sequential(*head_layers)
        self.classifier = last
        self.num_features = last.in_features
        self.in_channels = in_channels
        if dropout is not None:
            self.set_dropout(dropout)
        if last.out_features != n_classes:
            self.reset_classifier(n_classes)

    def set_dropout(self, dropout: float) -> None:
        """Give every dropout layer of the head the rate ``dropout``."""
        layers = [layer for layer in self.head if isinstance(layer, nn.Dropout)]
        if not layers:
            layers = [nn.Dropout()]
            self.head.append(layers[0])
        for layer in layers:
            layer.p = dropout

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the input of the head: (n, in_channels, H, W) to (n, ...)."""
        return self.body(x.expand(-1, 3, -1, -1) if self.in_channels == 1 else x)

    def pre_logits(self, features: Tensor) -> Tensor:
        """Input of the last linear layer, (n, num_features)."""
        return self.head(features)

    def adapt_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename torchvision's keys to this class's; drop auxiliary heads."""
        prefixes = {self._torchvision_key(self.last_name): "classifier."}
        for position, name in enumerate(self.head_names):
            prefixes[self._torchvision_key(name)] = f"head.{position}."
        adapted = {}
        for key, tensor in state.items():
            if key.split(".")[0] in AUXILIARY_HEADS:
                continue
            prefix = next((p for p in prefixes if key.startswith(p)), None)
            if prefix is None:
                adapted[f"body.{key}"] = tensor
            else:
                adapted[prefixes[prefix] + key.removeprefix(prefix)] = tensor
        return adapted

    def _torchvision_key(self, layer_name: str) -> str:
        parts = [self.head_attribute, layer_name, ""] if layer_name else None
        return ".".join(parts) if parts else f"{self.head_attribute}."


def build_torchvision_model(
    name: str, weights: str | None, image_size: tuple[int, int] | None
) -> nn.Module:
    """Build the model without auxiliary heads."""
    from torchvision.models import get_model, get_model_weights

    config: dict[str, Any] = {}
    if weights is not None:
        known = get_model_weights(name)
        if weights not in known.__members__:
            raise ValueError(
                f"weights={weights!r} does not exist for architecture={name!r}. "
                f"torchvision knows {', '.join(known.__members__)}; 'imagenet' stands "
                "for its best. A path of a .safetensors, .pth or .pt file works too."
            )
        config["weights"] = known[weights]
    elif name in HAS_AUXILIARY_HEADS:
        config = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_") and image_size is not None:
        if image_size[0] != image_size[1]:
            raise ValueError(
                f"architecture={name!r} takes square images, got {image_size[0]}×"
                f"{image_size[1]}. Pass image_size=."
            )
        config["image_size"] = image_size[0]
    if weights is None:
        model = get_model(name, **config)
    else:
        folder = Path(torch.hub.get_dir(), "checkpoints")
        with explain_download(name, config["weights"].url, folder):
            model = get_model(name, **config)
    if weights is not None and name in HAS_AUXILIARY_HEADS:
        model.aux_logits = False
        for head in AUXILIARY_HEADS:
            if hasattr(model, head):
                setattr(model, head, None)
    return model
