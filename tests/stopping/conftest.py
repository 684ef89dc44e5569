"""What the tests of stopping rules share."""

import pytest

from dalmax_sk import ActiveLearningClassifier

TIMES = (
    "fit_seconds",
    "query_seconds",
    "eval_seconds",
    "observe_seconds",
    "peak_bytes",
)


class Killed(BaseException):
    """Not an Exception: like SIGINT, nothing in the library may catch it."""


@pytest.fixture
def check_resume(table, tmp_path, monkeypatch):
    """Check that a run killed in any fit stops where one that was never killed does."""
    X, y = table

    def make(rule, directory, **params):
        defaults = {"n_initial": 20, "query_size": 10, "n_rounds": 12}
        return ActiveLearningClassifier(
            **{**defaults, **params},
            stopping=rule,
            random_state=0,
            checkpoint_dir=directory,
        )

    def check(rule, **params):
        whole = make(rule, None, **params).fit(X, y, eval_set=(X, y))
        model = type(whole.estimator_)
        fit = model.fit
        assert 2 <= whole.n_rounds_ < 12, "the rule must end the run on its way"
        for n_fits in range(2, whole.n_rounds_ + 2):
            directory = tmp_path / str(n_fits)
            calls = []

            def dying_fit(self, *args, calls=calls, n_fits=n_fits, **kwargs):
                calls.append(1)
                if len(calls) == n_fits:
                    raise Killed
                return fit(self, *args, **kwargs)

            with monkeypatch.context() as patch:
                patch.setattr(model, "fit", dying_fit)
                with pytest.raises(Killed):
                    make(rule, directory, **params).fit(X, y, eval_set=(X, y))
            resumed = make(rule, directory, **params).fit(X, y, eval_set=(X, y))
            assert resumed.stop_reason_ == whole.stop_reason_
            for one, other in zip(resumed.history_, whole.history_, strict=True):
                assert one.keys() == other.keys()
                for key in one.keys() - set(TIMES):
                    assert one[key] == other[key], key
        return whole

    return check
