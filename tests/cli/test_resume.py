"""A run that was stopped anywhere and resumed ends like one that never was."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import dalmax_sk
from dalmax_sk._base import progress

REPOSITORY = Path(dalmax_sk.__file__).parent.parent


class Killed(BaseException):
    """Stands for SIGKILL in this process: no `except Exception` sees it."""


def read_run(folder):
    return json.loads((folder / "run.json").read_text("utf-8"))


@pytest.fixture
def uninterrupted(run_cli, run_folder, snapshot):
    """What the run leaves when nothing stops it."""
    result = run_cli()
    assert result.exit_code == 0, result.output
    expected = snapshot(run_folder)
    run_folder.parent.rename(run_folder.parent.with_name("uninterrupted"))
    return expected


@pytest.fixture
def kill_at(monkeypatch):
    """Kill this process' run at the n-th moment that a kill could tell apart.

    The moments: every progress report (an epoch, a pass over the pool, a round), and
    just before and just after every file gets its name. With n=None they are counted.
    Returns the moments up to then and the run's result, None if it was killed.
    """

    def run_armed(run, n, error=Killed):
        moments = []
        replace = os.replace

        def tick(name):
            moments.append(name)
            if len(moments) - 1 == n:
                raise error(name)

        def watched_replace(source, target):
            tick(f"before {os.path.basename(target)}")
            replace(source, target)
            tick(f"after {os.path.basename(target)}")

        result = None
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", watched_replace)
            with progress.listen(lambda stage, *_: tick(stage)), suppress(Killed):
                result = run()
        return moments, result

    return run_armed


@pytest.mark.parametrize("step", [60, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_and_resumed(
    run_cli, run_folder, snapshot, kill_at, uninterrupted, step
):
    # property: whatever the moment, --resume ends with the same picks, metrics, copies,
    # figures and weights as the run that nothing stopped
    flags = "--refit scratch --resume"
    moments, result = kill_at(lambda: run_cli(flags), None)
    assert result.exit_code == 0
    expected = snapshot(run_folder)
    run_folder.parent.rename(run_folder.parent.with_name("counted"))
    assert expected == uninterrupted

    # Every so many moments, and the files that decide where a run goes on.
    numbers = set(range(0, len(moments), step))
    for file in ("run.json", "state.json"):
        found = [i for i, name in enumerate(moments) if name.endswith(file)]
        numbers |= {found[0], found[len(found) // 2], found[-1]}
    assert len(numbers) >= 6
    for number in sorted(numbers):
        _, result = kill_at(lambda: run_cli(flags), number)
        assert result is None, (moments[number], result.output)
        result = run_cli(flags)
        assert result.exit_code == 0, (moments[number], result.output)
        assert snapshot(run_folder) == expected, moments[number]
        target = run_folder.parent.with_name(f"killed_{number}")
        run_folder.parent.rename(target)


@pytest.mark.slow
def test_killed_over_and_over(run_cli, run_folder, snapshot, kill_at, uninterrupted):
    # property: a run that only ever gets a few steps further still arrives
    for _ in range(20):
        _, result = kill_at(lambda: run_cli("--resume"), 50)
        if result is not None:
            break
    assert result.exit_code == 0
    assert snapshot(run_folder) == uninterrupted
    sessions = read_run(run_folder)["sessions"]
    assert len(sessions) > 2
    assert sessions[-1]["status"] == "finished"


@pytest.mark.slow
def test_warm_starts_are_resumed_too(run_cli, run_folder, snapshot, kill_at):
    # property: the same with refit=continue, whose weights hang on all earlier rounds
    flags = "--refit continue --resume"
    moments, result = kill_at(lambda: run_cli(flags), None)
    assert result.exit_code == 0
    expected = snapshot(run_folder)
    run_folder.parent.rename(run_folder.parent.with_name("counted"))
    epochs = [number for number, name in enumerate(moments) if name == "epoch"]
    for number in (epochs[1], epochs[-2]):
        _, result = kill_at(lambda: run_cli(flags), number)
        assert result is None, (moments[number], result.output)
        assert run_cli(flags).exit_code == 0
        assert snapshot(run_folder) == expected, moments[number]
        run_folder.parent.rename(run_folder.parent.with_name(f"killed_{number}"))


@pytest.mark.parametrize(
    "stage", ["epoch", pytest.param("round", marks=pytest.mark.slow)]
)
def test_ctrl_c(run_cli, run_folder, snapshot, kill_at, uninterrupted, stage):
    # properties: exit code 130, no traceback, a command that goes on and arrives at the
    # same end; training in particular does not shrug the interrupt off
    moments, _ = kill_at(lambda: run_cli(), None)
    run_folder.parent.rename(run_folder.parent.with_name("counted"))
    number = [n for n, name in enumerate(moments) if name == stage][2]
    _, result = kill_at(lambda: run_cli(), number, KeyboardInterrupt)
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr
    assert "Every finished round and query is kept" in result.stderr
    assert read_run(run_folder)["status"] == "interrupted"

    command = re.search(r"train-al .*--resume", result.stderr)[0]
    flags = shlex.join(shlex.split(command)[1:])
    assert run_cli(flags, quick=False, data=False).exit_code == 0
    assert snapshot(run_folder) == uninterrupted


def test_resume_of_a_finished_run_changes_nothing(run_cli, run_folder):
    run_cli()
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}
    result = run_cli("--resume")
    assert result.exit_code == 0
    assert "is finished; nothing is left to do" in result.stdout
    assert {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")} == before


def test_more_rounds_continue_a_finished_run(
    run_cli, run_folder, snapshot, uninterrupted
):
    # property: the longer run is the one that had all rounds from the start
    assert run_cli("--iterations 1").exit_code == 0
    result = run_cli("--resume --iterations 3", quick=False, data=False)
    assert result.exit_code == 0, result.output
    assert snapshot(run_folder) == uninterrupted
    result = run_cli("--resume --iterations 2", quick=False, data=False)
    assert result.exit_code == 2
    assert "--iterations 2 is fewer than the 3 rounds" in result.stderr


def test_resume_without_a_run_begins_one(run_cli, run_folder, snapshot, uninterrupted):
    assert run_cli("--resume").exit_code == 0
    assert snapshot(run_folder) == uninterrupted


@pytest.fixture
def stopped(run_cli, kill_at, uninterrupted):
    """A run killed in its second round."""
    _, result = kill_at(lambda: run_cli(), 40)
    assert result is None


@pytest.mark.usefixtures("stopped")
def test_resume_takes_the_runs_settings(run_cli, run_folder, snapshot, uninterrupted):
    # property: flags left out are the run's, not the defaults
    result = run_cli("--resume", quick=False, data=False)
    assert result.exit_code == 0, result.output
    assert snapshot(run_folder) == uninterrupted


@pytest.mark.usefixtures("stopped")
def test_resume_with_other_settings_names_them(run_cli, run_folder):
    before = (run_folder / "run.json").read_bytes()
    result = run_cli("--resume --epochs 3 --lr 0.5 --seed 0", quick=False)
    assert result.exit_code == 2
    assert "--epochs was 2, now 3; --lr was 0.001, now 0.5." in result.stderr
    assert "--seed" not in result.stderr
    assert (run_folder / "run.json").read_bytes() == before


@pytest.mark.usefixtures("stopped")
def test_resume_with_other_images_is_refused(run_cli, images):
    # property: row numbers would shift, so a changed folder is an error
    (images / "train/grass/new.png").write_bytes(
        (images / "train/grass/1.png").read_bytes()
    )
    result = run_cli("--resume")
    assert result.exit_code == 2
    assert "(24 images then, 25 now)" in result.stderr


@pytest.mark.usefixtures("stopped")
@pytest.mark.slow
def test_resume_under_other_versions_is_noted(run_cli, run_folder):
    run = read_run(run_folder)
    run["versions"]["torch"] = "1.0"
    (run_folder / "run.json").write_text(json.dumps(run))
    result = run_cli("--resume")
    assert result.exit_code == 0
    assert f"torch 1.0 → {torch.__version__.split('+')[0]}" in result.stderr


@pytest.mark.usefixtures("stopped")
@pytest.mark.slow
def test_total_time_is_summed_over_the_parts(run_cli, run_folder):
    run = read_run(run_folder)
    run["sessions"][0]["seconds"] = 1000.0
    (run_folder / "run.json").write_text(json.dumps(run))
    assert run_cli("--resume").exit_code == 0
    text = (run_folder / "infos.txt").read_text()
    assert 1000 < float(text.split()[2]) < 1100
    assert read_run(run_folder)["total_seconds"] > 1000


# --------------------------------------------------------------------- real signals

# Runs the program in a process of its own and stops it there at a stage of the learner.
_DRIVER = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from dalmax_sk._base import progress
from dalmax_sk.active_learning.checkpoint import Checkpoint
from dalmax_sk.cli import main
place, count = sys.argv.pop(1), int(sys.argv.pop(1))
number = getattr(signal, sys.argv.pop(1))

def tick(name):
    global count
    if name == place:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), number)

write = Checkpoint.write
def watched_write(self, state):
    write(self, state)
    tick("queried" if state["round"]["query_seconds"] else "saved")

Checkpoint.write = watched_write
with progress.listen(lambda stage, *_: tick(stage)):
    main()
"""


