"""The state of a run on disk, so that a killed run goes on where it was.

One JSON file, replaced whole and atomically after every query and every fit. It holds
decisions and labels, not models: given the seed and the labelled rows a fit is repeated
exactly, so nothing in the folder can run code when it is read.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType

import joblib
import numpy as np

from dalmax_sk._base.files import write_text
from dalmax_sk._base.json_files import MALFORMED, read_json, seal, unsealed
from dalmax_sk.images import as_paths

__all__ = [
    "Checkpoint",
    "SpoiledStateError",
    "as_checkpoint",
    "describe_value",
    "fingerprint_data",
    "fingerprint_params",
    "fingerprint_run",
]

FORMAT = 3
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# may change between the parts of one run without changing what was already done
_FREE_PARAMS = (
    "callbacks",
    "checkpoint_dir",
    "max_memory",
    "n_rounds",
    "oracle",
    "stopping",
    "store_estimators",
    "verbose",
)


class SpoiledStateError(ValueError):
    """Raised if a file of a state holds none: cut off, damaged, or foreign."""


class Checkpoint:
    """Reads and writes ``state.json`` in a folder."""

    #: Whether each write waits until it is on the disk, for fear of a power cut.
    sync = True

    def __init__(self, directory):
        self.path = Path(directory) / "state.json"
        self._run = None

    @property
    def identity(self):
        """Fingerprints of the run, for callers that know them already.

        None leaves it to the learner, which hashes all data.
        """
        return None

    def read(self, expected, n_samples, n_classes):
        """Return the stored state, or None if there is none yet.

        The run's fingerprints are kept for :meth:`write`.

        Parameters
        ----------
        n_samples, n_classes : int
            Rows and classes of the present run.
        expected : dict of str to dict or str
            Fingerprints of the present run under ``"data"``, ``"eval_set"``,
            ``"fit_params"``, ``"classes"`` and ``"params"``; a stored state with others
            belongs to another run.

        Raises
        ------
        SpoiledStateError
            If the file is not a state, or one that is damaged.
        ValueError
            If the state is of another format, or belongs to another run.
        """
        self._run = expected
        if not self.path.exists():
            return None
        try:
            state = read_json(self.path)
            version = state["format"]
        except MALFORMED as error:
            raise SpoiledStateError(
                f"{self.path} is not a checkpoint of dalmax_sk ({error!r}). Move it "
                "away, or choose another checkpoint_dir."
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{self.path} has format {version!r}, this version of dalmax_sk reads "
                f"format {FORMAT}. Choose another checkpoint_dir, or go on with the "
                "version that the run began with."
            )
        try:
            state = unsealed(state)
            differences = _differences(state["run"], expected)
            if not differences:
                _check_consistent(state, n_samples, n_classes)
        except MALFORMED as error:
            raise SpoiledStateError(
                f"{self.path} is damaged ({error!r}). Put an intact copy of it back, "
                "or choose another checkpoint_dir."
            ) from error
        if differences:
            raise ValueError(
                f"{self.path} belongs to another run: {'; '.join(differences)}. Resume "
                "with the same data and parameters, or choose another checkpoint_dir."
            )
        return state

    def write(self, state):
        """Replace the stored state; a kill leaves the old one or the new one whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # dumps is the fast C encoder, dump to a file is not
        stored = {"format": FORMAT, "run": self._run, **state}
        text = seal(json.dumps(stored, default=_plain))
        write_text(self.path, text, sync=self.sync)


def as_checkpoint(directory):
    """Return where a run keeps its state; an experiment gives a Checkpoint itself."""
    if directory is None or isinstance(directory, Checkpoint):
        return directory
    return Checkpoint(directory)


def fingerprint_run(learner, X, eval_set, fit_params, classes):
    """Return all that tells a run from others, see :meth:`Checkpoint.read`."""
    return {
        "data": fingerprint_data(X),
        "eval_set": eval_set and [fingerprint_data(part) for part in eval_set],
        "fit_params": fingerprint_data(dict(fit_params)),
        "classes": classes.tolist(),
        "params": fingerprint_params(learner),
    }


def fingerprint_data(X):
    """Return a hash of the contents of `X` (of the names, for paths).

    The order in memory is no part of the contents, nor is being mapped to a file.
    """
    if isinstance(X, Mapping):
        return joblib.hash({key: _in_one_order(value) for key, value in X.items()})
    if hasattr(X, "iloc"):  # a pickle of a DataFrame depends on its use so far
        from pandas.util import hash_pandas_object

        columns = [f"{name!r} {dtype}" for name, dtype in X.dtypes.items()]
        return joblib.hash([columns, hash_pandas_object(X, index=False).to_numpy()])
    paths = as_paths(X)
    if paths is None:
        return joblib.hash(_in_one_order(X))
    return hashlib.sha256("\0".join(map(str, paths)).encode()).hexdigest()


def _in_one_order(values):
    """Return an array as C order has it, anything else as it is."""
    if type(values) not in (np.ndarray, np.memmap):
        return values
    # the second reshape: axes of length 1 may have any stride in an array in C order
    return np.asarray(values, order="C").reshape(-1).reshape(values.shape)


def fingerprint_params(estimator):
    """Return {parameter: text} of what decides the course of a run."""
    params = estimator.get_params(deep=True)
    # estimators whose parameters have entries of their own
    listed = {id(value) for value in params.values() if _has_params(value)}
    return {
        name: describe_value(value, listed)
        for name, value in sorted(params.items())
        if name.split("__")[0] not in _FREE_PARAMS and not name.endswith("verbose")
    }


