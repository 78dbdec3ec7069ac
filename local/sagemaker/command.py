"""The options of ``oba up``. What it does is in the modules beside this one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from local.options import FOLDER, need

NAMES = ("process", "docker", "buildah")
"""Names of the engines of ``engines``, which is not imported here to keep ``--help`` fast."""


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5005, show_default=True, help="0: any port that is free."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--state", type=FOLDER, default=Path(".oba"), show_default=True, metavar="FOLDER", help="Keeps jobs and models."
)
@click.option("--region", default="us-east-1", show_default=True, help="Region of the printed environment.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=max(2, (os.cpu_count() or 1) // 2),
    metavar="N",
    help="Jobs at a time; others wait.  [default: half of the cores, at least 2]",
)
@click.option("--s3", metavar="URL", help="Another S3 server to use, with the keys of your environment.")
@click.option(
    "--engine",
    type=click.Choice(NAMES),
    default="process",
    show_default=True,
    help="What runs images: processes of this installation, or containers of docker or buildah.",
)
def up(port: int, host: str, state: Path, region: str, jobs: int, s3: str | None, engine: str) -> int:
    """Run a SageMaker on this machine.

    Code for SageMaker (boto3, the SDKs, the AWS CLI) runs unmodified once the environment that is printed is set.
    """
    need("moto", "local")
    from local.sagemaker.server import Options, run

    return run(Options(state=state, host=host, port=port, region=region, at_once=jobs, s3=s3, engine=engine))
