"""State dicts from files, matched to a net without guessing."""

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dalmax_sk._base.json_files import MALFORMED

__all__ = [
    "explain_download",
    "is_weights_file",
    "load_matching",
    "read_state_dict",
    "saved_normalization",
]

SUFFIXES = (".safetensors", ".pth", ".pt")


@contextmanager
def explain_download(
    name: str, url: str, folder: str | os.PathLike[str] = ""
) -> Iterator[None]:
    """Raise one OSError, with the way on, if pretrained weights cannot be fetched.

    Parameters
    ----------
    name : str
        The net.
    url : str
        Where the weights come from.
    folder : path-like, default=""
        Where they are kept once they are downloaded; nothing if that is not known.
    """
    try:
        yield
    # no network, an HTTP error, a folder that cannot be written to or a full disk; then
    # a wrong checksum; then a file in the folder that was cut off
    except (
        OSError,
        HTTPException,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        file = Path(folder, Path(url).name) if folder else None
        put = f"put the file there as {file}, or " if file else ""
        where = f" to {file}" if file else ""
        raise OSError(
            f"The pretrained weights of {name!r} could not be downloaded from {url}"
            f"{where} ({type(error).__name__}: {error}). Download them by other means "
            f"and {put}pass the path of a file as weights= (--weights on the command "
            "line)."
        ) from error


def is_weights_file(weights: str | os.PathLike[str]) -> bool:
    """Whether ``weights`` means a file rather than torchvision's name of weights."""
    return isinstance(weights, os.PathLike) or weights.lower().endswith(SUFFIXES)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict of tensors; nothing in the file can run code.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has another suffix, is damaged or holds no tensors by name.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path} must end in one of {', '.join(SUFFIXES)} to be read as weights."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights {path}.")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *MALFORMED,
        EOFError,
        RuntimeError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor)
        for key, value in state.items()
    ):
        raise ValueError(
            f"{path} must hold a state dict (tensors by name), or one under the key "
            f"'state_dict'; it holds a {type(state).__name__}."
        )
    return dict(state)


def saved_normalization(
    weights: str | os.PathLike[str],
) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation in a file that `save_model` wrote; else None."""
    if not is_weights_file(weights):
        return None
    state = read_state_dict(weights)
    if not any(key.startswith("net.") for key in state):
        return None
    mean, std = state.get("mean"), state.get("std")
    return None if mean is None or std is None else (mean, std)


def load_matching(
    net: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: object,
    reset_prefix: str = "classifier.",
) -> list[str]:
    """Load ``state`` into ``net``; everything but the last layer has to match.

    Parameters
    ----------
    net : nn.Module
    state : mapping from str to Tensor
    source : object
        What to call the state in an error, usually its path.
    reset_prefix : str, default="classifier."
        Keys of the last layer. When one of them is missing or has another shape, the
        whole layer keeps its fresh values.

    Returns
    -------
    list of str
        Keys that kept their fresh values.

    Raises
    ------
    ValueError
        Naming the tensors that are missing, superfluous or of another shape.
    """
    own = net.state_dict()
    fresh = [key for key in own if key.startswith(reset_prefix)]
    if all(key in state and state[key].shape == own[key].shape for key in fresh):
        fresh = []
    problems = []
    for key, tensor in own.items():
        if key in fresh:
            continue
        # Old checkpoints lack batch normalisation's counter, which nothing here reads.
        if key not in state and not key.endswith("num_batches_tracked"):
            problems.append(f"{key} is missing")
        elif key in state and state[key].shape != tensor.shape:
            problems.append(
                f"{key} has shape {tuple(state[key].shape)}, expected "
                f"{tuple(tensor.shape)}"
            )
    problems += [
        f"{key} is not part of the net"
        for key in state
        if key not in own and not key.startswith(reset_prefix)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"{source} does not fit the architecture: {'; '.join(problems[:5])}{more}. "
            "Only the last layer may differ."
        )
    kept = {k: v for k, v in state.items() if k in own and k not in fresh}
    net.load_state_dict({**own, **kept})
    return fresh
