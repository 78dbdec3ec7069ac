"""The calls of AWS's notebooks on the built-in algorithms, in our words, in the environment that `oba up` prints.

`python … FOLDER`: FOLDER has rows.npy (the digits of scikit-learn, from 0 to 1), labels.npy, digits.rec and digit.png
(images of zeros and ones), cancer.npy (numbers of patients, diagnoses, 30 features), and in pairs/ the channels of a
sequence to sequence job; what comes of each notebook is
written there as notebooks.json. The notebooks run side by side. The SDK's pauses are a second at most here.
"""

from __future__ import annotations

import io
import json
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import sagemaker
import sagemaker.amazon.common as smac
from sagemaker.amazon.amazon_estimator import get_image_uri
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model_monitor import DataCaptureConfig
from sagemaker.serializers import CSVSerializer, JSONSerializer
from sagemaker.session import production_variant
from sagemaker.transformer import Transformer
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 1))

FOLDER = Path(sys.argv[1])
ROWS, LABELS = np.load(FOLDER / "rows.npy"), np.load(FOLDER / "labels.npy")
ROLE = sagemaker.get_execution_role()
REGION = boto3.Session().region_name
SESSION = sagemaker.Session()
BUCKET = SESSION.default_bucket()
IMAGE = sagemaker.image_uris.retrieve
ASKED = 60


def uploaded(prefix: str, rows: Any, labels: Any = None) -> str:
    """Rows as RecordIO-protobuf in S3, as most of the notebooks put them there."""
    buffer = io.BytesIO()
    smac.write_numpy_to_dense_tensor(buffer, rows.astype("float32"), labels)
    buffer.seek(0)
    key = f"sagemaker/{prefix}/train/recordio-pb-data"
    boto3.resource("s3").Bucket(BUCKET).Object(key).upload_fileobj(buffer)
    return f"s3://{BUCKET}/{key}"


def estimator(image: str, prefix: str, **hyperparameters: Any) -> Estimator:
    made = Estimator(
        image,
        ROLE,
        instance_count=1,
        instance_type="ml.c4.xlarge",
        output_path=f"s3://{BUCKET}/sagemaker/{prefix}/output",
        sagemaker_session=sagemaker.Session(),
    )
    made.set_hyperparameters(**hyperparameters)
    return made


def pca() -> Any:
    """Eigendigits: pixels are the rows. Then a transform job of the same, by a model made from the job."""
    place = uploaded("pca", ROWS.T)
    made = estimator(IMAGE(framework="pca", region=REGION), "pca", feature_dim=len(ROWS), num_components=5,
                     subtract_mean=True, algorithm_mode="regular", mini_batch_size=20)  # fmt: skip
    made.fit({"train": place})
    predictor = made.deploy(initial_instance_count=1, instance_type="ml.m4.xlarge")
    predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
    projections = []
    for array in np.array_split(ROWS.T, 4):
        projections += [row["projection"] for row in predictor.predict(array)["projections"]]
    sagemaker.Session().delete_endpoint(predictor.endpoint_name)
    np.savetxt(FOLDER / "pixels.csv", ROWS.T, delimiter=",", fmt="%.9g")
    pixels = SESSION.upload_data(str(FOLDER / "pixels.csv"), key_prefix="sagemaker/pca/asked")
    model = SESSION.create_model_from_job(made.latest_training_job.name, name="pca-from-job")
    transformer = Transformer(model, 1, "ml.m4.xlarge", output_path=f"s3://{BUCKET}/sagemaker/pca/transform",
                              sagemaker_session=SESSION, strategy="MultiRecord", assemble_with="Line")  # fmt: skip
    transformer.transform(pixels, content_type="text/csv", split_type="Line")
    transformer.wait()
    lines = sagemaker.s3.S3Downloader.read_file(f"{transformer.output_path}/pixels.csv.out").splitlines()
    transformed = [row["projection"] for line in lines for row in json.loads(line)["projections"]]
    return {"projections": projections, "transformed": transformed}


class Instances(JSONSerializer):
    """Rows as the notebook on factorization machines sends them."""

    def serialize(self, data: Any) -> str:
        return json.dumps({"instances": [{"features": row.tolist()} for row in data]})


