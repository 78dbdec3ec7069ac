"""The store of checkpoints: what is found again, what is skipped and why, what is kept, and when one is written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.checkpoints import Checkpoint
from container.training import checkpoint_file, checkpoints, history
from container.training.checkpoint_file import DamagedCheckpointError
from container.training.checkpoints import CheckpointStore
from container.training.history import LinesWritten

WHO = {"algorithm": "toy", "version": "1", "hyperparameter": {"k": 3, "rate": 0.1}, "channel": {"train": {"files": 2}}}


class Log:
    """A job's log that only counts its epochs."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.resumed: Any = "never"
        self.ended_early = False

    def state(self, *, epoch_over: bool) -> dict[str, Any]:
        return {"epochs": self.epochs, "over": epoch_over}

    def resume(self, lines: Path, state: Any) -> None:
        self.resumed = state

    def ends_early(self) -> None:
        self.ended_early = True


@dataclasses.dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(checkpoints, "time", clock)
    return clock


def store(folder: Path, who: dict[str, Any] = WHO, stopped: bool = False, log: Log | None = None) -> CheckpointStore:
    return CheckpointStore(folder, who, log or Log(), started=0.0, stopped=lambda: stopped)


def numbered(number: int) -> Checkpoint:
    arrays = {"weights": np.full((2, 3), number, np.float32), "empty": np.empty((0, 4)), "scalar": np.array(number)}
    kept = {f"best-{number // 2}": {"vector": np.arange(number // 2 + 1)}}
    return Checkpoint(f"epoch {number}", {"epoch": number, "draws": 2**127 + number, "loss": 0.1}, arrays, kept)


def write(folder: Path, *numbers: int, who: dict[str, Any] = WHO) -> list[Path]:
    """Checkpoints of a job that writes each that it offers."""
    one = store(folder, who)
    one.latest()
    for number in numbers:
        one._write(numbered(number), epoch_over=True)
    return sorted(folder.glob(f"{one._prefix}*.checkpoint"))


def epoch(folder: Path, who: dict[str, Any] = WHO) -> int | None:
    found = store(folder, who).latest()
    return None if found is None else found.state["epoch"]


def test_what_was_written_is_found_as_it_was(tmp_path):
    f_order = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    kinds = {f"{kind}": np.ones(3, kind) for kind in ("f4", "f8", "i8", "u4", "?", "c16")}
    one = store(tmp_path)
    one._write(Checkpoint("here", {"draws": 2**127 + 1, "loss": float("inf")}, {"f": f_order, **kinds}), True)
    found = store(tmp_path).latest()
    assert found is not None
    assert (found.position, found.state) == ("here", {"draws": 2**127 + 1, "loss": float("inf")})
    assert found.arrays["f"].flags.f_contiguous
    for name, array in {"f": f_order, **kinds}.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
        found.arrays[name].reshape(-1)[:1] = 0  # it may be written to
    assert np.load(next(tmp_path.glob("*.checkpoint")))["f"].tolist() == f_order.tolist()  # NumPy's own reader


def test_two_are_kept_with_the_parts_that_they_need(tmp_path):
    assert [path.name[-13:-11] for path in write(tmp_path, 1, 2, 3, 4, 5)] == ["04", "05"]
    assert sorted(path.name.rpartition("-")[2] for path in tmp_path.glob("*.part")) == ["2.part"]
    found = store(tmp_path).latest()
    assert found is not None
    assert found.kept["best-2"]["vector"].tolist() == [0, 1, 2]
    uploading = next(tmp_path.glob("*04.checkpoint"))
    uploading.with_name(uploading.name + ".sagemaker-uploading").touch()
    write(tmp_path, 6, 7)
    assert uploading.exists()


def damages() -> dict[str, Any]:
    def cut(path: Path) -> None:
        os.truncate(path, path.stat().st_size // 2)

    def flip(path: Path) -> None:
        body = bytearray(path.read_bytes())
        at = body.index(np.full(6, 2, np.float32).tobytes())
        body[at] ^= 1
        path.write_bytes(body)

    def of_0_3_0(path: Path) -> dict[str, Any]:
        """The document without the checksums of the arrays."""
        return {name: value for name, value in checkpoint_file.read_document(path).items() if name != "arrays"}

    def pickled(path: Path) -> None:
        document = of_0_3_0(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint.json", json.dumps(document))
            with archive.open("weights.npy", "w") as member:
                np.lib.format.write_array(member, np.array([object()], object), allow_pickle=True)

    def vast(path: Path) -> None:
        document = of_0_3_0(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint.json", json.dumps(document))
            header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
            header = header.ljust(117) + b"\n"
            archive.writestr("weights.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)

    def bomb(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("checkpoint.json", b" " * (1 << 24))

    def edited(path: Path, name: str, change: Callable[[bytes], bytes | None]) -> None:
        """Write the ZIP anew with another member, or without it."""
        with zipfile.ZipFile(path) as archive:
            members: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
        members[name] = change(members[name] or b"")
        with zipfile.ZipFile(path, "w") as archive:
            for kept, content in members.items():
                if content is not None:
                    archive.writestr(kept, content)

    def form(path: Path) -> None:
        checkpoint_file.write(path, {**checkpoint_file.read_document(path), "parts": ["../../etc"]}, {})

    return {
        "cut short": (cut, "a part of a checkpoint"),
        "empty": (lambda path: os.truncate(path, 0), "empty"),
        "flipped bit": (flip, "Bad CRC-32"),
        "garbage": (lambda path: path.write_bytes(b"garbage" * 99), "no checkpoint"),
        "pickled": (pickled, "cannot be of object"),
        "vast": (vast, "cannot be of float64 and shape"),
        "bomb": (bomb, "compressed"),
        "an array less": (
            lambda path: edited(path, "weights.npy", lambda _: None),
            "not those that its document names",
        ),
        "another array": (
            lambda path: edited(path, "weights.npy", lambda array: array[:-4] + bytes(4)),
            "not those that its document names",
        ),
        "another state": (
            lambda path: edited(path, "checkpoint.json", lambda text: text.replace(b'"epoch": 2', b'"epoch": 7')),
            "was changed after it was written",
        ),
        "other form": (form, "names parts"),
        "later format": (
            lambda path: checkpoint_file.write(path, {**checkpoint_file.read_document(path), "format": 2}, {}),
            "format is 2",
        ),
        "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
        "a FIFO": (lambda path: (path.unlink(), os.mkfifo(path)), "cannot be read"),
    }


@pytest.mark.parametrize("damage", damages())
@pytest.mark.usefixtures("at_most_20_seconds")
def test_a_damaged_one_is_skipped_by_name_for_the_one_before_it(tmp_path, damage, caplog):
    spoil, reason = damages()[damage]
    newest = write(tmp_path, 1, 2)[-1]
    spoil(newest)
    with pytest.raises(DamagedCheckpointError):
        document, _ = checkpoint_file.read(newest)
        checkpoints._check_form(document)
    assert epoch(tmp_path) == 1
    assert f"Checkpoint {newest} is skipped: " in caplog.text
    assert reason in caplog.text


@pytest.fixture
def at_most_20_seconds():
    """A FIFO that is opened waits for ever."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for a FIFO"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def folder_with_something(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


@pytest.mark.parametrize("place", ["{}-00000002.checkpoint", ".{}-00000003.checkpoint", "{}-best-2.part", "{}.lines"])
@pytest.mark.parametrize("make", [folder_with_something, os.mkfifo], ids=["folder", "FIFO"])
@pytest.mark.usefixtures("at_most_20_seconds")
def test_what_is_no_file_in_the_place_of_one_harms_no_job(tmp_path, place, make):
    write(tmp_path, 1, 2)
    path = tmp_path / place.format(store(tmp_path)._prefix)
    path.unlink(missing_ok=True)
    make(path)
    found = epoch(tmp_path)
    assert found == (1 if place.startswith("{}-00000002") else 2)
    log, lines = Log(), LinesWritten()
    log.resume = lambda file, state: lines.begin(file, {})  # type: ignore[method-assign]
    one = store(tmp_path, log=log)
    one.latest()
    for number in range(3, 8):
        one._write(numbered(number), epoch_over=True)
        lines.wrote()
    assert epoch(tmp_path) == 7
    assert history._read(tmp_path / f"{one._prefix}.lines") == {"lines": 5}
    assert len([other for other in tmp_path.glob("*.checkpoint") if other.is_file()]) == 2


def test_a_part_that_was_damaged_is_written_anew(tmp_path):
    write(tmp_path, 1)
    part = next(tmp_path.glob("*.part"))
    os.truncate(part, part.stat().st_size // 2)
    assert epoch(tmp_path) is None
    write(tmp_path, 1)  # the new run has a part of the same name
    found = store(tmp_path).latest()
    assert found is not None
    assert found.kept["best-0"]["vector"].tolist() == [0]


def test_a_part_is_written_once_in_a_run(tmp_path, monkeypatch):
    written: list[str] = []
    original = checkpoint_file.write
    monkeypatch.setattr(
        checkpoint_file, "write", lambda path, *rest: (written.append(path.suffix), original(path, *rest))
    )
    write(tmp_path, 2, 3)
    write(tmp_path, 3)  # a run that goes on from there
    assert written.count(".part") == 1


def test_one_whose_part_is_missing_is_damaged(tmp_path, caplog):
    write(tmp_path, 1, 2)
    next(tmp_path.glob("*best-1.part")).unlink()
    assert epoch(tmp_path) == 1
    assert "its part toy-" in caplog.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hyperparameter": {"k": 4, "rate": 0.1}}, "hyperparameter k was 3 and is 4"),
        ({"version": "2"}, 'version was "1" and is "2"'),
        ({"algorithm": "other"}, 'algorithm was "toy" and is "other"'),
        ({"channel": {"train": {"files": 3}}}, "channel train files was 2 and is 3"),
    ],
)
def test_one_of_another_job_is_told_of_and_left_alone(tmp_path, change, told, caplog):
    theirs = write(tmp_path, 1, 2)
    log = Log()
    assert store(tmp_path, WHO | change, log=log).latest() is None
    assert log.resumed is None
    assert f"Checkpoint {theirs[-1]} is of another job, and is left alone: {told}" in caplog.text
    write(tmp_path, 7, 8, 9, who=WHO | change)
    assert epoch(tmp_path) == 2
    assert epoch(tmp_path, WHO | change) == 9


def test_one_that_was_renamed_to_another_jobs_name_is_not_taken(tmp_path, caplog):
    (theirs,) = write(tmp_path, 1)
    other = store(tmp_path, WHO | {"version": "2"})
    shutil.copy(theirs, tmp_path / f"{other._prefix}-00000009.checkpoint")
    assert other.latest() is None
    assert "it is of another job than its name says: version" in caplog.text


def test_a_full_disk_leaves_the_last_one_whole(tmp_path, monkeypatch):
    write(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    one = store(tmp_path)
    one.latest()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(checkpoint_file.os, "fsync", full)
        one._write(numbered(2), True)
    assert epoch(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# ---- when one is written --------------------------------------------------------------------------------------------


def written(one: CheckpointStore, clock: Clock, *, every: float, cost: float, until: float, over: bool) -> list[float]:
    """The times at which one is written that takes ``cost`` seconds, of points ``every`` so many seconds."""
    one._directory.mkdir(exist_ok=True)
    times = []

    def make() -> Checkpoint:
        times.append(clock.now)
        clock.now += cost
        return Checkpoint("")

    while clock.now < until:
        clock.now += every
        one.offer(make, epoch_over=over)
    return times


@pytest.mark.parametrize(("every", "cost"), [(0.01, 0.001), (0.1, 0.5), (1.0, 0.02), (7.0, 1.0)])
def test_within_an_epoch_a_minute_is_lost_at_most_and_two_hundredths_of_the_time(tmp_path, clock, every, cost):
    times = written(store(tmp_path), clock, every=every, cost=cost, until=1000, over=False)
    assert cost * len(times) <= 0.02 * 1000 + cost
    if cost <= 0.5:  # two of a second within two minutes would take more than their share
        assert max(np.diff([0, *times])) <= 60


def test_small_epochs_write_each_where_that_costs_little(tmp_path, clock):
    assert len(written(store(tmp_path / "a"), clock, every=1, cost=0.01, until=100, over=True)) >= 99
    clock.now = 0
    costly = written(store(tmp_path / "b"), clock, every=1, cost=1, until=100, over=True)
    assert costly[0] == 1
    assert 1 <= len(costly) <= 2


def test_a_stop_writes_the_next_point_and_no_other(tmp_path, clock):
    log = Log()
    one = store(tmp_path, stopped=True, log=log)
    assert len(written(one, clock, every=0.1, cost=5, until=60, over=False)) == 1
    assert log.ended_early


# ---- several hosts --------------------------------------------------------------------------------------------------


class TwoHosts:
    """Two hosts as the second sees them, where the first says what it is told to."""

    rank, size = 1, 2

    def __init__(self, numbers: list[int] | None = None, due: bool = False) -> None:
        self.numbers, self.due = numbers or [], due

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return [array + np.array([int(self.due), 0]) for array in arrays]

    def sum_in_place(self, array: np.ndarray) -> None:
        raise NotImplementedError

    def gather(self, value: Any) -> list[Any]:
        return [[max(self.numbers, default=0), self.numbers], value]


@pytest.mark.parametrize(
    ("theirs", "expected"), [([4, 5], 5), ([3, 4], 4), ([5, 6], 5), ([1, 2], None), ([], None), ([8, 9], None)]
)
def test_all_hosts_go_on_from_the_newest_that_all_have(tmp_path, theirs, expected):
    write(tmp_path, 1, 2, 3, 4, 5)
    one = CheckpointStore(tmp_path, WHO, Log(), started=0, stopped=lambda: False, hosts=TwoHosts(theirs))
    found = one.latest()
    assert (None if found is None else found.state["epoch"]) == expected
    assert one._number == max([5, *theirs])  # from there on the hosts count alike
    assert store(tmp_path).latest(alone=True).state["epoch"] == 5


def test_a_host_writes_when_another_is_due(tmp_path, clock):
    for due, expected in ((False, 0), (True, 3)):
        one = CheckpointStore(tmp_path, WHO, Log(), started=0, stopped=lambda: False, hosts=TwoHosts(due=due))
        clock.now = 0
        assert len(written(one, clock, every=1, cost=0, until=3, over=False)) == expected
