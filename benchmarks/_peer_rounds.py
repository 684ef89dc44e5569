"""A round of deep active learning with scikit-activeml, as its tutorials write it.

What follows its notebook on CIFAR-10 ("Deep Active Learning for Fine-tuning Vision
Transformers") and the one on Bayesian active learning: images are one float32 array in
memory, the net is wrapped by ``SkorchClassifier`` with named outputs, ``clf.fit(X, y)``
takes all rows with -1 for a missing label, and ``query`` gets the fitted classifier
with ``fit_clf=False``. CoreSet, TypiClust and the others that know no classifier get
the net's embeddings as X. The notebooks show 1,000 candidates at a time to a strategy;
here it sees all of them, as ours does.
"""

import importlib.util
import signal
from contextlib import contextmanager

import numpy as np
import torch
from skorch.callbacks import LRScheduler
from torch import nn

__all__ = ["PEERS", "PEER_INSTALLED", "TimeLimitReached", "make_peer", "time_limit"]

PEER_INSTALLED = importlib.util.find_spec("skactiveml") is not None
MISSING = -1
EMBEDDING = {"extra_outputs": "emb"}


class TwoOutputs(nn.Module):
    """Logits and embeddings; with ``n_samples``, logits under fixed dropout masks too.

    Parameters
    ----------
    make : callable
        Builds a net whose dropout comes right before the last layer.
    mean, std : Tensor of shape (1, C, 1, 1), in units of inputs in [0, 1]
    n_samples : int
    """

    def __init__(self, make, mean, std, n_samples=0, dropout=0.25):
        super().__init__()
        self.net = make()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.n_samples = n_samples
        self.dropout = dropout
        self.masks = None

    def forward(self, x):
        """(n, C) and (n, d), and in evaluation (n, K, C)."""
        features = self.net.forward_features((x - self.mean) / self.std)
        embeddings = self.net.forward_head(features, pre_logits=True)
        last = self.net.get_classifier()
        logits = last(embeddings)
        if self.training or not self.n_samples:
            return logits, embeddings
        if self.masks is None:
            shape = (self.n_samples, embeddings.shape[1])
            keep = 1 - self.dropout
            self.masks = torch.full(shape, keep, device=x.device).bernoulli_() / keep
        return logits, embeddings, last(embeddings[:, None] * self.masks)


def make_peer(make, mean, std, n_classes, *, epochs, batch_size, seed, n_samples=0):
    """Return the peer's classifier, not fitted.

    ``n_samples`` > 0 gives it ``sample_proba``, as the notebook on Bayesian active
    learning defines it.
    """
    from skactiveml.classifier import SkorchClassifier

    class Bayesian(SkorchClassifier):
        def sample_proba(self, X):
            """(K, n, C)."""
            found = self.predict_proba(X, extra_outputs=["samples"])[-1]
            return found.swapaxes(0, 1)

    soft_max = nn.Softmax(dim=-1)
    outputs = {"proba": (0, soft_max), "emb": (1, None)}
    if n_samples:
        outputs["samples"] = (2, soft_max)
    schedule = LRScheduler(
        policy=torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs
    )
    return Bayesian(
        module=TwoOutputs,
        criterion=nn.CrossEntropyLoss,
        forward_outputs=outputs,
        neural_net_param_dict={
            "module__make": make,
            "module__mean": mean,
            "module__std": std,
            "module__n_samples": n_samples,
            "max_epochs": epochs,
            "batch_size": batch_size,
            "optimizer": torch.optim.Adam,
            "lr": 1e-3,
            "callbacks": [("lr_scheduler", schedule)],
            "verbose": 0,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "train_split": False,
            "iterator_train__shuffle": True,
        },
        classes=np.arange(n_classes),
        missing_label=MISSING,
        random_state=seed,
    )


def _strategy(name, **params):
    import skactiveml.pool

    return getattr(skactiveml.pool, name)(
        missing_label=MISSING, random_state=0, **params
    )


def _embedded(clf, X):
    return clf.predict(X, extra_outputs="emb")[1]


def _random(clf, X, y, n):
    return _strategy("RandomSampling").query(X=X, y=y, batch_size=n)


def _uncertainty(method):
    def query(clf, X, y, n):
        strategy = _strategy("UncertaintySampling", method=method)
        return strategy.query(X=X, y=y, clf=clf, fit_clf=False, batch_size=n)

    return query


def _gradient_like(name, **params):
    """Strategies that ask the classifier for probabilities and embeddings."""

    def query(clf, X, y, n):
        strategy = _strategy(name, clf_embedding_flag_name=EMBEDDING, **params)
        return strategy.query(X=X, y=y, clf=clf, fit_clf=False, batch_size=n)

    return query


def _clue(clf, X, y, n):
    strategy = _strategy("Clue", predict_dict=EMBEDDING, method="entropy")
    return strategy.query(X=X, y=y, estimator=clf, fit_estimator=False, batch_size=n)


def _geometric(name, unit=False, **params):
    """Strategies that take the embeddings in place of the samples."""

    def query(clf, X, y, n):
        embeddings = _embedded(clf, X)
        if unit:
            lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings = embeddings / np.maximum(lengths, 1e-12)
        return _strategy(name, **params).query(X=embeddings, y=y, batch_size=n)

    return query


def _committee(name, **params):
    def query(clf, X, y, n):
        strategy = _strategy(
            name, sample_predictions_method_name="sample_proba", **params
        )
        return strategy.query(X=X, y=y, ensemble=clf, fit_ensemble=False, batch_size=n)

    return query


#: Name of the peer's class -> its query, a function of (classifier, X, y, n).
PEERS = {
    "RandomSampling": _random,
    "UncertaintySampling margin": _uncertainty("margin_sampling"),
    "UncertaintySampling entropy": _uncertainty("entropy"),
    "UncertaintySampling least confident": _uncertainty("least_confident"),
    "CoreSet": _geometric("CoreSet"),
    "Badge": _gradient_like("Badge"),
    "TypiClust": _geometric("TypiClust"),
    "ProbCover": _geometric("ProbCover", unit=True, n_classes=10),
    "MaxHerding": _geometric("MaxHerding"),
    "DropQuery": _gradient_like("DropQuery", n_dropout_samples=3),
    "Clue": _clue,
    "QueryByCommittee": _committee("QueryByCommittee", method="vote_entropy"),
    "GreedyBALD": _committee("GreedyBALD"),
    "BatchBALD": _committee("BatchBALD", n_MC_samples=1000),
}


class TimeLimitReached(Exception):
    """A call took longer than it may."""


@contextmanager
def time_limit(seconds):
    """Stop what runs inside after some seconds, at the next line of Python.

    Raises
    ------
    TimeLimitReached
        By the alarm signal, so in the main thread and not on Windows.
    """

    def stop(number, frame):
        raise TimeLimitReached(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
