"""The table of flags: each flag of the command line is one entry of :data:`FLAGS`.

Made from it are the words that a command understands and its ``--help``, the checks,
the keys of a config file, the settings in ``run.json``, the parameters of net and
learner, what ``train`` takes from a run, and the tables of the guide.
"""

from dataclasses import dataclass
from typing import Any

from dalmax_sk.cli.flags import kinds
from dalmax_sk.cli.flags.kinds import Kind

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
    help : str
        Its meaning, without the default.
    panel : str
        The heading under which ``--help`` lists it.
    commands : tuple of str
        The commands that have it. One name may have several entries, for different
        commands.
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
    help: str
    panel: str
    commands: tuple[str, ...]
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


def _switch(name: str, text: str, *commands: str, in_file: bool = True) -> Flag:
    return Flag(name, kinds.SWITCH, text, RUN, commands or _ALL, in_file=in_file)


# In the order of the settings in run.json. Other defaults for the embedded digits, so
# that a run without any data at hand takes well under a minute and has a curve to show:
# 30 labels, then 9 times 20.
FLAGS: tuple[Flag, ...] = (
    Flag(
        "dir_model",
        kinds.path("FOLDER|FILE"),
        "The model: a folder that holds one, or one of its two files.",
        DATA,
        ("test",),
    ),
    Flag(
        "model",
        kinds.path("FOLDER|FILE"),
        "The same under its other name.",
        DATA,
        ("test",),
        same_as="dir_model",
    ),
    Flag(
        "dir_train",
        kinds.FOLDER,
        "Folder of training images, one sub-folder per class.",
        DATA,
        _ROUNDS,
        default_words="the embedded handwritten digits, written to DIR_RESULTS/digits",
    ),
    Flag(
        "dir_train",
        kinds.FOLDER,
        "Folder of training images, one sub-folder per class; or selected_images/ of a "
        "run of train-al, for its initial set and all it picked.",
        DATA,
        ("train",),
        default_words="the folder of the run of --like, or the embedded digits",
    ),
    Flag(
        "dir_test",
        kinds.FOLDER,
        "Folder of test images with the same classes; never trained on.",
        DATA,
        _ROUNDS,
        default_words="the embedded digits",
    ),
    Flag(
        "dir_test",
        kinds.FOLDER,
        "Folder of test images with the same classes.",
        DATA,
        ("train",),
        default_words="that of the run, or the embedded digits",
    ),
    Flag(
        "dir_test",
        kinds.FOLDER,
        "Folder of test images with the model's classes.",
        DATA,
        ("test",),
        default_words="that of the run in whose folder the model lies",
    ),
    *(
        Flag(
            "dir_results",
            kinds.path("FOLDER"),
            f"Where the results go: {place}.",
            DATA,
            (command,),
            default="results",
            from_run=False,
            may_change=True,
        )
        for command, place in (
            ("train-al", "DIR_RESULTS/active_learning/TYPE/"),
            ("compare", "DIR_RESULTS/compare/"),
            ("train", "DIR_RESULTS/train/TYPE/"),
            ("test", "straight into this folder"),
        )
    ),
    Flag(
        "dir_results",
        kinds.path("RESULTS_DIR"),
        "A results folder of train-al, or the folder of one run.",
        DATA,
        ("report",),
        is_argument=True,
    ),
    Flag(
        "architecture",
        kinds.text("NAME"),
        "The net: small_cnn, cifar_resnet18, or a name of torchvision (vgg16, resnet50 "
        "…).",
        MODEL,
        _NETS,
        default="small_cnn",
        net="architecture",
    ),
    Flag(
        "weights",
        kinds.NAME_OR_FILE,
        "Start from these weights: imagenet (downloaded once), a name of torchvision, "
        "or a .safetensors or .pth file.",
        MODEL,
        _NETS,
        default_words="random weights",
        net="weights",
    ),
    Flag(
        "freeze",
        kinds.text("body|LAYER"),
        "Layers that keep the weights they start from: body (all before the head), or "
        "a layer's name, with all before it. Their features are computed once for each "
        "image.",
        MODEL,
        _NETS,
        default_words="all are trained",
        net="freeze",
    ),
    Flag(
        "image_size",
        kinds.whole("pixels"),
        "Side to which every image is resized, in pixels.",
        MODEL,
        _NETS,
        default=32,
        digits=8,
        net="image_size",
    ),
    Flag(
        "epochs",
        kinds.whole("epochs a training"),
        "Epochs of training in each round.",
        MODEL,
        _ROUNDS,
        default=20,
        digits=40,
        net="max_epochs",
    ),
    Flag(
        "epochs",
        kinds.whole("epochs a training"),
        "Epochs of training.",
        MODEL,
        ("train",),
        default=20,
        digits=40,
        default_words="as the run, or 20",
        net="max_epochs",
    ),
    Flag(
        "train_batch_size",
        kinds.whole("images a step"),
        "Images in one step of training.",
        MODEL,
        _NETS,
        default=64,
        digits=32,
        net="batch_size",
    ),
    Flag(
        "lr",
        kinds.number("must be a positive number", above=0),
        "Learning rate.",
        MODEL,
        _NETS,
        default=1e-3,
        net="lr",
    ),
    Flag(
        "lr_schedule",
        kinds.choice("constant", "cosine", "one_cycle"),
        "Course of the learning rate within a training.",
        MODEL,
        _NETS,
        default="cosine",
        net="lr_schedule",
    ),
    Flag(
        "optimizer",
        kinds.choice("adam", "adamw", "sgd"),
        "Optimizer.",
        MODEL,
        _NETS,
        default="adam",
        net="optimizer",
    ),
    Flag(
        "augment",
        kinds.BOOL,
        "Random crops and left-right flips in training.",
        MODEL,
        _NETS,
        default=False,
        net="augment",
    ),
    Flag(
        "amp",
        kinds.BOOL,
        "Mixed precision: bfloat16 where the hardware has it.",
        MODEL,
        _NETS,
        default=False,
        net="amp",
    ),
    Flag(
        "compile",
        kinds.BOOL,
        "Compile the net by torch.compile: pays off in long trainings.",
        MODEL,
        _NETS,
        default=False,
        net="compile",
        from_run=False,
    ),
    Flag(
        "device",
        kinds.text("NAME"),
        "auto (a GPU if there is one), cpu, cuda, cuda:1 …",
        MODEL,
        _IMAGES,
        default="auto",
        net="device",
        from_run=False,
    ),
    Flag(
        "mult_gpu",
        kinds.BOOL,
        "Train on all GPUs (needs the package accelerate).",
        MODEL,
        _NETS,
        default=False,
        from_run=False,
    ),
    Flag(
        "on_bad_image",
        kinds.choice("error", "skip"),
        "Unreadable image files: error (list all, stop) or skip (list all, leave them "
        "out).",
        DATA,
        _IMAGES,
        default="error",
    ),
    Flag(
        "query_size",
        kinds.whole("images a round"),
        "Images to ask labels for in a round.",
        LOOP,
        _ROUNDS,
        default=10,
        digits=20,
        learner="query_size",
    ),
    Flag(
        "batch_size",
        kinds.whole("images a round"),
        "The same as --query-size, under its old name; not the batch of training.",
        LOOP,
        _ROUNDS,
        same_as="query_size",
        is_hidden=True,
    ),
    Flag(
        "iterations",
        kinds.whole("rounds", least=0),
        "Rounds of querying.",
        LOOP,
        _ROUNDS,
        default=5,
        digits=9,
        learner="n_rounds",
    ),
    Flag(
        "n_initial",
        kinds.whole("images"),
        "Images labelled at the start.",
        LOOP,
        _ROUNDS,
        digits=30,
        default_words="a tenth of the training images",
    ),
    Flag(
        "test_size",
        kinds.number(
            "must lie in (0, 1), it is the share of the training images that starts "
            "unlabelled",
            above=0,
            below=1,
        ),
        "Share of the training images that starts UNLABELLED, in (0, 1), instead of "
        "--n-initial; nothing to do with --dir-test.",
        LOOP,
        _ROUNDS,
        default_words="0.9",
        is_hidden=True,
    ),
    Flag(
        "initial_strategy",
        kinds.choice("random", "balanced"),
        "Initial set: random, or balanced over the classes (uses all labels: for "
        "comparison with published protocols).",
        LOOP,
        _ROUNDS,
        default="random",
        learner="initial_strategy",
    ),
    Flag(
        "refit",
        kinds.choice("scratch", "continue"),
        "Each round trains from scratch, or continues from the present weights.",
        LOOP,
        _ROUNDS,
        default="scratch",
        learner="refit",
    ),
    Flag(
        "shrink_perturb",
        kinds.SHRINK_NOISE,
        "With --refit continue: present weights times the first number, plus those of "
        "a fresh net times the second, for instance 0.4,0.1.",
        LOOP,
        _ROUNDS,
        default_words="as they are",
        net="shrink_perturb",
    ),
    Flag(
        "max_memory",
        kinds.SIZE,
        "Memory for the arrays of a query; larger ones go to temporary files in "
        "TMPDIR.",
        LOOP,
        _ROUNDS,
        default_words="1GiB",
        learner="max_memory",
    ),
    Flag(
        "type",
        kinds.STRATEGY,
        "Query strategy: uncertainty_sampling, badge, core_set_selection, "
        "random_sampling, auto … (dalmax strategies lists all).",
        LOOP,
        ("train-al",),
        default="uncertainty_sampling",
    ),
    Flag(
        "type",
        kinds.choice("train", "random"),
        "train: on all images of DIR_TRAIN, or on all labelled images of a run; "
        "random: on a random part of DIR_TRAIN.",
        DATA,
        ("train",),
        default="train",
        from_run=False,
    ),
    Flag(
        "n_labels",
        kinds.whole("images"),
        "With --type random: images to draw.",
        DATA,
        ("train",),
    ),
    Flag(
        "like",
        kinds.path("RUN_DIR"),
        "A run of train-al: what is not given is taken from it, that is folders, net, "
        "training, seed, and with --type random the number of images.",
        DATA,
        ("train",),
    ),
    Flag(
        "seed",
        kinds.whole("any such number", least=0, below_2_to=32),
        "Seed of everything random.",
        LOOP,
        ("train-al",),
        default=0,
        learner="random_state",
    ),
    Flag(
        "seed",
        kinds.whole("any such number", least=0, below_2_to=32),
        "Seed of everything random.",
        MODEL,
        ("train",),
        default=0,
        default_words="as the run, or 0",
        net="random_state",
    ),
    Flag(
        "types",
        kinds.STRATEGIES,
        "Query strategies, with commas between them: badge,core_set_selection "
        "(dalmax strategies lists all). The baseline is added.",
        _COMPARISON,
        ("compare",),
        may_change=True,
    ),
    Flag(
        "seeds",
        kinds.whole("repetitions"),
        "Repetitions of each strategy, with seeds 0, 1 …; from one alone nothing can "
        "be tested.",
        _COMPARISON,
        ("compare",),
        default=5,
        may_change=True,
    ),
    Flag(
        "baseline",
        kinds.STRATEGY,
        "The strategy to compare with.",
        _COMPARISON,
        ("compare",),
        default="random_sampling",
        may_change=True,
    ),
    Flag(
        "target",
        kinds.number(
            "must lie in (0, 1], it is an accuracy as a fraction", above=0, most=1
        ),
        "Accuracy in (0, 1] to count the labels to.",
        _COMPARISON,
        ("compare",),
        default_words="what the baseline reaches at its end",
        may_change=True,
    ),
    Flag(
        "n_jobs",
        kinds.JOBS,
        "Runs at a time, each in a process of its own; -1: one per core.",
        _COMPARISON,
        ("compare",),
        default=1,
        may_change=True,
    ),
    Flag(
        "max_images_per_round",
        kinds.whole("images", least=0),
        "Picks of a round that are shown as images; the rest is counted.",
        RUN,
        ("report",),
        default_words="100",
    ),
    Flag(
        "max_images",
        kinds.whole("images", least=0),
        "Picks of all rounds of a run that are shown as images.",
        RUN,
        ("report",),
        default_words="1000",
    ),
    _switch("json", "Print JSON instead of a table.", "strategies"),
    Flag(
        "config",
        kinds.path("FILE"),
        "TOML file of flags (epochs = 5); the command line overrides it.",
        RUN,
        _ALL,
        in_file=False,
    ),
    _switch(
        "resume",
        "Resume a run that was stopped, with its settings; start one if there is none.",
        "train-al",
        in_file=False,
    ),
    _switch(
        "resume",
        "Resume the comparison in the folder, with its settings; other --types and "
        "more --seeds may be given.",
        "compare",
        in_file=False,
    ),
    _switch(
        "overwrite",
        "Replace what the results folder holds of a run.",
        *_IMAGES,
        in_file=False,
    ),
    _switch("quiet", "Show errors only."),
    _switch("debug", "Show the traceback of every error."),
)


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
