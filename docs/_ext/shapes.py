"""Shapes such as ``(n, n_features_in_)`` in docstrings are no links.

In reStructuredText a word that ends in an underscore refers to a target of that name;
in a shape it is an attribute.
"""

import re

_SHAPE = re.compile(r"\bshape \(([^)]*)\)")
_ATTRIBUTE = re.compile(r"(?<![`\w])([A-Za-z]\w*_)(?![\w`])")


def _quoted(shape):
    inside = _ATTRIBUTE.sub(r"``\1``", shape[1])
    return f"shape ({inside})"


def quote_attributes(app, what, name, thing, options, lines):
    """Put attributes within shapes into quotes, in place."""
    for number, line in enumerate(lines):
        lines[number] = _SHAPE.sub(_quoted, line)


def setup(app):
    """Register the change, to be made before numpydoc reads the docstring."""
    app.connect("autodoc-process-docstring", quote_attributes, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
