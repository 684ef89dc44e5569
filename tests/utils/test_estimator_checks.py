"""The battery catches strategies that break a promise, each by one named check."""

import inspect
from unittest import SkipTest

import numpy as np
import pytest
import torch

from dalmax_sk.strategies import (
    CoreSet,
    QueryStrategy,
    RandomSampling,
    ScoreStrategy,
    UncertaintySampling,
)
from dalmax_sk.utils.estimator_checks import (
    check_strategy,
    parametrize_with_checks,
    strategy_checks,
)


def norms(pool):
    return np.linalg.norm(pool.embeddings, axis=1)


class LargestNorm(QueryStrategy):
    """Right in all respects: what the others break."""

    requires = ("embeddings",)

    def _query(self, pool, n):
        ranks = np.lexsort((pool.random_state.permutation(len(pool)), -norms(pool)))
        return ranks[:n]


BROKEN = []


def breaks(check):
    """Note which check must fail for the class."""

    def note(cls):
        BROKEN.append(pytest.param(cls, check, id=f"{cls.__name__}-{check}"))
        return cls

    return note


@breaks("check_parameters")
class NoConstraints(LargestNorm):
    def __init__(self, scale=1.0):
        self.scale = scale


@breaks("check_parameters")
class WorkInInit(LargestNorm):
    _parameter_constraints = {"scale": "no_validation"}

    def __init__(self, scale=1):
        self.scale = float(scale)
        self.twice = 2 * scale


@breaks("check_learner_parameters")
class HiddenParameter(LargestNorm):
    _parameter_constraints = {"scale": "no_validation"}

    def __init__(self, scale=1):
        self.scale = scale

    def set_params(self, **params):
        if "scale" in params:
            raise ValueError("scale cannot be set")
        return self


@breaks("check_number_of_picks")
class RepeatsItself(LargestNorm):
    def query(self, pool, n, return_scores=False):
        super().query(pool, n)
        return np.zeros(n, dtype=np.int64)


@breaks("check_number_of_picks")
class ReturnsAList(LargestNorm):
    def query(self, pool, n, return_scores=False):
        return super().query(pool, n).tolist()


@breaks("check_number_of_picks")
class NeedsTwoCandidates(LargestNorm):
    def _query(self, pool, n):
        return np.argpartition(-norms(pool), 1)[:n]


@breaks("check_kinds_of_pools")
class ArraysOnly(LargestNorm):
    def _query(self, pool, n):
        if pool.estimator is not None and len(pool) == 30 and n == 7:
            raise RuntimeError("what is this?")
        return super()._query(pool, n)


@breaks("check_dtypes")
class DoubleOnly(LargestNorm):
    def _query(self, pool, n):
        if pool.embeddings.dtype != np.float64:
            raise TypeError("float64 is needed")
        return super()._query(pool, n)


@breaks("check_bad_n")
class TakesAnyNumber(LargestNorm):
    def query(self, pool, n, return_scores=False):
        return super().query(pool, max(1, min(int(n), len(pool))), return_scores)


@breaks("check_empty_pool")
class NothingFromNothing(LargestNorm):
    def query(self, pool, n, return_scores=False):
        if len(pool) == 0:
            return np.empty(0, dtype=np.int64)
        return super().query(pool, n, return_scores)


@breaks("check_same_pool_same_picks")
class CountsItsCalls(LargestNorm):
    def _query(self, pool, n):
        self.calls_ = getattr(self, "calls_", -1) + 1
        return np.roll(super()._query(pool, len(pool)), self.calls_)[:n]


@breaks("check_same_pool_same_picks")
@breaks("check_global_state")
class GlobalGenerator(LargestNorm):
    def _query(self, pool, n):
        return np.random.permutation(len(pool))[:n]


@breaks("check_global_state")
class SeedsTheWorld(LargestNorm):
    def _query(self, pool, n):
        torch.manual_seed(0)
        return super()._query(pool, n)


@breaks("check_global_state")
class SwitchesGradientsOff(LargestNorm):
    def _query(self, pool, n):
        torch.set_grad_enabled(len(pool) != 30)
        return super()._query(pool, n)


@breaks("check_permutation")
class TheFirst(QueryStrategy):
    def _query(self, pool, n):
        return np.arange(n)


@breaks("check_permutation")
class TheFirstOfTies(LargestNorm):
    def _query(self, pool, n):
        return np.argsort(-np.round(norms(pool)), kind="stable")[:n]


