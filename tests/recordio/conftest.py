"""Fixtures for tests of the record reader."""

import pytest

from tests.recordio.record_cases import MODES, use


@pytest.fixture(params=MODES)
def mode(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param
