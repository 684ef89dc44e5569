"""Freed memory stays with the process, where the C library can be told so."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="a setting of glibc"
)

SCRIPT = """
import ctypes, os
from dalmax_sk.cli.allocator import tune_malloc
if {told}:
    tune_malloc()
import numpy as np

def batch():
    arrays = [np.ones(2**19 * k) for k in (5, 4, 3)]  # 21, 17 and 13 MB

for _ in range(3):
    batch()
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
fields = [(name, ctypes.c_size_t) for name in names.split()]
Info = type("Info", (ctypes.Structure,), {{"_fields_": fields}})
mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
print(mallinfo().keepcost, os.environ.get("MALLOC_TRIM_THRESHOLD_"))
"""


def run(told, **environ):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(told=told)],
        env={k: v for k, v in os.environ.items() if "MALLOC" not in k} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, value = done.stdout.split()
    return int(kept), value


def test_what_a_batch_frees_is_kept():
    # bytes at the end of the heap that could be given back
    assert run(False)[0] < 2**24
    kept, value = run(True)
    assert kept > 50_000_000
    assert value == str(2**28)


def test_what_the_user_has_set_stays():
    assert run(True, MALLOC_TRIM_THRESHOLD_="1000000")[1] == "1000000"
    assert run(True, MALLOC_MMAP_THRESHOLD_="1000000")[1] == "None"
