"""Two processes on the CPU (gloo) against one: the same nets, picks and files."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

from dalmax_sk._base.processes import (
    ProcessGroup,
    _deal_rows,
    join_process_group,
    process_group_of,
    process_share,
)
from dalmax_sk.cli import app
from dalmax_sk.cli.launch import count_gpus, run_processes
from dalmax_sk.cnn.batches import Batches
from dalmax_sk.images.source import TensorSource

pytest.importorskip("accelerate")

# One process and two add up the same numbers in another order. A few hundred steps of
# Adam make of that at most this much of a probability; of a float32 loss, less.
TOLERANCE = 1e-3

_FITS = """
import os, sys
import numpy as np
from sklearn.datasets import load_digits
from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk._base.processes import join_process_group

X, y = load_digits().images.astype(np.uint8) * 15, load_digits().target
several = "WORLD_SIZE" in os.environ
common = {"device": "multi" if several else "cpu", "max_epochs": 2, "batch_size": 50}
found = {}
# 303 rows: batches of 50 and 51, so that parts differ. Dropout and batch normalisation
# are those of the default net.
options = {
    "plain": {},
    "all": {
        "augment": True,
        "early_stopping": True,
        "class_weight": {i: 1.0 + i for i in range(10)},
    },
    "table": {"architecture": "mlp"},
    "frozen": {"freeze": "body.1"},
    "few": {"batch_size": 1, "max_epochs": 1, "architecture": "mlp"},
    # batches of 2, 2 and 1 rows are not divided; nor may their statistics be added up
    "few_images": {"batch_size": 2},
}
for name, extra in options.items():
    data = X.reshape(len(X), -1) if name in ("table", "few") else X
    n = 5 if name.startswith("few") else 303
    clf = CNNClassifier(random_state=0, **{**common, **extra}).fit(data[:n], y[:n])
    found[name] = clf.predict_proba(data[900:])
    found[name + "_loss"] = [e["train_loss"] for e in clf.history_]
    found[name + "_accuracy"] = [e["train_accuracy"] for e in clf.history_]
    found[name + "_buffers"] = np.concatenate(
        [b.double().numpy().ravel() for b in clf.module_.buffers()]
    )
clf = CNNClassifier(**common).fit(X[:100], y[:100])  # without a random_state
found["unseeded"] = clf.predict_proba(X[900:])
if several:
    with join_process_group().sharded_inference():
        # sixteen rows: the second process has none of them
        shared = clf.predict_proba_and_embeddings(X[900:])
        few = clf.predict_proba(X[900:916])
    alone = clf.predict_proba_and_embeddings(X[900:])
    assert all((a == b).all() for a, b in zip(shared, alone))
    assert np.array_equal(few, clf.predict_proba(X[900:916]))

asked = []


def oracle(rows, indices):
    asked.append(len(indices))
    return y[indices]


