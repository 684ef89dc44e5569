"""Nets by name."""

import copy
import difflib
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dalmax_sk.nets.base import LastLinearNet, Net, has_net_interface
from dalmax_sk.nets.resnet import CIFARResNet18
from dalmax_sk.nets.small import MLP, SmallCNN
from dalmax_sk.nets.torchvision_nets import TorchvisionNet, torchvision_names
from dalmax_sk.nets.weights import is_weights_file, load_matching, read_state_dict

__all__ = ["Architecture", "build_net", "net_names"]

#: A name, a module to copy, or ``f(input_shape, n_classes)`` that returns a module.
Architecture = str | nn.Module | Callable[[tuple[int, ...], int], nn.Module]

OWN_IMAGE_NETS: dict[str, type[Net]] = {
    "small_cnn": SmallCNN,
    "cifar_resnet18": CIFARResNet18,
}


def net_names() -> list[str]:
    """Return every name that ``build_net`` knows.

    Examples
    --------
    >>> "small_cnn" in net_names(), "vgg16" in net_names()
    (True, True)
    """
    return [*OWN_IMAGE_NETS, "mlp", *torchvision_names()]


def build_net(
    architecture: Architecture,
    *,
    input_shape: tuple[int, ...],
    n_classes: int,
    dropout: float | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> nn.Module:
    """Build a net with the package's interface.

    Parameters
    ----------
    architecture : str, nn.Module or callable
        One of :func:`net_names`; a module, which is copied, never changed; or a
        callable ``f(input_shape, n_classes)`` that returns a module. A module without
        ``forward_features`` and ``forward_head`` gets them from its last linear layer.
    input_shape : tuple of int
        ``(channels, height, width)`` of an image, or ``(n_columns,)`` of a table, for
        which ``"small_cnn"`` means ``"mlp"``.
    n_classes : int
        Outputs of the last layer; a last linear layer of another size is replaced.
    dropout : float or None, default=None
        Rate of the dropout before the last layer; None is the net's own default. Nets
        that are given as a module or callable bring their own.
    weights : str, path-like or None, default=None
        ``"imagenet"`` or torchvision's name of weights (downloaded on first use), or
        the path of a ``.safetensors``, ``.pth`` or ``.pt`` state dict. A last layer of
        another shape stays fresh; everything else has to match.

    Returns
    -------
    nn.Module
        In training mode, float32, on the CPU.

    Raises
    ------
    ValueError
        If the name is unknown, the weights do not fit, or the net cannot take such
        inputs or returns anything but ``n_classes`` logits.

    Examples
    --------
    >>> net = build_net("small_cnn", input_shape=(3, 32, 32), n_classes=10)
    >>> net.num_features
    128
    """
    from_file = weights is not None and is_weights_file(weights)
    named_weights = None if weights is None or from_file else os.fspath(weights)
    if isinstance(architecture, str):
        net = build_named_net(
            architecture, input_shape, n_classes, dropout, named_weights
        )
    else:
        net = build_custom_net(
            architecture, input_shape, n_classes, dropout, named_weights
        )
    if from_file:
        assert weights is not None
        load_weights_file(net, weights)
    check_net(net, architecture, input_shape, n_classes)
    return net


def build_named_net(
    name: str,
    input_shape: tuple[int, ...],
    n_classes: int,
    dropout: float | None,
    weights: str | None,
) -> nn.Module:
    """Build one of :func:`net_names`."""
    is_own = name in ("mlp", *OWN_IMAGE_NETS)
    if not is_own and name not in (known := net_names()):
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"architecture={name!r} is unknown.{hint} Known are "
            f"{', '.join(known[:3])} and torchvision's models that end in a linear "
            "layer; dalmax_sk.nets.net_names() lists them all."
        )
    is_table = len(input_shape) == 1
    if is_table and name not in ("small_cnn", "mlp"):
        raise ValueError(
            f"architecture={name!r} needs images, but X is a table with "
            f"{input_shape[0]} columns. Use 'mlp' (or the default, which means a "
            "perceptron on tables), or give X as images or paths."
        )
    if weights is not None and (is_table or is_own):
        raise ValueError(
            f"weights={weights!r}: there are no pretrained weights by that name for "
            f"architecture={'mlp' if is_table else name!r}. Give the path of a "
            ".safetensors, .pth or .pt file, or use one of torchvision's models."
        )
    options: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    if is_table or name == "mlp":
        return MLP(input_shape, n_classes, **options)
    if name in OWN_IMAGE_NETS:
        return OWN_IMAGE_NETS[name](input_shape[0], n_classes, **options)
    return TorchvisionNet(
        name,
        n_classes,
        in_channels=input_shape[0],
        weights="DEFAULT" if weights in ("imagenet", "default") else weights,
        image_size=(input_shape[1], input_shape[2]),
        **options,
    )


