"""The order of the rooms: who may import whom, and names that say one thing."""

import ast
import importlib
import pkgutil
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
    "stopping",
    "active_learning",
    "evaluation",
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
