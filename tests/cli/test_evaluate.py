"""``dalmax test``: a saved model on a folder of test images."""

import csv
import json
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_iris

from dalmax_sk import CNNClassifier
from dalmax_sk.cli.evaluate import find_model
from dalmax_sk.cnn import load_model, save_model
from dalmax_sk.images import load_image_paths

OWN_FILES = {
    "classification_report.csv",
    "classification_report.json",
    "confusion_matrix.pdf",
    "final_accuracy.txt",
    "infos.txt",
    "predictions.csv",
    "test.json",
}
MODEL = "uncertainty_sampling_al_model"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def evaluate(dalmax, out):
    """Run ``dalmax test`` with these flags; results go to tmp_path/out."""
    return lambda *words: dalmax("test", "--dir_results", out, *words)


@pytest.mark.parametrize("flag", ["--dir_model", "--model", "--dir-model"])
@pytest.mark.parametrize("name", ["", MODEL, f"{MODEL}.safetensors", f"{MODEL}.json"])
def test_a_folder_or_a_file_by_either_flag(own_run, finished_run, dalmax, flag, name):
    # property: folder, stem and both files name the same model, under both flags
    out = own_run / "out"
    result = dalmax("test", "--dir-results", out, flag, own_run / name)
    assert result.exit_code == 0, result.output
    # the test folder is that of the run, so is the accuracy
    text = (out / "final_accuracy.txt").read_text()
    assert text == (own_run / "final_accuracy.txt").read_text()
    record = json.loads((out / "test.json").read_text("utf-8"))
    assert record["model"] == str(own_run / MODEL)
    assert record["data"]["test"]["directory"] == str(finished_run / "test")


def test_every_file_holds_what_it_says(evaluate, own_run, images, out):
    # property: predictions, report and screen are those of the model
    result = evaluate("--model", own_run / MODEL, "--dir_test", images / "test")
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == OWN_FILES
    test = load_image_paths(images / "test")
    model = load_model(own_run / MODEL)
    predicted = model.predict(test.data)
    true = np.array(test.target_names)[test.target]
    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == predicted.tolist()
    assert [row["true"] for row in rows] == true.tolist()
    assert {row["file"] for row in rows} == {
        f"{name}/{number}.png" for name in test.target_names for number in range(4)
    }
    told = json.loads((out / "classification_report.json").read_text("utf-8"))
    for i, row in enumerate(told["confusion"]):
        for j, count in enumerate(row):
            names = test.target_names
            expected = (true == names[i]) & (predicted == names[j])
            assert count == expected.sum()
    assert f"Test accuracy: {100 * np.mean(predicted == true):.2f} %" in result.stdout
    for name in test.target_names:
        assert name in result.stdout


def _second_model(run):
    for suffix in (".safetensors", ".json"):
        shutil.copy(run / f"{MODEL}{suffix}", run / f"other{suffix}")


def _no_model(run):
    for suffix in (".safetensors", ".json"):
        (run / f"{MODEL}{suffix}").unlink()


def _no_json(run):
    (run / f"{MODEL}.json").unlink()


def _edit(**entries):
    def edit(run):
        file = run / f"{MODEL}.json"
        described = json.loads(file.read_text("utf-8")) | entries
        file.write_text(json.dumps(described), encoding="utf-8")

    return edit


def _json_of_something_else(run):
    (run / f"{MODEL}.json").write_text('[{"weights": 3}]', encoding="utf-8")


def _random_json(run):
    (run / f"{MODEL}.json").write_bytes(bytes(range(256)))


def _random_tensors(run):
    (run / f"{MODEL}.safetensors").write_bytes(bytes(range(256)) * 9)


class _Bomb:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return open, (self.place, "w")


def _pickle_as_tensors(run):
    (run / f"{MODEL}.safetensors").write_bytes(pickle.dumps(_Bomb(run / "exploded")))


def _pickle_as_json(run):
    (run / f"{MODEL}.json").write_bytes(pickle.dumps(_Bomb(run / "exploded")))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_second_model, f"holds 2 models: other, {MODEL}. Give --model one of them"),
        (_no_model, "holds no model"),
        (_no_json, "holds no model"),
        (_edit(format_version=9), "has format_version 9, written by dalmax_sk"),
        (_edit(format="a cake"), "is not a saved model: .* found 'a cake'"),
        (_json_of_something_else, "is not a saved model"),
        (_random_json, "is not a JSON file"),
        (_random_tensors, "is not the file that .* was saved with, or is damaged"),
        (_pickle_as_tensors, "is not the file that .* was saved with"),
        (_pickle_as_json, "is not a JSON file"),
    ],
)
def test_models_that_are_refused(evaluate, own_run, out, spoil, message):
    # property: one clear message, nothing unpickled, nothing written
    spoil(own_run)
    result = evaluate("--dir_model", own_run)
    assert result.exit_code == 2, result.output
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not (own_run / "exploded").exists()
    assert not out.exists()


