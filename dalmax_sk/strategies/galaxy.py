"""GALAXY: bisect the order of the pool between labels that differ."""

import numpy as np

from dalmax_sk._base import progress
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["GALAXY"]


class GALAXY(QueryStrategy):
    r"""Pick candidates between classes, equally many for rare and frequent ones [1]_.

    For each class all samples, labelled and not, are put in order of how much the model
    believes in this class, and neighbours are linked. Between two labelled samples of
    which one belongs to the class and the other does not, the label must change
    somewhere: the middle of the shortest such stretch is asked for, which finds the
    change in a few steps. Then the nearest candidates on both sides of the changes
    found are asked for, equally many where the class is rare as where it is not. This
    gives more balanced labels than plain uncertainty sampling when classes are very
    unequal in number.

    See Also
    --------
    UncertaintySampling : The candidates nearest to where the model itself places the
        change.

    Notes
    -----
    The graph of class k orders samples by the margin :math:`p_k - \max_j p_j`, and
    where it is 0 (the model predicts k) by :math:`p_k`; equal samples at random. The
    graph of order r links samples at most r places apart, unless both are labelled and
    only one of them is of class k. A query takes the *shortest shortest path* between a
    labelled sample of class k and one of another class and asks for its middle [2]_:

    - order 1: the middle of the shortest run of unlabelled samples between two
      neighbouring labels that differ (of two middles the one that the model believes
      in more);
    - if there is none, the smallest order at which there is a path. It then has two
      links: the candidate nearest to a place where two labels that differ lie side by
      side, which may be on either side of it.

    Ties are broken at random. Classes take turns, in random order; on the turn of a
    class without a path, for instance because nothing of it is labelled yet, a
    candidate is drawn at random.

    Two things differ from the paper. It gets the label of each pick before it makes the
    next one; here a batch is picked before any is labelled, so **each pick counts as
    labelled with the class predicted for it** until the batch ends. The next query
    works with the true labels, and a query size of 1 is the paper's algorithm with a
    fit after each label. And the order grows in the paper for the rest of a batch,
    whereas here it starts from 1 at each pick.

    There are no scores. The query leaves in ``pool.info``: ``n_bisections``,
    ``n_near_changes`` and ``n_random``, the picks of each kind.

    References
    ----------
    .. [1] J. Zhang, J. Katz-Samuels and R. Nowak, "GALAXY: Graph-based Active Learning
       at the Extreme", ICML 2022. https://arxiv.org/abs/2202.01402
    .. [2] G. Dasarathy, R. Nowak and X. Zhu, "S2: An Efficient Graph Based Active
       Learning Algorithm with Application to Nonparametric Classification", COLT 2015.
       https://arxiv.org/abs/1506.08760

    Examples
    --------
    Seven candidates between a labelled sample of each class:

    >>> import numpy as np
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import GALAXY
    >>> p = np.linspace(0.2, 0.8, 7)
    >>> pool = Pool.from_arrays(
    ...     proba=np.column_stack([1 - p, p]),
    ...     labeled_proba=[[0.95, 0.05], [0.05, 0.95]],
    ...     y_labeled=[0, 1],
    ...     random_state=0,
    ... )
    >>> GALAXY().query(pool, n=1)
    array([3])
    """

    names = {"galaxy": {}}
    category = "uncertainty"
    requires = ("proba", "labeled_proba")
    looks_at = "probabilities and labels"
    cost = "O(C·N·log N) for N = n + m"

    def _query(self, pool, n):
        rng = pool.random_state
        codes = self._codes(pool)
        proba = np.concatenate([pool.proba, pool.labeled_proba])  # (n + m, C)
        graphs = [
            _LinearGraph(_order(proba, k, rng), len(pool), codes == k)
            for k in range(proba.shape[1])
        ]
        predicted = pool.proba.argmax(axis=1)
        turns = rng.permutation(len(graphs))
        free = np.ones(len(pool), dtype=bool)
        shuffled = iter(rng.permutation(len(pool)).tolist())
        counts = {"n_bisections": 0, "n_near_changes": 0, "n_random": 0}
        picks = []
        for step in range(n):
            graph = graphs[turns[step % len(turns)]]
            pick, kind = graph.next_pick(rng)
            if pick is None:
                pick = next(i for i in shuffled if free[i])
            free[pick] = False
            picks.append(pick)
            counts[kind] += 1
            for k, other in enumerate(graphs):
                other.label(pick, predicted[pick] == k)
            if step % 100 == 99 or step == n - 1:
                progress.report("query", step + 1, n)
        pool.info.update(counts)
        return np.array(picks)

    def _codes(self, pool):
        """Return the labels (m,) as positions of classes, after a look at them."""
        codes = pool.y_labeled_codes
        if len(codes) != len(pool.labeled_proba):
            raise ValueError(
                f"GALAXY looks where labels change, but the pool has "
                f"{len(pool.labeled_proba)} rows of labeled_proba and {len(codes)} "
                "labels. Give Pool.from_arrays y_labeled as well."
            )
        return codes


