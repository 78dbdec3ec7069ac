"""Jobs on several hosts that are interrupted, and go on to the model of one that was not, bit for bit."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from algorithms import registry
from algorithms.pca import covariance
from recordio.batches import Batch
from tests import resuming
from tests.algorithms import samples
from tests.forks import JOBS
from tests.hosts.group import Group, leader_model
from tests.hosts.group import group as processes

pytestmark = pytest.mark.slow

THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
group = functools.partial(processes, forks=JOBS)
ALL = {"factorization-machines": 90, "ntm": 91, "image-classification": 96, "seq2seq": 97, "linear-learner": 98}
"""Algorithms whose hosts write their checkpoints together, and the number of the group."""

NETWORKS = {"ntm", "image-classification", "seq2seq"}

MORE = resuming.MORE | {  # smaller batches: each host has half of the data
    "image-classification": {"epochs": "3", "mini_batch_size": "3"},
    "seq2seq": {"max_num_epochs": "3", "batch_size": "8", "checkpoint_frequency_num_batches": "3"},
}

MINI_BATCHES = "from algorithms.linear_learner import path; path.PATH_MEMORY = 0"
"""The linear learner's rows fit into no memory: its exact training, of seconds, begins anew after a stop."""

SOON_ALONE = f"""{MINI_BATCHES}
from algorithms.common import local_steps
local_steps.TOGETHER, local_steps.FIRST, local_steps.MOST, local_steps.DUE, local_steps.LATEST = 2, 2, 4, 3, 3
"""
"""It and factorization machines take two steps together, and then each host some of its own between exchanges."""

_EVERY_POINT = (
    SOON_ALONE
    + """
import os, signal, time
from container.training import checkpoints
checkpoints.SECONDS, checkpoints.SHARE_OF_TIME = 0.0, float("inf")
class Store(checkpoints.CheckpointStore):
    def _write(self, checkpoint, epoch_over):
        super()._write(checkpoint, epoch_over)
        self.written = getattr(self, "written", 0) + 1
        print("point", checkpoint.position, flush=True)
        if self._hosts.rank == 1 and self.written == {point}:
            os.kill({process}, signal.{number})
            time.sleep(2)  # until the signal is heard: this job ends in tenths of a second
from container.training import train
train.CheckpointStore = Store
"""
)


def every_point(point: int = 0, number: str = "SIGKILL", process: str = "os.getpid()") -> str:
    """Code by which hosts write each checkpoint that they offer; the second is sent a signal after the n-th."""
    return _EVERY_POINT.format(point=point, number=number, process=process)


def filled(hosts: Group, name: str) -> Group:
    """With the data of the algorithm's first configuration."""
    algorithm = registry.find(name)
    for channel, (content_type, files) in samples.files(algorithm, algorithm.configurations[0]).items():
        hosts.replicated(channel, files, content_type)
    return hosts


def keeping(hosts: Group) -> Group:
    """With folders for checkpoints."""
    for opt_ml in hosts.hosts:
        opt_ml.paths.checkpoints.mkdir()
    return hosts


def points(hosts: Group, place: int) -> list[str]:
    """Where a host has written checkpoints in its last start."""
    return [line.partition("point ")[2] for line in hosts.log(place).splitlines() if line.startswith("point ")]


def start_again(hosts: Group, before: str) -> None:
    """As whoever starts jobs again does: with the same folders, and without what the last start has left."""
    for opt_ml in hosts.hosts:
        opt_ml.paths.failure.unlink(missing_ok=True)
        shutil.rmtree(opt_ml.paths.model)
        opt_ml.paths.model.mkdir()
    hosts.start(before=before)


def assert_same(found: list[str], other: list[str]) -> None:
    """One may have been killed between writing and saying so."""
    assert abs(len(found) - len(other)) <= 1
    assert all(one == two for one, two in zip(found, other, strict=False))


@pytest.mark.parametrize("name", [name for name in ALL if THOROUGH or name not in NETWORKS])
def test_hosts_that_were_interrupted_end_as_those_that_were_not(tmp_path, name):
    assert_going_on(tmp_path, name, ALL[name], MORE[name])


def test_hosts_go_on_with_sweeps_of_which_the_first_alone_has_the_state(tmp_path):
    """Where its newest checkpoint is damaged, the other goes on from the older one with it."""

    def damage(hosts: Group) -> None:
        newest = max(hosts.hosts[0].paths.checkpoints.glob("*.checkpoint"))
        newest.write_bytes(newest.read_bytes()[:-100])

    assert_going_on(tmp_path, "factorization-machines", 99, {}, damage)


