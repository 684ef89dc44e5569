"""CNNClassifier as a classifier, a transformer and a trainer."""

import logging
import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_param_validation
from skorch.callbacks import Callback, Checkpoint, EpochScoring, LRScheduler
from torch import nn

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.cnn.labels import stratified_split
from dalmax_sk.nets import NoEmbeddingError, SmallCNN


def classifier(**params):
    return CNNClassifier(
        **{"max_epochs": 2, "random_state": 0, "device": "cpu", **params}
    )


@pytest.fixture(scope="module")
def digits():
    """300 images of 8×8 grey levels (floats 0..16), 4 classes."""
    data = load_digits(n_class=4)
    return data.images[:300], data.target[:300]


@pytest.fixture(scope="module")
def fitted(digits):
    return classifier().fit(*digits)


def same_predictions(a, b, X):
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


def test_parameter_validation():
    # scikit-learn's check, which its battery does not call
    check_param_validation("CNNClassifier", CNNClassifier(max_epochs=1))


def test_learns(digits):
    X, y = digits
    clf = classifier(max_epochs=10).fit(X[:200], y[:200])
    assert clf.score(X[200:], y[200:]) > 0.9


def test_outputs_equal_their_definition(fitted, digits):
    # probabilities are the soft-max of the head on the body's features, and the
    # embedding is what the last layer is applied to; batch norm and dropout at rest
    X = digits[0]
    proba, embeddings = fitted.predict_proba_and_embeddings(X)
    module = fitted.module_
    x = torch.tensor(X, dtype=torch.float32)[:, None]
    x = (x - x.mean()) / x.std(correction=0)
    with torch.no_grad():
        features = module.net.body.eval()(x)
        logits = module.net.classifier(features).double()
    expected = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    np.testing.assert_allclose(proba, expected, atol=1e-5)
    np.testing.assert_allclose(embeddings, features, atol=1e-5)
    weight, bias = (p.detach().numpy() for p in module.get_classifier().parameters())
    np.testing.assert_allclose(embeddings @ weight.T + bias, logits, atol=1e-4)


def test_shapes_and_types(fitted, digits):
    X = digits[0]
    proba, embeddings = fitted.predict_proba_and_embeddings(X)
    assert proba.shape == (300, 4)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-14)
    assert embeddings.shape == (300, 128)
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(fitted.predict_proba(X), proba)
    np.testing.assert_array_equal(fitted.transform(X), embeddings)
    np.testing.assert_array_equal(fitted.predict(X), proba.argmax(1))


def test_prediction_puts_dropout_and_batch_norm_at_rest(fitted, digits):
    X = digits[0]
    expected = fitted.predict_proba(X)
    clf = pickle.loads(pickle.dumps(fitted))
    clf.module_.train()
    np.testing.assert_array_equal(clf.predict_proba(X), expected)
    assert clf.module_.training


def test_results_do_not_depend_on_batches(fitted, digits, monkeypatch):
    X = digits[0]
    expected = fitted.predict_proba_and_embeddings(X)
    monkeypatch.setattr(limits, "inference_cpu_values", 64 * 7)
    found = fitted.predict_proba_and_embeddings(X)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_embedding_is_what_the_loss_trains(digits):
    # training changes the embeddings, and the gradient of the loss reaches the body
    X, y = digits
    before = classifier(max_epochs=1, lr=1e-12).fit(X, y)
    after = classifier(max_epochs=1).fit(X, y)
    assert np.abs(before.transform(X) - after.transform(X)).mean() > 1e-2
    module = after.module_
    logits = module(torch.tensor(X[:8], dtype=torch.float32)[:, None])
    nn.functional.cross_entropy(logits, torch.tensor(y[:8])).backward()
    gradients = [p.grad.abs().sum() for p in module.net.body.parameters()]
    assert all(gradient > 0 for gradient in gradients)


