"""Each file of a run holds what it says."""

import csv
import json
import logging
import re
import warnings
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.testing import assert_allclose
from PIL import Image

from dalmax_sk._base.files import replacing, write_text
from dalmax_sk.reports import (
    ConfusionHeatmapDisplay,
    copy_names,
    describe_hardware,
    describe_picks,
    describe_round,
    describe_versions,
    to_json,
    to_plain,
    write_confusion_matrix,
    write_final_accuracy,
    write_history_csv,
    write_infos,
    write_learning_curve,
    write_run_json,
    write_selected_images,
    write_training_plots,
)


def make_history(n_rounds=3, n_epochs=4, valid=False):
    history = []
    for number in range(n_rounds):
        epochs = [
            {
                "epoch": e + 1,
                "train_loss": 2.0 / (e + 1),
                "train_accuracy": e / n_epochs,
            }
            for e in range(n_epochs)
        ]
        if valid:
            for epoch in epochs:
                epoch |= {"valid_loss": 1.0, "valid_accuracy": 0.5}
        history.append(
            {
                "round": number,
                "n_labeled": 10 + 5 * number,
                "queried": [7 * number, 7 * number + 1] if number else [],
                "query_scores": [0.5, float("inf")] if number else None,
                "n_requested": 2,
                "query_seconds": 0.25,
                "fit_seconds": 1.5,
                "eval_accuracy": 0.5 + 0.1 * number,
                "eval_f1_macro": 0.4,
                "eval_seconds": 0.1,
                "peak_bytes": 1000,
                "fit_history": epochs,
            }
        )
    history[-1]["covering_radius"] = 1.25
    return history


def pdf_text_streams(path):
    """Return the decompressed content of a PDF, fonts and all, as one string."""
    raw, found = path.read_bytes(), []
    start = 0
    while (start := raw.find(b"stream\n", start)) >= 0:
        start += len(b"stream\n")
        end = raw.find(b"endstream", start)
        try:
            found.append(zlib.decompress(raw[start:end]).decode("latin-1"))
        except zlib.error:
            continue
    return raw.decode("latin-1") + "".join(found)


# ------------------------------------------------------------------------ atomic writes


def test_a_failed_write_keeps_the_old_file(tmp_path):
    # property: a file holds the old content or the new, never a part of the new
    file = write_text(tmp_path / "a.txt", "old")

    def fail_half_way():
        with replacing(file) as part:
            part.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_half_way()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


# --------------------------------------------------------------------------------- JSON


def test_json_is_strict_and_keeps_values_and_order():
    # property: what a strict parser reads is what was given, non-finite numbers as null
    value = {
        "b": np.float32(0.5),
        "a": [np.int64(3), float("nan"), float("-inf")],
        "ü": {"path": Path("x"), "flag": np.bool_(True), "none": None},
        "rows": np.arange(100),
        "deep": [{"row": i, "name": "n" * 30} for i in range(5)],
    }

    def refuse(constant):
        raise AssertionError(f"not strict JSON: {constant}")

    text = to_json(value)
    read = json.loads(text, parse_constant=refuse)
    assert read == {
        "b": 0.5,
        "a": [3, None, None],
        "ü": {"path": "x", "flag": True, "none": None},
        "rows": list(range(100)),
        "deep": value["deep"],
    }
    assert list(read) == list(value)
    assert text.endswith("}\n")
    # one picked image is one line
    assert sum("row" in line and "name" in line for line in text.splitlines()) == 5


@pytest.mark.parametrize("value", [{}, [], {"a": []}, 1, "x", None, [[1, [2]], {}]])
def test_json_of_small_values(value):
    assert json.loads(to_json(value)) == value


def test_json_refuses_what_it_cannot_hold():
    with pytest.raises(TypeError, match="got set"):
        to_plain({"a": {1, 2}})


# --------------------------------------------------------------------------- text files


def test_final_accuracy_text(tmp_path):
    # property: exactly the original's text, without a line break
    file = write_final_accuracy(0.98765, tmp_path)
    assert file.name == "final_accuracy.txt"
    assert file.read_bytes() == b"Final Test Accuracy: 98.77%"


