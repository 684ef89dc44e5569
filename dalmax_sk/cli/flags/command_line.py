"""The command line: read, with all mistakes in one message, and written."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags import kinds
from dalmax_sk.cli.flags.config_file import read_config
from dalmax_sk.cli.flags.kinds import did_you_mean
from dalmax_sk.cli.flags.table import as_flag, flags_of
from dalmax_sk.cli.flags.values import Values

__all__ = ["check_folders", "command_line", "read_flags", "resume_hint"]


def read_flags(
    command: str, words: Sequence[str]
) -> tuple[dict[str, Any], dict[str, bool], str]:
    """Read the flags of a command and of the config file that it names.

    Parameters
    ----------
    command : str
        Name of the command.
    words : sequence of str
        What follows the command's name on the command line.

    Returns
    -------
    given : dict
        Names and values of the flags that were given, in the order of ``--help``. The
        command line overrides the file.
    switches : dict
        All switches of the command, which are given or not.
    problems : str
        All mistakes in words, or nothing.
    """
    line = _read_line(command, words)
    sentences = [f"{'; '.join(line.problems)}."] if line.problems else []
    config = line.given.pop("config", None)
    found: dict[str, Any] = {}
    if config is not None:
        try:
            found = read_config(config, command)
        except UsageError as error:
            sentences.append(str(error))
    if {"n_initial", "test_size"} & line.given.keys():  # two ways to say one thing
        found = {k: v for k, v in found.items() if k not in ("n_initial", "test_size")}
    given = found | line.given
    flags = flags_of(command)
    switches = {
        flag.name: given.pop(flag.name, False)
        for flag in flags
        if flag.kind is kinds.SWITCH
    }
    given = {flag.name: given[flag.name] for flag in flags if flag.name in given}
    together = _check_together(command, given)
    if together:
        note = f"\n(Flags were read from {config} as well.)" if found else ""
        sentences.append(f"{'; '.join(together)}.{note}")
    return given, switches, "\n".join(sentences)


def _read_line(command: str, words: Sequence[str]) -> Values:
    flags = flags_of(command)
    by_word = {flag.word: flag for flag in flags if not flag.is_argument}
    arguments = [flag for flag in flags if flag.is_argument]
    values = Values()
    unread = list(words)
    while unread:
        word = unread.pop(0)
        if not word.startswith("--"):
            if arguments:
                values.read(arguments.pop(0), word)
            else:
                values.problems.append(f"Got unexpected extra argument {word!r}")
            continue
        name, equals, text = word.partition("=")
        flag = by_word.get(name.replace("_", "-"))
        has_next = bool(unread) and not unread[0].startswith("--")
        if flag is None:
            shown = [word for word, flag in by_word.items() if not flag.is_hidden]
            hint = did_you_mean(name.replace("_", "-"), shown)
            hint = hint or f" (dalmax {command} --help lists all)"
            values.problems.append(f"No such option: {name}{hint}")
            if has_next and not equals and not arguments:
                unread.pop(0)  # its value
        elif flag.kind is kinds.SWITCH:
            if equals:
                values.problems.append(f"{flag.word} does not take a value")
            values.given[flag.name] = True
        elif flag.kind.bare and not (equals or has_next):
            values.read(flag, flag.kind.bare)
        elif equals or has_next:
            values.read(flag, text if equals else unread.pop(0))
        else:
            expected = flag.kind.metavar
            values.problems.append(f"{flag.word} requires an argument: {expected}")
            values.given[flag.name] = None
    values.problems += [f"Missing argument {f.kind.metavar}" for f in arguments]
    values.join_names(flags)
    return values


def _check_together(command: str, given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with flags that do not go together."""
    problems = []
    if "n_initial" in given and "test_size" in given:
        problems.append(
            "--n-initial and --test-size both set the size of the initial set; give one"
        )
    if given.get("mult_gpu") and given.get("device") not in (None, "auto", "multi"):
        problems.append(
            f"--mult-gpu True uses all GPUs, --device {given['device']} one; give one "
            "of the two"
        )
    refit = given.get("refit", "scratch")
    if "shrink_perturb" in given and refit == "scratch":
        problems.append(
            "--shrink-perturb says how a round goes on from present weights: give "
            "--refit continue beside it"
        )
    if "n_labels" in given and given.get("type", "train") == "train":
        problems.append(
            "--n-labels goes with --type random; --type train takes all images"
        )
    if command in ("train-al", "compare"):
        problems += check_folders(given)
    return problems


def check_folders(given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong if only one of the two folders is given."""
    if "test_split" in given and "dir_test" in given:
        return ["--test-split and --dir-test both say what is tested on; give one"]
    test = "test_split" if "test_split" in given else "dir_test"
    ways = "--dir-test or --test-split" if test == "dir_test" else ""
    return [
        f"{as_flag(one)} needs {words or as_flag(other)} beside it (give both for your "
        "own images, neither for the embedded digits)"
        for one, other, words in (
            ("dir_train", test, ways),
            (test, "dir_train", ""),
        )
        if one in given and other not in given
    ]


def command_line(
    given: Mapping[str, Any], *extra: str, command: str = "train-al"
) -> str:
    """Return the command that gives these flags, ready to paste into a shell.

    Parameters
    ----------
    given : dict
        The flags, as :func:`read_flags` returns them.
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
        The flags, as :func:`read_flags` returns them.
    command : str, default="train-al"
        Name of the command.
    """
    return (
        "Every finished round and query is kept; go on with:\n"
        f"  {command_line(given, '--resume', command=command)}"
    )
