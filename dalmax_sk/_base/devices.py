"""The choice of the device to compute on; the only place where it is made."""

import itertools
import math

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
    return n_bytes <= _FREE_SHARE * free_bytes(device)


def autocast_dtype(device):
    """Return the 16-bit type that mixed precision computes in on ``device``.

    bfloat16, which has the range of float32, where the hardware has it; float16 on the
    CUDA devices before compute capability 8, which only emulate bfloat16. float16's
    small gradients need a scaled loss.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    torch.dtype

    Examples
    --------
    >>> import torch
    >>> autocast_dtype(torch.device("cpu"))
    torch.bfloat16
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float16
    return torch.bfloat16


def is_out_of_memory(error):
    """Whether an exception says that memory for a tensor was not to be had.

    torch has a type of its own for that on a GPU, and a plain RuntimeError on a CPU.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def to_device(tensor, device):
    """Copy a small tensor to ``device`` without waiting for the work that runs there.

    From ordinary memory torch would wait until the copy is done, and so for all that
    was asked of the device before.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Uploader:
    """Sends batches to a GPU beside its work, through two pinned buffers.

    A batch is gathered into the buffer that was not used last and copied on a stream of
    its own, so that the copy of one batch runs while the one before is computed. A
    buffer is filled again only when its last copy has ended.

    Parameters
    ----------
    device : torch.device

    Examples
    --------
    Send one ahead::

        uploader = Uploader(device)
        pending = uploader.send(first.copy_into, shape, dtype)
        following = uploader.send(second.copy_into, shape, dtype)
        batch = uploader.receive(pending)
    """

    def __init__(self, device):
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self._slots = itertools.cycle([_Slot(), _Slot()])

    def send(self, fill, shape, dtype):
        """Begin to copy a batch; at most two may be on their way.

        Parameters
        ----------
        fill : callable
            Writes the batch into the pinned tensor that it is given.
        shape : tuple of int
        dtype : torch.dtype

        Returns
        -------
        pending : tuple
            For `receive`.
        """
        slot = next(self._slots)
        slot.copied.synchronize()
        host = slot.view(shape, dtype)
        fill(host)
        with torch.cuda.stream(self.stream):
            batch = torch.empty(shape, dtype=dtype, device=self.device)
            batch.copy_(host, non_blocking=True)
            slot.copied.record(self.stream)
        return batch, slot.copied

    def receive(self, pending):
        """Return the batch; what is computed from now on waits for it on the device."""
        batch, copied = pending
        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        # Its memory belongs to the other stream and must outlive its use on this one.
        batch.record_stream(current)
        return batch


class _Slot:
    """A pinned buffer, and the event at the end of the last copy out of it."""

    def __init__(self):
        self.buffer = None
        self.copied = torch.cuda.Event()

    def view(self, shape, dtype):
        n_bytes = math.prod(shape) * dtype.itemsize
        if self.buffer is None or len(self.buffer) < n_bytes:
            self.buffer = _pinned(n_bytes)
        return self.buffer[:n_bytes].view(dtype).view(shape)


def _pinned(n_bytes):
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)


def free_bytes(device):
    """Bytes of a CUDA device that new tensors may take.

    What the system has left, and what torch has reserved without using it.
    """
    free, _ = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    return free + reserved - torch.cuda.memory_allocated(device)


def bytes_at_peak(work, device):
    """Bytes that ``work()`` takes of a CUDA device on top of what is taken, at most."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def release_unused(device):
    """Give back what torch has reserved on ``device`` and does not use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def to_host(tensors):
    """Begin to copy tensors to the CPU, without waiting for the work that makes them.

    Parameters
    ----------
    tensors : sequence of Tensor or None
        All on one device.

    Returns
    -------
    receive : callable
        Waits for these copies, and for nothing that was asked of the device since;
        returns the list of the tensors on the CPU.
    """
    device = tensors[0].device
    # torch copies into pinned memory then, which a GPU does by itself.
    ahead = device.type == "cuda"
    copies = [None if t is None else t.to("cpu", non_blocking=ahead) for t in tensors]
    if not ahead:
        return lambda: copies
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(device))

    def receive():
        copied.synchronize()
        return copies

    return receive
