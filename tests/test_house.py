"""The order of the rooms: who may import whom, and names that say one thing."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dalmax_sk

ROOT = Path(dalmax_sk.__file__).parent
# A room imports only from those before it.
ORDER = [
    "_base",
    "images",
    "nets",
    "selection",
    "features",
    "cnn",
    "pool",
    "strategies",
    "active_learning",
    "evaluation",
    "stopping",
    "reports",
    "cli",
    "utils",
]
FACES = {"__init__", "__main__", "_version", "py.typed"}
PACKAGES = sorted(
    ".".join(("dalmax_sk", *path.parent.relative_to(ROOT).parts))
    for path in ROOT.rglob("__init__.py")
)


def top_level():
    """Return the names at the top of the package, faces aside."""
    entries = {path.name.removesuffix(".py") for path in ROOT.iterdir()}
    return sorted(entries - FACES - {"__pycache__"})


def trees(room):
    """Yield the files of a room and their syntax trees."""
    for path in sorted((ROOT / room).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(tree):
    """Yield (line, dotted name) of all imports, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_few_entries_at_the_top():
    assert len(top_level()) <= 15
    assert set(top_level()) == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_imports_point_to_rooms_before(room):
    allowed = {*ORDER[: ORDER.index(room) + 1], "_version"}
    wrong = [
        f"{path}:{line} imports {name}"
        for path, tree in trees(room)
        for line, name in imported_modules(tree)
        if name.startswith("dalmax_sk.") and name.split(".")[1] not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("name", PACKAGES)
def test_no_name_shadows_a_module(name):
    package = importlib.import_module(name)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    names = modules & (vars(package).keys() | set(getattr(package, "__all__", ())))
    shadowed = {n for n in names if not isinstance(getattr(package, n), ModuleType)}
    assert not shadowed


@pytest.mark.parametrize("room", ORDER)
def test_docstrings_name_their_subject(room):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    vague = [
        f"{path}: {getattr(node, 'name', 'module')}"
        for path, tree in trees(room)
        for node in ast.walk(tree)
        if isinstance(node, kinds)
        and (ast.get_docstring(node) or "").startswith("What")
    ]
    assert not vague


@pytest.mark.parametrize("room", ["selection", "strategies", "pool"])
def test_only_the_storage_gives_pages_back(room):
    users = [
        f"{path}:{line}"
        for path, tree in trees(room)
        for line, name in imported_modules(tree)
        if name.endswith("release_pages")
    ]
    assert not users


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
