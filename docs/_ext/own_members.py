"""Of a class show what this package defines, its base classes included.

What scikit-learn, torch and Python bring along is documented there; those docstrings
refer to pages that are not part of this site.
"""

import inspect
import re

_REQUEST = re.compile(r"set_\w+_request")


def defining_module(member):
    """Return the name of the module that defines a method or property, or None."""
    function = getattr(member, "fget", None) or getattr(member, "func", None) or member
    return getattr(inspect.unwrap(function), "__module__", None)


def skip(app, what, name, member, skip_it, options):
    """Tell autodoc whether to leave a member out; None leaves it to autodoc."""
    if what not in {"class", "exception"}:
        return None
    if _REQUEST.fullmatch(name):
        return True
    module = defining_module(member)
    if module is not None and not module.startswith("dalmax_sk"):
        return True
    return None


def setup(app):
    """Register the choice."""
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
