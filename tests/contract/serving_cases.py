"""A model of each algorithm that nobody here trained, and requests and answers of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from algorithms.common import mxnet_files
from recordio import record_writer
from tests.container.serving.test_media import records_of

WIDTH = 4
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(20, WIDTH)).round(3).astype(np.float32)
CENTERS = ROWS[:3]
COMPONENTS = np.linalg.qr(RNG.normal(size=(WIDTH, 2)))[0].astype(np.float32)
MEAN = ROWS.mean(axis=0, keepdims=True)


@dataclass(frozen=True)
class Case:
    """``make`` fills a model folder; ``expected`` are the columns that answer ``ROWS``, computed here."""

    make: Callable[[Path], None]
    expected: Callable[[], dict[str, np.ndarray]]
    json_key: str = "predictions"
    requests: tuple[str, ...] = (
        "text/csv",
        "application/json",
        "application/jsonlines",
        "application/x-recordio-protobuf",
    )


def make_kmeans(folder):
    mxnet_files.save(folder / "model_algo-1", [CENTERS])


def kmeans_answer():
    distances = np.linalg.norm(ROWS[:, None] - CENTERS, axis=2)
    return {"closest_cluster": distances.argmin(axis=1), "distance_to_cluster": distances.min(axis=1)}


def make_pca(folder):
    arrays = {"s": np.array([1, 2], np.float32), "v": COMPONENTS, "mean": MEAN}
    mxnet_files.save(folder / "model_algo-1", arrays)


def pca_answer():
    return {"projection": (ROWS - MEAN) @ COMPONENTS}


def booster():
    xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    return xgboost.train({"max_depth": 2, "seed": 0}, xgboost.DMatrix(ROWS, ROWS.sum(axis=1)), 3)


def make_xgboost(folder):
    (folder / "xgboost-model").write_bytes(booster().save_raw("ubj"))


def xgboost_answer():
    return {"score": booster().inplace_predict(ROWS)}


CASES = {
    "kmeans": Case(make_kmeans, kmeans_answer),
    "pca": Case(make_pca, pca_answer, json_key="projections"),
    "xgboost": Case(
        make_xgboost, xgboost_answer, requests=("text/csv", "text/libsvm", "application/x-recordio-protobuf")
    ),
}


def encoded(content_type):
    """``ROWS`` as a request."""
    lists = [[float(f"{value:.3f}") for value in row] for row in ROWS]
    if content_type == "text/csv":
        return "\n".join(",".join(map(str, row)) for row in lists).encode()
    if content_type == "application/json":
        return json.dumps({"instances": [{"features": row} for row in lists]}).encode()
    if content_type == "application/jsonlines":
        return "\n".join(json.dumps({"features": row}) for row in lists).encode()
    if content_type == "text/libsvm":
        return "\n".join(" ".join(f"{at}:{value}" for at, value in enumerate(row)) for row in lists).encode()
    return record_writer.encode_records(ROWS)


def decoded(answer, case):
    """The columns of a response, in the media type that it says it has."""
    media_type = answer.headers["content-type"].split(";")[0]
    names = case.expected().keys()
    if media_type == "application/x-recordio-protobuf":
        found = records_of(answer.body)
        return {name: [[*record.label[name].float32_tensor.values] for record in found] for name in names}
    if media_type == "text/csv":
        table = np.array([[float(field) for field in line.split(",")] for line in answer.text.splitlines()])
        widths = [int(np.prod(values.shape[1:])) for values in case.expected().values()]
        return dict(zip(names, np.split(table, np.cumsum(widths)[:-1], axis=1), strict=True))
    rows = (
        json.loads(answer.text)[case.json_key]
        if media_type == "application/json"
        else [json.loads(line) for line in answer.text.splitlines()]
    )
    return {name: [row[name] for row in rows] for name in names}
