"""X as the learner takes it: checked as far as the estimator leaves it to others."""

from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data

from dalmax_sk._base.pipelines import components
from dalmax_sk._base.sklearn_compat import check_feature_names, check_n_features
from dalmax_sk.images import as_paths, check_images
from dalmax_sk.images.forms import as_rows, is_frame, is_object_rows
from dalmax_sk.images.paths import forget_features

__all__ = ["check_rows"]


def check_rows(learner, X, *, reset):
    """Validate X; what the estimator makes of its rows is not looked into.

    Dataframes stay as they are, for column transformers; so do sparse matrices, in CSR
    form. Rows that are objects (dicts, lists of tokens) come in a 1-D array.
    """
    X = as_rows(X, type(learner).__name__)
    if is_frame(X):
        _check_column_names(X)
        check_feature_names(learner, X, reset=reset)
        check_n_features(learner, X, reset=reset)
        return X
    if is_object_rows(X):
        if reset:
            forget_features(learner)
        return X
    if as_paths(X) is not None:
        return check_images(learner, X, reset=reset)
    estimator = learner._get_estimator()
    # a Pipeline or a search does not say what the first of its steps takes
    wraps = any(hasattr(part, "fit") for part in components(estimator)[1:])
    if hasattr(X, "tocsr"):
        if not (wraps or get_tags(estimator).input_tags.sparse):
            raise TypeError(
                f"Sparse data was passed for X, and {type(estimator).__name__} takes "
                "dense data. Put what makes X dense into the estimator, for instance "
                "make_pipeline(TruncatedSVD(100), classifier), or use "
                "'.toarray()' to convert to a dense numpy array."
            )
        return validate_data(
            learner,
            X,
            reset=reset,
            dtype=None,
            accept_sparse="csr",
            ensure_all_finite=False,
        )
    X = check_images(learner, X, reset=reset, dtype=None, allow_nan=wraps)
    if reset and X.ndim > 2:  # of images it would be the height, or the channels
        forget_features(learner)
    return X


def _check_column_names(X):
    names = list(X.column_names if hasattr(X, "column_names") else X.columns)
    repeated = sorted({repr(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"X has several columns of the name {', '.join(repeated[:10])}; columns "
            "with distinct names are expected."
        )
