"""Warm starts: present weights as they are, or shrunk and perturbed."""

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn

__all__ = ["WarmStart", "check_shrink_perturb"]


def check_shrink_perturb(value: Any) -> tuple[float, float] | None:
    """Return (shrink, noise) as floats, or None.

    Raises
    ------
    ValueError
        If it is no pair of numbers in [0, 1] and [0, inf), or (0, 0).
    """
    if value is None:
        return None
    if isinstance(value, tuple | list) and len(value) == 2:
        shrink, noise = value
        if _is_number(shrink) and _is_number(noise):
            shrink, noise = float(shrink), float(noise)
            if 0 <= shrink <= 1 and noise >= 0 and shrink + noise > 0:
                return shrink, noise
    raise ValueError(
        f"shrink_perturb must be None or a pair (shrink, noise) such as (0.4, 0.1), "
        f"shrink in [0, 1] and noise in [0, inf), not both 0; got {value!r}."
    )


def _is_number(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return math.isfinite(float(value))


class WarmStart:
    """Weights that a fresh net goes on from.

    Parameters
    ----------
    state : dict of Tensor
        State of the net as the last fit left it.
    shrink_perturb : (float, float) or None
        What is made of it, see :class:`~dalmax_sk.CNNClassifier`.
    fresh_is_random : bool, default=True
        Whether the parameters of a net just built are drawn at random; otherwise (the
        architecture is a module, which is copied) its layers are asked to draw anew.
    """

    def __init__(
        self,
        state: Mapping[str, torch.Tensor],
        shrink_perturb: tuple[float, float] | None = None,
        fresh_is_random: bool = True,
    ) -> None:
        self.state = state
        self.shrink_perturb = shrink_perturb
        self.fresh_is_random = fresh_is_random

    def load_into(self, module: nn.Module) -> None:
        """Give ``module``, which was just built, the weights to start from.

        Raises
        ------
        ValueError
            If the weights do not fit the module, or a layer cannot draw new ones.
        """
        fresh = {}
        if self.shrink_perturb is not None:
            if not self.fresh_is_random:
                _draw_anew(module)
            fresh = {
                name: value.detach().clone()
                for name, value in _trainable_values(module)
            }
        try:
            module.load_state_dict(self.state)
        except RuntimeError as error:
            raise ValueError(
                "warm_start=True: the present weights do not fit the architecture, "
                f"which has changed since the last fit. {error}"
            ) from error
        if self.shrink_perturb is not None:
            _mix(module, fresh, *self.shrink_perturb)


def _mix(
    module: nn.Module, fresh: Mapping[str, torch.Tensor], shrink: float, noise: float
) -> None:
    """Make parameters ``shrink · present + noise · fresh``; take the fresh buffers."""
    with torch.no_grad():
        for name, value in _trainable_values(module):
            if isinstance(value, nn.Parameter):
                value.mul_(shrink).add_(fresh[name], alpha=noise)
            else:
                value.copy_(fresh[name])


def _trainable_values(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield parameters that are trained, and buffers, except those of frozen parts.

    A part is frozen if it has parameters and none of them is trained: its buffers
    (running statistics) belong to weights that stay as they are.
    """
    frozen = _frozen_prefixes(module)
    for name, value in module.named_parameters():
        if value.requires_grad:
            yield name, value
    for name, buffer in module.named_buffers():
        if not name.startswith(frozen):
            yield name, buffer


def _frozen_prefixes(module: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names of parameters and buffers in frozen parts."""
    found = []
    for name, part in module.named_modules():
        trained = [value.requires_grad for value in part.parameters()]
        if name and trained and not any(trained):
            found.append(f"{name}.")
    return tuple(found)


def _draw_anew(module: nn.Module) -> None:
    """Initialise every trained layer at random, as it was when it was constructed."""
    frozen = _frozen_prefixes(module)
    for name, layer in module.named_modules():
        own = list(layer.parameters(recurse=False))
        if not own and not f"{name}.".startswith(frozen):
            getattr(layer, "reset_running_stats", lambda: None)()
        if not any(value.requires_grad for value in own):
            continue
        reset = getattr(layer, "reset_parameters", None) or getattr(
            layer, "_reset_parameters", None
        )
        if reset is None:
            raise ValueError(
                "shrink_perturb adds the weights of a fresh random net, but the layer "
                f"{name!r} ({type(layer).__name__}) of the architecture has no "
                "reset_parameters() to draw them by. Give it that method, or give "
                "architecture as a function f(input_shape, n_classes) that builds a "
                "new net."
            )
        reset()
