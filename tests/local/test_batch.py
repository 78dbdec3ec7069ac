"""Batch transform against a server that says what it was asked: splitting, packing, joining, retries, failures."""

import gzip
import json
import logging
import socket
import threading
import uuid
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from algorithms.kmeans.model import KMeansModel
from container.settings import ConfigurationError
from local import __main__ as commands
from local.batch.client import serving
from local.batch.options import Options
from local.batch.processing import Processing, ProcessingError
from local.batch.records import BatchError, payloads
from recordio.framing import frames
from recordio.record_writer import encode_records

MIB = 1 << 20


class Server:
    """Answers ``/invocations`` by ``answer(body, accept)``: a body, or (status, body)."""

    def __init__(self):
        self.bodies = []
        self.parameters = None
        self.answer = lambda body, accept: body
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if self.path == "/ping":
                    self._send(200, b"")
                elif served.parameters is None:
                    self._send(404, b"")
                else:
                    self._send(200, json.dumps(served.parameters).encode())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with served._lock:
                    served.bodies.append(body)
                    served.at_once += 1
                    served.most_at_once = max(served.most_at_once, served.at_once)
                accept = self.headers.get("Accept")
                answer = served.answer(body, accept)
                with served._lock:
                    served.at_once -= 1
                status, content = answer if isinstance(answer, tuple) else (200, answer)
                self._send(status, content, accept or self.headers["Content-Type"])

            def _send(self, status, content, content_type="application/json"):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def batch(server, tmp_path):
    """Runs the command on the folder ``in``; (exit code, the texts of the output files)."""

    def run(*options, source=tmp_path / "in"):
        output = tmp_path / "out"
        arguments = ["batch", "--url", server.url, "--input", source, "--output", output, *options]
        code = commands.main([str(argument) for argument in arguments])
        files = sorted(file for file in output.rglob("*") if file.is_file()) if output.exists() else []
        return code, {str(file.relative_to(output)): file.read_bytes() for file in files}

    return run


def write(tmp_path, files):
    for name, content in files.items():
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def test_without_a_split_each_file_is_one_request_and_the_folders_are_kept(server, batch, tmp_path):
    write(tmp_path, {"a.csv": b"1\n2", "deep/er/b.csv": b"3\n", ".hidden": b"x", ".git/c.csv": b"y", "empty.csv": b""})
    code, files = batch("--content-type", "text/csv")
    assert (code, files) == (0, {"a.csv.out": b"1\n2", "deep/er/b.csv.out": b"3\n", "empty.csv.out": b""})
    assert sorted(server.bodies) == [b"1\n2", b"3\n"]


