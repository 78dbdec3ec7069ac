"""What a CI tries of a SageMaker job: train, deploy, ask, and check the answers. Only boto3, as on AWS."""

import json
import random

import boto3

BUCKET, NAME, ROLE = "ci-data", "ci-kmeans", "arn:aws:iam::123456789012:role/SageMaker"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
CENTERS = ((0, 0), (10, 10), (0, 10))

s3, sagemaker, runtime = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
draw = random.Random(0)
rows = [(draw.gauss(x, 0.1), draw.gauss(y, 0.1)) for x, y in CENTERS for _ in range(40)]
table = "".join(f"{x},{y}\n" for x, y in rows)

s3.create_bucket(Bucket=BUCKET)
s3.put_object(Bucket=BUCKET, Key="train/rows.csv", Body=table)
source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/train/", "S3DataDistributionType": "FullyReplicated"}
sagemaker.create_training_job(
    TrainingJobName=NAME,
    RoleArn=ROLE,
    AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
    HyperParameters={"k": "3", "feature_dim": "2"},
    InputDataConfig=[
        {"ChannelName": "train", "ContentType": "text/csv;label_size=0", "DataSource": {"S3DataSource": source}}
    ],
    OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/models"},
    ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
    StoppingCondition={"MaxRuntimeInSeconds": 600},
)
patience = {"Delay": 1, "MaxAttempts": 300}
sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=NAME, WaiterConfig=patience)
model = sagemaker.describe_training_job(TrainingJobName=NAME)["ModelArtifacts"]["S3ModelArtifacts"]

container = {"Image": IMAGE, "ModelDataUrl": model}
sagemaker.create_model(ModelName=NAME, PrimaryContainer=container, ExecutionRoleArn=ROLE)
variant = {"VariantName": "all", "ModelName": NAME, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
sagemaker.create_endpoint_config(EndpointConfigName=NAME, ProductionVariants=[variant])
sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig=patience)
answer = runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Body=table)
clusters = [row["closest_cluster"] for row in json.load(answer["Body"])["predictions"]]
sagemaker.delete_endpoint(EndpointName=NAME)

groups = [set(clusters[start : start + 40]) for start in range(0, 120, 40)]
assert all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 3, groups
print(f"{len(rows)} rows, {len(CENTERS)} clusters, each found: {model}")
