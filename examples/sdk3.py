"""The same with the SageMaker SDK 3; the model is in compressed_artifacts/model.tar.gz."""

from sagemaker.core.training.configs import Compute, InputData
from sagemaker.train import ModelTrainer
from sagemaker.train.model_trainer import Mode

trainer = ModelTrainer(
    training_image="kmeans",
    training_mode=Mode.LOCAL_CONTAINER,
    compute=Compute(instance_type="local_cpu", instance_count=1),
    hyperparameters={"k": 10, "feature_dim": 64},
)
rows = InputData(channel_name="train", data_source="out/digits", content_type="text/csv;label_size=0")
trainer.train(input_data_config=[rows])
