"""The user's command: ``oba`` with its sub-commands and their options. What they do is in the modules beside this one.

Those are imported when their command runs: they need NumPy, and ``oba serve`` sets the number of BLAS threads before.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click

from local.export.command import export
from local.options import (
    DATA,
    FOLDER,
    MODEL,
    loudness_of,
    with_algorithm,
    with_channels,
    with_columns,
    with_content_type,
    with_loudness,
    with_model,
)
from local.parameters import AlgorithmName, Commands, Loudness, OfAlgorithm, Setting
from local.run_command import run
from local.sagemaker.command import up
from local.tuning.command import tune

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_INPUT = "a file, a folder, a quoted pattern, an address (s3://…), or - for standard input; gzip too"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="open-builtin-algorithms", prog_name="oba")
def oba() -> None:
    """Train, serve, predict and transform on this machine, with the very code of the images.

    The Tab key completes commands, options and hyperparameters after

    \b
      eval "$(_OBA_COMPLETE=bash_source oba)"      in bash
      eval "$(_OBA_COMPLETE=zsh_source oba)"       in zsh
      _OBA_COMPLETE=fish_source oba | source       in fish
    """


def _silence_below(level: int) -> None:
    """Hide log lines up to ``level``, until this command ends."""
    before = logging.root.manager.disable
    logging.disable(level)
    click.get_current_context().call_on_close(lambda: logging.disable(before))


_accept = click.option("--accept", metavar="TYPE", help="Media type of the answer.  [default: the algorithm's]")
_content_type = click.option(
    "--content-type", metavar="TYPE", help="Content type of the input.  [default: by the suffix of the file]"
)


def _given(_context: click.Context, _option: click.Parameter, word: str) -> str | None:
    """A choice; None where it is the word None, as SageMaker's requests have it."""
    return None if word == "None" else word


# ---- train ----------------------------------------------------------------------------------------------------------


@oba.command(cls=OfAlgorithm)
@click.argument("algorithm", type=AlgorithmName())
@click.argument("settings", nargs=-1, type=Setting(), metavar="[NAME=VALUE]...")
@with_channels(_INPUT)
@click.option("--output", required=True, type=FOLDER, metavar="FOLDER", help="Folder for model/ and output/.")
@with_content_type
@with_columns
@click.option(
    "--checkpoints", type=FOLDER, metavar="FOLDER", help="Folder to keep checkpoints in; those there are gone on from."
)
@click.option(
    "--hosts", type=click.IntRange(1, 100), default=1, metavar="N", help="Processes that train together, as hosts do."
)
@with_loudness
def train(
    settings: tuple[tuple[str, str], ...],
    channels: dict[str, list[str]],
    label: str | None,
    *,
    header: bool,
    quiet: bool,
    verbose: bool,
    **stated: Any,
) -> int:
    """Train ALGORITHM on local files.

    NAME=VALUE are its hyperparameters, in any place: oba train kmeans --train data.csv k=10 --output out
    """
    if sum(paths.count("-") for paths in channels.values()) > 1:
        raise click.UsageError("standard input (-) can be read once")
    loudness = loudness_of(quiet=quiet, verbose=verbose)

    from local.columns import Columns
    from local.train import Request, run

    return run(Request(channels=channels, given=settings, columns=Columns(label, header), loudness=loudness, **stated))


# ---- answers --------------------------------------------------------------------------------------------------------


