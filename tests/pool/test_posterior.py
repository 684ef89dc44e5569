"""Samples from posteriors equal their definitions: one model for all candidates."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from dalmax_sk._base.storage import is_mapped
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import (
    LaplaceHead,
    LinearHead,
    MissingCapabilityError,
    Pool,
    committee_proba,
    posterior,
    sample_posterior,
)


def iris_pool(estimator=None, every=5, **params):
    X, y = load_iris(return_X_y=True)
    labeled = np.arange(0, 150, every)
    if estimator is None:
        estimator = LogisticRegression(max_iter=1000)
    estimator.fit(X[labeled], y[labeled])
    return Pool(estimator, X, labeled, y[labeled], **{"random_state": 0, **params})


# ------------------------------------------------------------------------- dropout


class StubNetwork:
    """A net without training, with its candidates in batches of a given size."""

    architecture = "stub"

    def __init__(self, module, X, batch_size=4, columns=None):
        self.module = module.eval()
        self.X, self.batch_size = X, batch_size
        self.columns = np.arange(X.shape[1]) if columns is None else columns

    def batches(self):
        for start in range(0, len(self.X), self.batch_size):
            stop = min(start + self.batch_size, len(self.X))
            yield start, stop, self.X[start:stop]


class StubPool:
    def __init__(self, network, n_classes, seed=0, max_memory=2**30):
        self.network, self.classes = network, np.arange(n_classes)
        self.seed, self.max_memory = seed, max_memory

    def __len__(self):
        return len(self.network.X)

    @property
    def model_random_state(self):
        return np.random.RandomState(self.seed)

    def prepare(self, requires, owner):
        assert requires == ["network"]

    def once(self, key, make, *, axis):
        assert axis == 1
        return make()


class Shown(nn.Module):
    """Class scores are the inputs behind dropout, in the head or in the body."""

    def __init__(self, dropout, in_body=False, shape=None):
        super().__init__()
        self.dropout, self.in_body, self.shape = dropout, in_body, shape
        self.n_bodies = 0

    def forward_features(self, x):
        self.n_bodies += 1
        return self._drop(x) if self.in_body else x

    def forward_head(self, features, pre_logits=False):
        return features if self.in_body else self._drop(features)

    def _drop(self, x):
        if self.shape is None:
            return self.dropout(x)
        return self.dropout(x.view(len(x), *self.shape)).flatten(1)


def dropout_samples(module, X, n_samples=6, batch_size=4, **params):
    network = StubNetwork(module, X, batch_size)
    pool = StubPool(network, X.shape[1], **params)
    return sample_posterior(pool, "dropout", n_samples)


def logits_of(samples):
    """Class scores up to a constant: the first class's is 0."""
    logs = np.log(samples)
    return logs - logs[..., :1]


# A candidate of ones shows the mask; all others must have met the same one.
@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_one_mask_a_sample_for_all_candidates(in_body, rate):
    X = torch.randn(11, 8, dtype=torch.float64, generator=torch.manual_seed(0))
    X[3] = 1.0
    samples = dropout_samples(Shown(nn.Dropout(rate), in_body), X)
    assert samples.shape == (6, 11, 8)
    assert samples.dtype == np.float64
    seen = set()
    for k in range(6):
        # of all scores the kept are the largest
        shown = samples[k, 3]
        mask = shown > (shown.min() + shown.max()) / 2
        if np.ptp(shown) < 1e-9:
            continue  # all kept or all dropped
        seen.add(tuple(mask))
        expected = softmax(X.numpy() * mask / (1 - rate), axis=1)
        assert_allclose(samples[k], expected, rtol=1e-10)
    assert len(seen) > 3


def test_units_are_dropped_at_the_rate():
    X = torch.ones(1, 10, dtype=torch.float64)
    X[0, 0] = 5.0
    samples = dropout_samples(Shown(nn.Dropout(0.3)), X, n_samples=600)
    scores = np.log(samples[:, 0])
    kept = scores[:, 1:] - scores.min(axis=1, keepdims=True) > 1.0
    # 5,400 draws: the standard error is 0.006
    assert abs(kept.mean() - 0.7) < 0.03


