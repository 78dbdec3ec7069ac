"""Image classification as SageMaker runs it: an augmented manifest through FIFOs, then images over HTTP."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from algorithms.image_classification import ImageClassification
from recordio.framing import write_frame
from tests.algorithms.samples import SAMPLES, picture, pictures
from tests.opt_ml import OptMl
from tests.server import Server, running

pytestmark = pytest.mark.slow

SMALL = SAMPLES["image-classification"].hyperparameters


def framed(records: list[bytes]) -> bytes:
    stream = io.BytesIO()
    for record in records:
        write_frame(stream, record)
    return stream.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The base folder and the log of a job with two epochs of an augmented manifest."""
    opt_ml = OptMl(tmp_path_factory.mktemp("images"))
    parts = [part for number in range(12) for part in (picture(number % 2, number), b'"%d"' % (number % 2))]
    for name in ("train", "validation"):
        opt_ml.pipe(name, [framed(parts)] * 2, "application/x-recordio", RecordWrapperType="RecordIO")
    opt_ml.hyperparameters(SMALL, epochs=2, resize=16, top_k=2, _tuning_objective_metric="validation:accuracy")
    outcome = opt_ml.train_in_fork("image-classification", timeout=900)
    assert outcome.code == 0, outcome.log
    return opt_ml.paths.base, outcome.log


def test_the_log_and_the_artifact(trained: tuple[Path, str]) -> None:
    base, log = trained
    for metric in ImageClassification.metrics:
        assert len(re.findall(metric.regex, log)) == 2, metric.name
    saved = re.findall(r'Saved checkpoint to "(.*)"', log)
    assert set(saved[-1:]) == {str(path) for path in (base / "model").glob("*.params")}
    assert "#metrics" not in log
    assert "#quality_metric" not in log
    names = {path.name for path in (base / "model").iterdir()} - {Path(saved[-1]).name}
    assert names == {"image-classification-symbol.json", "model-shapes.json"}


@pytest.fixture(scope="module")
def server(trained: tuple[Path, str]):  # type: ignore[no-untyped-def]
    with running(trained[0]) as started:  # no ALGORITHM: the files say whose model it is
        yield started


def test_answers(server: Server) -> None:
    body = picture(1, 5, (50, 40))
    for content_type in ("image/png", "application/x-image", "image/jpeg"):
        answer = server.invoke(body, content_type)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        probabilities = json.loads(answer.body)
        assert len(probabilities) == 2
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    lines = server.invoke(body, "image/png", "application/jsonlines")
    assert lines.headers["content-type"] == "application/jsonlines"
    assert json.loads(lines.body) == {"prediction": probabilities}
    assert lines.body.endswith(b"}\n")


def bomb() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (20000, 20000)).save(stream, "PNG")
    return stream.getvalue()


def test_refusals(server: Server) -> None:
    whole = picture(0, 1)
    for body, content_type, status, reason in (
        (b"", "image/png", 400, ""),
        (b"no image", "image/png", 400, "request: 8 bytes are no image that can be read"),
        (whole[:200], "image/png", 400, "request: the PNG image is damaged or cut short"),
        (bomb(), "image/png", 400, "request: the PNG image has 20000 x 20000 pixels"),
        (whole, "text/csv", 415, "Content-Type header value 'text/csv' not supported"),
    ):
        answer = server.invoke(body, content_type)
        assert answer.status == status, answer.text
        assert reason in answer.text
        assert "Traceback" not in answer.text
    assert server.invoke(whole, "image/png", "text/csv").status == 406
    assert server.ping().status == 200


def test_a_bad_record_and_an_earlier_model_in_an_archive(trained: tuple[Path, str], tmp_path: Path) -> None:
    opt_ml = OptMl(tmp_path).hyperparameters(SMALL, num_classes=3)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(trained[0] / "model", ".")
    opt_ml.channel("model", {"model.tar.gz": stream.getvalue()}, "application/x-sagemaker-model")
    for name in ("train", "validation"):
        opt_ml.channel(name, {"data.rec": framed(pictures(12))}, "application/x-recordio")
    outcome = opt_ml.train_in_fork("image-classification", timeout=900)
    assert outcome.code == 1
    assert outcome.failure is not None
    assert outcome.failure.startswith("ClientError: Channel 'model' has num_classes 2, this job 3"), outcome.log
    assert outcome.model_files == []
