"""The laptop's runner: builds the folders and files of SageMaker's contract, then runs the very same code.

``oba train`` lays out OUTPUT as /opt/ml (the data is linked, not copied) and trains there; ``oba serve`` and
``oba predict`` use a model folder where it lies. What needs NumPy is imported in the functions, because ``serve``
must set the number of BLAS threads before NumPy is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from container.paths import Paths
from container.settings import ConfigurationError, Settings
from local import batch, suffixes

if TYPE_CHECKING:
    from algorithms.interface import Algorithm, Channel

MODEL_HELP = "the model's folder, or model.tar.gz"
_CHANNELS = ("train", "validation", "test")


def add_parsers(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that work on plain files and folders."""
    trainer = verbs.add_parser("train", help="train on local files")
    trainer.add_argument("--algorithm", required=True)
    for name in _CHANNELS:
        trainer.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"file or folder of the {name} channel")
    trainer.add_argument("--channel", action="append", default=[], metavar="NAME=PATH", help="any other channel")
    trainer.add_argument("--hyperparameter", "-p", action="append", default=[], metavar="NAME=VALUE")
    trainer.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="gets model/ and output/")
    trainer.add_argument("--content-type", help="of all channels; by default the suffix of the files decides")
    trainer.set_defaults(run=train)
    server = verbs.add_parser("serve", help="answer requests over HTTP")
    server.add_argument("--model", required=True, type=Path, metavar="PATH", help=MODEL_HELP)
    server.add_argument("--algorithm", help="by default the files of the model decide")
    server.add_argument("--port", type=int, default=8080)
    server.set_defaults(run=serve)
    predictor = verbs.add_parser("predict", help="print the answer to one request, without a server")
    predictor.add_argument("--model", required=True, type=Path, metavar="PATH", help=MODEL_HELP)
    predictor.add_argument("--algorithm", help="by default the files of the model decide")
    predictor.add_argument("--input", required=True, type=Path, metavar="FILE")
    predictor.add_argument("--content-type", help="by default the suffix of the file decides")
    predictor.add_argument("--accept", metavar="TYPE", help="media type of the answer; by default the algorithm's")
    predictor.set_defaults(run=predict)
    batch.add_parser(verbs)
    maker = verbs.add_parser("tokens", help="make the channels of seq2seq from parallel text files")
    maker.add_argument("--source", required=True, type=Path, metavar="FILE", help="a line a sentence; .gz too")
    maker.add_argument("--target", required=True, type=Path, metavar="FILE", help="its translations, line by line")
    maker.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="gets train, validation, vocab")
    maker.add_argument("--validation-source", type=Path, metavar="FILE")
    maker.add_argument("--validation-target", type=Path, metavar="FILE")
    maker.add_argument("--validation-share", type=float, default=0.05, help="of the lines, where no files are given")
    maker.add_argument("--vocabulary-size", type=int, default=50_000, help="most tokens of a side")
    maker.add_argument("--min-count", type=int, default=1, help="how often a token occurs at least")
    maker.add_argument("--lower", action="store_true", help="fold to lower case")
    maker.set_defaults(run=tokens)


# ---- train ----------------------------------------------------------------------------------------------------------


def train(options: argparse.Namespace) -> int:
    """``oba train``; the exit code of ``train``."""
    from container.training import train as training

    settings = Settings(base_directory=options.output.absolute(), algorithm=options.algorithm)
    algorithm = training.find(settings)
    files = _channel_paths(options)
    types = {name: options.content_type or _content_type(algorithm, name, path) for name, path in files.items()}
    paths = Paths(settings.base_directory)
    _clear(paths)
    _link(paths, files)
    _write(paths.input_data_config, {name: {"TrainingInputMode": "File", "ContentType": types[name]} for name in files})
    given = dict(_pair(text, "--hyperparameter", "NAME=VALUE") for text in options.hyperparameter)
    _write(paths.hyperparameters, _feature_dim(algorithm, paths, types) | given)
    bar = ProgressBar(sys.stdout) if sys.stdout.isatty() else None
    try:
        return training.run(paths, settings, bar)
    finally:
        if bar:
            bar.close()


def _channel_paths(options: argparse.Namespace) -> dict[str, Path]:
    named = {name: getattr(options, name) for name in _CHANNELS if getattr(options, name)}
    others = {name: Path(path) for name, path in (_pair(text, "--channel", "NAME=PATH") for text in options.channel)}
    files = named | others
    for name, path in files.items():
        if not path.exists():
            raise ConfigurationError(f"channel '{name}': there is no {path}")
    return files


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"{option} {text}: expected {form}")
    return name, value


