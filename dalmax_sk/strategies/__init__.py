"""Query strategies, and the registry that knows them by name.

The public names of every module in this folder whose own name has no leading underscore
are names of the package; a new strategy is a new module. ``__init__.pyi`` tells the
same to type checkers.
"""

import pkgutil
from importlib import import_module

__all__ = []

for _found in pkgutil.iter_modules(__path__):
    if not _found.ispkg and not _found.name.startswith("_"):
        _module = import_module(f"{__name__}.{_found.name}")
        globals().update({name: getattr(_module, name) for name in _module.__all__})
        __all__ += _module.__all__
