"""Flags: both spellings, all types, every mistake named."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import dalmax_sk
from dalmax_sk.cli import app
from dalmax_sk.cli.errors import UsageError, is_user_error
from dalmax_sk.cli.flags import kinds
from dalmax_sk.cli.flags.command_line import command_line, read_flags
from dalmax_sk.cli.flags.config_file import read_config
from dalmax_sk.cli.flags.settings import Settings
from dalmax_sk.cli.run.model import make_classifier
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.strategies import get_strategy


def plain(text):
    """Text without the box and the line breaks that depend on the width."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def read(line, command="train-al"):
    """Flags of a command line, all of them right."""
    given, _, problems = read_flags(command, shlex.split(line))
    assert problems == ""
    return given


def problems_of(line, command="train-al"):
    return read_flags(command, shlex.split(line))[2]


@pytest.fixture
def parsed(monkeypatch):
    """Run the command up to its parsed flags; return them."""

    def parse(*words):
        caught = {}
        monkeypatch.setattr(
            "dalmax_sk.cli.train_al.train_al",
            lambda given, screen, **modes: caught.update(given | modes),
        )
        result = CliRunner().invoke(app, ["train-al", *words])
        assert result.exit_code == 0, result.output
        return caught

    return parse


@pytest.mark.parametrize(
    ("flag", "text", "name", "value"),
    [
        ("dir-results", "/r", "dir_results", "/r"),
        ("type", "Core-Set-Selection", "type", "core_set_selection"),
        ("batch-size", "7", "query_size", 7),
        ("query-size", "7", "query_size", 7),
        ("iterations", "2", "iterations", 2),
        ("test-size", "0.25", "test_size", 0.25),
        ("mult-gpu", "False", "mult_gpu", False),
        ("mult-gpu", "on", "mult_gpu", True),
        ("seed", "3", "seed", 3),
        ("epochs", "4", "epochs", 4),
        ("architecture", "vgg16", "architecture", "vgg16"),
        ("image-size", "64", "image_size", 64),
        ("n-initial", "9", "n_initial", 9),
        ("initial-strategy", "balanced", "initial_strategy", "balanced"),
        ("train-batch-size", "16", "train_batch_size", 16),
        ("lr", "0.5", "lr", 0.5),
        ("optimizer", "sgd", "optimizer", "sgd"),
        ("augment", "yes", "augment", True),
        ("weights", "imagenet", "weights", "imagenet"),
        ("device", "cuda:1", "device", "cuda:1"),
        ("refit", "continue", "refit", "continue"),
        ("max-memory", "1.5 GiB", "max_memory", 3 * 2**29),
        ("max-memory", "500MB", "max_memory", 500_000_000),
        ("amp", "True", "amp", True),
        ("compile", "True", "compile", True),
        ("freeze", "body", "freeze", "body"),
        ("on-bad-image", "skip", "on_bad_image", "skip"),
    ],
)
def test_dashes_and_underscores_are_the_same(parsed, flag, text, name, value):
    # property: both spellings, with a blank or "=", give the same value
    for spelling in (flag, flag.replace("-", "_")):
        for words in ((f"--{spelling}", text), (f"--{spelling}={text}",)):
            flags = parsed(*words)
            assert flags[name] == value
            assert type(flags[name]) is type(value)


@pytest.mark.parametrize("name", ["resume", "overwrite"])
def test_switches(parsed, name):
    assert parsed(f"--{name}")[name] is True
    assert parsed()[name] is False


