from pathlib import Path

import pytest

from container.settings import MIB, ConfigurationError, Settings, job


def read(**variables):
    return Settings.from_environment(variables)


def test_nothing_set_gives_sagemakers_defaults():
    assert read() == Settings()
    assert (read().base_directory, read().port, read().max_payload) == (Path("/opt/ml"), 8080, 6 * MIB)


def test_every_variable_arrives():
    settings = read(
        SAGEMAKER_BASE_DIR="/tmp/x",
        ALGORITHM="kmeans",
        SAGEMAKER_BIND_TO_PORT="1234",
        OBA_BIND_ADDRESS="127.0.0.1",
        SAGEMAKER_MODEL_SERVER_WORKERS="3",
        SAGEMAKER_MODEL_SERVER_TIMEOUT="7",
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="application/json",
        SAGEMAKER_BATCH="True",  # the SDK's local mode writes it so
        SAGEMAKER_BATCH_STRATEGY="SingleRecord",
        SAGEMAKER_MAX_CONCURRENT_TRANSFORMS="8",
        SAGEMAKER_MAX_PAYLOAD_IN_MB="20",
        SAGEMAKER_MULTI_MODEL="true",
        SAGEMAKER_INFERENCE_OUTPUT="predicted_label, probability",
        SAGEMAKER_INFERENCE_ENSEMBLE="false",
    )
    assert settings == Settings(
        base_directory=Path("/tmp/x"),
        algorithm="kmeans",
        port=1234,
        address="127.0.0.1",
        workers=3,
        timeout=7,
        default_accept="application/json",
        batch=True,
        local_batch=True,
        batch_strategy="SINGLE_RECORD",
        max_concurrent_transforms=8,
        max_payload=20 * MIB,
        multi_model=True,
        inference_outputs=("predicted_label", "probability"),
        ensemble=False,
    )


def test_the_token_of_a_job_goes_before_its_name():
    names = {"TRAINING_JOB_NAME": "digits", "TRAINING_JOB_ARN": "arn:aws:sagemaker:eu-west-1:1:training-job/digits"}
    assert job(names) == names["TRAINING_JOB_ARN"]
    assert job({**names, "OBA_JOB_TOKEN": " 4f1c "}) == "4f1c"
    assert job({"OBA_JOB_TOKEN": ""}) is None


def test_an_empty_variable_is_an_unset_one():
    assert read(SAGEMAKER_BIND_TO_PORT="", ALGORITHM=" ") == Settings()


def test_a_payload_of_zero_lifts_the_limit():
    assert read(SAGEMAKER_MAX_PAYLOAD_IN_MB="0").max_payload is None
    assert read(MAX_CONTENT_LENGTH="1000").max_payload == 1000
    assert read(MAX_CONTENT_LENGTH="1000", SAGEMAKER_MAX_REQUEST_SIZE="2000").max_payload == 2000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "0"),
        ("SAGEMAKER_BIND_TO_PORT", "65536"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "-1"),
        ("SAGEMAKER_BATCH", "maybe"),
        ("SAGEMAKER_BATCH_STRATEGY", "ALL"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "six"),
        ("OBA_HOSTS_WAIT", "0"),
        ("OBA_HOSTS_HERE", "101"),
    ],
)
def test_what_cannot_be_used_is_named(name, value):
    with pytest.raises(ConfigurationError, match=f"Environment variable {name}: '{value}' is not "):
        read(**{name: value})


def test_all_problems_together():
    with pytest.raises(ConfigurationError) as caught:
        read(SAGEMAKER_BIND_TO_PORT="x", SAGEMAKER_BATCH="y")
    assert len(str(caught.value).splitlines()) == 2
