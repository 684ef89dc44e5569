"""Flags that several commands share: their names, help texts and types.

A flag that was not given is None (a switch: False), so that a config file, the settings
of an earlier run and the defaults can fill it in, in this order.
"""

from typing import Annotated, Any

import typer

__all__ = [
    "DATA",
    "LOOP",
    "MODEL",
    "RUN",
    "Amp",
    "Architecture",
    "Augment",
    "BatchSize",
    "Compile",
    "Config",
    "Debug",
    "Device",
    "DirTest",
    "DirTrain",
    "EpochsOfRound",
    "Freeze",
    "ImageSize",
    "InitialStrategy",
    "Iterations",
    "Lr",
    "LrSchedule",
    "MaxMemory",
    "MultGpu",
    "NInitial",
    "OnBadImage",
    "Optimizer",
    "Overwrite",
    "QuerySize",
    "Quiet",
    "Refit",
    "Seed",
    "ShrinkPerturb",
    "TestSize",
    "TrainBatchSize",
    "Weights",
    "flag",
    "switch",
]

DATA, LOOP = "Images and results", "Active learning"
MODEL, RUN = "Model and training", "This command"


def flag(name: str, text: str, panel: str, metavar: str | None = None) -> Any:
    """Return typer's option ``--name``.

    Parameters
    ----------
    name : str
        The flag without the leading dashes; underscores in it are understood as well.
    text : str
        What ``--help`` says, the default included.
    panel : str
        The heading under which ``--help`` lists it.
    metavar : str, default=None
        What stands for the value.
    """
    return typer.Option(
        f"--{name}",
        help=text,
        rich_help_panel=panel,
        metavar=metavar,
        show_default=False,
    )


def switch(name: str, text: str) -> Any:
    """Return typer's option ``--name`` without a value, on the panel of the command."""
    # an empty metavar: typer would write <bool>, and there is no value to give
    return flag(name, text, RUN, "")


