"""The page at ``/``: jobs, models and endpoints, their status, and links to logs, reports and artifacts."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path

from werkzeug.wrappers import Response
from werkzeug.wsgi import FileWrapper

from container.training.style import STYLE
from local.sagemaker import curves, endpoints, kept_logs, training_job, transforms, tuning_jobs
from local.sagemaker.cloud import Cloud
from local.sagemaker.store import Record
from local.tuning.history import short

PREFIX = "/_oba/"
"""Of the page's own addresses: no bucket's name begins with an underscore."""

_STYLE = """
#state { margin-bottom: 16px }
.jobs { width: 100% } .jobs thead th { border-bottom: 1px solid var(--line) }
.jobs td { border-bottom: 1px solid var(--line); padding-top: 8px; padding-bottom: 8px }
.jobs tr:last-child td { border-bottom: 0; padding-bottom: 0 } .jobs p { margin: 0; color: inherit }
.jobs a { display: inline-block; margin-right: 10px } .time { white-space: nowrap }
.metric { display: block } .jobs svg { width: 160px }
.Completed, .InService { color: var(--good) } .Failed { color: var(--bad) }
.InProgress, .Creating, .Updating, .Stopping { color: var(--link) }
:root { --good: #00714f; --bad: #b00020 }
@media (prefers-color-scheme: dark) { :root { --good: #3fc79a; --bad: #ff9a90 } }
@media (max-width: 700px) {
  .jobs, .jobs tbody, .jobs tr { display: block } .jobs thead { display: none }
  .jobs td { display: grid; grid-template-columns: 84px minmax(0, 1fr); border: 0; padding: 3px 0 }
  .jobs td::before { content: attr(data-what); color: var(--soft) } .jobs td:empty { display: none }
  .jobs tr { border-bottom: 1px solid var(--line); padding: 10px 0 }
  .jobs tr:last-child { border: 0; padding-bottom: 0 }
}
"""
_SCRIPT = """
async function again() {
  try {
    const text = await (await fetch("/")).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
  } catch { document.querySelector("#state").textContent = "oba up does not answer: it has ended."; }
}
setInterval(() => document.hidden || again(), 3000);
"""
_PIECE = 1 << 16
_BEGINNINGS = ("TrainingStartTime", "TransformStartTime")
_ENDS = ("TrainingEndTime", "TransformEndTime", "HyperParameterTuningEndTime")
Row = tuple[str, ...]
"""The cells of one, as HTML."""
_HEAD = ("Name", "Status", "Created", "Seconds", "Results", "Files")


def answer(cloud: Cloud, path: str) -> Response:
    """The page itself, or a file that it links to: ``/_oba/JOB/training-job/FILE``."""
    if path == "/":
        return Response(_page(cloud), mimetype="text/html")
    file = _file(cloud, path.removeprefix(PREFIX).split("/"))
    if file is None:
        return Response("There is no such file.\n", 404, mimetype="text/plain")
    kind = {".html": "text/html", ".gz": "application/gzip"}.get(file.suffix, "text/plain")
    headers = {"Content-Security-Policy": "sandbox; default-src 'unsafe-inline' data:"}
    content = FileWrapper(file.open("rb"), _PIECE)  # a model may be larger than memory
    return Response(content, headers=headers, content_type=f"{kind}; charset=utf-8", direct_passthrough=True)


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
    store = cloud.store
    tables = {
        "Training jobs": [
            _row(one, "TrainingJobStatus", f"{_curves(cloud, one)}{_failure(one)}", _files(cloud, one))
            for one in store.all(training_job.KIND)
        ],
        "Tuning jobs": [
            _row(_named(one), "HyperParameterTuningJobStatus", f"{_best(one)}{_failure(one)}", ())
            for one in tuning_jobs.every(cloud)
        ],
        "Transform jobs": [
            _row(one, "TransformJobStatus", _failure(one), _transform_files(cloud, one))
            for one in store.all(transforms.KIND)
        ],
        "Endpoints": [
            _row(one, "EndpointStatus", _failure(one), _endpoint_files(cloud, one)) for one in store.all(endpoints.KIND)
        ],
    }
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>oba up</title><style>{STYLE}{_STYLE}</style><main><h1>SageMaker on this machine</h1>"
        f'<p id="state" role="status">{_told(cloud, tables)}</p>'
        f"{''.join(_table(title, rows) for title, rows in tables.items() if rows)}</main>"
        f"<script>{_SCRIPT}</script></html>"
    )


def _told(cloud: Cloud, tables: Mapping[str, Sized]) -> str:
    """The line below the title: how many resources there are, or what to do first."""
    if any(tables.values()):
        return ", ".join(f"{title.lower()}: {len(rows)}" for title, rows in tables.items() if rows).capitalize()
    return (
        "Nothing was asked of it yet. A program with boto3 or a SageMaker SDK asks it where the environment has the "
        f"variables that oba up has printed, AWS_ENDPOINT_URL={html.escape(cloud.url)} among them."
    )


def _table(title: str, rows: Sequence[Row]) -> str:
    """A table, newest first, of the columns in which any row has something."""
    used = [column for column, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
    head = "".join(f'<th scope="col">{_HEAD[column]}</th>' for column in used)
    body = "".join("<tr>" + "".join(_cell(_HEAD[at], row[at]) for at in used) + "</tr>" for row in reversed(rows))
    return (
        f'<figure><h2>{title}</h2><table class="jobs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</figure>"
    )


def _row(record: Record, status: str, told: str, files: Iterable[tuple[str, Path]]) -> Row:
    state = record[status]
    secondary = record.get("SecondaryStatus", state)
    shown = state if secondary == state else f"{state}, {secondary}"
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["CreationTime"]))
    begun = next((record[key] for key in _BEGINNINGS if record.get(key)), None)
    ended = next((record[key] for key in _ENDS if record.get(key)), None)
    seconds = f"{(ended or time.time()) - begun:.1f}" if begun else ""
    links = " ".join(f'<a href="{PREFIX}{html.escape(path)}">{html.escape(file.name)}</a>' for path, file in files)
    return html.escape(record["Name"]), f'<span class="{state}">{shown}</span>', created, seconds, told, links


def _cell(what: str, content: str) -> str:
    kind = ' class="time"' if what == "Created" else ""
    return f'<td data-what="{what}"{kind}><div>{content}</div></td>' if content else f'<td data-what="{what}"></td>'


def _named(job: Record) -> Record:
    """A tuning job with what other records have: its name, and when it began."""
    return job | {"Name": job["HyperParameterTuningJobName"], "TrainingStartTime": job["CreationTime"]}


def _best(job: Record) -> str:
    """How many training jobs a tuning job has done, and the best of them."""
    counts = job["TrainingJobStatusCounters"]
    ended = sum(counts.values()) - counts["InProgress"]
    total = job.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {}).get("MaxNumberOfTrainingJobs")
    told = f"{ended} of {total} training jobs" if total else f"{ended} training jobs"
    best = job.get("BestTrainingJob")
    if best is None:
        return f"<p>{told}</p>"
    values = ", ".join(f"{name}={short(value)}" for name, value in best["TunedHyperParameters"].items())
    objective = best["FinalHyperParameterTuningJobObjectiveMetric"]
    scored = f"{objective['MetricName']} {objective['Value']:.5g}"
    return f"<p>{told}; best: {html.escape(values)}: {html.escape(scored)}, {html.escape(best['TrainingJobName'])}</p>"


def _curves(cloud: Cloud, job: Record) -> str:
    return curves.drawn(cloud.folder / "training-jobs" / job["Name"] / f"algo-1{kept_logs.SUFFIX}")


def _failure(record: Record) -> str:
    reason = record.get("FailureReason")
    return f'<p class="Failed">{html.escape(reason)}</p>' if reason else ""