def test_the_command_has_two_spellings(parsed):
    runner = CliRunner()
    assert runner.invoke(app, ["train_al", "--help"]).exit_code == 0
    assert runner.invoke(app, ["train-al", "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("1", True), ("YES", True), ("on", True)]
    + [("False", False), ("0", False), ("no", False), ("Off", False)],
)
def test_booleans(text, value):
    assert kinds.BOOL.read(text) is value


@pytest.mark.parametrize("text", ["maybe", "", "2"])
def test_other_words_are_no_booleans(text):
    with pytest.raises(ValueError, match=f"must be True or False, got '{text}'"):
        kinds.BOOL.read(text)


@pytest.mark.parametrize("line", ["--mult_gpu", "--mult-gpu --amp --lr 1"])
def test_a_bare_boolean_flag_means_yes(line):
    assert read(line)["mult_gpu"] is True


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--mult-gpu maybe", "--mult-gpu must be True or False, got 'maybe'"),
        (
            "--query-size 0",
            r"--query-size must be at least 1 \(images a round\), got 0",
        ),
        ("--query-size 2.5", "--query-size must be a whole number, got '2.5'"),
        (
            "--batch-size 0",
            r"--batch-size must be at least 1 \(images a round\), got 0",
        ),
        (
            "--batch-size 5 --query-size 6",
            "--batch-size 5 and --query-size 6 .*differ",
        ),
        ("--n-initial 5 --test-size 0.5", "--n-initial and --test-size both"),
        ("--test-size 1", r"--test-size must lie in \(0, 1\).*got 1.0"),
        ("--test-size 0", r"--test-size must lie in \(0, 1\).*got 0.0"),
        ("--test-size nan", r"--test-size must lie in \(0, 1\).*got nan"),
        ("--test-size half", r"--test-size must be a number, got 'half'"),
        ("--iterations -1", "--iterations must be at least 0"),
        ("--epochs 0", "--epochs must be at least 1"),
        ("--epochs five", "--epochs must be a whole number, got 'five'"),
        ("--image-size 0", "--image-size must be at least 1"),
        ("--lr 0", "--lr must be a positive number"),
        ("--lr inf", "--lr must be a positive number"),
        ("--seed -1", "--seed must be at least 0"),
        ("--seed 4294967296", r"--seed must be below 2\*\*32"),
        ("--optimizer adm", r"--optimizer must be one of adam.*did you mean adam"),
        ("--refit never", "--refit must be one of scratch, continue; got 'never'"),
        ("--on-bad-image x", "--on-bad-image must be one of error, skip"),
        ("--initial-strategy x", "--initial-strategy must be one of random, bal"),
        ("--dir-train /", "--dir-train needs --dir-test or --test-split beside it"),
        ("--dir-test /", "--dir-test needs --dir-train beside it"),
        ("--test-split 0.2", "--test-split needs --dir-train beside it"),
        ("--test-split 1 --dir-train /", r"--test-split must lie in \(0, 1\)"),
        ("--test-split 0.2 --dir-test / --dir-train /", "--test-split and --dir-test"),
        ("--dir-test /no/such", "--dir-test names a folder .* not exist: /no/such"),
        ("--mult-gpu True --device cpu", "--mult-gpu True uses all GPUs"),
        ("--max-memory lots", "--max-memory must be a size such as .*'lots'"),
        ("--max-memory 0GB", "--max-memory must be a size"),
        ("--shrink-perturb 0.4,0.1", "give --refit continue beside it"),
        (
            "--shrink-perturb 0.4 --refit continue",
            "--shrink-perturb must be two numbers .*got '0.4'",
        ),
        (
            "--shrink-perturb 2,0.1 --refit continue",
            r"--shrink-perturb must be two numbers .*in \[0, 1\]",
        ),
        ("--amp bf16", "--amp must be True or False"),
        ("--resume=yes", "--resume does not take a value"),
        ("--resume yes", "Got unexpected extra argument 'yes'"),
        ("--lr --mult-gpu", r"--lr requires an argument: FLOAT\.$"),
    ],
)
def test_wrong_flags_are_named(line, message):
    assert re.search(message, problems_of(line))


def test_every_mistake_is_in_one_message(dalmax, tmp_path):
    # property: values, unknown flags, missing folders and files together, in words of
    # people; the same from a config file, with its name
    config = tmp_path / "flags.toml"
    config.write_text("epoch = 3\nlr = 'x'\nimage_size = 0\n")
    line = "--epochs five --lr -1 --image-size 0 --type 3 --typ x --dir_test /no/such"
    result = dalmax("train-al", *line.split(), "--config", config)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "Error: --epochs must be a whole number, got 'five'; --lr must be a positive "
        "number, got -1.0; --image-size must be at least 1 (pixels), got 0; No such "
        "option: --typ (did you mean --type?); --dir-test names a folder that does not "
        "exist: /no/such.",
        f"{config}: epoch is no flag of train-al (did you mean epochs?); lr must be a "
        "number, got 'x'; image_size must be at least 1 (pixels), got 0.",
        "--dir-test needs --dir-train beside it (give both for your own images, "
        "neither for the embedded digits).",
    ]
    config = tmp_path / "no.toml"
    result = dalmax("train-al", "--lr", "x", "--config", config)
    assert result.stderr == (
        f"Error: --lr must be a number, got 'x'.\n--config {config} cannot be read: No "
        "such file or directory.\n"
    )


def test_a_command_that_needs_an_argument(dalmax):
    result = dalmax("report", "--max-images", "many")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: --max-images must be a whole number, got 'many'; Missing argument "
        "RESULTS_DIR.\n"
    )


def test_settings_of_the_net_reach_it():
    line = "--refit continue --shrink-perturb 0.4,0.1 --max-memory 2KiB --amp True "
    given = read(line + "--compile yes --freeze body --weights imagenet")
    settings = Settings.from_flags(given)
    assert settings.max_memory == 2048
    net = make_classifier(settings, ["a", "b"])
    assert (net.amp, net.compile, net.freeze) == (True, True, "body")
    assert net.shrink_perturb == (0.4, 0.1)
    # the line that is given to go on reads the same
    line = command_line(given)
    assert read(line[line.index("train-al ") + len("train-al ") :]) == given


def test_equal_aliases_are_no_contradiction():
    assert read("--batch-size 5 --query-size 5") == {"query_size": 5}


