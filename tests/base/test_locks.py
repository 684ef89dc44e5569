"""Locks on files."""

import os

import pytest

from dalmax_sk._base.files import FileLock


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "new" / "lock"
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    with pytest.raises(BlockingIOError):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    second.release()  # twice is harmless
    assert path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the file")
def test_a_removed_lock_file_is_no_lock(tmp_path):
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    first.acquire()
    # somebody opened the file before it was removed: that file locks nothing now
    second.acquire_opened = open(tmp_path / "lock", "a")
    first.release(remove=True)
    assert not (tmp_path / "lock").exists()
    assert not second._is_at_path(second.acquire_opened)
    second.acquire_opened.close()
    second.acquire()
    with pytest.raises(BlockingIOError):
        third.acquire()
    second.release(remove=True)
