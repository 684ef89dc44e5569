"""Experiments: paired, blind to hidden labels, on any backend."""

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib.parallel import register_parallel_backend
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GroupKFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base import progress
from dalmax_sk.evaluation import BudgetCurves, budget_curve
from dalmax_sk.stopping import (
    AllOf,
    Budget,
    ForecastRule,
    PerformancePlateau,
    StoppingRule,
    TargetScore,
)
from dalmax_sk.strategies import CoreSet, QueryStrategy, UncertaintySampling

SIZES = {"n_initial": 8, "query_size": 5, "n_rounds": 2}
MEASURED = ["fit_seconds", "query_seconds", "score_seconds", "peak_bytes"]


def small(estimator=None, **changes):
    """Return what most tests give to budget_curve besides X and y."""
    given = {
        "estimator": LogisticRegression() if estimator is None else estimator,
        "strategies": ["random_sampling", "margin_sampling"],
        "cv": 2,
        "seeds": 2,
        "scoring": "accuracy",
        **SIZES,
    }
    return {**given, **changes}


def decisions(curves):
    """Return the table without what differs between two runs of one thing."""
    return curves.frame.drop(columns=MEASURED)


def records_of(**kwargs):
    """Run an experiment; return {(strategy, split, seed): records}."""
    found = {}

    def listener(stage, done, total, info):
        if stage == "run" and "records" in info:
            found[info["strategy"], info["split"], info["seed"]] = info["records"]

    with progress.listen(listener):
        budget_curve(**kwargs)
    return found


# ------------------------------------------------------------------ what is computed


def test_every_cell_is_the_learner_alone(table):
    X, y = table
    folds = list(StratifiedKFold(2).split(X, y))
    curves = budget_curve(X=X, y=y, **small())
    for strategy in curves.strategies:
        runs, budgets, values = curves.matrix(strategy)
        assert_array_equal(budgets, [8, 13, 18])
        for (split, seed), row in zip(runs, values, strict=True):
            train, test = folds[split]
            learner = ActiveLearningClassifier(
                LogisticRegression(), strategy, random_state=seed, **SIZES
            ).fit(X[train], y[train])
            expected = [
                accuracy_score(y[test], p) for p in learner.staged_predict(X[test])
            ]
            assert_allclose(row, expected)


def test_strategies_share_splits_seeds_and_initial_sets(table):
    X, y = table
    cv = ShuffleSplit(2, test_size=0.3, random_state=0)
    names = ["random_sampling", "margin_sampling", "core_set", "badge"]
    found = records_of(X=X, y=y, **small(strategies=names, cv=cv))
    for split, (train, _) in enumerate(cv.split(X)):
        for seed in range(2):
            initial = {tuple(found[n, split, seed][0]["queried"]) for n in names}
            assert len(initial) == 1
            assert len(next(iter(initial))) == 8
            assert set(next(iter(initial))) <= set(train)
    assert found["badge", 0, 0][0]["queried"] != found["badge", 0, 1][0]["queried"]


def test_picks_are_rows_of_the_whole_X(table):
    X, y = table
    cv = [(np.arange(199, 49, -1), np.arange(50))]
    records = records_of(X=X, y=y, **small(cv=cv))["margin_sampling", 0, 1]
    learner = ActiveLearningClassifier(
        LogisticRegression(), "margin_sampling", random_state=1, **SIZES
    ).fit(X[cv[0][0]], y[cv[0][0]])
    picked = [row for record in records for row in record["queried"]]
    assert_array_equal(picked, cv[0][0][learner.labeled_indices_])


def test_hidden_labels_have_no_influence(table):
    X, y = table
    cv = [(np.arange(150), np.arange(150, 200))]
    kwargs = small(cv=cv, seeds=1, strategies=["margin_sampling", "core_set"])
    before = records_of(X=X, y=y, **kwargs)
    # garbage for all but the initial set, in the test fold as well
    known = before["core_set", 0, 0][0]["queried"]
    garbage = (y + 1 + np.arange(len(y)) % 2) % 3
    garbage[known] = y[known]
    after = records_of(X=X, y=garbage, **kwargs)
    for key, records in before.items():
        for number in (0, 1):  # the initial set, and the first query
            assert records[number]["queried"] == after[key][number]["queried"]
        assert records[0]["scores"] != after[key][0]["scores"]


