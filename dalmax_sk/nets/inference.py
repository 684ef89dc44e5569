"""The pass of a net over data: batch sizes, mixed precision, and results as arrays."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dalmax_sk._base import progress
from dalmax_sk._base.devices import (
    autocast_dtype,
    bytes_at_peak,
    free_bytes,
    is_out_of_memory,
    release_unused,
    to_host,
)
from dalmax_sk._base.limits import limits

__all__ = [
    "autocast",
    "collect",
    "fitting_batch_size",
    "inference_batch_size",
    "iter_outputs",
    "iter_results",
    "outputs_of",
]

logger = logging.getLogger("dalmax_sk")

Forward: TypeAlias = Callable[[Tensor], tuple[Tensor | None, ...]]
#: (start, stop, batch) in order, without gaps.
Batch: TypeAlias = tuple[int, int, Tensor]


def autocast(device: torch.device | str, enabled: bool) -> torch.autocast:
    """Context of 16-bit mixed precision on ``device``, or of nothing."""
    device = torch.device(device)
    dtype = autocast_dtype(device) if enabled else None
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)


def inference_batch_size(
    values_per_sample: int, device: torch.device, *, amp: bool = False
) -> int:
    """Return how many samples to look at together when no gradient is needed."""
    if device.type == "cpu":
        size = limits.inference_cpu_values // values_per_sample
        size *= torch.get_num_threads() * (2 if amp else 1)
        if size > limits.inference_round:
            size -= size % limits.inference_round
        smallest, largest = limits.inference_cpu_rows
    else:
        size = limits.inference_gpu_values // values_per_sample
        smallest, largest = limits.inference_gpu_rows
    return min(largest, max(smallest, size))


def fitting_batch_size(
    forward: Callable[[Tensor], Any],
    source: Any,
    device: torch.device,
    *,
    amp: bool = False,
) -> int:
    """Return `inference_batch_size`, or less where memory is short.

    Parameters
    ----------
    forward : callable
        The work on each batch. It is tried on a few samples; not on a CPU, whose
        batches are small in any case.
    source : TensorSource or FileSource
    device : torch.device
    amp : bool
        Whether `forward` computes in 16 bits, which take half the room.
    """
    size = inference_batch_size(source.values_per_sample, device, amp=amp)
    if device.type != "cuda":
        return size
    probe = source.take(slice(0, limits.probed_rows)).to(device)
    used = bytes_at_peak(lambda: forward(probe), device)
    room = limits.activation_share * free_bytes(device)
    return max(1, min(size, int(room * len(probe) / max(1, used))))


def outputs_of(
    module: nn.Module,
    *,
    amp: bool = False,
    embeddings: bool = True,
    from_features: bool = False,
) -> Forward:
    """Return the function that gives a batch's probabilities and embeddings.

    Parameters
    ----------
    module : InputClassifier
        In evaluation mode.
    amp : bool
    embeddings : bool
        Whether the embeddings are wanted as well.
    from_features : bool
        Whether the batches hold features of the module's frozen layers.

    Returns
    -------
    callable
        Maps X to (proba (b, C) float64, embeddings (b, d) or None), on X's device.
    """
    # Only passed on when it is wanted: the module may be anything that gives outputs.
    options = {"from_features": True} if from_features else {}

    def forward(X: Tensor) -> tuple[Tensor | None, ...]:
        with torch.inference_mode():
            with autocast(X.device, amp):
                output = module(X, return_embeddings=embeddings, **options)
            logits, features = output if embeddings else (output, None)
            if features is not None and features.dtype in (torch.bfloat16, torch.half):
                features = features.float()
            # Soft-max in float64, so that rows sum to 1 as exactly as they can.
            return logits.double().softmax(1), features

    return forward


def iter_outputs(
    module: nn.Module,
    batches: Iterable[Batch],
    *,
    amp: bool = False,
    embeddings: bool = True,
    n_samples: int | None = None,
    from_features: bool = False,
) -> Iterator[Any]:
    """Run the module over batches in evaluation mode.

    Parameters
    ----------
    module : InputClassifier
    batches : iterable of (start, stop, X)
        In order, without gaps.
    amp : bool
    embeddings : bool
        Whether the embeddings are wanted as well.
    n_samples : int or None
        Rows of all batches together; the progress is reported if it is given.
    from_features : bool
        Whether the batches hold features of the module's frozen layers.

    Yields
    ------
    start, stop : int
        Which rows these are.
    proba : ndarray of shape (stop - start, C), float64
        Each row sums to 1.
    embeddings : ndarray of shape (stop - start, d) or None

    Raises
    ------
    torch.OutOfMemoryError
        If there is no room even for a single sample.
    """
    forward = outputs_of(
        module, amp=amp, embeddings=embeddings, from_features=from_features
    )
    was_training = module.training
    module.eval()
    try:
        for start, stop, proba, found in iter_results(forward, batches):
            yield start, stop, proba, found
            if n_samples is not None and stop - start < n_samples:
                progress.report("pool", stop, n_samples)
    finally:
        module.train(was_training)


def iter_results(forward: Forward, batches: Iterable[Batch]) -> Iterator[Any]:
    """Yield (start, stop, *results) of each batch, as arrays.

    A GPU computes the next batches while results are on their way from it. Where its
    memory does not suffice, the batch is halved and the work goes on where it was.

    Parameters
    ----------
    forward : callable
        Maps a batch X to a tuple of tensors (or None), each with a row for a sample.
    batches : iterable of (start, stop, X)

    Yields
    ------
    start, stop : int
    *results : ndarray or None
    """
    on_the_way: deque[Any] = deque()
    for start, stop, results in _computed(forward, batches):
        on_the_way.append((start, stop, to_host(results)))
        if results[0].device.type != "cuda" or len(on_the_way) > limits.pending_batches:
            yield _arrived(*on_the_way.popleft())
    while on_the_way:
        yield _arrived(*on_the_way.popleft())


def _arrived(start: int, stop: int, receive: Callable[[], Any]) -> tuple[Any, ...]:
    return start, stop, *(None if r is None else r.numpy() for r in receive())


def _computed(forward: Forward, batches: Iterable[Batch]) -> Iterator[Any]:
    """Yield (start, stop, results on the device), in smaller batches if need be."""
    limit = None  # samples that memory has room for, once it ran out
    for start, stop, X in batches:
        while start < stop:
            size = stop - start if limit is None else min(limit, stop - start)
            results = _unless_out_of_memory(forward, X if size == len(X) else X[:size])
            if results is None:
                limit = _halved(size, X.device)
                continue
            yield start, start + size, results
            X, start = X[size:], start + size


def _unless_out_of_memory(forward: Forward, X: Tensor) -> Any:
    # A function of its own: while an exception is handled, its traceback keeps the
    # activations alive that are to be freed.
    try:
        return forward(X)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(X) == 1:
            raise torch.OutOfMemoryError(
                f"A single sample of shape {tuple(X.shape[1:])} does not fit into the "
                f"memory of {X.device} during inference: {error} Free memory there, "
                "give smaller images (image_size=), or use another device."
            ) from error
    return None


def _halved(size: int, device: torch.device) -> int:
    release_unused(device)
    logger.warning(
        "Out of memory on %s with a batch of %d samples; going on with batches of %d.",
        device,
        size,
        size // 2,
    )
    return size // 2


def collect(blocks: Iterable[Any], n_samples: int) -> tuple[Any, ...]:
    """Join the results of blocks of rows to whole arrays.

    Parameters
    ----------
    blocks : iterable of (start, stop, *results)
        In order, without gaps; each result an array with a row for a sample, or None.
    n_samples : int

    Returns
    -------
    tuple of ndarray of shape (n, ...) or None
    """
    whole: tuple[Any, ...] = ()
    for start, stop, *results in blocks:
        if not whole:
            whole = tuple(
                None
                if rows is None
                else np.empty((n_samples, *rows.shape[1:]), rows.dtype)
                for rows in results
            )
        for array, rows in zip(whole, results, strict=True):
            if rows is not None:
                array[start:stop] = rows
    return whole
