"""One `oba up` for the tests of a module."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The folder that a module's server keeps its state in."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def up(state):
    pytest.importorskip("moto")
    from tests.local.sagemaker.client import ROWS, running

    with running(state) as server:
        server.s3.create_bucket(Bucket="bucket")
        for number, part in enumerate(np.array_split(ROWS, 4)):
            text = "".join(f"{x},{y}\n" for x, y in part)
            server.s3.put_object(Bucket="bucket", Key=f"train/part-{number}", Body=text)
        yield server
