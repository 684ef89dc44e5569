"""Fitted models as files: tensors in safetensors, everything else in JSON.

Nothing in the two files can run code, and neither is a pickle. ``<stem>.safetensors``
holds the tensors of ``module_``; ``<stem>.json`` holds the parameters, the class list,
the form of the inputs, the history and the versions that wrote them.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from sklearn.utils.validation import check_is_fitted

from dalmax_sk._base.files import open_regular, replacing, write_text
from dalmax_sk._base.json_files import MALFORMED, read_json, sealed, unsealed
from dalmax_sk._version import __version__
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.images.inputs import InputSpec

__all__ = ["FORMAT_VERSION", "ModelFileError", "load_model", "save_model"]

logger = logging.getLogger("dalmax_sk")

#: Number of the file format; a model of another number is refused.
FORMAT_VERSION = 1

_FORMAT = "dalmax_sk model"
_SUFFIXES = (".safetensors", ".json")
_PACKAGES = ("numpy", "scikit-learn", "skorch", "torch", "torchvision")


class ModelFileError(ValueError):
    """A file is not a saved model, or not one that this version can read."""


def save_model(
    estimator: CNNClassifier, path: str | os.PathLike[str]
) -> tuple[Path, Path]:
    """Write a fitted classifier to ``<path>.safetensors`` and ``<path>.json``.

    Each file is written under another name first and then moved into place, so that
    an interrupted save leaves no half-written file. Files of these names are replaced.

    Parameters
    ----------
    estimator : CNNClassifier
        Fitted. Of an ActiveLearningClassifier, save the ``estimator_``.
    path : str or path-like
        Where to, without a suffix (one of the two suffixes is taken off). The folder
        must exist.

    Returns
    -------
    tensors_path, json_path : pathlib.Path

    Raises
    ------
    TypeError
        If ``estimator`` is no CNNClassifier, or its classes are neither strings,
        numbers nor booleans.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    FileNotFoundError
        If the folder does not exist.

    See Also
    --------
    load_model : Read the model back.

    Notes
    -----
    Parameters that are code or have a state (an ``architecture`` or ``augment`` given
    as a callable, ``callbacks``, a RandomState) are saved by their name only.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from dalmax_sk import CNNClassifier
    >>> from dalmax_sk.cnn import load_model, save_model
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_model(clf, Path(folder) / "iris")
    ...     again = load_model(Path(folder) / "iris", device="cpu")
    >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    if not isinstance(estimator, CNNClassifier):
        hint = (
            " Save its estimator_ instead." if hasattr(estimator, "estimator_") else ""
        )
        raise TypeError(
            "save_model writes a CNNClassifier, got a "
            f"{type(estimator).__name__}.{hint}"
        )
    check_is_fitted(estimator)
    tensors_path, json_path = _model_paths(path)
    if not tensors_path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {tensors_path.parent} does not exist; make it first."
        )
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in estimator.module_.state_dict().items()
    }
    tensors = write_tensors(state, metadata={"format": _FORMAT})
    description = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "class": "dalmax_sk.cnn.CNNClassifier",  # where a room offers it
        "params": {
            name: _encode(value)
            for name, value in estimator.get_params(deep=False).items()
        },
        "classes": _encode_labels(estimator.classes_),
        "input": dataclasses.asdict(estimator.input_spec_),
        "fitted": {
            name: np.asarray(getattr(estimator, name)).tolist()
            for name in ("n_features_in_", "feature_names_in_", "n_fits_")
            if hasattr(estimator, name)
        },
        "history": estimator.history_,
        "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
        "versions": {
            "dalmax_sk": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }
    text = json.dumps(sealed(description), indent=2, ensure_ascii=False) + "\n"
    with replacing(tensors_path) as part:
        part.write_bytes(tensors)
    write_text(json_path, text)
    return tensors_path, json_path


