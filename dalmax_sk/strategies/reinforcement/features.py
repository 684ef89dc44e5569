"""Features of a candidate, the input of a policy: numbers between 0 and 1.

A policy trained on one data set must mean something on another. So no feature depends
on the scale of the embeddings, the number of classes, the size of the pool or the order
of its rows.
"""

import numpy as np
import torch
from scipy.special import entr, expit

from dalmax_sk.selection.kit.arrays import as_matrix, check_max_memory
from dalmax_sk.selection.kit.distances import block_shape

__all__ = [
    "FEATURE_NAMES",
    "candidate_features",
    "nearest_by_class",
    "neighbour_distance",
]

#: The columns of :func:`candidate_features`, in order.
FEATURE_NAMES = (
    "entropy",
    "margin",
    "least_confidence",
    "entropy_in_pool",
    "margin_in_pool",
    "typicality_in_pool",
    "distance_in_pool",
    "distance_margin",
    "class_rarity",
    "expected_rarity",
    "rarity_in_pool",
    "label_fraction",
    "labels_per_class",
    "mean_margin",
)

# Distances below this share of the largest norm are rounding errors.
_RESOLUTION = 1e-6
# Half of the labels a class that count as "half way" in labels_per_class.
_HALF_WAY = 10


def candidate_features(proba, neighbours, nearest, class_counts, floor=0.0):
    """Describe each candidate to a policy.

    Parameters
    ----------
    proba : ndarray of shape (n, C)
        Class probabilities of the candidates.
    neighbours : ndarray of shape (n,)
        Mean distance to the nearest other candidates, :func:`neighbour_distance`.
    nearest : ndarray of shape (n, C)
        Distance to the nearest labelled sample of each class, infinite for a class
        without labels, :func:`nearest_by_class`.
    class_counts : ndarray of int of shape (C,)
        Number of labels of each class.
    floor : float, default=0.0
        Differences of distances up to this are taken for rounding errors.

    Returns
    -------
    ndarray of shape (n, 14), float64
        Each value in [0, 1]; the columns are :data:`FEATURE_NAMES`:

        - ``entropy``, ``margin``, ``least_confidence``: how unsure the model is, 1 for
          equal probabilities;
        - ``entropy_in_pool``, ``margin_in_pool``: the same against the other
          candidates, the logistic function of the standard score;
        - ``typicality_in_pool``: high among close neighbours, likewise;
        - ``distance_in_pool``: high far from everything labelled, likewise;
        - ``distance_margin``: a / (a + b) with a the distance to the nearest sample
          labelled as the predicted class and b to the nearest of another class;
        - ``class_rarity``: 1 / (1 + C·share) of the predicted class among the labels,
          0.5 if they are balanced; ``expected_rarity``: its mean under `proba`;
        - ``rarity_in_pool``: likewise with the share among the predictions of the pool;
        - ``label_fraction``: m / (m + n); ``labels_per_class``: (m/C) / (m/C + 10);
          ``mean_margin``: the mean of ``margin``. These three describe the round and
          are the same for all candidates.

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.strategies.reinforcement import FEATURE_NAMES, candidate_features
    >>> features = candidate_features(
    ...     proba=np.array([[0.5, 0.5], [0.9, 0.1]]),
    ...     neighbours=np.array([1.0, 1.0]),
    ...     nearest=np.array([[2.0, 2.0], [1.0, 3.0]]),
    ...     class_counts=np.array([3, 1]),
    ... )
    >>> dict(zip(FEATURE_NAMES, features[1].round(2).tolist()))["distance_margin"]
    0.25
    """
    n, n_classes = proba.shape
    rows = np.arange(n)
    predicted = proba.argmax(axis=1)
    n_labels = int(class_counts.sum())

    if n_classes > 1:
        entropy = entr(proba).sum(axis=1) / np.log(n_classes)
        top_two = np.partition(proba, -2, axis=1)[:, -2:]
        margin = 1 - (top_two[:, 1] - top_two[:, 0])
        least = (1 - top_two[:, 1]) * n_classes / (n_classes - 1)
    else:
        entropy = margin = least = np.zeros(n)

    same = nearest[rows, predicted]
    others = nearest.copy()
    others[rows, predicted] = np.inf
    other = others.min(axis=1)

    among_labels = n_classes * class_counts / max(n_labels, 1)
    rarity = 1 / (1 + among_labels) if n_labels else np.full(n_classes, 0.5)
    in_pool = n_classes * np.bincount(predicted, minlength=n_classes) / max(n, 1)

    per_class = n_labels / n_classes
    features = np.empty((n, len(FEATURE_NAMES)))
    for column, values in enumerate(
        (
            entropy,
            margin,
            least,
            _in_pool(entropy, 1e-9),
            _in_pool(margin, 1e-9),
            1 - _in_pool(neighbours, floor),
            _in_pool(np.minimum(same, other), floor),
            _share(same, other, floor),
            rarity[predicted],
            proba @ rarity,
            1 / (1 + in_pool[predicted]),
            n_labels / (n_labels + n) if n else 0.0,
            per_class / (per_class + _HALF_WAY),
            margin.mean() if n else 0.0,
        )
    ):
        features[:, column] = values
    # rounding may leave a sum of probabilities a hair outside
    return np.clip(features, 0.0, 1.0, out=features)


