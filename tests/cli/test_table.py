"""The table of flags: one entry is all that a flag needs."""

import inspect
import re
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dalmax_sk
from dalmax_sk.active_learning import ActiveLearningClassifier
from dalmax_sk.cli.commands import COMMANDS, make_app
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags import kinds
from dalmax_sk.cli.flags.command_line import read_flags
from dalmax_sk.cli.flags.config_file import read_config
from dalmax_sk.cli.flags.settings import CompareSettings, Settings
from dalmax_sk.cli.flags.table import FLAGS, MODEL, PANELS, Flag, flags_of
from dalmax_sk.cli.run.model import make_classifier
from dalmax_sk.cli.run.train_settings import TrainSettings
from dalmax_sk.cnn import CNNClassifier

DOCS = Path(dalmax_sk.__file__).parent.parent / "docs"


@pytest.fixture
def new_flag():
    """An entry that is in the table for the time of a test."""
    flag = Flag(
        "weight_decay",
        kinds.number("must be at least 0", above=-1e-300),
        MODEL,
        ("train-al", "train"),
        "Weight decay.",
        1e-4,
        net="weight_decay",
    )
    FLAGS.append(flag)
    yield flag
    FLAGS.remove(flag)


@pytest.mark.parametrize("command", ["train-al", "train"])
@pytest.mark.usefixtures("new_flag")
def test_an_entry_is_all_that_a_flag_needs(command, tmp_path):
    # property: help, reader, check, config file, settings and estimator know it
    text = CliRunner().invoke(make_app(), [command, "--help"]).stdout
    words = re.sub(r"[\s│]+", " ", text)
    assert "--weight-decay FLOAT Weight decay. Default: 0.0001" in words

    assert read_flags(command, ["--weight_decay", "0.5"])[0] == {"weight_decay": 0.5}
    problems = read_flags(command, ["--weight-decay", "-1", "--lr", "0"])[2]
    assert "--weight-decay must be at least 0, got -1.0" in problems

    config = tmp_path / "flags.toml"
    config.write_text("weight_decay = 0.25")
    assert read_config(config, command) == {"weight_decay": 0.25}
    with pytest.raises(UsageError, match="weight_decay is a flag of train-al, train"):
        read_config(config, "compare")

    kind = {"train-al": Settings, "train": TrainSettings}[command]
    assert kind().to_config()["weight_decay"] == 1e-4
    settings = kind(weight_decay=0.125)
    assert make_classifier(settings, ["a", "b"]).weight_decay == 0.125


@pytest.mark.usefixtures("new_flag")
def test_a_run_is_resumed_with_the_value_it_began_with():
    config = Settings(weight_decay=0.5).to_config()
    assert Settings.from_run(config, {}).weight_decay == 0.5
    with pytest.raises(UsageError, match=r"--weight-decay was 0\.5, now 1\.0"):
        Settings.from_run(config, {"weight_decay": 1.0})


@pytest.mark.parametrize("command", COMMANDS)
def test_entries_fit_together(command):
    flags = flags_of(command)
    names = [flag.name for flag in flags]
    assert len(set(names)) == len(names)
    assert {flag.panel for flag in flags} <= set(PANELS)
    for flag in flags:
        assert flag.help.endswith((".", "…")), flag
        if flag.same_as:
            assert flag.same_as in names
        if flag.default is not None:  # read back, it is the same
            assert flag.kind.read(str(flag.default)) in (
                flag.default,
                str(Path.cwd() / str(flag.default)),
            )


def test_every_command_of_the_table_exists():
    assert {name for flag in FLAGS for name in flag.commands} == set(COMMANDS)


def test_entries_set_parameters_that_exist():
    net = inspect.signature(CNNClassifier).parameters
    learner = inspect.signature(ActiveLearningClassifier).parameters
    assert {flag.net for flag in FLAGS} - {""} <= set(net)
    assert {flag.learner for flag in FLAGS} - {""} <= set(learner)


def test_what_is_kept_of_a_run_is_in_a_fixed_order():
    # property: run.json's "config", which readers and pages show in this order
    images = ["dir_train", "dir_test", "test_split", "dir_results"]
    net = "architecture weights freeze image_size epochs train_batch_size lr".split()
    net += "lr_schedule optimizer augment amp compile device mult_gpu".split()
    rounds = "query_size iterations n_initial test_size initial_strategy refit".split()
    rounds += ["shrink_perturb", "max_memory"]
    common = [*images, *net, "on_bad_image"]
    assert list(Settings().to_config()) == [*common, *rounds, "type", "seed"]
    assert list(CompareSettings().to_config()) == [
        *(*common, *rounds),
        *("types", "seeds", "baseline", "target", "n_jobs"),
    ]
    assert list(TrainSettings().to_config()) == [
        *(*common, "type", "n_labels", "like", "seed")
    ]


def test_where_to_compute_is_not_taken_from_a_run():
    taken = {name for name, flag in TrainSettings.flags().items() if flag.from_run}
    assert not {"device", "mult_gpu", "compile", "type", "dir_results"} & taken
    assert {"architecture", "lr", "on_bad_image", "seed", "image_size"} <= taken


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match=r"train-al has no settings \['no_such'\]"):
        Settings(no_such=1)


def test_the_table_in_the_guide_is_this_table():
    # `python docs/flag_tables.py` writes it anew
    if not DOCS.is_dir():
        pytest.skip("the guide is not installed with the package")
    tables = runpy.run_path(str(DOCS / "flag_tables.py"))
    page = tables["PAGE"].read_text("utf-8")
    assert tables["render"](page) == page
    listed = set(re.findall(r"^\| `(--[a-z-]+|[A-Z_]+)", page, flags=re.MULTILINE))
    for flag in FLAGS:
        word = flag.kind.metavar if flag.is_argument else flag.word
        # a flag that only `dalmax strategies` has needs no table
        assert (word in listed) is not flag.is_hidden or flag.name == "json", word