@pytest.mark.parametrize("accuracy", [-0.1, 98.0, float("nan")])
def test_final_accuracy_refuses_what_is_no_fraction(tmp_path, accuracy):
    with pytest.raises(ValueError, match=r"fraction in \[0, 1\]"):
        write_final_accuracy(accuracy, tmp_path)


def test_infos_text(tmp_path):
    assert write_infos(61.239, tmp_path).read_bytes() == b"Total time: 61.24 seconds\n"
    assert (tmp_path / "infos.txt").exists()


def test_history_csv_holds_the_scalars_of_every_round(tmp_path):
    # property: every scalar of the history is found again, nothing else is
    history = make_history()
    with open(write_history_csv(history, tmp_path), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history)
    for row, record in zip(rows, history, strict=True):
        for name, text in row.items():
            if name in record and record[name] is not None:
                assert float(text) == record[name]
            else:
                assert text == ""
    assert not {"queried", "fit_history"} & set(rows[0])
    assert rows[2]["covering_radius"] == "1.25"


def test_run_json_is_what_was_given(tmp_path):
    record = {"format": 1, "rounds": [{"round": 0}]}
    assert json.loads(write_run_json(record, tmp_path).read_text("utf-8")) == record


# ----------------------------------------------------------------------------- run.json


def test_a_round_in_run_json():
    # property: every entry of the record stands somewhere, picks with file and score
    files = [f"{'cat' if row < 10 else 'dog'}/{row}.png" for row in range(20)]
    entry = describe_round(make_history()[2], files=files, copies=["c/14", "c/15"])
    assert entry["metrics"] == {"accuracy": 0.7, "f1_macro": 0.4}
    assert entry["seconds"] == {"fit": 1.5, "query": 0.25, "eval": 0.1}
    assert entry["strategy"] == {"covering_radius": 1.25}
    assert entry["training"]["train_loss"] == [2.0, 1.0, 2 / 3, 0.5]
    assert entry["picked"][0] == {
        "row": 14,
        "file": "dog/14.png",
        "class": "dog",
        "score": 0.5,
        "copy": "c/14",
    }
    assert (entry["round"], entry["n_labeled"], entry["n_requested"]) == (2, 20, 2)


def test_picks_without_scores_have_none():
    picks = describe_picks([1, 0], files=["a/1.png", "b/c/2.png"])
    assert [pick["class"] for pick in picks] == ["b", "a"]
    assert all("score" not in pick and "copy" not in pick for pick in picks)


def test_versions_and_hardware():
    versions, hardware = describe_versions(), describe_hardware()
    names = ("python", "dalmax_sk", "torch", "torchvision", "scikit-learn", "skorch")
    assert all(versions[name] for name in (*names, "numpy"))
    assert hardware["cores"] >= hardware["usable_cores"] >= 1
    assert hardware["cpu"]
    json.loads(to_json([versions, hardware]))


# ---------------------------------------------------------------------- selected images


def make_images(folder, files):
    rng = np.random.default_rng(0)
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def test_copies_are_byte_identical_and_complete(tmp_path):
    # property: exactly the picked files are there, byte for byte, under their own names
    files = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/ü b.png"]
    make_images(tmp_path / "train", files)
    copies = write_selected_images(
        files[1:], source=tmp_path / "train", directory=tmp_path, round_number=7
    )
    assert copies == [f"selected_images/round_07/{file}" for file in files[1:]]
    root = tmp_path / "selected_images"
    there = {p.relative_to(tmp_path).as_posix() for p in root.rglob("*") if p.is_file()}
    assert there == set(copies)
    for file, copy in zip(files[1:], copies, strict=True):
        assert (tmp_path / copy).read_bytes() == (
            tmp_path / "train" / file
        ).read_bytes()


