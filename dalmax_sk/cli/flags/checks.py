"""Checks of flags' values, whatever the command; all mistakes in one message."""

import difflib
import math
import os
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from dalmax_sk.cli.errors import UsageError

__all__ = [
    "BOOLS",
    "LISTS",
    "as_flag",
    "check_flags",
    "command_line",
    "did_you_mean",
    "parse_bool",
    "resume_hint",
]

_TRUE = ("true", "1", "yes", "on", "y", "t")
_FALSE = ("false", "0", "no", "off", "n", "f")

#: Flags whose value is a yes or a no.
BOOLS = ("mult_gpu", "augment", "amp", "compile")

#: Flags whose value is several words with commas between them.
LISTS = ("types",)

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]?I?B?)", re.IGNORECASE)

_PATHS = ("dir_train", "dir_test", "dir_results", "dir_model", "model", "like")
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
    "n_labels": (1, "images"),
    "seed": (0, "any such number"),
    "seeds": (1, "repetitions"),
    "image_size": (1, "pixels"),
    "epochs": (1, "epochs a training"),
    "train_batch_size": (1, "images a step"),
}


def parse_bool(text: str) -> bool | None:
    """Read a yes or a no; None if `text` is neither."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def check_flags(
    flags: Mapping[str, Any],
    *,
    choices: Mapping[str, tuple[str, ...]] | None = None,
    folders_together: bool = True,
) -> dict[str, Any]:
    """Check the flags as they came from the command line, all in one go.

    Parameters
    ----------
    flags : dict
        Flag names with underscores, ``batch_size`` among them; None means not given.
    choices : dict of str to tuple of str, default=None
        Further flags that take one of a few words.
    folders_together : bool, default=True
        Whether ``dir_train`` and ``dir_test`` have to be given together.

    Returns
    -------
    dict
        The given flags: booleans and lists read, paths made absolute, ``batch_size``
        turned into ``query_size``, names of strategies in snake case.

    Raises
    ------
    UsageError
        If flags are wrong; all of them are named.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    problems = _merge_batch_size(given) + _read_bools(given) + _read_lists(given)
    problems += _read_pair(given) + _read_size(given)
    for name in {"type", "baseline"} & set(given):
        given[name] = given[name].lower().replace("-", "_")
    for name, words in (_CHOICES | dict(choices or {})).items():
        if name in given and given[name] not in words:
            problems.append(_wrong_choice(name, given[name], words))
    for name, (least, unit) in _AT_LEAST.items():
        if name in given and given[name] < least:
            problems.append(
                f"{as_flag(name)} must be at least {least} ({unit}), got {given[name]}"
            )
    problems += _check_numbers(given) + _check_pairs(given)
    if folders_together:
        problems += _check_folders(given)
    if problems:
        raise UsageError("; ".join(problems) + ".")

    for name in _PATHS:
        if name in given:
            given[name] = os.path.abspath(given[name])
    # --weights is a name such as "imagenet", or a file
    if "weights" in given and os.path.exists(given["weights"]):
        given["weights"] = os.path.abspath(given["weights"])
    return given


def _merge_batch_size(given: dict[str, Any]) -> list[str]:
    if "batch_size" not in given:
        return []
    batch_size = given.pop("batch_size")
    if given.setdefault("query_size", batch_size) == batch_size:
        return []
    return [
        f"--batch-size {batch_size} and --query-size {given['query_size']} are "
        "two names of one thing and differ; give one of them"
    ]


def _read_bools(given: dict[str, Any]) -> list[str]:
    problems = []
    for name in BOOLS:
        if name in given:
            value = parse_bool(given[name])
            if value is None:
                problems.append(
                    f"{as_flag(name)} must be True or False, got {given[name]!r}"
                )
            given[name] = value
    return problems


