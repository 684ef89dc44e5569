"""REINFORCE: a policy becomes better by trying, on simulated episodes."""

import numpy as np
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk.strategies.reinforcement.episodes import (
    LabelingEpisode,
    reduce_dimension,
)
from dalmax_sk.strategies.reinforcement.policy import Policy

__all__ = ["run_episode", "train_policy"]

# Rows of a data set that one episode uses at most: keeps an episode in milliseconds.
_MAX_ROWS = 400


def train_policy(
    datasets,
    policy=None,
    *,
    n_episodes=300,
    n_rollouts=8,
    n_rounds=8,
    query_sizes=(1, 3, 5, 10),
    n_initial_per_class=(1, 4),
    discount=0.9,
    learning_rate=0.02,
    n_hidden=16,
    random_state=None,
):
    r"""Train a policy to label what helps a learner most.

    Each episode splits one of the data sets at random into a labelled start, a pool and
    a held-out part, and plays it `n_rollouts` times with draws from the policy. The
    reward of a round is the gain of the held-out accuracy of a proxy learner (logistic
    regression). REINFORCE [1]_ follows

    .. math:: \sum_{k,t} \hat A_{kt} \nabla \log \pi(a_{kt} \mid s_{kt}), \qquad
              A_{kt} = G_{kt} - \frac{1}{K-1} \sum_{l \ne k} G_{lt},

    where :math:`G_{kt} = \sum_{u \ge t} \gamma^{u-t} r_{ku}` is the return of rollout k
    from round t, the baseline is the mean of the other rollouts (they share the split,
    so it takes away most of the variance [2]_), and :math:`\hat A` is A over its
    root-mean-square within the episode, so that easy data sets do not weigh more.

    Parameters
    ----------
    datasets : list of (X, y)
        `X` of shape (n, d) with numbers, `y` of shape (n,) with labels of any kind and
        at least two classes. One is drawn for each episode, and at most 400 rows of it.
    policy : Policy or None, default=None
        Where to begin; it is not changed. None begins with uniform draws.
    n_episodes : int, default=300
        Splits played; each is one step of the optimiser (Adam [3]_).
    n_rollouts : int, default=8
        Times that a split is played, at least 2.
    n_rounds : int, default=8
        Rounds of a rollout.
    query_sizes : tuple of int, default=(1, 3, 5, 10)
        An episode draws its number of picks a round from these.
    n_initial_per_class : tuple of (int, int), default=(1, 4)
        Least and most labels a class at the start; an episode draws its number.
    discount : float, default=0.9
        The factor gamma in [0, 1]: 0 looks one round ahead.
    learning_rate : float, default=0.02
        Step of the optimiser.
    n_hidden : int, default=16
        Width of a new policy. Unused with `policy`.
    random_state : int, RandomState instance or None, default=None
        Source of all draws.

    Returns
    -------
    Policy

    Raises
    ------
    ValueError
        If there is no data set, one is too small or has one class only, or
        ``n_rollouts < 2``.

    References
    ----------
    .. [1] R. J. Williams, "Simple Statistical Gradient-Following Algorithms for
       Connectionist Reinforcement Learning", Machine Learning 8, 1992.
       https://doi.org/10.1007/BF00992696
    .. [2] W. Kool, H. van Hoof and M. Welling, "Buy 4 REINFORCE Samples, Get a Baseline
       for Free!", ICLR workshop on deep RL meets structured prediction, 2019.
       https://openreview.net/forum?id=r1lgTGL5DE
    .. [3] D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization",
       ICLR 2015. https://arxiv.org/abs/1412.6980

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from dalmax_sk.strategies.reinforcement import train_policy
    >>> policy = train_policy(
    ...     [load_iris(return_X_y=True)], n_episodes=2, n_rollouts=2, random_state=0
    ... )
    >>> policy.training["n_episodes"]
    2
    """
    if n_rollouts < 2:
        raise ValueError(
            f"n_rollouts must be at least 2, got {n_rollouts}: the baseline of a "
            "rollout is the mean of the others."
        )
    rng = check_random_state(random_state)
    prepared = _prepare_datasets(datasets)
    policy = Policy.initial(n_hidden, rng) if policy is None else policy.copy()
    optimiser = _Adam(policy.parameters(), learning_rate)
    for episode in range(n_episodes):
        problem = _draw_problem(prepared, n_initial_per_class, rng)
        query_size = int(query_sizes[rng.randint(len(query_sizes))])
        gradient, gain = _episode_gradient(
            policy,
            problem,
            query_size,
            n_rollouts,
            n_rounds,
            discount,
            rng,
        )
        optimiser.step(gradient)
        progress.report("episode", episode + 1, n_episodes, gain=gain)
    policy.training = {
        **policy.training,
        "n_episodes": policy.training.get("n_episodes", 0) + n_episodes,
    }
    return policy


