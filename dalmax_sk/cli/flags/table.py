"""The table of flags: each flag of the command line is one entry of :data:`FLAGS`.

Made from it are the words that a command understands and its ``--help``, the checks,
the keys of a config file, the settings in ``run.json``, the parameters of net and
learner, what ``train`` takes from a run, and the tables of the guide.
"""

from dataclasses import dataclass
from typing import Any

from dalmax_sk.cli.flags.kinds import (
    BOOL,
    FOLDER,
    JOBS,
    NAME_OR_FILE,
    SHRINK_NOISE,
    SIZE,
    STRATEGIES,
    STRATEGY,
    SWITCH,
    Kind,
    choice,
    number,
    path,
    text,
    whole,
)

__all__ = [
    "DATA",
    "FLAGS",
    "LOOP",
    "MODEL",
    "PANELS",
    "RUN",
    "Flag",
    "as_flag",
    "flags_of",
]

DATA, LOOP = "Images and results", "Active learning"
MODEL, RUN = "Model and training", "This command"
_COMPARISON = "Comparison"

#: The headings under which ``--help`` lists flags, in this order.
PANELS = (DATA, _COMPARISON, LOOP, MODEL, RUN)

_ROUNDS = ("train-al", "compare")
_NETS = (*_ROUNDS, "train")
_IMAGES = (*_NETS, "test")
_ALL = (*_IMAGES, "report", "strategies")


@dataclass(frozen=True)
class Flag:
    """A flag of one or several commands.

    Attributes
    ----------
    name : str
        Its name with underscores.
    kind : Kind
        How its value is written, read and checked.
    panel : str
        The heading under which ``--help`` lists it.
    commands : tuple of str
        The commands that have it. One name may have several entries, for different
        commands.
    help : str
        Its meaning, without the default.
    default : object, default=None
        The value if it is not given.
    digits : object, default=None
        The same for the embedded digits; None: no other one.
    default_words : str, default=""
        The default in words, where the value does not say it.
    net, learner : str, default=""
        The parameter of ``CNNClassifier`` or of ``ActiveLearningClassifier`` that it
        sets; a value of None leaves the parameter alone.
    from_run : bool, default=True
        Whether ``train`` takes it from a run. Where to compute is not taken: the
        machine may be another one.
    may_change : bool, default=False
        Whether it may differ from the run that is resumed.
    in_file : bool, default=True
        Whether a config file may hold it. What to do with results that are there
        already is no matter for a file that lies around.
    same_as : str, default=""
        The flag that this one is another name of.
    is_hidden : bool, default=False
        Whether ``--help`` leaves it out.
    is_argument : bool, default=False
        Whether the value is given without the flag's name; it is required then.
    """

    name: str
    kind: Kind
    panel: str
    commands: tuple[str, ...]
    help: str
    default: Any = None
    digits: Any = None
    default_words: str = ""
    net: str = ""
    learner: str = ""
    from_run: bool = True
    may_change: bool = False
    in_file: bool = True
    same_as: str = ""
    is_hidden: bool = False
    is_argument: bool = False

    @property
    def word(self) -> str:
        """The flag as it is typed: ``--query-size``."""
        return as_flag(self.name)

    def fault_of(self, value: Any) -> str:
        """Return what is wrong with a value that a record holds, or nothing."""
        if value is None:
            return ""
        parts = value if isinstance(value, list) else [value]
        try:
            if self.kind is FOLDER:  # whether it is there is found when it is read
                read: Any = str(value)
            else:
                read = self.kind.read(",".join(map(str, parts)))
        except ValueError as error:
            return f"{self.word} {error}"
        if type(read) is not type(value) and (type(read), type(value)) != (float, int):
            return f"{self.word} is of another type, {value!r}"
        return ""

    @property
    def is_setting(self) -> bool:
        """Whether it decides the course of a run, and is kept in ``run.json``."""
        return self.panel != RUN and not self.same_as

    @property
    def default_text(self) -> str:
        """The default for people, or nothing."""
        text = self.default_words
        if not text and self.default is not None:
            text = str(self.default)
        return text if self.digits is None else f"{text} (digits: {self.digits})"


