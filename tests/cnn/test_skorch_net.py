"""Training: against a plain loop, in 16 bits, compiled, and when it goes wrong."""

import functools
import math
import weakref

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.utils import check_random_state
from skorch.callbacks import Callback
from torch import nn

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.cnn import inference as _inference
from dalmax_sk.cnn import skorch_net as _training
from dalmax_sk.cnn.skorch_net import compile_module
from dalmax_sk.nets import SmallCNN, build_net


def classifier(**params):
    return CNNClassifier(
        **{"max_epochs": 2, "random_state": 0, "device": "cpu", **params}
    )


@pytest.fixture(scope="module")
def digits():
    """300 images of 8×8 grey levels (floats 0..16), 4 classes."""
    data = load_digits(n_class=4)
    return data.images[:300], data.target[:300]


def plain_loop(X, y, n_epochs, batch_size, lr=1e-3):
    """What CNNClassifier computes, written by hand with torch alone."""
    n, n_classes = len(X), len(np.unique(y))
    X64 = torch.tensor(X, dtype=torch.float64)
    mean, std = X64.mean().float(), X64.std(correction=0).float()
    x, y = torch.tensor(X, dtype=torch.float32)[:, None], torch.tensor(y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_random_state(0).randint(2**31 - 1))
        net = build_net("small_cnn", input_shape=(1, 8, 8), n_classes=n_classes)
        net = net.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
        n_batches = math.ceil(n / batch_size)
        step = 0
        for _ in range(n_epochs):
            for rows in torch.randperm(n).tensor_split(n_batches):
                done = step / (n_batches * n_epochs)
                optimizer.param_groups[0]["lr"] = lr * (
                    0.5 * (1 + math.cos(math.pi * done))
                )
                optimizer.zero_grad()
                logits = net((x[rows] - mean) / std)
                nn.functional.cross_entropy(logits, y[rows]).backward()
                optimizer.step()
                step += 1
    return net


def test_weights_equal_those_of_a_plain_loop_bitwise(digits):
    # whatever the training does for speed, it computes what a simple loop does
    X, y = digits
    clf = classifier(max_epochs=3, batch_size=64).fit(X, y)
    expected = plain_loop(X, y, 3, 64).state_dict()
    found = clf.module_.net.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


# ---- mixed precision -----------------------------------------------------------------


@pytest.fixture
def float16(monkeypatch):
    """A device that has no bfloat16."""
    for module in (_training, _inference):
        monkeypatch.setattr(module, "autocast_dtype", lambda device: torch.float16)


class Gradients(Callback):
    """Keeps the gradients of the first step, and all losses."""

    def on_train_begin(self, net, **kwargs):
        self.first, self.losses = None, []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        if self.first is None:
            self.first = {name: p.grad.clone() for name, p in named_parameters}

    def on_batch_end(self, net, loss=None, **kwargs):
        self.losses.append(float(loss.detach()))


def seen_by(clf):
    return dict(clf.net_.callbacks_)["Gradients"]


class Logits(nn.Module):
    """A linear net whose logits in training are changed by a function."""

    def __init__(self, change=lambda logits, call: logits):
        super().__init__()
        self.linear = nn.Linear(64, 4)
        self.change = change
        self.calls = 0

    def forward(self, x):
        logits = self.linear(x.flatten(1))
        if self.training:
            self.calls += 1
            logits = self.change(logits, self.calls)
        return logits


def test_float16_trains_with_scaled_losses(digits, float16):
    X, y = digits
    params = {"dropout": 0.0, "callbacks": [Gradients()], "architecture": "mlp"}
    clf = classifier(amp=True, max_epochs=8, **params).fit(X, y)
    assert clf.score(X, y) > 0.9
    exact = classifier(max_epochs=1, **params).fit(X, y)
    # callbacks see losses and gradients without the scale of 2**16
    assert seen_by(clf).losses[0] == pytest.approx(seen_by(exact).losses[0], rel=1e-2)
    for name, gradient in seen_by(exact).first.items():
        found = seen_by(clf).first[name]
        assert (found - gradient).norm() < 0.02 * gradient.norm(), name
    assert clf.net_._scaler is None
    proba, embeddings = clf.predict_proba_and_embeddings(X)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-14)
    assert embeddings.dtype == np.float32


