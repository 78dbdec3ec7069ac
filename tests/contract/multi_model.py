"""Requests of the platform to a multi-model server, as the tests send them."""

from __future__ import annotations

import json


def load(server, name, url):
    return server.request("POST", "/models", json.dumps({"model_name": name, "url": str(url)}).encode())


def names(server, token=None):
    answer = server.request("GET", "/models" + (f"?next_page_token={token}" if token else ""))
    assert answer.status == 200
    content = json.loads(answer.text)
    return [model["modelName"] for model in content["models"]], content.get("nextPageToken")
