"""Tests of the pass of a net over data."""

import logging

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from dalmax_sk import CNNClassifier
from dalmax_sk._base import devices
from dalmax_sk._base.limits import limits
from dalmax_sk.images.source import TensorSource
from dalmax_sk.nets import InputClassifier, SmallCNN
from dalmax_sk.nets.inference import (
    collect,
    fitting_batch_size,
    inference_batch_size,
    iter_outputs,
    iter_results,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    digits = load_digits(n_class=4)
    return (digits.images[:120] * 15.9).astype(np.uint8), digits.target[:120]


@pytest.fixture(scope="module")
def fitted(images):
    clf = CNNClassifier(max_epochs=1, random_state=0, device="cpu")
    return clf.fit(*images)


def in_batches(X, size):
    for start in range(0, len(X), size):
        yield start, min(start + size, len(X)), X[start : start + size]


def test_iter_predictions_are_the_whole_in_parts(fitted, images, monkeypatch):
    X = images[0]
    monkeypatch.setattr(limits, "inference_cpu_values", 64 * 48)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    proba, embeddings = fitted.predict_proba_and_embeddings(X)
    parts = list(fitted.iter_predictions(X))
    assert [part[:2] for part in parts] == [(0, 48), (48, 96), (96, 120)]
    np.testing.assert_array_equal(np.concatenate([p[2] for p in parts]), proba)
    np.testing.assert_array_equal(np.concatenate([p[3] for p in parts]), embeddings)
    assert parts[0][2].dtype == np.float64
    assert parts[0][3].dtype == np.float32
    # without embeddings the same probabilities, and nothing else
    few = list(fitted.iter_predictions(X, embeddings=False))
    np.testing.assert_array_equal(np.concatenate([p[2] for p in few]), proba)
    assert all(part[3] is None for part in few)


def test_iter_predictions_checks_at_the_call(fitted, images):
    with pytest.raises(ValueError, match="was fitted on uint8 images"):
        fitted.iter_predictions(images[0][:, :5])


def test_the_caller_is_not_in_inference_mode_between_parts(fitted, images, monkeypatch):
    monkeypatch.setattr(limits, "inference_cpu_values", 64 * 48)
    for _ in fitted.iter_predictions(images[0]):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")


def test_batch_norm_and_mode_are_left_alone():
    module = InputClassifier(SmallCNN(1, 3), torch.zeros(1), torch.ones(1))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    assert module.training
    X = torch.rand(9, 1, 8, 8)
    collect(iter_outputs(module, in_batches(X, 4)), 9)
    assert module.training
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_images_are_standardised_exactly_as_defined():
    # whole maps of means, work in place: the same bits as the plain expression
    rng = np.random.RandomState(0)
    pixels = torch.from_numpy(rng.randint(0, 256, (5, 7, 6, 3), dtype=np.uint8))
    x = pixels.permute(0, 3, 1, 2)
    mean, std = torch.rand(3), torch.rand(3) + 0.5
    module = InputClassifier(SmallCNN(3, 2), mean, std)
    expected = (x.float() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.equal(module.prepare(x), expected)
    given = x.float() / 255
    kept = given.clone()
    assert torch.equal(module.prepare(given), expected)
    assert torch.equal(given, kept)  # what came in is the caller's


# ---------------------------------------------------------------- memory that is short


class Hungry(nn.Module):
    """Runs out of memory on more than `room` samples; notes what it saw."""

    def __init__(self, room, error=None):
        super().__init__()
        self.room = room
        self.error = error or torch.OutOfMemoryError("tried to allocate 5 TiB")
        self.seen = []

    def forward(self, X, return_embeddings=False):
        if len(X) > self.room:
            raise self.error
        self.seen += X[:, 0].tolist()
        logits = torch.stack([X[:, 0], 1 - X[:, 0]], 1)
        return (logits, X) if return_embeddings else logits


@pytest.mark.parametrize("room", [1, 3, 5, 16])
@pytest.mark.parametrize("embeddings", [True, False])
def test_out_of_memory_halves_and_goes_on(room, embeddings, caplog):
    X = torch.arange(37.0)[:, None]
    outputs = iter_outputs(Hungry(99), in_batches(X, 16), embeddings=embeddings)
    expected = collect(outputs, 37)
    module = Hungry(room)
    with caplog.at_level(logging.WARNING, logger="dalmax_sk"):
        outputs = iter_outputs(module, in_batches(X, 16), embeddings=embeddings)
        found = collect(outputs, 37)
    np.testing.assert_array_equal(found[0], expected[0])
    if embeddings:
        np.testing.assert_array_equal(found[1], expected[1])
    assert module.seen == list(range(37))  # nothing twice, nothing left out
    halvings = [record.getMessage() for record in caplog.records]
    sizes = {1: [16, 8, 4, 2], 3: [16, 8, 4], 5: [16, 8], 16: []}[room]
    assert halvings == [
        f"Out of memory on cpu with a batch of {size} samples; going on with batches "
        f"of {size // 2}."
        for size in sizes
    ]


def test_a_cpu_without_memory_halves_as_well():
    message = "[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes."
    module = Hungry(2, RuntimeError(message))
    X = torch.arange(7.0)[:, None]
    collect(iter_outputs(module, in_batches(X, 5)), 7)
    assert module.seen == list(range(7))


def test_a_real_refusal_of_the_cpu_allocator_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert devices.is_out_of_memory(caught.value)


def test_no_room_for_a_single_sample():
    X = torch.arange(3.0)[:, None]
    with pytest.raises(torch.OutOfMemoryError, match=r"A single sample of shape"):
        list(iter_outputs(Hungry(0), in_batches(X, 2)))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    module = Hungry(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(iter_outputs(module, in_batches(torch.zeros(4, 1), 4)))


# ------------------------------------------------------------ a GPU, as a stub shows it


class Elsewhere:
    """A result on a device: a tensor that says it lies on one."""

    def __init__(self, tensor, log):
        self.tensor = tensor
        self.log = log
        self.device = torch.device("cuda", 0)

    def to(self, device, non_blocking):
        assert device == "cpu"
        assert non_blocking
        return self.tensor


def test_results_come_while_the_next_batches_are_computed(monkeypatch):
    log = []

    class Event:
        def record(self, stream):
            self.number = sum(entry[0] == "asked" for entry in log)

        def synchronize(self):
            log.append(("waited for", self.number))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)

    def forward(X):
        log.append(("asked", sum(entry[0] == "asked" for entry in log) + 1))
        return Elsewhere(X * 2, log), None

    X = torch.arange(10.0)[:, None]
    found = list(iter_results(forward, in_batches(X, 2)))
    assert [part[:2] for part in found] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    np.testing.assert_array_equal(np.concatenate([p[2] for p in found]), 2 * X)
    # the first result is waited for once two further batches have been asked for
    assert log[:4] == [("asked", 1), ("asked", 2), ("asked", 3), ("waited for", 1)]
    assert [number for what, number in log if what == "waited for"] == [1, 2, 3, 4, 5]


class Source(TensorSource):
    """Samples that stay on the CPU wherever they are sent."""

    def take(self, rows):
        found = super().take(rows)
        found.__class__ = Stays
        return found


class Stays(torch.Tensor):
    def to(self, device):
        return self


def test_batches_on_a_gpu_follow_the_free_memory(monkeypatch):
    cuda = torch.device("cuda", 0)
    taken = {"now": 1000, "peak": 1000}

    def forward(X):
        taken["peak"] = 1000 + 50 * len(X)  # 50 bytes a sample

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (40_000, 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 6_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: taken["now"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda device: taken["peak"]
    )
    source = Source(torch.zeros(20, 3))
    found = fitting_batch_size(forward, source, cuda)
    assert found == (40_000 + 6_000 - 1000) // 2 // 50
    # with memory for all, what the size of a sample gives
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    assert fitting_batch_size(forward, source, cuda) == 8192
    large = 3 * 224 * 224
    assert inference_batch_size(large, cuda) == 2**26 // large


@pytest.mark.parametrize(
    ("n_threads", "amp", "size"),
    [(1, False, 32), (2, False, 80), (1, True, 80), (2, True, 160), (64, False, 1024)],
)
def test_batches_on_a_cpu_need_no_probe(monkeypatch, n_threads, amp, size):
    # each thread has a cache, and numbers of 16 bits fill half of it
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    source = TensorSource(torch.zeros(2, 3, 32, 32), 1)
    assert fitting_batch_size(None, source, CPU, amp=amp) == size
