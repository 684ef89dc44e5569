"""The flags of ``dalmax train-al`` as one checked, comparable object."""

import dataclasses
import difflib
import math
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dalmax_sk.cli.errors import UsageError

__all__ = ["DIGITS", "Settings", "check_flags", "command_line", "parse_bool"]

_TRUE = ("true", "1", "yes", "on", "y", "t")
_FALSE = ("false", "0", "no", "off", "n", "f")

# Other defaults for the embedded digits, so that a run without any data at hand takes
# well under a minute and has a curve to show: 30 labels, then 9 times 20.
DIGITS: dict[str, Any] = {
    "query_size": 20,
    "iterations": 9,
    "n_initial": 30,
    "image_size": 8,
    "epochs": 40,
    "train_batch_size": 32,
}


@dataclass(frozen=True)
class Settings:
    """What decides the course of a run; all of it is kept in ``run.json``.

    Attributes
    ----------
    dir_train, dir_test : str or None
        Absolute folders of class folders; None for the embedded digits.
    dir_results : str
        Absolute folder below which the run's folder lies.
    type : str
        The strategy's name.
    query_size : int
        Images to ask labels for in a round.
    iterations : int
        Rounds of querying.
    n_initial : int or None
        Images labelled at the start; None leaves it to `test_size`.
    test_size : float or None
        Share of the training images that starts unlabelled, in (0, 1).
    seed : int
        Seed of everything random.
    initial_strategy : str
        ``"random"`` or ``"balanced"``.
    refit : str
        ``"scratch"`` or ``"continue"``.
    architecture : str
        Name of the net.
    weights : str or None
        Weights to start from.
    image_size : int
        Side to which every image is resized, in pixels.
    epochs : int
        Epochs of training in each round.
    train_batch_size : int
        Images in a step of training.
    lr : float
        Learning rate.
    lr_schedule : str
        Course of the learning rate: ``"constant"``, ``"cosine"`` or ``"one_cycle"``.
    optimizer : str
        ``"adam"``, ``"adamw"`` or ``"sgd"``.
    augment : bool
        Random flips and crops in training.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    mult_gpu : bool
        Train on all GPUs.
    on_bad_image : str
        ``"error"`` or ``"skip"``.
    """

    dir_train: str | None = None
    dir_test: str | None = None
    dir_results: str = "results"
    type: str = "uncertainty_sampling"
    query_size: int = 10
    iterations: int = 5
    n_initial: int | None = None
    test_size: float | None = None
    seed: int = 0
    initial_strategy: str = "random"
    refit: str = "scratch"
    architecture: str = "small_cnn"
    weights: str | None = None
    image_size: int = 32
    epochs: int = 20
    train_batch_size: int = 64
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    optimizer: str = "adam"
    augment: bool = False
    device: str = "auto"
    mult_gpu: bool = False
    on_bad_image: str = "error"

    @property
    def uses_digits(self) -> bool:
        """Whether the run is on the embedded digits."""
        return self.dir_train is None

    @classmethod
    def from_flags(cls, given: Mapping[str, Any]) -> "Settings":
        """Make the settings of a new run.

        Parameters
        ----------
        given : dict
            The flags that were given, as :func:`check_flags` returns them.

        Returns
        -------
        Settings
        """
        defaults: dict[str, Any] = {"dir_results": os.path.abspath("results")}
        if "dir_train" not in given:
            defaults |= DIGITS
        if "test_size" in given:
            defaults.pop("n_initial", None)
        values = defaults | dict(given)
        if values.get("n_initial") is None:
            values.setdefault("test_size", 0.9)
        return cls(**values)

    @classmethod
    def from_run(
        cls, config: Mapping[str, Any], given: Mapping[str, Any]
    ) -> "Settings":
        """Take the settings of the run to resume; a flag that differs is an error.

        Parameters
        ----------
        config : dict
            ``"config"`` of the run's ``run.json``.
        given : dict
            The flags that were given; what is left out is taken from the run.

        Returns
        -------
        Settings

        Raises
        ------
        UsageError
            If given flags differ from the run's; all are named with both values.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(config) != known:
            raise UsageError(
                "The run was written by another version of dalmax_sk: the settings "
                f"{sorted(set(config) ^ known)} are not in both. Resume with that "
                "version, or start anew with --overwrite."
            )
        differing = [
            f"{_flag(name)} was {_shown(config[name])}, now {_shown(value)}"
            for name, value in given.items()
            if config[name] != value
        ]
        if differing:
            raise UsageError(
                "--resume goes on with the settings of the run, but "
                + "; ".join(differing)
                + ". Leave these flags out to go on, or start anew with --overwrite or "
                "another --dir-results."
            )
        return cls(**config)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict, in the order of the fields."""
        return dataclasses.asdict(self)

    def resolve_n_initial(self, n_train: int) -> int:
        """Return the size of the initial set for `n_train` training images.

        Raises
        ------
        UsageError
            If none or all of the images would be labelled.
        """
        if self.n_initial is not None:
            n_initial, flag = self.n_initial, f"--n-initial {self.n_initial}"
        else:
            share = self.test_size if self.test_size is not None else 0.9
            # rounded first: 0.9 * 30 is a hair above 27
            n_initial = n_train - math.ceil(round(share * n_train, 9))
            flag = f"--test-size {share}"
        if n_initial < 1:
            raise UsageError(
                f"{flag} leaves none of the {n_train} training images labelled at the "
                "start; at least 1 is needed. Give a smaller --test-size, or "
                "--n-initial."
            )
        if n_initial > n_train:
            raise UsageError(
                f"{flag} asks for more images than --dir-train holds: {n_train}. Give "
                "--n-initial a number up to that."
            )
        return n_initial


