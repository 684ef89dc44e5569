"""Files: locks, all-or-nothing writes, and names that stay in their folder."""

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest
from filelock import Timeout

from dalmax_sk._base.files import (
    file_lock,
    inside,
    is_disk_full,
    open_regular,
    release_and_remove,
    replacing,
    write_text,
    writing,
)


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


# ----------------------------------------------------------------------------- writing


def test_writers_of_one_file_do_not_meet(tmp_path):
    # property: each writes a file of its own; one of them wins, nothing stays behind
    path, failures = tmp_path / "state.json", []

    def write(text):
        try:
            for _ in range(50):
                write_text(path, text, sync=False)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(10_000 * c,)) for c in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert path.read_text() in [10_000 * c for c in "abc"]
    assert list(tmp_path.iterdir()) == [path]


def test_planted_links_are_not_followed(tmp_path, monkeypatch):
    # not even by somebody who knows the temporary name beforehand
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "results"
    folder.mkdir()
    os.symlink(victim, folder / f".{'0' * 16}.dalmax-part")
    os.symlink(victim, folder / "run.json")
    with pytest.raises(FileExistsError):
        write_text(folder / "run.json", "{}")
    monkeypatch.undo()
    write_text(folder / "run.json", "{}")
    assert not (folder / "run.json").is_symlink()
    assert victim.read_text() == "precious"


def test_files_of_dead_writers_are_removed(tmp_path):
    # property: a process' first write into a folder removes what nobody holds
    dead, live = (tmp_path / f".{c * 16}.dalmax-part" for c in "ab")
    other = tmp_path / ".run.json.part"
    for file in (dead, live, other):
        file.touch()
    with open(live) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_text(tmp_path / "run.json", "{}")
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {live.name, other.name, "run.json"}


@pytest.mark.parametrize("sync", [True, False])
def test_content_is_on_the_disk_before_the_name_and_then_the_name(
    tmp_path, monkeypatch, sync
):
    # property: a power cut after the block loses nothing, and one within it leaves the
    # old content
    steps = []

    def watched(name, real):
        def call(*args):
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            steps.append(f"{name} of the folder" if is_folder else name)
            return real(*args)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    write_text(tmp_path / "a", "new", sync=sync)
    assert steps == (
        ["fsync", "replace", "fsync of the folder"] if sync else ["replace"]
    )


def test_the_longest_name_can_be_written(tmp_path):
    name = "ä" * (os.pathconf(tmp_path, "PC_NAME_MAX") // 2)
    assert write_text(tmp_path / name, "text").read_text() == "text"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (OSError("encoder error -2"), errno.EIO),
    ],
)
def test_errors_of_writing_name_the_file(tmp_path, error, number):
    file = write_text(tmp_path / "a.txt", "old")

    def fail(context):
        with context:
            raise error

    for context in (replacing(file), writing(file)):
        with pytest.raises(OSError, match=str(file)) as caught:
            fail(context)
        assert caught.value.filename == str(file)
        assert caught.value.errno == number
        assert is_disk_full(caught.value) == (number == errno.ENOSPC)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "old"
    missing = tmp_path / "absent" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught:
        write_text(missing, "text")
    assert caught.value.filename == str(missing)


# ----------------------------------------------------------------------------- reading


def test_only_regular_files_are_opened(tmp_path):
    # property: nothing that may keep its reader waiting for ever
    os.mkfifo(tmp_path / "pipe")
    os.symlink(tmp_path / "pipe", tmp_path / "link")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        own = [tmp_path / name for name in ("pipe", "socket", "link")]
        for path in (*own, "/dev/zero"):
            with pytest.raises(OSError, match="not a regular file"):
                open_regular(path)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    os.symlink(write_text(tmp_path / "a.txt", "text"), tmp_path / "b.txt")
    with open_regular(tmp_path / "b.txt") as file:
        assert file.read() == b"text"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/passwd", "../x", "a/../../x", "a\0b", None, 3, "out/x"],
)
def test_names_that_lead_out(tmp_path, name):
    # property: neither read nor removed, whatever a record says
    folder = tmp_path / "run"
    folder.mkdir()
    os.symlink(tmp_path, folder / "out")
    with pytest.raises(ValueError, match="leads out of the folder"):
        inside(folder, name)


def test_names_inside(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "run")
    folder = tmp_path / "run"  # a link itself, which its owner gave
    os.symlink(tmp_path / "real" / "b", folder / "a")
    os.symlink(tmp_path, folder / "out")
    for name in ("a", "x/y.png", ".hidden/..y"):
        assert inside(folder, name) == folder / name
    assert inside(folder, "out/y.png", follow_links=True) == folder / "out/y.png"
    with pytest.raises(ValueError, match="leads out"):
        inside(folder, "../y.png", follow_links=True)
