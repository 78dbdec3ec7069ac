"""The networks learn on each backend of Keras: they must not lean on TensorFlow alone."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.algorithms import backends
from tests.algorithms.samples import eagerly

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["tensorflow", "jax", "torch"])
def told(request: pytest.FixtureRequest) -> dict[str, Any]:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "tensorflow":
        with eagerly():
            return backends.told()
    found = backends.told_by(request.param)
    assert found["backend"] == request.param
    return found


def test_the_topic_model_learns(told: dict[str, Any]) -> None:
    """The same first weights, so nearly the same loss; then a fall of it."""
    first, *_, last = told["ntm"]
    assert first == pytest.approx(3.2, abs=0.2) and last < first


def test_sequences_are_learned(told: dict[str, Any]) -> None:
    assert told["seq2seq"][-1] < 0.7 * told["seq2seq"][0]


def test_an_epoch_of_images(told: dict[str, Any]) -> None:
    assert told["image-classification"]["scored"] == ["train", "validation"]
    assert sum(told["image-classification"]["answer"]) == pytest.approx(1, abs=1e-5)
