"""Whatever happens to one host, all others end soon, with the same words about it in their failure files."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from container.training import meeting
from tests.hosts.group import BOUNDS, NoNetworkError, cable, group, leader_model

pytestmark = pytest.mark.slow

ROWS = b"".join(b"%d,%d\n" % (row, row * row % 7) for row in range(60))
TYPE = "text/csv;label_size=0"
VALUES = {"feature_dim": 2, "num_components": 1, "mini_batch_size": 10}
NUMBERS = itertools.count(10)


@pytest.fixture
def hosts(tmp_path):
    """Three hosts of a job that waits for its pipe when they have met."""
    with group(tmp_path, 3, next(NUMBERS), "pca", VALUES) as three:
        yield three.piped("train", TYPE)


def assert_all_say(outcomes, *words):
    texts = {outcome.failure for outcome in outcomes}
    assert len(texts) == 1, texts
    text = texts.pop()
    assert text is not None
    for word in words:
        assert word in text
    for outcome in outcomes:
        assert outcome.code == 1, outcome.log
        assert outcome.model_files == []


def test_hosts_that_nothing_happens_to_train(hosts):
    hosts.start(2, 1)
    time.sleep(1)
    hosts.start(0)
    hosts.wait_until_met()
    time.sleep(1.5 * BOUNDS["LOST"])  # the pipe is slow, and a slow host is not a lost one
    hosts.write("train", ROWS)
    leader_model(hosts.outcomes())


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "member"])
def test_a_killed_host(hosts, place):
    bounds = {**BOUNDS, "LOST": 80.0}
    hosts.start(bounds=bounds)
    hosts.wait_until_met()
    started = time.monotonic()
    hosts.signal(place, signal.SIGKILL)
    rest = [other for other in range(3) if other != place]
    assert_all_say([hosts.outcome(other) for other in rest], f"Host {hosts.names[place]} was lost", "without a word")
    assert time.monotonic() - started < bounds["LOST"]


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "member"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_lost_before_all_are_there_is_not_waited_for(hosts, place, number):
    """Who has come and gone is lost, however long those may take who have not come: hosts wait 10 minutes for these."""
    bounds = {**BOUNDS, "PATIENCE": 600.0}
    hosts.start(0, 1, bounds=bounds)
    hosts.wait_for("2 of 3 are", 0)
    started = time.monotonic()
    hosts.signal(place, number)
    assert_all_say([hosts.outcome(1 - place)], f"Host {hosts.names[place]} was lost")
    assert time.monotonic() - started < 60
    hosts.signal(place, signal.SIGKILL)


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "member"])
def test_a_stopped_host_is_lost_and_ends_like_the_others_when_it_wakes(hosts, place):
    hosts.start()
    hosts.wait_until_met()
    hosts.signal(place, signal.SIGSTOP)
    rest = [other for other in range(3) if other != place]
    outcomes = [hosts.outcome(other) for other in rest]
    assert_all_say(outcomes, f"Host {hosts.names[place]} was lost", "nothing was heard of it for 3 seconds")
    hosts.signal(place, signal.SIGCONT)
    assert_all_say([*outcomes, hosts.outcome(place)])


STOPS_ITSELF = """
import os, pathlib, signal
hear = meeting.Host.exchange
def exchange(self, connections):
    hear(self, connections)
    if (flag := pathlib.Path({flag!r})).exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
