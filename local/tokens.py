"""``oba tokens``: the channels of sequence to sequence from parallel text files."""

from __future__ import annotations

from pathlib import Path

import click

from algorithms.seq2seq import texts


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
    """Write records and vocabularies into ``output``, and say how much of what there is.

    Args:
        validation: source and target of the validation pairs; None takes ``share`` of the lines.
        size: most tokens of a side. least: how often a token occurs at least. lower: fold to lower case.
    """
    made = texts.make(source, target, output, validation=validation, share=share, size=size, least=least, lower=lower)
    click.echo(
        f"{made.train} pairs to train on, {made.validation} to validate with, "
        f"{made.left_out} left out for an empty side; "
        f"{made.source_vocabulary} source and {made.target_vocabulary} target tokens"
    )
    click.echo(
        f"Next    oba train seq2seq --train {output / 'train'} --validation {output / 'validation'} "
        f"--channel vocab={output / 'vocab'} --output FOLDER"
    )