def test_runs_come_paired(table):
    X, y = table
    seen = []
    with progress.listen(
        lambda stage, done, total, info: seen.append((stage, done, total, info))
    ):
        budget_curve(X=X, y=y, **small())
    runs = [(done, total, info) for stage, done, total, info in seen if stage == "run"]
    assert [(done, total) for done, total, _ in runs] == [(i, 8) for i in range(9)]
    keys = [(i["seed"], i["split"], i["strategy"]) for _, _, i in runs[1:]]
    assert [key[:2] for key in keys] == sorted(key[:2] for key in keys)
    assert {key[2] for key in keys[:2]} == {"random_sampling", "margin_sampling"}


def test_default_scores_and_costs(table):
    X, y = table
    curves = budget_curve(X=X, y=y, **small(scoring=None, cv=2, seeds=1))
    assert curves.metrics == [
        "accuracy",
        "balanced_accuracy",
        "f1_macro",
        "f1_weighted",
    ]
    costs = curves.frame[["fit_seconds", "query_seconds", "score_seconds"]]
    assert (costs >= 0).all(axis=None)
    assert (curves.frame.loc[curves.frame["round"] > 0, "query_seconds"] > 0).all()


def test_several_scores(table):
    X, y = table
    curves = budget_curve(X=X, y=y, **small(scoring=["f1_macro", "neg_log_loss"]))
    assert curves.metrics == ["f1_macro", "neg_log_loss"]
    assert (curves.frame["score_neg_log_loss"] < 0).all()


def test_seeds_as_a_list(table):
    X, y = table
    curves = budget_curve(X=X, y=y, **small(seeds=[7, 3]))
    assert curves.seeds == [3, 7]


def test_a_class_that_no_training_fold_has(table):
    X, y = table
    train = np.flatnonzero(y[:150] != 2)
    curves = budget_curve(X=X, y=y, **small(cv=[(train, np.arange(150, 200))]))
    assert curves.frame["score_accuracy"].between(0, 1).all()


# ------------------------------------------------------------------- forms of the data


def test_dataframe_and_string_labels(table):
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(1000, 1200))
    names = np.array(["ant", "bee", "cat"], dtype=object)[y]
    plain = budget_curve(X=X, y=y, **small())
    named = budget_curve(X=frame, y=pd.Series(names, index=frame.index), **small())
    pd.testing.assert_frame_equal(decisions(plain), decisions(named))


def test_lists(table):
    X, y = table
    plain = budget_curve(X=X, y=y, **small(cv=2, seeds=1))
    listed = budget_curve(X=X.tolist(), y=y.tolist(), **small(cv=2, seeds=1))
    pd.testing.assert_frame_equal(decisions(plain), decisions(listed))


