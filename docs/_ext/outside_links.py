"""Links to the reference pages of libraries, from names alone.

Intersphinx would load each library's list of names at build time; where the address
follows from the name, nothing has to be loaded.
"""

import re

from docutils import nodes

_PAGES = (
    # a page for each class and function; what belongs to a class is on its page
    (
        re.compile(r"sklearn(?:\.[a-z_]\w*)*\.\w+"),
        "https://scikit-learn.org/stable/modules/generated/{name}.html",
    ),
    (
        re.compile(r"joblib\.\w+"),
        "https://joblib.readthedocs.io/en/stable/generated/{name}.html",
    ),
    # a page for each module of the standard library
    (
        re.compile(r"(?P<module>pathlib|unittest|collections\.abc)\.\w+"),
        "https://docs.python.org/3/library/{module}.html#{name}",
    ),
)


def page_of(name):
    """Return the address of the page about a class or function, None if unknown."""
    for pattern, address in _PAGES:
        if found := pattern.fullmatch(name):
            return address.format(name=name, **found.groupdict())
    return None


def link(app, env, node, contnode):
    """Resolve a reference that the project itself does not define."""
    if node.get("refdomain") != "py":
        return None
    if node["reftype"] not in {"class", "func", "obj", "exc"}:
        return None
    page = page_of(node["reftarget"])
    if page is None:
        return None
    return nodes.reference("", "", contnode, internal=False, refuri=page)


def setup(app):
    """Register the resolver."""
    app.connect("missing-reference", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
