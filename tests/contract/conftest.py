"""Servers for the tests of whole processes."""

import pytest

from tests.contract.serving_cases import CASES
from tests.server import running


@pytest.fixture(scope="module", params=CASES)
def served(request, tmp_path_factory):
    """(server, case) of each algorithm; the algorithm is recognised from the model alone."""
    base = tmp_path_factory.mktemp(request.param)
    (base / "model").mkdir()
    CASES[request.param].make(base / "model")
    with running(base) as server:
        yield server, CASES[request.param]