def test_small_gradients_survive_float16(digits, float16):
    # in 16 bits the smallest number is 6e-8: without a scale these would vanish
    module = Logits(lambda logits, call: logits * 1e-7)
    params = {"architecture": module, "callbacks": [Gradients()], "max_epochs": 1}
    scaled = seen_by(classifier(amp=True, **params).fit(*digits)).first
    exact = seen_by(classifier(**params).fit(*digits)).first
    for name, gradient in exact.items():
        assert gradient.norm() > 0
        assert (scaled[name] - gradient).norm() < 0.1 * gradient.norm(), name


def test_steps_with_infinite_gradients_are_left_out(digits, float16, monkeypatch):
    # a scale that is too large at first: no step is taken until it has come down
    scaler = functools.partial(torch.amp.GradScaler, init_scale=2.0**40)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    params = {"architecture": Logits(), "batch_size": 30, "lr": 0.01}
    clf = classifier(amp=True, max_epochs=10, **params).fit(*digits)
    losses = [row["train_loss"] for row in clf.history_]
    assert losses[0] == pytest.approx(losses[1])  # its order apart
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.isfinite(p).all() for p in clf.module_.parameters())


def every_third_overflows(logits, call):
    return logits * float("inf") if call % 3 == 0 else logits


def test_an_overflow_in_float16_is_not_the_end(digits, float16):
    # the scaler leaves such a step out; the epoch's loss is that of the others
    X, y = digits
    params = {"architecture": Logits(every_third_overflows), "lr": 0.01}
    clf = classifier(amp=True, max_epochs=6, **params).fit(X, y)
    assert all(np.isfinite(row["train_loss"]) for row in clf.history_)
    assert clf.history_[-1]["train_accuracy"] > 0.5
    assert np.isfinite(clf.predict_proba(X)).all()
    # in float32 it is
    with pytest.raises(ValueError, match=r"loss became nan in epoch 1 with lr=0\.01\."):
        classifier(**params).fit(X, y)


def test_nothing_but_overflows_is_the_end_in_float16_too(digits, float16):
    module = Logits(lambda logits, call: logits * float("inf"))
    with pytest.raises(ValueError, match=r"became nan in epoch 1 .* pass amp=False"):
        classifier(architecture=module, amp=True).fit(*digits)


# ---- compiled nets -------------------------------------------------------------------


