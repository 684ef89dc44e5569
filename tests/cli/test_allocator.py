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
import os, resource
from dalmax_sk.cli.allocator import keep_freed_memory
if {told}:
    keep_freed_memory()
import torch
torch.set_num_threads(1)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def batch():
    tensors = [torch.ones(2**19 * k) for k in (10, 9, 8)]  # 21, 19 and 17 MB
for _ in range(3):
    batch()
before = faults()
for _ in range(10):
    batch()
print(faults() - before, os.environ.get("MALLOC_TRIM_THRESHOLD_"))
"""


def run(told, **environ):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(told=told)],
        env={k: v for k, v in os.environ.items() if "MALLOC" not in k} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    n_faults, value = done.stdout.split()
    return int(n_faults), value


def test_batches_ask_for_their_memory_once():
    n_untold, _ = run(False)
    n_told, value = run(True)
    assert n_untold > 1000  # pages, of ten batches of 57 MB; large ones count as one
    assert n_told < n_untold / 20
    assert value == str(2**28)


def test_what_the_user_has_set_stays():
    assert run(True, MALLOC_TRIM_THRESHOLD_="1000000")[1] == "1000000"
    assert run(True, MALLOC_MMAP_THRESHOLD_="1000000")[1] == "None"
