"""The net behind a pool, for strategies that need gradients or its inner parts."""

import numpy as np

__all__ = ["Network", "is_net"]


def is_net(final):
    """Tell whether a fitted classifier is a net as `Network` takes it.

    A net of another make has a ``module_`` of which nothing is known.
    """
    return hasattr(final, "module_") and hasattr(final, "iter_batches")


class Network:
    """A trained net in evaluation mode, and the data of one round in its batches.

    Strategies get it as ``pool.network``. They may run it in any way, but must leave
    its weights and buffers as they were.

    Parameters
    ----------
    classifier : CNNClassifier
        Fitted.
    candidates, labeled : callable
        Return the candidates' and the labelled samples' rows in the form that
        `classifier` takes.
    columns : ndarray of int
        Which of the pool's classes the net's outputs stand for.

    Attributes
    ----------
    module : InputClassifier
        Takes raw batches; see `dalmax_sk.nets.classifier`.
    device : torch.device
    """

    def __init__(self, classifier, candidates, labeled, columns):
        self._classifier = classifier
        self._rows = {False: candidates, True: labeled}
        self.module = classifier.module_.eval()
        self.device = classifier.device_
        self.columns = np.asarray(columns)

    @property
    def architecture(self):
        """The classifier's parameter of that name, for messages."""
        return self._classifier.architecture

    def batches(self, labeled=False, batch_size=None):
        """Go through the candidates, or the labelled samples, in batches.

        Parameters
        ----------
        labeled : bool, default=False
            Whether the labelled samples are meant.
        batch_size : int or None, default=None
            None chooses by the size of a sample.

        Yields
        ------
        start, stop : int
            Which positions of the pool (or labelled samples) these are.
        batch : Tensor of shape (b, channels, H, W) or (b, n_features)
            On ``device``; uint8 or float, as `module` takes it.
        """
        return self._classifier.iter_batches(self._rows[labeled](), batch_size)
