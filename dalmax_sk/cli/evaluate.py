"""``dalmax test``: what a saved model makes of a folder of test images."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalmax_sk._base.files import write_text
from dalmax_sk.cli.console import Console
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.command_line import command_line
from dalmax_sk.cli.run.data import (
    Split,
    check_no_class_empty,
    drop_broken,
    list_run_data,
    list_split,
)
from dalmax_sk.cli.run.evaluation_files import (
    EVALUATION_FILES,
    predict,
    write_evaluation_files,
)
from dalmax_sk.cli.run.output_folder import OutputFolder, listed
from dalmax_sk.cli.run.records import FORMAT, check_keys, read_record
from dalmax_sk.cli.run.split_checks import (
    find_identical,
    note_across_classes,
    note_across_split,
    overlap,
)
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.cnn.persistence import load_model
from dalmax_sk.images.outputs import check_outside
from dalmax_sk.images.paths import images_below
from dalmax_sk.reports import describe_hardware, describe_versions, to_json, write_infos

__all__ = ["KIND", "evaluate", "find_model"]

#: What test.json calls itself.
KIND = "test of a model on an image folder"

_SUFFIXES = (".safetensors", ".json")


def evaluate(given: Mapping[str, Any], *, overwrite: bool, screen: Console) -> None:
    """Test a model and write everything that came of it.

    Parameters
    ----------
    given : dict
        The flags that were given.
    overwrite : bool
        Replace the results of an earlier test in the folder.
    screen : Console
        Where to write for the user.

    Raises
    ------
    UsageError, ValueError, OSError
        If flags, folders, images or the model are not as they have to be. Nothing that
        was there is touched in that case.
    """
    started = time.perf_counter()
    stem = find_model(_model_flag(given))
    folder = _results_folder(given.get("dir_results", str(Path.cwd() / "results")))
    folder.check_free(overwrite=overwrite)
    screen.announce("reading the model and the images")
    model = load_model(stem, device=given.get("device", "auto"))
    class_names = _class_names(model, stem)
    with screen.watch():
        try:
            split, notes = _test_images(given, stem, class_names)
        except ValueError as error:
            classes = listed(class_names, 20)
            error.add_note(f"The model is {stem}, of classes {classes}.")
            raise
        check_outside(folder.path, [split.directory], "--dir-results")
        before = sorted(set(split.labels.tolist()))
        drop_broken(
            [split],
            image_size=model.input_spec_.shape[1:],
            mode="grey" if model.input_spec_.shape[0] == 1 else "rgb",
            skip_bad_images=given.get("on_bad_image") == "skip",
        )
        check_no_class_empty(split, before)
        screen.say(f"{len(split.paths)} test images in {len(class_names)} classes")
        for path, reason in split.skipped:
            screen.warn(f"skipped {path}: {reason}")
        for note in notes:
            screen.warn(f"{note}.")
        predictions = predict(model, split, class_names)
    told = predictions.describe()
    folder.lock()
    try:
        if overwrite:
            folder.clear()
        folder.claim()
        write_evaluation_files(predictions, told, folder.path)
        seconds = time.perf_counter() - started
        write_infos(seconds, folder.path)
        record = {
            "format": FORMAT,
            "kind": KIND,
            "command": command_line(given, command="test"),
            "model": str(stem),
            "total_seconds": round(seconds, 3),
            "classes": {name: i for i, name in enumerate(class_names)},
            "data": {"test": split.describe(), "notes": notes},
            "device": str(model.device_),
            "versions": describe_versions(),
            "hardware": describe_hardware(),
            "test": told,
        }
        write_text(folder.path / "test.json", to_json(record))
    finally:
        folder.unlock()
    screen.say_test(told, folder.path)


def _results_folder(path: str) -> OutputFolder:
    if (Path(path) / "run.json").exists():
        raise UsageError(
            f"{path} is the folder of a run, whose own results have the same names. "
            "Choose another --dir-results."
        )
    return OutputFolder(
        path, KIND, [*EVALUATION_FILES, "infos.txt"], record="test.json"
    )


def _model_flag(given: Mapping[str, Any]) -> Path:
    """Return what ``--dir-model`` or ``--model`` names; they are one thing."""
    if "dir_model" not in given:
        raise UsageError(
            "Which model? Give --dir-model a folder that holds one, or --model a file: "
            "RESULTS/active_learning/TYPE/TYPE_al_model.safetensors."
        )
    return Path(given["dir_model"])


def find_model(path: Path) -> Path:
    """Return the path of a model without its suffix.

    Parameters
    ----------
    path : pathlib.Path
        A folder that holds one model, one of a model's two files, or their common path
        without the suffix.

    Raises
    ------
    UsageError
        If there is no model, or there are several; the message lists what is there.
    """
    if path.is_dir():
        return _model_in(path)
    if path.suffix in _SUFFIXES:
        path = path.with_suffix("")
    elif path.exists():
        raise UsageError(
            f"{path} is not a model of dalmax_sk, which consists of a .safetensors and "
            "a .json file. Pickles (.pth, .pt, .pkl) and .h5 files are not read: what "
            "is in them could run as code."
        )
    files = [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise UsageError(
            "A model consists of a .safetensors and a .json file; there is no "
            f"{' and no '.join(missing)}."
        )
    return path


def _model_in(folder: Path) -> Path:
    stems = _stems(folder.glob("*.safetensors"))
    if len(stems) == 1:
        return stems[0]
    if stems:
        raise UsageError(
            f"{folder} holds {len(stems)} models: "
            f"{', '.join(stem.name for stem in stems)}. Give --model one of them."
        )
    below = _stems(folder.rglob("*.safetensors"))
    there = (
        " Below it there are " + ", ".join(map(str, below[:10])) + "." if below else ""
    )
    raise UsageError(
        f"{folder} holds no model (a .safetensors and a .json file of one name).{there}"
    )


def _stems(files: Any) -> list[Path]:
    """Return the models among `files` without suffix: those with a JSON beside."""
    return sorted(
        file.with_suffix("")
        for file in files
        if not file.name.startswith(".")
        and file.with_name(file.stem + ".json").is_file()
    )


def _class_names(model: CNNClassifier, stem: Path) -> list[str]:
    spec = model.input_spec_
    if spec.kind != "image" or spec.dtype != "uint8" or spec.shape[0] not in (1, 3):
        raise UsageError(
            f"{stem} was not trained on image files but on {spec.kind}s of shape "
            f"{tuple(spec.shape)}, {spec.dtype}; dalmax test reads image files."
        )
    return [str(label) for label in model.classes_.tolist()]


def _notes(split: Split, stem: Path) -> list[str]:
    """Return what a person should know of the test images."""
    train, file = [], stem.parent / "run.json"
    if file.is_file():
        directory = Path(read_record(file)["data"]["train"]["directory"])
        found = overlap(directory, split.directory)
        if found:
            return [
                f"{split.directory} and {directory}, the model's training folder, "
                f"{found}: scores on them say nothing about new images"
            ]
        train = images_below(directory) if directory.is_dir() else []
    paths, n_train = [*train, *split.paths], len(train)
    groups = find_identical(paths)
    own = [[row - n_train for row in group if row >= n_train] for group in groups]
    return [
        *note_across_split(groups, paths, n_train),
        *note_across_classes(own, split.paths.tolist(), split.labels.tolist()),
    ]


def _test_images(
    given: Mapping[str, Any], stem: Path, class_names: Sequence[str]
) -> tuple[Split, list[str]]:
    """Return the test images, and what a person should know of them."""
    if "dir_test" in given:
        split = list_split(given["dir_test"], class_names)
        return split, _notes(split, stem)
    run = stem.parent / "run.json"
    if not run.is_file():
        raise UsageError(
            "--dir-test is needed: a folder of test images, one sub-folder a class. "
            "(It can be left out for a model that lies in the folder of a run.)"
        )
    record = read_record(run)
    check_keys(record, run, {"data.test.directory": str, "config": dict})
    folder = str(record["data"]["test"]["directory"])
    if not os.path.isdir(folder):
        raise UsageError(
            f"{run} names the test folder {folder}, which is not there any more. Give "
            "--dir-test the folder of the test images."
        )
    share = record["config"].get("test_split")
    if share is not None:
        data = list_run_data(folder, None, dir_results=None, test_split=share)
        return data.test, data.notes
    split = list_split(folder, class_names)
    return split, _notes(split, stem)
