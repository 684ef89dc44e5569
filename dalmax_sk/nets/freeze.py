"""Nets cut in two: frozen layers that give features, and the rest, which is trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dalmax_sk.nets.fingerprint import NetDigest, settings_of

__all__ = ["FrozenPart"]


class FrozenPart:
    """The layers of a net up to a cut, whose weights stay as they are.

    Their parameters are told not to want gradients. They always run in evaluation mode:
    dropout is off, and batch normalisation uses its running statistics and leaves them
    alone.

    Parameters
    ----------
    net : nn.Module
        With ``forward_features`` and ``forward_head``.
    where : str
        ``"body"`` for all that is before the head, or the name of a layer, up to and
        including which the net is frozen.
    sample : Tensor of shape (2, ...)
        Inputs to try the net on; not constant.

    Attributes
    ----------
    names : frozenset of str
        The frozen parameters, as ``net`` names them.
    feature_shape : tuple of int
        Of one sample's features.

    Raises
    ------
    ValueError
        If there is no such layer, or the net cannot be cut behind it: when its output
        is not all that the rest needs.

    Examples
    --------
    >>> import torch
    >>> from dalmax_sk.nets import SmallCNN
    >>> net = SmallCNN(1, 10)
    >>> part = FrozenPart(net, "body.1", torch.randn(2, 1, 8, 8))
    >>> part.features(torch.zeros(3, 1, 8, 8)).shape
    torch.Size([3, 64, 2, 2])
    >>> sorted(part.names)[:2]
    ['body.0.0.weight', 'body.0.1.bias']
    """

    def __init__(self, net: nn.Module, where: str, sample: Tensor) -> None:
        self.net = net
        self.layer = None if where == "body" else find_layer(net, where)
        with evaluating(net), watching(net) as watched:
            features = self.run(sample)
        self.feature_shape = tuple(features.shape[1:])
        self.entered = sorted(watched.entered)
        self.rest = net
        if self.layer is not None:
            self.rest = without(net, watched.finished_outermost())
            self.check_cut(where, sample, features)
        self.names = self.find_names(sample, features)
        for name, parameter in net.named_parameters():
            if name in self.names:
                parameter.requires_grad_(False)
        self.last_names = {
            name
            for name, parameter in net.named_parameters()
            if any(parameter is own for own in net.get_classifier().parameters())  # type: ignore[operator]
        }
        self.digest = NetDigest()

    def run(self, x: Tensor) -> Tensor:
        """Features of prepared inputs, in whatever mode the net is."""
        if self.layer is None:
            return self.net.forward_features(x)  # type: ignore[operator]
        return output_of(self.layer, lambda: self.net.forward_features(x))  # type: ignore[operator]

    def features(self, x: Tensor) -> Tensor:
        """Features of prepared inputs, as always: in evaluation mode."""
        with evaluating(self.net), torch.no_grad():
            return self.run(x)

    def body_features(self, features: Tensor) -> Tensor:
        """Return the output of the whole body, from features."""
        if self.layer is None:
            return features
        return self.rest.forward_features(features)  # type: ignore[operator]

    def gives_embedding(self) -> bool:
        """Whether the embedding depends on frozen layers only."""
        trained = {k for k, _ in self.net.named_parameters()} - self.names
        statistics = {
            name
            for name, module in self.net.named_modules()
            if name not in self.entered and list(module.buffers(recurse=False))
        }
        return trained <= self.last_names and not statistics

    def train_rest(self, mode: bool) -> None:
        """Set the mode of the layers that are not frozen."""
        if self.rest is not self.net:  # its containers are copies
            self.rest.train(mode)

    def check_cut(self, where: str, sample: Tensor, features: Tensor) -> None:
        """Raise ValueError unless going on from features gives the same as the net."""
        with evaluating(self.net), evaluating(self.rest), torch.no_grad():
            expected = self.net.forward_features(sample)  # type: ignore[operator]
            try:
                found = self.body_features(features)
                same = torch.equal(found, expected)
            except (RuntimeError, ValueError, AttributeError, TypeError, IndexError):
                same = False  # a part of the rest misses what the cut took away
        if not same:
            raise ValueError(
                f"freeze={where!r}: the output of that layer is not all that the rest "
                f"of {type(self.net).__name__} needs, so the net cannot be cut behind "
                "it. Name a layer that all data go through one after another, or pass "
                "freeze='body'."
            )

    def find_names(self, sample: Tensor, features: Tensor) -> frozenset[str]:
        """Names of the parameters before the cut, from who gets a gradient."""
        wanting = {k: p for k, p in self.net.named_parameters() if p.requires_grad}
        fixed = {k for k, p in self.net.named_parameters() if not p.requires_grad}
        with evaluating(self.net), torch.enable_grad():
            rest = self.body_features(features.detach())
            logits = self.net.forward_head(rest.clone())  # type: ignore[operator]
            after = receiving(logits, wanting)
            before = receiving(self.run(sample), wanting)
        both = sorted(after & before)
        if both:
            raise ValueError(
                f"freeze: {', '.join(both[:3])} of {type(self.net).__name__} are used "
                "both before and after the cut, so they cannot be frozen there alone."
            )
        return frozenset((wanting.keys() - after) | fixed)

    def fingerprint(self) -> str:
        """SHA-256 of all that the features depend on besides the input.

        Names, settings, parameters and buffers of the layers before the cut. It is
        computed anew only after a tensor has changed.
        """
        modules = dict(self.net.named_modules())
        tensors = {}
        for name in self.entered:
            prefix = f"{name}." if name else ""
            for key, parameter in modules[name].named_parameters(recurse=False):
                if prefix + key in self.names:
                    tensors[prefix + key] = parameter.detach()
            for key, buffer in modules[name].named_buffers(recurse=False):
                tensors[prefix + key] = buffer

        def describe() -> str:
            return "".join(
                f"{name}: {settings_of(modules[name])}\n" for name in self.entered
            )

        return self.digest(describe, tensors)


def find_layer(net: nn.Module, name: str) -> nn.Module:
    """Return the layer ``name`` of the net, or of its body."""
    modules = dict(net.named_modules())
    for prefix in ("", "body.", "module."):
        if name and prefix + name in modules:
            return modules[prefix + name]
    children = [key for key in modules if key and key.count(".") < 2]
    raise ValueError(
        f"freeze={name!r}: {type(net).__name__} has no layer of that name. Pass 'body' "
        f"or one of its layers, for instance {', '.join(children[:8])}."
    )


class Watch:
    """Which modules a forward pass has entered, and which it has finished."""

    def __init__(self) -> None:
        self.entered: set[str] = set()
        self.finished: set[str] = set()

    def finished_outermost(self) -> list[str]:
        """Finished modules that are not inside another one."""
        return sorted(
            name
            for name in self.finished
            if not any(
                name[:dot] in self.finished
                for dot, letter in enumerate(name)
                if letter == "."
            )
        )


@contextmanager
def watching(net: nn.Module) -> Iterator[Watch]:
    """Watch which modules of ``net`` run inside the ``with`` block."""
    watch = Watch()
    handles = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: watch.entered.add(name)

    def finish(name: str) -> Callable[..., None]:
        return lambda *_: watch.finished.add(name)

    for name, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name)))
        # Before the other hooks, one of which may end the pass.
        handles.append(module.register_forward_hook(finish(name), prepend=True))
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


class Reached(Exception):
    """The pass has come to the layer in question."""


def output_of(layer: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Output of ``layer`` while ``run()`` is under way, which ends there."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, inputs: Any, output: Tensor) -> None:
        caught.append(output)
        raise Reached

    handle = layer.register_forward_hook(catch)
    try:
        run()
    except Reached:
        return caught[0]
    finally:
        handle.remove()
    raise ValueError(f"The net's body never calls its layer {type(layer).__name__}.")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; each layer's own mode behind it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def without(net: nn.Module, names: list[str]) -> nn.Module:
    """Return a net that shares all layers of ``net`` but passes some by."""
    root = copied(net)
    done = {"": root}
    for name in names:
        *path, leaf = name.split(".")
        parent, so_far = root, ""
        for part in path:
            so_far = f"{so_far}.{part}" if so_far else part
            if so_far not in done:
                done[so_far] = copied(parent.get_submodule(part))
                parent._modules[part] = done[so_far]
            parent = done[so_far]
        parent._modules[leaf] = nn.Identity()
    return root


def copied(module: nn.Module) -> nn.Module:
    """Return the same module with a list of children of its own."""
    new = module.__class__.__new__(module.__class__)
    new.__dict__ = module.__dict__.copy()
    new._modules = module._modules.copy()
    return new


def receiving(output: Tensor, parameters: dict[str, nn.Parameter]) -> set[str]:
    """Names of the parameters that ``output`` depends on."""
    if not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(
        output.sum(), list(parameters.values()), allow_unused=True
    )
    return {
        name
        for name, gradient in zip(parameters, gradients, strict=True)
        if gradient is not None
    }
