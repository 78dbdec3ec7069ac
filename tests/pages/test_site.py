"""The documentation site: built without a warning, links and anchors checked, whole, and read by all in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from algorithms import hyperparameters, registry
from tests.pages.browser import Browser
from tests.pages.checks import check

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("", "algorithms/kmeans/", "requests/", "growth/")
"""Pages that together have all kinds of things that a page has: code, tables, pictures, notes."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the site needs mkdocs-material")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_is_whole(site: Path) -> None:
    for name in registry.ALGORITHMS:
        page = unescape((site / "algorithms" / name / "index.html").read_text())
        for one in hyperparameters.fields(registry.find(name).hyperparameters):
            assert f"<code>{one}</code>" in page, f"{name}: {one}"
    pages = list(site.rglob("*.html"))
    loaded = {
        address
        for page in pages
        for address in re.findall(r"<(?:link|script|img)[^>]+(?:href|src)=\"?(https?://[^\" >]+)", page.read_text())
    }
    assert not loaded, "the site asks other servers for something"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("page", SHOWN)
def test_a_page_can_be_read_by_all(page: str, browser: Browser, axe: str, address: str) -> None:
    check(browser, axe, address + page, page)


# What has the keyboard's focus, where it lies beside the window and could not be seen.
BESIDE = """(() => {
  const one = document.activeElement;
  return one.getBoundingClientRect().right < 0 ? one.outerHTML : null;
})()"""
MENU = """[...document.querySelectorAll(".md-sidebar--primary a")]
  .filter(one => one.checkVisibility({visibilityProperty: true})).length"""


def test_in_a_narrow_window_the_keyboard_opens_the_menu_and_passes_it_by_while_it_is_closed(
    browser: Browser, address: str
) -> None:
    browser.open(address, width=390, scheme="light")
    for _ in range(20):
        browser.press("Tab")
        assert browser.run(BESIDE) is None
    assert browser.run(MENU) == 0
    browser.open(address, width=390, scheme="light")
    while browser.run("document.activeElement.ariaLabel") != "Menu":
        browser.press("Tab")
        assert browser.run("document.activeElement !== document.body")
    browser.press(" ")
    assert browser.run(MENU) > 10
