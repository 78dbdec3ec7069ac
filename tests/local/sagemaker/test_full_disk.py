"""A state folder that cannot be written: what has happened is known all the same, and no process waits for its log."""

from unittest.mock import MagicMock

import pytest

pytest.importorskip("boto3")

from local.sagemaker.cloudwatch import Log
from local.sagemaker.store import Store


def test_a_change_is_known_at_once_and_written_when_it_can_be(tmp_path):
    store = Store(tmp_path)
    store.put("job", "a", {"Status": "InProgress"})
    store.put("job", "b", {"Status": "InProgress"})
    folder = tmp_path / "records" / "job"
    folder.rename(tmp_path / "aside")
    folder.write_text("no folder")
    assert store.update("job", "a", Status="Failed")["Status"] == "Failed"
    assert store.get("job", "a")["Status"] == "Failed"
    with pytest.raises(OSError):
        store.put("job", "c", {})
    assert store.get("job", "c") is None
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    assert Store(tmp_path).get("job", "a")["Status"] == "InProgress"
    store.update("job", "b", Status="Completed")
    later = Store(tmp_path)
    assert [later.get("job", name)["Status"] for name in "ab"] == ["Failed", "Completed"]


def test_lines_reach_cloudwatch_where_the_file_takes_none(tmp_path):
    (tmp_path / "algo-1.log").symlink_to("/dev/full")
    cloud = MagicMock(region="us-east-1")
    log = Log(cloud, tmp_path / "algo-1.log", "group", "stream", {"loss": r"loss=(\S+)"}, ("Job", "j"))
    for number in range(3000):
        log.write(f"loss={number}")
    log.close()
    assert log.latest["loss"][0] == 2999
    sent = [call.kwargs["logEvents"] for call in cloud.client().put_log_events.call_args_list]
    assert sum(map(len, sent)) == 3000
