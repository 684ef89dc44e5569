"""``dalmax train``: on all images, a random part, or what a run has labels of."""

import csv
import hashlib
import json
import re
import shlex

import numpy as np
import pytest

from dalmax_sk.cnn import load_model
from dalmax_sk.images import load_image_paths

OWN_FILES = {
    "classification_report.csv",
    "classification_report.json",
    "confusion_matrix.pdf",
    "final_accuracy.txt",
    "history.csv",
    "infos.txt",
    "predictions.csv",
    "run.json",
    "training_accuracy_plot.pdf",
    "training_images.csv",
    "training_loss_plot.pdf",
}


@pytest.fixture
def train(dalmax, tmp_path):
    """Run ``dalmax train`` with these flags; results go to tmp_path/out."""

    def run(flags="", **folders):
        words = ["train", "--dir-results", tmp_path / "out", *shlex.split(flags)]
        for name, folder in folders.items():
            words += [f"--{name}", folder]
        return dalmax(*words)

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "train"


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record_of(folder):
    return json.loads((folder / "run.json").read_text("utf-8"))


def test_active_mode_as_typed_in_dalmax(train, out, own_run, finished_run):
    # property: --dir_train .../selected_images/ trains on initial set and picks,
    # and takes net, epochs, seed, classes and test folder from the run
    run = record_of(own_run)
    result = train(f"--type train --dir_train '{own_run}/selected_images/'")
    assert result.exit_code == 0, result.output
    folder = out / "train"
    names = {p.name for p in folder.iterdir()}
    assert names == OWN_FILES | {"train_model.json", "train_model.safetensors"}
    picked = [pick for entry in run["rounds"] for pick in entry["picked"]]
    assert "18 images" in result.stdout
    assert "6 initial and 12 picked" in result.stdout

    used = rows_of(folder / "training_images.csv")
    assert {int(row["row"]) for row in used} == {
        pick["row"] for pick in run["initial"] + picked
    }
    source = load_image_paths(finished_run / "train")
    for row in used:
        original = source.data[int(row["row"])]
        with open(original, "rb") as file:
            assert row["sha256"] == hashlib.sha256(file.read()).hexdigest()
        assert row["class"] == source.target_names[source.target[int(row["row"])]]
        place = "train/" if row["origin"] == "initial" else "selected_images/"
        assert place in row["file"]
    origins = [row["origin"] for row in used]
    assert sorted(set(origins)) == ["initial", "round 1", "round 2", "round 3"]
    assert origins.count("initial") == 6

    record = record_of(folder)
    for name in ("epochs", "image_size", "seed", "architecture"):
        assert record["config"][name] == run["config"][name]
    assert record["config"]["dir_test"] == str(finished_run / "test")
    assert record["classes"] == run["classes"]
    assert record["n_labels"] == 18
    assert record["status"] == "finished"


def test_every_file_holds_what_it_says(train, out, images):
    # property: the files agree with each other and with the saved model
    flags = "--epochs 2 --image-size 8 --seed 1"
    folders = {"dir-train": images / "train", "dir-test": images / "test"}
    result = train(flags, **folders)
    assert result.exit_code == 0, result.output
    folder = out / "train"
    test = load_image_paths(images / "test")
    true = np.array(test.target_names)[test.target]
    model = load_model(folder / "train_model")
    proba = model.predict_proba(test.data)
    accuracy = np.mean(model.predict(test.data) == true)
    predictions = rows_of(folder / "predictions.csv")
    assert [row["predicted"] for row in predictions] == model.predict(
        test.data
    ).tolist()
    assert [row["true"] for row in predictions] == true.tolist()
    assert [images / "test" / row["file"] for row in predictions] == [
        type(images)(path) for path in test.data
    ]
    np.testing.assert_allclose(
        [float(row["probability"]) for row in predictions], proba.max(axis=1), rtol=1e-6
    )
    text = (folder / "final_accuracy.txt").read_text()
    assert text == f"Final Test Accuracy: {accuracy * 100:.2f}%"
    assert re.fullmatch(
        r"Total time: \d+\.\d\d seconds\n", (folder / "infos.txt").read_text()
    )
    assert len(rows_of(folder / "history.csv")) == 2
    assert len(rows_of(folder / "training_images.csv")) == 24
    told = json.loads((folder / "classification_report.json").read_text("utf-8"))
    assert told["accuracy"] == pytest.approx(accuracy)
    assert record_of(folder)["test"] == told
    for row in rows_of(folder / "classification_report.csv")[:3]:
        hits = (true == row["class"]) & (model.predict(test.data) == row["class"])
        assert float(row["recall"]) == pytest.approx(
            hits.sum() / (true == row["class"]).sum()
        )
    assert f"Test accuracy: {100 * accuracy:.2f} %" in result.stdout


