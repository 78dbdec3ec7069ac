"""The algorithms as scikit-learn's estimators, made from their declarations.

Every hyperparameter with an effect is a constructor argument of the same name and default (``lambda_`` for ``lambda``,
as Python keeps that word), in Python's types or as a job's strings; what a job must state, but the data tells, may be
left out: ``feature_dim``, ``num_classes`` and ``num_class``, and ``mini_batch_size`` where it has no default.
scikit-learn is imported here and nowhere else.

    >>> import numpy as np
    >>> from algorithms.estimators import KMeans
    >>> X = np.float32([[0, 0], [0, 1], [9, 9], [9, 8]])
    >>> found = KMeans(k=2, random_state=0).fit(X)
    >>> found.cluster_centers_[found.predict([[8, 8]])].tolist()
    [[9.0, 8.5]]

``KMeans``, ``PCA``, ``LDA``, ``NTM``; and of the three that predict labels one that classifies and one for numbers:
``LinearLearnerClassifier`` and ``LinearLearnerRegressor``, ``FactorizationMachinesClassifier`` and
``FactorizationMachinesRegressor``, ``XGBoostClassifier`` and ``XGBoostRegressor``. Image classification and seq2seq
have none: their data is no matrix of features. There is no ``partial_fit``: each of them reads its data several times,
or decides by all of it.
"""

from algorithms.estimators.supervised import (
    FactorizationMachinesClassifier,
    FactorizationMachinesRegressor,
    LinearLearnerClassifier,
    LinearLearnerRegressor,
    XGBoostClassifier,
    XGBoostRegressor,
)
from algorithms.estimators.unsupervised import LDA, NTM, PCA, KMeans

__all__ = [
    "LDA",
    "NTM",
    "PCA",
    "FactorizationMachinesClassifier",
    "FactorizationMachinesRegressor",
    "KMeans",
    "LinearLearnerClassifier",
    "LinearLearnerRegressor",
    "XGBoostClassifier",
    "XGBoostRegressor",
]
