"""The results file: resumed, extended, refused, repaired."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base import progress
from dalmax_sk._base.files import file_lock
from dalmax_sk._base.limits import limits
from dalmax_sk.active_learning.checkpoint import Checkpoint
from dalmax_sk.evaluation import BudgetCurves, budget_curve
from dalmax_sk.stopping import AllOf, Budget
from dalmax_sk.strategies import UncertaintySampling

MEASURED = ["fit_seconds", "query_seconds", "score_seconds", "peak_bytes"]
N_RECORDS = 3  # rounds of a run below


def experiment(X, y, path, **changes):
    given = {
        "estimator": LogisticRegression(),
        "strategies": ["random_sampling", "margin_sampling"],
        "cv": 2,
        "seeds": 2,
        "scoring": "accuracy",
        "n_initial": 8,
        "query_size": 5,
        "n_rounds": 2,
        "results": path,
    }
    return budget_curve(X=X, y=y, **{**given, **changes})


def decisions(curves):
    return curves.frame.drop(columns=MEASURED)


def assert_same(one, other):
    pd.testing.assert_frame_equal(decisions(one), decisions(other))


def lines_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def count_runs(function, *args, **kwargs):
    """Return the result of a call, and how many runs it had to do."""
    done = []

    def listener(stage, n, total, info):
        if stage == "run" and "records" in info:
            done.append(info)

    with progress.listen(listener):
        result = function(*args, **kwargs)
    return result, len(done)


@pytest.fixture
def finished(table, tmp_path):
    """A finished experiment: (X, y, path of its file, its curves)."""
    path = tmp_path / "results.jsonl"
    return (*table, path, experiment(*table, path))


# -------------------------------------------------------------------- what is written


def test_one_record_a_round(finished):
    X, _, path, curves = finished
    header, session, *records = lines_of(path)
    assert header["n_samples"] == len(X)
    assert list(session["strategies"]) == ["random_sampling", "margin_sampling"]
    assert len(records) == len(curves) == 8 * N_RECORDS
    for run in range(8):
        rounds = records[run * N_RECORDS : (run + 1) * N_RECORDS]
        assert [record["round"] for record in rounds] == [0, 1, 2]
        assert [len(record["queried"]) for record in rounds] == [8, 5, 5]
    # nothing else stays behind
    assert [file.name for file in path.parent.iterdir()] == ["results.jsonl"]


def test_reading_gives_what_was_returned(finished):
    *_, path, curves = finished
    stored = BudgetCurves.from_results(path)
    pd.testing.assert_frame_equal(stored.frame, curves.frame)


def test_scores_that_are_not_finite(table, tmp_path):
    def undefined(estimator, X, y):
        return float("nan")

    path = tmp_path / "results.jsonl"
    first = experiment(*table, path, scoring=undefined)
    assert "NaN" not in path.read_text()
    assert first.frame["score_score"].isna().all()
    again, n_runs = count_runs(experiment, *table, path, scoring=undefined)
    assert n_runs == 0
    assert_same(first, again)


# ------------------------------------------------------------- going on and extending


def test_a_finished_experiment_is_only_read(finished):
    X, y, path, curves = finished
    before = path.read_bytes()
    again, n_runs = count_runs(experiment, X, y, path)
    assert n_runs == 0
    pd.testing.assert_frame_equal(again.frame, curves.frame)
    assert path.read_bytes() == before


def test_strategies_and_seeds_are_added(finished):
    X, y, path, curves = finished
    names = ["core_set", "random_sampling"]
    more, n_runs = count_runs(experiment, X, y, path, strategies=names, seeds=3)
    assert n_runs == 3 * 2 * 2 - 4  # core_set at 3 seeds, random at the third
    assert more.strategies == names
    alone = experiment(X, y, None, strategies=names, seeds=3)
    assert_same(more, alone)
    stored = BudgetCurves.from_results(path)
    assert stored.strategies == ["random_sampling", "margin_sampling", "core_set"]
    assert_same(stored.select(curves.strategies, seeds=[0, 1]), curves)


def test_parallel_runs_have_one_writer(finished):
    X, y, path, curves = finished
    other = path.with_name("other.jsonl")
    # threads: processes take long to start; test_budget_curve.py has some
    with joblib.parallel_config("threading", n_jobs=2):
        parallel = experiment(X, y, other, pre_dispatch="all")
    assert_same(parallel, curves)
    assert_same(BudgetCurves.from_results(other), curves)


class Stops(LogisticRegression):
    """Raises what it is told to at the fit with a number."""

    countdown = None
    error = RuntimeError

    def fit(self, X, y):
        if Stops.countdown is not None:
            Stops.countdown -= 1
            if Stops.countdown == 0:
                raise Stops.error("stopped")
        return super().fit(X, y)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("n_fits", [1, 5, 6, 24])
def test_what_was_done_is_kept(table, tmp_path, monkeypatch, error, n_fits):
    monkeypatch.setattr(limits, "seconds_between_states", 0.0)
    path = tmp_path / "results.jsonl"
    Stops.countdown, Stops.error = n_fits, error
    with pytest.raises(error, match="stopped"):
        experiment(*table, path, estimator=Stops())
    Stops.countdown = None
    n_done = (n_fits - 1) // N_RECORDS
    assert len(lines_of(path)) == 2 + n_done * N_RECORDS
    # the run that was cut off goes on: its fits but the last are not repeated
    Stops.countdown, Stops.error = 1000, AssertionError
    again, n_runs = count_runs(experiment, *table, path, estimator=Stops())
    n_fitted = 1000 - Stops.countdown
    Stops.countdown = None
    assert n_runs == 8 - n_done
    assert n_fitted == 8 * N_RECORDS - (n_fits - 1)
    assert_same(again, experiment(*table, None, estimator=Stops()))
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


SCRIPT = """
import sys
import time
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from dalmax_sk.evaluation import budget_curve
from dalmax_sk._base.limits import limits

