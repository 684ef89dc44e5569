"""Noise stability: one noise for the whole pool, and k-center on what it does."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk._base import progress
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import NoiseStability, get_strategy, noise_stability


def farthest_first(vectors, n):
    """Greedy k-center with the origin as first centre, in plain loops."""
    nearest = [float(np.linalg.norm(v)) for v in vectors]
    picks, distances = [], []
    for _ in range(n):
        left = [i for i in range(len(vectors)) if i not in picks]
        pick = max(left, key=lambda i: nearest[i])
        picks.append(pick)
        distances.append(nearest[pick])
        for i, v in enumerate(vectors):
            nearest[i] = min(nearest[i], float(np.linalg.norm(v - vectors[pick])))
    return picks, distances


def record_noise(monkeypatch):
    """Return the list that all noisy weights will be in."""
    seen = []
    original = noise_stability._noisy

    def noisy(weights, strategy, generator):
        found = original(weights, strategy, generator)
        seen.append({name: weight.clone() for name, weight in found.items()})
        return found

    monkeypatch.setattr(noise_stability, "_noisy", noisy)
    return seen


def head_pool(n=40, d=4, n_classes=3, seed=0, **params):
    rng = np.random.RandomState(seed)
    params = {"random_state": 0, **params}
    return Pool.from_arrays(
        embeddings=2 * rng.randn(n, d),
        head=(rng.randn(n_classes, d), rng.randn(n_classes)),
        **params,
    )


@pytest.fixture(scope="module")
def net_pool():
    digits = load_digits(n_class=5)
    net = CNNClassifier(max_epochs=4, random_state=0, device="cpu")
    net.fit(digits.images[:100], digits.target[:100])
    return Pool(
        net, digits.images[:150], np.arange(100), digits.target[:100], random_state=0
    )


# ------------------------------------------------------------------ definitions


@pytest.mark.parametrize("output", ["proba", "logits"])
@pytest.mark.parametrize("noise", ["global", "layer"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("max_memory", [2**30, 1])
@pytest.mark.parametrize("relative", [True, False])
def test_noise_on_a_head(monkeypatch, output, noise, seed, max_memory, relative):
    seen = record_noise(monkeypatch)
    pool = head_pool(seed=seed, random_state=seed, max_memory=max_memory)
    strategy = NoiseStability(0.01, 4, noise=noise, output=output, relative=relative)
    picks, scores = strategy.query(pool, 10, return_scores=True)
    assert len(seen) == 4
    vectors = []
    for h in pool.embeddings:
        clean = pool.head.weight @ h + pool.head.bias
        clean = softmax(clean) if output == "proba" else clean
        length = np.linalg.norm(clean) if relative else 1.0
        vector = []
        for weights in seen:
            shaken = weights["weight"].numpy() @ h + weights["bias"].numpy()
            shaken = softmax(shaken) if output == "proba" else shaken
            vector.extend((shaken - clean) / length)
        vectors.append(np.float32(vector).astype(np.float64))
    expected, distances = farthest_first(vectors, 10)
    assert_array_equal(picks, expected)
    assert_allclose(scores, distances, rtol=1e-5)
    mean = np.mean([np.linalg.norm(v) for v in vectors]) / 2
    assert pool.info["mean_deviation"] == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("output", ["proba", "logits", "embeddings"])
@pytest.mark.parametrize("noise", ["global", "layer"])
@pytest.mark.parametrize("relative", [True, False])
def test_noise_on_a_net(monkeypatch, net_pool, output, noise, relative):
    seen = record_noise(monkeypatch)
    strategy = NoiseStability(0.05, 3, noise=noise, output=output, relative=relative)
    picks, scores = strategy.query(net_pool, 8, return_scores=True)
    batch = torch.cat([batch for _, _, batch in net_pool.network.batches()])
    module = copy.deepcopy(net_pool.network.module).eval()

    def run():
        with torch.no_grad():
            logits, embeddings = module(batch, return_embeddings=True)
        if output == "embeddings":
            return embeddings.double().numpy()
        return (logits if output == "logits" else logits.double().softmax(1)).numpy()

    clean, deviations = run().astype(np.float64), []
    for weights in seen:
        module.load_state_dict(weights, strict=False)
        length = np.linalg.norm(clean, axis=1, keepdims=True) if relative else 1.0
        deviations.append((run() - clean) / length)
    expected, distances = farthest_first(np.concatenate(deviations, axis=1), 8)
    assert_array_equal(picks, expected)
    assert_allclose(scores, distances, rtol=1e-3)


@pytest.mark.parametrize("noise", ["global", "layer"])
def test_length_of_the_noise(noise):
    weights = {
        "conv.weight": torch.randn(5, 4, dtype=torch.float64),
        "weight": 100 * torch.randn(3, 2, 2, 2, dtype=torch.float64),
        "norm.weight": torch.randn(7, dtype=torch.float64),
        "norm.bias": torch.randn(7, dtype=torch.float64),
        "token": torch.randn(7, 2, dtype=torch.float64),
    }
    found = noise_stability._noisy(
        weights, NoiseStability(0.25, noise=noise), torch.Generator().manual_seed(0)
    )
    difference = {name: found[name] - weights[name] for name in weights}
    if noise == "global":
        total = torch.cat([v.flatten() for v in weights.values()]).norm()
        moved = torch.cat([v.flatten() for v in difference.values()]).norm()
        assert float(moved / total) == pytest.approx(0.25)
        # a direction drawn uniformly: no tensor is preferred for its size
        assert difference["conv.weight"].norm() > difference["weight"].norm() / 5
    else:
        for name in ("conv.weight", "weight", "norm.weight"):
            ratio = difference[name].norm() / weights[name].norm()
            assert float(ratio) == pytest.approx(0.25)
        assert not difference["norm.bias"].any()
        assert not difference["token"].any()


def test_a_net_without_layers_to_shake():
    weights = {"token": torch.ones(2, 2), "scale.bias": torch.ones(3)}
    with pytest.raises(ValueError, match=r"has none: token, scale.bias. Use noise="):
        noise_stability._noisy(
            weights, NoiseStability(noise="layer"), torch.Generator()
        )


# Of two candidates that the noise moves equally far, the one whose output is shorter
# comes first: 1 beside sqrt(1/2) for two classes.
def test_relative_deviations_prefer_short_outputs():
    pool = head_pool(n=200, n_classes=6)
    uneven, even = (
        NoiseStability(relative=relative).query(pool, 20) for relative in (False, True)
    )
    lengths = np.linalg.norm(pool.proba, axis=1)
    assert lengths[even].mean() < lengths[uneven].mean()


# a pool of zeros under a head without a bias: outputs of length 0 are not divided
def test_outputs_of_length_zero():
    pool = Pool.from_arrays(
        embeddings=np.vstack([np.zeros((3, 2)), np.ones((3, 2))]),
        head=(np.eye(2), np.zeros(2)),
        random_state=0,
    )
    picks, scores = NoiseStability(output="logits").query(pool, 4, return_scores=True)
    assert len(set(picks.tolist())) == 4
    assert np.isfinite(scores).all()


# For small noise a deviation is a random projection of the gradient: its mean square
# is |J|² times that of the noise's entries.
def test_deviations_measure_the_gradient():
    pool = head_pool(n=15)
    strategy = NoiseStability(
        1e-5, 4000, noise="global", output="proba", relative=False
    )
    rng = np.random.RandomState(0)
    collector = noise_stability._Collector(strategy, 15, 2**30, rng)
    noise_stability._shake_head(strategy, pool, collector, rng)
    weight, bias = pool.head.weight, pool.head.bias
    squares = (collector.deviations.astype(np.float64) ** 2).sum(axis=1) / 4000
    norm = np.sqrt((weight**2).sum() + (bias**2).sum())
    variance = (1e-5 * norm) ** 2 / (weight.size + bias.size)
    for h, p, square in zip(pool.embeddings, pool.proba, squares, strict=True):
        jacobian = np.diag(p) - np.outer(p, p)  # of the soft-max
        expected = variance * (jacobian**2).sum() * (h @ h + 1)
        assert square == pytest.approx(expected, rel=0.15)


def test_projection_keeps_lengths():
    for seed in range(3):
        pool = head_pool(n=60, seed=seed)
        full, small = [], []
        for n_components, lengths in ((None, full), (400, small)):
            strategy = NoiseStability(n_components=n_components)
            rng = np.random.RandomState(seed)
            collector = noise_stability._Collector(strategy, 60, 2**30, rng)
            noise_stability._shake_head(strategy, pool, collector, rng)
            width = 90 if n_components is None else 400
            assert collector.deviations.shape == (60, width)
            assert collector.deviations.dtype == np.float32
            lengths.extend(np.linalg.norm(collector.deviations, axis=1))
        assert_allclose(small, full, rtol=4 * np.sqrt(2 / 400))
    picks = NoiseStability(n_components=3).query(pool, 60)
    assert len(set(picks.tolist())) == 60


# ------------------------------------------------------------------ behaviour


def test_nets_and_linear_models_find_their_way(net_pool):
    auto = NoiseStability(n_samplings=2).query(net_pool, 5)
    every = NoiseStability(n_samplings=2, layers="all").query(net_pool, 5)
    last = NoiseStability(n_samplings=2, layers="last").query(net_pool, 5)
    assert_array_equal(auto, every)
    assert last.tolist() != every.tolist()
    X, y = load_digits(n_class=3, return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:60], y[:60])
    pool = Pool(model, X, np.arange(60), y[:60], random_state=0)
    auto, last = (NoiseStability(layers=w).query(pool, 5) for w in ("auto", "last"))
    assert_array_equal(auto, last)


def test_it_prefers_uncertain_candidates():
    digits = load_digits(n_class=5)
    net = CNNClassifier(max_epochs=15, random_state=0, device="cpu")
    net.fit(digits.images[:100], digits.target[:100])
    labels = digits.target[:100]
    trained = Pool(net, digits.images[:300], np.arange(100), labels, random_state=0)
    for pool in (head_pool(n=300), trained):
        picks = NoiseStability(n_samplings=10).query(pool, 10)
        confidence = pool.proba.max(axis=1)
        assert confidence[picks].mean() < confidence.mean() - 0.1


def test_the_net_is_left_as_it_was(net_pool, monkeypatch):
    module = net_pool.network.module
    before = {k: v.clone() for k, v in module.state_dict().items()}
    ids = [id(p) for p in module.parameters()]
    NoiseStability(n_samplings=2).query(net_pool, 3)

    class Stop(Exception):
        pass

    def stop(stage, done, total, info):
        if stage == "query":
            raise Stop

    with progress.listen(stop), pytest.raises(Stop):
        NoiseStability(n_samplings=2).query(net_pool, 3)

    def fail(*args):
        raise Stop

    monkeypatch.setattr(torch.nn.Linear, "forward", fail)
    with pytest.raises(Stop):
        NoiseStability(n_samplings=2).query(net_pool, 3)
    assert [id(p) for p in module.parameters()] == ids
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not module.training


def test_randomness_comes_from_the_pool_alone(net_pool):
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    first = NoiseStability(n_samplings=2).query(net_pool, 5)
    NoiseStability(n_samplings=3, layers="last").query(net_pool, 5)
    assert_array_equal(NoiseStability(n_samplings=2).query(net_pool, 5), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    one, other = (
        NoiseStability(n_samplings=1).query(head_pool(random_state=s), 10)
        for s in (0, 1)
    )
    assert one.tolist() != other.tolist()


# The noise is of the weights: the order of the candidates has no part in it.
def test_permuting_the_pool_permutes_the_picks(net_pool):
    pool = head_pool()
    order = np.random.RandomState(1).permutation(40)
    other = Pool.from_arrays(
        embeddings=pool.embeddings[order],
        head=(pool.head.weight, pool.head.bias),
        random_state=0,
    )
    picks = NoiseStability().query(pool, 15)
    assert_array_equal(order[NoiseStability().query(other, 15)], picks)


# What a guard leaves of a pool is shaken like the whole.
def test_a_subset_sees_the_same_noise(net_pool):
    strategy = NoiseStability(n_samplings=2)
    for pool in (head_pool(), net_pool):
        picks, scores = strategy.query(pool, 3, return_scores=True)
        keep = np.unique(np.append(np.arange(0, len(pool), 2), picks))
        found = strategy.query(pool.subset(keep), 3, return_scores=True)
        assert_array_equal(keep[found[0]], picks)
        assert_allclose(found[1], scores, rtol=1e-3)


@pytest.mark.parametrize("n", [1, 20, 40])
def test_duplicates_and_constant_embeddings(n):
    head = ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    for embeddings in (np.ones((40, 2)), np.zeros((40, 2)), np.eye(2).repeat(20, 0)):
        pool = Pool.from_arrays(embeddings=embeddings, head=head, random_state=0)
        picks = NoiseStability().query(pool, n)
        assert len(set(picks.tolist())) == n


def test_one_class_and_float32():
    pool = Pool.from_arrays(
        embeddings=np.random.RandomState(0).randn(9, 2).astype(np.float32),
        head=([[1.0, 2.0]], [0.0]),
        random_state=0,
    )
    assert len(set(NoiseStability().query(pool, 9).tolist())) == 9


# ------------------------------------------------------------------ errors


def test_what_cannot_be_shaken():
    X, y = load_digits(n_class=3, return_X_y=True)
    model = RandomForestClassifier(5, random_state=0).fit(X[:50], y[:50])
    pool = Pool(model, X, np.arange(50), y[:50])
    with pytest.raises(MissingCapabilityError, match="NoiseStability needs the linear"):
        NoiseStability().query(pool, 1)
    with pytest.raises(MissingCapabilityError, match="NoiseStability needs a neural"):
        NoiseStability(layers="all").query(head_pool(), 1)
    with pytest.raises(ValueError, match="does not move the embeddings"):
        NoiseStability(output="embeddings").query(head_pool(), 1)


def test_too_many_deviations(monkeypatch):
    monkeypatch.setattr(noise_stability, "DEFAULT_MAX_MEMORY", 1000)
    pool = head_pool(max_memory=500)
    with pytest.raises(
        ValueError, match=r"90 deviations of 40 .* 14,400 bytes.*Set n_components=6 or"
    ):
        NoiseStability().query(pool, 1)
    assert len(NoiseStability(n_components=6).query(pool, 5)) == 5
    with pytest.raises(ValueError, match="Set n_components=6"):
        NoiseStability(n_components=7).query(pool, 5)
    assert len(NoiseStability().query(head_pool(max_memory=14_400), 5)) == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"magnitude": 0.0}, "'magnitude' parameter of NoiseStability must be"),
        ({"n_samplings": 0}, "'n_samplings' parameter of NoiseStability must be"),
        ({"noise": "white"}, "'noise' parameter of NoiseStability must be"),
        ({"output": "loss"}, "'output' parameter of NoiseStability must be"),
        ({"layers": "first"}, "'layers' parameter of NoiseStability must be"),
        ({"n_components": 0}, "'n_components' parameter of NoiseStability must be"),
        ({"relative": "yes"}, "'relative' parameter of NoiseStability must be"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        NoiseStability(**params).query(head_pool(), 1)


def test_by_name():
    assert isinstance(get_strategy("noise_stability"), NoiseStability)