def describe_value(value, seen=frozenset()):
    """Return a text that is the same in every process, and another for other code.

    Functions are told apart by what they are compiled to, their defaults and what they
    close over; not by the global variables and functions that they use.

    Parameters
    ----------
    value : object
        A parameter; lists, dicts and estimators are looked into.
    seen : set of int, default=frozenset()
        Ids of objects that are described elsewhere: a name is enough for them.

    Returns
    -------
    str
    """
    if isinstance(value, type):
        return repr(value)
    if isinstance(value, FunctionType):
        name = f"{value.__module__}.{value.__qualname__}"
        return name if id(value) in seen else f"{name}#{_hash_function(value, seen)}"
    if _has_params(value):
        name = type(value).__qualname__
        if id(value) in seen:
            return name
        params = value.get_params(deep=False)
        inside = [
            f"{key}={describe_value(params[key], seen | {id(value)})}"
            for key in sorted(params)
            if key != "verbose"
        ]
        return f"{name}({', '.join(inside)})"
    kind = type(value)
    if kind in (list, tuple, set, frozenset, dict):
        if id(value) in seen:
            return "..."
        return _describe_items(value, seen | {id(value)})
    text = _ADDRESS.sub("", repr(value))
    if not callable(value) or id(value) in seen:
        return text
    seen = seen | {id(value)}
    if isinstance(value, partial):
        parts = [value.func, value.args, value.keywords]
        return f"partial{_describe_items(parts, seen)}"
    if isinstance(value, MethodType):
        parts = [value.__func__, value.__self__]
        return f"method{_describe_items(parts, seen)}"
    # a repr with an address says nothing of what is inside; others may name functions
    says_nothing = text != repr(value)
    own = {
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if says_nothing or callable(item)
    }
    return text + _describe_items(own, seen) if own else text


def _has_params(value):
    return hasattr(value, "get_params") and not isinstance(value, type)


def _describe_items(values, seen):
    if isinstance(values, dict):
        items = [
            f"{describe_value(key, seen)}: {describe_value(item, seen)}"
            for key, item in values.items()
        ]
        return f"{{{', '.join(items)}}}"
    items = [describe_value(item, seen) for item in values]
    if isinstance(values, list):
        return f"[{', '.join(items)}]"
    if isinstance(values, tuple):
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    # the order of a set of strings is another one in every process
    return f"{type(values).__name__}({{{', '.join(sorted(items))}}})"


def _hash_function(function, seen):
    seen = seen | {id(function)}
    closed_over = [_contents(cell) for cell in function.__closure__ or ()]
    parts = [
        _describe_code(function.__code__, seen),
        _describe_items([function.__defaults__, function.__kwdefaults__], seen),
        _describe_items(closed_over, seen),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _describe_code(code, seen):
    constants = [
        _describe_code(item, seen)
        if isinstance(item, CodeType)
        else describe_value(item, seen)
        for item in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} [{', '.join(constants)}]"


def _differences(stored, expected):
    names = {"data": "X", "eval_set": "eval_set", "fit_params": "metadata for fit"}
    found = [
        f"{name} differs"
        for key, name in names.items()
        if stored.get(key) != expected[key]
    ]
    if stored["classes"] != expected["classes"]:
        found.append(f"classes were {stored['classes']}, now {expected['classes']}")
    before, now = stored["params"], expected["params"]
    found += [
        f"{name} was {before.get(name)}, now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return found


def _check_consistent(state, n_samples, n_classes):
    """Raise an error if the parts of a state do not tell of one course of a run."""
    labels, history, now = state["labels"], state["history"], state["round"]
    n_classes += len(state["added_classes"])
    order = _checked_rows(labels["order"], n_samples)
    _checked_rows(labels["set_aside"], n_samples)
    initial = _checked_rows(state["initial_indices"], n_samples)
    for code in labels["codes"]:
        _check(type(code) is int and 0 <= code < n_classes, f"{code!r} is no class")
    _check(len(labels["codes"]) == len(order), "labels and rows differ in number")
    for _, row, code in labels["corrections"]:
        _check(row in order and 0 <= code < n_classes, f"row {row!r} has no label")
    n_before = 0
    for number, record in enumerate(history):
        queried = _checked_rows(record["queried"], n_samples)
        scores, n_labeled = record["query_scores"], record["n_labeled"]
        _check(record["round"] == number, f"round {number} is missing")
        _check(scores is None or len(scores) == len(queried), "scores are missing")
        _check(n_before <= n_labeled <= len(order), f"{n_labeled!r} labels do not fit")
        new = order[n_before:n_labeled]
        asked = queried if number else initial
        _check(set(new) <= set(asked), f"round {number} did not ask for all of {new}")
        n_before = n_labeled
    asked = _checked_rows(now["queried"], n_samples) if history else initial
    _check(set(order[n_before:]) <= set(asked), "labels belong to no round")


def _checked_rows(rows, n_samples):
    """Return a list of distinct rows of X, or raise ValueError."""
    good = all(type(row) is int and 0 <= row < n_samples for row in rows)
    _check(good and len(set(rows)) == len(rows), f"{rows!r} are no rows of X")
    return rows


def _check(condition, problem):
    if not condition:
        raise ValueError(problem)


def _plain(value):
    """Turn numpy values into JSON's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to a checkpoint")
