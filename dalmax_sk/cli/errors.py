"""Errors that a user of the command line can mend, and how they are told apart."""

import sys
import traceback
from pathlib import Path

from dalmax_sk._base.files import is_disk_full

__all__ = ["UsageError", "is_memory_short", "is_user_error"]

_PACKAGE = Path(__file__).resolve().parent.parent


class UsageError(ValueError):
    """A flag, folder or file is not as it has to be; the message says what to do."""


def is_memory_short(error: BaseException) -> bool:
    """Tell whether memory ran out, on the device or in the machine."""
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules:  # loading it takes seconds, and it raised nothing
        return False
    from dalmax_sk._base.devices import is_out_of_memory

    return bool(is_out_of_memory(error))


def is_user_error(error: BaseException) -> bool:
    """Tell whether `error` is a check's message to the user rather than a defect.

    The package's own checks, and scikit-learn's parameter checks, raise standard
    exceptions on purpose: their messages name what is wrong, and a traceback would only
    hide them. The same exception types coming from anywhere else mean a defect, whose
    traceback is wanted.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    bool
    """
    if isinstance(error, UsageError) or _is_refused_parameter(error):
        return True
    # The system's word on the user's files and disk: missing, forbidden, full.
    if is_disk_full(error):
        return True
    if isinstance(error, OSError) and error.filename is not None:
        return True
    if not isinstance(error, ValueError | OSError | ImportError | NotImplementedError):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _PACKAGE in Path(frames[-1].filename).resolve().parents


def _is_refused_parameter(error: BaseException) -> bool:
    if "sklearn" not in sys.modules:  # loading it takes seconds, and it raised nothing
        return False
    from dalmax_sk._base.sklearn_compat import InvalidParameterError

    return isinstance(error, InvalidParameterError)
