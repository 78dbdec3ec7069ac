"""The moving parts of the README and the pages: commands that they show, and tables that come from the declarations.

    python examples/readme.py    writes the tables of the README and of docs/formats.md anew, and docs/limits.md

A block of commands with ``<!-- tested -->`` on the line above is run by tests/test_readme.py. After a colon stands what
it needs beyond this project: ``docker``, ``mxnet``, or one of the SageMaker SDKs, ``sdk2`` and ``sdk3``.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from algorithms import registry
from algorithms.interface import FILE, PIPE, Algorithm
from container.serving import dialects
from recordio import limits as bounds

README = Path(__file__).resolve().parent.parent / "README.md"
_SERVING = ("sagemaker", "serving", "monitoring")
PAGES = [
    README,
    *(
        README.parent / "docs" / f"{name}.md"
        for name in ("laptop", "python", "tune", "export", "checkpoints", *_SERVING)
    ),
]
"""What has tested commands, in the order of a reader."""

FORMATS_PAGE = README.parent / "docs" / "formats.md"
LIMITS = README.parent / "recordio" / "limits.py"
LIMITS_PAGE = README.parent / "docs" / "limits.md"
BLOCK = re.compile(
    r"^<!-- tested(?:: (?P<needs>[\w-]+))? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$"
    r"(?:\n```(?:json|text)\n(?P<answer>.*?)^```$)?",
    re.M | re.S,
)
HEADING = re.compile(r"^#+ (.*)$", re.M)


class Block(NamedTuple):
    """Commands that can be run: below which heading, in what language, and what they need beyond this project; and the
    lines that the page shows of what they print."""

    heading: str
    language: str
    needs: str
    text: str
    answer: str


def blocks(readme: str) -> list[Block]:
    """The marked blocks in their order."""
    found = []
    for match in BLOCK.finditer(readme):
        heading = HEADING.findall(readme[: match.start()])[-1]
        found.append(Block(heading, match["language"], match["needs"] or "", match["text"], match["answer"] or ""))
    return found


def content_types() -> str:
    """What each algorithm takes in training, by input mode, and in requests, and what it answers."""
    head = ("algorithm", "training: File, FastFile", "training: Pipe", "requests", "answers")
    rows = [_content_types(registry.find(name)) for name in sorted(registry.ALGORITHMS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, tuple("---" for _ in head), *rows))


def _content_types(algorithm: type[Algorithm]) -> tuple[str, ...]:
    train = next(channel for channel in algorithm.channels if channel.name == "train")
    serving = algorithm.serving
    answers = sorted(serving.answers, key=lambda media: media != dialects.find(serving.dialect).default_answer)
    return (
        algorithm.name,
        _listed(train.accepts if FILE in train.modes else ()),
        _listed(train.accepts if PIPE in train.modes else ()),
        _listed(serving.accepts),
        ("as the request, else " if dialects.find(serving.dialect).in_kind else "") + _listed(answers),
    )


def _listed(media_types: Sequence[str]) -> str:
    return ", ".join(f"`{media}`" for media in media_types) or "none"


def limits() -> str:
    """``docs/limits.md``: what ``recordio/limits.py`` says of each bound, under its headings."""
    lines = ["# Limits", "", "Made by `make tables` from `recordio/limits.py`.", ""]
    lines.append(" ".join((ast.get_docstring(_parsed()) or "").partition("\n\n")[2].split()))
    source = LIMITS.read_text().splitlines()
    headings = [(number, line.strip("# -")) for number, line in enumerate(source, 1) if line.startswith("# ---- ")]
    for name, value, number, reason in _bounds():
        while headings and headings[0][0] < number:
            heading = headings.pop(0)[1]
            if not headings or headings[0][0] > number:
                lines += [
                    "",
                    f"## {heading[0].upper()}{heading[1:]}",
                    "",
                    "| limit | value | what, and why |",
                    "| --- | --- | --- |",
                ]
        lines.append(f"| `{name}` | {value:,} | {' '.join(reason.split()).replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _parsed() -> ast.Module:
    return ast.parse(LIMITS.read_text())


def _bounds() -> Iterator[tuple[str, float, int, str]]:
    """(name, value, line, reason) of each bound: an assignment and the text below it."""
    body = _parsed().body
    for statement, below in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            name = ast.unparse(statement.targets[0])
            value = getattr(bounds, name)
            if isinstance(value, (int, float)):
                yield name, value, statement.lineno, str(below.value.value)


def algorithms() -> str:
    """Each algorithm by its name, the heading of its page, and its summary."""
    rows = ["| `ALGORITHM` | what | page |", "| --- | --- | --- |"]
    for name, entry in registry.ALGORITHMS.items():
        page = f"algorithms/{entry.location.partition(':')[0].split('.')[1]}/README.md"
        title = (README.parent / page).read_text().partition("\n")[0].removeprefix("# ")
        rows.append(f"| `{name}` | {title}. {registry.find(name).summary} | [how, and what differs]({page}) |")
    return "".join(f"{row}\n" for row in rows)


TABLES = {"content-types": content_types, "algorithms": algorithms}
"""What is made of the declarations, by the name that its markers in a page have."""


def with_tables(page: str) -> str:
    """A page with its tables made anew."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        if start in page:
            before, _, rest = page.partition(start)
            page = f"{before}{start}\n{make()}{end}{rest.partition(end)[2]}"
    return page


if __name__ == "__main__":
    for page in (README, FORMATS_PAGE):
        page.write_text(with_tables(page.read_text()))
    LIMITS_PAGE.write_text(limits())
