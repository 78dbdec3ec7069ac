"""SageMaker's train/serve contract: /opt/ml, hyperparameters, logs, failures, HTTP."""
