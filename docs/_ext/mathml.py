r"""Formulas as MathML, which browsers draw themselves: no script, no font, no network.

Docutils translates them. It does not know ``\dots`` and the unpaired sizes of brackets
(``\big``, ``\Big``), which are replaced by what it knows.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

_REPLACEMENTS = (
    (re.compile(r"\\dots(?![a-z])"), r"\\ldots"),
    (re.compile(r"\\([bB]igg?)(?=[(\[|])"), r"\\\1l"),
    (re.compile(r"\\([bB]igg?)(?=[)\]])"), r"\\\1r"),
)


def translate(formula, as_block):
    """Return the MathML of a formula in LaTeX; MathError where that is not possible."""
    for pattern, replacement in _REPLACEMENTS:
        formula = pattern.sub(replacement, formula)
    return tex2mathml(formula.strip(), as_block=as_block)


def visit(translator, node):
    """Write an inline or displayed formula."""
    is_block = isinstance(node, nodes.math_block)
    try:
        formula = translate(node.astext(), is_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        formula = translator.encode(node.astext())
    if is_block:
        formula = f'<div class="formula">{formula}</div>\n'
    translator.body.append(formula)
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit, None), (visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