def test_tables_are_computed_in_float64():
    X, y = load_iris(return_X_y=True)
    clf = classifier(max_epochs=50).fit(X * 1e6 + 1e7, y)
    assert clf.transform(X).dtype == np.float64
    assert clf.score(X * 1e6 + 1e7, y) > 0.9
    # any subset gives the same rows
    rows = clf.predict_proba(X[[5, 60, 110]])
    np.testing.assert_allclose(rows, clf.predict_proba(X)[[5, 60, 110]], rtol=1e-10)


def test_same_seed_same_net_bitwise(digits, fitted):
    X, y = digits
    params = {"augment": True, "early_stopping": True}
    a, b = (classifier(**params).fit(X, y) for _ in range(2))
    same_predictions(a, b, X)
    same_predictions(fitted, classifier().fit(X, y), X)
    other = classifier(random_state=1).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), fitted.predict_proba(X))


def test_global_random_states_are_left_alone(digits):
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(1)
    np.random.seed(3)
    torch.manual_seed(3)
    classifier(augment=True, early_stopping=True).fit(*digits).predict(digits[0])
    assert (np.random.rand(), torch.rand(1)) == expected


def test_pickle_and_clone(fitted, digits):
    X, y = digits
    same_predictions(pickle.loads(pickle.dumps(fitted)), fitted, X)
    fresh = clone(fitted)
    assert not hasattr(fresh, "net_")
    same_predictions(fresh.fit(X, y), fitted, X)


def test_pickle_holds_no_training_data_and_no_optimizer_state(digits):
    X, y = digits
    size = len(pickle.dumps(classifier(early_stopping=True).fit(X, y)))
    n_bytes = 4 * sum(p.numel() for p in SmallCNN(1, 4).parameters())
    assert size < 1.3 * n_bytes


def test_grid_search_in_two_processes(digits):
    X, y = digits
    grid = {"lr": [1e-8, 1e-2], "architecture": ["small_cnn", "mlp"]}
    search = GridSearchCV(classifier(max_epochs=5), grid, cv=2, n_jobs=2).fit(X, y)
    assert search.best_params_["lr"] == 1e-2
    assert search.best_score_ > 0.8


def test_embeddings_in_a_pipeline(digits):
    X, y = digits
    pipeline = make_pipeline(classifier(), LogisticRegression(max_iter=500)).fit(X, y)
    assert pipeline.score(X, y) > 0.9
    frame = pipeline[0].set_output(transform="pandas").transform(X[:2])
    assert list(frame.columns[[0, -1]]) == ["cnnclassifier0", "cnnclassifier127"]


def test_history(digits):
    clf = classifier(max_epochs=3).fit(*digits)
    assert clf.n_iter_ == len(clf.history_) == 3
    assert [row["epoch"] for row in clf.history_] == [1, 2, 3]
    for row in clf.history_:
        assert set(row) == {
            "epoch",
            "train_loss",
            "train_accuracy",
            "lr",
            "seconds",
        }
        assert all(type(value) in (int, float) for value in row.values())
    assert clf.history_[0]["train_loss"] > clf.history_[2]["train_loss"]
    assert clf.net_.history[:, "train_loss"] == [
        row["train_loss"] for row in clf.history_
    ]


def test_history_holds_the_mean_loss_of_the_samples(digits):
    # with a net that does not change, the epoch's loss is the mean over all samples,
    # whatever the batches
    X, y = digits
    clf = classifier(max_epochs=1, optimizer="sgd", lr=1e-30, dropout=0.0)
    clf.set_params(architecture="mlp", batch_size=77).fit(X, y)
    proba = clf.predict_proba(X)
    row = clf.history_[0]
    expected = -np.log(proba[np.arange(300), y]).mean()
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["train_accuracy"] == pytest.approx((proba.argmax(1) == y).mean())


