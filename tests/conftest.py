"""Fixtures that tests of several rooms share."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import make_classification
from threadpoolctl import threadpool_limits

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; with a full team of threads each they wait for each other
    # at every barrier, and tiny nets take ten times as long.
    torch.set_num_threads(1)
    threadpool_limits(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # commands and workers of tests


@pytest.fixture
def table():
    """A 2-D problem of 200 samples, 3 classes; returns X (200, 6), y (200,)."""
    return make_classification(
        n_samples=200,
        n_features=6,
        n_informative=4,
        n_classes=3,
        class_sep=1.5,
        random_state=0,
    )


@pytest.fixture
def image_folder(tmp_path):
    """A train/test tree of 8x8 PNGs, 3 classes of different colours; returns its root.

    30 training and 10 test images a class: small enough that a run takes a second.
    """
    rng = np.random.RandomState(0)
    colours = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}
    for part, n in (("train", 30), ("test", 10)):
        for name, colour in colours.items():
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = np.asarray(colour) + rng.randint(-35, 36, size=(8, 8, 3))
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / f"{name}_{i:02d}.png")
    return tmp_path / "images"


@pytest.fixture
def peak_growth():
    """Run code in a process of its own; return by how many kB its peak memory rises.

    A peak never falls, so `setup` should load what is loaded on first use. One thread:
    others would bring buffers of their own.
    """
    if sys.platform != "linux":
        pytest.skip("only Linux tells the peak of a process by itself")

    def run(setup, measured):
        script = (
            "from dalmax_sk._base.processes import peak_bytes\n"
            f"{setup}\nbefore = peak_bytes()\n{measured}\n"
            "print((peak_bytes() - before) // 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return int(done.stdout)

    return run
