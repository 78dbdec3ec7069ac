"""The page at ``/``: what there is, how it goes, and links to logs, reports and artifacts."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable
from pathlib import Path

from werkzeug.wrappers import Response

from local.sagemaker import curves, endpoints, kept_logs, training_job, transforms
from local.sagemaker.cloud import Cloud
from local.sagemaker.store import Record

PREFIX = "/_oba/"
"""Of the page's own addresses: no bucket's name begins with an underscore."""

_REFRESH_SECONDS = 3
_STYLE = (
    "body{font:15px system-ui;margin:2em;max-width:75em}table{border-collapse:collapse;margin-bottom:2em}"
    "td,th{padding:.3em .9em;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}"
    ".Failed{color:#b00020}.Completed,.InService{color:#186a3b}.metric{display:block}svg{display:block}p{margin:0}.InProgress,.Creating,.Updating{color:#0b57d0}"
)


def answer(cloud: Cloud, path: str) -> Response:
    """The page itself, or a file that it links to: ``/_oba/JOB/training-job/FILE``."""
    if path == "/":
        return Response(_page(cloud), mimetype="text/html")
    file = _file(cloud, path.removeprefix(PREFIX).split("/"))
    if file is None:
        return Response("There is no such file.\n", 404, mimetype="text/plain")
    kind = {".html": "text/html", ".gz": "application/gzip"}.get(file.suffix, "text/plain")
    headers = {"Content-Security-Policy": "sandbox; default-src 'unsafe-inline' data:"}
    return Response(file.read_bytes(), headers=headers, content_type=f"{kind}; charset=utf-8")


def _file(cloud: Cloud, parts: list[str]) -> Path | None:
    """The file of an address, which is one that the page links to."""
    links = {path: file for one in cloud.store.all(training_job.KIND) for path, file in _files(cloud, one)}
    links |= {path: file for one in cloud.store.all(transforms.KIND) for path, file in _transform_files(cloud, one)}
    links |= {path: file for one in cloud.store.all(endpoints.KIND) for path, file in _endpoint_files(cloud, one)}
    return links.get("/".join(parts))


def _files(cloud: Cloud, job: Record) -> Iterable[tuple[str, Path]]:
    folder = cloud.folder / "training-jobs" / job["Name"]
    named = [(file.name, file) for file in sorted(folder.glob("*.log"))]
    named += [("report.html", folder / "algo-1" / "output" / "data" / "report.html")]
    named += [(name, folder / name) for name in ("model.tar.gz", "output.tar.gz")]
    return [(f"training-job/{job['Name']}/{name}", file) for name, file in named if file.is_file()]


def _transform_files(cloud: Cloud, job: Record) -> Iterable[tuple[str, Path]]:
    folder = cloud.folder / "transform-jobs" / job["Name"]
    return [(f"transform-job/{job['Name']}/{file.name}", file) for file in sorted(folder.glob("*.log"))]


def _endpoint_files(cloud: Cloud, endpoint: Record) -> Iterable[tuple[str, Path]]:
    folder = cloud.folder / "endpoints" / endpoint["Name"]
    return [(f"endpoint/{endpoint['Name']}/{file.name}", file) for file in sorted(folder.glob("*.log"))]


def _page(cloud: Cloud) -> str:
    trainings, batches = cloud.store.all(training_job.KIND), cloud.store.all(transforms.KIND)
    served = cloud.store.all(endpoints.KIND)
    training_rows = [
        _row(one, "TrainingJobStatus", f"{_curves(cloud, one)}{_failure(one)}", _files(cloud, one)) for one in trainings
    ]
    batch_rows = [_row(one, "TransformJobStatus", _failure(one), _transform_files(cloud, one)) for one in batches]
    served_rows = [_row(one, "EndpointStatus", _failure(one), _endpoint_files(cloud, one)) for one in served]
    moving = ("InProgress", "Stopping", "Creating", "Updating")
    states = [one.get("TrainingJobStatus") or one.get("TransformJobStatus") for one in (*trainings, *batches)]
    states += [one["EndpointStatus"] for one in served]
    refresh = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if set(states) & set(moving) else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{refresh}<title>oba up</title>'
        f"<style>{_STYLE}</style><h1>SageMaker on this machine</h1>"
        f"{_table('Training jobs', training_rows)}{_table('Transform jobs', batch_rows)}"
        f"{_table('Endpoints', served_rows)}</html>"
    )


def _table(title: str, rows: list[str]) -> str:
    head = "<tr><th>Name<th>Status<th>Created<th>Seconds<th>Metrics, failures<th>Files</tr>"
    body = "".join(reversed(rows)) if rows else '<tr><td colspan="6">none</tr>'
    return f"<h2>{title}</h2><table>{head}{body}</table>"


def _row(record: Record, status: str, told: str, files: Iterable[tuple[str, Path]]) -> str:
    state = record[status]
    secondary = record.get("SecondaryStatus", state)
    shown = state if secondary == state else f"{state}, {secondary}"
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["CreationTime"]))
    begun = record.get("TrainingStartTime") or record.get("TransformStartTime")
    ended = record.get("TrainingEndTime") or record.get("TransformEndTime")
    seconds = f"{(ended or time.time()) - begun:.1f}" if begun else ""
    links = " ".join(f'<a href="{PREFIX}{html.escape(path)}">{html.escape(file.name)}</a>' for path, file in files)
    cells = (html.escape(record["Name"]), f'<span class="{state}">{shown}</span>', created, seconds, told, links)
    return f"<tr>{''.join(f'<td>{cell}' for cell in cells)}</tr>"


def _curves(cloud: Cloud, job: Record) -> str:
    return curves.drawn(cloud.folder / "training-jobs" / job["Name"] / f"algo-1{kept_logs.SUFFIX}")


def _failure(record: Record) -> str:
    reason = record.get("FailureReason")
    return f'<p class="Failed">{html.escape(reason)}</p>' if reason else ""