def parse_bool(text: str) -> bool | None:
    """Read a yes or a no; None if `text` is neither."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


_CHOICES = {
    "initial_strategy": ("random", "balanced"),
    "refit": ("scratch", "continue"),
    "lr_schedule": ("constant", "cosine", "one_cycle"),
    "optimizer": ("adam", "adamw", "sgd"),
    "on_bad_image": ("error", "skip"),
}
_AT_LEAST = {
    "query_size": (1, "images a round"),
    "iterations": (0, "rounds"),
    "n_initial": (1, "images"),
    "seed": (0, "any such number"),
    "image_size": (1, "pixels"),
    "epochs": (1, "epochs a round"),
    "train_batch_size": (1, "images a step"),
}
_BOOLS = ("mult_gpu", "augment")


def check_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Check the flags as they came from the command line, all in one go.

    Parameters
    ----------
    flags : dict
        Flag names with underscores, ``batch_size`` among them; None means not given.

    Returns
    -------
    dict
        The given flags, named like the fields of :class:`Settings`: booleans read,
        paths made absolute, ``batch_size`` turned into ``query_size``.

    Raises
    ------
    UsageError
        If flags are wrong; all of them are named.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    problems: list[str] = []
    if "batch_size" in given:
        batch_size = given.pop("batch_size")
        if given.setdefault("query_size", batch_size) != batch_size:
            problems.append(
                f"--batch-size {batch_size} and --query-size {given['query_size']} are "
                "two names of one thing and differ; give one of them"
            )
    for name in _BOOLS:
        if name in given:
            value = parse_bool(given[name])
            if value is None:
                problems.append(
                    f"{_flag(name)} must be True or False, got {given[name]!r}"
                )
            given[name] = value
    for name, choices in _CHOICES.items():
        if name in given and given[name] not in choices:
            problems.append(_wrong_choice(name, given[name], choices))
    for name, (least, unit) in _AT_LEAST.items():
        if name in given and given[name] < least:
            problems.append(
                f"{_flag(name)} must be at least {least} ({unit}), got {given[name]}"
            )
    problems += _check_numbers(given) + _check_pairs(given)
    if problems:
        raise UsageError("; ".join(problems) + ".")

    for name in ("dir_train", "dir_test", "dir_results"):
        if name in given:
            given[name] = os.path.abspath(given[name])
    # --weights is a name such as "imagenet", or a file
    if "weights" in given and os.path.exists(given["weights"]):
        given["weights"] = os.path.abspath(given["weights"])
    if "type" in given:
        given["type"] = given["type"].lower().replace("-", "_")
    return given


def _check_numbers(given: Mapping[str, Any]) -> list[str]:
    problems = []
    if "test_size" in given and not 0.0 < given["test_size"] < 1.0:
        problems.append(
            "--test-size must lie in (0, 1), it is the share of the training images "
            f"that starts unlabelled; got {given['test_size']}"
        )
    if "lr" in given and not (0.0 < given["lr"] < math.inf):
        problems.append(f"--lr must be a positive number, got {given['lr']}")
    if "seed" in given and given["seed"] >= 2**32:
        problems.append(f"--seed must be below 2**32, got {given['seed']}")
    return problems


def _check_pairs(given: Mapping[str, Any]) -> list[str]:
    problems = []
    if "n_initial" in given and "test_size" in given:
        problems.append(
            "--n-initial and --test-size both set the size of the initial set; give one"
        )
    if given.get("mult_gpu") and given.get("device", "auto") != "auto":
        problems.append(
            f"--mult-gpu True uses all GPUs, --device {given['device']} one; give one "
            "of the two"
        )
    for one, other in (("dir_train", "dir_test"), ("dir_test", "dir_train")):
        if one in given and other not in given:
            problems.append(
                f"{_flag(one)} needs {_flag(other)} beside it (give both for your own "
                "images, neither for the embedded digits)"
            )
    return problems


def _wrong_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(value, choices, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{_flag(name)} must be one of {', '.join(choices)}; got {value!r}{hint}"


def command_line(given: Mapping[str, Any], *extra: str) -> str:
    """Return the command that gives these flags, ready to paste into a shell.

    Parameters
    ----------
    given : dict
        The flags, as :func:`check_flags` returns them.
    *extra : str
        Words to put at the end, for instance ``"--resume"``.

    Returns
    -------
    str
    """
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"
    words = ["python", "-m", "dalmax_sk"] if is_module else ["dalmax"]
    words.append("train-al")
    for name, value in given.items():
        words += [_flag(name), str(value)]
    return shlex.join([*words, *extra])


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