def test_lines_are_packed_up_to_the_payload_and_answers_keep_their_order(server, batch, tmp_path):
    lines = [b"%d," % number + b"x" * 1000 + b"\n" for number in range(3000)]
    write(tmp_path, {"a.csv": b"".join(lines)})
    server.parameters = {"MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 1}
    code, files = batch("--split-type", "Line", "--assemble-with", "Line")
    assert (code, files) == (0, {"a.csv.out": b"".join(lines)})
    assert len(server.bodies) == 3
    assert all(MIB - 1100 < len(body) <= MIB for body in sorted(server.bodies, key=len)[1:])


def test_single_records_are_sent_one_by_one_and_several_at_a_time(server, batch, tmp_path):
    write(tmp_path, {"a.csv": b"1\r\n\n2\r\n  \n3"})
    barrier = threading.Barrier(3, timeout=60)

    def answer(body, accept):
        barrier.wait()
        return b"<" + body.strip() + b">"

    server.answer = answer
    options = ("--split-type", "Line", "--batch-strategy", "SingleRecord", "--max-concurrent-transforms", "3")
    code, files = batch(*options, "--assemble-with", "Line")
    assert (code, files, server.most_at_once) == (0, {"a.csv.out": b"<1>\n<2>\n<3>\n"}, 3)
    assert sorted(server.bodies) == [b"1\r\n", b"2\r\n", b"3\n"]
    assert batch(*options)[1] == {"a.csv.out": b"<1><2><3>"}


def test_files_are_asked_side_by_side_too(server, batch, tmp_path):
    write(tmp_path, {f"{number}.csv": b"%d" % number for number in range(4)})
    barrier = threading.Barrier(4, timeout=60)
    server.answer = lambda body, accept: (barrier.wait(), body)[1]
    code, files = batch("--max-concurrent-transforms", "4")
    assert (code, files) == (0, {f"{number}.csv.out": b"%d" % number for number in range(4)})


def test_recordio_is_split_into_whole_frames(server, batch, tmp_path):
    content = encode_records(np.float32([[1, 2], [3, 4], [5, 6]]))
    write(tmp_path, {"rows.pbr": content})
    code, files = batch("--split-type", "RecordIO", "--batch-strategy", "SingleRecord")
    assert (code, files, len(server.bodies)) == (0, {"rows.pbr.out": content}, 3)
    for body in server.bodies:
        (tmp_path / "one").write_bytes(body)
        with (tmp_path / "one").open("rb") as stream:
            assert len(list(frames(stream, "one"))) == 1


def test_gzip_files_are_sent_decompressed_unless_the_job_says_that_they_are_not_compressed(server, batch, tmp_path):
    packed = gzip.compress(b"1\n2\n")
    write(tmp_path, {"a.csv.gz": packed, "b.csv": b"3\n"})
    assert batch("--split-type", "Line") == (0, {"a.csv.gz.out": b"1\n2\n", "b.csv.out": b"3\n"})
    assert batch("--compression-type", "Gzip")[1] == {"a.csv.gz.out": b"1\n2\n", "b.csv.out": b"3\n"}
    assert batch("--compression-type", "None")[1] == {"a.csv.gz.out": packed, "b.csv.out": b"3\n"}


@pytest.mark.parametrize("damaged", [lambda packed: packed[:-9], lambda packed: packed[:12] + b"\xff" * 20])
def test_a_damaged_gzip_file_fails_alone(server, batch, tmp_path, capsys, damaged):
    write(tmp_path, {"a.csv.gz": damaged(gzip.compress(b"1\n2\n" * 100)), "b.csv": b"3\n"})
    assert batch("--split-type", "Line") == (1, {"b.csv.out": b"3\n"})
    assert "a.csv.gz" in capsys.readouterr().err


def test_a_pattern_names_files_and_two_of_one_name_are_refused(server, batch, tmp_path, capsys):
    write(tmp_path, {"a.csv": b"1\n", "b.csv": b"2\n", "c.txt": b"x", "deep/a.csv": b"3\n"})
    assert batch(source=tmp_path / "in" / "*.csv") == (0, {"a.csv.out": b"1\n", "b.csv.out": b"2\n"})
    assert batch(source=tmp_path / "in" / "**" / "a.csv")[0] == 1
    assert "two files would be answered in a.csv.out" in capsys.readouterr().err


def test_what_the_job_says_goes_before_what_the_server_says(server, batch, tmp_path):
    write(tmp_path, {"a.csv": b"1\n2\n"})
    server.parameters = {"BatchStrategy": "SINGLE_RECORD"}
    assert batch("--split-type", "Line")[0] == 0
    assert len(server.bodies) == 2
    assert batch("--split-type", "Line", "--batch-strategy", "MultiRecord")[0] == 0
    assert len(server.bodies) == 3


@pytest.mark.parametrize("parameters", [{"BatchStrategy": 1, "MaxPayloadInMB": "x"}, [], {"MaxPayloadInMB": -1}])
def test_odd_execution_parameters_are_as_good_as_none(server, batch, tmp_path, parameters):
    write(tmp_path, {"a.csv": b"1\n2\n"})
    server.parameters = parameters
    assert batch("--split-type", "Line") == (0, {"a.csv.out": b"1\n2\n"})


@pytest.mark.parametrize(("options", "place"), [(["--split-type", "Line"], "line 2"), ([], "big.csv has")])
def test_a_record_larger_than_the_payload_fails_its_file_and_no_other(server, batch, tmp_path, capsys, options, place):
    write(tmp_path, {"big.csv": b"1\n" + b"x" * (2 * MIB), "good.csv": b"1\n"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "big.csv.out").write_bytes(b"of an earlier run")
    code, files = batch("--max-payload", "1", *options)
    assert (code, files) == (1, {"good.csv.out": b"1\n"})
    error = capsys.readouterr().err
    assert place in error
    assert "(1048576, MaxPayloadInMB)" in error
    assert batch("--max-payload", "0")[0] == 0


@pytest.mark.parametrize(("split", "body"), [([], b"1,2\n3,4\n"), (["--split-type", "Line"], b"1,2\n3,4\n")])
def test_a_header_is_not_sent(server, batch, tmp_path, split, body):
    write(tmp_path, {"a.csv": b"x,y\n1,2\n3,4\n", "b.csv": b"x,y\n1,2\n3,4\n"})
    assert batch("--header", *split)[0] == 0
    assert server.bodies == [body, body]


def test_a_header_of_other_columns_than_the_model_was_trained_on_fails_its_file(tmp_path):
    write(tmp_path, {"a.csv": b"id,y,x\n1,2,3\n"})
    options = Options(
        input=(tmp_path / "in",),
        output=tmp_path / "out",
        content_type="text/csv",
        header=True,
        split_type="Line",
        assemble_with="Line",
        input_filter="$[1:]",
        features=["x", "y"],
    )
    with pytest.raises(BatchError, match=r"a\.csv: line 1: column 0 .* is 'y', and the model was trained with 'x'"):
        list(payloads(tmp_path / "in" / "a.csv", options, Processing(options), None))
    known = replace(options, features=["y", "x"])
    (payload,) = payloads(tmp_path / "in" / "a.csv", known, Processing(known), None)
    assert payload.body == b"2,3\n"


@pytest.mark.parametrize(
    ("content_type", "text"),
    [("text/csv", "\ufeffx, y\n1,2\n"), ("text/csv; delimiter=tab", "x\ty\n1\t2\n")],
    ids=["byte order mark", "tabs"],
)
def test_a_header_is_read_as_its_content_type_says(content_type, text, tmp_path):
    write(tmp_path, {"a.csv": text.encode()})
    options = Options(
        input=(tmp_path / "in",), output=tmp_path / "out", content_type=content_type, header=True, features=["x", "y"]
    )
    (payload,) = payloads(tmp_path / "in" / "a.csv", options, Processing(options), None)
    assert payload.body == text.partition("\n")[2].encode()


def with_a_header(tmp_path, content, content_type="text/csv", **given):
    write(tmp_path, {"a.csv": content})
    return Options(input=(tmp_path / "in",), output=tmp_path / "out", content_type=content_type, header=True, **given)


@pytest.mark.parametrize("features", [None, ["x"]])
@pytest.mark.parametrize(("content", "bodies"), [(b"\n\r\nx\n1\n", [b"1\n"]), (b"", []), (b"\n", []), (b"x\r\n", [])])
def test_the_header_is_the_first_line_that_is_not_blank(content, bodies, features, tmp_path):
    options = with_a_header(tmp_path, content, features=features)
    found = payloads(tmp_path / "in" / "a.csv", options, Processing(options), None)
    assert [payload.body for payload in found] == bodies


@pytest.mark.parametrize("features", [None, ["x", "y"]])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x,y\r1,2\r", "its lines end with a carriage return alone"),
        *(("x,y\n1,2\n".encode(charset), "in UTF-16 or UTF-32") for charset in ("utf-16", "utf-16-be", "utf-32")),
        ("\u6570\n1\n".encode("utf-16"), "in UTF-16 or UTF-32"),  # no zeros before the first byte of a newline
    ],
)
def test_a_header_that_cannot_be_told_from_the_rows_fails_its_file(content, message, features, tmp_path):
    options = with_a_header(tmp_path, content, features=features)
    with pytest.raises(BatchError, match=rf"a\.csv: line 1: .*{message}"):
        list(payloads(tmp_path / "in" / "a.csv", options, Processing(options), None))