meeting.Host.exchange = exchange
"""


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "member"])
def test_a_host_that_is_stopped_before_it_looks_at_the_clock_hears_first_when_it_wakes(hosts, tmp_path, place):
    flag = tmp_path / "stop"
    hosts.start(place, before=STOPS_ITSELF.format(flag=str(flag)))
    hosts.start(*(other for other in range(3) if other != place))
    hosts.wait_until_met()
    flag.touch()
    outcomes = [hosts.outcome(other) for other in range(3) if other != place]
    hosts.signal(place, signal.SIGCONT)
    assert_all_say([*outcomes, hosts.outcome(place)], f"Host {hosts.names[place]} was lost", "nothing was heard of it")


def training_process(hosts, place):
    process = hosts.processes[place]
    return int(subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True))


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "was ended by SIGKILL"), (signal.SIGSTOP, "was stopped for 3 seconds")]
)
def test_a_training_process_that_the_system_ends_or_stops(hosts, number, words):
    hosts.start()
    hosts.wait_until_met()
    os.kill(training_process(hosts, 1), number)
    assert_all_say(hosts.outcomes(), f"Host {hosts.names[1]} was lost: its training process {words}")


def test_an_error_in_the_data_of_one_host(hosts):
    hosts.start()
    hosts.wait_until_met()
    for place, content in enumerate([ROWS, ROWS + b"1,two\n", ROWS]):
        (hosts.hosts[place].paths.data / "train_0").write_bytes(content)
    assert_all_say(hosts.outcomes(), f"ClientError: Host {hosts.names[1]}: ", "two")


def test_an_error_in_the_configuration_of_one_host(hosts):
    hosts.hosts[2].hyperparameters(VALUES, num_components=3)
    hosts.start()
    assert_all_say(hosts.outcomes(), f"ClientError: Host {hosts.names[2]}: ", "num_components")


def test_another_job(hosts):
    hosts.hosts[2].hyperparameters(VALUES, subtract_mean="false")
    hosts.start()
    words = f"Host {hosts.names[2]} runs another job than the leader {hosts.names[0]}", "'hyperparameter subtract_mean'"
    assert_all_say(hosts.outcomes(), *words)


def test_a_host_of_another_job_at_a_hosts_address_is_turned_away(hosts):
    hosts.start(0, OBA_JOB_TOKEN="a" * 40)
    hosts.start(1, OBA_JOB_TOKEN="b" * 40)
    hosts.wait_for("was closed: host", 0)
    told = hosts.outcome(1)
    assert told.code == 1
    assert f"Host {hosts.names[0]}, which leads, is not there: the leader of another job answers" in told.failure
    hosts.hosts[1]._writers.clear()  # of a pipe that is there already
    hosts.start(1, 2, OBA_JOB_TOKEN="a" * 40)
    hosts.wait_until_met()
    assert hosts.log(0).count("was closed") == 1
    hosts.write("train", ROWS)
    for outcome in hosts.outcomes():
        assert outcome.code == 0, outcome.log


def test_other_files_of_a_channel_of_which_each_host_has_all(tmp_path):
    theirs = ROWS[:-2] + b"9\n"  # as many bytes
    with group(tmp_path, 2, next(NUMBERS), "pca", VALUES) as two:
        two.replicated("train", ROWS, TYPE).hosts[1].channel("train", theirs, TYPE)
        two.start()
        words = f"Host {two.names[1]} runs another job than the leader {two.names[0]}", "'files of channel train'"
        assert_all_say(two.outcomes(), *words)


def test_another_version(hosts):
    hosts.start(0, 1)
    hosts.start(2, before="from container import distribution; distribution.version = lambda: '0.0.1'")
    assert_all_say(hosts.outcomes(), f"Host {hosts.names[2]} runs version '0.0.1' of these algorithms")


def test_an_absent_member(hosts):
    hosts.start(0, 1, bounds={**BOUNDS, "WAITING": 2.0}, OBA_HOSTS_WAIT="5")
    outcomes = hosts.outcomes()
    assert_all_say(outcomes, f"Host {hosts.names[2]} was not there within ")
    assert all(re.search("was not there within [5-8] seconds", outcome.failure) for outcome in outcomes)
    assert len(re.findall(rf"Waiting for host {hosts.names[2]}, until \d\d:\d\d:\d\d\. Start", outcomes[0].log)) == 1
    assert "OBA_HOSTS_WAIT says how long hosts wait (5 seconds here)." in outcomes[0].log


def test_an_absent_leader(hosts):
    hosts.start(1, bounds={**BOUNDS, "PATIENCE": 3.0, "WAITING": 1.0})
    outcomes, why = hosts.outcomes(), "nothing listens on port 9099 of its address"
    assert_all_say(outcomes, f"Host {hosts.names[0]}, which leads, was not there within 3 seconds: {why}")
    assert outcomes[0].log.count(f"Waiting for host {hosts.names[0]}, which leads: {why}, until ") == 1


def test_a_leader_whose_name_has_no_address(tmp_path):
    with group(tmp_path, 2, next(NUMBERS), "pca", VALUES) as two:
        resources = {"current_host": two.names[1], "hosts": ["0.invalid", two.names[1]]}
        two.replicated("train", ROWS, TYPE).hosts[1].write(two.hosts[1].paths.resource_config, resources)
        two.start(1, bounds={**BOUNDS, "PATIENCE": 3.0})
        assert_all_say(two.outcomes(), "Host 0.invalid, which leads, was not there", "its name has no address")


KILLS_ITS_HOST = """
import os, signal, sys, time
class Killing:
    def find_spec(self, name, *_):
        if name == "numpy":
            time.sleep(1)
            os.kill(os.getppid(), signal.SIGKILL)
