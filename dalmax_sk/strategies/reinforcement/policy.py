"""A policy: a small network that says how much a candidate is wanted."""

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from dalmax_sk._base.files import read_text, write_text
from dalmax_sk._base.json_files import MALFORMED, parse_json
from dalmax_sk._base.limits import limits
from dalmax_sk.strategies.reinforcement.features import FEATURE_NAMES

__all__ = ["FORMAT_VERSION", "Policy", "PolicyFileError", "default_policy"]
__all__ += ["load_policy"]

#: Number of the file format; a policy of another number is refused.
FORMAT_VERSION = 1

_FORMAT = "dalmax_sk policy"


class PolicyFileError(ValueError):
    """A file is not a saved policy, or not one that this version can use."""


@dataclass(eq=False, repr=False)
class Policy:
    r"""A scorer of candidates, the same for each: a layer of tanh beside a linear map.

    The score of a candidate with features x is
    :math:`s(x) = a^\top x + v^\top \tanh(W x + b)`. A batch is drawn without
    replacement with probabilities proportional to :math:`e^{s}` among those left (the
    Plackett-Luce distribution), or is the n highest scores.

    Parameters
    ----------
    linear : ndarray of shape (F,)
        The vector a; F is the number of features.
    weight : ndarray of shape (F, H)
        The matrix W, transposed.
    bias : ndarray of shape (H,)
        The vector b.
    output : ndarray of shape (H,)
        The vector v.
    training : dict, default={}
        What the policy was trained on and how; numbers and strings, for the reader.

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.strategies.reinforcement import FEATURE_NAMES, Policy
    >>> policy = Policy.initial(n_hidden=4, random_state=0)
    >>> policy.scores(np.zeros((3, len(FEATURE_NAMES))))
    array([0., 0., 0.])
    """

    linear: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    output: np.ndarray
    training: dict = field(default_factory=dict)

    @classmethod
    def initial(cls, n_hidden=16, random_state=None):
        """Return an untrained policy, which draws uniformly.

        Parameters
        ----------
        n_hidden : int, default=16
            Width H of the hidden layer.
        random_state : int, RandomState instance or None, default=None
            Draws W; all else is zero.
        """
        rng = (
            random_state
            if isinstance(random_state, np.random.RandomState)
            else np.random.RandomState(random_state)
        )
        n_features = len(FEATURE_NAMES)
        return cls(
            linear=np.zeros(n_features),
            weight=rng.randn(n_features, n_hidden) * 2 / math.sqrt(n_features),
            bias=np.zeros(n_hidden),
            output=np.zeros(n_hidden),
        )

    def __repr__(self):
        # Short, and another text for other numbers: a run's checkpoint compares it.
        digest = hashlib.sha256()
        for value in self.parameters().values():
            digest.update(np.ascontiguousarray(value, dtype=np.float64).tobytes())
        return f"Policy(n_hidden={len(self.bias)}, sha256='{digest.hexdigest()[:12]}')"

    def copy(self):
        """Return a policy that can be trained further without changing this one."""
        return Policy(
            **{name: value.copy() for name, value in self.parameters().items()},
            training=dict(self.training),
        )

    def parameters(self):
        """Return {name: array} of what training changes, not copied."""
        return {
            "linear": self.linear,
            "weight": self.weight,
            "bias": self.bias,
            "output": self.output,
        }

    def scores(self, features):
        """Return the score of each candidate, shape (n,).

        Parameters
        ----------
        features : ndarray of shape (n, F)
            From :func:`~dalmax_sk.strategies.reinforcement.candidate_features`.
        """
        scores = features @ self.linear
        for start in range(0, len(features), limits.policy_rows):
            part = slice(start, start + limits.policy_rows)
            hidden = np.tanh(features[part] @ self.weight + self.bias)
            scores[part] += hidden @ self.output
        return scores

    def draw(self, features, n, random_state):
        """Draw `n` distinct candidates from the policy, in the order drawn.

        The n largest of the scores with Gumbel noise are a Plackett-Luce sample.

        Parameters
        ----------
        features : ndarray of shape (N, F)
            The candidates.
        n : int
            From 1 to N.
        random_state : RandomState instance
            Source of the noise.

        Returns
        -------
        ndarray of int of shape (n,)
        """
        noisy = self.scores(features) + random_state.gumbel(size=len(features))
        return np.argsort(-noisy, kind="stable")[:n]

    def log_probability(self, features, picks):
        """Return the log-probability of drawing `picks` in this order, a float.

        Parameters
        ----------
        features : ndarray of shape (N, F)
            The candidates.
        picks : ndarray of int of shape (n,)
            Distinct positions.
        """
        scores = self.scores(features)
        total = 0.0
        for pick in picks:
            total += scores[pick] - logsumexp(scores)
            scores[pick] = -np.inf
        return float(total)

    def gradient(self, features, picks):
        """Return {name: array}, the gradient of :meth:`log_probability`."""
        hidden = np.tanh(features @ self.weight + self.bias)  # (N, H)
        scores = features @ self.linear + hidden @ self.output
        by_score = np.zeros(len(features))
        for pick in picks:
            by_score -= np.exp(scores - logsumexp(scores))  # those picked weigh 0
            by_score[pick] += 1.0
            scores[pick] = -np.inf
        through = (1 - hidden**2) * self.output * by_score[:, None]  # (N, H)
        return {
            "linear": features.T @ by_score,
            "weight": features.T @ through,
            "bias": through.sum(axis=0),
            "output": hidden.T @ by_score,
        }

    def save(self, path):
        """Write the policy to a JSON file, all or nothing.

        Parameters
        ----------
        path : str or path-like
            File to write; its folder must exist. A file of this name is replaced.

        Returns
        -------
        pathlib.Path

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from dalmax_sk.strategies.reinforcement import default_policy, load_policy
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = default_policy().save(Path(folder) / "policy.json")
        ...     again = load_policy(path)
        >>> bool((again.linear == default_policy().linear).all())
        True
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"The folder {path.parent} does not exist; make it first."
            )
        content = {
            "format": _FORMAT,
            "format_version": FORMAT_VERSION,
            "features": list(FEATURE_NAMES),
            "training": self.training,
            "parameters": {
                name: value.tolist() for name, value in self.parameters().items()
            },
        }
        return write_text(path, json.dumps(content, allow_nan=False) + "\n")


def load_policy(path):
    """Read a policy that :meth:`Policy.save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Policy

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PolicyFileError
        If it is no policy, of another format version, for other features, or holds
        arrays that do not fit together or are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no policy file {os.fspath(path)!r}.")
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise PolicyFileError(f"{path} is not a policy file: not UTF-8.") from error
    return _parse(text, str(path))


@cache
def _default_text():
    return (
        files("dalmax_sk.strategies.reinforcement") / "default_policy.json"
    ).read_text(encoding="utf-8")


def default_policy():
    """Return the policy that comes with the package.

    It was trained by ``benchmarks/train_default_policy.py`` on data sets that come with
    scikit-learn; ``training`` names them.

    Returns
    -------
    Policy
    """
    return _parse(_default_text(), "the default policy")


def _parse(text, name):
    """Return the policy in the JSON `text`, or say what is wrong with it."""
    try:
        content = parse_json(text)
    except ValueError as error:
        raise PolicyFileError(f"{name} is not a policy file: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise PolicyFileError(
            f"{name} is not a policy file: it does not say format {_FORMAT!r}."
        )
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise PolicyFileError(
            f"{name} has format version {version!r}, this dalmax_sk reads version "
            f"{FORMAT_VERSION}. Train the policy again with train_policy."
        )
    features = content.get("features")
    if features != list(FEATURE_NAMES):
        raise PolicyFileError(
            f"{name} is for the features {features!r}, this dalmax_sk computes "
            f"{list(FEATURE_NAMES)!r}. Train the policy again with train_policy."
        )
    arrays = _parse_arrays(content.get("parameters"), name)
    training = content.get("training")
    return Policy(**arrays, training=training if isinstance(training, dict) else {})


def _parse_arrays(parameters, name):
    """Return {name: array} after checking shapes and values."""
    expected = {"linear": 1, "weight": 2, "bias": 1, "output": 1}
    if not isinstance(parameters, dict) or set(parameters) != set(expected):
        raise PolicyFileError(
            f"{name}: 'parameters' must hold {', '.join(expected)} and nothing else."
        )
    arrays = {}
    for key, ndim in expected.items():
        try:
            array = np.array(parameters[key], dtype=np.float64)
        except MALFORMED as error:
            raise PolicyFileError(
                f"{name}: {key!r} is not an array of numbers."
            ) from error
        if array.ndim != ndim or not np.isfinite(array).all():
            raise PolicyFileError(
                f"{name}: {key!r} must be finite with {ndim} axes, got shape "
                f"{array.shape}."
            )
        arrays[key] = array
    n_hidden = len(arrays["bias"])
    shapes = {
        "linear": (len(FEATURE_NAMES),),
        "weight": (len(FEATURE_NAMES), n_hidden),
        "output": (n_hidden,),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise PolicyFileError(
                f"{name}: {key!r} has shape {arrays[key].shape}, expected {shape}."
            )
    return arrays