def factorization_machines() -> Any:
    """Is it a zero?"""
    place = uploaded("fm", ROWS, np.where(LABELS == 0, 1.0, 0.0).astype("float32"))
    made = estimator(get_image_uri(REGION, "factorization-machines"), "fm", feature_dim=64, mini_batch_size=100,
                     predictor_type="binary_classifier", num_factors=10, epochs=100)  # fmt: skip
    made.fit({"train": place})
    predictor = made.deploy(initial_instance_count=1, instance_type="ml.m5.xlarge")
    predictor.serializer, predictor.deserializer = Instances(), JSONDeserializer()
    predicted = []
    for array in np.array_split(ROWS[:ASKED], 3):
        answer = predictor.predict(array, initial_args={"ContentType": "application/json"})
        predicted += [row["predicted_label"] for row in answer["predictions"]]
    sagemaker.Session().delete_endpoint(predictor.endpoint_name)
    return predicted


def lda() -> Any:
    """Documents of two topics that share no word."""
    draw = np.random.default_rng(0)
    shares = draw.dirichlet([0.3, 0.3], 300)
    topics = np.kron(np.eye(2), np.full((1, 5), 0.2))
    documents = np.array([draw.multinomial(60, share @ topics) for share in shares]).astype("float32")
    key = "sagemaker/lda/train/lda.data"
    buffer = sagemaker.amazon.common.RecordSerializer().serialize(documents)
    boto3.Session().resource("s3").Bucket(BUCKET).Object(key).upload_fileobj(buffer)
    made = estimator(get_image_uri(REGION, "lda"), "lda", num_topics=2, feature_dim=10,
                     mini_batch_size=len(documents), alpha0=1.0)  # fmt: skip
    made.fit({"train": f"s3://{BUCKET}/{key}"})
    predictor = made.deploy(initial_instance_count=1, instance_type="ml.m4.xlarge")
    predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
    mixtures = [row["topic_mixture"] for row in predictor.predict(documents[:ASKED])["predictions"]]
    sagemaker.Session().delete_endpoint(predictor.endpoint_name)
    return {"mixtures": mixtures, "shares": shares[:ASKED].tolist()}


def linear_learner() -> Any:
    """One job, then a search around it, whose best is deployed."""
    labels = np.where(LABELS == 0, 1, 0).astype("float32")
    place = uploaded("linear", ROWS, labels)
    made = estimator(IMAGE(region=REGION, framework="linear-learner"), "linear", feature_dim=64,
                     predictor_type="binary_classifier", mini_batch_size=200, epochs=4, num_models=1)  # fmt: skip
    made.fit({"train": place})
    ranges = {
        "wd": ContinuousParameter(1e-7, 1, scaling_type="Auto"),
        "learning_rate": ContinuousParameter(1e-3, 1, scaling_type="Auto"),
        "mini_batch_size": IntegerParameter(100, 400, scaling_type="Auto"),
    }
    tuner = HyperparameterTuner(
        made, "validation:binary_f_beta", ranges, max_jobs=2, max_parallel_jobs=2, objective_type="Maximize"
    )
    tuner.fit(inputs={"train": place, "validation": place}, job_name="DEMO-ll-digits")
    predictor = tuner.deploy(initial_instance_count=1, instance_type="ml.m4.xlarge")
    predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
    rows = predictor.predict(ROWS[:ASKED], initial_args={"ContentType": "text/csv"})["predictions"]
    predictor.delete_model()
    predictor.delete_endpoint()
    analysed = sagemaker.HyperparameterTuningJobAnalytics("DEMO-ll-digits").dataframe()
    attached = HyperparameterTuner.attach("DEMO-ll-digits")
    same = attached.best_training_job() == tuner.best_training_job()
    return {"labels": [row["predicted_label"] for row in rows], "jobs": len(analysed), "attached": same}


def training_request(name: str, image: str, hyperparameters: dict[str, str], channels: dict[str, str], **more: Any):
    """A request as the low-level notebooks write it."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/{name}"},
        "ResourceConfig": {"InstanceCount": more.pop("hosts", 1), "InstanceType": "ml.m5.2xlarge", "VolumeSizeInGB": 5},
        "HyperParameters": hyperparameters,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": place,
                        "S3DataDistributionType": more.get("distribution", "FullyReplicated"),
                    }
                },
                "CompressionType": "None",
                **({"ContentType": more["content_type"]} if "content_type" in more else {}),
            }
            for channel, place in channels.items()
        ],
    }


def hosted(client: Any, name: str, image: str) -> str:
    """The endpoint of a job's model, with boto3 alone."""
    status = client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
    while status not in ("Completed", "Failed"):
        time.sleep(60)
        status = client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
    info = client.describe_training_job(TrainingJobName=name)
    container = {"Image": image, "ModelDataUrl": info["ModelArtifacts"]["S3ModelArtifacts"]}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {
        "InstanceType": "ml.m5.xlarge",
        "InitialVariantWeight": 1,
        "InitialInstanceCount": 1,
        "ModelName": name,
        "VariantName": "AllTraffic",
    }
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    client.get_waiter("endpoint_in_service").wait(EndpointName=name)
    return name


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
    _sleep(2)
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


