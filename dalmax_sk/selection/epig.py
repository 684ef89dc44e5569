"""EPIG: what a candidate's label tells about the labels of other inputs."""

from typing import Any

import torch

from dalmax_sk._base import progress
from dalmax_sk.selection.joint_entropy import RESOLUTION, as_samples, plogp, tile_values
from dalmax_sk.selection.kit.arrays import Array, check_max_memory

__all__ = ["epig_scores"]


def epig_scores(samples: Any, targets: Any, *, max_memory: int = 2**30) -> Array:
    r"""Expected predictive information gain of each candidate [1]_.

    .. math:: \mathrm{EPIG}(x) = \frac{1}{T} \sum_{x_*} I(y; y_* \mid x, x_*), \qquad
       p(y, y_*) = \frac{1}{K} \sum_k p_k(y \mid x)\, p_k(y_* \mid x_*)

    Parameters
    ----------
    samples : array-like or torch.Tensor of shape (K, n, C)
        Class probabilities of the candidates under K samples of the parameters.
    targets : array-like or torch.Tensor of shape (K, T, C)
        Class probabilities, under the same samples, of the inputs whose labels are to
        be predicted well.
    max_memory : int, default=1 GiB
        Bytes that temporary blocks may take.

    Returns
    -------
    ndarray or torch.Tensor of shape (n,), float64
        In nats, from 0 to ln C; on the device of `samples`.

    Raises
    ------
    ValueError
        If one of them holds no probabilities of that shape, or numbers of samples or
        classes differ.

    Notes
    -----
    The joint probabilities of a block are one matrix product over the K samples: time
    O(n·T·C²·K), memory one tile.

    References
    ----------
    .. [1] F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and
       T. Rainforth, "Prediction-Oriented Bayesian Active Learning", AISTATS 2023.
       https://arxiv.org/abs/2304.08151

    Examples
    --------
    The label of the first candidate tells that of the target, the second's tells
    nothing of it:

    >>> import numpy as np
    >>> from dalmax_sk.selection import epig_scores
    >>> yes, no = [0.0, 1.0], [1.0, 0.0]
    >>> samples = np.array([[yes, yes], [yes, no], [no, yes], [no, no]])
    >>> target = np.array([[yes], [yes], [no], [no]])
    >>> epig_scores(samples, target) / np.log(2)
    array([1., 0.])
    """
    given = as_samples(samples)
    aims = as_samples(targets, "targets").to(given.device, torch.float64)
    max_memory = check_max_memory(max_memory)
    n_samples, n, n_classes = given.shape
    if aims.shape[0] != n_samples or aims.shape[2] != n_classes:
        raise ValueError(
            f"targets must have {n_samples} samples and {n_classes} classes as samples "
            f"have, got the shape {tuple(aims.shape)}."
        )
    tile = tile_values(given.device, max_memory)
    # Blocks of candidates and of targets, as square as they can be.
    side = max(1, int((tile / n_classes**2) ** 0.5))
    columns = min(side, aims.shape[1], max(1, tile // (n_samples * n_classes)))
    rows = max(1, tile // (max(columns * n_classes, n_samples) * n_classes))
    entropy_of_targets = -plogp(aims.mean(dim=0)).sum() / aims.shape[1]
    scores = torch.empty(n, dtype=torch.float64, device=given.device)
    for start in range(0, n, rows):
        some = given[:, start : start + rows].to(torch.float64)  # (K, r, C)
        own = -plogp(some.mean(dim=0)).sum(dim=1)
        some = some.reshape(n_samples, -1).T / n_samples  # (r·C, K)
        joint = torch.zeros(len(some), dtype=torch.float64, device=given.device)
        for part in aims.split(columns, dim=1):
            together = some @ part.reshape(n_samples, -1)  # (r·C, t·C)
            joint -= plogp(together).sum(dim=1)
        joint = joint.view(-1, n_classes).sum(dim=1) / aims.shape[1]
        scores[start : start + rows] = own + entropy_of_targets - joint
        if rows < n:
            progress.report("query", min(start + rows, n), n)
    # what rounding leaves of no information at all must not rank candidates
    scores[scores < RESOLUTION] = 0.0
    return scores if isinstance(samples, torch.Tensor) else scores.cpu().numpy()