learner = ActiveLearningClassifier(
    CNNClassifier(**common), "margin_sampling", oracle=oracle, classes=range(10),
    n_initial=60, query_size=20, n_rounds=2, random_state=1,
    checkpoint_dir=os.path.join(sys.argv[1], f"state_of_{sys.argv[2]}"),
).fit(X[:900], np.full(900, np.nan), eval_set=(X[900:], y[900:]))
found["picks"] = learner.labeled_indices_
found["scores"] = [record["eval_accuracy"] for record in learner.history_]
found["asked"] = sum(asked)
rank = os.environ.get("RANK", "0")
np.savez(os.path.join(sys.argv[1], f"{sys.argv[2]}_{rank}.npz"), **found)
"""


def _environ(**more):
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "1",
        "PYTHONWARNINGS": "ignore",
        **more,
    }


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """What one process and both of two find, as npz files: one_0, two_0, two_1."""
    folder = tmp_path_factory.mktemp("fits")
    script = folder / "fits.py"
    script.write_text(_FITS)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for name, words in (("one", []), ("two", launcher)):
        subprocess.run(
            [sys.executable, *words, str(script), str(folder), name],
            env=_environ(),
            check=True,
            timeout=240,
        )
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))} | {
        "states": sorted(p.name for p in folder.glob("state_of_two/*"))
    }


def test_processes_end_with_the_same_bits(fits):
    first, second = fits["two_0"], fits["two_1"]
    for name in sorted(set(first) - {"asked"}):
        assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize(
    "name", ["plain", "all", "table", "frozen", "few", "few_images"]
)
def test_two_processes_train_as_one_does(fits, name):
    one, two = fits["one_0"], fits["two_0"]
    assert_allclose(two[name], one[name], atol=TOLERANCE)
    assert_allclose(two[f"{name}_loss"], one[f"{name}_loss"], rtol=TOLERANCE)
    assert_array_equal(two[f"{name}_accuracy"], one[f"{name}_accuracy"])
    buffers = f"{name}_buffers"  # running means and variances among them
    assert_allclose(two[buffers], one[buffers], rtol=TOLERANCE, atol=TOLERANCE)


def test_two_processes_pick_as_one_does(fits):
    one, two = fits["one_0"], fits["two_0"]
    assert_array_equal(two["picks"], one["picks"])
    assert_array_equal(two["scores"], one["scores"])


def test_only_the_first_process_asks_and_writes(fits):
    assert fits["two_0"]["asked"] == fits["one_0"]["asked"] == 100
    assert fits["two_1"]["asked"] == 0
    assert fits["states"] == ["state.json"]


# ------------------------------------------------------------------------ the program

# Ends a process by a signal at the nth report of a stage of progress.
_FUSE = """
import os, signal
rank, stage, number = os.environ.get("FUSE", "::").split(":")
if rank and os.environ.get("RANK") == rank:
    from dalmax_sk._base import progress
    left = [int(number)]

    def blow(seen, done, total, info):
        left[0] -= seen == stage
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    progress._listeners.append(blow)
"""
_FLAGS = "--n-initial 40 --query-size 10 --iterations 2 --epochs 3"


@pytest.fixture
def run_two(tmp_path, capfd, monkeypatch):
    """Run ``train-al --mult-gpu True`` in two processes; return code, output, error."""
    (tmp_path / "sitecustomize.py").write_text(_FUSE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def run(flags, fuse="::"):
        words = ["train-al", "--dir-results", str(tmp_path / "two"), "--mult-gpu"]
        words += ["True", *shlex.split(flags)]
        more = _environ(FUSE=fuse, PYTHONPATH=path, COLUMNS="1000")
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        code = run_processes(2, words, after_death="Gone on with so.")
        return code, *capfd.readouterr()

    return run


def _read(folder):
    folder = folder / "active_learning" / "uncertainty_sampling"
    return folder, json.loads((folder / "run.json").read_text("utf-8"))


def _decisions(record):
    picks = [[pick["row"] for pick in entry["picked"]] for entry in record["rounds"]]
    return record["initial"], picks, record["test"]["accuracy"]


@pytest.mark.slow  # each start of two processes takes seconds
def test_a_run_survives_the_death_of_a_process(run_two, tmp_path):
    words = ["train-al", "--dir-results", tmp_path / "one", *shlex.split(_FLAGS)]
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    torch.set_num_threads(n_threads)

    # the second process dies in the training of round 1
    started = time.monotonic()
    code, out, err = run_two(_FLAGS, "1:epoch:5")
    assert time.monotonic() - started < 120
    assert code == 1
    assert out.count("round 0/2") == 1  # process 0 alone speaks
    assert "process 0 of 2 cannot go on" in err
    assert "--resume" in err
    assert "Process 1 of 2 was killed by SIGKILL" in err
    assert "Traceback" not in err
    assert _read(tmp_path / "two")[1]["status"] == "failed"

    # the first one dies in the pass over the pool: it cannot say anything
    code, out, err = run_two(f"{_FLAGS} --resume", "0:picked:1")
    assert code == 1
    assert "Process 0 of 2 was killed by SIGKILL" in err
    assert "Gone on with so." in err
    assert "Traceback" not in err

    code, out, err = run_two("--resume")
    assert code == 0, err
    folder, record = _read(tmp_path / "two")
    assert record["status"] == "finished"
    assert _decisions(record) == _decisions(_read(tmp_path / "one")[1])
    other = tmp_path / "one" / "active_learning" / "uncertainty_sampling"
    files = [
        sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        for root in (folder, other)
    ]
    assert files[0] == files[1]


@pytest.mark.slow
def test_mistakes_are_told_once(run_two):
    code, _, err = run_two("--type core_sett")
    assert code == 2
    assert err.count("core_sett") == 1


def _is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "code", "status", "words"),
    [
        (signal.SIGINT, 130, "interrupted", "interrupted"),
        # as any failure in the first training, it leaves nothing
        (signal.SIGTERM, 143, None, "Another process of this run has ended"),
        (signal.SIGKILL, -9, "interrupted", "interrupted"),
    ],
)
def test_the_end_of_the_launcher_ends_all(tmp_path, number, code, status, words):
    program = (
        "import sys; from dalmax_sk.cli.launch import run_processes;"
        "sys.exit(run_processes(2, sys.argv[1:]))"
    )
    flags = ["train-al", "--dir-results", str(tmp_path), "--epochs", "5000"]
    launcher = subprocess.Popen(
        [sys.executable, "-c", program, *flags, "--mult-gpu", "True"],
        env=_environ(COLUMNS="1000"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    checkpoint = tmp_path / "active_learning/uncertainty_sampling/checkpoint/state.json"
    deadline = time.monotonic() + 180
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    assert len(children.split()) == 2
    launcher.send_signal(number)
    _, err = launcher.communicate(timeout=60)  # until all have closed their ends
    assert launcher.returncode == code
    assert not any(map(_is_running, children.split()))
    assert err.count(words) == 1
    assert err.count("--resume") == 1
    assert "Traceback" not in err
    run_file = tmp_path / "active_learning/uncertainty_sampling/run.json"
    found = json.loads(run_file.read_text())["status"] if run_file.exists() else None
    assert found == status


# ------------------------------------------------------------------------ the parts


def test_the_program_counts_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_gpus() == 4


def test_the_program_starts_a_process_for_each_gpu(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("dalmax_sk.cli.run.model.count_gpus", lambda: 3)
    monkeypatch.setattr(
        "dalmax_sk.cli.run.model.run_processes",
        lambda n, words, after_death: seen.append((n, words, after_death)) or 5,
    )
    words = ["train-al", "--mult_gpu", "True", "--dir-results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["dalmax", *words])
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 5
    ((n, given, after_death),) = seen
    assert (n, given) == (3, words)
    assert "--resume" in after_death


@pytest.mark.parametrize("n_samples", [1, 7, 64, 4096, 10_001])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_rows_are_dealt_in_whole_batches(n_samples, count):
    turns = _deal_rows(n_samples, 64, count)
    rows = [np.arange(n_samples)[part] for turn in turns for part in turn]
    assert_array_equal(np.concatenate(rows), np.arange(n_samples))
    starts = [part.start for turn in turns for part in turn if part.start < part.stop]
    assert all(start % 64 == 0 for start in starts)
    assert {len(turn) for turn in turns} == {count}
    # nobody waits for long: the turns are of nearly equal size
    n_batches = -(-n_samples // 64)
    longest = sum(max(part.stop - part.start for part in turn) for turn in turns)
    assert longest <= (-(-n_batches // count) + len(turns)) * 64


@pytest.mark.parametrize(("n", "batch_size"), [(50, 7), (9, 4), (5, 1), (2, 64)])
def test_parts_of_batches_are_the_whole_batches(n, batch_size, monkeypatch):
    from dalmax_sk.cnn.multi_gpu import ShardedBatches

    source = TensorSource(torch.arange(n, dtype=torch.float64)[:, None])
    y = torch.arange(n) % 3
    weight = torch.tensor([1.0, 2.0, 5.0])
    common = (source, torch.arange(n), y, batch_size, torch.device("cpu"))
    whole = list(Batches(*common))
    monkeypatch.setattr(ProcessGroup, "broadcast", lambda self, value: value)
    count = 3
    shared = [
        ShardedBatches(*common, group=ProcessGroup(i, count)) for i in range(count)
    ]
    divided = min(len(y) for _, y in whole) >= count
    n_seen = 0
    for (X, labels), *parts in zip(whole, *shared, strict=True):
        n_seen += 1
        sizes = [len(part_y) for _, part_y in parts]
        for got_X, got_y in parts:
            assert len(got_X) == len(got_y)
        if divided:
            assert max(sizes) - min(sizes) <= 1
            assert torch.equal(torch.cat([part for part, _ in parts]), X)
            assert torch.equal(torch.cat([part for _, part in parts]), labels)
        else:
            assert all(torch.equal(part, X) for part, _ in parts)
        # the mean over the processes of the weighted means is the mean of the batch
        losses = X[:, 0].square() + 1
        for w in (None, weight):
            own = [
                batches.part.weight(batches.y_whole, w)
                * _mean(part[:, 0].square() + 1, part_y, w)
                for batches, (part, part_y) in zip(shared, parts, strict=True)
            ]
            assert_allclose(sum(own) / count, _mean(losses, labels, w))
    assert n_seen == len(whole)


def _mean(losses, y, weight):
    weights = torch.ones(len(y)).double() if weight is None else weight[y].double()
    return float((weights * losses).sum() / weights.sum())


@pytest.mark.slow
def test_workers_of_joblib_do_not_join(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    get_reusable_executor().shutdown()  # workers know the environment they began in
    with pytest.raises(RuntimeError, match=r"worker process of joblib.*n_jobs=1"):
        Parallel(n_jobs=2)(delayed(join_process_group)() for _ in range(2))
    get_reusable_executor().shutdown()


def test_one_process_is_a_group_of_its_own():
    assert process_group_of(object()) == ProcessGroup(0, 1)
    assert process_share() == (0, 1)
    with ProcessGroup(1, 3).sharded_inference():
        assert process_share() == (1, 3)
    assert process_share() == (0, 1)
    assert ProcessGroup().run_on_rank0(int, "3") == 3
    assert ProcessGroup().gather("x") == ["x"]