@pytest.mark.parametrize("in_body", [False, True])
def test_batches_and_their_order_change_nothing(in_body):
    X = torch.randn(13, 5, generator=torch.manual_seed(0))
    module = Shown(nn.Dropout(0.4), in_body)
    samples = dropout_samples(module, X, batch_size=13)
    for size in (1, 4, 5):
        assert_array_equal(dropout_samples(module, X, batch_size=size), samples)
    order = np.random.RandomState(0).permutation(13)
    assert_array_equal(dropout_samples(module, X[order]), samples[:, order])
    # masks that there is no room to keep are drawn again, the same
    assert_array_equal(dropout_samples(module, X, max_memory=1), samples)
    assert not np.array_equal(dropout_samples(module, X, seed=1), samples)
    # a longer run begins with the same samples
    assert_array_equal(dropout_samples(module, X, n_samples=9)[:6], samples)


@pytest.mark.parametrize(("in_body", "n_bodies"), [(False, 3), (True, 18)])
def test_a_deterministic_body_runs_once_a_batch(in_body, n_bodies):
    module = Shown(nn.Dropout(0.4), in_body)
    dropout_samples(module, torch.ones(12, 5))
    assert module.n_bodies == n_bodies


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Dropout1d, (3, 4)), (nn.Dropout2d, (3, 2, 2)), (nn.Dropout3d, (3, 2, 2, 1))],
)
def test_channels_are_dropped_as_a_whole(layer, shape):
    X = 1.0 + torch.arange(12, dtype=torch.float64).repeat(5, 1) / 12
    samples = dropout_samples(Shown(layer(0.5), shape=shape), X, n_samples=30)
    masks = set()
    for k in range(30):
        fits = [
            mask
            for mask in np.ndindex(2, 2, 2)
            if np.allclose(
                samples[k], softmax(X.numpy() * np.repeat(mask, 4) * 2, axis=1)
            )
        ]
        assert len(fits) == 1
        masks.add(fits[0])
    assert len(masks) > 4


# In training mode torch maps a constant input to two values, kept and dropped.
@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.AlphaDropout, None), (nn.FeatureAlphaDropout, (6, 2))]
)
def test_alpha_dropout_maps_to_the_values_of_torch(layer, shape, rate):
    # squares, because a shift of all class scores does not show in probabilities
    class Squared(Shown):
        def forward_head(self, features, pre_logits=False):
            return self._drop(features).square()

    X = torch.full((3, 12), 0.7, dtype=torch.float64)
    torch.manual_seed(0)
    drop = layer(rate).train()
    trained = drop(
        X.view(3, *(shape or (12,))).repeat(50, *[1] * (X.ndim + bool(shape) - 1))
    )
    low, high = trained.square().unique().tolist()
    samples = dropout_samples(Squared(layer(rate), shape=shape), X, n_samples=20)
    found = np.unique(logits_of(samples).round(10))
    allowed = {0.0, round(high - low, 10), round(low - high, 10)}
    assert set(found) <= allowed
    assert len(found) > 1


def test_rate_one_drops_everything():
    samples = dropout_samples(Shown(nn.Dropout(1.0)), torch.randn(4, 5))
    assert_allclose(samples, 0.2)


def test_layers_used_twice_get_two_masks():
    class Twice(Shown):
        def forward_head(self, features, pre_logits=False):
            return self.dropout(features) + 100 * self.dropout(features)

    X = torch.ones(2, 6, dtype=torch.float64)
    samples = dropout_samples(Twice(nn.Dropout(0.5)), X / 100, n_samples=40)
    scores = np.unique(logits_of(samples).round(6))
    assert len(scores) > 3  # 0, 0.02, 2 and 2.02 apart


