"""``dalmax compare``: several strategies, their files, stopping and going on."""

import json
import re
import shlex

import pandas as pd
import pytest

from dalmax_sk._base import progress
from dalmax_sk.evaluation import BudgetCurves

QUICK = "--n-initial 6 --query-size 4 --iterations 2 --epochs 2 --image-size 8"
TYPES = "--types margin_sampling,core-set"
BOTH = {
    "curves.csv",
    "curves.pdf",
    "report.html",
    "results.jsonl",
    "run.json",
}
TESTED = BOTH | {
    "comparison.csv",
    "critical_difference.pdf",
    "difference.pdf",
    "penalty_matrix.csv",
    "penalty_matrix.pdf",
    "ranks.csv",
    "verdicts.txt",
}


@pytest.fixture
def compare(dalmax, images, tmp_path):
    """Run ``dalmax compare`` on the tiny folder with more flags."""

    def run(flags, *, quick=True, data=True):
        words = ["compare", "--dir-results", tmp_path / "results"]
        if data:
            words += ["--dir_train", images / "train", "--dir_test", images / "test"]
        return dalmax(*words, *shlex.split(f"{QUICK if quick else ''} {flags}"))

    return run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results" / "compare"


def record_of(folder):
    return json.loads((folder / "run.json").read_text("utf-8"))


def scores_of(folder):
    frame = BudgetCurves.from_csv(folder / "curves.csv").frame
    columns = [
        c for c in frame if not c.endswith("_seconds") and not c.endswith("_bytes")
    ]
    return frame[columns]


def test_every_file_holds_what_it_says(compare, folder, images):
    # property: all strategies and seeds, paired; tables, figures and page of one result
    result = compare(f"{TYPES} --seeds 2")
    assert result.exit_code == 0, result.output
    assert {p.name for p in folder.iterdir()} == TESTED
    assert "random_sampling is added" in result.stdout
    curves = BudgetCurves.from_csv(folder / "curves.csv")
    assert curves.strategies == ["random_sampling", "margin_sampling", "core_set"]
    assert curves.seeds == [0, 1]
    assert curves.splits == [0]
    assert curves.budgets().tolist() == [6, 10, 14]
    first = curves.frame.query("round == 0").groupby("seed")["score_accuracy"]
    assert (first.nunique() == 1).all()
    table = pd.read_csv(folder / "comparison.csv")
    assert set(table["strategy"]) == set(curves.strategies)
    verdicts = record_of(folder)["verdicts"]
    text = (folder / "verdicts.txt").read_text("utf-8")
    page = (folder / "report.html").read_text("utf-8")
    for name, sentence in verdicts.items():
        assert name in sentence
        assert sentence in text
        assert sentence in result.stdout
        assert name in page
    record = record_of(folder)
    assert record["status"] == "finished"
    assert record["config"]["types"] == curves.strategies
    assert record["data"]["train"]["directory"] == str(images / "train")
    assert "run 6/6: core_set, seed 1: " in result.stdout
    for name in TESTED:
        if name.endswith(".pdf"):
            assert (folder / name).read_bytes().startswith(b"%PDF")


def test_one_seed_shows_curves_and_says_why_nothing_is_tested(compare, folder):
    # property: means, no test; a seed more later needs only the runs that are missing
    result = compare("--types margin_sampling --seeds 1")
    assert result.exit_code == 0, result.output
    assert {p.name for p in folder.iterdir()} == BOTH | {"summary.csv"}
    assert "one seed only" in result.stderr
    assert "nothing is tested" in result.stderr
    assert record_of(folder)["verdicts"] is None
    before = scores_of(folder)
    result = compare("--resume --seeds 2", quick=False, data=False)
    assert result.exit_code == 0, result.output
    assert {p.name for p in folder.iterdir()} == TESTED
    assert result.stdout.count("run ") == 2
    after = scores_of(folder)
    pd.testing.assert_frame_equal(
        after.query("seed == 0").reset_index(drop=True), before
    )


@pytest.mark.slow
def test_stopped_and_gone_on_with(compare, folder, monkeypatch):
    # properties: Ctrl-C ends with 130 and a command; that command ends with the result
    # of a comparison that nothing stopped, without repeating what was done
    flags = "--types margin_sampling --seeds 2"
    assert compare(flags).exit_code == 0
    expected = scores_of(folder)
    folder.rename(folder.with_name("uninterrupted"))

    def stop(stage, done, total, info):
        if stage == "run" and done == 3:
            raise KeyboardInterrupt

    with progress.listen(stop):
        result = compare(flags)
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr
    assert "Every finished round and query is kept" in result.stderr
    assert record_of(folder)["status"] == "interrupted"
    command = re.search(r"dalmax\S* (compare .*--resume)", result.stderr)[1]
    flags = shlex.join(shlex.split(command)[1:])
    result = compare(flags, quick=False, data=False)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("run ") == 1
    pd.testing.assert_frame_equal(scores_of(folder), expected)
    assert record_of(folder)["status"] == "finished"


