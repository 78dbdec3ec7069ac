"""Batch transform without SageMaker: ``oba batch``.

The platform's side of a transform job, for one machine: it reads a file or a folder, sends the records to a server
over HTTP as the job says, and writes a file ``<name>.out`` for each. The options have the names and the defaults of
SageMaker's CreateTransformJob.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from container.settings import ConfigurationError
from local import suffixes


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``batch`` to the sub-commands of ``local``."""
    parser = verbs.add_parser("batch", help="batch transform: answers to a folder of files, as <name>.out")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--model", type=Path, metavar="PATH", help="folder or model.tar.gz: a server is started for it")
    where.add_argument("--url", metavar="http://HOST:PORT", help="of a server that runs already")
    parser.add_argument("--algorithm", help="by default the files of the model decide")
    parser.add_argument("--input", required=True, type=Path, metavar="PATH", help="a file, or a folder of files")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--content-type", help="by default the suffix of the files decides")
    parser.add_argument("--accept", metavar="TYPE", help="media type of the answers; by default the algorithm's")
    parser.add_argument("--split-type", choices=["None", "Line", "RecordIO"], default="None", help="default None")
    parser.add_argument("--assemble-with", choices=["None", "Line"], default="None", help="default None")
    parser.add_argument("--batch-strategy", choices=["SingleRecord", "MultiRecord"], help="default: the server's")
    parser.add_argument("--max-payload", type=int, metavar="MB", help="MiB of a request; 0: any; default: the server's")
    parser.add_argument("--max-concurrent-transforms", type=int, metavar="N", help="default: the server's")
    parser.add_argument("--input-filter", default="$", metavar="JSONPATH", help="what of a record is sent; default $")
    parser.add_argument("--join-source", choices=["None", "Input"], default="None", help="default None")
    parser.add_argument("--output-filter", default="$", metavar="JSONPATH", help="what is written; default $")
    parser.add_argument("--invocations-max-retries", type=int, default=3, choices=range(4), help="default 3")
    parser.add_argument("--invocations-timeout", type=int, default=600, metavar="SECONDS", help="default 600")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """``local batch``: 0 where all files were transformed, 1 where some were not."""
    from container import logs
    from local.batch import transform
    from local.batch.client import Client, serving
    from local.batch.options import Options
    from local.batch.processing import Processing

    logs.configure(stream=sys.stderr)
    options = Options(
        input=arguments.input,
        output=arguments.output,
        content_type=arguments.content_type or _content_type(arguments.input),
        accept=arguments.accept,
        split_type=_given(arguments.split_type),
        assemble_with=_given(arguments.assemble_with),
        strategy=arguments.batch_strategy,
        max_payload=arguments.max_payload,
        max_concurrent=arguments.max_concurrent_transforms,
        input_filter=arguments.input_filter,
        output_filter=arguments.output_filter,
        join_source=_given(arguments.join_source),
        retries=arguments.invocations_max_retries,
        timeout=arguments.invocations_timeout,
    )
    options.check()
    processing, files = Processing(options), transform.sources(options)
    with contextlib.ExitStack() as stack:
        url = arguments.url or stack.enter_context(serving(arguments.model, arguments.algorithm, options.environment()))
        client = stack.enter_context(contextlib.closing(Client(url, retries=options.retries, timeout=options.timeout)))
        if not client.healthy():
            raise ConfigurationError(f"--url {url}: GET /ping does not answer 200")
        completed = options.completed(client.execution_parameters())
        return min(1, transform.run(files, completed, processing, client))


def _given(word: str) -> str | None:
    return None if word == "None" else word


def _content_type(path: Path) -> str:
    """What the suffixes of all files say."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if not path.exists():
        raise ConfigurationError(f"--input: there is no {path}")
    types = {suffixes.media_type(file, ()) for file in files if not file.name.startswith(".")}
    media = types.pop() if len(types) == 1 else None
    if media is None:
        raise ConfigurationError(f"the suffix in {path} does not tell the format; use --content-type")
    return media
