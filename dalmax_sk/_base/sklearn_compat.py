"""The only place that imports scikit-learn's private names.

When a new scikit-learn moves or renames one of them, this file changes and no other.
"""

# narwhals is how scikit-learn itself knows dataframes, and one of its requirements
from narwhals.stable.v2.dependencies import is_into_dataframe as is_dataframe
from sklearn.base import _fit_context as fit_context
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.metadata_routing import (
    _raise_for_params as raise_for_params,
)
from sklearn.utils.metadata_routing import (
    _routing_enabled as routing_enabled,
)
from sklearn.utils.validation import (
    _check_feature_names as check_feature_names,
)
from sklearn.utils.validation import (
    _check_method_params as check_method_params,
)
from sklearn.utils.validation import (
    _check_n_features as check_n_features,
)
from sklearn.utils.validation import (
    _check_y as check_y,
)
from sklearn.utils.validation import (
    _num_samples as num_samples,
)

__all__ = [
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "Options",
    "RealNotInt",
    "StrOptions",
    "check_feature_names",
    "check_method_params",
    "check_n_features",
    "check_y",
    "fit_context",
    "is_dataframe",
    "num_samples",
    "raise_for_params",
    "routing_enabled",
    "safe_indexing",
    "validate_parameter_constraints",
    "validate_params",
]
