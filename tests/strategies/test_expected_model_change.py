"""Expected gradient length: the closed form, and automatic differentiation's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import cross_entropy

from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.nets import SmallCNN, build_net
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import (
    ExpectedModelChange,
    NoiseStability,
    expected_gradient_length,
    get_strategy,
)
from dalmax_sk.strategies._gradient_lengths import (
    ExpectedLengths,
    lengths_by_layers,
    lengths_by_weights,
)


def definition(module, batch, weights, top_classes=None):
    """One sample and one class at a time, by ordinary automatic differentiation."""
    lengths = []
    for x in batch:
        logits = module(x[None])
        proba = logits.detach().double().softmax(dim=1)[0]
        classes = proba.argsort(descending=True)[:top_classes]
        total = 0.0
        for y in classes:
            loss = cross_entropy(logits, y[None])
            gradients = torch.autograd.grad(
                loss, weights, retain_graph=True, allow_unused=True
            )
            squares = sum(
                float(g.double().square().sum()) for g in gradients if g is not None
            )
            total += float(proba[y]) * squares**0.5
        lengths.append(total)
    return np.array(lengths)


# ------------------------------------------------------------------ the last layer


@pytest.mark.parametrize(("n_classes", "top_classes"), [(2, None), (5, None), (5, 2)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("max_memory", [2**28, 1])
def test_closed_form(n_classes, top_classes, bias, max_memory):
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(4, n_classes, bias=bias, dtype=torch.float64)
    embeddings = torch.randn(9, 4, dtype=torch.float64, generator=generator)
    expected = definition(layer, embeddings, list(layer.parameters()), top_classes)
    proba = layer(embeddings).detach().softmax(dim=1).numpy()
    lengths = expected_gradient_length(
        proba,
        embeddings.numpy(),
        bias=bias,
        top_classes=top_classes,
        max_memory=max_memory,
    )
    assert_allclose(lengths, expected, rtol=1e-10)


# |p - e_y|² computed as |p|² - 2 p_y + 1 would be rounding alone here.
@pytest.mark.parametrize("doubt", [1e-6, 1e-12, 1e-18, 0.0])
def test_closed_form_of_nearly_certain_candidates(doubt):
    proba = [[1 - doubt, doubt / 2, doubt / 2]]
    certain, other = doubt * np.sqrt(1.5), np.sqrt(1 + 0.25 + 1)
    expected = (1 - doubt) * certain + doubt * np.sqrt(1 + (1 - doubt / 2) ** 2)
    assert other > 1  # the two other labels are an error of about sqrt(2)
    length = expected_gradient_length(proba, np.zeros((1, 2)))
    assert_allclose(length, expected, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    logits=st.lists(
        st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=6
    ),
    top_classes=st.sampled_from([None, 1, 2, 3, 9]),
)
def test_closed_form_is_what_its_formula_says(logits, top_classes):
    proba = softmax(np.array(logits), axis=1)
    embeddings = np.arange(2.0 * len(proba)).reshape(-1, 2)
    lengths = expected_gradient_length(proba, embeddings, top_classes=top_classes)
    for p, h, length in zip(proba, embeddings, lengths, strict=True):
        terms = sorted(
            ((p[y], np.linalg.norm(p - np.eye(3)[y])) for y in range(3)), reverse=True
        )
        total = sum(py * error for py, error in terms[:top_classes])
        expected = np.sqrt(h @ h + 1) * total
        assert length == pytest.approx(expected, rel=1e-6, abs=1e-7)


def linear_pool(seed=0, n=40, **params):
    rng = np.random.RandomState(seed)
    params = {"random_state": 0, **params}
    return Pool.from_arrays(
        embeddings=rng.randn(n, 4), head=(rng.randn(3, 4), rng.randn(3)), **params
    )


def test_arrays_and_linear_models():
    pool = linear_pool()
    expected = expected_gradient_length(pool.proba, pool.embeddings)
    for layers in ("last", "all"):
        picks, scores = ExpectedModelChange(layers).query(pool, 40, return_scores=True)
        assert_array_equal(scores, expected[picks])
        assert_array_equal(picks, np.argsort(-expected))
    X, y = load_digits(n_class=4, return_X_y=True)
    labeled = np.arange(100)
    for bias in (True, False):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(fit_intercept=bias, max_iter=500)
        )
        model.fit(X[:100], y[:100])
        pool = Pool(model, X, labeled, y[:100], random_state=0)
        scores = ExpectedModelChange()._score(pool)
        proba, H = model.predict_proba(X[100:]), model[0].transform(X[100:])
        assert_allclose(scores, expected_gradient_length(proba, H, bias=bias))


# DalMax picked the most confident images, by a measure of this name.
def test_confident_candidates_come_last():
    pool = linear_pool(n=300)
    scores = ExpectedModelChange()._score(pool)
    assert spearmanr(scores, pool.proba.max(axis=1))[0] < -0.5


# ------------------------------------------------------------------ all layers


class Grouped(nn.Module):
    """Strides, groups, dilation, an unused branch and a residual sum in place."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, (3, 2), padding=(2, 1), dilation=2, groups=2)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu_(self.norm(self.first(x)))
        self.unused(x[:, 0, :1, :3].flatten(1))
        found = self.grouped(x)
        found += x.mean(dim=(1, 2, 3), keepdim=True)
        return self.head(torch.relu_(found).mean(dim=(2, 3)))


