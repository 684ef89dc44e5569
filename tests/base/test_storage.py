"""Arrays beyond memory: files that leave nothing behind, and disks that are full."""

import errno
import gc
import mmap
import os
import re
import subprocess
import sys
import tempfile

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix

from dalmax_sk._base import storage as _storage
from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import (
    SpillError,
    allocate,
    by_rows,
    is_mapped,
    release_pages,
    row_blocks,
    rows_within,
    take_rows,
)
from dalmax_sk.selection.kit.arrays import (
    as_matrix,
    as_type,
    measured_matrix,
    origin_of,
)

needs_madvise = pytest.mark.skipif(
    not hasattr(mmap, "MADV_DONTNEED") or sys.platform != "linux",
    reason="only Linux gives pages back at once and tells how many are resident",
)


def on_disk(array):
    """Return a copy that is a temporary file."""
    array = np.asarray(array)
    out = allocate(array.shape, array.dtype, max_memory=0, what="a test")
    out[...] = array
    return out


def resident(array):
    """Return by how many bytes resident memory falls when an array's pages go."""
    before = _rss()
    release_pages(array)
    return before - _rss()


def _rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def numbers(n, d, dtype="float32"):
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


def test_small_arrays_are_in_memory_and_large_ones_are_not():
    small = allocate((10, 4), "float32", max_memory=160, what="a test")
    large = allocate((10, 4), "float32", max_memory=159, what="a test")
    assert not is_mapped(small)
    assert is_mapped(large)
    for array in (small, large):
        assert array.shape == (10, 4)
        assert array.dtype == np.float32
        assert array.flags.writeable
    assert not large.any()


def test_a_file_has_no_name_and_goes_with_its_array(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(_storage._known)
    array = allocate((2**20,), "float64", max_memory=0, what="a test")
    view = torch.from_numpy(array)[5:]
    if os.name == "posix":
        assert not list(tmp_path.iterdir())
    assert is_mapped(array)
    assert len(_storage._known) == before + 1
    array[7] = 3.0
    del array
    gc.collect()
    assert view[2] == 3.0  # a view keeps the mapping
    del view
    gc.collect()
    assert len(_storage._known) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="nameless files are a POSIX matter")
