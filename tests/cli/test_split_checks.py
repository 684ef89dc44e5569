"""Splits whose test score would be worth nothing, and images that were left out."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dalmax_sk.cli.run.split_checks import find_identical, note_16_bit


def test_identical_files_are_found(tmp_path):
    # property: groups of equal bytes, whatever is read of a file first
    rng = np.random.default_rng(0)
    contents = [rng.bytes(n) for n in (1, 5000, 5000, 70_000, 70_000)]
    middle = bytearray(contents[3])
    middle[20_000] ^= 1  # between the parts that are compared first
    contents += [bytes(middle), contents[1], contents[3], b"", b"", contents[3]]
    paths = []
    for i, content in enumerate(contents):
        paths.append(str(tmp_path / f"{i}.png"))
        (tmp_path / f"{i}.png").write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    paths += [str(tmp_path / "gone.png"), str(tmp_path / "pipe.png")]
    assert sorted(find_identical(paths)) == [[1, 6], [3, 7, 10]]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_small_part_of_16_bits_is_noted(tmp_path, bits):
    for i in range(3):
        values = np.linspace(0, 2**bits - 1, 256).astype("uint16").reshape(16, 16)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    notes = note_16_bit([str(tmp_path / f"{i}.png") for i in range(3)])
    assert len(notes) == (bits < 16)
    for note in notes:
        assert f"values up to {2**bits - 1} ({bits} bits; 3 images" in note


@pytest.mark.parametrize("command", ["train-al", "train", "compare"])
@pytest.mark.parametrize("place", ["train", "link", "train/grass", "."])
def test_folders_that_are_not_apart(dalmax, images, tmp_path, command, place):
    (images / "link").symlink_to(images / "train", target_is_directory=True)
    words = ["--dir-train", images / "train", "--dir-test", images / place]
    words += ["--types", "badge"] if command == "compare" else []
    result = dalmax(command, *words, "--dir-results", tmp_path / "results")
    assert result.exit_code == 2
    assert f"--dir-test {images / place}".rstrip("/.") in result.stderr
    assert "would be trained on" in result.stderr
    assert not (tmp_path / "results").exists()


def test_copies_and_omissions_are_said_and_kept(run_cli, images, run_folder):
    # property: on screen, in run.json and on the page, with numbers and names
    for i in range(2):
        shutil.copy(images / f"train/grass/{i}.png", images / f"test/grass/c{i}.png")
    shutil.copy(images / "train/grass/5.png", images / "train/blue sky/d.png")
    for i in range(5):
        (images / f"train/grass/{i}.heic").touch()
    result = run_cli("--iterations 0")
    assert result.exit_code == 0, result.output
    run = json.loads((run_folder / "run.json").read_text("utf-8"))
    across, classes = run["data"]["notes"]
    assert "2 of the 14 test images are byte for byte training images too" in across
    assert "2 images are byte for byte the same as one of another class" in classes
    assert "train/blue sky/d.png" in classes
    assert run["data"]["train"]["ignored"] == {".heic": 5}
    page = (run_folder / "report.html").read_text("utf-8")
    for text in (across, classes, "5 files of kinds that are not read (5 .heic)"):
        assert text in result.stderr
        assert text in page


def test_one_folder_is_divided(dalmax, images, tmp_path):
    # property: the same test images in all commands and for all seeds, from each class,
    # and none of them is trained on
    out = tmp_path / "out"
    words = ["--dir-results", out, *"--image-size 8 --epochs 1".split()]
    (images / "train/grass").rename(tmp_path / "grass")
    (images / "train/grass").mkdir()
    (tmp_path / "grass/0.png").rename(images / "train/grass/0.png")  # a single image
    own = ["--dir-train", images / "train", "--test-split", 0.25, *words]
    loop = "--n-initial 6 --query-size 4 --iterations 1 --seed 3".split()
    run = out / "active_learning/uncertainty_sampling"
    assert dalmax("train-al", *own, *loop).exit_code == 0
    assert dalmax("train", *own).exit_code == 0
    tested, records = [], []
    for folder in (out / "train/train", run):
        test = ["test", "--dir-model", folder, "--dir-results", tmp_path / "t"]
        result = dalmax(*test, "--overwrite")
        assert result.exit_code == 0, result.output
        lines = (tmp_path / "t/predictions.csv").read_text("utf-8").splitlines()
        tested.append([line.split(",")[0] for line in lines])
    selected = run / "selected_images"
    result = dalmax("train", "--dir-train", selected, *words, "--overwrite")
    assert result.exit_code == 0, result.output
    for folder in (run, out / "train/train"):
        records.append(json.loads((folder / "run.json").read_text("utf-8")))
    first, second = (record["data"] for record in records)
    assert first["test"]["sha256"] == second["test"]["sha256"]
    assert first["test"]["n_per_class"] == {"blue sky": 2, "ümlaut": 2}
    assert first["train"]["n_per_class"] == {"blue sky": 6, "grass": 1, "ümlaut": 6}
    assert first["notes"] == []
    assert tested[0] == tested[1]
    assert len(tested[0]) == 1 + 4


def test_a_test_on_training_images_is_noted(dalmax, own_run, finished_run, tmp_path):
    words = ["test", "--dir-model", own_run, "--dir-results", tmp_path / "out"]
    result = dalmax(*words, "--dir-test", finished_run / "train")
    assert result.exit_code == 0
    assert "the model's training folder, are the same folder" in result.stderr
    shutil.copytree(finished_run / "train", tmp_path / "twin")
    shutil.rmtree(tmp_path / "twin/grass")
    result = dalmax(*words, "--dir-test", tmp_path / "twin", "--overwrite")
    assert result.exit_code == 0
    assert "16 of the 16 test images are byte for byte training" in result.stderr
    assert "no images of class 'grass' here" in result.stderr
    told = json.loads((tmp_path / "out/test.json").read_text("utf-8"))
    assert len(told["data"]["notes"]) == 1