@pytest.mark.parametrize("name", ["model.pth", "model.pkl", "model.h5", "model"])
def test_foreign_files_are_refused(evaluate, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Bomb(tmp_path / "exploded")))
    result = evaluate("--model", path)
    assert result.exit_code == 2
    assert f"{path} is not a model of dalmax_sk" in result.stderr
    assert not (tmp_path / "exploded").exists()


def test_models_further_below_are_named(own_run):
    with pytest.raises(ValueError, match=rf"Below it there are .*{MODEL}\."):
        find_model(own_run.parent)


def test_a_name_of_nothing(evaluate, tmp_path):
    result = evaluate("--model", tmp_path / "no_model")
    assert result.exit_code == 2
    assert re.search(
        r"there is no .*no_model\.safetensors and no .*json", result.stderr
    )


def test_a_model_of_tables(evaluate, tmp_path, images):
    X, y = load_iris(return_X_y=True)
    model = CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, y)
    save_model(model, tmp_path / "iris")
    result = evaluate("--model", tmp_path / "iris", "--dir-test", images / "test")
    assert result.exit_code == 2
    assert "was not trained on image files but on tables" in result.stderr


def test_a_model_of_grey_images_and_numbers(evaluate, tmp_path, images, out):
    # property: models from Python work as well: grey, no fixed size, classes 0..2
    for number, name in enumerate(["blue sky", "grass", "ümlaut"]):
        (images / "test" / name).rename(images / "test" / str(number))
    rng = np.random.default_rng(0)
    files = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
        files.append(str(path))
    model = CNNClassifier(
        max_epochs=1, random_state=0, device="cpu", image_mode="grey"
    ).fit(files, [0, 1, 2, 0, 1, 2])
    save_model(model, tmp_path / "grey")
    result = evaluate("--model", tmp_path / "grey", "--dir-test", images / "test")
    assert result.exit_code == 0, result.output
    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        predicted = [int(row["predicted"]) for row in csv.DictReader(file)]
    expected = model.predict(load_image_paths(images / "test").data)
    assert predicted == expected.tolist()


def test_classes_that_differ_are_named(evaluate, own_run, images, out):
    (images / "test/grass").rename(images / "test/gras")
    shutil.rmtree(images / "test/ümlaut")
    result = evaluate("--dir_model", own_run, "--dir_test", images / "test")
    assert result.exit_code == 2
    assert "only here: 'gras'" in result.stderr
    assert "without images here: 'grass', 'ümlaut'" in result.stderr
    assert f"{MODEL}, of classes blue sky, grass, ümlaut" in result.stderr
    assert not out.exists()


def test_broken_images(evaluate, own_run, images, out):
    (images / "test/grass/1.png").write_text("broken")
    flags = ("--dir_model", own_run, "--dir_test", images / "test")
    result = evaluate(*flags)
    assert result.exit_code == 2
    assert "test/grass/1.png" in result.stderr
    result = evaluate(*flags, "--on-bad-image", "skip")
    assert result.exit_code == 0
    assert "skipped" in result.stderr
    record = json.loads((out / "test.json").read_text("utf-8"))
    assert record["data"]["test"]["n_images"] == 11


def test_which_model(evaluate, own_run, tmp_path, images):
    result = evaluate("--dir_test", images / "test")
    assert result.exit_code == 2
    assert "Which model? Give --dir-model a folder" in result.stderr
    result = evaluate("--dir_model", own_run, "--model", tmp_path / "x")
    assert result.exit_code == 2
    assert "are two names of one thing and differ" in result.stderr
    assert evaluate("--dir_model", own_run, "--model", own_run).exit_code == 0


def test_a_model_by_itself_needs_test_images(evaluate, own_run, tmp_path):
    for suffix in (".safetensors", ".json"):
        shutil.copy(own_run / f"{MODEL}{suffix}", tmp_path / f"m{suffix}")
    result = evaluate("--model", tmp_path / "m")
    assert result.exit_code == 2
    assert "--dir-test is needed" in result.stderr


def test_results_that_are_there(evaluate, dalmax, own_run, out):
    # property: a test replaces another test when told to, and never a run's own files
    assert evaluate("--dir_model", own_run).exit_code == 0
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    result = evaluate("--dir_model", own_run)
    assert result.exit_code == 2
    assert "Add --overwrite to replace them" in result.stderr
    assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == before
    assert evaluate("--dir_model", own_run, "--overwrite").exit_code == 0
    accuracy = (own_run / "final_accuracy.txt").stat().st_mtime_ns
    for extra in ([], ["--overwrite"]):
        words = ["--dir_model", own_run, "--dir_results", own_run, *extra]
        result = dalmax("test", *words)
        assert result.exit_code == 2
        assert "is the folder of a run" in result.stderr
    assert (own_run / "final_accuracy.txt").stat().st_mtime_ns == accuracy


def test_files_that_no_test_wrote_are_left(evaluate, own_run, out):
    out.mkdir(parents=True)
    (out / "predictions.csv").write_text("mine")
    result = evaluate("--dir_model", own_run, "--overwrite")
    assert result.exit_code == 2
    assert "holds predictions.csv but no test.json" in result.stderr
    assert (out / "predictions.csv").read_text() == "mine"