def _read_lists(given: dict[str, Any]) -> list[str]:
    problems = []
    for name in LISTS:
        if name not in given:
            continue
        words = [word.strip().lower() for word in given[name].split(",")]
        words = [word.replace("-", "_") for word in words]
        repeated = sorted({word for word in words if words.count(word) > 1})
        if not all(words):
            problems.append(
                f"{as_flag(name)} must be names with commas between them, got "
                f"{given[name]!r}"
            )
        elif repeated:
            problems.append(
                f"{as_flag(name)} holds {', '.join(repeated)} more than once"
            )
        given[name] = words
    return problems


def _read_pair(given: dict[str, Any]) -> list[str]:
    """Read ``--shrink-perturb 0.4,0.1``."""
    if "shrink_perturb" not in given:
        return []
    text = given["shrink_perturb"]
    try:
        shrink, noise = (float(word) for word in text.split(","))
    except ValueError:
        shrink = noise = math.nan
    given["shrink_perturb"] = [shrink, noise]
    problems = []
    if not (0 <= shrink <= 1 and 0 <= noise < math.inf):
        problems.append(
            "--shrink-perturb must be two numbers with a comma between them, the first "
            f"in [0, 1] and the second at least 0, such as 0.4,0.1; got {text!r}"
        )
    if given.get("refit", "scratch") != "continue":
        problems.append(
            "--shrink-perturb says how a round goes on from present weights: give "
            "--refit continue beside it"
        )
    return problems


def _read_size(given: dict[str, Any]) -> list[str]:
    """Read ``--max-memory 2GB`` as bytes."""
    if "max_memory" not in given:
        return []
    found = _SIZE.fullmatch(given["max_memory"].strip())
    n_bytes = 0
    if found is not None:
        unit = found["unit"].upper()
        base = 1024 if "I" in unit else 1000
        n_bytes = int(float(found["number"]) * base ** "BKMGT".index(unit[:1] or "B"))
    if n_bytes < 1:
        return [
            "--max-memory must be a size such as 500MB, 2GB or 2GiB, got "
            f"{given['max_memory']!r}"
        ]
    given["max_memory"] = n_bytes
    return []


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
    if "target" in given and not 0.0 < given["target"] <= 1.0:
        problems.append(
            "--target must lie in (0, 1], it is an accuracy as a fraction; got "
            f"{given['target']}"
        )
    if given.get("n_jobs") == 0:
        problems.append("--n-jobs must be a number of processes, or -1 for all cores")
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
    return problems


def _check_folders(given: Mapping[str, Any]) -> list[str]:
    return [
        f"{as_flag(one)} needs {as_flag(other)} beside it (give both for your own "
        "images, neither for the embedded digits)"
        for one, other in (("dir_train", "dir_test"), ("dir_test", "dir_train"))
        if one in given and other not in given
    ]


def _wrong_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    hint = did_you_mean(value, choices)
    return f"{as_flag(name)} must be one of {', '.join(choices)}; got {value!r}{hint}"


def did_you_mean(word: str, known: Any) -> str:
    """Return `` (did you mean …?)`` with the nearest of the `known`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def command_line(
    given: Mapping[str, Any], *extra: str, command: str = "train-al"
) -> str:
    """Return the command that gives these flags, ready to paste into a shell.

    Parameters
    ----------
    given : dict
        The flags, as :func:`check_flags` returns them.
    *extra : str
        Words to put at the end, for instance ``"--resume"``.
    command : str, default="train-al"
        Name of the command.

    Returns
    -------
    str
    """
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"
    words = ["python", "-m", "dalmax_sk"] if is_module else ["dalmax"]
    words.append(command)
    for name, value in given.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [as_flag(name), text]
    return shlex.join([*words, *extra])


def resume_hint(given: Mapping[str, Any], *, command: str = "train-al") -> str:
    """Return in words how a run that was stopped goes on.

    Parameters
    ----------
    given : dict
        The flags, as :func:`check_flags` returns them.
    command : str, default="train-al"
        Name of the command.
    """
    return (
        "Every finished round and query is kept; go on with:\n"
        f"  {command_line(given, '--resume', command=command)}"
    )


def as_flag(name: str) -> str:
    """Return a setting's flag: ``--query-size`` for ``query_size``."""
    return "--" + name.replace("_", "-")