class _LinearGraph:
    """The order of all samples for one class, and which of them are labelled.

    Parameters
    ----------
    order : ndarray of int of shape (n + m,)
        Samples from the most to the least believed in; candidates are 0 to n - 1, the
        labelled samples follow.
    n_candidates : int
    is_class : ndarray of bool of shape (m,)
        Whether each labelled sample is of the class.
    """

    def __init__(self, order, n_candidates, is_class):
        self.order = order
        place = np.empty_like(order)
        place[order] = np.arange(len(order), dtype=order.dtype)
        self.place = place[:n_candidates]
        labeled = place[n_candidates:]
        by_place = np.argsort(labeled)
        self.places = labeled[by_place].astype(np.int64)  # ascending
        self.labels = is_class[by_place]
        self._fresh = []  # labels to come: (place, label)

    def label(self, candidate, is_class):
        """Note a label; it is worked in at the next look."""
        self._fresh.append((self.place[candidate], is_class))

    def next_pick(self, rng):
        """Return the candidate that bisects, or None, and the kind of pick."""
        self._work_in()
        places, labels = self.places, self.labels
        gaps = np.diff(places) - 1  # unlabelled samples between neighbouring labels
        differ = labels[1:] != labels[:-1]
        lengths = np.where(differ & (gaps > 0), gaps, len(self.order))
        if len(lengths) and lengths.min() < len(self.order):
            run = rng.choice(np.flatnonzero(lengths == lengths.min()))
            middle = (places[run] + places[run + 1]) // 2
            return int(self.order[middle]), "n_bisections"
        near = self._near_changes(gaps, differ)
        if len(near):
            return int(self.order[rng.choice(near)]), "n_near_changes"
        return None, "n_random"

    def _near_changes(self, gaps, differ):
        """Return the unlabelled places nearest to a change between neighbours."""
        at = np.flatnonzero(differ)  # the change is between labels at and at + 1
        if not len(at):
            return at
        index = np.arange(len(self.places))
        starts = np.concatenate([[True], gaps > 0])
        ends = np.concatenate([gaps > 0, [True]])
        # first and last label of the run of neighbouring labels that each is part of
        first = np.maximum.accumulate(np.where(starts, index, 0))
        last = np.minimum.accumulate(np.where(ends, index, len(index))[::-1])[::-1]
        left = self.places[first[at]] - 1
        right = self.places[last[at]] + 1
        # the order of graph that links a place with both labels of the change
        left_order = self.places[at + 1] - left
        right_order = right - self.places[at]
        found = np.concatenate([left, right])
        orders = np.concatenate([left_order, right_order])
        inside = (found >= 0) & (found < len(self.order))
        found, orders = found[inside], orders[inside]
        return np.unique(found[orders == orders.min()]) if len(found) else found

    def _work_in(self):
        if not self._fresh:
            return
        self._fresh.sort()
        places, labels = zip(*self._fresh, strict=True)
        at = np.searchsorted(self.places, places)
        self.places = np.insert(self.places, at, places)
        self.labels = np.insert(self.labels, at, labels)
        self._fresh = []


def _order(proba, k, rng):
    """Return samples in order of belief in class k, the strongest first, int32."""
    largest = proba.max(axis=1)
    shuffle = rng.permutation(len(proba))
    # the last key counts first; a stable sort leaves equal samples shuffled
    keys = (-largest[shuffle], largest[shuffle] - proba[shuffle, k])
    return shuffle[np.lexsort(keys)].astype(np.int32)
