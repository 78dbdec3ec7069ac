"""What tests of k-means share."""

import numpy as np
from sklearn.datasets import load_digits, make_blobs

from algorithms.hyperparameters import parse
from algorithms.kmeans import KMeans, KMeansHyperparameters
from tests.algorithms.fakes import FakeJob, MemoryStream


def rng(seed=0):
    return np.random.default_rng(seed)


def digits():
    return load_digits().data.astype(np.float32)


def blobs(rows=2000, clusters=6, features=4, seed=0):
    X, labels = make_blobs(rows, features, centers=clusters, cluster_std=0.5, center_box=(-40, 40), random_state=seed)
    return X.astype(np.float32), labels


def settings(X, k, **others):
    return parse(KMeansHyperparameters, {"k": k, "feature_dim": X.shape[1]} | others)


def fit(X, k, job=None, test=None, **others):
    channels = {"train": MemoryStream(X)} | ({"test": MemoryStream(test)} if test is not None else {})
    return KMeans.fit(settings(X, k, **others), channels, job or FakeJob())


def msd(X, centers):
    squared = ((X[:, None, :].astype(np.float64) - centers[None]) ** 2).sum(axis=2)
    return squared.min(axis=1).mean()