def test_progress_is_reported(fitted, digits, monkeypatch):
    seen = []

    def listener(stage, done, total, info):
        seen.append((stage, done, total, sorted(info)))

    with progress.listen(listener):
        classifier().fit(*digits)
        fitted.predict(digits[0])
    names = ["lr", "seconds", "train_accuracy", "train_loss"]
    assert seen == [("epoch", 1, 2, names), ("epoch", 2, 2, names)]
    seen.clear()
    monkeypatch.setattr(limits, "inference_cpu_values", 64 * 160)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with progress.listen(listener):
        fitted.predict(digits[0])
    assert seen == [("pool", 160, 300, []), ("pool", 300, 300, [])]


def test_verbose_logs_epochs(digits, caplog, capsys):
    with caplog.at_level(logging.INFO, logger="dalmax_sk"):
        classifier(verbose=1, max_epochs=1).fit(*digits)
    assert "epoch 1/1: train_loss" in caplog.text
    assert capsys.readouterr().out == ""


def test_early_stopping(digits):
    # it stops after `patience` bad epochs and returns to the best one's weights
    X, y = digits

    class Keep(Callback):
        def on_train_begin(self, net, **kwargs):
            self.states = []

        def on_epoch_end(self, net, **kwargs):
            state = net.module_.state_dict()
            self.states.append({key: value.clone() for key, value in state.items()})

    clf = classifier(
        early_stopping=True,
        validation_fraction=0.25,
        patience=2,
        max_epochs=100,
        lr=0.02,
        callbacks=[("keep", Keep())],
    ).fit(X, y)
    losses = [row["valid_loss"] for row in clf.history_]
    assert clf.n_iter_ < 100
    assert min(losses[:-2]) < min(losses[-2:])
    best = dict(clf.net_.callbacks_)["keep"].states[int(np.argmin(losses))]
    for key, value in clf.module_.state_dict().items():
        assert torch.equal(value, best[key])
    assert {"valid_loss", "valid_accuracy"} <= set(clf.history_[0])


@pytest.mark.parametrize("seed", range(5))
def test_validation_samples_are_stratified(seed):
    y = torch.tensor([0] * 40 + [1] * 20 + [2] * 20 + [3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows, valid = stratified_split(y, 0.25)
    assert sorted([*rows.tolist(), *valid.tolist()]) == list(range(81))
    counts = np.bincount(y[valid], minlength=4)
    assert counts.sum() == 20
    assert np.all(np.abs(counts - [10, 5, 5, 0]) <= 1)
    assert counts[3] == 0  # the only one of its class stays for training


def test_too_few_samples_to_validate(digits):
    X = digits[0]
    with pytest.raises(ValueError, match=r"early_stopping=True .* needs 2 of the 4"):
        classifier(early_stopping=True, validation_fraction=0.5).fit(X[:4], range(4))


def test_warm_start_goes_on(digits):
    X, y = digits
    clf = classifier(warm_start=True, max_epochs=3).fit(X, y)
    first, mean = clf.history_, clf.module_.mean.clone()
    clf.fit(X[:150], y[:150])
    assert clf.history_[0]["train_loss"] < first[-1]["train_loss"]
    # the weights know inputs by the first normalisation
    assert torch.equal(clf.module_.mean, mean)
    cold = clf.set_params(warm_start=False).fit(X, y)
    assert cold.history_[0]["train_loss"] == first[0]["train_loss"]


def test_warm_start_refuses_another_problem(digits):
    X, y = digits
    clf = classifier(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"from the classes \[0, 1, 2, 3\] to \[0, 1"):
        clf.fit(X[y < 3], y[y < 3])
    with pytest.raises(ValueError, match="warm_start=True cannot go from InputSpec"):
        clf.fit(X[:, :7], y)
    with pytest.raises(ValueError, match="the present weights do not fit the arch"):
        clf.set_params(architecture="mlp").fit(X, y)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        # a batch an epoch: the factor at 0, 1/4, 1/2, 3/4 of the training
        ("cosine", [(1 + np.cos(np.pi * k / 4)) / 2 for k in range(4)]),
        (lambda done: 1 - done, [1, 0.75, 0.5, 0.25]),
    ],
)
def test_learning_rate_schedule(digits, schedule, expected):
    clf = classifier(max_epochs=4, batch_size=300, lr=0.01, lr_schedule=schedule)
    found = [row["lr"] for row in clf.fit(*digits).history_]
    np.testing.assert_allclose(found, 0.01 * np.array(expected))


