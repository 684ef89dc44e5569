"""``dalmax train-al`` from end to end on a tiny folder of images."""

import csv
import errno
import io
import json
import logging
import os
import re
import shutil

import numpy as np
import pytest
import rich.console
import torch
from PIL import Image

from dalmax_sk._base import progress
from dalmax_sk.cli.console import Console
from dalmax_sk.cli.run.run_folder import RunFolder
from dalmax_sk.cnn import load_model
from dalmax_sk.cnn.skorch_net import BatchNet
from dalmax_sk.images import load_image_paths

OWN_FILES = {
    "confusion_matrix.pdf",
    "final_accuracy.txt",
    "history.csv",
    "infos.txt",
    "learning_curve.pdf",
    "report.html",
    "run.json",
    "training_accuracy_plot.pdf",
    "training_loss_plot.pdf",
    "uncertainty_sampling_al_model.json",
    "uncertainty_sampling_al_model.safetensors",
}


def files_below(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def read_run(folder):
    def refuse(constant):
        raise AssertionError(f"run.json is not strict JSON: {constant}")

    text = (folder / "run.json").read_text("utf-8")
    return json.loads(text, parse_constant=refuse)


# ------------------------------------------------------------------- what a run leaves


def test_every_file_holds_what_it_says(run_cli, run_folder, images):
    # property: the files of one run agree with each other and with the folders
    result = run_cli("--seed 5")
    assert result.exit_code == 0, result.output
    assert {p.name for p in run_folder.iterdir() if p.is_file()} == OWN_FILES
    run = read_run(run_folder)
    train = load_image_paths(images / "train")

    assert run["format"] == 1
    assert run["status"] == "finished"
    assert run["seed"] == run["config"]["seed"] == 5
    assert run["classes"] == {name: i for i, name in enumerate(train.target_names)}
    assert run["config"]["query_size"] == 4
    assert run["resolved"] == {"n_initial": 6, "device": "cpu"}
    assert run["data"]["train"]["n_images"] == 24
    assert run["data"]["test"]["n_per_class"] == dict.fromkeys(train.target_names, 4)
    assert run["stop_reason"]
    for name in ("python", "torch", "scikit-learn", "numpy", "dalmax_sk"):
        assert run["versions"][name]

    # rows are rows of the sorted training folder, never picked twice
    picked = [pick for entry in run["rounds"] for pick in entry["picked"]]
    rows = [pick["row"] for pick in run["initial"] + picked]
    assert len(rows) == len(set(rows)) == 6 + 3 * 4
    for pick in run["initial"] + picked:
        path = images / "train" / pick["file"]
        assert train.data[pick["row"]] == str(path)
        assert pick["class"] == train.target_names[train.target[pick["row"]]]
        assert path.parent.name == pick["class"]

    # copies: exactly the picked files, grouped by round, byte for byte
    copies = {pick["copy"]: pick["file"] for pick in picked}
    selected = {f for f in files_below(run_folder) if f.startswith("selected_images/")}
    assert selected == set(copies)
    for copy, file in copies.items():
        assert (run_folder / copy).read_bytes() == (
            images / "train" / file
        ).read_bytes()
    for entry in run["rounds"]:
        for pick in entry["picked"]:
            name = os.path.basename(pick["file"])
            place = f"selected_images/round_{entry['round']:02d}/{pick['class']}/{name}"
            assert pick["copy"] == place
            assert isinstance(pick["score"], float)

    # history.csv, final_accuracy.txt, infos.txt
    with open(run_folder / "history.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["round"]) for row in table] == [0, 1, 2, 3]
    assert [int(row["n_labeled"]) for row in table] == [6, 10, 14, 18]
    for row, entry in zip(table, run["rounds"], strict=True):
        assert float(row["eval_accuracy"]) == entry["metrics"]["accuracy"]
        assert float(row["fit_seconds"]) == entry["seconds"]["fit"]
        assert len(entry["training"]["train_loss"]) == 2
    accuracy = run["rounds"][-1]["metrics"]["accuracy"]
    text = (run_folder / "final_accuracy.txt").read_text()
    assert text == f"Final Test Accuracy: {accuracy * 100:.2f}%"
    text = (run_folder / "infos.txt").read_text()
    seconds = float(re.fullmatch(r"Total time: (\d+\.\d\d) seconds\n", text)[1])
    assert seconds == pytest.approx(run["total_seconds"], abs=0.2)
    assert seconds >= sum(entry["seconds"]["fit"] for entry in run["rounds"])

    # the model is the one that was scored
    model = load_model(run_folder / "uncertainty_sampling_al_model")
    test = load_image_paths(images / "test")
    expected = np.array(test.target_names)[test.target]
    assert np.mean(model.predict(test.data) == expected) == pytest.approx(accuracy)

    # what the user saw
    assert str(run_folder) in result.stdout
    assert "round 3/3: 18 labels, test accuracy" in result.stdout
    assert result.stderr == ""


def test_the_same_seed_gives_the_same_run(run_cli, run_folder, snapshot):
    # property: picks, metrics, figures and weights; another seed gives another run
    run_cli("--seed 1")
    first = snapshot(run_folder)
    assert run_cli("--seed 1 --overwrite").exit_code == 0
    again = snapshot(run_folder)
    assert {k for k in again[1] if again[1][k] != first[1].get(k)} == set()
    assert again == first
    run_cli("--seed 2 --overwrite")
    assert snapshot(run_folder)[0]["rounds"] != first[0]["rounds"]


@pytest.mark.parametrize(
    "flags",
    [
        "--type diversity_sampling",
        "--initial-strategy balanced --refit continue --optimizer sgd",
        "--augment True --train-batch-size 4 --lr 0.01",
    ],
)
def test_other_strategies_and_options_run(run_cli, run_folder, flags):
    result = run_cli(flags)
    assert result.exit_code == 0, result.output
    name = flags.split()[1] if flags.startswith("--type") else "uncertainty_sampling"
    folder = run_folder.parent / name
    assert {p.name.replace(name, "T") for p in folder.iterdir() if p.is_file()} == {
        file.replace("uncertainty_sampling", "T") for file in OWN_FILES
    }
    entries = read_run(folder)["rounds"]
    assert [len(entry["picked"]) for entry in entries] == [0, 4, 4, 4]
    # with refit=continue as well, a round's epochs are its own
    assert all(len(entry["training"]["train_loss"]) == 2 for entry in entries)


def test_the_digits_take_the_same_path(run_cli, run_folder, tmp_path):
    # property: without folders the digits are written out, then read like any folder
    result = run_cli("--epochs 1 --iterations 1", quick=False, data=False)
    assert result.exit_code == 0, result.output
    digits = tmp_path / "results" / "digits"
    assert str(digits) in result.stdout
    run = read_run(run_folder)
    assert run["data"]["train"]["directory"] == str(digits / "train")
    assert run["data"]["train"]["n_images"] + run["data"]["test"]["n_images"] == 1797
    for pick in run["rounds"][1]["picked"]:
        copy = (run_folder / pick["copy"]).read_bytes()
        assert copy == (digits / "train" / pick["file"]).read_bytes()


def test_sub_folders_of_a_class_lose_nothing(run_cli, run_folder, images):
    # property: files of one name in two sub-folders of a class are both kept
    shutil.rmtree(images / "train" / "grass")
    rng = np.random.default_rng(0)
    for number in range(16):
        path = images / f"train/grass/{number // 4}/{number % 4}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    assert run_cli("--query-size 26 --iterations 1").exit_code == 0
    picks = read_run(run_folder)["rounds"][1]["picked"]
    assert len(picks) == 26
    assert len({pick["copy"] for pick in picks}) == 26
    for pick in picks:
        source = images / "train" / pick["file"]
        copy = run_folder / pick["copy"]
        assert copy.name == source.name
        assert copy.read_bytes() == source.read_bytes()


def test_a_query_larger_than_the_pool(run_cli, run_folder):
    # property: the last batch is short, and the user is told beforehand
    result = run_cli("--query-size 15")
    assert result.exit_code == 0, result.output
    note = "3 rounds of 15 ask for 45 images and 18 start unlabelled: the run ends"
    assert f"{note} after round 2, whose batch is 3." in result.stderr
    run = read_run(run_folder)
    assert [len(entry["picked"]) for entry in run["rounds"]] == [0, 15, 3]
    assert run["rounds"][2]["n_requested"] == 15
    assert "no candidates" in run["stop_reason"]


def test_no_rounds_at_all(run_cli, run_folder):
    assert run_cli("--iterations 0").exit_code == 0
    assert len(read_run(run_folder)["rounds"]) == 1


def test_quiet_hides_notes(run_cli, images):
    (images / "train/grass/broken.png").write_bytes(b"")
    result = run_cli("--quiet --on-bad-image skip --query-size 40")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_names_that_are_no_utf_8_are_named(run_cli, run_folder, images):
    try:
        (images / "train/grass/0.png").rename(images / "train/grass/\udce9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    result = run_cli()
    assert result.exit_code == 2
    assert "1 image files have names that are not UTF-8" in result.stderr
    assert "grass/\ufffd.png" in result.stderr
    assert not run_folder.exists()


def test_quiet_is_quiet(run_cli):
    result = run_cli("--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


# -------------------------------------------------------------------------- bad input


def test_broken_images_are_named_together(run_cli, run_folder, images):
    # property: all broken files of both folders in one message, nothing written
    (images / "train/grass/1.png").write_text("not an image")
    (images / "test/ümlaut/2.png").write_bytes(b"")
    result = run_cli()
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert "train/grass/1.png" in result.stderr
    assert "test/ümlaut/2.png" in result.stderr
    assert not run_folder.exists()


def test_broken_images_can_be_skipped(run_cli, run_folder, images):
    # property: skipped files are named on screen and in run.json, and never picked
    (images / "train/grass/1.png").write_text("not an image")
    (images / "test/ümlaut/2.png").write_bytes(b"")
    result = run_cli("--on-bad-image skip --query-size 30")
    assert result.exit_code == 0, result.output
    assert "skipped" in result.stderr
    run = read_run(run_folder)
    assert [skip["file"] for skip in run["data"]["train"]["skipped"]] == ["grass/1.png"]
    assert [skip["file"] for skip in run["data"]["test"]["skipped"]] == ["ümlaut/2.png"]
    assert run["data"]["train"]["skipped"][0]["reason"]
    assert run["data"]["train"]["n_images"] == 23
    everything = [p["file"] for p in run["initial"] + run["rounds"][1]["picked"]]
    assert "grass/1.png" not in everything
    assert len(everything) == 23


def test_a_class_with_broken_images_only(run_cli, images):
    for file in (images / "test/grass").iterdir():
        file.write_text("broken")
    result = run_cli("--on-bad-image skip")
    assert result.exit_code == 2
    assert "no image of class grass can be read" in result.stderr


def _rename_class(images):
    (images / "test/grass").rename(images / "test/gras")


def _remove(name):
    return lambda images: shutil.rmtree(images / name)


def _empty(images):
    shutil.rmtree(images / "train")
    (images / "train").mkdir()


def _no_images(images):
    for file in (images / "train/grass").iterdir():
        file.unlink()


def _one_class(images):
    for split in ("train", "test"):
        for name in ("grass", "ümlaut"):
            shutil.rmtree(images / split / name)


@pytest.mark.parametrize(
    ("spoil", "flags", "words"),
    [
        (_remove("train"), "", ["train"]),
        (_remove("test"), "", ["test"]),
        (_empty, "", ["train"]),
        (_no_images, "", ["grass"]),
        (_one_class, "", ["class"]),
        (_rename_class, "", ["gras", "grass"]),
        (None, "--type core_sett", ["core_sett", "Did you mean", "core_set"]),
        (None, "--architecture small_cn", ["'small_cn'", "small_cnn"]),
        (None, "--architecture vgg16", ["vgg16", "8"]),
        (None, "--device multi", ["--device multi", "two GPUs", "torchrun"]),
        (None, "--n-initial 25", ["--n-initial 25", "24"]),
        (None, "--device cuda:99", ["cuda:99"]),
        (None, "--weights no_such_file.pth", ["no_such_file.pth"]),
        (None, "--resume --overwrite", ["--resume", "--overwrite"]),
        (None, "--epochs 0 --lr -1", ["--epochs", "--lr"]),
    ],
)
def test_bad_input_is_explained(run_cli, run_folder, images, spoil, flags, words):
    # property: exit code 2, one message that names what is wrong, no traceback
    if spoil is not None:
        spoil(images)
    result = run_cli(flags)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(run_folder.glob("selected_images/**/*.png"))


def test_a_run_that_cannot_begin_leaves_nothing(run_cli, run_folder, monkeypatch):
    # property: an error in the first fit does not make the next try ask for --overwrite
    def fail(*args, **kwargs):
        raise ValueError("first fit")

    with monkeypatch.context() as patch:
        patch.setattr("dalmax_sk.cnn.CNNClassifier.fit", fail)
        result = run_cli()
    assert "first fit" in str(result.exception)
    assert files_below(run_folder) == {"checkpoint/lock"}
    assert run_cli().exit_code == 0


def test_debug_shows_the_traceback(run_cli):
    result = run_cli("--type core_sett --debug")
    assert isinstance(result.exception, ValueError)
    assert "core_sett" in str(result.exception)


def test_unexpected_errors_keep_their_traceback(run_cli, run_folder, monkeypatch):
    # property: a defect is not dressed up as the user's mistake
    def fail(*args, **kwargs):
        return int("not a number")

    monkeypatch.setattr("dalmax_sk.cli.train_al.write_learning_curve", fail)
    result = run_cli()
    assert isinstance(result.exception, ValueError)
    assert result.exit_code == 1
    run = read_run(run_folder)
    assert run["status"] == "failed"
    assert "not a number" in run["error"]


def test_results_cannot_go_below_a_file(run_cli, tmp_path):
    (tmp_path / "results").write_text("a file")
    result = run_cli()
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")


# ------------------------------------------------------------- a folder already in use


def test_a_folder_in_use_is_left_alone(run_cli, run_folder, snapshot):
    # property: a second run stops before it touches anything
    run_cli()
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}
    result = run_cli("--seed 9")
    assert result.exit_code == 2
    assert f"{run_folder} holds a run already (finished, 3 of 3 rounds" in result.stderr
    assert "--resume" in result.stderr
    assert "--overwrite" in result.stderr
    assert {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")} == before


def test_overwrite_removes_the_runs_files_only(run_cli, run_folder):
    # properties: a shorter run leaves nothing of the longer one; strangers stay
    run_cli()
    (run_folder / "notes.txt").write_text("mine")
    for folder in (run_folder, run_folder / "selected_images" / "round_02"):
        (folder / ".0123456789abcdef.dalmax-part").write_text("rest of a kill")
    (run_folder / ".run.json.mine").write_text("mine")
    result = run_cli("--iterations 1 --seed 3 --overwrite")
    assert result.exit_code == 0, result.output
    assert (run_folder / "notes.txt").read_text() == "mine"
    copies = {p["copy"] for e in read_run(run_folder)["rounds"] for p in e["picked"]}
    checkpoint = {"checkpoint/lock", "checkpoint/state.json"}
    assert files_below(run_folder) == OWN_FILES | copies | checkpoint | {
        "notes.txt",
        ".run.json.mine",
    }
    assert not (run_folder / "selected_images/round_02").exists()


def test_overwrite_stops_at_foreign_images(run_cli, run_folder):
    # property: files of others below selected_images/ are neither lost nor mixed in
    run_cli()
    foreign = run_folder / "selected_images/round_01/grass/mine.png"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(b"...")
    before = files_below(run_folder)
    result = run_cli("--overwrite")
    assert result.exit_code == 2
    assert "selected_images/round_01/grass/mine.png" in result.stderr
    assert files_below(run_folder) == before


def test_overwrite_checks_everything_first(run_cli, run_folder, images):
    # property: a new run that cannot start does not cost the old one
    run_cli()
    before = files_below(run_folder)
    (images / "train/grass/1.png").write_text("broken now")
    assert run_cli("--overwrite").exit_code == 2
    assert run_cli("--overwrite --n-initial 99").exit_code == 2
    assert files_below(run_folder) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "has format None"),
        ('{"format": 99}', "has format 99; this version of dalmax_sk reads format 1"),
        ('{"format": 1, "kind": "x"}', "tells of 'x', not of a run of train-al"),
        (
            '{"format": 1, "kind": "active learning on image folders", "rounds": null}',
            "not as a command of dalmax writes it: status, config, config.iterations, "
            "rounds, ",
        ),
    ],
)
@pytest.mark.parametrize("flag", ["", "--resume", "--overwrite"])
def test_a_foreign_run_json(run_cli, run_folder, content, message, flag):
    run_folder.mkdir(parents=True)
    (run_folder / "run.json").write_text(content)
    result = run_cli(flag)
    assert result.exit_code == 2
    assert message in result.stderr
    assert files_below(run_folder) == {"run.json"}


@pytest.mark.parametrize("flag", ["", "--resume", "--overwrite"])
def test_files_of_an_unknown_run(run_cli, run_folder, flag):
    # property: without run.json nobody can tell whose files these are
    run_folder.mkdir(parents=True)
    (run_folder / "infos.txt").write_text("Total time: 1.00 seconds\n")
    result = run_cli(flag)
    assert result.exit_code == 2
    assert "holds infos.txt but no run.json" in result.stderr
    assert files_below(run_folder) == {"infos.txt"}


def test_two_processes_in_one_folder(run_cli, tmp_path):
    other = RunFolder(tmp_path / "results", "uncertainty_sampling")
    other.lock()
    result = run_cli()
    assert result.exit_code == 2
    assert "Another process is at work in" in result.stderr
    other.unlock()
    assert run_cli().exit_code == 0


# ------------------------------------------------------------------------ on the screen


def test_odd_names_are_shown_as_they_are(run_cli, images):
    # property: brackets in names are not taken for markup
    for split in ("train", "test"):
        (images / split / "grass").rename(images / split / "[red]x")
    (images / "train/[red]x/1.png").write_text("broken")
    result = run_cli()
    assert "[red]x/1.png" in result.stderr
    assert run_cli("--on-bad-image skip").exit_code == 0


def test_bars_on_a_terminal():
    # property: on a terminal every stage has a bar; elsewhere no control characters
    screen = Console(quiet=False)
    stream = io.StringIO()
    screen.out = rich.console.Console(
        file=stream, force_terminal=True, width=99, highlight=False
    )
    record = {"round": 1, "n_labeled": 5, "fit_seconds": 1.0, "query_seconds": 0.0}
    with screen.watch(n_rounds=2):
        for stage in ("decode", "epoch", "pool", "query", "committee"):
            progress.report(stage, 1, 3)
            progress.report(stage, 3, 3)
            progress.report(stage, 1, 5)
        progress.report("round", 1, 2, record=record, restored=False)
        progress.report("round", 1, 2, record=record, restored=True)
    text = stream.getvalue()
    for words in ("Images read", "Training: epochs", "Rounds", "committee"):
        assert words in text
    assert text.count("round 1/2: 5 labels, training 1.0 s") == 1


def test_the_packages_warnings_are_shown(capsys):
    screen = Console(quiet=False)
    with screen.watch(n_rounds=1):
        logging.getLogger("dalmax_sk").warning("mind the %s", "[gap]")
    assert capsys.readouterr().err == "Note: mind the [gap]\n"


def test_plain_lines_elsewhere(run_cli):
    result = run_cli()
    assert "\x1b" not in result.stdout + result.stderr
    assert "\r" not in result.stdout + result.stderr
    rounds = [line for line in result.stdout.splitlines() if line.startswith("round ")]
    assert len(rounds) == 4


def test_the_time_is_told_in_one_line(run_cli):
    result = run_cli()
    (line,) = [
        line for line in result.stdout.splitlines() if line.startswith("Time of")
    ]
    # 6, 10, 14 and 18 images, each seen in two epochs
    assert re.fullmatch(
        r"Time of the rounds: [\d.]+ s, of it training [\d.]+ s \([\d,]+ images/s\), "
        r"picking [\d.]+ s, scoring [\d.]+ s; of the whole run: [\d.]+ s",
        line,
    )


def test_memory_that_runs_out_is_explained(run_cli, monkeypatch, run_folder):
    # property: exit code 1, advice, and the command that goes on from the last round
    epochs = []

    def exhaust(self, iterator, training, **kwargs):
        epochs.extend([1] * training)
        if training and len(epochs) == 5:  # in the third training of two epochs
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return original(self, iterator, training, **kwargs)

    original = BatchNet.run_single_epoch
    with monkeypatch.context() as patch:
        patch.setattr(BatchNet, "run_single_epoch", exhaust)
        result = run_cli()
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.stderr
    words = re.sub(r"\s+", " ", result.stderr)
    for part in ("Tried to allocate 2 GiB", "--train-batch-size", "--resume"):
        assert part in words
    assert json.loads((run_folder / "run.json").read_text("utf-8"))["rounds"]
    assert run_cli("--resume").exit_code == 0


# ---------------------------------------------------- files of others, and no room left


@pytest.mark.parametrize("kind", ["dots", "absolute", "link", "folder link", "file"])
@pytest.mark.parametrize("command", ["overwrite", "resume", "train"])
def test_a_record_names_files_of_its_run_only(dalmax, own_run, tmp_path, kind, command):
    # property: a results folder from elsewhere has nothing removed, and nothing read
    victim = tmp_path / "victim.png"
    victim.write_text("precious")
    half = tmp_path / ".victim.png.part"
    half.write_text("precious")
    run = read_run(own_run)
    pick = dict(run["rounds"][1]["picked"][0])
    folder = own_run / "selected_images" / "round_01" / "grass"
    folder.mkdir(exist_ok=True)
    if kind == "dots":
        pick["copy"] = f"selected_images/round_01/{os.path.relpath(victim, folder)}"
    elif kind == "absolute":
        pick["copy"] = str(victim)
    elif kind == "link":
        os.symlink(victim, folder / "victim.png")
        pick["copy"] = "selected_images/round_01/grass/victim.png"
    elif kind == "folder link":
        os.symlink(tmp_path, folder / "out")
        pick["copy"] = "selected_images/round_01/grass/out/victim.png"
    else:
        pick["file"] = f"grass/../../{victim.name}"
    run["rounds"][1]["picked"].append(pick)
    run["status"] = "failed"
    (own_run / "run.json").write_text(json.dumps(run))
    results = own_run.parent.parent
    words = ["train-al", "--dir-results", results, f"--{command}"]
    if command == "train":
        words = ["train", "--dir-train", own_run / "selected_images"]
        words += ["--dir-results", tmp_path / "new"]
    result = dalmax(*words)
    assert result.exit_code == 2, result.output
    assert "run.json is not as a run writes it: rounds[1].picked" in result.stderr
    assert victim.read_text() == half.read_text() == "precious"


def test_overwrite_stops_at_links(run_cli, run_folder, tmp_path):
    # property: a folder that a link leads to is not the run's
    run_cli()
    documents = tmp_path / "documents"
    (run_folder / "checkpoint").rename(documents)
    os.symlink(documents, run_folder / "checkpoint")
    before = files_below(documents)
    result = run_cli("--overwrite")
    assert result.exit_code == 2
    assert "holds files that run.json does not name: checkpoint" in result.stderr
    assert files_below(documents) == before


@pytest.mark.parametrize("results", ["train", "train/results", "test/grass/results"])
@pytest.mark.parametrize("command", ["train-al", "compare --types badge", "train"])
def test_results_inside_of_the_images_are_refused(dalmax, images, command, results):
    # property: before anything is written
    before = files_below(images)
    folders = ["--dir-train", images / "train", "--dir-test", images / "test"]
    result = dalmax(*command.split(), *folders, "--dir-results", images / results)
    assert result.exit_code == 2
    assert f"--dir-results {images / results} lies in {images}" in result.stderr
    assert files_below(images) == before


def test_the_longest_names_are_copied(run_cli, images, run_folder):
    for split in ("train", "test"):
        for file in list((images / split).rglob("*.png")):
            file.rename(file.with_name(f"{file.stem:a>251}.png"))
    assert run_cli("--iterations 1").exit_code == 0
    assert len(read_run(run_folder)["rounds"][1]["picked"]) == 4


def test_names_that_the_results_cannot_hold(run_cli, monkeypatch, run_folder):
    # property: found before the training, not at the first copy
    limits = {"PC_NAME_MAX": 4, "PC_PATH_MAX": 4096}
    monkeypatch.setattr(os, "pathconf", lambda path, name: limits[name])
    result = run_cli()
    assert result.exit_code == 2
    assert "Copies of 24 images cannot be kept" in result.stderr
    assert files_below(run_folder) <= {"checkpoint/lock"}


@pytest.mark.parametrize("n_writes", [1, 4, 9])
def test_a_full_disk_is_one_line(run_cli, run_folder, monkeypatch, n_writes):
    # properties: it names the file and the way on, which then works
    calls = []

    def sync(file):
        calls.append(file)
        if len(calls) >= n_writes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        result = run_cli("--iterations 1")
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert re.search(rf"{run_folder}/.*: no space left on device\. Make room", line)
    assert line.endswith("--resume")
    assert not [name for name in files_below(run_folder) if "part" in name]
    assert run_cli("--iterations 1 --resume").exit_code == 0


def test_results_that_are_a_file(run_cli, tmp_path):
    (tmp_path / "results").write_text("mine")
    result = run_cli()
    assert result.exit_code == 2
    assert "No files can be written to" in result.stderr
    assert "another --dir-results" in result.stderr