@breaks("check_permutation")
class DrawsMostlyTheFirst(LargestNorm):
    def _query(self, pool, n):
        noise = pool.random_state.gumbel(size=len(pool))
        return np.argsort(0.2 * np.arange(len(pool)) - noise)[:n]


@breaks("check_duplicates")
class OneOfEach(LargestNorm):
    def _query(self, pool, n):
        return np.unique(pool.embeddings, axis=0, return_index=True)[1][:n]


@breaks("check_constant_embeddings")
class DividesByTheSpread(LargestNorm):
    def _query(self, pool, n):
        spread = pool.embeddings.std()
        if spread == 0:
            raise ZeroDivisionError("float division by zero")
        return super()._query(pool, n)


@breaks("check_scores")
class ScoresOfAll(LargestNorm):
    def _query(self, pool, n):
        return super()._query(pool, n), norms(pool)


@breaks("check_scores")
class ScoresAreNaN(LargestNorm):
    def _query(self, pool, n):
        return super()._query(pool, n), np.full(n, np.nan)


@breaks("check_scores")
class WorstFirst(UncertaintySampling):
    def _query(self, pool, n):
        positions, scores = ScoreStrategy._query(self, pool, n)
        return positions[::-1], scores[::-1]


@breaks("check_info")
class LeavesArrays(LargestNorm):
    def _query(self, pool, n):
        pool.info["norms"] = norms(pool)
        return super()._query(pool, n)


@breaks("check_info")
class LeavesNumPyScalars(LargestNorm):
    def _query(self, pool, n):
        pool.info["largest"] = norms(pool).astype(np.float32).max()
        return super()._query(pool, n)


@breaks("check_state")
class StateIsNoJSON(LargestNorm):
    def get_state(self):
        return {"weights": np.ones(3)}


@breaks("check_state")
@breaks("check_resume")
class ForgetsItsState(LargestNorm):
    """Learns from its first pool what it then always does, and does not say so."""

    def _query(self, pool, n):
        self.first_ = getattr(self, "first_", len(pool))
        return np.roll(super()._query(pool, len(pool)), self.first_)[:n]


@breaks("check_label_names")
class CountsWithLabels(LargestNorm):
    def _query(self, pool, n):
        # the letters of the labels, "0" or "class 0"
        shift = sum(len(str(label)) for label in pool.y_labeled)
        return np.roll(super()._query(pool, len(pool)), shift)[:n]


@breaks("check_unseen_class")
class WantsAllClasses(LargestNorm):
    def _query(self, pool, n):
        counts = np.bincount(pool.y_labeled_codes, minlength=len(pool.classes))
        if (counts == 0).any() and len(counts) == 3:
            raise ZeroDivisionError("float division by zero")
        return super()._query(pool, n)


@breaks("check_few_labels")
class WantsLabels(LargestNorm):
    def _query(self, pool, n):
        pool.labeled_embeddings.min(axis=0)
        return super()._query(pool, n)


@breaks("check_missing_capability")
class TakesItForGranted(LargestNorm):
    requires = ()

    def _query(self, pool, n):
        if pool.estimator is None and "embeddings" not in pool._cache:
            raise KeyError("embeddings")
        return super()._query(pool, n)


@breaks("check_missing_capability")
class SaysNothingOfUse(LargestNorm):
    requires = ()

    def _query(self, pool, n):
        if pool.estimator is None and "embeddings" not in pool._cache:
            raise ValueError("cannot do that")
        return super()._query(pool, n)


@breaks("check_nan")
class SortsNaN(QueryStrategy):
    """NaN sorts last: those candidates are never picked, and nobody is told."""

    def _query(self, pool, n):
        return np.argsort(-np.linalg.norm(pool._rows("SortsNaN"), axis=1))[:n]


@breaks("check_inputs_unchanged")
class NormalisesInPlace(LargestNorm):
    def _query(self, pool, n):
        embeddings = pool.embeddings
        embeddings -= embeddings.mean(axis=0)
        return super()._query(pool, n)


@breaks("check_inputs_unchanged")
class PerturbsTheModel(LargestNorm):
    def _query(self, pool, n):
        if hasattr(pool.estimator, "module_"):
            next(pool.estimator.module_.parameters()).data.add_(1e-3)
        return super()._query(pool, n)


@breaks("check_inputs_unchanged")
class LeavesTrainingMode(LargestNorm):
    def _query(self, pool, n):
        if hasattr(pool.estimator, "module_"):
            pool.estimator.module_.train()
        return super()._query(pool, n)


