"""DalMax's own commands, typed as its users know them, on any machine."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

TYPES = (
    "uncertainty_sampling",
    "diversity_sampling",
    "core_set_selection",
    "adversarial_sampling",
    "reinforcement_learning_sampling",
    "expected_model_change",
    "query_by_committee",
    "bayesian_sampling",
)
TREE = "--dir_train DATA/DATA_CIFAR10/train/ --dir_test DATA/DATA_CIFAR10/test/"
ACTIVE = f"train_al {TREE} --dir_results results/ --batch_size 10 --iterations 5"


@pytest.fixture
def typed(tmp_path, monkeypatch, dalmax):
    """Type commands beside DalMax's tree of ten classes; return what they wrote."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 8), ("test", 2)):
        for name in range(10):
            folder = tmp_path / f"DATA/DATA_CIFAR10/{part}/{name}"
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 128, (32, 32, 3), dtype=np.uint8)
                pixels[3 * name] += 100
                Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    monkeypatch.chdir(tmp_path)

    def run(line):
        result = dalmax(*shlex.split(line))
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.slow  # each trains six nets of 20 epochs
@pytest.mark.parametrize("name", TYPES)
def test_active_learning_as_typed(typed, tmp_path, name):
    out = typed(f"{ACTIVE} --type {name} --test_size 0.9 --mult_gpu True")
    assert re.search(r"^--mult-gpu: torch sees 0 GPUs, training on cpu$", out, re.M)
    run = json.loads(
        (tmp_path / f"results/active_learning/{name}/run.json").read_text()
    )
    assert run["status"] == "finished"
    assert [entry["n_labeled"] for entry in run["rounds"]] == [8, 18, 28, 38, 48, 58]


def test_training_and_testing_as_typed(typed, tmp_path):
    # property: every command that DalMax's users type runs; without a number of images
    # the random part is as large as the runs that are there, if these agree
    random = f"train {TREE} --type random --mult_gpu True"
    runs = tmp_path / "results/active_learning"
    typed(f"{ACTIVE} --type core_set_selection --epochs 1 --mult_gpu")
    out = typed(f"{random} --epochs 10")
    assert "training on 58 images drawn at random, as many as the runs below" in out
    shutil.copytree(runs / "core_set_selection", runs / "another")
    record = json.loads((runs / "another/run.json").read_text())
    record["initial"] = record["initial"][1:]
    (runs / "another/run.json").write_text(json.dumps(record))
    out = typed(f"{random} --overwrite --epochs 1")
    assert "training on 8 images" in out
    assert "differ: 57 to 58 labels" in out

    test = "--dir_test DATA/DATA_CIFAR10/test/"
    out = typed(
        "train --dir_train results/active_learning/core_set_selection/selected_images/ "
        f"{test} --dir_results results/ --type train --epochs 10 --mult_gpu True"
    )
    assert "training on the 58 images that the run" in out
    for folder in ("train/train", "active_learning/core_set_selection"):
        typed(f"test {test} --dir_model results/{folder} --overwrite")
        told = json.loads((tmp_path / "results/test.json").read_text())
        assert told["test"]["n_images"] == 20


def test_a_device_that_insists(typed, dalmax):
    line = f"{ACTIVE} --type margin_sampling --device multi"
    result = dalmax(*shlex.split(line))
    assert result.exit_code == 2
    assert "--device multi needs two GPUs or more, and torch sees none" in result.stderr


def test_gpus_without_accelerate_are_one(typed, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("dalmax_sk.cli.run.model.count_gpus", lambda: 4)
    out = typed(f"train {TREE} --type random --epochs 1 --mult_gpu True")
    assert "torch sees 4 GPUs, training on cpu; using them together needs" in out


if torch.cuda.is_available():
    pytest.skip("the lines name the CPU", allow_module_level=True)
