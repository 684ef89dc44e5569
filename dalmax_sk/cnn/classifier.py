"""CNNClassifier: a neural network that behaves like any scikit-learn classifier."""

import os
from numbers import Integral, Real

import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from dalmax_sk._base.processes import process_share, shared_outputs
from dalmax_sk._base.sklearn_compat import Interval, Options, StrOptions, fit_context
from dalmax_sk.cnn.augment import AUGMENTATIONS
from dalmax_sk.cnn.fitting import (
    OPTIMIZERS,
    SCHEDULES,
    restore_net,
    train_net,
    warm_start_state,
)
from dalmax_sk.cnn.frozen import FeatureSource, embedding_fingerprint, iter_features
from dalmax_sk.cnn.labels import encode_labels
from dalmax_sk.cnn.skorch_net import epoch_records
from dalmax_sk.images.inputs import read_inputs
from dalmax_sk.images.source import sequential_batches
from dalmax_sk.nets.inference import (
    collect,
    fitting_batch_size,
    inference_batch_size,
    iter_outputs,
    outputs_of,
)

__all__ = ["CNNClassifier"]


class CNNClassifier(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """Neural network for images and tables.

    The net is built, trained and kept inside; skorch conducts the training. X may be

    - paths of image files, shape (n,): see :func:`~dalmax_sk.images.load_image_paths`;
    - images, shape (n, H, W), (n, H, W, channels) or (n, channels, H, W): uint8 in
      0..255 or float; the axis of size 1, 3 or 4 that can only be the channels is the
      channels;
    - a table, shape (n, n_features): a perceptron takes the place of the convolutions.

    Parameters
    ----------
    architecture : str, nn.Module or callable, default="small_cnn"
        The net: ``"small_cnn"``, ``"cifar_resnet18"``, ``"mlp"`` or one of
        torchvision's classification models such as ``"vgg16"`` or ``"resnet50"``
        (:func:`dalmax_sk.nets.net_names` lists them); a module, which is copied and
        never changed; or a callable ``f(input_shape, n_classes)`` that returns one. On
        tables the default means ``"mlp"``.
    weights : str, path-like or None, default=None
        Weights to start from: ``"imagenet"`` or torchvision's name of weights
        (downloaded on first use), or the path of a ``.safetensors``, ``.pth`` or
        ``.pt`` state dict. The last layer starts afresh where its shape differs.
    normalize : {"auto", "train", "imagenet"}, default="auto"
        Mean and standard deviation that inputs are standardised by: those of the
        training data, or of ImageNet (RGB in [0, 1]). ``"auto"`` is ``"imagenet"`` for
        ``weights`` by name, else ``"train"``; with ``freeze``, those in the file of
        ``weights`` if :func:`~dalmax_sk.cnn.save_model` wrote it, else
        ``"imagenet"`` for images.
    image_size : int, (int, int) or None, default=None
        Height and width that images are resized to. None takes images as they are;
        those of one fit must then share one size.
    image_mode : {"rgb", "grey"}, default="rgb"
        How image files are decoded. Only for paths.
    channel_axis : {1, 3, -1} or None, default=None
        Where the channels of a 4-D array are, if its shape leaves a doubt.
    classes : array-like or None, default=None
        All classes, when y may lack some of them; absent ones keep their column in
        ``predict_proba``. None takes the classes in y.
    max_epochs : int, default=20
    lr : float, default=1e-3
        Learning rate.
    batch_size : int, default=64
        Largest number of samples in a batch of training; the batches of an epoch are of
        nearly equal size.
    optimizer : {"adam", "adamw", "sgd"} or torch.optim.Optimizer class, default="adam"
        ``"sgd"`` has Nesterov momentum 0.9.
    lr_schedule : {"constant", "cosine", "one_cycle"} or callable, default="cosine"
        Course of the learning rate, batch by batch: constant; falling to 0 on a half
        cosine [1]_; rising for 30 % of the training, then falling [2]_; or a function
        of the share of training done, in [0, 1), that returns a factor. With few
        labels a constant rate ends on a noisy last epoch.
    weight_decay : float, default=0.0
    dropout : float or None, default=None
        Dropout rate before the last layer; None is the architecture's own (0.25 for
        ``"small_cnn"``, 0.1 for ``"mlp"``, 0 for ``"cifar_resnet18"``).
    freeze : str or None, default=None
        Which layers keep the weights they start from: ``"body"``, all before the head;
        or the name of a layer such as ``"layer3"`` of torchvision's ResNets, which is
        frozen with all before it. None trains all layers. See Notes.
    augment : bool, {"flip_crop", "flip", "crop"} or callable, default=False
        Random changes to the images of each batch in training: True and
        ``"flip_crop"`` shift and mirror; a callable takes and returns a tensor of shape
        (b, channels, H, W) on the device, uint8 or float as in X.
    early_stopping : bool, default=False
        Set ``validation_fraction`` of the samples aside (stratified), stop when the
        loss on them has not fallen for ``patience`` epochs, and return to the best
        epoch's weights.
    validation_fraction : float, default=0.1
        Share of samples for ``early_stopping``, in (0, 1).
    patience : int, default=5
        Epochs without improvement for ``early_stopping``.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss; ``"balanced"`` is inversely proportional to
        their frequency in y.
    device : str, default="auto"
        ``"auto"`` is CUDA where there is one, else the CPU; or ``"cpu"``, ``"cuda"``,
        ``"cuda:1"`` …; or ``"multi"``: several GPUs through Hugging Face Accelerate,
        one process each, in a script started by ``torchrun`` or ``accelerate launch``.
        The net is that of one device up to rounding; inside the rounds of
        :class:`~dalmax_sk.ActiveLearningClassifier` passes over data are shared too.
    amp : bool, default=False
        Mixed precision: bfloat16 where it is safe. Not used on tables.
    compile : bool, default=False
        Compile the net by ``torch.compile``.
    warm_start : bool, default=False
        Whether a second ``fit`` goes on from the present weights. Classes and the form
        of X must then stay the same; the normalisation stays as well. The optimizer,
        the learning rate's course and the epochs start afresh.
    shrink_perturb : (float, float) or None, default=None
        ``(shrink, noise)``, in [0, 1] and [0, inf), for fits that go on from present
        weights (``warm_start=True``, ``refit="continue"``): each parameter starts from
        ``shrink`` times its present value plus ``noise`` times its value in a fresh
        random net, which wins back the accuracy that a plain warm start loses [3]_.
        ``(1, 0)`` is a plain warm start, ``(0, 1)`` a fresh net, ``(0.4, 0.1)`` what
        the method's authors begin with. See Notes.
    callbacks : list of skorch callbacks or None, default=None
        Additional callbacks; they are copied for each fit.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, order of the samples, augmentation and dropout. The
        same int gives bitwise the same net on one CPU with the same number of threads;
        kernels on a GPU may differ in the last digits. Global random states are left
        alone.
    verbose : int, default=0
        1 logs every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    net_ : skorch.NeuralNetClassifier
        The skorch net that trained, with the module, its optimizer and history.
    module_ : nn.Module
        The trained net behind its normalisation. Takes raw batches: uint8, or float in
        the units of float training images (uint8's divided by 255), shape (b, channels,
        H, W) or (b, n_features). Has ``forward_features``, ``forward_head`` and
        ``get_classifier``.
    history_ : list of dict
        For each epoch of the last fit: ``epoch``, ``train_loss``, ``train_accuracy``,
        ``valid_loss`` and ``valid_accuracy`` (with ``early_stopping``), ``lr`` and
        ``seconds``. Training figures are those seen during the epoch, with dropout and
        augmentation.
    n_iter_ : int
        Number of epochs of the last fit.
    n_fits_ : int
        Number of fits that the present weights went through: 1 without ``warm_start``.
    image_size_ : (int, int) or None
        Height and width of images as the net sees them; None for tables.
    input_spec_ : InputSpec
        Form of the training data: kind, shape, dtype.
    device_ : torch.device
        Where the net is.
    embedding_fingerprint_ : str or None
        Equal after two fits if every sample has the same embedding in both, as with
        ``freeze="body"`` where nothing but dropout stands between the body and the last
        layer. None means that embeddings may differ.
    n_features_in_ : int
        Number of columns. Only for tables.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if X is a table with names that are all strings.

    See Also
    --------
    dalmax_sk.cnn.save_model : Write a fitted model to files without a pickle.

    Notes
    -----
    Images become one uint8 or float tensor, on the GPU if it fits there; batches are
    slices of it. Images from files that exceed the budget of the image cache
    (:func:`~dalmax_sk.images.set_image_cache_size`) are decoded batch by batch beside
    the training, with the same result.

    Shrink and perturb [3]_ is ``θ ← λθ + p``. The paper draws the noise ``p`` from one
    normal distribution for all parameters; this follows the authors' program, where it
    is a fresh net's parameters times a factor, so that it suits layers of any width.
    All parameters that are trained are changed alike: weights, biases, scales and
    shifts of batch normalisation. Batch normalisation's running statistics start
    afresh. Unchanged are the mean and standard deviation that inputs are standardised
    by, and frozen layers with all that is theirs. Noise, order of the samples and
    dropout of such a fit are drawn from a seed that follows from ``random_state`` and
    ``n_fits_``: they differ from fit to fit and are the same when a run is repeated.

    Frozen layers (``freeze``) run in evaluation mode: their dropout is off and their
    batch normalisation keeps its statistics. What they give for an image is computed
    once and kept in memory for all epochs, fits and passes over a pool, up to the
    budget of :func:`dalmax_sk.features.set_feature_store_size`; the rest of the net is
    trained on it. Another fit finds it again if the frozen weights and the
    normalisation are the same: with ``weights``, or a module as ``architecture``, but
    not with ``normalize="train"``, nor with random weights, which are others in each
    round of active learning. With ``augment`` the frozen layers run on every batch of
    the training, because a changed image has other features; a pass over a pool still
    uses what is kept.

    References
    ----------
    .. [1] Loshchilov, I., & Hutter, F. (2017). SGDR: stochastic gradient descent with
       warm restarts. ICLR. https://arxiv.org/abs/1608.03983
    .. [2] Smith, L. N., & Topin, N. (2019). Super-convergence: very fast training of
       neural networks using large learning rates. https://doi.org/10.1117/12.2520589
    .. [3] Ash, J. T., & Adams, R. P. (2020). On warm-starting neural network training.
       NeurIPS. https://arxiv.org/abs/1910.08475

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from dalmax_sk.cnn import CNNClassifier
    >>> digits = load_digits(n_class=4)
    >>> clf = CNNClassifier(max_epochs=3, random_state=0, device="cpu")
    >>> clf = clf.fit(digits.images[:400], digits.target[:400])
    >>> clf.score(digits.images[400:], digits.target[400:]) > 0.8
    True
    >>> clf.transform(digits.images[:2]).shape
    (2, 128)
    """

    _parameter_constraints = {
        "architecture": [str, callable],
        "weights": [str, os.PathLike, None],
        "normalize": [StrOptions({"auto", "train", "imagenet"})],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "image_mode": [StrOptions({"rgb", "grey"})],
        "channel_axis": [Options(Integral, {1, 3, -1}), None],
        "classes": ["array-like", None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr_schedule": [StrOptions({"constant", *SCHEDULES}), callable],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), None],
        "freeze": [str, None],
        "augment": ["boolean", StrOptions(set(AUGMENTATIONS)), callable],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "device": [str, torch.device],
        "amp": ["boolean"],
        "compile": ["boolean"],
        "warm_start": ["boolean"],
        "shrink_perturb": [tuple, list, None],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        architecture="small_cnn",
        *,
        weights=None,
        normalize="auto",
        image_size=None,
        image_mode="rgb",
        channel_axis=None,
        classes=None,
        max_epochs=20,
        lr=1e-3,
        batch_size=64,
        optimizer="adam",
        lr_schedule="cosine",
        weight_decay=0.0,
        dropout=None,
        freeze=None,
        augment=False,
        early_stopping=False,
        validation_fraction=0.1,
        patience=5,
        class_weight=None,
        device="auto",
        amp=False,
        compile=False,
        warm_start=False,
        shrink_perturb=None,
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
        self.architecture = architecture
        self.weights = weights
        self.normalize = normalize
        self.image_size = image_size
        self.image_mode = image_mode
        self.channel_axis = channel_axis
        self.classes = classes
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.freeze = freeze
        self.augment = augment
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.device = device
        self.amp = amp
        self.compile = compile
        self.warm_start = warm_start
        self.shrink_perturb = shrink_perturb
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @property
    def module_(self):
        # A property, so that skorch alone decides how it is pickled.
        return self.net_.module_

    @property
    def device_(self):
        return next(self.net_.module_.buffers()).device

    @property
    def image_size_(self):
        spec = self.input_spec_
        return spec.shape[1:] if spec.kind == "image" else None

    @property
    def embedding_fingerprint_(self):
        return embedding_fingerprint(self.net_.module_, self.net_.amp)

    @property
    def _n_features_out(self):
        return self.module_.num_features

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train the net.

        Parameters
        ----------
        X : array-like
            Paths (n,), images (n, H, W), (n, H, W, channels) or (n, channels, H, W), or
            a table (n, n_features).
        y : array-like of shape (n,)
            Labels: strings, integers, booleans, or floats that are whole numbers.

        Returns
        -------
        self : CNNClassifier

        Raises
        ------
        ValueError
            If X or y is not as described, y holds a label that is not in ``classes``,
            the architecture does not fit the data, or the loss becomes NaN.
        dalmax_sk.images.ImageReadError
            If image files cannot be read; all of them together.
        """
        source, y, spec = read_inputs(self, X, y)
        y_index, classes = encode_labels(y, self.classes, type(self).__name__)
        start_state = warm_start_state(self, spec, classes)
        n_fits = 1 if start_state is None else self.n_fits_ + 1
        net = train_net(self, source, y_index, spec, classes, start_state)
        return self._set_fitted(net, classes, spec, epoch_records(net.history), n_fits)

    def predict_proba(self, X):
        """Class probabilities.

        Parameters
        ----------
        X : array-like
            As in `fit`, with the same channels; height and width may differ for paths,
            and for arrays if ``image_size`` was given.

        Returns
        -------
        proba : ndarray of shape (n, n_classes), float64
            Columns in the order of ``classes_``; every row sums to 1.
        """
        return self._evaluate(X, embeddings=False)[0]

    def predict(self, X):
        """Most probable labels.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`.

        Returns
        -------
        y : ndarray of shape (n,)
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def transform(self, X):
        """Embeddings: what the last linear layer sees, without dropout.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`.

        Returns
        -------
        embeddings : ndarray of shape (n, d)
            float32 for images, float64 for tables.

        Raises
        ------
        dalmax_sk.nets.NoEmbeddingError
            If the architecture has no linear layer.
        """
        return self._evaluate(X, embeddings=True)[1]

    def predict_proba_and_embeddings(self, X):
        """Class probabilities and embeddings from one pass over X.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`.

        Returns
        -------
        proba : ndarray of shape (n, n_classes), float64
        embeddings : ndarray of shape (n, d)
            float32 for images, float64 for tables.
        """
        return self._evaluate(X, embeddings=True)

    def iter_predictions(self, X, embeddings=True):
        """Class probabilities and embeddings, some rows at a time.

        What `predict_proba_and_embeddings` returns, for data whose results are not to
        be in memory all at once.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`; checked at the call.
        embeddings : bool, default=True
            Whether the embeddings are wanted as well.

        Yields
        ------
        start, stop : int
            Which rows of X these are; in order, without gaps.
        proba : ndarray of shape (stop - start, n_classes), float64
        embeddings : ndarray of shape (stop - start, d) or None
            float32 for images, float64 for tables.

        Examples
        --------
        >>> import numpy as np
        >>> from dalmax_sk import CNNClassifier
        >>> X, y = np.eye(4), [0, 1, 0, 1]
        >>> clf = CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, y)
        >>> for start, stop, proba, embeddings in clf.iter_predictions(X):
        ...     print(start, stop, proba.shape, embeddings.shape)
        0 4 (4, 2) (4, 64)
        """
        check_is_fitted(self)
        source, _, _ = read_inputs(self, X, spec=self.input_spec_)
        return self._outputs(source, embeddings)

    def iter_batches(self, X, batch_size=None):
        """Go through X in batches that ``module_`` takes.

        For whatever needs more than outputs, gradients with respect to the inputs for
        instance.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`.
        batch_size : int or None, default=None
            None chooses by the size of a sample.

        Yields
        ------
        start, stop : int
            Which rows of X these are.
        batch : Tensor of shape (b, channels, H, W) or (b, n_features)
            On ``device_``; uint8 or float as in X.
        """
        check_is_fitted(self)
        source, _, _ = read_inputs(self, X, spec=self.input_spec_)
        yield from self._batches(source, batch_size)

    def _batches(self, source, batch_size=None, parts=None):
        if batch_size is None:
            batch_size = inference_batch_size(source.values_per_sample, self.device_)
        return sequential_batches(source, batch_size, self.device_, parts)

    def _feature_batches(self, source, batch_size, parts=None):
        """Yield (start, stop, features of the frozen layers on the device)."""
        found = iter_features(
            self.module_, source, self.device_, amp=self.net_.amp, parts=parts
        )
        for start, _, features in found:
            inner = FeatureSource.of(features, self.device_)
            for a, b, batch in sequential_batches(inner, batch_size, self.device_):
                yield start + a, start + b, batch

    def _outputs(self, source, embeddings):
        """Yield (start, stop, proba, embeddings), of other processes' rows as well."""
        options = {"amp": self.net_.amp, "embeddings": embeddings}
        make_batches, seen = self._batches, source
        if self.module_.frozen is not None:
            options["from_features"] = True
            make_batches = self._feature_batches
            seen = FeatureSource.example(self.module_)
        forward = outputs_of(self.module_, **options)
        size = fitting_batch_size(forward, seen, self.device_, amp=self.net_.amp)

        def run(parts, batch_size):
            return iter_outputs(
                self.module_,
                make_batches(source, batch_size, parts),
                n_samples=len(source),
                **options,
            )

        if self.device != "multi" or process_share()[1] == 1:
            return run(None, size)
        return shared_outputs(len(source), size, run)

    def _evaluate(self, X, embeddings):
        check_is_fitted(self)
        source, _, _ = read_inputs(self, X, spec=self.input_spec_)
        return collect(self._outputs(source, embeddings), len(source))

    def _restore(self, state, *, classes, spec, history):
        """Become fitted with the weights ``state`` (for `load_model`)."""
        net = restore_net(self, state, spec, len(classes))
        return self._set_fitted(net, classes, spec, history)

    def _set_fitted(self, net, classes, spec, history, n_fits=1):
        self.net_ = net
        self.classes_ = classes
        self.input_spec_ = spec
        self.history_ = history
        self.n_iter_ = len(history)
        self.n_fits_ = n_fits
        return self