def test_the_header_of_a_gzip_file_that_is_sent_as_it_is_cannot_be_left_out(tmp_path):
    options = with_a_header(tmp_path, gzip.compress(b"x\n1\n"), compression="None")
    with pytest.raises(BatchError, match=r"a\.csv is a gzip file"):
        list(payloads(tmp_path / "in" / "a.csv", options, Processing(options), None))


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("application/jsonlines", "application/jsonlines has none"),
        ("text/csv; charset=utf-16", "not found in charset utf-16"),
        ("text/csv; charset=klingon", "charset 'klingon' is not supported"),
        ("text/csv; delimiter=x", "the delimiter 'x' is not supported"),
        ("text/csv; x", "--header: 'text/csv; x'"),
    ],
)
def test_a_header_is_refused_where_it_cannot_be_read(content_type, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        with_a_header(tmp_path, b"x\n1\n", content_type).check()


def test_a_refused_request_fails_its_file_once_and_no_other(server, batch, tmp_path, capsys):
    write(tmp_path, {"bad.csv": b"1\nx\n2\nx\n", "good.csv": b"1\n"})
    server.answer = lambda body, accept: (400, b"no number: x") if b"x" in body else body
    code, files = batch("--split-type", "Line", "--batch-strategy", "SingleRecord")
    assert (code, files) == (1, {"good.csv.out": b"1\n"})
    error = capsys.readouterr().err
    assert error.count("bad.csv: 400: no number: x") == 1
    assert len(server.bodies) <= 5  # a bad request is not sent again


def test_a_request_is_sent_again_while_the_server_is_at_fault(server, batch, tmp_path, capsys):
    write(tmp_path, {"a.csv": b"1\n"})
    server.answer = lambda body, accept: (503, b"later") if len(server.bodies) < 3 else body
    assert batch() == (0, {"a.csv.out": b"1\n"})
    server.answer = lambda body, accept: (500, b"broken")
    server.bodies.clear()
    assert batch("--invocations-max-retries", "1") == (1, {})
    assert "a.csv: 500: broken" in capsys.readouterr().err
    assert len(server.bodies) == 2


def test_a_server_that_is_gone_fails_the_job(server, batch, tmp_path, capsys):
    write(tmp_path, {"a.csv": b"1\n"})
    server.close()
    assert batch() == (1, {})
    assert "GET /ping does not answer 200" in capsys.readouterr().err


# ---- filters and joins: the examples of SageMaker's guide -----------------------------------------------------------

LINES = ("--split-type", "Line", "--assemble-with", "Line")


def label(body, accept):
    """An answer for each line: how many fields or features it had."""
    answers = [len(line.split(b",")) for line in body.splitlines()]
    return "".join(f'{{"label":{n}}}\n' if accept == "application/jsonlines" else f"{n}\n" for n in answers).encode()


def test_input_joined_with_csv(server, batch, tmp_path):
    write(tmp_path, {"a.csv": b"1,2,3\n"})
    server.answer = lambda body, accept: b"1\n"
    assert batch(*LINES, "--join-source", "Input") == (0, {"a.csv.out": b"1,2,3,1\n"})


def test_an_id_column_is_not_sent_and_stands_in_the_output(server, batch, tmp_path):
    write(tmp_path, {"a.csv": b'"the, first",1,2,3,4\r\n02,5,6,7.10,8\n'})
    server.answer = label
    joined = batch(*LINES, "--input-filter", "$[1:]", "--join-source", "Input", "--output-filter", "$")
    assert joined == (0, {"a.csv.out": b'"the, first",1,2,3,4,4\n02,5,6,7.10,8,4\n'})
    assert server.bodies == [b"1,2,3,4\n5,6,7.10,8\n"]
    ends = batch(*LINES, "--input-filter", "$[1:]", "--join-source", "Input", "--output-filter", "$[0,-1]")
    assert ends == (0, {"a.csv.out": b'"the, first",4\n02,4\n'})
    assert batch(*LINES, "--input-filter", "$[0]", "--output-filter", "$[0]") == (0, {"a.csv.out": b"2\n1\n"})


def test_input_joined_with_json_lines(server, batch, tmp_path):
    write(tmp_path, {"a.jsonl": b'{"key":1}\n[1, 2]\n'})
    server.answer = label
    options = ("--accept", "application/jsonlines", "--join-source", "Input")
    code, files = batch(*LINES, *options)
    assert code == 0
    assert [json.loads(line) for line in files["a.jsonl.out"].splitlines()] == [
        {"key": 1, "SageMakerOutput": {"label": 1}},
        {"SageMakerInput": [1, 2], "SageMakerOutput": {"label": 2}},
    ]


def test_an_id_attribute_is_not_sent_and_stands_in_the_output(server, batch, tmp_path):
    write(tmp_path, {"a.jsonl": b'{"id": 1, "features": [1, 2, 3]}\n{"id": "\xc3\xa4", "features": [4]}\n'})
    server.answer = label
    filters = ("--input-filter", "$.features", "--output-filter", "$['id','SageMakerOutput']")
    code, files = batch(*LINES, *filters, "--accept", "application/jsonlines", "--join-source", "Input")
    expected = '{"id": 1, "SageMakerOutput": {"label": 3}}\n{"id": "ä", "SageMakerOutput": {"label": 1}}\n'
    assert (code, files["a.jsonl.out"].decode()) == (0, expected)
    assert server.bodies == [b"[1, 2, 3]\n[4]\n"]


def test_a_json_document_is_joined_as_a_whole(server, batch, tmp_path):
    write(tmp_path, {"a.json": b'{\n"instances": [1, 2]\n}'})
    server.answer = lambda body, accept: b'{\n"predictions": [3, 4]\n}'
    code, files = batch("--join-source", "Input", "--output-filter", "$['SageMakerOutput'].predictions")
    assert (code, files) == (0, {"a.json.out": b"[3, 4]\n"})


@pytest.mark.parametrize(
    ("media_type", "answer", "rest"),
    [
        ("text/csv", b"0.50,1\n2,3\n", ["0.50,1", "2,3"]),
        ("application/jsonlines", b'{"score": 0.5}\n[1, 2]\n', [{"score": 0.5}, {"SageMakerOutput": [1, 2]}]),
        ("application/json", b'{"score":\n0.5}', [{"score": 0.5}]),
        ("application/json", b"0.5\n0.7\n", [{"SageMakerOutput": 0.5}, {"SageMakerOutput": 0.7}]),  # as XGBoost's
    ],
)
def test_records_are_identified(tmp_path, media_type, answer, rest):
    """The last two fields, or ``SageMakerInferenceId`` and ``SageMakerInferenceTime``, as the guide shows them."""
    time = "2022-08-30T00:49:15Z"
    options = Options(input=(), output=tmp_path, content_type="application/x-image", identified=time)
    processing = Processing(options)
    assert processing.active
    records = [b"a"] * len(rest)
    lines = processing.answers(records, answer, media_type).decode().splitlines()
    identities = set()
    for line, expected in zip(lines, rest, strict=True):
        if media_type == "text/csv":
            start, identity, at = line.rsplit(",", 2)
        else:
            start = json.loads(line)
            identity, at = start.pop("SageMakerInferenceId"), start.pop("SageMakerInferenceTime")
        assert (start, at) == (expected, time)
        identities.add(uuid.UUID(identity))
    assert len(identities) == len(rest)
    of_all = processing.answers([b"a", b"b"], b'{"predictions": [1, 2]}', "application/json")
    assert json.loads(of_all)["predictions"] == [1, 2]
    with pytest.raises(
        ProcessingError, match="needs an answer in one of text/csv, application/json, application/jsonlines, and"
    ):
        processing.answers([b"a"], b"x", "application/x-recordio-protobuf")


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (b"1,2\n", ["--input-filter", "$[5]"], "a.csv: line 1: InputFilter $[5]: there is no index 5"),
        (b"1,2\n", ["--output-filter", "$[5]"], "a.csv: OutputFilter $[5]: there is no index 5"),
        (b"1,2\n", ["--output-filter", "$.id"], "a name needs a JSON object"),
        (b'1,"2\n', ["--input-filter", "$[1:]"], "line 1: InputFilter"),
        (b"\xff,2\n", ["--input-filter", "$[1:]"], "is not a row of CSV"),
        (b"1,2\n", ["--join-source", "Input", "--accept", "application/json"], "cannot join text/csv"),
    ],
)
def test_what_cannot_be_filtered_or_joined_fails_the_file(server, batch, tmp_path, capsys, content, options, text):
    write(tmp_path, {"a.csv": content, "good.csv": b"1,2,3,4,5,6\n"})
    code, _ = batch(*LINES, *options)
    assert (code, text in capsys.readouterr().err) == (1, True)
    assert not (tmp_path / "out" / "a.csv.out").exists()


