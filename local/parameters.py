"""Types of arguments that click does not have: names with suggestions, ``NAME=VALUE`` pairs, how much is shown."""

from __future__ import annotations

import difflib
import enum
import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class

from algorithms.archives import model_of_job

if TYPE_CHECKING:
    from algorithms.hyperparameters import Field


class Bash(BashComplete):
    """Click's, but with no space after ``NAME=``, where the value goes on."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n", "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    return 0\n"
    )


class Zsh(ZshComplete):
    """The same."""

    source_template = ZshComplete.source_template.replace(
        "        _describe -V unsorted completions_with_descriptions -U\n",
        "        local -a begun=(${(M)completions_with_descriptions:#*=:*})\n"
        "        local -a whole=(${completions_with_descriptions:#*=:*})\n"
        '        [ -n "$whole" ] && _describe -V unsorted whole -U\n'
        "        [ -n \"$begun\" ] && _describe -V unsorted begun -U -S ''\n",
    )


for _shell in (Bash, Zsh):
    add_completion_class(_shell)


class Loudness(enum.Enum):
    """Which lines are shown: only warnings and errors, those for people, or all."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known ones, or all of them.

    >>> did_you_mean("kmean", ["kmeans", "pca"])
    "did you mean 'kmeans'?"
    >>> did_you_mean("svm", ["kmeans", "pca"])
    'there are: kmeans, pca'
    """
    names = sorted(known)
    spelled = {_plain(candidate): candidate for candidate in names}
    near = [spelled[match] for match in difflib.get_close_matches(_plain(name), spelled, n=3)]
    if near:
        return f"did you mean {' or '.join(repr(match) for match in near)}?"
    return f"there are: {', '.join(names)}"


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


class Commands(click.Group):
    """A group of commands that suggests the nearest one for an unknown name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            if args[0] in _algorithms():
                ctx.fail(f"'{args[0]}' is an algorithm, and what to do with it comes first: oba train {args[0]} …")
            ctx.fail(f"There is no command '{args[0]}'; {did_you_mean(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


class OfAlgorithm(click.Command):
    """A command about an algorithm, whose help names them all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments. If an option is called like a hyperparameter, the error says how to write that."""
        given = [*args]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-").replace("-", "_")
            if not any(name in _hyperparameters(word) for word in given):
                raise
            ctx.fail(f"No such option '{error.option_name}'; a hyperparameter is written {name}=VALUE, without dashes")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The last lines of the help."""
        formatter.write_paragraph()
        formatter.write_text(f"ALGORITHM is one of {', '.join(_algorithms())}; oba describe ALGORITHM --text explains.")


class AlgorithmName(click.ParamType[str]):
    """One of the names of the registry."""

    name = "algorithm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        if value not in _algorithms():
            self.fail(f"there is no algorithm '{value}'; {did_you_mean(value, _algorithms())}", param, ctx)
        return str(value)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """What could have been given."""
        return f"There are: {', '.join(sorted(_algorithms()))}"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin with ``incomplete``."""
        return [CompletionItem(name) for name in _algorithms() if name.startswith(incomplete)]


def _algorithms() -> Collection[str]:
    from algorithms import registry  # it imports NumPy, which `oba serve` must set up first

    return registry.ALGORITHMS


def _hyperparameters(algorithm: str) -> Collection[str]:
    """The names of an algorithm's hyperparameters; none where there is no such algorithm, or its packages are not."""
    from algorithms import hyperparameters, registry

    try:
        return hyperparameters.by_every_name(registry.find(algorithm).hyperparameters)
    except LookupError:
        return ()


class ModelPath(click.Path):
    """A model's folder or archive, or the output folder of ``oba train`` or ``oba tune`` with one in it."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The model's own folder or archive."""
        return model_of_job(Path(os.fsdecode(super().convert(value, param, ctx))))


class DataPath(click.ParamType[str]):
    """A file, a folder, a pattern, an address or ``-``, as it stands; the shell completes names of files."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Left to the shell."""
        return [CompletionItem(incomplete, type="file")]


class Pair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``."""

    def __init__(self, value: str = "VALUE") -> None:
        self.name = f"NAME={value}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The name and the value."""
        if isinstance(value, tuple):
            return value
        name, equals, rest = str(value).partition("=")
        if not equals or not name:
            self.fail(f"'{value}': expected {self.name}", param, ctx)
        return name, rest


class Setting(Pair):
    """A hyperparameter as an argument: ``k=10``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The name and the value."""
        if ctx is not None and ctx.resilient_parsing:  # completion: bash breaks words at "="
            return str(value), ""
        if isinstance(value, str) and "=" not in value and Path(value).exists():
            self.fail(
                f"'{value}' is a file or folder, and its channel is to be named: --train {shlex.quote(value)}. "
                "A pattern that is to name several files must reach oba in quotes: --train 'data/*.csv'",
                param,
                ctx,
            )
        if isinstance(value, str) and "=" not in value:
            self.fail(
                f"'{value}': expected a hyperparameter as {self.name}, and data as --train FILE",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The hyperparameters of the algorithm that was named, or the values of the one that is being written."""
        from algorithms import hyperparameters, registry

        if (algorithm := ctx.params.get("algorithm")) not in registry.ALGORITHMS:
            return []
        declared = hyperparameters.fields(registry.find(algorithm).hyperparameters)
        name, equals, begun = incomplete.partition("=")
        if equals and name in declared:  # zsh and fish
            return [CompletionItem(f"{name}={word}") for word in _words(declared[name]) if word.startswith(begun)]
        name, before, begun = _at_hand([*(word for word, _ in ctx.params.get("settings") or ()), incomplete])
        if name in declared:  # bash
            found = [word for word in _words(declared[name]) if word.startswith(before + begun)]
            return [CompletionItem(word[len(before) :]) for word in found]
        return [CompletionItem(f"{name}=", help=field.help) for name, field in declared.items() if incomplete in name]


def _at_hand(words: Sequence[str]) -> tuple[str, str, str]:
    """The last of arguments that bash has split at ``=`` and ``:``: its name, the start of its value before the word
    that is being written, and that word. The name is "" if it is not complete. Click drops an ``=`` that is the last
    word.

    >>> _at_hand(["k", "=", "10", "objective", "=", "reg", ":", "lin"])
    ('objective', 'reg:', 'lin')
    >>> _at_hand(["k", "=", "10", "objective", ""]), _at_hand(["k", "=", "10", "obj"])
    (('objective', '', ''), ('', '', 'obj'))
    """
    *given, begun = words
    if begun == ":":
        given, begun = [*given, ":"], ""
    before = ""
    while given[-1:] == [":"]:
        before, given = "".join(given[-2:]) + before, given[:-2]
    if given[-1:] == ["="] and (begun or before):
        return given[-2] if len(given) > 1 else "", before, begun
    is_value = given[-2:-1] == ["="]
    return given[-1] if given and not begun and not is_value else "", before, begun


def _words(field: Field) -> tuple[str, ...]:
    """The words that a hyperparameter takes, besides numbers and free texts."""
    auto, flag = ("auto",) * field.auto, ("true", "false") * (field.kind == "flag")
    return (*auto, *field.words, *flag, *field.choices)
