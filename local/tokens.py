"""``oba tokens``: channels of pairs of token sequences from parallel text files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from algorithms import registry


def make(
    source: Path,
    target: Path,
    output: Path,
    validation: tuple[Path, Path] | None,
    *,
    share: float,
    size: int,
    least: int,
    lower: bool,
) -> None:
    """Write records and vocabularies into ``output``. It prints how many pairs and tokens there are, and which
    algorithm is trained on them: the one whose folder has ``texts.py``.

    Args:
        validation: source and target of the validation pairs; None takes ``share`` of the lines.
        size: most tokens of a side. least: how often a token occurs at least. lower: fold to lower case.
    """
    (name,) = registry.having("texts")
    texts: Any = registry.part(name, "texts")
    made = texts.make(source, target, output, validation=validation, share=share, size=size, least=least, lower=lower)
    click.echo(
        f"{made.train} pairs to train on, {made.validation} to validate with, "
        f"{made.left_out} left out for an empty side; "
        f"{made.source_vocabulary} source and {made.target_vocabulary} target tokens"
    )
    folder = shlex.quote(str(output))
    click.echo(
        f"Next    oba train {name} --train {folder}/train --validation {folder}/validation "
        f"--channel vocab={folder}/vocab --output FOLDER"
    )
