"""The flags of ``dalmax train``."""

from typing import Annotated, Any

from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags import flags as f
from dalmax_sk.cli.run.train_settings import check_train_flags

__all__ = ["train"]


def train(
    type: Annotated[
        str | None,
        f.flag(
            "type",
            "train: on all images of DIR_TRAIN, or on all that a run has labels of; "
            "random: on a random part of DIR_TRAIN. Default: train",
            f.DATA,
            "train|random",
        ),
    ] = None,
    dir_train: Annotated[
        str | None,
        f.flag(
            "dir-train",
            "Folder of training images, one sub-folder a class; or selected_images/ "
            "of a run of train-al, for its initial set and all it picked. Default: "
            "the folder of the run of --like, or the embedded digits.",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    dir_test: Annotated[
        str | None,
        f.flag(
            "dir-test",
            "Folder of test images with the same classes. Default: that of the run, "
            "or the embedded digits.",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    dir_results: Annotated[
        str | None,
        f.flag(
            "dir-results",
            "Where the results go: DIR_RESULTS/train/TYPE/. Default: results",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    n_labels: Annotated[
        int | None,
        f.flag("n-labels", "With --type random: images to draw.", f.DATA, "INT"),
    ] = None,
    like: Annotated[
        str | None,
        f.flag(
            "like",
            "A run of train-al: what is not given is taken from it, that is folders, "
            "net, training, seed, and with --type random the number of images.",
            f.DATA,
            "RUN_DIR",
        ),
    ] = None,
    on_bad_image: f.OnBadImage = None,
    seed: f.Seed = None,
    architecture: f.Architecture = None,
    weights: f.Weights = None,
    freeze: f.Freeze = None,
    image_size: f.ImageSize = None,
    epochs: Annotated[
        int | None,
        f.flag(
            "epochs",
            "Epochs of training. Default: as the run, or 20 (digits: 40)",
            f.MODEL,
            "INT",
        ),
    ] = None,
    train_batch_size: f.TrainBatchSize = None,
    lr: f.Lr = None,
    lr_schedule: f.LrSchedule = None,
    optimizer: f.Optimizer = None,
    augment: f.Augment = None,
    amp: f.Amp = None,
    compile: f.Compile = None,
    device: f.Device = None,
    mult_gpu: f.MultGpu = None,
    config: f.Config = None,
    overwrite: f.Overwrite = False,
    quiet: f.Quiet = False,
    debug: f.Debug = False,
) -> None:
    """Train once: on all images, a random part, or a run's choice.

    Active learning against chance at the same number of labels: --type train with the
    selected_images/ of a run, and --type random --like the run's folder.
    """
    execute(
        "train",
        locals(),
        _work,
        check=check_train_flags,
        after_interrupt=lambda given: "Nothing is kept; run the command again.",
    )


def _work(given: dict[str, Any], **modes: Any) -> None:
    from dalmax_sk.cli.train import train

    train(given, **modes)
