"""The labelling task as a gymnasium environment, for other agents than ours."""

from functools import cache

import numpy as np

from dalmax_sk.strategies.reinforcement.episodes import LabelingEpisode
from dalmax_sk.strategies.reinforcement.features import FEATURE_NAMES
from dalmax_sk.strategies.reinforcement.training import draw_problem, prepare_datasets

__all__ = ["make_environment"]


def make_environment(
    datasets, *, n_candidates=20, n_rounds=20, n_initial_per_class=(1, 4)
):
    """Make an environment in which an agent labels one candidate at a time.

    A reset draws a data set and a split into a labelled start, a pool and a held-out
    part. The agent sees some candidates drawn from the pool, chooses one, and is paid
    the gain in held-out accuracy of the proxy learner (logistic regression). It works
    with any agent written for gymnasium [1]_, which is an extra:
    ``pip install "dalmax_sk[rl]"``.

    Parameters
    ----------
    datasets : list of (X, y)
        As in :func:`~dalmax_sk.strategies.reinforcement.train_policy`.
    n_candidates : int, default=20
        Candidates shown at a time, at least 2.
    n_rounds : int, default=20
        Labels an episode asks for. It ends earlier if the pool has fewer than
        `n_candidates` left.
    n_initial_per_class : tuple of (int, int), default=(1, 4)
        Least and most labels a class at the start.

    Returns
    -------
    gymnasium.Env
        Observations: float32 of shape (n_candidates, 14), each value in [0, 1], the
        columns are :data:`~dalmax_sk.strategies.reinforcement.FEATURE_NAMES`. Actions:
        0 to n_candidates - 1. ``info`` holds ``score``, ``n_labeled`` and, after a
        step, ``row``, the row labelled among those of the episode.

    Raises
    ------
    ImportError
        If gymnasium is not installed.
    ValueError
        If a data set cannot be used or leaves no pool of `n_candidates`.

    References
    ----------
    .. [1] M. Towers et al., "Gymnasium: A Standard Interface for Reinforcement Learning
       Environments", 2024. https://arxiv.org/abs/2407.17032
    """
    if n_candidates < 2 or n_rounds < 1:
        raise ValueError(
            "make_environment: n_candidates must be at least 2 and n_rounds at least "
            f"1, got {n_candidates} and {n_rounds}."
        )
    return _environment_class()(
        prepare_datasets(datasets), n_candidates, n_rounds, n_initial_per_class
    )


@cache
def _environment_class():
    """Return the class; it cannot be made before gymnasium is imported."""
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError(
            'make_environment needs gymnasium: pip install "dalmax_sk[rl]".'
        ) from error

    class LabelingEnv(gymnasium.Env):
        """Label one of a few candidates; see :func:`make_environment`."""

        metadata = {"render_modes": []}

        def __init__(self, prepared, n_candidates, n_rounds, n_initial_per_class):
            self._prepared = prepared
            self._n_candidates, self._n_rounds = n_candidates, n_rounds
            self._n_initial_per_class = n_initial_per_class
            self.observation_space = gymnasium.spaces.Box(
                0.0, 1.0, (n_candidates, len(FEATURE_NAMES)), np.float32
            )
            self.action_space = gymnasium.spaces.Discrete(n_candidates)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self._rng = np.random.RandomState(self.np_random.integers(2**31 - 1))
            problem = draw_problem(self._prepared, self._n_initial_per_class, self._rng)
            self._episode = LabelingEpisode(*problem, random_state=self._rng)
            if len(self._episode.pool) < self._n_candidates:
                raise ValueError(
                    f"A split has a pool of {len(self._episode.pool)} candidates, "
                    f"n_candidates is {self._n_candidates}. Give larger data sets or "
                    "show fewer candidates."
                )
            self._round = 0
            return self._observe(), self._info()

        def step(self, action):
            position = self._shown[int(action)]
            row = int(self._episode.pool[position])
            reward = self._episode.step(np.array([position]))
            self._round += 1
            ended = (
                self._round >= self._n_rounds
                or len(self._episode.pool) < self._n_candidates
            )
            # what is shown after the end repeats the last: the pool may be too small
            observation = self._shown_features if ended else self._observe()
            return observation, reward, ended, False, {**self._info(), "row": row}

        def _observe(self):
            pool_size = len(self._episode.pool)
            self._shown = self._rng.permutation(pool_size)[: self._n_candidates]
            features = self._episode.features[self._shown]
            self._shown_features = features.astype(np.float32)
            return self._shown_features

        def _info(self):
            episode = self._episode
            return {"score": episode.score, "n_labeled": len(episode.labeled)}

    return LabelingEnv
