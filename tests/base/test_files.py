"""Locks on files."""

import os
import subprocess
import sys

import pytest
from filelock import Timeout

from dalmax_sk._base.files import file_lock, release_and_remove


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "new" / "lock"
    first, second = file_lock(path), file_lock(path)
    first.acquire()
    with pytest.raises(Timeout):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    second.release()  # twice is harmless


_HOLD = """
import os, sys
from dalmax_sk._base.files import file_lock
lock = file_lock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    lock = file_lock(path)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Timeout):
            lock.acquire()
        holder.kill()
        holder.wait()
        lock.acquire()
    lock.release()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the file")
def test_a_removed_lock_file_is_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    first, second, third = (file_lock(path) for _ in range(3))
    first.acquire()
    real_open = os.open

    def open_then_remove(name, *args, **kwargs):
        # the holder removes the file that the second one has just opened
        file = real_open(name, *args, **kwargs)
        if os.fspath(name) == os.fspath(path) and first.is_locked:
            release_and_remove(first)
        return file

    monkeypatch.setattr(os, "open", open_then_remove)
    second.acquire()
    monkeypatch.undo()
    assert not first.is_locked
    with pytest.raises(Timeout):
        third.acquire()
    release_and_remove(second)
    assert not path.exists()
    release_and_remove(second)  # twice is harmless
