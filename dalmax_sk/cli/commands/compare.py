"""The flags of ``dalmax compare``."""

from typing import Annotated, Any

from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags import flags as f
from dalmax_sk.cli.flags.checks import resume_hint

__all__ = ["compare"]

_COMPARISON = "Comparison"


def compare(
    dir_train: f.DirTrain = None,
    dir_test: f.DirTest = None,
    dir_results: Annotated[
        str | None,
        f.flag(
            "dir-results",
            "Where the results go: DIR_RESULTS/compare/. Default: results",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    on_bad_image: f.OnBadImage = None,
    types: Annotated[
        str | None,
        f.flag(
            "types",
            "Query strategies, with commas between them: badge,core_set_selection "
            "(dalmax strategies lists all). The baseline is added.",
            _COMPARISON,
            "NAME,NAME",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        f.flag(
            "seeds",
            "Repetitions of each strategy, with seeds 0, 1 …; from one alone nothing "
            "can be tested. Default: 5",
            _COMPARISON,
            "INT",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        f.flag(
            "baseline",
            "The strategy to compare with. Default: random_sampling",
            _COMPARISON,
            "NAME",
        ),
    ] = None,
    target: Annotated[
        float | None,
        f.flag(
            "target",
            "Accuracy in (0, 1] to count the labels to. Default: what the baseline "
            "reaches at its end",
            _COMPARISON,
            "FLOAT",
        ),
    ] = None,
    n_jobs: Annotated[
        int | None,
        f.flag(
            "n-jobs",
            "Runs at a time, each in a process of its own; -1: one a core. Default: 1",
            _COMPARISON,
            "INT",
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
            "Go on with the comparison in the folder, with its settings; other --types "
            "and more --seeds may be given.",
        ),
    ] = False,
    overwrite: f.Overwrite = False,
    quiet: f.Quiet = False,
    debug: f.Debug = False,
) -> None:
    """Compare strategies: better than random, or not?

    Every strategy runs with every seed; all of them share the images, the seeds and the
    initial sets. Without folders it runs on scikit-learn's handwritten digits.
    """
    execute("compare", locals(), _work, after_interrupt=_say_how_to_go_on)


def _work(given: dict[str, Any], **modes: Any) -> None:
    from dalmax_sk.cli.compare import compare_strategies

    compare_strategies(given, **modes)


def _say_how_to_go_on(given: dict[str, Any]) -> str:
    return resume_hint(given, command="compare")
