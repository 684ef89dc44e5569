"""Selection by a policy that was trained, and may train further, by reinforcement."""

import os
from numbers import Integral, Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.strategies.base import ScoreStrategy
from dalmax_sk.strategies.reinforcement.episodes import reduce_dimension
from dalmax_sk.strategies.reinforcement.features import (
    candidate_features,
    nearest_by_class,
    neighbour_distance,
)
from dalmax_sk.strategies.reinforcement.policy import (
    Policy,
    default_policy,
    load_policy,
)
from dalmax_sk.strategies.reinforcement.training import train_policy

__all__ = ["ReinforcementLearningSampling"]

# Labelled samples that the training at a query uses at most: its cost stays bounded.
_MAX_TRAINING_ROWS = 400
# Steps at a query are larger than those of a long training: there are few of them.
_LEARNING_RATE = 0.02


class ReinforcementLearningSampling(ScoreStrategy):
    r"""Score candidates by a policy network that learned what helps a learner.

    A small network :math:`s(x) = a^\top x + v^\top \tanh(Wx + b)` scores each candidate
    by 14 numbers without units: how unsure the model is of it, how typical it is, how
    far from what is labelled, how rare its predicted class, how far the labelling has
    come (:func:`~dalmax_sk.strategies.reinforcement.candidate_features`). It was
    trained by REINFORCE [1]_ on simulated runs of active learning, where the reward of
    a batch is the gain in held-out accuracy
    (:func:`~dalmax_sk.strategies.reinforcement.train_policy`), in the manner of [2]_
    and [3]_.

    With enough labels a query first trains it further on episodes simulated from them:
    at random some labelled samples play the labelled start, some the pool and some the
    held-out set of a proxy learner (logistic regression on the embeddings). No other
    data and no hidden label is looked at.

    Parameters
    ----------
    policy : "default", Policy, path or None, default="default"
        Where to begin: the policy that comes with the package, one of
        :func:`~dalmax_sk.strategies.reinforcement.train_policy`, a file written by its
        ``save``, or None for an untrained one, which is then trained on the labels of
        the run only.
    n_episodes : int, default=10
        Episodes that a query trains on, at least 0; each costs some 0.1 s whatever the
        size of the pool. 0 uses the policy as it is.
    min_labels : int, default=50
        With fewer labels, or labels of one class, a query does not train: the policy is
        used as it is (an untrained one draws uniformly). At least 10.
    batch : {"softmax", "top", "softrank"}, default="softmax"
        How scores become a batch. ``"softmax"`` with ``beta=1`` draws from the policy,
        as in its training, and so avoids a batch of near-copies; ``"top"`` takes the
        highest scores.
    beta : float, default=1.0
        Coldness of a drawn batch, at least 0. Unused with ``batch="top"``.

    See Also
    --------
    UncertaintySampling : The rule of thumb that a policy has to beat.
    ActiveLearningByLearning : Learns which strategy to trust.
    dalmax_sk.strategies.reinforcement.train_policy : Train a policy on your own data.

    Notes
    -----
    A query is a function of the pool and its seed; nothing is kept between rounds. Its
    cost is O(n·(m + 1000)·d) for distances, in blocks under ``max_memory``, and the
    training, which does not grow with the pool. The 1000 are reference points for the
    density, drawn from the pool if it is larger.

    A query leaves ``n_episodes_trained`` in ``pool.info``.

    References
    ----------
    .. [1] R. J. Williams, "Simple Statistical Gradient-Following Algorithms for
       Connectionist Reinforcement Learning", Machine Learning 8, 1992.
       https://doi.org/10.1007/BF00992696
    .. [2] M. Fang, Y. Li and T. Cohn, "Learning how to Active Learn: A Deep
       Reinforcement Learning Approach", EMNLP 2017. https://arxiv.org/abs/1708.02383
    .. [3] K. Konyushkova, R. Sznitman and P. Fua, "Discovering General-Purpose Active
       Learning Strategies", 2018. https://arxiv.org/abs/1810.04114

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ReinforcementLearningSampling
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = [0, 1, 50, 51, 100, 101]
    >>> model = LogisticRegression(max_iter=1000).fit(X[labeled], y[labeled])
    >>> pool = Pool(model, X, labeled, y[labeled], random_state=0)
    >>> ReinforcementLearningSampling().query(pool, n=5).shape
    (5,)
    """

    names = {"reinforcement_learning_sampling": {}}
    category = "learned"
    requires = ("proba", "embeddings", "labeled_embeddings")
    cost = "O(n·(m + 1000)·d)"

    _parameter_constraints = {
        "policy": [str, os.PathLike, Policy, None],
        "n_episodes": [Interval(Integral, 0, None, closed="left")],
        "min_labels": [Interval(Integral, 10, None, closed="left")],
        "batch": [StrOptions({"softmax", "top", "softrank"})],
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        policy="default",
        n_episodes=10,
        min_labels=50,
        batch="softmax",
        beta=1.0,
    ):
        self.policy = policy
        self.n_episodes = n_episodes
        self.min_labels = min_labels
        self.batch = batch
        self.beta = beta

    def _score(self, pool):
        # a stream of its own: the draw of the batch begins at the pool's seed as well
        rng = np.random.RandomState(pool.random_state.randint(2**31 - 1))
        neighbours, floor = neighbour_distance(
            pool.embeddings, random_state=rng, max_memory=pool.max_memory
        )
        codes = self._codes(pool)
        policy = self._trained(self._get_policy(rng), pool, codes, rng)
        n_classes = pool.proba.shape[1]
        nearest, _ = nearest_by_class(
            pool.embeddings,
            pool.labeled_embeddings,
            codes,
            n_classes,
            max_memory=pool.max_memory,
        )
        counts = np.bincount(codes, minlength=n_classes)
        return policy.scores(
            candidate_features(pool.proba, neighbours, nearest, counts, floor)
        )

    def _codes(self, pool):
        """Return the labels as positions in the classes, shape (m,)."""
        n_labeled = len(pool.labeled_embeddings)
        if n_labeled and pool.y_labeled is None:
            raise ValueError(
                "ReinforcementLearningSampling needs the labels of the labelled "
                f"samples, this pool has {n_labeled} labelled_embeddings without. "
                "Give y_labeled to Pool.from_arrays."
            )
        return pool.y_labeled_codes

    def _get_policy(self, rng):
        """Return the policy to begin with."""
        if self.policy is None:
            return Policy.initial(random_state=rng)
        if isinstance(self.policy, Policy):
            return self.policy
        if self.policy == "default":
            return default_policy()
        return load_policy(self.policy)

    def _trained(self, policy, pool, codes, rng):
        """Return the policy after episodes on the labelled samples, if they suffice."""
        pool.info["n_episodes_trained"] = 0
        enough = len(codes) >= self.min_labels and len(np.unique(codes)) > 1
        if not enough or not self.n_episodes:
            return policy
        rows = np.sort(rng.permutation(len(codes))[:_MAX_TRAINING_ROWS])
        classes, y = np.unique(codes[rows], return_inverse=True)
        if len(classes) < 2:
            return policy
        X = reduce_dimension(pool.labeled_embeddings[rows])
        pool.info["n_episodes_trained"] = int(self.n_episodes)
        return train_policy(
            [(X, y)],
            policy,
            n_episodes=self.n_episodes,
            n_rollouts=4,
            n_rounds=5,
            learning_rate=_LEARNING_RATE,
            random_state=rng,
        )
