"""A state folder with damaged files: `oba up` starts, says which, and has the rest."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from local.sagemaker.store import Store
from tests.local.sagemaker.client import object_at, running

DAMAGED = {
    "records/model/half.json": b'{"Name": "half"',
    "records/training-job/bytes.json": b"\xff\xfe\x00",
    "records/endpoint/empty.json": b"",
    "s3/kept/0a.json": b"{",
    "s3/kept/0b.json": b"[" * 100_000,
    "s3/without/bucket.json": b"",
    "tuning-jobs/us-east-1/job/state.json": b"{}",
    "invocations/none/0c.json": b"{",
}


def test_a_record_that_is_damaged_is_set_aside_by_name(tmp_path, caplog):
    store = Store(tmp_path)
    store.put("model", "sound", {"Name": "sound"})
    (tmp_path / "records" / "model" / "half.json").write_text('{"Name": "half"')
    again = Store(tmp_path)
    assert [record["Name"] for record in again.all("model")] == ["sound"]
    assert "half.json is damaged" in caplog.text
    assert (tmp_path / "records" / "model" / "half.json.damaged").read_text() == '{"Name": "half"'


@pytest.mark.slow
def test_a_server_starts_with_what_is_whole(tmp_path):
    state = tmp_path / "state"
    with running(state) as up:
        up.s3.create_bucket(Bucket="kept")
        up.s3.put_object(Bucket="kept", Key="a", Body=b"whole")
        up.process.terminate()
        up.process.wait(20)
    for name, content in DAMAGED.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(content)
    (state / "s3" / "kept" / "0a.1").write_bytes(b"bytes of a damaged record")
    for _ in range(2):
        with running(state) as up:
            assert object_at(up, "s3://kept/a") == b"whole"
            assert [one["Name"] for one in up.s3.list_buckets()["Buckets"]] == ["kept", "without"]
            assert up.sagemaker.list_models()["Models"] == []
            assert up.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
    assert (state / "s3" / "kept" / "0a.1").exists()  # the bytes can still be saved by hand
    assert json.loads((state / "s3" / "without" / "bucket.json").read_text())["region"] == "us-east-1"
    assert len(list(state.rglob("*.damaged"))) == len(DAMAGED) - 2  # tuning jobs and endpoints' requests have folders