def test_the_same_command_again_goes_on(compare, folder):
    # properties: nothing is repeated; of a damaged file the intact records are kept,
    # the rest runs again, and the user is told; other settings are refused
    flags = "--types margin_sampling --seeds 2"
    assert compare(flags).exit_code == 0
    expected = scores_of(folder)
    file = folder / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    result = compare(flags)
    assert result.exit_code == 0, result.output
    assert "Note: " in result.stderr
    assert "results.jsonl" in result.stderr
    assert result.stdout.count("run ") == 1
    pd.testing.assert_frame_equal(scores_of(folder), expected)

    result = compare(f"{flags} --lr 0.5")
    assert result.exit_code == 2
    assert "holds a comparison with other settings: --lr was 0.001" in result.stderr
    result = compare("--resume --lr 0.5", quick=False, data=False)
    assert result.exit_code == 2
    assert "--lr was 0.001, now 0.5." in result.stderr
    flags = "--types margin_sampling --seeds 1 --lr 0.5 --overwrite"
    assert compare(flags).exit_code == 0
    assert record_of(folder)["config"]["lr"] == 0.5
    assert {p.name for p in folder.iterdir()} == BOTH | {"summary.csv"}


def test_other_images_are_refused(compare, images):
    assert compare("--types margin_sampling --seeds 1").exit_code == 0
    (images / "train/grass/1.png").unlink()
    result = compare("--resume", quick=False, data=False)
    assert result.exit_code == 2
    assert "(24 images then, 23 now)" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "Which strategies? Give --types"),
        ("--types badgee,core_st", "--types: .*'badgee'.*\n.*--types: .*'core_st'"),
        ("--types badge --baseline rando", "--baseline: Unknown strategy 'rando'"),
        ("--types random_sampling", "There is only the baseline, random_sampling"),
        ("--types a,,b", "--types must be names with commas between them"),
        ("--types a,A", "--types holds a more than once"),
        ("--types badge --seeds 0 --target 2", r"--seeds must .*--target .* \(0, 1\]"),
        ("--types badge --n-jobs 0", "--n-jobs must be"),
        ("--types badge --resume --overwrite", "--resume goes on with a comparison"),
        ("--types badge --n-initial 99", "--n-initial 99 asks for more images"),
    ],
)
def test_bad_input_is_explained(compare, folder, flags, message):
    # property: exit code 2, all mistakes in one message, nothing written
    result = compare(flags, quick="--n-initial" not in flags)
    assert result.exit_code == 2, result.output
    assert re.search(message.replace("?", r"\?"), result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not folder.exists()


def test_foreign_results_are_left_alone(compare, folder):
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("mine")
    result = compare("--types badge")
    assert result.exit_code == 2
    assert "holds results already (results.jsonl)" in result.stderr
    assert (folder / "results.jsonl").read_text() == "mine"
    result = compare("--types badge --overwrite")
    assert result.exit_code == 2
    assert "holds results.jsonl but no run.json" in result.stderr
    assert (folder / "results.jsonl").read_text() == "mine"


def test_a_damaged_record_is_explained(compare, folder):
    folder.mkdir(parents=True)
    kind = "comparison of strategies on image folders"
    record = {"format": 1, "kind": kind, "config": [], "data": {"train": 3}}
    (folder / "run.json").write_text(json.dumps(record))
    for flags in ("--types badge", "--resume"):
        result = compare(flags)
        assert result.exit_code == 2, result.output
        assert "it: config, total_seconds, data.train.sha256, " in result.stderr


def test_two_names_of_one_strategy(compare, folder):
    # properties: it runs once, under the first name; a pool that ends early is told of
    flags = "--types core_set,core_set_selection --seeds 1 --query-size 40"
    result = compare(flags)
    assert result.exit_code == 0, result.output
    assert "core_set_selection and core_set are one strategy" in result.stderr
    assert record_of(folder)["config"]["types"] == ["random_sampling", "core_set"]
    assert "start unlabelled: the run ends after round 1" in result.stderr
    # a folder that was moved is the same comparison
    moved = folder.parent.with_name("moved")
    folder.parent.rename(moved)
    words = f"--resume --dir-results {shlex.quote(str(moved))}"
    result = compare(words, quick=False, data=False)
    assert result.exit_code == 0, result.output
    assert "run " not in result.stdout
    assert record_of(moved / "compare")["config"]["dir_results"] == str(moved)
    assert not folder.exists()
