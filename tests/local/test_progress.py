"""The lines of a job on a user's machine."""

import contextlib
import fcntl
import functools
import io
import os
import re
import struct
import subprocess
import sys
import termios

import pytest

from local.parameters import Loudness
from local.progress import Console, bar_on, is_for_people

LOG = [
    "[11/28/2026 01:53:01 INFO 140309879241600] Final configuration: {}\n",
    "Process 12062 is a worker.\n",
    '#metrics {"Metrics": {}}\n\n',
    "[11/28/2026 01:53:01 WARNING 140309879241600] Fewer rows than asked for\n",
    "[2026-11-28:01:53:01:INFO] Determined delimiter of CSV input is ','\n",
    "[0]\ttrain-rmse:0.5\tvalidation-rmse:0.75\n",
    "[11]\ttrain-rmse:0.25\tvalidation-rmse:0.625\n",
    "[11/28/2026 01:53:01 INFO 140309879241600] Epoch[0] Batch [20]\tSpeed: 1.000 samples/sec\taccuracy=0.5\n",
    "[2026-11-28:01:53:01:ERROR] Customer Error: no rows\n",
]


def written(loudness):
    terminal, errors = io.StringIO(), io.StringIO()
    console = Console(terminal, errors, loudness)
    for text in LOG:
        console.write(text)
    console.close()
    return terminal.getvalue(), errors.getvalue()


@pytest.mark.parametrize(
    ("loudness", "expected"),
    [
        (Loudness.QUIET, "Warning: Fewer rows than asked for\n"),
        (
            Loudness.NORMAL,
            "Warning: Fewer rows than asked for\nDetermined delimiter of CSV input is ','\n"
            "[0]\ttrain-rmse:0.5\tvalidation-rmse:0.75\n",
        ),
        (Loudness.VERBOSE, "".join(LOG[:-1])),
    ],
)
def test_lines_by_loudness_and_errors_apart(loudness, expected):
    assert written(loudness) == (expected, "Error: no rows\n")


def test_the_number_of_lines_grows_with_the_digits_of_the_number_of_rounds():
    shown = [is_for_people(f"[{number}]\ttrain-rmse:1") for number in range(10_000)]
    assert sum(shown) == 1 + 3 * 4
    assert is_for_people("#quality_metric: host=algo-1, test msd <loss>=1")


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        return screen(self.getvalue())


def screen(written):
    """What a terminal shows, if nothing scrolls: a carriage return goes back, a line feed down."""
    rows = [[]]
    for text in re.split(r"([\r\n])", re.sub(r"\x1b\[K", "", written)):
        if text == "\n":
            rows.append([])
        rows[-1] = rows[-1] if text in "\r\n" else [*text, *rows[-1][len(text) :]]
    return ["".join(row).rstrip() for row in rows]


def test_the_bar_stays_at_the_foot_while_log_lines_scroll():
    terminal = Terminal()
    console = Console(terminal, io.StringIO(), Loudness.NORMAL)
    console.rows(1234)
    console.flush()
    assert terminal.lines()[-1].startswith("1.23k rows [00:00, ")
    console.steps(1, 4)
    console.write("a line\n")
    console.flush()
    line, bar = terminal.lines()
    assert line == "a line"
    assert re.fullmatch(r" 25%\|.*\| 1/4 \[00:0\d<00:0\d, 1.23k rows\]", bar)
    console.close()
    assert terminal.lines() == ["a line", ""]


def test_no_bar_where_nothing_is_counted():
    terminal = Terminal()
    console = Console(terminal, io.StringIO(), Loudness.NORMAL)
    console.write("a line of one of several hosts\n")
    console.flush()
    console.close()
    assert terminal.getvalue() == "a line of one of several hosts\n"


def test_rounds_without_an_end_are_counted():
    terminal = Terminal()
    bar = bar_on(terminal)
    bar.steps(7, None)
    assert terminal.lines()[-1].startswith("7 rounds [00:00, ")
    bar.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "hosts"), [((24, 100), 1), ((0, 0), 1), ((24, 100), 2)], ids=["with a size", "without", "two hosts"]
)
def test_a_real_terminal_shows_the_bar_and_none_is_left(tmp_path, size, hosts):
    data = tmp_path / "rows.csv"
    data.write_text("1,2\n3,4\n" * 500)
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    command = [sys.executable, "-m", "local", "train", "kmeans", "--train", data, "k=2", "epochs=3"]
    command += ["--hosts", str(hosts), "--output", tmp_path / "out"]
    process = subprocess.Popen(command, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while part := os.read(leader, 1 << 16):
            shown += part
    os.close(leader)
    assert process.wait(60) == 0
    text = shown.decode()
    assert f"{['', '1.00k', '500'][hosts]} rows" in text and "| 3/3 [" in text
    assert text.count("\n") < 30
    assert [line for line in screen(text) if "rows" in line] == []
    assert screen(text)[-2].startswith("Next    oba predict")


def test_without_a_terminal_or_without_tqdm_there_are_only_lines(monkeypatch):
    assert bar_on(io.StringIO()) is None
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert bar_on(Terminal()) is None


def test_who_has_disabled_tqdm_gets_lines(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm, "tqdm", functools.partial(tqdm.tqdm, disable=True))  # as TQDM_DISABLE=1 makes it
    terminal = Terminal()
    console = Console(terminal, io.StringIO(), Loudness.NORMAL)
    console.rows(3)
    console.steps(1, 2)
    console.write("a line\n")
    console.flush()
    console.close()
    assert terminal.getvalue() == "a line\n"
