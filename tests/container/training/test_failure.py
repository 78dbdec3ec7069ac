import errno

import numpy as np
import pytest

from algorithms.errors import ChannelError, HyperparameterError, PredictionError
from container.settings import ConfigurationError
from container.training import failure
from recordio.errors import DataError, RaggedRowError


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (DataError("x"), "ClientError"),
        (RaggedRowError("x"), "ClientError"),
        (HyperparameterError(["x"]), "ClientError"),
        (ConfigurationError("x"), "ClientError"),
        (ChannelError("x"), "ClientError"),
        (PredictionError("x"), "ClientError"),
        (MemoryError(), "ClientError"),
        (OSError(errno.ENOSPC, "No space left on device", "/opt/ml/model/x"), "ClientError"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "ClientError"),
        (PermissionError(errno.EACCES, "Permission denied", "/opt/ml/input/data/train/rows"), "ClientError"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/opt/ml/input/data/train/rows"), "ClientError"),
        (OSError(errno.EIO, "Input/output error"), "ClientError"),
        (PermissionError(errno.EACCES, "Permission denied"), "AlgorithmError"),
        (ValueError("x"), "AlgorithmError"),
        (KeyError("x"), "AlgorithmError"),
        (SystemExit(0), "AlgorithmError"),
    ],
)
def test_families(error, family):
    assert failure.family(error).failure == family


def test_numpys_memory_error_is_one_the_user_can_act_on():
    with pytest.raises(MemoryError) as caught:
        np.empty((1 << 40, 1 << 7), dtype=np.float64)
    assert failure.family(caught.value) is failure.CLIENT
    assert "Use an instance with more memory" in failure.problems(caught.value)[0]


def test_a_full_disk_is_seen_through_the_error_of_a_library():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("could not save") from error
    except RuntimeError as error:
        assert failure.family(error) is failure.CLIENT
        assert failure.problems(error)[0].startswith("The disk is full: could not save. Give the job a larger volume")


def test_the_file_starts_with_the_message_and_its_notes(tmp_path, caplog):
    error = RaggedRowError("row 3 has 2 fields, not 3")
    error.add_note("Channel 'train' is read as text/csv.")
    failure.report(error, tmp_path / "output" / "failure")
    text = "row 3 has 2 fields, not 3\nChannel 'train' is read as text/csv. (caused by RaggedRowError)"
    assert (tmp_path / "output" / "failure").read_text() == f"ClientError: {text}\n"
    assert f"Customer Error: {text}" in caplog.text


def test_an_error_of_our_own_has_its_traceback_after_the_message(tmp_path, caplog):
    try:
        {}["bias"]
    except KeyError as error:
        failure.report(error, tmp_path / "failure")
    lines = (tmp_path / "failure").read_text().splitlines()
    assert lines[0] == "AlgorithmError: 'bias' (caused by KeyError)"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "KeyError: 'bias'"
    assert "Algorithm Error: 'bias' (caused by KeyError)" in caplog.text


def test_the_first_cause_stays(tmp_path):
    (tmp_path / "failure").write_text("first")
    failure.report(ValueError("second"), tmp_path / "failure")
    assert (tmp_path / "failure").read_text() == "first"


def test_a_failure_file_that_cannot_be_written_is_no_further_error(tmp_path, caplog):
    (tmp_path / "output").write_text("a file where the folder should be")
    failure.report(DataError("x"), tmp_path / "output" / "failure")
    assert "The failure file was not written" in caplog.text
