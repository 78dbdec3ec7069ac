"""What libraries say while they are imported."""

from __future__ import annotations

import os

import pytest

from algorithms.common.networks import _without_notices
from algorithms.errors import TrainingStopped


def speaking(error: BaseException | None) -> None:
    with _without_notices():
        os.write(2, b"notice\n")
        if error is not None:
            raise error


@pytest.mark.parametrize("stop", [TrainingStopped("no model"), KeyboardInterrupt()])
def test_a_stop_in_the_midst_of_an_import_shows_no_notices(stop: BaseException, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(type(stop)):
        speaking(stop)
    assert capfd.readouterr().err == ""


def test_what_was_said_before_an_import_failed_is_shown(capfd: pytest.CaptureFixture) -> None:
    speaking(None)
    with pytest.raises(ImportError):
        speaking(ImportError("no such library"))
    assert capfd.readouterr().err == "notice\n"
