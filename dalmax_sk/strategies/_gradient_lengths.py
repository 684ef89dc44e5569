"""Lengths of per-sample gradients, without the gradients.

The gradient of one sample by the weights of a linear or convolutional layer is a sum,
over the places l where the weights are used (one in a linear layer, each pixel of the
output in a convolution), of outer products of the output's gradient g_l and the
input's patch u_l. Its squared length needs the products of pairs of places only,

    |sum_l g_l u_l'|² = sum_{l, m} <g_l, g_m> <u_l, u_m>

so that one backward pass over a batch, by the layers' outputs and not by the weights,
gives all lengths; the inner products of the patches serve all classes. Nets with other
layers take the gradients themselves, by `torch.func`.
"""

import logging
import threading
import warnings

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, unfold

__all__ = ["ExpectedLengths", "lengths_by_layers", "lengths_by_weights"]

logger = logging.getLogger("dalmax_sk")

# Relative difference of squared lengths that rounding, TF32's too, may cause.
_TOLERANCE = 1e-2
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ExpectedLengths:
    """Expected lengths of the loss's gradient under a net's own probabilities.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode; maps a batch to logits (b, S).
    top_classes : int or None
        Number of most probable classes to sum over; None means all.
    max_memory : int
        Bytes that the samples looked at together may take; one always may.
    """

    def __init__(self, module, top_classes, max_memory):
        self.module = module
        self.top_classes = top_classes
        self.max_memory = max_memory
        self.weights = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.lengths = None

    def __call__(self, batch):
        """Return the lengths of a batch (b, ...), float64 of shape (b,)."""
        if self.lengths is None:
            self._choose(batch[:1])
        parts = [
            self.lengths(self.module, self.weights, part, self.top_classes)
            for part in batch.split(self.rows)
        ]
        return torch.cat(parts)

    def _choose(self, sample):
        """Choose the way and the number of samples by a pass of one sample."""
        with torch.no_grad(), _Recorder(self.module, self.weights) as recorder:
            self.module(sample)
        itemsize = max((w.element_size() for w in self.weights.values()), default=4)
        if recorder.complete and self._layers_tell_all(sample):
            self.lengths = lengths_by_layers
            n_values = 8 * recorder.n_activations + recorder.n_temporary
        else:
            logger.info("per-sample gradients are taken by torch.func")
            self.lengths = lengths_by_weights
            n_weights = sum(weight.numel() for weight in self.weights.values())
            n_values = 8 * recorder.n_activations + 3 * n_weights
        self.rows = max(1, self.max_memory // (itemsize * n_values))

    @torch.enable_grad()
    def _layers_tell_all(self, sample):
        """Whether weights are used by their layers only, seen from one gradient."""
        with _Recorder(self.module, self.weights) as recorder:
            logits = self.module(sample)
        first = torch.zeros_like(logits)
        first[:, 0] = 1
        found = _squared_lengths(recorder.records, logits, first, retain_graph=True)
        gradients = torch.autograd.grad(
            logits, list(self.weights.values()), first, allow_unused=True
        )
        squares = sum(g.double().square().sum() for g in gradients if g is not None)
        return bool(abs(found - squares) <= _TOLERANCE * squares)


@torch.no_grad()  # torch.func sees to the gradients by `weights` itself
def lengths_by_weights(module, weights, batch, top_classes=None):
    """Return the expected lengths (b,) from the gradients of each sample.

    Parameters
    ----------
    module : nn.Module
    weights : dict of str to Tensor
        Parameters to differentiate by, under their names in the module.
    batch : Tensor of shape (b, ...)
    top_classes : int or None, default=None
    """

    def loss(weights, x, y):
        return cross_entropy(functional_call(module, weights, (x[None],)), y[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    weights = {name: weight.detach() for name, weight in weights.items()}
    proba, classes = _ranked(functional_call(module, weights, (batch,)))
    lengths = proba.new_zeros(len(batch))
    for rank in range(min(top_classes or proba.shape[1], proba.shape[1])):
        with warnings.catch_warnings():
            # that some layer is slow under vmap is no concern of a user of ours
            warnings.filterwarnings("ignore", "There is a performance drop")
            found = gradients(weights, batch, classes[:, rank])
        squares = proba.new_zeros(len(batch))
        for gradient in found.values():
            squares += gradient.reshape(len(batch), -1).square().sum(dim=1)
        lengths += proba[:, rank] * squares.sqrt()
    return lengths


def lengths_by_layers(module, weights, batch, top_classes=None):
    """Return what :func:`lengths_by_weights` does, from the layers' in- and outputs."""
    with torch.enable_grad(), _Recorder(module, weights) as recorder:
        logits = module(batch)
    records = recorder.records
    proba, classes = _ranked(logits.detach())
    lengths = proba.new_zeros(len(batch))
    n_ranks = min(top_classes or proba.shape[1], proba.shape[1])
    for rank in range(n_ranks):
        # the loss's gradient by the logits, p - e_y
        target = classes[:, rank, None]
        error = logits.detach().double().softmax(dim=1)
        error.scatter_add_(1, target, error.new_full(target.shape, -1.0))
        squares = _squared_lengths(
            records, logits, error.to(logits.dtype), retain_graph=rank + 1 < n_ranks
        )
        lengths += proba[:, rank] * squares.sqrt()
    return lengths


def _squared_lengths(records, logits, by_logits, *, retain_graph):
    """Return squared lengths (b,), float64, of gradients by the recorded weights.

    ``by_logits`` (b, S) holds the gradients by the logits.
    """
    found = torch.autograd.grad(
        logits,
        [record.output for record in records],
        by_logits,
        retain_graph=retain_graph,
        allow_unused=True,
    )
    squares = logits.new_zeros(len(logits), dtype=torch.float64)
    with torch.no_grad():
        for record, gradient in zip(records, found, strict=True):
            if gradient is not None:
                squares += record.squares(gradient)
    return squares.clamp_(min=0)


def _ranked(logits):
    """Return probabilities (b, S), float64, largest first, and the classes' numbers."""
    return logits.double().softmax(dim=1).sort(dim=1, descending=True)


class _Recorder:
    """Records the in- and outputs of the layers that hold `weights`.

    Attributes
    ----------
    complete : bool
        Whether all weights sit in layers that were run once and are understood.
    n_activations, n_temporary : int
        Values in all layers' outputs, and in the largest temporary of a record.
    """

    def __init__(self, module, weights):
        self.module = module
        self.wanted = {id(weight) for weight in weights.values()}
        self.records = []
        self.complete = True
        self.n_activations = self.n_temporary = 0

    def __enter__(self):
        self.thread = threading.get_ident()
        self.handles = [
            layer.register_forward_hook(self._see) for layer in self.module.modules()
        ]
        return self

    def __exit__(self, *exception):
        for handle in self.handles:
            handle.remove()
        found = [id(weight) for r in self.records for weight in r.weights]
        if set(found) != self.wanted or len(found) != len(self.wanted):
            self.complete = False

    def _see(self, layer, inputs, output):
        if not torch.is_tensor(output) or threading.get_ident() != self.thread:
            return None
        self.n_activations += output.numel()
        weights = [w for w in layer.parameters(recurse=False) if id(w) in self.wanted]
        if not weights:
            return None
        record = _Record(layer, weights, inputs[0], output)
        if not record.understood:
            self.complete = False
            return None
        self.records.append(record)
        self.n_temporary = max(self.n_temporary, record.n_temporary)
        # What comes next may write in place, as ReLU does; not into what was recorded.
        return output.clone()


class _Record:
    """One layer's input and output, and what follows from a gradient of the output."""

    def __init__(self, layer, weights, x, output):
        self.layer, self.weights, self.x, self.output = layer, weights, x, output
        self.products = None
        self.understood = (
            (type(layer) is nn.Linear and x.ndim >= 2)
            or (type(layer) in _NORMS and layer.running_mean is not None)
            or (
                type(layer) is nn.Conv2d
                and layer.padding_mode == "zeros"
                and not isinstance(layer.padding, str)
                and x.ndim == 4
            )
        )
        if self.understood:
            ids = {id(weight) for weight in weights}
            self.has_weight = id(layer.weight) in ids
            self.has_bias = layer.bias is not None and id(layer.bias) in ids

    @property
    def n_temporary(self):
        """Values in the temporaries of :meth:`squares` for this many samples."""
        if type(self.layer) is not nn.Conv2d:
            return 2 * (self.x.numel() + self.output.numel())
        places = self.output.numel() // self.output.shape[1]
        patches = places * self.x.shape[1] * self.layer.weight[0, 0].numel()
        return 2 * (patches + min(3 * places**2, 2 * self.layer.weight.numel()))

    def squares(self, gradient):
        """Return the squared length (b,) of the gradient by the layer's weights."""
        if type(self.layer) in _NORMS:
            return self._squares_of_norm(gradient)
        if type(self.layer) is nn.Conv2d:
            groups = self.layer.groups
            g = gradient.flatten(2).unflatten(1, (groups, -1))  # (b, groups, O, L)
        else:
            groups = 1
            # (b, 1, O, L), L the product of all axes between the first and the last
            g = gradient.flatten(1, -2) if gradient.ndim > 2 else gradient[:, None]
            g = g.mT[:, None]
        total = 0
        if self.has_bias:
            total = total + g.sum(dim=3).double().square().sum(dim=(1, 2))
        if not self.has_weight:
            return total
        # (b, groups, I, L) with I the size of a patch
        if self._by_products(g):
            if self.products is None:
                u = self._patches(groups)
                self.products = u.mT @ u  # (b, groups, L, L)
            return total + (g.mT @ g).mul_(self.products).double().sum(dim=(1, 2, 3))
        found = g @ self._patches(groups).mT  # (b, groups, O, I)
        return total + found.square_().sum(dim=(1, 2, 3), dtype=torch.float64)

    def _by_products(self, g):
        """Whether pairs of places are fewer numbers than the weights."""
        return g.shape[3] ** 2 * g.shape[1] < self.layer.weight.numel()

    def _patches(self, groups):
        layer, x = self.layer, self.x.detach()
        if type(layer) is nn.Conv2d:
            u = unfold(
                x, layer.kernel_size, layer.dilation, layer.padding, layer.stride
            )
            return u.unflatten(1, (groups, -1))
        x = x.flatten(1, -2) if x.ndim > 2 else x[:, None]
        return x.mT[:, None]

    def _squares_of_norm(self, gradient):
        """Batch normalisation by running averages: a factor and a bias a channel."""
        layer, x = self.layer, self.x.detach()
        rest = tuple(range(2, x.ndim))
        total = 0
        if self.has_bias:
            sums = gradient.sum(dim=rest) if rest else gradient
            total = total + sums.double().square().sum(dim=1)
        if self.has_weight:
            shape = (1, -1) + (1,) * len(rest)
            scale = (layer.running_var + layer.eps).rsqrt().view(shape)
            sums = gradient * (x - layer.running_mean.view(shape)) * scale
            sums = sums.sum(dim=rest) if rest else sums
            total = total + sums.double().square().sum(dim=1)
        return total
