"""What comes at the wrong moment: stops and deletions in the midst of a start, each moment held still here."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("boto3")

from local.sagemaker import endpoints, instances, models, servers, training, training_job
from local.sagemaker.cloud import Cloud
from local.sagemaker.engines import ProcessEngine
from local.sagemaker.errors import AwsError, JobError
from local.sagemaker.store import Store
from tests.local.sagemaker.client import KMEANS, ROLE, request


class Processes:
    """Processes that know nothing of each other, and end at SIGTERM."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *_: Any) -> subprocess.Popen[str]:
        self.started.append(subprocess.Popen(["sleep", "100"], stdout=subprocess.PIPE, text=True))
        return self.started[-1]

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    monkeypatch.setattr(Cloud, "client", lambda *_: MagicMock())
    processes = Processes()
    given = {"store": Store(tmp_path), "processes": processes, "engine": ProcessEngine(processes)}
    given |= {"queue": ThreadPoolExecutor(1), "at_once": 1}
    yield Cloud(**given, url="", folder=tmp_path, jobs={}, running={}, region="us-east-1")
    given["queue"].shutdown()
    for process in given["processes"].started:
        process.stdout.close()


def within(seconds: float, condition) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_stop_finds_a_job_as_soon_as_it_is_there(cloud, monkeypatch):
    submit, told = Cloud.submit, []

    def late(*arguments: Any) -> None:
        time.sleep(0.3)
        submit(*arguments)

    def stop() -> None:
        while not told:
            try:
                training.stop(cloud, {"TrainingJobName": "job"})
                told.append("stopped")
            except AwsError as error:
                assert "not found" in str(error)
            except KeyError as error:
                told.append(repr(error))

    monkeypatch.setattr(Cloud, "submit", late)
    monkeypatch.setattr(training_job, "run", lambda _cloud, _name, stop: stop.wait(120))
    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    training.create(cloud, request("job"))
    thread.join(120)
    assert told == ["stopped"]


def test_a_stop_goes_to_each_host(cloud):
    training.create(cloud, request("job", hosts=3) | {"InputDataConfig": []})
    assert within(120, lambda: len(cloud.processes.started) == 3)
    training.stop(cloud, {"TrainingJobName": "job"})
    assert within(120, lambda: training.found(cloud, "job")["TrainingJobStatus"] == "Stopped")
    assert [process.returncode for process in cloud.processes.started] == [-15] * 3


@pytest.mark.parametrize("ends", [None, JobError("it fails late"), ValueError("and unforeseen")])
def test_a_deleted_endpoint_does_not_touch_its_successor(cloud, monkeypatch, ends):
    held, made = {"first": threading.Event(), "second": threading.Event()}, {"first": [], "second": []}

    class Server:
        """One that is healthy when the test says so."""

        def __init__(self, _cloud: Cloud, container: dict, *_: Any) -> None:
            self.name, self.closed = container["ModelDataUrl"], False
            made[self.name].append(self)

        def wait(self) -> None:
            held[self.name].wait(120)
            if self.name == "first" and ends:
                raise ends

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(instances, "Server", Server)
    for name in held:
        container = {"Image": KMEANS, "ModelDataUrl": name}
        models.create_model(cloud, {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": ROLE})
        variants = [{"VariantName": name, "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}]
        models.create_config(cloud, {"EndpointConfigName": name, "ProductionVariants": variants})
    endpoints.create(cloud, {"EndpointName": "e", "EndpointConfigName": "first"})
    assert within(120, lambda: made["first"])
    endpoints.delete(cloud, {"EndpointName": "e"})
    endpoints.create(cloud, {"EndpointName": "e", "EndpointConfigName": "second"})
    held["second"].set()
    assert within(120, lambda: "e" in cloud.running)
    held["first"].set()
    assert within(120, lambda: made["first"][0].closed)
    endpoint = endpoints.describe(cloud, {"EndpointName": "e"})
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", "second")
    assert not endpoint["FailureReason"]
    assert [instance.servers for variant in cloud.running["e"] for instance in variant.instances] == [made["second"]]
    assert not made["second"][0].closed


def test_two_servers_that_have_yet_to_listen_have_ports_of_their_own(cloud, monkeypatch):
    free = iter([7001, 7001, 7001, 7002, 7001])
    monkeypatch.setattr(servers, "free_port", lambda: next(free))

    def server(name: str) -> servers.Server:
        return servers.Server(cloud, {"Image": KMEANS}, servers.Place(cloud.folder / name, "group", name))

    first, second = server("first"), server("second")
    assert (first.port, second.port) == (7001, 7002)
    first.close()
    third = server("third")
    assert third.port == 7001
    for one in (second, third):
        one.close()