def test_an_answer_without_a_line_for_each_record_cannot_be_joined(server, batch, tmp_path, capsys):
    write(tmp_path, {"a.csv": b"1\n2\n"})
    server.answer = lambda body, accept: b"1,2"
    assert batch(*LINES, "--join-source", "Input") == (1, {})
    assert "the answer has 1 lines for 2 records" in capsys.readouterr().err
    write(tmp_path, {"a.jsonl": b"{}\n[]\n"})
    Path(tmp_path / "in" / "a.csv").unlink()
    server.answer = lambda body, accept: b'{"predictions": [1, 2]}'
    assert batch(*LINES, "--join-source", "Input", "--accept", "application/json") == (1, {})
    assert "use Accept application/jsonlines, or BatchStrategy SingleRecord" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--max-payload", "101"], "MaxPayloadInMB: 101 is not an integer from 0 to 100"),
        (["--max-concurrent-transforms", "0"], "MaxConcurrentTransforms: 0 is not"),
        (["--max-payload", "20", "--max-concurrent-transforms", "6"], "6 * 20 is more than 100"),
        (["--content-type", "text/csv\r\nX: y"], "ContentType: 'text/csv"),
        (["--accept", "\u00e4"], "Accept: '\u00e4' is not a media type"),
        (["--invocations-timeout", "0"], "InvocationsTimeoutInSeconds: 0 is not an integer from 1 to 3600"),
        (["--input-filter", "id"], "InputFilter: 'id' is not a JSONPath"),
        (["--output-filter", "$[?(1)]"], "OutputFilter: '$[?(1)]'"),
        (["--join-source", "Input"], "need SplitType and AssembleWith Line for text/csv"),
        (
            ["--join-source", "Input", "--content-type", "application/x-recordio-protobuf"],
            "ContentType one of text/csv, ",
        ),
        (["--header", "--content-type", "application/json"], "--header: application/json has none; it is for text/csv"),
        (["--output", "in/out"], "lies in --input"),
        (["--input", "nowhere"], "there is no nowhere"),
        (["--input", "unnamed"], "use --content-type"),
        (["--input", "none", "--content-type", "text/csv"], "there are no files in it"),
        (["--url", "https://host"], "expected http://host:port"),
        (["--url", "http://host:x"], "--url http://host:x"),
        (["--url", "http://127.0.0.1:1/path"], "without a path"),
    ],
)
def test_a_job_that_cannot_be_is_refused_at_once(server, batch, tmp_path, monkeypatch, capsys, options, text):
    write(tmp_path, {"a.csv": b"1\n"})
    (tmp_path / "none").mkdir()
    (tmp_path / "unnamed").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    assert batch(*options) == (1, {})
    assert text in capsys.readouterr().err
    assert server.bodies == []


@pytest.mark.slow
def test_nobody_else_reaches_the_server_of_a_model_and_it_is_quiet_where_the_job_is(tmp_path, capfd):
    KMeansModel(np.eye(3, dtype=np.float32)).save(tmp_path)
    with serving(tmp_path, "kmeans", {}, quiet=True) as url, socket.socket() as other:
        other.bind(("127.0.0.2", int(url.rpartition(":")[2])))  # it would be taken, were it that of all addresses
    assert capfd.readouterr().err == ""
