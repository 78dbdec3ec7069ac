"""``oba``: train, serve, predict and transform on one's own machine, with the very code of the image."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from algorithms.errors import AlgorithmInputError
from container.training import failure
from local import runner
from recordio.errors import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """``oba``."""
    parser = argparse.ArgumentParser("oba", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    runner.add_parsers(commands)
    _add_describe(commands)
    tables = commands.add_parser("tables", help="print the README's tables of hyperparameters, channels, metrics")
    tables.add_argument("--algorithm")
    tables.set_defaults(run=_tables)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (AlgorithmInputError, DataError, LookupError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - the command line's own answer
        return failure.EXIT_CODE


def _add_describe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("describe", help="print the TrainingSpecification of SageMaker's CreateAlgorithm")
    parser.add_argument("--algorithm", required=True)
    parser.add_argument("--image", metavar="URI", help="the image in its registry; default: ALGORITHM:latest")
    parser.set_defaults(run=_describe)


def _describe(options: argparse.Namespace) -> int:
    from algorithms import registry
    from container import describe

    algorithm = registry.find(options.algorithm)
    image = options.image or f"{algorithm.name}:latest"
    print(json.dumps(describe.training_specification(algorithm, image), indent=2))  # noqa: T201
    return 0


def _tables(options: argparse.Namespace) -> int:
    from algorithms import registry
    from container import describe

    names = [options.algorithm] if options.algorithm else sorted(registry.ALGORITHMS)
    print("\n\n".join(describe.tables(registry.find(name)) for name in names))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