def assert_going_on(
    tmp_path: Path, name: str, number: int, more: dict[str, str], harm: Callable[[Group], None] = lambda hosts: None
) -> None:
    """Two hosts that were killed, and then stopped, end with the model of those that were left alone."""
    values = {**registry.find(name).configurations[0].hyperparameters, **more}
    with group(tmp_path / "plain", 2, number, name, values) as plain:
        filled(plain, name).start(before=SOON_ALONE)
        leader_model(plain.outcomes())
        expected = resuming.artifact(plain.hosts[0])
    with group(tmp_path / "disturbed", 2, number, name, values) as hosts:
        keeping(filled(hosts, name)).start(before=every_point(3))
        assert [outcome.code for outcome in hosts.outcomes()] == [1, 1]
        assert_same(points(hosts, 0), points(hosts, 1))
        harm(hosts)
        start_again(hosts, every_point(3, "SIGTERM", "os.getppid()"))
        assert [outcome.code for outcome in hosts.outcomes()] == [143, 143], hosts.log(0)
        assert "Training goes on after" in hosts.log(0)
        assert points(hosts, 0) == points(hosts, 1)
        start_again(hosts, every_point())
        leader_model(hosts.outcomes())
        assert points(hosts, 0) == points(hosts, 1)
        assert "Training goes on after" in hosts.log(1)
        assert resuming.artifact(hosts.hosts[0]) == expected


def test_another_number_of_hosts_starts_anew_and_says_so(tmp_path):
    name = "factorization-machines"
    values = {**registry.find(name).configurations[0].hyperparameters, **resuming.MORE[name]}
    plain = resuming.job(tmp_path / "plain", name, registry.find(name).configurations[0].name, resuming.MORE[name])
    assert resuming.run(name, plain).code == 0
    one = resuming.job(tmp_path / "one", name, registry.find(name).configurations[0].name, resuming.MORE[name])
    with group(tmp_path / "two", 2, 93, name, values) as hosts:
        for opt_ml in filled(hosts, name).hosts:
            opt_ml.paths.checkpoints.symlink_to(one.paths.checkpoints)
        hosts.start(before=every_point(3, "SIGTERM", "os.getppid()"))
        assert [outcome.code for outcome in hosts.outcomes()] == [143, 143], hosts.log(0)
    theirs = sorted(one.paths.checkpoints.glob("*.checkpoint"))
    alone = resuming.run(name, one)
    assert alone.code == 0
    assert "number of hosts was 2 and is 1" in alone.log
    assert "Training goes on after" not in alone.log
    assert resuming.artifact(one) == resuming.artifact(plain)
    assert all(file.exists() for file in theirs)


SMALL_BLOCKS = "from algorithms.pca import covariance; covariance.BLOCK_ROWS = 7"
"""PCA reads seven rows at a time: its single epoch has a midst."""

LATE_KILL = every_point(2).replace("os.kill(os", "time.sleep(1.5); os.kill(os")
"""The second host ends after its second checkpoint, and leaves the first the time to go on."""


@pytest.mark.parametrize(("number", "name"), [(101, "kmeans"), (102, "pca"), (103, "lda")])
def test_mergeable_states_go_on_with_another_number_of_hosts(tmp_path, monkeypatch, number, name):
    """From one host to two, of which one is killed while the other runs on, and back to one."""
    monkeypatch.setattr(covariance, "BLOCK_ROWS", 7)
    chosen = registry.find(name).configurations[0]
    more = {"epochs": "3", "mini_batch_size": "11"} if name == "kmeans" else {}
    plain = resuming.job(tmp_path / "plain", name, chosen.name, more)
    assert resuming.run(name, plain).code == 0
    one = resuming.job(tmp_path / "one", name, chosen.name, more)
    assert resuming.run(name, one, lambda writes: writes == 3).code is None
    with group(tmp_path / "two", 2, number, name, {**chosen.hyperparameters, **more}) as hosts:
        for opt_ml in filled(hosts, name).hosts:
            opt_ml.paths.checkpoints.symlink_to(one.paths.checkpoints)
        hosts.start(before=f"{SMALL_BLOCKS}\n{LATE_KILL}")
        assert [outcome.code for outcome in hosts.outcomes()] == [1, 1]
        for place in range(2):
            assert "from checkpoints of 1 host(s)" in hosts.log(place)
            assert "of another job" not in hosts.log(place)
    alone = resuming.run(name, one)
    assert alone.code == 0
    assert "from checkpoints of 2 host(s)" in alone.log
    assert_alike(name, plain.paths.model, one.paths.model)


