"""What must hold for whatever algorithm trains on several hosts: one that has nothing, all that have nothing, pipes."""

from __future__ import annotations

import os

import pytest

from algorithms import registry
from algorithms.interface import FILES, PIPE
from tests.algorithms import samples
from tests.hosts.group import Group, group, leader_model
from tests.hosts.test_jobs import EAGERLY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("OBA_THOROUGH"), reason="all algorithms are for OBA_THOROUGH=1"),
]

NAMES = {name: 110 + number for number, name in enumerate(sorted(registry.ALGORITHMS))}
"""With the number of the group."""
MOST_EPOCHS = 60
"""Pipes that stand ready, of which an algorithm opens as many as it likes."""


def channels(name: str) -> dict[str, tuple[str, dict[str, bytes]]]:
    """Content type and files of each channel that is read by itself: not of those that each host has whole."""
    algorithm = registry.find(name)
    return samples.files(algorithm, algorithm.configurations[0])


def read_whole(name: str, channel: str) -> bool:
    return next(one for one in registry.find(name).channels if one.name == channel).gives == FILES


def in_parts(hosts: Group, name: str, *, last_has_all: bool) -> Group:
    """Channels whose files are spread: the last host has all of them, or none has any."""
    for channel, (content_type, files) in channels(name).items():
        if read_whole(name, channel):
            hosts.replicated(channel, files, content_type)
        else:
            hosts.sharded(channel, [{}] * (len(hosts.hosts) - 1) + [files if last_has_all else {}], content_type)
    return hosts


def values_of(name: str) -> dict[str, str]:
    return dict(registry.find(name).configurations[0].hyperparameters)


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_host_without_data_takes_part(tmp_path, name, checkpoints):
    with group(tmp_path, 2, NAMES[name], name, values_of(name)) as hosts:
        for host in hosts.hosts if checkpoints else ():
            host.paths.checkpoints.mkdir()
        in_parts(hosts, name, last_has_all=True).start(before=EAGERLY)
        registry.find(name).load(leader_model(hosts.outcomes(400)).model)
    assert "All 2 hosts are here" in hosts.log(0)


@pytest.mark.parametrize("name", NAMES)
def test_channels_that_are_empty_on_all_hosts_are_the_error_that_they_are_on_one(tmp_path, name):
    with group(tmp_path, 2, NAMES[name], name, values_of(name)) as hosts:
        in_parts(hosts, name, last_has_all=False).start()
        outcomes = hosts.outcomes(400)
    for outcome in outcomes:
        assert outcome.code == 1
        assert (outcome.failure or "").startswith("ClientError: ")
        assert "Channel 'train' is empty" in (outcome.failure or "")
    assert outcomes[0].failure == outcomes[1].failure


@pytest.mark.parametrize("name", [name for name in NAMES if PIPE in registry.find(name).channels[0].modes])
def test_two_hosts_read_pipes(tmp_path, name):
    with group(tmp_path, 2, NAMES[name], name, values_of(name)) as hosts:
        for channel, (content_type, files) in channels(name).items():
            for opt_ml in hosts.hosts:
                opt_ml.pipe(channel, [b"".join(files.values())] * MOST_EPOCHS, content_type)
        hosts.start(before=EAGERLY)
        registry.find(name).load(leader_model(hosts.outcomes(400)).model)