def load_model(
    path: str | os.PathLike[str],
    *,
    architecture: torch.nn.Module | Callable[..., torch.nn.Module] | None = None,
    device: str = "auto",
) -> CNNClassifier:
    """Read a classifier that :func:`save_model` wrote.

    Parameters
    ----------
    path : str or path-like
        The path given to `save_model`, or either of the two files.
    architecture : nn.Module, callable or None, default=None
        Needed if the model was built from a module or callable, which are not saved:
        the same one again.
    device : str, default="auto"
        Where to put the model; it becomes the parameter ``device``.

    Returns
    -------
    CNNClassifier
        Fitted; on the same device it predicts exactly what the saved one predicted.

    Raises
    ------
    FileNotFoundError
        If one of the two files is missing.
    ModelFileError
        If the JSON is not a saved model, has another format number, or the tensors are
        not the ones it was saved with or do not fit the architecture.

    See Also
    --------
    save_model : Write a fitted classifier.
    """
    tensors_path, json_path = _model_paths(path)
    missing = [file for file in (tensors_path, json_path) if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"A model consists of {tensors_path.name} and {json_path.name}; missing: "
            f"{', '.join(map(str, missing))}."
        )
    description = _read_description(json_path)
    state = _read_state(tensors_path, json_path, description["tensors_sha256"])
    with _reading(json_path, "params"):
        params = _decode_params(description["params"], json_path, architecture)
    with _reading(json_path, "classes"):
        classes = _decode_labels(description["classes"])
    with _reading(json_path, "input"):
        spec = InputSpec(**_as_tuples(description["input"]))
        spec.check()
    with _reading(json_path, "history"):
        history = [dict(epoch) for epoch in description["history"]]
    estimator = CNNClassifier(**{**params, "device": device})
    try:
        with _reading(json_path, "params"):
            estimator._restore(state, classes=classes, spec=spec, history=history)
    except RuntimeError as error:
        # torch names every tensor that is missing, superfluous or of another shape.
        raise ModelFileError(
            f"{tensors_path} does not fit the architecture that {json_path} describes: "
            f"{error}"
        ) from error
    with _reading(json_path, "fitted"):
        fitted = dict(description["fitted"])
        if "n_features_in_" in fitted:
            estimator.n_features_in_ = int(fitted["n_features_in_"])
        if "feature_names_in_" in fitted:
            names = np.asarray(fitted["feature_names_in_"], dtype=object)
            estimator.feature_names_in_ = names
        estimator.n_fits_ = int(fitted.get("n_fits_", 1))  # 1: of older files
    try:
        unsealed(description)  # last: the checks before it name the entry
    except ValueError as error:
        raise ModelFileError(
            f"{json_path} is damaged, or was changed by hand: {error}. Save the model "
            "again."
        ) from error
    return estimator


@contextmanager
def _reading(path: Path, entry: str) -> Iterator[None]:
    """Say which entry of the JSON file is not what `save_model` writes."""
    try:
        yield
    except ModelFileError:
        raise
    except MALFORMED as error:
        raise ModelFileError(
            f"{path}: the entry {entry!r} is damaged ({type(error).__name__}: "
            f"{error}). Save the model again."
        ) from error


