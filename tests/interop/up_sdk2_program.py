"""What a user of the SageMaker SDK 2 writes, in the environment that `oba up` prints: `python … FOLDER CASE …`.

FOLDER has rows.npy and labels.npy; what came of a case is written there as CASE.json, what it printed as CASE.log. Each
case has a process of its own, forked from this one: importing the SDK takes seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import boto3
import impatient  # noqa: F401 - no long sleep between two looks at a job
import numpy as np
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.deserializers import CSVDeserializer, JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.exceptions import AsyncInferenceModelError
from sagemaker.inputs import TrainingInput
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.serializers import CSVSerializer

ROLE = sagemaker.get_execution_role()
ASKED = 100


def first_party(
    kind: Any, predictor_labels: str, rows: Any, labels: Any, batch: int = 100, **more: Any
) -> dict[str, Any]:
    """Train by ``record_set``, deploy, predict."""
    estimator = kind(role=ROLE, instance_count=1, instance_type="ml.m5.large", **more)
    records = estimator.record_set(rows, labels=labels) if labels is not None else estimator.record_set(rows)
    estimator.fit(records, mini_batch_size=batch)
    predictor = estimator.deploy(1, "ml.m5.large")
    answers = predictor.predict(rows[:ASKED])
    predictor.delete_endpoint()
    return {
        "model": estimator.model_data,
        "answers": [list(answer.label[predictor_labels].float32_tensor.values) for answer in answers],
    }


def kmeans(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """The class of k-means."""
    return first_party(sagemaker.KMeans, "closest_cluster", rows, None, k=10)


def linear_learner(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """The class of the linear learner."""
    more = {"predictor_type": "multiclass_classifier", "num_classes": 10}
    return first_party(sagemaker.LinearLearner, "predicted_label", rows, labels, **more)


def pca(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """The class of PCA."""
    return first_party(sagemaker.PCA, "projection", rows, None, num_components=2)


def factorization_machines(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """The class of factorization machines."""
    more = {"num_factors": 8, "predictor_type": "binary_classifier", "epochs": 20}
    zeros = (labels == 0).astype("float32")
    return first_party(sagemaker.FactorizationMachines, "predicted_label", rows, zeros, **more)


def lda(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """The class of LDA, which takes all rows as one batch."""
    return first_party(sagemaker.LDA, "topic_mixture", rows, None, batch=len(rows), num_topics=5)


def ntm(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """The class of NTM."""
    return first_party(sagemaker.NTM, "topic_weights", rows, None, num_topics=5, epochs=2)


def xgboost(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """An estimator with SageMaker's own image, its log, a second one attached to its job, and a transform job."""
    session = sagemaker.Session()
    np.savetxt(folder / "train.csv", np.column_stack([labels, rows]), delimiter=",", fmt="%g")
    np.savetxt(folder / "asked.csv", rows[:ASKED], delimiter=",", fmt="%g")
    train = session.upload_data(str(folder / "train.csv"), key_prefix="digits/train")
    asked = session.upload_data(str(folder / "asked.csv"), key_prefix="digits/asked")
    estimator = Estimator(
        image_uri=sagemaker.image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1"),
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        hyperparameters={"objective": "multi:softmax", "num_class": 10, "num_round": 5},
    )
    channel = TrainingInput(train, content_type="text/csv")
    estimator.fit({"train": channel, "validation": channel}, logs=True)
    attached = Estimator.attach(estimator.latest_training_job.name)
    name = estimator.latest_training_job.name
    metrics = sagemaker.TrainingJobAnalytics(name, ["validation:mlogloss"]).dataframe()
    transformer = attached.transformer(
        1, "ml.m5.large", assemble_with="Line", accept="text/csv", strategy="MultiRecord"
    )
    transformer.transform(asked, content_type="text/csv", split_type="Line", join_source="Input", wait=True)
    location = f"{transformer.output_path}/asked.csv.out"
    joined = sagemaker.s3.S3Downloader.read_file(location)
    predictor = attached.deploy(1, "ml.m5.large", serializer=CSVSerializer(), deserializer=JSONDeserializer())
    answers = predictor.predict(rows[:ASKED])
    predictor.delete_endpoint(delete_endpoint_config=True)
    return {
        "model": attached.model_data,
        "answers": answers,
        "joined": [float(line.rpartition(",")[2]) for line in joined.splitlines()],
        "columns": len(joined.splitlines()[0].split(",")),
        "metrics": len(metrics),
        "endpoints": len(boto3.client("sagemaker").list_endpoints(NameContains=predictor.endpoint_name)["Endpoints"]),
    }


