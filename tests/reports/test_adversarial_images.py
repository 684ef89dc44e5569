"""Adversarial images on the disk hold what the table says of them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from dalmax_sk import CNNClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.reports import write_adversarial_images
from dalmax_sk.strategies import AdversarialSampling


@pytest.fixture(scope="module")
def digits():
    """A net, the uint8 images and labels that it was trained on, and others."""
    bunch = load_digits()
    X = np.clip(bunch.images * 16, 0, 255).astype(np.uint8)
    net = CNNClassifier(max_epochs=6, random_state=0, device="cpu")
    return net.fit(X[:400], bunch.target[:400]), X, bunch.target


@pytest.mark.parametrize(
    "attack", ["deepfool", pytest.param("pgd", marks=pytest.mark.slow)]
)
def test_files_hold_what_the_table_says(digits, tmp_path, attack):
    # property: sizes of the query, its picks in its order, classes as predicted
    net, X, y = digits
    pool = Pool(net, X[:430], np.arange(400), y[:400], random_state=3)
    strategy = AdversarialSampling(attack)
    picks, scores = strategy.query(pool, 5, return_scores=True)
    table = write_adversarial_images(tmp_path / "new", strategy, pool, picks)
    assert table["row"].tolist() == pool.indices[picks].tolist()
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(table["file"])
    assert_allclose(table["size"], -scores, rtol=2e-2)
    for line in table.itertuples():
        assert line.file == f"row_{line.row:06d}.png"
        pair = np.asarray(Image.open(tmp_path / "new" / line.file))
        assert pair.shape == (8, 16)
        assert_array_equal(pair[:, :8], X[line.row])
        assert line.class_before == net.predict(X[line.row : line.row + 1])[0]
        assert line.class_after != line.class_before
        saved = np.ascontiguousarray(pair[None, :, 8:])
        assert line.class_as_saved == net.predict(saved)[0]


def test_the_whole_pool_in_any_order(digits, tmp_path):
    net, X, y = digits
    pool = Pool(net, X[:406], np.arange(400), y[:400])
    strategy = AdversarialSampling("fgsm")
    there, back = (
        write_adversarial_images(tmp_path, strategy, pool, order).set_index("row")
        for order in (range(6), range(5, -1, -1))
    )
    assert back.index.tolist() == [405, 404, 403, 402, 401, 400]
    assert_allclose(back["size"].loc[there.index], there["size"], rtol=1e-5)


def test_float_images_in_colour_are_scaled_to_be_seen(tmp_path):
    # property: the least value of a pair is black, the largest white
    rng = np.random.default_rng(0)
    X = rng.normal(size=(42, 3, 8, 8)).astype(np.float32)
    y = np.arange(42) % 2
    net = CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X[:40], y[:40])
    pool = Pool(net, X, np.arange(40), y[:40])
    strategy = AdversarialSampling(norm="linf")
    table = write_adversarial_images(tmp_path, strategy, pool, [0, 1])
    _, samples, found = next(strategy.perturb(pool, [0, 1]))
    for i, file in enumerate(table["file"]):
        pair = np.asarray(Image.open(tmp_path / file)).astype(float)
        assert pair.shape == (8, 16, 3)
        both = torch.cat([samples[i], found.adversarial[i]], dim=2)
        both = both.permute(1, 2, 0).numpy()
        both = (both - both.min()) / (both.max() - both.min()) * 255
        assert_allclose(pair, both, atol=0.51)


def test_only_images_can_be_written(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 6)), np.arange(60) % 2
    net = CNNClassifier(max_epochs=1, device="cpu").fit(X[:50], y[:50])
    for model, error, message in (
        (LogisticRegression(), MissingCapabilityError, "needs a neural network"),
        (net, ValueError, r"writes images of .* pool has inputs of shape \(6,\)"),
    ):
        pool = Pool(model.fit(X[:50], y[:50]), X, np.arange(50), y[:50])
        with pytest.raises(error, match=message):
            write_adversarial_images(
                tmp_path / "new", AdversarialSampling(), pool, [0, 1]
            )
    assert not (tmp_path / "new").exists()
