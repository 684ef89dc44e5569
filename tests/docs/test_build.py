"""The documentation site: complete, and built without a warning or a network."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dalmax_sk

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MODULE = re.compile(r"^\.\. (?:current)?module:: (\S+)$")
DATA = re.compile(r"^\.\. autodata:: (\w+)$")
ENTRY = re.compile(r"^   (\w+)$")


def public_modules():
    """Yield the public modules: packages, and modules that are in none but the first.

    A module inside a package is part of it; what is public of it the package offers.
    """
    yield dalmax_sk
    for found in pkgutil.walk_packages(dalmax_sk.__path__, "dalmax_sk."):
        parts = found.name.split(".")
        if any(part.startswith("_") for part in parts) or parts[1] == "cli":
            continue  # the command line has a page of its own
        if found.ispkg or len(parts) == 2 or parts[1] == "utils":
            yield importlib.import_module(found.name)


def documented():
    """Return {(module, name)} of the API pages."""
    names = set()
    for page in (DOCS / "api").glob("*.rst"):
        module = None
        for line in page.read_text(encoding="utf-8").splitlines():
            if found := MODULE.match(line):
                module = found[1]
            elif found := DATA.match(line) or ENTRY.match(line):
                names.add((module, found[1]))
    return names


def test_every_public_name_is_in_the_api_pages():
    # the same object may be public in two modules; one page is enough
    modules, pages = list(public_modules()), documented()
    known = {id(getattr(sys.modules[m], n)) for m, n in pages if m in sys.modules}
    missing = [
        f"{module.__name__}.{name}"
        for module in modules
        for name in getattr(module, "__all__", ())
        if (module.__name__, name) not in pages
        and not name.startswith("__")
        and (
            isinstance(getattr(module, name), int | str | tuple)
            or id(getattr(module, name)) not in known
        )
    ]
    assert not missing, f"add them to docs/api/*.rst: {missing}"


def test_api_pages_name_nothing_that_is_not_public():
    wrong = []
    for module_name, name in sorted(documented() - api_toctree()):
        module = importlib.import_module(module_name)
        if name not in module.__all__:
            wrong.append(f"{module_name}.{name}")
    assert not wrong


def api_toctree():
    """Return the entries of the index of the API pages, which are pages."""
    return {(None, page.stem) for page in (DOCS / "api").glob("*.rst")}


@pytest.mark.slow  # half a minute or more: examples run
def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("pydata_sphinx_theme", reason="needs dalmax_sk[docs]")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        + ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "html").rglob("*.html"))
    assert len(pages) > 150
    # what a browser loads by itself lies in the folder
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(https?:)?//"
        r"|<link(?![^>]*rel=\"(?:canonical|search)\")[^>]*\shref=\"(https?:)?//"
    )
    outside = [p.name for p in pages if loads.search(p.read_text(encoding="utf-8"))]
    assert not outside


def test_pages_link_to_files_that_exist():
    # sphinx checks pages; this also checks what GitHub shows, and needs no build
    link = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
        if "_build" not in page.parts and page.name != "CHANGELOG.md"
        for target in link.findall(page.read_text(encoding="utf-8"))
        if not target.startswith(("http:", "https:", "mailto:"))
        and not (page.parent / target).exists()
    ]
    assert not broken
