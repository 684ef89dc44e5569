"""Worker processes that are killed: what is said, and what is kept."""

import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from dalmax_sk._base.processes import WorkerDiedError, explain_worker_death
from dalmax_sk.evaluation import BudgetCurves, budget_curve

# A script, whose classes joblib's workers get by value.
_SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from dalmax_sk.evaluation import budget_curve

fuse, results = Path(sys.argv[1]), sys.argv[2]


class Mortal(LogisticRegression):
    # kills its process once, in the last round of a run
    def fit(self, X, y):
        if len(y) >= 18 and fuse.exists() and len(os.listdir(fuse.parent)) > 1:
            fuse.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


X, y = load_iris(return_X_y=True)
curves = budget_curve(
    Mortal(max_iter=300), X, y, strategies=["random_sampling", "margin_sampling"],
    cv=2, seeds=2, scoring="accuracy", n_initial=6, query_size=6, n_rounds=2,
    results=results, n_jobs=2,
)
curves.to_csv(fuse.parent / "curves.csv")
"""


@pytest.fixture
def experiment(tmp_path):
    script = tmp_path / "experiment.py"
    script.write_text(_SCRIPT)

    def run(folder, fuse):
        words = [script, fuse, folder / "results.jsonl"]
        return subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.slow
def test_a_killed_worker_is_explained_and_the_results_go_on(experiment, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    fuse = folder / "fuse"
    fuse.touch()
    killed = experiment(folder, fuse)
    assert killed.returncode == 1
    last = killed.stderr.strip().splitlines()[-1]
    assert last.startswith("dalmax_sk._base.processes.WorkerDiedError: budget_curve, ")
    for words in ("of 8 runs done", "killed", "memory", "n_jobs", "results.jsonl"):
        assert words in last
    # the same call again ends what is left; nothing is done twice or otherwise
    resumed = experiment(folder, fuse)
    assert resumed.returncode == 0, resumed.stderr
    columns = ["strategy", "split", "seed", "round", "n_labeled", "score_accuracy"]
    found = BudgetCurves.from_csv(folder / "curves.csv").frame[columns]
    X, y = load_iris(return_X_y=True)
    expected = budget_curve(
        LogisticRegression(max_iter=300),
        X,
        y,
        strategies=["random_sampling", "margin_sampling"],
        cv=2,
        seeds=2,
        scoring="accuracy",
        n_initial=6,
        query_size=6,
        n_rounds=2,
    ).frame[columns]
    assert_frame_equal(found, expected, check_dtype=False)


def test_other_errors_pass_through():
    with pytest.raises(KeyError), explain_worker_death("Working"):
        raise KeyError("x")
    with (
        pytest.raises(WorkerDiedError, match=r"^Working: a worker .* RoundCache\.$"),
        explain_worker_death("Working", "RoundCache."),
    ):
        raise BrokenExecutor


_WAITING = """
import os, sys, time
from pathlib import Path
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from dalmax_sk.evaluation import budget_curve

folder = Path(sys.argv[1])


class Waiting(LogisticRegression):
    def fit(self, X, y):
        (folder / str(os.getpid())).touch()
        time.sleep(60)


X, y = load_iris(return_X_y=True)
budget_curve(
    Waiting(), X, y, strategies=["random_sampling"], cv=2, seeds=2, n_initial=6,
    query_size=6, n_rounds=1, n_jobs=2,
)
"""


def _is_alive(process):
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_their_parent(tmp_path):
    # property: what goes on with an experiment at once meets no process of the old one
    (tmp_path / "script.py").write_text(_WAITING)
    folder = tmp_path / "pids"
    folder.mkdir()
    words = [sys.executable, tmp_path / "script.py", folder]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.DEVNULL) as parent:
        end = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        parent.kill()
    workers = [int(file.name) for file in folder.iterdir()]
    assert len(workers) == 2
    end = time.monotonic() + 15
    while any(map(_is_alive, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(_is_alive, workers))
