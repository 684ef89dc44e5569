"""Callbacks: functions of a user that add to the record of a round."""

from dalmax_sk.active_learning.rounds import round_context

__all__ = ["call", "check_callbacks"]

_HOOKS = ("on_query_end", "on_fit_end")
# keys of a round's record that are the learner's own; so is all that begins "eval_"
# while a query is made, for its scores come later
_OWN_KEYS = {
    "round",
    "n_labeled",
    "queried",
    "query_scores",
    "n_requested",
    "query_seconds",
    "fit_seconds",
    "eval_seconds",
    "observe_seconds",
    "peak_bytes",
    "fit_history",
}


def check_callbacks(callbacks):
    """Return `callbacks` as a list of objects that have a hook.

    Raises
    ------
    TypeError
        If one has none, or is a class.
    """
    for callback in callbacks or ():
        hooks = [getattr(callback, name, None) for name in _HOOKS]
        if isinstance(callback, type) or not any(map(callable, hooks)):
            raise TypeError(
                "callbacks must hold objects with a method on_query_end(learner, pool, "
                f"positions) or on_fit_end(learner, record), got {callback!r}."
            )
    return list(callbacks or ())


def call(callbacks, hook, round_number, taken, *args):
    """Call a hook of all callbacks, in their order.

    Parameters
    ----------
    callbacks : list
    hook : {"on_query_end", "on_fit_end"}
    round_number : int
        Named in the message of any error.
    taken : iterable of str
        Keys that the record of the round has already.
    *args : object
        Handed to the hooks.

    Returns
    -------
    dict
        What they add to the record.

    Raises
    ------
    TypeError
        If a hook returns anything but a dict with keys that are strings, or None.
    ValueError
        If it returns a key that the record has, or that another hook has added.
    """
    notes = {}
    for callback in callbacks:
        if not hasattr(callback, hook):
            continue
        name = f"{type(callback).__name__}.{hook}"
        with round_context(round_number, name):
            found = getattr(callback, hook)(*args)
            found = {} if found is None else found
            if not (isinstance(found, dict) and all(isinstance(k, str) for k in found)):
                raise TypeError(
                    f"{name} must return a dict of what to add to the record of the "
                    f"round, with strings as keys, or None; got {found!r}."
                )
            clash = found.keys() & (_OWN_KEYS | set(taken) | notes.keys())
            if hook == "on_query_end":
                clash |= {key for key in found if key.startswith("eval_")}
            if clash:
                raise ValueError(
                    f"{name} returned {sorted(clash)}, which the record of the round "
                    "has of its own or of another callback. Choose other keys."
                )
        notes |= found
    return notes
