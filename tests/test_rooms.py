"""Rooms import only rooms below them, and heavy modules wait until they are needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dalmax_sk

PACKAGE = Path(dalmax_sk.__file__).parent
BELOW = {
    "_base": set(),
    "images": {"_base"},
    "nets": {"_base"},
    "features": {"_base", "images", "nets"},
    "cnn": {"_base", "_version", "images", "nets", "features"},
}


def imported_rooms(file):
    """Rooms named in the import statements of a file, also those inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("dalmax_sk."):
                yield name.split(".")[1]


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_rooms_below_it(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        above = set(imported_rooms(file)) - BELOW[room] - {room}
        assert not above, file


def test_the_compiler_and_torchvision_wait_until_they_are_needed():
    code = """
import sys
import numpy as np
from dalmax_sk import CNNClassifier, ImageEmbedder
from dalmax_sk.cnn import load_model

HEAVY = {"torch._dynamo", "torchvision", "accelerate"}
X = np.zeros((4, 8, 8), np.uint8)
net = ImageEmbedder("small_cnn", weights="random", image_size=8, device="cpu")
net.fit_transform(X)
print(sorted(HEAVY & sys.modules.keys()))
CNNClassifier(max_epochs=1, device="cpu").fit(X, [0, 1, 0, 1]).predict(X)
# torch's optimizers load the compiler when the first of them is made
print(sorted(HEAVY & sys.modules.keys() - {"torch._dynamo"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
