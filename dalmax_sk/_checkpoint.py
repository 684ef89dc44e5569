"""The state of a run on disk, so that a killed run goes on where it was.

One JSON file, replaced whole and atomically after every query and every fit. It holds
decisions and labels, not models: given the seed and the labelled rows a fit is repeated
exactly, so nothing in the folder can run code when it is read.
"""

import hashlib
import json
import re
from pathlib import Path

import joblib
import numpy as np

from dalmax_sk._atomic import write_text
from dalmax_sk.images import as_paths

__all__ = ["Checkpoint", "fingerprint_data", "fingerprint_params"]

FORMAT = 1
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# may change between the parts of one run without changing what was already done
_FREE_PARAMS = (
    "checkpoint_dir",
    "n_rounds",
    "oracle",
    "stopping",
    "store_estimators",
    "verbose",
)


class Checkpoint:
    """Reads and writes ``state.json`` in a folder."""

    #: What tells this run from others; None leaves it to the learner, which hashes all
    #: data. For callers that know it already.
    identity = None
    #: Whether each write waits until it is on the disk, for fear of a power cut.
    sync = True

    def __init__(self, directory):
        self.path = Path(directory) / "state.json"

    def read(self, expected):
        """Return the stored state, or None if there is none yet.

        Parameters
        ----------
        expected : dict of str to dict or str
            Fingerprints of the present run under ``"data"``, ``"eval_set"``,
            ``"fit_params"``, ``"classes"`` and ``"params"``; a stored state with others
            belongs to another run.

        Raises
        ------
        ValueError
            If the file is not a state of this format, or belongs to another run.
        """
        if not self.path.exists():
            return None
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
            version = state["format"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} is not a checkpoint of dalmax_sk ({error!r}). Move it "
                "away, or choose another checkpoint_dir."
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{self.path} has format {version!r}, this version of dalmax_sk reads "
                f"format {FORMAT}."
            )
        differences = _differences(state["run"], expected)
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
        text = json.dumps({"format": FORMAT, **state}, default=_plain)
        write_text(self.path, text, sync=self.sync)


def fingerprint_data(X):
    """Return a hash of the contents of `X` (of the names, for paths)."""
    if hasattr(X, "iloc"):  # a pickle of a DataFrame depends on its use so far
        from pandas.util import hash_pandas_object

        columns = [f"{name!r} {dtype}" for name, dtype in X.dtypes.items()]
        return joblib.hash([columns, hash_pandas_object(X, index=False).to_numpy()])
    paths = as_paths(X)
    if paths is None:
        return joblib.hash(X)
    return hashlib.sha256("\0".join(map(str, paths)).encode()).hexdigest()


def fingerprint_params(estimator):
    """Return {parameter: text} of what decides the course of a run."""
    return {
        name: _describe(value)
        for name, value in sorted(estimator.get_params(deep=True).items())
        if name.split("__")[0] not in _FREE_PARAMS and not name.endswith("verbose")
    }


def _describe(value):
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__qualname__  # its parameters have entries of their own
    return _ADDRESS.sub("", repr(value))


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


def _plain(value):
    """Turn numpy values into JSON's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to a checkpoint")
