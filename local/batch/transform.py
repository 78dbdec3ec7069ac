"""The job: requests are made of files, sent to the server, and their answers written to files, in order, with at most
the allowed number of requests at a time.

A file with a record that cannot be read, or a request that is refused, gets no answer file, as its lines would no
longer correspond to those of the input. The other files go on, and the job fails in the end, as on SageMaker.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from container.logs import logger
from container.settings import ConfigurationError
from local.batch.client import Answer, Client, RefusedError
from local.batch.options import LINE, Options
from local.batch.processing import Processing, ProcessingError
from local.batch.records import BatchError, Payload, payloads
from recordio.errors import DataError

SUFFIX = ".out"
_FAILURES = (BatchError, ProcessingError, DataError, RefusedError, OSError)


class _Output:
    """The answers to one file, which gets its name when they are complete."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source = source
        self.failed = False
        self.records = self.requests = 0
        self._target = target
        self._partial = target.with_name(f".{target.name}.partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # of an earlier run: a file that fails now must not seem to be done
        self._stream: BinaryIO = self._partial.open("wb")

    def write(self, content: bytes, records: int) -> None:
        self._stream.write(content)
        self.records += records
        self.requests += 1

    def fail(self, error: Exception) -> None:
        """Give up this file, and log the first error."""
        if not self.failed:
            self.failed = True
            self.discard()
            text = str(error)
            logger.error(text if str(self.source) in text else f"{self.source}: {text}")

    def discard(self) -> None:
        """Remove what was written so far."""
        with contextlib.suppress(OSError):  # a full disk says so again
            self._stream.close()
        self._partial.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name, as all answers are written."""
        self._stream.close()
        self._partial.replace(self._target)
        logger.info("%s: records: %d, requests: %d", self.source, self.records, self.requests)


@dataclass
class _Request:
    """A request that was sent, or, if ``payload`` is None, the end of a file."""

    output: _Output
    payload: Payload | None = None
    answer: Future[Answer] | None = None


def run(files: Sequence[tuple[Path, Path]], options: Options, processing: Processing, client: Client) -> int:
    """Transform ``files``, as ``sources`` gives them; how many could not be."""
    headers = {"Content-Type": options.content_type} | ({"Accept": options.accept} if options.accept else {})
    concurrent = options.max_concurrent or 1
    waiting: deque[_Request] = deque()
    failed = 0
    with ThreadPoolExecutor(concurrent) as pool, contextlib.closing(_requests(files, options, processing)) as requests:
        try:
            for request in requests:
                if request.payload is not None:
                    request.answer = pool.submit(client.invoke, bytes(request.payload.body), headers)
                waiting.append(request)
                if len(waiting) > 2 * concurrent:  # the next are read while these are answered
                    failed += _settle(waiting.popleft(), options, processing)
            while waiting:
                failed += _settle(waiting.popleft(), options, processing)
        finally:  # of a job that is ended on the way
            for request in waiting:
                request.output.discard()
    return failed


def _requests(files: Sequence[tuple[Path, Path]], options: Options, processing: Processing) -> Generator[_Request]:
    """The requests of all files, each file's closed by its end."""
    for source, name in files:
        output = _Output(source, options.output / f"{name}{SUFFIX}")
        try:
            for payload in payloads(source, options, processing, options.limit):
                if output.failed:
                    break
                yield _Request(output, payload)
        except _FAILURES as error:
            output.fail(error)
        except BaseException:  # the job is ended
            output.discard()
            raise
        yield _Request(output)


def sources(options: Options) -> list[tuple[Path, Path]]:
    """The files of the job, and their names below the input folder. Hidden ones are left out.

    Raises:
        ConfigurationError: there are none, or two of the same name.
    """
    found: list[tuple[Path, Path]] = []
    for root in options.input:
        files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
        named = [(file, file.relative_to(root if root.is_dir() else root.parent)) for file in files]
        found += [(file, name) for file, name in named if not any(part.startswith(".") for part in name.parts)]
    if not found:
        raise ConfigurationError(f"--input {', '.join(map(str, options.input))}: there are no files in it")
    names = [name for _, name in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"--input: two files would be answered in {sorted(twice)[0]}{SUFFIX}")
    return found


def _settle(request: _Request, options: Options, processing: Processing) -> int:
    """Wait for the answer and write it; at the end of a file, 1 if it has failed, else 0."""
    output, payload = request.output, request.payload
    if output.failed:
        return int(payload is None)
    try:
        if payload is None or request.answer is None:
            output.finish()
            return 0
        answer = request.answer.result()
        content = answer.body
        if processing.active:
            content = processing.answers(payload.records, answer.body, answer.media_type)
        if options.assemble_with == LINE and content:
            content = content.removesuffix(b"\n") + b"\n"
        output.write(content, len(payload.records))
    except _FAILURES as error:
        output.fail(error)
        return int(payload is None)
    return 0
