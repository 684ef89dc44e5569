"""Links to sources of examples lead to the pages that are made of them.

Pages link to ``examples/plot_x.py`` and to ``examples/``, which is right where the
repository is read; on the site the example with its figures is wanted.
"""

import re

_LINK = re.compile(r"\]\(((?:\.\./)*)examples/(?:(plot_\w+)\.py)?\)")


def _page(found):
    return f"]({found[1]}auto_examples/{found[2] or 'index'}.rst)"


def redirect(app, page, source):
    """Rewrite the links of a page as it is read."""
    source[0] = _LINK.sub(_page, source[0])


def setup(app):
    """Register the rewriting."""
    app.connect("source-read", redirect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