def ntm() -> Any:
    """Documents of two topics that share no word, through a network."""
    documents = np.zeros((200, 20), np.float32)
    draw = np.random.default_rng(0)
    for number in range(len(documents)):
        documents[number, (number % 2) * 10 : (number % 2) * 10 + 10] = draw.multinomial(80, np.full(10, 0.1))
    made = estimator(IMAGE(region=REGION, framework="ntm"), "ntm", num_topics=2, feature_dim=20, mini_batch_size=50,
                     epochs=20, learning_rate=0.02)  # fmt: skip
    made.fit({"train": uploaded("ntm", documents)})
    predictor = made.deploy(initial_instance_count=1, instance_type="ml.m4.xlarge")
    predictor.serializer, predictor.deserializer = CSVSerializer(), JSONDeserializer()
    rows = predictor.predict(documents[:10], initial_args={"ContentType": "text/csv"})["predictions"]
    predictor.delete_model()
    predictor.delete_endpoint()
    return [row["topic_weights"] for row in rows]


def put(channel: str, file: Path) -> None:
    boto3.resource("s3").Bucket(BUCKET).put_object(Key=f"{channel}/{file.name}", Body=file.read_bytes())


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


def kmeans_high_level() -> Any:
    """The class of k-means on two instances, asked for one row, then for many."""
    kmeans = sagemaker.KMeans(ROLE, 2, "ml.c4.8xlarge", output_path=f"s3://{BUCKET}/kmeans_example/output", k=10,
                              data_location=f"s3://{BUCKET}/kmeans_highlevel_example/data")  # fmt: skip
    kmeans.fit(kmeans.record_set(ROWS.astype("float32")))
    predictor = kmeans.deploy(initial_instance_count=1, instance_type="ml.m4.xlarge")
    one = predictor.predict(ROWS[30:31].astype("float32"))
    rows = predictor.predict(ROWS[:ASKED].astype("float32"))
    sagemaker.Session().delete_endpoint(predictor.endpoint_name)
    return {"one": len(one), "clusters": [row.label["closest_cluster"].float32_tensor.values[0] for row in rows]}


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


def breast_cancer() -> Any:
    """Three transform jobs of one request that grows: as it is, joined with its input, filtered to first and last."""
    client, table = boto3.client("sagemaker"), np.load(FOLDER / "cancer.npy")
    numbers, features = table[:, :1], table[:, 2:]
    files = {"train": table[:, 1:], "batch_noID": features[:ASKED], "batch": np.hstack([numbers, features])[:ASKED]}
    for name, rows in files.items():
        np.savetxt(FOLDER / f"{name}.csv", rows, delimiter=",", fmt="%.10g")
        put("cancer/train" if name == "train" else "cancer/batch", FOLDER / f"{name}.csv")
    image, name = IMAGE("xgboost", REGION, version="latest"), "xgb-DEMO-breast-cancer"
    hyperparameters = {"objective": "binary:logistic", "max_depth": "5", "eta": "0.2", "gamma": "4",
                       "min_child_weight": "6", "subsample": "0.8", "silent": "0", "num_round": "20"}  # fmt: skip
    places = dict.fromkeys(("train", "validation"), f"s3://{BUCKET}/cancer/train/")
    client.create_training_job(**training_request(name, image, hyperparameters, places, content_type="text/csv"))
    client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)
    info = client.describe_training_job(TrainingJobName=name)
    container = {"Image": image, "ModelDataUrl": info["ModelArtifacts"]["S3ModelArtifacts"]}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    request: dict[str, Any] = {
        "ModelName": name,
        "TransformOutput": {"Accept": "text/csv", "AssembleWith": "Line"},
        "TransformInput": {"ContentType": "text/csv", "SplitType": "Line", "CompressionType": "None"},
        "TransformResources": {"InstanceType": "ml.m4.xlarge", "InstanceCount": 1},
    }

    def lines(number: int, file: str) -> list[list[float]]:
        job, place = f"Batch-Transform-{number}", f"s3://{BUCKET}/cancer/output-{number}"
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/cancer/batch/{file}"}
        request["TransformJobName"] = job
        request["TransformOutput"]["S3OutputPath"] = place
        request["TransformInput"]["DataSource"] = {"S3DataSource": source}
        client.create_transform_job(**request)
        client.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=job)
        answer = boto3.client("s3").get_object(Bucket=BUCKET, Key=f"cancer/output-{number}/{file}.out")
        return [[float(text) for text in line.split(",")] for line in answer["Body"].read().decode().splitlines()]

    plain = lines(1, "batch_noID.csv")
    request["DataProcessing"] = {"InputFilter": "$[1:]", "JoinSource": "Input"}
    joined = lines(2, "batch.csv")
    request["DataProcessing"]["OutputFilter"] = "$[0, -1]"
    return {"plain": plain, "joined": joined, "ends": lines(3, "batch.csv")}