def run_in_a_process(flags, *driver):
    words = [sys.executable, "-c", _DRIVER, *driver, "train-al", *shlex.split(flags)]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(words, capture_output=True, text=True, env=env, check=False)


def flags_for(images, folder):
    from_here = {
        "--dir-results": folder.parents[1],
        "--dir-train": images / "train",
        "--dir-test": images / "test",
    }
    flags = " ".join(f"{name} {shlex.quote(str(p))}" for name, p in from_here.items())
    quick = "--n-initial 6 --query-size 4 --iterations 3 --epochs 2 --image-size 8"
    return f"{flags} {quick}"


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("epoch", 4),
        pytest.param("queried", 2, marks=pytest.mark.slow),
        pytest.param("saved", 3, marks=pytest.mark.slow),
        pytest.param("round", 2, marks=pytest.mark.slow),
    ],
)
def test_kill_9(images, run_cli, run_folder, snapshot, uninterrupted, place, count):
    # property: the same with the real signal: in a fit, after a query, after a fit
    killed = run_in_a_process(
        flags_for(images, run_folder), place, str(count), "SIGKILL"
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_run(run_folder)["status"] == "running"
    assert run_cli("--resume").exit_code == 0
    assert snapshot(run_folder) == uninterrupted


@pytest.mark.slow
def test_sigint(images, run_cli, run_folder, snapshot, uninterrupted):
    # property: Ctrl-C in the middle of a fit: 130, one note, nothing lost
    flags = flags_for(images, run_folder)
    started = time.monotonic()
    stopped = run_in_a_process(flags, "epoch", "4", "SIGINT")
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "interrupted" in stopped.stderr
    assert time.monotonic() - started < 60
    assert run_cli("--resume").exit_code == 0
    assert snapshot(run_folder) == uninterrupted


def test_a_moved_folder_is_the_same_run(run_cli, run_folder, tmp_path):
    # property: where the results lie is no setting of the run
    assert run_cli().exit_code == 0
    moved = tmp_path / "moved"
    (tmp_path / "results").rename(moved)
    result = run_cli(f"--resume --dir-results {shlex.quote(str(moved))}")
    assert result.exit_code == 0, result.output
    assert "is finished; nothing is left to do" in result.stdout
    assert not run_folder.exists()


@pytest.mark.parametrize(
    "name",
    ["report.html", pytest.param("learning_curve.pdf", marks=pytest.mark.slow)],
)
def test_resume_of_a_finished_run_writes_what_is_missing(
    run_cli, run_folder, snapshot, uninterrupted, name
):
    # property: a kill between the last record and the page costs neither
    run_cli()
    (run_folder / name).unlink()
    result = run_cli("--resume")
    assert result.exit_code == 0, result.output
    assert (run_folder / name).is_file()
    assert snapshot(run_folder) == uninterrupted


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("n_trials", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_damaged_records_are_user_errors(
    run_cli, run_folder, dalmax, damaged, tmp_path, n_trials
):
    # property: whatever is changed in run.json, no command ends in a traceback
    run = read_run(run_folder)
    results = tmp_path / "results"
    for seed in range(n_trials):
        (run_folder / "run.json").write_text(json.dumps(damaged(run, seed)))
        command = [
            ["train-al", "--dir-results", results],
            ["train", "--dir-train", run_folder / "selected_images", "--n-labels", "x"],
            ["train", "--type", "random", "--like", run_folder, "--dir-test", "/dev"],
            ["report", results],
        ][seed % 4]
        result = dalmax(*command)
        assert result.exit_code in (0, 2), (seed, command, result.exception)