def _model_paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return both files of a model given by its stem or by one of them."""
    stem = Path(path)
    if stem.suffix in _SUFFIXES:
        stem = stem.with_suffix("")
    # Not with_suffix, which would cut 'run.v1' short.
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(
        stem.name + ".json"
    )


def _read_description(path: Path) -> dict[str, Any]:
    """Read and check the JSON file."""
    try:
        description = read_json(path)
    except ValueError as error:
        raise ModelFileError(f"{path} is not a JSON file: {error}.") from error
    found = description.get("format") if isinstance(description, dict) else None
    if found != _FORMAT:
        raise ModelFileError(
            f"{path} is not a saved model: expected 'format': {_FORMAT!r}, found "
            f"{found!r}. Give the path of a model that save_model wrote."
        )
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        versions = description.get("versions")
        writer = "of an unknown version"
        if isinstance(versions, dict) and "dalmax_sk" in versions:
            writer = versions["dalmax_sk"]
        raise ModelFileError(
            f"{path} has format_version {version!r}, written by dalmax_sk {writer}; "
            f"dalmax_sk {__version__} reads {FORMAT_VERSION}. Load it with the version "
            "that wrote it."
        )
    expected = {
        "params",
        "classes",
        "input",
        "fitted",
        "history",
        "tensors_sha256",
    }
    absent = sorted(expected - set(description))
    if absent:
        raise ModelFileError(f"{path} lacks the entries {', '.join(absent)}.")
    return description


def _read_state(
    path: Path, json_path: Path, expected_sha256: str
) -> dict[str, torch.Tensor]:
    with open_regular(path) as file:
        content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise ModelFileError(
            f"{path} is not the file that {json_path} was saved with, or is damaged: "
            f"its SHA-256 is {found}, expected {expected_sha256}. Save the model again."
        )
    try:
        return read_tensors(content)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is not a safetensors file: {error}.") from error


def _encode(value: Any) -> Any:
    """Parameter to JSON: plain values as they are, others as a tagged dict."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, np.ndarray):
        return {"kind": "array", **_encode_labels(value)}
    if isinstance(value, (list, tuple)):
        items = [_encode(item) for item in value]
        if any(isinstance(item, dict) and item["kind"] == "name" for item in items):
            return _as_name(value)
        return {"kind": type(value).__name__, "items": items}
    if isinstance(value, dict):
        pairs = [[_encode(key), _encode(item)] for key, item in value.items()]
        return {"kind": "dict", "items": pairs}
    return _as_name(value)


def _as_name(value: Any) -> dict[str, str]:
    """Write code or state by its qualified name; it cannot be read back."""
    if isinstance(value, (list, tuple)):
        names = [_as_name(item)["name"] for item in value]
        return {"kind": "name", "name": f"[{', '.join(names)}]"}
    named = value if hasattr(value, "__qualname__") else type(value)
    return {"kind": "name", "name": f"{named.__module__}.{named.__qualname__}"}


def _decode(value: Any) -> Any:
    """Inverse of `_encode`, for everything but names."""
    if not isinstance(value, Mapping):
        return value
    match value["kind"]:
        case "array":
            return _decode_labels(value)
        case "list":
            return [_decode(item) for item in value["items"]]
        case "tuple":
            return tuple(_decode(item) for item in value["items"])
        case "dict":
            return {_decode(key): _decode(item) for key, item in value["items"]}
    raise ModelFileError(f"Unknown kind of parameter in a model file: {value!r}.")


def _decode_params(
    params: Mapping[str, Any],
    json_path: Path,
    architecture: torch.nn.Module | Callable[..., torch.nn.Module] | None,
) -> dict[str, Any]:
    """Return the constructor's parameters; what was saved by name is left out."""
    known = CNNClassifier().get_params(deep=False)
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise ModelFileError(
            f"{json_path} holds parameters that CNNClassifier {__version__} does not "
            f"have: {', '.join(unknown)}."
        )
    names = {
        name: value["name"]
        for name, value in params.items()
        if isinstance(value, Mapping) and value["kind"] == "name"
    }
    decoded = {
        name: _decode(value) for name, value in params.items() if name not in names
    }
    if architecture is not None:
        names.pop("architecture", None)
        decoded["architecture"] = architecture
    if "architecture" in names:
        raise ModelFileError(
            f"{json_path}: the architecture is code, {names['architecture']}, which is "
            "not saved. Pass it again: load_model(path, architecture=...)."
        )
    for name, what in names.items():
        # They shape training alone; a prediction does not depend on them.
        logger.info("%s: %s=%s is not restored.", json_path, name, what)
    return decoded


def _encode_labels(labels: NDArray[Any]) -> dict[str, Any]:
    values = labels.tolist()
    if labels.dtype.kind not in "biufUTO" or not all(
        isinstance(value, (str, bool, int, float)) for value in values
    ):
        raise TypeError(
            f"Labels of dtype {labels.dtype} cannot be written to JSON; they must "
            "be strings, numbers or booleans."
        )
    dtype = "str" if labels.dtype.kind == "T" else labels.dtype.str
    return {"dtype": dtype, "values": values}


def _decode_labels(labels: Mapping[str, Any]) -> NDArray[Any]:
    return np.array(labels["values"], dtype=np.dtype(labels["dtype"]))


def _as_tuples(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in entries.items()
    }
