"""A tiny image folder, the program in this process, and comparing two runs."""

import json
import shlex
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dalmax_sk.cli import app

CLASSES = ("blue sky", "grass", "ümlaut")

# quick, and still four rounds with something to choose from
QUICK = "--n-initial 6 --query-size 4 --iterations 3 --epochs 2 --image-size 8"

_TIMES = frozenset(
    {"seconds", "total_seconds", "sessions", "command", "peak_bytes", "lr"}
)


_TELL_TIMES = frozenset({"run.json", "history.csv", "infos.txt", "report.html"})


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small are no faster with two threads, and runs must be comparable."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _write_tree(root, n_train, n_test):
    rng = np.random.default_rng(0)
    for split, n in (("train", n_train), ("test", n_test)):
        for channel, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(n):
                pixels = rng.integers(0, 160, (8, 8, 3), dtype=np.uint8)
                pixels[..., channel] += 80
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")


@pytest.fixture
def images(tmp_path):
    """Folder with train/ (3 x 8 images) and test/ (3 x 4)."""
    root = tmp_path / "images"
    _write_tree(root, 8, 4)
    return root


@pytest.fixture
def run_cli(images, tmp_path):
    """Run ``train-al`` on the tiny folder with more flags; return typer's result."""

    def run(flags="", *, quick=True, data=True):
        words = ["train-al", "--dir-results", str(tmp_path / "results")]
        if data:
            words += ["--dir-train", str(images / "train")]
            words += ["--dir-test", str(images / "test")]
        words += shlex.split(f"{QUICK if quick else ''} {flags}")
        return CliRunner().invoke(app, words)

    return run


@pytest.fixture(scope="session")
def dalmax():
    """Run the program with these words; return typer's result."""

    def run(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, dalmax):
    """Folder with train/, test/ and results/ of one finished run; only to be read."""
    root = tmp_path_factory.mktemp("finished")
    _write_tree(root, 8, 4)
    flags = ["--dir-train", root / "train", "--dir-test", root / "test"]
    flags += ["--dir-results", root / "results", "--seed", 3, *shlex.split(QUICK)]
    result = dalmax("train-al", *flags)
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of the finished run that a test may change; its images stay outside."""
    folder = tmp_path / "copy" / "active_learning" / "uncertainty_sampling"
    source = finished_run / "results" / "active_learning" / "uncertainty_sampling"
    shutil.copytree(source, folder)
    return folder


@pytest.fixture
def run_folder(tmp_path):
    """Folder of the run with the default strategy."""
    return tmp_path / "results" / "active_learning" / "uncertainty_sampling"


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in _TIMES}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


@pytest.fixture
def snapshot():
    """Return what two runs of the same settings must have in common.

    run.json without times, and every file with its bytes but those that tell times.
    """

    def take(folder):
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
            and "checkpoint" not in path.parts
            and path.name not in _TELL_TIMES
            and not path.name.endswith("_model.json")  # tells the epochs' seconds
        }
        run = json.loads((folder / "run.json").read_text("utf-8"))
        return _without_times(run), files

    return take