def _prepare_datasets(datasets):
    """Return [(X (n, at most 32), codes (n,), n_classes)] for the proxy learner."""
    prepared = [_prepare(X, y, f"datasets[{i}]") for i, (X, y) in enumerate(datasets)]
    if not prepared:
        raise ValueError("At least one data set (X, y) is needed, got none.")
    return prepared


def _draw_problem(prepared, n_initial_per_class, rng):
    """Draw the first arguments of an episode: X, codes, n_classes, n_initial."""
    X, codes, n_classes = prepared[rng.randint(len(prepared))]
    if len(X) > _MAX_ROWS:
        rows = rng.permutation(len(X))[:_MAX_ROWS]
        X, codes = X[rows], codes[rows]
    low, high = n_initial_per_class
    n_initial = max(2, n_classes * rng.randint(low, high + 1))
    # at least as much left for the pool as for the start
    return X, codes, n_classes, min(n_initial, max(2, int(0.3 * len(X))))


def run_episode(episode, choose, query_size, n_rounds):
    """Play an episode to its end.

    Parameters
    ----------
    episode : LabelingEpisode
        Played from its present state.
    choose : callable
        ``choose(features, n)`` returns n distinct positions.
    query_size : int
        Picks a round; fewer in the last round if the pool runs dry.
    n_rounds : int
        Rounds.

    Returns
    -------
    rewards : ndarray of shape (n_played,)
        Gain of the held-out score in each round; fewer than `n_rounds` if the pool is
        empty before.
    visited : list of (features, picks)
        What was seen and done in each round.
    """
    rewards, visited = [], []
    for _ in range(n_rounds):
        if not len(episode.pool):
            break
        features = episode.features
        picks = choose(features, min(query_size, len(features)))
        rewards.append(episode.step(picks))
        visited.append((features, picks))
    return np.array(rewards), visited


def _episode_gradient(policy, problem, query_size, n_rollouts, n_rounds, discount, rng):
    """Play one split several times; return the gradient and the mean gain."""
    seed = rng.randint(2**31 - 1)
    played = []
    for _ in range(n_rollouts):
        # the same split each time
        episode = LabelingEpisode(*problem, random_state=np.random.RandomState(seed))
        played.append(
            run_episode(
                episode,
                lambda features, n: policy.draw(features, n, rng),
                query_size,
                n_rounds,
            )
        )
    rewards = np.array([rewards for rewards, _ in played])  # (K, T): one length, as
    returns = np.zeros_like(rewards)  # all rollouts of a split empty the pool alike
    following = np.zeros(n_rollouts)
    for t in reversed(range(rewards.shape[1])):
        following = rewards[:, t] + discount * following
        returns[:, t] = following
    others = (returns.sum(axis=0) - returns) / (n_rollouts - 1)
    advantages = returns - others
    size = np.sqrt(np.mean(advantages**2))
    gradient = {k: np.zeros_like(v) for k, v in policy.parameters().items()}
    if size > 1e-12:  # else all rollouts gained the same: nothing to learn
        for k, (_, visited) in enumerate(played):
            for t, (features, picks) in enumerate(visited):
                weight = advantages[k, t] / (size * returns.size * len(picks))
                for name, value in policy.gradient(features, picks).items():
                    gradient[name] += weight * value
    return gradient, float(rewards.sum(axis=1).mean())


class _Adam:
    """Adam, uphill; changes the arrays it was given in place."""

    def __init__(self, parameters, learning_rate, beta1=0.9, beta2=0.99):
        self._parameters = parameters
        self._rate, self._beta1, self._beta2 = learning_rate, beta1, beta2
        self._mean = {k: np.zeros_like(v) for k, v in parameters.items()}
        self._square = {k: np.zeros_like(v) for k, v in parameters.items()}
        self._steps = 0

    def step(self, gradient):
        self._steps += 1
        for name, g in gradient.items():
            mean, square = self._mean[name], self._square[name]
            mean += (1 - self._beta1) * (g - mean)
            square += (1 - self._beta2) * (g * g - square)
            unbiased = mean / (1 - self._beta1**self._steps)
            scale = np.sqrt(square / (1 - self._beta2**self._steps)) + 1e-8
            self._parameters[name] += self._rate * unbiased / scale


def _prepare(X, y, name):
    """Return features for the proxy learner, class codes and the number of classes."""
    X = np.asarray(X, dtype=np.float64)
    y = np.asarray(y)
    if X.ndim != 2 or y.shape != (len(X),):
        raise ValueError(
            f"{name} must be X of shape (n, d) and y of shape (n,), got shapes "
            f"{X.shape} and {y.shape}."
        )
    if not np.isfinite(X).all():
        raise ValueError(f"{name}: X holds NaN or infinite values.")
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2 or len(X) < 10:
        raise ValueError(
            f"{name} has {len(X)} rows of {len(classes)} class(es); an episode needs "
            "at least 10 rows and two classes."
        )
    return reduce_dimension(X), codes, len(classes)