def test_the_originals_defaults_for_a_users_folder():
    # property: without further flags a user's folder gets the original's values
    settings = Settings.from_flags({"dir_train": "/a", "dir_test": "/b"})
    assert (settings.query_size, settings.iterations) == (10, 5)
    assert settings.type == "uncertainty_sampling"
    assert settings.mult_gpu is False
    # 0.9 of 50,000 start unlabelled
    assert settings.resolve_n_initial(50_000) == 5_000


def test_the_digits_have_their_own_defaults_and_flags_win():
    settings = Settings.from_flags({"epochs": 3})
    assert settings.uses_digits
    assert settings.epochs == 3
    assert settings.query_size == 20
    assert settings.resolve_n_initial(1437) == 30
    assert Settings.from_flags({"test_size": 0.5}).resolve_n_initial(10) == 5


@pytest.mark.parametrize(
    ("test_size", "n", "n_initial"),
    [(0.9, 30, 3), (0.9, 1437, 143), (0.5, 3, 1), (0.1, 10, 9), (0.29, 100, 71)],
)
def test_test_size_is_the_unlabelled_share(test_size, n, n_initial):
    flags = {"dir_train": "/a", "dir_test": "/b", "test_size": test_size}
    assert Settings.from_flags(flags).resolve_n_initial(n) == n_initial


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"test_size": 0.9}, "--test-size 0.9 leaves none of the 5 training images"),
        ({"n_initial": 6}, "--n-initial 6 asks for more images .*holds: 5"),
    ],
)
def test_an_initial_set_that_cannot_be(flags, message):
    with pytest.raises(UsageError, match=message):
        Settings.from_flags(flags).resolve_n_initial(5)


def test_settings_survive_json_and_resuming():
    settings = Settings.from_flags({"dir_train": "/a", "dir_test": "/b", "lr": 1e-4})
    config = json.loads(json.dumps(settings.to_config()))
    assert Settings.from_run(config, {}) == settings
    assert Settings.from_run(config, {"lr": 1e-4, "dir_train": "/a"}) == settings
    message = r"--lr was 0.0001, now 0.1; --n-initial was not given, now 4\."
    with pytest.raises(UsageError, match=message):
        Settings.from_run(config, {"lr": 0.1, "n_initial": 4})
    config["new_setting"] = config.pop("lr")
    with pytest.raises(UsageError, match=r"another version.*lr.*new_setting"):
        Settings.from_run(config, {})


def test_the_command_to_repeat_is_a_command():
    # property: what is printed can be pasted and means the same
    given = read("--dir-results '/a b' --batch-size 3 --mult-gpu no")
    line = command_line(given, "--resume")
    assert line.endswith("--resume")
    assert "--dir-results '/a b'" in line
    assert "--mult-gpu False" in line
    assert "--query-size 3" in line


def test_help_names_every_flag_with_its_default():
    result = CliRunner().invoke(app, ["train-al", "--help"])
    text = plain(result.stdout)
    for flag in Settings.flags().values():
        assert (flag.word in text) is not flag.is_hidden
        assert f"Default: {flag.default_text} " in text or flag.is_hidden
    for default in ("10 ", "5 ", "a tenth of the training images ", "results "):
        assert f"Default: {default}" in text
    # names of DalMax that lead astray: understood, not shown
    assert "--batch-size" not in text
    assert "--test-size" not in text


def test_unknown_flags_and_commands():
    runner = CliRunner()
    result = runner.invoke(app, ["train-al", "--epoch", "3"])
    assert result.exit_code == 2
    assert result.stderr == "Error: No such option: --epoch (did you mean --epochs?).\n"
    result = runner.invoke(app, ["train-al", "--zzz", "3"])
    assert "No such option: --zzz (dalmax train-al --help lists all)." in result.stderr
    result = runner.invoke(app, ["trainal"])
    assert result.exit_code == 2
    assert "No such command 'trainal'" in plain(result.stderr)


def test_weights_from_a_file_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"")
    assert read("--weights w.pth")["weights"] == str(tmp_path / "w.pth")


def _raised(function, *args):
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("function", "args", "mendable"),
    [
        (read_config, ("/no/such/file", "train-al"), True),
        (get_strategy, ("no such",), True),
        (CNNClassifier(lr="x").fit, ([[0.0], [1.0]], [0, 1]), True),
        (open, ("/no/such/file",), True),
        (int, ("x",), False),
        ({}.__getitem__, ("x",), False),
        (np.linalg.inv, (np.zeros((2, 2)),), False),
    ],
)
def test_only_our_own_checks_lose_their_traceback(function, args, mendable):
    assert is_user_error(_raised(function, *args)) is mendable


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (
        0,
        f"dalmax_sk {dalmax_sk.__version__}\n",
    )


def test_version_and_module(tmp_path):
    # property: python -m dalmax_sk is the same program
    root = Path(dalmax_sk.__file__).parent.parent
    env = os.environ | {"PYTHONPATH": str(root)}
    words = [sys.executable, "-m", "dalmax_sk", "--version"]
    result = subprocess.run(
        words, capture_output=True, text=True, env=env, cwd=tmp_path, check=True
    )
    assert result.stdout == f"dalmax_sk {dalmax_sk.__version__}\n"