_DIGITS = "the embedded handwritten digits"
_SHARE = number(
    "must lie in (0, 1), it is the share of the training images that starts unlabelled",
    above=0,
    below=1,
)
_ACCURACY = number(
    "must lie in (0, 1], it is an accuracy as a fraction", above=0, most=1
)
_SEED = whole("any such number", least=0, below_2_to=32)

# In the order of the settings in run.json. Other defaults for the embedded digits, so
# that a run without any data at hand takes well under a minute and has a curve to show:
# 30 labels, then 9 times 20.
# fmt: off
FLAGS: list[Flag] = [
    Flag("dir_model", path("FOLDER|FILE"), DATA, ("test",),
         "The model: a folder that holds one, or one of its two files."),
    Flag("model", path("FOLDER|FILE"), DATA, ("test",),
         "The same under its other name.", same_as="dir_model"),
    Flag("dir_train", FOLDER, DATA, _ROUNDS,
         "Folder of training images, one sub-folder per class.",
         default_words=f"{_DIGITS}, written to DIR_RESULTS/digits"),
    Flag("dir_train", FOLDER, DATA, ("train",),
         "Folder of training images, one sub-folder per class; or selected_images/ of "
         "a run of train-al, for its initial set and all it picked.",
         default_words="the folder of the run of --like, or the embedded digits"),
    Flag("dir_test", FOLDER, DATA, _ROUNDS,
         "Folder of test images with the same classes; never trained on.",
         default_words="the embedded digits"),
    Flag("dir_test", FOLDER, DATA, ("train",),
         "Folder of test images with the same classes.",
         default_words="that of the run, or the embedded digits"),
    Flag("dir_test", FOLDER, DATA, ("test",),
         "Folder of test images with the model's classes.",
         default_words="that of the run in whose folder the model lies"),
    Flag("test_split", number("must lie in (0, 1), it is a share", above=0, below=1),
         DATA, _NETS,
         "Without --dir-test: share of the images of each class of --dir-train that is "
         "kept for testing. The draw is the same for all seeds.",
         default_words="--dir-test is the test set"),
    *(
        Flag("dir_results", path("FOLDER"), DATA, (command,),
             f"Where the results go: {place}.",
             "results", from_run=False, may_change=True)
        for command, place in (
            ("train-al", "DIR_RESULTS/active_learning/TYPE/"),
            ("compare", "DIR_RESULTS/compare/"),
            ("train", "DIR_RESULTS/train/TYPE/"),
            ("test", "straight into this folder"),
        )
    ),
    Flag("dir_results", path("RESULTS_DIR"), DATA, ("report",),
         "A results folder of train-al, or the folder of one run.", is_argument=True),
    Flag("architecture", text("NAME"), MODEL, _NETS,
         "The net: small_cnn, cifar_resnet18, or a name of torchvision (vgg16, "
         "resnet50 …).", "small_cnn", net="architecture"),
    Flag("weights", NAME_OR_FILE, MODEL, _NETS,
         "Start from these weights: imagenet (downloaded once), a name of torchvision, "
         "or a .safetensors or .pth file.",
         default_words="random weights", net="weights"),
    Flag("freeze", text("body|LAYER"), MODEL, _NETS,
         "Layers that keep the weights they start from: body (all before the head), or "
         "a layer's name, with all before it. Their features are computed once for "
         "each image.", default_words="all are trained", net="freeze"),
    Flag("image_size", whole("pixels"), MODEL, _NETS,
         "Side to which every image is resized, in pixels.",
         32, digits=8, net="image_size"),
    Flag("epochs", whole("epochs a training"), MODEL, _ROUNDS,
         "Epochs of training in each round.", 20, digits=40, net="max_epochs"),
    Flag("epochs", whole("epochs a training"), MODEL, ("train",),
         "Epochs of training.",
         20, digits=40, default_words="as the run, or 20", net="max_epochs"),
    Flag("train_batch_size", whole("images a step"), MODEL, _NETS,
         "Images in one step of training.", 64, digits=32, net="batch_size"),
    Flag("lr", number("must be a positive number", above=0), MODEL, _NETS,
         "Learning rate.", 0.001, net="lr"),
    Flag("lr_schedule", choice("constant", "cosine", "one_cycle"), MODEL, _NETS,
         "Course of the learning rate within a training.", "cosine", net="lr_schedule"),
    Flag("optimizer", choice("adam", "adamw", "sgd"), MODEL, _NETS,
         "Optimizer.", "adam", net="optimizer"),
    Flag("augment", BOOL, MODEL, _NETS,
         "Random crops and left-right flips in training.", False, net="augment"),
    Flag("amp", BOOL, MODEL, _NETS,
         "Mixed precision: bfloat16 where the hardware has it.", False, net="amp"),
    Flag("compile", BOOL, MODEL, _NETS,
         "Compile the net by torch.compile: pays off in long trainings.",
         False, net="compile", from_run=False),
    Flag("device", text("NAME"), MODEL, _IMAGES,
         "auto (a GPU if there is one), cpu, cuda, cuda:1 …; multi (train-al, train): "
         "two GPUs or more.",
         "auto", net="device", from_run=False),
    Flag("mult_gpu", BOOL, MODEL, _NETS,
         "Train on all GPUs that are there, or on the CPU. Several GPUs need the "
         "package accelerate.", False, from_run=False),
    Flag("on_bad_image", choice("error", "skip"), DATA, _IMAGES,
         "Unreadable image files: error (list all, stop) or skip (list all, leave them "
         "out).", "error"),
    Flag("query_size", whole("images a round"), LOOP, _ROUNDS,
         "Images to ask labels for in a round.", 10, digits=20, learner="query_size"),
    Flag("batch_size", whole("images a round"), LOOP, _ROUNDS,
         "The same as --query-size, under its old name; not the batch of training.",
         same_as="query_size", is_hidden=True),
    *(
        Flag("iterations", whole("rounds", least=0), LOOP, (command,),
             f"Rounds of querying{more}.",
             5, digits=9, learner="n_rounds", may_change=bool(more))
        for command, more in (
            ("train-al", "; with --resume, more than before continue the run"),
            ("compare", ""),
        )
    ),
    Flag("n_initial", whole("images"), LOOP, _ROUNDS,
         "Images labelled at the start.",
         digits=30, default_words="a tenth of the training images"),
    Flag("test_size", _SHARE, LOOP, _ROUNDS,
         "Share of the training images that starts UNLABELLED, in (0, 1), instead of "
         "--n-initial; nothing to do with --dir-test.",
         default_words="0.9", is_hidden=True),
    Flag("initial_strategy", choice("random", "balanced"), LOOP, _ROUNDS,
         "Initial set: random, or balanced over the classes (uses all labels: for "
         "comparison with published protocols).", "random", learner="initial_strategy"),
    Flag("refit", choice("scratch", "continue"), LOOP, _ROUNDS,
         "Each round trains from scratch, or continues from the present weights.",
         "scratch", learner="refit"),
    Flag("shrink_perturb", SHRINK_NOISE, LOOP, _ROUNDS,
         "With --refit continue: present weights times the first number, plus those of "
         "a fresh net times the second, for instance 0.4,0.1.",
         default_words="as they are", net="shrink_perturb"),
    Flag("max_memory", SIZE, LOOP, _ROUNDS,
         "Memory for the arrays of a query; larger ones go to temporary files in "
         "TMPDIR.", default_words="1GiB", learner="max_memory"),
    Flag("type", STRATEGY, LOOP, ("train-al",),
         "Query strategy: uncertainty_sampling, badge, core_set_selection, "
         "random_sampling, auto … (dalmax strategies lists all).",
         "uncertainty_sampling"),
    Flag("type", choice("train", "random"), DATA, ("train",),
         "train: on all images of DIR_TRAIN, or on all labelled images of a run; "
         "random: on a random part of DIR_TRAIN.", "train", from_run=False),
    Flag("n_labels", whole("images"), DATA, ("train",),
         "With --type random: images to draw.",
         default_words="as many as the run of --like or the finished runs below "
         "DIR_RESULTS have labels of, else a tenth"),
    Flag("like", path("RUN_DIR"), DATA, ("train",),
         "A run of train-al: what is not given is taken from it, that is folders, net, "
         "training, seed, and with --type random the number of images."),
    Flag("seed", _SEED, LOOP, ("train-al",),
         "Seed of everything random.", 0, learner="random_state"),
    Flag("seed", _SEED, MODEL, ("train",),
         "Seed of everything random.",
         0, default_words="as the run, or 0", net="random_state"),
    Flag("types", STRATEGIES, _COMPARISON, ("compare",),
         "Query strategies, with commas between them: badge,core_set_selection (dalmax "
         "strategies lists all). The baseline is added.", may_change=True),
    Flag("seeds", whole("repetitions"), _COMPARISON, ("compare",),
         "Repetitions of each strategy, with seeds 0, 1 …; from one alone nothing can "
         "be tested.", 5, may_change=True),
    Flag("baseline", STRATEGY, _COMPARISON, ("compare",),
         "The strategy to compare with.", "random_sampling", may_change=True),
    Flag("target", _ACCURACY, _COMPARISON, ("compare",),
         "Accuracy in (0, 1] to count the labels to.",
         default_words="what the baseline reaches at its end", may_change=True),
    Flag("n_jobs", JOBS, _COMPARISON, ("compare",),
         "Runs at a time, each in a process of its own; -1: one per core.",
         1, may_change=True),
    Flag("max_images_per_round", whole("images", least=0), RUN, ("report",),
         "Picks of a round that are shown as images; the rest is counted.",
         default_words="100"),
    Flag("max_images", whole("images", least=0), RUN, ("report",),
         "Picks of all rounds of a run that are shown as images.",
         default_words="1000"),
    Flag("json", SWITCH, RUN, ("strategies",), "Print JSON instead of a table."),
    Flag("config", path("FILE"), RUN, _ALL,
         "TOML file of flags (epochs = 5); the command line overrides it.",
         in_file=False),
    Flag("resume", SWITCH, RUN, ("train-al",),
         "Resume a run that was stopped, with its settings; start one if there is "
         "none.",
         in_file=False),
    Flag("resume", SWITCH, RUN, ("compare",),
         "Resume the comparison in the folder, with its settings; other --types and "
         "more --seeds may be given.", in_file=False),
    Flag("overwrite", SWITCH, RUN, _IMAGES,
         "Replace what the results folder holds of a run.", in_file=False),
    Flag("quiet", SWITCH, RUN, _ALL, "Show errors only."),
    Flag("debug", SWITCH, RUN, _ALL, "Show the traceback of every error."),
]
# fmt: on


def as_flag(name: str) -> str:
    """Return the flag of a setting: ``--query-size`` for ``query_size``."""
    return "--" + name.replace("_", "-")


def flags_of(command: str) -> list[Flag]:
    """Return the flags of a command in the order of its ``--help``.

    Parameters
    ----------
    command : str
        Name of the command, for instance ``"train-al"``.

    Returns
    -------
    list of Flag
        By panels; the kind of work, ``--type``, comes first in its panel.
    """
    found = [flag for flag in FLAGS if command in flag.commands]
    return sorted(
        found, key=lambda flag: (PANELS.index(flag.panel), flag.name != "type")
    )