def test_rows_weigh_by_their_place_when_the_number_of_hosts_changes(tmp_path):
    """Data that moves on, of which the last rows count: those that a host left unread are older than what others saw.
    Where they counted as the newest, the mean squared distance was 7 % above."""
    rng, count, half_life = np.random.default_rng(1), 6000, 1000
    middles, moved = rng.uniform(-4, 4, (12, 8)), 5 * np.linspace(0, 1, count)[:, None]
    rows = (middles[rng.integers(12, size=count)] + rng.standard_normal((count, 8)) + moved).astype(np.float32)
    content = "\n".join(",".join(f"{value:.6g}" for value in row) for row in rows).encode()
    values = {"feature_dim": "8", "k": "12", "mini_batch_size": "100", "epochs": "2", "half_life_time_size": "1000"}
    losses, weights = [], 0.5 ** (np.arange(count)[::-1] / half_life)
    (tmp_path / "checkpoints").mkdir()
    for number, size, killed in ((106, 1, False), (107, 2, True), (108, 1, False)):
        with group(tmp_path / str(number), size, number, "kmeans", values) as hosts:
            hosts.replicated("train", content, "text/csv;label_size=0")
            for opt_ml in hosts.hosts if number != 106 else ():
                opt_ml.paths.checkpoints.symlink_to(tmp_path / "checkpoints")
            hosts.start(before=every_point(35).replace("os.kill(os", "time.sleep(1.5); os.kill(os") if killed else "")
            outcomes = hosts.outcomes()
        assert [outcome.code for outcome in outcomes] == [int(killed)] * size, outcomes[0].log
        if not killed:
            model = registry.find("kmeans").load(leader_model(outcomes).model)
            squared = np.square(model.predict(Batch(rows))["distance_to_cluster"]).ravel()
            losses.append(np.average(squared, weights=weights))
    assert "from checkpoints of 2 host(s)" in outcomes[0].log
    assert losses[1] == pytest.approx(losses[0], rel=0.005)


def assert_alike(name: str, expected: Path, found: Path) -> None:
    """The models of two jobs on the same data are equal to float error; k-means', in the mean squared distance."""
    first, second = (registry.find(name).load(folder) for folder in (expected, found))
    if name == "kmeans":
        rows = samples.features(registry.find(name).configurations[0], width=first.feature_dim)
        one, two = (np.square(model.predict(Batch(rows))["distance_to_cluster"]).mean() for model in (first, second))
        assert two == pytest.approx(one, rel=0.005)
    elif name == "pca":
        np.testing.assert_allclose(second.s, first.s, rtol=1e-6)
        np.testing.assert_allclose(second.v, first.v, atol=1e-6)
        np.testing.assert_allclose(second.mean, first.mean, atol=1e-6)
    else:
        np.testing.assert_allclose(second.beta, first.beta, atol=1e-5)
        np.testing.assert_allclose(second.alpha, first.alpha, rtol=1e-4)


def test_xgboosts_checkpoints_serve_any_number_of_hosts(tmp_path):
    """They are models, as SageMaker's container writes them, and know no hosts."""
    one = resuming.job(tmp_path / "one", "xgboost", registry.find("xgboost").configurations[0].name, {"num_round": "7"})
    assert resuming.run("xgboost", one).code == 0
    values = {**registry.find("xgboost").configurations[0].hyperparameters, "num_round": "9"}
    with group(tmp_path / "two", 2, 94, "xgboost", values) as hosts:
        for opt_ml in filled(hosts, "xgboost").hosts:
            opt_ml.paths.checkpoints.symlink_to(one.paths.checkpoints)
        hosts.start()
        model = registry.find("xgboost").load(leader_model(hosts.outcomes()).model)
    assert "Resuming from iteration 7" in hosts.log(0)
    assert model.boosters[0].num_boosted_rounds() == 9


def test_one_host_without_a_folder_for_checkpoints(tmp_path):
    name = "factorization-machines"
    values = {**registry.find(name).configurations[0].hyperparameters, **resuming.MORE[name]}
    with group(tmp_path, 2, 92, name, values) as hosts:
        keeping(filled(hosts, name)).hosts[1].paths.checkpoints.rmdir()
        hosts.start()
        for outcome in hosts.outcomes():
            assert outcome.code == 1
            assert "'whether checkpoints are kept'" in (outcome.failure or "")


def test_data_that_is_spread_over_hosts_starts_anew_on_another_number_of_them(tmp_path):
    """Files move to other hosts then: no host knows which of its rows were seen. Each row still counts once."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((300, 4)).astype(np.float32) * np.float32([4, 3, 2, 1])
    files = {f"part-{at}": "\n".join(",".join(map(str, row)) for row in rows[at::6]).encode() for at in range(6)}
    values = {"feature_dim": "4", "num_components": "2", "mini_batch_size": "10"}
    shared, expected = tmp_path / "checkpoints", np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)[:2]
    shared.mkdir()
    for size, number, code in ((2, 104, 1), (3, 105, 0)):
        with group(tmp_path / str(size), size, number, "pca", values) as hosts:
            parts = [{name: files[name] for name in sorted(files)[rank::size]} for rank in range(size)]
            for opt_ml in hosts.sharded("train", parts, "text/csv;label_size=0").hosts:
                opt_ml.paths.checkpoints.symlink_to(shared)
            hosts.start(before=f"{SMALL_BLOCKS}\n{LATE_KILL if code else ''}")
            outcomes = hosts.outcomes()
        assert [outcome.code for outcome in outcomes] == [code] * size, outcomes[0].log
        assert len(list(shared.glob("*.checkpoint"))) > 1
    assert "number of hosts was 2 and is 3" in outcomes[0].log
    assert "Training goes on after" not in outcomes[0].log
    model = registry.find("pca").load(leader_model(outcomes).model)
    np.testing.assert_allclose(np.sort(model.s)[::-1], expected, rtol=1e-5)
