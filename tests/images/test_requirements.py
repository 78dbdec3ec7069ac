"""Which lock file an image is made from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from algorithms.registry import ALGORITHMS
from images.requirements import lock_of

ROOT = Path(__file__).resolve().parents[2]


def packages(lock: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.M))


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "all"])
def test_serving_needs_no_framework(algorithm):
    training, serving = packages(lock_of(algorithm)), packages(lock_of(algorithm, "cpu", "serve"))
    assert serving <= training
    assert not serving & {"tensorflow", "tensorflow-cpu", "keras", "sacrebleu"}
    assert "numpy" in serving


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("kmean",), "'kmean'"),
        (("kmeans", "tpu"), "'tpu'"),
        (("kmeans", "cpu", "test"), "'test'"),
        (("ntm", "gpu", "serve"), "'serve'"),
    ],
)
def test_what_there_is_not_is_refused(arguments, named):
    with pytest.raises(SystemExit, match=named):
        lock_of(*arguments)
