"""The options of ``oba tune``. What it does is in ``local.tune``."""

from __future__ import annotations

from typing import Any

import click

from local.options import FOLDER, loudness_of, need, with_channels, with_columns, with_content_type, with_loudness
from local.parameters import AlgorithmName, OfAlgorithm, Setting


@click.command(cls=OfAlgorithm, short_help="Search the hyperparameters of ALGORITHM.")
@click.argument("algorithm", type=AlgorithmName())
@click.argument("settings", nargs=-1, type=Setting(), metavar="[NAME=RANGE]... [NAME=VALUE]...")
@with_channels("a file, a folder or a quoted pattern")
@click.option("--output", required=True, type=FOLDER, metavar="FOLDER", help="Folder for jobs/, best/ and tuning.html.")
@click.option("--objective", metavar="METRIC", help="What to optimise, as in validation:auc.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Training jobs in all.  [default: 20; a grid's size]")
@click.option(
    "--parallel", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Training jobs at a time."
)
@click.option(
    "--strategy",
    type=click.Choice(["Bayesian", "Random", "Grid", "Hyperband"], case_sensitive=False),
    default="Bayesian",
    show_default=True,
    help="How the next hyperparameters are chosen.",
)
@click.option("--early-stopping", is_flag=True, help="Stop jobs that do worse than the median of the earlier ones.")
@click.option(
    "--max-runtime",
    "max_seconds",
    type=click.IntRange(1),
    metavar="SECONDS",
    help="Longest time of the whole search.",
)
@click.option("--target", type=float, metavar="VALUE", help="End once the objective is at least as good.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the search, which --parallel 1 repeats exactly."
)
@with_content_type
@with_columns
@with_loudness
def tune(
    settings: tuple[tuple[str, str], ...], label: str | None, *, header: bool, quiet: bool, verbose: bool, **stated: Any
) -> int:
    """Search the hyperparameters of ALGORITHM, as SageMaker's tuning jobs do.

    NAME=RANGE is searched, NAME=VALUE stays: k=5..50 learning_rate=0.001..1:log optimizer=sgd,adam epochs=10. The same
    command goes on with a search that was interrupted, or with --jobs raised.
    """
    loudness = loudness_of(quiet=quiet, verbose=verbose)
    need("optuna", "local")

    from local import tune
    from local.columns import Columns

    return tune.run(tune.Request(given=settings, columns=Columns(label, header), loudness=loudness, **stated))
