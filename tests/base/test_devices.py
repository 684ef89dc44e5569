"""Choice of devices, and the way of batches to a GPU, played by a stub."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dalmax_sk._base import devices
from dalmax_sk._base.devices import (
    Uploader,
    autocast_dtype,
    fits_on,
    is_out_of_memory,
    resolve_device,
    to_device,
)
from dalmax_sk._base.limits import limits
from dalmax_sk.cnn.batches import Batches
from dalmax_sk.images.source import FileSource, TensorSource, sequential_batches

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bfloat16"), (False, "half")])
def test_mixed_precision_follows_the_hardware(monkeypatch, has_it, expected):
    asked = []

    def is_bf16_supported(including_emulation=True):
        asked.append(including_emulation)
        return has_it

    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert autocast_dtype(CUDA) == getattr(torch, expected)
    assert asked == [False]  # emulated bfloat16 is slower than float32
    assert autocast_dtype(CPU) == torch.bfloat16


def test_data_fit_by_what_is_free_and_what_torch_has_in_reserve(monkeypatch):
    # in the second round of a run torch still holds the memory of the first
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert fits_on(CUDA, 400)
    assert not fits_on(CUDA, 401)
    assert fits_on(CPU, 10**18)
    assert not fits_on(torch.device("meta"), 1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError("Unable to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate m"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_cpu_tensor_stays_on_the_cpu():
    x = torch.arange(3)
    assert to_device(x, CPU) is x


def test_names_of_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda", 1)
    assert resolve_device("cuda:0") == CUDA
    assert resolve_device("cpu:0") == CPU
    with pytest.raises(ValueError, match=r"device='cuda:2' was asked for, .* sees 2"):
        resolve_device("cuda:2")
    with pytest.raises(ValueError, match="device='gpu' is not a device torch knows"):
        resolve_device("gpu")


class LazyGPU:
    """A stand-in for ``torch`` whose copies run as late as its events allow."""

    uint8 = torch.uint8

    def __init__(self):
        self.queue = []  # copies that were asked for and have not run
        self.waits = []  # the computing stream's
        gpu = self

        class Event:
            n_before = 0

            def record(self, stream):
                self.n_before = len(gpu.queue)

            def synchronize(self):
                gpu.run(self.n_before)

        class Batch:
            def __init__(self, shape, dtype):
                self.data = torch.zeros(shape, dtype=dtype)
                self.streams = []

            def copy_(self, host, non_blocking):
                assert non_blocking
                gpu.queue.append(lambda: self.data.copy_(host))

            def record_stream(self, stream):
                self.streams.append(stream)

        computing = SimpleNamespace(wait_event=lambda event: event.synchronize())
        self.cuda = SimpleNamespace(
            Event=Event,
            Stream=lambda device: "copying",
            stream=lambda stream: contextlib.nullcontext(),
            current_stream=lambda device: computing,
        )
        self.empty = lambda shape, dtype, device: Batch(shape, dtype)
        self.computing = computing

    def run(self, n):
        for i in range(n):
            if self.queue[i] is not None:
                self.queue[i]()
                self.queue[i] = None


@pytest.fixture
def lazy_gpu(monkeypatch):
    gpu = LazyGPU()
    n_pinned = []

    def pinned(n_bytes):
        n_pinned.append(n_bytes)
        return torch.empty(n_bytes, dtype=torch.uint8)

    monkeypatch.setattr(devices, "torch", gpu)
    monkeypatch.setattr(devices, "_pinned", pinned)
    gpu.n_pinned = n_pinned
    return gpu


def test_buffers_are_not_overwritten_while_they_are_copied(lazy_gpu):
    uploader = Uploader(CUDA)
    parts = [torch.full((4, 2), float(i)) for i in range(5)]

    def send(part):
        return uploader.send(lambda out: out.copy_(part), (4, 2), torch.float32)

    # none is received before all are sent: the buffers are used again and again
    sent = [send(part) for part in parts]
    assert any(copy is None for copy in lazy_gpu.queue)  # it had to wait
    assert lazy_gpu.queue[-1] is not None  # and not for the last one
    received = [uploader.receive(pending) for pending in sent]
    for batch, part in zip(received, parts, strict=True):
        assert torch.equal(batch.data, part)
        assert batch.streams == [lazy_gpu.computing]
    assert lazy_gpu.n_pinned == [32, 32]  # two buffers, and no more


def test_buffers_grow_with_the_batches(lazy_gpu):
    uploader = Uploader(CUDA)
    for n in (2, 2, 5, 5, 1, 1):
        part = torch.arange(n * 3, dtype=torch.int16).reshape(n, 3)
        pending = uploader.send(
            lambda out, part=part: out.copy_(part), (n, 3), part.dtype
        )
        assert torch.equal(uploader.receive(pending).data, part)
    assert lazy_gpu.n_pinned == [12, 12, 30, 30]


class EagerUploader:
    """Copies at once; notes the order of events."""

    log = None

    def __init__(self, device):
        assert device == CUDA
        EagerUploader.log = []

    def send(self, fill, shape, dtype):
        host = torch.empty(tuple(shape), dtype=dtype)
        fill(host)
        self.log.append("send")
        return host

    def receive(self, pending):
        self.log.append("receive")
        return pending


@pytest.mark.parametrize(
    ("shape", "channel_axis"),
    [((11, 5), None), ((11, 4, 5), None), ((11, 3, 4, 5), 1), ((11, 4, 5, 3), 3)],
)
def test_batches_that_do_not_fit_are_sent_one_ahead(monkeypatch, shape, channel_axis):
    monkeypatch.setattr("dalmax_sk.images.source.Uploader", EagerUploader)
    data = torch.randint(256, shape, dtype=torch.uint8)
    source = TensorSource(data, channel_axis)
    expected = source.take(slice(None))
    found = list(sequential_batches(source, 4, CUDA))
    assert [(start, stop) for start, stop, _ in found] == [(0, 4), (4, 8), (8, 11)]
    for start, stop, X in found:
        assert torch.equal(X, expected[start:stop])
    order = ["send", "send", "receive", "send", "receive", "receive"]
    assert EagerUploader.log == order
    # and in training, where rows are gathered in random order
    monkeypatch.setattr(
        "dalmax_sk.cnn.batches.to_device", lambda tensor, device: tensor
    )
    y = torch.arange(11)
    batches = Batches(source, torch.arange(11), y, 4, CUDA, shuffle=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = list(batches)
    assert EagerUploader.log == order
    for X, rows in seen:
        assert torch.equal(X, expected[rows])
        if X.ndim == 4:
            assert X.is_contiguous(memory_format=torch.channels_last)
    assert sorted(torch.cat([rows for _, rows in seen]).tolist()) == list(range(11))


def test_streamed_files_are_sent_one_ahead(monkeypatch, image_folder):
    paths = sorted(map(str, (image_folder / "train" / "red").iterdir()))
    paths = np.array(paths, dtype=object)
    source = FileSource(paths, (8, 8), "rgb")
    expected = source.take(slice(None))
    monkeypatch.setattr("dalmax_sk.images.source.Uploader", EagerUploader)
    monkeypatch.setattr(limits, "read_files", 9)
    found = list(sequential_batches(source, 4, CUDA))
    assert [stop for _, stop, _ in found] == [4, 8, 12, 16, 20, 24, 28, 30]
    for start, stop, X in found:
        assert torch.equal(X, expected[start:stop])
        assert X.is_contiguous(memory_format=torch.channels_last)
    assert EagerUploader.log[:3] == ["send", "send", "receive"]