def test_one_cycle_rises_and_falls(digits):
    clf = classifier(max_epochs=10, batch_size=300, lr=0.01, lr_schedule="one_cycle")
    found = np.array([row["lr"] for row in clf.fit(*digits).history_])
    assert found.argmax() == 3
    assert found.max() == pytest.approx(0.01)
    assert found[0] == pytest.approx(0.01 / 25)
    assert (np.diff(found[3:]) < 0).all()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", torch.optim.RAdam])
def test_optimizers(digits, optimizer):
    clf = classifier(optimizer=optimizer, weight_decay=1e-3).fit(*digits)
    assert clf.history_[1]["train_loss"] < clf.history_[0]["train_loss"]
    group = clf.net_.optimizer_.param_groups[0]
    assert group["weight_decay"] == 1e-3
    if optimizer == "sgd":
        assert group["nesterov"]
        assert group["momentum"] == 0.9


def test_training_equals_a_plain_loop(digits):
    # full batches of a perceptron without dropout: nothing is random but the weights
    X, y = digits
    tables = X.reshape(300, 64)[:, 2:6]
    params = {"optimizer": "sgd", "lr": 0.1, "batch_size": 300, "dropout": 0.0}
    params["lr_schedule"] = "constant"
    clf = classifier(max_epochs=5, **params).fit(tables, y)
    start = classifier(max_epochs=1, **{**params, "lr": 1e-300}).fit(tables, y)
    net = start.module_.train()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True)
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(torch.tensor(tables)), torch.tensor(y))
        loss.backward()
        optimizer.step()
    proba = net.eval()(torch.tensor(tables)).softmax(1).detach()
    np.testing.assert_allclose(clf.predict_proba(tables), proba, rtol=1e-9)


def test_class_weight(digits):
    # "balanced" equals the dict that scikit-learn's formula gives; weights have effect
    X, y = digits
    rows = np.r_[np.flatnonzero(y == 0)[:60], np.flatnonzero(y == 1)[:20]]
    X, y = X[rows], y[rows]
    balanced = classifier(class_weight="balanced").fit(X, y)
    by_hand = classifier(class_weight={0: 80 / (2 * 60), 1: 80 / (2 * 20)}).fit(X, y)
    same_predictions(balanced, by_hand, X)
    # the loss of a net that does not change is the weighted mean
    still = {"optimizer": "sgd", "lr": 1e-30, "dropout": 0.0, "batch_size": 80}
    clf = classifier(architecture="mlp", class_weight={1: 5.0}, **still).fit(X, y)
    weight = np.where(y == 1, 5.0, 1.0)
    losses = -np.log(clf.predict_proba(X)[np.arange(80), y])
    expected = np.average(losses, weights=weight)
    assert clf.history_[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"class_weight names \['x'\], .* \[0, 1\]"):
        classifier(class_weight={"x": 1}).fit(X, y)


def test_diverging_training(digits):
    with pytest.raises(ValueError, match=r"loss became (nan|inf) in epoch 1 with lr=1"):
        classifier(lr=1e30, optimizer="sgd").fit(*digits)


class Counter(Callback):
    """Counts events; ends the training after `stop` epochs."""

    def __init__(self, stop=None):
        self.stop = stop
        self.events = []

    def on_train_begin(self, net, **kwargs):
        self.events.append("begin")

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        self.events.append("batch")

    def on_epoch_end(self, net, **kwargs):
        self.events.append("epoch")
        if len(net.history) == self.stop:
            raise KeyboardInterrupt

    def on_train_end(self, net, **kwargs):
        self.events.append("end")


