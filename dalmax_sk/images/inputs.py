"""Inputs of a net: paths, image arrays or a table, checked and made a source."""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from dalmax_sk.images.decode import ImageMode, check_image_size, common_image_size
from dalmax_sk.images.forms import as_rows, is_object_rows
from dalmax_sk.images.paths import as_paths, check_images, forget_features
from dalmax_sk.images.source import FileSource, Source, TensorSource, as_tensor

__all__ = ["InputSpec", "channel_axis_of", "read_inputs"]

_CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True)
class InputSpec:
    """Form of one sample as the net sees it.

    Attributes
    ----------
    kind : {"image", "table"}
    shape : tuple of int
        (channels, height, width) of an image as the net sees it, or (n_columns,).
    dtype : {"uint8", "float"}
        uint8 counts 0..255; floats are taken as they are.
    resize : bool
        Whether images of another height and width are resized to ``shape``.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    resize: bool = False

    def check(self) -> None:
        """Raise ValueError if this is no form that :func:`read_inputs` makes."""
        n_axes = {"image": 3, "table": 1}.get(self.kind)
        sides_are_whole = all(
            type(side) is int and 0 < side < 2**31 for side in self.shape
        )
        if (
            len(self.shape) != n_axes
            or not sides_are_whole
            or self.dtype not in ("uint8", "float")
            or type(self.resize) is not bool
        ):
            raise ValueError(f"{self} is no form of inputs")


def channel_axis_of(shape: tuple[int, ...], channel_axis: int | None = None) -> int:
    """Which axis of a 4-D array of shape ``shape`` holds the channels: 1 or 3.

    The axis of size 1, 3 or 4 that can only be the channels is the channels; where both
    or neither could be, ``channel_axis`` (1, 3 or -1) has to say.

    Examples
    --------
    >>> channel_axis_of((100, 32, 32, 3)), channel_axis_of((100, 1, 28, 28))
    (3, 1)
    """
    if channel_axis is not None:
        return channel_axis % 4
    candidates = [axis for axis in (1, 3) if shape[axis] in _CHANNEL_COUNTS]
    if len(candidates) == 1:
        return candidates[0]
    reason = (
        "both axis 1 and axis 3 could be the channels"
        if candidates
        else "neither axis 1 nor axis 3 has a size of 1, 3 or 4"
    )
    raise ValueError(
        f"X has shape {tuple(shape)}: {reason}. Pass channel_axis=1 for (n, channels, "
        "height, width) or channel_axis=-1 for (n, height, width, channels)."
    )


def read_inputs(
    estimator: Any,
    X: Any,
    y: Any = "no_validation",
    *,
    spec: InputSpec | None = None,
) -> tuple[Source, Any, InputSpec]:
    """Validate X and make a source of batches of it.

    Parameters
    ----------
    estimator : CNNClassifier or ImageEmbedder
        Its ``image_size``, ``image_mode`` and ``channel_axis`` are read.
    X : array-like
        Paths, images or a table.
    y : array-like of shape (n,), optional
    spec : InputSpec or None
        Form that the net was fitted on; None in ``fit``.

    Returns
    -------
    source : TensorSource or FileSource
    y : ndarray of shape (n,)
        As it was given, if it was not.
    spec : InputSpec
        That of X if it was None.
    """
    X = as_rows(X, type(estimator).__name__)
    paths = as_paths(X)
    if paths is not None:
        paths, y = _checked(estimator, X, y, reset=spec is None)
        files, spec = _read_paths(estimator, paths, spec)
        return files, y, spec
    if is_object_rows(X):
        raise TypeError(
            f"X holds rows of the type {type(X[0]).__name__}; "
            f"{type(estimator).__name__} takes image paths, images and tables of "
            "numbers."
        )
    if _n_axes(X) > 2:
        array, y = _check_image_array(estimator, X, y, reset=spec is None)
        images, spec = _read_images(estimator, array, spec)
        return images, y, spec
    if spec is not None and spec.kind == "image":
        _refuse(estimator, f"a table or vector of shape {np.shape(X)}", spec)
    table, y = _checked(estimator, X, y, reset=spec is None, dtype=np.float64)
    source = TensorSource(as_tensor(table))
    return source, y, spec or InputSpec("table", table.shape[1:], "float")


def _checked(estimator: Any, X: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """X and y as `check_images` gives them, also without y."""
    checked = check_images(estimator, X, y, **options)
    return checked if isinstance(checked, tuple) else (checked, y)


def _n_axes(X: Any) -> int:
    # np.ndim would go through __array_function__, which not everything supports.
    return X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim


def _read_paths(
    estimator: Any, paths: NDArray[np.object_], spec: InputSpec | None
) -> tuple[FileSource, InputSpec]:
    if spec is None:
        size = check_image_size(estimator.image_size) or common_image_size(paths)
        n_channels = 1 if estimator.image_mode == "grey" else 3
        spec = InputSpec("image", (n_channels, *size), "uint8", resize=True)
    elif spec.kind != "image" or spec.dtype != "uint8" or spec.shape[0] not in (1, 3):
        _refuse(estimator, "paths of image files", spec)
    n_channels, height, width = spec.shape
    mode: ImageMode = "grey" if n_channels == 1 else "rgb"
    return FileSource(paths, (height, width), mode), spec


def _check_image_array(
    estimator: Any, X: Any, y: Any, *, reset: bool
) -> tuple[NDArray[Any], Any]:
    """Validate a 3-D or 4-D array; (array, y)."""
    if reset:
        forget_features(estimator)
        array, y = _checked(estimator, X, y, reset=True)
        # It counted axis 1, which is the height or the channels, never features.
        forget_features(estimator)
    else:
        array = check_array(X, allow_nd=True, estimator=estimator, input_name="X")
    if array.ndim > 4:
        raise ValueError(
            f"X has {array.ndim} axes, shape {array.shape}; expected (n, height, "
            "width) or (n, height, width, channels) or (n, channels, height, width)."
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        low, high = array.min(), array.max()
        if low < 0 or high > 255:
            raise ValueError(
                f"X holds integers from {low} to {high}; integer images must lie in "
                "0..255. Convert other scales to float."
            )
        array = array.astype(np.uint8)
    return array, y


def _read_images(
    estimator: Any, array: NDArray[Any], spec: InputSpec | None
) -> tuple[TensorSource, InputSpec]:
    if array.ndim == 3:
        channel_axis, n_channels, size = None, 1, array.shape[1:]
    else:
        channel_axis = channel_axis_of(array.shape, estimator.channel_axis)
        n_channels = array.shape[channel_axis]
        size = array.shape[1:3] if channel_axis == 3 else array.shape[2:]
    dtype = "uint8" if array.dtype == np.uint8 else "float"
    given = f"{dtype} images of {n_channels} channel(s), {size[0]}×{size[1]} pixels"
    if spec is None:
        wanted = check_image_size(estimator.image_size)
        shape = (n_channels, *(wanted or size))
        spec = InputSpec("image", shape, dtype, resize=wanted is not None)
    elif (
        spec.kind != "image"
        or spec.dtype != dtype
        or spec.shape[0] != n_channels
        or (spec.shape[1:] != size and not spec.resize)
    ):
        _refuse(estimator, given, spec)
    return TensorSource(as_tensor(array), channel_axis), spec


def _refuse(estimator: Any, given: str, spec: InputSpec) -> NoReturn:
    if spec.kind == "table":
        fitted = f"a table with {spec.shape[0]} columns"
    else:
        channels, height, width = spec.shape
        fitted = (
            f"{spec.dtype} images of {channels} channel(s), {height}×{width} pixels"
        )
    remedy = (
        " Images of any size are accepted when image_size= is given."
        if spec.kind == "image" and not spec.resize
        else ""
    )
    raise ValueError(
        f"X holds {given}, but this {type(estimator).__name__} was fitted on {fitted}. "
        f"Give the same kind.{remedy}"
    )
