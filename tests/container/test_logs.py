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
