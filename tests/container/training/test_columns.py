"""Columns with names are read in one order on all hosts of a job, or not at all."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from algorithms.xgb import XGBoost
from container.settings import ConfigurationError
from container.training import config
from container.training.columns import Columns
from recordio.content_type import PARQUET
from tests.algorithms.fakes import on_hosts
from tests.opt_ml import OptMl

NAMES = ["algo-1", "algo-2", "algo-3"]


def parquet(*names: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({name: [number] for number, name in enumerate(names)}), file)
    return file.getvalue()


def names_of(columns: Columns) -> dict[str, list[str]]:
    return {channel: order.names for channel, order in columns.of_channel.items()}


def of_hosts(
    tmp_path, channels: dict[str, list[str]], mode: str = "File", then=lambda columns, rank: names_of(columns)
):
    """The columns of hosts of which each has a file with these (letters), or none where there are none."""

    def run(hosts):
        opt_ml = OptMl(tmp_path / str(hosts.rank)).hyperparameters({"num_round": 1})
        opt_ml.write(opt_ml.paths.resource_config, {"current_host": NAMES[hosts.rank], "hosts": NAMES})
        for channel, of_host in channels.items():
            files = {"a.parquet": parquet(*of_host[hosts.rank])} if of_host[hosts.rank] else {}
            opt_ml.channel(channel, files, PARQUET, S3DistributionType="ShardedByS3Key", TrainingInputMode=mode)
        return then(Columns(opt_ml.paths, config.read(opt_ml.paths, XGBoost), hosts), hosts.rank)

    return on_hosts(3, run)


def test_all_have_the_order_of_the_first_host_that_has_a_file(tmp_path):
    channels = {"validation": ["zxy", "", "xyz"], "train": ["", "yxz", "xyz"]}
    assert of_hosts(tmp_path, channels) == [{"train": list("yxz"), "validation": list("yxz")}] * 3


def test_channels_of_other_names_have_orders_of_their_own(tmp_path):
    channels = {"train": ["yx", "yx", "xy"], "validation": ["", "ba", "ab"]}
    assert of_hosts(tmp_path, channels) == [{"train": list("yx"), "validation": list("ba")}] * 3


@pytest.mark.parametrize(("other", "what"), [("yxa", "it has 'a'"), ("yxaz", "it has 'a'"), ("y", "it lacks 'x'")])
def test_other_names_are_refused(tmp_path, other, what):
    words = f"Channel 'train': the files of host algo-3 have other columns than those of host algo-1: {what}"
    with pytest.raises(ConfigurationError, match=words):
        of_hosts(tmp_path, {"train": ["yxz", "", other]})


def test_pipes_are_compared_when_they_have_been_read(tmp_path):
    came = ["yx", "", "xy"]

    def read(columns, rank):
        columns.of_channel["train"].settle(came[rank])
        columns.check()

    with pytest.raises(ConfigurationError, match=r"came to host algo-3 .*: 'x' is where 'y' is there\. In Pipe mode"):
        of_hosts(tmp_path, {"train": came}, "Pipe", read)
    came[2] = "yx"
    of_hosts(tmp_path / "alike", {"train": came}, "Pipe", read)