def nearest_by_class(X, labeled, codes, n_classes, *, max_memory=2**30):
    """Return the distance of each point to the nearest labelled one of each class.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, d)
        The points.
    labeled : array-like or torch.Tensor of shape (m, d)
        The labelled points, on the same device; m may be 0.
    codes : array-like of int of shape (m,)
        Their classes, from 0 to `n_classes` - 1.
    n_classes : int
        The number of classes C.
    max_memory : int, default=1 GiB
        Bytes that blocks of distances may take. The work is O(n·m·d).

    Returns
    -------
    distances : ndarray of shape (n, C), float64
        Euclidean; infinite for a class that has no labelled point.
    floor : float
        Distances below it are set to 0, because they may be rounding errors.
    """
    points = as_matrix(X, "X")
    limit = check_max_memory(max_memory)
    codes = np.asarray(codes, dtype=np.int64)
    nearest = torch.full(
        (len(points), n_classes), torch.inf, dtype=torch.float64, device=points.device
    )
    if not len(codes):
        return nearest.cpu().numpy(), 0.0
    centers = as_matrix(labeled, "labeled").to(points.device)
    origin, floor = _origin_and_floor(points, limit)
    rows, columns = block_shape(points.shape[1], 8, limit)
    # sorted, so that the classes are runs of columns of a tile
    order = np.argsort(codes, kind="stable")
    tiles = [
        (torch.as_tensor(part, device=points.device), _runs(codes[part]))
        for part in np.array_split(order, -(-len(order) // columns))
    ]
    for at in range(0, len(points), rows):
        block = _centred(points[at : at + rows], origin)
        best = nearest[at : at + rows]
        for part, runs in tiles:
            squares = _squares(block, _centred(centers[part], origin))
            for code, start, stop in runs:
                closest = squares[:, start:stop].amin(dim=1)
                best[:, code] = torch.minimum(best[:, code], closest)
    nearest.clamp_(min=0).sqrt_()
    nearest[nearest <= floor] = 0.0
    return nearest.cpu().numpy(), floor


def neighbour_distance(
    X, *, n_neighbors=10, n_references=1000, random_state, max_memory=2**30
):
    """Return the mean distance of each point to its nearest reference points.

    The inverse of it is a measure of density: TypiClust calls it typicality.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, d)
        The points.
    n_neighbors : int, default=10
        Number of neighbours, the point itself not counted; fewer if there are fewer.
    n_references : int, default=1000
        Neighbours are looked for among this number of points drawn from `X`; all of `X`
        if it is not larger, and then nothing is drawn.
    random_state : RandomState instance
        Draws the reference points.
    max_memory : int, default=1 GiB
        Bytes that blocks of distances may take. The work is O(n·n_references·d).

    Returns
    -------
    distances : ndarray of shape (n,), float64
        Zero if there is no other point.
    floor : float
        Distances below it are set to 0, because they may be rounding errors.
    """
    points = as_matrix(X, "X")
    limit = check_max_memory(max_memory)
    n = len(points)
    origin, floor = _origin_and_floor(points, limit)
    if n > n_references:
        chosen = random_state.choice(n, n_references, replace=False)
    else:
        chosen = np.arange(n)
    n_neighbors = min(n_neighbors, len(chosen) - 1)
    if n_neighbors < 1:
        return np.zeros(n), floor
    references = torch.as_tensor(chosen, device=points.device)
    means = torch.empty(n, dtype=torch.float64, device=points.device)
    rows, columns = block_shape(points.shape[1], 8, limit)
    for at in range(0, n, rows):
        block = _centred(points[at : at + rows], origin)
        ids = torch.arange(at, at + len(block), device=points.device)
        best = None  # (rows, n_neighbors), squared
        for part in references.split(columns):
            squares = _squares(block, _centred(points[part], origin))
            squares[ids[:, None] == part[None, :]] = torch.inf  # not its own neighbour
            squares = squares if best is None else torch.cat([best, squares], dim=1)
            k = min(n_neighbors, squares.shape[1])
            best = squares.topk(k, dim=1, largest=False).values
        means[at : at + rows] = best.clamp_(min=0).sqrt_().mean(dim=1)
    means[means <= floor] = 0.0
    return means.cpu().numpy(), floor


def _runs(codes):
    """Return [(code, start, stop)] of the runs of equal numbers in sorted `codes`."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    stops = np.append(starts[1:], len(codes))
    return list(
        zip(codes[starts].tolist(), starts.tolist(), stops.tolist(), strict=True)
    )


def _origin_and_floor(points, max_memory):
    """Return the mean of the points and the distance that rounding may fake."""
    rows = max(1, min(4096, max_memory // (16 * points.shape[1])))
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    largest = 0.0
    for block in points.split(rows):
        block = block.to(torch.float64)
        total += block.sum(dim=0)
        largest = max(largest, float(torch.linalg.vector_norm(block, dim=1).max()))
    return total / max(len(points), 1), _RESOLUTION * largest


def _centred(points, origin):
    """Return ``points - origin`` in float64; far from zero the squares lose digits."""
    return points.to(torch.float64) - origin


def _squares(points, others):
    """Return squared distances (n, k) between centred points (n, d) and (k, d)."""
    squares = torch.addmm((others * others).sum(dim=1), points, others.T, alpha=-2.0)
    return squares.add_((points * points).sum(dim=1, keepdim=True))


def _in_pool(values, floor):
    """Return the logistic function of the standard score, 0.5 where all are alike."""
    if not len(values) or not np.isfinite(values).all():
        return np.full(len(values), 0.5)  # nothing labelled: all equally far
    spread = values.std()
    if spread <= floor + 1e-9 * abs(values).max():
        return np.full(len(values), 0.5)
    return expit((values - values.mean()) / spread)


def _share(same, other, floor):
    """Return same / (same + other), its limit where one or both are infinite or 0."""
    share = np.full(len(same), 0.5)
    finite = np.isfinite(same) & np.isfinite(other)
    total = np.where(finite, same + other, 0.0)
    usable = finite & (total > floor)
    share[usable] = same[usable] / total[usable]
    share[np.isinf(same) & np.isfinite(other)] = 1.0
    share[np.isfinite(same) & np.isinf(other)] = 0.0
    return share
