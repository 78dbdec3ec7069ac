"""The manifests: valid by Kubernetes' own schemas, and their commands do in a process what they promise in a Pod."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from algorithms import registry
from algorithms.common import mxnet_files
from container.serving.telemetry import Metrics
from tests.hosts.group import own_network
from tests.server import Server

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.34", "1.37")
OURS = {"JobSet", "ServingRuntime", "InferenceService"}  # kinds that Kubernetes itself does not have


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def embedded(document):
    """What of a document Kubernetes has a schema for: itself, or the jobs and containers within."""
    if document["kind"] == "JobSet":
        for job in document["spec"]["replicatedJobs"]:
            yield {"apiVersion": "batch/v1", "kind": "Job", "metadata": document["metadata"], **job["template"]}
    elif document["kind"] == "ServingRuntime":
        spec = {name: document["spec"][name] for name in ("containers", "volumes")}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": spec}
    elif document["kind"] not in OURS:
        yield document


@pytest.fixture(scope="module")
def schemas():
    """Imported here, for it takes a second, in each process that collects tests."""
    import kubernetes_validate

    return kubernetes_validate


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_manifests_are_valid(file, version, schemas):
    checked = [part for document in documents(file.name) for part in embedded(document)]
    assert checked
    for part in checked:
        schemas.validate(part, version, strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_pods_have_no_rights_and_write_to_volumes_alone(file):
    text = file.read_text()
    for part in (part for document in documents(file.name) for part in embedded(document)):
        spec = part.get("spec", {})
        template = spec["template"]["spec"] if "template" in spec else spec
        for container in template.get("containers", ()):
            rights = template.get("securityContext", {}) | container["securityContext"]
            assert rights["readOnlyRootFilesystem"] and rights["runAsNonRoot"] and rights["runAsUser"], text
            assert rights["capabilities"] == {"drop": ["ALL"]} and not rights["allowPrivilegeEscalation"]
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_what_one_file_makes_no_other_one_changes():
    """Of Services it would go unnoticed: one made without an address of its own stays so, and a JobSet makes one that
    has its name, unless there is one."""
    names = [
        ("Service" if one["kind"] == "JobSet" else one["kind"], one["metadata"]["name"], file.name)
        for file in FILES
        for one in documents(file.name)
    ]
    assert len({name[:2] for name in names}) == len(names), sorted(names)


def test_all_volumes_are_of_the_claim_that_there_is():
    (claim,) = (one for one in documents("claim.yaml") if one["kind"] == "PersistentVolumeClaim")
    used = set(re.findall(r"claimName: (\w+)", "".join(file.read_text() for file in FILES)))
    assert used == {claim["metadata"]["name"]}


def test_the_job_in_the_page_of_checkpoints_is_valid(schemas):
    page = (FOLDER.parents[1] / "docs" / "checkpoints.md").read_text()
    (job,) = yaml.safe_load_all(page.partition("```yaml\n")[2].partition("```")[0])
    schemas.validate(job, VERSIONS[0], strict=True)


def test_a_wrong_manifest_would_be_found(schemas):
    job = next(part for part in documents("train.yaml") if part["kind"] == "Job")
    job["spec"]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    with pytest.raises(schemas.ValidationError):
        schemas.validate(job, VERSIONS[0], strict=True)


def container_of(name, kind):
    (found,) = (one for one in documents(name) if one["kind"] == kind)
    spec = found["spec"]
    if kind == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec, (spec["template"]["spec"]["containers"] if "template" in spec else spec["containers"])[0]


@pytest.mark.parametrize(
    ("name", "kind", "first"),
    [
        ("train-hosts.yaml", "Job", "digits-hosts-0.digits-hosts"),
        ("jobset.yaml", "JobSet", "digits-set-hosts-0-0.digits-set"),
    ],
)
def test_a_pod_knows_all_hosts_and_its_own_place(tmp_path, name, kind, first):
    """The manifest's own command, with a ``train`` that shows what it was given."""
    spec, container = container_of(name, kind)
    (tmp_path / "config").mkdir()
    config = next(one for one in documents(name) if one["kind"] == "ConfigMap")
    for file, text in config["data"].items():
        (tmp_path / "config" / file).write_text(text)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "train").write_text("#!/bin/sh\ncat $SAGEMAKER_BASE_DIR/input/config/*.json; exit 7\n")
    (tmp_path / "bin" / "train").chmod(0o755)
    command = [sys.executable, *container["command"][1:]]
    command[command.index("/config")] = str(tmp_path / "config")
    variables = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(FOLDER.parents[1]),
        "SAGEMAKER_BASE_DIR": str(tmp_path / "ml"),
    }
    done = subprocess.run(command, env=variables | {"JOB_COMPLETION_INDEX": "2"}, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    written = json.loads((tmp_path / "ml/input/config/resourceconfig.json").read_text())
    assert written["hosts"][0] == first
    assert len(written["hosts"]) == spec["completions"] == spec["parallelism"] == 3
    assert written["current_host"] == written["hosts"][2]
    assert (tmp_path / "ml/input/config/hyperparameters.json").read_text() == config["data"]["hyperparameters.json"]
    done = subprocess.run(command, env=variables | {"JOB_COMPLETION_INDEX": "3"}, capture_output=True, text=True)
    assert (done.returncode, "JOB_COMPLETION_INDEX" in done.stderr) == (1, True)


@contextlib.contextmanager
def pods(base: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """The Pods of train-hosts.yaml, ``count`` of them, as processes that each find the others by the Service's names:
    in a file that is /etc/hosts to them alone. Data and model are on one volume, and the rest is each Pod's own."""
    _, container = container_of("train-hosts.yaml", "Job")
    (base / "config").mkdir()
    for file, text in next(one for one in documents("train-hosts.yaml") if one["kind"] == "ConfigMap")["data"].items():
        (base / "config" / file).write_text(text)
    network = f"{own_network()}.{count}"
    addresses = [f"{network}.{100 + pod} digits-hosts-{pod}.digits-hosts" for pod in range(count)]
    (base / "hosts").write_text("\n".join(["127.0.0.1 localhost", *addresses, ""]))
    places = {"/config": str(base / "config"), "3": str(count), "python3": sys.executable}
    command = [places.get(word, word) for word in container["command"]]
    seen = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(base / "hosts")]
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(FOLDER.parents[1]),
        "OMP_NUM_THREADS": "1",
        "ALGORITHM": "kmeans",
        "OBA_JOB_TOKEN": "the UID of the Job",
    }
    with contextlib.ExitStack() as stack:
        started = []
        for pod in range(count):
            ml = base / str(pod)
            (ml / "input").mkdir(parents=True)
            (ml / "input" / "data").symlink_to(base / "data")
            (ml / "model").symlink_to(base / "model")
            own = {"SAGEMAKER_BASE_DIR": str(ml), "JOB_COMPLETION_INDEX": str(pod)}
            with (base / f"{pod}.log").open("w") as log:
                started.append(subprocess.Popen([*seen, *command], env=variables | own, stdout=log, stderr=log))
            stack.callback(started[-1].wait)
            stack.callback(started[-1].kill)
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, *([12] if os.environ.get("OBA_THOROUGH") else [])])
def test_the_pods_of_a_job_train_together(tmp_path, count):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces can be made here")
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    digits = load_digits().data
    np.savetxt(tmp_path / "data" / "train" / "digits.csv", digits, delimiter=",", fmt="%g")
    with pods(tmp_path, count) as started:
        codes = [process.wait(300) for process in started]
    logs = [(tmp_path / f"{pod}.log").read_text() for pod in range(count)]
    assert codes == [0] * count, logs[0]
    if count > 1:
        assert f"All {count} hosts are here: digits-hosts-0.digits-hosts" in logs[0]
    centers = registry.find("kmeans").load(tmp_path / "model").centers
    loss = np.square(digits[:, None] - centers[None]).sum(axis=2).min(axis=1).mean()
    peer = KMeans(10, n_init=10, random_state=0).fit(digits)
    assert loss < 1.005 * peer.inertia_ / len(digits)