def test_callbacks_see_every_event_and_are_copied(digits):
    callback = Counter()
    clf = classifier(callbacks=[callback], batch_size=100).fit(*digits)
    found = dict(clf.net_.callbacks_)["Counter"]
    assert found.events == ["begin", *(["batch"] * 3 + ["epoch"]) * 2, "end"]
    assert callback.events == []


def test_skorch_callbacks_work(digits, tmp_path):
    # checkpoints at the best epoch, scores of the epoch's predictions, schedules
    callbacks = [
        Checkpoint(dirname=tmp_path, monitor="valid_loss_best", f_optimizer=None),
        EpochScoring("accuracy", on_train=True, name="accuracy", lower_is_better=False),
        LRScheduler("StepLR", step_size=1, gamma=0.5),
    ]
    clf = classifier(
        callbacks=callbacks, early_stopping=True, lr_schedule="constant"
    ).fit(*digits)
    assert (tmp_path / "params.pt").is_file()
    history = clf.net_.history
    assert history[:, "accuracy"] == history[:, "train_accuracy"]
    assert [row["lr"] for row in clf.history_] == [1e-3, 5e-4]


def test_the_skorch_net_predicts_by_itself(fitted, digits):
    x = digits[0][:, None].astype(np.float32)
    expected = fitted.predict_proba(digits[0])
    np.testing.assert_allclose(fitted.net_.predict_proba(x), expected, atol=1e-6)
    np.testing.assert_array_equal(fitted.net_.predict(x), expected.argmax(1))


def test_a_callback_may_end_the_training(digits):
    clf = classifier(callbacks=[Counter(stop=3)], max_epochs=50).fit(*digits)
    assert clf.n_iter_ == 3


def test_an_interrupt_from_outside_stops_fit(digits):
    def interrupt(batch):
        raise KeyboardInterrupt

    clf = classifier(augment=interrupt)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*digits)
    assert not hasattr(clf, "net_")


def test_augmentation_sees_batches_of_images_in_training_only(digits):
    seen = []

    def augment(batch):
        seen.append((tuple(batch.shape), batch.dtype))
        return batch

    X = digits[0].astype(np.uint8)
    clf = classifier(augment=augment, batch_size=150, max_epochs=1).fit(X, digits[1])
    assert seen == [((150, 1, 8, 8), torch.uint8)] * 2
    clf.predict(X)
    assert len(seen) == 2
    with pytest.raises(ValueError, match=r"augment=True changes images, but X is a t"):
        classifier(augment=True).fit(X.reshape(300, 64), digits[1])


def test_module_as_architecture_is_not_trained_in_place(digits):
    module = SmallCNN(1, 4, width=4)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    clf = classifier(architecture=module).fit(*digits)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    assert clf.transform(digits[0]).shape == (300, 16)
    same_predictions(clone(clf).fit(*digits), clf, digits[0])


class Pooled(nn.Module):
    """A net without a linear layer."""

    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], n_classes, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def test_architecture_without_a_linear_layer(digits):
    # it classifies, but has no embedding
    clf = classifier(architecture=Pooled).fit(*digits)
    assert clf.predict_proba(digits[0]).shape == (300, 4)
    with pytest.raises(NoEmbeddingError, match=r"Pooled has no torch\.nn\.Linear"):
        clf.transform(digits[0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"architecture": "small_cn"}, "Did you mean 'small_cnn'"),
        ({"weights": "imagenet"}, "no pretrained weights by that name"),
        ({"weights": "nothing.pth"}, "no file of weights nothing.pth"),
        ({"device": "gpu"}, "device='gpu' is not a device torch knows"),
        ({"normalize": "imagenet"}, r"must lie in \[0, 1\]"),
    ],
)
def test_parameters_that_do_not_fit(digits, params, message):
    X = digits[0] / 16 if "weights" in params else digits[0]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        classifier(**params).fit(X, digits[1])