@oba.command()
@with_model
@click.option(
    "--input",
    "text",
    required=True,
    type=DATA,
    metavar="FILE",
    help="File of the request; - for standard input; gzip too.",
)
@_content_type
@with_columns
@_accept
@with_algorithm
@with_loudness
def predict(
    model: Path,
    text: str,
    content_type: str | None,
    label: str | None,
    accept: str | None,
    algorithm: str | None,
    *,
    header: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Print a model's answer to one request.

    --label names a column of a CSV file that is left out, so that the files of training can be asked, too.
    """
    if loudness_of(quiet=quiet, verbose=verbose) is not Loudness.VERBOSE:
        _silence_below(logging.WARNING)  # of the server's code: it logs a refusal, which is printed here anyway

    from local import predict
    from local.columns import Columns

    return predict.predict(model, text, algorithm, content_type, accept, Columns(label, header))


@oba.command(short_help="Answer requests over HTTP with a model.")
@with_model
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="Address to listen on. Nobody is asked who they are, so whoever reaches another address, such as 0.0.0.0 (all "
    "of this machine), can use the model.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port to listen on.")
@with_algorithm
@with_loudness
def serve(model: Path, host: str, port: int, algorithm: str | None, *, quiet: bool, verbose: bool) -> int:
    """Answer requests over HTTP with a model, as the image does, until Ctrl-C or SIGTERM.

    GET /ping answers 200: the model is loaded. POST /invocations predicts from its body, by the headers Content-Type
    and Accept. /v2/models/... is the open inference protocol, and GET /metrics is for Prometheus.

    \b
      oba serve --model out/model
      curl --data-binary @rows.csv --header 'Content-Type: text/csv' localhost:8080/invocations

    What has no option is said by environment variables, such as OBA_LOG_FORMAT=json and SAGEMAKER_MODEL_SERVER_WORKERS;
    docs/serving.md has them all.
    """
    if loudness_of(quiet=quiet, verbose=verbose) is Loudness.QUIET:
        _silence_below(logging.INFO)

    from local import predict

    return predict.serve(model, algorithm, host, port)


@oba.command()
@click.option("--model", type=MODEL, metavar="PATH", help="Folder or model.tar.gz, for which a server is started.")
@click.option("--url", metavar="http://HOST:PORT", help="Address of a server that runs already, instead of --model.")
@click.option(
    "--input", "text", required=True, type=DATA, metavar="PATH", help="A file, a folder, or a quoted pattern; gzip too."
)
@click.option("--output", required=True, type=FOLDER, metavar="FOLDER", help="Folder for NAME.out of each file.")
@_content_type
@click.option("--header", is_flag=True, help="The first line of CSV files names the columns, and is not sent.")
@click.option(
    "--compression-type",
    "compression",
    type=click.Choice(["None", "Gzip"]),
    help="None sends files as they are.  [default: gzip files are decompressed]",
)
@click.option(
    "--split-type",
    type=click.Choice(["None", "Line", "RecordIO"]),
    default="None",
    show_default=True,
    callback=_given,
    help="What a record of a file is; None: the whole file.",
)
@click.option(
    "--assemble-with",
    type=click.Choice(["None", "Line"]),
    default="None",
    show_default=True,
    callback=_given,
    help="Put between answers.",
)
@click.option(
    "--batch-strategy",
    "strategy",
    type=click.Choice(["SingleRecord", "MultiRecord"]),
    help="Records of a request: one, or many.  [default: the server's]",
)
@click.option("--max-payload", type=int, metavar="MB", help="Most MiB of a request; 0: any.  [default: the server's]")
@click.option(
    "--max-concurrent-transforms",
    "max_concurrent",
    type=int,
    metavar="N",
    help="Requests at once.  [default: the server's]",
)
@click.option("--input-filter", default="$", metavar="JSONPATH", show_default=True, help="Part of a record to send.")
@click.option(
    "--join-source",
    type=click.Choice(["None", "Input"]),
    default="None",
    show_default=True,
    callback=_given,
    help="Input: write each record beside its answer.",
)
@click.option("--output-filter", default="$", metavar="JSONPATH", show_default=True, help="Part of an answer to write.")
@click.option(
    "--invocations-max-retries",
    "retries",
    type=click.IntRange(0, 3),
    default=3,
    show_default=True,
    help="Repeats of a request.",
)
@click.option(
    "--invocations-timeout",
    "timeout",
    type=int,
    default=600,
    metavar="SECONDS",
    show_default=True,
    help="Longest wait for an answer.",
)
@_accept
@with_algorithm
@with_loudness
def batch(
    model: Path | None,
    url: str | None,
    text: str,
    content_type: str | None,
    algorithm: str | None,
    *,
    quiet: bool,
    verbose: bool,
    **stated: Any,
) -> int:
    """Batch transform: answers to files, as <name>.out.

    The options are those of SageMaker's CreateTransformJob, and --header.
    """
    if (model is None) == (url is None):
        raise click.UsageError("give either --model or --url")
    if loudness_of(quiet=quiet, verbose=verbose) is Loudness.QUIET:
        _silence_below(logging.INFO)

    from local import inputs
    from local.batch import job
    from local.batch.options import Options

    paths = tuple(inputs.found(text, "--input"))
    content_type = content_type or inputs.media_type(paths, (), "--input")
    options = Options(input=paths, content_type=content_type, **stated)
    return job.run(options, model=model, url=url, algorithm=algorithm, quiet=quiet)


# ---- the rest -------------------------------------------------------------------------------------------------------


@oba.command(cls=OfAlgorithm)
@click.argument("algorithm", type=AlgorithmName())
@click.option("--image", metavar="URI", help="The image in its registry.  [default: ALGORITHM:latest]")
@click.option("--text", is_flag=True, help="For people instead: hyperparameters and channels with their meaning.")
def describe(algorithm: str, image: str | None, *, text: bool) -> None:
    """Print the specification of ALGORITHM.

    In JSON, as CreateAlgorithm takes it for TrainingSpecification; with --text for people.
    """
    from algorithms import registry
    from container import describe
    from container.settings import ConfigurationError

    try:
        found = registry.find(algorithm)
    except LookupError as error:  # of an extra that is not installed
        raise ConfigurationError(str(error)) from error
    if text:
        click.echo(describe.help_text(found))
    else:
        click.echo(json.dumps(describe.training_specification(found, image or f"{algorithm}:latest"), indent=2))


@oba.command(short_help="Make the channels of seq2seq from text files.")
@click.option("--source", required=True, type=_FILE, metavar="FILE", help="A sentence a line; gzip too.")
@click.option("--target", required=True, type=_FILE, metavar="FILE", help="Its translations, line by line.")
@click.option("--output", required=True, type=FOLDER, metavar="FOLDER", help="Gets train, validation, vocab.")
@click.option("--validation-source", type=_FILE, metavar="FILE", help="Sentences to validate with.")
@click.option("--validation-target", type=_FILE, metavar="FILE", help="Their translations.")
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Of the lines, where no files are given.",
)
@click.option("--vocabulary-size", type=click.IntRange(1), default=50_000, show_default=True, help="Tokens of a side.")
@click.option("--min-count", type=click.IntRange(1), default=1, show_default=True, help="Least count of a token.")
@click.option("--lower", is_flag=True, help="Fold to lower case.")
def tokens(
    source: Path,
    target: Path,
    output: Path,
    validation_source: Path | None,
    validation_target: Path | None,
    validation_share: float,
    vocabulary_size: int,
    min_count: int,
    *,
    lower: bool,
) -> None:
    """Make the channels of sequence to sequence from parallel text files."""
    if (validation_source is None) != (validation_target is None):
        raise click.UsageError("--validation-source and --validation-target belong together")
    held_out = (validation_source, validation_target) if validation_source and validation_target else None

    from local.tokens import make

    make(
        source,
        target,
        output,
        held_out,
        share=validation_share,
        size=vocabulary_size,
        least=min_count,
        lower=lower,
    )


# ---- pretrained models ----------------------------------------------------------------------------------------------


@oba.command(short_help="Fetch or convert a checkpoint of an image classifier, to start from.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--from", "file", type=_FILE, metavar="FILE", help="Nothing is fetched: convert this file, into --output."
)
@click.option("--output", type=FOLDER, metavar="FOLDER", help="By default where training on this machine looks.")
@click.option("--address", metavar="URL", help="Of the file itself, where it is not MXNet's: a mirror of your own.")
@click.option("--sha256", metavar="HEX", help="Of the file, if you know it: another one is refused.")
@click.option("--gluon", is_flag=True, help="The one of MXNet's Gluon: by TLS, checked by its published digest.")
@with_loudness
def pretrained(
    name: str | None,
    file: Path | None,
    output: Path | None,
    address: str | None,
    sha256: str | None,
    *,
    gluon: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Fetch one of MXNet's public checkpoints of image classifiers, for use_pretrained_model=1.

    NAME is resnet-18, -34, -50, -101, -152 or -200; of Gluon's, -50, -101 or -152.

    Or convert one of your own: --from a .safetensors file of torchvision's ResNets (or timm's of the same form), or a
    .h5 file of Keras' ResNet50, ResNet101 or ResNet152.
    """
    if (name is None) == (file is None):
        raise click.UsageError("either NAME or --from FILE")
    if file is not None and (output is None or address or sha256 or gluon):
        raise click.UsageError("--from needs --output FOLDER, and nothing that is for fetching")
    if gluon and sha256 is not None:
        raise click.UsageError("--sha256 and --gluon exclude each other: what Gluon publishes is checked anyway")
    loudness = loudness_of(quiet=quiet, verbose=verbose)

    from local.pretrained import convert, fetch

    if file is not None and output is not None:
        convert(file, output)
    elif name is not None:
        fetch(name, output, address, sha256, gluon=gluon, quiet=loudness is Loudness.QUIET)


for _command in (tune, export, run, up):
    oba.add_command(_command)