class Tokens(nn.Module):
    """Linear layers on (b, tokens, features), and batch normalisation of rows."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.head(self.norm(self.body(x).sum(dim=1)))


class Shared(nn.Module):
    """One layer used twice: the gradients of both uses add up."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


class Scaled(nn.Module):
    """A weight that belongs to no known layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x * self.scale)


class UsedByHand(nn.Module):
    """The weights of a layer that runs are used once more, outside of it."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(x) + torch.tanh(x @ self.layer.weight.T))


def randomized(module, seed=0):
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module.double().eval()


def weights_of(module):
    return {k: p for k, p in module.named_parameters() if p.requires_grad}


CASES = {
    "small_cnn": (lambda: SmallCNN(1, 3, width=4), (1, 8, 8), True),
    "resnet": (
        lambda: build_net("cifar_resnet18", input_shape=(3, 8, 8), n_classes=3),
        (3, 8, 8),
        True,
    ),
    "grouped": (Grouped, (2, 9, 7), True),
    "tokens": (Tokens, (3, 5), True),
    "shared": (Shared, (4,), False),
    "scaled": (Scaled, (4,), False),
    "used by hand": (UsedByHand, (4,), False),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("top_classes", [None, 2])
def test_lengths_are_those_of_the_definition(name, top_classes):
    make, shape, by_layers = CASES[name]
    with torch.random.fork_rng():
        module = randomized(make())
        batch = torch.randn(4, *shape, dtype=torch.float64)
    if name == "resnet":
        batch = batch[:2]
    weights = weights_of(module)
    expected = definition(module, batch, list(weights.values()), top_classes)
    lengths = lengths_by_weights(module, weights, batch, top_classes)
    assert_allclose(lengths, expected, rtol=1e-9)
    chosen = ExpectedLengths(module, top_classes, 2**28)
    assert_allclose(chosen(batch), expected, rtol=1e-9)
    assert (chosen.lengths is lengths_by_layers) == by_layers
    if by_layers:
        lengths = lengths_by_layers(module, weights, batch, top_classes)
        assert_allclose(lengths, expected, rtol=1e-9)
        tiny = ExpectedLengths(module, top_classes, 1)
        assert_allclose(tiny(batch), expected, rtol=1e-9)
        assert tiny.rows == 1
    assert not any(layer._forward_hooks for layer in module.modules())
    assert all(weight.grad is None for weight in module.parameters())


def test_frozen_weights_do_not_count():
    with torch.random.fork_rng():
        module = randomized(SmallCNN(1, 3, width=4))
        batch = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    module.body.requires_grad_(False)
    weights = weights_of(module)
    assert list(weights) == ["classifier.weight", "classifier.bias"]
    expected = definition(module, batch, list(weights.values()))
    assert_allclose(ExpectedLengths(module, None, 2**28)(batch), expected, rtol=1e-9)


@pytest.fixture(scope="module")
def net_pool():
    digits = load_digits(n_class=5)
    net = CNNClassifier(max_epochs=4, random_state=0, device="cpu")
    net.fit(digits.images[:100], digits.target[:100])
    return Pool(
        net,
        digits.images[:160],
        np.arange(100),
        digits.target[:100],
        random_state=0,
    )


def test_the_last_layer_alone_equals_its_closed_form(net_pool):
    module = net_pool.network.module
    batch = torch.cat([batch for _, _, batch in net_pool.network.batches()])
    weights = {k: w for k, w in weights_of(module).items() if "classifier" in k}
    assert len(weights) == 2
    scores = ExpectedModelChange()._score(net_pool)
    for lengths in (lengths_by_layers, lengths_by_weights):
        assert_allclose(lengths(module, weights, batch), scores, rtol=1e-5)


def test_all_layers_of_a_classifier(net_pool):
    module = net_pool.network.module
    before = {k: v.clone() for k, v in module.state_dict().items()}
    picks, scores = ExpectedModelChange("all").query(net_pool, 6, return_scores=True)
    batch = torch.cat([batch for _, _, batch in net_pool.network.batches()])
    expected = definition(module, batch, list(module.parameters()))
    assert_array_equal(picks, np.argsort(-expected)[:6])
    assert_allclose(scores, expected[picks], rtol=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert (scores > ExpectedModelChange()._score(net_pool)[picks]).all()


def test_a_layer_without_bias():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU())
            self.head = nn.Linear(6, 2, bias=False)

        def forward(self, x):
            return self.head(self.body(x))

    X, y = load_digits(n_class=2, return_X_y=True)
    net = CNNClassifier(Net(), max_epochs=1, device="cpu", random_state=0)
    net.fit(X[:50].reshape(-1, 8, 8), y[:50])
    pool = Pool(net, X.reshape(-1, 8, 8)[:60], np.arange(50), y[:50], random_state=0)
    expected = expected_gradient_length(pool.proba, pool.embeddings, bias=False)
    assert_allclose(ExpectedModelChange()._score(pool), expected)


# The gradients of all 400 samples by the 300,000 weights would take 500 MB.
@pytest.mark.parametrize(
    "by_layers", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_peak_memory(by_layers, peak_growth):
    setup = f"""
import torch
from torch import nn
from dalmax_sk.strategies._gradient_lengths import ExpectedLengths
torch.manual_seed(0)
class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
    def forward(self, x):
        return x * self.scale
module = nn.Sequential(
    nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 3)
)
if not {by_layers}:
    module.append(Scale())
module.eval()
X = torch.randn(400, 512)
ExpectedLengths(module, None, 2**20)(X[:4])
"""
    measured = """
ExpectedLengths(module, None, 2**24)(X)
"""
    assert (
        peak_growth(setup, measured) < 48_000
    )  # 16 MB of blocks, and the allocator's slack


# ------------------------------------------------------------------ promises, errors


@pytest.mark.parametrize("n", [1, 7, 40])
def test_numbers_of_picks_and_duplicates(n):
    picks = ExpectedModelChange().query(linear_pool(), n)
    assert len(set(picks.tolist())) == n
    pool = Pool.from_arrays(
        proba=np.full((40, 2), 0.5), embeddings=np.ones((40, 3)), random_state=0
    )
    picks = ExpectedModelChange().query(pool, n)
    assert len(set(picks.tolist())) == n
    if n == 7:
        assert picks.tolist() != sorted(picks.tolist())


def test_float32_and_little_memory():
    pool = linear_pool()
    expected = ExpectedModelChange().query(pool, 20)
    small = linear_pool(max_memory=1)
    assert_array_equal(ExpectedModelChange().query(small, 20), expected)
    single = Pool.from_arrays(
        proba=pool.proba, embeddings=pool.embeddings.astype(np.float32), random_state=0
    )
    assert_array_equal(ExpectedModelChange().query(single, 20), expected)


def test_models_without_a_gradient():
    X, y = load_digits(n_class=3, return_X_y=True)
    model = RandomForestClassifier(5, random_state=0).fit(X[:50], y[:50])
    pool = Pool(model, X, np.arange(50), y[:50])
    for layers in ("last", "all"):
        with pytest.raises(
            MissingCapabilityError, match="ExpectedModelChange needs the linear layer"
        ):
            ExpectedModelChange(layers).query(pool, 1)
    with pytest.raises(MissingCapabilityError, match="ExpectedModelChange needs"):
        ExpectedModelChange().query(Pool.from_arrays(embeddings=X), 1)


@pytest.mark.parametrize("strategy", [ExpectedModelChange(), NoiseStability()])
def test_a_model_that_diverged(strategy):
    X, y = load_digits(n_class=3, return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(X[:50], y[:50])
    model.coef_[:] = np.nan
    with pytest.raises(
        ValueError, match=r"LogisticRegression has .* NaN or infinite .*diverged"
    ):
        strategy.query(Pool(model, X, np.arange(50), y[:50]), 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layers": "first"}, "'layers' parameter of ExpectedModelChange must be"),
        ({"top_classes": 0}, "'top_classes' parameter of ExpectedModelChange must be"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        ExpectedModelChange(**params).query(linear_pool(), 1)


def test_by_name():
    strategy = get_strategy("expected_model_change", layers="all")
    assert isinstance(strategy, ExpectedModelChange)