def build_custom_net(
    architecture: nn.Module | Callable[[tuple[int, ...], int], nn.Module],
    input_shape: tuple[int, ...],
    n_classes: int,
    dropout: float | None,
    weights: str | None,
) -> nn.Module:
    """Copy the module, or call the callable, and give the result the interface."""
    if weights is not None or dropout is not None:
        given = [
            f"{name}={value!r}"
            for name, value in (("weights", weights), ("dropout", dropout))
            if value is not None
        ]
        raise ValueError(
            f"{' and '.join(given)} cannot be applied to an architecture given as a "
            "module or callable: set it up inside that architecture (a file of weights "
            "is possible)."
        )
    if isinstance(architecture, nn.Module):
        module = copy.deepcopy(architecture)
    else:
        module = architecture(input_shape, n_classes)
        if not isinstance(module, nn.Module):
            raise TypeError(
                "architecture(input_shape, n_classes) must return a torch.nn.Module, "
                f"got a {type(module).__name__}."
            )
    module.train()
    if not has_net_interface(module):
        return LastLinearNet(module, n_classes)
    classifier = module.get_classifier()  # type: ignore[operator]
    if getattr(classifier, "out_features", n_classes) != n_classes:
        module.reset_classifier(n_classes)  # type: ignore[operator]
    return module


def load_weights_file(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a file of the net's own keys, of ``save_model``'s or of torchvision's."""
    state = read_state_dict(path)
    for prefix in ("module.", "net."):  # DistributedDataParallel's; save_model's
        if any(key.startswith(prefix) for key in state):
            kept = [key for key in state if key.startswith(prefix)]
            state = {key.removeprefix(prefix): state[key] for key in kept}
    if isinstance(net, LastLinearNet):
        state = {f"module.{key}": tensor for key, tensor in state.items()}
        name = net._classifier_name
        load_matching(
            net, state, source=path, reset_prefix=f"module.{name}." if name else "\0"
        )
        return
    if isinstance(net, TorchvisionNet) and not any(
        k.startswith("body.") for k in state
    ):
        state = net.adapt_keys(state)
    load_matching(net, state, source=path)


def _larger_images(net: nn.Module, input_shape: tuple[int, ...]) -> str:
    """Return in words which larger images the net takes, or nothing."""
    # each layer that pools halves the sides
    for side in (2**power for power in range(1, 9)):
        if len(input_shape) != 3 or side <= min(input_shape[1:]):
            continue
        try:
            with torch.inference_mode():
                net(torch.zeros(2, input_shape[0], side, side))
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError):
            continue
        return f" Images of {side}×{side} pixels fit: image_size={side}."
    return ""


def check_net(
    net: nn.Module,
    architecture: Architecture,
    input_shape: tuple[int, ...],
    n_classes: int,
) -> None:
    """Run two empty samples through the net, so that a misfit shows before training."""
    name = repr(architecture) if isinstance(architecture, str) else type(net).__name__
    shape = "×".join(map(str, input_shape))
    was_training = net.training
    net.eval()
    parameter = next(net.parameters(), torch.zeros(0))
    x = torch.zeros(2, *input_shape, dtype=parameter.dtype)
    try:
        with torch.inference_mode():
            logits = net(x)
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        raise ValueError(
            f"architecture={name} cannot take inputs of shape {shape}: {error}"
            f"{_larger_images(net, input_shape)}"
        ) from error
    finally:
        net.train(was_training)
    seen = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits)
    if seen != (2, n_classes):
        raise ValueError(
            f"architecture={name} must map a batch of 2 to logits of shape "
            f"(2, {n_classes}), one column a class; got {seen}."
        )
