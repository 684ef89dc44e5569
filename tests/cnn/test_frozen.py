"""Frozen layers: their weights stay, and their features are computed once."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch import nn

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.cnn import frozen, load_model, save_model
from dalmax_sk.cnn.frozen import (
    FrozenFeatureCache,
    collect_features,
    get_frozen_cache,
    set_frozen_cache_size,
)
from dalmax_sk.nets import SmallCNN, build_net
from dalmax_sk.nets.freeze import FrozenPart
from dalmax_sk.pool.evaluation import embedding_fingerprint

N_CLASSES = 3


@pytest.fixture(autouse=True)
def empty_cache():
    get_frozen_cache().clear()
    set_frozen_cache_size(2**30)
    yield
    get_frozen_cache().clear()
    set_frozen_cache_size(2**30)


@pytest.fixture
def data():
    rng = np.random.RandomState(0)
    X = rng.randint(0, 256, (90, 8, 8, 3), dtype=np.uint8)
    y = rng.randint(0, N_CLASSES, 90)
    X[y == 0, :4] //= 4
    X[y == 1, 4:] //= 4
    return X, y


class Counting(nn.Module):
    """The small CNN; notes on how many samples its body is run."""

    seen = 0  # of all copies together

    def __init__(self, n_outputs=N_CLASSES):
        super().__init__()
        self.net = SmallCNN(3, n_outputs, dropout=0.2)
        self.num_features = self.net.num_features

    def forward_features(self, x):
        Counting.seen += len(x)
        return self.net.forward_features(x)

    def forward_head(self, features, pre_logits=False):
        return self.net.forward_head(features, pre_logits)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))

    def get_classifier(self):
        return self.net.classifier


@pytest.fixture
def net():
    torch.manual_seed(0)
    module = Counting()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2)
    return module


def classifier(net, **params):
    options = {"max_epochs": 4, "batch_size": 16, "random_state": 0, "device": "cpu"}
    return CNNClassifier(net, **{**options, "freeze": "body", **params})


def counted(work):
    """Samples that bodies were run on while ``work()`` ran."""
    Counting.seen = 0
    work()
    return Counting.seen


def weights_of(clf):
    return {k: v.clone() for k, v in clf.module_.state_dict().items()}


def assert_same_nets(a, b):
    for (name, one), two in zip(
        weights_of(a).items(), weights_of(b).values(), strict=True
    ):
        assert torch.equal(one, two), name


# ------------------------------------------------------------------ what stays, exactly


@pytest.mark.parametrize("augment", [False, "flip"])
@pytest.mark.parametrize("freeze", ["body", "net.body.1"])
def test_frozen_weights_and_statistics_stay(net, data, freeze, augment):
    clf = classifier(net, freeze=freeze, augment=augment, weight_decay=0.1)
    clf.fit(*data)
    before = dict(net.state_dict())
    n_changed = 0
    for name, tensor in clf.module_.net.state_dict().items():
        body = name.startswith("net.body")
        if body and (freeze == "body" or name.startswith(("net.body.0", "net.body.1"))):
            assert torch.equal(tensor, before[name]), name
        elif tensor.is_floating_point():
            n_changed += not torch.equal(tensor, before[name])
    assert n_changed == (2 if freeze == "body" else 7)
    assert not clf.module_.training


def test_training_on_features_equals_training_the_whole_net(net, data):
    # a plain loop over the whole net, in which nothing but the head gets a gradient
    X, y = data
    clf = classifier(net, max_epochs=3, lr_schedule="constant").fit(X, y)
    reference = classifier(net, max_epochs=3, lr_schedule="constant", augment=_same)
    assert_same_nets(clf, reference.fit(X, y))
    assert clf.history_[-1]["train_loss"] == reference.history_[-1]["train_loss"]


def _same(images):
    return images


@pytest.mark.parametrize("freeze", ["body", "net.body.0"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_cache_changes_nothing(net, data, freeze, early_stopping):
    X, y = data
    params = {"freeze": freeze, "early_stopping": early_stopping}
    cached = classifier(net, **params).fit(X[:60], y[:60])
    again = classifier(net, **params).fit(X[:60], y[:60])
    set_frozen_cache_size(0)
    plain = classifier(net, **params).fit(X[:60], y[:60])
    assert_same_nets(cached, again)
    assert_same_nets(cached, plain)
    found = plain.predict_proba_and_embeddings(X)
    set_frozen_cache_size(20_000)  # room for some
    for clf in (cached, again, plain):
        for _ in range(2):
            proba, embeddings = clf.predict_proba_and_embeddings(X)
            np.testing.assert_array_equal(proba, found[0])
            np.testing.assert_array_equal(embeddings, found[1])


def test_the_pool_pass_equals_the_net_itself(net, data):
    X, y = data
    clf = classifier(net, freeze="net.body.1").fit(X, y)
    proba, embeddings = clf.predict_proba_and_embeddings(X)
    for start, stop, batch in clf.iter_batches(X, batch_size=32):
        with torch.inference_mode():
            logits, found = clf.module_(batch, return_embeddings=True)
        np.testing.assert_allclose(proba[start:stop], logits.softmax(1), atol=1e-6)
        np.testing.assert_allclose(embeddings[start:stop], found, atol=1e-6)


# -------------------------------------------------------------------- how often it runs


def test_the_body_runs_once_an_image_in_all_rounds(net, data, record_property):
    X, y = data
    learner = ActiveLearningClassifier(
        classifier(net, max_epochs=2),
        n_initial=12,
        query_size=6,
        n_rounds=4,
        random_state=0,
    )
    few = 4 * 6  # two samples each that a fit looks at the net with
    n_seen = counted(lambda: learner.fit(X, y))
    assert len(X) <= n_seen <= len(X) + 5 * few
    assert counted(lambda: learner.predict(X)) == 0
    # without the cache: each image many times
    set_frozen_cache_size(0)
    assert counted(lambda: clone(learner).fit(X, y)) > 4 * len(X)


def test_other_weights_are_other_features(net, data):
    X, y = data
    first = classifier(net).fit(X, y)
    with torch.no_grad():
        net.net.body[0][0].weight.mul_(1.5)
    second = classifier(net).fit(X, y)
    assert first.embedding_fingerprint_ != second.embedding_fingerprint_
    assert abs(first.transform(X) - second.transform(X)).max() > 1e-3
    # also those that are changed in place later
    before = second.transform(X)
    with torch.no_grad():
        second.module_.net.net.body[0][0].weight.mul_(1.5)
    assert abs(second.transform(X) - before).max() > 1e-3


def test_other_images_are_other_features(net, data):
    X, y = data
    clf = classifier(net).fit(X, y)
    changed = X.copy()
    changed[7, 0, 0, 0] ^= 1
    before, after = clf.transform(X), clf.transform(changed)
    assert (before[7] != after[7]).any()
    np.testing.assert_array_equal(np.delete(before, 7, 0), np.delete(after, 7, 0))


def test_a_file_that_changes_is_computed_again(net, data, tmp_path):
    X, y = data
    paths = [str(tmp_path / f"{i}.png") for i in range(20)]
    for path, image in zip(paths, X, strict=False):
        Image.fromarray(image).save(path)
    clf = classifier(net)
    clf.fit(paths, y[:20])
    before = clf.transform(paths)
    assert counted(lambda: clf.transform(paths)) == 0
    Image.fromarray(X[50]).save(paths[3], compress_level=0)
    assert counted(lambda: clf.transform(paths)) == 1
    np.testing.assert_array_equal(
        clf.transform(paths[3:4])[0], clf.transform(X[50:51])[0]
    )
    assert (clf.transform(paths)[3] != before[3]).any()


def test_augmented_images_are_not_kept(net, data):
    X, y = data
    clf = classifier(net, augment="flip", max_epochs=3)
    assert counted(lambda: clf.fit(X, y)) >= 3 * len(X)
    assert get_frozen_cache().nbytes == 0


def test_tables_are_frozen_too(data):
    rng = np.random.RandomState(0)
    X, y = rng.randn(80, 5), rng.randint(0, 2, 80)
    torch.manual_seed(0)
    mlp = build_net("mlp", input_shape=(5,), n_classes=2)
    clf = classifier(mlp).fit(X, y)
    state = clf.module_.net.state_dict()
    assert torch.equal(state["body.1.weight"], mlp.body[1].weight.double())
    assert clf.predict_proba(X).shape == (80, 2)
    assert get_frozen_cache().nbytes == 0


# --------------------------------------------------------------------- what it tells


def test_the_token_says_when_embeddings_are_the_same(net, data):
    X, y = data
    one = classifier(net).fit(X[:40], y[:40])
    two = classifier(net, random_state=5, lr=0.01).fit(X, y)
    assert one.embedding_fingerprint_ == two.embedding_fingerprint_ is not None
    np.testing.assert_array_equal(one.transform(X), two.transform(X))
    found = [embedding_fingerprint(classifier, X) for classifier in (one, two)]
    assert found[0] == found[1] is not None


@pytest.mark.parametrize(
    "params", [{"freeze": None}, {"freeze": "net.body.1"}, {"normalize": "train"}]
)
def test_no_token_or_another_where_embeddings_change(net, data, params):
    X, y = data
    one = classifier(net, **params).fit(X[:40], y[:40])
    two = classifier(net, **params).fit(X[40:], y[40:])
    assert one.embedding_fingerprint_ is None or (
        one.embedding_fingerprint_ != two.embedding_fingerprint_
    )
    assert (one.transform(X) != two.transform(X)).any()


def test_no_token_with_trained_layers_before_the_last():
    torch.manual_seed(0)
    net = build_net("mobilenet_v3_small", input_shape=(3, 32, 32), n_classes=2)
    part = FrozenPart(net, "body", torch.randn(2, 3, 32, 32))
    assert not part.gives_embedding()
    assert all(name.startswith("body.") for name in part.names)
    resnet = build_net("resnet18", input_shape=(3, 32, 32), n_classes=2)
    assert FrozenPart(resnet, "body", torch.randn(2, 3, 32, 32)).gives_embedding()


@pytest.mark.parametrize(
    ("architecture", "where"),
    [
        ("resnet18", "layer3"),
        ("cifar_resnet18", "body.4"),
        ("mobilenet_v3_small", "features.5"),
    ],
)
def test_nets_are_cut_at_a_layer(architecture, where):
    torch.manual_seed(0)
    net = build_net(architecture, input_shape=(3, 32, 32), n_classes=2).eval()
    part = FrozenPart(net, where, torch.randn(2, 3, 32, 32))
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        features = part.features(x)
        assert torch.equal(net.forward_head(part.body_features(features)), net(x))
    assert features.shape[1:] == part.feature_shape
    assert 0 < len(part.names) < len(list(net.parameters()))
    assert all(p.requires_grad != (k in part.names) for k, p in net.named_parameters())


# ------------------------------------------------------------------------ files, faults


def test_models_come_back(net, data, tmp_path):
    X, y = data
    clf = classifier(net, freeze="net.body.1").fit(X, y)
    save_model(clf, tmp_path / "model")
    loaded = load_model(tmp_path / "model", architecture=net, device="cpu")
    assert loaded.freeze == "net.body.1"
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    pickled = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(pickled.predict_proba(X), clf.predict_proba(X))
    # and can be trained on
    pickled.set_params(warm_start=True).fit(X, y)


def test_a_saved_model_is_a_body_with_its_own_normalisation(data, tmp_path):
    X, y = data
    trained = CNNClassifier(max_epochs=2, random_state=0, device="cpu").fit(X, y)
    save_model(trained, tmp_path / "model")
    clf = CNNClassifier(
        weights=tmp_path / "model.safetensors",
        freeze="body",
        max_epochs=1,
        random_state=1,
        device="cpu",
    ).fit(X[:20], y[:20])
    assert torch.equal(clf.module_.mean, trained.module_.mean)
    np.testing.assert_allclose(clf.transform(X), trained.transform(X), atol=1e-6)


def test_random_layers_are_frozen_with_a_warning(data):
    clf = CNNClassifier(freeze="body", max_epochs=1, random_state=0, device="cpu")
    with pytest.warns(UserWarning, match="freeze='body' keeps layers of 'small_cnn'"):
        clf.fit(*data)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("bdy", "freeze='bdy': Counting has no layer of that name. Pass 'body' or one"),
        ("net.dropout", "never calls its layer Dropout"),
    ],
)
def test_wrong_names_are_errors(net, data, freeze, message):
    with pytest.raises(ValueError, match=message):
        classifier(net, freeze=freeze).fit(*data)


def test_a_layer_beside_a_shortcut_is_no_place_to_cut(data):
    torch.manual_seed(0)
    resnet = build_net("cifar_resnet18", input_shape=(3, 8, 8), n_classes=N_CLASSES)
    with pytest.raises(ValueError, match="the net cannot be cut behind"):
        classifier(resnet, freeze="body.3.residual").fit(*data)


# -------------------------------------------------------------------------- the cache


def keys(*names):
    return [(name, (0, 0)) for name in names]


def test_the_cache_keeps_to_its_budget_and_drops_the_oldest_net():
    cache = FrozenFeatureCache(10 * 16)
    rows = torch.arange(24.0).view(6, 4)  # 16 bytes each
    cache.keep("a", keys(*"abcdef"), rows)
    assert cache.nbytes <= 160
    cache.keep("b", keys(*"ab"), rows[:2])
    found, missing = cache.find("a", keys("c", "x"))  # used last
    assert missing == [1]
    assert torch.equal(found[0], rows[2])
    cache.keep("c", keys(*"abc"), rows[:3])
    assert cache.find("b", keys("a")) == (None, [0])
    assert cache.find("a", keys("a"))[1] == []
    # one net alone keeps what it has and takes no more
    cache.keep("c", keys(*map(str, range(20))), torch.zeros(20, 4))
    assert cache.nbytes <= 160
    assert torch.equal(cache.find("c", keys("b"))[0][0], rows[1])
    cache.max_bytes = 10
    assert cache.nbytes == 0


def test_half_precision_features_are_kept_to_the_bit():
    cache = FrozenFeatureCache(1000)
    rows = torch.randn(5, 3).bfloat16()
    cache.keep("a", keys(*"abcde"), rows)
    found, missing = cache.find("a", keys(*"edcba"))
    assert missing == []
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, rows.flip(0))


def test_features_beyond_the_budget_are_not_collected(net, data):
    clf = classifier(net).fit(*data)
    source = frozen.TensorSource(torch.from_numpy(data[0]), 3)
    set_frozen_cache_size(90 * 128 * 4 - 1)
    assert collect_features(clf.module_, source, torch.device("cpu")) is None
    set_frozen_cache_size(90 * 128 * 4)
    features = collect_features(clf.module_, source, torch.device("cpu"))
    assert features.data.shape == (90, 128)


@pytest.mark.parametrize("size", [-1, 1.5, True, "1"])
def test_wrong_budgets(size):
    with pytest.raises(ValueError, match="max_bytes of the cache of frozen features"):
        set_frozen_cache_size(size)