limits.seconds_between_states = 0.0

class Slow(LogisticRegression):
    def fit(self, X, y):
        time.sleep(0.05)
        return super().fit(X, y)

Slow.__module__ = "somewhere"
X, y = make_classification(200, 6, n_informative=4, n_classes=3, random_state=0)
print("ready", flush=True)
budget_curve(
    Slow(), X, y, strategies=["random_sampling", "badge"], cv=2, seeds=2,
    n_initial=8, query_size=5, n_rounds=6, scoring="accuracy", results=sys.argv[1],
)
"""


def n_rounds_begun(folder):
    """Return how many rounds the run has that is under way, 0 if there is none."""
    for state in folder.glob("results.jsonl.runs/*/state.json"):
        with contextlib.suppress(FileNotFoundError):  # its run has just ended
            return len(json.loads(state.read_text())["history"])
    return 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on Windows")
def test_killed_and_gone_on_with(tmp_path):
    path = tmp_path / "results.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    # kill it inside the third run: two are in the file, the third has its state
    deadline = time.monotonic() + 60
    while not 3 <= n_rounds_begun(tmp_path) <= 5 or len(lines_of(path)) < 2 + 2 * 7:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    process.stdout.close()
    n_before = len(lines_of(path))
    assert 2 + 2 * 7 <= n_before < 2 + 8 * 7

    from sklearn.datasets import make_classification

    class Slow(LogisticRegression):
        n_fits = 0

        def fit(self, X, y):
            Slow.n_fits += 1
            return super().fit(X, y)

    Slow.__qualname__ = "Slow"
    X, y = make_classification(200, 6, n_informative=4, n_classes=3, random_state=0)
    given = {
        "strategies": ["random_sampling", "badge"],
        "cv": 2,
        "seeds": 2,
        "n_initial": 8,
        "query_size": 5,
        "n_rounds": 6,
        "scoring": "accuracy",
    }
    resumed = budget_curve(Slow(), X, y, results=path, **given)
    n_fits = Slow.n_fits
    whole = budget_curve(Slow(), X, y, **given)
    assert_same(resumed, whole)
    assert_same(BudgetCurves.from_results(path), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]
    # two runs and at least three rounds of the third were not done again, but for the
    # model of its last round
    assert n_fits <= 8 * 7 - 2 * 7 - 2


# ------------------------------------------------------------------------- bad files


def test_a_truncated_line(finished):
    X, y, path, curves = finished
    content = path.read_bytes()
    path.write_bytes(content[:-40])  # into the last record
    last = 2 + 8 * N_RECORDS
    with pytest.warns(
        UserWarning, match=rf"lines {last} are broken.*\(split 1, seed 1"
    ):
        stored = BudgetCurves.from_results(path)
    assert len(stored) == len(curves) - N_RECORDS
    assert path.read_bytes() == content[:-40]  # reading repairs nothing
    with pytest.warns(UserWarning, match=f"lines {last} are broken"):
        again, n_runs = count_runs(experiment, X, y, path)
    assert n_runs == 1
    assert_same(again, curves)
    assert_same(BudgetCurves.from_results(path), curves)  # and no warning


def test_broken_lines_in_between(finished):
    X, y, path, curves = finished
    lines = path.read_bytes().split(b"\n")
    lines[3] = lines[3][:30]
    lines[10] = b"\xff\x00 not json"
    lines[14] = b'{"strategy": "random_sampling"}'
    path.write_bytes(b"\n".join(lines))
    with pytest.warns(UserWarning, match="lines 4, 11, 15 are broken and left out"):
        again, n_runs = count_runs(experiment, X, y, path)
    assert n_runs == 3
    assert_same(again, curves)
    assert len(lines_of(path)) == 2 + 8 * N_RECORDS + 1  # one more session


def test_a_lost_line_end_loses_nothing(finished):
    X, y, path, curves = finished
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    again, n_runs = count_runs(experiment, X, y, path)
    assert n_runs == 0
    assert_same(again, curves)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "is no results file of budget_curve: its first line"),
        (b"[1, 2]\n", "is no results file of budget_curve"),
        (b"\x89PNG\r\n\x1a\n", "is no results file of budget_curve"),
        (b'{"kind": "x", "format": 1}\n', "holds 'x' in format 1; this version"),
        (
            b'{"kind": "results of dalmax_sk.evaluation.budget_curve", "format": 9}\n',
            "in format 9; this version of dalmax_sk reads",
        ),
    ],
)
def test_foreign_files_are_refused_and_left_alone(table, tmp_path, content, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        experiment(*table, path)
    with pytest.raises(ValueError, match=message):
        BudgetCurves.from_results(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_file_is_used(table, tmp_path):
    path = tmp_path / "results.jsonl"
    path.touch()
    experiment(*table, path)
    assert len(lines_of(path)) == 2 + 8 * N_RECORDS


def test_other_data_and_settings_are_named(finished):
    X, y, path, _ = finished
    before = path.read_bytes()

    def message(*data, **changes):
        with pytest.raises(ValueError, match="holds another experiment") as caught:
            experiment(*(data or (X, y)), path, **changes)
        return str(caught.value)

    assert ": X was" in message(X + 1, y)
    assert "; y was" not in message(X + 1, y)
    assert ": y was" in message(X, 1 - y % 2)
    assert "learner: estimator__C was 1.0, now 3.0" in message(
        estimator=LogisticRegression(C=3.0)
    )
    several = message(n_rounds=4, scoring="f1_macro", cv=3)
    assert "learner: n_rounds was 2, now 4" in several
    assert "learner: scoring was 'accuracy', now 'f1_macro'" in several
    assert "n_splits was 2, now 3" in several
    assert "splits was" in message(cv=ShuffleSplit(2, test_size=0.3))
    changed = {"margin_sampling": UncertaintySampling(measure="entropy")}
    assert "strategy 'margin_sampling' was {" in message(strategies=changed)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["results.jsonl"]


def test_another_version_is_worth_a_warning(finished):
    X, y, path, curves = finished
    header, rest = path.read_text().split("\n", 1)
    header = json.loads(header)
    header["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(header) + "\n" + rest)
    with pytest.warns(UserWarning, match=rf"numpy 1\.0 → {np.__version__}"):
        again = experiment(X, y, path)
    assert_same(again, curves)


def test_a_second_process_is_kept_out(finished):
    X, y, path, _ = finished
    lock = file_lock(path.with_name("results.jsonl.runs") / "lock")
    lock.acquire()
    with pytest.raises(
        ValueError, match=r"Another process is at work on .*results.jso"
    ):
        experiment(X, y, path)
    lock.release()
    experiment(X, y, path)


def test_the_folder_must_exist(table, tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*make it first"):
        experiment(*table, tmp_path / "none" / "results.jsonl")


def test_short_runs_write_no_states(table, tmp_path, monkeypatch):
    # a state that would save less than a second is not worth its file
    n_written = []
    monkeypatch.setattr(
        Checkpoint, "write", lambda self, state: n_written.append(state["history"])
    )
    experiment(*table, tmp_path / "results.jsonl")
    assert not n_written
    monkeypatch.setattr(limits, "seconds_between_states", 0.0)
    experiment(*table, tmp_path / "others.jsonl")
    assert len(n_written) >= 8 * N_RECORDS


def test_states_of_another_experiment_are_not_used(table, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "seconds_between_states", 0.0)
    # cut off, its file removed by hand, begun anew with other data
    path = tmp_path / "results.jsonl"
    Stops.countdown, Stops.error = 2, RuntimeError
    with pytest.raises(RuntimeError):
        experiment(*table, path, estimator=Stops())
    Stops.countdown = None
    path.unlink()
    assert n_rounds_begun(tmp_path) == 1
    X, y = table
    curves = experiment(X + 1, y, path, estimator=Stops())
    assert_same(curves, experiment(X + 1, y, None, estimator=Stops()))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"format": 1, "ru'])
def test_a_spoiled_state_begins_its_run_anew(table, tmp_path, monkeypatch, content):
    monkeypatch.setattr(limits, "seconds_between_states", 0.0)
    path = tmp_path / "results.jsonl"
    Stops.countdown, Stops.error = 3, RuntimeError
    with pytest.raises(RuntimeError):
        experiment(*table, path, estimator=Stops())
    Stops.countdown = None
    (state,) = tmp_path.glob("results.jsonl.runs/*/state.json")
    state.write_bytes(content)
    with pytest.warns(UserWarning, match=r"state\.json is spoiled .* begins anew"):
        curves = experiment(*table, path, estimator=Stops())
    assert_same(curves, experiment(*table, None, estimator=Stops()))
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


def test_functions_as_stopping_rules_are_known_again(table, tmp_path):
    def run(most):
        # every call makes other function objects
        learner = ActiveLearningClassifier(
            LogisticRegression(),
            n_initial=8,
            query_size=lambda n_round: 5,
            n_rounds=2,
            stopping=AllOf([lambda history: len(history) > most, Budget(90)]),
        )
        sizes = dict.fromkeys(("n_initial", "query_size", "n_rounds"))
        path = tmp_path / "results.jsonl"
        return experiment(*table, path, estimator=learner, **sizes)

    first = run(2)
    again, n_runs = count_runs(run, 2)
    assert n_runs == 0
    assert_same(first, again)
    with pytest.raises(ValueError, match=r"stopping was AllOf\(.*, now AllOf\("):
        run(1)


def test_data_in_another_memory_order_are_the_same(finished):
    X, y, path, curves = finished
    again, n_runs = count_runs(experiment, np.asfortranarray(X), y, path)
    assert n_runs == 0
    assert_same(curves, again)


def test_nothing_finished_yet(table, tmp_path):
    path = tmp_path / "results.jsonl"
    Stops.countdown, Stops.error = 1, RuntimeError
    with pytest.raises(RuntimeError):
        experiment(*table, path, estimator=Stops())
    Stops.countdown = None
    with pytest.raises(ValueError, match="holds no finished run yet"):
        BudgetCurves.from_results(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scores", {"accuracy": 1.47}),
        ("n_labeled", 9),
        ("peak_bytes", []),
        ("queried", [1.5]),
        ("seed", 7),
    ],
)
def test_a_changed_value_costs_its_run_only(finished, key, value):
    # property: no number that was not measured is compared with others
    *_, path, _ = finished
    lines = path.read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {key: value})
    path.write_text("\n".join([*lines, "[" * 100_000]) + "\n")
    with pytest.warns(UserWarning, match="lines 4, 27 are broken"):
        kept = BudgetCurves.from_results(path)
    assert len(kept) == 7 * N_RECORDS


def test_lines_without_a_checksum_are_read(finished):
    # those of older versions
    *_, path, curves = finished
    entries = lines_of(path)
    for entry in entries:
        entry.pop("crc32", None)
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    assert_same(BudgetCurves.from_results(path), curves)


def test_a_folder_is_no_results_file(table, tmp_path):
    with pytest.raises(ValueError, match="is a folder; give the name of a file in it"):
        experiment(*table, tmp_path)
    assert list(tmp_path.iterdir()) == []
