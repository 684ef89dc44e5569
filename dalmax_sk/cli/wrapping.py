"""Text for a terminal: lines wrap at words, and a path is never broken."""

import os

from rich.cells import cell_len

__all__ = ["wrap"]

# Words that a path with blanks is made of at most.
_MOST_WORDS = 12

_AROUND = "\"'([])"
_AFTER = ",.;:"


def wrap(text: str, width: int) -> str:
    """Wrap the sentences of a text at words.

    Lines that begin with a blank, such as commands to paste, and lines with columns
    stay as they are. So does a path that is longer than a line.

    Parameters
    ----------
    text : str
        Lines of any length.
    width : int
        Columns of the terminal.

    Returns
    -------
    str

    Examples
    --------
    >>> from dalmax_sk.cli.wrapping import wrap
    >>> print(wrap("The run lies in /a/long/path/to/results and is finished.", 20))
    The run lies in
    /a/long/path/to/results
    and is finished.
    """
    return "\n".join(_wrap_line(line, width) for line in text.split("\n"))


def _wrap_line(line: str, width: int) -> str:
    if line.startswith(" ") or "  " in line.strip():
        return line
    lines: list[str] = []
    for piece in _pieces(line.split(" ")):
        if lines and cell_len(f"{lines[-1]} {piece}") <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return "\n".join(lines)


def _pieces(words: list[str]) -> list[str]:
    """Join the words of paths with blanks in them."""
    pieces = []
    start = 0
    while start < len(words):
        stop = start + 1
        if os.sep in words[start]:
            ends = range(stop + 1, min(len(words), start + _MOST_WORDS) + 1)
            whole = [end for end in ends if _is_one_path(words[start:end])]
            stop = max(whole, default=stop)
        pieces.append(" ".join(words[start:stop]))
        start = stop
    return pieces


def _is_one_path(words: list[str]) -> bool:
    """Tell whether words are one path: it exists, or its folder has a blank."""
    text = " ".join(words)
    if os.path.exists(text.strip(_AROUND + _AFTER)):
        return True
    inside = text.lstrip(_AROUND)
    is_closed = any(word.endswith(tuple(_AFTER)) for word in words[:-1])
    starts_anew = words[-1].lstrip(_AROUND).startswith((os.sep, "-"))
    return (
        inside.startswith(os.sep)
        and os.sep in words[-1]
        and not starts_anew
        and not is_closed
    )