def test_inactive_and_unused_dropout_is_an_error():
    with pytest.raises(MissingCapabilityError, match=r"'stub' has none.*dropout=0.25"):
        dropout_samples(Shown(nn.Dropout(0.0)), torch.ones(3, 2))
    module = Shown(nn.Identity())
    module.unused = nn.Dropout(0.5)
    with pytest.raises(
        MissingCapabilityError, match=r"none of the dropout layers \['u"
    ):
        dropout_samples(module, torch.ones(3, 2))


def test_a_batch_on_another_axis_is_an_error():
    class Turned(Shown):
        def forward_head(self, features, pre_logits=False):
            return self.dropout(features.T).T

    with pytest.raises(ValueError, match=r"layer 'dropout' must be the batch \(3\)"):
        dropout_samples(Turned(nn.Dropout(0.5)), torch.ones(3, 2))


def test_heads_that_work_in_place_do_no_harm():
    class InPlace(Shown):
        def forward_head(self, features, pre_logits=False):
            return self.dropout(features.add_(1.0))

    X = torch.randn(5, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    samples = dropout_samples(InPlace(nn.Dropout(0.3)), X)
    assert_array_equal(samples, dropout_samples(Shown(nn.Dropout(0.3)), X + 1))


def test_attention_does_not_pass_dropout_by():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)

    class Attentive(Shown):
        def forward_head(self, features, pre_logits=False):
            return self.dropout(features[:, None])[:, 0]

    fast = torch.backends.mha.get_fastpath_enabled()
    samples = dropout_samples(Attentive(layer), torch.randn(6, 4))
    assert samples.std(axis=0).min() > 0
    assert torch.backends.mha.get_fastpath_enabled() == fast


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=4, return_X_y=True)
    return X.reshape(-1, 8, 8)[:260], y[:260]


def cnn_pool(digits, **params):
    X, y = digits
    labeled = np.arange(0, len(X), 4)
    net = CNNClassifier(
        **{"max_epochs": 2, "device": "cpu", "random_state": 0, **params}
    )
    net.fit(X[labeled], y[labeled])
    return Pool(net, X, labeled, y[labeled], random_state=0)


def test_dropout_of_a_cnn(digits):
    pool = cnn_pool(digits, dropout=0.5)
    module = pool.estimator.module_
    before = {name: value.clone() for name, value in module.state_dict().items()}
    samples = pool.posterior_proba("dropout", 200)
    assert samples.shape == (200, 195, 4)
    assert_allclose(samples.sum(axis=2), 1)
    # not all the same, and around the prediction without dropout
    assert samples.std(axis=0).mean() > 0.005
    assert abs(samples.mean(axis=0) - pool.proba).mean() < 0.02
    # nothing of the net has changed, batch normalisation included
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not module.training
    assert all(not layer._forward_hooks for layer in module.modules())
    assert_array_equal(pool.posterior_proba("auto", 200), samples)


# Every sample is the last layer behind one mask on the embedding.
def test_dropout_of_a_cnn_equals_its_definition(digits):
    pool = cnn_pool(digits, dropout=0.3)
    samples = pool.posterior_proba("dropout", 3)
    weight = pool.head.weight
    for k in range(3):
        logits = np.log(samples[k])
        centred = logits - logits.mean(axis=1, keepdims=True)
        # which mask? least squares on the features, each scaled by its own factor
        contrast = weight - weight.mean(axis=0)
        bias = pool.head.bias - pool.head.bias.mean()
        H = pool.embeddings.astype(np.float64)
        rows = (H[:, None, :] * contrast[None]).reshape(-1, H.shape[1])
        factor = np.linalg.lstsq(rows, (centred - bias).ravel(), rcond=None)[0]
        active = abs(rows).max(axis=0) > 1e-3
        distance = np.minimum(abs(factor), abs(factor - 1 / 0.7))[active]
        assert np.median(distance) < 1e-3
        keep = np.where(factor > 0.5 / 0.7, 1 / 0.7, 0.0)
        expected = softmax((H * keep) @ weight.T + pool.head.bias, axis=1)
        assert_allclose(samples[k], expected, atol=1e-3)


