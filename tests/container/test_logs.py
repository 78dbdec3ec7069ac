import io
import logging
import re
import sys

import pytest

from container import logs
from container.logs import DataIterator
from container.training import dialects


@pytest.fixture
def captured(capsys):
    """Lines logged in a dialect's frame; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def lines(dialect, write):
        logs.configure(dialects.find(dialect).frame, sys.stdout)
        write()
        return capsys.readouterr().out

    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_frame_of_the_closed_algorithms(captured):
    text = captured("sagemaker", lambda: logs.logger.info("hello"))
    assert re.fullmatch(r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] hello\n", text)


def test_the_frame_of_the_xgboost_container(captured):
    text = captured("xgboost", lambda: logs.logger.warning("hello"))
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d:\d\d:\d\d:\d\d:WARNING\] hello\n", text)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_bare_lines_that_cannot_be_written_are_lost(captured, error):
    class Full:
        def write(self, text):
            raise error

        def flush(self):
            raise error

    captured("xgboost", lambda: logs.configure(stream=Full()))
    logs.bare("[0]\ttrain-rmse:0.5")
    logs.configure(stream=(kept := io.StringIO()))
    logs.bare("[1]\ttrain-rmse:0.4")
    assert kept.getvalue() == "[1]\ttrain-rmse:0.4\n"


def test_a_data_iterator_counts_epochs_by_hand():
    counts = DataIterator()
    for sizes in ([10, 10, 5], [10]):
        counts.begin()
        for size in sizes:
            counts.add(size)
    sums = {name: summary.total for name, summary in counts.summaries().items()}
    assert sums == {
        "Total Records Seen": 35,
        "Total Batches Seen": 4,
        "Max Records Seen Between Resets": 25,
        "Max Batches Seen Between Resets": 3,
        "Reset Count": 2,
        "Number of Records Since Last Reset": 10,
        "Number of Batches Since Last Reset": 1,
    }