def test_a_cut_off_copy_is_completed(tmp_path):
    # property: after a kill the same call ends with the same files
    files = ["cat/1.png", "dog/1.png"]
    make_images(tmp_path / "train", files)
    target = tmp_path / "selected_images/round_01/cat/1.png"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"half a fi")
    (target.parent / ".0123456789abcdef.dalmax-part").write_bytes(b"ha")
    for _ in range(2):
        write_selected_images(
            files, source=tmp_path / "train", directory=tmp_path, round_number=1
        )
    root = tmp_path / "selected_images/round_01"
    there = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert there == set(files)
    assert target.read_bytes() == (tmp_path / "train/cat/1.png").read_bytes()


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/1.png", "b/1.png"], ["a/1.png", "b/1.png"]),
        (["a/x/1.png", "a/y/2.png"], ["a/1.png", "a/2.png"]),
        # one class crowded: its sub-folders stay, the other's do not
        (
            ["a/x/1.png", "a/y/1.png", "a/3.png", "b/z/1.png"],
            ["a/x/1.png", "a/y/1.png", "a/3.png", "b/1.png"],
        ),
        # names that differ in case alone are one name on some disks
        (["a/x/I.png", "a/y/i.PNG"], ["a/x/I.png", "a/y/i.PNG"]),
        ([], []),
    ],
)
def test_names_of_copies(files, names):
    # property: no two picks share a name, and the file name is never changed
    assert copy_names(files) == names
    assert len({name.casefold() for name in names}) == len(files)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        write_selected_images(
            ["a/gone.png"], source=tmp_path, directory=tmp_path, round_number=1
        )


# ----------------------------------------------------------------------------- the PDFs


def test_pdfs_are_written_without_pyplot_state(tmp_path):
    # property: one valid PDF a kind, embedded fonts, no open pyplot figure left
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    history = make_history(valid=True)
    written = [
        write_learning_curve(history, tmp_path, name="core_set"),
        *write_training_plots(history, tmp_path),
        write_confusion_matrix(["a", "b"], ["a", "a"], tmp_path, labels=["a", "b"]),
    ]
    assert sorted(path.name for path in written) == [
        "confusion_matrix.pdf",
        "learning_curve.pdf",
        "training_accuracy_plot.pdf",
        "training_loss_plot.pdf",
    ]
    for path in written:
        content = pdf_text_streams(path)
        assert content.startswith("%PDF")
        assert "/Type3" not in content
        assert "/FontFile2" in content
    assert pyplot.get_fignums() == before
    assert len(list(tmp_path.iterdir())) == 4


def test_the_same_history_gives_the_same_pdf(tmp_path):
    # property: no date and no random ids inside
    contents = []
    for _ in range(2):
        contents.append(write_learning_curve(make_history(), tmp_path).read_bytes())
    first, second = contents
    assert first == second


def test_class_names_the_font_lacks_are_logged_once(tmp_path, caplog):
    # property: strange names neither stop the run nor flood the screen
    labels = ["\U00013000", "\U00013001 $x_{1}$ 100%"]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "dalmax_sk"):
        warnings.simplefilter("error")
        write_confusion_matrix(labels, labels, tmp_path, labels=labels)
    assert [r.getMessage()[:20] for r in caplog.records] == ["confusion_matrix.pdf"]
    assert (tmp_path / "confusion_matrix.pdf").exists()


@pytest.mark.parametrize("name", ["a", "a rather long class name"])
def test_no_label_is_cut_off(tmp_path, name):
    # property: the page holds everything that was drawn
    labels = [f"{name} {i}" for i in range(10)]
    path = write_confusion_matrix(labels, labels, tmp_path, labels=labels)
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", path.read_bytes())
    display = ConfusionHeatmapDisplay.from_predictions(labels, labels, labels=labels)
    drawn = display.plot().figure_
    FigureCanvasAgg(drawn).draw()
    needed = 72 * drawn.get_tightbbox().size
    assert (np.array(box.groups(), dtype=float) >= needed).all()


@pytest.mark.parametrize("n_rounds", [1, 2, 50])
@pytest.mark.parametrize("n_epochs", [1, 12])
def test_training_plots_of_any_length(tmp_path, n_rounds, n_epochs):
    for path in write_training_plots(make_history(n_rounds, n_epochs), tmp_path):
        assert path.stat().st_size > 1000


def test_epochs_are_counted_through_all_rounds():
    # property: segment ends meet the next segment's start
    from dalmax_sk.reports import TrainingHistoryDisplay

    display = TrainingHistoryDisplay.from_history(
        make_history(3, 4), quantity="accuracy"
    )
    lines = display.plot().lines_
    for left, right in pairwise(lines):
        assert right.get_xdata()[0] == left.get_xdata()[-1] + 1
    assert_allclose(lines[0].get_ydata(), [0, 25, 50, 75])