def test_as_many_random_images_as_a_run(train, out, finished_run):
    # property: --like gives size, folders, net and seed of the run
    folder = finished_run / "results/active_learning/uncertainty_sampling"
    result = train("--type random", like=folder)
    assert result.exit_code == 0, result.output
    assert "18 images drawn at random, as many as the run in" in result.stdout
    used = rows_of(out / "random" / "training_images.csv")
    assert len({row["row"] for row in used}) == len(used) == 18
    assert {row["origin"] for row in used} == {"random"}
    source = load_image_paths(finished_run / "train")
    assert [row["file"] for row in used] == [
        source.data[int(row["row"])] for row in used
    ]
    record, run = record_of(out / "random"), record_of(folder)
    assert record["config"]["seed"] == 3
    assert record["config"]["like"] == str(folder)
    assert record["data"]["test"] == run["data"]["test"]
    # another seed draws other images, a smaller number a part of the same
    assert train("--type random --seed 4 --overwrite", like=folder).exit_code == 0
    other = {row["row"] for row in rows_of(out / "random" / "training_images.csv")}
    assert other != {row["row"] for row in used}
    flags = "--type random --n_labels 5 --overwrite"
    assert train(flags, like=folder).exit_code == 0
    fewer = {row["row"] for row in rows_of(out / "random" / "training_images.csv")}
    assert len(fewer) == 5
    assert fewer < {row["row"] for row in used}