def test_imagenet_normalisation(digits):
    X, y = digits
    clf = classifier(normalize="imagenet", max_epochs=1).fit(X / 16, y)
    assert clf.module_.mean.item() == pytest.approx(0.449, abs=1e-3)
    colour = np.repeat(X[..., None] / 16, 3, axis=3)
    clf.fit(colour, y)
    np.testing.assert_allclose(clf.module_.std, [0.229, 0.224, 0.225])
    with pytest.raises(ValueError, match=r"for images of 3 channels .*'train'"):
        clf.fit(X.reshape(300, 64), y)


def test_weights_file(digits, tmp_path):
    # weights of another number of classes: everything but the last layer is taken
    X, y = digits
    first = classifier(max_epochs=5).fit(X[y < 3], y[y < 3])
    torch.save(first.module_.net.state_dict(), tmp_path / "net.pth")
    clf = classifier(weights=tmp_path / "net.pth", lr=1e-12, max_epochs=1).fit(X, y)
    a, b = (c.module_.net.body[0][0].weight.detach() for c in (first, clf))
    torch.testing.assert_close(a, b)
    assert clf.predict_proba(X).shape == (300, 4)


def test_bfloat16(digits):
    X, y = digits
    clf = classifier(amp=True, max_epochs=10).fit(X, y)
    proba, embeddings = clf.predict_proba_and_embeddings(X)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-14)
    assert embeddings.dtype == np.float32
    assert clf.score(X, y) > 0.9
    assert next(clf.module_.parameters()).dtype == torch.float32


def test_batches_for_gradients(fitted, digits):
    # what strategies use to reach the inputs: the same rows in the same order
    X = digits[0]
    parts = list(fitted.iter_batches(X, batch_size=128))
    assert [(start, stop) for start, stop, _ in parts] == [
        (0, 128),
        (128, 256),
        (256, 300),
    ]
    x = torch.cat([batch for *_, batch in parts]).float().requires_grad_()
    proba = fitted.module_(x).double().softmax(1)
    np.testing.assert_allclose(proba.detach(), fitted.predict_proba(X), atol=1e-6)
    proba[:, 0].sum().backward()
    assert (x.grad.abs().sum((1, 2, 3)) > 0).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there(digits):
    with pytest.raises(
        ValueError, match=r"device='cuda:1' was asked for, but torch se"
    ):
        classifier(device="cuda:1").fit(*digits)


def test_several_gpus_need_accelerate(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'pip install "dalmax_sk\[accelerate\]"'):
        classifier(device="multi").fit(*digits)


def test_accelerate_in_one_process(digits):
    pytest.importorskip("accelerate")
    X, y = digits
    clf = classifier(device="multi").fit(X, y)
    same_predictions(clf, classifier().fit(X, y), X)
    same_predictions(pickle.loads(pickle.dumps(clf)), clf, X)


@pytest.mark.slow
def test_compiled_net(digits):
    X, y = digits
    clf = classifier(compile=True, dropout=0.0).fit(X, y)
    expected = classifier(dropout=0.0).fit(X, y)
    np.testing.assert_allclose(
        clf.predict_proba(X), expected.predict_proba(X), atol=1e-3
    )
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_allclose(loaded.predict_proba(X), clf.predict_proba(X), atol=1e-6)


@pytest.mark.gpu
def test_gpu_and_cpu_agree(digits):
    X, y = digits
    clf = classifier(device="cuda", max_epochs=5).fit(X, y)
    assert clf.device_.type == "cuda"
    proba, embeddings = clf.predict_proba_and_embeddings(X)
    on_cpu = pickle.loads(pickle.dumps(clf))
    on_cpu.net_.module_.cpu()
    np.testing.assert_allclose(on_cpu.predict_proba(X), proba, atol=1e-4)
    np.testing.assert_allclose(on_cpu.transform(X), embeddings, atol=1e-3)
    assert clf.score(X, y) > 0.9