@breaks("check_max_memory_changes_nothing")
class SkipsWhatDoesNotFit(LargestNorm):
    def _query(self, pool, n):
        head = norms(pool)[: pool.max_memory // 2**12]
        rest = np.arange(len(head), len(pool))
        return np.concatenate([np.argsort(-head), rest])[:n]


@breaks("check_max_memory")
class AllDistances(LargestNorm):
    def _query(self, pool, n):
        points = pool.embeddings
        return np.argsort(-(points @ points.T).sum(axis=1))[:n]


@breaks("check_max_memory")
class AllGradients(LargestNorm):
    requires = ("embeddings", "proba")

    def _query(self, pool, n):
        proba = pool.proba.astype(np.float32)
        gradients = proba[:, :, None] * pool.embeddings[:, None]  # (n, C, d)
        return np.argsort(-(gradients**2).sum(axis=(1, 2)))[:n]


@breaks("check_max_memory")
class NeverEnough(LargestNorm):
    def _query(self, pool, n):
        if len(pool) > 1000:
            raise ValueError(f"max_memory={pool.max_memory} is too little")
        return super()._query(pool, n)


@breaks("check_hidden_labels")
class ReadsHiddenLabels(LargestNorm):
    """Finds the learner on the stack and orders the candidates by their labels."""

    def _query(self, pool, n):
        for frame in inspect.stack():
            learner = frame.frame.f_locals.get("self")
            if hasattr(learner, "_source") and learner._source is not None:
                y = learner._source(pool.indices)
                return np.argsort(y, kind="stable")[:n]
        return super()._query(pool, n)


@breaks("check_grid_search")
class FailsOnSmallPools(LargestNorm):
    def _query(self, pool, n):
        if len(pool) < 20:
            raise RuntimeError("too small")
        return super()._query(pool, n)


@pytest.mark.parametrize(("cls", "name"), BROKEN)
def test_a_broken_promise_is_noticed(cls, name):
    check = dict(strategy_checks(cls()))[name]
    grad = torch.is_grad_enabled()
    try:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it raised)
            check()
    finally:
        torch.set_grad_enabled(grad)
    assert not isinstance(caught.value, SkipTest)


def test_every_check_is_broken_by_somebody():
    names = {name for name, _ in strategy_checks(CoreSet())}
    assert names == {case.values[1] for case in BROKEN}


class RefusesNaN(LargestNorm):
    def _query(self, pool, n):
        if not np.isfinite(pool.embeddings).all():
            raise ValueError("RefusesNaN: embeddings must be finite.")
        return super()._query(pool, n)


def test_what_keeps_its_promises_passes():
    results = check_strategy(RefusesNaN())
    assert {result["status"] for result in results} == {"passed"}
    assert all(result["exception"] is None for result in results)


class TestOutcomes:
    def test_raise_names_strategy_and_check(self):
        with pytest.raises(AssertionError, match=r"TheFirst\(\) fails check_permutat"):
            check_strategy(TheFirst())

    def test_warn_goes_on(self):
        with pytest.warns(UserWarning, match=r"TheFirst\(\) fails check_permutation"):
            results = check_strategy(TheFirst(), on_fail="warn")
        assert [r["status"] for r in results].count("failed") == 1

    def test_expected_failures_are_no_failures(self):
        excuse = {"check_permutation": "the order of the rows means something"}
        results = check_strategy(TheFirst(), expected_failed_checks=excuse)
        by_name = {r["check_name"]: r["status"] for r in results}
        assert by_name.pop("check_permutation") == "xfail"
        assert "failed" not in by_name.values()

    def test_skips_are_told(self):
        with pytest.warns(match="Skipping check_nan for RandomSampling"):
            check_strategy(RandomSampling(), on_fail="warn")

    @pytest.mark.parametrize("wrong", [CoreSet, "core_set", None])
    def test_only_instances(self, wrong):
        with pytest.raises(TypeError, match="must be an instance of QueryStrategy"):
            next(strategy_checks(wrong))

    def test_wrong_on_fail(self):
        with pytest.raises(ValueError, match="on_fail must be"):
            check_strategy(CoreSet(), on_fail="ignore")


def test_parametrisation():
    mark = parametrize_with_checks(
        [CoreSet(), TheFirst()],
        expected_failed_checks=lambda strategy: (
            {"check_permutation": "the first"} if isinstance(strategy, TheFirst) else {}
        ),
    )
    names, cases = mark.args
    assert names == ("strategy", "check")
    ids = [case.id for case in cases]
    assert len(set(ids)) == len(ids) == 2 * len(list(strategy_checks(CoreSet())))
    assert [case.id for case in cases if case.marks] == ["TheFirst()-check_permutation"]
