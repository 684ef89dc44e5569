"""``--config``: flags from a TOML file."""

import json
import os
import re

import pytest

from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.config_file import read_config


@pytest.fixture
def write(tmp_path):
    """Write a TOML file; return its path."""

    def write_file(text):
        path = tmp_path / "flags.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_keys_are_flags_and_tables_are_commands(write, tmp_path):
    # property: top-level keys, then the command's table; other tables are not taken
    (tmp_path / "a b").mkdir()
    path = write(
        f"""
        dir-train = "{tmp_path}/a b"
        dir_test = "{tmp_path}"
        epochs = 3
        lr = 1
        augment = true
        mult_gpu = "off"
        quiet = true
        [train-al]
        epochs = 5
        query-size = 7
        [compare]
        types = ["badge", "core_set"]
        """
    )
    flags = read_config(path, "train-al")
    assert flags == {
        "dir_train": f"{tmp_path}/a b",
        "dir_test": f"{tmp_path}",
        "epochs": 5,
        "lr": 1.0,
        "augment": True,
        "mult_gpu": False,
        "quiet": True,
        "query_size": 7,
    }
    assert type(flags["lr"]) is float
    compared = read_config(path, "compare")
    assert compared["types"] == ["badge", "core_set"]
    assert compared["epochs"] == 3


def test_underscores_in_the_name_of_a_table(write):
    assert read_config(write("[train_al]\nepochs = 2"), "train-al") == {"epochs": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"epoch is no flag of train-al \(did you mean epochs\?\)"),
        ("zzz = 3", r"zzz is no flag of train-al\."),
        ('types = "a"', r"types is a flag of compare, not of train-al; put it into"),
        ("[train-all]\nepochs = 3", r"\[train-all\] is no command .*mean train-al\?"),
        ("[compare]\nepoch = 3", r"\[compare\] epoch is no flag of compare"),
        ('epochs = "3"', "epochs must be a whole number, got '3'"),
        ("epochs = 3.0", "epochs must be a whole number, got 3.0"),
        ("epochs = true", "epochs must be a whole number, got True"),
        ('lr = "1e-3"', "lr must be a number, got '1e-3'"),
        ("lr = true", "lr must be a number, got True"),
        ("type = 3", 'type must be a text in "quotes", got 3'),
        ("augment = 1", "augment must be true or false, got 1"),
        ("quiet = 1", "quiet must be true or false, got 1"),
        ("dir-train = '.'\ndir_train = '.'", "dir_train is there twice"),
        ("dir-train = '/no/such'", "dir-train names a folder that does not exist: /no"),
        ("query_size = 2\nbatch_size = 3", "are two names of one thing and differ"),
        ("overwrite = true", "overwrite can be given on the command line only"),
        ("resume = true", "resume can be given on the command line only"),
        ("config = 'x'", "config can be given on the command line only"),
        ("epochs = [3]", r"epochs must be a whole number, got \[3\]"),
    ],
)
def test_wrong_entries_are_named(write, text, message):
    with pytest.raises(UsageError, match=message):
        read_config(write(text), "train-al")


def test_all_wrong_entries_are_named_together(write):
    path = write("epoch = 3\nlr = 'x'\n[compare]\nseeds = 'x'")
    with pytest.raises(
        UsageError, match=r"flags\.toml: epoch .*; lr .*; \[compare\] seeds must be"
    ):
        read_config(path, "train-al")


@pytest.mark.parametrize("text", ["types = []", "types = [1]", "types = 3"])
def test_lists_are_of_names(write, text):
    with pytest.raises(
        UsageError, match=r'types must be a list of texts, \["a", "b"\]'
    ):
        read_config(write(text), "compare")


def test_a_file_that_cannot_be_read(tmp_path, write):
    with pytest.raises(UsageError, match=r"no\.toml cannot be read: No such file"):
        read_config(tmp_path / "no.toml", "train-al")
    with pytest.raises(UsageError, match=r"is not a TOML file: .*line 1"):
        read_config(write("epochs: 3"), "train-al")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not a TOML file"):
        read_config(tmp_path / "bytes", "train-al")


def test_a_run_from_a_file(dalmax, images, tmp_path, write):
    # properties: the file's flags are those of the command line; the command line wins,
    # also over the file's other word for the same; all of it is in run.json
    path = write(
        f"""
        dir_train = {json.dumps(str(images / "train"))}
        dir_test = {json.dumps(str(images / "test"))}
        dir_results = {json.dumps(str(tmp_path / "results"))}
        image_size = 8
        epochs = 1
        [train-al]
        type = "random-sampling"
        batch_size = 3
        test_size = 0.5
        iterations = 3
        """
    )
    result = dalmax(
        *("train-al", "--config", path, "--iterations", 1),
        *("--n-initial", 5, "--query_size", 4),
    )
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results/active_learning/random_sampling"
    run = json.loads((folder / "run.json").read_text("utf-8"))
    config = run["config"]
    assert config["iterations"] == 1
    assert (config["n_initial"], config["test_size"]) == (5, None)
    assert config["query_size"] == 4
    assert (config["epochs"], config["image_size"]) == (1, 8)
    # the command that is kept needs no file
    assert "--config" not in run["command"]
    assert "--epochs 1" in run["command"]


def test_mistakes_in_the_file_and_in_its_values(dalmax, write):
    result = dalmax("train-al", "--config", write("epoch = 1"))
    assert result.exit_code == 2
    assert "did you mean epochs?" in result.stderr
    result = dalmax("train-al", "--config", write("epochs = 0"))
    assert result.exit_code == 2
    assert "flags.toml: epochs must be at least 1 (epochs a training), got 0." in (
        result.stderr
    )
    result = dalmax("train-al", "--config", write("n_initial = 3\ntest_size = 0.5"))
    assert result.exit_code == 2
    assert "--n-initial and --test-size both" in result.stderr
    assert re.search(r"\(Flags were read from .*flags\.toml as well\.\)", result.stderr)


def test_quiet_from_the_file(dalmax, write):
    result = dalmax("train-al", "--config", write("quiet = true\ntype = 'no such'"))
    assert result.exit_code == 2
    assert result.stdout == ""
    result = dalmax("train-al", "--config", write("debug = true\ntype = 'no such'"))
    assert isinstance(result.exception, ValueError)


def test_the_file_is_named_once(dalmax, write):
    path = write("no_such_flag = 1")
    result = dalmax("train-al", "--config", path)
    assert result.exit_code == 2
    assert result.stderr.count(str(path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 3000,
        f"epochs = 0x{'f' * 9000}",
        'dir_results = "a\\u0000b"',
        "epochs = nan",
        f"epochs = {'9' * 30}",
        f'max_memory = "1{400 * "0"}GB"',
    ],
    ids=lambda text: text[:20],
)
def test_damaged_values_are_problems(write, text):
    # property: one error that names the file, however odd the content
    with pytest.raises(UsageError, match=r"flags\.toml"):
        read_config(write(text), "train-al")


def test_a_pipe_is_no_config_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="cannot be read: not a regular file"):
        read_config(tmp_path / "pipe", "train-al")
