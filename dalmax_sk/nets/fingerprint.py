"""Digests of nets: equal while layers, settings, weights and buffers are the same."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NetDigest", "classes_of", "settings_of"]

# Attributes that every module has; the others are settings of its own.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))


class NetDigest:
    """SHA-256 of a text and of tensors, computed anew only after a tensor has changed.

    Examples
    --------
    >>> import torch
    >>> digest = NetDigest()
    >>> weight = torch.zeros(2)
    >>> before = digest(lambda: "a net", {"weight": weight})
    >>> before == digest(lambda: "a net", {"weight": weight.add_(1)})
    False
    """

    def __init__(self) -> None:
        self._state: Any = None
        self._value = ""

    def __call__(
        self, describe: Callable[[], str], tensors: Mapping[str, Tensor]
    ) -> str:
        """Return 64 hex digits for ``describe()`` and the tensors by name."""
        state = tuple((t.data_ptr(), t._version, t.dtype) for t in tensors.values())
        if self._state != state:
            digest = hashlib.sha256(describe().encode())
            for name, tensor in tensors.items():
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                # viewed as bytes, because NumPy has no bfloat16
                flat = tensor.detach().cpu().contiguous().reshape(-1)
                digest.update(flat.view(torch.uint8).numpy().data)
            self._state, self._value = state, digest.hexdigest()
        return self._value


def settings_of(module: nn.Module) -> str:
    """Class and attributes of a module, without its tensors and layers, as text."""
    own = {
        key: value
        for key, value in vars(module).items()
        if key not in _OF_ANY_MODULE and not isinstance(value, Tensor | nn.Module)
    }
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__} {sorted(own.items())!r}"


def classes_of(net: nn.Module) -> frozenset[type]:
    """Classes of all layers: one that is defined anew under its name is another one."""
    return frozenset(type(module) for module in net.modules())