def test_a_killed_process_leaves_no_file(tmp_path):
    code = (
        "import os, signal\n"
        "from dalmax_sk._base.storage import allocate\n"
        "array = allocate((1000, 100), 'float64', max_memory=0, what='a test')\n"
        "array[:] = 1\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -9
    assert not list(tmp_path.iterdir())


def test_the_disk_sets_the_blocks_aside():
    with tempfile.TemporaryFile() as file:
        _storage._reserve(file.fileno(), 10**6)
        status = os.fstat(file.fileno())
    assert status.st_size == 10**6
    if hasattr(status, "st_blocks"):
        assert status.st_blocks * 512 >= 10**6


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_zeros_are_written_where_nothing_can_be_reserved(monkeypatch, code):
    def refuse(*args):
        raise OSError(code, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    array = allocate((3 * 2**20 + 5,), "uint8", max_memory=0, what="a test")
    assert is_mapped(array)
    assert not array.any()


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SpillError) as info:
        allocate((1000, 4), "float32", max_memory=99, what="the embeddings of 9 cats")
    assert isinstance(info.value, OSError)
    assert info.value.errno == errno.ENOSPC
    assert re.search(
        r"The embeddings of 9 cats take 16,000 bytes.* max_memory=99, .* temporary "
        rf"file in {re.escape(str(tmp_path))}, which has [\d,]+ bytes free: "
        r"No space left on device\. Set .*TMPDIR.*max_memory.*Filtered",
        str(info.value),
    )


@pytest.mark.skipif(os.name != "posix", reason="limits of files are a POSIX matter")
@pytest.mark.parametrize("reserve", [True, False])
def test_a_limit_of_the_system_is_an_error_and_no_signal(tmp_path, reserve):
    code = (
        "import os, resource\n"
        "from dalmax_sk._base.storage import SpillError, allocate\n"
        f"if not {reserve} and hasattr(os, 'posix_fallocate'):\n"
        "    del os.posix_fallocate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "try:\n"
        "    allocate((2**21,), 'uint8', max_memory=0, what='a test')\n"
        "except SpillError as error:\n"
        "    print('caught', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match("caught .*A test take 2,097,152 bytes", done.stdout)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(SpillError, match="missing"):
        allocate((9,), "uint8", max_memory=0, what="a test", folder=missing)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_what_may_be_given_back(tmp_path, mode):
    X = numbers(3000, 5)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    if mode == "c":
        mapped[4] = 0.0
        X[4] = 0.0
    # what was written to a private mapping is nowhere else
    assert is_mapped(mapped) == (mode != "c")
    for view in (mapped, np.asarray(mapped)[10:], mapped.T, mapped[::-2, ::-1]):
        release_pages(view)
    assert_array_equal(mapped, X)
    assert is_mapped(mapped[::-1].T) == (mode != "c")
    assert not is_mapped(mapped[[1, 2]])
    assert not is_mapped(mapped + 1)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("mapped", [True, False])
def test_blocks_and_rows_are_those_of_the_array(make, mapped, monkeypatch):
    monkeypatch.setattr(limits, "release_bytes", 2**18)
    X = numbers(5000, 20)
    array = on_disk(X) if mapped else X
    assert is_mapped(array) is mapped
    array = make(array)
    assert is_mapped(array) is mapped
    blocks = list(row_blocks(array, 700))
    assert_array_equal(np.concatenate([np.asarray(array[at]) for at in blocks]), X)
    assert [at.stop - at.start for at in blocks] == [700] * 7 + [100]
    index = np.random.default_rng(1).integers(0, 5000, 3000)
    assert_array_equal(take_rows(array, make(index)), X[index])
    assert not is_mapped(take_rows(array, make(index)))
    assert take_rows(array, make(index[:0])).shape == (0, 20)


@needs_madvise
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_pages_are_given_back(make):
    array = on_disk(np.zeros((2**18, 32), dtype=np.float32))  # 32 MB
    release_pages(array)
    view = make(array)
    assert view.sum() == 0.0
    # the second half goes, the first stays
    assert resident(view[2**17 :]) == pytest.approx(2**24, rel=0.2)
    assert resident(view) == pytest.approx(2**24, rel=0.2)


@needs_madvise
def test_a_reader_of_blocks_leaves_nothing_resident(monkeypatch):
    monkeypatch.setattr(limits, "release_bytes", 2**22)
    array = on_disk(np.zeros((2**18, 32), dtype=np.float32))
    release_pages(array)
    before = _rss()
    largest = 0
    for at in row_blocks(array, 4096):
        array[at].sum()
        largest = max(largest, _rss() - before)
    assert largest < 2**23
    assert _rss() - before < 2**21
    rows = np.random.default_rng(0).permutation(len(array))[:4096]
    taken = take_rows(array, rows)
    assert _rss() - before < taken.nbytes + 2**21
    # a loop that is left early gives back what it has read
    for at in row_blocks(array, 2**16):
        array[at].sum()
        break
    assert _rss() - before < taken.nbytes + 2**21 + 2**23


def test_rows_within():
    array = np.zeros((9, 10))
    assert rows_within(array, 800) == 10
    assert rows_within(array, 79) == 1
    assert rows_within(array, 80 * 1000) == 768  # a multiple of 256
    assert rows_within(np.zeros((9, 0)), 100) == 100


def test_scores_by_rows_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(limits, "scored_bytes", 2000)
    X = numbers(1000, 7, "float64")
    seen = []

    def score(rows):
        seen.append(len(rows))
        return np.partition(rows, -2, axis=1)[:, -2]

    assert_array_equal(by_rows(score, on_disk(X)), np.sort(X, axis=1)[:, -2])
    assert max(seen) < 100
    assert sum(seen) == 1000


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        (">f4", "float32"),
        ("float16", "float32"),
        ("int16", "float64"),
        ("bool", "float64"),
    ],
)
def test_a_matrix_from_a_file_stays_there(tmp_path, dtype, becomes):
    X = (3 * numbers(500, 4)).astype(dtype)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tensor, largest = measured_matrix(mapped, "X", max_memory=100)
    assert is_mapped(tensor)
    assert tensor.dtype == getattr(torch, becomes)
    assert_array_equal(tensor, X.astype(becomes))
    if dtype == becomes:
        assert tensor.data_ptr() == mapped.__array_interface__["data"][0]
    double = as_type(tensor, torch.float64, "X", 100)
    assert is_mapped(double)
    assert_array_equal(double, X.astype("float64"))
    assert largest == np.abs(X.astype(becomes)).max()
    np.testing.assert_allclose(
        origin_of(tensor), X.astype("f8").mean(axis=0), atol=1e-6
    )


def test_values_that_are_not_finite_are_counted_in_blocks():
    X = numbers(5000, 3)
    X[[17, 4999]] = np.nan
    X[4500, 0] = np.inf
    with pytest.raises(ValueError, match="3 of its 5000 rows hold NaN or infinity"):
        as_matrix(on_disk(X), "X")
    # a sum that overflows is none of them
    large = on_disk(np.full((5000, 3), 3e38, dtype=np.float32))
    assert len(as_matrix(large, "X")) == 5000


def test_other_things_than_arrays_are_not_mapped():
    array = on_disk(numbers(10, 2))
    assert is_mapped(array)  # something is known to be mapped
    for other in (pd.DataFrame({"a": [1]}), csr_matrix(np.eye(2)), [1, 2], None):
        assert not is_mapped(other)
    assert not is_mapped(torch.zeros(0))


def test_workers_get_what_lies_on_the_disk():
    array = on_disk(numbers(1000, 10))
    total = joblib.Parallel(n_jobs=2)(
        joblib.delayed(np.sum)(array[i : i + 500]) for i in (0, 500)
    )
    assert total == [array[:500].sum(), array[500:].sum()]
