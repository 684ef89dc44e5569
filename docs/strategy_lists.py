"""Write the lists of strategies, which follow from the classes.

    python docs/strategy_lists.py

writes the tables of ``README.md`` and ``docs/user_guide/strategies.md``, the classes of
``docs/api/strategies.rst``, and ``dalmax_sk/strategies/__init__.pyi`` for checkers.
A new strategy is a module, a page and a test; then this script is run.
"""

import re
from itertools import groupby
from pathlib import Path

from dalmax_sk import strategies
from dalmax_sk.strategies.registry import CATEGORIES, StrategyEntry, list_strategies

ROOT = Path(__file__).parents[1]
GUIDE = "docs/user_guide/strategies"


def by_class() -> list[tuple[StrategyEntry, list[str]]]:
    """Return the first entry of each class, and the other names of the class."""
    groups = groupby(list_strategies(), key=lambda entry: entry.class_name)
    found = []
    for _, entries in groups:
        first, *variants = entries
        names = [name for v in variants for name in (v.name, *v.aliases)]
        found.append((first, [*first.aliases, *names]))
    return found


def readme_table() -> str:
    """Return the table of ``README.md``: names, and one sentence."""
    lines = ["| name (`--type`) | strategy |", "|---|---|"]
    for entry, others in by_class():
        names = f"[`{entry.name}`]({GUIDE}/{entry.name}.md)"
        names += "".join(f", `{name}`" for name in others)
        lines.append(f"| {names} | {entry.description} |")
    return "\n".join(lines)


def guide_table() -> str:
    """Return the table of the guide: page, class, quantities and cost, by category."""
    lines = ["| page | class | looks at | cost |", "|---|---|---|---|"]
    for category, found in groupby(by_class(), key=lambda pair: pair[0].category):
        lines.append(f"| **{CATEGORIES[category]}** | | | |")
        for entry, others in found:
            page = f"[{entry.name}](strategies/{entry.name}.md)"
            page += f" ({', '.join(others)})" if others else ""
            facts = (page, f"`{entry.class_name}`", entry.looks_at, entry.cost)
            lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines)


def api_list() -> str:
    """Return the classes of the API page, one section per category."""
    lines = []
    for category, found in groupby(by_class(), key=lambda pair: pair[0].category):
        heading = CATEGORIES[category].capitalize()
        directive = "currentmodule" if lines else "module"
        lines += [heading, "-" * len(heading), ""]
        lines += [f".. {directive}:: dalmax_sk.strategies", ""]
        lines += [".. autosummary::", "   :toctree: generated", ""]
        lines += [*(f"   {entry.class_name}" for entry, _ in found), ""]
    return "\n".join(lines)


def stub() -> str:
    """Return the stub of ``dalmax_sk.strategies``."""
    # as linters sort: constants, classes, functions
    names = sorted(
        strategies.__all__,
        key=lambda name: (not name.isupper(), name[0].islower(), name),
    )
    homes = {name: getattr(strategies, name).__module__ for name in names}
    lines = ["# Written by docs/strategy_lists.py.", ""]
    for module, found in groupby(sorted(names, key=homes.get), key=homes.get):
        imported = list(found)
        line = f"from {module} import {', '.join(imported)}"
        if len(line) > 88:
            inside = "".join(f"    {name},\n" for name in imported)
            line = f"from {module} import (\n{inside})"
        lines.append(line)
    lines += ["", "__all__ = [", *(f'    "{name}",' for name in names), "]"]
    return "\n".join(lines) + "\n"


def with_list(text: str, block: str) -> str:
    """Return the text of a page with the block between its two marks written anew."""
    place = re.compile(r"(strategies: begin[^\n]*\n).*?(\n[^\n]*strategies: end)", re.S)
    if len(place.findall(text)) != 1:
        raise ValueError("The page must hold 'strategies: begin' ... 'end' once.")
    return place.sub(lambda found: f"{found[1]}\n{block.strip()}\n{found[2]}", text)


def lists() -> dict[str, str]:
    """Return the new text of each file, by its path in the repository."""
    blocks = {
        "README.md": readme_table(),
        f"{GUIDE}.md": guide_table(),
        "docs/api/strategies.rst": api_list(),
    }
    texts = {
        path: with_list((ROOT / path).read_text("utf-8"), block)
        for path, block in blocks.items()
    }
    return texts | {"dalmax_sk/strategies/__init__.pyi": stub()}


if __name__ == "__main__":
    for name, text in lists().items():
        (ROOT / name).write_text(text, "utf-8")
