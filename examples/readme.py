"""The README's moving parts: the commands that it shows, and the tables that come from the declarations.

    python examples/readme.py    writes the tables anew

A block of commands with ``<!-- tested -->`` on the line above is run by tests/test_readme.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parent.parent / "README.md"
START, END = "<!-- tables:start -->", "<!-- tables:end -->"
BLOCK = re.compile(r"^<!-- tested(?:: (?P<needs>[\w-]+))? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
HEADING = re.compile(r"^#+ (.*)$", re.M)


class Block(NamedTuple):
    """Commands that can be run: below which heading, in what language, and what they need beyond this project."""

    heading: str
    language: str
    needs: str
    text: str


def blocks(readme: str) -> list[Block]:
    """The marked blocks in their order."""
    found = []
    for match in BLOCK.finditer(readme):
        heading = HEADING.findall(readme[: match.start()])[-1]
        found.append(Block(heading, match["language"], match["needs"] or "", match["text"]))
    return found


def tables() -> str:
    """What ``oba tables`` prints, each algorithm folded in."""
    command = [sys.executable, "-m", "local", "tables"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    parts = re.split(r"^### (.+)$", printed, flags=re.M)[1:]
    names, texts = parts[::2], parts[1::2]
    return "\n".join(
        f"<details>\n<summary><b>{name}</b></summary>\n\n{text.strip()}\n\n</details>\n"
        for name, text in zip(names, texts, strict=True)
    )


def with_tables(readme: str) -> str:
    """The README with its tables made anew."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{tables()}{END}{after}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
