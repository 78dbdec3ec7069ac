"""The calls of AWS's notebooks on the built-in algorithms, in our words, in the environment that `oba up` prints.

`python … FOLDER`: FOLDER has rows.npy (the digits of scikit-learn, from 0 to 1), labels.npy, digits.rec and digit.png
(images of zeros and ones), cancer.npy (numbers of patients, diagnoses, 30 features), and in pairs/ the channels of a
sequence to sequence job; what comes of each notebook is
written there as notebooks.json. The notebooks run side by side. The SDK's pauses are a second at most here.
"""

from __future__ import annotations

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import numpy as np
import sagemaker
from sagemaker.amazon.amazon_estimator import get_image_uri
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.serializers import CSVSerializer, JSONSerializer
from sagemaker.transformer import Transformer
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter
from up_notebooks_low_level import (
    churn_and_variants,
    direct_marketing,
    image_classification,
    kmeans_low_level,
    seq2seq,
    xgboost_regression,
)
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
    put,
    training_request,
    uploaded,
)


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