DirTrain = Annotated[
    str | None,
    flag(
        "dir-train",
        "Folder of training images, one sub-folder a class. Default: the embedded "
        "handwritten digits, written to DIR_RESULTS/digits.",
        DATA,
        "FOLDER",
    ),
]
DirTest = Annotated[
    str | None,
    flag(
        "dir-test",
        "Folder of test images with the same classes; never trained on. Default: "
        "the embedded digits.",
        DATA,
        "FOLDER",
    ),
]
OnBadImage = Annotated[
    str | None,
    flag(
        "on-bad-image",
        "Unreadable image files: error (list all, stop) or skip (list all, leave "
        "them out). Default: error",
        DATA,
        "error|skip",
    ),
]
QuerySize = Annotated[
    int | None,
    flag(
        "query-size",
        "Images to ask labels for in a round. Default: 10 (digits: 20)",
        LOOP,
        "INT",
    ),
]
BatchSize = Annotated[
    int | None,
    flag(
        "batch-size",
        "The same as --query-size, under its old name; not the batch of training.",
        LOOP,
        "INT",
    ),
]
Iterations = Annotated[
    int | None,
    flag("iterations", "Rounds of querying. Default: 5 (digits: 9)", LOOP, "INT"),
]
TestSize = Annotated[
    float | None,
    flag(
        "test-size",
        "Share of the training images that starts UNLABELLED, in (0, 1); nothing "
        "to do with --dir-test. Default: 0.9",
        LOOP,
        "FLOAT",
    ),
]
NInitial = Annotated[
    int | None,
    flag(
        "n-initial",
        "Images labelled at the start, instead of --test-size. Default: by "
        "--test-size (digits: 30)",
        LOOP,
        "INT",
    ),
]
InitialStrategy = Annotated[
    str | None,
    flag(
        "initial-strategy",
        "Initial set: random, or balanced over the classes (uses all labels: for "
        "comparison with published protocols). Default: random",
        LOOP,
        "random|balanced",
    ),
]
Refit = Annotated[
    str | None,
    flag(
        "refit",
        "Each round trains from scratch, or continues from the present weights. "
        "Default: scratch",
        LOOP,
        "scratch|continue",
    ),
]
ShrinkPerturb = Annotated[
    str | None,
    flag(
        "shrink-perturb",
        "With --refit continue: present weights times the first number, plus those of "
        "a fresh net times the second, for instance 0.4,0.1. Default: as they are",
        LOOP,
        "SHRINK,NOISE",
    ),
]
MaxMemory = Annotated[
    str | None,
    flag(
        "max-memory",
        "Memory for the arrays of a query; larger ones go to temporary files in "
        "TMPDIR. Default: 1GiB",
        LOOP,
        "SIZE",
    ),
]
Seed = Annotated[
    int | None, flag("seed", "Seed of everything random. Default: 0", LOOP, "INT")
]
Architecture = Annotated[
    str | None,
    flag(
        "architecture",
        "The net: small_cnn, cifar_resnet18, or a name of torchvision (vgg16, "
        "resnet50 …). Default: small_cnn",
        MODEL,
        "NAME",
    ),
]
Weights = Annotated[
    str | None,
    flag(
        "weights",
        "Start from these weights: imagenet (downloaded once), a name of "
        "torchvision, or a .safetensors or .pth file. Default: random weights",
        MODEL,
        "NAME|FILE",
    ),
]
Freeze = Annotated[
    str | None,
    flag(
        "freeze",
        "Layers that keep the weights they start from: body (all before the head), or "
        "a layer's name, with all before it. Their features are computed once for each "
        "image. Default: all are trained",
        MODEL,
        "body|LAYER",
    ),
]
ImageSize = Annotated[
    int | None,
    flag(
        "image-size",
        "Side to which every image is resized, in pixels. Default: 32 (digits: 8)",
        MODEL,
        "INT",
    ),
]
EpochsOfRound = Annotated[
    int | None,
    flag(
        "epochs",
        "Epochs of training in each round. Default: 20 (digits: 40)",
        MODEL,
        "INT",
    ),
]
TrainBatchSize = Annotated[
    int | None,
    flag(
        "train-batch-size",
        "Images in one step of training. Default: 64 (digits: 32)",
        MODEL,
        "INT",
    ),
]
Lr = Annotated[
    float | None, flag("lr", "Learning rate. Default: 0.001", MODEL, "FLOAT")
]
LrSchedule = Annotated[
    str | None,
    flag(
        "lr-schedule",
        "Course of the learning rate within a training. Default: cosine",
        MODEL,
        "constant|cosine|one_cycle",
    ),
]
Optimizer = Annotated[
    str | None,
    flag("optimizer", "Optimizer. Default: adam", MODEL, "adam|adamw|sgd"),
]
Augment = Annotated[
    str | None,
    flag(
        "augment",
        "Random crops and left-right flips in training. Default: False",
        MODEL,
        "BOOL",
    ),
]
Amp = Annotated[
    str | None,
    flag(
        "amp",
        "Mixed precision: bfloat16 where the hardware has it. Default: False",
        MODEL,
        "BOOL",
    ),
]
Compile = Annotated[
    str | None,
    flag(
        "compile",
        "Compile the net by torch.compile: pays off in long trainings. Default: False",
        MODEL,
        "BOOL",
    ),
]
Device = Annotated[
    str | None,
    flag(
        "device",
        "auto (a GPU if there is one), cpu, cuda, cuda:1 … Default: auto",
        MODEL,
        "NAME",
    ),
]
MultGpu = Annotated[
    str | None,
    flag(
        "mult-gpu",
        "Train on all GPUs (needs the package accelerate). Default: False",
        MODEL,
        "BOOL",
    ),
]
Config = Annotated[
    str | None,
    flag(
        "config",
        "TOML file of flags (epochs = 5); the command line overrides it.",
        RUN,
        "FILE",
    ),
]
Overwrite = Annotated[
    bool, switch("overwrite", "Replace what the results folder holds of a run.")
]
Quiet = Annotated[bool, switch("quiet", "Show errors only.")]
Debug = Annotated[bool, switch("debug", "Show the traceback of every error.")]