def serving(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """A model behind an asynchronous endpoint, and beside another behind one of many models."""
    session = sagemaker.Session()
    models = []
    for classes in (2, 10):
        kept = labels < classes
        np.savetxt(folder / "train.csv", np.column_stack([labels[kept], rows[kept]]), delimiter=",", fmt="%g")
        train = session.upload_data(str(folder / "train.csv"), key_prefix=f"digits/{classes}")
        estimator = Estimator(
            image_uri=sagemaker.image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1"),
            role=ROLE,
            instance_count=1,
            instance_type="ml.m5.large",
            hyperparameters={"objective": "multi:softmax", "num_class": classes, "num_round": 5},
        )
        estimator.fit({"train": TrainingInput(train, content_type="text/csv")}, logs=False)
        models.append(estimator)
    bucket, kinds = session.default_bucket(), {"serializer": CSVSerializer(), "deserializer": CSVDeserializer()}
    config = AsyncInferenceConfig(output_path=f"s3://{bucket}/answers", failure_path=f"s3://{bucket}/failures")
    later = models[1].deploy(1, "ml.m5.large", async_inference_config=config, **kinds)
    waiter = WaiterConfig(max_attempts=1200, delay=1)
    answers = later.predict(rows[:ASKED], waiter_config=waiter)
    failure = ""
    try:
        later.predict_async(rows[:2, :3]).get_result(waiter)
    except AsyncInferenceModelError as error:
        failure = str(error)
    later.delete_endpoint()
    many = MultiDataModel(f"many-{folder.parent.name[-6:]}", f"s3://{bucket}/many/", model=models[0].create_model())
    predictor = many.deploy(1, "ml.m5.large", **kinds)
    for name, estimator in zip(("two", "ten"), models, strict=True):
        many.add_model(estimator.model_data, name)
    of_many = {name: predictor.predict(rows[:ASKED], target_model=name) for name in ("two", "ten")}
    predictor.delete_endpoint()
    return {"later": np.ravel(answers).tolist(), "failure": failure, "listed": sorted(many.list_models())} | {
        name: np.ravel(rows).tolist() for name, rows in of_many.items()
    }


def wrong(rows: Any, labels: Any, folder: Path) -> dict[str, Any]:
    """A job that fails: what the SDK raises."""
    estimator = sagemaker.PCA(ROLE, 1, "ml.m5.large", num_components=65)
    try:
        estimator.fit(estimator.record_set(rows), mini_batch_size=100)
    except Exception as error:
        return {"error": str(error), "type": type(error).__name__}
    return {}


CASES = {
    "kmeans": kmeans,
    "linear-learner": linear_learner,
    "pca": pca,
    "factorization-machines": factorization_machines,
    "lda": lda,
    "ntm": ntm,
    "xgboost": xgboost,
    "serving": serving,
    "wrong": wrong,
}


def run(case: str, folder: Path) -> None:
    """One case, which prints into a file."""
    with (folder / f"{case}.log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        rows, labels = np.load(folder / "rows.npy"), np.load(folder / "labels.npy")
        (folder / case).mkdir()
        found = CASES[case](rows, labels, folder / case)
        (folder / f"{case}.json").write_text(json.dumps(found, default=float))
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread of an asynchronous predictor waits for minutes for the failure that did not come


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=run, args=(case, Path(sys.argv[1]))) for case in sys.argv[2:]]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