def _content_type(algorithm: type[Algorithm], name: str, path: Path) -> str:
    """The content type by suffix. A CSV file of an algorithm without labels is said to have none."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    declared = _declared(algorithm).get(name)
    if declared is not None and declared.gives == "files":
        return declared.default_type
    accepts = declared.accepts if declared is not None else ()
    types = {suffixes.media_type(file, accepts) for file in files if not file.name.startswith((".", "_"))}
    if types == {"image/jpeg", "image/png"}:
        types = {"application/x-image"}
    media = types.pop() if len(types) == 1 else None
    if media is None:
        raise ConfigurationError(f"channel '{name}': the suffix in {path} does not tell the format; use --content-type")
    return f"{media};label_size=0" if media == "text/csv" and declared and declared.labels == "none" else media


def _declared(algorithm: type[Algorithm]) -> dict[str, Channel]:
    return {channel.name: channel for channel in algorithm.channels}


def _clear(paths: Paths) -> None:
    """Take away an earlier run in the same folder, and nothing that is not one."""
    folders = [folder for folder in (paths.base / "input", paths.model, paths.output) if folder.exists()]
    if folders and not paths.hyperparameters.is_file():
        raise ConfigurationError(
            f"--output {paths.base}: {folders[0].name}/ is there already, and not of an earlier run"
        )
    for folder in folders:
        shutil.rmtree(folder)


def _link(paths: Paths, files: Mapping[str, Path]) -> None:
    for name, path in files.items():
        channel = paths.channel(name)
        place = channel / path.name if path.is_file() else channel
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.resolve())


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2))


def _feature_dim(algorithm: type[Algorithm], paths: Paths, types: Mapping[str, str]) -> dict[str, str]:
    """``feature_dim`` as the first training rows have it, for an algorithm that requires to be told."""
    from algorithms import hyperparameters
    from recordio import content_type
    from recordio.readers import ChannelStream, RowFormat
    from recordio.sources import FileSource

    field = hyperparameters.fields(algorithm.hyperparameters).get("feature_dim")
    declared = _declared(algorithm).get("train")
    if field is None or not field.required or declared is None or declared.gives != "rows" or "train" not in types:
        return {}
    rows = RowFormat(labels="required" if declared.labels == "required" else "none", missing=True, finite=False)
    stream = ChannelStream(FileSource(paths.channel("train")), content_type.parse(types["train"]), rows)
    for first in stream.batches():
        return {"feature_dim": str(first.feature_dim)}
    return {}


class ProgressBar:
    """A line at the foot of a terminal: rows read, epochs or rounds done. Log lines scroll above it.

    It is the stream that log lines are written to, so that each can be put in the bar's place.
    """

    _INTERVAL = 0.1  # seconds between two drawings
    _CELLS = 24

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._started = time.monotonic()
        self._drawn = 0.0
        self._rows = 0
        self._done = 0
        self._total: int | None = None

    def rows(self, count: int) -> None:
        """So many more rows were read."""
        self._rows += count
        if time.monotonic() - self._drawn >= self._INTERVAL:
            self._draw()

    def steps(self, done: int, total: int | None) -> None:
        """So many epochs or rounds are done."""
        self._done, self._total = done, total
        self._draw()

    def write(self, text: str) -> int:
        """A log line: it takes the place of the bar, which moves down."""
        self._terminal.write(f"\r\x1b[K{text}")
        return len(text)

    def flush(self) -> None:
        """Show what was written, and the bar below it."""
        self._draw()

    def close(self) -> None:
        """Take the bar away."""
        self._terminal.write("\r\x1b[K")
        self._terminal.flush()

    def line(self) -> str:
        """The text of the bar."""
        parts = [f"{self._rows:,} rows", f"{time.monotonic() - self._started:.0f} s"]
        if self._total:
            full = self._CELLS * self._done // self._total
            parts.insert(0, f"[{'#' * full}{'.' * (self._CELLS - full)}] {self._done} of {self._total} epochs")
        elif self._done:
            parts.insert(0, f"round {self._done}")
        return ", ".join(parts)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._terminal.write(f"\r\x1b[K{self.line()}")
        self._terminal.flush()


# ---- serve and predict ----------------------------------------------------------------------------------------------


def serve(options: argparse.Namespace) -> int:
    """``oba serve``; the exit code of ``serve``."""
    from container.serving import server

    with tempfile.TemporaryDirectory() as base:
        paths = Paths(Path(base))
        paths.model.symlink_to(options.model.resolve())
        return server.run(paths, Settings(base_directory=paths.base, algorithm=options.algorithm, port=options.port))


def predict(options: argparse.Namespace) -> int:
    """``oba predict``: the answer of the web application to one request."""
    from container import logs
    from container.serving import app, models

    logs.configure(stream=sys.stderr)  # standard output is for the answer
    settings = Settings(algorithm=options.algorithm, max_payload=None)
    with models.unpacked(options.model) as folder:
        algorithm, model = models.load(folder, settings)
    media = options.content_type or suffixes.media_type(options.input, algorithm.serving.accepts)
    if media is None:
        raise ConfigurationError(f"the suffix of {options.input} does not tell the format; use --content-type")
    client = app.make_app(model, algorithm, settings).test_client()
    headers = {"Accept": options.accept} if options.accept else {}
    answer = client.post("/invocations", data=options.input.read_bytes(), content_type=media, headers=headers)
    stream = sys.stdout if answer.status_code == 200 else sys.stderr
    stream.buffer.write(answer.data)
    stream.flush()
    return os.EX_OK if answer.status_code == 200 else os.EX_DATAERR


# ---- tokens ---------------------------------------------------------------------------------------------------------


def tokens(options: argparse.Namespace) -> int:
    """``oba tokens``: records and vocabularies from texts."""
    from algorithms.seq2seq import texts

    held_out = [path for path in (options.validation_source, options.validation_target) if path is not None]
    for path in (options.source, options.target, *held_out):
        if not path.is_file():
            raise ConfigurationError(f"there is no file {path}")
    if len(held_out) == 1:
        raise ConfigurationError("--validation-source and --validation-target belong together")
    if not 0 < options.validation_share < 1:
        raise ConfigurationError(f"--validation-share {options.validation_share}: expected a number between 0 and 1")
    made = texts.make(
        options.source,
        options.target,
        options.output,
        validation=(held_out[0], held_out[1]) if held_out else None,
        share=options.validation_share,
        size=options.vocabulary_size,
        least=options.min_count,
        lower=options.lower,
    )
    sys.stdout.write(
        f"{made.train} pairs to train on, {made.validation} to validate with, "
        f"{made.left_out} left out for an empty side; "
        f"{made.source_vocabulary} source and {made.target_vocabulary} target tokens\n"
    )
    return os.EX_OK
