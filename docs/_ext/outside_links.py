"""Links to the reference pages of libraries, from names alone.

Intersphinx would load each library's list of names at build time; where the address
follows from the name, nothing has to be loaded.
"""

import re

from docutils import nodes

# scikit-learn: a page for each class and function; their methods are on its page
_SKLEARN = re.compile(r"sklearn(?:\.[a-z_]\w*)*\.\w+")
_SKLEARN_PAGE = "https://scikit-learn.org/stable/modules/generated/{}.html"


def page_of(target, role):
    """Return the address of the page about `target`, or None where no rule is known."""
    if not _SKLEARN.fullmatch(target) or role not in {"class", "func"}:
        return None
    return _SKLEARN_PAGE.format(target)


def link(app, env, node, contnode):
    """Resolve a reference that the project itself does not define."""
    if node.get("refdomain") != "py":
        return None
    page = page_of(node["reftarget"], node["reftype"])
    if page is None:
        return None
    return nodes.reference("", "", contnode, internal=False, refuri=page)


def setup(app):
    """Register the resolver."""
    app.connect("missing-reference", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