class MeanColour(ClassifierMixin, BaseEstimator):
    """A classifier of image files and image arrays that needs no net."""

    def _features(self, X):
        from dalmax_sk.images import as_paths, decode_image

        if as_paths(X) is not None:
            X = np.stack([decode_image(path) for path in X])
        return np.asarray(X, dtype=float).mean(axis=(1, 2))

    def fit(self, X, y):
        self.model_ = LogisticRegression().fit(self._features(X), y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(self._features(X))

    def predict_proba(self, X):
        return self.model_.predict_proba(self._features(X))


def test_image_files_and_image_arrays(image_folder):
    from dalmax_sk.images import decode_image, load_image_paths

    paths, y = load_image_paths(image_folder / "train", return_X_y=True)
    images = np.stack([decode_image(path) for path in paths])
    from_files = budget_curve(X=paths, y=y, **small(MeanColour()))
    from_list = budget_curve(X=list(paths), y=y, **small(MeanColour()))
    from_array = budget_curve(X=images, y=y, **small(MeanColour()))
    pd.testing.assert_frame_equal(decisions(from_files), decisions(from_array))
    pd.testing.assert_frame_equal(decisions(from_files), decisions(from_list))


class Remembers(LogisticRegression):
    """Keeps what it was given in a list that all clones share."""

    seen = []

    def predict(self, X):
        Remembers.seen.append(X)
        return super().predict(X)


def test_contiguous_folds_are_views(table):
    X, y = table
    Remembers.seen = []
    cv = [(np.arange(150), np.arange(150, 200))]
    budget_curve(
        X=X, y=y, **small(Remembers(), strategies=["random_sampling"], cv=cv, seeds=1)
    )
    assert Remembers.seen
    assert all(np.shares_memory(X, seen) for seen in Remembers.seen)


# ------------------------------------------------------------------ kinds of estimators


def test_a_pipeline_is_fitted_on_labelled_rows(table):
    X, y = table
    model = make_pipeline(StandardScaler(), SelectKBest(k=3), LogisticRegression())
    curves = budget_curve(X=X, y=y, **small(model, cv=[(range(150), range(150, 200))]))
    learner = ActiveLearningClassifier(
        model, "margin_sampling", random_state=0, **SIZES
    ).fit(X[:150], y[:150])
    expected = list(learner.staged_score(X[150:], y[150:]))
    assert_allclose(curves.matrix("margin_sampling")[2][0], expected)


def test_none_is_the_learners_default(table):
    X, y = table
    kwargs = small(cv=2, seeds=1)
    kwargs["estimator"] = None
    default = budget_curve(X=X, y=y, **kwargs)
    given = budget_curve(X=X, y=y, **small(cv=2, seeds=1))
    pd.testing.assert_frame_equal(decisions(default), decisions(given))


def test_a_learner_brings_its_settings(table):
    X, y = table
    learner = ActiveLearningClassifier(
        LogisticRegression(), "badge", initial_strategy="balanced", **SIZES
    )
    kwargs = {"strategies": ["core_set"], "cv": 2, "seeds": 1}
    curves = budget_curve(learner, X, y, **kwargs)
    assert curves.strategies == ["core_set"]
    assert_array_equal(curves.budgets(), [8, 13, 18])
    assert learner.strategy == "badge"
    with pytest.raises(ValueError, match="n_rounds given to budget_curve and by"):
        budget_curve(learner, X, y, n_rounds=3, **kwargs)
    learner.set_params(scoring="f1_macro")
    with pytest.raises(ValueError, match="scoring given to budget_curve and by"):
        budget_curve(learner, X, y, scoring="accuracy", **kwargs)
    learner.set_params(oracle=len, checkpoint_dir="x")
    with pytest.raises(ValueError, match="has oracle, checkpoint_dir; budget_curve"):
        budget_curve(learner, X, y, **kwargs)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
@pytest.mark.parametrize(
    ("make_rule", "name"),
    [
        (lambda m: TargetScore(0.9, m), "TargetScore"),
        (lambda m: PerformancePlateau(m), "PerformancePlateau"),
        (lambda m: ForecastRule(0.9, metric=m), "ForecastRule"),
        (lambda m: [Budget(30), TargetScore(0.9, m)], "TargetScore"),
        (lambda m: [AllOf([Budget(9), PerformancePlateau(m)])], "PerformancePlateau"),
    ],
)
def test_rules_that_read_the_test_fold_are_refused(table, make_rule, name, metric):
    learner = ActiveLearningClassifier(
        LogisticRegression(), stopping=make_rule(metric), **SIZES
    )
    message = rf"stopping holds {name}\(.*test fold: .*Take the rule out"
    with pytest.raises(ValueError, match=message):
        budget_curve(
            learner, *table, strategies=["random_sampling"], scoring=["accuracy"]
        )


class OwnScoreRule(StoppingRule):
    reads_scores = True


def test_rules_of_users_that_read_scores_are_refused(table):
    learner = ActiveLearningClassifier(
        LogisticRegression(), stopping=[OwnScoreRule()], **SIZES
    )
    with pytest.raises(ValueError, match=r"stopping holds OwnScoreRule\(\), which"):
        budget_curve(learner, *table, strategies=["random_sampling"])


def test_other_rules_stop_runs(table):
    rules = [Budget(13), AllOf([lambda history: False])]
    learner = ActiveLearningClassifier(LogisticRegression(), stopping=rules, **SIZES)
    curves = budget_curve(
        learner, *table, strategies=["random_sampling"], cv=2, seeds=2
    )
    assert_array_equal(curves.budgets(), [8, 13])


class Recorder(TransformerMixin, BaseEstimator):
    """Remembers the rows and labels it was fitted on."""

    fits = []

    def fit(self, X, y=None):
        Recorder.fits.append((X.copy(), y))
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X - Recorder.fits[-1][0].mean(axis=0)


def test_steps_before_a_learner_see_the_training_fold_without_labels(table):
    X, y = table
    Recorder.fits = []
    learner = ActiveLearningClassifier(LogisticRegression(), **SIZES)
    kwargs = {"strategies": ["core_set", "random_sampling"], "cv": 2, "seeds": 2}
    curves = budget_curve(
        make_pipeline(Recorder(), make_pipeline("passthrough", learner)), X, y, **kwargs
    )
    folds = list(StratifiedKFold(2).split(X, y))
    assert len(Recorder.fits) == 2  # once for each split
    for (train, _), (seen, labels) in zip(folds, Recorder.fits, strict=True):
        assert_array_equal(seen, X[train])
        assert labels is None
    train, test = folds[0]
    mean = X[train].mean(axis=0)
    learner.set_params(strategy="core_set", random_state=1)
    learner.fit(X[train] - mean, y[train])
    expected = list(learner.staged_score(X[test] - mean, y[test]))
    assert_allclose(curves.matrix("core_set")[2][1], expected)


def test_steps_with_chance_are_the_same_for_all(table):
    X, y = table
    learner = ActiveLearningClassifier(LogisticRegression(), **SIZES)
    model = make_pipeline(PCA(3, svd_solver="randomized"), learner)
    kwargs = {"strategies": ["core_set"], "cv": 2, "seeds": 2}
    pd.testing.assert_frame_equal(
        decisions(budget_curve(model, X, y, **kwargs)),
        decisions(budget_curve(model, X, y, **kwargs)),
    )


def test_steps_that_need_labels_are_refused(table):
    X, y = table
    learner = ActiveLearningClassifier(LogisticRegression(), **SIZES)
    model = make_pipeline(PCA(), LinearDiscriminantAnalysis(), learner)
    with pytest.raises(ValueError, match="steps LinearDiscriminantAnalysis before the"):
        budget_curve(model, X, y, strategies=["core_set"])
    # a step that does not tell so beforehand
    model = make_pipeline(SelectKBest(k=3), learner)
    with pytest.raises(Exception, match="steps before the learner without labels") as e:
        budget_curve(model, X, y, strategies=["core_set"])
    assert type(e.value) in (TypeError, ValueError)


# ------------------------------------------------------------------ names of strategies


class Mine(QueryStrategy):
    """Takes the first candidates."""

    def _query(self, pool, n):
        return np.arange(n)


def test_names(table):
    X, y = table
    objects = [
        "Random-Sampling",
        CoreSet(),
        UncertaintySampling(measure="entropy"),
        UncertaintySampling(batch="power", beta=2.0),
        Mine(),
    ]
    curves = budget_curve(X=X, y=y, **small(strategies=objects, seeds=1))
    assert curves.strategies == [
        "random_sampling",
        "core_set",
        "entropy_sampling",
        "UncertaintySampling(batch='power', beta=2.0)",
        "Mine",
    ]


def test_names_from_a_dict(table):
    X, y = table
    given = {"a": "core_set", "b": UncertaintySampling(), "c": "core_set"}
    curves = budget_curve(X=X, y=y, **small(strategies=given, seeds=1))
    assert curves.strategies == ["a", "b", "c"]
    assert_allclose(curves.matrix("a")[2], curves.matrix("c")[2])


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        (["core_set", CoreSet()], "'core_set' more than once; name them apart"),
        (["core_sett"], r"Unknown strategy 'core_sett'\. Did you mean 'core_set"),
        ([], "strategies is empty"),
        ([3], "strategies must hold names .* got 3"),
        ({1: "core_set"}, r"names must be strings, got \[1\]"),
        ([UncertaintySampling(measure="x")], "'measure' parameter of Uncertainty"),
    ],
)
def test_wrong_strategies(table, strategies, message):
    X, y = table
    with pytest.raises(ValueError, match=message):
        budget_curve(X=X, y=y, **small(strategies=strategies))


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "'seeds' parameter of budget_curve must be"),
        ({"seeds": [1, 1]}, "seeds must be distinct .* repeated: 1; outside: none"),
        ({"seeds": [-1]}, "outside: -1"),
        ({"seeds": [0.5]}, "sequence of whole numbers, got"),
        ({"cv": []}, "cv gives no split"),
        ({"cv": [([0, 1, 2], [2, 3])]}, "split 0 has rows 2 in its training and"),
        ({"cv": [([0, 1], [200])]}, r"X, with 200, does not have \(200\)"),
        ({"cv": [([0, 0], [5])]}, r"or twice \(0\)"),
        ({"cv": [([0, 1], [])]}, "with at least one, got shape"),
        ({"n_initial": 0}, "'n_initial' parameter of budget_curve must be"),
        (
            {"n_initial": 500},
            r"n_initial=500 is larger .*strategy 'random_sampling', s",
        ),
        ({"strategies": None}, "strategies must be a list, a dict or one strategy"),
    ],
)
def test_wrong_parameters(table, changes, message):
    X, y = table
    with pytest.raises(ValueError, match=message):
        budget_curve(X=X, y=y, **small(**changes))