def test_kserves_command_serves_what_lies_in_its_folder(tmp_path):
    _, container = container_of("kserve.yaml", "ServingRuntime")
    (tmp_path / "models").mkdir()
    mxnet_files.save(tmp_path / "models" / "model_algo-1", [np.eye(3, 2, dtype=np.float32)])
    shell = container["command"][2].replace("/mnt/models", str(tmp_path / "models"))
    shell = shell.replace("/tmp/ml", str(tmp_path / "ml")).replace("exec serve", "")[: -len("&& ")]
    subprocess.run(["sh", "-c", shell], check=True)
    server = Server(tmp_path / "ml", {})
    try:
        server.wait()
        for probe in ("readinessProbe", "livenessProbe"):
            assert server.request("GET", container[probe]["httpGet"]["path"]).status == 200
        body = json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [0, 1]}]})
        service = next(one for one in documents("kserve.yaml") if one["kind"] == "InferenceService")
        answer = server.request("POST", f"/v2/models/{service['metadata']['name']}/infer", body.encode())
        assert json.loads(answer.body)["outputs"][0]["data"] == [1.0]
        server.stop()
    finally:
        server.process.kill()
        server.process.wait()


def test_the_autoscaler_asks_for_a_metric_that_there_is():
    scaler = next(one for one in documents("serve.yaml") if one["kind"] == "HorizontalPodAutoscaler")
    asked = {one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"}
    assert asked <= {family.name for family in Metrics().own.collect()}
