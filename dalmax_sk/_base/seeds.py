"""Seeds derived from a run, a round and a purpose."""

import numpy as np

__all__ = ["derive_seed", "set_missing_seeds"]


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
