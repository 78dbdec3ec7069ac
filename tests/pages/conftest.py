"""The browser, and the accessibility rules that it judges pages by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.browser import Browser, found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = found()
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with Browser(program, tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def axe() -> str:
    module = pytest.importorskip("axe_core_python", reason="axe-core-python, with the accessibility rules, is missing")
    return (Path(module.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
