"""The pass of a net over data: probabilities and embeddings, batch by batch."""

import numpy as np
import torch

from dalmax_sk import progress

__all__ = ["autocast", "collect", "evaluate", "inference_batch_size", "iter_outputs"]

# Numbers in one batch of inputs during inference. On a CPU that is 42 images of
# 32×32×3, whose feature maps fit the cache (twice as fast as batches of 341); on a GPU
# 5,461, or 111 of 224×224×3.
_INFERENCE_VALUES = {"cpu": 2**17, "cuda": 2**24}
_INFERENCE_BATCH = {"cpu": (4, 1024), "cuda": (4, 8192)}  # smallest, largest


def autocast(device, enabled):
    """Context of bfloat16 mixed precision on ``device``, or of nothing."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled)


def inference_batch_size(values_per_sample, device):
    """Return how many samples to look at together when no gradient is needed."""
    kind = "cpu" if device.type == "cpu" else "cuda"
    smallest, largest = _INFERENCE_BATCH[kind]
    return min(largest, max(smallest, _INFERENCE_VALUES[kind] // values_per_sample))


def iter_outputs(module, batches, *, amp=False, embeddings=True, n_samples=None):
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

    Yields
    ------
    start, stop : int
        Which rows these are.
    proba : ndarray of shape (stop - start, C), float64
        Each row sums to 1.
    embeddings : ndarray of shape (stop - start, d) or None
    """
    was_training = module.training
    module.eval()
    try:
        for start, stop, X in batches:
            # Not around the yield: the mode belongs to the thread, so the caller's
            # code between two batches would run in it as well.
            with torch.inference_mode(), autocast(X.device, amp):
                output = module(X, return_embeddings=embeddings)
                logits, features = output if embeddings else (output, None)
                # Soft-max in float64, so that rows sum to 1 as exactly as they can.
                proba = logits.double().softmax(1).cpu().numpy()
                if embeddings:
                    if features.dtype == torch.bfloat16:
                        features = features.float()
                    features = features.cpu().numpy()
            yield start, stop, proba, features
            if n_samples is not None and stop - start < n_samples:
                progress.report("pool", stop, n_samples)
    finally:
        module.train(was_training)


def evaluate(module, batches, n_samples, *, amp=False, embeddings=True):
    """Run the module over batches in evaluation mode, into whole arrays.

    Parameters
    ----------
    module : InputClassifier
    batches : iterable of (start, stop, X)
    n_samples : int
    amp : bool
    embeddings : bool
        Whether the embeddings are wanted as well.

    Returns
    -------
    proba : ndarray of shape (n, C), float64
        Each row sums to 1.
    embeddings : ndarray of shape (n, d) or None
    """
    outputs = iter_outputs(
        module, batches, amp=amp, embeddings=embeddings, n_samples=n_samples
    )
    return collect(outputs, n_samples)


def collect(outputs, n_samples):
    """Return (proba, embeddings) of all rows from what `iter_outputs` yields."""
    proba = found = None
    for start, stop, rows, features in outputs:
        if proba is None:
            proba = np.empty((n_samples, rows.shape[1]))
            if features is not None:
                found = np.empty((n_samples, features.shape[1]), features.dtype)
        proba[start:stop] = rows
        if features is not None:
            found[start:stop] = features
    return proba, found
