"""The flags of ``dalmax train-al``."""

from typing import Annotated, Any

from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags import flags as f
from dalmax_sk.cli.flags.checks import resume_hint

__all__ = ["train_al"]


def train_al(
    dir_train: f.DirTrain = None,
    dir_test: f.DirTest = None,
    dir_results: Annotated[
        str | None,
        f.flag(
            "dir-results",
            "Where the results go: DIR_RESULTS/active_learning/TYPE/. Default: results",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    on_bad_image: f.OnBadImage = None,
    type: Annotated[
        str | None,
        f.flag(
            "type",
            "Query strategy: uncertainty_sampling, badge, core_set_selection, "
            "random_sampling, auto … (dalmax strategies lists all). "
            "Default: uncertainty_sampling",
            f.LOOP,
            "NAME",
        ),
    ] = None,
    query_size: f.QuerySize = None,
    batch_size: f.BatchSize = None,
    iterations: f.Iterations = None,
    test_size: f.TestSize = None,
    n_initial: f.NInitial = None,
    initial_strategy: f.InitialStrategy = None,
    refit: f.Refit = None,
    shrink_perturb: f.ShrinkPerturb = None,
    max_memory: f.MaxMemory = None,
    seed: f.Seed = None,
    architecture: f.Architecture = None,
    weights: f.Weights = None,
    freeze: f.Freeze = None,
    image_size: f.ImageSize = None,
    epochs: f.EpochsOfRound = None,
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
    resume: Annotated[
        bool,
        f.switch(
            "resume",
            "Go on with a run that was stopped, with its settings; start one if there "
            "is none.",
        ),
    ] = False,
    overwrite: f.Overwrite = False,
    quiet: f.Quiet = False,
    debug: f.Debug = False,
) -> None:
    """Active learning: train, ask for labels, repeat.

    The net is trained on a few labelled images, a strategy asks for the most useful
    labels, and so on. All labels are known from the folders; the run hides them and
    reveals those it asks for, which shows what a strategy is worth. Without folders it
    runs on scikit-learn's handwritten digits.
    """
    execute("train-al", locals(), _work, after_interrupt=resume_hint)


def _work(given: dict[str, Any], **modes: Any) -> None:
    # The checks of the flags cost nothing; torch costs seconds.
    from dalmax_sk.cli.train_al import train_al

    train_al(given, **modes)