def test_dropout_in_the_body_of_a_module_of_ones_own(digits):
    def build(input_shape, n_classes):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Dropout2d(0.3),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(384, n_classes),
        )

    pool = cnn_pool(digits, architecture=build)
    samples = pool.posterior_proba("auto", 5)
    assert samples.std(axis=0).mean() > 0.01
    some = pool.subset([5, 2, 150])
    assert_allclose(some.posterior_proba("auto", 5), samples[:, [5, 2, 150]], atol=1e-5)


def dropped_before_the_last_layer(n_classes=4):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 12),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(12, n_classes, bias=False),
    )


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("small_cnn", {}),
        ("mlp", {"dropout": 0.5}),
        (dropped_before_the_last_layer(), {}),  # its dropout counts as body
        ("mlp", {"classes": [0, 1, 2, 3, 9]}),  # one class never seen
    ],
)
def test_samples_of_a_dropped_embedding_equal_k_runs_of_the_net(
    digits, architecture, options, monkeypatch
):
    pool = cnn_pool(digits, architecture=architecture, **options)
    bodies = count_bodies(pool, monkeypatch)
    samples = pool.posterior_proba("dropout", 5)
    assert sum(bodies) <= len(pool) + 2 * 8  # one pass, and a look at where it sits
    # that pass gave these as well
    assert pool.is_computed("proba")
    assert pool.is_computed("embeddings")
    slow = cnn_pool(digits, architecture=architecture, **options)
    monkeypatch.setattr(posterior, "_drops_embeddings_only", lambda *_: False)
    expected = slow.posterior_proba("dropout", 5)
    assert_allclose(samples, expected, atol=1e-6)
    assert len(np.unique(samples[:, 0, 0])) > 1


def count_bodies(pool, monkeypatch):
    """Numbers of samples that the net's body is run on."""
    module = pool.network.module
    bodies = []

    def run(x, body=module.net.forward_features):
        bodies.append(len(x))
        return body(x)

    monkeypatch.setattr(module.net, "forward_features", run)
    return bodies


def test_samples_come_from_embeddings_that_are_there(digits, monkeypatch):
    pool = cnn_pool(digits)
    pool.prepare(["embeddings"])
    bodies = count_bodies(pool, monkeypatch)
    pool.posterior_proba("dropout", 5)
    assert sum(bodies) == 2 * 8
    assert not pool.is_computed("proba")


