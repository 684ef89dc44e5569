"""Which device to compute on; the one place where devices are chosen."""

import torch

__all__ = ["fits_on", "resolve_device"]

# Training data move to the GPU as a whole while they need less than this share of its
# free memory; the rest is left to weights, activations and other processes.
_FREE_SHARE = 0.4


def resolve_device(device):
    """Turn a ``device`` parameter into a :class:`torch.device` that exists.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is CUDA where there is one, else the CPU; otherwise a name torch
        knows: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …

    Returns
    -------
    torch.device
        With its index for CUDA devices.

    Raises
    ------
    ValueError
        If torch does not know the name or the device is not there.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a device torch knows. Use 'auto', 'cpu', "
            "'cuda', 'cuda:1' or 'multi'."
        ) from error
    if found.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = found.index
        if index is None:
            index = torch.cuda.current_device() if n_devices else 0
        if index >= n_devices:
            raise ValueError(
                f"device={str(device)!r} was asked for, but torch sees {n_devices} "
                "CUDA device(s). Use device='auto' to take what is there, or 'cpu'."
            )
        return torch.device("cuda", index)
    if found.type == "cpu":
        return torch.device("cpu")  # 'cpu:0' compares unequal and cannot be unpickled
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"device={str(device)!r} was asked for, but torch sees no MPS device. Use "
            "device='auto' to take what is there, or 'cpu'."
        )
    return found


def fits_on(device, n_bytes):
    """Whether ``n_bytes`` of training data may stay on ``device`` as a whole."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= _FREE_SHARE * free