def home_values() -> Any:
    """Regressions of three places behind one endpoint of many models, the first of which comes while it runs."""
    client, runtime, s3 = boto3.client("sagemaker"), boto3.client("sagemaker-runtime"), boto3.client("s3")
    image, places = IMAGE("xgboost", REGION, "1.7-1"), {"NewYork_NY": 1, "Houston_TX": 2, "Chicago_IL": 3}
    jobs = {}
    for place, factor in places.items():
        folder = FOLDER / "houses" / place
        (folder / "train").mkdir(parents=True)
        np.savetxt(folder / "train" / f"{place}_train.csv", np.column_stack([factor * LABELS, ROWS]), delimiter=",",
                   fmt="%.4f")  # fmt: skip
        inputs = SESSION.upload_data(path=str(folder), key_prefix=f"DEMO_MME_XGBOOST/model_prep/{place}")
        made = Estimator(
            image, ROLE, instance_count=1, instance_type="ml.m4.xlarge", base_job_name=f"xgb-{place.replace('_', '-')}",
            output_path=f"s3://{BUCKET}/DEMO_MME_XGBOOST/model_artifacts/{place}", sagemaker_session=SESSION,
        )  # fmt: skip
        made.set_hyperparameters(max_depth=5, eta=0.2, gamma=4, min_child_weight=6, subsample=0.8,
                                 early_stopping_rounds=5, objective="reg:squarederror", num_round=10)  # fmt: skip
        channel = TrainingInput(f"{inputs}/train", distribution="FullyReplicated", content_type="csv")
        made.fit({"train": channel, "validation": channel}, wait=False)
        jobs[place] = made.latest_training_job.name

    def copied(place: str) -> None:
        client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=jobs[place])
        artifact = client.describe_training_job(TrainingJobName=jobs[place])["ModelArtifacts"]["S3ModelArtifacts"]
        source = {"Bucket": BUCKET, "Key": artifact.split(f"s3://{BUCKET}/")[1]}
        key = f"DEMO_MME_XGBOOST/multi_model_artifacts/{place}.tar.gz"
        s3.copy_object(Bucket=BUCKET, CopySource=source, Key=key)

    first, *others = places
    for place in others:
        copied(place)
    name = "housing"
    models = f"s3://{BUCKET}/DEMO_MME_XGBOOST/multi_model_artifacts/"
    container = {"Image": image, "ModelDataUrl": models, "Mode": "MultiModel"}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=[container])
    variant = {"InstanceType": "ml.m4.xlarge", "InitialInstanceCount": 1, "InitialVariantWeight": 1,
               "ModelName": name, "VariantName": "AllTraffic"}  # fmt: skip
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    client.get_waiter("endpoint_in_service").wait(EndpointName=name)

    def asked(place: str) -> list[float]:
        body = "\n".join(",".join(map(str, row)) for row in ROWS[:ASKED]) + "\n"
        answer = runtime.invoke_endpoint(
            EndpointName=name, ContentType="text/csv", TargetModel=f"{place}.tar.gz", Body=body
        )
        return list(map(float, json.loads(answer["Body"].read())))

    values = {place: asked(place) for place in others}
    copied(first)
    values[first] = asked(first)
    client.delete_endpoint(EndpointName=name)
    client.delete_endpoint_config(EndpointConfigName=name)
    client.delete_model(ModelName=name)
    return {"factors": places, "values": values}


NOTEBOOKS = (
    *(pca, factorization_machines, lda, linear_learner, xgboost_regression, kmeans_low_level, churn_and_variants, ntm),
    *(image_classification, seq2seq, kmeans_high_level, direct_marketing, breast_cancer, home_values),
)


def replayed(notebook: Any) -> Any:
    try:
        return {"came": notebook()}
    except BaseException:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    with ThreadPoolExecutor(len(NOTEBOOKS)) as pool:
        found = dict(zip((one.__name__ for one in NOTEBOOKS), pool.map(replayed, NOTEBOOKS), strict=True))
    (FOLDER / "notebooks.json").write_text(json.dumps(found, default=float))
