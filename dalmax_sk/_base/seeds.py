"""Seeds derived from a run, a round and a purpose, and generators that need them."""

import contextlib
import os
import random
import threading

import numpy as np

from dalmax_sk._base.pipelines import components

__all__ = ["derive_seed", "global_seed", "set_missing_seeds", "torch_seed"]

# Held while a generator that all threads share is in the state of one of them. Whoever
# holds it waits for no thread that may want it.
_lock = threading.RLock()


def _renew_lock():
    """Forget the lock: in a forked process its owner may not exist."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def derive_seed(base_seed, *key):
    """Return a seed for one purpose of one round, independent of all the others.

    Seeds come from the key, not from a stream, so that a resumed run needs no generator
    state: round 7 has the same seeds whether or not rounds 1 to 6 were computed here.
    """
    sequence = np.random.SeedSequence([base_seed, *key])
    return int(sequence.generate_state(1)[0] >> 1)  # below 2**31, as scikit-learn wants


def set_missing_seeds(estimator, seed):
    """Give every ``random_state`` parameter that is None a seed of its own."""
    params = estimator.get_params(deep=True)
    names = sorted(
        name
        for name, value in params.items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    )
    seeds = {name: derive_seed(seed, i) for i, name in enumerate(names)}
    if seeds:
        estimator.set_params(**seeds)


@contextlib.contextmanager
def torch_seed(seed=None, devices=()):
    """Let torch draw from `seed` in the block, and leave its state as it was.

    The layers of torch draw their weights and their dropout from one generator for the
    whole process, so threads take turns.

    Parameters
    ----------
    seed : int or None, default=None
        None leaves the generators in the state that they are in.
    devices : iterable of torch.device
        CUDA devices whose generators are kept as well.
    """
    import torch

    with _lock, torch.random.fork_rng(devices=list(devices)):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def global_seed(estimator, seed):
    """Seed the global generators in the block, for an estimator that needs them.

    An estimator, or a part of it, without a ``random_state`` parameter can draw from
    nothing else but NumPy's, torch's and Python's global generators. They are left as
    they were. Threads take turns.

    Parameters
    ----------
    estimator : estimator
    seed : int
    """
    parts = components(estimator)
    if len(parts) == 1 and hasattr(estimator, "random_state"):
        yield  # at once, for the trees of a forest come here one by one
        return
    ours = any(map(_is_ours, parts))
    unseeded = [part for part in parts if _lacks_seed(part)]
    if ours:
        # They take the lock themselves, maybe in a thread that the fit waits for.
        unseeded = [part for part in unseeded if hasattr(part, "predict")]
    if not unseeded:
        yield
        return
    import torch

    on_gpu = torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if on_gpu else []
    with contextlib.ExitStack() as stack:
        if not ours:
            stack.enter_context(_lock)
        stack.enter_context(torch.random.fork_rng(devices=list(devices)))
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed_all(seed)
        yield


def _lacks_seed(part):
    """Tell whether an estimator has neither a seed nor parts that may have one."""
    if _is_ours(part) or len(components(part)) > 1:
        return False
    return not hasattr(part, "random_state")


def _is_ours(part):
    return any(cls.__module__.startswith("dalmax_sk.") for cls in type(part).__mro__)
