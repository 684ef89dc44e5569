"""The fast path picks what a slow one picks: rounds written out by hand, step by step.

The reference decodes one file at a time with Pillow, trains in a plain loop, looks at
the pool one image at a time in plain memory order, and picks by the definitions in
float64. It shares with the learner the net's layers, the seeds and the order of the
batches, nothing else.

Bitwise the same are the pixels, the batches and the trained weights: the plain loop has
the learner's memory order and optimiser, so that every sum is in the same order. (In
another order a maximum in a pooling window that is taken twice, or a value of 0 before
a ReLU, may fall the other way by rounding; the gradient then goes elsewhere and leads
to another net.) Outputs of the slow pool pass agree within ``TOLERANCE``. Picks are the
same as long as what decides between two candidates is more than that difference makes
of it: each test asserts that gap on its data.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk._base.seeds import derive_seed
from dalmax_sk.images import (
    get_image_cache,
    load_image_paths,
    make_digits_folder,
    set_image_cache_size,
)
from dalmax_sk.nets import build_net

N_ROUNDS, N_INITIAL, N_PICKS = 3, 20, 4
EPOCHS, BATCH_SIZE = 5, 8
#: What the two paths may differ by, as a share of the largest entry.
TOLERANCE = {"proba": 1e-5, "embeddings": 1e-5}
#: name -> (class, options, learning rate)
OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}, 1e-3),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, 0.02),
}
CHANNELS = {"grey": 1, "rgb": 3}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """80 images of the bundled digits as paths, and their labels."""
    folder = make_digits_folder(tmp_path_factory.mktemp("data") / "digits")
    bunch = load_image_paths(folder / "train")
    rows = np.random.RandomState(0).permutation(len(bunch.data))[:80]
    return bunch.data[rows], bunch.target[rows], "grey"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """70 lossy JPEGs of 16×16 in colour, of three kinds that can be told apart."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.RandomState(0)
    paths, labels = [], []
    wave = np.sin(np.arange(16) / 2)
    for i in range(70):
        kind = i % 3
        pixels = 110 + 50 * rng.rand() * rng.randn(16, 16, 3)
        pixels[..., kind] += 60 * rng.rand()
        pixels += 40 * (wave[:, None, None] if kind else wave[None, :, None])
        path = folder / f"{i}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(str(path))
        labels.append(f"kind_{kind}")
    return np.array(paths, dtype=object), np.array(labels), "rgb"


# ------------------------------------------------------------------ the slow reference


