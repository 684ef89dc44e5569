"""What the loop measures of itself."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="This system does not tell the peak.")

CHILD = """
import numpy as np
from dalmax_sk._base.processes import peak_bytes
before = peak_bytes()
block = np.ones(30_000_000, dtype=np.uint8)
held = peak_bytes()
del block
print(before, held, peak_bytes())
"""


def test_the_peak_is_that_of_this_process_and_stays():
    # whatever the process that started it holds
    ballast = bytearray(b"x") * 400_000_000
    result = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    assert len(ballast) == 400_000_000
    before, held, after = map(int, result.stdout.split())
    assert 29_000_000 < held - before < 60_000_000
    assert after >= held - 2**20  # the system counts pages in lots
