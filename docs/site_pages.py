"""Pages of the site that are made of other files, so that nothing is said twice: a hook of mkdocs.

- ``index.md`` from the README, ``changelog.md`` from CHANGELOG.md, ``glossary.md`` from the words in CONTRIBUTING.md;
- ``algorithms/NAME.md`` from the algorithm's README and its declaration.

A page of the navigation that is not there is left out of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from algorithms import registry
from container import describe

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?:)[^)]+\)\n*")
MADE = ("index.md", "changelog.md", "glossary.md")


def on_config(config: Any) -> Any:
    """Fill in the algorithms, and leave out what is not there."""
    for part in config.nav:
        for title, pages in part.items():
            if title == "Algorithms":
                part[title] = [{name: f"algorithms/{name}.md"} for name in registry.ALGORITHMS]
            else:
                part[title] = [page for page in pages if page in MADE or (ROOT / "docs" / page).is_file()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made here."""
    words = (ROOT / "CONTRIBUTING.md").read_text().partition("## Words")[2].partition("\n## ")[0]
    made = {
        "index.md": linked((ROOT / "README.md").read_text(), Path()),
        "changelog.md": linked((ROOT / "CHANGELOG.md").read_text(), Path()),
        "glossary.md": f"# Glossary\n{words}",
    }
    for name in registry.ALGORITHMS:
        made[f"algorithms/{name}.md"] = algorithm_page(name)
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def algorithm_page(name: str) -> str:
    """An algorithm's README, then where its requests are, and its tables."""
    algorithm = registry.find(name)
    folder = Path(*algorithm.__module__.split(".")[:2])
    tables = describe.tables(algorithm).partition("\n")[2].strip()
    requests = f"[Examples](../requests.md#{name}) in each content type, with their answers."
    readme = linked((ROOT / folder / "README.md").read_text(), folder)
    return f"{readme}\n\n## Requests and answers\n\n{requests}\n\n## Declaration\n\n{tables}\n"


def linked(text: str, folder: Path) -> str:
    """The text of a file in ``folder``: links lead to pages here, and where there is none, the file is named."""
    pages = {f"algorithms/{_folder(name)}/README.md": f"algorithms/{name}.md" for name in registry.ALGORITHMS}
    pages |= {f"docs/{file.name}": file.name for file in (ROOT / "docs").glob("*.md")}
    pages |= {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
    up = "../" if folder.parts else ""

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        path = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        if path in pages:
            return f"[{label}]({up}{pages[path]}{anchor})"
        return f"`{path}`" if label == path else f"{label} (`{path}`)"

    return _LINK.sub(link, _IMAGE.sub("", text))


def _folder(name: str) -> str:
    return registry.find(name).__module__.split(".")[1]
