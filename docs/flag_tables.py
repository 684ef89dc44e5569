"""Write the tables of flags into the guide, from the table in the package.

    python docs/flag_tables.py

A table stands between ``<!-- flags: COMMAND, WHICH -->`` and ``<!-- end of flags -->``.
WHICH is a panel of ``--help``, or ``own`` for the flags that ``train-al`` has not.
``<!-- flags: all -->`` stands for those that every command has.
"""

import re
from pathlib import Path

from dalmax_sk.cli.flags.table import FLAGS, Flag, flags_of

PAGE = Path(__file__).parent / "user_guide" / "command_line.md"

_BLOCK = re.compile(
    r"(?P<open><!-- flags: (?P<command>[a-z-]+)(, (?P<which>[^>]+))? -->\n).*?"
    r"(?P<close>\n<!-- end of flags -->)",
    re.DOTALL,
)


def render(text: str) -> str:
    """Return the text of a page with all its tables made anew."""
    return _BLOCK.sub(_render_block, text)


def _render_block(found: re.Match[str]) -> str:
    flags = [f for f in _select(found["command"], found["which"]) if not f.is_hidden]
    has_defaults = any(flag.default_text for flag in flags)
    rows = [["flag", "default", "meaning"], ["---"] * 3]
    rows += [
        [f"`{_typed(flag)}`", _marked(flag.default_text) or "–", _marked(flag.help)]
        for flag in flags
    ]
    if not has_defaults:
        rows = [[first, last] for first, _, last in rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{found['open']}\n{lines}\n{found['close']}"


def _select(command: str, which: str | None) -> list[Flag]:
    everywhere = set(FLAGS).intersection(*map(flags_of, ("train-al", "strategies")))
    if command == "all":
        return [flag for flag in FLAGS if flag in everywhere]
    flags = [flag for flag in flags_of(command) if flag not in everywhere]
    if which == "own":
        return [flag for flag in flags if flag not in flags_of("train-al")]
    return [flag for flag in flags if which in (None, flag.panel)]


def _typed(flag: Flag) -> str:
    metavar = flag.kind.metavar.replace("|", r"\|")
    return f"{flag.word} {metavar}".strip() if not flag.is_argument else metavar


def _marked(text: str) -> str:
    """Return a text with its flags and names as code."""
    text = text.replace("|", r"\|")
    return re.sub(r"(?<![\w`])(--[a-z][a-z-]*|[A-Z]+_[A-Z]+\S*\w/?)", r"`\1`", text)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")
