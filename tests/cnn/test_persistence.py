"""Saved models: the same predictions, no pickle, and clear refusals."""

import hashlib
import json
import os
import pickletools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.cnn.persistence import (
    FORMAT_VERSION,
    ModelFileError,
    load_model,
    save_model,
)
from dalmax_sk.images import load_image_paths
from dalmax_sk.nets import SmallCNN


def classifier(**params):
    return CNNClassifier(
        **{"max_epochs": 1, "random_state": 0, "device": "cpu", **params}
    )


@pytest.fixture(scope="module")
def digits():
    data = load_digits(n_class=3)
    return data.images[:90], data.target[:90]


@pytest.fixture(scope="module")
def fitted(digits):
    return classifier().fit(*digits)


def make_small_net(input_shape, n_classes):
    return SmallCNN(input_shape[0], n_classes, width=4)


def same_batch(batch):
    return batch


def check_same(loaded, clf, X):
    for a, b in zip(
        loaded.predict_proba_and_embeddings(X),
        clf.predict_proba_and_embeddings(X),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    predicted = loaded.predict(X)
    np.testing.assert_array_equal(predicted, clf.predict(X))
    assert predicted.dtype == clf.classes_.dtype


@pytest.mark.parametrize(
    "given", ["digits.v1", "digits.v1.safetensors", "digits.v1.json"]
)
def test_round_trip(fitted, digits, tmp_path, given):
    # by the stem or by either file, with a dot in the name
    paths = save_model(fitted, tmp_path / "digits.v1")
    assert [path.name for path in paths] == ["digits.v1.safetensors", "digits.v1.json"]
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in paths)
    loaded = load_model(tmp_path / given, device="cpu")
    check_same(loaded, fitted, digits[0])
    assert loaded.history_ == fitted.history_
    assert loaded.n_iter_ == 1
    assert loaded.get_params() == fitted.get_params()
    # and it can be trained again, to the same net
    check_same(clone(loaded).fit(*digits), fitted, digits[0])


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ä", "bee", "c"]),
        np.array(["x", "yy", "z"], dtype=object),
        np.array([-5, 0, 7]),
        np.array([0.0, 1.0, 4.0]),
        np.array([3, 4, 5], dtype=np.uint8),
    ],
)
def test_labels(digits, tmp_path, names):
    X, y = digits
    clf = classifier(classes=names).fit(X, names[y])
    save_model(clf, tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    check_same(loaded, clf, X)
    np.testing.assert_array_equal(loaded.get_params()["classes"], names)


def test_boolean_labels_and_warm_start(digits, tmp_path):
    X, y = digits
    clf = classifier(warm_start=True).fit(X, y > 0)
    save_model(clf, tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    check_same(loaded, clf, X)
    # a warm start goes on from the loaded weights as from the saved ones
    check_same(loaded.fit(X, y > 0), clf.fit(X, y > 0), X)


def test_a_warm_start_goes_on_as_if_nothing_had_happened(digits, tmp_path):
    # the noise of shrink_perturb follows from the number of fits so far
    clf = classifier(warm_start=True, shrink_perturb=(0.5, 0.1))
    clf.fit(*digits).fit(*digits)
    save_model(clf, tmp_path / "m")
    loaded = load_model(tmp_path / "m", device="cpu")
    assert loaded.n_fits_ == 2
    check_same(loaded.fit(*digits), clf.fit(*digits), digits[0])


def test_table_and_paths(image_folder, tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = classifier().fit(X, y)
    save_model(clf, tmp_path / "table")
    loaded = load_model(tmp_path / "table", device="cpu")
    check_same(loaded, clf, X)
    assert loaded.n_features_in_ == 4
    np.testing.assert_array_equal(loaded.feature_names_in_, clf.feature_names_in_)
    X, y = load_image_paths(image_folder / "train", return_X_y=True)
    clf = classifier(image_size=(6, 7), image_mode="grey").fit(X, y)
    save_model(clf, tmp_path / "paths")
    loaded = load_model(tmp_path / "paths", device="cpu")
    check_same(loaded, clf, X)
    assert loaded.image_size_ == (6, 7)


def test_parameters_of_every_kind(digits, tmp_path):
    params = {
        "image_size": (8, 8),
        "class_weight": {0: 1.5, np.int64(1): np.float64(2.0)},
        "architecture": "mlp",
        "lr": np.float32(0.5),
        "early_stopping": True,
        "patience": 2,
    }
    clf = classifier(**params).fit(*digits)
    save_model(clf, tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert loaded.get_params() == clf.get_params()


def test_code_is_saved_by_name_only(digits, tmp_path, caplog):
    X, y = digits
    clf = classifier(
        architecture=make_small_net,
        augment=same_batch,
        optimizer=torch.optim.RAdam,
        callbacks=[],
        random_state=np.random.RandomState(0),
    ).fit(X, y)
    _, json_path = save_model(clf, tmp_path / "model")
    params = json.loads(json_path.read_text())["params"]
    assert params["architecture"]["name"].endswith("make_small_net")
    assert params["optimizer"]["name"].endswith("RAdam")
    with pytest.raises(
        ModelFileError, match=r"model\.json: the architecture is code, .*make_small_net"
    ):
        load_model(json_path)
    with caplog.at_level("INFO", logger="dalmax_sk"):
        loaded = load_model(json_path, architecture=make_small_net, device="cpu")
    check_same(loaded, clf, X)
    for name in ("augment", "optimizer", "random_state"):
        assert f"{name}=" in caplog.text
    with pytest.raises(ModelFileError, match=r"model\.safetensors does not fit"):
        load_model(json_path, architecture="small_cnn")


def test_no_pickle_in_the_files(fitted, tmp_path):
    # a safetensors header is a length and JSON; neither file starts a pickle
    tensors_path, json_path = save_model(fitted, tmp_path / "model")
    assert set(load_file(tensors_path)) == set(fitted.module_.state_dict())
    for path in (tensors_path, json_path):
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(path.read_bytes()))


def test_a_failed_save_leaves_the_old_files(fitted, digits, tmp_path, monkeypatch):
    save_model(fitted, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(classifier(random_state=1).fit(*digits), tmp_path / "model")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def change(path, **entries):
    description = json.loads(path.read_text())
    description.update(entries)
    path.write_text(json.dumps(description))


def test_files_that_load_refuses(fitted, digits, tmp_path):
    tensors_path, json_path = save_model(fitted, tmp_path / "model")
    original = json_path.read_text()

    with pytest.raises(FileNotFoundError, match=r"missing: .*other\.safetensors.*json"):
        load_model(tmp_path / "other")

    change(json_path, format_version=FORMAT_VERSION + 1)
    with pytest.raises(
        ModelFileError, match=r"model\.json has format_version 2, writt"
    ):
        load_model(json_path)

    json_path.write_text('{"accuracy": 1}')
    with pytest.raises(ModelFileError, match=r"is not a saved model.*found None"):
        load_model(json_path)
    json_path.write_text("[1]")
    with pytest.raises(ModelFileError, match="is not a saved model"):
        load_model(json_path)
    json_path.write_text("{")
    with pytest.raises(ModelFileError, match=r"model\.json is not a JSON file"):
        load_model(json_path)

    json_path.write_text(original)
    change(json_path, params={"learning_rate": 1})
    with pytest.raises(ModelFileError, match=r"does not have: learning_rate"):
        load_model(json_path)

    description = json.loads(original)
    del description["classes"], description["input"]
    json_path.write_text(json.dumps(description))
    with pytest.raises(ModelFileError, match="lacks the entries classes, input"):
        load_model(json_path)

    json_path.write_text(original)
    content = bytearray(tensors_path.read_bytes())
    content[-1] ^= 1
    tensors_path.write_bytes(content)
    with pytest.raises(
        ModelFileError, match=r"model\.safetensors is not the file that"
    ):
        load_model(json_path)

    # the tensors of another model, whose checksum was entered by hand
    save_file({"mean": torch.zeros(1)}, tensors_path)
    sha256 = hashlib.sha256(tensors_path.read_bytes()).hexdigest()
    change(json_path, tensors_sha256=sha256)
    with pytest.raises(ModelFileError, match=r"(?s)does not fit the arch.*Missing key"):
        load_model(json_path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("params", []),
        ("params", {"weights": {}}),
        ("params", {"weights": {"kind": "list", "items": 3}}),
        ("params", {"weights": {"kind": "spell", "items": []}}),
        ("classes", {}),
        ("classes", {"dtype": "no such type", "values": []}),
        ("classes", None),
        ("input", {"rank": 4}),
        ("input", []),
        ("fitted", {"n_features_in_": "many"}),
        ("fitted", {"n_fits_": "many"}),
        ("fitted", 3),
    ],
    ids=str,
)
def test_a_damaged_entry_is_named(fitted, tmp_path, entry, value):
    # right at the top and nonsense within: refused like any foreign file
    _, json_path = save_model(fitted, tmp_path / "model")
    change(json_path, **{entry: value})
    with pytest.raises(ModelFileError, match=rf"{entry!r} is damaged|Unknown kind"):
        load_model(json_path)


def test_versions_may_be_unknown(fitted, tmp_path):
    _, json_path = save_model(fitted, tmp_path / "model")
    change(json_path, format_version=0, versions=[])
    with pytest.raises(ModelFileError, match="dalmax_sk of an unknown version"):
        load_model(json_path)


def test_what_save_refuses(fitted, digits, tmp_path):
    with pytest.raises(TypeError, match="writes a CNNClassifier, got a LogisticRegr"):
        save_model(LogisticRegression(), tmp_path / "model")
    with pytest.raises(NotFittedError, match="not fitted yet"):
        save_model(classifier(), tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"The folder .*absent does not exist"):
        save_model(fitted, tmp_path / "absent" / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("entry", "changes"),
    [
        ("input", {"shape": []}),
        ("input", {"shape": {}}),
        ("input", {"shape": "x"}),
        ("input", {"shape": [1, 8.5, 8]}),
        ("input", {"shape": [1, 2**80, 8]}),
        ("params", {"optimizer": float("nan")}),
        ("params", {"dropout": "x"}),
        ("classes", {"values": [2, 1, 0]}),
    ],
    ids=str,
)
def test_values_that_were_not_saved(fitted, tmp_path, entry, changes):
    # right in form: other class names would be other predictions
    _, json_path = save_model(fitted, tmp_path / "model")
    stored = json.loads(json_path.read_text())
    change(json_path, **{entry: {**stored[entry], **changes}})
    with pytest.raises(ModelFileError, match=r"model\.json.* damaged"):
        load_model(json_path)


@pytest.mark.parametrize("n_trials", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_descriptions_are_refused(fitted, tmp_path, damaged, n_trials):
    _, json_path = save_model(fitted, tmp_path / "model")
    stored = json.loads(json_path.read_text())
    for seed in range(n_trials):
        changed = damaged(stored, seed)
        json_path.write_text(json.dumps(changed))
        if json.dumps(changed) == json.dumps(stored) or "crc32" not in changed:
            continue
        with pytest.raises(ModelFileError, match="model"):
            load_model(json_path)
    json_path.write_text("[" * 100_000)
    with pytest.raises(ModelFileError, match="nested too deeply"):
        load_model(json_path)
