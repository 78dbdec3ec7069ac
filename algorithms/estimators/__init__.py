"""The algorithms as scikit-learn's estimators, made from their declarations.

Every hyperparameter with an effect is a constructor argument of the same name and default (``lambda_`` for ``lambda``,
a reserved word in Python), in Python's types or as a job's strings. What a job must state but the data tells may be
left out: ``feature_dim``, ``num_classes`` and ``num_class``, and ``mini_batch_size`` if it has no default. scikit-learn
is imported here and nowhere else.

    >>> import numpy as np
    >>> from algorithms.estimators import KMeans
    >>> X = np.float32([[0, 0], [0, 1], [9, 9], [9, 8]])
    >>> found = KMeans(k=2, random_state=0).fit(X)
    >>> found.cluster_centers_[found.predict([[8, 8]])].tolist()
    [[9.0, 8.5]]

They are ``KMeans``, ``PCA``, ``LDA`` and ``NTM``, and for the three algorithms that predict labels a classifier and a
regressor each:
``LinearLearnerClassifier`` and ``LinearLearnerRegressor``, ``FactorizationMachinesClassifier`` and
``FactorizationMachinesRegressor``, ``XGBoostClassifier`` and ``XGBoostRegressor``. Image classification and seq2seq
have none: their data is no matrix of features. ``KMeans``, ``PCA``, the linear learner and the factorization machines
have ``partial_fit``: their state takes rows as they come; XGBoost adds trees. The others read their data several times.
"""

from typing import Any

from algorithms import registry

_MODULE = "estimators"
"""The file of an algorithm's folder that has its estimators, if any."""


def __getattr__(name: str) -> Any:
    found = _all()
    if name == "__all__":
        return sorted(found)
    if name not in found:
        raise AttributeError(f"there is no estimator {name!r}; there are: {', '.join(sorted(found))}")
    return found[name]


def __dir__() -> list[str]:
    return sorted(_all())


def _all() -> dict[str, Any]:
    """The estimators by name. Those of an algorithm whose packages (XGBoost, say) are not installed are left out."""
    try:
        from algorithms.estimators.base import Estimator
    except ModuleNotFoundError as error:
        raise ImportError(
            f"algorithms.estimators needs the package '{error.name}': pip install '.[estimators]' in a clone of this "
            "project"
        ) from error

    found: dict[str, Any] = {}
    for name in registry.having(_MODULE):
        try:
            module = registry.part(name, _MODULE)
        except (LookupError, ModuleNotFoundError):
            continue
        if module is None:
            continue
        found |= {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Estimator) and value.__module__ == module.__name__
        }
    return {key: value for key, value in found.items() if "algorithm" in vars(value)}