sys.meta_path.insert(0, Killing())
"""


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "member"])
def test_a_host_that_is_killed_before_it_has_imported_anything_was_there(hosts, place):
    hosts.start(1 - place, bounds={**BOUNDS, "PATIENCE": 600.0})
    hosts.start(place, before=KILLS_ITS_HOST, bounds={**BOUNDS, "PATIENCE": 600.0})
    assert_all_say([hosts.outcome(1 - place, 60)], f"Host {hosts.names[place]} was lost", "without a word")


def test_a_host_whose_image_lacks_a_package_tells_the_others(hosts):
    hosts.start(0, 1)
    hosts.start(2, before="import sys\nsys.modules['numpy'] = None")
    assert_all_say(hosts.outcomes(), f"Host {hosts.names[2]}: ", "numpy")


def test_a_host_that_takes_long_to_look_at_its_files_is_not_absent(hosts):
    slow = "import time\nfrom container.training import trainee\nmeet = trainee.Link.meet\n"
    slow += "trainee.Link.meet = lambda *given: [time.sleep(5), meet(*given)][1]"
    hosts.start(0, 1, bounds={**BOUNDS, "PATIENCE": 4.0})
    hosts.start(2, before=slow, bounds={**BOUNDS, "PATIENCE": 4.0})
    hosts.wait_until_met()
    hosts.write("train", ROWS)
    leader_model(hosts.outcomes())


def test_a_port_that_is_in_use_for_a_while(hosts):
    with socket.create_server((hosts.names[0], meeting.PORT)):
        hosts.start(0)
        hosts.wait_for("Reading default configuration", 0)
        time.sleep(1)
    time.sleep(1.5 * BOUNDS["LINGER"])  # for as long as the port may be in use
    hosts.start(1, 2)
    hosts.wait_until_met()
    hosts.write("train", ROWS)
    leader_model(hosts.outcomes())


def test_a_port_that_stays_in_use(hosts):
    with socket.create_server((hosts.names[0], meeting.PORT)):
        hosts.start(0)
        words = f"could not listen on port {meeting.PORT} of its own address: Address already in use"
        assert_all_say([hosts.outcome(0)], f"Host {hosts.names[0]} leads, and it {words}")


def test_a_full_disk(tmp_path):
    with group(tmp_path, 2, next(NUMBERS), "pca", VALUES) as two:
        two.replicated("train", ROWS, TYPE)
        model = two.hosts[0].paths.model
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", model], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        try:
            (model / "filler").write_bytes(bytes(4096))
            two.start()
            outcomes = two.outcomes()
            (model / "filler").unlink()
            assert_all_say(outcomes, f"ClientError: Host {two.names[0]}: The disk is full")
        finally:
            subprocess.run(["umount", "--lazy", model], check=True)


def test_strangers_do_no_harm(hosts):
    hosts.start(0)
    address = (hosts.names[0], meeting.PORT)
    connections = []
    until = time.monotonic() + 60
    while not connections:
        try:
            connections.append(socket.create_connection(address))
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.1)
    lines = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(5000).replace(b"\n", b"") + b"\n",
        b"[" * 60_000 + b"\n",
        b"\x80\x04\x95" * 100 + b"\n",
        b'{"host": "127.0.0.1", "version": "1"}\n',
        b'{"host": "%s", "version": "1"}\n' % hosts.names[1].encode(),  # from an address that is not that host's
        b'{"failed": "no"}\n',
        bytes(1 << 20),
    ]
    for number in range(3 * 70):  # more than the leader keeps open
        connections.append(socket.create_connection(address))
        try:
            connections[-1].sendall(lines[number % len(lines)])
        except OSError:
            continue
    hosts.start(1, 2)
    hosts.wait_until_met()
    connections += [socket.create_connection(address) for _ in range(5)]
    hosts.write("train", ROWS)
    leader_model(hosts.outcomes())
    for connection in connections:
        connection.close()


def test_a_stop_of_one_stops_all(hosts):
    hosts.start()
    hosts.wait_until_met()
    hosts.signal(1, signal.SIGTERM)
    assert [(outcome.code, outcome.failure) for outcome in hosts.outcomes()] == [(143, None)] * 3


def wait_until_it_takes(process, number):
    """Until a process has a handler for a signal."""
    until = time.monotonic() + 60
    while (
        not int(re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())[0], 16) >> number - 1
        & 1
    ):
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "member"])
def test_a_stop_before_the_hosts_have_met_stops_all(hosts, place):
    """While the process still imports what it needs; the others start later."""
    hosts.start(place)
    wait_until_it_takes(hosts.processes[place], signal.SIGTERM)
    hosts.signal(place, signal.SIGTERM)
    hosts.start(*(other for other in range(3) if other != place), bounds={**BOUNDS, "PARTING": 60.0})
    assert [(outcome.code, outcome.failure) for outcome in hosts.outcomes()] == [(143, None)] * 3


def test_one_ctrl_c_for_all_hosts_is_one(hosts):
    """Each hears of it from whoever sent it and from the others, and none takes that for a second one."""
    hosts.start()
    hosts.wait_until_met()
    for place in range(3):
        hosts.signal(place, signal.SIGINT)
    outcomes = hosts.outcomes()
    assert [(outcome.code, outcome.failure) for outcome in outcomes] == [(130, None)] * 3
    assert not any("KeyboardInterrupt" in outcome.log for outcome in outcomes)


# ---- a network that can be cut ---------------------------------------------------------------------------------------


def test_a_cut_network(tmp_path):
    with contextlib.ExitStack() as stack:
        try:
            prefixes, cut = stack.enter_context(cable(0))
        except NoNetworkError as error:
            pytest.skip(f"no network that can be cut: {error}")
        two = stack.enter_context(group(tmp_path, 2, 0, "pca", VALUES, network="10.99"))
        two.prefixes = prefixes
        two.piped("train", TYPE)
        two.start()
        two.wait_until_met()
        cut()
        outcomes = two.outcomes()
        for outcome, other in zip(outcomes, reversed(two.names), strict=True):
            assert_all_say([outcome], f"Host {other} was lost: nothing was heard of it for 3 seconds")