def test_the_draw_is_uniform():
    # property: every image is drawn equally often (each of 24 in 5 of 24 draws)
    from dalmax_sk.cli.run.data import RunData, Split
    from dalmax_sk.cli.run.training_set import draw_images

    paths = np.array([f"{i}.png" for i in range(24)], dtype=object)
    split = Split("folder", paths, np.array(["a", "b"] * 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dalmax_sk.cli.run.training_set.find_broken_images", lambda *_, **__: []
        )
        counts = np.zeros(24)
        for seed in range(600):
            drawn = draw_images(
                RunData(["a", "b"], split, split),
                5,
                seed=seed,
                image_size=8,
                skip_bad_images=False,
            )
            counts[drawn.rows] += 1
    expected = 600 * 5 / 24
    deviation = np.sqrt(expected * (1 - 5 / 24))
    assert np.abs(counts - expected).max() < 4 * deviation


def test_classes_never_drawn_keep_their_output(train, out, own_run):
    # property: the net has an output for each class of the run
    run = record_of(own_run)
    for entry in (run["initial"], *(r["picked"] for r in run["rounds"])):
        entry[:] = [pick for pick in entry if pick["class"] != "grass"]
    for file in (own_run / "selected_images").glob("*/grass/*"):
        file.unlink()
    (own_run / "run.json").write_text(json.dumps(run), encoding="utf-8")
    result = train(**{"dir-train": own_run / "selected_images"})
    assert result.exit_code == 0, result.output
    assert "grass" not in {
        row["class"] for row in rows_of(out / "train" / "training_images.csv")
    }
    model = load_model(out / "train" / "train_model")
    assert model.classes_.tolist() == sorted(run["classes"])
    row = rows_of(out / "train" / "classification_report.csv")[1]
    assert (row["class"], float(row["recall"])) == ("grass", 0.0)


def test_broken_images_are_replaced_in_a_draw(train, out, images):
    for number in range(7):
        (images / "train/grass" / f"{number}.png").write_text("broken")
    folders = {"dir-train": images / "train", "dir-test": images / "test"}
    quick = "--type random --epochs 1 --image-size 8"
    result = train(f"{quick} --n-labels 17 --on-bad-image skip", **folders)
    assert result.exit_code == 0, result.output
    assert len(rows_of(out / "random" / "training_images.csv")) == 17
    result = train(f"{quick} --n-labels 18 --on-bad-image skip --overwrite", **folders)
    assert result.exit_code == 2
    assert "only 17 of" in result.stderr
    assert "can be read (7 cannot)" in result.stderr
    result = train(f"{quick} --n-labels 20 --overwrite", **folders)
    assert result.exit_code == 2
    assert "train/grass/" in result.stderr


def _no_run_json(run):
    (run / "run.json").unlink()


def _no_copy(run):
    next((run / "selected_images").rglob("*.png")).unlink()


def _extra_copy(run):
    folder = next((run / "selected_images").rglob("*.png")).parent
    (folder / "mine.png").write_bytes(b"")


def _no_source(run):
    record = record_of(run)
    record["data"]["train"]["directory"] += "/moved"
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")


def _no_labels(run):
    record = record_of(run)
    record["initial"], record["rounds"], record["status"] = [], [], "running"
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")


def _other_kind(run):
    (run / "run.json").write_text('{"format": 1, "kind": "a cake"}', encoding="utf-8")


def _other_format(run):
    (run / "run.json").write_text('{"format": 7}', encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "flags", "message"),
    [
        (_no_run_json, "", "holds the rounds of a run, but there is no run.json"),
        (_no_copy, "", "1 of the 18 images that the run in .* are gone: .*png"),
        (_extra_copy, "", "1 images that run.json does not name: .*mine.png"),
        (_no_source, "", "6 of the 18 images .* are gone: .*moved"),
        (_no_labels, "", "has no labelled images yet"),
        (_other_kind, "", "tells of 'a cake'; a run of dalmax train-al"),
        (_other_format, "", "has format 7; this version of dalmax_sk reads format 1"),
        (None, "--type random", "--type random draws from all training images"),
        (None, "--n-labels 3", "--n-labels goes with --type random"),
        (None, "--type other", "--type must be one of train, random; got 'other'"),
        (None, "--n-labels 0 --epochs 0", "--n-labels must be at least 1.*--epochs"),
    ],
)
def test_a_selection_that_cannot_be(train, out, own_run, spoil, flags, message):
    # property: exit code 2, one message, nothing written
    if spoil is not None:
        spoil(own_run)
    result = train(flags, **{"dir-train": own_run / "selected_images"})
    assert result.exit_code == 2, result.output
    assert re.search(message, result.stderr, flags=re.DOTALL), result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--type random --n-labels 2000", "2000 images are to be drawn.* holds 1437"),
        ("--type random --like nowhere", "there is no run.json .* there"),
        ("--dir-train nowhere", "--dir-train names a folder that does not exist: /"),
        ("--dir-train /", "--dir-train needs --dir-test or --test-split"),
        ("--type random --n-labels 1", "All 1 training images are of one class"),
    ],
)
def test_flags_that_do_not_go_together(train, out, flags, message):
    result = train(flags)
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr
    assert not out.exists()


def test_one_round_is_not_the_selection(train, own_run):
    result = train(**{"dir-train": own_run / "selected_images" / "round_01"})
    assert result.exit_code == 2
    assert "is one round of a run" in result.stderr


def test_an_unfinished_run_is_said_to_be_one(train, own_run):
    record = record_of(own_run) | {"status": "interrupted"}
    (own_run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    result = train(**{"dir-train": own_run / "selected_images"})
    assert result.exit_code == 0
    assert "(the run is interrupted)" in result.stdout


def test_a_folder_in_use(train, out, own_run):
    # property: earlier results are left alone, or replaced as a whole when asked to
    flags = {"dir-train": own_run / "selected_images"}
    assert train(**flags).exit_code == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    result = train(**flags)
    assert result.exit_code == 2
    assert "holds results already (classification_report.csv" in result.stderr
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    (out / "train" / "notes.txt").write_text("mine")
    assert train("--overwrite --seed 9", **flags).exit_code == 0
    assert (out / "train" / "notes.txt").read_text() == "mine"
    assert record_of(out / "train")["seed"] == 9


def test_ctrl_c(train, out, own_run, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("dalmax_sk.cnn.CNNClassifier.fit", stop)
    result = train(**{"dir-train": own_run / "selected_images"})
    assert result.exit_code == 130
    assert "interrupted. Nothing is kept" in result.stderr
    assert not list((out / "train").iterdir())


def test_the_same_seed_gives_the_same_model(train, out, own_run):
    weights = []
    for flags in ("", "--overwrite"):
        assert train(flags, **{"dir-train": own_run}).exit_code == 0
        weights.append((out / "train" / "train_model.safetensors").read_bytes())
    assert weights[0] == weights[1]
