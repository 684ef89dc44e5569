"""One round of the real loop, watched from outside."""

import tempfile
import time
from contextlib import contextmanager

import numpy as np
import torch
from _clock import Clock, patched
from _work import PARTS

import dalmax_sk.active_learning.learner
import dalmax_sk.pool.posterior
from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.images import get_image_cache
from dalmax_sk.strategies import QueryStrategy

__all__ = ["RATE_OF", "RoundMeter"]

#: Whether the net runs in mixed precision -> the rate that it could reach.
RATE_OF = {False: "matrix_float32", True: "matrix_bfloat16"}
# What a fitted CNNClassifier says of inputs: methods of the whole, and the generator.
_OUTPUTS = ("predict", "predict_proba", "transform", "predict_proba_and_embeddings")
_LABELS = {
    "predict": "pool pass: proba",
    "predict_proba": "pool pass: proba",
    "transform": "pool pass: embeddings",
    "predict_proba_and_embeddings": "pool pass: proba and embeddings",
}


class _RoundIsOver(Exception):
    """The loop came to its next fit."""


class RoundMeter:
    """Runs rounds of ``ActiveLearningClassifier`` and splits their time.

    Parameters
    ----------
    estimator : CNNClassifier
        Not fitted.
    images : object
        With ``X``, ``y`` (labelled and candidates), ``eval_set``, ``classes``.
    arguments : Namespace
        Of the command line.

    Attributes
    ----------
    passes : list of (part, seconds, number of images)
        The pool passes that were computed for the first strategy in need of them.
    net_flops : dict of str to float
        Operations of the net an image: ``forward``, ``head``, ``training``.
    """

    def __init__(self, estimator, images, arguments):
        self._unfitted = estimator
        self.images = images
        self.arguments = arguments
        self.amp = arguments.amp
        self.device = torch.device(arguments.device)
        self.net_flops = {}
        self.forget()

    def forget(self):
        """Drop what strategies share; the next round computes it anew."""
        self.passes = []
        self._fitted = None  # (estimator, seconds)
        self._known = {}  # key -> (seconds, outputs)

    @property
    def estimator(self):
        """The classifier fitted on the labelled images of this repeat."""
        return self._fitted[0]

    @property
    def bytes_per_image(self):
        return int(np.prod(self.estimator.input_spec_.shape))

    @property
    def inference_batch(self):
        """The number of images that the pool pass looks at together."""
        start, stop, _ = next(self.estimator.iter_batches(self.images.X[:8192]))
        return stop - start

    # ---------------------------------------------------- what all strategies share

    def shared_parts(self):
        """Measure decoding, reading from memory, and the fit: (part, seconds, n)."""
        cache, X = get_image_cache(), self.images.X
        paths = [*X, *self.images.eval_set[0]]
        cache.clear()
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            cache.load(paths, image_size=None)
            seconds.append(time.perf_counter() - started)
        _, parts, _ = self.round("random_sampling")
        n_seen = self.arguments.n_labeled * self.arguments.epochs
        return [
            ("decode", seconds[0], len(paths)),
            ("read", seconds[1], len(paths)),
            ("fit", parts["fit"], n_seen),
            ("scoring", parts["scoring"], len(self.images.eval_set[0])),
        ]

    # ---------------------------------------------------- one round

    def round(self, strategy, n_candidates=None):
        """Run a round; return its seconds, the seconds of its parts, the pool passes.

        Parameters
        ----------
        strategy : str
        n_candidates : int or None, default=None
            So many of the candidates only; None takes all.
        """
        clock = Clock(self._synchronize)
        needs = []
        with patched(*self._changes(clock, needs)), self._cut(n_candidates) as data:
            started = clock.now()
            self._run(strategy, data)
            whole = self._ended - max(started, self._began)
        parts = clock.parts()
        whole += clock.credited - clock.paused
        return whole, {part: parts.get(part, 0.0) for part in PARTS}, needs

    def plain_round(self, strategy):
        """Return the seconds of a round that shares nothing and that nobody watches."""
        with self._cut(None) as data, patched(self._ends(None)):
            self._run(strategy, data)
        return self._ended - self._began

    @contextmanager
    def _cut(self, n_candidates):
        n = len(self.images.X)
        if n_candidates is not None:
            n = self.arguments.n_labeled + n_candidates
        yield self.images.X[:n], self.images.y[:n]

    def _run(self, strategy, data):
        with tempfile.TemporaryDirectory() as folder:
            learner = ActiveLearningClassifier(
                self._unfitted,
                strategy,
                n_initial=self.arguments.n_labeled,
                query_size=self.arguments.query,
                n_rounds=1,
                checkpoint_dir=folder,
                random_state=self.arguments.seed,
            )
            try:
                learner.fit(*data, eval_set=self.images.eval_set)
            except _RoundIsOver:
                return
        raise RuntimeError("The loop ended before its second fit.")

    def _synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # ---------------------------------------------------- what is looked at

    def _changes(self, clock, needs):
        """Return what `patched` puts into the loop's place while a round is watched."""

        def counted(part):
            def make(function):
                def watched(*args, **kwargs):
                    with clock.part(part):
                        return function(*args, **kwargs)

                return watched

            return make

        cnn = CNNClassifier
        changes = [
            self._ends(clock),
            (ActiveLearningClassifier, "_query_round", counted("bookkeeping")),
            (dalmax_sk.active_learning.learner, "evaluate", counted("scoring")),
            (QueryStrategy, "query", counted("selection")),
            (cnn, "fit", lambda fit: self._shared_fit(fit, clock)),
            (
                dalmax_sk.pool.posterior,
                "_draw",
                lambda make: self._shared_samples(make, clock, needs),
            ),
        ]
        changes += [
            (cnn, name, lambda f, name=name: self._shared(f, name, clock, needs))
            for name in _OUTPUTS
        ]
        if hasattr(cnn, "iter_predictions"):
            changes.append(
                (
                    cnn,
                    "iter_predictions",
                    lambda f: self._shared_stream(f, clock, needs),
                )
            )
        return changes

    def _ends(self, clock):
        """A round goes from the beginning of one fit to that of the next."""
        begun = []

        def make(fit_round):
            def watched(learner):
                self._synchronize()
                now = time.perf_counter()
                if begun:
                    self._ended = now
                    raise _RoundIsOver
                begun.append(now)
                self._began = now
                if clock is None:
                    return fit_round(learner)
                with clock.part("bookkeeping"):
                    return fit_round(learner)

            return watched

        return ActiveLearningClassifier, "_fit_round", make

    def _shared_fit(self, fit, clock):
        """Only the loop's own fit is shared; strategies may fit others."""

        def watched(estimator, X, y, **params):
            if clock.is_open("selection"):
                return fit(estimator, X, y, **params)
            if self._fitted is None:
                started = clock.now()
                with clock.part("fit"):
                    fit(estimator, X, y, **params)
                self._fitted = estimator, clock.now() - started
                return estimator
            model, seconds = self._fitted
            with clock.pause():
                given = estimator.get_params(deep=False)
                fitted = {k: v for k, v in vars(model).items() if k not in given}
                vars(estimator).update(fitted)
            clock.credit("fit", seconds)
            return estimator

        return watched

    def _part(self, clock):
        """The part that an output belongs to: of test images, or of candidates."""
        return "scoring" if clock.is_open("scoring") else "pool pass"

    def _lookup(self, clock, name, estimator, X, options):
        """Return the key of an output, and what is known of it."""
        if estimator.net_ is not self.estimator.net_:  # a committee's member
            return None, None
        key = name, options, hash(tuple(X)), len(X)
        return key, self._known.get(key)

    def _note(self, key, part, label, seconds, outputs, needs, n):
        self._known[key] = seconds, outputs
        if part == "pool pass" and n == self.arguments.n_pool:
            self.passes.append((label, seconds, n))

    def _needed(self, clock, part, label, n, needs):
        """Note what the strategy looks at, not what that is made of."""
        inner = clock.is_open("(samples)") or n == self.arguments.n_labeled
        if part == "pool pass" and not inner:
            words = label.removeprefix("pool pass: ")
            if words not in needs:
                needs.append(words)

    def _shared(self, function, name, clock, needs):
        def watched(estimator, X, *args, **kwargs):
            part = self._part(clock)
            if clock.is_open("(output)"):  # predict asks predict_proba
                return function(estimator, X, *args, **kwargs)
            with clock.pause():
                options = args, tuple(kwargs.items())
                key, known = self._lookup(clock, name, estimator, X, options)
            self._needed(clock, part, _LABELS[name], len(X), needs)
            if known is not None:
                clock.credit(part, known[0])
                return known[1]
            started = clock.now()
            with clock.inside("(output)"), clock.part(part):
                outputs = function(estimator, X, *args, **kwargs)
            if key is not None:
                seconds = clock.now() - started
                self._note(key, part, _LABELS[name], seconds, outputs, needs, len(X))
            return outputs

        return watched

    def _shared_stream(self, function, clock, needs):
        def watched(estimator, X, embeddings=True, **kwargs):
            if clock.is_open("(output)"):
                yield from function(estimator, X, embeddings=embeddings, **kwargs)
                return
            part = self._part(clock)
            label = "pool pass: proba" + " and embeddings" * bool(embeddings)
            with clock.pause():
                options = embeddings, tuple(kwargs.items())
                key, known = self._lookup(clock, "stream", estimator, X, options)
            self._needed(clock, part, label, len(X), needs)
            if known is not None:
                clock.credit(part, known[0])
                yield from known[1]
                return
            outputs, seconds = [], 0.0
            stream = function(estimator, X, embeddings=embeddings, **kwargs)
            while True:
                started = clock.now()
                with clock.inside("(output)"), clock.part(part):
                    item = next(stream, None)
                seconds += clock.now() - started
                if item is None:
                    break
                with clock.pause():
                    outputs.append(tuple(map(_copied, item)))
                yield item
            if key is not None:
                self._note(key, part, label, seconds, outputs, needs, len(X))

        return watched

    def _shared_samples(self, function, clock, needs):
        def watched(pool, posterior, n_samples, owner):
            label = f"pool pass: samples, K = {n_samples}"
            self._needed(clock, "pool pass", label, len(pool), needs)
            with clock.pause():
                state = pool.model_random_state.get_state()[1].tobytes()
                rows = hash(pool.indices.tobytes())
                key = "posterior_proba", posterior, n_samples, hash(state), rows
                known = self._known.get(key)
            if known is not None:
                clock.credit("pool pass", known[0])
                return known[1]
            started, credited = clock.now(), clock.credited
            with clock.inside("(samples)"), clock.part("pool pass"):
                samples = function(pool, posterior, n_samples, owner)
            seconds = clock.now() - started + clock.credited - credited
            self._note(key, "pool pass", label, seconds, samples, needs, len(pool))
            return samples

        return watched


def _copied(value):
    return value.copy() if isinstance(value, np.ndarray) else value
