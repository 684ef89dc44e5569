"""Base class of strategies that are made of other strategies."""

from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["CompositeStrategy"]


class CompositeStrategy(QueryStrategy):
    """Base class of strategies made of others, whose state is that of their parts."""

    category = "combined"

    def _get_parts(self):
        """Return {name: QueryStrategy} of the parts that were given, not defaults."""
        raise NotImplementedError(f"{type(self).__name__} must define _get_parts.")

    def get_state(self):
        """Return the states of the parts.

        Returns
        -------
        dict
            {name of the part: state}; empty if no part has learned anything.
        """
        states = {name: part.get_state() for name, part in self._get_parts().items()}
        return {name: state for name, state in states.items() if state}

    def set_state(self, state):
        """Restore the states of the parts; a part without one starts afresh.

        Parameters
        ----------
        state : dict
            As :meth:`get_state` returned it.

        Raises
        ------
        ValueError
            If there is the state of a part that this strategy does not have.
        """
        parts = self._get_parts()
        if state.keys() - parts.keys():
            name = type(self).__name__
            raise ValueError(
                f"{name}: the state is of the strategies {sorted(state)}, here are "
                f"{sorted(parts)}. It must come from a {name} of the same make."
            )
        for name, part in parts.items():
            part.set_state(state.get(name, {}))
