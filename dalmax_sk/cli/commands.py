"""The commands and their flags; everything heavy is imported when a command runs."""

import os
import sys
from typing import Annotated, Any

import typer

from dalmax_sk._version import __version__
from dalmax_sk.cli.errors import UsageError, is_mendable
from dalmax_sk.cli.settings import check_flags, command_line

__all__ = ["app", "main"]

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="dalmax",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        # --dir_train and --dir-train, train_al and train-al are the same
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)


def _say_version(value: bool) -> None:
    if value:
        typer.echo(f"dalmax_sk {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_say_version
        ),
    ] = False,
) -> None:
    """Deep active learning: find out which images are worth a label."""


_DATA, _LOOP = "Images and results", "Active learning"
_MODEL, _RUN = "Model and training", "This command"


def _flag(name: str, text: str, panel: str, metavar: str | None = None) -> Any:
    return typer.Option(
        f"--{name}",
        help=text,
        rich_help_panel=panel,
        metavar=metavar,
        show_default=False,
    )


@app.command(
    "train-al",
    help=(
        "Train on a few labelled images, ask for the most useful labels, repeat.\n\n"
        "All labels are known from the folders; the run hides them and reveals those "
        "it asks for, which shows what a strategy is worth. Without folders it runs on "
        "scikit-learn's handwritten digits."
    ),
)
def _train_al(
    dir_train: Annotated[
        str | None,
        _flag(
            "dir-train",
            "Folder of training images, one sub-folder a class. Default: the embedded "
            "handwritten digits, written to DIR_RESULTS/digits.",
            _DATA,
            "FOLDER",
        ),
    ] = None,
    dir_test: Annotated[
        str | None,
        _flag(
            "dir-test",
            "Folder of test images with the same classes; never trained on. Default: "
            "the embedded digits.",
            _DATA,
            "FOLDER",
        ),
    ] = None,
    dir_results: Annotated[
        str | None,
        _flag(
            "dir-results",
            "Where the results go: DIR_RESULTS/active_learning/TYPE/. Default: results",
            _DATA,
            "FOLDER",
        ),
    ] = None,
    on_bad_image: Annotated[
        str | None,
        _flag(
            "on-bad-image",
            "Unreadable image files: error (list all, stop) or skip (list all, leave "
            "them out). Default: error",
            _DATA,
            "error|skip",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        _flag(
            "type",
            "Query strategy: uncertainty_sampling, badge, core_set_selection, "
            "random_sampling, auto … (an unknown name lists all). "
            "Default: uncertainty_sampling",
            _LOOP,
            "NAME",
        ),
    ] = None,
    query_size: Annotated[
        int | None,
        _flag(
            "query-size",
            "Images to ask labels for in a round. Default: 10 (digits: 20)",
            _LOOP,
            "INT",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        _flag(
            "batch-size",
            "The same as --query-size, under its old name; not the batch of training.",
            _LOOP,
            "INT",
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        _flag("iterations", "Rounds of querying. Default: 5 (digits: 9)", _LOOP, "INT"),
    ] = None,
    test_size: Annotated[
        float | None,
        _flag(
            "test-size",
            "Share of the training images that starts UNLABELLED, in (0, 1); nothing "
            "to do with --dir-test. Default: 0.9",
            _LOOP,
            "FLOAT",
        ),
    ] = None,
    n_initial: Annotated[
        int | None,
        _flag(
            "n-initial",
            "Images labelled at the start, instead of --test-size. Default: by "
            "--test-size (digits: 30)",
            _LOOP,
            "INT",
        ),
    ] = None,
    initial_strategy: Annotated[
        str | None,
        _flag(
            "initial-strategy",
            "Initial set: random, or balanced over the classes (uses all labels: for "
            "comparison with published protocols). Default: random",
            _LOOP,
            "random|balanced",
        ),
    ] = None,
    refit: Annotated[
        str | None,
        _flag(
            "refit",
            "Each round trains from scratch, or continues from the present weights. "
            "Default: scratch",
            _LOOP,
            "scratch|continue",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        _flag("seed", "Seed of everything random. Default: 0", _LOOP, "INT"),
    ] = None,
    architecture: Annotated[
        str | None,
        _flag(
            "architecture",
            "The net: small_cnn, cifar_resnet18, or a name of torchvision (vgg16, "
            "resnet50 …). Default: small_cnn",
            _MODEL,
            "NAME",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        _flag(
            "weights",
            "Start from these weights: imagenet (downloaded once), a name of "
            "torchvision, or a .safetensors or .pth file. Default: random weights",
            _MODEL,
            "NAME|FILE",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        _flag(
            "image-size",
            "Side to which every image is resized, in pixels. Default: 32 (digits: 8)",
            _MODEL,
            "INT",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        _flag(
            "epochs",
            "Epochs of training in each round. Default: 20 (digits: 40)",
            _MODEL,
            "INT",
        ),
    ] = None,
    train_batch_size: Annotated[
        int | None,
        _flag(
            "train-batch-size",
            "Images in one step of training. Default: 64 (digits: 32)",
            _MODEL,
            "INT",
        ),
    ] = None,
    lr: Annotated[
        float | None, _flag("lr", "Learning rate. Default: 0.001", _MODEL, "FLOAT")
    ] = None,
    lr_schedule: Annotated[
        str | None,
        _flag(
            "lr-schedule",
            "Course of the learning rate within a round. Default: cosine",
            _MODEL,
            "constant|cosine|one_cycle",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        _flag("optimizer", "Optimizer. Default: adam", _MODEL, "adam|adamw|sgd"),
    ] = None,
    augment: Annotated[
        str | None,
        _flag(
            "augment",
            "Random crops and left-right flips in training. Default: False",
            _MODEL,
            "BOOL",
        ),
    ] = None,
    device: Annotated[
        str | None,
        _flag(
            "device",
            "auto (a GPU if there is one), cpu, cuda, cuda:1 … Default: auto",
            _MODEL,
            "NAME",
        ),
    ] = None,
    mult_gpu: Annotated[
        str | None,
        _flag(
            "mult-gpu",
            "Train on all GPUs (needs the package accelerate). Default: False",
            _MODEL,
            "BOOL",
        ),
    ] = None,
    resume: Annotated[
        bool,
        _flag(
            "resume",
            "Go on with a run that was stopped, with its settings; start one if there "
            "is none.",
            _RUN,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        _flag("overwrite", "Replace the run in the results folder.", _RUN),
    ] = False,
    quiet: Annotated[bool, _flag("quiet", "Show errors only.", _RUN)] = False,
    debug: Annotated[
        bool, _flag("debug", "Show the traceback of every error.", _RUN)
    ] = False,
) -> None:
    """Hand the flags on as a dict."""
    flags = dict(locals())
    for name in ("resume", "overwrite", "quiet", "debug"):
        del flags[name]
    flags["type"] = flags.pop("strategy")
    _run_train_al(flags, resume=resume, overwrite=overwrite, quiet=quiet, debug=debug)


def _run_train_al(
    flags: dict[str, Any], *, resume: bool, overwrite: bool, quiet: bool, debug: bool
) -> None:
    from dalmax_sk.cli.screen import Screen

    screen = Screen(quiet)
    given: dict[str, Any] = {}
    try:
        given = check_flags(flags)
        # The checks of the flags cost nothing; torch costs seconds.
        from dalmax_sk.cli.train_al import train_al

        train_al(given, resume=resume, overwrite=overwrite, screen=screen)
    except KeyboardInterrupt as error:
        screen.err.print("")
        screen.warn(
            "interrupted. Every finished round and query is kept; go on with:\n"
            f"  {command_line(given, '--resume')}"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except Exception as error:
        if debug or not is_mendable(error):
            raise
        screen.fail(_message(error))
        raise typer.Exit(EXIT_USAGE) from error


def _message(error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    text = str(error) if isinstance(error, UsageError) or str(error) else repr(error)
    return "\n".join([text, *notes])


def main() -> None:
    """Run the program."""
    # Must come before torch is imported. Threads that wait actively for their turn burn
    # the cores that others need: on a busy machine the small nets of active learning
    # train some twenty times slower that way, and on an idle one no faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        # File names may hold characters that the terminal cannot show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name=None)
