"""Tables as Markdown."""


def table(frame):
    """Return a table of words as Markdown; the index is the first column.

    Parameters
    ----------
    frame : DataFrame
        Every cell is shown as ``str`` gives it; bars in it are escaped.
    """
    head = [frame.index.name or "", *frame.columns]
    rows = [[name, *row] for name, row in zip(frame.index, frame.values, strict=True)]
    lines = [_row(head), "|" + "---|" * len(head)]
    return "\n".join(lines + [_row(row) for row in rows])


def _row(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
