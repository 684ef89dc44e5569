"""The net that is attacked, and the units and norms of its inputs."""

import math

import torch
from torch import Tensor, nn

__all__ = ["NORMS", "InputSpace", "Target", "attack_batch_size", "spread"]

NORMS = ("l2", "linf")

# Width of a table's column or of an unbounded image's values, in their deviations.
_DEVIATIONS = 4.0
_LARGEST_BATCH = {"cpu": 128, "cuda": 512}


class InputSpace:
    """The units that perturbations of a batch are measured in, and their bounds.

    Images are measured as they are: uint8 images as floats in [0, 1], and a perturbed
    image stays in there; float images in their own units, without bounds. The columns
    of a table have units of their own, so they are measured in standard deviations of
    the training data.

    Parameters
    ----------
    module : InputClassifier
        Has ``std``.
    batch : Tensor of shape (n, channels, H, W) or (n, n_features)
        As `module` takes it.
    """

    def __init__(self, module: nn.Module, batch: Tensor) -> None:
        std = module.std
        assert isinstance(std, Tensor)
        self.dtype = std.dtype
        self.n_values = math.prod(batch.shape[1:])
        self.scale = std if batch.ndim == 2 else torch.ones_like(std[:1])
        self.bounds = (0.0, 1.0) if batch.dtype == torch.uint8 else None
        if self.bounds is not None:
            self.width = 1.0
        elif batch.ndim == 2:
            self.width = _DEVIATIONS
        else:
            self.width = _DEVIATIONS * float(std.mean())

    def enter(self, batch: Tensor) -> Tensor:
        """Return the batch in these units, float."""
        values = batch.to(self.dtype)
        return values / 255 if batch.dtype == torch.uint8 else values / self.scale

    def leave(self, values: Tensor) -> Tensor:
        """Return values in these units as the net takes them."""
        return values * self.scale

    def clip(self, values: Tensor) -> Tensor:
        """Return the nearest valid values."""
        return values if self.bounds is None else values.clamp(*self.bounds)

    def largest_size(self, norm: str) -> float:
        """Return the size at which a search gives up: the width of the space."""
        return self.width * (math.sqrt(self.n_values) if norm == "l2" else 1.0)


class Target:
    """A frozen net on inputs in the units of a space, and the norm there."""

    def __init__(self, module: nn.Module, space: InputSpace, norm: str) -> None:
        self.module = module
        self.space = space
        self.norm = norm
        # Detached, so that nothing is kept for gradients of the weights.
        tensors = [*module.named_parameters(), *module.named_buffers()]
        self.state = {name: tensor.detach() for name, tensor in tensors}

    def __call__(self, values: Tensor) -> Tensor:
        inputs = (self.space.leave(values),)
        logits = torch.func.functional_call(self.module, self.state, inputs)
        assert isinstance(logits, Tensor)
        return logits

    def slopes(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, S), with their graph, and the leaf they depend on."""
        leaf = values.detach().requires_grad_()
        with torch.enable_grad():
            return self(leaf), leaf

    def sizes(self, changes: Tensor, dual: bool = False) -> Tensor:
        """Return the norm, or the dual norm, of each sample's change, shape (n,)."""
        flat = changes.flatten(1)
        if self.norm == "l2":
            return torch.linalg.vector_norm(flat, dim=1)
        return torch.linalg.vector_norm(flat, ord=1 if dual else torch.inf, dim=1)

    def steepest(self, gradients: Tensor) -> Tensor:
        """Return the changes of size 1 that gradients gain most by."""
        if self.norm == "linf":
            return gradients.sign()
        lengths = self.sizes(gradients)
        safe = torch.where(lengths > 0, lengths, 1.0)
        return gradients / spread(safe, gradients)

    def project(self, changes: Tensor, limit: Tensor) -> Tensor:
        """Return the changes, cut to the ball of size ``limit`` (n,)."""
        limit = spread(limit, changes)
        if self.norm == "linf":
            return changes.clamp(-limit, limit)
        lengths = spread(self.sizes(changes), changes)
        return changes * (limit / lengths.clamp_min(1e-30)).clamp_max(1.0)

    def flips(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return whether each prediction is another one than ``labels``, shape (n,)."""
        with torch.no_grad():
            return self(values).argmax(dim=1) != labels

    def flip_sizes(self, found: Tensor, origin: Tensor, labels: Tensor) -> Tensor:
        """Return the sizes of perturbations that flip, infinity for the others."""
        flipped = self.flips(found, labels)
        return torch.where(flipped, self.sizes(found - origin), torch.inf)


def attack_batch_size(module: nn.Module, sample: Tensor, max_memory: int) -> int:
    """Return how many samples may be attacked together within ``max_memory`` bytes.

    Counts what a backward pass through the net keeps of one sample, by looking at one.

    Parameters
    ----------
    module : InputClassifier
    sample : Tensor of shape (1, ...)
        One sample, as `module` takes it.
    max_memory : int

    Returns
    -------
    int
        At least 1.
    """
    kept = 0
    space = InputSpace(module, sample)
    target = Target(module, space, "l2")
    weights = {t.untyped_storage().data_ptr() for t in target.state.values()}

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        if tensor.untyped_storage().data_ptr() not in weights:
            kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        target.slopes(space.enter(sample))
    # What is passed on between two layers is not among the tensors kept.
    kept += 8 * space.n_values * 4
    largest = _LARGEST_BATCH.get(sample.device.type, _LARGEST_BATCH["cpu"])
    return int(min(largest, max(1, max_memory // (2 * kept))))


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Give (n,) values trailing axes, so that they multiply (n, ...) ones."""
    return values.to(like.device).reshape(-1, *[1] * (like.ndim - 1))
