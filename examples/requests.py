"""``docs/requests.md``: a request of each content type to each algorithm, and its answers.

    python -m examples.requests    writes the page anew

The models are small and made of a few numbers (``tests/algorithms/small_models.py``).
``tests/container/serving/test_requests_page.py`` sends every request of the page to a running server.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from algorithms import registry
from algorithms.interface import IMAGE, IMAGES, JPEG, JSON, JSON_LINES, LIBSVM, PNG, RECORDIO, ROWS, Algorithm
from container.serving import dialects
from container.serving.request import Endpoint, Request, respond
from container.settings import Settings
from recordio import framing
from recordio.record_message import Record
from tests.algorithms.samples import ROW_WRITERS
from tests.algorithms.small_models import MODELS, WIDTH

PAGE = Path(__file__).resolve().parents[1] / "docs" / "requests.md"
ROWS_ASKED = np.array([[1, 0, 2, 0], [0, 3, 0, 1]], np.float32)
_INSTANCES = (
    {"features": [1, 0, 2, 0]},
    {"data": {"features": {"values": [1, 0, 2, 0]}}},
    {"data": {"features": {"keys": [1, 3], "shape": [WIDTH], "values": [3, 1]}}},
)
_LANGUAGES = {JSON: "json", JSON_LINES: "json"}
_BINARY = (RECORDIO, PNG, JPEG, IMAGE)
_START = """# Requests and answers

Made by `make tables`, and sent to running servers by the tests: a request of each content type that an algorithm
takes with its usual answer, and the first of them with an answer of each other content type that `Accept` may name.
Models are small here, of {width} features, and hardly trained. What is no text is shown in Base64.

```
curl --data-binary @request.csv --header 'Content-Type: text/csv' --header 'Accept: application/json' \\
    localhost:8080/invocations
base64 --decode request.base64 | curl --data-binary @- --header 'Content-Type: application/x-recordio-protobuf' \\
    localhost:8080/invocations
```

Which algorithm takes and answers what is in the table of [formats](formats.md). A column that a LIBSVM row leaves out
is a missing value to XGBoost, and 0 in the rows of other content types: hence the different scores.
"""


class Exchange(NamedTuple):
    """One request and its answer."""

    algorithm: str
    content_type: str
    body: bytes
    accept: str
    answer: bytes


# ---- making the page ------------------------------------------------------------------------------------------------


def exchanges(algorithm: type[Algorithm]) -> Iterator[Exchange]:
    """A request of each content type with the usual answer, then the first request with all other answers."""
    serving = algorithm.serving
    endpoint = Endpoint.of(algorithm, MODELS[algorithm.name](), Settings())
    dialect = dialects.find(serving.dialect)
    for number, media in enumerate(serving.accepts):
        usual = media if dialect.in_kind else dialect.default_answer
        others = [one for one in serving.answers if one != usual] if number == 0 else []
        for accept in (usual, *others):
            body = _body(algorithm, media)
            response = respond(Request(body, media, accept), endpoint)
            assert response.status == 200, (algorithm.name, media, accept, response.body)
            yield Exchange(algorithm.name, media, body, accept, response.body)


def _body(algorithm: type[Algorithm], media: str) -> bytes:
    if algorithm.serving.takes == IMAGES:
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[2:6, 2:6, 0] = 255
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG" if media == JPEG else "PNG")
        return file.getvalue()
    if algorithm.serving.takes == ROWS:
        if media == JSON:
            return json.dumps({"instances": _INSTANCES}).encode()
        if media == JSON_LINES:
            return "".join(json.dumps(one) + "\n" for one in _INSTANCES).encode()
        if media == LIBSVM:
            return b"0:1 2:2\n1:3 3:1\n"  # columns from 0, as those of the training data were
        return ROW_WRITERS[media](ROWS_ASKED, None)
    return {
        JSON: b'{"instances": [{"data": "a b"}, {"data": "b"}]}',
        JSON_LINES: b'{"source": "a b"}\n{"source": "b"}\n',
        RECORDIO: _tokens([4, 5], [5]),
    }[media]


def _tokens(*sources: list[int]) -> bytes:
    from recordio.sequences import Pairs, Ragged, encode

    return encode(Pairs(Ragged.of(list(sources)), Ragged.of([[] for _ in sources])))


def page() -> str:
    """The text of the page."""
    parts = [_START.format(width=WIDTH)]
    for name in registry.ALGORITHMS:
        parts.append(f"## {name}\n")
        for (media, body), answers in itertools.groupby(exchanges(registry.find(name)), key=lambda one: one[1:3]):
            parts.append(f"<!-- {name}: {media} -->\nA request in `{media}`:\n\n{_block(body, media)}")
            parts += [_answer(one) for one in answers]
    return "\n".join(parts)


def _answer(one: Exchange) -> str:
    return f"<!-- answer: {one.accept} -->\nAnswered in `{one.accept}`:\n\n{_block(one.answer, one.accept)}"


def _block(body: bytes, media: str) -> str:
    if media not in _BINARY:
        return f"```{_LANGUAGES.get(media, 'text')}\n{body.decode().rstrip()}\n```\n"
    text = base64.encodebytes(body).decode().rstrip()
    held = "".join(f"{line}\n" for line in _held(body)) if media == RECORDIO else ""
    return f"```base64\n{text}\n```\n" + (f"\nwhich holds\n\n```text\n{held}```\n" if held else "")


def _held(body: bytes) -> Iterator[str]:
    """The numbers of each Record message."""
    for frame in framing.frames(io.BytesIO(body), "page"):
        record = Record.FromString(frame)
        maps = {"features": record.features, "label": record.label}
        parts = []
        for kind, entries in maps.items():
            for name in sorted(entries):
                tensor = getattr(entries[name], entries[name].WhichOneof("value"))
                parts.append(f"{kind} {name}: {[round(value, 6) for value in tensor.values]}")
        yield ", ".join(parts)


# ---- reading it -----------------------------------------------------------------------------------------------------

_REQUEST = re.compile(r"^<!-- (\S+): (\S+) -->\n", re.M)
_BLOCK = re.compile(r"^```(json|text|base64)\n(.*?)^```$", re.M | re.S)


def read(text: str) -> list[Exchange]:
    """The exchanges of a page; a text loses the line ends behind it."""
    found: list[Exchange] = []
    algorithm = content_type = ""
    body = b""
    pieces = _REQUEST.split(text)[1:]
    for kind, media, part in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        first = _BLOCK.search(part)
        assert first is not None, (kind, media)
        content = base64.b64decode(first[2]) if first[1] == "base64" else first[2].strip().encode()
        if kind == "answer":
            found.append(Exchange(algorithm, content_type, body, media, content))
        else:
            algorithm, content_type, body = kind, media, content
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
