"""Every Python example in the README and the docs runs; every command line parses."""

import ast
import importlib
import inspect
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import typer

import dalmax_sk
import dalmax_sk.strategies
from dalmax_sk.cli import app
from dalmax_sk.strategies import get_strategy, registry, strategy_names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# what a build leaves among the pages
GENERATED = (DOCS / "_build", DOCS / "auto_examples", DOCS / "api" / "generated")
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted(DOCS.rglob("*.md"))
        if not any(page.is_relative_to(folder) for folder in GENERATED)
    ),
]
# an optional excuse on the line before, then the block
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<excuse>[^\n]+) -->\n)?^```python\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


def blocks(page):
    """Yield (line number, excuse or None, code) of each Python block."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text[: found.start("code")].count("\n") + 1
        yield line, found["excuse"], found["code"]


def name(page):
    return page.relative_to(ROOT).as_posix()


PAGES_THAT_RUN = [
    page for page in PAGES if any(excuse is None for _, excuse, _ in blocks(page))
]


@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=name)
def test_examples_run(page, tmp_path, monkeypatch):
    # the blocks of a page follow on one another, in an empty folder
    monkeypatch.chdir(tmp_path)
    # a strategy with names registers itself; other tests list the registry
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    module = types.ModuleType(f"examples_of_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for line, excuse, code in blocks(page):
        if excuse is None:
            # blank lines, so that tracebacks give the line of the page
            source = "\n" * (line - 1) + code
            exec(compile(source, str(page), "exec"), vars(module))
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "user_guide" / "strategies").glob("*.md")), ids=name
)
def test_pages_of_strategies(page):
    # one example that runs, a picture, and the name that the command line takes
    found = list(blocks(page))
    assert len([code for _, excuse, code in found if excuse is None]) >= 1
    assert not any(excuse for _, excuse, _ in found), "pages of strategies must all run"
    text = page.read_text(encoding="utf-8")
    assert re.search(r"!\[picks\]\(\.\./\.\./images/strategies/\w+\.png\)", text)
    assert "## References" in text or page.stem == "random_sampling"
    get_strategy(page.stem)


def test_every_strategy_has_a_page():
    pages = {p.stem for p in (ROOT / "docs/user_guide/strategies").glob("*.md")}
    with_page = {type(get_strategy(stem)) for stem in pages}
    without = {n for n in strategy_names() if type(get_strategy(n)) not in with_page}
    assert not without


def test_excuses_have_a_block():
    # an excuse that stands apart from its block, or is misspelt, excuses nothing
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        excused = [excuse for _, excuse, _ in blocks(page) if excuse]
        assert text.count("<!-- not run") == len(excused), name(page)


SHELL = re.compile(r"^```(?:sh|shell|bash|console)$(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# the command and its arguments, up to the end of the line or of the command
DALMAX = re.compile(r"(?<![\w/.-])(?:\S*/)?dalmax ([a-z][a-z_-]*)([^\n;|&#]*)")


def commands(page):
    """Yield (subcommand, arguments) of each call of the command line on a page."""
    text = page.read_text(encoding="utf-8")
    sources = [block.replace("\\\n", " ") for block in SHELL.findall(text)]
    sources += INLINE.findall(text)
    for source in sources:
        for name, arguments in DALMAX.findall(source):
            yield name, shlex.split(arguments)


def test_command_lines_exist():
    known = {
        name: {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        | {"--help"}
        for name, command in typer.main.get_command(app).commands.items()
    }
    seen = [(name(page), *call) for page in PAGES for call in commands(page)]
    assert len(seen) > 10  # the pattern still finds them
    wrong = [
        (page, command, argument)
        for page, command, arguments in seen
        for argument in ["", *arguments]
        if command.replace("_", "-") not in known
        or (
            argument.startswith("--")
            and argument.split("=")[0].replace("_", "-")
            not in known[command.replace("_", "-")]
        )
    ]
    assert not wrong


def public_callables():
    modules = [dalmax_sk, dalmax_sk.strategies]
    modules += [
        importlib.import_module(f"dalmax_sk.{part}")
        for part in ("evaluation", "images", "cnn", "pool", "stopping")
    ]
    found = {n: getattr(m, n) for m in modules for n in m.__all__}
    return {n: thing for n, thing in found.items() if callable(thing)}


def test_parameters_in_prose_exist():
    # `Filtered(strategy, subsample=100)` in a sentence: is there such a parameter?
    known = public_callables()
    wrong, n_seen = [], 0
    for page in PAGES:
        for code in INLINE.findall(page.read_text(encoding="utf-8")):
            try:
                tree = ast.parse(code.replace("…", "..."), mode="eval").body
            except SyntaxError:
                continue  # a flag, a path, a sentence
            if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
                continue
            if tree.func.id not in known:
                continue
            n_seen += 1
            parameters = inspect.signature(known[tree.func.id]).parameters
            wrong += [
                (name(page), code)
                for keyword in tree.keywords
                if keyword.arg is not None and keyword.arg not in parameters
            ]
    assert n_seen > 20  # the pattern still finds them
    assert not wrong