def test_missing_labels_are_named(table):
    X, y = table
    y = y.astype(float)
    y[[3, 5]] = np.nan
    with pytest.raises(ValueError, match="y has none for rows 3, 5"):
        budget_curve(X=X, y=y, **small())


def test_X_and_y_of_unequal_length(table):
    X, y = table
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        budget_curve(X=X, y=y[:-1], **small())


class Fails(LogisticRegression):
    def fit(self, X, y):
        if len(X) > 10:
            raise RuntimeError("no luck")
        return super().fit(X, y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_errors_name_the_cell(table, n_jobs):
    X, y = table
    kwargs = small(Fails(), strategies=["core_set"], cv=2, seeds=[4])
    with (
        joblib.parallel_config("threading"),
        pytest.raises(RuntimeError) as caught,
    ):
        budget_curve(X=X, y=y, n_jobs=n_jobs, **kwargs)
    message = str(caught.value)
    assert message.startswith("no luck [active learning, round 1, Fails fitting 13")
    assert "[budget_curve, strategy 'core_set', split " in message
    assert message.endswith("seed 4]")


# ---------------------------------------------------------------- metadata and groups


class Weighted(LogisticRegression):
    """Notes the weights that it was fitted with."""

    seen = []

    def fit(self, X, y, sample_weight=None):
        Weighted.seen.append((len(X), sample_weight))
        return super().fit(X, y, sample_weight=sample_weight)


def test_metadata_is_cut_to_the_labelled_rows(table):
    X, y = table
    Weighted.seen = []
    weights = np.arange(200.0) + 1
    train = np.arange(199, 49, -1)
    kwargs = small(strategies=["core_set"], cv=[(train, range(50))], seeds=1)
    with sklearn.config_context(enable_metadata_routing=True):
        kwargs["estimator"] = Weighted().set_fit_request(sample_weight=True)
        found = records_of(X=X, y=y, params={"sample_weight": weights}, **kwargs)
    records = found["core_set", 0, 0]
    labelled = []
    for record, (n, seen) in zip(records, Weighted.seen, strict=True):
        labelled += record["queried"]
        assert n == len(labelled)
        assert_array_equal(seen, weights[labelled])


def test_metadata_needs_routing(table):
    X, y = table
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        budget_curve(X=X, y=y, params={"sample_weight": np.ones(200)}, **small())


def test_groups_stay_together(table):
    X, y = table
    groups = np.arange(200) // 20
    found = records_of(X=X, y=y, groups=groups, **small(cv=GroupKFold(2)))
    tests = [set(groups[test]) for _, test in GroupKFold(2).split(X, y, groups)]
    for (_, split, _), records in found.items():
        picked = {groups[row] for record in records for row in record["queried"]}
        assert not picked & tests[split]


# ------------------------------------------------------------------------ the backends


class AllAtTheEnd(joblib._parallel_backends.ThreadingBackend):
    """A backend without generators, as those of some clusters are."""

    supports_return_generator = False


@pytest.mark.parametrize("backend", ["threading", "all_at_the_end"])
def test_other_backends_give_the_same(table, backend):
    X, y = table
    register_parallel_backend("all_at_the_end", AllAtTheEnd)
    kwargs = small(strategies=["random_sampling", "core_set", "badge"])
    alone = budget_curve(X=X, y=y, **kwargs)
    with joblib.parallel_config(backend, n_jobs=2):
        together = budget_curve(X=X, y=y, **kwargs)
    pd.testing.assert_frame_equal(decisions(alone), decisions(together))


class Where(LogisticRegression):
    """Scores 1 if it predicts on a memory map, in a process of its own."""

    def predict(self, X):
        base = X
        while base is not None and not isinstance(base, np.memmap):
            base = base.base
        self.is_map_ = base is not None
        return super().predict(X)


def mapped_in_a_worker(estimator, X, y):
    estimator.predict(X)
    return float(estimator.estimator_.is_map_)


def test_workers_get_large_tables_as_memory_maps(tmp_path):
    # 2 MB, above joblib's limit of 1 MB
    X, y = make_classification(2000, 130, n_informative=5, random_state=0)
    cv = [(np.arange(1500), np.arange(1500, 2000))]
    with joblib.parallel_config("loky", n_jobs=2, temp_folder=tmp_path):
        curves = budget_curve(
            Where(max_iter=1000),
            X,
            y,
            strategies=["random_sampling"],
            cv=cv,
            seeds=2,
            scoring=mapped_in_a_worker,
            n_initial=10,
            query_size=10,
            n_rounds=1,
            results=tmp_path / "results.jsonl",
        )
    stored = BudgetCurves.from_results(tmp_path / "results.jsonl")
    pd.testing.assert_frame_equal(stored.frame, curves.frame)
    assert (curves.frame["score_score"] == 1.0).all()