@pytest.fixture
def graphs():
    """Count the graphs that torch.compile makes from here on."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    before = counters["stats"]["unique_graphs"]
    yield lambda: counters["stats"]["unique_graphs"] - before
    torch._dynamo.reset()


def rounds(X, y, **params):
    """Fit and look at a pool as the rounds of a run do, each with other sizes."""
    for n in (90, 113, 157, 200):
        clf = classifier(dropout=0.0, batch_size=32, **params).fit(X[:n], y[:n])
        proba, embeddings = clf.predict_proba_and_embeddings(X[n:])
        yield proba, embeddings, clf.predict_proba(X[:3])


def test_compilations_do_not_grow_with_the_rounds(digits, graphs, monkeypatch):
    # one for training and two for inference, whatever the sizes of the batches
    monkeypatch.setattr(
        _training, "compile_module", functools.partial(compile_module, backend="eager")
    )
    found = list(rounds(*digits, compile=True))
    assert graphs() == 3
    for a, b in zip(found, rounds(*digits), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.slow
def test_compiled_rounds_equal_others(digits, graphs):
    try:
        found = list(rounds(*digits, compile=True))
    except RuntimeError as error:
        if "C++ compiler" not in str(error):
            raise
        pytest.skip("no C++ compiler")
    assert graphs() == 3
    for a, b in zip(found, rounds(*digits), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-3)


def test_a_compiler_that_is_not_there(digits, graphs, monkeypatch):
    def backend(graph, inputs):
        from torch._inductor.exc import InvalidCxxCompiler

        raise InvalidCxxCompiler

    compile_without = functools.partial(compile_module, backend=backend)
    monkeypatch.setattr(_training, "compile_module", compile_without)
    with pytest.raises(RuntimeError, match=r"compile=True, .*C\+\+ compiler .*CXX"):
        classifier(compile=True).fit(*digits)


# ---- faults --------------------------------------------------------------------------


class Faulty(nn.Module):
    """A small net that fails in training once it is told to."""

    fault = None
    lives = None

    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.net = SmallCNN(input_shape[0], n_classes, width=4)

    def forward(self, x):
        logits = self.net(x)
        if self.training and Faulty.fault == "nan":
            return logits * float("nan")
        if self.training and Faulty.fault == "memory":
            Faulty.lives = weakref.ref(logits)
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB.\nMore text"
            )
        return logits


@pytest.fixture
def fault():
    """Switch the fault of `Faulty` on."""

    def switch(kind):
        Faulty.fault = kind

    yield switch
    switch(None)


FAULTS = {
    "nan": (ValueError, r"The training loss became nan in epoch 1 with lr=0\.001\. L"),
    "memory": (
        torch.OutOfMemoryError,
        r"ran out of memory on cpu with batches of 64 samples of shape \(1, 8, 8\)\. "
        r"Pass a smaller batch_size, smaller images \(image_size=\), amp=True or a "
        r"smaller net.*\(CUDA out of memory\. Tried to allocate 2\.00 GiB\.\)",
    ),
}


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_failed_fit_leaves_the_last_state(digits, fault, kind, warm_start):
    X, y = digits
    clf = classifier(architecture=Faulty, warm_start=warm_start).fit(X, y)
    expected, history = clf.predict_proba(X), clf.history_
    fault(kind)
    error, message = FAULTS[kind]
    with pytest.raises(error, match=message):
        clf.fit(X[:100], y[:100])
    np.testing.assert_array_equal(clf.predict_proba(X), expected)
    assert clf.classes_.tolist() == [0, 1, 2, 3]
    assert clf.history_ is history
    fault(None)
    clf.fit(X, y)
    assert clf.n_iter_ == 2


def test_memory_is_released_before_the_error_is_raised(digits, fault, monkeypatch):
    released = []

    def release(device):
        # what the net computed is gone when torch is asked to give back its memory
        released.append((device.type, Faulty.lives()))

    monkeypatch.setattr("dalmax_sk.cnn.fitting.release_unused", release)
    fault("memory")
    with pytest.raises(torch.OutOfMemoryError) as caught:
        classifier(architecture=Faulty).fit(*digits)
    assert released == [("cpu", None)]
    assert caught.value.__context__ is None


def test_weights_that_go_astray_in_the_last_step(digits):
    # the only loss is that before it, and finite
    X, y = digits
    with pytest.raises(ValueError, match=r"weights became NaN or infinite in epoch 1 "):
        classifier(
            max_epochs=1,
            batch_size=300,
            optimizer="sgd",
            lr=1e45,
            lr_schedule="constant",
        ).fit(X, y)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_failed_round_resumes_from_its_checkpoint(digits, fault, kind, tmp_path):
    X, y = digits

    def learner(checkpoint_dir, callbacks=None):
        return ActiveLearningClassifier(
            classifier(architecture=Faulty, max_epochs=1, classes=range(4)),
            n_initial=20,
            query_size=10,
            n_rounds=3,
            random_state=0,
            checkpoint_dir=checkpoint_dir,
            callbacks=callbacks,
        )

    class FailAfterTheSecondRound:
        def on_query_end(self, learner, pool, positions):
            if len(learner.history_) == 2:
                fault(kind)

    error, message = FAULTS[kind]
    message = rf"{message}.*\[active learning, round 2, CNNClassifier fitting 40"
    with pytest.raises(error, match=message):
        learner(tmp_path, [FailAfterTheSecondRound()]).fit(X, y)
    fault(None)
    resumed = learner(tmp_path).fit(X, y)
    expected = learner(None).fit(X, y)
    np.testing.assert_array_equal(resumed.labeled_indices_, expected.labeled_indices_)
    np.testing.assert_array_equal(resumed.predict_proba(X), expected.predict_proba(X))
