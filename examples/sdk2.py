"""K-means on digits with the SageMaker SDK 2 on this machine: no account, no network, a local image `kmeans`."""

import boto3
import numpy as np
from sagemaker import KMeansPredictor
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.local import LocalSession

estimator = Estimator(
    image_uri="kmeans",  # a local tag, or ACCOUNT.dkr.ecr.REGION.amazonaws.com/kmeans in SageMaker
    role="arn:aws:iam::123456789012:role/SageMaker",
    instance_count=1,
    instance_type="local",
    hyperparameters={"k": 10, "feature_dim": 64},
    output_path="file://out/sdk",
    sagemaker_session=LocalSession(boto3.Session(region_name="us-east-1")),  # any; nobody is asked there
)
estimator.fit({"train": TrainingInput("file://out/digits", content_type="text/csv;label_size=0")})
endpoint = estimator.deploy(1, "local", wait=False)  # it answers already; the SDK would look again after 30 seconds
predictor = KMeansPredictor(endpoint.endpoint_name, sagemaker_session=estimator.sagemaker_session)
print(predictor.predict(np.zeros((1, 64), np.float32))[0].label["closest_cluster"])
predictor.delete_endpoint()