def decode_one_by_one(paths, mode):
    """Return uint8 (n, C, H, W), one file after the other."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert({"grey": "L", "rgb": "RGB"}[mode]))
        images.append(pixels.reshape(*pixels.shape[:2], CHANNELS[mode]))
    return np.stack(images).transpose(0, 3, 1, 2).copy()


def channel_statistics(pixels):
    """Mean and standard deviation of each channel of (n, C, H, W), pixels in [0, 1]."""
    values = pixels.astype(np.float64) / 255
    axes = (0, 2, 3)
    return values.mean(axes), values.std(axes)


class SlowNet:
    """A net trained by a plain loop, and evaluated one image at a time."""

    def __init__(self, pixels, codes, n_classes, seed, optimizer):
        mean, std = channel_statistics(pixels)
        shape = (1, -1, 1, 1)
        self.mean = torch.from_numpy(mean).float().view(shape)
        self.std = torch.from_numpy(std).float().view(shape)
        # CNNClassifier draws one number of its random_state and seeds torch with it.
        seed = int(np.random.RandomState(seed).randint(2**31 - 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = build_net(
                "small_cnn", input_shape=pixels.shape[1:], n_classes=n_classes
            ).to(memory_format=torch.channels_last)
            self.train(pixels, torch.from_numpy(codes), optimizer)

    def normalised(self, pixels, memory_format):
        x = torch.from_numpy(pixels).contiguous(memory_format=memory_format)
        return (x.to(torch.float32) / 255 - self.mean) / self.std

    def train(self, pixels, y, name):
        make, options, lr = OPTIMIZERS[name]
        optimizer = make(self.net.parameters(), lr=lr, fused=True, **options)
        n_batches = math.ceil(len(y) / BATCH_SIZE)
        step = 0
        for _ in range(EPOCHS):
            order = torch.randperm(len(y))
            for rows in order.tensor_split(n_batches):
                done = step / (n_batches * EPOCHS)
                factor = 0.5 * (1 + math.cos(math.pi * done))
                optimizer.param_groups[0]["lr"] = lr * factor
                optimizer.zero_grad()
                x = self.normalised(pixels[rows.numpy()], torch.channels_last)
                nn.functional.cross_entropy(self.net(x), y[rows]).backward()
                optimizer.step()
                step += 1

    def outputs(self, pixels):
        """Probabilities and embeddings in float64, one image a forward pass."""
        plain = torch.contiguous_format
        net = copy.deepcopy(self.net).to(memory_format=plain).eval()
        proba, embeddings = [], []
        with torch.no_grad():
            for image in pixels:
                features = net.forward_features(self.normalised(image[None], plain))
                embedding = net.forward_head(features, pre_logits=True)
                logits = net.get_classifier()(embedding)
                proba.append(logits.double().softmax(1)[0].numpy())
                embeddings.append(embedding.double()[0].numpy())
        return np.array(proba), np.array(embeddings)


def best_of(scores, n):
    """Return the n largest in order, and the smallest gap that decided."""
    order = np.argsort(-scores, kind="stable")
    gaps = -np.diff(scores[order[: n + 1]])
    return order[:n], gaps.min()


def margins(proba):
    """Minus the difference of the two largest probabilities: larger is less sure."""
    ordered = np.sort(proba, axis=1)
    return ordered[:, -2] - ordered[:, -1]


def entropies(proba):
    return -(proba * np.log(proba)).sum(axis=1)


def slow_k_center(embeddings, labeled, n):
    """Take the candidate farthest from its nearest centre, n times."""
    centers, picks, smallest = list(labeled), [], np.inf
    for _ in range(n):
        nearest = np.array(
            [min(math.dist(one, center) for center in centers) for one in embeddings]
        )
        nearest[picks] = -np.inf
        (pick,), gap = best_of(nearest, 1)
        smallest = min(smallest, gap)
        picks.append(int(pick))
        centers.append(embeddings[pick])
    return np.array(picks), smallest


def slow_picks(strategy, pool, labeled, n):
    """Return positions by the definition, and the gap that decided.

    `pool` and `labeled` are (proba, embeddings).
    """
    if strategy == "core_set":
        return slow_k_center(pool[1], labeled[1], n)
    return best_of(SCORES[strategy](pool[0]), n)


def error_of_scores(strategy, found, expected):
    """Return by how much the score of a candidate may differ between two outputs.

    `found` and `expected` are (proba, embeddings) of the candidates and the labelled.
    """
    if strategy == "core_set":
        moved = np.linalg.norm(found[1] - expected[1], axis=1).max()
        return 2 * moved  # either end of a distance
    score = SCORES[strategy]
    return np.abs(score(found[0]) - score(expected[0])).max()


SCORES = {"margin_sampling": margins, "entropy_sampling": entropies}
STRATEGIES = (*SCORES, "core_set")


def slow_rounds(pixels, y, initial, strategy, base_seed):
    """Yield (picked rows, gap, rows looked at, their outputs) of each round.

    The rows are the candidates, then the labelled ones.
    """
    classes, codes = np.unique(y, return_inverse=True)
    labeled = list(initial)
    for number in range(N_ROUNDS):
        # A learner's seeds come from the run's seed, the round and the purpose.
        seed = derive_seed(derive_seed(base_seed, number, 1), 0)
        net = SlowNet(pixels[labeled], codes[labeled], len(classes), seed, "adam")
        candidates = np.setdiff1d(np.arange(len(y)), labeled)
        n = len(candidates)
        rows = np.append(candidates, labeled)
        proba, embeddings = net.outputs(pixels[rows])
        positions, gap = slow_picks(
            strategy,
            (proba[:n], embeddings[:n]),
            (proba[n:], embeddings[n:]),
            N_PICKS,
        )
        yield candidates[positions], gap, rows, (proba, embeddings)
        labeled += candidates[positions].tolist()


def classifier(mode, optimizer, random_state=None):
    return CNNClassifier(
        image_mode=mode,
        max_epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        optimizer=optimizer,
        lr=OPTIMIZERS[optimizer][2],
        device="cpu",
        random_state=random_state,
    )


def learned(X, y, mode, strategy):
    return ActiveLearningClassifier(
        classifier(mode, "adam"),
        strategy,
        n_initial=N_INITIAL,
        query_size=N_PICKS,
        n_rounds=N_ROUNDS,
        store_estimators=True,
        random_state=5,
    ).fit(X, y)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("data", ["digits", "photos"])
def test_three_rounds_pick_what_the_slow_path_picks(data, strategy, request):
    paths, y, mode = request.getfixturevalue(data)
    pixels = decode_one_by_one(paths, mode)
    base_seed = int(np.random.RandomState(5).randint(2**31 - 1))
    learner = learned(paths, y, mode, strategy)
    initial = learner.initial_indices_.tolist()
    rounds = list(slow_rounds(pixels, y, initial, strategy, base_seed))
    assert len(rounds) == len(learner.query_history_) == N_ROUNDS
    for number, (picked, gap, rows, expected) in enumerate(rounds):
        np.testing.assert_array_equal(learner.query_history_[number], picked)
        found = learner.estimators_[number].predict_proba_and_embeddings(paths[rows])
        for name, ours, slow in zip(TOLERANCE, found, expected, strict=True):
            limit = TOLERANCE[name] * np.abs(slow).max()
            np.testing.assert_allclose(ours, slow, rtol=0, atol=limit, err_msg=name)
        # What decided between two candidates is more than what the paths differ by.
        assert gap > 2 * error_of_scores(strategy, found, expected)


@pytest.mark.parametrize("data", ["digits", "photos"])
def test_arrays_and_streamed_files_are_bitwise_what_paths_are(data, request):
    paths, y, mode = request.getfixturevalue(data)
    pixels = decode_one_by_one(paths, mode)
    from_paths = learned(paths, y, mode, "margin_sampling")
    from_array = learned(pixels, y, mode, "margin_sampling")
    before = get_image_cache().max_bytes
    set_image_cache_size(0)
    try:
        streamed = learned(paths, y, mode, "margin_sampling")
    finally:
        set_image_cache_size(before)
    others = {"array": (from_array, pixels), "streamed": (streamed, paths)}
    for other, X in others.values():
        np.testing.assert_array_equal(other.query_history_, from_paths.query_history_)
        np.testing.assert_array_equal(
            other.predict_proba(X), from_paths.predict_proba(paths)
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("data", ["digits", "photos"])
def test_training_is_bitwise_that_of_a_plain_loop(data, optimizer, request):
    paths, y, mode = request.getfixturevalue(data)
    pixels = decode_one_by_one(paths, mode)
    loaded = get_image_cache().load(paths, image_size=None, mode=mode)
    np.testing.assert_array_equal(loaded.transpose(0, 3, 1, 2), pixels)
    classes, codes = np.unique(y, return_inverse=True)
    clf = classifier(mode, optimizer, random_state=3).fit(paths, y)
    slow = SlowNet(pixels, codes, len(classes), 3, optimizer)
    mean, std = channel_statistics(pixels)
    np.testing.assert_allclose(clf.module_.mean, mean, rtol=1e-7)
    np.testing.assert_allclose(clf.module_.std, std, rtol=1e-7)
    for (name, ours), theirs in zip(
        clf.module_.net.state_dict().items(),
        slow.net.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(ours, theirs), name


def test_the_definitions_and_their_gaps():
    proba = np.array([[0.5, 0.5], [0.51, 0.49], [0.9, 0.1], [0.7, 0.3]])
    for strategy in SCORES:
        picks, _ = slow_picks(strategy, (proba, None), (None, None), 2)
        assert picks.tolist() == [0, 1]
    assert best_of(margins(proba), 2)[1] == pytest.approx(0.02)

    points = np.array([[0.0], [1.0], [5.0], [9.0]])
    picks, gap = slow_k_center(points, [np.array([0.0])], 2)
    assert picks.tolist() == [3, 2]
    assert gap == pytest.approx(3)  # 4 against 1, after 9 against 5

    def radius(chosen):
        centers = [0.0, *points[list(chosen), 0]]
        return max(min(abs(p - c) for c in centers) for p in points[:, 0])

    assert radius(picks) == min(map(radius, itertools.combinations(range(4), 2)))
