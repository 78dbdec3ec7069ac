"""docs/requests.md: every request of the page is answered by a running server as the page says."""

from __future__ import annotations

import re

import pytest

from algorithms import registry
from algorithms.interface import RECORDIO
from container.serving import dialects
from examples import requests
from tests.algorithms.small_models import MODELS
from tests.server import running

_NUMBER = re.compile(rb"-?[0-9]+\.[0-9]+(?:e-?[0-9]+)?")
EXCHANGES = requests.read(requests.PAGE.read_text())


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_the_page_has_every_content_type(name):
    serving = registry.find(name).serving
    found = [one for one in EXCHANGES if one.algorithm == name]
    assert {one.content_type for one in found} == {*serving.accepts}
    assert {one.accept for one in found} == {*serving.answers}


def split(answer, media):
    """What must be the same, and the numbers, which may differ in their last digits."""
    if media == RECORDIO:
        answer = "\n".join(requests._held(answer)).encode()
    return _NUMBER.sub(b"#", answer.strip()), [float(number) for number in _NUMBER.findall(answer)]


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_a_running_server_answers_as_the_page_says(name, tmp_path):
    (tmp_path / "model").mkdir()
    MODELS[name]().save(tmp_path / "model")
    usual = dialects.find(registry.find(name).serving.dialect).default_answer
    with running(tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS="1") as server:
        for one in (one for one in EXCHANGES if one.algorithm == name):
            answer = server.invoke(one.body, one.content_type, one.accept)
            assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, one.accept)
            text, numbers = split(answer.body, one.accept)
            expected = split(one.answer, one.accept)
            assert text == expected[0], one
            assert numbers == pytest.approx(expected[1], rel=1e-4, abs=1e-6), one
            if one.accept == usual and one.content_type != RECORDIO:
                assert (
                    server.invoke(one.body, one.content_type).headers["content-type"] == answer.headers["content-type"]
                )
