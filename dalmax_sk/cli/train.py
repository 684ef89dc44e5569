"""``dalmax train``: one training, on all images, a random part, or a run's choice."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalmax_sk.cli.console import READING, Console
from dalmax_sk.cli.flags.command_line import command_line
from dalmax_sk.cli.run.data import RunData, list_run_data, list_split
from dalmax_sk.cli.run.evaluation_files import (
    EVALUATION_FILES,
    predict,
    write_evaluation_files,
)
from dalmax_sk.cli.run.model import check_model, find_process_group, make_classifier
from dalmax_sk.cli.run.output_folder import OutputFolder
from dalmax_sk.cli.run.records import FORMAT
from dalmax_sk.cli.run.split_checks import check_apart
from dalmax_sk.cli.run.train_settings import Run, TrainSettings
from dalmax_sk.cli.run.training_set import (
    TrainingSet,
    all_images,
    draw_images,
    labelled_images,
    read_chosen,
)
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.cnn.persistence import save_model
from dalmax_sk.images.outputs import check_outside
from dalmax_sk.reports import (
    describe_hardware,
    describe_versions,
    write_history_csv,
    write_infos,
    write_run_json,
    write_training_plots,
)

__all__ = ["KIND", "train"]

#: What run.json of ``train`` calls itself.
KIND = "training on image folders"


def train(given: Mapping[str, Any], *, overwrite: bool, screen: Console) -> None:
    """Train once, test, and write everything that came of it.

    Parameters
    ----------
    given : dict
        The flags that were given.
    overwrite : bool
        Replace the results in the folder.
    screen : Console
        Where to write for the user.

    Raises
    ------
    UsageError, ValueError, OSError
        If flags, folders or images are not as they have to be. Nothing that was there
        is touched in that case.
    """
    started = time.perf_counter()
    settings, selection, like = TrainSettings.from_flags_and_runs(given)
    folder = _results_folder(settings)
    folder.check_free(overwrite=overwrite)
    group = find_process_group(
        settings, after_death="Nothing is kept; run the command again.", screen=screen
    )
    with screen.watch():
        screen.announce(READING)
        chosen, data, source = group.run_on_rank0(
            _read_images, settings, selection, like
        )
        screen.say_images(data, is_digits=settings.uses_digits)
        screen.say(source)
        group.run_on_rank0(folder.lock)
        try:
            model = make_classifier(settings, data.class_names)
            model.fit(data.train.paths, data.train.labels)
            with group.sharded_inference():
                predictions = predict(model, data.test, data.class_names)
            told = predictions.describe()
            group.barrier()
            if not group.is_main:
                return
            # Only now: an earlier result is not lost to a training that fails.
            if overwrite:
                folder.clear()
            folder.claim()
            write_evaluation_files(predictions, told, folder.path)
            chosen.write_csv(folder.path / "training_images.csv")
            _write_training(model, len(chosen.rows), folder.path, settings.type)
            seconds = time.perf_counter() - started
            write_infos(seconds, folder.path)
            record = _describe(settings, data, model)
            record |= {
                "command": command_line(given, command="train"),
                "images": source,
                "n_labels": len(chosen.rows),
                "total_seconds": round(seconds, 3),
                "test": told,
            }
            write_run_json(record, folder.path)
        finally:
            folder.unlock()
    screen.say_test(told, folder.path)


def _describe(
    settings: TrainSettings, data: RunData, model: CNNClassifier
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": KIND,
        "status": "finished",
        "seed": settings.seed,
        "config": settings.to_config(),
        "resolved": {"device": str(model.device_)},
        "classes": {name: i for i, name in enumerate(data.class_names)},
        "data": data.describe(),
        "versions": describe_versions(),
        "hardware": describe_hardware(),
    }


def _results_folder(settings: TrainSettings) -> OutputFolder:
    model = f"{settings.type}_model"
    names = [
        *EVALUATION_FILES,
        "history.csv",
        "infos.txt",
        "training_accuracy_plot.pdf",
        "training_images.csv",
        "training_loss_plot.pdf",
        f"{model}.safetensors",
        f"{model}.json",
    ]
    return OutputFolder(Path(settings.dir_results, "train", settings.type), KIND, names)


def _read_images(
    settings: TrainSettings, selection: Run | None, like: Run | None
) -> tuple[TrainingSet, RunData, str]:
    """Find the training images and read them and the test images, every file once.

    Returns also the sentence that says which images are trained on.
    """
    size, skip = settings.image_size, settings.on_bad_image == "skip"
    why = ""
    if selection is not None:
        read = [selection.settings["dir_train"], settings.dir_train, settings.dir_test]
        folders = [folder for folder in read if folder is not None]
        check_outside(settings.dir_results, folders, "--dir-results")
        chosen = labelled_images(selection)
        names = selection.class_names
        source = str(chosen.split.directory)
        if settings.dir_test is None:
            share = settings.test_split
            test = list_run_data(
                source, None, dir_results=settings.dir_results, test_split=share
            ).test
        else:
            check_apart(source, settings.dir_test)
            test = list_split(settings.dir_test, names)
        data = RunData(names, chosen.split, test)
        data.take_notes()
    else:
        data = list_run_data(
            settings.dir_train,
            settings.dir_test,
            dir_results=settings.dir_results,
            test_split=settings.test_split,
        )
        if settings.type == "train":
            chosen = all_images(data)
        else:
            train = data.train
            why = settings.resolve_n_labels(train.directory, len(train.paths))
            chosen = draw_images(
                data,
                settings.n_labels,
                seed=settings.seed,
                image_size=size,
                skip_bad_images=skip,
            )
    read_chosen(chosen, data, image_size=size, skip_bad_images=skip)
    check_model(settings, len(data.class_names))
    return chosen, data, _source(settings, selection, like, why)


def _source(
    settings: TrainSettings, selection: Run | None, like: Run | None, why: str
) -> str:
    """Say in one sentence which images are trained on."""
    if selection is not None:
        text = (
            f"training on the {selection.n_labels} images that the run in "
            f"{selection.folder} has labels of: {len(selection.initial)} initial and "
            f"{len(selection.picked)} picked"
        )
        status = selection.record["status"]
        return text if status == "finished" else f"{text} (the run is {status})"
    if settings.type == "train":
        return "training on all images of the training folder"
    text = f"training on {settings.n_labels} images drawn at random"
    if why:
        return f"{text}, {why}"
    if like is not None and settings.n_labels == like.n_labels:
        text += f", as many as the run in {like.folder} has labels of"
    return text


def _write_training(
    model: CNNClassifier, n_labels: int, folder: Path, kind: str
) -> None:
    """Write the model, its epochs, and the figures of them."""
    write_history_csv(model.history_, folder)
    rounds = [{"round": 0, "n_labeled": n_labels, "fit_history": model.history_}]
    write_training_plots(rounds, folder)
    save_model(model, folder / f"{kind}_model")
