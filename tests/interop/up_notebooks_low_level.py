"""The notebooks of ``up_notebooks_program.py`` that create their jobs by boto3."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import numpy as np
import sagemaker.amazon.common as smac
from sagemaker.amazon.amazon_estimator import get_image_uri
from sagemaker.inputs import TrainingInput
from sagemaker.model_monitor import DataCaptureConfig
from sagemaker.serializers import CSVSerializer
from sagemaker.session import production_variant
from up_notebooks_tools import (
    ASKED,
    BUCKET,
    FOLDER,
    IMAGE,
    LABELS,
    REGION,
    ROLE,
    ROWS,
    SESSION,
    estimator,
    hosted,
    pause,
    put,
    training_request,
)


def xgboost_regression() -> Any:
    """The regression of the abalones, on LIBSVM text, with boto3."""
    client, runtime = boto3.client("sagemaker", region_name=REGION), boto3.client("runtime.sagemaker")
    lines = [
        f"{label:g} " + " ".join(f"{column}:{value:.6g}" for column, value in enumerate(row, 1) if value)
        for row, label in zip(ROWS, LABELS, strict=True)
    ]
    places = {}
    for channel, part in (("train", lines[:-ASKED]), ("validation", lines[-ASKED:])):
        key = f"xgboost-regression/{channel}/digits.{channel}"
        boto3.Session(region_name=REGION).resource("s3").Bucket(BUCKET).Object(key).put(Body="\n".join(part))
        places[channel] = f"s3://{BUCKET}/xgboost-regression/{channel}"
    image = IMAGE(framework="xgboost", region=REGION, version="1.7-1")
    hyperparameters = {"max_depth": "5", "eta": "0.2", "gamma": "4", "min_child_weight": "6", "subsample": "0.7",
                       "objective": "reg:linear", "num_round": "20", "verbosity": "2"}  # fmt: skip
    name = "DEMO-xgboost-regression"
    client.create_training_job(**training_request(name, image, hyperparameters, places, content_type="libsvm"))
    endpoint = hosted(client, name, image)
    body = "\n".join(lines[-ASKED:])
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/x-libsvm", Body=body)
    values = [float(text) for text in answer["Body"].read().decode().strip("\n").split("\n")]
    client.delete_endpoint(EndpointName=endpoint)
    return values


def kmeans_low_level() -> Any:
    """Two instances, each with some of the objects."""
    client, runtime = boto3.client("sagemaker"), boto3.Session().client("runtime.sagemaker")
    for number, part in enumerate(np.array_split(ROWS, 4)):
        buffer = io.BytesIO()
        smac.write_numpy_to_dense_tensor(buffer, part.astype("float32"))
        boto3.client("s3").put_object(Bucket=BUCKET, Key=f"kmeans_lowlevel/train/part-{number}", Body=buffer.getvalue())
    image, name = get_image_uri(REGION, "kmeans"), "DEMO-kmeans-lowlevel"
    hyperparameters = {"k": "10", "feature_dim": "64", "mini_batch_size": "500", "force_dense": "True"}
    places = {"train": f"s3://{BUCKET}/kmeans_lowlevel/train/"}
    client.create_training_job(
        **training_request(name, image, hyperparameters, places, hosts=2, distribution="ShardedByS3Key")
    )
    client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)
    endpoint = hosted(client, name, image)
    body = "\n".join(",".join(f"{value:.9g}" for value in row) for row in ROWS[:ASKED])
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/csv", Body=body)
    rows = json.loads(answer["Body"].read())["predictions"]
    client.delete_endpoint(EndpointName=endpoint)
    return [row["closest_cluster"] for row in rows]


def churn_and_variants() -> Any:
    """A classifier with data capture asked for; then two of them behind one endpoint, by weights."""
    table = np.column_stack([LABELS == 0, ROWS])
    np.savetxt(FOLDER / "churn.csv", table, delimiter=",", fmt="%.6g")
    place = SESSION.upload_data(str(FOLDER / "churn.csv"), bucket=BUCKET, key_prefix="churn/train")
    channel = TrainingInput(s3_data=place, content_type="csv")
    made = estimator(IMAGE("xgboost", REGION, "1.7-1"), "churn", max_depth=5, eta=0.2, gamma=4, min_child_weight=6,
                     subsample=0.8, verbosity=0, objective="binary:logistic", num_round=10)  # fmt: skip
    made.fit({"train": channel, "validation": channel})
    capture = DataCaptureConfig(enable_capture=True, sampling_percentage=100, destination_s3_uri=f"s3://{BUCKET}/seen")
    predictor = made.deploy(1, "ml.m4.xlarge", serializer=CSVSerializer(), data_capture_config=capture)
    scores = np.array(predictor.predict(ROWS[:ASKED]).decode("utf-8").split("\n")[:ASKED], float).tolist()
    predictor.delete_endpoint(delete_endpoint_config=True)
    client, runtime = boto3.Session().client("sagemaker"), boto3.Session().client("sagemaker-runtime")
    variants = []
    for number in (1, 2):
        SESSION.create_model(
            name=f"ab-{number}", role=ROLE, container_defs={"Image": made.image_uri, "ModelDataUrl": made.model_data}
        )
        variants.append(production_variant(f"ab-{number}", "ml.c5.4xlarge", 1, f"Variant{number}", 1))
    SESSION.endpoint_from_production_variants(name="ab", production_variants=variants)
    body = ",".join(f"{value:g}" for value in ROWS[0])
    began = datetime.now(UTC) - timedelta(minutes=60)

    def seen(count: int) -> list[str]:
        answers = (runtime.invoke_endpoint(EndpointName="ab", ContentType="text/csv", Body=body) for _ in range(count))
        return [answer["InvokedProductionVariant"] for answer in answers]

    both = seen(60)
    client.update_endpoint_weights_and_capacities(
        EndpointName="ab",
        DesiredWeightsAndCapacities=[
            {"DesiredWeight": 0, "VariantName": "Variant1"},
            {"DesiredWeight": 1, "VariantName": "Variant2"},
        ],
    )
    while client.describe_endpoint(EndpointName="ab")["EndpointStatus"] not in ("InService", "Failed"):
        time.sleep(1)
    second = seen(10)
    pause(2)
    counted = {}
    for variant in ("Variant1", "Variant2"):
        points = boto3.Session().client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName="Invocations", StartTime=began,
            EndTime=datetime.now(UTC) + timedelta(minutes=1), Period=60, Statistics=["Sum"],
            Dimensions=[{"Name": "EndpointName", "Value": "ab"}, {"Name": "VariantName", "Value": variant}],
        )["Datapoints"]  # fmt: skip
        counted[variant] = sum(point["Sum"] for point in points)
    SESSION.delete_endpoint("ab")
    return {"scores": scores, "both": both, "second": second, "counted": counted}


def image_classification() -> Any:
    """Full training on image records with boto3, then images through a transform job."""
    client, image, name = boto3.client("sagemaker"), IMAGE(framework="image-classification", region=REGION), "DEMO-ic"
    for channel in ("train", "validation"):
        put(f"ic/{channel}", FOLDER / "digits.rec")
    hyperparameters = {"image_shape": "3,32,32", "num_layers": "20", "num_training_samples": "60", "num_classes": "2",
                       "mini_batch_size": "20", "epochs": "1", "learning_rate": "0.01"}  # fmt: skip
    places = {channel: f"s3://{BUCKET}/ic/{channel}/" for channel in ("train", "validation")}
    client.create_training_job(
        **training_request(name, image, hyperparameters, places, content_type="application/x-recordio")
    )
    client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)
    info = client.describe_training_job(TrainingJobName=name)
    container = {"Image": image, "ModelDataUrl": info["ModelArtifacts"]["S3ModelArtifacts"]}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    put("ic/test", FOLDER / "digit.png")
    client.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        MaxConcurrentTransforms=16,
        MaxPayloadInMB=6,
        BatchStrategy="SingleRecord",
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/ic/output"},
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/ic/test/"}},
            "ContentType": "application/x-image",
            "SplitType": "None",
            "CompressionType": "None",
        },
        TransformResources={"InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
    )
    client.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=name)
    answer = boto3.client("s3").get_object(Bucket=BUCKET, Key="ic/output/digit.png.out")["Body"].read()
    metrics = [one["MetricName"] for one in info["FinalMetricDataList"]]
    return {"prediction": json.loads(answer)["prediction"], "metrics": metrics}


def seq2seq() -> Any:
    """Translation with vocabularies, asked for sentences and for what a sentence looks at."""
    client, runtime = boto3.client("sagemaker"), boto3.client("runtime.sagemaker")
    channels = ("train", "validation", "vocab")
    for channel in channels:
        for file in (FOLDER / "pairs" / channel).iterdir():
            put(f"s2s/{channel}", file)
    image, name = get_image_uri(REGION, "seq2seq"), "DEMO-seq2seq-en-de"
    hyperparameters = {"max_seq_len_source": "60", "max_seq_len_target": "60", "optimized_metric": "bleu",
                       "batch_size": "32", "checkpoint_frequency_num_batches": "40", "rnn_num_hidden": "32",
                       "num_layers_encoder": "1", "num_layers_decoder": "1", "num_embed_source": "16",
                       "num_embed_target": "16", "checkpoint_threshold": "3", "max_num_batches": "80",
                       "optimizer_type": "adam", "learning_rate": "0.01"}  # fmt: skip
    places = {channel: f"s3://{BUCKET}/s2s/{channel}/" for channel in channels}
    client.create_training_job(**training_request(name, image, hyperparameters, places))
    endpoint = hosted(client, name, image)
    sentence = "a c b"
    asked = [{"data": sentence}, {"data": sentence, "configuration": {"attention_matrix": "true"}}]
    answers = [
        json.loads(
            runtime.invoke_endpoint(
                EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": [one]})
            )["Body"].read()
        )["predictions"][0]
        for one in asked
    ]
    client.delete_endpoint(EndpointName=endpoint)
    return answers


def direct_marketing() -> Any:
    """A search over XGBoost with boto3, whose ranges have no scales."""
    client = boto3.Session().client("sagemaker")
    np.savetxt(FOLDER / "marketing.csv", np.column_stack([LABELS == 0, ROWS]), delimiter=",", fmt="%.6g")
    for channel in ("train", "validation"):
        key = f"DEMO-hpo-xgboost-dm/{channel}/{channel}.csv"
        boto3.Session().resource("s3").Bucket(BUCKET).Object(key).upload_file(str(FOLDER / "marketing.csv"))
    places = {channel: f"s3://{BUCKET}/DEMO-hpo-xgboost-dm/{channel}" for channel in ("train", "validation")}
    static = {"eval_metric": "auc", "num_round": "5", "objective": "binary:logistic", "rate_drop": "0.3",
              "tweedie_variance_power": "1.4"}  # fmt: skip
    image = f"811284229777.dkr.ecr.{REGION}.amazonaws.com/xgboost:latest"
    definition = training_request("DEMO-hpo-xgboost-dm", image, static, places, content_type="csv")
    definition["StaticHyperParameters"] = definition.pop("HyperParameters")
    del definition["TrainingJobName"]
    bounds = {"eta": ("0", "1"), "min_child_weight": ("1", "10"), "alpha": ("0", "2")}
    config = {
        "ParameterRanges": {
            "CategoricalParameterRanges": [],
            "ContinuousParameterRanges": [
                {"Name": name, "MinValue": low, "MaxValue": high} for name, (low, high) in bounds.items()
            ],
            "IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "1", "MaxValue": "10"}],
        },
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 3},
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"MetricName": "validation:auc", "Type": "Maximize"},
    }
    name = "xgboost-tuningjob-DEMO"
    client.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, HyperParameterTuningJobConfig=config, TrainingJobDefinition=definition
    )
    while (job := client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name))[
        "HyperParameterTuningJobStatus"
    ] == "InProgress":
        time.sleep(60)
    best = job["BestTrainingJob"]
    return {
        "counts": job["TrainingJobStatusCounters"],
        "tuned": sorted(best["TunedHyperParameters"]),
        "auc": best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
    }
