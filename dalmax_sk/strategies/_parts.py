"""What strategies made of other strategies share: the states of their parts."""

__all__ = ["get_states", "set_states"]


def get_states(parts):
    """Return {name: state} of the parts that have learned anything.

    Parameters
    ----------
    parts : dict of {str: QueryStrategy or None}
        None is a default, which learns nothing.

    Returns
    -------
    dict
    """
    states = {
        name: part.get_state() for name, part in parts.items() if part is not None
    }
    return {name: state for name, state in states.items() if state}


def set_states(owner, parts, state):
    """Hand every part its state of :func:`get_states`, an empty one if it had none.

    Parameters
    ----------
    owner : str
        Who has the parts, for the error message.
    parts : dict of {str: QueryStrategy or None}
    state : dict

    Raises
    ------
    ValueError
        If there is the state of a part that `parts` does not have.
    """
    known = {name for name, part in parts.items() if part is not None}
    if set(state) - known:
        raise ValueError(
            f"{owner}: the state is of the strategies {sorted(state)}, here are "
            f"{sorted(known)}. It must come from a {owner} of the same make."
        )
    for name in known:
        parts[name].set_state(state.get(name, {}))
