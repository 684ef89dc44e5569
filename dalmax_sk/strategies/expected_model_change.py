"""Expected model change: ask for the labels that would move the weights most."""

from numbers import Integral

import numpy as np

from dalmax_sk._base import progress
from dalmax_sk._base.pipelines import last_step
from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.pool.network import is_net
from dalmax_sk.strategies._gradient_lengths import ExpectedLengths
from dalmax_sk.strategies.base import ScoreStrategy

__all__ = ["ExpectedModelChange", "expected_gradient_length"]


def expected_gradient_length(
    proba, embeddings, *, bias=True, top_classes=None, max_memory=2**28
):
    r"""Return the expected gradient length of a soft-max layer, in closed form.

    The gradient of the cross-entropy with respect to the weights of the layer is
    :math:`(p - e_y) h^T`, the product of the error and the layer's input, and the error
    itself with respect to the bias, so that

    .. math:: s = \sqrt{\|h\|^2 + 1} \; \sum_y p_y \, \|p - e_y\|

    Parameters
    ----------
    proba : array-like of shape (n, C)
        Class probabilities p.
    embeddings : array-like of shape (n, d)
        Inputs h of the layer.
    bias : bool, default=True
        Whether the layer has a bias; without one the root is that of ``|h|²``.
    top_classes : int or None, default=None
        Sum over this number of the most probable classes; None means all.
    max_memory : int, default=256 MiB
        Bytes for temporary blocks.

    Returns
    -------
    ndarray of shape (n,), float64

    Examples
    --------
    >>> expected_gradient_length([[0.5, 0.5], [1.0, 0.0]], [[0.0], [3.0]])
    array([0.70710678, 0.        ])
    """
    proba, embeddings = np.asarray(proba, dtype=np.float64), np.asarray(embeddings)
    n, n_classes = proba.shape
    lengths = np.empty(n)
    rows = max(1, max_memory // (8 * (2 * embeddings.shape[1] + 6 * n_classes)))
    for start in range(0, n, rows):
        part = slice(start, start + rows)
        h = embeddings[part].astype(np.float64)
        squares = np.einsum("ij,ij->i", h, h) + float(bias)
        lengths[part] = np.sqrt(squares) * _expected_error(proba[part], top_classes)
    return lengths


def _expected_error(proba, top_classes):
    """Return ``sum_y p_y |p - e_y|`` of each row, precise where one p is nearly 1."""
    n_classes = proba.shape[1]
    most = proba.argmax(axis=1)[:, None]
    others = proba.copy()  # without the most probable class
    np.put_along_axis(others, most, 0.0, axis=1)
    doubt = others.sum(axis=1, keepdims=True)  # 1 - p_most, without its rounding
    rest = np.square(others).sum(axis=1, keepdims=True)
    peak = np.take_along_axis(proba, most, axis=1)
    # |p - e_y|² is (1 - p_y)² plus the squares of all other p
    errors = np.square(1 - proba) + (rest + peak**2 - np.square(proba))
    np.put_along_axis(errors, most, doubt**2 + rest, axis=1)
    terms = proba * np.sqrt(np.maximum(errors, 0.0))
    if top_classes is not None and top_classes < n_classes:
        first = n_classes - top_classes
        order = np.argpartition(proba, first, axis=1)[:, first:]
        terms = np.take_along_axis(terms, order, axis=1)
    return terms.sum(axis=1)


class ExpectedModelChange(ScoreStrategy):
    r"""Pick the candidates whose label is expected to change the model most.

    The change is measured by the length of the loss's gradient, what one step of
    training on the candidate would move the weights by; since the label is not known,
    the length is averaged over the labels as the model believes in them [1]_:

    .. math:: s(x) = \sum_y p(y \mid x) \, \| \nabla_\theta \, \ell(x, y) \|

    Parameters
    ----------
    layers : {"last", "all"}, default="last"
        Which weights count:

        - ``"last"``: those of the last layer. The gradient has a closed form, so that
          the score costs no more than class probabilities and embeddings;
        - ``"all"``: all weights of the net that are trained, by one backward pass for
          each candidate and class. The same as ``"last"`` for a linear model.
    top_classes : int or None, default=None
        Average over this number of the most probable classes. With many classes this
        is what makes ``"all"`` affordable. None means all classes.
    batch : {"top", "power", "softmax", "softrank"}, default="top"
        How scores become a batch: the largest ones (ties at random from the seed), or
        a stochastic batch.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0. Unused with ``batch="top"``.

    See Also
    --------
    BADGE : Batches of long and diverse gradients.
    UncertaintySampling : Leaves out how large the embedding is.

    Notes
    -----
    At a minimum of the training loss the gradient over the labelled samples vanishes,
    so that the gradient over all samples with the candidate among them is that of the
    candidate alone [1]_.

    The last layer's score is an uncertainty times the length of the embedding:

    .. math:: s = \sqrt{\|h\|^2 + 1} \; \sum_y p_y \, \|p - e_y\|

    (1 only if the layer has a bias). A model counts as linear if the soft-max of a
    linear map of its embeddings gives its probabilities; for arrays that is taken for
    granted. Nets are in evaluation mode and in full precision: batch normalisation uses
    its running averages, dropout is off.

    ``"all"`` goes through the pool in parts that keep activations and temporaries
    within ``pool.max_memory``; a part has at least one candidate. Gradients by the
    weights of linear layers, 2-D convolutions and batch normalisation are never formed:
    their lengths follow from the layers' inputs and the gradients by their outputs.
    Nets with weights in other layers are differentiated by `torch.func`, several times
    slower, and then hold three copies of their weights for each candidate of a part.

    References
    ----------
    .. [1] B. Settles, M. Craven and S. Ray, "Multiple-Instance Active Learning", NIPS
       2007. `Proceedings <https://proceedings.neurips.cc/paper/2007/hash/
       a1519de5b5d44b31a01de013b9b51a80-Abstract.html>`_
    .. [2] B. Settles, "Active Learning Literature Survey", University of
       Wisconsin-Madison, Technical Report 1648, 2009, section 3.3.

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ExpectedModelChange
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]], embeddings=[[1.0], [2.0], [2.0]]
    ... )
    >>> ExpectedModelChange().query(pool, n=2)
    array([1, 0])
    """

    names = {"expected_model_change": {}}
    category = "uncertainty"
    looks_at = "probabilities and embeddings; or all gradients of a net"
    cost = "O(n·(d + C)); all gradients: C + 1 passes of the net"

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "layers": [StrOptions({"last", "all"})],
        "top_classes": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, layers="last", top_classes=None, batch="top", beta=1.0):
        self.layers = layers
        self.top_classes = top_classes
        self.batch = batch
        self.beta = beta

    @property
    def requires(self):
        return ("proba", "embeddings") if self.layers == "last" else ()

    def _check_pool(self, pool):
        if self.layers == "all" and pool.can_give("network") is not False:
            return
        for need in ("proba", "embeddings", "head"):
            pool.check(need, owner=type(self).__name__)

    def _score(self, pool):
        if self.layers == "all" and has_network(pool):
            return _network_gradient_lengths(
                pool.network, len(pool), self.top_classes, pool.max_memory
            )
        required = ["proba", "embeddings"]
        if pool.estimator is not None:  # of arrays it is taken on trust
            required.append("head")
        pool.prepare(required, owner=type(self).__name__)
        return expected_gradient_length(
            pool.proba,
            pool.embeddings,
            bias=_has_bias(pool),
            top_classes=self.top_classes,
            max_memory=pool.max_memory,
        )


def has_network(pool):
    """Whether there is a net behind the pool; linear models and arrays have none."""
    try:
        pool.prepare(["network"])
    except MissingCapabilityError:
        return False
    return True


def _has_bias(pool):
    """Whether the last layer has a bias that training would move."""
    final = last_step(pool.estimator)
    if is_net(final):
        return final.module_.get_classifier().bias is not None
    return bool(getattr(final, "fit_intercept", True))


def _network_gradient_lengths(network, n, top_classes, max_memory):
    """Return the expected length of the gradient by all trained weights, (n,)."""
    expected_lengths = ExpectedLengths(network.module, top_classes, max_memory)
    lengths = np.empty(n)
    for start, stop, batch in network.batches():
        lengths[start:stop] = expected_lengths(batch).cpu().numpy()
        progress.report("query", stop, n)
    return lengths