class TwoDropouts(nn.Module):
    """Dropout in two places, or before something that is not linear."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())
        self.first, self.second = nn.Dropout(0.3), nn.Dropout(0.3)
        self.last = nn.Linear(12, 4)
        self.num_features = 12

    def forward_features(self, x):
        return self.body(x)

    def forward_head(self, x, pre_logits=False):
        x = self.first(x)
        if self.kind == "twice":
            x = self.first(x)
        elif self.kind == "two":
            x = self.second(x)
        else:
            x = torch.sigmoid(x)
        return x if pre_logits else self.last(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))

    def get_classifier(self):
        return self.last


@pytest.mark.parametrize("kind", ["twice", "two", "not linear"])
def test_other_heads_are_run_k_times(digits, kind):
    # in none of them is a sample the last layer on a masked embedding
    pool = cnn_pool(digits, architecture=TwoDropouts(kind))
    masks = posterior._SharedMasks(pool.network.module, 0, 2**20)
    assert not posterior._drops_embeddings_only(pool.network, masks)
    samples = pool.posterior_proba("dropout", 4)
    assert_allclose(samples.sum(axis=2), 1)


def test_samples_beyond_memory_go_to_the_disk(digits):
    small = cnn_pool(digits)
    small.max_memory = 1000
    samples = small.posterior_proba("dropout", 5)
    assert is_mapped(samples)
    assert_array_equal(samples, cnn_pool(digits).posterior_proba("dropout", 5))


def test_auto_takes_laplace_where_there_is_no_dropout(digits):
    pool = cnn_pool(digits, dropout=0.0)
    assert_array_equal(
        pool.posterior_proba("auto", 4), pool.posterior_proba("laplace", 4)
    )
    with pytest.raises(MissingCapabilityError, match=r"X with posterior='dropout'"):
        pool.posterior_proba("dropout", owner="X")


# ------------------------------------------------------------------------ ensembles


def test_members_of_a_forest_are_samples():
    forest = RandomForestClassifier(7, random_state=0)
    pool = iris_pool(make_pipeline(StandardScaler(), forest))
    samples = pool.posterior_proba("auto", 3)
    X = pool.estimator[:-1].transform(load_iris(return_X_y=True)[0][pool.indices])
    expected = [tree.predict_proba(X) for tree in forest.estimators_]
    assert_allclose(samples, expected)
    assert_array_equal(pool.posterior_proba("ensemble", 3), samples)


def test_members_of_a_bagging_ensemble_are_samples():
    pool = iris_pool(BaggingClassifier(LogisticRegression(max_iter=500), 4))
    samples = pool.posterior_proba()
    assert samples.shape == (4, 120, 3)
    assert_allclose(samples.mean(axis=0), pool.proba)


def test_an_ensemble_is_trained_where_there_is_none():
    pool = iris_pool(DecisionTreeClassifier(random_state=0))
    samples = pool.posterior_proba("ensemble", 4)
    assert samples.shape == (4, 120, 3)
    assert samples.std(axis=0).max() > 0


@pytest.mark.parametrize(
    "estimator",
    [DecisionTreeClassifier(), GradientBoostingClassifier(n_estimators=2)],
)
def test_auto_without_a_posterior_is_an_error(estimator):
    with pytest.raises(
        MissingCapabilityError, match=r"BALD needs samples .* Classifier|Laplace"
    ):
        iris_pool(estimator).posterior_proba(owner="BALD")


# -------------------------------------------------------------------------- Laplace


class Unit:
    """Draws unit vectors: outer products of samples then sum to the covariance."""

    def standard_normal(self, shape):
        assert shape[0] == shape[1]
        return np.eye(shape[0])


def make_head(n_classes=3, d=4, m=20, seed=0):
    rng = np.random.RandomState(seed)
    head = LinearHead(
        rng.randn(n_classes, d), rng.randn(n_classes), np.arange(n_classes), n_classes
    )
    return head, rng.randn(m, d)


def gauss_newton(head, embeddings):
    """Sum of (diag(p) - p pᵀ) ⊗ h hᵀ, the bias as a feature, in plain loops."""
    n_classes, d = head.weight.shape
    total = np.zeros((n_classes * (d + 1),) * 2)
    for x in embeddings:
        h = np.append(x, 1.0)
        p = softmax(head.weight @ x + head.bias)
        total += np.kron(np.diag(p) - np.outer(p, p), np.outer(h, h))
    return total


def without_constant(n_classes, width):
    centre = np.eye(n_classes) - 1 / n_classes
    return np.kron(centre, np.eye(width))


# Many labelled samples, and fewer than directions: two ways to the same matrix.
@pytest.mark.parametrize("m", [1, 3, 30])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("tau", [0.01, 2.0])
def test_laplace_covariance_is_that_of_the_definition(n_classes, m, tau):
    head, embeddings = make_head(n_classes, m=m)
    laplace = LaplaceHead(head, embeddings, prior_precision=tau)
    assert laplace.structure_ == "full"
    size = (n_classes - 1) * 5
    trained = np.column_stack([head.weight, head.bias])
    steps = (laplace.sample_weights(size, Unit()) - trained).reshape(size, -1)
    precision = gauss_newton(head, embeddings) + tau * np.eye(n_classes * 5)
    centre = without_constant(n_classes, 5)
    expected = centre @ np.linalg.inv(precision) @ centre
    assert_allclose(steps.T @ steps, expected, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_kronecker_covariance_is_that_of_the_definition(n_classes):
    head, embeddings = make_head(n_classes)
    laplace = LaplaceHead(head, embeddings, prior_precision=0.3, structure="kronecker")
    size = (n_classes - 1) * 5
    trained = np.column_stack([head.weight, head.bias])
    steps = (laplace.sample_weights(size, Unit()) - trained).reshape(size, -1)
    left, right = np.zeros((n_classes, n_classes)), np.zeros((5, 5))
    for x in embeddings:
        h = np.append(x, 1.0)
        p = softmax(head.weight @ x + head.bias)
        left += (np.diag(p) - np.outer(p, p)) / len(embeddings)
        right += np.outer(h, h)
    precision = np.kron(left, right) + 0.3 * np.eye(n_classes * 5)
    centre = without_constant(n_classes, 5)
    expected = centre @ np.linalg.inv(precision) @ centre
    assert_allclose(steps.T @ steps, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("m", [2, 40])
def test_prior_precision_has_the_largest_marginal_likelihood(seed, m):
    head, embeddings = make_head(m=m, seed=seed)
    matrix = gauss_newton(head, embeddings)
    trained = np.column_stack([head.weight, head.bias])
    square = ((trained - trained.mean(axis=0)) ** 2).sum()
    grid = np.logspace(-4, 4, 33)
    evidence = [
        0.5 * len(matrix) * np.log(tau)
        - 0.5 * np.linalg.slogdet(matrix + tau * np.eye(len(matrix)))[1]
        - 0.5 * tau * square
        for tau in grid
    ]
    found = LaplaceHead(head, embeddings).prior_precision_
    assert found == grid[np.argmax(evidence)]


def test_laplace_probabilities_are_the_soft_max_of_the_weights():
    head, embeddings = make_head(n_classes=3)
    head = LinearHead(head.weight, head.bias, columns=np.array([0, 2, 3]), n_classes=5)
    laplace = LaplaceHead(head, embeddings, max_memory=2_000)
    weights = laplace.sample_weights(4, np.random.RandomState(0))
    samples = laplace.posterior_proba(embeddings, 4, np.random.RandomState(0))
    assert samples.shape == (4, 20, 5)
    for k in range(4):
        for i, x in enumerate(embeddings):
            expected = np.zeros(5)
            expected[[0, 2, 3]] = softmax(weights[k] @ np.append(x, 1.0))
            assert_allclose(samples[k, i], expected, atol=1e-12)


def test_structure_depends_on_the_size():
    head, embeddings = make_head()
    assert LaplaceHead(head, embeddings, max_memory=1000).structure_ == "kronecker"
    rng = np.random.RandomState(0)
    wide = LinearHead(rng.randn(30, 80), np.zeros(30), np.arange(30), 30)
    laplace = LaplaceHead(wide, rng.randn(100, 80))
    assert laplace.structure_ == "kronecker"  # 2,349 directions, 2,900 factors


def test_laplace_of_logistic_regression():
    pool = iris_pool()
    samples = pool.posterior_proba()
    assert_array_equal(samples, pool.posterior_proba("laplace"))
    assert samples.shape == (20, 120, 3)
    assert_allclose(samples.sum(axis=2), 1)
    # more labels, less doubt
    more = iris_pool(every=2).posterior_proba("laplace", 200).std(axis=0).mean()
    less = iris_pool(every=10).posterior_proba("laplace", 200).std(axis=0).mean()
    assert more < 0.8 * less


def test_laplace_on_arrays_with_a_head():
    head, embeddings = make_head()
    pool = Pool.from_arrays(
        embeddings=embeddings,
        labeled_embeddings=embeddings[:5],
        head=(head.weight, head.bias),
        random_state=0,
    )
    assert pool.posterior_proba().shape == (20, 20, 3)


def test_laplace_with_one_class_knows_no_doubt():
    head = LinearHead(np.ones((1, 2)), np.zeros(1), np.array([1]), 3)
    laplace = LaplaceHead(head, np.ones((3, 2)))
    samples = laplace.posterior_proba(np.ones((4, 2)), 5, np.random.RandomState(0))
    assert_array_equal(samples[..., 1], 1)


def test_laplace_without_labels_is_an_error():
    head, embeddings = make_head()
    pool = Pool.from_arrays(embeddings=embeddings, head=(head.weight, head.bias))
    with pytest.raises(MissingCapabilityError, match="none is labelled yet"):
        pool.posterior_proba("laplace")


# --------------------------------------------------------------------------- in common


@pytest.mark.parametrize("posterior", ["auto", "ensemble", "laplace"])
def test_samples_depend_on_the_seed_alone(posterior):
    samples = iris_pool().posterior_proba(posterior, 3)
    assert_array_equal(iris_pool().posterior_proba(posterior, 3), samples)
    other = iris_pool(random_state=1).posterior_proba(posterior, 3)
    assert not np.array_equal(other, samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": "diagonal"}, "structure must be .* got 'diagonal'"),
        ({"prior_precision": 0.0}, "prior_precision must be above 0, got 0.0"),
        ({"embeddings": np.empty((0, 4))}, "at least one labelled sample, got 0"),
    ],
)
def test_wrong_arguments_of_laplace(options, message):
    head, embeddings = make_head()
    with pytest.raises(ValueError, match=message):
        LaplaceHead(head, **{"embeddings": embeddings, **options})


def test_wrong_arguments():
    pool = iris_pool()
    with pytest.raises(ValueError, match=r"X: posterior must be one of .* got 'vi'"):
        sample_posterior(pool, "vi", owner="X")
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        sample_posterior(pool, n_samples=0)
    arrays = Pool.from_arrays(proba=[[0.5, 0.5]])
    with pytest.raises(MissingCapabilityError, match="these arrays cannot give"):
        arrays.posterior_proba()


def test_a_model_that_diverged_is_an_error():
    pool = iris_pool()
    pool.estimator.coef_[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN"):
        pool.posterior_proba()


@pytest.mark.parametrize("given", [{}, {"proba": np.full((3, 2), 0.5)}])
def test_arrays_without_samples_ask_for_samples(given):
    # probabilities would be of no help
    pool = Pool.from_arrays(embeddings=np.eye(3), **given)
    with pytest.raises(
        MissingCapabilityError,
        match=r"needs samples .*posterior_proba=\.\.\.",
    ):
        sample_posterior(pool)


# property: samples are drawn once a pool, by whatever name they are asked for
def test_samples_are_drawn_once():
    pool = iris_pool()
    found = sample_posterior(pool, "laplace", 3)
    assert sample_posterior(pool, "auto", 3) is found
    assert pool.posterior_proba("laplace", 3) is found
    assert sample_posterior(pool, "laplace", 4) is not found
    assert_array_equal(sample_posterior(iris_pool(), "laplace", 3), found)


def test_a_committee_is_fitted_once():
    pool = iris_pool()
    found = committee_proba(pool, "heads", 3)
    assert committee_proba(pool, "heads", 3, owner="Me") is found
    assert committee_proba(pool, "heads", 3, bootstrap=False) is not found
    assert_array_equal(
        pool.subset([4, 2]).once(
            ("committee_proba", "heads", 3, "auto", False), pytest.fail
        ),
        found[:, [4, 2]],
    )
    # estimators may have changed between two calls
    given = [LogisticRegression(C=0.1), LogisticRegression()]
    first = committee_proba(pool, given)
    given[0].set_params(C=10.0)
    assert (committee_proba(pool, given)[0] != first[0]).any()
