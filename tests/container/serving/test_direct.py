"""Requests that go around the web framework are answered as it answers them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algorithms import registry
from container.serving import app, direct, telemetry
from container.serving.request import Endpoint
from container.serving.telemetry import Metrics, observe
from container.settings import Settings
from examples.requests import exchanges
from tests.algorithms.small_models import MODELS
from tests.container.fakes import Fake, LikeXGBoost, Sums

NAMED = {"X-Amzn-SageMaker-Inference-Id": "mine-1", "X-Amzn-Trace-Id": "Root=1-2-3"}
REQUESTS = [
    (b"1,2,3\n4,5,6\n", {"Content-Type": "text/csv"}),
    (b"1,2,3\n", {"Content-Type": "text/csv", "Accept": "application/jsonlines", **NAMED}),
    (b"1,2,3\n", {"Content-Type": "text/csv", "Accept": "text/csv", "X-Request-Id": "x" * 300}),
    (b"1,2,3\n", {"Content-Type": "text/csv; charset=utf-16"}),
    (b"1,2,3\n", {"Content-Type": "text/plain"}),
    (b"1,2,3\n", {"Content-Type": "text/csv", "Accept": "image/png"}),
    (b"1,2,3\n", {}),
    (b"1,two,3\n", {"Content-Type": "text/csv"}),
    (b'{"instances": [{"features": [1, 2, 3]}]}', {"Content-Type": "application/json"}),
    (b"", {"Content-Type": "text/csv"}),
    (b"1," * 100, {"Content-Type": "text/csv"}),
]


def both(endpoint, settings):
    """A client of the application, and one of what goes around it; each counts for itself."""
    clients = []
    for around in (False, True):
        metrics = Metrics()
        made = app.make_app(endpoint, settings)
        observe(made, metrics)
        if around:
            made.wsgi_app = direct.Direct(made.wsgi_app, endpoint, settings.max_payload, metrics)
        clients.append((made.test_client(), metrics))
    return clients


def answered(client, body, headers):
    """Status, headers and body; of an identity that the server made, its length."""
    found = client.post("/invocations", data=body, headers=headers, environ_overrides={direct.BODY: body})
    kept = dict(found.headers)
    if kept[telemetry.IDENTITY] not in headers.values():
        kept[telemetry.IDENTITY] = f"{len(kept[telemetry.IDENTITY])} characters"
    return found.status, kept, found.data


@pytest.mark.parametrize("algorithm", [Fake, LikeXGBoost])
def test_status_headers_body_and_counts_are_those_of_the_application(algorithm):
    settings = replace(Settings(), max_payload=100)
    (plain, counted), (around, counted_too) = both(Endpoint.of(algorithm, Sums(), settings), settings)
    for body, headers in REQUESTS:
        assert answered(around, body, headers) == answered(plain, body, headers), (body, headers)
    told = [
        {
            line
            for line in one.text().decode().splitlines()
            if line.startswith(("oba_requests_total{", "oba_rows_total"))
        }
        for one in (counted, counted_too)
    ]
    assert any('status="413"' in line for line in told[0])
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["kmeans", "xgboost"])
def test_real_algorithms_are_answered_alike(name):
    algorithm = registry.find(name)
    (plain, _), (around, _) = both(Endpoint.of(algorithm, MODELS[name](), Settings()), Settings())
    for one in exchanges(algorithm):
        headers = {"Content-Type": one.content_type, "Accept": one.accept}
        found = answered(around, one.body, headers)
        assert found == answered(plain, one.body, headers)
        assert found[2] == one.answer


def test_only_whole_posts_to_the_one_route_go_around():
    endpoint = Endpoint.of(Fake, Sums(), Settings())
    (_, _), (around, _) = both(endpoint, Settings())
    for method, path, status in (("GET", "/invocations", 405), ("POST", "/nothing", 404), ("GET", "/ping", 200)):
        assert around.open(path, method=method, environ_overrides={direct.BODY: b""}).status_code == status
    assert around.post("/invocations", data=b"1,2,3", content_type="text/csv").status_code == 200
